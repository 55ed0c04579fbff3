//! How soon jobs end without faults, and who gets what.

use super::world::{Truth, World, footage, job, machine};
use crate::ids::DeviceId;

const LADDER: [f64; 4] = [8.0, 4.0, 2.0, 1.0];

/// Makespan over what the sessions could do at best, without regard to whole tasks.
fn over_bound(speeds: &[f64], costs: &[f64], jitter: f64, seed: u64) -> f64 {
    let spans = 20 * speeds.len() as u32;
    let source = footage(spans, 0.0001);
    let sessions = vec![1; speeds.len()];
    let memory = (speeds.len() as u64) * 2 * 100 + 1000;
    let truth = Truth {
        jitter,
        ..Truth::default()
    };
    let truths = vec![truth; speeds.len()];
    let mut world = World::new(machine(&sessions, memory), truths, seed);
    let id = world.add_job(0.0, job(costs, speeds, &source), source.clone());
    world.run();
    let rate: f64 = speeds.iter().map(|slow| 1.0 / slow).sum();
    let work: f64 = costs.iter().sum::<f64>() * source.span_seconds * f64::from(spans);
    world.ended[&id].at / (work / rate)
}

/// Median and 95th percentile over seeds.
fn spread(speeds: &[f64], costs: &[f64], jitter: f64) -> (f64, f64) {
    let mut all: Vec<f64> = (0..11)
        .map(|seed| over_bound(speeds, costs, jitter, seed))
        .collect();
    all.sort_by(f64::total_cmp);
    (all[5], all[10])
}

#[test]
fn equal_devices_end_near_the_bound() {
    for devices in [1, 2, 4, 10] {
        for costs in [&LADDER[..1], &LADDER[..2], &LADDER] {
            let (median, high) = spread(&vec![1.0; devices], costs, 0.0);
            assert!(
                median <= 1.01 && high <= 1.02,
                "{devices} devices: {median} {high}"
            );
            let (median, high) = spread(&vec![1.0; devices], costs, 0.1);
            assert!(
                median <= 1.03 && high <= 1.06,
                "{devices} devices, jitter: {median} {high}"
            );
        }
    }
}

#[test]
fn mixed_devices_end_near_the_bound() {
    for devices in [1, 2, 4, 10] {
        let mut speeds = vec![1.0; devices];
        speeds.extend(vec![10.0; devices]);
        for costs in [&LADDER[..1], &LADDER[..2], &LADDER] {
            for jitter in [0.0, 0.1] {
                let (median, high) = spread(&speeds, costs, jitter);
                assert!(
                    median <= 1.03 && high <= 1.06,
                    "2 × {devices} devices: {median} {high}"
                );
            }
        }
    }
}

#[test]
fn unlike_devices_take_what_suits_them() {
    // The one is ten times slower at the large rendition, and as good at the small ones.
    let source = footage(60, 0.0001);
    let mut facts = job(&[4.0, 1.0, 1.0], &[1.0, 1.0], &source);
    if let Some(ability) = &mut facts.loads[0].abilities[1] {
        ability.seconds *= 10.0;
    }
    let mut world = World::new(machine(&[1, 1], 2000), vec![Truth::default(); 2], 1);
    // The world reads the abilities, so this is also what is true.
    let id = world.add_job(0.0, facts, source.clone());
    world.run();
    // The first does all large ones and a third of the rest: 5 of 6 by hand.
    let bound = 60.0 * 4.0 * 4.0;
    let over = world.ended[&id].at / bound;
    assert!(over <= 1.05, "{over}");
}

#[test]
fn a_slow_device_gets_nothing_that_a_fast_one_ends_sooner() {
    let source = footage(2, 0.0001);
    let mut world = World::new(machine(&[1, 1], 2000), vec![Truth::default(); 2], 1);
    world.add_job(0.0, job(&[1.0, 0.5], &[1.0, 10.0], &source), source);
    world.run();
    let slow = DeviceId::new(1);
    assert!(world.starts.iter().all(|start| start.3 != slow));
}

#[test]
fn a_device_that_throttles_is_noticed() {
    let source = footage(40, 0.0001);
    let mut world = World::new(machine(&[1, 1], 2000), vec![Truth::default(); 2], 1);
    world.truths[1].pace = 5.0;
    let id = world.add_job(0.0, job(&[1.0, 0.5], &[1.0, 1.0], &source), source);
    world.run();
    let bound = 40.0 * 4.0 * 1.5 / 1.2;
    let over = world.ended[&id].at / bound;
    assert!(over <= 1.06, "{over}");
}

/// Run with `--release --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_long_a_decision_takes() {
    for mixed in [false, true] {
        let slow = |n: usize| if mixed && n % 2 == 1 { 10.0 } else { 1.0 };
        let speeds: Vec<f64> = (0..1000).map(slow).collect();
        let source = footage(4000, 0.0);
        let truth = Truth {
            jitter: 0.2,
            ..Truth::default()
        };
        let mut world = World::new(machine(&[1; 1000], 300_000), vec![truth; 1000], 1);
        world.audit = false;
        world.add_job(0.0, job(&LADDER, &speeds, &source), source);
        world.run();
        eprintln!(
            "mixed {mixed}: {} decisions, {:?} each; ended at {:.0}",
            world.decisions,
            world.thinking / world.decisions.max(1),
            world.now.since_start().as_secs_f64(),
        );
    }
}
