//! What happens when attempts fail, devices misbehave, and time runs out.

use super::alarms::Alarm;
use super::attempts::{Attempt, Phase};
use super::devices::{Device, Standing};
use super::facts::Tick;
use super::jobs::Job;
use super::planted::Bug;
use super::{Decision, Schedule};
use crate::device::Lease;
use crate::ids::{AttemptId, DeviceId, JobId, TaskId};
use std::collections::BTreeSet;
use std::time::Duration;

/// Golden tasks that a device may fail in a row while jobs still hope for it.
const GOLDEN_TRIES: u32 = 6;
/// Quarantines in a row, without a task done in between, after which jobs do not hope that the device comes back.
const RELAPSES: u32 = 8;
/// Attempts that are late and looked at, at each event.
const LATE: usize = 8;

impl Device {
    /// It gets tasks.
    pub(super) fn is_open(&self) -> bool {
        self.standing == Standing::Open && self.alive() > 0
    }

    /// It gets tasks, or may again.
    pub(super) fn is_hopeful(&self) -> bool {
        let trusted = match self.standing {
            Standing::Open => true,
            Standing::Quarantined { .. } => {
                self.golden_failures < GOLDEN_TRIES && self.relapses <= RELAPSES
            }
            Standing::Gone => false,
        };
        trusted && self.alive() > 0
    }
}

