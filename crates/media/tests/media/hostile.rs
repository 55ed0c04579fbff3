//! Files that lie, and files that are broken.

use std::net::TcpListener;

use rungs_media::decode::{DecodeOptions, VideoDecoder};
use rungs_media::demux::Demuxer;
use rungs_media::{CancelToken, Error, Limits, Source};

use crate::clips::{decode, file, film, make, open, packets, video_index};

/// Texts which FFmpeg takes for media and which name other places, `{}` standing for one.
const TEXTS: [&str; 6] = [
    "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{}\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile '{}'\n",
    "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
     profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011\" mediaPresentationDuration=\"PT4S\"><Period><AdaptationSet>\
     <Representation id=\"1\" bandwidth=\"1\" mimeType=\"video/mp4\"><BaseURL>{}</BaseURL></Representation></AdaptationSet>\
     </Period></MPD>\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "[playlist]\nFile1={}\n",
    "{}\n",
];

#[test]
fn playlists_are_refused_and_name_nothing_that_is_opened() {
    let Some(film) = film() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}/a.mp4", listener.local_addr().unwrap());
    for target in [address, film.path().display().to_string()] {
        for text in TEXTS {
            let text = text.replace("{}", &target);
            for source in [
                file("upload.mp4", text.as_bytes()).source(),
                Source::from(text.clone().into_bytes()),
            ] {
                let error = open(&source).unwrap_err();
                assert!(
                    matches!(error, Error::UnknownFormat { .. }),
                    "{error:?} for {text}"
                );
            }
        }
    }
    assert!(listener.accept().is_err(), "something connected");
}

#[test]
fn a_refused_playlist_is_named() {
    let error = open(&Source::from(TEXTS[1].as_bytes().to_vec())).unwrap_err();
    assert!(error.to_string().contains("concat"), "{error}");
}

#[test]
fn what_is_no_media_is_an_unknown_format() {
    for bytes in [&b""[..], b"hello, world\n", &[0; 10_000], &[0xFF; 100]] {
        let result = open(&Source::from(bytes.to_vec()));
        assert!(
            matches!(result, Err(Error::UnknownFormat { .. })),
            "{result:?}"
        );
    }
}

#[test]
fn a_file_without_its_head_cannot_be_opened() {
    let Some(clip) = make("-f lavfi -i testsrc2=s=64x64:d=1 -c:v mpeg4", "a.mp4") else {
        return;
    };
    let bytes = clip.bytes();
    let error = open(&Source::from(bytes[..bytes.len() / 2].to_vec())).unwrap_err();
    assert!(
        matches!(&error, Error::Open { format, .. } if format.contains("mp4")),
        "{error:?}"
    );
}

#[test]
fn a_file_cut_short_is_told_by_an_error_or_by_its_header() {
    let arguments = "-f lavfi -i testsrc2=s=320x180:r=25:d=8 -c:v mpeg4 -movflags +faststart";
    for name in ["a.mp4", "a.mkv", "a.avi"] {
        let Some(clip) = make(arguments, name) else {
            return;
        };
        let bytes = clip.bytes();
        let source = Source::from(bytes[..bytes.len() * 6 / 10].to_vec());
        let mut demuxer = open(&source).unwrap();
        let (claimed, seconds) = (
            demuxer.streams()[0].frames,
            demuxer.duration().unwrap().as_secs_f64(),
        );
        let (frames, errors) = decode(&mut demuxer, &DecodeOptions::default());
        assert!(
            (100..160).contains(&frames.len()),
            "{name}: {} frames",
            frames.len()
        );
        let told = !errors.is_empty() || claimed.unwrap_or(0) == 200 || (seconds - 8.0).abs() < 0.1;
        assert!(
            told,
            "{name}: claimed {claimed:?} in {seconds} s, {errors:?}"
        );
    }
}

#[test]
fn damage_is_hidden_unless_decoding_is_strict() {
    let Some(clip) = make(
        "-f lavfi -i testsrc2=s=320x180:r=25:d=4 -c:v libx264 -preset ultrafast -g 25",
        "a.mp4",
    ) else {
        return;
    };
    let mut bytes = clip.bytes();
    let len = bytes.len();
    for place in 1..30 {
        bytes[len * 2 / 10 + place * len / 60] ^= 0x55;
    }
    let source = Source::from(bytes);
    let strict = DecodeOptions {
        strict: true,
        ..DecodeOptions::default()
    };
    let (_, errors) = decode(&mut open(&source).unwrap(), &strict);
    assert!(errors.iter().any(Error::is_decode), "{errors:?}");
    let (frames, errors) = decode(&mut open(&source).unwrap(), &DecodeOptions::default());
    assert!(
        errors.len() < 20 && frames.len() > 80,
        "{} frames, {errors:?}",
        frames.len()
    );
}

