//! Plain files get their names; a mark tells later runs which of them are in place, and the job's own folder goes.
//!
//! ```text
//! .film.mp4.rungs/film.mp4.part   whole and flushed
//! .film.mp4.rungs-placed          the mark: the job, and the length and digest of each file, before the file has its name
//! film.mp4                        renamed
//! ```
//!
//! The folder goes after the last file is in place, and the mark after the folder. So a run that is killed anywhere is resumed by the
//! same command: a file counts as in place if a mark of the same job has its digest, never because a mark is there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rungs_package::Digest;
use rungs_package::digest::Hasher;
use rungs_package::output::{Disk, System};
use rungs_package::tree::At;
use serde::{Deserialize, Serialize};

use super::Written;
use crate::journal::{JobFolder, JobRecord, JournalError, RECORD_VERSION};

/// Version of the mark's form.
const MARK_VERSION: u32 = 1;
/// Bytes of a mark, at most. It holds one record.
const LONGEST_MARK: u64 = 1 << 26;

/// What is under the name of a plain file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// Nothing.
    Nothing,
    /// The file that an earlier run of this job has put there.
    Placed,
    /// Something else.
    InTheWay,
}

/// A file as it was when it was put into place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    sha256: Digest,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    version: u32,
    record: JobRecord,
    /// By the name of the file.
    files: BTreeMap<String, Entry>,
}

/// Puts the plain files of one job into place.
#[derive(Debug)]
pub struct Placing<D: Disk = System> {
    /// Where the files go.
    folder: PathBuf,
    /// The folder of the job.
    work: PathBuf,
    mark: PathBuf,
    record: JobRecord,
    placed: BTreeMap<String, Entry>,
    disk: D,
}

impl Placing {
    /// Returns the folder in which the job for outputs of this name works, in the folder of the outputs.
    #[must_use]
    pub fn work(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!(".{name}.rungs"))
    }

    /// Returns the mark of the job for outputs of this name, in the folder of the outputs.
    #[must_use]
    pub fn mark(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!(".{name}.rungs-placed"))
    }
}

impl<D: Disk> Placing<D> {
    /// Reads what an earlier run has left. A mark of another job says nothing about this one.
    pub fn read((folder, name): (&Path, &str), record: &JobRecord, disk: D) -> io::Result<Self> {
        let mark = Placing::mark(folder, name);
        let earlier = read_mark(&mark)?.filter(|mark| mark.record.difference(record).is_none());
        Ok(Self {
            folder: folder.to_owned(),
            work: Placing::work(folder, name),
            mark,
            record: record.clone(),
            placed: earlier.map_or_else(BTreeMap::new, |mark| mark.files),
            disk,
        })
    }

    /// Tells what is under the name of a file. Blocks while the file is read, if a mark names it.
    pub fn stands(&self, file: &str) -> io::Result<Stands> {
        let path = self.folder.join(file);
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stands::Nothing),
            found => found?,
        };
        let entry = self.placed.get(file);
        let entry = entry.filter(|entry| found.is_file() && found.len() == entry.bytes);
        match entry {
            Some(entry) if digest(&path)? == entry.sha256 => Ok(Stands::Placed),
            _ => Ok(Stands::InTheWay),
        }
    }

    /// Returns where a file is to be written before it is put into place.
    #[must_use]
    pub fn part(&self, file: &str) -> PathBuf {
        self.work.join(format!("{file}.part"))
    }

    /// Returns the way to the disk, for writing parts.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Gives a part its name, in place of what has that name. It has to be whole and flushed.
    pub fn place(&mut self, file: &str, written: &Written) -> io::Result<()> {
        let entry = Entry {
            bytes: written.bytes,
            sha256: written.sha256,
        };
        self.placed.insert(file.to_owned(), entry);
        self.write_mark()?;
        self.disk
            .rename((&self.part(file)).into(), (&self.folder.join(file)).into())?;
        self.disk.flush_folder((&self.folder).into())
    }

    fn write_mark(&mut self) -> io::Result<()> {
        let mark = Mark {
            version: MARK_VERSION,
            record: self.record.clone(),
            files: self.placed.clone(),
        };
        let text = serde_json::to_vec_pretty(&mark)?;
        let aside = self.work.join(MARK_PART);
        remove(&mut self.disk, &aside)?;
        let (aside, mark) = (At::from(&aside), At::from(&self.mark));
        self.disk.write(aside, &text)?;
        self.disk.flush(aside)?;
        self.disk.rename(aside, mark)?;
        self.disk.flush_folder((&self.folder).into())
    }

    /// Removes the folder of the job and then the mark, when all these files are in place.
    pub fn finish(mut self, claim: JobFolder<D>, files: &[String]) -> Result<(), JournalError> {
        let parts = files
            .iter()
            .flat_map(|file| [format!("{file}.part"), format!("{file}.part.mp4")]);
        let aside: Vec<String> = parts.chain([MARK_PART.to_owned()]).collect();
        claim.remove(&aside)?;
        let removed = self
            .disk
            .flush_folder((&self.folder).into())
            .and_then(|()| remove(&mut self.disk, &self.mark));
        removed.map_err(|source| JournalError::Read {
            path: self.mark,
            source,
        })
    }
}

/// The mark while it is written, in the folder of the job. No output can have this name: theirs end with that of a container.
const MARK_PART: &str = "placed.part";

/// Removes a file, if it is there.
pub(super) fn remove(disk: &mut dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path.into()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Reads a mark. One that is not there, damaged, or of a later version says nothing.
fn read_mark(path: &Path) -> io::Result<Option<Mark>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(None),
    }
    let mut text = Vec::new();
    File::open(path)?
        .take(LONGEST_MARK)
        .read_to_end(&mut text)?;
    let mark: Option<Mark> = serde_json::from_slice(&text).ok();
    Ok(mark.filter(|mark| mark.version == MARK_VERSION && mark.record.version == RECORD_VERSION))
}

/// Takes the digest of a file.
pub(super) fn digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.add(&buffer[..read]),
        }
    }
}
