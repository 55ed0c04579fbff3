//! What a simulated run is made of: devices with their troubles, jobs with their sources. Plain values, made from a seed.

use std::collections::BTreeSet;
use std::time::Duration;

use rungs_engine::ids::{RenditionId, SegmentIndex, TaskId};
use rungs_engine::schedule::{Ability, Cut, DeviceFacts, JobFacts, Load, Machine, Rules};

use crate::dice::Dice;

/// Nanoseconds since the start of a run.
pub type Nanos = u64;

/// Nanoseconds in so many seconds.
#[must_use]
pub fn nanos(seconds: f64) -> Nanos {
    (seconds * 1e9).round().max(0.0) as Nanos
}

/// What can go wrong in a run. The order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An attempt fails after some time.
    Error,
    /// An attempt's output is found to be damaged, at its very end.
    Corrupt,
    /// An attempt's thread panics at once.
    Panic,
    /// A device fails everything within a millisecond.
    BlackHole,
    /// A device has room for fewer sessions than it said.
    Capacity,
    /// An attempt takes many times as long.
    Stall,
    /// A device gets slower for a while.
    Throttle,
    /// An attempt never comes home.
    Hang,
    /// An attempt comes home long after it was given up.
    Late,
    /// A device is lost.
    Loss,
    /// A device that was lost is back.
    Return,
    /// A golden task fails.
    Golden,
    /// One task fails wherever it is tried.
    Poison,
    /// A pump fails.
    Pump,
    /// A job is stopped.
    Stop,
    /// A job goes on from what an earlier run has done.
    Resume,
    /// The source is longer or shorter than expected.
    Length,
    /// Spans are larger or smaller than their look-ahead said.
    Estimate,
    /// There is memory for a span or two only.
    Memory,
    /// A span does not fit the memory.
    Large,
    /// The speeds that the schedule was told are wrong.
    Speeds,
    /// The pictures of a span are lost, and attempts that want them find that out.
    Vanish,
}

impl Fault {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 22] = [
        Self::Error,
        Self::Corrupt,
        Self::Panic,
        Self::BlackHole,
        Self::Capacity,
        Self::Stall,
        Self::Throttle,
        Self::Hang,
        Self::Late,
        Self::Loss,
        Self::Return,
        Self::Golden,
        Self::Poison,
        Self::Pump,
        Self::Stop,
        Self::Resume,
        Self::Length,
        Self::Estimate,
        Self::Memory,
        Self::Large,
        Self::Speeds,
        Self::Vanish,
    ];

    /// A set with this fault alone.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Something that is wrong with a device for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trouble {
    /// What is wrong.
    pub fault: Fault,
    /// From when on.
    pub from: Nanos,
    /// Until when.
    pub until: Nanos,
    /// How often an attempt, or a golden task, is hit.
    pub chance: f64,
    /// How much: a factor of time, sessions that are missing, or seconds until a late attempt is home.
    pub amount: f64,
}

/// A device as it really is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FakeDevice {
    /// Each attempt takes up to this share longer or shorter.
    pub jitter: f64,
    /// What goes wrong.
    pub troubles: Vec<Trouble>,
}

/// A span of a source as it really is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeSpan {
    /// Its length in seconds.
    pub seconds: f64,
    /// Bytes that its look-ahead says.
    pub expected: u64,
    /// Bytes that it has.
    pub bytes: u64,
    /// Its tasks take this many times as long as its length says.
    pub effort: f64,
    /// Seconds that a pump needs for it.
    pub decode: f64,
}

/// How pictures of a job are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vanishing {
    /// How often those of its span are lost while an attempt has them, which then ends for it.
    pub chance: f64,
    /// How often any other attempt that has the same pictures, or starts on them before that is known, ends for it too.
    pub spreads: f64,
    /// A span of which they are lost nearly always.
    pub stubborn: Option<SegmentIndex>,
}

/// A job as it really is.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeJob {
    /// What the schedule is told.
    pub facts: JobFacts,
    /// When it begins.
    pub arrives: Nanos,
    /// When it is stopped from outside.
    pub stops: Option<Nanos>,
    /// Its source.
    pub spans: Vec<FakeSpan>,
    /// Seconds that a session takes for a second of the source: by rendition, then by device.
    pub speeds: Vec<Vec<f64>>,
    /// A pump fails when it decodes this span.
    pub breaks_at: Option<u32>,
    /// A pump learns that the source has ended only after it has asked for the span behind the last.
    pub asks_past_end: bool,
    /// A task that fails on every device.
    pub poison: Option<TaskId>,
    /// How its pictures are lost, if they are.
    pub vanishing: Option<Vanishing>,
}

