//! Initialisation and media segments: every byte in snapshots, their meaning as another library
//! reads it.

mod common;

use std::fmt::Write;

use common::{AOM, SVT, SVT_PQ, aac, opus, pictures, shared_video, sound, video};
use mp4_atom::{Any, Atom, Codec, Colr, Decode, Moof, Moov, Sidx, Styp};
use rungs_package::cmaf::{MuxError, init_segment, media_segment};
use rungs_package::track::{
    AudioCodec, AudioTrack, ContentLight, Light, MasteringDisplay, Nclx, Segment, Track, VideoTrack,
};

/// Boxes whose payload is boxes, after this many bytes of their own.
const CONTAINERS: &[(&str, usize)] = &[
    ("moov", 0),
    ("trak", 0),
    ("edts", 0),
    ("mdia", 0),
    ("minf", 0),
    ("dinf", 0),
    ("dref", 8),
    ("stbl", 0),
    ("stsd", 8),
    ("av01", 78),
    ("Opus", 28),
    ("mp4a", 28),
    ("mvex", 0),
    ("moof", 0),
    ("traf", 0),
];

/// Lists boxes: name, size, and the bytes that are no boxes.
fn dump(mut bytes: &[u8], depth: usize, out: &mut String) {
    while let Some((size, rest)) = bytes.split_first_chunk() {
        let size = u32::from_be_bytes(*size) as usize;
        let name = std::str::from_utf8(&rest[..4]).unwrap();
        let payload = &bytes[8..size];
        let container = CONTAINERS.iter().find(|(container, _)| *container == name);
        let own = container.map_or(payload.len(), |&(_, own)| own);
        write!(out, "{:width$}{name} {size}", "", width = 2 * depth).unwrap();
        if own > 0 {
            out.push(':');
        }
        for word in payload[..own].chunks(4) {
            out.push(' ');
            for byte in word {
                write!(out, "{byte:02x}").unwrap();
            }
        }
        out.push('\n');
        dump(&payload[own..], depth + 1, out);
        bytes = &bytes[size..];
    }
    assert!(bytes.is_empty(), "bytes after the last box");
}

fn dumped(bytes: &[u8]) -> String {
    let mut out = String::new();
    dump(bytes, 0, &mut out);
    out
}

/// Reads a file with the other library.
fn atoms(mut bytes: &[u8]) -> Vec<Any> {
    let mut atoms = Vec::new();
    while !bytes.is_empty() {
        atoms.push(Any::decode(&mut bytes).unwrap());
    }
    atoms
}

fn moov(track: &Track) -> Moov {
    let mut atoms = atoms(&init_segment(track).unwrap());
    assert_eq!(atoms.len(), 2);
    let Some(Any::Moov(moov)) = atoms.pop() else {
        panic!("no moov")
    };
    moov
}

fn codec(track: &Track) -> Codec {
    moov(track).trak[0].mdia.minf.stbl.stsd.codecs[0].clone()
}

/// The parts of a media segment, and the bytes that the run says are the samples'.
fn parts(track: &Track, segment: &Segment) -> (Sidx, Moof, Vec<Vec<u8>>) {
    let bytes = media_segment(track, 7, segment).unwrap();
    let mut rest = bytes.as_slice();
    Styp::decode(&mut rest).unwrap();
    let sidx = Sidx::decode(&mut rest).unwrap();
    let referenced = rest;
    assert_eq!(
        sidx.references[0].referenced_size as usize,
        referenced.len()
    );
    let moof = Moof::decode(&mut rest).unwrap();
    let run = &moof.traf[0].trun[0];
    let mut at = usize::try_from(run.data_offset.unwrap()).unwrap();
    let samples = run.samples.iter().map(|sample| {
        let start = at;
        at += sample.size.unwrap() as usize;
        referenced[start..at].to_vec()
    });
    let samples: Vec<_> = samples.collect();
    assert_eq!(at, referenced.len(), "mdat ends with the last sample");
    (sidx, moof, samples)
}

fn data(segment: &Segment) -> Vec<Vec<u8>> {
    segment
        .samples
        .iter()
        .map(|sample| sample.data.clone())
        .collect()
}

#[test]
fn video_init() {
    let track = Track::Video(video(SVT_PQ).with_pq());
    insta::assert_snapshot!(dumped(&init_segment(&track).unwrap()));
}

#[test]
fn opus_init() {
    let track = Track::Audio(opus(Some("eng")));
    insta::assert_snapshot!(dumped(&init_segment(&track).unwrap()));
}

#[test]
fn aac_init() {
    let track = Track::Audio(aac(Some("pt-BR")));
    insta::assert_snapshot!(dumped(&init_segment(&track).unwrap()));
}

