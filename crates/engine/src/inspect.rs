//! Packets of a segment and the span that they were made of in, a finding or silence out.
//!
//! ```text
//! span ─► signatures, once for all renditions ─┐
//!                                              ├─► judge ─► finding: an error of the device
//! packets ─► decoder ─► signature of each ─────┘
//! ```
//!
//! An encoder that lies, or a device with a broken memory, gives packets that look whole. So they are decoded before they are committed, and
//! each picture is compared with its own and with its neighbours in the span, from afar: by the means of its luma over a grid of cells.
//! That is cheap, and the same for all sizes. [`Sampling`] keeps what it costs within bounds.
//!
//! What the comparison cannot see: pictures in the wrong place where nothing moves, where the difference is less than what strong
//! compression does, or within a plain fade; and damage that stays inside a cell.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rungs_media::Packet;
use rungs_media::decode::{Received, VideoDecoder};
use rungs_media::encode::{Codec, EncodedPacket};
use rungs_media::frame::{Frame, PixelFormat};
use rungs_package::av1::{self, Av1Error, SequenceHeader};
use rungs_package::coding::{Coding, CodingError};
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::coding::packaged;
use crate::error::EncodeError;
use crate::ids::DeviceId;
use crate::ids::RenditionId;
use crate::plan::Rendition;
use crate::scaling::Sizer;
use crate::span::{Difference, Encoded, Outline, Task};

/// Cells of luma along each side of a picture. 8 see half as much of small movements.
const LUMA_SIDE: usize = 16;
const LUMA_CELLS: usize = LUMA_SIDE * LUMA_SIDE;
/// Cells of either chroma plane along each side.
const CHROMA_SIDE: usize = 4;
const CHROMA_CELLS: usize = CHROMA_SIDE * CHROMA_SIDE;

/// Below this deviation of its cells, in levels, a picture is flat: what structure it has is the encoder's.
const FLAT: f32 = 0.5;
/// How far mean and deviation of luma may be off, in levels. Encoders follow fades late: by 11 levels at the worst seen (a constant rate
/// factor of 63, a noisy fade of two seconds).
const BRIGHTNESS: f32 = 20.0;
/// How far a cell of chroma may be off, in levels; 25 at the worst seen (64x64 at 63). A green picture is off by 128.
const CHROMA: f32 = 56.0;
/// A picture shows something else when its structure is off by more levels than the first, and by more of the picture's own deviation
/// than the second, where 1.41 is chance. At the worst seen it was off by 0.25 of the deviation.
const STRUCTURE: (f32, f32) = (6.0, 0.7);
/// A picture is in the wrong place when it is further from its own than twice as far as from another, by so many levels and twice the
/// noise of the segment. At the worst seen it was over by 0.01.
const MISPLACED: f32 = 0.75;
/// The same for keyframes: SVT-AV1 filters them over time, and one that looked like the next picture was over by 0.3.
const MISPLACED_KEY: f32 = 2.5;
/// The same for more than a quarter of the pictures: encoders err in single ones.
const MISPLACED_MANY: f32 = 0.4;
/// How far around its place a picture is looked for, in pictures.
const REACH: usize = 48;

/// Share of a session's time that inspection may take when it samples.
const SHARE: f64 = 0.05;
/// The part of that share that whole segments may take, so that something is left for a glance at each of the others.
const WHOLE: f64 = 0.6;
/// Pictures of a glance.
pub(crate) const GLANCE: usize = 8;
/// Segments that get at least a glance first of each rendition on each device, whatever it costs.
const FIRST: u32 = 2;
/// Tasks of a device that are inspected after it failed, whatever they cost.
const SUSPECT: u32 = 16;

/// Which segments are decoded before they are committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inspect {
    /// As many as fit into a twentieth of the encoders' time, and those that are suspect: see [`Sampling`].
    #[default]
    Sampled,
    /// All.
    All,
    /// None, and no header is read either: for encoders that make no AV1.
    Off,
}

/// How closely one segment is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// Packets are counted.
    #[default]
    Nothing,
    /// The codec configuration is held against the plan's too.
    Headers,
    /// The first pictures are decoded and compared with the span's too.
    Glance,
    /// All is decoded and compared with the span.
    Pictures,
}

impl Depth {
    /// Whether pictures are decoded and compared.
    pub(crate) const fn looks(self) -> bool {
        matches!(self, Self::Glance | Self::Pictures)
    }
}

