//! `rungs transcode`: the job of a package in a hidden folder beside the output, then plain files of its segments in place, then the folder goes.
//!
//! ```text
//! .film.mp4.rungs/   a package with its journal, which a later run goes on with
//!     film.mp4.part    the file while it is written, flushed when it is whole
//!     film.mp4.placed  says that the next step is, or was, to rename it
//! film.mp4           whole or absent
//! ```

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rungs_engine::journal::{JobFolder, PRIVATE};
use rungs_engine::ladder::{Fit, Rung};
use rungs_engine::plain::{Container, Finished, PlainFileError, Shape, about, seconds};
use rungs_engine::plan::{AudioPlan, Rendition};
use rungs_engine::room::Room;
use rungs_engine::spec::AudioChoice;
use rungs_engine::{Event, Plan, Report, Spec};
use rungs_media::encode::Codec;
use rungs_package::track::AudioCodec;

use crate::args::{InputArgs, JoinArgs, PlainArgs, TranscodeArgs};
use crate::failure::Problem;
use crate::folder;
use crate::guard::Inputs;
use crate::input::{Input, STANDARD_INPUT};
use crate::workshop::{Job, Workshop};

/// What an interrupted run can be told to do.
const GO_ON: &str = "run the same command again: it goes on where this run ended";

/// What is to be made, of one source or of several.
pub(crate) struct Order<'a> {
    input: Cow<'a, InputArgs>,
    /// The sources that follow.
    joined: &'a [PathBuf],
    output: &'a Path,
    plain: &'a PlainArgs,
}

impl<'a> Order<'a> {
    /// `rungs transcode`.
    pub(crate) fn of(args: &'a TranscodeArgs) -> Self {
        Self {
            input: Cow::Borrowed(&args.from),
            joined: &[],
            output: &args.output,
            plain: &args.plain,
        }
    }

    /// `rungs join`.
    pub(crate) fn of_join(args: &'a JoinArgs) -> Self {
        let first = args.inputs.first().cloned().unwrap_or_default();
        Self {
            input: Cow::Owned(InputArgs::file(first)),
            joined: args.inputs.get(1..).unwrap_or_default(),
            output: &args.output,
            plain: &args.plain,
        }
    }
}

pub(crate) fn run(order: &Order<'_>) -> Result<(), Problem> {
    let target = Target::of(order)?;
    let spec = target.spec(order)?;
    let inputs = Inputs::typed(&order.input, &spec);
    inputs.check_file(target.output())?;
    let asides = [&order.plain.report, &order.plain.making.machine.trace];
    inputs.check_files(asides.into_iter().flatten())?;
    target.check(order)?;
    let work = target.work();
    inputs.check_below(&work)?;
    let workshop = Workshop::open(&order.plain.making.machine, order.plain.making.progress)?;
    let near = folder::existing(target.folder());
    let input = Input::open(&order.input, (near, workshop.cancel()))?;
    let mut job = workshop.plan(&input, &spec)?;
    target.check_codecs(&job.record.plan)?;
    let files = target.files(&job.record.plan);
    let room = target.room(&files);
    job.check_room(target.folder(), room);
    let files = target.files(&job.record.plan);
    let inputs = Inputs::opened(&order.input, &spec, &input);
    inputs.check_below(&work)?;
    inputs.check_files(files.iter().map(|(_, path)| path))?;
    for (_, path) in &files {
        if target.stands(path) == Stands::InTheWay && !order.plain.force {
            return Err(in_the_way(path));
        }
    }
    let transcode = Transcode {
        workshop: &workshop,
        target: &target,
        job: &job,
        force: order.plain.force,
    };
    let (folder, report) = transcode.make()?;
    let plan = folder
        .record()?
        .map_or_else(|| job.record.plan.clone(), |then| then.plan);
    transcode
        .write(&folder, &plan)
        .map_err(|problem| job.or_once(problem))?;
    if let Some(to) = &order.plain.report {
        fs::read(work.join("report.json"))
            .and_then(|report| folder::replace(to, &report))
            .map_err(|error| Problem::output(&to.display().to_string(), &error))?;
    }
    sweep(&work, &folder).map_err(|error| Problem::output(&work.display().to_string(), &error))?;
    match report {
        Some(report) => workshop.sum_up(&report, target.output()),
        None => workshop.put_together(target.output()),
    }
}

