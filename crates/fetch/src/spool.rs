//! A file that one thread lengthens and many read: bytes come in at its end, and readers go as far as they have come, and then wait.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rungs_media::{CancelToken, Changed, Reading, TooLarge, Wake};

use crate::error::FetchError;
use crate::trouble::Trouble;

/// The bytes that have come so far, in a file. Clones are the same.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

struct Shared {
    file: File,
    progress: Mutex<Progress>,
    more: Condvar,
}

struct Progress {
    /// How far the file may be read.
    bytes: u64,
    end: Option<End>,
}

#[derive(Clone)]
enum End {
    /// There are no more.
    Whole,
    /// There should have been more.
    Broken(Trouble),
}

/// The right to lengthen a spool; there is one. Dropped before it has [finished](Self::finish), it leaves the readers an error.
pub(crate) struct Producer {
    spool: Spool,
    /// The most bytes that it takes.
    most: u64,
}

/// Where what comes once is kept, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Keep<'a> {
    /// A folder on the disk that takes it.
    pub folder: &'a Path,
    /// The most bytes of a source; `None` for nine tenths of what is free on the disk when it begins.
    pub most: Option<u64>,
}

impl<'a, P: AsRef<Path> + ?Sized> From<&'a P> for Keep<'a> {
    fn from(folder: &'a P) -> Self {
        Self {
            folder: folder.as_ref(),
            most: None,
        }
    }
}

impl Keep<'_> {
    /// Makes a spool for a source that announces so many bytes, or none.
    pub(crate) fn spool(self, announced: Option<u64>) -> Result<(Spool, Producer), FetchError> {
        let most = match self.most {
            Some(most) => most,
            None => share_of_free(self.folder).map_err(FetchError::Kept)?,
        };
        if announced.is_some_and(|bytes| bytes > most) {
            return Err(TooLarge { most }.into());
        }
        let file = nameless(self.folder).map_err(FetchError::Kept)?;
        let (spool, producer) = Spool::over(file, 0);
        Ok((spool, producer.up_to(most)))
    }
}

/// Nine tenths of what is free on the disk of a folder, in bytes.
fn share_of_free(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(free / 10 * 9)
}

/// Makes a file in `folder` that has no name, and takes room until the last who holds it is gone, whatever happens to the process.
pub(crate) fn nameless(folder: &Path) -> io::Result<File> {
    // Not every system and not every file system can; a name that is there for a moment does as well.
    never_named(folder).map_or_else(|| unnamed(folder), Ok)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn never_named(folder: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags, open};
    let private = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    open(folder, flags, private).ok().map(File::from)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn never_named(_folder: &Path) -> Option<File> {
    None
}

/// Makes a file and takes its name away.
fn unnamed(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let mut number = 0_u32;
    let (path, file) = loop {
        let path = folder.join(format!(".rungs-spool-{}-{number}", process::id()));
        match options.open(&path) {
            // That of another spool, or of a process with this number that was killed just then.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {
                number += 1;
            }
            opened => break (path, opened?),
        }
    };
    fs::remove_file(&path)?;
    Ok(file)
}

impl Spool {
    /// A spool over a file whose first `bytes` bytes may be read.
    pub(crate) fn over(file: File, bytes: u64) -> (Self, Producer) {
        let spool = Self(Arc::new(Shared {
            file,
            progress: Mutex::new(Progress { bytes, end: None }),
            more: Condvar::new(),
        }));
        let producer = Producer {
            spool: spool.clone(),
            most: u64::MAX,
        };
        (spool, producer)
    }

    /// Opens a reader at the beginning.
    pub(crate) fn reader(&self, cancel: &CancelToken) -> Box<dyn Reading> {
        let waiting = Arc::clone(&self.0);
        let wake = cancel.when_cancelled(move || {
            // Under the lock, so that whoever has just found the token not cancelled is waiting by now.
            let _progress = waiting.progress();
            waiting.more.notify_all();
        });
        Box::new(SpoolReader {
            spool: Arc::clone(&self.0),
            place: 0,
            cancel: cancel.clone(),
            _wake: wake,
        })
    }

    /// Bytes that have come so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.progress().bytes
    }
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Producer {
    /// The same taking at most so many bytes.
    pub(crate) fn up_to(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    /// Adds bytes at the end.
    pub(crate) fn append(&self, bytes: &[u8]) -> Result<(), FetchError> {
        let shared = &self.spool.0;
        let from = shared.progress().bytes;
        let until = from.saturating_add(bytes.len() as u64);
        self.check(until)?;
        let written = shared.file.write_all_at(bytes, from);
        written.map_err(FetchError::Kept)?;
        self.reaches(until)?;
        Ok(())
    }

    /// Says how far the file goes now, which is no shorter than before.
    pub(crate) fn reaches(&self, bytes: u64) -> Result<(), TooLarge> {
        self.check(bytes)?;
        let shared = &self.spool.0;
        shared.progress().bytes = bytes;
        shared.more.notify_all();
        Ok(())
    }

    fn check(&self, bytes: u64) -> Result<(), TooLarge> {
        let most = self.most;
        if bytes > most {
            return Err(TooLarge { most });
        }
        Ok(())
    }

    /// How far the file goes.
    pub(crate) fn bytes(&self) -> u64 {
        self.spool.0.progress().bytes
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.spool.0.file
    }

    /// Says that no more bytes come, or why none can.
    pub(crate) fn finish(self, result: io::Result<()>) {
        self.end(match result {
            Ok(()) => End::Whole,
            Err(error) => End::Broken(error.into()),
        });
    }

    fn end(&self, end: End) {
        let shared = &self.spool.0;
        shared.progress().end.get_or_insert(end);
        shared.more.notify_all();
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let error = io::Error::other("whoever read the source has stopped before its end");
        self.end(End::Broken(error.into()));
    }
}

struct SpoolReader {
    spool: Arc<Shared>,
    place: u64,
    cancel: CancelToken,
    _wake: Wake,
}

impl SpoolReader {
    /// Waits until there are bytes at the reader's place, and says how many; none at the end.
    fn wait(&self) -> io::Result<u64> {
        let mut progress = self.spool.progress();
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other(
                    "the wait for more of the source was ended",
                ));
            }
            if progress.bytes > self.place {
                return Ok(progress.bytes - self.place);
            }
            match &progress.end {
                Some(End::Whole) => return Ok(0),
                Some(End::Broken(trouble)) => return Err(trouble.told()),
                None => {}
            }
            progress = self
                .spool
                .more
                .wait(progress)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = usize::try_from(self.wait()?).unwrap_or(usize::MAX);
        let wanted = there.min(buffer.len());
        let count = self.spool.file.read_at(&mut buffer[..wanted], self.place)?;
        if count == 0 && wanted > 0 {
            let what = "the file became shorter".to_owned();
            return Err(Changed { what }.into());
        }
        self.place += count as u64;
        Ok(count)
    }
}

