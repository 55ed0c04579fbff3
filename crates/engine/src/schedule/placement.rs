//! Which task goes to which lease.
//!
//! Tasks are taken in the order of spans and, inside a span, the dearest first; at the very end of a source the dearest of all
//! first, so that small ones fill the gaps. A task goes to the idle lease on which it finishes first. A device that is slower than the
//! best gets it only if that does not make the whole later: while more work is at hand than the sessions can do, if it is done
//! before the job is expected to end; otherwise if no faster lease would come home and finish it sooner. The last tasks are
//! laid out over all leases, idle and busy, before any is started.

use std::cmp::Ordering;

use super::devices::GroupId;
use super::jobs::{Job, Rank};
use super::planted::Bug;
use super::speeds::Guess;
use super::{Decision, Schedule};
use crate::ids::{DeviceId, JobId, SegmentIndex, TaskId};

/// As many waiting tasks are laid out over all leases before any is started.
const LAID_OUT: usize = 24;
/// A device that takes this much longer than the best is as good.
const AS_GOOD: f64 = 1.2;
/// A device is much better at one rendition than at another if its advantage is this many times as large.
const MUCH_BETTER: f64 = 1.5;
/// Slow devices should end this much before the whole does: what takes longer than expected there is not made up for.
const SLACK: f64 = 1.1;
/// As many troubled tasks of a job are looked at.
const TROUBLED: usize = 16;

/// What a task should take on a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    /// Seconds in all.
    pub(super) all: f64,
    /// Seconds of them to bring the pictures there.
    pub(super) copy: f64,
    /// Whether that rests on anything measured.
    pub(super) known: bool,
}

/// What there is still to do.
#[derive(Clone, Copy, Debug)]
struct Outlook {
    /// Seconds from now until a job should be done.
    end: f64,
    /// Work of all jobs that has not started, in seconds of an average session.
    backlog: f64,
}

/// A task and the device it goes to.
type Match = (JobId, TaskId, DeviceId);

/// A span's task of a rank.
type Candidate = (SegmentIndex, Rank);

impl Schedule {
    /// What a task should take on a device; `None` if that cannot do it.
    pub(super) fn time_of(&self, job: &Job, task: TaskId, device: DeviceId) -> Option<Time> {
        let facts = self.devices.get(device);
        let guess = job.speeds.guess(device, task.rendition, facts.pace);
        let incapable = self.has(Bug::Incapable).then_some(Guess {
            seconds: 1.0,
            known: true,
        });
        let guess = guess.or(incapable)?;
        let bytes = job
            .spans
            .get(&task.span)
            .map_or(job.facts.span_bytes, |span| span.bytes);
        let copy = bytes as f64 * facts.facts.copy_seconds_per_byte;
        Some(Time {
            all: guess.seconds * job.seconds(task.span) + copy,
            copy,
            known: guess.known,
        })
    }

    /// Starts what should start now.
    pub(super) fn place(&mut self) {
        self.short_of_memory = false;
        if self.devices.idle_groups.is_empty() {
            return;
        }
        self.place_troubled();
        let waiting: usize = self.jobs.values().map(|job| job.waiting_count).sum();
        if waiting == 0 {
            return;
        }
        if waiting <= LAID_OUT && !self.work_abounds(waiting) {
            for found in self.lay_out() {
                if !self.launch(found) {
                    return;
                }
            }
            return;
        }
        while let Some(found) = self.pick() {
            if !self.launch(found) {
                return;
            }
        }
    }

    /// More is at hand than the sessions can do, and more is to come.
    fn work_abounds(&self, waiting: usize) -> bool {
        let more = |job: &Job| !job.is_read() && job.pump_waited;
        let reading = self.jobs.values().any(|job| !job.is_read());
        reading
            && (self.jobs.values().any(more) || waiting > self.devices.sessions as usize / 2 + 1)
    }

    /// Starts a task unless the budget forbids it.
    fn launch(&mut self, (job, task, device): Match) -> bool {
        let bytes = self.jobs[&job]
            .speeds
            .ability(device, task.rendition)
            .map_or(0, |ability| ability.bytes);
        let fits = self.charged() + bytes <= self.memory || self.has(Bug::IgnoreBudget);
        if self.out > 0 && !fits {
            self.short_of_memory = true;
            return false;
        }
        let Some(start) = self.start(job, task, device) else {
            return false;
        };
        self.decide(Decision::Start(start));
        true
    }

