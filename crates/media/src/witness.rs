//! A file that is read, and at the end the answer to whether it is still what was read.
//!
//! ```text
//! readers ─► each whole block that goes by: its hash is kept
//! the end ─► same length, times and number: nothing changed. Other times alone: the blocks are read again and compared
//! ```
//!
//! A date tells nothing: `touch` sets one, and whoever changes a file can set it back. The time of the last change of the inode cannot be
//! set, but a link or a permission moves it too. So times only say when to look at the content.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cancel::CancelToken;
use crate::source::{Identity, Lasting, Reading, Source, Supply};

/// Bytes of a block.
const BLOCK: usize = 1 << 16;

/// All by which a change shows without reading the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// Whether it is the same file, as long as it was.
    fn is_of(&self, other: &Self) -> bool {
        (self.device, self.inode, self.bytes) == (other.device, other.inode, other.bytes)
    }
}

/// What was read of the file.
#[derive(Debug, Default)]
struct Seen {
    /// Hashes by the number of the block.
    blocks: HashMap<u64, u64>,
    /// Whether a block was read twice and was another the second time.
    differs: bool,
}

/// A file, with what is known of the bytes that readers got.
#[derive(Debug)]
pub struct Witness {
    path: PathBuf,
    before: Stamp,
    seen: Arc<Mutex<Seen>>,
}

impl Witness {
    /// Begins to watch a source that is a regular file; `None` for any other.
    #[must_use]
    pub fn of(source: &Source) -> Option<Arc<Self>> {
        let Source::Path(path) = source else {
            return None;
        };
        let found = fs::metadata(path).ok().filter(Metadata::is_file)?;
        Some(Arc::new(Self {
            path: path.clone(),
            before: Stamp::of(&found),
            seen: Arc::default(),
        }))
    }

    /// Tells whether the file is still what was read of it. Blocks while what was read is read again, if the file's times have changed.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        let Ok(found) = fs::metadata(&self.path) else {
            return false;
        };
        let now = Stamp::of(&found);
        let seen = lock(&self.seen);
        if seen.differs || !now.is_of(&self.before) {
            return false;
        }
        now == self.before || has_blocks(&self.path, &seen.blocks).unwrap_or(false)
    }
}

/// Whether a file has these blocks.
fn has_blocks(path: &Path, blocks: &HashMap<u64, u64>) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut numbers: Vec<_> = blocks.iter().collect();
    numbers.sort();
    let mut bytes = Vec::with_capacity(BLOCK);
    for (number, hash) in numbers {
        file.seek(SeekFrom::Start(number * BLOCK as u64))?;
        bytes.clear();
        file.by_ref().take(BLOCK as u64).read_to_end(&mut bytes)?;
        if hash_of(&bytes) != *hash {
            return Ok(false);
        }
    }
    Ok(true)
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    // Each change is one call on the map, which is whole whatever thread panicked.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supply for Witness {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self, cancel: &CancelToken) -> io::Result<Box<dyn Reading>> {
        let reader = Source::from(self.path.as_path()).open(cancel)?;
        Ok(Box::new(Watched {
            reader,
            position: 0,
            block: Some(Vec::new()),
            seen: Arc::clone(&self.seen),
        }))
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn identity(&self) -> io::Result<Identity> {
        Source::from(self.path.as_path()).identity()
    }

    fn lasting(&self) -> Lasting {
        Lasting::File(self.path.clone())
    }
}

/// A reader of the file that keeps the hash of each block which it reads whole.
struct Watched {
    reader: Box<dyn Reading>,
    position: u64,
    /// What was read of the block at the position; `None` if it was not read from its start.
    block: Option<Vec<u8>>,
    seen: Arc<Mutex<Seen>>,
}

