//! What this machine has, and what this process has used of it.

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
        let cores = std::thread::available_parallelism()
            .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        Self {
            cores,
            available_memory: available_memory(),
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

fn available_memory() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = kilobytes(&meminfo, "MemAvailable:");
    // Where the kernel says nothing, assume a small machine rather than none.
    let machine = machine.unwrap_or(4 << 30);
    control_group_room().map_or(machine, |room| room.min(machine))
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// What the control group and those above it leave. Files in the page cache count as free: the kernel gives them up first.
fn control_group_room() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = Path::new("/sys/fs/cgroup");
    let groups = root.join(path.trim_start_matches('/'));
    groups
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .filter_map(room)
        .min()
}

fn room(group: &Path) -> Option<u64> {
    let read = |file: &str| fs::read_to_string(group.join(file)).ok();
    let number = |file: &str| -> Option<u64> { read(file)?.trim().parse().ok() };
    let limit = number("memory.max")?;
    let stat = read("memory.stat").unwrap_or_default();
    let cached = stat.lines().find_map(|line| {
        line.strip_prefix("inactive_file ")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    let used = number("memory.current")?.saturating_sub(cached.unwrap_or(0));
    Some(limit.saturating_sub(used))
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
    fn meminfo_is_read() {
        assert_eq!(
            kilobytes("MemFree: 1 kB\nMemAvailable:   20 kB\n", "MemAvailable:"),
            Some(20 * 1024)
        );
        assert_eq!(kilobytes("MemFree: 1 kB\n", "MemAvailable:"), None);
    }
}
