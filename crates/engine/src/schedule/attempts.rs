//! Attempts: a task goes out with a lease, and comes home, or does not.

use super::alarms::Alarm;
use super::devices::GroupId;
use super::facts::Tick;
use super::jobs::SpanState;
use super::planted::Bug;
use super::{Decision, End, Schedule, Start};
use crate::device::Lease;
use crate::ids::{AttemptId, DeviceId, JobId, SegmentIndex, TaskId};
use std::time::Duration;

/// Seconds from which on a deadline is [`LONG_DEADLINE`] times what is expected, where the rules say more: hours are not waited for a hang.
const LONG: f64 = 3600.0;
const LONG_DEADLINE: f64 = 4.0;

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// At work.
    Out,
    /// Told to stop.
    Cancelled,
    /// Given up, with its lease.
    Abandoned,
}

/// A task on its way with a lease.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Attempt {
    pub(super) job: JobId,
    pub(super) task: TaskId,
    pub(super) device: DeviceId,
    pub(super) phase: Phase,
    /// Its encoder's bytes.
    bytes: u64,
    pub(super) started: Tick,
    /// Seconds that it is expected to take in all.
    pub(super) expected: f64,
    /// Of which are spent on bringing the pictures there.
    copy: f64,
    /// Whether the expectation rests on anything measured.
    known: bool,
    finish: Tick,
    group: GroupId,
    /// Work of an average session that it does in a second.
    rate: f64,
    /// Seconds of its span.
    seconds: f64,
    /// Which decode of its span it has.
    pub(super) decode: u64,
    alarm: Option<(Tick, Alarm)>,
    /// Whether its time says something about the device's speed.
    teaches: bool,
    /// Whether it was told to stop because it took too long.
    pub(super) overdue: bool,
    /// Whether a failure counts: not once its device is known to be gone, or another class makes its rendition.
    pub(super) counts: bool,
    /// Which class made its rendition when it went out.
    class: usize,
}

impl Attempt {
    /// Its encoder's memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.phase == Phase::Abandoned
    }
}

impl Schedule {
    /// Sends a task out to a device that has a lease to give.
    pub(super) fn start(&mut self, job: JobId, task: TaskId, device: DeviceId) -> Option<Start> {
        let mut lease = self.devices.take(device)?;
        if self.has(Bug::BusyLease) {
            lease = Lease::new(device, 0);
        }
        let id = AttemptId::new(self.next_attempt);
        self.next_attempt += 1;
        let attempt = self.new_attempt(job, task, device);
        let (threads, _) = self.threads_for(device);
        let facts = self.jobs.get_mut(&job)?;
        facts.take(task);
        let state = facts.tasks.entry(task).or_default();
        let (failures, second) = (state.failed_on.len() as u32, !state.out.is_empty());
        state.out.push(id);
        if let Some(span) = facts.spans.get_mut(&task.span) {
            span.out += 1;
        }
        facts.running.add(attempt.rate, attempt.finish);
        facts.used += attempt.expected / facts.facts.weight;
        self.encoder_bytes += attempt.bytes;
        self.out += 1;
        self.devices.groups[attempt.group]
            .homes
            .insert((attempt.finish, id));
        let (at, alarm) = first_alarm(&attempt, id, &self.rules);
        self.alarms.set(at, alarm);
        let alarm = Some((at, alarm));
        self.attempts.insert(id, Attempt { alarm, ..attempt });
        Some(Start {
            job,
            task,
            attempt: id,
            lease,
            threads,
            failures,
            second,
        })
    }

    fn new_attempt(&self, job: JobId, task: TaskId, device: DeviceId) -> Attempt {
        let state = &self.jobs[&job];
        let rank = state.rank(task.rendition);
        let seconds = state.seconds(task.span);
        let time = self.time_of(state, task, device);
        let (expected, copy, known) = time.map_or((1.0, 0.0, false), |t| (t.all, t.copy, t.known));
        let fed = state.spans.get(&task.span).filter(|span| span.fed);
        let expected = fed.map_or(expected, |span| expected.max(span.slowest));
        let ability = state.speeds.ability(device, task.rendition);
        Attempt {
            job,
            task,
            device,
            phase: Phase::Out,
            bytes: ability.map_or(0, |ability| ability.bytes),
            started: self.now,
            expected,
            copy,
            known,
            finish: self.now.after(seconds_to(expected)),
            group: self.devices.get(device).group(),
            rate: state.units[rank] * seconds / expected,
            seconds,
            decode: state.spans.get(&task.span).map_or(0, |span| span.decode),
            alarm: None,
            teaches: fed.is_none() && self.threads_for(device).1,
            overdue: false,
            counts: true,
            class: state.class[task.rendition.place()],
        }
    }

