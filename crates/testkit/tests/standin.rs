//! The stand-in for NVIDIA's driver, by itself: the `ffmpeg` program in the place of `rungs`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rungs_testkit::standin::Standin;
use rungs_testkit::tool;
use tempfile::TempDir;

/// A program that has the wrappers, and what the driver is to do to it.
struct Trial {
    machine: Standin,
    folder: TempDir,
}

/// What came of it.
struct Done {
    ok: bool,
    said: String,
    file: PathBuf,
}

impl Trial {
    /// `None`, with a line about it, where this FFmpeg has no wrapper for NVENC.
    fn new(machine: Standin) -> Option<Self> {
        tool::require("ffmpeg")?;
        tool::require_encoder("h264_nvenc")?;
        tool::require_encoder("libx264")?;
        Some(Self {
            machine,
            folder: tempfile::tempdir().expect("a folder"),
        })
    }

    fn faults(faults: &str) -> Option<Self> {
        Self::new(Standin::new().with("FAULTS", faults))
    }

    fn command(&self, encoder: &str, options: &[&str]) -> (Command, PathBuf) {
        let file = self.folder.path().join("made.mp4");
        let mut command = Command::new("ffmpeg");
        let source = "testsrc2=size=320x180:rate=25:duration=1";
        self.machine
            .show(&mut command)
            .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", source])
            .args(["-c:v", encoder])
            .args(options)
            .arg(&file)
            .stdin(Stdio::null());
        (command, file)
    }

    fn run(&self, encoder: &str, options: &[&str]) -> Done {
        let (mut command, file) = self.command(encoder, options);
        let output = command.output().expect("ffmpeg starts");
        Done {
            ok: output.status.success(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
            file,
        }
    }
}

const QUALITY: [&str; 4] = ["-cq", "20", "-b:v", "0"];

/// Frames and keyframes of a file.
fn counted(file: &Path) -> (usize, Vec<usize>) {
    let run = tool::ffprobe().args(["-show_entries", "frame=key_frame", "-of", "csv=p=0"]);
    let answer = run.arg(file).run().expect("ffprobe reads it");
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let frames: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    let keys = frames.iter().enumerate();
    let keys = keys.filter(|(_, line)| line.starts_with('1'));
    (frames.len(), keys.map(|(index, _)| index).collect())
}

/// The worst frame of a file against its source, in dB.
fn worst(file: &Path) -> f64 {
    let source = "testsrc2=size=320x180:rate=25:duration=1";
    let graph = "[0:v]format=yuv420p[a];[1:v]format=yuv420p[b];[a][b]psnr=stats_file=-";
    let run = tool::ffmpeg().arg("-i").arg(file);
    let run = run.args([
        "-f", "lavfi", "-i", source, "-lavfi", graph, "-f", "null", "-",
    ]);
    let answer = run.run().expect("both can be decoded");
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let psnr = |line: &str| {
        let (_, rest) = line.split_once("psnr_avg:")?;
        rest.split_whitespace().next()?.parse().ok()
    };
    text.lines().filter_map(psnr).fold(f64::INFINITY, f64::min)
}

#[test]
fn frames_come_out_as_they_went_in() {
    let machine = Standin::new().with("CODECS", "h264,hevc");
    let Some(trial) = Trial::new(machine) else {
        return;
    };
    for (encoder, options) in [
        (
            "h264_nvenc",
            ["-bf", "0", "-g", "10", "-pix_fmt", "yuv420p"],
        ),
        ("h264_nvenc", ["-bf", "2", "-g", "10", "-pix_fmt", "nv12"]),
        ("hevc_nvenc", ["-bf", "0", "-g", "10", "-pix_fmt", "p010le"]),
        (
            "hevc_nvenc",
            ["-bf", "2", "-g", "10", "-pix_fmt", "yuv420p"],
        ),
    ] {
        if encoder == "hevc_nvenc" && tool::require_encoder("libx265").is_none() {
            continue;
        }
        let done = trial.run(encoder, &[&QUALITY[..], &options].concat());
        assert!(done.ok, "{encoder} {options:?}: {}", done.said);
        let (frames, keys) = counted(&done.file);
        assert_eq!(
            (frames, keys),
            (25, vec![0, 10, 20]),
            "{encoder} {options:?}"
        );
        let worst = worst(&done.file);
        assert!(worst > 36.0, "{encoder} {options:?}: {worst} dB");
    }
    // Keyframes where they are asked for.
    let options = ["-forced-idr", "1", "-force_key_frames", "0.28", "-bf", "0"];
    let done = trial.run("h264_nvenc", &[&QUALITY[..], &options].concat());
    assert_eq!(counted(&done.file), (25, vec![0, 7]), "{}", done.said);
    let told = trial.machine.sessions();
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told[2].contains("codec=hevc") && told[2].contains("bits=10"));
    assert!(told[4].contains("rate=Quality(5120)") && told[4].contains("b_frames=0"));
}

#[test]
fn frames_are_scaled_in_the_memory_of_the_card() {
    let Some(trial) = Trial::new(Standin::new()) else {
        return;
    };
    let chain = "format=nv12,hwupload_cuda,scale_cuda=160:90:interp_algo=bilinear,\
                 scale_cuda=320:180:interp_algo=bicubic,hwdownload,format=nv12";
    let device = [
        "-init_hw_device",
        "cuda=card:0",
        "-filter_hw_device",
        "card",
    ];
    let options = ["-vf", chain, "-cq", "12", "-b:v", "0"];
    let done = trial.run("h264_nvenc", &[&device[..], &options].concat());
    assert!(done.ok, "{}", done.said);
    // Half of the size and back again loses edges; a frame in a wrong place would be below 15 dB.
    let worst = worst(&done.file);
    assert!(worst > 20.0, "{worst} dB");
}

