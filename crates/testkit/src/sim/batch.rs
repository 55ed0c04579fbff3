//! Many seeds on all cores: what was found, and how often which fault was there.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::scenario::{Fault, Scenario, random};
use super::scheduler::Scheduler;
use super::world::{Outcome, Settings, run};

/// Seeds that a thread takes at once.
const CHUNK: u64 = 64;
/// Failing seeds that are kept.
const KEPT: usize = 20;

/// What a batch of runs came to.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Events that schedules were told.
    pub events: u64,
    /// Tasks committed.
    pub committed: u64,
    /// Jobs that were given up.
    pub given_up: u64,
    /// Runs in which five or more faults of different classes happened.
    pub five_or_more: u64,
    /// Runs in which a fault happened, and with which others: by the first, then by the second; the diagonal has the fault alone.
    pub pairs: Vec<[u64; Fault::ALL.len()]>,
    /// The first seeds that failed, and what was wrong.
    pub failures: Vec<(u64, String)>,
    /// Runs that failed.
    pub failed: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            runs: 0,
            events: 0,
            committed: 0,
            given_up: 0,
            five_or_more: 0,
            pairs: vec![[0; Fault::ALL.len()]; Fault::ALL.len()],
            failures: Vec::new(),
            failed: 0,
        }
    }
}

impl Tally {
    fn count(&mut self, seed: u64, outcome: Outcome) {
        self.runs += 1;
        self.events += outcome.events;
        self.committed += outcome.committed;
        self.given_up += u64::from(outcome.given_up);
        self.five_or_more += u64::from(outcome.hit.count_ones() >= 5);
        for (place, first) in Fault::ALL
            .iter()
            .enumerate()
            .filter(|(_, f)| outcome.hit & f.bit() != 0)
        {
            debug_assert_eq!(*first as usize, place);
            for (count, second) in self.pairs[place].iter_mut().zip(Fault::ALL) {
                *count += u64::from(outcome.hit & second.bit() != 0);
            }
        }
        if let Some(violation) = outcome.violation {
            self.failed += 1;
            self.failures.push((seed, violation));
            self.failures.sort();
            self.failures.truncate(KEPT);
        }
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.events += other.events;
        self.committed += other.committed;
        self.given_up += other.given_up;
        self.five_or_more += other.five_or_more;
        self.failed += other.failed;
        for (mine, theirs) in self.pairs.iter_mut().zip(other.pairs) {
            for (count, more) in mine.iter_mut().zip(theirs) {
                *count += more;
            }
        }
        self.failures.extend(other.failures);
        self.failures.sort();
        self.failures.truncate(KEPT);
    }
}

/// Plays the random scenario of a seed; a panic of the schedule counts as wrong.
pub fn play<S: Scheduler>(
    seed: u64,
    settings: Settings,
    make: impl FnOnce(&Scenario) -> S,
) -> Outcome {
    let scenario = random(seed);
    let played = catch_unwind(AssertUnwindSafe(|| {
        let schedule = make(&scenario);
        run(&scenario, schedule, settings)
    }));
    played.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| {
            panic
                .downcast_ref::<&str>()
                .map(|words| (*words).to_owned())
        });
        Outcome {
            violation: Some(format!("panic: {}", words.unwrap_or_default())),
            ..Outcome::default()
        }
    })
}

/// Plays the seeds from `first` on, `runs` of them, on all cores. Ends early when `enough` runs have failed.
pub fn play_all<S: Scheduler>(
    first: u64,
    runs: u64,
    enough: u64,
    make: impl Fn(&Scenario) -> S + Sync,
) -> Tally {
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(0);
    let work = || {
        let mut tally = Tally::default();
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= runs || failed.load(Ordering::Relaxed) >= enough {
                return tally;
            }
            for seed in from..(from + CHUNK).min(runs) {
                let outcome = play(first + seed, Settings::default(), &make);
                failed.fetch_add(u64::from(outcome.violation.is_some()), Ordering::Relaxed);
                tally.count(first + seed, outcome);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let mut all = Tally::default();
    thread::scope(|scope| {
        let name = |n| thread::Builder::new().name(format!("simulate-{n}"));
        let started: Vec<_> = (1..threads)
            .filter_map(|n| name(n).spawn_scoped(scope, work).ok())
            .collect();
        all.add(work());
        for thread in started {
            if let Ok(tally) = thread.join() {
                all.add(tally);
            }
        }
    });
    all
}
