//! From what was asked for to picture sizes: rungs and a source in, sizes out. Pure.

use std::fmt;
use std::str::FromStr;

use rungs_media::encode::Rate;
use serde::{Deserialize, Serialize};

/// Short sides of the default ladder, below the source's own size.
const DEFAULT_SHORT_SIDES: [u32; 5] = [1440, 1080, 720, 480, 360];
/// A default rung is kept when its short side is at most this share of the source's.
const CLEARLY_SMALLER: f64 = 0.8;
/// The longest side that may be asked for.
pub(crate) const LONGEST_SIDE: u32 = 16384;

/// A picture size in square pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Size {
    /// The shorter of both sides: what `720p` means, for portrait pictures too.
    #[must_use]
    pub fn short_side(self) -> u32 {
        self.width.min(self.height)
    }

    /// Pixels in the picture.
    #[must_use]
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Whether neither side is shorter than that of the other size.
    #[must_use]
    pub fn holds(self, other: Self) -> bool {
        self.width >= other.width && self.height >= other.height
    }

    fn scaled(self, factor: f64) -> Self {
        Self {
            width: even(f64::from(self.width) * factor),
            height: even(f64::from(self.height) * factor),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

fn even(length: f64) -> u32 {
    ((length / 2.0).round() as u32).saturating_mul(2).max(2)
}

/// How a rung's size follows from the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// The largest size with the source's shape that fits inside this one.
    Inside(Size),
    /// The size with the source's shape whose short side is this.
    ShortSide(u32),
    /// The source's own size.
    Source,
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inside(size) => size.fmt(f),
            Self::ShortSide(side) => write!(f, "{side}p"),
            Self::Source => f.write_str("source"),
        }
    }
}

/// One step of the ladder as it was asked for: `720p`, `1280x720`, `720p@crf=34,speed=8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Its size.
    pub fit: Fit,
    /// Its constant rate factor, if not the job's.
    pub crf: Option<u8>,
    /// Its encoder speed, if not the job's.
    pub speed: Option<u8>,
    /// Its rate, if not the job's.
    #[serde(default)]
    pub rate: Option<Rate>,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fit.fmt(f)?;
        let mut mark = '@';
        for (name, value) in [("crf", self.crf), ("speed", self.speed)] {
            if let Some(value) = value {
                write!(f, "{mark}{name}={value}")?;
                mark = ',';
            }
        }
        match self.rate {
            Some(Rate::Capped(most)) => write!(f, "{mark}maxrate={most}"),
            Some(Rate::Average(bits)) => write!(f, "{mark}bitrate={bits}"),
            Some(Rate::Quality | Rate::Quantizer) | None => Ok(()),
        }
    }
}

/// Why a text is no rung.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RungError {
    /// The part before `@` is no size.
    #[error("{0:?} is no size: write it as 720p or 1280x720, or source for the source's own")]
    Size(String),
    /// A side is 0, or longer than anything that can be encoded.
    #[error("a side of {0} pixels cannot be encoded: use 2 to {LONGEST_SIDE}")]
    Side(u32),
    /// A setting that does not exist.
    #[error("a rung has no setting {0:?}: there are crf, speed, maxrate and bitrate")]
    Setting(String),
    /// A rate that is no number of bits, or that is given twice.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// A highest and an average rate.
    #[error("a rung has a maxrate or a bitrate, not both")]
    Rates,
    /// A setting whose value is no number in its range.
    #[error("{value:?} is no value for {setting}: use a whole number from 0 to {highest}")]
    Value {
        /// The setting.
        setting: &'static str,
        /// What was given.
        value: String,
        /// The highest value that it takes.
        highest: u8,
    },
}

impl FromStr for Rung {
    type Err = RungError;

    fn from_str(text: &str) -> Result<Self, RungError> {
        let (size, settings) = text.split_once('@').unwrap_or((text, ""));
        let mut rung = Self {
            fit: parse_fit(size)?,
            crf: None,
            speed: None,
            rate: None,
        };
        for setting in settings.split(',').filter(|s| !s.is_empty()) {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            match name {
                "crf" => rung.crf = Some(parse_value("crf", value, 63)?),
                "speed" => rung.speed = Some(parse_value("speed", value, 13)?),
                "maxrate" | "bitrate" if rung.rate.is_some() => return Err(RungError::Rates),
                "maxrate" => rung.rate = Some(Rate::Capped(bits_a_second(value)?)),
                "bitrate" => rung.rate = Some(Rate::Average(bits_a_second(value)?)),
                other => return Err(RungError::Setting(other.to_owned())),
            }
        }
        Ok(rung)
    }
}

