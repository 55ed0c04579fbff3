//! Committed CMAF segments in, one plain MP4 file out (ISO/IEC 14496-12, 14496-14): `ftyp moov mdat`, the index first.
//!
//! ```text
//! init.mp4 ─► MediaTrack::new ─┐
//! front of seg-00000.m4s ─► push ─► tables ─┐
//!                                           ▼
//!                        about: tags, chapters ─► plain() ─► head: ftyp, moov, the start of mdat
//!                                                        └─► pieces: which bytes of which segment follow, in order
//! ```
//!
//! Nothing here reads or writes files: the caller gives the front of each segment, and copies the pieces. What is kept for each sample is four bytes of
//! size; times and places are kept in runs and chunks.

mod about;
mod boxes;
mod collect;
mod movie;
mod text;

pub use about::{About, Chapter, Tag};
pub use collect::{MediaTrack, front};
pub use movie::{Piece, Plain, plain};
pub use text::{TextAbout, TextMedia};

use crate::cmaf::ReadError;

/// Why segments cannot become a plain file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlainError {
    /// An initialisation segment or the front of a segment cannot be read.
    #[error("a segment cannot be read")]
    Read(#[from] ReadError),
    /// A box that has to be there is not, or is cut off.
    #[error("the box `{0}` is missing or cut off")]
    Missing(&'static str),
    /// A segment does not start where the one before ends.
    #[error("a segment starts at tick {actual} where tick {expected} was due")]
    Discontiguous {
        /// Where the earlier one ends.
        expected: u64,
        /// Where this one starts.
        actual: u64,
    },
    /// A track has no samples, or there is no track.
    #[error("there are no samples")]
    Empty,
    /// A table outgrows the 32 bits of a box's size or of a count.
    #[error("the index outgrows what an MP4 file can hold")]
    TooLong,
}
