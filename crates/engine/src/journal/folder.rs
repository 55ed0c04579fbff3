//! A claim on an output folder in, an output out that keeps what it stores: for a new job, or for one that goes on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rungs_package::Digest;
use rungs_package::digest::Hasher;
use rungs_package::output::{
    Directory, Disk, Fact, Item, Output, OutputError, StoredSegment, StoredSpan, System,
};

use super::database::{self, Database, Phase, Rows, as_io};
use super::expected::expected;
use super::lock::Lock;
use super::record::{JobRecord, RECORD_VERSION};
use super::{JOURNAL, JournalError, RECORD};
use crate::done::{Done, sound_track_name, text_track_name, video_track_name};
use crate::plan::Plan;

/// Files that name others in a package, beside the tracks' playlists, in the order in which they go.
const TOP: [&str; 4] = [
    "master.m3u8",
    "manifest.mpd",
    "storyboard/images.m3u8",
    "storyboard/thumbnails.vtt",
];
const REPORT: &str = "report.json";

/// Tells whether a segment's file is there and has the bytes that its row says.
fn is_whole(root: &Path, segment: &StoredSegment) -> io::Result<bool> {
    let path = root.join(segment_path(segment));
    let length = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(length == segment.bytes && digest(&path)? == segment.sha256)
}

fn digest(path: &Path) -> io::Result<Digest> {
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

/// A segment's file, relative to the package.
pub(super) fn segment_path(segment: &StoredSegment) -> String {
    rungs_package::stored_path(segment)
}

/// The folders of a plan's tracks, relative to the package.
pub(super) fn tracks(plan: &Plan) -> Vec<String> {
    let videos = plan.renditions().iter();
    let videos = videos.map(|rendition| video_track_name(&rendition.name));
    let sound = plan.audio.iter().map(|audio| sound_track_name(&audio.name));
    let text = plan.text.iter().map(|text| text_track_name(&text.name));
    videos.chain(sound).chain(text).collect()
}

/// A claim on an output folder: as long as it or what it becomes is there, no other process works in the folder.
#[derive(Debug)]
pub struct JobFolder<D: Disk = System> {
    root: PathBuf,
    disk: D,
    lock: Lock,
}

impl JobFolder {
    /// Tells whether a job was begun in a folder.
    #[must_use]
    pub fn is_one(root: &Path) -> bool {
        root.join(RECORD).is_file()
    }

    /// Claims a folder, which is made if it does not exist. Does not wait; writes nothing but the lock.
    ///
    /// Fails when another process has it, and says which.
    pub fn claim(root: impl Into<PathBuf>) -> Result<Self, JournalError> {
        Self::claim_on(root, System)
    }
}

impl<D: Disk> JobFolder<D> {
    /// The same with another way to the disk.
    pub fn claim_on(root: impl Into<PathBuf>, disk: D) -> Result<Self, JournalError> {
        let root = root.into();
        let lock = Lock::take(&root)?;
        Ok(Self { root, disk, lock })
    }

    /// Returns the folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads what the job in the folder was begun with; `None` if there is no job.
    pub fn record(&self) -> Result<Option<JobRecord>, JournalError> {
        read_record(&self.root)
    }

    /// Tells whether the job is done and all its files are what was written. Blocks while they are read.
    pub fn is_finished(&self, plan: &Plan) -> Result<bool, JournalError> {
        let rows = open_journal(&self.root, plan)?.rows()?;
        if rows.phase != Phase::Finished {
            return Ok(false);
        }
        let Ok((files, None)) = expected(plan, &rows) else {
            return Ok(false);
        };
        let is_there = |(path, bytes): (&String, &Vec<u8>)| {
            fs::read(self.root.join(path)).is_ok_and(|found| found == *bytes)
        };
        if !files.iter().all(is_there) || !self.root.join(REPORT).is_file() {
            return Ok(false);
        }
        for segment in &rows.segments {
            if !self.is_whole(segment)? {
                return Ok(false);
            }
        }
        Ok(Done::new(plan, &rows.facts()).is_complete())
    }

    /// The segments that the journal has, in no order. Their files are taken to be what was written.
    pub fn segments(&self, plan: &Plan) -> Result<Vec<StoredSegment>, JournalError> {
        Ok(open_journal(&self.root, plan)?.rows()?.segments)
    }

    /// Begins a job: writes its record and an empty journal in place of those that are there. The rest of an earlier package has
    /// to be gone.
    pub fn begin(self, record: &JobRecord) -> Result<JobOutput<D>, JournalError> {
        let mut directory = Directory::create_on(&self.root, self.disk)?;
        for file in database::files(JOURNAL) {
            directory.remove(&file)?;
        }
        write_record(&mut directory, record)?;
        let database = Database::create(&self.root.join(JOURNAL))?;
        Ok(JobOutput {
            directory,
            database,
            span: None,
            known: Vec::new(),
            _lock: self.lock,
        })
    }

    /// Goes on with the job that was begun here. Segments without a row are swept. Rows whose file is not what they say are dropped,
    /// and then the playlists go, which may name it. Blocks while all segments are read.
    pub fn resume(self, plan: &Plan) -> Result<JobOutput<D>, JournalError> {
        let mut database = open_journal(&self.root, plan)?;
        let rows = database.rows()?;
        let mut bad = Vec::new();
        for segment in &rows.segments {
            if !self.is_whole(segment)? {
                bad.push(segment.clone());
            }
        }
        let mut directory = Directory::create_on(&self.root, self.disk)?;
        if !bad.is_empty() {
            remove_playlists(&mut directory, plan)?;
            database
                .forget(&bad)
                .map_err(|source| JournalError::Database {
                    path: self.root.join(JOURNAL),
                    source,
                })?;
        }
        let rows = database.rows()?;
        sweep(&mut directory, plan, &rows)?;
        Ok(JobOutput {
            directory,
            database,
            span: None,
            known: rows.facts(),
            _lock: self.lock,
        })
    }

    /// Goes on with a finished job that becomes a larger one: `record` holds all of its renditions and more. Until that is
    /// finished too, playlists stay as they are.
    pub fn extend(self, record: &JobRecord) -> Result<JobOutput<D>, JournalError> {
        let output = self.resume(&record.plan)?;
        output.extended(record)
    }

    fn is_whole(&self, segment: &StoredSegment) -> Result<bool, JournalError> {
        is_whole(&self.root, segment).map_err(|source| JournalError::Read {
            path: self.root.join(segment_path(segment)),
            source,
        })
    }
}

pub(super) fn read_record(root: &Path) -> Result<Option<JobRecord>, JournalError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let path = root.join(RECORD);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(JournalError::Read { path, source }),
    };
    // The version first: a later form need not be readable otherwise.
    let versioned: Result<Versioned, _> = serde_json::from_slice(&text);
    let record = match versioned {
        Ok(Versioned { version }) if version > RECORD_VERSION => {
            return Err(JournalError::Version {
                path,
                found: version,
                known: RECORD_VERSION,
            });
        }
        Ok(_) => serde_json::from_slice(&text),
        Err(error) => Err(error),
    };
    record
        .map(Some)
        .map_err(|source| JournalError::Record { path, source })
}

