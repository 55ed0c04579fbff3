//! Whole histories: the schedule against a small world of devices and pumps.

mod histories;
mod placement;
mod rules;
mod world;
