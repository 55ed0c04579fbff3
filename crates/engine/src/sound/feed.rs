//! Packets of sound without holes, from a source that may have them: copied as they are, or decoded and encoded again.

use std::collections::VecDeque;

use rungs_media::audio::{
    AudioCodec, AudioConfig, AudioDecoder, AudioEncoder, AudioFrame, Format, Resampler,
};
use rungs_media::bitstream::{AAC_ADTS_TO_ASC, PacketFilter};
use rungs_media::check::PacketChecker;
use rungs_media::decode::Received;
use rungs_media::demux::{Demuxer, Stream};
use rungs_media::encode::EncodedPacket;
use rungs_media::time::TimeBase;
use rungs_media::{AvError, Limits, Packet};
use rungs_package::{dolby, mp3, track};

use super::check::{self, Steps};
use super::{SoundJob, SoundPart, loudness};
use crate::cancel::Cancel;
use crate::error::AudioError;
use crate::message::SoundSummary;
use crate::plan::{AudioMode, AudioPlan};
use crate::tracks::Given;

/// A step in the timestamps below this is the container's rounding; above, it is a hole or an overlap.
const TOLERANCE_MS: i64 = 50;
/// A step back beyond this means that the source's clock has started again.
const JUMP_MS: i64 = 500;
/// So does a hole beyond this.
const LONGEST_HOLE_MS: i64 = 3_600_000;
/// Packets in a row with another header than the first, beyond which the track has changed rather than being damaged.
const DAMAGED_HEADERS: u32 = 2;
/// A track whose silence is not known may end this much before the picture.
const SHORT_END_MS: i64 = 1000;

/// One packet, placed in the presentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SoundPacket {
    /// Its first sample, in samples of the presentation; the priming lies before 0.
    pub(super) start: i64,
    /// Its length in samples.
    pub(super) duration: u32,
    pub(super) data: Vec<u8>,
}

/// What a feed makes next.
pub(super) enum Made {
    Packet(SoundPacket),
    /// Nothing before more of the source was given.
    Hungry,
    /// Nothing: the presentation is over, as far as is known.
    End,
}

/// Makes packets that follow each other without a hole, from the priming on, of packets that are given to it. Blocks only on sources that
/// follow the first.
pub(super) trait Feed: Send {
    /// The next packet.
    fn next(&mut self) -> Result<Made, AudioError>;
    /// Gives it what the source has next.
    fn give(&mut self, given: Given);
    /// Bytes of the packets given that were used since the last call.
    fn take_used(&mut self) -> u64;
    /// Tells where the presentation ends, in samples.
    fn end_at(&mut self, end: i64);
    /// What was repaired so far.
    fn summary(&self) -> SoundSummary;
}

/// Opens the feed that the plan asks for, of a stream of the source.
pub(super) fn open(
    job: &SoundJob<'_>,
    stream: Stream,
    cancel: &Cancel,
) -> Result<Box<dyn Feed>, AudioError> {
    let track = Track::new(job, stream);
    Ok(match job.plan.mode {
        AudioMode::Copy => Box::new(CopyFeed::new(track, job)?),
        AudioMode::Encode { codec, bit_rate } => {
            let mut feed = EncodeFeed::new(track, job, (codec, bit_rate))?;
            feed.followers = job.joined.iter().cloned().collect();
            feed.cancel = cancel.clone();
            Box::new(feed)
        }
    })
}

/// Where a track's packets come from.
enum Supply {
    /// The reader of the job's source.
    Given {
        packets: VecDeque<Packet>,
        /// The source has no more.
        ended: bool,
        /// Why the rest of it cannot be read.
        error: Option<AvError>,
        /// Bytes of packets that were taken from here since somebody asked.
        used: u64,
    },
    /// A source that follows another, read by this track alone.
    Own(Box<Demuxer>),
}

/// What a track has next.
enum Next {
    Packet(Packet),
    Hungry,
    End,
}

