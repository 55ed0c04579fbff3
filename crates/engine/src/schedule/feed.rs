//! Fed spans: those that do not fit the budget whole.
//!
//! Such a span's pictures go straight from its pump to encoders. All attempts that take part get their leases in one step, so
//! that none of them ever waits for a lease while it holds pictures, and the pump waits for encoders that are all there: nothing
//! can wait in a circle. Renditions for which there was no lease, or no memory, and those that failed, are made from another decode
//! of the same stretch, and so are those of spans whose pictures were lost. While a fed span waits for leases, jobs whose turn is later
//! start nothing, so the leases come together.

use super::attempts::Attempt;
use super::jobs::{Job, SpanState};
use super::planted::Bug;
use super::pumps::{Ask, Stretch};
use super::{Decision, Schedule};
use crate::ids::{DeviceId, JobId, PumpId, SegmentIndex, TaskId};

/// What can be done about a span that has to be fed.
pub(super) enum Feed {
    /// These can start now. Empty if nobody needs the span: it is decoded and dropped.
    Now(Vec<(TaskId, DeviceId)>),
    /// Leases have to come home first.
    Wait,
}

impl Schedule {
    /// Whether a span is too large to be held whole.
    pub(super) fn is_fed(&self, job: &Job, ask: Ask) -> bool {
        job.facts.fed_bytes > 0 && ask.bytes > 0 && ask.bytes + job.dearest > self.memory
    }

    /// Which of the span's tasks start now, and where.
    pub(super) fn plan_feed(&self, job: &Job, span: SegmentIndex) -> Feed {
        let missing = job.missing(span);
        if missing.is_empty() {
            return Feed::Now(Vec::new());
        }
        if job.spans.contains_key(&span) {
            return Feed::Wait;
        }
        let free = self.memory.saturating_sub(self.charged());
        let mut room = free.saturating_sub(job.facts.fed_bytes);
        let mut all_room = self.memory.saturating_sub(job.facts.fed_bytes);
        let mut most = 0;
        let mut starts: Vec<(TaskId, DeviceId)> = Vec::new();
        for task in missing {
            let bytes = job.dearest_of(task.rendition);
            let open = job.open[task.rendition.place()] > 0;
            if open && (bytes <= all_room || most == 0) && most < self.devices.sessions as usize {
                all_room = all_room.saturating_sub(bytes);
                most += 1;
            }
            if bytes > room && !(starts.is_empty() && self.out == 0) {
                continue;
            }
            if let Some(device) = self.idle_for_feed(job, task, &starts) {
                room = room.saturating_sub(bytes);
                starts.push((task, device));
            }
        }
        if starts.is_empty() || starts.len() < most && self.out > 0 {
            return Feed::Wait;
        }
        Feed::Now(starts)
    }

    /// The idle lease on which the task is done soonest, besides those that are taken; one of a device that has not failed it,
    /// if there is one.
    fn idle_for_feed(
        &self,
        job: &Job,
        task: TaskId,
        taken: &[(TaskId, DeviceId)],
    ) -> Option<DeviceId> {
        let failed_on = job.tasks.get(&task).map(|state| &state.failed_on[..]);
        let failed_on = failed_on.unwrap_or_default();
        let only_others = self.needs_another(failed_on);
        let mut best: Option<((bool, f64), DeviceId)> = None;
        for group in &self.devices.idle_groups {
            let group = &self.devices.groups[*group];
            for device in group.idle_devices(taken.len() + failed_on.len() + 1) {
                let of_it = |(_, other): &&(TaskId, DeviceId)| *other == device;
                let used = taken.iter().filter(of_it).count() as u32;
                let failed = failed_on.contains(&device);
                if used >= self.devices.get(device).free() || failed && only_others {
                    continue;
                }
                if let Some(time) = self.time_of(job, task, device)
                    && best.is_none_or(|(least, _)| (failed, time.all) < least)
                {
                    best = Some(((failed, time.all), device));
                }
            }
        }
        best.map(|(_, device)| device)
    }

