//! Several sources as one: their pictures one after the other, on the clock of the first.
//!
//! The plan says where on that clock each source's first picture stands ([`Joined`]); that of the first source's end is a
//! [`Window`]. Readers start at the beginning only: a job of several sources has one pump.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use rungs_media::demux::Demuxer;
use rungs_media::frame::BitDepth;
use rungs_media::scale::{self, Kernel, Scaler};
use rungs_media::time::TimeBase;
use rungs_media::{CancelToken, Error, Limits, Source, normalise};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::journal::SourceIdentity;
use crate::ladder::Size;
use crate::places::Places;
use crate::read::{
    Bytes, Entered, Material, Opened, Picture, ReadCounts, ReadOptions, Reader, Start, VideoReader,
};
use crate::window::{Window, WindowReader};

/// A source that follows the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// Its file.
    pub path: PathBuf,
    /// Which file that is.
    pub identity: SourceIdentity,
    /// Index of its video track.
    pub video_stream: usize,
    /// Index of its sound, if it has any.
    pub sound_stream: Option<usize>,
    /// How its pictures are normalised.
    pub normalise: normalise::Config,
    /// Seconds for each unit of its timestamps.
    pub time_base: TimeBase,
    /// Timestamp of its first picture, on its own clock.
    pub origin: i64,
    /// Where that picture stands, on the first source's clock.
    pub start: i64,
    /// Where the next source starts, on the first source's clock; `None` for the last.
    pub until: Option<i64>,
}

impl Joined {
    /// Its bytes, opened by whoever reads them.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::from(self.path.clone())
    }

    /// Whether the file is still the one that was planned with. Blocks while a megabyte is read.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        SourceIdentity::of(&self.source()).is_ok_and(|now| now == self.identity)
    }

    /// What determines the bytes of the package.
    pub(crate) fn lasting(&self) -> serde_json::Value {
        let Self {
            path: _,
            identity,
            video_stream,
            sound_stream,
            normalise,
            time_base,
            origin,
            start,
            until,
        } = self;
        json!({
            "bytes": identity.bytes, "sha256": identity.sha256, "video_stream": video_stream, "sound_stream": sound_stream,
            "normalise": normalise, "time_base": time_base, "origin": origin, "start": start, "until": until,
        })
    }
}

/// Where the last picture of a track ends, on its own clock, as its packets tell: from the first picture's timestamp on. Blocks while all of the
/// source is read. A picture whose duration is not known takes `nominal`.
pub(crate) fn end_of(
    source: &Source,
    (stream, nominal): (usize, i64),
    cancel: &CancelToken,
) -> Result<Option<i64>, Error> {
    let mut demuxer = Demuxer::open(source, &Limits::default(), cancel)?;
    demuxer.keep_only(&[stream]);
    let mut last: Option<(i64, i64)> = None;
    while let Some(packet) = demuxer.read()? {
        if packet.stream() != stream || packet.is_discard() {
            continue;
        }
        let duration = Some(packet.duration()).filter(|duration| *duration > 0);
        let found = packet.pts().map(|time| (time, duration.unwrap_or(nominal)));
        last = last.max(found);
    }
    Ok(last.map(|(time, duration)| time + duration))
}

/// The pictures of several sources.
pub(crate) struct JoinedMaterial {
    parts: Vec<PartSource>,
    /// Usual duration of a picture, on the first source's clock.
    nominal: i64,
    depth: BitDepth,
    kernel: Kernel,
    cancel: CancelToken,
    places: Arc<Places>,
}

/// What is needed to read one of the sources.
#[derive(Clone)]
struct PartSource {
    source: Source,
    stream: usize,
    options: ReadOptions,
    clock: Clock,
    until: Option<i64>,
}

/// How a source's timestamps become those of the first.
#[derive(Clone, Copy)]
struct Clock {
    own: TimeBase,
    first: TimeBase,
    origin: i64,
    start: i64,
}

impl Clock {
    fn to_first(self, timestamp: i64) -> i64 {
        let since = timestamp.saturating_sub(self.origin);
        self.own.rescale(since, self.first) + self.start
    }

    fn to_own(self, timestamp: i64) -> i64 {
        let since = timestamp.saturating_sub(self.start);
        self.first.rescale(since, self.own) + self.origin
    }
}

/// The source with which it all begins.
pub(crate) struct FirstSource<'a> {
    pub(crate) source: &'a Source,
    pub(crate) stream: usize,
    pub(crate) options: ReadOptions,
    pub(crate) time_base: TimeBase,
    pub(crate) nominal: i64,
    pub(crate) window: Option<Window>,
    /// How pictures of another size are brought to that of the first.
    pub(crate) kernel: Kernel,
    /// Where all of them are decoded.
    pub(crate) places: Arc<Places>,
}

