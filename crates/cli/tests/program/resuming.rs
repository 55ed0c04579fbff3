//! Packages that are gone on with, added to and checked: the same bytes whatever happened on the way.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::dice::Dice;
use rungs_testkit::digest::package_digest;
use serde_json::Value;

use crate::support::{Answer, Made, Running, check, package_line, published, ready, report, rungs};

/// A source with sound.
fn clip() -> PathBuf {
    Clip::new()
        .size(320, 180)
        .seconds(5.0)
        .audio(Audio::Stereo)
        .make()
}

const RUNGS: [&str; 4] = ["--rung", "180p", "--rung", "90p"];

fn digest(out: &Path) -> String {
    package_digest(out).expect("a package").to_string()
}

fn resume(out: &Path, options: &[&str]) -> Answer {
    let mut line: Vec<OsString> = vec!["resume".into(), out.into()];
    line.extend(options.iter().map(Into::into));
    rungs(line)
}

fn verify(out: &Path, options: &[&str]) -> Answer {
    let mut line: Vec<OsString> = vec!["verify".into(), out.into()];
    line.extend(options.iter().map(Into::into));
    rungs(line)
}

fn expect_code(answer: &Answer, code: i32) {
    assert_eq!(
        answer.code,
        Some(code),
        "{}{}",
        answer.stdout,
        answer.stderr
    );
}

/// A refusal that names what is in the way.
fn refused(answer: &Answer, reason: &str) {
    expect_code(answer, 3);
    for part in ["error: ", "  try: ", reason] {
        assert!(answer.stderr.contains(part), "{part:?}: {}", answer.stderr);
    }
}

/// How many kills: `KILLS`, else few.
fn kills() -> u32 {
    std::env::var("KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20)
}

/// All that readers may see is whole: segments are those of the undisturbed package, and playlists name what is there.
fn check_visible(out: &Path, whole: &Path, context: &str) {
    if !out.exists() {
        return;
    }
    let (there, whole) = (published(out), published(whole));
    for (name, bytes) in &there {
        let text = name.extension().is_some_and(|end| end == "m3u8");
        if name
            .extension()
            .is_some_and(|end| end == "m4s" || end == "mp4")
        {
            let name = name.display();
            assert!(
                *bytes == whole[Path::new(&name.to_string())],
                "{context}: {name} is not whole"
            );
        }
        let text = if text {
            String::from_utf8_lossy(bytes).into_owned()
        } else {
            continue;
        };
        assert!(text.ends_with('\n'), "{context}: {} is cut", name.display());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let named = name.parent().expect("a file's folder").join(line);
            assert!(
                there.contains_key(&named),
                "{context}: {} names {line}",
                name.display()
            );
        }
    }
}

/// The segments that were told as published.
fn told(events: &[Value]) -> BTreeSet<(String, u64)> {
    let segments = events.iter().filter(|event| event["event"] == "segment");
    segments
        .map(|event| {
            let track = event["track"].as_str().expect("a name").to_owned();
            (track, event["segment"].as_u64().expect("a number"))
        })
        .collect()
}

