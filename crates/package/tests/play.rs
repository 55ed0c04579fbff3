//! Real encodes packaged, and played by FFmpeg: every picture and every audio sample must be what
//! the encoders' own files give, and at its time.

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{adts_frames, audio_spec, ffmpeg, ivf_frames, ogg_packets, opus, video, video_spec};
use rungs_package::av1::{SequenceHeader, sample_from_temporal_unit};
use rungs_package::output::Directory;
use rungs_package::track::{AudioCodec, AudioTrack, Sample, Segment, VideoTrack};
use rungs_package::{Layout, Packager, Summary};

const SECONDS: u32 = 3;
const SOURCE: &str = "-y -f lavfi -i testsrc2=s=320x180:r=24:d=3";
const TONE: &str = "-y -f lavfi -i aevalsrc=0.3*sin(440*t*t)|0.3*sin(330*t):s=48000:d=3";
const PCM: &str = "-map 0:a -c:a pcm_s16le -f s16le -";

const SVT: &str = "libsvtav1 -preset 12 -crf 45";
const AOM: &str = "libaom-av1 -cpu-used 8 -usage realtime -crf 45 -b:v 0";

/// Encodes each second by an encoder of its own, as a job does.
fn encode_pictures(folder: &Path) -> Option<Vec<Segment>> {
    encode_by(folder, |_| SVT)
}

fn encode_by(folder: &Path, encoder: impl Fn(u32) -> &'static str) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    for second in 0..SECONDS {
        let arguments = format!(
            "{SOURCE} -vf trim=start={second}:duration=1,setpts=PTS-STARTPTS \
             -c:v {} -g 240 {second}.ivf",
            encoder(second)
        );
        ffmpeg(folder, &arguments)?;
        let file = fs::read(folder.join(format!("{second}.ivf"))).unwrap();
        let samples = ivf_frames(&file)
            .into_iter()
            .enumerate()
            .map(|(i, unit)| Sample {
                data: sample_from_temporal_unit(unit).unwrap(),
                duration: 1000,
                offset: 0,
                key: i == 0,
            });
        let decode_time = u64::from(second) * 24_000;
        segments.push(Segment {
            decode_time,
            samples: samples.collect(),
        });
    }
    Some(segments)
}

/// Cuts packets of sound at the packet nearest to each second of the presentation.
fn cut_sound(packets: &[&[u8]], ticks: u32, priming: u32) -> Vec<Segment> {
    let cut = |second: u32| ((second * 48_000 + priming + ticks / 2) / ticks) as usize;
    let mut start = 0;
    let ends = (1..SECONDS).map(cut).chain([packets.len()]);
    ends.map(|end| {
        let samples = packets[start..end].iter().map(|packet| Sample {
            data: packet.to_vec(),
            duration: ticks,
            offset: 0,
            key: true,
        });
        let decode_time = start as u64 * u64::from(ticks);
        start = end;
        Segment {
            decode_time,
            samples: samples.collect(),
        }
    })
    .collect()
}

fn package(root: &Path, pictures: Vec<Segment>, audio: AudioTrack, sound: Vec<Segment>) -> Summary {
    let layout = Layout::new(Duration::from_secs(1));
    let mut packager = Packager::new(Directory::create(root).unwrap(), layout);
    let mut headers: Vec<Vec<u8>> = Vec::new();
    for segment in &pictures {
        let header = SequenceHeader::parse(&segment.samples[0].data).unwrap();
        if !headers.contains(&header.raw) {
            headers.push(header.raw);
        }
    }
    let headers: Vec<&[u8]> = headers.iter().map(Vec::as_slice).collect();
    let track = VideoTrack {
        coding: common::shared_video(&headers).coding,
        ..video(headers[0])
    };
    let rung = packager
        .add_track(video_spec("video/av1-180p", track))
        .unwrap();
    let tone = packager.add_track(audio_spec("audio/tone", audio)).unwrap();
    packager.start().unwrap();
    for (index, segment) in (0..).zip(pictures) {
        packager.commit(rung, index, segment).unwrap();
    }
    for (index, segment) in (0..).zip(sound) {
        packager.commit(tone, index, segment).unwrap();
    }
    packager.finish().unwrap()
}

/// One line a frame: time, duration and hash, without the header that names the file's properties.
fn frames(listing: &[u8]) -> Vec<(i64, String)> {
    let text = String::from_utf8(listing.to_vec()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<_> = line.split(',').map(str::trim).collect();
            (fields[2].parse().unwrap(), fields[5].to_owned())
        })
        .collect()
}

/// The pictures as they come out of the encoders' own files.
fn expected_pictures(folder: &Path) -> Option<Vec<(i64, String)>> {
    let mut all = Vec::new();
    for second in 0..SECONDS {
        let listing = ffmpeg(folder, &format!("-i {second}.ivf -f framemd5 -"))?;
        let offset = i64::from(second) * 24;
        all.extend(
            frames(&listing)
                .into_iter()
                .map(|(time, hash)| (time + offset, hash)),
        );
    }
    Some(all)
}

