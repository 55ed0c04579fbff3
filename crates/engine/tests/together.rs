//! Several jobs on one engine, side by side: each gives what it gives alone, and gets its share. Everything is real but the pictures and the
//! encoder.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rungs_engine::device::Lease;
use rungs_engine::error::{EncodeError, Failure};
use rungs_engine::read::{Material, Opened, Picture, ReadCounts, Reader, Start};
use rungs_engine::span::{Encoded, Task};
use rungs_engine::worker::Backend;
use rungs_engine::{Cancel, Engine, Error, Event, Footage, Io, Report, Terms};
use rungs_package::output::Memory;
use rungs_testkit::fake::{EncodeFault, FakeBackend, FakeJob, FakeReader, Faults, ReadFault};

const LARGE: FakeJob = FakeJob {
    frames: 2500,
    frames_per_segment: 25,
    renditions: 3,
    sessions: 4,
    memory: 400_000,
};
const SMALL: FakeJob = FakeJob {
    frames: 100,
    ..LARGE
};
/// What a task takes where it matters.
const WORK: Duration = Duration::from_millis(4);

/// The fake encoder with an artificial encode time.
struct Slow {
    inner: FakeBackend,
    work: Duration,
}

impl Backend for Slow {
    fn encode(&self, lease: &Lease, task: &Task, cancel: &Cancel) -> Result<Encoded, EncodeError> {
        // Nothing comes over this line: the encoder is as slow as that, or is cancelled.
        cancel.signal().recv_timeout(self.work).ok();
        self.inner.encode(lease, task, cancel)
    }
}

fn engine_with(work: Duration, faults: Faults) -> Engine {
    let inner = FakeBackend::with(faults);
    let backend = Arc::new(Slow { inner, work });
    Engine::with_devices(backend, LARGE.devices(), LARGE.memory).expect("threads can be had")
}

fn engine(work: Duration) -> Engine {
    engine_with(work, Box::new(|_, _, _| None))
}

/// One job of several.
struct One<'a> {
    job: FakeJob,
    reader: &'a dyn Material,
    terms: Terms,
    cancel: Cancel,
}

/// What one job left behind.
struct Run {
    result: Result<Report, Error>,
    files: BTreeMap<String, Vec<u8>>,
}

impl<'a> One<'a> {
    fn new(job: FakeJob, reader: &'a dyn Material) -> Self {
        Self {
            job,
            reader,
            terms: Terms::default(),
            cancel: Cancel::new(),
        }
    }

    fn weighing(mut self, weight: f64) -> Self {
        self.terms.weight = weight;
        self
    }

    fn run(&self, engine: &Engine, observer: &mut dyn FnMut(Event)) -> Run {
        let files = Memory::new();
        let footage = Footage {
            material: self.reader,
            sound: None,
            unchanged: &|| true,
        };
        let io = Io {
            output: Box::new(files.clone()),
            terms: self.terms,
            cancel: &self.cancel,
            observer,
        };
        let result = engine.run_footage(&self.job.plan(), footage, io);
        let mut files = files.files();
        files.remove("report.json");
        Run { result, files }
    }
}

/// What a job gives alone.
fn alone(job: FakeJob) -> BTreeMap<String, Vec<u8>> {
    let reader = FakeReader::new(job.frames);
    let run = One::new(job, &reader).run(&engine(Duration::ZERO), &mut |_| {});
    run.result.expect("a whole job");
    run.files
}

/// Segments of which an event tells, by its kind.
fn segments(events: &[Event]) -> usize {
    let published = |event: &&Event| matches!(event, Event::Segment { .. });
    events.iter().filter(published).count()
}

#[test]
fn each_of_several_jobs_gives_what_it_gives_alone_and_tells_its_own_events() {
    let engine = engine(Duration::ZERO);
    let jobs = [
        LARGE,
        SMALL,
        FakeJob {
            renditions: 1,
            ..LARGE
        },
        FakeJob {
            frames_per_segment: 13,
            ..SMALL
        },
    ];
    std::thread::scope(|scope| {
        for job in jobs {
            let engine = &engine;
            scope.spawn(move || {
                let reader = FakeReader::new(job.frames);
                let mut events = Vec::new();
                let run = One::new(job, &reader).run(engine, &mut |event| events.push(event));
                let report = run.result.expect("a whole job");
                assert!(run.files == alone(job), "{job:?}: other bytes");
                assert_eq!(report.read.frames_decoded, job.frames);
                assert!(matches!(events.first(), Some(Event::Started { .. })));
                assert!(matches!(events.last(), Some(Event::Finished { .. })));
                let count = job.segments() as usize;
                assert_eq!(segments(&events), count * job.renditions);
                let decoded = |event: &&Event| matches!(event, Event::Decoded { .. });
                assert_eq!(events.iter().filter(decoded).count(), count);
            });
        }
    });
}

