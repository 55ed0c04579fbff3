//! Sequence headers: those of real encoders, held against what FFmpeg's `trace_headers` says of
//! them, and made-up ones, held against the box library's reader. Temporal units and the samples
//! that they become.

mod common;

use common::{AOM, SVT, SVT_PQ};
use proptest::prelude::*;
use rungs_package::av1::{
    Av1Error, ColorConfig, SequenceHeader, sample_from_temporal_unit, sequence_headers,
};
use shiguredo_mp4::bitstream::av1::parse_sequence_header;

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Encoders, their headers and codec strings.
const REAL: &[(&str, &str, &str)] = &[
    (
        "SVT-AV1",
        "0a0b000000043cfeccfbf90040",
        "av01.0.00M.08.0.110.02.02.02.0",
    ),
    (
        "SVT-AV1 PQ",
        "0a0e000000043cfeccfbf95091009040",
        "av01.0.00M.10.0.110.09.16.09.0",
    ),
    (
        "SVT-AV1 1080p",
        "0a0e00000042abbfc373efe440404041",
        "av01.0.08M.08.0.110.01.01.01.0",
    ),
    (
        "SVT-AV1 2160p",
        "0a0c0000006aefbfe1bcfbf90040",
        "av01.0.13M.08.0.110.02.02.02.0",
    ),
    (
        "libaom",
        "0a0b000000043cfeccdaf90040",
        "av01.0.00M.08.0.110.02.02.02.0",
    ),
    (
        "libaom 4:4:4",
        "0a0a200000043cfeccdaf942",
        "av01.1.00M.10.0.000.02.02.02.0",
    ),
    (
        "libaom 4:2:2",
        "0a0b400000043cfeccdaf96220",
        "av01.2.00M.12.0.100.02.02.02.0",
    ),
    (
        "libaom full range",
        "0a0a400000043cfeccdaf909",
        "av01.2.00M.08.0.100.02.02.02.1",
    ),
    (
        "libaom grey",
        "0a0a000000043cfeccdaf92a",
        "av01.0.00M.08.1.110.02.02.02.1",
    ),
    (
        "libaom sRGB",
        "0a0d200000043cfeccdaf92021a004",
        "av01.1.00M.08.0.000.01.13.00.1",
    ),
    (
        "libaom reduced",
        "0a071821e7f66d0040",
        "av01.0.00M.08.0.110.02.02.02.0",
    ),
    (
        "rav1e",
        "0a0e000000fa1e7f66210a88101010a0",
        "av01.0.31M.08.0.110.02.02.02.0",
    ),
];

#[test]
fn real_headers_give_their_codec_strings() {
    for (encoder, bytes, codec) in REAL {
        let bytes = hex(bytes);
        let header = SequenceHeader::parse(&bytes).unwrap();
        assert_eq!(header.codec_string(), *codec, "{encoder}");
        assert_eq!(header.raw, bytes, "{encoder}");
    }
}

#[test]
fn real_headers_give_their_dimensions_and_flags() {
    let uhd = SequenceHeader::parse(&hex("0a0c0000006aefbfe1bcfbf90040")).unwrap();
    assert_eq!((uhd.max_width, uhd.max_height), (3840, 2160));
    assert!(!uhd.film_grain && !uhd.still_picture);

    let grain = SequenceHeader::parse(&hex("0a0b000000043cfeccdaf900c0")).unwrap();
    assert_eq!((grain.max_width, grain.max_height), (320, 180));
    assert!(grain.film_grain);

    let still = SequenceHeader::parse(&hex("0a071821e7f66d0040")).unwrap();
    assert_eq!((still.max_width, still.max_height), (320, 180));
    assert!(still.still_picture);
}

/// The example of AV1-ISOBMFF §5: Main profile, level 4.0, Main tier, 10 bit, BT.2100 PQ.
#[test]
fn the_specification_s_own_codec_string() {
    let pq = SequenceHeader {
        level: 8,
        ..SequenceHeader::parse(SVT_PQ).unwrap()
    };
    assert_eq!(pq.codec_string(), "av01.0.08M.10.0.110.09.16.09.0");
    let high = SequenceHeader {
        level: 13,
        tier: 1,
        chroma_sample_position: 2,
        ..pq
    };
    assert_eq!(high.codec_string(), "av01.0.13H.10.0.112.09.16.09.0");
}

