//! `rungs transcode`: the job of a package in a hidden folder beside the output, then plain files of its segments in place, then the folder goes.
//!
//! ```text
//! .film.mp4.rungs/       a package with its journal, which a later run resumes
//!     film.mp4.part      the file while it is written, flushed when it is whole
//! .film.mp4.rungs-placed names the files that are in place with their digests; it goes last
//! film.mp4               whole or absent
//! ```

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rungs_engine::journal::JobFolder;
use rungs_engine::ladder::{Fit, Rung};
use rungs_engine::plain::{
    Container, Finished, Placing, PlainFileError, Shape, Stands, about, seconds,
};
use rungs_engine::plan::{AudioPlan, Rendition};
use rungs_engine::room::Room;
use rungs_engine::spec::AudioChoice;
use rungs_engine::{Event, Plan, Report, Spec};
use rungs_media::encode::Codec;
use rungs_package::output::System;
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
    inputs.check_file(&Placing::mark(target.folder(), &target.name()))?;
    let workshop = Workshop::open(&order.plain.making.machine, order.plain.making.progress)?;
    let near = folder::existing(target.folder());
    let input = Input::open(&order.input, (near, workshop.cancel()))?;
    let mut job = workshop.plan(&input, &spec)?;
    target.check_codecs(&job.record.plan)?;
    let files = target.files(&job.record.plan);
    let files: Vec<PathBuf> = files
        .iter()
        .map(|file| target.folder().join(file))
        .collect();
    let inputs = Inputs::opened(&order.input, &spec, &input);
    inputs.check_below(&work)?;
    inputs.check_files(&files)?;
    let transcode = Transcode {
        workshop: &workshop,
        target: &target,
        order,
    };
    // What is in the way is refused before anything is made, the folder of the job too.
    let room = target.room(&transcode.outputs(&job)?);
    job.check_room(target.folder(), room);
    transcode.run(&job)
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
    fn room(&self, outputs: &[Output]) -> Room {
        let placed = outputs.iter().filter(|one| one.stands == Stands::Placed);
        let placed = placed.map(|one| folder::bytes(&self.folder().join(&one.file)));
        Room {
            there: folder::bytes(&self.work()) + placed.sum::<u64>(),
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

    /// What the folder of the job is named after.
    fn name(&self) -> Cow<'_, str> {
        match self {
            Self::File { path } => path.file_name().unwrap_or_default().to_string_lossy(),
            Self::Folder { name, .. } => name.as_str().into(),
        }
    }

    /// The hidden folder of the job.
    fn work(&self) -> PathBuf {
        Placing::work(self.folder(), &self.name())
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
        // An earlier run may have put it there, which is known when there is a plan.
        let left = Placing::mark(self.folder(), &self.name()).exists();
        match self {
            Self::File { path } if !left && path.symlink_metadata().is_ok() => {
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

    /// The name of each rendition's file in the folder.
    fn files(&self, plan: &Plan) -> Vec<String> {
        let all = plan.renditions();
        let size = |one: &Rendition| {
            let (_, size) = one.name.split_once('-').unwrap_or(("", &one.name));
            let alone = all
                .iter()
                .filter(|other| other.name.ends_with(size))
                .count()
                == 1;
            if alone { size } else { &one.name }.to_owned()
        };
        let file = |one| match self {
            Self::File { .. } => self.name().into_owned(),
            Self::Folder { name, .. } => format!("{name}-{}.mp4", size(one)),
        };
        all.iter().map(file).collect()
    }
}

/// One of the files that are to be made.
struct Output {
    file: String,
    stands: Stands,
}

struct Transcode<'a> {
    workshop: &'a Workshop,
    target: &'a Target,
    order: &'a Order<'a>,
}

impl Transcode<'_> {
    /// Makes what is left: segments, files, the report; then the folder of the job goes.
    fn run(&self, job: &Job) -> Result<(), Problem> {
        let claim = JobFolder::claim(self.target.work())?;
        let outputs = self.outputs(job)?;
        let is_placed = |one: &Output| one.stands == Stands::Placed;
        let mut placing = self.placing(job)?;
        let (claim, report) = if outputs.iter().all(is_placed) {
            (claim, None)
        } else {
            let (claim, report) = self.make(job, claim)?;
            self.write(&claim, job, &mut placing)
                .map_err(|problem| job.or_once(problem))?;
            (claim, report)
        };
        self.report()?;
        let files: Vec<String> = outputs.into_iter().map(|one| one.file).collect();
        placing.finish(claim, &files)?;
        match report {
            Some(report) => self.workshop.sum_up(&report, self.target.output()),
            None => self.workshop.put_together(self.target.output()),
        }
    }

    /// What an earlier run has put into place.
    fn placing(&self, job: &Job) -> Result<Placing, Problem> {
        let (folder, name) = (self.target.folder(), self.target.name());
        Placing::read((folder, &name), &job.record, System)
            .map_err(|error| folder::cannot(folder, &error))
    }

    /// What is under the names of the files. Refuses what is in the way, unless it may be replaced.
    fn outputs(&self, job: &Job) -> Result<Vec<Output>, Problem> {
        let placing = self.placing(job)?;
        let mut outputs = Vec::new();
        for file in self.target.files(&job.record.plan) {
            let path = self.target.folder().join(&file);
            let stands = placing
                .stands(&file)
                .map_err(|error| folder::cannot(&path, &error))?;
            if stands == Stands::InTheWay && !self.order.plain.force {
                return Err(in_the_way(&path));
            }
            outputs.push(Output { file, stands });
        }
        Ok(outputs)
    }

    /// Makes the segments, or what is left of them; gives the claim on their folder, and tells of it if anything was left.
    fn make(&self, job: &Job, folder: JobFolder) -> Result<(JobFolder, Option<Report>), Problem> {
        let work = self.target.work();
        let record = &job.record;
        let (plan, output) = match folder.record()? {
            None => (record.plan.clone(), folder.begin(record)?),
            Some(then) => match then.difference(record) {
                None if folder.is_finished(&then.plan)? => return Ok((folder, None)),
                None => {
                    let plan = then.plan_on(&record.plan);
                    let output = folder.resume(&plan)?;
                    (plan, output)
                }
                Some(_) if self.order.plain.force => {
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
        let report = self.workshop.execute(&plan, job, output);
        report
            .map(|report| (folder, Some(report)))
            .map_err(|problem| problem.or_try(job.advice(GO_ON)))
    }

    /// Writes the files that are not there yet and puts them into place.
    fn write(&self, claim: &JobFolder, job: &Job, placing: &mut Placing) -> Result<(), Problem> {
        let cancel = self.workshop.cancel();
        let then = claim.record()?;
        let plan = then.map_or_else(|| job.record.plan.clone(), |then| then.plan);
        let about =
            about((&job.source, cancel), &plan, seconds(claim, &plan)?).map_err(Problem::source)?;
        let segments = claim.segments(&plan)?;
        let finished = Finished {
            root: claim.root(),
            segments: &segments,
            plan: &plan,
            shape: self.target.shape(),
            about: &about,
            cancel,
        };
        for (rendition, file) in plan.renditions().iter().zip(self.target.files(&plan)) {
            let path = self.target.folder().join(&file);
            let failed = |error: io::Error| Problem::output(&path.display().to_string(), &error);
            if placing.stands(&file).map_err(failed)? == Stands::Placed {
                continue;
            }
            let part = placing.part(&file);
            let written = finished.write(rendition, &part, placing.disk())?;
            placing.place(&file, &written).map_err(failed)?;
            self.workshop.tell(&Event::Written {
                file: path.display().to_string(),
                bytes: written.bytes,
                seconds: written.seconds,
            });
        }
        Ok(())
    }

    /// Writes the report to where it is wanted. A run that was killed after it had done so may have removed it from the folder of the job.
    fn report(&self) -> Result<(), Problem> {
        let Some(to) = &self.order.plain.report else {
            return Ok(());
        };
        let made = fs::read(self.target.work().join("report.json"));
        match made {
            Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => Ok(()),
            made => made.and_then(|report| folder::replace(to, &report)),
        }
        .map_err(|error| Problem::output(&to.display().to_string(), &error))
    }
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
