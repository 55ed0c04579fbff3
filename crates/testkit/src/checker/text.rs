//! Subtitles: the playlists of their segments and the whole files in, findings out. Read by a strict reader of `WebVTT` of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::bandwidth::{self, Rates};
use super::rendition::{Rendition, join};
use super::{Expectation, Findings, Package, Rule};
use crate::hls;

/// What is shown, and when, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShownText {
    /// When it appears.
    pub start: u64,
    /// When it goes.
    pub end: u64,
    /// The text with its tags.
    pub text: String,
}

/// One rendition of subtitles.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) folder: String,
    pub(super) playlist_file: String,
    pub(super) playlist: hls::Media,
    segments: Vec<Segment>,
    /// The whole file, where there is one.
    pub(super) whole: Vec<ShownText>,
}

#[derive(Debug)]
struct Segment {
    file: String,
    bytes: u64,
    seconds: f64,
    cues: Vec<ShownText>,
}

/// The first lines of every segment: times are those of the fragmented MP4, which start at 0.
const SEGMENT_HEAD: &str = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n";

impl Text {
    pub(super) fn load(
        root: &Path,
        uri: &str,
        expect: &Expectation,
        findings: &mut Findings,
    ) -> Option<Self> {
        let text = findings.note((Rule::Files, uri), fs::read_to_string(root.join(uri)))?;
        let playlist = findings.note((Rule::Playlist, uri), hls::media(&text))?;
        let folder = uri.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut read = |file: &str, head: &str| {
            let text = findings.note((Rule::Files, file), fs::read_to_string(root.join(file)))?;
            match text.strip_prefix(head).map(cues) {
                Some(Ok(cues)) => Some((text.len() as u64, cues)),
                Some(Err(line)) => {
                    findings.add(Rule::Validity, file, format!("{line:?} is out of place"));
                    None
                }
                None => {
                    findings.add(
                        Rule::Validity,
                        file,
                        format!("it does not start as {head:?}"),
                    );
                    None
                }
            }
        };
        let mut segments = Vec::new();
        for entry in &playlist.entries {
            let file = join(folder, &entry.uri);
            if let Some((bytes, cues)) = read(&file, SEGMENT_HEAD) {
                segments.push(Segment {
                    file,
                    bytes,
                    seconds: entry.seconds,
                    cues,
                });
            }
        }
        let mut whole = Vec::new();
        if expect.complete {
            whole = read(&join(folder, "all.vtt"), "WEBVTT\n")?.1;
        }
        Some(Self {
            folder: folder.to_owned(),
            playlist_file: uri.to_owned(),
            segments,
            whole,
            playlist,
        })
    }

    /// The files that it is made of.
    pub(super) fn files(&self) -> Vec<String> {
        let entries = self.playlist.entries.iter().map(|entry| entry.uri.as_str());
        let names = entries.chain(["all.vtt"]);
        let files = names.map(|name| join(&self.folder, name));
        files.chain([self.playlist_file.clone()]).collect()
    }

    pub(super) fn rates(&self) -> Rates {
        let sizes = self.segments.iter();
        let sizes = sizes.map(|segment| (segment.bytes as f64 * 8.0, segment.seconds));
        let target = self.playlist.target.unwrap_or(0) as f64;
        bandwidth::rates(&sizes.collect::<Vec<_>>(), target)
    }

