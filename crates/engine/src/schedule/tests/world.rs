//! A small world for the schedule: devices with true speeds, pumps, a clock that jumps from event to event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use crate::device::Lease;
use crate::ids::{AttemptId, DeviceId, JobId, PumpId, RenditionId, SegmentIndex, TaskId};
use crate::schedule::{
    Ability, Cut, Decision, DeviceFacts, End, Event, JobFacts, Load, Machine, Rules, Schedule,
    Start, Tick,
};
pub(super) use rungs_testkit::dice::Dice;

/// What a device really does.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    /// Time that it takes, relative to its ability.
    pub(super) pace: f64,
    pub(super) jitter: f64,
    /// Chances for each attempt.
    pub(super) fails: f64,
    pub(super) hangs: f64,
    pub(super) stalls: f64,
    /// Fails everything at once.
    pub(super) black_hole: bool,
    /// Sessions that there is room for.
    pub(super) room: u32,
    pub(super) golden: f64,
    pub(super) gone: bool,
}

impl Default for Truth {
    fn default() -> Self {
        Self {
            pace: 1.0,
            jitter: 0.0,
            fails: 0.0,
            hangs: 0.0,
            stalls: 0.0,
            black_hole: false,
            room: u32::MAX,
            golden: 1.0,
            gone: false,
        }
    }
}

/// What a source really is.
#[derive(Clone, Debug)]
pub(super) struct Footage {
    pub(super) spans: u32,
    pub(super) span_seconds: f64,
    pub(super) decode: f64,
    pub(super) bytes: u64,
    /// How much sizes vary.
    pub(super) varies: f64,
}

#[derive(Debug)]
enum Next {
    Ask(PumpId),
    Ready(PumpId, SegmentIndex, u64),
    Fed(PumpId, SegmentIndex),
    Ended(PumpId, Option<u32>),
    Home(AttemptId, End),
    Golden(Lease, bool),
    Tell(Event),
    Woken,
}

struct PumpLife {
    job: JobId,
    at: SegmentIndex,
    until: Option<SegmentIndex>,
}

struct JobLife {
    footage: Footage,
    facts: JobFacts,
    committed: BTreeSet<TaskId>,
    held: BTreeSet<SegmentIndex>,
    pub(super) decoded: u64,
    stopped: bool,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) at: f64,
    pub(super) given_up: Option<(TaskId, Vec<DeviceId>)>,
}

pub(super) struct World {
    pub(super) schedule: Schedule,
    pub(super) truths: Vec<Truth>,
    pub(super) dice: Dice,
    pub(super) now: Tick,
    queue: BinaryHeap<Reverse<(Tick, u64)>>,
    nexts: BTreeMap<u64, Next>,
    count: u64,
    jobs: BTreeMap<JobId, JobLife>,
    pumps: BTreeMap<PumpId, PumpLife>,
    leases: BTreeMap<AttemptId, (Start, Tick)>,
    out: BTreeMap<AttemptId, TaskKey>,
    hung: BTreeSet<AttemptId>,
    running: Vec<u32>,
    next_job: u32,
    pub(super) ended: BTreeMap<JobId, Ended>,
    pub(super) work: BTreeMap<JobId, f64>,
    pub(super) starts: Vec<(f64, JobId, TaskId, DeviceId, bool)>,
    pub(super) pumps_started: Vec<(SegmentIndex, Option<SegmentIndex>)>,
    pub(super) quarantines: u32,
    pub(super) given_up: BTreeMap<JobId, (TaskId, Vec<DeviceId>)>,
    /// Tells all that happens, to look for what went wrong.
    pub(super) trace: bool,
    /// Audits the schedule's books after each event.
    pub(super) audit: bool,
    pub(super) decisions: u32,
    pub(super) thinking: Duration,
    pub(super) most_charged: u64,
    /// How many attempts of a task that would end well find their pictures lost.
    pub(super) loses: BTreeMap<TaskId, u32>,
    /// How often any attempt does that would end well.
    pub(super) vanishes: f64,
    /// Spans that are held, and known to be lost.
    lost: BTreeSet<(JobId, SegmentIndex)>,
    pub(super) let_go: Vec<SegmentIndex>,
}

