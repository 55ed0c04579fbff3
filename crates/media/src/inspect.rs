//! What this FFmpeg was built with.

use crate::ffi::{self, Kind};

/// An encoder or decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecEntry {
    /// FFmpeg's name of it, such as `libsvtav1`.
    pub name: &'static str,
    /// A description for people.
    pub description: &'static str,
    /// The codec, such as `av1`.
    pub codec: &'static str,
    /// What it works on.
    pub kind: CodecKind,
    /// Whether it drives a device rather than the CPU, as far as FFmpeg tells.
    pub hardware: bool,
    /// Whether FFmpeg marks it as not ready for use.
    pub experimental: bool,
}

/// What a codec works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Subtitles.
    Subtitle,
    /// Anything else.
    Other,
}

/// The encoders that this FFmpeg has, in its order.
#[must_use]
pub fn encoders() -> Vec<CodecEntry> {
    ffi::codecs()
        .into_iter()
        .filter(|codec| codec.is_encoder())
        .map(entry)
        .collect()
}

/// The decoders that this FFmpeg has, in its order.
#[must_use]
pub fn decoders() -> Vec<CodecEntry> {
    ffi::codecs()
        .into_iter()
        .filter(|codec| codec.is_decoder())
        .map(entry)
        .collect()
}

/// Whether this FFmpeg has the filter.
#[must_use]
pub fn has_filter(name: &str) -> bool {
    ffi::has_filter(name)
}

fn entry(codec: ffi::Codec) -> CodecEntry {
    CodecEntry {
        name: codec.name(),
        description: codec.description(),
        codec: codec.codec_name(),
        kind: match codec.kind() {
            Kind::Video => CodecKind::Video,
            Kind::Audio => CodecKind::Audio,
            Kind::Subtitle => CodecKind::Subtitle,
            Kind::Data | Kind::Other => CodecKind::Other,
        },
        hardware: codec.is_hardware(),
        experimental: codec.is_experimental(),
    }
}
