//! A part of a source: pictures of the whole in, those from one moment to another out.
//!
//! What is asked for counts from the first picture, in seconds ([`Cut`]). The plan turns it into timestamps of the source ([`Window`]), and a
//! [`Windowed`] material shows the pumps nothing else: the first picture in the window is the first of the presentation.

use std::str::FromStr;

use rungs_media::Error;
use rungs_media::time::TimeBase;
use serde::{Deserialize, Serialize};

use crate::read::{Bytes, Entered, Material, Opened, Picture, ReadCounts, Reader, Start};

/// What a moment may be off by: people write times to the millisecond.
const HALF_A_MILLISECOND: f64 = 0.000_5;

/// From where to where a source is taken, in seconds from its first picture. The picture that starts at `end` is left out, so that two cuts which meet
/// have every picture once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// `None` for the beginning.
    pub start: Option<f64>,
    /// `None` for the end.
    pub end: Option<f64>,
}

impl Cut {
    /// Both ends with their options on the command line and their values in words.
    pub(crate) fn settings(&self) -> [(&'static str, String); 2] {
        let words = |end: Option<f64>| end.map_or("the source's".to_owned(), |s| s.to_string());
        [("--start", words(self.start)), ("--end", words(self.end))]
    }

    /// Whether all of the source is taken.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.start.is_none() && self.end.is_none()
    }

    /// Whether there is anything between both ends.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let start = self.start.unwrap_or(0.0);
        let end = self.end.unwrap_or(f64::INFINITY);
        start.is_finite() && start >= 0.0 && end > start
    }

    /// How much of a source of so many seconds is taken.
    #[must_use]
    pub fn of(&self, seconds: f64) -> f64 {
        let end = self.end.map_or(seconds, |end| end.min(seconds));
        (end - self.start.unwrap_or(0.0)).max(0.0)
    }

    /// The same in timestamps of a track whose first picture has `origin`; `None` for the whole.
    pub(crate) fn window(&self, origin: i64, base: TimeBase) -> Option<Window> {
        let unit = f64::from(base.num()) / f64::from(base.den());
        let place = |seconds: f64| {
            let ticks = ((seconds - HALF_A_MILLISECOND) / unit).ceil();
            origin.saturating_add(ticks as i64)
        };
        (!self.is_whole()).then(|| Window {
            from: self.start.filter(|start| *start > 0.0).map(place),
            until: self.end.map(place),
        })
    }
}

/// A moment on the command line: seconds, or hours, minutes and seconds with colons between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment(pub f64);

/// Why a text is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time: write seconds, 83.5, or hours, minutes and seconds, 00:01:23.500")]
pub struct MomentError(String);

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let bad = || MomentError(text.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        let (last, whole) = parts.split_last().ok_or_else(bad)?;
        let plain = |part: &str| {
            let digits = part.bytes().all(|c| c.is_ascii_digit() || c == b'.');
            (digits && part.starts_with(|c: char| c.is_ascii_digit())).then_some(())
        };
        plain(last).ok_or_else(bad)?;
        let mut seconds: f64 = last.parse().map_err(|_| bad())?;
        if whole.len() > 2 || !whole.is_empty() && seconds >= 60.0 {
            return Err(bad());
        }
        for (part, unit) in whole.iter().rev().zip([60.0, 3600.0]) {
            let count: u32 = part.parse().map_err(|_| bad())?;
            if whole.len() == 2 && unit < 100.0 && count >= 60 {
                return Err(bad());
            }
            seconds += f64::from(count) * unit;
        }
        Ok(Self(seconds))
    }
}

/// A stretch of a track, in its own timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Pictures that start earlier are left out.
    pub from: Option<i64>,
    /// Pictures that start here or later are left out.
    pub until: Option<i64>,
}

/// The part of a material that lies in a window.
pub struct Windowed<'a> {
    /// The whole.
    pub material: &'a dyn Material,
    /// The part.
    pub window: Window,
}

