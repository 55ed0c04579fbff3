//! What a child process does with one mutant: a whole job on it, in this process, and the ending in one line of text.
//!
//! The engine reads, decodes and packages the mutant as it would any source. Every ending that the engine has a word for is a good
//! ending; a panic, a message that speaks of a bug, and a package that the checker finds something in are not.

use std::fmt;
use std::fs;
use std::panic;
use std::str::FromStr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rungs_engine::error::{Failure, Refusal};
use rungs_engine::spec::AudioChoice;
use rungs_engine::{Cancel, Engine, Error, Io, Options, Plan, Spec, Terms};
use rungs_media::Source;
use rungs_media::encode::Codec;
use rungs_package::output::{Directory, Memory, Output, files_below};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::{Mutant, STRUCTURE};
use crate::checker::{self, Expectation};
use crate::tool;

/// A job that still has work after so long is cancelled: damaged times can make hours of pictures out of seconds. It then has
/// to end before the parent's patience does.
const ENOUGH: Duration = Duration::from_secs(4);
/// Memory for pictures and encoders, in bytes.
const BUDGET: u64 = 256 << 20;
/// Most that the process may hold at once, in KiB: the budget, one picture of the largest size that is decoded with what its decoder keeps, and FFmpeg.
const MOST_KIB: u64 = 1 << 20;
/// Address space of a child in bytes; threads and FFmpeg's pools reserve much that they never touch.
const SPACE: u64 = 8 << 30;
/// The packages of one stretch of seeds in so many are checked in every way, where not all are.
const CHECKED: u64 = 16;
/// Packages of more files are not decoded while they are checked: damaged times can make hundreds of segments.
const MOST_DECODED: usize = 40;

/// Which packages are checked, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// Those of another structure, without decoding them, and one in [`CHECKED`] of all in every way.
    #[default]
    Some,
    /// Every package in every way.
    All,
}

impl Checks {
    /// How the package of a seed is checked. Every original has its turn, whatever its place among them.
    fn of(self, seed: u64) -> Check {
        let turn = (seed / 16).is_multiple_of(CHECKED);
        match self {
            Self::Some if turn => Check::Decoded,
            Self::Some if seed >= STRUCTURE => Check::Boxes,
            Self::Some => Check::None,
            Self::All => Check::Decoded,
        }
    }
}

/// How one package is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Not at all; it stays in memory.
    None,
    /// Boxes, playlists, manifests, files.
    Boxes,
    /// What the segments decode into, too.
    Decoded,
}

/// What is asked of a child.
pub struct Trial<'a> {
    /// Names the mutant.
    pub seed: u64,
    /// The file.
    pub mutant: &'a Mutant,
    /// Which packages are checked.
    pub checks: Checks,
    /// Called when the job has ended well and its package is about to be checked, which takes other programs their time.
    pub checking: &'a dyn Fn(),
}

/// How a job on a mutant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// A package was made.
    Done,
    /// A package was made, and the checker found nothing.
    Checked,
    /// Refused before it began.
    Refused,
    /// Failed after it had begun.
    Failed,
    /// It had work for longer than is waited for, and ended when it was told to.
    Stopped,
    /// Something went wrong that must not.
    Bug,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Done,
        Self::Checked,
        Self::Refused,
        Self::Failed,
        Self::Stopped,
        Self::Bug,
    ];
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Checked => "checked",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Bug => "bug",
        })
    }
}

/// An ending, and why in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it ended.
    pub ending: Ending,
    /// Why, on one line.
    pub reason: String,
}

impl Verdict {
    pub(super) fn new(ending: Ending, reason: impl Into<String>) -> Self {
        Self {
            ending,
            reason: reason.into().replace(['\n', '\r'], " "),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.ending, self.reason)
    }
}

/// A line that is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no verdict")]
pub struct NoVerdict;

impl FromStr for Verdict {
    type Err = NoVerdict;

    fn from_str(line: &str) -> Result<Self, NoVerdict> {
        let (word, reason) = line.split_once(' ').ok_or(NoVerdict)?;
        let mut all = Ending::ALL.into_iter();
        let ending = all.find(|ending| ending.to_string() == word);
        Ok(Self::new(ending.ok_or(NoVerdict)?, reason))
    }
}

/// What panics have said in this process since they were last asked for.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Sets this process up for trials: limits, and panics that are kept. Call it once, before any thread starts.
pub fn prepare() -> std::io::Result<()> {
    rungs_media::init();
    let limit = |resource, most| {
        setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
            },
        )
    };
    limit(Resource::As, SPACE)?;
    limit(Resource::Core, 0)?;
    // A brake for a child whose parent is gone; the parent is sooner.
    limit(Resource::Cpu, 1200)?;
    panic::set_hook(Box::new(|panic| {
        let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        panics.push(panic.to_string());
    }));
    Ok(())
}

/// Does a whole job on a mutant. Blocks until it ends.
#[must_use]
pub fn run(trial: &Trial<'_>) -> Verdict {
    // The kernel counts the highest mark anew.
    fs::write("/proc/self/clear_refs", "5").ok();
    let verdict = watched(trial);
    let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(panic) = panics.first() {
        return Verdict::new(Ending::Bug, format!("panic: {panic}"));
    }
    match highest_mark() {
        Some(kib) if kib > MOST_KIB => {
            Verdict::new(Ending::Bug, format!("{kib} KiB of memory; {verdict}"))
        }
        _ => verdict,
    }
}

