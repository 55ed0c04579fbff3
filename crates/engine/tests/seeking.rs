//! Readers that start in the middle of real files give the very pictures of one straight decode.

use std::path::{Path, PathBuf};

use rungs_engine::read::{Entered, Material, Picture, ReadOptions, Reader, Start, VideoMaterial};
use rungs_media::normalise::{self, Deinterlace, Pace, Rate, Telecine};
use rungs_media::time::TimeBase;
use rungs_media::{CancelToken, Rational, Source};
use rungs_testkit::clips::{Clip, Timing};
use rungs_testkit::tool;

fn track(path: &Path, strict: bool) -> VideoMaterial {
    track_as(path, strict, normalise::Config::default())
}

fn track_as(path: &Path, strict: bool, normalise: normalise::Config) -> VideoMaterial {
    let options = ReadOptions {
        normalise,
        strict,
        threads: 2,
    };
    let source = Source::from(path);
    VideoMaterial::new(&source, 0, options, &CancelToken::default())
        .expect("a clip that can be read")
}

/// Timestamp, duration and digest of each picture that is left.
type Shown = (Option<i64>, Option<i64>, u64);

fn shown(picture: &Picture) -> Shown {
    (picture.timestamp, picture.duration, picture.frame.digest())
}

fn rest(reader: &mut dyn Reader) -> Vec<Shown> {
    let mut pictures = Vec::new();
    while let Some(picture) = reader.next().expect("an undamaged clip") {
        pictures.push(shown(&picture));
    }
    assert_eq!(reader.counts().errors, 0);
    pictures
}

/// Where readers begin that are asked to start at each picture, or a tick before or after it; each must go on as the whole does.
fn entries(path: &Path, strict: bool) -> Vec<Option<i64>> {
    entries_of(&track(path, strict), path)
}

fn entries_of(track: &VideoMaterial, path: &Path) -> Vec<Option<i64>> {
    let whole = rest(&mut *track.open(None).expect("a clip").reader);
    let mut entries = Vec::new();
    for ((stamp, ..), off) in whole.iter().zip([-1, 0, 1].into_iter().cycle()) {
        let timestamp = stamp.expect("a timestamp") + off;
        let mut opened = track.open(Some(Start { timestamp })).expect("a clip");
        let pictures = rest(&mut *opened.reader);
        let place = match opened.entered {
            Entered::Beginning => {
                entries.push(None);
                0
            }
            Entered::Keyframe(keyframe) => {
                assert!(keyframe <= timestamp, "starts after {timestamp}");
                entries.push(Some(keyframe));
                let at = whole
                    .iter()
                    .position(|(stamp, ..)| *stamp == Some(keyframe));
                at.expect("the keyframe is shown")
            }
        };
        let same = pictures == whole[place..];
        assert!(
            same,
            "{}: other pictures from {timestamp} on",
            path.display()
        );
    }
    entries
}

/// How many different keyframes were found.
fn keyframes(path: &Path, strict: bool) -> usize {
    let mut found: Vec<_> = entries(path, strict).into_iter().flatten().collect();
    found.sort_unstable();
    found.dedup();
    found.len()
}

fn small() -> Clip {
    Clip::new().size(128, 96).rate("25").frames(40).gop(10)
}

#[test]
fn every_codec_goes_on_as_in_one_straight_decode() {
    let kinds = [
        ("libx264", "mp4"),
        ("libx264", "mkv"),
        ("libx265", "mp4"),
        ("libx265", "mkv"),
        ("libvpx-vp9", "webm"),
        ("libvpx", "webm"),
        ("libsvtav1", "mp4"),
        ("mpeg2video", "mp4"),
        ("mpeg2video", "mkv"),
        ("ffv1", "mkv"),
        ("prores_ks", "mov"),
        ("mjpeg", "mov"),
    ];
    for (codec, container) in kinds {
        if tool::require("ffmpeg")
            .and_then(|()| tool::require_encoder(codec))
            .is_none()
        {
            continue;
        }
        let mut clip = small().codec(codec).container(container);
        if codec.starts_with("prores") {
            clip = clip.pixel_format("yuv422p10le");
        }
        if codec == "mjpeg" {
            clip = clip.pixel_format("yuvj420p");
        }
        let found = keyframes(&clip.make(), false);
        assert!(found >= 4, "{codec} in {container}: {found} keyframes");
    }
}