    /// Jobs that have tasks waiting, the one that had least for its weight first.
    fn jobs_in_turn(&self) -> Vec<&Job> {
        let mut jobs: Vec<&Job> = self
            .jobs
            .values()
            .filter(|job| job.waiting_count > 0 && self.is_in_turn(job))
            .collect();
        let used = |job: &Job| {
            if self.has(Bug::StarveJob) {
                0.0
            } else {
                job.used
            }
        };
        jobs.sort_by(|a, b| used(a).total_cmp(&used(b)).then(a.id.cmp(&b.id)));
        jobs
    }

    /// Whether it may start tasks while another job gathers leases.
    fn is_in_turn(&self, job: &Job) -> bool {
        self.out == 0 || self.feed_waits.is_none_or(|used| job.used < used)
    }

    /// Tasks that have failed go first: they are early, and they need a device that has not failed them.
    fn place_troubled(&mut self) {
        let troubled: Vec<(JobId, TaskId)> = self
            .jobs
            .values()
            .filter(|job| self.is_in_turn(job))
            .flat_map(|job| {
                job.troubled
                    .iter()
                    .take(TROUBLED)
                    .map(|task| (job.id, *task))
            })
            .collect();
        for (job, task) in troubled {
            if let Some(device) = self.device_for_troubled(job, task)
                && !self.launch((job, task, device))
            {
                return;
            }
        }
    }

    fn device_for_troubled(&self, id: JobId, task: TaskId) -> Option<DeviceId> {
        let job = &self.jobs[&id];
        let failed_on = &job.tasks.get(&task)?.failed_on;
        let others = self.others_for(job, task, failed_on);
        let mut best: Option<(f64, DeviceId)> = None;
        for group in &self.devices.idle_groups {
            for device in self.devices.groups[*group].idle_devices(failed_on.len() + 1) {
                if others > 0 && failed_on.contains(&device) {
                    continue;
                }
                let Some(time) = self.time_of(job, task, device) else {
                    continue;
                };
                if best.is_none_or(|(least, _)| time.all < least) {
                    best = Some((time.all, device));
                }
            }
        }
        if others == 0 && self.needs_another(failed_on) {
            return None;
        }
        best.map(|(_, device)| device)
    }

    /// The next task to start, and where.
    fn pick(&self) -> Option<Match> {
        if self.devices.idle_groups.is_empty() {
            return None;
        }
        // Until pumps have got their credit nobody knows what is to come: a device that a job keeps is not for those after it.
        let mut kept: Vec<DeviceId> = Vec::new();
        for job in self.jobs_in_turn() {
            let end = self.expected_end(job);
            let heads = candidates(job, end.end, self.pumps_short_of_memory);
            let Some(first) = heads.first() else {
                continue;
            };
            let suited = self.best_idle(job, job.task(first.0, first.1));
            let suited = suited.and_then(|(device, _)| self.suits(job, &heads, device));
            for (span, rank) in suited.into_iter().chain(heads.iter().copied()) {
                let task = job.task(span, rank);
                let Some((device, time)) = self.best_idle(job, task) else {
                    continue;
                };
                if kept.contains(&device) {
                    continue;
                }
                if self.is_better_kept(job, rank, device) {
                    kept.extend(self.more_to_come.then_some(device));
                } else if self.is_worth_it(job, (task, time), end) {
                    return Some((job.id, task, device));
                }
            }
        }
        None
    }

    /// What the device gains the whole by doing a rendition, compared to an average session.
    fn advantage(&self, job: &Job, rank: Rank, device: DeviceId) -> f64 {
        let pace = self.devices.get(device).pace;
        let guess = job.speeds.guess(device, job.by_rank[rank], pace);
        guess.map_or(0.0, |guess| job.units[rank] / guess.seconds)
    }

    /// The candidate that suits the device much better than the first one does.
    fn suits(&self, job: &Job, heads: &[Candidate], device: DeviceId) -> Option<Candidate> {
        let advantage = |head: &Candidate| self.advantage(job, head.1, device);
        let first = advantage(heads.first()?);
        let rest = heads.iter().skip(1);
        let best = rest.max_by(|a, b| advantage(a).total_cmp(&advantage(b)))?;
        (advantage(best) > MUCH_BETTER * first).then_some(*best)
    }

