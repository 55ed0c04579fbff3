//! Sources with several tracks of sound: all of them come out, named, on the picture's grid, and the same after a kill.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rungs_testkit::checker::{Expectation, Report};
use rungs_testkit::clips::{self, Audio, Clip};
use rungs_testkit::tool;

use crate::support::{Made, Running, check, package_line, published, ready, rungs};

/// A small clip with stereo sound in Matroska: 320×180 at 24 frames a second.
fn small() -> Clip {
    let clip = Clip::new().size(320, 180).container("mkv");
    clip.audio(Audio::Stereo)
}

/// German and named, English and the default, and one without a language.
fn three_tracks() -> PathBuf {
    small()
        .seconds(3.3)
        .extra(&["-map", "1:a", "-map", "1:a", "-ac:a:1", "1"])
        .extra(&["-disposition:a:0", "0", "-disposition:a:1", "default"])
        .extra(&["-disposition:a:2", "0"])
        .extra(&["-metadata:s:a:0", "language=ger"])
        .extra(&["-metadata:s:a:0", "title=Mit \"Kommentar\""])
        .extra(&["-metadata:s:a:1", "language=eng"])
        .make()
}

fn expect() -> Expectation {
    Expectation {
        segment_seconds: Some(1.0),
        audio: Some(true),
        renditions: Some(1),
        ..Expectation::default()
    }
}

fn names(report: &Report) -> Vec<&str> {
    let names = report
        .renditions
        .iter()
        .map(|rendition| rendition.name.as_str());
    names
        .filter_map(|name| name.strip_prefix("audio/"))
        .collect()
}

/// What the multivariant playlist says of each rendition of sound.
fn media(out: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(out.join("master.m3u8")).expect("it is there");
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("#EXT-X-MEDIA:TYPE=AUDIO,"));
    lines.map(str::to_owned).collect()
}

#[test]
fn all_tracks_come_out_with_their_names() {
    if !ready() {
        return;
    }
    let source = three_tracks();
    let made = Made::of(&source, &["--crf", "30"]);
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let report = made.check(&Expectation {
        source: Some(source),
        ..expect()
    });
    assert_eq!(names(&report), ["eng-aac", "ger-aac", "und-aac"]);
    let told = [
        r#"GROUP-ID="aac",NAME="en",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="1",URI="audio/eng-aac/playlist.m3u8""#,
        r#"GROUP-ID="aac",NAME="Mit Kommentar",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",URI="audio/ger-aac/playlist.m3u8""#,
        r#"GROUP-ID="aac",NAME="Audio",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",URI="audio/und-aac/playlist.m3u8""#,
    ];
    assert_eq!(media(&made.out()), told);
    let manifest = std::fs::read_to_string(made.out().join("manifest.mpd")).expect("a manifest");
    for part in [
        "lang=\"de\"",
        "lang=\"en\"",
        "<Label>Mit &quot;Kommentar&quot;</Label>",
    ] {
        assert!(manifest.contains(part), "{part} is not in\n{manifest}");
    }
}

#[test]
fn tracks_are_chosen_by_number_and_language() {
    if !ready() {
        return;
    }
    let source = three_tracks();
    for (choice, wanted) in [
        ("first", &["eng-aac"][..]),
        ("3,deu", &["und-aac", "ger-aac"]),
        ("none", &[]),
    ] {
        let made = Made::of(&source, &["--crf", "30", "--audio-tracks", choice]);
        let report = made.check(&Expectation {
            audio: Some(!wanted.is_empty()),
            ..expect()
        });
        assert_eq!(names(&report), wanted, "{choice}");
    }
}

#[test]
fn a_track_that_is_not_there_is_refused_by_name() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    for (choice, reason) in [
        (
            "4",
            "there is no track 4 of sound; there is track 1 (ger), track 2 (eng), track 3",
        ),
        ("eng,fra", "no track of sound is tagged fr"),
    ] {
        let options = ["--audio-tracks", choice];
        let answer = rungs(package_line(&three_tracks(), &out, &options));
        assert_eq!(answer.code, Some(3), "{}", answer.stderr);
        assert!(answer.stderr.contains(reason), "{}", answer.stderr);
        assert!(!out.exists());
    }
}