#[test]
fn nothing_initialises_unasked() {
    let Some(trial) = Trial::new(Standin::new().with("IGNORED", "1")) else {
        return;
    };
    let (mut command, _) = trial.command("h264_nvenc", &[]);
    let output = command.env_remove("RUNGS_STANDIN").output();
    let output = output.expect("ffmpeg starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("no encode device (1)"),
        "{said}"
    );
    assert!(trial.machine.log().is_empty());
}

#[test]
fn sessions_and_versions_are_refused_as_drivers_do() {
    for (answer, said) in [
        ("memory", "out of memory (10)"),
        ("device", "unsupported device (2)"),
        ("key", "incompatible client key (21)"),
    ] {
        let machine = Standin::new()
            .with("SESSIONS", "0")
            .with("SESSIONS_ANSWER", answer);
        let Some(trial) = Trial::new(machine) else {
            return;
        };
        let done = trial.run("h264_nvenc", &[]);
        assert!(
            !done.ok && done.said.contains(said),
            "{answer}: {}",
            done.said
        );
    }
    for (name, value, said) in [
        (
            "API",
            "11.0",
            "Driver does not support the required nvenc API version",
        ),
        ("CODECS", "none", "No capable devices found"),
        ("CODECS", "hevc", "No capable devices found"),
    ] {
        let trial = Trial::new(Standin::new().with(name, value)).expect("there was one");
        let done = trial.run("h264_nvenc", &[]);
        assert!(
            !done.ok && done.said.contains(said),
            "{name}: {}",
            done.said
        );
    }
}

#[test]
fn faults_strike_where_and_when_they_are_asked_for() {
    for (faults, said) in [
        (
            "fail=20:nvEncEncodePicture@5",
            "EncodePicture failed!: generic error (20)",
        ),
        ("fail=2:cuCtxCreate", "CUDA_ERROR_OUT_OF_MEMORY"),
        ("fail=10:nvEncCreateBitstreamBuffer@1", "out of memory (10)"),
        ("lost:nvEncEncodePicture@5", "device does not exist (5)"),
    ] {
        let Some(trial) = Trial::faults(faults) else {
            return;
        };
        let done = trial.run("h264_nvenc", &["-bf", "0"]);
        assert!(
            !done.ok && done.said.contains(said),
            "{faults}: {}",
            done.said
        );
        assert!(trial.machine.has_struck());
        if faults.starts_with("lost") {
            // It is lost to every program, until the machine is started again.
            assert!(!trial.run("h264_nvenc", &["-bf", "0"]).ok);
            trial.machine.restart();
            trial.machine.check();
        }
    }
    // In another session, and on another card, nothing happens.
    let machine = Standin::new()
        .with("FAULTS", "fail=20:nvEncEncodePicture#1")
        .with("FAULTS_1", "fail=20:nvEncEncodePicture")
        .with("CARDS", "2");
    let trial = Trial::new(machine).expect("there was one");
    assert!(trial.run("h264_nvenc", &[]).ok);
    assert!(!trial.run("h264_nvenc", &[]).ok);
    assert!(trial.run("h264_nvenc", &[]).ok);
    assert!(!trial.run("h264_nvenc", &["-gpu", "1"]).ok);
}

#[test]
fn a_frame_that_is_asked_to_be_wrong_is_another_picture() {
    let Some(trial) = Trial::faults("wrong:nvEncEncodePicture@9") else {
        return;
    };
    let done = trial.run("h264_nvenc", &[&QUALITY[..], &["-bf", "0"]].concat());
    assert!(done.ok && counted(&done.file).0 == 25, "{}", done.said);
    let worst = worst(&done.file);
    assert!(worst < 12.0, "{worst} dB");
}

#[test]
fn a_crash_and_a_hang_are_those_of_the_program() {
    let Some(trial) = Trial::faults("crash:nvEncEncodePicture@5") else {
        return;
    };
    let (mut command, _) = trial.command("h264_nvenc", &["-bf", "0"]);
    let status = command.status().expect("ffmpeg starts");
    assert_eq!(status.code(), None, "a signal ends it");
    for call in [
        "nvEncOpenEncodeSessionEx",
        "nvEncDestroyEncoder",
        "cuMemAlloc@0",
    ] {
        let trial = Trial::faults(&format!("hang:{call}")).expect("there was one");
        let device = [
            "-init_hw_device",
            "cuda=card:0",
            "-filter_hw_device",
            "card",
        ];
        let there = ["-vf", "format=nv12,hwupload_cuda"];
        let (mut command, _) = trial.command("h264_nvenc", &[&device[..], &there].concat());
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("ffmpeg starts");
        trial.machine.wait_for(" planned ");
        assert!(child.try_wait().expect("a child").is_none(), "{call}");
        child.kill().expect("a child");
        child.wait().expect("a child");
        let mut said = String::new();
        let mut stderr = child.stderr.take().expect("it was asked for");
        stderr.read_to_string(&mut said).expect("text");
        assert!(!said.contains("failed"), "{call}: {said}");
    }
}

#[test]
#[should_panic(expected = "a frame is unregistered that is mapped")]
fn misuse_fails_the_test() {
    // FFmpeg gives back a frame that could not be unmapped, which a real driver does not bear.
    let Some(trial) = Trial::faults("fail=20:nvEncUnmapInputResource") else {
        panic!("skipped: a frame is unregistered that is mapped");
    };
    let device = [
        "-init_hw_device",
        "cuda=card:0",
        "-filter_hw_device",
        "card",
    ];
    let there = ["-vf", "format=nv12,hwupload_cuda"];
    trial.run("h264_nvenc", &[&device[..], &there].concat());
    drop(trial);
}
