//! Encoders in processes of their own: a crash or a hang costs one try of one task, and encoders share no state.
//!
//! They must not share state because SVT-AV1 keeps tables in globals that every new encoder writes again: encoders of unlike
//! speeds in one process were seen to hang (1.4.1), and opening one while another closes to crash.

mod ending;
mod serve;
mod wire;

use std::collections::BTreeMap;
use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rungs_media::encode::EncodedPacket;
use rungs_media::frame::Frame;
use rungs_media::heap::{TUNABLES, clean};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::cancel::Cancel;
use crate::device::Lease;
use crate::error::EncodeError;
use crate::ids::DeviceId;
use crate::span::{Encoded, Used};
pub(crate) use ending::end;
pub use serve::serve;
pub(crate) use wire::Order;
use wire::Reply;

/// The only argument with which an encoder's process is started.
pub const ENCODER_ARGUMENT: &str = "--rungs-encoder-process";
/// An encoder of 1080p that takes no picture and gives no packet for so long is hung; larger pictures and the slowest speeds get more.
const PATIENCE: Duration = Duration::from_mins(5);
/// Encoder speeds below this get four times as long.
const SLOW: u8 = 4;
/// Bytes that a pipe should hold, so that a picture takes few switches between processes.
#[cfg(target_os = "linux")]
const PIPE: usize = 1 << 20;

/// The processes of a device's sessions. A process serves one task after another and is started when it is first needed.
pub(crate) struct Processes {
    program: PathBuf,
    idle: Mutex<BTreeMap<(DeviceId, u32), Process>>,
}

impl Processes {
    /// `program` answers [`ENCODER_ARGUMENT`] with [`serve`].
    pub(crate) fn new(program: PathBuf) -> Self {
        Self {
            program,
            idle: Mutex::default(),
        }
    }

    /// Gives the task's encoder: the process of the leased session, with an order.
    pub(crate) fn open<'a>(
        &'a self,
        lease: &Lease,
        order: &Order,
        cancel: &'a Cancel,
    ) -> Result<Remote<'a>, EncodeError> {
        let config = &order.config;
        let key = (lease.device(), lease.session());
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key);
        let process = idle
            .map_or_else(|| Process::start(&self.program), Ok)
            .map_err(EncodeError::Process)?;
        let pixels = u64::from(config.width) * u64::from(config.height);
        let larger = u32::try_from(pixels / (1920 * 1080)).unwrap_or(u32::MAX);
        let slower = if config.speed < SLOW { 4 } else { 1 };
        let mut remote = Remote {
            patience: PATIENCE
                .saturating_mul(slower)
                .saturating_mul(larger.max(1)),
            home: self,
            key,
            process,
            cancel,
            packets: Vec::new(),
            last: None,
        };
        let order = wire::head(order).map_err(EncodeError::Process)?;
        remote.write(&order)?;
        Ok(remote)
    }
}

/// One process. Dropping it kills it and waits for its end.
struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// What was read and is not a whole reply yet.
    unread: Vec<u8>,
}

