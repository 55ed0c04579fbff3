//! The simulator's loop: a heap of what is due, a schedule that is told, and decisions that are carried out.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use rungs_engine::ids::{AttemptId, DeviceId, JobId, PumpId, SegmentIndex, TaskId};
use rungs_engine::schedule::{End, Event, Tick};

use super::fate;
use super::scenario::{Fault, Nanos, Scenario, nanos};
use super::scheduler::Scheduler;
use super::truth::{JobPhase, Out, PumpPhase, SpanTruth, Trust, Truth};
use super::vanish::Decode;
use crate::dice::Dice;

/// Longest virtual time without any progress before a run counts as standing still.
const STILL: Nanos = 4 * 3600 * 1_000_000_000;

/// Something that happens at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Arrive(usize),
    Stop(usize),
    /// A pump comes to its next span.
    Ask(PumpId),
    Decoded(PumpId),
    /// A pump has handed a span straight to attempts.
    Fed(PumpId),
    Break(PumpId),
    EndPump(PumpId, bool),
    Home(AttemptId),
    /// Pictures are lost.
    Vanish(Decode),
    GoldenHome(DeviceId),
    Lose(usize),
    Back(usize),
    Wake,
}

/// How a run is watched.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Keep every event and decision.
    pub log: bool,
    /// Let the schedule audit itself after every event.
    pub audit: bool,
    /// End the run at this time, whatever goes on.
    pub until: Option<Nanos>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log: false,
            audit: true,
            until: None,
        }
    }
}

/// What became of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The first thing that was wrong, if any.
    pub violation: Option<String>,
    /// Faults that happened, as bits of [`Fault`].
    pub hit: u32,
    /// Events that the schedule was told.
    pub events: u64,
    /// Tasks committed.
    pub committed: u64,
    /// When each job was finished.
    pub finished: Vec<Option<Nanos>>,
    /// Session time that each job got.
    pub busy: Vec<Nanos>,
    /// Jobs that were given up.
    pub given_up: u32,
    /// Every event and decision, if that was asked for.
    pub log: Vec<String>,
}

/// A run in progress.
pub(super) struct World<'a, S> {
    pub(super) scenario: &'a Scenario,
    pub(super) schedule: S,
    pub(super) truth: Truth,
    pub(super) dice: Dice,
    /// For pictures that are lost, so that nothing else changes where none are.
    pub(super) luck: Dice,
    pub(super) now: Nanos,
    pub(super) outcome: Outcome,
    pub(super) progress: Nanos,
    heap: BinaryHeap<Reverse<(Nanos, u64, Due)>>,
    pushed: u64,
    wake: Option<Nanos>,
    woken_in_vain: u32,
    settings: Settings,
    events_most: u64,
}

/// Runs a scenario to its end and judges it.
pub fn run<S: Scheduler>(scenario: &Scenario, schedule: S, settings: Settings) -> Outcome {
    let mut world = World::new(scenario, schedule, settings);
    if let Err(violation) = world.run() {
        world.note(|| format!("VIOLATION {violation}"));
        world.outcome.violation = Some(violation);
    }
    let jobs = &world.truth.jobs;
    world.outcome.finished = jobs.iter().map(|job| job.finished_at).collect();
    world.outcome.busy = jobs.iter().map(|job| job.busy).collect();
    world.outcome.given_up = jobs.iter().map(|job| u32::from(job.given_up)).sum();
    world.outcome
}

impl<'a, S: Scheduler> World<'a, S> {
    fn new(scenario: &'a Scenario, schedule: S, settings: Settings) -> Self {
        let tasks: usize = scenario
            .jobs
            .iter()
            .map(|j| j.spans.len() * j.speeds.len())
            .sum();
        let mut world = Self {
            scenario,
            schedule,
            truth: Truth::new(scenario),
            dice: Dice::new(scenario.seed),
            luck: Dice::new(scenario.seed).apart(1),
            now: 0,
            outcome: Outcome {
                hit: scenario.faults,
                ..Outcome::default()
            },
            progress: 0,
            heap: BinaryHeap::new(),
            pushed: 0,
            wake: None,
            woken_in_vain: 0,
            settings,
            events_most: 20_000 + 50 * tasks as u64,
        };
        world.plan();
        world
    }

