//! Arguments and bytes in, output or a typed failure out: the `ffmpeg` and `ffprobe` programs as oracles.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How long one run may take before it is ended: a tool that hangs must fail a test, not stop it.
const LIMIT: Duration = Duration::from_mins(5);

/// Why a tool gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("`{program}` could not be started")]
    Start {
        /// The program's name.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The pipe to or from the program failed.
    #[error("the pipe to `{program}` failed")]
    Pipe {
        /// The program's name.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The program ended with an error.
    #[error("`{program} {arguments}` failed ({status}): {stderr}")]
    Failed {
        /// The program's name.
        program: String,
        /// Its arguments, joined with spaces.
        arguments: String,
        /// Its exit status as text.
        status: String,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// The program was still running after five minutes, and was ended.
    #[error("`{program} {arguments}` did not end within five minutes")]
    Late {
        /// The program's name.
        program: String,
        /// Its arguments, joined with spaces.
        arguments: String,
    },
    /// The program's output was not what it should be.
    #[error("`{program}` answered with something else than {wanted}")]
    Answer {
        /// The program's name.
        program: String,
        /// What was expected.
        wanted: &'static str,
    },
}

/// One run of a tool, being put together.
#[derive(Debug)]
pub struct Run {
    program: &'static str,
    arguments: Vec<OsString>,
}

/// What a tool that succeeded wrote.
#[derive(Debug)]
pub struct Answer {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, as text.
    pub stderr: String,
}

/// Starts a run of `ffmpeg`: no banner, no terminal input, errors only, overwriting what is there.
#[must_use]
pub fn ffmpeg() -> Run {
    Run::new("ffmpeg").args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y"])
}

/// Starts a run of `ffprobe`: errors only.
#[must_use]
pub fn ffprobe() -> Run {
    Run::new("ffprobe").args(["-hide_banner", "-loglevel", "error"])
}

impl Run {
    fn new(program: &'static str) -> Self {
        Self {
            program,
            arguments: Vec::new(),
        }
    }

    /// Starts a run of `npm`.
    pub(crate) fn npm() -> Self {
        Self::new("npm")
    }

    /// Starts a run of `node`.
    pub(crate) fn node() -> Self {
        Self::new("node")
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Returns the arguments so far, joined with spaces.
    #[must_use]
    pub fn line(&self) -> String {
        let words: Vec<_> = self
            .arguments
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }

    /// Runs the program to its end; blocks until then.
    pub fn run(self) -> Result<Answer, Error> {
        self.run_on(&[])
    }

    /// Runs the program to its end with `input` on its standard input; blocks until then.
    ///
    /// A program that stops reading early is judged by its exit status, not by the broken pipe.
    pub fn run_on(self, input: &[u8]) -> Result<Answer, Error> {
        let output = self.output(input)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(Answer {
                stdout: output.stdout,
                stderr,
            });
        }
        Err(Error::Failed {
            program: self.program.to_owned(),
            arguments: self.line(),
            status: output.status.to_string(),
            stderr: stderr.trim().to_owned(),
        })
    }

    /// Runs `ffprobe`-like programs and reads their standard output as JSON; blocks until the program's end.
    pub fn json(self) -> Result<serde_json::Value, Error> {
        let program = self.program.to_owned();
        let answer = self.run()?;
        serde_json::from_slice(&answer.stdout).map_err(|_| Error::Answer {
            program,
            wanted: "JSON",
        })
    }

    fn output(&self, input: &[u8]) -> Result<Output, Error> {
        let start = |source| Error::Start {
            program: self.program.to_owned(),
            source,
        };
        let pipe = |source| Error::Pipe {
            program: self.program.to_owned(),
            source,
        };
        let stdin = if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        };
        let mut command = Command::new(self.program);
        command
            .args(&self.arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(start)?;
        let output = converse(child, input).map_err(pipe)?;
        output.ok_or_else(|| Error::Late {
            program: self.program.to_owned(),
            arguments: self.line(),
        })
    }
}

/// Feeds a program, reads all that it writes and waits for its end; `None` when it took longer than [`LIMIT`].
fn converse(mut child: Child, input: &[u8]) -> io::Result<Option<Output>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let writer = scope.spawn(
            move || match stdin.map(|mut stdin| stdin.write_all(input)) {
                Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
                _ => Ok(()),
            },
        );
        let errors = scope.spawn(move || drain(stderr));
        // The end of its output is the end of the program, and the only one that can be waited for with a limit.
        let (done, ended) = mpsc::channel::<()>();
        let outputs = scope.spawn(move || {
            let bytes = drain(stdout);
            drop(done);
            bytes
        });
        let late = ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
        if late {
            child.kill()?;
        }
        let stdout = outputs.join().expect("reading a pipe does not panic")?;
        let stderr = errors.join().expect("reading a pipe does not panic")?;
        writer.join().expect("writing to a pipe does not panic")?;
        let status = child.wait()?;
        Ok((!late).then_some(Output {
            status,
            stdout,
            stderr,
        }))
    })
}

