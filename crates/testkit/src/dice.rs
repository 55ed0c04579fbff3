//! Random numbers that are the same for a seed for ever, so that a seed in a test or a report stays worth something.

/// A stream of random numbers: SplitMix64, as its author gives it.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Makes the stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Makes a stream that goes on by itself, named by `name`.
    #[must_use]
    pub fn apart(&mut self, name: u64) -> Self {
        Self(self.roll() ^ name.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Any number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.roll() as u32) * u64::from(end)) >> 32) as u32
    }

    /// A whole number from `low` to `high`, both included.
    pub fn from_to(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    /// A number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number between two.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True this often.
    pub fn chance(&mut self, often: f64) -> bool {
        self.unit() < often
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut dice = Dice::new(1_234_567);
        // From the reference implementation.
        assert_eq!(dice.roll(), 6_457_827_717_110_365_317);
        assert_eq!(dice.roll(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut dice = Dice::new(1);
        let rolled: Vec<u32> = (0..200).map(|_| dice.from_to(2, 4)).collect();
        assert!((2..=4).all(|n| rolled.contains(&n)));
        assert!(rolled.iter().all(|n| (2..=4).contains(n)));
    }
}