type TaskKey = (JobId, TaskId);

impl World {
    pub(super) fn new(machine: Machine, truths: Vec<Truth>, seed: u64) -> Self {
        Self {
            schedule: Schedule::new(machine),
            running: vec![0; truths.len()],
            truths,
            dice: Dice::new(seed),
            now: Tick::ZERO,
            queue: BinaryHeap::new(),
            nexts: BTreeMap::new(),
            count: 0,
            jobs: BTreeMap::new(),
            pumps: BTreeMap::new(),
            leases: BTreeMap::new(),
            out: BTreeMap::new(),
            hung: BTreeSet::new(),
            next_job: 0,
            ended: BTreeMap::new(),
            work: BTreeMap::new(),
            starts: Vec::new(),
            pumps_started: Vec::new(),
            quarantines: 0,
            given_up: BTreeMap::new(),
            trace: false,
            audit: true,
            decisions: 0,
            thinking: Duration::ZERO,
            most_charged: 0,
            loses: BTreeMap::new(),
            vanishes: 0.0,
            lost: BTreeSet::new(),
            let_go: Vec::new(),
        }
    }

    fn push(&mut self, after: f64, next: Next) {
        self.count += 1;
        let at = self.now.after(Duration::from_secs_f64(after.max(0.0)));
        self.nexts.insert(self.count, next);
        self.queue.push(Reverse((at, self.count)));
    }

    pub(super) fn tell(&mut self, after: f64, event: Event) {
        self.push(after, Next::Tell(event));
    }

    pub(super) fn add_job(&mut self, after: f64, facts: JobFacts, footage: Footage) -> JobId {
        let job = JobId::new(self.next_job);
        self.next_job += 1;
        self.jobs.insert(
            job,
            JobLife {
                footage,
                committed: facts.done.clone(),
                facts: facts.clone(),
                held: BTreeSet::new(),
                decoded: 0,
                stopped: false,
            },
        );
        let facts = Box::new(facts);
        self.tell(after, Event::JobAdded { job, facts });
        job
    }

    pub(super) fn decoded(&self, job: JobId) -> u64 {
        self.jobs[&job].decoded
    }

    /// Runs until all jobs have ended; panics when it stands still.
    pub(super) fn run(&mut self) {
        let mut steps = 0u64;
        while self.ended.len() < self.jobs.len() {
            steps += 1;
            assert!(steps < 100_000, "goes on for ever");
            self.step();
        }
        // What was abandoned may still come home.
        while let Some(Reverse((at, id))) = self.queue.pop() {
            self.now = self.now.max(at);
            if let Some(next) = self.nexts.remove(&id) {
                self.happen(next);
            }
        }
    }

    pub(super) fn step(&mut self) {
        let first = self.queue.peek().map(|Reverse((at, _))| *at);
        let wake = self.schedule.wake_at();
        if let Some(wake) = wake
            && first.is_none_or(|first| wake < first)
        {
            self.now = self.now.max(wake);
            self.happen(Next::Woken);
            return;
        }
        let Some(Reverse((at, id))) = self.queue.pop() else {
            panic!("stands still at {:?}: {:#?}", self.now, self.schedule);
        };
        self.now = self.now.max(at);
        if let Some(next) = self.nexts.remove(&id) {
            self.happen(next);
        }
    }

