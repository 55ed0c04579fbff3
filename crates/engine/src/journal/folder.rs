//! A claim on an output folder in, an output out that keeps what it stores: for a new job, or for one that goes on.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rungs_package::output::{
    Directory, Disk, Fact, Item, Output, OutputError, StoredSegment, StoredSpan, System,
};
use rungs_package::tree::{Kind, Tree};
use rungs_package::{is_still, parse_segment_path, single_name};

use super::belongings::{Belongings, proves_itself};
use super::check::disagreeing;
use super::database::{self, Database, Phase, Rows, as_io};
use super::expected::expected;
use super::lock::Lock;
use super::names::Names;
use super::place::take_apart;
use super::record::{JobRecord, RECORD_VERSION};
use super::shelf::{Shelf, prefix};
use super::{JOURNAL, JournalError, RECORD};
use crate::done::{Done, sound_track_name, text_track_name, video_track_name};
use crate::plan::Plan;

/// Files that name others in a package, beside the tracks' playlists, in the order in which they go.
pub(super) const TOP: [&str; 4] = [
    "master.m3u8",
    "manifest.mpd",
    "storyboard/images.m3u8",
    "storyboard/thumbnails.vtt",
];
/// What the paths of thumbnails and their lists begin with, relative to the package.
pub(super) const STORYBOARD: &str = "storyboard/";
pub(super) const REPORT: &str = "report.json";

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

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Something is left to make.
    Unfinished,
    /// All parts are made, and are to be [put together](JobFolder::put_together).
    Made,
    /// All is done, and all files are what was written.
    Finished,
}

/// A claim on an output folder: as long as it or what it becomes is there, no other process works in the folder.
#[derive(Debug)]
pub struct JobFolder<D: Disk = System> {
    root: PathBuf,
    disk: D,
    lock: Arc<Lock>,
}

impl JobFolder {
    /// Tells whether a job was begun in a folder.
    #[must_use]
    pub fn is_one(root: &Path) -> bool {
        Tree::open(root).is_ok_and(|tree| tree.is_file(RECORD))
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
        let lock = Arc::new(Lock::take(&root)?);
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
        Ok(self.stand(plan)? == Stand::Finished)
    }

    /// Tells how far the job is. Blocks while its files are read, if nothing seems to be left to make.
    pub fn stand(&self, plan: &Plan) -> Result<Stand, JournalError> {
        let rows = open_journal(&self.root, plan)?.rows()?;
        check_rows(&self.root, plan, &rows)?;
        let would_be = match (rows.phase, plan.single_file) {
            (Phase::Finished, false) | (Phase::Placed, true) => Stand::Finished,
            (Phase::Finished, true) => Stand::Made,
            _ => return Ok(Stand::Unfinished),
        };
        let Ok(on_disk) = Shelf::of(&self.root, plan, &rows) else {
            return Ok(Stand::Unfinished);
        };
        if !on_disk.lists_are_whole() || !on_disk.has(REPORT) {
            return Ok(Stand::Unfinished);
        }
        for segment in &rows.segments {
            if !is_whole(&on_disk, segment)? {
                return Ok(Stand::Unfinished);
            }
        }
        if Done::new(plan, &rows.facts()).is_complete() {
            Ok(would_be)
        } else {
            Ok(Stand::Unfinished)
        }
    }

    /// The segments that the journal has, in no order. Their files are taken to be what was written.
    pub fn segments(&self, plan: &Plan) -> Result<Vec<StoredSegment>, JournalError> {
        let rows = open_journal(&self.root, plan)?.rows()?;
        check_rows(&self.root, plan, &rows)?;
        Ok(rows.segments)
    }