/// The track in the source, with the presentation's clock.
struct Track {
    supply: Supply,
    stream: Stream,
    /// Start of the presentation in the source's clock, in seconds.
    origin: f64,
    /// Samples a second in the presentation.
    rate: u32,
    /// Whether damage ends the job.
    strict: bool,
    /// Damaged packets that were survived.
    errors: u64,
    /// What is added to the source's clock after it jumped, in samples.
    shift: i64,
    /// Whether the source goes on before the presentation.
    starts_inside: bool,
}

impl Track {
    fn new(job: &SoundJob<'_>, stream: Stream) -> Self {
        Self {
            supply: Supply::Given {
                packets: VecDeque::new(),
                ended: false,
                error: None,
                used: 0,
            },
            stream,
            origin: job.origin,
            rate: job.plan.sample_rate,
            strict: job.strict,
            errors: 0,
            shift: 0,
            starts_inside: job.starts_inside,
        }
    }

    /// Opens the track of a source that follows this one.
    fn follow(&self, part: &SoundPart, stream: usize, cancel: &Cancel) -> Result<Self, AudioError> {
        let mut demuxer = Demuxer::open(&part.source, &Limits::default(), cancel.media())?;
        demuxer.keep_only(&[stream]);
        let found = demuxer.streams().get(stream).cloned();
        let found = found.ok_or(rungs_media::Error::NoStream {
            kind: "audio",
            index: stream,
        })?;
        Ok(Self {
            supply: Supply::Own(Box::new(demuxer)),
            stream: found,
            origin: part.origin,
            shift: part.start,
            // What stands before its picture has no place in the presentation.
            starts_inside: true,
            ..*self
        })
    }

    fn give(&mut self, given: Given) {
        // After that it reads another source, and the first is no longer needed.
        if let Supply::Given {
            packets,
            ended,
            error,
            ..
        } = &mut self.supply
        {
            match given {
                Given::Packet(packet) => packets.push_back(packet),
                Given::End(why) => {
                    *ended = true;
                    *error = why;
                }
            }
        }
    }

    fn take_used(&mut self) -> u64 {
        match &mut self.supply {
            Supply::Given { used, .. } => std::mem::take(used),
            Supply::Own(_) => 0,
        }
    }