    fn happen(&mut self, next: Next) {
        let event = match next {
            Next::Ask(pump) => self.asks(pump),
            Next::Ready(pump, span, bytes) => self.ready(pump, (span, bytes)),
            Next::Fed(pump, span) => {
                self.goes_on(pump, span);
                None
            }
            Next::Ended(pump, spans_in_all) => {
                self.pumps.remove(&pump);
                Some(Event::PumpEnded { pump, spans_in_all })
            }
            Next::Home(attempt, end) => self.come_home(attempt, end),
            Next::Golden(lease, passed) => Some(Event::GoldenEnded { lease, passed }),
            Next::Tell(event) => {
                self.told(&event);
                Some(event)
            }
            Next::Woken => Some(Event::Woken),
        };
        let Some(event) = event else {
            return;
        };
        if self.trace {
            eprintln!("{:?} {event:?}", self.now);
        }
        let before = Instant::now();
        let decisions = self.schedule.handle(self.now, event);
        self.thinking += before.elapsed();
        self.decisions += decisions.len() as u32;
        for decision in decisions {
            if self.trace {
                eprintln!("    {decision:?}");
            }
            self.obey(decision);
        }
        self.most_charged = self.most_charged.max(self.schedule.charged());
        if self.audit
            && let Err(wrong) = self.schedule.check()
        {
            panic!("{wrong}");
        }
    }

    /// A pump wants to decode its next span, or has met the end of the source.
    fn asks(&mut self, pump: PumpId) -> Option<Event> {
        let life = self.pumps.get(&pump)?;
        let (span, footage) = (life.at, &self.jobs[&life.job].footage);
        let (spans, bytes) = (footage.spans, footage.bytes);
        if span.get() < spans {
            return Some(Event::CreditAsked { pump, span, bytes });
        }
        self.pumps.remove(&pump);
        let spans_in_all = Some(spans);
        Some(Event::PumpEnded { pump, spans_in_all })
    }

    /// A span is decoded.
    fn ready(&mut self, pump: PumpId, (span, bytes): (SegmentIndex, u64)) -> Option<Event> {
        let job = self.goes_on(pump, span)?;
        let life = self.jobs.get_mut(&job).expect("has one");
        assert!(life.held.insert(span), "span {span} is held twice");
        life.decoded += 1;
        let seconds = life.footage.span_seconds;
        Some(Event::SpanReady {
            pump,
            span,
            bytes,
            seconds,
        })
    }

    /// A pump is done with a span; gives its job if it still reads.
    fn goes_on(&mut self, pump: PumpId, span: SegmentIndex) -> Option<JobId> {
        let life = self.pumps.get_mut(&pump)?;
        life.at = span.next();
        let (job, ends) = (life.job, life.until == Some(life.at));
        let next = if ends {
            Next::Ended(pump, None)
        } else {
            Next::Ask(pump)
        };
        self.push(0.0, next);
        Some(job)
    }

    fn told(&mut self, event: &Event) {
        match event {
            Event::JobStopped { job } => {
                if let Some(life) = self.jobs.get_mut(job) {
                    life.stopped = true;
                }
            }
            Event::DeviceLost { device } => self.truths[device.place()].gone = true,
            Event::DeviceBack { device } => self.truths[device.place()].gone = false,
            _ => {}
        }
    }

    fn come_home(&mut self, attempt: AttemptId, end: End) -> Option<Event> {
        let (start, since) = self.leases.remove(&attempt)?;
        let device = start.lease.device();
        self.running[device.place()] -= 1;
        self.hung.remove(&attempt);
        self.out.remove(&attempt);
        let end = if self.truths[device.place()].gone && end == End::Done {
            End::Failed
        } else {
            end
        };
        *self.work.entry(start.job).or_default() += self.now.since(since).as_secs_f64();
        if end == End::Done {
            let job = self.jobs.get_mut(&start.job).expect("has one");
            job.committed.insert(start.task);
        }
        let held = &self.jobs[&start.job].held;
        if end == End::PicturesLost && held.contains(&start.task.span) {
            self.lost.insert((start.job, start.task.span));
        }
        Some(Event::AttemptEnded {
            attempt,
            lease: start.lease,
            end,
        })
    }

