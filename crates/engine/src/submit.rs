//! Jobs that run on threads of their own, for programs that have several at once.

use std::io;
use std::sync::Arc;

use rungs_media::Source;
use rungs_package::output::Output;

use crate::cancel::Cancel;
use crate::control::Terms;
use crate::engine::{Engine, Io};
use crate::error::{Error, Failure};
use crate::event::Event;
use crate::plan::Plan;
use crate::report::Report;
use crate::sync::{Receiver, thread, unbounded};

/// A job to be run.
pub struct Request {
    /// What to do, made by [`Engine::plan`] of the same engine.
    pub plan: Plan,
    /// The source of the plan.
    pub source: Source,
    /// Where the package goes.
    pub output: Box<dyn Output>,
    /// Its share of the devices, and the like.
    pub terms: Terms,
}

/// A job that runs. Dropping it cancels the job and waits for its end.
#[derive(Debug)]
pub struct Submitted {
    events: Receiver<Event>,
    cancel: Cancel,
    thread: Option<thread::JoinHandle<Result<Report, Error>>>,
}

impl Engine {
    /// Runs a job on a thread of its own, beside others on the same engine. Returns at once.
    pub fn submit(self: &Arc<Self>, request: Request) -> io::Result<Submitted> {
        let engine = Arc::clone(self);
        let cancel = Cancel::new();
        let (told, events) = unbounded();
        let token = cancel.clone();
        let thread = thread::Builder::new().name("job".to_owned());
        let thread = thread.spawn(move || {
            let io = Io {
                output: request.output,
                terms: request.terms,
                cancel: &token,
                // Events that nobody wants to hear are lost.
                observer: &mut |event| drop(told.send(event)),
            };
            engine.run(&request.plan, &request.source, io)
        })?;
        Ok(Submitted {
            events,
            cancel,
            thread: Some(thread),
        })
    }
}

impl Submitted {
    /// What happens in the job, in order; disconnected when it has ended. Events that are not taken out stay in memory.
    #[must_use]
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Ends the job early. Returns at once.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the job's end.
    pub fn join(mut self) -> Result<Report, Error> {
        self.wait()
            .unwrap_or_else(|| Err(Failure::Lost("job").into()))
    }

    fn wait(&mut self) -> Option<Result<Report, Error>> {
        self.thread.take()?.join().ok()
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.cancel.cancel();
            self.wait();
        }
    }
}
