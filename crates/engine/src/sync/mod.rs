//! What the engine's threads are made of: channels, threads and locks.
//!
//! The real ones are crossbeam's and the standard library's. A build with `cfg(shuttle)` has stand-ins instead, which `shuttle` schedules in
//! all sorts of orders; that is how `crates/interleave` tests the very same hand-over between pumps, control and workers.

#[cfg(shuttle)]
pub(crate) mod modelled;

#[cfg(not(shuttle))]
pub(crate) use {
    crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select, unbounded},
    std::sync::{Mutex, PoisonError},
    std::thread,
};

#[cfg(shuttle)]
pub(crate) use {
    modelled::{Receiver, RecvTimeoutError, Sender, bounded, never, select, thread, unbounded},
    shuttle::sync::Mutex,
    std::sync::PoisonError,
};

#[cfg(shuttle)]
pub use modelled::{Planted, plant};

/// Whether a mistake was planted, to see that the tests find it; never in a real build.
#[cfg(shuttle)]
pub(crate) use modelled::is_planted;

/// Starts a thread in a scope. Unlike the scope's own way it is an error where the system gives none.
#[cfg(not(shuttle))]
pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> std::io::Result<thread::ScopedJoinHandle<'scope, T>> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn_scoped(scope, work)
}

/// The same under `shuttle`, which always gives one.
#[cfg(shuttle)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands in for one that may fail"
)]
pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    _name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> std::io::Result<thread::ScopedJoinHandle<'scope, T>> {
    Ok(scope.spawn(work))
}
