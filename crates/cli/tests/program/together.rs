//! Several real jobs on one engine: each gives what it gives alone, and one that is dropped takes nothing with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rungs_engine::{Engine, Error, Event, Request, Submitted, Terms};
use rungs_package::output::Memory;
use rungs_testkit::clips::{Audio, Clip};

use crate::stage::{Job, PLENTY, Watched, cpu, software};
use crate::support::ready;

fn engine(delay: Duration) -> Arc<Engine> {
    let backend = Arc::new(Watched::new(Box::new(software()), Some(delay)));
    Arc::new(Engine::with_devices(backend, cpu(3), PLENTY).expect("threads"))
}

fn submit(engine: &Arc<Engine>, job: &Job) -> (Submitted, Memory) {
    let files = Memory::new();
    let request = Request {
        plan: job.plan.clone(),
        source: job.source.clone(),
        output: Box::new(files.clone()),
        terms: Terms::default(),
    };
    (engine.submit(request).expect("a thread"), files)
}

fn package(files: &Memory) -> BTreeMap<String, Vec<u8>> {
    let mut files = files.files();
    files.remove("report.json");
    files
}

/// What a job gives alone.
fn alone(path: &Path) -> (Job, BTreeMap<String, Vec<u8>>) {
    let job = Job::of(path);
    let (submitted, files) = submit(&engine(Duration::ZERO), &job);
    submitted.join().expect("a whole job");
    (job, package(&files))
}

fn clips() -> [std::path::PathBuf; 2] {
    let clip = || Clip::new().size(320, 180).audio(Audio::Stereo);
    [clip().seconds(5.0).make(), clip().seconds(3.0).vfr().make()]
}

#[test]
fn jobs_side_by_side_give_what_they_give_alone() {
    if !ready() {
        return;
    }
    let jobs = clips().map(|path| alone(&path));
    let engine = engine(Duration::from_millis(20));
    let running = jobs.each_ref().map(|(job, _)| submit(&engine, job));
    for ((submitted, files), (job, expected)) in running.into_iter().zip(&jobs) {
        let events: Vec<Event> = submitted.events().iter().collect();
        let report = submitted.join().expect("a whole job");
        assert!(package(&files) == *expected, "other bytes");
        assert!(matches!(events.first(), Some(Event::Started { .. })));
        assert!(matches!(events.last(), Some(Event::Finished { .. })));
        assert_eq!(report.plan.source, job.plan.source);
    }
}

#[test]
fn one_that_is_dropped_and_one_that_is_cancelled_leave_the_third_whole() {
    if !ready() {
        return;
    }
    let [long, short] = clips();
    let (job, expected) = alone(&short);
    let long = Job::of(&long);
    let engine = engine(Duration::from_millis(300));
    let (dropped, _) = submit(&engine, &long);
    let (cancelled, _) = submit(&engine, &long);
    let (third, files) = submit(&engine, &job);
    // All are at work.
    for running in [&dropped, &cancelled, &third] {
        let decoded = |event: &Event| matches!(event, Event::Decoded { .. });
        assert!(running.events().iter().any(|event| decoded(&event)));
    }
    let started = Instant::now();
    drop(dropped);
    cancelled.cancel();
    let result = cancelled.join();
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
    third.join().expect("a whole job");
    assert!(package(&files) == expected, "other bytes");
}
