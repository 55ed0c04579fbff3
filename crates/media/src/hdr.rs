//! High dynamic range: what a video says of its light, and how it becomes a picture of standard range.

use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::color::{ChromaLocation, Color};
use crate::decode::{DecodeOptions, Received, VideoDecoder};
use crate::demux::Demuxer;
use crate::error::Error;
use crate::inspect;
use crate::source::{Limits, Source};

/// The transfer characteristics of PQ (SMPTE ST 2084), H.273 §8.2.
pub const PQ: u8 = 16;
/// The transfer characteristics of HLG (ARIB STD-B67), H.273 §8.2.
pub const HLG: u8 = 18;
/// FFmpeg's filters that tone mapping is made of.
pub const TONE_MAPPING_FILTERS: [&str; 2] = ["zscale", "tonemap"];
/// What a diffuse white has, in cd/m² (ITU-R BT.2408 §2.1): it becomes the white of standard range, before highlights are made room for.
const WHITE: f64 = 203.0;

/// The display on which a video was graded, in the units of ISO/IEC 14496-12 §12.1.8 (`mdcv`): chromaticities x and y in 0.00002,
/// luminances in 0.0001 cd/m².
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MasteringDisplay {
    /// The red primary.
    pub red: [u16; 2],
    /// The green primary.
    pub green: [u16; 2],
    /// The blue primary.
    pub blue: [u16; 2],
    /// The white point.
    pub white: [u16; 2],
    /// The highest luminance.
    pub max_luminance: u32,
    /// The lowest luminance.
    pub min_luminance: u32,
}

/// The light in a video, in cd/m² (CTA-861.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentLight {
    /// The brightest pixel of all pictures; 0 if unknown.
    pub max: u16,
    /// The mean of the brightest picture; 0 if unknown.
    pub average: u16,
}

/// What a video says of its light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Light {
    /// The display on which it was graded.
    pub mastering: Option<MasteringDisplay>,
    /// The light in it.
    pub content: Option<ContentLight>,
}

impl Light {
    /// What this says, and where it is silent what `other` says.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            mastering: self.mastering.or(other.mastering),
            content: self.content.or(other.content),
        }
    }

    /// The brightest that there is, in cd/m²; 1000 where the video does not say.
    #[must_use]
    pub fn peak(self) -> u32 {
        /// Where HLG is shown as its standard has it, and what most films in PQ are graded to.
        const USUAL: u32 = 1000;
        let content = self.content.map(|light| u32::from(light.max));
        let display = self.mastering.map(|display| display.max_luminance / 10_000);
        let said = content.filter(|nits| *nits > 0).or(display);
        said.filter(|nits| (100..=10_000).contains(nits))
            .unwrap_or(USUAL)
    }
}

/// A Dolby Vision configuration record (Dolby Vision Streams Within the ISO Base Media File Format, §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DolbyVision {
    /// Major and minor version of the record.
    pub version: [u8; 2],
    /// The profile.
    pub profile: u8,
    /// The level.
    pub level: u8,
    /// Whether each frame has metadata.
    pub has_metadata: bool,
    /// Whether the track has an enhancement layer.
    pub has_enhancement_layer: bool,
    /// Whether the track has a base layer.
    pub has_base_layer: bool,
    /// What other decoders make of the base layer: 1 is HDR10, 2 standard range, 4 HLG, 6 HDR10 of Blu-ray, 0 nothing that is right.
    pub compatibility: u8,
}

impl DolbyVision {
    /// Whether a decoder that knows nothing of Dolby Vision shows the right colours. Profile 5 keeps its frames in a colour space of Dolby's own (`IPTPQc2`),
    /// and so do profiles 10 and 20 where they are compatible with nothing. Old records of other profiles leave the number out.
    #[must_use]
    pub fn has_compatible_base(self) -> bool {
        self.profile != 5 && !(self.compatibility == 0 && matches!(self.profile, 10 | 20))
    }
}

/// Whether pictures with these colours have a high dynamic range.
#[must_use]
pub fn is_hdr(color: Color) -> bool {
    matches!(color.transfer, PQ | HLG)
}

