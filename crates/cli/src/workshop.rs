//! What the commands that encode share: an engine, a plan with its record, and a job that begins, goes on or has nothing left to do.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rungs_engine::gpu::trial::Table;
use rungs_engine::journal::{JobFolder, JobOutput, JobRecord, JournalError, Stand};
use rungs_engine::process::own_program;
use rungs_engine::room::Room;
use rungs_engine::{Cancel, Engine, Event, Io, Options, Plan, Report, Spec, Terms, Watcher};
use rungs_media::Source;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::args::{MachineArgs, ProgressArg};
use crate::bars::Bars;
use crate::failure::{INTERRUPTED, Problem, clean};
use crate::input::Input;
use crate::patient::Patient;
use crate::trace::Trace;
use crate::{folder, gpus, print, table};

/// What an interrupted run can be told to do.
const GO_ON: &str =
    "run the same command again, or `rungs resume`: it goes on where this run ended";

/// An engine, and a way to end what it does.
pub(crate) struct Workshop {
    engine: Engine,
    cancel: Cancel,
    progress: ProgressArg,
    /// Standard output for events as JSON; without the buffer of the library's, which would wait.
    lines: Mutex<Patient<File>>,
    terms: Terms,
    /// Where a trace is wanted.
    trace: Option<PathBuf>,
    _signals: Interrupts,
}

/// A source and what is to be made of it.
pub(crate) struct Job {
    pub(crate) source: Source,
    pub(crate) record: JobRecord,
}

impl Job {
    /// Warns if the disk on which the output is may be too small. What is free there, and what the source takes, is found out here.
    pub(crate) fn check_room(&mut self, output: &Path, room: Room) {
        if let Some(free) = folder::free(output) {
            let source = self.source.still_to_keep();
            let room = Room {
                free,
                source,
                ..room
            };
            self.record.plan.check_room(&room);
        }
    }

    /// What whoever is interrupted can be told to do: that, if the source can be read again.
    pub(crate) fn advice<'a>(&self, go_on: &'a str) -> &'a str {
        match self.record.source.identity {
            Some(_) => go_on,
            None => "the input came once: give it again, and --force to start afresh",
        }
    }

    /// Tells how the job has ended. With what came once nobody can go on, whatever is put right.
    fn problem(&self, error: rungs_engine::Error) -> Problem {
        let goes_on = matches!(&error, rungs_engine::Error::Failed(failure) if failure.can_go_on());
        let problem = Problem::from(error);
        match self.record.source.identity {
            None if goes_on => problem.instead_try(
                "put that right (make room, if the disk is full) and give the input again, with --force to start afresh: it came once",
            ),
            _ => problem,
        }
    }

    /// The same for what failed when the segments were there already.
    pub(crate) fn or_once(&self, problem: Problem) -> Problem {
        match self.record.source.identity {
            Some(_) => problem,
            None => problem.instead_try(self.advice("")),
        }
    }
}

impl Workshop {
    pub(crate) fn open(machine: &MachineArgs, progress: ProgressArg) -> Result<Self, Problem> {
        let cancel = Cancel::new();
        let signals = Interrupts::watch(cancel.clone())
            .map_err(|error| Problem::system("signal handlers", &error))?;
        let engine = Engine::new(Options {
            sessions: machine.jobs,
            gpus: gpus(machine)?,
            policy: machine.policy(),
            memory: machine.memory.map(|bytes| bytes.0),
            video_memory: machine.video_memory.map(|bytes| bytes.0),
            encoder_program: Some(myself()?),
            ..Options::default()
        })
        .map_err(Problem::from)?;
        Ok(Self {
            engine,
            cancel,
            progress,
            lines: Mutex::new(Patient::new(unbuffered_output()?)),
            terms: machine.terms(),
            trace: machine.trace.clone(),
            _signals: signals,
        })
    }

    /// Plans a job. Writes nothing.
    pub(crate) fn plan(&self, input: &Input, spec: &Spec) -> Result<Job, Problem> {
        let source = input.source().clone();
        let watcher = Watcher {
            cancel: &self.cancel,
            waiting: &gpus::say_waiting,
        };
        let plan = self
            .engine
            .plan_watched(&source, spec, &watcher)
            .map_err(|error| Problem::from(error).about(input.name()))?;
        let record = JobRecord::read(&source, (spec, &plan), self.cancel.media());
        let record = record.map_err(|error| {
            if self.cancel.is_cancelled() {
                Problem::from(rungs_engine::Error::Interrupted)
            } else {
                Problem::from(error)
            }
        })?;
        Ok(Job { source, record })
    }

