//! Sources with few frames: slides and lectures are packaged as they are, and files that claim days with some kilobytes are not.

use std::path::PathBuf;

use rungs_testkit::clips;

use crate::support::{Made, package_line, ready, rungs};

const QUICK: [&str; 6] = ["--codec", "h264", "--speed", "fastest", "--segment", "30"];

/// Frames of which each is shown for so many seconds.
fn slides(count: u32, seconds: u32, container: &str, audio: &str) -> PathBuf {
    let words = format!(
        "-f lavfi -i testsrc2=size=64x64:rate=1:duration={count},settb=1/1000,setpts=N*{seconds}*1000 {audio} \
         -fps_mode passthrough -enc_time_base 1/1000 -c:v libx264 -preset ultrafast -threads 1"
    );
    clips::of_words(&words, container).expect("a clip")
}

fn seconds(made: &Made) -> f64 {
    made.report["seconds"].as_f64().expect("a number")
}

#[test]
fn slides_and_lectures_are_packaged_to_their_end() {
    if !ready() {
        return;
    }
    let noise = "-f lavfi -i anoisesrc=d=1200:r=8000 -c:a aac -b:a 8k";
    for (source, wanted) in [
        (slides(180, 10, "mkv", ""), 1790.0),
        (slides(20, 60, "mp4", noise), 1140.0),
    ] {
        let made = Made::of(&source, &QUICK);
        assert!(made.warnings().is_empty(), "{:?}", made.warnings());
        let seconds = seconds(&made);
        assert!((wanted..wanted + 61.0).contains(&seconds), "{seconds} s");
    }
}

#[test]
fn a_few_frames_do_not_become_hours() {
    if !ready() {
        return;
    }
    // 16 frames, a quarter of an hour each: 3.75 hours of less than 60 kB.
    let source = slides(16, 900, "mkv", "");
    let bytes = std::fs::metadata(&source).expect("a file").len();
    assert!(bytes < 60_000, "{bytes} bytes");
    let made = Made::of(&source, &QUICK);
    assert_eq!(made.warnings(), ["sparse"]);
    let cut = seconds(&made);
    assert!((3500.0..4300.0).contains(&cut), "{cut} s");
    assert!(
        made.answer.stderr.contains("--end"),
        "{}",
        made.answer.stderr
    );
    let verified = rungs(["verify".as_ref(), made.out().as_os_str()]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);

    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("strict");
    let strict = [&QUICK[..], &["--strict"]].concat();
    let answer = rungs(package_line(&source, &out, &strict));
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    assert!(answer.stderr.contains("--end"), "{}", answer.stderr);

    // Who says how long it is, gets it.
    let told = [&QUICK[..], &["--end", "5400"]].concat();
    let made = Made::of(&source, &told);
    assert!(
        !made.warnings().contains(&"sparse"),
        "{:?}",
        made.warnings()
    );
    let seconds = seconds(&made);
    assert!((4500.0..5401.0).contains(&seconds), "{seconds} s");
}
