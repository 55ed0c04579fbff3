//! Frames out of packets.

use rungs_media::decode::{DecodeOptions, Received, VideoDecoder};
use rungs_media::encode::Codec;
use rungs_media::{Error, Packet};

use crate::clips::{audio_index, decode, film, frames, make, packets, samples, video_index};

#[test]
fn every_frame_comes_out_once_in_order() {
    let Some(clip) = film() else { return };
    for threads in [0, 1, 3] {
        let options = DecodeOptions {
            threads,
            ..DecodeOptions::default()
        };
        let (frames, errors) = decode(&mut clip.open(), &options);
        assert!(errors.is_empty(), "{errors:?}");
        let times: Vec<_> = frames.iter().map(|frame| frame.pts().unwrap()).collect();
        assert_eq!(times, (0..48).map(|index| index * 512).collect::<Vec<_>>());
        assert!(frames.iter().all(|frame| frame.duration() == Some(512)
            && !frame.interlaced()
            && !frame.is_corrupt()));
        assert_eq!(frames.iter().filter(|frame| frame.is_key()).count(), 4);
    }
}

#[test]
fn a_decoder_goes_on_after_a_seek_and_after_the_end() {
    let Some(clip) = film() else { return };
    let all = frames(&clip.source());
    let mut demuxer = clip.open();
    let index = video_index(&demuxer);
    demuxer.keep_only(&[index]);
    let mut decoder =
        VideoDecoder::open(&demuxer.streams()[index], &DecodeOptions::default()).unwrap();
    for first in [36, 12] {
        demuxer.seek(index, first as i64 * 512).unwrap();
        decoder.flush();
        let mut count = 0;
        loop {
            let packet = demuxer.read().unwrap();
            let _ = decoder.send(packet.as_ref()).unwrap();
            while let Received::Frame(frame) = decoder.receive().unwrap() {
                let expected = &all[first + count];
                assert_eq!(frame.pts(), expected.pts());
                assert_eq!(samples(&frame, 0), samples(expected, 0));
                count += 1;
            }
            if packet.is_none() {
                break;
            }
        }
        assert_eq!(count, 48 - first);
    }
}

#[test]
fn codecs_and_containers_of_many_kinds_decode() {
    let kinds = [
        ("mpeg2video", "ts"),
        ("mpeg4", "avi"),
        ("libx265 -x265-params log-level=none", "mp4"),
        ("libvpx-vp9 -deadline realtime", "webm"),
        ("ffv1", "mkv"),
        ("prores_ks", "mov"),
        ("mjpeg", "mov"),
        ("rawvideo -pix_fmt bgr24", "avi"),
        ("gif", "gif"),
        ("wrapped_avframe", "y4m"),
    ];
    for (codec, container) in kinds {
        let arguments = format!("-f lavfi -i testsrc2=s=128x96:r=25:d=1 -c:v {codec}");
        let Some(clip) = make(&arguments, &format!("a.{container}")) else {
            return;
        };
        let frames = frames(&clip.source());
        assert_eq!(frames.len(), 25, "{codec} in {container}");
        let times: Vec<_> = frames.iter().map(|frame| frame.pts().unwrap()).collect();
        assert!(
            times.windows(2).all(|pair| pair[0] < pair[1]),
            "{codec}: {times:?}"
        );
        assert!(!frames[0].plane(0).is_empty(), "{codec}");
    }
}

#[test]
fn av1_has_the_fast_decoder() {
    let Some(clip) = make(
        "-f lavfi -i testsrc2=s=128x96:r=25:d=1 -c:v libaom-av1 -cpu-used 8",
        "a.mp4",
    ) else {
        return;
    };
    let demuxer = clip.open();
    let decoder = VideoDecoder::open(&demuxer.streams()[0], &DecodeOptions::default()).unwrap();
    assert!(decoder.name().starts_with("lib"), "{}", decoder.name());
    assert_eq!(frames(&clip.source()).len(), 25);
}

#[test]
fn a_sound_stream_is_no_video() {
    let Some(clip) = film() else { return };
    let demuxer = clip.open();
    let audio = &demuxer.streams()[audio_index(&demuxer)];
    let result = VideoDecoder::open(audio, &DecodeOptions::default());
    assert!(matches!(result, Err(Error::NoStream { kind: "video", .. })));
}

#[test]
fn av1_fresh_from_an_encoder_is_decoded_without_a_container() {
    let Some(clip) = make(
        "-f lavfi -i testsrc2=s=128x96:r=25:d=1 -c:v libaom-av1 -cpu-used 8",
        "a.obu",
    ) else {
        return;
    };
    let packets = packets(&mut clip.open()).unwrap();
    let mut decoder = VideoDecoder::for_encoded(Codec::Av1, 1).unwrap();
    let (mut count, mut packets) = (0, packets.iter());
    loop {
        match decoder.receive().unwrap() {
            Received::Frame(frame) => {
                assert_eq!((frame.width(), frame.height()), (128, 96));
                count += 1;
            }
            Received::NeedsInput => {
                let packet = packets
                    .next()
                    .map(|packet| Packet::copy_of(packet.data()).unwrap());
                let _ = decoder.send(packet.as_ref()).unwrap();
            }
            Received::End => break,
        }
    }
    assert_eq!(count, 25);
}
