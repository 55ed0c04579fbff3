//! How much room the result of a plan takes, as far as that can be told before it is made.

use crate::plan::{AudioMode, AudioPlan, Plan};
use crate::warning::Warning;

/// Bits a second for each channel of sound that passes through, whose rate is not known before.
const COPIED_BITS: u64 = 96_000;

impl Plan {
    /// Bytes that the segments of all tracks may come to; `None` where the source does not say how long it is. From the pictures of the trial and
    /// the usual needs of a film: what hardly moves takes much less.
    #[must_use]
    pub fn expected_bytes(&self) -> Option<u64> {
        let seconds = self.source.promised_seconds?;
        let sound = |audio: &AudioPlan| match audio.mode {
            AudioMode::Copy => COPIED_BITS * u64::from(audio.channels),
            AudioMode::Encode { bit_rate, .. } => bit_rate,
        };
        let pictures = self.renditions().iter().map(|one| one.estimate.average);
        let bits: u64 = pictures.chain(self.audio.iter().map(sound)).sum();
        Some((bits as f64 * seconds.max(0.0) / 8.0) as u64)
    }

    /// Warns of a disk with `free` bytes, if the result may be larger; it needs so many copies of the segments in the end.
    pub fn check_room(&mut self, free: u64, copies: u64) {
        let expected = self
            .expected_bytes()
            .map(|bytes| bytes.saturating_mul(copies));
        if let Some(expected) = expected.filter(|expected| *expected > free) {
            self.warnings.push(Warning::LittleRoom { expected, free });
        }
    }
}
