//! A sequence header OBU in, its fields, the codec string and the contract out (AV1 §5.5,
//! AV1-ISOBMFF §5).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Av1Error;
use super::obu::{Obu, ObuType, obus};
use crate::bits::{BitReader, EndOfData};

impl From<EndOfData> for Av1Error {
    fn from(_: EndOfData) -> Self {
        Self::TruncatedSequenceHeader
    }
}

/// How to read the samples' colours: code points of ISO/IEC 23091-2 (H.273), 2 where unspecified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColorConfig {
    /// Colour primaries.
    pub primaries: u8,
    /// Transfer characteristics.
    pub transfer: u8,
    /// Matrix coefficients.
    pub matrix: u8,
    /// Whether samples use the full range of their bit depth.
    pub full_range: bool,
}

impl fmt::Display for ColorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            primaries,
            transfer,
            matrix,
            full_range,
        } = self;
        let range = if *full_range { "full" } else { "limited" };
        write!(f, "colours {primaries}/{transfer}/{matrix} {range} range")
    }
}

/// What an AV1 sequence header says (AV1 §5.5).
///
/// Level, tier and presentation delay are those of the first operating point, the one that players
/// choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the specification's flags"
)]
pub struct SequenceHeader {
    /// The OBU with a size field and without an extension header: fit for `configOBUs`.
    pub raw: Vec<u8>,
    /// `seq_profile`: 0 Main, 1 High, 2 Professional.
    pub profile: u8,
    /// `still_picture`: the sequence is one frame.
    pub still_picture: bool,
    /// `seq_level_idx[0]`: 8 stands for level 4.0.
    pub level: u8,
    /// `seq_tier[0]`: 0 Main, 1 High.
    pub tier: u8,
    /// Bits of a sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// `mono_chrome`: there are no chroma planes.
    pub monochrome: bool,
    /// Chroma is half as wide as luma.
    pub subsampling_x: bool,
    /// Chroma is half as high as luma.
    pub subsampling_y: bool,
    /// `chroma_sample_position`: 0 unknown, 1 vertical, 2 co-located.
    pub chroma_sample_position: u8,
    /// Colour description.
    pub color: ColorConfig,
    /// `max_frame_width_minus_1 + 1`, in luma samples.
    pub max_width: u32,
    /// `max_frame_height_minus_1 + 1`, in luma samples.
    pub max_height: u32,
    /// `initial_display_delay_minus_1[0] + 1`: frames to decode before the first is shown, where
    /// stated.
    pub initial_presentation_delay: Option<u8>,
    /// `film_grain_params_present`: frames may ask for synthesised grain.
    pub film_grain: bool,
}

impl SequenceHeader {
    /// Reads the first sequence header in `obus`: an encoder's extradata (a row of OBUs, not an
    /// `av1C` box), a temporal unit or a sample.
    ///
    /// Fails when there is none, or when what is there cannot be read.
    pub fn parse(obus: &[u8]) -> Result<Self, Av1Error> {
        for obu in self::obus(obus) {
            let obu = obu?;
            if obu.kind == ObuType::SequenceHeader {
                return Self::from_obu(&obu);
            }
        }
        Err(Av1Error::NoSequenceHeader)
    }

    pub(super) fn from_obu(obu: &Obu<'_>) -> Result<Self, Av1Error> {
        let mut reader = BitReader::new(obu.payload);
        let r = &mut reader;
        let profile = r.small(3)?;
        if profile > 2 {
            return Err(Av1Error::Reserved {
                field: "seq_profile",
                value: profile,
            });
        }
        let still_picture = r.flag()?;
        let reduced = r.flag()?;
        let operation = if reduced {
            OperatingPoint {
                level: r.small(5)?,
                tier: 0,
                display_delay: None,
            }
        } else {
            OperatingPoint::read_first_of_all(r)?
        };
        let (max_width, max_height) = read_dimensions(r)?;
        skip_tools(r, reduced)?;
        let color = Samples::read(r, profile)?;
        let film_grain = r.flag()?;

        let mut raw = Vec::with_capacity(obu.payload.len() + 2);
        obu.without_extension().write(&mut raw);
        Ok(Self {
            raw,
            profile,
            still_picture,
            level: operation.level,
            tier: operation.tier,
            bit_depth: color.bit_depth,
            monochrome: color.monochrome,
            subsampling_x: color.subsampling.0,
            subsampling_y: color.subsampling.1,
            chroma_sample_position: color.chroma_sample_position,
            color: color.config,
            max_width,
            max_height,
            initial_presentation_delay: operation.display_delay,
            film_grain,
        })
    }

