//! Sizes and durations of segments in, the bit rates that manifests state out (RFC 8216 §4.3.4.2).

use serde::{Deserialize, Serialize};

/// Bits a second of a rendition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// The most that any stretch of about a target duration takes.
    pub peak: u64,
    /// All bits over the whole duration.
    pub average: u64,
}

impl Bandwidth {
    /// Adds up renditions that are played together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            peak: self.peak + other.peak,
            average: self.average + other.average,
        }
    }

    /// Takes the greater of each: what is enough for either of two.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self {
            peak: self.peak.max(other.peak),
            average: self.average.max(other.average),
        }
    }
}

/// How large and how long a segment is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) bytes: u64,
    /// Presented ticks.
    pub(crate) ticks: u64,
}

/// Measures a rendition, with `target` and the segments' ticks in ticks of `timescale`.
///
/// The peak is that of RFC 8216: over each row of segments that lasts between a half and one and a
/// half of the target, so that a short last segment, which may hold little but a keyframe, does not
/// decide it. If no row lasts as long, all segments together are one.
pub(crate) fn measure(extents: &[Extent], target: u64, timescale: u32) -> Bandwidth {
    let total = sum(extents);
    let average = rate(total, timescale);
    let mut peak = 0;
    for first in 0..extents.len() {
        let mut row = Extent { bytes: 0, ticks: 0 };
        for extent in &extents[first..] {
            row = Extent {
                bytes: row.bytes + extent.bytes,
                ticks: row.ticks + extent.ticks,
            };
            if 2 * row.ticks > 3 * target {
                break;
            }
            if 2 * row.ticks >= target {
                peak = rate(row, timescale).max(peak);
            }
        }
    }
    Bandwidth {
        peak: peak.max(average),
        average,
    }
}

fn sum(extents: &[Extent]) -> Extent {
    extents
        .iter()
        .fold(Extent { bytes: 0, ticks: 0 }, |all, extent| Extent {
            bytes: all.bytes + extent.bytes,
            ticks: all.ticks + extent.ticks,
        })
}

/// Returns bits a second, rounded up: a stated rate is a bound.
fn rate(extent: Extent, timescale: u32) -> u64 {
    if extent.ticks == 0 {
        return 0;
    }
    let bits = u128::from(extent.bytes) * 8 * u128::from(timescale);
    u64::try_from(bits.div_ceil(u128::from(extent.ticks))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(extents: &[(u64, u64)]) -> Bandwidth {
        let extents: Vec<_> = extents
            .iter()
            .map(|&(bytes, ticks)| Extent { bytes, ticks })
            .collect();
        measure(&extents, 40, 10)
    }

    #[test]
    fn the_greatest_segment_is_the_peak() {
        assert_eq!(
            of(&[(4000, 40), (8000, 40), (4000, 40)]),
            Bandwidth {
                peak: 16_000,
                average: 10_667
            }
        );
    }

    #[test]
    fn a_short_last_segment_is_no_peak() {
        // 3000 bytes in 0.5 s are 48 kb/s; together with the segment before, 8000 bytes in 4.5 s.
        assert_eq!(of(&[(5000, 40), (5000, 40), (3000, 5)]).peak, 14_223);
    }

    #[test]
    fn short_segments_count_together() {
        // Four of one second each: pairs are half the target.
        assert_eq!(
            of(&[(1000, 10), (4000, 10), (4000, 10), (1000, 10)]).peak,
            32_000
        );
    }

    #[test]
    fn what_is_shorter_than_half_a_target_has_its_average() {
        assert_eq!(
            of(&[(1000, 10)]),
            Bandwidth {
                peak: 8000,
                average: 8000
            }
        );
        assert_eq!(of(&[]), Bandwidth::default());
    }

    #[test]
    fn no_ticks_are_no_rate() {
        assert_eq!(of(&[(1000, 0)]), Bandwidth::default());
    }
}
