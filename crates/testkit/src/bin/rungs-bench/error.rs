//! What can stop a measurement.

use std::path::PathBuf;
use std::process::ExitStatus;

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program could not be started or waited for.
    #[error("cannot run {program}")]
    Run {
        /// The program, as it was called.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },

    /// A program ended badly.
    #[error("{program} ended with {status}:\n{stderr}")]
    Failed {
        /// The program, as it was called.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        stderr: String,
    },

    /// A program said something that this one does not understand.
    #[error("{program} said {said:?} where {wanted} was expected")]
    Answer {
        /// The program, as it was called.
        program: String,
        /// What it said.
        said: String,
        /// What was expected.
        wanted: &'static str,
    },

    /// A file or folder could not be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// The clip has no video.
    #[error("{} has no video track", path.display())]
    NoVideo {
        /// The clip.
        path: PathBuf,
    },
}
