//! How much room the result of a plan takes, as far as that can be told before it is made.

use crate::plan::{AudioMode, AudioPlan, Plan};
use crate::warning::Warning;

/// Bits a second for each channel of sound that passes through, whose rate is not known before.
const COPIED_BITS: u64 = 96_000;

/// What decides whether a disk has room for a result, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// Free now.
    pub free: u64,
    /// What an earlier run left and goes before the work begins.
    pub freed: u64,
    /// What an earlier run left and is part of the result.
    pub there: u64,
    /// How many times the disk holds the segments in the end.
    pub copies: u64,
    /// What is still to come of a source that is kept on the disk.
    pub source: u64,
}

impl Room {
    /// What is still to be written for a result whose segments take so many bytes.
    fn needed(&self, result: u64) -> u64 {
        let left = result
            .saturating_mul(self.copies)
            .saturating_sub(self.there);
        left.saturating_add(self.source)
    }
}

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

    /// Warns of a disk that may be too small for what is still to be written.
    pub fn check_room(&mut self, room: &Room) {
        let result = self.expected_bytes().unwrap_or(0);
        let (expected, free) = (room.needed(result), room.free.saturating_add(room.freed));
        if expected > free {
            self.warnings.push(Warning::LittleRoom { expected, free });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_what_goes_make_room_and_what_is_kept_takes_it() {
        let room = Room {
            free: 0,
            copies: 2,
            there: 30,
            freed: 0,
            source: 7,
        };
        assert_eq!(room.needed(100), 177);
        assert_eq!(room.needed(10), 7);
        assert_eq!(room.needed(u64::MAX), u64::MAX - 30 + 7);
    }
}
