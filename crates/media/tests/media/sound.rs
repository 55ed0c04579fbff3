//! Sound, from packets to packets.

use rungs_media::Error;
use rungs_media::audio::{
    AudioCodec, AudioConfig, AudioDecoder, AudioEncoder, AudioFrame, Format, Resampler,
};
use rungs_media::bitstream::{AAC_ADTS_TO_ASC, PacketFilter};
use rungs_media::decode::Received;
use rungs_media::demux::Demuxer;
use rungs_media::encode::EncodedPacket;
use rungs_media::inspect;

use crate::clips::{audio_index, make, packets};

const STEREO: Format = Format {
    sample_rate: 48_000,
    channels: 2,
};

fn decode(demuxer: &mut Demuxer) -> Vec<AudioFrame> {
    let index = audio_index(demuxer);
    demuxer.keep_only(&[index]);
    let mut decoder = AudioDecoder::open(&demuxer.streams()[index]).unwrap();
    let mut frames = Vec::new();
    loop {
        let packet = demuxer.read().unwrap();
        let _ = decoder.send(packet.as_ref()).unwrap();
        while let Received::Frame(frame) = decoder.receive().unwrap() {
            frames.push(frame);
        }
        if packet.is_none() {
            return frames;
        }
    }
}

fn config(codec: AudioCodec, format: Format) -> AudioConfig {
    AudioConfig {
        codec,
        format,
        bit_rate: 64_000 * u64::from(format.channels),
    }
}

/// A tone in 32-bit float.
fn tone(samples: usize, format: Format) -> AudioFrame {
    let wave: Vec<f32> = (0..samples)
        .map(|n| (n as f32 * 0.05).sin() * 0.3)
        .collect();
    let channels: Vec<&[f32]> = (0..format.channels).map(|_| &wave[..]).collect();
    AudioFrame::from_channels(format.sample_rate, Some(0), &channels).unwrap()
}

fn total(packets: &[EncodedPacket]) -> i64 {
    packets.iter().map(|packet| packet.duration).sum()
}

#[test]
fn decoded_sound_has_the_length_of_the_source() {
    let Some(clip) = make("-f lavfi -i sine=r=44100:d=2 -c:a aac", "a.mp4") else {
        return;
    };
    let frames = decode(&mut clip.open());
    let samples: usize = frames.iter().map(AudioFrame::samples).sum();
    // The file's edit list drops the priming; the last frame is whole.
    assert!((88_200..88_200 + 1024).contains(&samples), "{samples}");
    assert_eq!(frames[0].start_sample(), Some(0));
    assert_eq!(
        (
            frames[0].sample_rate(),
            frames[0].channels(),
            frames[0].layout().as_str()
        ),
        (44_100, 1, "mono")
    );
}

#[test]
fn every_sample_pushed_is_accounted_for() {
    for (codec, priming, frame_size) in
        [(AudioCodec::Opus, 312, 960), (AudioCodec::Aac, 1024, 1024)]
    {
        if codec.encoder_name().is_none() {
            continue;
        }
        for samples in [1, 959, 960, 1024, 1025, 48_000, 100_003] {
            let mut encoder = AudioEncoder::open(&config(codec, STEREO)).unwrap();
            assert_eq!(
                (encoder.priming(), encoder.frame_size()),
                (priming, frame_size)
            );
            for start in (0..samples).step_by(1777) {
                let part = tone(samples, STEREO)
                    .slice(start, 1777.min(samples - start))
                    .unwrap();
                encoder.push(&part).unwrap();
            }
            assert_eq!(encoder.position(), samples as u64);
            let mut packets = encoder.take_packets();
            packets.extend(encoder.finish().unwrap());
            assert_eq!(packets[0].pts, -i64::from(priming), "{codec}");
            assert!(
                packets
                    .windows(2)
                    .all(|pair| pair[0].pts + pair[0].duration == pair[1].pts),
                "{codec}: {packets:?}"
            );
            assert_eq!(
                total(&packets),
                samples as i64 + i64::from(priming),
                "{codec} of {samples}"
            );
            assert!(
                packets
                    .iter()
                    .all(|packet| packet.key && !packet.data.is_empty())
            );
        }
    }
}

