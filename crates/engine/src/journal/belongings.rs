//! A folder in, the files out that a job of ours has provably written there: what may go, and what is somebody else's.
//!
//! Proof is a row of the journal that names the file, or its track, together with a name that the job gives to files; or bytes that
//! are exactly what the job writes under that name. A lock, a folder or a name alone proves nothing.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rungs_package::cmaf::read_segment;
use rungs_package::output::OutputError;
use rungs_package::tree::{Kind, Tree};
use rungs_package::{
    is_still, parse_segment_path, segment_path, single_name, text, track_files, whole_text_name,
};

use super::database::{self, Database, Phase, Rows};
use super::expected::{expected, is_due};
use super::folder::{REPORT, STORYBOARD, TOP, read_record, tracks};
use super::names::Names;
use super::shelf::PARTS;
use super::{JOURNAL, JournalError, PRIVATE, RECORD};
use crate::done::text_track_name;
use crate::plan::Plan;

/// Folder of the files that were not whole yet.
const TEMPORARY: &str = ".rungs/tmp";

/// The files of an earlier job in a folder.
#[derive(Debug)]
pub struct Belongings {
    tree: Option<Tree>,
    /// Lists that name others, relative to the folder.
    lists: BTreeSet<String>,
    /// All others, without the private ones.
    media: BTreeSet<String>,
    bytes: u64,
}

/// What is known of the job in a folder.
struct Evidence {
    plan: Option<Plan>,
    rows: Option<Rows>,
}

impl Evidence {
    /// Reads what can be read. What is damaged proves nothing.
    fn of(root: &Path) -> Self {
        let record = read_record(root).ok().flatten();
        let rows = Database::open(&root.join(JOURNAL)).and_then(|journal| journal.rows());
        Self {
            plan: record.map(|record| record.plan),
            rows: rows.ok(),
        }
    }

    /// The tracks with rows.
    fn proven(&self) -> BTreeSet<&str> {
        let rows = self.rows.iter().flat_map(|rows| &rows.segments);
        rows.map(|row| row.track.as_str())
            .filter(|track| is_track(track))
            .collect()
    }

    /// All tracks that the job may have.
    fn tracks(&self) -> BTreeSet<String> {
        let planned = self.plan.iter().flat_map(|plan| {
            let text = plan.text.iter().map(|text| text_track_name(&text.name));
            let whole = text.map(|track| whole_text_name(&track));
            tracks(plan).into_iter().chain(whole)
        });
        let proven = self.proven().into_iter().map(str::to_owned);
        let all = planned.filter(|track| is_track(track)).chain(proven);
        let stills = self.plan.iter().flat_map(|plan| {
            let board = plan.stills.storyboard.map(|_| "storyboard".to_owned());
            board
                .into_iter()
                .chain(plan.stills.poster.map(|_| "poster".to_owned()))
        });
        all.chain(stills).collect()
    }

    fn is_single(&self) -> bool {
        let placed = |rows: &Rows| rows.phase == Phase::Placed;
        self.plan.as_ref().is_some_and(|plan| plan.single_file)
            || self.rows.as_ref().is_some_and(placed)
    }

    /// The names that follow from rows.
    fn named(&self) -> BTreeSet<String> {
        let mut named = BTreeSet::new();
        let proven = self.proven();
        if proven.is_empty() {
            return named;
        }
        let is_board = |name: &&str| name.starts_with(STORYBOARD);
        named.insert(REPORT.to_owned());
        let has_board = proven.contains("storyboard");
        let top = TOP.into_iter().filter(|name| has_board || !is_board(name));
        named.extend(top.map(str::to_owned));
        let folders = |track: &&str| !is_still(track) && !track.ends_with("/all");
        for track in proven.into_iter().filter(folders) {
            named.extend(track_files(track));
            named.insert(single_name(track));
        }
        let rows = self.rows.iter().flat_map(|rows| &rows.segments);
        let rows = rows.filter(|row| is_track(&row.track));
        named.extend(rows.map(|row| segment_path(&row.track, row.index)));
        named
    }
}

