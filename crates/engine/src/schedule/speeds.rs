//! What is expected of a device for a rendition of a job, from what it said and what was seen.
//!
//! The expectation is *ability × shape × pace*. The ability is what the plan says. The shape belongs to (device, rendition) and
//! moves slowly; where nothing was seen it is that of devices alike, and before that, of any rendition of devices alike: so one
//! measurement scales all. The pace belongs to the device, whatever it encodes, and moves fast: a device that throttles is
//! noticed after a task or two. One odd time moves little; two in a row are believed.

use std::collections::BTreeMap;

use super::facts::{Ability, Load};
use crate::ids::{DeviceId, RenditionId};

/// A time more than this factor off is odd.
const ODD: f64 = 2.0;
/// How far one odd time moves what is expected.
const ODD_STEP: f64 = 1.15;

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    value: f64,
    count: u32,
}

impl Mean {
    /// Early times weigh as in a plain mean, later ones a sixteenth.
    fn add(&mut self, value: f64) {
        self.count = (self.count + 1).min(16);
        self.value += (value - self.value) / f64::from(self.count);
    }

    fn get(self) -> Option<f64> {
        (self.count > 0).then_some(self.value)
    }
}

/// What a device and its speed come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Guess {
    /// Seconds for a second of the source.
    pub(super) seconds: f64,
    /// Whether it rests on anything that was measured.
    pub(super) known: bool,
}

/// What was learned about the renditions of one job.
#[derive(Debug)]
pub(super) struct Speeds {
    renditions: usize,
    /// For each device, which devices of this job are alike.
    alike: Vec<usize>,
    abilities: Vec<Option<Ability>>,
    shapes: Vec<Mean>,
    class_shapes: Vec<Mean>,
    class_scales: Vec<Mean>,
}

impl Speeds {
    pub(super) fn new(loads: &[Load], devices: usize) -> Self {
        let renditions = loads.len();
        let mut classes: BTreeMap<Vec<Option<(u64, u64, bool)>>, usize> = BTreeMap::new();
        let mut alike = Vec::with_capacity(devices);
        let mut abilities = Vec::with_capacity(devices * renditions);
        for device in 0..devices {
            let able = |load: &Load| load.abilities.get(device).copied().flatten();
            let key = loads
                .iter()
                .map(|load| able(load).map(|a| (a.seconds.to_bits(), a.bytes, a.measured)))
                .collect();
            let next = classes.len();
            alike.push(*classes.entry(key).or_insert(next));
            abilities.extend(loads.iter().map(able));
        }
        Self {
            renditions,
            alike,
            abilities,
            shapes: vec![Mean::default(); devices * renditions],
            class_shapes: vec![Mean::default(); classes.len() * renditions],
            class_scales: vec![Mean::default(); classes.len()],
        }
    }

    /// Which of the devices that are alike for this job it is one of.
    pub(super) fn class(&self, device: DeviceId) -> usize {
        self.alike[device.place()]
    }

    pub(super) fn ability(&self, device: DeviceId, rendition: RenditionId) -> Option<Ability> {
        let place = device.place() * self.renditions + rendition.place();
        self.abilities.get(place).copied().flatten()
    }

    /// What is expected; `None` if the device cannot do it.
    pub(super) fn guess(
        &self,
        device: DeviceId,
        rendition: RenditionId,
        pace: f64,
    ) -> Option<Guess> {
        let ability = self.ability(device, rendition)?;
        let shape = self.shape(device, rendition);
        Some(Guess {
            seconds: (ability.seconds * shape.unwrap_or(1.0) * pace).max(1e-9),
            known: ability.measured || shape.is_some(),
        })
    }

    fn shape(&self, device: DeviceId, rendition: RenditionId) -> Option<f64> {
        let class = self.alike[device.place()];
        self.shapes[device.place() * self.renditions + rendition.place()]
            .get()
            .or_else(|| self.class_shapes[class * self.renditions + rendition.place()].get())
            .or_else(|| self.class_scales[class].get())
    }

    /// Learns that the device took `seconds` for a second of the source, and returns what its pace has to be multiplied by.
    pub(super) fn learn(
        &mut self,
        seen: (DeviceId, RenditionId, f64),
        pace: f64,
        odd: &mut Option<bool>,
    ) -> f64 {
        let (device, rendition, seconds) = seen;
        let Some(guess) = self.guess(device, rendition, pace) else {
            return 1.0;
        };
        if guess.seconds <= 0.0 || !seconds.is_finite() || seconds <= 0.0 {
            return 1.0;
        }
        let ratio = seconds / guess.seconds;
        let old = self.shape(device, rendition);
        let own = device.place() * self.renditions + rendition.place();
        let first = self.shapes[own].count == 0;
        if old.is_none() {
            // The first time of devices alike: it scales all that was expected of them.
            self.note(device, rendition, ratio);
            return 1.0;
        }
        let old = old.unwrap_or(1.0);
        let is_odd = !(1.0 / ODD..=ODD).contains(&ratio);
        let again = *odd == Some(ratio > 1.0);
        *odd = is_odd.then_some(ratio > 1.0);
        if is_odd && !again && !first {
            return if ratio > 1.0 {
                ODD_STEP
            } else {
                1.0 / ODD_STEP
            };
        }
        if first && !is_odd {
            self.note(device, rendition, old * ratio.sqrt());
            return ratio.powf(0.2);
        }
        if is_odd && !first {
            return ratio;
        }
        if first {
            // Far from what other renditions let expect: that is the rendition's, not the device's.
            self.note(device, rendition, old * ratio);
            return 1.0;
        }
        let by_pace = if ratio.ln().abs() > 0.25 { 0.5 } else { 0.15 };
        self.note(device, rendition, old * ratio.powf(1.0 - by_pace));
        ratio.powf(by_pace)
    }

    fn note(&mut self, device: DeviceId, rendition: RenditionId, shape: f64) {
        let class = self.alike[device.place()];
        self.shapes[device.place() * self.renditions + rendition.place()].add(shape);
        self.class_shapes[class * self.renditions + rendition.place()].add(shape);
        self.class_scales[class].add(shape);
    }
}
