//! Two simple schedules to hold the engine's against, under the same pump, budget and devices: for one job, with one pump.
//!
//! - **Queue**: tasks in the order of the source, the ladder's order inside a span; whichever session comes home takes the next.
//! - **Bound**: each rung has a worker of its own, the dearest rung on the fastest session, and works through its segments. What sessions are left are
//!   helpers: every 200 ms those that are idle take the next segment of the first rung that has one waiting. A worker whose rung
//!   is through becomes a helper. With more rungs than sessions, a worker has several rungs.
//!
//! Both try a failed task again until it is done, set a lost device aside until it is back, and stop using a session that the
//! device has no room for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use rungs_engine::device::Lease;
use rungs_engine::ids::{AttemptId, DeviceId, JobId, PumpId, RenditionId, SegmentIndex, TaskId};
use rungs_engine::schedule::{Decision, End, Event, JobFacts, Machine, Start, Tick};

use super::scheduler::Scheduler;

/// How often helpers look for work.
const POLL: Duration = Duration::from_millis(200);

/// Which simple schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain queue.
    Queue,
    /// One worker bound to each rung, and helpers that poll.
    Bound,
}

#[derive(Debug)]
struct Rung {
    rendition: RenditionId,
    waiting: VecDeque<SegmentIndex>,
    /// The encoder's bytes, by device.
    bytes: Vec<u64>,
}

#[derive(Debug)]
struct Held {
    bytes: u64,
    left: usize,
}

#[derive(Debug)]
struct Credit {
    pump: PumpId,
    span: SegmentIndex,
    bytes: u64,
}

/// One of them, in progress.
#[derive(Debug)]
pub struct Baseline {
    kind: Kind,
    machine: Machine,
    job: JobId,
    rungs: Vec<Rung>,
    /// Leases that are home: of a worker, with its place; otherwise a helper's.
    idle: VecDeque<Lease>,
    /// Which rungs a session is bound to: those with this remainder.
    bound: HashMap<(DeviceId, u32), usize>,
    workers: usize,
    aside: Vec<Lease>,
    lost: Vec<bool>,
    out: HashMap<AttemptId, (TaskId, u64)>,
    spans: BTreeMap<SegmentIndex, Held>,
    charged: u64,
    reserve: u64,
    sessions: usize,
    waiting: usize,
    asked: Option<Credit>,
    decoding: Option<Credit>,
    pump_ended: bool,
    done: u64,
    all: Option<u64>,
    attempts: u64,
    now: Tick,
    finished: bool,
}

impl Baseline {
    /// Makes one over a machine.
    #[must_use]
    pub fn new(kind: Kind, machine: Machine) -> Self {
        let devices = machine.devices.len();
        Self {
            kind,
            machine,
            job: JobId::new(0),
            rungs: Vec::new(),
            idle: VecDeque::new(),
            bound: HashMap::new(),
            workers: 0,
            aside: Vec::new(),
            lost: vec![false; devices],
            out: HashMap::new(),
            spans: BTreeMap::new(),
            charged: 0,
            reserve: 0,
            sessions: 0,
            waiting: 0,
            asked: None,
            decoding: None,
            pump_ended: false,
            done: 0,
            all: None,
            attempts: 0,
            now: Tick::ZERO,
            finished: false,
        }
    }

