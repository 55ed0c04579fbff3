//! How far from the best possible a job was: what was observed goes in, a time that no schedule could have beaten comes out.

use std::collections::BTreeMap;

use crate::bound::{Class, Demand, lower_bound};
use crate::device::Device;
use crate::ids::{DeviceId, RenditionId, SegmentIndex, TaskId};
use crate::plan::Plan;

/// Session time and seconds of the source that went through it.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    busy: f64,
    source: f64,
}

/// A task that was done. Times are in seconds, counted from when control began the job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskDone {
    pub(crate) device: DeviceId,
    pub(crate) task: TaskId,
    pub(crate) started: f64,
    /// How long it took.
    pub(crate) busy: f64,
    /// What it made of the source.
    pub(crate) source: f64,
}

/// What is needed to say how soon the job could have ended.
#[derive(Debug, Default)]
pub(crate) struct Efficiency {
    /// When each span was complete, in seconds, counted from when control began the job.
    ready: BTreeMap<SegmentIndex, f64>,
    tasks: Vec<TaskDone>,
    done: BTreeMap<(DeviceId, RenditionId), Done>,
}

impl Efficiency {
    /// A span is complete.
    pub(crate) fn ready(&mut self, span: SegmentIndex, at: f64) {
        self.ready.insert(span, at);
    }

    pub(crate) fn done(&mut self, task: TaskDone) {
        let done = self
            .done
            .entry((task.device, task.task.rendition))
            .or_default();
        done.busy += task.busy;
        done.source += task.source;
        self.tasks.push(task);
    }

    /// The time in seconds before which the job could not have ended, had each task been harder or easier than its rendition is on average by as much on
    /// every device as on the one that did it. `None` if nothing was done.
    pub(crate) fn bound(&self, plan: &Plan, devices: &[Device]) -> Option<f64> {
        let classes: Vec<Class> = devices
            .iter()
            .zip(0..)
            .map(|(device, place)| Class {
                sessions: device.sessions,
                seconds: self.speeds(plan, DeviceId::new(place)),
            })
            .collect();
        let mut demands: BTreeMap<SegmentIndex, Demand> = BTreeMap::new();
        for done in &self.tasks {
            let demand = demands.entry(done.task.span).or_insert_with(|| Demand {
                ready: f64::INFINITY,
                work: vec![0.0; plan.renditions().len()],
            });
            // A task that is fed starts before its span is complete.
            let ready = self.ready.get(&done.task.span).copied();
            let ready = ready.unwrap_or(done.started).min(done.started);
            demand.ready = demand.ready.min(ready);
            let usual = self.done.get(&(done.device, done.task.rendition));
            let usual = usual.map_or(0.0, |usual| usual.busy / usual.source);
            if usual > 0.0 {
                demand.work[done.task.rendition.place()] = done.busy / usual;
            }
        }
        let demands: Vec<Demand> = demands.into_values().collect();
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
