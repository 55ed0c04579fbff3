//! `rungs`, the command: what was typed becomes a spec, the engine does it, and what comes of it is told to a person.

mod args;
mod bars;
mod devices;
mod failure;
mod folder;
mod gpus;
mod guard;
mod input;
mod package;
mod patient;
mod picture;
mod probe;
mod resume;
mod table;
mod trace;
mod transcode;
mod verify;
mod workshop;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, Parser};

use args::{Cli, Command};
use failure::{FAILED, Problem, escaped};
use rungs_engine::gpu::trial::{self, TRIAL_ARGUMENT};
use rungs_engine::process::{ENCODER_ARGUMENT, serve};
use signal_hook::consts::{SIGABRT, SIGXFSZ};
use signal_hook::flag;
use transcode::Order;

fn main() -> ExitCode {
    // The program as it is now: its file may be replaced at any time.
    rungs_engine::process::own_program().ok();
    // With a handler, a file at its limit (`ulimit -f`) is an error of writing and no death.
    flag::register(SIGXFSZ, Arc::default()).ok();
    // An encoder's process: started by the engine, never by a person.
    if env::args_os().skip(1).eq([ENCODER_ARGUMENT]) {
        return serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    // A process that a device is tried in: the same.
    if env::args_os().skip(1).eq([TRIAL_ARGUMENT]) {
        return trial::serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    // What aborts below FFmpeg, or for want of memory, ends the program with the code of a job that
    // failed; what it had to say is on the screen by then, and what is finished is kept.
    let always = Arc::new(AtomicBool::new(true));
    flag::register_conditional_shutdown(SIGABRT, i32::from(FAILED), always).ok();
    // Before any thread starts: it may set variables that the encoders read.
    rungs_media::init();
    let cli = Cli::try_parse().unwrap_or_else(|error| refuse(&error));
    let done = match &cli.command {
        Command::Package(args) => package::run(args),
        Command::Transcode(args) => transcode::run(&Order::of(args)),
        Command::Join(args) => transcode::run(&Order::of_join(args)),
        Command::Resume(args) => resume::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Probe(args) => probe::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Completions { shell } => print_raw(|out| {
            clap_complete::generate(*shell, &mut Cli::command(), "rungs", out);
            Ok(())
        }),
        Command::Man => print_raw(manual),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => problem.tell(),
    }
}

/// Says what is wrong with a command line. It says what was typed, which may hold anything.
#[expect(clippy::print_stderr, reason = "this is where errors are told")]
fn refuse(error: &clap::Error) -> ! {
    let plain = error.to_string();
    let lines: Vec<String> = plain.split('\n').map(escaped).collect();
    let text = lines.join("\n");
    if !error.use_stderr() || text == plain {
        error.exit();
    }
    eprint!("{text}");
    std::process::exit(error.exit_code());
}

/// Writes text for people to standard output; of control characters it has but line ends.
pub(crate) fn print(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<(), Problem> {
    print_raw(|out| {
        let mut text = Vec::new();
        write(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let lines = text.split('\n').map(escaped).collect::<Vec<_>>();
        out.write_all(lines.join("\n").as_bytes())
    })
}

/// Writes what is for programs to standard output at once; a reader that has gone away is no error.
pub(crate) fn print_raw(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<(), Problem> {
    let mut text = Vec::new();
    write(&mut text)
        .and_then(|()| io::stdout().write_all(&text))
        .or_else(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(Problem::output("standard output", &error)),
        })
}

/// The manual page: the program, then each of its commands.
fn manual(out: &mut Vec<u8>) -> io::Result<()> {
    let command = Cli::command();
    clap_mangen::Man::new(command.clone()).render(out)?;
    for sub in command.get_subcommands() {
        let name: &'static str = String::leak(format!("rungs {}", sub.get_name()));
        clap_mangen::Man::new(sub.clone().name(name)).render(out)?;
    }
    Ok(())
}
