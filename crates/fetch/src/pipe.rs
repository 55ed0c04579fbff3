//! A pipe that is read once, by one thread, into a spool.

use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::{Builder, JoinHandle};

use rungs_media::{CancelToken, Identity, Lasting, Reading, Supply};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat, tell};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::error::FetchError;
use crate::spool::{Keep, Producer, Spool};

/// Bytes that are copied at a time.
const PIECE: usize = 256 << 10;

/// What comes out of a descriptor, such as standard input. It is copied as fast as it comes into a file without a name, which takes as much room as
/// there are bytes and goes with the last reader.
pub struct Piped {
    name: String,
    spool: Spool,
    /// How many bytes come, of a file.
    length: Option<u64>,
    _worker: Worker,
}

/// A thread that waits on descriptors, with a way to wake it. Dropping it ends and joins the thread.
pub(crate) struct Worker {
    alive: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread. It gets a pipe that is hung up on when it is to end.
    pub(crate) fn start(
        name: &str,
        work: impl FnOnce(&PipeReader) + Send + 'static,
    ) -> io::Result<Self> {
        let (hangup, alive) = pipe()?;
        let thread = Builder::new().name(name.to_owned());
        Ok(Self {
            alive: Some(alive),
            thread: Some(thread.spawn(move || work(&hangup))?),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// What a worker has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The descriptor can be read.
    Ready,
    /// The worker is to end.
    HungUp,
    /// The time is over.
    Late,
}

/// Waits until `input` can be read, for as long as `patience` says.
pub(crate) fn wait(
    input: impl AsFd,
    hangup: &PipeReader,
    patience: Option<&Timespec>,
) -> io::Result<Woken> {
    loop {
        let mut ends = [
            PollFd::new(hangup, PollFlags::IN),
            PollFd::new(&input, PollFlags::IN),
        ];
        match poll(&mut ends, patience) {
            Ok(0) => return Ok(Woken::Late),
            Ok(_) if !ends[0].revents().is_empty() => return Ok(Woken::HungUp),
            Ok(_) => return Ok(Woken::Ready),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Piped {
    /// Starts to copy what comes out of `input` into a file that is kept as `keep` says.
    ///
    /// # Errors
    /// An error of [`TooLarge`](rungs_media::TooLarge) if it is a file that is larger.
    pub fn start<'a>(
        input: OwnedFd,
        name: &str,
        keep: impl Into<Keep<'a>>,
    ) -> Result<Self, FetchError> {
        let length = left_of_file(&input);
        let (spool, producer) = keep.into().spool(length)?;
        let worker = Worker::start("input", move |hangup| {
            match copy(&input, hangup, &producer) {
                Ok(Woken::Ready) => producer.finish(Ok(())),
                Ok(_) => drop(producer),
                Err(error) => producer.finish(Err(error)),
            }
        });
        let worker = worker.map_err(FetchError::Thread)?;
        Ok(Self {
            name: name.to_owned(),
            spool,
            length,
            _worker: worker,
        })
    }
}

/// How much of a file lies behind the place from which it is read; `None` for what is no file.
fn left_of_file(input: &OwnedFd) -> Option<u64> {
    let found = fstat(input).ok()?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return None;
    }
    let length = u64::try_from(found.st_size).ok()?;
    Some(length.saturating_sub(tell(input).ok()?))
}

/// Copies until the end, and says what has ended it.
fn copy(input: &OwnedFd, hangup: &PipeReader, producer: &Producer) -> io::Result<Woken> {
    let mut piece = vec![0; PIECE];
    loop {
        let woken = wait(input, hangup, None)?;
        if woken != Woken::Ready {
            return Ok(woken);
        }
        match rustix::io::read(input, &mut piece[..]) {
            Ok(0) => return Ok(Woken::Ready),
            Ok(count) => producer.append(&piece[..count])?,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Supply for Piped {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn open(&self, cancel: &CancelToken) -> io::Result<Box<dyn Reading>> {
        Ok(self.spool.reader(cancel))
    }

    fn is_whole(&self) -> bool {
        false
    }

    /// What has come is kept and does not change.
    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity {
            len: None,
            modified: None,
            inode: None,
        })
    }

    fn lasting(&self) -> Lasting {
        Lasting::Never
    }

    fn still_to_keep(&self) -> u64 {
        self.length.unwrap_or(0).saturating_sub(self.spool.bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_comes_through_a_pipe_is_there_for_every_reader() {
        let folder = tempfile::tempdir().unwrap();
        let (input, mut output) = pipe().unwrap();
        let piped = Piped::start(input.into(), "a pipe", folder.path()).unwrap();
        let mut first = piped.open(&CancelToken::default()).unwrap();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        output.write_all(&bytes[..10]).unwrap();
        let mut ten = [0; 10];
        first.read_exact(&mut ten).unwrap();
        assert_eq!((&ten[..], first.length()), (&bytes[..10], None));
        output.write_all(&bytes[10..]).unwrap();
        drop(output);
        for mut reader in [first, piped.open(&CancelToken::default()).unwrap()] {
            let mut all = Vec::new();
            reader.seek(std::io::SeekFrom::Start(0)).unwrap();
            reader.read_to_end(&mut all).unwrap();
            assert!(all == bytes);
            assert_eq!(reader.length(), Some(1_000_000));
        }
        assert!(!piped.is_whole() && piped.lasting() == Lasting::Never);
    }

    #[test]
    fn the_rest_of_a_file_is_what_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 1000]).unwrap();
        let mut file = std::fs::File::open(&path).unwrap();
        file.read_exact(&mut [0; 300]).unwrap();
        assert_eq!(left_of_file(&file.try_clone().unwrap().into()), Some(700));
        let piped = Piped::start(file.into(), "a file", folder.path()).unwrap();
        let mut reader = piped.open(&CancelToken::default()).unwrap();
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 700);
        assert_eq!(piped.still_to_keep(), 0);
        let (input, _output) = pipe().unwrap();
        assert_eq!(left_of_file(&input.into()), None);
    }

    #[test]
    fn a_pipe_that_never_ends_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = pipe().unwrap();
        let piped = Piped::start(input.into(), "a pipe", folder.path()).unwrap();
        let mut reader = piped.open(&CancelToken::default()).unwrap();
        // Returns only when the thread has ended.
        drop(piped);
        assert!(reader.read(&mut [0; 1]).is_err());
        drop(output);
    }
}
