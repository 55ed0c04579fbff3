//! Segments in, in any order; files, playlists and manifests out.
//!
//! The packager owns the state of the whole output. A segment is checked, muxed, stored and
//! recorded, in this order. The **frontier** is the number of leading segments that every track
//! has: playlists name what lies before it and nothing else, so that whoever reads one finds all
//! that it names, and all renditions can be switched between.
//!
//! What an earlier process has stored is [restored](Packager::restore): it counts as committed, and
//! whoever makes it again has to come to the same bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audio::AudioConfigError;
use crate::av1::{Av1Error, sequence_headers};
use crate::bandwidth::{Bandwidth, Extent, measure};
use crate::cmaf::{self, MuxError};
use crate::coding::{Coding, CodingError};
use crate::digest::Digest;
use crate::hls::{MediaPlaylist, MediaSegment};
use crate::language;
use crate::nal::Family;
use crate::output::{Fact, Item, Kind, Output, OutputError, StoredSegment};
use crate::presentation::{
    self, INIT, PLAYLIST, Rendition, segment_name, text_name, whole_text_name,
};
use crate::summary::{MediaSummary, Summary, TrackSummary};
use crate::text::{self, Cue, TextSegment};
use crate::track::{Sample, Segment, Track, VideoTrack};

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

/// Why packaging failed.
///
/// After [`Output`](Self::Output) the same call may be repeated. The others will not go away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file could not be stored.
    #[error("the package cannot be written")]
    Output(#[from] OutputError),
    /// A track cannot be muxed.
    #[error("track {track} cannot be packaged")]
    Track {
        /// The track's name.
        track: String,
        /// Why.
        source: MuxError,
    },
    /// A segment cannot be muxed.
    #[error("segment {index} of {track} cannot be muxed")]
    Segment {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// Why.
        source: MuxError,
    },
    /// A track's audio configuration cannot be read.
    #[error("the audio configuration of {track} cannot be read")]
    AudioConfig {
        /// The track's name.
        track: String,
        /// Why.
        source: AudioConfigError,
    },
    /// A segment's first sample is not a sync sample.
    #[error("segment {index} of {track} does not start with a key frame")]
    NoKey {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
    },
    /// A sync sample cannot be read, or has no sequence header.
    #[error("a key frame in segment {index} of {track} cannot be read")]
    Bitstream {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// Why.
        source: CodingError,
    },
    /// A sample is marked as a sync sample and is none, or the other way round.
    #[error("sample {place} in segment {index} of {track} is marked wrongly as {marked}")]
    WrongMark {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// Its place, in decoding order.
        place: usize,
        /// What it is marked as, in words.
        marked: &'static str,
    },
    /// A segment was encoded otherwise than the track says.
    #[error("segment {index} of {track} breaks the rendition's codec contract: {difference}")]
    Contract {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// The first difference, the track's value first.
        difference: String,
    },
    /// A segment has a sequence header that the initialisation segment does not describe, or several.
    #[error(
        "segment {index} of {track} has none of its rendition's {known} sequence headers, or more than one"
    )]
    UnknownHeader {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// How many the track has.
        known: usize,
    },
    /// A segment does not start where the one before ends.
    #[error("segment {index} of {track} starts at tick {actual} where tick {expected} was due")]
    Discontiguous {
        /// The track's name.
        track: String,
        /// The later one of the two segments.
        index: u32,
        /// Where the earlier one ends.
        expected: u64,
        /// Where the later one starts.
        actual: u64,
    },
    /// A segment outgrows the target duration that playlists promise.
    #[error(
        "segment {index} of {track} lasts {seconds:.3} s, more than the target duration of {target} s"
    )]
    TooLong {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// How long it is presented.
        seconds: f64,
        /// The target duration in seconds.
        target: u64,
    },
    /// A segment that an earlier run stored was made again, and came out otherwise.
    #[error(
        "segment {index} of {track} was made again and differs from what the earlier run stored"
    )]
    Differs {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// The digest of the file that is there.
        stored: Digest,
        /// The digest of what was made.
        made: Digest,
    },
    /// A segment would not be presented for a single tick.
    #[error("segment {index} of {track} has no duration")]
    NoDuration {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
    },
    /// A track has fewer segments than another, or none.
    #[error("track {track} lacks segment {missing} of {expected}")]
    Incomplete {
        /// The track's name.
        track: String,
        /// The first segment that it lacks.
        missing: u32,
        /// How many the longest track has, at least one.
        expected: u32,
    },
    /// A track's name cannot be a folder's on every system and in every URL.
    #[error("{name:?} is no name for a track")]
    Name {
        /// The name.
        name: String,
    },
    /// Two tracks have the same name.
    #[error("there are two tracks named {name}")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There is nothing to package.
    #[error("there are no tracks")]
    NoTracks,
    /// The track is one of another packager.
    #[error("the track belongs to another packager")]
    ForeignTrack,
    /// The call came before `start` where it has to come after, or the other way round, or after
    /// `finish`.
    #[error("{call} was called while the package was {phase}")]
    Phase {
        /// The call.
        call: &'static str,
        /// Where the package stood.
        phase: &'static str,
    },
}

