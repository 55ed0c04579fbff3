//! A worker: lets its followers work when they are given something, and reports what they have used.

use crate::cancel::Cancel;
use crate::sync::{Receiver, Sender, never, select};

use super::flow::Wish;
use super::{Delivery, Follower, FollowerCue, Report, Stand};

/// Bytes after which use is reported while a follower works on.
const REPORTED_BYTES: u64 = 1 << 16;

struct Slot<'a> {
    follower: Box<dyn Follower + 'a>,
    /// By which the reader knows it.
    number: usize,
    /// The source can give it nothing more.
    ended: bool,
    over: bool,
    /// Something has come for it since it has worked.
    due: bool,
}

/// Some followers, on one thread.
pub(super) struct Worker<'a> {
    slots: Vec<Slot<'a>>,
    cues: Receiver<FollowerCue>,
    deliveries: Receiver<Delivery>,
    reports: Sender<Report>,
    cancel: Cancel,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        (cues, deliveries): (Receiver<FollowerCue>, Receiver<Delivery>),
        reports: Sender<Report>,
        cancel: &Cancel,
    ) -> Self {
        Self {
            slots: Vec::new(),
            cues,
            deliveries,
            reports,
            cancel: cancel.clone(),
        }
    }

    /// The number of followers.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes a follower, in the next slot.
    pub(super) fn take(&mut self, number: usize, follower: Box<dyn Follower + 'a>) {
        self.slots.push(Slot {
            follower,
            number,
            ended: false,
            over: false,
            due: false,
        });
    }

    /// Runs until all followers are over.
    pub(super) fn run(&mut self) {
        let (no_cues, no_deliveries) = (never(), never());
        let (mut cues, mut deliveries) = (self.cues.clone(), self.deliveries.clone());
        while !self.slots.iter().all(|slot| slot.over) {
            select! {
                recv(cues) -> cue => if let Ok(cue) = cue {
                    self.cue(cue);
                } else {
                    cues = no_cues.clone();
                    self.last_cue();
                },
                recv(deliveries) -> delivery => if let Ok(delivery) = delivery {
                    self.deliver(delivery);
                } else {
                    deliveries = no_deliveries.clone();
                    self.reader_is_gone();
                },
            }
            // All that has come by now, so that those with work are known before the first of them works.
            while let Ok(cue) = cues.try_recv() {
                self.cue(cue);
            }
            while let Ok(delivery) = deliveries.try_recv() {
                self.deliver(delivery);
            }
            if self.cancel.is_cancelled() {
                self.each(Slot::stop);
            }
            self.work();
        }
    }

    fn cue(&mut self, FollowerCue { slot, cue }: FollowerCue) {
        let slot = &mut self.slots[slot];
        if !slot.over {
            slot.follower.cue(cue);
            slot.due = true;
            self.reports.send(slot.report(0, Wish::Working)).ok();
        }
    }

    fn last_cue(&mut self) {
        self.each(|slot| {
            slot.follower.last_cue();
            slot.due = true;
        });
    }

    /// Those that still need something of the source get nothing any more: the job is ending.
    fn reader_is_gone(&mut self) {
        self.each(|slot| {
            if !slot.ended {
                slot.stop();
            }
        });
    }

    fn each(&mut self, mut act: impl FnMut(&mut Slot<'a>)) {
        self.slots
            .iter_mut()
            .filter(|slot| !slot.over)
            .for_each(&mut act);
    }

    fn deliver(&mut self, delivery: Delivery) {
        let (Delivery::Begin { slot, .. }
        | Delivery::Given { slot, .. }
        | Delivery::Reached { slot, .. }) = delivery;
        let slot = &mut self.slots[slot];
        if slot.over {
            return;
        }
        slot.due = true;
        match delivery {
            Delivery::Begin { streams, .. } => slot.follower.begin(&streams),
            Delivery::Given { given, .. } => {
                slot.ended |= matches!(given, super::Given::End(_));
                slot.follower.give(given);
            }
            Delivery::Reached { time, .. } => slot.follower.reached(time),
        }
    }

    /// Lets those work for whom something has come.
    fn work(&mut self) {
        let reports = &self.reports;
        for slot in self.slots.iter_mut().filter(|slot| slot.due) {
            slot.due = false;
            let (number, mut used) = (slot.number, 0);
            let stand = if slot.over {
                Stand::Over
            } else {
                slot.follower.work(&mut |bytes| {
                    used += bytes;
                    if used >= REPORTED_BYTES {
                        let used = std::mem::take(&mut used);
                        let wish = Wish::Working;
                        // A reader that is gone need not know.
                        reports
                            .send(Report {
                                follower: number,
                                used,
                                wish,
                            })
                            .ok();
                    }
                })
            };
            let wish = match stand {
                Stand::Waits => Wish::Enough,
                Stand::Hungry => Wish::More,
                Stand::Over => Wish::Over,
            };
            slot.over = stand == Stand::Over;
            reports.send(slot.report(used, wish)).ok();
        }
    }
}

impl Slot<'_> {
    fn report(&self, used: u64, wish: Wish) -> Report {
        Report {
            follower: self.number,
            used,
            wish,
        }
    }

    fn stop(&mut self) {
        self.follower.stop();
        self.over = true;
        self.due = true;
    }
}
