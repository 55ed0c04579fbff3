//! Segments in, in any order; files, playlists and manifests out.
//!
//! The packager owns the state of the whole output. A segment is checked, muxed, stored and
//! recorded, in this order. The **frontier** is the number of leading segments that every track
//! has: playlists name what lies before it and nothing else, so that whoever reads one finds all
//! that it names, and all renditions can be switched between.
//!
//! What an earlier process has stored is [restored](Packager::restore): it counts as committed, and
//! whoever makes it again has to come to the same bytes.

mod check;
mod error;
mod lists;
mod state;
mod stills;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::PackageError;
pub use stills::Stills;

use crate::bandwidth::Bandwidth;
use crate::output::{Fact, Item, Kind, Output, OutputError, StoredSegment};
use crate::presentation::{self, FRAMES, INIT, PLAYLIST};
use crate::single::SingleFile;
use crate::summary::Summary;
use crate::text::{self, Cue, TextSegment};
use crate::track::{Segment, Track};

use state::{Record, TrackState};
use stills::{StillsState, Thumbnails};

const MASTER: &str = "master.m3u8";
const MANIFEST: &str = "manifest.mpd";
const REPORT: &str = "report.json";

/// A playlist is rewritten when it has grown by one part in this many. All writes together are
/// then about this many times as long as the last one; and the playlist is never further behind.
const REWRITE_AT: u32 = 50;

/// How time is cut, the same for all tracks and for the whole job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// How long segments are meant to be.
    pub segment_duration: Duration,
    /// What no segment's duration, rounded to a second, may exceed. Rounded up to a second, it is
    /// the playlists' `EXT-X-TARGETDURATION`, which may not change once published (RFC 8216
    /// §6.2.1).
    pub target_duration: Duration,
}

impl Layout {
    /// Makes the target of the segment duration: enough as long as segments outgrow it by less than
    /// half a second.
    #[must_use]
    pub fn new(segment_duration: Duration) -> Self {
        Self {
            segment_duration,
            target_duration: segment_duration,
        }
    }

    /// Returns the target duration in the playlists' whole seconds.
    #[must_use]
    pub fn target_seconds(self) -> u64 {
        let seconds = self.target_duration.as_secs();
        (seconds + u64::from(self.target_duration.subsec_nanos() > 0)).max(1)
    }
}

/// A track to package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackSpec {
    /// Its folder, relative to the package: letters, digits, `-`, `_` and `.`, separated by `/`.
    pub name: String,
    /// Its configuration.
    pub track: Track,
    /// Pictures a second at most, where known.
    pub frame_rate: Option<f64>,
    /// What to state in the multivariant playlist while the job runs and nobody knows.
    pub estimated: Bandwidth,
    /// Name to show in players' menus.
    pub label: Option<String>,
}

/// A track of the packager that made this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(usize);

/// What a commit did. Track, index and these fields are all that the packager knows of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The segment's file, relative to the package.
    pub path: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// When the segment is decoded, in ticks of the track.
    pub decode_time: u64,
    /// How long it is, in ticks of the track.
    pub duration: u64,
    /// Whether all tracks now have more leading segments than before.
    pub frontier_moved: bool,
    /// Whether the segment had been committed before. Then nothing was written, and the fields are
    /// those of the first.
    pub duplicate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Planned,
    Open,
    /// The last playlists are being written: they may have an end, and take no more.
    Closing,
    Finished,
}

impl Phase {
    fn require(self, needed: Self, call: &'static str) -> Result<(), PackageError> {
        if self == needed {
            return Ok(());
        }
        let phase = match self {
            Self::Planned => "not started",
            Self::Open => "in progress",
            Self::Closing => "being finished",
            Self::Finished => "finished",
        };
        Err(PackageError::Phase { call, phase })
    }
}

/// Packages tracks into an [`Output`].
///
/// Every call blocks until what it writes is durable. After an error of the output the state is as
/// before, and the call may be repeated.
#[derive(Debug)]
pub struct Packager<O: Output> {
    output: O,
    layout: Layout,
    phase: Phase,
    tracks: Vec<TrackState>,
    stills: StillsState,
    /// How many leading segments every track has.
    frontier: u32,
    /// Whether the multivariant playlist is stored.
    announced: bool,
    /// Whether playlists that have an end are out: nothing is published before all have theirs.
    closed: bool,
}

impl<O: Output> Packager<O> {
    /// Starts with no tracks. Writes nothing.
    pub fn new(output: O, layout: Layout) -> Self {
        Self {
            output,
            layout,
            phase: Phase::Planned,
            tracks: Vec::new(),
            stills: StillsState::default(),
            frontier: 0,
            announced: false,
            closed: false,
        }
    }

