//! Where pictures come from: the seam between the pumps and FFmpeg, and the real thing behind it. Readers start at the beginning, or at a
//! keyframe from which on every picture is the same as in one straight decode.

mod recover;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rungs_media::decode::{DecodeOptions, Received, Sent};
use rungs_media::demux::{Demuxer, Stream};
use rungs_media::frame::Frame;
use rungs_media::hardware::Place;
use rungs_media::normalise::{self, Normaliser};
use rungs_media::{CancelToken, Error, Limits, Packet, Source, entry};

use crate::places::{Places, Seated};

/// Most packets that are read ahead of the decoder, and the most bytes of them.
const AHEAD_PACKETS: usize = 4096;
const AHEAD_BYTES: usize = 64 << 20;

/// One decoded, normalised picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The picture.
    pub frame: Frame,
    /// Its timestamp in the source's time base, if it has one.
    pub timestamp: Option<i64>,
    /// Its duration in the source's time base, if known.
    pub duration: Option<i64>,
}

/// What a reader counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Pictures decoded.
    pub decoded: u64,
    /// Packets, or stretches of the file, that could not be read or decoded.
    pub errors: u64,
    /// Bytes of the packets that were read.
    pub bytes: u64,
}

/// How many bytes a presentation is made of, which says how long it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// That says nothing: the presentation's length is known by other means.
    Any,
    /// So many.
    Known(u64),
    /// As many as [were read](ReadCounts::bytes): the source is still being written.
    AsRead,
}

impl Bytes {
    /// The bytes of a source.
    pub(crate) fn of(source: &Source) -> Self {
        match source {
            // Each is shown for the same time.
            Source::Images(_) => Self::Any,
            source if !source.is_whole() => Self::AsRead,
            source => match source.identity() {
                Ok(identity) => identity.len.map_or(Self::AsRead, Self::Known),
                Err(_) => Self::AsRead,
            },
        }
    }

    /// Those of two sources.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Known(one), Self::Known(other)) => Self::Known(one.saturating_add(other)),
            (Self::Any, _) | (_, Self::Any) => Self::Any,
            _ => Self::AsRead,
        }
    }
}

/// Pictures in presentation order. Owned by one pump thread; calls block on the file and the decoder.
pub trait Reader: Send {
    /// Tells how many pictures are still to come from `from` until before `until` (timestamps in the source's time base), as far as
    /// the container says. Bounded: where it has to stop early, the rest is taken to be as dense as what was seen.
    fn look_ahead(&mut self, from: i64, until: i64) -> Result<u64, Error>;

    /// Returns the next picture, or `None` at the end of the source.
    fn next(&mut self) -> Result<Option<Picture>, Error>;

    /// What was counted so far.
    fn counts(&self) -> ReadCounts;
}

/// Where a reader is to start, other than at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The place in the source's time base: the first picture must be at or before it.
    pub timestamp: i64,
}

/// Where a reader does start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// At the beginning: nothing else was asked for, or the place cannot be sought so that the pictures are surely the same.
    Beginning,
    /// At the picture with this timestamp, from which on all pictures are those of a reader that started at the beginning: that of a
    /// keyframe, or one soon after it.
    Keyframe(i64),
}

/// A fresh reader.
pub struct Opened {
    /// The reader.
    pub reader: Box<dyn Reader>,
    /// Where it starts.
    pub entered: Entered,
}

/// What can be read more than once, from several places at once: the seam between pumps and FFmpeg.
pub trait Material: Sync {
    /// Opens a fresh reader. With a start it begins at a keyframe at or before the place, or, where that is not exact, at the beginning.
    /// Blocks on the file, and with a start on the decoder until it has given the first picture.
    fn open(&self, start: Option<Start>) -> Result<Opened, Error>;

    /// About where a reader that is asked to start at `timestamp` would begin to decode, from the container's index alone and without
    /// reading; `None` where that is the beginning, or not known. Both are in the source's time base.
    fn keyframe_before(&self, timestamp: i64) -> Option<i64>;

    /// How many bytes it has.
    fn bytes(&self) -> Bytes {
        Bytes::Any
    }
}

/// How a source is read. Where the [pace](normalise::Config::pace) has finer ticks than the source, those are the ticks of pictures, starts and
/// keyframes too.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// How pictures are normalised.
    pub normalise: normalise::Config,
    /// Whether an error in the data ends the reading.
    pub strict: bool,
    /// Threads of the decoder; 0 for as many as there are cores.
    pub threads: u32,
}

