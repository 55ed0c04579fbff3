//! The seam to encoders, and the threads behind it: assignments in, outcomes out.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::cancel::Cancel;
use crate::device::Lease;
use crate::error::EncodeError;
use crate::inspect::inspect;
use crate::span::{Assignment, Encoded, Outcome, Task};

/// What encodes one span into one rendition. The one seam to codecs; it must be deterministic: the same task gives the same
/// bytes on every try.
pub trait Backend: Send + Sync {
    /// Encodes the whole span of the task with a fresh encoder on the leased session. Blocks until it is done; reads `cancel` once
    /// a picture and gives up soon after it is set. What it gives is inspected before it is committed.
    fn encode(&self, lease: &Lease, task: &Task, cancel: &Cancel) -> Result<Encoded, EncodeError>;
}

/// Where a job's outcomes go. Called on the worker's thread; must not block.
pub type Home = Arc<dyn Fn(Outcome) + Send + Sync>;

struct Order {
    assignment: Assignment,
    cancel: Cancel,
    home: Home,
}

/// Threads of a device, one for each session. Dropping the pool lets each thread finish what it has and joins it.
pub struct Pool {
    orders: Option<Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `sessions` threads that encode with `backend`.
    pub fn start(backend: &Arc<dyn Backend>, sessions: u32) -> std::io::Result<Self> {
        let (orders, inbox) = unbounded::<Order>();
        let mut pool = Self {
            orders: Some(orders),
            threads: Vec::new(),
        };
        for session in 0..sessions {
            let backend = Arc::clone(backend);
            let inbox = inbox.clone();
            let thread = std::thread::Builder::new().name(format!("encode-{session}"));
            pool.threads
                .push(thread.spawn(move || work(backend.as_ref(), &inbox))?);
        }
        Ok(pool)
    }

    /// Hands an assignment to the next free thread. As there are no more leases than threads, it starts at once.
    pub fn submit(&self, assignment: Assignment, cancel: Cancel, home: Home) {
        let order = Order {
            assignment,
            cancel,
            home,
        };
        if let Some(orders) = &self.orders {
            // The threads outlive the sender, so there is always a receiver.
            orders.send(order).ok();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.orders = None;
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn work(backend: &dyn Backend, inbox: &Receiver<Order>) {
    while let Ok(order) = inbox.recv() {
        let started = Instant::now();
        let Assignment { lease, task } = order.assignment;
        let attempt = || {
            let mut encoded = backend.encode(&lease, &task, &order.cancel)?;
            inspect(&task, &mut encoded, &order.cancel)?;
            Ok(encoded)
        };
        // A panic in a backend must not take the lease with it: the outcome would never come home.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt))
            .unwrap_or_else(|_| {
                Err(EncodeError::Backend(
                    "the encoder's thread panicked".to_owned(),
                ))
            });
        (order.home)(Outcome {
            assignment: Assignment { lease, task },
            result,
            busy: started.elapsed(),
        });
    }
}
