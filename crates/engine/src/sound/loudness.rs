//! A track of sound in, the gain out that brings it to a loudness: the first pass of two.

use rungs_media::audio::{AudioDecoder, Format, Resampler};
use rungs_media::decode::Received;
use rungs_media::demux::{Demuxer, Stream};
use rungs_media::loudness::{Loudness, LoudnessMeter};
use rungs_media::{Error, Limits, Source};

use crate::cancel::Cancel;
use crate::plan::AudioPlan;

/// What no true peak may exceed, in dBTP (EBU R128).
const HIGHEST_PEAK: f64 = -1.0;

/// Measures a track as the plan would have it encoded, and gives the gain to `target` LUFS in hundredths of a decibel. Blocks while the whole
/// track is decoded. Damage is passed over, as the job itself will.
pub(super) fn gain(
    (source, stream): (&Source, &Stream),
    plan: &AudioPlan,
    (target, cancel): (f64, &Cancel),
) -> Result<i32, Error> {
    let mut demuxer = Demuxer::open(source, &Limits::default(), cancel.media())?;
    demuxer.keep_only(&[stream.index]);
    let format = Format {
        sample_rate: plan.sample_rate,
        channels: plan.channels,
    };
    let mut decoder = AudioDecoder::open(stream)?;
    let mut resampler = Resampler::new(format)?;
    let mut meter = LoudnessMeter::new(format);
    let mut flushed = false;
    loop {
        match decoder.receive() {
            Ok(Received::Frame(frame)) => meter.hear(&resampler.convert(&frame)?)?,
            Ok(Received::NeedsInput) if !flushed => {
                let packet = match demuxer.read() {
                    Err(Error::Read(_)) => None,
                    packet => packet?,
                };
                flushed = packet.is_none();
                match decoder.send(packet.as_ref()) {
                    Err(error) if !error.is_decode() => return Err(error),
                    _ => {}
                }
            }
            Ok(Received::NeedsInput | Received::End) => break,
            Err(error) if error.is_decode() => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(rest) = resampler.flush()? {
        meter.hear(&rest)?;
    }
    Ok(between(meter.finish()?, target))
}

/// The gain from a measured loudness to the target, in hundredths of a decibel, as far as the true peak lets it. Silence stays as it is.
fn between(measured: Loudness, target: f64) -> i32 {
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
