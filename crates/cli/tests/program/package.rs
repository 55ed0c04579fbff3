//! Good sources of every kind: what comes out is complete, in time, and like its source.

use std::path::Path;

use rungs_testkit::checker::{Expectation, Report};
use rungs_testkit::clips::{self, Audio, Clip, Timing};
use rungs_testkit::{mp4, tool};

use crate::support::{Made, published, ready};

/// A small clip: 320×180 at 24 frames a second.
fn small() -> Clip {
    Clip::new().size(320, 180)
}

/// What any package of `source` in one rung must be. The floor of PSNR is for a constant rate factor of 30.
fn expect(source: &Path, audio: bool) -> Expectation {
    Expectation {
        source: Some(source.to_owned()),
        psnr_floor: Some(33.0),
        segment_seconds: Some(1.0),
        audio: Some(audio),
        renditions: Some(1),
        ..Expectation::default()
    }
}

/// Packages a clip in one rung of its own size, asks that all is well, and gives what the checker saw.
fn good(clip: &Clip, audio: bool) -> (Made, Report) {
    let source = clip.make();
    let made = Made::of(&source, &["--crf", "30"]);
    assert_eq!(made.answer.stderr, "");
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let report = made.check(&expect(&source, audio));
    (made, report)
}

#[test]
fn frame_rates() {
    if !ready() {
        return;
    }
    for (rate, seconds, frames) in [
        ("24", 2.5, 60),
        ("25", 2.0, 50),
        ("30000/1001", 2.2, 66),
        ("60", 1.5, 90),
    ] {
        let (_, report) = good(&small().rate(rate).seconds(seconds), false);
        assert_eq!(report.frames, frames, "{rate}");
        assert_eq!(report.segments, seconds.ceil() as usize, "{rate}");
    }
}

#[test]
fn a_variable_frame_rate() {
    if !ready() {
        return;
    }
    good(
        &small()
            .vfr()
            .seconds(3.3)
            .audio(Audio::Mono)
            .audio_codec("opus"),
        true,
    );
}

#[test]
fn one_picture() {
    if !ready() {
        return;
    }
    let (_, report) = good(&small().frames(1), false);
    assert_eq!((report.frames, report.segments), (1, 1));
}

#[test]
fn one_segment_and_not_a_picture_more() {
    if !ready() {
        return;
    }
    let (_, report) = good(&small().frames(24), false);
    assert_eq!((report.frames, report.segments), (24, 1));
    let (_, report) = good(&small().frames(25), false);
    assert_eq!((report.frames, report.segments), (25, 2));
}

#[test]
fn several_rungs_with_sound() {
    if !ready() {
        return;
    }
    let source = small().seconds(3.5).audio(Audio::Stereo).make();
    let rungs = [
        "--rung",
        "180p",
        "--rung",
        "90p",
        "--rung",
        "240x240@crf=40",
    ];
    let made = Made::of(&source, &[&rungs[..], &["--crf", "30"]].concat());
    let report = made.check(&Expectation {
        renditions: Some(3),
        ..expect(&source, true)
    });
    let sizes: Vec<_> = report
        .renditions
        .iter()
        .filter_map(|rendition| rendition.size)
        .collect();
    assert_eq!(sizes, [(320, 180), (240, 136), (160, 90)]);
}

#[test]
fn the_default_ladder() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(854, 480).seconds(1.2).make();
    let made = Made::of(&source, &["--crf", "30"]);
    let report = made.check(&Expectation {
        renditions: Some(2),
        ..expect(&source, false)
    });
    let sizes: Vec<_> = report
        .renditions
        .iter()
        .filter_map(|rendition| rendition.size)
        .collect();
    assert_eq!(sizes, [(854, 480), (640, 360)]);
    assert!(made.answer.stdout.contains("854x480"));
}

#[test]
fn a_portrait_that_was_turned() {
    if !ready() {
        return;
    }
    for degrees in [90, 180, 270] {
        let (_, report) = good(&small().rotate(degrees).seconds(1.2), false);
        let size = if degrees == 180 {
            (320, 180)
        } else {
            (180, 320)
        };
        assert_eq!(report.renditions[0].size, Some(size), "{degrees}");
    }
}

#[test]
fn b_frames_and_open_groups() {
    if !ready() {
        return;
    }
    good(&small().b_frames(3).gop(30).seconds(3.0), false);
    good(&small().b_frames(3).gop(18).open_gop().seconds(3.0), false);
}

#[test]
fn channels_that_pass_through() {
    if !ready() {
        return;
    }
    for (audio, name) in [(Audio::Mono, "mono"), (Audio::Surround51, "5.1")] {
        let (made, report) = good(&small().seconds(2.3).audio(audio), true);
        let sound = report.renditions.last().expect("sound");
        assert_eq!(sound.codec, "mp4a.40.2", "{name}");
        let channels = if name == "mono" { 1 } else { 6 };
        let tracks = made.report["tracks"].as_array().expect("a list");
        assert_eq!(tracks[1]["channels"], channels, "{name}");
    }
}

