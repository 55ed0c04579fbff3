//! A description of a presentation in, the text of its MPD out (ISO/IEC 23009-1, static, profile isoff-live, or
//! isoff-on-demand where each rendition is one file): a pure renderer.
//!
//! Each representation lists its own times: audio segments end within an audio frame of the
//! video's, not with them.

mod images;

use std::fmt::Write;
use std::io;
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

pub use images::ImageSet;

use crate::hls::ByteRange;
use crate::track::Nclx;

/// A static manifest of one period.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// How long the presentation is.
    pub duration: Duration,
    /// What a player should have buffered before it plays at the stated bandwidth.
    pub min_buffer_time: Duration,
    /// No segment, or subsegment of a file, is longer.
    pub max_segment_duration: Duration,
    /// What can be chosen from, by kind of content.
    pub sets: Vec<AdaptationSet>,
    /// Subtitles, each a set of its own.
    pub text: Vec<TextSet>,
    /// Thumbnails.
    pub images: Option<ImageSet>,
}

/// Representations of the same content, between which players switch.
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptationSet {
    /// Video or audio.
    pub content: Content,
    /// Language as BCP 47 writes it.
    pub language: Option<String>,
    /// Name to show.
    pub label: Option<String>,
    /// Whether players choose it among sets of its language, by its role.
    pub main: bool,
    /// Colours of the video, when they are stated.
    pub color: Option<Nclx>,
    /// The representations, best first.
    pub representations: Vec<Representation>,
}

/// Subtitles in one `WebVTT` file.
#[derive(Debug, Clone, PartialEq)]
pub struct TextSet {
    /// Unique in the manifest, without white space.
    pub id: String,
    /// Language as BCP 47 writes it.
    pub language: Option<String>,
    /// Name to show.
    pub label: Option<String>,
    /// Whether they are for those who want none.
    pub forced: bool,
    /// Bits a second at the peak.
    pub bandwidth: u64,
    /// Where the file is, relative to the manifest.
    pub file: String,
}

