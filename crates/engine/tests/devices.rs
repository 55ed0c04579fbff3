//! Whole jobs on two devices of which one goes wrong: the job ends whole, with the bytes of an undisturbed one, or typed; and the engine ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rungs_engine::device::{Device, DeviceName, Lease, Vendor};
use rungs_engine::encoders::Encoders;
use rungs_engine::error::{EncodeError, Failure};
use rungs_engine::inspect::Inspect;
use rungs_engine::plan::Warning;
use rungs_engine::schedule::Rules;
use rungs_engine::span::{Encoded, Task};
use rungs_engine::worker::Backend;
use rungs_engine::{Cancel, Engine, Error, Event, Io, Report, Terms};
use rungs_media::Source;
use rungs_package::output::Memory;
use rungs_testkit::clips::Clip;
use rungs_testkit::faulty::{Fault, Faulty, Script, Try, is_ready, seeded, small_job};

type Files = BTreeMap<String, Vec<u8>>;

const SEGMENTS: u64 = 6;
const RENDITIONS: u64 = 2;
const MEMORY: u64 = 1 << 30;
/// Failures in a row after which a device is quarantined.
const STRIKES: usize = 3;
/// The device that goes wrong.
const BAD: usize = 1;
/// How long the good device waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one job may take: one that hangs must fail a test, not stop it.
const LIMIT: Duration = Duration::from_mins(1);

/// A hang is noticed after seconds, not after a minute.
const RULES: fn() -> Rules = || Rules {
    deadline: 4.0,
    deadline_floor: Duration::from_secs(2),
    unknown: 1.0,
    grace: Duration::from_millis(300),
    quarantine: Duration::from_millis(500),
    ..Rules::default()
};

fn clip() -> &'static Path {
    static CLIP: OnceLock<PathBuf> = OnceLock::new();
    CLIP.get_or_init(|| Clip::new().size(320, 180).seconds(6.0).make())
}

fn device(name: &str, sessions: u32) -> Device {
    Device {
        id: DeviceName::new(name),
        vendor: if name == "bad" {
            Vendor::Nvidia
        } else {
            Vendor::Cpu
        },
        encoder: None,
        also: Vec::new(),
        offers: Vec::new(),
        asked: false,
        idle: false,
        sessions,
        threads: 2,
    }
}

/// SVT-AV1 does not bear company in one process, so the devices take turns with it, in the order in which they ask; what hangs or waits does so
/// outside. Of a span that is fed there is memory for one encoder at a time here: two would wait for each other's pictures.
struct InTurn(Encoders);

/// Tickets that were given out, and the one whose turn it is.
static TICKETS: Mutex<(u64, u64)> = Mutex::new((0, 0));
static NEXT: Condvar = Condvar::new();

/// A turn, which ends when it is dropped.
struct Turn;

impl Turn {
    fn wait() -> Self {
        let mut tickets = TICKETS.lock().unwrap_or_else(PoisonError::into_inner);
        let own = tickets.0;
        tickets.0 += 1;
        let mine = NEXT.wait_while(tickets, |tickets| tickets.1 != own);
        drop(mine.unwrap_or_else(PoisonError::into_inner));
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TICKETS.lock().unwrap_or_else(PoisonError::into_inner).1 += 1;
        NEXT.notify_all();
    }
}

impl Backend for InTurn {
    fn encode(&self, lease: &Lease, task: &Task, cancel: &Cancel) -> Result<Encoded, EncodeError> {
        let _turn = Turn::wait();
        self.0.encode(lease, task, cancel)
    }
}

/// What a job is run with.
struct Setting {
    script: Script,
    rules: Rules,
    sessions: u32,
    memory: u64,
    /// Told of everything; may end the job.
    watch: fn(&Event, &Cancel),
}

impl Setting {
    fn new(script: impl Fn(usize) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self {
            script: Box::new(move |attempt| script(attempt.device.place())),
            rules: RULES(),
            sessions: 1,
            memory: MEMORY,
            watch: |_, _| {},
        }
    }
}

struct Run {
    result: Result<Report, Error>,
    files: Files,
    backend: Arc<Faulty>,
    /// How long the engine took to end after its job.
    ending: Duration,
}

