//! The DASH manifest and the renditions of the playlists in, where the two tell different stories out.

use std::fmt::Write as _;
use std::fs;

use dash_mpd_core::{AdaptationSet, MPD, Representation, SegmentTemplate};

use super::rendition::{Kind, Rendition};
use super::{Findings, Package, Rule, bandwidth, master};

const FILE: &str = "manifest.mpd";

/// Most segments that a timeline is followed for: a repeat count is only a number.
const MOST_SEGMENTS: usize = 1 << 20;

pub(super) fn check(package: &Package, findings: &mut Findings) {
    let text = fs::read_to_string(package.root.join(FILE));
    let Some(text) = findings.note((Rule::Files, FILE), text) else {
        return;
    };
    let Some(manifest) = findings.note((Rule::Manifest, FILE), dash_mpd_core::parse(&text)) else {
        return;
    };
    check_head(package, &manifest, findings);
    let sets = manifest
        .periods
        .iter()
        .flat_map(|period| &period.adaptations);
    let mut seen: Vec<&str> = Vec::new();
    check_text(package, &manifest, findings);
    check_images(package, &manifest, findings);
    for set in sets.filter(|set| !is_text(set) && !is_images(set)) {
        if set.segmentAlignment != Some(true) && set.subsegmentAlignment != Some(true) {
            findings.add(
                Rule::Manifest,
                FILE,
                "an AdaptationSet does not promise aligned segments",
            );
        }
        for representation in &set.representations {
            let listed = Listed::new(set, representation);
            let found = package
                .renditions
                .iter()
                .find(|rendition| Some(&rendition.init_file) == listed.init.as_ref());
            let Some(rendition) = found else {
                let message = format!(
                    "{} has an initialisation segment that no playlist names",
                    listed.id
                );
                findings.add(Rule::Manifest, FILE, message);
                continue;
            };
            seen.push(&rendition.folder);
            listed.check(rendition, findings);
        }
    }
    for rendition in &package.renditions {
        let times = seen
            .iter()
            .filter(|folder| **folder == rendition.folder)
            .count();
        if times != 1 {
            findings.add(
                Rule::Manifest,
                FILE,
                format!("{} is in it {times} times", rendition.folder),
            );
        }
    }
}

fn is_text(set: &AdaptationSet) -> bool {
    set.mimeType.as_deref() == Some("text/vtt")
}

fn is_images(set: &AdaptationSet) -> bool {
    set.contentType.as_deref() == Some("image")
}

/// Thumbnails are in it if they are in the multivariant playlist, and on as many tiles.
fn check_images(package: &Package, manifest: &MPD, findings: &mut Findings) {
    let sets = manifest
        .periods
        .iter()
        .flat_map(|period| &period.adaptations);
    let mut count = 0;
    for set in sets.filter(|set| is_images(set)) {
        count += 1;
        let template = set.SegmentTemplate.as_ref();
        let media = template.and_then(|template| template.media.as_deref());
        let last = template.and_then(|template| template.endNumber);
        let file = fill(media.unwrap_or_default(), "", last.unwrap_or(u64::MAX));
        let next = fill(media.unwrap_or_default(), "", last.unwrap_or(0) + 1);
        if !package.root.join(&file).is_file() || package.root.join(&next).exists() {
            let message = format!("its thumbnails end with {file}, and the files do not");
            findings.add(Rule::Manifest, FILE, message);
        }
        let tiled = set.representations.iter().all(|one| {
            let mut properties = one.essential_property.iter();
            properties.any(|own| own.schemeIdUri.ends_with("/thumbnail_tile"))
        });
        if !tiled || set.mimeType.as_deref() != Some("image/jpeg") {
            findings.add(Rule::Manifest, FILE, "its thumbnails are on no tiles");
        }
    }
    if count != package.master.images.len() {
        findings.add(
            Rule::Manifest,
            FILE,
            format!("it has {count} sets of thumbnails"),
        );
    }
}

/// Subtitles are whole files, those of the playlists in their order.
fn check_text(package: &Package, manifest: &MPD, findings: &mut Findings) {
    let sets = manifest
        .periods
        .iter()
        .flat_map(|period| &period.adaptations);
    let representations = sets
        .filter(|set| is_text(set))
        .flat_map(|set| &set.representations);
    let urls = representations.flat_map(|representation| &representation.BaseURL);
    let listed: Vec<_> = urls.map(|url| url.base.clone()).collect();
    let texts = package.texts.iter();
    let wanted: Vec<_> = texts
        .map(|text| super::rendition::join(&text.folder, "all.vtt"))
        .collect();
    if listed != wanted {
        let message =
            format!("its subtitles are {listed:?}, and those of the playlists {wanted:?}");
        findings.add(Rule::Manifest, FILE, message);
    }
}

