//! Bad sources and bad requests: the right exit code, a message that helps, and nothing written where nothing was done.

use std::fs;
use std::path::Path;
use std::process::Command;

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{self, Clip};
use rungs_testkit::tool;

use crate::support::{Answer, check, package_line, ready, report, rungs};

/// Asks for a refusal that tells what, and what to do, in few lines; gives the message.
fn refused(source: &Path, options: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("deep/out");
    let answer = rungs(package_line(source, &out, options));
    let name = source.display();
    assert_three_parts(&answer, &name.to_string());
    assert!(
        !out.exists() && !folder.path().join("deep").exists(),
        "{name}: a folder was made"
    );
    answer.stderr
}

fn assert_three_parts(answer: &Answer, name: &str) {
    let text = &answer.stderr;
    assert_eq!(answer.code, Some(3), "{name}: {text}");
    assert_eq!(answer.stdout, "", "{name}");
    assert!(text.starts_with("error: "), "{name}: {text}");
    assert!(text.contains("\n  try: "), "{name}: {text}");
    assert!(text.lines().count() <= 6, "{name}: {text}");
    assert!(!text.contains("panicked"), "{name}: {text}");
}

#[test]
fn what_is_no_file_to_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = refused(&folder.path().join("absent.mp4"), &[]);
    assert!(
        absent.contains("absent.mp4") && absent.contains("No such file"),
        "{absent}"
    );
    refused(folder.path(), &[]);
    let elsewhere = refused(Path::new("ftp://me:word@host/film.mp4"), &[]);
    assert!(
        elsewhere.contains("ftp is no scheme") && !elsewhere.contains("me:word"),
        "{elsewhere}"
    );
}

#[test]
fn what_is_no_film() {
    if !ready() {
        return;
    }
    for made in [
        clips::empty(),
        clips::text(),
        clips::moov_less(),
        clips::huge_dimensions(),
    ] {
        refused(&made.expect("it can be made"), &[]);
    }
    let audio = refused(&clips::audio_only().expect("it can be made"), &[]);
    assert!(audio.contains("no video"), "{audio}");
    let cover = refused(&clips::cover_art_only().expect("it can be made"), &[]);
    assert!(cover.contains("no video"), "{cover}");
}

#[test]
fn a_playlist_that_leads_elsewhere() {
    if !ready() {
        return;
    }
    let clip = Clip::new().size(320, 180).frames(24).container("ts").make();
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(&clip, folder.path().join("part.ts")).expect("a copy");
    let playlist =
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n";
    let film = folder.path().join("film.mp4");
    fs::write(&film, playlist).expect("a file");
    refused(&film, &[]);
}

#[test]
fn a_track_without_a_picture() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let film = folder.path().join("nothing.mkv");
    let run = tool::ffmpeg().args(["-f", "lavfi", "-i", "testsrc2=size=320x180"]);
    run.args(["-c:v", "libx264", "-frames:v", "0"])
        .arg(&film)
        .run()
        .expect("it can be made");
    refused(&film, &[]);
}

#[test]
fn rungs_that_cannot_be() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(320, 180).frames(24).make();
    let larger = refused(&source, &["--rung", "1080p"]);
    assert!(larger.contains("larger than the source"), "{larger}");
    let smaller = refused(&source, &["--rung", "32p"]);
    assert!(smaller.contains("64x64"), "{smaller}");
    refused(&source, &["--rung", "180p", "--rung", "180p"]);
}

#[test]
fn too_little_memory() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(320, 180).frames(24).make();
    let text = refused(&source, &["--memory", "1M"]);
    assert!(text.contains("--memory "), "{text}");
    // What it says is enough must be enough.
    let words = text
        .split_whitespace()
        .skip_while(|word| *word != "--memory");
    let enough = words.skip(1).map(|word| word.trim_end_matches(',')).next();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let options = ["--memory", enough.expect("a number")];
    let answer = rungs(package_line(&source, &out, &options));
    assert_eq!(answer.code, Some(0), "{options:?}: {}", answer.stderr);
}

#[test]
fn an_output_that_is_taken() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(320, 180).frames(24).make();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "mine").expect("a file");
    let answer = rungs(package_line(&source, &file, &[]));
    assert_three_parts(&answer, "a file as output");
    let answer = rungs(package_line(&source, folder.path(), &[]));
    assert_three_parts(&answer, "a folder with a file in it");
    assert!(answer.stderr.contains("--force"), "{}", answer.stderr);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);

    let answer = rungs(package_line(&source, folder.path(), &["--force"]));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert_eq!(fs::read(&file).expect("it is there"), b"mine");
}

#[test]
fn a_package_makes_room_for_the_next() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    for (seconds, options) in [(3.0, ["--rung", "180p"]), (1.0, ["--rung", "90p"])] {
        let source = Clip::new().size(320, 180).seconds(seconds).make();
        let options = [&options[..], &["--force"]].concat();
        let answer = rungs(package_line(&source, &out, &options));
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        let expect = Expectation {
            source: Some(source),
            renditions: Some(1),
            ..Expectation::default()
        };
        check(&out, &expect);
    }
    assert!(!out.join("video/av1-180p").exists());
}