impl Run {
    /// Runs a job on a thread of its own, which is left behind if it does not end in time.
    fn of(setting: Setting) -> Self {
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || done.send(Self::here(setting)).ok());
        ended
            .recv_timeout(LIMIT)
            .expect("the job or its engine does not end")
    }

    fn here(setting: Setting) -> Self {
        let inner = Box::new(InTurn(Encoders::in_process()));
        let backend = Arc::new(Faulty::new(inner, setting.script));
        let devices = ["good", "bad"].map(|name| device(name, setting.sessions));
        let engine = Engine::with_rules(
            Arc::clone(&backend) as _,
            devices.into(),
            (setting.memory, setting.rules),
        );
        let engine = engine.expect("threads");
        let (source, cancel, files) = (Source::from(clip()), Cancel::new(), Memory::new());
        let spec = small_job(Inspect::All);
        let plan = engine
            .plan(&source, &spec, &cancel)
            .expect("a plan: nothing goes wrong yet");
        backend.arm();
        let io = Io {
            output: Box::new(files.clone()),
            terms: Terms::default(),
            cancel: &cancel,
            observer: &mut |event| (setting.watch)(&event, &cancel),
        };
        let result = engine.run(&plan, &source, io);
        let begin = Instant::now();
        drop(engine);
        let ending = begin.elapsed();
        let mut files = files.files();
        files.remove("report.json");
        Self {
            result,
            files,
            backend,
            ending,
        }
    }

    fn happened(&self, fault: Fault) -> usize {
        let done = self.backend.done();
        done.iter().filter(|(_, done)| *done == fault).count()
    }

    /// Asks for a whole job with the bytes of the undisturbed one.
    fn assert_whole(&self) -> &Report {
        let report = self.result.as_ref().expect("a whole job");
        let differs: Vec<_> = self
            .files
            .iter()
            .filter(|(path, bytes)| reference().get(*path) != Some(*bytes))
            .map(|(path, _)| path)
            .collect();
        assert!(differs.is_empty(), "{differs:?}");
        assert_eq!(self.files.len(), reference().len());
        report
    }

    fn failure(self) -> Failure {
        match self.result {
            Err(Error::Failed(failure)) => *failure,
            other => panic!("{other:?}"),
        }
    }
}

fn count(report: &Report, is: impl Fn(&Warning) -> bool) -> usize {
    report.warnings.iter().filter(|warning| is(warning)).count()
}

/// Tasks that a device did, and attempts on it whose result was not used.
fn did(report: &Report, device: &str) -> (u64, u64) {
    let sessions = report.cost.sessions.iter();
    let of_it = sessions.filter(|session| session.device.as_str() == device);
    of_it.fold((0, 0), |sum, session| {
        (sum.0 + session.tasks, sum.1 + session.wasted)
    })
}

fn quarantined(warning: &Warning) -> bool {
    matches!(warning, Warning::Quarantined { device, .. } if device.as_str() == "bad")
}

/// The package that nothing disturbed.
fn reference() -> &'static Files {
    static REFERENCE: OnceLock<Files> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let run = Run::of(Setting::new(|_| None));
        let report = run.result.expect("a whole job");
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        assert_eq!(report.inspection.inspected, SEGMENTS * RENDITIONS);
        assert!(report.schedule_independent);
        let (good, bad) = (did(&report, "good"), did(&report, "bad"));
        assert!(good.0 > 0 && bad.0 > 0, "both work: {good:?}, {bad:?}");
        run.files
    })
}

fn on_bad(fault: Fault) -> Setting {
    Setting::new(move |device| (device == BAD).then_some(fault))
}

/// What is bad goes wrong each time, and all others do not go on before that has happened often enough: how fast a machine is does not matter
/// then.
fn bad_first(
    (fault, often): (Fault, usize),
    is_bad: impl Fn(&Try) -> bool + Send + Sync + 'static,
) -> Setting {
    let failed = (Mutex::new(0), Condvar::new());
    let script: Script = Box::new(move |attempt| {
        let (count, changed) = &failed;
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        if is_bad(attempt) {
            *count += 1;
            changed.notify_all();
            return Some(fault);
        }
        let waited = changed.wait_timeout_while(count, PATIENCE, |count| *count < often);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        None
    });
    Setting {
        script,
        rules: Rules {
            deadline_floor: 2 * PATIENCE,
            ..RULES()
        },
        ..on_bad(fault)
    }
}

