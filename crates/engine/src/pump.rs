//! A decode thread: a stretch of the source in, whole spans out, each decoded only after credit for its bytes.
//!
//! Several pumps may read stretches that meet. A pump whose stretch does not start with the presentation decodes from the keyframe before it
//! and lets go what comes too early; at each end it says which picture it met there, so that the other pump can be held to it.

use std::ops::ControlFlow;

use rungs_media::frame::Frame;

use crate::cancel::Cancel;
use crate::feed::{Feeder, Stopped};
use crate::ids::SegmentIndex;
use crate::message::{Credit, Line, PumpMessage, PumpSummary};
use crate::read::{Bytes, Entered, Material, Picture, Reader, Start};
use crate::schedule::Cut;
use crate::seam::{FirstPicture, Seam};
use crate::span::Span;
use crate::sync::Receiver;
use crate::timeline::{Cell, Entry, Grid, Placed, Timeline, Timescale};

/// Spans that one pump makes, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The first.
    pub(crate) from: SegmentIndex,
    /// The one before which it ends; `None` for the end of the source.
    pub(crate) until: Option<SegmentIndex>,
}

#[cfg(test)]
impl Stretch {
    /// The whole presentation.
    pub(crate) const WHOLE: Self = Self {
        from: SegmentIndex::FIRST,
        until: None,
    };
}

/// How a job's pumps cut, and what they expect a picture to take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PumpPlan {
    pub(crate) grid: Grid,
    /// Duration of a picture that has none, in ticks.
    pub(crate) nominal: i64,
    /// Bytes of a normalised picture.
    pub(crate) frame_bytes: u64,
    /// Where the presentation starts on the source's clock, in ticks.
    pub(crate) offset: i64,
}

/// What one pump is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PumpOrder {
    pub(crate) stretch: Stretch,
    pub(crate) plan: PumpPlan,
}

/// The channels of a pump.
pub(crate) struct PumpLines {
    /// An answer for each span that was asked for.
    pub(crate) credit: Receiver<Credit>,
    /// Where messages go.
    pub(crate) out: Line<PumpMessage>,
    /// Read once a picture.
    pub(crate) cancel: Cancel,
}

/// Ends the pump early: the other side has hung up, or the source cannot be read.
enum Stop {
    HungUp,
    Error(rungs_media::Error),
}

impl From<Stopped> for Stop {
    fn from(_: Stopped) -> Self {
        Self::HungUp
    }
}

impl From<rungs_media::Error> for Stop {
    fn from(error: rungs_media::Error) -> Self {
        Self::Error(error)
    }
}

/// How long a presentation may be, whatever its source has: gaps between few pictures could make days of some kilobytes.
const ALWAYS_SECONDS: u64 = 3600;
/// How much longer it may be for each second: slides and still pictures with sound have more bytes.
const BYTES_A_SECOND: u64 = 100;