    /// The next packet; the end is that of the source, or of what can be read of it.
    fn read(&mut self) -> Result<Next, AudioError> {
        let error = match &mut self.supply {
            Supply::Given {
                packets,
                ended,
                error,
                used,
            } => {
                if let Some(packet) = packets.pop_front() {
                    *used += packet.data().len() as u64;
                    return Ok(Next::Packet(packet));
                }
                match error.take() {
                    Some(error) => rungs_media::Error::Read(error),
                    None if *ended => return Ok(Next::End),
                    None => return Ok(Next::Hungry),
                }
            }
            Supply::Own(demuxer) => loop {
                match demuxer.read() {
                    Ok(Some(packet)) if packet.stream() == self.stream.index => {
                        return Ok(Next::Packet(packet));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(Next::End),
                    Err(error @ rungs_media::Error::Read(_)) => break error,
                    Err(error) => return Err(error.into()),
                }
            },
        };
        self.survive(error)?;
        Ok(Next::End)
    }

    fn survive(&mut self, error: rungs_media::Error) -> Result<(), AudioError> {
        if self.strict {
            return Err(error.into());
        }
        self.errors += 1;
        Ok(())
    }

    /// What a unit of a clock takes, in samples, rounded up.
    fn tick(&self, base: TimeBase) -> i64 {
        (base.seconds(1) * f64::from(self.rate)).ceil() as i64
    }

    /// The sample at which something with this timestamp starts, when `reached` is where the sound before it ends; `None` before the
    /// first. Where the source's clock jumps, as where files were joined, what follows is joined to what was before, as the
    /// pictures are.
    fn place(&mut self, timestamp: i64, base: TimeBase, reached: Option<i64>) -> i64 {
        let seconds = base.seconds(timestamp) - self.origin;
        let start = (seconds * f64::from(self.rate)).round() as i64 + self.shift;
        let longest = self.samples(LONGEST_HOLE_MS);
        let Some(reached) = reached else {
            // Sound an hour away from the picture goes by another clock.
            if start.abs() > longest && !self.starts_inside {
                self.shift -= start;
                return 0;
            }
            return start;
        };
        let step = start.saturating_sub(reached);
        if -step > self.samples(JUMP_MS) || step > longest {
            self.shift -= step;
            return reached;
        }
        start
    }

    fn samples(&self, ms: i64) -> i64 {
        i64::from(self.rate) * ms / 1000
    }
}

/// Whether holes in a copied track can be filled.
pub(super) fn has_silence(plan: &AudioPlan) -> bool {
    Silence::like(plan).is_some()
}

/// A packet of silence that fits a copied track.
struct Silence {
    data: Vec<u8>,
    duration: u32,
}

impl Silence {
    /// Encodes silence as the track's encoder would have; `None` where that cannot be known to fit.
    fn like(plan: &AudioPlan) -> Option<Self> {
        let codec = match &plan.codec {
            track::AudioCodec::Opus { .. } if plan.channels <= 2 => AudioCodec::Opus,
            track::AudioCodec::Opus { .. } => return None,
            track::AudioCodec::Aac { .. } => AudioCodec::Aac,
            track::AudioCodec::Ac3 { .. } => AudioCodec::Ac3,
            track::AudioCodec::Eac3 { .. } => AudioCodec::Eac3,
            track::AudioCodec::Mp3 { header } => {
                let data = mp3::silence(*header).ok()?;
                let duration = mp3::Header::of(&data).ok()?.samples;
                return Some(Self { data, duration });
            }
        };
        let bit_rate = match &plan.codec {
            track::AudioCodec::Ac3 { config } => dolby::ac3_bit_rate(config)?,
            track::AudioCodec::Eac3 { config } => dolby::eac3_bit_rate(config)?,
            _ => 64_000 * u64::from(plan.channels),
        };
        let config = AudioConfig {
            codec,
            format: Format {
                sample_rate: plan.sample_rate,
                channels: plan.channels,
            },
            bit_rate,
        };
        let mut encoder = AudioEncoder::open(&config).ok()?;
        if let track::AudioCodec::Aac { config } = &plan.codec {
            // The first two bytes hold object type, sample rate and channels (ISO/IEC 14496-3 §1.6.2.1).
            if config.get(..2)? != encoder.configuration().get(..2)? {
                return None;
            }
        }
        let duration = encoder.frame_size();
        encoder.push_silence(u64::from(duration) * 8).ok()?;
        let data = encoder.finish().ok()?.into_iter().nth(5)?.data;
        let fits = match &plan.codec {
            track::AudioCodec::Ac3 { config } => dolby::ac3_config(&data).ok()? == *config,
            // The rate, which comes first, is each frame's own affair.
            track::AudioCodec::Eac3 { config } => {
                dolby::eac3_config(&data).ok()?[2..] == config[2..]
            }
            _ => true,
        };
        fits.then_some(Self { data, duration })
    }
}

struct CopyFeed {
    track: Track,
    filter: Option<PacketFilter>,
    /// What the first packet's ADTS header says of all.
    header: Option<[u8; 2]>,
    /// Packets in a row, up to the last one, with another header.
    changed: u32,
    checker: Option<PacketChecker>,
    steps: Steps,
    opus: bool,
    /// What the first frame's header says of all, with MP3.
    mp3: Option<mp3::Header>,
    frame: u32,
    silence: Option<Silence>,
    ready: VecDeque<SoundPacket>,
    /// Where the packets read so far end.
    reached: i64,
    begun: bool,
    exhausted: bool,
    end: Option<i64>,
    summary: SoundSummary,
}

impl CopyFeed {
    fn new(track: Track, job: &SoundJob<'_>) -> Result<Self, AudioError> {
        let plan = job.plan;
        let filter = plan
            .adts
            .then(|| PacketFilter::new(AAC_ADTS_TO_ASC, &track.stream))
            .transpose()?;
        Ok(Self {
            filter,
            header: None,
            changed: 0,
            checker: check::open(plan)?,
            steps: Steps::default(),
            opus: matches!(plan.codec, track::AudioCodec::Opus { .. }),
            mp3: match &plan.codec {
                track::AudioCodec::Mp3 { header } => mp3::Header::of(header).ok(),
                _ => None,
            },
            frame: plan.frame,
            silence: Silence::like(plan),
            ready: VecDeque::new(),
            reached: -i64::from(plan.priming),
            begun: false,
            exhausted: false,
            end: None,
            summary: SoundSummary::default(),
            track,
        })
    }

