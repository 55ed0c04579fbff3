//! Damages small files and lets the engine make packages of them: seeds in, a count of endings and all that went wrong out.
//!
//! `rungs-mutate --count 10000` tries seeds in children, so that a crash or a hang is put down to its seed;
//! `rungs-mutate --seed 42` does one again in this process, for a debugger.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::Parser;
use rungs_testkit::mutate::keeper::{
    CHECK_ALL_ARGUMENT, CHECKING, CHILD_ARGUMENT, Keeper, PATIENCE, Tally,
};
use rungs_testkit::mutate::trial::{self, Checks, Ending, Trial};
use rungs_testkit::mutate::{Mutant, load, originals, store};
use rungs_testkit::tool;

/// Damages media files in every way that dice can think of, and makes packages of them.
#[derive(Debug, Parser)]
#[command(name = "rungs-mutate")]
struct Arguments {
    /// How many mutants are tried
    #[arg(long, default_value_t = 500)]
    count: u64,
    /// The first seed; from 1000000000 on the structure of the container is changed, not any bytes
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Check every package in every way
    #[arg(long)]
    check_all: bool,
    /// Try this one seed, in this process
    #[arg(long)]
    seed: Option<u64>,
    /// Write the mutant of `--seed` into this file
    #[arg(long, value_name = "FILE", requires = "seed")]
    keep: Option<PathBuf>,
    /// Children at a time; one for each core unless given
    #[arg(long)]
    jobs: Option<usize>,
}

impl Arguments {
    fn checks(&self) -> Checks {
        if self.check_all {
            Checks::All
        } else {
            Checks::Some
        }
    }
}

type Problem = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let typed: Vec<_> = std::env::args().skip(1).collect();
    let done = match typed.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [CHILD_ARGUMENT, folder] => child(Path::new(folder), Checks::Some),
        [CHILD_ARGUMENT, folder, CHECK_ALL_ARGUMENT] => child(Path::new(folder), Checks::All),
        _ => {
            let arguments = Arguments::parse();
            match arguments.seed {
                Some(seed) => replay(seed, &arguments),
                None => try_many(&arguments),
            }
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is where errors are told")]
            {
                eprintln!("error: {}", tool::chain(&*error));
            }
            ExitCode::FAILURE
        }
    }
}

/// Answers each seed with a verdict, until there are no more.
fn child(folder: &Path, checks: Checks) -> Result<ExitCode, Problem> {
    trial::prepare()?;
    let originals = load(folder)?;
    for line in io::stdin().lock().lines() {
        let seed = line?.parse()?;
        let verdict = trial::run(&Trial {
            seed,
            mutant: &Mutant::of(seed, &originals),
            checks,
            // A parent that is gone is noticed by the verdict.
            checking: &|| drop(writeln!(io::stdout(), "{CHECKING}")),
        });
        writeln!(io::stdout(), "{verdict}")?;
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the result is what the program is for")]
fn replay(seed: u64, arguments: &Arguments) -> Result<ExitCode, Problem> {
    trial::prepare()?;
    let mutant = Mutant::of(seed, &originals()?);
    println!(
        "seed {seed}: {}, {} bytes",
        mutant.original,
        mutant.bytes.len()
    );
    for change in &mutant.changes {
        println!("  {change}");
    }
    if let Some(path) = &arguments.keep {
        std::fs::write(path, &mutant.bytes)?;
    }
    let begun = Instant::now();
    let verdict = trial::run(&Trial {
        seed,
        mutant: &mutant,
        checks: arguments.checks(),
        checking: &|| println!("made in {:.2} s", begun.elapsed().as_secs_f64()),
    });
    println!("{verdict}    ({:.2} s)", begun.elapsed().as_secs_f64());
    Ok(match verdict.ending {
        Ending::Bug => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn try_many(arguments: &Arguments) -> Result<ExitCode, Problem> {
    let originals = originals()?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let seeds = arguments.from..arguments.from + arguments.count;
    let begun = Instant::now();
    let folder = tempfile::tempdir()?;
    store(&originals, folder.path())?;
    let keeper = Keeper {
        program: std::env::current_exe()?,
        originals: folder.path().to_owned(),
        jobs: arguments.jobs.unwrap_or(cores),
        patience: PATIENCE,
        checks: arguments.checks(),
    };
    let tally = keeper.try_all(seeds)?;
    tell(&tally, begun.elapsed().as_secs_f64());
    #[expect(clippy::print_stdout, reason = "the result is what the program is for")]
    for (seed, reason) in &tally.bugs {
        println!(
            "seed {seed} ({}): {reason}",
            Mutant::of(*seed, &originals).original
        );
    }
    Ok(if tally.bugs.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stdout, reason = "the result is what the program is for")]
fn tell(tally: &Tally, seconds: f64) {
    let count: u64 = tally.endings.values().sum();
    let endings: Vec<_> = tally
        .endings
        .iter()
        .map(|(ending, count)| format!("{count} {ending}"))
        .collect();
    println!("{count} mutants in {seconds:.0} s: {}", endings.join(", "));
    let (time, seed) = tally.longest;
    println!("the longest took {:.2} s (seed {seed})", time.as_secs_f64());
    if !tally.stopped.is_empty() {
        println!("stopped: seeds {:?}", tally.stopped);
    }
}
