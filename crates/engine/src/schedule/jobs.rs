//! A job: its spans, the tasks that wait, what is done, and how much is left.

use std::collections::{BTreeMap, BTreeSet};

use super::devices::Devices;
use super::facts::{JobFacts, Tick};
use super::pumps::{Pump, Stretch};
use super::speeds::Speeds;
use crate::ids::{AttemptId, DeviceId, JobId, PumpId, RenditionId, SegmentIndex, TaskId};

/// Place of a rendition when they are ordered by cost, the dearest first.
pub(super) type Rank = usize;

/// The share of the work below which a few devices do not say what is fast: among many that are alike, some always seem to be.
const BEST_SHARE: f64 = 0.1;
/// As many devices of a group say what is expected of it.
const SAMPLE: usize = 16;

/// A span in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanState {
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    /// Its renditions that are not done.
    pub(super) left: usize,
    /// Attempts that have its pictures, without those that were abandoned.
    pub(super) out: usize,
    /// Attempts that have its pictures and were abandoned.
    pub(super) hung: usize,
    /// Its pictures go straight to the attempts: it cannot be tried again from memory.
    pub(super) fed: bool,
    /// Its pictures are gone before all was done.
    pub(super) lost: bool,
    /// Unlike for each time that a span is decoded.
    pub(super) decode: u64,
    /// Seconds that the slowest of the attempts that are fed together should take.
    pub(super) slowest: f64,
}

/// What is known of a task that is out or has failed.
#[derive(Debug, Default)]
pub(super) struct TaskState {
    /// The devices of the attempts that failed, in order.
    pub(super) failed_on: Vec<DeviceId>,
    /// The decodes of its span whose pictures were lost while it had them.
    pub(super) lost: BTreeSet<u64>,
    /// Attempts that are out, without those that were abandoned.
    pub(super) out: Vec<AttemptId>,
}

/// Sums over the attempts that are out, from which follows how much work is still in them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Running {
    pub(super) count: usize,
    rate: f64,
    rate_times_finish: f64,
}

impl Running {
    pub(super) fn add(&mut self, rate: f64, finish: Tick) {
        self.count += 1;
        self.rate += rate;
        self.rate_times_finish += rate * finish.since_start().as_secs_f64();
    }

    pub(super) fn remove(&mut self, rate: f64, finish: Tick) {
        self.count -= 1;
        self.rate -= rate;
        self.rate_times_finish -= rate * finish.since_start().as_secs_f64();
        if self.count == 0 {
            *self = Self::default();
        }
    }

    fn work(&self, now: Tick) -> f64 {
        (self.rate_times_finish - self.rate * now.since_start().as_secs_f64()).max(0.0)
    }
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) facts: JobFacts,
    pub(super) speeds: Speeds,
    /// Renditions, the dearest first.
    pub(super) by_rank: Vec<RenditionId>,
    rank: Vec<Rank>,
    /// Seconds that an average session takes for a second of each rendition, by rank.
    pub(super) units: Vec<f64>,
    /// The same for the fastest devices that are open: those that do [`BEST_SHARE`] of what all could do.
    pub(super) best: Vec<f64>,
    /// Devices that are open and can do a rendition, by place in the plan.
    pub(super) open: Vec<u32>,
    /// Devices that are open or may be again.
    pub(super) hope: Vec<u32>,
    pub(super) spans: BTreeMap<SegmentIndex, SpanState>,
    pub(super) span_bytes: u64,
    /// Tasks that wait and have not failed, by rank.
    pub(super) waiting: Vec<BTreeSet<SegmentIndex>>,
    waiting_seconds: Vec<f64>,
    pub(super) waiting_count: usize,
    /// Tasks that wait and have failed before.
    pub(super) troubled: BTreeSet<TaskId>,
    pub(super) tasks: BTreeMap<TaskId, TaskState>,
    pub(super) done: BTreeSet<TaskId>,
    /// By rendition: how many classes have made it and could not, so that the next one does.
    pub(super) class: Vec<usize>,
    /// By rendition: whether anything of it is done, so that no other class may make it.
    pub(super) begun: Vec<bool>,
    pub(super) running: Running,
    /// Session-seconds that it has had, by weight.
    pub(super) used: f64,
    pub(super) pumps: BTreeMap<PumpId, Pump>,
    /// Parts of the source that no pump reads yet, in order.
    pub(super) stretches: Vec<Stretch>,
    /// Spans of the source, once known.
    pub(super) end: Option<u32>,
    /// Whether the last span asked for had to wait for credit: the pumps are faster than the sessions.
    pub(super) pump_waited: bool,
    /// Seconds that a pump takes for a second of the source: what was seen, before that what was said.
    pub(super) decode_seconds: f64,
    pub(super) decode_seen: bool,
    /// Seconds of the source decoded in vain to start in the middle.
    pub(super) wasted: f64,
    /// How often a pump ended before its stretch did.
    pub(super) pump_failures: u32,
    pub(super) stopped: bool,
    /// Bytes of its dearest encoder.
    pub(super) dearest: u64,
    /// Bytes of the dearest encoder of each session.
    pub(super) dearest_all: u64,
}

