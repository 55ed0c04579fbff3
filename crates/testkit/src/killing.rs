//! A program that is killed at the n-th of its system calls that change files, wherever they come from: the program itself, `SQLite`, or
//! FFmpeg.
//!
//! ```text
//! a shell that waits ─► seized (ptrace) ─► becomes the program ─► each change is counted ─► SIGKILL before the n-th
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, c_long, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long one run may take.
const LIMIT: Duration = Duration::from_mins(1);

/// What the kernel calls a thread that stops before a call.
const ENTERED: u8 = libc::PTRACE_SYSCALL_INFO_ENTRY;

/// How a run has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How often each kind of call has changed files.
    pub changes: BTreeMap<&'static str, u64>,
    /// The exit code; `None` if a signal has ended it.
    pub code: Option<i32>,
    /// Whether it was killed at a change.
    pub killed: Option<&'static str>,
    /// What it has written to standard error.
    pub stderr: String,
}

impl Ended {
    /// How many changes were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.changes.values().sum()
    }
}

/// Runs a program, and kills it before the change with this number, counted from 0. Changes of files below `folder` count, and those of names
/// anywhere. Blocks until the program has ended.
///
/// # Errors
/// What starting or tracing it gives; [`io::ErrorKind::TimedOut`] after a minute.
pub fn run(line: &[OsString], folder: &Path, at: u64) -> io::Result<Ended> {
    let errors = tempfile::NamedTempFile::new()?;
    // The shell becomes the program when it is traced, and a line comes.
    let mut shell = Command::new("sh")
        .args(["-c", "read -r line && exec \"$@\"", "sh"])
        .args(line)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(errors.reopen()?)
        .process_group(0)
        .spawn()?;
    let program = Pid::from_raw(shell.id().cast_signed());
    let mut stdin = shell.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    // Its threads are traced. The encoders are processes of their own and change no files; they end when it does.
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(program, options)?;
    ptrace::interrupt(program)?;
    stdin.write_all(b"\n")?;
    drop(stdin);
    let mut trace = Trace {
        program,
        folder: folder.to_owned(),
        at,
        ended: Ended {
            changes: BTreeMap::new(),
            code: None,
            killed: None,
            stderr: String::new(),
        },
    };
    let (done, is_done) = mpsc::channel::<()>();
    let in_time = thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let hangs = is_done.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
            if hangs {
                kill(program, Signal::SIGKILL).ok();
            }
            !hangs
        });
        let followed = trace.follow();
        drop(done);
        followed.map(|()| watch.join().unwrap_or(false))
    })?;
    if !in_time {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let stderr = io::read_to_string(File::open(errors.path())?)?;
    Ok(Ended {
        stderr,
        ..trace.ended
    })
}

/// The program with all of its threads.
fn group(program: Pid) -> Pid {
    Pid::from_raw(-program.as_raw())
}

struct Trace {
    program: Pid,
    folder: std::path::PathBuf,
    at: u64,
    ended: Ended,
}

impl Trace {
    /// Lets the threads run from call to call, until none is left.
    fn follow(&mut self) -> io::Result<()> {
        loop {
            let status = match waitpid(group(self.program), Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => return Ok(()),
                Err(Errno::EINTR) => continue,
                status => status?,
            };
            let (thread, signal) = match status {
                WaitStatus::Exited(thread, code) => {
                    self.gone(thread, Some(code));
                    continue;
                }
                WaitStatus::Signaled(thread, ..) => {
                    self.gone(thread, None);
                    continue;
                }
                WaitStatus::PtraceSyscall(thread) => {
                    self.call(thread);
                    (thread, None)
                }
                WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
                WaitStatus::PtraceEvent(thread, ..) => (thread, None),
                _ => continue,
            };
            // A thread that was killed meanwhile is reported as gone.
            match ptrace::syscall(thread, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn gone(&mut self, thread: Pid, code: Option<i32>) {
        if thread == self.program {
            self.ended.code = code;
        }
    }

    /// A thread enters a call or leaves one.
    fn call(&mut self, thread: Pid) {
        let entered = ptrace::syscall_info(thread).is_ok_and(|info| info.op == ENTERED);
        if !entered {
            return;
        }
        let Ok(mut registers) = ptrace::getregs(thread) else {
            return;
        };
        let Some(change) = change(&registers) else {
            return;
        };
        if let Some(descriptor) = change.descriptor
            && !self.is_below(thread, descriptor)
        {
            return;
        }
        if self.ended.killed.is_some() {
            return;
        }
        if self.ended.count() == self.at {
            self.ended.killed = Some(change.name);
            // A call that has been entered may be done all the same: this one becomes none.
            registers.orig_rax = u64::MAX;
            ptrace::setregs(thread, registers).ok();
            kill(self.program, Signal::SIGKILL).ok();
            return;
        }
        *self.ended.changes.entry(change.name).or_default() += 1;
    }

    /// Whether a descriptor is of something in the folder.
    fn is_below(&self, thread: Pid, descriptor: u64) -> bool {
        let link = format!("/proc/{thread}/fd/{descriptor}");
        std::fs::read_link(link).is_ok_and(|path| path.starts_with(&self.folder))
    }
}

/// A call that changes files.
struct Change {
    name: &'static str,
    /// What it changes, where it is given that.
    descriptor: Option<u64>,
}

fn change(registers: &user_regs_struct) -> Option<Change> {
    let creating = (libc::O_CREAT | libc::O_TRUNC) as u64;
    let name = |name| Change {
        name,
        descriptor: None,
    };
    let of = |name| Change {
        name,
        descriptor: Some(registers.rdi),
    };
    Some(match registers.orig_rax as c_long {
        libc::SYS_open if registers.rsi & creating != 0 => name("create"),
        libc::SYS_openat if registers.rdx & creating != 0 => name("create"),
        // How it opens lies in memory.
        libc::SYS_openat2 => name("openat2"),
        libc::SYS_creat => name("create"),
        libc::SYS_mkdir | libc::SYS_mkdirat => name("mkdir"),
        libc::SYS_rmdir => name("rmdir"),
        libc::SYS_unlinkat if registers.rdx & libc::AT_REMOVEDIR as u64 != 0 => name("rmdir"),
        libc::SYS_unlink | libc::SYS_unlinkat => name("unlink"),
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => name("rename"),
        libc::SYS_link | libc::SYS_linkat | libc::SYS_symlink | libc::SYS_symlinkat => name("link"),
        libc::SYS_write | libc::SYS_writev => of("write"),
        libc::SYS_pwrite64 | libc::SYS_pwritev | libc::SYS_pwritev2 => of("pwrite"),
        libc::SYS_copy_file_range => Change {
            name: "copy",
            descriptor: Some(registers.rdx),
        },
        libc::SYS_sendfile => of("copy"),
        libc::SYS_fsync | libc::SYS_fdatasync => of("fsync"),
        libc::SYS_ftruncate | libc::SYS_fallocate => of("truncate"),
        libc::SYS_truncate => name("truncate"),
        _ => return None,
    })
}
