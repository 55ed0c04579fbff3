//! Frames into packets, with every encoder that is there.

use rungs_media::encode::{self, Codec, Config, EncodedPacket, VideoEncoder};
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::hdr::Light;
use rungs_media::time::TimeBase;
use rungs_media::{Color, Error, Rational, Source};

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
        gop: 48,
        threads: 1,
        crf: 30,
        speed: 12,
        depth: BitDepth::Eight,
        light: Light::default(),
        rate: encode::Rate::Quality,
    }
}

fn encode(config: &Config, frames: &[Frame]) -> (Vec<u8>, Vec<EncodedPacket>) {
    let mut encoder = VideoEncoder::open(config, (&frames[0], 0)).unwrap();
    let mut packets = Vec::new();
    for (index, frame) in frames.iter().enumerate().skip(1) {
        encoder.send(frame, index as i64 * TICKS).unwrap();
        packets.extend(encoder.take_packets());
    }
    packets.extend(encoder.finish().unwrap());
    (encoder.configuration().to_vec(), packets)
}

fn encoders() -> Vec<&'static str> {
    let found = encode::candidates(Codec::Av1);
    assert!(!found.is_empty(), "this FFmpeg has no AV1 encoder");
    found
}

#[test]
fn frames_in_are_frames_out_and_decode_to_the_same_pictures() {
    let Some(clip) = film() else { return };
    let frames_in = frames(&clip.source());
    for encoder in encoders() {
        let (header, packets) = encode(&config(encoder), &frames_in);
        assert_eq!(packets.len(), 48, "{encoder}");
        assert_eq!(
            packets.iter().map(|packet| packet.key).collect::<Vec<_>>(),
            (0..48).map(|n| n == 0).collect::<Vec<_>>()
        );
        let times: Vec<_> = packets
            .iter()
            .map(|packet| (packet.pts, packet.duration))
            .collect();
        assert_eq!(
            times,
            (0..48).map(|n| (n * TICKS, TICKS)).collect::<Vec<_>>(),
            "{encoder}"
        );
        // A sequence header OBU with its size field: that of the first packet.
        assert_eq!(header[0], 0x0A, "{encoder}");
        assert!(
            packets[0]
                .data
                .windows(header.len())
                .any(|window| window == header),
            "{encoder}"
        );
        let stream: Vec<u8> = packets
            .iter()
            .flat_map(|packet| packet.data.clone())
            .collect();
        let frames_out = frames(&Source::from(stream));
        assert_eq!(frames_out.len(), 48, "{encoder}");
        for (index, (before, after)) in frames_in.iter().zip(&frames_out).enumerate() {
            let quality = psnr(before, after);
            assert!(quality > 28.0, "{encoder}, frame {index}: {quality} dB");
        }
        assert_eq!(
            (
                frames_out[0].color().primaries,
                frames_out[0].color().matrix
            ),
            (1, 1),
            "{encoder}"
        );
    }
}

#[test]
fn equal_settings_and_frames_give_equal_bytes() {
    let Some(clip) = film() else { return };
    let frames = &frames(&clip.source())[..24];
    for encoder in encoders() {
        assert!(
            encode(&config(encoder), frames) == encode(&config(encoder), frames),
            "{encoder}"
        );
    }
}

#[test]
fn one_frame_is_enough() {
    let frame = Frame::filled(320, 180, [90, 100, 110]).unwrap();
    for encoder in encoders() {
        let config = Config {
            gop: 1,
            ..config(encoder)
        };
        let (_, packets) = encode(&config, std::slice::from_ref(&frame));
        assert_eq!(packets.len(), 1, "{encoder}");
        assert!(
            packets[0].key && packets[0].duration == TICKS,
            "{encoder}: {packets:?}"
        );
    }
}

#[test]
fn an_encoder_dropped_early_does_not_hang() {
    let frame = Frame::filled(320, 180, [90, 100, 110]).unwrap();
    for encoder in encoders() {
        for count in [1, 2, 40] {
            let mut open = VideoEncoder::open(&config(encoder), (&frame, 0)).unwrap();
            for index in 1..count {
                open.send(&frame, index * TICKS).unwrap();
            }
            drop(open);
        }
    }
}