#[test]
fn pictures_that_refer_back_over_a_keyframe_are_left_out() {
    for (codec, container, b_frames) in [
        ("libx264", "mp4", 3),
        ("libx264", "mkv", 3),
        ("libx265", "mp4", 3),
        ("libx265", "mkv", 3),
        ("mpeg2video", "mp4", 2),
        ("mpeg2video", "mkv", 2),
    ] {
        if tool::require("ffmpeg").is_none() {
            return;
        }
        let clip = small()
            .codec(codec)
            .container(container)
            .b_frames(b_frames)
            .open_gop()
            .make();
        for strict in [false, true] {
            let found = keyframes(&clip, strict);
            assert!(
                found >= 4,
                "{codec} in {container}, strict {strict}: {found} keyframes"
            );
        }
    }
}

/// The clip with one timestamp that stands twice, as where two files were put together, and times of decoding that are not those of showing.
fn stumbling(clip: &Clip, container: &str) -> PathBuf {
    let from = clip.make();
    let to = from.with_extension(format!("stumbles.{container}"));
    let twice = "setts=pts=if(eq(N\\,13)\\,PTS+DURATION\\,PTS):dts=DTS-DURATION";
    let run = tool::ffmpeg().arg("-i").arg(&from);
    let run = run.args(["-c", "copy", "-bsf:v", twice]).arg(&to);
    run.run().expect("a copy");
    to
}

#[test]
fn a_timestamp_that_stands_twice_changes_nothing_behind_it() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    for container in ["mp4", "mkv"] {
        let path = stumbling(&small().b_frames(2).container(container), container);
        let whole = rest(&mut *track(&path, false).open(None).expect("a clip").reader);
        let mut stamps: Vec<_> = whole.iter().filter_map(|(stamp, ..)| *stamp).collect();
        stamps.dedup();
        assert_eq!(
            (whole.len(), stamps.len()),
            (40, 39),
            "{container}: {stamps:?}"
        );
        assert!(keyframes(&path, false) >= 4, "{container}");
    }
}

#[test]
fn variable_frame_rates_and_late_starts_are_sought_too() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let clips = [
        small().vfr(),
        small().timing(Timing::Slides { every: 7 }).container("mkv"),
        small().rate("30000/1001").b_frames(2),
        small()
            .extra(&["-output_ts_offset", "3.3"])
            .container("mkv"),
        small().extra(&["-movflags", "+frag_keyframe+empty_moov"]),
    ];
    for clip in clips {
        assert!(keyframes(&clip.make(), false) >= 1, "{clip:?}");
    }
}

#[test]
fn what_cannot_be_sought_exactly_is_read_from_the_beginning() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let clips = [
        small().container("ts"),
        small().codec("mpeg4").container("avi"),
        small().container("h264"),
    ];
    for clip in clips {
        let path = clip.make();
        let track = track(&path, false);
        assert_eq!(track.keyframe_before(i64::MAX), None);
        let start = Some(Start { timestamp: 20 });
        let opened = track.open(start).expect("a clip");
        assert_eq!(opened.entered, Entered::Beginning, "{clip:?}");
    }
}

#[test]
fn an_intra_refresh_is_no_place_to_start() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    for container in ["mp4", "mkv"] {
        let clip = small()
            .container(container)
            .extra(&["-intra-refresh", "1"])
            .make();
        assert!(keyframes(&clip, false) <= 1);
        let track = track(&clip, false);
        assert_eq!(track.keyframe_before(i64::MAX), None);
    }
}

