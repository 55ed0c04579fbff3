//! H.264 and HEVC, alone and beside AV1: packages that the checker and FFmpeg's own players take.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rungs_testkit::checker::{self, Expectation, Rule};
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::tool;

use crate::sound::loudness;
use crate::support::{Made, Running, check, package_line, ready, rungs};

fn ready_with(encoder: &str) -> bool {
    ready() && tool::require_encoder(encoder).is_some()
}

fn clip() -> Clip {
    Clip::new().size(320, 180).seconds(2.5)
}

fn expect(source: &Path, renditions: usize) -> Expectation {
    Expectation {
        source: Some(source.to_owned()),
        psnr_floor: Some(33.0),
        segment_seconds: Some(1.0),
        renditions: Some(renditions),
        ..Expectation::default()
    }
}

/// Times of the video packets that FFmpeg reads from a playlist or a manifest, in seconds as it writes them: decoded and shown.
fn packets(entry: &Path, stream: &str) -> Vec<(f64, f64)> {
    let read = tool::ffprobe()
        .args(["-v", "error", "-of", "json", "-select_streams", stream])
        .args(["-show_entries", "packet=pts_time,dts_time"])
        .arg(entry)
        .json()
        .expect("ffprobe reads it");
    let packets = read["packets"].as_array().expect("a list");
    let time = |value: &serde_json::Value| value.as_str().expect("a time").parse().expect("a time");
    let times = packets
        .iter()
        .map(|packet| (time(&packet["dts_time"]), time(&packet["pts_time"])));
    times.collect()
}

fn segments(out: &Path, rendition: &str) -> Vec<Vec<u8>> {
    let name = |n: u32| {
        out.join("video")
            .join(rendition)
            .join(format!("seg-{n:05}.m4s"))
    };
    let files = (0..).map(name).take_while(|file| file.exists());
    files
        .map(|file| fs::read(file).expect("a segment"))
        .collect()
}

