//! What runs where, and when: from one source to every rendition of a ladder, on every device that the machine has.
//!
//! ```text
//!            ┌────────┐  span (Arc)   ┌──────────┐  assignment   ┌─────────┐  segment   ┌───────────┐
//! source ──► │  pump  │ ────────────► │ control, │ ────────────► │ workers │ ─────────► │ publisher │ ──► files
//!            │ decode │ ◄──────────── │ schedule │ ◄──────────── │ scale + │            │ mux, store│
//!            │  once  │    credit     └──────────┘    outcome    │ encode  │            │ playlists │
//!            └────────┘                  ▲    │ cue              └─────────┘            └───────────┘
//!                                        │    ▼
//!                                      sound's thread
//! ```
//!
//! An [`Engine`] owns the devices. [`Engine::plan`] looks at a source and says what will be made of it, or refuses;
//! [`Engine::run`] does it. There is no terminal in here and no network.

pub mod cancel;
mod control;
pub mod device;
mod engine;
pub mod error;
pub mod event;
pub mod host;
pub mod ids;
pub mod ladder;
pub mod plan;
mod planner;
pub mod process;
mod publish;
mod pump;
pub mod read;
pub mod report;
pub mod schedule;
pub mod software;
mod sound;
pub mod span;
pub mod spec;
pub mod timeline;
pub mod worker;

pub use cancel::Cancel;
pub use engine::{Engine, Footage, Io, Options};
pub use error::Error;
pub use event::Event;
pub use plan::Plan;
pub use report::Report;
pub use spec::Spec;
