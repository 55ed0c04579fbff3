//! Packages of one file for each rendition.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::tool;
use serde_json::Value;

use crate::support::{Running, check, package_line, published, ready, rungs};

const OPTIONS: [&str; 8] = [
    "--single-file",
    "--rung",
    "180p",
    "--rung",
    "90p",
    "--storyboard",
    "--progress",
    "json",
];

fn expect() -> Expectation {
    Expectation {
        segment_seconds: Some(1.0),
        audio: Some(true),
        ..Expectation::default()
    }
}

fn clip() -> Clip {
    let text = "1\n00:00:00,300 --> 00:00:02,700\nWho is there?\n\n";
    let clip = Clip::new().size(320, 180).seconds(4.5).container("mkv");
    clip.audio(Audio::Stereo).subtitles("srt", "eng", text)
}

fn verified(out: &Path) {
    let answer = rungs(["verify".as_ref(), out.as_os_str()]);
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
}

/// The pictures that FFmpeg finds in a file or by a list.
fn pictures(list: &Path) -> u64 {
    let run = tool::ffprobe().args(["-count_frames", "-select_streams", "v:0"]);
    // FFmpeg takes no subtitles from a manifest unless it is told that it may.
    let manifest = list.extension().is_some_and(|extension| extension == "mpd");
    let allowed: &[&str] = if manifest {
        &["-allowed_extensions", "ALL"]
    } else {
        &[]
    };
    let run = run.args(allowed);
    let run = run.args(["-show_streams", "-of", "json"]).arg(list);
    let found = run.json().expect("ffprobe reads it");
    let count = found["streams"][0]["nb_read_frames"].as_str();
    count
        .and_then(|count| count.parse().ok())
        .expect("a number")
}

#[test]
fn each_rendition_is_one_file_and_every_list_points_into_it() {
    if !ready() {
        return;
    }
    let source = clip().make();
    for codec in ["av1", "h264"] {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        let options = [&OPTIONS[..], &["--codec", codec]].concat();
        let answer = rungs(package_line(&source, &out, &options));
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        let made = check(
            &out,
            &Expectation {
                source: Some(source.clone()),
                ..expect()
            },
        );
        verified(&out);
        assert!(!out.join(".rungs/parts").exists());
        let files = published(&out);
        let events = answer.stdout.lines().map(|line| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            event
        });
        let mut written = 0;
        for event in events.filter(|event| event["event"] == "written") {
            let file = Path::new(event["file"].as_str().expect("a path"));
            let name = file.strip_prefix(&out).expect("a path below");
            assert_eq!(event["bytes"], files[name].len(), "{event}");
            let seconds = event["seconds"].as_f64().expect("a number");
            assert!((4.4..4.6).contains(&seconds), "{event}");
            written += 1;
        }
        assert_eq!(written, 3);
        let names: Vec<_> = files
            .keys()
            .map(|path| path.display().to_string())
            .collect();
        assert!(!names.iter().any(|name| name.contains(".m4s")), "{names:?}");
        assert_eq!(names.iter().filter(|name| name.contains(".mp4")).count(), 3);
        for list in ["master.m3u8", "manifest.mpd"] {
            assert_eq!(pictures(&out.join(list)), made.frames, "{list}");
        }
        let file = out.join(format!("video/{codec}-90p.mp4"));
        assert_eq!(pictures(&file), made.frames);
        // The same again: there is nothing to do, and nothing changes.
        let answer = rungs(package_line(&source, &out, &options));
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        assert!(published(&out) == files);
    }
}

#[test]
fn damage_is_found_and_made_good_and_a_rung_is_added() {
    if !ready() {
        return;
    }
    let source = clip().make();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let answer = rungs(package_line(&source, &out, &OPTIONS));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let whole = published(&out);
    let file = out.join("video/av1-180p.mp4");
    let mut bytes = fs::read(&file).expect("a file");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).expect("a file");
    let answer = rungs(["verify".as_ref(), out.as_os_str()]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stdout.contains("segment 4"), "{}", answer.stdout);
    assert!(answer.stderr.contains("has 1 fault\n"), "{}", answer.stderr);
    let answer = rungs(["resume".as_ref(), out.as_os_str()]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(published(&out) == whole);
    let line = package_line(&source, &out, &["--rung", "120p", "--add"]);
    let answer = rungs(line);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    check(&out, &expect());
    verified(&out);
    let more = published(&out);
    for (path, bytes) in whole.iter().filter(|(path, _)| path.starts_with("video")) {
        assert!(more.get(path) == Some(bytes), "{}", path.display());
    }
}

#[test]
fn a_run_that_was_killed_comes_to_the_same_files() {
    if !ready() {
        return;
    }
    let source = clip().make();
    let folder = tempfile::tempdir().expect("a folder");
    let whole = folder.path().join("whole");
    let answer = rungs(package_line(&source, &whole, &OPTIONS));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let events = answer.stdout.lines().count();
    for after in [4, events / 2, events - 1, events] {
        let out = folder.path().join(format!("killed-{after}"));
        let line = package_line(&source, &out, &OPTIONS);
        Running::start(&line).kill_after(after, Duration::from_mins(1));
        let answer = rungs(&line);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        assert!(published(&out) == published(&whole), "after {after}");
    }
}