fn in_the_way(path: &Path) -> Problem {
    Problem::refused(
        format!("the output {} is there already", path.display()),
        "give another name with -o, or --force to replace it",
    )
}

/// Where the files go.
enum Target {
    /// One rendition, into this file.
    File { path: PathBuf },
    /// Each rendition into a file of this folder, with this name before the rendition's.
    Folder { path: PathBuf, name: String },
}

/// What is under the name of an output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Nothing,
    /// What an earlier run of this job has put there.
    Placed,
    InTheWay,
}

impl Target {
    fn of(order: &Order<'_>) -> Result<Self, Problem> {
        let path = order.output.to_owned();
        let extension = path
            .extension()
            .map(|text| text.to_string_lossy().to_lowercase());
        let ends_as_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if path.is_dir() || ends_as_folder || extension.is_none() {
            return Ok(Self::Folder {
                path,
                name: order.input.stem(),
            });
        }
        match extension.as_deref() {
            Some("mp4" | "m4v" | "mkv" | "webm") => Ok(Self::File { path }),
            _ => Err(Problem::refused(
                format!("{} is no name of a file that is made here", path.display()),
                "give a name that ends with .mp4, .mkv or .webm, or a folder",
            )),
        }
    }

    fn shape(&self) -> Shape {
        let Self::File { path } = self else {
            return Shape::Mp4;
        };
        let extension = path.extension().unwrap_or_default();
        match extension.to_string_lossy().to_lowercase().as_str() {
            "mkv" => Shape::Other(Container::Matroska),
            "webm" => Shape::Other(Container::WebM),
            _ => Shape::Mp4,
        }
    }

    /// What the files take, and what an earlier run has left of them: it is gone on with, or goes.
    fn room(&self, files: &[(&Rendition, PathBuf)]) -> Room {
        let placed = files.iter().map(|(_, path)| path);
        let placed = placed.filter(|path| self.stands(path) == Stands::Placed);
        Room {
            there: folder::bytes(&self.work())
                + placed.map(|path| folder::bytes(path)).sum::<u64>(),
            // The segments and the file that is made of them, and another one that FFmpeg makes of that.
            copies: match self.shape() {
                Shape::Mp4 => 2,
                Shape::Other(_) => 3,
            },
            ..Room::default()
        }
    }

    /// Refuses what the container does not take.
    fn check_codecs(&self, plan: &Plan) -> Result<(), Problem> {
        let opus = |audio: &AudioPlan| matches!(audio.codec, AudioCodec::Opus { .. });
        let webm = self.shape() == Shape::Other(Container::WebM);
        if webm && !plan.audio.iter().all(opus) {
            return Err(Problem::refused(
                "WebM takes Opus and no other sound that is made here",
                "use --audio opus, or give a name that ends with .mkv or .mp4",
            ));
        }
        let av1 = |rendition: &Rendition| rendition.codec() == Codec::Av1;
        if webm && !plan.renditions().iter().all(av1) {
            return Err(Problem::refused(
                "WebM takes AV1 and no other pictures that are made here",
                "use --codec av1, or give a name that ends with .mkv or .mp4",
            ));
        }
        Ok(())
    }

