//! Decides what runs where: events in, decisions out, for all jobs of an engine.
//!
//! A pure state machine without threads, clock, input or output. It holds ids, bytes and expectations, never pictures; time comes
//! in as a number with each event. Whoever drives it carries the decisions out in their order, hands every lease back exactly
//! once, and calls [`Schedule::handle`] with [`Event::Woken`] when [`Schedule::wake_at`] has come.

mod alarms;
mod attempts;
mod devices;
mod facts;
mod faults;
mod feed;
mod jobs;
mod ledger;
mod placement;
pub mod planted;
mod pumps;
mod speeds;
mod takeover;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::device::Lease;
use crate::ids::{AttemptId, DeviceId, JobId, PumpId, RenditionId, SegmentIndex, TaskId};
use alarms::Alarms;
use attempts::{Attempt, Phase};
use devices::Devices;
use jobs::Job;
use ledger::Idle;
use planted::Bug;

pub use ledger::Spent;

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
    /// The pictures of its span are gone, which is no fault of the device: another one that kept them has failed.
    PicturesLost,
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
    /// Let a pump hand the pictures of the span that it has asked for straight to the attempts, all of which start now. There is no
    /// [`Event::SpanReady`] and no [`Decision::Release`] for it. Without attempts the pictures are dropped: the pump decodes
    /// through to a span that is needed.
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
        /// Whether it took too long.
        overdue: bool,
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
    /// The pictures of the span were lost: what is left of them can go. It is decoded again for the tasks that are not done.
    LetGo {
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
    /// Another class of encoders makes the rendition, of which nothing is done: that class of the rendition's [`Load::successors`]. Attempts of the
    /// class before are cancelled, and what they still give does not count.
    TakeOver {
        /// The job.
        job: JobId,
        /// The rendition.
        rendition: RenditionId,
        /// The class, by its place among the successors.
        class: usize,
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

/// The state machine of all jobs of an engine.
#[derive(Debug)]
pub struct Schedule {
    rules: Rules,
    memory: u64,
    now: Tick,
    devices: Devices,
    /// For each device: whether it is open, and whether it is or may be again, as the jobs have counted it.
    standings: Vec<(bool, bool)>,
    jobs: BTreeMap<JobId, Job>,
    /// Whose pump it is.
    pumps: BTreeMap<PumpId, JobId>,
    attempts: BTreeMap<AttemptId, Attempt>,
    /// Attempts that are out, without those that were abandoned.
    out: usize,
    /// Attempts that take much longer than expected and have no second one.
    late: BTreeSet<AttemptId>,
    golden_due: BTreeSet<DeviceId>,
    alarms: Alarms,
    encoder_bytes: u64,
    /// Spans of which nothing is wanted any more but that abandoned attempts have, by the number of their decode: bytes, and how many
    /// attempts.
    lingering: BTreeMap<u64, (u64, usize)>,
    lingering_bytes: u64,
    next_attempt: u64,
    next_pump: u32,
    next_decode: u64,
    /// Times to learn before averages are made again.
    until_refresh: u32,
    short_of_memory: bool,
    pumps_short_of_memory: bool,
    /// Whether pumps that wait for credit may get it yet, and bring tasks that suit the idle leases better.
    more_to_come: bool,
    /// How much the job has used whose fed span waits for leases: nothing later in turn starts.
    feed_waits: Option<f64>,
    decisions: Vec<Decision>,
    #[cfg(feature = "planted")]
    bug: Option<Bug>,
}

impl Schedule {
    /// Makes the schedule of a machine, without jobs.
    #[must_use]
    pub fn new(machine: Machine) -> Self {
        let devices = Devices::new(machine.devices);
        Self {
            rules: machine.rules,
            memory: machine.memory,
            now: Tick::ZERO,
            standings: devices
                .iter()
                .map(|(_, device)| (device.is_open(), device.is_hopeful()))
                .collect(),
            devices,
            jobs: BTreeMap::new(),
            pumps: BTreeMap::new(),
            attempts: BTreeMap::new(),
            out: 0,
            late: BTreeSet::new(),
            golden_due: BTreeSet::new(),
            alarms: Alarms::default(),
            encoder_bytes: 0,
            lingering: BTreeMap::new(),
            lingering_bytes: 0,
            next_attempt: 0,
            next_pump: 0,
            next_decode: 0,
            until_refresh: 8,
            short_of_memory: false,
            pumps_short_of_memory: false,
            more_to_come: true,
            feed_waits: None,
            decisions: Vec::new(),
            #[cfg(feature = "planted")]
            bug: None,
        }
    }

    /// Takes an event and returns what follows from it, in the order in which it has to be done.
    pub fn handle(&mut self, now: Tick, event: Event) -> Vec<Decision> {
        self.now = self.now.max(now);
        self.devices.clock.advance(self.now);
        self.take_in(event);
        while let Some(alarm) = self.alarms.due(self.now) {
            self.ring(alarm);
        }
        self.take_over_shut();
        self.give_up_hopeless();
        self.start_pumps();
        self.more_to_come = true;
        self.place();
        self.grant();
        if self.devices.free > 0 {
            // Pumps that wait now bring nothing better before something ends.
            self.more_to_come = false;
            self.place();
        }
        self.split();
        self.start_seconds();
        self.start_goldens();
        self.finish_jobs();
        let reason = self.why_idle();
        self.devices.clock.set(reason);
        std::mem::take(&mut self.decisions)
    }

    /// When [`Event::Woken`] has to come at the latest; `None` if nothing is due.
    #[must_use]
    pub fn wake_at(&self) -> Option<Tick> {
        self.alarms.next().filter(|_| !self.has(Bug::NeverWake))
    }

    /// Bytes that spans and encoders are charged with now, those of abandoned attempts among them.
    #[must_use]
    pub fn charged(&self) -> u64 {
        self.span_bytes() + self.encoder_bytes
    }

    /// Leases that may go out now.
    #[must_use]
    pub fn free_leases(&self) -> usize {
        self.devices.free as usize
    }

    /// Where the session-seconds of each device went until `now`, by place of the device. Each adds up to its sessions times the time
    /// since the first moment.
    #[must_use]
    pub fn ledger(&self, now: Tick) -> Vec<Spent> {
        let mut clock = self.devices.clock;
        clock.advance(now);
        self.devices
            .iter()
            .map(|(_, device)| device.account.read(&clock))
            .collect()
    }

    /// Audits the books: every lease is home, out or lost; charges add up; every task that waits has its span in memory.
    ///
    /// # Errors
    ///
    /// Says which book is wrong, and how.
    pub fn check(&self) -> Result<(), String> {
        self.devices.check()?;
        let of = |attempt: &&Attempt| attempt.phase != Phase::Abandoned;
        let out = self.attempts.values().filter(of).count();
        if out != self.out {
            return Err(format!("{out} attempts are out, {} in the books", self.out));
        }
        let encoders: u64 = self.attempts.values().map(Attempt::bytes).sum();
        if encoders != self.encoder_bytes {
            return Err(format!(
                "encoders take {encoders} bytes, {} in the books",
                self.encoder_bytes
            ));
        }
        self.jobs.values().try_for_each(Job::check)
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::JobAdded { job, facts } => self.add_job(job, *facts),
            Event::JobStopped { job } => self.stop_job(job),
            Event::CreditAsked { pump, span, bytes } => self.credit_asked(pump, span, bytes),
            Event::SpanReady {
                pump,
                span,
                bytes,
                seconds,
            } => {
                let state = self.complete(bytes, seconds);
                self.span_ready(pump, span, state);
            }
            Event::PumpEnded { pump, spans_in_all } => self.pump_ended(pump, spans_in_all),
            Event::AttemptEnded {
                attempt,
                lease,
                end,
            } => self.attempt_ended(attempt, lease, end),
            Event::GoldenEnded { lease, passed } => self.golden_ended(lease, passed),
            Event::DeviceLost { device } => self.device_lost(device),
            Event::DeviceBack { device } => self.device_back(device),
            Event::Woken => {}
        }
    }

    fn decide(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }

    fn add_job(&mut self, id: JobId, mut facts: JobFacts) {
        if self.has(Bug::ForgetDone) {
            facts.done.clear();
        }
        let mut job = Job::new(id, facts, &self.devices);
        for (device, standing) in (0..).map(DeviceId::new).zip(&self.standings) {
            job.count_device(device, (false, false), *standing);
        }
        let active = self.jobs.values().filter(|job| job.is_active());
        job.used = active.map(|job| job.used).reduce(f64::min).unwrap_or(0.0);
        self.jobs.insert(id, job);
        self.group_devices();
        self.refresh();
        self.hasten();
    }

    /// Groups the devices by what they can do in all jobs.
    fn group_devices(&mut self) {
        let mut classes: BTreeMap<Vec<u64>, u32> = BTreeMap::new();
        let class = |id: DeviceId| {
            let copy = self.devices.get(id).facts.copy_seconds_per_byte.to_bits();
            let alike = self.jobs.values().map(|job| job.speeds.class(id) as u64);
            let next = classes.len() as u32;
            *classes
                .entry(std::iter::once(copy).chain(alike).collect())
                .or_insert(next)
        };
        let of: Vec<u32> = (0..self.devices.len())
            .map(|place| DeviceId::new(place as u16))
            .map(class)
            .collect();
        self.devices.reclass(|id| of[id.place()]);
    }

    fn finish_jobs(&mut self) {
        let ends = |job: &&Job| {
            (job.running.count == 0 || self.has(Bug::FinishSoon))
                && job.pumps.is_empty()
                && (job.stopped && !self.has(Bug::NeverFinishStopped) || job.is_complete())
        };
        let finished: Vec<JobId> = self.jobs.values().filter(ends).map(|job| job.id).collect();
        for job in finished {
            self.jobs.remove(&job);
            self.decide(Decision::Finished { job });
        }
    }

    fn why_idle(&self) -> Idle {
        if self.jobs.is_empty() {
            Idle::NoJob
        } else if self.short_of_memory {
            Idle::Memory
        } else if self.jobs.values().any(|job| job.waiting_count > 0) {
            Idle::NotAllowed
        } else if self.pumps_short_of_memory {
            Idle::Memory
        } else if self.jobs.values().all(Job::is_read) {
            Idle::Draining
        } else {
            Idle::Frames
        }
    }
}