    /// Begins a job in a folder that has none.
    pub(crate) fn begin(&self, folder: JobFolder, job: &Job) -> Result<(), Problem> {
        let output = folder.begin(&job.record)?;
        self.make(&job.record.plan, job, output)
    }

    /// Goes on with a job from where it stands, if it is the same; says so when it is finished.
    pub(crate) fn go_on(
        &self,
        folder: JobFolder,
        then: &JobRecord,
        job: &Job,
    ) -> Result<(), Problem> {
        if let Some(difference) = then.difference(&job.record) {
            let what = format!(
                "the package in {} is not the one that was asked for",
                folder.root().display()
            );
            return Err(Problem::refused(what, difference.advice()).because(difference.to_string()));
        }
        let Some(folder) = self.complete(folder, &then.plan)? else {
            return Ok(());
        };
        let plan = then.plan_on(&job.record.plan);
        let output = folder.resume(&plan)?;
        self.make(&plan, job, output)
    }

    /// Does what is left when all segments are there, and says so; else gives the folder back. The source is not needed for it.
    pub(crate) fn complete(
        &self,
        folder: JobFolder,
        plan: &Plan,
    ) -> Result<Option<JobFolder>, Problem> {
        match folder.stand(plan)? {
            Stand::Finished => {
                let root = folder.root().to_owned();
                folder.clear_parts(plan)?;
                self.nothing_to_do(&root)?;
            }
            Stand::Made => {
                let master = folder.root().join("master.m3u8");
                self.put_parts_together(folder, plan)?;
                self.put_together(&master)?;
            }
            Stand::Unfinished => return Ok(Some(folder)),
        }
        Ok(None)
    }

    /// Makes a package of single files of its parts.
    fn put_parts_together(&self, folder: JobFolder, plan: &Plan) -> Result<(), Problem> {
        folder
            .put_together(plan, &self.cancel, &mut |event| self.tell(&event))
            .map_err(|error| match error {
                JournalError::Interrupted => {
                    Problem::from(rungs_engine::Error::Interrupted).or_try(GO_ON)
                }
                error => Problem::failed(error.to_string(), error.advice()).because_of(&error),
            })
    }

    /// Says that a package is finished.
    fn nothing_to_do(&self, out: &Path) -> Result<(), Problem> {
        if self.progress == ProgressArg::Json {
            return Ok(());
        }
        print(|text| {
            writeln!(
                text,
                "nothing to do: the package in {} is finished",
                clean(&out.display().to_string())
            )
        })
    }

    /// Makes what is left of a package.
    pub(crate) fn make(&self, plan: &Plan, job: &Job, output: JobOutput) -> Result<(), Problem> {
        let folder = output.folder();
        let master = folder.root().join("master.m3u8");
        let report = self
            .execute(plan, job, output)
            .map_err(|problem| problem.or_try(job.advice(GO_ON)))?;
        if plan.single_file {
            self.put_parts_together(folder, &report.plan)
                .map_err(|problem| match job.record.source.identity {
                    Some(_) => problem,
                    None => problem.instead_try(
                        "put that right and run `rungs resume`: what is left needs no input",
                    ),
                })?;
        }
        self.sum_up(&report, &master)
    }

    /// Tells what a job has made, and what can be played now.
    pub(crate) fn sum_up(&self, report: &Report, made: &Path) -> Result<(), Problem> {
        if self.progress == ProgressArg::Json {
            return Ok(());
        }
        print(|text| summary(text, report, made))
    }

    /// Tells that files were made of what an earlier run has left.
    pub(crate) fn put_together(&self, made: &Path) -> Result<(), Problem> {
        if self.progress == ProgressArg::Json {
            return Ok(());
        }
        print(|text| {
            writeln!(
                text,
                "all segments were there from an earlier run; to play it: {}",
                clean(&made.display().to_string())
            )
        })
    }