    /// Begins a job: writes its record and an empty journal in place of those that are there. The rest of an earlier package has
    /// to be gone.
    ///
    /// Fails when there is a file under a name that the job would write to.
    pub fn begin(self, record: &JobRecord) -> Result<JobOutput<D>, JournalError> {
        // What is not whole yet of the record is all that a run of before may have left.
        Belongings::of(&self.root)?.check_free(&Names::of(&record.plan))?;
        let mut directory = Directory::create_on(&self.root, self.disk)?;
        for file in database::files(JOURNAL) {
            directory.remove(&file)?;
        }
        write_record(&mut directory, record)?;
        let database = Database::create(&self.root.join(JOURNAL))?;
        Ok(JobOutput {
            directory,
            prefix: prefix(&record.plan),
            database,
            span: None,
            known: Vec::new(),
            foreign: BTreeSet::new(),
            lock: self.lock,
        })
    }

    /// Goes on with the job that was begun here. Segments without a row are swept. Rows whose file is not what they say are dropped,
    /// and the lists go that may name it. Blocks while all segments are read.
    pub fn resume(self, plan: &Plan) -> Result<JobOutput<D>, JournalError> {
        let mut output = self.resume_as((plan, plan))?;
        // A run may have ended when its record had become that of a larger job, and before the journal knew.
        if !Done::new(plan, &output.known).is_complete() {
            output.reopen()?;
        }
        Ok(output)
    }

    /// The same, where the files that were put together are those of the plan `then`.
    fn resume_as(self, (then, plan): (&Plan, &Plan)) -> Result<JobOutput<D>, JournalError> {
        let mut database = open_journal(&self.root, plan)?;
        let mut directory = Directory::create_on(&self.root, self.disk)?;
        let rows = database.rows()?;
        check_rows(&self.root, plan, &rows)?;
        if rows.phase == Phase::Placed {
            take_apart(&mut directory, (then, &rows), &mut database)?;
        }
        let rows = database.rows()?;
        let on_disk = Shelf::making(&self.root, plan);
        let mut bad = disagreeing(&rows);
        let spans: BTreeSet<u32> = bad.iter().map(|segment| segment.index).collect();
        for segment in &rows.segments {
            if !bad.contains(segment) && !is_whole(&on_disk, segment)? {
                bad.push(segment.clone());
            }
        }
        if !bad.is_empty() {
            let phase = withdraw(&mut directory, (plan, &rows), &bad)?;
            // While there are rows that name them: without, they would be nobody's.
            for segment in &bad {
                directory.remove(&format!("{}{}", prefix(plan), segment_path(segment)))?;
            }
            database
                .forget((&bad, &spans), phase)
                .map_err(|source| JournalError::Database {
                    path: self.root.join(JOURNAL),
                    source,
                })?;
        }
        let rows = database.rows()?;
        let foreign = sweep(&mut directory, plan, &rows)?;
        Ok(JobOutput {
            directory,
            prefix: prefix(plan),
            database,
            span: None,
            known: rows.facts(),
            foreign,
            lock: self.lock,
        })
    }

    /// Goes on with a finished job that becomes a larger one: `record` holds all of its renditions and more. Until that is
    /// finished too, playlists stay as they are.
    pub fn extend(self, record: &JobRecord) -> Result<JobOutput<D>, JournalError> {
        let then = self.record()?.map(|then| then.plan);
        let then = then.as_ref().unwrap_or(&record.plan);
        Belongings::of(&self.root)?.check_free(&Names::of(&record.plan))?;
        self.resume_as((then, &record.plan))?.extended(record)
    }

    /// Takes it apart; the claim ends with the lock.
    pub(super) fn into_parts(self) -> (PathBuf, D, Arc<Lock>) {
        (self.root, self.disk, self.lock)
    }
}

fn is_whole(on_disk: &Shelf, segment: &StoredSegment) -> Result<bool, JournalError> {
    on_disk
        .is_whole(segment)
        .map_err(|source| JournalError::Read {
            path: on_disk.path(&on_disk.file(segment)),
            source,
        })
}

/// Bytes of a record that are read: more than any plan takes.
const LONGEST_RECORD: u64 = 256 << 20;

pub(super) fn read_record(root: &Path) -> Result<Option<JobRecord>, JournalError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let path = root.join(RECORD);
    let read = || -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let file = Tree::open(root)?.file(RECORD)?;
        file.take(LONGEST_RECORD).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = match read() {
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
    let record: JobRecord = record.map_err(|source| JournalError::Record {
        path: path.clone(),
        source,
    })?;
    record
        .check()
        .map_err(|source| JournalError::Unfit { path, source })?;
    Ok(Some(record))
}

