//! The one loop that owns an engine's state: it hears every thread of every job, asks the schedule, and hands out what it decides.

mod efficiency;
mod job;
mod tally;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::cancel::Cancel;
use crate::device::{Device, Lease, Vendor};
use crate::error::{EncodeError, in_words};
use crate::event::Event;
use crate::feed;
use crate::golden;
use crate::ids::{AttemptId, DeviceId, JobId, PumpId, SegmentIndex, TaskId};
use crate::inspect::Depth;
use crate::message::{Message, Word};
use crate::plan::{Rendition, Warning};
use crate::schedule::{self, Decision, End, Machine, Schedule, Start, Tick};
use crate::span::{Assignment, Outcome, Task};
use crate::sync::{Receiver, RecvTimeoutError, Sender};
use crate::worker::{Backend, Home, Homecoming, Pool};

pub use job::Terms;
pub(crate) use job::{CueLine, Job, Lines, NewJob, Tracks};
pub(crate) use tally::Tally;

/// Control's own thread.
pub(crate) const CONTROL: &str = "control";
/// The threads of a job.
pub(crate) const PUMP: &str = "pump";
pub(crate) const TRACKS: &str = "audio and subtitles";
pub(crate) const PUBLISHER: &str = "publisher";

/// Pictures that each consumer of a fed span may be behind the pump.
const FED_PICTURES: usize = 4;
/// Pictures of a fed span that are held at once: those on the lines, one at the pump, and one in the hands of the consumers.
pub(crate) const FED_PICTURES_HELD: u64 = FED_PICTURES as u64 + 2;

/// A task that is out.
struct Attempt {
    job: JobId,
    task: TaskId,
    device: DeviceId,
    session: u32,
    cancel: Cancel,
    started: Instant,
    /// It was told to stop because it took too long.
    overdue: bool,
    /// It was to help another one that was late.
    second: bool,
}

/// Runs on a thread of its own for as long as the engine lives.
pub(crate) struct Control {
    inbox: Receiver<Message>,
    pool: Pool,
    devices: Vec<Device>,
    schedule: Schedule,
    started: Instant,
    jobs: BTreeMap<JobId, Job>,
    attempts: BTreeMap<AttemptId, Attempt>,
    pumps: BTreeMap<PumpId, JobId>,
    /// What each device is tried with before it is trusted again: its smallest rendition so far.
    golden: BTreeMap<DeviceId, (Arc<Rendition>, Depth)>,
    /// Devices that are gone.
    lost: BTreeSet<DeviceId>,
    /// What went wrong last on each device.
    errors: BTreeMap<DeviceId, String>,
    /// What the schedule has not heard yet.
    events: VecDeque<schedule::Event>,
    asking: bool,
    closing: bool,
}

impl Control {
    /// Starts the threads of the devices, which are those of the machine. `out` leads to `inbox`.
    pub(crate) fn new(
        backend: &Arc<dyn Backend>,
        devices: Vec<Device>,
        machine: Machine,
        (out, inbox): (Sender<Message>, Receiver<Message>),
    ) -> std::io::Result<Self> {
        let home: Home = Arc::new(move |homecoming| {
            // When control is gone, so is the schedule that the lease belongs to.
            out.send(Message::Home(Box::new(homecoming))).ok();
        });
        Ok(Self {
            pool: Pool::start(backend, &devices, (&home, machine.rules.grace))?,
            inbox,
            devices,
            schedule: Schedule::new(machine),
            started: Instant::now(),
            jobs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            pumps: BTreeMap::new(),
            golden: BTreeMap::new(),
            lost: BTreeSet::new(),
            errors: BTreeMap::new(),
            events: VecDeque::new(),
            asking: false,
            closing: false,
        })
    }

