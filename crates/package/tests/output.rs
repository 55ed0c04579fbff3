//! Outputs: what readers see while files are written, and what is left after a failure.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rungs_package::output::{Directory, Item, Kind, Memory, Output, OutputError};

fn put(output: &mut impl Output, path: &str, bytes: &[u8]) -> Result<(), OutputError> {
    output.put(Item {
        path,
        kind: Kind::Segment,
        bytes,
    })
}

/// All files below a folder, with `/` in between.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

#[test]
fn files_go_into_folders_that_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/out");
    let mut output = Directory::create(&root).unwrap();
    put(&mut output, "video/a/seg-00000.m4s", b"one").unwrap();
    put(&mut output, "master.m3u8", b"two").unwrap();
    put(&mut output, "master.m3u8", b"three").unwrap();
    assert_eq!(files(&root), ["master.m3u8", "video/a/seg-00000.m4s"]);
    assert_eq!(fs::read(root.join("master.m3u8")).unwrap(), b"three");
    assert_eq!(output.root(), root);
}

#[test]
fn what_an_earlier_run_left_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(&mut Directory::create(root).unwrap(), "a", b"kept").unwrap();
    fs::write(root.join(".rungs/tmp/1.tmp"), b"half a file").unwrap();
    fs::write(root.join(".rungs/journal"), b"kept").unwrap();
    let mut output = Directory::create(root).unwrap();
    assert_eq!(files(root), [".rungs/journal", "a"]);
    // The working folder may be deleted at any time.
    fs::remove_dir_all(root.join(".rungs")).unwrap();
    put(&mut output, "b", b"more").unwrap();
    assert_eq!(files(root), ["a", "b"]);
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut output = Directory::create(root).unwrap();
    // A folder is in the way of the file, and a file in the way of the folder.
    put(&mut output, "a/b", b"kept").unwrap();
    let error = put(&mut output, "a", b"lost").unwrap_err();
    assert_eq!(error.operation, "rename into place");
    assert_eq!(error.path, root.join("a"));
    assert!(!error.is_no_space());
    let error = put(&mut output, "a/b/c", b"lost").unwrap_err();
    assert_eq!(error.operation, "create folder");
    assert_eq!(files(root), ["a/b"]);
    assert_eq!(fs::read(root.join("a/b")).unwrap(), b"kept");
    assert!(Directory::create(root.join("a/b")).is_err());
}

/// A file system with room for 64 KiB.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts it. `None`, said aloud, where this is not allowed.
    #[expect(clippy::print_stderr, reason = "a test that is left out has to say so")]
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(folder.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        assert!(
            std::env::var_os("STRICT").is_none(),
            "no file system can be mounted"
        );
        eprintln!("SKIPPED: no file system can be mounted");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.folder.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || thread::panicking());
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_no_part() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let root = disk.folder.path();
    let mut output = Directory::create(root).unwrap();
    put(&mut output, "a", &vec![1; 30_000]).unwrap();
    let error = put(&mut output, "a", &vec![2; 40_000]).unwrap_err();
    assert!(error.is_no_space(), "{error}: {}", error.source);
    assert_eq!(files(root), ["a"]);
    assert_eq!(fs::read(root.join("a")).unwrap(), vec![1; 30_000]);
    // With room again, the same call succeeds.
    fs::remove_file(root.join("a")).unwrap();
    put(&mut output, "a", &vec![2; 40_000]).unwrap();
    assert_eq!(fs::read(root.join("a")).unwrap(), vec![2; 40_000]);
}

#[test]
fn readers_see_whole_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut output = Directory::create(folder.path()).unwrap();
    let version = |i: usize| vec![i as u8; 1 + i * 1000];
    put(&mut output, "a", &version(0)).unwrap();
    let done = AtomicBool::new(false);
    let path = folder.path().join("a");
    let distinct = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = 0;
            let mut distinct = 0;
            while !done.load(Ordering::Acquire) {
                let bytes = fs::read(&path).unwrap();
                let i = usize::from(bytes[0]);
                assert!(bytes == version(i), "a part of version {i}");
                assert!(i >= last, "version {i} after {last}");
                distinct += usize::from(i > last);
                last = i;
            }
            distinct
        });
        for i in 1..200 {
            put(&mut output, "a", &version(i)).unwrap();
        }
        done.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    assert!(distinct > 1, "the reader saw {distinct} replacements");
}

#[test]
fn clones_of_memory_share_their_files() {
    let memory = Memory::new();
    let mut writer = memory.clone();
    put(&mut writer, "b", b"1").unwrap();
    put(&mut writer, "a", b"2").unwrap();
    put(&mut writer, "b", b"3").unwrap();
    assert_eq!(memory.paths(), ["a", "b"]);
    assert_eq!(memory.get("b").as_deref(), Some(b"3".as_slice()));
    assert_eq!(memory.get("c"), None);
    assert_eq!(memory.files().len(), 2);
}

#[test]
fn an_error_tells_the_file_and_keeps_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"").unwrap();
    let error = Directory::create(folder.path().join("file/out")).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cannot create folder /"), "{text}");
    assert!(std::error::Error::source(&error).is_some());
}
