//! A record and a journal that were read in, a refusal out if they hold what no job has: names that lead elsewhere, numbers out of all
//! bounds; and the rows that do not agree with each other.
//!
//! A folder may come from anybody. What passes here is still not taken to be true, but nothing that is computed from it overflows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;

use rungs_package::is_still;
use rungs_package::output::{StoredSegment, StoredSpan};

use super::database::{Phase, Rows};
use super::names::Names;
use super::record::JobRecord;
use crate::plan::{AudioPlan, Plan, Rendition};
use crate::spec::SpecError;
use crate::stills::{Every, INTERVAL, PosterTime};

/// Ticks of any time, more than a hundred years of the finest unit.
const TICKS: i64 = 1 << 52;
/// Segments of a track.
const MOST_SEGMENTS: u32 = 1 << 24;
/// Bytes of a segment, and of any other thing that a plan knows.
const BYTES: u64 = 1 << 48;
/// Seconds of the longest segment.
const LONGEST_SEGMENT: i64 = 3600;
/// Bits a second.
const MOST_BITS: u64 = 1 << 40;
/// The highest of several numbers that have no unit in common.
const SIDE: u32 = 1 << 16;

/// What no record and no journal has.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// A number is out of bounds.
    #[error("{field} is {value}")]
    Number {
        /// What it is of.
        field: &'static str,
        /// The number.
        value: String,
    },
    /// A name is that of nothing that the job makes.
    #[error("{name:?} is no name of a track of this job")]
    Name {
        /// The name.
        name: String,
    },
    /// There are no renditions, or their ids are not their places.
    #[error("its renditions are not numbered in their order")]
    Renditions,
    /// The settings cannot be used.
    #[error("its settings cannot be used")]
    Spec(#[from] SpecError),
}

fn within<T: Copy + PartialOrd + Display>(
    field: &'static str,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<(), Unfit> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Unfit::Number {
        field,
        value: value.to_string(),
    })
}

/// Refuses a name that is not one plain part of a path, or that was seen.
fn check_name<'a>(seen: &mut BTreeSet<&'a str>, name: &'a str) -> Result<(), Unfit> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain);
    if fits && seen.insert(name) {
        return Ok(());
    }
    Err(Unfit::Name {
        name: name.to_owned(),
    })
}

impl JobRecord {
    /// Refuses what no job is begun with.
    pub(super) fn check(&self) -> Result<(), Unfit> {
        self.spec.check()?;
        check_plan(&self.plan)
    }
}

fn check_plan(plan: &Plan) -> Result<(), Unfit> {
    check_times(plan)?;
    within("the size of a frame", plan.frame_bytes, &(0..=BYTES))?;
    let mut ids = plan.renditions().iter().map(|one| one.id.place());
    if plan.renditions().is_empty() || !ids.by_ref().eq(0..plan.renditions().len()) {
        return Err(Unfit::Renditions);
    }
    let mut seen = BTreeSet::new();
    for rendition in plan.renditions() {
        check_name(&mut seen, &rendition.name)?;
        check_rendition(rendition)?;
    }
    seen.clear();
    for audio in &plan.audio {
        check_name(&mut seen, &audio.name)?;
        check_audio(audio)?;
    }
    seen.clear();
    for text in &plan.text {
        check_name(&mut seen, &text.name)?;
    }
    check_stills(plan)
}

fn check_times(plan: &Plan) -> Result<(), Unfit> {
    let grid = plan.grid;
    let ticks = grid.timescale().ticks_per_second();
    within("the timescale", ticks, &(1..=1_000_000))?;
    if !grid.timescale().is_usable() {
        return Err(Unfit::Number {
            field: "the source's time base",
            value: "0".to_owned(),
        });
    }
    let longest = i64::from(ticks) * LONGEST_SEGMENT;
    within("the segment", grid.segment(), &(1..=longest))?;
    let nominal = plan.nominal_duration;
    within("the duration of a frame", nominal, &(0..=TICKS))?;
    // Times of the source are compared with those of a new plan before anything is computed from them.
    match plan.source.frame_rate {
        Some(rate) => within("the frame rate", rate, &(f64::MIN_POSITIVE..=4e9)),
        None => Ok(()),
    }
}

fn check_rendition(rendition: &Rendition) -> Result<(), Unfit> {
    let sides = 1..=SIDE;
    let encoder = &rendition.encoder;
    let (own, made) = (rendition.size, (encoder.width, encoder.height));
    for side in [own.width, own.height, made.0, made.1] {
        within("a side of a rendition", side, &sides)?;
    }
    for bits in [rendition.estimate.peak, rendition.estimate.average] {
        within("an estimated bit rate", bits, &(0..=MOST_BITS))?;
    }
    if let Some(rate) = encoder.frame_rate {
        within("a rendition's frame rate", rate.num, &(1..=i32::MAX))?;
        within("a rendition's frame rate", rate.den, &(1..=i32::MAX))?;
    }
    if let Some(gop) = rendition.gop {
        within("the distance of keyframes", gop, &(1..=u32::MAX))?;
    }
    let working_set = rendition.working_set;
    within("the memory of an encoder", working_set, &(0..=BYTES))?;
    within(
        "the speed in the trial",
        rendition.trial_speed,
        &(0.0..=f64::MAX),
    )
}