#[test]
fn a_device_that_always_fails_is_quarantined() {
    if !is_ready() {
        return;
    }
    for fault in [Fault::Error, Fault::Panic] {
        let bad = |attempt: &Try| attempt.device.place() == BAD;
        let run = Run::of(bad_first((fault, STRIKES), bad));
        let report = run.assert_whole();
        assert!(run.happened(fault) >= STRIKES, "it would eat the queue");
        assert!(count(report, quarantined) > 0, "{:?}", report.warnings);
        assert_eq!(did(report, "good").0, SEGMENTS * RENDITIONS);
        // A black hole: it fails at once, and would eat the queue.
        let tasks = |warning: &Warning| matches!(warning, Warning::Retried { .. });
        assert!(count(report, tasks) <= 9, "{:?}", report.warnings);
    }
}

#[test]
fn a_device_that_lies_is_quarantined_and_publishes_nothing() {
    if !is_ready() {
        return;
    }
    for fault in [
        Fault::Swapped,
        Fault::Frozen,
        Fault::Green,
        Fault::OtherConfiguration,
        Fault::Short,
    ] {
        let run = Run::of(on_bad(fault));
        assert!(run.happened(fault) > 0);
        let report = run.assert_whole();
        assert_eq!(did(report, "bad").0, 0, "{fault:?}");
        let often = run.happened(fault) >= STRIKES;
        assert_eq!(count(report, quarantined) > 0, often, "{fault:?}");
    }
}

#[test]
fn a_device_without_room_has_its_sessions_lowered() {
    if !is_ready() {
        return;
    }
    for fault in [Fault::OutOfSessions, Fault::OutOfMemory] {
        // The second session of the second device never gets room.
        let bad = |attempt: &Try| attempt.device.place() == BAD && attempt.session == 1;
        let run = Run::of(Setting {
            sessions: 2,
            ..bad_first((fault, 1), bad)
        });
        assert!(run.happened(fault) > 0);
        let report = run.assert_whole();
        let lowered =
            |warning: &Warning| matches!(warning, Warning::CapacityLowered { sessions: 1, .. });
        assert!(count(report, lowered) > 0, "{:?}", report.warnings);
        let failures = |warning: &Warning| matches!(warning, Warning::Retried { .. });
        assert_eq!(count(report, failures), 0, "{:?}", report.warnings);
    }
}

#[test]
fn a_device_that_is_lost_gets_nothing_more() {
    if !is_ready() {
        return;
    }
    let run = Run::of(Setting {
        script: Box::new(|attempt| {
            (attempt.device.place() == BAD && attempt.segment > 1).then_some(Fault::Lost)
        }),
        ..on_bad(Fault::Lost)
    });
    assert_eq!(run.happened(Fault::Lost), 1);
    let report = run.assert_whole();
    // With its reason, though another device finished the job.
    let lost = |warning: &Warning| matches!(warning, Warning::DeviceLost { error, .. } if error.contains("bus"));
    assert_eq!(count(report, lost), 1, "{:?}", report.warnings);
    assert_eq!(count(report, quarantined), 0, "{:?}", report.warnings);
}

