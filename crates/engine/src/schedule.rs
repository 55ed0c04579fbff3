//! Decides what runs where: events in, decisions out.
//!
//! A pure state machine without threads, clock, input or output. It holds ids and bytes, never pictures. Waiting tasks are
//! ordered by span, then by cost, the dearest first; a lease that comes home is matched at once. Two rules keep it from
//! standing still: a span may always be decoded when no other is held, and a task may always start when no other runs. So
//! whatever the budget, while there is work, something is running whose end will make room.

use std::collections::{BTreeMap, BTreeSet};

use crate::device::{Device, Lease};
use crate::ids::{RenditionId, SegmentIndex, TaskId};

/// How often a task is tried before the job gives up.
pub const ATTEMPTS: u32 = 3;
/// Tasks kept ready for each session, so that one is always at hand when a lease comes home.
const READY_PER_SESSION: usize = 2;

/// What the schedule knows of a rendition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Which rendition.
    pub rendition: RenditionId,
    /// Expected effort for a second of it, in any unit: only the order matters.
    pub cost: f64,
    /// Memory of one open encoder, in bytes.
    pub bytes: u64,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// The pump is about to decode a span of this many bytes and waits for credit.
    CreditAsked {
        /// The span.
        span: SegmentIndex,
        /// Expected size of its pictures.
        bytes: u64,
    },
    /// A span is complete.
    SpanReady {
        /// The span.
        span: SegmentIndex,
        /// Real size of its pictures.
        bytes: u64,
    },
    /// There are no more spans than these.
    SourceEnded {
        /// How many there were.
        spans: u32,
    },
    /// A task came home with its lease.
    TaskEnded {
        /// The task.
        task: TaskId,
        /// Its lease.
        lease: Lease,
        /// Whether it is done, or has to be tried again.
        done: bool,
    },
    /// Nothing new may start; what runs is awaited.
    Stopped,
}

/// What has to be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let the pump decode the span.
    Grant {
        /// The span.
        span: SegmentIndex,
    },
    /// Encode.
    Start {
        /// The task.
        task: TaskId,
        /// The right to a session, which travels with the task.
        lease: Lease,
        /// How many threads the encoder may use.
        threads: u32,
        /// Which try this is, counted from 1.
        attempt: u32,
    },
    /// Every rendition of the span is done: let its pictures go.
    Release {
        /// The span.
        span: SegmentIndex,
    },
    /// The task failed as often as is allowed; the schedule has stopped itself.
    GiveUp {
        /// The task.
        task: TaskId,
        /// How often it was tried.
        attempts: u32,
    },
    /// All tasks of all spans are done and all leases are home, or the schedule was stopped and all leases are home.
    Finished,
}

#[derive(Debug)]
struct SpanState {
    bytes: u64,
    /// Renditions that are not done.
    left: usize,
}

/// Largest first: the place in the list of renditions ordered by cost.
type Rank = usize;

/// The state machine of one job.
#[derive(Debug)]
pub struct Schedule {
    loads: Vec<Load>,
    budget: u64,
    threads: u32,
    sessions: usize,
    free: Vec<Lease>,
    waiting: BTreeSet<(SegmentIndex, Rank)>,
    running: BTreeMap<TaskId, u64>,
    failures: BTreeMap<TaskId, u32>,
    spans: BTreeMap<SegmentIndex, SpanState>,
    asked: Option<(SegmentIndex, u64)>,
    decoding: Option<SegmentIndex>,
    /// Tasks that an earlier run has done, and that no encoder gets.
    done: BTreeSet<TaskId>,
    /// `Some` when the source has ended.
    spans_in_all: Option<u32>,
    spans_done: u32,
    stopped: bool,
    finished: bool,
}

