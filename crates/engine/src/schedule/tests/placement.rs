//! How soon jobs end without faults, and who gets what.

use super::world::{Truth, World, footage, job, machine};

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
    let mut world = World::new(machine(&sessions, memory), vec![truth; speeds.len()], seed);
    let id = world.add_job(0.0, job(costs, speeds, &source), source.clone());
    world.run();
    let rate: f64 = speeds.iter().map(|slow| 1.0 / slow).sum();
    let work: f64 = costs.iter().sum::<f64>() * source.span_seconds * f64::from(spans);
    world.ended[&id].at / (work / rate)
}

fn median(speeds: &[f64], costs: &[f64], jitter: f64) -> (f64, f64) {
    let mut all: Vec<f64> = (0..21)
        .map(|seed| over_bound(speeds, costs, jitter, seed))
        .collect();
    all.sort_by(f64::total_cmp);
    (all[10], all[19])
}

#[test]
fn table() {
    let ladder = [8.0, 4.0, 2.0, 1.0];
    for devices in [1, 2, 4, 10] {
        for costs in [&ladder[..1], &ladder[..2], &ladder] {
            for jitter in [0.0, 0.1] {
                let equal = median(&vec![1.0; devices], costs, jitter);
                let mut speeds = vec![1.0; devices];
                speeds.extend(vec![10.0; devices]);
                let mixed = median(&speeds, costs, jitter);
                eprintln!(
                    "{devices} x {} rungs, jitter {jitter}: equal {equal:.3?} mixed {mixed:.3?}",
                    costs.len()
                );
            }
        }
    }
}
