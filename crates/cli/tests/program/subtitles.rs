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
fn text_of_a_part_is_shown_when_the_part_shows_its_pictures() {
    if !ready() {
        return;
    }
    let source = clip("mkv")
        .subtitles("srt", "eng", ENGLISH)
        .subtitles("srt", "ger", GERMAN)
        .make();
    let made = Made::of(&source, &["--crf", "30", "--start", "1", "--end", "2.5"]);
    let report = check(&made.out(), &expect());
    // What was there before goes on, what appears at the end goes with it, and what comes later does not come.
    let wanted = [
        (0.0, 1.7, "<i>Who</i> is there?\nMe."),
        (0.5, 0.9, "a &lt; b &amp; c"),
    ];
    for (folder, wanted) in [
        ("text/eng", &wanted[..]),
        ("text/ger", &[(1.0, 1.5, "Wer da?")]),
    ] {
        let told = shown(&report, folder);
        assert_eq!(told.len(), wanted.len(), "{told:?}");
        for (told, wanted) in told.iter().zip(wanted) {
            // Matroska has milliseconds.
            let near = |one: f64, other: f64| (one - other).abs() < 2e-3;
            let alike = near(told.0, wanted.0) && near(told.1, wanted.1) && told.2 == wanted.2;
            assert!(alike, "{told:?} for {wanted:?}");
        }
    }
}

/// A track of subtitles of a file as FFmpeg makes `SubRip` of it.
fn subrip(file: &Path, track: &str) -> String {
    let run = tool::ffmpeg().arg("-i").arg(file).args(["-map", track]);
    let made = run.args(["-f", "srt", "-"]).run().expect("it is text");
    // FFmpeg ends lines within a text otherwise than the others.
    let text = String::from_utf8(made.stdout).expect("text");
    text.replace('\r', "")
}

#[test]
fn plain_files_have_the_text_too() {
    if !ready() {
        return;
    }
    // With sound that starts before the picture, Matroska would move all.
    let clip = Clip::new().size(320, 180).seconds(3.4).container("mkv");
    let source = clip
        .subtitles("srt", "eng", ENGLISH)
        .subtitles("ass", "ger", GERMAN)
        .make();
    let folder = tempfile::tempdir().expect("a folder");
    // MP4 shows one text at a time, so that of both is one.
    let apart = "1\n00:00:00,300 --> 00:00:02,700\n<i>Who</i> is there?\nMe.\n\n\
                 2\n00:00:01,500 --> 00:00:01,900\na < b & c\n\n\
                 3\n00:00:03,000 --> 00:00:03,4";
    let together = "1\n00:00:00,300 --> 00:00:01,500\n<i>Who</i> is there?\nMe.\n\n\
                    2\n00:00:01,500 --> 00:00:01,900\n<i>Who</i> is there?\nMe.\na < b & c\n\n\
                    3\n00:00:01,900 --> 00:00:02,700\n<i>Who</i> is there?\nMe.\n\n\
                    4\n00:00:03,000 --> 00:00:03,4";
    for (name, codec, wanted) in [
        ("film.mp4", "mov_text", together),
        ("film.mkv", "subrip", apart),
        ("film.webm", "webvtt", apart),
    ] {
        let out = folder.path().join(name);
        let mut line = package_line(&source, &out, &["--crf", "30"]);
        line[0] = "transcode".into();
        let answer = rungs(line);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        let run = tool::ffprobe().args(["-of", "json", "-show_streams", "-select_streams", "s"]);
        let told = run.arg(&out).json().expect("it can be probed");
        let tracks = told["streams"].as_array().expect("a list");
        assert_eq!(tracks.len(), 2, "{name}");
        for (track, language) in tracks.iter().zip(["eng", "ger"]) {
            assert_eq!(track["codec_name"], codec, "{name}");
            let own = track["tags"]["language"].as_str().expect("a language");
            assert!(
                own == language || own == "deu" && language == "ger",
                "{own}"
            );
            assert_eq!(track["disposition"]["forced"], 0);
        }
        let english = subrip(&out, "0:s:0");
        // Escapes stay as they are where the text is WebVTT.
        let english = english.replace("&lt;", "<").replace("&amp;", "&");
        assert!(english.starts_with(wanted), "{name}: {english}");
        let german = subrip(&out, "0:s:1");
        assert_eq!(
            german.trim(),
            "1\n00:00:02,000 --> 00:00:03,000\nWer da?",
            "{name}"
        );
    }
    let out = folder.path().join("none.mp4");
    let mut line = package_line(&source, &out, &["--crf", "30", "--subtitles", "none"]);
    line[0] = "transcode".into();
    assert_eq!(rungs(line).code, Some(0));
    let run = tool::ffprobe().args(["-of", "json", "-show_streams", "-select_streams", "s"]);
    let told = run.arg(&out).json().expect("it can be probed");
    assert_eq!(told["streams"].as_array().map(Vec::len), Some(0));
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
