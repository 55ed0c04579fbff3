//! How long a plan waits for drivers that give no answer.

use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::sync::{Receiver, RecvTimeoutError, spawn_scoped, thread, unbounded};

/// How long a plan waits for GPUs whose trials do not end. A trial that ends gives the next one its full time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until it is said that there is a wait.
    pub notice: Duration,
    /// For the first GPU that hangs.
    pub first: Duration,
    /// For each further one: its driver is most often the same.
    pub later: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            notice: Duration::from_secs(5),
            first: Duration::from_secs(45),
            later: Duration::from_secs(15),
        }
    }
}

/// How trials are watched.
pub(super) struct Watch<'a> {
    /// Ends them as it ends the plan.
    pub(super) user: &'a Cancel,
    /// Until it is said that there is a wait.
    pub(super) notice: Duration,
    /// Until they are ended.
    pub(super) most: Duration,
    /// Told that there is a wait.
    pub(super) waiting: &'a (dyn Fn() + Sync),
}

/// Runs trials, which are given what cancels them and what they call whenever one has ended. Also returns whether they were cancelled because none ended
/// for too long.
pub(super) fn watched<T>(
    watch: &Watch<'_>,
    work: impl FnOnce(&Cancel, &(dyn Fn() + Sync)) -> T,
) -> (T, bool) {
    let cancel = Cancel::new();
    let own = cancel.clone();
    let _wake = watch.user.media().when_cancelled(move || own.cancel());
    let (ended, ends) = unbounded();
    thread::scope(|scope| {
        let watcher = spawn_scoped(scope, "patience", || waits_in_vain(watch, &ends, &cancel));
        let result = work(&cancel, &|| {
            // The watcher may have gone after it cancelled all.
            ended.send(()).ok();
        });
        drop(ended);
        // Without a thread nobody watches, and each process has its own deadline.
        let in_vain = watcher.is_ok_and(|watcher| watcher.join().unwrap_or(false));
        (result, in_vain)
    })
}

/// Waits until nobody is left who could say that a trial has ended; or until none has for too long, and cancels them.
fn waits_in_vain(watch: &Watch<'_>, ends: &Receiver<()>, cancel: &Cancel) -> bool {
    loop {
        let since = Instant::now();
        match ends.recv_deadline(since + watch.notice) {
            Ok(()) => continue,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => (watch.waiting)(),
        }
        match ends.recv_deadline(since + watch.most) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {
                cancel.cancel();
                return true;
            }
        }
    }
}
