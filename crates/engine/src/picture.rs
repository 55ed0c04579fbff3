//! What is asked for of the picture and what the source is in, how its pictures are normalised out.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rungs_media::Rational;
use rungs_media::demux::{Color, FieldOrder, VideoInfo};
use rungs_media::filters::Chain;
use rungs_media::frame::{BitDepth, PixelFormat};
use rungs_media::hdr::{self, Light, ToneMap};
use rungs_media::normalise::{self, Deinterlace, Pace, Rate, Telecine};
use rungs_media::scale::Kernel;
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
    /// How pictures are brought to the size of each rung.
    pub kernel: Kernel,
    /// What is done to upright pictures, one after another.
    pub filters: Chain,
    /// What lies over them in the end.
    pub overlay: Option<OverlaySpec>,
}

/// An image that is to lie over all pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaySpec {
    /// The image file.
    pub path: PathBuf,
    /// Where its left side is, in pixels of the upright, filtered picture.
    pub x: i32,
    /// Where its top is.
    pub y: i32,
}

/// It is no place for an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no image with its place: give FILE:X:Y, as logo.png:20:10")]
pub struct OverlayError(String);

impl FromStr for OverlaySpec {
    type Err = OverlayError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        /// Farther out than any picture reaches.
        const FARTHEST: i32 = 1 << 15;
        let mut parts = text.rsplitn(3, ':');
        let mut number = || {
            let number = parts.next()?.parse::<i32>().ok()?;
            (-FARTHEST..=FARTHEST).contains(&number).then_some(number)
        };
        let place = number().and_then(|y| Some((number()?, y)));
        let path = parts.next().filter(|path| !path.is_empty());
        let found = path.zip(place).map(|(path, (x, y))| Self {
            path: PathBuf::from(path),
            x,
            y,
        });
        found.ok_or_else(|| OverlayError(text.to_owned()))
    }
}

impl fmt::Display for OverlaySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.x, self.y)
    }
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
    /// This FFmpeg lacks a filter.
    #[error("this FFmpeg has no filter {0}")]
    NoFilter(&'static str),
    /// A filter has 8 bits only.
    #[error("the filter {0} has 8 bits a sample, and the result is to have 10")]
    Shallow(&'static str),
    /// An image cannot lie over a high dynamic range: it does not say how bright it is.
    #[error("an image cannot lie over HDR that is kept: it does not say how bright it is")]
    OverlayOnHdr,
}

impl PictureError {
    /// What to do about it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Together(..) => "leave one of them out",
            Self::NoRate => {
                "leave --telecine out: --deinterlace makes whole pictures of the fields"
            }
            Self::NoFilter(_) => {
                "leave it out, or use an FFmpeg that was built with it: some are left out of builds without the GPL"
            }
            Self::Shallow(_) => "leave it out, or give --bit-depth 8",
            Self::OverlayOnHdr => "leave --color keep out, or the overlay",
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
            kernel,
            filters,
            overlay,
        } = self;
        let rate =
            |rate: &Option<FrameRate>| rate.map_or("the source's".to_owned(), |r| r.to_string());
        let on = |given: bool| if given { "on" } else { "off" }.to_owned();
        let or_none = |text: String| {
            if text.is_empty() {
                "none".to_owned()
            } else {
                text
            }
        };
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
            ("--scaler", format!("{kernel:?}").to_lowercase()),
            ("--filter", or_none(filters.to_string())),
            (
                "--overlay",
                or_none(overlay.as_ref().map_or(String::new(), ToString::to_string)),
            ),
        ]
    }

    /// The option of the first setting that was given, which is to say is not the default, and that `then` has otherwise.
    #[must_use]
    pub fn given_unlike(&self, then: &Self) -> Option<&'static str> {
        let usual = Self::default().settings();
        let mut settings = self.settings().into_iter().zip(usual).zip(then.settings());
        let found = settings.find(|((now, usual), then)| now != usual && now != then);
        found.map(|(((option, _), _), _)| option)
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
            .map(|rate| Self(rate.reduced()))
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
    /// The unit of what comes out.
    pub(crate) time_base: TimeBase,
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
    check_filters(&spec.filters, depth)?;
    if spec.overlay.is_some() && keeps_hdr {
        return Err(PictureError::OverlayOnHdr);
    }
    let mut color = info.color;
    if PixelFormat::by_name(&info.pixel_format).is_some_and(PixelFormat::is_rgb) {
        color.matrix = RGB;
    }
    let rates = rates(spec, info)?;
    let pace = rates.pace.map(|rate| Pace::new(rate, time_base));
    let time_base = pace.map_or(time_base, |pace| pace.time_base);
    Ok(PicturePlan {
        time_base,
        normalise: normalise::Config {
            rotation: info.rotation,
            deinterlace: spec.deinterlace,
            telecine: rates.film.map(|frame_rate| Telecine {
                frame_rate,
                time_base,
            }),
            pace,
            depth,
            tone,
            matrix_for_rgb: matrix_for_rgb(color),
            filters: spec.filters.clone(),
            // Its image is read when the matrix is known.
            overlay: None,
        },
        frame_rate: rates.result,
        color: tone.map_or(color, |_| ToneMap::RESULT),
        light: if keeps_hdr {
            info.light
        } else {
            Light::default()
        },
        warnings: shortcomings(spec, info, (depth, keeps_hdr)),
    })
}

