//! The journal as `SQLite` keeps it: a row for each stored segment, a row for each known span.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rungs_package::output::{Fact, StoredSegment, StoredSpan};
use rungs_package::tree::{Kind, Tree};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params};

use super::{JOURNAL, JournalError};

/// Version of the tables, in the database's `user_version`.
const VERSION: u32 = 3;
/// The version before, whose segments had no `last_sample`.
const BEFORE_LAST_SAMPLES: u32 = 2;
/// Marks the file as ours, in the database's `application_id`: "rung".
const APPLICATION: u32 = 0x7275_6e67;

const TABLES: &str = "
    CREATE TABLE segments (
        track TEXT NOT NULL, place INTEGER NOT NULL, decode_time INTEGER NOT NULL, duration INTEGER NOT NULL,
        samples INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, key_end INTEGER,
        last_sample INTEGER,
        PRIMARY KEY (track, place)
    ) WITHOUT ROWID;
    CREATE TABLE spans (
        place INTEGER PRIMARY KEY, start INTEGER NOT NULL, finish INTEGER NOT NULL, frames INTEGER NOT NULL,
        held INTEGER NOT NULL, is_last INTEGER NOT NULL
    );
    CREATE TABLE phase (name TEXT NOT NULL);
";

/// How far a package is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Segments are missing.
    Open,
    /// Playlists may have their end.
    Closing,
    /// All is written; of a package of single files, all parts.
    Finished,
    /// The parts of a package of single files are put together.
    Placed,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Finished => "finished",
            Self::Placed => "placed",
        }
    }
}

/// The open journal. Every change is durable when its call returns.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
    /// Version of the tables as they are.
    version: u32,
}

/// All rows.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) segments: Vec<StoredSegment>,
    pub(super) spans: Vec<StoredSpan>,
    pub(super) phase: Phase,
}

impl Database {
    /// Makes an empty journal where there is none.
    pub(super) fn create(path: &Path) -> Result<Self, JournalError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut database = Self::open_with(path, flags)?;
        database.set_up().map_err(|error| failed(path, error))?;
        Ok(database)
    }

    /// Opens the journal of an earlier run, and takes back what that run had only half written.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        if !path.is_file() {
            return Err(JournalError::Missing {
                path: path.to_owned(),
            });
        }
        // Where the file may not be written, `SQLite` opens it for reading by itself.
        let mut database = Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let damaged = |error| failed(path, error);
        let version = database.version().map_err(damaged)?;
        match version {
            // A run ended after the file was made and before the tables were.
            (0, 0) if database.is_empty().map_err(damaged)? => {
                database.set_up().map_err(damaged)?;
            }
            (APPLICATION, found @ (VERSION | BEFORE_LAST_SAMPLES)) => database.version = found,
            (APPLICATION, found) => {
                return Err(JournalError::Version {
                    path: path.to_owned(),
                    found,
                    known: VERSION,
                });
            }
            _ => return Err(failed(path, rusqlite::Error::InvalidQuery)),
        }
        Ok(database)
    }

    fn open_with(path: &Path, flags: OpenFlags) -> Result<Self, JournalError> {
        let plain = plain_files(path).map_err(|source| JournalError::Read {
            path: path.to_owned(),
            source,
        })?;
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connect = || {
            let connection = Connection::open_with_flags(&plain, flags)?;
            // The file may be anybody's: what it declares besides tables is not run.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
            // One process at a time works here, so nothing is shared; the rollback journal is emptied, not removed.
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            connection.pragma_update(None, "journal_mode", "TRUNCATE")?;
            connection.pragma_update(None, "synchronous", "EXTRA")?;
            Ok(connection)
        };
        Ok(Self {
            connection: connect().map_err(|error| failed(path, error))?,
            path: path.to_owned(),
            version: VERSION,
        })
    }

    fn set_up(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.execute("INSERT INTO phase VALUES (?1)", [Phase::Open.name()])?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()
    }

    fn version(&self) -> rusqlite::Result<(u32, u32)> {
        let number = |name| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, u32>(0))
        };
        Ok((number("application_id")?, number("user_version")?))
    }

    fn is_empty(&self) -> rusqlite::Result<bool> {
        let count = "SELECT count(*) FROM sqlite_master";
        let tables: u32 = self.connection.query_row(count, [], |row| row.get(0))?;
        Ok(tables == 0)
    }

    /// Reads everything.
    pub(super) fn rows(&self) -> Result<Rows, JournalError> {
        self.read_rows().map_err(|error| failed(&self.path, error))
    }

    fn read_rows(&self) -> rusqlite::Result<Rows> {
        let last_sample = match self.version {
            BEFORE_LAST_SAMPLES => "NULL",
            _ => "last_sample",
        };
        let mut segments = self.connection.prepare(&format!(
            "SELECT track, place, decode_time, duration, samples, bytes, sha256, key_end, {last_sample} \
             FROM segments ORDER BY track, place"
        ))?;
        let segments = segments.query_map([], segment)?.collect::<Result<_, _>>()?;
        let mut spans = self.connection.prepare(
            "SELECT place, start, finish, frames, held, is_last FROM spans ORDER BY place",
        )?;
        let spans = spans.query_map([], span)?.collect::<Result<_, _>>()?;
        let name: String = self
            .connection
            .query_row("SELECT name FROM phase", [], |row| row.get(0))?;
        let phases = [Phase::Open, Phase::Closing, Phase::Finished, Phase::Placed];
        let phase = phases.into_iter().find(|phase| phase.name() == name);
        Ok(Rows {
            segments,
            spans,
            phase: phase.ok_or(rusqlite::Error::InvalidQuery)?,
        })
    }

    /// Adds a segment, and the span that it was made of if that is new.
    pub(super) fn add(
        &mut self,
        span: Option<&StoredSpan>,
        segment: &StoredSegment,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        if self.version == BEFORE_LAST_SAMPLES {
            transaction.execute_batch("ALTER TABLE segments ADD COLUMN last_sample INTEGER")?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        if let Some(span) = span {
            transaction
                .prepare("INSERT OR REPLACE INTO spans VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![
                    span.index,
                    span.start,
                    span.end,
                    span.frames,
                    span.held,
                    span.last
                ])?;
        }
        transaction
            .prepare("INSERT OR REPLACE INTO segments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
            .execute(params![
                segment.track,
                segment.index,
                segment.decode_time.cast_signed(),
                segment.duration.cast_signed(),
                segment.samples,
                segment.bytes.cast_signed(),
                segment.sha256.to_string(),
                segment.key_end.map(u64::cast_signed),
                segment.last_sample.map(u64::cast_signed),
            ])?;
        transaction.commit()?;
        self.version = VERSION;
        Ok(())
    }

    /// Takes segments and spans out, and says how far the package is without them.
    pub(super) fn forget(
        &mut self,
        (segments, spans): (&[StoredSegment], &BTreeSet<u32>),
        phase: Phase,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for span in spans {
            transaction
                .prepare("DELETE FROM spans WHERE place = ?1")?
                .execute([span])?;
        }
        for segment in segments {
            transaction
                .prepare("DELETE FROM segments WHERE track = ?1 AND place = ?2")?
                .execute(params![segment.track, segment.index])?;
        }
        transaction.execute("UPDATE phase SET name = ?1", [phase.name()])?;
        transaction.commit()
    }

    pub(super) fn set_phase(&mut self, phase: Phase) -> rusqlite::Result<()> {
        self.connection
            .execute("UPDATE phase SET name = ?1", [phase.name()])?;
        Ok(())
    }
}