fn drain(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Says whether `program` (such as `ffmpeg` or `prlimit`) runs here; if not, says aloud that the test is skipped.
///
/// # Panics
/// When the program is absent and the environment has `STRICT=1`, so that a full run cannot skip in silence.
#[must_use]
pub fn require(program: &str) -> Option<()> {
    // Programs know one of both.
    let present = runs(program, "-version") || runs(program, "--version");
    present_or_skip(present, &format!("the program `{program}`"))
}

/// Says whether `node` and `npm` run here; if not, says aloud that the test is skipped.
#[must_use]
pub(crate) fn require_node() -> Option<()> {
    let present = ["node", "npm"]
        .iter()
        .all(|program| runs(program, "--version"));
    present_or_skip(present, "Node.js with npm")
}

/// Says aloud that the test is skipped for want of something.
pub(crate) fn absent(what: &str) {
    present_or_skip(false, what);
}

fn runs(program: &str, argument: &str) -> bool {
    Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Says whether `ffmpeg` here has the encoder `name`; if not, says aloud that the test is skipped.
///
/// # Panics
/// When it is absent and the environment has `STRICT=1`.
#[must_use]
pub fn require_encoder(name: &str) -> Option<()> {
    present_or_skip(has_encoder(name), &format!("ffmpeg's encoder `{name}`"))
}

/// Says whether `ffmpeg` here has the encoder `name`.
#[must_use]
pub fn has_encoder(name: &str) -> bool {
    let known = ffmpeg().args(["-h", &format!("encoder={name}")]).run();
    // An unknown name is not an error to ffmpeg: it says so on one of its outputs and ends well.
    known.is_ok_and(|answer| answer.stdout.starts_with(b"Encoder "))
}

#[allow(clippy::print_stderr, reason = "a skipped test must be seen")]
fn present_or_skip(present: bool, what: &str) -> Option<()> {
    if present {
        return Some(());
    }
    let strict = std::env::var_os("STRICT").is_some_and(|value| value == "1");
    assert!(!strict, "{what} is absent, and STRICT=1 forbids to skip");
    eprintln!("SKIPPED: {what} is absent");
    None
}

/// Returns an error and its causes on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Returns the version line of `ffmpeg`, asked once per process; empty where it does not run.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let output = Command::new("ffmpeg")
            .arg("-version")
            .stdin(Stdio::null())
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    })
}

/// Returns the major version of `ffmpeg`, or `None` where the program is absent or a build from the tree.
#[must_use]
pub fn major_version() -> Option<u32> {
    let word = version().split_whitespace().nth(2)?;
    word.trim_start_matches('n').split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_arguments_and_the_reason() {
        if require("ffmpeg").is_none() {
            return;
        }
        let error = ffmpeg()
            .args(["-i", "/no/such/file", "-f", "null", "-"])
            .run()
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("/no/such/file") && text.contains("No such file"),
            "{text}"
        );
    }

    #[test]
    fn input_reaches_the_program_and_its_output_comes_back() {
        if require("ffmpeg").is_none() {
            return;
        }
        let raw = vec![7_u8; 300_000];
        let run = ffmpeg().args(["-f", "u8", "-ar", "8000", "-ac", "1", "-i", "pipe:0"]);
        let answer = run
            .args(["-c", "copy", "-f", "u8", "pipe:1"])
            .run_on(&raw)
            .unwrap();
        assert_eq!(answer.stdout, raw);
    }

    #[test]
    fn an_unknown_encoder_is_absent() {
        if require("ffmpeg").is_none() || std::env::var_os("STRICT").is_some() {
            return;
        }
        assert!(require_encoder("no-such-encoder").is_none());
        assert!(require_encoder("rawvideo").is_some());
    }
}