impl PackageError {
    /// Tells whether what is missing is room on the disk.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Output(error) if error.is_no_space())
    }
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

/// What is remembered of a stored segment.
#[derive(Debug, Clone, Copy)]
struct Record {
    decode_time: u64,
    duration: u64,
    bytes: u64,
    samples: u32,
    sha256: Digest,
    /// Whether an earlier process stored it, and nobody has made it again since.
    restored: bool,
}

impl Record {
    fn of_text(bytes: &[u8], (start, duration): (u64, u64), cues: &[Cue]) -> Self {
        Self {
            decode_time: start,
            duration,
            bytes: bytes.len() as u64,
            samples: u32::try_from(cues.len()).unwrap_or(u32::MAX),
            sha256: Digest::of(bytes),
            restored: false,
        }
    }

    fn end(&self) -> u64 {
        self.decode_time.saturating_add(self.duration)
    }
}

/// A track and what has been stored of it.
#[derive(Debug)]
struct TrackState {
    spec: TrackSpec,
    codec: String,
    init: Vec<u8>,
    records: BTreeMap<u32, Record>,
    /// How many segments the stored playlist names.
    published: u32,
    /// The whole file, of subtitles.
    whole: Option<Record>,
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
        Ok(false)
    }

    /// Leaves the playlists as an earlier process closed them until [`finish`](Self::finish)
    /// replaces them all, before [`start`](Self::start): one that has an end may not lose it.
    pub fn keep_closed(&mut self) -> Result<(), PackageError> {
        self.phase.require(Phase::Planned, "keep_closed")?;
        self.closed = true;
        Ok(())
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
    /// Fails when a track lacks a segment that another one has, or has none; the package stays open
    /// then. After an error of the output the package takes no more segments, and this call may be
    /// repeated.
    pub fn finish(&mut self) -> Result<Summary, PackageError> {
        if self.phase != Phase::Closing {
            self.phase.require(Phase::Open, "finish")?;
            self.check_complete()?;
            self.output.note(&Fact::Closing)?;
            self.phase = Phase::Closing;
        }
        let mut tracks = Vec::new();
        for state in &mut self.tracks {
            state.correct_rate(self.layout);
            let text = state.playlist(self.frontier, self.layout, true);
            put_playlist(&mut self.output, state, &text)?;
            let summary = state.summary(self.layout);
            self.output.finished(&summary)?;
            tracks.push(summary);
        }
        let bandwidths = tracks.iter().map(|summary| summary.bandwidth);
        let renditions: Vec<_> = self
            .tracks
            .iter()
            .zip(bandwidths)
            .map(|(state, bandwidth)| state.rendition(bandwidth))
            .collect();
        let master = presentation::master(&renditions).render();
        let manifest = presentation::manifest(&renditions, self.layout).render();
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
                let text = state.playlist(self.frontier, self.layout, false);
                put_playlist(&mut self.output, state, &text)?;
                state.published = self.frontier;
            }
        }
        if self.frontier > 0 && !self.announced {
            let renditions: Vec<_> = self
                .tracks
                .iter()
                .map(|state| state.rendition(state.spec.estimated))
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

impl TrackState {
    fn new(spec: TrackSpec) -> Result<Self, PackageError> {
        let codec = spec
            .track
            .codec_string()
            .map_err(|source| PackageError::AudioConfig {
                track: spec.name.clone(),
                source,
            })?;
        let init = match &spec.track {
            Track::Text(_) => Ok(Vec::new()),
            track => cmaf::init_segment(track),
        };
        let init = init.map_err(|source| PackageError::Track {
            track: spec.name.clone(),
            source,
        })?;
        Ok(Self {
            spec,
            codec,
            init,
            records: BTreeMap::new(),
            published: 0,
            whole: None,
        })
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.spec.name)
    }

    fn name(&self) -> String {
        self.spec.name.clone()
    }

    fn is_text(&self) -> bool {
        matches!(self.spec.track, Track::Text(_))
    }

    /// The name under which the whole file of subtitles is recorded, which is its path but for the extension.
    fn whole_name(&self) -> String {
        whole_text_name(&self.spec.name)
    }

    /// The name of a segment in the track's folder.
    fn file(&self, index: u32) -> String {
        if self.is_text() {
            text_name(index)
        } else {
            segment_name(index)
        }
    }

    /// Checks a segment of subtitles and writes its bytes.
    fn write_text(
        &self,
        index: u32,
        segment: &TextSegment,
        layout: Layout,
    ) -> Result<(Record, Vec<u8>), PackageError> {
        let extent = (segment.start, segment.duration);
        self.check_times(index, extent, layout)?;
        let bytes = text::segment(&segment.cues).into_bytes();
        Ok((Record::of_text(&bytes, extent, &segment.cues), bytes))
    }

    /// Checks a segment and writes its bytes. Takes the segment, whose samples are not needed
    /// twice.
    fn mux(
        &self,
        index: u32,
        segment: Segment,
        layout: Layout,
    ) -> Result<(Record, Vec<u8>), PackageError> {
        self.check_samples(index, &segment)?;
        let extent = (segment.decode_time, segment.duration());
        self.check_times(index, extent, layout)?;
        // `mfhd` counts from 1 as far as it goes; the number has no meaning beyond its order.
        let number = index.saturating_add(1);
        let bytes = cmaf::media_segment(&self.spec.track, number, &segment).map_err(|source| {
            PackageError::Segment {
                track: self.name(),
                index,
                source,
            }
        })?;
        let record = Record {
            decode_time: segment.decode_time,
            duration: segment.duration(),
            bytes: bytes.len() as u64,
            samples: u32::try_from(segment.samples.len()).unwrap_or(u32::MAX),
            sha256: Digest::of(&bytes),
            restored: false,
        };
        drop(segment);
        Ok((record, bytes))
    }

    fn stored(&self, index: u32, record: &Record) -> StoredSegment {
        StoredSegment {
            track: self.name(),
            index,
            decode_time: record.decode_time,
            duration: record.duration,
            samples: record.samples,
            bytes: record.bytes,
            sha256: record.sha256,
        }
    }

    /// Holds a segment that was made again against the one that is there.
    fn compare(&self, index: u32, stored: &Record, made: &Record) -> Result<(), PackageError> {
        if stored.sha256 == made.sha256 {
            return Ok(());
        }
        Err(PackageError::Differs {
            track: self.name(),
            index,
            stored: stored.sha256,
            made: made.sha256,
        })
    }

    fn check_samples(&self, index: u32, segment: &Segment) -> Result<(), PackageError> {
        let first = segment
            .samples
            .first()
            .ok_or_else(|| PackageError::Segment {
                track: self.name(),
                index,
                source: MuxError::NoSamples,
            })?;
        if !first.key {
            return Err(PackageError::NoKey {
                track: self.name(),
                index,
            });
        }
        let Track::Video(video) = &self.spec.track else {
            return Ok(());
        };
        match &video.coding {
            Coding::Av1(_) => self.check_headers(index, video, &segment.samples),
            Coding::Avc(_) => self.check_marks(index, Family::Avc, &segment.samples),
            Coding::Hevc(_) => self.check_marks(index, Family::Hevc, &segment.samples),
        }
    }

    /// Holds the sequence headers of AV1 keyframes against the track's.
    fn check_headers(
        &self,
        index: u32,
        video: &VideoTrack,
        samples: &[Sample],
    ) -> Result<(), PackageError> {
        let Some(contract) = video.sequence_headers().first() else {
            return Ok(());
        };
        let contract = contract.contract();
        let mut entry = None;
        let unreadable = |source: Av1Error| PackageError::Bitstream {
            track: self.name(),
            index,
            source: source.into(),
        };
        for sample in samples.iter().filter(|sample| sample.key) {
            let headers = sequence_headers(&sample.data).map_err(unreadable)?;
            if headers.is_empty() {
                return Err(unreadable(Av1Error::NoSequenceHeader));
            }
            let mut differences = headers
                .iter()
                .filter_map(|header| contract.difference(&header.contract()));
            if let Some(difference) = differences.next() {
                return Err(PackageError::Contract {
                    track: self.name(),
                    index,
                    difference,
                });
            }
            // The segment names one sample entry, which holds for all its keyframes.
            for header in &headers {
                let own = video.entry_of(header);
                if own.is_none() || own != *entry.get_or_insert(own) {
                    return Err(PackageError::UnknownHeader {
                        track: self.name(),
                        index,
                        known: video.sequence_headers().len(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Holds the marks of H.264 and HEVC samples against their slices.
    fn check_marks(
        &self,
        index: u32,
        family: Family,
        samples: &[Sample],
    ) -> Result<(), PackageError> {
        for (place, sample) in samples.iter().enumerate() {
            let idr = family
                .is_idr(&sample.data)
                .map_err(|source| PackageError::Bitstream {
                    track: self.name(),
                    index,
                    source: source.into(),
                })?;
            if idr != sample.key {
                let marked = if sample.key {
                    "a key frame"
                } else {
                    "no key frame"
                };
                return Err(PackageError::WrongMark {
                    track: self.name(),
                    index,
                    place,
                    marked,
                });
            }
        }
        Ok(())
    }

    fn check_times(
        &self,
        index: u32,
        (start, duration): (u64, u64),
        layout: Layout,
    ) -> Result<(), PackageError> {
        let timescale = u64::from(self.spec.track.timescale());
        let (_, presented) = self.spec.track.presentation(start, duration);
        if presented == 0 {
            return Err(PackageError::NoDuration {
                track: self.name(),
                index,
            });
        }
        let target = layout.target_seconds();
        if (2 * presented + timescale) / (2 * timescale) > target {
            let seconds = presented as f64 / timescale as f64;
            return Err(PackageError::TooLong {
                track: self.name(),
                index,
                seconds,
                target,
            });
        }
        let before = index
            .checked_sub(1)
            .and_then(|before| self.records.get(&before));
        let after = index
            .checked_add(1)
            .and_then(|after| self.records.get(&after));
        let seams = [
            before.map(|before| (index, before.end(), start)),
            after.map(|after| (index + 1, start.saturating_add(duration), after.decode_time)),
        ];
        for (index, expected, actual) in seams.into_iter().flatten() {
            if expected != actual {
                return Err(PackageError::Discontiguous {
                    track: self.name(),
                    index,
                    expected,
                    actual,
                });
            }
        }
        Ok(())
    }

    /// Writes the media playlist of the first `count` segments.
    fn playlist(&self, count: u32, layout: Layout, ended: bool) -> String {
        let segments = self.records.range(..count).map(|(&index, record)| {
            let (start, duration) = self.presentation(record);
            MediaSegment {
                uri: self.file(index),
                start,
                duration,
            }
        });
        let playlist = MediaPlaylist {
            target_duration: layout.target_seconds(),
            timescale: self.spec.track.timescale(),
            map: (!self.is_text()).then(|| INIT.to_owned()),
            segments: segments.collect(),
            ended,
        };
        playlist.render()
    }

    fn presentation(&self, record: &Record) -> (u64, u64) {
        self.spec
            .track
            .presentation(record.decode_time, record.duration)
    }

    fn rendition(&self, bandwidth: Bandwidth) -> Rendition<'_> {
        let timeline = self
            .records
            .values()
            .map(|record| self.presentation(record));
        Rendition {
            spec: &self.spec,
            codec: &self.codec,
            bandwidth,
            timeline: timeline.collect(),
        }
    }

    /// Replaces the stated rate of a video by the highest that a segment really has, unless it lies among those that segments have. The last
    /// segment, whose last picture may be shown as short as it likes, and those under half the target say little, and are looked at only if there are
    /// no others.
    fn correct_rate(&mut self, layout: Layout) {
        /// Rates that differ by this part of them are the same, written otherwise.
        const SAME: f64 = 0.001;
        if !matches!(self.spec.track, Track::Video(_)) {
            return;
        }
        let timescale = f64::from(self.spec.track.timescale());
        let seconds = |record: &Record| record.duration as f64 / timescale;
        let rate =
            |record: &Record| f64::from(record.samples) / seconds(record).max(f64::MIN_POSITIVE);
        let long =
            |record: &&Record| seconds(record) * 2.0 >= layout.segment_duration.as_secs_f64();
        let range = |rates: &mut dyn Iterator<Item = f64>| {
            rates.fold((f64::INFINITY, 0.0_f64), |(low, high), rate| {
                (low.min(rate), high.max(rate))
            })
        };
        let whole = self.records.len().saturating_sub(1);
        let mut found = range(&mut self.records.values().take(whole).filter(long).map(rate));
        if found.1 <= 0.0 {
            found = range(&mut self.records.values().map(rate));
        }
        let (lowest, highest) = found;
        let among = lowest * (1.0 - SAME)..=highest * (1.0 + SAME);
        let stated = self.spec.frame_rate.filter(|stated| among.contains(stated));
        self.spec.frame_rate = stated.or(Some(highest));
    }

    fn summary(&self, layout: Layout) -> TrackSummary {
        let timescale = self.spec.track.timescale();
        let extents: Vec<_> = self
            .records
            .values()
            .map(|record| Extent {
                bytes: record.bytes,
                ticks: self.presentation(record).1,
            })
            .collect();
        let ticks: u64 = extents.iter().map(|extent| extent.ticks).sum();
        let target = layout.target_seconds() * u64::from(timescale);
        let (media, language) = match &self.spec.track {
            Track::Video(video) => {
                let (width, height) = (video.width, video.height);
                (
                    MediaSummary::Video {
                        width,
                        height,
                        frame_rate: self.spec.frame_rate,
                    },
                    None,
                )
            }
            Track::Audio(audio) => {
                let (sample_rate, channels) = (audio.sample_rate, audio.channels);
                let language = audio.language.as_deref().and_then(language::bcp47);
                (
                    MediaSummary::Audio {
                        sample_rate,
                        channels,
                    },
                    language,
                )
            }
            Track::Text(text) => {
                let language = text.language.as_deref().and_then(language::bcp47);
                let forced = text.forced;
                (MediaSummary::Text { forced }, language)
            }
        };
        TrackSummary {
            name: self.name(),
            codec: self.codec.clone(),
            media,
            language,
            segments: extents.len() as u32,
            bytes: extents.iter().map(|extent| extent.bytes).sum(),
            duration_seconds: ticks as f64 / f64::from(timescale),
            bandwidth: measure(&extents, target, timescale),
        }
    }
}

fn put_playlist(
    output: &mut impl Output,
    state: &TrackState,
    text: &str,
) -> Result<(), OutputError> {
    let path = state.path(PLAYLIST);
    output.put(Item {
        path: &path,
        kind: Kind::MediaPlaylist,
        bytes: text.as_bytes(),
    })
}

/// Tells whether a name is a relative path that means the same in every file system and needs no
/// escapes in a URL.
fn is_plain_path(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.split('/')
        .all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain))
}