#[test]
fn a_job_that_is_killed_anywhere_ends_with_the_same_bytes() {
    if !ready() {
        return;
    }
    let source = clip();
    let undisturbed = Made::of(&source, &RUNGS);
    let whole = digest(&undisturbed.out());
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let options = [&RUNGS[..], &["--progress", "json"]].concat();
    let mut numbers = Dice::new(3);
    let mut done = BTreeSet::new();
    let mut halfway = 0;
    for kill in 0..kills() {
        let running = if kill % 3 == 1 && out.join(".rungs/plan.json").exists() {
            let line: [OsString; 4] = [
                "resume".into(),
                out.clone().into(),
                "--progress".into(),
                "json".into(),
            ];
            Running::start(line)
        } else {
            Running::start(package_line(&source, &out, &options))
        };
        // By what was told, or by the clock: one lies between steps, the other anywhere.
        let (events, time) = if kill % 2 == 0 {
            (1 + numbers.below(16) as usize, Duration::from_mins(1))
        } else {
            let time = 50 + u64::from(numbers.below(2000));
            (usize::MAX, Duration::from_millis(time))
        };
        let events = running.kill_after(events, time);
        let context = format!("kill {kill}");
        check_visible(&out, &undisturbed.out(), &context);
        let now = told(&events);
        halfway += u32::from(!now.is_empty() && now.len() < 15);
        let again: Vec<_> = now.intersection(&done).collect();
        assert!(again.is_empty(), "{context}: {again:?} were made again");
        done.extend(now);
        if events.iter().any(|event| event["event"] == "finished") || done.len() == 15 {
            let last = rungs(package_line(&source, &out, &RUNGS));
            expect_code(&last, 0);
            assert_eq!(digest(&out), whole, "{context}");
            fs::remove_dir_all(&out).expect("a folder");
            done.clear();
        }
    }
    assert!(halfway > kills() / 10, "{halfway} kills met a job at work");
    let last = rungs(package_line(&source, &out, &RUNGS));
    expect_code(&last, 0);
    assert_eq!(digest(&out), whole);
    expect_code(&verify(&out, &[]), 0);
    let expect = Expectation {
        source: Some(source),
        segment_seconds: Some(1.0),
        ..Expectation::default()
    };
    check(&out, &expect);
}

#[test]
fn a_job_that_aborts_below_the_libraries_ends_with_the_same_bytes() {
    if !ready() {
        return;
    }
    let source = clip();
    let whole = digest(&Made::of(&source, &RUNGS).out());
    let options = [&RUNGS[..], &["--progress", "json"]].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    // Readers have begun to decode; the first segments are there; one of two resumed runs aborts too.
    for event in ["started", "segment", "segment"] {
        let mut running = Running::start(package_line(&source, &out, &options));
        running.wait_for(event);
        running.abort();
        assert!(!out.join("report.json").exists());
    }
    let answer = rungs(package_line(&source, &out, &RUNGS));
    expect_code(&answer, 0);
    assert!(
        answer.stdout.contains("were there from an earlier run"),
        "{}",
        answer.stdout
    );
    assert_eq!(digest(&out), whole);
    expect_code(&verify(&out, &[]), 0);
}

/// Begins a package and kills it in the middle.
fn begun(source: &Path, out: &Path, options: &[&str]) {
    let slow = ["--speed", "4", "--jobs", "1", "--progress", "json"];
    let mut running = Running::start(package_line(source, out, &[options, &slow].concat()));
    running.wait_for("segment");
    running.kill_after(0, Duration::ZERO);
}

#[test]
fn resume_needs_nothing_but_the_folder() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source.mp4");
    fs::copy(clip(), &source).expect("a copy");
    let out = folder.path().join("out");
    begun(&source, &out, &RUNGS);
    let moved = folder.path().join("moved.mp4");
    fs::rename(&source, &moved).expect("it moves");
    refused(&resume(&out, &[]), "--source");
    let unfinished = verify(&out, &[]);
    expect_code(&unfinished, 1);
    assert!(
        unfinished
            .stdout
            .starts_with(".: the package is not finished"),
        "{}",
        unfinished.stdout
    );
    let other = Clip::new().size(320, 180).seconds(3.0).make();
    let other = other.to_str().expect("a path");
    refused(&resume(&out, &["--source", other]), "another source");
    let answer = resume(&out, &["--source", moved.to_str().expect("a path")]);
    expect_code(&answer, 0);
    assert!(
        answer.stdout.contains("were there from an earlier run"),
        "{}",
        answer.stdout
    );
    assert!(report(&out)["resumed_segments"].as_u64() > Some(0));
    let undisturbed = Made::of(&moved, &[&RUNGS[..], &["--speed", "4"]].concat());
    assert_eq!(digest(&out), digest(&undisturbed.out()));
}

