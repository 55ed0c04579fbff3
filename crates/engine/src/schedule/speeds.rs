//! What is expected of a device for a rendition of a job, from what it said and what was seen.
//!
//! The expectation is *ability × shape × pace*. The ability is what the plan says. The shape belongs to (device, rendition) and
//! moves slowly; where nothing was seen it is that of devices alike, and before that, of any rendition of devices alike: so one
//! measurement scales all. The pace belongs to the device, whatever it encodes, and moves fast: a device that throttles is
//! noticed after a task or two. One odd time moves little; two in a row are believed.

use super::facts::{Ability, Load};
use crate::ids::{DeviceId, RenditionId};

/// A time more than this factor off is odd.
const ODD: f64 = 2.0;
/// How far one odd time moves what is expected.
const ODD_STEP: f64 = 1.15;

/// A time less far off, as logarithm, may be noise: the device's pace follows slowly.
const NOISE: f64 = 0.25;
/// As many times as what was expected counts.
const PRIOR: u32 = 2;
/// Devices whose abilities differ by less than this factor are alike.
const ALIKE: f64 = 1.3;
/// From so many classes on, devices are put to those that can do the same.
const CLASSES: usize = 32;

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

    /// Counts what was expected before the first as [`PRIOR`] times.
    fn start_with(&mut self, value: f64) {
        if self.count == 0 {
            *self = Self {
                value,
                count: PRIOR,
            };
        }
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
        let mut abilities = Vec::with_capacity(devices * renditions);
        for device in 0..devices {
            let able = |load: &Load| load.abilities.get(device).copied().flatten();
            abilities.extend(loads.iter().map(able));
        }
        // As they stay alike whichever class makes a rendition.
        let in_all_classes = |device: usize| -> Vec<Option<Ability>> {
            let classes = loads
                .iter()
                .flat_map(|load| std::iter::once(&load.abilities).chain(&load.successors));
            classes
                .map(|abilities| abilities.get(device).copied().flatten())
                .collect()
        };
        let rows: Vec<_> = (0..devices).map(in_all_classes).collect();
        let of = |device: usize| rows[device].as_slice();
        let mut leaders: Vec<usize> = Vec::new();
        let mut alike = Vec::with_capacity(devices);
        for device in 0..devices {
            let near = if leaders.len() < CLASSES {
                ALIKE
            } else {
                f64::INFINITY
            };
            let is_near = |leader: &usize| are_alike(of(*leader), of(device), near);
            let class = leaders.iter().position(is_near).unwrap_or(leaders.len());
            if class == leaders.len() {
                leaders.push(device);
            }
            alike.push(class);
        }
        Self {
            renditions,
            alike,
            abilities,
            shapes: vec![Mean::default(); devices * renditions],
            class_shapes: vec![Mean::default(); leaders.len() * renditions],
            class_scales: vec![Mean::default(); leaders.len()],
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

    /// Other encoders make the rendition: what they can do takes the place of what was known of it.
    pub(super) fn replace(&mut self, rendition: RenditionId, abilities: &[Option<Ability>]) {
        let own = self.abilities.iter_mut().skip(rendition.place());
        let own = own.step_by(self.renditions.max(1));
        let all = abilities.iter().copied().chain(std::iter::repeat(None));
        for (own, ability) in own.zip(all) {
            *own = ability;
        }
        for shapes in [&mut self.shapes, &mut self.class_shapes] {
            let of_rendition = shapes.iter_mut().skip(rendition.place());
            let of_rendition = of_rendition.step_by(self.renditions.max(1));
            of_rendition.for_each(|shape| *shape = Mean::default());
        }
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
        if !guess.known {
            // The first time of devices alike: it scales all that was expected of them.
            self.note((device, rendition), ratio, ratio);
            return 1.0;
        }
        let old = self.shape(device, rendition).unwrap_or(1.0);
        let is_odd = !(1.0 / ODD..=ODD).contains(&ratio);
        let again = *odd == Some(ratio > 1.0);
        *odd = is_odd.then_some(ratio > 1.0);
        if is_odd && again {
            return ratio;
        }
        if is_odd {
            return if ratio > 1.0 {
                ODD_STEP
            } else {
                1.0 / ODD_STEP
            };
        }
        let by_pace = if ratio.ln().abs() > NOISE { 0.5 } else { 0.15 };
        self.note((device, rendition), old, old * ratio.powf(1.0 - by_pace));
        ratio.powf(by_pace)
    }

    /// Adds a shape to what is known of the device and of those alike, of which `before` was expected.
    fn note(&mut self, (device, rendition): (DeviceId, RenditionId), before: f64, shape: f64) {
        let class = self.alike[device.place()];
        let own = &mut self.shapes[device.place() * self.renditions + rendition.place()];
        own.start_with(before);
        own.add(shape);
        self.class_shapes[class * self.renditions + rendition.place()].add(shape);
        self.class_scales[class].add(shape);
    }
}

/// Whether two devices can do the same, about as fast.
fn are_alike(a: &[Option<Ability>], b: &[Option<Ability>], near: f64) -> bool {
    a.iter().zip(b).all(|pair| match pair {
        (Some(a), Some(b)) => {
            let ratio = a.seconds / b.seconds;
            a.measured == b.measured && ratio <= near && ratio >= 1.0 / near
        }
        (None, None) => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId::new(0);
    const OTHER: DeviceId = DeviceId::new(1);

    fn loads(costs: &[f64], slow: &[f64], measured: bool) -> Vec<Load> {
        let ability = |seconds| {
            Some(Ability {
                seconds,
                measured,
                bytes: 1,
            })
        };
        costs
            .iter()
            .zip(0..)
            .map(|(cost, place)| Load {
                rendition: RenditionId::new(place),
                abilities: slow.iter().map(|slow| ability(cost * slow)).collect(),
                successors: Vec::new(),
            })
            .collect()
    }

    /// What is expected of the device, after it took so long for renditions.
    fn after(speeds: &mut Speeds, seen: &[(u16, f64)]) -> (f64, f64) {
        let (mut pace, mut odd) = (1.0, None);
        for (rendition, seconds) in seen {
            let seen = (DEVICE, RenditionId::new(*rendition), *seconds);
            pace *= speeds.learn(seen, pace, &mut odd);
        }
        let guess = |place| speeds.guess(DEVICE, RenditionId::new(place), pace);
        (
            guess(0).expect("can do it").seconds,
            guess(1).expect("can do it").seconds,
        )
    }

    #[test]
    fn one_measurement_scales_what_is_only_proportional() {
        let mut speeds = Speeds::new(&loads(&[8.0, 2.0], &[1.0, 1.0], false), 2);
        assert!(
            !speeds
                .guess(OTHER, RenditionId::new(1), 1.0)
                .expect("can do it")
                .known
        );
        let (large, small) = after(&mut speeds, &[(0, 4.0)]);
        assert!((large - 4.0).abs() < 1e-9 && (small - 1.0).abs() < 1e-9);
        let other = speeds
            .guess(OTHER, RenditionId::new(1), 1.0)
            .expect("can do it");
        assert!(
            other.known && (other.seconds - 1.0).abs() < 1e-9,
            "a device that is alike"
        );
    }

    #[test]
    fn one_odd_time_moves_little_and_two_are_believed() {
        let speeds = || Speeds::new(&loads(&[1.0, 0.5], &[1.0], true), 1);
        let (once, _) = after(&mut speeds(), &[(0, 1.0), (0, 9.0)]);
        assert!(once < 1.2, "{once}");
        let (_, other) = after(&mut speeds(), &[(0, 1.0), (0, 9.0), (0, 9.0)]);
        assert!(
            other > 4.0,
            "{other}: the device throttles, whatever it does"
        );
    }

    #[test]
    fn a_device_that_gets_slower_is_known_after_a_few_tasks() {
        let mut speeds = Speeds::new(&loads(&[1.0, 0.5], &[1.0], true), 1);
        let (now, _) = after(&mut speeds, &[(0, 1.6), (0, 1.6), (0, 1.6), (0, 1.6)]);
        assert!((now - 1.6).abs() < 0.16, "{now}");
    }

    #[test]
    fn noise_moves_little() {
        let mut speeds = Speeds::new(&loads(&[1.0, 0.5], &[1.0], true), 1);
        let (now, _) = after(&mut speeds, &[(0, 0.85), (0, 1.15), (0, 0.85)]);
        assert!((now - 1.0).abs() < 0.08, "{now}");
    }

    #[test]
    fn what_cannot_be_done_is_not_expected() {
        let mut loads = loads(&[1.0], &[1.0, 1.0], true);
        loads[0].abilities[1] = None;
        let speeds = Speeds::new(&loads, 2);
        assert_eq!(speeds.guess(OTHER, RenditionId::new(0), 1.0), None);
        assert_ne!(speeds.class(DEVICE), speeds.class(OTHER));
    }
}