    fn spec(&self, order: &Order<'_>) -> Result<Spec, Problem> {
        let mut spec = order.plain.spec();
        spec.joined = order.joined.to_vec();
        spec.sound.for_files = self.shape() != Shape::Other(Container::WebM);
        let Self::File { path } = self else {
            return Ok(spec);
        };
        if self.shape() == Shape::Other(Container::WebM) && spec.audio == AudioChoice::Auto {
            spec.audio = AudioChoice::Opus;
        }
        if spec.codecs.len() > 1 {
            return Err(Problem::refused(
                format!(
                    "{} codecs do not go into the one file {}",
                    spec.codecs.len(),
                    path.display()
                ),
                "give one --codec, or a folder with -o",
            ));
        }
        if spec.rungs.len() > 1 {
            let count = spec.rungs.len();
            return Err(Problem::refused(
                format!(
                    "{count} rungs do not go into the one file {}",
                    path.display()
                ),
                "give one --rung, or a folder with -o",
            ));
        }
        if spec.rungs.is_empty() {
            spec.rungs.push(Rung {
                fit: Fit::Source,
                crf: None,
                speed: None,
                rate: None,
            });
        }
        Ok(spec)
    }

    /// What was given with `-o`.
    fn output(&self) -> &Path {
        match self {
            Self::File { path } | Self::Folder { path, .. } => path,
        }
    }

    /// The folder that the files lie in.
    fn folder(&self) -> &Path {
        match self {
            Self::File { path } => folder::of(path),
            Self::Folder { path, .. } => path,
        }
    }

    /// The hidden folder of the job.
    fn work(&self) -> PathBuf {
        let name = match self {
            Self::File { path } => path.file_name().unwrap_or_default().to_string_lossy(),
            Self::Folder { name, .. } => name.as_str().into(),
        };
        self.folder().join(format!(".{name}.rungs"))
    }

    /// Refuses what cannot be made, before anything is read.
    fn check(&self, order: &Order<'_>) -> Result<(), Problem> {
        if !order.joined.is_empty() && !order.input.is_file() {
            return Err(Problem::refused(
                "only files can be joined",
                "keep what comes from elsewhere in a file first",
            ));
        }
        self.check_folder()?;
        if order.plain.force {
            return Ok(());
        }
        match self {
            Self::File { path, .. } if self.stands(path) == Stands::InTheWay => {
                return Err(in_the_way(path));
            }
            _ => {}
        }
        let work = self.work();
        if order.input.comes_once() && JobFolder::is_one(&work) {
            return Err(Problem::comes_once(STANDARD_INPUT, &work));
        }
        Ok(())
    }

    /// Refuses a folder that cannot be written, before anything is read.
    fn check_folder(&self) -> Result<(), Problem> {
        let folder = self.folder();
        match self {
            Self::File { path } if !folder.is_dir() => Err(Problem::refused(
                format!("there is no folder for {}", path.display()),
                "make it, or give another name with -o",
            )),
            Self::File { .. } => folder::writable(folder),
            Self::Folder { .. } => folder::check(folder, true),
        }
    }

    /// The file of each rendition.
    fn files<'a>(&self, plan: &'a Plan) -> Vec<(&'a Rendition, PathBuf)> {
        let all = plan.renditions();
        let size = |one: &'a Rendition| {
            let (_, size) = one.name.split_once('-').unwrap_or(("", &one.name));
            let alone = all
                .iter()
                .filter(|other| other.name.ends_with(size))
                .count()
                == 1;
            if alone { size } else { &one.name }
        };
        let path = |one| match self {
            Self::File { path } => path.clone(),
            Self::Folder { path, name } => path.join(format!("{name}-{}.mp4", size(one))),
        };
        all.iter().map(|one| (one, path(one))).collect()
    }

    /// A file of the job about one of the outputs.
    fn aside(&self, path: &Path, what: &str) -> PathBuf {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.work().join(format!("{name}.{what}"))
    }

    fn stands(&self, path: &Path) -> Stands {
        let placed = self.aside(path, "placed").exists() && !self.aside(path, "part").exists();
        match path.symlink_metadata() {
            Err(_) => Stands::Nothing,
            Ok(_) if placed => Stands::Placed,
            Ok(_) => Stands::InTheWay,
        }
    }
}