    /// Writes the `codecs` parameter with all its optional fields, `av01.P.LLT.DD.M.CCC.cp.tc.mc.F`
    /// (AV1-ISOBMFF §5).
    ///
    /// The short form leaves the colours to be taken for BT.709: players refuse PQ under it.
    #[must_use]
    pub fn codec_string(&self) -> String {
        let tier = if self.tier == 0 { 'M' } else { 'H' };
        let subsampled = self.subsampling_x && self.subsampling_y;
        let position = if subsampled {
            self.chroma_sample_position
        } else {
            0
        };
        let ColorConfig {
            primaries,
            transfer,
            matrix,
            full_range,
        } = self.color;
        format!(
            "av01.{}.{:02}{tier}.{:02}.{}.{}{}{position}.{primaries:02}.{transfer:02}.{matrix:02}.{}",
            self.profile,
            self.level,
            self.bit_depth,
            u8::from(self.monochrome),
            u8::from(self.subsampling_x),
            u8::from(self.subsampling_y),
            u8::from(full_range),
        )
    }

    /// Returns what every segment of this header's rendition must repeat.
    #[must_use]
    pub fn contract(&self) -> Contract {
        Contract {
            profile: self.profile,
            still_picture: self.still_picture,
            level: self.level,
            tier: self.tier,
            bit_depth: self.bit_depth,
            monochrome: self.monochrome,
            subsampling: (self.subsampling_x, self.subsampling_y),
            chroma_sample_position: self.chroma_sample_position,
            color: self.color,
            initial_presentation_delay: self.initial_presentation_delay,
            dimensions: (self.max_width, self.max_height),
        }
    }
}

/// The fields of the sequence header that all segments of one CMAF rendition share (AV1-ISOBMFF,
/// CMAF constraints).
///
/// Coding tools may differ: every segment starts with its own sequence header.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contract {
    profile: u8,
    still_picture: bool,
    level: u8,
    tier: u8,
    bit_depth: u8,
    monochrome: bool,
    subsampling: (bool, bool),
    chroma_sample_position: u8,
    color: ColorConfig,
    initial_presentation_delay: Option<u8>,
    dimensions: (u32, u32),
}

impl Contract {
    /// Names the first field in which `other` differs, with this contract's value first: "level 4.0
    /// is not level 4.1".
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (mine, theirs) = (self.fields(), other.fields());
        let mut pairs = mine.iter().zip(&theirs);
        pairs
            .find(|(a, b)| a != b)
            .map(|(a, b)| format!("{a} is not {b}"))
    }

    fn fields(&self) -> [String; 8] {
        let delay = match self.initial_presentation_delay {
            Some(frames) => format!("presentation delay {frames}"),
            None => "no presentation delay".to_owned(),
        };
        [
            format!("profile {}", self.profile),
            (if self.still_picture {
                "still picture"
            } else {
                "video"
            })
            .to_owned(),
            format!("level {}", level_name(self.level)),
            (if self.tier == 0 {
                "Main tier"
            } else {
                "High tier"
            })
            .to_owned(),
            format!("{} bit {}", self.bit_depth, self.chroma()),
            self.color.to_string(),
            delay,
            format!("{}x{}", self.dimensions.0, self.dimensions.1),
        ]
    }

    fn chroma(&self) -> String {
        let layout = match (self.monochrome, self.subsampling) {
            (true, _) => return "monochrome".to_owned(),
            (false, (true, true)) => "4:2:0",
            (false, (true, false)) => "4:2:2",
            (false, _) => "4:4:4",
        };
        match self.chroma_sample_position {
            0 => layout.to_owned(),
            1 => format!("{layout} (vertical)"),
            2 => format!("{layout} (co-located)"),
            _ => format!("{layout} (reserved position)"),
        }
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fields().join(", "))
    }
}

/// Names a level as people do, "5.1" for `seq_level_idx` 13 (AV1 §A.3).
fn level_name(index: u8) -> String {
    match index {
        31 => "unbounded".to_owned(),
        _ => format!("{}.{}", 2 + index / 4, index % 4),
    }
}

/// The first operating point's share of the header.
struct OperatingPoint {
    level: u8,
    tier: u8,
    display_delay: Option<u8>,
}

