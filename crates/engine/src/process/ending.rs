//! The end of a child process that a driver may hold.

use std::process::Child;

/// Seconds for a killed process to be gone.
#[cfg(target_os = "linux")]
const PATIENCE: i64 = 5;

/// Kills a process, if it has not ended by itself, and says how it ended. One that its driver holds in the kernel cannot be killed, and is left behind.
pub(crate) fn end(child: &mut Child) -> String {
    child.kill().ok();
    if is_stuck(child) {
        return "it cannot be ended".to_owned();
    }
    let status = child.wait();
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

#[cfg(target_os = "linux")]
fn is_stuck(child: &Child) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use rustix::time::Timespec;

    let Ok(process) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) else {
        return false;
    };
    let patience = Timespec {
        tv_sec: PATIENCE,
        tv_nsec: 0,
    };
    matches!(
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)),
        Ok(0)
    )
}

#[cfg(not(target_os = "linux"))]
fn is_stuck(_: &Child) -> bool {
    false
}