impl Schedule {
    /// Makes the schedule of a job over `devices`, with `budget` bytes for spans and encoders together.
    #[must_use]
    pub fn new(devices: &[Device], mut loads: Vec<Load>, budget: u64) -> Self {
        loads.sort_by(|a, b| {
            b.cost
                .total_cmp(&a.cost)
                .then(a.rendition.cmp(&b.rendition))
        });
        let free: Vec<Lease> = devices
            .iter()
            .flat_map(|device| {
                (0..device.sessions)
                    .rev()
                    .map(|session| Lease::new(device.id.clone(), session))
            })
            .collect();
        Self {
            loads,
            budget,
            threads: devices.iter().map(|d| d.threads).sum(),
            sessions: free.len(),
            free,
            waiting: BTreeSet::new(),
            running: BTreeMap::new(),
            failures: BTreeMap::new(),
            spans: BTreeMap::new(),
            asked: None,
            decoding: None,
            done: BTreeSet::new(),
            spans_in_all: None,
            spans_done: 0,
            stopped: false,
            finished: false,
        }
    }

    /// The same without tasks that an earlier run has done: they are never started, and spans that have no others are let go at
    /// once.
    #[must_use]
    pub fn without(mut self, done: BTreeSet<TaskId>) -> Self {
        self.done = done;
        self
    }

    /// Takes an event and returns what follows from it, in the order in which it has to be done.
    pub fn handle(&mut self, event: Event) -> Vec<Decision> {
        let mut decisions = Vec::new();
        match event {
            Event::CreditAsked { span, bytes } => self.asked = Some((span, bytes)),
            Event::SpanReady { span, bytes } => decisions.extend(self.span_ready(span, bytes)),
            Event::SourceEnded { spans } => {
                self.spans_in_all = Some(spans);
                self.asked = None;
                // Credit given for a span that turned out not to exist.
                if let Some(span) = self.decoding.take() {
                    self.spans.remove(&span);
                }
            }
            Event::TaskEnded { task, lease, done } => {
                self.free.push(lease);
                self.running.remove(&task);
                decisions.extend(self.task_ended(task, done));
            }
            Event::Stopped => self.stop(),
        }
        if !self.stopped {
            self.start_tasks(&mut decisions);
            self.grant(&mut decisions);
        }
        if !self.finished && self.is_finished() {
            self.finished = true;
            decisions.push(Decision::Finished);
        }
        decisions
    }

    /// Bytes that spans and running encoders are charged with now.
    #[must_use]
    pub fn charged(&self) -> u64 {
        self.span_bytes() + self.encoder_bytes()
    }

    /// Leases that are home.
    #[must_use]
    pub fn free_leases(&self) -> usize {
        self.free.len()
    }

    fn span_ready(&mut self, span: SegmentIndex, bytes: u64) -> Option<Decision> {
        self.decoding = None;
        let is_left = |load: &Load| {
            let rendition = load.rendition;
            !self.done.contains(&TaskId { span, rendition })
        };
        let ranks = (0..).zip(&self.loads);
        let left: Vec<Rank> = ranks
            .filter(|(_, load)| is_left(load))
            .map(|(rank, _)| rank)
            .collect();
        if left.is_empty() {
            self.spans.remove(&span);
            self.spans_done += 1;
            return Some(Decision::Release { span });
        }
        let state = SpanState {
            bytes,
            left: left.len(),
        };
        self.spans.insert(span, state);
        if !self.stopped {
            self.waiting
                .extend(left.into_iter().map(|rank| (span, rank)));
        }
        None
    }

    fn task_ended(&mut self, task: TaskId, done: bool) -> Option<Decision> {
        if !done {
            let failures = self.failures.entry(task).or_default();
            *failures += 1;
            let attempts = *failures;
            if attempts >= ATTEMPTS {
                // Nothing may start after this: whoever hears it lets the spans go.
                self.stop();
                return Some(Decision::GiveUp { task, attempts });
            }
            if !self.stopped
                && let Some(rank) = self
                    .loads
                    .iter()
                    .position(|load| load.rendition == task.rendition)
            {
                self.waiting.insert((task.span, rank));
            }
            return None;
        }
        self.failures.remove(&task);
        let state = self.spans.get_mut(&task.span)?;
        state.left -= 1;
        if state.left > 0 {
            return None;
        }
        self.spans.remove(&task.span);
        self.spans_done += 1;
        Some(Decision::Release { span: task.span })
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.waiting.clear();
        self.asked = None;
    }

