//! The same streams through another packager: what it writes about them has to be what we write, and where it is not, `docs/comparisons.md`
//! says why.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::npm::{self, Witnesses};
use rungs_testkit::tool;
use serde_json::Value;

use crate::support::{Made, ready};

/// How far bit rates may be from each other: both packagers count their own boxes.
const RATE_TOLERANCE: f64 = 0.01;

/// Our tracks, by their folders, largest first, sound last.
const TRACKS: [&str; 3] = ["video/h264-180p", "video/h264-90p", "audio/und-aac"];

fn package() -> Made {
    let clip = Clip::new().size(320, 180).rate("24").seconds(4.5);
    let source = clip.audio(Audio::Stereo).make();
    Made::of(
        &source,
        &["--codec", "h264", "--rung", "180p", "--rung", "90p"],
    )
}

/// Each track as one file: its initialisation segment and all segments.
fn joined(out: &Path, into: &Path) -> Vec<PathBuf> {
    let whole = |(place, track): (usize, &&str)| {
        let mut names: Vec<_> = fs::read_dir(out.join(track))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|end| end == "m4s"))
            .collect();
        names.sort();
        let mut bytes = fs::read(out.join(track).join("init.mp4")).expect("a file");
        for name in names {
            bytes.extend(fs::read(name).expect("a file"));
        }
        let path = into.join(format!("{place}.mp4"));
        fs::write(&path, bytes).expect("a file");
        path
    };
    TRACKS.iter().enumerate().map(whole).collect()
}

fn by_shaka(witnesses: &Witnesses, tracks: &[PathBuf], into: &Path) {
    let mut run = witnesses.shaka_packager();
    for (place, track) in tracks.iter().enumerate() {
        let stream = if place < 2 { "video" } else { "audio" };
        let folder = into.join(place.to_string());
        run = run.arg(format!(
            "in={},stream={stream},init_segment={folder}/init.mp4,segment_template={folder}/$Number$.m4s,playlist_name={place}.m3u8,hls_group_id=aac,hls_name=Audio",
            track.display(),
            folder = folder.display(),
        ));
    }
    run.args(["--segment_duration", "1", "--generate_static_live_mpd"])
        .arg("--hls_master_playlist_output")
        .arg(into.join("master.m3u8"))
        .arg("--mpd_output")
        .arg(into.join("manifest.mpd"))
        .run()
        .unwrap_or_else(|error| panic!("{}", tool::chain(&error)));
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The attributes of a line of a playlist, `NAME=value` with commas between them.
fn attributes(line: &str) -> BTreeMap<String, String> {
    let (_, list) = line.split_once(':').expect("a tag with attributes");
    let mut found = BTreeMap::new();
    let (mut name, mut value, mut named, mut quoted) = (String::new(), String::new(), false, false);
    for c in list.chars().chain([',']) {
        match c {
            '"' => quoted = !quoted,
            '=' if !named => named = true,
            ',' if !quoted => {
                found.insert(std::mem::take(&mut name), std::mem::take(&mut value));
                named = false;
            }
            c if named => value.push(c),
            c => name.push(c),
        }
    }
    found
}

fn tagged(playlist: &str, tag: &str) -> Vec<BTreeMap<String, String>> {
    let lines = playlist.lines().filter(|line| line.starts_with(tag));
    lines.map(attributes).collect()
}

fn close(ours: &str, theirs: &str, what: &str) {
    let number = |text: &str| {
        text.parse::<f64>()
            .unwrap_or_else(|_| panic!("{what} is {text}"))
    };
    let (a, b) = (number(ours), number(theirs));
    assert!((a - b).abs() <= b * RATE_TOLERANCE, "{what}: {a} and {b}");
}

fn same_multivariant(ours: &str, theirs: &str) {
    let (a, b) = (
        tagged(ours, "#EXT-X-STREAM-INF"),
        tagged(theirs, "#EXT-X-STREAM-INF"),
    );
    assert_eq!((a.len(), b.len()), (2, 2));
    for (a, b) in a.iter().zip(&b) {
        for name in [
            "CODECS",
            "RESOLUTION",
            "FRAME-RATE",
            "VIDEO-RANGE",
            "AUDIO",
            "CLOSED-CAPTIONS",
        ] {
            assert_eq!(a[name], b[name], "{name}");
        }
        for name in ["BANDWIDTH", "AVERAGE-BANDWIDTH"] {
            close(&a[name], &b[name], name);
        }
    }
    let (a, b) = (tagged(ours, "#EXT-X-MEDIA"), tagged(theirs, "#EXT-X-MEDIA"));
    assert_eq!((a.len(), b.len()), (1, 1));
    for name in ["TYPE", "GROUP-ID", "NAME", "AUTOSELECT", "CHANNELS"] {
        assert_eq!(a[0][name], b[0][name], "{name}");
    }
    // Theirs leaves the choice to the player.
    assert_eq!(
        (a[0]["DEFAULT"].as_str(), b[0]["DEFAULT"].as_str()),
        ("YES", "NO")
    );
}

fn same_media_playlist(ours: &str, theirs: &str) {
    let durations = |playlist: &str| -> Vec<f64> {
        let lines = playlist
            .lines()
            .filter_map(|line| line.strip_prefix("#EXTINF:"));
        lines
            .map(|line| line.trim_end_matches(',').parse().expect("seconds"))
            .collect()
    };
    let (a, b) = (durations(ours), durations(theirs));
    assert_eq!(a.len(), b.len());
    // Theirs has milliseconds.
    assert!(
        a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 0.0011),
        "{a:?} {b:?}"
    );
    let target = |playlist: &str| {
        let line = playlist
            .lines()
            .find_map(|line| line.strip_prefix("#EXT-X-TARGETDURATION:"));
        line.expect("a target").parse::<f64>().expect("seconds")
    };
    // RFC 8216 §4.3.3.1: no duration, rounded, is above it. Theirs is above that by one.
    let longest = a.iter().copied().fold(0.0, f64::max).round();
    assert_eq!((target(ours), target(theirs)), (longest, longest + 1.0));
    assert!(ours.ends_with("#EXT-X-ENDLIST\n") && theirs.trim_end().ends_with("#EXT-X-ENDLIST"));
}

