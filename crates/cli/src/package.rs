//! `rungs package`: plan, begin or go on, tell; and with `--add`, more rungs for a finished package.

use std::path::Path;

use rungs_engine::Spec;
use rungs_engine::journal::{Belongings, Difference, JobFolder, JobRecord, Names, PRIVATE};
use rungs_engine::ladder::Rung;
use rungs_engine::room::Room;

use rungs_media::encode::Rate;

use crate::args::PackageArgs;
use crate::failure::{Problem, clean, say};
use crate::folder;
use crate::guard::Inputs;
use crate::input::{Input, STANDARD_INPUT};
use crate::workshop::{Job, Workshop};

pub(crate) fn run(args: &PackageArgs) -> Result<(), Problem> {
    let out = &args.output;
    folder::check(out, args.force)?;
    let inputs = Inputs::typed(&args.from, &args.spec());
    inputs.check_files(&args.making.machine.trace)?;
    inputs.check_private(out)?;
    let is_held = args.force && out.join(PRIVATE).is_dir();
    // A folder that holds a job is claimed before anything is looked at; one that has to be made waits for the plan, which may refuse.
    let mut claim = None;
    if JobFolder::is_one(out) || is_held {
        claim = Some(JobFolder::claim(out)?);
    }
    if args.from.comes_once() && (args.add || claim.is_some() && !args.force) {
        return Err(Problem::comes_once(STANDARD_INPUT, out));
    }
    if args.add {
        return add(args, claim);
    }
    let workshop = Workshop::open(&args.making.machine, args.making.progress)?;
    let input = open(args, &workshop)?;
    let mut job = workshop.plan(&input, &args.spec())?;
    let inputs = Inputs::opened(&args.from, &job.record.spec, &input);
    inputs.check_package(out, &job.record.plan)?;
    let earlier = Belongings::of(out)?;
    let (freed, there) = if args.force {
        (earlier.bytes(), 0)
    } else {
        (0, earlier.bytes())
    };
    if args.force {
        inputs.check_files(earlier.files().map(|file| out.join(file)))?;
        earlier.check_free(&Names::of(&job.record.plan))?;
    }
    let room = room(args.single_file);
    job.check_room(
        out,
        Room {
            freed,
            there,
            ..room
        },
    );
    let folder = match claim {
        Some(folder) => folder,
        None => JobFolder::claim(out)?,
    };
    if args.force {
        if !earlier.is_empty() {
            say_afresh(out);
        }
        earlier.remove()?;
        return workshop.begin(folder, &job);
    }
    match folder.record()? {
        Some(then) => workshop.go_on(folder, &then, &job),
        None => workshop.begin(folder, &job),
    }
}

/// What the package takes, of single files or not.
pub(crate) fn room(single_file: bool) -> Room {
    Room {
        // Parts and single files are there at the same time.
        copies: if single_file { 2 } else { 1 },
        ..Room::default()
    }
}

/// Opens what was typed as the input.
fn open(args: &PackageArgs, workshop: &Workshop) -> Result<Input, Problem> {
    let near = folder::existing(&args.output);
    Input::open(&args.from, (near, workshop.cancel()))
}

fn say_afresh(out: &Path) {
    say(&format!(
        "note: starting afresh, the package that was in {} is removed",
        clean(&out.display().to_string())
    ));
}

/// Adds rungs to the package in a folder.
fn add(args: &PackageArgs, claim: Option<JobFolder>) -> Result<(), Problem> {
    let name = args.output.display();
    let none = || {
        Problem::refused(
            format!("there is no package in {name} to add to"),
            "make one first, without --add",
        )
    };
    let folder = claim.ok_or_else(none)?;
    let then = folder.record()?.ok_or_else(none)?;
    same_settings(args, &then.spec)?;
    let workshop = Workshop::open(&args.making.machine, args.making.progress)?;
    let Some(spec) = then.spec_with(&rungs(args, &then.spec)) else {
        return again(&workshop, folder, (&then, args));
    };
    let input = open(args, &workshop)?;
    let mut job = workshop.plan(&input, &spec)?;
    let inputs = Inputs::opened(&args.from, &spec, &input);
    inputs.check_package(&args.output, &job.record.plan)?;
    let not_added = |difference: Difference, advice: &str| {
        let what = format!("the rung cannot be added to the package in {name}");
        Err(Problem::refused(what, advice).because(difference.to_string()))
    };
    if let Some(other) = then.machine_difference(&job.record) {
        let advice = other.advice();
        return not_added(other, advice);
    }
    let Some(plan) = then.plan.with_renditions_of(&job.record.plan) else {
        return again(&workshop, folder, (&then, args));
    };
    let there = folder::package_bytes(&args.output);
    let room = room(spec.single_file);
    job.check_room(&args.output, Room { there, ..room });
    let record = JobRecord {
        plan: plan.clone(),
        ..job.record.clone()
    };
    let other = then
        .source_difference(&job.record)
        .or_else(|| record.difference(&job.record));
    if let Some(difference) = other {
        return not_added(
            difference,
            "give the same source and the FFmpeg that the package was made with, or another folder",
        );
    }
    if !folder.is_finished(&then.plan)? {
        return Err(Problem::refused(
            format!("the package in {name} is not finished"),
            "finish it first with `rungs resume`, then add to it",
        ));
    }
    let output = folder.extend(&record)?;
    workshop.make(&record.plan_on(&job.record.plan), &job, output)
}

