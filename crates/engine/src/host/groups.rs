//! What control groups allow, of version 1 and version 2, also where a machine has both.
//!
//! A process is in one group of version 2 and in one group of each hierarchy of version 1. Every
//! group from its own up to the mount limits it, and the tightest limit counts (Linux kernel
//! documentation: cgroup-v2.rst, cgroup-v1/memory.rst, scheduler/sched-bwc.rst).

use std::fs;
use std::path::{Path, PathBuf};

/// What all groups together allow; `None` where none of them limits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Memory that may still be taken, in bytes.
    pub(super) memory: Option<u64>,
    /// Cores' worth of time, whole ones; at least one.
    pub(super) cores: Option<u32>,
}

/// Where version 2 is mounted by custom.
const USUAL: &str = "/sys/fs/cgroup";

/// Reads what the groups of this process allow, on a machine whose files lie below `root`.
pub(super) fn allowed(root: &Path) -> Allowed {
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    let (own, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let own: Vec<Membership> = own.lines().filter_map(Membership::parse).collect();
    let mut mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    if mounts.is_empty() {
        mounts.push(Mount {
            below: "/".to_owned(),
            at: USUAL.to_owned(),
            controllers: None,
        });
    }
    let mut allowed = Allowed::default();
    for mount in &mounts {
        for member in own.iter().filter(|member| mount.holds(member)) {
            for group in mount.groups(root, &member.path) {
                let limits = match &mount.controllers {
                    None => second_version(&group),
                    Some(_) => first_version(&group),
                };
                allowed = allowed.and(limits);
            }
        }
    }
    allowed
}

impl Allowed {
    /// The tighter of both in each.
    fn and(self, other: Self) -> Self {
        Self {
            memory: self.memory.into_iter().chain(other.memory).min(),
            cores: self.cores.into_iter().chain(other.cores).min(),
        }
    }
}

/// A line of `/proc/self/cgroup`: `4:memory:/user.slice`, or `0::/user.slice` of version 2.
struct Membership {
    controllers: Vec<String>,
    path: String,
}

impl Membership {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        Some(Self {
            controllers: words(controllers),
            path: parts.next()?.to_owned(),
        })
    }
}

/// A mounted hierarchy.
struct Mount {
    /// The group that is seen at the mount; that of a container, where it sees only its own.
    below: String,
    at: String,
    /// Those of version 1; `None` for version 2.
    controllers: Option<Vec<String>>,
}

impl Mount {
    /// Reads a line of `/proc/self/mountinfo`, if it is about control groups.
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let controllers = match kind.next()? {
            "cgroup2" => None,
            "cgroup" => Some(words(kind.nth(1)?)),
            _ => return None,
        };
        let mut place = place.split(' ').skip(3);
        Some(Self {
            below: unescaped(place.next()?),
            at: unescaped(place.next()?),
            controllers,
        })
    }

    /// Whether it is the hierarchy of a membership.
    fn holds(&self, member: &Membership) -> bool {
        match &self.controllers {
            None => member.controllers.is_empty(),
            Some(own) => member.controllers.iter().any(|name| own.contains(name)),
        }
    }

    /// The folders of a group and of those above it, as far as they are seen.
    fn groups(&self, root: &Path, path: &str) -> Vec<PathBuf> {
        let top = root.join(self.at.trim_start_matches('/'));
        // A path that is not below the mount is that of another namespace: only the mount is known.
        let inside = Path::new(path).strip_prefix(&self.below).ok();
        let inside = inside.filter(|path| !path.components().any(|part| part.as_os_str() == ".."));
        let group = inside.map_or_else(|| top.clone(), |path| top.join(path));
        let groups = group
            .ancestors()
            .take_while(|group| group.starts_with(&top));
        groups.map(Path::to_owned).collect()
    }
}

fn words(list: &str) -> Vec<String> {
    let words = list.split(',').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// Spaces and the like are octal there: `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3);
        if let Some(code) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            all.push(char::from(code));
            all.push_str(&part[3..]);
        } else {
            all.push('\\');
            all.push_str(part);
        }
    }
    all
}

/// The files of one group.
struct Files<'a>(&'a Path);

impl Files<'_> {
    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.join(name)).ok()
    }

    /// A number; `None` for `max`, and for -1.
    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// A number behind its name in `memory.stat`.
    fn stat(&self, name: &str) -> Option<u64> {
        let text = self.text("memory.stat")?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line?.trim().parse().ok()
    }
}

/// Files in the page cache count as free: the kernel gives them up first.
fn room(limit: u64, used: u64, cached: Option<u64>) -> u64 {
    limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0)))
}

fn second_version(group: &Path) -> Allowed {
    let files = Files(group);
    // Above the second the kernel slows the processes down until they are below it.
    let limits = [files.number("memory.max"), files.number("memory.high")];
    let limit = limits.into_iter().flatten().min();
    let memory = limit.zip(files.number("memory.current"));
    let time = files.text("cpu.max");
    let time = time.as_deref().and_then(|time| time.split_once(' '));
    let time = time.and_then(|(quota, period)| quota.parse().ok().zip(period.trim().parse().ok()));
    Allowed {
        memory: memory.map(|(limit, used)| room(limit, used, files.stat("inactive_file"))),
        cores: time.and_then(|(quota, period)| cores(quota, period)),
    }
}

