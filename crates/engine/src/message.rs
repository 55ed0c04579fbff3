//! What the threads of a job say to each other: each hears one closed enum.

use rungs_media::encode::EncodedPacket;
use rungs_package::coding::CodingError;
use rungs_package::output::StoredSpan;
use rungs_package::text::{Cue as TextCue, TextSegment};
use rungs_package::track::{Segment, Track};
use rungs_package::{PackageError, TrackId};

use crate::control::{NewJob, Tally};
use crate::error::{AudioError, Error};
use crate::event::Event;
use crate::feed::Feeder;
use crate::ids::{JobId, PumpId, SegmentIndex};
use crate::pump::Stretch;
use crate::read::ReadCounts;
use crate::seam::Seam;
use crate::span::{Outline, Span};
use crate::sync::{Receiver, Sender};
use crate::timeline::Repairs;
use crate::warning::Warning;
use crate::worker::Homecoming;

/// Everything that control hears.
#[derive(Debug)]
pub(crate) enum Message {
    /// A job begins.
    Begin(Box<NewJob>),
    /// The user has cancelled a job, or whoever began it is gone.
    Cancel(JobId),
    /// From a pump.
    Pump {
        job: JobId,
        pump: PumpId,
        message: PumpMessage,
    },
    /// From a job's thread for a track of sound.
    Sound {
        job: JobId,
        track: TrackId,
        message: SoundMessage,
    },
    /// From a job's thread for the subtitles.
    Text { job: JobId, message: TextMessage },
    /// From a job's publisher.
    Published { job: JobId, published: Published },
    /// Something that the user of a job should know, from any of its threads.
    Warned { job: JobId, warning: Warning },
    /// A thread of a job ended without a word.
    Lost { job: JobId, thread: &'static str },
    /// A lease came home.
    Home(Box<Homecoming>),
    /// The engine is dropped.
    Close,
}

/// Everything that whoever began a job hears.
#[derive(Debug)]
pub(crate) enum Word {
    /// Something for the observer.
    Event(Event),
    /// A pump has to be started.
    StartPump(PumpBegun),
    /// The job is over: all leases are home but those that hang, all orders are answered, all pumps have ended.
    Ended(Result<Tally, Error>),
}

/// A pump that has to be started.
#[derive(Debug)]
pub(crate) struct PumpBegun {
    pub(crate) pump: PumpId,
    pub(crate) stretch: Stretch,
    pub(crate) credit: Receiver<Credit>,
    /// Goes with the pump's thread.
    pub(crate) last_word: LastWord,
}

/// Tells control that a pump is lost when it is dropped before [`said`](Self::said): its thread panicked, or nobody was left to start it.
#[derive(Debug)]
pub(crate) struct LastWord {
    inbox: Sender<Message>,
    whose: Option<(JobId, PumpId)>,
}

impl LastWord {
    pub(crate) fn new(inbox: Sender<Message>, job: JobId, pump: PumpId) -> Self {
        let whose = Some((job, pump));
        Self { inbox, whose }
    }

    /// The pump has said it itself.
    pub(crate) fn said(mut self) {
        self.whose = None;
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some((job, pump)) = self.whose {
            let message = PumpMessage::Lost;
            // If control is gone there is nobody left to tell.
            self.inbox.send(Message::Pump { job, pump, message }).ok();
        }
    }
}

/// Where a thread of a job sends its words: to control, with the name of the job.
pub(crate) struct Line<T> {
    inbox: Sender<Message>,
    wrap: Box<dyn Fn(T) -> Message + Send + Sync>,
}

impl<T> Line<T> {
    /// Makes a line whose words are wrapped by `wrap`.
    pub(crate) fn new(
        inbox: Sender<Message>,
        wrap: impl Fn(T) -> Message + Send + Sync + 'static,
    ) -> Self {
        Self {
            inbox,
            wrap: Box::new(wrap),
        }
    }

    /// Says something; false if nobody is there to hear it. Does not block.
    pub(crate) fn send(&self, word: T) -> bool {
        self.inbox.send((self.wrap)(word)).is_ok()
    }
}

/// The answer to a pump that has asked for credit.
#[derive(Debug)]
pub(crate) enum Credit {
    /// It may decode the span.
    Decode,
    /// It may decode the span and hands each picture on at once.
    Feed(Feeder),
    /// Its stretch ends before the span.
    End,
}

/// What a pump has to say.
#[derive(Debug)]
pub(crate) enum PumpMessage {
    /// It waits for credit for a span of about this many bytes.
    CreditAsked { span: SegmentIndex, bytes: u64 },
    /// A span is complete. The last one of the presentation says so.
    Span { span: Span, last: bool },
    /// A span was fed to its end. Comes before any task can have come home with it.
    Fed { outline: Outline, last: bool },
    /// It has met the start of its stretch, if that is not the beginning of the presentation, or the end of it. Two pumps that meet
    /// there must say the same.
    Seam(Seam),
    /// The source or the stretch has ended, or the pump was hung up on.
    Ended(PumpSummary),
    /// The source cannot be read on. `at` is the time of the last picture, in ticks.
    Failed { at: i64, error: rungs_media::Error },
    /// Its thread panicked.
    Lost,
}

impl PumpMessage {
    /// Whether the pump says nothing after it.
    pub(crate) const fn is_last(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Failed { .. } | Self::Lost)
    }
}

