//! Pumps: which stretch of the source each reads, what credit it gets, and when another one helps.
//!
//! # Why nothing can deadlock
//!
//! A span that is held is either being decoded, which waits for nothing but its pump, or complete. A task of a complete span waits
//! for a lease and for room for its encoder; when no task is out, one may start whatever the budget. So while spans are held, they drain,
//! in any order, and none waits for another: what is done of a late span is kept outside. When a job holds none, its earliest
//! pump is granted whatever the budget. So a job that is not done always has something on its way. Other pumps leave room for a span of the
//! earliest, so that it seldom has to overdraw.
//!
//! A span whose pictures were lost drains, too: nothing starts on it, and when those that are out are home it goes. What is left of it is
//! read again by a pump of its own, which starts when the others wait or have ended; until then one of them is on its way.

use super::facts::Tick;
use super::feed::{FedSpan, Feed};
use super::jobs::{Job, SpanState};
use super::planted::Bug;
use super::{Decision, Schedule};
use crate::ids::{DeviceId, JobId, PumpId, SegmentIndex, TaskId};

/// How often pumps of a job may end before their stretches do.
const FAILURES: u32 = 3;
/// Sources shorter than this may waste [`SHORT_WASTE`], in seconds.
const LONG: f64 = 600.0;
const SHORT_WASTE: f64 = 30.0;
/// What waits should last this many times as long as it takes to decode a span.
const MARGIN: f64 = 1.5;
/// Cuts about the middle of a stretch that are looked at.
const NEIGHBOURS: usize = 8;

/// A span that a pump wants to decode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) span: SegmentIndex,
    pub(super) bytes: u64,
}

/// A span that a pump decodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted {
    pub(super) bytes: u64,
    at: Tick,
    /// Its pictures go straight to attempts, or nowhere.
    fed: bool,
}

/// A decode thread.
#[derive(Debug)]
pub(super) struct Pump {
    /// The span that it decodes, or will next.
    pub(super) next: SegmentIndex,
    /// Where it stops.
    pub(super) until: Option<SegmentIndex>,
    /// It reads what was read before.
    again: bool,
    pub(super) asked: Option<Ask>,
    pub(super) granted: Option<Granted>,
}

/// A part of the source that no pump reads yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where a pump starts: the beginning, or a cut.
    pub(super) from: SegmentIndex,
    /// Where it stops; `None` at the end of the source.
    pub(super) until: Option<SegmentIndex>,
    /// It was read before, and not all of it could be encoded then.
    pub(super) again: bool,
}

/// What becomes of an ask.
enum Answer {
    Grant,
    Feed(Vec<(TaskId, DeviceId)>),
    /// It waits for leases to be fed.
    Leases,
    End,
    /// Enough is ready.
    Later,
    /// It does not fit.
    NoRoom,
}

impl Schedule {
    /// Starts pumps on what no pump reads, where none reads at all.
    pub(super) fn start_pumps(&mut self) {
        let idle = |job: &Job| {
            let Some(first) = job.stretches.first() else {
                return false;
            };
            // A pump that waits does not read: what has to be decoded again comes before what it asks for. One after the other: such
            // stretches begin at the same cuts.
            let waits = |pump: &Pump| pump.asked.is_some() && !pump.again;
            let one_more = job.pumps.len() <= job.facts.decoders as usize;
            !job.stopped
                && (job.pumps.is_empty()
                    || first.again && one_more && job.pumps.values().all(waits))
        };
        let jobs: Vec<JobId> = self
            .jobs
            .values()
            .filter(|job| idle(job))
            .map(|job| job.id)
            .collect();
        for job in jobs {
            self.start_pump(job);
        }
    }

    /// Starts a pump on the first stretch that no pump reads. What has to be decoded again waits for the pump that does so already.
    fn start_pump(&mut self, id: JobId) {
        if self.has(Bug::ForgetSecondJob) && id.get() > 0 {
            return;
        }
        let forgets_gap = self.has(Bug::ForgetGap);
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let reads_again = job.pumps.values().any(|pump| pump.again);
        let may_start = |stretch: &Stretch| !(stretch.again && reads_again);
        let Some(place) = job.stretches.iter().position(may_start) else {
            return;
        };
        let stretch = job.stretches.remove(place);
        if forgets_gap {
            job.stretches.clear();
        }
        let pump = PumpId::new(self.next_pump);
        self.next_pump += 1;
        job.pumps.insert(
            pump,
            Pump {
                next: stretch.from,
                until: stretch.until,
                again: stretch.again,
                asked: None,
                granted: None,
            },
        );
        self.pumps.insert(pump, id);
        self.decide(Decision::StartPump {
            job: id,
            pump,
            from: stretch.from,
            until: stretch.until,
        });
    }