/// Pictures a second on their way.
struct Rates {
    /// Of the source, if it is to become film.
    film: Option<Rational>,
    /// What is to be done to them.
    pace: Option<Rate>,
    /// What comes out.
    result: Option<Rational>,
}

fn rates(spec: &PictureSpec, info: &VideoInfo) -> Result<Rates, PictureError> {
    let mut result = info.frame_rate;
    let mut film = None;
    if spec.telecine {
        let rate = result.filter(|rate| rate.num > 0 && rate.den > 0);
        let rate = rate.ok_or(PictureError::NoRate)?;
        film = Some(rate);
        result = Some(Rational {
            num: rate.num.saturating_mul(4),
            den: rate.den.saturating_mul(5),
        });
    }
    let most = spec.max_fps.map(FrameRate::get);
    let pace = match (spec.fps.map(FrameRate::get), most) {
        (Some(fps), _) => {
            result = Some(fps);
            Some(Rate::Exactly(fps))
        }
        (None, Some(most)) => {
            result = result.map(|rate| {
                if rate.as_f64() <= most.as_f64() {
                    rate
                } else {
                    most
                }
            });
            Some(Rate::Most(most))
        }
        (None, None) => None,
    };
    Ok(Rates { film, pace, result })
}

fn check_filters(filters: &Chain, depth: BitDepth) -> Result<(), PictureError> {
    if let Some(name) = filters.missing() {
        return Err(PictureError::NoFilter(name));
    }
    let mut shallow = filters.filters().iter().filter(|filter| !filter.is_deep());
    match shallow.next() {
        Some(filter) if depth > BitDepth::Eight => Err(PictureError::Shallow(filter.name())),
        _ => Ok(()),
    }
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
    use std::path::Path;

    use super::*;

    #[test]
    fn what_was_given_and_is_otherwise_is_named() {
        let usual = PictureSpec::default();
        let film = PictureSpec {
            telecine: true,
            fps: "12".parse().ok(),
            ..PictureSpec::default()
        };
        assert_eq!(usual.given_unlike(&film), None);
        assert_eq!(film.given_unlike(&film), None);
        assert_eq!(film.given_unlike(&usual), Some("--telecine"));
        let faster = PictureSpec {
            fps: "13".parse().ok(),
            ..film.clone()
        };
        assert_eq!(faster.given_unlike(&film), Some("--fps"));
        let stored = serde_json::to_string(&film).expect("JSON");
        assert_eq!(
            serde_json::from_str::<PictureSpec>(&stored).ok(),
            Some(film)
        );
        assert_eq!(serde_json::from_str::<PictureSpec>("{}").ok(), Some(usual));
    }

    #[test]
    fn an_image_has_a_place() {
        let logo: OverlaySpec = "a:b/logo.png:-20:10".parse().expect("a place");
        assert_eq!(
            (logo.path.as_path(), logo.x, logo.y),
            (Path::new("a:b/logo.png"), -20, 10)
        );
        for text in [
            "",
            "logo.png",
            "logo.png:1",
            "logo.png:1:",
            "logo.png:1:99999",
            ":1:2",
        ] {
            assert!(text.parse::<OverlaySpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, read) in [
            ("30", "30"),
            ("29.97", "30000/1001"),
            ("24000/1001", "24000/1001"),
            ("12.5", "25/2"),
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