    /// Runs until the engine closes. Nothing polls: it sleeps until a message comes or the schedule wants to be woken.
    pub(crate) fn run(mut self) {
        while !self.closing {
            let message = match self.schedule.wake_at() {
                None => self
                    .inbox
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                Some(tick) => self.inbox.recv_deadline(self.started + tick.since_start()),
            };
            match message {
                Ok(message) => self.hear(message),
                Err(RecvTimeoutError::Timeout) => self.ask(schedule::Event::Woken),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.settle();
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Begin(new) => self.begin(*new),
            Message::Cancel(job) => self.with(job, |job| {
                job.interrupt();
                None
            }),
            Message::Pump { job, pump, message } => {
                if message.is_last() {
                    self.pumps.remove(&pump);
                }
                self.with(job, |job| job.hear_pump(pump, message));
            }
            Message::Sound {
                job,
                track,
                message,
            } => self.with(job, |job| {
                job.hear_sound(track, message);
                None
            }),
            Message::Text { job, message } => self.with(job, |job| {
                job.hear_text(message);
                None
            }),
            Message::Published { job, published } => self.with(job, |job| {
                job.hear_published(published);
                None
            }),
            Message::Warned { job, warning } => self.with(job, |job| {
                job.warn(warning);
                None
            }),
            Message::Lost { job, thread } => self.with(job, |job| {
                job.hear_lost(thread);
                None
            }),
            Message::Home(home) => match *home {
                Homecoming::Outcome(outcome) => self.hear_outcome(*outcome),
                Homecoming::Golden(lease, result) => self.hear_golden(lease, result),
            },
            Message::Close => self.closing = true,
        }
    }

    fn begin(&mut self, new: NewJob) {
        let id = new.id;
        let spent = self.schedule.ledger(Tick::new(self.started.elapsed()));
        let mut job = Job::new(new, spent);
        // Where an earlier run has left nothing but sound to make, no pump will ever tell of a cut.
        job.cue();
        for device in (0..).take(self.devices.len()).map(DeviceId::new) {
            if let Some(rendition) = job.smallest_on(device) {
                self.golden.insert(device, (rendition, job.deepest()));
            }
        }
        let facts = Box::new(job.facts());
        self.jobs.insert(id, job);
        self.ask(schedule::Event::JobAdded { job: id, facts });
    }

    /// Lets a job hear something, and tells the schedule what follows. A message for a job that has ended is late, and nobody's.
    fn with(&mut self, id: JobId, hear: impl FnOnce(&mut Job) -> Option<schedule::Event>) {
        if let Some(event) = self.jobs.get_mut(&id).and_then(hear) {
            self.ask(event);
        }
    }

    /// Stops the jobs that have failed, and lets go of those that are over.
    fn settle(&mut self) {
        for job in self.failed() {
            self.ask(schedule::Event::JobStopped { job });
        }
        if !self.jobs.values().any(Job::is_over) {
            return;
        }
        let spent = self.schedule.ledger(Tick::new(self.started.elapsed()));
        for (_, job) in self.jobs.extract_if(.., |_, job| job.is_over()) {
            job.end(&self.devices, &spent);
        }
    }

    /// Jobs that have failed, of which the schedule has not heard.
    fn failed(&mut self) -> Vec<JobId> {
        let jobs = self.jobs.iter_mut();
        jobs.filter_map(|(id, job)| job.must_stop().then_some(*id))
            .collect()
    }

    fn hear_outcome(&mut self, mut outcome: Outcome) {
        let (job, attempt) = (outcome.assignment.job, outcome.assignment.attempt);
        let device = outcome.assignment.lease.device();
        let known = self.attempts.remove(&attempt);
        let overdue = known.as_ref().is_some_and(|known| known.overdue);
        let first = known.as_ref().is_some_and(|known| !known.second);
        let told_to_stop = known.is_some_and(|known| known.cancel.is_cancelled());
        let end = end_of(&outcome.result, told_to_stop);
        let mut told = end;
        if overdue && end == End::Cancelled {
            // To the job that is a failure, and this its reason.
            let seconds = outcome.busy.as_secs();
            outcome.result = Err(EncodeError::Overdue { seconds });
            told = End::Failed;
        }
        if let Err(error) = &outcome.result
            && matches!(told, End::Failed | End::Capacity)
        {
            self.errors.insert(device, in_words(error));
        }
        let reason = match &outcome.result {
            Err(error @ EncodeError::DeviceLost { .. }) => Some(in_words(error)),
            _ => None,
        };
        let lease = match self.jobs.get_mut(&job) {
            Some(job) => {
                let device = &self.devices[device.place()];
                if first && told == End::Cancelled && device.vendor != Vendor::Cpu {
                    job.outrun(&outcome, &device.id);
                }
                job.hear_outcome(outcome, (told, device))
            }
            None => outcome.assignment.lease,
        };
        if let Some(reason) = reason {
            self.lost(device, reason);
        }
        self.ask(schedule::Event::AttemptEnded {
            attempt,
            lease,
            end,
        });
    }

    fn hear_golden(&mut self, lease: Lease, result: Result<(), EncodeError>) {
        let passed = result.is_ok();
        if let Err(error) = result {
            let (device, reason) = (lease.device(), in_words(&error));
            if matches!(error, EncodeError::DeviceLost { .. }) {
                self.lost(device, reason);
            } else {
                self.errors.insert(device, reason.clone());
                let device = self.name(device);
                self.warn_all(&Warning::StillBad {
                    device,
                    error: reason,
                });
            }
        }
        self.ask(schedule::Event::GoldenEnded { lease, passed });
    }

    /// A device is gone, and stays so for as long as the engine lives.
    fn lost(&mut self, device: DeviceId, error: String) {
        if self.lost.insert(device) {
            let name = self.name(device);
            self.warn_all(&Warning::DeviceLost {
                device: name,
                error,
            });
            self.ask(schedule::Event::DeviceLost { device });
        }
    }

    /// Hands an event to the schedule and carries out what it decides, before anything else that follows from that.
    fn ask(&mut self, event: schedule::Event) {
        self.events.push_back(event);
        if self.asking {
            return;
        }
        self.asking = true;
        while let Some(event) = self.events.pop_front() {
            let now = Tick::new(self.started.elapsed());
            for decision in self.schedule.handle(now, event) {
                self.carry_out(decision);
            }
            // At once: the schedule would start tasks of a job that has failed again and again, and get each back.
            for job in self.failed() {
                self.events.push_front(schedule::Event::JobStopped { job });
            }
            let charged = self.schedule.charged();
            for job in self.jobs.values_mut() {
                job.note_charged(charged);
            }
        }
        self.asking = false;
    }

    fn carry_out(&mut self, decision: Decision) {
        match decision {
            Decision::StartPump {
                job,
                pump,
                from,
                until,
            } => {
                self.pumps.insert(pump, job);
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.start_pump(pump, (from, until));
                }
            }
            Decision::Grant { pump, .. } => self.answer(pump, |job| job.grant(pump)),
            Decision::EndPump { pump } => self.answer(pump, |job| job.end_pump(pump)),
            Decision::Feed { pump, span, starts } => self.feed((pump, span), starts),
            Decision::Start(start) => self.start(start),
            Decision::Cancel { attempt, overdue } => {
                if let Some(attempt) = self.attempts.get_mut(&attempt) {
                    attempt.overdue = overdue;
                    attempt.cancel.cancel();
                }
            }
            Decision::Abandon { attempt, device } => self.abandon(attempt, device),
            Decision::Golden { lease } => self.try_golden(lease),
            Decision::Release { job, span } => self.tell_job(job, |job| job.release(span)),
            Decision::LetGo { job, span } => self.tell_job(job, |job| job.let_go(span)),
            Decision::GiveUp {
                job,
                task,
                failed_on,
            } => {
                let devices = failed_on.iter().map(|device| self.name(*device)).collect();
                self.tell_job(job, |job| job.give_up(task, devices));
            }
            Decision::TakeOver {
                job,
                rendition,
                class,
            } => self.tell_job(job, |job| job.take_over(rendition, class)),
            Decision::Quarantined { device, until } => {
                let now = Tick::new(self.started.elapsed());
                let seconds = until.since(now).as_secs_f64();
                let error = self.errors.get(&device).cloned();
                let device = self.name(device);
                self.warn_all(&Warning::Quarantined {
                    device,
                    seconds,
                    error: error.unwrap_or_default(),
                });
            }
            Decision::Readmitted { device } => {
                let device = self.name(device);
                self.tell_all(&Event::DeviceBack { device });
            }
            Decision::CapacityLowered { device, sessions } => {
                let device = self.name(device);
                self.warn_all(&Warning::CapacityLowered { device, sessions });
            }
            Decision::Finished { job } => self.tell_job(job, Job::finished),
        }
    }