#[test]
fn a_contract_names_the_first_difference() {
    let header = SequenceHeader::parse(SVT).unwrap();
    let contract = header.contract();
    let difference = |change: fn(&mut SequenceHeader)| {
        let mut other = header.clone();
        change(&mut other);
        contract.difference(&other.contract())
    };
    // Coding tools are not part of it: libaom's header has others than SVT-AV1's.
    assert_eq!(
        contract.difference(&SequenceHeader::parse(AOM).unwrap().contract()),
        None
    );
    assert_eq!(difference(|other| other.film_grain = true), None);
    assert_eq!(
        difference(|other| other.level = 9).unwrap(),
        "level 2.0 is not level 4.1"
    );
    assert_eq!(
        difference(|other| other.initial_presentation_delay = Some(10)).unwrap(),
        "no presentation delay is not presentation delay 10"
    );
    assert_eq!(
        difference(|other| other.max_height = 184).unwrap(),
        "320x180 is not 320x184"
    );
    assert_eq!(
        difference(|other| other.color.transfer = 16).unwrap(),
        "colours 2/2/2 limited range is not colours 2/16/2 limited range"
    );
    assert_eq!(
        difference(|other| (other.bit_depth, other.max_width) = (10, 1)).unwrap(),
        "8 bit 4:2:0 is not 10 bit 4:2:0"
    );
    assert_eq!(
        contract.to_string(),
        "profile 0, video, level 2.0, Main tier, 8 bit 4:2:0, colours 2/2/2 limited range, \
         no presentation delay, 320x180"
    );
}

const DELIMITER: &[u8] = &[0x12, 0];
const FRAME: &[u8] = &[0x32, 3, 1, 2, 3];

#[test]
fn a_sample_is_a_temporal_unit_less_what_files_do_not_carry() {
    let padding: &[u8] = &[0x7a, 2, 0, 0x80];
    let tiles: &[u8] = &[0x42, 1, 0];
    let redundant: &[u8] = &[0x3a, 1, 0x80];
    let unit = [DELIMITER, SVT, FRAME, redundant, padding, tiles].concat();
    let sample = sample_from_temporal_unit(&unit).unwrap();
    assert_eq!(sample, [SVT, FRAME].concat());
    assert_eq!(sample_from_temporal_unit(&sample), Ok(sample));
}

#[test]
fn every_obu_of_a_sample_has_a_size() {
    // The same frame with an extension header and without a size, to the end of the data.
    let unit = [DELIMITER, &[0x34, 0x28, 1, 2, 3]].concat();
    assert_eq!(
        sample_from_temporal_unit(&unit).unwrap(),
        [0x36, 0x28, 3, 1, 2, 3]
    );
    // A size in more bytes than it needs.
    assert_eq!(
        sample_from_temporal_unit(&[0x32, 0x83, 0x80, 0, 1, 2, 3]).unwrap(),
        FRAME
    );
}

#[test]
fn a_header_keeps_no_layer() {
    // Type 1 with an extension: temporal layer 1.
    let layered = [&[0x0e, 0x20], &SVT[1..]].concat();
    assert_eq!(SequenceHeader::parse(&layered).unwrap().raw, SVT);
}

#[test]
fn what_is_no_temporal_unit_is_refused() {
    let two = [DELIMITER, FRAME, DELIMITER, FRAME].concat();
    assert_eq!(
        sample_from_temporal_unit(&two),
        Err(Av1Error::SecondTemporalUnit { offset: 7 })
    );
    assert_eq!(sample_from_temporal_unit(&[]), Err(Av1Error::Empty));
    assert_eq!(sample_from_temporal_unit(DELIMITER), Err(Av1Error::Empty));
    let cut = [DELIMITER, &FRAME[..4]].concat();
    assert_eq!(
        sample_from_temporal_unit(&cut),
        Err(Av1Error::TruncatedObu { offset: 2 })
    );
    // An Annex B or MP4 size where an OBU should be.
    assert_eq!(
        sample_from_temporal_unit(&[0x81, 0]),
        Err(Av1Error::NotAnObu { offset: 0 })
    );
}

#[test]
fn headers_are_found_where_they_are() {
    let unit = [DELIMITER, SVT, FRAME, SVT_PQ, FRAME].concat();
    let found = sequence_headers(&unit).unwrap();
    assert_eq!(
        found
            .iter()
            .map(|header| header.bit_depth)
            .collect::<Vec<_>>(),
        [8, 10]
    );
    assert_eq!(SequenceHeader::parse(&unit).unwrap().raw, SVT);
    assert_eq!(sequence_headers(FRAME).unwrap(), []);
    assert_eq!(
        SequenceHeader::parse(FRAME),
        Err(Av1Error::NoSequenceHeader)
    );
    // av1C, which is no row of OBUs.
    assert_eq!(
        SequenceHeader::parse(&[0x81, 0, 0x0c, 0]),
        Err(Av1Error::NotAnObu { offset: 0 })
    );
    assert_eq!(
        SequenceHeader::parse(&[0x0a, 2, 0, 0]),
        Err(Av1Error::TruncatedSequenceHeader)
    );
    assert_eq!(
        SequenceHeader::parse(&[0x0a, 1, 0xe0]),
        Err(Av1Error::Reserved {
            field: "seq_profile",
            value: 7
        })
    );
}

