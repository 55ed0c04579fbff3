//! H.264 and HEVC: access units in Annex B's byte stream in, samples and parameter sets out (ITU-T H.264 and H.265, ISO/IEC
//! 14496-15).
//!
//! A sample is an access unit whose NAL units have their lengths in front, less what a file must not carry. The parameter sets stand
//! in the sample entry alone (`avc1`, `hvc1`), so all segments of a rendition share them to the bit.

mod avc;
mod hevc;

use serde::{Deserialize, Serialize};

pub use avc::AvcConfiguration;
pub use hevc::HevcConfiguration;

use crate::av1::ColorConfig;
use crate::bits::{BitReader, EndOfData};

/// Bytes of the length in front of each NAL unit of a sample.
pub(crate) const LENGTH_SIZE: usize = 4;
/// A SEI payload in which encoders say what they are and how they were set (H.264 §D.1.7, H.265 §D.2.7).
const USER_DATA_UNREGISTERED: u8 = 5;

/// Why H.264 or HEVC data could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NalError {
    /// The data does not start with a start code: it is no byte stream of Annex B.
    #[error("the data does not start with a start code")]
    NoStartCode,
    /// A NAL unit without a header.
    #[error("NAL unit {place} is empty")]
    EmptyUnit {
        /// Its place in the data, from 0.
        place: usize,
    },
    /// A parameter set is missing.
    #[error("there is no {what}")]
    Missing {
        /// The parameter set, in the specification's words.
        what: &'static str,
    },
    /// There are more parameter sets than the boxes can hold or one rendition can have.
    #[error("there are {count} units of the kind {what}")]
    TooMany {
        /// The parameter set.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// A parameter set ends inside a field.
    #[error("the {what} is cut short")]
    Truncated {
        /// The parameter set.
        what: &'static str,
    },
    /// A field has a value that the specification reserves, or that cannot be.
    #[error("the {field} is {value}, which cannot be")]
    Reserved {
        /// The field, in the specification's words.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// The access unit holds no picture.
    #[error("the access unit holds no picture")]
    Empty,
    /// The lengths of a sample's NAL units do not add up to the sample.
    #[error("the NAL unit at byte {at} does not end inside the sample")]
    Cut {
        /// Where its length stands.
        at: usize,
    },
}

/// Which of both specifications holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// H.264, Advanced Video Coding.
    Avc,
    /// HEVC, H.265.
    Hevc,
}

/// What a NAL unit is to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    ParameterSet(&'static str),
    /// A slice; whether its picture is an IDR picture, after which nothing refers to what came before.
    Slice {
        idr: bool,
    },
    /// Delimiters and filler, which carry nothing that the container does not say; and what an encoder says of itself.
    Dispensable,
    Other,
}

impl Family {
    fn role(self, unit: &[u8]) -> Role {
        match self {
            Self::Avc => match unit[0] & 31 {
                kind @ 1..=5 => Role::Slice { idr: kind == 5 },
                6 if unit.get(1) == Some(&USER_DATA_UNREGISTERED) => Role::Dispensable,
                7 => Role::ParameterSet(avc::SPS),
                8 => Role::ParameterSet(avc::PPS),
                9..=12 => Role::Dispensable,
                _ => Role::Other,
            },
            Self::Hevc => match unit[0] >> 1 & 63 {
                kind @ 0..=31 => Role::Slice {
                    idr: matches!(kind, 19 | 20),
                },
                32 => Role::ParameterSet(hevc::VPS),
                33 => Role::ParameterSet(hevc::SPS),
                34 => Role::ParameterSet(hevc::PPS),
                35..=38 => Role::Dispensable,
                39 if unit.get(2) == Some(&USER_DATA_UNREGISTERED) => Role::Dispensable,
                _ => Role::Other,
            },
        }
    }

    /// Makes a file's sample from one access unit of a byte stream (ISO/IEC 14496-15 §4.3.2, §8.3.2): each NAL unit behind its length in
    /// four bytes.
    ///
    /// Delimiters, filler and what the encoder says of itself are dropped, and so are parameter sets: whoever calls has compared
    /// those with the sample entry's by [`parameter_sets`](Self::parameter_sets).
    ///
    /// Fails on data that is no byte stream, and where no picture is left.
    pub fn sample_from_access_unit(self, unit: &[u8]) -> Result<Vec<u8>, NalError> {
        let mut sample = Vec::with_capacity(unit.len() + 16);
        let mut pictures = false;
        for unit in units(unit)? {
            match self.role(unit) {
                Role::ParameterSet(_) | Role::Dispensable => continue,
                Role::Slice { .. } => pictures = true,
                Role::Other => {}
            }
            // A slice of 4 GiB is beyond every level.
            let length = u32::try_from(unit.len()).unwrap_or(u32::MAX);
            sample.extend(length.to_be_bytes());
            sample.extend_from_slice(unit);
        }
        if pictures {
            Ok(sample)
        } else {
            Err(NalError::Empty)
        }
    }

