//! One track's initialisation segment and the fronts of its segments in, its sample tables out.

use std::io::{self, Read};

use shiguredo_mp4::boxes::{MoofBox, TrafBox, TrunBox};
use shiguredo_mp4::{Decode, SampleFlags};

use super::PlainError;
use super::boxes::extend_run;
use crate::cmaf::{ReadError, boxes};

/// Whether a sample is no sync sample, in its flags (ISO/IEC 14496-12 §8.8.3.1).
const NON_SYNC: u32 = 0x1_0000;
/// Chunks are closed when they are this long, as a part of a second: readers of the file then find sound and picture of the same moment close
/// to each other.
const CHUNKS_A_SECOND: u64 = 2;
/// What `tkhd` has after its times: from `reserved` to the size.
const HEADER_TAIL: usize = 60;

/// Samples that lie together, in a segment and in the plain file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Place of the segment.
    pub(super) segment: u32,
    /// Where the samples start in the segment's file.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) samples: u32,
    /// The sample entry that describes them, from 1.
    pub(super) entry: u32,
    /// When the first is decoded, in ticks.
    pub(super) time: u64,
}

/// A track of the plain file, as far as its segments have been given.
#[derive(Debug, Clone)]
pub struct MediaTrack {
    pub(super) timescale: u32,
    /// `vide` or `soun`.
    pub(super) handler: [u8; 4],
    /// The end of `tkhd`: layer, volume, matrix, size.
    pub(super) header_tail: Vec<u8>,
    /// Language and `pre_defined` of `mdhd`.
    pub(super) language: Vec<u8>,
    /// `hdlr` and `elng`, whole.
    pub(super) described: Vec<u8>,
    /// `vmhd` or `smhd`, and `dinf`, whole.
    pub(super) media_header: Vec<u8>,
    /// `stsd`, whole.
    pub(super) entries: Vec<u8>,
    /// `sgpd`, whole, if all samples belong to a pre-roll group.
    pub(super) pre_roll: Option<Vec<u8>>,
    /// Where the presentation starts in the media, in ticks of the first segment's clock.
    pub(super) skip: u64,
    /// When the first sample is decoded.
    pub(super) first: Option<u64>,
    /// When the next segment is due.
    pub(super) next: u64,
    pub(super) samples: u32,
    pub(super) durations: Vec<(u32, u32)>,
    /// Composition offsets, of which negative ones stand as two's complement.
    pub(super) offsets: Vec<(u32, u32)>,
    pub(super) sizes: Vec<u32>,
    /// Places of the sync samples, from 1.
    pub(super) sync: Vec<u32>,
    pub(super) chunks: Vec<Chunk>,
}

/// Boxes that are looked for by their kind.
struct Boxes<'a>(Vec<(String, &'a [u8])>);

impl<'a> Boxes<'a> {
    fn of(payload: &'a [u8]) -> Result<Self, PlainError> {
        Ok(Self(boxes(payload)?))
    }

    /// A box with its header.
    fn whole(&self, kind: &'static str) -> Result<&'a [u8], PlainError> {
        self.find(kind).ok_or(PlainError::Missing(kind))
    }

    fn find(&self, kind: &str) -> Option<&'a [u8]> {
        let found = self.0.iter().find(|(other, _)| other == kind);
        found.map(|(_, bytes)| *bytes)
    }

    fn inside(&self, kind: &'static str) -> Result<Self, PlainError> {
        Self::of(&self.whole(kind)?[8..])
    }
}

/// Some bytes of a box.
fn field<'a>(
    whole: &'a [u8],
    at: usize,
    (length, kind): (usize, &'static str),
) -> Result<&'a [u8], PlainError> {
    whole.get(at..at + length).ok_or(PlainError::Missing(kind))
}