/// Writes bit fields.
#[derive(Default)]
struct Bits {
    bits: Vec<bool>,
}

impl Bits {
    fn put(&mut self, count: u32, value: u32) -> &mut Self {
        self.bits
            .extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn flag(&mut self, value: bool) -> bool {
        self.bits.push(value);
        value
    }

    /// Ends with trailing bits.
    fn bytes(&mut self) -> Vec<u8> {
        self.flag(true);
        let byte = |bits: &[bool]| {
            (0..8).fold(0, |byte, i| {
                byte << 1 | u8::from(bits.get(i) == Some(&true))
            })
        };
        self.bits.chunks(8).map(byte).collect()
    }
}

/// Makes an OBU with a size of a sequence header's payload.
fn obu(payload: &[u8]) -> Vec<u8> {
    let size = payload.len();
    let size = if size < 128 {
        vec![size as u8]
    } else {
        vec![size as u8 | 128, (size >> 7) as u8]
    };
    [&[0x0a], size.as_slice(), payload].concat()
}

/// What a header is made of, besides the fields that are read back.
#[derive(Debug, Clone)]
struct Around {
    reduced: bool,
    equal_interval: Option<u32>,
    timing: bool,
    decoder_model: Option<u32>,
    points: u32,
    tools: u32,
}

fn around() -> impl Strategy<Value = Around> {
    let timing = (
        any::<bool>(),
        prop::option::of(0..u32::MAX),
        prop::option::of(0u32..32),
    );
    let rest = (any::<bool>(), 0u32..32, any::<u32>());
    (timing, rest).prop_map(|((timing, equal_interval, decoder_model), rest)| {
        let (reduced, points, tools) = rest;
        Around {
            reduced,
            equal_interval,
            timing,
            decoder_model,
            points,
            tools,
        }
    })
}

/// Headers whose fields go together.
fn headers() -> impl Strategy<Value = SequenceHeader> {
    let kind = (
        0u8..3,
        any::<bool>(),
        0u8..32,
        0u8..2,
        prop::option::of(1u8..=16),
    );
    let samples = (
        prop::sample::select(vec![8u8, 10, 12]),
        any::<bool>(),
        0u8..4,
        0u8..3,
    );
    let color = (any::<bool>(), any::<[u8; 3]>(), any::<bool>());
    let size = (1u32..=65_536, 1u32..=65_536, any::<bool>());
    (kind, samples, color, size).prop_map(|(kind, samples, color, size)| {
        let (profile, still_picture, level, tier, delay) = kind;
        let (depth, mono, layout, position) = samples;
        let bit_depth = if profile < 2 { depth.min(10) } else { depth };
        let monochrome = mono && profile != 1;
        let (described, [primaries, transfer, matrix], full_range) = color;
        // Matrix 0, the identity, goes with 4:4:4 alone.
        let (primaries, transfer, matrix) = if described {
            (primaries, transfer, matrix.max(1))
        } else {
            (2, 2, 2)
        };
        let (subsampling_x, subsampling_y) = match (profile, bit_depth, layout) {
            _ if monochrome => (true, true),
            (0, ..) | (2, 12, 0) => (true, true),
            (1, ..) | (2, 12, 1) => (false, false),
            _ => (true, false),
        };
        let positioned = subsampling_y && !monochrome;
        SequenceHeader {
            raw: Vec::new(),
            profile,
            still_picture,
            level,
            tier: if level > 7 { tier } else { 0 },
            bit_depth,
            monochrome,
            subsampling_x,
            subsampling_y,
            chroma_sample_position: if positioned { position } else { 0 },
            color: ColorConfig {
                primaries,
                transfer,
                matrix,
                full_range,
            },
            max_width: size.0,
            max_height: size.1,
            initial_presentation_delay: delay,
            film_grain: size.2,
        }
    })
}

fn write_points(bits: &mut Bits, header: &SequenceHeader, around: &Around) {
    if bits.flag(around.timing) {
        bits.put(32, 1001).put(32, 24_000);
        if bits.flag(around.equal_interval.is_some()) {
            // uvlc(): as many zeros as the value and one has bits after the first.
            let value = u64::from(around.equal_interval.unwrap()) + 1;
            let zeros = value.ilog2();
            bits.put(zeros, 0).put(1, 1).put(zeros, value as u32);
        }
        if bits.flag(around.decoder_model.is_some()) {
            bits.put(5, around.decoder_model.unwrap())
                .put(32, 7)
                .put(10, 0x155);
        }
    }
    let delays = bits.flag(header.initial_presentation_delay.is_some());
    bits.put(5, around.points);
    for point in 0..=around.points {
        // The first counts; the others say something else.
        let level = if point == 0 {
            header.level
        } else {
            31 - header.level
        };
        bits.put(12, 0x0101).put(5, level.into());
        if level > 7 {
            bits.put(1, if point == 0 { header.tier.into() } else { 1 });
        }
        if let Some(length) = around.decoder_model.filter(|_| around.timing)
            && bits.flag(point % 2 == 0)
        {
            bits.put(length + 1, u32::MAX).put(length + 1, 0).put(1, 1);
        }
        if delays && bits.flag(point == 0) {
            bits.put(4, u32::from(header.initial_presentation_delay.unwrap()) - 1);
        }
    }
}

fn write_tools(bits: &mut Bits, around: &Around) {
    let mut tools = (0..32).map(|bit| around.tools >> bit & 1 == 1);
    let mut next = || tools.next().unwrap();
    if !around.reduced && bits.flag(around.tools >> 31 == 1) {
        bits.put(7, 0x2a);
    }
    bits.put(3, around.tools >> 20);
    if !around.reduced {
        bits.put(4, around.tools >> 24);
        let order_hint = bits.flag(around.tools >> 30 & 1 == 1);
        if order_hint {
            bits.put(2, around.tools >> 28);
        }
        let screen = bits.flag(next()) || bits.flag(next());
        if screen && !bits.flag(next()) {
            bits.flag(next());
        }
        if order_hint {
            bits.put(3, 6);
        }
    }
    bits.put(3, around.tools >> 16);
}

fn write_color(bits: &mut Bits, header: &SequenceHeader) {
    let ColorConfig {
        primaries,
        transfer,
        matrix,
        full_range,
    } = header.color;
    let high = bits.flag(header.bit_depth > 8);
    if header.profile == 2 && high {
        bits.flag(header.bit_depth == 12);
    }
    if header.profile != 1 {
        bits.flag(header.monochrome);
    }
    if bits.flag((primaries, transfer, matrix) != (2, 2, 2)) {
        bits.put(8, primaries.into())
            .put(8, transfer.into())
            .put(8, matrix.into());
    }
    bits.flag(full_range);
    if header.monochrome {
        return;
    }
    if header.profile == 2 && header.bit_depth == 12 && bits.flag(header.subsampling_x) {
        bits.flag(header.subsampling_y);
    }
    if header.subsampling_x && header.subsampling_y {
        bits.put(2, header.chroma_sample_position.into());
    }
    // separate_uv_delta_q
    bits.flag(true);
}

/// Writes a header's payload as AV1 §5.5.1 reads it.
fn write(header: &SequenceHeader, around: &Around) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(3, header.profile.into());
    bits.flag(header.still_picture);
    if bits.flag(around.reduced) {
        bits.put(5, header.level.into());
    } else {
        write_points(&mut bits, header, around);
    }
    bits.put(4, 15)
        .put(4, 15)
        .put(16, header.max_width - 1)
        .put(16, header.max_height - 1);
    write_tools(&mut bits, around);
    write_color(&mut bits, header);
    bits.flag(header.film_grain);
    bits.bytes()
}

