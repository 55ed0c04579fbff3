//! Jobs that are interrupted or lose an encoder: what is left is whole, and nothing is left running.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::Clip;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Made, Running, check, command_line, files, package_line, published, ready, report, rungs,
};

fn clip() -> Clip {
    Clip::new().size(320, 180).seconds(8.0)
}

#[test]
fn an_interrupted_job_ends_at_once_and_can_be_gone_on_with() {
    if !ready() {
        return;
    }
    let source = clip().make();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    // Slow enough to be in the middle when the signal comes.
    let slow = ["--speed", "3", "--jobs", "2", "--progress", "json"];
    let mut running = Running::start(package_line(&source, &out, &slow));
    running.wait_for("segment");
    let encoders = running.encoders();
    assert!(!encoders.is_empty(), "nothing encodes");
    let asked = Instant::now();
    running.interrupt();
    let answer = running.end();
    let took = asked.elapsed();
    assert_eq!(answer.code, Some(130), "{}", answer.stderr);
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert!(!answer.stdout.contains("\"finished\""));
    for pid in encoders {
        assert_eq!(command_line(pid), "", "process {pid} is left");
    }
    for name in files(&out).keys() {
        assert!(is_published(name), "{} is left", name.display());
    }
    let unfinished = Expectation {
        complete: false,
        segment_seconds: Some(1.0),
        ..Expectation::default()
    };
    check(&out, &unfinished);

    assert!(answer.stderr.contains("rungs resume"), "{}", answer.stderr);
    let refused = rungs(package_line(&source, &out, &[]));
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    let again = rungs(package_line(&source, &out, &["--speed", "3"]));
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let complete = Expectation {
        complete: true,
        source: Some(source),
        ..unfinished
    };
    check(&out, &complete);
}

/// Says whether a file of that name belongs into a package, or lies where the next run sweeps.
fn is_published(name: &Path) -> bool {
    let file = name.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(".rungs")
        || [
            "master.m3u8",
            "manifest.mpd",
            "playlist.m3u8",
            "iframes.m3u8",
            "init.mp4",
        ]
        .contains(&&*file)
        || (file.starts_with("seg-") && file.ends_with(".m4s"))
}

#[test]
fn a_program_that_is_replaced_meanwhile_goes_on_as_it_began() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("rungs");
    fs::copy(env!("CARGO_BIN_EXE_rungs"), &program).expect("a copy");
    let mut command = Command::new(&program);
    let out = folder.path().join("out");
    let options = ["--speed", "8", "--jobs", "1", "--progress", "json"];
    command.args(package_line(&clip().make(), &out, &options));
    let mut running = Running::start_as(command);
    running.wait_for("segment");
    // As an update does it: another file under the same name.
    let other = folder.path().join("other");
    fs::write(&other, "#!/bin/sh\necho >> \"$0.started\"\nexit 3\n").expect("written");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).expect("made a program");
    fs::rename(&other, &program).expect("replaced");
    for pid in running.encoders() {
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process has a number");
        kill_process(pid, Signal::KILL).expect("it runs");
    }
    let warning = running.wait_for("warning");
    assert_eq!(warning["warning"]["kind"], "retried", "{warning}");
    let answer = running.end();
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(
        !folder.path().join("rungs.started").exists(),
        "the other one was started"
    );
}

#[test]
fn an_encoder_that_dies_costs_one_try() {
    if !ready() {
        return;
    }
    let source = clip().make();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    // With one encoder, the one that is killed is the one that is needed next.
    let options = ["--speed", "8", "--jobs", "1"];
    let json = [&options[..], &["--progress", "json"]].concat();
    let mut running = Running::start(package_line(&source, &out, &json));
    running.wait_for("segment");
    let encoders = running.encoders();
    assert_eq!(encoders.len(), 1, "{encoders:?}");
    for pid in encoders {
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process has a number");
        kill_process(pid, Signal::KILL).expect("it runs");
    }
    let warning = running.wait_for("warning");
    assert_eq!(warning["warning"]["kind"], "retried", "{warning}");
    let answer = running.end();
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let warnings = report(&out)["warnings"].clone();
    assert_eq!(warnings[0]["kind"], "retried", "{warnings}");
    assert_eq!(warnings.as_array().map(Vec::len), Some(1), "{warnings}");

    let undisturbed = Made::of(&source, &options);
    let (one, other) = (published(&out), published(&undisturbed.out()));
    assert!(one.keys().eq(other.keys()));
    for (name, bytes) in &one {
        assert!(other[name] == *bytes, "{} differs", name.display());
    }
}
