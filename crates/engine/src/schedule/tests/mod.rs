//! Whole histories: the schedule against a small world of devices and pumps.

#![expect(
    clippy::print_stderr,
    reason = "histories can be told, and decisions timed"
)]

mod histories;
mod placement;
mod rules;
mod world;
