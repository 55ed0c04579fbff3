//! Trials against programs that answer, crash, hang and talk nonsense in place of a driver.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use rungs_media::hardware::DeviceKind;
use tempfile::TempDir;

use super::process::{Order, Wait, run};
use super::*;
use crate::device::{DeviceName, Vendor};
use crate::gpu::Driver;

fn way() -> Way {
    Way {
        kind: DeviceKind::Cuda,
        address: "0".to_owned(),
    }
}

fn gpu() -> Gpu {
    Gpu {
        name: DeviceName::new("nvidia:0"),
        vendor: Vendor::Nvidia,
        pci: Some("0000:3b:00.0".to_owned()),
        uuid: Some("GPU-1".to_owned()),
        model: "A card".to_owned(),
        memory: None,
        driver: Driver::default(),
        ways: vec![way()],
        missing: None,
    }
}

fn three() -> Vec<Trial> {
    [Coding::H264, Coding::Hevc, Coding::Av1]
        .map(|coding| Trial::Decode {
            coding,
            depth: BitDepth::Eight,
        })
        .into()
}

/// A program that does as the shell's words say when it is started; `$ORDER` is what it was told.
struct Program {
    folder: TempDir,
}

impl Program {
    fn new(words: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("program");
        fs::write(&path, format!("#!/bin/sh\nread -r ORDER\n{words}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made a program");
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    fn run(&self, seconds: u64) -> Vec<Line> {
        let order = Order {
            way: way(),
            trials: three(),
        };
        run(&self.path(), order, &within(seconds, &|_, _| {})).0
    }
}

/// As long for a trial, and a tenth of that before somebody is told.
fn within(seconds: u64, waiting: &(dyn Fn(&Trial, Duration) + Sync)) -> Wait<'_> {
    let deadline = Duration::from_secs(seconds);
    Wait {
        deadline,
        notice: deadline / 10,
        waiting,
    }
}

const WORKS: &str = r#"'{"works":{"psnr":null,"speed":900.0,"sessions":null}}'"#;

fn works(line: &Line) -> bool {
    matches!(line.verdict, Verdict::Works(_))
}

fn reason(line: &Line) -> &str {
    match &line.verdict {
        Verdict::Works(_) => "",
        Verdict::Fails { reason } | Verdict::Untried { reason } | Verdict::Busy { reason } => {
            reason
        }
    }
}

#[test]
fn a_verdict_comes_back_for_each_trial_in_order() {
    let no = r#"'{"fails":{"reason":"no such engine"}}'"#;
    let program = Program::new(&format!("echo {WORKS}; echo {no}; echo {WORKS}"));
    let lines = program.run(20);
    let trials: Vec<_> = lines.iter().map(|line| line.trial.clone()).collect();
    assert_eq!(trials, three());
    assert!(works(&lines[0]) && works(&lines[2]), "{lines:?}");
    assert_eq!(reason(&lines[1]), "no such engine");
}

#[test]
fn a_crash_costs_the_trial_at_fault_and_the_others_go_on() {
    // It dies whenever HEVC is next.
    let program = Program::new(&format!(
        r#"case "$ORDER" in *h264*) echo {WORKS}; kill -SEGV $$;; *hevc*) kill -SEGV $$;; *) echo {WORKS};; esac"#
    ));
    let lines = program.run(20);
    assert_eq!(lines.len(), 3);
    assert!(works(&lines[0]) && works(&lines[2]), "{lines:?}");
    assert!(reason(&lines[1]).contains("signal: 11"), "{lines:?}");
}

#[test]
fn a_driver_that_hangs_costs_one_deadline_and_is_told_of_while_it_is_waited_for() {
    // Whatever else it is asked for, it hangs.
    let program = Program::new(&format!("echo {WORKS}; exec sleep 600"));
    let order = Order {
        way: way(),
        trials: three(),
    };
    let told = Mutex::new(Vec::new());
    let tell = |trial: &Trial, most: Duration| {
        let mut told = told.lock().expect("nobody panics");
        told.push((trial.clone(), most));
    };
    let (lines, hung) = run(&program.path(), order, &within(1, &tell));
    assert_eq!(lines.len(), 3);
    assert!(works(&lines[0]), "{lines:?}");
    assert_eq!(reason(&lines[1]), "no answer within 1 s");
    let left_out = "its driver gave no answer when asked to decode hevc in 8 bits";
    assert!(matches!(lines[2].verdict, Verdict::Untried { .. }));
    assert_eq!(
        (reason(&lines[2]), hung.as_deref()),
        (left_out, Some(left_out))
    );
    let told = told.into_inner().expect("nobody panicked");
    assert_eq!(told, [(three()[1].clone(), Duration::from_secs(1))]);
}

#[test]
fn nonsense_is_no_verdict_and_a_program_that_is_not_there_tries_nothing() {
    let lines = Program::new("echo nonsense").run(20);
    assert!(lines.len() == 3 && lines.iter().all(|line| !works(line)));
    assert!(reason(&lines[0]).contains("nothing of use"), "{lines:?}");
    let nowhere = PathBuf::from("/no/such/program");
    let order = Order {
        way: way(),
        trials: three(),
    };
    let (lines, _) = run(&nowhere, order, &within(9, &|_, _| {}));
    let untried = |line: &Line| matches!(line.verdict, Verdict::Untried { .. });
    assert!(lines.len() == 3 && lines.iter().all(untried), "{lines:?}");
}

#[test]
fn a_verdict_that_cannot_be_true_is_none() {
    for sessions in ["0", "13", "4294967295"] {
        let lie = format!(r#"'{{"works":{{"psnr":null,"speed":1.0,"sessions":{sessions}}}}}'"#);
        let lines = Program::new(&format!("echo {lie}")).run(20);
        assert!(reason(&lines[0]).contains("nothing of use"), "{lines:?}");
    }
}

#[test]
fn what_was_found_out_is_kept_until_driver_or_card_change() {
    // Each start of the program leaves a mark.
    let program = Program::new(&format!(
        "echo >> \"$0.starts\"\nwhile echo {WORKS}; do :; done 2>/dev/null"
    ));
    let marks = program.folder.path().join("program.starts");
    let starts = || fs::read_to_string(&marks).map_or(0, |text| text.lines().count());
    let trials = Trials {
        program: program.path(),
        cache: Some(program.folder.path().join("cache/devices.json")),
    };
    let first = trials.run(&[gpu()], false);
    assert_eq!(starts(), 1);
    assert!(first[0].decodes(Coding::H264, BitDepth::Eight).is_some());
    let second = trials.run(&[gpu()], false);
    assert_eq!((starts(), &second), (1, &first));
    // Under another name it is the same card.
    let mut moved = gpu();
    moved.name = DeviceName::new("nvidia:1");
    let third = trials.run(&[moved.clone()], false);
    assert_eq!((starts(), &third[0].gpu), (1, &moved));
    assert_eq!(third[0].lines, first[0].lines);
    let mut updated = gpu();
    updated.driver.version = Some("600.1".to_owned());
    let tried = trials.run(&[updated.clone()], false);
    assert_eq!((starts(), &tried[0].gpu), (2, &updated));
    // What was known besides is not forgotten by that, nor when the card is hidden for a while.
    let mut hidden = gpu();
    hidden.ways.clear();
    assert!(trials.run(&[hidden], false)[0].lines.is_empty());
    assert!(trials.run(&[], false).is_empty());
    assert_eq!((starts(), trials.run(&[gpu()], false)), (2, first.clone()));
    assert_eq!((starts(), trials.run(&[updated], false)), (2, tried));
    let tried = trials.run(&[gpu()], true);
    assert_eq!((starts(), tried), (3, first));
}

#[test]
fn the_reasons_of_each_encoder_are_kept_and_the_first_that_works_is_taken() {
    let encode = |encoder: &str, verdict| Line {
        way: Some(way()),
        trial: Trial::Encode {
            codec: Codec::Av1,
            encoder: encoder.to_owned(),
            depth: BitDepth::Eight,
        },
        verdict,
    };
    let refused = Verdict::Fails {
        reason: "no encode engine".to_owned(),
    };
    let mut table = Table {
        gpu: gpu(),
        lines: vec![encode("av1_qsv", refused)],
    };
    assert_eq!(table.encodes(Codec::Av1, BitDepth::Eight), None);
    let works = Verdict::Works(Proof::default());
    table.lines.push(encode("av1_vaapi", works));
    let (_, encoder) = table.encodes(Codec::Av1, BitDepth::Eight).expect("works");
    assert_eq!(encoder, "av1_vaapi");
    assert_eq!(table.encodes(Codec::Av1, BitDepth::Ten), None);
    assert_eq!(
        table.refusals(Codec::Av1),
        [("av1_qsv", "no encode engine")]
    );
}
