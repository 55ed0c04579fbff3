//! What is asked for of the picture and what the source is in, how its pictures are normalised out.

use std::fmt;
use std::str::FromStr;

use rungs_media::Rational;
use rungs_media::demux::{Color, FieldOrder, VideoInfo};
use rungs_media::frame::{BitDepth, PixelFormat};
use rungs_media::hdr::{self, Light, ToneMap};
use rungs_media::normalise::{self, Deinterlace, Pace, Rate, Telecine};
use rungs_media::time::TimeBase;
use serde::{Deserialize, Serialize};

use crate::plan::Warning;

/// Slowest and fastest rate of pictures that can be asked for, a second.
pub const FRAME_RATES: std::ops::RangeInclusive<f64> = 1.0..=240.0;

/// What is asked for of the picture. The default changes no pictures of a progressive source in 8 bits of standard dynamic range.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PictureSpec {
    /// Which pictures are deinterlaced.
    pub deinterlace: Deinterlace,
    /// Whether the source is film that was made into video at 30 pictures a second, and becomes film again.
    pub telecine: bool,
    /// Most pictures a second.
    pub max_fps: Option<FrameRate>,
    /// Pictures a second, evenly.
    pub fps: Option<FrameRate>,
    /// Bits of a sample.
    pub bit_depth: DepthChoice,
    /// What becomes of a high dynamic range.
    pub color: ColorChoice,
}

/// What becomes of a high dynamic range. Standard range stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorChoice {
    /// It becomes standard range, BT.709.
    #[default]
    Sdr,
    /// It stays.
    Keep,
}

/// Bits of a sample in what is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DepthChoice {
    /// 10 where a high dynamic range is kept, otherwise 8.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// 8.
    #[serde(rename = "8")]
    Eight,
    /// 10, where the encoder has them.
    #[serde(rename = "10")]
    Ten,
}

impl DepthChoice {
    fn depth(self, keeps_hdr: bool) -> BitDepth {
        match self {
            Self::Ten => BitDepth::Ten,
            Self::Auto if keeps_hdr => BitDepth::Ten,
            Self::Auto | Self::Eight => BitDepth::Eight,
        }
    }
}

/// Why the picture cannot be had as it is asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PictureError {
    /// Two settings contradict each other.
    #[error("{0} and {1} cannot be had together")]
    Together(&'static str, &'static str),
    /// The source does not say how many pictures it has a second.
    #[error("telecine cannot be undone: the source does not say how many pictures it has a second")]
    NoRate,
    /// This FFmpeg lacks a filter that high dynamic range needs to become standard range.
    #[error("the source is HDR, and this FFmpeg has no filter {0} to make standard range of it")]
    NoToneMapping(&'static str),
}

impl PictureError {
    /// What to do about it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Together(..) => "leave one of them out",
            Self::NoRate => {
                "leave --telecine out: --deinterlace makes whole pictures of the fields"
            }
            Self::NoToneMapping(_) => {
                "keep the HDR with --color keep, or use an FFmpeg that was built with libzimg"
            }
        }
    }
}

impl PictureSpec {
    /// Every setting with its option on the command line and its value in words.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let Self {
            deinterlace,
            telecine,
            max_fps,
            fps,
            bit_depth,
            color,
        } = self;
        let rate =
            |rate: &Option<FrameRate>| rate.map_or("the source's".to_owned(), |r| r.to_string());
        let on = |given: bool| if given { "on" } else { "off" }.to_owned();
        vec![
            ("--deinterlace", format!("{deinterlace:?}").to_lowercase()),
            ("--telecine", on(*telecine)),
            ("--max-fps", rate(max_fps)),
            ("--fps", rate(fps)),
            (
                "--bit-depth",
                match bit_depth {
                    DepthChoice::Auto => "auto",
                    DepthChoice::Eight => "8",
                    DepthChoice::Ten => "10",
                }
                .to_owned(),
            ),
            ("--color", format!("{color:?}").to_lowercase()),
        ]
    }

    /// Checks what can be checked without the source.
    pub(crate) fn check(&self) -> Result<(), PictureError> {
        let together = [
            (
                "--fps",
                "--max-fps",
                self.fps.is_some() && self.max_fps.is_some(),
            ),
            (
                "--telecine",
                "--deinterlace on",
                self.telecine && self.deinterlace == Deinterlace::On,
            ),
        ];
        match together.iter().find(|(.., both)| *both) {
            Some((one, other, _)) => Err(PictureError::Together(one, other)),
            None => Ok(()),
        }
    }
}

