//! One track of a package, and what has been stored of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::PackageError;
use super::{Layout, TrackSpec};
use crate::cmaf;
use crate::digest::Digest;
use crate::hls::Growth;
use crate::output::StoredSegment;
use crate::presentation::{segment_name, text_name, whole_text_name};
use crate::single::SingleFile;
use crate::text::{self, Cue, TextSegment};
use crate::track::{Segment, Track};

/// What is remembered of a stored segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) decode_time: u64,
    pub(super) duration: u64,
    pub(super) bytes: u64,
    pub(super) samples: u32,
    pub(super) sha256: Digest,
    /// Where the first sample ends in the file, of pictures.
    pub(super) key_end: Option<u64>,
    /// Duration of the last sample; `None` where it has none, or where an earlier program stored it that did not keep this.
    pub(super) last_sample: Option<u64>,
    /// Whether an earlier process stored it, and nobody has made it again since.
    pub(super) restored: bool,
}

impl Record {
    pub(super) fn of_text(bytes: &[u8], (start, duration): (u64, u64), cues: &[Cue]) -> Self {
        Self {
            decode_time: start,
            duration,
            bytes: bytes.len() as u64,
            samples: u32::try_from(cues.len()).unwrap_or(u32::MAX),
            sha256: Digest::of(bytes),
            key_end: None,
            last_sample: None,
            restored: false,
        }
    }

    /// Whether all but its origin is the same.
    pub(super) fn says_what(&self, other: &Self) -> bool {
        let facts = |one: &Self| (one.decode_time, one.duration, one.bytes, one.samples);
        facts(self) == facts(other) && self.sha256 == other.sha256
    }

    pub(super) fn end(&self) -> u64 {
        self.decode_time.saturating_add(self.duration)
    }
}

/// A track and what has been stored of it.
#[derive(Debug)]
pub(super) struct TrackState {
    pub(super) spec: TrackSpec,
    pub(super) codec: String,
    pub(super) init: Vec<u8>,
    pub(super) records: BTreeMap<u32, Record>,
    /// How many segments the stored playlist names.
    pub(super) published: u32,
    /// The whole file, of subtitles.
    pub(super) whole: Option<Record>,
    /// The file that all segments are put into, if they are.
    pub(super) single: Option<SingleFile>,
    pub(super) growth: Growth,
}

impl TrackState {
    pub(super) fn new(spec: TrackSpec) -> Result<Self, PackageError> {
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
            single: None,
            growth: Growth::Event,
        })
    }

    pub(super) fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.spec.name)
    }

    pub(super) fn name(&self) -> String {
        self.spec.name.clone()
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.spec.track, Track::Text(_))
    }

    pub(super) fn has_pictures(&self) -> bool {
        matches!(self.spec.track, Track::Video(_))
    }

    /// Width and height in square pixels, of pictures.
    pub(super) fn display_size(&self) -> Option<(u32, u32)> {
        match &self.spec.track {
            Track::Video(video) => Some(video.display_size()),
            Track::Audio(_) | Track::Text(_) => None,
        }
    }

    /// When the last segment's presentation ends.
    pub(super) fn end(&self) -> Option<Duration> {
        let (_, last) = self.records.last_key_value()?;
        let (start, duration) = self.presentation(last);
        let nanos = u128::from(start + duration) * 1_000_000_000;
        let nanos = nanos / u128::from(self.spec.track.timescale().max(1));
        Some(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }

    /// Place, presentation time and duration of each segment, in ticks.
    pub(super) fn extents_by_index(&self) -> impl Iterator<Item = (u32, u64, u64)> {
        self.records.iter().map(|(&index, record)| {
            let (start, duration) = self.presentation(record);
            (index, start, duration)
        })
    }

    /// The name under which the whole file of subtitles is recorded, which is its path but for the extension.
    pub(super) fn whole_name(&self) -> String {
        whole_text_name(&self.spec.name)
    }

    /// The name of a segment in the track's folder.
    pub(super) fn file(&self, index: u32) -> String {
        if self.is_text() {
            text_name(index)
        } else {
            segment_name(index)
        }
    }

    /// Checks a segment of subtitles and writes its bytes.
    pub(super) fn write_text(
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
    pub(super) fn mux(
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
        let length = bytes.len() as u64;
        let behind = segment.samples.iter().skip(1);
        let behind: u64 = behind.map(|sample| sample.data.len() as u64).sum();
        let record = Record {
            decode_time: segment.decode_time,
            duration: segment.duration(),
            bytes: length,
            samples: u32::try_from(segment.samples.len()).unwrap_or(u32::MAX),
            sha256: Digest::of(&bytes),
            key_end: self.has_pictures().then(|| length - behind),
            last_sample: segment.samples.last().map(|last| last.duration.into()),
            restored: false,
        };
        drop(segment);
        Ok((record, bytes))
    }

    pub(super) fn stored(&self, index: u32, record: &Record) -> StoredSegment {
        StoredSegment {
            track: self.name(),
            index,
            decode_time: record.decode_time,
            duration: record.duration,
            samples: record.samples,
            bytes: record.bytes,
            sha256: record.sha256,
            key_end: record.key_end,
            last_sample: record.last_sample,
        }
    }

    /// Holds a segment that was made again against the one that is there.
    pub(super) fn compare(
        &self,
        index: u32,
        stored: &Record,
        made: &Record,
    ) -> Result<(), PackageError> {
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
}