#[test]
fn video_segment() {
    let track = Track::Video(video(SVT));
    let bytes = media_segment(&track, 3, &pictures(SVT, 96, 3)).unwrap();
    insta::assert_snapshot!(dumped(&bytes));
}

#[test]
fn opus_segment() {
    let track = Track::Audio(opus(None));
    let bytes = media_segment(&track, 1, &sound(0, 3, 960)).unwrap();
    insta::assert_snapshot!(dumped(&bytes));
}

trait Pq {
    fn with_pq(self) -> Self;
}

impl Pq for VideoTrack {
    fn with_pq(self) -> Self {
        let color = Nclx {
            primaries: 9,
            transfer: 16,
            matrix: 9,
            full_range: false,
        };
        Self {
            color: Some(color),
            ..self
        }
    }
}

#[test]
fn av1c_matches_the_sequence_header() {
    let Codec::Av01(entry) = codec(&Track::Video(video(SVT_PQ).with_pq())) else {
        panic!()
    };
    assert_eq!((entry.visual.width, entry.visual.height), (320, 180));
    assert_eq!(entry.av1c.config_obus, SVT_PQ);
    assert!(entry.av1c.high_bitdepth && !entry.av1c.twelve_bit && !entry.av1c.monochrome);
    assert!(entry.av1c.chroma_subsampling_x && entry.av1c.chroma_subsampling_y);
    let Some(Colr::Nclx {
        colour_primaries,
        transfer_characteristics,
        ..
    }) = entry.colr
    else {
        panic!("no nclx")
    };
    assert_eq!((colour_primaries, transfer_characteristics), (9, 16));
    assert!(entry.pasp.is_none());
}

#[test]
fn colors_come_from_the_header_when_the_track_has_none() {
    let pq = Track::Video(VideoTrack {
        color: None,
        ..video(SVT_PQ)
    });
    let Codec::Av01(entry) = codec(&pq) else {
        panic!()
    };
    assert!(matches!(
        entry.colr,
        Some(Colr::Nclx {
            matrix_coefficients: 9,
            ..
        })
    ));
    let unsaid = Track::Video(VideoTrack {
        color: None,
        ..video(SVT)
    });
    let Codec::Av01(entry) = codec(&unsaid) else {
        panic!()
    };
    assert_eq!(entry.colr, None);
}

/// The bytes are those of ISO/IEC 14496-12 §12.1.7 and §12.1.8.
#[test]
fn the_light_of_a_video_is_stated() {
    let track = |light| {
        Track::Video(VideoTrack {
            color: None,
            light,
            ..video(SVT_PQ)
        })
    };
    let light = Light {
        mastering: Some(MasteringDisplay {
            primaries: [[13_250, 34_500], [7500, 3000], [34_000, 16_000]],
            white: [15_635, 16_450],
            max_luminance: 10_000_000,
            min_luminance: 50,
        }),
        content: Some(ContentLight {
            max: 620,
            average: 180,
        }),
    };
    let stated = init_segment(&track(light)).unwrap();
    let silent = init_segment(&track(Light::default())).unwrap();
    let mdcv = b"\0\0\0\x20mdcv\x33\xC2\x86\xC4\x1D\x4C\x0B\xB8\x84\xD0\x3E\x80\x3D\x13\x40\x42\0\x98\x96\x80\0\0\0\x32";
    let clli = b"\0\0\0\x0Cclli\x02\x6C\0\xB4";
    for expected in [&mdcv[..], clli] {
        let there = |bytes: &[u8]| bytes.windows(expected.len()).any(|part| part == expected);
        assert!(there(&stated) && !there(&silent));
    }
    assert_eq!(stated.len(), silent.len() + mdcv.len() + clli.len());
}

#[test]
fn colors_at_odds_with_the_header_are_refused() {
    let error = init_segment(&Track::Video(video(SVT_PQ))).unwrap_err();
    assert!(matches!(error, MuxError::Colors { track, header }
        if track.transfer == 1 && header.transfer == 16));
}

#[test]
fn pixels_that_are_not_square_widen_the_track_and_not_the_frames() {
    let track = Track::Video(VideoTrack {
        pixel_aspect: (4, 3),
        ..video(SVT)
    });
    let moov = moov(&track);
    let header = &moov.trak[0].tkhd;
    assert_eq!(
        (header.width.integer(), header.height.integer()),
        (427, 180)
    );
    let Codec::Av01(entry) = &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] else {
        panic!()
    };
    assert_eq!(entry.visual.width, 320);
    let pasp = entry.pasp.as_ref().unwrap();
    assert_eq!((pasp.h_spacing, pasp.v_spacing), (4, 3));
}

