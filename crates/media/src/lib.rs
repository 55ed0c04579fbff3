//! The safe face of FFmpeg's libraries.
//!
//! Bytes of a [`Source`] become packets in [`demux`], packets become frozen frames in [`decode`], frames are brought into
//! one form in [`normalise`] and to a rendition's size in [`scale`], and [`encode`] makes packets of them again. [`audio`] does the
//! same for sound. [`remux`] puts the packets of a finished file into another container. [`hardware`] has the same on devices
//! other than the CPU. [`bitstream`] changes packets without decoding, [`entry`] says where decoding can begin, [`inspect`] tells what this FFmpeg can do.
//!
//! FFmpeg 5.1 to 9 is supported; what the versions differ in stays below this interface. Everything is `Send`; what owns a
//! codec is not `Sync`, and a frozen frame is. No function prints, and nothing is opened by name but the source's own path.

#![deny(unsafe_code)]

mod cancel;
mod clock;
mod color;
mod error;
#[allow(unsafe_code)]
mod ffi;
mod fields;
mod layout;
mod obu;
mod pace;
mod packet;
mod source;
mod stall;

pub mod audio;
pub mod bitstream;
pub mod check;
pub mod decode;
pub mod demux;
pub mod direct;
pub mod encode;
pub mod entry;
pub mod filters;
pub mod frame;
pub mod hardware;
pub mod hdr;
pub mod heap;
pub mod images;
pub mod inspect;
pub mod loudness;
pub mod normalise;
pub mod overlay;
pub mod remux;
pub mod sample;
pub mod scale;
pub mod still;
pub mod subtitle;
pub mod time;
pub mod witness;

use std::sync::Once;

pub use cancel::{CancelToken, Wake};
pub use color::{ChromaLocation, Color, FieldOrder, Rotation};
pub use error::{AvError, DeviceError, Error};
pub use packet::Packet;
pub use source::{Changed, Identity, Lasting, Limits, Reading, Source, Supply, TooLarge};
pub use time::Rational;

/// Makes FFmpeg's libraries and SVT-AV1 silent for the whole process; calls after the first do nothing. Opening a source or an
/// encoder does it too, but SVT-AV1 is told through an environment variable, and CUDA to count its devices by PCI address, which is only safe while the process has one thread:
/// call this first thing in `main`.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        ffi::silence();
        ffi::set_max_alloc(Limits::default().max_alloc);
        ffi::set_variables();
    });
}

/// A library's name and the version that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryVersion {
    /// Such as `libavcodec`.
    pub name: &'static str,
    /// Such as `59.37.100`.
    pub version: String,
}

/// The versions of FFmpeg's libraries that the process runs with.
#[must_use]
pub fn versions() -> Vec<LibraryVersion> {
    ffi::library_versions()
        .into_iter()
        .map(|(name, packed)| LibraryVersion {
            name,
            version: format!("{}.{}.{}", packed >> 16, packed >> 8 & 0xFF, packed & 0xFF),
        })
        .collect()
}

/// The release of FFmpeg that the process runs with, such as `5.1.9-0+deb12u1`.
#[must_use]
pub fn ffmpeg_version() -> String {
    ffi::release().to_owned()
}