#[test]
fn a_finished_package_is_left_alone() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source.mp4");
    fs::copy(clip(), &source).expect("a copy");
    let out = folder.path().join("out");
    expect_code(&rungs(package_line(&source, &out, &RUNGS)), 0);
    let before = published(&out);
    // A file that was touched is the same file.
    let file = fs::File::options()
        .append(true)
        .open(&source)
        .expect("a file");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .expect("it can be touched");
    for answer in [
        rungs(package_line(&source, &out, &RUNGS)),
        rungs(package_line(
            &source,
            &out,
            &[&RUNGS[..], &["--jobs", "1", "--memory", "1G"]].concat(),
        )),
        resume(&out, &[]),
    ] {
        expect_code(&answer, 0);
        assert!(
            answer.stdout.starts_with("nothing to do"),
            "{}",
            answer.stdout
        );
    }
    assert_eq!(published(&out), before);
    for (options, reason) in [
        (&["--rung", "180p"][..], "--rung was 180p 90p and is 180p"),
        (
            &["--rung", "180p", "--rung", "90p", "--segment", "2"],
            "--segment was 1 and is 2",
        ),
        (
            &["--rung", "180p", "--rung", "90p", "--crf", "20"],
            "--crf was 35 and is 20",
        ),
        (
            &["--rung", "180p", "--rung", "90p", "--audio", "none"],
            "--audio was auto and is none",
        ),
    ] {
        refused(&rungs(package_line(&source, &out, options)), reason);
    }
    assert_eq!(published(&out), before);
}

#[test]
fn another_source_takes_force() {
    if !ready() {
        return;
    }
    let package = Made::of(&clip(), &RUNGS);
    let out = package.out();
    let before = published(&out);
    let other = Clip::new().size(320, 180).seconds(2.0).make();
    refused(&rungs(package_line(&other, &out, &RUNGS)), "another source");
    assert_eq!(published(&out), before);
    let afresh = rungs(package_line(&other, &out, &["--rung", "90p", "--force"]));
    expect_code(&afresh, 0);
    assert!(
        afresh.stderr.contains("starting afresh"),
        "{}",
        afresh.stderr
    );
    let direct = Made::of(&other, &["--rung", "90p"]);
    assert_eq!(digest(&out), digest(&direct.out()));
}

#[test]
fn two_runs_at_once_are_one_too_many() {
    if !ready() {
        return;
    }
    let source = clip();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let slow = ["--speed", "3", "--jobs", "1", "--progress", "json"];
    let mut running = Running::start(package_line(&source, &out, &slow));
    running.wait_for("started");
    let pid = running.pid().to_string();
    for answer in [
        rungs(package_line(&source, &out, &slow)),
        rungs(package_line(&source, &out, &["--force"])),
        resume(&out, &[]),
        verify(&out, &[]),
    ] {
        refused(&answer, "another run works in");
        assert!(answer.stderr.contains(&pid), "{}", answer.stderr);
    }
    running.kill_after(0, Duration::ZERO);
    // The lock went with the process, though its name is still in it.
    assert!(
        fs::read_to_string(out.join(".rungs/lock"))
            .expect("a lock")
            .contains(&pid)
    );
    expect_code(&resume(&out, &[]), 0);
}