#[test]
fn the_index_tells_where_a_reader_would_begin() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    for container in ["mp4", "mkv"] {
        let clip = small().container(container).b_frames(2).make();
        let track = track(&clip, false);
        let whole = rest(&mut *track.open(None).expect("a clip").reader);
        for stamp in whole.iter().filter_map(|(stamp, ..)| *stamp) {
            let opened = track
                .open(Some(Start { timestamp: stamp }))
                .expect("a clip");
            let Entered::Keyframe(keyframe) = opened.entered else {
                panic!("no keyframe at {stamp}");
            };
            let told = track.keyframe_before(stamp).expect("an index");
            assert_eq!(keyframe, told, "at {stamp}");
        }
    }
}

#[test]
fn what_is_to_come_is_counted_after_a_start_too() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let clip = small().vfr().b_frames(2).make();
    let track = track(&clip, false);
    let whole = rest(&mut *track.open(None).expect("a clip").reader);
    let stamps: Vec<_> = whole.iter().filter_map(|(stamp, ..)| *stamp).collect();
    for (place, from) in stamps.iter().enumerate().skip(12) {
        let until = from + 500;
        let wanted = stamps
            .iter()
            .filter(|stamp| (*from..until).contains(stamp))
            .count() as u64;
        let mut reader = track
            .open(Some(Start { timestamp: *from }))
            .expect("a clip")
            .reader;
        assert_eq!(reader.look_ahead(*from, until).expect("packets"), wanted);
        // Some of them are in the decoder now, or out of it.
        while reader
            .next()
            .expect("a picture")
            .is_some_and(|picture| picture.timestamp < stamps.get(place.saturating_sub(2)).copied())
        {
        }
        let out = 2 - 1;
        let left = reader.look_ahead(*from, until).expect("packets");
        assert!(left + out >= wanted, "{left} of {wanted} at {from}");
    }
}

#[test]
fn what_is_too_much_to_be_read_ahead_is_told_by_what_was_seen() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    // Noise without loss: twice what is read ahead at most.
    let noise = [
        "-vf",
        "noise=alls=100:allf=t",
        "-preset",
        "ultrafast",
        "-qp",
        "0",
    ];
    let clip = Clip::new()
        .size(1280, 720)
        .rate("30")
        .frames(60)
        .container("mkv");
    let track = track(&clip.extra(&noise).make(), false);
    let mut reader = track.open(None).expect("a clip").reader;
    let told = reader.look_ahead(0, 2000).expect("packets");
    assert!((55..=65).contains(&told), "{told} pictures of 60");
}

/// Half pictures at 50 a second in pictures of two fields, as cameras of the last century gave them.
fn fields(clip: Clip, order: &str) -> Clip {
    clip.extra(&[
        "-vf",
        &format!("interlace=scan={order}:lowpass=0"),
        "-flags:v",
        "+ilme+ildct",
    ])
}

fn whole_of(path: &Path, config: normalise::Config) -> Vec<Shown> {
    let track = track_as(path, true, config);
    rest(&mut *track.open(None).expect("a clip").reader)
}

fn deinterlaced(deinterlace: Deinterlace) -> normalise::Config {
    normalise::Config {
        deinterlace,
        ..normalise::Config::default()
    }
}

#[test]
fn deinterlaced_pictures_are_those_of_one_straight_run() {
    if tool::require("ffmpeg").is_none() || tool::require_encoder("libx264").is_none() {
        return;
    }
    let clip = || small().rate("50").frames(80);
    for (clip, order) in [
        (clip(), "tff"),
        (clip().b_frames(2).container("mkv"), "bff"),
        (clip().codec("mpeg2video"), "tff"),
    ] {
        let path = fields(clip, order).make();
        assert_eq!(keyframes(&path, true), 4, "{order}");
        let made = whole_of(&path, normalise::Config::default());
        let left = whole_of(&path, deinterlaced(Deinterlace::Off));
        assert_eq!(made.len(), 40);
        let pairs = || made.iter().zip(&left);
        assert!(pairs().all(|(made, left)| made.2 != left.2), "{order}");
        assert!(pairs().all(|(made, left)| (made.0, made.1) == (left.0, left.1)));
    }
}

