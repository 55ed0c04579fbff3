//! `rungs resume`: a package that was begun is finished from its own record.

use std::path::PathBuf;

use rungs_engine::journal::JobFolder;

use crate::args::ResumeArgs;
use crate::failure::Problem;
use crate::workshop::Workshop;

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
    let stored = || PathBuf::from(&then.source.path);
    let input = args.source.clone().unwrap_or_else(stored);
    if !input.is_file() {
        return Err(Problem::refused(
            format!("the source {} is not there", input.display()),
            "say where it is now with --source FILE",
        ));
    }
    let workshop = Workshop::open(&args.machine, args.progress)?;
    let job = workshop.plan(&input, &then.spec)?;
    workshop.go_on(folder, &then, &job)
}