impl Rows {
    /// The rows as those see them who go on with the job.
    pub(super) fn facts(self) -> Vec<Fact> {
        let phase = match self.phase {
            Phase::Open => None,
            Phase::Closing => Some(Fact::Closing),
            Phase::Finished | Phase::Placed => Some(Fact::Finished),
        };
        let spans = self.spans.into_iter().map(Fact::Span);
        let segments = self.segments.into_iter().map(Fact::Segment);
        spans.chain(segments).chain(phase).collect()
    }
}

/// The path of a journal without links in it, after a look at its files: `SQLite` opens them by their names.
fn plain_files(path: &Path) -> io::Result<PathBuf> {
    let above = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
    let root = above(&above(path));
    let tree = Tree::open(&root)?;
    for file in files(JOURNAL) {
        match tree.look(&file) {
            Ok(found) if found.kind == Kind::File && found.links == 1 => {}
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{file} is no file, or has another name elsewhere"),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if names_other_file(&tree)? {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its rollback journal names another file, which none of ours does",
        ));
    }
    Ok(tree.path().canonicalize()?.join(JOURNAL))
}

/// Whether the rollback journal ends with the name of a super-journal, which `SQLite` would remove (<https://www.sqlite.org/fileformat2.html>, 3).
fn names_other_file(tree: &Tree) -> io::Result<bool> {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let [rollback, _] = files(JOURNAL);
    let mut file = match tree.file(rollback) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let mut end = [0; MAGIC.len()];
    if length < end.len() as u64 {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(length - end.len() as u64))?;
    file.read_exact(&mut end)?;
    Ok(end == MAGIC)
}

fn segment(row: &Row<'_>) -> rusqlite::Result<StoredSegment> {
    let sha256: String = row.get(6)?;
    let bad = |error: rungs_package::digest::DigestError| {
        rusqlite::Error::FromSqlConversionFailure(6, rusqlite::types::Type::Text, Box::new(error))
    };
    Ok(StoredSegment {
        track: row.get(0)?,
        index: row.get(1)?,
        decode_time: row.get::<_, i64>(2)?.cast_unsigned(),
        duration: row.get::<_, i64>(3)?.cast_unsigned(),
        samples: row.get(4)?,
        bytes: row.get::<_, i64>(5)?.cast_unsigned(),
        sha256: sha256.parse().map_err(bad)?,
        key_end: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
        last_sample: row.get::<_, Option<i64>>(8)?.map(i64::cast_unsigned),
    })
}

fn span(row: &Row<'_>) -> rusqlite::Result<StoredSpan> {
    Ok(StoredSpan {
        index: row.get(0)?,
        start: row.get(1)?,
        end: row.get(2)?,
        frames: row.get(3)?,
        held: row.get(4)?,
        last: row.get(5)?,
    })
}

fn failed(path: &Path, source: rusqlite::Error) -> JournalError {
    JournalError::Database {
        path: path.to_owned(),
        source,
    }
}

/// The same as an error of the file system, so that a full disk is known as one.
pub(super) fn as_io(error: rusqlite::Error) -> std::io::Error {
    let full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
    if full {
        std::io::Error::new(std::io::ErrorKind::StorageFull, error)
    } else {
        std::io::Error::other(error)
    }
}

/// The files that a journal may consist of.
pub(super) fn files(path: &str) -> [String; 2] {
    [format!("{path}-journal"), path.to_owned()]
}
