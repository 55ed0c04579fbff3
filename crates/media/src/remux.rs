//! A finished file in, the same packets in another container out.

use std::ffi::CStr;
use std::path::Path;

use crate::demux::{Demuxer, StreamKind};
use crate::error::{AvError, Error};
use crate::ffi::Output;
use crate::source::{CancelToken, Limits, Source};

/// A container that FFmpeg writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Matroska.
    Matroska,
    /// `WebM`: Matroska for AV1, VP8 and VP9 with Opus and Vorbis, nothing else.
    WebM,
}

impl Container {
    fn name(self) -> &'static CStr {
        match self {
            Self::Matroska => c"matroska",
            Self::WebM => c"webm",
        }
    }
}

/// Writes the picture and the sound of a file into another one, with its tags and chapters; replaces what has that name. Nothing is decoded, and
/// equal files give equal files. Blocks meanwhile; what is written when it fails stays, and nothing is flushed to the disk.
///
/// # Errors
/// What [`Demuxer`] says of the file; [`Error::Mux`] if the other cannot be written or cannot hold the codecs; [`Error::Cancelled`].
pub fn remux(
    (from, to): (&Path, &Path),
    container: Container,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let mut demuxer = Demuxer::open(&Source::from(from), &Limits::default(), cancel)?;
    let mux = |source| Error::Mux {
        container: container.name().to_string_lossy().into_owned(),
        source,
    };
    let media = |kind: &StreamKind| matches!(kind, StreamKind::Video(_) | StreamKind::Audio(_));
    let kept: Vec<usize> = demuxer
        .streams()
        .iter()
        .filter(|stream| media(&stream.kind))
        .map(|stream| stream.index)
        .collect();
    demuxer.keep_only(&kept);
    let mut output = Output::create(container.name(), to).map_err(mux)?;
    for index in &kept {
        let stream = &demuxer.streams()[*index];
        let own = [("language", &stream.language), ("title", &stream.title)];
        let tags = own
            .into_iter()
            .filter_map(|(name, text)| Some((name, text.clone()?)));
        let tags: Vec<_> = tags.collect();
        if let Some(view) = demuxer.input.stream(*index) {
            output.add(&view, &tags).map_err(mux)?;
        }
    }
    // What describes the container that is left behind.
    let old = [
        "major_brand",
        "minor_version",
        "compatible_brands",
        "encoder",
    ];
    let tags = demuxer.tags().iter();
    let tags = tags.filter(|(name, _)| !old.contains(&name.as_str()));
    let tags: Vec<_> = tags
        .map(|(name, text)| (name.as_str(), text.clone()))
        .collect();
    output.set_tags(&tags).map_err(mux)?;
    output
        .set_chapters(&demuxer.input.chapters())
        .map_err(mux)?;
    // Matroska tells Opus' priming by a field of its own, and moves the sound by it. Without that, sound that starts before the picture moves both.
    let mut sound = demuxer.streams().iter().filter(|s| s.audio().is_some());
    let primed = sound.all(|stream| stream.codec == "opus");
    output.begin(primed).map_err(mux)?;
    while let Some(packet) = demuxer.read()? {
        let place = kept.iter().position(|index| *index == packet.stream());
        let (Some(place), Some(stream)) = (place, demuxer.streams().get(packet.stream())) else {
            continue;
        };
        let unit = stream.time_base.rational();
        let unit = unit.ok_or_else(AvError::invalid).map_err(mux)?;
        output.write(packet.0, (place, unit)).map_err(mux)?;
    }
    output.finish().map_err(mux)
}
