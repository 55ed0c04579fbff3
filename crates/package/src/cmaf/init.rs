//! A track in, its initialisation segment out: `ftyp moov`, with no samples and no times.

use std::num::{NonZeroU16, NonZeroU32};

use shiguredo_mp4::boxes::{
    AudioSampleEntryFields, Av01Box, Av1cBox, Brand, DinfBox, DrefBox, EdtsBox, ElstBox, ElstEntry,
    EsdsBox, FtypBox, HdlrBox, MdhdBox, MdiaBox, MediaHeader, MinfBox, MoovBox, Mp4aBox, MvexBox,
    MvhdBox, SampleEntry, SmhdBox, StblBox, StcoBox, StscBox, StsdBox, StszBox, SttsBox, TkhdBox,
    TrakBox, TrexBox, UnknownBox, VisualSampleEntryFields, VmhdBox,
};
use shiguredo_mp4::descriptors::{
    DecoderConfigDescriptor, DecoderSpecificInfo, EsDescriptor, SlConfigDescriptor,
};
use shiguredo_mp4::{Either, FixedPointNumber, LanguageCode, Mp4FileTime, Uint};

use super::segment::default_flags;
use super::{MuxError, TRACK_ID, encode, raw_box};
use crate::audio::dops_payload;
use crate::av1::SequenceHeader;
use crate::language;
use crate::track::{AudioCodec, AudioTrack, Light, Nclx, Track, VideoTrack};

/// Writes the track's initialisation segment (ISO/IEC 23000-19 §7.3.1).
///
/// Creation times are zero: equal tracks give equal bytes.
///
/// Fails on sizes that the boxes cannot hold, on colours at odds with the sequence header, and on
/// an unreadable audio configuration.
pub fn init_segment(track: &Track) -> Result<Vec<u8>, MuxError> {
    let timescale = NonZeroU32::new(track.timescale()).ok_or(MuxError::NoTimescale)?;
    let mut compatible_brands = vec![Brand::ISO6, Brand::new(*b"cmfc")];
    if let Track::Video(_) = track {
        compatible_brands.push(Brand::AV01);
    }
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

fn dimension(video: &VideoTrack, size: u32) -> Result<NonZeroU16, MuxError> {
    let error = MuxError::Dimensions {
        width: video.width,
        height: video.height,
    };
    u16::try_from(size)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or(error)
}

/// Cuts audio priming from the presentation. The edit's duration of 0 spans all fragments (ISO/IEC
/// 14496-12 §8.6.6).
fn edit_list(track: &Track) -> Option<EdtsBox> {
    let priming = track.priming();
    if priming == 0 {
        return None;
    }
    let entry = ElstEntry {
        edit_duration: 0,
        media_time: i64::from(priming),
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
    };
    let (language, extended) = match track {
        Track::Video(_) => (LanguageCode::UNDEFINED, None),
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
        Track::Video(video) => (video_entries(video)?, Vec::new()),
        Track::Audio(audio) => match &audio.codec {
            AudioCodec::Opus { head } => (vec![opus_entry(audio, head)?], vec![opus_pre_roll()]),
            AudioCodec::Aac { config } => (vec![aac_entry(audio, config)], Vec::new()),
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

/// Describes AV1 samples, with one entry for each header that they may have.
fn video_entries(video: &VideoTrack) -> Result<Vec<SampleEntry>, MuxError> {
    let main = video.main_header().ok_or(MuxError::NoHeader)?;
    let contract = main.contract();
    for (place, header) in video.sequence_headers.iter().enumerate() {
        if let Some(difference) = contract.difference(&header.contract()) {
            return Err(MuxError::Contract { place, difference });
        }
    }
    let headers = video.sequence_headers.iter();
    headers.map(|header| video_entry(video, header)).collect()
}

/// Describes AV1 samples with this header (AV1-ISOBMFF §2.2, §2.3).
fn video_entry(video: &VideoTrack, header: &SequenceHeader) -> Result<SampleEntry, MuxError> {
    let flag = |set: bool| u8::from(set);
    let mut children = Vec::new();
    if let Some(color) = checked_color(video, header)? {
        children.push(color_box(color));
    }
    children.extend(light_boxes(video.light));
    let (horizontal, vertical) = video.pixel_aspect;
    if horizontal != vertical && horizontal != 0 && vertical != 0 {
        let payload = [horizontal.to_be_bytes(), vertical.to_be_bytes()].concat();
        children.push(raw_box(*b"pasp", payload));
    }
    Ok(SampleEntry::Av01(Av01Box {
        visual: VisualSampleEntryFields {
            data_reference_index: VisualSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
            // The entry has the size of the coded frames, which an encoder may have padded; `tkhd`
            // has the picture's.
            width: dimension(video, header.max_width)?.get(),
            height: dimension(video, header.max_height)?.get(),
            horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
            vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
            frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
            compressorname: compressor_name(),
            depth: VisualSampleEntryFields::DEFAULT_DEPTH,
        },
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
        unknown_boxes: children,
    }))
}

/// The name that AV1-ISOBMFF §2.2.4 recommends, after its length.
fn compressor_name() -> [u8; 32] {
    let mut name = [0; 32];
    name[..11].copy_from_slice(b"\x0aAOM Coding");
    name
}

/// Returns the colours to write, if any, and refuses ones that the sequence header contradicts.
fn checked_color(video: &VideoTrack, header: &SequenceHeader) -> Result<Option<Nclx>, MuxError> {
    let header = Nclx::from(header.color);
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

/// Describes AAC frames (ISO/IEC 14496-14 §6.7).
fn aac_entry(audio: &AudioTrack, config: &[u8]) -> SampleEntry {
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
                    object_type_indication:
                        DecoderConfigDescriptor::OBJECT_TYPE_INDICATION_AUDIO_ISO_IEC_14496_3,
                    stream_type: DecoderConfigDescriptor::STREAM_TYPE_AUDIO,
                    up_stream: DecoderConfigDescriptor::UP_STREAM_FALSE,
                    buffer_size_db: Uint::new(0),
                    max_bitrate: 0,
                    avg_bitrate: 0,
                    dec_specific_info: Some(DecoderSpecificInfo {
                        payload: config.to_vec(),
                    }),
                },
                sl_config_descr: SlConfigDescriptor,
            },
        },
        unknown_boxes: Vec::new(),
    })
}
