//! What really is the case in a simulated run, kept apart from what the schedule believes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rungs_engine::device::Lease;
use rungs_engine::ids::{AttemptId, DeviceId, JobId, PumpId, RenditionId, TaskId};
use rungs_engine::schedule::{Ability, End};

use super::scenario::{FakeJob, Nanos, Scenario};

/// Whether tasks may go to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Trusted,
    Quarantined,
    /// A golden task has passed.
    Passed,
}

#[derive(Debug)]
pub(super) struct DeviceTruth {
    pub(super) lost: bool,
    pub(super) trust: Trust,
    /// Sessions that the schedule may use.
    pub(super) sessions: u32,
    /// Attempts that hold a session, also those that hang.
    pub(super) running: u32,
    pub(super) abandoned: u32,
    pub(super) golden: Vec<Lease>,
    /// Which sessions are out.
    pub(super) busy: Vec<bool>,
    /// Attempts that failed there since it did well last.
    pub(super) failures: u32,
    /// Anything else went wrong there since: an attempt hung, or found no room.
    pub(super) suspect: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanTruth {
    Unread,
    Granted,
    Held,
    /// It goes straight to attempts.
    Fed,
    Released,
}

/// What has become of the pictures of a span, each time that it is decoded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pictures {
    /// How often it was decoded.
    pub(super) decode: u32,
    /// They are gone.
    pub(super) lost: bool,
    /// An attempt has said so.
    pub(super) known: bool,
}

