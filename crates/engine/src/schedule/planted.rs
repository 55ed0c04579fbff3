//! Bugs that can be planted into a schedule, to see that the simulator finds them. With the feature `planted` a schedule can be made
//! with one of them; without it there is never any, and the compiler takes the questions out.

use super::Schedule;

/// A bug, as somebody might make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A task that failed does not wait again.
    ForgetRequeue,
    /// The task of an attempt that was abandoned does not wait again.
    ForgetAbandoned,
    /// A failure is counted twice.
    CountTwice,
    /// A device that has no room counts as having failed.
    CountCapacity,
    /// A job is given up one failure too soon.
    GiveUpSoon,
    /// Tasks start whatever the memory.
    IgnoreBudget,
    /// Spans are granted whatever the memory.
    IgnoreBudgetForSpans,
    /// A lease is given out that is out already.
    BusyLease,
    /// A second result of a task is counted.
    CountSecond,
    /// A span's pictures are never let go.
    ForgetRelease,
    /// A span's pictures are let go when one of its tasks is done.
    ReleaseSoon,
    /// The lease of an attempt that was cancelled is lost.
    LoseLease,
    /// The memory of an attempt that was abandoned stays charged when it comes home.
    LeakCharge,
    /// A device that passed its golden task gets no tasks.
    NeverReadmit,
    /// A device is trusted again without a golden task.
    ReadmitUntested,
    /// A golden task is never started.
    ForgetGolden,
    /// Tasks go to a device in quarantine.
    IgnoreQuarantine,
    /// Tasks go to a device that is lost.
    IgnoreLoss,
    /// What an earlier run has done is done again.
    ForgetDone,
    /// Of several gaps only the first is read.
    ForgetGap,
    /// A pump is ended one span early.
    EndPumpEarly,
    /// A pump reads on into the stretch of another.
    ReadOn,
    /// Credit is given twice.
    GrantTwice,
    /// All jobs but the first are forgotten.
    ForgetSecondJob,
    /// The job that came first goes first, always.
    StarveJob,
    /// A task goes to a device that cannot do it.
    Incapable,
    /// The other attempts of a task that is done go on.
    NeverCancel,
    /// The source is taken to be a span shorter than it is.
    OneSpanLess,
    /// Nobody is asked to wake the schedule.
    NeverWake,
    /// Attempts that take too long are not cancelled.
    NeverOverdue,
    /// A job is finished while its attempts are out.
    FinishSoon,
    /// A job is never finished when it was stopped.
    NeverFinishStopped,
    /// A span whose pictures were lost is not decoded again.
    ForgetLost,
    /// A task whose pictures were lost is tried again as if they were there.
    RetryLost,
    /// What is left of lost pictures is let go while attempts have them.
    LetGoSoon,
    /// Lost pictures count against the device that missed them.
    StrikeLoss,
    /// A job is given up though another class of encoders could make the rendition.
    ForgetTakeOver,
    /// Another class takes a rendition over of which something is done.
    TakeOverBegun,
    /// What the class before gives still counts.
    CountOtherClass,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 39] = [
        Self::ForgetRequeue,
        Self::ForgetAbandoned,
        Self::CountTwice,
        Self::CountCapacity,
        Self::GiveUpSoon,
        Self::IgnoreBudget,
        Self::IgnoreBudgetForSpans,
        Self::BusyLease,
        Self::CountSecond,
        Self::ForgetRelease,
        Self::ReleaseSoon,
        Self::LoseLease,
        Self::LeakCharge,
        Self::NeverReadmit,
        Self::ReadmitUntested,
        Self::ForgetGolden,
        Self::IgnoreQuarantine,
        Self::IgnoreLoss,
        Self::ForgetDone,
        Self::ForgetGap,
        Self::EndPumpEarly,
        Self::ReadOn,
        Self::GrantTwice,
        Self::ForgetSecondJob,
        Self::StarveJob,
        Self::Incapable,
        Self::NeverCancel,
        Self::OneSpanLess,
        Self::NeverWake,
        Self::NeverOverdue,
        Self::FinishSoon,
        Self::NeverFinishStopped,
        Self::ForgetLost,
        Self::RetryLost,
        Self::LetGoSoon,
        Self::StrikeLoss,
        Self::ForgetTakeOver,
        Self::TakeOverBegun,
        Self::CountOtherClass,
    ];
}

impl Schedule {
    /// Makes a schedule with a bug.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn with_bug(machine: super::Machine, bug: Bug) -> Self {
        Self {
            bug: Some(bug),
            ..Self::new(machine)
        }
    }

    /// Whether the schedule was made with this bug.
    #[cfg(feature = "planted")]
    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// There are no bugs.
    #[cfg(not(feature = "planted"))]
    #[expect(
        clippy::unused_self,
        reason = "so that it is asked in the same way with the feature"
    )]
    pub(super) const fn has(&self, _: Bug) -> bool {
        false
    }
}