fn write_record<D: Disk>(
    directory: &mut Directory<D>,
    record: &JobRecord,
) -> Result<(), JournalError> {
    let text = serde_json::to_vec_pretty(record).map_err(|source| JournalError::Record {
        path: directory.root().join(RECORD),
        source,
    })?;
    Ok(directory.store(RECORD, &text)?)
}

fn remove_playlists<D: Disk>(directory: &mut Directory<D>, plan: &Plan) -> Result<(), OutputError> {
    for name in TOP {
        directory.remove(name)?;
    }
    for track in tracks(plan) {
        for name in ["playlist.m3u8", "iframes.m3u8"] {
            directory.remove(&format!("{track}/{name}"))?;
        }
    }
    Ok(())
}

/// Removes files that look like segments and have no row. Other files are somebody else's.
fn sweep<D: Disk>(
    directory: &mut Directory<D>,
    plan: &Plan,
    rows: &Rows,
) -> Result<(), JournalError> {
    let known: BTreeSet<String> = rows.segments.iter().map(segment_path).collect();
    for path in segment_files(directory.root(), plan)? {
        if !known.contains(&path) {
            directory.remove(&path)?;
        }
    }
    Ok(())
}

/// Lists the files that look like segments of a plan's tracks, relative to the package.
fn segment_files(root: &Path, plan: &Plan) -> Result<Vec<String>, JournalError> {
    let mut found = Vec::new();
    for track in tracks(plan) {
        let folder = root.join(&track);
        let failed = |source| JournalError::Read {
            path: folder.clone(),
            source,
        };
        let listed = match fs::read_dir(&folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        for entry in listed {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            let ends = |end: &str| name.strip_suffix(end).is_some();
            if name.starts_with("seg-") && (ends(".m4s") || ends(".vtt")) || name == "all.vtt" {
                found.push(format!("{track}/{name}"));
            }
        }
    }
    Ok(found)
}

/// Opens the journal of a job. A run may have ended before it made one; it had not stored anything then.
fn open_journal(root: &Path, plan: &Plan) -> Result<Database, JournalError> {
    let path = root.join(JOURNAL);
    match Database::open(&path) {
        Err(JournalError::Missing { .. }) if segment_files(root, plan)?.is_empty() => {
            Database::create(&path)
        }
        result => result,
    }
}

/// The output of a job that can be gone on with: files go into the folder, facts into the journal.
#[derive(Debug)]
pub struct JobOutput<D: Disk = System> {
    directory: Directory<D>,
    database: Database,
    /// A span that no row tells of yet.
    span: Option<StoredSpan>,
    known: Vec<Fact>,
    _lock: Lock,
}

impl<D: Disk> JobOutput<D> {
    /// Returns the folder that the package lies in.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.directory.root()
    }

    fn extended(mut self, record: &JobRecord) -> Result<Self, JournalError> {
        if self.known.contains(&Fact::Finished) {
            self.keep_phase(Phase::Closing)?;
            self.known.retain(|fact| *fact != Fact::Finished);
            self.known.push(Fact::Closing);
        }
        write_record(&mut self.directory, record)?;
        Ok(self)
    }

    fn keep_phase(&mut self, phase: Phase) -> Result<(), OutputError> {
        let kept = self.database.set_phase(phase);
        kept.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: rusqlite::Error) -> OutputError {
        OutputError {
            path: self.directory.root().join(JOURNAL),
            operation: "write to the journal",
            source: as_io(error),
        }
    }
}

impl<D: Disk> Output for JobOutput<D> {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.directory.put(item)
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>, OutputError> {
        self.directory.get(path)
    }

    fn note(&mut self, fact: &Fact) -> Result<(), OutputError> {
        match fact {
            // It is of no use without a segment, so it waits for one: one transaction for both.
            Fact::Span(span) => {
                self.span = Some(*span);
                Ok(())
            }
            Fact::Segment(segment) => {
                let kept = self.database.add(self.span.as_ref(), segment);
                kept.map_err(|error| self.failed(error))?;
                self.span = None;
                Ok(())
            }
            Fact::Closing => self.keep_phase(Phase::Closing),
            Fact::Finished => self.keep_phase(Phase::Finished),
        }
    }

    fn known(&mut self) -> Result<Vec<Fact>, OutputError> {
        Ok(std::mem::take(&mut self.known))
    }
}