/// Everything about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What the schedule is told of the machine.
    pub machine: Machine,
    /// The devices as they are, in the machine's order.
    pub devices: Vec<FakeDevice>,
    /// The jobs; a job's id is its place.
    pub jobs: Vec<FakeJob>,
    /// Faults that are in the scenario as such, as bits.
    pub faults: u32,
    /// How often an attempt on a device that is lost comes home very late or never, and not soon as a failure.
    pub hangs_when_lost: f64,
    /// Seed of all that happens later.
    pub seed: u64,
}

/// Seeds from here on have at least `CLASSES` classes of faults in each scenario; those below may have fewer.
pub const CROWDED: u64 = 10_000_000;
/// Seeds from here on may have pictures that are lost; those below have none, and play as they did before there was such a fault.
pub const VANISHING: u64 = 20_000_000;
/// Seeds from here on may have renditions that other classes of encoders may take over; those below have none.
pub const TAKING_OVER: u64 = 30_000_000;
const CLASSES: u32 = 9;
/// How often an attempt is hit at least by a fault that is there to make up the number.
const OFTEN: f64 = 0.3;

/// Makes the scenario of a seed: small, and full of faults.
#[must_use]
pub fn random(seed: u64) -> Scenario {
    let mut dice = Dice::new(seed);
    let crowded = seed >= CROWDED;
    let mut maker = Maker {
        devices: dice.from_to(1 + u32::from(crowded), 5),
        jobs: if dice.chance(0.5) {
            1
        } else {
            dice.from_to(2, 3)
        },
        faults: 0,
        mixed: dice.chance(0.5),
        wrong_speeds: dice.chance(0.3),
        crowded,
        dice,
    };
    let mut scenario = maker.make();
    if seed >= VANISHING {
        vanish(&mut scenario.jobs, Dice::new(seed).apart(1));
    }
    if seed >= TAKING_OVER {
        classify(&mut scenario.jobs, Dice::new(seed).apart(2));
    }
    scenario
}

/// Puts the devices that can make a rendition into up to three classes, of which one makes it.
fn classify(jobs: &mut [FakeJob], mut dice: Dice) {
    for load in jobs.iter_mut().flat_map(|job| &mut job.facts.loads) {
        if !dice.chance(0.7) {
            continue;
        }
        let mut classes = vec![vec![None; load.abilities.len()]; 3];
        for (device, ability) in load.abilities.iter().enumerate() {
            classes[dice.below(3) as usize][device] = *ability;
        }
        classes.retain(|class| class.iter().any(Option::is_some));
        let mut classes = classes.into_iter();
        if let Some(first) = classes.next() {
            load.abilities = first;
            load.successors = classes.collect();
        }
    }
}

/// Lets some jobs lose pictures.
fn vanish(jobs: &mut [FakeJob], mut dice: Dice) {
    for job in jobs {
        if !dice.chance(0.4) {
            continue;
        }
        let length = job.spans.len() as u32;
        job.vanishing = Some(Vanishing {
            chance: dice.between(0.02, 0.3),
            spreads: dice.between(0.3, 1.0),
            stubborn: dice
                .chance(0.15)
                .then(|| SegmentIndex::new(dice.below(length))),
        });
    }
}

/// Makes one scenario.
struct Maker {
    dice: Dice,
    devices: u32,
    jobs: u32,
    faults: u32,
    mixed: bool,
    wrong_speeds: bool,
    crowded: bool,
}

impl Maker {
    fn make(&mut self) -> Scenario {
        if self.wrong_speeds {
            self.faults |= Fault::Speeds.bit();
        }
        let factors: Vec<f64> = (0..self.devices)
            .map(|_| {
                if self.mixed {
                    self.dice.between(0.2, 3.0)
                } else {
                    1.0
                }
            })
            .collect();
        let mut jobs: Vec<FakeJob> = (0..self.jobs).map(|n| self.job(n, &factors)).collect();
        let mut devices: Vec<FakeDevice> = (0..self.devices).map(|_| self.device()).collect();
        // One device in most runs has no trouble of its own, so that most jobs can be done.
        let mut healthy = None;
        if self.dice.chance(0.8) {
            let place = self.dice.below(self.devices) as usize;
            healthy = Some(place);
            devices[place]
                .troubles
                .retain(|t| matches!(t.fault, Fault::Throttle | Fault::Stall | Fault::Capacity));
        }
        let planned: u32 =
            devices.iter().map(|d| d.troubles.len() as u32).sum::<u32>() + self.faults.count_ones();
        for _ in planned..6 {
            let trouble = self.trouble();
            let device = self.dice.below(self.devices) as usize;
            devices[device].troubles.push(trouble);
        }
        let memory = self.memory(&mut jobs);
        if self.crowded {
            self.crowd(&mut devices, healthy);
        }
        Scenario {
            machine: Machine {
                devices: (0..self.devices).map(|_| self.device_facts()).collect(),
                memory,
                rules: self.rules(),
            },
            devices,
            jobs,
            faults: self.faults,
            hangs_when_lost: 0.3,
            seed: self.dice.roll(),
        }
    }

