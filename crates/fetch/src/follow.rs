//! A file that somebody else still writes: a thread watches how far it goes.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rungs_media::{CancelToken, Changed, Identity, Lasting, Reading, Supply, TooLarge};

use crate::pipe::Worker;
use crate::spool::Spool;

/// Why a file cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// It cannot be opened or watched.
    #[error("the file cannot be opened and watched")]
    Io(#[from] io::Error),
    /// It is a pipe, a folder or the like.
    #[error("this is no regular file")]
    NoFile,
    /// It is larger than is read of it.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The system does not tell when a file grows.
    #[error("this system does not tell when a file grows")]
    Unsupported,
}

/// A file that may still grow. Its end is where nothing has been added for a while; what is added after that is not read.
pub struct Followed {
    path: PathBuf,
    inode: u64,
    spool: Spool,
    _worker: Worker,
}

impl Followed {
    /// Starts to watch a file, of which at most `most` bytes are taken. It has ended when it did not grow for as long as `quiet`.
    pub fn start(path: &Path, quiet: Duration, most: Option<u64>) -> Result<Self, FollowError> {
        // Looked at first: to open a pipe that nobody writes to would block.
        if !fs::metadata(path)?.is_file() {
            return Err(FollowError::NoFile);
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let watched = Watched {
            path: path.to_owned(),
            inode: metadata.ino(),
        };
        let (spool, producer) = Spool::over(file, metadata.len());
        let producer = producer.up_to(most.unwrap_or(u64::MAX));
        producer.reaches(metadata.len())?;
        let worker = watch::start(watched, quiet, producer)?;
        Ok(Self {
            path: path.to_owned(),
            inode: metadata.ino(),
            spool,
            _worker: worker,
        })
    }
}

/// Which file is watched.
struct Watched {
    path: PathBuf,
    inode: u64,
}

impl Watched {
    /// Whether another file stands where this one was. One that was moved away is still the same.
    fn is_replaced(&self) -> bool {
        let there = fs::metadata(&self.path);
        there.is_ok_and(|there| there.ino() != self.inode)
    }

    /// How long the file is, which must not be shorter than it was.
    fn length(&self, now: &Metadata, before: u64) -> Result<u64, Changed> {
        let changed = |what: &str| Changed {
            what: format!("{} {what}", self.path.display()),
        };
        if self.is_replaced() {
            return Err(changed("is another file now"));
        }
        if now.len() < before {
            return Err(changed("became shorter"));
        }
        Ok(now.len())
    }
}

#[cfg(target_os = "linux")]
mod watch {
    use std::io::{self, PipeReader};
    use std::time::{Duration, Instant};

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::io::Errno;
    use rustix::time::Timespec;

    use super::{FollowError, Watched};
    use crate::pipe::{Woken, Worker, wait};
    use crate::spool::Producer;

    /// Starts the thread that tells the producer how far the file goes.
    pub(super) fn start(
        watched: Watched,
        quiet: Duration,
        producer: Producer,
    ) -> Result<Worker, FollowError> {
        let news = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let news = news.map_err(io::Error::from)?;
        let wanted = WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF;
        inotify::add_watch(&news, &watched.path, wanted).map_err(io::Error::from)?;
        let worker = Worker::start("follow", move |hangup| {
            let watch = Watch {
                watched,
                quiet,
                news: std::fs::File::from(news),
            };
            match watch.run(hangup, &producer) {
                Ok(Woken::HungUp) => drop(producer),
                Ok(_) => producer.finish(Ok(())),
                Err(error) => producer.finish(Err(error)),
            }
        })?;
        Ok(worker)
    }

    struct Watch {
        watched: Watched,
        quiet: Duration,
        news: std::fs::File,
    }

    impl Watch {
        /// Watches until the file has been quiet for long enough, and says what has ended it.
        fn run(&self, hangup: &PipeReader, producer: &Producer) -> io::Result<Woken> {
            let mut until = Instant::now() + self.quiet;
            loop {
                let before = producer.bytes();
                let now = producer.file().metadata()?;
                let length = self.watched.length(&now, before)?;
                if length > before {
                    producer.reaches(length)?;
                    until = Instant::now() + self.quiet;
                }
                let left = until.saturating_duration_since(Instant::now());
                // A writer on another machine is not told of, so the last look is what counts.
                if left.is_zero() {
                    return Ok(Woken::Late);
                }
                let patience = Timespec {
                    tv_sec: left.as_secs().cast_signed(),
                    tv_nsec: i64::from(left.subsec_nanos()),
                };
                if wait(&self.news, hangup, Some(&patience))? == Woken::HungUp {
                    return Ok(Woken::HungUp);
                }
                self.forget_news()?;
            }
        }

