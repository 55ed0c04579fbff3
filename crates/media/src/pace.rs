//! Pictures with their times in, fewer or evenly spaced ones out.
//!
//! Time is cut into slots that start at multiples of the new picture's length on the source's own clock. What becomes of a picture follows
//! from its time and its neighbours' times alone, so whoever starts in the middle of a source makes the same of it.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::time::{Rational, TimeBase, gcd};

/// How far before its slot a picture may come and still count as in it, in eighths of the slot. Containers round times; and where slots
/// are filled evenly, a picture goes to the nearest.
const EARLY: (i128, i128) = (1, 4);
const EIGHTHS: i128 = 8;
/// Slots that one picture may fill, in seconds. Beyond it the clock has jumped.
const LONGEST: i128 = 60;

/// What to do with the rate of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// At most so many a second: of several pictures in a slot the first stays. What is slower stays as it is.
    Most(Rational),
    /// So many a second, evenly: a picture fills each slot that starts while it is shown, and goes if none does.
    Exactly(Rational),
}

/// The rate that is wanted, and the unit of timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// What to do.
    pub rate: Rate,
    /// The length of a tick of the pictures that come and go.
    pub time_base: TimeBase,
    /// How many such ticks are one of the source's: evenly spaced pictures may start between those.
    pub finer: NonZeroU32,
}

impl Pace {
    /// A pace for a source with timestamps of this unit. Where pictures are to be spaced evenly, ticks are so fine that each starts on one, or as good as that.
    #[must_use]
    pub fn new(rate: Rate, source: TimeBase) -> Self {
        /// Ticks a second beyond which nobody sees a difference, and at least so many.
        const FINE: RangeInclusive<u64> = 10_000..=1_000_000;
        let (num, den) = (u64::from(source.num()), u64::from(source.den()));
        let finer = match rate {
            Rate::Most(_) => 1,
            Rate::Exactly(fps) => {
                let positive = |part: i32| u64::try_from(part).unwrap_or(1).max(1);
                let (slots, seconds) = (positive(fps.num) * num, positive(fps.den) * den);
                let exact = slots / gcd(slots, seconds);
                let coarse = (FINE.start() * num).div_ceil(den);
                if exact * den / num <= *FINE.end() {
                    exact
                } else {
                    coarse
                }
            }
        };
        let time_base = u64::from(source.den())
            .checked_mul(finer)
            .and_then(|den| TimeBase::new(source.num(), u32::try_from(den).ok()?));
        let finer = u32::try_from(finer).ok().and_then(NonZeroU32::new);
        let (time_base, finer) = time_base.zip(finer).unwrap_or((source, NonZeroU32::MIN));
        Self {
            rate,
            time_base,
            finer,
        }
    }

    const fn fps(self) -> Rational {
        match self.rate {
            Rate::Most(fps) | Rate::Exactly(fps) => fps,
        }
    }

    /// Numerator and denominator of slots a tick.
    fn slots(self) -> (i128, i128) {
        let (base, fps) = (self.time_base, self.fps());
        (
            i128::from(base.num()) * i128::from(fps.num.max(1)),
            i128::from(base.den()) * i128::from(fps.den.max(1)),
        )
    }

    /// The slot in which a time lies, or just before which.
    fn slot(self, ticks: i64) -> i128 {
        let (num, den) = self.slots();
        let early = match self.rate {
            Rate::Most(_) => EARLY.0,
            Rate::Exactly(_) => EARLY.1,
        };
        (i128::from(ticks) * num * EIGHTHS + den * early).div_euclid(den * EIGHTHS)
    }

    /// When a slot starts, to the nearest tick.
    fn start(self, slot: i128) -> i64 {
        let (num, den) = self.slots();
        let ticks = (2 * slot * den + num).div_euclid(2 * num);
        i64::try_from(ticks).unwrap_or(i64::MAX)
    }

    /// Pictures between two times at the most, of so many of the source.
    #[must_use]
    pub fn bound(self, pictures: u64, from: i64, until: i64) -> u64 {
        let slots = (self.slot(until) - self.slot(from) + 1).max(0);
        let slots = u64::try_from(slots).unwrap_or(u64::MAX);
        match self.rate {
            Rate::Most(_) => pictures.min(slots),
            Rate::Exactly(_) => slots,
        }
    }
}

/// A picture that is shown until the next one comes.
struct Shown {
    frame: Frame,
    time: i64,
    /// The first slot that it has not filled.
    slot: i128,
}

/// Keeps the pace.
pub(crate) struct Pacer {
    pace: Pace,
    shown: Option<Shown>,
    /// The end of what the shown picture fills, once the next one is there.
    next: Option<(i128, Option<Frame>)>,
    /// The slot of the picture before, and its time and duration.
    before: Option<(i128, i64, i64)>,
    /// Whether the first picture only tells where the second one stands.
    enters: bool,
    /// Whether nothing came out yet: there is a picture, however short.
    owes: bool,
}

impl Pacer {
    /// `enters`: pictures come from the middle of a source.
    pub(crate) fn new(pace: Pace, enters: bool) -> Self {
        Self {
            pace,
            shown: None,
            next: None,
            before: None,
            enters: enters && matches!(pace.rate, Rate::Most(_)),
            owes: !enters,
        }
    }