    fn start_tasks(&mut self, decisions: &mut Vec<Decision>) {
        while let Some(&(span, rank)) = self.waiting.first() {
            let load = self.loads[rank];
            let fits = self.charged() + load.bytes <= self.budget;
            if !fits && !self.running.is_empty() {
                return;
            }
            let Some(lease) = self.free.pop() else { return };
            self.waiting.pop_first();
            let task = TaskId {
                span,
                rendition: load.rendition,
            };
            self.running.insert(task, load.bytes);
            decisions.push(Decision::Start {
                task,
                lease,
                threads: self.threads_for_one(),
                attempt: self.failures.get(&task).copied().unwrap_or(0) + 1,
            });
        }
    }

    /// Encoders share the threads evenly, and with as many sessions as threads get one each: that packs best. When the source has
    /// ended and fewer tasks are left than sessions, those that start share what is free.
    fn threads_for_one(&self) -> u32 {
        let left = self.running.len() + self.waiting.len();
        let encoders = if self.spans_in_all.is_some() {
            left.min(self.sessions)
        } else {
            self.sessions
        };
        (self.threads / u32::try_from(encoders.max(1)).unwrap_or(u32::MAX)).max(1)
    }

    fn grant(&mut self, decisions: &mut Vec<Decision>) {
        let Some((span, bytes)) = self.asked else {
            return;
        };
        let none_held = self.spans.is_empty();
        let enough_ready = self.waiting.len() >= self.sessions * READY_PER_SESSION;
        let fits = self.span_bytes() + bytes + self.encoder_reserve() <= self.budget;
        if !none_held && (enough_ready || !fits) {
            return;
        }
        self.asked = None;
        self.decoding = Some(span);
        let left = self.loads.len();
        self.spans.insert(span, SpanState { bytes, left });
        decisions.push(Decision::Grant { span });
    }

    /// What spans must leave free so that the sessions can work: the dearest encoder on each, at most half of the budget.
    fn encoder_reserve(&self) -> u64 {
        let largest = self.loads.iter().map(|load| load.bytes).max().unwrap_or(0);
        let all = largest * self.sessions as u64;
        all.min((self.budget / 2).max(largest))
            .max(self.encoder_bytes())
    }

    fn span_bytes(&self) -> u64 {
        self.spans.values().map(|state| state.bytes).sum()
    }

    fn encoder_bytes(&self) -> u64 {
        self.running.values().sum()
    }

