//! What is around a job: help, completions, the manual page, probe, devices, and progress for programs.

use std::fs;
use std::path::Path;

use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::tool;
use serde_json::Value;

use crate::support::{Answer, Made, package_line, ready, rungs};

fn told(line: &[&str]) -> String {
    let Answer {
        code,
        stdout,
        stderr,
    } = rungs(line);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{line:?}");
    stdout
}

#[test]
fn help_names_the_options() {
    let help = told(&["package", "--help"]);
    for option in [
        "--rung",
        "--segment",
        "--gop",
        "--codec",
        "--quality",
        "--crf",
        "--speed",
        "--audio",
        "--jobs",
        "--memory",
        "--progress",
        "--force",
        "--add",
    ] {
        assert!(
            help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")),
            "{option}"
        );
    }
    let help = told(&["--help"]);
    for command in [
        "package",
        "resume",
        "verify",
        "probe",
        "devices",
        "completions",
        "man",
        "130",
    ] {
        assert!(help.contains(command), "{command}");
    }
    assert!(told(&["--version"]).starts_with("rungs "));
}

#[test]
fn completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = told(&["completions", shell]);
        assert!(
            script.contains("package") && script.contains("memory"),
            "{shell}"
        );
        assert!(!script.contains("encoder-process"), "{shell}");
    }
}

#[test]
fn the_manual_is_roff() {
    let page = told(&["man"]);
    assert!(
        page.lines().any(|line| line.starts_with(".TH rungs")),
        "{page}"
    );
    assert!(page.contains(".SH") && page.contains("package"));
}