    /// Takes what was read: a packet, or what is left of one.
    fn read_on(&mut self, packet: Packet) -> Result<(), AudioError> {
        let (pts, corrupt) = (packet.pts(), packet.is_corrupt());
        let damage = (corrupt || self.has_changed(packet.data())?).then(|| self.damage());
        let Some(filter) = self.filter.as_mut().filter(|_| damage.is_none()) else {
            return self.take((pts, packet.data()), damage);
        };
        match filter.apply(packet) {
            Ok(packets) => {
                for packet in packets {
                    self.take((packet.pts(), packet.data()), None)?;
                }
                Ok(())
            }
            Err(error) if error.is_capacity() => Err(error.into()),
            Err(_) => {
                let damage = Some(self.damage());
                self.take((pts, &[]), damage)
            }
        }
    }

    /// Whether a packet has another header than the first one. One or two may be damaged; then the track has changed.
    fn has_changed(&mut self, data: &[u8]) -> Result<bool, AudioError> {
        let changed = match &self.mp3 {
            Some(first) => mp3::Header::of(data).is_ok_and(|own| !own.goes_on_as(first)),
            None => self.filter.is_some() && changes(&mut self.header, data),
        };
        self.changed = if changed { self.changed + 1 } else { 0 };
        if self.changed > DAMAGED_HEADERS || changed && self.track.strict {
            return Err(AudioError::Changed);
        }
        Ok(changed)
    }

    fn damage(&self) -> rungs_media::Error {
        rungs_media::Error::damaged(&self.track.stream.codec)
    }

    fn take(
        &mut self,
        (pts, data): (Option<i64>, &[u8]),
        damage: Option<rungs_media::Error>,
    ) -> Result<(), AudioError> {
        if data.is_empty() && damage.is_none() {
            return Ok(());
        }
        let duration = if self.opus {
            opus_samples(data)
        } else {
            self.frame
        };
        // Of a length that none has: players would stumble over it. The hole is filled like others.
        if duration == 0 || self.opus && duration > MOST_OPUS_SAMPLES {
            return self.track.survive(self.damage());
        }
        let before = self.begun.then_some(self.reached);
        let base = self.track.stream.time_base;
        let start = pts.map_or(self.reached, |pts| self.track.place(pts, base, before));
        let tolerance = self.track.samples(TOLERANCE_MS).max(i64::from(duration));
        if !self.begun && start + i64::from(duration / 2) <= self.reached {
            // Before what the plan starts with, as nearly as a container tells that rounds times to milliseconds.
            return Ok(());
        }
        let hole = start - self.reached;
        if hole < -tolerance {
            // It repeats what was there already.
            return Ok(());
        }
        if hole > tolerance {
            self.fill(hole)?;
            self.steps.begin_again();
        } else {
            let length = i64::from(duration);
            let missing = self.steps.missing(hole, (length, self.track.tick(base)));
            if missing > 0 {
                self.replace(u32::try_from(missing).unwrap_or(0))?;
            }
        }
        self.begun = true;
        let checker = self.checker.as_mut().filter(|_| damage.is_none());
        match damage.or_else(|| checker?.check(data).err()) {
            None => self.append(data.to_vec(), duration),
            Some(error) if error.is_capacity() => return Err(error.into()),
            Some(error) => {
                self.track.survive(error)?;
                self.replace(duration)?;
            }
        }
        Ok(())
    }

    /// Puts silence where a damaged packet was. Where none is known, or only longer packets of it, the one before stands for both.
    fn replace(&mut self, duration: u32) -> Result<(), AudioError> {
        let silence = self.silence.as_ref().map(|silence| silence.duration);
        if silence.is_some_and(|silence| silence <= duration) {
            return self.fill(duration.into());
        }
        if let Some(last) = self.ready.back_mut() {
            last.duration += duration;
            self.reached += i64::from(duration);
        }
        Ok(())
    }