impl TextSet {
    fn write(&self, writer: &mut Xml, id: usize) -> io::Result<()> {
        let mut set = writer.create_element("AdaptationSet").with_attributes([
            ("id", id.to_string().as_str()),
            ("contentType", "text"),
            ("mimeType", "text/vtt"),
        ]);
        if let Some(language) = &self.language {
            set = set.with_attribute(("lang", language.as_str()));
        }
        set.write_inner_content(|writer| {
            if let Some(label) = &self.label {
                writer
                    .create_element("Label")
                    .write_text_content(BytesText::new(label))?;
            }
            let role = if self.forced {
                "forced-subtitle"
            } else {
                "subtitle"
            };
            descriptor(writer, "Role", "urn:mpeg:dash:role:2011", role)?;
            let representation = writer.create_element("Representation").with_attributes([
                ("id", self.id.as_str()),
                ("bandwidth", self.bandwidth.to_string().as_str()),
            ]);
            representation.write_inner_content(|writer| {
                writer
                    .create_element("BaseURL")
                    .write_text_content(BytesText::new(&self.file))?;
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(())
    }
}

/// What an adaptation set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// One rendition.
#[derive(Debug, Clone, PartialEq)]
pub struct Representation {
    /// Unique in the manifest, without white space.
    pub id: String,
    /// Codec string (RFC 6381).
    pub codecs: String,
    /// Bits a second at the peak.
    pub bandwidth: u64,
    /// What only video or only audio has.
    pub media: Media,
    /// Where its segments are.
    pub addressing: Addressing,
}

/// Where the segments of a rendition are.
#[derive(Debug, Clone, PartialEq)]
pub enum Addressing {
    /// In files of their own.
    Files {
        /// Ticks a second of the timeline.
        timescale: u32,
        /// Where the initialisation segment is, relative to the manifest.
        initialization: String,
        /// Where the segments are, relative to the manifest, with `$Number$` counted from 0.
        segments: String,
        /// The segments' presentation times and durations, in ticks.
        timeline: Vec<(u64, u64)>,
    },
    /// In one file with an index.
    OneFile {
        /// Ticks a second of the index.
        timescale: u32,
        /// The file, relative to the manifest.
        url: String,
        /// Where the initialisation segment is in it.
        init: ByteRange,
        /// Where `sidx` is in it.
        index: ByteRange,
    },
}

impl Addressing {
    fn write(&self, writer: &mut Xml) -> io::Result<()> {
        match self {
            Self::Files {
                timescale,
                initialization,
                segments,
                timeline,
            } => {
                let template = writer.create_element("SegmentTemplate").with_attributes([
                    ("timescale", timescale.to_string().as_str()),
                    ("initialization", initialization.as_str()),
                    ("media", segments.as_str()),
                    ("startNumber", "0"),
                ]);
                template.write_inner_content(|writer| {
                    writer
                        .create_element("SegmentTimeline")
                        .write_inner_content(|writer| write_timeline(writer, timeline))?;
                    Ok(())
                })?;
            }
            Self::OneFile {
                timescale,
                url,
                init,
                index,
            } => {
                writer
                    .create_element("BaseURL")
                    .write_text_content(BytesText::new(url))?;
                let base = writer.create_element("SegmentBase").with_attributes([
                    ("timescale", timescale.to_string().as_str()),
                    ("indexRange", span(*index).as_str()),
                ]);
                base.write_inner_content(|writer| {
                    writer
                        .create_element("Initialization")
                        .with_attribute(("range", span(*init).as_str()))
                        .write_empty()?;
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

/// A byte range as DASH has it: the first and the last byte.
fn span(range: ByteRange) -> String {
    let last = (range.offset + range.length).saturating_sub(1);
    format!("{}-{last}", range.offset)
}

/// What only video or only audio has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Media {
    /// Pictures.
    Video {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Pictures a second at most.
        frame_rate: Option<f64>,
        /// Width to height of one pixel.
        pixel_aspect: (u32, u32),
    },
    /// Sound.
    Audio {
        /// Samples a second.
        sample_rate: u32,
        /// Channels.
        channels: u16,
    },
}

type Xml = Writer<Vec<u8>>;

impl Manifest {
    /// Writes the manifest.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "writing to memory does not fail")]
    pub fn render(&self) -> String {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        self.write(&mut writer)
            .expect("a vector takes all that is written to it");
        let mut bytes = writer.into_inner();
        bytes.push(b'\n');
        String::from_utf8(bytes).expect("all that was written is text")
    }

    /// The profile (ISO/IEC 23009-1 §8), and what the longest stretch is called that is fetched at once: on demand where all is in one file each,
    /// which is a segment that has them as subsegments.
    fn profile(&self) -> (&'static str, &'static str) {
        let all = self.sets.iter().flat_map(|set| &set.representations);
        let mut all = all.map(|one| matches!(one.addressing, Addressing::OneFile { .. }));
        match all.next() {
            Some(true) => (
                "urn:mpeg:dash:profile:isoff-on-demand:2011",
                "maxSubsegmentDuration",
            ),
            _ => (
                "urn:mpeg:dash:profile:isoff-live:2011",
                "maxSegmentDuration",
            ),
        }
    }

    fn write(&self, writer: &mut Xml) -> io::Result<()> {
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let duration = time(self.duration);
        let (profile, longest) = self.profile();
        let mpd = writer.create_element("MPD").with_attributes([
            ("xmlns", "urn:mpeg:dash:schema:mpd:2011"),
            ("profiles", profile),
            ("type", "static"),
            ("mediaPresentationDuration", duration.as_str()),
            (longest, time(self.max_segment_duration).as_str()),
            ("minBufferTime", time(self.min_buffer_time).as_str()),
        ]);
        mpd.write_inner_content(|writer| {
            let period = writer.create_element("Period").with_attributes([
                ("id", "0"),
                ("start", "PT0S"),
                ("duration", duration.as_str()),
            ]);
            period.write_inner_content(|writer| {
                for (id, set) in self.sets.iter().enumerate() {
                    set.write(writer, id)?;
                }
                for (id, set) in (self.sets.len()..).zip(&self.text) {
                    set.write(writer, id)?;
                }
                if let Some(images) = &self.images {
                    images.write(writer, self.sets.len() + self.text.len())?;
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(())
    }
}

impl AdaptationSet {
    fn write(&self, writer: &mut Xml, id: usize) -> io::Result<()> {
        let (content, mime) = match self.content {
            Content::Video => ("video", "video/mp4"),
            Content::Audio => ("audio", "audio/mp4"),
        };
        let first = self.representations.first().map(|one| &one.addressing);
        let (aligned, sap) = match first {
            Some(Addressing::OneFile { .. }) => ("subsegmentAlignment", "subsegmentStartsWithSAP"),
            _ => ("segmentAlignment", "startWithSAP"),
        };
        let mut set = writer.create_element("AdaptationSet").with_attributes([
            ("id", id.to_string().as_str()),
            ("contentType", content),
            ("mimeType", mime),
            (aligned, "true"),
            (sap, "1"),
        ]);
        if let Some(language) = &self.language {
            set = set.with_attribute(("lang", language.as_str()));
        }
        set.write_inner_content(|writer| {
            if let Some(color) = self.color {
                write_color(writer, color)?;
            }
            if let Some(label) = &self.label {
                writer
                    .create_element("Label")
                    .write_text_content(BytesText::new(label))?;
            }
            let role = if self.main { "main" } else { "alternate" };
            descriptor(writer, "Role", "urn:mpeg:dash:role:2011", role)?;
            for representation in &self.representations {
                representation.write(writer)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl Representation {
    fn write(&self, writer: &mut Xml) -> io::Result<()> {
        let mut element = writer.create_element("Representation").with_attributes([
            ("id", self.id.as_str()),
            ("codecs", self.codecs.as_str()),
            ("bandwidth", self.bandwidth.to_string().as_str()),
        ]);
        for (name, value) in self.media.attributes() {
            element = element.with_attribute((name, value.as_str()));
        }
        element.write_inner_content(|writer| {
            if let Media::Audio { channels, .. } = self.media {
                let (scheme, value) = channel_configuration(channels);
                descriptor(
                    writer,
                    "AudioChannelConfiguration",
                    scheme,
                    &value.to_string(),
                )?;
            }
            self.addressing.write(writer)
        })?;
        Ok(())
    }
}

impl Media {
    fn attributes(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Video {
                width,
                height,
                frame_rate,
                pixel_aspect: (horizontal, vertical),
            } => {
                let mut attributes =
                    vec![("width", width.to_string()), ("height", height.to_string())];
                attributes.extend(frame_rate.map(|rate| ("frameRate", ratio(rate))));
                attributes.push(("sar", format!("{horizontal}:{vertical}")));
                attributes
            }
            Self::Audio { sample_rate, .. } => vec![("audioSamplingRate", sample_rate.to_string())],
        }
    }
}

/// Writes runs of equal durations as one element, and a time where a segment does not start at the
/// last one's end.
fn write_timeline(writer: &mut Xml, timeline: &[(u64, u64)]) -> io::Result<()> {
    let mut end = None;
    let continuous = |a: &(u64, u64), b: &(u64, u64)| a.1 == b.1 && a.0 + a.1 == b.0;
    for run in timeline.chunk_by(continuous) {
        let (start, duration) = run[0];
        let mut element = writer.create_element("S");
        if end != Some(start) {
            element = element.with_attribute(("t", start.to_string().as_str()));
        }
        element = element.with_attribute(("d", duration.to_string().as_str()));
        if run.len() > 1 {
            element = element.with_attribute(("r", (run.len() - 1).to_string().as_str()));
        }
        element.write_empty()?;
        end = Some(start + duration * run.len() as u64);
    }
    Ok(())
}

/// The scheme and value that say how many channels there are. Up to six the value is their number in either scheme; for more, the layouts that Opus and
/// AC-3 have (6.1, and 7.1 with two pairs behind) are numbered otherwise (ISO/IEC 23091-3 table 3).
fn channel_configuration(channels: u16) -> (&'static str, u16) {
    const CICP: &str = "urn:mpeg:mpegB:cicp:ChannelConfiguration";
    match channels {
        7 => (CICP, 11),
        8 => (CICP, 12),
        channels => (
            "urn:mpeg:dash:23003:3:audio_channel_configuration:2011",
            channels,
        ),
    }
}

/// Says the colours that are specified, in the descriptors of ISO/IEC 23091-2. PQ cannot be shown by who does not know it, so it is essential there.
fn write_color(writer: &mut Xml, color: Nclx) -> io::Result<()> {
    /// SMPTE ST 2084, H.273 §8.2.
    const PQ: u8 = 16;
    let codes = [
        ("urn:mpeg:mpegB:cicp:ColourPrimaries", color.primaries),
        (
            "urn:mpeg:mpegB:cicp:TransferCharacteristics",
            color.transfer,
        ),
        ("urn:mpeg:mpegB:cicp:MatrixCoefficients", color.matrix),
    ];
    let name = if color.transfer == PQ {
        "EssentialProperty"
    } else {
        "SupplementalProperty"
    };
    for (scheme, code) in codes.into_iter().filter(|&(_, code)| code != 2) {
        descriptor(writer, name, scheme, &code.to_string())?;
    }
    Ok(())
}

fn descriptor(writer: &mut Xml, name: &str, scheme: &str, value: &str) -> io::Result<()> {
    let attributes = [("schemeIdUri", scheme), ("value", value)];
    writer
        .create_element(name)
        .with_attributes(attributes)
        .write_empty()?;
    Ok(())
}

/// Writes a duration of `xs:duration`, in seconds to the microsecond.
fn time(duration: Duration) -> String {
    let mut text = format!("PT{}", duration.as_secs());
    let micros = duration.subsec_micros();
    if micros > 0 {
        // Writing to a string does not fail.
        let _ = write!(text, ".{micros:06}");
    }
    text.truncate(text.trim_end_matches(|c| micros > 0 && c == '0').len());
    text.push('S');
    text
}

/// Writes a frame rate as a whole number or as a ratio, NTSC's as it is meant.
fn ratio(rate: f64) -> String {
    let near = |a: f64| (a - a.round()).abs() < 1e-3;
    let ntsc = rate * 1.001;
    if near(rate) {
        format!("{}", rate.round())
    } else if near(ntsc) {
        format!("{}/1001", ntsc.round() * 1000.0)
    } else {
        format!("{}/1000", (rate * 1000.0).round())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_no_idle_zeros() {
        assert_eq!(time(Duration::from_secs(10)), "PT10S");
        assert_eq!(time(Duration::from_millis(10_500)), "PT10.5S");
        assert_eq!(time(Duration::from_micros(7)), "PT0.000007S");
        assert_eq!(time(Duration::ZERO), "PT0S");
    }

    #[test]
    fn more_than_six_channels_are_named_by_their_layout() {
        assert_eq!(channel_configuration(6).1, 6);
        let (scheme, value) = channel_configuration(8);
        assert_eq!(
            (scheme.rsplit(':').next(), value),
            (Some("ChannelConfiguration"), 12)
        );
    }

    #[test]
    fn frame_rates_are_ratios() {
        assert_eq!(ratio(24.0), "24");
        assert_eq!(ratio(30_000.0 / 1001.0), "30000/1001");
        assert_eq!(ratio(24_000.0 / 1001.0), "24000/1001");
        assert_eq!(ratio(12.5), "12500/1000");
    }
}