#[test]
fn wrong_usage() {
    let usage = |line: &[&str]| {
        let answer = rungs(line);
        assert_eq!(answer.code, Some(2), "{line:?}: {}", answer.stderr);
        assert!(answer.stderr.starts_with("error: "), "{}", answer.stderr);
    };
    usage(&["package"]);
    usage(&["package", "film.mp4"]);
    usage(&["package", "film.mp4", "-o", "out", "--rung", "large"]);
    usage(&[
        "package",
        "film.mp4",
        "-o",
        "out",
        "--rung",
        "720p@tune=film",
    ]);
    usage(&["package", "film.mp4", "-o", "out", "--crf", "64"]);
    usage(&[
        "package",
        "film.mp4",
        "-o",
        "out",
        "--crf",
        "30",
        "--quality",
        "high",
    ]);
    usage(&["package", "film.mp4", "-o", "out", "--speed", "ludicrous"]);
    usage(&["package", "film.mp4", "-o", "out", "--jobs", "0"]);
    usage(&["package", "film.mp4", "-o", "out", "--memory", "much"]);
    usage(&["package", "film.mp4", "-o", "out", "--codec", "divx"]);
    usage(&["unpackage"]);
}

#[test]
fn settings_that_contradict_each_other() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(320, 180).frames(24).make();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    for options in [
        ["--segment", "0.01"],
        ["--segment", "nan"],
        ["--gop", "5"],
        ["--gop", "0"],
    ] {
        let answer = rungs(package_line(&source, &out, &options));
        assert_eq!(answer.code, Some(3), "{options:?}: {}", answer.stderr);
        assert!(answer.stderr.starts_with("error: "), "{}", answer.stderr);
        assert!(!out.exists(), "{options:?}");
    }
}

#[test]
fn a_file_that_ends_too_soon() {
    if !ready() {
        return;
    }
    let whole = Clip::new().size(320, 180).seconds(5.0).faststart().make();
    let cut = clips::truncate(&whole, 60).expect("it can be cut");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let answer = rungs(package_line(&cut, &out, &[]));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.stderr.starts_with("warning: "), "{}", answer.stderr);
    let warnings = report(&out)["warnings"].clone();
    assert_eq!(warnings[0]["kind"], "truncated", "{warnings}");
    let expect = Expectation {
        segment_seconds: Some(1.0),
        ..Expectation::default()
    };
    let checked = check(&out, &expect);
    let seconds = checked.renditions[0].seconds;
    assert!((1.0..4.5).contains(&seconds), "{seconds} s");

    let strict = folder.path().join("strict");
    let answer = rungs(package_line(&cut, &strict, &["--strict"]));
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    assert!(answer.stderr.starts_with("error: "), "{}", answer.stderr);
    assert!(answer.stderr.contains("--strict"), "{}", answer.stderr);
    assert!(!strict.join("report.json").exists());
}

/// A file system of 64 kB on a folder, taken away at the end.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "rungs-test"])
            .arg(folder.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
        {
            eprintln!("SKIPPED: a small file system cannot be mounted here");
        }
        None
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0.path()).status().ok();
    }
}

#[test]
fn a_disk_that_is_full() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(320, 180).seconds(4.0).make();
    let Some(disk) = Tiny::mount() else { return };
    let out = disk.0.path().join("out");
    let answer = rungs(package_line(&source, &out, &["--crf", "15"]));
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    let text = &answer.stderr;
    // Told before the work began, with figures; then it came to pass.
    for part in [
        "warning: what is to be written may take ",
        " kB for it: ",
        "\nerror: ",
        "No space left",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(text.contains("\n  try: make room"), "{text}");
    assert!(!out.join("report.json").exists());
}

#[test]
fn sources_that_are_too_small() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = |width, height| {
        let clip = Clip::new().size(width, height).seconds(0.5);
        clip.codec("ffv1").container("mkv").make()
    };
    for (size, reason) in [
        ((1, 1), "too small"),
        ((1, 64), "too small"),
        ((10, 10), "64x64"),
    ] {
        let out = folder.path().join("out");
        let answer = rungs(package_line(&source(size.0, size.1), &out, &[]));
        assert_eq!(answer.code, Some(3), "{}", answer.stderr);
        assert!(answer.stderr.contains(reason), "{}", answer.stderr);
        assert!(!answer.stderr.contains("damaged"), "{}", answer.stderr);
        let (_, advice) = answer.stderr.split_once("  try: ").expect("advice");
        if let Some((_, filter)) = advice.trim().split_once("--filter ") {
            let options = ["--filter", filter, "--inspect", "off"];
            let line = package_line(&source(size.0, size.1), &out, &options);
            let answer = rungs(line);
            assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        }
    }
}

#[test]
fn no_output_name_reaches_a_terminal_as_it_is() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = Clip::new().size(64, 64).seconds(0.5).make();
    let name = "a\u{1b}]0;b\u{7}\u{9b}1m\u{7f}\u{202e}\u{85}c";
    let out = folder.path().join(name);
    let clean = |text: &str| {
        let odd = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(odd), "{text:?}");
    };
    let shown = |text: &str| {
        assert!(
            text.contains("\\u{1b}]0;b\\u{7}\\u{9b}1m\\u{7f}\\u{202e}\\u{85}c"),
            "{text}"
        );
        clean(text);
    };
    let made = rungs(package_line(&source, &out, &[]));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    shown(&made.stdout);
    let again = rungs(package_line(&source, &out, &[]));
    shown(&again.stdout);
    shown(&rungs(package_line(&source, &out, &["--force"])).stderr);
    shown(&rungs(package_line(&source, &out, &["--crf", "40"])).stderr);
    shown(&rungs(["probe".as_ref(), out.as_os_str()]).stderr);
    shown(&rungs(["verify".as_ref(), out.join("video").as_os_str()]).stderr);
    clean(&rungs(["package", "--speed", name]).stderr);
}