/// The most memory that this process held at once, in KiB.
fn highest_mark() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The job, with a thread beside it that cancels it when it takes too long.
fn watched(trial: &Trial<'_>) -> Verdict {
    let cancel = Cancel::new();
    let (done, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let watch = &cancel;
        scope.spawn(move || {
            if ended.recv_timeout(ENOUGH) == Err(RecvTimeoutError::Timeout) {
                watch.cancel();
            }
        });
        let verdict = job(trial, &cancel);
        drop(done);
        verdict
    })
}

fn job(trial: &Trial<'_>, cancel: &Cancel) -> Verdict {
    let options = Options {
        sessions: Some(1),
        memory: Some(BUDGET),
        ..Options::default()
    };
    let engine = match Engine::new(options) {
        Ok(engine) => engine,
        Err(error) => return Verdict::new(Ending::Bug, tool::chain(&error)),
    };
    let source = Source::from(trial.mutant.bytes.clone());
    let plan = match plan(&engine, (trial, &source), cancel) {
        Ok(plan) => plan,
        Err(error) => return judge(&error),
    };
    if trial.checks.of(trial.seed) != Check::None {
        return checked(trial, (&engine, &plan), (&source, cancel));
    }
    match run_into(Box::new(Memory::new()), (&engine, &plan), (&source, cancel)) {
        Ok(()) => Verdict::new(Ending::Done, ""),
        Err(error) => judge(&error),
    }
}

/// The fastest job that goes through everything. A picture that damage has made huge becomes small.
fn plan(
    engine: &Engine,
    (trial, source): (&Trial<'_>, &Source),
    cancel: &Cancel,
) -> Result<Plan, Error> {
    let seed = trial.seed;
    // Damaged audio that passes through stays damaged: what the checker decodes is made anew.
    let audio = if trial.checks.of(seed) == Check::Decoded {
        AudioChoice::Opus
    } else {
        AudioChoice::Auto
    };
    let spec = |rung: &str| Spec {
        audio,
        rungs: rung.parse().into_iter().collect(),
        codecs: vec![Codec::H264],
        segment_seconds: 0.5,
        speed: 13,
        strict: seed % 8 == 7,
        ..Spec::default()
    };
    match engine.plan(source, &spec("64p"), cancel) {
        Err(Error::Refused(refusal)) if matches!(*refusal, Refusal::Ladder(_)) => {
            engine.plan(source, &spec("source"), cancel)
        }
        result => result,
    }
}

fn run_into(
    output: Box<dyn Output>,
    (engine, plan): (&Engine, &Plan),
    (source, cancel): (&Source, &Cancel),
) -> Result<(), Error> {
    let io = Io {
        output,
        terms: Terms::default(),
        cancel,
        observer: &mut |_| {},
    };
    engine.run(plan, source, io).map(drop)
}

fn checked(
    trial: &Trial<'_>,
    job: (&Engine, &Plan),
    (source, cancel): (&Source, &Cancel),
) -> Verdict {
    let made = tempfile::tempdir().map_err(|error| error.to_string());
    let made = made.and_then(|folder| {
        let output = Directory::create(folder.path().join("out"));
        Ok((folder, output.map_err(|error| error.to_string())?))
    });
    let (folder, output) = match made {
        Ok(made) => made,
        Err(error) => return Verdict::new(Ending::Bug, error),
    };
    if let Err(error) = run_into(Box::new(output), job, (source, cancel)) {
        return judge(&error);
    }
    (trial.checking)();
    let out = folder.path().join("out");
    let files = files_below(&out, &[]).map_or(0, |files| files.len());
    let decodes = trial.checks.of(trial.seed) == Check::Decoded;
    let expect = Expectation {
        decode: decodes && files <= MOST_DECODED,
        // Damaged sound ends where it ends.
        audio_end_slack: Some(f64::INFINITY),
        ..Expectation::default()
    };
    match checker::check(&out, &expect) {
        Ok(_) => Verdict::new(Ending::Checked, ""),
        Err(findings) => Verdict::new(
            Ending::Bug,
            format!("{} findings, the first: {}", findings.len(), findings[0]),
        ),
    }
}

/// Whether an error is one that a damaged source may end in.
fn judge(error: &Error) -> Verdict {
    let ending = match error {
        Error::Interrupted => Ending::Stopped,
        Error::Refused(refusal) => match **refusal {
            // The encoder gets what the engine has made of the source, and has no reason to refuse it.
            Refusal::Trial { .. } | Refusal::Header { .. } => Ending::Bug,
            _ => Ending::Refused,
        },
        Error::Failed(failure) => match **failure {
            Failure::Read { .. }
            | Failure::Truncated { .. }
            | Failure::Damaged { .. }
            | Failure::Audio { .. }
            | Failure::Subtitles(_) => Ending::Failed,
            _ => Ending::Bug,
        },
    };
    Verdict::new(ending, tool::chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_goes_through_a_line() {
        for ending in Ending::ALL {
            let verdict = Verdict::new(ending, "because\nof this");
            assert_eq!(verdict.reason, "because of this");
            assert_eq!(verdict.to_string().parse(), Ok(verdict));
        }
        assert_eq!("well done".parse::<Verdict>(), Err(NoVerdict));
    }
}
