//! Many tracks in one file, and tracks that cannot be made: memory, time, and what is left out.

use std::fs;
use std::path::{Path, PathBuf};

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{self, Audio, Clip};
use rungs_testkit::digest::package_digest;
use serde_json::Value;

use crate::support::{Made, package_line, ready, rungs};

const MEBIBYTE: u64 = 1 << 20;

/// Two seconds of video with so many tracks of audio.
fn with_tracks(count: usize, codec: &str) -> PathBuf {
    let maps = "-map 1:a ".repeat(count);
    let one = format!(
        "-v error -f lavfi -i testsrc2=size=160x90:rate=10:duration=2 -f lavfi -i sine=duration=2:sample_rate=48000 \
         -map 0:v -map 1:a -c:v mpeg4 -c:a {codec} -b:a 64k"
    );
    let one = clips::of_words(&one, "mkv").expect("a clip");
    // Encoded once, and copied for each track.
    let one = one.display();
    let many = format!("-v error -i {one} -i {one} -map 0:v {maps} -c copy");
    clips::of_words(&many, "mkv").expect("a clip")
}

/// The most memory that all processes of a job held, in bytes.
fn peak(made: &Made) -> u64 {
    let peak = made
        .report
        .pointer("/cost/peak_memory")
        .and_then(Value::as_u64);
    peak.expect("Linux tells it")
}

fn audio_folders(out: &Path) -> usize {
    fs::read_dir(out.join("audio")).map_or(0, Iterator::count)
}

#[test]
fn memory_grows_with_the_tracks_and_not_with_their_square() {
    if !ready() {
        return;
    }
    let options = ["--rung", "90p", "--jobs", "1"];
    let made = |count| {
        let made = Made::of(&with_tracks(count, "aac"), &options);
        assert_eq!(audio_folders(&made.out()), count);
        peak(&made)
    };
    let (fifty, two_hundred) = (made(50), made(200));
    assert!(two_hundred < 500 * MEBIBYTE, "{two_hundred} bytes");
    // Four times the tracks, a little more than the process itself: a demuxer for each would take 16 times as much.
    assert!(two_hundred < 4 * fifty, "{fifty} bytes, then {two_hundred}");
}

#[test]
fn tracks_that_do_not_fit_at_once_come_out_the_same_one_after_the_other() {
    if !ready() {
        return;
    }
    let source = with_tracks(24, "ac3");
    let options = ["--rung", "90p", "--audio", "opus", "--segment", "1"];
    let digest = |memory: &str| {
        let made = Made::of(&source, &[&options[..], &["--memory", memory]].concat());
        made.check(&Expectation::default());
        assert_eq!(audio_folders(&made.out()), 24);
        package_digest(&made.out()).expect("a package").to_string()
    };
    // Ten at once, and all.
    assert_eq!(digest("64M"), digest("4G"));
}

#[test]
fn large_frames_are_refused_before_they_are_decoded() {
    if !ready() {
        return;
    }
    let words = "-v error -f lavfi -i color=size=8192x8192:rate=1:duration=1 -c:v libx264 -preset ultrafast";
    let source = clips::of_words(words, "mp4").expect("a clip");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let program = std::env::var_os("CARGO_BIN_EXE_rungs")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rungs")), PathBuf::from);
    // A limit of the system on top of that of the option: whoever decodes first does not get that far.
    let mut words = vec![
        "--data=1073741824".into(),
        "--".into(),
        program.into_os_string(),
    ];
    words.extend(package_line(&source, &out, &["--memory", "512M"]));
    let answer = std::process::Command::new("prlimit").args(words).output();
    let answer = answer.expect("util-linux is there");
    let text = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(3), "{text}");
    assert!(
        text.contains("512.0 MiB of memory are too little"),
        "{text}"
    );
    assert!(!out.exists());
}

/// A clip whose second track of audio is of a codec that nobody knows.
fn with_unknown_track() -> tempfile::NamedTempFile {
    let clip = Clip::new().size(160, 90).frames(24).container("mkv");
    let clip = clip
        .audio(Audio::Stereo)
        .extra(&["-map", "1:a", "-c:a:1", "ac3"]);
    let mut bytes = fs::read(clip.make()).expect("it is there");
    let name = b"A_AC3";
    let at = bytes.windows(name.len()).position(|window| window == name);
    let at = at.expect("Matroska names its codecs");
    bytes[at..at + name.len()].copy_from_slice(b"A_XC3");
    let file = tempfile::Builder::new()
        .suffix(".mkv")
        .tempfile()
        .expect("a file");
    fs::write(file.path(), bytes).expect("there is room");
    file
}

#[test]
fn a_track_that_cannot_be_decoded_is_left_out_by_name() {
    if !ready() {
        return;
    }
    let source = with_unknown_track();
    for options in [&["--rung", "90p"][..], &["--rung", "90p", "--audio", "aac"]] {
        let made = Made::of(source.path(), options);
        assert_eq!(audio_folders(&made.out()), 1, "{options:?}");
        assert_eq!(made.warnings(), ["sound_left_out"]);
        let text = &made.answer.stderr;
        assert!(text.contains("track 2: it cannot be decoded"), "{text}");
        let folder = tempfile::tempdir().expect("a folder");
        let strict = [options, &["--strict"]].concat();
        let answer = rungs(package_line(
            source.path(),
            &folder.path().join("out"),
            &strict,
        ));
        assert_eq!(answer.code, Some(3), "{}", answer.stderr);
        let named = [&["--audio-tracks", "2"], options].concat();
        let answer = rungs(package_line(
            source.path(),
            &folder.path().join("out"),
            &named,
        ));
        assert_eq!(answer.code, Some(3), "{}", answer.stderr);
    }
}
