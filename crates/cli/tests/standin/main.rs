//! The real program on cards that are none: FFmpeg's own wrappers above a stand-in for NVIDIA's driver, see
//! [`rungs_testkit::standin`]. A driver that is used as a real one does not bear fails the test.
//!
//! All tests have the same machine: two cards of one model that encode H.264. What the program finds out of them is found out once.

#[path = "../program/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the program")]
mod support;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::standin::Standin;
use rungs_testkit::tool;
use serde_json::Value;
use support::{Answer, Running, check, package_line, report};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rungs");
const DRIVER: &str = "535.183.01";
const FRAMES: u64 = 100;
/// What each job here makes.
const MADE: [&str; 8] = [
    "--codec",
    "h264",
    "--segment",
    "1",
    "--speed",
    "12",
    "--progress",
    "json",
];
const LADDER: [&str; 4] = ["--rung", "180p", "--rung", "90p"];

/// A machine, and where its jobs write.
struct Machine {
    cards: Standin,
    folder: TempDir,
}

impl Machine {
    /// `None`, with a line about it, where this FFmpeg has no wrapper for NVENC.
    fn new() -> Option<Self> {
        for program in ["ffmpeg", "ffprobe"] {
            tool::require(program)?;
        }
        for encoder in ["h264_nvenc", "libx264"] {
            tool::require_encoder(encoder)?;
        }
        let mut cards = Standin::new().with("CARDS", "2").with("DRIVER", DRIVER);
        cards.know(Path::new(PROGRAM));
        Some(Self {
            cards,
            folder: tempfile::tempdir().expect("a folder"),
        })
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn start(&self, line: impl IntoIterator<Item = OsString>) -> Running {
        let mut command = Command::new(PROGRAM);
        self.cards.show(&mut command).args(line);
        Running::start_as(command)
    }

    fn line(&self, options: &[&str]) -> Vec<OsString> {
        package_line(
            &clip(),
            &self.out(),
            &[&MADE[..], &LADDER, options].concat(),
        )
    }

    fn try_package(&self, options: &[&str]) -> Answer {
        self.start(self.line(options)).end()
    }

    /// Packages the clip in two renditions of H.264, and judges the package.
    fn package(&self, options: &[&str]) -> Value {
        finished(&self.try_package(options));
        self.judge();
        report(&self.out())
    }

    /// No frame is missing, and none is far from the source.
    fn judge(&self) {
        let expect = Expectation {
            source: Some(clip()),
            ..Expectation::default()
        };
        assert_eq!(check(&self.out(), &expect).frames, FRAMES);
    }
}

fn clip() -> PathBuf {
    Clip::new()
        .size(320, 180)
        .rate("25")
        .frames(100)
        .audio(Audio::Stereo)
        .make()
}

fn finished(answer: &Answer) {
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
}

/// Tasks that a device has done, and those of them that were in vain.
fn tasks(report: &Value, device: &str) -> (u64, u64) {
    let sessions = report["cost"]["sessions"].as_array().expect("a list");
    let own = sessions
        .iter()
        .filter(|session| session["device"] == device);
    own.fold((0, 0), |(tasks, wasted), session| {
        let count = |name: &str| session[name].as_u64().expect("a number");
        (tasks + count("tasks"), wasted + count("wasted"))
    })
}

#[test]
fn devices_tells_what_each_card_can_and_why_not() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    machine.cards.set("CODECS_1", "none");
    machine.cards.set("MODEL_1", "without an encoder");
    let answer = machine.start(["devices".into(), "--json".into()]).end();
    finished(&answer);
    let told: Value = serde_json::from_str(&answer.stdout).expect("JSON");
    let gpus = told["gpus"].as_array().expect("a list");
    let models: Vec<_> = gpus.iter().map(|table| &table["gpu"]["model"]).collect();
    assert_eq!(models, ["stand-in", "stand-in without an encoder"]);
    assert_eq!(gpus[0]["gpu"]["driver"]["version"], DRIVER);
    let text = machine.start(["devices".into()]).end();
    finished(&text);
    for line in [
        "nvidia:0  stand-in, 8.0 GiB, driver nvidia 535.183.01, at 0000:3b:00.0",
        "encodes with h264_nvenc     8 bits  yes: ",
        "sessions of h264_nvenc              3 at once",
        "nvidia:1  stand-in without an encoder",
        "encodes with h264_nvenc     8 bits  no: no encode engine",
    ] {
        assert!(text.stdout.contains(line), "{line:?} in\n{}", text.stdout);
    }
}

#[test]
fn a_package_is_encoded_on_both_cards_with_the_options_that_were_meant() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let report = machine.package(&["--devices", "nvidia", "--inspect", "all"]);
    let (one, other) = (tasks(&report, "nvidia:0"), tasks(&report, "nvidia:1"));
    assert!(one.0 > 0 && other.0 > 0, "{one:?} {other:?}");
    assert_eq!(tasks(&report, "cpu"), (0, 0));
    assert_eq!(report["inspection"]["findings"], 0);
    let sessions = machine.cards.sessions();
    // One for each of eight segments, and those of the plan.
    assert!(sessions.len() > 8, "{sessions:?}");
    for session in &sessions {
        for word in [
            "codec=h264",
            "b_frames=0",
            "lookahead=0/",
            "strict_gop=1",
            "bits=8",
        ] {
            assert!(session.contains(word), "{word} in {session}");
        }
        assert!(session.contains("rate=Quality("), "{session}");
    }
}

