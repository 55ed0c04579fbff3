//! Encoders in processes of their own: a crash or a hang costs one try of one task, and encoders share no state.
//!
//! They must not share state because SVT-AV1 keeps tables in globals that every new encoder writes again: encoders of unlike
//! speeds in one process were seen to hang (1.4.1), and opening one while another closes to crash.

mod child;
mod ending;
mod inbox;
mod serve;
mod version;
mod wire;

use std::collections::BTreeMap;
use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rungs_media::frame::Frame;
use rungs_media::heap::{TUNABLES, clean};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::cancel::Cancel;
use crate::device::Lease;
use crate::error::EncodeError;
use crate::ids::DeviceId;
use crate::span::{Encoded, Used};
pub(crate) use child::command;
pub use child::own_program;
pub(crate) use ending::end;
pub use inbox::ProtocolError;
use inbox::{Inbox, Last};
pub use serve::serve;
pub use version::Version;
pub(crate) use wire::Order;

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
    version: Version,
    idle: Mutex<BTreeMap<(DeviceId, u32), Process>>,
}

impl Processes {
    /// `program` answers [`ENCODER_ARGUMENT`] with [`serve`].
    pub(crate) fn new(program: PathBuf) -> Self {
        Self {
            program,
            version: Version::own(),
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
            .map_or_else(|| Process::start(&self.program, &self.version), Ok)
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
        };
        let samples = usize::try_from(pixels * 3 / 2).unwrap_or(usize::MAX);
        let bytes = usize::from(config.depth.bits().div_ceil(8));
        remote.process.inbox.begin(samples.saturating_mul(bytes));
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
    inbox: Inbox,
}

impl Process {
    fn start(program: &Path, version: &Version) -> io::Result<Self> {
        let mut child = command(program, ENCODER_ARGUMENT)
            .env(TUNABLES, clean(env::var(TUNABLES).ok().as_deref()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or(ErrorKind::BrokenPipe)?;
        // From here on it is ended whatever fails.
        let process = Self {
            child,
            input,
            output,
            inbox: Inbox::new(version.clone()),
        };
        for end in [process.input.as_fd(), process.output.as_fd()] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        #[cfg(target_os = "linux")]
        for end in [process.input.as_fd(), process.output.as_fd()] {
            // A smaller pipe is slower, and no error.
            rustix::pipe::fcntl_setpipe_size(end, PIPE).ok();
        }
        Ok(process)
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
}

impl Remote<'_> {
    /// Sends a picture. Blocks while the encoder is busy.
    pub(crate) fn send(&mut self, frame: &Frame, time: i64) -> Result<(), EncodeError> {
        self.process.inbox.sends_frame();
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
        self.process.inbox.closes();
        self.write(&wire::end())?;
        while self.process.inbox.last().is_none() {
            self.exchange(&mut &[][..])?;
        }
        let (packets, last) = self.process.inbox.take();
        let used = match last {
            Some(Last::Done(used)) => used,
            last => return Err(failure(last)),
        };
        let encoded = Encoded {
            packets,
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

    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let mut left = bytes;
        while !left.is_empty() {
            self.exchange(&mut left)?;
            // An encoder that has failed takes nothing more.
            if let Some(Last::Failed { .. }) = self.process.inbox.last() {
                return Err(failure(self.process.inbox.take().1));
            }
        }
        Ok(())
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
            Ok(0) => Err(self.ended()),
            Ok(count) => {
                let received = self.process.inbox.receive(&bytes[..count]);
                received.map_err(|error| EncodeError::Protocol(Box::new(error)))
            }
            Err(error) if is_later(&error) => Ok(()),
            Err(error) => Err(EncodeError::Process(error)),
        }
    }

    /// The process has closed its pipes: finds out how it ended.
    fn ended(&mut self) -> EncodeError {
        // It may have closed its pipes without ending.
        let status = end(&mut self.process.child);
        EncodeError::Died { status }
    }
}

/// What a process has said last, which is not that it is done.
fn failure(last: Option<Last>) -> EncodeError {
    match last {
        Some(Last::Failed { reason, capacity }) => EncodeError::Refused { reason, capacity },
        _ => EncodeError::Process(ErrorKind::InvalidData.into()),
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rungs_media::encode::{Config, Rate};
    use rungs_media::frame::BitDepth;
    use rungs_media::hdr::Light;
    use rungs_media::time::TimeBase;
    use rungs_media::{ChromaLocation, Color};
    use tempfile::TempDir;

    use super::*;

    fn order() -> Order {
        let config = Config {
            encoder: "none".to_owned(),
            width: 16,
            height: 16,
            time_base: TimeBase::new(1, 25).expect("both are above zero"),
            frame_rate: None,
            color: Color {
                primaries: 2,
                transfer: 2,
                matrix: 2,
                full_range: false,
                chroma_location: ChromaLocation::Unspecified,
            },
            gop: 25,
            threads: 1,
            crf: 35,
            speed: 10,
            depth: BitDepth::Eight,
            light: Light::default(),
            rate: Rate::Quality,
        };
        Order { config, way: None }
    }

    /// A program that sends these bytes whatever it gets, and stays until it is ended.
    fn says(folder: &TempDir, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join("program");
        let words = "#!/bin/sh\necho $$ > \"$0.pid\"\ncat \"$0.says\"\nexec sleep 600\n";
        fs::write(folder.path().join("program.says"), bytes).expect("written");
        fs::write(&path, words).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made a program");
        path
    }

    /// Encodes frames with a process that sends these bytes, until it fails.
    fn failure_of(bytes: &[u8]) -> EncodeError {
        let folder = TempDir::new().expect("a folder");
        let processes = Processes::new(says(&folder, bytes));
        let (lease, cancel) = (Lease::new(DeviceId::new(0), 0), Cancel::new());
        let remote = processes.open(&lease, &order(), &cancel);
        let failed = remote.and_then(|mut remote| {
            let frame = Frame::filled(16, 16, [16, 128, 128])?;
            remote.send(&frame, 0)?;
            remote.finish()
        });
        let pid = fs::read_to_string(folder.path().join("program.pid")).expect("it started");
        let pid = pid.trim();
        assert!(
            !Path::new("/proc").join(pid).exists(),
            "{pid} is still there"
        );
        failed.expect_err("nothing was encoded")
    }

    #[test]
    fn a_process_that_lies_is_ended() {
        let mut claims = wire::head(&wire::Reply::Hello(Version::own())).expect("JSON");
        let packet = wire::Reply::Packet {
            pts: 0,
            dts: 0,
            duration: 1,
            key: true,
            length: 1 << 60,
        };
        claims.extend(wire::head(&packet).expect("JSON"));
        let lies: [&[u8]; 4] = [&claims, b"\xff\xff\xff\xff", b"\x02\0\0\0{}", &[0; 64]];
        for lie in lies {
            let failed = failure_of(lie);
            assert!(matches!(failed, EncodeError::Protocol(_)), "{failed:?}");
        }
    }

    #[test]
    fn a_program_of_another_version_is_refused_and_both_are_named() {
        let own = Version::own();
        let mut other = serde_json::to_value(&own).expect("JSON");
        other["ffmpeg"] = "0.1".into();
        let other: Version = serde_json::from_value(other).expect("a version");
        let hello = wire::head(&wire::Reply::Hello(other.clone())).expect("JSON");
        let failed = crate::error::in_words(&failure_of(&hello));
        for version in [own, other] {
            assert!(failed.contains(&version.to_string()), "{failed}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_said_to_be() {
        let processes = Processes::new("/no/such/program".into());
        let (lease, cancel) = (Lease::new(DeviceId::new(0), 0), Cancel::new());
        let opened = processes.open(&lease, &order(), &cancel).map(drop);
        assert!(matches!(opened, Err(EncodeError::Process(_))), "{opened:?}");
    }
}
