//! Whole jobs on a real encoder that goes wrong: whatever it does, no bad segment is ever published.
//!
//! What is published is compared byte for byte with an undisturbed job's package, which the independent checker has accepted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rungs_engine::encoders::Encoders;
use rungs_engine::error::{EncodeError, Failure};
use rungs_engine::inspect::Inspect;
use rungs_engine::{Cancel, Engine, Error, Event, Io, Options, Report, Terms};
use rungs_media::Source;
use rungs_package::output::Memory;
use rungs_testkit::checker::{self, Expectation};
use rungs_testkit::clips::Clip;
use rungs_testkit::faulty::{Fault, Faulty, Script, is_ready, seeded, small_job};

type Files = BTreeMap<String, Vec<u8>>;

const SEGMENTS: usize = 4;
const RENDITIONS: usize = 2;

fn clip() -> &'static Path {
    static CLIP: OnceLock<PathBuf> = OnceLock::new();
    CLIP.get_or_init(|| Clip::new().size(320, 180).seconds(4.0).make())
}

struct Run {
    result: Result<Report, Error>,
    files: Files,
    backend: Arc<Faulty>,
}

impl Run {
    fn of(script: Script, inspect: Inspect) -> Self {
        Self::watched(script, inspect, &mut |_, _| {})
    }

    fn watched(script: Script, inspect: Inspect, watch: &mut dyn FnMut(&Event, &Cancel)) -> Self {
        // SVT-AV1 does not bear company in one process, and tests run side by side.
        static ONE: Mutex<()> = Mutex::new(());
        let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = Arc::new(Faulty::new(Box::new(Encoders::in_process()), script));
        let options = Options {
            sessions: Some(1),
            ..Options::default()
        };
        let engine = Engine::with_backend(Arc::clone(&backend) as _, &options).expect("threads");
        let (source, cancel, files) = (Source::from(clip()), Cancel::new(), Memory::new());
        let plan = engine
            .plan(&source, &small_job(inspect), &cancel)
            .expect("a plan: nothing goes wrong yet");
        backend.arm();
        let io = Io {
            output: Box::new(files.clone()),
            terms: Terms::default(),
            cancel: &cancel,
            observer: &mut |event| watch(&event, &cancel),
        };
        let result = engine.run(&plan, &source, io);
        let mut files = files.files();
        files.remove("report.json");
        Self {
            result,
            files,
            backend,
        }
    }

    fn happened(&self, fault: Fault) -> usize {
        self.backend
            .done()
            .iter()
            .filter(|(_, done)| *done == fault)
            .count()
    }

    /// Published segments that are not those of the undisturbed job.
    fn bad_segments(&self) -> Vec<&str> {
        let differs = |(path, bytes): &(&String, &Vec<u8>)| reference().get(*path) != Some(*bytes);
        let segments = self.files.iter().filter(|(path, _)| path.contains("/seg-"));
        segments
            .filter(differs)
            .map(|(path, _)| path.as_str())
            .collect()
    }

    fn assert_whole(&self) -> &Report {
        let report = self.result.as_ref().expect("a whole job");
        assert_eq!(self.bad_segments(), [""; 0]);
        assert!(self.files == *reference(), "another file differs");
        report
    }
}

/// The undisturbed package, as the independent checker accepts it.
fn reference() -> &'static Files {
    static REFERENCE: OnceLock<Files> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let run = Run::of(Box::new(|_| None), Inspect::All);
        let report = run.result.expect("a whole job");
        assert_eq!(report.inspection.inspected, (SEGMENTS * RENDITIONS) as u64);
        assert_eq!(report.inspection.findings, 0);
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &run.files);
        let expect = Expectation {
            source: Some(clip().to_owned()),
            ..Expectation::default()
        };
        // The report is not compared, as it tells times; the checker wants one.
        std::fs::write(
            folder.path().join("report.json"),
            serde_json::to_vec(&report).expect("JSON"),
        )
        .expect("a file");
        if let Err(findings) = checker::check(folder.path(), &expect) {
            let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"));
        }
        run.files
    })
}

