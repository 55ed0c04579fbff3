//! A segment's samples in, one media segment out: `styp sidx moof mdat`.

use shiguredo_mp4::SampleFlags;
use shiguredo_mp4::boxes::{
    MfhdBox, MoofBox, SidxBox, SidxReference, TfdtBox, TfhdBox, TrafBox, TrunBox, TrunSample,
    UnknownBox,
};

use super::{MuxError, TRACK_ID, encode, raw_box};
use crate::av1::SequenceHeader;
use crate::track::{AudioCodec, AudioTrack, Sample, Segment, Track};

/// Depends on no other sample, and is a sync sample.
const SYNC: SampleFlags = SampleFlags::new(0x0200_0000);
/// Depends on others, and is not a sync sample.
const NON_SYNC: SampleFlags = SampleFlags::new(0x0101_0000);

/// Returns the flags that hold for samples which nothing else is said of.
pub(super) fn default_flags(track: &Track) -> SampleFlags {
    match track {
        Track::Video(_) => NON_SYNC,
        Track::Audio(_) | Track::Text(_) => SYNC,
    }
}

fn flags(sample: &Sample) -> SampleFlags {
    if sample.key { SYNC } else { NON_SYNC }
}

/// Writes one media segment of the track (ISO/IEC 23000-19 §7.3.3).
///
/// `number` goes into `mfhd` and counts from 1. The bytes depend on the arguments alone.
///
/// Fails on a segment without samples, on one that outgrows 32 bits, and, where the track has several sequence headers, on one
/// with another.
pub fn media_segment(track: &Track, number: u32, segment: &Segment) -> Result<Vec<u8>, MuxError> {
    if segment.samples.is_empty() {
        return Err(MuxError::NoSamples);
    }
    let payload: u64 = segment
        .samples
        .iter()
        .map(|sample| sample.data.len() as u64)
        .sum();
    let too_large = MuxError::TooLarge {
        bytes: payload,
        ticks: segment.duration(),
    };
    let mdat_size = u32::try_from(payload + 8).map_err(|_| too_large.clone())?;
    let ticks = u32::try_from(segment.duration()).map_err(|_| too_large.clone())?;

    let moof = fragment(track, number, segment)?;
    // `sidx` has 31 bits for the size, `trun` as many for the samples' sizes taken together.
    let referenced = u32::try_from(moof.len())
        .ok()
        .and_then(|moof| moof.checked_add(mdat_size));
    let referenced = referenced.filter(|&size| size < 1 << 31).ok_or(too_large)?;

    let times = (segment.decode_time, u64::from(ticks));
    let mut bytes = segment_front(track, times, referenced)?;
    bytes.reserve_exact(referenced as usize);
    bytes.extend_from_slice(&moof);
    bytes.extend(mdat_size.to_be_bytes());
    bytes.extend(b"mdat");
    for sample in &segment.samples {
        bytes.extend_from_slice(&sample.data);
    }
    Ok(bytes)
}

/// Writes `styp sidx`, which stand before the `moof` of a segment: when it is decoded and for how long, in ticks, and how many bytes follow.
pub(crate) fn segment_front(
    track: &Track,
    (decode_time, duration): (u64, u64),
    referenced: u32,
) -> Result<Vec<u8>, MuxError> {
    let (start, duration) = track.presentation(decode_time, duration);
    let mut bytes = encode(&raw_box(*b"styp", b"msdh\0\0\0\0msdhmsixcmfscmfc".to_vec()))?;
    bytes.append(&mut encode(&SidxBox {
        reference_id: TRACK_ID,
        timescale: track.timescale(),
        earliest_presentation_time: start,
        first_offset: 0,
        references: vec![SidxReference {
            reference_type: false,
            referenced_size: referenced,
            subsegment_duration: duration as u32,
            starts_with_sap: true,
            sap_type: 1,
            sap_delta_time: 0,
        }],
    })?);
    Ok(bytes)
}

