//! Parameter sets and access units of real encoders through the readers of H.264 and HEVC, and damaged ones.

use proptest::prelude::*;
use rungs_package::av1::ColorConfig;
use rungs_package::coding::{Coding, CodingError, VideoCodec};
use rungs_package::nal::{AvcConfiguration, Family, HevcConfiguration, NalError};

/// x264: High, 322x182 cropped from 336x192, BT.709, two pictures reordered.
const X264: &[u8] = b"\0\0\0\x01\x67\x64\0\x0d\xac\xd9\x41\x51\x9e\x22\x6c\x05\xa8\x08\x08\x0a\0\0\x03\0\x02\0\0\x03\0\x64\x1e\x28\x53\x2c\0\0\0\x01\x68\xeb\xe3\xcb\x22\xc0";
/// x264: Baseline, which says neither format nor colours.
const X264_BASELINE: &[u8] = b"\0\0\0\x01\x67\x42\xc0\x0d\xd9\x01\x51\x9e\x22\x6c\x04\x40\0\0\x03\0\x40\0\0\x0c\x83\xc5\x0a\x92\0\0\0\x01\x68\xcb\x83\xcb\x20";
/// x264 with scaling lists and a buffer model.
const X264_BUFFERED: &[u8] = b"\0\0\0\x01\x67\x64\0\x0d\xac\xd9\x41\x51\x9e\x22\x6c\x05\xa8\x08\x08\x0a\0\0\x03\0\x02\0\0\x03\0\x64\xc0\x80\x03\xd0\x80\0\xf4\x25\x36\x18\x03\xc5\x0a\x65\x80\0\0\0\x01\x68\xeb\xec\xb3\0\x2c";
/// x265: Main, 322x182, BT.709.
const X265: &[u8] = b"\0\0\0\x01\x40\x01\x0c\x01\xff\xff\x01\x60\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\x95\x98\x09\0\0\0\x01\x42\x01\x01\x01\x60\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\xa0\x0a\x48\x0b\x9c\x95\x96\x56\x69\x24\xca\xf0\x16\xa0\x20\x20\x20\x80\0\0\x03\0\x80\0\0\x0c\x84\0\0\0\x01\x44\x01\xc1\x72\xb4\x62\x40";
/// x265: Main 10, BT.2020 with PQ, and a buffer model.
const X265_PQ: &[u8] = b"\0\0\0\x01\x40\x01\x0c\x01\xff\xff\x02\x20\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\x95\x98\x09\0\0\0\x01\x42\x01\x01\x02\x20\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\xa0\x0a\x48\x0b\x9c\x94\xd9\x65\x66\x92\x4c\xaf\x01\x6a\x12\x20\x12\x08\0\0\x03\0\x08\0\0\x03\0\xcb\0\xa4\xb2\xf0\0\x7a\x12\0\x0f\x42\x44\0\0\0\x01\x44\x01\xc1\x72\xb4\x62\x40";

const fn color(primaries: u8, transfer: u8, matrix: u8) -> ColorConfig {
    ColorConfig {
        primaries,
        transfer,
        matrix,
        full_range: false,
    }
}

#[test]
fn what_x264_says_is_read() {
    let high = AvcConfiguration::parse(X264).unwrap();
    assert_eq!(high.codec_string(), "avc1.64000d");
    assert_eq!(high.samples.size, (322, 182));
    assert_eq!((high.samples.chroma_format, high.samples.luma_bits), (1, 8));
    assert_eq!(high.samples.color, color(1, 1, 1));
    assert_eq!(high.samples.reordered, 2);
    assert_eq!(high.byte_stream(), X264);
    let baseline = AvcConfiguration::parse(X264_BASELINE).unwrap();
    assert_eq!(baseline.codec_string(), "avc1.42c00d");
    assert_eq!(baseline.samples.size, (322, 182));
    assert_eq!(baseline.samples.color, color(2, 2, 2));
    assert_eq!(baseline.samples.reordered, 0);
    let buffered = AvcConfiguration::parse(X264_BUFFERED).unwrap();
    assert_eq!(buffered.samples, high.samples);
}

#[test]
fn what_x265_says_is_read() {
    let main = HevcConfiguration::parse(X265).unwrap();
    assert_eq!(main.codec_string(), "hvc1.1.6.L60.90");
    assert_eq!(main.samples.size, (322, 182));
    assert_eq!(main.samples.color, color(1, 1, 1));
    assert_eq!(main.samples.reordered, 2);
    assert_eq!((main.temporal_layers, main.temporal_nesting), (1, true));
    assert_eq!(main.byte_stream(), X265);
    let pq = HevcConfiguration::parse(X265_PQ).unwrap();
    assert_eq!(pq.codec_string(), "hvc1.2.4.L60.90");
    assert_eq!((pq.samples.luma_bits, pq.samples.chroma_bits), (10, 10));
    assert_eq!(pq.samples.color, color(9, 16, 9));
}

#[test]
fn a_codec_string_has_as_many_constraint_bytes_as_say_something() {
    let mut sets = HevcConfiguration::parse(X265).unwrap();
    sets.general.constraints = 0xb0_00_00_08_00_00;
    sets.general.high_tier = true;
    sets.general.profile_space = 2;
    assert_eq!(sets.codec_string(), "hvc1.B1.6.H60.B0.0.0.8");
    sets.general.constraints = 0;
    assert_eq!(sets.codec_string(), "hvc1.B1.6.H60");
}