#[test]
fn a_rung_is_added_to_a_finished_package() {
    if !ready() {
        return;
    }
    let source = clip();
    let package = Made::of(&source, &["--rung", "180p"]);
    let out = package.out();
    let before = published(&out);
    let add = ["--rung", "90p@crf=40", "--add"];
    let line: Vec<OsString> = [
        "package".into(),
        source.clone().into(),
        "-o".into(),
        out.clone().into(),
    ]
    .into();
    let with = |options: &[&str]| {
        let mut line = line.clone();
        line.extend(options.iter().map(Into::into));
        rungs(line)
    };
    refused(
        &with(&["--rung", "90p", "--add", "--segment", "3"]),
        "--segment",
    );
    refused(
        &with(&["--rung", "720p", "--add"]),
        "larger than the source",
    );
    expect_code(&with(&["--add"]), 2);
    let json = [&add[..], &["--speed", "12", "--progress", "json"]].concat();
    let answer = with(&json);
    expect_code(&answer, 0);
    let events: Vec<Value> = answer
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let made: BTreeSet<_> = told(&events).into_iter().map(|(track, _)| track).collect();
    assert_eq!(made.into_iter().collect::<Vec<_>>(), ["av1-90p"]);
    let after = published(&out);
    let lasting = |name: &Path| {
        !["master.m3u8", "manifest.mpd"]
            .iter()
            .any(|top| name.ends_with(top))
    };
    for (name, bytes) in before.iter().filter(|(name, _)| lasting(name)) {
        assert!(after[name] == *bytes, "{} has changed", name.display());
    }
    let direct = Made::of(&source, &["--rung", "180p", "--rung", "90p@crf=40"]);
    assert_eq!(digest(&out), digest(&direct.out()));
    expect_code(&verify(&out, &[]), 0);
    let again = with(&[&add[..], &["--speed", "12"]].concat());
    expect_code(&again, 0);
    assert!(
        again.stdout.starts_with("nothing to do"),
        "{}",
        again.stdout
    );
}

#[test]
fn adding_a_rung_that_is_killed_is_gone_on_with() {
    if !ready() {
        return;
    }
    let source = clip();
    let package = Made::of(&source, &["--rung", "180p"]);
    let out = package.out();
    let before = published(&out);
    let add = ["--rung", "90p", "--add", "--speed", "4", "--jobs", "1"];
    let json = [&add[..], &["--progress", "json"]].concat();
    let mut running = Running::start(package_line(&source, &out, &json));
    running.wait_for("segment");
    running.kill_after(0, Duration::ZERO);
    // Players see the package as it was.
    for name in [
        "master.m3u8",
        "manifest.mpd",
        "video/av1-180p/playlist.m3u8",
    ] {
        let name = Path::new(name);
        assert!(published(&out)[name] == before[name], "{}", name.display());
    }
    expect_code(&rungs(package_line(&source, &out, &add)), 0);
    let direct = Made::of(&source, &["--rung", "180p", "--rung", "90p@speed=4"]);
    assert_eq!(digest(&out), digest(&direct.out()));
}

type Damage = fn(&Path);

#[test]
fn a_package_of_one_segment_is_verified() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(160, 90).seconds(1.0).make();
    for options in [&["--rung", "90p"][..], &["--rung", "90p", "--single-file"]] {
        let package = Made::of(&source, options);
        let answer = verify(&package.out(), &[]);
        expect_code(&answer, 0);
        assert!(
            answer.stdout.starts_with("nothing is wrong: 1 segment"),
            "{}",
            answer.stdout
        );
    }
}

#[test]
fn verify_finds_what_is_wrong_and_resume_repairs_it() {
    if !ready() {
        return;
    }
    let source = clip();
    let package = Made::of(&source, &RUNGS);
    let out = package.out();
    let whole = digest(&out);
    let fine = verify(&out, &[]);
    expect_code(&fine, 0);
    assert!(
        fine.stdout.starts_with("nothing is wrong: 15 segments"),
        "{}",
        fine.stdout
    );
    let flip: Damage = |path| {
        let mut bytes = fs::read(path).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).expect("a file");
    };
    let remove: Damage = |path| fs::remove_file(path).expect("a file");
    let cut: Damage = |path| fs::write(path, b"styp").expect("a file");
    let damages = [
        ("video/av1-90p/seg-00001.m4s", flip, "SHA-256"),
        ("video/av1-180p/seg-00004.m4s", remove, "missing"),
        ("video/av1-180p/seg-00000.m4s", cut, "4 bytes"),
        ("video/av1-90p/playlist.m3u8", remove, "missing"),
        ("video/av1-90p/init.mp4", flip, "plan and journal"),
        ("master.m3u8", cut, "plan and journal"),
        ("report.json", remove, "missing"),
    ];
    for (name, damage, says) in damages {
        let path = out.join(name);
        let bytes = fs::read(&path).expect("a file");
        damage(&path);
        let answer = verify(&out, &["--quick"]);
        expect_code(&answer, 1);
        let first = answer.stdout.lines().next().unwrap_or_default();
        assert!(
            first.starts_with(&format!("{name}: ")) && first.contains(says),
            "{first}"
        );
        assert_eq!(answer.stdout.lines().count(), 1, "{}", answer.stdout);
        fs::write(&path, bytes).expect("a file");
    }
    expect_code(&verify(&out, &["--quick"]), 0);
    for (name, damage, _) in damages {
        damage(&out.join(name));
    }
    expect_code(&resume(&out, &[]), 0);
    assert_eq!(digest(&out), whole);
    expect_code(&verify(&out, &["--quick"]), 0);
    fs::write(out.join("video/av1-90p/mine.txt"), "mine").expect("a file");
    let answer = verify(&out, &["--quick"]);
    expect_code(&answer, 1);
    assert!(
        answer.stdout.starts_with("video/av1-90p/mine.txt: "),
        "{}",
        answer.stdout
    );
}

