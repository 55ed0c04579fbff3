//! Thumbnails and the poster: images that are made of stored segments at the end, and what the playlists say of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::PackageError;
use super::state::{Record, TrackState};
use super::{Packager, Phase, TrackId};
use crate::bandwidth::{Bandwidth, Extent, measure};
use crate::digest::Digest;
use crate::output::{Fact, Item, Kind, Output, StoredSegment};
use crate::presentation::{self, IMAGES, INIT, POSTER, STORYBOARD, THUMBNAILS};
use crate::storyboard::Board;

/// Ticks a second of the tiles' times.
const TIMESCALE: u32 = 1000;

/// Which images a package has besides its tracks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stills {
    /// Whether there are thumbnails.
    pub storyboard: bool,
    /// From one thumbnail to the next; `None` for what suits the length.
    pub interval: Option<Duration>,
    /// Whether there is a poster.
    pub poster: bool,
}

/// The images that a package is to have, and those that are stored.
#[derive(Debug, Default)]
pub(super) struct StillsState {
    wanted: Stills,
    tiles: BTreeMap<u32, Record>,
    poster: Option<Record>,
}

impl StillsState {
    /// Takes an image as stored that an earlier process has recorded; tells whether it is one that is wanted.
    pub(super) fn restore(&mut self, (track, index): (&str, u32), record: Record) -> bool {
        match track {
            STORYBOARD if self.wanted.storyboard => {
                self.tiles.insert(index, record);
                true
            }
            POSTER if self.wanted.poster => {
                self.poster = Some(record);
                true
            }
            _ => false,
        }
    }

    /// Fails when an image is missing.
    fn check(&self, board: Option<&Board>) -> Result<(), PackageError> {
        let lacks = |track: &str, missing, expected| PackageError::Incomplete {
            track: track.to_owned(),
            missing,
            expected,
        };
        if self.wanted.poster && self.poster.is_none() {
            return Err(lacks(POSTER, 0, 1));
        }
        let tiles = board.map_or(0, Board::tiles);
        match (0..tiles).find(|tile| !self.tiles.contains_key(tile)) {
            Some(missing) => Err(lacks(STORYBOARD, missing, tiles)),
            None => Ok(()),
        }
    }

    /// The rates at which tiles are fetched.
    fn bandwidth(&self, board: &Board) -> Bandwidth {
        let tiles = self.tiles.range(..board.tiles());
        let extents = tiles.map(|(_, record)| Extent {
            bytes: record.bytes,
            ticks: record.duration,
        });
        let target = board.tile_duration().as_millis();
        let target = u64::try_from(target).unwrap_or(u64::MAX);
        measure(&extents.collect::<Vec<_>>(), target, TIMESCALE)
    }
}

/// What manifests say of the thumbnails.
pub(super) struct Thumbnails {
    board: Board,
    bandwidth: Bandwidth,
}

impl Thumbnails {
    pub(super) fn variant(&self) -> crate::hls::ImagesVariant {
        presentation::images(&self.board, self.bandwidth)
    }

    pub(super) fn set(&self) -> crate::dash::ImageSet {
        presentation::image_set(&self.board, self.bandwidth)
    }
}

impl<O: Output> Packager<O> {
    /// Says which images there will be, before [`start`](Self::start) and before any is [restored](Self::restore). Without tracks of pictures there
    /// are none.
    pub fn illustrate(&mut self, stills: Stills) -> Result<(), PackageError> {
        self.phase.require(Phase::Planned, "illustrate")?;
        self.stills.wanted = stills;
        Ok(())
    }

    /// Returns the thumbnails that are due for what has been committed; `None` where none are wanted or there are no pictures.
    #[must_use]
    pub fn board(&self) -> Option<Board> {
        let state = self.tracks.iter().find(|state| state.has_pictures())?;
        let wanted = self.stills.wanted;
        let (size, end) = (state.display_size()?, state.end()?);
        let times = (end, self.layout.segment_duration);
        wanted
            .storyboard
            .then(|| Board::new(times, size, wanted.interval))
    }