struct Transcode<'a> {
    workshop: &'a Workshop,
    target: &'a Target,
    job: &'a Job,
    force: bool,
}

impl Transcode<'_> {
    /// Makes the segments, or what is left of them; gives the claim on their folder, and tells of it if anything was left.
    fn make(&self) -> Result<(JobFolder, Option<Report>), Problem> {
        let work = self.target.work();
        let folder = JobFolder::claim(&work)?;
        let record = &self.job.record;
        let (plan, output) = match folder.record()? {
            None => (record.plan.clone(), folder.begin(record)?),
            Some(then) => match then.difference(record) {
                None if folder.is_finished(&then.plan)? => return Ok((folder, None)),
                None => {
                    let plan = then.plan_on(&record.plan);
                    let output = folder.resume(&plan)?;
                    (plan, output)
                }
                Some(_) if self.force => {
                    folder::make_room(&work)?;
                    (record.plan.clone(), folder.begin(record)?)
                }
                Some(difference) => {
                    let what = format!(
                        "{} holds the parts of another job for this output",
                        work.display()
                    );
                    let advice = "run the command that they belong to again, or this one with --force, which removes them";
                    return Err(Problem::refused(what, advice).because(difference.to_string()));
                }
            },
        };
        let folder = output.folder();
        let report = self.workshop.execute(&plan, self.job, output);
        report
            .map(|report| (folder, Some(report)))
            .map_err(|problem| problem.or_try(self.job.advice(GO_ON)))
    }

    /// Writes the files and puts them into place.
    fn write(&self, folder: &JobFolder, plan: &Plan) -> Result<(), Problem> {
        let cancel = self.workshop.cancel();
        let about = about((&self.job.source, cancel), plan, seconds(folder, plan)?)
            .map_err(Problem::source)?;
        let finished = Finished {
            folder,
            plan,
            about: &about,
            cancel,
        };
        for (rendition, path) in self.target.files(plan) {
            if self.target.stands(&path) == Stands::Placed {
                continue;
            }
            let part = self.target.aside(&path, "part");
            let written = finished.write(rendition, (&part, self.target.shape()))?;
            self.place(&part, &path)
                .map_err(|error| Problem::output(&path.display().to_string(), &error))?;
            self.workshop.tell(&Event::Written {
                file: path.display().to_string(),
                bytes: written.bytes,
                seconds: written.seconds,
            });
        }
        Ok(())
    }

    /// Gives a file that is whole its name. Whoever comes after a kill knows by the mark whether the file under that name is this one.
    fn place(&self, part: &Path, path: &Path) -> io::Result<()> {
        File::create(self.target.aside(path, "placed"))?.sync_all()?;
        folder::sync(&self.target.work())?;
        fs::rename(part, path)?;
        folder::sync(self.target.folder())
    }
}

/// Removes the hidden folder: the package first, then the marks, so that a run after a kill still knows what it finds. The claim on it ends with
/// it.
fn sweep(work: &Path, _claim: &JobFolder) -> io::Result<()> {
    for entry in fs::read_dir(work)?.flatten() {
        if entry.file_type()?.is_dir() && entry.file_name() != PRIVATE {
            fs::remove_dir_all(entry.path())?;
        }
    }
    fs::remove_dir_all(work.join(PRIVATE))?;
    fs::remove_dir_all(work)
}

impl From<PlainFileError> for Problem {
    fn from(error: PlainFileError) -> Self {
        match error {
            PlainFileError::Journal(error) => error.into(),
            PlainFileError::Cancelled { .. } => {
                Self::from(rungs_engine::Error::Interrupted).or_try(GO_ON)
            }
            error => Self::failed(
                error.to_string(),
                "make room or see to it that the folder can be written, and run the same command again",
            )
            .because_of(&error),
        }
    }
}