    /// Finds the parameter sets in a byte stream, in order.
    pub fn parameter_sets(self, stream: &[u8]) -> Result<Vec<&[u8]>, NalError> {
        let all = units(stream)?.into_iter();
        let sets = all.filter(|unit| matches!(self.role(unit), Role::ParameterSet(_)));
        Ok(sets.collect())
    }

    /// Tells whether a sample is an IDR picture, and so whether decoding can start there.
    ///
    /// Fails where lengths do not add up, and where there is no picture.
    pub fn is_idr(self, sample: &[u8]) -> Result<bool, NalError> {
        let mut found = None;
        let mut at = 0;
        while at < sample.len() {
            let cut = || NalError::Cut { at };
            let length = sample[at..]
                .first_chunk::<LENGTH_SIZE>()
                .ok_or_else(cut)
                .map(|length| u32::from_be_bytes(*length) as usize)?;
            let from = at + LENGTH_SIZE;
            let unit = sample.get(from..from.saturating_add(length));
            let unit = unit.filter(|unit| !unit.is_empty()).ok_or_else(cut)?;
            if let Role::Slice { idr } = self.role(unit) {
                found.get_or_insert(idr);
            }
            at = from + length;
        }
        found.ok_or(NalError::Empty)
    }

    /// The parameter sets of one kind.
    fn sets_of(self, stream: &[u8], what: &'static str) -> Result<Vec<Vec<u8>>, NalError> {
        let sets = self.parameter_sets(stream)?;
        let own = sets
            .into_iter()
            .filter(|unit| self.role(unit) == Role::ParameterSet(what));
        let own: Vec<Vec<u8>> = own.map(<[u8]>::to_vec).collect();
        match own.len() {
            0 => Err(NalError::Missing { what }),
            // `avcC` has five bits for the number of SPS.
            count @ 32.. => Err(NalError::TooMany { what, count }),
            _ => Ok(own),
        }
    }
}

/// The one of a row of parameter sets: a rendition has one sequence.
fn only(mut sets: Vec<Vec<u8>>, what: &'static str) -> Result<Vec<u8>, NalError> {
    match (sets.pop(), sets.len()) {
        (Some(set), 0) => Ok(set),
        (None, _) => Err(NalError::Missing { what }),
        (_, others) => Err(NalError::TooMany {
            what,
            count: others + 1,
        }),
    }
}

/// Puts NAL units behind start codes.
fn byte_stream<'a>(units: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let parts = units
        .into_iter()
        .flat_map(|unit| [&[0, 0, 0, 1], &unit[..]]);
    parts.collect::<Vec<_>>().concat()
}

/// Splits a byte stream at its start codes (H.264 §B.1).
fn units(stream: &[u8]) -> Result<Vec<&[u8]>, NalError> {
    let codes =
        || (0..stream.len().saturating_sub(2)).filter(|&at| stream[at..at + 3] == [0, 0, 1]);
    let first = codes().next().ok_or(NalError::NoStartCode)?;
    if stream[..first].iter().any(|&byte| byte != 0) {
        return Err(NalError::NoStartCode);
    }
    let ends = codes().skip(1).chain([stream.len()]);
    let mut units = Vec::new();
    for (place, (at, end)) in codes().zip(ends).enumerate() {
        let unit = &stream[at + 3..end];
        // Zeros before the next start code belong to it; a NAL unit ends in another byte.
        let length = unit.iter().rposition(|&byte| byte != 0);
        let length = length.ok_or(NalError::EmptyUnit { place })? + 1;
        units.push(&unit[..length]);
    }
    Ok(units)
}

/// Takes the emulation prevention bytes out of a NAL unit (H.264 §7.4.1.1).
fn unescape(unit: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    plain
}

/// How samples are stored and what they mean, as both specifications' sequence parameter sets say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    /// Bits of a luma sample.
    pub luma_bits: u8,
    /// Bits of a chroma sample.
    pub chroma_bits: u8,
    /// Width and height of the picture in pixels, cropped.
    pub size: (u32, u32),
    /// Colour description of the VUI.
    pub color: ColorConfig,
    /// By how many places at most pictures stand before others in decoding order that are shown before them (`max_num_reorder_frames`,
    /// `sps_max_num_reorder_pics`); as many as the format allows where that is not said.
    pub reordered: u8,
}