    fn plan(&mut self) {
        for (place, job) in self.scenario.jobs.iter().enumerate() {
            self.push(job.arrives, Due::Arrive(place));
            if let Some(at) = job.stops {
                self.push(at.max(job.arrives), Due::Stop(place));
            }
        }
        for (place, device) in self.scenario.devices.iter().enumerate() {
            for trouble in &device.troubles {
                if matches!(trouble.fault, Fault::Loss | Fault::Return) {
                    self.push(trouble.from, Due::Lose(place));
                }
                if trouble.fault == Fault::Return {
                    self.push(trouble.until, Due::Back(place));
                }
            }
        }
    }

    pub(super) fn push(&mut self, at: Nanos, due: Due) {
        self.pushed += 1;
        self.heap.push(Reverse((at, self.pushed, due)));
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.settings.log {
            let line = format!("{:>13.6} {}", self.now as f64 / 1e9, line());
            self.outcome.log.push(line);
        }
    }

    fn run(&mut self) -> Result<(), String> {
        while let Some(Reverse((at, _, due))) = self.heap.pop() {
            let homecoming = matches!(due, Due::Home(_) | Due::GoldenHome(_));
            if self.truth.unfinished == 0 && !homecoming {
                continue;
            }
            if let Some(until) = self.settings.until
                && at > until
            {
                self.now = until;
                self.count_unended();
                return Ok(());
            }
            self.now = at;
            // An attempt that nobody waits for may come home a day later.
            if self.truth.unfinished > 0 && self.now > self.progress + STILL {
                return Err("stands still: nothing got on for hours".to_owned());
            }
            self.happen(due)?;
            if self.outcome.events > self.events_most {
                return Err("stands still: events without end".to_owned());
            }
        }
        if self.truth.unfinished > 0 {
            return Err("stands still: nothing is due, and a job has not ended".to_owned());
        }
        self.at_rest()
    }

    /// Session time of attempts that are still out.
    fn count_unended(&mut self) {
        for out in self.truth.out.values() {
            if let Some(job) = self.truth.jobs.get_mut(out.job.get() as usize) {
                job.busy += self.now - out.started;
            }
        }
    }

    fn happen(&mut self, due: Due) -> Result<(), String> {
        match due {
            Due::Arrive(place) => self.arrive(place),
            Due::Stop(place) => self.stop(place),
            Due::Ask(pump) => self.pump_comes_to_next(pump),
            Due::Decoded(pump) => self.decoded(pump),
            Due::Fed(pump) => self.fed(pump),
            Due::Break(pump) => self.pump_breaks(pump),
            Due::EndPump(pump, met_end) => self.pump_ends(pump, met_end),
            Due::Home(attempt) => self.home(attempt),
            Due::Vanish(decode) => {
                self.vanish(decode);
                Ok(())
            }
            Due::GoldenHome(device) => self.golden_home(device),
            Due::Lose(place) => self.lose(place),
            Due::Back(place) => self.back(place),
            Due::Wake => self.woken(),
        }
    }

    /// Tells the schedule, carries out what it decides, and checks what must hold in between.
    pub(super) fn tell(&mut self, event: Event) -> Result<(), String> {
        self.outcome.events += 1;
        self.note(|| format!("{event:?}"));
        let decisions = self
            .schedule
            .handle(Tick::new(Duration::from_nanos(self.now)), event);
        for decision in decisions {
            self.note(|| format!("  {decision:?}"));
            self.carry_out(decision)?;
        }
        if self.settings.audit {
            let audit = self.schedule.check();
            audit.map_err(|error| format!("audit: {error}"))?;
        }
        self.check_rest()?;
        let wake = self
            .schedule
            .wake_at()
            .map(|at| at.since_start().as_nanos() as Nanos);
        if let Some(at) = wake
            && self.wake != wake
        {
            self.push(at.max(self.now), Due::Wake);
        }
        self.wake = wake;
        Ok(())
    }