/// Pictures a second, within [`FRAME_RATES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FrameRate(Rational);

impl FrameRate {
    /// The rate as a fraction.
    #[must_use]
    pub const fn get(self) -> Rational {
        self.0
    }
}

/// It is no rate of pictures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no rate of pictures: give {start} to {end} a second, as 30, 29.97 or 30000/1001", start = FRAME_RATES.start(), end = FRAME_RATES.end())]
pub struct FrameRateError(String);

impl FromStr for FrameRate {
    type Err = FrameRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        /// What is meant by rates that are written short.
        const USUAL: [(&str, i32); 3] = [("23.976", 24000), ("29.97", 30000), ("59.94", 60000)];
        let fraction = |num, den| Rational { num, den };
        let usual = USUAL.iter().find(|(name, _)| *name == text);
        let parsed = match (usual, text.split_once('/')) {
            (Some((_, num)), _) => Some(fraction(*num, 1001)),
            (None, Some((num, den))) => num
                .parse()
                .ok()
                .zip(den.parse().ok())
                .map(|(num, den)| fraction(num, den)),
            (None, None) => text
                .parse::<f64>()
                .ok()
                .filter(|rate| FRAME_RATES.contains(rate))
                .map(|rate| fraction((rate * 1000.0).round() as i32, 1000)),
        };
        let good = |rate: &Rational| rate.den > 0 && FRAME_RATES.contains(&rate.as_f64());
        parsed
            .filter(good)
            .map(Self)
            .ok_or_else(|| FrameRateError(text.to_owned()))
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rational { num, den } = self.0;
        if num % den == 0 {
            write!(f, "{}", num / den)
        } else {
            write!(f, "{num}/{den}")
        }
    }
}

impl From<FrameRate> for String {
    fn from(rate: FrameRate) -> Self {
        rate.to_string()
    }
}