impl Job {
    pub(super) fn new(id: JobId, facts: JobFacts, devices: &Devices) -> Self {
        let renditions = facts.loads.len();
        let mut job = Self {
            id,
            speeds: Speeds::new(&facts.loads, devices.len()),
            by_rank: facts.loads.iter().map(|load| load.rendition).collect(),
            rank: vec![0; renditions],
            units: vec![1.0; renditions],
            best: vec![1.0; renditions],
            open: vec![0; renditions],
            hope: vec![0; renditions],
            spans: BTreeMap::new(),
            span_bytes: 0,
            waiting: vec![BTreeSet::new(); renditions],
            waiting_seconds: vec![0.0; renditions],
            waiting_count: 0,
            troubled: BTreeSet::new(),
            tasks: BTreeMap::new(),
            done: facts.done.clone(),
            class: vec![0; renditions],
            begun: begun(&facts),
            running: Running::default(),
            used: 0.0,
            pumps: BTreeMap::new(),
            stretches: Vec::new(),
            end: None,
            pump_waited: false,
            decode_seconds: facts.decode_seconds,
            decode_seen: false,
            wasted: 0.0,
            pump_failures: 0,
            stopped: false,
            dearest: 0,
            dearest_all: 0,
            facts,
        };
        job.order_by_cost(devices);
        job.weigh_encoders(devices);
        job.refresh(devices);
        if let Some(end) = job.facts.spans_in_all {
            job.set_end(end);
        }
        job.plan_stretches();
        job
    }

    /// Bytes of the rendition's dearest encoder.
    pub(super) fn dearest_of(&self, rendition: RenditionId) -> u64 {
        let load = &self.facts.loads[rendition.place()];
        let abilities = load.abilities.iter().flatten();
        abilities.map(|ability| ability.bytes).max().unwrap_or(0)
    }

    pub(super) fn weigh_encoders(&mut self, devices: &Devices) {
        (self.dearest, self.dearest_all) = (0, 0);
        for (id, device) in devices.iter() {
            let abilities = self.by_rank.iter().map(|r| self.speeds.ability(id, *r));
            let dearest = abilities.flatten().map(|ability| ability.bytes).max();
            let dearest = dearest.unwrap_or(0);
            self.dearest = self.dearest.max(dearest);
            self.dearest_all += dearest * u64::from(device.facts.sessions);
        }
    }

    /// Orders the renditions by the mean of what the devices need.
    fn order_by_cost(&mut self, devices: &Devices) {
        let cost = |rendition: RenditionId| {
            let each = |(id, device): (DeviceId, &super::devices::Device)| {
                let guess = self.speeds.guess(id, rendition, device.pace)?;
                Some(f64::from(device.facts.sessions) / guess.seconds)
            };
            1.0 / devices.iter().filter_map(each).sum::<f64>().max(1e-12)
        };
        let mut costs: Vec<(f64, RenditionId)> =
            self.by_rank.iter().map(|r| (cost(*r), *r)).collect();
        costs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (rank, (_, rendition)) in costs.iter().enumerate() {
            self.by_rank[rank] = *rendition;
            self.rank[rendition.place()] = rank;
        }
    }

