//! One job as control sees it: what it holds, what it waits for, what it tells.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use rungs_package::TrackId;

use super::efficiency::{Efficiency, TaskDone};
use super::{CONTROL, FED_PICTURES_HELD, PUBLISHER, PUMP, TRACKS, Tally, say};
use crate::cancel::Cancel;
use crate::coding;
use crate::device::{Device, DeviceName, Lease};
use crate::done::Done;
use crate::error::{EncodeError, Error, Failure, in_words};
use crate::event::Event;
use crate::feed::{Feed, Feeder};
use crate::ids::{DeviceId, JobId, PumpId, RenditionId, SegmentIndex, TaskId};
use crate::inspect::{Depth, Heard, Inspect, Sampling};
use crate::message::{
    Content, Credit, Cue, LastWord, Message, Order, PublishError, Published, PumpBegun,
    PumpMessage, PumpSummary, SoundMessage, TextMessage, Word,
};
use crate::plan::{Plan, Rendition, Warning};
use crate::pump::Stretch;
use crate::scaling::Scaling;
use crate::schedule::{self, Cut, End, JobFacts, Spent, Start};
use crate::seam::Seams;
use crate::span::{Encoded, Footage, Outcome, Outline, Span, Task};
use crate::sync::{Sender, unbounded};
use crate::tracks::CueSender;

/// A picture that ends more than this many seconds before the container's promise is worth a warning.
const SHORT_SECONDS: f64 = 0.5;
/// The same as a share, where only the whole container promises: its longest track may be the sound.
const SHORT_SHARE: f64 = 0.05;
/// Silence in the sound that is worth a warning, in seconds.
const SILENCE_SECONDS: f64 = 0.5;
/// Segments that may wait for the disk before the pumps wait too.
const ORDERS_WAITING: usize = 64;

/// Where control speaks to. Each line is hung up by dropping it, which ends the thread behind it.
#[derive(Debug)]
pub(crate) struct Lines {
    /// One for each track of sound that is made, and one for the subtitles.
    pub(crate) cues: Vec<CueLine>,
    pub(crate) orders: Option<Sender<Order>>,
    /// To whoever began the job.
    pub(crate) caller: Sender<Word>,
    /// To control itself, for those who say their last word by going.
    pub(crate) inbox: Sender<Message>,
    /// Stops what computes: the pumps and the sound of this job.
    pub(crate) stop: Cancel,
}

/// The line to a thread that follows the picture's cuts.
#[derive(Debug)]
pub(crate) struct CueLine {
    /// The track of sound; `None` for the subtitles, which are all on one thread.
    pub(crate) track: Option<TrackId>,
    /// Ticks a second, in which cues are told.
    pub(crate) rate: u32,
    pub(crate) cues: CueSender,
}

/// The published tracks in the plan's order.
#[derive(Clone, Debug)]
pub(crate) struct Tracks {
    pub(crate) renditions: Vec<TrackId>,
    pub(crate) sound: Vec<TrackId>,
    pub(crate) text: Vec<TrackId>,
}

/// What a job gets from the user besides its plan, and does not change what comes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Its share of the devices while several jobs want them, relative to the others'; above zero.
    pub weight: f64,
    /// Decoders that may read the source at once, at least 1; `None` for what suits the place that decodes.
    pub decoders: Option<u32>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            weight: 1.0,
            decoders: None,
        }
    }
}

/// A job as it begins.
#[derive(Debug)]
pub(crate) struct NewJob {
    pub(crate) id: JobId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) terms: Terms,
    pub(crate) scaling: Arc<Scaling>,
    pub(crate) tracks: Tracks,
    pub(crate) lines: Lines,
    pub(crate) started: Instant,
    /// What an earlier run left behind.
    pub(crate) done: Done,
    /// Where a pump may start, besides the beginning.
    pub(crate) cuts: Vec<Cut>,
}

/// A span whose tasks are out or waiting.
#[derive(Debug)]
struct Held {
    /// Its pictures; `None` if they are fed.
    span: Option<Arc<Span>>,
    /// Whether the source ends with it.
    last: bool,
    /// Renditions whose first result has come.
    done: BTreeSet<RenditionId>,
}

