//! Decides what runs where: events in, decisions out, for all jobs of an engine.
//!
//! A pure state machine without threads, clock, input or output. It holds ids, bytes and expectations, never pictures; time comes
//! in as a number with each event. Whoever drives it carries the decisions out in their order, hands every lease back exactly
//! once, and calls [`Schedule::handle`] with [`Event::Woken`] when [`Schedule::wake_at`] has come.

mod facts;

use crate::device::Lease;
use crate::ids::{AttemptId, DeviceId, JobId, PumpId, SegmentIndex, TaskId};

pub use facts::{Ability, Cut, DeviceFacts, JobFacts, Load, Machine, Rules, Tick};

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A job begins. Its pumps are started by decisions.
    JobAdded {
        /// Its id, unlike that of any other.
        job: JobId,
        /// What is known about it.
        facts: Box<JobFacts>,
    },
    /// Nothing new of the job may start: it has failed or was cancelled. What runs is cancelled and awaited.
    JobStopped {
        /// The job.
        job: JobId,
    },
    /// A pump is about to decode a span and waits for credit, or for the word that its stretch ends there.
    CreditAsked {
        /// The pump.
        pump: PumpId,
        /// The span.
        span: SegmentIndex,
        /// Expected size of its pictures.
        bytes: u64,
    },
    /// A span is complete, in memory, and charged to the budget.
    SpanReady {
        /// The pump.
        pump: PumpId,
        /// The span.
        span: SegmentIndex,
        /// Real size of its pictures.
        bytes: u64,
        /// Real length of it.
        seconds: f64,
    },
    /// A pump has ended: it reads no more, and credit that it asked for or got and did not use is void. Comes once for each pump.
    PumpEnded {
        /// The pump.
        pump: PumpId,
        /// Spans of the whole source if the pump met its end; `None` if its stretch ended before, or it failed or was stopped.
        spans_in_all: Option<u32>,
    },
    /// A task came home with its lease. Also how a lease comes home late that was given up for lost.
    AttemptEnded {
        /// Which attempt.
        attempt: AttemptId,
        /// Its lease.
        lease: Lease,
        /// What became of it.
        end: End,
    },
    /// A golden task came home with its lease.
    GoldenEnded {
        /// Its lease.
        lease: Lease,
        /// Whether the device did as it should.
        passed: bool,
    },
    /// A device is gone; attempts on it come home as failures, or never.
    DeviceLost {
        /// The device.
        device: DeviceId,
    },
    /// A device that was gone is back; it has to pass a golden task first.
    DeviceBack {
        /// The device.
        device: DeviceId,
    },
    /// The time of [`Schedule::wake_at`] has come, or any other.
    Woken,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is a result. If it is the task's first, it is committed.
    Done,
    /// An error of the device or of the task.
    Failed,
    /// The device has no room for as many sessions; nobody's failure.
    Capacity,
    /// It was told to stop, and did.
    Cancelled,
}

/// What has to be done now, in this order.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Start a decode thread on a stretch of the source.
    StartPump {
        /// The job.
        job: JobId,
        /// The new pump's id.
        pump: PumpId,
        /// Its first span.
        from: SegmentIndex,
        /// The span before which it ends; `None` for the end of the source. May be lowered later, by [`Decision::EndPump`].
        until: Option<SegmentIndex>,
    },
    /// Let a pump decode the span that it has asked for.
    Grant {
        /// The pump.
        pump: PumpId,
        /// The span.
        span: SegmentIndex,
    },
    /// Let a pump hand the pictures of the span that it has asked for straight to the attempts, all of which start now.
    Feed {
        /// The pump.
        pump: PumpId,
        /// The span.
        span: SegmentIndex,
        /// One for each rendition that is not done and has a session now; the rest are made from another decode.
        starts: Vec<Start>,
    },
    /// Answer a pump that has asked for credit: its stretch ends before that span.
    EndPump {
        /// The pump.
        pump: PumpId,
    },
    /// Encode.
    Start(Start),
    /// Tell an attempt to stop: it is not needed any more, or overdue. It still comes home, or is given up later.
    Cancel {
        /// The attempt.
        attempt: AttemptId,
    },
    /// An attempt did not come home in time after it was told to: it hangs. Its thread is left alone and its lease is lost; its
    /// memory stays charged until it comes home after all.
    Abandon {
        /// The attempt.
        attempt: AttemptId,
        /// Its device.
        device: DeviceId,
    },
    /// Run a golden task, to see whether the device can be trusted again.
    Golden {
        /// The right to a session of the device.
        lease: Lease,
    },
    /// Nobody needs the pictures of the span any more.
    Release {
        /// The job.
        job: JobId,
        /// The span.
        span: SegmentIndex,
    },
    /// The task failed as often as is allowed, or nothing is left that can do it. The job has stopped itself, as with
    /// [`Event::JobStopped`].
    GiveUp {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskId,
        /// The devices of the attempts that failed, in order; empty if no device is left that can do it.
        failed_on: Vec<DeviceId>,
    },
    /// A device gets no tasks any more until a golden task passes.
    Quarantined {
        /// The device.
        device: DeviceId,
        /// When the golden task is tried.
        until: Tick,
    },
    /// A device is trusted again.
    Readmitted {
        /// The device.
        device: DeviceId,
    },
    /// A device turned out to have room for this many sessions only.
    CapacityLowered {
        /// The device.
        device: DeviceId,
        /// Sessions that are left.
        sessions: u32,
    },
    /// All tasks of all spans of the job are done, or it was stopped; none of its attempts is out except those that were abandoned, and
    /// all its pumps have ended.
    Finished {
        /// The job.
        job: JobId,
    },
}

/// A task with a lease, to be started.
#[derive(Debug, PartialEq)]
pub struct Start {
    /// The job.
    pub job: JobId,
    /// The task.
    pub task: TaskId,
    /// Names this try.
    pub attempt: AttemptId,
    /// The right to a session, which travels with the task.
    pub lease: Lease,
    /// How many threads the encoder may use.
    pub threads: u32,
    /// Attempts of the task that failed before.
    pub failures: u32,
    /// Whether another attempt of the task is still out: the first result counts.
    pub second: bool,
}