fn check_head(package: &Package, manifest: &MPD, findings: &mut Findings) {
    let mut wrong = |message: String| findings.add(Rule::Manifest, FILE, message);
    if manifest.mpdtype.as_deref() != Some("static") {
        wrong(format!("its type is {:?}, not static", manifest.mpdtype));
    }
    if manifest.periods.len() != 1 {
        wrong(format!("it has {} periods", manifest.periods.len()));
    }
    if !manifest.profiles.as_deref().is_some_and(|profiles| {
        let single = package.renditions.iter();
        let single = single.map(|rendition| rendition.playlist.map_range.is_some());
        let profile = if single.into_iter().all(|single| single) {
            "isoff-on-demand"
        } else {
            "isoff-live"
        };
        profiles.contains(profile)
    }) {
        wrong(format!("its profiles are {:?}", manifest.profiles));
    }
    let end = package
        .renditions
        .iter()
        .map(Rendition::end_seconds)
        .fold(0.0, f64::max);
    let stated = manifest
        .mediaPresentationDuration
        .map(|duration| duration.as_secs_f64());
    if stated.is_none_or(|stated| (stated - end).abs() > 1e-3) {
        wrong(format!("it lasts {stated:?} s, and the media {end:.6} s"));
    }
    let longest = package.renditions.iter().flat_map(|rendition| {
        let lengths = rendition.segments.iter().map(|segment| segment.seconds);
        lengths.collect::<Vec<_>>()
    });
    let longest = longest.fold(0.0, f64::max);
    // A file with an index is one segment, and has subsegments.
    let stated = manifest
        .maxSegmentDuration
        .or(manifest.maxSubsegmentDuration);
    if stated.is_some_and(|stated| stated.as_secs_f64() < longest - 1e-3) {
        wrong(format!(
            "a segment lasts {longest} s, longer than maxSegmentDuration or maxSubsegmentDuration"
        ));
    }
    if manifest.minBufferTime.is_none() {
        wrong("there is no minBufferTime".to_owned());
    }
}

/// A representation with its templates filled in.
struct Listed<'a> {
    id: &'a str,
    set: &'a AdaptationSet,
    representation: &'a Representation,
    template: Option<&'a SegmentTemplate>,
    init: Option<String>,
}

impl<'a> Listed<'a> {
    fn new(set: &'a AdaptationSet, representation: &'a Representation) -> Self {
        let template = representation
            .SegmentTemplate
            .as_ref()
            .or(set.SegmentTemplate.as_ref());
        let id = representation.id.as_deref().unwrap_or_default();
        let init = template.and_then(|template| template.initialization.as_deref());
        let init = init.map(|init| init.replace("$RepresentationID$", id));
        let url = representation.BaseURL.first().map(|url| url.base.clone());
        let init = init.or(url);
        Self {
            id,
            set,
            representation,
            template,
            init,
        }
    }

    fn check(&self, rendition: &Rendition, findings: &mut Findings) {
        self.check_segments(rendition, findings);
        self.check_attributes(rendition, findings);
        let truth = bandwidth::measure(rendition).peak;
        let stated = self.representation.bandwidth.unwrap_or(0) as f64;
        if stated < truth - 1.0 || stated > truth * master::SLACK + 2.0 {
            let message = format!(
                "bandwidth of {} is {stated}, and the files have {truth:.0}",
                self.id
            );
            findings.add(Rule::Bandwidth, FILE, message);
        }
    }

    /// Returns start and duration of each segment in seconds, and its file.
    fn segments(&self) -> Vec<(f64, f64, String)> {
        let Some(template) = self.template else {
            return Vec::new();
        };
        let scale = template.timescale.unwrap_or(1) as f64;
        let offset = template.presentationTimeOffset.unwrap_or(0) as f64;
        let mut number = template.startNumber.unwrap_or(1);
        let mut list = Vec::new();
        let mut time = 0;
        for run in template
            .SegmentTimeline
            .iter()
            .flat_map(|timeline| &timeline.segments)
        {
            time = run.t.unwrap_or(time);
            for _ in 0..=run.r.unwrap_or(0).max(0) {
                if list.len() == MOST_SEGMENTS {
                    return list;
                }
                let media = template.media.as_deref().unwrap_or_default();
                let file = fill(media, self.id, number);
                list.push(((time as f64 - offset) / scale, run.d as f64 / scale, file));
                time += run.d;
                number += 1;
            }
        }
        list
    }

    /// The parts of the one file that the manifest names are those that the playlist does.
    fn check_ranges(&self, rendition: &Rendition, findings: &mut Findings) {
        let base = self.representation.SegmentBase.as_ref();
        let init = base.and_then(|base| base.Initialization.as_ref());
        let stated = (
            init.and_then(|init| init.range.clone()),
            base.and_then(|base| base.indexRange.clone()),
        );
        let end = rendition.init_bytes.len() as u64;
        let first = rendition.playlist.entries.first();
        let first = first
            .and_then(|entry| entry.range)
            .map(|range| range.offset);
        let wanted = first.map(|first| {
            let until = |from: u64, end: u64| Some(format!("{from}-{}", end - 1));
            (until(0, end), until(end, first))
        });
        if Some(&stated) != wanted.as_ref() {
            let message = format!("{} has {stated:?} where {wanted:?} is due", self.id);
            findings.add(Rule::Manifest, FILE, message);
        }
    }

