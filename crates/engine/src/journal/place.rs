//! A made package of segments in, one file for each rendition out, and back again.
//!
//! Each file is written under a temporary name, flushed, renamed; then the lists that name it; then the journal says that all is in place; and only then the parts go. So
//! a run that is ended anywhere leaves parts from which the next one writes the same files.

use std::fs;
use std::io;
use std::path::Path;

use rungs_package::Digest;
use rungs_package::output::{Directory, Disk, StoredSegment};
use rungs_package::single::SingleFile;
use rungs_package::single_name;

use super::database::{Database, Phase, Rows};
use super::folder::{JobFolder, segment_path};
use super::shelf::{PARTS, Shelf, making};
use super::{JOURNAL, JournalError, RECORD};
use crate::cancel::Cancel;
use crate::event::Event;
use crate::plan::Plan;

const REPORT: &str = "report.json";

impl<D: Disk> JobFolder<D> {
    /// Puts the parts of a package together that [stands](Self::stand) as made. Blocks while all of it is copied; holds a segment at a time.
    /// Tells of each single file that is in place.
    ///
    /// Fails with [`JournalError::Interrupted`] when it was cancelled: the parts are still there then.
    pub fn put_together(
        self,
        plan: &Plan,
        cancel: &Cancel,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), JournalError> {
        let (root, disk, _lock) = self.into_parts();
        let mut database = Database::open(&root.join(JOURNAL))?;
        let rows = database.rows()?;
        let unpackaged = |source: crate::Error| JournalError::Plan {
            path: root.join(RECORD),
            source: Box::new(source),
        };
        let on_disk = Shelf::placed(&root, plan, &rows).map_err(unpackaged)?;
        if let Some(error) = on_disk.unfinished {
            return Err(unpackaged(error.into()));
        }
        let mut directory = Directory::create_on(&root, disk)?;
        let parts = making(&root, plan);
        let end = rows.spans.iter().map(|span| span.end).max();
        let seconds = plan.grid.timescale().seconds(end.unwrap_or(0));
        for (track, single) in &on_disk.singles {
            let segments = rows.segments.iter();
            let mut segments = segments.filter(|segment| segment.track == *track);
            let mut head = Some(single.head.clone());
            let mut next = || -> io::Result<Option<Vec<u8>>> {
                if cancel.is_cancelled() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                if let Some(head) = head.take() {
                    return Ok(Some(head));
                }
                let segment = segments.next();
                segment.map(|one| part(&parts, single, one)).transpose()
            };
            let name = single_name(track);
            let stored = directory.store_pieces(&name, &mut next);
            stored.map_err(|error| interrupted(error, cancel))?;
            tell(Event::Written {
                file: root.join(name).display().to_string(),
                bytes: single.bytes(),
                seconds,
            });
        }
        let whole = |segment: &&StoredSegment| !on_disk.singles.contains_key(&segment.track);
        for segment in rows.segments.iter().filter(whole) {
            copy(&mut directory, &parts, &segment_path(segment))?;
        }
        copy(&mut directory, &parts, REPORT)?;
        // Those at the top name the others.
        let (below, top): (Vec<_>, Vec<_>) = on_disk
            .lists
            .iter()
            .partition(|(path, _)| path.contains('/'));
        for (path, bytes) in below.into_iter().chain(top) {
            directory.store(path, bytes)?;
        }
        set_phase(&mut database, &root, Phase::Placed)?;
        clear(&root)
    }

    /// Removes parts that a run left which ended after all was in place.
    pub fn clear_parts(&self) -> Result<(), JournalError> {
        clear(self.root())
    }
}

fn clear(root: &Path) -> Result<(), JournalError> {
    let path = root.join(PARTS);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(JournalError::Read {
            path,
            source: error,
        }),
        _ => Ok(()),
    }
}

fn set_phase(database: &mut Database, root: &Path, phase: Phase) -> Result<(), JournalError> {
    database
        .set_phase(phase)
        .map_err(|source| JournalError::Database {
            path: root.join(JOURNAL),
            source,
        })
}

fn interrupted(error: rungs_package::output::OutputError, cancel: &Cancel) -> JournalError {
    if cancel.is_cancelled() {
        JournalError::Interrupted
    } else {
        error.into()
    }
}

/// What a single file has of a segment.
fn part(parts: &Path, single: &SingleFile, segment: &StoredSegment) -> io::Result<Vec<u8>> {
    let damaged = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "a part is not what the journal says",
        )
    };
    let mut bytes = fs::read(parts.join(segment_path(segment)))?;
    let piece = single.pieces.get(&segment.index).ok_or_else(damaged)?;
    if Digest::of(&bytes) != segment.sha256 || !bytes.starts_with(&piece.front) {
        return Err(damaged());
    }
    Ok(bytes.split_off(piece.front.len()))
}

/// Copies a small file from the parts to its place.
fn copy<D: Disk>(
    directory: &mut Directory<D>,
    parts: &Path,
    file: &str,
) -> Result<(), JournalError> {
    let path = parts.join(file);
    let bytes = fs::read(&path).map_err(|source| JournalError::Read { path, source })?;
    Ok(directory.store(file, &bytes)?)
}

/// Makes parts again of a package that was put together, as far as it is whole, so that what is missing can be made besides. What is in place stays
/// there.
pub(super) fn take_apart<D: Disk>(
    directory: &mut Directory<D>,
    (plan, rows): (&Plan, &Rows),
    database: &mut Database,
) -> Result<(), JournalError> {
    let root = directory.root().to_owned();
    let on_disk = Shelf::of(&root, plan, rows).map_err(|source| JournalError::Plan {
        path: root.join(RECORD),
        source: Box::new(source),
    })?;
    for segment in &rows.segments {
        let Ok(bytes) = on_disk.read(segment) else {
            continue;
        };
        if Digest::of(&bytes) == segment.sha256 {
            let path = format!("{PARTS}/{}", segment_path(segment));
            directory.store(&path, &bytes)?;
        }
    }
    set_phase(database, &root, Phase::Closing)
}