    /// Adds kinds of trouble that are not there yet, from the start and often, to devices that are not to stay healthy.
    fn crowd(&mut self, devices: &mut [FakeDevice], healthy: Option<usize>) {
        let troubles = devices.iter().flat_map(|device| &device.troubles);
        let mut there = troubles.fold(self.faults, |all, trouble| all | trouble.fault.bit());
        while there.count_ones() < CLASSES {
            let mut trouble = self.trouble();
            let place = self.dice.below(self.devices) as usize;
            if Some(place) == healthy || there & trouble.fault.bit() != 0 {
                continue;
            }
            there |= trouble.fault.bit();
            if !matches!(trouble.fault, Fault::Loss | Fault::Return) {
                trouble.until -= trouble.from;
                trouble.from = 0;
            }
            trouble.chance = trouble.chance.max(OFTEN);
            devices[place].troubles.push(trouble);
        }
    }

    fn rules(&mut self) -> Rules {
        Rules {
            deadline_floor: Duration::from_secs(u64::from(self.dice.from_to(5, 60))),
            deadline: self.dice.between(4.0, 10.0),
            grace: Duration::from_secs(u64::from(self.dice.from_to(1, 10))),
            quarantine: Duration::from_secs(u64::from(self.dice.from_to(1, 20))),
            ..Rules::default()
        }
    }

    fn device_facts(&mut self) -> DeviceFacts {
        DeviceFacts {
            sessions: self.dice.from_to(1, 4),
            threads: self.dice.below(9),
            copy_seconds_per_byte: if self.dice.chance(0.3) { 1e-10 } else { 0.0 },
        }
    }

    fn memory(&mut self, jobs: &mut [FakeJob]) -> u64 {
        let span = jobs
            .iter()
            .flat_map(|job| &job.spans)
            .map(|s| s.bytes)
            .max()
            .unwrap_or(1);
        let encoder = dearest(jobs);
        let tight = self.dice.below(10);
        if tight == 0 {
            self.faults |= Fault::Large.bit();
            return span / 2;
        }
        if tight < 4 {
            self.faults |= Fault::Memory.bit();
            return (span + encoder) * u64::from(self.dice.from_to(2, 6)) / 2;
        }
        (span + encoder) * u64::from(self.dice.from_to(8, 40))
    }

    fn job(&mut self, number: u32, factors: &[f64]) -> FakeJob {
        let length = self.dice.from_to(1, 14);
        let spans = self.spans(length);
        let renditions = self.dice.from_to(1, 4);
        let expected = self.expected_length(length);
        let speeds: Vec<Vec<f64>> = (0..renditions)
            .map(|_| {
                let seconds = self.dice.between(0.05, 2.0);
                factors.iter().map(|factor| seconds * factor).collect()
            })
            .collect();
        let loads = self.loads(&speeds);
        let done = self.done(length, renditions);
        let poison = self.dice.chance(0.04).then(|| TaskId {
            span: SegmentIndex::new(self.dice.below(length)),
            rendition: RenditionId::new(self.dice.below(renditions) as u16),
        });
        let breaks_at = self.dice.chance(0.05).then(|| self.dice.below(length));
        FakeJob {
            facts: JobFacts {
                weight: [1.0, 1.0, 2.0, 0.5][self.dice.below(4) as usize],
                loads,
                span_seconds: 4.0,
                span_bytes: 100,
                fed_bytes: 5,
                expected_spans: expected,
                spans_in_all: if self.dice.chance(0.2) {
                    Some(length)
                } else {
                    None
                },
                done,
                decoders: self.dice.from_to(1, 3),
                cuts: self.cuts(length),
                decode_seconds: if self.dice.chance(0.5) { 0.1 } else { 0.0 },
            },
            arrives: if number == 0 {
                0
            } else {
                nanos(self.dice.between(0.0, 40.0))
            },
            stops: self
                .dice
                .chance(0.08)
                .then(|| nanos(self.dice.between(0.0, 60.0))),
            spans,
            speeds,
            breaks_at,
            asks_past_end: self.dice.chance(0.5),
            poison,
            vanishing: None,
        }
    }

    fn expected_length(&mut self, length: u32) -> Option<u32> {
        match self.dice.below(4) {
            0 => None,
            1 => {
                self.faults |= Fault::Length.bit();
                Some(if self.dice.chance(0.5) {
                    length * 2
                } else {
                    length.div_ceil(2)
                })
            }
            _ => Some(length),
        }
    }