fn number(whole: &[u8], at: usize, kind: &'static str) -> Result<u32, PlainError> {
    let bytes = field(whole, at, (4, kind))?;
    Ok(bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

fn tail<'a>(
    whole: &'a [u8],
    (length, kind): (usize, &'static str),
) -> Result<&'a [u8], PlainError> {
    let start = whole.len().checked_sub(length);
    field(
        whole,
        start.ok_or(PlainError::Missing(kind))?,
        (length, kind),
    )
}

impl MediaTrack {
    /// Reads a track's initialisation segment: one track, no samples. Sample entries are taken over as they are, whatever the codec.
    pub fn new(init: &[u8]) -> Result<Self, PlainError> {
        let track = Boxes::of(init)?.inside("moov")?.inside("trak")?;
        let media = track.inside("mdia")?;
        let (mdhd, hdlr) = (media.whole("mdhd")?, media.whole("hdlr")?);
        let information = media.inside("minf")?;
        let table = information.inside("stbl")?;
        let mut described = hdlr.to_vec();
        described.extend(media.find("elng").unwrap_or_default());
        let header = information
            .find("vmhd")
            .or(information.find("smhd"))
            .ok_or(PlainError::Missing("vmhd or smhd"))?;
        let mut media_header = header.to_vec();
        media_header.extend(information.whole("dinf")?);
        let version = field(mdhd, 8, (1, "mdhd"))?[0];
        let handler = field(hdlr, 16, (4, "hdlr"))?;
        Ok(Self {
            timescale: number(mdhd, if version == 0 { 20 } else { 28 }, "mdhd")?.max(1),
            handler: handler.try_into().unwrap_or_default(),
            header_tail: tail(track.whole("tkhd")?, (HEADER_TAIL, "tkhd"))?.to_vec(),
            language: tail(mdhd, (4, "mdhd"))?.to_vec(),
            described,
            media_header,
            entries: table.whole("stsd")?.to_vec(),
            pre_roll: table.find("sgpd").map(<[u8]>::to_vec),
            skip: skip(&track)?,
            first: None,
            next: 0,
            samples: 0,
            durations: Vec::new(),
            offsets: Vec::new(),
            sizes: Vec::new(),
            sync: Vec::new(),
            chunks: Vec::new(),
        })
    }

    /// Adds a segment, in order: `front` is what [`front`](front()) gives of its file.
    pub fn push(&mut self, segment: u32, front: &[u8]) -> Result<(), PlainError> {
        let (moof, data) = front
            .len()
            .checked_sub(8)
            .map(|at| front.split_at(at))
            .ok_or(PlainError::Missing("mdat"))?;
        let moof = Boxes::of(moof)?.whole("moof")?;
        let (moof, _) = MoofBox::decode(moof).map_err(|error| ReadError::Moof {
            reason: error.to_string(),
        })?;
        let [track] = &moof.traf_boxes[..] else {
            return Err(PlainError::Missing("traf"));
        };
        let time = track.tfdt_box.as_ref().ok_or(PlainError::Missing("tfdt"))?;
        let time = time.base_media_decode_time;
        if self.first.is_none() {
            self.first = Some(time);
            self.next = time;
        }
        if time != self.next {
            return Err(PlainError::Discontiguous {
                expected: self.next,
                actual: time,
            });
        }
        let listed = self.add(track, (segment, front.len() as u64))?;
        let present = u64::from(number(data, 0, "mdat")?) - 8;
        if listed != present {
            return Err(ReadError::Data { listed, present }.into());
        }
        Ok(())
    }

    /// Adds a fragment's samples. Gives their bytes.
    fn add(&mut self, track: &TrafBox, (segment, at): (u32, u64)) -> Result<u64, PlainError> {
        let defaults = &track.tfhd_box;
        let entry = defaults.sample_description_index.unwrap_or(1);
        let chunk = |offset, time| Chunk {
            segment,
            offset,
            bytes: 0,
            samples: 0,
            entry,
            time,
        };
        let long = u64::from(self.timescale) / CHUNKS_A_SECOND;
        let mut open = chunk(at, self.next);
        for run in &track.trun_boxes {
            for (place, sample) in run.samples.iter().enumerate() {
                let size = sample.size.or(defaults.default_sample_size);
                let size = size.ok_or(PlainError::Missing("sample size"))?;
                let duration = sample.duration.or(defaults.default_sample_duration);
                let duration = duration.ok_or(PlainError::Missing("sample duration"))?;
                if self.next - open.time >= long {
                    let offset = open.offset + open.bytes;
                    self.chunks.push(open);
                    open = chunk(offset, self.next);
                }
                let flags =
                    flags(run, place).or(defaults.default_sample_flags.map(SampleFlags::get));
                self.sample((size, duration), flags.unwrap_or(0))?;
                let offset = sample.composition_time_offset.unwrap_or(0);
                extend_run(&mut self.offsets, offset as u32);
                open.bytes += u64::from(size);
                open.samples += 1;
            }
        }
        let bytes = open.offset + open.bytes - at;
        self.chunks.push(open);
        Ok(bytes)
    }

    fn sample(&mut self, (size, duration): (u32, u32), flags: u32) -> Result<(), PlainError> {
        self.samples = self.samples.checked_add(1).ok_or(PlainError::TooLong)?;
        self.sizes.push(size);
        extend_run(&mut self.durations, duration);
        if flags & NON_SYNC == 0 {
            self.sync.push(self.samples);
        }
        self.next += u64::from(duration);
        Ok(())
    }

    /// How long the samples so far are, in ticks.
    pub(super) fn duration(&self) -> u64 {
        self.next - self.first.unwrap_or(self.next)
    }
}

fn flags(run: &TrunBox, place: usize) -> Option<u32> {
    let first = run.first_sample_flags.filter(|_| place == 0);
    let own = || run.samples.get(place).and_then(|sample| sample.flags);
    first.or_else(own).map(SampleFlags::get)
}

/// Where the edit list has the presentation start in the media.
fn skip(track: &Boxes<'_>) -> Result<u64, PlainError> {
    let Some(edits) = track.find("edts") else {
        return Ok(0);
    };
    let list = Boxes::of(&edits[8..])?.whole("elst")?;
    // One entry: the edit's duration, then where it starts in the media, each with 32 or 64 bits.
    if field(list, 8, (1, "elst"))?[0] == 0 {
        return Ok(number(list, 20, "elst")?.into());
    }
    let (high, low) = (number(list, 24, "elst")?, number(list, 28, "elst")?);
    Ok(u64::from(high) << 32 | u64::from(low))
}

/// Reads a segment's file up to its samples: everything through the header of `mdat`. Blocks on the reader, which has to be buffered or a file.
pub fn front(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    /// More than the boxes before `mdat` can take: a segment of hours.
    const MOST: u64 = 1 << 30;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "this is no segment");
    let mut front = Vec::new();
    loop {
        let mut header = [0; 8];
        reader.read_exact(&mut header)?;
        front.extend(header);
        let [a, b, c, d, kind @ ..] = header;
        if kind == *b"mdat" {
            return Ok(front);
        }
        let payload = u64::from(u32::from_be_bytes([a, b, c, d])).checked_sub(8);
        let payload = payload.filter(|length| *length < MOST).ok_or_else(bad)?;
        let before = front.len() as u64;
        reader.by_ref().take(payload).read_to_end(&mut front)?;
        if front.len() as u64 - before != payload {
            return Err(bad());
        }
    }
}
