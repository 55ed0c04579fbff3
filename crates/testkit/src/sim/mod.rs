//! The simulator: a schedule under a virtual clock, with fake devices, pumps and jobs, and everything that can go wrong.
//!
//! ```text
//! seed ──► scenario ──► world: heap of what is due ──► events ──► schedule ──► decisions ──► checked and carried out
//!                          ▲                                                                          │
//!                          └────────────────────── what follows from them, and when ◄─────────────────┘
//! ```
//!
//! [`random`] makes a small scenario full of faults from a seed; [`run`] plays it and says what was wrong first, if anything.
//! The same seed gives the same run, to the last event. The world keeps its own books and owes nothing to the schedule's.

pub mod baselines;
pub mod batch;
mod carry;
mod fate;
pub mod quality;
mod scenario;
mod scheduler;
mod truth;
mod vanish;
mod world;

pub use scenario::{
    CROWDED, FakeDevice, FakeJob, FakeSpan, Fault, Nanos, Scenario, TAKING_OVER, Trouble,
    VANISHING, Vanishing, nanos, random,
};
pub use scheduler::Scheduler;
pub use world::{Outcome, Settings, run};