    pub(super) fn credit_asked(&mut self, id: PumpId, span: SegmentIndex, bytes: u64) {
        if let Some(pump) = self.pump(id) {
            pump.next = span;
            pump.granted = None;
            pump.asked = Some(Ask { span, bytes });
        }
    }

    fn pump(&mut self, id: PumpId) -> Option<&mut Pump> {
        let job = self.pumps.get(&id)?;
        self.jobs.get_mut(job)?.pumps.get_mut(&id)
    }

    /// A span is complete.
    pub(super) fn span_ready(&mut self, id: PumpId, span: SegmentIndex, state: SpanState) {
        let now = self.now;
        let Some(job) = self.pumps.get(&id).and_then(|job| self.jobs.get_mut(job)) else {
            return;
        };
        if !job.is_active() {
            self.join_in(id);
        }
        let Some(job) = self.pumps.get(&id).and_then(|job| self.jobs.get_mut(job)) else {
            return;
        };
        if let Some(pump) = job.pumps.get_mut(&id) {
            pump.next = span.next();
            if let Some(granted) = pump.granted.take() {
                let took = now.since(granted.at).as_secs_f64() / state.seconds.max(1e-6);
                let keep = if job.decode_seen { 0.8 } else { 0.0 };
                job.decode_seconds = keep * job.decode_seconds + (1.0 - keep) * took;
                job.decode_seen = true;
            }
        }
        let id = job.id;
        if job.spans.contains_key(&span) {
            return;
        }
        job.hold(span, state);
        self.release_if_unneeded(id, span);
    }

    /// A job that had nothing to do begins at the turn of those that had.
    fn join_in(&mut self, pump: PumpId) {
        let active = self.jobs.values().filter(|job| job.is_active());
        let least = active.map(|job| job.used).reduce(f64::min);
        if let (Some(least), Some(id)) = (least, self.pumps.get(&pump))
            && let Some(job) = self.jobs.get_mut(id)
        {
            job.used = job.used.max(least);
        }
    }

