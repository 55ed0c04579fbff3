//! Subtitles that are text: packets in, lines of `WebVTT` out.
//!
//! FFmpeg's decoders turn every kind of text subtitles (`SubRip`, SSA, `mov_text` and others) into events of SSA, which are turned into `WebVTT`
//! here: italics, bold, underline, line breaks and the place at the top are kept, other looks are not. `WebVTT` stays as it is.

use std::fmt;

use crate::decode;
use crate::demux::{Stream, StreamKind};
use crate::error::Error;
use crate::ffi::CodecContext;
use crate::packet::Packet;
use crate::time::TimeBase;

/// Some text with the time that it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When it appears, in seconds of the source's clock.
    pub start: f64,
    /// When it goes; `None` where the source does not tell.
    pub end: Option<f64>,
    /// `WebVTT` cue settings; empty for none.
    pub settings: String,
    /// The text in `WebVTT`'s form: escaped, no empty lines.
    pub text: String,
}

/// Decodes one track of subtitles.
pub struct SubtitleDecoder {
    context: CodecContext,
    time_base: TimeBase,
    /// Whether packets are `WebVTT` already.
    plain: bool,
}

/// Whether a stream is subtitles that are text, and not pictures of text.
#[must_use]
pub fn is_text(stream: &Stream) -> bool {
    matches!(stream.kind, StreamKind::Subtitle) && stream.parameters.0.is_text()
}

/// Whether a stream is subtitles that are pictures of text.
#[must_use]
pub fn is_pictures(stream: &Stream) -> bool {
    matches!(stream.kind, StreamKind::Subtitle) && stream.parameters.0.is_bitmap()
}

impl SubtitleDecoder {
    /// Opens FFmpeg's decoder for the stream.
    ///
    /// # Errors
    /// [`Error::NoStream`] if the stream is no subtitles of text, [`Error::Unsupported`] if there is no decoder.
    pub fn open(stream: &Stream) -> Result<Self, Error> {
        if !is_text(stream) {
            return Err(Error::NoStream {
                kind: "text",
                index: stream.index,
            });
        }
        Ok(Self {
            context: decode::open(&stream.parameters.0, |_| {})?,
            time_base: stream.time_base,
            plain: stream.codec == "webvtt",
        })
    }

    /// Decodes a packet. Nothing comes of packets that only end what was before, or that draw.
    ///
    /// # Errors
    /// [`Error::Decode`] if the packet is damaged; the caller may go on.
    pub fn decode(&mut self, packet: &Packet) -> Result<Vec<Line>, Error> {
        let Some(start) = packet.pts().map(|pts| self.time_base.seconds(pts)) else {
            return Ok(Vec::new());
        };
        let told = self.time_base.seconds(packet.duration());
        let told = (packet.duration() > 0).then_some(start + told);
        if self.plain {
            let text = String::from_utf8_lossy(packet.data());
            let settings = String::from_utf8_lossy(packet.0.cue_settings());
            let line = Line {
                start,
                end: told,
                settings: cue_settings(&settings),
                text: without_empty_lines(&text.replace("-->", "--&gt;")),
            };
            return Ok(Vec::from_iter((!line.text.is_empty()).then_some(line)));
        }
        let name = self.context.name();
        let decoded = self.context.decode_subtitle(&packet.0);
        let (events, shown) = decoded.map_err(Error::decode(name))?;
        let shown = (0 < shown && shown < u32::MAX).then(|| start + f64::from(shown) / 1000.0);
        let lines = events.iter().map(|event| {
            // The ninth field is the text, and may have commas.
            let (text, settings) = webvtt(event.splitn(9, ',').nth(8).unwrap_or_default());
            Line {
                start,
                end: told.or(shown),
                settings,
                text,
            }
        });
        Ok(lines.filter(|line| !line.text.is_empty()).collect())
    }
}

impl fmt::Debug for SubtitleDecoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SubtitleDecoder({})", self.context.name())
    }
}

/// The looks that `WebVTT` has too, by SSA's and its own letter.
const LOOKS: [char; 3] = ['b', 'i', 'u'];

/// Text that is put together, with the looks that are open in it.
#[derive(Default)]
struct Styled {
    text: String,
    wanted: [bool; 3],
    open: Vec<usize>,
}

