//! Seeds in, a count of endings out: children that try mutants one after the other, and are replaced when they crash or hang.
//!
//! A child reads seeds from its standard input and answers each with one line, before which [`CHECKING`] may come. What a child says nothing about any more is the
//! fault of the seed that it was given last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::trial::{Checks, Ending, Verdict};

/// The argument with which a child is started; the folder of the originals follows.
pub const CHILD_ARGUMENT: &str = "--child";
/// Longest time for one mutant: what takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The line of a child whose job has ended, and whose package is about to be checked.
pub const CHECKING: &str = "checking";
/// The argument by which a child checks every package.
pub const CHECK_ALL_ARGUMENT: &str = "--check-all";
/// Times [`Keeper::patience`] that the check of a package may take: it runs other programs, and says nothing of ours.
const CHECK_PATIENCE: u32 = 12;
/// Mutants that one child tries.
const LIFE: u64 = 40;
/// Bytes that are kept of what a child said before it died.
const LAST_WORDS: usize = 400;

/// What became of many mutants.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many ended how.
    pub endings: BTreeMap<Ending, u64>,
    /// Seeds that ended as they must not, and how.
    pub bugs: Vec<(u64, String)>,
    /// Seeds whose job was stopped because it had too much work.
    pub stopped: Vec<u64>,
    /// The longest time that one took, and its seed.
    pub longest: (Duration, u64),
}

impl Tally {
    fn count(&mut self, seed: u64, (verdict, time): (Verdict, Duration)) {
        *self.endings.entry(verdict.ending).or_default() += 1;
        match verdict.ending {
            Ending::Bug => self.bugs.push((seed, verdict.reason)),
            Ending::Stopped => self.stopped.push(seed),
            _ => {}
        }
        self.longest = self.longest.max((time, seed));
    }

    /// Adds what became of others.
    pub fn add(&mut self, other: Self) {
        for (ending, count) in other.endings {
            *self.endings.entry(ending).or_default() += count;
        }
        self.bugs.extend(other.bugs);
        self.stopped.extend(other.stopped);
        self.longest = self.longest.max(other.longest);
    }
}

/// Whom the seeds are given to, and how.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// The program of the children: it gives a [`Verdict`] on each seed.
    pub program: PathBuf,
    /// Where the originals are [stored](super::store).
    pub originals: PathBuf,
    /// Children at a time.
    pub jobs: usize,
    /// Longest time for the job of one seed.
    pub patience: Duration,
    /// Which packages are checked.
    pub checks: Checks,
}

impl Keeper {
    /// Tries every seed of a range. Blocks until all have ended.
    ///
    /// # Panics
    /// When one of its threads does.
    pub fn try_all(&self, seeds: Range<u64>) -> io::Result<Tally> {
        let next = AtomicU64::new(seeds.start);
        let worker = || {
            let mut tally = Tally::default();
            loop {
                let first = next.fetch_add(LIFE, Ordering::Relaxed);
                if first >= seeds.end {
                    return Ok(tally);
                }
                self.try_some(first..seeds.end.min(first + LIFE), &mut tally)?;
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs).map(|_| scope.spawn(worker)).collect();
            let mut all = Tally::default();
            for worker in workers {
                let tally: io::Result<Tally> = worker.join().expect("a worker does not panic");
                all.add(tally?);
            }
            all.bugs.sort();
            all.stopped.sort_unstable();
            Ok(all)
        })
    }

    /// Tries seeds, with as many children as it takes.
    fn try_some(&self, mut seeds: Range<u64>, tally: &mut Tally) -> io::Result<()> {
        while !seeds.is_empty() {
            let (mut kept, input, lines) = Kept::start(self)?;
            thread::scope(|scope| {
                let (line, heard) = mpsc::channel();
                scope.spawn(move || {
                    for text in lines.lines().map_while(Result::ok) {
                        if line.send(text).is_err() {
                            break;
                        }
                    }
                });
                let result = kept.ask(input, (&mut seeds, &heard), tally);
                // Its pipe ends with it, and so does the thread that reads it.
                kept.end();
                result
            })?;
        }
        Ok(())
    }
}

/// A child, ended when it is dropped.
struct Kept {
    patience: Duration,
    child: Child,
    errors: File,
}

impl Kept {
    fn start(keeper: &Keeper) -> io::Result<(Self, ChildStdin, BufReader<ChildStdout>)> {
        // A file, not a pipe: nobody has to read it before the end.
        let errors = tempfile::tempfile()?;
        let mut child = Command::new(&keeper.program)
            .arg(CHILD_ARGUMENT)
            .arg(&keeper.originals)
            .args((keeper.checks == Checks::All).then_some(CHECK_ALL_ARGUMENT))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone()?)
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        let kept = Self {
            patience: keeper.patience,
            child,
            errors,
        };
        Ok((kept, input, BufReader::new(output)))
    }

    /// Gives it seeds until they are out, or it answers no more.
    fn ask(
        &mut self,
        mut input: ChildStdin,
        (seeds, heard): (&mut Range<u64>, &Receiver<String>),
        tally: &mut Tally,
    ) -> io::Result<()> {
        for seed in seeds.by_ref() {
            let begun = Instant::now();
            // A child that is gone is noticed by what it does not answer.
            writeln!(input, "{seed}").ok();
            let mut answer = heard.recv_timeout(self.patience);
            if answer.as_deref() == Ok(CHECKING) {
                answer = heard.recv_timeout(self.patience * CHECK_PATIENCE);
            }
            let verdict = match answer.as_deref().map(str::parse) {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(_)) => Verdict::new(Ending::Bug, format!("{answer:?} is no verdict")),
                Err(RecvTimeoutError::Timeout) => Verdict::new(Ending::Bug, "hangs"),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    Verdict::new(
                        Ending::Bug,
                        format!("died: {status}; {}", self.last_words()?),
                    )
                }
            };
            let lost = answer.is_err();
            tally.count(seed, (verdict, begun.elapsed()));
            if lost {
                break;
            }
        }
        Ok(())
    }

    fn last_words(&mut self) -> io::Result<String> {
        let mut text = Vec::new();
        self.errors.rewind()?;
        self.errors.read_to_end(&mut text)?;
        let tail = &text[text.len().saturating_sub(LAST_WORDS)..];
        Ok(String::from_utf8_lossy(tail).trim().to_owned())
    }

    fn end(&mut self) {
        // It holds nothing that is still wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end();
    }
}
