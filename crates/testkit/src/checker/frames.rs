//! The I-frame playlists in, where they point beside the keyframes out.

use std::fs;

use super::rendition::{Kind, Rendition, join};
use super::{Expectation, Findings, Package, Rule, bandwidth, decode, master};
use crate::hls::{self, Attributes};

const FILE: &str = "master.m3u8";

/// A package has one for each video, or none.
pub(super) fn check(package: &Package, expect: &Expectation, findings: &mut Findings) {
    let listed = &package.master.frames;
    if listed.is_empty() {
        return;
    }
    let mut folders = Vec::new();
    for attributes in listed {
        let uri = attributes.get("URI").unwrap_or_default();
        let folder = uri.rsplit_once('/').map_or("", |(folder, _)| folder);
        let video = package.videos().find(|video| video.folder == folder);
        let Some(video) = video else {
            let message = format!("the I-frame playlist {uri} is beside no video");
            findings.add(Rule::Playlist, FILE, message);
            continue;
        };
        folders.push(folder);
        let frames = Frames {
            package,
            video,
            attributes,
            uri,
        };
        frames.check(expect, findings);
    }
    for video in package.videos() {
        let times = folders.iter().filter(|folder| **folder == video.folder);
        let times = times.count();
        if times != 1 {
            let message = format!("{} has {times} I-frame playlists", video.folder);
            findings.add(Rule::Playlist, FILE, message);
        }
    }
}

/// One of them, with the video that it belongs to.
struct Frames<'a> {
    package: &'a Package,
    video: &'a Rendition,
    attributes: &'a Attributes,
    uri: &'a str,
}

impl Frames<'_> {
    fn check(&self, expect: &Expectation, findings: &mut Findings) {
        self.check_attributes(expect, findings);
        let path = self.package.root.join(self.uri);
        let text = findings.note((Rule::Files, self.uri), fs::read_to_string(path));
        let Some(text) = text else {
            return;
        };
        let Some(list) = findings.note((Rule::Playlist, self.uri), hls::media(&text)) else {
            return;
        };
        self.check_head(&list, findings);
        let whole = &self.video.playlist.entries;
        if expect.complete && list.entries.len() != whole.len() {
            let (own, all) = (list.entries.len(), whole.len());
            let message = format!("it has {own} entries, and the video {all} segments");
            findings.add(Rule::Coverage, self.uri, message);
        }
        let entries = list.entries.iter().zip(whole);
        for ((entry, beside), segment) in entries.zip(&self.video.segments) {
            if entry.uri != beside.uri || (entry.seconds - beside.seconds).abs() > 1e-9 {
                let message = format!("{} is not the video's entry {}", entry.uri, beside.uri);
                findings.add(Rule::Playlist, self.uri, message);
                continue;
            }
            let offset = beside.range.map_or(0, |range| range.offset);
            let range = entry.range.map(|range| (range.offset, range.length));
            if range != Some((offset, segment.first_end)) {
                let message = format!(
                    "the part of {} is {range:?}, and its keyframe ends after {} bytes from {offset}",
                    entry.uri, segment.first_end
                );
                findings.add(Rule::Playlist, self.uri, message);
            } else if expect.decode {
                self.check_picture(entry, findings);
            }
        }
    }

    /// What a player fetches for one entry is one picture.
    fn check_picture(&self, entry: &hls::Entry, findings: &mut Findings) {
        let file = join(&self.video.folder, &entry.uri);
        let bytes = fs::read(self.package.root.join(&file));
        let Some(bytes) = findings.note((Rule::Files, &file), bytes) else {
            return;
        };
        let part = entry.range.and_then(|range| {
            let start = usize::try_from(range.offset).ok()?;
            bytes.get(start..start + usize::try_from(range.length).ok()?)
        });
        let whole = [self.video.init_bytes.as_slice(), part.unwrap_or_default()].concat();
        let pictures = findings.note((Rule::Decoding, &file), decode::pictures(&whole));
        if let Some(count) = pictures.filter(|count| *count != 1) {
            let message = format!("{count} pictures come out of the keyframe of {}", entry.uri);
            findings.add(Rule::Decoding, self.uri, message);
        }
    }

    fn check_head(&self, list: &hls::Media, findings: &mut Findings) {
        let beside = &self.video.playlist;
        let mut wrong = |what: &str| findings.add(Rule::Playlist, self.uri, what);
        if list.content != hls::Content::Keyframes {
            wrong("there is no EXT-X-I-FRAMES-ONLY");
        }
        if (&list.map, list.map_range) != (&beside.map, beside.map_range) {
            wrong("it has another EXT-X-MAP than the video");
        }
        if (list.target, &list.kind, list.first) != (beside.target, &beside.kind, beside.first) {
            wrong("its target duration, type or first number are not the video's");
        }
        if list.ended != beside.ended || list.version < 4 || !list.odd.is_empty() {
            wrong("its version, its end or a tag has no place in it");
        }
    }

    fn check_attributes(&self, expect: &Expectation, findings: &mut Findings) {
        let mut variants = self.package.master.variants.iter();
        let beside = variants.find(|variant| variant.uri == self.video.playlist_file);
        let same = |name| {
            let beside = beside.and_then(|variant| variant.attributes.get(name));
            self.attributes.get(name) == beside
        };
        let video = self.video;
        let codec = self.attributes.get("CODECS") == Some(video.codec_string().as_str());
        if !same("RESOLUTION") || !same("VIDEO-RANGE") || !codec || video.kind != Kind::Video {
            let message = format!("{} has attributes that are not its video's", self.uri);
            findings.add(Rule::Playlist, FILE, message);
        }
        let truth = bandwidth::measure_keyframes(video).peak;
        let stated = self.attributes.number::<f64>("BANDWIDTH").unwrap_or(0.0);
        let bounded = stated <= truth * master::SLACK + 3.0 || !expect.complete;
        if stated < truth - 1.0 && expect.complete || !bounded {
            let message = format!("BANDWIDTH of {} is {stated}, not {truth:.0}", self.uri);
            findings.add(Rule::Bandwidth, FILE, message);
        }
    }
}
