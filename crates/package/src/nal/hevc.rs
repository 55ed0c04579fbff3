//! HEVC's parameter sets in, the codec string, the fields of `hvcC` and the contract out (ITU-T H.265 §7.3.2, ISO/IEC 14496-15 §8.3.3).

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{
    Family, NalError, Samples, UNSPECIFIED, bits_of, byte_stream, chroma_of, chroma_step, cropped,
    cropping, first_difference, only, reordered_of, unescape, vui_color,
};
use crate::bits::BitReader;

pub(super) const VPS: &str = "video parameter set";
pub(super) const SPS: &str = "sequence parameter set";
pub(super) const PPS: &str = "picture parameter set";

/// The parameter sets of an HEVC rendition, and what they say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HevcConfiguration {
    /// The video parameter set, a NAL unit.
    pub vps: Vec<u8>,
    /// The sequence parameter set, a NAL unit.
    pub sps: Vec<u8>,
    /// The picture parameter sets, NAL units.
    pub pps: Vec<Vec<u8>>,
    /// Profile, tier and level.
    pub general: General,
    /// `sps_max_sub_layers_minus1 + 1`.
    pub temporal_layers: u8,
    /// `sps_temporal_id_nesting_flag`.
    pub temporal_nesting: bool,
    /// How samples are stored.
    pub samples: Samples,
}

/// What `profile_tier_level()` says in general (H.265 §7.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct General {
    /// `general_profile_space`: 0.
    pub profile_space: u8,
    /// `general_tier_flag`: High tier.
    pub high_tier: bool,
    /// `general_profile_idc`: 1 Main, 2 Main 10.
    pub profile: u8,
    /// `general_profile_compatibility_flag`s, the first one in the highest bit.
    pub compatibility: u32,
    /// The 48 bits of constraint flags.
    pub constraints: u64,
    /// `general_level_idc`: thirty times the level, 93 for 3.1.
    pub level: u8,
}

impl HevcConfiguration {
    /// Reads the parameter sets in a byte stream of Annex B, as an encoder gives them; other NAL units are passed over.
    ///
    /// Fails when one is missing or cannot be read, or when there are several sequences.
    pub fn parse(stream: &[u8]) -> Result<Self, NalError> {
        let vps = only(Family::Hevc.sets_of(stream, VPS)?, VPS)?;
        let sps = only(Family::Hevc.sets_of(stream, SPS)?, SPS)?;
        let pps = Family::Hevc.sets_of(stream, PPS)?;
        let plain = unescape(&sps);
        let mut reader = BitReader::new(plain.get(2..).unwrap_or_default());
        let r = &mut reader;
        // sps_video_parameter_set_id
        r.skip(4)?;
        let temporal_layers = r.small(3)? + 1;
        let temporal_nesting = r.flag()?;
        let general = General::read(r, temporal_layers)?;
        let samples = read_samples(r, temporal_layers)?;
        Ok(Self {
            vps,
            sps,
            pps,
            general,
            temporal_layers,
            temporal_nesting,
            samples,
        })
    }

    /// Writes the `codecs` parameter, `hvc1.1.6.L93.90` (ISO/IEC 14496-15 §E.3).
    #[must_use]
    pub fn codec_string(&self) -> String {
        let general = &self.general;
        let space = match general.profile_space {
            0 => String::new(),
            space => char::from(b'A' + space - 1).to_string(),
        };
        let tier = if general.high_tier { 'H' } else { 'L' };
        let mut text = format!(
            "hvc1.{space}{}.{:X}.{tier}{}",
            general.profile,
            general.compatibility.reverse_bits(),
            general.level
        );
        let bytes = &general.constraints.to_be_bytes()[2..];
        let used = bytes.iter().rposition(|&byte| byte != 0);
        for byte in &bytes[..used.map_or(0, |last| last + 1)] {
            // Writing to a string does not fail.
            let _ = write!(text, ".{byte:X}");
        }
        text
    }

    /// Returns the parameter sets as a byte stream.
    #[must_use]
    pub fn byte_stream(&self) -> Vec<u8> {
        byte_stream([&self.vps, &self.sps].into_iter().chain(&self.pps))
    }

    /// Names the first field in which `other` differs, with this one's value first. The sets must agree to the bit, as they stand in
    /// the sample entry alone.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let profile = |own: &Self| {
            let General {
                profile,
                compatibility,
                constraints,
                ..
            } = own.general;
            format!("profile {profile}/{compatibility:08x}/{constraints:012x}")
        };
        let level = |own: &Self| {
            let tier = if own.general.high_tier {
                "High"
            } else {
                "Main"
            };
            let tenths = u32::from(own.general.level) / 3;
            format!("level {}.{} of the {tier} tier", tenths / 10, tenths % 10)
        };
        first_difference(&[(profile(self), profile(other)), (level(self), level(other))])
            .or_else(|| self.samples.difference(&other.samples))
            .or_else(|| {
                let sets = |own: &Self| own.byte_stream();
                let alike = sets(self) == sets(other);
                (!alike).then(|| "the parameter sets are not the same bytes".to_owned())
            })
    }
}