fn write(folder: &Path, files: &Files) {
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
}

/// The second segment of the larger rendition goes wrong at its first try.
fn once(fault: Fault) -> Script {
    Box::new(move |attempt| {
        let here = attempt.segment == 1 && attempt.rendition == "av1-180p";
        (here && attempt.attempt == 1).then_some(fault)
    })
}

#[test]
fn every_silent_fault_is_found_and_costs_one_try() {
    if !is_ready() {
        return;
    }
    for fault in Fault::SILENT {
        let run = Run::of(once(fault), Inspect::All);
        assert_eq!(run.happened(fault), 1, "{fault:?}");
        let report = run.assert_whole();
        assert_eq!(report.warnings.len(), 1, "{fault:?}: {:?}", report.warnings);
        // Missing packets are counted before anything is decoded.
        let findings = u64::from(fault != Fault::Short);
        assert_eq!(report.inspection.findings, findings, "{fault:?}");
    }
}

#[test]
fn without_inspection_bad_segments_are_published() {
    if !is_ready() {
        return;
    }
    for fault in [Fault::Swapped, Fault::Green, Fault::Foreign] {
        let run = Run::of(once(fault), Inspect::Off);
        run.result.as_ref().expect("nobody looked");
        assert_eq!(run.bad_segments(), ["video/av1-180p/seg-00001.m4s"]);
    }
}

#[test]
fn a_loud_fault_costs_one_try() {
    if !is_ready() {
        return;
    }
    for fault in Fault::LOUD {
        let run = Run::of(once(fault), Inspect::All);
        assert_eq!(run.happened(fault), 1, "{fault:?}");
        run.assert_whole();
    }
}

#[test]
fn an_encoder_that_always_lies_ends_the_job_with_the_finding() {
    if !is_ready() {
        return;
    }
    for fault in [Fault::Swapped, Fault::Frozen, Fault::OtherConfiguration] {
        let script: Script = Box::new(move |attempt| (attempt.segment == 2).then_some(fault));
        let run = Run::of(script, Inspect::All);
        assert_eq!(run.bad_segments(), [""; 0], "{fault:?}");
        match run.result {
            Err(Error::Failed(failure)) => match *failure {
                Failure::Encode {
                    segment, source, ..
                } => {
                    assert_eq!(segment.get(), 2);
                    assert!(matches!(source, EncodeError::Inspection(_)), "{source:?}");
                }
                other => panic!("{fault:?}: {other:?}"),
            },
            other => panic!("{fault:?}: {other:?}"),
        }
    }
}

#[test]
fn what_hangs_ends_when_the_job_is_cancelled() {
    if !is_ready() {
        return;
    }
    let run = Run::watched(once(Fault::Hang), Inspect::All, &mut |event, cancel| {
        if matches!(event, Event::Segment { track, segment: 0, .. } if track == "av1-180p") {
            cancel.cancel();
        }
    });
    assert!(
        matches!(run.result, Err(Error::Interrupted)),
        "{:?}",
        run.result
    );
    assert_eq!(run.bad_segments(), [""; 0]);
}

#[test]
fn a_slow_encoder_gives_the_same_bytes() {
    if !is_ready() {
        return;
    }
    Run::of(once(Fault::Slow(3)), Inspect::All).assert_whole();
}

#[test]
#[ignore = "50 jobs; `make test-full` runs it"]
fn fifty_jobs_with_random_faults_publish_nothing_bad() {
    if !is_ready() {
        return;
    }
    let faults = [&Fault::SILENT[..], &Fault::LOUD, &[Fault::Slow(2)]].concat();
    let mut happened = 0;
    for seed in 0..50 {
        let run = Run::of(seeded(seed, 0.4, faults.clone()), Inspect::All);
        happened += run.backend.done().len();
        assert_eq!(run.bad_segments(), [""; 0], "seed {seed}");
        run.assert_whole();
    }
    assert!(happened > 100, "{happened} faults are too few to tell");
}