impl Pictures {
    pub(super) fn decode_again(&mut self) {
        let decode = self.decode + 1;
        *self = Self {
            decode,
            ..Self::default()
        };
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobPhase {
    ToCome,
    Running,
    /// Stopped from outside, by an error of its pump, or by the schedule itself.
    Stopped,
    Finished,
}

#[derive(Clone, Debug, Default)]
pub(super) struct TaskTruth {
    pub(super) done: bool,
    /// A result came from an attempt that had been abandoned; whether it counts is nobody's promise.
    pub(super) late: bool,
    /// Attempts that are out and not abandoned.
    pub(super) out: u32,
    /// Devices of the attempts that failed or hung.
    pub(super) failed_on: Vec<DeviceId>,
    /// The decodes of its span whose pictures an attempt of it found lost.
    pub(super) lost: BTreeSet<u32>,
}

#[derive(Debug)]
pub(super) struct JobTruth {
    pub(super) phase: JobPhase,
    pub(super) given_up: bool,
    pub(super) spans: Vec<SpanTruth>,
    /// By span.
    pub(super) pictures: Vec<Pictures>,
    /// By span, then by rendition.
    pub(super) tasks: Vec<TaskTruth>,
    pub(super) renditions: usize,
    /// Tasks that are not done.
    pub(super) left: usize,
    /// Attempts that are out and not abandoned.
    pub(super) out: u32,
    pub(super) pumps: u32,
    /// Spans granted or held.
    pub(super) held: u32,
    pub(super) finished_at: Option<Nanos>,
    pub(super) busy: Nanos,
    /// Session time of other jobs since this one got a lease last, while it waits for one.
    pub(super) passed_over: f64,
    /// What each device can do with each rendition, as the class does that makes it now.
    pub(super) abilities: Vec<Vec<Option<Ability>>>,
    /// By rendition: how many classes have made it before.
    pub(super) class: Vec<usize>,
}

impl JobTruth {
    pub(super) fn new(job: &FakeJob) -> Self {
        let renditions = job.facts.loads.len();
        let mut tasks = vec![TaskTruth::default(); job.spans.len() * renditions];
        let mut left = tasks.len();
        for done in &job.facts.done {
            if let Some(task) =
                tasks.get_mut(done.span.get() as usize * renditions + done.rendition.place())
            {
                left -= usize::from(!task.done);
                task.done = true;
            }
        }
        Self {
            phase: JobPhase::ToCome,
            given_up: false,
            spans: vec![SpanTruth::Unread; job.spans.len()],
            pictures: vec![Pictures::default(); job.spans.len()],
            tasks,
            renditions,
            left,
            out: 0,
            pumps: 0,
            held: 0,
            finished_at: None,
            busy: 0,
            passed_over: 0.0,
            abilities: job
                .facts
                .loads
                .iter()
                .map(|load| load.abilities.clone())
                .collect(),
            class: vec![0; renditions],
        }
    }

    /// Whether anything of a rendition is done, or may be.
    pub(super) fn has_begun(&self, rendition: RenditionId) -> bool {
        let own = self.tasks.iter().skip(rendition.place());
        let mut own = own.step_by(self.renditions.max(1));
        own.any(|task| task.done || task.late)
    }

    pub(super) fn task(&mut self, id: TaskId) -> Result<&mut TaskTruth, String> {
        let known = id.rendition.place() < self.renditions;
        let place = id.span.get() as usize * self.renditions + id.rendition.place();
        let task = self.tasks.get_mut(place).filter(|_| known);
        task.ok_or_else(|| format!("{id:?} does not exist"))
    }

    pub(super) fn span_is(&self, span: u32, state: SpanTruth) -> bool {
        self.spans.get(span as usize) == Some(&state)
    }

    /// Tasks of a span.
    pub(super) fn tasks_of(&self, span: u32) -> &[TaskTruth] {
        let from = span as usize * self.renditions;
        self.tasks.get(from..from + self.renditions).unwrap_or(&[])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PumpPhase {
    Seeking,
    Asking,
    Decoding,
    Ending,
}

#[derive(Debug)]
pub(super) struct PumpTruth {
    pub(super) job: JobId,
    pub(super) next: u32,
    pub(super) until: Option<u32>,
    pub(super) phase: PumpPhase,
    /// It may decode the span that comes next.
    pub(super) granted: bool,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Out {
    pub(super) job: JobId,
    pub(super) task: TaskId,
    pub(super) lease: Lease,
    pub(super) bytes: u64,
    pub(super) started: Nanos,
    /// When it comes home by itself; `None` for never.
    pub(super) home: Option<Nanos>,
    pub(super) end: End,
    /// It does not hear that it shall stop.
    pub(super) deaf: bool,
    pub(super) cancelled: bool,
    /// It was told to stop because it took too long.
    pub(super) overdue: bool,
    pub(super) abandoned: bool,
    /// Its span is not in memory.
    pub(super) fed: bool,
    /// Which decode of its span it has.
    pub(super) decode: u32,
    /// Which class made its rendition when it went out.
    pub(super) class: usize,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) devices: Vec<DeviceTruth>,
    pub(super) jobs: Vec<JobTruth>,
    pub(super) pumps: BTreeMap<PumpId, PumpTruth>,
    pub(super) out: HashMap<AttemptId, Out>,
    /// Attempts that are out and not abandoned.
    pub(super) working: u32,
    pub(super) golden: u32,
    /// Bytes of spans granted or held and of encoders that are out.
    pub(super) charged: u64,
    pub(super) unfinished: usize,
}

impl Truth {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let device = |facts: &rungs_engine::schedule::DeviceFacts| DeviceTruth {
            lost: false,
            trust: Trust::Trusted,
            sessions: facts.sessions,
            running: 0,
            abandoned: 0,
            golden: Vec::new(),
            busy: vec![false; facts.sessions as usize],
            failures: 0,
            suspect: false,
        };
        Self {
            devices: scenario.machine.devices.iter().map(device).collect(),
            jobs: scenario.jobs.iter().map(JobTruth::new).collect(),
            pumps: BTreeMap::new(),
            out: HashMap::new(),
            working: 0,
            golden: 0,
            charged: 0,
            unfinished: scenario.jobs.len(),
        }
    }

    /// Notes that a lease is out, or home again.
    pub(super) fn lease(&mut self, lease: &Lease, out: bool) -> Result<(), String> {
        let device = self.device(lease.device())?;
        let busy = device.busy.get_mut(lease.session() as usize);
        let busy = busy.ok_or_else(|| format!("{lease:?} is none"))?;
        if out && *busy {
            return Err(format!("{lease:?} is out already"));
        }
        *busy = out;
        Ok(())
    }

    pub(super) fn job(&mut self, id: JobId) -> Result<&mut JobTruth, String> {
        self.jobs
            .get_mut(id.get() as usize)
            .ok_or_else(|| format!("job {id} does not exist"))
    }

    pub(super) fn device(&mut self, id: DeviceId) -> Result<&mut DeviceTruth, String> {
        self.devices
            .get_mut(id.place())
            .ok_or_else(|| format!("{id:?} does not exist"))
    }
}
