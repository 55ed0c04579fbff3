//! The engine's schedule under a virtual clock: random scenarios full of faults, jobs that contend, and bugs that must be found.

use rungs_engine::schedule::Schedule;
use rungs_testkit::sim::batch::{play, play_all};
use rungs_testkit::sim::quality::{MEAN_TASK, contention};
use rungs_testkit::sim::{Fault, Scenario, Settings, TAKING_OVER, VANISHING, nanos, run};

/// Random scenarios of this test; `make simulate` plays more.
const RUNS: u64 = 30_000;

/// Seeds over which shares are averaged: a single run is a few tasks off.
const SEEDS: u64 = 8;

/// Seeds that failed once.
const REGRESSIONS: [u64; 53] = [
    2, 15, 186, 208, 272, 334, 348, 382, 541, 560, 911, 1211, 1239, 1270, 1758, 2895, 3108, 50_106,
    58_435, 1_001_010, 1_003_369, 1_003_627, 1_005_265, 10_116_265, 10_133_465, 10_136_938,
    10_209_907, 10_306_995, 10_393_509, 10_401_671, 10_671_514, 10_712_083, 10_723_820, 10_773_545,
    10_844_737, 10_850_523, 10_851_679, 10_855_918, 10_877_825, 10_882_338, 10_914_792, 10_915_627,
    10_949_500, 11_252_151, 11_383_797, 20_000_001, 20_000_007, 20_000_021, 20_000_188, 20_000_793,
    20_003_312, 20_056_658, 21_301_772,
];

fn schedule(scenario: &Scenario) -> Schedule {
    Schedule::new(scenario.machine.clone())
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let settings = Settings {
        log: true,
        ..Settings::default()
    };
    let later = (VANISHING..VANISHING + 20).chain(TAKING_OVER..TAKING_OVER + 20);
    for seed in (0..20).chain(later) {
        let first = play(seed, settings, schedule);
        assert!(first.log.len() > 2, "seed {seed} does nothing");
        assert_eq!(first, play(seed, settings, schedule), "seed {seed}");
    }
}

#[test]
fn what_failed_once_goes_well() {
    for seed in REGRESSIONS {
        let violation = play(seed, Settings::default(), schedule).violation;
        assert_eq!(violation, None, "seed {seed}");
    }
}

#[test]
fn nothing_goes_wrong_whatever_happens() {
    let tally = play_all(VANISHING, RUNS, 5, schedule);
    assert_eq!(tally.failures, [], "replay one with `make simulate SEED=…`");
    assert_eq!(tally.runs, RUNS);
    for fault in Fault::ALL {
        let hits = tally.pairs[fault as usize][fault as usize];
        assert!(hits > RUNS / 1000, "{fault:?} happened in {hits} runs only");
    }
}

#[test]
fn nothing_goes_wrong_where_other_classes_take_over() {
    let tally = play_all(TAKING_OVER, RUNS / 5, 5, schedule);
    assert_eq!(tally.failures, [], "replay one with `make simulate SEED=…`");
    let log = Settings {
        log: true,
        ..Settings::default()
    };
    let taken = |seed: &u64| {
        let outcome = play(*seed, log, schedule);
        outcome.log.iter().any(|line| line.contains("TakeOver"))
    };
    let taken = (TAKING_OVER..TAKING_OVER + 500).filter(taken).count();
    assert!(taken > 50, "renditions are taken over in {taken} runs only");
}

#[test]
fn jobs_get_sessions_by_their_weight() {
    for weights in [vec![1.0, 1.0], vec![1.0, 3.0], vec![4.0, 2.0, 1.0]] {
        let shares: Vec<Vec<f64>> = (0..SEEDS).map(|seed| shares(&weights, seed)).collect();
        for (place, weight) in weights.iter().enumerate() {
            let mean = shares.iter().map(|of_jobs| of_jobs[place]).sum::<f64>() / SEEDS as f64;
            assert!(
                (0.9..1.1).contains(&mean),
                "weight {weight} of {weights:?} gets {mean:.3} of its share: {shares:.3?}"
            );
        }
    }
}

/// What each job got of its share of the session time, in 20 mean task lengths.
fn shares(weights: &[f64], seed: u64) -> Vec<f64> {
    let scenario = contention(weights, seed);
    let settings = Settings {
        until: Some(nanos(20.0 * MEAN_TASK)),
        ..Settings::default()
    };
    let outcome = run(&scenario, schedule(&scenario), settings);
    assert_eq!(outcome.violation, None);
    let all: u64 = outcome.busy.iter().sum();
    let sum: f64 = weights.iter().sum();
    let share = |(busy, weight): (&u64, &f64)| *busy as f64 / all as f64 / (weight / sum);
    outcome.busy.iter().zip(weights).map(share).collect()
}

#[cfg(feature = "planted")]
#[test]
fn every_planted_bug_is_found() {
    use rungs_engine::schedule::planted::Bug;
    for bug in Bug::ALL {
        let plant = |scenario: &Scenario| Schedule::with_bug(scenario.machine.clone(), bug);
        let found = (TAKING_OVER..TAKING_OVER + 100_000).any(|seed| {
            play(seed, Settings::default(), plant).violation.is_some()
                && play(seed, Settings::default(), schedule)
                    .violation
                    .is_none()
        });
        assert!(found, "{bug:?} is not found");
    }
}