    /// Learns again what an average session and the best ones take.
    pub(super) fn refresh(&mut self, devices: &Devices) {
        for (rank, rendition) in self.by_rank.iter().enumerate() {
            let mut sessions = 0.0;
            let mut groups: Vec<(f64, f64)> = Vec::new();
            for group in &devices.open_groups {
                let group = &devices.groups[*group];
                let of_group = f64::from(group.sessions);
                sessions += of_group;
                let members = group.members.iter().take(SAMPLE);
                let guesses = members.filter_map(|device| {
                    let pace = devices.get(*device).pace;
                    Some(self.speeds.guess(*device, *rendition, pace)?.seconds)
                });
                let (count, sum) = guesses.fold((0.0, 0.0), |(n, sum), one| (n + 1.0, sum + one));
                if count > 0.0 {
                    groups.push((sum / count, of_group * count / sum));
                }
            }
            let rate: f64 = groups.iter().map(|(_, rate)| rate).sum();
            if rate > 0.0 {
                self.units[rank] = sessions / rate;
                self.best[rank] = fastest(groups, BEST_SHARE * rate);
            }
        }
    }

    pub(super) fn rank(&self, rendition: RenditionId) -> Rank {
        self.rank[rendition.place()]
    }

    pub(super) fn needs(&self, span: SegmentIndex) -> bool {
        self.by_rank.iter().any(|rendition| {
            !self.done.contains(&TaskId {
                span,
                rendition: *rendition,
            })
        })
    }

    /// Its source has been read to the end, as far as it is needed.
    pub(super) fn is_read(&self) -> bool {
        self.pumps.is_empty() && self.stretches.is_empty()
    }

    /// All tasks are done.
    pub(super) fn is_complete(&self) -> bool {
        let tasks = |end: u32| self.done.len() == end as usize * self.by_rank.len();
        self.is_read() && self.end.is_some_and(tasks)
    }

