//! Thumbnails, the poster and keyframes: what is made of a package's segments besides.

use std::fs;
use std::path::Path;

use rungs_engine::journal::JobFolder;
use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::tool;

use crate::support::{Made, Running, check, package_line, published, ready, rungs};

fn expect() -> Expectation {
    Expectation {
        segment_seconds: Some(1.0),
        ..Expectation::default()
    }
}

/// Red, green and blue of an image's pixel as FFmpeg sees them.
fn pixel(image: &Path, (x, y): (u32, u32)) -> [u8; 3] {
    let at = format!("format=rgb24,crop=1:1:{x}:{y}");
    let run = tool::ffmpeg().arg("-i").arg(image);
    let run = run.args(["-vf", &at, "-f", "rawvideo", "pipe:1"]);
    let answer = run.run().expect("an image");
    answer.stdout[..].try_into().expect("one pixel")
}

/// A clip of four seconds that is black for two, and then of one colour with a white stripe at its left.
fn late_color(color: &str) -> std::path::PathBuf {
    let source = format!(
        "color=c=black:s=320x180:r=24:d=2,format=yuv420p[a];color=c={color}:s=320x180:r=24:d=2,drawbox=0:0:40:180:white:fill,\
         scale=out_color_matrix=bt709:out_range=tv,format=yuv420p[b];[a][b]concat"
    );
    let path = tempfile::Builder::new()
        .suffix(".mp4")
        .tempfile()
        .expect("a file")
        .into_temp_path()
        .keep()
        .expect("a file");
    let run = tool::ffmpeg().args(["-filter_complex", &source, "-c:v", "libx264", "-qp", "0"]);
    let run = run.args([
        "-colorspace",
        "bt709",
        "-color_primaries",
        "bt709",
        "-color_trc",
        "bt709",
    ]);
    run.args(["-color_range", "tv", "-y"])
        .arg(&path)
        .run()
        .expect("a clip");
    path
}

#[test]
fn keyframes_thumbnails_and_poster_are_what_the_segments_show() {
    if !ready() {
        return;
    }
    let source = late_color("0x4080c0");
    let options = [
        "--rung",
        "180p",
        "--rung",
        "90p",
        "--codec",
        "av1,h264",
        "--quality",
        "high",
    ];
    let made = Made::of(
        &source,
        &[&options[..], &["--storyboard", "--poster"]].concat(),
    );
    made.check(&expect());
    let out = made.out();
    let master = fs::read_to_string(out.join("master.m3u8")).expect("text");
    assert_eq!(
        master.matches("#EXT-X-I-FRAME-STREAM-INF").count(),
        4,
        "{master}"
    );
    assert_eq!(
        master.matches("#EXT-X-IMAGE-STREAM-INF").count(),
        1,
        "{master}"
    );
    // Four thumbnails in one row, black, black, and two in colour.
    let tile = out.join("storyboard/tile-00000.jpg");
    let near = |found: [u8; 3], wanted: [u8; 3]| {
        let apart = found.iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b));
        assert!(apart.max() <= Some(6), "{found:?}, not {wanted:?}");
    };
    near(pixel(&tile, (80, 45)), [0, 0, 0]);
    near(pixel(&tile, (160 * 2 + 100, 45)), [0x40, 0x80, 0xc0]);
    near(pixel(&tile, (160 * 3 + 5, 45)), [255, 255, 255]);
    // The first tenths are black.
    let poster = out.join("poster.jpg");
    near(pixel(&poster, (200, 90)), [0x40, 0x80, 0xc0]);
    near(pixel(&poster, (10, 90)), [255, 255, 255]);
    let answer = rungs(["verify".as_ref(), out.as_os_str()]);
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
    // What is damaged is found, and made again.
    let before = published(&out);
    fs::write(&poster, b"other").expect("a file");
    let answer = rungs(["verify".as_ref(), out.as_os_str()]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stdout.contains("poster.jpg"), "{}", answer.stdout);
    let answer = rungs(["resume".as_ref(), out.as_os_str()]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(published(&out) == before);
}

