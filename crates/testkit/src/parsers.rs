//! Every parser of the project's own, as a function of any bytes: what the fuzzers call for hours, and the tests for a moment.
//!
//! None may panic. Where a parser has a writer, what was read is written and read again, and has to be the same; and what a parser
//! makes for a reader downstream has to be what that reader can take.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use rungs_engine::choice::TrackChoice;
use rungs_engine::journal::JobRecord;
use rungs_engine::ladder::{Rung, bits_a_second};
use rungs_engine::picture::{FrameRate, OverlaySpec};
use rungs_engine::policy::Wanted;
use rungs_engine::window::Moment;
use rungs_media::filters::Chain;
use rungs_media::subtitle::webvtt;
use rungs_package::Digest;
use rungs_package::av1::{SequenceHeader, sample_from_temporal_unit, sequence_headers};
use rungs_package::cmaf::{init_segment, read_segment};
use rungs_package::dolby::{ac3_bit_rate, ac3_config, eac3_bit_rate, eac3_config};
use rungs_package::language::bcp47;
use rungs_package::mp3;
use rungs_package::mp4::{MediaTrack, front};
use rungs_package::nal::{AvcConfiguration, Family, HevcConfiguration};
use rungs_package::track::{AudioCodec, AudioTrack, Track};

/// A parser by name.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    /// The name of its fuzz target.
    pub name: &'static str,
    /// Parses bytes, and panics where it must not.
    pub run: fn(&[u8]),
    /// Bytes that it takes, as a start for mutations.
    pub example: &'static [u8],
}

/// A sequence header of SVT-AV1: an OBU with its size, 64×64, 8 bits.
const AV1: &[u8] = &[
    0x0A, 0x0A, 0x00, 0x00, 0x00, 0x02, 0xAF, 0xFF, 0x9B, 0x5F, 0x30, 0x08,
];
/// Parameter sets of x264: High profile, level 1.0.
const AVC: &[u8] = &[
    0, 0, 0, 1, 0x67, 0x64, 0x00, 0x0A, 0xAC, 0xD9, 0x46, 0x44, 0x26, 0xC0, 0x44, 0x00, 0x00, 0x03,
    0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xC8, 0x3C, 0x48, 0x96, 0x58, 0, 0, 0, 1, 0x68, 0xEB, 0xE3,
    0xCB, 0x22, 0xC0, 0, 0, 1, 0x65, 0x88, 0x84, 0x00,
];
/// Parameter sets of x265: Main profile.
const HEVC: &[u8] = &[
    0, 0, 0, 1, 0x40, 0x01, 0x0C, 0x01, 0xFF, 0xFF, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00,
    0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x1E, 0x95, 0x98, 0x09, 0, 0, 0, 1, 0x42, 0x01, 0x01, 0x01,
    0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x1E, 0xA0, 0x20,
    0x81, 0x05, 0x96, 0x56, 0x69, 0x24, 0xCA, 0xE0, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00,
    0x03, 0x01, 0x90, 0x80, 0, 0, 0, 1, 0x44, 0x01, 0xC1, 0x72, 0xB4, 0x62, 0x40,
];
const SEGMENT: &[u8] = b"\0\0\0\x10stypcmfs\0\0\0\0\0\0\0\x0csidx\0\0\0\0\0\0\0\x18moof\0\0\0\x10mfhd\0\0\0\0\0\0\0\x01\0\0\0\x08mdat";

