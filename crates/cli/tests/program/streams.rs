//! Sources that still come: through a pipe, and as a file that grows.

use std::fs::{self, OpenOptions};
use std::io::{PipeWriter, Write, pipe};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Answer, Made, Running, check, package_line, published, ready, rungs};

const FRAGMENTS: &[&str] = &["-movflags", "+frag_keyframe+empty_moov"];

fn clip(container: &str, extra: &[&str]) -> Clip {
    let clip = Clip::new().size(320, 180).seconds(3.0).gop(24);
    clip.audio(Audio::Stereo).container(container).extra(extra)
}

/// Runs `package -` on what is written by the other thread.
fn piped(out: &Path, options: &[&str], write: impl FnOnce(PipeWriter) + Send) -> Answer {
    let (input, output) = pipe().expect("a pipe");
    let running = Running::start_on(input, package_line(Path::new("-"), out, options));
    thread::scope(|scope| {
        scope.spawn(move || write(output));
        running.end()
    })
}

/// Writes all of a file; a program that does not read on is no error here.
fn all_of(source: &Path) -> impl FnOnce(PipeWriter) + Send {
    let bytes = fs::read(source).expect("the clip is there");
    move |mut output| {
        output.write_all(&bytes).ok();
    }
}

fn expected(source: PathBuf) -> Expectation {
    Expectation {
        source: Some(source),
        segment_seconds: Some(1.0),
        audio: Some(true),
        ..Expectation::default()
    }
}

#[test]
fn what_comes_through_a_pipe_is_packaged_as_the_file_is() {
    if !ready() {
        return;
    }
    let options = ["--rung", "source"];
    for source in [
        clip("ts", &[]),
        clip("mkv", &[]),
        clip("mp4", &[]),
        clip("mp4", FRAGMENTS),
        clip("mp4", &[]).faststart(),
    ] {
        let source = source.make();
        let made = Made::by(|out| piped(out, &options, all_of(&source)));
        made.check(&expected(source.clone()));
        let file = Made::of(&source, &options);
        let (one, other) = (published(&made.out()), published(&file.out()));
        assert!(one.keys().eq(other.keys()), "{}", source.display());
        for (name, bytes) in &one {
            // What is told before the end depends on what was known then.
            let list = name
                .extension()
                .is_some_and(|kind| kind == "m3u8" || kind == "mpd");
            assert!(list || other[name] == *bytes, "{}", name.display());
        }
    }
}

#[test]
fn it_plays_before_the_input_ends() {
    if !ready() {
        return;
    }
    for source in [clip("ts", &[]), clip("mkv", &[]), clip("mp4", FRAGMENTS)] {
        let source = source.seconds(6.0).make();
        let bytes = fs::read(&source).expect("the clip is there");
        let (half, rest) = bytes.split_at(bytes.len() * 2 / 3);
        let (input, mut output) = pipe().expect("a pipe");
        let made = Made::by(|out| {
            let options = ["--rung", "source", "--progress", "json"];
            let line = package_line(Path::new("-"), out, &options);
            let mut running = Running::start_on(input, line);
            output.write_all(half).expect("it reads");
            running.wait_for("playable");
            let unfinished = Expectation {
                complete: false,
                segment_seconds: Some(1.0),
                ..Expectation::default()
            };
            check(out, &unfinished);
            output.write_all(rest).expect("it reads");
            drop(output);
            running.end()
        });
        made.check(&expected(source));
    }
}

#[test]
fn a_plain_file_is_made_of_a_pipe() {
    if !ready() {
        return;
    }
    let source = clip("mp4", &[]).make();
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("film.mp4");
    let (input, output) = pipe().expect("a pipe");
    let line = [
        "transcode",
        "-",
        "-o",
        to.to_str().expect("text"),
        "--speed",
        "12",
    ];
    let running = Running::start_on(input, line);
    let answer = thread::scope(|scope| {
        scope.spawn(|| all_of(&source)(output));
        running.end()
    });
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let left: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let probed = rungs(["probe", "--json", to.to_str().expect("text")]);
    let probed: serde_json::Value = serde_json::from_str(&probed.stdout).expect("JSON");
    assert_eq!(probed["tracks"][0]["frames_promised"], 72, "{probed}");
}

/// A job on the first part of a pipe that stays open, once it has made a segment.
fn half_way(out: &Path, options: &[&str]) -> (Running, PipeWriter, Vec<u8>) {
    let source = clip("ts", &[]).seconds(8.0).make();
    let mut bytes = fs::read(source).expect("the clip is there");
    let rest = bytes.split_off(bytes.len() / 2);
    let (input, mut output) = pipe().expect("a pipe");
    let options = [&["--progress", "json"], options].concat();
    let mut running = Running::start_on(input, package_line(Path::new("-"), out, &options));
    output.write_all(&bytes).expect("it reads");
    running.wait_for("segment");
    (running, output, rest)
}

#[test]
fn a_job_ends_though_its_pipe_does_not() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let (running, output, _) = half_way(&out, &["--rung", "source"]);
    let asked = Instant::now();
    running.interrupt();
    let answer = running.end();
    assert_eq!(answer.code, Some(130), "{}", answer.stderr);
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(answer.stderr.contains("--force"), "{}", answer.stderr);
    drop(output);

    let again = piped(&out, &["--rung", "source"], drop);
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    assert!(again.stderr.contains("comes once"), "{}", again.stderr);
    let resumed = rungs(["resume".as_ref(), out.as_os_str()]);
    assert_eq!(resumed.code, Some(3), "{}", resumed.stderr);
    assert!(resumed.stderr.contains("comes once"), "{}", resumed.stderr);
    let source = clip("ts", &[]).make();
    let file = rungs(package_line(&source, &out, &["--rung", "source"]));
    assert_eq!(file.code, Some(3), "{}", file.stderr);
    let afresh = piped(&out, &["--rung", "source", "--force"], all_of(&source));
    assert_eq!(afresh.code, Some(0), "{}", afresh.stderr);
    let resumed = rungs(["resume".as_ref(), out.as_os_str()]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert!(
        resumed.stdout.contains("nothing to do"),
        "{}",
        resumed.stdout
    );
}

