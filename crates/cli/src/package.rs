//! `rungs package`: plan, run, tell.

use std::env;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::thread::JoinHandle;

use rungs_engine::{Cancel, Engine, Event, Io, Options, Report};
use rungs_media::Source;
use rungs_package::output::Directory;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::args::{PackageArgs, ProgressArg};
use crate::bars::Bars;
use crate::failure::{INTERRUPTED, Problem, clean};
use crate::{folder, print, table};

pub(crate) fn run(args: &PackageArgs) -> Result<(), Problem> {
    folder::check(&args.output, args.force)?;
    let cancel = Cancel::new();
    let _signals = Interrupts::watch(cancel.clone())
        .map_err(|error| Problem::output("signal handlers", &error))?;
    let engine = Engine::new(Options {
        sessions: args.jobs,
        memory: args.memory.map(|bytes| bytes.0),
        encoder_program: Some(myself()?),
    })
    .map_err(|error| Problem::output("new threads", &error))?;
    let source = Source::from(args.input.as_path());
    let plan = engine
        .plan(&source, &args.spec(), &cancel)
        .map_err(|error| Problem::from(error).about(&args.input))?;
    folder::make_room(&args.output)?;
    let output = Directory::create(&args.output)
        .map_err(|error| folder::cannot(&error.path, &error.source))?;
    let mut teller = Teller::new(args.progress);
    let io = Io {
        output: Box::new(output),
        cancel: &cancel,
        observer: &mut |event| teller.tell(&event),
    };
    let result = engine.run(&plan, &source, io);
    teller.close();
    let report = result?;
    if args.progress == ProgressArg::Json {
        return Ok(());
    }
    print(|out| summary(out, &report, args))
}

/// This very program, which encodes in processes of its own.
fn myself() -> Result<PathBuf, Problem> {
    env::current_exe().map_err(|error| Problem::output("encoder processes", &error))
}

fn summary(out: &mut Vec<u8>, report: &Report, args: &PackageArgs) -> std::io::Result<()> {
    table::write(out, report)?;
    for dropped in &report.plan.dropped {
        writeln!(out, "left out: {} ({})", dropped.size, dropped.reason)?;
    }
    let inspection = &report.inspection;
    writeln!(
        out,
        "{} of {} encoded segments were decoded and compared with the source, in {:.1} % of the encoders' time; {} were bad and made again",
        inspection.inspected,
        inspection.tasks,
        inspection.share_of_busy * 100.0,
        inspection.findings
    )?;
    writeln!(
        out,
        "{:.1} s of picture in {:.1} s ({:.2} × real time); to play it: {}",
        report.seconds,
        report.cost.wall_seconds,
        report.seconds / report.cost.wall_seconds.max(0.001),
        args.output.join("master.m3u8").display()
    )
}

/// Tells events as they come, in the way that was asked for.
enum Teller {
    Bars(Box<Bars>),
    Json,
    Quiet,
}

impl Teller {
    fn new(progress: ProgressArg) -> Self {
        match progress {
            ProgressArg::Bars => Self::Bars(Box::default()),
            ProgressArg::Auto if std::io::stderr().is_terminal() => Self::Bars(Box::default()),
            ProgressArg::Json => Self::Json,
            ProgressArg::Auto | ProgressArg::None => Self::Quiet,
        }
    }

    #[expect(clippy::print_stderr, reason = "warnings are told here")]
    fn tell(&mut self, event: &Event) {
        match (self, event) {
            (Self::Bars(bars), event) => bars.show(event),
            (Self::Json, event) => {
                let mut line = serde_json::to_vec(event).unwrap_or_default();
                line.push(b'\n');
                // A reader that has gone away does not stop the job.
                std::io::stdout().lock().write_all(&line).ok();
            }
            (Self::Quiet, Event::Warning { message, .. }) => {
                eprintln!("warning: {}", clean(message));
            }
            (Self::Quiet, _) => {}
        }
    }

    fn close(&mut self) {
        if let Self::Bars(bars) = self {
            bars.close();
        }
    }
}

/// Turns the first Ctrl-C into a clean end, and the second into an immediate one.
struct Interrupts {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Interrupts {
    fn watch(cancel: Cancel) -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for _ in signals.forever() {
                    if cancel.is_cancelled() {
                        std::process::exit(i32::from(INTERRUPTED));
                    }
                    cancel.cancel();
                }
            })?;
        Ok(Self {
            handle,
            thread: Some(thread),
        })
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
