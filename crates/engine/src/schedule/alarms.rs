//! What has to be looked at when some time has come.

use std::collections::BTreeSet;

use super::facts::Tick;
use crate::ids::{AttemptId, DeviceId};

/// What to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// An attempt takes much longer than expected.
    Late(AttemptId),
    /// An attempt is past its deadline.
    Overdue(AttemptId),
    /// An attempt was told to stop, and should be home.
    Grace(AttemptId),
    /// A device in quarantine is due for its golden task.
    Golden(DeviceId),
    /// A golden task should be home.
    GoldenOverdue(DeviceId),
    /// A device may have room for one more session again.
    Roomier(DeviceId),
}

/// Alarms by time.
#[derive(Debug, Default)]
pub(super) struct Alarms(BTreeSet<(Tick, Alarm)>);

impl Alarms {
    pub(super) fn set(&mut self, at: Tick, alarm: Alarm) {
        self.0.insert((at, alarm));
    }

    pub(super) fn clear(&mut self, at: Tick, alarm: Alarm) {
        self.0.remove(&(at, alarm));
    }

    pub(super) fn next(&self) -> Option<Tick> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes the first that is due.
    pub(super) fn due(&mut self, now: Tick) -> Option<Alarm> {
        let (at, alarm) = *self.0.first()?;
        if at > now {
            return None;
        }
        self.0.pop_first();
        Some(alarm)
    }
}