/// The package has all rungs that are to be added, or is to have them: there may still be something left to make.
fn again(
    workshop: &Workshop,
    folder: JobFolder,
    (then, args): (&JobRecord, &PackageArgs),
) -> Result<(), Problem> {
    let input = open(args, workshop)?;
    let mut job: Job = workshop.plan(&input, &then.spec)?;
    let there = folder::package_bytes(folder.root());
    let room = room(then.spec.single_file);
    job.check_room(folder.root(), Room { there, ..room });
    workshop.go_on(folder, then, &job)
}

/// The rungs that were given, with the quality and the speed that were given; in a package of several codecs with its own quality, for which
/// there is no one number.
fn rungs(args: &PackageArgs, then: &Spec) -> Vec<Rung> {
    let spec = args.making.spec();
    let crf = match then.codecs[..] {
        [codec] => Some(spec.crf_of(codec)),
        _ => spec.crf,
    };
    let whole = |rung: &Rung| Rung {
        crf: rung.crf.or(crf),
        speed: rung.speed.or(Some(spec.speed)),
        rate: rung
            .rate
            .or((spec.rate != Rate::Quality).then_some(spec.rate)),
        ..*rung
    };
    spec.rungs.iter().map(whole).collect()
}

/// Refuses settings that were given and are not those of the package: all renditions share them.
fn same_settings(args: &PackageArgs, then: &Spec) -> Result<(), Problem> {
    let now = args.spec();
    let others = [
        (
            "--segment",
            args.making
                .segment
                .is_some_and(|seconds| (seconds - then.segment_seconds).abs() > f64::EPSILON),
        ),
        (
            "--gop",
            args.making.gop.is_some() && now.gop_seconds != then.gop_seconds,
        ),
        (
            "--audio",
            args.making.audio.is_some() && now.audio != then.audio,
        ),
        (
            "--subtitles",
            args.making.subtitles.is_some() && now.subtitles != then.subtitles,
        ),
        (
            "--loudness",
            args.making.sound.loudness.is_some() && now.sound.loudness != then.sound.loudness,
        ),
        (
            "--downmix",
            args.making.sound.downmix.is_some() && now.sound.downmix != then.sound.downmix,
        ),
        (
            "--audio-tracks",
            args.making.sound.audio_tracks.is_some() && now.sound.tracks != then.sound.tracks,
        ),
        (
            "--codec",
            !args.making.codec.is_empty() && now.codecs != then.codecs,
        ),
        (
            "--quality",
            then.codecs.len() > 1 && now.quality != then.quality,
        ),
        (
            "--encoder",
            args.making.encoder.is_some() && now.encoder != then.encoder,
        ),
        (
            "--start or --end",
            !now.cut.is_whole() && now.cut != then.cut,
        ),
    ];
    let other = others.iter().find(|(_, other)| *other);
    let picture = now.picture.given_unlike(&then.picture);
    let shape = other_shape(args, (&now, then));
    match other.map(|(option, _)| *option).or(picture).or(shape) {
        None => Ok(()),
        Some(option) => Err(Problem::refused(
            format!("the package was made with another {option}"),
            format!("leave {option} out: what is added takes it from the package"),
        )),
    }
}

/// The first option about the shape of the package and its images that was given and is not the package's.
fn other_shape(args: &PackageArgs, (now, then): (&Spec, &Spec)) -> Option<&'static str> {
    let (stills, was) = (&now.stills, &then.stills);
    if args.single_file && !then.single_file {
        Some("--single-file")
    } else if stills.storyboard.is_some() && stills.storyboard != was.storyboard {
        Some("--storyboard")
    } else if stills.poster.is_some() && stills.poster != was.poster {
        Some("--poster")
    } else {
        None
    }
}
