//! One run at a time in a folder: a lock that the kernel drops with the process that holds it.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rungs_package::tree::Tree;
use serde::{Deserialize, Serialize};

use super::{JournalError, LOCK, PRIVATE};

/// Bytes that a holder's name takes at most.
const LONGEST: u64 = 4096;

/// Who holds a folder, as the holder says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// The machine that it runs on.
    pub host: String,
    /// When it began, in seconds since 1970.
    pub since: u64,
}

impl Holder {
    fn this_process() -> Self {
        Self {
            pid: std::process::id(),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            since: now(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            // It has the lock, and has not written its name yet.
            return write!(f, "a process that has just begun");
        }
        let minutes = now().saturating_sub(self.since) / 60;
        write!(
            f,
            "process {} on {}, begun {minutes} min ago",
            self.pid, self.host
        )
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}

/// The lock of a folder, held until it is dropped or the process ends. Processes that this one starts do not inherit it.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the output folder `root`, which is made if it does not exist. Does not wait.
    pub(super) fn take(root: &Path) -> Result<Self, JournalError> {
        let path = root.join(LOCK);
        let failed = |source| JournalError::Lock {
            path: path.clone(),
            source,
        };
        loop {
            fs::create_dir_all(root).map_err(failed)?;
            let tree = Tree::open(root).map_err(failed)?;
            tree.create_folder(Path::new(PRIVATE)).map_err(failed)?;
            // Its content goes: a file that has another name elsewhere is no lock of ours.
            let mut file = tree.own_file(LOCK).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(root, &mut file)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            // Somebody may have removed the folder between opening and locking: then this is the lock of nothing.
            if !is_in(&file, root) {
                continue;
            }
            file.set_len(0).map_err(failed)?;
            let name = serde_json::to_vec(&Holder::this_process()).unwrap_or_default();
            file.write_all(&name).map_err(failed)?;
            return Ok(Self { _file: file });
        }
    }

    /// Shares the lock of a folder that may be read only with others who read; no run may begin meanwhile.
    pub(super) fn share(root: &Path) -> Result<Self, JournalError> {
        let path = root.join(LOCK);
        let failed = |source| JournalError::Lock {
            path: path.clone(),
            source,
        };
        let opened = Tree::open(root).and_then(|tree| tree.file(LOCK));
        let mut file = opened.map_err(failed)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(held(root, &mut file)),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

fn held(root: &Path, file: &mut File) -> JournalError {
    let mut text = String::new();
    // Whoever has just taken it may not have written its name.
    file.take(LONGEST).read_to_string(&mut text).ok();
    JournalError::Held {
        root: root.to_owned(),
        holder: serde_json::from_str(&text).unwrap_or_default(),
    }
}

/// Whether it is still the file that is found when the folder is looked up again.
fn is_in(file: &File, root: &Path) -> bool {
    let is_there = || -> io::Result<bool> {
        let there = Tree::open(root)?.look(LOCK)?;
        let held = file.metadata()?;
        Ok((held.dev(), held.ino()) == there.number)
    };
    is_there().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wins_and_the_other_says_who() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("out");
        let lock = Lock::take(&root).expect("nobody has it");
        match Lock::take(&root) {
            Err(JournalError::Held { holder, .. }) => {
                assert_eq!(holder.pid, std::process::id());
                assert!(!holder.host.is_empty());
                let text = holder.to_string();
                assert!(text.ends_with("begun 0 min ago"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        drop(lock);
        Lock::take(&root).expect("it is free again");
    }

    #[test]
    fn of_many_at_once_one_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("out");
        let barrier = std::sync::Barrier::new(8);
        let won = std::thread::scope(|scope| {
            let take = || {
                barrier.wait();
                Lock::take(&root)
            };
            let tries: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            let ends: Vec<_> = tries
                .into_iter()
                .map(|one| one.join().expect("no panic"))
                .collect();
            ends.iter().filter(|end| end.is_ok()).count()
        });
        assert_eq!(won, 1);
    }

    #[test]
    fn a_lock_of_a_dead_process_does_not_block() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join(PRIVATE)).expect("a folder");
        for left in [
            "",
            "{\"pid\":1,\"host\":\"elsewhere\",\"since\":0}",
            "no JSON",
        ] {
            fs::write(folder.path().join(LOCK), left).expect("a file");
            Lock::take(folder.path()).expect("its holder is gone");
        }
        let text = fs::read_to_string(folder.path().join(LOCK)).expect("a file");
        let holder: Holder = serde_json::from_str(&text).expect("all of the old name is gone");
        assert_eq!(holder.pid, std::process::id());
    }
}