fn first_version(group: &Path) -> Allowed {
    let files = Files(group);
    let quota = files.number("cpu.cfs_quota_us");
    let time = quota.zip(files.number("cpu.cfs_period_us"));
    let limit = files.number("memory.limit_in_bytes");
    let used = files.number("memory.usage_in_bytes");
    let cached = || {
        let all = files.stat("total_inactive_file");
        all.or_else(|| files.stat("inactive_file"))
    };
    Allowed {
        // Without a limit it is the largest number of pages, which is no less than any machine has.
        memory: limit
            .zip(used)
            .map(|(limit, used)| room(limit, used, cached())),
        cores: time.and_then(|(quota, period)| cores(quota, period)),
    }
}

/// Whole cores that a quota of time in each period comes to.
fn cores(quota: u64, period: u64) -> Option<u32> {
    let cores = quota.checked_div(period)?;
    Some(u32::try_from(cores).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("it is below")).expect("a folder");
            fs::write(path, text).expect("written");
        }
        root
    }

    fn of(files: &[(&str, &str)]) -> (Option<u64>, Option<u32>) {
        let Allowed { memory, cores } = allowed(machine(files).path());
        (memory, cores)
    }

    const SECOND: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const FIRST: &str = "\
        22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:14 - cgroup cgroup rw,cpu,cpuacct\n\
        34 30 0:30 / /sys/fs/cgroup/memory rw shared:15 - cgroup cgroup rw,memory\n\
        35 30 0:31 / /sys/fs/cgroup/pids rw shared:16 - cgroup cgroup rw,pids\n";
    /// What version 1 says where there is no limit.
    const UNLIMITED: &str = "9223372036854771712\n";

    #[test]
    fn a_machine_without_groups_limits_nothing() {
        assert_eq!(of(&[]), (None, None));
        assert_eq!(of(&[("proc/self/cgroup", "0::/\n")]), (None, None));
        assert_eq!(
            of(&[
                ("proc/self/cgroup", "nonsense\n"),
                ("proc/self/mountinfo", "x - y\n")
            ]),
            (None, None)
        );
    }

    #[test]
    fn the_tightest_group_on_the_path_counts() {
        let files = [
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", SECOND),
            ("sys/fs/cgroup/a/memory.max", "1000000\n"),
            ("sys/fs/cgroup/a/memory.high", "max\n"),
            ("sys/fs/cgroup/a/memory.current", "600000\n"),
            (
                "sys/fs/cgroup/a/memory.stat",
                "anon 1\ninactive_file 100000\n",
            ),
            ("sys/fs/cgroup/a/cpu.max", "350000 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/memory.current", "500000\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            // Not on the path.
            ("sys/fs/cgroup/c/memory.max", "1\n"),
            ("sys/fs/cgroup/c/memory.current", "1\n"),
        ];
        assert_eq!(of(&files), (Some(500_000), Some(3)));
        let high = ("sys/fs/cgroup/a/b/memory.high", "700000\n");
        assert_eq!(of(&[&files[..], &[high]].concat()).0, Some(200_000));
        let less = ("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
        assert_eq!(of(&[&files[..], &[less]].concat()).1, Some(1));
        // More is used than is allowed.
        let over = ("sys/fs/cgroup/a/b/memory.max", "400000\n");
        assert_eq!(of(&[&files[..], &[over]].concat()).0, Some(0));
    }

    #[test]
    fn version_1_is_read_as_version_2_is() {
        let files = [
            (
                "proc/self/cgroup",
                "9:memory:/a/b\n4:cpu,cpuacct:/a\n3:pids:/c\n0::/d\n",
            ),
            ("proc/self/mountinfo", FIRST),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", UNLIMITED),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000000\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2000000\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "900000\n"),
            (
                "sys/fs/cgroup/memory/a/memory.stat",
                "inactive_file 7\ntotal_inactive_file 300000\n",
            ),
            ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", UNLIMITED),
            ("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "800000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(of(&files), (Some(1_400_000), Some(2)));
        // A hybrid machine may limit in the second as well.
        let hybrid = [
            ("sys/fs/cgroup/unified/d/memory.max", "1000000\n"),
            ("sys/fs/cgroup/unified/d/memory.current", "0\n"),
        ];
        let both = [&files[..], &hybrid].concat();
        assert_eq!(of(&both), (Some(1_000_000), Some(2)));
        let unlimited = of(&files[..4]).0;
        assert!(unlimited > Some(1 << 60), "{unlimited:?}");
        let never = ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "0\n");
        assert_eq!(of(&[&files[..], &[never]].concat()).1, None);
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_mount() {
        let mounts = "\
            34 30 0:30 /docker/1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
            35 30 0:31 /docker/1f /sys/fs/with\\040space ro - cgroup cgroup rw,cpu\n";
        let files = [
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/in/memory.limit_in_bytes", "1500\n"),
            ("sys/fs/cgroup/memory/in/memory.usage_in_bytes", "1000\n"),
            ("sys/fs/with space/cpu.cfs_quota_us", "400000\n"),
            ("sys/fs/with space/cpu.cfs_period_us", "100000\n"),
        ];
        for (own, memory) in [
            ("9:memory:/docker/1f\n4:cpu:/docker/1f\n", 2000),
            ("9:memory:/docker/1f/in\n4:cpu:/docker/1f\n", 500),
            // Seen from another namespace.
            ("9:memory:/\n4:cpu:/\n", 2000),
            ("9:memory:/../x\n4:cpu:/../x\n", 2000),
            ("9:memory:/docker/1f/../1f\n4:cpu:/docker/1\n", 2000),
        ] {
            let all = [&files[..], &[("proc/self/cgroup", own)]].concat();
            assert_eq!(of(&all), (Some(memory), Some(4)), "{own}");
        }
    }
}
