//! Sizes and durations of segments in, bit rates out, by the words of RFC 8216 §4.3.4.2.

use super::rendition::{Rendition, Segment};

/// Bits a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    /// The most over any contiguous segments that last between a half and one and a half of the target together.
    pub(super) peak: f64,
    /// Over all segments.
    pub(super) average: f64,
}

pub(super) fn measure(rendition: &Rendition) -> Rates {
    measure_bytes(rendition, |segment| segment.bytes)
}

/// Measures each segment up to the end of its keyframe.
pub(super) fn measure_keyframes(rendition: &Rendition) -> Rates {
    measure_bytes(rendition, |segment| segment.first_end)
}

/// Takes the durations from the boxes: those of playlists are rounded, which shows where segments are very short.
fn measure_bytes(rendition: &Rendition, bytes: impl Fn(&Segment) -> u64) -> Rates {
    let sizes = rendition.segments.iter().map(|segment| {
        let ticks = rendition.presented_until(segment) - rendition.presented_from(segment);
        (bytes(segment) as f64 * 8.0, rendition.seconds(ticks))
    });
    rates(
        &sizes.collect::<Vec<_>>(),
        rendition.playlist.target.unwrap_or(0) as f64,
    )
}

/// Takes bits and seconds of each segment, and the target duration in seconds.
pub(super) fn rates(sizes: &[(f64, f64)], target: f64) -> Rates {
    let mut peak: f64 = 0.0;
    for first in 0..sizes.len() {
        let (mut bits, mut seconds) = (0.0, 0.0);
        for size in &sizes[first..] {
            bits += size.0;
            seconds += size.1;
            if seconds > 1.5 * target {
                break;
            }
            if seconds >= 0.5 * target {
                peak = peak.max(bits / seconds);
            }
        }
    }
    let bits: f64 = sizes.iter().map(|size| size.0).sum();
    let seconds: f64 = sizes.iter().map(|size| size.1).sum();
    let average = if seconds > 0.0 { bits / seconds } else { 0.0 };
    // What is shorter than half a target altogether has no such stretch: then all of it is the only measure.
    Rates {
        peak: peak.max(average),
        average,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_end_counts_only_with_its_neighbour() {
        let rates = rates(&[(4000.0, 4.0), (4000.0, 4.0), (3000.0, 1.0)], 4.0);
        assert!((rates.peak - 1400.0).abs() < 1e-9, "{rates:?}");
        assert!((rates.average - 11_000.0 / 9.0).abs() < 1e-9, "{rates:?}");
    }

    #[test]
    fn the_peak_is_no_average() {
        let rates = rates(&[(4000.0, 4.0), (40_000.0, 4.0), (4000.0, 4.0)], 4.0);
        assert!((rates.peak - 10_000.0).abs() < 1e-9, "{rates:?}");
    }
}
