//! The process that a device is tried in, from both of its ends. An order goes in as JSON on one line, a verdict comes out on a line for each trial.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rungs_media::hardware::HardwareDevice;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};

use super::{Line, TRIAL_ARGUMENT, Trial, Verdict, check};
use crate::error::in_words;
use crate::gpu::Way;
use crate::process::{command, end};

/// How long one trial may take, the opening of the device included. A context takes seconds on a machine with many devices. With the end of its process it
/// is less than a minute.
const DEADLINE: Duration = Duration::from_secs(50);
/// How long it is waited for before that is said.
const NOTICE: Duration = Duration::from_secs(5);
/// The most bytes of a verdict; more is not one of ours.
const LONGEST: usize = 1 << 16;

/// What a process is to try.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) way: Way,
    pub(super) trials: Vec<Trial>,
}

/// How trials are waited for.
pub(super) struct Wait<'a> {
    /// How long for one.
    pub(super) deadline: Duration,
    /// How long before that is said.
    pub(super) notice: Duration,
    /// Told then, with how long it is waited for in all.
    pub(super) waiting: &'a (dyn Fn(&Trial, Duration) + Sync),
}

impl<'a> Wait<'a> {
    /// As long as suits real drivers.
    pub(super) fn telling(waiting: &'a (dyn Fn(&Trial, Duration) + Sync)) -> Self {
        Self {
            deadline: DEADLINE,
            notice: NOTICE,
            waiting,
        }
    }
}

/// Runs the trials in processes of `program`, and returns a line for each. A trial that its process does not survive is a line as well, and the next run in
/// another process. After one that got no answer nothing more is tried, as each would take as long; its reason is returned too.
pub(super) fn run(
    program: &Path,
    mut order: Order,
    wait: &Wait<'_>,
) -> (Vec<Line>, Option<String>) {
    let mut lines: Vec<Line> = Vec::new();
    while !order.trials.is_empty() {
        let mut heard = match Running::start(program, &order) {
            Ok(mut running) => running.hear(&order.trials, wait),
            Err(error) => {
                let reason = format!("its process cannot be started: {error}");
                Heard {
                    verdicts: vec![Verdict::Untried { reason }; order.trials.len()],
                    hung: false,
                }
            }
        };
        heard.verdicts.truncate(order.trials.len());
        let done = order.trials.drain(..heard.verdicts.len());
        let way = &order.way;
        lines.extend(done.zip(heard.verdicts).map(|(trial, verdict)| Line {
            way: Some(way.clone()),
            trial,
            verdict,
        }));
        if let Some(last) = lines.last().filter(|_| heard.hung) {
            let reason = format!("its driver gave no answer when asked to {}", last.trial);
            lines.extend(untried(way, order.trials, &reason));
            return (lines, Some(reason));
        }
    }
    (lines, None)
}

/// Lines of trials that are left out.
pub(super) fn untried(way: &Way, trials: Vec<Trial>, reason: &str) -> Vec<Line> {
    let line = |trial| Line {
        way: Some(way.clone()),
        trial,
        verdict: Verdict::Untried {
            reason: reason.to_owned(),
        },
    };
    trials.into_iter().map(line).collect()
}

/// What a process said.
struct Heard {
    verdicts: Vec<Verdict>,
    /// Whether the last is about an answer that did not come.
    hung: bool,
}

/// A process at work. Dropping it kills it and waits for its end.
struct Running {
    child: Child,
    output: ChildStdout,
    unread: Vec<u8>,
}

impl Running {
    fn start(program: &Path, order: &Order) -> io::Result<Self> {
        let mut child = command(program, TRIAL_ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (mut input, output) = pipes.ok_or(ErrorKind::BrokenPipe)?;
        let running = Self {
            child,
            output,
            unread: Vec::new(),
        };
        let mut order = serde_json::to_vec(order)?;
        order.push(b'\n');
        // One that is gone already is told by what it says: nothing.
        match input.write_all(&order) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(running),
        }
    }

    /// Collects a verdict for each of the trials. If the process ends or is given up before, there are fewer, at least one, and the last is about that: it
    /// belongs to the trial that was due.
    fn hear(&mut self, trials: &[Trial], wait: &Wait<'_>) -> Heard {
        let mut verdicts = Vec::new();
        let mut hung = false;
        for trial in trials {
            let reason = match self.next_within(trial, wait) {
                Ok(Some(verdict)) => {
                    verdicts.push(verdict);
                    continue;
                }
                Ok(None) => format!(
                    "the driver took the process with it ({})",
                    end(&mut self.child)
                ),
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    hung = true;
                    format!("no answer within {} s", wait.deadline.as_secs())
                }
                Err(error) => format!("its process said nothing of use: {error}"),
            };
            verdicts.push(Verdict::Fails { reason });
            break;
        }
        Heard { verdicts, hung }
    }

    /// The next verdict, which is waited for as long as a trial may take.
    fn next_within(&mut self, trial: &Trial, wait: &Wait<'_>) -> io::Result<Option<Verdict>> {
        let since = Instant::now();
        match self.next(since + wait.notice.min(wait.deadline)) {
            Err(error) if error.kind() == ErrorKind::TimedOut && wait.notice < wait.deadline => {}
            heard => return heard,
        }
        (wait.waiting)(trial, wait.deadline);
        self.next(since + wait.deadline)
    }

    /// The next verdict; `None` when the process has hung up.
    fn next(&mut self, until: Instant) -> io::Result<Option<Verdict>> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let verdict = serde_json::from_slice(&line)?;
                return check::can_be(&verdict)
                    .then_some(Some(verdict))
                    .ok_or_else(|| ErrorKind::InvalidData.into());
            }
            if self.unread.len() > LONGEST {
                return Err(ErrorKind::InvalidData.into());
            }
            self.wait(until)?;
            let mut bytes = [0; 4096];
            match self.output.read(&mut bytes)? {
                0 => return Ok(None),
                count => self.unread.extend(&bytes[..count]),
            }
        }
    }

    /// Waits until there is something to read.
    fn wait(&self, until: Instant) -> io::Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.output, PollFlags::IN)], Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) => return Err(ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It holds nothing that is still wanted.
        end(&mut self.child);
    }
}

/// Tries what an order on standard input asks for. To be called in `main`, before any thread is started, by a program that was started with
/// [`TRIAL_ARGUMENT`] as its only argument.
pub fn serve() -> io::Result<()> {
    rungs_media::init();
    let mut order = String::new();
    BufReader::new(io::stdin().lock()).read_line(&mut order)?;
    serve_on(&serde_json::from_str(&order)?, &mut io::stdout().lock())
}

fn serve_on(order: &Order, output: &mut impl Write) -> io::Result<()> {
    // One context for all, as a job would have it.
    let device = HardwareDevice::open(order.way.kind, &order.way.address);
    for trial in &order.trials {
        let verdict = match &device {
            Ok(device) => check::run(device, trial),
            Err(error) => Verdict::Fails {
                reason: in_words(error),
            },
        };
        serde_json::to_writer(&mut *output, &verdict)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}