#[test]
fn a_picture_type_of_the_source_makes_no_keyframe() {
    let Some(clip) = film() else { return };
    // The clip has keyframes at 12, 24 and 36.
    let frames = frames(&clip.source());
    assert!(frames[12].is_key());
    let (_, packets) = encode(
        &Config {
            gop: 200,
            ..config(encoders()[0])
        },
        &frames,
    );
    assert_eq!(packets.iter().filter(|packet| packet.key).count(), 1);
}

#[test]
fn uneven_times_are_kept() {
    let frame = Frame::filled(320, 180, [90, 100, 110]).unwrap();
    let times = [0, 1001, 1003, 90_000, 93_750];
    for encoder in encoders() {
        let mut open = VideoEncoder::open(&config(encoder), (&frame, times[0])).unwrap();
        for pts in &times[1..] {
            open.send(&frame, *pts).unwrap();
        }
        let packets = open.finish().unwrap();
        assert_eq!(
            packets.iter().map(|packet| packet.pts).collect::<Vec<_>>(),
            times,
            "{encoder}"
        );
        let durations: Vec<_> = packets.iter().map(|packet| packet.duration).collect();
        assert_eq!(durations[..4], [1001, 2, 88_997, 3750], "{encoder}");
    }
}

#[test]
fn quality_and_speed_reach_the_encoder() {
    let Some(clip) = film() else { return };
    let frames = &frames(&clip.source())[..12];
    let bytes = |config: &Config| {
        encode(config, frames)
            .1
            .iter()
            .map(|packet| packet.data.len())
            .sum::<usize>()
    };
    for encoder in encoders() {
        let (good, poor) = (
            Config {
                crf: 0,
                ..config(encoder)
            },
            Config {
                crf: 63,
                ..config(encoder)
            },
        );
        assert!(
            bytes(&good) > 2 * bytes(&poor),
            "{encoder}: {} and {}",
            bytes(&good),
            bytes(&poor)
        );
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let name = encoders()[0];
    let small = Frame::filled(64, 64, [16, 128, 128]).unwrap();
    let fitting = Frame::filled(320, 180, [16, 128, 128]).unwrap();
    let error = VideoEncoder::open(&config(name), (&small, 0)).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error:?}");
    let mut encoder = VideoEncoder::open(&config(name), (&fitting, 0)).unwrap();
    assert!(matches!(
        encoder.send(&small, 1),
        Err(Error::Mismatch { .. })
    ));
    for unknown in ["no-such-encoder", "libvpx-vp9"] {
        let error = VideoEncoder::open(&config(unknown), (&fitting, 0)).unwrap_err();
        assert!(
            matches!(&error, Error::Unsupported { what } if what.contains(unknown)),
            "{error:?}"
        );
    }
}

#[test]
fn a_size_the_encoder_cannot_make_is_an_error() {
    let frame = Frame::filled(63, 33, [16, 128, 128]).unwrap();
    let config = Config {
        width: 63,
        height: 33,
        ..config("libsvtav1")
    };
    if !encoders().contains(&"libsvtav1") {
        return;
    }
    let error = VideoEncoder::open(&config, (&frame, 0)).unwrap_err();
    assert!(!error.is_capacity(), "{error:?}");
}

#[test]
fn a_configuration_survives_being_written_down() {
    let config = config("libsvtav1");
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    assert_eq!(
        serde_json::to_string(&Codec::Av1).unwrap(),
        format!("\"{}\"", Codec::Av1)
    );
}

#[test]
fn every_encoder_says_where_the_chroma_samples_lie() {
    use rungs_media::ChromaLocation;
    let frame = Frame::filled(320, 180, [90, 100, 110]).unwrap();
    for encoder in ["libsvtav1", "libaom-av1"] {
        if !encoders().contains(&encoder) {
            continue;
        }
        let header = |chroma_location| {
            let mut config = config(encoder);
            config.color.chroma_location = chroma_location;
            encode(&config, std::slice::from_ref(&frame))
        };
        let (open, _) = header(ChromaLocation::Unspecified);
        for told in [ChromaLocation::Left, ChromaLocation::TopLeft] {
            let (closed, packets) = header(told);
            assert_ne!(open, closed, "{encoder}, {told:?}");
            let stream: Vec<u8> = packets.into_iter().flat_map(|packet| packet.data).collect();
            let shown = frames(&Source::from(stream));
            assert_eq!(shown[0].color().chroma_location, told, "{encoder}");
        }
    }
}
