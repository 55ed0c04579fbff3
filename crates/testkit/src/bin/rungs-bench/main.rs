//! Time and memory of `rungs` against one `ffmpeg` command that makes the same ladder.
//!
//! A clip goes in (given, or generated once and kept beside the build); whole processes run on it in turn,
//! A B A B, with the same rungs, encoder, preset, CRF, GOP and scaler; their wall time, CPU time and peak
//! memory, as the kernel accounts for them, come out as Markdown on standard output. With `--tenfold` it is
//! `rungs` alone, on the clip and on ten times its length, to see whether memory grows with length.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program's report"
)]

mod contender;
mod error;
mod machine;
mod measure;
mod report;
mod source;

use std::error::Error as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use contender::{Contender, Ladder};
use error::Error;
use measure::Run;
use report::Pair;
use source::Source;

/// Measures rungs against one ffmpeg command that makes the same ladder.
#[derive(Debug, Parser)]
struct Args {
    /// The clip to encode [default: a generated one, 1920x1080 at 24 fps]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Length of the generated clip, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    seconds: u32,

    /// How often both programs run, one after the other
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,

    /// Measure the memory of rungs on the clip and on ten times its length instead
    #[arg(long)]
    tenfold: bool,

    /// Preset of the AV1 encoder
    #[arg(long, value_name = "N", default_value_t = 10)]
    preset: u32,

    /// Constant rate factor of the AV1 encoder
    #[arg(long, value_name = "N", default_value_t = 35)]
    crf: u32,

    /// Length of a segment and of a GOP, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 4)]
    segment: u32,

    /// The rungs program [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    rungs: Option<PathBuf>,

    /// More arguments for `rungs package`
    #[arg(last = true, value_name = "RUNGS_ARGS")]
    extra: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("  because: {inner}");
                cause = inner.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let cache = source::cache_folder()?;
    let clip = match &args.input {
        Some(file) => file.clone(),
        None => source::generate(&cache, args.seconds)?,
    };
    let source = Source::probe(clip)?;
    let rungs = match &args.rungs {
        Some(path) => path.clone(),
        None => source::beside_this_program("rungs")?,
    };
    let ladder = Ladder {
        heights: vec![1080, 720, 480, 360],
        preset: args.preset,
        crf: args.crf,
        segment_seconds: args.segment,
    };

    println!("{}", machine::describe(&rungs)?);
    let rungs = Contender::Rungs {
        program: rungs,
        extra: args.extra.clone(),
    };
    if args.tenfold {
        tenfold(&rungs, &source, &ladder)
    } else {
        pairs(args.pairs, &rungs, &source, &ladder)
    }
}

/// Runs both programs in turn and prints each run, the medians, and the ratios.
fn pairs(count: u32, rungs: &Contender, source: &Source, ladder: &Ladder) -> Result<(), Error> {
    let ffmpeg = Contender::Ffmpeg;
    println!("{}", report::setup(source, &[&ffmpeg, rungs], ladder));
    println!("{}", report::HEADER);
    let mut done = Vec::new();
    for number in 1..=count {
        let theirs = one(&ffmpeg, source, ladder)?;
        println!("{}", report::row(&number.to_string(), &ffmpeg, &theirs));
        let ours = one(rungs, source, ladder)?;
        println!("{}", report::row(&number.to_string(), rungs, &ours));
        done.push(Pair {
            ffmpeg: theirs,
            rungs: ours,
        });
    }
    println!("{}", report::summary(&done));
    Ok(())
}

/// Runs rungs on the clip and on ten copies of it in a row, and prints the peak memory of both.
fn tenfold(rungs: &Contender, source: &Source, ladder: &Ladder) -> Result<(), Error> {
    let folder = source::scratch()?;
    let long = source.repeated(folder.path(), 10)?;
    println!("{}", report::setup(source, &[rungs], ladder));
    println!("{}", report::HEADER);
    let once = one(rungs, source, ladder)?;
    println!("{}", report::row("1×", rungs, &once));
    let ten_times = one(rungs, &long, ladder)?;
    println!("{}", report::row("10×", rungs, &ten_times));
    println!("{}", report::growth(&once, &ten_times));
    Ok(())
}

/// Runs one program on one clip, into a folder that is gone afterwards.
fn one(contender: &Contender, source: &Source, ladder: &Ladder) -> Result<Run, Error> {
    let folder = source::scratch()?;
    let out = folder.path().join("out");
    source.read_through()?;
    measure::run(contender.command(source, ladder, &out), &out)
}
