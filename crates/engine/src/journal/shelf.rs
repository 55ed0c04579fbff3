//! Plan and journal in, where the files of a package lie out, and what those should hold that follow from plan and journal alone.
//!
//! A package of one file for each rendition is made as one of segments, in a hidden folder, and put together at the end:
//!
//! ```text
//! OUT/.rungs/parts/video/av1-1080p/seg-00000.m4s …  while it is made
//! OUT/video/av1-1080p.mp4                           when it is put together; the parts are gone then
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rungs_package::output::{Memory, StoredSegment};
use rungs_package::single::{Piece, SingleFile};
use rungs_package::tree::{Found, Kind, Tree};
use rungs_package::{PackageError, single_name};

use super::database::{Phase, Rows};
use super::expected::{Expected, expected, is_due};
use super::folder::segment_path;
use super::verify::compare;
use crate::done::Done;
use crate::engine::open_package;
use crate::error::Error;
use crate::plan::Plan;

/// Where the parts of single files are while they are made, relative to the output.
pub(super) const PARTS: &str = ".rungs/parts";

/// The prefix of what a job writes, relative to the output.
pub(super) fn prefix(plan: &Plan) -> &'static str {
    if plan.single_file {
        ".rungs/parts/"
    } else {
        ""
    }
}

/// A package on disk.
pub(super) struct Shelf {
    /// The output folder.
    output: PathBuf,
    /// What the paths of the package's files begin with in it.
    prefix: &'static str,
    /// By the track; none if segments are files of their own.
    pub(super) singles: BTreeMap<String, SingleFile>,
    /// All files that follow from plan and journal, but for the segments and those in `singles`.
    pub(super) lists: Expected,
    /// Why there are no lists of a whole package though the journal says that it is one.
    pub(super) unfinished: Option<PackageError>,
}

impl Shelf {
    /// Looks up what there should be; reads nothing.
    pub(super) fn of(root: &Path, plan: &Plan, rows: &Rows) -> Result<Self, Error> {
        if rows.phase == Phase::Placed {
            return Self::placed(root, plan, rows);
        }
        let (lists, unfinished) = expected(plan, rows)?;
        Ok(Self {
            lists,
            unfinished,
            ..Self::making(root, plan)
        })
    }

    /// The package while it is made, of which no lists are known.
    pub(super) fn making(root: &Path, plan: &Plan) -> Self {
        Self {
            output: root.to_owned(),
            prefix: prefix(plan),
            singles: BTreeMap::new(),
            lists: BTreeMap::new(),
            unfinished: None,
        }
    }

    /// The package of single files that the rows are, or come to.
    pub(super) fn placed(root: &Path, plan: &Plan, rows: &Rows) -> Result<Self, Error> {
        let facts = Rows {
            phase: Phase::Open,
            ..rows.clone()
        };
        let done = Done::new(plan, &facts.facts());
        let files = Memory::new();
        let (mut packager, _) = open_package(plan, Box::new(files.clone()), &done)?;
        let singles = packager.join_segments()?;
        let unfinished = packager.finish().err();
        Ok(Self {
            output: root.to_owned(),
            prefix: "",
            singles,
            lists: files.files(),
            unfinished,
        })
    }

    /// The part of a single file that a segment is.
    fn piece(&self, segment: &StoredSegment) -> Option<&Piece> {
        self.singles.get(&segment.track)?.pieces.get(&segment.index)
    }

    /// The file that a segment is, or is in, relative to the root.
    pub(super) fn file(&self, segment: &StoredSegment) -> String {
        match self.piece(segment) {
            Some(_) => single_name(&segment.track),
            None => segment_path(segment),
        }
    }

    /// The folder that the package is in.
    pub(super) fn folder(&self) -> io::Result<Tree> {
        Tree::open(&self.output)?.below(self.prefix)
    }

    /// The path of a file of the package, for messages.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.output.join(self.prefix).join(file)
    }

    /// Opens a file of the package.
    fn open(&self, file: &str) -> io::Result<File> {
        Tree::open(&self.output)?.file(format!("{}{file}", self.prefix))
    }

    /// Reads a file of the package.
    pub(super) fn bytes(&self, file: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(file)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether a file of the package is there.
    pub(super) fn has(&self, file: &str) -> bool {
        let tree = Tree::open(&self.output);
        tree.is_ok_and(|tree| tree.is_file(format!("{}{file}", self.prefix)))
    }

    /// Reads a segment as the file that it was made as. Blocks.
    pub(super) fn read(&self, segment: &StoredSegment) -> io::Result<Vec<u8>> {
        let path = self.file(segment);
        let Some(piece) = self.piece(segment) else {
            return self.bytes(&path);
        };
        let mut file = self.open(&path)?;
        file.seek(SeekFrom::Start(piece.range.offset))?;
        let mut bytes = piece.front.clone();
        file.take(piece.range.length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Tells whether a segment is there with the bytes that its row says. Blocks while it is read.
    pub(super) fn is_whole(&self, segment: &StoredSegment) -> io::Result<bool> {
        if self.piece(segment).is_none() {
            let path = format!("{}{}", self.prefix, segment_path(segment));
            let found = present(Tree::open(&self.output)?.look(&path))?;
            let is_long = |found: &Found| found.kind == Kind::File && found.bytes == segment.bytes;
            if !found.as_ref().is_some_and(is_long) {
                return Ok(false);
            }
        }
        let bytes = present(self.read(segment))?;
        Ok(bytes.is_some_and(|bytes| compare(segment, &bytes).is_ok()))
    }

    /// The initialisation segment of a track; empty if there is none.
    pub(super) fn init(&self, track: &str) -> &[u8] {
        let single = self.singles.get(track);
        let single = single.map(|single| &single.head[..single.init.length as usize]);
        let alone = || self.lists.get(&format!("{track}/init.mp4"));
        single.unwrap_or_else(|| alone().map_or(&[], Vec::as_slice))
    }

    /// Tells what is wrong with the length or the head of a single file.
    pub(super) fn head_fault(&self, track: &str, single: &SingleFile) -> Option<String> {
        let read = || -> io::Result<(u64, Vec<u8>)> {
            let file = self.open(&single_name(track))?;
            let length = file.metadata()?.len();
            let mut head = Vec::new();
            file.take(single.head.len() as u64).read_to_end(&mut head)?;
            Ok((length, head))
        };
        match read() {
            Err(error) => Some(super::verify::missing(&error)),
            Ok((length, _)) if length != single.bytes() => Some(format!(
                "it has {length} bytes, and {} follow from the journal",
                single.bytes()
            )),
            Ok((_, head)) if head != single.head => {
                Some("its head is not what follows from plan and journal".to_owned())
            }
            Ok(_) => None,
        }
    }

    /// Tells whether everything is there as it should be, but for segments. Blocks.
    pub(super) fn lists_are_whole(&self) -> bool {
        let is_there = |(path, bytes): (&String, &Vec<u8>)| {
            self.bytes(path)
                .is_ok_and(|found| is_due(path, bytes, &found))
        };
        let mut singles = self.singles.iter();
        self.unfinished.is_none()
            && self.lists.iter().all(is_there)
            && singles.all(|(track, single)| self.head_fault(track, single).is_none())
    }
}

/// What was looked for, if it is there.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
