//! The program killed at its changes of files, one after the other, whoever makes them: itself, `SQLite` or FFmpeg. The same command again
//! comes to the same files, and leaves nothing else.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::killing::{self, Ended};

use crate::support::{files, package_line, ready, rungs};

/// What a command makes, by name, without what tells times.
type Made = BTreeMap<PathBuf, Vec<u8>>;

struct Scenario {
    /// Makes what is there before.
    before: fn(&Path),
    /// The command, which works in a folder.
    line: fn(&Path) -> Vec<OsString>,
    /// Files that are no result: they tell times, or are a package's own.
    aside: fn(&Path) -> bool,
    /// Whether files are whole as soon as they are there.
    whole_or_absent: bool,
}

/// A folder in memory, where there is such a thing.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.expect("a folder")
}

fn copied(from: &Path) -> tempfile::TempDir {
    let to = folder();
    for (path, bytes) in files(from) {
        let path = to.path().join(path);
        fs::create_dir_all(path.parent().expect("it is below")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    to
}

/// How many kills of each command: `KILLS`, else few.
fn kills() -> u64 {
    let text = std::env::var("KILLS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(2)
}

fn clip() -> PathBuf {
    let clip = Clip::new().size(64, 48).seconds(1.5);
    clip.audio(Audio::Stereo).make()
}

/// The fastest options.
const QUICK: [&str; 8] = [
    "--codec",
    "h264",
    "--speed",
    "13",
    "--segment",
    "0.5",
    "--inspect",
    "off",
];

fn command(name: &str, sources: &[PathBuf], out: &Path, options: &[&str]) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec![name.into()];
    line.extend(sources.iter().map(OsString::from));
    line.extend(["-o".into(), out.into()]);
    line.extend(QUICK.iter().chain(options).map(OsString::from));
    line
}

fn package(source: &Path, out: &Path, options: &[&str]) -> Vec<OsString> {
    package_line(source, out, &[&QUICK[..], options].concat())
}

fn nothing(_: &Path) {}

fn is_report(path: &Path) -> bool {
    path.ends_with("report.json")
}

fn is_own(path: &Path) -> bool {
    is_report(path) || path.components().any(|part| part.as_os_str() == ".rungs")
}

fn run(line: &[OsString]) {
    let answer = rungs(line);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
}

fn trace(line: &[OsString], folder: &Path, at: u64) -> Ended {
    let mut whole: Vec<OsString> = vec![env!("CARGO_BIN_EXE_rungs").into()];
    whole.extend(line.iter().cloned());
    killing::run(&whole, folder, at).expect("it can be traced")
}

impl Scenario {
    fn made(&self, folder: &Path) -> Made {
        let mut found = files(folder);
        found.retain(|path, _| !(self.aside)(path));
        found
    }

    /// Gives what was counted in a run that is not killed.
    fn try_all(&self) -> BTreeMap<&'static str, u64> {
        let before = folder();
        (self.before)(before.path());
        let folder = copied(before.path());
        let ended = trace(&(self.line)(folder.path()), folder.path(), u64::MAX);
        assert_eq!(
            (ended.code, ended.killed),
            (Some(0), None),
            "{}",
            ended.stderr
        );
        let (whole, count) = (self.made(folder.path()), ended.count());
        assert!(count > 50, "{:?}", ended.changes);
        // All if there are to be more, else evenly, and always some of the last steps.
        let kills = kills().min(count);
        for kill in 0..kills {
            let at = (kill * count + count / 2) / kills;
            self.kill(at, before.path(), &whole);
        }
        for at in count.saturating_sub(2)..count {
            self.kill(at, before.path(), &whole);
        }
        ended.changes
    }

    fn kill(&self, at: u64, before: &Path, whole: &Made) {
        let folder = copied(before);
        let line = (self.line)(folder.path());
        let ended = trace(&line, folder.path(), at);
        let context = format!("killed at change {at} ({:?})", ended.killed);
        if self.whole_or_absent {
            for (path, bytes) in self.made(folder.path()) {
                let mut parts = path.iter().map(OsStr::to_string_lossy);
                let is_hidden = parts.any(|part| part.starts_with('.'));
                assert!(
                    is_hidden || whole.get(&path) == Some(&bytes),
                    "{context}: {} is not whole",
                    path.display()
                );
            }
        }
        let mut answer = context;
        if ended.killed.is_none() {
            // With threads the count is not always the same: it was through.
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        } else {
            let again = rungs(&line);
            answer = format!("{answer}: {}{}", again.stdout, again.stderr);
            assert_eq!(again.code, Some(0), "{answer}");
        }
        let made = self.made(folder.path());
        let names: Vec<_> = made.keys().collect();
        assert!(made.keys().eq(whole.keys()), "{answer}: {names:?}");
        assert!(made == *whole, "{answer}: other bytes");
    }
}

/// Each kind of change is met.
fn met(changes: &BTreeMap<&'static str, u64>, kinds: &[&str]) {
    for kind in kinds {
        assert!(changes.contains_key(kind), "no {kind} in {changes:?}");
    }
}

#[test]
fn transcode_of_one_file() {
    if !ready() {
        return;
    }
    let changes = Scenario {
        before: nothing,
        line: |folder| command("transcode", &[clip()], &folder.join("film.mp4"), &[]),
        aside: |_| false,
        whole_or_absent: true,
    }
    .try_all();
    let kinds = [
        "create", "mkdir", "rmdir", "unlink", "rename", "write", "pwrite", "fsync", "truncate",
    ];
    met(&changes, &kinds);
}

#[test]
fn transcode_of_several_files_with_a_report() {
    if !ready() {
        return;
    }
    Scenario {
        before: nothing,
        line: |folder| {
            let report = folder.join("report.json");
            let report = report.to_str().expect("a path");
            let rungs = ["--rung", "48p", "--rung", "32p", "--report", report];
            command("transcode", &[clip()], &folder.join("made/"), &rungs)
        },
        aside: is_report,
        whole_or_absent: true,
    }
    .try_all();
}

#[test]
fn transcode_to_matroska_in_place_of_another_file() {
    if !ready() {
        return;
    }
    Scenario {
        before: |folder| fs::write(folder.join("film.mkv"), "another").expect("a file"),
        line: |folder| {
            command(
                "transcode",
                &[clip()],
                &folder.join("film.mkv"),
                &["--force"],
            )
        },
        aside: |_| false,
        whole_or_absent: false,
    }
    .try_all();
}

#[test]
fn join() {
    if !ready() {
        return;
    }
    Scenario {
        before: nothing,
        line: |folder| command("join", &[clip(), clip()], &folder.join("film.mp4"), &[]),
        aside: |_| false,
        whole_or_absent: true,
    }
    .try_all();
}

#[test]
fn package_of_single_files() {
    if !ready() {
        return;
    }
    Scenario {
        before: nothing,
        line: |folder| {
            package(
                &clip(),
                &folder.join("out"),
                &["--single-file", "--storyboard"],
            )
        },
        aside: is_own,
        whole_or_absent: true,
    }
    .try_all();
}

#[test]
fn adding_to_a_package() {
    if !ready() {
        return;
    }
    Scenario {
        before: |folder| run(&package(&clip(), &folder.join("out"), &["--rung", "48p"])),
        line: |folder| package(&clip(), &folder.join("out"), &["--rung", "32p", "--add"]),
        aside: is_own,
        whole_or_absent: false,
    }
    .try_all();
}

#[test]
fn adding_to_a_package_of_single_files() {
    if !ready() {
        return;
    }
    Scenario {
        before: |folder| {
            let options = ["--rung", "48p", "--single-file"];
            run(&package(&clip(), &folder.join("out"), &options));
        },
        line: |folder| package(&clip(), &folder.join("out"), &["--rung", "32p", "--add"]),
        aside: is_own,
        whole_or_absent: false,
    }
    .try_all();
}

/// Cuts the last byte off a file.
fn cut(path: &Path) {
    let bytes = fs::read(path).expect("it is there");
    fs::write(path, &bytes[..bytes.len() - 1]).expect("a file");
}

#[test]
fn repair() {
    if !ready() {
        return;
    }
    Scenario {
        before: |folder| {
            run(&package(&clip(), &folder.join("out"), &["--poster"]));
            cut(&folder.join("out/video/h264-48p/seg-00001.m4s"));
        },
        line: |folder| vec!["resume".into(), folder.join("out").into()],
        aside: is_own,
        whole_or_absent: false,
    }
    .try_all();
}

#[test]
fn repair_of_single_files() {
    if !ready() {
        return;
    }
    Scenario {
        before: |folder| {
            run(&package(&clip(), &folder.join("out"), &["--single-file"]));
            cut(&folder.join("out/video/h264-48p.mp4"));
        },
        line: |folder| vec!["resume".into(), folder.join("out").into()],
        aside: is_own,
        whole_or_absent: false,
    }
    .try_all();
}
