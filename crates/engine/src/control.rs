//! The one loop that owns a job's state: it hears every thread, asks the schedule, and hands out what it decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};
use rungs_package::TrackId;

use crate::cancel::Cancel;
use crate::device::DeviceId;
use crate::done::Done;
use crate::error::{EncodeError, Error, Failure};
use crate::event::Event;
use crate::ids::{RenditionId, SegmentIndex, TaskId};
use crate::message::{
    Content, Cue, Message, Order, PublishError, Published, PumpMessage, PumpSummary, SoundMessage,
    SoundSummary,
};
use crate::plan::{Plan, Rendition, Warning};
use crate::schedule::{self, Decision, Schedule};
use crate::span::{Assignment, Difference, Encoded, Outcome, Span, Task};
use crate::worker::{Home, Pool};

/// A picture that ends more than this many seconds before the container's promise is worth a warning.
const SHORT_SECONDS: f64 = 0.5;
/// The same as a share, where only the whole container promises: its longest track may be the sound.
const SHORT_SHARE: f64 = 0.05;
/// Silence in the sound that is worth a warning, in seconds.
const SILENCE_SECONDS: f64 = 0.5;

/// Where control speaks to. Each line is hung up by dropping it, which ends the thread behind it.
pub(crate) struct Lines {
    pub(crate) credit: Option<Sender<SegmentIndex>>,
    pub(crate) cues: Option<Sender<Cue>>,
    pub(crate) orders: Option<Sender<Order>>,
    /// Stops what computes: the pump, the sound and the encoders of this job.
    pub(crate) stop: Cancel,
}

/// The published tracks in the plan's order.
pub(crate) struct Tracks {
    pub(crate) renditions: Vec<TrackId>,
    pub(crate) sound: Option<TrackId>,
}

/// What control hears and what it may be told by the user.
pub(crate) struct Ears<'a> {
    pub(crate) inbox: &'a Receiver<Message>,
    pub(crate) user: &'a Cancel,
}

/// What a job came to, besides what the packager knows.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) pump: PumpSummary,
    pub(crate) sound: SoundSummary,
    pub(crate) quality: BTreeMap<RenditionId, Difference>,
    pub(crate) busy: BTreeMap<(DeviceId, u32), (u64, Duration)>,
    /// Processor time of other processes.
    pub(crate) other_cpu: Duration,
    /// The most memory that the process of each session ever held.
    pub(crate) other_memory: BTreeMap<(DeviceId, u32), u64>,
    pub(crate) peak_charged: u64,
    pub(crate) first_playable: Option<Duration>,
    pub(crate) warnings: Vec<Warning>,
}

impl Tally {
    /// What there is to say of a job that an earlier run has done but for its last playlists.
    pub(crate) fn of_done(done: &Done) -> Self {
        Self {
            pump: done.pump_summary(),
            ..Self::default()
        }
    }
}

/// What control works with and does not own.
pub(crate) struct Setting<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) pool: &'a Pool,
    pub(crate) tracks: &'a Tracks,
    pub(crate) home: Home,
    pub(crate) started: Instant,
    /// What an earlier run left behind.
    pub(crate) done: &'a Done,
}

pub(crate) struct Control<'a> {
    setting: Setting<'a>,
    observer: &'a mut dyn FnMut(Event),
    lines: Lines,
    schedule: Schedule,
    renditions: Vec<Arc<Rendition>>,
    spans: BTreeMap<SegmentIndex, Arc<Span>>,
    first_errors: BTreeMap<TaskId, EncodeError>,
    /// Orders that the publisher has not answered.
    unanswered: usize,
    pump_ended: bool,
    sound_ended: bool,
    tasks_ended: bool,
    failure: Option<Error>,
    tally: Tally,
}

impl<'a> Control<'a> {
    pub(crate) fn new(
        setting: Setting<'a>,
        lines: Lines,
        observer: &'a mut dyn FnMut(Event),
    ) -> Self {
        let plan = setting.plan;
        Self {
            schedule: Schedule::new(&plan.devices, plan.loads(), plan.memory)
                .without(setting.done.tasks().clone()),
            renditions: plan.renditions().iter().cloned().map(Arc::new).collect(),
            spans: BTreeMap::new(),
            first_errors: BTreeMap::new(),
            unanswered: 0,
            pump_ended: false,
            sound_ended: lines.cues.is_none(),
            tasks_ended: false,
            failure: None,
            tally: Tally::default(),
            setting,
            observer,
            lines,
        }
    }

    /// Runs the job to its end: all threads have said their last word, all leases are home, all orders are answered.
    pub(crate) fn run(mut self, ears: &Ears<'_>) -> Result<Tally, Error> {
        let silent = never();
        let mut user = ears.user.signal();
        while !self.is_over() {
            select! {
                recv(ears.inbox) -> message => match message {
                    Ok(message) => self.hear(message),
                    Err(_) => self.fail(Failure::Lost("inbox")),
                },
                // Nobody sends on this line; it is cut when the user cancels.
                recv(user) -> _ => {
                    user = &silent;
                    self.fail(Error::Interrupted);
                }
            }
        }
        match self.failure {
            Some(error) => Err(error),
            // All is done, but whoever cancelled before the playlists were closed is told that the job was.
            None if ears.user.is_cancelled() => Err(Error::Interrupted),
            None => Ok(self.tally),
        }
    }