#[test]
fn a_small_job_is_not_stuck_behind_a_large_one() {
    let engine = engine(WORK);
    let done = AtomicUsize::new(0);
    let (begun, begins) = mpsc::channel();
    std::thread::scope(|scope| {
        let large = scope.spawn(|| {
            let reader = FakeReader::new(LARGE.frames);
            One::new(LARGE, &reader).run(&engine, &mut |event| {
                if matches!(event, Event::Encoded { .. }) {
                    done.fetch_add(1, Ordering::Relaxed);
                    begun.send(()).ok();
                }
            })
        });
        begins.recv().expect("the large one begins");
        let reader = FakeReader::new(SMALL.frames);
        let small = One::new(SMALL, &reader).run(&engine, &mut |_| {});
        let done = done.load(Ordering::Relaxed);
        small.result.expect("a whole job");
        assert!(small.files == alone(SMALL));
        // Its 12 tasks shared the sessions with as many of the other.
        assert!(
            done < 300 / 3,
            "{done} of the large one's 300 tasks came first"
        );
        let large = large.join().expect("no panic");
        large.result.expect("a whole job");
        assert!(large.files == alone(LARGE));
    });
}

/// Session-seconds, and whether one of the jobs has ended.
#[derive(Default)]
struct Share {
    seconds: BTreeMap<u32, f64>,
    over: bool,
}

/// The schedule's own tests and the simulator hold shares by weight under a virtual clock; here pumps that are slowed down by other tests
/// leave the heavy job without pictures, and the light one takes what it leaves.
#[test]
#[ignore = "needs a quiet machine; run by make test-full"]
fn session_time_goes_by_weight_while_jobs_contend() {
    let engine = engine(WORK);
    let share = Mutex::new(Share::default());
    std::thread::scope(|scope| {
        for weight in [1, 3] {
            let (engine, share) = (&engine, &share);
            scope.spawn(move || {
                let reader = FakeReader::new(LARGE.frames);
                let one = One::new(LARGE, &reader).weighing(f64::from(weight));
                let run = one.run(engine, &mut |event| {
                    let mut share = share.lock().unwrap_or_else(PoisonError::into_inner);
                    match event {
                        Event::Encoded { seconds, .. } if !share.over => {
                            *share.seconds.entry(weight).or_default() += seconds;
                        }
                        // From here on this job has less to do than its share.
                        Event::SourceEnded { .. } => share.over = true,
                        _ => {}
                    }
                });
                run.result.expect("a whole job");
                assert!(run.files == alone(LARGE));
            });
        }
    });
    let seconds = share.into_inner().expect("no panic").seconds;
    let light = seconds[&1] / (seconds[&1] + seconds[&3]);
    assert!(
        (0.18..0.32).contains(&light),
        "weight 1 of 4 got {light:.3}: {seconds:?}"
    );
}

#[test]
fn cancelling_one_leaves_the_other_whole() {
    let engine = engine(WORK);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let reader = FakeReader::new(SMALL.frames);
            One::new(SMALL, &reader).run(&engine, &mut |_| {})
        });
        let reader = FakeReader::new(LARGE.frames);
        let one = One::new(LARGE, &reader);
        let cancel = one.cancel.clone();
        let started = Instant::now();
        let run = one.run(&engine, &mut |event| {
            if matches!(event, Event::Segment { .. }) {
                cancel.cancel();
            }
        });
        assert!(
            matches!(run.result, Err(Error::Interrupted)),
            "{:?}",
            run.result
        );
        assert!(started.elapsed() < Duration::from_secs(10));
        let other = other.join().expect("no panic");
        other.result.expect("a whole job");
        assert!(other.files == alone(SMALL));
    });
}