/// The line to a pump that reads.
#[derive(Debug)]
struct PumpLine {
    /// Dropping it ends the pump.
    credit: Sender<Credit>,
    /// When it was last let decode.
    granted: Instant,
}

/// A job from its begin to its end.
pub(crate) struct Job {
    id: JobId,
    plan: Arc<Plan>,
    terms: Terms,
    scaling: Arc<Scaling>,
    tracks: Tracks,
    lines: Lines,
    started: Instant,
    renditions: Vec<Arc<Rendition>>,
    cuts: Vec<Cut>,
    /// Tasks that an earlier run has done.
    done: BTreeSet<TaskId>,
    /// Each rendition as each device makes it.
    made: BTreeMap<(DeviceId, RenditionId), Arc<Rendition>>,
    spans: BTreeMap<SegmentIndex, Held>,
    pumps: BTreeMap<PumpId, PumpLine>,
    seams: Seams,
    /// Credit that waits for the publisher.
    held_credit: Vec<(PumpId, Credit)>,
    /// Ends of spans, in ticks, which the sound has not been told, because one before is not known yet.
    ends: BTreeMap<SegmentIndex, i64>,
    next_cue: SegmentIndex,
    /// Spans whose pictures are counted: those that an earlier run has done, and those that were decoded.
    known: BTreeSet<SegmentIndex>,
    spans_in_all: Option<u32>,
    first_errors: BTreeMap<TaskId, EncodeError>,
    /// Orders that the publisher has not answered.
    unanswered: usize,
    /// Tracks of sound, and `None` for the subtitles, whose threads have not said their last word.
    following: BTreeSet<Option<TrackId>>,
    tasks_ended: bool,
    failure: Option<Error>,
    /// Whether the schedule was told of the failure.
    stopped: bool,
    tally: Tally,
    efficiency: Efficiency,
    sampling: Sampling,
    /// When control heard of it: from here on its time is accounted for.
    began: Instant,
    /// What the devices had spent then.
    spent_before: Vec<Spent>,
}

impl Job {
    pub(crate) fn new(new: NewJob, spent_before: Vec<Spent>) -> Self {
        let renditions = new.plan.renditions().iter().cloned().map(Arc::new);
        Self {
            id: new.id,
            renditions: renditions.collect(),
            made: made(&new.plan),
            spans: BTreeMap::new(),
            pumps: BTreeMap::new(),
            seams: Seams::default(),
            held_credit: Vec::new(),
            ends: new.done.ends(),
            next_cue: SegmentIndex::FIRST,
            known: new.done.ends().into_keys().collect(),
            spans_in_all: new.done.spans_in_all(),
            first_errors: BTreeMap::new(),
            unanswered: 0,
            following: new.lines.cues.iter().map(|line| line.track).collect(),
            tasks_ended: false,
            failure: None,
            stopped: false,
            tally: Tally::of_done(&new.done),
            done: new.done.tasks().clone(),
            cuts: new.cuts,
            efficiency: Efficiency::default(),
            sampling: Sampling::new(new.plan.inspect),
            began: Instant::now(),
            spent_before,
            plan: new.plan,
            terms: new.terms,
            scaling: new.scaling,
            tracks: new.tracks,
            lines: new.lines,
            started: new.started,
        }
    }

    /// What the schedule has to know.
    pub(crate) fn facts(&self) -> JobFacts {
        let plan = &self.plan;
        let span_seconds = self.seconds(plan.grid.segment());
        let pictures = plan.grid.segment() / plan.nominal_duration.max(1);
        JobFacts {
            weight: self.terms.weight,
            loads: plan.loads(),
            span_seconds,
            span_bytes: pictures.unsigned_abs() * plan.frame_bytes,
            expected_spans: plan.expected_segments(),
            spans_in_all: self.spans_in_all,
            done: self.done.clone(),
            decoders: self.terms.decoders.unwrap_or(1),
            cuts: self.cuts.clone(),
            decode_seconds: 0.0,
            fed_bytes: FED_PICTURES_HELD * plan.frame_bytes,
        }
    }