#[test]
fn h264_with_pictures_out_of_order() {
    if !ready() {
        return;
    }
    let source = clip().audio(Audio::Stereo).make();
    let options = ["--codec", "h264", "--speed", "medium", "--inspect", "all"];
    let made = Made::of(&source, &options);
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let report = made.check(&expect(&source, 1));
    assert_eq!((report.frames, report.segments), (60, 3));
    assert_eq!(report.renditions[0].name, "video/h264-180p");
    assert!(report.renditions[0].codec.starts_with("avc1.6400"));
    for entry in ["master.m3u8", "manifest.mpd"] {
        let packets = packets(&made.out().join(entry), "v:0");
        assert!(
            packets.iter().any(|(decoded, shown)| shown - decoded > 0.1),
            "none moves"
        );
        let mut shown: Vec<f64> = packets.iter().map(|(_, shown)| *shown).collect();
        shown.sort_by(f64::total_cmp);
        let off = shown
            .iter()
            .zip(0..)
            .map(|(time, n)| (time - f64::from(n) / 24.0).abs());
        assert!(off.fold(0.0, f64::max) < 1e-3, "{entry}: {shown:?}");
    }
    let verified = rungs(["verify".as_ref(), made.out().as_os_str()]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
}

#[test]
fn h264_of_pictures_of_unlike_duration_and_of_odd_size() {
    if !ready() {
        return;
    }
    let source = Clip::new()
        .size(321, 181)
        .vfr()
        .seconds(2.3)
        .codec("ffv1")
        .container("mkv")
        .make();
    let made = Made::of(&source, &["--codec", "h264", "--speed", "medium"]);
    let report = made.check(&expect(&source, 1));
    assert_eq!(report.renditions[0].size, Some((320, 180)));
}

#[test]
fn keyframes_inside_of_segments_cut_the_order() {
    if !ready() {
        return;
    }
    let source = clip().make();
    let options = [
        "--codec",
        "h264",
        "--gop",
        "0.25",
        "--segment",
        "2",
        "--speed",
        "medium",
    ];
    let made = Made::of(&source, &options);
    made.check(&Expectation {
        segment_seconds: Some(2.0),
        ..expect(&source, 1)
    });
}

/// Groups so short that x264 has other parameter sets for them: no B-frames, or none that others refer to.
#[test]
fn groups_of_a_few_frames() {
    if !ready() {
        return;
    }
    let source = clip().make();
    for (codec, gop, keyframes) in [
        ("h264", "0.04", 60),
        ("h264", "0.083", 30),
        ("h264", "0.125", 20),
        ("hevc", "0.04", 60),
        ("hevc", "0.083", 30),
        // SVT-AV1 has no groups of one frame.
        ("av1", "0.04", 30),
    ] {
        if codec == "hevc" && !ready_with("libx265") {
            continue;
        }
        let speed = if codec == "av1" { "12" } else { "medium" };
        let options = ["--codec", codec, "--gop", gop, "--speed", speed];
        let made = Made::of(&source, &options);
        made.check(&expect(&source, 1));
        let read = tool::ffprobe()
            .args(["-v", "error", "-of", "json", "-select_streams", "v:0"])
            .args(["-show_entries", "packet=flags"])
            .arg(made.out().join("master.m3u8"))
            .json()
            .expect("ffprobe reads it");
        let packets = read["packets"].as_array().expect("a list");
        let is_key = |packet: &&serde_json::Value| {
            let flags = packet["flags"].as_str();
            flags.is_some_and(|flags| flags.starts_with('K'))
        };
        let keys = packets.iter().filter(is_key).count();
        assert_eq!(
            (packets.len(), keys),
            (60, keyframes),
            "{codec} --gop {gop}"
        );
    }
}

#[test]
fn hevc() {
    if !ready_with("libx265") {
        return;
    }
    let source = clip().audio(Audio::Stereo).make();
    let made = Made::of(&source, &["--codec", "hevc", "--inspect", "all"]);
    let report = made.check(&expect(&source, 1));
    assert_eq!(report.renditions[0].name, "video/hevc-180p");
    assert!(report.renditions[0].codec.starts_with("hvc1.1.6.L"));
    let verified = rungs(["verify".as_ref(), made.out().as_os_str()]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
}

#[test]
fn two_codecs_in_one_package() {
    if !ready() {
        return;
    }
    let source = clip().audio(Audio::Stereo).make();
    let rungs = ["--rung", "180p", "--rung", "90p"];
    let made = Made::of(&source, &[&rungs[..], &["--codec", "h264,av1"]].concat());
    let report = made.check(&expect(&source, 4));
    let names: Vec<_> = report
        .renditions
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let videos = ["h264-180p", "h264-90p", "av1-180p", "av1-90p"];
    let videos = videos.map(|name| format!("video/{name}"));
    assert_eq!(names[..4], videos);
    // Decoded once for all of them.
    assert_eq!(made.report["read"]["frames_decoded"], 60);
    let master = fs::read_to_string(made.out().join("master.m3u8")).expect("a playlist");
    assert_eq!(master.matches("TYPE=AUDIO").count(), 1, "{master}");
    let manifest = fs::read_to_string(made.out().join("manifest.mpd")).expect("a manifest");
    assert_eq!(
        manifest.matches("contentType=\"video\"").count(),
        2,
        "{manifest}"
    );
    // What is beside a rendition changes nothing of it.
    let alone = Made::of(
        &source,
        &[&rungs[..], &["--codec", "h264", "--jobs", "1"]].concat(),
    );
    for name in ["h264-180p", "h264-90p"] {
        assert_eq!(
            segments(&made.out(), name),
            segments(&alone.out(), name),
            "{name}"
        );
    }
}

#[test]
fn a_rate_is_held_and_gives_the_same_bytes_again() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(320, 180).seconds(4.0).make();
    let kinds = ["maxrate", "bitrate"].into_iter();
    let codecs = ["h264", "hevc", "av1"].into_iter();
    let codecs = codecs.filter(|codec| *codec != "hevc" || ready_with("libx265"));
    for (codec, kind) in codecs.flat_map(|codec| kinds.clone().map(move |kind| (codec, kind))) {
        let rung = format!("180p@{kind}=60k");
        let options = ["--codec", codec, "--rung", &rung, "--segment", "4"];
        let free = Made::of(&source, &["--codec", codec, "--segment", "4"]);
        let held = Made::of(&source, &options);
        let again = Made::of(&source, &[&options[..], &["--jobs", "1"]].concat());
        let rate = |made: &Made| {
            made.report["tracks"][0]["bandwidth"]["average"]
                .as_f64()
                .expect("a rate")
        };
        assert!(rate(&free) > 120e3, "{codec}: {}", rate(&free));
        assert!(rate(&held) < 110e3, "{codec} {kind}: {}", rate(&held));
        let name = format!("{codec}-180p");
        assert_eq!(
            segments(&held.out(), &name),
            segments(&again.out(), &name),
            "{codec} {kind}"
        );
        assert_eq!(held.report["schedule_independent"], true);
    }
}

#[test]
fn settings_that_no_codec_takes() {
    if !ready() {
        return;
    }
    let source = clip().make();
    for (options, told) in [
        (&["--codec", "h264", "--crf", "52"][..], "must be 0 to 51"),
        (
            &["--codec", "av1,h264", "--crf", "30"],
            "whose scales differ",
        ),
        (&["--codec", "av1,av1"], "give each once"),
        (
            &["--codec", "h264", "--encoder", "libsvtav1"],
            "libsvtav1 makes av1",
        ),
        (
            &["--codec", "av1", "--devices", "cpu/libx264"],
            "libx264 makes h264",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let answer = rungs(package_line(&source, &folder.path().join("out"), options));
        assert_eq!(answer.code, Some(3), "{options:?}: {}", answer.stderr);
        assert!(
            answer.stderr.contains(told),
            "{options:?}: {}",
            answer.stderr
        );
        assert!(answer.stderr.contains("\n  try: "), "{}", answer.stderr);
    }
    for options in [
        &["--codec", "vp9"][..],
        &["--maxrate", "1M", "--bitrate", "1M"],
        &["--bitrate", "7"],
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let answer = rungs(package_line(&source, &folder.path().join("out"), options));
        assert_eq!(answer.code, Some(2), "{options:?}: {}", answer.stderr);
    }
}

#[test]
fn a_killed_run_goes_on_and_a_rung_is_added_in_the_same_codec() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(320, 180).seconds(4.0).make();
    let options = ["--codec", "h264", "--rung", "180p"];
    let whole = Made::of(&source, &options);
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let events = [&options[..], &["--progress", "json", "--jobs", "1"]].concat();
    let running = Running::start(package_line(&source, &out, &events));
    running.kill_after(6, Duration::from_mins(1));
    let answer = rungs(package_line(&source, &out, &options));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let expected = segments(&whole.out(), "h264-180p");
    assert_eq!(segments(&out, "h264-180p"), expected);
    let more = rungs(package_line(&source, &out, &["--rung", "90p", "--add"]));
    assert_eq!(more.code, Some(0), "{}", more.stderr);
    assert_eq!(segments(&out, "h264-180p"), expected);
    check(&out, &expect(&source, 2));
    let other = ["--rung", "120p", "--add", "--codec", "av1"];
    let other = rungs(package_line(&source, &out, &other));
    assert_eq!(other.code, Some(3), "{}", other.stderr);
    assert!(other.stderr.contains("another --codec"), "{}", other.stderr);
}

/// Changes the bytes so far behind a box's four letters, and asks the checker, which must find that.
fn spoilt(made: &Made, file: &str, (kind, behind): (&[u8; 4], usize), byte: u8) -> Vec<Rule> {
    let path = made.out().join("video/h264-180p").join(file);
    let good = fs::read(&path).expect("a file of the package");
    let mut bad = good.clone();
    let at = bad.windows(4).position(|letters| letters == kind);
    bad[at.expect("such a box") + 4 + behind] = byte;
    assert_ne!(bad, good, "nothing is spoilt");
    fs::write(&path, bad).expect("it can be written");
    let found = checker::check(&made.out(), &Expectation::default());
    fs::write(&path, good).expect("it can be written");
    let rules = found.expect_err("the checker sees nothing").into_iter();
    rules.map(|finding| finding.rule).collect()
}

#[test]
fn a_part_in_ten_bits_of_every_codec_with_its_sound_made_as_loud_as_asked() {
    if !ready()
        || tool::require_encoder("libx265").is_none()
        || tool::require_encoder("libopus").is_none()
    {
        return;
    }
    let source = Clip::new().size(320, 180).seconds(4.0).gop(24);
    let source = source.pixel_format("yuv420p10le").codec("libx265");
    let source = source.audio(Audio::Stereo).make();
    let options = ["--codec", "h264,hevc,av1", "--bit-depth", "10"];
    let part = [
        "--start",
        "0.5",
        "--end",
        "3",
        "--loudness",
        "-23",
        "--inspect",
        "all",
    ];
    let made = Made::of(&source, &[&options[..], &part].concat());
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let report = check(
        &made.out(),
        &Expectation {
            audio: Some(true),
            renditions: Some(3),
            segment_seconds: Some(1.0),
            ..Expectation::default()
        },
    );
    assert_eq!((report.frames, report.segments), (60, 3));
    for codec in ["h264", "hevc", "av1"] {
        let playlist = made.out().join(format!("video/{codec}-180p/playlist.m3u8"));
        let run = tool::ffprobe().args(["-of", "json", "-count_frames", "-show_streams"]);
        let told = run.arg(&playlist).json().expect("it can be probed");
        assert_eq!(told["streams"][0]["pix_fmt"], "yuv420p10le", "{codec}");
        assert_eq!(told["streams"][0]["nb_read_frames"], "60", "{codec}");
        // Each picture is the source's own, twelve further on.
        let graph = "[1:v]trim=start_frame=12:end_frame=72,setpts=N/24/TB[b];[0:v]setpts=N/24/TB[a];[a][b]psnr";
        let run = tool::ffmpeg()
            .args(["-loglevel", "info", "-i"])
            .arg(&playlist);
        let run = run
            .arg("-i")
            .arg(&source)
            .args(["-lavfi", graph, "-f", "null", "-"]);
        let text = run.run().expect("both can be decoded").stderr;
        let least = text
            .split_once("min:")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
        let least = least.expect("a figure");
        assert!(least > 27.0, "{codec}: {least} dB");
    }
    let heard = loudness(&made.out(), "und-opus");
    assert!((heard + 23.0).abs() < 0.5, "{heard} LUFS");
}

/// The bytes of a SEI message of the light in a video of 620 and 180 cd/m², and the start of one of its display.
const SAID: [&[u8]; 2] = [&[144, 4, 0x02, 0x6c, 0x00, 0xb4], &[137, 24]];

#[test]
fn the_stream_itself_says_what_its_display_was() {
    if !ready() || tool::require_encoder("libx265").is_none() {
        return;
    }
    let source = Clip::new().size(320, 180).seconds(2.0).codec("libx265");
    let source = source.pixel_format("yuv420p10le");
    let source = source.color("bt2020", "smpte2084", "bt2020nc").extra(&[
        "-x265-params",
        "log-level=error:colorprim=9:transfer=16:colormatrix=9:hdr10=1:max-cll=620,180:\
         master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)",
    ]);
    let options = ["--codec", "h264,hevc", "--color", "keep", "--rung", "180p"];
    let made = Made::of(&source.make(), &options);
    for codec in ["h264", "hevc"] {
        let folder = made.out().join(format!("video/{codec}-180p"));
        for segment in ["seg-00000.m4s", "seg-00001.m4s"] {
            let bytes = std::fs::read(folder.join(segment)).expect("a segment");
            for said in SAID {
                let found = bytes.windows(said.len()).any(|part| part == said);
                assert!(found, "{codec}: {said:?} is not in {segment}");
            }
        }
    }
    // And FFmpeg reads it, from the stream alone.
    let playlist = made.out().join("video/hevc-180p/playlist.m3u8");
    let bare = made.out().join("bare.hevc");
    let run = tool::ffmpeg().arg("-i").arg(playlist).args(["-c", "copy"]);
    run.arg(&bare).run().expect("it can be copied");
    let run = tool::ffprobe().args(["-of", "json", "-show_frames", "-read_intervals", "%+#1"]);
    let told = run.arg(&bare).json().expect("it can be probed");
    let told = told["frames"][0]["side_data_list"].to_string();
    for part in [
        "\"max_content\":620",
        "\"max_luminance\":\"10000000/10000\"",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

#[test]
fn the_checker_sees_what_is_wrong_with_h264() {
    if !ready() {
        return;
    }
    let source = clip().make();
    let made = Made::of(&source, &["--codec", "h264", "--speed", "medium"]);
    let spoilt = |file, place, byte| spoilt(&made, file, place, byte);
    // The level of `avcC`, behind its version, profile and constraints; the last byte of the time that the edit list takes off.
    assert!(spoilt("init.mp4", (b"avcC", 3), 99).contains(&Rule::Codec));
    assert!(spoilt("init.mp4", (b"elst", 15), 1).contains(&Rule::Timeline));
    // The kind of the first NAL unit, behind its length: no IDR picture any more.
    let kind = spoilt("seg-00001.m4s", (b"mdat", 4), 0x61);
    assert!(kind.contains(&Rule::Validity), "{kind:?}");
    // The third byte of the first sample's composition offset, behind flags, count, data offset, flags and size: far too late.
    let late = spoilt("seg-00001.m4s", (b"trun", 22), 0xff);
    assert!(late.contains(&Rule::Timeline), "{late:?}");
}