    fn append(&mut self, data: Vec<u8>, duration: u32) {
        self.ready.push_back(SoundPacket {
            start: self.reached,
            duration,
            data,
        });
        self.reached += i64::from(duration);
    }

    /// Puts silence into a hole; what is left of it is shorter than a packet, and the last packet stands for it.
    fn fill(&mut self, hole: i64) -> Result<(), AudioError> {
        let seconds = hole as f64 / f64::from(self.track.rate);
        let Some(silence) = &self.silence else {
            return Err(AudioError::Gap { seconds });
        };
        let (data, duration) = (silence.data.clone(), silence.duration);
        let count = hole / i64::from(duration);
        for _ in 0..count {
            self.append(data.clone(), duration);
        }
        let rest = hole - count * i64::from(duration);
        if let Some(last) = self.ready.back_mut() {
            last.duration += u32::try_from(rest).unwrap_or(0);
            self.reached += rest;
        }
        self.summary.filled += hole.unsigned_abs();
        Ok(())
    }

    fn after_the_end(&mut self) -> Result<Made, AudioError> {
        let missing = self.end.map(|end| end - self.reached);
        let Some(silence) = &self.silence else {
            return match missing {
                Some(missing) if missing < self.track.samples(SHORT_END_MS) => Ok(Made::End),
                missing => Err(AudioError::Gap {
                    seconds: missing.unwrap_or(0) as f64 / f64::from(self.track.rate),
                }),
            };
        };
        let (data, duration) = (silence.data.clone(), silence.duration);
        self.summary.filled += u64::from(duration);
        self.append(data, duration);
        Ok(self.ready.pop_front().map_or(Made::End, Made::Packet))
    }
}

impl Feed for CopyFeed {
    fn next(&mut self) -> Result<Made, AudioError> {
        loop {
            let ended = self.exhausted || self.end.is_some_and(|end| self.reached >= end);
            // One that may have to stand for a damaged one after it waits for the next.
            if (ended || self.silence.is_some() || self.ready.len() > 1)
                && let Some(packet) = self.ready.pop_front()
            {
                return Ok(Made::Packet(packet));
            }
            if self.end.is_some_and(|end| self.reached >= end) {
                return Ok(Made::End);
            }
            if self.exhausted {
                return self.after_the_end();
            }
            match self.track.read()? {
                Next::Packet(packet) => self.read_on(packet)?,
                Next::Hungry => return Ok(Made::Hungry),
                Next::End => self.exhausted = true,
            }
        }
    }

    fn give(&mut self, given: Given) {
        self.track.give(given);
    }

    fn take_used(&mut self) -> u64 {
        self.track.take_used()
    }

    fn end_at(&mut self, end: i64) {
        self.end = Some(end);
    }

    fn summary(&self) -> SoundSummary {
        SoundSummary {
            errors: self.track.errors,
            ..self.summary
        }
    }
}

/// Whether an ADTS frame has another profile, rate or number of channels than the first one, which is kept in `first`.
fn changes(first: &mut Option<[u8; 2]>, frame: &[u8]) -> bool {
    let &[0xff, sync, two, three, ..] = frame else {
        return false;
    };
    if sync & 0xf0 != 0xf0 {
        return false;
    }
    // All but the private bit and what follows the channels (ISO/IEC 14496-3 §1.A.2.2.1).
    let header = [two & 0b1111_1101, three & 0b1100_0000];
    *first.get_or_insert(header) != header
}

/// Samples of the longest packet of Opus: 120 ms at 48 kHz (RFC 6716 §3.2.5).
const MOST_OPUS_SAMPLES: u32 = 5760;

/// Length of an Opus packet in samples at 48 kHz, from its first bytes (RFC 6716 §3.1); 0 if it has none.
fn opus_samples(packet: &[u8]) -> u32 {
    let Some(toc) = packet.first() else { return 0 };
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        config @ 12..=15 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |byte| u32::from(byte & 63)),
    };
    frame * count
}

