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
//!
//! A whole job, from bytes in memory to files in memory:
//!
//! ```
//! use rungs_engine::{Cancel, Engine, Event, Io, Options, Spec, Terms};
//! use rungs_media::Source;
//! use rungs_package::output::Memory;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let Some(clip) = rungs_testkit::tool::require("ffmpeg").map(|_| {
//! #     rungs_testkit::clips::Clip::new().size(320, 180).rate("24").seconds(1.0).make()
//! # }) else { return Ok(()) };
//! let source = Source::from(std::fs::read(clip)?);
//! let engine = Engine::new(Options::default())?;
//! let cancel = Cancel::new(); // a clone of it ends the job from any thread
//!
//! let spec = Spec {
//!     rungs: vec!["180p".parse()?, "90p@crf=40".parse()?],
//!     speed: 12,
//!     ..Spec::default()
//! };
//! let plan = engine.plan(&source, &spec, &cancel)?; // all that can be refused is refused here
//!
//! let files = Memory::new();
//! let mut published = 0;
//! let report = engine.run(&plan, &source, Io {
//!     output: Box::new(files.clone()),
//!     terms: Terms::default(),
//!     cancel: &cancel,
//!     observer: &mut |event| published += u32::from(matches!(event, Event::Segment { .. })),
//! })?;
//!
//! assert_eq!(report.read.frames_decoded, 24); // once, for both rungs
//! assert!(files.get("master.m3u8").is_some());
//! assert!(files.get("video/av1-90p/seg-00000.m4s").is_some());
//! assert!(published >= 2);
//! # Ok(())
//! # }
//! ```
//!
//! This engine encodes in the calling process, one segment at a time. Programs that can start themselves again give
//! [`Options::encoder_program`] and use all cores; see [`process`].

pub mod bound;
pub mod cancel;
pub mod choice;
mod classes;
mod coding;
mod control;
pub mod device;
pub mod done;
pub mod encoders;
mod engine;
pub mod error;
pub mod event;
pub mod feed;
mod golden;
pub mod gpu;
pub mod host;
pub mod ids;
pub mod inspect;
pub mod join;
pub mod journal;
pub mod ladder;
mod message;
mod opened;
pub mod picture;
pub mod places;
pub mod plain;
pub mod plan;
mod planner;
pub mod policy;
pub mod process;
mod publish;
mod pump;
pub mod read;
pub mod report;
pub mod room;
pub mod scaling;
pub mod schedule;
mod seam;
mod sound;
pub mod span;
pub mod spec;
pub mod stills;
mod submit;
mod sync;
mod text;
pub mod timeline;
mod tracks;
mod warning;
pub mod window;
pub mod worker;

pub use cancel::Cancel;
pub use control::Terms;
pub use engine::{Engine, Footage, Io, Options, StartError, Watcher};
pub use error::Error;
pub use event::Event;
pub use plan::Plan;
pub use planner::Patience;
pub use report::Report;
pub use spec::Spec;
pub use submit::{Request, Submitted};
#[cfg(shuttle)]
pub use sync::{Planted, plant};

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