impl Watched {
    fn watch(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = (self.position % BLOCK as u64) as usize;
            if within == 0 {
                self.block.get_or_insert_default().clear();
            }
            let (here, rest) = bytes.split_at(bytes.len().min(BLOCK - within));
            self.position += here.len() as u64;
            if let Some(block) = &mut self.block {
                block.extend_from_slice(here);
            }
            if within + here.len() == BLOCK {
                self.keep();
            }
            bytes = rest;
        }
    }

    /// Keeps the hash of the block that ends at the position.
    fn keep(&mut self) {
        let Some(block) = self.block.take().filter(|block| !block.is_empty()) else {
            return;
        };
        let number = (self.position - 1) / BLOCK as u64;
        let mut seen = lock(&self.seen);
        let hash = hash_of(&block);
        let earlier = *seen.blocks.entry(number).or_insert(hash);
        seen.differs |= earlier != hash;
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.watch(&buffer[..read]);
        if Some(self.position) == self.reader.length() {
            self.keep();
        }
        Ok(read)
    }
}

impl Seek for Watched {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = self.reader.seek(to)?;
        if position != self.position {
            self.position = position;
            self.block = None;
        }
        Ok(position)
    }
}

impl Reading for Watched {
    fn length(&self) -> Option<u64> {
        self.reader.length()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::*;

    const LENGTH: usize = 3 * BLOCK + 1000;

    /// A file that was read to its end, in odd pieces, once from the start and once from the middle.
    fn read() -> (tempfile::TempDir, PathBuf, Arc<Witness>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film");
        let bytes: Vec<u8> = (0..LENGTH).map(|n| (n % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let witness = Witness::of(&Source::from(path.as_path())).unwrap();
        let source = Source::Supply(Arc::clone(&witness) as _);
        for start in [0, BLOCK as u64 + 7] {
            let mut reader = source.open(&CancelToken::default()).unwrap();
            reader.seek(SeekFrom::Start(start)).unwrap();
            let (mut all, mut buffer) = (Vec::new(), [0; 5000]);
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    read => all.extend_from_slice(&buffer[..read]),
                }
            }
            assert!(all == bytes[start as usize..]);
        }
        assert_eq!(lock(&witness.seen).blocks.len(), 4);
        assert!(witness.is_unchanged());
        (folder, path, witness)
    }

    fn modified(path: &Path) -> SystemTime {
        fs::metadata(path).unwrap().modified().unwrap()
    }

    fn set_modified(path: &Path, time: SystemTime) {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }

    #[test]
    fn a_file_that_was_touched_linked_or_locked_is_the_same() {
        let (folder, path, witness) = read();
        set_modified(&path, SystemTime::UNIX_EPOCH);
        assert!(witness.is_unchanged());
        fs::hard_link(&path, folder.path().join("link")).unwrap();
        assert!(witness.is_unchanged());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(witness.is_unchanged());
        // The same bytes, written again.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        assert!(witness.is_unchanged());
    }

    #[test]
    fn a_change_shows_whatever_the_date_says() {
        for place in [0, BLOCK, 2 * BLOCK + 5, LENGTH - 1] {
            let (_folder, path, witness) = read();
            let date = modified(&path);
            let mut file = File::options().write(true).open(&path).unwrap();
            file.seek(SeekFrom::Start(place as u64)).unwrap();
            file.write_all(&[255]).unwrap();
            file.set_modified(date).unwrap();
            assert_eq!(modified(&path), date);
            assert!(!witness.is_unchanged(), "{place}");
        }
    }

    #[test]
    fn another_file_and_another_length_are_changes() {
        let (folder, path, witness) = read();
        let date = modified(&path);
        let other = folder.path().join("other");
        fs::copy(&path, &other).unwrap();
        set_modified(&other, date);
        fs::rename(&other, &path).unwrap();
        assert!(!witness.is_unchanged());
        let (_folder, path, witness) = read();
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"x")
            .unwrap();
        assert!(!witness.is_unchanged());
        let (_folder, path, witness) = read();
        fs::remove_file(&path).unwrap();
        assert!(!witness.is_unchanged());
    }
}
