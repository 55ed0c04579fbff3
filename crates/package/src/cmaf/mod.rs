//! Tracks and segments in, CMAF files out (ISO/IEC 23000-19): pure functions over bytes.
//!
//! Each file holds one track, number 1. A segment is one fragment, `styp sidx moof mdat`, with the
//! samples' true times. AV1 and audio have no composition offsets: decoding order is presentation
//! order. H.264 and HEVC have some above zero, and an edit list that takes the first one off again:
//! the first picture of a segment is shown at its `tfdt`, on the same grid. Offsets below zero
//! without an edit list would say the same (brand `cmf2`), but FFmpeg shows such fragments late by
//! the lowest offset.

mod init;
mod picture;
mod read;
mod segment;

use shiguredo_mp4::boxes::UnknownBox;
use shiguredo_mp4::{BoxSize, BoxType, Encode};

pub(crate) use init::file_start;
pub use init::init_segment;
pub(crate) use read::boxes;
pub use read::{ReadError, SegmentFacts, read_segment};
pub use segment::media_segment;
pub(crate) use segment::segment_front;

use crate::audio::AudioConfigError;
use crate::track::Nclx;

/// The one track of each file.
pub(crate) const TRACK_ID: u32 = 1;

/// Why a track or segment could not be muxed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MuxError {
    /// The timescale is zero.
    #[error("the timescale is zero")]
    NoTimescale,
    /// A size is zero or does not fit the 16 bits of a sample entry.
    #[error("a picture of {width}x{height} does not fit a sample entry")]
    Dimensions {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// An AV1 video has no sequence header.
    #[error("there is no sequence header")]
    NoHeader,
    /// The sequence headers of a video cannot belong to one track.
    #[error("sequence header {place} breaks the contract of the first: {difference}")]
    Contract {
        /// Its place in the track's list, from 0.
        place: usize,
        /// The first difference, the first header's value first.
        difference: String,
    },
    /// A segment's first sample has a sequence header that the initialisation segment does not describe, or none.
    #[error("the segment's sequence header is none of the {entries} that the track has")]
    UnknownHeader {
        /// How many the track has.
        entries: usize,
    },
    /// The track states other colours than its codec's headers (AV1-ISOBMFF §2.2.4 wants them
    /// equal).
    #[error("the track's colours {track:?} contradict the {header:?} of the codec's headers")]
    Colors {
        /// What the track states.
        track: Nclx,
        /// What the encoder wrote.
        header: Nclx,
    },
    /// The audio priming does not fit the codec's box.
    #[error("audio priming of {ticks} ticks does not fit 16 bits")]
    Priming {
        /// Ticks of priming.
        ticks: u32,
    },
    /// The audio codec's configuration cannot be read.
    #[error("the audio codec's configuration cannot be read")]
    AudioConfig(#[from] AudioConfigError),
    /// Subtitles are `WebVTT`, and never muxed.
    #[error("subtitles are not muxed")]
    Text,
    /// A segment without samples.
    #[error("the segment has no samples")]
    NoSamples,
    /// The segment does not fit the 32-bit sizes of its boxes.
    #[error("the segment's {bytes} bytes and {ticks} ticks do not fit 32 bits")]
    TooLarge {
        /// Bytes of all samples.
        bytes: u64,
        /// Ticks of all samples.
        ticks: u64,
    },
    /// The box writer refused, which the checks before it should have made impossible.
    #[error("a box could not be written: {reason}")]
    Box {
        /// What it said.
        reason: String,
    },
}

/// Encodes a box.
pub(crate) fn encode(item: &impl Encode) -> Result<Vec<u8>, MuxError> {
    item.encode_to_vec().map_err(|error| MuxError::Box {
        reason: error.to_string(),
    })
}

/// Makes a box of a kind that the box library has no type for.
fn raw_box(kind: [u8; 4], payload: Vec<u8>) -> UnknownBox {
    let box_type = BoxType::Normal(kind);
    let box_size = BoxSize::with_payload_size(box_type, payload.len() as u64);
    UnknownBox {
        box_type,
        box_size,
        payload,
    }
}