/// What the first picture of a video track says of its light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstLight {
    /// What holds for all pictures.
    pub light: Light,
    /// Whether pictures have metadata of their own, by SMPTE ST 2094-40 (HDR10+), as far as this FFmpeg finds it.
    pub hdr10_plus: bool,
}

/// What the first picture of a video track says of its light. Blocks while it is decoded.
///
/// # Errors
/// If the source cannot be read or decoded so far.
pub fn first_light(
    source: &Source,
    stream: usize,
    cancel: &CancelToken,
) -> Result<FirstLight, Error> {
    let limits = Limits::default();
    let mut demuxer = Demuxer::open(source, &limits, cancel)?;
    demuxer.keep_only(&[stream]);
    let track = demuxer.streams().get(stream).ok_or(Error::NoStream {
        kind: "video",
        index: stream,
    })?;
    let options = DecodeOptions {
        threads: 1,
        max_pixels: limits.max_pixels,
        ..DecodeOptions::default()
    };
    let mut decoder = VideoDecoder::open(track, &options)?;
    loop {
        match decoder.receive() {
            Ok(Received::Frame(frame)) => {
                return Ok(FirstLight {
                    light: frame.light(),
                    hdr10_plus: frame.has_dynamic_light(),
                });
            }
            Ok(Received::End) => return Ok(FirstLight::default()),
            Ok(Received::NeedsInput) => {
                let packet = demuxer.read()?;
                match decoder.send(packet.as_ref()) {
                    Err(error) if !error.is_decode() => return Err(error),
                    // It asked for input, so it takes it; damage is met again by whoever wants the pictures.
                    _ => {}
                }
            }
            Err(error) if error.is_decode() => {}
            Err(error) => return Err(error),
        }
    }
}

/// How high dynamic range becomes standard range, BT.709.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToneMap {
    /// The source's primaries, transfer and matrix, none of them left open.
    pub from: Color,
    /// The brightest that is kept apart from white, in cd/m².
    pub peak: u32,
}

impl ToneMap {
    /// Colours of what comes out.
    pub const RESULT: Color = Color {
        primaries: 1,
        transfer: 1,
        matrix: 1,
        full_range: false,
        chroma_location: ChromaLocation::Left,
    };

    /// The first filter of [`TONE_MAPPING_FILTERS`] that this FFmpeg lacks.
    #[must_use]
    pub fn missing() -> Option<&'static str> {
        TONE_MAPPING_FILTERS
            .into_iter()
            .find(|filter| !inspect::has_filter(filter))
    }

    /// The chain of filters for pictures with even sides; `full_range` is what the picture says. Light is made linear, brought to the new primaries,
    /// and mapped: what is darker than a third of white stays as it is, and highlights are bent below white, each colour keeping its hue.
    pub(crate) fn description(&self, full_range: bool) -> String {
        let Color {
            primaries,
            transfer,
            matrix,
            ..
        } = self.from;
        let range = if full_range { "pc" } else { "tv" };
        let peak = (f64::from(self.peak) / WHITE).max(1.05);
        format!(
            "setparams=color_primaries={primaries}:color_trc={transfer}:colorspace={matrix}:range={range},\
             zscale=transfer=linear:npl={WHITE},format=gbrpf32le,zscale=primaries=bt709,\
             tonemap=tonemap=mobius:param=0.3:desat=0:peak={peak:.4},\
             zscale=transfer=bt709:matrix=bt709:range=limited:chromal=left:dither=ordered"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_is_said_where_that_is_believable() {
        let display = |max_luminance| MasteringDisplay {
            red: [34_000, 16_000],
            green: [13_250, 34_500],
            blue: [7500, 3000],
            white: [15_635, 16_450],
            max_luminance,
            min_luminance: 50,
        };
        let light = |max, nits: u32| Light {
            mastering: Some(display(nits * 10_000)),
            content: Some(ContentLight { max, average: 1 }),
        };
        assert_eq!(Light::default().peak(), 1000);
        assert_eq!(light(620, 4000).peak(), 620);
        assert_eq!(light(0, 4000).peak(), 4000);
        assert_eq!(light(3, 4000).peak(), 1000);
    }
}