#[test]
fn renditions_are_shared_by_equal_parameter_sets_only() {
    let coding = |codec, stream| Coding::parse(codec, [stream]).unwrap();
    let high = coding(VideoCodec::Avc, X264);
    assert_eq!(high.difference(&high), None);
    let other = high.difference(&coding(VideoCodec::Avc, X264_BASELINE));
    assert_eq!(other.unwrap(), "profile 100/0 is not profile 66/192");
    let buffered = high.difference(&coding(VideoCodec::Avc, X264_BUFFERED));
    assert_eq!(
        buffered.unwrap(),
        "the parameter sets are not the same bytes"
    );
    let hevc = coding(VideoCodec::Hevc, X265);
    assert_eq!(high.difference(&hevc).unwrap(), "H.264 is not HEVC");
    let pq = hevc.difference(&coding(VideoCodec::Hevc, X265_PQ)).unwrap();
    assert!(pq.starts_with("profile 1/60000000/"), "{pq}");
    let two = Coding::parse(VideoCodec::Avc, [X264, X264_BUFFERED]);
    assert!(matches!(two, Err(CodingError::Unlike { .. })));
    assert_eq!(
        Coding::parse(VideoCodec::Hevc, []),
        Err(CodingError::NoConfiguration)
    );
}

#[test]
fn a_sample_has_lengths_and_nothing_dispensable() {
    // A delimiter, both parameter sets, what the encoder says of itself, closed captions, two slices, filler.
    let captions = [0, 0, 1, 6, 4, 1, 0x80];
    let unit = [
        &[0, 0, 0, 1, 9, 0x10][..],
        X264,
        &[0, 0, 1, 6, 5, 2, 7, 7, 0x80],
        &captions,
        &[0, 0, 1, 0x65, 0x88, 0, 0, 3, 1, 0, 0, 0, 1, 0x65, 0x99],
        &[0, 0, 1, 12, 0xff, 0x80],
    ]
    .concat();
    let sample = Family::Avc.sample_from_access_unit(&unit).unwrap();
    let expected = [
        &[0, 0, 0, 4, 6, 4, 1, 0x80][..],
        &[0, 0, 0, 6, 0x65, 0x88, 0, 0, 3, 1],
        &[0, 0, 0, 2, 0x65, 0x99],
    ];
    assert_eq!(sample, expected.concat());
    assert_eq!(Family::Avc.is_idr(&sample), Ok(true));
    assert_eq!(Family::Avc.is_idr(&[0, 0, 0, 2, 0x41, 1]), Ok(false));
    // An IDR picture with leading ones, a clean random access picture, a trailing picture.
    for (kind, idr) in [(19, true), (20, true), (21, false), (1, false)] {
        let sample = [0, 0, 0, 3, kind << 1, 1, 7];
        assert_eq!(Family::Hevc.is_idr(&sample), Ok(idr), "{kind}");
    }
}

#[test]
fn parameter_sets_on_the_way_are_compared() {
    let coding = Coding::parse(VideoCodec::Avc, [X264]).unwrap();
    let slice = [0, 0, 1, 0x65, 0x88];
    let stray = |sets: &[u8]| coding.stray_parameter_set(&[sets, &slice].concat());
    assert_eq!(stray(&[]), Ok(None));
    assert_eq!(stray(X264), Ok(None));
    assert!(stray(X264_BUFFERED).unwrap().is_some());
}

#[test]
fn what_is_no_access_unit_is_refused() {
    let sample = |unit: &[u8]| Family::Avc.sample_from_access_unit(unit);
    assert_eq!(sample(&[]), Err(NalError::NoStartCode));
    assert_eq!(sample(&[1, 0, 0, 1, 0x65]), Err(NalError::NoStartCode));
    assert_eq!(sample(X264), Err(NalError::Empty));
    assert_eq!(
        sample(&[0, 0, 1, 0, 0, 1, 0x65]),
        Err(NalError::EmptyUnit { place: 0 })
    );
    let idr = |sample: &[u8]| Family::Avc.is_idr(sample);
    assert_eq!(idr(&[0, 0, 0, 9, 0x65]), Err(NalError::Cut { at: 0 }));
    assert_eq!(idr(&[0, 0, 0, 0]), Err(NalError::Cut { at: 0 }));
    assert_eq!(idr(&[0, 0, 0, 1, 6]), Err(NalError::Empty));
    let picture = "picture parameter set";
    assert_eq!(
        AvcConfiguration::parse(&X264[..X264.len() - 11]),
        Err(NalError::Missing { what: picture })
    );
    let twice = [X264, X264].concat();
    assert!(matches!(
        AvcConfiguration::parse(&twice),
        Err(NalError::TooMany { count: 2, .. })
    ));
    assert!(matches!(
        HevcConfiguration::parse(X264),
        Err(NalError::Missing { .. })
    ));
}

proptest! {
    #[test]
    fn damage_gives_an_error_or_a_value(
        at in 4_usize..100, byte in any::<u8>(), cut in 0_usize..100
    ) {
        for stream in [X264, X264_BASELINE, X264_BUFFERED, X265, X265_PQ] {
            let mut bytes = stream.to_vec();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = AvcConfiguration::parse(&bytes);
            let _ = HevcConfiguration::parse(&bytes);
            for family in [Family::Avc, Family::Hevc] {
                let _ = family.sample_from_access_unit(&bytes);
                let _ = family.is_idr(&bytes);
            }
        }
    }
}