#[test]
fn a_job_with_several_tracks_ends_with_the_same_bytes() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let source = three_tracks();
    let options = ["--crf", "30", "--audio", "opus"];
    let whole = Made::of(&source, &options);
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let told = [&options[..], &["--progress", "json"]].concat();
    for events in [6, 9] {
        let running = Running::start(package_line(&source, &out, &told));
        running.kill_after(events, Duration::from_mins(1));
    }
    let answer = rungs(package_line(&source, &out, &options));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    check(&out, &expect());
    let (one, two) = (published(&whole.out()), published(&out));
    assert!(one.keys().eq(two.keys()));
    for (name, bytes) in &one {
        assert!(two[name] == *bytes, "{} differs", name.display());
    }
    let answer = rungs(["verify".as_ref(), out.as_os_str()]);
    assert_eq!(answer.code, Some(0), "{}", answer.stdout);
}

#[test]
fn dolby_passes_through_beside_what_every_browser_plays() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    for (codec, container, name) in [("ac3", "ts", "ac-3"), ("eac3", "mp4", "ec-3")] {
        // Shorter than the picture: silence of its own kind follows.
        let clip = Clip::new().size(320, 180).seconds(3.3).container(container);
        let clip = clip.audio(Audio::Surround51).audio_codec(codec);
        let source = clip.audio_seconds(2.6).make();
        let made = Made::of(&source, &["--crf", "30"]);
        assert_eq!(made.warnings(), ["sound_filled"; 2], "{codec}");
        let report = made.check(&expect());
        let codecs: Vec<_> = report.renditions.iter().map(|one| &one.codec).collect();
        assert_eq!(codecs[1..], ["opus", name]);
        let told = media(&made.out());
        assert!(told[0].starts_with("GROUP-ID=\"opus\""), "{told:?}");
        assert!(told[1].starts_with(&format!("GROUP-ID=\"{name}\"")));
        // Nothing was lost on the way: its packets are the source's.
        let alone = Made::of(&source, &["--crf", "30", "--audio", "copy"]);
        let report = alone.check(&expect());
        assert_eq!(report.renditions[1].codec, name);
        assert_eq!(packets(&made.out(), codec), packets(&alone.out(), codec));
    }
}

/// The files of the track in this codec.
fn packets(out: &Path, codec: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = format!("audio/und-{codec}/");
    let files = published(out).into_iter();
    let found = files.filter(|(path, _)| path.to_string_lossy().starts_with(&folder));
    let found: Vec<_> = found.collect();
    assert!(found.len() > 4, "{found:?}");
    found
}

#[test]
fn a_second_encoding_offers_the_same_tracks() {
    if !ready() {
        return;
    }
    let clip = small().seconds(1.3).audio_codec("ac3");
    let source = clip
        .extra(&["-map", "1:a", "-c:a:1", "aac"])
        .extra(&["-metadata:s:a:0", "language=eng"])
        .extra(&["-metadata:s:a:1", "language=eng"])
        .make();
    let made = Made::of(&source, &["--crf", "30"]);
    let report = made.check(&expect());
    assert_eq!(names(&report), ["eng-aac", "eng-aac-2", "eng-ac3"]);
    let told = media(&made.out());
    let wanted = [
        r#"GROUP-ID="aac",NAME="en",LANGUAGE="en",DEFAULT=YES"#,
        r#"GROUP-ID="aac",NAME="en 2",LANGUAGE="en",DEFAULT=NO"#,
        r#"GROUP-ID="ac-3",NAME="en",LANGUAGE="en",DEFAULT=YES"#,
        r#"GROUP-ID="ac-3",NAME="en 2",LANGUAGE="en",DEFAULT=NO"#,
    ];
    assert_eq!(told.len(), wanted.len());
    for (told, wanted) in told.iter().zip(wanted) {
        assert!(told.starts_with(wanted), "{told}");
    }
}