    /// Returns index, presentation time and duration of the segments of a track, in its ticks; nothing for a track of another packager.
    #[must_use]
    pub fn extents(&self, track: TrackId) -> Vec<(u32, u64, u64)> {
        let state = self.tracks.get(track.0);
        let extents = state.into_iter().flat_map(TrackState::extents_by_index);
        extents.collect()
    }

    /// Reads a stored segment back, with the initialisation segment before it. Blocks on the output.
    pub fn read(&mut self, track: TrackId, index: u32) -> Result<Vec<u8>, PackageError> {
        let state = self.tracks.get(track.0).ok_or(PackageError::ForeignTrack)?;
        let segment = state.path(&state.file(index));
        let mut bytes = self.output.get(&state.path(INIT))?;
        bytes.append(&mut self.output.get(&segment)?);
        Ok(bytes)
    }

    /// Stores a tile of the [board](Self::board), a JPEG file, after all segments and before [`finish`](Self::finish). One that is there with the same
    /// bytes is left alone, another one is replaced.
    pub fn put_tile(&mut self, index: u32, jpeg: &[u8]) -> Result<(), PackageError> {
        let board = self.board();
        let on = board.map(|board| (board, board.on(index)));
        let Some((board, on)) = on.filter(|(_, on)| !on.is_empty()) else {
            return Ok(());
        };
        let known = self.stills.tiles.get(&index).copied();
        let millis = |thumbnail| board.time(thumbnail).as_millis() as u64;
        let from = millis(on.start);
        let record = still(jpeg, (from, millis(on.end) - from), on.len());
        self.put_still((STORYBOARD, index), (known, record), jpeg)?;
        self.stills.tiles.insert(index, record);
        Ok(())
    }

    /// Stores the poster, a JPEG file; otherwise as [`put_tile`](Self::put_tile).
    pub fn put_poster(&mut self, jpeg: &[u8]) -> Result<(), PackageError> {
        let record = still(jpeg, (0, 0), 1);
        self.put_still((POSTER, 0), (self.stills.poster, record), jpeg)?;
        self.stills.poster = Some(record);
        Ok(())
    }

    fn put_still(
        &mut self,
        (track, index): (&str, u32),
        (known, record): (Option<Record>, Record),
        jpeg: &[u8],
    ) -> Result<(), PackageError> {
        self.phase.require(Phase::Open, "put_still")?;
        // A row that says something else of the same bytes is written again.
        if known.is_some_and(|known| known.says_what(&record)) {
            return Ok(());
        }
        let stored = StoredSegment {
            track: track.to_owned(),
            index,
            decode_time: record.decode_time,
            duration: record.duration,
            samples: record.samples,
            bytes: record.bytes,
            sha256: record.sha256,
            key_end: None,
            last_sample: None,
        };
        self.output.put(Item {
            path: &presentation::stored_path(&stored),
            kind: Kind::Still,
            bytes: jpeg,
        })?;
        Ok(self.output.note(&Fact::Segment(stored))?)
    }

    /// Fails when an image is missing that is wanted.
    pub(super) fn check_stills(&self) -> Result<(), PackageError> {
        if !self.tracks.iter().any(TrackState::has_pictures) {
            return Ok(());
        }
        self.stills.check(self.board().as_ref())
    }

    /// Stores the lists of the thumbnails, and returns what manifests say of them.
    pub(super) fn put_thumbnails(&mut self) -> Result<Option<Thumbnails>, PackageError> {
        let Some(board) = self.board() else {
            return Ok(None);
        };
        let lists = [(THUMBNAILS, board.vtt()), (IMAGES, board.playlist())];
        for (name, text) in lists {
            let path = format!("{STORYBOARD}/{name}");
            self.put(&path, Kind::Still, text.as_bytes())?;
        }
        let bandwidth = self.stills.bandwidth(&board);
        Ok(Some(Thumbnails { board, bandwidth }))
    }
}

fn still(jpeg: &[u8], (from, duration): (u64, u64), pictures: usize) -> Record {
    Record {
        decode_time: from,
        duration,
        bytes: jpeg.len() as u64,
        samples: u32::try_from(pictures).unwrap_or(u32::MAX),
        sha256: Digest::of(jpeg),
        key_end: None,
        last_sample: None,
        restored: false,
    }
}
