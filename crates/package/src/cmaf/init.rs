//! A track in, its initialisation segment out: `ftyp moov`, with no samples and no times.

use std::num::{NonZeroU16, NonZeroU32};

use shiguredo_mp4::boxes::{
    AudioSampleEntryFields, Brand, DinfBox, DrefBox, EdtsBox, ElstBox, ElstEntry, EsdsBox, FtypBox,
    HdlrBox, MdhdBox, MdiaBox, MediaHeader, MinfBox, MoovBox, Mp4aBox, MvexBox, MvhdBox,
    SampleEntry, SmhdBox, StblBox, StcoBox, StscBox, StsdBox, StszBox, SttsBox, TkhdBox, TrakBox,
    TrexBox, UnknownBox, VmhdBox,
};
use shiguredo_mp4::descriptors::{
    DecoderConfigDescriptor, DecoderSpecificInfo, EsDescriptor, SlConfigDescriptor,
};
use shiguredo_mp4::{Either, FixedPointNumber, LanguageCode, Mp4FileTime, Uint};

use super::picture::video_entries;
use super::segment::default_flags;
use super::{MuxError, TRACK_ID, encode, raw_box};
use crate::audio::dops_payload;
use crate::coding::Coding;
use crate::language;
use crate::track::{AudioCodec, AudioTrack, Track, VideoTrack};

/// Writes the track's initialisation segment (ISO/IEC 23000-19 §7.3.1).
///
/// Creation times are zero: equal tracks give equal bytes.
///
/// Fails on sizes that the boxes cannot hold, on colours at odds with the codec's headers, and on
/// an unreadable audio configuration.
pub fn init_segment(track: &Track) -> Result<Vec<u8>, MuxError> {
    init(track, None)
}

/// Writes the same as the start of a file that all segments of the track are in, with an index: DASH knows such a file by the brand `dash` (ISO/IEC 23009-1
/// §6.3.5).
pub(crate) fn file_start(track: &Track) -> Result<Vec<u8>, MuxError> {
    init(track, Some(Brand::new(*b"dash")))
}

fn init(track: &Track, more: Option<Brand>) -> Result<Vec<u8>, MuxError> {
    let timescale = NonZeroU32::new(track.timescale()).ok_or(MuxError::NoTimescale)?;
    let mut compatible_brands = vec![Brand::ISO6, Brand::new(*b"cmfc")];
    if let Track::Video(video) = track
        && let Coding::Av1(_) = video.coding
    {
        compatible_brands.push(Brand::AV01);
    }
    compatible_brands.extend(more);
    let ftyp = FtypBox {
        major_brand: Brand::new(*b"cmfc"),
        minor_version: 0,
        compatible_brands,
    };
    let moov = MoovBox {
        mvhd_box: MvhdBox {
            creation_time: Mp4FileTime::default(),
            modification_time: Mp4FileTime::default(),
            timescale,
            duration: 0,
            rate: MvhdBox::DEFAULT_RATE,
            volume: MvhdBox::DEFAULT_VOLUME,
            matrix: MvhdBox::DEFAULT_MATRIX,
            next_track_id: TRACK_ID + 1,
        },
        trak_boxes: vec![TrakBox {
            tkhd_box: track_header(track)?,
            edts_box: edit_list(track),
            mdia_box: media(track, timescale)?,
            unknown_boxes: Vec::new(),
        }],
        mvex_box: Some(MvexBox {
            mehd_box: None,
            trex_boxes: vec![TrexBox {
                track_id: TRACK_ID,
                default_sample_description_index: 1,
                default_sample_duration: 0,
                default_sample_size: 0,
                default_sample_flags: default_flags(track),
            }],
            unknown_boxes: Vec::new(),
        }),
        unknown_boxes: Vec::new(),
    };
    let mut bytes = encode(&ftyp)?;
    bytes.append(&mut encode(&moov)?);
    Ok(bytes)
}

fn track_header(track: &Track) -> Result<TkhdBox, MuxError> {
    let none = FixedPointNumber::new(0, 0);
    let (width, height, volume) = match track {
        Track::Video(video) => {
            let (width, height) = video.display_size();
            let (width, height) = (dimension(video, width)?, dimension(video, height)?);
            let whole = |size: NonZeroU16| FixedPointNumber::new(size.get() as i16, 0);
            (whole(width), whole(height), TkhdBox::DEFAULT_VIDEO_VOLUME)
        }
        Track::Audio(_) => (none, none, TkhdBox::DEFAULT_AUDIO_VOLUME),
        Track::Text(_) => return Err(MuxError::Text),
    };
    Ok(TkhdBox {
        flag_track_enabled: true,
        flag_track_in_movie: true,
        flag_track_in_preview: false,
        flag_track_size_is_aspect_ratio: false,
        creation_time: Mp4FileTime::default(),
        modification_time: Mp4FileTime::default(),
        track_id: TRACK_ID,
        duration: 0,
        layer: TkhdBox::DEFAULT_LAYER,
        alternate_group: TkhdBox::DEFAULT_ALTERNATE_GROUP,
        volume,
        matrix: TkhdBox::DEFAULT_MATRIX,
        width,
        height,
    })
}

