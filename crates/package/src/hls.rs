//! Descriptions of playlists in, their text out (RFC 8216 and its second edition's draft): pure
//! renderers.
//!
//! A media playlist that has more segments starts with the lines of the one that had fewer: a
//! playlist of type EVENT may only grow.

use std::fmt::Write;

use crate::bandwidth::Bandwidth;
use crate::track::Nclx;

/// What Apple's tools write for fragmented MP4; `EXT-X-MAP` outside I-frame playlists needs 6.
const VERSION: u32 = 7;

/// How the transfer characteristics are announced: `VIDEO-RANGE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoRange {
    /// Standard dynamic range.
    Sdr,
    /// Perceptual quantiser, SMPTE ST 2084.
    Pq,
    /// Hybrid log-gamma, ARIB STD-B67.
    Hlg,
}

impl VideoRange {
    /// Takes it from the colours; SDR where they are not stated.
    #[must_use]
    pub fn of(color: Option<Nclx>) -> Self {
        match color.map(|color| color.transfer) {
            Some(16) => Self::Pq,
            Some(18) => Self::Hlg,
            _ => Self::Sdr,
        }
    }

    /// Returns the attribute's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sdr => "SDR",
            Self::Pq => "PQ",
            Self::Hlg => "HLG",
        }
    }
}

/// One audio rendition: `EXT-X-MEDIA` of type AUDIO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioRendition {
    /// The group that variants refer to.
    pub group: String,
    /// Name to show, unlike any other in the group.
    pub name: String,
    /// Language as BCP 47 writes it.
    pub language: Option<String>,
    /// Whether players choose it when the user says nothing: one in a group.
    pub default: bool,
    /// Channels.
    pub channels: u16,
    /// Where its media playlist is, relative to the multivariant playlist.
    pub uri: String,
}

/// One rendition of subtitles: `EXT-X-MEDIA` of type SUBTITLES. All are in one group, and none is shown unless the user, or what the player
/// knows of the user, asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubtitleRendition {
    /// Name to show, unlike any other.
    pub name: String,
    /// Language as BCP 47 writes it.
    pub language: Option<String>,
    /// Whether it is for those who want no subtitles.
    pub forced: bool,
    /// Where its media playlist is, relative to the multivariant playlist.
    pub uri: String,
}

/// The group of all subtitles.
const SUBTITLES: &str = "subtitles";

/// Ends each `EXT-X-STREAM-INF`: encoded frames carry no closed captions. Without it players on Apple's systems offer captions that are
/// not there (RFC 8216 §4.3.4.2: all variants say so, or none does).
const NO_CAPTIONS: &str = ",CLOSED-CAPTIONS=NONE";

/// Rewrites a multivariant playlist as earlier versions of this crate wrote it, which said nothing of closed captions.
#[must_use]
pub fn without_captions(playlist: &str) -> String {
    let lines = playlist.split_inclusive('\n').map(|line| {
        let end = format!("{NO_CAPTIONS}\n");
        match line.strip_suffix(&end) {
            Some(rest) if line.starts_with("#EXT-X-STREAM-INF:") => format!("{rest}\n"),
            _ => line.to_owned(),
        }
    });
    lines.collect()
}

/// One variant stream: `EXT-X-STREAM-INF`.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Where its media playlist is, relative to the multivariant playlist.
    pub uri: String,
    /// Rates of the variant with the largest rendition of its group.
    pub bandwidth: Bandwidth,
    /// Codec strings of all that is in the variant and its group.
    pub codecs: Vec<String>,
    /// Width and height to show, in square pixels. `None` without video.
    pub resolution: Option<(u32, u32)>,
    /// Pictures a second at most.
    pub frame_rate: Option<f64>,
    /// Dynamic range. `None` without video.
    pub range: Option<VideoRange>,
    /// The group of its audio.
    pub audio_group: Option<String>,
}

/// The keyframes of a variant stream, for scrubbing and fast play: `EXT-X-I-FRAME-STREAM-INF`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FramesVariant {
    /// Where its I-frame playlist is, relative to the multivariant playlist.
    pub uri: String,
    /// Rates of the keyframes.
    pub bandwidth: Bandwidth,
    /// Codec string.
    pub codec: String,
    /// Width and height to show, in square pixels.
    pub resolution: (u32, u32),
    /// Dynamic range.
    pub range: VideoRange,
}

