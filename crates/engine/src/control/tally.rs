//! What a job came to, besides what the packager knows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::done::Done;
use crate::ids::{DeviceId, RenditionId};
use crate::inspect::InspectionReport;
use crate::message::PumpSummary;
use crate::plan::Warning;
use crate::schedule::Spent;
use crate::span::{Difference, Outcome};

/// Counted while a job runs, told at its end.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// All pumps together.
    pub(crate) pump: PumpSummary,
    /// Seconds of silence put into holes, in all tracks of sound together.
    pub(crate) silence: f64,
    pub(crate) quality: BTreeMap<RenditionId, Difference>,
    /// By device and session.
    pub(crate) sessions: BTreeMap<(DeviceId, u32), SessionTally>,
    pub(crate) peak_charged: u64,
    /// From the start of the work to the end of the last of it.
    pub(crate) makespan: Duration,
    /// The time in seconds that no schedule could have beaten, if it can be told.
    pub(crate) bound: Option<f64>,
    /// Where the session-seconds went while the job ran, for each device.
    pub(crate) spent: Vec<Spent>,
    pub(crate) first_playable: Option<Duration>,
    pub(crate) warnings: Vec<Warning>,
    /// Renditions that other classes have taken over, each with the class by its place among the planned successors.
    pub(crate) taken_over: BTreeMap<RenditionId, usize>,
    pub(crate) inspection: InspectionReport,
}

/// What one session did for a job.
#[derive(Debug, Default)]
pub(crate) struct SessionTally {
    /// Tasks that it did.
    pub(crate) tasks: u64,
    /// Attempts whose result was not used: failed, cancelled, or second.
    pub(crate) wasted: u64,
    /// Time that it worked.
    pub(crate) busy: Duration,
    /// Processor time of its process, where it has one.
    pub(crate) other_cpu: Duration,
    /// The most memory that its process ever held.
    pub(crate) other_memory: u64,
}

impl Tally {
    /// What there is to say of the spans that an earlier run has done.
    pub(crate) fn of_done(done: &Done) -> Self {
        Self {
            pump: done.pump_summary(),
            ..Self::default()
        }
    }

    /// Takes note of what a session did.
    pub(crate) fn note(&mut self, outcome: &Outcome, used: bool) {
        let lease = &outcome.assignment.lease;
        let session = self
            .sessions
            .entry((lease.device(), lease.session()))
            .or_default();
        session.tasks += u64::from(used);
        session.wasted += u64::from(!used);
        session.busy += outcome.busy;
        if let Ok(encoded) = &outcome.result
            && let Some(other) = encoded.used
        {
            session.other_cpu += other.cpu;
            session.other_memory = other.peak_memory.unwrap_or(0).max(session.other_memory);
        }
    }
}
