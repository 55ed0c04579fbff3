//! Where the bytes come from: a file, memory, or something that fetches them, read through the crate's own I/O so that FFmpeg never
//! opens anything by name.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::cancel::CancelToken;
use crate::images::Images;

/// A media file: on disk, in memory, or on its way.
#[derive(Clone)]
pub enum Source {
    /// A regular file.
    Path(PathBuf),
    /// The file's bytes.
    Bytes(Arc<[u8]>),
    /// Bytes that somebody else fetches or waits for.
    Supply(Arc<dyn Supply>),
    /// Images, each in a file of its own.
    Images(Arc<Images>),
}

/// Bytes that come from elsewhere, such as a pipe, a file that grows, or a server. They are read by several readers, each at its own pace and
/// from its own place.
pub trait Supply: Send + Sync {
    /// What messages and records call it. Holds no secrets.
    fn name(&self) -> String;

    /// Opens a reader at the beginning. Reading blocks until there are bytes or it is known that none come; the token ends the wait with
    /// an error.
    fn open(&self, cancel: &CancelToken) -> io::Result<Box<dyn Reading>>;

    /// Whether all of it is there from the beginning, so that its length is known and it can be read from any place at once.
    fn is_whole(&self) -> bool;

    /// Which bytes these are, for as long as this object lives, see [`Source::identity`].
    fn identity(&self) -> io::Result<Identity>;

    /// By what another process would know the same bytes again.
    fn lasting(&self) -> Lasting;

    /// Bytes that are still to come and will be kept on disk, as far as that is known.
    fn still_to_keep(&self) -> u64 {
        0
    }
}

/// By what bytes are known again later, by another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Not at all: they come once.
    Never,
    /// They are those of a file.
    File(PathBuf),
    /// By their length and a text that changes with them.
    Marked {
        /// In bytes.
        len: u64,
        /// The text.
        mark: String,
    },
    /// By their length and whatever a reader finds.
    Read {
        /// In bytes.
        len: u64,
    },
}

/// A reader of a source, with a place of its own.
pub trait Reading: Read + Seek + Send {
    /// How many bytes there are in all, once that is known. Once known it does not change, whatever the source does.
    fn length(&self) -> Option<u64>;
}

/// The source is not what it was when it was opened: an error with this inside becomes [`Error::Changed`](crate::Error::Changed).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Changed {
    /// What is otherwise, in words.
    pub what: String,
}

impl From<Changed> for io::Error {
    fn from(changed: Changed) -> Self {
        Self::other(changed)
    }
}

/// The source is larger than what is kept of one that comes once: an error with this inside becomes
/// [`Error::SourceLimit`](crate::Error::SourceLimit).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source is larger than {most} bytes, the most that is kept of it")]
pub struct TooLarge {
    /// The limit in bytes.
    pub most: u64,
}

impl From<TooLarge> for io::Error {
    fn from(large: TooLarge) -> Self {
        Self::new(io::ErrorKind::FileTooLarge, large)
    }
}

/// A file that is read as far as it went when it was opened.
struct Snapshot<R> {
    reader: R,
    length: u64,
}

impl<R: Read> Read for Snapshot<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl<R: Seek> Seek for Snapshot<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}

impl<R: Read + Seek + Send> Reading for Snapshot<R> {
    fn length(&self) -> Option<u64> {
        Some(self.length)
    }
}

/// What tells a file from another one put in its place, or from itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The length in bytes; `None` while more may come.
    pub len: Option<u64>,
    /// The time of the last change, where the file system keeps one.
    pub modified: Option<SystemTime>,
    /// The file's number on its device, where there are such numbers.
    pub inode: Option<u64>,
}

impl Source {
    /// Bytes of it that are still to be kept on disk, as far as that is known.
    #[must_use]
    pub fn still_to_keep(&self) -> u64 {
        match self {
            Self::Supply(supply) => supply.still_to_keep(),
            Self::Path(_) | Self::Bytes(_) | Self::Images(_) => 0,
        }
    }

    /// Opens the source for reading: of images the bytes of all of them, one after the other.
    pub fn open(&self, cancel: &CancelToken) -> io::Result<Box<dyn Reading>> {
        match self {
            Self::Path(path) => {
                // Looked at first: to open a pipe that nobody writes to would block.
                if !fs::metadata(path)?.is_file() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "not a regular file",
                    ));
                }
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                Ok(Box::new(Snapshot {
                    reader: file,
                    length: metadata.len(),
                }))
            }
            Self::Bytes(bytes) => Ok(Box::new(Snapshot {
                reader: Cursor::new(Arc::clone(bytes)),
                length: bytes.len() as u64,
            })),
            Self::Supply(supply) => supply.open(cancel),
            Self::Images(images) => images.all(),
        }
    }

    /// Whether all of it is there from the beginning; else it may be read as it comes, and its end is not known before it is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Path(_) | Self::Bytes(_) | Self::Images(_) => true,
            Self::Supply(supply) => supply.is_whole(),
        }
    }

    /// By what another process would know the source again. Blocks while images are looked for.
    pub fn lasting(&self) -> io::Result<Lasting> {
        Ok(match self {
            Self::Path(path) => Lasting::File(path.clone()),
            Self::Bytes(bytes) => Lasting::Read {
                len: bytes.len() as u64,
            },
            Self::Supply(supply) => supply.lasting(),
            Self::Images(images) => Lasting::Read {
                len: images.identity()?.len.unwrap_or(0),
            },
        })
    }

    /// What records call it.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match self {
            Self::Path(path) => absolute(path),
            Self::Bytes(_) => PathBuf::from("memory"),
            Self::Images(images) => absolute(images.typed()),
            Self::Supply(supply) => match supply.lasting() {
                Lasting::File(path) => absolute(&path),
                _ => supply.name().into(),
            },
        }
    }

    /// Tells which file the source is at this moment; equal answers before and after a job mean that it was not
    /// changed meanwhile. Does not open the file.
    pub fn identity(&self) -> io::Result<Identity> {
        match self {
            Self::Path(path) => {
                let metadata = fs::metadata(path)?;
                Ok(Identity {
                    len: Some(metadata.len()),
                    modified: metadata.modified().ok(),
                    inode: inode(&metadata),
                })
            }
            Self::Bytes(bytes) => Ok(Identity {
                len: Some(bytes.len() as u64),
                modified: None,
                inode: None,
            }),
            Self::Supply(supply) => supply.identity(),
            Self::Images(images) => images.identity(),
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
            Self::Supply(supply) => write!(formatter, "Supply({})", supply.name()),
            Self::Images(images) => formatter.debug_tuple("Images").field(images).finish(),
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

/// What a file may cost before it has shown any worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of a picture, 8192 × 8192 unless changed.
    pub max_pixels: u64,
    /// Streams in a file, 1000 (FFmpeg's default) unless changed.
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
            max_streams: 1000,
            probe_bytes: 5_000_000,
            max_alloc: 1 << 30,
        }
    }
}
