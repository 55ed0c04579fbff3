//! The seam to encoders, and the threads behind it: assignments in, outcomes out.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::device::{Device, Lease};
use crate::error::EncodeError;
use crate::ids::DeviceId;
use crate::inspect::inspect;
use crate::span::{Assignment, Encoded, Outcome, Task};
use crate::sync::{Receiver, RecvTimeoutError, Sender, bounded, thread, unbounded};

/// What encodes one span into one rendition. The one seam to codecs; it must be deterministic: the same task gives the same
/// bytes on every try.
pub trait Backend: Send + Sync {
    /// Encodes the whole span of the task with a fresh encoder on the leased session. Blocks until it is done; reads `cancel` once
    /// a picture and gives up soon after it is set. What it gives is inspected before it is committed.
    fn encode(&self, lease: &Lease, task: &Task, cancel: &Cancel) -> Result<Encoded, EncodeError>;
}

/// What comes back from a session.
#[derive(Debug)]
pub(crate) enum Homecoming {
    /// A task.
    Outcome(Box<Outcome>),
    /// A golden task, and whether the device did it as it should.
    Golden(Lease, Result<(), EncodeError>),
}

/// Where lease and result go. Called on the session's thread; must not block.
pub(crate) type Home = Arc<dyn Fn(Homecoming) + Send + Sync>;

enum Order {
    Task(Assignment, Cancel),
    Golden(Lease, Task, Cancel),
}

/// The thread of one session.
struct Session {
    orders: Sender<Order>,
    thread: thread::JoinHandle<()>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    /// Whether its last task was given up.
    abandoned: bool,
    /// Stops what it does now.
    cancel: Cancel,
}

/// A thread for each session of each device. Dropping the pool stops what runs and joins the threads; those that hang are left behind.
pub(crate) struct Pool {
    /// How long its end waits for threads that were told to stop. Those that stay longer hang, and are left alone.
    grace: Duration,
    sessions: BTreeMap<(DeviceId, u32), Session>,
}

impl Pool {
    /// Starts the threads of `devices`, which encode with `backend` and give everything back to `home`. Its end waits for `grace`.
    pub(crate) fn start(
        backend: &Arc<dyn Backend>,
        devices: &[Device],
        (home, grace): (&Home, Duration),
    ) -> std::io::Result<Self> {
        let mut sessions = BTreeMap::new();
        for (device, place) in devices.iter().zip(0..) {
            for session in 0..device.sessions {
                let (orders, inbox) = unbounded::<Order>();
                let (alive, ended) = bounded(0);
                let (backend, home) = (Arc::clone(backend), Arc::clone(home));
                let thread = thread::Builder::new()
                    .name(format!("encode-{}-{session}", device.id))
                    .spawn(move || {
                        let _alive: Sender<()> = alive;
                        while let Ok(order) = inbox.recv() {
                            home(work(backend.as_ref(), order));
                        }
                    })?;
                sessions.insert(
                    (DeviceId::new(place), session),
                    Session {
                        orders,
                        thread,
                        ended,
                        abandoned: false,
                        cancel: Cancel::new(),
                    },
                );
            }
        }
        Ok(Self { grace, sessions })
    }

    /// Hands an assignment to the thread of its lease. There is one lease for each thread, so it starts at once.
    pub(crate) fn submit(&mut self, assignment: Assignment, cancel: &Cancel) {
        let place = (assignment.lease.device(), assignment.lease.session());
        self.send(place, Order::Task(assignment, cancel.clone()), cancel);
    }

    /// The same with a golden task.
    pub(crate) fn submit_golden(&mut self, lease: Lease, task: Task) {
        let cancel = Cancel::new();
        let place = (lease.device(), lease.session());
        self.send(place, Order::Golden(lease, task, cancel.clone()), &cancel);
    }

    fn send(&mut self, place: (DeviceId, u32), order: Order, cancel: &Cancel) {
        if let Some(session) = self.sessions.get_mut(&place) {
            session.abandoned = false;
            session.cancel = cancel.clone();
            // The thread outlives the sender, so there is always a receiver.
            session.orders.send(order).ok();
        }
    }

    /// Does not wait for this session's thread any more, until it gets work again.
    pub(crate) fn abandon(&mut self, device: DeviceId, session: u32) {
        if let Some(session) = self.sessions.get_mut(&(device, session)) {
            session.abandoned = true;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let sessions = std::mem::take(&mut self.sessions);
        let mut waited = Vec::new();
        for session in sessions.into_values() {
            session.cancel.cancel();
            // Its sender goes here, so the thread ends after what it does now.
            drop(session.orders);
            if !session.abandoned {
                waited.push((session.thread, session.ended));
            }
        }
        let until = Instant::now() + self.grace;
        for (thread, ended) in waited {
            // Nobody sends on this line; it is cut when the thread ends.
            if ended.recv_deadline(until) == Err(RecvTimeoutError::Disconnected) {
                thread.join().ok();
            }
        }
    }
}

fn work(backend: &dyn Backend, order: Order) -> Homecoming {
    let started = Instant::now();
    match order {
        Order::Task(assignment, cancel) => {
            let Assignment { lease, task, .. } = &assignment;
            let result = encode(backend, (lease, task), &cancel);
            Homecoming::Outcome(Box::new(Outcome {
                assignment,
                result,
                started,
                busy: started.elapsed(),
            }))
        }
        Order::Golden(lease, task, cancel) => {
            let result = encode(backend, (&lease, &task), &cancel);
            Homecoming::Golden(lease, result.map(|_| ()))
        }
    }
}

/// One try, looked at as closely as the task says. A panic in a backend must not take the lease with it: the outcome would never come home.
fn encode(
    backend: &dyn Backend,
    (lease, task): (&Lease, &Task),
    cancel: &Cancel,
) -> Result<Encoded, EncodeError> {
    let attempt = || {
        let mut encoded = backend.encode(lease, task, cancel)?;
        inspect(task, &mut encoded, cancel)?;
        Ok(encoded)
    };
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| {
        Err(EncodeError::Backend(
            "the encoder's thread panicked".to_owned(),
        ))
    })
}