struct EncodeFeed {
    track: Track,
    decoder: AudioDecoder,
    resampler: Resampler,
    format: Format,
    /// `None` when all sound is encoded.
    encoder: Option<AudioEncoder>,
    /// Length of its packets in samples.
    frame: u32,
    /// Silence that comes before `held`, in samples.
    hole: i64,
    /// A frame that waits behind silence.
    held: Option<AudioFrame>,
    /// Where the frames before the presentation end, once one was passed over; below 0.
    lead: Option<i64>,
    steps: Steps,
    ready: VecDeque<SoundPacket>,
    /// Samples given to the encoder.
    fed: i64,
    begun: bool,
    stage: Stage,
    end: Option<i64>,
    summary: SoundSummary,
    /// What samples are multiplied by.
    factor: Option<f32>,
    /// Sources that follow the one that is read.
    followers: VecDeque<SoundPart>,
    cancel: Cancel,
}

/// How far the source of an [`EncodeFeed`] is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    /// All packets are with the decoder.
    Flushed,
    /// All sound is with the encoder; silence follows.
    Exhausted,
}

/// What came of a step of an [`EncodeFeed`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stepped {
    Done,
    /// It waits for more of the source.
    Hungry,
}

impl EncodeFeed {
    fn new(
        track: Track,
        job: &SoundJob<'_>,
        (codec, bit_rate): (AudioCodec, u64),
    ) -> Result<Self, AudioError> {
        let format = Format {
            sample_rate: job.plan.sample_rate,
            channels: job.plan.channels,
        };
        Ok(Self {
            decoder: AudioDecoder::open(&track.stream)?,
            resampler: Resampler::new(format)?,
            format,
            encoder: Some(AudioEncoder::open(&AudioConfig {
                codec,
                format,
                bit_rate,
            })?),
            frame: job.plan.frame,
            hole: 0,
            held: None,
            lead: None,
            steps: Steps::default(),
            ready: VecDeque::new(),
            fed: 0,
            begun: false,
            stage: Stage::Reading,
            end: None,
            factor: loudness::factor(job.plan.gain),
            summary: SoundSummary::default(),
            followers: VecDeque::new(),
            cancel: Cancel::new(),
            track,
        })
    }

    /// Where the sound of the source that is read ends, in samples, as far as is known.
    fn bound(&self) -> Option<i64> {
        let next = self.followers.front().map(|next| next.start);
        next.into_iter().chain(self.end).min()
    }

    /// Goes on with the next source when the one that is read has had its time.
    fn turn(&mut self) -> Result<(), AudioError> {
        let due = |next: &mut SoundPart| next.start <= self.fed;
        let Some(next) = self.followers.pop_front_if(due) else {
            return Ok(());
        };
        self.hole = 0;
        self.held = None;
        self.lead = None;
        self.steps.begin_again();
        self.begun = false;
        self.stage = Stage::Exhausted;
        if let Some(stream) = next.stream {
            let errors = self.track.errors;
            self.track = self.track.follow(&next, stream, &self.cancel)?;
            self.track.errors = errors;
            self.decoder = AudioDecoder::open(&self.track.stream)?;
            self.resampler = Resampler::new(self.format)?;
            self.stage = Stage::Reading;
        }
        Ok(())
    }

    fn step(&mut self, encoder: AudioEncoder) -> Result<Stepped, AudioError> {
        self.turn()?;
        if self.end.is_some_and(|end| self.fed >= end) {
            self.collect(encoder.finish()?);
            return Ok(Stepped::Done);
        }
        self.encoder = Some(encoder);
        if self.hole > 0 {
            // A packet's length at a time, so that nothing grows with the hole.
            let length = self.hole.min(i64::from(self.frame));
            self.hole -= length;
            self.silence(length)?;
        } else if let Some(frame) = self.held.take() {
            self.convert(&frame)?;
        } else if self.stage == Stage::Exhausted {
            let room = self.bound().map_or(i64::MAX, |end| end - self.fed);
            let length = room.min(i64::from(self.frame));
            self.summary.filled += length.unsigned_abs();
            self.silence(length)?;
        } else {
            match self.decoder.receive() {
                Ok(Received::Frame(frame)) => self.place(frame)?,
                Ok(Received::NeedsInput) => {
                    if self.feed_decoder()? == Stepped::Hungry {
                        return Ok(Stepped::Hungry);
                    }
                }
                Ok(Received::End) => {
                    self.drain_resampler()?;
                    self.stage = Stage::Exhausted;
                }
                Err(error) => self.survive(error)?,
            }
        }
        let packets = self
            .encoder
            .as_mut()
            .map(AudioEncoder::take_packets)
            .unwrap_or_default();
        self.collect(packets);
        Ok(Stepped::Done)
    }

