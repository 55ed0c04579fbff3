//! What the tests of rungs stand on: generated clips, and a checker that owes nothing to the code it judges.
//!
//! Clips flow out of FFmpeg's own generators into files ([`clips`]); packages made from them flow into
//! [`checker`] once they are done, and into [`reader`] while they are being written. Both use the `ffmpeg` and
//! `ffprobe` programs ([`tool`]) and a small box reader of their own ([`mp4`]), never the crates under test.

#![allow(
    clippy::doc_markdown,
    reason = "FFmpeg and its like are names of programs, not of items"
)]

pub mod checker;
pub mod clips;
pub mod dice;
pub mod digest;
pub mod fake;
pub mod faulty;
mod hls;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod killing;
pub mod lag;
pub mod mortal;
pub mod mp4;
pub mod mutate;
pub mod npm;
pub mod parsers;
pub mod reader;
pub mod server;
pub mod sim;
pub mod standin;
pub mod tool;