    /// Adds a track, before [`start`](Self::start). Writes nothing.
    ///
    /// Fails on names that are taken or are no paths, and on tracks that cannot be muxed.
    pub fn add_track(&mut self, spec: TrackSpec) -> Result<TrackId, PackageError> {
        self.phase.require(Phase::Planned, "add_track")?;
        if !is_plain_path(&spec.name) {
            return Err(PackageError::Name { name: spec.name });
        }
        if self.tracks.iter().any(|state| state.spec.name == spec.name) {
            return Err(PackageError::NameTaken { name: spec.name });
        }
        self.tracks.push(TrackState::new(spec)?);
        Ok(TrackId(self.tracks.len() - 1))
    }

    /// Takes a segment as committed that an earlier process has stored, before
    /// [`start`](Self::start). Writes nothing. A later commit of the same segment is not ignored,
    /// but compared with what is there.
    ///
    /// Tells whether there is a track of that name. The caller answers for the file.
    pub fn restore(&mut self, segment: &StoredSegment) -> Result<bool, PackageError> {
        self.phase.require(Phase::Planned, "restore")?;
        let record = Record {
            decode_time: segment.decode_time,
            duration: segment.duration,
            bytes: segment.bytes,
            samples: segment.samples,
            sha256: segment.sha256,
            key_end: segment.key_end,
            last_sample: segment.last_sample,
            restored: true,
        };
        for state in &mut self.tracks {
            if state.spec.name == segment.track {
                state.records.insert(segment.index, record);
                return Ok(true);
            }
            if state.is_text() && state.whole_name() == segment.track {
                state.whole = Some(record);
                return Ok(true);
            }
        }
        let named = (segment.track.as_str(), segment.index);
        Ok(self.stills.restore(named, record))
    }

    /// Leaves the playlists as an earlier process closed them until [`finish`](Self::finish)
    /// replaces them all, before [`start`](Self::start): one that has an end may not lose it.
    pub fn keep_closed(&mut self) -> Result<(), PackageError> {
        self.phase.require(Phase::Planned, "keep_closed")?;
        self.closed = true;
        Ok(())
    }

    /// Lays out the one file that holds all segments of each track of pictures or sound, after all has been [restored](Self::restore) and in place of
    /// [`start`](Self::start): what is written from here on are the lists of a package of such files, and [`finish`](Self::finish) is all that is left.
    /// Somebody else writes the files.
    pub fn join_segments(&mut self) -> Result<BTreeMap<String, SingleFile>, PackageError> {
        self.phase.require(Phase::Planned, "join_segments")?;
        if self.tracks.is_empty() {
            return Err(PackageError::NoTracks);
        }
        self.phase = Phase::Open;
        self.closed = true;
        self.advance();
        for state in &mut self.tracks {
            state.join()?;
        }
        let files = self.tracks.iter();
        let files =
            files.filter_map(|state| Some((state.spec.name.clone(), state.single.clone()?)));
        Ok(files.collect())
    }

    /// Stores the initialisation segments, and playlists of what was restored. Otherwise playlists
    /// come with the first segments.
    pub fn start(&mut self) -> Result<(), PackageError> {
        self.phase.require(Phase::Planned, "start")?;
        if self.tracks.is_empty() {
            return Err(PackageError::NoTracks);
        }
        for state in self.tracks.iter().filter(|state| !state.is_text()) {
            let path = state.path(INIT);
            self.output.put(Item {
                path: &path,
                kind: Kind::Init,
                bytes: &state.init,
            })?;
        }
        self.phase = Phase::Open;
        self.advance();
        self.publish()
    }

    /// Has a track made otherwise, by other encoders, of which nothing is stored yet: its initialisation segment is replaced.
    ///
    /// Fails if a segment of it is stored, and on tracks that cannot be muxed.
    pub fn take_over(&mut self, track: TrackId, made: Track, by: &str) -> Result<(), PackageError> {
        self.phase.require(Phase::Open, "take_over")?;
        let state = self.tracks.get(track.0);
        let state = state.ok_or(PackageError::ForeignTrack)?;
        if !state.records.is_empty() {
            return Err(PackageError::Begun {
                track: state.name(),
            });
        }
        let new = TrackState::new(TrackSpec {
            track: made,
            ..state.spec.clone()
        })?;
        // First, so that whoever resumes writes the initialisation segment again.
        self.output.note(&Fact::TakenOver {
            track: new.name(),
            by: by.to_owned(),
        })?;
        self.output.put(Item {
            path: &new.path(INIT),
            kind: Kind::Init,
            bytes: &new.init,
        })?;
        self.tracks[track.0] = new;
        Ok(())
    }