    /// While more of the job is to come, a device waits for what suits it much better.
    fn is_better_kept(&self, job: &Job, rank: Rank, device: DeviceId) -> bool {
        // Pumps that wait for credit bring nothing before something ends.
        let comes = self.more_to_come || job.decodes();
        if job.is_read() || !comes || self.out == 0 {
            return false;
        }
        let best = (0..job.units.len())
            .map(|rank| self.advantage(job, rank, device))
            .fold(0.0, f64::max);
        best > MUCH_BETTER * MUCH_BETTER * self.advantage(job, rank, device)
    }

    /// When the job should be done with all its work, at its share of the sessions.
    fn expected_end(&self, job: &Job) -> Outlook {
        let sessions = f64::from(self.devices.sessions.max(1));
        let mut weights = 0.0;
        let mut all = 0.0;
        for other in self.jobs.values().filter(|job| job.is_active()) {
            weights += other.facts.weight;
            all += other.work_left(self.now);
        }
        let own = job.work_left(self.now) * weights / job.facts.weight;
        Outlook {
            end: own.min(all) / sessions,
            backlog: self.jobs.values().map(Job::backlog).sum(),
        }
    }

    /// Whether the job should be done so soon that all that is left had better be in memory.
    pub(super) fn ends_soon(&self, job: &Job) -> bool {
        is_near(job, self.expected_end(job).end)
    }

    /// The idle lease on which the task ends first.
    fn best_idle(&self, job: &Job, task: TaskId) -> Option<(DeviceId, f64)> {
        let mut best: Option<(DeviceId, f64)> = None;
        for group in &self.devices.idle_groups {
            let Some(device) = self.devices.groups[*group].first_idle() else {
                continue;
            };
            let Some(time) = self.time_of(job, task, device) else {
                continue;
            };
            if best.is_none_or(|(_, least)| time.all < least) {
                best = Some((device, time.all));
            }
        }
        best
    }

    /// Whether to start it there, or to wait for a faster lease.
    fn is_worth_it(&self, job: &Job, which: (TaskId, f64), outlook: Outlook) -> bool {
        let (task, time) = which;
        let rank = job.rank(task.rendition);
        let best = job.best[rank] * job.seconds(task.span);
        if time <= best * AS_GOOD || time * SLACK <= outlook.end {
            return true;
        }
        if self.out == 0 {
            // Nothing faster is about to come home: what is known of the best is old.
            return true;
        }
        if outlook.end > 2.0 * best {
            return false;
        }
        // Near the end: what the faster leases need to come to it, and to do it, if they do all that waits. Only leases that are out
        // are waited for: those that are idle have been looked at, also where the rest of their group is faster.
        let unit = job.units[rank] * job.seconds(task.span);
        let faster = |group: &GroupId| {
            let group = &self.devices.groups[*group];
            let there = self.time_of(job, task, *group.members.first()?)?.all;
            (there < time).then(|| group.homes.len() as f64 * unit / there)
        };
        let rate: f64 = self.devices.open_groups.iter().filter_map(faster).sum();
        rate <= 0.0 || time <= outlook.backlog / rate + best
    }

    /// Lays the waiting tasks out over all leases, each where it ends first, and returns those that start now.
    fn lay_out(&self) -> Vec<Match> {
        let mut lanes = self.lanes();
        let mut starts = Vec::new();
        for job in self.jobs_in_turn() {
            for (span, rank) in in_order(job) {
                let task = job.task(span, rank);
                let Some((lane, time)) = self.first_to_end(job, task, &lanes) else {
                    continue;
                };
                let at = lanes[lane].next();
                lanes[lane].used(at, time);
                if at <= 0.0
                    && let Some(device) = lanes[lane].take_idle()
                {
                    starts.push((job.id, task, device));
                }
            }
        }
        starts
    }

