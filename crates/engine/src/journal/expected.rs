//! Plan and journal in, the files that follow from them out: all of a package but its segments and its report.

use std::collections::BTreeMap;

use rungs_package::PackageError;
use rungs_package::hls::without_captions;
use rungs_package::output::Memory;

use super::database::{Phase, Rows};
use crate::done::Done;
use crate::engine::open_package;
use crate::error::Error;
use crate::plan::Plan;

const MASTER: &str = "master.m3u8";

/// The files by path, relative to the package.
pub(super) type Expected = BTreeMap<String, Vec<u8>>;

/// Packages the journalled segments in memory, without their bytes: as they are so far, or to the end if the journal says that the
/// end was reached. If it was not, that comes with the files.
pub(super) fn expected(
    plan: &Plan,
    rows: &Rows,
) -> Result<(Expected, Option<PackageError>), Error> {
    let facts = Rows {
        // The packager that finished was an open one.
        phase: Phase::Open,
        ..rows.clone()
    };
    let done = Done::new(plan, &facts.facts());
    let files = Memory::new();
    let (mut packager, _) = open_package(plan, Box::new(files.clone()), &done)?;
    packager.start()?;
    let mut unfinished = None;
    if rows.phase == Phase::Finished {
        unfinished = packager.finish().err();
    }
    Ok((files.files(), unfinished))
}

/// Tells whether a file of a package is what follows from plan and journal, or what followed from them for earlier versions of this
/// program.
pub(super) fn is_due(path: &str, due: &[u8], found: &[u8]) -> bool {
    found == due || path == MASTER && earlier_master(due).is_some_and(|earlier| found == earlier)
}

fn earlier_master(due: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(due).ok()?;
    Some(without_captions(text).into_bytes())
}