impl General {
    /// Reads `profile_tier_level()` with its profile, of so many layers.
    fn read(r: &mut BitReader<'_>, layers: u8) -> Result<Self, NalError> {
        let general = Self {
            profile_space: r.small(2)?,
            high_tier: r.flag()?,
            profile: r.small(5)?,
            compatibility: r.bits(32)?,
            constraints: u64::from(r.bits(16)?) << 32 | u64::from(r.bits(32)?),
            level: r.small(8)?,
        };
        let below = usize::from(layers - 1);
        let mut present = Vec::new();
        for _ in 0..below {
            present.push((r.flag()?, r.flag()?));
        }
        if below > 0 {
            // reserved_zero_2bits
            r.skip(2 * (8 - below))?;
        }
        for (profile, level) in present {
            r.skip(88 * usize::from(profile) + 8 * usize::from(level))?;
        }
        Ok(general)
    }
}

/// Reads the sequence parameter set behind `profile_tier_level()` (H.265 §7.3.2.2.1).
fn read_samples(r: &mut BitReader<'_>, layers: u8) -> Result<Samples, NalError> {
    r.uvlc()?;
    let chroma_format = chroma_of(r.uvlc()?)?;
    if chroma_format == 3 {
        // separate_colour_plane_flag
        r.skip(1)?;
    }
    let whole = (r.uvlc()?, r.uvlc()?);
    let edges = cropping(r)?;
    let luma_bits = bits_of(r.uvlc()?, "bit_depth_luma_minus8")?;
    let chroma_bits = bits_of(r.uvlc()?, "bit_depth_chroma_minus8")?;
    let order_bits = r.uvlc()?.saturating_add(4);
    let all_layers = r.flag()?;
    let mut reordered = 0;
    for _ in 0..if all_layers { layers } else { 1 } {
        // sps_max_dec_pic_buffering_minus1, sps_max_num_reorder_pics, sps_max_latency_increase_plus1
        r.uvlc()?;
        reordered = r.uvlc()?;
        r.uvlc()?;
    }
    // Sizes of coding and transform blocks, and how deep they are split.
    for _ in 0..6 {
        r.uvlc()?;
    }
    if r.flag()? && r.flag()? {
        skip_scaling_lists(r)?;
    }
    // amp_enabled_flag, sample_adaptive_offset_enabled_flag
    r.skip(2)?;
    if r.flag()? {
        // pcm
        r.skip(8)?;
        r.uvlc()?;
        r.uvlc()?;
        r.skip(1)?;
    }
    skip_references(r, order_bits)?;
    // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
    r.skip(2)?;
    Ok(Samples {
        chroma_format,
        luma_bits,
        chroma_bits,
        size: cropped(whole, chroma_step(chroma_format), edges)?,
        color: if r.flag()? {
            vui_color(r)?
        } else {
            UNSPECIFIED
        },
        reordered: reordered_of(reordered)?,
    })
}

/// Passes over `scaling_list_data()` (H.265 §7.3.4).
fn skip_scaling_lists(r: &mut BitReader<'_>) -> Result<(), NalError> {
    for size in 0..4_u32 {
        for _ in (0..6).step_by(if size == 3 { 3 } else { 1 }) {
            if !r.flag()? {
                r.uvlc()?;
                continue;
            }
            if size > 1 {
                r.uvlc()?;
            }
            for _ in 0..64.min(1_u32 << (4 + 2 * size)) {
                r.uvlc()?;
            }
        }
    }
    Ok(())
}

/// Passes over the sets of reference pictures (H.265 §7.3.7), and those of long-term ones.
fn skip_references(r: &mut BitReader<'_>, order_bits: u32) -> Result<(), NalError> {
    const MOST_SETS: u32 = 64;
    const MOST_PICTURES: u32 = 16;
    let checked = |value: u32, most: u32, field: &'static str| {
        let fine = value <= most;
        fine.then_some(value)
            .ok_or(NalError::Reserved { field, value })
    };
    let sets = checked(r.uvlc()?, MOST_SETS, "num_short_term_ref_pic_sets")?;
    let mut before = 0;
    for set in 0..sets {
        if set > 0 && r.flag()? {
            // delta_rps_sign, abs_delta_rps_minus1
            r.skip(1)?;
            r.uvlc()?;
            let mut pictures = 0;
            for _ in 0..=before {
                let used = r.flag()?;
                // use_delta_flag, taken for set where it is absent
                pictures += u32::from(used || r.flag()?);
            }
            before = checked(pictures, MOST_PICTURES, "size of a reference picture set")?;
        } else {
            let (negative, positive) = (r.uvlc()?, r.uvlc()?);
            let pictures = negative.saturating_add(positive);
            before = checked(pictures, MOST_PICTURES, "size of a reference picture set")?;
            for _ in 0..before {
                r.uvlc()?;
                r.skip(1)?;
            }
        }
    }
    if r.flag()? {
        for _ in 0..checked(r.uvlc()?, 32, "num_long_term_ref_pics_sps")? {
            r.skip(order_bits as usize + 1)?;
        }
    }
    Ok(())
}