/// Whether a job can have a track of this name.
fn is_track(name: &str) -> bool {
    let mut parts = name.split('/');
    let plain = |part: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(fits)
    };
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("video" | "audio" | "text"), Some(track), None, None)
        | (Some("text"), Some(track), Some("all"), None) => plain(track),
        _ => is_still(name),
    }
}

impl Belongings {
    /// Looks for the files of the job in a folder. Blocks while those are read of which nothing else tells whose they are. A folder that
    /// is not there has none.
    pub fn of(root: &Path) -> Result<Self, JournalError> {
        let tree = match Tree::open(root) {
            Ok(tree) => tree,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    tree: None,
                    lists: BTreeSet::new(),
                    media: BTreeSet::new(),
                    bytes: 0,
                });
            }
            Err(error) => return Err(unreadable(root)(error)),
        };
        let mut own = Self {
            tree: None,
            lists: BTreeSet::new(),
            media: BTreeSet::new(),
            bytes: 0,
        };
        let evidence = Evidence::of(root);
        let tracks = evidence.tracks();
        let names = Names::of_tracks(tracks.iter().cloned(), evidence.is_single());
        let with_rows = evidence.named();
        let written = evidence.written();
        for path in files(&tree, &names)? {
            let short = path.strip_prefix(PARTS).map_or(&*path, |part| &part[1..]);
            let is_own = with_rows.contains(short)
                || proves_itself(&tree, &path)
                || written.iter().any(|(name, bytes)| {
                    name == short
                        && tree
                            .read(&path)
                            .is_ok_and(|found| is_due(name, bytes, &found))
                });
            if is_own {
                own.add(&tree, path);
            }
        }
        own.tree = Some(tree);
        Ok(own)
    }

    fn add(&mut self, tree: &Tree, path: String) {
        self.bytes += tree.look(&path).map_or(0, |found| found.bytes);
        let kind = Path::new(&path).extension();
        if kind.is_some_and(|kind| kind == "m3u8" || kind == "mpd") {
            self.lists.insert(path);
        } else {
            self.media.insert(path);
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.media.is_empty()
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The files, relative to the folder.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().chain(&self.media).map(String::as_str)
    }

    /// Refuses a job whose files would take the place of somebody else's: of one that is there, and is not among these.
    pub fn check_free(&self, names: &Names) -> Result<(), JournalError> {
        let Some(tree) = &self.tree else {
            return Ok(());
        };
        let foreign = |path: &str| JournalError::Foreign {
            path: tree.path().join(path),
        };
        for folder in names.above() {
            if tree
                .look(folder)
                .is_ok_and(|found| found.kind != Kind::Folder)
            {
                return Err(foreign(folder));
            }
        }
        let is_own = |path: &String| self.lists.contains(path) || self.media.contains(path);
        match files(tree, names)?.iter().find(|path| !is_own(path)) {
            Some(path) => Err(foreign(path)),
            None => Ok(()),
        }
    }

    /// Removes them and the private files of the job, but for its lock: lists first, so that no reader is led to a file that goes, and the plan
    /// last. Folders go that are empty then. Blocks.
    pub fn remove(self) -> Result<(), JournalError> {
        let Some(tree) = &self.tree else {
            return Ok(());
        };
        let mut folders = BTreeSet::new();
        for path in self.lists.iter().chain(&self.media) {
            remove(tree, path)?;
            let above = Path::new(path).ancestors().skip(1);
            folders.extend(above.map(Path::to_owned));
            if self.lists.last() == Some(path) {
                flush(tree, &folders)?;
            }
        }
        flush(tree, &folders)?;
        let private = [PRIVATE, TEMPORARY].map(Path::new);
        for entry in tree.list(TEMPORARY).unwrap_or_default() {
            let name = entry.name.to_string_lossy();
            let number = name.strip_suffix(".tmp");
            if number.is_some_and(|number| number.parse::<u64>().is_ok()) {
                remove(tree, &format!("{TEMPORARY}/{name}"))?;
            }
        }
        // Those below come first.
        for folder in folders.iter().rev() {
            if !private.contains(&folder.as_path()) && !folder.as_os_str().is_empty() {
                remove_if_empty(tree, folder)?;
            }
        }
        // The journal goes before the plan that it belongs to.
        for path in database::files(JOURNAL).iter().map(String::as_str) {
            remove(tree, path)?;
        }
        remove(tree, RECORD)
    }
}

