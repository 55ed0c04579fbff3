//! One media segment in, what its boxes say out: the way back from [`media_segment`](super::media_segment), for those who check
//! what lies on a disk.

use shiguredo_mp4::Decode;
use shiguredo_mp4::boxes::{MoofBox, TrafBox};

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Number of the fragment in `mfhd`; it counts from 1.
    pub number: u32,
    /// When the first sample is decoded, in ticks of the track (`tfdt`).
    pub decode_time: u64,
    /// Sum of the samples' durations, in ticks.
    pub duration: u64,
    /// How many samples there are.
    pub samples: u32,
    /// Where the first sample ends in the file.
    pub first_end: u64,
    /// Duration of the last sample, in ticks; 0 where there is none.
    pub last_duration: u64,
}

/// Why a segment cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A box ends after the file does, or has an impossible size.
    #[error("a box at byte {at} does not end inside the file")]
    Cut {
        /// Where the box starts.
        at: usize,
    },
    /// There are other boxes, or in another order.
    #[error("the boxes are {found}, where {expected} are due")]
    Boxes {
        /// Their kinds.
        found: String,
        /// What the kinds should be.
        expected: &'static str,
    },
    /// A box cannot be read.
    #[error("the moof box cannot be read: {reason}")]
    Moof {
        /// Why.
        reason: String,
    },
    /// A fragment of several tracks, without a time, or with a sample that has no duration or no size.
    #[error("the fragment does not say {what}")]
    Missing {
        /// What it lacks.
        what: &'static str,
    },
    /// The samples' sizes do not add up to the data.
    #[error("the samples take {listed} bytes, and there are {present}")]
    Data {
        /// Sum of the sizes.
        listed: u64,
        /// Bytes of data.
        present: u64,
    },
}

const ORDER: &str = "styp sidx moof mdat";

/// Reads a segment's boxes. Does not look into the samples.
pub fn read_segment(bytes: &[u8]) -> Result<SegmentFacts, ReadError> {
    let boxes = boxes(bytes)?;
    let kinds: Vec<String> = boxes.iter().map(|(kind, _)| kind.clone()).collect();
    let found = kinds.join(" ");
    let [_, _, (_, moof), (_, data)] = &boxes[..] else {
        return Err(ReadError::Boxes {
            found,
            expected: ORDER,
        });
    };
    if found != ORDER {
        return Err(ReadError::Boxes {
            found,
            expected: ORDER,
        });
    }
    let (moof, _) = MoofBox::decode(moof).map_err(|error| ReadError::Moof {
        reason: error.to_string(),
    })?;
    let [track] = &moof.traf_boxes[..] else {
        return Err(ReadError::Missing {
            what: "which track it is",
        });
    };
    let time = track.tfdt_box.as_ref();
    let sums = sums(track)?;
    // The header of `mdat` takes eight bytes.
    let present = data.len() as u64 - 8;
    if sums.bytes != present {
        return Err(ReadError::Data {
            listed: sums.bytes,
            present,
        });
    }
    Ok(SegmentFacts {
        number: moof.mfhd_box.sequence_number,
        decode_time: time
            .ok_or(ReadError::Missing {
                what: "when it is decoded",
            })?
            .base_media_decode_time,
        duration: sums.ticks,
        samples: sums.samples,
        first_end: bytes.len() as u64 - present + sums.first,
        last_duration: sums.last,
    })
}

#[derive(Default)]
struct Sums {
    ticks: u64,
    bytes: u64,
    samples: u32,
    /// Bytes of the first sample.
    first: u64,
    /// Ticks of the last sample.
    last: u64,
}

fn sums(track: &TrafBox) -> Result<Sums, ReadError> {
    let defaults = &track.tfhd_box;
    let mut sums = Sums::default();
    for sample in track.trun_boxes.iter().flat_map(|run| &run.samples) {
        let duration = sample.duration.or(defaults.default_sample_duration);
        let size = sample.size.or(defaults.default_sample_size);
        sums.samples += 1;
        sums.last = u64::from(duration.ok_or(ReadError::Missing {
            what: "how long its samples are",
        })?);
        sums.ticks += sums.last;
        sums.bytes += u64::from(size.ok_or(ReadError::Missing {
            what: "how large its samples are",
        })?);
        if sums.samples == 1 {
            sums.first = sums.bytes;
        }
    }
    Ok(sums)
}

/// Splits a file into its boxes: the kind of each, and its bytes with the header.
pub(crate) fn boxes(bytes: &[u8]) -> Result<Vec<(String, &[u8])>, ReadError> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let cut = ReadError::Cut { at };
        let (Some(size), Some(kind)) = (rest.first_chunk::<4>(), rest.get(4..8)) else {
            return Err(cut);
        };
        let size = u32::from_be_bytes(*size) as usize;
        let whole = rest.get(..size).filter(|_| size >= 8).ok_or(cut)?;
        found.push((String::from_utf8_lossy(kind).into_owned(), whole));
        at += size;
    }
    Ok(found)
}