    fn obey(&mut self, decision: Decision) {
        match decision {
            Decision::StartPump {
                job,
                pump,
                from: at,
                until,
            } => {
                self.pumps_started.push((at, until));
                self.pumps.insert(pump, PumpLife { job, at, until });
                self.push(0.0, Next::Ask(pump));
            }
            Decision::Grant { pump, span } => {
                let (footage, seconds) = self.decoding(pump);
                let off = 1.0 + footage.varies * (self.dice.unit() * 2.0 - 1.0);
                let bytes = (footage.bytes as f64 * off) as u64;
                self.push(seconds, Next::Ready(pump, span, bytes));
            }
            Decision::Feed { pump, span, starts } => {
                for start in starts {
                    assert_eq!(start.task.span, span);
                    self.begin(start, true);
                }
                let (_, seconds) = self.decoding(pump);
                self.push(seconds, Next::Fed(pump, span));
            }
            Decision::EndPump { pump } => self.push(0.0, Next::Ended(pump, None)),
            Decision::Start(start) => self.begin(start, false),
            Decision::Cancel { attempt, .. } => {
                if self.hung.contains(&attempt) {
                    return;
                }
                self.push(0.001, Next::Home(attempt, End::Cancelled));
            }
            Decision::Abandon { attempt, .. } => {
                assert!(self.hung.contains(&attempt), "abandoned, and does not hang");
                self.out.remove(&attempt);
            }
            Decision::Golden { lease } => {
                let truth = &self.truths[lease.device().place()];
                let (chance, bad) = (truth.golden, truth.gone || truth.black_hole);
                let passed = self.dice.chance(chance) && !bad;
                self.push(0.5, Next::Golden(lease, passed));
            }
            Decision::Release { job, span } => self.release(job, span),
            Decision::LetGo { job, span } => self.let_go(job, span),
            Decision::GiveUp {
                job,
                task,
                failed_on,
            } => {
                let life = self.jobs.get_mut(&job).expect("has one");
                life.stopped = true;
                assert!(self.given_up.insert(job, (task, failed_on)).is_none());
            }
            Decision::Quarantined { .. } => self.quarantines += 1,
            Decision::Readmitted { .. }
            | Decision::TakeOver { .. }
            | Decision::CapacityLowered { .. } => {}
            Decision::Finished { job } => self.finished(job),
        }
    }

    fn release(&mut self, id: JobId, span: SegmentIndex) {
        let job = self.jobs.get_mut(&id).expect("has one");
        assert!(job.held.remove(&span), "released, and not held");
        self.lost.remove(&(id, span));
    }

    fn let_go(&mut self, id: JobId, span: SegmentIndex) {
        assert!(self.lost.contains(&(id, span)), "let go, and not lost");
        let of_it = |(of, task): &&TaskKey| *of == id && task.span == span;
        assert_eq!(self.out.values().find(of_it), None, "has it, and is out");
        self.release(id, span);
        self.let_go.push(span);
    }

    /// What a pump reads, and how long a span of it takes.
    fn decoding(&self, pump: PumpId) -> (Footage, f64) {
        let footage = self.jobs[&self.pumps[&pump].job].footage.clone();
        let seconds = footage.decode * footage.span_seconds;
        (footage, seconds)
    }

