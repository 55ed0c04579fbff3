//! What FFmpeg keeps of a display and of the light in a video.

use super::sys;
use crate::hdr::{ContentLight, DolbyVision, MasteringDisplay};

/// Chromaticities are counted in units of 0.00002, luminances in units of 0.0001 cd/m².
const CHROMATICITY: f64 = 50_000.0;
const LUMINANCE: f64 = 10_000.0;

/// Reads FFmpeg's record of a mastering display; `None` if the bytes are none, or say neither primaries nor luminance.
pub(super) fn mastering(bytes: &[u8]) -> Option<MasteringDisplay> {
    let raw: sys::AVMasteringDisplayMetadata = read(bytes)?;
    if raw.has_primaries == 0 || raw.has_luminance == 0 {
        return None;
    }
    let point =
        |[x, y]: [sys::AVRational; 2]| [x, y].map(|value| units(value, CHROMATICITY) as u16);
    let [red, green, blue] = raw.display_primaries.map(point);
    Some(MasteringDisplay {
        red,
        green,
        blue,
        white: point(raw.white_point),
        max_luminance: units(raw.max_luminance, LUMINANCE),
        min_luminance: units(raw.min_luminance, LUMINANCE),
    })
}

/// Reads FFmpeg's record of the light in a video; `None` if the bytes are none, or say nothing.
pub(super) fn content(bytes: &[u8]) -> Option<ContentLight> {
    let raw: sys::AVContentLightMetadata = read(bytes)?;
    let short = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    let light = ContentLight {
        max: short(raw.MaxCLL),
        average: short(raw.MaxFALL),
    };
    (light.max > 0 || light.average > 0).then_some(light)
}

/// Reads FFmpeg's record of a Dolby Vision configuration; `None` if the bytes are none.
pub(super) fn dolby_vision(bytes: &[u8]) -> Option<DolbyVision> {
    let raw: sys::AVDOVIDecoderConfigurationRecord = read(bytes)?;
    Some(DolbyVision {
        version: [raw.dv_version_major, raw.dv_version_minor],
        profile: raw.dv_profile,
        level: raw.dv_level,
        has_metadata: raw.rpu_present_flag != 0,
        has_enhancement_layer: raw.el_present_flag != 0,
        has_base_layer: raw.bl_present_flag != 0,
        compatibility: raw.dv_bl_signal_compatibility_id,
    })
}

fn units(value: sys::AVRational, units: f64) -> u32 {
    let value = f64::from(value.num) / f64::from(value.den);
    // Not a number becomes zero.
    (value * units).round() as u32
}

/// Copies a record of plain numbers out of bytes that FFmpeg keeps it in.
fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    // SAFETY: there are enough bytes, any of which make a valid value of a plain record.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// # Safety
/// Any bytes are a valid value.
unsafe trait Plain {}

// SAFETY: integers only.
unsafe impl Plain for sys::AVMasteringDisplayMetadata {}
// SAFETY: integers only.
unsafe impl Plain for sys::AVContentLightMetadata {}
// SAFETY: integers only.
unsafe impl Plain for sys::AVDOVIDecoderConfigurationRecord {}