impl ReadOptions {
    fn decode(&self) -> DecodeOptions {
        DecodeOptions {
            threads: self.threads,
            strict: self.strict,
            max_pixels: Limits::default().max_pixels,
        }
    }

    /// Ticks of the pictures in one of the source's.
    fn finer(&self) -> i64 {
        let pace = self.normalise.pace;
        pace.map_or(1, |pace| i64::from(pace.finer.get()))
    }
}

/// What a reader is opened from.
#[derive(Clone)]
struct Origin {
    source: Source,
    stream: usize,
    options: ReadOptions,
    cancel: CancelToken,
    places: Arc<Places>,
}

impl Origin {
    fn new(source: &Source, stream: usize, options: ReadOptions, cancel: &CancelToken) -> Self {
        Self {
            source: source.clone(),
            stream,
            options,
            cancel: cancel.clone(),
            places: Arc::default(),
        }
    }

    fn demuxer(&self) -> Result<Demuxer, Error> {
        let mut demuxer = Demuxer::open(&self.source, &Limits::default(), &self.cancel)?;
        demuxer.keep_only(&[self.stream]);
        Ok(demuxer)
    }
}

/// One video track of a source, read with FFmpeg.
pub struct VideoMaterial {
    origin: Origin,
    track: Stream,
    /// Near the keyframes at which a decoder can start, ascending.
    keyframes: Vec<i64>,
}

impl VideoMaterial {
    /// Looks at the container's index. The cancel token interrupts reads of the file, now and in readers.
    pub fn new(
        source: &Source,
        stream: usize,
        options: ReadOptions,
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        let origin = Origin::new(source, stream, options, cancel);
        let mut demuxer = origin.demuxer()?;
        Ok(Self {
            origin,
            track: stream_of(&demuxer, stream)?,
            keyframes: entries(&mut demuxer, stream)?,
        })
    }

    /// The same with readers that decode at these places, not on the CPU alone.
    #[must_use]
    pub fn decoded_at(mut self, places: &Arc<Places>) -> Self {
        self.origin.places = Arc::clone(places);
        self
    }

    /// Readers that keep the devices busy which decode it; `None` if the CPU does.
    pub(crate) fn readers(&self) -> Option<u32> {
        self.origin.places.readers(&self.track)
    }

    fn reader(&self) -> Result<VideoReader, Error> {
        VideoReader::of(self.origin.clone())
    }

    /// A reader from the middle on; `None` where that is not exact.
    fn enter(&self, start: Start) -> Result<Option<Opened>, Error> {
        /// Keyframes that are tried: pictures that depend on one before the keyframe are left out, and those may be all up to the place.
        const TRIES: u32 = 3;
        let finer = self.origin.options.finer();
        let mut before = start.timestamp.div_euclid(finer);
        for _ in 0..TRIES {
            let mut reader = self.reader()?;
            let Some(entry) = reader.enter(before)? else {
                return Ok(None);
            };
            if entry.first <= start.timestamp {
                return Ok(Some(Opened {
                    reader: Box::new(reader),
                    entered: Entered::Keyframe(entry.first),
                }));
            }
            before = entry.keyframe.saturating_sub(1);
        }
        Ok(None)
    }
}

