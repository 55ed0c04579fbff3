//! The bit rate that a rendition is expected to have, from the first pictures of it.

use rungs_media::encode::{self, Codec, Rate};

use crate::plan::Estimate;
use crate::span::Encoded;

/// What the dearest segment is taken to need over the average one, as it is stated while the job runs.
const ESTIMATE_MARGIN: f64 = 2.0;
/// Bits for a pixel of film at 1080p and a certain constant rate factor, below which no estimate goes: the trial may have met a black
/// screen. Small pictures need more for each pixel.
struct Usual {
    bits_per_pixel: f64,
    crf: f64,
    /// Steps of the rate factor that halve it.
    halved_by: f64,
}

impl Usual {
    fn of(codec: Option<Codec>) -> Self {
        let (bits_per_pixel, crf, halved_by) = match codec {
            Some(Codec::H264) => (0.08, 23.0, 6.0),
            Some(Codec::Hevc) => (0.045, 28.0, 6.0),
            _ => (0.04, 35.0, 8.0),
        };
        Self {
            bits_per_pixel,
            crf,
            halved_by,
        }
    }
}

/// Extrapolates a segment from its keyframe and the few pictures after it.
pub(super) fn estimate(
    encoded: &Encoded,
    config: &encode::Config,
    (rate, segment): (f64, f64),
) -> Estimate {
    let bits: Vec<f64> = encoded
        .packets
        .iter()
        .map(|packet| packet.data.len() as f64 * 8.0)
        .collect();
    let mean = |bits: &[f64]| bits.iter().sum::<f64>() / bits.len() as f64;
    let keyframes = encoded.packets.iter().filter(|packet| packet.key).count();
    let tried = match &bits[..] {
        [] => 0.0,
        // The groups of pictures are so short that the trial has seen whole ones.
        bits if keyframes > 1 => mean(bits) * rate,
        [key] => key / segment + key / 4.0 * rate,
        [key, rest @ ..] => key / segment + mean(rest) * rate,
    };
    let pixels = f64::from(config.width) * f64::from(config.height);
    let for_size = (1920.0 * 1080.0 / pixels).powf(0.25);
    let usual = Usual::of(encode::codec_of(&config.encoder));
    let for_quality = 2f64.powf((usual.crf - f64::from(config.crf)) / usual.halved_by);
    let average = tried.max(pixels * rate * usual.bits_per_pixel * for_size * for_quality);
    let (average, peak) = match config.rate {
        Rate::Quality | Rate::Quantizer => (average, average * ESTIMATE_MARGIN),
        // A full buffer may follow on another one.
        Rate::Capped(most) => (
            average.min(most as f64),
            (average.min(most as f64)) * ESTIMATE_MARGIN,
        ),
        Rate::Average(bits) => (bits as f64, bits as f64 * ESTIMATE_MARGIN),
    };
    Estimate {
        peak: peak as u64,
        average: average as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rungs_media::demux::Color;
    use rungs_media::encode::EncodedPacket;
    use rungs_media::frame::BitDepth;
    use rungs_media::hdr::Light;

    #[test]
    fn an_estimate_never_trusts_a_black_screen() {
        let packets = (0..6).map(|n| EncodedPacket {
            data: vec![0; 20],
            pts: n,
            dts: n,
            duration: 1,
            key: n == 0,
        });
        let encoded = Encoded {
            packets: packets.collect(),
            ..Encoded::default()
        };
        let config = |crf| encode::Config {
            encoder: "libsvtav1".to_owned(),
            width: 1920,
            height: 1080,
            time_base: rungs_media::time::TimeBase::new(1, 24).expect("above zero"),
            frame_rate: None,
            color: Color::default(),
            gop: 1,
            threads: 1,
            crf,
            speed: 8,
            depth: BitDepth::Eight,
            light: Light::default(),
            rate: Rate::Quality,
        };
        let usual = estimate(&encoded, &config(35), (24.0, 4.0));
        assert!(usual.average > 1_900_000, "{usual:?}");
        assert!(usual.peak > usual.average);
        assert!(estimate(&encoded, &config(27), (24.0, 4.0)).average > usual.average);
        // Of keyframes alone each counts, not one in a segment.
        let mut intra = encoded;
        for packet in &mut intra.packets {
            packet.data = vec![0; 100_000];
            packet.key = true;
        }
        let intra = estimate(&intra, &config(35), (24.0, 4.0));
        assert_eq!(intra.average, 100_000 * 8 * 24);
    }
}