fn parse_fit(text: &str) -> Result<Fit, RungError> {
    let bad = || RungError::Size(text.to_owned());
    let side = |digits: &str| -> Result<u32, RungError> {
        let side: u32 = digits.parse().map_err(|_| bad())?;
        if (2..=LONGEST_SIDE).contains(&side) {
            Ok(side)
        } else {
            Err(RungError::Side(side))
        }
    };
    if text == "source" {
        return Ok(Fit::Source);
    }
    if let Some(digits) = text.strip_suffix(['p', 'P']) {
        return Ok(Fit::ShortSide(side(digits)?));
    }
    let (width, height) = text.split_once(['x', 'X']).ok_or_else(bad)?;
    Ok(Fit::Inside(Size {
        width: side(width)?,
        height: side(height)?,
    }))
}

fn parse_value(setting: &'static str, value: &str, highest: u8) -> Result<u8, RungError> {
    let number = value.parse().ok().filter(|n| *n <= highest);
    number.ok_or_else(|| RungError::Value {
        setting,
        value: value.to_owned(),
        highest,
    })
}

/// Why a text is no bit rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no bit rate: use bits a second from 10k to 1000M, such as 800k or 2.5M")]
pub struct RateError {
    /// The text.
    text: String,
}

/// Reads bits a second, with `k` or `M` for thousands or millions of them.
pub fn bits_a_second(text: &str) -> Result<u64, RateError> {
    let bad = || RateError {
        text: text.to_owned(),
    };
    let (number, unit) = if let Some(number) = text.strip_suffix(['k', 'K']) {
        (number, 1e3)
    } else if let Some(number) = text.strip_suffix(['m', 'M']) {
        (number, 1e6)
    } else {
        (text, 1.0)
    };
    let plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let bits: f64 = number.parse().ok().filter(|_| plain).ok_or_else(bad)?;
    let bits = (bits * unit).round();
    // Every u64 below 10^9 is a whole number of f64.
    (1e4..=1e9)
        .contains(&bits)
        .then_some(bits as u64)
        .ok_or_else(bad)
}

/// A picture as its source stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Pixels as stored.
    pub size: Size,
    /// Width of a pixel over its height, as a fraction; both above zero.
    pub pixel_aspect: (u32, u32),
    /// Whether width and height change places when it is shown.
    pub sideways: bool,
}

impl Stored {
    /// The size at which the picture is shown: square pixels, turned upright, both sides even. No detail is thrown away: pixels
    /// that are not square are stretched, never squeezed. An odd side loses its last line.
    #[must_use]
    pub fn shown(self) -> Size {
        let (num, den) = self.pixel_aspect;
        let aspect = f64::from(num.max(1)) / f64::from(den.max(1));
        let Size { width, height } = self.size;
        let size = if num == den {
            Size {
                width: (width & !1).max(2),
                height: (height & !1).max(2),
            }
        } else if aspect > 1.0 {
            Size {
                width: even(f64::from(width) * aspect),
                height: (height & !1).max(2),
            }
        } else {
            Size {
                width: (width & !1).max(2),
                height: even(f64::from(height) / aspect),
            }
        };
        if self.sideways {
            Size {
                width: size.height,
                height: size.width,
            }
        } else {
            size
        }
    }
}

/// A rung with the size that it has for this source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// What was asked for; a default rung has no settings of its own.
    pub rung: Rung,
    /// Its size.
    pub size: Size,
}

/// A default rung that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The size that it would have had.
    pub size: Size,
    /// Why it is not made, in words.
    pub reason: String,
}

/// Why a rung that was asked for cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LadderError {
    /// It is larger than the source.
    #[error("the rung {rung} is larger than the source, which is {source_size}")]
    Larger {
        /// The rung.
        rung: Fit,
        /// The source as shown.
        source_size: Size,
    },
    /// It is smaller than the encoder can make.
    #[error("the rung {rung} would be {size}, and {encoder} makes nothing below {smallest}")]
    TooSmall {
        /// The rung.
        rung: Fit,
        /// The size that it would have.
        size: Size,
        /// The encoder.
        encoder: String,
        /// Its smallest picture.
        smallest: Size,
    },
    /// Two rungs come to the same size.
    #[error("the rungs {first} and {second} both come to {size}")]
    Twice {
        /// The first of them.
        first: Rung,
        /// The second.
        second: Rung,
        /// Their size.
        size: Size,
    },
    /// The source is smaller than the encoder can make, so no default rung is left.
    #[error("the source is {source_size}, and {encoder} makes nothing below {smallest}")]
    NothingLeft {
        /// The source as shown.
        source_size: Size,
        /// The encoder.
        encoder: String,
        /// Its smallest picture.
        smallest: Size,
    },
}

/// The smallest picture that an encoder makes.
#[derive(Clone, Copy, Debug)]
pub struct Smallest<'a> {
    /// The encoder's name.
    pub encoder: &'a str,
    /// Its smallest picture.
    pub size: Size,
}

