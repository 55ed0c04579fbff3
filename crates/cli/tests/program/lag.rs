//! Audio that begins before the video: each output is compared with its source by cross-correlation.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rungs_testkit::lag::{self, Lag, Recording, Search};
use rungs_testkit::{clips, tool};

use crate::support::{Made, ready, rungs};

/// Options that make a job quick.
const QUICK: [&str; 6] = ["--codec", "h264", "--speed", "fastest", "--rung", "72p"];

/// Two seconds of video with noise that begins `lead` seconds before it.
fn clip(kind: &Kind) -> PathBuf {
    let Kind { lead, codec, .. } = kind;
    let words = format!(
        "-itsoffset {lead} -f lavfi -i testsrc2=size=128x72:rate=25:duration=2 \
         -f lavfi -i anoisesrc=c=pink:r={rate}:seed=7:a=0.5:d={length} -map 0:v -map 1:a \
         -c:v libx264 -preset ultrafast -g 25 -c:a {codec} -ac 2 -b:a 192k -threads 1",
        rate = kind.rate,
        length = lead + 2.5,
    );
    clips::of_words(&words, kind.container).expect("a clip")
}

struct Kind {
    lead: f64,
    container: &'static str,
    codec: &'static str,
    rate: u32,
    options: &'static [&'static str],
}

const fn kind(lead: f64, container: &'static str, codec: &'static str) -> Kind {
    Kind {
        lead,
        container,
        codec,
        rate: 48_000,
        options: &[],
    }
}

/// The lags of an output along the file; it has audio for as long as it has video.
fn lags(source: &Path, output: &Path) -> Vec<Lag> {
    let source = Recording::of(source, 0).expect("the source has audio");
    let output = Recording::of(output, 0).expect("the output has audio");
    let lags = lag::along(&source, &output, &Search::default());
    let certain = lags.iter().filter(|lag| lag.certainty > 0.5).count();
    assert!(certain >= 3 && certain == lags.len(), "{lags:?}");
    lags
}

/// Asks for less than `most` seconds of lag all along.
fn assert_in_time(kind: &Kind, (source, output): (&Path, &Path), most: f64) {
    let lags = lags(source, output);
    let worst = lag::worst(&lags).expect("some are certain");
    assert!(
        worst.seconds.abs() < most,
        "{} s of {} in {}: {lags:?}",
        kind.lead,
        kind.codec,
        kind.container
    );
}

/// The most that a container's clock may be wrong: Matroska and FLV count milliseconds.
fn most(kind: &Kind) -> f64 {
    match kind.container {
        "mkv" | "flv" => 0.0012,
        _ => 0.0003,
    }
}

#[test]
fn audio_that_begins_before_the_video_is_in_time_in_packages() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let kinds = [
        kind(0.05, "ts", "mp2"),
        kind(0.49, "mkv", "flac"),
        Kind {
            options: &["--loudness", "-20"],
            ..kind(0.7, "mov", "pcm_s16le")
        },
        Kind {
            rate: 44_100,
            ..kind(1.5, "ts", "mp2")
        },
        Kind {
            options: &["--audio", "aac"],
            ..kind(10.0, "mkv", "aac")
        },
        // Passes through.
        kind(0.3, "ts", "aac"),
        kind(10.0, "mp4", "aac"),
    ];
    for kind in kinds {
        let source = clip(&kind);
        let made = Made::of(&source, &[&QUICK[..], kind.options].concat());
        // What passes through is cut at a packet's start and keeps its time.
        assert_in_time(
            &kind,
            (&source, &made.out().join("master.m3u8")),
            most(&kind),
        );
    }
}

#[test]
fn audio_that_begins_before_the_video_is_in_time_in_plain_files() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let kinds = [
        kind(0.2, "ts", "mp2"),
        Kind {
            options: &["--audio", "opus"],
            ..kind(0.51, "mp4", "ac3")
        },
        Kind {
            options: &["--loudness", "-20"],
            ..kind(3.0, "ts", "mp2")
        },
        Kind {
            rate: 44_100,
            options: &["--audio", "aac"],
            ..kind(1.5, "mkv", "libmp3lame")
        },
        // Passes through.
        kind(2.0, "ts", "ac3"),
    ];
    for kind in kinds {
        let source = clip(&kind);
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("film.mp4");
        let mut line: Vec<OsString> = vec!["transcode".into(), source.clone().into()];
        line.extend([
            "-o".into(),
            out.clone().into(),
            "--codec".into(),
            "h264".into(),
        ]);
        line.extend(["--speed".into(), "fastest".into()]);
        line.extend(kind.options.iter().map(Into::into));
        let answer = rungs(line);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        assert_in_time(&kind, (&source, &out), most(&kind));
    }
}