impl OperatingPoint {
    /// Reads from `timing_info_present_flag` to the last operating point.
    fn read_first_of_all(r: &mut BitReader<'_>) -> Result<Self, Av1Error> {
        let mut buffer_delay_bits = None;
        if r.flag()? {
            // timing_info(): num_units_in_display_tick, time_scale, equal_picture_interval
            r.skip(32 + 32)?;
            if r.flag()? {
                r.uvlc()?;
            }
            if r.flag()? {
                buffer_delay_bits = Some(usize::from(r.small(5)?) + 1);
                // decoder_model_info(): num_units_in_decoding_tick and the lengths of two fields of
                // frames
                r.skip(32 + 5 + 5)?;
            }
        }
        let display_delays = r.flag()?;
        let count = r.small(5)? + 1;
        let mut first = None;
        for _ in 0..count {
            let point = Self::read(r, buffer_delay_bits, display_delays)?;
            first.get_or_insert(point);
        }
        Ok(first.expect("a count of at least one was read"))
    }

    fn read(
        r: &mut BitReader<'_>,
        buffer_delay_bits: Option<usize>,
        display_delays: bool,
    ) -> Result<Self, Av1Error> {
        r.skip(12)?;
        let level = r.small(5)?;
        let tier = if level > 7 { r.small(1)? } else { 0 };
        if let Some(bits) = buffer_delay_bits
            && r.flag()?
        {
            // operating_parameters_info(): two delays and low_delay_mode_flag
            r.skip(2 * bits + 1)?;
        }
        let mut display_delay = None;
        if display_delays && r.flag()? {
            display_delay = Some(r.small(4)? + 1);
        }
        Ok(Self {
            level,
            tier,
            display_delay,
        })
    }
}

fn read_dimensions(r: &mut BitReader<'_>) -> Result<(u32, u32), Av1Error> {
    let width_bits = r.bits(4)? + 1;
    let height_bits = r.bits(4)? + 1;
    Ok((r.bits(width_bits)? + 1, r.bits(height_bits)? + 1))
}

/// Passes over the fields between the dimensions and `color_config()`.
fn skip_tools(r: &mut BitReader<'_>, reduced: bool) -> Result<(), Av1Error> {
    if !reduced && r.flag()? {
        // delta_frame_id_length_minus_2, additional_frame_id_length_minus_1
        r.skip(4 + 3)?;
    }
    // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    r.skip(3)?;
    if !reduced {
        // enable_interintra_compound, enable_masked_compound, enable_warped_motion,
        // enable_dual_filter
        r.skip(4)?;
        let order_hint = r.flag()?;
        if order_hint {
            // enable_jnt_comp, enable_ref_frame_mvs
            r.skip(2)?;
        }
        let chosen_by_frame = r.flag()?;
        let screen_content = chosen_by_frame || r.flag()?;
        if screen_content && !r.flag()? {
            // seq_force_integer_mv
            r.skip(1)?;
        }
        if order_hint {
            // order_hint_bits_minus_1
            r.skip(3)?;
        }
    }
    // enable_superres, enable_cdef, enable_restoration
    r.skip(3)?;
    Ok(())
}

/// What `color_config()` says (AV1 §5.5.2).
struct Samples {
    bit_depth: u8,
    monochrome: bool,
    subsampling: (bool, bool),
    chroma_sample_position: u8,
    config: ColorConfig,
}

impl Samples {
    fn read(r: &mut BitReader<'_>, profile: u8) -> Result<Self, Av1Error> {
        let high = r.flag()?;
        let bit_depth = match high {
            true if profile == 2 && r.flag()? => 12,
            true => 10,
            false => 8,
        };
        let monochrome = profile != 1 && r.flag()?;
        let (primaries, transfer, matrix) = if r.flag()? {
            (r.small(8)?, r.small(8)?, r.small(8)?)
        } else {
            (2, 2, 2)
        };
        let config = |full_range| ColorConfig {
            primaries,
            transfer,
            matrix,
            full_range,
        };
        if monochrome {
            return Ok(Self {
                bit_depth,
                monochrome,
                subsampling: (true, true),
                chroma_sample_position: 0,
                config: config(r.flag()?),
            });
        }
        let srgb = (primaries, transfer, matrix) == (1, 13, 0);
        let full_range = srgb || r.flag()?;
        let subsampling = match (srgb, profile, bit_depth) {
            (true, _, _) | (false, 1, _) => (false, false),
            (false, 0, _) => (true, true),
            (false, _, 12) => {
                let x = r.flag()?;
                (x, x && r.flag()?)
            }
            (false, _, _) => (true, false),
        };
        let chroma_sample_position = if !srgb && subsampling == (true, true) {
            r.small(2)?
        } else {
            0
        };
        // separate_uv_delta_q
        r.skip(1)?;
        Ok(Self {
            bit_depth,
            monochrome,
            subsampling,
            chroma_sample_position,
            config: config(full_range),
        })
    }
}
