//! How far from the best possible a job was: what was observed goes in, a time that no schedule could have beaten comes out.

use std::collections::BTreeMap;

use crate::bound::{Class, Demand, lower_bound};
use crate::device::Device;
use crate::ids::{DeviceId, RenditionId};
use crate::plan::Plan;

/// Session time and seconds of the source that went through it.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    busy: f64,
    source: f64,
}

/// What is needed to say how soon the job could have ended.
#[derive(Debug, Default)]
pub(crate) struct Efficiency {
    /// When each span was complete, counted from when control began it, and its length; both in seconds.
    spans: Vec<(f64, f64)>,
    done: BTreeMap<(DeviceId, RenditionId), Done>,
}

impl Efficiency {
    /// A span is complete.
    pub(crate) fn ready(&mut self, at: f64, seconds: f64) {
        self.spans.push((at, seconds));
    }

    /// A task is done after `busy` seconds, for `source` seconds of the source.
    pub(crate) fn done(&mut self, on: (DeviceId, RenditionId), busy: f64, source: f64) {
        let done = self.done.entry(on).or_default();
        done.busy += busy;
        done.source += source;
    }

    /// The time in seconds before which the job could not have ended, had every session been as fast as its device was on average. `None` if
    /// nothing was done.
    pub(crate) fn bound(&self, plan: &Plan, devices: &[Device]) -> Option<f64> {
        let classes: Vec<Class> = devices
            .iter()
            .zip(0..)
            .map(|(device, place)| Class {
                sessions: device.sessions,
                seconds: self.speeds(plan, DeviceId::new(place)),
            })
            .collect();
        let demands: Vec<Demand> = self
            .spans
            .iter()
            .map(|(ready, seconds)| Demand {
                ready: *ready,
                work: vec![*seconds; plan.renditions().len()],
            })
            .collect();
        let bound = lower_bound(&classes, &demands);
        (bound.is_finite() && bound > 0.0).then_some(bound)
    }

    /// Seconds that a session of a device takes for a second of each rendition. What it has not done is taken in proportion to the pixels
    /// of what it has.
    fn speeds(&self, plan: &Plan, device: DeviceId) -> Vec<Option<f64>> {
        let renditions = plan.renditions();
        let mine = || self.done.iter().filter(|((on, _), _)| *on == device);
        let pixels: f64 = mine()
            .map(|((_, id), done)| renditions[id.place()].size.pixels() as f64 * done.source)
            .sum();
        let busy: f64 = mine().map(|(_, done)| done.busy).sum();
        let speed = |id: RenditionId, pixels_of_it: f64| match self.done.get(&(device, id)) {
            Some(done) if done.source > 0.0 => Some(done.busy / done.source),
            _ if pixels > 0.0 => Some(busy / pixels * pixels_of_it),
            _ => None,
        };
        renditions
            .iter()
            .map(|rendition| speed(rendition.id, rendition.size.pixels() as f64))
            .collect()
    }
}
