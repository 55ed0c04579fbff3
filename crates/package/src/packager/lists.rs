//! What playlists, manifests and the report say of a track.

use super::Layout;
use super::error::PackageError;
use super::state::{Record, TrackState};
use crate::bandwidth::{Bandwidth, Extent, measure};
use crate::hls::{ByteRange, Growth, Map, MediaPlaylist, MediaSegment};
use crate::language;
use crate::presentation::{INIT, Rendition, single_name};
use crate::single::{Part, Piece, SingleFile};
use crate::summary::{MediaSummary, TrackSummary};
use crate::track::Track;

/// Frames that follow each other.
#[derive(Clone, Copy, Debug)]
struct Frames {
    count: u64,
    /// How long they are shown, in all.
    ticks: u64,
}

impl Frames {
    fn of(record: &Record) -> Self {
        Self {
            count: record.samples.into(),
            ticks: record.duration,
        }
    }
}

impl TrackState {
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
                    length: key_end
                        .saturating_sub(piece.map_or(0, |piece| piece.front.len() as u64)),
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

    pub(super) fn piece(&self, index: u32) -> Option<&Piece> {
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
        let single = SingleFile::new(&self.spec.track, &parts);
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

    pub(super) fn presentation(&self, record: &Record) -> (u64, u64) {
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

    /// Replaces the stated rate of a video by the highest that a segment really has, unless it lies between that and the average: players are
    /// told the highest (RFC 8216 §4.3.4.2), and few frames more or less make it no other. The last segment and those under half the target
    /// say little, and are looked at only if there are no others; then without the last frame, whose duration is no distance to another frame.
    pub(super) fn correct_rate(&mut self, layout: Layout) {
        /// Rates that differ by this part of them are the same, written otherwise.
        const SAME: f64 = 0.001;
        if !matches!(self.spec.track, Track::Video(_)) {
            return;
        }
        let timescale = f64::from(self.spec.track.timescale());
        let target = layout.segment_duration.as_secs_f64();
        let long = |frames: &Frames| frames.ticks as f64 / timescale * 2.0 >= target;
        let whole = self.records.len().saturating_sub(1);
        let mut counted: Vec<Frames> = self.records.values().map(Frames::of).take(whole).collect();
        if counted.iter().any(long) {
            counted.retain(long);
        } else {
            counted.extend(self.last_frames());
        }
        let rate = |counted: &[Frames]| {
            let count: u64 = counted.iter().map(|frames| frames.count).sum();
            let ticks: u64 = counted.iter().map(|frames| frames.ticks).sum();
            count as f64 * timescale / ticks.max(1) as f64
        };
        let highest = counted
            .iter()
            .map(|frames| rate(std::slice::from_ref(frames)))
            .fold(0.0, f64::max);
        let between = rate(&counted) * (1.0 - SAME)..=highest * (1.0 + SAME);
        let stated = self
            .spec
            .frame_rate
            .filter(|stated| between.contains(stated));
        self.spec.frame_rate = stated.or(Some(highest));
    }

    /// The frames of the last segment without its last one; with it where it is the only frame of the track, or where its duration is not
    /// known: then an earlier program stored the segment, which counted it. None where it is the only one of its segment.
    fn last_frames(&self) -> Option<Frames> {
        let record = self.records.values().last()?;
        let all = Frames::of(record);
        let Some(last) = record.last_sample else {
            return Some(all);
        };
        if all.count <= 1 {
            return (self.records.len() == 1).then_some(all);
        }
        Some(Frames {
            count: all.count - 1,
            ticks: all.ticks.saturating_sub(last),
        })
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
