//! A track of pictures in, its sample entries out: `av01`, `avc1`, `hvc1` with the codec's configuration and the colours.

use shiguredo_mp4::Uint;
use shiguredo_mp4::boxes::{
    Av01Box, Av1cBox, Avc1Box, AvccBox, Hvc1Box, HvccBox, HvccNalUintArray, SampleEntry,
    UnknownBox, VisualSampleEntryFields,
};

use super::init::dimension;
use super::{MuxError, raw_box};
use crate::av1::{ColorConfig, SequenceHeader};
use crate::coding::Coding;
use crate::nal::{AvcConfiguration, HevcConfiguration, LENGTH_SIZE};
use crate::track::{Light, Nclx, VideoTrack};

/// Describes the samples of a track, with one entry for each configuration that they may have.
pub(super) fn video_entries(video: &VideoTrack) -> Result<Vec<SampleEntry>, MuxError> {
    match &video.coding {
        Coding::Av1(headers) => av1_entries(video, headers),
        Coding::Avc(sets) => Ok(vec![avc_entry(video, sets)?]),
        Coding::Hevc(sets) => Ok(vec![hevc_entry(video, sets)?]),
    }
}

/// Describes AV1 samples, with one entry for each header that they may have.
fn av1_entries(
    video: &VideoTrack,
    headers: &[SequenceHeader],
) -> Result<Vec<SampleEntry>, MuxError> {
    let main = headers.first().ok_or(MuxError::NoHeader)?;
    let contract = main.contract();
    for (place, header) in headers.iter().enumerate() {
        if let Some(difference) = contract.difference(&header.contract()) {
            return Err(MuxError::Contract { place, difference });
        }
    }
    headers
        .iter()
        .map(|header| av1_entry(video, header))
        .collect()
}

/// Describes AV1 samples with this header (AV1-ISOBMFF §2.2, §2.3).
fn av1_entry(video: &VideoTrack, header: &SequenceHeader) -> Result<SampleEntry, MuxError> {
    let flag = |set: bool| u8::from(set);
    Ok(SampleEntry::Av01(Av01Box {
        // The entry has the size of the coded frames, which an encoder may have padded; `tkhd`
        // has the picture's.
        visual: visual(
            video,
            (header.max_width, header.max_height),
            b"\x0aAOM Coding",
        )?,
        av1c_box: Av1cBox {
            seq_profile: Uint::new(header.profile),
            seq_level_idx_0: Uint::new(header.level),
            seq_tier_0: Uint::new(header.tier),
            high_bitdepth: Uint::new(flag(header.bit_depth > 8)),
            twelve_bit: Uint::new(flag(header.bit_depth == 12)),
            monochrome: Uint::new(flag(header.monochrome)),
            chroma_subsampling_x: Uint::new(flag(header.subsampling_x)),
            chroma_subsampling_y: Uint::new(flag(header.subsampling_y)),
            chroma_sample_position: Uint::new(header.chroma_sample_position),
            // It counts samples, where the sequence header's delay counts frames: unknown here.
            initial_presentation_delay_minus_one: None,
            config_obus: header.raw.clone(),
        },
        unknown_boxes: children(video, header.color)?,
    }))
}

/// Describes H.264 samples whose parameter sets stand here alone (ISO/IEC 14496-15 §5.4.2).
fn avc_entry(video: &VideoTrack, sets: &AvcConfiguration) -> Result<SampleEntry, MuxError> {
    let samples = &sets.samples;
    let high = sets.is_high();
    Ok(SampleEntry::Avc1(Avc1Box {
        visual: visual(video, samples.size, b"")?,
        avcc_box: AvccBox {
            avc_profile_indication: sets.profile,
            profile_compatibility: sets.constraints,
            avc_level_indication: sets.level,
            length_size_minus_one: length_size(),
            sps_list: vec![sets.sps.clone()],
            pps_list: sets.pps.clone(),
            chroma_format: high.then_some(Uint::new(samples.chroma_format)),
            bit_depth_luma_minus8: high.then_some(Uint::new(samples.luma_bits - 8)),
            bit_depth_chroma_minus8: high.then_some(Uint::new(samples.chroma_bits - 8)),
            sps_ext_list: Vec::new(),
        },
        unknown_boxes: children(video, samples.color)?,
    }))
}

