//! Finished files in, whole or not at all, durable when the call returns: [`Directory`] on disk,
//! [`Memory`] for tests and for those who serve from it.
//!
//! An output may also keep [`Fact`]s about the job, so that a later process can go on from them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::summary::TrackSummary;
use crate::tree::{At, Tree};

/// What an item is, for outputs that treat kinds differently: caching, content types, order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An initialisation segment.
    Init,
    /// A media segment. It never changes.
    Segment,
    /// An HLS media playlist. It is replaced as it grows.
    MediaPlaylist,
    /// The HLS multivariant playlist.
    MultivariantPlaylist,
    /// The DASH manifest.
    Manifest,
    /// A poster, thumbnails, or a list of them. It is replaced when a rendition is added that it is better made of.
    Still,
    /// The report about the job.
    Report,
}

/// One file of the package.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Where it goes: relative, separated by `/`.
    pub path: &'a str,
    /// What it is.
    pub kind: Kind,
    /// The whole content.
    pub bytes: &'a [u8],
}

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct OutputError {
    /// The file or folder that the operation was on.
    pub path: PathBuf,
    /// What was tried: "write", "rename".
    pub operation: &'static str,
    /// Why it failed.
    pub source: io::Error,
}

impl OutputError {
    /// Tells whether the disk or a quota is full: what is missing is room, and the same call may
    /// succeed later.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(
            self.source.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        )
    }
}

/// A media segment that is stored: all that playlists and manifests need to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSegment {
    /// The track's name.
    pub track: String,
    /// Its place, counted from 0.
    pub index: u32,
    /// When it is decoded, in ticks of the track.
    pub decode_time: u64,
    /// How long it is, in ticks of the track.
    pub duration: u64,
    /// How many samples it has.
    pub samples: u32,
    /// Bytes of its file.
    pub bytes: u64,
    /// The digest of its file.
    pub sha256: Digest,
    /// Where its first sample, a keyframe, ends in its file; of pictures only.
    pub key_end: Option<u64>,
    /// How long its last sample is, in ticks of the track; of samples only. `None` too where a program stored it that did not keep this.
    pub last_sample: Option<u64>,
}

/// A stretch of the source that all video renditions share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSpan {
    /// Its place, counted from 0: that of the segments made of it.
    pub index: u32,
    /// When it starts, in ticks of the video tracks.
    pub start: i64,
    /// When it ends.
    pub end: i64,
    /// Pictures in it.
    pub frames: u32,
    /// How many of them repeat the one before.
    pub held: u32,
    /// Whether the source ends with it.
    pub last: bool,
}

/// Something about a job that whoever goes on with it has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A span is known. It counts from the next segment that is stored.
    Span(StoredSpan),
    /// The file of a segment is in place; no playlist names it before this fact is kept.
    Segment(StoredSegment),
    /// A track is made by other encoders than was planned, from its first segment on.
    TakenOver {
        /// The track's name.
        track: String,
        /// The first of the encoders.
        by: String,
    },
    /// From now on playlists have an end, and may not be written again without it.
    Closing,
    /// Everything is written.
    Finished,
}

/// Where a package goes.
pub trait Output: Send {
    /// Stores an item. Readers see the whole item or what was there before, at any time; an item
    /// under the same path is replaced. When this returns without an error the item is there to
    /// stay, whatever happens to the process or to power. Blocks until then.
    ///
    /// After an error the item is absent or as it was before, and the call may be repeated.
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError>;

    /// Reads an item back that was put here, by this process or an earlier one. Fails unless overridden.
    fn get(&mut self, path: &str) -> Result<Vec<u8>, OutputError> {
        Err(OutputError {
            path: path.into(),
            operation: "read back",
            source: ErrorKind::Unsupported.into(),
        })
    }

    /// Takes note that all files of one rendition have been put. Does nothing unless overridden.
    fn finished(&mut self, _rendition: &TrackSummary) -> Result<(), OutputError> {
        Ok(())
    }

    /// Keeps a fact, durably when this returns. Does nothing unless overridden.
    fn note(&mut self, _fact: &Fact) -> Result<(), OutputError> {
        Ok(())
    }

    /// Tells the facts that an earlier process has kept here and that still hold, in no order. None
    /// unless overridden.
    fn known(&mut self) -> Result<Vec<Fact>, OutputError> {
        Ok(Vec::new())
    }
}

impl Output for Box<dyn Output> {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.as_mut().put(item)
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>, OutputError> {
        self.as_mut().get(path)
    }

    fn finished(&mut self, rendition: &TrackSummary) -> Result<(), OutputError> {
        self.as_mut().finished(rendition)
    }

    fn note(&mut self, fact: &Fact) -> Result<(), OutputError> {
        self.as_mut().note(fact)
    }

