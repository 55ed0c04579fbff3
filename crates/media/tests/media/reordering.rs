//! Encoders that give pictures in another order than they are shown in: x264 and x265.

use rungs_media::decode::{Received, VideoDecoder};
use rungs_media::encode::{self, Codec, Config, EncodedPacket, Rate, VideoEncoder};
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::hdr::Light;
use rungs_media::time::TimeBase;
use rungs_media::{Color, Packet, Rational};

use crate::clips::{film, frames, psnr};

const TICKS: i64 = 3750;

fn config(encoder: &str) -> Config {
    Config {
        encoder: encoder.to_owned(),
        width: 320,
        height: 180,
        time_base: TimeBase::new(1, 90_000).unwrap(),
        frame_rate: Some(Rational { num: 24, den: 1 }),
        color: Color {
            primaries: 1,
            transfer: 1,
            matrix: 1,
            ..Color::UNSPECIFIED
        },
        gop: 1 << 15,
        threads: 1,
        crf: 25,
        speed: 9,
        depth: BitDepth::Eight,
        light: Light::default(),
        rate: Rate::Quality,
    }
}

/// The encoders that this FFmpeg has.
fn encoders() -> Vec<(Codec, &'static str)> {
    let of = |codec| {
        encode::candidates(codec)
            .into_iter()
            .map(move |name| (codec, name))
    };
    of(Codec::H264).chain(of(Codec::Hevc)).collect()
}

fn encode(config: &Config, frames: &[Frame]) -> (Vec<u8>, Vec<EncodedPacket>) {
    let mut encoder = VideoEncoder::open(config, (&frames[0], 0)).unwrap();
    for (frame, index) in frames.iter().zip(0..).skip(1) {
        encoder.send(frame, index * TICKS).unwrap();
    }
    let packets = encoder.finish().unwrap();
    (encoder.configuration().to_vec(), packets)
}

fn decode(codec: Codec, (sets, packets): &(Vec<u8>, Vec<EncodedPacket>)) -> Vec<Frame> {
    let mut decoder = VideoDecoder::for_encoded(codec, 1).unwrap();
    let mut data: Vec<Vec<u8>> = packets.iter().map(|packet| packet.data.clone()).collect();
    data[0] = [&sets[..], &data[0]].concat();
    let mut data = data.into_iter();
    let mut shown = Vec::new();
    loop {
        match decoder.receive().unwrap() {
            Received::Frame(frame) => shown.push(frame),
            Received::NeedsInput => {
                let packet = data.next().map(|data| Packet::copy_of(&data).unwrap());
                let _ = decoder.send(packet.as_ref()).unwrap();
            }
            Received::End => return shown,
        }
    }
}

#[test]
fn pictures_out_of_order_come_back_in_order() {
    let Some(clip) = film() else { return };
    let frames = frames(&clip.source());
    for (codec, encoder) in encoders() {
        let made = encode(&config(encoder), &frames);
        let packets = &made.1;
        let mut shown: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
        assert!(shown.windows(2).any(|pair| pair[0] > pair[1]), "{encoder}");
        shown.sort_unstable();
        let grid: Vec<i64> = (0..48).map(|n| n * TICKS).collect();
        assert_eq!(shown, grid, "{encoder}");
        assert!(
            packets.windows(2).all(|pair| pair[0].dts < pair[1].dts),
            "{encoder}"
        );
        assert!(
            packets.iter().all(|packet| packet.dts <= packet.pts),
            "{encoder}"
        );
        assert!(
            packets.iter().all(|packet| packet.duration == TICKS),
            "{encoder}"
        );
        let keys: Vec<bool> = packets.iter().map(|packet| packet.key).collect();
        assert_eq!(
            keys,
            (0..48).map(|n| n == 0).collect::<Vec<_>>(),
            "{encoder}"
        );
        assert_eq!(made.0[..4], [0, 0, 0, 1], "{encoder}: a start code");
        let back = decode(codec, &made);
        assert_eq!(back.len(), 48, "{encoder}");
        for (own, back) in frames.iter().zip(&back) {
            assert!(psnr(own, back) > 30.0, "{encoder}");
        }
        assert_eq!(encode(&config(encoder), &frames), made, "{encoder}: again");
    }
}

#[test]
fn groups_of_pictures_are_closed_and_of_one_length() {
    let Some(clip) = film() else { return };
    let frames = frames(&clip.source());
    for (_, encoder) in encoders() {
        let grouped = Config {
            gop: 12,
            ..config(encoder)
        };
        let (_, packets) = encode(&grouped, &frames);
        for (group, first) in packets.chunks(12).zip(0..) {
            assert!(
                group[0].key && group[1..].iter().all(|packet| !packet.key),
                "{encoder}"
            );
            let own = first * 12 * TICKS..(first + 1) * 12 * TICKS;
            assert!(
                group.iter().all(|packet| own.contains(&packet.pts)),
                "{encoder}"
            );
        }
    }
}

#[test]
fn every_speed_and_quality_is_taken() {
    let Some(clip) = film() else { return };
    let frames = &frames(&clip.source())[..4];
    for (codec, encoder) in encoders() {
        let bytes = |crf, speed| {
            let set = Config {
                crf,
                speed,
                ..config(encoder)
            };
            let (_, packets) = encode(&set, frames);
            packets
                .iter()
                .map(|packet| packet.data.len())
                .sum::<usize>()
        };
        for speed in 0..=13 {
            bytes(40, speed);
        }
        assert!(bytes(0, 13) > 4 * bytes(codec.worst_crf(), 13), "{encoder}");
    }
}