#[test]
fn padded_frames_show_the_picture_s_size() {
    let track = Track::Video(VideoTrack {
        height: 178,
        ..video(SVT)
    });
    let moov = moov(&track);
    assert_eq!(moov.trak[0].tkhd.height.integer(), 178);
    let Codec::Av01(entry) = &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] else {
        panic!()
    };
    assert_eq!(entry.visual.height, 180);
}

#[test]
fn priming_is_cut_by_the_edit_list() {
    let moov = moov(&Track::Audio(opus(Some("ger"))));
    let edits = moov.trak[0].edts.as_ref().unwrap().elst.as_ref().unwrap();
    assert_eq!(
        (
            edits.entries[0].media_time,
            edits.entries[0].segment_duration
        ),
        (Some(312), 0)
    );
    assert_eq!(moov.trak[0].mdia.mdhd.language, "deu");
    let Codec::Opus(entry) = &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] else {
        panic!()
    };
    assert_eq!(
        (entry.dops.pre_skip, entry.dops.output_channel_count),
        (312, 2)
    );
    assert!(self::moov(&Track::Video(video(SVT))).trak[0].edts.is_none());
}

#[test]
fn surround_keeps_its_channel_mapping() {
    let head = b"OpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\x01\x04\x02\0\x04\x01\x02\x03\x05";
    let codec = self::codec(&Track::Audio(AudioTrack {
        codec: AudioCodec::Opus {
            head: head.to_vec(),
        },
        channels: 6,
        ..opus(None)
    }));
    let Codec::Opus(entry) = codec else { panic!() };
    let mapping = entry.dops.channel_mapping.unwrap();
    assert_eq!((mapping.stream_count, mapping.coupled_count), (4, 2));
    assert_eq!(mapping.channel_mapping, [0, 4, 1, 2, 3, 5]);
}

#[test]
fn aac_has_its_configuration() {
    let Codec::Mp4a(entry) = codec(&Track::Audio(aac(None))) else {
        panic!()
    };
    let config = &entry.esds.es_desc.dec_config;
    assert_eq!(config.object_type_indication, 0x40);
    // AAC-LC, frequency index 3 (48 kHz), two channels.
    let specific = config.dec_specific.as_ref().unwrap();
    assert_eq!(
        (specific.profile, specific.freq_index, specific.chan_conf),
        (2, 3, 2)
    );
}

#[test]
fn a_segment_starts_at_its_own_time() {
    let track = Track::Video(video(SVT));
    let segment = pictures(SVT, u64::from(u32::MAX), 5);
    let (sidx, moof, samples) = parts(&track, &segment);
    assert_eq!(samples, data(&segment));
    assert_eq!(moof.mfhd.sequence_number, 7);
    let time = u64::from(u32::MAX) * 1000;
    assert_eq!(
        moof.traf[0].tfdt.as_ref().unwrap().base_media_decode_time,
        time
    );
    assert_eq!(sidx.earliest_presentation_time, time);
    assert_eq!(sidx.timescale, 24_000);
    assert_eq!(sidx.references[0].subsegment_duration, 5000);
    assert!(sidx.references[0].starts_with_sap);
}

#[test]
fn sound_is_presented_after_its_priming() {
    let track = Track::Audio(opus(None));
    let (first, moof, _) = parts(&track, &sound(0, 50, 960));
    assert_eq!(
        moof.traf[0].tfdt.as_ref().unwrap().base_media_decode_time,
        0
    );
    assert_eq!(first.earliest_presentation_time, 0);
    assert_eq!(first.references[0].subsegment_duration, 50 * 960 - 312);
    let (second, moof, samples) = parts(&track, &sound(50, 50, 960));
    assert_eq!(
        moof.traf[0].tfdt.as_ref().unwrap().base_media_decode_time,
        48_000
    );
    assert_eq!(second.earliest_presentation_time, 48_000 - 312);
    assert_eq!(second.references[0].subsegment_duration, 48_000);
    assert_eq!(samples.len(), 50);
}

#[test]
fn only_key_samples_are_sync_samples() {
    const SYNC: u32 = 0x0200_0000;
    const NON_SYNC: u32 = 0x0101_0000;
    let flags = |moof: &Moof| -> Vec<u32> {
        let default = moof.traf[0].tfhd.default_sample_flags.unwrap();
        moof.traf[0].trun[0]
            .samples
            .iter()
            .map(|sample| sample.flags.unwrap_or(default))
            .collect()
    };
    let track = Track::Video(video(SVT));
    let (_, moof, _) = parts(&track, &pictures(SVT, 0, 4));
    assert_eq!(flags(&moof), [SYNC, NON_SYNC, NON_SYNC, NON_SYNC]);
    let mut two = pictures(SVT, 0, 4);
    two.samples[2].key = true;
    let (_, moof, _) = parts(&track, &two);
    assert_eq!(flags(&moof), [SYNC, NON_SYNC, SYNC, NON_SYNC]);
    let (_, moof, _) = parts(&Track::Audio(opus(None)), &sound(0, 3, 960));
    assert_eq!(flags(&moof), [SYNC, SYNC, SYNC]);
}

