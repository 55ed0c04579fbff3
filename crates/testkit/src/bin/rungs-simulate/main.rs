//! Plays schedules under a virtual clock: seeds in; what went wrong, how often which fault was there, and how good the placement
//! is out, on standard output.
#![expect(clippy::print_stdout, reason = "a program's report")]

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use report::Extent;
use rungs_engine::schedule::Schedule;
use rungs_testkit::sim::batch::{Tally, play, play_all};
use rungs_testkit::sim::{Fault, Scenario, Settings, TAKING_OVER};

/// Plays the engine's schedule under a virtual clock, with fake devices, pumps and jobs.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play many random scenarios full of faults
    Run {
        /// How many
        #[arg(long, default_value_t = 100_000)]
        runs: u64,
        /// The first seed
        #[arg(long, default_value_t = TAKING_OVER)]
        first: u64,
    },
    /// Play one scenario again, and print every event and decision
    Replay {
        /// Its seed
        seed: u64,
    },
    /// Plant each bug into the schedule and play until it is found
    #[cfg(feature = "planted")]
    Bugs {
        /// The most scenarios for each
        #[arg(long, default_value_t = 100_000)]
        runs: u64,
    },
    /// Measure how good the placement is, against a lower bound and two simple schedules
    Report {
        /// Write the tables into this file, between its two marks, instead of on standard output
        #[arg(long, value_name = "FILE")]
        into: Option<PathBuf>,
        /// How many times as many seeds as is usual
        #[arg(long, default_value_t = 1.0)]
        effort: f64,
        /// Leave out machines of more devices
        #[arg(long, value_name = "DEVICES", default_value_t = 1000)]
        most: u32,
    },
}

/// Between these lines of a page the tables are written.
const MARKS: [&str; 2] = [
    "<!-- tables: made by `make simulate-report` -->\n",
    "<!-- end of tables -->",
];

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run { runs, first } => run(first, runs),
        Command::Replay { seed } => replay(seed),
        #[cfg(feature = "planted")]
        Command::Bugs { runs } => bugs(runs),
        Command::Report { into, effort, most } => report(into.as_deref(), Extent { effort, most }),
    }
}

fn report(into: Option<&Path>, extent: Extent) -> ExitCode {
    let tables = report::tables(extent);
    let Some(page) = into else {
        println!("{tables}");
        return ExitCode::SUCCESS;
    };
    let written = std::fs::read_to_string(page).and_then(|text| {
        let parts = text
            .split_once(MARKS[0])
            .and_then(|(head, rest)| Some((head, rest.split_once(MARKS[1])?.1)));
        let (head, tail) = parts.ok_or_else(|| std::io::Error::other("the marks are missing"))?;
        std::fs::write(
            page,
            format!("{head}{}\n{tables}\n{}{tail}", MARKS[0], MARKS[1]),
        )
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("The tables are not in {}: {error}", page.display());
            ExitCode::FAILURE
        }
    }
}

fn schedule(scenario: &Scenario) -> Schedule {
    Schedule::new(scenario.machine.clone())
}

fn replay(seed: u64) -> ExitCode {
    println!("{:#?}", rungs_testkit::sim::random(seed));
    let outcome = play(
        seed,
        Settings {
            log: true,
            ..Settings::default()
        },
        schedule,
    );
    for line in &outcome.log {
        println!("{line}");
    }
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn run(first: u64, runs: u64) -> ExitCode {
    // A panic is caught and counted; its words come with the seed.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let tally = play_all(first, runs, u64::MAX, schedule);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} runs in {seconds:.1} s, {:.0} a second; {} events, {} tasks done, {} jobs given up",
        tally.runs,
        tally.runs as f64 / seconds,
        tally.events,
        tally.committed,
        tally.given_up
    );
    println!(
        "{} runs had five or more classes of faults",
        tally.five_or_more
    );
    print_pairs(&tally);
    for (seed, violation) in &tally.failures {
        println!("seed {seed}: {violation}    (make simulate SEED={seed})");
    }
    println!("{} runs failed", tally.failed);
    if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Plants each bug, and says after how many scenarios it was found and by what.
#[cfg(feature = "planted")]
fn bugs(runs: u64) -> ExitCode {
    use rungs_engine::schedule::planted::Bug;
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = 0;
    for bug in Bug::ALL {
        let found = (TAKING_OVER..TAKING_OVER + runs).find_map(|seed| {
            let plant = |scenario: &Scenario| Schedule::with_bug(scenario.machine.clone(), bug);
            let violation = play(seed, Settings::default(), plant).violation?;
            // Only what goes well without the bug shows the bug.
            let healthy = play(seed, Settings::default(), schedule)
                .violation
                .is_none();
            healthy.then_some((seed, violation))
        });
        let name = format!("{bug:?}");
        if let Some((seed, violation)) = found {
            println!(
                "{name:<22} scenario {:>6}: {violation}",
                seed - TAKING_OVER + 1
            );
        } else {
            missed += 1;
            println!("{name:<22} NOT FOUND in {runs} scenarios");
        }
    }
    println!(
        "{} of {} bugs found",
        Bug::ALL.len() - missed,
        Bug::ALL.len()
    );
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How many runs had each fault, and each pair of faults.
fn print_pairs(tally: &Tally) {
    print!("{:<10}", "runs with");
    for second in Fault::ALL {
        print!("{:>9}", name(second));
    }
    println!();
    for first in Fault::ALL {
        print!("{:<10}", name(first));
        for second in Fault::ALL.iter().take(first as usize + 1) {
            print!("{:>9}", tally.pairs[first as usize][*second as usize]);
        }
        println!();
    }
}

fn name(fault: Fault) -> String {
    format!("{fault:?}").to_lowercase()
}