    pub(super) fn pump_ended(&mut self, id: PumpId, spans_in_all: Option<u32>) {
        let less = u32::from(self.has(Bug::OneSpanLess));
        let spans_in_all = spans_in_all.map(|spans| spans.saturating_sub(less));
        let Some(job_id) = self.pumps.remove(&id) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&job_id) else {
            return;
        };
        let Some(mut pump) = job.pumps.remove(&id) else {
            return;
        };
        if pump.granted.is_some_and(|granted| granted.fed) {
            // Whether the span was fed to its end is known by its attempts.
            pump.next = pump.next.next();
        }
        if let Some(end) = spans_in_all {
            job.set_end(end);
        }
        if let Some(end) = job.end.map(SegmentIndex::new) {
            job.stretches.retain(|stretch| stretch.from < end);
        }
        if job.stopped {
            return;
        }
        let end = job.end.map(SegmentIndex::new);
        let until = match (pump.until, end) {
            (Some(until), Some(end)) => Some(until.min(end)),
            (until, end) => until.or(end),
        };
        if until.is_some_and(|until| until <= pump.next) {
            return;
        }
        // It ended before its stretch did. If that was an error, the job is about to be stopped; if not, another one reads the rest.
        job.pump_failures += 1;
        if job.pump_failures > FAILURES {
            let task = job.task(pump.next, 0);
            self.give_up(job_id, task);
            return;
        }
        let from = job.cut_before(pump.next);
        let stretch = Stretch {
            from,
            until,
            again: pump.again,
        };
        job.stretches.insert(0, stretch);
    }

    /// Answers the pumps that ask, those of the job that holds least for its weight first.
    pub(super) fn grant(&mut self) {
        self.pumps_short_of_memory = false;
        self.feed_waits = None;
        let asks = |job: &&Job| job.pumps.values().any(|pump| pump.asked.is_some());
        let share = |job: &Job| job.charged() as f64 / job.facts.weight;
        let mut turns: Vec<(f64, JobId)> = self
            .jobs
            .values()
            .filter(asks)
            .map(|job| (share(job), job.id))
            .collect();
        turns.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (_, job) in turns {
            self.grant_job(job);
        }
    }

    /// Answers the pumps of a job, the earliest first.
    fn grant_job(&mut self, id: JobId) {
        let mut pumps: Vec<(SegmentIndex, PumpId)> = self.jobs[&id]
            .pumps
            .iter()
            .map(|(id, pump)| (pump.next, *id))
            .collect();
        pumps.sort_unstable();
        let earliest = self.jobs[&id].earliest_pump();
        for (_, pump) in pumps {
            let Some(ask) = self.jobs[&id].pumps[&pump].asked else {
                continue;
            };
            let is_first = earliest == Some(pump);
            // What comes free next is for the job that was refused first.
            let answer = match self.answer(&self.jobs[&id], pump, (ask, is_first)) {
                Answer::Grant if self.pumps_short_of_memory && self.jobs[&id].holds() => {
                    Answer::NoRoom
                }
                answer => answer,
            };
            self.reply(id, pump, (ask, answer));
        }
    }

    fn reply(&mut self, id: JobId, pump_id: PumpId, (ask, answer): (Ask, Answer)) {
        let at = self.now;
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let used = job.used;
        let Some(pump) = job.pumps.get_mut(&pump_id) else {
            return;
        };
        let span = ask.span;
        match answer {
            Answer::Grant => {
                pump.asked = None;
                pump.granted = Some(Granted {
                    bytes: ask.bytes,
                    at,
                    fed: false,
                });
                self.decide(Decision::Grant {
                    pump: pump_id,
                    span,
                });
                if self.has(Bug::GrantTwice) {
                    self.decide(Decision::Grant {
                        pump: pump_id,
                        span,
                    });
                }
            }
            Answer::Feed(starts) => {
                pump.asked = None;
                pump.granted = Some(Granted {
                    bytes: 0,
                    at,
                    fed: true,
                });
                self.feed(id, pump_id, FedSpan { span, starts });
            }
            Answer::End => {
                pump.asked = None;
                pump.until = Some(span);
                self.decide(Decision::EndPump { pump: pump_id });
            }
            Answer::Later => job.pump_waited = true,
            Answer::NoRoom => {
                job.pump_waited = true;
                self.pumps_short_of_memory = true;
            }
            Answer::Leases => {
                job.pump_waited = true;
                self.feed_waits = Some(self.feed_waits.map_or(used, |other| other.min(used)));
            }
        }
    }

    fn answer(&self, job: &Job, id: PumpId, (ask, is_first): (Ask, bool)) -> Answer {
        let pump = &job.pumps[&id];
        let ends = |limit: Option<SegmentIndex>| {
            let early = u32::from(self.has(Bug::EndPumpEarly));
            limit.is_some_and(|limit| ask.span.get() + early >= limit.get())
                && !self.has(Bug::ReadOn)
        };
        if job.stopped || ends(pump.until) {
            return Answer::End;
        }
        if self.is_fed(job, ask) {
            return match self.plan_feed(job, ask.span) {
                Feed::Now(starts) if is_first || starts.is_empty() => Answer::Feed(starts),
                Feed::Now(_) => Answer::Later,
                Feed::Wait => Answer::Leases,
            };
        }
        if is_first && !job.holds() {
            return Answer::Grant;
        }
        let coming = job.pumps.values().filter(|p| p.granted.is_some()).count();
        let ready = job.waiting_count + coming * job.by_rank.len();
        let enough = ready >= self.ready_wanted(job) && self.lasts(job) && !self.ends_soon(job);
        if enough && job.needs(ask.span) {
            return Answer::Later;
        }
        if self.has(Bug::IgnoreBudgetForSpans) {
            return Answer::Grant;
        }
        let reserved = if is_first { 0 } else { job.first_reserve() };
        let spans = self.span_bytes();
        if spans + ask.bytes + reserved + self.encoder_reserve() > self.memory {
            return Answer::NoRoom;
        }
        Answer::Grant
    }

    /// Whether what waits keeps the sessions busy until well after another span is decoded.
    fn lasts(&self, job: &Job) -> bool {
        if self.devices.free > 0 && !self.short_of_memory {
            // Leases that are idle though tasks wait may want others.
            return false;
        }
        let sessions = f64::from(self.devices.sessions.max(1)) * self.share(job);
        let decode = job.decode_seconds * job.facts.span_seconds;
        job.waiting_work() / sessions >= decode * MARGIN
    }

    /// The share of the machine that is a job's.
    fn share(&self, job: &Job) -> f64 {
        let weights: f64 = self
            .jobs
            .values()
            .filter(|other| !other.stopped)
            .map(|other| other.facts.weight)
            .sum();
        job.facts.weight / weights.max(f64::MIN_POSITIVE)
    }

    /// Tasks that a job should have ready, by its share of the sessions.
    fn ready_wanted(&self, job: &Job) -> usize {
        let all = f64::from(self.devices.sessions * self.rules.ready_per_session);
        ((all * self.share(job)).ceil() as usize).max(1)
    }

    /// What spans must leave free so that the sessions can work: the dearest encoder on each, at most half of the budget.
    fn encoder_reserve(&self) -> u64 {
        let dearest = |job: &Job| (job.dearest, job.dearest_all);
        let all = self.jobs.values().map(dearest);
        let (largest, all) = all.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        all.min((self.memory / 2).max(largest))
            .max(self.encoder_bytes)
    }

    /// Starts another pump where sessions starve because too little is decoded.
    pub(super) fn split(&mut self) {
        if self.devices.free == 0 || self.pumps_short_of_memory {
            return;
        }
        let starving = |job: &&Job| self.starves(job);
        let jobs: Vec<JobId> = self
            .jobs
            .values()
            .filter(starving)
            .map(|job| job.id)
            .collect();
        for id in jobs {
            if self.jobs[&id].stretches.is_empty() {
                let Some(job) = self.jobs.get_mut(&id) else {
                    continue;
                };
                job.split_longest(self.rules.waste);
            }
            self.start_pump(id);
        }
    }

    fn starves(&self, job: &Job) -> bool {
        let decoding = |pump: &Pump| pump.asked.is_none() && pump.until != Some(pump.next);
        if job.stopped
            || job.waiting_count > 0
            || job.pumps.len() >= job.facts.decoders as usize
            || job.pumps.is_empty()
            || !job.pumps.values().all(decoding)
        {
            return false;
        }
        let room = job.facts.span_bytes * 2 + self.encoder_reserve();
        if self.span_bytes() + room > self.memory {
            return false;
        }
        // The sessions would do more than the pumps decode.
        let all: f64 = job.units.iter().sum();
        let encode = all / f64::from(self.devices.sessions.max(1));
        let decode = job.decode_seconds / job.pumps.len() as f64;
        decode > encode
    }

    /// Bytes of pictures.
    pub(super) fn span_bytes(&self) -> u64 {
        self.lingering_bytes + self.jobs.values().map(Job::charged).sum::<u64>()
    }

    /// Makes the state of a span that is complete.
    pub(super) fn complete(&mut self, bytes: u64, seconds: f64) -> SpanState {
        self.next_decode += 1;
        SpanState {
            decode: self.next_decode,
            bytes,
            seconds: if seconds > 0.0 { seconds } else { 1e-3 },
            left: 0,
            out: 0,
            hung: 0,
            fed: false,
            lost: false,
            slowest: 0.0,
        }
    }
}