/// A representation of a manifest: its attributes, the timescale, and each segment's start and duration.
#[derive(Debug)]
struct Representation {
    attributes: BTreeMap<String, String>,
    timescale: u64,
    timeline: Vec<(u64, u64)>,
}

/// The attributes of an element's start.
fn element(tag: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = tag;
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').expect("a quotation mark");
        let name = name.rsplit(char::is_whitespace).next().unwrap_or(name);
        found.insert(name.to_owned(), value.to_owned());
        rest = after;
    }
    found
}

fn representations(manifest: &str) -> Vec<Representation> {
    let number = |map: &BTreeMap<String, String>, name: &str| {
        map.get(name)
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let mut found: Vec<Representation> = Vec::new();
    for tag in manifest
        .split('<')
        .skip(1)
        .map(|tag| tag.split('>').next().unwrap_or(tag))
    {
        let kind = tag.split_whitespace().next().unwrap_or_default();
        let attributes = element(tag);
        match (kind, found.last_mut()) {
            ("Representation", _) => found.push(Representation {
                attributes,
                timescale: 0,
                timeline: Vec::new(),
            }),
            ("SegmentTemplate", Some(last)) => {
                last.timescale = number(&attributes, "timescale").expect("a timescale");
            }
            ("S", Some(last)) => {
                let duration = number(&attributes, "d").expect("a duration");
                let reached = last
                    .timeline
                    .last()
                    .map_or(0, |(start, duration)| start + duration);
                let start = number(&attributes, "t").unwrap_or(reached);
                for place in 0..=number(&attributes, "r").unwrap_or(0) {
                    last.timeline.push((start + place * duration, duration));
                }
            }
            _ => {}
        }
    }
    found
}

fn same_manifest(ours: &str, theirs: &str) {
    let (a, b) = (representations(ours), representations(theirs));
    assert_eq!((a.len(), b.len()), (3, 3));
    for (a, b) in a.iter().zip(&b) {
        for name in ["codecs", "width", "height", "sar", "audioSamplingRate"] {
            assert_eq!(a.attributes.get(name), b.attributes.get(name), "{name}");
        }
        close(
            &a.attributes["bandwidth"],
            &b.attributes["bandwidth"],
            "bandwidth",
        );
        assert_eq!((a.timescale, &a.timeline), (b.timescale, &b.timeline));
    }
    for part in [
        "type=\"static\"",
        "profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"",
        "segmentAlignment=\"true\"",
    ] {
        assert!(ours.contains(part) && theirs.contains(part), "{part}");
    }
}

#[test]
fn shaka_packager_says_the_same_of_our_streams() {
    if !ready() {
        return;
    }
    let Some(witnesses) = npm::witnesses() else {
        return;
    };
    let made = package();
    let folder = tempfile::tempdir().expect("a folder");
    let tracks = joined(&made.out(), folder.path());
    by_shaka(&witnesses, &tracks, folder.path());
    let ours = |name: &str| text(&made.out().join(name));
    let theirs = |name: &str| text(&folder.path().join(name));
    same_multivariant(&ours("master.m3u8"), &theirs("master.m3u8"));
    for (place, track) in TRACKS.iter().enumerate() {
        same_media_playlist(
            &ours(&format!("{track}/playlist.m3u8")),
            &theirs(&format!("{place}.m3u8")),
        );
    }
    same_manifest(&ours("manifest.mpd"), &theirs("manifest.mpd"));
}

#[test]
fn mp4box_reads_our_boxes_as_they_are_meant() {
    if !ready() {
        return;
    }
    let Some(witnesses) = npm::witnesses() else {
        return;
    };
    let made = package();
    let folder = tempfile::tempdir().expect("a folder");
    let tracks = joined(&made.out(), folder.path());
    let files: Vec<_> = tracks.iter().map(PathBuf::as_path).collect();
    let read = witnesses
        .boxes(&files)
        .unwrap_or_else(|error| panic!("{}", tool::chain(&error)));
    let number = |value: &Value| value.as_u64().expect("a number");
    let told = made.report["tracks"].as_array().expect("a list");
    for (track, read) in TRACKS.iter().zip(read.as_array().expect("a list")) {
        assert_eq!(read["errors"], Value::Array(Vec::new()), "{track}");
        let told = told
            .iter()
            .find(|told| told["name"] == *track)
            .expect("the report tells of it");
        assert_eq!(read["codec"], told["codec"], "{track}");
        let samples = read["samples"].as_array().expect("a list");
        // Times go on without a hole, from zero to the end.
        let mut reached = 0;
        for sample in samples {
            assert_eq!(number(&sample[0]), reached, "{track}");
            reached += number(&sample[1]);
        }
        let seconds = reached as f64 / number(&read["timescale"]) as f64;
        assert!((seconds - 4.5).abs() < 0.05, "{track}: {seconds} s");
        if read["size"].is_array() {
            assert_eq!(samples.len(), 108, "{track}");
            // Each segment starts with a keyframe.
            assert!(
                (0..108).step_by(24).all(|place| samples[place][3] == true),
                "{track}"
            );
        }
    }
    let sizes: Vec<_> = (0..2).map(|place| read[place]["size"].clone()).collect();
    assert_eq!(
        sizes,
        [serde_json::json!([320, 180]), serde_json::json!([160, 90])]
    );
    assert_eq!(read[2]["sound"], serde_json::json!([48_000, 2]));
}