/// Thumbnails: `EXT-X-IMAGE-STREAM-INF`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagesVariant {
    /// Where their image playlist is, relative to the multivariant playlist.
    pub uri: String,
    /// Rates of the tiles.
    pub bandwidth: Bandwidth,
    /// Width and height of a thumbnail.
    pub resolution: (u32, u32),
}

impl ImagesVariant {
    fn render(&self) -> String {
        let (width, height) = self.resolution;
        let mut line = Attributes::new("EXT-X-IMAGE-STREAM-INF");
        line.plain("BANDWIDTH", &self.bandwidth.peak.to_string());
        line.plain("AVERAGE-BANDWIDTH", &self.bandwidth.average.to_string());
        line.plain("RESOLUTION", &format!("{width}x{height}"));
        line.quoted("CODECS", "jpeg");
        line.quoted("URI", &self.uri);
        line.finish()
    }
}

/// A multivariant playlist: all renditions of a presentation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MasterPlaylist {
    /// Audio renditions, groups together.
    pub audio: Vec<AudioRendition>,
    /// Subtitles, which go with every variant.
    pub subtitles: Vec<SubtitleRendition>,
    /// Variant streams; players start with the first.
    pub variants: Vec<Variant>,
    /// Their keyframes alone.
    pub frames: Vec<FramesVariant>,
    /// Thumbnails.
    pub images: Option<ImagesVariant>,
}

impl MasterPlaylist {
    /// Writes the playlist.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-INDEPENDENT-SEGMENTS\n");
        for rendition in &self.audio {
            let mut line = Attributes::new("EXT-X-MEDIA");
            line.plain("TYPE", "AUDIO");
            line.quoted("GROUP-ID", &rendition.group);
            line.quoted("NAME", &rendition.name);
            if let Some(language) = &rendition.language {
                line.quoted("LANGUAGE", language);
            }
            line.plain("DEFAULT", if rendition.default { "YES" } else { "NO" });
            line.plain("AUTOSELECT", "YES");
            line.quoted("CHANNELS", &rendition.channels.to_string());
            line.quoted("URI", &rendition.uri);
            text.push_str(&line.finish());
        }
        for rendition in &self.subtitles {
            text.push_str(&rendition.render());
        }
        for variant in &self.variants {
            let mut line = Attributes::new("EXT-X-STREAM-INF");
            line.plain("BANDWIDTH", &variant.bandwidth.peak.to_string());
            line.plain("AVERAGE-BANDWIDTH", &variant.bandwidth.average.to_string());
            line.quoted("CODECS", &variant.codecs.join(","));
            if let Some((width, height)) = variant.resolution {
                line.plain("RESOLUTION", &format!("{width}x{height}"));
            }
            if let Some(rate) = variant.frame_rate {
                line.plain("FRAME-RATE", &format!("{rate:.3}"));
            }
            if let Some(range) = variant.range {
                line.plain("VIDEO-RANGE", range.as_str());
            }
            if let Some(group) = &variant.audio_group {
                line.quoted("AUDIO", group);
            }
            if !self.subtitles.is_empty() {
                line.quoted("SUBTITLES", SUBTITLES);
            }
            text.push_str(&line.finish_with(NO_CAPTIONS));
            text.push_str(&variant.uri);
            text.push('\n');
        }
        self.frames
            .iter()
            .for_each(|frames| text.push_str(&frames.render()));
        if let Some(images) = &self.images {
            text.push_str(&images.render());
        }
        text
    }
}

impl FramesVariant {
    fn render(&self) -> String {
        let (width, height) = self.resolution;
        let mut line = Attributes::new("EXT-X-I-FRAME-STREAM-INF");
        line.plain("BANDWIDTH", &self.bandwidth.peak.to_string());
        line.plain("AVERAGE-BANDWIDTH", &self.bandwidth.average.to_string());
        line.quoted("CODECS", &self.codec);
        line.plain("RESOLUTION", &format!("{width}x{height}"));
        line.plain("VIDEO-RANGE", self.range.as_str());
        line.quoted("URI", &self.uri);
        line.finish()
    }
}

impl SubtitleRendition {
    fn render(&self) -> String {
        let mut line = Attributes::new("EXT-X-MEDIA");
        line.plain("TYPE", "SUBTITLES");
        line.quoted("GROUP-ID", SUBTITLES);
        line.quoted("NAME", &self.name);
        if let Some(language) = &self.language {
            line.quoted("LANGUAGE", language);
        }
        line.plain("DEFAULT", "NO");
        line.plain("AUTOSELECT", "YES");
        line.plain("FORCED", if self.forced { "YES" } else { "NO" });
        line.quoted("URI", &self.uri);
        line.finish()
    }
}

