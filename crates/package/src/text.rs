//! Cues in, `WebVTT` out: the segments that HLS has (RFC 8216 §3.5), and the whole file that DASH has.
//!
//! A cue that spans several segments is in each of them, with its whole time, so that a player that starts in the middle shows it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Some text with the time that it is shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cue {
    /// When it appears, in milliseconds of the presentation.
    pub start: u64,
    /// When it goes.
    pub end: u64,
    /// `WebVTT` cue settings, such as `line:0`; empty for none.
    pub settings: String,
    /// The text as `WebVTT` has it: escaped, with tags, lines separated by `\n`, none of them empty.
    pub text: String,
}

/// A track of subtitles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextTrack {
    /// Ticks a second of its segments' times, those of the video.
    pub timescale: u32,
    /// Language, as BCP 47 ("en", "pt-BR") or ISO 639-2 ("eng") writes it; `None` or "und" when unknown.
    pub language: Option<String>,
    /// Whether it is for those who want no subtitles: only what must be read to follow, such as signs.
    pub forced: bool,
}

/// A stretch of a track of subtitles, which becomes one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextSegment {
    /// When it starts, in ticks.
    pub start: u64,
    /// How long it is, in ticks.
    pub duration: u64,
    /// What is shown in it, by time.
    pub cues: Vec<Cue>,
}

/// Ties a segment's times to those of fragmented MP4, which start at 0 as they do.
const TIMESTAMP_MAP: &str = "X-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n";

/// Writes a segment.
#[must_use]
pub fn segment(cues: &[Cue]) -> String {
    render(TIMESTAMP_MAP, cues)
}

/// Writes a whole file.
#[must_use]
pub fn whole(cues: &[Cue]) -> String {
    render("", cues)
}

/// The text is no whole file as it is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not what a whole file of subtitles has there")]
pub struct NotWhole {
    /// Where, from 1.
    pub line: usize,
}

/// Reads a file that [`whole`] has written.
pub fn parse(text: &str) -> Result<Vec<Cue>, NotWhole> {
    let mut lines = text.lines().zip(1..);
    let bad = |line| NotWhole { line };
    if lines.next().map(|(line, _)| line) != Some("WEBVTT") {
        return Err(bad(1));
    }
    let mut cues = Vec::new();
    while let Some((blank, place)) = lines.next() {
        let head = lines.next().filter(|_| blank.is_empty());
        let head = head.and_then(|(head, _)| read_head(head));
        let (start, end, settings) = head.ok_or(bad(place + 1))?;
        let mut shown: Vec<&str> = Vec::new();
        while let Some((line, _)) = lines.clone().next().filter(|(line, _)| !line.is_empty()) {
            shown.push(line);
            lines.next();
        }
        cues.push(Cue {
            start,
            end,
            settings: settings.to_owned(),
            text: shown.join("\n"),
        });
    }
    Ok(cues)
}

/// Tells whether bytes are what [`segment`] writes.
#[must_use]
pub fn is_segment(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let cues = text
        .strip_prefix("WEBVTT\n")
        .and_then(|rest| rest.strip_prefix(TIMESTAMP_MAP));
    cues.is_some_and(|cues| parse(&format!("WEBVTT\n{cues}")).is_ok())
}

fn read_head(line: &str) -> Option<(u64, u64, &str)> {
    let (start, rest) = line.split_once(" --> ")?;
    let (end, settings) = rest.split_once(' ').unwrap_or((rest, ""));
    Some((read_clock(start)?, read_clock(end)?, settings))
}

fn read_clock(text: &str) -> Option<u64> {
    let (clock, milliseconds) = text.split_once('.')?;
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok());
    let mut next = || parts.next().flatten();
    let (hours, minutes, seconds) = (next()?, next()?, next()?);
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    let seconds = minutes.checked_mul(60)?.checked_add(seconds)?;
    let milliseconds: u64 = milliseconds.parse().ok()?;
    seconds.checked_mul(1000)?.checked_add(milliseconds)
}

fn render(header: &str, cues: &[Cue]) -> String {
    let mut text = format!("WEBVTT\n{header}");
    for cue in cues {
        let (start, end) = (clock(cue.start), clock(cue.end));
        let gap = if cue.settings.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n{start} --> {end}{gap}{}\n{}\n",
            cue.settings, cue.text
        );
    }
    text
}

fn clock(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        milliseconds % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_map_their_times_and_whole_files_do_not() {
        let cue = |start, settings: &str| Cue {
            start,
            end: start + 1500,
            settings: settings.to_owned(),
            text: "<i>A</i>\nB".to_owned(),
        };
        let cues = [cue(0, ""), cue(3_723_004, "line:0")];
        let body = "\n00:00:00.000 --> 00:00:01.500\n<i>A</i>\nB\n\n01:02:03.004 --> 01:02:04.504 line:0\n<i>A</i>\nB\n";
        assert_eq!(whole(&cues), format!("WEBVTT\n{body}"));
        assert_eq!(
            segment(&cues),
            format!("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n{body}")
        );
        assert_eq!(whole(&[]), "WEBVTT\n");
        assert_eq!(parse(&whole(&cues)), Ok(cues.to_vec()));
        assert!(is_segment(segment(&cues).as_bytes()));
        assert!(is_segment(segment(&[]).as_bytes()));
        for other in [whole(&cues), segment(&cues) + "\nx", String::new()] {
            assert!(!is_segment(other.as_bytes()), "{other}");
        }
        assert_eq!(parse(&whole(&[])), Ok(Vec::new()));
        assert_eq!(parse(""), Err(NotWhole { line: 1 }));
        assert_eq!(parse("WEBVTT\n\nx\ny\n"), Err(NotWhole { line: 3 }));
    }
}
