//! Series of images as sources.

use std::fs;
use std::path::{Path, PathBuf};

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::Clip;
use rungs_testkit::tool;
use tempfile::TempDir;

use crate::support::{Made, Running, package_line, published, ready, rungs};

/// Images of a clip at 25 a second, the usual rate of FFmpeg's own reader of such, which the checker uses.
fn images(count: u32, kind: &str, options: &[&str]) -> Option<(TempDir, PathBuf)> {
    let clip = Clip::new().size(320, 180).rate("25").frames(count).make();
    let folder = tempfile::tempdir().expect("a folder");
    let pattern = folder.path().join(format!("f%04d.{kind}"));
    let run = tool::ffmpeg().arg("-i").arg(&clip).args(options);
    run.arg(&pattern).run().ok()?;
    Some((folder, pattern))
}

const AT_25: [&str; 4] = ["--images", "25", "--rung", "source"];

#[test]
fn every_kind_of_image_becomes_a_film() {
    if !ready() {
        return;
    }
    let mut made_of = 0;
    for (kind, options) in [
        ("png", &[][..]),
        ("jpg", &["-q:v", "2"]),
        (
            "webp",
            &["-c:v", "libwebp", "-lossless", "1", "-f", "image2"],
        ),
        ("bmp", &[]),
        ("tiff", &[]),
        ("dpx", &[]),
        ("exr", &["-pix_fmt", "gbrpf32le"]),
    ] {
        let Some((_folder, pattern)) = images(30, kind, options) else {
            continue;
        };
        let made = Made::of(&pattern, &AT_25);
        // FFmpeg's program takes the light that is in EXR for what screens are sent.
        let alike = kind != "exr";
        made.check(&Expectation {
            source: alike.then_some(pattern),
            frames: Some(30),
            segment_seconds: Some(1.0),
            audio: Some(false),
            renditions: Some(1),
            ..Expectation::default()
        });
        assert_eq!(
            made.report["plan"]["source"]["promised_frames"], 30,
            "{kind}"
        );
        made_of += 1;
    }
    assert!(made_of >= 5, "only {made_of} kinds could be made");
}

#[test]
fn a_folder_gives_what_a_pattern_gives_and_missing_ones_are_told() {
    if !ready() {
        return;
    }
    let (folder, pattern) = images(30, "png", &[]).expect("images");
    fs::remove_file(folder.path().join("f0011.png")).expect("it is there");
    fs::remove_file(folder.path().join("f0012.png")).expect("it is there");
    fs::write(folder.path().join("notes.txt"), "none").expect("it can be written");
    let by_pattern = Made::of(&pattern, &AT_25);
    assert_eq!(by_pattern.warnings(), ["images_missing"]);
    assert!(
        by_pattern.answer.stderr.contains("2 numbers are missing"),
        "{}",
        by_pattern.answer.stderr
    );
    assert_eq!(by_pattern.report["read"]["frames_packaged"], 28);
    let by_folder = Made::of(folder.path(), &AT_25);
    assert!(published(&by_pattern.out()) == published(&by_folder.out()));
}

#[test]
fn images_are_read_from_several_places_and_gone_on_with() {
    if !ready() {
        return;
    }
    let (_folder, pattern) = images(150, "png", &[]).expect("images");
    let straight = Made::of(&pattern, &AT_25);
    let several = [&AT_25[..], &["--decoders", "3"]].concat();
    let several = Made::of(&pattern, &several);
    assert!(published(&straight.out()) == published(&several.out()));

    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let options = [&AT_25[..], &["--progress", "json", "--jobs", "1"]].concat();
    let mut running = Running::start(package_line(&pattern, &out, &options));
    running.wait_for("segment");
    running.interrupt();
    assert_eq!(running.end().code, Some(130));
    let resumed = rungs(["resume".as_ref(), out.as_os_str()]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert!(published(&out) == published(&straight.out()));
}

#[test]
fn one_of_another_size_is_scaled_and_a_broken_one_is_told() {
    if !ready() {
        return;
    }
    let (folder, pattern) = images(30, "png", &[]).expect("images");
    let large = folder.path().join("f0005.png");
    let run = tool::ffmpeg().args(["-y", "-f", "lavfi", "-i", "testsrc2=size=640x360"]);
    let run = run.args(["-frames:v", "1"]).arg(&large).run();
    run.expect("an image");
    let scaled = Made::of(&pattern, &AT_25);
    assert_eq!(scaled.report["read"]["frames_packaged"], 30);
    assert_eq!(scaled.report["plan"]["source"]["shown"]["width"], 320);

    fs::write(&large, "broken").expect("it can be written");
    let damaged = Made::of(&pattern, &AT_25);
    assert_eq!(damaged.warnings(), ["damaged"]);
    let strict = [&AT_25[..], &["--strict"]].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let answer = rungs(package_line(&pattern, &folder.path().join("out"), &strict));
    assert_ne!(answer.code, Some(0));
}

#[test]
fn what_is_no_series_is_refused() {
    if !ready() {
        return;
    }
    let (folder, pattern) = images(2, "png", &[]).expect("images");
    let out = folder.path().join("out");
    let refused = |input: &Path, options: &[&str], text: &str| {
        let answer = rungs(package_line(input, &out, options));
        assert_ne!(answer.code, Some(0));
        assert!(answer.stderr.contains(text), "{}", answer.stderr);
        assert!(!out.exists());
    };
    refused(&pattern, &[], "No such file");
    refused(&folder.path().join("g%d.png"), &AT_25, "no image");
    refused(
        &folder.path().join("f0001.png"),
        &AT_25,
        "neither a folder nor a name",
    );
    refused(&pattern, &["--images", "0"], "no rate of pictures");
    fs::copy(folder.path().join("f0001.png"), folder.path().join("x.jpg")).expect("a copy");
    refused(folder.path(), &AT_25, "several kinds");
    // What an image calls itself leads nowhere.
    fs::remove_file(folder.path().join("x.jpg")).expect("it is there");
    fs::write(
        folder.path().join("f0001.png"),
        "#EXTM3U\n#EXTINF:1,\nfilm.ts\n",
    )
    .expect("text");
    refused(&pattern, &AT_25, "not a media file");
}
