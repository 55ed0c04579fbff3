//! The storyboard and the poster: the image playlist, the cues and the files in, findings out. Sizes are read by `ffprobe`.

use std::fmt::Write as _;
use std::fs;

use super::rendition::{Rendition, join};
use super::{Findings, Package, Rule};
use crate::hls::{self, Attributes};
use crate::tool;

const FILE: &str = "master.m3u8";
const POSTER: &str = "poster.jpg";

/// What there is of a storyboard.
struct Board<'a> {
    package: &'a Package,
    uri: &'a str,
    folder: &'a str,
    list: hls::Media,
}

/// The files that belong to the images of a package.
pub(super) fn files(package: &Package) -> Vec<String> {
    let mut known = Vec::new();
    for images in &package.master.images {
        let uri = images.get("URI").unwrap_or_default();
        let folder = uri.rsplit_once('/').map_or("", |(folder, _)| folder);
        known.extend([uri.to_owned(), join(folder, "thumbnails.vtt")]);
        let text = fs::read_to_string(package.root.join(uri)).unwrap_or_default();
        let list = hls::media(&text).unwrap_or_default();
        known.extend(list.entries.iter().map(|entry| join(folder, &entry.uri)));
    }
    known.push(POSTER.to_owned());
    known
}

pub(super) fn check(package: &Package, findings: &mut Findings) {
    for attributes in &package.master.images {
        let uri = attributes.get("URI").unwrap_or_default();
        let folder = uri.rsplit_once('/').map_or("", |(folder, _)| folder);
        let text = fs::read_to_string(package.root.join(uri));
        let Some(text) = findings.note((Rule::Files, uri), text) else {
            continue;
        };
        let Some(list) = findings.note((Rule::Playlist, uri), hls::media(&text)) else {
            continue;
        };
        let board = Board {
            package,
            uri,
            folder,
            list,
        };
        board.check(attributes, findings);
    }
    let largest = package.videos().map(Rendition::size).max();
    if package.root.join(POSTER).exists() {
        check_size(package, (POSTER, largest), findings);
    }
}

/// A pair of numbers with an `x` between them.
fn pair(text: Option<&str>) -> Option<(u32, u32)> {
    let (one, other) = text?.split_once('x')?;
    Some((one.parse().ok()?, other.parse().ok()?))
}

fn check_size(
    package: &Package,
    (file, wanted): (&str, Option<(u32, u32)>),
    findings: &mut Findings,
) {
    let run = tool::ffprobe().args(["-show_streams", "-of", "json"]);
    let found = findings.note(
        (Rule::Decoding, file),
        run.arg(package.root.join(file)).json(),
    );
    let Some(found) = found else {
        return;
    };
    let stream = &found["streams"][0];
    let side = |name| {
        stream[name]
            .as_u64()
            .and_then(|side| u32::try_from(side).ok())
    };
    let found = side("width").zip(side("height"));
    if stream["codec_name"] != "mjpeg" || found != wanted {
        let message = format!(
            "it is {} of {found:?}, not JPEG of {wanted:?}",
            stream["codec_name"]
        );
        findings.add(Rule::Decoding, file, message);
    }
}

impl Board<'_> {
    fn check(&self, attributes: &Attributes, findings: &mut Findings) {
        let mut wrong = |message: String| findings.add(Rule::Playlist, self.uri, message);
        if self.list.content != hls::Content::Images || !self.list.ended || self.list.map.is_some()
        {
            wrong("it is no image playlist that has an end".to_owned());
        }
        let first = self.list.entries.first();
        let Some(tiles) = first.and_then(|entry| entry.tiles.clone()) else {
            return wrong("it has no EXT-X-TILES".to_owned());
        };
        if self
            .list
            .entries
            .iter()
            .any(|entry| entry.tiles.as_ref() != Some(&tiles))
        {
            wrong("its tiles differ".to_owned());
        }
        let (thumbnail, layout) = (pair(tiles.get("RESOLUTION")), pair(tiles.get("LAYOUT")));
        let (Some(thumbnail), Some(layout), Some(interval)) =
            (thumbnail, layout, tiles.number::<f64>("DURATION"))
        else {
            return wrong("its EXT-X-TILES cannot be read".to_owned());
        };
        let end = self.package.videos().map(Rendition::end_seconds);
        let end = end.fold(0.0, f64::max);
        let stated: f64 = self.list.entries.iter().map(|entry| entry.seconds).sum();
        if (stated - end).abs() > 1e-3 {
            wrong(format!("it lasts {stated} s, and the pictures {end} s"));
        }
        let count = (end / interval - 1e-6).ceil();
        let each = layout.0 * layout.1;
        if self.list.entries.len() as u64 != (count as u64).div_ceil(u64::from(each.max(1))) {
            wrong(format!(
                "its tiles are too many or too few for {count} thumbnails"
            ));
        }
        if pair(attributes.get("RESOLUTION")) != Some(thumbnail) {
            let message = "RESOLUTION of the thumbnails is not their size";
            findings.add(Rule::Playlist, FILE, message);
        }
        let size = (thumbnail.0 * layout.0, thumbnail.1 * layout.1);
        for entry in &self.list.entries {
            let file = join(self.folder, &entry.uri);
            check_size(self.package, (&file, Some(size)), findings);
        }
        self.check_cues((thumbnail, layout, interval), (end, count), findings);
    }

    /// Each thumbnail has a cue, in its place and its time.
    fn check_cues(
        &self,
        (thumbnail, layout, interval): ((u32, u32), (u32, u32), f64),
        (end, count): (f64, f64),
        findings: &mut Findings,
    ) {
        let file = join(self.folder, "thumbnails.vtt");
        let text = fs::read_to_string(self.package.root.join(&file));
        let Some(text) = findings.note((Rule::Files, &file), text) else {
            return;
        };
        let mut wanted = "WEBVTT\n".to_owned();
        let clock = |seconds: f64| {
            // As `Duration` cuts it off.
            let millis = (seconds * 1e3 + 1e-6) as u64;
            let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
            format!(
                "{hours:02}:{minutes:02}:{:02}.{:03}",
                millis / 1000 % 60,
                millis % 1000
            )
        };
        for place in 0..count as u32 {
            let (across, on) = (layout.0, place % (layout.0 * layout.1));
            let from = f64::from(place) * interval;
            let tile = self
                .list
                .entries
                .get((place / (layout.0 * layout.1)) as usize);
            let tile = tile.map_or("", |entry| entry.uri.as_str());
            // Writing to a string does not fail.
            let _ = write!(
                wanted,
                "\n{} --> {}\n{tile}#xywh={},{},{},{}\n",
                clock(from),
                clock((from + interval).min(end)),
                on % across * thumbnail.0,
                on / across * thumbnail.1,
                thumbnail.0,
                thumbnail.1
            );
        }
        if text != wanted {
            findings.add(Rule::Playlist, &file, "its cues are not those of the tiles");
        }
    }
}