    fn spans(&mut self, length: u32) -> Vec<FakeSpan> {
        let wrong = self.dice.chance(0.3);
        if wrong {
            self.faults |= Fault::Estimate.bit();
        }
        let rate = self.dice.between(0.02, 0.5);
        (0..length)
            .map(|place| {
                let seconds = if place + 1 == length {
                    self.dice.between(0.2, 4.0)
                } else {
                    4.0
                };
                let bytes = (seconds * self.dice.between(20.0, 30.0)) as u64 + 1;
                FakeSpan {
                    seconds,
                    bytes,
                    expected: if wrong {
                        (bytes as f64 * self.dice.between(0.3, 1.5)) as u64
                    } else {
                        bytes
                    },
                    effort: self.dice.between(0.7, 1.4),
                    decode: seconds * rate,
                }
            })
            .collect()
    }

    fn loads(&mut self, speeds: &[Vec<f64>]) -> Vec<Load> {
        let measured = self.dice.chance(0.7);
        let holes = self.dice.chance(0.2);
        let wrong = self.wrong_speeds;
        let dice = &mut self.dice;
        speeds
            .iter()
            .zip(0..)
            .map(|(of_devices, place)| {
                let bytes = u64::from(dice.from_to(1, 20));
                let only = dice.below(of_devices.len() as u32) as usize;
                let mut ability = |(device, seconds): (usize, &f64)| {
                    let factor = if wrong { dice.between(0.2, 5.0) } else { 1.0 };
                    let able = !holes || device == only || dice.chance(0.6);
                    able.then_some(Ability {
                        seconds: seconds * factor,
                        measured,
                        bytes,
                    })
                };
                Load {
                    rendition: RenditionId::new(place),
                    abilities: of_devices.iter().enumerate().map(&mut ability).collect(),
                    successors: Vec::new(),
                }
            })
            .collect()
    }

    fn done(&mut self, length: u32, renditions: u32) -> BTreeSet<TaskId> {
        if !self.dice.chance(0.2) {
            return BTreeSet::new();
        }
        self.faults |= Fault::Resume.bit();
        let share = [0.3, 0.7, 0.95, 1.0][self.dice.below(4) as usize];
        let mut done = BTreeSet::new();
        for span in 0..length {
            // Most of what an earlier run did is whole spans.
            let whole = self.dice.chance(share);
            for rendition in 0..renditions {
                if whole || self.dice.chance(0.2) {
                    done.insert(TaskId {
                        span: SegmentIndex::new(span),
                        rendition: RenditionId::new(rendition as u16),
                    });
                }
            }
        }
        done
    }

    fn cuts(&mut self, length: u32) -> Vec<Cut> {
        let often = [0.0, 0.3, 1.0][self.dice.below(3) as usize];
        (1..length)
            .filter_map(|span| {
                let cut = Cut {
                    span: SegmentIndex::new(span),
                    waste: self.dice.between(0.0, 3.0),
                };
                self.dice.chance(often).then_some(cut)
            })
            .collect()
    }

    fn device(&mut self) -> FakeDevice {
        let count = if self.dice.chance(0.3) {
            0
        } else {
            self.dice.from_to(1, 4)
        };
        FakeDevice {
            jitter: self.dice.between(0.0, 0.2),
            troubles: (0..count).map(|_| self.trouble()).collect(),
        }
    }

    fn trouble(&mut self) -> Trouble {
        let kinds = [
            Fault::Error,
            Fault::Error,
            Fault::Corrupt,
            Fault::Panic,
            Fault::BlackHole,
            Fault::Capacity,
            Fault::Stall,
            Fault::Throttle,
            Fault::Hang,
            Fault::Late,
            Fault::Loss,
            Fault::Return,
            Fault::Golden,
        ];
        let fault = kinds[self.dice.below(kinds.len() as u32) as usize];
        let from = nanos(self.dice.between(0.0, 60.0));
        let long = nanos(self.dice.between(1.0, 120.0));
        let (chance, amount) = match fault {
            Fault::Stall => (0.1, self.dice.between(3.0, 40.0)),
            Fault::Throttle => (1.0, self.dice.between(1.5, 6.0)),
            Fault::Hang => (0.1, 0.0),
            Fault::Late => (0.1, self.dice.between(10.0, 300.0)),
            Fault::Capacity => (1.0, f64::from(self.dice.from_to(1, 3))),
            Fault::Error | Fault::Corrupt | Fault::Panic => (self.dice.between(0.02, 0.4), 0.0),
            _ => (1.0, 0.0),
        };
        let from = if self.dice.chance(0.5) { 0 } else { from };
        Trouble {
            fault,
            from,
            until: from + long,
            chance,
            amount,
        }
    }
}

/// The most that an encoder of these jobs takes, in bytes.
fn dearest(jobs: &[FakeJob]) -> u64 {
    let loads = jobs.iter().flat_map(|job| &job.facts.loads);
    loads
        .flat_map(|load| load.abilities.iter().flatten())
        .map(|a| a.bytes)
        .max()
        .unwrap_or(1)
}