/// What a pump has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PumpSummary {
    /// Spans handed over.
    pub(crate) spans: u32,
    /// End of the last of them, in ticks.
    pub(crate) end: i64,
    /// Pictures repeated over boundaries.
    pub(crate) held: u64,
    /// Pictures in all spans, repeated ones too.
    pub(crate) frames: u64,
    /// Pictures decoded and not handed over: those before and after the stretch.
    pub(crate) dropped: u64,
    /// What the reader counted.
    pub(crate) counts: ReadCounts,
    /// What was repaired in the timestamps.
    pub(crate) repairs: Repairs,
    /// Spans of the whole presentation, if the pump met the end of the source.
    pub(crate) spans_in_all: Option<u32>,
    /// Whether the source goes on after that, for longer than its bytes can be meant to.
    pub(crate) is_cut: bool,
}

impl PumpSummary {
    /// Adds what another pump has done, but for the pictures in its spans, which another may have decoded too.
    pub(crate) fn add(&mut self, other: &Self) {
        self.spans += other.spans;
        self.spans_in_all = self.spans_in_all.or(other.spans_in_all);
        self.end = self.end.max(other.end);
        self.dropped += other.dropped;
        self.counts.decoded += other.counts.decoded;
        self.counts.errors += other.counts.errors;
        self.counts.bytes += other.counts.bytes;
        self.is_cut |= other.is_cut;
        self.repairs.nudged += other.repairs.nudged;
        self.repairs.discontinuities += other.repairs.discontinuities;
    }
}

/// A cut of the picture that the sound follows. Cues come in order, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cue {
    pub(crate) index: SegmentIndex,
    /// Where the segment ends, in samples from the start of the presentation.
    pub(crate) end: i64,
    /// Whether the presentation ends there.
    pub(crate) last: bool,
}

/// What a track of sound has to say.
#[derive(Debug)]
pub(crate) enum SoundMessage {
    /// A segment is complete.
    Segment {
        index: SegmentIndex,
        segment: Segment,
    },
    /// All segments are handed over, or the thread was hung up on.
    Ended(SoundSummary),
    /// The sound cannot be made. `at` is in seconds.
    Failed { at: f64, error: AudioError },
}

/// What was repaired in a track of sound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SoundSummary {
    /// Silence put into holes and at the end, in samples.
    pub(crate) filled: u64,
    /// Packets that could not be decoded.
    pub(crate) errors: u64,
}

/// What the subtitles have to say.
#[derive(Debug)]
pub(crate) enum TextMessage {
    /// A segment of a track is complete.
    Segment {
        track: TrackId,
        index: SegmentIndex,
        segment: TextSegment,
    },
    /// All of a track, once its segments are handed over.
    Whole { track: TrackId, cues: Vec<TextCue> },
    /// All is handed over, or the thread was hung up on.
    Ended { errors: u64 },
    /// The source cannot be read on.
    Failed(rungs_media::Error),
}

/// One segment to publish.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) track: TrackId,
    pub(crate) index: SegmentIndex,
    pub(crate) content: Content,
}

/// What a segment is made of.
#[derive(Debug)]
pub(crate) enum Content {
    /// Packets of an encoder, in decoding order.
    Pictures {
        start: i64,
        packets: Vec<EncodedPacket>,
        /// How long each picture is shown, in ticks, in the order in which they are shown.
        durations: Vec<i64>,
        /// The span that the packets were made of.
        span: StoredSpan,
    },
    /// Sound, ready to be muxed.
    Sound(Segment),
    /// Subtitles.
    Text(TextSegment),
    /// Another class of encoders makes the track, of which nothing is published; the segment's index says nothing.
    TakenOver {
        /// As that class makes it.
        track: Box<Track>,
        /// Its first encoder.
        by: String,
    },
    /// All subtitles of a track; the segment's index says nothing.
    WholeText(Vec<TextCue>),
}

/// What became of an order.
#[derive(Debug)]
pub(crate) enum Published {
    Done {
        track: TrackId,
        index: SegmentIndex,
        bytes: u64,
        /// Duration in ticks of the track.
        duration: u64,
        /// Whether an earlier run had stored it, and it was only compared.
        duplicate: bool,
        /// Whether the playlists name it now.
        frontier_moved: bool,
    },
    /// The whole file of some subtitles is stored.
    Whole,
    /// The track is as another class makes it.
    TakenOver,
    Failed(PublishError),
}

/// Why a segment could not be published.
#[derive(Debug)]
pub(crate) enum PublishError {
    Package(PackageError),
    /// What the encoder gave is not of its codec.
    Bitstream(CodingError),
}