impl Process {
    fn start(program: &PathBuf) -> io::Result<Self> {
        let mut command = Command::new(program);
        command
            .arg(ENCODER_ARGUMENT)
            .env(TUNABLES, clean(env::var(TUNABLES).ok().as_deref()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // A Ctrl-C on the terminal is the engine's to answer.
        let mut child = command.process_group(0).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or(ErrorKind::BrokenPipe)?;
        for end in [input.as_fd(), output.as_fd()] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        #[cfg(target_os = "linux")]
        for end in [input.as_fd(), output.as_fd()] {
            // A smaller pipe is slower, and no error.
            rustix::pipe::fcntl_setpipe_size(end, PIPE).ok();
        }
        Ok(Self {
            child,
            input,
            output,
            unread: Vec::new(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It holds nothing that is still wanted.
        end(&mut self.child);
    }
}

/// An encoder at work in another process. Dropped before its end, it takes the process with it.
pub(crate) struct Remote<'a> {
    home: &'a Processes,
    key: (DeviceId, u32),
    process: Process,
    cancel: &'a Cancel,
    patience: Duration,
    packets: Vec<EncodedPacket>,
    last: Option<Reply>,
}

impl Remote<'_> {
    /// Sends a picture. Blocks while the encoder is busy.
    pub(crate) fn send(&mut self, frame: &Frame, time: i64) -> Result<(), EncodeError> {
        self.write(&wire::picture_head(frame, time))?;
        for plane in 0..3 {
            let rows = if plane == 0 {
                frame.height()
            } else {
                frame.height().div_ceil(2)
            };
            let whole = frame.stride(plane) * rows as usize;
            let bytes = frame.plane(plane);
            self.write(&bytes[..whole.min(bytes.len())])?;
            // The last row of a plane may end where its picture does.
            if let Some(missing) = whole
                .checked_sub(bytes.len())
                .filter(|missing| *missing > 0)
            {
                self.write(&vec![0; missing])?;
            }
        }
        Ok(())
    }

    /// Ends the order, waits for the rest of the packets, and lets the process wait for the next task.
    pub(crate) fn finish(mut self) -> Result<Encoded, EncodeError> {
        self.write(&wire::end())?;
        while self.last.is_none() {
            self.exchange(&mut &[][..])?;
        }
        match self.last.take() {
            Some(Reply::Done(used)) => {
                let encoded = Encoded {
                    packets: std::mem::take(&mut self.packets),
                    configuration: used.configuration,
                    difference: None,
                    used: Some(Used {
                        cpu: used.cpu,
                        peak_memory: used.peak_memory,
                    }),
                    inspected: None,
                };
                let mut idle = self
                    .home
                    .idle
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                idle.insert(self.key, self.process);
                Ok(encoded)
            }
            other => {
                self.last = other;
                Err(self.failure())
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let mut left = bytes;
        while !left.is_empty() {
            self.exchange(&mut left)?;
            // An encoder that has failed takes nothing more.
            if let Some(Reply::Failed { .. }) = self.last {
                return Err(self.failure());
            }
        }
        Ok(())
    }

    /// What the process said last, which is not that it is done.
    fn failure(&mut self) -> EncodeError {
        match self.last.take() {
            Some(Reply::Failed { reason, capacity }) => EncodeError::Refused { reason, capacity },
            _ => EncodeError::Process(ErrorKind::InvalidData.into()),
        }
    }

    /// Waits until something can be written or read, and does it. Gives up when the job is cancelled, the process has ended, or
    /// nothing has moved for too long.
    fn exchange(&mut self, out: &mut &[u8]) -> Result<(), EncodeError> {
        let (readable, writable) = self.wait(!out.is_empty())?;
        if readable {
            self.read()?;
        }
        if writable && !out.is_empty() {
            match self.process.input.write(out) {
                Ok(written) => *out = &out[written..],
                Err(error) if is_later(&error) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(self.ended()),
                Err(error) => return Err(EncodeError::Process(error)),
            }
        }
        Ok(())
    }

    fn wait(&self, writing: bool) -> Result<(bool, bool), EncodeError> {
        if self.cancel.is_cancelled() {
            return Err(EncodeError::Cancelled);
        }
        let patience = Timespec {
            tv_sec: i64::try_from(self.patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: 0,
        };
        let wanted = if writing {
            PollFlags::OUT
        } else {
            PollFlags::empty()
        };
        let mut ends = vec![
            PollFd::new(&self.process.output, PollFlags::IN),
            PollFd::new(&self.process.input, wanted),
        ];
        let hangup = self.cancel.hangup();
        ends.extend(hangup.map(|end| PollFd::new(end, PollFlags::IN)));
        let ready = match poll(&mut ends, Some(&patience)) {
            Err(rustix::io::Errno::INTR) => return Ok((false, false)),
            ready => ready.map_err(|error| EncodeError::Process(error.into()))?,
        };
        if ready == 0 {
            return Err(EncodeError::Hung {
                seconds: self.patience.as_secs(),
            });
        }
        let moved = |end: &PollFd<'_>| !end.revents().is_empty();
        Ok((moved(&ends[0]), moved(&ends[1])))
    }

    fn read(&mut self) -> Result<(), EncodeError> {
        let mut bytes = [0; 1 << 14];
        match self.process.output.read(&mut bytes) {
            Ok(0) => return Err(self.ended()),
            Ok(count) => self.process.unread.extend(&bytes[..count]),
            Err(error) if is_later(&error) => return Ok(()),
            Err(error) => return Err(EncodeError::Process(error)),
        }
        while let Some((reply, head)) =
            wire::parse::<Reply>(&self.process.unread).map_err(EncodeError::Process)?
        {
            if let Reply::Packet {
                pts,
                dts,
                duration,
                key,
                length,
            } = reply
            {
                let end = head
                    .checked_add(length)
                    .ok_or(EncodeError::Process(ErrorKind::InvalidData.into()))?;
                let Some(data) = self.process.unread.get(head..end) else {
                    break;
                };
                self.packets.push(EncodedPacket {
                    data: data.to_vec(),
                    pts,
                    dts,
                    duration,
                    key,
                });
                self.process.unread.drain(..end);
            } else {
                self.process.unread.drain(..head);
                self.last = Some(reply);
            }
        }
        Ok(())
    }

    /// The process has closed its pipes: finds out how it ended.
    fn ended(&mut self) -> EncodeError {
        // It may have closed its pipes without ending.
        let status = end(&mut self.process.child);
        EncodeError::Died { status }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