    pub(super) fn set_end(&mut self, end: u32) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        let beyond = TaskId {
            span: SegmentIndex::new(end),
            rendition: RenditionId::new(0),
        };
        self.done.split_off(&beyond);
    }

    /// A span is in memory: its tasks that are not done wait. Returns whether anybody needs it.
    pub(super) fn hold(&mut self, span: SegmentIndex, state: SpanState) -> bool {
        let missing = self.missing(span);
        let left = missing.len();
        self.span_bytes += state.bytes;
        self.spans.insert(span, SpanState { left, ..state });
        if !self.stopped && !state.fed {
            for task in missing {
                self.requeue(task);
            }
        }
        left > 0 && !self.stopped
    }

    pub(super) fn task(&self, span: SegmentIndex, rank: Rank) -> TaskId {
        TaskId {
            span,
            rendition: self.by_rank[rank],
        }
    }

    /// Seconds of a span.
    pub(super) fn seconds(&self, span: SegmentIndex) -> f64 {
        self.spans
            .get(&span)
            .map_or(self.facts.span_seconds, |state| state.seconds)
    }

    /// Takes a task out of those that wait.
    pub(super) fn take(&mut self, task: TaskId) {
        let rank = self.rank(task.rendition);
        if self.waiting[rank].remove(&task.span) {
            self.waiting_count -= 1;
            self.waiting_seconds[rank] -= self.seconds(task.span);
            if self.waiting[rank].is_empty() {
                self.waiting_seconds[rank] = 0.0;
            }
        } else if self.troubled.remove(&task) {
            self.waiting_count -= 1;
        }
    }

    /// A task waits, as one that has failed before if it has.
    pub(super) fn requeue(&mut self, task: TaskId) {
        let fresh = self
            .tasks
            .get(&task)
            .is_none_or(|state| state.failed_on.is_empty());
        if !fresh {
            self.waiting_count += usize::from(self.troubled.insert(task));
            return;
        }
        let rank = self.rank(task.rendition);
        if self.waiting[rank].insert(task.span) {
            self.waiting_count += 1;
            self.waiting_seconds[rank] += self.seconds(task.span);
        }
    }

    /// Spans that the source should come to.
    pub(super) fn expected_end(&self) -> Option<u32> {
        self.end.or(self.facts.expected_spans)
    }

    /// Spans that pumps have still to read, as far as anybody knows.
    fn unread(&self) -> f64 {
        let end = self.expected_end();
        let length = |from: SegmentIndex, until: Option<SegmentIndex>| {
            until
                .map(SegmentIndex::get)
                .or(end)
                .map_or(f64::INFINITY, |until| {
                    f64::from(until.saturating_sub(from.get()))
                })
        };
        let reading = self
            .pumps
            .values()
            .map(|pump| length(pump.next, pump.until));
        let pending = self.stretches.iter().map(|s| length(s.from, s.until));
        reading.chain(pending).sum()
    }

    /// Work that is left, in seconds of an average session.
    pub(super) fn work_left(&self, now: Tick) -> f64 {
        self.running.work(now) + self.backlog()
    }

    /// Work that waits, in the same.
    pub(super) fn waiting_work(&self) -> f64 {
        let units = self.units.iter().zip(&self.waiting_seconds);
        units.map(|(unit, seconds)| unit * seconds).sum()
    }

    /// Work that waits or has not been read yet, in the same.
    pub(super) fn backlog(&self) -> f64 {
        let all: f64 = self.units.iter().sum();
        let span = self.facts.span_seconds * all;
        let unread = self.unread();
        let unread = if span > 0.0 { unread * span } else { 0.0 };
        self.waiting_work() + unread
    }

    /// Has anything waiting or out.
    pub(super) fn is_active(&self) -> bool {
        self.waiting_count > 0 || self.running.count > 0
    }

    /// Bytes that it is charged with for pictures.
    pub(super) fn charged(&self) -> u64 {
        let granted = |pump: &Pump| pump.granted.map_or(0, |granted| granted.bytes);
        self.span_bytes + self.pumps.values().map(granted).sum::<u64>()
    }

    /// Whether it holds any pictures, or may be about to.
    pub(super) fn holds(&self) -> bool {
        !self.spans.is_empty() || self.pumps.values().any(|pump| pump.granted.is_some())
    }

    /// Says what is wrong with the books, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        let id = self.id;
        let bytes: u64 = self.spans.values().map(|span| span.bytes).sum();
        if bytes != self.span_bytes {
            let books = self.span_bytes;
            return Err(format!(
                "job {id}: spans take {bytes} bytes, {books} in the books"
            ));
        }
        let mut waiting = self.troubled.len();
        let troubled = self.troubled.iter().copied();
        let mut tasks: Vec<TaskId> = troubled.collect();
        for (rank, spans) in self.waiting.iter().enumerate() {
            waiting += spans.len();
            tasks.extend(spans.iter().map(|span| self.task(*span, rank)));
        }
        if waiting != self.waiting_count {
            let books = self.waiting_count;
            return Err(format!(
                "job {id}: {waiting} tasks wait, {books} in the books"
            ));
        }
        for task in tasks {
            if !self.spans.contains_key(&task.span) {
                return Err(format!("job {id}: {task:?} waits, and its span is gone"));
            }
            if self.spans[&task.span].lost {
                return Err(format!("job {id}: {task:?} waits, and its span is lost"));
            }
            if self.done.contains(&task) {
                return Err(format!("job {id}: {task:?} waits, and is done"));
            }
        }
        Ok(())
    }
}

/// Of which renditions an earlier run has done anything.
fn begun(facts: &JobFacts) -> Vec<bool> {
    let mut begun = vec![false; facts.loads.len()];
    for task in &facts.done {
        if let Some(begun) = begun.get_mut(task.rendition.place()) {
            *begun = true;
        }
    }
    begun
}

/// What the fastest groups take that together have such a rate, of (seconds, rate).
fn fastest(mut groups: Vec<(f64, f64)>, enough: f64) -> f64 {
    groups.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0;
    let reaches = |group: &&(f64, f64)| {
        sum += group.1;
        sum >= enough
    };
    groups.iter().find(reaches).map_or(1.0, |group| group.0)
}