#[test]
fn configurations_are_what_the_formats_say() {
    for channels in 1..=8 {
        let format = Format { channels, ..STEREO };
        if AudioCodec::Opus.encoder_name().is_some() {
            let encoder = AudioEncoder::open(&config(AudioCodec::Opus, format)).unwrap();
            let head = encoder.configuration();
            assert_eq!(
                (&head[..8], u32::from(head[9])),
                (&b"OpusHead"[..], channels)
            );
            assert_eq!(u16::from_le_bytes([head[10], head[11]]), 312);
            assert_eq!(head[18], u8::from(channels > 2), "channel mapping family");
        }
        let encoder = AudioEncoder::open(&config(AudioCodec::Aac, format)).unwrap();
        let asc = encoder.configuration();
        assert_eq!(
            (asc[0] >> 3, (asc[0] & 7) << 1 | asc[1] >> 7),
            (2, 3),
            "AAC-LC at 48 kHz"
        );
        let expected = [0, 1, 2, 3, 4, 5, 6, 0, 7][channels as usize];
        assert_eq!(
            asc[1] >> 3 & 15,
            expected,
            "channel configuration of {channels}"
        );
    }
}

#[test]
fn silence_and_sound_are_encoded_to_equal_bytes_each_time() {
    for codec in [AudioCodec::Opus, AudioCodec::Aac] {
        if codec.encoder_name().is_none() {
            continue;
        }
        let encode = || {
            let mut encoder = AudioEncoder::open(&config(codec, STEREO)).unwrap();
            encoder.push_silence(100_000).unwrap();
            encoder.push(&tone(30_000, STEREO)).unwrap();
            encoder.finish().unwrap()
        };
        let packets = encode();
        assert_eq!(
            total(&packets),
            130_000 + if codec == AudioCodec::Opus { 312 } else { 1024 }
        );
        assert!(packets == encode());
    }
}

#[test]
fn the_resampler_keeps_count_of_time() {
    let mut resampler = Resampler::new(STEREO).unwrap();
    let source = tone(
        44_100,
        Format {
            sample_rate: 44_100,
            channels: 1,
        },
    );
    let (mut samples, mut next) = (0, None);
    let mut parts = Vec::new();
    for start in (0..44_100).step_by(1000) {
        parts.push(
            resampler
                .convert(&source.slice(start, 1000.min(44_100 - start)).unwrap())
                .unwrap(),
        );
    }
    parts.extend(resampler.flush().unwrap());
    for part in parts {
        assert_eq!(
            (part.sample_rate(), part.channels(), part.sample_format()),
            (48_000, 2, "fltp")
        );
        if let Some(next) = next {
            assert_eq!(part.pts(), Some(next));
        } else {
            assert!(part.pts().unwrap().abs() <= 1, "{part:?}");
        }
        next = part.pts().map(|pts| pts + part.samples() as i64);
        samples += part.samples();
    }
    assert!(samples.abs_diff(48_000) <= 32, "{samples}");
    assert!(resampler.flush().unwrap().is_none());
}

#[test]
fn the_resampler_follows_a_jump_of_time() {
    let mut resampler = Resampler::new(STEREO).unwrap();
    let source = tone(4800, STEREO);
    assert_eq!(resampler.convert(&source).unwrap().pts(), Some(0));
    let wave = vec![0.0; 4800];
    let later = AudioFrame::from_channels(48_000, Some(50_000), &[&wave, &wave]).unwrap();
    assert_eq!(resampler.convert(&later).unwrap().pts(), Some(50_000));
}

#[test]
fn sound_that_needs_nothing_comes_back_the_same() {
    let source = tone(4800, STEREO);
    let same = Resampler::new(STEREO).unwrap().convert(&source).unwrap();
    assert_eq!(same.channel(1), source.channel(1));
}

#[test]
fn a_change_of_rate_on_the_way_is_followed() {
    let mut resampler = Resampler::new(STEREO).unwrap();
    for rate in [48_000, 44_100, 8000, 48_000] {
        let converted = resampler
            .convert(&tone(
                rate as usize / 10,
                Format {
                    sample_rate: rate,
                    channels: 1,
                },
            ))
            .unwrap();
        assert_eq!(converted.sample_rate(), 48_000);
        assert!(
            converted.samples() > 4300,
            "{rate}: {}",
            converted.samples()
        );
        resampler.flush().unwrap();
    }
}