/// Describes HEVC samples whose parameter sets stand here alone (ISO/IEC 14496-15 §8.4.1).
fn hevc_entry(video: &VideoTrack, sets: &HevcConfiguration) -> Result<SampleEntry, MuxError> {
    let (samples, general) = (&sets.samples, &sets.general);
    let array = |kind, nalus: &[Vec<u8>]| HvccNalUintArray {
        array_completeness: Uint::new(1),
        nal_unit_type: Uint::new(kind),
        nalus: nalus.to_vec(),
    };
    Ok(SampleEntry::Hvc1(Hvc1Box {
        visual: visual(video, samples.size, b"")?,
        hvcc_box: HvccBox {
            general_profile_space: Uint::new(general.profile_space),
            general_tier_flag: Uint::new(u8::from(general.high_tier)),
            general_profile_idc: Uint::new(general.profile),
            general_profile_compatibility_flags: general.compatibility,
            general_constraint_indicator_flags: Uint::new(general.constraints),
            general_level_idc: general.level,
            // 0 stands for unknown, in these and in the frame rate.
            min_spatial_segmentation_idc: Uint::new(0),
            parallelism_type: Uint::new(0),
            chroma_format_idc: Uint::new(samples.chroma_format),
            bit_depth_luma_minus8: Uint::new(samples.luma_bits - 8),
            bit_depth_chroma_minus8: Uint::new(samples.chroma_bits - 8),
            avg_frame_rate: 0,
            constant_frame_rate: Uint::new(0),
            num_temporal_layers: Uint::new(sets.temporal_layers),
            temporal_id_nested: Uint::new(u8::from(sets.temporal_nesting)),
            length_size_minus_one: length_size(),
            nalu_arrays: vec![
                array(32, std::slice::from_ref(&sets.vps)),
                array(33, std::slice::from_ref(&sets.sps)),
                array(34, &sets.pps),
            ],
        },
        unknown_boxes: children(video, samples.color)?,
    }))
}

fn length_size<const OFFSET: u32>() -> Uint<u8, 2, OFFSET> {
    Uint::new(LENGTH_SIZE as u8 - 1)
}

/// The fields that all entries of pictures share, with the codec's name where its specification recommends one.
fn visual(
    video: &VideoTrack,
    (width, height): (u32, u32),
    name: &[u8],
) -> Result<VisualSampleEntryFields, MuxError> {
    let mut compressorname = [0; 32];
    compressorname[..name.len()].copy_from_slice(name);
    Ok(VisualSampleEntryFields {
        data_reference_index: VisualSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
        width: dimension(video, width)?.get(),
        height: dimension(video, height)?.get(),
        horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
        vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
        frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
        compressorname,
        depth: VisualSampleEntryFields::DEFAULT_DEPTH,
    })
}

/// The boxes that say how to show the pictures.
fn children(video: &VideoTrack, header: ColorConfig) -> Result<Vec<UnknownBox>, MuxError> {
    let mut children = Vec::new();
    if let Some(color) = checked_color(video, header.into())? {
        children.push(color_box(color));
    }
    children.extend(light_boxes(video.light));
    let (horizontal, vertical) = video.pixel_aspect;
    if horizontal != vertical && horizontal != 0 && vertical != 0 {
        let payload = [horizontal.to_be_bytes(), vertical.to_be_bytes()].concat();
        children.push(raw_box(*b"pasp", payload));
    }
    Ok(children)
}

/// Returns the colours to write, if any, and refuses ones that the codec's headers contradict.
fn checked_color(video: &VideoTrack, header: Nclx) -> Result<Option<Nclx>, MuxError> {
    let Some(track) = video.effective_color() else {
        return Ok(None);
    };
    let at_odds = |header: u8, track: u8| header != 2 && track != 2 && header != track;
    if at_odds(header.primaries, track.primaries)
        || at_odds(header.transfer, track.transfer)
        || at_odds(header.matrix, track.matrix)
        || header.full_range != track.full_range
    {
        return Err(MuxError::Colors { track, header });
    }
    Ok(Some(track))
}

/// Writes `colr` of type `nclx` (ISO/IEC 14496-12 §12.1.5).
fn color_box(color: Nclx) -> UnknownBox {
    let mut payload = b"nclx".to_vec();
    for code in [color.primaries, color.transfer, color.matrix] {
        payload.extend(u16::from(code).to_be_bytes());
    }
    payload.push(u8::from(color.full_range) << 7);
    raw_box(*b"colr", payload)
}

/// Writes `mdcv` and `clli` (ISO/IEC 14496-12 §12.1.8 and §12.1.7), where there is something to state.
fn light_boxes(light: Light) -> impl Iterator<Item = UnknownBox> {
    let mastering = light.mastering.map(|display| {
        let points = display.primaries.into_iter().chain([display.white]);
        let mut payload: Vec<u8> = points.flatten().flat_map(u16::to_be_bytes).collect();
        payload.extend(display.max_luminance.to_be_bytes());
        payload.extend(display.min_luminance.to_be_bytes());
        raw_box(*b"mdcv", payload)
    });
    let content = light.content.map(|light| {
        let payload = [light.max, light.average].map(u16::to_be_bytes).concat();
        raw_box(*b"clli", payload)
    });
    mastering.into_iter().chain(content)
}