    /// Compares it with the picture, and its segments with its whole file.
    pub(super) fn check(&self, video: &Rendition, expect: &Expectation, findings: &mut Findings) {
        let mut wrong = |rule, message: String| findings.add(rule, &self.playlist_file, message);
        if self.playlist.map.is_some() {
            wrong(Rule::Playlist, "there is an EXT-X-MAP".to_owned());
        }
        if !["EVENT", "VOD"]
            .map(Some)
            .contains(&self.playlist.kind.as_deref())
        {
            wrong(
                Rule::Playlist,
                "its type is neither EVENT nor VOD".to_owned(),
            );
        }
        if self.playlist.target != video.playlist.target {
            wrong(Rule::Playlist, "its target duration is another".to_owned());
        }
        if expect.complete && !self.playlist.ended {
            wrong(Rule::Playlist, "there is no EXT-X-ENDLIST".to_owned());
        }
        if expect.complete && self.segments.len() != video.segments.len() {
            let (own, wanted) = (self.segments.len(), video.segments.len());
            wrong(
                Rule::Coverage,
                format!("there are {own} segments of subtitles for {wanted} of picture"),
            );
        }
        let mut listed = BTreeSet::new();
        for (segment, picture) in self.segments.iter().zip(&video.segments) {
            let from = video.seconds(picture.start) * 1000.0;
            let until = video.seconds(picture.end()) * 1000.0;
            if (segment.seconds - (until - from) / 1000.0).abs() > 1e-5 {
                let message = format!("it lasts {} s, and the picture not", segment.seconds);
                findings.add(Rule::Timeline, &segment.file, message);
            }
            let shown = |cue: &&ShownText| (cue.start as f64) < until && cue.end as f64 > from;
            if let Some(cue) = segment.cues.iter().find(|cue| !shown(cue)) {
                findings.add(
                    Rule::Timeline,
                    &segment.file,
                    format!("{cue:?} is not in it"),
                );
            }
            let due: Vec<_> = self.whole.iter().filter(shown).collect();
            if expect.complete && !due.iter().copied().eq(&segment.cues) {
                let message = "it has other text than the whole file at that time";
                findings.add(Rule::Coverage, &segment.file, message);
            }
            listed.extend(&segment.cues);
        }
        if expect.complete && !listed.iter().copied().eq(&self.whole) {
            let message = "the segments together are not the whole file";
            findings.add(Rule::Coverage, &self.playlist_file, message);
        }
    }
}

pub(super) fn check(package: &Package, expect: &Expectation, findings: &mut Findings) {
    if let Some(video) = package.videos().next() {
        for text in &package.texts {
            text.check(video, expect, findings);
        }
    }
}

/// What is shown, by folder.
pub(super) fn shown(package: &Package) -> Vec<(String, Vec<ShownText>)> {
    let texts = package.texts.iter();
    texts
        .map(|text| (text.folder.clone(), text.whole.clone()))
        .collect()
}

/// Reads what follows the head of a file. The error is the line that should not be there.
fn cues(body: &str) -> Result<Vec<ShownText>, String> {
    let mut found: Vec<ShownText> = Vec::new();
    if body.is_empty() {
        return Ok(found);
    }
    let body = body.strip_prefix('\n').ok_or("what follows the head")?;
    let body = body.strip_suffix('\n').ok_or("the end")?;
    for block in body.split("\n\n") {
        let (timing, text) = block.split_once('\n').ok_or(block)?;
        let (start, rest) = timing.split_once(" --> ").ok_or(timing)?;
        let end = rest.split(' ').next().unwrap_or_default();
        let cue = ShownText {
            start: clock(start).ok_or(timing)?,
            end: clock(end).ok_or(timing)?,
            text: text.to_owned(),
        };
        let in_order = found.last().is_none_or(|last| last.start <= cue.start);
        if cue.end <= cue.start || text.is_empty() || text.contains("-->") || !in_order {
            return Err(block.to_owned());
        }
        found.push(cue);
    }
    Ok(found)
}

/// Reads `00:01:02.345` in milliseconds.
fn clock(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.')?;
    let fields: Vec<u64> = whole
        .split(':')
        .map(|field| field.parse().ok().filter(|_| field.len() == 2))
        .collect::<Option<_>>()?;
    let [hours, minutes, seconds] = fields[..] else {
        return None;
    };
    let fraction = Some(fraction).filter(|fraction| fraction.len() == 3)?;
    let milliseconds: u64 = fraction.parse().ok()?;
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_well_formed_is_read() {
        let good =
            "\n00:00:01.000 --> 00:00:02.500 line:0\na\nb\n\n01:00:00.000 --> 01:00:01.000\nc\n";
        let read = cues(good).unwrap();
        assert_eq!((read[0].start, read[0].end), (1000, 2500));
        assert_eq!((read[0].text.as_str(), read[1].start), ("a\nb", 3_600_000));
        assert_eq!(cues(""), Ok(Vec::new()));
        for bad in [
            "x",
            "\n00:00:01.000 --> 00:00:01.000\na\n",
            "\n00:00:01.00 --> 00:00:02.000\na\n",
            "\n00:00:01.000 --> 00:00:02.000\n\na\n",
            "\n00:00:02.000 --> 00:00:03.000\na\n\n00:00:01.000 --> 00:00:03.000\nb\n",
        ] {
            assert!(cues(bad).is_err(), "{bad:?}");
        }
    }
}