#[test]
fn progressive_pictures_are_left_alone_unless_all_are_wanted() {
    if tool::require("ffmpeg").is_none() || tool::require_encoder("libx264").is_none() {
        return;
    }
    let path = small().make();
    let run = |deinterlace| {
        let track = track_as(&path, true, deinterlaced(deinterlace));
        entries_of(&track, &path);
        whole_of(&path, deinterlaced(deinterlace))
    };
    let off = run(Deinterlace::Off);
    assert_eq!(off, run(Deinterlace::Auto));
    let on = run(Deinterlace::On);
    assert!(
        off.iter()
            .zip(&on)
            .all(|(off, on)| off.2 != on.2 && off.0 == on.0)
    );
}

/// The same pictures at the same times, from wherever one starts.
#[test]
fn a_pace_is_kept_from_any_start() {
    if tool::require("ffmpeg").is_none() || tool::require_encoder("libx264").is_none() {
        return;
    }
    let rate = |num, den| Rational { num, den };
    let uneven = || small().timing(Timing::Variable).container("mkv");
    for (clip, rate, count) in [
        (small(), Rate::Most(rate(10, 1)), Some(16)),
        (small(), Rate::Most(rate(30, 1)), Some(40)),
        (small(), Rate::Most(rate(25, 2)), Some(20)),
        (uneven(), Rate::Most(rate(10, 1)), None),
        (
            small().container("mkv"),
            Rate::Exactly(rate(30, 1)),
            Some(48),
        ),
        (small(), Rate::Exactly(rate(10, 1)), Some(16)),
        (uneven(), Rate::Exactly(rate(25, 1)), None),
    ] {
        let path = clip.make();
        let unit = if path.extension().is_some_and(|end| end == "mkv") {
            1000
        } else {
            12_800
        };
        let pace = Pace::new(rate, TimeBase::new(1, unit).expect("above zero"));
        let config = normalise::Config {
            pace: Some(pace),
            ..normalise::Config::default()
        };
        let whole = whole_of(&path, config.clone());
        let length = count.unwrap_or(whole.len());
        assert_eq!(whole.len(), length, "{rate:?}");
        let (first, last) = (whole[0].0, whole[length - 1]);
        let ends = last.0.zip(last.1).map(|(start, length)| start + length);
        let span = ends
            .zip(first)
            .map(|(end, first)| pace.time_base.seconds(end - first));
        assert!(
            span.is_some_and(|span| (1.5..3.0).contains(&span)),
            "{rate:?}: {span:?} s"
        );
        entries_of(&track_as(&path, true, config), &path);
    }
}

#[test]
fn film_that_became_video_becomes_film_again() {
    if tool::require("ffmpeg").is_none() || tool::require_encoder("libx264").is_none() {
        return;
    }
    let film = small().rate("24").frames(96);
    let video = film.clone().extra(&[
        "-vf",
        "telecine=first_field=top:pattern=23",
        "-flags:v",
        "+ilme+ildct",
    ]);
    let path = video.make();
    let config = normalise::Config {
        telecine: Some(Telecine {
            frame_rate: Rational { num: 30, den: 1 },
            time_base: TimeBase::new(1, 15_360).expect("above zero"),
        }),
        ..normalise::Config::default()
    };
    let made = whole_of(&path, config.clone());
    assert!((94..=97).contains(&made.len()), "{} pictures", made.len());
    let steps: Vec<_> = made
        .windows(2)
        .filter_map(|pair| Some(pair[1].0? - pair[0].0?))
        .collect();
    assert!(steps.iter().all(|step| *step == 640), "{steps:?}");
    let track = track_as(&path, true, config);
    assert!(entries_of(&track, &path).iter().all(Option::is_none));
    assert_eq!(track.keyframe_before(i64::MAX), None);
}
