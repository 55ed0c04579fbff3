//! From the codecs of encoders to those of packages, which do not know each other.

use rungs_media::encode::Codec;
use rungs_package::coding::{Coding, CodingError, VideoCodec};
use rungs_package::track::{ContentLight, Light, MasteringDisplay, Nclx, Track, VideoTrack};

use crate::plan::{Plan, Rendition};

/// The same codec, as the package calls it.
pub(crate) const fn packaged(codec: Codec) -> VideoCodec {
    match codec {
        Codec::H264 => VideoCodec::Avc,
        Codec::Hevc => VideoCodec::Hevc,
        // The enum may grow; what is not known here is not made either.
        _ => VideoCodec::Av1,
    }
}

/// Reads the codec configurations of all encoders that make segments of a rendition, the first one first.
pub(crate) fn of(rendition: &Rendition) -> Result<Coding, CodingError> {
    let others = rendition.others.iter().map(|other| &other.configuration);
    let all = [&rendition.configuration].into_iter().chain(others);
    Coding::parse(packaged(rendition.codec()), all.map(Vec::as_slice))
}

/// Ticks by which pictures are composed after their decoding could begin: one picture's usual duration for each place by which one moves.
pub(crate) fn delay(plan: &Plan, coding: &Coding) -> u32 {
    let ticks = plan.nominal_duration.max(1) * i64::from(coding.reordered());
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// A rendition's track as it is packaged.
pub(crate) fn track(plan: &Plan, rendition: &Rendition) -> Result<Track, CodingError> {
    let color = rendition.encoder.color;
    let coding = of(rendition)?;
    let delay = delay(plan, &coding);
    Ok(Track::Video(VideoTrack {
        coding,
        width: rendition.size.width,
        height: rendition.size.height,
        timescale: plan.grid.timescale().ticks_per_second(),
        color: Some(Nclx {
            primaries: color.primaries,
            transfer: color.transfer,
            matrix: color.matrix,
            full_range: color.full_range,
        }),
        pixel_aspect: (1, 1),
        light: light(rendition.encoder.light),
        delay,
    }))
}

/// What the container states of the light.
fn light(light: rungs_media::hdr::Light) -> Light {
    Light {
        mastering: light.mastering.map(|display| MasteringDisplay {
            primaries: [display.green, display.blue, display.red],
            white: display.white,
            max_luminance: display.max_luminance,
            min_luminance: display.min_luminance,
        }),
        content: light.content.map(|light| ContentLight {
            max: light.max,
            average: light.average,
        }),
    }
}
