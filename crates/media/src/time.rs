//! Time as FFmpeg counts it: whole ticks of a rational time base.

use serde::{Deserialize, Serialize};

/// The length of a tick: `num / den` seconds, both above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawTimeBase", into = "RawTimeBase")]
pub struct TimeBase {
    num: u32,
    den: u32,
}

impl TimeBase {
    /// Makes a time base of `num / den` seconds a tick; `None` if either is zero.
    #[must_use]
    pub const fn new(num: u32, den: u32) -> Option<Self> {
        if num == 0 || den == 0 {
            None
        } else {
            Some(Self { num, den })
        }
    }

    /// The numerator, in seconds.
    #[must_use]
    pub const fn num(self) -> u32 {
        self.num
    }

    /// The denominator.
    #[must_use]
    pub const fn den(self) -> u32 {
        self.den
    }

    /// The time base as a fraction; `None` if a part does not fit FFmpeg's `int`.
    pub(crate) fn rational(self) -> Option<Rational> {
        Some(Rational {
            num: i32::try_from(self.num).ok()?,
            den: i32::try_from(self.den).ok()?,
        })
    }

    /// Converts ticks to seconds, for display and for estimates: it rounds.
    #[must_use]
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 * f64::from(self.num) / f64::from(self.den)
    }

    /// Converts ticks of this time base to the nearest tick of another one, halves away from zero. A result beyond
    /// `i64` saturates.
    #[must_use]
    pub fn rescale(self, ticks: i64, to: Self) -> i64 {
        let numerator = i128::from(ticks) * i128::from(self.num) * i128::from(to.den);
        let denominator = i128::from(self.den) * i128::from(to.num);
        let magnitude = numerator.abs() / denominator
            + i128::from(numerator.abs() % denominator >= denominator - denominator / 2);
        let rounded = if numerator < 0 { -magnitude } else { magnitude };
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
    }
}

/// What is written of a time base, before it is checked.
#[derive(Serialize, Deserialize)]
struct RawTimeBase {
    num: u32,
    den: u32,
}

impl From<TimeBase> for RawTimeBase {
    fn from(TimeBase { num, den }: TimeBase) -> Self {
        Self { num, den }
    }
}

impl TryFrom<RawTimeBase> for TimeBase {
    type Error = &'static str;

    fn try_from(raw: RawTimeBase) -> Result<Self, Self::Error> {
        Self::new(raw.num, raw.den).ok_or("a time base is above zero")
    }
}

/// A fraction as FFmpeg keeps it. Nothing is promised about the sign or a zero denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rational {
    /// The numerator.
    pub num: i32,
    /// The denominator.
    pub den: i32,
}

impl Rational {
    /// The value as a float; not a number or infinite where the denominator is zero.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// The same fraction in its lowest terms; itself where one of the numbers is not above zero.
    #[must_use]
    pub fn reduced(self) -> Self {
        if self.num <= 0 || self.den <= 0 {
            return self;
        }
        let divisor = gcd(
            self.num.unsigned_abs().into(),
            self.den.unsigned_abs().into(),
        ) as i32;
        Self {
            num: self.num / divisor,
            den: self.den / divisor,
        }
    }
}

/// The greatest common divisor.
pub(crate) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(num: u32, den: u32) -> TimeBase {
        TimeBase::new(num, den).unwrap()
    }

    #[test]
    fn a_zero_is_refused() {
        assert_eq!(TimeBase::new(0, 1), None);
        assert_eq!(TimeBase::new(1, 0), None);
        assert!(TimeBase::try_from(RawTimeBase { num: 1, den: 0 }).is_err());
    }

    #[test]
    fn rescale_rounds_to_the_nearest_and_halves_away_from_zero() {
        let (half, one) = (base(1, 2), base(1, 1));
        assert_eq!(half.rescale(1, one), 1);
        assert_eq!(half.rescale(-1, one), -1);
        assert_eq!(half.rescale(2, one), 1);
        assert_eq!(base(1, 3).rescale(1, one), 0);
        assert_eq!(base(1, 3).rescale(2, one), 1);
        assert_eq!(base(1, 3).rescale(-2, one), -1);
        assert_eq!(base(1, 90_000).rescale(3003, base(1001, 30_000)), 1);
    }

    #[test]
    fn rescale_saturates() {
        assert_eq!(
            base(u32::MAX, 1).rescale(i64::MAX, base(1, u32::MAX)),
            i64::MAX
        );
        assert_eq!(
            base(u32::MAX, 1).rescale(i64::MIN, base(1, u32::MAX)),
            i64::MIN
        );
        assert_eq!(base(7, 9).rescale(i64::MIN, base(7, 9)), i64::MIN);
    }

    #[test]
    fn seconds_are_ticks_times_the_base() {
        assert!((base(1001, 24_000).seconds(24) - 1.001).abs() < 1e-12);
    }
}
