//! What the threads of a job say to each other: each hears one closed enum.

use rungs_media::encode::EncodedPacket;
use rungs_package::av1::Av1Error;
use rungs_package::output::StoredSpan;
use rungs_package::track::Segment;
use rungs_package::{PackageError, TrackId};

use crate::error::AudioError;
use crate::ids::SegmentIndex;
use crate::read::ReadCounts;
use crate::span::{Outcome, Span};
use crate::timeline::Repairs;

/// Everything that control hears.
#[derive(Debug)]
pub(crate) enum Message {
    Pump(PumpMessage),
    Sound(SoundMessage),
    Outcome(Outcome),
    Published(Published),
    /// A thread ended without a word.
    Lost(&'static str),
}

/// What the pump has to say.
#[derive(Debug)]
pub(crate) enum PumpMessage {
    /// It waits for credit for a span of about this many bytes.
    CreditAsked { span: SegmentIndex, bytes: u64 },
    /// A span is complete. The last one says so.
    Span { span: Span, last: bool },
    /// The source has ended, or the pump was hung up on.
    Ended(PumpSummary),
    /// The source cannot be read on. `at` is the time of the last picture, in ticks.
    Failed { at: i64, error: rungs_media::Error },
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
    /// What the reader counted.
    pub(crate) counts: ReadCounts,
    /// What was repaired in the timestamps.
    pub(crate) repairs: Repairs,
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

/// What the sound has to say.
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

/// What was repaired in the sound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SoundSummary {
    /// Silence put into holes and at the end, in samples.
    pub(crate) filled: u64,
    /// Packets that could not be decoded.
    pub(crate) errors: u64,
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
    /// Packets of an AV1 encoder, with the duration of each in ticks.
    Pictures {
        start: i64,
        packets: Vec<EncodedPacket>,
        durations: Vec<i64>,
        /// The span that the packets were made of.
        span: StoredSpan,
    },
    /// Sound, ready to be muxed.
    Sound(Segment),
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
    Failed(PublishError),
}

/// Why a segment could not be published.
#[derive(Debug)]
pub(crate) enum PublishError {
    Package(PackageError),
    /// What the encoder gave is no AV1.
    Bitstream(Av1Error),
}