/// Refuses rows that no job with this plan has.
pub(super) fn check_rows(root: &Path, plan: &Plan, rows: &Rows) -> Result<(), JournalError> {
    rows.check(plan).map_err(|source| JournalError::Unfit {
        path: root.join(JOURNAL),
        source,
    })
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

/// Takes away the lists that name something bad, and tells how far the package is without it.
fn withdraw<D: Disk>(
    directory: &mut Directory<D>,
    (plan, rows): (&Plan, &Rows),
    bad: &[StoredSegment],
) -> Result<Phase, JournalError> {
    if !bad.iter().all(|one| is_still(&one.track)) {
        remove_playlists(directory, plan)?;
        return Ok(Phase::Open);
    }
    // Nothing names the poster, and before the end nothing names thumbnails.
    let is_thumbnail = |one: &StoredSegment| segment_path(one).starts_with(STORYBOARD);
    if rows.phase > Phase::Open && bad.iter().any(is_thumbnail) {
        withdraw_thumbnails(directory, (plan, rows))?;
    }
    // Playlists that have an end keep it.
    Ok(rows.phase.min(Phase::Closing))
}

/// Takes away the lists of the thumbnails, after those that name them have been written without.
fn withdraw_thumbnails<D: Disk>(
    directory: &mut Directory<D>,
    (plan, rows): (&Plan, &Rows),
) -> Result<(), JournalError> {
    let mut without = plan.clone();
    without.stills.storyboard = None;
    let finished = Rows {
        phase: Phase::Finished,
        ..rows.clone()
    };
    let (lists, unfinished) =
        expected(&without, &finished).map_err(|source| JournalError::Plan {
            path: directory.root().join(RECORD),
            source: Box::new(source),
        })?;
    let prefix = prefix(plan);
    for name in TOP {
        let path = format!("{prefix}{name}");
        match lists.get(name).filter(|_| unfinished.is_none()) {
            Some(bytes) => directory.store(&path, bytes)?,
            None => directory.remove(&path)?,
        }
    }
    Ok(())
}

fn remove_playlists<D: Disk>(directory: &mut Directory<D>, plan: &Plan) -> Result<(), OutputError> {
    let prefix = prefix(plan);
    for name in TOP {
        directory.remove(&format!("{prefix}{name}"))?;
    }
    for track in tracks(plan) {
        for name in ["playlist.m3u8", "iframes.m3u8"] {
            directory.remove(&format!("{prefix}{track}/{name}"))?;
        }
    }
    Ok(())
}

/// Removes segments without a row that are the job's: a run has ended before it kept their rows. Other files are somebody else's;
/// returns those that have the names of segments.
fn sweep<D: Disk>(
    directory: &mut Directory<D>,
    plan: &Plan,
    rows: &Rows,
) -> Result<BTreeSet<String>, JournalError> {
    let known: BTreeSet<String> = rows.segments.iter().map(segment_path).collect();
    let mut foreign = BTreeSet::new();
    for path in segment_files(directory.root(), plan)? {
        let whole = format!("{}{path}", prefix(plan));
        if known.contains(&path) {
            continue;
        }
        if proves_itself(directory.tree(), &whole) {
            directory.remove(&whole)?;
        } else {
            foreign.insert(path);
        }
    }
    Ok(foreign)
}

/// Lists the files that look like segments of a plan's tracks, relative to the package.
pub(super) fn segment_files(root: &Path, plan: &Plan) -> Result<Vec<String>, JournalError> {
    let mut found = Vec::new();
    let on_disk = Shelf::making(root, plan);
    for track in tracks(plan) {
        let listed = match on_disk.folder().and_then(|folder| folder.list(&track)) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => {
                let path = on_disk.path(&track);
                return Err(JournalError::Read { path, source });
            }
        };
        for entry in listed {
            let path = format!("{track}/{}", entry.name.to_string_lossy());
            let is_file = entry.kind == Kind::File;
            if is_file && parse_segment_path(&path).is_some() {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Opens the journal of a job. A run may have ended before it made one; it had not stored anything then.
fn open_journal(root: &Path, plan: &Plan) -> Result<Database, JournalError> {
    let path = root.join(JOURNAL);
    match Database::open(&path) {
        Err(JournalError::Missing { .. })
            if segment_files(root, plan)?.is_empty() && !has_singles(root, plan) =>
        {
            Database::create(&path)
        }
        result => result,
    }
}

/// Whether some of the files are in place that all segments of a track are put into.
fn has_singles(root: &Path, plan: &Plan) -> bool {
    let mut names = tracks(plan).into_iter().map(|track| single_name(&track));
    let tree = Tree::open(root);
    plan.single_file && tree.is_ok_and(|tree| names.any(|name| tree.is_file(name)))
}

/// The output of a job that can be gone on with: files go into the folder, facts into the journal.
#[derive(Debug)]
pub struct JobOutput<D: Disk = System> {
    directory: Directory<D>,
    /// What the paths of the job's files begin with, relative to the folder.
    prefix: &'static str,
    database: Database,
    /// A span that no row tells of yet.
    span: Option<StoredSpan>,
    known: Vec<Fact>,
    /// Files of others under names of segments, relative to the package.
    foreign: BTreeSet<String>,
    lock: Arc<Lock>,
}

impl JobOutput {
    /// Returns the claim on the folder, for what is to be done there when the output is gone. Nobody else gets the folder in between.
    #[must_use]
    pub fn folder(&self) -> JobFolder {
        JobFolder {
            root: self.root().to_owned(),
            disk: System,
            lock: Arc::clone(&self.lock),
        }
    }
}

impl<D: Disk> JobOutput<D> {
    /// Writes the record anew, with other encoders for a track.
    fn take_over(&mut self, track: &str, by: &str) -> Result<(), OutputError> {
        let failed = |error: JournalError| OutputError {
            path: RECORD.into(),
            operation: "rewrite",
            source: io::Error::other(error),
        };
        let record = read_record(self.directory.root()).map_err(failed)?;
        let Some(mut record) = record else {
            return Ok(());
        };
        record.plan.take_over(track, by);
        write_record(&mut self.directory, &record).map_err(failed)
    }

    /// Returns the folder that the package lies in.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.directory.root()
    }

    fn extended(mut self, record: &JobRecord) -> Result<Self, JournalError> {
        // The record first: a package of the smaller plan that is not finished could not be added to.
        write_record(&mut self.directory, record)?;
        self.reopen()?;
        Ok(self)
    }

    /// Takes back that all is done. Playlists keep their end.
    fn reopen(&mut self) -> Result<(), OutputError> {
        if self.known.contains(&Fact::Finished) {
            self.keep_phase(Phase::Closing)?;
            self.known.retain(|fact| *fact != Fact::Finished);
            self.known.push(Fact::Closing);
        }
        Ok(())
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
        let path = format!("{}{}", self.prefix, item.path);
        // The same bytes are what a run has left that ended before it kept the row.
        let read = |path: &str| self.directory.tree().read(path);
        let is_same = || read(&path).is_ok_and(|found| found == item.bytes);
        if self.foreign.contains(item.path) && !is_same() {
            return Err(OutputError {
                path: self.root().join(path),
                operation: "replace",
                source: io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "it is nothing that rungs is known to have written: move it away",
                ),
            });
        }
        self.directory.put(Item {
            path: &path,
            ..item
        })
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>, OutputError> {
        self.directory.get(&format!("{}{path}", self.prefix))
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
            Fact::TakenOver { track, by } => self.take_over(track, by),
            Fact::Closing => self.keep_phase(Phase::Closing),
            Fact::Finished => self.keep_phase(Phase::Finished),
        }
    }

    fn known(&mut self) -> Result<Vec<Fact>, OutputError> {
        Ok(std::mem::take(&mut self.known))
    }
}
