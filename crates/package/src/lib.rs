//! Encoded samples in, a CMAF package with HLS and DASH manifests out.
//!
//! ```text
//! temporal unit ─► av1::sample_from_temporal_unit ─► track::Sample ─┐
//!                                                                   ▼
//!             track::Track ─► Packager::add_track, start ─► Packager::commit ─► finish
//!                                    │                          │                │
//!                                    ▼ cmaf::init_segment       ▼ cmaf::…        ▼ hls, dash
//!                                  init.mp4                  seg-00000.m4s     playlists, manifest.mpd
//!                                    └──────────────┬───────────┴────────────────┘
//!                                                   ▼ output::Output: whole or absent, and durable
//! ```
//!
//! [`av1`], [`cmaf`], [`hls`] and [`dash`] are pure functions over bytes. The [`Packager`] owns
//! what has been committed, and decides when a playlist may say so. There are no threads here, no
//! clock, no codec; the only input and output is the [`output::Output`] that it is given.

mod audio;
pub mod av1;
mod bandwidth;
mod bits;
pub mod cmaf;
pub mod dash;
pub mod hls;
mod language;
pub mod output;
mod packager;
mod presentation;
mod summary;
pub mod track;

pub use audio::AudioConfigError;
pub use bandwidth::Bandwidth;
pub use packager::{Committed, Layout, PackageError, Packager, TrackId, TrackSpec};
pub use summary::{MediaSummary, Summary, TrackSummary};
