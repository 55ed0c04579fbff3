//! A finished file in, the same packets in another container out.

use std::ffi::CStr;
use std::path::Path;

use crate::cancel::CancelToken;
use crate::demux::{Demuxer, StreamKind};
use crate::error::{AvError, Error};
use crate::ffi::{Output, PacketRef, TextCodec};
use crate::source::{Limits, Source};
use crate::time::Rational;

/// A container that FFmpeg writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Matroska.
    Matroska,
    /// `WebM`: Matroska for AV1, VP8 and VP9 with Opus and Vorbis, nothing else.
    WebM,
}

impl Container {
    /// How it keeps subtitles: `SubRip`, which every player of Matroska shows, or `WebVTT`, which is all that `WebM` has.
    fn text(self) -> TextCodec {
        match self {
            Self::Matroska => TextCodec::SubRip,
            Self::WebM => TextCodec::WebVtt,
        }
    }

    fn name(self) -> &'static CStr {
        match self {
            Self::Matroska => c"matroska",
            Self::WebM => c"webm",
        }
    }
}

/// A track of subtitles that comes from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Language, as the container is to have it.
    pub language: Option<String>,
    /// Its name in menus.
    pub title: Option<String>,
    /// Whether it is for those who want no subtitles.
    pub forced: bool,
    /// What it shows, by time.
    pub cues: Vec<Cue>,
}

/// Some text in `WebVTT`'s form and when it is shown, in milliseconds of the presentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// When it appears.
    pub start: u64,
    /// When it goes.
    pub end: u64,
    /// The text: escaped, with tags.
    pub text: String,
}

/// The text as `SubRip` has it: the tags are the same, and nothing is escaped.
fn subrip(text: &str) -> String {
    let known = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&nbsp;", "\u{a0}"),
        ("&amp;", "&"),
    ];
    known
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Writes the picture and the sound of a file into another one, with its tags and chapters, and subtitles beside them; replaces what has that name. Nothing is decoded, and
/// equal files give equal files. Blocks meanwhile; what is written when it fails stays, and nothing is flushed to the disk.
///
/// # Errors
/// What [`Demuxer`] says of the file; [`Error::Mux`] if the other cannot be written or cannot hold the codecs; [`Error::Cancelled`].
pub fn remux(
    (from, to): (&Path, &Path),
    (container, texts): (Container, &[Text]),
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
    let mut lines = describe(&demuxer, (&kept, texts), (&mut output, container)).map_err(mux)?;
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
        let time = packet.dts().or(packet.pts()).unwrap_or(0);
        lines
            .write((&mut output, container), stream.time_base.seconds(time))
            .map_err(mux)?;
        output.write(packet.0, (place, unit)).map_err(mux)?;
    }
    lines
        .write((&mut output, container), f64::INFINITY)
        .map_err(mux)?;
    output.finish().map_err(mux)
}

/// Says what will be in the file, and gives the lines that are to be written into it.
fn describe<'a>(
    demuxer: &Demuxer,
    (kept, texts): (&[usize], &'a [Text]),
    (output, container): (&mut Output, Container),
) -> Result<Lines<'a>, AvError> {
    /// What describes the container that is left behind.
    const OLD: [&str; 4] = [
        "major_brand",
        "minor_version",
        "compatible_brands",
        "encoder",
    ];
    for index in kept {
        let stream = &demuxer.streams()[*index];
        let tags = track_tags(stream.language.as_ref(), stream.title.as_ref());
        if let Some(view) = demuxer.input.stream(*index) {
            output.add(&view, &tags)?;
        }
    }
    let mut lines = Lines::default();
    for (text, stream) in texts.iter().zip(kept.len()..) {
        let tags = track_tags(text.language.as_ref(), text.title.as_ref());
        output.add_text(container.text(), text.forced, &tags)?;
        lines.add(stream, &text.cues);
    }
    let tags = demuxer.tags().iter();
    let tags = tags.filter(|(name, _)| !OLD.contains(&name.as_str()));
    let tags: Vec<_> = tags
        .map(|(name, text)| (name.as_str(), text.clone()))
        .collect();
    output.set_tags(&tags)?;
    output.set_chapters(&demuxer.input.chapters())?;
    Ok(lines)
}

fn track_tags(language: Option<&String>, title: Option<&String>) -> Vec<(&'static str, String)> {
    let own = [("language", language), ("title", title)];
    let told = own
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?.clone())));
    told.collect()
}

/// The lines of all subtitles that are still to be written, the next one last.
#[derive(Default)]
struct Lines<'a>(Vec<(usize, &'a Cue)>);

impl<'a> Lines<'a> {
    fn add(&mut self, stream: usize, cues: &'a [Cue]) {
        self.0.extend(cues.iter().map(|cue| (stream, cue)));
        self.0
            .sort_by_key(|(stream, cue)| std::cmp::Reverse((cue.start, *stream)));
    }

    /// Writes what appears up to this second.
    fn write(
        &mut self,
        (output, container): (&mut Output, Container),
        seconds: f64,
    ) -> Result<(), AvError> {
        const MILLISECOND: Rational = Rational { num: 1, den: 1000 };
        while let Some((stream, cue)) = self
            .0
            .pop_if(|(_, cue)| cue.start as f64 / 1000.0 <= seconds)
        {
            let text = match container.text() {
                TextCodec::SubRip => subrip(&cue.text),
                TextCodec::WebVtt => cue.text.clone(),
            };
            let mut packet = PacketRef::copy_of(text.as_bytes())?;
            packet.set_times(cue.start.cast_signed(), (cue.end - cue.start).cast_signed());
            output.write(packet, (stream, MILLISECOND))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subrip_has_tags_and_no_escapes() {
        assert_eq!(subrip("<i>a</i> &lt; b &amp;&amp; c"), "<i>a</i> < b && c");
        assert_eq!(subrip("&amp;lt;"), "&lt;");
    }

    #[test]
    fn lines_of_all_tracks_come_by_time() {
        let cue = |start| Cue {
            start,
            end: start + 1,
            text: String::new(),
        };
        let (one, two) = ([cue(1), cue(5)], [cue(0), cue(5)]);
        let mut lines = Lines::default();
        lines.add(2, &one);
        lines.add(3, &two);
        let order = std::iter::from_fn(|| lines.0.pop());
        let order: Vec<_> = order.map(|(stream, cue)| (stream, cue.start)).collect();
        assert_eq!(order, [(3, 0), (2, 1), (2, 5), (3, 5)]);
    }
}
