//! The subtitles of a job, all tracks together: they follow the boundaries of the video, so that their segments lie on the same grid.
//!
//! ```text
//! pump ── Cue (a boundary) ──► read to the boundary and a little beyond ──► a segment of each track
//!                                                               the end ──► a whole file of each track
//! ```
//!
//! Packets come from the reader of the source (`tracks`), which also tells how far the video was read.

pub(crate) mod plan;

use std::collections::VecDeque;

use rungs_media::demux::Stream;
use rungs_media::subtitle::{Line as Shown, SubtitleDecoder};
use rungs_media::time::TimeBase;
use rungs_media::{Error, Packet};
use rungs_package::TrackId;
use rungs_package::text::{Cue as TextCue, TextSegment};

use crate::message::{Cue, Line, TextMessage};
use crate::plan::TextPlan;
use crate::tracks::{Follower, Given, Stand};

/// How far beyond a cut the picture is read before the subtitles up to the cut are taken to be complete. Muxers keep them much closer.
const AHEAD_SECONDS: f64 = 10.0;
/// How long text is shown where the source does not tell.
const USUAL_MILLISECONDS: u64 = 5000;

/// What the subtitles are made of.
pub(crate) struct TextJob<'a> {
    pub(crate) tracks: Vec<(TrackId, &'a TextPlan)>,
    /// The stream whose packets tell how far the file was read.
    pub(crate) video: usize,
    /// Start of the presentation in the source's clock, in seconds.
    pub(crate) origin: f64,
    /// Ticks a second of cues.
    pub(crate) timescale: u32,
    pub(crate) strict: bool,
}

/// Makes all segments of the subtitles. The last message is always `Ended` or `Failed`.
pub(crate) struct TextFollower<'a> {
    job: TextJob<'a>,
    out: Line<TextMessage>,
    reader: Option<Reader>,
    cues: VecDeque<Cue>,
    /// Where the last segment ended, in ticks.
    start: u64,
    /// Bytes of packets that were used.
    used: u64,
    /// All boundaries are known.
    complete: bool,
    over: bool,
}

impl<'a> TextFollower<'a> {
    pub(crate) fn new(job: TextJob<'a>, out: Line<TextMessage>) -> Self {
        Self {
            job,
            out,
            reader: None,
            cues: VecDeque::new(),
            start: 0,
            used: 0,
            complete: false,
            over: false,
        }
    }

    fn send_last(&mut self, message: TextMessage) -> Stand {
        if !self.over {
            self.out.send(message);
        }
        self.over = true;
        Stand::Over
    }

    fn end(&mut self) -> Stand {
        let errors = self.reader.as_ref().map_or(0, |reader| reader.errors);
        self.send_last(TextMessage::Ended { errors })
    }

    /// Makes the segments up to the boundaries that are known.
    fn make(&mut self) -> Stand {
        while let Some(cue) = self.cues.front().copied() {
            let until = cue.end as f64 / f64::from(self.job.timescale);
            let reader = self.reader.as_mut();
            let Some(reader) = reader.filter(|reader| !reader.lacks(until + AHEAD_SECONDS)) else {
                return Stand::Hungry;
            };
            self.cues.pop_front();
            let cut = Cut {
                start: self.start,
                end: cue.end.unsigned_abs(),
                last: cue.last,
                timescale: u64::from(self.job.timescale),
            };
            self.start = cut.end;
            for track in &mut reader.tracks {
                self.out.send(TextMessage::Segment {
                    track: track.id,
                    index: cue.index,
                    segment: track.text.segment(&cut),
                });
            }
        }
        if !self.complete {
            return Stand::Waits;
        }
        let tracks = self.reader.as_mut().map(|reader| &mut reader.tracks);
        for track in tracks
            .into_iter()
            .flatten()
            .filter(|track| track.text.ended)
        {
            self.out.send(TextMessage::Whole {
                track: track.id,
                cues: std::mem::take(&mut track.text.cues),
            });
        }
        self.end()
    }
}

impl Follower for TextFollower<'_> {
    fn streams(&self) -> Vec<usize> {
        self.job
            .tracks
            .iter()
            .map(|(_, plan)| plan.stream)
            .collect()
    }

    fn watches(&self) -> Option<usize> {
        Some(self.job.video)
    }

    fn begin(&mut self, streams: &[Stream]) {
        match Reader::open(&self.job, streams) {
            Ok(reader) => self.reader = Some(reader),
            Err(error) => {
                self.send_last(TextMessage::Failed(error));
            }
        }
    }

    fn give(&mut self, given: Given) {
        let Some(reader) = self.reader.as_mut().filter(|_| !self.over) else {
            return;
        };
        let taken = match given {
            Given::Packet(packet) => {
                self.used += packet.data().len() as u64;
                reader.take(&packet)
            }
            Given::End(error) => {
                reader.reached = None;
                error.map_or(Ok(()), |error| reader.survive(Error::Read(error)))
            }
        };
        if let Err(error) = taken {
            self.send_last(TextMessage::Failed(error));
        }
    }

    fn reached(&mut self, time: i64) {
        if let Some(reader) = &mut self.reader {
            reader.reach(time);
        }
    }

    fn cue(&mut self, cue: Cue) {
        self.cues.push_back(cue);
    }

    fn last_cue(&mut self) {
        self.complete = true;
    }

    fn work(&mut self, used: &mut dyn FnMut(u64)) -> Stand {
        used(std::mem::take(&mut self.used));
        if self.over { Stand::Over } else { self.make() }
    }

    fn stop(&mut self) {
        self.end();
    }
}

/// A stretch of the presentation, in ticks.
struct Cut {
    start: u64,
    end: u64,
    /// Whether the presentation ends with it.
    last: bool,
    timescale: u64,
}