    /// Threads of one encoder, and whether that is the usual share. Encoders share the threads evenly: that packs best. When all
    /// sources have been read and fewer tasks are left than sessions, those that start share what is free.
    fn threads_for(&self, device: DeviceId) -> (u32, bool) {
        let device = self.devices.get(device);
        let sessions = device.allowed.max(1) as usize;
        let left: usize = self
            .jobs
            .values()
            .map(|job| job.waiting_count + job.running.count)
            .sum();
        let tail = self.jobs.values().all(super::jobs::Job::is_read);
        let encoders = if tail {
            left.clamp(1, sessions)
        } else {
            sessions
        };
        let share = (device.facts.threads / encoders as u32).max(1);
        (share, encoders == sessions || device.facts.threads == 0)
    }

    /// An attempt has come home.
    pub(super) fn attempt_ended(&mut self, id: AttemptId, lease: Lease, end: End) {
        let Some(attempt) = self.attempts.remove(&id) else {
            // Nobody knows it; a lease is a lease.
            self.devices.put(lease, |_| ());
            return;
        };
        if !(self.has(Bug::LeakCharge) && attempt.phase == Phase::Abandoned) {
            self.encoder_bytes -= attempt.bytes;
        }
        if attempt.phase == Phase::Abandoned {
            self.came_home_late(&attempt, lease);
        } else {
            if self.has(Bug::LoseLease) && attempt.phase == Phase::Cancelled {
                self.devices
                    .change(attempt.device, |device| device.out -= 1);
            } else {
                self.devices.put(lease, |device| device.out -= 1);
            }
            self.off_the_books(id, &attempt);
        }
        let counts = attempt.counts && attempt.phase != Phase::Abandoned;
        match end {
            End::Done => self.done(&attempt),
            End::Failed if counts => self.failed(&attempt),
            // It took too long, and stopped when it was told to.
            End::Cancelled if counts && attempt.overdue => self.failed(&attempt),
            End::Capacity if self.has(Bug::CountCapacity) => self.failed(&attempt),
            End::Capacity => {
                self.squeezed(attempt.device);
                self.requeue(&attempt);
            }
            End::PicturesLost => self.lost_pictures(&attempt, counts),
            End::Failed | End::Cancelled => self.requeue(&attempt),
        }
        self.release_if_unneeded(attempt.job, attempt.task.span);
    }

    /// Takes an attempt that has come home, or is given up, out of its job's sums.
    pub(super) fn off_the_books(&mut self, id: AttemptId, attempt: &Attempt) {
        self.out -= 1;
        self.late.remove(&id);
        if let Some((at, alarm)) = attempt.alarm {
            self.alarms.clear(at, alarm);
        }
        self.devices.groups[attempt.group]
            .homes
            .remove(&(attempt.finish, id));
        let elapsed = self.now.since(attempt.started).as_secs_f64();
        let Some(job) = self.jobs.get_mut(&attempt.job) else {
            return;
        };
        job.running.remove(attempt.rate, attempt.finish);
        job.used += (elapsed - attempt.expected) / job.facts.weight;
        if let Some(state) = job.tasks.get_mut(&attempt.task) {
            state.out.retain(|out| *out != id);
        }
        if let Some(span) = job.spans.get_mut(&attempt.task.span) {
            span.out -= 1;
        }
    }