#[test]
fn what_lacks_nothing_but_sound_gets_it() {
    if !ready() {
        return;
    }
    let package = Made::of(&clip(), &["--rung", "90p", "--audio", "opus"]);
    let out = package.out();
    let whole = digest(&out);
    for segment in ["seg-00000.m4s", "seg-00004.m4s"] {
        let sound = out.join("audio/und-opus").join(segment);
        fs::remove_file(&sound).expect("a segment of sound");
        expect_code(&resume(&out, &[]), 0);
        assert_eq!(digest(&out), whole, "{segment}");
        assert_eq!(report(&out)["read"]["frames_decoded"], 0);
    }
}

#[test]
fn states_that_cannot_be_gone_on_with_are_told() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(320, 180).seconds(2.0).make();
    let package = Made::of(&source, &["--rung", "90p"]);
    let out = package.out();
    let private = out.join(".rungs");
    let plan = fs::read_to_string(private.join("plan.json")).expect("a plan");
    let journal = fs::read(private.join("journal.sqlite")).expect("a journal");
    let command = || rungs(package_line(&source, &out, &["--rung", "90p"]));
    let with_plan = |text: &str, reason: &str| {
        fs::write(private.join("plan.json"), text).expect("a file");
        refused(&command(), reason);
        refused(&resume(&out, &[]), reason);
    };
    with_plan(&plan[..plan.len() / 2], "damaged");
    with_plan("{\"version\": 99}", "version 99");
    let record: Value = serde_json::from_str(&plan).expect("JSON");
    let print = record["plan"]["renditions"][0]["fingerprint"]
        .as_str()
        .expect("a digest");
    with_plan(
        &plan.replace(print, &"0".repeat(64)),
        "gives other bytes for av1-90p",
    );
    fs::write(private.join("plan.json"), &plan).expect("a file");
    for (bytes, reason) in [
        (&b"no database, and no table in it"[..], "damaged"),
        (&journal[..5000], "damaged"),
    ] {
        fs::write(private.join("journal.sqlite"), bytes).expect("a file");
        refused(&command(), reason);
        refused(&verify(&out, &[]), reason);
    }
    fs::remove_file(private.join("journal.sqlite")).expect("a file");
    refused(&command(), "missing");
    assert!(command().stderr.contains("--force"));
    fs::write(private.join("journal.sqlite"), &journal).expect("a file");
    expect_code(&command(), 0);
    fs::remove_dir_all(&private).expect("a folder");
    refused(&command(), "not empty");
    refused(&resume(&out, &[]), "no package");
    refused(&verify(&out, &[]), ".rungs");
    // Nothing says any more whose files these are.
    let before = published(&out);
    refused(
        &rungs(package_line(&source, &out, &["--rung", "90p", "--force"])),
        "nothing that rungs is known to have written",
    );
    assert_eq!(published(&out), before);
}
