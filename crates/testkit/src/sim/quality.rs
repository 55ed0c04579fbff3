//! How good a placement is: scenarios without surprises, and the time that no schedule can beat in them.

use std::collections::BTreeSet;

use rungs_engine::bound::{self, Class, Demand};
use rungs_engine::ids::RenditionId;
use rungs_engine::schedule::{Ability, DeviceFacts, JobFacts, Load, Machine, Rules};

use super::scenario::{FakeDevice, FakeJob, FakeSpan, Fault, Scenario, Trouble, nanos};
use crate::dice::Dice;

/// Sessions of each device.
const SESSIONS: u32 = 2;
/// Length of a span in seconds, but for the last.
const SPAN: f64 = 4.0;
/// Bytes of a span of that length, and of an encoder.
const SPAN_BYTES: u64 = 300_000_000;
const ENCODER_BYTES: u64 = 200_000_000;
/// Seconds that a session of a fast device takes for a second of the source, by rung, from the dearest down.
const SPEEDS: [f64; 6] = [1.0, 0.5, 0.3, 0.2, 0.12, 0.08];
/// Attempts before a job is given up, where attempts fail at random: of 100 000 tasks some would fail as often as is usual.
const MANY_ATTEMPTS: u32 = 6;
/// How much slower the slow devices are.
const SLOWER: f64 = 10.0;

/// One line of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Devices, of two sessions each.
    pub devices: u32,
    /// Every second device is ten times slower.
    pub mixed: bool,
    /// Rungs of the ladder.
    pub rungs: u32,
    /// Segments for each device.
    pub segments: u32,
    /// Spans need up to a quarter more or less than their length says, unforeseen.
    pub surprises: bool,
    /// Attempts fail and stall, devices get slower, are lost and come back.
    pub faults: bool,
}

/// Makes the scenario of a row and a seed.
///
/// Memory is enough for two spans a session and an encoder on each. The speeds that the schedule is told are off by up to a
/// tenth. The pump is up to three times as fast as all
/// encoders together, or a little slower.
#[must_use]
pub fn scenario(row: Row, seed: u64) -> Scenario {
    let mut dice = Dice::new(seed);
    let factors: Vec<f64> = (0..row.devices)
        .map(|d| if row.mixed && d % 2 == 1 { SLOWER } else { 1.0 })
        .collect();
    let machine = machine(row);
    let speeds: Vec<Vec<f64>> = SPEEDS[..row.rungs as usize]
        .iter()
        .map(|speed| factors.iter().map(|factor| speed * factor).collect())
        .collect();
    // What all sessions together do in a second, in spans.
    let a_span: f64 = SPEEDS[..row.rungs as usize].iter().sum::<f64>() * SPAN;
    let rate: f64 = factors
        .iter()
        .map(|factor| f64::from(SESSIONS) / factor)
        .sum::<f64>()
        / a_span;
    let decode = 1.0 / (rate * dice.between(0.9, 3.0));
    // So that not every source divides evenly among the sessions.
    let length = row.segments * row.devices + dice.below(row.devices.min(8) + 1) + 1;
    let spans: Vec<FakeSpan> = (0..length)
        .map(|place| span(place + 1 == length, decode, &mut dice, row.surprises))
        .collect();
    let makespan = f64::from(length) / rate;
    let device = |place| {
        if row.faults {
            troubled(place == 0, makespan, &mut dice.apart(1))
        } else {
            FakeDevice::default()
        }
    };
    let devices = (0..row.devices).map(device).collect();
    let facts = facts(row, &speeds, decode, &mut dice);
    let job = FakeJob {
        facts: JobFacts {
            expected_spans: Some(length),
            ..facts
        },
        arrives: 0,
        stops: None,
        spans,
        speeds,
        breaks_at: None,
        asks_past_end: true,
        poison: None,
        vanishing: None,
    };
    Scenario {
        machine,
        devices,
        jobs: vec![job],
        faults: 0,
        hangs_when_lost: 0.0,
        seed: dice.roll(),
    }
}