impl Evidence {
    /// The files that follow from plan and rows, with their bytes.
    fn written(&self) -> Vec<(String, Vec<u8>)> {
        let Some(plan) = &self.plan else {
            return Vec::new();
        };
        let none = Rows {
            segments: Vec::new(),
            spans: Vec::new(),
            phase: Phase::Open,
        };
        let rows = self.rows.as_ref().unwrap_or(&none);
        expected(plan, rows).map_or_else(|_| Vec::new(), |(files, _)| files.into_iter().collect())
    }
}

/// The files that are there under names of a job, in the package and among its parts.
fn files(tree: &Tree, names: &Names) -> Result<Vec<String>, JournalError> {
    let mut found = Vec::new();
    let mut look = |path: String| {
        let is_folder = |path: &str| tree.is_folder(path);
        if names.contain(&path) && tree.look(&path).is_ok() && !is_folder(&path) {
            found.push(path);
        }
    };
    for prefix in [String::new(), format!("{PARTS}/")] {
        for name in names.fixed().chain(["poster.jpg"]) {
            look(format!("{prefix}{name}"));
        }
        for folder in names.folders() {
            let folder = format!("{prefix}{folder}");
            let listed = match tree.list(&folder) {
                Ok(listed) => listed,
                Err(_) if !tree.is_folder(&folder) => continue,
                Err(error) => return Err(unreadable(&tree.path().join(folder))(error)),
            };
            for entry in listed {
                let path = format!("{folder}/{}", entry.name.to_string_lossy());
                if parse_segment_path(path.strip_prefix(&prefix).unwrap_or(&path)).is_some() {
                    look(path);
                }
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Whether a segment without a row is one that the packager made for its place: a run may have ended before it kept the row.
pub(super) fn proves_itself(tree: &Tree, path: &str) -> bool {
    let short = path.strip_prefix(PARTS).map_or(path, |part| &part[1..]);
    let Some((track, index)) = parse_segment_path(short) else {
        return false;
    };
    let Ok(bytes) = tree.read(path) else {
        return false;
    };
    if track.starts_with("text/") {
        return !track.ends_with("/all") && text::is_segment(&bytes);
    }
    let numbered = |number: u32| number == index.saturating_add(1);
    !is_still(&track) && read_segment(&bytes).is_ok_and(|facts| numbered(facts.number))
}

fn remove(tree: &Tree, path: &str) -> Result<(), JournalError> {
    absent_or(tree, Path::new(path), tree.remove(Path::new(path)))
}

fn remove_if_empty(tree: &Tree, folder: &Path) -> Result<(), JournalError> {
    match tree.remove_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => absent_or(tree, folder, result),
    }
}

fn flush(tree: &Tree, folders: &BTreeSet<std::path::PathBuf>) -> Result<(), JournalError> {
    for folder in folders {
        absent_or(tree, folder, tree.flush_folder(folder))?;
    }
    Ok(())
}

fn absent_or(tree: &Tree, path: &Path, result: io::Result<()>) -> Result<(), JournalError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(JournalError::Output(OutputError {
                path: tree.path().join(path),
                operation: "remove",
                source: error,
            }))
        }
        _ => Ok(()),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> JournalError + use<> {
    let path = path.to_owned();
    move |source| JournalError::Read { path, source }
}
