//! Bytes for a reader that may not read: they wait for it, but no longer than until the job is cancelled.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rungs_engine::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Bytes that a pipe takes at once when it says that it takes some (POSIX: `PIPE_BUF`).
const AT_ONCE: usize = 4096;

/// A stream that does not keep a job from ending.
pub(crate) struct Patient<W> {
    to: W,
    /// Whether what was written last is incomplete: what follows it would be read as part of it.
    is_broken: bool,
}

impl<W: Write + AsFd> Patient<W> {
    pub(crate) fn new(to: W) -> Self {
        Self {
            to,
            is_broken: false,
        }
    }

    /// Writes bytes. Waits until they are taken or the job is cancelled; what is not taken then is dropped. So is what a reader that has gone
    /// away would get.
    pub(crate) fn write(&mut self, cancel: &Cancel, bytes: &[u8]) {
        self.write_when(bytes, |to| {
            let mut ends = vec![PollFd::new(to, PollFlags::OUT)];
            let hangup = cancel.hangup();
            ends.extend(hangup.map(|end| PollFd::new(end, PollFlags::IN)));
            // Without a pipe to be woken by, it looks again from time to time.
            let limit = if cancel.is_cancelled() {
                Some(Duration::ZERO)
            } else if hangup.is_none() {
                Some(Duration::from_millis(200))
            } else {
                None
            };
            wait(&mut ends, limit)?;
            let is_free = !ends[0].revents().is_empty();
            Ok(if is_free {
                Some(true)
            } else {
                cancel.is_cancelled().then_some(false)
            })
        });
    }

    /// Writes bytes, and drops them if they are not taken in this time.
    pub(crate) fn write_within(&mut self, limit: Duration, bytes: &[u8]) {
        self.write_when(bytes, |to| {
            let mut ends = [PollFd::new(to, PollFlags::OUT)];
            wait(&mut ends, Some(limit))?;
            Ok(Some(!ends[0].revents().is_empty()))
        });
    }

    /// Writes as much as is taken at once, whenever `free` says so; `Some(false)` is an end.
    fn write_when(&mut self, bytes: &[u8], free: impl Fn(&W) -> io::Result<Option<bool>>) {
        let mut left = bytes;
        while !left.is_empty() && !self.is_broken {
            match free(&self.to) {
                Ok(None) => continue,
                Ok(Some(true)) => {}
                _ => break,
            }
            match self.to.write(&left[..left.len().min(AT_ONCE)]) {
                Ok(0) => break,
                Ok(taken) => left = &left[taken..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.to.flush().ok();
        self.is_broken |= !left.is_empty() && left.len() < bytes.len();
    }
}

fn wait(ends: &mut [PollFd<'_>], limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(ends, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_who_is_cancelled() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut patient = Patient::new(writer);
        let cancel = Cancel::new();
        let line = vec![b'x'; 1 << 20];
        std::thread::scope(|scope| {
            let write = scope.spawn(|| patient.write(&cancel, &line));
            let mut first = [0; 1];
            reader.read_exact(&mut first).unwrap();
            cancel.cancel();
            write.join().unwrap();
        });
        // The line was cut, so no other one follows.
        patient.write(&cancel, b"y\n");
        drop(patient);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert!(!rest.is_empty() && rest.len() < line.len());
        assert!(rest.iter().all(|byte| *byte == b'x'));
    }

    #[test]
    fn a_reader_that_reads_gets_all() {
        let (mut reader, writer) = io::pipe().unwrap();
        let cancel = Cancel::new();
        let line: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let mut read = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| Patient::new(writer).write(&cancel, &line));
            reader.read_to_end(&mut read).unwrap();
        });
        assert!(read == line);
        // One that has gone away is no error.
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        Patient::new(writer).write(&cancel, &line);
    }
}
