//! H.264's parameter sets in, the codec string, the fields of `avcC` and the contract out (ITU-T H.264 §7.3.2.1, ISO/IEC 14496-15
//! §5.3.3).

use serde::{Deserialize, Serialize};

use super::{
    Family, MOST_REORDERED, NalError, Samples, UNSPECIFIED, bits_of, byte_stream, chroma_of,
    chroma_step, cropped, cropping, first_difference, only, reordered_of, unescape, vui_color,
};
use crate::bits::{BitReader, EndOfData};

pub(super) const SPS: &str = "sequence parameter set";
pub(super) const PPS: &str = "picture parameter set";

/// Profiles whose SPS says the chroma format and the depth (H.264 §7.3.2.1.1).
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// The parameter sets of an H.264 rendition, and what they say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvcConfiguration {
    /// The sequence parameter set, a NAL unit.
    pub sps: Vec<u8>,
    /// The picture parameter sets, NAL units.
    pub pps: Vec<Vec<u8>>,
    /// `profile_idc`: 66 Baseline, 77 Main, 100 High.
    pub profile: u8,
    /// The byte of `constraint_set` flags.
    pub constraints: u8,
    /// `level_idc`: ten times the level, 31 for 3.1.
    pub level: u8,
    /// How samples are stored.
    pub samples: Samples,
}

impl From<EndOfData> for NalError {
    fn from(_: EndOfData) -> Self {
        Self::Truncated { what: SPS }
    }
}

impl AvcConfiguration {
    /// Reads the parameter sets in a byte stream of Annex B, as an encoder gives them; other NAL units are passed over.
    ///
    /// Fails when one is missing or cannot be read, or when there are several sequences.
    pub fn parse(stream: &[u8]) -> Result<Self, NalError> {
        let sps = only(Family::Avc.sets_of(stream, SPS)?, SPS)?;
        let pps = Family::Avc.sets_of(stream, PPS)?;
        let plain = unescape(&sps);
        let &[_, profile, constraints, level, ref rest @ ..] = &plain[..] else {
            return Err(NalError::Truncated { what: SPS });
        };
        let samples = read_samples(&mut BitReader::new(rest), profile)?;
        Ok(Self {
            sps,
            pps,
            profile,
            constraints,
            level,
            samples,
        })
    }

    /// Returns whether `avcC` has the fields that only some profiles have (ISO/IEC 14496-15 §5.3.3.1.2).
    pub(crate) fn is_high(&self) -> bool {
        HIGH_PROFILES.contains(&self.profile)
    }

    /// Writes the `codecs` parameter, `avc1.PPCCLL` (RFC 6381 §3.3).
    #[must_use]
    pub fn codec_string(&self) -> String {
        format!(
            "avc1.{:02x}{:02x}{:02x}",
            self.profile, self.constraints, self.level
        )
    }

    /// Returns the parameter sets as a byte stream.
    #[must_use]
    pub fn byte_stream(&self) -> Vec<u8> {
        byte_stream([&self.sps].into_iter().chain(&self.pps))
    }

    /// Names the first field in which `other` differs, with this one's value first. The sets must agree to the bit, as they stand in
    /// the sample entry alone.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let level = |own: &Self| format!("level {}.{}", own.level / 10, own.level % 10);
        let profile = |own: &Self| format!("profile {}/{}", own.profile, own.constraints);
        first_difference(&[(profile(self), profile(other)), (level(self), level(other))])
            .or_else(|| self.samples.difference(&other.samples))
            .or_else(|| {
                let alike = (&self.sps, &self.pps) == (&other.sps, &other.pps);
                (!alike).then(|| "the parameter sets are not the same bytes".to_owned())
            })
    }
}

