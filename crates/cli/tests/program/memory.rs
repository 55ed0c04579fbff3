//! Pictures that are large for the memory: what does not fit is fed to its encoders, and comes out the same.

use std::path::Path;

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::Clip;
use rungs_testkit::digest::package_digest;
use serde_json::Value;

use crate::support::{Made, package_line, ready, rungs};

fn digest(made: &Made) -> String {
    package_digest(&made.out()).expect("a package").to_string()
}

fn number(report: &Value, path: &str) -> u64 {
    let value = report.pointer(path).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("{path} is no number"))
}

/// Packages with little memory and with plenty, and asks for the same bytes. Gives the report of the first.
fn same_with_little(source: &Path, options: &[&str], little: &[&str]) -> Value {
    let plenty = Made::of(source, &[options, &["--memory", "16G"]].concat());
    // Colours lose more than brightness when they are made so small: pictures are compared by the bytes alone.
    plenty.check(&Expectation::default());
    let frames = number(&plenty.report, "/read/frames_decoded");
    let made = Made::of(source, &[options, little].concat());
    assert_eq!(digest(&made), digest(&plenty));
    assert_eq!(number(&made.report, "/read/frames_packaged"), frames);
    // What there was no encoder for was decoded again, and the report says so.
    assert!(number(&made.report, "/read/frames_decoded") >= frames);
    made.report
}

/// Two spans of 83 MB each.
fn small() -> std::path::PathBuf {
    Clip::new()
        .size(1280, 720)
        .rate("30")
        .seconds(4.0)
        .gop(30)
        .color("bt709", "bt709", "bt709")
        .make()
}

#[test]
fn spans_that_do_not_fit_come_out_the_same() {
    if !ready() {
        return;
    }
    let options = ["--segment", "2", "--rung", "180p", "--rung", "90p"];
    for jobs in ["1", "2"] {
        let little = ["--memory", "64M", "--jobs", jobs];
        let report = same_with_little(&small(), &options, &little);
        let charged = number(&report, "/cost/peak_charged");
        assert!(
            charged <= 64 << 20,
            "{charged} bytes of 64 MiB were charged"
        );
    }
}

#[test]
fn memory_in_which_nothing_can_be_fed_is_refused_with_the_figures() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let answer = rungs(package_line(
        &small(),
        &out,
        &["--rung", "180p", "--memory", "8M"],
    ));
    assert_eq!(answer.code, Some(3), "{}", answer.stderr);
    assert!(answer.stderr.contains("MiB"), "{}", answer.stderr);
    assert!(!out.exists());
}

#[test]
#[ignore = "2160p at 60 pictures a second takes minutes; `make test-full` runs it"]
fn large_pictures_at_a_high_rate_are_made_in_four_gibibytes() {
    if !ready() {
        return;
    }
    let source = Clip::new()
        .size(3840, 2160)
        .rate("60")
        .seconds(4.0)
        .gop(60)
        .color("bt709", "bt709", "bt709")
        .extra(&["-preset", "ultrafast"])
        .make();
    let rungs = ["2160p", "1080p", "540p"]
        .map(|rung| ["--rung", rung])
        .concat();
    let options = [&["--segment", "4"], &rungs[..]].concat();
    let report = same_with_little(&source, &options, &["--memory", "4G", "--jobs", "1"]);
    let peak = number(&report, "/cost/peak_memory");
    assert!(peak <= 4 << 30, "{} MiB", peak >> 20);
}
