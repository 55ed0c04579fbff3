//! The options of the commands that only show something.

use std::path::PathBuf;

use clap::{Args, ValueHint};

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The file, an address, or - for standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// List all encoders and decoders of FFmpeg, not only those of the codecs that are made here. JSON always has all
    #[arg(long)]
    pub(crate) all: bool,

    /// Try the GPUs again, whatever is known of them
    #[arg(long)]
    pub(crate) refresh: bool,
}
