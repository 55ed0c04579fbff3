//! A process that dies at any step of its output, without a process: from the step on nothing reaches the disk any more.
//!
//! ```text
//! packager ─► Mortal (facts) ─► JobOutput ─► MortalDisk (write, flush, rename, …) ─► disk
//!                    └─────────── Life ───────────┘  counts the steps, and ends them
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rungs_package::TrackSummary;
use rungs_package::output::{Disk, Fact, Item, Output, OutputError, System};
use rungs_package::tree::At;

/// Counts the steps of a run, and ends it at one of them. Clones count together.
#[derive(Clone, Debug)]
pub struct Life {
    steps: Arc<AtomicU64>,
    ends_at: u64,
}

/// What may become of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Done,
    /// The process dies in it.
    Last,
    /// The process is dead.
    Never,
}

impl Life {
    /// Makes a run that dies in the step with this number, counted from 0.
    #[must_use]
    pub fn ending_at(step: u64) -> Self {
        Self {
            steps: Arc::default(),
            ends_at: step,
        }
    }

    /// Makes a run that never dies.
    #[must_use]
    pub fn endless() -> Self {
        Self::ending_at(u64::MAX)
    }

    /// How many steps were tried.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Whether the run has died.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.steps() > self.ends_at
    }

    fn step(&self) -> Step {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        match step.cmp(&self.ends_at) {
            std::cmp::Ordering::Less => Step::Done,
            std::cmp::Ordering::Equal => Step::Last,
            std::cmp::Ordering::Greater => Step::Never,
        }
    }

    fn then<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.step() {
            Step::Done => act(),
            Step::Last | Step::Never => Err(dead()),
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

/// A disk that a mortal process writes to. The write in which it dies is half done, any other step is not done at all.
#[derive(Clone, Debug)]
pub struct MortalDisk(pub Life);

impl Disk for MortalDisk {
    fn create_folder(&mut self, at: At<'_>) -> io::Result<()> {
        self.0.then(|| System.create_folder(at))
    }

    fn write(&mut self, at: At<'_>, bytes: &[u8]) -> io::Result<()> {
        match self.0.step() {
            Step::Done => System.write(at, bytes),
            Step::Last => {
                System.write(at, &bytes[..bytes.len() / 2])?;
                Err(dead())
            }
            Step::Never => Err(dead()),
        }
    }

    fn append(&mut self, at: At<'_>, bytes: &[u8]) -> io::Result<()> {
        match self.0.step() {
            Step::Done => System.append(at, bytes),
            Step::Last => {
                System.append(at, &bytes[..bytes.len() / 2])?;
                Err(dead())
            }
            Step::Never => Err(dead()),
        }
    }

    fn flush(&mut self, at: At<'_>) -> io::Result<()> {
        self.0.then(|| System.flush(at))
    }

    fn rename(&mut self, from: At<'_>, to: At<'_>) -> io::Result<()> {
        self.0.then(|| System.rename(from, to))
    }

    fn flush_folder(&mut self, at: At<'_>) -> io::Result<()> {
        self.0.then(|| System.flush_folder(at))
    }

    fn remove(&mut self, at: At<'_>) -> io::Result<()> {
        self.0.then(|| System.remove(at))
    }

    fn remove_folder(&mut self, at: At<'_>) -> io::Result<()> {
        self.0.then(|| System.remove_folder(at))
    }
}

/// An output of a mortal process: keeping a fact is a step too, done or not done.
#[derive(Debug)]
pub struct Mortal<O> {
    output: O,
    life: Life,
}

impl<O: Output> Mortal<O> {
    /// Wraps an output.
    pub fn new(output: O, life: Life) -> Self {
        Self { output, life }
    }
}

impl<O: Output> Output for Mortal<O> {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.output.put(item)
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>, OutputError> {
        self.output.get(path)
    }

    fn finished(&mut self, rendition: &TrackSummary) -> Result<(), OutputError> {
        self.output.finished(rendition)
    }

    fn note(&mut self, fact: &Fact) -> Result<(), OutputError> {
        match self.life.step() {
            Step::Done => self.output.note(fact),
            Step::Last | Step::Never => Err(OutputError {
                path: "journal".into(),
                operation: "write to",
                source: dead(),
            }),
        }
    }

    fn known(&mut self) -> Result<Vec<Fact>, OutputError> {
        self.output.known()
    }
}
