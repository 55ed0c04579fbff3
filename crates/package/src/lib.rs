//! Encoded samples in, a CMAF package with HLS and DASH manifests out.
//!
//! ```text
//! what an encoder gave ─► coding::VideoCodec::sample ─► track::Sample ┐
//!                                                                   ▼
//!             track::Track ─► Packager::add_track, start ─► Packager::commit ─► finish
//!                                    │                          │                │
//!                                    ▼ cmaf::init_segment       ▼ cmaf::…        ▼ hls, dash
//!                                  init.mp4                  seg-00000.m4s     playlists, manifest.mpd
//!                                    └──────────────┬───────────┴────────────────┘
//!                                                   ▼ output::Output: whole or absent, and durable
//! ```
//!
//! [`av1`], [`nal`], [`coding`], [`cmaf`], [`hls`] and [`dash`] are pure functions over bytes. The [`Packager`] owns
//! what has been committed, and decides when a playlist may say so. There are no threads here, no
//! clock, no codec; the only input and output is the [`output::Output`] that it is given.
//!
//! ```
//! use std::time::Duration;
//!
//! use rungs_package::av1::{SequenceHeader, sample_from_temporal_unit};
//! use rungs_package::coding::Coding;
//! use rungs_package::output::Memory;
//! use rungs_package::track::{Light, Sample, Segment, Track, VideoTrack};
//! use rungs_package::{Bandwidth, Layout, Packager, TrackSpec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let unit = b"\x12\x00\x0a\x0b\0\0\0\x04\x3c\xfe\xcc\xfb\xf9\0\x40\x32\x01\0";
//! // `unit` is a temporal unit with a key frame, as an encoder gives it.
//! let video = VideoTrack {
//!     coding: Coding::Av1(vec![SequenceHeader::parse(unit)?]),
//!     width: 320,
//!     height: 180,
//!     timescale: 24_000,
//!     color: None,
//!     pixel_aspect: (1, 1),
//!     light: Light::default(),
//!     delay: 0,
//! };
//! let files = Memory::new();
//! let mut packager = Packager::new(files.clone(), Layout::new(Duration::from_secs(4)));
//! let rung = packager.add_track(TrackSpec {
//!     name: "video/av1-180p".to_owned(),
//!     track: Track::Video(video),
//!     frame_rate: Some(24.0),
//!     estimated: Bandwidth { peak: 300_000, average: 200_000 },
//!     label: None,
//! })?;
//! packager.start()?;
//! let data = sample_from_temporal_unit(unit)?;
//! let samples = vec![Sample { data, duration: 96_000, offset: 0, key: true }];
//! packager.commit(rung, 0, Segment { decode_time: 0, samples })?;
//! packager.finish()?;
//! assert!(files.get("master.m3u8").is_some());
//! # Ok(())
//! # }
//! ```

mod audio;
pub mod av1;
mod bandwidth;
mod bits;
pub mod cmaf;
pub mod coding;
pub mod dash;
pub mod digest;
pub mod dolby;
pub mod hls;
pub mod language;
pub mod mp3;
pub mod mp4;
pub mod nal;
pub mod order;
pub mod output;
mod packager;
mod presentation;
pub mod single;
pub mod storyboard;
mod summary;
pub mod text;
pub mod track;
pub mod tree;

pub use audio::AudioConfigError;
pub use bandwidth::Bandwidth;
pub use digest::Digest;
pub use packager::{Committed, Layout, PackageError, Packager, Stills, TrackId, TrackSpec};
pub use presentation::{
    is_still, parse_segment_path, segment_path, single_name, stored_path, track_files,
    whole_text_name,
};
pub use summary::{MediaSummary, Summary, TrackSummary};