        /// Takes out what was told: it only says that it is time for another look.
        fn forget_news(&self) -> io::Result<()> {
            let mut told = [0; 4096];
            loop {
                match rustix::io::read(&self.news, &mut told[..]) {
                    Ok(0) | Err(Errno::AGAIN) => return Ok(()),
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod watch {
    use std::time::Duration;

    use super::{FollowError, Watched};
    use crate::pipe::Worker;
    use crate::spool::Producer;

    pub(super) fn start(_: Watched, _: Duration, _: Producer) -> Result<Worker, FollowError> {
        Err(FollowError::Unsupported)
    }
}

impl Supply for Followed {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self, cancel: &CancelToken) -> io::Result<Box<dyn Reading>> {
        Ok(self.spool.reader(cancel))
    }

    fn is_whole(&self) -> bool {
        false
    }

    /// How far it has grown is no difference; whether another file stands in its place is.
    fn identity(&self) -> io::Result<Identity> {
        let there = fs::metadata(&self.path);
        Ok(Identity {
            len: None,
            modified: None,
            inode: Some(there.map_or(self.inode, |there| there.ino())),
        })
    }

    fn lasting(&self) -> Lasting {
        Lasting::File(self.path.clone())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{Read, Write};

    use super::*;

    const QUIET: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_mins(5);

    fn begun() -> (tempfile::TempDir, PathBuf, File) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("growing");
        fs::write(&path, b"abc").unwrap();
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        (folder, path, writer)
    }

    #[test]
    fn a_file_is_read_as_it_grows_and_ends_when_it_is_quiet() {
        let (_folder, path, mut writer) = begun();
        let followed = Followed::start(&path, QUIET, None).unwrap();
        let mut reader = followed.open(&CancelToken::default()).unwrap();
        let mut three = [0; 3];
        reader.read_exact(&mut three).unwrap();
        writer.write_all(b"def").unwrap();
        reader.read_exact(&mut three).unwrap();
        assert_eq!(&three, b"def");
        assert_eq!(reader.read(&mut three).unwrap(), 0);
        assert_eq!(reader.length(), Some(6));
        // What comes too late changes nothing.
        writer.write_all(b"ghi").unwrap();
        assert_eq!(reader.read(&mut three).unwrap(), 0);
        let before = followed.identity().unwrap();
        assert_eq!(followed.identity().unwrap(), before);
    }

    /// The error of a reader at the end of a file to which this happens.
    fn error_after(change: impl FnOnce(&Path, &File)) -> rungs_media::Error {
        let (_folder, path, writer) = begun();
        let followed = Followed::start(&path, LONG, None).unwrap();
        let mut reader = followed.open(&CancelToken::default()).unwrap();
        reader.read_exact(&mut [0; 3]).unwrap();
        change(&path, &writer);
        reader.read(&mut [0; 3]).unwrap_err().into()
    }

    #[test]
    fn a_file_that_shrinks_or_is_replaced_is_changed() {
        let shorter = error_after(|_, writer| writer.set_len(1).unwrap());
        let replaced = error_after(|path, _| {
            let other = path.with_extension("other");
            fs::write(&other, b"abcdef").unwrap();
            fs::rename(&other, path).unwrap();
        });
        for error in [shorter, replaced] {
            assert!(matches!(error, rungs_media::Error::Changed(_)), "{error:?}");
        }
    }

    #[test]
    fn no_more_is_followed_than_is_allowed() {
        let (_folder, path, mut writer) = begun();
        let large = Followed::start(&path, LONG, Some(2)).err().unwrap();
        assert!(matches!(large, FollowError::TooLarge(TooLarge { most: 2 })));
        let followed = Followed::start(&path, LONG, Some(4)).unwrap();
        let mut reader = followed.open(&CancelToken::default()).unwrap();
        reader.read_exact(&mut [0; 3]).unwrap();
        writer.write_all(b"de").unwrap();
        let error = rungs_media::Error::from(reader.read(&mut [0; 3]).unwrap_err());
        assert!(
            matches!(error, rungs_media::Error::SourceLimit(_)),
            "{error:?}"
        );
    }

    #[test]
    fn nobody_waits_for_a_file_that_is_not_followed_any_more() {
        let (_folder, path, _writer) = begun();
        let followed = Followed::start(&path, LONG, None).unwrap();
        let mut reader = followed.open(&CancelToken::default()).unwrap();
        reader.read_exact(&mut [0; 3]).unwrap();
        drop(followed);
        assert!(reader.read(&mut [0; 1]).is_err());
        assert!(matches!(
            Followed::start(&std::env::temp_dir(), LONG, None),
            Err(FollowError::NoFile)
        ));
    }
}
