//! Frames out of packets.

use rungs_media::decode::{DecodeOptions, Received, VideoDecoder};
use rungs_media::encode::Codec;
use rungs_media::frame::Frame;
use rungs_media::{Error, Packet};

use crate::clips::{audio_index, decode, file, film, frames, make, packets, samples, video_index};

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

/// A file's bytes with a clean aperture (ISO/IEC 14496-12 §12.1.4) in its one sample entry, which cuts so much off: left, top, right, bottom. Its
/// index has to come last.
fn with_aperture(mut bytes: Vec<u8>, (width, height): (u32, u32), sides: [u32; 4]) -> Vec<u8> {
    let [left, top, right, bottom] = sides;
    let signed = |one: u32, other: u32| (one.cast_signed() - other.cast_signed()).cast_unsigned();
    let fields = [
        (width - left - right, 1),
        (height - top - bottom, 1),
        (signed(left, right), 2),
        (signed(top, bottom), 2),
    ];
    let mut aperture = 40_u32.to_be_bytes().to_vec();
    aperture.extend(b"clap");
    for (above, below) in fields {
        aperture.extend(above.to_be_bytes());
        aperture.extend(u32::to_be_bytes(below));
    }
    let find = |bytes: &[u8], kind: &[u8; 4]| {
        let found = bytes.windows(4).rposition(|window| window == kind);
        found.expect("there is such a box") - 4
    };
    let boxes = [
        b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1",
    ];
    let boxes = boxes.map(|kind| find(&bytes, kind));
    let size = |bytes: &[u8], at: usize| {
        u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    };
    let entry = boxes[6];
    let end = entry + size(&bytes, entry) as usize;
    for at in boxes {
        let longer = size(&bytes, at) + 40;
        bytes[at..at + 4].copy_from_slice(&longer.to_be_bytes());
    }
    bytes.splice(end..end, aperture);
    bytes
}

/// A part of a plane, without the rows' padding.
fn part(
    frame: &Frame,
    plane: usize,
    (left, top, width, height): (usize, usize, usize, usize),
) -> Vec<u8> {
    let shift = usize::from(plane > 0);
    let rows = frame.plane(plane).chunks(frame.stride(plane));
    let rows = rows.skip(top >> shift).take(height.div_ceil(1 << shift));
    let columns = left >> shift..(left >> shift) + width.div_ceil(1 << shift);
    rows.flat_map(|row| row[columns.clone()].to_vec()).collect()
}

#[test]
fn what_the_codec_cuts_off_is_not_seen() {
    for (codec, filter) in [
        ("libx264", "h264_metadata"),
        ("libx265 -tag:v hvc1", "hevc_metadata"),
    ] {
        let arguments = format!(
            "-f lavfi -i testsrc2=s=320x192:r=24:d=0.25 -pix_fmt yuv420p -c:v {codec} -preset ultrafast"
        );
        let Some(whole) = make(&arguments, "whole.mp4") else {
            return;
        };
        let cut = format!(
            "-i {} -c copy -bsf:v {filter}=crop_left=6:crop_top=2:crop_right=10:crop_bottom=4",
            whole.path().display()
        );
        let Some(cut) = make(&cut, "cut.mp4") else {
            return;
        };
        let info = cut.open();
        let info = info.streams()[0].video().expect("a picture");
        assert_eq!((info.width, info.height), (304, 186), "{codec}");
        let (whole, cut) = (frames(&whole.source()), frames(&cut.source()));
        assert_eq!((whole.len(), cut.len()), (6, 6), "{codec}");
        for (whole, cut) in whole.iter().zip(&cut) {
            assert_eq!((cut.width(), cut.height()), (304, 186), "{codec}");
            for plane in 0..3 {
                let seen = part(whole, plane, (6, 2, 304, 186));
                assert!(samples(cut, plane) == seen, "{codec}: plane {plane}");
            }
        }
    }
}

#[test]
fn what_the_container_cuts_off_is_not_seen_where_ffmpeg_tells() {
    let arguments = "-f lavfi -i testsrc2=s=320x192:r=24:d=0.25 -pix_fmt yuv420p -c:v libx264 -preset ultrafast";
    let Some(whole) = make(arguments, "whole.mp4") else {
        return;
    };
    // An odd edge at the left: half a sample of chroma.
    let bytes = with_aperture(whole.bytes(), (320, 192), [5, 4, 6, 8]);
    let cut = file("cut.mp4", &bytes);
    let kept = if cfg!(frame_cropping) {
        (6, 4, 308, 180)
    } else {
        (0, 0, 320, 192)
    };
    let info = cut.open();
    let info = info.streams()[0].video().expect("a picture");
    let size = |width: u32, height: u32| (width as usize, height as usize);
    assert_eq!(size(info.width, info.height), (kept.2, kept.3));
    let (whole, cut) = (frames(&whole.source()), frames(&cut.source()));
    for (whole, cut) in whole.iter().zip(&cut) {
        assert_eq!(size(cut.width(), cut.height()), (kept.2, kept.3));
        for plane in 0..3 {
            assert!(
                samples(cut, plane) == part(whole, plane, kept),
                "plane {plane}"
            );
        }
    }
}