fn machine(row: Row) -> Machine {
    let facts = DeviceFacts {
        sessions: SESSIONS,
        threads: 0,
        copy_seconds_per_byte: 0.0,
    };
    let sessions = u64::from(row.devices * SESSIONS);
    let usual = Rules::default();
    let attempts = if row.faults {
        MANY_ATTEMPTS
    } else {
        usual.attempts
    };
    Machine {
        devices: vec![facts; row.devices as usize],
        memory: sessions * (2 * SPAN_BYTES + ENCODER_BYTES),
        rules: Rules { attempts, ..usual },
    }
}

fn span(last: bool, decode: f64, dice: &mut Dice, surprises: bool) -> FakeSpan {
    let seconds = if last { dice.between(0.5, SPAN) } else { SPAN };
    let bytes = (SPAN_BYTES as f64 * seconds / SPAN) as u64;
    FakeSpan {
        seconds,
        expected: bytes,
        bytes,
        effort: if surprises {
            dice.between(0.75, 1.25)
        } else {
            1.0
        },
        decode: decode * seconds / SPAN,
    }
}

fn facts(row: Row, speeds: &[Vec<f64>], decode: f64, dice: &mut Dice) -> JobFacts {
    let mut load = |(of_devices, place): (&Vec<f64>, u16)| Load {
        rendition: RenditionId::new(place),
        successors: Vec::new(),
        abilities: of_devices
            .iter()
            .map(|seconds| {
                Some(Ability {
                    seconds: seconds * dice.between(0.9, 1.1),
                    measured: true,
                    bytes: ENCODER_BYTES,
                })
            })
            .collect(),
    };
    JobFacts {
        weight: 1.0,
        loads: speeds
            .iter()
            .zip(0..row.rungs as u16)
            .map(&mut load)
            .collect(),
        span_seconds: SPAN,
        span_bytes: SPAN_BYTES,
        expected_spans: None,
        spans_in_all: None,
        fed_bytes: 1,
        done: BTreeSet::new(),
        decoders: 1,
        cuts: Vec::new(),
        decode_seconds: decode / SPAN,
    }
}

fn troubled(stays: bool, makespan: f64, dice: &mut Dice) -> FakeDevice {
    let whole = |fault, chance, amount| Trouble {
        fault,
        from: 0,
        until: nanos(1e6),
        chance,
        amount,
    };
    let mut troubles = vec![
        whole(Fault::Error, 0.03, 0.0),
        whole(Fault::Stall, 0.02, 8.0),
    ];
    let from = makespan * dice.between(0.1, 0.6);
    let until = from + makespan * dice.between(0.1, 0.4);
    let (from, until) = (nanos(from), nanos(until));
    match dice.below(4) {
        0 if !stays => troubles.push(Trouble {
            fault: Fault::Return,
            from,
            until,
            chance: 1.0,
            amount: 0.0,
        }),
        1 => troubles.push(Trouble {
            fault: Fault::Throttle,
            from,
            until,
            chance: 1.0,
            amount: 3.0,
        }),
        _ => {}
    }
    FakeDevice {
        jitter: 0.05,
        troubles,
    }
}

/// Jobs of these weights that contend for four devices for longer than a minute.
#[must_use]
pub fn contention(weights: &[f64], seed: u64) -> Scenario {
    let row = Row {
        devices: 4,
        mixed: false,
        rungs: 3,
        segments: 200,
        surprises: true,
        faults: false,
    };
    let mut all = scenario(row, seed);
    let rest = (1..weights.len() as u64).flat_map(|n| scenario(row, seed ^ (n << 32)).jobs);
    all.jobs.extend(rest);
    for (job, weight) in all.jobs.iter_mut().zip(weights) {
        job.facts.weight = *weight;
    }
    all
}

