//! What travels between the threads: spans, tasks, assignments and outcomes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rungs_media::encode::EncodedPacket;
use rungs_media::frame::Frame;
use rungs_package::output::StoredSpan;

use crate::cancel::Cancel;
use crate::device::Lease;
use crate::error::EncodeError;
use crate::feed::Feed;
use crate::ids::{AttemptId, JobId, SegmentIndex, TaskId};
use crate::inspect::{Depth, GLANCE, Inspected, Signature};
use crate::plan::Rendition;
use crate::scaling::{Scaling, Sizer};
use crate::sync::{Mutex, PoisonError};
use crate::timeline::{Cell, Placed};

/// The decoded, normalised pictures of one segment's stretch of time, shared by all renditions; in this process's memory, or kept on a GPU. Immutable; the pictures are let
/// go when the last task has let go of the span.
#[derive(Debug)]
pub struct Span {
    /// Its place.
    pub index: SegmentIndex,
    /// Time of its first picture, in ticks.
    pub start: i64,
    /// Time at which the next span starts or the presentation ends, in ticks.
    pub end: i64,
    /// The pictures with their times; at least one.
    pub frames: Vec<Placed<Frame>>,
    /// How many of them repeat the one before.
    pub held: u32,
    /// Whether the source is known to end with it.
    pub last: bool,
    /// What the first pictures look like from afar, as many as were needed so far.
    looks: Mutex<Arc<[Signature]>>,
}

impl Span {
    /// Makes a span of a complete cell.
    #[must_use]
    pub fn new(cell: Cell<Frame>) -> Self {
        Self {
            index: cell.index,
            start: cell.start,
            end: cell.end,
            frames: cell.pictures,
            held: cell.held,
            last: false,
            looks: Mutex::new(Arc::new([])),
        }
    }

    /// What the first `count` pictures at least look like from afar, in order. Those of a glance do not need the others to be looked at. Computed when it is
    /// first asked for; others who ask meanwhile wait.
    pub(crate) fn signatures(
        &self,
        count: usize,
        scaling: &Scaling,
    ) -> Result<Arc<[Signature]>, EncodeError> {
        let all = self.frames.len();
        let wanted = if count > GLANCE { all } else { GLANCE.min(all) };
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() < wanted {
            let look = |placed: &Placed<Frame>| Ok(Signature::of(&scaling.bring(&placed.item)?));
            let made: Result<_, EncodeError> = self.frames[..wanted].iter().map(look).collect();
            *looks = made?;
        }
        Ok(Arc::clone(&looks))
    }

    /// Bytes that the pictures take, or would take in this process. A picture that stands in the span twice counts once for each.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.frames
            .iter()
            .map(|frame| frame.item.bytes_here() as u64)
            .sum()
    }

    /// Its place and its times.
    #[must_use]
    pub fn outline(&self) -> Outline {
        Outline {
            index: self.index,
            times: self.frames.iter().map(|frame| frame.time).collect(),
            end: self.end,
            held: self.held,
        }
    }
}

/// What is known of a span without its pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its place.
    pub index: SegmentIndex,
    /// Times of its pictures, in ticks; at least one.
    pub times: Vec<i64>,
    /// Time at which the next span starts or the presentation ends, in ticks.
    pub end: i64,
    /// How many pictures repeat the one before.
    pub held: u32,
}

impl Outline {
    /// Time of its first picture, in ticks.
    #[must_use]
    pub fn start(&self) -> i64 {
        self.times.first().copied().unwrap_or(self.end)
    }

    /// What whoever goes on with the job has to know of it; `last` if the source ends with it.
    #[must_use]
    pub fn stored(&self, last: bool) -> StoredSpan {
        StoredSpan {
            index: self.index.get(),
            start: self.start(),
            end: self.end,
            frames: u32::try_from(self.times.len()).unwrap_or(u32::MAX),
            held: self.held,
            last,
        }
    }

