//! What several tests need: headers and samples of real encoders, tracks made of them, and FFmpeg
//! as a judge.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::path::Path;
use std::process::{Command, Stdio};

use rungs_package::av1::SequenceHeader;
use rungs_package::coding::Coding;
use rungs_package::track::{
    AudioCodec, AudioTrack, Light, Nclx, Sample, Segment, Track, VideoTrack,
};
use rungs_package::{Bandwidth, TrackSpec};

/// SVT-AV1 1.4.1: 320x180, 8 bit 4:2:0, nothing said of colours.
pub const SVT: &[u8] = b"\x0a\x0b\0\0\0\x04\x3c\xfe\xcc\xfb\xf9\0\x40";
/// SVT-AV1 1.4.1: 320x180, 10 bit 4:2:0, BT.2020 with PQ.
pub const SVT_PQ: &[u8] = b"\x0a\x0e\0\0\0\x04\x3c\xfe\xcc\xfb\xf9\x50\x91\0\x90\x40";
/// libaom 3.6: 320x180, 8 bit 4:2:0. Other tools than SVT-AV1's, and the same contract.
pub const AOM: &[u8] = b"\x0a\x0b\0\0\0\x04\x3c\xfe\xcc\xda\xf9\0\x40";
/// libopus, two channels, 312 samples of priming.
pub const OPUS_HEAD: &[u8] = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
/// AAC-LC, 48 kHz, two channels.
pub const AAC_CONFIG: &[u8] = &[0x11, 0x90];

/// A video of 24 pictures a second in ticks of 1/24000 s.
pub fn video(header: &[u8]) -> VideoTrack {
    let sequence_header = SequenceHeader::parse(header).unwrap();
    VideoTrack {
        width: sequence_header.max_width,
        height: sequence_header.max_height,
        coding: Coding::Av1(vec![sequence_header]),
        timescale: 24_000,
        color: Some(Nclx {
            primaries: 1,
            transfer: 1,
            matrix: 1,
            full_range: false,
        }),
        pixel_aspect: (1, 1),
        light: Light::default(),
        delay: 0,
    }
}

/// The same video from encoders with unlike headers.
pub fn shared_video(headers: &[&[u8]]) -> VideoTrack {
    let headers = headers.iter().map(|header| SequenceHeader::parse(header));
    VideoTrack {
        coding: Coding::Av1(headers.collect::<Result<_, _>>().unwrap()),
        ..video(SVT)
    }
}

pub fn opus(language: Option<&str>) -> AudioTrack {
    AudioTrack {
        codec: AudioCodec::Opus {
            head: OPUS_HEAD.to_vec(),
        },
        sample_rate: 48_000,
        channels: 2,
        timescale: 48_000,
        priming: 312,
        language: language.map(str::to_owned),
    }
}

pub fn aac(language: Option<&str>) -> AudioTrack {
    AudioTrack {
        codec: AudioCodec::Aac {
            config: AAC_CONFIG.to_vec(),
        },
        priming: 1024,
        ..opus(language)
    }
}

pub fn video_spec(name: &str, track: VideoTrack) -> TrackSpec {
    TrackSpec {
        name: name.to_owned(),
        track: Track::Video(track),
        frame_rate: Some(24.0),
        estimated: Bandwidth {
            peak: 2_000_000,
            average: 1_000_000,
        },
        label: None,
    }
}

pub fn audio_spec(name: &str, track: AudioTrack) -> TrackSpec {
    TrackSpec {
        name: name.to_owned(),
        track: Track::Audio(track),
        frame_rate: None,
        estimated: Bandwidth {
            peak: 140_000,
            average: 128_000,
        },
        label: None,
    }
}

/// A segment that passes for `frames` pictures of a video with this header: the bytes after it are
/// no frames.
pub fn pictures(header: &[u8], first: u64, frames: u64) -> Segment {
    let samples = (0..frames).map(|frame| {
        let key = frame == 0;
        let mut data = if key { header.to_vec() } else { Vec::new() };
        data.extend([0x32, 3, frame as u8, 2, 3]);
        Sample {
            data,
            duration: 1000,
            offset: 0,
            key,
        }
    });
    Segment {
        decode_time: first * 1000,
        samples: samples.collect(),
    }
}

/// A segment that passes for `packets` of sound.
pub fn sound(first: u64, packets: u64, ticks: u32) -> Segment {
    let sample = Sample {
        data: vec![0xfc, 1, 2],
        duration: ticks,
        offset: 0,
        key: true,
    };
    Segment {
        decode_time: first * u64::from(ticks),
        samples: vec![sample; usize::try_from(packets).unwrap()],
    }
}

/// Runs FFmpeg and returns what it wrote to standard output. `None`, said aloud, when it is not
/// there.
#[expect(clippy::print_stderr, reason = "a test that is left out has to say so")]
pub fn ffmpeg(folder: &Path, arguments: &str) -> Option<Vec<u8>> {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "warning", "-nostdin"]);
    command
        .args(arguments.split_ascii_whitespace())
        .current_dir(folder)
        .stderr(Stdio::piped());
    match command.output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ffmpeg {arguments}\n{errors}");
            Some(output.stdout)
        }
        Err(error) => {
            assert!(
                std::env::var_os("STRICT").is_none(),
                "ffmpeg does not run: {error}"
            );
            eprintln!("SKIPPED: ffmpeg does not run: {error}");
            None
        }
    }
}