/// What one track shows, by time: pure.
#[derive(Default)]
struct Text {
    cues: Vec<TextCue>,
    ended: bool,
}

impl Text {
    /// Takes text whose times count from the start of the presentation.
    fn add(&mut self, shown: Shown) {
        let milliseconds = |seconds: f64| (seconds * 1000.0).round() as i64;
        let start = milliseconds(shown.start);
        let usual = start.saturating_add_unsigned(USUAL_MILLISECONDS);
        let end = shown.end.map_or(usual, milliseconds);
        if end <= start.max(0) {
            return;
        }
        let cue = TextCue {
            start: start.max(0).unsigned_abs(),
            end: end.unsigned_abs(),
            settings: shown.settings,
            text: shown.text,
        };
        let place = self
            .cues
            .partition_point(|other| (other.start, other.end) <= (cue.start, cue.end));
        self.cues.insert(place, cue);
    }

    /// Cuts out a segment. With the last one, what lies beyond the end of the presentation is dropped; what is in segments before stays as it is
    /// there.
    fn segment(&mut self, cut: &Cut) -> TextSegment {
        if cut.last {
            let end = (cut.end * 1000).div_ceil(cut.timescale);
            self.cues.retain(|cue| cue.start < end);
            let is_new = |cue: &&mut TextCue| cue.start * cut.timescale >= cut.start * 1000;
            for cue in self.cues.iter_mut().filter(is_new) {
                cue.end = cue.end.min(end);
            }
            self.ended = true;
        }
        let within = |cue: &&TextCue| {
            cue.start * cut.timescale < cut.end * 1000 && cue.end * cut.timescale > cut.start * 1000
        };
        TextSegment {
            start: cut.start,
            duration: cut.end - cut.start,
            cues: self.cues.iter().filter(within).cloned().collect(),
        }
    }
}

/// One track while it is read.
struct Track {
    id: TrackId,
    stream: usize,
    decoder: SubtitleDecoder,
    text: Text,
}

/// What was read of all tracks.
struct Reader {
    tracks: Vec<Track>,
    video_base: TimeBase,
    origin: f64,
    /// How far the picture was read, in seconds of the presentation; `None` at the end of the file.
    reached: Option<f64>,
    strict: bool,
    errors: u64,
}

impl Reader {
    fn open(job: &TextJob<'_>, streams: &[Stream]) -> Result<Self, Error> {
        let stream = |index: usize| {
            let found = streams.iter().find(|stream| stream.index == index);
            found.ok_or(Error::NoStream {
                kind: "known",
                index,
            })
        };
        let mut tracks = Vec::new();
        for (id, plan) in &job.tracks {
            tracks.push(Track {
                id: *id,
                stream: plan.stream,
                decoder: SubtitleDecoder::open(stream(plan.stream)?)?,
                text: Text::default(),
            });
        }
        Ok(Self {
            tracks,
            video_base: stream(job.video)?.time_base,
            origin: job.origin,
            reached: Some(f64::MIN),
            strict: job.strict,
            errors: 0,
        })
    }

    /// Whether the video has not been read up to this second of the presentation, though the file goes on.
    fn lacks(&self, seconds: f64) -> bool {
        self.reached.is_some_and(|reached| reached < seconds)
    }

    fn reach(&mut self, time: i64) {
        let time = self.video_base.seconds(time) - self.origin;
        self.reached = self.reached.map(|reached| reached.max(time));
    }

    fn take(&mut self, packet: &Packet) -> Result<(), Error> {
        let mut tracks = self.tracks.iter_mut();
        let Some(track) = tracks.find(|track| track.stream == packet.stream()) else {
            return Ok(());
        };
        match track.decoder.decode(packet) {
            Ok(shown) => {
                for mut line in shown {
                    line.start -= self.origin;
                    line.end = line.end.map(|end| end - self.origin);
                    track.text.add(line);
                }
                Ok(())
            }
            Err(error) => self.survive(error),
        }
    }

    fn survive(&mut self, error: Error) -> Result<(), Error> {
        if self.strict {
            return Err(error);
        }
        self.errors += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(start: f64, end: Option<f64>, text: &str) -> Shown {
        Shown {
            start,
            end,
            settings: String::new(),
            text: text.to_owned(),
        }
    }

    fn texts(segment: &TextSegment) -> Vec<&str> {
        segment.cues.iter().map(|cue| cue.text.as_str()).collect()
    }

    #[test]
    fn text_is_in_every_segment_in_which_it_is_shown() {
        let mut text = Text::default();
        for (start, end, what) in [
            (0.5, Some(1.0), "a"),
            (-1.0, Some(0.1), "early"),
            (-1.0, Some(-0.5), "before"),
            (0.9, Some(2.1), "b"),
            (1.0, None, "c"),
            (2.5, Some(9.0), "d"),
            (9.0, Some(10.0), "after"),
        ] {
            text.add(shown(start, end, what));
        }
        let cut = |start, last| Cut {
            start,
            end: start + 90,
            last,
            timescale: 90,
        };
        assert_eq!(texts(&text.segment(&cut(0, false))), ["early", "a", "b"]);
        assert_eq!(texts(&text.segment(&cut(90, false))), ["b", "c"]);
        let last = text.segment(&cut(180, true));
        assert_eq!(texts(&last), ["b", "c", "d"]);
        // The segment before says when this one goes, and so does the whole.
        assert_eq!((last.cues[1].start, last.cues[1].end), (1000, 6000));
        assert_eq!((last.cues[2].start, last.cues[2].end), (2500, 3000));
        let whole: Vec<_> = text.cues.iter().map(|cue| cue.text.as_str()).collect();
        assert_eq!(whole, ["early", "a", "b", "c", "d"]);
    }
}
