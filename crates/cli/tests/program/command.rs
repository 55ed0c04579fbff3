//! What is around a job: help, completions, the manual page, probe, devices, and progress for programs.

use rungs_testkit::clips::{Audio, Clip};
use serde_json::Value;

use crate::support::{Answer, Made, ready, rungs};

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