impl Smallest<'_> {
    fn allows(&self, size: Size) -> bool {
        size.width >= self.size.width && size.height >= self.size.height
    }
}

/// Gives each rung its size, largest first; without rungs it makes the default ladder and says what was left out of it.
pub fn resolve(
    shown: Size,
    rungs: &[Rung],
    smallest: Smallest<'_>,
) -> Result<(Vec<Resolved>, Vec<Dropped>), LadderError> {
    let (mut ladder, dropped) = if rungs.is_empty() {
        default_ladder(shown, smallest)?
    } else {
        (explicit_ladder(shown, rungs, smallest)?, Vec::new())
    };
    ladder.sort_by_key(|rung| std::cmp::Reverse(rung.size.pixels()));
    Ok((ladder, dropped))
}

fn explicit_ladder(
    shown: Size,
    rungs: &[Rung],
    smallest: Smallest<'_>,
) -> Result<Vec<Resolved>, LadderError> {
    let mut ladder: Vec<Resolved> = Vec::new();
    for &rung in rungs {
        let size = fit(shown, rung.fit)?;
        if !smallest.allows(size) {
            return Err(LadderError::TooSmall {
                rung: rung.fit,
                size,
                encoder: smallest.encoder.to_owned(),
                smallest: smallest.size,
            });
        }
        // The same size twice is a ladder if the settings differ.
        let same = |other: &&Resolved| {
            let settings = |rung: Rung| (rung.crf, rung.speed, rung.rate);
            other.size == size && settings(other.rung) == settings(rung)
        };
        if let Some(other) = ladder.iter().find(same) {
            return Err(LadderError::Twice {
                first: other.rung,
                second: rung,
                size,
            });
        }
        ladder.push(Resolved { rung, size });
    }
    Ok(ladder)
}

fn fit(shown: Size, fit: Fit) -> Result<Size, LadderError> {
    let larger = || LadderError::Larger {
        rung: fit,
        source_size: shown,
    };
    match fit {
        Fit::Inside(limit) => {
            let across = f64::from(limit.width) / f64::from(shown.width);
            let down = f64::from(limit.height) / f64::from(shown.height);
            let factor = across.min(down);
            if factor >= 1.0 {
                // A rung of the source's own size is no enlargement; one side may be larger, not both.
                let same = limit.width <= shown.width || limit.height <= shown.height;
                return if same { Ok(shown) } else { Err(larger()) };
            }
            let size = shown.scaled(factor);
            Ok(Size {
                width: size.width.min((limit.width & !1).max(2)),
                height: size.height.min((limit.height & !1).max(2)),
            })
        }
        Fit::Source => Ok(shown),
        Fit::ShortSide(side) if side > shown.short_side() + 1 => Err(larger()),
        Fit::ShortSide(side) if side >= shown.short_side() => Ok(shown),
        Fit::ShortSide(side) => Ok(shown.scaled(f64::from(side) / f64::from(shown.short_side()))),
    }
}