    /// The smallest rendition that a device makes for this job.
    pub(crate) fn smallest_on(&self, device: DeviceId) -> Option<Arc<Rendition>> {
        let makes = self.made.iter().filter(|((on, _), _)| *on == device);
        makes
            .map(|(_, rendition)| rendition)
            .min_by_key(|rendition| rendition.size.pixels())
            .cloned()
    }

    /// How closely a golden task is looked at.
    pub(crate) fn deepest(&self) -> Depth {
        if self.plan.inspect == Inspect::Off {
            Depth::Nothing
        } else {
            Depth::Pictures
        }
    }

    /// Whether the job has failed and the schedule does not know yet; true once.
    pub(crate) fn must_stop(&mut self) -> bool {
        self.failure.is_some() && !std::mem::replace(&mut self.stopped, true)
    }

    /// Whether everything that belongs to the job has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        let published = self.unanswered == 0 || self.failure.is_some();
        self.pumps.is_empty() && self.following.is_empty() && self.tasks_ended && published
    }

    /// Tells whoever began the job what came of it.
    pub(crate) fn end(mut self, devices: &[Device], spent: &[Spent]) {
        self.tally.makespan = self.began.elapsed();
        self.tally.inspection = self.sampling.report();
        self.tally.bound = self.efficiency.bound(&self.plan, devices);
        let spent = spent.iter().zip(&self.spent_before);
        self.tally.spent = spent.map(|(now, then)| now.less(then)).collect();
        let result = match self.failure {
            Some(error) => Err(error),
            None => Ok(self.tally),
        };
        say(&self.lines.caller, Word::Ended(result));
    }

    /// The user has cancelled it.
    pub(crate) fn interrupt(&mut self) {
        self.fail(Error::Interrupted);
    }

    /// One of its threads ended without a word.
    pub(crate) fn hear_lost(&mut self, thread: &'static str) {
        if thread == TRACKS {
            // Which of them it was is not known; the others end as the job does.
            self.following.clear();
        }
        self.fail(Failure::Lost(thread));
    }

    /// Has a pump started on a stretch.
    pub(crate) fn start_pump(
        &mut self,
        pump: PumpId,
        (from, until): (SegmentIndex, Option<SegmentIndex>),
    ) {
        let (credit, granted) = unbounded();
        let granted_at = Instant::now();
        self.pumps.insert(
            pump,
            PumpLine {
                credit,
                granted: granted_at,
            },
        );
        say(
            &self.lines.caller,
            Word::StartPump(PumpBegun {
                pump,
                stretch: Stretch { from, until },
                credit: granted,
                last_word: LastWord::new(self.lines.inbox.clone(), self.id, pump),
            }),
        );
    }

    /// Lets a pump decode, unless the disk is behind.
    pub(crate) fn grant(&mut self, pump: PumpId) {
        if self.unanswered >= ORDERS_WAITING {
            self.held_credit.push((pump, Credit::Decode));
        } else {
            self.answer(pump, Credit::Decode);
        }
    }

    /// Lets a pump hand the pictures of a span to its tasks as they are decoded.
    pub(crate) fn feed(&mut self, (pump, span): (PumpId, SegmentIndex), feeder: Feeder) {
        let done = self.done_before(span);
        self.spans.entry(span).or_insert(Held {
            span: None,
            last: false,
            done,
        });
        self.answer(pump, Credit::Feed(feeder));
    }

    /// Ends a pump before the span that it has asked for.
    pub(crate) fn end_pump(&mut self, pump: PumpId) {
        self.answer(pump, Credit::End);
    }

    fn answer(&mut self, pump: PumpId, credit: Credit) {
        if let Some(line) = self.pumps.get_mut(&pump) {
            line.granted = Instant::now();
            // A pump that is gone has said so.
            line.credit.send(credit).ok();
        }
    }

    /// Hears a pump, and tells the schedule what it has to know.
    pub(crate) fn hear_pump(
        &mut self,
        pump: PumpId,
        message: PumpMessage,
    ) -> Option<schedule::Event> {
        match message {
            PumpMessage::CreditAsked { span, bytes } => {
                Some(schedule::Event::CreditAsked { pump, span, bytes })
            }
            PumpMessage::Span { span, last } => Some(self.take_span(pump, span, last)),
            PumpMessage::Fed { outline, last } => {
                self.note_span(pump, &outline, last);
                if let Some(held) = self.spans.get_mut(&outline.index) {
                    held.last = last;
                }
                None
            }
            PumpMessage::Seam(seam) => {
                if let Err(source) = self.seams.meet(seam) {
                    let segment = seam.span;
                    self.fail(Failure::Seam { segment, source });
                }
                None
            }
            PumpMessage::Ended(summary) => {
                self.pumps.remove(&pump);
                self.tally.pump.add(&summary);
                let spans_in_all = summary.spans_in_all.filter(|_| self.failure.is_none());
                if spans_in_all.is_some() {
                    self.source_ended(&summary);
                }
                Some(schedule::Event::PumpEnded {
                    pump,
                    spans_in_all: spans_in_all.filter(|_| self.failure.is_none()),
                })
            }
            PumpMessage::Failed { at, error } => {
                let at = self.seconds(at);
                Some(self.pump_failed(pump, Failure::Read { at, source: error }))
            }
            PumpMessage::Lost => Some(self.pump_failed(pump, Failure::Lost(PUMP))),
        }
    }

    fn pump_failed(&mut self, pump: PumpId, failure: Failure) -> schedule::Event {
        self.pumps.remove(&pump);
        self.fail(failure);
        schedule::Event::PumpEnded {
            pump,
            spans_in_all: None,
        }
    }

    fn take_span(&mut self, pump: PumpId, span: Span, last: bool) -> schedule::Event {
        let (index, bytes) = (span.index, span.bytes());
        let seconds = self.note_span(pump, &span.outline(), last);
        // A span that is there already, as when it has to be decoded again, keeps what came of it.
        let held = self.spans.remove(&index).map(|held| held.done);
        let done = held.unwrap_or_else(|| self.done_before(index));
        let span = Some(Arc::new(span));
        self.spans.insert(index, Held { span, last, done });
        schedule::Event::SpanReady {
            pump,
            span: index,
            bytes,
            seconds,
        }
    }

    /// Takes note of a span that is decoded, and gives its length in seconds.
    fn note_span(&mut self, pump: PumpId, outline: &Outline, last: bool) -> f64 {
        let seconds = self.seconds(outline.end - outline.start());
        let granted = self.pumps.get(&pump).map(|line| line.granted);
        let granted = granted.unwrap_or_else(Instant::now);
        self.tell(Event::Decoded {
            segment: outline.index.get(),
            frames: outline.times.len(),
            end: self.seconds(outline.end),
            pump: pump.get(),
            begin: granted
                .saturating_duration_since(self.started)
                .as_secs_f64(),
            seconds: granted.elapsed().as_secs_f64(),
        });
        if last {
            self.spans_in_all = Some(outline.index.next().get());
        }
        // What had to be decoded again is counted once.
        if self.known.insert(outline.index) {
            self.tally.pump.frames += outline.times.len() as u64;
            self.tally.pump.held += u64::from(outline.held);
            let ready = self.began.elapsed().as_secs_f64();
            self.efficiency.ready(outline.index, ready);
        }
        if outline.index >= self.next_cue {
            self.ends.insert(outline.index, outline.end);
        }
        self.cue();
        seconds
    }

    /// Renditions of a span that an earlier run has made.
    fn done_before(&self, span: SegmentIndex) -> BTreeSet<RenditionId> {
        let ids = self.renditions.iter().map(|rendition| rendition.id);
        ids.filter(|rendition| {
            let rendition = *rendition;
            self.done.contains(&TaskId { span, rendition })
        })
        .collect()
    }

    /// Tells the sound of all cuts up to the first that is not known.
    pub(crate) fn cue(&mut self) {
        while let Some(end) = self.ends.remove(&self.next_cue) {
            let index = self.next_cue;
            self.next_cue = index.next();
            let last = self.spans_in_all == Some(self.next_cue.get());
            for line in &self.lines.cues {
                let end = (self.seconds(end) * f64::from(line.rate)).round() as i64;
                line.cues.send(Cue { index, end, last });
            }
        }
        if self.spans_in_all == Some(self.next_cue.get()) {
            self.lines.cues.clear();
        }
    }

    fn source_ended(&mut self, summary: &PumpSummary) {
        let delivered = self.seconds(summary.end);
        let spans = summary.spans_in_all.unwrap_or(0);
        if spans == 0 {
            return self.fail(Failure::Damaged {
                errors: summary.counts.errors,
            });
        }
        if summary.is_cut {
            let seconds = delivered;
            if self.plan.strict {
                return self.fail(Failure::Sparse { seconds });
            }
            self.warn(Warning::Sparse { seconds });
        }
        let source = &self.plan.source;
        if let Some(promised) = source.promised_seconds.filter(|_| !summary.is_cut) {
            let share = if source.promised_by_track {
                0.0
            } else {
                promised * SHORT_SHARE
            };
            if promised - delivered > share.max(SHORT_SECONDS) {
                if self.plan.strict {
                    return self.fail(Failure::Truncated {
                        promised,
                        delivered,
                    });
                }
                self.warn(Warning::Truncated {
                    promised,
                    delivered,
                });
            }
        }
        self.tell(Event::SourceEnded {
            segments: spans,
            seconds: delivered,
        });
    }

    /// All tasks are done, all pumps have ended; or the job was stopped and nothing of it is out.
    pub(crate) fn finished(&mut self) {
        self.tasks_ended = true;
        if self.failure.is_some() {
            return;
        }
        let PumpSummary {
            counts, repairs, ..
        } = self.tally.pump;
        if counts.errors > 0 {
            self.warn(Warning::Damaged {
                errors: counts.errors,
            });
        }
        if repairs.nudged + repairs.discontinuities > 0 {
            self.warn(Warning::TimestampsRepaired {
                nudged: repairs.nudged,
                discontinuities: repairs.discontinuities,
            });
        }
    }

    pub(crate) fn hear_sound(&mut self, track: TrackId, message: SoundMessage) {
        match message {
            SoundMessage::Segment { index, segment } => self.order(Order {
                track,
                index,
                content: Content::Sound(segment),
            }),
            SoundMessage::Ended(summary) => {
                self.following.remove(&Some(track));
                let (track, rate) = self.track(track);
                let seconds = summary.filled as f64 / f64::from(rate);
                self.tally.silence += seconds;
                if self.failure.is_some() {
                    return;
                }
                if seconds > SILENCE_SECONDS {
                    let track = track.clone();
                    self.warn(Warning::SoundFilled { track, seconds });
                }
                if summary.errors > 0 {
                    let errors = summary.errors;
                    self.warn(Warning::SoundDamaged { track, errors });
                }
            }
            SoundMessage::Failed { at, error } => {
                self.following.remove(&Some(track));
                self.fail(Failure::Audio { at, source: error });
            }
        }
    }

    pub(crate) fn hear_text(&mut self, message: TextMessage) {
        match message {
            TextMessage::Segment {
                track,
                index,
                segment,
            } => self.order(Order {
                track,
                index,
                content: Content::Text(segment),
            }),
            TextMessage::Whole { track, cues } => self.order(Order {
                track,
                index: SegmentIndex::FIRST,
                content: Content::WholeText(cues),
            }),
            TextMessage::Ended { errors } => {
                self.following.remove(&None);
                if errors > 0 && self.failure.is_none() {
                    self.warn(Warning::SubtitlesDamaged { errors });
                }
            }
            TextMessage::Failed(error) => {
                self.following.remove(&None);
                self.fail(Failure::Subtitles(error));
            }
        }
    }

    /// Makes the task of a decision, of pictures that are fed or are all there; `None` if they are gone.
    pub(crate) fn task(&mut self, start: &Start, feed: Option<Feed>) -> Option<Task> {
        let footage = match feed {
            Some(feed) => Footage::Fed(Box::new(feed)),
            None => Footage::Whole(self.spans.get(&start.task.span)?.span.clone()?),
        };
        let again = start.second || start.failures > 0;
        let depth = self
            .sampling
            .decide(start.lease.device(), start.task.rendition, again);
        Some(Task {
            rendition: Arc::clone(
                self.made
                    .get(&(start.lease.device(), start.task.rendition))?,
            ),
            footage,
            scaling: Arc::clone(&self.scaling),
            threads: start.threads,
            measure: self.plan.measure,
            depth,
        })
    }

    /// Takes what came home and gives the lease back.
    pub(crate) fn hear_outcome(
        &mut self,
        outcome: Outcome,
        (end, device): (End, &Device),
    ) -> Lease {
        let id = outcome.assignment.task.id();
        let first = end == End::Done
            && self.is_wanted(&outcome)
            && self.failure.is_none()
            && self
                .spans
                .get_mut(&id.span)
                .is_some_and(|held| held.done.insert(id.rendition));
        self.tell(Event::Encoded {
            device: device.id.clone(),
            session: outcome.assignment.lease.session(),
            track: outcome.assignment.task.rendition.name.clone(),
            segment: id.span.get(),
            begin: outcome
                .started
                .saturating_duration_since(self.started)
                .as_secs_f64(),
            seconds: outcome.busy.as_secs_f64(),
            used: first,
        });
        self.tally.note(&outcome, first);
        let device_id = outcome.assignment.lease.device();
        self.sampling
            .hear(device_id, id.rendition, heard(&outcome, end));
        if first {
            let outline = outcome.assignment.task.footage.outline();
            let ticks = outline.map_or(0, |outline| outline.end - outline.start());
            let seconds = self.seconds(ticks);
            let started = outcome.started.saturating_duration_since(self.began);
            self.efficiency.done(TaskDone {
                device: outcome.assignment.lease.device(),
                task: id,
                started: started.as_secs_f64(),
                busy: outcome.busy.as_secs_f64(),
                source: seconds,
            });
        }
        let lease = outcome.assignment.lease;
        match outcome.result {
            Ok(encoded) if first => {
                self.task_done(&outcome.assignment.task, encoded);
                self.forget_fed(id.span);
            }
            // Nobody is told, unless it is what the job fails of in the end.
            Err(error) if end == End::PicturesLost => {
                self.first_errors.entry(id).or_insert(error);
            }
            Err(error) if end == End::Failed => {
                self.task_failed(&outcome.assignment.task, &device.id, error);
            }
            _ => {}
        }
        lease
    }

    fn task_done(&mut self, task: &Task, encoded: Encoded) {
        let id = task.id();
        let last = self.spans.get(&id.span).is_some_and(|held| held.last);
        // A task that has ended well has seen all its pictures.
        let Some(outline) = task.footage.outline() else {
            return self.fail(Failure::Lost(PUMP));
        };
        self.first_errors.remove(&id);
        if let Some(difference) = &encoded.difference {
            self.tally
                .quality
                .entry(id.rendition)
                .or_default()
                .add(difference);
        }
        self.order(Order {
            track: self.tracks.renditions[id.rendition.place()],
            index: id.span,
            content: Content::Pictures {
                start: outline.start(),
                packets: encoded.packets,
                durations: outline.durations().collect(),
                span: outline.stored(last),
            },
        });
    }

    /// Forgets a span that was fed, when all of it is done: there is nothing to release.
    fn forget_fed(&mut self, span: SegmentIndex) {
        let all = self.renditions.len();
        let is_done = |held: &Held| held.span.is_none() && held.done.len() == all;
        if self.spans.get(&span).is_some_and(is_done) {
            self.spans.remove(&span);
        }
    }

    fn task_failed(&mut self, task: &Task, device: &DeviceName, error: EncodeError) {
        if self.failure.is_none() {
            self.warn(Warning::Retried {
                rendition: task.rendition.name.clone(),
                segment: task.footage.index().get(),
                device: device.clone(),
                error: in_words(&error),
            });
        }
        match self.first_errors.entry(task.id()) {
            // What was lost is decoded again; this is what it fails of.
            Entry::Occupied(mut known) if matches!(known.get(), EncodeError::PicturesLost(_)) => {
                known.insert(error);
            }
            first => {
                first.or_insert(error);
            }
        }
    }

    /// A GPU was told to stop with a task. If another device has made it meanwhile, it took much longer than expected there: perhaps it hangs.
    pub(crate) fn outrun(&mut self, outcome: &Outcome, device: &DeviceName) {
        let task = &outcome.assignment.task;
        let id = task.id();
        let held = self.spans.get(&id.span);
        if self.failure.is_none() && held.is_none_or(|held| held.done.contains(&id.rendition)) {
            self.warn(Warning::Outrun {
                rendition: task.rendition.name.clone(),
                segment: id.span.get(),
                device: device.clone(),
                seconds: outcome.busy.as_secs(),
            });
        }
    }

    /// An attempt hangs for so many seconds. Its thread is left alone.
    pub(crate) fn abandoned(&mut self, task: TaskId, device: DeviceName, seconds: u64) {
        self.warn(Warning::Hung {
            rendition: self.renditions[task.rendition.place()].name.clone(),
            segment: task.span.get(),
            device,
            seconds,
        });
        let error = EncodeError::Overdue { seconds };
        self.first_errors.entry(task).or_insert(error);
    }

    /// A task is given up, after attempts on `devices`.
    pub(crate) fn give_up(&mut self, task: TaskId, devices: Vec<DeviceName>) {
        let rendition = self.renditions[task.rendition.place()].name.clone();
        let segment = task.span;
        // What is known of other tasks says more than nothing: the same device may have failed them.
        let own = self.first_errors.remove(&task);
        let first = own.or_else(|| Some(self.first_errors.pop_first()?.1));
        let failure = match first {
            Some(source) if !devices.is_empty() => Failure::Encode {
                rendition,
                segment,
                devices,
                source,
            },
            source => Failure::NoDevice {
                rendition,
                segment,
                source,
            },
        };
        self.fail(failure);
    }

    /// Whether the class that gave it still makes its rendition.
    fn is_wanted(&self, outcome: &Outcome) -> bool {
        let rendition = &outcome.assignment.task.rendition;
        let device = outcome.assignment.lease.device();
        let own = self.made.get(&(device, rendition.id));
        own.is_some_and(|own| own.encoder.encoder == rendition.encoder.encoder)
    }

    /// Another class makes a rendition, of which nothing is published yet.
    pub(crate) fn take_over(&mut self, id: RenditionId, class: usize) {
        let place = id.place();
        let Some(new) = self.plan.renditions()[place].taken_over(class) else {
            return self.fail(Failure::Lost(CONTROL));
        };
        let track = match coding::track(&self.plan, &new) {
            Ok(track) => Box::new(track),
            Err(error) => return self.fail(Failure::Bitstream(error)),
        };
        let own = |task: &TaskId, _: &mut EncodeError| task.rendition == id;
        let errors: Vec<_> = self.first_errors.extract_if(.., own).collect();
        let error = errors.first().map(|(_, error)| in_words(error));
        let names = |rendition: &Rendition| -> Vec<String> {
            rendition
                .makers()
                .map(|maker| maker.encoder.encoder)
                .collect()
        };
        self.warn(Warning::TakenOver {
            rendition: new.name.clone(),
            from: names(&self.renditions[place]),
            to: names(&new),
            error: error.unwrap_or_else(|| "its devices are shut".to_owned()),
        });
        for (device, number) in self.plan.devices.iter().zip(0..) {
            let key = (DeviceId::new(number), id);
            match new.made_by(device) {
                Some(version) => self.made.insert(key, Arc::new(version)),
                None => self.made.remove(&key),
            };
        }
        self.tally.taken_over.insert(id, class);
        self.order(Order {
            track: self.tracks.renditions[place],
            index: SegmentIndex::FIRST,
            content: Content::TakenOver {
                track,
                by: new.encoder.encoder.clone(),
            },
        });
        self.renditions[place] = Arc::new(new);
    }

    /// Nobody needs the pictures of a span any more.
    pub(crate) fn release(&mut self, span: SegmentIndex) {
        self.spans.remove(&span);
    }

    /// Lets go of what is left of pictures that were lost; what came of the span is kept.
    pub(crate) fn let_go(&mut self, span: SegmentIndex) {
        if let Some(held) = self.spans.get_mut(&span) {
            held.span = None;
        }
    }

    pub(crate) fn hear_published(&mut self, published: Published) {
        self.unanswered -= 1;
        match published {
            Published::Done {
                track,
                index,
                bytes,
                duration,
                duplicate,
                frontier_moved,
            } => {
                let (name, ticks) = self.track(track);
                if !duplicate {
                    self.tell(Event::Segment {
                        track: name,
                        segment: index.get(),
                        bytes,
                        seconds: duration as f64 / f64::from(ticks),
                    });
                }
                if frontier_moved && self.tally.first_playable.is_none() {
                    let elapsed = self.started.elapsed();
                    self.tally.first_playable = Some(elapsed);
                    self.tell(Event::Playable {
                        elapsed: elapsed.as_secs_f64(),
                    });
                }
            }
            Published::Whole | Published::TakenOver => {}
            Published::Failed(PublishError::Package(error)) => self.fail(Failure::Package(error)),
            Published::Failed(PublishError::Bitstream(error)) => {
                self.fail(Failure::Bitstream(error));
            }
        }
        if self.unanswered < ORDERS_WAITING {
            for (pump, credit) in std::mem::take(&mut self.held_credit) {
                self.answer(pump, credit);
            }
        }
    }

    /// Name and timescale of a track.
    fn track(&self, id: TrackId) -> (String, u32) {
        let place = |tracks: &[TrackId]| tracks.iter().position(|track| *track == id);
        if let Some(place) = place(&self.tracks.sound) {
            let audio = &self.plan.audio[place];
            return (audio.name.clone(), audio.sample_rate);
        }
        let name = if let Some(place) = place(&self.tracks.text) {
            self.plan.text[place].name.clone()
        } else {
            let place = place(&self.tracks.renditions).unwrap_or(0);
            self.renditions[place].name.clone()
        };
        (name, self.plan.grid.timescale().ticks_per_second())
    }

    fn order(&mut self, order: Order) {
        if self.failure.is_some() {
            return;
        }
        if let Some(orders) = &self.lines.orders
            && orders.send(order).is_ok()
        {
            self.unanswered += 1;
        } else {
            self.fail(Failure::Lost(PUBLISHER));
        }
    }

    /// Keeps the first cause, and ends everything.
    fn fail(&mut self, error: impl Into<Error>) {
        if self.failure.is_some() {
            return;
        }
        self.failure = Some(error.into());
        self.lines.stop.cancel();
        self.lines.cues.clear();
        self.lines.orders = None;
        self.held_credit.clear();
        self.spans.clear();
        // The pumps stay listed until they have said their last word, but nothing is granted to them any more.
        for line in self.pumps.values_mut() {
            line.credit = unbounded().0;
        }
    }

    /// Notes what was charged at the most while the job ran.
    pub(crate) fn note_charged(&mut self, bytes: u64) {
        self.tally.peak_charged = self.tally.peak_charged.max(bytes);
    }

    /// Keeps a warning for the report and tells it.
    pub(crate) fn warn(&mut self, warning: Warning) {
        self.tally.warnings.push(warning.clone());
        self.tell(Event::warning(warning));
    }

    /// Tells the observer.
    pub(crate) fn tell(&self, event: Event) {
        say(&self.lines.caller, Word::Event(event));
    }

    fn seconds(&self, ticks: i64) -> f64 {
        self.plan.grid.timescale().seconds(ticks)
    }
}

fn heard(outcome: &Outcome, end: End) -> Heard {
    let inspected = outcome.result.as_ref().ok();
    Heard {
        depth: outcome.assignment.task.depth,
        busy: outcome.busy,
        pictures: inspected.map_or(0, |encoded| encoded.packets.len()),
        inspected: inspected.and_then(|encoded| encoded.inspected),
        failed: end == End::Failed,
        found: matches!(outcome.result, Err(EncodeError::Inspection(_))),
    }
}

/// Each rendition as each device makes it.
fn made(plan: &Plan) -> BTreeMap<(DeviceId, RenditionId), Arc<Rendition>> {
    let mut made = BTreeMap::new();
    for (device, place) in plan.devices.iter().zip(0..) {
        for rendition in plan.renditions() {
            if let Some(version) = rendition.made_by(device) {
                made.insert((DeviceId::new(place), rendition.id), Arc::new(version));
            }
        }
    }
    made
}