    fn collect(&mut self, packets: Vec<EncodedPacket>) {
        // The last packet is stated at its full length too: that is what comes out of a decoder, and it is at most one packet more.
        self.ready
            .extend(packets.into_iter().map(|packet| SoundPacket {
                start: packet.pts,
                duration: self.frame,
                data: packet.data,
            }));
    }

    fn feed_decoder(&mut self) -> Result<Stepped, AudioError> {
        if self.stage != Stage::Reading {
            return Ok(Stepped::Done);
        }
        let packet = match self.track.read()? {
            Next::Packet(packet) => Some(packet),
            Next::Hungry => return Ok(Stepped::Hungry),
            Next::End => {
                self.stage = Stage::Flushed;
                None
            }
        };
        if let Err(error) = self.decoder.send(packet.as_ref()) {
            self.survive(error)?;
        }
        Ok(Stepped::Done)
    }

    fn survive(&mut self, error: rungs_media::Error) -> Result<(), AudioError> {
        if error.is_decode() {
            return self.track.survive(error);
        }
        Err(error.into())
    }

    /// Puts a decoded frame where its timestamp says, with silence before it or without what overlaps.
    fn place(&mut self, frame: AudioFrame) -> Result<(), AudioError> {
        if !self.begun {
            return self.begin(frame);
        }
        let base = frame.time_base();
        let start = frame
            .pts()
            .map_or(self.fed, |pts| self.track.place(pts, base, Some(self.fed)));
        let tolerance = self.track.samples(TOLERANCE_MS);
        let hole = start - self.fed;
        if hole > tolerance {
            return self.wait_behind(hole, frame);
        }
        if hole < -tolerance {
            self.steps.begin_again();
            return self.convert_from(-hole, &frame);
        }
        let length = self.length_of(&frame);
        let missing = self.steps.missing(hole, (length, self.track.tick(base)));
        if missing > 0 {
            return self.wait_behind(missing, frame);
        }
        self.convert(&frame)
    }

    /// Length of a decoded frame in samples of the presentation.
    fn length_of(&self, frame: &AudioFrame) -> i64 {
        let rate = f64::from(frame.sample_rate());
        (frame.samples() as f64 * f64::from(self.track.rate) / rate).round() as i64
    }

    /// Begins with the frame in which the presentation begins, cut to the sample. Frames before it are passed over.
    fn begin(&mut self, frame: AudioFrame) -> Result<(), AudioError> {
        let base = frame.time_base();
        let expected = self.lead.unwrap_or(self.fed);
        let placed = frame
            .pts()
            .map(|pts| self.track.place(pts, base, self.lead));
        // A container that rounds times to its ticks tells less than the samples before.
        let tick = self.track.tick(base);
        let start = match (self.lead, placed) {
            (Some(lead), Some(start)) if (start - lead).abs() <= tick => lead,
            (_, placed) => placed.unwrap_or(expected),
        };
        let end = start + self.length_of(&frame);
        if end <= self.fed {
            self.lead = Some(end);
            return Ok(());
        }
        self.begun = true;
        match start - self.fed {
            hole @ 1.. => self.wait_behind(hole, frame),
            overlap => self.convert_from(-overlap, &frame),
        }
    }

    /// Lets a frame wait until a hole before it is filled.
    fn wait_behind(&mut self, hole: i64, frame: AudioFrame) -> Result<(), AudioError> {
        self.drain_resampler()?;
        self.steps.begin_again();
        self.hole = self.bound().map_or(hole, |end| hole.min(end - self.fed));
        self.summary.filled += self.hole.unsigned_abs();
        self.held = Some(frame);
        Ok(())
    }

