//! What a constant rate factor means to encoders of devices, which count quality otherwise. The one place for it.
//!
//! The factor is that of the codec's software encoder: SVT-AV1's 0 to 63, x264's and x265's 0 to 51. A device's scale is matched to it at both ends
//! and in proportion between, as AV1's own quantizer index is to SVT-AV1's factor; H.264 and HEVC share x264's scale of quantizers, on which a constant
//! rate factor is roughly the quantizer of a P picture. No entry has been compared on hardware.

use crate::encode::Codec;

/// Which scale an encoder counts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantizer {
    /// The factor itself: NVENC's target quality, 0 to 63 with AV1 and to 51 with H.264 and HEVC, where 0 would leave it to the encoder.
    Target,
    /// Intel's quality and that of VA-API beside a cap, 1 to 51 with every codec.
    Of51,
    /// The codec's quantizer: 1 to 255 with AV1, 1 to 51 with H.264 and HEVC.
    Index,
}

/// Whether an entry was measured: at equal factors, the same quality as the software encoder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// On hardware at hand.
    OnHardware,
    /// Derived from the scales alone.
    NotYet,
}

/// What to ask an encoder for, to get about the quality of the factor, and whether that is known.
#[must_use]
pub fn quantizer(codec: Codec, scale: Quantizer, crf: u8) -> (u32, Measured) {
    let crf = u32::from(crf.min(codec.worst_crf()));
    let value = match (codec, scale) {
        // AV1's quantizer index runs to 255, and SVT-AV1's factor is a place in a table that is linear but for its end.
        (Codec::Av1, Quantizer::Index) => (crf * 255 + 31) / 63,
        (Codec::Av1, Quantizer::Of51) => (crf * 51 + 31) / 63,
        _ => crf,
    };
    // 0 is lossless, which is another profile, or leaves the choice to the encoder.
    (value.max(1), Measured::NotYet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worse_factor_is_never_a_better_quantizer_and_none_is_lossless() {
        for codec in Codec::ALL {
            for scale in [Quantizer::Target, Quantizer::Of51, Quantizer::Index] {
                let values: Vec<u32> = (0..=codec.worst_crf())
                    .map(|crf| quantizer(codec, scale, crf).0)
                    .collect();
                assert!(values.is_sorted() && values[0] == 1, "{codec}: {values:?}");
            }
        }
        assert_eq!(quantizer(Codec::Av1, Quantizer::Index, 63).0, 255);
        assert_eq!(quantizer(Codec::Av1, Quantizer::Index, 35).0, 142);
        assert_eq!(quantizer(Codec::Av1, Quantizer::Of51, 63).0, 51);
        assert_eq!(quantizer(Codec::Hevc, Quantizer::Index, 200).0, 51);
    }
}
