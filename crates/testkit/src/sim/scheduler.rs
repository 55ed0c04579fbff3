//! What the simulator drives: the engine's schedule, or another to compare it with.

use rungs_engine::schedule::{Decision, Event, Schedule, Tick};

/// A schedule under a virtual clock.
pub trait Scheduler {
    /// Takes an event and returns what follows from it.
    fn handle(&mut self, now: Tick, event: Event) -> Vec<Decision>;

    /// When it wants to be woken.
    fn wake_at(&self) -> Option<Tick>;

    /// Bytes that it holds spans and encoders to take; `None` if it does not say.
    fn charged(&self) -> Option<u64>;

    /// Leases that are home; `None` if it does not say.
    fn free_leases(&self) -> Option<usize>;

    /// Whether it promises all that the engine's schedule does; otherwise it is not judged.
    fn is_judged(&self) -> bool {
        true
    }

    /// Audits itself.
    ///
    /// # Errors
    ///
    /// Says what does not add up.
    fn check(&self) -> Result<(), String>;
}
impl Scheduler for Schedule {
    fn handle(&mut self, now: Tick, event: Event) -> Vec<Decision> {
        self.handle(now, event)
    }

    fn wake_at(&self) -> Option<Tick> {
        self.wake_at()
    }

    fn charged(&self) -> Option<u64> {
        Some(self.charged())
    }

    fn free_leases(&self) -> Option<usize> {
        Some(self.free_leases())
    }

    fn check(&self) -> Result<(), String> {
        self.check()
    }
}
