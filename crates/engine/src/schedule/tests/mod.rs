//! Whole histories: the schedule against a small world of devices and pumps.

#![allow(clippy::print_stderr)] // Histories can be told, and decisions timed.

mod histories;
mod placement;
mod rules;
mod world;