impl Seek for SpoolReader {
    /// Moves anywhere, also to where nothing has come yet. From the end only once it is there.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.place.checked_add_signed(by),
            SeekFrom::End(by) => self.length().and_then(|end| end.checked_add_signed(by)),
        };
        self.place = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.place)
    }
}

impl Reading for SpoolReader {
    fn length(&self) -> Option<u64> {
        let progress = self.spool.progress();
        matches!(progress.end, Some(End::Whole)).then_some(progress.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::thread;

    use super::*;

    fn spool() -> (Spool, Producer) {
        let folder = tempfile::tempdir().unwrap();
        let file = nameless(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        Spool::over(file, 0)
    }

    #[test]
    fn a_name_is_taken_away_where_it_cannot_be_done_without() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut file = unnamed(folder.path()).unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
            file.write_all(b"kept").unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "kept");
        }
        let none = folder.path().join("none");
        assert!(nameless(&none).is_err());
    }

    #[test]
    fn readers_wait_where_nothing_has_come_and_go_on() {
        let (spool, producer) = spool();
        let cancel = CancelToken::default();
        thread::scope(|scope| {
            let whole = scope.spawn(|| {
                let mut text = String::new();
                spool.reader(&cancel).read_to_string(&mut text).unwrap();
                text
            });
            let ahead = scope.spawn(|| {
                let mut reader = spool.reader(&cancel);
                reader.seek(SeekFrom::Start(4)).unwrap();
                let mut two = [0; 2];
                reader.read_exact(&mut two).unwrap();
                (two, reader.length())
            });
            producer.append(b"abc").unwrap();
            producer.append(b"def").unwrap();
            assert_eq!(ahead.join().unwrap(), (*b"ef", None));
            producer.finish(Ok(()));
            assert_eq!(whole.join().unwrap(), "abcdef");
        });
        let mut late = spool.reader(&cancel);
        assert_eq!(late.length(), Some(6));
        late.seek(SeekFrom::End(-1)).unwrap();
        assert_eq!(late.read(&mut [0; 9]).unwrap(), 1);
        assert_eq!(late.read(&mut [0; 9]).unwrap(), 0);
    }

    #[test]
    fn who_waits_is_woken_by_the_token_and_by_a_producer_that_is_gone() {
        let (spool, producer) = spool();
        let cancel = CancelToken::default();
        let read = |cancel: &CancelToken| spool.reader(cancel).read(&mut [0; 9]);
        let other = CancelToken::default();
        thread::scope(|scope| {
            let waits = scope.spawn(|| read(&cancel));
            cancel.cancel();
            assert!(waits.join().unwrap().is_err());
            let waits = scope.spawn(|| read(&other));
            drop(producer);
            assert!(waits.join().unwrap().is_err());
        });
    }

    #[test]
    fn no_more_is_kept_than_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep {
            folder: folder.path(),
            most: Some(5),
        };
        let announced = keep.spool(Some(6)).err().unwrap();
        assert!(matches!(
            announced,
            FetchError::TooLarge(TooLarge { most: 5 })
        ));
        let (spool, producer) = keep.spool(Some(5)).unwrap();
        producer.append(b"abcd").unwrap();
        producer.append(b"e").unwrap();
        let error = producer.append(b"f").unwrap_err();
        producer.finish(Err(error.into()));
        let mut reader = spool.reader(&CancelToken::default());
        assert_eq!(reader.read(&mut [0; 9]).unwrap(), 5);
        let error = rungs_media::Error::from(reader.read(&mut [0; 9]).unwrap_err());
        assert!(matches!(
            error,
            rungs_media::Error::SourceLimit(TooLarge { most: 5 })
        ));
        let free = share_of_free(folder.path()).unwrap();
        assert!(free > 0 && free < u64::MAX / 10 * 9);
    }

    #[test]
    fn every_reader_is_told_why() {
        let (spool, producer) = spool();
        producer.append(b"a").unwrap();
        let what = "it is another".to_owned();
        producer.finish(Err(Changed { what }.into()));
        for _ in 0..2 {
            let mut reader = spool.reader(&CancelToken::default());
            assert_eq!(reader.read(&mut [0; 9]).unwrap(), 1);
            let error = reader.read(&mut [0; 9]).unwrap_err();
            let error = rungs_media::Error::from(error);
            assert!(matches!(error, rungs_media::Error::Changed(_)), "{error:?}");
            assert_eq!(reader.length(), None);
        }
        assert_eq!(spool.bytes(), 1);
    }
}
