//! The options of the commands that make plain files.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use rungs_engine::spec::{SERIAL_GOP_SECONDS, SERIAL_SECONDS, Seams, Spec};

use super::input::InputArgs;
use super::making::MakingArgs;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    rungs transcode film.mov -o film.mp4\n  \
    rungs transcode film.mov -o small.mp4 --rung 720p --quality high\n  \
    rungs transcode film.mov -o films/ --rung 1080p --rung 720p      films/film-1080p.mp4, films/film-720p.mp4\n\n\
    The same command again goes on with a run that was interrupted. Until the file is whole its parts lie in a hidden folder beside\n\
    it, .film.mp4.rungs: that takes as much room as the file, and the file as much again.")]
pub(crate) struct TranscodeArgs {
    #[command(flatten)]
    pub(crate) from: InputArgs,

    /// The file to write: NAME.mp4, NAME.mkv or NAME.webm for one rung, the source's own size unless --rung says another; or a
    /// folder, where each rung becomes an MP4 file
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) plain: PlainArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    rungs join one.mp4 two.mov three.mkv -o all.mp4\n\n\
    Each picture and its sound begin where those before end. Sizes, frame rates and sounds may differ, and follow the first; shapes and \
    colours may not.")]
pub(crate) struct JoinArgs {
    /// The video files, in order
    #[arg(value_hint = ValueHint::FilePath, num_args = 2.., required = true)]
    pub(crate) inputs: Vec<PathBuf>,

    /// The file to write, or a folder: as for `rungs transcode`
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) plain: PlainArgs,
}

/// How plain files are made and put into place.
#[derive(Debug, Args)]
pub(crate) struct PlainArgs {
    /// Replace a file that is there, and the parts of another job in its hidden folder
    #[arg(long)]
    pub(crate) force: bool,

    /// Write the report of the job to a file, as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,

    /// What is done about the places where segments meet: parallel gives each a fresh encoder; constqp quantizes all pictures alike besides,
    /// so that quality is even; serial has one encoder for each ten minutes, and is slow
    #[arg(long, value_enum, default_value_t = SeamsArg::Parallel)]
    pub(crate) seams: SeamsArg,

    #[command(flatten)]
    pub(crate) making: MakingArgs,
}

impl PlainArgs {
    /// What was typed, as the engine understands it.
    pub(crate) fn spec(&self) -> Spec {
        let mut spec = self.making.spec();
        spec.seams = self.seams.into();
        if spec.seams == Seams::Serial {
            spec.segment_seconds = self.making.segment.unwrap_or(SERIAL_SECONDS);
            let gop = SERIAL_GOP_SECONDS.min(spec.segment_seconds);
            spec.gop_seconds = spec.gop_seconds.or(Some(gop));
        }
        spec
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SeamsArg {
    /// A fresh encoder for each segment
    Parallel,
    /// The same, with all pictures quantized alike
    Constqp,
    /// One encoder for each ten minutes
    Serial,
}

impl From<SeamsArg> for Seams {
    fn from(seams: SeamsArg) -> Self {
        match seams {
            SeamsArg::Parallel => Self::Parallel,
            SeamsArg::Constqp => Self::ConstQp,
            SeamsArg::Serial => Self::Serial,
        }
    }
}
