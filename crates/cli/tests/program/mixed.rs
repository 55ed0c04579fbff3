//! Two devices with unlike encoders make one package.

use std::fs;
use std::path::Path;

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::tool;
use serde_json::Value;

use crate::support::{Made, ready};

fn ready_with(encoder: &str) -> bool {
    ready() && tool::require_encoder(encoder).is_some()
}

/// Segments whose result was used, of a device.
fn tasks(made: &Made, device: &str) -> u64 {
    let sessions = made.report["cost"]["sessions"].as_array().expect("a list");
    let of_device = sessions
        .iter()
        .filter(|session| session["device"] == device);
    of_device
        .filter_map(|session| session["tasks"].as_u64())
        .sum()
}

fn renditions(made: &Made) -> &Vec<Value> {
    made.report["plan"]["renditions"]
        .as_array()
        .expect("a list")
}

fn count(bytes: &[u8], what: &[u8]) -> usize {
    bytes
        .windows(what.len())
        .filter(|window| *window == what)
        .count()
}

/// The sample entry that a segment names, counted from 1.
fn entry(segment: &Path) -> u32 {
    const SAMPLE_DESCRIPTION_INDEX_PRESENT: u8 = 2;
    let bytes = fs::read(segment).expect("a segment");
    let at = bytes.windows(4).position(|window| window == b"tfhd");
    let fields = &bytes[at.expect("there is a track fragment") + 4..];
    if fields[3] & SAMPLE_DESCRIPTION_INDEX_PRESENT == 0 {
        return 1;
    }
    u32::from_be_bytes(fields[8..12].try_into().expect("four bytes"))
}

/// The sample entries that the segments of a rendition name, in order.
fn entries(made: &Made, rendition: &str) -> Vec<u32> {
    let folder = made.out().join("video").join(rendition);
    (0..)
        .map(|n| folder.join(format!("seg-{n:05}.m4s")))
        .take_while(|path| path.exists())
        .map(|path| entry(&path))
        .collect()
}

/// Pictures that ffmpeg's own player decodes from a playlist, from its beginning to its end.
fn frames(playlist: &Path) -> u64 {
    let counted = tool::ffprobe()
        .args(["-v", "error", "-count_frames", "-of", "json"])
        .args([
            "-select_streams",
            "v:0",
            "-show_entries",
            "stream=nb_read_frames",
        ])
        .arg(playlist)
        .json()
        .expect("ffprobe reads it");
    let frames = counted["streams"][0]["nb_read_frames"].as_str();
    frames
        .and_then(|frames| frames.parse().ok())
        .expect("a number")
}

#[test]
fn encoders_that_keep_one_contract_share_each_rendition() {
    if !ready_with("libaom-av1") {
        return;
    }
    let clip = Clip::new().size(320, 180).seconds(8.0).audio(Audio::Stereo);
    let source = clip.make();
    let devices = ["--device", "cpu=1", "--device", "cpu/libaom-av1=1"];
    let rungs = ["--rung", "180p", "--rung", "90p", "--inspect", "all"];
    let made = Made::of(&source, &[&devices[..], &rungs].concat());
    let checked = made.check(&Expectation {
        source: Some(source.clone()),
        psnr_floor: Some(30.0),
        segment_seconds: Some(1.0),
        renditions: Some(2),
        ..Expectation::default()
    });
    assert_eq!(made.report["schedule_independent"], false);
    assert!(tasks(&made, "cpu") > 0, "{}", made.report["cost"]);
    assert!(
        tasks(&made, "cpu/libaom-av1") > 0,
        "{}",
        made.report["cost"]
    );
    let mut used = Vec::new();
    for rendition in ["av1-180p", "av1-90p"] {
        let init = fs::read(made.out().join("video").join(rendition).join("init.mp4"));
        assert_eq!(
            count(&init.expect("it is there"), b"av1C"),
            2,
            "{rendition}"
        );
        let entries = entries(&made, rendition);
        assert_eq!(entries.len(), checked.segments);
        used.extend(entries);
    }
    let by_aom = used.iter().filter(|entry| **entry == 2).count() as u64;
    assert_eq!(by_aom, tasks(&made, "cpu/libaom-av1"), "{used:?}");
    assert_eq!(used.len() as u64 - by_aom, tasks(&made, "cpu"), "{used:?}");
    for rendition in ["av1-180p", "av1-90p"] {
        let playlist = made
            .out()
            .join("video")
            .join(rendition)
            .join("playlist.m3u8");
        assert_eq!(frames(&playlist), checked.frames as u64, "{rendition}");
    }
}

#[test]
fn encoders_that_break_the_contract_take_renditions_of_their_own() {
    if !ready_with("librav1e") {
        return;
    }
    let source = Clip::new().size(320, 180).seconds(3.0).make();
    let devices = ["--device", "cpu=1", "--device", "cpu/librav1e=1"];
    let rungs = ["--rung", "180p", "--rung", "160p", "--rung", "90p"];
    let made = Made::of(&source, &[&devices[..], &rungs].concat());
    made.check(&Expectation {
        source: Some(source.clone()),
        segment_seconds: Some(1.0),
        renditions: Some(3),
        ..Expectation::default()
    });
    assert_eq!(made.report["schedule_independent"], true);
    let mut by_rav1e = 0;
    for rendition in renditions(&made) {
        let name = rendition["name"].as_str().expect("a name");
        let init = fs::read(made.out().join("video").join(name).join("init.mp4"));
        assert_eq!(count(&init.expect("it is there"), b"av1C"), 1, "{name}");
        let encoder = &rendition["encoder"]["encoder"];
        let spare = &rendition["spare"][0]["encoder"]["encoder"];
        assert_ne!(encoder, spare, "{name}");
        by_rav1e += u64::from(encoder == "librav1e");
    }
    assert_eq!(by_rav1e * 3, tasks(&made, "cpu/librav1e"));
    assert_eq!((3 - by_rav1e) * 3, tasks(&made, "cpu"));
}
