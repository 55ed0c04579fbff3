//! A command line in, what the program answered out; every wait has an end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rungs_testkit::checker::{self, Expectation};
use rungs_testkit::tool;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long one run may take: a program that hangs must fail a test, not stop it.
const LIMIT: Duration = Duration::from_mins(2);

/// Says whether this machine can make clips and packages; if not, the test is skipped aloud.
pub(crate) fn ready() -> bool {
    tool::require("ffmpeg").is_some()
        && tool::require("ffprobe").is_some()
        && tool::require_encoder("libx264").is_some()
        && tool::require_encoder("libsvtav1").is_some()
}

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program at work.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
    seen: String,
}

impl Running {
    pub(crate) fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::start_on(Stdio::null(), arguments)
    }

    /// The same with something on its standard input.
    pub(crate) fn start_on<A: AsRef<OsStr>>(
        input: impl Into<Stdio>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rungs"));
        command.args(arguments).stdin(input);
        Self::start_as(command)
    }

    /// The same with the program somewhere else, or started in another way.
    pub(crate) fn start_as(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("it was asked for");
        let mut stderr = child.stderr.take().expect("it was asked for");
        let (line, lines) = mpsc::channel();
        thread::spawn(move || {
            let read = BufReader::new(stdout).lines();
            for text in read.map_while(Result::ok) {
                if line.send(text).is_err() {
                    break;
                }
            }
        });
        let (error, errors) = mpsc::channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).ok();
            error.send(String::from_utf8_lossy(&text).into_owned()).ok();
        });
        Self {
            child,
            lines,
            errors,
            seen: String::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for an event of `--progress json`.
    pub(crate) fn wait_for(&mut self, event: &str) -> Value {
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line =
                line.unwrap_or_else(|_| panic!("there was no {event:?} after\n{}", self.seen));
            self.keep(&line);
            let value: Value = serde_json::from_str(&line).expect("a line of JSON");
            if value["event"] == event {
                return value;
            }
        }
    }

    pub(crate) fn interrupt(&self) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a child has a number");
        kill_process(pid, Signal::INT).expect("it runs");
    }

    /// Ends it as an assertion in one of its libraries does, and waits until it is gone.
    pub(crate) fn abort(mut self) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a child has a number");
        kill_process(pid, Signal::ABORT).expect("it runs");
        let status = self.child.wait().expect("it is a child");
        // The program ends as a job that failed, wherever the signal meets it.
        assert!(!status.success(), "{status}");
    }

    /// Waits until so many events were told, or for so long, or until it ends, whatever comes first; then kills it as nothing else
    /// does. Gives the events.
    pub(crate) fn kill_after(mut self, events: usize, time: Duration) -> Vec<Value> {
        let until = Instant::now() + time;
        let mut told = Vec::new();
        while told.len() < events {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                break;
            };
            told.push(line);
        }
        self.child.kill().expect("it is a child");
        self.child.wait().expect("it is a child");
        told.extend(self.lines.iter());
        // What is cut off in the middle of a line was not told.
        let values = told
            .iter()
            .map_while(|line| serde_json::from_str(line).ok());
        values.collect()
    }

    /// The processes that encode for it.
    pub(crate) fn encoders(&self) -> Vec<u32> {
        let tasks = format!("/proc/{}/task", self.pid());
        let tasks = fs::read_dir(tasks).expect("it runs").flatten();
        let children =
            tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let pids: Vec<_> = children
            .flat_map(|text| {
                text.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .filter_map(|pid| pid.parse().ok())
            .collect();
        pids.into_iter()
            .filter(|&pid| command_line(pid).contains("--rungs-encoder-process"))
            .collect()
    }

    /// Waits for its end, and for the end of everything that it has started.
    pub(crate) fn end(mut self) -> Answer {
        let until = Instant::now() + LIMIT;
        let left = || until.saturating_duration_since(Instant::now());
        loop {
            match self.lines.recv_timeout(left()) {
                Ok(line) => self.keep(&line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("it did not end in time, after\n{}", self.seen)
                }
            }
        }
        let stderr = self.errors.recv_timeout(left());
        let stderr = stderr.expect("a process that it left behind holds its standard error");
        let code = self.child.wait().expect("it is a child").code();
        Answer {
            code,
            stdout: std::mem::take(&mut self.seen),
            stderr,
        }
    }

    fn keep(&mut self, line: &str) {
        self.seen.push_str(line);
        self.seen.push('\n');
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The command line of a process, empty when it is gone.
pub(crate) fn command_line(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Runs the program to its end.
pub(crate) fn rungs<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Answer {
    Running::start(arguments).end()
}

/// `package SOURCE -o OUT` in segments of one second, as fast as the encoder goes, and then the options.
pub(crate) fn package_line(source: &Path, out: &Path, options: &[&str]) -> Vec<std::ffi::OsString> {
    let mut line = vec!["package".into(), source.into(), "-o".into(), out.into()];
    for (name, value) in [("--segment", "1"), ("--speed", "12")] {
        if !options.contains(&name) {
            line.extend([name.into(), value.into()]);
        }
    }
    line.extend(options.iter().map(Into::into));
    line
}

/// A finished package.
pub(crate) struct Made {
    folder: TempDir,
    pub(crate) answer: Answer,
    /// `report.json`.
    pub(crate) report: Value,
}

impl Made {
    /// Packages a source and asks for success.
    pub(crate) fn of(source: &Path, options: &[&str]) -> Self {
        Self::by(|out| rungs(package_line(source, out, options)))
    }

    /// The same with a run that is given where to write, and writes a package there.
    pub(crate) fn by(run: impl FnOnce(&Path) -> Answer) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        let answer = run(&out);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        let report = report(&out);
        Self {
            folder,
            answer,
            report,
        }
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Asks the checker, and asks that the report says the same as the checker.
    pub(crate) fn check(&self, expect: &Expectation) -> checker::Report {
        let checked = check(&self.out(), expect);
        let read = &self.report["read"];
        assert_eq!(read["frames_packaged"], checked.frames, "{read}");
        assert_eq!(read["frames_held"], checked.held, "{read}");
        assert_eq!(
            read["frames_decoded"],
            checked.frames - checked.held,
            "{read}"
        );
        assert_eq!(read["errors"], 0, "{read}");
        let tracks = self.report["tracks"].as_array().expect("a list");
        let (text, tracks): (Vec<_>, Vec<_>) =
            tracks.iter().partition(|track| track["kind"] == "text");
        let texts = checked.text.iter().map(|(folder, _)| folder.as_str());
        assert!(
            text.iter()
                .map(|track| track["name"].as_str())
                .eq(texts.map(Some))
        );
        assert_eq!(tracks.len(), checked.renditions.len());
        for seen in &checked.renditions {
            let told = tracks.iter().find(|told| told["name"] == seen.name);
            let told = told.expect("the report tells of it");
            assert_eq!(told["codec"], seen.codec.as_str());
            let init = fs::metadata(self.out().join(&seen.name).join("init.mp4"));
            assert_eq!(told["bytes"], seen.bytes - init.expect("it is there").len());
            assert_eq!(told["segments"], checked.segments);
        }
        checked
    }

    /// The kinds of the warnings in the report.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        let list = self.report["warnings"].as_array().expect("a list");
        list.iter()
            .filter_map(|warning| warning["kind"].as_str())
            .collect()
    }
}

/// Asks the checker, and shows all that it finds.
pub(crate) fn check(out: &Path, expect: &Expectation) -> checker::Report {
    checker::check(out, expect).unwrap_or_else(|findings| {
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

pub(crate) fn report(out: &Path) -> Value {
    let text = fs::read(out.join("report.json")).expect("there is a report");
    serde_json::from_slice(&text).expect("the report is JSON")
}

/// All files below a folder, by their path in it.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("it is below").to_owned();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

/// What a package gives its players: all files but the report, which tells times, and the job's own.
pub(crate) fn published(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = files(folder);
    found.retain(|path, _| !path.starts_with(".rungs"));
    found.remove(Path::new("report.json"));
    found
}