/// The longest presentation of a source of so many bytes, in ticks.
pub(crate) fn longest(timescale: Timescale, bytes: u64) -> i64 {
    let seconds = ALWAYS_SECONDS + bytes / BYTES_A_SECOND;
    i64::from(timescale.ticks_per_second())
        .saturating_mul(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// Reads a stretch of the material to its end. Blocks on the reader and on credit; the last message is always `Ended` or `Failed`.
pub(crate) fn run(material: &dyn Material, order: PumpOrder, lines: &PumpLines) {
    let last = match open(material, &order) {
        Ok(flow) => Pump::new(order, (flow, material.bytes()), lines).run(),
        Err(error) => PumpMessage::Failed {
            at: order.plan.grid.boundary(order.stretch.from),
            error,
        },
    };
    // If control is gone there is nobody left to tell.
    lines.out.send(last);
}

/// Spans that are looked at for cuts: more than a day of the shortest, days of the usual ones. How many there are follows from what a header promises,
/// and a header may promise years.
const MOST_CUTS: u32 = 200_000;

/// The spans before `spans` at which a pump can start without reading from the beginning, in order, with what it would decode in vain. Reads
/// nothing; the waste is as good as the container's index.
pub(crate) fn cuts(material: &dyn Material, plan: &PumpPlan, spans: u32) -> Vec<Cut> {
    let timescale = plan.grid.timescale();
    let cut = |place| {
        let span = SegmentIndex::new(place);
        let boundary = plan.grid.source_boundary(span, plan.offset);
        let waste = boundary - material.keyframe_before(boundary)?;
        Some(Cut {
            span,
            waste: timescale.seconds(timescale.from_source(waste)),
        })
    };
    // None beyond where the presentation has to end.
    let spans = match material.bytes() {
        Bytes::Any | Bytes::AsRead => spans,
        Bytes::Known(bytes) => {
            let most = longest(timescale, bytes) / plan.grid.segment();
            spans.min(u32::try_from(most).unwrap_or(u32::MAX))
        }
    };
    (1..spans.min(MOST_CUTS)).filter_map(cut).collect()
}

/// Where a pump's pictures come from, and how they are placed in time.
struct Flow {
    reader: Box<dyn Reader>,
    timeline: Timeline<Frame>,
    /// The picture with which the timeline was entered; it is not on it yet.
    first: Option<Picture>,
}

/// Opens the material for a stretch: at the keyframe before it, or at the beginning where it is not sure that this gives the same pictures at
/// the same times.
fn open(material: &dyn Material, order: &PumpOrder) -> Result<Flow, rungs_media::Error> {
    let (plan, from) = (order.plan, order.stretch.from);
    let straight = |reader| Flow {
        reader,
        timeline: Timeline::new(plan.grid, plan.nominal).skipping_to(from),
        first: None,
    };
    if from > SegmentIndex::FIRST {
        let timestamp = plan.grid.source_boundary(from, plan.offset);
        let mut opened = material.open(Some(Start { timestamp }))?;
        if opened.entered == Entered::Beginning {
            return Ok(straight(opened.reader));
        }
        let first = opened.reader.next()?;
        let entry = Entry {
            from,
            offset: plan.offset,
            first: first.as_ref().and_then(|picture| picture.timestamp),
        };
        if let Ok(timeline) = Timeline::starting_at(plan.grid, plan.nominal, entry) {
            return Ok(Flow {
                reader: opened.reader,
                timeline,
                first,
            });
        }
    }
    Ok(straight(material.open(None)?.reader))
}

/// What may be done with the pictures of a span.
enum Grant {
    Collect,
    Feed(Feeder),
}

struct Pump<'a> {
    order: PumpOrder,
    flow: Flow,
    bytes: Bytes,
    lines: &'a PumpLines,
    summary: PumpSummary,
    /// What the open span may become, once that was asked for and answered.
    granted: Option<Grant>,
    /// Whether the start of the stretch was met and, where another pump ends there, reported.
    has_entered: bool,
    /// Pictures of the reader that are in spans handed over.
    handed: u64,
}

impl<'a> Pump<'a> {
    fn new(order: PumpOrder, (flow, bytes): (Flow, Bytes), lines: &'a PumpLines) -> Self {
        Self {
            order,
            flow,
            bytes,
            lines,
            summary: PumpSummary::default(),
            granted: None,
            has_entered: order.stretch.from == SegmentIndex::FIRST,
            handed: 0,
        }
    }

    fn run(mut self) -> PumpMessage {
        match self.read_all() {
            Ok(()) | Err(Stop::HungUp) => PumpMessage::Ended(self.finished()),
            Err(Stop::Error(error)) => PumpMessage::Failed {
                at: self.summary.end,
                error,
            },
        }
    }

    fn read_all(&mut self) -> Result<(), Stop> {
        loop {
            if self.lines.cancel.is_cancelled() {
                return Err(Stop::HungUp);
            }
            // What comes before the stretch takes no memory.
            let enters = self.flow.first.is_some() || self.flow.timeline.is_running_in();
            if !enters && self.granted.is_none() && self.ask_for_open()?.is_break() {
                return Ok(());
            }
            self.feed()?;
            // What is repaired to place the picture after the stretch is the next pump's to count.
            self.summary.repairs = self.flow.timeline.repairs();
            let picture = self.next_picture()?;
            self.limit();
            let Some(picture) = picture else {
                return self.finish();
            };
            let (timestamp, duration) = (picture.timestamp, picture.duration);
            let cells = self.flow.timeline.push(picture.frame, timestamp, duration);
            if self.flow.timeline.is_over() {
                return self.finish();
            }
            self.enter(&cells)?;
            if self.hand_over(cells, false)?.is_break() {
                return Ok(());
            }
            let open = self.flow.timeline.current();
            if self.order.stretch.until.is_some_and(|until| open >= until) {
                return self.report(open, self.flow.timeline.open().first());
            }
        }
    }

    /// Says how long the presentation may be, as far as is known by now.
    fn limit(&mut self) {
        let bytes = match self.bytes {
            Bytes::Any => return,
            Bytes::Known(bytes) => bytes,
            Bytes::AsRead => self.flow.reader.counts().bytes,
        };
        let timescale = self.order.plan.grid.timescale();
        self.flow.timeline.limit(longest(timescale, bytes));
    }

    fn next_picture(&mut self) -> Result<Option<Picture>, Stop> {
        match self.flow.first.take() {
            Some(picture) => Ok(Some(picture)),
            None => Ok(self.flow.reader.next()?),
        }
    }

    /// The source has ended: hands over the rest and says where the presentation ends.
    fn finish(&mut self) -> Result<(), Stop> {
        let cells = self.flow.timeline.finish();
        self.summary.is_cut = self.flow.timeline.is_over();
        self.summary.spans_in_all = Some(self.flow.timeline.current().get());
        self.enter(&cells)?;
        if !self.has_entered {
            self.report(self.order.stretch.from, None)?;
        }
        if self.hand_over(cells, true)?.is_continue()
            && let Some(until) = self.order.stretch.until
        {
            self.report(until, None)?;
        }
        Ok(())
    }

    /// Reports the first picture of the stretch when it is there.
    fn enter(&mut self, cells: &[Cell<Frame>]) -> Result<(), Stop> {
        let timeline = &self.flow.timeline;
        let first = cells.iter().flat_map(|cell| &cell.pictures).next();
        let first = first.or_else(|| timeline.open().first());
        if !self.has_entered && first.is_some() {
            self.report(self.order.stretch.from, first)?;
            self.has_entered = true;
        }
        Ok(())
    }

    /// Asks for the span that is open now and waits for the answer.
    fn ask_for_open(&mut self) -> Result<ControlFlow<()>, Stop> {
        let Flow {
            reader, timeline, ..
        } = &mut self.flow;
        let (span, grid) = (timeline.current(), self.order.plan.grid);
        let offset = timeline.offset().unwrap_or(self.order.plan.offset);
        let ahead = reader.look_ahead(
            grid.source_boundary(span, offset),
            grid.source_boundary(span.next(), offset),
        )?;
        let pictures = ahead + timeline.open().len() as u64;
        let answer = self.ask(span, pictures * self.order.plan.frame_bytes)?;
        if answer.is_break() {
            self.report_end(span, self.flow.timeline.open().first())?;
        }
        Ok(answer)
    }

    fn ask(&mut self, span: SegmentIndex, bytes: u64) -> Result<ControlFlow<()>, Stop> {
        self.send(PumpMessage::CreditAsked { span, bytes })?;
        let answer = self.lines.credit.recv().map_err(|_| Stop::HungUp)?;
        Ok(match answer {
            Credit::Decode => {
                self.granted = Some(Grant::Collect);
                ControlFlow::Continue(())
            }
            Credit::Feed(feeder) => {
                self.granted = Some(Grant::Feed(feeder));
                ControlFlow::Continue(())
            }
            Credit::End => ControlFlow::Break(()),
        })
    }

    fn hand_over(&mut self, cells: Vec<Cell<Frame>>, ended: bool) -> Result<ControlFlow<()>, Stop> {
        let count = cells.len();
        for (place, cell) in cells.into_iter().enumerate() {
            let beyond = self
                .order
                .stretch
                .until
                .is_some_and(|until| cell.index >= until);
            // A cell that only repeats a held picture shares its memory.
            if beyond || self.granted.is_none() && self.ask(cell.index, 0)?.is_break() {
                self.report_end(cell.index, cell.pictures.first())?;
                return Ok(ControlFlow::Break(()));
            }
            self.complete(cell, ended && place + 1 == count)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn complete(&mut self, cell: Cell<Frame>, last: bool) -> Result<(), Stop> {
        self.summary.spans += 1;
        self.summary.end = cell.end;
        self.summary.held += u64::from(cell.held);
        self.handed += cell.pictures.len() as u64;
        self.handed -= u64::from(cell.held);
        match self.granted.take() {
            Some(Grant::Feed(mut feeder)) => {
                let stop = &self.lines.cancel;
                for picture in &cell.pictures {
                    feeder.give(picture, stop)?;
                }
                let outline = feeder.outline(cell.end, cell.held);
                #[cfg(shuttle)]
                if crate::sync::is_planted(crate::sync::Planted::FedLate) {
                    feeder.end(&outline, stop)?;
                    return self.send(PumpMessage::Fed { outline, last });
                }
                self.send(PumpMessage::Fed {
                    outline: outline.clone(),
                    last,
                })?;
                Ok(feeder.end(&outline, stop)?)
            }
            _ => self.send(PumpMessage::Span {
                span: Span::new(cell),
                last,
            }),
        }
    }

    /// Hands on what there is of a span that is fed.
    fn feed(&mut self) -> Result<(), Stop> {
        if let Some(Grant::Feed(feeder)) = &mut self.granted {
            for picture in self.flow.timeline.take_open() {
                feeder.give(&picture, &self.lines.cancel)?;
                self.handed += 1;
            }
        }
        Ok(())
    }

    /// Reports the picture after the stretch, if there is a stretch: a pump that is ended at its start has said so already.
    fn report_end(&self, span: SegmentIndex, first: Option<&Placed<Frame>>) -> Result<(), Stop> {
        if span == self.order.stretch.from {
            return Ok(());
        }
        self.report(span, first)
    }

    /// Says which picture it met, as far as it can be had from its device.
    fn report(&self, span: SegmentIndex, first: Option<&Placed<Frame>>) -> Result<(), Stop> {
        let offset = self.flow.timeline.offset();
        self.send(PumpMessage::Seam(Seam {
            span,
            first: first.map(|picture| FirstPicture {
                time: picture.time,
                digest: picture.item.download().ok().map(|here| here.digest()),
            }),
            offset: offset.unwrap_or(self.order.plan.offset),
        }))
    }

    fn finished(&self) -> PumpSummary {
        let counts = self.flow.reader.counts();
        PumpSummary {
            counts,
            dropped: counts.decoded.saturating_sub(self.handed),
            ..self.summary
        }
    }

    fn send(&self, message: PumpMessage) -> Result<(), Stop> {
        if self.lines.out.send(message) {
            Ok(())
        } else {
            Err(Stop::HungUp)
        }
    }
}

#[cfg(test)]
mod tests;