/// Bytes of a file that stand for a file of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// Where they start.
    pub offset: u64,
    /// How many they are.
    pub length: u64,
}

/// One segment in a media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSegment {
    /// Where the file is, relative to the playlist.
    pub uri: String,
    /// The part of the file that it is; `None` for the whole.
    pub range: Option<ByteRange>,
    /// When it is presented, in ticks.
    pub start: u64,
    /// How long it is presented, in ticks.
    pub duration: u64,
}

/// Where an initialisation segment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Its file, relative to the playlist.
    pub uri: String,
    /// The part of the file that it is; `None` for the whole.
    pub range: Option<ByteRange>,
}

impl Map {
    fn render(&self) -> String {
        let mut line = Attributes::new("EXT-X-MAP");
        line.quoted("URI", &self.uri);
        if let Some(ByteRange { offset, length }) = self.range {
            line.quoted("BYTERANGE", &format!("{length}@{offset}"));
        }
        line.finish()
    }
}

/// Whether a media playlist may still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// It may grow, and is of type EVENT also when it has an end: the type may not change (RFC 8216 §6.2.1).
    Event,
    /// It was written once: type VOD.
    Whole,
}

/// A media playlist: the segments of one rendition so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPlaylist {
    /// `EXT-X-TARGETDURATION` in seconds: no segment's duration rounds to more. The same in every
    /// version.
    pub target_duration: u64,
    /// Ticks a second of the segments' times.
    pub timescale: u32,
    /// Whether it may change.
    pub growth: Growth,
    /// The initialisation segment; `None` for `WebVTT`, which has none.
    pub map: Option<Map>,
    /// The segments from the first on.
    pub segments: Vec<MediaSegment>,
    /// Whether each segment is but one keyframe, shown until the next one (RFC 8216 §4.3.3.6).
    pub frames_only: bool,
    /// Whether no more will come.
    pub ended: bool,
}

impl MediaPlaylist {
    /// Writes the playlist.
    ///
    /// Durations have microseconds. Each is the difference of the segment's rounded end and start,
    /// so that any sum of them is within a microsecond of the truth.
    #[must_use]
    pub fn render(&self) -> String {
        let Self {
            target_duration,
            map,
            ..
        } = self;
        let map = map.as_ref().map(Map::render).unwrap_or_default();
        let growth = match self.growth {
            Growth::Event => "EVENT",
            Growth::Whole => "VOD",
        };
        let frames_only = if self.frames_only {
            "#EXT-X-I-FRAMES-ONLY\n"
        } else {
            ""
        };
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:{target_duration}\n\
             #EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:{growth}\n{frames_only}{map}"
        );
        for segment in &self.segments {
            let start = microseconds(segment.start, self.timescale);
            let micros = microseconds(segment.start + segment.duration, self.timescale) - start;
            let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
            let uri = &segment.uri;
            // Writing to a string does not fail.
            let _ = writeln!(text, "#EXTINF:{seconds}.{fraction:06},");
            if let Some(ByteRange { offset, length }) = segment.range {
                let _ = writeln!(text, "#EXT-X-BYTERANGE:{length}@{offset}");
            }
            let _ = writeln!(text, "{uri}");
        }
        if self.ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        text
    }
}

/// Turns ticks into microseconds, to the nearest.
pub(crate) fn microseconds(ticks: u64, timescale: u32) -> u128 {
    let timescale = u128::from(timescale.max(1));
    (u128::from(ticks) * 1_000_000 + timescale / 2) / timescale
}

/// A tag's line with a list of attributes (RFC 8216 §4.2).
pub(crate) struct Attributes {
    line: String,
    separator: char,
}

impl Attributes {
    pub(crate) fn new(tag: &str) -> Self {
        Self {
            line: format!("#{tag}"),
            separator: ':',
        }
    }

    pub(crate) fn plain(&mut self, name: &str, value: &str) {
        let _ = write!(self.line, "{}{name}={value}", self.separator);
        self.separator = ',';
    }

    /// Adds a quoted string. It has no escapes: what cannot be in one is left out.
    pub(crate) fn quoted(&mut self, name: &str, value: &str) {
        let clean: String = value
            .chars()
            .filter(|c| *c != '"' && !c.is_control())
            .collect();
        self.plain(name, &format!("\"{clean}\""));
    }

    fn finish_with(mut self, attribute: &str) -> String {
        self.line.push_str(attribute);
        self.finish()
    }

    pub(crate) fn finish(mut self) -> String {
        self.line.push('\n');
        self.line
    }
}
