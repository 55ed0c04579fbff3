//! Pictures that are lost: when, which attempts find that out, and what may be done then.

use rungs_engine::ids::{AttemptId, JobId, SegmentIndex};
use rungs_engine::schedule::End;

use super::fate::{Fate, Try};
use super::scenario::{Fault, Nanos};
use super::scheduler::Scheduler;
use super::truth::{JobPhase, Out, SpanTruth};
use super::world::{Due, World};
use crate::dice::Dice;

/// How often the pictures of a stubborn span are lost while an attempt has them.
const STUBBORN: f64 = 0.9;

/// A decode of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Decode {
    pub(super) job: usize,
    pub(super) span: usize,
    pub(super) number: u32,
}

impl<S: Scheduler> World<'_, S> {
    /// Lets an attempt that starts find its pictures gone now and then, and others that have them later. Only what would have ended well
    /// is hit, so that one cause is enough for each end.
    pub(super) fn doom(&mut self, attempt: Try, fate: &mut Fate) {
        let Some(vanishing) = self.scenario.jobs[attempt.job].vanishing else {
            return;
        };
        let (Some(home), End::Done) = (fate.home, fate.end) else {
            return;
        };
        let span = attempt.task.span;
        let place = span.get() as usize;
        let pictures = self.truth.jobs[attempt.job].pictures[place];
        let chance = if pictures.lost {
            vanishing.spreads
        } else if vanishing.stubborn == Some(span) {
            STUBBORN
        } else {
            vanishing.chance
        };
        if !self.luck.chance(chance) {
            return;
        }
        let found = within(attempt.now, home, &mut self.luck);
        if !pictures.lost {
            let lost = within(attempt.now, found, &mut self.luck);
            let decode = Decode {
                job: attempt.job,
                span: place,
                number: pictures.decode,
            };
            self.push(lost, Due::Vanish(decode));
        }
        (fate.home, fate.end) = (Some(found), End::PicturesLost);
    }

    /// The pictures of a decode are gone. Some of the attempts that are out have what they need, others find out.
    pub(super) fn vanish(&mut self, decode: Decode) {
        let state = &mut self.truth.jobs[decode.job];
        let there = matches!(state.spans[decode.span], SpanTruth::Held | SpanTruth::Fed);
        let pictures = &mut state.pictures[decode.span];
        if !there || pictures.lost || pictures.decode != decode.number {
            return;
        }
        pictures.lost = true;
        self.note(|| format!("lost: {decode:?}"));
        let has = |out: &Out| {
            let same = (out.job.get() as usize, out.task.span.get() as usize);
            same == (decode.job, decode.span) && out.decode == decode.number
        };
        let out = self.truth.out.iter();
        let mut others: Vec<AttemptId> = out.filter(|(_, o)| has(o)).map(|(id, _)| *id).collect();
        others.sort_unstable();
        for id in others {
            self.may_find_out(id, decode.job);
        }
    }

    fn may_find_out(&mut self, id: AttemptId, job: usize) {
        let spreads = self.scenario.jobs[job].vanishing;
        let spreads = spreads.map_or(0.0, |vanishing| vanishing.spreads);
        let Some(out) = self.truth.out.get_mut(&id) else {
            return;
        };
        let (Some(home), End::Done) = (out.home, out.end) else {
            return;
        };
        if self.luck.chance(spreads) {
            let found = within(self.now, home, &mut self.luck);
            (out.home, out.end) = (Some(found), End::PicturesLost);
            self.push(found, Due::Home(id));
        }
    }

    /// An attempt comes home and says that its pictures are gone. Only what is lost too often counts as a failure, and never against
    /// the device.
    pub(super) fn hear_of_loss(&mut self, out: &Out) -> Result<(), String> {
        self.outcome.hit |= Fault::Vanish.bit();
        let losses = self.scenario.machine.rules.losses as usize;
        let device = out.lease.device();
        let gone = self.truth.device(device)?.lost;
        let job = self.truth.job(out.job)?;
        let span = out.task.span.get();
        let held = job.span_is(span, SpanTruth::Held);
        let pictures = &mut job.pictures[span as usize];
        if held && pictures.decode == out.decode {
            pictures.known = true;
        }
        let running = job.phase == JobPhase::Running;
        let stale = job.class[out.task.rendition.place()] != out.class;
        let task = job.task(out.task)?;
        if out.abandoned || gone || stale || !running || task.done {
            return Ok(());
        }
        if task.lost.insert(out.decode) && task.lost.len() > losses {
            task.failed_on.push(device);
        }
        Ok(())
    }

    /// What is left of lost pictures goes, once nobody has any of them.
    pub(super) fn let_go_lost(&mut self, job: JobId, span: SegmentIndex) -> Result<(), String> {
        let state = self.truth.job(job)?;
        let tasks = state.tasks_of(span.get());
        let wrong = if state.phase != JobPhase::Running {
            Some("its job does not run")
        } else if !state.span_is(span.get(), SpanTruth::Held) {
            Some("it is not held")
        } else if !state.pictures[span.get() as usize].known {
            Some("nobody has said that it is lost")
        } else if tasks.iter().any(|task| task.out > 0) {
            Some("attempts that have it are out")
        } else if tasks.iter().all(|task| task.done) {
            Some("all of its tasks are done")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            return Err(format!("span {span} is let go as lost, and {wrong}"));
        }
        self.let_go(job, span.get(), SpanTruth::Unread)
    }

    /// Lost pictures do not stay where nobody has any of them.
    pub(super) fn check_lost(&self) -> Result<(), String> {
        for (state, job) in self.truth.jobs.iter().zip(&self.scenario.jobs) {
            if state.phase != JobPhase::Running || job.vanishing.is_none() {
                continue;
            }
            for (span, pictures) in (0..).zip(&state.pictures) {
                let tasks = state.tasks_of(span);
                let stays = pictures.known && state.span_is(span, SpanTruth::Held);
                if stays && tasks.iter().all(|task| task.out == 0) {
                    return Err(format!(
                        "span {span} is lost, nobody has it, and it is not let go"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A moment from one to another.
fn within(from: Nanos, to: Nanos, dice: &mut Dice) -> Nanos {
    from + (to.saturating_sub(from) as f64 * dice.unit()) as Nanos
}
