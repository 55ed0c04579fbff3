//! The segments of a track in, one file that holds them all out: its head, and where everything lies in it.
//!
//! ```text
//! ftyp moov   as in the initialisation segment, with one brand more
//! sidx        where each segment starts, how long it is, that it starts with a keyframe (ISO/IEC 14496-12 §8.16.3)
//! moof mdat   of each segment, without what stands before its `moof` in a file of its own
//! ```
//!
//! All of it follows from what is recorded of the segments: nobody has to read them to know the file.

use std::collections::BTreeMap;

use shiguredo_mp4::boxes::{SidxBox, SidxReference};

use crate::cmaf::{MuxError, TRACK_ID, encode, file_start, segment_front};
use crate::hls::ByteRange;
use crate::track::Track;

/// References that a `sidx` has room for. In a file with more segments, several make one.
const MOST_REFERENCES: usize = u16::MAX as usize;

/// What is recorded of a segment: its length as a file of its own, and when it is decoded and for how long, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) bytes: u64,
    pub(crate) decode_time: u64,
    pub(crate) duration: u64,
}

/// A file that holds all segments of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleFile {
    /// What stands before the first segment.
    pub head: Vec<u8>,
    /// Where the initialisation segment is.
    pub init: ByteRange,
    /// Where `sidx` is.
    pub index: ByteRange,
    /// The segments by their place.
    pub pieces: BTreeMap<u32, Piece>,
}

/// A segment in a [`SingleFile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What stands before its `moof` in a file of its own, and is left out here.
    pub front: Vec<u8>,
    /// Where the rest of it is.
    pub range: ByteRange,
}

impl SingleFile {
    /// Lays out the file of a track of pictures or sound.
    ///
    /// Fails on segments that outgrow the 31 bits that an index has for their sizes.
    pub(crate) fn new(track: &Track, parts: &BTreeMap<u32, Part>) -> Result<Self, MuxError> {
        let mut measured = Vec::with_capacity(parts.len());
        for (&place, part) in parts {
            let times = (part.decode_time, part.duration);
            // Its length does not depend on the size in it.
            let front = segment_front(track, times, 0)?.len() as u64;
            let length = part.bytes.saturating_sub(front);
            let front = segment_front(track, times, size(length, part.duration)?)?;
            measured.push((place, part, front, length));
        }
        let references = references(track, &measured)?;
        let first = parts.values().next();
        let start = first.map_or(0, |part| track.presentation(part.decode_time, 0).0);
        let index = encode(&SidxBox {
            reference_id: TRACK_ID,
            timescale: track.timescale(),
            earliest_presentation_time: start,
            first_offset: 0,
            references,
        })?;
        let init = file_start(track)?;
        let (init_length, index_length) = (init.len() as u64, index.len() as u64);
        let mut offset = init_length + index_length;
        let mut pieces = BTreeMap::new();
        for (place, _, front, length) in measured {
            let range = ByteRange { offset, length };
            pieces.insert(place, Piece { front, range });
            offset += length;
        }
        Ok(Self {
            head: [init, index].concat(),
            init: ByteRange {
                offset: 0,
                length: init_length,
            },
            index: ByteRange {
                offset: init_length,
                length: index_length,
            },
            pieces,
        })
    }

    /// Returns the length of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let pieces = self.pieces.values().map(|piece| piece.range.length);
        self.head.len() as u64 + pieces.sum::<u64>()
    }
}

fn size(length: u64, ticks: u64) -> Result<u32, MuxError> {
    let size = u32::try_from(length).ok().filter(|&size| size < 1 << 31);
    size.ok_or(MuxError::TooLarge {
        bytes: length,
        ticks,
    })
}

fn references(
    track: &Track,
    measured: &[(u32, &Part, Vec<u8>, u64)],
) -> Result<Vec<SidxReference>, MuxError> {
    let together = measured.len().div_ceil(MOST_REFERENCES).max(1);
    let rows = measured.chunks(together).map(|row| {
        let bytes = row.iter().map(|(_, _, _, length)| length).sum();
        let presented = row.iter().map(|(_, part, _, _)| {
            let (_, ticks) = track.presentation(part.decode_time, part.duration);
            ticks
        });
        let ticks: u64 = presented.sum();
        Ok(SidxReference {
            reference_type: false,
            referenced_size: size(bytes, ticks)?,
            subsegment_duration: u32::try_from(ticks)
                .map_err(|_| MuxError::TooLarge { bytes, ticks })?,
            starts_with_sap: true,
            sap_type: 1,
            sap_delta_time: 0,
        })
    });
    rows.collect()
}
