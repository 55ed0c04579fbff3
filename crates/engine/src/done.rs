//! What an earlier run of a job left behind, as the engine needs it: tasks that need no encoder, spans that need no decoder.

use std::collections::{BTreeMap, BTreeSet};

use rungs_package::output::{Fact, StoredSegment, StoredSpan};
use rungs_package::{is_still, whole_text_name};

use crate::ids::{RenditionId, SegmentIndex, TaskId};
use crate::message::PumpSummary;
use crate::plan::{Plan, Rendition};

/// The done part of a job. Empty for a job that begins.
#[derive(Clone, Debug, Default)]
pub struct Done {
    tasks: BTreeSet<TaskId>,
    /// By the track's place in the plan.
    sound: BTreeSet<(usize, SegmentIndex)>,
    /// By the track's place in the plan; `None` is its whole file.
    text: BTreeSet<(usize, Option<SegmentIndex>)>,
    spans: BTreeMap<SegmentIndex, StoredSpan>,
    segments: Vec<StoredSegment>,
    renditions: usize,
    sounds: usize,
    texts: usize,
    /// Whether the playlists have their end already.
    closed: bool,
}

impl Done {
    /// Sorts what an output knows by the plan. Segments of tracks that are not in the plan do not count.
    #[must_use]
    pub fn new(plan: &Plan, facts: &[Fact]) -> Self {
        let mut done = Self {
            renditions: plan.renditions().len(),
            sounds: plan.audio.len(),
            texts: plan.text.len(),
            ..Self::default()
        };
        for fact in facts {
            match fact {
                Fact::Span(span) => {
                    done.spans.insert(SegmentIndex::new(span.index), *span);
                }
                Fact::Segment(segment) => done.take(plan, segment),
                Fact::Closing | Fact::Finished => done.closed = true,
                // It is in the plan already.
                Fact::TakenOver { .. } => {}
            }
        }
        done
    }

    fn take(&mut self, plan: &Plan, segment: &StoredSegment) {
        let index = SegmentIndex::new(segment.index);
        let is = |rendition: &&Rendition| video_track_name(&rendition.name) == segment.track;
        if let Some(rendition) = plan.renditions().iter().find(is) {
            self.tasks.insert(TaskId {
                span: index,
                rendition: rendition.id,
            });
        } else if let Some(place) = plan
            .audio
            .iter()
            .position(|audio| sound_track_name(&audio.name) == segment.track)
        {
            self.sound.insert((place, index));
        } else if let Some(part) = text_part(plan, segment) {
            self.text.insert(part);
        } else if !is_still(&segment.track) {
            return;
        }
        self.segments.push(segment.clone());
    }

    /// The tasks that are done.
    #[must_use]
    pub fn tasks(&self) -> &BTreeSet<TaskId> {
        &self.tasks
    }

    /// The segments of pictures, sound and subtitles that are stored already, in no order.
    pub fn media(&self) -> impl Iterator<Item = &StoredSegment> {
        let segments = self.segments.iter();
        segments.filter(|segment| !is_still(&segment.track))
    }

    /// What is stored already, images included, in no order.
    #[must_use]
    pub fn segments(&self) -> &[StoredSegment] {
        &self.segments
    }

    /// Whether the playlists have their end already, so that nothing may be published before all is done.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What is known of a span whose tasks are all done: it need not be decoded.
    #[must_use]
    pub fn span(&self, index: SegmentIndex) -> Option<&StoredSpan> {
        let first = TaskId {
            span: index,
            rendition: RenditionId::new(0),
        };
        let last = TaskId {
            rendition: RenditionId::new(u16::MAX),
            ..first
        };
        let done = self.tasks.range(first..=last).count();
        let span = self.spans.get(&index);
        span.filter(|_| self.renditions > 0 && done == self.renditions)
    }

    /// The spans that need not be decoded, in order.
    fn complete(&self) -> impl Iterator<Item = &StoredSpan> {
        self.spans.keys().filter_map(|index| self.span(*index))
    }

    /// Where the spans end that need not be decoded, in ticks.
    pub(crate) fn ends(&self) -> BTreeMap<SegmentIndex, i64> {
        self.complete()
            .map(|span| (SegmentIndex::new(span.index), span.end))
            .collect()
    }

    /// How many spans the source has, if a run has seen its end.
    #[must_use]
    pub fn spans_in_all(&self) -> Option<u32> {
        let last = self.spans.values().find(|span| span.last)?;
        Some(last.index + 1)
    }

    /// Whether nothing is left to make of the track of sound at this place in the plan.
    #[must_use]
    pub fn sound_is_done(&self, place: usize) -> bool {
        self.spans_in_all().is_some_and(|spans| {
            (0..spans).all(|index| self.sound.contains(&(place, SegmentIndex::new(index))))
        })
    }

    /// Whether nothing of the subtitles is left to make; so it is with a job that has none.
    #[must_use]
    pub fn text_is_done(&self) -> bool {
        let done = |place, part| self.text.contains(&(place, part));
        (0..self.texts).all(|place| {
            done(place, None)
                && self.spans_in_all().is_some_and(|spans| {
                    (0..spans).all(|index| done(place, Some(SegmentIndex::new(index))))
                })
        })
    }

    /// Whether nothing is left to make at all.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        (0..self.sounds).all(|place| self.sound_is_done(place))
            && self.text_is_done()
            && self.spans_in_all().is_some_and(|spans| {
                (0..spans).all(|index| self.span(SegmentIndex::new(index)).is_some())
            })
    }

    /// What a pump would have said of the spans that need not be read.
    pub(crate) fn pump_summary(&self) -> PumpSummary {
        let mut summary = PumpSummary::default();
        for span in self.complete() {
            summary.spans += 1;
            summary.end = summary.end.max(span.end);
            summary.held += u64::from(span.held);
            summary.frames += u64::from(span.frames);
        }
        summary
    }
}

/// The track of subtitles that a segment belongs to, and its place in it; `None` is the whole file.
fn text_part(plan: &Plan, segment: &StoredSegment) -> Option<(usize, Option<SegmentIndex>)> {
    for (place, text) in plan.text.iter().enumerate() {
        let name = text_track_name(&text.name);
        if segment.track == name {
            return Some((place, Some(SegmentIndex::new(segment.index))));
        }
        if segment.track == whole_text_name(&name) {
            return Some((place, None));
        }
    }
    None
}

/// The packager's name of a rendition's track.
pub(crate) fn video_track_name(rendition: &str) -> String {
    format!("video/{rendition}")
}

/// The packager's name of the sound's track.
pub(crate) fn sound_track_name(sound: &str) -> String {
    format!("audio/{sound}")
}

/// The packager's name of a track of subtitles.
pub(crate) fn text_track_name(text: &str) -> String {
    format!("text/{text}")
}
