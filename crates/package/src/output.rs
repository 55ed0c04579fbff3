//! Finished files in, whole or not at all, durable when the call returns: [`Directory`] on disk,
//! [`Memory`] for tests and for those who serve from it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::summary::TrackSummary;

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

/// Where a package goes.
pub trait Output: Send {
    /// Stores an item. Readers see the whole item or what was there before, at any time; an item
    /// under the same path is replaced. When this returns without an error the item is there to
    /// stay, whatever happens to the process or to power. Blocks until then.
    ///
    /// After an error the item is absent or as it was before, and the call may be repeated.
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError>;

    /// Takes note that all files of one rendition have been put. Does nothing unless overridden.
    fn finished(&mut self, _rendition: &TrackSummary) -> Result<(), OutputError> {
        Ok(())
    }
}

impl Output for Box<dyn Output> {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.as_mut().put(item)
    }

    fn finished(&mut self, rendition: &TrackSummary) -> Result<(), OutputError> {
        self.as_mut().finished(rendition)
    }
}

/// Writes below a folder: to a temporary file first, which is flushed and renamed.
///
/// Temporary files lie in `.rungs/tmp` under the same folder, hence on the same file system unless
/// someone mounts another one below it. One process writes to a folder at a time.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    temporary: PathBuf,
    /// Names temporary files.
    count: u64,
}

impl Directory {
    /// Creates the folder where it is absent, and removes temporary files that an earlier run left.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, OutputError> {
        let root = root.into();
        let temporary = root.join(".rungs/tmp");
        create_folder(&temporary)?;
        let listed = fs::read_dir(&temporary).map_err(failed("list", &temporary))?;
        for entry in listed {
            let path = entry.map_err(failed("list", &temporary))?.path();
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(Self {
            root,
            temporary,
            count: 0,
        })
    }

    /// Returns the folder that the package lies in.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Output for Directory {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        let path = self.root.join(item.path);
        let folder = path.parent().unwrap_or(&self.root);
        create_folder(folder)?;
        create_folder(&self.temporary)?;
        self.count += 1;
        let temporary = self.temporary.join(format!("{}.tmp", self.count));
        if let Err(error) = replace(&temporary, &path, item.bytes) {
            // The first error is the one to tell of; a file that stays is removed when the folder
            // is next opened.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        sync_folder(folder)
    }
}

/// Writes a temporary file, makes its bytes durable and gives it its name.
fn replace(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let mut file = File::create_new(temporary).map_err(failed("create", temporary))?;
    file.write_all(bytes).map_err(failed("write", temporary))?;
    file.sync_all().map_err(failed("flush", temporary))?;
    drop(file);
    fs::rename(temporary, path).map_err(failed("rename into place", path))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError {
        path,
        operation,
        source,
    }
}

/// Creates a folder and those above it, each flushed into the one that holds it.
fn create_folder(path: &Path) -> Result<(), OutputError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_folder(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(failed("create folder", path)(error)),
        Ok(()) => sync_folder(parent.unwrap_or(Path::new("."))),
    }
}

/// Makes the names in a folder durable.
#[cfg(unix)]
fn sync_folder(path: &Path) -> Result<(), OutputError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("flush folder", path))
}

/// Elsewhere folders cannot be opened; the system keeps their names with the files.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> Result<(), OutputError> {
    Ok(())
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
}
