//! What a segment has to be like to become part of a track: it starts with a keyframe, keeps the codec contract, and joins its neighbours.

use super::Layout;
use super::error::PackageError;
use super::state::TrackState;
use crate::av1::{Av1Error, sequence_headers};
use crate::cmaf::MuxError;
use crate::coding::Coding;
use crate::nal::Family;
use crate::track::{Sample, Segment, Track, VideoTrack};

impl TrackState {
    pub(super) fn check_samples(&self, index: u32, segment: &Segment) -> Result<(), PackageError> {
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

    pub(super) fn check_times(
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
}