#[test]
fn unequal_durations_are_each_told() {
    let durations = |segment: &Segment| -> Vec<u32> {
        let (_, moof, _) = parts(&Track::Video(video(SVT)), segment);
        let default = moof.traf[0].tfhd.default_sample_duration;
        let samples = moof.traf[0].trun[0].samples.iter();
        samples
            .map(|sample| sample.duration.or(default).unwrap())
            .collect()
    };
    let mut segment = pictures(SVT, 0, 3);
    assert_eq!(durations(&segment), [1000, 1000, 1000]);
    segment.samples[2].duration = 1500;
    assert_eq!(durations(&segment), [1000, 1000, 1500]);
}

#[test]
fn what_cannot_be_muxed_is_refused() {
    let track = Track::Video(video(SVT));
    let none = Segment {
        decode_time: 0,
        samples: Vec::new(),
    };
    assert_eq!(media_segment(&track, 1, &none), Err(MuxError::NoSamples));
    let mut long = pictures(SVT, 0, 2);
    long.samples[0].duration = u32::MAX;
    assert!(matches!(
        media_segment(&track, 1, &long),
        Err(MuxError::TooLarge { .. })
    ));
    let unscaled = Track::Video(VideoTrack {
        timescale: 0,
        ..video(SVT)
    });
    assert_eq!(init_segment(&unscaled), Err(MuxError::NoTimescale));
    let wide = Track::Video(VideoTrack {
        width: 65_536,
        ..video(SVT)
    });
    assert_eq!(
        init_segment(&wide),
        Err(MuxError::Dimensions {
            width: 65_536,
            height: 180
        })
    );
    let late = Track::Audio(AudioTrack {
        priming: 65_536,
        ..opus(None)
    });
    assert_eq!(
        init_segment(&late),
        Err(MuxError::Priming { ticks: 65_536 })
    );
}

#[test]
fn equal_input_gives_equal_bytes() {
    let track = Track::Video(video(SVT));
    let segment = pictures(SVT, 48, 48);
    assert_eq!(init_segment(&track), init_segment(&track.clone()));
    assert_eq!(
        media_segment(&track, 1, &segment),
        media_segment(&track, 1, &segment.clone())
    );
    // The brands are the first thing a reader sees.
    let bytes = init_segment(&track).unwrap();
    let ftyp = mp4_atom::Ftyp::decode(&mut bytes.as_slice()).unwrap();
    assert_eq!(mp4_atom::Ftyp::KIND.to_string(), "ftyp");
    for brand in [b"cmfc", b"iso6", b"av01"] {
        assert!(ftyp.compatible_brands.contains(&brand.into()), "{brand:?}");
    }
}

#[test]
fn each_of_several_headers_has_a_sample_entry() {
    let shared = Track::Video(shared_video(&[SVT, AOM]));
    let entries = moov(&shared).trak[0].mdia.minf.stbl.stsd.codecs.clone();
    let obus = entries.iter().map(|entry| match entry {
        Codec::Av01(entry) => entry.av1c.config_obus.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(obus.collect::<Vec<_>>(), [SVT, AOM]);
    assert_eq!(entries[0].clone(), codec(&Track::Video(video(SVT))));
    for (header, index) in [(SVT, 1), (AOM, 2)] {
        let (_, moof, samples) = parts(&shared, &pictures(header, 0, 24));
        assert_eq!(moof.traf[0].tfhd.sample_description_index, Some(index));
        assert!(samples[0].starts_with(header));
    }
    assert_eq!(
        shared.codec_string().unwrap(),
        Track::Video(shared_video(&[AOM, SVT]))
            .codec_string()
            .unwrap()
    );
}

#[test]
fn a_single_header_is_not_named() {
    let one = Track::Video(video(SVT));
    let (_, moof, _) = parts(&one, &pictures(SVT, 0, 24));
    assert_eq!(moof.traf[0].tfhd.sample_description_index, None);
}

#[test]
fn headers_that_cannot_share_a_track_are_refused() {
    let error = init_segment(&Track::Video(shared_video(&[SVT, SVT_PQ]))).unwrap_err();
    assert!(
        matches!(error, MuxError::Contract { place: 1, .. }),
        "{error}"
    );
    let none = Track::Video(shared_video(&[]));
    assert_eq!(init_segment(&none).unwrap_err(), MuxError::NoHeader);
    let twice = Track::Video(shared_video(&[SVT, SVT]));
    let error = media_segment(&twice, 1, &pictures(AOM, 0, 24)).unwrap_err();
    assert_eq!(error, MuxError::UnknownHeader { entries: 2 });
}