impl Styled {
    fn push(&mut self, part: &str) {
        let is_open = |look: usize| self.open.contains(&look);
        if (0..LOOKS.len()).any(|look| is_open(look) != self.wanted[look]) {
            self.close();
            for look in (0..LOOKS.len()).filter(|look| self.wanted[*look]) {
                self.text.extend(['<', LOOKS[look], '>']);
                self.open.push(look);
            }
        }
        self.text.push_str(part);
    }

    fn close(&mut self) {
        while let Some(look) = self.open.pop() {
            self.text.extend(['<', '/', LOOKS[look], '>']);
        }
    }
}

/// Turns the text of an event of SSA into `WebVTT`, with its cue settings. Whatever the event holds, the text has no empty line and no
/// arrow in it, so that it is one cue.
#[must_use]
pub fn webvtt(event: &str) -> (String, String) {
    let mut styled = Styled::default();
    let mut settings = "";
    let mut draws = false;
    let mut rest = event;
    while let Some(first) = rest.chars().next() {
        if let Some((codes, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            for code in codes.split('\\').skip(1) {
                let look = LOOKS.iter().position(|known| code.starts_with(*known));
                if let Some(look) = look
                    && let Ok(value) = code[1..].parse::<u32>()
                {
                    styled.wanted[look] = value != 0;
                } else if code.starts_with('r') {
                    styled.wanted = [false; 3];
                } else if matches!(code, "an7" | "an8" | "an9") {
                    settings = "line:0";
                } else if let Some(Ok(scale)) = code.strip_prefix('p').map(str::parse::<u32>) {
                    draws = scale != 0;
                }
            }
            rest = after;
            continue;
        }
        let (part, length) = match first {
            '\\' if rest.starts_with("\\N") || rest.starts_with("\\n") => ("\n", 2),
            '\\' if rest.starts_with("\\h") => ("&nbsp;", 2),
            '&' => ("&amp;", 1),
            '<' => ("&lt;", 1),
            '>' => ("&gt;", 1),
            other => (&rest[..other.len_utf8()], other.len_utf8()),
        };
        if !draws {
            styled.push(part);
        }
        rest = &rest[length..];
    }
    styled.close();
    (without_empty_lines(&styled.text), settings.to_owned())
}

/// Cue settings as a file tells them, without what would end their line or their cue's times.
fn cue_settings(told: &str) -> String {
    let plain = told.chars().filter(|c| *c != '>' && !c.is_control());
    plain.collect::<String>().trim().to_owned()
}

/// A line that is empty would end the cue.
fn without_empty_lines(text: &str) -> String {
    let plain = |line: &str| {
        line.chars()
            .filter(|c| *c == '\t' || !c.is_control())
            .collect::<String>()
    };
    let lines = text.split(['\n', '\r']).map(plain);
    let lines: Vec<String> = lines.filter(|line| !line.trim().is_empty()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_kept_and_closed() {
        let told = |event| webvtt(event).0;
        assert_eq!(told(r"{\i1}Who?{\i0} Me"), "<i>Who?</i> Me");
        assert_eq!(
            told(r"{\b1}a{\i1}b{\b0}c"),
            "<b>a</b><b><i>b</i></b><i>c</i>"
        );
        assert_eq!(told(r"{\i1\b1}x"), "<b><i>x</i></b>");
        assert_eq!(told(r"{\fs20\c&HFFFFFF&\bord2}x{\r}y"), "xy");
        assert_eq!(told(r"{\é1}x{\}y"), "xy");
    }

    #[test]
    fn text_is_escaped_and_broken_into_lines() {
        let told = |event| webvtt(event).0;
        assert_eq!(told(r"a & b\N\Nc --> <d>"), "a &amp; b\nc --&gt; &lt;d&gt;");
        assert_eq!(told(r"\N \N"), "");
        assert_eq!(told(r"1\hm { open"), "1&nbsp;m { open");
        assert_eq!(told(r"{\p1}m 0 0 l 1 1{\p0}seen"), "seen");
    }

    #[test]
    fn settings_stay_on_their_line() {
        assert_eq!(cue_settings(" line:0 align:left "), "line:0 align:left");
        assert_eq!(
            cue_settings("line:0\n\n00:01 ---->> 00:02\nmine"),
            "line:000:01 ---- 00:02mine"
        );
    }

    #[test]
    fn text_at_the_top_stays_there() {
        assert_eq!(webvtt(r"{\an8}up").1, "line:0");
        assert_eq!(webvtt(r"{\an2}down").1, "");
    }
}
