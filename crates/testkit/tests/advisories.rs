//! `scripts/advisories`, with a program in place of cargo: what it finds fails, and a network that is down does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the script with a cargo that answers as `text`, a shell script, says.
fn run(text: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let cargo = folder.path().join("cargo");
    fs::write(&cargo, format!("#!/bin/sh\n{text}\n")).expect("a file");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/advisories");
    Command::new(script)
        .env("CARGO", &cargo)
        .env("PATIENCE", "2")
        .env("STRICT", "1")
        .output()
        .expect("the script runs")
}

fn is_skipped(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("SKIPPED")
}

#[test]
fn a_vulnerability_fails_the_check() {
    let output = run("case \"$*\" in *fetch*db*) exit 0;; *check*advisories*) exit 3;; esac");
    assert_eq!(output.status.code(), Some(3));
    assert!(!is_skipped(&output));
}

#[test]
fn dependencies_without_one_pass() {
    let output = run("case \"$*\" in *check*advisories*) echo advisories ok;; esac");
    assert!(output.status.success());
    assert!(!is_skipped(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "advisories ok\n");
}

#[test]
fn a_network_that_is_down_or_silent_skips_it_aloud() {
    for fetch in ["exit 1", "exec tail -f /dev/null"] {
        let output = run(&format!(
            "case \"$*\" in *fetch*db*) {fetch};; *) exit 3;; esac"
        ));
        assert!(output.status.success(), "{fetch}");
        assert!(is_skipped(&output), "{fetch}");
    }
}