/// The mean length of a task in [`contention`], in seconds.
pub const MEAN_TASK: f64 = (SPEEDS[0] + SPEEDS[1] + SPEEDS[2]) / 3.0 * SPAN;

/// A time in seconds that no schedule can beat in a scenario with one job. Devices that are lost or slower for a while count as
/// far as they were up; other faults are not counted.
#[must_use]
pub fn lower_bound(scenario: &Scenario) -> f64 {
    let Some(job) = scenario.jobs.first() else {
        return 0.0;
    };
    let mut classes: Vec<Class> = Vec::new();
    for (place, device) in scenario.machine.devices.iter().enumerate() {
        let seconds: Vec<Option<f64>> = job
            .speeds
            .iter()
            .map(|of_devices| Some(of_devices[place]))
            .collect();
        match classes.iter_mut().find(|class| class.seconds == seconds) {
            Some(class) => class.sessions += device.sessions,
            None => classes.push(Class {
                sessions: device.sessions,
                seconds,
            }),
        }
    }
    let mut ready = 0.02;
    let demand = |span: &FakeSpan| {
        ready += span.decode;
        Demand {
            ready,
            work: vec![span.seconds * span.effort; job.speeds.len()],
        }
    };
    let demands: Vec<Demand> = job.spans.iter().map(demand).collect();
    stretched(scenario, bound::lower_bound(&classes, &demands))
}

/// When a machine that is not always up has done what it would do in `seconds` if it were.
fn stretched(scenario: &Scenario, seconds: f64) -> f64 {
    let job = &scenario.jobs[0];
    let mut changes: Vec<(u64, f64)> = Vec::new();
    let mut rate = 0.0;
    for (place, device) in scenario.devices.iter().enumerate() {
        let full = f64::from(scenario.machine.devices[place].sessions) / job.speeds[0][place];
        rate += full;
        for trouble in &device.troubles {
            let lost = match trouble.fault {
                Fault::Return => full,
                Fault::Throttle => full * (1.0 - 1.0 / trouble.amount),
                _ => continue,
            };
            changes.push((trouble.from, -lost));
            changes.push((trouble.until, lost));
        }
    }
    changes.sort_by_key(|(at, _)| *at);
    let mut left = seconds * rate;
    let mut now = 0.0;
    for (at, change) in changes {
        let at = at as f64 / 1e9;
        if (at - now) * rate >= left {
            break;
        }
        left -= (at - now) * rate;
        now = at;
        rate += change;
    }
    if rate > 0.0 {
        now + left / rate
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::super::baselines::{Baseline, Kind};
    use super::super::world::{Settings, run};
    use super::*;

    #[test]
    fn the_simple_schedules_end_and_none_beats_the_bound() {
        for seed in 0..40 {
            let dice = &mut Dice::new(seed);
            let devices = dice.from_to(1, 4);
            let (rungs, segments) = (dice.from_to(1, 6), dice.from_to(1, 20));
            let row = Row {
                devices,
                mixed: dice.chance(0.5),
                rungs,
                segments,
                surprises: dice.chance(0.5),
                faults: false,
            };
            let scenario = scenario(row, seed);
            let bound = lower_bound(&scenario);
            for kind in [Kind::Queue, Kind::Bound] {
                let outcome = run(
                    &scenario,
                    Baseline::new(kind, scenario.machine.clone()),
                    Settings::default(),
                );
                assert_eq!(outcome.violation, None, "{row:?}");
                let end = outcome.finished[0].expect("the job ends") as f64 / 1e9;
                assert!(
                    end >= bound * 0.999_999,
                    "{kind:?} took {end} s, the bound is {bound} s, {row:?}"
                );
                assert!(
                    end <= bound * 40.0 + 10.0,
                    "{kind:?} took {end} s, the bound is {bound} s, {row:?}"
                );
            }
        }
    }
}