    fn is_over(&self) -> bool {
        let published = self.unanswered == 0 || self.failure.is_some();
        self.pump_ended && self.sound_ended && self.tasks_ended && published
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Pump(message) => self.hear_pump(message),
            Message::Sound(message) => self.hear_sound(message),
            Message::Outcome(outcome) => self.hear_outcome(outcome),
            Message::Published(published) => self.hear_published(published),
            Message::Lost(thread) => {
                self.pump_ended |= thread == PUMP;
                self.sound_ended |= thread == SOUND;
                self.fail(Failure::Lost(thread));
            }
        }
    }

    fn hear_pump(&mut self, message: PumpMessage) {
        match message {
            PumpMessage::CreditAsked { span, bytes } => {
                self.ask(schedule::Event::CreditAsked { span, bytes });
            }
            PumpMessage::Span { span, last } => self.take_span(span, last),
            PumpMessage::Ended(summary) => {
                self.pump_ended = true;
                self.tally.pump = summary;
                self.lines.cues = None;
                if self.failure.is_none() {
                    self.source_ended(summary);
                }
            }
            PumpMessage::Failed { at, error } => {
                self.pump_ended = true;
                self.fail(Failure::Read {
                    at: self.seconds(at),
                    source: error,
                });
            }
        }
    }

    fn take_span(&mut self, span: Span, last: bool) {
        let (index, bytes) = (span.index, span.bytes());
        self.tell(Event::Decoded {
            segment: index.get(),
            frames: span.frames.len(),
            end: self.seconds(span.end),
        });
        if let (Some(cues), Some(audio)) = (&self.lines.cues, &self.setting.plan.audio) {
            let end = (self.seconds(span.end) * f64::from(audio.sample_rate)).round() as i64;
            // The sound's thread says itself why it has ended.
            cues.send(Cue { index, end, last }).ok();
        }
        self.spans.insert(index, Arc::new(span));
        self.ask(schedule::Event::SpanReady { span: index, bytes });
    }

    fn source_ended(&mut self, summary: PumpSummary) {
        let delivered = self.seconds(summary.end);
        let plan = self.setting.plan;
        if summary.spans == 0 {
            return self.fail(Failure::Damaged {
                errors: summary.counts.errors,
            });
        }
        if let Some(promised) = plan.source.promised_seconds {
            let share = if plan.source.promised_by_track {
                0.0
            } else {
                promised * SHORT_SHARE
            };
            if promised - delivered > share.max(SHORT_SECONDS) {
                if plan.strict {
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
        let errors = summary.counts.errors;
        if errors > 0 {
            self.warn(Warning::Damaged { errors });
        }
        let repairs = summary.repairs;
        if repairs.nudged + repairs.discontinuities > 0 {
            self.warn(Warning::TimestampsRepaired {
                nudged: repairs.nudged,
                discontinuities: repairs.discontinuities,
            });
        }
        self.tell(Event::SourceEnded {
            segments: summary.spans,
            seconds: delivered,
        });
        self.ask(schedule::Event::SourceEnded {
            spans: summary.spans,
        });
    }

    fn hear_sound(&mut self, message: SoundMessage) {
        match message {
            SoundMessage::Segment { index, segment } => {
                if let Some(track) = self.setting.tracks.sound {
                    self.order(Order {
                        track,
                        index,
                        content: Content::Sound(segment),
                    });
                }
            }
            SoundMessage::Ended(summary) => {
                self.sound_ended = true;
                self.tally.sound = summary;
                if let (Some(audio), None) = (&self.setting.plan.audio, &self.failure) {
                    let seconds = summary.filled as f64 / f64::from(audio.sample_rate);
                    if seconds > SILENCE_SECONDS {
                        self.warn(Warning::SoundFilled { seconds });
                    }
                    if summary.errors > 0 {
                        self.warn(Warning::SoundDamaged {
                            errors: summary.errors,
                        });
                    }
                }
            }
            SoundMessage::Failed { at, error } => {
                self.sound_ended = true;
                self.fail(Failure::Audio { at, source: error });
            }
        }
    }

    fn hear_outcome(&mut self, outcome: Outcome) {
        let Outcome {
            assignment: Assignment { lease, task },
            result,
            busy,
        } = outcome;
        let id = task.id();
        let device = lease.device().clone();
        let session = self
            .tally
            .busy
            .entry((device.clone(), lease.session()))
            .or_default();
        session.0 += 1;
        session.1 += busy;
        if let Ok(Encoded {
            used: Some(used), ..
        }) = &result
        {
            self.tally.other_cpu += used.cpu;
            let memory = self
                .tally
                .other_memory
                .entry((device.clone(), lease.session()))
                .or_default();
            *memory = used.peak_memory.unwrap_or(0).max(*memory);
        }
        let done = result.is_ok();
        match result {
            Ok(encoded) => self.task_done(&task, encoded),
            Err(error) => self.task_failed(&task, error),
        }
        // The span's pictures go with its last task, not when the schedule says so.
        drop(task);
        let ended = schedule::Event::TaskEnded {
            task: id,
            lease,
            done,
        };
        for decision in self.schedule.handle(ended) {
            match decision {
                Decision::GiveUp { task, attempts } => self.give_up(task, attempts, device.clone()),
                decision => self.carry_out(decision),
            }
        }
    }

    fn task_done(&mut self, task: &Task, encoded: Encoded) {
        let id = task.id();
        self.first_errors.remove(&id);
        if let Some(difference) = &encoded.difference {
            self.tally
                .quality
                .entry(id.rendition)
                .or_default()
                .add(difference);
        }
        self.order(Order {
            track: self.setting.tracks.renditions[id.rendition.place()],
            index: id.span,
            content: Content::Pictures {
                start: task.span.start,
                packets: encoded.packets,
                durations: task.span.durations().collect(),
                span: task.span.stored(),
            },
        });
    }

    fn task_failed(&mut self, task: &Task, error: EncodeError) {
        let id = task.id();
        if self.failure.is_none() {
            self.warn(Warning::Retried {
                rendition: task.rendition.name.clone(),
                segment: id.span.get(),
                error: error.to_string(),
            });
        }
        self.first_errors.entry(id).or_insert(error);
    }

    fn give_up(&mut self, task: TaskId, attempts: u32, device: DeviceId) {
        let source = self
            .first_errors
            .remove(&task)
            .unwrap_or(EncodeError::Cancelled);
        self.fail(Failure::Encode {
            rendition: self.renditions[task.rendition.place()].name.clone(),
            segment: task.span,
            device,
            attempts,
            source,
        });
    }

    fn hear_published(&mut self, published: Published) {
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
                    let elapsed = self.setting.started.elapsed();
                    self.tally.first_playable = Some(elapsed);
                    self.tell(Event::Playable {
                        elapsed: elapsed.as_secs_f64(),
                    });
                }
            }
            Published::Failed(PublishError::Package(error)) => self.fail(Failure::Package(error)),
            Published::Failed(PublishError::Bitstream(error)) => {
                self.fail(Failure::Bitstream(error));
            }
        }
    }

    /// Name and timescale of a track.
    fn track(&self, id: TrackId) -> (String, u32) {
        let plan = self.setting.plan;
        let place = self
            .setting
            .tracks
            .renditions
            .iter()
            .position(|track| *track == id);
        match (place, &plan.audio) {
            (None, Some(audio)) => (audio.name.clone(), audio.sample_rate),
            (place, _) => {
                let rendition = &self.renditions[place.unwrap_or(0)];
                (
                    rendition.name.clone(),
                    plan.grid.timescale().ticks_per_second(),
                )
            }
        }
    }

    fn ask(&mut self, event: schedule::Event) {
        for decision in self.schedule.handle(event) {
            self.carry_out(decision);
        }
    }

    fn carry_out(&mut self, decision: Decision) {
        self.tally.peak_charged = self.tally.peak_charged.max(self.schedule.charged());
        match decision {
            Decision::Grant { span } => {
                if let Some(credit) = &self.lines.credit {
                    credit.send(span).ok();
                }
            }
            Decision::Start {
                task,
                lease,
                threads,
                ..
            } => {
                let Some(span) = self.spans.get(&task.span) else {
                    // A span is released only after its last task. Should it be gone all the same, the lease goes home.
                    let done = false;
                    return self.ask(schedule::Event::TaskEnded { task, lease, done });
                };
                let task = Task {
                    rendition: Arc::clone(&self.renditions[task.rendition.place()]),
                    span: Arc::clone(span),
                    threads,
                    measure: self.setting.plan.measure,
                };
                let (stop, home) = (self.lines.stop.clone(), Arc::clone(&self.setting.home));
                self.setting
                    .pool
                    .submit(Assignment { lease, task }, stop, home);
            }
            Decision::Release { span } => {
                self.spans.remove(&span);
            }
            // Heard where its outcome is.
            Decision::GiveUp { .. } => {}
            Decision::Finished => self.tasks_ended = true,
        }
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
        self.lines.credit = None;
        self.lines.cues = None;
        self.lines.orders = None;
        self.spans.clear();
        self.ask(schedule::Event::Stopped);
    }

    fn warn(&mut self, warning: Warning) {
        self.tally.warnings.push(warning.clone());
        self.tell(Event::warning(warning));
    }

    fn tell(&mut self, event: Event) {
        (self.observer)(event);
    }

    fn seconds(&self, ticks: i64) -> f64 {
        self.setting.plan.grid.timescale().seconds(ticks)
    }
}

/// Names of the job's threads.
pub(crate) const PUMP: &str = "pump";
pub(crate) const SOUND: &str = "sound";
pub(crate) const PUBLISHER: &str = "publisher";
