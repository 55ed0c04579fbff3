//! Picture and sound stay together for an hour: every ten seconds a flash and a beep, which have to come out at the same moment.

use std::path::{Path, PathBuf};

use rungs_testkit::{clips, tool};

use crate::support::{ready, rungs};

/// Flashes, with a beep each.
const FLASHES: usize = 360;
/// Seconds from one to the next.
const APART: f64 = 10.0;
/// An audio frame of AAC at 44.1 kHz, in seconds; those of Opus are shorter.
const AUDIO_FRAME: f64 = 1024.0 / 44_100.0;

/// An hour of small pictures with sound at 44.1 kHz. Both start 5 s before the first flash.
fn hour() -> PathBuf {
    let words = "-f lavfi -i color=black:s=64x64:r=10:d=3600,drawbox=c=white:t=fill:enable='between(mod(t,10),5,5.15)' \
                 -f lavfi -i aevalsrc='0.5*sin(2000*PI*t)*between(mod(t,10),5,5.2)':s=44100:d=3600 \
                 -c:v libx264 -preset ultrafast -g 100 -c:a aac -b:a 64k";
    clips::of_words(words, "mp4").expect("it can be made")
}

/// The moments at which what a filter says of each frame crosses a level from below, in seconds.
fn onsets(file: &Path, filter: [&str; 2], (key, level): (&str, f64)) -> Vec<f64> {
    let print = format!(
        "{},{}metadata=print:key={key}:file=-",
        filter[1],
        if filter[0] == "-af" { "a" } else { "" }
    );
    let run = tool::ffmpeg().arg("-i").arg(file).args([filter[0], &print]);
    let run = run.args([
        "-f",
        "null",
        if filter[0] == "-af" { "-vn" } else { "-an" },
        "-",
    ]);
    let said = String::from_utf8(run.run().expect("it plays").stdout).expect("text");
    let (mut found, mut time, mut high) = (Vec::new(), 0.0, false);
    for word in said.split_whitespace() {
        if let Some(seconds) = word.strip_prefix("pts_time:") {
            time = seconds.parse().expect("seconds");
        } else if let Some(value) = word
            .strip_prefix(key)
            .and_then(|rest| rest.strip_prefix('='))
        {
            let now = value.parse::<f64>().unwrap_or(f64::NEG_INFINITY) > level;
            if now && !high {
                found.push(time);
            }
            high = now;
        }
    }
    found
}

fn stays_together(source: &Path, sound: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.mp4");
    let [source, file] = [source, &out].map(|path| path.to_str().expect("a name in UTF-8"));
    let answer = rungs([
        "transcode",
        source,
        "-o",
        file,
        "--codec",
        "h264",
        "--speed",
        "13",
        "--segment",
        "10",
        "--audio",
        sound,
    ]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let flashes = onsets(
        &out,
        ["-vf", "signalstats"],
        ("lavfi.signalstats.YAVG", 120.0),
    );
    // Stretches of 5 ms: what they say of the onset is no further off.
    let beeps = onsets(
        &out,
        [
            "-af",
            "asetnsamples=240,astats=metadata=1:reset=1:measure_perchannel=none:measure_overall=RMS_level",
        ],
        ("lavfi.astats.Overall.RMS_level", -30.0),
    );
    assert_eq!((flashes.len(), beeps.len()), (FLASHES, FLASHES), "{sound}");
    for (place, (flash, beep)) in flashes.iter().zip(&beeps).enumerate() {
        let due = 5.0 + APART * place as f64;
        assert!(
            (flash - due).abs() < 0.001,
            "{sound}: the flash of {due} s is at {flash}"
        );
        assert!(
            (beep - flash).abs() < AUDIO_FRAME,
            "{sound}: a flash at {flash} s, its beep at {beep}"
        );
    }
    // Nothing creeps: the last pair is as far apart as the first, to a stretch.
    let apart = |place: usize| beeps[place] - flashes[place];
    assert!(
        (apart(FLASHES - 1) - apart(0)).abs() < 0.005,
        "{sound}: {} then {}",
        apart(0),
        apart(FLASHES - 1)
    );
}

#[test]
#[ignore = "an hour of video; `make test-full` runs it"]
fn an_hour_stays_together() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let source = hour();
    // Passed through, and at another rate.
    for sound in ["copy", "opus"] {
        stays_together(&source, sound);
    }
}