fn check_audio(audio: &AudioPlan) -> Result<(), Unfit> {
    within("the sample rate", audio.sample_rate, &(1..=1 << 22))?;
    within("the number of channels", audio.channels, &(1..=1024))?;
    within("the packet of audio", audio.frame, &(1..=1 << 22))?;
    within("the priming of audio", audio.priming, &(0..=1 << 22))?;
    within("the gain", audio.gain, &(-100_000..=100_000))
}

fn check_stills(plan: &Plan) -> Result<(), Unfit> {
    if let Some(Every::Seconds(seconds)) = plan.stills.storyboard {
        within("the time between thumbnails", seconds, &INTERVAL)?;
    }
    if let Some(PosterTime::At(seconds)) = plan.stills.poster {
        within("the time of the poster", seconds, &(0.0..=1e9))?;
    }
    Ok(())
}

impl Rows {
    /// Refuses rows that no job with this plan has.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), Unfit> {
        let names = Names::of(plan);
        for segment in &self.segments {
            if !names.have_track(&segment.track) {
                return Err(Unfit::Name {
                    name: segment.track.clone(),
                });
            }
            check_segment(segment)?;
        }
        self.spans.iter().try_for_each(check_span)
    }
}

fn check_segment(segment: &StoredSegment) -> Result<(), Unfit> {
    let ticks = 0..=TICKS.unsigned_abs();
    within(
        "the number of a segment",
        segment.index,
        &(0..=MOST_SEGMENTS),
    )?;
    within("the time of a segment", segment.decode_time, &ticks)?;
    within("the duration of a segment", segment.duration, &ticks)?;
    within("the length of a segment", segment.bytes, &(0..=BYTES))?;
    if let Some(end) = segment.key_end {
        within("the end of a keyframe", end, &(0..=segment.bytes))?;
    }
    if let Some(last) = segment.last_sample {
        within(
            "the duration of a last sample",
            last,
            &(0..=segment.duration),
        )?;
    }
    let most = if segment.track.ends_with("/all") {
        0
    } else {
        MOST_SEGMENTS
    };
    within("the number of a whole file", segment.index, &(0..=most))
}

fn check_span(span: &StoredSpan) -> Result<(), Unfit> {
    within("the number of a span", span.index, &(0..=MOST_SEGMENTS))?;
    within("the start of a span", span.start, &(0..=TICKS))?;
    within("the end of a span", span.end, &(span.start..=TICKS))?;
    within("the held frames of a span", span.held, &(0..=span.frames))
}

/// The segments on whose time the rows do not agree, to be made again: a segment of video or subtitles lies on its span, and the last span is the
/// one after which nothing comes.
pub(super) fn disagreeing(rows: &Rows) -> Vec<StoredSegment> {
    let last = rows.spans.iter().map(|span| span.index).max();
    let spans: BTreeMap<u32, &StoredSpan> =
        rows.spans.iter().map(|span| (span.index, span)).collect();
    let is_bad = |segment: &&StoredSegment| {
        let Some(span) = spans.get(&segment.index) else {
            return true;
        };
        let ends_early = span.last && Some(span.index) != last;
        let is_open = !span.last && Some(span.index) == last && rows.phase > Phase::Open;
        ends_early || is_open || !lies_on(segment, span)
    };
    let on_spans = rows.segments.iter();
    let on_spans = on_spans.filter(|segment| is_on_spans(segment));
    let bad: BTreeSet<u32> = on_spans.filter(is_bad).map(|one| one.index).collect();
    let of_bad = |segment: &&StoredSegment| is_on_spans(segment) && bad.contains(&segment.index);
    rows.segments.iter().filter(of_bad).cloned().collect()
}

/// Whether the cuts of the video are those of the segment's track.
pub(super) fn is_on_spans(segment: &StoredSegment) -> bool {
    let track = &segment.track;
    !is_still(track)
        && (track.starts_with("video/") || track.starts_with("text/") && !track.ends_with("/all"))
}

/// Whether a segment has the time of its span, and if it is video, its frames.
pub(super) fn lies_on(segment: &StoredSegment, span: &StoredSpan) -> bool {
    let frames = !segment.track.starts_with("video/") || span.frames == segment.samples;
    span.start.unsigned_abs() == segment.decode_time
        && (span.end - span.start).unsigned_abs() == segment.duration
        && frames
}
