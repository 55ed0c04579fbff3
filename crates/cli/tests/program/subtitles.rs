//! Sources with subtitles: text comes out as `WebVTT` on the picture's grid, whatever it was, and pictures of text are left out.

use std::path::Path;
use std::time::Duration;

use rungs_testkit::checker::{Expectation, Report};
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::tool;

use crate::support::{Made, Running, check, package_line, published, ready, rungs};

/// Three lines, one of which is shown over two cuts, and one with all that must be escaped.
const ENGLISH: &str = "1\n00:00:00,300 --> 00:00:02,700\n<i>Who</i> is there?\nMe.\n\n\
                       2\n00:00:01,500 --> 00:00:01,900\na < b & c\n\n\
                       3\n00:00:03,000 --> 00:00:09,000\nThe end\n\n";
const GERMAN: &str = "1\n00:00:02,000 --> 00:00:03,000\nWer da?\n\n";

fn clip(container: &str) -> Clip {
    let clip = Clip::new().size(320, 180).seconds(3.4);
    clip.container(container).audio(Audio::Mono)
}

fn expect() -> Expectation {
    Expectation {
        segment_seconds: Some(1.0),
        audio: Some(true),
        renditions: Some(1),
        ..Expectation::default()
    }
}

/// What is shown by a track, and when, in seconds.
fn shown<'a>(report: &'a Report, folder: &str) -> Vec<(f64, f64, &'a str)> {
    let mut texts = report.text.iter();
    let found = texts.find(|(name, _)| name == folder);
    let (_, cues) = found.unwrap_or_else(|| panic!("there is no {folder}"));
    let seconds = |milliseconds: u64| milliseconds as f64 / 1000.0;
    let told = cues.iter().map(|cue| {
        let text = cue.text.as_str();
        (seconds(cue.start), seconds(cue.end), text)
    });
    told.collect()
}

#[test]
fn every_kind_of_text_comes_out() {
    if !ready() {
        return;
    }
    for (codec, container) in [
        ("srt", "mkv"),
        ("ass", "mkv"),
        ("mov_text", "mp4"),
        ("webvtt", "mkv"),
    ] {
        let source = clip(container)
            .subtitles(codec, "eng", ENGLISH)
            .subtitles(codec, "ger", GERMAN)
            .make();
        let made = Made::of(&source, &["--crf", "30"]);
        assert!(made.warnings().is_empty(), "{:?}", made.warnings());
        let report = made.check(&expect());
        let english = shown(&report, "text/eng");
        // MP4 shows one text at a time: the second ends the first.
        let until = if codec == "mov_text" { 1.5 } else { 2.7 };
        // What is WebVTT already passes through, and FFmpeg wrote it without escapes.
        let second = if codec == "webvtt" {
            "a < b & c"
        } else {
            "a &lt; b &amp; c"
        };
        // The last line ends with the picture, whose times are milliseconds in Matroska.
        let end = english[2].1;
        assert!((end - 3.417).abs() < 0.002, "{end}");
        let wanted = [
            (0.3, until, "<i>Who</i> is there?\nMe."),
            (1.5, 1.9, second),
            (3.0, end, "The end"),
        ];
        assert_eq!(english, wanted, "{codec}");
        assert_eq!(shown(&report, "text/ger"), [(2.0, 3.0, "Wer da?")]);
        let master = std::fs::read_to_string(made.out().join("master.m3u8")).expect("a playlist");
        let line = r#"TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="de",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="text/ger/playlist.m3u8""#;
        assert!(master.contains(line), "{master}");
    }
}

#[test]
fn subtitles_are_chosen_like_sound() {
    if !ready() {
        return;
    }
    let source = clip("mkv")
        .subtitles("srt", "eng", ENGLISH)
        .subtitles("srt", "ger", GERMAN)
        .make();
    for (choice, wanted) in [("none", &[][..]), ("deu", &["text/ger"])] {
        let made = Made::of(&source, &["--crf", "30", "--subtitles", choice]);
        let report = made.check(&expect());
        assert!(report.text.iter().map(|(name, _)| name).eq(wanted));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let answer = rungs(package_line(&source, &out, &["--subtitles", "3"]));
    assert_eq!(answer.code, Some(3), "{}", answer.stderr);
    let reason = "there is no track 3 of subtitles; there is track 1 (eng), track 2 (ger)";
    assert!(answer.stderr.contains(reason), "{}", answer.stderr);
}

#[test]
fn pictures_of_text_are_left_out() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("pictures.mkv");
    let clip = Clip::new().size(320, 180).seconds(1.3).make();
    // The end of a picture, which is all that a stream of such needs.
    let pictures = "data:application/octet-stream;base64,UEcAAAAAAAAAAIAAAA==";
    let run = tool::ffmpeg().arg("-i").arg(&clip);
    let run = run.args(["-f", "sup", "-i", pictures, "-map", "0", "-map", "1"]);
    let run = run.args(["-c", "copy"]).arg(&source);
    run.run().expect("it can be made");
    let made = Made::of(&source, &["--crf", "30"]);
    assert_eq!(made.warnings(), ["subtitles_left_out"]);
    made.check(&Expectation {
        audio: Some(false),
        ..expect()
    });
}

#[test]
fn a_job_with_subtitles_ends_with_the_same_bytes() {
    if !ready() {
        return;
    }
    let source = clip("mkv")
        .subtitles("srt", "eng", ENGLISH)
        .subtitles("ass", "ger", GERMAN)
        .make();
    let options = ["--crf", "30"];
    let whole = Made::of(&source, &options);
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let told = [&options[..], &["--progress", "json"]].concat();
    for events in [6, 10, 14] {
        let running = Running::start(package_line(&source, &out, &told));
        running.kill_after(events, Duration::from_mins(1));
    }
    let finish = || rungs(package_line(&source, &out, &options));
    let answer = finish();
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    check(&out, &expect());
    same(&whole.out(), &out);
    verified(&out, 0);
    // What is damaged is found, and made again.
    for file in ["text/eng/all.vtt", "text/ger/seg-00002.vtt"] {
        std::fs::write(out.join(file), "WEBVTT\n").expect("it can be written");
        assert!(verified(&out, 1).contains(file));
        assert_eq!(finish().code, Some(0));
        same(&whole.out(), &out);
    }
    verified(&out, 0);
}

fn same(one: &Path, two: &Path) {
    let (one, two) = (published(one), published(two));
    assert!(
        one.keys().eq(two.keys()),
        "{:?}\n{:?}",
        one.keys(),
        two.keys()
    );
    for (name, bytes) in &one {
        assert!(two[name] == *bytes, "{} differs", name.display());
    }
}

fn verified(out: &Path, code: i32) -> String {
    let answer = rungs(["verify".as_ref(), out.as_os_str()]);
    assert_eq!(answer.code, Some(code), "{}", answer.stdout);
    answer.stdout
}