#[test]
fn ffmpeg_plays_every_picture_and_every_sample_of_opus() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(pictures) = encode_pictures(folder) else {
        return;
    };
    ffmpeg(folder, &format!("{TONE} -c:a libopus -b:a 96k tone.ogg"));
    let file = fs::read(folder.join("tone.ogg")).unwrap();
    let packets = ogg_packets(&file);
    let audio = AudioTrack {
        codec: AudioCodec::Opus {
            head: packets[0].clone(),
        },
        ..opus(Some("eng"))
    };
    let packets: Vec<_> = packets[2..].iter().map(Vec::as_slice).collect();
    let sound = cut_sound(&packets, 960, 312);
    package(&folder.join("out"), pictures, audio, sound);

    let expected = expected_pictures(folder).unwrap();
    assert_eq!(expected.len(), 72);
    // The Ogg file says where its last packet ends; a package plays that packet out.
    let wanted = ffmpeg(folder, &format!("-i tone.ogg {PCM}")).unwrap();
    assert_eq!(wanted.len(), 3 * 48_000 * 4);
    for manifest in ["master.m3u8", "manifest.mpd"] {
        // FFmpeg looks for the files of a manifest in a folder of its folder unless it is run
        // there.
        let out = folder.join("out");
        let listing = ffmpeg(&out, &format!("-i {manifest} -map 0:v -f framemd5 -")).unwrap();
        assert_eq!(frames(&listing), expected, "{manifest}");
        let heard = ffmpeg(&out, &format!("-i {manifest} {PCM}")).unwrap();
        assert!(
            heard[..wanted.len()] == wanted,
            "{manifest}: the sound differs"
        );
    }
}

#[test]
fn ffmpeg_plays_every_sample_of_aac() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(pictures) = encode_pictures(folder) else {
        return;
    };
    ffmpeg(folder, &format!("{TONE} -c:a aac -b:a 96k tone.aac"));
    let file = fs::read(folder.join("tone.aac")).unwrap();
    let packets = adts_frames(&file);
    let sound = cut_sound(&packets, 1024, 1024);
    package(&folder.join("out"), pictures, common::aac(None), sound);

    // ADTS has no edit list: the priming is heard.
    let raw = ffmpeg(folder, &format!("-i tone.aac {PCM}")).unwrap();
    for manifest in ["master.m3u8", "manifest.mpd"] {
        let copied = format!("-copyts -i {manifest} -map 0:a -c copy -f framemd5 -");
        let listing = ffmpeg(&folder.join("out"), &copied).unwrap();
        assert_eq!(
            frames(&listing)[0].0,
            -1024,
            "{manifest}: priming lies before time 0"
        );
        let heard = ffmpeg(&folder.join("out"), &format!("-i {manifest} {PCM}")).unwrap();
        // Whether FFmpeg drops what lies before time 0 of AAC in fragments depends on its version.
        let same = heard == raw || heard == raw[1024 * 4..];
        assert!(same, "{manifest}: the sound differs");
    }
}

#[test]
fn each_segment_plays_alone_at_its_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(pictures) = encode_pictures(folder) else {
        return;
    };
    let sound: Vec<_> = (0..3)
        .map(|second| common::sound(second * 50, 50, 960))
        .collect();
    package(&folder.join("out"), pictures, opus(None), sound);

    let expected = expected_pictures(folder).unwrap();
    let init = fs::read(folder.join("out/video/av1-180p/init.mp4")).unwrap();
    for (second, wanted) in expected.chunks(24).enumerate() {
        let segment = format!("out/video/av1-180p/seg-{second:05}.m4s");
        let file = [init.clone(), fs::read(folder.join(segment)).unwrap()].concat();
        fs::write(folder.join("alone.mp4"), file).unwrap();
        let arguments = "-copyts -i alone.mp4 -enc_time_base 1/24 -vsync passthrough -f framemd5 -";
        let listing = ffmpeg(folder, arguments).unwrap();
        assert_eq!(frames(&listing), wanted, "segment {second}");
    }
}

#[test]
fn ffmpeg_plays_segments_of_unlike_encoders_in_one_rendition() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(pictures) = encode_by(folder, |second| if second == 1 { AOM } else { SVT }) else {
        return;
    };
    let sound: Vec<_> = (0..3)
        .map(|second| common::sound(second * 50, 50, 960))
        .collect();
    package(&folder.join("out"), pictures, opus(None), sound);

    let init = fs::read(folder.join("out/video/av1-180p/init.mp4")).unwrap();
    let entries = init.windows(4).filter(|name| name == b"av01").count();
    // Two entries and the brand.
    assert_eq!(entries, 3);
    let expected = expected_pictures(folder).unwrap();
    for manifest in ["master.m3u8", "manifest.mpd"] {
        let out = folder.join("out");
        let listing = ffmpeg(&out, &format!("-i {manifest} -map 0:v -f framemd5 -")).unwrap();
        assert_eq!(frames(&listing), expected, "{manifest}");
    }
}
