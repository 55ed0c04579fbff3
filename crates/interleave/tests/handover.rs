//! The hand-over between pumps, control, workers and the publisher, in thousands of orders: whole jobs of the real engine on threads and
//! channels that `shuttle` schedules. Whoever waits for ever is a deadlock, and fails the test.
//!
//! What is real: engine, control, schedule, pumps, feeding, workers, publisher, packager. What stands in: channels, locks and threads (see
//! `engine/src/sync`), the pictures, the encoder and the disk. Time does not pass, so that deadlines are not tested here.

extern crate rungs_interleave as rungs_engine;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rungs_engine::error::Failure;
use rungs_engine::{Cancel, Engine, Error, Event, Footage, Io, Planted, Terms, plant};
use rungs_package::output::{Fact, Item, Memory, Output, OutputError};
use shuttle::rand::Rng;
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner};

/// The fakes of the test kit, for this build of the engine.
#[path = "../../testkit/src/fake.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
mod fake;

use fake::{EncodeFault, FakeBackend, FakeJob, FakeReader, ReadFault};

/// Fits into memory with room for a span or two.
const HELD: FakeJob = FakeJob {
    frames: 12,
    frames_per_segment: 4,
    renditions: 2,
    sessions: 2,
    memory: 20_000,
};
/// No span fits: all are fed.
const FED: FakeJob = FakeJob { memory: 0, ..HELD };
/// Orders that are tried of each.
const ORDERS: usize = 300;
const STACK: usize = 1 << 20;

/// One at a time: mistakes are planted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_many_orders(test: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.failure_persistence = shuttle::FailurePersistence::None;
    let scheduler = RandomScheduler::new(ORDERS);
    Runner::new(scheduler, config).run(test);
}

/// Keeps what a job tells its output.
#[derive(Clone, Default)]
struct Kept {
    files: Memory,
    facts: Arc<Mutex<Vec<Fact>>>,
}

impl Output for Kept {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.files.put(item)
    }

    fn note(&mut self, fact: &Fact) -> Result<(), OutputError> {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.push(fact.clone());
        Ok(())
    }
}

impl Kept {
    /// What is published, without the report, which tells times.
    fn package(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files.files();
        files.remove("report.json");
        files
    }

    /// How often it is told of a span that the source ends with it: once with each rendition of the last.
    fn last_spans(&self) -> usize {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_last = |fact: &&Fact| matches!(fact, Fact::Span(span) if span.last);
        facts.iter().filter(is_last).count()
    }
}

/// A job on an engine of its own.
struct Setup {
    job: FakeJob,
    decoders: u32,
    backend: FakeBackend,
    reader: FakeReader,
}

impl Setup {
    fn new(job: FakeJob) -> Self {
        Self {
            job,
            decoders: 2,
            backend: FakeBackend::sound(),
            reader: FakeReader::new(job.frames).keyframes(Some(3)),
        }
    }

    fn run(self, observe: &mut dyn FnMut(&Event, &Cancel)) -> (Result<(), Error>, Kept) {
        let backend = Arc::new(self.backend);
        let engine = Engine::with_devices(backend, self.job.devices(), self.job.memory);
        let engine = engine.expect("threads can be had");
        run_on(&engine, (self.job, self.decoders, &self.reader), observe)
    }
}

fn run_on(
    engine: &Engine,
    (job, decoders, reader): (FakeJob, u32, &FakeReader),
    observe: &mut dyn FnMut(&Event, &Cancel),
) -> (Result<(), Error>, Kept) {
    let (kept, cancel) = (Kept::default(), Cancel::new());
    let footage = Footage {
        material: reader,
        sound: None,
        unchanged: &|| true,
    };
    let io = Io {
        output: Box::new(kept.clone()),
        terms: Terms {
            decoders: Some(decoders),
            ..Terms::default()
        },
        cancel: &cancel,
        observer: &mut |event| observe(&event, &cancel),
    };
    let result = engine.run_footage(&job.plan(), footage, io);
    (result.map(drop), kept)
}