#[test]
fn a_job_whose_devices_are_all_lost_ends_typed() {
    if !is_ready() {
        return;
    }
    let run = Run::of(Setting::new(|_| Some(Fault::Lost)));
    match run.failure() {
        Failure::NoDevice {
            source: Some(EncodeError::DeviceLost { .. }),
            ..
        } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_hangs_until_it_is_told_to_stop_costs_a_deadline() {
    if !is_ready() {
        return;
    }
    let run = Run::of(Setting {
        script: Box::new(|attempt| {
            (attempt.device.place() == BAD && attempt.segment == 1).then_some(Fault::Hang)
        }),
        ..on_bad(Fault::Hang)
    });
    let report = run.assert_whole();
    if run.happened(Fault::Hang) > 0 {
        assert!(did(report, "bad").1 > 0, "{:?}", report.cost);
        // Whether it was overdue, or another one was faster.
        let told = |warning: &Warning| match warning {
            Warning::Retried { error, .. } => error.contains("did not end within"),
            Warning::Outrun { device, .. } => device.as_str() == "bad",
            _ => false,
        };
        assert!(count(report, told) > 0, "{:?}", report.warnings);
    }
}

#[test]
fn what_hangs_for_ever_is_left_behind() {
    if !is_ready() {
        return;
    }
    let run = Run::of(on_bad(Fault::HangForEver));
    assert!(run.happened(Fault::HangForEver) > 0);
    let report = run.assert_whole();
    let hung = |warning: &Warning| matches!(warning, Warning::Hung { device, .. } if device.as_str() == "bad");
    assert!(count(report, hung) > 0, "{:?}", report.warnings);
    assert_eq!(did(report, "good").0, SEGMENTS * RENDITIONS);
    assert!(run.ending < Duration::from_secs(5), "{:?}", run.ending);
}

#[test]
fn a_job_that_is_cancelled_does_not_wait_for_what_hangs() {
    if !is_ready() {
        return;
    }
    let run = Run::of(Setting {
        watch: |event, cancel| {
            if matches!(event, Event::Segment { segment: 1, .. }) {
                cancel.cancel();
            }
        },
        ..on_bad(Fault::HangForEver)
    });
    assert!(matches!(run.result, Err(Error::Interrupted)));
}

#[test]
fn a_job_on_devices_that_all_hang_ends_typed() {
    if !is_ready() {
        return;
    }
    let run = Run::of(Setting::new(|_| Some(Fault::HangForEver)));
    assert!(run.ending < Duration::from_secs(5), "{:?}", run.ending);
    let failure = run.failure();
    let reason = std::error::Error::source(&failure).map(ToString::to_string);
    assert!(
        matches!(failure, Failure::NoDevice { .. } | Failure::Encode { .. })
            && reason.is_some_and(|reason| reason.contains("did not end within")),
        "{failure:?}"
    );
}

#[test]
fn a_straggler_gets_a_second_attempt_and_the_first_result_counts() {
    if !is_ready() {
        return;
    }
    let run = Run::of(Setting {
        // As fast as the other at first, so that something is expected of it.
        script: Box::new(|attempt| {
            let late = attempt.device.place() == BAD && attempt.segment >= 3;
            late.then_some(Fault::Hang)
        }),
        rules: Rules {
            deadline_floor: Duration::from_secs(30),
            ..RULES()
        },
        ..on_bad(Fault::Hang)
    });
    let report = run.assert_whole();
    assert!(run.happened(Fault::Hang) > 0);
    let (_, wasted) = did(report, "bad");
    assert!(wasted > 0, "{:?}", report.cost);
    let outrun = |warning: &Warning| matches!(warning, Warning::Outrun { device, .. } if device.as_str() == "bad");
    assert_eq!(
        count(report, outrun),
        report.warnings.len(),
        "{:?}",
        report.warnings
    );
}

#[test]
fn a_task_that_fails_everywhere_ends_the_job_after_three_attempts() {
    if !is_ready() {
        return;
    }
    let run = Run::of(Setting {
        script: Box::new(|attempt| {
            let here = attempt.segment == 2 && attempt.rendition == "av1-180p";
            here.then_some(Fault::Error)
        }),
        ..on_bad(Fault::Error)
    });
    match run.failure() {
        failure @ Failure::Encode { .. } => {
            let told = failure.to_string();
            assert!(told.ends_with("failed 3 times: on bad, good"), "{told}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_fed_to_a_device_that_lies_is_found_out() {
    if !is_ready() {
        return;
    }
    let run = Run::of(Setting {
        // Too little for the pictures of one span and the larger encoder.
        memory: 11 << 20,
        ..on_bad(Fault::Frozen)
    });
    assert!(run.happened(Fault::Frozen) > 0);
    let report = run.assert_whole();
    // What is fed cannot be had again: it is decoded again.
    let read = &report.read;
    assert!(read.frames_decoded > read.frames_packaged, "{read:?}");
    assert!(report.inspection.findings > 0);
}

#[test]
#[ignore = "50 jobs; `make test-full` runs it"]
fn fifty_jobs_on_two_devices_with_random_faults_are_whole() {
    if !is_ready() {
        return;
    }
    let quick = [&Fault::SILENT[..], &Fault::LOUD, &[Fault::Slow(3)]].concat();
    let mut happened = 0;
    for seed in 0..50 {
        let run = Run::of(Setting {
            script: seeded(seed, 0.3, quick.clone()),
            sessions: 1 + (seed % 2) as u32,
            ..on_bad(Fault::Error)
        });
        happened += run.backend.done().len();
        run.assert_whole();
    }
    assert!(happened > 200, "{happened} faults are too few to tell");
}
