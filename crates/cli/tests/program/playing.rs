//! A player that reads the package while it is written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::reader;

use crate::support::{check, package_line, ready, rungs};

#[test]
fn a_reader_is_never_lied_to() {
    if !ready() {
        return;
    }
    let clip = Clip::new().size(320, 180).seconds(10.0);
    let source = clip.audio(Audio::Stereo).make();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let rest = ["--rung", "180p@speed=8", "--rung", "90p"];
    let stop = AtomicBool::new(false);
    let (answer, watched) = thread::scope(|scope| {
        let watching = scope.spawn(|| reader::watch(&out, &stop));
        let answer = rungs(package_line(&source, &out, &rest));
        stop.store(true, Ordering::Release);
        (answer, watching.join().expect("the reader does not panic"))
    });
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert_eq!(watched.findings, []);
    assert!(
        watched.early,
        "nothing could be played before the end: {watched:?}"
    );
    // Three tracks of ten segments, and their initialisation segments.
    assert_eq!(watched.files, 33);
    assert!(watched.versions > 6, "{watched:?}");
    check(
        &out,
        &Expectation {
            segment_seconds: Some(1.0),
            ..Expectation::default()
        },
    );
}