/// What an independent decoder makes of the sound of a file or of what a playlist names: its layout, and its channels at 48 kHz.
fn decoded(path: &Path) -> (String, Vec<Vec<f32>>) {
    let run = tool::ffprobe().args(["-of", "json", "-show_streams", "-select_streams", "a:0"]);
    let stream = run.arg(path).json().expect("it can be probed")["streams"][0].clone();
    let channels = stream["channels"].as_u64().expect("a number") as usize;
    let run = tool::ffmpeg().arg("-i").arg(path).args(["-map", "0:a:0"]);
    let run = run.args(["-ar", "48000", "-f", "f32le", "-"]);
    let bytes = run.run().expect("it can be decoded").stdout;
    let mut apart = vec![Vec::new(); channels];
    for (place, sample) in bytes.chunks_exact(4).enumerate() {
        let sample = f32::from_le_bytes(sample.try_into().expect("four bytes"));
        apart[place % channels].push(sample);
    }
    let layout = stream["channel_layout"].as_str().unwrap_or_default();
    (layout.to_owned(), apart)
}

/// How strong a tone is in half a second of sound, which holds whole waves of it (Goertzel's algorithm): half its amplitude.
fn strength(samples: &[f32], hertz: u32) -> f64 {
    let window = &samples[12_000..36_000];
    let turn = std::f64::consts::TAU * f64::from(hertz) / 48_000.0;
    let (mut one, mut two) = (0.0, 0.0);
    for sample in window {
        (one, two) = (f64::from(*sample) + 2.0 * turn.cos() * one - two, one);
    }
    let power = one * one + two * two - 2.0 * turn.cos() * one * two;
    power.max(0.0).sqrt() / window.len() as f64
}

/// Which of the tones of eight channels is the strongest in each channel, and that there is none but noise beside it.
fn tones(channels: &[Vec<f32>]) -> Vec<u32> {
    let heard = channels.iter().map(|samples| {
        let mut all: Vec<_> = (0..8)
            .map(|channel| (strength(samples, clips::tone(channel, 8)), channel))
            .collect();
        all.sort_by(|one, other| other.0.total_cmp(&one.0));
        assert!(all[0].0 > 0.05 && all[1].0 < 0.01, "{all:?}");
        all[0].1
    });
    heard.collect()
}

#[test]
fn eight_channels_stay_in_their_places() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let clip = Clip::new().size(320, 180).seconds(1.3).container("mkv");
    let clip = clip.audio(Audio::Surround71).audio_codec("flac");
    let source = clip.make();
    for (codec, folder) in [("opus", "und-opus"), ("aac", "und-aac")] {
        let made = Made::of(&source, &["--crf", "40", "--audio", codec]);
        made.check(&expect());
        assert_eq!(made.report["tracks"][1]["channels"], 8);
        let (layout, channels) =
            decoded(&made.out().join("audio").join(folder).join("playlist.m3u8"));
        assert_eq!((layout.as_str(), channels.len()), ("7.1", 8), "{codec}");
        assert_eq!(tones(&channels), [0, 1, 2, 3, 4, 5, 6, 7], "{codec}");
        assert!(media(&made.out())[0].contains("CHANNELS=\"8\""));
        let init = std::fs::read(made.out().join("audio").join(folder).join("init.mp4"));
        let init = init.expect("it is there");
        if let Some(at) = init.windows(4).position(|kind| kind == b"dOps") {
            // Version, channels, pre-skip, rate and gain come before the mapping family; in family 1 the sixth place of eight is behind.
            assert_eq!(init[at + 4 + 10], 1);
        } else {
            assert_eq!(codec, "aac");
        }
    }
}

