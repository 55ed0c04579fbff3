//! The options of the commands about packages.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use rungs_engine::Spec;

use super::input::InputArgs;
use super::machine::{MachineArgs, ProgressArg};
use super::making::MakingArgs;
use super::stills::StillsArgs;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    rungs package film.mp4 -o film/\n  \
    rungs package film.mp4 -o film/ --rung 1080p --rung 720p@crf=38 --rung 640x360\n  \
    rungs package film.mp4 -o film/ --quality high --speed slow\n  \
    rungs package film.mp4 -o film/ --progress json | your-program\n  \
    your-program | rungs package - -o film/\n  \
    rungs package film.mp4 -o film/ --single-file --storyboard --poster\n  \
    rungs package film.mp4 -o film/ --rung 240p --add\n\n\
    The package can be played while it is made, unless with --single-file: open OUT/master.m3u8 once it is there.\n\
    The same command again goes on with a run that was interrupted, and does nothing to a finished package.")]
pub(crate) struct PackageArgs {
    #[command(flatten)]
    pub(crate) from: InputArgs,

    /// The folder to write to; it is made if it does not exist
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Write into a folder that is not empty; a package that is there is removed and made afresh, other files stay
    #[arg(long)]
    pub(crate) force: bool,

    /// Add the rungs given to a finished package; its other files stay as they are, and so do its other settings
    #[arg(long, requires = "rungs", conflicts_with = "force")]
    pub(crate) add: bool,

    /// One file for each rendition, with byte ranges in the playlists, instead of one for each segment. It can be played when all is done
    #[arg(long)]
    pub(crate) single_file: bool,

    #[command(flatten)]
    pub(crate) stills: StillsArgs,

    #[command(flatten)]
    pub(crate) making: MakingArgs,
}

impl PackageArgs {
    /// What was typed, as the engine understands it.
    pub(crate) fn spec(&self) -> Spec {
        Spec {
            stills: self.stills.spec(),
            single_file: self.single_file,
            ..self.making.spec()
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Source, ladder and settings are those that the package was begun with; they are in OUT/.rungs/plan.json."
)]
pub(crate) struct ResumeArgs {
    /// The folder of the package
    #[arg(value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Where the source is now, if it was moved; an address has to be given again
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) source: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// How to show progress: auto draws bars on a terminal and is silent in pipes; json writes one event a line to stdout
    #[arg(long, value_enum, default_value_t = ProgressArg::Auto)]
    pub(crate) progress: ProgressArg,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Each finding is a line on standard output: the file, and what is wrong with it. Exit codes: 0 nothing is wrong, \
                  1 something is, 3 there is nothing that could be checked."
)]
pub(crate) struct VerifyArgs {
    /// The folder of the package
    #[arg(value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Do not decode the segments
    #[arg(long)]
    pub(crate) quick: bool,
}