fn default_ladder(
    shown: Size,
    smallest: Smallest<'_>,
) -> Result<(Vec<Resolved>, Vec<Dropped>), LadderError> {
    let short = shown.short_side();
    let steps = DEFAULT_SHORT_SIDES.into_iter().filter(|side| *side < short);
    let mut ladder = Vec::new();
    let mut dropped = Vec::new();
    for side in std::iter::once(short).chain(steps) {
        let rung = Rung {
            fit: Fit::ShortSide(side),
            crf: None,
            speed: None,
            rate: None,
        };
        let size = fit(shown, rung.fit)?;
        let share = f64::from(side) / f64::from(short);
        if !smallest.allows(size) {
            let reason = format!("{} makes nothing below {}", smallest.encoder, smallest.size);
            dropped.push(Dropped { size, reason });
        } else if side != short && share > CLEARLY_SMALLER {
            let reason = format!("it is not clearly smaller than the source, {shown}");
            dropped.push(Dropped { size, reason });
        } else {
            ladder.push(Resolved { rung, size });
        }
    }
    if ladder.is_empty() {
        return Err(LadderError::NothingLeft {
            source_size: shown,
            encoder: smallest.encoder.to_owned(),
            smallest: smallest.size,
        });
    }
    Ok((ladder, dropped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SVT: Smallest<'_> = Smallest {
        encoder: "libsvtav1",
        size: Size {
            width: 64,
            height: 64,
        },
    };

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    fn sizes(shown: Size, rungs: &[&str]) -> Result<Vec<String>, LadderError> {
        let rungs: Vec<Rung> = rungs
            .iter()
            .map(|text| text.parse().expect("a rung"))
            .collect();
        let (ladder, _) = resolve(shown, &rungs, SVT)?;
        Ok(ladder.iter().map(|rung| rung.size.to_string()).collect())
    }

    #[test]
    fn default_ladders() {
        assert_eq!(
            sizes(size(1920, 1080), &[]).unwrap(),
            ["1920x1080", "1280x720", "854x480", "640x360"]
        );
        assert_eq!(
            sizes(size(1080, 1920), &[]).unwrap(),
            ["1080x1920", "720x1280", "480x854", "360x640"]
        );
        assert_eq!(sizes(size(640, 272), &[]).unwrap(), ["640x272"]);
        assert_eq!(
            sizes(size(1920, 816), &[]).unwrap(),
            ["1920x816", "1130x480", "848x360"]
        );
        assert!(matches!(
            sizes(size(32, 32), &[]),
            Err(LadderError::NothingLeft { .. })
        ));
    }

    #[test]
    fn what_is_left_out_is_said() {
        let (_, dropped) = resolve(size(1920, 816), &[], SVT).unwrap();
        assert_eq!(dropped.len(), 1);
        assert_eq!(dropped[0].size, size(1694, 720));
    }

    #[test]
    fn explicit_rungs_keep_the_shape() {
        assert_eq!(
            sizes(size(1920, 816), &["1280x720", "480p"]).unwrap(),
            ["1280x544", "1130x480"]
        );
        assert_eq!(
            sizes(size(1920, 1080), &["1920x1080"]).unwrap(),
            ["1920x1080"]
        );
        assert!(matches!(
            sizes(size(1280, 720), &["1080p"]),
            Err(LadderError::Larger { .. })
        ));
        assert!(matches!(
            sizes(size(1280, 720), &["1920x1080"]),
            Err(LadderError::Larger { .. })
        ));
        assert!(matches!(
            sizes(size(1280, 720), &["32p"]),
            Err(LadderError::TooSmall { .. })
        ));
        assert!(matches!(
            sizes(size(1280, 720), &["720p", "1280x720"]),
            Err(LadderError::Twice { .. })
        ));
        assert_eq!(
            sizes(size(1280, 720), &["720p", "720p@crf=50"])
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn rungs_are_read_and_written() {
        let rung: Rung = "720p@crf=34,speed=8".parse().unwrap();
        assert_eq!(
            (rung.fit, rung.crf, rung.speed),
            (Fit::ShortSide(720), Some(34), Some(8))
        );
        assert_eq!(rung.to_string(), "720p@crf=34,speed=8");
        let rated = |text: &str| text.parse::<Rung>().map(|rung| rung.rate);
        assert_eq!(
            rated("720p@maxrate=2.5M"),
            Ok(Some(Rate::Capped(2_500_000)))
        );
        assert_eq!(rated("720p@bitrate=800k"), Ok(Some(Rate::Average(800_000))));
        let capped: Rung = "720p@crf=30,maxrate=64000".parse().unwrap();
        assert_eq!(capped.to_string(), "720p@crf=30,maxrate=64000");
        for bad in [
            "",
            "p",
            "720",
            "0p",
            "99999p",
            "1280x",
            "720p@crf=64",
            "720p@fps=3",
            "720p@maxrate=-1M",
            "720p@maxrate=9k",
            "720p@bitrate=2G",
            "720p@bitrate=1M,maxrate=2M",
            "720p@crf",
            "-5p",
        ] {
            assert!(bad.parse::<Rung>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn pixels_become_square_and_upright() {
        let stored = |width, height, pixel_aspect, sideways| Stored {
            size: size(width, height),
            pixel_aspect,
            sideways,
        };
        assert_eq!(stored(720, 576, (64, 45), false).shown(), size(1024, 576));
        assert_eq!(stored(1440, 1080, (4, 3), false).shown(), size(1920, 1080));
        assert_eq!(stored(720, 480, (8, 9), false).shown(), size(720, 540));
        assert_eq!(stored(1920, 1080, (1, 1), true).shown(), size(1080, 1920));
        assert_eq!(stored(641, 361, (1, 1), false).shown(), size(640, 360));
    }

    proptest! {
        #[test]
        fn any_source_gets_even_sizes_inside_itself(width in 64u32..9000, height in 64u32..9000) {
            let shown = size(width & !1, height & !1);
            let (ladder, _) = resolve(shown, &[], SVT).unwrap();
            prop_assert_eq!(ladder[0].size, shown);
            for rung in &ladder {
                prop_assert!(rung.size.width % 2 == 0 && rung.size.height % 2 == 0);
                prop_assert!(rung.size.width <= shown.width && rung.size.height <= shown.height);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
            if let Ok(rung) = text.parse::<Rung>() {
                prop_assert_eq!(rung.to_string().parse::<Rung>().unwrap(), rung);
            }
        }
    }
}