#[test]
fn surround_sound_of_a_disc_can_be_encoded() {
    let arguments = "-f lavfi -i sine=r=48000:d=1 -af aformat=channel_layouts=5.1(side) -c:a ac3";
    let Some(clip) = make(arguments, "a.mkv") else {
        return;
    };
    let frames = decode(&mut clip.open());
    assert_eq!(frames[0].layout(), "5.1(side)");
    for codec in [AudioCodec::Opus, AudioCodec::Aac] {
        if codec.encoder_name().is_none() {
            continue;
        }
        let format = Format {
            sample_rate: 48_000,
            channels: 6,
        };
        let mut resampler = Resampler::new(format).unwrap();
        let mut encoder = AudioEncoder::open(&config(codec, format)).unwrap();
        for frame in &frames {
            let converted = resampler.convert(frame).unwrap();
            assert_eq!(converted.layout(), "5.1(side)");
            encoder.push(&converted).unwrap();
        }
        assert!(encoder.finish().unwrap().len() > 40);
    }
}

#[test]
fn slices_share_samples_and_know_their_time() {
    let frame = tone(1000, STEREO);
    let slice = frame.slice(100, 50).unwrap();
    assert_eq!((slice.samples(), slice.pts()), (50, Some(100)));
    assert_eq!(slice.channel(1), &frame.channel(1)[100..150]);
    assert_eq!(slice.channel(0).as_ptr(), frame.channel(0)[100..].as_ptr());
    assert!(frame.slice(990, 11).is_err());
    assert!(frame.slice(usize::MAX, 2).is_err());
}

#[test]
fn an_encoder_takes_only_its_own_format() {
    let mut encoder = AudioEncoder::open(&config(AudioCodec::Aac, STEREO)).unwrap();
    let error = encoder
        .push(&tone(
            10,
            Format {
                channels: 1,
                ..STEREO
            },
        ))
        .unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error:?}");
    let error = Resampler::new(Format {
        channels: 9,
        ..STEREO
    })
    .unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error:?}");
    assert!(AudioFrame::from_channels(48_000, None, &[&[0.0; 4], &[0.0; 5]]).is_err());
}

#[test]
fn rates_are_chosen_for_the_codec() {
    assert_eq!(AudioCodec::Opus.sample_rate_for(44_100), 48_000);
    for (source, rate) in [
        (44_100, 44_100),
        (48_000, 48_000),
        (96_000, 48_000),
        (37_800, 44_100),
        (1, 8000),
    ] {
        assert_eq!(AudioCodec::Aac.sample_rate_for(source), rate);
    }
}

#[test]
fn aac_is_taken_out_of_its_adts_frames() {
    let Some(clip) = make("-f lavfi -i sine=r=48000:d=1 -c:a aac", "a.ts") else {
        return;
    };
    let mut demuxer = clip.open();
    let mut filter = PacketFilter::new(AAC_ADTS_TO_ASC, &demuxer.streams()[0]).unwrap();
    let adts = packets(&mut demuxer).unwrap();
    let (count, sizes): (usize, Vec<usize>) = (
        adts.len(),
        adts.iter().map(|packet| packet.data().len()).collect(),
    );
    assert!(adts.iter().all(|packet| packet.data()[0] == 0xFF));
    let mut raw = Vec::new();
    for packet in adts {
        raw.extend(filter.apply(packet).unwrap());
    }
    assert_eq!(
        filter.configuration()[..2],
        [0x11, 0x88],
        "AAC-LC, 48 kHz, mono"
    );
    raw.extend(filter.finish().unwrap());
    assert_eq!(raw.len(), count);
    assert!(
        raw.iter()
            .zip(sizes)
            .all(|(packet, size)| packet.data().len() == size - 7)
    );
}

#[test]
fn an_unknown_filter_is_named() {
    let Some(clip) = make("-f lavfi -i sine=r=48000:d=1 -c:a aac", "a.ts") else {
        return;
    };
    let demuxer = clip.open();
    let error = PacketFilter::new("no_such_filter", &demuxer.streams()[0]).unwrap_err();
    assert!(
        matches!(&error, Error::Unsupported { what } if what.contains("no_such_filter")),
        "{error:?}"
    );
    let error = PacketFilter::new("h264_mp4toannexb", &demuxer.streams()[0]).unwrap_err();
    assert!(matches!(error, Error::Filter { .. }), "{error:?}");
}

#[test]
fn this_ffmpeg_tells_what_it_has() {
    let aac = inspect::encoders()
        .into_iter()
        .find(|entry| entry.name == "aac")
        .unwrap();
    assert_eq!(
        (aac.codec, aac.kind, aac.hardware),
        ("aac", inspect::CodecKind::Audio, false)
    );
    assert!(
        inspect::decoders()
            .iter()
            .any(|entry| entry.codec == "h264")
    );
    assert_eq!(rungs_media::versions().len(), 6);
    assert!(!rungs_media::ffmpeg_version().is_empty());
}
