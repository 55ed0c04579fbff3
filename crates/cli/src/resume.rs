//! `rungs resume`: a package that was begun is finished from its own record.

use rungs_engine::journal::{JobFolder, JobRecord};
use rungs_engine::room::Room;

use crate::args::{InputArgs, ResumeArgs};
use crate::failure::Problem;
use crate::guard::Inputs;
use crate::input::Input;
use crate::workshop::Workshop;
use crate::{folder, package};

pub(crate) fn run(args: &ResumeArgs) -> Result<(), Problem> {
    let name = args.output.display();
    let none = || {
        Problem::refused(
            format!("there is no package in {name} that could be resumed"),
            "give the folder that `rungs package` wrote to with -o; it has a folder .rungs in it",
        )
    };
    if !JobFolder::is_one(&args.output) {
        return Err(none());
    }
    let folder = JobFolder::claim(&args.output)?;
    let then = folder.record()?.ok_or_else(none)?;
    if then.source.identity.is_none() {
        return once(args, &then, folder);
    }
    let from = InputArgs::recorded(&then.source, args.source.clone());
    if args.source.is_none() && from.address().is_some() {
        return elsewhere(args, &then, folder);
    }
    if from.is_file() && !from.input.is_file() {
        return Err(Problem::refused(
            format!("the source {} is not there", from.input.display()),
            "say where it is now with --source FILE",
        ));
    }
    let inputs = Inputs::typed(&from, &then.spec);
    inputs.check_files(&args.machine.trace)?;
    inputs.check_private(&args.output)?;
    let workshop = Workshop::open(&args.machine, args.progress)?;
    let input = Input::open(&from, (&args.output, workshop.cancel()))?;
    let mut job = workshop.plan(&input, &then.spec)?;
    let inputs = Inputs::opened(&from, &then.spec, &input);
    inputs.check_package(&args.output, &then.plan)?;
    let there = folder::package_bytes(&args.output);
    let room = package::room(then.spec.single_file);
    job.check_room(&args.output, Room { there, ..room });
    workshop.go_on(folder, &then, &job)
}

/// The address in the record is of whoever made the folder, who may be another than who resumes it.
fn elsewhere(args: &ResumeArgs, then: &JobRecord, folder: JobFolder) -> Result<(), Problem> {
    let workshop = Workshop::open(&args.machine, args.progress)?;
    match workshop.complete(folder, &then.plan)? {
        None => Ok(()),
        Some(_) => Err(Problem::refused(
            format!(
                "the source is at {}, and no address is asked that is only in the record",
                then.source.path
            ),
            "give the address again with --source",
        )),
    }
}

/// A package whose source came once has all its segments, or never will.
fn once(args: &ResumeArgs, then: &JobRecord, folder: JobFolder) -> Result<(), Problem> {
    let workshop = Workshop::open(&args.machine, args.progress)?;
    match workshop.complete(folder, &then.plan)? {
        None => Ok(()),
        Some(_) => Err(Problem::comes_once(&then.source.path, &args.output)),
    }
}