/// Writes `moof` with the offset of the first byte of the `mdat` that follows at once.
fn fragment(track: &Track, number: u32, segment: &Segment) -> Result<Vec<u8>, MuxError> {
    let mut moof = MoofBox {
        mfhd_box: MfhdBox {
            sequence_number: number,
        },
        traf_boxes: vec![TrafBox {
            tfhd_box: TfhdBox {
                track_id: TRACK_ID,
                base_data_offset: None,
                sample_description_index: described_by(track, segment)?,
                default_sample_duration: common_duration(&segment.samples),
                default_sample_size: None,
                default_sample_flags: Some(default_flags(track)),
                duration_is_empty: false,
                default_base_is_moof: true,
            },
            tfdt_box: Some(TfdtBox {
                version: 1,
                base_media_decode_time: segment.decode_time,
            }),
            trun_boxes: vec![track_run(track, &segment.samples)],
            unknown_boxes: pre_roll(track, segment).into_iter().collect(),
        }],
        unknown_boxes: Vec::new(),
    };
    let size = encode(&moof)?.len();
    let data_offset = i32::try_from(size + 8).map_err(|_| MuxError::TooLarge {
        bytes: size as u64,
        ticks: segment.duration(),
    })?;
    for run in moof
        .traf_boxes
        .iter_mut()
        .flat_map(|traf| &mut traf.trun_boxes)
    {
        run.data_offset = Some(data_offset);
    }
    encode(&moof)
}

/// Returns the number of the sample entry that describes the segment, where there are several.
fn described_by(track: &Track, segment: &Segment) -> Result<Option<u32>, MuxError> {
    let Track::Video(video) = track else {
        return Ok(None);
    };
    let entries = video.sequence_headers().len();
    if entries < 2 {
        return Ok(None);
    }
    let first = segment.samples.first().ok_or(MuxError::NoSamples)?;
    let header = SequenceHeader::parse(&first.data).ok();
    let entry = header.and_then(|header| video.entry_of(&header));
    entry.map(Some).ok_or(MuxError::UnknownHeader { entries })
}

/// Returns the duration that all samples have, if they have one.
fn common_duration(samples: &[Sample]) -> Option<u32> {
    let first = samples.first()?.duration;
    samples
        .iter()
        .all(|sample| sample.duration == first)
        .then_some(first)
}

/// Lists the samples, and of their durations and flags only what the defaults do not say.
fn track_run(track: &Track, samples: &[Sample]) -> TrunBox {
    let own_duration = common_duration(samples).is_none();
    let default = default_flags(track);
    let first = samples.first().map(flags).filter(|&flags| flags != default);
    let own_flags = samples
        .iter()
        .skip(1)
        .any(|sample| flags(sample) != default);
    let reordered = samples.iter().any(|sample| sample.offset != 0);
    let samples = samples.iter().map(|sample| TrunSample {
        duration: own_duration.then_some(sample.duration),
        size: Some(sample.data.len() as u32),
        flags: own_flags.then(|| flags(sample)),
        composition_time_offset: reordered.then(|| sample.offset.into()),
    });
    TrunBox {
        // A place of the right size, until the size of `moof` is known.
        data_offset: Some(0),
        first_sample_flags: first.filter(|_| !own_flags),
        samples: samples.collect(),
    }
}

/// Puts Opus samples into the pre-roll group that the initialisation segment describes.
fn pre_roll(track: &Track, segment: &Segment) -> Option<UnknownBox> {
    let Track::Audio(AudioTrack {
        codec: AudioCodec::Opus { .. },
        ..
    }) = track
    else {
        return None;
    };
    let mut payload = vec![0; 4];
    payload.extend(b"roll");
    for field in [1, segment.samples.len() as u32, 1] {
        payload.extend(u32::to_be_bytes(field));
    }
    Some(raw_box(*b"sbgp", payload))
}
