//! Which class of encoders makes a rendition: the one of the plan, until it cannot, and nothing of the rendition is done yet.
//!
//! Segments of unlike classes break the codec contract of a rendition, so another class takes a rendition over from its first segment on or not at all.

use super::attempts::Attempt;
use super::devices::{Device, Devices};
use super::jobs::Job;
use super::planted::Bug;
use super::{Decision, Schedule};
use crate::ids::{AttemptId, JobId, RenditionId, TaskId};

impl Schedule {
    /// Gives a rendition to its next class of which a device is so. `false`: there is none, or something of the rendition is done.
    pub(super) fn take_over(
        &mut self,
        id: JobId,
        rendition: RenditionId,
        is: impl Fn(&Device) -> bool,
    ) -> bool {
        let begun_too = self.has(Bug::TakeOverBegun);
        if self.has(Bug::ForgetTakeOver) {
            return false;
        }
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        if job.stopped || job.begun[rendition.place()] && !begun_too {
            return false;
        }
        let Some(class) = job.successor(rendition, &self.devices, is) else {
            return false;
        };
        job.switch(rendition, class, &self.devices);
        self.decide(Decision::TakeOver {
            job: id,
            rendition,
            class,
        });
        let of_rendition = |(out, attempt): (&AttemptId, &Attempt)| {
            let same = attempt.job == id && attempt.task.rendition == rendition;
            (same && !attempt.is_abandoned()).then_some(*out)
        };
        let out: Vec<AttemptId> = self.attempts.iter().filter_map(of_rendition).collect();
        for attempt in out {
            self.void(attempt);
        }
        self.refresh();
        self.hasten();
        true
    }

    /// Does so where all devices of a class are shut, and not only once nobody hopes for them any more.
    pub(super) fn take_over_shut(&mut self) {
        let mut shut = Vec::new();
        for job in self.jobs.values().filter(|job| !job.stopped) {
            let is_shut = |rendition: &&RenditionId| {
                let place = rendition.place();
                job.open[place] == 0
                    && !job.begun[place]
                    && !job.facts.loads[place].successors.is_empty()
            };
            let renditions = job.by_rank.iter().filter(is_shut);
            shut.extend(renditions.map(|rendition| (job.id, *rendition)));
        }
        for (job, rendition) in shut {
            self.take_over(job, rendition, Device::is_open);
        }
    }
}

impl Job {
    /// The next class of which a device that can make the rendition is so.
    fn successor(
        &self,
        rendition: RenditionId,
        devices: &Devices,
        is: impl Fn(&Device) -> bool,
    ) -> Option<usize> {
        let from = self.class[rendition.place()];
        let classes = self.facts.loads[rendition.place()].successors.iter();
        let mut classes = classes.enumerate().skip(from);
        let found = classes.find(|(_, abilities)| {
            let mut able = devices.iter().zip(abilities.iter());
            able.any(|((_, device), ability)| ability.is_some() && is(device))
        });
        found.map(|(class, _)| class)
    }

    /// Has a class make a rendition: what its devices can do counts from here on, and what failed before does not.
    fn switch(&mut self, rendition: RenditionId, class: usize, devices: &Devices) {
        let place = rendition.place();
        self.class[place] = class + 1;
        let load = &mut self.facts.loads[place];
        load.abilities = load.successors[class].clone();
        self.speeds.replace(rendition, &load.abilities);
        (self.open[place], self.hope[place]) = (0, 0);
        for (id, device) in devices.iter() {
            if self.speeds.ability(id, rendition).is_some() {
                self.open[place] += u32::from(device.is_open());
                self.hope[place] += u32::from(device.is_hopeful());
            }
        }
        self.weigh_encoders(devices);
        let failed: Vec<TaskId> = self
            .troubled
            .iter()
            .copied()
            .filter(|task| task.rendition == rendition)
            .collect();
        for task in &failed {
            self.take(*task);
        }
        let tasks = self.tasks.iter_mut();
        for (_, state) in tasks.filter(|(task, _)| task.rendition == rendition) {
            state.failed_on.clear();
        }
        for task in failed {
            self.requeue(task);
        }
    }
}