    fn tell_job(&mut self, job: JobId, act: impl FnOnce(&mut Job)) {
        if let Some(job) = self.jobs.get_mut(&job) {
            act(job);
        }
    }

    fn answer(&mut self, pump: PumpId, answer: impl FnOnce(&mut Job)) {
        let job = self.pumps.get(&pump);
        if let Some(job) = job.and_then(|job| self.jobs.get_mut(job)) {
            answer(job);
        }
    }

    fn start(&mut self, start: Start) {
        let job = self.jobs.get_mut(&start.job);
        match job.and_then(|job| job.task(&start, None)) {
            Some(task) => self.submit(start, task, Cancel::new()),
            // A span is released only after its last task. Should it be gone all the same, the lease goes home.
            None => self.take_back(start),
        }
    }

    /// Starts the attempts of a span and lets the pump hand its pictures to them.
    fn feed(&mut self, (pump, span): (PumpId, SegmentIndex), starts: Vec<Start>) {
        let cancels: Vec<Cancel> = starts.iter().map(|_| Cancel::new()).collect();
        let (feeder, feeds) = feed::broadcast(span, FED_PICTURES, &cancels);
        for ((start, cancel), feed) in starts.into_iter().zip(cancels).zip(feeds) {
            let job = self.jobs.get_mut(&start.job);
            match job.and_then(|job| job.task(&start, Some(feed))) {
                Some(task) => self.submit(start, task, cancel),
                None => self.take_back(start),
            }
        }
        self.answer(pump, |job| job.feed((pump, span), feeder));
    }