    fn is_finished(&self) -> bool {
        let idle = self.running.is_empty();
        let complete = self.spans_in_all == Some(self.spans_done) && self.waiting.is_empty();
        idle && (complete || self.stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceId;
    use proptest::prelude::*;

    const MB: u64 = 1_000_000;

    fn cpu(sessions: u32) -> Vec<Device> {
        vec![Device {
            id: DeviceId::cpu(),
            sessions,
            threads: 4,
        }]
    }

    fn loads(costs: &[u32]) -> Vec<Load> {
        costs
            .iter()
            .zip(0..)
            .map(|(cost, n)| Load {
                rendition: RenditionId::new(n),
                cost: f64::from(*cost),
                bytes: u64::from(*cost) * MB,
            })
            .collect()
    }

    fn started(decisions: Vec<Decision>) -> Vec<(TaskId, Lease)> {
        let pick = |decision| match decision {
            Decision::Start { task, lease, .. } => Some((task, lease)),
            _ => None,
        };
        decisions.into_iter().filter_map(pick).collect()
    }

    #[test]
    fn what_an_earlier_run_has_done_is_not_started() {
        let task = |span, rendition| TaskId {
            span: SegmentIndex::new(span),
            rendition: RenditionId::new(rendition),
        };
        let done = [task(0, 0), task(0, 1), task(1, 0)];
        let mut schedule =
            Schedule::new(&cpu(4), loads(&[9, 1]), 1000 * MB).without(done.into_iter().collect());
        let ready = |span| Event::SpanReady {
            span: SegmentIndex::new(span),
            bytes: MB,
        };
        let span = SegmentIndex::FIRST;
        assert_eq!(schedule.handle(ready(0)), [Decision::Release { span }]);
        assert_eq!(schedule.charged(), 0);
        let mut running = started(schedule.handle(ready(1)));
        assert_eq!(running.len(), 1);
        assert_eq!(running[0].0, task(1, 1));
        assert!(schedule.handle(Event::SourceEnded { spans: 2 }).is_empty());
        let (task, lease) = running.remove(0);
        let done = true;
        let end = schedule.handle(Event::TaskEnded { task, lease, done });
        assert_eq!(end.last(), Some(&Decision::Finished));
    }

    #[test]
    fn earliest_span_first_and_dearest_rendition_first() {
        let mut schedule = Schedule::new(&cpu(1), loads(&[1, 9, 4]), 1000 * MB);
        let first = SegmentIndex::FIRST;
        let running = started(schedule.handle(Event::SpanReady {
            span: first.next(),
            bytes: MB,
        }));
        let none = started(schedule.handle(Event::SpanReady {
            span: first,
            bytes: MB,
        }));
        assert!(
            none.is_empty(),
            "the only lease is out with the second span, which was complete first"
        );
        let mut order = Vec::new();
        let mut home = running.into_iter().next();
        while let Some((task, lease)) = home.take() {
            let next = started(schedule.handle(Event::TaskEnded {
                task,
                lease,
                done: true,
            }));
            order.extend(
                next.iter()
                    .map(|(task, _)| (task.span.get(), task.rendition.place())),
            );
            home = next.into_iter().next();
        }
        assert_eq!(order, [(0, 1), (0, 2), (0, 0), (1, 2), (1, 0)]);
    }

    #[test]
    fn a_task_that_fails_is_tried_again_and_then_given_up() {
        let mut schedule = Schedule::new(&cpu(1), loads(&[1]), 1000 * MB);
        let span = SegmentIndex::FIRST;
        let mut running = started(schedule.handle(Event::SpanReady { span, bytes: MB }));
        for attempt in 1..=ATTEMPTS {
            let (task, lease) = running.pop().expect("the task runs");
            let decisions = schedule.handle(Event::TaskEnded {
                task,
                lease,
                done: false,
            });
            if attempt == ATTEMPTS {
                let given_up = Decision::GiveUp {
                    task,
                    attempts: ATTEMPTS,
                };
                assert_eq!(decisions, [given_up, Decision::Finished]);
                assert_eq!(schedule.handle(Event::Stopped), []);
            } else {
                running = started(decisions);
            }
        }
    }

    #[test]
    fn nothing_starts_once_a_task_is_given_up() {
        let mut schedule = Schedule::new(&cpu(1), loads(&[3, 2, 1]), 1000 * MB);
        let span = SegmentIndex::FIRST;
        let mut running = started(schedule.handle(Event::SpanReady { span, bytes: MB }));
        for attempt in 1..=ATTEMPTS {
            let (task, lease) = running.pop().expect("the dearest task runs");
            let decisions = schedule.handle(Event::TaskEnded {
                task,
                lease,
                done: false,
            });
            let last = attempt == ATTEMPTS;
            assert_eq!(decisions.contains(&Decision::Finished), last);
            running = started(decisions);
            assert_eq!(running.is_empty(), last);
        }
    }

    #[test]
    fn the_tail_shares_the_threads() {
        let mut schedule = Schedule::new(&cpu(4), loads(&[1]), 1000 * MB);
        schedule.handle(Event::SourceEnded { spans: 1 });
        let decisions = schedule.handle(Event::SpanReady {
            span: SegmentIndex::FIRST,
            bytes: MB,
        });
        assert!(matches!(
            decisions[..],
            [Decision::Start { threads: 2.., .. }]
        ));
    }

    /// One random life of a job: a pump that asks, decodes and sometimes needs more than it asked for, workers that end in any
    /// order and sometimes fail.
    struct Life {
        schedule: Schedule,
        budget: u64,
        sessions: usize,
        spans: u32,
        renditions: usize,
        asked: Option<SegmentIndex>,
        granted: Option<SegmentIndex>,
        next: u32,
        running: Vec<(TaskId, Lease)>,
        done: BTreeSet<TaskId>,
        released: BTreeSet<SegmentIndex>,
        finished: bool,
    }

    impl Life {
        fn feed(&mut self, event: Event) {
            for decision in self.schedule.handle(event) {
                match decision {
                    Decision::Grant { span } => {
                        assert_eq!(self.asked.take(), Some(span));
                        self.granted = Some(span);
                    }
                    Decision::Start { task, lease, .. } => {
                        assert!(!self.done.contains(&task), "started after it was done");
                        assert!(self.running.iter().all(|(t, l)| *t != task && *l != lease));
                        self.running.push((task, lease));
                    }
                    Decision::Release { span } => assert!(self.released.insert(span)),
                    Decision::GiveUp { .. } => panic!("no task fails that often here"),
                    Decision::Finished => self.finished = true,
                }
            }
            assert_eq!(
                self.running.len() + self.schedule.free_leases(),
                self.sessions
            );
            let alone = self.schedule.spans.len() <= 1 || self.running.len() <= 1;
            assert!(
                self.schedule.charged() <= self.budget || alone,
                "over the budget"
            );
        }

        fn step(&mut self, dice: u32) {
            let choices = u32::try_from(self.running.len()).expect("few") + 1;
            let pick = dice % choices;
            if pick == 0 {
                if let Some(span) = self.granted.take() {
                    self.feed(Event::SpanReady {
                        span,
                        bytes: 10 * MB,
                    });
                } else if self.asked.is_none() && self.next < self.spans {
                    let span = SegmentIndex::new(self.next);
                    self.next += 1;
                    self.asked = Some(span);
                    self.feed(Event::CreditAsked {
                        span,
                        bytes: 10 * MB,
                    });
                } else if self.asked.is_none() && self.next == self.spans {
                    self.next += 1;
                    self.feed(Event::SourceEnded { spans: self.spans });
                }
                return;
            }
            let (task, lease) = self.running.swap_remove(pick as usize - 1);
            let failures = self.schedule.failures.get(&task).copied().unwrap_or(0);
            let done = !dice.is_multiple_of(7) || failures + 1 >= ATTEMPTS;
            if done {
                assert!(self.done.insert(task), "done twice");
            }
            self.feed(Event::TaskEnded { task, lease, done });
        }
    }

    proptest! {
        #[test]
        fn every_task_is_done_once_in_any_history(
            sessions in 1u32..6,
            costs in prop::collection::vec(1u32..20, 1..5),
            spans in 0u32..12,
            budget in 1u64..200,
            dice in prop::collection::vec(any::<u32>(), 64),
        ) {
            let mut life = Life {
                schedule: Schedule::new(&cpu(sessions), loads(&costs), budget * MB),
                budget: budget * MB,
                sessions: sessions as usize,
                spans,
                renditions: costs.len(),
                asked: None,
                granted: None,
                next: 0,
                running: Vec::new(),
                done: BTreeSet::new(),
                released: BTreeSet::new(),
                finished: false,
            };
            let mut steps = 0u32;
            while !life.finished {
                let roll = dice[steps as usize % dice.len()].wrapping_add(steps);
                life.step(roll);
                steps += 1;
                prop_assert!(steps < 20_000, "stands still");
            }
            prop_assert_eq!(life.done.len(), spans as usize * life.renditions);
            prop_assert_eq!(life.released.len(), spans as usize);
            prop_assert_eq!(life.schedule.free_leases(), sessions as usize);
            prop_assert_eq!(life.schedule.charged(), 0);
        }
    }
}