    fn known(&mut self) -> Result<Vec<Fact>, OutputError> {
        self.as_mut().known()
    }
}

/// The steps by which files change on disk, each of which can fail or be the last. [`System`] is the
/// real thing; tests put another one in its place.
pub trait Disk: Send {
    /// Creates a folder in one that is there. It is no error if it is there already.
    fn create_folder(&mut self, at: At<'_>) -> io::Result<()>;
    /// Creates a file and writes bytes into it. Replaces one that is there.
    fn write(&mut self, at: At<'_>, bytes: &[u8]) -> io::Result<()>;
    /// Adds bytes to the end of a file that is there.
    fn append(&mut self, at: At<'_>, bytes: &[u8]) -> io::Result<()>;
    /// Makes the bytes of a file durable.
    fn flush(&mut self, at: At<'_>) -> io::Result<()>;
    /// Gives a file another name on the same file system; replaces what has that name.
    fn rename(&mut self, from: At<'_>, to: At<'_>) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn flush_folder(&mut self, at: At<'_>) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, at: At<'_>) -> io::Result<()>;
    /// Removes a folder that is empty.
    fn remove_folder(&mut self, at: At<'_>) -> io::Result<()>;
}

/// The file system that the process sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct System;

impl Disk for System {
    fn create_folder(&mut self, at: At<'_>) -> io::Result<()> {
        at.on(Tree::create_folder)
    }

    fn write(&mut self, at: At<'_>, bytes: &[u8]) -> io::Result<()> {
        at.on(|tree, path| {
            // Never into a file that is there: it may have another name elsewhere.
            match tree.remove(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            tree.create(path)?.write_all(bytes)
        })
    }

    fn append(&mut self, at: At<'_>, bytes: &[u8]) -> io::Result<()> {
        at.on(|tree, path| tree.append(path)?.write_all(bytes))
    }

    fn flush(&mut self, at: At<'_>) -> io::Result<()> {
        at.on(|tree, path| tree.file(path)?.sync_all())
    }

    fn rename(&mut self, from: At<'_>, to: At<'_>) -> io::Result<()> {
        from.on(|from_tree, from| to.on(|to_tree, to| from_tree.rename(from, (to_tree, to))))
    }

    fn flush_folder(&mut self, at: At<'_>) -> io::Result<()> {
        match at {
            At::Below { tree, path } => tree.flush_folder(path),
            At::Path(path) => Tree::open(path)?.flush_folder(Path::new("")),
        }
    }

    fn remove(&mut self, at: At<'_>) -> io::Result<()> {
        at.on(Tree::remove)
    }

    fn remove_folder(&mut self, at: At<'_>) -> io::Result<()> {
        at.on(Tree::remove_folder)
    }
}

/// Folder of the files that are not whole yet.
const TEMPORARY: &str = ".rungs/tmp";

/// Tells whether a file in that folder has a name that is given here.
fn is_temporary(name: &std::ffi::OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.strip_suffix(".tmp"));
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Writes below a folder: to a temporary file first, which is flushed and renamed.
///
/// Temporary files lie in `.rungs/tmp` under the same folder, hence on the same file system unless
/// someone mounts another one below it. One process writes to a folder at a time. No symbolic link
/// below the folder is followed, and no path leads out of it.
#[derive(Debug)]
pub struct Directory<D: Disk = System> {
    tree: Tree,
    disk: D,
    /// Names temporary files.
    count: u64,
}

impl Directory {
    /// Creates the folder where it is absent, and removes temporary files that an earlier run left.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, OutputError> {
        Self::create_on(root, System)
    }
}

impl<D: Disk> Directory<D> {
    /// The same on another disk.
    pub fn create_on(root: impl Into<PathBuf>, disk: D) -> Result<Self, OutputError> {
        let root = root.into();
        create_durably(&root).map_err(failed("create folder", &root))?;
        let tree = Tree::open(&root).map_err(failed("open", &root))?;
        let mut directory = Self {
            tree,
            disk,
            count: 0,
        };
        directory.folder(Path::new(TEMPORARY))?;
        let listed = directory.tree.list(TEMPORARY);
        let listed = listed.map_err(failed("list", &root.join(TEMPORARY)))?;
        for entry in listed.iter().filter(|entry| is_temporary(&entry.name)) {
            let path = Path::new(TEMPORARY).join(&entry.name);
            let removed = directory.disk.remove(directory.tree.at(&path));
            removed.map_err(failed("remove", &root.join(&path)))?;
        }
        Ok(directory)
    }

    /// Returns the folder that the package lies in.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.tree.path()
    }

    /// Returns the folder, open.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Returns the disk that it writes to, for changes that need not be durable, and the folder.
    pub fn disk(&mut self) -> (&mut D, &Tree) {
        (&mut self.disk, &self.tree)
    }

    /// Stores a file as [`put`](Output::put) does, whatever it is.
    pub fn store(&mut self, path: &str, bytes: &[u8]) -> Result<(), OutputError> {
        let mut bytes = Some(bytes.to_vec());
        self.store_pieces(path, &mut || Ok(bytes.take()))
    }

    /// Stores a file that comes piece by piece, until `next` gives none or fails. Holds one piece at a time.
    pub fn store_pieces(
        &mut self,
        path: &str,
        next: &mut dyn FnMut() -> io::Result<Option<Vec<u8>>>,
    ) -> Result<(), OutputError> {
        let path = Path::new(path);
        let folder = path.parent().unwrap_or(Path::new(""));
        self.folder(folder)?;
        self.folder(Path::new(TEMPORARY))?;
        self.count += 1;
        let temporary = Path::new(TEMPORARY).join(format!("{}.tmp", self.count));
        if let Err(error) = self.replace(&temporary, path, next) {
            // The first error is the one to tell of; a file that stays is removed when the folder
            // is next opened.
            let _ = self.disk.remove(self.tree.at(&temporary));
            return Err(error);
        }
        self.flush_folder(folder)
    }

    /// Removes a file, durably. It is no error if there is none.
    pub fn remove(&mut self, path: &str) -> Result<(), OutputError> {
        let path = Path::new(path);
        match self.disk.remove(self.tree.at(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed("remove", path)(error)),
            Ok(()) => self.flush_folder(path.parent().unwrap_or(Path::new(""))),
        }
    }

    /// Writes a temporary file, makes its bytes durable and gives it its name.
    fn replace(
        &mut self,
        temporary: &Path,
        path: &Path,
        next: &mut dyn FnMut() -> io::Result<Option<Vec<u8>>>,
    ) -> Result<(), OutputError> {
        let gathered = self.failed("gather what goes into", path);
        let first = next().map_err(gathered)?.unwrap_or_default();
        let written = self.disk.write(self.tree.at(temporary), &first);
        written.map_err(self.failed("write", temporary))?;
        drop(first);
        loop {
            let gathered = self.failed("gather what goes into", path);
            let Some(bytes) = next().map_err(gathered)? else {
                break;
            };
            let written = self.disk.append(self.tree.at(temporary), &bytes);
            written.map_err(self.failed("write", temporary))?;
        }
        let flushed = self.disk.flush(self.tree.at(temporary));
        flushed.map_err(self.failed("flush", temporary))?;
        let (from, to) = (self.tree.at(temporary), self.tree.at(path));
        let renamed = self.disk.rename(from, to);
        renamed.map_err(self.failed("rename into place", path))
    }

    /// Creates a folder and those above it, each flushed into the one that holds it.
    fn folder(&mut self, path: &Path) -> Result<(), OutputError> {
        if self.tree.is_folder(path) {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.folder(parent)?;
        let created = self.disk.create_folder(self.tree.at(path));
        created.map_err(self.failed("create folder", path))?;
        self.flush_folder(parent)
    }

    fn flush_folder(&mut self, path: &Path) -> Result<(), OutputError> {
        let flushed = self.disk.flush_folder(self.tree.at(path));
        flushed.map_err(self.failed("flush folder", path))
    }

    fn failed(
        &self,
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> OutputError + use<D> {
        failed(operation, &self.root().join(path))
    }
}

impl<D: Disk> Output for Directory<D> {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.store(item.path, item.bytes)
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>, OutputError> {
        let read = self.tree.read(path);
        read.map_err(self.failed("read back", Path::new(path)))
    }
}

/// Creates a folder and those above it, each flushed into the one that holds it.
fn create_durably(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new(""));
    create_durably(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        result => result?,
    }
    Tree::open(parent)?.flush_folder(Path::new(""))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutputError + use<> {
    let path = path.to_owned();
    move |source| OutputError {
        path,
        operation,
        source,
    }
}

/// Lists the files below a folder, relative to it and separated by `/`, in order. Leaves out the folders and files at its top that are named
/// in `aside`. Blocks.
pub fn files_below(root: &Path, aside: &[&str]) -> io::Result<Vec<String>> {
    Tree::open(root)?.files_below(aside)
}

/// Keeps files in memory. Clones share them: keep one to read.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Memory {
    /// Starts empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies a file out.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.lock().get(path).cloned()
    }

    /// Lists the paths, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Copies everything out.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        // Each change is one call on the map, which is whole whatever thread panicked.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Output for Memory {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.lock()
            .insert(item.path.to_owned(), item.bytes.to_vec());
        Ok(())
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>, OutputError> {
        self.lock().get(path).cloned().ok_or_else(|| OutputError {
            path: path.into(),
            operation: "read back",
            source: ErrorKind::NotFound.into(),
        })
    }
}
