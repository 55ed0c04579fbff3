//! Two devices with unlike encoders make one package.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::tool;
use serde_json::Value;

use crate::support::{Made, Running, check, package_line, ready, report, rungs};

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
    (0..u32::MAX)
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
    let clip = Clip::new().size(320, 180).seconds(5.0).audio(Audio::Stereo);
    let source = clip.make();
    let devices = [
        "--devices",
        "cpu,cpu/libaom-av1",
        "--sessions",
        "cpu=1",
        "--sessions",
        "cpu/libaom-av1=1",
    ];
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
        assert_eq!(frames(&playlist), checked.frames, "{rendition}");
    }
}

/// Packages with two devices whose encoders may not share, and gives how many renditions the second one made.
fn spread(devices: [(&str, &str); 2], rungs: &[&str]) -> u64 {
    let source = Clip::new().size(320, 180).seconds(1.0).make();
    let list = devices.map(|(name, _)| name).join(",");
    let single = devices.map(|(name, _)| format!("--sessions={name}=1"));
    let mut options = vec!["--devices", &list, &single[0], &single[1]];
    for rung in rungs {
        options.extend(["--rung", rung]);
    }
    let made = Made::of(&source, &options);
    let checked = made.check(&Expectation {
        source: Some(source.clone()),
        segment_seconds: Some(1.0),
        renditions: Some(rungs.len()),
        ..Expectation::default()
    });
    assert_eq!(made.report["schedule_independent"], true);
    let mut by_second = 0;
    for rendition in renditions(&made) {
        let name = rendition["name"].as_str().expect("a name");
        let init = fs::read(made.out().join("video").join(name).join("init.mp4"));
        assert_eq!(count(&init.expect("it is there"), b"av1C"), 1, "{name}");
        let encoder = &rendition["encoder"]["encoder"];
        let spare = &rendition["spare"][0]["encoder"]["encoder"];
        assert_ne!(encoder, spare, "{name}: the other one was tried too");
        by_second += u64::from(encoder == devices[1].1);
    }
    let segments = checked.segments as u64;
    assert_eq!(tasks(&made, devices[1].0), by_second * segments);
    let by_first = rungs.len() as u64 - by_second;
    assert_eq!(tasks(&made, devices[0].0), by_first * segments);
    by_second
}

#[test]
fn encoders_that_break_the_contract_take_renditions_of_their_own() {
    if !ready_with("librav1e") || !ready_with("libaom-av1") {
        return;
    }
    let rav1e = ("cpu/librav1e", "librav1e");
    spread([("cpu", "libsvtav1"), rav1e], &["180p", "90p"]);
    // Both are slow here, so that the second one's help is worth it for the smallest.
    let aom = ("cpu/libaom-av1", "libaom-av1");
    let helped = spread([aom, rav1e], &["180p", "160p", "90p", "64p"]);
    assert!(helped > 0, "nothing was left to {}", rav1e.0);
}

#[test]
fn a_shared_package_is_gone_on_with_by_one_of_the_encoders() {
    if !ready_with("libaom-av1") {
        return;
    }
    let source = Clip::new().size(320, 180).seconds(4.0).make();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let both = [
        "--devices",
        "cpu,cpu/libaom-av1",
        "--sessions",
        "cpu=1",
        "--sessions",
        "cpu/libaom-av1=1",
    ];
    let rest = ["--rung", "90p", "--progress", "json", "--speed", "13"];
    let line = package_line(&source, &out, &[&both[..], &rest].concat());
    let mut running = Running::start(line);
    running.wait_for("segment");
    drop(running.kill_after(1, Duration::from_secs(5)));
    // The second device alone: what it made before has to be what it makes now.
    let resume = [OsStr::new("resume"), out.as_os_str()];
    let alone = [
        "--devices",
        "cpu/libaom-av1",
        "--sessions",
        "cpu/libaom-av1=1",
    ]
    .map(OsStr::new);
    let answer = rungs(resume.into_iter().chain(alone));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let checked = check(&out, &Expectation::default());
    assert_eq!(checked.segments, 4);
    let verified = rungs([OsStr::new("verify"), out.as_os_str()]);
    assert_eq!(
        verified.code,
        Some(0),
        "{}{}",
        verified.stdout,
        verified.stderr
    );
    assert_eq!(report(&out)["schedule_independent"], false);
}