impl TryFrom<String> for FrameRate {
    type Error = FrameRateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// How the pictures of one source are made, and what there is to say of it.
#[derive(Clone, Debug)]
pub(crate) struct PicturePlan {
    pub(crate) normalise: normalise::Config,
    /// Pictures a second of what comes out.
    pub(crate) frame_rate: Option<Rational>,
    /// What comes out means, as far as it is known; RGB, which is converted, still has the identity matrix.
    pub(crate) color: Color,
    /// What comes out says of its light.
    pub(crate) light: Light,
    pub(crate) warnings: Vec<Warning>,
}

/// Decides how the pictures of a source are normalised. `time_base` is the unit of its timestamps.
pub(crate) fn plan(
    spec: &PictureSpec,
    info: &VideoInfo,
    time_base: TimeBase,
) -> Result<PicturePlan, PictureError> {
    let tone = tone_map(spec, info)?;
    let keeps_hdr = hdr::is_hdr(info.color) && tone.is_none();
    let depth = spec.bit_depth.depth(keeps_hdr);
    let mut color = info.color;
    if PixelFormat::by_name(&info.pixel_format).is_some_and(PixelFormat::is_rgb) {
        color.matrix = RGB;
    }
    let good = |rate: &Rational| rate.num > 0 && rate.den > 0;
    let source_rate = info.frame_rate.filter(good);
    let mut frame_rate = info.frame_rate;
    let mut telecine = None;
    if spec.telecine {
        let rate = source_rate.ok_or(PictureError::NoRate)?;
        telecine = Some(Telecine {
            frame_rate: rate,
            time_base,
        });
        frame_rate = Some(Rational {
            num: rate.num.saturating_mul(4),
            den: rate.den.saturating_mul(5),
        });
    }
    let most = spec.max_fps.map(FrameRate::get);
    let pace = match (spec.fps.map(FrameRate::get), most) {
        (Some(fps), _) => {
            frame_rate = Some(fps);
            Some(Rate::Exactly(fps))
        }
        (None, Some(most)) => {
            let slower = |rate: &Rational| rate.as_f64() <= most.as_f64();
            frame_rate = frame_rate.map(|rate| if slower(&rate) { rate } else { most });
            Some(Rate::Most(most))
        }
        (None, None) => None,
    };
    Ok(PicturePlan {
        normalise: normalise::Config {
            rotation: info.rotation,
            deinterlace: spec.deinterlace,
            telecine,
            pace: pace.map(|rate| Pace { rate, time_base }),
            depth,
            tone,
            matrix_for_rgb: matrix_for_rgb(color),
        },
        frame_rate,
        color: tone.map_or(color, |_| ToneMap::RESULT),
        light: if keeps_hdr {
            info.light
        } else {
            Light::default()
        },
        warnings: shortcomings(spec, info, (depth, keeps_hdr)),
    })
}

/// The identity matrix, which stands for red, green and blue, H.273 §8.3.
const RGB: u8 = 0;
/// BT.709 as primaries, transfer and matrix.
pub(crate) const BT709: u8 = 1;
/// Nothing is said.
pub(crate) const UNSPECIFIED: u8 = 2;
/// BT.2020 as primaries and matrix.
pub(crate) const BT2020: u8 = 9;

/// The matrix by which red, green and blue of these colours become luma and chroma.
pub(crate) fn matrix_for_rgb(color: Color) -> u8 {
    if color.primaries == BT2020 || hdr::is_hdr(color) {
        BT2020
    } else {
        BT709
    }
}

/// How high dynamic range becomes standard range, if it is to.
fn tone_map(spec: &PictureSpec, info: &VideoInfo) -> Result<Option<ToneMap>, PictureError> {
    if spec.color == ColorChoice::Keep || !hdr::is_hdr(info.color) {
        return Ok(None);
    }
    if let Some(filter) = ToneMap::missing() {
        return Err(PictureError::NoToneMapping(filter));
    }
    let or = |given| {
        if given == UNSPECIFIED { BT2020 } else { given }
    };
    Ok(Some(ToneMap {
        from: Color {
            primaries: or(info.color.primaries),
            matrix: or(info.color.matrix),
            ..info.color
        },
        peak: info.light.peak(),
    }))
}

/// What the source has and the result does not.
fn shortcomings(
    spec: &PictureSpec,
    info: &VideoInfo,
    (depth, keeps_hdr): (BitDepth, bool),
) -> Vec<Warning> {
    let interlaced = matches!(
        info.field_order,
        Some(FieldOrder::TopFirst | FieldOrder::BottomFirst)
    );
    // Of what tone mapping takes away the bits are the least.
    let tone_mapped = hdr::is_hdr(info.color) && !keeps_hdr;
    let stays = !spec.telecine && spec.deinterlace == Deinterlace::Off;
    let deep = Warning::DepthReduced {
        bits: info.bit_depth,
        left: depth.bits(),
    };
    let found = [
        (info.bit_depth > depth.bits() && !tone_mapped).then_some(deep),
        (depth == BitDepth::Eight && keeps_hdr).then_some(Warning::HdrInEightBits),
        (interlaced && stays).then_some(Warning::Interlaced),
    ];
    found.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, read) in [
            ("30", "30"),
            ("29.97", "30000/1001"),
            ("24000/1001", "24000/1001"),
            ("12.5", "12500/1000"),
            ("240", "240"),
        ] {
            let rate: FrameRate = text.parse().expect(text);
            assert_eq!(rate.to_string(), read);
            assert_eq!(String::from(rate).parse(), Ok(rate));
        }
        for text in [
            "",
            "0",
            "-1",
            "241",
            "1/0",
            "1/-1",
            "nan",
            "0.9",
            "99999999999/1",
            "30fps",
        ] {
            assert!(text.parse::<FrameRate>().is_err(), "{text}");
        }
    }
}