    /// Converts what a frame has after its first `overlap` samples of the presentation.
    fn convert_from(&mut self, overlap: i64, frame: &AudioFrame) -> Result<(), AudioError> {
        let rate = f64::from(frame.sample_rate());
        let overlap = (overlap as f64 * rate / f64::from(self.track.rate)).round() as usize;
        if overlap >= frame.samples() {
            return Ok(());
        }
        self.convert(&frame.slice(overlap, frame.samples() - overlap)?)
    }

    fn convert(&mut self, frame: &AudioFrame) -> Result<(), AudioError> {
        match self.resampler.convert(frame) {
            Ok(converted) => self.push(converted),
            // Audio in a layout that cannot be converted is lost like damaged audio.
            Err(error @ rungs_media::Error::Filter { .. }) => self.track.survive(error),
            Err(error) => Err(error.into()),
        }
    }

    fn drain_resampler(&mut self) -> Result<(), AudioError> {
        if let Some(rest) = self.resampler.flush()? {
            self.push(rest)?;
        }
        Ok(())
    }

    fn push(&mut self, frame: AudioFrame) -> Result<(), AudioError> {
        let room = self.bound().map_or(i64::MAX, |end| (end - self.fed).max(0));
        let length = i64::try_from(frame.samples()).unwrap_or(i64::MAX).min(room);
        if length == 0 {
            return Ok(());
        }
        let whole = length == i64::try_from(frame.samples()).unwrap_or(i64::MAX);
        let mut frame = if whole {
            frame
        } else {
            frame.slice(0, length as usize)?
        };
        if let Some(factor) = self.factor {
            frame = frame.amplified(factor)?;
        }
        if let Some(encoder) = &mut self.encoder {
            encoder.push(&frame)?;
            self.fed += length;
        }
        Ok(())
    }

    fn silence(&mut self, samples: i64) -> Result<(), AudioError> {
        if let Some(encoder) = self.encoder.as_mut().filter(|_| samples > 0) {
            encoder.push_silence(samples.unsigned_abs())?;
            self.fed += samples;
        }
        Ok(())
    }
}

impl Feed for EncodeFeed {
    fn next(&mut self) -> Result<Made, AudioError> {
        loop {
            if let Some(packet) = self.ready.pop_front() {
                return Ok(Made::Packet(packet));
            }
            let Some(encoder) = self.encoder.take() else {
                return Ok(Made::End);
            };
            if self.step(encoder)? == Stepped::Hungry {
                return Ok(Made::Hungry);
            }
        }
    }

    fn give(&mut self, given: Given) {
        self.track.give(given);
    }

    fn take_used(&mut self) -> u64 {
        self.track.take_used()
    }

    fn end_at(&mut self, end: i64) {
        self.end = Some(end);
    }

    fn summary(&self) -> SoundSummary {
        SoundSummary {
            errors: self.track.errors,
            ..self.summary
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_configuration_is_seen() {
        let frame = |two, three| [0xff, 0xf1, two, three, 0];
        let mut first = None;
        assert!(!changes(&mut first, &frame(0x4c, 0x80)));
        // The private bit, and the frame's length.
        assert!(!changes(&mut first, &frame(0x4e, 0x83)));
        assert!(!changes(&mut first, &[0, 1, 2, 3]));
        assert!(changes(&mut first, &frame(0x50, 0x80)));
        assert!(changes(&mut first, &frame(0x4c, 0x40)));
    }

    #[test]
    fn opus_packets_tell_their_length() {
        assert_eq!(opus_samples(&[0b1111_1000]), 960);
        assert_eq!(opus_samples(&[0b1111_1001]), 1920);
        assert_eq!(opus_samples(&[0b0001_1000]), 2880);
        assert_eq!(opus_samples(&[0b1111_1011, 6]), 5760);
        assert_eq!(opus_samples(&[0b1111_1011]), 0);
        assert_eq!(opus_samples(&[]), 0);
    }
}