#[test]
fn thumbnails_come_at_the_interval_asked_for_and_the_poster_at_its_time() {
    if !ready() {
        return;
    }
    let source = late_color("0xc04080");
    let options = ["--rung", "180p", "--storyboard=1.5", "--poster=00:00:01"];
    let made = Made::of(&source, &options);
    made.check(&expect());
    let text = fs::read_to_string(made.out().join("storyboard/thumbnails.vtt")).expect("text");
    // At 0, 1.5 and 3 s.
    assert_eq!(text.matches("-->").count(), 3, "{text}");
    assert!(text.contains("00:00:03.000 --> 00:00:04.000\ntile-00000.jpg#xywh=320,0,160,90"));
    let tile = made.out().join("storyboard/tile-00000.jpg");
    assert!(pixel(&tile, (160 + 80, 45)).iter().all(|level| *level < 6));
    assert!(pixel(&tile, (320 + 80, 45))[0] > 150);
    assert!(
        pixel(&made.out().join("poster.jpg"), (100, 90))
            .iter()
            .all(|level| *level < 6)
    );
}

#[test]
fn a_damaged_image_takes_away_what_names_it_and_nothing_else() {
    if !ready() {
        return;
    }
    let source = late_color("0x40c080");
    let made = Made::of(&source, &["--rung", "90p", "--storyboard", "--poster"]);
    let out = made.out();
    let before = published(&out);
    for (image, lists) in [
        ("poster.jpg", &[][..]),
        (
            "storyboard/tile-00000.jpg",
            &["storyboard/images.m3u8", "storyboard/thumbnails.vtt"],
        ),
    ] {
        fs::write(out.join(image), b"other").expect("a file");
        // A run that ends before it makes anything.
        let folder = JobFolder::claim(&out).expect("nobody else is there");
        let record = folder.record().expect("it is whole").expect("it is there");
        drop(folder.resume(&record.plan).expect("it can be gone on with"));
        let there = published(&out);
        for (name, bytes) in before.iter().filter(|(name, _)| !name.ends_with(image)) {
            let shown = name.display();
            let found = there.get(name);
            if lists.iter().any(|list| name.ends_with(list)) {
                assert!(found.is_none(), "{image}: {shown} is there");
            } else if !lists.is_empty() && name.components().count() == 1 && !is_image(name) {
                let text = String::from_utf8_lossy(found.expect("it stays"));
                assert!(!text.contains("storyboard"), "{image}: {shown}: {text}");
                assert!(text.contains("video/av1-90p"), "{image}: {shown}: {text}");
            } else {
                assert!(found == Some(bytes), "{image}: {shown} is not as before");
            }
        }
        let answer = rungs(["resume".as_ref(), out.as_os_str()]);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        assert!(published(&out) == before, "{image}");
    }
}

fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "jpg")
}

#[test]
fn a_run_that_was_killed_comes_to_the_same_images() {
    if !ready() {
        return;
    }
    let clip = Clip::new().size(320, 180).seconds(5.0).audio(Audio::Mono);
    let source = clip.make();
    let options = [
        "--rung",
        "180p",
        "--storyboard",
        "--poster",
        "--progress",
        "json",
    ];
    let whole = Made::of(&source, &options);
    for events in [3, 9, 16] {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        let line = package_line(&source, &out, &options);
        Running::start(&line).kill_after(events, std::time::Duration::from_mins(1));
        let answer = rungs(&line);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        assert!(published(&out) == published(&whole.out()), "after {events}");
    }
    // Another rung: the thumbnails are made of the smaller one.
    let line = package_line(&source, &whole.out(), &["--rung", "90p", "--add"]);
    let answer = rungs(&line);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    check(&whole.out(), &expect());
    let answer = rungs(["verify".as_ref(), whole.out().as_os_str()]);
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
}

#[test]
fn a_poster_of_hdr_that_was_kept_looks_like_one_of_standard_range() {
    if !ready() || tool::require_encoder("libx265").is_none() {
        return;
    }
    let clip = Clip::new().size(320, 180).seconds(2.0).codec("libx265");
    let clip = clip.pixel_format("yuv420p10le").container("mkv");
    let source = clip.color("bt2020", "smpte2084", "bt2020nc").make();
    let poster = |color: &str| {
        let options = [
            "--rung",
            "180p",
            "--quality",
            "high",
            "--poster=1",
            "--color",
            color,
        ];
        Made::of(&source, &options)
    };
    let (kept, mapped) = (poster("keep"), poster("sdr"));
    for at in [(40, 40), (160, 90), (280, 140), (300, 20)] {
        let pixels = [&kept, &mapped].map(|made| pixel(&made.out().join("poster.jpg"), at));
        let apart = pixels[0]
            .iter()
            .zip(&pixels[1])
            .map(|(a, b)| a.abs_diff(*b));
        assert!(apart.max() <= Some(16), "{pixels:?} at {at:?}");
    }
}
