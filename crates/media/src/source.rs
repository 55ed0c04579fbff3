//! Where the bytes come from: a file or memory, read through the crate's own I/O so that FFmpeg never opens
//! anything by name.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// A media file, on disk or in memory.
#[derive(Clone)]
pub enum Source {
    /// A regular file.
    Path(PathBuf),
    /// The file's bytes.
    Bytes(Arc<[u8]>),
}

/// What tells a file from another one put in its place, or from itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The length in bytes.
    pub len: u64,
    /// The time of the last change, where the file system keeps one.
    pub modified: Option<SystemTime>,
    /// The file's number on its device, where there are such numbers.
    pub inode: Option<u64>,
}

pub(crate) trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

impl Source {
    /// Opens the source for reading and says how many bytes it has now.
    pub(crate) fn open(&self) -> io::Result<(Box<dyn ReadSeek>, u64)> {
        match self {
            Self::Path(path) => {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                if !metadata.is_file() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "not a regular file",
                    ));
                }
                Ok((Box::new(file), metadata.len()))
            }
            Self::Bytes(bytes) => {
                Ok((Box::new(Cursor::new(Arc::clone(bytes))), bytes.len() as u64))
            }
        }
    }

    /// Tells which file the source is at this moment; equal answers before and after a job mean that it was not
    /// changed meanwhile. Does not open the file.
    pub fn identity(&self) -> io::Result<Identity> {
        match self {
            Self::Path(path) => {
                let metadata = fs::metadata(path)?;
                Ok(Identity {
                    len: metadata.len(),
                    modified: metadata.modified().ok(),
                    inode: inode(&metadata),
                })
            }
            Self::Bytes(bytes) => Ok(Identity {
                len: bytes.len() as u64,
                modified: None,
                inode: None,
            }),
        }
    }
}

#[cfg(unix)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "other systems have no such number"
)]
fn inode(metadata: &fs::Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::ino(metadata))
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> Option<u64> {
    None
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => formatter.debug_tuple("Path").field(path).finish(),
            Self::Bytes(bytes) => write!(formatter, "Bytes({} bytes)", bytes.len()),
        }
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// A flag that stops reading: set once, from any thread, and seen by all clones.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks everything that holds the token to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a file may cost before it has shown any worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of a picture, 8192 × 8192 unless changed.
    pub max_pixels: u64,
    /// Streams in a file, 100 unless changed.
    pub max_streams: u32,
    /// Bytes read to find out what the file holds, 5 MB (FFmpeg's default) unless changed.
    pub probe_bytes: u64,
    /// Bytes of a single allocation by FFmpeg, 1 GiB unless changed. FFmpeg keeps one such limit for the whole process:
    /// the last file opened sets it.
    pub max_alloc: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pixels: 8192 * 8192,
            max_streams: 100,
            probe_bytes: 5_000_000,
            max_alloc: 1 << 30,
        }
    }
}