#[test]
fn sound_that_is_encoded() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    for (codec, container, audio) in [
        ("ac3", "mkv", Audio::Surround51),
        ("flac", "mkv", Audio::Stereo),
        ("pcm", "mov", Audio::Stereo),
    ] {
        let clip = small().seconds(2.3).container(container);
        let (_, report) = good(&clip.audio(audio).audio_codec(codec), true);
        assert_eq!(report.renditions[1].codec.to_lowercase(), "opus", "{codec}");
    }
}

#[test]
fn opus_passes_through_from_matroska() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let clip = small().seconds(2.3).container("mkv").audio(Audio::Stereo);
    let (_, report) = good(&clip.audio_codec("opus"), true);
    assert_eq!(report.renditions[1].codec.to_lowercase(), "opus");
}

#[test]
fn a_transport_stream_with_adts() {
    if !ready() {
        return;
    }
    let clip = small().seconds(2.3).container("ts").audio(Audio::Stereo);
    let (_, report) = good(&clip, true);
    assert_eq!(report.renditions[1].codec, "mp4a.40.2");
}

#[test]
fn sound_as_it_was_asked_for() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let source = small().seconds(1.3).audio(Audio::Stereo).make();
    for (choice, codec) in [
        ("opus", Some("opus")),
        ("aac", Some("mp4a.40.2")),
        ("none", None),
    ] {
        let made = Made::of(&source, &["--crf", "30", "--audio", choice]);
        let report = made.check(&expect(&source, codec.is_some()));
        let sound = report.renditions.get(1);
        let told = sound.map(|sound| sound.codec.to_lowercase());
        assert_eq!(told.as_deref(), codec, "{choice}");
    }
}

#[test]
fn sound_that_is_late_short_or_long() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let clip = || small().seconds(3.0).audio(Audio::Stereo);
    let mkv = |clip: Clip| clip.container("mkv").audio_codec("opus");
    for (clip, warnings) in [
        (
            clip().audio_offset(0.7).audio_seconds(2.0),
            &["sound_filled"][..],
        ),
        (clip().audio_seconds(1.4), &["sound_filled"]),
        (mkv(clip().audio_offset(0.7)), &["sound_filled"]),
        (mkv(clip().audio_seconds(1.4)), &["sound_filled"]),
        (clip().audio_seconds(4.5), &[]),
    ] {
        let source = clip.make();
        let made = Made::of(&source, &["--crf", "30"]);
        assert_eq!(made.warnings(), warnings, "{clip:?}");
        assert_eq!(made.answer.stderr.lines().count(), warnings.len());
        made.check(&expect(&source, true));
    }
}

#[test]
fn other_codecs() {
    if !ready() {
        return;
    }
    for (encoder, container) in [
        ("mpeg2video", "ts"),
        ("libvpx-vp9", "webm"),
        ("libsvtav1", "mkv"),
        ("mpeg4", "avi"),
    ] {
        if tool::require_encoder(encoder).is_some() {
            let clip = small().seconds(1.4).codec(encoder);
            good(&clip.container(container), false);
        }
    }
}

#[test]
fn ten_bits_become_eight_and_that_is_told() {
    if !ready() || tool::require_encoder("libx265").is_none() {
        return;
    }
    let clip = small().seconds(1.4).codec("libx265");
    let source = clip.pixel_format("yuv420p10le").make();
    let made = Made::of(&source, &["--crf", "30"]);
    assert_eq!(made.warnings(), ["depth_reduced"]);
    made.check(&expect(&source, false));
}

#[test]
fn a_clock_that_jumps() {
    if !ready() {
        return;
    }
    let clip = small().seconds(1.5).container("ts").audio(Audio::Stereo);
    let once = clip.make();
    let twice = clips::concatenate(&[&once, &once]).expect("it can be made");
    let made = Made::of(&twice, &["--crf", "30"]);
    assert!(made.warnings().contains(&"timestamps_repaired"));
    // Its own times are no measure for what was made of them: the second half begins at zero again.
    let report = made.check(&Expectation {
        source: None,
        psnr_floor: None,
        frames: Some(72),
        ..expect(&twice, true)
    });
    let seconds = report.renditions[0].seconds;
    assert!((2.99..3.1).contains(&seconds), "{seconds} s");
}

#[test]
fn pixels_that_are_not_square() {
    if !ready() {
        return;
    }
    let (_, report) = good(&Clip::new().size(240, 180).sar(4, 3).seconds(1.2), false);
    assert_eq!(report.renditions[0].size, Some((320, 180)));
}