/// What is wrong with a segment.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// A keyframe has no codec configuration that can be read.
    #[error("the codec configuration in picture {picture} cannot be read")]
    Header {
        /// Place in the segment.
        picture: usize,
        /// Why.
        source: CodingError,
    },
    /// The segment has another codec configuration than its rendition.
    #[error("picture {picture} has another codec configuration: {difference}")]
    Contract {
        /// Place in the segment.
        picture: usize,
        /// The first difference, the rendition's value first.
        difference: String,
    },
    /// The segment has another sequence header than its encoder gave in the trial, in a rendition that several encoders share: there is
    /// no sample entry for it.
    #[error(
        "picture {picture} has another sequence header than the encoder's trial, and no sample entry describes it"
    )]
    Unknown {
        /// Place in the segment.
        picture: usize,
    },
    /// The segment does not decode.
    #[error("the segment does not decode after {pictures} pictures")]
    Undecodable {
        /// Pictures that came out before.
        pictures: usize,
        /// What the decoder said.
        source: rungs_media::Error,
    },
    /// More or fewer pictures come out of the decoder than went into the encoder.
    #[error("{sent} pictures went in and {shown} can be decoded")]
    Count {
        /// Pictures sent.
        sent: usize,
        /// Pictures decoded.
        shown: usize,
    },
    /// A picture has another size or kind of samples than the rendition.
    #[error("picture {picture} is {found}, not {wanted}")]
    Shape {
        /// Place in the segment.
        picture: usize,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// A picture shows something else than what was sent.
    #[error("picture {picture} shows something else: {measure} is off by {off:.1}")]
    Foreign {
        /// Place in the segment.
        picture: usize,
        /// What was compared.
        measure: &'static str,
        /// By how many levels of 255.
        off: f32,
    },
    /// A picture shows what belongs to another place of the span.
    #[error(
        "picture {picture} shows what belongs to picture {shows}: {count} pictures are in the wrong place"
    )]
    Misplaced {
        /// Place in the segment.
        picture: usize,
        /// The place that it shows.
        shows: usize,
        /// How many such pictures there are.
        count: usize,
    },
}

/// What a picture looks like from afar: luma and chroma in the cells of a small grid.
///
/// It does not depend on the picture's size, so a span's signatures are computed once and serve all its renditions.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Mean of luma, in levels.
    mean: f32,
    /// Standard deviation of the cells' luma, in levels.
    deviation: f32,
    /// Luma of the cells less the mean, over the deviation; zero where the picture is flat. A fade leaves it as it is.
    structure: Box<[f32]>,
    chroma: [[f32; CHROMA_CELLS]; 2],
    /// Whether the picture was coded without reference to others.
    key: bool,
}

impl Signature {
    /// Looks at a picture in 4:2:0 of 8 or 10 bits; levels are those of 8.
    #[must_use]
    pub fn of(frame: &Frame) -> Self {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let half = (width.div_ceil(2), height.div_ceil(2));
        let luma = means::<LUMA_SIDE, LUMA_CELLS>(frame, 0, (width, height));
        let count = LUMA_CELLS as f32;
        let mean = luma.iter().sum::<f32>() / count;
        let squares = luma.iter().map(|cell| (cell - mean).powi(2));
        let deviation = (squares.sum::<f32>() / count).sqrt();
        let scale = if deviation < FLAT {
            0.0
        } else {
            deviation.recip()
        };
        Self {
            mean,
            deviation,
            structure: luma.iter().map(|cell| (cell - mean) * scale).collect(),
            chroma: [1, 2].map(|plane| means::<CHROMA_SIDE, CHROMA_CELLS>(frame, plane, half)),
            key: frame.is_key(),
        }
    }

    fn is_flat(&self) -> bool {
        self.deviation < FLAT
    }

    /// How far two structures are apart, where 0 is alike and 1.41 is chance.
    fn apart(&self, other: &Self) -> f32 {
        let pairs = self.structure.iter().zip(&other.structure);
        let squares: f32 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
        (squares / LUMA_CELLS as f32).sqrt()
    }

    /// What is off by more than an encoder can be, and by how much.
    fn foreign_to(&self, wanted: &Self) -> Option<(&'static str, f32)> {
        let apart = self.apart(wanted);
        let pairs = self
            .chroma
            .iter()
            .flatten()
            .zip(wanted.chroma.iter().flatten());
        let chroma = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let brightness = (self.mean - wanted.mean).abs();
        let contrast = (self.deviation - wanted.deviation).abs();
        let structure = apart * wanted.deviation;
        let tests = [
            ("its colour", chroma, chroma > CHROMA),
            ("its brightness", brightness, brightness > BRIGHTNESS),
            ("its contrast", contrast, contrast > BRIGHTNESS),
            (
                "its structure",
                structure,
                structure > STRUCTURE.0 && apart > STRUCTURE.1,
            ),
        ];
        let found = tests.into_iter().find(|(_, _, wrong)| *wrong);
        found.map(|(measure, off, _)| (measure, off))
    }
}

/// The mean of a plane over each cell of a grid of `SIDE` × `SIDE`. It is exact also where a border of cells runs through a sample: borders lie
/// at multiples of one `SIDE`th of a sample, so all weights are whole numbers.
fn means<const SIDE: usize, const CELLS: usize>(
    frame: &Frame,
    plane: usize,
    (width, height): (usize, usize),
) -> [f32; CELLS] {
    let mut sums = [0_u64; CELLS];
    let mut columns = vec![0_u32; width];
    let stride = frame.stride(plane).max(1);
    let wide = frame.format().bit_depth() > 8;
    // Levels are those of 8 bits.
    let finer = if wide { 4.0 } else { 1.0 };
    let rows: Vec<&[u8]> = frame.plane(plane).chunks(stride).take(height).collect();
    for (place, sums) in sums.chunks_mut(SIDE).enumerate() {
        columns.fill(0);
        for (row, weight) in covered::<SIDE>(place, rows.len()) {
            if wide {
                let (samples, _) = rows[row].as_chunks::<2>();
                for (sum, sample) in columns.iter_mut().zip(samples) {
                    *sum += u32::from(u16::from_le_bytes(*sample)) * weight;
                }
            } else {
                for (sum, sample) in columns.iter_mut().zip(rows[row]) {
                    *sum += u32::from(*sample) * weight;
                }
            }
        }
        for (place, sum) in sums.iter_mut().enumerate() {
            *sum = covered::<SIDE>(place, width)
                .map(|(column, weight)| u64::from(columns[column]) * u64::from(weight))
                .sum();
        }
    }
    // The weights of a cell add up to the number of samples in the picture.
    sums.map(|sum| sum as f32 / (width * height).max(1) as f32 / finer)
}

