//! Damaged audio that passes through: what is published decodes, stays in time, and a strict job fails.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rungs_testkit::lag::{self, Recording, Search};
use rungs_testkit::{clips, tool};

use crate::support::{Made, package_line, ready, rungs};

const QUICK: [&str; 4] = ["--codec", "h264", "--speed", "fastest"];

/// Four seconds of video and of noise, in which every 40th packet of audio from the 20th on has bytes overwritten.
fn damaged(codec: &str, container: &str) -> PathBuf {
    let words = format!(
        "-f lavfi -i testsrc2=size=128x72:rate=25:duration=4 \
         -f lavfi -i anoisesrc=c=pink:r=48000:seed=7:a=0.5:d=4 -map 0:v -map 1:a \
         -c:v libx264 -preset ultrafast -g 25 -c:a {codec} -ac 2 -b:a 192k -threads 1"
    );
    let whole = clips::of_words(&words, container).expect("a clip");
    let words = format!(
        "-i {} -map 0 -c copy -bsf:a noise=amount=if(eq(mod(n\\,40)\\,20)\\,3\\,0)",
        whole.display()
    );
    clips::of_words(&words, container).expect("a damaged clip")
}

/// Asks that all audio of a file decodes, and that it is in time where it is not silent.
fn assert_whole(path: &Path, output: &Path) {
    let run = tool::ffmpeg().args(["-xerror", "-i"]).arg(output);
    let run = run.args(["-map", "0:a", "-f", "null", "-"]).run();
    run.unwrap_or_else(|error| panic!("{}: {}", path.display(), tool::chain(&error)));
    let source = Recording::of(path, 0).expect("the source has audio");
    let output = Recording::of(output, 0).expect("the output has audio");
    let lags = lag::along(&source, &output, &Search::default());
    let worst = lag::worst(&lags).expect("some are certain");
    assert!(worst.seconds.abs() < 0.0012, "{}: {lags:?}", path.display());
    assert!(lags.len() >= 7, "{lags:?}");
}

fn verify(out: &Path) {
    let answer = rungs(["verify".as_ref(), out.as_os_str()]);
    assert_eq!(answer.code, Some(0), "{}", answer.stdout);
}

#[test]
fn damaged_audio_that_passes_through_is_silenced_in_packages() {
    if !ready() {
        return;
    }
    for (codec, container) in [
        ("aac", "mkv"),
        ("aac", "ts"),
        ("ac3", "mkv"),
        ("eac3", "mkv"),
    ] {
        let source = damaged(codec, container);
        let options = [&QUICK[..], &["--audio", "copy"]].concat();
        let made = Made::of(&source, &options);
        let warnings = made.warnings();
        assert!(warnings.contains(&"sound_damaged"), "{codec}: {warnings:?}");
        assert_eq!(made.report["plan"]["audio"][0]["mode"], "copy");
        verify(&made.out());
        assert_whole(&source, &made.out().join("master.m3u8"));

        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        let strict = [&options[..], &["--strict"]].concat();
        let answer = rungs(package_line(&source, &out, &strict));
        assert_eq!(answer.code, Some(1), "{codec}: {}", answer.stderr);
        assert!(answer.stderr.contains("--strict"), "{}", answer.stderr);
        assert!(!out.join("report.json").exists());
    }
}

#[test]
fn damaged_audio_that_passes_through_is_silenced_in_plain_files() {
    if !ready() || tool::require_encoder("libmp3lame").is_none() {
        return;
    }
    for (codec, container) in [("libmp3lame", "mkv"), ("aac", "mp4")] {
        let source = damaged(codec, container);
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("film.mp4");
        let line = |more: &[&str]| {
            let mut line: Vec<OsString> = vec!["transcode".into(), source.clone().into()];
            line.extend(["-o".into(), out.clone().into()]);
            line.extend(QUICK.iter().chain(more).map(Into::into));
            line
        };
        let answer = rungs(line(&["--strict"]));
        assert_eq!(answer.code, Some(1), "{codec}: {}", answer.stderr);
        assert!(!out.exists());
        let answer = rungs(line(&["--force"]));
        assert_eq!(answer.code, Some(0), "{codec}: {}", answer.stderr);
        assert!(
            answer.stderr.contains("could not be decoded"),
            "{}",
            answer.stderr
        );
        assert_whole(&source, &out);
    }
}

#[test]
fn damaged_audio_that_is_encoded_stays_in_time() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    for (codec, container) in [("mp2", "ts"), ("ac3", "mkv")] {
        let source = damaged(codec, container);
        let options = [&QUICK[..], &["--audio", "opus"]].concat();
        let made = Made::of(&source, &options);
        verify(&made.out());
        assert_whole(&source, &made.out().join("master.m3u8"));
    }
}

#[test]
fn whole_audio_of_every_codec_that_passes_through_is_left_as_it_is() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let whole = |codec: &str, container| {
        let words = format!(
            "-f lavfi -i testsrc2=size=128x72:rate=25:duration=2 \
             -f lavfi -i anoisesrc=c=pink:r=48000:seed=7:a=0.5:d=2 -map 0:v -map 1:a \
             -c:v libx264 -preset ultrafast -g 25 -c:a {codec} -ac 2 -b:a 128k -threads 1"
        );
        clips::of_words(&words, container).expect("a clip")
    };
    for (codec, container) in [
        ("aac", "mp4"),
        ("libopus", "mkv"),
        ("ac3", "ts"),
        ("eac3", "mkv"),
    ] {
        let source = whole(codec, container);
        let made = Made::of(
            &source,
            &[&QUICK[..], &["--audio", "copy", "--strict"]].concat(),
        );
        assert!(made.warnings().is_empty(), "{codec}: {:?}", made.warnings());
        verify(&made.out());
    }
    let source = whole("libmp3lame", "mkv");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("film.mp4");
    let mut line: Vec<OsString> = vec!["transcode".into(), source.into(), "-o".into(), out.into()];
    line.extend(QUICK.iter().map(Into::into));
    line.push("--strict".into());
    let answer = rungs(line);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(!answer.stderr.contains("warning"), "{}", answer.stderr);
}
