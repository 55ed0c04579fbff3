//! What this machine has, and what this process has used of it.

mod groups;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The machine as a job sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Cores that this process may use.
    pub cores: u32,
    /// Memory that can be had now, in bytes; what a control group allows counts.
    pub available_memory: u64,
}

impl Host {
    /// Looks at the machine.
    #[must_use]
    pub fn detect() -> Self {
        Self::detect_below(Path::new("/"))
    }

    /// The same where the files of `/proc` and `/sys` lie below `root`.
    fn detect_below(root: &Path) -> Self {
        let allowed = groups::allowed(root);
        let cores = std::thread::available_parallelism()
            .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        let memory = [Some(free_memory(root)), allowed.memory, address_space(root)];
        Self {
            cores: allowed.cores.map_or(cores, |allowed| allowed.min(cores)),
            available_memory: memory.into_iter().flatten().min().unwrap_or_default(),
        }
    }

    /// Encoders to have open at once: one thread each packs best, and half as many again as cores keep every core busy while
    /// an encoder starts up or drains.
    #[must_use]
    pub fn default_sessions(&self) -> u32 {
        self.cores + self.cores.div_ceil(2)
    }

    /// Decoders that may read one source at once: a decoder keeps about eight cores of encoders busy.
    #[must_use]
    pub fn default_decoders(&self) -> u32 {
        (self.cores / 8).clamp(1, 4)
    }

    /// Memory for pictures and encoders when nothing was said: half of what is available.
    #[must_use]
    pub fn default_memory(&self) -> u64 {
        self.available_memory / 2
    }
}

/// What the machine has left, in bytes.
fn free_memory(root: &Path) -> u64 {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    // Where the kernel says nothing, assume a small machine rather than none.
    kilobytes(&meminfo, "MemAvailable:").unwrap_or(4 << 30)
}

/// What the limit of this process's address space leaves, in bytes, if it has one.
fn address_space(root: &Path) -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let taken = kilobytes(&status, "VmSize:").unwrap_or_default();
    Some(limit.saturating_sub(taken))
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// Processor time that this process has used so far, over all its threads.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Starts the count of [`peak_memory`] anew, where the kernel lets it.
pub(crate) fn forget_peak_memory() {
    fs::write("/proc/self/clear_refs", "5").ok();
}

/// The most memory that this process has held at once, in bytes, where the kernel tells.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_seen() {
        let host = Host::detect();
        assert!(host.cores >= 1);
        assert!(host.available_memory > 1 << 20);
        assert!(host.default_sessions() > host.cores);
    }

    #[test]
    fn a_control_group_takes_from_what_the_machine_has() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("it is below")).expect("a folder");
            fs::write(path, text).expect("written");
        };
        write("proc/meminfo", "MemAvailable:   2048 kB\n");
        let memory = || Host::detect_below(root.path()).available_memory;
        assert_eq!(memory(), 2 << 20);
        write("proc/self/cgroup", "0::/a\n");
        write("sys/fs/cgroup/a/memory.max", "1000000\n");
        write("sys/fs/cgroup/a/memory.current", "1000\n");
        write("sys/fs/cgroup/a/cpu.max", "50000 100000\n");
        assert_eq!(memory(), 999_000);
        assert_eq!(Host::detect_below(root.path()).cores, 1);
    }

    #[test]
    fn meminfo_is_read() {
        assert_eq!(
            kilobytes("MemFree: 1 kB\nMemAvailable:   20 kB\n", "MemAvailable:"),
            Some(20 * 1024)
        );
        assert_eq!(kilobytes("MemFree: 1 kB\n", "MemAvailable:"), None);
    }
}