#[test]
fn eight_channels_are_mixed_down_to_two() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let clip = Clip::new().size(320, 180).seconds(1.3).container("mkv");
    let source = clip.audio(Audio::Surround71).audio_codec("flac").make();
    let made = Made::of(&source, &["--crf", "40", "--downmix", "stereo"]);
    made.check(&expect());
    let (layout, channels) = decoded(&made.out().join("audio/und-opus/playlist.m3u8"));
    assert_eq!((layout.as_str(), channels.len()), ("stereo", 2));
    // The front, the centre, the back and the side of its own half; nothing of the other half, nothing of the low frequencies.
    for (side, own, other) in [(0, [0, 2, 4, 6], [1, 5, 7]), (1, [1, 2, 5, 7], [0, 4, 6])] {
        let heard = |channel| strength(&channels[side], clips::tone(channel, 8));
        let loud = own.map(heard);
        assert!(loud.iter().all(|tone| *tone > 0.01), "{side}: {loud:?}");
        let quiet = other.map(heard);
        assert!(quiet.iter().all(|tone| *tone < 0.002), "{side}: {quiet:?}");
        assert!(heard(3) < 0.002, "{side}");
    }
}

#[test]
fn channels_are_mixed_down_on_request() {
    if !ready() {
        return;
    }
    let clip = Clip::new().size(320, 180).seconds(1.3);
    let source = clip.audio(Audio::Surround51).make();
    let made = Made::of(&source, &["--crf", "30", "--downmix", "stereo"]);
    made.check(&expect());
    assert_eq!(made.report["tracks"][1]["channels"], 2);
    assert_eq!(made.report["tracks"][1]["codec"], "opus");
    // Two channels are left alone.
    let source = clip_of_two().make();
    let made = Made::of(&source, &["--crf", "30", "--downmix", "stereo"]);
    assert_eq!(made.report["plan"]["audio"][0]["mode"], "copy");
}

fn clip_of_two() -> Clip {
    let clip = Clip::new().size(320, 180).seconds(1.3);
    clip.audio(Audio::Stereo)
}

/// Integrated loudness of a track, as FFmpeg's own program has it.
pub(crate) fn loudness(out: &Path, folder: &str) -> f64 {
    let playlist = out.join("audio").join(folder).join("playlist.m3u8");
    let run = tool::ffmpeg()
        .args(["-loglevel", "info", "-i"])
        .arg(&playlist);
    let run = run.args(["-af", "ebur128=framelog=verbose", "-f", "null", "-"]);
    let told = run.run().expect("ffmpeg measures").stderr;
    let line = told.lines().find_map(|line| line.trim().strip_prefix("I:"));
    let figure = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    figure.unwrap_or_else(|| panic!("no loudness in\n{told}"))
}

#[test]
fn tracks_are_brought_to_a_loudness() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let source = three_tracks();
    let options = ["--crf", "30", "--loudness", "-23", "--audio-tracks", "1,2"];
    let made = Made::of(&source, &options);
    made.check(&expect());
    for (place, folder) in ["ger-opus", "eng-opus"].into_iter().enumerate() {
        let gain = &made.report["plan"]["audio"][place]["gain"];
        assert_ne!(gain, 0);
        let heard = loudness(&made.out(), folder);
        assert!((heard + 23.0).abs() < 0.5, "{folder}: {heard} LUFS, {gain}");
    }
    let answer = rungs(package_line(&source, &made.out(), &options));
    assert!(answer.stderr.contains("nothing to do") || answer.stdout.contains("nothing to do"));
}

#[test]
fn a_rate_that_changes_is_converted_and_never_passed_through() {
    if !ready() || tool::require_encoder("libopus").is_none() {
        return;
    }
    let part = |rate: &str| {
        let clip = Clip::new().size(320, 180).seconds(1.5).container("ts");
        clip.audio(Audio::Stereo).extra(&["-ar", rate]).make()
    };
    let joined = clips::concatenate(&[&part("48000"), &part("44100")]).expect("it can be made");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let answer = rungs(package_line(&joined, &out, &["--crf", "30"]));
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    for part in ["changes its sample rate", "try `--audio opus`"] {
        assert!(answer.stderr.contains(part), "{}", answer.stderr);
    }
    let made = Made::of(&joined, &["--crf", "30", "--audio", "opus"]);
    made.check(&expect());
}