    fn begin(&mut self, job: JobId, facts: &JobFacts) -> Decision {
        self.job = job;
        let rung = |load: &rungs_engine::schedule::Load| Rung {
            rendition: load.rendition,
            waiting: VecDeque::new(),
            bytes: load
                .abilities
                .iter()
                .map(|a| a.map_or(0, |a| a.bytes))
                .collect(),
        };
        self.rungs = facts.loads.iter().map(rung).collect();
        // The ladder's order is from the dearest rung down.
        let mut devices: Vec<usize> = (0..self.machine.devices.len()).collect();
        let speed = |device: usize| {
            let first = facts.loads.first().and_then(|load| load.abilities[device]);
            first.map_or(f64::INFINITY, |ability| ability.seconds)
        };
        devices.sort_by(|a, b| speed(*a).total_cmp(&speed(*b)));
        let most = self
            .machine
            .devices
            .iter()
            .map(|d| d.sessions)
            .max()
            .unwrap_or(0);
        for session in 0..most {
            for device in devices
                .iter()
                .filter(|d| self.machine.devices[**d].sessions > session)
            {
                self.idle
                    .push_back(Lease::new(DeviceId::new(*device as u16), session));
            }
        }
        self.sessions = self.idle.len();
        if self.kind == Kind::Bound {
            self.workers = self.rungs.len().min(self.sessions);
            for (place, lease) in self.idle.iter().take(self.workers).enumerate() {
                self.bound.insert((lease.device(), lease.session()), place);
            }
        }
        let dearest = self
            .rungs
            .iter()
            .flat_map(|rung| &rung.bytes)
            .max()
            .copied()
            .unwrap_or(0);
        self.reserve = (dearest * self.sessions as u64).min((self.machine.memory / 2).max(dearest));
        Decision::StartPump {
            job,
            pump: PumpId::new(0),
            from: SegmentIndex::FIRST,
            until: None,
        }
    }

    fn span_ready(&mut self, span: SegmentIndex, bytes: u64) {
        if let Some(credit) = self.decoding.take() {
            self.charged -= credit.bytes;
        }
        self.charged += bytes;
        self.spans.insert(
            span,
            Held {
                bytes,
                left: self.rungs.len(),
            },
        );
        for rung in &mut self.rungs {
            rung.waiting.push_back(span);
        }
        self.waiting += self.rungs.len();
    }

    fn home(&mut self, attempt: AttemptId, lease: Lease, end: End) -> Option<Decision> {
        let (task, bytes) = self.out.remove(&attempt)?;
        self.charged -= bytes;
        if end == End::Capacity || self.lost[lease.device().place()] {
            self.aside.push(lease);
        } else {
            self.idle.push_back(lease);
        }
        if end != End::Done {
            if let Some(rung) = self
                .rungs
                .iter_mut()
                .find(|rung| rung.rendition == task.rendition)
            {
                rung.waiting.push_front(task.span);
                self.waiting += 1;
            }
            return None;
        }
        self.done += 1;
        let held = self.spans.get_mut(&task.span)?;
        held.left -= 1;
        if held.left > 0 {
            return None;
        }
        self.charged -= held.bytes;
        self.spans.remove(&task.span);
        Some(Decision::Release {
            job: self.job,
            span: task.span,
        })
    }

    /// The rung of which a session takes the next segment; `polls` says that it is time for helpers to look.
    fn choose(&self, lease: &Lease, polls: bool) -> Option<usize> {
        if self.kind == Kind::Queue {
            let waiting = self
                .rungs
                .iter()
                .enumerate()
                .filter_map(|(place, rung)| Some((*rung.waiting.front()?, place)));
            return waiting.min().map(|(_, place)| place);
        }
        let through = |rung: &Rung| self.pump_ended && rung.waiting.is_empty();
        let own = self.bound.get(&(lease.device(), lease.session())).copied();
        let live = |(_, rung): &(usize, &Rung)| !rung.waiting.is_empty();
        if let Some(worker) = own {
            let mine = || {
                self.rungs
                    .iter()
                    .enumerate()
                    .filter(|(place, _)| place % self.workers == worker)
            };
            if !mine().all(|(_, rung)| through(rung)) {
                return mine().find(live).map(|(place, _)| place);
            }
        }
        if !polls {
            return None;
        }
        self.rungs
            .iter()
            .enumerate()
            .find(live)
            .map(|(place, _)| place)
    }