#[test]
fn odd_sizes() {
    if !ready() {
        return;
    }
    let clip = Clip::new().size(321, 181).seconds(1.2);
    let source = clip.codec("ffv1").container("mkv").make();
    let made = Made::of(&source, &["--crf", "30"]);
    let report = made.check(&expect(&source, false));
    assert_eq!(report.renditions[0].size, Some((320, 180)));
}

#[test]
fn pictures_that_are_held_over_boundaries() {
    if !ready() {
        return;
    }
    let pause = small().timing(Timing::Held {
        from: 1.4,
        until: 4.3,
    });
    let (_, report) = good(&pause.seconds(5.0).container("mkv"), false);
    assert_eq!((report.held, report.segments), (3, 5));
}

#[test]
fn keyframes_within_a_segment() {
    if !ready() {
        return;
    }
    let source = small().seconds(4.0).make();
    let made = Made::of(&source, &["--crf", "30", "--segment", "2", "--gop", "0.5"]);
    made.check(&Expectation {
        segment_seconds: Some(2.0),
        ..expect(&source, false)
    });
    let folder = made.out().join("video/av1-180p");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("it is published");
    let init = mp4::init(&read("init.mp4")).expect("an initialisation segment");
    for name in ["seg-00000.m4s", "seg-00001.m4s"] {
        let segment = mp4::segment(&read(name), &init).expect("a segment");
        let tracks = segment.fragments.iter().flat_map(|part| &part.tracks);
        let keys: Vec<_> = tracks
            .flat_map(|track| &track.samples)
            .enumerate()
            .filter_map(|(place, sample)| sample.is_sync().then_some(place))
            .collect();
        assert_eq!(keys, [0, 12, 24, 36], "{name}");
    }
}

#[test]
fn the_bytes_depend_on_the_plan_and_the_pictures_alone() {
    if !ready() {
        return;
    }
    let source = small().seconds(4.0).audio(Audio::Stereo).make();
    let rungs = ["--rung", "180p@speed=8", "--rung", "90p@speed=12"];
    let made = |jobs: &str| Made::of(&source, &[&rungs[..], &["--jobs", jobs]].concat());
    let (one, four) = (made("1"), made("4"));
    let (one, four) = (published(&one.out()), published(&four.out()));
    assert!(one.len() > 15, "{:?}", one.keys());
    assert!(one.keys().eq(four.keys()));
    for (name, bytes) in &one {
        assert!(four[name] == *bytes, "{} differs", name.display());
    }
}

#[test]
fn the_measure_is_the_checkers() {
    if !ready() {
        return;
    }
    let source = small().seconds(2.0).make();
    let rungs = ["--rung", "180p", "--rung", "90p"];
    let made = Made::of(
        &source,
        &[&rungs[..], &["--crf", "30", "--measure"]].concat(),
    );
    let report = made.check(&Expectation {
        renditions: Some(2),
        ..expect(&source, false)
    });
    let told = made.report["quality"].as_array().expect("a list");
    assert_eq!(told.len(), 2);
    // The scaled source of the second rung is another scaler's. One plane of luma has the samples of four planes of a colour difference.
    let error = |value: &serde_json::Value| 10_f64.powf(-value.as_f64().expect("a number") / 10.0);
    for ((told, seen), near) in told.iter().zip(&report.renditions).zip([0.3, 3.0]) {
        assert_eq!(
            seen.name,
            format!("video/{}", told["track"].as_str().unwrap_or_default())
        );
        let errors = 4.0 * error(&told["psnr_y"]) + error(&told["psnr_u"]) + error(&told["psnr_v"]);
        let told = -10.0 * (errors / 6.0).log10();
        let seen = seen.psnr.expect("it was compared");
        assert!(
            (told - seen).abs() < near,
            "told {told:.2} dB, seen {seen:.2} dB"
        );
    }
    assert!(
        made.answer.stdout.contains("PSNR"),
        "{}",
        made.answer.stdout
    );
}

#[test]
fn the_report_has_the_plan_and_the_cost() {
    if !ready() {
        return;
    }
    let source = small().frames(30).make();
    let made = Made::of(&source, &["--crf", "30", "--jobs", "2"]);
    let (plan, cost) = (&made.report["plan"], &made.report["cost"]);
    assert_eq!(made.report["version"], 1);
    assert_eq!(plan["renditions"][0]["name"], "av1-180p");
    assert_eq!(plan["renditions"][0]["encoder"]["crf"], 30);
    assert_eq!(plan["renditions"][0]["encoder"]["speed"], 12);
    assert!(cost["wall_seconds"].as_f64() > Some(0.0), "{cost}");
    assert!(cost["cpu_seconds"].as_f64() > Some(0.0), "{cost}");
    let sessions = cost["sessions"].as_array().expect("a list");
    let tasks: u64 = sessions
        .iter()
        .filter_map(|session| session["tasks"].as_u64())
        .sum();
    assert_eq!(tasks, 2, "{cost}");
}
