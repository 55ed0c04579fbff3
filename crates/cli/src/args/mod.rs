//! What can be typed: the one definition behind parsing, help, completions and the manual page. A file for each kind of command, and one
//! for each kind of option.

mod input;
mod machine;
mod making;
mod package;
mod show;
mod sound;
mod stills;
mod transcode;

use clap::{Parser, Subcommand};

pub(crate) use self::input::{InputArgs, Quiet};
pub(crate) use self::machine::{MachineArgs, ProgressArg};
pub(crate) use self::package::{PackageArgs, ResumeArgs, VerifyArgs};
pub(crate) use self::show::{DevicesArgs, ProbeArgs};
pub(crate) use self::transcode::{JoinArgs, PlainArgs, TranscodeArgs};

/// One video file in, every rung of an adaptive ladder out.
#[derive(Debug, Parser)]
#[command(
    name = "rungs",
    version,
    about,
    long_about = "Makes every rung of an adaptive ladder from one video file: decodes it once, cuts time into segments, and encodes \
                  the segments of all rungs side by side. The result is a CMAF package: HLS and DASH over the same files.",
    after_help = "Examples:\n  \
                  rungs package film.mp4 -o film/          the default ladder, AV1\n  \
                  rungs transcode film.mov -o film.mp4     one plain file\n  \
                  rungs probe film.mp4                     what is in the file\n  \
                  rungs resume film/                       go on with what was interrupted\n  \
                  rungs devices                            what can encode here\n\n\
                  Exit codes: 0 done, 1 the job failed, 2 wrong usage, 3 the input or the request was refused before work began, \
                  130 interrupted.",
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an adaptive package (HLS and DASH) from a video file
    Package(Box<PackageArgs>),
    /// Make plain MP4 files from a video file
    Transcode(Box<TranscodeArgs>),
    /// Make plain files of several videos, one after the other
    Join(Box<JoinArgs>),
    /// Go on with a package that an earlier run has not finished
    Resume(ResumeArgs),
    /// Check a package against its journal: every file, hash, duration and picture
    Verify(VerifyArgs),
    /// Show what is in a file
    Probe(ProbeArgs),
    /// Show what can decode and encode on this machine
    Devices(DevicesArgs),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Man,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use rungs_engine::spec::Spec;
    use rungs_media::encode::Codec;

    #[test]
    fn the_definitions_hold() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_was_typed_becomes_a_spec() {
        let typed = [
            "rungs",
            "package",
            "in.mp4",
            "-o",
            "out",
            "--rung",
            "720p@crf=40",
            "--quality",
            "high",
        ];
        let Command::Package(args) = Cli::parse_from(typed).command else {
            panic!("another command")
        };
        let spec = args.making.spec();
        assert_eq!((spec.crf_of(Codec::Av1), spec.speed), (26, 8));
        assert_eq!(spec.rungs[0].crf, Some(40));
        let defaults = Spec::default();
        assert_eq!(
            (spec.segment_seconds, spec.audio),
            (defaults.segment_seconds, defaults.audio)
        );
    }
}