    fn woken(&mut self) -> Result<(), String> {
        let Some(at) = self.wake.filter(|at| *at <= self.now) else {
            return Ok(());
        };
        // So that the same moment, wished for again, is pushed again.
        self.wake = None;
        self.tell(Event::Woken)?;
        self.woken_in_vain = if self.wake == Some(at) {
            self.woken_in_vain + 1
        } else {
            0
        };
        if self.woken_in_vain > 3 {
            return Err(
                "stands still: wants to be woken at a time that has passed, again and again"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn arrive(&mut self, place: usize) -> Result<(), String> {
        self.truth.jobs[place].phase = JobPhase::Running;
        self.progress = self.now;
        let facts = Box::new(self.scenario.jobs[place].facts.clone());
        self.tell(Event::JobAdded {
            job: JobId::new(place as u32),
            facts,
        })
    }

    fn stop(&mut self, place: usize) -> Result<(), String> {
        if self.truth.jobs[place].phase != JobPhase::Running {
            return Ok(());
        }
        self.outcome.hit |= Fault::Stop.bit();
        self.stop_job(place)?;
        self.tell(Event::JobStopped {
            job: JobId::new(place as u32),
        })
    }

    /// What the shell does by itself when a job is stopped: it lets go of the pictures and hangs up on the pumps.
    pub(super) fn stop_job(&mut self, place: usize) -> Result<(), String> {
        let job = JobId::new(place as u32);
        self.truth.jobs[place].phase = JobPhase::Stopped;
        for span in 0..self.truth.jobs[place].spans.len() as u32 {
            if self.truth.jobs[place].span_is(span, SpanTruth::Held) {
                self.let_go(job, span, SpanTruth::Released)?;
            }
        }
        let waiting = |pump: &&mut super::truth::PumpTruth| {
            pump.job == job && matches!(pump.phase, PumpPhase::Asking | PumpPhase::Seeking)
        };
        for pump in self.truth.pumps.values_mut().filter(waiting) {
            pump.phase = PumpPhase::Ending;
        }
        let ending = self
            .truth
            .pumps
            .iter()
            .filter(|(_, p)| p.job == job && p.phase == PumpPhase::Ending);
        let ending: Vec<PumpId> = ending.map(|(id, _)| *id).collect();
        for pump in ending {
            let soon = self.now + nanos(self.dice.between(0.0, 0.2));
            self.push(soon, Due::EndPump(pump, false));
        }
        Ok(())
    }

    fn pump_comes_to_next(&mut self, id: PumpId) -> Result<(), String> {
        let Some(pump) = self.truth.pumps.get_mut(&id) else {
            return Ok(());
        };
        if pump.phase == PumpPhase::Ending {
            return Ok(());
        }
        let job = &self.scenario.jobs[pump.job.get() as usize];
        let stopped = self.truth.jobs[pump.job.get() as usize].phase != JobPhase::Running;
        let behind_last = pump.next as usize >= job.spans.len();
        if stopped || pump.until == Some(pump.next) || (behind_last && !job.asks_past_end) {
            pump.phase = PumpPhase::Ending;
            return self.pump_ends(id, behind_last);
        }
        pump.phase = PumpPhase::Asking;
        let bytes = job
            .spans
            .get(pump.next as usize)
            .map_or(0, |span| span.expected);
        let span = SegmentIndex::new(pump.next);
        if behind_last && self.dice.chance(0.3) {
            // It hears of the end before its credit comes.
            let soon = self.now + nanos(0.01);
            self.push(soon, Due::EndPump(id, true));
        }
        self.tell(Event::CreditAsked {
            pump: id,
            span,
            bytes,
        })
    }

    fn fed(&mut self, id: PumpId) -> Result<(), String> {
        if let Some(pump) = self.truth.pumps.get_mut(&id) {
            pump.next += 1;
            pump.phase = PumpPhase::Seeking;
            self.progress = self.now;
        }
        self.pump_comes_to_next(id)
    }

    fn decoded(&mut self, id: PumpId) -> Result<(), String> {
        let Some(pump) = self.truth.pumps.get_mut(&id) else {
            return Ok(());
        };
        let (job, place) = (pump.job, pump.next);
        let state = &mut self.truth.jobs[job.get() as usize];
        if state.phase != JobPhase::Running && self.dice.chance(0.5) {
            pump.phase = PumpPhase::Ending;
            return self.pump_ends(id, false);
        }
        pump.next += 1;
        pump.phase = PumpPhase::Seeking;
        let span = self.scenario.jobs[job.get() as usize].spans[place as usize];
        self.progress = self.now;
        if std::mem::take(&mut pump.granted) {
            self.truth.charged = self.truth.charged - span.expected + span.bytes;
            state.spans[place as usize] = SpanTruth::Held;
            state.pictures[place as usize].decode_again();
            if state.phase != JobPhase::Running {
                self.let_go(job, place, SpanTruth::Released)?;
            }
        } else if state.phase == JobPhase::Running {
            // It was there when the pump came to it. If it has been let go since, it is there again.
            let before = state.spans[place as usize];
            if matches!(before, SpanTruth::Unread | SpanTruth::Released) {
                self.truth.charged += span.bytes;
                state.held += 1;
                state.spans[place as usize] = SpanTruth::Held;
                state.pictures[place as usize].decode_again();
            }
        }
        self.push(self.now, Due::Ask(id));
        self.tell(Event::SpanReady {
            pump: id,
            span: SegmentIndex::new(place),
            bytes: span.bytes,
            seconds: span.seconds,
        })
    }

    /// A span is not held any more, or credit for it is void.
    pub(super) fn let_go(&mut self, job: JobId, span: u32, now: SpanTruth) -> Result<(), String> {
        let facts = self.scenario.jobs[job.get() as usize].spans[span as usize];
        let state = self.truth.job(job)?;
        let bytes = match state.spans[span as usize] {
            SpanTruth::Granted => facts.expected,
            SpanTruth::Held => facts.bytes,
            SpanTruth::Unread | SpanTruth::Fed | SpanTruth::Released => {
                return Err(format!("span {span} is not held"));
            }
        };
        state.spans[span as usize] = now;
        state.held -= 1;
        self.truth.charged -= bytes;
        Ok(())
    }

    fn pump_breaks(&mut self, id: PumpId) -> Result<(), String> {
        let Some(pump) = self.truth.pumps.get_mut(&id) else {
            return Ok(());
        };
        let job = pump.job;
        pump.phase = PumpPhase::Ending;
        self.outcome.hit |= Fault::Pump.bit();
        let ends_first = self.dice.chance(0.5);
        if ends_first {
            self.pump_ends(id, false)?;
        }
        if self.truth.job(job)?.phase == JobPhase::Running {
            self.stop_job(job.get() as usize)?;
            self.tell(Event::JobStopped { job })?;
        }
        if ends_first {
            Ok(())
        } else {
            self.pump_ends(id, false)
        }
    }

    /// Says that a pump has ended, unless that was said.
    fn pump_ends(&mut self, id: PumpId, met_end: bool) -> Result<(), String> {
        let Some(pump) = self.truth.pumps.remove(&id) else {
            return Ok(());
        };
        let place = pump.job.get() as usize;
        let state = &mut self.truth.jobs[place];
        state.pumps -= 1;
        if pump.granted {
            self.let_go(pump.job, pump.next, SpanTruth::Unread)?;
        }
        self.progress = self.now;
        let spans = self.scenario.jobs[place].spans.len() as u32;
        let spans_in_all = met_end.then_some(spans);
        self.tell(Event::PumpEnded {
            pump: id,
            spans_in_all,
        })
    }

    fn home(&mut self, id: AttemptId) -> Result<(), String> {
        if self
            .truth
            .out
            .get(&id)
            .is_none_or(|out| out.home != Some(self.now))
        {
            return Ok(());
        }
        let Some(out) = self.truth.out.remove(&id) else {
            return Ok(());
        };
        self.truth.lease(&out.lease, false)?;
        let (end, counts) = self.leaves_device(&out);
        if end == End::PicturesLost {
            self.hear_of_loss(&out)?;
        }
        let job = self.truth.job(out.job)?;
        if !out.abandoned {
            job.busy += self.now - out.started;
        }
        let running = job.phase == JobPhase::Running;
        if !out.abandoned {
            job.out -= 1;
        }
        // Another class makes its rendition now.
        let stale = job.class[out.task.rendition.place()] != out.class;
        let task = job.task(out.task)?;
        if !out.abandoned {
            task.out -= 1;
        }
        if counts && !stale {
            task.failed_on.push(out.lease.device());
        }
        if stale {
            // Whatever it gave, it does not count.
        } else if end == End::Done && out.abandoned {
            task.late = true;
        } else if end == End::Done && running && !task.done {
            task.done = true;
            job.left -= 1;
            self.outcome.committed += 1;
        }
        self.progress = self.now;
        self.settle_fed(out.job, out.task.span.get());
        self.tell(Event::AttemptEnded {
            attempt: id,
            lease: out.lease,
            end,
        })?;
        self.check_losers(out.job, out.task)
    }

    /// An attempt leaves its device: how it ends, and whether that counts as a failure of its task.
    fn leaves_device(&mut self, out: &Out) -> (End, bool) {
        let device = &mut self.truth.devices[out.lease.device().place()];
        device.running -= 1;
        self.truth.charged -= out.bytes;
        if out.abandoned {
            device.abandoned -= 1;
            self.outcome.hit |= Fault::Late.bit();
        } else {
            self.truth.working -= 1;
        }
        let end = if device.lost && out.end == End::Done {
            End::Failed
        } else {
            out.end
        };
        match end {
            End::Done => (device.failures, device.suspect) = (0, false),
            End::Capacity => device.suspect = true,
            _ => {}
        }
        let failed = end == End::Failed || (end == End::Cancelled && out.overdue);
        device.failures += u32::from(failed);
        // An attempt that was abandoned has counted already.
        (end, failed && !device.lost && !out.abandoned)
    }

    /// Once a task is done, its other attempts have been told to stop.
    fn check_losers(&mut self, job: JobId, task: TaskId) -> Result<(), String> {
        let state = self.truth.job(job)?.task(task)?;
        if !state.done || state.out == 0 {
            return Ok(());
        }
        let mut others = self
            .truth
            .out
            .values()
            .filter(|out| out.job == job && out.task == task);
        if others.any(|out| !out.cancelled) {
            return Err(format!("{task:?} is done, and another attempt goes on"));
        }
        Ok(())
    }

    fn golden_home(&mut self, id: DeviceId) -> Result<(), String> {
        let device = self.truth.device(id)?;
        let Some(lease) = device.golden.pop() else {
            return Ok(());
        };
        device.running -= 1;
        let lost = device.lost;
        self.truth.golden -= 1;
        self.truth.lease(&lease, false)?;
        let verdict = fate::of_golden(self.scenario, id.place(), self.now, &mut self.dice);
        if let Err(fault) = verdict {
            self.outcome.hit |= fault.bit();
        }
        let passed = verdict.is_ok() && !lost;
        if passed {
            self.truth.device(id)?.trust = Trust::Passed;
        }
        self.tell(Event::GoldenEnded { lease, passed })
    }

    fn lose(&mut self, place: usize) -> Result<(), String> {
        if self.truth.devices[place].lost {
            return Ok(());
        }
        self.truth.devices[place].lost = true;
        self.outcome.hit |= Fault::Loss.bit();
        let device = DeviceId::new(place as u16);
        let mut hit: Vec<AttemptId> = Vec::new();
        hit.extend(
            self.truth
                .out
                .iter()
                .filter(|(_, o)| o.lease.device() == device)
                .map(|(id, _)| *id),
        );
        hit.sort_unstable();
        for id in hit {
            let home = if self.dice.chance(1.0 - self.scenario.hangs_when_lost) {
                Some(self.now + nanos(self.dice.between(0.001, 2.0)))
            } else if self.dice.chance(0.5) {
                Some(self.now + nanos(self.dice.between(30.0, 600.0)))
            } else {
                None
            };
            if let Some(out) = self.truth.out.get_mut(&id) {
                out.home = home;
                out.deaf = home.is_none_or(|at| at > self.now + nanos(5.0));
                out.end = End::Failed;
            }
            if let Some(at) = home {
                self.push(at, Due::Home(id));
            }
        }
        self.tell(Event::DeviceLost { device })
    }

    fn back(&mut self, place: usize) -> Result<(), String> {
        if !self.truth.devices[place].lost {
            return Ok(());
        }
        self.truth.devices[place].lost = false;
        self.truth.devices[place].trust = Trust::Quarantined;
        self.outcome.hit |= Fault::Return.bit();
        self.tell(Event::DeviceBack {
            device: DeviceId::new(place as u16),
        })
    }

    /// What must hold when all jobs have ended and all that can come home is home.
    fn at_rest(&self) -> Result<(), String> {
        let hanging = || self.truth.out.values();
        // An attempt that hangs keeps the pictures of its decode.
        let spans: BTreeSet<(JobId, SegmentIndex, u32, bool)> = hanging()
            .map(|out| (out.job, out.task.span, out.decode, out.fed))
            .collect();
        let size = |(job, span, _, fed): (JobId, SegmentIndex, u32, bool)| {
            let job = &self.scenario.jobs[job.get() as usize];
            if fed {
                job.facts.fed_bytes
            } else {
                job.spans[span.get() as usize].bytes
            }
        };
        let bytes: u64 = hanging().map(|out| out.bytes).sum();
        let bytes = bytes + spans.into_iter().map(size).sum::<u64>();
        if let Some(charged) = self.schedule.charged()
            && charged != bytes
        {
            return Err(format!(
                "{charged} bytes are charged at the end, {bytes} of them to attempts that hang"
            ));
        }
        let all: u32 = self
            .scenario
            .machine
            .devices
            .iter()
            .map(|device| device.sessions)
            .sum();
        if let Some(free) = self.schedule.free_leases()
            && free > all as usize - hanging().count()
        {
            return Err(format!(
                "{free} leases are home of {all}, and {} are out",
                hanging().count()
            ));
        }
        Ok(())
    }
}