#[test]
fn probe_tells_what_is_in_a_file() {
    if !ready() {
        return;
    }
    let clip = Clip::new().size(320, 180).rate("30000/1001").frames(45);
    let source = clip.audio(Audio::Stereo).rotate(90).make();
    let path = source.to_str().expect("a path in UTF-8");
    let text = told(&["probe", path]);
    for part in [
        "video h264",
        "320x180",
        "29.970 frames/s",
        "turned 90°",
        "audio aac",
        "48000 Hz stereo",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json: Value = serde_json::from_str(&told(&["probe", path, "--json"])).expect("JSON");
    assert_eq!(json["version"], 1);
    let (video, audio) = (&json["tracks"][0], &json["tracks"][1]);
    assert_eq!(
        (&video["kind"], &video["codec"]),
        (&"video".into(), &"h264".into())
    );
    assert_eq!(
        (&video["width"], &video["height"]),
        (&320.into(), &180.into())
    );
    assert_eq!(
        (&video["frames_promised"], &video["rotation_degrees"]),
        (&45.into(), &90.into())
    );
    assert_eq!(
        (&audio["kind"], &audio["channels"]),
        (&"audio".into(), &2.into())
    );
}

/// A clip in HEVC, its configuration record of Dolby Vision, and its path as text. Profile, compatibility.
fn dolby_vision(folder: &Path, (profile, compatibility): (u8, u8)) -> String {
    let clip = Clip::new().size(320, 180).frames(12).codec("libx265");
    let source = clip.pixel_format("yuv420p10le").make();
    let mut bytes = fs::read(source).expect("a clip");
    // Version 1.0, profile, level 4, metadata and a base layer, compatibility.
    let flags = u16::from(profile) << 9 | 4 << 3 | 0b101;
    let mut record = vec![1, 0];
    record.extend(flags.to_be_bytes());
    record.push(compatibility << 4);
    record.resize(24, 0);
    let entry = [&32_u32.to_be_bytes()[..], b"dvvC", &record].concat();
    let find = |bytes: &[u8], kind: &[u8]| {
        let found = bytes.windows(4).position(|found| found == kind);
        found.expect("the box is there")
    };
    // The index stands behind the media, so no place in it changes.
    assert!(find(&bytes, b"moov") > find(&bytes, b"mdat"));
    let sample_entry = if bytes.windows(4).any(|kind| kind == b"hev1") {
        b"hev1"
    } else {
        b"hvc1"
    };
    for kind in [
        b"moov",
        b"trak",
        b"mdia",
        b"minf",
        b"stbl",
        b"stsd",
        sample_entry,
    ] {
        let moov = find(&bytes, b"moov");
        let at = moov + find(&bytes[moov..], kind) - 4;
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        bytes[at..at + 4].copy_from_slice(&(size + 32).to_be_bytes());
    }
    let moov = find(&bytes, b"moov");
    let at = moov + find(&bytes[moov..], b"hvcC") - 4;
    bytes.splice(at..at, entry);
    let path = folder.join(format!("dolby-{profile}-{compatibility}.mp4"));
    fs::write(&path, bytes).expect("a file");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn dolby_vision_is_told_and_refused_where_others_cannot_show_it() {
    if !ready() || tool::require_encoder("libx265").is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let compatible = dolby_vision(folder.path(), (8, 1));
    let other = dolby_vision(folder.path(), (5, 0));
    let text = told(&["probe", &compatible]);
    assert!(text.contains("Dolby Vision profile 8.1 level 4"), "{text}");
    assert!(!text.contains("without"), "{text}");
    let text = told(&["probe", &other]);
    let words = "Dolby Vision profile 5.0 level 4 without a compatible base layer";
    assert!(text.contains(words), "{text}");
    let json: Value = serde_json::from_str(&told(&["probe", &other, "--json"])).expect("JSON");
    let dolby = &json["tracks"][0]["dolby_vision"];
    assert_eq!((&dolby["profile"], &dolby["level"]), (&5.into(), &4.into()));
    assert_eq!(dolby["compatibility"], 0);

    let out = folder.path().join("out");
    let answer = rungs(package_line(Path::new(&other), &out, &[]));
    assert_eq!(answer.code, Some(3), "{}", answer.stderr);
    for part in ["Dolby Vision, profile 5", "  try: "] {
        assert!(answer.stderr.contains(part), "{}", answer.stderr);
    }
    assert!(!out.exists());
    let quick = ["--codec", "h264", "--speed", "fastest"];
    let answer = rungs(package_line(Path::new(&compatible), &out, &quick));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
}

/// The payload of a message of SMPTE ST 2094-40 (ITU-T T.35, CTA-861-H annex S): one window, nothing but its light.
fn dynamic_light() -> Vec<u8> {
    let fields = [
        (1_u64, 2),
        (400, 27),
        (0, 1),
        (10_001, 17),
        (10_003, 17),
        (10_005, 17),
        (1001, 17),
        (0, 4),
        (11, 10),
        (0, 1),
        (0, 1),
        (0, 1),
    ];
    let mut bits: Vec<bool> = Vec::new();
    for (value, length) in fields {
        bits.extend((0..length).rev().map(|bit| value >> bit & 1 == 1));
    }
    let octet = |bits: &[bool]| {
        let padded = (0..8).map(|at| bits.get(at).copied().unwrap_or(false));
        padded.fold(0, |octet, bit| octet << 1 | u8::from(bit))
    };
    // The United States, Samsung, its first message, application 4, version 1.
    let head = [0xb5, 0x00, 0x3c, 0x00, 0x01, 0x04, 0x01];
    head.into_iter().chain(bits.chunks(8).map(octet)).collect()
}

#[test]
fn light_of_each_frame_is_told() {
    if !ready() || tool::require_encoder("libx265").is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let raw = Clip::new()
        .size(320, 180)
        .frames(12)
        .codec("libx265")
        .pixel_format("yuv420p10le")
        .container("hevc")
        .color("bt2020", "smpte2084", "bt2020nc")
        .make();
    let plain = raw.to_str().expect("a path in UTF-8");
    assert!(!told(&["probe", plain]).contains("HDR10+"));
    let mut bytes = fs::read(&raw).expect("a clip");
    // Before the first slice, which is that of a keyframe (types 16 to 21).
    let slice = bytes
        .windows(5)
        .position(|nal| nal[..3] == [0, 0, 1] && (16..=21).contains(&(nal[3] >> 1 & 63)));
    let payload = dynamic_light();
    assert!(
        !payload.windows(2).any(|pair| pair == [0, 0]),
        "no emulation"
    );
    let length = u8::try_from(payload.len()).expect("it is short");
    let message = [&[0, 0, 1, 39 << 1, 1, 4, length][..], &payload, &[0x80]].concat();
    let slice = slice.expect("a slice");
    bytes.splice(slice..slice, message);
    let path = folder.path().join("light.hevc");
    fs::write(&path, bytes).expect("a file");
    let path = path.to_str().expect("a path in UTF-8");
    assert!(told(&["probe", path]).contains("HDR10+"));
    let json: Value = serde_json::from_str(&told(&["probe", path, "--json"])).expect("JSON");
    assert_eq!(json["tracks"][0]["hdr10_plus"], true);
    assert_eq!(json["tracks"][0]["dolby_vision"], Value::Null);
}

#[test]
fn probe_refuses_what_it_cannot_read() {
    let answer = rungs(["probe", "no-such-film.mp4"]);
    assert_eq!(answer.code, Some(3));
    assert!(
        answer.stderr.starts_with("error: no-such-film.mp4"),
        "{}",
        answer.stderr
    );
    assert!(answer.stderr.contains("\n  try: "), "{}", answer.stderr);
}

#[test]
fn devices_tell_what_can_encode() {
    if !ready() {
        return;
    }
    let text = told(&["devices"]);
    for part in ["FFmpeg ", "libavcodec ", "cpu", "libsvtav1"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // What nobody looks for comes only when it is asked for.
    assert!(!text.contains("rawvideo"), "{text}");
    assert!(told(&["devices", "--all"]).contains("rawvideo"));
    let json: Value = serde_json::from_str(&told(&["devices", "--json"])).expect("JSON");
    let cpu = &json["devices"][0];
    assert_eq!((&json["version"], &cpu["id"]), (&1.into(), &"cpu".into()));
    assert!(cpu["cores"].as_u64() > Some(0) && cpu["sessions"].as_u64() > Some(0));
    assert_eq!(cpu["chosen_encoders"][0]["codec"], "av1");
    assert_eq!(cpu["chosen_encoders"][0]["encoders"][0], "libsvtav1");
    let gpus = json["gpus"].as_array().expect("a list");
    assert_eq!(gpus.is_empty(), text.contains("no GPU was found"), "{text}");
}

#[test]
fn progress_for_programs_is_a_line_of_json_for_each_event() {
    if !ready() {
        return;
    }
    let clip = Clip::new().size(320, 180).seconds(2.5);
    let source = clip.audio(Audio::Mono).make();
    let made = Made::of(&source, &["--progress", "json"]);
    assert_eq!(made.answer.stderr, "");
    let lines = made.answer.stdout.lines();
    let events: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let named = |name: &'static str| events.iter().filter(move |event| event["event"] == name);
    assert!(events.iter().all(|event| event["event"].is_string()));
    assert_eq!(
        (&events[0]["event"], &events[0]["version"]),
        (&"started".into(), &1.into())
    );
    assert_eq!(events[0]["renditions"][0]["width"], 320);
    assert_eq!(events.last().expect("events")["event"], "finished");
    assert_eq!(named("segment").count(), 6);
    assert_eq!(named("playable").count(), 1);
    let frames: u64 = named("decoded")
        .filter_map(|event| event["frames"].as_u64())
        .sum();
    assert_eq!(frames, 60);
    let bytes: u64 = named("segment")
        .filter(|event| event["track"] == "av1-180p")
        .filter_map(|event| event["bytes"].as_u64())
        .sum();
    assert_eq!(made.report["tracks"][0]["bytes"], bytes);
}

#[test]
fn a_pipe_hears_nothing_but_the_result() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(320, 180).frames(24).make();
    for progress in ["auto", "none"] {
        let made = Made::of(&source, &["--progress", progress]);
        assert_eq!(made.answer.stderr, "", "{progress}");
        assert!(
            made.answer.stdout.contains("av1-180p"),
            "{}",
            made.answer.stdout
        );
        assert!(
            made.answer.stdout.contains("master.m3u8"),
            "{}",
            made.answer.stdout
        );
        assert!(!made.answer.stdout.contains('\u{1b}'), "{progress}");
    }
}