impl Samples {
    fn difference(&self, other: &Self) -> Option<String> {
        let chroma = |samples: &Self| {
            let name = match samples.chroma_format {
                0 => "monochrome",
                1 => "4:2:0",
                2 => "4:2:2",
                _ => "4:4:4",
            };
            format!("{} bit {name}", samples.luma_bits)
        };
        let size = |samples: &Self| format!("{}x{}", samples.size.0, samples.size.1);
        let color = |samples: &Self| format!("{}", samples.color);
        first_difference(&[
            (chroma(self), chroma(other)),
            (size(self), size(other)),
            (color(self), color(other)),
        ])
    }
}

/// Names the first pair of fields that differ.
fn first_difference(pairs: &[(String, String)]) -> Option<String> {
    let (one, other) = pairs.iter().find(|(one, other)| one != other)?;
    Some(format!("{one} is not {other}"))
}

/// Reads how a picture's edges are cropped: left, right, top, bottom, in the units of chroma samples.
fn cropping(r: &mut BitReader<'_>) -> Result<[u32; 4], EndOfData> {
    if !r.flag()? {
        return Ok([0; 4]);
    }
    Ok([r.uvlc()?, r.uvlc()?, r.uvlc()?, r.uvlc()?])
}

/// The cropped size of a picture.
fn cropped(
    (width, height): (u32, u32),
    unit: (u32, u32),
    [left, right, top, bottom]: [u32; 4],
) -> Result<(u32, u32), NalError> {
    let less = |whole: u32, unit: u32, edges: [u32; 2]| {
        let cut = u64::from(edges[0]) + u64::from(edges[1]);
        let left = u64::from(whole).checked_sub(cut * u64::from(unit));
        let left = left.filter(|left| *left > 0);
        left.ok_or(NalError::Reserved {
            field: "cropping",
            value: u32::try_from(cut).unwrap_or(u32::MAX),
        })
    };
    Ok((
        less(width, unit.0, [left, right])? as u32,
        less(height, unit.1, [top, bottom])? as u32,
    ))
}

const UNSPECIFIED: ColorConfig = ColorConfig {
    primaries: 2,
    transfer: 2,
    matrix: 2,
    full_range: false,
};

/// Reads the colours from the start of the VUI, which both specifications share (H.264 §E.1.1, H.265 §E.2.1).
fn vui_color(r: &mut BitReader<'_>) -> Result<ColorConfig, EndOfData> {
    const EXTENDED_SAR: u8 = 255;
    if r.flag()? && r.small(8)? == EXTENDED_SAR {
        r.skip(16 + 16)?;
    }
    // overscan_info_present_flag, overscan_appropriate_flag
    if r.flag()? {
        r.skip(1)?;
    }
    if !r.flag()? {
        return Ok(UNSPECIFIED);
    }
    // video_format
    r.skip(3)?;
    let full_range = r.flag()?;
    if !r.flag()? {
        return Ok(ColorConfig {
            full_range,
            ..UNSPECIFIED
        });
    }
    Ok(ColorConfig {
        primaries: r.small(8)?,
        transfer: r.small(8)?,
        matrix: r.small(8)?,
        full_range,
    })
}

fn bits_of(minus8: u32, field: &'static str) -> Result<u8, NalError> {
    let bits = minus8.checked_add(8).filter(|bits| *bits <= 16);
    let bits = bits.and_then(|bits| u8::try_from(bits).ok());
    bits.ok_or(NalError::Reserved {
        field,
        value: minus8,
    })
}

fn chroma_of(format: u32) -> Result<u8, NalError> {
    let known = u8::try_from(format).ok().filter(|format| *format <= 3);
    known.ok_or(NalError::Reserved {
        field: "chroma_format_idc",
        value: format,
    })
}

/// Luma samples in a chroma sample, across and down.
fn chroma_step(format: u8) -> (u32, u32) {
    match format {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    }
}

/// Most pictures that a decoder holds back (H.264 §A.3.1, H.265 §A.4.2).
const MOST_REORDERED: u8 = 16;

fn reordered_of(value: u32) -> Result<u8, NalError> {
    let known = u8::try_from(value).ok();
    let known = known.filter(|value| *value <= MOST_REORDERED);
    known.ok_or(NalError::Reserved {
        field: "number of reordered pictures",
        value,
    })
}