pub(super) fn dimension(video: &VideoTrack, size: u32) -> Result<NonZeroU16, MuxError> {
    let error = MuxError::Dimensions {
        width: video.width,
        height: video.height,
    };
    u16::try_from(size)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or(error)
}

/// Cuts audio priming and the delay of reordered pictures from the presentation. The edit's duration of 0 spans all fragments (ISO/IEC
/// 14496-12 §8.6.6).
fn edit_list(track: &Track) -> Option<EdtsBox> {
    let cut = match track {
        Track::Video(video) => video.delay,
        Track::Audio(audio) => audio.priming,
        Track::Text(_) => 0,
    };
    if cut == 0 {
        return None;
    }
    let entry = ElstEntry {
        edit_duration: 0,
        media_time: i64::from(cut),
        media_rate: FixedPointNumber::new(1, 0),
    };
    Some(EdtsBox {
        elst_box: Some(ElstBox {
            entries: vec![entry],
        }),
        unknown_boxes: Vec::new(),
    })
}

fn media(track: &Track, timescale: NonZeroU32) -> Result<MdiaBox, MuxError> {
    let (handler_type, name, media_header) = match track {
        Track::Video(_) => (
            HdlrBox::HANDLER_TYPE_VIDE,
            b"video\0",
            MediaHeader::Vmhd(VmhdBox::default()),
        ),
        Track::Audio(_) => (
            HdlrBox::HANDLER_TYPE_SOUN,
            b"audio\0",
            MediaHeader::Smhd(SmhdBox::default()),
        ),
        Track::Text(_) => return Err(MuxError::Text),
    };
    let (language, extended) = match track {
        Track::Video(_) | Track::Text(_) => (LanguageCode::UNDEFINED, None),
        Track::Audio(audio) => media_language(audio.language.as_deref()),
    };
    Ok(MdiaBox {
        mdhd_box: MdhdBox {
            creation_time: Mp4FileTime::default(),
            modification_time: Mp4FileTime::default(),
            timescale,
            duration: 0,
            language,
        },
        hdlr_box: HdlrBox {
            handler_type,
            name: name.to_vec(),
        },
        minf_box: MinfBox {
            media_header: Some(media_header),
            dinf_box: DinfBox {
                dref_box: DrefBox::LOCAL_FILE,
                unknown_boxes: Vec::new(),
            },
            stbl_box: sample_table(track)?,
            unknown_boxes: Vec::new(),
        },
        unknown_boxes: extended.into_iter().collect(),
    })
}

/// Splits a language tag into the three letters that `mdhd` has room for, and `elng` where they do
/// not say all.
fn media_language(tag: Option<&str>) -> (LanguageCode, Option<UnknownBox>) {
    let Some(tag) = tag.and_then(language::bcp47) else {
        return (LanguageCode::UNDEFINED, None);
    };
    let code = language::iso639_2(&tag).and_then(LanguageCode::from_ascii);
    let extended = (code.is_none() || tag.contains('-')).then(|| {
        let mut payload = vec![0; 4];
        payload.extend(tag.bytes().chain([0]));
        raw_box(*b"elng", payload)
    });
    (code.unwrap_or(LanguageCode::UNDEFINED), extended)
}