#[test]
fn frames_are_scaled_on_the_cards_that_were_asked_for() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let report = machine.package(&["--devices", "nvidia,cpu", "--scale-device", "nvidia:1"]);
    let scaled = report["read"]["scaled_on"].as_array().expect("a list");
    let count = |place: &Value| place["pictures"].as_u64().expect("a number");
    assert!(
        scaled.iter().all(|place| place["device"] != "cpu"),
        "{scaled:?}"
    );
    assert_eq!(scaled.iter().map(count).sum::<u64>(), FRAMES);
    assert_eq!(report["plan"]["scaling"]["on"], "stand-in");
}

#[test]
fn a_plain_file_has_even_quality_where_that_is_asked_for() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let file = machine.folder.path().join("made.mp4");
    let mut line: Vec<OsString> = vec!["transcode".into(), clip().into(), "-o".into()];
    line.push(file.clone().into());
    let options = ["--devices", "nvidia:1", "--seams", "constqp", "--crf", "21"];
    line.extend(MADE.iter().chain(&options).map(Into::into));
    finished(&machine.start(line).end());
    let run = tool::ffprobe().args(["-count_frames", "-show_streams", "-of", "json"]);
    let probed = run.arg(&file).json().expect("ffprobe reads it");
    assert_eq!(probed["streams"][0]["codec_name"], "h264");
    assert_eq!(probed["streams"][0]["nb_read_frames"], FRAMES.to_string());
    let mut sessions = machine.cards.sessions();
    sessions.retain(|session| session.contains(" on 1: "));
    assert!(sessions.len() >= 4, "{sessions:?}");
    for session in sessions {
        assert!(
            session.contains("rate=Quantizers([21, 21, 21])"),
            "{session}"
        );
    }
}

#[test]
fn a_killed_job_is_resumed_on_the_cards_but_not_with_another_driver() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    // The third segment of the first card never ends, so there is something to kill.
    machine.cards.set("FAULTS", "hang:nvEncEncodePicture@20#6");
    let mut running = machine.start(machine.line(&["--devices", "nvidia:0"]));
    running.wait_for("segment");
    machine.cards.wait_for(" planned ");
    drop(running);
    machine.cards.set("FAULTS", "");
    let changed = "550.54.14";
    machine.cards.change_driver(DRIVER, changed);
    let refused = machine.start(["resume".into(), machine.out().into()]).end();
    assert_eq!(
        refused.code,
        Some(3),
        "{}{}",
        refused.stdout,
        refused.stderr
    );
    assert!(refused.stderr.contains(changed), "{}", refused.stderr);
    machine.cards.change_driver(changed, DRIVER);
    finished(&machine.start(["resume".into(), machine.out().into()]).end());
    machine.judge();
    assert_ne!(report(&machine.out())["resumed_segments"], 0);
}

/// Each kind of fault, in the work of the first card after the plan has tried it: there a session gets six frames.
#[test]
fn a_card_that_fails_leaves_its_work_to_the_other() {
    for faults in [
        "fail=20:nvEncEncodePicture@20",
        "fail=8:nvEncLockBitstream@20",
        "crash:nvEncEncodePicture@20",
        "lost:nvEncEncodePicture@20",
    ] {
        let Some(mut machine) = Machine::new() else {
            return;
        };
        machine.cards.set("FAULTS_0", faults);
        let report = machine.package(&["--devices", "nvidia"]);
        assert!(machine.cards.has_struck(), "{faults}");
        assert!(tasks(&report, "nvidia:1").0 > 0, "{faults}");
    }
}

#[test]
fn a_wrong_frame_is_found_and_made_again() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    machine.cards.set("FAULTS_0", "wrong:nvEncEncodePicture@20");
    let report = machine.package(&["--devices", "nvidia", "--inspect", "all"]);
    assert!(machine.cards.has_struck());
    assert_ne!(report["inspection"]["findings"], 0);
}

#[test]
fn a_card_that_others_use_too_is_used_with_the_sessions_that_are_left() {
    for answer in ["memory", "key"] {
        let Some(mut machine) = Machine::new() else {
            return;
        };
        machine.cards.set("SESSIONS", "1");
        machine.cards.set("SESSIONS_ANSWER", answer);
        let report = machine.package(&["--devices", "nvidia:0"]);
        assert_eq!(tasks(&report, "nvidia:0").0, 8);
        let refused = machine.cards.log();
        let refused = refused
            .iter()
            .filter(|line| line.contains("has no session left"));
        assert!(refused.count() > 0, "{answer}");
    }
}