    fn take_back(&mut self, start: Start) {
        self.ask(schedule::Event::AttemptEnded {
            attempt: start.attempt,
            lease: start.lease,
            end: End::Cancelled,
        });
    }

    fn submit(&mut self, start: Start, task: Task, cancel: Cancel) {
        let (device, session) = (start.lease.device(), start.lease.session());
        let assignment = Assignment {
            job: start.job,
            attempt: start.attempt,
            lease: start.lease,
            task,
        };
        self.pool.submit(assignment, &cancel);
        let attempt = Attempt {
            job: start.job,
            task: start.task,
            device,
            session,
            cancel,
            started: Instant::now(),
            overdue: false,
            second: start.second,
        };
        self.attempts.insert(start.attempt, attempt);
    }

    fn abandon(&mut self, attempt: AttemptId, device: DeviceId) {
        let Some(attempt) = self.attempts.get(&attempt) else {
            return;
        };
        self.pool.abandon(device, attempt.session);
        let seconds = attempt.started.elapsed().as_secs();
        let error = EncodeError::Overdue { seconds };
        self.errors.insert(device, in_words(&error));
        let name = self.name(attempt.device);
        if let Some(job) = self.jobs.get_mut(&attempt.job) {
            job.abandoned(attempt.task, name, seconds);
        }
    }

    fn try_golden(&mut self, lease: Lease) {
        let task = self
            .golden
            .get(&lease.device())
            .and_then(|(rendition, depth)| golden::task(rendition, *depth).ok());
        match task {
            Some(task) => self.pool.submit_golden(lease, task),
            // Without a picture there is nothing to try it with, and nothing to trust.
            None => self.ask(schedule::Event::GoldenEnded {
                lease,
                passed: false,
            }),
        }
    }

    fn name(&self, device: DeviceId) -> crate::device::DeviceName {
        self.devices[device.place()].id.clone()
    }

    fn warn_all(&mut self, warning: &Warning) {
        for job in self.jobs.values_mut() {
            job.warn(warning.clone());
        }
    }

    fn tell_all(&mut self, event: &Event) {
        for job in self.jobs.values() {
            job.tell(event.clone());
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Whoever waits for a job is told that there is nobody left to run it.
        self.jobs.clear();
    }
}

/// What became of an attempt, for the schedule.
fn end_of<T>(result: &Result<T, EncodeError>, told_to_stop: bool) -> End {
    match result {
        Ok(_) => End::Done,
        Err(_) if told_to_stop => End::Cancelled,
        // The source could not be read on: the pump says why.
        Err(EncodeError::Starved) => End::Cancelled,
        Err(EncodeError::PicturesLost(_)) => End::PicturesLost,
        Err(error) if error.is_capacity() => End::Capacity,
        Err(_) => End::Failed,
    }
}

/// Told to whoever began the job.
pub(crate) fn say(to: &Sender<Word>, word: Word) {
    // A caller that is gone does not want to know.
    to.send(word).ok();
}
