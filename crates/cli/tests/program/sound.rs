//! Sources with several tracks of sound: all of them come out, named, on the picture's grid, and the same after a kill.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rungs_testkit::checker::{Expectation, Report};
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::tool;

use crate::support::{Made, Running, check, package_line, published, ready, rungs};

/// A small clip with stereo sound in Matroska: 320×180 at 24 frames a second.
fn small() -> Clip {
    let clip = Clip::new().size(320, 180).container("mkv");
    clip.audio(Audio::Stereo)
}

/// German and named, English and the default, and one without a language.
fn three_tracks() -> PathBuf {
    small()
        .seconds(3.3)
        .extra(&["-map", "1:a", "-map", "1:a", "-ac:a:1", "1"])
        .extra(&["-disposition:a:0", "0", "-disposition:a:1", "default"])
        .extra(&["-disposition:a:2", "0"])
        .extra(&["-metadata:s:a:0", "language=ger"])
        .extra(&["-metadata:s:a:0", "title=Mit \"Kommentar\""])
        .extra(&["-metadata:s:a:1", "language=eng"])
        .make()
}

fn expect() -> Expectation {
    Expectation {
        segment_seconds: Some(1.0),
        audio: Some(true),
        renditions: Some(1),
        ..Expectation::default()
    }
}

fn names(report: &Report) -> Vec<&str> {
    let names = report
        .renditions
        .iter()
        .map(|rendition| rendition.name.as_str());
    names
        .filter_map(|name| name.strip_prefix("audio/"))
        .collect()
}

/// What the multivariant playlist says of each rendition of sound.
fn media(out: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(out.join("master.m3u8")).expect("it is there");
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("#EXT-X-MEDIA:TYPE=AUDIO,"));
    lines.map(str::to_owned).collect()
}

#[test]
fn all_tracks_come_out_with_their_names() {
    if !ready() {
        return;
    }
    let source = three_tracks();
    let made = Made::of(&source, &["--crf", "30"]);
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let report = made.check(&Expectation {
        source: Some(source),
        ..expect()
    });
    assert_eq!(names(&report), ["eng-aac", "ger-aac", "und-aac"]);
    let told = [
        r#"GROUP-ID="aac",NAME="en",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="1",URI="audio/eng-aac/playlist.m3u8""#,
        r#"GROUP-ID="aac",NAME="Mit Kommentar",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",URI="audio/ger-aac/playlist.m3u8""#,
        r#"GROUP-ID="aac",NAME="Audio",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",URI="audio/und-aac/playlist.m3u8""#,
    ];
    assert_eq!(media(&made.out()), told);
    let manifest = std::fs::read_to_string(made.out().join("manifest.mpd")).expect("a manifest");
    for part in [
        "lang=\"de\"",
        "lang=\"en\"",
        "<Label>Mit &quot;Kommentar&quot;</Label>",
    ] {
        assert!(manifest.contains(part), "{part} is not in\n{manifest}");
    }
}

#[test]
fn tracks_are_chosen_by_number_and_language() {
    if !ready() {
        return;
    }
    let source = three_tracks();
    for (choice, wanted) in [
        ("first", &["eng-aac"][..]),
        ("3,deu", &["und-aac", "ger-aac"]),
        ("none", &[]),
    ] {
        let made = Made::of(&source, &["--crf", "30", "--audio-tracks", choice]);
        let report = made.check(&Expectation {
            audio: Some(!wanted.is_empty()),
            ..expect()
        });
        assert_eq!(names(&report), wanted, "{choice}");
    }
}

#[test]
fn a_track_that_is_not_there_is_refused_by_name() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    for (choice, reason) in [
        (
            "4",
            "there is no track 4 of sound; there is track 1 (ger), track 2 (eng), track 3",
        ),
        ("eng,fra", "no track of sound is tagged fr"),
    ] {
        let options = ["--audio-tracks", choice];
        let answer = rungs(package_line(&three_tracks(), &out, &options));
        assert_eq!(answer.code, Some(3), "{}", answer.stderr);
        assert!(answer.stderr.contains(reason), "{}", answer.stderr);
        assert!(!out.exists());
    }
}

#[test]
fn a_job_with_several_tracks_ends_with_the_same_bytes() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let source = three_tracks();
    let options = ["--crf", "30", "--audio", "opus"];
    let whole = Made::of(&source, &options);
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let told = [&options[..], &["--progress", "json"]].concat();
    for events in [6, 9] {
        let running = Running::start(package_line(&source, &out, &told));
        running.kill_after(events, Duration::from_mins(1));
    }
    let answer = rungs(package_line(&source, &out, &options));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    check(&out, &expect());
    let (one, two) = (published(&whole.out()), published(&out));
    assert!(one.keys().eq(two.keys()));
    for (name, bytes) in &one {
        assert!(two[name] == *bytes, "{} differs", name.display());
    }
    let answer = rungs(["verify".as_ref(), out.as_os_str()]);
    assert_eq!(answer.code, Some(0), "{}", answer.stdout);
}