impl Job {
    /// Whether a pump is about to bring another span, and waits for nothing.
    pub(super) fn decodes(&self) -> bool {
        let decodes = |pump: &Pump| pump.asked.is_none() && pump.until != Some(pump.next);
        self.pumps.values().any(decodes)
    }

    /// The pump that reads what is earliest.
    fn earliest_pump(&self) -> Option<PumpId> {
        let reading = |(_, pump): &(&PumpId, &Pump)| pump.until != Some(pump.next);
        self.pumps
            .iter()
            .filter(reading)
            .min_by_key(|(_, pump)| pump.next)
            .or_else(|| self.pumps.iter().min_by_key(|(_, pump)| pump.next))
            .map(|(id, _)| *id)
    }

    /// What has to be left for the earliest pump.
    fn first_reserve(&self) -> u64 {
        let first = self.earliest_pump().and_then(|id| self.pumps.get(&id));
        first.map_or(0, |pump| match (pump.granted, pump.asked) {
            (Some(_), _) => 0,
            (None, Some(ask)) => ask.bytes,
            (None, None) => self.facts.span_bytes,
        })
    }

    /// Where a pump has to start to read that span.
    pub(super) fn cut_before(&self, span: SegmentIndex) -> SegmentIndex {
        let after = self.facts.cuts.partition_point(|cut| cut.span <= span);
        self.facts.cuts[..after]
            .last()
            .map_or(SegmentIndex::FIRST, |cut| cut.span)
    }