/// The samples that a cell covers, each with the share of it that lies inside, in `SIDE`ths.
fn covered<const SIDE: usize>(place: usize, length: usize) -> impl Iterator<Item = (usize, u32)> {
    let (from, to) = (place * length, (place + 1) * length);
    (from / SIDE..to.div_ceil(SIDE)).map(move |sample| {
        let start = from.max(sample * SIDE);
        let end = to.min((sample + 1) * SIDE);
        (sample, (end - start) as u32)
    })
}

/// Compares what was decoded, in order, with what was sent.
pub fn judge(shown: &[Signature], sent: &[Signature]) -> Result<(), Finding> {
    if shown.len() != sent.len() {
        return Err(Finding::Count {
            sent: sent.len(),
            shown: shown.len(),
        });
    }
    for (picture, (shown, wanted)) in shown.iter().zip(sent).enumerate() {
        if let Some((measure, off)) = shown.foreign_to(wanted) {
            return Err(Finding::Foreign {
                picture,
                measure,
                off,
            });
        }
    }
    judge_places(shown, sent)
}

/// How much more like another picture than like its own one is.
struct Likeness {
    picture: usize,
    /// The other picture that it is most like.
    most_like: usize,
    /// Distance from its own beyond twice that from the other, in levels.
    excess: f32,
    /// Distance from the one that it is most like, in levels.
    nearest: f32,
}

fn judge_places(shown: &[Signature], sent: &[Signature]) -> Result<(), Finding> {
    let likeness = |(picture, signature): (usize, &Signature)| {
        // A flat picture, as at the start of a fade, says nothing of its place.
        if signature.is_flat() {
            return None;
        }
        let deviation = sent[picture].deviation;
        let own = signature.apart(&sent[picture]) * deviation;
        let around = picture.saturating_sub(REACH)..sent.len().min(picture + REACH + 1);
        let others = around
            .filter(|other| *other != picture)
            .map(|other| (other, signature.apart(&sent[other]) * deviation));
        let (most_like, other) = others.min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Likeness {
            picture,
            most_like,
            excess: own - 2.0 * other,
            nearest: own.min(other),
        })
    };
    let all: Vec<Likeness> = shown.iter().enumerate().filter_map(likeness).collect();
    let mut nearest: Vec<f32> = all.iter().map(|likeness| likeness.nearest).collect();
    nearest.sort_by(f32::total_cmp);
    // What compression does to a picture wherever it stands.
    let noise = nearest.get(nearest.len() / 2).copied().unwrap_or(0.0);
    let beyond = |limit: f32| {
        let limits = all.iter().map(move |like| {
            let key = shown[like.picture].key && limit > MISPLACED_MANY;
            (like, if key { MISPLACED_KEY } else { limit })
        });
        let over = limits.filter(move |(like, limit)| like.excess > limit + 2.0 * noise);
        over.map(|(like, _)| like)
    };
    let many = beyond(MISPLACED_MANY).count() * 4 > all.len();
    let limit = if many { MISPLACED_MANY } else { MISPLACED };
    let worst = beyond(limit).max_by(|a, b| a.excess.total_cmp(&b.excess));
    worst.map_or(Ok(()), |worst| {
        Err(Finding::Misplaced {
            picture: worst.picture,
            shows: worst.most_like,
            count: beyond(limit).count(),
        })
    })
}

/// Looks at a task's result as closely as the task says, and keeps in it what that took and what was measured. Blocks while it decodes;
/// reads `cancel` once a picture.
pub(crate) fn inspect(
    task: &Task,
    encoded: &mut Encoded,
    cancel: &Cancel,
) -> Result<(), EncodeError> {
    let outline = task.footage.outline().ok_or(EncodeError::Starved)?;
    check_times(task.rendition.codec(), &outline, &encoded.packets)?;
    if task.depth != Depth::Nothing {
        check_configuration(&task.rendition, encoded)?;
    }
    // What is decoded to be measured is decoded to be judged. Pictures that were fed are gone: what is left of them is how they look from afar.
    let measures = task.footage.whole().is_some() && task.measure;
    if !measures && !task.depth.looks() {
        return Ok(());
    }
    let started = Instant::now();
    let mut looking = Looking::new(task);
    let count = if task.depth == Depth::Glance && !measures {
        first_shown(&outline, &encoded.packets)
    } else {
        encoded.packets.len()
    };
    decode(task, encoded, count, |picture, frame| {
        if cancel.is_cancelled() {
            return Err(EncodeError::Cancelled);
        }
        looking.look(picture, &frame)
    })?;
    encoded.difference = looking.finish(count)?;
    if task.depth != Depth::Nothing {
        let (time, pictures) = (started.elapsed(), count);
        encoded.inspected = Some(Inspected { time, pictures });
    }
    Ok(())
}

/// Packets of a glance: as many as may be such that they show the first pictures and no others. Each packet shows one picture, and the first
/// one the first.
fn first_shown(outline: &Outline, packets: &[EncodedPacket]) -> usize {
    let mut latest = i64::MIN;
    let mut count = 1;
    for (place, (packet, time)) in packets.iter().zip(&outline.times).take(GLANCE).enumerate() {
        latest = latest.max(packet.pts);
        if latest == time - outline.start() {
            count = place + 1;
        }
    }
    count.min(packets.len())
}