/// Reads the sequence parameter set behind its level (H.264 §7.3.2.1.1).
fn read_samples(r: &mut BitReader<'_>, profile: u8) -> Result<Samples, NalError> {
    r.uvlc()?;
    let (mut chroma_format, mut bits) = (1, (8, 8));
    if HIGH_PROFILES.contains(&profile) {
        chroma_format = chroma_of(r.uvlc()?)?;
        if chroma_format == 3 {
            // separate_colour_plane_flag
            r.skip(1)?;
        }
        bits = (
            bits_of(r.uvlc()?, "bit_depth_luma_minus8")?,
            bits_of(r.uvlc()?, "bit_depth_chroma_minus8")?,
        );
        // qpprime_y_zero_transform_bypass_flag
        r.skip(1)?;
        if r.flag()? {
            skip_scaling_lists(r, chroma_format)?;
        }
    }
    skip_orders(r)?;
    // max_num_ref_frames, gaps_in_frame_num_value_allowed_flag
    r.uvlc()?;
    r.skip(1)?;
    let (across, down) = (r.uvlc()?, r.uvlc()?);
    let frames_only = r.flag()?;
    if !frames_only {
        // mb_adaptive_frame_field_flag
        r.skip(1)?;
    }
    // direct_8x8_inference_flag
    r.skip(1)?;
    let edges = cropping(r)?;
    let fields = if frames_only { 1 } else { 2 };
    let pixels = |blocks: u32, step: u32| {
        let all = blocks.checked_add(1).and_then(|n| n.checked_mul(16 * step));
        all.ok_or(NalError::Reserved {
            field: "pic_width_in_mbs_minus1",
            value: blocks,
        })
    };
    let whole = (pixels(across, 1)?, pixels(down, fields)?);
    let step = chroma_step(chroma_format);
    let size = cropped(whole, (step.0, step.1 * fields), edges)?;
    let (color, reordered) = if r.flag()? {
        (vui_color(r)?, read_reordered(r)?)
    } else {
        (UNSPECIFIED, None)
    };
    Ok(Samples {
        chroma_format,
        luma_bits: bits.0,
        chroma_bits: bits.1,
        size,
        color,
        reordered: reordered_of(reordered.unwrap_or(MOST_REORDERED.into()))?,
    })
}

/// Reads the VUI behind the colours (H.264 §E.1.1): `max_num_reorder_frames`, if it is said.
fn read_reordered(r: &mut BitReader<'_>) -> Result<Option<u32>, NalError> {
    // chroma_loc_info
    if r.flag()? {
        r.uvlc()?;
        r.uvlc()?;
    }
    // timing_info
    if r.flag()? {
        r.skip(32 + 32 + 1)?;
    }
    let mut buffers = false;
    // nal_hrd_parameters, vcl_hrd_parameters
    for _ in 0..2 {
        if r.flag()? {
            buffers = true;
            skip_buffers(r)?;
        }
    }
    if buffers {
        // low_delay_hrd_flag
        r.skip(1)?;
    }
    // pic_struct_present_flag
    r.skip(1)?;
    if !r.flag()? {
        return Ok(None);
    }
    // motion_vectors_over_pic_boundaries_flag, max_bytes_per_pic_denom, max_bits_per_mb_denom, and the lengths of motion vectors
    r.skip(1)?;
    for _ in 0..4 {
        r.uvlc()?;
    }
    Ok(Some(r.uvlc()?))
}

/// Passes over `hrd_parameters()` (H.264 §E.1.2).
fn skip_buffers(r: &mut BitReader<'_>) -> Result<(), NalError> {
    let count = r.uvlc()?.min(31) + 1;
    r.skip(4 + 4)?;
    for _ in 0..count {
        r.uvlc()?;
        r.uvlc()?;
        r.skip(1)?;
    }
    r.skip(5 + 5 + 5 + 5)?;
    Ok(())
}

/// Passes over the fields on the order of pictures.
fn skip_orders(r: &mut BitReader<'_>) -> Result<(), NalError> {
    // log2_max_frame_num_minus4
    r.uvlc()?;
    match r.uvlc()? {
        // log2_max_pic_order_cnt_lsb_minus4
        0 => drop(r.uvlc()?),
        1 => {
            // delta_pic_order_always_zero_flag, offset_for_non_ref_pic, offset_for_top_to_bottom_field
            r.skip(1)?;
            r.uvlc()?;
            r.uvlc()?;
            for _ in 0..r.uvlc()?.min(255) {
                r.uvlc()?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Passes over `scaling_list()`s (H.264 §7.3.2.1.1.1).
fn skip_scaling_lists(r: &mut BitReader<'_>, chroma_format: u8) -> Result<(), NalError> {
    let lists = if chroma_format == 3 { 12 } else { 8 };
    for list in 0..lists {
        if !r.flag()? {
            continue;
        }
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                let code = i64::from(r.uvlc()?);
                let delta = if code % 2 == 1 {
                    (code + 1) / 2
                } else {
                    -code / 2
                };
                next = (last + delta).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Ok(())
}
