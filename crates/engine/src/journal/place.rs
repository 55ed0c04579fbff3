//! A made package of segments in, one file for each rendition out, and back again.
//!
//! Each file is written under a temporary name, flushed, renamed; then the lists that name it; then the journal says that all is in place; and only then the parts go. So
//! a run that is ended anywhere leaves parts from which the next one writes the same files.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rungs_package::Digest;
use rungs_package::output::{Directory, Disk, OutputError, StoredSegment};
use rungs_package::single::SingleFile;
use rungs_package::single_name;
use rungs_package::tree::Tree;

use super::database::{self, Database, Phase, Rows};
use super::folder::{JobFolder, REPORT, TOP, read_record, segment_files, segment_path, tracks};
use super::shelf::{PARTS, Shelf, prefix};
use super::{JOURNAL, JournalError, LOCK, PRIVATE, RECORD};
use crate::cancel::Cancel;
use crate::event::Event;
use crate::plan::Plan;

/// The folder of files that are being written, below the job's own.
const TEMPORARY: &str = "tmp";

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
        let parts = Shelf::making(&root, plan);
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
        let (disk, tree) = directory.disk();
        Sweep { disk, tree }.parts(plan, &rows.segments)
    }

    /// Removes parts that a run left which ended after all was in place.
    pub fn clear_parts(self, plan: &Plan) -> Result<(), JournalError> {
        let (root, mut disk, _lock) = self.into_parts();
        let tree = &Tree::open(&root).map_err(unreadable(&root))?;
        if !plan.single_file || !tree.is_folder(PARTS) {
            return Ok(());
        }
        let rows = Database::open(&root.join(JOURNAL))?.rows()?;
        let disk = &mut disk;
        Sweep { disk, tree }.parts(plan, &rows.segments)
    }

    /// Removes a job with all that it has written into its folder, and the folder. `aside` names files at its top that are the job's
    /// besides. Files of others stay, and so do the folders that they are in. The plan, which says what is the job's, goes last.
    ///
    /// A job that was removed in part can be removed again.
    pub fn remove(self, aside: &[String]) -> Result<(), JournalError> {
        let (root, mut disk, _lock) = self.into_parts();
        let tree = &Tree::open(&root).map_err(unreadable(&root))?;
        let mut sweep = Sweep {
            disk: &mut disk,
            tree,
        };
        if let Some(record) = read_record(&root)? {
            sweep.package(Path::new(""), &record.plan, &[])?;
        }
        for name in aside {
            sweep.file(Path::new(name))?;
        }
        sweep.temporary_files()?;
        for name in database::files(JOURNAL) {
            sweep.file(Path::new(&name))?;
        }
        // The claim lasts as long as anything is left that it protects.
        for name in [RECORD, LOCK] {
            sweep.file(Path::new(name))?;
        }
        sweep.folder(Path::new(PRIVATE))?;
        match disk.remove_folder((&root).into()) {
            Err(error) if !is_absent(&error) && !is_filled(&error) => {
                Err(unremovable(&root)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Removes what is known to be the job's.
struct Sweep<'a, D: Disk> {
    disk: &'a mut D,
    tree: &'a Tree,
}

impl<D: Disk> Sweep<'_, D> {
    /// Removes the parts of single files that are in place.
    fn parts(&mut self, plan: &Plan, rows: &[StoredSegment]) -> Result<(), JournalError> {
        let parts = Path::new(prefix(plan));
        self.package(parts, plan, rows)?;
        self.folder(parts)
    }

    /// Removes the files of a plan's package that lies in a folder, and the folders of its tracks.
    fn package(
        &mut self,
        folder: &Path,
        plan: &Plan,
        rows: &[StoredSegment],
    ) -> Result<(), JournalError> {
        let tracks = tracks(plan);
        let mut files: BTreeSet<String> = rows.iter().map(segment_path).collect();
        files.extend(segment_files(self.tree.path(), plan)?);
        files.extend(TOP.into_iter().chain([REPORT]).map(str::to_owned));
        for track in &tracks {
            let names = ["playlist.m3u8", "iframes.m3u8", "init.mp4"];
            files.extend(names.map(|name| format!("{track}/{name}")));
        }
        let folders: BTreeSet<&Path> = files
            .iter()
            .flat_map(|file| Path::new(file).ancestors().skip(1))
            .filter(|folder| !folder.as_os_str().is_empty())
            .collect();
        for file in &files {
            self.file(&folder.join(file))?;
        }
        // Those below come first.
        folders
            .into_iter()
            .rev()
            .try_for_each(|below| self.folder(&folder.join(below)))
    }

    /// Removes files that were being written, and their folder.
    fn temporary_files(&mut self) -> Result<(), JournalError> {
        let folder = Path::new(PRIVATE).join(TEMPORARY);
        // What a link leads to is somebody else's.
        if !self.tree.is_folder(&folder) {
            return Ok(());
        }
        let listed = self.tree.list(&folder).map_err(unreadable(&folder))?;
        for name in listed.into_iter().map(|entry| entry.name) {
            let number = name.to_str().and_then(|name| name.strip_suffix(".tmp"));
            if number.is_some_and(|number| number.parse::<u64>().is_ok()) {
                self.file(&folder.join(name))?;
            }
        }
        self.folder(&folder)
    }

    /// Removes a file, if it is there.
    fn file(&mut self, path: &Path) -> Result<(), JournalError> {
        match self.disk.remove(self.tree.at(path)) {
            Err(error) if !is_absent(&error) => {
                Err(unremovable(&self.tree.path().join(path))(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a folder, if it is there and empty.
    fn folder(&mut self, path: &Path) -> Result<(), JournalError> {
        match self.disk.remove_folder(self.tree.at(path)) {
            Err(error) if !is_absent(&error) && !is_filled(&error) => {
                Err(unremovable(&self.tree.path().join(path))(error))
            }
            _ => Ok(()),
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn is_filled(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::DirectoryNotEmpty
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Read { path, source }
}

fn unremovable(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| {
        JournalError::Output(OutputError {
            path,
            operation: "remove",
            source,
        })
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

fn interrupted(error: OutputError, cancel: &Cancel) -> JournalError {
    if cancel.is_cancelled() {
        JournalError::Interrupted
    } else {
        error.into()
    }
}

/// What a single file has of a segment.
fn part(parts: &Shelf, single: &SingleFile, segment: &StoredSegment) -> io::Result<Vec<u8>> {
    let damaged = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "a part is not what the journal says",
        )
    };
    let mut bytes = parts.bytes(&segment_path(segment))?;
    let piece = single.pieces.get(&segment.index).ok_or_else(damaged)?;
    if Digest::of(&bytes) != segment.sha256 || !bytes.starts_with(&piece.front) {
        return Err(damaged());
    }
    Ok(bytes.split_off(piece.front.len()))
}

/// Copies a small file from the parts to its place.
fn copy<D: Disk>(
    directory: &mut Directory<D>,
    parts: &Shelf,
    file: &str,
) -> Result<(), JournalError> {
    let bytes = parts.bytes(file).map_err(unreadable(&parts.path(file)))?;
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
