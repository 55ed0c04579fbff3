//! Whole jobs with the real program on real files, judged by a checker that owes it nothing.
//!
//! ```text
//! clip ─► rungs package ─► folder ─► checker: boxes, playlists, pictures, times
//!                 │                    reader: the same while it is written
//!                 └─► exit code, report.json, events, messages
//! ```

mod audio_damage;
mod bytes;
mod codecs;
mod command;
mod comparing;
mod ending;
mod hour;
mod http;
mod images;
mod inputs;
mod keeping;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod killing;
mod lag;
mod limits;
mod memory;
mod mixed;
mod odd;
mod package;
mod picture;
mod playing;
mod refused;
mod resuming;
mod single_file;
mod sound;
mod sparse;
mod stage;
mod stills;
mod streams;
mod subtitles;
mod support;
mod together;
mod tracing;
mod tracks;
mod transcode;
mod trial;