    /// The duration of each picture in ticks, in order.
    pub fn durations(&self) -> impl Iterator<Item = i64> + '_ {
        let ends = self.times.iter().skip(1).copied().chain([self.end]);
        self.times.iter().zip(ends).map(|(start, end)| end - start)
    }
}

/// How a task gets its pictures.
#[derive(Debug)]
pub enum Footage {
    /// They are all there, and can be had again.
    Whole(Arc<Span>),
    /// They come as they are decoded, once.
    Fed(Box<Feed>),
}

impl Footage {
    /// Place of the span.
    #[must_use]
    pub fn index(&self) -> SegmentIndex {
        match self {
            Self::Whole(span) => span.index,
            Self::Fed(feed) => feed.index(),
        }
    }

    /// Place and times of the span; `None` for a feed that was not taken to its end.
    #[must_use]
    pub fn outline(&self) -> Option<Outline> {
        match self {
            Self::Whole(span) => Some(span.outline()),
            Self::Fed(feed) => feed.outline(),
        }
    }

    /// The span, where all of it is there.
    #[must_use]
    pub fn whole(&self) -> Option<&Arc<Span>> {
        match self {
            Self::Whole(span) => Some(span),
            Self::Fed(_) => None,
        }
    }
}

/// The pictures of a task, one after another.
#[derive(Debug)]
pub struct Pictures<'a> {
    task: &'a Task,
    next: usize,
}

impl Pictures<'_> {
    /// The next picture with its time in ticks of the presentation, or `None` after the last. Blocks while a fed one is being decoded.
    ///
    /// # Errors
    /// [`EncodeError::Cancelled`] once `cancel` is set, [`EncodeError::Starved`] if a feed ends before its span does.
    pub fn next(&mut self, cancel: &Cancel) -> Result<Option<Placed<Frame>>, EncodeError> {
        if cancel.is_cancelled() {
            return Err(EncodeError::Cancelled);
        }
        match &self.task.footage {
            Footage::Whole(span) => {
                self.next += 1;
                Ok(span.frames.get(self.next - 1).cloned())
            }
            Footage::Fed(feed) => {
                let scaling = self.task.scaling.as_ref();
                feed.next(cancel, self.task.depth.looks().then_some(scaling))
            }
        }
    }
}

/// One rendition of one span: the unit of work.
#[derive(Debug)]
pub struct Task {
    /// What to make.
    pub rendition: Arc<Rendition>,
    /// What to make it of.
    pub footage: Footage,
    /// What brings its pictures to the rendition's size.
    pub scaling: Arc<Scaling>,
    /// How many threads the encoder may use. The bytes do not depend on it.
    pub threads: u32,
    /// Whether the result is decoded again and its distance from the pictures measured.
    pub measure: bool,
    /// How closely the result is looked at before it is committed.
    pub depth: Depth,
}

impl Task {
    /// Gives the pictures in order. Of a feed it gives those that have not been taken yet.
    #[must_use]
    pub fn pictures(&self) -> Pictures<'_> {
        Pictures {
            task: self,
            next: 0,
        }
    }

    /// What its pictures look like from afar, in order; of a feed those that it has taken while it is looked at so closely.
    pub(crate) fn signatures(&self, count: usize) -> Result<Arc<[Signature]>, EncodeError> {
        match &self.footage {
            Footage::Whole(span) => span.signatures(count, &self.scaling),
            Footage::Fed(feed) => Ok(feed.signatures().into()),
        }
    }

    /// What brings its pictures to the rendition's size, for one thread.
    #[must_use]
    pub fn sizer(&self) -> Sizer<'_> {
        self.scaling.sizer(self.rendition.scaling())
    }

    /// The task's id in the schedule.
    #[must_use]
    pub fn id(&self) -> TaskId {
        TaskId {
            span: self.footage.index(),
            rendition: self.rendition.id,
        }
    }
}