/// Keyframes of the index, if a decoder can start at such.
fn entries(demuxer: &mut Demuxer, stream: usize) -> Result<Vec<i64>, Error> {
    if !demuxer.seeks_exactly() {
        return Ok(Vec::new());
    }
    let track = stream_of(demuxer, stream)?;
    // Matroska's cues are read with the first search.
    if !sought(demuxer.seek(stream, track.start.unwrap_or(0)))? {
        return Ok(Vec::new());
    }
    let keyframes = demuxer.indexed_keyframes(stream);
    // All keyframes of a track are made alike: one in the middle stands for them.
    let Some(sample) = keyframes.get(keyframes.len() / 2) else {
        return Ok(keyframes);
    };
    if !sought(demuxer.seek(stream, *sample))? {
        return Ok(Vec::new());
    }
    let packet = match demuxer.read() {
        Ok(Some(packet)) if entry::is_clean(&track, &packet) => packet,
        Ok(_) | Err(Error::Read(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // An MP4's index has decoding times, Matroska's those of the pictures.
    let delay = match (packet.dts(), packet.pts()) {
        (Some(dts), Some(pts)) if keyframes.binary_search(&dts).is_ok() => pts - dts,
        _ => 0,
    };
    Ok(keyframes.iter().map(|keyframe| keyframe + delay).collect())
}

/// Whether a search found its place. A container in which it cannot be found is read from the beginning.
fn sought(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::Seek { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn stream_of(demuxer: &Demuxer, stream: usize) -> Result<Stream, Error> {
    let found = demuxer.streams().get(stream).cloned();
    found.ok_or(Error::NoStream {
        kind: "video",
        index: stream,
    })
}

impl Material for VideoMaterial {
    fn open(&self, start: Option<Start>) -> Result<Opened, Error> {
        if let Some(start) = start.filter(|_| self.origin.options.normalise.forgets())
            && let Some(opened) = self.enter(start)?
        {
            return Ok(opened);
        }
        Ok(Opened {
            reader: Box::new(self.reader()?),
            entered: Entered::Beginning,
        })
    }

    fn keyframe_before(&self, timestamp: i64) -> Option<i64> {
        if !self.origin.options.normalise.forgets() {
            return None;
        }
        let finer = self.origin.options.finer();
        let timestamp = timestamp.div_euclid(finer);
        let after = self
            .keyframes
            .partition_point(|keyframe| *keyframe <= timestamp);
        let keyframe = self.keyframes[..after].last();
        keyframe.map(|keyframe| keyframe * finer)
    }

    fn bytes(&self) -> Bytes {
        Bytes::of(&self.origin.source)
    }
}

/// Demuxes, decodes and normalises one video track with FFmpeg.
pub struct VideoReader {
    origin: Origin,
    demuxer: Demuxer,
    track: Stream,
    decoder: Seated,
    normaliser: Normaliser,
    ahead: VecDeque<Packet>,
    ahead_bytes: usize,
    /// Timestamps of the packets whose pictures the decoder has not given yet.
    inside: BTreeSet<i64>,
    /// The first picture, while it is only known that it is the right one.
    first: Option<Picture>,
    file_ended: bool,
    flushed: bool,
    /// Whether all pictures of the decoder are out.
    drained: bool,
    counts: ReadCounts,
    given: Given,
}

/// How far the decoder's pictures are given.
#[derive(Clone, Copy, Default)]
struct Given {
    /// The keyframe at which the reader has entered, if it did not start at the beginning.
    entered: Option<i64>,
    /// Pictures that were given.
    count: u64,
    /// The last one's timestamp, in the source's ticks.
    last: Option<i64>,
}

/// Where a reader has entered.
struct Entry {
    /// The keyframe's timestamp, in the source's ticks.
    keyframe: i64,
    /// That of the first picture that it gives, in the pictures' ticks.
    first: i64,
}

impl VideoReader {
    /// Opens the track `stream` of `source` at its beginning. The cancel token interrupts reads of the file.
    pub fn open(
        source: &Source,
        stream: usize,
        options: ReadOptions,
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        Self::of(Origin::new(source, stream, options, cancel))
    }

    /// The same, decoding at these places.
    pub(crate) fn decoded_at(
        (source, stream): (&Source, usize),
        options: ReadOptions,
        cancel: &CancelToken,
        places: &Arc<Places>,
    ) -> Result<Self, Error> {
        let mut origin = Origin::new(source, stream, options, cancel);
        origin.places = Arc::clone(places);
        Self::of(origin)
    }

    fn of(origin: Origin) -> Result<Self, Error> {
        let demuxer = origin.demuxer()?;
        let track = stream_of(&demuxer, origin.stream)?;
        let decoder = origin.places.open(&track, &origin.options.decode())?;
        Ok(Self {
            demuxer,
            track,
            decoder,
            normaliser: Normaliser::new(origin.options.normalise.clone()),
            origin,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            inside: BTreeSet::new(),
            first: None,
            file_ended: false,
            flushed: false,
            drained: false,
            counts: ReadCounts::default(),
            given: Given::default(),
        })
    }

    /// Moves a reader that has not read yet to a keyframe at or before `timestamp`, and makes its first picture. `None` if there is no such
    /// keyframe, and the reader is good for nothing then.
    fn enter(&mut self, timestamp: i64) -> Result<Option<Entry>, Error> {
        let Some(keyframe) = self.find_entry(timestamp)? else {
            return Ok(None);
        };
        self.given.entered = Some(keyframe);
        self.normaliser = Normaliser::entering(self.origin.options.normalise.clone());
        loop {
            let decoded = match self.decode() {
                Err(error) if error.is_decode() => return Ok(None),
                decoded => decoded?,
            };
            // Whether damage met here is damage, or comes from what is missing before the keyframe, cannot be told.
            if self.counts.errors > 0 || self.decoder.has_complained() {
                return Ok(None);
            }
            match decoded.and_then(|frame| Some((frame.pts()?, frame))) {
                // Pictures that refer back over the keyframe, where the decoder gives them at all.
                Some((time, _)) if time < keyframe => {}
                Some((time, frame)) if time == keyframe => {
                    self.normalise(Some(&frame))?;
                    break;
                }
                // The decoder waits for more than it was promised, as with an intra refresh.
                Some(_) | None => return Ok(None),
            }
        }
        self.first = match self.normalised() {
            Err(error) if error.is_decode() => return Ok(None),
            made => made?,
        };
        let first = self.first.as_ref().and_then(|picture| picture.timestamp);
        let whole = first.filter(|_| self.counts.errors == 0);
        Ok(whole.map(|first| Entry { keyframe, first }))
    }

    /// Seeks to the last keyframe at or before `timestamp` with which decoding can begin, and reads its packet.
    fn find_entry(&mut self, timestamp: i64) -> Result<Option<i64>, Error> {
        const TRIES: u32 = 8;
        if !self.demuxer.seeks_exactly() {
            return Ok(None);
        }
        let base = self.track.time_base;
        let mut step = (i64::from(base.den()) / i64::from(base.num()) / 25).max(1);
        let mut target = timestamp;
        for _ in 0..TRIES {
            self.ahead.clear();
            self.ahead_bytes = 0;
            if !sought(self.demuxer.seek(self.track.index, target))? {
                return Ok(None);
            }
            self.read_packet()?;
            let Some(packet) = self.ahead.back() else {
                return Ok(None);
            };
            let Some(time) = packet.pts() else {
                return Ok(None);
            };
            if time <= timestamp && entry::is_clean(&self.track, packet) {
                return Ok(Some(time));
            }
            target = target.min(time).saturating_sub(step);
            step *= 2;
        }
        Ok(None)
    }

    /// About how many packets lie between the last that was read ahead and `until`, if reading ahead had to stop before: as many for
    /// each tick as there were.
    fn not_reached(&self, until: i64) -> u64 {
        if self.file_ended {
            return 0;
        }
        let order = |packet: &Packet| packet.dts().or(packet.pts()).map(i128::from);
        let first = self.ahead.front().and_then(order);
        let last = self.ahead.back().and_then(order);
        let (Some(first), Some(last)) = (first, last) else {
            return 0;
        };
        let left = (i128::from(until) - last).max(0);
        let count = left * self.ahead.len() as i128 / (last - first).max(1);
        u64::try_from(count.min(i128::from(u32::MAX))).unwrap_or(0)
    }

    /// The next normalised picture.
    fn normalised(&mut self) -> Result<Option<Picture>, Error> {
        loop {
            if let Some(frame) = self.normaliser.pull()? {
                let (timestamp, duration) = (frame.pts(), frame.duration());
                return Ok(Some(Picture {
                    frame,
                    timestamp,
                    duration,
                }));
            }
            if self.drained {
                return Ok(None);
            }
            let decoded = self.decode()?;
            self.drained = decoded.is_none();
            self.normalise(decoded.as_ref())?;
        }
    }

    /// Hands a picture of the decoder on, or the end.
    fn normalise(&mut self, frame: Option<&Frame>) -> Result<(), Error> {
        let finer = self.origin.options.finer();
        if finer == 1 {
            return self.normaliser.push(frame);
        }
        let timed = frame.map(|frame| {
            let time = |ticks: Option<i64>| ticks.map(|ticks| ticks.saturating_mul(finer));
            frame.with_time(time(frame.pts()), time(frame.duration()))
        });
        self.normaliser.push(timed.as_ref())
    }

    /// The next picture.
    fn decode(&mut self) -> Result<Option<Frame>, Error> {
        let decoded = match self.decode_here() {
            Err(error) if self.decoder.is_on_device() && recover::is_of_decoder(&error) => {
                self.recover(&error)?
            }
            decoded => decoded?,
        };
        if let Some(frame) = &decoded {
            self.counts.decoded += 1;
            self.given.count += 1;
            self.given.last = frame.pts();
        }
        Ok(decoded)
    }

    /// The next picture of the decoder.
    fn decode_here(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            match self.decoder.receive() {
                Ok(Received::Frame(frame)) => {
                    if let Some(time) = frame.pts() {
                        self.inside = self.inside.split_off(&(time + 1));
                    }
                    // Here, since a device that does not give it is one that has failed.
                    let stays = frame.place() == Place::Host || !self.normaliser.wants_here(&frame);
                    return Ok(Some(if stays {
                        frame
                    } else {
                        self.decoder.bring(&frame)?
                    }));
                }
                Ok(Received::End) => return Ok(None),
                Ok(Received::NeedsInput) => self.feed()?,
                Err(error) => self.survive(error)?,
            }
        }
    }

    fn read_packet(&mut self) -> Result<(), Error> {
        loop {
            match self.demuxer.read() {
                Ok(Some(packet)) if packet.stream() == self.track.index => {
                    self.ahead_bytes += packet.data().len();
                    self.counts.bytes += packet.data().len() as u64;
                    self.ahead.push_back(packet);
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.file_ended = true;
                    return Ok(());
                }
                Err(error @ Error::Read(_)) if !self.origin.options.strict => {
                    // What cannot be read any more is a loss like a file that was cut off; it is counted and reported.
                    self.counts.errors += 1;
                    self.file_ended = true;
                    drop(error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn feed(&mut self) -> Result<(), Error> {
        if self.ahead.is_empty() && !self.file_ended {
            self.read_packet()?;
        }
        let packet = self.ahead.pop_front();
        if packet.is_none() && self.flushed {
            return Ok(());
        }
        self.flushed = packet.is_none();
        match self.decoder.send(packet.as_ref()) {
            Ok(Sent::Accepted) => {
                self.ahead_bytes -= packet.as_ref().map_or(0, |p| p.data().len());
                self.inside.extend(packet.as_ref().and_then(order_of));
            }
            // Cannot happen while pictures are taken out until the decoder asks for input; try again all the same.
            Ok(Sent::Full) => match packet {
                Some(packet) => self.ahead.push_front(packet),
                None => self.flushed = false,
            },
            Err(error) => {
                self.ahead_bytes -= packet.as_ref().map_or(0, |p| p.data().len());
                self.survive(error)?;
            }
        }
        Ok(())
    }

    fn survive(&mut self, error: Error) -> Result<(), Error> {
        // What a device makes of damage is not what the CPU does, so the CPU has to.
        if self.origin.options.strict || self.decoder.is_on_device() || !error.is_decode() {
            return Err(error);
        }
        self.counts.errors += 1;
        Ok(())
    }
}

/// When the picture of a packet is shown, or about when.
fn order_of(packet: &Packet) -> Option<i64> {
    packet.pts().or(packet.dts())
}

impl Reader for VideoReader {
    fn look_ahead(&mut self, from: i64, until: i64) -> Result<u64, Error> {
        let (start, end) = (from, until);
        let ticks = |time: i64| -(-time).div_euclid(self.origin.options.finer());
        let (from, until) = (ticks(from), ticks(until));
        let beyond = |packet: &Packet| {
            packet
                .dts()
                .or(packet.pts())
                .is_some_and(|order| order >= until)
        };
        while !self.file_ended && self.ahead.len() < AHEAD_PACKETS && self.ahead_bytes < AHEAD_BYTES
        {
            if self.ahead.back().is_some_and(beyond) {
                break;
            }
            self.read_packet()?;
        }
        let wanted = |time: &i64| (from..until).contains(time);
        let ahead = self.ahead.iter().map(order_of);
        let finer = self.origin.options.finer();
        let first = self
            .first
            .iter()
            .map(|picture| Some(picture.timestamp?.div_euclid(finer)));
        let count = ahead
            .chain(first)
            .filter(|time| time.as_ref().is_none_or(wanted))
            .count();
        let inside = self.inside.range(from..until.max(from)).count();
        let held = self.normaliser.held();
        let there = (count + inside + held) as u64 + self.not_reached(until);
        Ok(match self.origin.options.normalise.pace {
            Some(pace) => pace.bound(there, start, end),
            None => there,
        })
    }

    fn next(&mut self) -> Result<Option<Picture>, Error> {
        match self.first.take() {
            Some(picture) => Ok(Some(picture)),
            None => self.normalised(),
        }
    }

    fn counts(&self) -> ReadCounts {
        self.counts
    }
}