/// Checks that each picture became one packet with its time. Where the codec reorders pictures, packets stand in decoding order; what comes before a
/// keyframe in it is shown before, and what comes after is shown after.
pub(crate) fn check_times(
    codec: Codec,
    outline: &Outline,
    packets: &[EncodedPacket],
) -> Result<(), EncodeError> {
    if packets.len() != outline.times.len() {
        return Err(EncodeError::Count {
            sent: outline.times.len(),
            received: packets.len(),
        });
    }
    let mut shown: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
    if codec.reorders() {
        shown.sort_unstable();
    }
    let mut latest = i64::MIN;
    for (place, (time, packet)) in outline.times.iter().zip(packets).enumerate() {
        let expected = time - outline.start();
        let wrong = |received| EncodeError::Time {
            place,
            expected,
            received,
        };
        if shown[place] != expected {
            return Err(wrong(shown[place]));
        }
        let leads = packet.pts == expected && latest < expected;
        if (packet.key || place == 0) && !leads {
            return Err(wrong(packet.pts));
        }
        latest = latest.max(packet.pts);
    }
    Ok(())
}

/// Holds what an encoder says of its output against the plan.
fn check_configuration(rendition: &Rendition, encoded: &Encoded) -> Result<(), Finding> {
    if rendition.codec() == Codec::Av1 {
        return check_headers(rendition, &encoded.packets);
    }
    let unreadable = |picture| move |source| Finding::Header { picture, source };
    let own = &[rendition.configuration.as_slice()];
    let codec = packaged(rendition.codec());
    let planned = Coding::parse(codec, own.iter().copied()).map_err(unreadable(0))?;
    let made = Coding::parse(codec, [encoded.configuration.as_slice()]).map_err(unreadable(0))?;
    if let Some(difference) = planned.difference(&made) {
        return Err(Finding::Contract {
            picture: 0,
            difference,
        });
    }
    for (picture, packet) in encoded.packets.iter().enumerate() {
        let stray = planned.stray_parameter_set(&packet.data);
        if let Some(difference) = stray.map_err(unreadable(picture))? {
            return Err(Finding::Contract {
                picture,
                difference,
            });
        }
    }
    Ok(())
}

/// Holds the sequence header of each keyframe against those of the plan.
fn check_headers(rendition: &Rendition, packets: &[EncodedPacket]) -> Result<(), Finding> {
    let unreadable = |picture| {
        move |source: Av1Error| Finding::Header {
            picture,
            source: source.into(),
        }
    };
    let planned = SequenceHeader::parse(&rendition.configuration).map_err(unreadable(0))?;
    let contract = planned.contract();
    // What a segment starts with is a keyframe, whether it is marked as one or not.
    let keys = packets.iter().enumerate();
    for (picture, packet) in keys.filter(|(picture, packet)| *picture == 0 || packet.key) {
        let headers = av1::sequence_headers(&packet.data).map_err(unreadable(picture))?;
        if headers.is_empty() {
            return Err(unreadable(picture)(Av1Error::NoSequenceHeader));
        }
        let mut differences = headers
            .iter()
            .filter_map(|header| contract.difference(&header.contract()));
        if let Some(difference) = differences.next() {
            return Err(Finding::Contract {
                picture,
                difference,
            });
        }
        // Where several encoders share a rendition, a segment must name its sample entry.
        if !rendition.others.is_empty() && headers.iter().any(|header| header.raw != planned.raw) {
            return Err(Finding::Unknown { picture });
        }
    }
    Ok(())
}

/// Decodes the first packets and hands out the pictures with their places.
fn decode(
    task: &Task,
    encoded: &Encoded,
    count: usize,
    mut take: impl FnMut(usize, Frame) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let codec = task.rendition.codec();
    let mut decoder = VideoDecoder::for_encoded(codec, task.threads)?;
    // Parameter sets stand in no packet.
    let mut ahead = if codec == Codec::Av1 {
        &[][..]
    } else {
        &task.rendition.configuration
    };
    let mut packets = encoded.packets[..count].iter();
    let mut pictures = 0;
    loop {
        let undecodable = |source| Finding::Undecodable { pictures, source };
        match decoder.receive().map_err(undecodable)? {
            Received::Frame(frame) => {
                take(pictures, frame)?;
                pictures += 1;
            }
            Received::NeedsInput => {
                let packet = packets
                    .next()
                    .map(|packet| {
                        let ahead = std::mem::take(&mut ahead);
                        Packet::copy_of(&[ahead, &packet.data].concat())
                    })
                    .transpose()?;
                // It asked for input, so it takes it.
                let _accepted = decoder.send(packet.as_ref()).map_err(undecodable)?;
            }
            Received::End => return Ok(()),
        }
    }
}

/// What is kept of the pictures as they come out of the decoder.
struct Looking<'a> {
    task: &'a Task,
    shown: Vec<Signature>,
    measured: Option<(Sizer<'a>, Difference)>,
}

impl<'a> Looking<'a> {
    fn new(task: &'a Task) -> Self {
        Self {
            task,
            shown: Vec::new(),
            measured: (task.measure && task.footage.whole().is_some())
                .then(|| (task.sizer(), Difference::default())),
        }
    }

