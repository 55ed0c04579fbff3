//! Whole jobs on the fake backend: everything is real but the pictures and the encoder.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rungs_engine::error::Failure;
use rungs_engine::{Cancel, Engine, Error, Event, Footage, Io, Options, Report, Terms};
use rungs_package::output::{Item, Memory, Output, OutputError};
use rungs_testkit::fake::{EncodeFault, FakeBackend, FakeJob, FakeReader, Faults, ReadFault};

const JOB: FakeJob = FakeJob {
    frames: 1000,
    frames_per_segment: 25,
    renditions: 3,
    sessions: 3,
    memory: 200_000,
};

/// What one run left behind.
struct Run {
    result: Result<Report, Error>,
    events: Vec<Event>,
    files: Memory,
    backend: Arc<FakeBackend>,
}

struct Setup {
    job: FakeJob,
    reader: FakeReader,
    faults: Faults,
    /// Cancels when this many segments are published.
    cancel_after: Option<usize>,
    output: Option<Box<dyn Output>>,
}

impl Setup {
    fn new(job: FakeJob) -> Self {
        Self {
            job,
            reader: FakeReader::new(job.frames),
            faults: Box::new(|_, _, _| None),
            cancel_after: None,
            output: None,
        }
    }

    fn run(self) -> Run {
        let backend = Arc::new(FakeBackend::with(self.faults));
        let engine = Engine::with_devices(
            Arc::clone(&backend) as _,
            self.job.devices(),
            self.job.memory,
        );
        let engine = engine.expect("threads can be had");
        let files = Memory::new();
        let cancel = Cancel::new();
        let mut events = Vec::new();
        let mut segments = 0;
        let result = engine.run_footage(
            &self.job.plan(),
            Footage {
                material: &self.reader,
                sound: None,
                unchanged: &|| true,
            },
            Io {
                output: self.output.unwrap_or_else(|| Box::new(files.clone())),
                terms: Terms::default(),
                cancel: &cancel,
                observer: &mut |event| {
                    segments += usize::from(matches!(event, Event::Segment { .. }));
                    if self.cancel_after.is_some_and(|after| segments >= after) {
                        cancel.cancel();
                    }
                    events.push(event);
                },
            },
        );
        Run {
            result,
            events,
            files,
            backend,
        }
    }
}

impl Run {
    fn segments(&self) -> BTreeSet<String> {
        self.files
            .paths()
            .into_iter()
            .filter(|path| is_segment(path))
            .collect()
    }

    fn failure(self) -> Failure {
        match self.result {
            Err(Error::Failed(failure)) => *failure,
            other => panic!("not a failure: {other:?}"),
        }
    }
}

fn is_segment(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, extension)| extension == "m4s")
}

#[test]
fn every_segment_of_every_rendition_is_published_once() {
    let run = Setup::new(JOB).run();
    let report = run.result.as_ref().expect("a whole job");
    assert_eq!(run.segments().len(), 40 * 3);
    assert_eq!(report.read.frames_decoded, 1000);
    assert_eq!(report.read.frames_packaged, 1000);
    assert!((report.seconds - 40.0).abs() < 1e-9);
    assert!(run.backend.tries().values().all(|tries| *tries == 1));
    assert!(report.cost.peak_charged <= JOB.memory);
    assert!(report.cost.first_playable_seconds.is_some());
    let playlist = run
        .files
        .get("video/fake-2/playlist.m3u8")
        .expect("a playlist");
    assert!(String::from_utf8_lossy(&playlist).contains("#EXT-X-ENDLIST"));
}

#[test]
fn events_tell_the_job_from_start_to_end() {
    let run = Setup::new(JOB).run();
    assert!(matches!(run.events.first(), Some(Event::Started { .. })));
    assert!(matches!(run.events.last(), Some(Event::Finished { .. })));
    let count =
        |wanted: fn(&Event) -> bool| run.events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Segment { .. })), 120);
    assert_eq!(count(|event| matches!(event, Event::Decoded { .. })), 40);
    assert_eq!(count(|event| matches!(event, Event::Playable { .. })), 1);
}

