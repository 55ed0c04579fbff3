//! What the schedule is told about the machine and the jobs.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ids::{RenditionId, SegmentIndex, TaskId};

/// A moment, counted from any fixed one. Monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(Duration);

impl Tick {
    /// The moment from which is counted.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Makes the moment that is `since` after the first.
    #[must_use]
    pub const fn new(since: Duration) -> Self {
        Self(since)
    }

    /// Time since the first moment.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The moment `later` after this one.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }

    /// Time from `earlier` to this moment; zero if that was later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The devices and the memory that all jobs share.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// The devices; a [`DeviceId`](crate::ids::DeviceId) is a place in this list.
    pub devices: Vec<DeviceFacts>,
    /// Bytes for spans and encoders of all jobs together.
    pub memory: u64,
    /// How it decides.
    pub rules: Rules,
}

/// A device as the schedule sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceFacts {
    /// How many encoders may be open on it at once.
    pub sessions: u32,
    /// How many threads its encoders may use between them; 0 where that means nothing.
    pub threads: u32,
    /// Seconds that it takes to bring a byte of pictures to it from where they were decoded; 0 where they lie already.
    pub copy_seconds_per_byte: f64,
}

/// How the schedule decides. [`Rules::default`] is what the engine uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// How often a task may fail before its job does. With two devices that can do it, at least two of them have tried.
    pub attempts: u32,
    /// A task that takes this many times what was expected of it gets a second attempt, if a lease is idle.
    pub straggler: f64,
    /// No task gets one that is behind what was expected of it by less than this: short tasks are often late by a little.
    pub straggler_floor: Duration,
    /// A task that takes this many times what was expected of it is overdue: its device hangs.
    pub deadline: f64,
    /// No task is overdue earlier than this.
    pub deadline_floor: Duration,
    /// What is expected of a (device, rendition) of which nothing is known yet is multiplied by this for deadlines.
    pub unknown: f64,
    /// How long an attempt that was cancelled may take to come home before it is abandoned.
    pub grace: Duration,
    /// Failures in a row after which a device is quarantined.
    pub strikes: u32,
    /// How often the pictures of a task may be lost; what is lost beyond that counts as a failure of the task.
    pub losses: u32,
    /// The first quarantine; each further one in a row is twice as long.
    pub quarantine: Duration,
    /// The longest quarantine.
    pub quarantine_most: Duration,
    /// Tasks kept ready for each session.
    pub ready_per_session: u32,
    /// The share of the source that may be decoded twice because of splits.
    pub waste: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            attempts: 3,
            straggler: 2.0,
            straggler_floor: Duration::from_secs(1),
            deadline: 10.0,
            deadline_floor: Duration::from_mins(1),
            unknown: 5.0,
            grace: Duration::from_secs(10),
            strikes: 3,
            losses: 3,
            quarantine: Duration::from_secs(10),
            quarantine_most: Duration::from_mins(10),
            ready_per_session: 2,
            waste: 0.05,
        }
    }
}

/// What is known about a job when it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct JobFacts {
    /// Its share of the session time when several jobs contend, relative to theirs; above zero.
    pub weight: f64,
    /// The renditions in the plan's order: a [`RenditionId`] is a place in this list.
    pub loads: Vec<Load>,
    /// Usual length of a span in seconds.
    pub span_seconds: f64,
    /// Usual size of a span in bytes.
    pub span_bytes: u64,
    /// How many spans the source should come to; `None` if nobody knows.
    pub expected_spans: Option<u32>,
    /// How many spans the source has, if that is known for sure.
    pub spans_in_all: Option<u32>,
    /// Tasks that an earlier run has done.
    pub done: BTreeSet<TaskId>,
    /// Pumps that may read at once, at least 1.
    pub decoders: u32,
    /// Where a pump may start, besides the beginning, in order.
    pub cuts: Vec<Cut>,
    /// What a pump is expected to need for a second of the source, in seconds; 0 if nobody knows.
    pub decode_seconds: f64,
    /// Bytes of pictures on their way at any moment while a span is fed; 0 where spans cannot be fed.
    pub fed_bytes: u64,
}

/// A span before which a pump may start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// The span.
    pub span: SegmentIndex,
    /// Seconds of the source that are decoded in vain to start there.
    pub waste: f64,
}

/// What the schedule knows of a rendition.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Which rendition.
    pub rendition: RenditionId,
    /// What each device can do with it, in the machine's order; `None` where it cannot, or must not.
    pub abilities: Vec<Option<Ability>>,
    /// The same for other classes of encoders, which may take the rendition over from its first segment on, the best first. Segments of unlike
    /// classes may not stand in one rendition.
    pub successors: Vec<Vec<Option<Ability>>>,
}

/// What a device is expected to need for a rendition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ability {
    /// Time that one session takes for a second of the source, in seconds.
    pub seconds: f64,
    /// Whether that was measured, or is only right in proportion to the other renditions'.
    pub measured: bool,
    /// Memory of one open encoder, in bytes.
    pub bytes: u64,
}