    /// Stores a segment, and extends the playlists if all tracks have got further.
    ///
    /// Segments come in any order. Of several with one index the first counts, and the others are
    /// ignored; if the first was restored, the next must have the same bytes. Playlists are rewritten when they have grown by a fiftieth, so that all bytes
    /// written stay in proportion to the number of segments.
    ///
    /// Fails on segments that break the codec contract or the target duration, that do not start
    /// with a sync sample, or that do not join their neighbours; nothing is stored then. If the
    /// segment is stored but a playlist is not, the error is the playlist's, and repeating the
    /// call, any later commit, or [`finish`](Self::finish) writes it.
    pub fn commit(
        &mut self,
        track: TrackId,
        index: u32,
        segment: Segment,
    ) -> Result<Committed, PackageError> {
        self.store((track, index), |state, layout| {
            state.mux(index, segment, layout)
        })
    }

    /// The same as [`commit`](Self::commit) for a segment of subtitles.
    pub fn commit_text(
        &mut self,
        track: TrackId,
        index: u32,
        segment: &TextSegment,
    ) -> Result<Committed, PackageError> {
        self.store((track, index), |state, layout| {
            state.write_text(index, segment, layout)
        })
    }

    /// Stores the whole file of a track of subtitles, with all its cues by time. It is needed before [`finish`](Self::finish), and fails as
    /// [`commit`](Self::commit) does.
    pub fn commit_whole(&mut self, track: TrackId, cues: &[Cue]) -> Result<(), PackageError> {
        self.phase.require(Phase::Open, "commit_whole")?;
        let state = self
            .tracks
            .get_mut(track.0)
            .ok_or(PackageError::ForeignTrack)?;
        let text = text::whole(cues);
        let record = Record::of_text(text.as_bytes(), (0, 0), cues);
        match state.whole {
            Some(stored) if !stored.restored => return Ok(()),
            Some(stored) => state.compare(0, &stored, &record)?,
            None => {
                let name = state.whole_name();
                self.output.put(Item {
                    path: &format!("{name}.vtt"),
                    kind: Kind::Segment,
                    bytes: text.as_bytes(),
                })?;
                let stored = StoredSegment {
                    track: name,
                    ..state.stored(0, &record)
                };
                self.output.note(&Fact::Segment(stored))?;
            }
        }
        state.whole = Some(record);
        Ok(())
    }

    /// Stores what `make` makes, unless it is there.
    fn store(
        &mut self,
        (track, index): (TrackId, u32),
        make: impl FnOnce(&TrackState, Layout) -> Result<(Record, Vec<u8>), PackageError>,
    ) -> Result<Committed, PackageError> {
        self.phase.require(Phase::Open, "commit")?;
        let state = self
            .tracks
            .get_mut(track.0)
            .ok_or(PackageError::ForeignTrack)?;
        let path = state.path(&state.file(index));
        let known = state.records.get(&index).copied();
        let record = match known {
            Some(record) if !record.restored => record,
            known => {
                let (record, bytes) = make(state, self.layout)?;
                if let Some(stored) = known {
                    state.compare(index, &stored, &record)?;
                } else {
                    self.output.put(Item {
                        path: &path,
                        kind: Kind::Segment,
                        bytes: &bytes,
                    })?;
                    self.output
                        .note(&Fact::Segment(state.stored(index, &record)))?;
                }
                state.records.insert(index, record);
                record
            }
        };
        let frontier_moved = self.advance();
        self.publish()?;
        let Record {
            decode_time,
            duration,
            bytes,
            ..
        } = record;
        Ok(Committed {
            path,
            bytes,
            decode_time,
            duration,
            frontier_moved,
            duplicate: known.is_some(),
        })
    }

    /// Completes the package: closes the playlists, replaces estimated by measured rates, and
    /// stores the manifest.
    ///
    /// Fails when a track lacks a segment that another one has, or has none, or an image is missing; the package stays open
    /// then. After an error of the output the package takes no more segments, and this call may be
    /// repeated.
    pub fn finish(&mut self) -> Result<Summary, PackageError> {
        if self.phase != Phase::Closing {
            self.phase.require(Phase::Open, "finish")?;
            self.check_complete()?;
            self.check_stills()?;
            self.output.note(&Fact::Closing)?;
            self.phase = Phase::Closing;
        }
        let mut tracks = Vec::new();
        for state in &mut self.tracks {
            state.correct_rate(self.layout);
            let so_far = (self.frontier, self.layout);
            put_playlists(&mut self.output, state, (so_far, true))?;
            let summary = state.summary(self.layout);
            self.output.finished(&summary)?;
            tracks.push(summary);
        }
        let thumbnails = self.put_thumbnails()?;
        let bandwidths = tracks.iter().map(|summary| summary.bandwidth);
        let renditions: Vec<_> = self
            .tracks
            .iter()
            .zip(bandwidths)
            .map(|(state, whole)| state.rendition((whole, state.frames_bandwidth(self.layout))))
            .collect();
        let mut master = presentation::master(&renditions);
        master.images = thumbnails.as_ref().map(Thumbnails::variant);
        let master = master.render();
        let mut manifest = presentation::manifest(&renditions, self.layout);
        manifest.images = thumbnails.as_ref().map(Thumbnails::set);
        let manifest = manifest.render();
        self.put(MASTER, Kind::MultivariantPlaylist, master.as_bytes())?;
        self.put(MANIFEST, Kind::Manifest, manifest.as_bytes())?;
        self.phase = Phase::Finished;
        Ok(Summary { tracks })
    }