    fn start(&mut self, polls: bool, decisions: &mut Vec<Decision>) {
        for _ in 0..self.idle.len() {
            if self.waiting == 0 {
                return;
            }
            let Some(lease) = self.idle.pop_front() else {
                return;
            };
            let Some(place) = self.choose(&lease, polls) else {
                self.idle.push_back(lease);
                continue;
            };
            let bytes = self.rungs[place].bytes[lease.device().place()];
            if self.charged + bytes > self.machine.memory && !self.out.is_empty() {
                self.idle.push_front(lease);
                return;
            }
            let Some(span) = self.rungs[place].waiting.pop_front() else {
                continue;
            };
            self.waiting -= 1;
            self.charged += bytes;
            let task = TaskId {
                span,
                rendition: self.rungs[place].rendition,
            };
            let attempt = AttemptId::new(self.attempts);
            self.attempts += 1;
            self.out.insert(attempt, (task, bytes));
            let start = Start {
                job: self.job,
                task,
                attempt,
                lease,
                threads: 1,
                failures: 0,
                second: false,
            };
            decisions.push(Decision::Start(start));
        }
    }

    fn grant(&mut self, decisions: &mut Vec<Decision>) {
        let Some(credit) = self.asked.take() else {
            return;
        };
        let enough = self.waiting >= self.sessions * self.machine.rules.ready_per_session as usize;
        let encoders: u64 = self.out.values().map(|(_, bytes)| bytes).sum();
        let fits = self.charged - encoders + credit.bytes + self.reserve.max(encoders)
            <= self.machine.memory;
        if !self.spans.is_empty() && (enough || !fits) {
            self.asked = Some(credit);
            return;
        }
        self.charged += credit.bytes;
        decisions.push(Decision::Grant {
            pump: credit.pump,
            span: credit.span,
        });
        self.decoding = Some(credit);
    }

    fn lose(&mut self, device: DeviceId, lost: bool) {
        self.lost[device.place()] = lost;
        let (from, to): (Vec<Lease>, Vec<Lease>) = if lost {
            self.idle
                .drain(..)
                .partition(|lease| lease.device() == device)
        } else {
            self.aside
                .drain(..)
                .partition(|lease| lease.device() == device)
        };
        if lost {
            self.aside.extend(from);
            self.idle.extend(to);
        } else {
            self.idle.extend(from);
            self.aside.extend(to);
        }
    }

    fn take(&mut self, event: Event, decisions: &mut Vec<Decision>) {
        match event {
            Event::JobAdded { job, facts } => decisions.push(self.begin(job, &facts)),
            Event::CreditAsked { pump, span, bytes } => {
                self.asked = Some(Credit { pump, span, bytes });
            }
            Event::SpanReady { span, bytes, .. } => self.span_ready(span, bytes),
            Event::PumpEnded { spans_in_all, .. } => {
                self.asked = None;
                if let Some(credit) = self.decoding.take() {
                    self.charged -= credit.bytes;
                }
                self.pump_ended = true;
                self.all = spans_in_all.map(|spans| u64::from(spans) * self.rungs.len() as u64);
            }
            Event::AttemptEnded {
                attempt,
                lease,
                end,
            } => decisions.extend(self.home(attempt, lease, end)),
            Event::DeviceLost { device } => self.lose(device, true),
            Event::DeviceBack { device } => self.lose(device, false),
            Event::GoldenEnded { lease, .. } => self.aside.push(lease),
            Event::JobStopped { .. } | Event::Woken => {}
        }
    }
}

impl Scheduler for Baseline {
    fn handle(&mut self, now: Tick, event: Event) -> Vec<Decision> {
        self.now = now;
        let polls = matches!(event, Event::Woken);
        let mut decisions = Vec::new();
        self.take(event, &mut decisions);
        self.start(polls, &mut decisions);
        self.grant(&mut decisions);
        if !self.finished && self.pump_ended && self.all == Some(self.done) {
            self.finished = true;
            decisions.push(Decision::Finished { job: self.job });
        }
        decisions
    }

    fn wake_at(&self) -> Option<Tick> {
        if self.kind == Kind::Queue || self.finished || self.idle.is_empty() {
            return None;
        }
        let polls = self.now.since_start().as_nanos() / POLL.as_nanos() + 1;
        Some(Tick::new(POLL * polls as u32))
    }

    fn charged(&self) -> Option<u64> {
        Some(self.charged)
    }

    fn free_leases(&self) -> Option<usize> {
        Some(self.idle.len() + self.aside.len())
    }

    fn is_judged(&self) -> bool {
        false
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