#[test]
fn a_job_that_fails_lets_its_pipe_go() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let (running, mut output, rest) = half_way(&out, &["--rung", "source"]);
    fs::rename(out.join("video"), folder.path().join("gone")).expect("it is there");
    fs::write(out.join("video"), "in the way").expect("it can be written");
    output.write_all(&rest).ok();
    let answer = running.end();
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    drop(output);
}

#[test]
fn what_cannot_be_done_with_a_pipe_is_refused() {
    if !ready() {
        return;
    }
    let source = clip("ts", &[]).make();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let loud = piped(&out, &["--loudness", "-16"], all_of(&source));
    assert_eq!(loud.code, Some(3), "{}", loud.stderr);
    assert!(
        loud.stderr.contains("--loudness needs all of the source"),
        "{}",
        loud.stderr
    );
    let followed = piped(&out, &["--follow"], drop);
    assert_eq!(followed.code, Some(3), "{}", followed.stderr);
    let added = piped(&out, &["--add", "--rung", "240p"], drop);
    assert_eq!(added.code, Some(3), "{}", added.stderr);
    let empty = piped(&out, &[], drop);
    assert_eq!(empty.code, Some(3), "{}", empty.stderr);
    assert!(empty.stderr.contains("standard input"), "{}", empty.stderr);

    let fifo = folder.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe with a name");
    for name in [&fifo, Path::new("/dev/zero")] {
        let named = rungs(package_line(name, &out, &[]));
        assert_eq!(named.code, Some(3), "{}", named.stderr);
        assert!(
            named.stderr.contains("give - as the input"),
            "{}",
            named.stderr
        );
    }
    assert!(!out.exists());
}

#[test]
fn a_pipe_is_looked_at() {
    if !ready() {
        return;
    }
    let source = clip("mp4", &[]).make();
    let (input, output) = pipe().expect("a pipe");
    let running = Running::start_on(input, ["probe", "-"]);
    let answer = thread::scope(|scope| {
        scope.spawn(|| all_of(&source)(output));
        running.end()
    });
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.stdout.contains("320x180"), "{}", answer.stdout);
}

#[test]
fn a_file_is_packaged_while_it_grows() {
    if !ready() {
        return;
    }
    let source = clip("ts", &[]).seconds(6.0).make();
    let bytes = fs::read(&source).expect("the clip is there");
    let folder = tempfile::tempdir().expect("a folder");
    let growing = folder.path().join("growing.ts");
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    fs::write(&growing, half).expect("it can be written");
    let mut writer = OpenOptions::new()
        .append(true)
        .open(&growing)
        .expect("it is there");
    let options = ["--rung", "source", "--follow=3", "--progress", "json"];
    let made = Made::by(|out| {
        let mut running = Running::start(package_line(&growing, out, &options));
        running.wait_for("segment");
        writer.write_all(rest).expect("it can be written");
        running.end()
    });
    made.check(&expected(source));
}

#[test]
fn a_file_that_is_followed_and_changed_fails_the_job() {
    if !ready() {
        return;
    }
    let source = clip("ts", &[]).seconds(6.0).make();
    let folder = tempfile::tempdir().expect("a folder");
    let (growing, out) = (folder.path().join("growing.ts"), folder.path().join("out"));
    let bytes = fs::read(&source).expect("the clip is there");
    fs::write(&growing, &bytes[..bytes.len() / 2]).expect("it can be written");
    let options = ["--rung", "source", "--follow=100", "--progress", "json"];
    let mut running = Running::start(package_line(&growing, &out, &options));
    running.wait_for("segment");
    OpenOptions::new()
        .write(true)
        .open(&growing)
        .and_then(|file| file.set_len(1000))
        .expect("it can be cut");
    let answer = running.end();
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    assert!(
        answer.stderr.contains("changed while it was read"),
        "{}",
        answer.stderr
    );
}

#[test]
fn what_comes_once_is_kept_up_to_its_limit() {
    if !ready() {
        return;
    }
    let source = clip("ts", &[]).make();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let told = |answer: Answer, wanted: &str| {
        assert!(matches!(answer.code, Some(1 | 3)), "{answer:?}");
        assert!(answer.stderr.contains(wanted), "{answer:?}");
        assert!(answer.stderr.contains("--max-source"), "{answer:?}");
    };
    let less = ["--max-source", "10000"];
    told(
        piped(&out, &less, all_of(&source)),
        "larger than 10000 bytes",
    );
    // Of a file it is known before anything is read.
    let file = fs::File::open(&source).expect("the clip is there");
    let running = Running::start_on(file, package_line(Path::new("-"), &out, &less));
    told(running.end(), "larger than 10000 bytes");
    let follow = [&["--follow"][..], &less].concat();
    told(
        rungs(package_line(&source, &out, &follow)),
        "larger than 10000 bytes",
    );
    let enough = ["--max-source", "4M", "--rung", "source"];
    let answer = piped(&out, &enough, all_of(&source));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
}