    /// Stores `report.json`, at any time; a later one replaces it.
    pub fn put_report(&mut self, json: &[u8]) -> Result<(), PackageError> {
        self.put(REPORT, Kind::Report, json)
    }

    /// Has the output keep a fact.
    pub fn note(&mut self, fact: &Fact) -> Result<(), PackageError> {
        Ok(self.output.note(fact)?)
    }

    /// Returns a track's configuration; `None` for a track of another packager.
    #[must_use]
    pub fn track(&self, id: TrackId) -> Option<&Track> {
        Some(&self.tracks.get(id.0)?.spec.track)
    }

    /// Returns how many leading segments every track has.
    #[must_use]
    pub fn frontier(&self) -> u32 {
        self.frontier
    }

    /// Returns the output.
    #[must_use]
    pub fn output(&self) -> &O {
        &self.output
    }

    /// Gives the output back.
    pub fn into_output(self) -> O {
        self.output
    }

    fn put(&mut self, path: &str, kind: Kind, bytes: &[u8]) -> Result<(), PackageError> {
        Ok(self.output.put(Item { path, kind, bytes })?)
    }

    /// Moves the frontier as far as it goes; tells whether it moved.
    fn advance(&mut self) -> bool {
        let before = self.frontier;
        while self
            .tracks
            .iter()
            .all(|state| state.records.contains_key(&self.frontier))
        {
            self.frontier += 1;
        }
        self.frontier > before
    }

    /// Rewrites the playlists that have grown enough. The multivariant playlist comes after the
    /// first media playlists, which it names.
    fn publish(&mut self) -> Result<(), PackageError> {
        if self.closed {
            return Ok(());
        }
        for state in &mut self.tracks {
            let growth = self.frontier.saturating_sub(state.published);
            if growth >= state.published.div_ceil(REWRITE_AT).max(1) {
                let so_far = (self.frontier, self.layout);
                put_playlists(&mut self.output, state, (so_far, false))?;
                state.published = self.frontier;
            }
        }
        if self.frontier > 0 && !self.announced {
            let renditions: Vec<_> = self
                .tracks
                .iter()
                // A keyframe takes no more than the segment that it is in.
                .map(|state| state.rendition((state.spec.estimated, state.spec.estimated)))
                .collect();
            let master = presentation::master(&renditions).render();
            self.put(MASTER, Kind::MultivariantPlaylist, master.as_bytes())?;
            self.announced = true;
        }
        Ok(())
    }

    fn check_complete(&self) -> Result<(), PackageError> {
        let lasts = self
            .tracks
            .iter()
            .filter_map(|state| state.records.keys().next_back());
        let expected = lasts.max().map_or(1, |last| last + 1);
        for state in &self.tracks {
            let missing = (0..expected).find(|index| !state.records.contains_key(index));
            let missing =
                missing.or((state.is_text() && state.whole.is_none()).then_some(expected));
            if let Some(missing) = missing {
                let track = state.spec.name.clone();
                return Err(PackageError::Incomplete {
                    track,
                    missing,
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// Stores the playlists of a track up to the frontier, with an end if they are to have one.
fn put_playlists(
    output: &mut impl Output,
    state: &TrackState,
    ((frontier, layout), ended): ((u32, Layout), bool),
) -> Result<(), OutputError> {
    let playlist = Some(state.playlist(frontier, layout, ended));
    let frames = state.frames_playlist(frontier, layout, ended);
    for (name, text) in [(PLAYLIST, playlist), (FRAMES, frames)] {
        if let Some(text) = text {
            output.put(Item {
                path: &state.path(name),
                kind: Kind::MediaPlaylist,
                bytes: text.as_bytes(),
            })?;
        }
    }
    Ok(())
}

/// Tells whether a name is a relative path that means the same in every file system and needs no
/// escapes in a URL.
fn is_plain_path(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.split('/')
        .all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain))
}