impl Schedule {
    pub(super) fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Late(id) => self.is_late(id),
            Alarm::Overdue(id) => self.is_overdue(id),
            Alarm::Grace(id) => self.abandon(id),
            Alarm::Golden(id) => {
                if matches!(self.devices.get(id).standing, Standing::Quarantined { until } if until <= self.now)
                {
                    self.golden_due.insert(id);
                }
            }
            Alarm::GoldenOverdue(id) => self.golden_overdue(id),
            Alarm::Roomier(id) => self.roomier(id),
        }
    }

    fn is_overdue(&mut self, id: AttemptId) {
        if self.has(Bug::NeverOverdue) {
            return;
        }
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.overdue = true;
        }
        self.cancel(id);
    }

    /// An attempt failed, or did not end in time.
    pub(super) fn failed(&mut self, attempt: &Attempt) {
        let twice = self.has(Bug::CountTwice);
        let Some(job) = self.jobs.get_mut(&attempt.job) else {
            self.strike(attempt);
            return;
        };
        if job.stopped || job.done.contains(&attempt.task) {
            self.strike(attempt);
            return;
        }
        let state = job.tasks.entry(attempt.task).or_default();
        state.failed_on.push(attempt.device);
        if twice {
            state.failed_on.push(attempt.device);
        }
        let failed_on = state.failed_on.clone();
        if failed_on.iter().any(|device| *device != attempt.device) {
            // Several devices failed it: the task is to blame.
            let key = (attempt.job, attempt.task);
            for device in failed_on {
                self.devices
                    .change(device, |device| device.strikes.retain(|by| *by != key));
            }
        } else {
            self.strike(attempt);
        }
        self.try_again(attempt);
    }

    /// After a failure: the task waits again, or its job is given up.
    pub(super) fn try_again(&mut self, attempt: &Attempt) {
        let (id, task) = (attempt.job, attempt.task);
        let state = self.jobs.get(&id).and_then(|job| job.tasks.get(&task));
        if state.is_some_and(|state| !state.out.is_empty()) {
            return;
        }
        if self.is_exhausted(id, task) && !self.take_over(id, task.rendition, Device::is_hopeful) {
            self.give_up(id, task);
        } else if !self.has(Bug::ForgetRequeue) {
            self.requeue(attempt);
        }
    }

    fn is_exhausted(&self, job: JobId, task: TaskId) -> bool {
        let job = &self.jobs[&job];
        let Some(state) = job.tasks.get(&task) else {
            return false;
        };
        let failed = state.failed_on.len() as u32 + u32::from(self.has(Bug::GiveUpSoon));
        failed >= self.rules.attempts
            && !(failed == self.rules.attempts
                && one_device(&state.failed_on)
                && self.hope_besides(job, task, &state.failed_on) > 0)
    }

    /// It may only be tried on a device that has not failed it.
    pub(super) fn needs_another(&self, failed_on: &[DeviceId]) -> bool {
        failed_on.len() as u32 >= self.rules.attempts
    }

    /// Open devices that can do the task and have not failed it.
    pub(super) fn others_for(&self, job: &Job, task: TaskId, failed_on: &[DeviceId]) -> u32 {
        let open = self.able(job, (task, failed_on), Device::is_open);
        job.open[task.rendition.place()].saturating_sub(open)
    }

    /// Devices that can do the task, or may be able to again, and have not failed it.
    fn hope_besides(&self, job: &Job, task: TaskId, failed_on: &[DeviceId]) -> u32 {
        let hopeful = self.able(job, (task, failed_on), Device::is_hopeful);
        job.hope[task.rendition.place()].saturating_sub(hopeful)
    }

    /// Of the devices that failed a task, those that can do it and are so.
    fn able(
        &self,
        job: &Job,
        (task, among): (TaskId, &[DeviceId]),
        is: impl Fn(&Device) -> bool,
    ) -> u32 {
        let different: BTreeSet<&DeviceId> = among.iter().collect();
        let counts = |id: &&&DeviceId| {
            is(self.devices.get(***id)) && job.speeds.ability(***id, task.rendition).is_some()
        };
        different.iter().filter(counts).count() as u32
    }

    pub(super) fn strike(&mut self, attempt: &Attempt) {
        let by = (attempt.job, attempt.task);
        let elapsed = self.now.since(attempt.started).as_secs_f64();
        let fast = elapsed < 0.1 * attempt.expected;
        let strikes = self.devices.change(attempt.device, |device| {
            if fast || !device.strikes.contains(&by) {
                device.strikes.push(by);
            }
            device.strikes.len() as u32
        });
        if strikes >= self.rules.strikes {
            self.quarantine(attempt.device);
        }
    }

    /// A device did well.
    pub(super) fn praise(&mut self, id: DeviceId) {
        let device = self.devices.get(id);
        if device.squeezed > 0 && device.out + 1 >= device.facts.sessions {
            // All of its sessions had room at once.
            self.devices.change(id, |device| device.squeezed = 0);
        }
        let device = self.devices.get(id);
        if !device.strikes.is_empty() || device.relapses > 0 {
            self.devices.change(id, |device| {
                device.strikes.clear();
                device.relapses = 0;
            });
            self.standing_changed(id);
        }
    }

    /// The job fails by this task.
    pub(super) fn give_up(&mut self, id: JobId, task: TaskId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if job.stopped {
            return;
        }
        let state = job.tasks.get(&task);
        let failed_on = state.map_or_else(Vec::new, |state| state.failed_on.clone());
        self.decide(Decision::GiveUp {
            job: id,
            task,
            failed_on,
        });
        self.stop_job(id);
    }

    /// Nothing new of the job starts, and what runs is told to stop.
    pub(super) fn stop_job(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if job.stopped {
            return;
        }
        job.stop();
        let spans: Vec<_> = job.spans.keys().copied().collect();
        self.cancel_all(id);
        for span in spans {
            self.release_if_unneeded(id, span);
        }
    }

    /// Gives up the jobs that have a task waiting that nothing can do any more.
    pub(super) fn give_up_hopeless(&mut self) {
        let hopeless = |job: &Job| {
            let task = self.hopeless(job)?;
            Some((job.id, task))
        };
        let found: Vec<(JobId, TaskId)> = self.jobs.values().filter_map(hopeless).collect();
        for (job, task) in found {
            if self.take_over(job, task.rendition, Device::is_hopeful) {
                continue;
            }
            if let Some(job) = self.jobs.get_mut(&job)
                && let Some(state) = job.tasks.get_mut(&task)
                && (state.failed_on.len() as u32) < self.rules.attempts
            {
                state.failed_on.clear();
            }
            self.give_up(job, task);
        }
    }

    fn hopeless(&self, job: &Job) -> Option<TaskId> {
        for (rank, spans) in job.waiting.iter().enumerate() {
            if let Some(span) = spans.first()
                && job.hope[job.by_rank[rank].place()] == 0
            {
                return Some(job.task(*span, rank));
            }
        }
        let lost = |task: &TaskId| {
            let failed_on = job.tasks.get(task).map(|state| &state.failed_on[..]);
            let failed_on = failed_on.unwrap_or_default();
            job.hope[task.rendition.place()] == 0
                || self.needs_another(failed_on) && self.hope_besides(job, *task, failed_on) == 0
        };
        for pump in job.pumps.values() {
            if let Some(ask) = pump.asked
                && self.is_fed(job, ask)
                && let Some(task) = job.missing(ask.span).into_iter().find(lost)
            {
                return Some(task);
            }
        }
        job.troubled.iter().copied().find(lost)
    }

    /// A device has no room for as many sessions as it runs.
    pub(super) fn squeezed(&mut self, id: DeviceId) {
        let (lowered, alone, times) = self.devices.change(id, |device| {
            let alone = device.out == 0;
            let before = device.allowed;
            device.allowed = (before - 1).max(1);
            device.squeezed += 1;
            (before != device.allowed, alone, device.squeezed)
        });
        if lowered {
            let sessions = self.devices.get(id).allowed;
            self.decide(Decision::CapacityLowered {
                device: id,
                sessions,
            });
            let at = self.now.after(self.backoff(times));
            self.alarms.set(at, Alarm::Roomier(id));
            self.refresh();
        }
        if alone {
            self.quarantine(id);
        }
    }

    /// Tries a session more than there was room for.
    fn roomier(&mut self, id: DeviceId) {
        let more = self.devices.change(id, |device| {
            device.allowed = (device.allowed + 1).min(device.facts.sessions);
            device.allowed < device.facts.sessions
        });
        if more {
            let times = self.devices.get(id).squeezed;
            let at = self.now.after(self.backoff(times));
            self.alarms.set(at, Alarm::Roomier(id));
        }
        self.refresh();
    }

    /// The first quarantine, or twice as long for each one before it.
    fn backoff(&self, times: u32) -> Duration {
        let factor = 1u32
            .checked_shl(times.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let most = self.rules.quarantine_most;
        self.rules.quarantine.saturating_mul(factor).min(most)
    }

    /// The device gets nothing until a golden task passes.
    pub(super) fn quarantine(&mut self, id: DeviceId) {
        if self.devices.get(id).standing != Standing::Open {
            return;
        }
        let times = self.devices.change(id, |device| {
            device.relapses += 1;
            device.strikes.clear();
            device.relapses
        });
        self.shut(id, self.now.after(self.backoff(times)));
    }

    /// In quarantine until then; sooner if nothing else can do what a job needs.
    fn shut(&mut self, id: DeviceId, until: Tick) {
        if self.has(Bug::IgnoreQuarantine) {
            return self.decide(Decision::Quarantined { device: id, until });
        }
        self.devices.change(id, |device| {
            device.standing = Standing::Quarantined { until };
        });
        self.alarms.set(until, Alarm::Golden(id));
        self.standing_changed(id);
        if let Standing::Quarantined { until } = self.devices.get(id).standing {
            self.decide(Decision::Quarantined { device: id, until });
        }
    }

    /// Brings the jobs' counts of devices up to date, and hastens golden tasks where they are the only hope.
    pub(super) fn standing_changed(&mut self, id: DeviceId) {
        let device = self.devices.get(id);
        let now = (device.is_open(), device.is_hopeful());
        let was = std::mem::replace(&mut self.standings[id.place()], now);
        if now != was {
            for job in self.jobs.values_mut() {
                job.count_device(id, was, now);
            }
            self.refresh();
        }
        self.hasten();
    }

    /// Golden tasks at once, or soon, on the devices without which a job cannot go on.
    pub(super) fn hasten(&mut self) {
        if self.devices.quarantined.is_empty() {
            return;
        }
        let mut needed = BTreeSet::new();
        for job in self.jobs.values().filter(|job| !job.stopped) {
            for rendition in &job.by_rank {
                if job.open[rendition.place()] > 0 {
                    continue;
                }
                let able = |id: &&DeviceId| job.speeds.ability(**id, *rendition).is_some();
                needed.extend(self.devices.quarantined.iter().filter(able).copied());
            }
        }
        for id in needed {
            let device = self.devices.get(id);
            let Standing::Quarantined { until } = device.standing else {
                continue;
            };
            let before = device.golden_failures + device.relapses.saturating_sub(1);
            let soon = match before {
                0 => Duration::ZERO,
                1.. => self.backoff(before) / 8,
            };
            let soon = self.now.after(soon);
            if soon < until && !device.hastened {
                self.devices.change(id, |device| {
                    device.hastened = true;
                    device.standing = Standing::Quarantined { until: soon };
                });
                self.alarms.set(soon, Alarm::Golden(id));
            }
        }
    }

    /// Starts the golden tasks that are due.
    pub(super) fn start_goldens(&mut self) {
        if self.has(Bug::ForgetGolden) {
            return;
        }
        for id in self.golden_due.clone() {
            if !matches!(self.devices.get(id).standing, Standing::Quarantined { .. }) {
                self.golden_due.remove(&id);
                continue;
            }
            if self.devices.get(id).golden_out {
                continue;
            }
            if self.has(Bug::ReadmitUntested) {
                self.golden_due.remove(&id);
                self.devices
                    .change(id, |device| device.standing = Standing::Open);
                self.decide(Decision::Readmitted { device: id });
                self.standing_changed(id);
                continue;
            }
            let Some(lease) = self.devices.take_golden(id) else {
                continue;
            };
            self.golden_due.remove(&id);
            let rules = &self.rules;
            let due = self.now.after(rules.deadline_floor).after(rules.grace);
            self.devices.change(id, |device| device.golden_until = due);
            self.alarms.set(due, Alarm::GoldenOverdue(id));
            self.decide(Decision::Golden { lease });
        }
    }

    /// A golden task did not come home: its lease is lost.
    fn golden_overdue(&mut self, id: DeviceId) {
        let device = self.devices.get(id);
        if !device.golden_out || device.golden_until > self.now {
            return;
        }
        self.devices.change(id, |device| {
            device.golden_out = false;
            device.lost += 1;
        });
        self.golden_failed(id);
    }

    pub(super) fn golden_ended(&mut self, lease: Lease, passed: bool) {
        let id = lease.device();
        self.devices.put(lease, |device| {
            if device.golden_out {
                device.golden_out = false;
            } else {
                device.lost = device.lost.saturating_sub(1);
            }
        });
        if !matches!(self.devices.get(id).standing, Standing::Quarantined { .. }) {
            self.standing_changed(id);
            return;
        }
        if !passed {
            self.golden_failed(id);
            return;
        }
        self.golden_due.remove(&id);
        if self.has(Bug::NeverReadmit) {
            return;
        }
        self.devices.change(id, |device| {
            device.standing = Standing::Open;
            device.golden_failures = 0;
            device.hastened = false;
            device.strikes.clear();
        });
        self.decide(Decision::Readmitted { device: id });
        self.standing_changed(id);
    }

    fn golden_failed(&mut self, id: DeviceId) {
        if !matches!(self.devices.get(id).standing, Standing::Quarantined { .. }) {
            return;
        }
        let times = self.devices.change(id, |device| {
            device.golden_failures += 1;
            device.hastened = false;
            device.golden_failures + device.relapses
        });
        self.shut(id, self.now.after(self.backoff(times)));
    }

    pub(super) fn device_lost(&mut self, id: DeviceId) {
        if self.devices.get(id).standing == Standing::Gone || self.has(Bug::IgnoreLoss) {
            return;
        }
        self.devices
            .change(id, |device| device.standing = Standing::Gone);
        self.golden_due.remove(&id);
        self.standing_changed(id);
        let there = |(out, attempt): (&AttemptId, &Attempt)| {
            (attempt.device == id && attempt.phase != Phase::Abandoned).then_some(*out)
        };
        let out: Vec<AttemptId> = self.attempts.iter().filter_map(there).collect();
        for attempt in out {
            self.void(attempt);
        }
    }

    /// An attempt's device is gone, or its encoder not wanted any more: what becomes of it does not count, and its task goes elsewhere at once.
    pub(super) fn void(&mut self, id: AttemptId) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        attempt.counts = false;
        let (job, task) = (attempt.job, attempt.task);
        self.cancel(id);
        let Some(job) = self.jobs.get_mut(&job) else {
            return;
        };
        let alone = job
            .tasks
            .get(&task)
            .is_some_and(|state| state.out.len() == 1);
        if alone && !job.stopped && !job.done.contains(&task) && job.can_repeat(task) {
            job.requeue(task);
        }
    }

    pub(super) fn device_back(&mut self, id: DeviceId) {
        if self.devices.get(id).standing != Standing::Gone {
            return;
        }
        self.devices.change(id, |device| {
            device.golden_failures = 0;
            device.hastened = false;
            device.relapses = 0;
        });
        self.shut(id, self.now);
    }

    /// Starts second attempts of tasks that are far behind, on leases that nothing else needs.
    pub(super) fn start_seconds(&mut self) {
        if self.late.is_empty() || self.devices.idle_groups.is_empty() {
            return;
        }
        let late: Vec<AttemptId> = self.late.iter().take(LATE).copied().collect();
        for id in late {
            let Some((job, task, device)) = self.second_for(id) else {
                continue;
            };
            let bytes = self.jobs[&job].speeds.ability(device, task.rendition);
            if self.charged() + bytes.map_or(0, |ability| ability.bytes) > self.memory {
                return;
            }
            if let Some(start) = self.start(job, task, device) {
                self.late.remove(&id);
                self.decide(Decision::Start(start));
            }
        }
    }

    /// Where a second attempt should be done sooner than the first, if there is such a device.
    fn second_for(&self, id: AttemptId) -> Option<(JobId, TaskId, DeviceId)> {
        let attempt = self.attempts.get(&id)?;
        let job = self.jobs.get(&attempt.job)?;
        let state = job.tasks.get(&attempt.task)?;
        // If this one fails too, and the second, the task has failed as often as is allowed.
        let may_fail = state.failed_on.len() as u32 + 1 < self.rules.attempts;
        let repeats = may_fail && job.can_repeat(attempt.task);
        if job.stopped || state.out.len() != 1 || !repeats {
            return None;
        }
        // A failure of either would be the last, or one too many.
        if state.failed_on.len() as u32 + 1 >= self.rules.attempts {
            return None;
        }
        // What has taken so long may take as long again.
        let elapsed = self.now.since(attempt.started).as_secs_f64();
        let mut best: Option<(f64, DeviceId)> = None;
        for group in &self.devices.idle_groups {
            for device in self.devices.groups[*group].idle_devices(2) {
                let alone = job.open[attempt.task.rendition.place()] == 1;
                if device == attempt.device && !alone {
                    continue;
                }
                let Some(time) = self.time_of(job, attempt.task, device) else {
                    continue;
                };
                if time.all < elapsed && best.is_none_or(|(least, _)| time.all < least) {
                    best = Some((time.all, device));
                }
            }
        }
        best.map(|(_, device)| (attempt.job, attempt.task, device))
    }
}

impl Job {
    /// Forgets what waits.
    fn stop(&mut self) {
        self.stopped = true;
        self.waiting.iter_mut().for_each(BTreeSet::clear);
        self.troubled.clear();
        self.waiting_count = 0;
        self.stretches.clear();
    }

    /// The span of the task is in memory as a whole.
    pub(super) fn can_repeat(&self, task: TaskId) -> bool {
        let span = self.spans.get(&task.span);
        span.is_some_and(|span| !span.fed && !span.lost)
    }

    /// Counts a device in or out, for each rendition that it can do: (open, hopeful) as it was and is.
    pub(super) fn count_device(&mut self, id: DeviceId, was: (bool, bool), now: (bool, bool)) {
        for rendition in &self.by_rank {
            if self.speeds.ability(id, *rendition).is_none() {
                continue;
            }
            let place = rendition.place();
            self.open[place] = self.open[place] + u32::from(now.0) - u32::from(was.0);
            self.hope[place] = self.hope[place] + u32::from(now.1) - u32::from(was.1);
        }
    }
}

fn one_device(failed_on: &[DeviceId]) -> bool {
    failed_on.windows(2).all(|pair| pair[0] == pair[1])
}