    /// There is a result. The first of a task counts.
    fn done(&mut self, attempt: &Attempt) {
        self.praise(attempt.device);
        if attempt.teaches && attempt.phase != Phase::Abandoned {
            self.learn(attempt);
        }
        let counts_second = self.has(Bug::CountSecond);
        let never_cancels = self.has(Bug::NeverCancel);
        let counts_others = self.has(Bug::CountOtherClass);
        let Some(job) = self.jobs.get_mut(&attempt.job) else {
            return;
        };
        let place = attempt.task.rendition.place();
        if job.class[place] != attempt.class && !counts_others {
            // Another class makes the rendition now.
            return self.requeue(attempt);
        }
        job.begun[place] = true;
        if !job.done.insert(attempt.task) && !counts_second {
            return;
        }
        // Also if it was given up for failed or lost, and waits again.
        job.take(attempt.task);
        let others = job.tasks.remove(&attempt.task).unwrap_or_default().out;
        if let Some(span) = job.spans.get_mut(&attempt.task.span) {
            span.left -= 1;
        }
        // They stay on the books of the span until they come home.
        for other in others.into_iter().filter(|_| !never_cancels) {
            self.cancel(other);
        }
        self.release_if_unneeded(attempt.job, attempt.task.span);
    }

    fn learn(&mut self, attempt: &Attempt) {
        let elapsed = self.now.since(attempt.started).as_secs_f64();
        let seconds = (elapsed - attempt.copy) / attempt.seconds.max(1e-6);
        let Some(job) = self.jobs.get_mut(&attempt.job) else {
            return;
        };
        let seen = (attempt.device, attempt.task.rendition, seconds);
        let device = self.devices.get(attempt.device);
        let (pace, mut odd) = (device.pace, device.odd);
        let times = job.speeds.learn(seen, pace, &mut odd);
        self.devices.change(attempt.device, |device| {
            device.odd = odd;
            device.pace = (pace * times).clamp(1e-3, 1e3);
        });
        self.until_refresh = self.until_refresh.saturating_sub(1);
        if self.until_refresh == 0 {
            self.refresh();
        }
    }

    /// Learns again what the sessions do on average.
    pub(super) fn refresh(&mut self) {
        self.until_refresh = (self.devices.sessions / 4).max(8);
        for job in self.jobs.values_mut() {
            job.refresh(&self.devices);
        }
    }

    /// The task waits again, if it is not done, out elsewhere, or of a job that has stopped.
    pub(super) fn requeue(&mut self, attempt: &Attempt) {
        let Some(job) = self.jobs.get_mut(&attempt.job) else {
            return;
        };
        if job.stopped || job.done.contains(&attempt.task) {
            return;
        }
        if !job.can_repeat(attempt.task) {
            return;
        }
        let out = |state: &super::jobs::TaskState| !state.out.is_empty();
        if job.tasks.get(&attempt.task).is_some_and(out) {
            return;
        }
        job.requeue(attempt.task);
    }

    /// Tells an attempt to stop, once.
    pub(super) fn cancel(&mut self, id: AttemptId) {
        let grace = self.rules.grace;
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if attempt.phase != Phase::Out {
            return;
        }
        attempt.phase = Phase::Cancelled;
        self.late.remove(&id);
        if let Some((at, alarm)) = attempt.alarm {
            self.alarms.clear(at, alarm);
        }
        let at = self.now.after(grace);
        attempt.alarm = Some((at, Alarm::Grace(id)));
        self.alarms.set(at, Alarm::Grace(id));
        let overdue = attempt.overdue;
        self.decide(Decision::Cancel {
            attempt: id,
            overdue,
        });
    }

    /// An attempt takes long: a second one may help, and later it is overdue.
    pub(super) fn is_late(&mut self, id: AttemptId) {
        let rules = self.rules;
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let at = attempt.started.after(deadline(attempt, &rules));
        attempt.alarm = Some((at, Alarm::Overdue(id)));
        self.alarms.set(at, Alarm::Overdue(id));
        self.late.insert(id);
    }

