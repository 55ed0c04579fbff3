//! Carries decisions out, as the engine's control would, and refuses those that no schedule may take.

use rungs_engine::device::Lease;
use rungs_engine::ids::{AttemptId, DeviceId, JobId, PumpId, RenditionId, SegmentIndex, TaskId};
use rungs_engine::schedule::{Ability, Decision, End, Start, Tick};

use super::fate::{self, Try};
use super::scenario::{FakeJob, Fault, Nanos, nanos};
use super::scheduler::Scheduler;
use super::truth::{JobPhase, JobTruth, Out, PumpPhase, PumpTruth, SpanTruth, Trust};
use super::world::{Due, World};

/// A job may be passed over for this many of the longest tasks.
const PATIENCE: f64 = 25.0;

/// Refuses with the words if the condition does not hold.
macro_rules! must {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

/// A stretch of the source that a pump shall read.
struct Stretch {
    from: SegmentIndex,
    until: Option<SegmentIndex>,
}

impl<S: Scheduler> World<'_, S> {
    pub(super) fn carry_out(&mut self, decision: Decision) -> Result<(), String> {
        match decision {
            Decision::StartPump {
                job,
                pump,
                from,
                until,
            } => self.start_pump(job, pump, &Stretch { from, until }),
            Decision::Grant { pump, span } => self.grant(pump, span),
            Decision::Feed { pump, span, starts } => self.feed(pump, span, starts),
            Decision::EndPump { pump } => self.end_pump(pump),
            Decision::Start(start) => self.start(start, None),
            Decision::Cancel { attempt, .. } => self.cancel(attempt),
            Decision::Abandon { attempt, device } => self.abandon(attempt, device),
            Decision::Golden { lease } => self.golden(lease),
            Decision::Release { job, span } => self.release(job, span),
            Decision::LetGo { job, span } => self.let_go_lost(job, span),
            Decision::GiveUp {
                job,
                task,
                failed_on,
            } => self.give_up(job, task, &failed_on),
            Decision::TakeOver {
                job,
                rendition,
                class,
            } => self.take_over(job, rendition, class),
            Decision::Quarantined { device, until } => self.quarantined(device, until),
            Decision::Readmitted { device } => {
                let device = self.truth.device(device)?;
                must!(
                    device.trust == Trust::Passed,
                    "readmitted without a golden task"
                );
                must!(!device.lost, "a lost device is readmitted");
                device.trust = Trust::Trusted;
                Ok(())
            }
            Decision::CapacityLowered { device, sessions } => {
                let facts = self.truth.device(device)?;
                facts.sessions = sessions;
                Ok(())
            }
            Decision::Finished { job } => self.finished(job),
        }
    }

    /// Another class makes a rendition: the next one that can, where nothing is done, and the class before cannot.
    fn take_over(
        &mut self,
        job: JobId,
        rendition: RenditionId,
        class: usize,
    ) -> Result<(), String> {
        let place = rendition.place();
        let successors = &self.scenario.jobs[job.get() as usize].facts.loads[place].successors;
        let abilities = successors.get(class);
        let abilities = abilities.ok_or_else(|| format!("there is no class {class}"))?;
        let state = self.running_job(job)?;
        must!(
            !state.has_begun(rendition),
            "{rendition:?} is taken over, and something of it is done"
        );
        must!(
            class >= state.class[place],
            "{rendition:?} goes back to class {class}"
        );
        let own = state.tasks.iter().skip(place).step_by(state.renditions);
        let failed = own.clone().any(|task| !task.failed_on.is_empty());
        let before = std::mem::replace(&mut state.abilities[place], abilities.clone());
        state.class[place] = class + 1;
        let own = state.tasks.iter_mut().skip(place);
        for task in own.step_by(state.renditions) {
            task.failed_on.clear();
        }
        let able = self.truth.devices.iter().zip(before);
        let mut able = able.filter(|(_, ability)| ability.is_some());
        let open =
            able.any(|(d, _)| !d.lost && d.trust == Trust::Trusted && d.abandoned < d.sessions);
        must!(
            failed || !open,
            "{rendition:?} is taken over, and nothing is wrong with its class"
        );
        Ok(())
    }

    /// Whether another class could take a rendition over, with a device that is trusted.
    fn may_take_over(&self, job: JobId, rendition: RenditionId) -> bool {
        let place = rendition.place();
        let state = &self.truth.jobs[job.get() as usize];
        let successors = &self.scenario.jobs[job.get() as usize].facts.loads[place].successors;
        let usable = |abilities: &Vec<Option<Ability>>| {
            let mut devices = self.truth.devices.iter().zip(abilities);
            devices.any(|(d, ability)| {
                ability.is_some()
                    && !d.lost
                    && d.trust == Trust::Trusted
                    && d.abandoned < d.sessions
            })
        };
        let mut left = successors.iter().skip(state.class[place]);
        !state.has_begun(rendition) && left.any(usable)
    }

    /// A device is shut: for what went wrong there since it did well last, never for what others did.
    fn quarantined(&mut self, device: DeviceId, until: Tick) -> Result<(), String> {
        must!(
            until.since_start().as_nanos() as u64 >= self.now,
            "quarantine into the past"
        );
        let strikes = self.scenario.machine.rules.strikes;
        let device = self.truth.device(device)?;
        must!(!device.lost, "a lost device is quarantined");
        must!(
            device.trust != Trust::Trusted || device.suspect || device.failures >= strikes,
            "a device is quarantined after {} failures",
            device.failures
        );
        device.trust = Trust::Quarantined;
        (device.failures, device.suspect) = (0, false);
        Ok(())
    }

    fn running_job(&mut self, job: JobId) -> Result<&mut JobTruth, String> {
        let state = self.truth.job(job)?;
        must!(
            state.phase == JobPhase::Running,
            "something new for job {job}, which is {:?}",
            state.phase
        );
        Ok(state)
    }

    fn start_pump(&mut self, job: JobId, id: PumpId, stretch: &Stretch) -> Result<(), String> {
        let (from, until) = (stretch.from.get(), stretch.until.map(SegmentIndex::get));
        let source = &self.scenario.jobs[job.get() as usize];
        // What was fed in vain is decoded again by a pump of its own, while the others wait.
        let state = self.running_job(job)?;
        state.pumps += 1;
        must!(
            state.pumps <= source.facts.decoders.max(1) + 1,
            "{} pumps for job {job}",
            state.pumps
        );
        must!(
            until.is_none_or(|until| until > from),
            "a pump without a stretch"
        );
        must!(
            !self.truth.pumps.contains_key(&id),
            "pump {id} exists already"
        );
        let cut = source
            .facts
            .cuts
            .iter()
            .find(|cut| cut.span == stretch.from);
        must!(
            cut.is_some() || from == 0,
            "a pump starts at {from}, which is no cut"
        );
        let rate = source
            .spans
            .first()
            .map_or(0.0, |span| span.decode / span.seconds);
        let seek = 0.02 + cut.map_or(0.0, |cut| cut.waste) * rate;
        let pump = PumpTruth {
            job,
            next: from,
            until,
            phase: PumpPhase::Seeking,
            granted: false,
        };
        self.truth.pumps.insert(id, pump);
        self.push(self.now + nanos(seek), Due::Ask(id));
        Ok(())
    }

    fn grant(&mut self, id: PumpId, span: SegmentIndex) -> Result<(), String> {
        let pump = self
            .truth
            .pumps
            .get_mut(&id)
            .ok_or("credit for a pump that does not exist")?;
        must!(
            pump.phase == PumpPhase::Asking,
            "credit for a pump that is {:?}",
            pump.phase
        );
        must!(
            pump.next == span.get(),
            "credit for span {span}, asked for was {}",
            pump.next
        );
        pump.phase = PumpPhase::Decoding;
        let (job, place) = (pump.job, pump.next);
        let source = &self.scenario.jobs[job.get() as usize];
        let Some(facts) = source.spans.get(place as usize).copied() else {
            self.push(self.now + nanos(0.01), Due::EndPump(id, true));
            return Ok(());
        };
        // One that has come to the end of its stretch asks for nothing more.
        let reads = |p: &&PumpTruth| {
            p.phase != PumpPhase::Ending && p.until.is_none_or(|until| p.next < until)
        };
        let pumps = self.truth.pumps.values().filter(|p| p.job == job);
        let earliest = pumps.filter(reads);
        let earliest = earliest.map(|p| p.next).min() == Some(place);
        let due = match source.breaks_at {
            Some(at) if at == place => Due::Break(id),
            _ => Due::Decoded(id),
        };
        self.push(self.now + nanos(facts.decode), due);
        let state = self.running_job(job)?;
        let before = state.spans[place as usize];
        let done = state
            .tasks_of(place)
            .iter()
            .all(|task| task.done || task.late);
        match before {
            SpanTruth::Unread => {}
            SpanTruth::Released if done => {}
            // Decoded through, on the way to a span that is fed again.
            SpanTruth::Held | SpanTruth::Fed => return Ok(()),
            SpanTruth::Released | SpanTruth::Granted => {
                return Err(format!("credit for span {span}, which is {before:?}"));
            }
        }
        state.spans[place as usize] = SpanTruth::Granted;
        state.held += 1;
        if let Some(pump) = self.truth.pumps.get_mut(&id) {
            pump.granted = true;
        }
        self.truth.charged += facts.expected;
        let over = self.truth.charged > self.scenario.machine.memory;
        must!(
            !over || earliest,
            "span {span} overdraws the budget, and its pump is not the job's earliest"
        );
        self.check_overdraft()
    }

    /// A span goes straight to its attempts.
    fn feed(&mut self, id: PumpId, span: SegmentIndex, starts: Vec<Start>) -> Result<(), String> {
        let pump = self
            .truth
            .pumps
            .get_mut(&id)
            .ok_or("a pump that does not exist feeds")?;
        must!(
            pump.phase == PumpPhase::Asking && pump.next == span.get(),
            "a pump feeds span {span}, and is {:?} at {}",
            pump.phase,
            pump.next
        );
        pump.phase = PumpPhase::Decoding;
        let (job, place) = (pump.job, pump.next);
        let source = &self.scenario.jobs[job.get() as usize];
        let Some(facts) = source.spans.get(place as usize) else {
            self.push(self.now + nanos(0.01), Due::EndPump(id, true));
            must!(starts.is_empty(), "attempts are fed from behind the end");
            return Ok(());
        };
        let breaks = source.breaks_at == Some(place);
        let at = self.now + nanos(facts.decode);
        self.push(at, if breaks { Due::Break(id) } else { Due::Fed(id) });
        let state = self.running_job(job)?;
        if starts.is_empty() {
            return Ok(());
        }
        let before = state.spans[place as usize];
        must!(
            before == SpanTruth::Unread,
            "span {span} is fed, and is {before:?}"
        );
        state.spans[place as usize] = SpanTruth::Fed;
        state.pictures[place as usize].decode_again();
        state.held += 1;
        self.truth.charged += source.facts.fed_bytes;
        for start in starts {
            self.start(start, Some(at))?;
        }
        Ok(())
    }

    /// A span that is fed is over when none of its attempts is out.
    pub(super) fn settle_fed(&mut self, job: JobId, span: u32) {
        let state = &mut self.truth.jobs[job.get() as usize];
        let tasks = state.tasks_of(span);
        if !state.span_is(span, SpanTruth::Fed) || tasks.iter().any(|task| task.out > 0) {
            return;
        }
        let done = tasks.iter().all(|task| task.done || task.late);
        state.spans[span as usize] = if done {
            SpanTruth::Released
        } else {
            SpanTruth::Unread
        };
        state.held -= 1;
        self.truth.charged -= self.scenario.jobs[job.get() as usize].facts.fed_bytes;
    }

    /// However tight the memory: a span and an encoder for each job beyond it, and what look-aheads did not see.
    fn check_overdraft(&self) -> Result<(), String> {
        let memory = self.scenario.machine.memory;
        if self.truth.charged <= memory {
            return Ok(());
        }
        let mut allowed = memory;
        for (job, state) in self.scenario.jobs.iter().zip(&self.truth.jobs) {
            let largest = job
                .spans
                .iter()
                .map(|span| span.expected.max(span.bytes))
                .max()
                .unwrap_or(0);
            let encoders = job
                .facts
                .loads
                .iter()
                .flat_map(|load| std::iter::once(&load.abilities).chain(&load.successors))
                .flat_map(|abilities| abilities.iter().flatten());
            allowed += largest + encoders.map(|ability| ability.bytes).max().unwrap_or(0);
            for (span, held) in job.spans.iter().zip(&state.spans) {
                if *held == SpanTruth::Held {
                    allowed += span.bytes.saturating_sub(span.expected);
                }
            }
        }
        let hanging: u64 = self
            .truth
            .out
            .values()
            .filter(|out| out.abandoned)
            .map(|out| out.bytes)
            .sum();
        must!(
            self.truth.charged <= allowed + hanging,
            "{} bytes are in use, the budget is {memory}",
            self.truth.charged
        );
        Ok(())
    }

    fn end_pump(&mut self, id: PumpId) -> Result<(), String> {
        let pump = self
            .truth
            .pumps
            .get_mut(&id)
            .ok_or("the end of a pump that does not exist")?;
        if pump.phase == PumpPhase::Ending {
            // It was hung up on already.
            return Ok(());
        }
        must!(
            pump.phase == PumpPhase::Asking,
            "the end of a pump that is {:?}",
            pump.phase
        );
        pump.phase = PumpPhase::Ending;
        self.push(self.now + nanos(0.001), Due::EndPump(id, false));
        Ok(())
    }

    /// An attempt goes out; one that is fed does not end before `fed`, when the span has been decoded.
    fn start(&mut self, start: Start, fed: Option<Nanos>) -> Result<(), String> {
        let bytes = self.check_start(&start, fed.is_some())?;
        let Start {
            job,
            task,
            attempt,
            lease,
            ..
        } = start;
        let id = lease.device();
        let in_use = self.truth.device(id)?.running;
        let place = job.get() as usize;
        let attempt_at = Try {
            job: place,
            task,
            device: id,
            in_use,
            now: self.now,
        };
        let mut fate = fate::of(self.scenario, attempt_at, &mut self.dice);
        if fate.end == End::Done {
            fate.home = fate.home.map(|home| home.max(fed.unwrap_or(0) + 1));
        }
        self.doom(attempt_at, &mut fate);
        self.outcome.hit |= fate.hit;
        if let Some(home) = fate.home {
            self.push(home, Due::Home(attempt));
        }
        let out = Out {
            job,
            task,
            lease,
            bytes,
            started: self.now,
            home: fate.home,
            end: fate.end,
            deaf: fate.deaf,
            cancelled: false,
            overdue: false,
            abandoned: false,
            fed: fed.is_some(),
            decode: self.truth.job(job)?.pictures[task.span.get() as usize].decode,
            class: self.truth.job(job)?.class[task.rendition.place()],
        };
        must!(
            self.truth.out.insert(attempt, out).is_none(),
            "attempt {attempt} exists already"
        );
        self.truth.device(id)?.running += 1;
        self.truth.working += 1;
        self.truth.charged += bytes;
        let state = self.truth.job(job)?;
        state.out += 1;
        state.passed_over = 0.0;
        state.task(task)?.out += 1;
        self.check_overdraft()?;
        if fate.end == End::Capacity {
            // It takes no time.
            return Ok(());
        }
        self.pass_over(place, id, task)
    }

    /// Refuses an attempt that must not start; gives the bytes of its encoder.
    fn check_start(&mut self, start: &Start, fed: bool) -> Result<u64, String> {
        let Start { job, task, .. } = *start;
        let judged = self.schedule.is_judged();
        self.truth.lease(&start.lease, true)?;
        let state = self.running_job(job)?;
        let source = if fed { SpanTruth::Fed } else { SpanTruth::Held };
        must!(
            state.span_is(task.span.get(), source),
            "{task:?} starts without its span"
        );
        must!(
            !judged || !state.pictures[task.span.get() as usize].known,
            "{task:?} starts though its pictures are lost"
        );
        let known = state.task(task)?;
        must!(!known.done, "{task:?} starts though it is done");
        must!(known.out < 2, "a third attempt of {task:?}");
        must!(
            start.second == (known.out > 0),
            "{task:?} has {} attempts out, second is {}",
            known.out,
            start.second
        );
        let failures = known.failed_on.len();
        must!(
            start.failures as usize <= failures,
            "{} failures are counted, {failures} were",
            start.failures
        );
        must!(
            !judged || failures <= self.scenario.machine.rules.attempts as usize + 2,
            "{task:?} is tried for the {failures}th time"
        );
        self.check_place(start, judged, fed)
    }

    /// Refuses an attempt where it must not start; gives the bytes of its encoder.
    fn check_place(&mut self, start: &Start, judged: bool, fed: bool) -> Result<u64, String> {
        let Start { job, task, .. } = *start;
        let id = start.lease.device();
        let device = self.truth.device(id)?;
        must!(!device.lost, "{task:?} starts on a device that is lost");
        must!(
            device.trust == Trust::Trusted || !judged,
            "{task:?} starts on a device that is {:?}",
            device.trust
        );
        let abilities = &self.truth.job(job)?.abilities;
        let ability = abilities[task.rendition.place()][id.place()];
        let bytes = ability
            .ok_or_else(|| format!("{id:?} cannot do {task:?}"))?
            .bytes;
        let over = self.truth.charged + bytes > self.scenario.machine.memory;
        must!(
            !over || fed || self.truth.working == 0,
            "{task:?} overdraws the budget while others run"
        );
        Ok(bytes)
    }

    /// Counts what other jobs get while a job could have had the device, and refuses too much of it.
    fn pass_over(&mut self, winner: usize, device: DeviceId, task: TaskId) -> Result<(), String> {
        // Where speeds are not what they are said to be, or memory is short, shares may be off for long.
        let unsure = Fault::Speeds.bit() | Fault::Memory.bit() | Fault::Large.bit();
        if self.truth.jobs.len() < 2 || self.scenario.faults & unsure != 0 {
            return Ok(());
        }
        let jobs = &self.scenario.jobs;
        let length = |job: &FakeJob| {
            let speeds = job.speeds.iter().flatten().copied();
            4.0 * speeds.fold(0.0, f64::max) / job.facts.weight
        };
        let most = PATIENCE * jobs.iter().map(length).fold(0.0, f64::max);
        let seconds = jobs[winner].speeds[task.rendition.place()][device.place()] * 4.0;
        let winner_had = self.truth.jobs[winner].busy as f64 / jobs[winner].facts.weight;
        for (place, state) in self.truth.jobs.iter_mut().enumerate() {
            if place == winner || state.phase != JobPhase::Running {
                continue;
            }
            let waits = state.tasks.iter().enumerate().any(|(n, task)| {
                let span = n / state.renditions;
                let held = state.spans[span] == SpanTruth::Held && !state.pictures[span].known;
                let able = state.abilities[n % state.renditions][device.place()].is_some();
                held && able && !task.done && task.out == 0 && task.failed_on.is_empty()
            });
            // What hung has been had, too.
            let in_debt = state.busy as f64 / jobs[place].facts.weight > winner_had;
            if waits && !in_debt {
                state.passed_over += seconds / jobs[winner].facts.weight;
                let starves = state.passed_over > most;
                must!(!starves, "job {place} starves while others get sessions");
            }
        }
        Ok(())
    }

    fn cancel(&mut self, id: AttemptId) -> Result<(), String> {
        let soon = if self.dice.chance(0.03) {
            30.0
        } else {
            self.dice.between(0.001, 0.5)
        };
        let soon = self.now + nanos(soon);
        let out = self
            .truth
            .out
            .get_mut(&id)
            .ok_or_else(|| format!("attempt {id} is cancelled, and not out"))?;
        must!(!out.cancelled, "attempt {id} is cancelled twice");
        out.cancelled = true;
        let (job, task, class) = (out.job, out.task, out.class);
        if !out.deaf && out.home.is_none_or(|home| home > soon) {
            out.home = Some(soon);
            out.end = End::Cancelled;
            self.push(soon, Due::Home(id));
        }
        // The task still needs doing, so the attempt is overdue: it counts as one that failed.
        let state = self.truth.job(job)?;
        let running = state.phase == JobPhase::Running;
        // What another class makes now is not wanted any more, and nobody is blamed.
        let wanted = state.class[task.rendition.place()] == class;
        let overdue = running && wanted && !state.task(task)?.done;
        if let Some(out) = self.truth.out.get_mut(&id) {
            out.overdue = overdue;
        }
        Ok(())
    }

    fn abandon(&mut self, id: AttemptId, device: DeviceId) -> Result<(), String> {
        let out = self
            .truth
            .out
            .get_mut(&id)
            .ok_or_else(|| format!("attempt {id} is abandoned, and not out"))?;
        must!(
            out.lease.device() == device,
            "attempt {id} is not on {device:?}"
        );
        must!(
            out.cancelled,
            "attempt {id} is abandoned before it was told to stop"
        );
        must!(!out.abandoned, "attempt {id} is abandoned twice");
        out.abandoned = true;
        let (job, id_of, overdue) = (out.job, out.task, out.overdue);
        let took = self.now - out.started;
        self.outcome.hit |= Fault::Hang.bit();
        self.truth.working -= 1;
        let facts = self.truth.device(device)?;
        facts.abandoned += 1;
        facts.suspect = true;
        let lost = facts.lost;
        let state = self.truth.job(job)?;
        state.out -= 1;
        state.busy += took;
        let task = state.task(id_of)?;
        task.out -= 1;
        if !lost && overdue {
            task.failed_on.push(device);
        }
        self.settle_fed(job, id_of.span.get());
        self.progress = self.now;
        Ok(())
    }

    fn golden(&mut self, lease: Lease) -> Result<(), String> {
        let id = lease.device();
        self.truth.lease(&lease, true)?;
        let device = self.truth.device(id)?;
        must!(!device.lost, "a golden task on a device that is lost");
        must!(
            device.trust != Trust::Trusted,
            "a golden task on a device that is trusted"
        );
        device.golden.push(lease);
        device.running += 1;
        self.truth.golden += 1;
        let at = self.now + nanos(self.dice.between(0.05, 2.0));
        self.push(at, Due::GoldenHome(id));
        Ok(())
    }

    fn release(&mut self, job: JobId, span: SegmentIndex) -> Result<(), String> {
        let state = self.truth.job(job)?;
        if state.phase == JobPhase::Stopped {
            return Ok(());
        }
        let undone = state
            .tasks_of(span.get())
            .iter()
            .any(|task| !task.done && !task.late);
        must!(
            !undone,
            "span {span} is released, and not all of its tasks are done"
        );
        must!(
            state.span_is(span.get(), SpanTruth::Held),
            "span {span} is released, and not held"
        );
        self.let_go(job, span.get(), SpanTruth::Released)
    }

    fn give_up(&mut self, job: JobId, task: TaskId, failed_on: &[DeviceId]) -> Result<(), String> {
        self.check_give_up(job, task, failed_on)?;
        self.truth.job(job)?.given_up = true;
        self.stop_job(job.get() as usize)
    }

    /// A job may be given up when a task failed often enough on enough devices, or when nothing is left that can do it.
    fn check_give_up(
        &mut self,
        job: JobId,
        task: TaskId,
        failed_on: &[DeviceId],
    ) -> Result<(), String> {
        let attempts = self.scenario.machine.rules.attempts as usize;
        let abilities = self.truth.job(job)?.abilities.get(task.rendition.place());
        let abilities = abilities.cloned().unwrap_or_default();
        must!(
            !self.may_take_over(job, task.rendition),
            "{task:?} is given up, and another class could make its rendition"
        );
        let state = self.running_job(job)?;
        let known = state.task(task)?.clone();
        must!(!known.done, "{task:?} is given up though it is done");
        let devices = || {
            self.truth
                .devices
                .iter()
                .zip(&abilities)
                .zip(0..)
                .filter(|((_, ability), _)| ability.is_some())
        };
        if failed_on.len() < attempts {
            let left = devices().filter(|((d, _), _)| {
                !d.lost && d.trust == Trust::Trusted && d.abandoned < d.sessions
            });
            must!(
                left.count() == 0,
                "given up after {} failures, and a device is left",
                failed_on.len()
            );
            return Ok(());
        }
        must!(
            known.failed_on.len() >= failed_on.len(),
            "{failed_on:?} did not all fail {task:?}"
        );
        for device in failed_on {
            must!(
                known.failed_on.contains(device),
                "{device:?} did not fail {task:?}"
            );
        }
        let other = devices().filter(|((d, _), place)| {
            !d.lost
                && d.trust == Trust::Trusted
                && d.abandoned == 0
                && !failed_on.contains(&DeviceId::new(*place))
        });
        let several = failed_on.iter().any(|device| *device != failed_on[0]);
        must!(
            several || other.count() == 0,
            "given up after tries on one device, and another is left"
        );
        Ok(())
    }

    fn finished(&mut self, job: JobId) -> Result<(), String> {
        let state = self.truth.job(job)?;
        must!(
            matches!(state.phase, JobPhase::Running | JobPhase::Stopped),
            "job {job} is finished again"
        );
        must!(
            state.out == 0,
            "job {job} is finished, and {} attempts are out",
            state.out
        );
        must!(
            state.pumps == 0,
            "job {job} is finished, and {} pumps read",
            state.pumps
        );
        if state.phase == JobPhase::Running {
            let late = state
                .tasks
                .iter()
                .filter(|task| task.late && !task.done)
                .count();
            must!(
                state.left <= late,
                "job {job} is finished, and {} tasks are not done",
                state.left
            );
            must!(
                state.held == 0,
                "job {job} is finished, and {} spans are held",
                state.held
            );
        }
        state.phase = JobPhase::Finished;
        self.truth.unfinished -= 1;
        self.progress = self.now;
        let now = self.now;
        self.truth.job(job)?.finished_at = Some(now);
        Ok(())
    }

    /// What must hold whenever the schedule has decided.
    pub(super) fn check_rest(&mut self) -> Result<(), String> {
        for (place, job) in self.truth.jobs.iter().enumerate() {
            if job.phase != JobPhase::Running || job.held > 0 || job.pumps == 0 {
                continue;
            }
            let mut pumps = self
                .truth
                .pumps
                .values()
                .filter(|pump| pump.job.get() as usize == place);
            let spans = job.spans.len() as u32;
            let source = &self.scenario.jobs[place];
            let loads = source.facts.loads.iter();
            let classes =
                loads.flat_map(|load| std::iter::once(&load.abilities).chain(&load.successors));
            let abilities = classes.flat_map(|abilities| abilities.iter().flatten());
            let encoder = abilities.map(|ability| ability.bytes).max().unwrap_or(0);
            let fits = |span: u32| {
                let bytes = source.spans[span as usize].expected;
                bytes + bytes.max(encoder) <= self.scenario.machine.memory
            };
            let waits = |pump: &PumpTruth| pump.phase == PumpPhase::Asking && pump.next < spans;
            let stuck = pumps.all(|pump| waits(pump) && fits(pump.next));
            must!(
                !stuck,
                "job {place} holds nothing, and its pumps wait for credit"
            );
        }
        if self.truth.working == 0 && self.truth.golden == 0 {
            self.check_idle()?;
        }
        self.check_lost()
    }

    /// Nothing runs: then nothing that could run may wait.
    fn check_idle(&self) -> Result<(), String> {
        for state in &self.truth.jobs {
            if state.phase != JobPhase::Running {
                continue;
            }
            for (place, task) in state.tasks.iter().enumerate() {
                let (span, rendition) = (place / state.renditions, place % state.renditions);
                if task.done || task.late || state.spans[span] != SpanTruth::Held {
                    continue;
                }
                let abilities = &state.abilities[rendition];
                must!(
                    !self.is_able_idle(abilities, &task.failed_on),
                    "nothing runs, and a device could do span {span}, rendition {rendition}"
                );
            }
        }
        Ok(())
    }

    /// Whether a device that can do a task, and has not had all of its tries, is free.
    fn is_able_idle(&self, abilities: &[Option<Ability>], failed_on: &[DeviceId]) -> bool {
        let tries_left = failed_on.len() < self.scenario.machine.rules.attempts as usize;
        let devices = self.truth.devices.iter().zip(abilities).zip(0..);
        devices
            .filter(|((_, ability), _)| ability.is_some())
            .filter(|((_, _), place)| tries_left || !failed_on.contains(&DeviceId::new(*place)))
            .any(|((d, _), _)| {
                !d.lost && d.trust == Trust::Trusted && d.running == 0 && d.abandoned == 0
            })
    }
}
