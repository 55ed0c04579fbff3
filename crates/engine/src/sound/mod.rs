//! A track of audio: it follows the boundaries of the video, so that its segments lie on the same grid.
//!
//! ```text
//! pump ── Cue (a boundary) ──► assemble ──► segments of audio
//!                                 ▲
//!              feed: copied or newly encoded packets, without holes
//!                                 ▲
//!              packets of the source, as the reader gives them (`tracks`)
//! ```

mod check;
mod feed;
mod listen;
mod loudness;
pub(crate) mod plan;

use std::collections::VecDeque;

use rungs_media::Source;
use rungs_media::demux::{Demuxer, Stream};
use rungs_package::track::{Sample, Segment};

use crate::cancel::Cancel;
use crate::error::AudioError;
use crate::ids::SegmentIndex;
use crate::message::{Cue, Line, SoundMessage};
use crate::plan::AudioPlan;
use crate::tracks::{Follower, Given, Stand};
use feed::{Feed, Made, SoundPacket};

/// What a track of audio is made of.
pub(crate) struct SoundJob<'a> {
    pub(crate) plan: &'a AudioPlan,
    /// Start of the presentation in the source's clock, in seconds.
    pub(crate) origin: f64,
    /// Whether the source goes on before that, also for hours.
    pub(crate) starts_inside: bool,
    pub(crate) strict: bool,
    /// The sources that follow, in order.
    pub(crate) joined: Vec<SoundPart>,
}

/// The sound of a source that follows another.
#[derive(Clone)]
pub(crate) struct SoundPart {
    pub(crate) source: Source,
    /// Index of its track; `None` for silence.
    pub(crate) stream: Option<usize>,
    /// Its first picture's place on its own clock, in seconds.
    pub(crate) origin: f64,
    /// Where that stands, in samples of the presentation; the one before ends there.
    pub(crate) start: i64,
}

/// How long before the presentation a source is read that starts before it: decoders have settled then.
const RUN_IN_SECONDS: f64 = 2.0;

/// Moves a demuxer that has not read yet close to the start of a presentation that begins inside the source, in seconds of its clock. Where the
/// container does not say exactly where that is, the source is read from its beginning.
pub(crate) fn approach(
    demuxer: &mut Demuxer,
    stream: &Stream,
    origin: f64,
) -> Result<(), rungs_media::Error> {
    let base = stream.time_base;
    let unit = f64::from(base.num()) / f64::from(base.den());
    let target = ((origin - RUN_IN_SECONDS) / unit) as i64;
    if !demuxer.seeks_exactly() || target <= stream.start.unwrap_or(0) {
        return Ok(());
    }
    demuxer.seek(stream.index, target)
}

/// Makes all segments of a track of audio. The last message is always `Ended` or `Failed`.
pub(crate) struct AudioFollower<'a> {
    job: SoundJob<'a>,
    out: Line<SoundMessage>,
    cancel: Cancel,
    feed: Option<Box<dyn Feed>>,
    assembler: Assembler,
    cues: VecDeque<Cue>,
    /// All boundaries are known.
    complete: bool,
    over: bool,
    /// Where the packets so far end, in samples of the presentation.
    position: i64,
}

impl<'a> AudioFollower<'a> {
    pub(crate) fn new(job: SoundJob<'a>, out: Line<SoundMessage>, cancel: &Cancel) -> Self {
        Self {
            assembler: Assembler::new(job.plan.priming),
            job,
            out,
            cancel: cancel.clone(),
            feed: None,
            cues: VecDeque::new(),
            complete: false,
            over: false,
            position: 0,
        }
    }

    fn seconds(&self, samples: i64) -> f64 {
        samples as f64 / f64::from(self.job.plan.sample_rate)
    }

    fn send_last(&mut self, message: SoundMessage) -> Stand {
        if !self.over {
            self.out.send(message);
        }
        self.over = true;
        // Its decoder and encoder take memory.
        self.feed = None;
        Stand::Over
    }

    fn end(&mut self) -> Stand {
        let summary = self.feed.as_ref().map(|feed| feed.summary());
        self.send_last(SoundMessage::Ended(summary.unwrap_or_default()))
    }

    fn fail(&mut self, error: AudioError) -> Stand {
        let at = self.seconds(self.position);
        self.send_last(SoundMessage::Failed { at, error })
    }

    /// Makes the segments up to the boundaries that are known.
    fn make(&mut self, used: &mut dyn FnMut(u64)) -> Result<Stand, AudioError> {
        while let Some(cue) = self.cues.front().copied() {
            let Some(feed) = &mut self.feed else {
                return Ok(Stand::Hungry);
            };
            if cue.last {
                feed.end_at(cue.end);
            }
            while self.assembler.reaches() < cue.end {
                if self.cancel.is_cancelled() {
                    return Ok(self.end());
                }
                let made = feed.next()?;
                used(feed.take_used());
                match made {
                    Made::Packet(packet) => self.assembler.push(packet),
                    Made::Hungry => return Ok(Stand::Hungry),
                    Made::End => break,
                }
                self.position = self.assembler.reaches();
            }
            self.cues.pop_front();
            let mut reached = None;
            for (index, segment) in self.assembler.cue(cue) {
                reached = Some(index);
                if !self.out.send(SoundMessage::Segment { index, segment }) {
                    return Ok(self.end());
                }
            }
            // A track that ends before the last segment begins, and may not be filled up.
            if cue.last && reached != Some(cue.index) {
                let seconds = self.seconds(cue.end - self.position);
                return Err(AudioError::Gap { seconds });
            }
        }
        Ok(if self.complete {
            self.end()
        } else {
            Stand::Waits
        })
    }
}