    /// An attempt did not come home though it was told to: its lease is lost, and its device is suspected.
    pub(super) fn abandon(&mut self, id: AttemptId) {
        let Some(mut attempt) = self.attempts.remove(&id) else {
            return;
        };
        self.off_the_books(id, &attempt);
        attempt.phase = Phase::Abandoned;
        attempt.alarm = None;
        if let Some(job) = self.jobs.get_mut(&attempt.job)
            && let Some(span) = job.spans.get_mut(&attempt.task.span)
        {
            span.hung += 1;
        }
        self.devices.change(attempt.device, |device| {
            device.out -= 1;
            device.lost += 1;
        });
        self.decide(Decision::Abandon {
            attempt: id,
            device: attempt.device,
        });
        if self.has(Bug::ForgetAbandoned) {
            // Nothing waits again.
        } else if attempt.overdue && attempt.counts {
            self.failed(&attempt);
        } else {
            self.requeue(&attempt);
        }
        self.release_if_unneeded(attempt.job, attempt.task.span);
        self.quarantine(attempt.device);
        self.standing_changed(attempt.device);
        self.attempts.insert(id, attempt);
    }

    /// The lease of an attempt that was abandoned is back; so are its bytes.
    fn came_home_late(&mut self, attempt: &Attempt, lease: Lease) {
        self.devices.put(lease, |device| device.lost -= 1);
        if let Some((bytes, hung)) = self.lingering.get_mut(&attempt.decode) {
            *hung -= 1;
            if *hung == 0 {
                self.lingering_bytes -= *bytes;
                self.lingering.remove(&attempt.decode);
            }
        } else if let Some(job) = self.jobs.get_mut(&attempt.job)
            && let Some(span) = job.spans.get_mut(&attempt.task.span)
        {
            span.hung -= 1;
        }
        self.standing_changed(attempt.device);
    }

    /// Lets a span's pictures go when nobody needs them and nobody has them.
    pub(super) fn release_if_unneeded(&mut self, id: JobId, span: SegmentIndex) {
        let soon = self.has(Bug::ReleaseSoon);
        let lets_go_soon = self.has(Bug::LetGoSoon);
        let forgets_lost = self.has(Bug::ForgetLost);
        let forgets = self.has(Bug::ForgetRelease);
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let idle = |state: &SpanState| {
            let over = state.left <= usize::from(soon) || job.stopped;
            let home = state.out == 0 || state.lost && lets_go_soon;
            home && (over || state.fed || state.lost)
        };
        if !job.spans.get(&span).is_some_and(idle) {
            return;
        }
        let Some(state) = job.spans.remove(&span) else {
            return;
        };
        job.span_bytes -= state.bytes;
        let again = state.lost && state.left > 0 && !job.stopped;
        if state.fed || again && !forgets_lost {
            job.decode_again(span);
        }
        if state.hung > 0 {
            self.lingering_bytes += state.bytes;
            let held = (state.bytes, state.hung);
            self.lingering.insert(state.decode, held);
        }
        if again {
            self.decide(Decision::LetGo { job: id, span });
        } else if !state.fed && !forgets {
            self.decide(Decision::Release { job: id, span });
        }
    }

    /// Tells all attempts of a job to stop.
    pub(super) fn cancel_all(&mut self, id: JobId) {
        let of_job = |(id_, attempt): (&AttemptId, &Attempt)| (attempt.job == id).then_some(*id_);
        let all: Vec<AttemptId> = self.attempts.iter().filter_map(of_job).collect();
        for attempt in all {
            self.cancel(attempt);
        }
    }
}

pub(super) fn seconds_to(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::from_secs(1 << 40))
}

fn deadline(attempt: &Attempt, rules: &super::Rules) -> Duration {
    let expected = attempt.expected * unsure(attempt, rules);
    let most = (expected * LONG_DEADLINE).max(LONG);
    seconds_to((expected * rules.deadline).min(most)).max(rules.deadline_floor)
}

/// How many times as long as expected may be nothing out of the ordinary, before anything was measured.
fn unsure(attempt: &Attempt, rules: &super::Rules) -> f64 {
    if attempt.known { 1.0 } else { rules.unknown }
}

fn first_alarm(attempt: &Attempt, id: AttemptId, rules: &super::Rules) -> (Tick, Alarm) {
    let overdue = deadline(attempt, rules);
    let margin = rules.straggler_floor.as_secs_f64();
    let expected = attempt.expected * unsure(attempt, rules);
    let late = seconds_to((expected * rules.straggler).max(expected + margin));
    if late < overdue {
        (attempt.started.after(late), Alarm::Late(id))
    } else {
        (attempt.started.after(overdue), Alarm::Overdue(id))
    }
}