proptest! {
    #[test]
    fn any_header_is_read_back(mut header in headers(), around in around()) {
        if around.reduced {
            header.still_picture = true;
            header.tier = 0;
            header.initial_presentation_delay = None;
        }
        let payload = write(&header, &around);
        header.raw = obu(&payload);
        let read = SequenceHeader::parse(&header.raw);
        prop_assert_eq!(read.as_ref(), Ok(&header));

        let oracle = parse_sequence_header(&payload).unwrap();
        prop_assert_eq!(oracle.seq_profile, header.profile);
        prop_assert_eq!(oracle.monochrome, header.monochrome);
        prop_assert_eq!(oracle.twelve_bit, header.bit_depth == 12);
        prop_assert_eq!(oracle.chroma_subsampling_x, u8::from(header.subsampling_x));
        prop_assert_eq!(oracle.chroma_subsampling_y, u8::from(header.subsampling_y));
        prop_assert_eq!(oracle.chroma_sample_position, header.chroma_sample_position);
        prop_assert_eq!(oracle.max_frame_width, header.max_width);
        prop_assert_eq!(oracle.max_frame_height, header.max_height);
    }

    #[test]
    fn a_header_cut_short_is_an_error(header in headers(), around in around(), cut in 1usize..6) {
        let payload = write(&header, &around);
        // Without the trailing bits the last byte may hold nothing of the header.
        let length = (payload.len() - 1).saturating_sub(cut);
        let cut = obu(&payload[..length]);
        prop_assert_eq!(SequenceHeader::parse(&cut), Err(Av1Error::TruncatedSequenceHeader));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = sequence_headers(&bytes);
        if let Ok(sample) = sample_from_temporal_unit(&bytes) {
            prop_assert_eq!(sample_from_temporal_unit(&sample), Ok(sample));
        }
    }
}
