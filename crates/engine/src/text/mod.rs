//! The subtitles of a job, all on one thread with one demuxer: they follow the picture's cuts, so that their segments lie on the same grid.
//!
//! ```text
//! pump ── Cue (a cut) ──► read on to the cut and a little beyond ──► a segment of each track
//!                                                        the end ──► a whole file of each track
//! ```
//!
//! The packets of the picture go by undecoded: they tell how far the file was read.

pub(crate) mod plan;

use rungs_media::demux::Demuxer;
use rungs_media::subtitle::{Line as Shown, SubtitleDecoder};
use rungs_media::time::TimeBase;
use rungs_media::{Error, Limits, Packet, Source};
use rungs_package::TrackId;
use rungs_package::text::{Cue as TextCue, TextSegment};

use crate::cancel::Cancel;
use crate::message::{Cue, Line, TextMessage};
use crate::plan::TextPlan;
use crate::sync::Receiver;

/// How far beyond a cut the picture is read before the subtitles up to the cut are taken to be complete. Muxers keep them much closer.
const AHEAD_SECONDS: f64 = 10.0;
/// How long text is shown where the source does not tell.
const USUAL_MILLISECONDS: u64 = 5000;

/// The channels of the subtitles' thread.
pub(crate) struct TextLines {
    pub(crate) cues: Receiver<Cue>,
    pub(crate) out: Line<TextMessage>,
    pub(crate) cancel: Cancel,
}

/// What the subtitles' thread works on.
pub(crate) struct TextJob<'a> {
    pub(crate) tracks: Vec<(TrackId, &'a TextPlan)>,
    /// The stream whose packets tell how far the file was read.
    pub(crate) video: usize,
    pub(crate) source: &'a Source,
    /// Start of the presentation in the source's clock, in seconds.
    pub(crate) origin: f64,
    /// Ticks a second of cues.
    pub(crate) timescale: u32,
    pub(crate) strict: bool,
}

/// Makes all segments of the subtitles. Blocks on cues and on the source; the last message is always `Ended` or `Failed`.
pub(crate) fn run(job: &TextJob<'_>, lines: &TextLines) {
    let message = match make(job, lines) {
        Ok(errors) => TextMessage::Ended { errors },
        // Whoever cancelled knows.
        Err(Error::Cancelled) => TextMessage::Ended { errors: 0 },
        Err(error) => TextMessage::Failed(error),
    };
    lines.out.send(message);
}

/// Gives the number of packets that could not be decoded.
fn make(job: &TextJob<'_>, lines: &TextLines) -> Result<u64, Error> {
    let mut reader = Reader::open(job, &lines.cancel)?;
    let mut start = 0;
    while let Ok(cue) = lines.cues.recv() {
        let until = cue.end as f64 / f64::from(job.timescale);
        reader.read_until(until + AHEAD_SECONDS)?;
        if lines.cancel.is_cancelled() {
            break;
        }
        let cut = Cut {
            start,
            end: cue.end.unsigned_abs(),
            last: cue.last,
            timescale: u64::from(job.timescale),
        };
        for track in &mut reader.tracks {
            let message = TextMessage::Segment {
                track: track.id,
                index: cue.index,
                segment: track.text.segment(&cut),
            };
            if !lines.out.send(message) {
                return Ok(reader.errors);
            }
        }
        start = cut.end;
    }
    for track in reader.tracks.into_iter().filter(|track| track.text.ended) {
        lines.out.send(TextMessage::Whole {
            track: track.id,
            cues: track.text.cues,
        });
    }
    Ok(reader.errors)
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

/// Reads all tracks from one demuxer.
struct Reader {
    demuxer: Demuxer,
    tracks: Vec<Track>,
    video: usize,
    video_base: TimeBase,
    origin: f64,
    /// How far the picture was read, in seconds of the presentation; `None` at the end of the file.
    reached: Option<f64>,
    strict: bool,
    errors: u64,
}

impl Reader {
    fn open(job: &TextJob<'_>, cancel: &Cancel) -> Result<Self, Error> {
        let mut demuxer = Demuxer::open(job.source, &Limits::default(), cancel.media())?;
        let streams = job.tracks.iter().map(|(_, plan)| plan.stream);
        let kept: Vec<usize> = streams.chain([job.video]).collect();
        demuxer.keep_only(&kept);
        let stream = |index: usize| {
            let found = demuxer.streams().get(index);
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
            video: job.video,
            video_base: stream(job.video)?.time_base,
            origin: job.origin,
            reached: Some(f64::MIN),
            strict: job.strict,
            errors: 0,
            demuxer,
        })
    }

    /// Reads until the picture is past this second of the presentation, or the file ends.
    fn read_until(&mut self, seconds: f64) -> Result<(), Error> {
        while self.reached.is_some_and(|reached| reached < seconds) {
            match self.demuxer.read() {
                Ok(Some(packet)) => self.take(&packet)?,
                Ok(None) => self.reached = None,
                Err(error @ Error::Read(_)) => {
                    self.survive(error)?;
                    self.reached = None;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, packet: &Packet) -> Result<(), Error> {
        if packet.stream() == self.video {
            let time = packet.dts().or(packet.pts());
            let time = time.map(|time| self.video_base.seconds(time) - self.origin);
            if let (Some(time), Some(reached)) = (time, &mut self.reached) {
                *reached = reached.max(time);
            }
            return Ok(());
        }
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