    /// Starts all attempts of a fed span.
    pub(super) fn feed(&mut self, id: JobId, pump: PumpId, which: FedSpan) {
        let FedSpan { span, starts: all } = which;
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let (seconds, fed_bytes) = (job.facts.span_seconds, job.facts.fed_bytes);
        let times = all
            .iter()
            .filter_map(|(task, device)| self.time_of(job, *task, *device));
        let slowest = times
            .map(|time| time.all)
            .fold(job.decode_seconds * seconds, f64::max);
        let state = SpanState {
            fed: true,
            slowest,
            ..self.complete(fed_bytes, seconds)
        };
        if !all.is_empty()
            && let Some(job) = self.jobs.get_mut(&id)
        {
            job.hold(span, state);
        }
        let mut starts = Vec::new();
        for (task, device) in all {
            starts.extend(self.start(id, task, device));
        }
        self.decide(Decision::Feed { pump, span, starts });
    }

    /// The pictures that an attempt had are gone: none of its span's tasks starts before the span is decoded again, which waits for the
    /// attempts that are out, since they may have what they need. Who says that of one task again and again is not believed for ever:
    /// then it `counts` as a failure of the task, but never against the device.
    pub(super) fn lost_pictures(&mut self, attempt: &Attempt, counts: bool) {
        if self.has(Bug::RetryLost) {
            return self.requeue(attempt);
        }
        if self.has(Bug::StrikeLoss) {
            self.strike(attempt);
        }
        let Some(job) = self.jobs.get_mut(&attempt.job) else {
            return;
        };
        if job.stopped {
            return;
        }
        job.lose(attempt);
        if !counts || job.done.contains(&attempt.task) {
            return;
        }
        let state = job.tasks.entry(attempt.task).or_default();
        // Two attempts of a task may have had the same pictures.
        let first = state.lost.insert(attempt.decode);
        if state.lost.len() > self.rules.losses as usize {
            if first {
                state.failed_on.push(attempt.device);
            }
            self.try_again(attempt);
        }
    }
}

/// A span and those of its tasks that start.
pub(super) struct FedSpan {
    pub(super) span: SegmentIndex,
    pub(super) starts: Vec<(TaskId, DeviceId)>,
}

impl Job {
    /// Tasks of a span that are not done, the dearest first.
    pub(super) fn missing(&self, span: SegmentIndex) -> Vec<TaskId> {
        let tasks = (0..self.by_rank.len()).map(|rank| self.task(span, rank));
        tasks.filter(|task| !self.done.contains(task)).collect()
    }

    /// None of the tasks of an attempt's span starts on these pictures any more. A span that is fed is decoded again as it is.
    fn lose(&mut self, attempt: &Attempt) {
        let span = attempt.task.span;
        let has = |state: &&mut SpanState| state.decode == attempt.decode && !state.fed;
        let Some(state) = self.spans.get_mut(&span).filter(has) else {
            return;
        };
        state.lost = true;
        for task in self.missing(span) {
            self.take(task);
        }
    }

    /// A span was fed, or lost, and is over: what it left undone is decoded again.
    pub(super) fn decode_again(&mut self, span: SegmentIndex) {
        let exists = self.end.is_none_or(|end| span.get() < end);
        if self.stopped || !exists || !self.needs(span) {
            return;
        }
        for stretch in self.stretches.iter_mut().filter(|stretch| stretch.again) {
            if stretch.until == Some(span) {
                stretch.until = Some(span.next());
            }
            let read = stretch.from <= span && stretch.until.is_some_and(|until| span < until);
            if read {
                return;
            }
        }
        let stretch = Stretch {
            from: self.cut_before(span),
            until: Some(span.next()),
            again: true,
        };
        let place = self.stretches.partition_point(|s| s.from <= stretch.from);
        self.stretches.insert(place, stretch);
    }
}