/// A task with a lease, going out.
#[derive(Debug)]
pub struct Assignment {
    /// Whose task it is.
    pub job: JobId,
    /// Which try of it.
    pub attempt: AttemptId,
    /// The right to a session.
    pub lease: Lease,
    /// The work.
    pub task: Task,
}

/// A task with its lease, coming home.
#[derive(Debug)]
pub struct Outcome {
    /// What went out.
    pub assignment: Assignment,
    /// What came of it.
    pub result: Result<Encoded, EncodeError>,
    /// When the session began with it.
    pub started: Instant,
    /// How long the session was busy with it.
    pub busy: Duration,
}

/// The packets of one segment, one for each picture of its span.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The packets, in order; times are ticks from the start of the span.
    pub packets: Vec<EncodedPacket>,
    /// The encoder's codec configuration as it gave it.
    pub configuration: Vec<u8>,
    /// How close the result is to the pictures, if it was measured.
    pub difference: Option<Difference>,
    /// What it took, if another process did it.
    pub used: Option<Used>,
    /// How long it was decoded and compared with the pictures, if it was.
    pub inspected: Option<Inspected>,
}

/// What another process used for one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its processor time.
    pub cpu: Duration,
    /// The most memory that it ever held, in bytes, where the kernel tells.
    pub peak_memory: Option<u64>,
}

/// Sums of squared differences between what was encoded and what is decoded from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Sum over all samples of the Y, U and V planes.
    pub squares: [u64; 3],
    /// Samples compared, of each plane.
    pub samples: [u64; 3],
}

impl Difference {
    /// Compares two pictures of equal size in 4:2:0, both of 8 or both of 10 bits; of the latter the squares count as if they were of
    /// 8.
    #[must_use]
    pub fn between(a: &Frame, b: &Frame) -> Self {
        let mut difference = Self::default();
        let wide = a.format().bit_depth() > 8;
        for plane in 0..3 {
            let halved =
                |length: u32| if plane == 0 { length } else { length.div_ceil(2) } as usize;
            let (width, height) = (halved(a.width()), halved(a.height()));
            let rows = a
                .plane(plane)
                .chunks(a.stride(plane))
                .zip(b.plane(plane).chunks(b.stride(plane)));
            let mut squares = 0;
            for (left, right) in rows.take(height) {
                squares += if wide {
                    let of = |row| <[u8]>::as_chunks::<2>(row).0.iter().copied();
                    let square = |(l, r)| {
                        let (l, r) = (u16::from_le_bytes(l), u16::from_le_bytes(r));
                        u64::from(l.abs_diff(r)).pow(2)
                    };
                    of(left).zip(of(right)).take(width).map(square).sum::<u64>()
                } else {
                    let square = |(l, r): (&u8, &u8)| u64::from(l.abs_diff(*r)).pow(2);
                    left.iter().zip(right).take(width).map(square).sum::<u64>()
                };
            }
            difference.squares[plane] = if wide {
                // Peaks of 255 and 1023.
                (squares as f64 * (255.0_f64 / 1023.0).powi(2)).round() as u64
            } else {
                squares
            };
            difference.samples[plane] = (width * height) as u64;
        }
        difference
    }

    /// Adds another measurement to this one.
    pub fn add(&mut self, other: &Self) {
        for plane in 0..3 {
            self.squares[plane] += other.squares[plane];
            self.samples[plane] += other.samples[plane];
        }
    }

    /// Peak signal-to-noise ratio of one plane in dB, for 8-bit samples; `None` if nothing was compared or nothing differs.
    #[must_use]
    pub fn psnr(&self, plane: usize) -> Option<f64> {
        let (squares, samples) = (*self.squares.get(plane)?, *self.samples.get(plane)?);
        (squares > 0 && samples > 0)
            .then(|| 10.0 * (255.0 * 255.0 * samples as f64 / squares as f64).log10())
    }
}
