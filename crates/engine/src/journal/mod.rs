//! `OUT/.rungs`: the plan, the journal of what is stored, and the lock of the run that works there.
//!
//! ```text
//! packager ─► JobOutput ─► Directory    a file: temporary, flushed, renamed, its folder flushed
//!                 └──────► database     then its row, durable; only then a playlist may name it
//! ```
//!
//! A [`JobFolder`] is the claim on a folder: it holds the lock, knows whether a job was begun there, and becomes the
//! [`JobOutput`] of the run. What is in the files is never trusted: names and numbers that no job has are refused, rows whose file is
//! missing or is not what the row says are dropped, and segments without a row are swept if they prove to be the job's. [`Belongings`]
//! are all files of which that can be proved; no others are removed or written over.

mod belongings;
mod check;
mod database;
mod expected;
mod folder;
mod identity;
mod lock;
mod names;
mod place;
mod record;
mod shelf;
mod verify;

use std::io;
use std::path::PathBuf;

use rungs_package::output::OutputError;
use rungs_package::tree::TreeError;

pub use belongings::Belongings;
pub use check::Unfit;
pub use folder::{JobFolder, JobOutput, Stand};
pub use identity::SourceIdentity;
pub use lock::Holder;
pub use names::Names;
pub use record::{Difference, JobRecord, RECORD_VERSION, SourceRecord};
pub use verify::{Depth, Finding, Verified, verify};

/// Folder of the job's own files below the output.
pub const PRIVATE: &str = ".rungs";
/// The record, relative to the output.
const RECORD: &str = ".rungs/plan.json";
/// The journal, relative to the output.
const JOURNAL: &str = ".rungs/journal.sqlite";
/// The lock, relative to the output.
const LOCK: &str = ".rungs/lock";

/// Why a job's folder cannot be worked in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The machine has too little left to decode what is to be checked.
    #[error("the package cannot be decoded here")]
    Undecoded {
        /// What the decoder wanted.
        source: rungs_media::Error,
    },
    /// Another run works there.
    #[error("another run works in {}: {holder}", root.display())]
    Held {
        /// The output folder.
        root: PathBuf,
        /// Who.
        holder: Holder,
    },
    /// The lock cannot be taken, for another reason than that somebody has it.
    #[error("the lock {} cannot be taken", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the job cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record is no record.
    #[error("the record {} is damaged", path.display())]
    Record {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The record was written by a later version of this program, or the journal by another one.
    #[error("{} is of version {found}, and this rungs is for version {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The one that is written here.
        known: u32,
    },
    /// The journal cannot be read or written as a database.
    #[error("the journal {} is damaged or cannot be used", path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// What `SQLite` says.
        source: rusqlite::Error,
    },
    /// There is a record and no journal.
    #[error("the journal {} is missing", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Record or journal hold what no job has.
    #[error("{} holds what no job has", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What.
        source: Unfit,
    },
    /// Something stands where the job would write a file or a folder, and no journal says that it is a job's.
    #[error("{} is in the way, and is nothing that rungs is known to have written", path.display())]
    Foreign {
        /// What.
        path: PathBuf,
    },
    /// There is no record of a job.
    #[error("{} has no folder .rungs with a plan in it", root.display())]
    NoJob {
        /// The folder.
        root: PathBuf,
    },
    /// The plan in the record cannot be packaged.
    #[error("the plan in {} cannot be packaged", path.display())]
    Plan {
        /// The record.
        path: PathBuf,
        /// Why.
        source: Box<crate::Error>,
    },
    /// The putting together of the parts was cancelled.
    #[error("it was interrupted while its parts were put together")]
    Interrupted,
    /// A file could not be written.
    #[error("the package cannot be written")]
    Output(#[from] OutputError),
}

fn is_link(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(TreeError::Link))
}

impl JournalError {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Undecoded { .. } => crate::error::MORE_PROCESSES,
            Self::Held { .. } => "wait until it ends, or end it; or give another folder",
            Self::Output(error) if error.is_no_space() => {
                "make room and run the same command again: it goes on where this run ended"
            }
            Self::Lock { source, .. } | Self::Read { source, .. } if is_link(source) => {
                "remove the link, or give another folder: what it leads to was not touched"
            }
            Self::Output(error) if is_link(&error.source) => {
                "remove the link, or give another folder: what it leads to was not touched"
            }
            Self::Lock { .. } | Self::Read { .. } | Self::Output(_) => {
                "check that the folder is there and that you may write to it"
            }
            Self::Foreign { .. } => {
                "move it away, or give another folder; not even --force removes it"
            }
            Self::Version { .. } => "use the rungs that made it, or start afresh with --force",
            Self::Interrupted => "run the same command again: it goes on where this run ended",
            Self::NoJob { .. } => "give the folder that `rungs package` wrote to with -o",
            Self::Record { .. }
            | Self::Database { .. }
            | Self::Missing { .. }
            | Self::Unfit { .. }
            | Self::Plan { .. } => {
                "start afresh with --force, or delete the folder .rungs if the package is finished"
            }
        }
    }
}