#[test]
fn thousands_of_segments_take_seconds() {
    let started = Instant::now();
    let run = Setup::new(FakeJob {
        frames: 6000,
        frames_per_segment: 13,
        renditions: 6,
        ..JOB
    })
    .run();
    run.result.as_ref().expect("a whole job");
    assert_eq!(run.segments().len(), 462 * 6);
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn the_bytes_do_not_depend_on_sessions_memory_or_retries() {
    let straight = Setup::new(FakeJob { sessions: 1, ..JOB }).run();
    let mut hindered = Setup::new(FakeJob {
        sessions: 4,
        memory: 1,
        ..JOB
    });
    hindered.faults = Box::new(|segment, _, attempt| {
        (segment % 3 == 0 && attempt < 3).then_some(EncodeFault::Error)
    });
    let hindered = hindered.run();
    hindered.result.as_ref().expect("three tries are enough");
    let media = |run: &Run| {
        let mut files = run.files.files();
        files.retain(|path, _| path != "report.json");
        files
    };
    assert!(media(&straight) == media(&hindered), "the packages differ");
}

#[test]
fn a_task_that_always_fails_ends_the_job_with_its_name() {
    let mut setup = Setup::new(JOB);
    setup.faults = Box::new(|segment, name, _| {
        (segment == 7 && name == "fake-1").then_some(EncodeFault::Error)
    });
    let run = setup.run();
    let tries = run.backend.tries();
    assert_eq!(tries[&(7, "fake-1".to_owned())], 3);
    match run.failure() {
        Failure::Encode {
            rendition,
            segment,
            devices,
            source,
            ..
        } => {
            assert_eq!(
                (rendition.as_str(), segment.get(), devices.len()),
                ("fake-1", 7, 3)
            );
            assert!(source.to_string().contains("was told to fail"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_task_that_is_given_up_while_others_wait_ends_the_job() {
    for sessions in [1, 2, 5] {
        let mut setup = Setup::new(FakeJob { sessions, ..JOB });
        setup.faults = Box::new(|segment, name, _| {
            (segment == 0 && name == "fake-0").then_some(EncodeFault::Error)
        });
        assert!(matches!(
            setup.run().failure(),
            Failure::Encode { devices, .. } if devices.len() == 3
        ));
    }
}

/// Panics at the last write of a job's segments.
struct Panicking {
    left: usize,
}

impl Output for Panicking {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.left -= usize::from(is_segment(item.path));
        assert!(self.left > 0, "the output was told to panic");
        Ok(())
    }
}

#[test]
fn a_panic_in_the_output_ends_the_job() {
    for left in [1, 60, 120] {
        let mut setup = Setup::new(JOB);
        setup.output = Some(Box::new(Panicking { left }));
        let begun = Instant::now();
        assert!(matches!(setup.run().failure(), Failure::Lost("publisher")));
        // Not only when its last attempts have been given up as hung.
        assert!(begun.elapsed() < Duration::from_secs(40));
    }
}

#[test]
fn a_panic_in_an_encoder_costs_one_try() {
    let mut setup = Setup::new(JOB);
    setup.faults = Box::new(|segment, _, attempt| {
        (segment == 3 && attempt == 1).then_some(EncodeFault::Panic)
    });
    let run = setup.run();
    run.result.as_ref().expect("the second try works");
    assert_eq!(run.segments().len(), 120);
}

#[test]
fn another_codec_configuration_is_an_error_and_never_published() {
    let mut setup = Setup::new(JOB);
    setup.faults =
        Box::new(|segment, _, _| (segment == 5).then_some(EncodeFault::OtherConfiguration));
    let run = setup.run();
    assert!(
        !run.segments()
            .iter()
            .any(|path| path.ends_with("seg-00005.m4s"))
    );
    assert!(matches!(run.failure(), Failure::Package(_)));
}

#[test]
fn what_is_no_av1_is_an_error_and_never_published() {
    let mut setup = Setup::new(JOB);
    setup.faults = Box::new(|segment, _, _| (segment == 5).then_some(EncodeFault::Garbage));
    let run = setup.run();
    assert!(
        !run.segments()
            .iter()
            .any(|path| path.ends_with("seg-00005.m4s"))
    );
    assert!(matches!(run.failure(), Failure::Bitstream(_)));
}

#[test]
fn an_error_at_any_picture_ends_the_job_with_its_cause() {
    for at in [0, 1, 24, 25, 26, 500, 999, 1000] {
        let mut setup = Setup::new(JOB);
        setup.reader = FakeReader::new(JOB.frames).failing(at, ReadFault::Error);
        assert!(
            matches!(setup.run().failure(), Failure::Read { .. }),
            "at {at}"
        );
    }
}

#[test]
fn a_panic_in_the_pump_ends_the_job() {
    let mut setup = Setup::new(JOB);
    setup.reader = FakeReader::new(JOB.frames).failing(333, ReadFault::Panic);
    assert!(matches!(setup.run().failure(), Failure::Lost("pump")));
}

#[test]
fn cancelling_at_any_step_ends_the_job_at_once() {
    for after in [1, 2, 10, 60, 119] {
        let mut setup = Setup::new(JOB);
        setup.cancel_after = Some(after);
        let started = Instant::now();
        let run = setup.run();
        assert!(
            matches!(run.result, Err(Error::Interrupted)),
            "after {after}: {:?}",
            run.result
        );
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(run.segments().len() < 120 || after > 100);
    }
}

#[test]
fn an_empty_source_is_an_error() {
    let mut setup = Setup::new(JOB);
    setup.reader = FakeReader::new(0);
    assert!(matches!(setup.run().failure(), Failure::Damaged { .. }));
}

#[test]
fn a_source_that_is_cut_off_is_packaged_with_a_warning() {
    let mut setup = Setup::new(JOB);
    setup.reader = FakeReader::new(610);
    let run = setup.run();
    let report = run.result.as_ref().expect("what there is");
    assert_eq!(run.segments().len(), 25 * 3);
    assert_eq!(report.warnings.len(), 1);
    assert_eq!(
        report.warnings[0].to_string(),
        "the source promises 40.00 s and 24.40 s could be decoded: it may be cut off"
    );
}

#[test]
fn little_memory_is_slower_and_never_stuck() {
    for memory in [0, 1, 30_000, 60_000] {
        let run = Setup::new(FakeJob { memory, ..JOB }).run();
        run.result.as_ref().expect("a whole job");
        assert_eq!(run.segments().len(), 120);
    }
}

/// Keeps what it is given until it is told to fail.
struct Failing {
    left: Arc<Mutex<usize>>,
}

impl Output for Failing {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if *left == 0 {
            return Err(OutputError {
                path: item.path.into(),
                operation: "write",
                source: std::io::Error::from(std::io::ErrorKind::StorageFull),
            });
        }
        *left -= 1;
        Ok(())
    }
}

#[test]
fn an_output_that_fails_at_any_write_ends_the_job() {
    for writes in [0, 1, 3, 4, 10, 50, 130] {
        let mut setup = Setup::new(JOB);
        setup.output = Some(Box::new(Failing {
            left: Arc::new(Mutex::new(writes)),
        }));
        match setup.run().failure() {
            Failure::Package(error) => assert!(error.is_no_space(), "after {writes}"),
            other => panic!("after {writes}: {other:?}"),
        }
    }
}

#[test]
fn an_engine_runs_one_job_after_another() {
    let engine = Engine::with_backend(Arc::new(FakeBackend::sound()), &Options::default())
        .expect("threads can be had");
    for _ in 0..3 {
        let files = Memory::new();
        let result = engine.run_footage(
            &JOB.plan(),
            Footage {
                material: &FakeReader::new(JOB.frames),
                sound: None,
                unchanged: &|| true,
            },
            Io {
                output: Box::new(files.clone()),
                terms: Terms::default(),
                cancel: &Cancel::new(),
                observer: &mut |_| {},
            },
        );
        result.expect("a whole job");
    }
}

#[test]
fn a_source_that_changed_is_an_error() {
    let engine = Engine::with_backend(Arc::new(FakeBackend::sound()), &Options::default())
        .expect("threads can be had");
    let result = engine.run_footage(
        &JOB.plan(),
        Footage {
            material: &FakeReader::new(JOB.frames),
            sound: None,
            unchanged: &|| false,
        },
        Io {
            output: Box::new(Memory::new()),
            terms: Terms::default(),
            cancel: &Cancel::new(),
            observer: &mut |_| {},
        },
    );
    match result {
        Err(Error::Failed(failure)) => assert!(matches!(*failure, Failure::SourceChanged)),
        other => panic!("{other:?}"),
    }
}