#[test]
fn a_picture_beyond_the_limit_is_refused() {
    let Some(clip) = film() else { return };
    let demuxer = clip.open();
    let options = DecodeOptions {
        max_pixels: 320 * 180 - 1,
        ..DecodeOptions::default()
    };
    let error =
        VideoDecoder::open(&demuxer.streams()[video_index(&demuxer)], &options).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                width: 320,
                height: 180
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_picture_that_outgrows_the_limit_on_the_way_is_an_error() {
    let Some(small) = make("-f lavfi -i testsrc2=s=64x64:d=1 -c:v mpeg2video", "a.ts") else {
        return;
    };
    let Some(large) = make("-f lavfi -i testsrc2=s=640x360:d=1 -c:v mpeg2video", "b.ts") else {
        return;
    };
    let source = Source::from([small.bytes(), large.bytes()].concat());
    let options = DecodeOptions {
        max_pixels: 320 * 180,
        ..DecodeOptions::default()
    };
    let (frames, errors) = decode(&mut open(&source).unwrap(), &options);
    assert!(!errors.is_empty());
    assert!(frames.iter().all(|frame| frame.width() == 64));
}

#[test]
fn too_many_streams_are_refused() {
    let Some(clip) = film() else { return };
    let limits = Limits {
        max_streams: 1,
        ..Limits::default()
    };
    let result = Demuxer::open(&clip.source(), &limits, &CancelToken::default());
    let Err(error @ Error::TooManyStreams { limit: 1, .. }) = result else {
        panic!("{result:?}");
    };
    let told = error.to_string();
    assert!(
        told.ends_with("container has more than 1 streams"),
        "{told}"
    );
}

#[test]
fn many_streams_are_no_fault() {
    for name in ["a.mp4", "a.mkv"] {
        let sounds = " -map 1".repeat(130);
        let arguments = format!(
            "-f lavfi -i testsrc2=s=64x64:d=0.2 -f lavfi -i sine=d=0.2 -map 0{sounds} -c:v mpeg4 -c:a flac -strict -2"
        );
        let Some(clip) = make(&arguments, name) else {
            return;
        };
        assert_eq!(clip.open().streams().len(), 131, "{name}");
    }
}

#[test]
fn no_damage_to_a_container_breaks_the_reader() {
    let Some(clip) = film() else { return };
    let whole = clip.bytes();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..60 {
        let mut bytes = whole.clone();
        let head = if round % 2 == 0 {
            4096.min(bytes.len())
        } else {
            bytes.len()
        };
        for _ in 0..8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes[state as usize % head] = (state >> 32) as u8;
        }
        // Whatever comes of it, it comes to an end: an error or fewer packets.
        if let Ok(mut demuxer) = open(&Source::from(bytes)) {
            let read = packets(&mut demuxer).map(|packets| packets.len());
            assert!(read.unwrap_or(0) < 1000);
        }
    }
}

/// Codecs whose decoders work on several frames at once, or hide damage; files of them; and in how many of eight damaged files it can be seen.
/// VP8 decodes anything.
const DECODED: [(&str, &str, u32); 9] = [
    ("-c:v mpeg4 -q:v 3 -bf 2 -vtag xvid", "a.avi", 6),
    ("-c:v msmpeg4 -q:v 3", "a.avi", 6),
    ("-c:v wmv2 -q:v 3", "a.avi", 6),
    ("-c:v mpeg2video -q:v 3 -bf 2", "a.mpg", 6),
    ("-c:v mjpeg -q:v 3 -pix_fmt yuvj420p", "a.avi", 6),
    ("-c:v libx264 -preset veryfast -g 12", "a.mkv", 6),
    (
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=12:hash=1",
        "a.mkv",
        6,
    ),
    (
        "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 1M",
        "a.mkv",
        0,
    ),
    ("-c:v ffv1 -level 3 -slices 4 -slicecrc 1", "a.mkv", 6),
];

#[test]
fn strict_decoding_sees_damage_and_no_damage_ends_the_process() {
    let strict = DecodeOptions {
        strict: true,
        threads: 4,
        ..DecodeOptions::default()
    };
    for (codec, name, least) in DECODED {
        let made = format!("-f lavfi -i testsrc2=s=176x144:r=25:d=2 {codec}");
        let Some(clip) = make(&made, name) else {
            return;
        };
        let bytes = clip.bytes();
        let (frames, errors) = decode(&mut open(&Source::from(bytes.clone())).unwrap(), &strict);
        assert!(
            errors.is_empty() && frames.len() == 50,
            "{codec}: {} frames, {errors:?}",
            frames.len()
        );
        let mut seen = 0;
        for seed in 1..=8_usize {
            let mut bytes = bytes.clone();
            let length = bytes.len();
            // Beyond the headers and before the index.
            for place in 0..12 * seed {
                let at = length / 10 + (place * seed * 7919 + seed * 104_729) % (length * 8 / 10);
                bytes[at] ^= 1 << (place % 8);
            }
            let Ok(mut demuxer) = open(&Source::from(bytes)) else {
                continue;
            };
            let (_, errors) = decode(&mut demuxer, &strict);
            seen += u32::from(errors.iter().any(Error::is_decode));
        }
        assert!(
            seen >= least,
            "{codec}: damage was seen in {seen} of 8 files"
        );
    }
}