#[test]
fn a_job_that_fails_leaves_the_other_whole() {
    for read_fault in [None, Some(ReadFault::Error), Some(ReadFault::Panic)] {
        // Both have a rendition of this name; only one of them has so many segments.
        let faults: Faults = Box::new(move |segment, name, _| {
            let here = read_fault.is_none() && segment == 50 && name == "fake-1";
            here.then_some(EncodeFault::Error)
        });
        let engine = engine_with(Duration::from_millis(1), faults);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let reader = FakeReader::new(SMALL.frames);
                One::new(SMALL, &reader).run(&engine, &mut |_| {})
            });
            let reader = FakeReader::new(LARGE.frames);
            let reader = match read_fault {
                None => reader,
                Some(fault) => reader.failing(1300, fault),
            };
            let run = One::new(LARGE, &reader).run(&engine, &mut |_| {});
            match (run.result, read_fault) {
                (Err(Error::Failed(failure)), fault) => match (*failure, fault) {
                    (Failure::Encode { segment, .. }, None) => assert_eq!(segment.get(), 50),
                    (Failure::Read { .. }, Some(ReadFault::Error))
                    | (Failure::Lost("pump"), Some(ReadFault::Panic)) => {}
                    (failure, fault) => panic!("{fault:?}: {failure:?}"),
                },
                (result, _) => panic!("{result:?}"),
            }
            let other = other.join().expect("no panic");
            other.result.expect("a whole job");
            assert!(other.files == alone(SMALL));
        });
    }
}

/// A source that takes its time, and says how far it was read.
struct Paced {
    inner: FakeReader,
    read: Arc<AtomicUsize>,
}

struct PacedReader {
    inner: Box<dyn Reader>,
    read: Arc<AtomicUsize>,
}

impl Material for Paced {
    fn open(&self, start: Option<Start>) -> Result<Opened, rungs_media::Error> {
        let opened = self.inner.open(start)?;
        Ok(Opened {
            reader: Box::new(PacedReader {
                inner: opened.reader,
                read: Arc::clone(&self.read),
            }),
            ..opened
        })
    }

    fn keyframe_before(&self, timestamp: i64) -> Option<i64> {
        self.inner.keyframe_before(timestamp)
    }
}

impl Reader for PacedReader {
    fn look_ahead(&mut self, from: i64, until: i64) -> Result<u64, rungs_media::Error> {
        self.inner.look_ahead(from, until)
    }

    fn next(&mut self) -> Result<Option<Picture>, rungs_media::Error> {
        self.read.fetch_add(1, Ordering::Relaxed);
        Cancel::new()
            .signal()
            .recv_timeout(Duration::from_millis(1))
            .ok();
        self.inner.next()
    }

    fn counts(&self) -> ReadCounts {
        self.inner.counts()
    }
}

#[test]
fn an_observer_that_panics_takes_its_own_job_only() {
    let engine = engine(WORK);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let reader = FakeReader::new(SMALL.frames);
            One::new(SMALL, &reader).run(&engine, &mut |_| {})
        });
        let read = Arc::new(AtomicUsize::new(0));
        let reader = Paced {
            inner: FakeReader::new(LARGE.frames),
            read: Arc::clone(&read),
        };
        let mut one = One::new(LARGE, &reader);
        one.terms.decoders = Some(3);
        // While the observer is busy the sessions starve, and control has pumps to be started that nobody starts.
        let mut observer = |event: Event| {
            if matches!(event, Event::Decoded { .. }) {
                while read.load(Ordering::Relaxed) < 150 {
                    std::thread::yield_now();
                }
                panic!("the observer was told to panic");
            }
        };
        let panicked = catch_unwind(AssertUnwindSafe(|| one.run(&engine, &mut observer).result));
        assert!(
            panicked.is_err(),
            "{:?}",
            panicked.map(|result| result.is_ok())
        );
        let other = other.join().expect("no panic");
        other.result.expect("a whole job");
    });
    // The engine knows of nothing but the next job: at its end, sessions drain.
    let reader = FakeReader::new(100);
    let job = FakeJob {
        frames: 100,
        renditions: 1,
        ..LARGE
    };
    let run = One::new(job, &reader).run(&engine, &mut |_| {});
    let report = run.result.expect("a whole job");
    let spent = report.efficiency.devices[0].spent;
    assert!(spent.draining > 0.0, "{spent:?}");
}
