//! One track of a package: what has been stored of it, and what a segment has to be like to be stored too.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::PackageError;
use super::{Layout, TrackSpec};
use crate::av1::{Av1Error, sequence_headers};
use crate::bandwidth::{Bandwidth, Extent, measure};
use crate::cmaf::{self, MuxError};
use crate::coding::Coding;
use crate::digest::Digest;
use crate::hls::{ByteRange, Growth, Map, MediaPlaylist, MediaSegment};
use crate::language;
use crate::nal::Family;
use crate::output::StoredSegment;
use crate::presentation::{INIT, Rendition, segment_name, single_name, text_name, whole_text_name};
use crate::single::{Part, Piece, SingleFile};
use crate::summary::{MediaSummary, TrackSummary};
use crate::text::{self, Cue, TextSegment};
use crate::track::{Sample, Segment, Track, VideoTrack};

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
            restored: false,
        }
    }

    fn end(&self) -> u64 {
        self.decode_time.saturating_add(self.duration)
    }
}

/// A track and what has been stored of it.
#[derive(Debug)]
pub(super) struct TrackState {
    pub(super) spec: TrackSpec,
    codec: String,
    pub(super) init: Vec<u8>,
    pub(super) records: BTreeMap<u32, Record>,
    /// How many segments the stored playlist names.
    pub(super) published: u32,
    /// The whole file, of subtitles.
    pub(super) whole: Option<Record>,
    /// The file that all segments are put into, if they are.
    pub(super) single: Option<SingleFile>,
    growth: Growth,
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

    fn name(&self) -> String {
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
    pub(super) fn playlist(&self, count: u32, layout: Layout, ended: bool) -> String {
        let segments = self.records.range(..count).map(|(&index, record)| {
            let (start, duration) = self.presentation(record);
            MediaSegment {
                uri: self.uri(index),
                range: self.piece(index).map(|piece| piece.range),
                start,
                duration,
            }
        });
        let segments = segments.collect();
        self.listed(segments, layout, ended).render()
    }

    /// Writes the I-frame playlist of the first `count` segments; `None` where there are no pictures. An entry is a segment up to the end of
    /// its first sample, which with reordered pictures too is the one that can be decoded alone.
    pub(super) fn frames_playlist(
        &self,
        count: u32,
        layout: Layout,
        ended: bool,
    ) -> Option<String> {
        if !self.has_pictures() {
            return None;
        }
        let frames = self.records.range(..count).filter_map(|(&index, record)| {
            let (start, duration) = self.presentation(record);
            let key_end = record.key_end?;
            let piece = self.piece(index);
            Some(MediaSegment {
                uri: self.uri(index),
                range: Some(ByteRange {
                    offset: piece.map_or(0, |piece| piece.range.offset),
                    length: key_end - piece.map_or(0, |piece| piece.front.len() as u64),
                }),
                start,
                duration,
            })
        });
        let playlist = MediaPlaylist {
            frames_only: true,
            ..self.listed(frames.collect(), layout, ended)
        };
        Some(playlist.render())
    }

    /// Where a segment is, relative to the playlists.
    fn uri(&self, index: u32) -> String {
        match self.single {
            Some(_) => self.single_uri(),
            None => self.file(index),
        }
    }

    /// The file of all segments, relative to the playlists.
    fn single_uri(&self) -> String {
        let name = self.spec.name.rsplit('/').next();
        format!("../{}", single_name(name.unwrap_or(&self.spec.name)))
    }

    fn piece(&self, index: u32) -> Option<&Piece> {
        self.single.as_ref()?.pieces.get(&index)
    }

    /// Puts all segments into one file. Subtitles stay as they are; the playlists of either are written once.
    pub(super) fn join(&mut self) -> Result<(), PackageError> {
        self.growth = Growth::Whole;
        if self.is_text() {
            return Ok(());
        }
        let parts = self.records.iter().map(|(&index, record)| {
            let part = Part {
                bytes: record.bytes,
                decode_time: record.decode_time,
                duration: record.duration,
            };
            (index, part)
        });
        let parts = parts.collect();
        let single = SingleFile::new(&self.spec.track, &self.init, &parts);
        self.single = Some(single.map_err(|source| PackageError::Track {
            track: self.name(),
            source,
        })?);
        Ok(())
    }

    fn listed(&self, segments: Vec<MediaSegment>, layout: Layout, ended: bool) -> MediaPlaylist {
        let map = match &self.single {
            Some(single) => Map {
                uri: self.single_uri(),
                range: Some(single.init),
            },
            None => Map {
                uri: INIT.to_owned(),
                range: None,
            },
        };
        MediaPlaylist {
            target_duration: layout.target_seconds(),
            timescale: self.spec.track.timescale(),
            growth: self.growth,
            map: (!self.is_text()).then_some(map),
            segments,
            frames_only: false,
            ended,
        }
    }

    fn presentation(&self, record: &Record) -> (u64, u64) {
        self.spec
            .track
            .presentation(record.decode_time, record.duration)
    }

    /// What manifests say of the track, at the rates of the whole and of its keyframes alone.
    pub(super) fn rendition(&self, (bandwidth, frames): (Bandwidth, Bandwidth)) -> Rendition<'_> {
        let timeline = self
            .records
            .values()
            .map(|record| self.presentation(record));
        Rendition {
            spec: &self.spec,
            codec: &self.codec,
            bandwidth,
            frames,
            timeline: timeline.collect(),
            single: self.single.as_ref(),
        }
    }

    /// Replaces the stated rate of a video by the highest that a segment really has, unless it lies among those that segments have. The last
    /// segment, whose last picture may be shown as short as it likes, and those under half the target say little, and are looked at only if there are
    /// no others.
    pub(super) fn correct_rate(&mut self, layout: Layout) {
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

    fn extents(&self, bytes: impl Fn(&Record) -> Option<u64>) -> Vec<Extent> {
        let extents = self.records.iter().map(|(&index, record)| {
            let front = self
                .piece(index)
                .map_or(0, |piece| piece.front.len() as u64);
            Extent {
                bytes: bytes(record).unwrap_or(0).saturating_sub(front),
                ticks: self.presentation(record).1,
            }
        });
        extents.collect()
    }

    /// The rates of the I-frame playlist.
    pub(super) fn frames_bandwidth(&self, layout: Layout) -> Bandwidth {
        let timescale = self.spec.track.timescale();
        let extents = self.extents(|record| record.key_end);
        let target = layout.target_seconds() * u64::from(timescale);
        measure(&extents, target, timescale)
    }

    pub(super) fn summary(&self, layout: Layout) -> TrackSummary {
        let timescale = self.spec.track.timescale();
        let extents = self.extents(|record| Some(record.bytes));
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
