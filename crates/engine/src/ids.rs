//! The numbers that travel between the plan, the pump, the schedule and the packager, each as a type of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Place of a segment, and of the span it is made from, in the presentation: 0, 1, 2, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentIndex(u32);

impl SegmentIndex {
    /// The first segment of a presentation.
    pub const FIRST: Self = Self(0);

    /// Makes the index of the segment at `place`, counted from 0.
    #[must_use]
    pub const fn new(place: u32) -> Self {
        Self(place)
    }

    /// Returns the place, counted from 0.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the index of the segment after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SegmentIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One rendition of a plan, by its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RenditionId(u16);

impl RenditionId {
    /// Makes the id of the rendition at `place` in its plan.
    #[must_use]
    pub const fn new(place: u16) -> Self {
        Self(place)
    }

    /// Returns its place in the plan.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0 as usize
    }
}

/// One device of an engine, by its place in the engine's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(u16);

impl DeviceId {
    /// Makes the id of the device at `place`, counted from 0.
    #[must_use]
    pub const fn new(place: u16) -> Self {
        Self(place)
    }

    /// Returns the place, counted from 0.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0 as usize
    }
}

/// One job of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(u32);

/// One decode thread; unlike for each stretch that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PumpId(u32);

/// One try of one task on one lease; unlike for each try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(u64);

/// Makes ids that count from `new` upwards.
macro_rules! counted {
    ($($id:ident: $number:ty),*) => {$(
        impl $id {
            /// Makes the id with this number.
            #[must_use]
            pub const fn new(number: $number) -> Self {
                Self(number)
            }

            /// Returns the number.
            #[must_use]
            pub const fn get(self) -> $number {
                self.0
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

counted!(JobId: u32, PumpId: u32, AttemptId: u64);

/// One rendition of one span: what the schedule pairs with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The span to encode.
    pub span: SegmentIndex,
    /// The rendition to make of it.
    pub rendition: RenditionId,
}