    fn teller(&self) -> Teller<'_> {
        let cancel = &self.cancel;
        match self.progress {
            ProgressArg::Bars => Teller::Bars(Box::default()),
            ProgressArg::Auto if std::io::stderr().is_terminal() => Teller::Bars(Box::default()),
            ProgressArg::Json => Teller::Json {
                lines: &self.lines,
                cancel,
            },
            ProgressArg::Auto | ProgressArg::None => Teller::Quiet { cancel },
        }
    }

    /// Ends what is under way, from any thread.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Tells an event that the engine does not tell.
    pub(crate) fn tell(&self, event: &Event) {
        self.teller().tell(event);
    }

    /// Makes what is left of a job. An interruption has no advice yet.
    pub(crate) fn execute(
        &self,
        plan: &Plan,
        job: &Job,
        output: JobOutput,
    ) -> Result<Report, Problem> {
        let mut trace = self.trace.as_deref().map(open_trace).transpose()?;
        let mut teller = self.teller();
        let io = Io {
            output: Box::new(output),
            terms: self.terms,
            cancel: &self.cancel,
            observer: &mut |event| {
                teller.tell(&event);
                if let Some(trace) = &mut trace {
                    trace.tell(&event);
                }
            },
        };
        let result = self.engine.run(plan, &job.source, io);
        teller.close();
        let traced = trace.map_or(Ok(()), Trace::close);
        let report = result.map_err(|error| job.problem(error))?;
        traced.map_err(|error| Problem::output("the trace", &error))?;
        Ok(report)
    }
}

fn open_trace(path: &Path) -> Result<Trace, Problem> {
    Trace::create(path).map_err(|error| Problem::output(&path.display().to_string(), &error))
}

fn unbuffered_output() -> Result<File, Problem> {
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    output
        .map(File::from)
        .map_err(|error| Problem::output("standard output", &error))
}

/// The GPUs with their trials, unless none would be used.
fn gpus(machine: &MachineArgs) -> Result<Vec<Table>, Problem> {
    if machine.policy().is_blind() {
        return Ok(Vec::new());
    }
    gpus::tables(false)
}

/// This very program, which encodes in processes of its own.
fn myself() -> Result<PathBuf, Problem> {
    own_program().map_err(|error| Problem::system("way to its own program", &error))
}

fn summary(text: &mut Vec<u8>, report: &Report, made: &Path) -> std::io::Result<()> {
    table::write(text, report)?;
    for dropped in &report.plan.dropped {
        writeln!(text, "left out: {} ({})", dropped.size, dropped.reason)?;
    }
    if report.resumed_segments > 0 {
        let count = report.resumed_segments;
        writeln!(text, "{count} segments were there from an earlier run")?;
    }
    let inspection = &report.inspection;
    writeln!(
        text,
        "{} of {} encoded segments were decoded and compared with the source, {} more at a glance, in {:.1} % of the encoders' time; {} were bad and made again",
        inspection.inspected,
        inspection.tasks,
        inspection.glances,
        inspection.share_of_busy * 100.0,
        inspection.findings
    )?;
    if let (Some(bound), Some(over)) = (
        report.efficiency.bound_seconds,
        report.efficiency.over_bound,
    ) {
        writeln!(
            text,
            "the work took {over:.2} × the {bound:.1} s that no schedule could have beaten"
        )?;
    }
    writeln!(
        text,
        "{:.1} s of picture in {:.1} s ({:.2} × real time); to play it: {}",
        report.seconds,
        report.cost.wall_seconds,
        report.seconds / report.cost.wall_seconds.max(0.001),
        clean(&made.display().to_string())
    )
}

/// Tells events as they come, in the way that was asked for. A reader that does not read does not keep a job from being cancelled.
enum Teller<'a> {
    Bars(Box<Bars>),
    Json {
        lines: &'a Mutex<Patient<File>>,
        cancel: &'a Cancel,
    },
    Quiet {
        cancel: &'a Cancel,
    },
}

impl Teller<'_> {
    fn tell(&mut self, event: &Event) {
        match (self, event) {
            (Self::Bars(bars), event) => bars.show(event),
            (Self::Json { lines, cancel }, event) => {
                let mut line = serde_json::to_vec(event).unwrap_or_default();
                line.push(b'\n');
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.write(cancel, &line);
            }
            (Self::Quiet { cancel }, Event::Warning { message, .. }) => {
                let line = format!("warning: {}\n", clean(message));
                Patient::new(std::io::stderr()).write(cancel, line.as_bytes());
            }
            (Self::Quiet { .. }, _) => {}
        }
    }

    fn close(&mut self) {
        if let Self::Bars(bars) = self {
            bars.close();
        }
    }
}

/// Turns the first Ctrl-C into a clean end, and the second into an immediate one.
pub(crate) struct Interrupts {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Interrupts {
    pub(crate) fn watch(cancel: Cancel) -> std::io::Result<Self> {
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