    fn look(&mut self, picture: usize, frame: &Frame) -> Result<(), EncodeError> {
        let rendition = &self.task.rendition;
        let (size, format) = (rendition.size, rendition.encoder.depth.format());
        let shape = |width: u32, height: u32, format: PixelFormat| {
            format!("{width}x{height} {}", format.name())
        };
        let found = shape(frame.width(), frame.height(), frame.format());
        let wanted = shape(size.width, size.height, format);
        if found != wanted {
            return Err(Finding::Shape {
                picture,
                found,
                wanted,
            }
            .into());
        }
        if let Some((scaler, difference)) = &mut self.measured
            && let Some(span) = self.task.footage.whole()
            && let Some(original) = span.frames.get(picture)
        {
            difference.add(&Difference::between(&scaler.apply(&original.item)?, frame));
        }
        self.shown.push(Signature::of(frame));
        Ok(())
    }

    /// Judges the pictures of the first `sent` packets.
    fn finish(self, sent: usize) -> Result<Option<Difference>, EncodeError> {
        if self.task.depth == Depth::Nothing {
            let received = self.shown.len();
            if sent != received {
                return Err(EncodeError::Count { sent, received });
            }
        } else {
            let signatures = self.task.signatures(sent)?;
            judge(&self.shown, &signatures[..sent.min(signatures.len())])?;
        }
        Ok(self.measured.map(|(_, difference)| difference))
    }
}

/// What a device has done with one rendition.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    started: u32,
    ended: u32,
    /// Whole segments that were inspected, and glances.
    whole: u32,
    glances: u32,
    /// The same of those that were started, and not heard of yet.
    whole_out: u32,
    glances_out: u32,
    /// Pictures that went into the encoder, and that came out of the decoder.
    encoded: u64,
    looked_at: u64,
    encoding: Duration,
    inspecting: Duration,
}

impl Lane {
    /// How closely one segment more can be looked at within the share, once those that run are through.
    fn affords(&self) -> Depth {
        if self.looked_at == 0 {
            return Depth::Headers;
        }
        let picture = self.inspecting.as_secs_f64() / self.looked_at as f64;
        let segment = self.encoded as f64 / f64::from(self.ended.max(1));
        let (whole, glance) = (picture * segment, picture * segment.min(GLANCE as f64));
        let out = f64::from(self.whole_out) * whole + f64::from(self.glances_out) * glance;
        let running = f64::from(self.whole_out + self.glances_out + 1);
        let encoding = self.encoding.as_secs_f64() * (1.0 + running / f64::from(self.ended.max(1)));
        let fits = |more: f64, share: f64| {
            let inspecting = self.inspecting.as_secs_f64() + out + more;
            inspecting <= share * (encoding + inspecting)
        };
        if fits(whole, SHARE * WHOLE)
            || whole <= SHARE * WHOLE * (encoding / f64::from(self.ended.max(1)))
        {
            Depth::Pictures
        } else if fits(glance, SHARE) {
            Depth::Glance
        } else {
            Depth::Headers
        }
    }

    /// Segments of a depth that are out.
    fn out(&mut self, depth: Depth) -> Option<&mut u32> {
        match depth {
            Depth::Pictures => Some(&mut self.whole_out),
            Depth::Glance => Some(&mut self.glances_out),
            Depth::Nothing | Depth::Headers => None,
        }
    }
}

/// What looking at the pictures of a segment took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Time.
    pub time: Duration,
    /// Pictures that were decoded.
    pub pictures: usize,
}

/// Decides which segments are decoded before they are committed, and counts what that takes.
///
/// Second attempts, and all of a device that failed lately, are always looked at as a whole. Of the others, the first of each rendition on each device
/// get at least a glance at their first pictures; and then as many are looked at as a whole, and as many of the rest at a glance, as keep
/// inspection to a twentieth of the device's time for that rendition. Its decisions follow from what it was told alone.
#[derive(Clone, Debug, Default)]
pub struct Sampling {
    policy: Inspect,
    lanes: BTreeMap<(DeviceId, RenditionId), Lane>,
    /// Tasks of each device that are still to be inspected because it failed.
    suspects: BTreeMap<DeviceId, u32>,
    findings: u64,
}

/// What came of one task.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// How closely it was to be looked at.
    pub depth: Depth,
    /// How long the session was busy, inspection included.
    pub busy: Duration,
    /// Pictures in it.
    pub pictures: usize,
    /// What looking at its pictures took, if it was done.
    pub inspected: Option<Inspected>,
    /// Whether it failed.
    pub failed: bool,
    /// Whether it failed because of what inspection found.
    pub found: bool,
}

impl Sampling {
    /// Starts with no experience.
    #[must_use]
    pub fn new(policy: Inspect) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Decides about a task that is about to start. `again`: it was started before.
    pub fn decide(&mut self, device: DeviceId, rendition: RenditionId, again: bool) -> Depth {
        let lane = self.lanes.entry((device, rendition)).or_default();
        lane.started += 1;
        let suspect = self.suspects.get_mut(&device).filter(|left| **left > 0);
        let is_suspect = suspect.is_some();
        if let Some(left) = suspect {
            *left -= 1;
        }
        let depth = match self.policy {
            Inspect::Off => Depth::Nothing,
            Inspect::All => Depth::Pictures,
            Inspect::Sampled if again || is_suspect => Depth::Pictures,
            Inspect::Sampled => match lane.affords() {
                Depth::Headers if lane.started <= FIRST => Depth::Glance,
                depth => depth,
            },
        };
        if let Some(out) = lane.out(depth) {
            *out += 1;
        }
        depth
    }

