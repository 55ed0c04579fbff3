//! How processes of the program itself are started: from the very file that runs, with a short environment.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variables that a process of ours keeps; everything else stays behind, so that what it does
/// follows from its order. Those that end in `*` stand for all that begin so.
const KEPT: [&str; 22] = [
    // Where FFmpeg, the encoders and the drivers lie.
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    // What glibc's heap does. Encoders get one more setting in it.
    "GLIBC_TUNABLES",
    // The language of what drivers and libraries report.
    "LANG",
    "LANGUAGE",
    "LC_*",
    // Which GPUs there are, which driver each takes, and where it lies.
    "CUDA_*",
    "NVIDIA_*",
    "LIBVA_*",
    "VK_*",
    "MESA_*",
    "DRI_PRIME",
    "GBM_*",
    "ONEVPL_*",
    "MFX_*",
    // Where drivers keep the kernels that they compile, and their other files. Without these each
    // process compiles them again.
    "HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_DIRS",
    "TMPDIR",
    // Where a coverage build writes what it has counted.
    "LLVM_PROFILE_FILE",
    // Switches of the drivers that tests put in place of real ones.
    "RUNGS_*",
];

/// Whether a process of ours keeps a variable.
fn is_kept(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    KEPT.iter().any(|kept| match kept.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == kept.as_bytes(),
    })
}

/// The start of a process of `program` with one argument, in a process group of its own: a Ctrl-C on
/// the terminal is the engine's to answer.
pub(crate) fn command(program: &Path, argument: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg(argument)
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| is_kept(name)))
        .process_group(0);
    if program.starts_with(DESCRIPTORS) {
        // Lists of processes show the program's name instead of a descriptor.
        command.arg0(env::args_os().next().unwrap_or_default());
    }
    command
}

/// Where a process finds its own descriptors.
const DESCRIPTORS: &str = "/proc/self/fd";

/// A path that leads to the running program as long as this process lives, whatever replaces its
/// file meanwhile. Call it when the program starts. Where the system has no such path it is the path
/// of the program's file.
pub fn own_program() -> io::Result<PathBuf> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(path) = held() {
        return Ok(path);
    }
    env::current_exe()
}

/// The running program, opened once. A new process resolves the path before the descriptor is
/// closed in it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn held() -> Option<PathBuf> {
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::sync::OnceLock;

    use rustix::fs::{Mode, OFlags, open};

    static PROGRAM: OnceLock<Option<OwnedFd>> = OnceLock::new();
    // It need not be readable, only executable.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let program = PROGRAM.get_or_init(|| open("/proc/self/exe", flags, Mode::empty()).ok());
    let program = program.as_ref()?;
    Some(Path::new(DESCRIPTORS).join(program.as_raw_fd().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_what_it_needs_and_nothing_else() {
        for kept in [
            "LD_LIBRARY_PATH",
            "LC_ALL",
            "CUDA_VISIBLE_DEVICES",
            "LIBVA_DRIVER_NAME",
            "VK_ICD_FILENAMES",
            "RUNGS_STANDIN",
        ] {
            assert!(is_kept(OsStr::new(kept)), "{kept}");
        }
        for left in [
            "PATH",
            "LD_PRELOAD",
            "HTTPS_PROXY",
            "LANGUAGES",
            "CUDA",
            "MY_RUNGS_X",
        ] {
            assert!(!is_kept(OsStr::new(left)), "{left}");
        }
        let mut printed = command(Path::new("/usr/bin/env"), "-0");
        let output = printed.output().expect("it runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        let names = printed.split('\0').filter_map(|line| line.split_once('='));
        let other: Vec<_> = names
            .filter(|(name, _)| !is_kept(OsStr::new(name)))
            .collect();
        assert!(output.status.success() && other.is_empty(), "{other:?}");
        assert!(env::var_os("PATH").is_some(), "the test itself has more");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_running_program_is_started_again_by_its_descriptor() {
        let program = own_program().expect("it runs");
        assert!(program.starts_with(DESCRIPTORS), "{program:?}");
        assert_eq!(own_program().expect("it runs"), program);
        let listed = command(&program, "--list").output().expect("it starts");
        let text = String::from_utf8_lossy(&listed.stdout);
        assert!(
            text.contains("the_running_program_is_started_again"),
            "{text}"
        );
    }
}