impl Follower for AudioFollower<'_> {
    fn streams(&self) -> Vec<usize> {
        vec![self.job.plan.stream]
    }

    fn begin(&mut self, streams: &[Stream]) {
        let index = self.job.plan.stream;
        let stream = streams.iter().find(|stream| stream.index == index);
        let missing = || rungs_media::Error::NoStream {
            kind: "audio",
            index,
        };
        let opened = stream.ok_or_else(missing).map_err(AudioError::from);
        match opened.and_then(|stream| feed::open(&self.job, stream.clone(), &self.cancel)) {
            Ok(feed) => self.feed = Some(feed),
            Err(error) => {
                self.fail(error);
            }
        }
    }

    fn give(&mut self, given: Given) {
        if let Some(feed) = &mut self.feed {
            feed.give(given);
        }
    }

    fn cue(&mut self, cue: Cue) {
        self.cues.push_back(cue);
    }

    fn last_cue(&mut self) {
        self.complete = true;
    }

    fn work(&mut self, used: &mut dyn FnMut(u64)) -> Stand {
        if self.over {
            return Stand::Over;
        }
        self.make(used).unwrap_or_else(|error| self.fail(error))
    }

    fn stop(&mut self) {
        self.end();
    }
}

/// Cuts packets into segments: pure. A packet belongs to the segment in which it starts. A segment is handed over one cue late, so
/// that the last one can take a packet from the one before it if it would be empty.
struct Assembler {
    priming: i64,
    packets: VecDeque<SoundPacket>,
    pending: Option<Cue>,
}

impl Assembler {
    fn new(priming: u32) -> Self {
        Self {
            priming: i64::from(priming),
            packets: VecDeque::new(),
            pending: None,
        }
    }

    fn push(&mut self, packet: SoundPacket) {
        self.packets.push_back(packet);
    }

    /// Where the packets so far end, in samples of the presentation.
    fn reaches(&self) -> i64 {
        self.packets
            .back()
            .map_or(i64::MIN, |packet| packet.start + i64::from(packet.duration))
    }

    fn cue(&mut self, cue: Cue) -> Vec<(SegmentIndex, Segment)> {
        let mut done = Vec::new();
        if let Some(before) = self.pending.take() {
            let in_this = self
                .packets
                .iter()
                .filter(|packet| packet.start >= before.end)
                .count();
            let spare = usize::from(cue.last && in_this == 0 && self.packets.len() > 1);
            let until = self
                .packets
                .partition_point(|packet| packet.start < before.end)
                - spare;
            done.extend(self.take(before.index, until));
        }
        if cue.last {
            // What starts after the end is not part of the presentation, unless the segment would be empty without it.
            let until = self
                .packets
                .partition_point(|packet| packet.start < cue.end)
                .max(1);
            done.extend(self.take(cue.index, until.min(self.packets.len())));
        } else {
            self.pending = Some(cue);
        }
        done
    }

    fn take(&mut self, index: SegmentIndex, count: usize) -> Option<(SegmentIndex, Segment)> {
        let start = self.packets.front()?.start;
        let samples = self.packets.drain(..count).map(|packet| Sample {
            data: packet.data,
            duration: packet.duration,
            offset: 0,
            key: true,
        });
        let segment = Segment {
            samples: samples.collect(),
            decode_time: u64::try_from(start + self.priming).unwrap_or(0),
        };
        Some((index, segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(priming: u32, cuts: &[i64]) -> Vec<(u32, u64, usize)> {
        let mut assembler = Assembler::new(priming);
        let mut next = -i64::from(priming);
        let mut out = Vec::new();
        for (place, end) in cuts.iter().enumerate() {
            while assembler.reaches() < *end {
                let packet = SoundPacket {
                    start: next,
                    duration: 1024,
                    data: vec![0],
                };
                next += 1024;
                assembler.push(packet);
            }
            let cue = Cue {
                index: SegmentIndex::new(place as u32),
                end: *end,
                last: place + 1 == cuts.len(),
            };
            out.extend(assembler.cue(cue));
        }
        out.into_iter()
            .map(|(index, segment)| (index.get(), segment.decode_time, segment.samples.len()))
            .collect()
    }

    #[test]
    fn segments_follow_the_cuts_within_one_packet() {
        // 192 000 samples are 187.5 packets; the priming is one more.
        assert_eq!(
            assemble(1024, &[192_000, 384_000]),
            [(0, 0, 189), (1, 189 * 1024, 187)]
        );
    }

    #[test]
    fn a_short_last_segment_is_never_empty() {
        let segments = assemble(0, &[10 * 1024, 10 * 1024 + 100]);
        assert_eq!(segments, [(0, 0, 10), (1, 10 * 1024, 1)]);
        let segments = assemble(0, &[10 * 1024 - 100, 10 * 1024 - 50]);
        assert_eq!(segments, [(0, 0, 9), (1, 9 * 1024, 1)]);
    }

    #[test]
    fn one_segment_alone() {
        assert_eq!(assemble(312, &[500]), [(0, 0, 1)]);
    }
}