/// All of them.
pub const PARSERS: [Parser; 14] = [
    parser("av1_sequence", av1_sequence, AV1),
    parser("av1_unit", av1_unit, AV1),
    parser("avc", avc, AVC),
    parser("hevc", hevc, HEVC),
    parser("nal_units", nal_units, AVC),
    parser(
        "dolby",
        dolby,
        &[0x0B, 0x77, 0x12, 0x34, 0x14, 0x40, 0x43, 0xE1],
    ),
    parser("opus", opus, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"),
    parser("aac", aac, &[0x11, 0x90]),
    parser("mp3", mp3, &[0xFF, 0xFB, 0x90, 0x64, 0, 0]),
    parser("segment", segment, SEGMENT),
    parser("init", init, b"\0\0\0\x10moov\0\0\0\x08trak"),
    parser(
        "subtitle",
        subtitle,
        br"0,0,Default,,0,0,0,,{\i1}Who?{\i0}\NMe & <b>{\an8\p1}m 0 0{\p0}",
    ),
    parser("words", words, b"720p@crf=40"),
    parser(
        "record",
        record,
        br#"{"version":1,"made_by":{},"source":{},"spec":{},"plan":{}}"#,
    ),
];

const fn parser(name: &'static str, run: fn(&[u8]), example: &'static [u8]) -> Parser {
    Parser { name, run, example }
}

/// Runs the parser of this name.
///
/// # Panics
/// When there is none, or when it finds something wrong.
pub fn run(name: &str, data: &[u8]) {
    let found = PARSERS.iter().find(|parser| parser.name == name);
    (found.expect("a parser of this name").run)(data);
}

fn av1_sequence(data: &[u8]) {
    let Ok(header) = SequenceHeader::parse(data) else {
        return;
    };
    assert!(header.codec_string().starts_with("av01."));
    assert_eq!(header.contract().difference(&header.contract()), None);
}

fn av1_unit(data: &[u8]) {
    if let Ok(headers) = sequence_headers(data) {
        assert!(
            headers
                .iter()
                .all(|header| header.codec_string().starts_with("av01."))
        );
    }
    if let Ok(sample) = sample_from_temporal_unit(data) {
        // What goes into a file can be read out of it again, and nothing is left to take out.
        assert_eq!(sample_from_temporal_unit(&sample), Ok(sample));
    }
}

fn avc(data: &[u8]) {
    if let Ok(configuration) = AvcConfiguration::parse(data) {
        assert!(configuration.codec_string().starts_with("avc1."));
        let again = AvcConfiguration::parse(&configuration.byte_stream());
        assert_eq!(again.as_ref(), Ok(&configuration));
        assert_eq!(configuration.difference(&configuration), None);
    }
}

fn hevc(data: &[u8]) {
    if let Ok(configuration) = HevcConfiguration::parse(data) {
        assert!(configuration.codec_string().starts_with("hvc1."));
        let again = HevcConfiguration::parse(&configuration.byte_stream());
        assert_eq!(again.as_ref(), Ok(&configuration));
        assert_eq!(configuration.difference(&configuration), None);
    }
}

fn nal_units(data: &[u8]) {
    for family in [Family::Avc, Family::Hevc] {
        family.parameter_sets(data).ok();
        family.is_idr(data).ok();
        if let Ok(sample) = family.sample_from_access_unit(data) {
            family
                .is_idr(&sample)
                .expect("lengths that were just written add up");
        }
    }
}

fn dolby(data: &[u8]) {
    if let Ok(config) = ac3_config(data) {
        assert!(ac3_bit_rate(&config).is_some());
    }
    if let Ok(config) = eac3_config(data) {
        assert!(eac3_bit_rate(&config).is_some());
    }
    // Any bytes are a question that has an answer.
    let _ = (ac3_bit_rate(data), eac3_bit_rate(data));
}

fn sound(codec: AudioCodec) {
    let track = Track::Audio(AudioTrack {
        codec,
        sample_rate: 48_000,
        channels: 2,
        timescale: 48_000,
        priming: 312,
        language: None,
    });
    track.codec_string().ok();
    init_segment(&track).ok();
}

fn opus(data: &[u8]) {
    sound(AudioCodec::Opus {
        head: data.to_vec(),
    });
}

fn aac(data: &[u8]) {
    sound(AudioCodec::Aac {
        config: data.to_vec(),
    });
}

fn mp3(data: &[u8]) {
    let Ok(header) = mp3::Header::of(data) else {
        return;
    };
    assert!(header.goes_on_as(&header) && header.bytes > 4);
    let start = data.first_chunk().expect("a header was read");
    let silence = mp3::silence(*start).expect("it has a length");
    let again = mp3::Header::of(&silence).expect("silence is a frame");
    assert!(again.goes_on_as(&header) && silence.len() <= header.bytes);
}

fn segment(data: &[u8]) {
    read_segment(data).ok();
    front(&mut &data[..]).ok();
}

/// An initialisation segment with a segment behind it; the first two bytes say where one ends and the other begins.
fn init(data: &[u8]) {
    MediaTrack::new(data).ok();
    let Some((&[high, low], rest)) = data.split_first_chunk() else {
        return;
    };
    let at = usize::from(u16::from_be_bytes([high, low])) % (rest.len() + 1);
    let (head, body) = rest.split_at(at);
    if let Ok(mut track) = MediaTrack::new(head) {
        track.push(0, body).ok();
        track.push(1, body).ok();
    }
}

fn subtitle(data: &[u8]) {
    let (text, settings) = webvtt(&String::from_utf8_lossy(data));
    // Any of these would end the cue, or begin another one.
    assert!(!text.contains("-->") && !settings.contains(['\n', '\r', '>']));
    assert!(
        text.is_empty() || text.lines().all(|line| !line.trim().is_empty()),
        "{text:?}"
    );
    assert_eq!(text.matches("<i>").count(), text.matches("</i>").count());
}

/// Everything that is typed.
fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    again::<Rung>(&text);
    again::<TrackChoice>(&text);
    again::<FrameRate>(&text);
    again::<OverlaySpec>(&text);
    again::<Chain>(&text);
    again::<Digest>(&text);
    text.parse::<Wanted>().ok();
    text.parse::<Moment>().ok();
    bits_a_second(&text).ok();
    if let Some(tag) = bcp47(&text) {
        assert_eq!(bcp47(&tag).as_ref(), Some(&tag));
    }
}

/// What was read, and written, is read as the same again.
fn again<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let told = value.to_string();
        let same = told.parse::<T>().ok();
        assert_eq!(same.as_ref(), Some(&value), "{text:?} became {told:?}");
    }
}

fn record(data: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<JobRecord>(data) {
        assert_eq!(record.difference(&record), None);
        let text = serde_json::to_vec(&record).expect("a record is JSON");
        serde_json::from_slice::<JobRecord>(&text).expect("it was just written");
    }
}
