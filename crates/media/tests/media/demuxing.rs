//! What the demuxer tells and delivers.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use rungs_media::demux::{Demuxer, FieldOrder, Rotation, StreamKind};
use rungs_media::normalise::{self, Normaliser};
use rungs_media::time::TimeBase;
use rungs_media::{CancelToken, Error, Limits, Rational, Source, entry};

use crate::clips::{audio_index, file, film, frames, make, open, packets, samples, video_index};

#[test]
fn streams_are_described() {
    let Some(clip) = film() else { return };
    let demuxer = clip.open();
    assert!(demuxer.format().contains("mp4"));
    assert_eq!(demuxer.duration(), Some(Duration::from_secs(2)));
    assert!(demuxer.bit_rate().is_some());
    assert!(demuxer.tags().contains_key("major_brand"));
    let video = &demuxer.streams()[video_index(&demuxer)];
    let info = video.video().unwrap();
    assert_eq!((info.width, info.height, info.bit_depth), (320, 180, 8));
    assert_eq!(
        (video.codec.as_str(), info.pixel_format.as_str()),
        ("h264", "yuv420p")
    );
    assert_eq!(info.frame_rate, Some(Rational { num: 24, den: 1 }));
    assert_eq!(info.rotation, Rotation::NONE);
    assert_eq!(info.field_order, Some(FieldOrder::Progressive));
    assert_eq!(
        (video.frames, video.time_base),
        (Some(48), TimeBase::new(1, 12288).unwrap())
    );
    assert!(video.is_default && !video.attached_picture && !video.encrypted);
    let audio = &demuxer.streams()[audio_index(&demuxer)];
    assert_eq!(audio.language.as_deref(), Some("deu"));
    let info = audio.audio().unwrap();
    assert_eq!(
        (info.sample_rate, info.channels, info.layout.as_str()),
        (48_000, 1, "mono")
    );
    assert!(!info.extradata.is_empty());
}

#[test]
fn memory_and_disk_give_the_same_packets() {
    let Some(clip) = film() else { return };
    let list = |source: &Source| -> Vec<_> {
        let mut demuxer = open(source).unwrap();
        let packets = packets(&mut demuxer).unwrap();
        packets
            .iter()
            .map(|packet| {
                (
                    packet.stream(),
                    packet.pts(),
                    packet.dts(),
                    packet.data().to_vec(),
                )
            })
            .collect()
    };
    let (disk, memory) = (list(&clip.source()), list(&Source::from(clip.bytes())));
    assert!(disk.len() > 48);
    assert!(disk == memory);
}

#[test]
fn only_the_streams_kept_are_delivered() {
    let Some(clip) = film() else { return };
    let mut demuxer = clip.open();
    let audio = audio_index(&demuxer);
    demuxer.keep_only(&[audio]);
    let packets = packets(&mut demuxer).unwrap();
    assert!(!packets.is_empty() && packets.iter().all(|packet| packet.stream() == audio));
}

#[test]
fn a_seek_lands_on_the_keyframe_at_or_before() {
    let Some(clip) = film() else { return };
    let mut demuxer = clip.open();
    let index = video_index(&demuxer);
    demuxer.keep_only(&[index]);
    for (frame, keyframe) in [(30, 24), (24, 24), (23, 12), (0, 0)] {
        demuxer.seek(index, frame * 512).unwrap();
        let packet = demuxer.read().unwrap().unwrap();
        assert!(packet.is_key());
        assert_eq!(packet.pts(), Some(keyframe * 512), "frame {frame}");
    }
    assert!(matches!(
        demuxer.seek(99, 0),
        Err(Error::NoStream { index: 99, .. })
    ));
}

#[test]
fn keyframes_are_known_where_a_seek_is_exact() {
    let picture = "-f lavfi -i testsrc2=s=64x64:r=25:d=2 -c:v libx264 -preset ultrafast -g 10";
    for (name, exact) in [
        ("a.mp4", true),
        ("a.mkv", true),
        ("a.ts", false),
        ("a.avi", false),
    ] {
        let Some(clip) = make(picture, name) else {
            return;
        };
        let mut demuxer = clip.open();
        assert_eq!(demuxer.seeks_exactly(), exact, "{name}");
        if !exact {
            continue;
        }
        demuxer.seek(0, 0).unwrap();
        let keyframes = demuxer.indexed_keyframes(0);
        assert_eq!(keyframes.len(), 5, "{name}: {keyframes:?}");
        for (place, keyframe) in keyframes.into_iter().enumerate() {
            demuxer.seek(0, keyframe).unwrap();
            let packet = demuxer.read().unwrap().unwrap();
            assert!(entry::is_clean(&demuxer.streams()[0], &packet), "{name}");
            assert_eq!(packet.dts(), Some(keyframe), "{name}, keyframe {place}");
            let next = demuxer.read().unwrap().unwrap();
            assert!(!entry::is_clean(&demuxer.streams()[0], &next), "{name}");
        }
        assert!(demuxer.indexed_keyframes(9).is_empty());
    }
}