    fn begin(&mut self, start: Start, fed: bool) {
        let job = &self.jobs[&start.job];
        assert!(!job.stopped, "started after the job was stopped");
        assert!(
            fed || job.held.contains(&start.task.span),
            "its span is not held"
        );
        assert!(!job.committed.contains(&start.task), "is done already");
        let lost = self.lost.contains(&(start.job, start.task.span));
        assert!(!lost, "started though its pictures are lost");
        let device = start.lease.device();
        let ability = job.facts.loads[start.task.rendition.place()].abilities[device.place()];
        let ability = ability.expect("the device can do it");
        let key = (start.job, start.task);
        let others = self.out.values().filter(|other| **other == key).count();
        assert!(others <= 1, "two are out already");
        assert_eq!(start.second, others == 1, "says whether another is out");
        let truth = self.truths[device.place()].clone();
        let mut seconds = ability.seconds * truth.pace * job.footage.span_seconds;
        seconds *= 1.0 + truth.jitter * (self.dice.unit() * 2.0 - 1.0);
        let at = self.now.since_start().as_secs_f64();
        self.starts
            .push((at, start.job, start.task, device, start.second));
        self.out.insert(start.attempt, key);
        let id = start.attempt;
        self.running[device.place()] += 1;
        let crowded = self.running[device.place()] > truth.room;
        self.leases.insert(id, (start, self.now));
        if self.dice.chance(truth.hangs) {
            self.hung.insert(id);
            if self.dice.chance(0.5) {
                self.push(seconds * 1000.0, Next::Home(id, End::Failed));
            }
        } else if crowded {
            self.push(0.01, Next::Home(id, End::Capacity));
        } else if truth.black_hole || truth.gone {
            self.push(0.001, Next::Home(id, End::Failed));
        } else if self.dice.chance(truth.fails) {
            let part = self.dice.unit();
            self.push(seconds * part, Next::Home(id, End::Failed));
        } else if self.finds_pictures_lost(key.1) {
            let part = self.dice.unit();
            self.push(seconds * part, Next::Home(id, End::PicturesLost));
        } else if self.dice.chance(truth.stalls) {
            self.push(seconds * 8.0, Next::Home(id, End::Done));
        } else {
            self.push(seconds, Next::Home(id, End::Done));
        }
    }

    fn finds_pictures_lost(&mut self, task: TaskId) -> bool {
        if let Some(left) = self.loses.get_mut(&task).filter(|left| **left > 0) {
            *left -= 1;
            return true;
        }
        self.vanishes > 0.0 && self.dice.chance(self.vanishes)
    }

    fn finished(&mut self, id: JobId) {
        let job = &self.jobs[&id];
        if !job.stopped {
            let all = job.footage.spans as usize * job.facts.loads.len();
            assert_eq!(job.committed.len(), all, "a task was lost");
        }
        assert!(job.held.is_empty(), "spans were not released");
        assert!(self.pumps.values().all(|pump| pump.job != id));
        let ended = Ended {
            at: self.now.since_start().as_secs_f64(),
            given_up: self.given_up.get(&id).cloned(),
        };
        assert!(self.ended.insert(id, ended).is_none(), "finished twice");
    }
}

/// A machine of devices with so many sessions each.
pub(super) fn machine(sessions: &[u32], memory: u64) -> Machine {
    let device = |sessions: &u32| DeviceFacts {
        sessions: *sessions,
        threads: 0,
        copy_seconds_per_byte: 0.0,
    };
    Machine {
        devices: sessions.iter().map(device).collect(),
        memory,
        rules: Rules::default(),
    }
}

/// A job whose renditions cost so much on devices that are so slow.
pub(super) fn job(costs: &[f64], slow: &[f64], footage: &Footage) -> JobFacts {
    let load = |(place, cost): (usize, &f64)| Load {
        rendition: RenditionId::new(place as u16),
        successors: Vec::new(),
        abilities: slow
            .iter()
            .map(|slow| {
                Some(Ability {
                    seconds: cost * slow,
                    measured: true,
                    bytes: 1,
                })
            })
            .collect(),
    };
    JobFacts {
        weight: 1.0,
        loads: costs.iter().enumerate().map(load).collect(),
        span_seconds: footage.span_seconds,
        span_bytes: footage.bytes,
        expected_spans: Some(footage.spans),
        spans_in_all: None,
        done: BTreeSet::new(),
        decoders: 1,
        cuts: (1..footage.spans)
            .map(|span| Cut {
                span: SegmentIndex::new(span),
                waste: 0.5,
            })
            .collect(),
        decode_seconds: 0.0,
        fed_bytes: 0,
    }
}

pub(super) fn footage(spans: u32, decode: f64) -> Footage {
    Footage {
        spans,
        span_seconds: 4.0,
        decode,
        bytes: 100,
        varies: 0.0,
    }
}