    fn lanes(&self) -> Vec<Lane> {
        let lane = |group: &GroupId| {
            let group = &self.devices.groups[*group];
            let device = group.members.first().copied()?;
            let mut idle = group.idle_leases(LAID_OUT, &self.devices);
            idle.reverse();
            let late = 0.05 * self.mean_time(device);
            let homes = group.homes.iter().take(LAID_OUT);
            let mut ends: Vec<f64> = homes
                .map(|(at, _)| at.since(self.now).as_secs_f64().max(late))
                .collect();
            ends.reverse();
            Some(Lane { device, idle, ends })
        };
        self.devices
            .open_groups
            .iter()
            .filter_map(lane)
            .filter(|lane| !lane.idle.is_empty() || !lane.ends.is_empty())
            .collect()
    }

    /// What an attempt on the device takes, about; for those that should have been home.
    fn mean_time(&self, device: DeviceId) -> f64 {
        let mut jobs = self.jobs.values();
        let time = |job: &Job| {
            let rendition = *job.by_rank.first()?;
            let pace = self.devices.get(device).pace;
            let guess = job.speeds.guess(device, rendition, pace)?;
            Some(guess.seconds * job.facts.span_seconds)
        };
        jobs.find_map(time).unwrap_or(0.0)
    }

    /// The lane in which the task ends first, and what it takes there. Lanes that are about as fast count as equal: what is expected is
    /// not quite what comes, and a lease that is idle is there for sure.
    fn first_to_end(&self, job: &Job, task: TaskId, lanes: &[Lane]) -> Option<(usize, f64)> {
        let times = lanes
            .iter()
            .map(|lane| self.time_of(job, task, lane.device));
        let times: Vec<f64> = times
            .map(|time| time.map_or(f64::INFINITY, |time| time.all))
            .collect();
        let best = times.iter().copied().fold(f64::INFINITY, f64::min);
        let end = |place: usize| {
            let time = times[place];
            let as_good = if time <= best * AS_GOOD { best } else { time };
            (lanes[place].next() + as_good, time)
        };
        (0..lanes.len())
            .filter(|place| times[*place].is_finite())
            .min_by(|a, b| end(*a).partial_cmp(&end(*b)).unwrap_or(Ordering::Equal))
            .map(|place| (place, times[place]))
    }
}

/// The first task of each rank, in the order in which they are tried.
fn candidates(job: &Job, end: f64, full: bool) -> Vec<Candidate> {
    let heads = job.waiting.iter().enumerate();
    let mut heads: Vec<Candidate> = heads
        .filter_map(|(rank, spans)| Some((*spans.first()?, rank)))
        .collect();
    // Near the end the dearest first, whatever the span: `heads` is in that order. Not while pumps wait for spans to be let go.
    if full && !job.is_read() || !is_near(job, end) {
        heads.sort_unstable();
    }
    heads
}

/// Whether an end, in seconds from now, is so near that the order of the tasks matters.
fn is_near(job: &Job, end: f64) -> bool {
    let longest = job.units.first().copied().unwrap_or(0.0) * job.facts.span_seconds;
    end <= 3.0 * longest
}

/// All waiting tasks of a job in the order in which they are laid out.
fn in_order(job: &Job) -> Vec<Candidate> {
    let ranks = job.waiting.iter().enumerate();
    let mut all: Vec<Candidate> = ranks
        .flat_map(|(rank, spans)| spans.iter().map(move |span| (*span, rank)))
        .collect();
    if !job.is_read() {
        all.sort_unstable();
    }
    all
}

/// The leases of a group while tasks are laid out.
struct Lane {
    device: DeviceId,
    /// Devices with an idle lease, once for each, the first last.
    idle: Vec<DeviceId>,
    /// When the others are home, in seconds from now, the first last.
    ends: Vec<f64>,
}

impl Lane {
    fn next(&self) -> f64 {
        if self.idle.is_empty() {
            self.ends.last().copied().unwrap_or(f64::INFINITY)
        } else {
            0.0
        }
    }

    fn take_idle(&mut self) -> Option<DeviceId> {
        self.idle.pop()
    }

    /// A lease that is there at `at` is busy for `time` from then.
    fn used(&mut self, at: f64, time: f64) {
        if self.idle.is_empty() {
            self.ends.pop();
        }
        let end = at + time;
        let place = self.ends.partition_point(|other| *other > end);
        self.ends.insert(place, end);
    }
}