/// Puts a display matrix into the track header of an MP4 file.
fn turn(file: &[u8], [a, b, c, d]: [i32; 4]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let header = bytes
        .windows(4)
        .position(|window| window == b"tkhd")
        .unwrap();
    for (place, value) in [(0, a), (1, b), (3, c), (4, d)] {
        // ISO/IEC 14496-12 §8.3.2: version 0, 40 bytes before the matrix.
        let at = header + 44 + 4 * place;
        bytes[at..at + 4].copy_from_slice(&(value << 16).to_be_bytes());
    }
    bytes
}

#[test]
fn rotated_files_come_out_as_ffmpeg_itself_shows_them() {
    let Some(film) = film() else { return };
    for matrix in [
        [0, 1, -1, 0],
        [-1, 0, 0, -1],
        [0, -1, 1, 0],
        [-1, 0, 0, 1],
        [1, 0, 0, -1],
    ] {
        let turned = file("turned.mp4", &turn(&film.bytes(), matrix));
        let arguments = format!(
            "-i {} -frames:v 1 -f rawvideo -pix_fmt yuv420p",
            turned.path().display()
        );
        let Some(shown) = make(&arguments, "shown.yuv") else {
            return;
        };
        let demuxer = turned.open();
        let rotation = demuxer.streams()[video_index(&demuxer)]
            .video()
            .unwrap()
            .rotation;
        assert!(!rotation.is_none(), "{matrix:?}");
        let config = normalise::Config {
            rotation,
            ..normalise::Config::default()
        };
        let frame = Normaliser::new(config)
            .apply(&frames(&turned.source())[0])
            .unwrap();
        let planes: Vec<u8> = (0..3).flat_map(|plane| samples(&frame, plane)).collect();
        assert!(planes == shown.bytes(), "{matrix:?} as {rotation:?}");
    }
}

#[test]
fn a_cover_picture_is_no_video() {
    let arguments = "-f lavfi -i sine=d=1 -f lavfi -i testsrc2=s=64x64:d=1 -map 0 -map 1 -frames:v 1 -c:v mjpeg \
                     -disposition:v attached_pic";
    let Some(clip) = make(arguments, "song.mp3") else {
        return;
    };
    let demuxer = clip.open();
    let cover = demuxer
        .streams()
        .iter()
        .find(|stream| matches!(stream.kind, StreamKind::Video(_)))
        .unwrap();
    assert!(cover.attached_picture);
}

#[test]
fn an_encrypted_stream_says_so() {
    let arguments = "-f lavfi -i testsrc2=s=64x64:d=1 -c:v libx264 -encryption_scheme cenc-aes-ctr \
                     -encryption_key 00112233445566778899aabbccddeeff \
                     -encryption_kid 112233445566778899aabbccddeeff00";
    let Some(clip) = make(arguments, "a.mp4") else {
        return;
    };
    let mut demuxer = clip.open();
    assert!(demuxer.streams()[0].encrypted || demuxer.read().unwrap().unwrap().is_encrypted());
}

#[test]
fn a_set_token_stops_opening_and_reading() {
    let Some(clip) = film() else { return };
    let cancel = CancelToken::default();
    let mut demuxer = Demuxer::open(&clip.source(), &Limits::default(), &cancel).unwrap();
    assert!(demuxer.read().unwrap().is_some());
    cancel.cancel();
    assert!(matches!(demuxer.read(), Err(Error::Cancelled)));
    assert!(matches!(demuxer.seek(0, 0), Err(Error::Cancelled)));
    assert!(matches!(
        Demuxer::open(&clip.source(), &Limits::default(), &cancel),
        Err(Error::Cancelled)
    ));
}

#[test]
fn what_a_file_grows_by_after_it_was_opened_is_not_read() {
    let Some(clip) = make(
        "-f lavfi -i testsrc2=s=64x64:r=25:d=1 -c:v mpeg2video",
        "a.ts",
    ) else {
        return;
    };
    let whole = packets(&mut clip.open()).unwrap().len();
    let mut demuxer = clip.open();
    let bytes = clip.bytes();
    OpenOptions::new()
        .append(true)
        .open(clip.path())
        .unwrap()
        .write_all(&bytes)
        .unwrap();
    assert_eq!(packets(&mut demuxer).unwrap().len(), whole);
    assert!(packets(&mut clip.open()).unwrap().len() > whole);
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let arguments =
        "-f lavfi -i testsrc2=s=640x360:r=25:d=4 -c:v mpeg2video -b:v 8M -movflags +faststart";
    for name in ["a.mp4", "a.mkv", "a.ts"] {
        let Some(clip) = make(arguments, name) else {
            return;
        };
        let mut demuxer = Demuxer::open(
            &clip.source(),
            &Limits {
                probe_bytes: 100_000,
                ..Limits::default()
            },
            &CancelToken::default(),
        )
        .unwrap();
        let before = clip.source().identity().unwrap();
        OpenOptions::new()
            .write(true)
            .open(clip.path())
            .unwrap()
            .set_len(before.len.unwrap() / 2)
            .unwrap();
        assert_ne!(clip.source().identity().unwrap(), before);
        let error = packets(&mut demuxer).unwrap_err();
        assert!(
            matches!(&error, Error::Io(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn what_is_no_file_is_an_io_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        open(&Source::from(folder.path())),
        Err(Error::Io(_))
    ));
    let missing = open(&Source::from(folder.path().join("none.mp4"))).unwrap_err();
    assert!(matches!(missing, Error::Io(cause) if cause.kind() == std::io::ErrorKind::NotFound));
}