    /// Finds the stretches that have tasks to do.
    pub(super) fn plan_stretches(&mut self) {
        let known = self.end;
        let top = self.done.last().map_or(0, |task| task.span.get() + 1);
        let top = known.map_or(top, |end| end.min(top));
        let mut gaps: Vec<Stretch> = Vec::new();
        for span in (0..top).map(SegmentIndex::new) {
            if self.needs(span) {
                self.add_gap(&mut gaps, span, Some(span.next()));
            }
        }
        match known {
            Some(end) if top < end => self.add_gap(&mut gaps, SegmentIndex::new(top), None),
            None => self.add_gap(&mut gaps, SegmentIndex::new(top), None),
            Some(_) => {}
        }
        self.stretches = gaps;
    }

    /// Adds a gap, or makes the last one longer where decoding on is cheaper than starting again.
    fn add_gap(&self, gaps: &mut Vec<Stretch>, from: SegmentIndex, until: Option<SegmentIndex>) {
        let cut = self.cut_before(from);
        if let Some(last) = gaps.last_mut()
            && let Some(end) = last.until
        {
            let through = f64::from(from.get() - end.get());
            let again = 1.0 + f64::from(from.get() - cut.get()) + self.waste_at(cut);
            if cut < end || through <= again {
                last.until = until;
                return;
            }
        }
        gaps.push(Stretch {
            from: cut,
            until,
            again: false,
        });
    }

    /// What starting at a cut wastes, in spans.
    fn waste_at(&self, span: SegmentIndex) -> f64 {
        let place = self.facts.cuts.binary_search_by_key(&span, |cut| cut.span);
        place.map_or(0.0, |place| {
            self.facts.cuts[place].waste / self.facts.span_seconds.max(1e-6)
        })
    }

    /// Seconds of the source that may be decoded twice.
    fn waste_allowed(&self, share: f64) -> f64 {
        let source = f64::from(self.expected_end().unwrap_or(0)) * self.facts.span_seconds;
        if source < LONG {
            SHORT_WASTE
        } else {
            source * share
        }
    }

    /// Splits what the busiest pump has still to read, about in the middle, if that is worth it.
    fn split_longest(&mut self, share: f64) {
        let Some(end) = self.expected_end() else {
            return;
        };
        let left = |pump: &Pump| {
            let until = pump.until.map_or(end, SegmentIndex::get);
            until.saturating_sub(pump.next.get())
        };
        // What is read again is short.
        let pumps = self.pumps.iter().filter(|(_, pump)| !pump.again);
        let longest = pumps.max_by_key(|(_, pump)| left(pump));
        let Some((id, pump)) = longest else {
            return;
        };
        let (id, from, until) = (*id, pump.next, pump.until);
        let stop = until.map_or(end, SegmentIndex::get);
        let room = self.waste_allowed(share) - self.wasted;
        // A span more for the running pump, which is at its first, and some for the new one.
        let middle = u32::midpoint(from.get() + 1, stop);
        let cuts = &self.facts.cuts;
        let place = cuts.partition_point(|cut| cut.span.get() < middle);
        let near = place.saturating_sub(NEIGHBOURS)..(place + NEIGHBOURS).min(cuts.len());
        let fits = |cut: &&super::Cut| {
            cut.waste <= room && cut.span.get() >= from.get() + 2 && cut.span.get() + 1 < stop
        };
        let seconds = self.facts.span_seconds.max(1e-6);
        let off =
            |cut: &super::Cut| f64::from(cut.span.get().abs_diff(middle)) + cut.waste / seconds;
        let best = cuts[near]
            .iter()
            .filter(fits)
            .min_by(|a, b| off(a).total_cmp(&off(b)));
        let Some(cut) = best.copied() else {
            return;
        };
        self.wasted += cut.waste;
        if let Some(pump) = self.pumps.get_mut(&id) {
            pump.until = Some(cut.span);
        }
        self.stretches.push(Stretch {
            from: cut.span,
            until,
            again: false,
        });
    }
}