impl Material for Windowed<'_> {
    fn open(&self, start: Option<Start>) -> Result<Opened, Error> {
        let from = self.window.from;
        let place = start.map(|start| start.timestamp).max(from);
        let opened = self
            .material
            .open(place.map(|timestamp| Start { timestamp }))?;
        let inside = |key: i64| start.is_some() && from.is_none_or(|from| key >= from);
        let entered = match opened.entered {
            Entered::Keyframe(key) if inside(key) => Entered::Keyframe(key),
            // What comes before the window is never shown, so this is its beginning.
            Entered::Keyframe(_) | Entered::Beginning => Entered::Beginning,
        };
        Ok(Opened {
            reader: Box::new(WindowReader::new(opened.reader, self.window)),
            entered,
        })
    }

    fn keyframe_before(&self, timestamp: i64) -> Option<i64> {
        self.material.keyframe_before(timestamp)
    }

    /// Where the window has an end, the user has said how long the presentation is.
    fn bytes(&self) -> Bytes {
        match self.window.until {
            Some(_) => Bytes::Any,
            None => self.material.bytes(),
        }
    }
}

/// The pictures of a reader that lie in a window.
pub(crate) struct WindowReader {
    reader: Box<dyn Reader>,
    window: Window,
    begun: bool,
    ended: bool,
}

impl WindowReader {
    /// Takes a reader that has not given a picture yet.
    pub(crate) fn new(reader: Box<dyn Reader>, window: Window) -> Self {
        Self {
            reader,
            window,
            begun: false,
            ended: false,
        }
    }
}

impl Reader for WindowReader {
    fn look_ahead(&mut self, from: i64, until: i64) -> Result<u64, Error> {
        let from = self.window.from.map_or(from, |first| from.max(first));
        let until = self.window.until.map_or(until, |end| until.min(end));
        if until <= from {
            return Ok(0);
        }
        self.reader.look_ahead(from, until)
    }

    fn next(&mut self) -> Result<Option<Picture>, Error> {
        while !self.ended {
            let Some(mut picture) = self.reader.next()? else {
                break;
            };
            let Some(time) = picture.timestamp else {
                if self.begun {
                    return Ok(Some(picture));
                }
                continue;
            };
            if self.window.until.is_some_and(|until| time >= until) {
                self.ended = true;
                break;
            }
            if self.window.from.is_some_and(|from| time < from) {
                continue;
            }
            self.begun = true;
            if let (Some(until), Some(duration)) = (self.window.until, picture.duration) {
                picture.duration = Some(duration.min(until - time));
            }
            return Ok(Some(picture));
        }
        Ok(None)
    }

    fn counts(&self) -> ReadCounts {
        self.reader.counts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        for (text, seconds) in [
            ("0", 0.0),
            ("83.5", 83.5),
            ("1:23.5", 83.5),
            ("01:00:00.25", 3600.25),
            ("90:00", 5400.0),
        ] {
            assert_eq!(text.parse(), Ok(Moment(seconds)), "{text}");
        }
        let base = TimeBase::new(1, 30).expect("above zero");
        let cut = |start, end| Cut {
            start: Some(start),
            end: Some(end),
        };
        // 0.033 s is the second picture's time, to the millisecond; 0.034 s is after it.
        let window = |start, end| cut(start, end).window(100, base).expect("a part");
        let from_until = |window: Window| (window.from, window.until);
        assert_eq!(from_until(window(0.033, 0.1)), (Some(101), Some(103)));
        assert_eq!(from_until(window(0.034, 0.101)), (Some(102), Some(104)));
        assert_eq!(from_until(window(0.0, 1.0)), (None, Some(130)));
        assert_eq!(Cut::default().window(100, base), None);
        assert!(cut(1.0, 2.0).is_possible() && !cut(2.0, 2.0).is_possible());
        assert!(!cut(f64::NAN, 2.0).is_possible());
        assert!((cut(1.0, 9.0).of(5.0) - 4.0).abs() < 1e-9);
        for bad in [
            "", "-1", "1:2:3:4", "1:60", "1:60:00", "x", "nan", "1e3", ":5", "5:",
        ] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }
}
