//! What becomes of an attempt on a fake device, decided when it starts.

use rungs_engine::ids::{DeviceId, TaskId};
use rungs_engine::schedule::End;

use super::scenario::{Fault, Nanos, Scenario, nanos};
use crate::dice::Dice;

/// What becomes of an attempt if nobody stops it and its device stays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    /// When it comes home; `None` for never.
    pub(super) home: Option<Nanos>,
    pub(super) end: End,
    /// It does not hear that it shall stop.
    pub(super) deaf: bool,
    /// Faults that hit it.
    pub(super) hit: u32,
}

/// Where and when an attempt starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try {
    pub(super) job: usize,
    pub(super) task: TaskId,
    pub(super) device: DeviceId,
    /// Sessions of the device that are in use already.
    pub(super) in_use: u32,
    pub(super) now: Nanos,
}

const INSTANT: f64 = 0.001;

pub(super) fn of(scenario: &Scenario, attempt: Try, dice: &mut Dice) -> Fate {
    let place = attempt.device.place();
    let device = &scenario.devices[place];
    let job = &scenario.jobs[attempt.job];
    let span = job.spans[attempt.task.span.get() as usize];
    let copy = scenario.machine.devices[place].copy_seconds_per_byte * span.bytes as f64;
    let speed = job.speeds[attempt.task.rendition.place()][place];
    let jitter = 1.0 + device.jitter * dice.between(-1.0, 1.0);
    let mut seconds = span.seconds * speed * span.effort * jitter + copy;
    let mut fate = Fate {
        home: None,
        end: End::Done,
        deaf: false,
        hit: 0,
    };
    let mut never = false;
    for trouble in &device.troubles {
        let active = (trouble.from..trouble.until).contains(&attempt.now);
        if !active || !dice.chance(trouble.chance) {
            continue;
        }
        match trouble.fault {
            Fault::Stall | Fault::Throttle => seconds *= trouble.amount,
            Fault::Error => (seconds, fate.end) = (seconds * dice.unit(), End::Failed),
            Fault::Corrupt => fate.end = End::Failed,
            Fault::Panic | Fault::BlackHole => (seconds, fate.end) = (INSTANT, End::Failed),
            Fault::Capacity => {
                let announced = scenario.machine.devices[place].sessions;
                let room = announced.saturating_sub(trouble.amount as u32);
                if attempt.in_use < room {
                    continue;
                }
                (seconds, fate.end) = (5.0 * INSTANT, End::Capacity);
            }
            Fault::Hang => (never, fate.deaf) = (true, true),
            Fault::Late => (seconds, fate.deaf) = (seconds + trouble.amount, true),
            _ => continue,
        }
        fate.hit |= trouble.fault.bit();
    }
    if job.poison == Some(attempt.task) && fate.end == End::Done {
        fate.end = End::Failed;
        fate.hit |= Fault::Poison.bit();
    }
    if !never {
        fate.home = Some(attempt.now + nanos(seconds).max(1));
    }
    fate
}

/// Whether a golden task passes on a device, and the fault that hit it if not.
pub(super) fn of_golden(
    scenario: &Scenario,
    device: usize,
    now: Nanos,
    dice: &mut Dice,
) -> Result<(), Fault> {
    for trouble in &scenario.devices[device].troubles {
        let active = (trouble.from..trouble.until).contains(&now);
        let fails = match trouble.fault {
            Fault::BlackHole | Fault::Golden => true,
            Fault::Error | Fault::Corrupt | Fault::Panic | Fault::Hang => {
                dice.chance(trouble.chance)
            }
            _ => false,
        };
        if active && fails {
            return Err(if trouble.fault == Fault::BlackHole {
                Fault::BlackHole
            } else {
                Fault::Golden
            });
        }
    }
    Ok(())
}