    fn check_segments(&self, rendition: &Rendition, findings: &mut Findings) {
        if rendition.playlist.map_range.is_some() {
            return self.check_ranges(rendition, findings);
        }
        let listed = self.segments();
        let (own, wanted) = (listed.len(), rendition.segments.len());
        if own != wanted {
            findings.add(
                Rule::Manifest,
                FILE,
                format!("{} has {own} segments, its playlist {wanted}", self.id),
            );
        }
        // A rounding of either scale to the other.
        let tick = 1.0 / f64::from(rendition.track.timescale) + 1e-6;
        for ((start, duration, file), segment) in listed.iter().zip(&rendition.segments) {
            if *file != segment.file {
                findings.add(
                    Rule::Manifest,
                    FILE,
                    format!("{} names {file} for {}", self.id, segment.file),
                );
            }
            let from = rendition.seconds(rendition.presented_from(segment));
            let until = rendition.seconds(rendition.presented_until(segment));
            if (start - from).abs() > tick || (start + duration - until).abs() > tick {
                let end = start + duration;
                let message = format!(
                    "{file} is from {start:.6} to {end:.6} s here, and from {from:.6} to {until:.6} s"
                );
                findings.add(Rule::Manifest, FILE, message);
            }
        }
    }

    fn check_attributes(&self, rendition: &Rendition, findings: &mut Findings) {
        let mut wrong =
            |rule, message: String| findings.add(rule, FILE, format!("{}: {message}", self.id));
        let (set, own) = (self.set, self.representation);
        let codecs = own.codecs.as_ref().or(set.codecs.as_ref());
        if codecs.map(String::as_str) != Some(rendition.codec_string().as_str()) {
            wrong(
                Rule::Codec,
                format!(
                    "codecs is {codecs:?}, and the files have {}",
                    rendition.codec_string()
                ),
            );
        }
        let mime = own.mimeType.as_ref().or(set.mimeType.as_ref());
        let wanted = if rendition.kind == Kind::Video {
            "video/mp4"
        } else {
            "audio/mp4"
        };
        if mime.map(String::as_str) != Some(wanted) {
            wrong(Rule::Manifest, format!("mimeType is {mime:?}"));
        }
        if rendition.kind == Kind::Audio {
            let rate = own
                .audioSamplingRate
                .as_ref()
                .or(set.audioSamplingRate.as_ref());
            if rate.and_then(|rate| rate.parse().ok()) != Some(rendition.entry.sample_rate) {
                wrong(
                    Rule::Codec,
                    format!(
                        "audioSamplingRate is {rate:?}, not {}",
                        rendition.entry.sample_rate
                    ),
                );
            }
            return;
        }
        let size = (own.width.or(set.width), own.height.or(set.height));
        let (width, height) = rendition.size();
        if size != (Some(u64::from(width)), Some(u64::from(height))) {
            wrong(
                Rule::Codec,
                format!("the size is {size:?}, not {width}x{height}"),
            );
        }
        let rate = own.frameRate.as_ref().or(set.frameRate.as_ref());
        let value = rate.and_then(|rate| {
            let (over, under) = rate.split_once('/').unwrap_or((rate, "1"));
            Some(over.parse::<f64>().ok()? / under.parse::<f64>().ok()?)
        });
        let (lowest, highest) = master::frame_rates(rendition);
        if value.is_none_or(|rate| rate < lowest * 0.999 - 0.001 || rate > highest * 1.001 + 0.001)
        {
            wrong(
                Rule::Manifest,
                format!("frameRate is {rate:?}, and the frames say {lowest:.3} to {highest:.3}"),
            );
        }
    }
}

/// Fills `$RepresentationID$`, `$Number$` and `$Number%05d$` (ISO/IEC 23009-1 §5.3.9.4.4).
fn fill(template: &str, id: &str, number: u64) -> String {
    let mut text = String::new();
    for (index, part) in template.split('$').enumerate() {
        if index % 2 == 0 {
            text.push_str(part);
            continue;
        }
        let (name, format) = part.split_once('%').unwrap_or((part, "1d"));
        let width = format.trim_end_matches('d').parse().unwrap_or(1);
        match name {
            "" => text.push('$'),
            "RepresentationID" => text.push_str(id),
            "Number" => {
                // Writing to a string does not fail.
                let _ = write!(text, "{number:0width$}");
            }
            _ => text.push_str(part),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled() {
        assert_eq!(
            fill("v/$RepresentationID$/s-$Number%05d$.m4s", "a", 7),
            "v/a/s-00007.m4s"
        );
        assert_eq!(fill("s$Number$$$", "a", 12), "s12$");
    }
}
