//! The loudness of a track in, the gain out that brings it to another: the first pass of two.

use rungs_media::loudness::Loudness;

/// What no true peak may exceed, in dBTP (EBU R128).
const HIGHEST_PEAK: f64 = -1.0;

/// The gain from a measured loudness to the target, in hundredths of a decibel, as far as the true peak lets it. Silence stays as it is.
pub(super) fn between(measured: Loudness, target: f64) -> i32 {
    let Some(integrated) = measured.integrated else {
        return 0;
    };
    let room = measured
        .true_peak
        .map_or(f64::INFINITY, |peak| HIGHEST_PEAK - peak);
    ((target - integrated).min(room) * 100.0).floor() as i32
}

/// What samples are multiplied by; `None` where they stay.
pub(super) fn factor(gain: i32) -> Option<f32> {
    (gain != 0).then(|| 10_f64.powf(f64::from(gain) / 2000.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_limits_the_gain() {
        let told = |integrated, true_peak| Loudness {
            integrated,
            true_peak,
        };
        assert_eq!(between(told(Some(-23.0), Some(-12.0)), -16.0), 700);
        assert_eq!(between(told(Some(-23.0), Some(-4.0)), -16.0), 300);
        assert_eq!(between(told(Some(-10.0), Some(0.0)), -16.0), -600);
        assert_eq!(between(told(None, None), -16.0), 0);
        assert_eq!(factor(0), None);
        assert!((factor(-600).expect("a factor") - 0.501_187).abs() < 1e-5);
    }
}