/// Reads the frames of an IVF file.
pub fn ivf_frames(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = &file[32..];
    let mut frames = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<12>() {
        let size = u32::from_le_bytes(*header.first_chunk().unwrap()) as usize;
        let (frame, after) = after.split_at(size);
        frames.push(frame);
        rest = after;
    }
    frames
}

/// Reads the packets of an Ogg file with one stream, headers included.
pub fn ogg_packets(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = vec![Vec::new()];
    while let Some(page) = file.strip_prefix(b"OggS") {
        let count = usize::from(page[22]);
        let lacing = &page[23..23 + count];
        let mut body = &page[23 + count..];
        for &length in lacing {
            let (part, after) = body.split_at(usize::from(length));
            packets.last_mut().unwrap().extend_from_slice(part);
            if length < 255 {
                packets.push(Vec::new());
            }
            body = after;
        }
        file = body;
    }
    packets.pop();
    packets
}

/// Reads the frames of an ADTS file, less their headers.
pub fn adts_frames(mut file: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let [_, _, _, a, b, c, _, ..] = *file {
        let length = usize::from(a & 3) << 11 | usize::from(b) << 3 | usize::from(c) >> 5;
        let (frame, rest) = file.split_at(length);
        frames.push(&frame[7..]);
        file = rest;
    }
    frames
}

/// A media playlist as another library reads it.
#[derive(Debug, Default, PartialEq)]
pub struct ReadPlaylist {
    pub target: u64,
    pub event: bool,
    pub map: String,
    pub segments: Vec<(f64, String)>,
    pub frames_only: bool,
    /// Start and length of the parts of files, for those segments that are no whole ones.
    pub ranges: Vec<(Option<u64>, u64)>,
    pub ended: bool,
}

/// Reads a media playlist; a line that is not understood is a failure.
pub fn read_media_playlist(text: &str) -> ReadPlaylist {
    use quick_m3u8::tag::{HlsPlaylistType, hls::Tag};
    let mut playlist = ReadPlaylist::default();
    let mut duration = None;
    for line in lines(text) {
        match line {
            Line::Uri(uri) => playlist.segments.push((duration.take().unwrap(), uri)),
            Line::Tag(tag) => match *tag {
                Tag::M3u(_) | Tag::Version(_) | Tag::IndependentSegments(_) => {}
                Tag::IFramesOnly(_) => playlist.frames_only = true,
                Tag::Byterange(tag) => playlist.ranges.push((tag.offset(), tag.length())),
                Tag::MediaSequence(tag) => assert_eq!(tag.media_sequence(), 0),
                Tag::Targetduration(tag) => playlist.target = tag.target_duration(),
                Tag::PlaylistType(tag) => {
                    playlist.event = tag.playlist_type() == HlsPlaylistType::Event;
                }
                Tag::Map(tag) => tag.uri().clone_into(&mut playlist.map),
                Tag::Inf(tag) => duration = Some(tag.duration()),
                Tag::Endlist(_) => playlist.ended = true,
                tag => panic!("{tag:?}"),
            },
        }
    }
    playlist
}

/// Reads the URIs of a multivariant playlist: variants and renditions.
pub fn read_master_uris(text: &str) -> Vec<String> {
    use quick_m3u8::tag::hls::Tag;
    let mut uris = Vec::new();
    for line in lines(text) {
        match line {
            Line::Uri(uri) => uris.push(uri),
            Line::Tag(tag) => match *tag {
                Tag::M3u(_) | Tag::Version(_) | Tag::IndependentSegments(_) | Tag::StreamInf(_) => {
                }
                Tag::Media(tag) => uris.push(tag.uri().unwrap().to_owned()),
                Tag::IFrameStreamInf(tag) => uris.push(tag.uri().to_owned()),
                tag => panic!("{tag:?}"),
            },
        }
    }
    uris
}

/// A line of a playlist.
pub enum Line<'a> {
    Tag(Box<quick_m3u8::tag::hls::Tag<'a>>),
    Uri(String),
}

/// Reads the lines of a playlist.
pub fn lines(text: &str) -> Vec<Line<'_>> {
    use quick_m3u8::config::ParsingOptionsBuilder;
    use quick_m3u8::tag::KnownTag;
    use quick_m3u8::{HlsLine, Reader};
    let options = ParsingOptionsBuilder::new()
        .with_parsing_for_all_tags()
        .build();
    let mut reader = Reader::from_str(text, options);
    let mut lines = Vec::new();
    while let Some(line) = reader.read_line().unwrap() {
        lines.push(match line {
            HlsLine::Uri(uri) => Line::Uri(uri.into_owned()),
            HlsLine::KnownTag(KnownTag::Hls(tag)) => Line::Tag(Box::new(tag)),
            line => panic!("{line:?}"),
        });
    }
    lines
}