fn sample_table(track: &Track) -> Result<StblBox, MuxError> {
    let (entries, unknown_boxes) = match track {
        Track::Text(_) => return Err(MuxError::Text),
        Track::Video(video) => (video_entries(video)?, Vec::new()),
        Track::Audio(audio) => match &audio.codec {
            AudioCodec::Opus { head } => (vec![opus_entry(audio, head)?], vec![opus_pre_roll()]),
            AudioCodec::Aac { config } => {
                let kind = DecoderConfigDescriptor::OBJECT_TYPE_INDICATION_AUDIO_ISO_IEC_14496_3;
                (vec![mpeg_entry(audio, (kind, Some(config)))], Vec::new())
            }
            AudioCodec::Mp3 { .. } => {
                let kind = audio.mp3_object_type();
                (vec![mpeg_entry(audio, (kind, None))], Vec::new())
            }
            AudioCodec::Ac3 { config } => (
                vec![dolby_entry(audio, (*b"ac-3", *b"dac3", config))?],
                Vec::new(),
            ),
            AudioCodec::Eac3 { config } => (
                vec![dolby_entry(audio, (*b"ec-3", *b"dec3", config))?],
                Vec::new(),
            ),
        },
    };
    Ok(StblBox {
        stsd_box: StsdBox { entries },
        stts_box: SttsBox {
            entries: Vec::new(),
        },
        ctts_box: None,
        cslg_box: None,
        stsc_box: StscBox {
            entries: Vec::new(),
        },
        stsz_box: StszBox::Variable {
            entry_sizes: Vec::new(),
        },
        stco_or_co64_box: Either::A(StcoBox {
            chunk_offsets: Vec::new(),
        }),
        stss_box: None,
        sdtp_box: None,
        unknown_boxes,
    })
}

fn audio_fields(audio: &AudioTrack) -> AudioSampleEntryFields {
    // A rate beyond 16 bits stands in the codec's configuration alone.
    let rate = u16::try_from(audio.sample_rate).unwrap_or(0);
    AudioSampleEntryFields {
        data_reference_index: AudioSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
        channelcount: audio.channels,
        samplesize: AudioSampleEntryFields::DEFAULT_SAMPLESIZE,
        samplerate: FixedPointNumber::new(rate, 0),
    }
}

/// Describes Opus packets (Opus in ISOBMFF §4.3). Written here and not by the box library, whose
/// `dOps` knows no channel mapping.
fn opus_entry(audio: &AudioTrack, head: &[u8]) -> Result<SampleEntry, MuxError> {
    let priming = audio.priming;
    let pre_skip = u16::try_from(priming).map_err(|_| MuxError::Priming { ticks: priming })?;
    let mut payload = encode(&audio_fields(audio))?;
    payload.append(&mut encode(&raw_box(
        *b"dOps",
        dops_payload(head, pre_skip)?,
    ))?);
    Ok(SampleEntry::Unknown(raw_box(*b"Opus", payload)))
}

/// Describes frames of AC-3 or E-AC-3 (ETSI TS 102 366 §F.3, §F.5), with the box that their configuration is in.
fn dolby_entry(
    audio: &AudioTrack,
    (entry, inner, config): ([u8; 4], [u8; 4], &[u8]),
) -> Result<SampleEntry, MuxError> {
    let mut payload = encode(&audio_fields(audio))?;
    payload.append(&mut encode(&raw_box(inner, config.to_vec()))?);
    Ok(SampleEntry::Unknown(raw_box(entry, payload)))
}

/// Says that Opus decoders need four packets, 80 ms at the usual 20 ms, before their output is
/// right (Opus in ISOBMFF §4.3.6.2): an audio pre-roll entry, which the segments refer to.
fn opus_pre_roll() -> UnknownBox {
    let mut payload = vec![1, 0, 0, 0];
    payload.extend(b"roll");
    payload.extend(2u32.to_be_bytes());
    payload.extend(1u32.to_be_bytes());
    payload.extend((-4i16).to_be_bytes());
    raw_box(*b"sgpd", payload)
}

/// Describes frames of AAC and MP3 by their object type, and what their decoder needs to know (ISO/IEC 14496-14 §6.7).
fn mpeg_entry(audio: &AudioTrack, (kind, config): (u8, Option<&[u8]>)) -> SampleEntry {
    SampleEntry::Mp4a(Mp4aBox {
        audio: audio_fields(audio),
        esds_box: EsdsBox {
            es: EsDescriptor {
                // ISO/IEC 14496-14 §4.1.2: zero in a file, where the track's number identifies the
                // stream.
                es_id: 0,
                stream_priority: EsDescriptor::LOWEST_STREAM_PRIORITY,
                depends_on_es_id: None,
                url_string: None,
                ocr_es_id: None,
                dec_config_descr: DecoderConfigDescriptor {
                    object_type_indication: kind,
                    stream_type: DecoderConfigDescriptor::STREAM_TYPE_AUDIO,
                    up_stream: DecoderConfigDescriptor::UP_STREAM_FALSE,
                    buffer_size_db: Uint::new(0),
                    max_bitrate: 0,
                    avg_bitrate: 0,
                    dec_specific_info: config.map(|config| DecoderSpecificInfo {
                        payload: config.to_vec(),
                    }),
                },
                sl_config_descr: SlConfigDescriptor,
            },
        },
        unknown_boxes: Vec::new(),
    })
}