/// What the job gives, by the first order that is tried.
fn whole_job(job: FakeJob) {
    let expected = Arc::new(Mutex::new(None));
    in_many_orders(move || {
        let (result, kept) = Setup::new(job).run(&mut |_, _| {});
        result.expect("a whole job");
        let told = kept.last_spans();
        assert_eq!(
            told, job.renditions,
            "the journal does not know the end of the source"
        );
        let package = kept.package();
        let mut expected = expected.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = expected.get_or_insert_with(|| package.clone());
        assert!(package == *expected, "other bytes");
    });
}

#[test]
fn whole_spans_are_handed_over_in_any_order() {
    let _alone = alone();
    whole_job(HELD);
}

#[test]
fn fed_spans_are_handed_over_in_any_order() {
    let _alone = alone();
    whole_job(FED);
}

/// Cancels a job at a random event.
fn cancelled(job: FakeJob) {
    in_many_orders(move || {
        let mut left = shuttle::rand::thread_rng().gen_range(0..15);
        let (result, _) = Setup::new(job).run(&mut |_, cancel| {
            if left == 0 {
                cancel.cancel();
            }
            left -= 1;
        });
        assert!(
            matches!(result, Ok(()) | Err(Error::Interrupted)),
            "{result:?}"
        );
    });
}

#[test]
fn cancelling_wakes_everybody() {
    let _alone = alone();
    cancelled(HELD);
    cancelled(FED);
}

#[test]
fn a_try_that_fails_is_made_good() {
    let _alone = alone();
    for job in [HELD, FED] {
        in_many_orders(move || {
            let mut setup = Setup::new(job);
            setup.backend = FakeBackend::with(Box::new(|segment, name, attempt| {
                (segment == 1 && name == "fake-0" && attempt == 1).then_some(EncodeFault::Error)
            }));
            setup.run(&mut |_, _| {}).0.expect("a second try is enough");
        });
    }
}

#[test]
fn a_source_that_fails_ends_the_job_with_its_cause() {
    let _alone = alone();
    for (job, fault) in [(HELD, ReadFault::Error), (FED, ReadFault::Error)] {
        in_many_orders(move || {
            let mut setup = Setup::new(job);
            setup.reader = setup.reader.failing(6, fault);
            let (result, _) = setup.run(&mut |_, _| {});
            match result {
                Err(Error::Failed(failure)) => assert!(matches!(*failure, Failure::Read { .. })),
                other => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn two_jobs_share_one_engine_and_one_may_be_cancelled() {
    let _alone = alone();
    in_many_orders(|| {
        let backend = Arc::new(FakeBackend::sound());
        let engine = Engine::with_devices(backend, HELD.devices(), HELD.memory);
        let engine = Arc::new(engine.expect("threads"));
        let other = Arc::clone(&engine);
        let other = shuttle::thread::spawn(move || {
            let reader = FakeReader::new(HELD.frames);
            let observe = &mut |_: &Event, cancel: &Cancel| cancel.cancel();
            let (result, _) = run_on(&other, (HELD, 1, &reader), observe);
            assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
        });
        let reader = FakeReader::new(HELD.frames);
        let (result, kept) = run_on(&engine, (HELD, 2, &reader), &mut |_, _| {});
        result.expect("a whole job");
        assert_eq!(kept.last_spans(), HELD.renditions);
        other.join().expect("no panic");
    });
}

/// Whether the tests above find a mistake.
fn is_found(mistake: Planted, test: impl Fn() + std::panic::UnwindSafe) -> bool {
    plant(Some(mistake));
    let found = catch_unwind(AssertUnwindSafe(test)).is_err();
    plant(None);
    found
}

#[test]
fn planted_mistakes_are_found() {
    let _alone = alone();
    assert!(is_found(Planted::FedLate, || whole_job(FED)));
    assert!(is_found(Planted::Silence, || cancelled(HELD)));
}