impl JoinedMaterial {
    /// Reads nothing yet.
    pub(crate) fn new(first: &FirstSource<'_>, joined: &[Joined], cancel: &CancelToken) -> Self {
        let part = |joined: &Joined| PartSource {
            source: joined.source(),
            stream: joined.video_stream,
            options: ReadOptions {
                normalise: joined.normalise.clone(),
                ..first.options.clone()
            },
            clock: Clock {
                own: joined.time_base,
                first: first.time_base,
                origin: joined.origin,
                start: joined.start,
            },
            until: joined.until,
        };
        let leads = PartSource {
            source: first.source.clone(),
            stream: first.stream,
            options: first.options.clone(),
            clock: Clock {
                own: first.time_base,
                first: first.time_base,
                origin: 0,
                start: 0,
            },
            until: first.window.and_then(|window| window.until),
        };
        Self {
            parts: std::iter::once(leads)
                .chain(joined.iter().map(part))
                .collect(),
            nominal: first.nominal.max(1),
            depth: first.options.normalise.depth,
            kernel: first.kernel,
            cancel: cancel.clone(),
            places: Arc::clone(&first.places),
        }
    }
}

impl Material for JoinedMaterial {
    fn open(&self, _: Option<Start>) -> Result<Opened, Error> {
        let mut reader = JoinedReader {
            current: None,
            rest: self.parts.iter().cloned().collect(),
            counts: ReadCounts::default(),
            size: None,
            depth: self.depth,
            kernel: self.kernel,
            nominal: self.nominal,
            cancel: self.cancel.clone(),
            places: Arc::clone(&self.places),
        };
        reader.turn()?;
        Ok(Opened {
            reader: Box::new(reader),
            entered: Entered::Beginning,
        })
    }

    fn keyframe_before(&self, _: i64) -> Option<i64> {
        None
    }

    fn bytes(&self) -> Bytes {
        let parts = self.parts.iter().map(|part| Bytes::of(&part.source));
        parts.reduce(Bytes::and).unwrap_or(Bytes::Any)
    }
}

/// The source that is being read.
struct Current {
    reader: WindowReader,
    clock: Clock,
    until: Option<i64>,
}

struct JoinedReader {
    current: Option<Current>,
    rest: VecDeque<PartSource>,
    /// What was counted in sources that are read.
    counts: ReadCounts,
    /// The first picture's size, which all have.
    size: Option<(Size, Scaler)>,
    depth: BitDepth,
    kernel: Kernel,
    nominal: i64,
    cancel: CancelToken,
    places: Arc<Places>,
}

impl JoinedReader {
    /// Goes on to the next source, if there is one.
    fn turn(&mut self) -> Result<(), Error> {
        if let Some(done) = self.current.take() {
            self.counts = sum(self.counts, done.reader.counts());
        }
        let Some(part) = self.rest.pop_front() else {
            return Ok(());
        };
        let track = (&part.source, part.stream);
        let reader = VideoReader::decoded_at(track, part.options, &self.cancel, &self.places)?;
        let window = Window {
            from: None,
            until: part.until.map(|until| part.clock.to_own(until)),
        };
        self.current = Some(Current {
            reader: WindowReader::new(Box::new(reader), window),
            clock: part.clock,
            until: part.until,
        });
        Ok(())
    }

    /// Brings a picture to the size of the first one.
    fn fit(&mut self, picture: Picture) -> Result<Picture, Error> {
        let (size, scaler) = self.size.get_or_insert_with(|| {
            let (width, height) = (picture.frame.width(), picture.frame.height());
            let (depth, kernel) = (self.depth, self.kernel);
            let scaler = Scaler::new(scale::Config {
                width,
                height,
                depth,
                kernel,
            });
            (Size { width, height }, scaler)
        });
        if (size.width, size.height) == (picture.frame.width(), picture.frame.height()) {
            return Ok(picture);
        }
        Ok(Picture {
            frame: scaler.apply(&picture.frame)?,
            ..picture
        })
    }
}

fn sum(one: ReadCounts, other: ReadCounts) -> ReadCounts {
    ReadCounts {
        decoded: one.decoded + other.decoded,
        errors: one.errors + other.errors,
        bytes: one.bytes + other.bytes,
    }
}

impl Reader for JoinedReader {
    fn look_ahead(&mut self, from: i64, until: i64) -> Result<u64, Error> {
        let Some(current) = &mut self.current else {
            return Ok(0);
        };
        let end = current.until.map_or(until, |end| end.min(until));
        let (clock, mut count) = (current.clock, 0);
        if from < end {
            count += current
                .reader
                .look_ahead(clock.to_own(from), clock.to_own(end))?;
        }
        // The sources that follow are taken to be as dense as the first is said to be.
        let beyond = until.saturating_sub(end.max(from)).max(0);
        Ok(count + (beyond / self.nominal).unsigned_abs())
    }

    fn next(&mut self) -> Result<Option<Picture>, Error> {
        while let Some(current) = &mut self.current {
            let clock = current.clock;
            let Some(mut picture) = current.reader.next()? else {
                self.turn()?;
                continue;
            };
            picture.timestamp = picture.timestamp.map(|time| clock.to_first(time));
            let length = |ticks| clock.own.rescale(ticks, clock.first);
            picture.duration = picture.duration.map(length);
            return self.fit(picture).map(Some);
        }
        Ok(None)
    }

    fn counts(&self) -> ReadCounts {
        let current = self.current.as_ref();
        current.map_or(self.counts, |current| {
            sum(self.counts, current.reader.counts())
        })
    }
}