    /// Learns what came of a task that was decided about.
    pub fn hear(&mut self, device: DeviceId, rendition: RenditionId, heard: Heard) {
        let lane = self.lanes.entry((device, rendition)).or_default();
        if let Some(out) = lane.out(heard.depth) {
            *out = out.saturating_sub(1);
        }
        let time = heard.inspected.map_or(Duration::ZERO, |did| did.time);
        if let Some(did) = heard.inspected {
            let glance = did.pictures < heard.pictures;
            lane.glances += u32::from(glance);
            lane.whole += u32::from(!glance);
            lane.looked_at += did.pictures as u64;
        }
        lane.inspecting += time;
        lane.ended += 1;
        lane.encoded += heard.pictures as u64;
        lane.encoding += heard.busy.saturating_sub(time);
        self.findings += u64::from(heard.found);
        if heard.failed {
            self.suspects.insert(device, SUSPECT);
        }
    }

    /// What was inspected so far.
    #[must_use]
    pub fn report(&self) -> InspectionReport {
        let sum = |of: fn(&Lane) -> Duration| self.lanes.values().map(of).sum::<Duration>();
        let (encoding, inspecting) = (sum(|lane| lane.encoding), sum(|lane| lane.inspecting));
        let busy = (encoding + inspecting).as_secs_f64();
        InspectionReport {
            policy: self.policy,
            tasks: self
                .lanes
                .values()
                .map(|lane| u64::from(lane.started))
                .sum(),
            inspected: self.lanes.values().map(|lane| u64::from(lane.whole)).sum(),
            glances: self
                .lanes
                .values()
                .map(|lane| u64::from(lane.glances))
                .sum(),
            share_of_busy: inspecting.as_secs_f64() / busy.max(f64::MIN_POSITIVE),
            findings: self.findings,
        }
    }
}