    /// Takes a picture, or with `None` the end. Everything must have been [taken out](Self::pull) before.
    pub(crate) fn push(&mut self, frame: Option<Frame>) {
        let Some(frame) = frame else {
            let end = self.shown.as_ref().map(|shown| self.end_of(shown));
            self.next = end.map(|end| (end, None));
            return;
        };
        let (time, slot) = self.place(&frame);
        let last = self.before.map(|(slot, ..)| slot);
        let length = frame.duration().unwrap_or(0);
        self.before = Some((slot, time, length));
        if std::mem::take(&mut self.enters) {
            return;
        }
        let jumps = last.is_some_and(|last| slot < last || slot - last > self.longest());
        match self.pace.rate {
            Rate::Most(_) if last == Some(slot) => {
                // Dropped: the picture before is shown longer.
                if let Some(shown) = &mut self.shown {
                    let longer = time.saturating_sub(shown.time).saturating_add(length);
                    shown.frame = shown.frame.with_time(shown.frame.pts(), Some(longer));
                }
            }
            Rate::Most(_) => self.next = Some((slot, Some(frame))),
            Rate::Exactly(_) => {
                let end = match &self.shown {
                    Some(shown) if jumps => self.end_of(shown),
                    _ => slot,
                };
                self.next = Some((end, Some(frame)));
            }
        }
        if self.shown.is_none() {
            self.show_next();
        }
    }

    /// The next picture that is ready.
    pub(crate) fn pull(&mut self) -> Option<Frame> {
        let (end, _) = self.next.as_ref()?;
        let end = *end;
        let ready = match (self.pace.rate, &mut self.shown) {
            (_, None) => None,
            (Rate::Most(_), shown) => shown.take().map(|shown| shown.frame),
            (Rate::Exactly(_), Some(shown)) => (shown.slot < end).then(|| {
                let (start, next) = (self.pace.start(shown.slot), self.pace.start(shown.slot + 1));
                shown.slot += 1;
                self.owes = false;
                shown.frame.with_time(Some(start), Some(next - start))
            }),
        };
        if ready.is_none() || self.shown.is_none() {
            self.show_next();
        }
        ready
    }

    /// Pictures inside.
    pub(crate) fn held(&self) -> usize {
        usize::from(self.shown.is_some())
    }

    fn show_next(&mut self) {
        let frame = self.next.take().and_then(|(_, frame)| frame);
        let (slot, time, _) = self.before.unwrap_or_default();
        self.shown = frame.map(|frame| Shown { frame, time, slot });
    }

    /// The time of a picture and its slot. One without a time follows the one before.
    fn place(&self, frame: &Frame) -> (i64, i128) {
        let follows = || {
            let (_, time, length) = self.before?;
            Some(time.saturating_add(length.max(1)))
        };
        let time = frame.pts().or_else(follows).unwrap_or(0);
        (time, self.pace.slot(time))
    }

    /// The slot at which a picture ends that has none after it.
    fn end_of(&self, shown: &Shown) -> i128 {
        let end = shown.frame.duration().map_or(shown.slot + 1, |length| {
            self.pace.slot(shown.time.saturating_add(length))
        });
        let least = shown.slot + i128::from(self.owes);
        end.clamp(least, shown.slot + self.longest())
    }

    fn longest(&self) -> i128 {
        let fps = self.pace.fps();
        (LONGEST * i128::from(fps.num) / i128::from(fps.den.max(1))).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exactly(num: i32, den: i32, source: (u32, u32)) -> Pace {
        let base = TimeBase::new(source.0, source.1).unwrap();
        Pace::new(Rate::Exactly(Rational { num, den }), base)
    }

    #[test]
    fn even_pictures_start_on_ticks() {
        for (fps, source, finer) in [
            ((30, 1), (1, 12_288), 5),
            ((24, 1), (1, 12_288), 1),
            ((30, 1), (1, 24), 5),
            ((30_000, 1001), (1, 25), 1200),
            ((25, 1), (1001, 30_000), 1001),
            // No tick is fine enough.
            ((30_000, 1001), (1, 90_000), 1),
        ] {
            let pace = exactly(fps.0, fps.1, source);
            assert_eq!(pace.finer.get(), finer, "{fps:?} of {source:?}");
            let times: Vec<_> = (0..100).map(|slot| pace.start(slot)).collect();
            let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
            let (least, most) = (steps.clone().min(), steps.max());
            assert!(
                least > Some(0) && most <= least.map(|step| step + 1),
                "{fps:?}"
            );
        }
    }

    #[test]
    fn a_pace_has_room_for_what_comes() {
        let pace = exactly(30, 1, (1, 24));
        let second = i64::from(pace.time_base.den());
        assert!((30..=31).contains(&pace.bound(24, 0, second)));
        let most = Pace::new(Rate::Most(Rational { num: 10, den: 1 }), pace.time_base);
        assert_eq!(
            (most.bound(24, 0, second), most.bound(3, 0, second)),
            (11, 3)
        );
    }
}
