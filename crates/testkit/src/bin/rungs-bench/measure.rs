//! A command goes in; what the kernel accounts to its process comes out.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4 as _;

use crate::error::Error;

/// What one run of a program took.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// From the start of the process to its end.
    pub(crate) wall: Duration,
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// Largest resident set, in bytes.
    pub(crate) peak_memory: u64,
    /// Size of all files that it wrote, in bytes.
    pub(crate) output: u64,
}

impl Run {
    /// Returns the share of all cores that the process kept busy, 1 being all of them all the time.
    pub(crate) fn busy(&self, cores: usize) -> f64 {
        self.cpu.as_secs_f64() / (self.wall.as_secs_f64() * cores as f64)
    }
}

/// Runs `command` to its end, with its output into the folder `out` that it makes or finds, and measures it.
///
/// Blocks until the process ends. Its standard error goes through a file beside `out`, so that a program
/// which talks a lot is not held up by this one.
pub(crate) fn run(mut command: Command, out: &Path) -> Result<Run, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    fs::create_dir_all(out).map_err(|source| Error::File {
        path: out.to_owned(),
        source,
    })?;
    let log = out.with_extension("log");
    let stderr = File::create(&log).map_err(|source| Error::File {
        path: log.clone(),
        source,
    })?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr);

    let start = Instant::now();
    let used = command.spawn().and_then(|mut child| child.wait4());
    let wall = start.elapsed();
    let used = used.map_err(|source| Error::Run {
        program: program.clone(),
        source,
    })?;

    if !used.status.success() {
        let stderr = fs::read(&log).map(|bytes| tail(&bytes)).unwrap_or_default();
        return Err(Error::Failed {
            program,
            status: used.status,
            stderr,
        });
    }
    Ok(Run {
        wall,
        cpu: used.rusage.utime + used.rusage.stime,
        peak_memory: used.rusage.maxrss,
        output: folder_size(out).map_err(|source| Error::File {
            path: out.to_owned(),
            source,
        })?,
    })
}

/// Runs `command` and returns what it printed on standard output and standard error.
pub(crate) fn ask(command: &mut Command) -> Result<Answer, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Run {
            program: program.clone(),
            source,
        })?;
    if !output.status.success() {
        return Err(Error::Failed {
            program,
            status: output.status,
            stderr: tail(&output.stderr),
        });
    }
    Ok(Answer {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// What a program said before it ended well.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Returns the end of what a program said, for a message.
fn tail(bytes: &[u8]) -> String {
    const LENGTH: usize = 2000;
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LENGTH)..])
        .trim()
        .to_owned()
}

fn folder_size(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() {
            folder_size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn counts_the_cpu_time_and_the_output_of_a_child() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let mut command = shell(
            "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; mkdir \"$1/a\"; printf 12345 >\"$1/a/b\"",
        );
        command.arg("sh").arg(&out);
        let run = run(command, &out).unwrap();
        assert_eq!(run.output, 5);
        assert!(run.cpu > Duration::ZERO);
        assert!(
            run.wall + Duration::from_millis(100) > run.cpu,
            "one thread: {run:?}"
        );
        assert!(
            run.peak_memory > 100_000,
            "a shell takes more than {} bytes",
            run.peak_memory
        );
    }

    #[test]
    fn tells_how_a_child_failed() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(
            shell("echo no such preset >&2; exit 3"),
            &folder.path().join("out"),
        )
        .unwrap_err();
        let Error::Failed { status, stderr, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(status.code(), Some(3));
        assert_eq!(stderr, "no such preset");
    }

    #[test]
    fn busy_is_one_when_all_cores_work_all_the_time() {
        let run = Run {
            wall: Duration::from_secs(10),
            cpu: Duration::from_secs(20),
            peak_memory: 0,
            output: 0,
        };
        assert!((run.busy(2) - 1.0).abs() < 1e-9);
        assert!((run.busy(4) - 0.5).abs() < 1e-9);
    }
}