/// What was decoded before it was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct InspectionReport {
    /// What was asked for.
    pub policy: Inspect,
    /// Segments that were encoded, second attempts included.
    pub tasks: u64,
    /// Segments of these that were decoded as a whole and compared with their pictures, and were good.
    pub inspected: u64,
    /// Segments of the others whose first pictures were decoded and compared, and were good.
    pub glances: u64,
    /// Share of the sessions' busy time that it took, 0 to 1.
    pub share_of_busy: f64,
    /// Segments that were found to be bad. None of them was published.
    pub findings: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rungs_media::frame::BitDepth;
    use rungs_media::scale::{self, Kernel};

    fn picture(width: u32, height: u32, luma: impl Fn(f64, f64) -> f64) -> Signature {
        let (w, h) = (width as usize, height as usize);
        let samples = (0..w * h).map(|place| {
            let (x, y) = ((place % w) as f64 + 0.5, (place / w) as f64 + 0.5);
            luma(x / w as f64, y / h as f64).clamp(0.0, 255.0) as u8
        });
        let y: Vec<u8> = samples.collect();
        let gray = vec![128; w.div_ceil(2) * h.div_ceil(2)];
        let planes: [&[u8]; 3] = [&y, &gray, &gray];
        Signature::of(&Frame::from_planes(width, height, &planes).expect("a picture"))
    }

    #[test]
    fn ten_bits_look_and_measure_as_eight() {
        let luma: Vec<u8> = (0..96 * 64).map(|place| (place % 220) as u8 + 16).collect();
        let chroma: Vec<u8> = (0..48 * 32).map(|place| (place % 90) as u8 + 80).collect();
        let eight = Frame::from_planes(96, 64, &[&luma, &chroma, &chroma]).expect("a picture");
        let darker: Vec<u8> = luma.iter().map(|sample| sample - 10).collect();
        let darker = Frame::from_planes(96, 64, &[&darker, &chroma, &chroma]).expect("a picture");
        let mut deepen = rungs_media::scale::Scaler::new(scale::Config {
            width: 96,
            height: 64,
            depth: BitDepth::Ten,
            kernel: Kernel::default(),
        });
        let ten = deepen.apply(&eight).expect("a picture");
        let dark = deepen.apply(&darker).expect("a picture");
        assert_eq!(ten.format(), BitDepth::Ten.format());
        assert!(judge(&[Signature::of(&ten)], &[Signature::of(&eight)]).is_ok());
        let (a, b) = (Signature::of(&ten), Signature::of(&eight));
        assert!((a.mean - b.mean).abs() < 0.5 && a.apart(&b) < 0.05);
        let told = Difference::between(&ten, &dark)
            .psnr(0)
            .expect("they differ");
        let wanted = Difference::between(&eight, &darker)
            .psnr(0)
            .expect("they differ");
        assert!((told - wanted).abs() < 0.1, "{told} dB for {wanted} dB");
        assert_eq!(Difference::between(&ten, &ten).psnr(0), None);
    }

    /// A bright spot that moves across a grey slope.
    fn moving(count: usize, step: f64) -> Vec<Signature> {
        let spot = |place: usize| {
            move |x: f64, y: f64| {
                let (dx, dy) = (x - 0.2 - step * place as f64, y - 0.5);
                60.0 + 60.0 * x + 120.0 * (-(dx * dx + dy * dy) * 60.0).exp()
            }
        };
        (0..count)
            .map(|place| picture(96, 64, spot(place)))
            .collect()
    }

    fn misplaced(shown: &[Signature], sent: &[Signature]) -> usize {
        match judge(shown, sent) {
            Ok(()) => 0,
            Err(Finding::Misplaced { count, .. }) => count,
            Err(other) => panic!("{other}"),
        }
    }

    /// A span of pictures that last as given, and packets that show them in the order of these places; those marked are keyframes.
    fn coded(durations: &[i64], order: &[(usize, bool)]) -> (Outline, Vec<EncodedPacket>) {
        let mut times = vec![500];
        times.extend(durations.iter().scan(500, |time, duration| {
            *time += duration;
            Some(*time)
        }));
        let end = times.pop().expect("it had two");
        let packet = |&(place, key): &(usize, bool)| EncodedPacket {
            data: vec![0],
            pts: times[place] - 500,
            dts: 0,
            duration: 1,
            key,
        };
        let packets = order.iter().map(packet).collect();
        let outline = Outline {
            index: crate::ids::SegmentIndex::FIRST,
            times: times.clone(),
            end,
            held: 0,
        };
        (outline, packets)
    }

    #[test]
    fn pictures_may_be_out_of_order_where_the_codec_reorders_them() {
        let fine = |codec, order: &[(usize, bool)]| {
            let (outline, packets) = coded(&[10; 5], order);
            check_times(codec, &outline, &packets).is_ok()
        };
        let on = |place| (place, false);
        let key = |place| (place, true);
        assert!(fine(Codec::Av1, &[key(0), on(1), on(2), on(3), on(4)]));
        assert!(!fine(Codec::Av1, &[key(0), on(2), on(1), on(3), on(4)]));
        assert!(fine(Codec::H264, &[key(0), on(2), on(1), on(4), on(3)]));
        assert!(fine(Codec::Hevc, &[key(0), on(1), key(2), on(4), on(3)]));
        // Twice the same, one that leads a keyframe, one before the first, a keyframe that is shown too late.
        assert!(!fine(Codec::H264, &[key(0), on(2), on(2), on(4), on(3)]));
        assert!(!fine(Codec::H264, &[key(0), key(2), on(1), on(3), on(4)]));
        assert!(!fine(Codec::H264, &[key(1), on(0), on(2), on(3), on(4)]));
        assert!(!fine(Codec::H264, &[key(0), on(2), key(1), on(3), on(4)]));
        let (outline, packets) = coded(&[10; 5], &[key(0), on(1), on(2), on(3)]);
        assert!(check_times(Codec::H264, &outline, &packets).is_err());
    }

    #[test]
    fn a_glance_takes_packets_that_show_the_first_pictures() {
        let first = |order: &[usize]| {
            let order: Vec<_> = order.iter().map(|place| (*place, *place == 0)).collect();
            let (outline, packets) = coded(
                &[7, 9, 30, 1, 1, 1, 1, 1, 1, 1, 1, 1][..order.len()],
                &order,
            );
            first_shown(&outline, &packets)
        };
        assert_eq!(first(&[0]), 1);
        assert_eq!(first(&[0, 1, 2]), 3);
        assert_eq!(first(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), GLANCE);
        assert_eq!(first(&[0, 3, 1, 2, 6, 4, 5, 9, 7, 8]), 7);
        assert_eq!(first(&[0, 9, 1, 2, 3, 4, 5, 6, 7, 8]), 1);
    }

    #[test]
    fn a_signature_does_not_depend_on_the_size() {
        let slope = |x: f64, y: f64| 30.0 + 100.0 * x + 80.0 * y * y;
        let large = picture(640, 362, slope);
        for (width, height) in [(320, 180), (426, 240), (64, 64), (100, 36)] {
            let small = picture(width, height, slope);
            assert!(small.apart(&large) < 0.02, "{width}x{height}");
            assert!((small.mean - large.mean).abs() < 1.0);
        }
    }

    #[test]
    fn cells_are_exact_where_their_borders_run_through_samples() {
        // 16 cells over 18 samples: the sums of all cells are the sum of all samples.
        let weights: u32 = (0..16)
            .flat_map(|place| covered::<16>(place, 18))
            .map(|(_, weight)| weight)
            .sum();
        assert_eq!(weights, 18 * 16);
        assert_eq!(covered::<16>(1, 18).collect::<Vec<_>>(), [(1, 14), (2, 4)]);
    }

    #[test]
    fn what_is_in_place_is_no_finding() {
        let sent = moving(24, 0.02);
        assert!(judge(&sent, &sent).is_ok());
        let still = vec![sent[0].clone(); 24];
        assert!(judge(&still, &still).is_ok());
        assert!(judge(&[], &[]).is_ok());
        assert!(judge(&sent[..1], &sent[..1]).is_ok());
    }

    #[test]
    fn swapped_frozen_and_shifted_pictures_are_found() {
        let sent = moving(24, 0.02);
        let mut swapped = sent.clone();
        swapped.swap(10, 11);
        assert_eq!(misplaced(&swapped, &sent), 2);
        let frozen: Vec<_> = (0..24).map(|place| sent[place.min(8)].clone()).collect();
        assert!(judge(&frozen, &sent).is_err());
        let place = |place: usize| sent[place.saturating_sub(1)].clone();
        let shifted: Vec<_> = (0..24).map(place).collect();
        assert!(misplaced(&shifted, &sent) >= 20);
    }

    #[test]
    fn swaps_of_equal_pictures_are_harmless() {
        let mut sent = moving(24, 0.02);
        sent[11] = sent[10].clone();
        let mut swapped = sent.clone();
        swapped.swap(10, 11);
        assert!(judge(&swapped, &sent).is_ok());
    }

    #[test]
    fn other_pictures_are_found() {
        let sent = moving(8, 0.02);
        let black = picture(96, 64, |_, _| 16.0);
        let mirrored = picture(96, 64, |x, y| 150.0 - 60.0 * x + 30.0 * y);
        for wrong in [black, mirrored] {
            let mut shown = sent.clone();
            shown[3] = wrong;
            let found = judge(&shown, &sent);
            assert!(
                matches!(found, Err(Finding::Foreign { picture: 3, .. })),
                "{found:?}"
            );
        }
        let mut green = sent.clone();
        green[3].chroma[0][5] -= 128.0;
        assert!(matches!(judge(&green, &sent), Err(Finding::Foreign { .. })));
        assert!(matches!(
            judge(&sent[1..], &sent),
            Err(Finding::Count { sent: 8, shown: 7 })
        ));
    }

    #[test]
    fn a_fade_that_is_followed_late_is_no_finding() {
        let at = |level: f64| picture(96, 64, move |x, y| 16.0 + level * (20.0 + 150.0 * x * y));
        let sent: Vec<_> = (0..24).map(|place| at(f64::from(place) / 24.0)).collect();
        let late: Vec<_> = (0..24)
            .map(|place: i32| at(f64::from((place - 2).max(0)) / 24.0))
            .collect();
        assert!(judge(&late, &sent).is_ok(), "{:?}", judge(&late, &sent));
    }

    const HERE: RenditionId = RenditionId::new(0);

    /// Runs so many tasks of 100 pictures one after another; returns how they were inspected. Encoding takes a second, looking at all of it so many
    /// milliseconds.
    fn history(sampling: &mut Sampling, tasks: u32, cost: u64) -> Vec<Depth> {
        let device = DeviceId::new(0);
        let mut run = |_| {
            let depth = sampling.decide(device, HERE, false);
            let pictures = match depth {
                Depth::Pictures => 100,
                Depth::Glance => GLANCE,
                _ => 0,
            };
            let time = Duration::from_millis(cost * pictures as u64 / 100);
            let heard = Heard {
                depth,
                busy: Duration::from_secs(1) + time,
                pictures: 100,
                inspected: depth.looks().then_some(Inspected { time, pictures }),
                ..Heard::default()
            };
            sampling.hear(device, HERE, heard);
            depth
        };
        (0..tasks).map(&mut run).collect()
    }

    #[test]
    fn sampling_starts_with_the_first_and_keeps_to_its_share() {
        let mut sampling = Sampling::new(Inspect::Sampled);
        let taken = history(&mut sampling, 1000, 100);
        assert!(taken.iter().all(|depth| depth.looks()), "{taken:?}");
        let report = sampling.report();
        assert_eq!(report.tasks, 1000);
        assert!((200..350).contains(&report.inspected), "{report:?}");
        assert_eq!(report.inspected + report.glances, 1000);
        assert!(report.share_of_busy <= SHARE, "{report:?}");
        let mut again = Sampling::new(Inspect::Sampled);
        assert_eq!(history(&mut again, 1000, 100), taken);
    }

    #[test]
    fn what_is_cheap_is_inspected_whole() {
        let mut sampling = Sampling::new(Inspect::Sampled);
        let taken = history(&mut sampling, 100, 25);
        assert!(
            taken[1..].iter().all(|depth| *depth == Depth::Pictures),
            "{taken:?}"
        );
    }

    #[test]
    fn second_attempts_and_suspects_are_always_inspected() {
        let mut sampling = Sampling::new(Inspect::Sampled);
        // Even a glance at each would take more than the share.
        history(&mut sampling, 10, 9000);
        let (device, other) = (DeviceId::new(0), DeviceId::new(1));
        assert_eq!(sampling.decide(device, HERE, false), Depth::Headers);
        assert_eq!(sampling.decide(device, HERE, true), Depth::Pictures);
        let failed = Heard {
            failed: true,
            ..Heard::default()
        };
        sampling.hear(device, HERE, failed);
        let decide = |sampling: &mut Sampling, device| sampling.decide(device, HERE, false);
        for _ in 0..SUSPECT {
            assert_eq!(decide(&mut sampling, device), Depth::Pictures);
        }
        assert_eq!(decide(&mut sampling, device), Depth::Headers);
        assert_eq!(decide(&mut sampling, other), Depth::Glance);
    }

    #[test]
    fn policies_are_kept() {
        assert!(
            history(&mut Sampling::new(Inspect::All), 50, 900)
                .iter()
                .all(|depth| *depth == Depth::Pictures)
        );
        let mut off = Sampling::new(Inspect::Off);
        assert_eq!(off.decide(DeviceId::new(0), HERE, true), Depth::Nothing);
    }

    #[test]
    fn what_runs_at_once_keeps_to_the_share_too() {
        let mut sampling = Sampling::new(Inspect::Sampled);
        history(&mut sampling, 400, 100);
        let device = DeviceId::new(0);
        let taken = (0..100)
            .filter(|_| sampling.decide(device, HERE, false) == Depth::Pictures)
            .count();
        // They bring encoding time with them: three in ten cost 3 % of it.
        assert!(
            (1..=32).contains(&taken),
            "{taken} of 100 that start at once"
        );
    }
}
