//! Where every session-second went.
//!
//! Why leases are idle is one answer for all of them at a moment. So time is added up for each answer, once an event, and each
//! device looks at what was added since its own counts last changed: an event costs the same for one device as for a thousand.

use super::facts::Tick;

/// Why the leases that are home and free are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// There is no job.
    NoJob,
    /// No span is complete that has a task waiting.
    Frames,
    /// What waits does not fit the budget.
    Memory,
    /// What waits cannot be done there, or is done sooner elsewhere.
    NotAllowed,
    /// The source has been read to its end, and all tasks are out.
    Draining,
}

const REASONS: usize = 5;

/// Session-seconds, by what they went into.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Attempts.
    pub work: f64,
    /// Idle: no complete span had a task waiting.
    pub frames: f64,
    /// Idle: what waited did not fit the budget.
    pub memory: f64,
    /// Idle: what waited cannot be done there, or is done sooner elsewhere; or the device has no room for the session.
    pub not_allowed: f64,
    /// Idle: the source was read, and the last tasks were out.
    pub draining: f64,
    /// Idle: there was no job.
    pub no_job: f64,
    /// The device was in quarantine, or at its golden task.
    pub quarantine: f64,
    /// The device was gone, or the lease given up with an attempt that hung.
    pub lost: f64,
}

impl Spent {
    /// All of it.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.work
            + self.frames
            + self.memory
            + self.not_allowed
            + self.draining
            + self.no_job
            + self.quarantine
            + self.lost
    }

    /// Adds another device's.
    pub fn add(&mut self, other: &Self) {
        self.work += other.work;
        self.frames += other.frames;
        self.memory += other.memory;
        self.not_allowed += other.not_allowed;
        self.draining += other.draining;
        self.no_job += other.no_job;
        self.quarantine += other.quarantine;
        self.lost += other.lost;
    }
}

/// How many leases of a device are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) work: u32,
    pub(super) idle: u32,
    pub(super) barred: u32,
    pub(super) quarantine: u32,
    pub(super) lost: u32,
}

/// Seconds that have passed for each reason, for all devices alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    at: Tick,
    passed: [f64; REASONS],
    reason: Idle,
}

impl Clock {
    pub(super) const fn new() -> Self {
        Self {
            at: Tick::ZERO,
            passed: [0.0; REASONS],
            reason: Idle::NoJob,
        }
    }

    /// Time goes on to `now`.
    pub(super) fn advance(&mut self, now: Tick) {
        self.passed[self.reason as usize] += now.since(self.at).as_secs_f64();
        self.at = self.at.max(now);
    }

    /// From now on, leases are idle for this reason.
    pub(super) fn set(&mut self, reason: Idle) {
        self.reason = reason;
    }
}

/// The account of one device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    spent: Spent,
    counts: Counts,
    seen: [f64; REASONS],
}

impl Account {
    pub(super) fn new(sessions: u32) -> Self {
        Self {
            spent: Spent::default(),
            counts: Counts {
                idle: sessions,
                ..Counts::default()
            },
            seen: [0.0; REASONS],
        }
    }

    /// From the time of `clock` on, the leases are in these states.
    pub(super) fn set(&mut self, clock: &Clock, counts: Counts) {
        if counts != self.counts {
            self.spent = self.read(clock);
            self.seen = clock.passed;
            self.counts = counts;
        }
    }

    /// What was spent up to the time of `clock`.
    pub(super) fn read(&self, clock: &Clock) -> Spent {
        let mut since = [0.0; REASONS];
        for (since, (now, then)) in since.iter_mut().zip(clock.passed.iter().zip(&self.seen)) {
            *since = now - then;
        }
        let all: f64 = since.iter().sum();
        let idle = f64::from(self.counts.idle);
        let mut spent = self.spent;
        spent.add(&Spent {
            work: f64::from(self.counts.work) * all,
            frames: idle * since[Idle::Frames as usize],
            memory: idle * since[Idle::Memory as usize],
            not_allowed: idle * since[Idle::NotAllowed as usize]
                + f64::from(self.counts.barred) * all,
            draining: idle * since[Idle::Draining as usize],
            no_job: idle * since[Idle::NoJob as usize],
            quarantine: f64::from(self.counts.quarantine) * all,
            lost: f64::from(self.counts.lost) * all,
        });
        spent
    }
}
