//! A decode thread: a stretch of the source in, whole spans out, each decoded only after credit for its bytes.
//!
//! Several pumps may read stretches that meet. A pump whose stretch does not start with the presentation decodes from the keyframe before it
//! and lets go what comes too early; at each end it says which picture it met there, so that the other pump can be held to it.

use std::ops::ControlFlow;

use crossbeam_channel::{Receiver, Sender};
use rungs_media::frame::Frame;

use crate::cancel::Cancel;
use crate::feed::{Feeder, Stopped};
use crate::ids::{PumpId, SegmentIndex};
use crate::message::{Credit, Message, PumpMessage, PumpSummary};
use crate::read::{Entered, Material, Picture, Reader, Start};
use crate::seam::{FirstPicture, Seam};
use crate::span::Span;
use crate::timeline::{Cell, Entry, Grid, Placed, Timeline};

/// Spans that one pump makes, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The first.
    pub(crate) from: SegmentIndex,
    /// The one before which it ends; `None` for the end of the source.
    pub(crate) until: Option<SegmentIndex>,
}

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
    pub(crate) id: PumpId,
    pub(crate) stretch: Stretch,
    pub(crate) plan: PumpPlan,
}

/// The channels of a pump.
pub(crate) struct PumpLines {
    /// An answer for each span that was asked for.
    pub(crate) credit: Receiver<Credit>,
    /// Where messages go.
    pub(crate) out: Sender<Message>,
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

/// Reads a stretch of the material to its end. Blocks on the reader and on credit; the last message is always `Ended` or `Failed`.
pub(crate) fn run(material: &dyn Material, order: PumpOrder, lines: PumpLines) {
    let out = lines.out.clone();
    let last = match open(material, &order) {
        Ok(flow) => Pump::new(order, flow, lines).run(),
        Err(error) => PumpMessage::Failed {
            at: order.plan.grid.boundary(order.stretch.from),
            error,
        },
    };
    // If control is gone there is nobody left to tell.
    out.send(Message::Pump(order.id, last)).ok();
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

struct Pump {
    order: PumpOrder,
    flow: Flow,
    lines: PumpLines,
    summary: PumpSummary,
    /// What the open span may become, once that was asked for and answered.
    granted: Option<Grant>,
    /// Whether the start of the stretch was met and, where another pump ends there, reported.
    has_entered: bool,
    /// Pictures of the reader that are in spans handed over.
    handed: u64,
}

impl Pump {
    fn new(order: PumpOrder, flow: Flow, lines: PumpLines) -> Self {
        Self {
            order,
            flow,
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
            let Some(picture) = self.next_picture()? else {
                return self.finish();
            };
            let (timestamp, duration) = (picture.timestamp, picture.duration);
            let cells = self.flow.timeline.push(picture.frame, timestamp, duration);
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

    fn next_picture(&mut self) -> Result<Option<Picture>, Stop> {
        match self.flow.first.take() {
            Some(picture) => Ok(Some(picture)),
            None => Ok(self.flow.reader.next()?),
        }
    }

    /// The source has ended: hands over the rest and says where the presentation ends.
    fn finish(&mut self) -> Result<(), Stop> {
        let cells = self.flow.timeline.finish();
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

    fn report(&self, span: SegmentIndex, first: Option<&Placed<Frame>>) -> Result<(), Stop> {
        let offset = self.flow.timeline.offset();
        self.send(PumpMessage::Seam(Seam {
            span,
            first: first.map(|picture| FirstPicture {
                time: picture.time,
                digest: picture.item.digest(),
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
        let message = Message::Pump(self.order.id, message);
        self.lines.out.send(message).map_err(|_| Stop::HungUp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed;
    use crate::read::{Opened, ReadCounts, ReadOptions, VideoMaterial};
    use crate::seam::Seams;
    use crate::span::Outline;
    use crate::timeline::Timescale;
    use crossbeam_channel::unbounded;
    use rungs_media::demux::Demuxer;
    use rungs_media::{CancelToken, Error, Limits, Source, normalise};
    use rungs_testkit::clips::{self, Clip};
    use rungs_testkit::tool;
    use std::path::Path;

    /// Pictures of one colour each, a keyframe every five.
    #[derive(Clone)]
    struct Film {
        stamps: Vec<i64>,
        next: usize,
        given: u64,
        /// What a reader that starts inside adds to each colour.
        false_by: u8,
        fails_at: Option<usize>,
    }

    impl Film {
        fn new(stamps: Vec<i64>) -> Self {
            Self {
                stamps,
                next: 0,
                given: 0,
                false_by: 0,
                fails_at: None,
            }
        }

        fn constant(count: i64) -> Self {
            Self::new((0..count).map(|n| 100 + n).collect())
        }
    }

    impl Material for Film {
        fn open(&self, start: Option<Start>) -> Result<Opened, Error> {
            let mut reader = self.clone();
            let Some(Start { timestamp }) = start else {
                reader.false_by = 0;
                return Ok(Opened {
                    reader: Box::new(reader),
                    entered: Entered::Beginning,
                });
            };
            let before = self.stamps.partition_point(|stamp| *stamp <= timestamp);
            reader.next = before.saturating_sub(1) / 5 * 5;
            Ok(Opened {
                entered: Entered::Keyframe(self.stamps[reader.next]),
                reader: Box::new(reader),
            })
        }

        fn keyframe_before(&self, _: i64) -> Option<i64> {
            None
        }
    }

    impl Reader for Film {
        fn look_ahead(&mut self, from: i64, until: i64) -> Result<u64, Error> {
            let left = self.stamps[self.next..].iter();
            Ok(left.filter(|stamp| (from..until).contains(stamp)).count() as u64)
        }

        fn next(&mut self) -> Result<Option<Picture>, Error> {
            if self.fails_at == Some(self.next) {
                return Err(Error::Cancelled);
            }
            let Some(timestamp) = self.stamps.get(self.next).copied() else {
                return Ok(None);
            };
            let colour = (self.next % 200) as u8 + self.false_by;
            self.next += 1;
            self.given += 1;
            Ok(Some(Picture {
                frame: Frame::filled(16, 16, [colour, 128, 128])?,
                timestamp: Some(timestamp),
                duration: Some(1),
            }))
        }

        fn counts(&self) -> ReadCounts {
            ReadCounts {
                decoded: self.given,
                errors: 0,
            }
        }
    }

    /// What a pump said.
    #[derive(Default)]
    struct Said {
        spans: Vec<Span>,
        last: Vec<bool>,
        seams: Vec<Seam>,
        asked: Vec<(u32, u64)>,
        summary: Option<PumpSummary>,
        failed_at: Option<i64>,
    }

    /// Cells of a film have ten pictures.
    fn film_plan(film: &Film) -> PumpPlan {
        let grid = Grid::new(Timescale::for_time_base(1, 10), 1.0);
        PumpPlan {
            grid,
            nominal: 1000,
            frame_bytes: 1,
            offset: grid.timescale().from_source(film.stamps[0]),
        }
    }

    /// Runs a pump over a film; it is told to end before the span `end`.
    fn pump(film: &Film, stretch: (u32, Option<u32>), end: Option<u32>) -> Said {
        drive(film, film_plan(film), stretch, end)
    }

    fn drive(
        material: &dyn Material,
        plan: PumpPlan,
        (from, until): (u32, Option<u32>),
        end: Option<u32>,
    ) -> Said {
        let order = PumpOrder {
            id: PumpId::new(7),
            stretch: Stretch {
                from: SegmentIndex::new(from),
                until: until.map(SegmentIndex::new),
            },
            plan,
        };
        let (out, inbox) = unbounded();
        let (credit, granted) = unbounded();
        let mut said = Said::default();
        std::thread::scope(|scope| {
            let lines = PumpLines {
                credit: granted,
                out,
                cancel: Cancel::new(),
            };
            scope.spawn(move || run(material, order, lines));
            for message in &inbox {
                let Message::Pump(id, message) = message else {
                    panic!("{message:?}");
                };
                assert_eq!(id, PumpId::new(7));
                match message {
                    PumpMessage::CreditAsked { span, bytes } => {
                        said.asked.push((span.get(), bytes));
                        let ends = end.is_some_and(|end| span.get() >= end);
                        let answer = if ends { Credit::End } else { Credit::Decode };
                        credit.send(answer).expect("the pump waits");
                    }
                    PumpMessage::Span { span, last } => {
                        said.spans.push(span);
                        said.last.push(last);
                    }
                    PumpMessage::Fed { .. } => panic!("nothing is fed"),
                    PumpMessage::Seam(seam) => said.seams.push(seam),
                    PumpMessage::Ended(summary) => said.summary = Some(summary),
                    PumpMessage::Failed { at, .. } => said.failed_at = Some(at),
                }
            }
        });
        said
    }

    /// Index, start, end, and time and digest of each picture.
    type Facts = (u32, i64, i64, u32, Seen);

    fn facts(spans: &[Span]) -> Vec<Facts> {
        let picture = |placed: &Placed<Frame>| (placed.time, placed.item.digest());
        let fact = |span: &Span| {
            let pictures = span.frames.iter().map(picture).collect();
            (span.index.get(), span.start, span.end, span.held, pictures)
        };
        spans.iter().map(fact).collect()
    }

    fn films() -> Vec<Film> {
        let slides = [
            0, 3, 4, 5, 6, 7, 19, 23, 41, 42, 43, 60, 61, 62, 63, 64, 65, 99, 120,
        ];
        vec![
            Film::constant(43),
            Film::constant(40),
            Film::new(slides.to_vec()),
            Film::new((0..30).map(|n| 5 + n * 3).collect()),
        ]
    }

    #[test]
    fn stretches_that_meet_give_the_spans_of_the_whole() {
        for film in films() {
            let whole = pump(&film, (0, None), None);
            let summary = whole.summary.expect("an end");
            let count = summary.spans_in_all.expect("the source has ended");
            assert_eq!(summary.spans, count);
            assert_eq!((summary.dropped, whole.seams.len()), (0, 0));
            assert_eq!(
                whole.last.iter().position(|last| *last),
                Some(count as usize - 1)
            );
            for cut in 1..count + 2 {
                for told in [false, true] {
                    let first = if told {
                        pump(&film, (0, None), Some(cut))
                    } else {
                        pump(&film, (0, Some(cut)), None)
                    };
                    let second = pump(&film, (cut, None), None);
                    let mut both = facts(&first.spans);
                    both.extend(facts(&second.spans));
                    assert!(both == facts(&whole.spans), "cut at {cut}");
                    let mut seams = Seams::default();
                    // A pump that meets the end before it is told to stop has no end to report.
                    assert!(first.seams.len() == 1 || told && cut >= count);
                    assert_eq!(second.seams.len(), 1);
                    for seam in first.seams.iter().chain(&second.seams) {
                        assert_eq!(seam.span.get(), cut);
                        assert_eq!(seams.meet(*seam), Ok(()));
                    }
                    let summary = second.summary.expect("an end");
                    assert_eq!(summary.spans_in_all, Some(count), "cut at {cut}");
                    let ended = first.summary.expect("an end").spans_in_all;
                    assert!(ended.is_none_or(|spans| spans == count));
                }
            }
        }
    }

    #[test]
    fn a_pump_says_what_it_decoded_in_vain() {
        let film = Film::constant(43);
        let said = pump(&film, (1, Some(3)), None);
        let summary = said.summary.expect("an end");
        // The keyframe is at the boundary itself; the picture after the stretch was decoded to see where it ends.
        assert_eq!(
            (summary.spans, summary.counts.decoded, summary.dropped),
            (2, 21, 1)
        );
        assert_eq!(summary.spans_in_all, None);
        let film = Film::new((0..43).map(|n| n * 3).collect());
        let summary = pump(&film, (1, Some(2)), None).summary.expect("an end");
        // Pictures 0 to 3 and 7 are not in it.
        assert_eq!((summary.counts.decoded, summary.dropped), (8, 5));
    }

    #[test]
    fn credit_is_asked_for_the_pictures_of_the_span_alone() {
        let said = pump(&Film::constant(43), (2, None), None);
        assert_eq!(said.asked, [(2, 10), (3, 10), (4, 3)]);
        let said = pump(&Film::constant(43), (0, None), None);
        assert_eq!(said.asked, [(0, 10), (1, 10), (2, 10), (3, 10), (4, 3)]);
    }

    #[test]
    fn other_pictures_at_a_seam_are_noticed() {
        let mut film = Film::constant(43);
        film.false_by = 1;
        let (first, second) = (
            pump(&film, (0, Some(2)), None),
            pump(&film, (2, None), None),
        );
        let mut seams = Seams::default();
        assert_eq!(seams.meet(first.seams[0]), Ok(()));
        assert!(seams.meet(second.seams[0]).is_err());
    }

    #[test]
    fn an_error_is_told_with_its_place() {
        let mut film = Film::constant(43);
        film.fails_at = Some(35);
        let said = pump(&film, (1, None), None);
        assert_eq!(said.spans.len(), 2);
        assert_eq!(said.failed_at, Some(said.spans[1].end));
        assert!(said.summary.is_none());
    }

    #[test]
    fn a_pump_that_is_not_answered_any_more_ends() {
        let film = Film::constant(43);
        let (out, inbox) = unbounded();
        let (_, granted) = unbounded();
        let lines = PumpLines {
            credit: granted,
            out,
            cancel: Cancel::new(),
        };
        let order = PumpOrder {
            id: PumpId::new(0),
            stretch: Stretch::WHOLE,
            plan: film_plan(&film),
        };
        run(&film, order, lines);
        let last = inbox.iter().last();
        assert!(
            matches!(last, Some(Message::Pump(_, PumpMessage::Ended(summary))) if summary.spans_in_all.is_none())
        );
    }

    /// Time and digest of each picture.
    type Seen = Vec<(i64, u64)>;

    /// Runs a pump over the whole whose every span is fed to two consumers; what each of them saw, and what the pump said of the spans.
    fn fed(film: &Film) -> (Vec<Seen>, Vec<Outline>, Said) {
        let order = PumpOrder {
            id: PumpId::new(7),
            stretch: Stretch::WHOLE,
            plan: film_plan(film),
        };
        let (out, inbox) = unbounded();
        let (credit, granted) = unbounded();
        let (mut said, mut outlines) = (Said::default(), Vec::new());
        let cancel = Cancel::new();
        let seen = std::thread::scope(|scope| {
            let lines = PumpLines {
                credit: granted,
                out,
                cancel: cancel.clone(),
            };
            scope.spawn(move || run(film, order, lines));
            let mut consumers = Vec::new();
            for message in &inbox {
                match message {
                    Message::Pump(_, PumpMessage::CreditAsked { span, .. }) => {
                        let cancels = [cancel.clone(), cancel.clone()];
                        let (feeder, feeds) = feed::broadcast(span, 1, &cancels);
                        credit.send(Credit::Feed(feeder)).expect("the pump waits");
                        for feed in feeds {
                            let cancel = cancel.clone();
                            consumers.push(scope.spawn(move || {
                                let mut seen = Vec::new();
                                while let Ok(Some(picture)) = feed.next(&cancel) {
                                    seen.push((picture.time, picture.item.digest()));
                                }
                                (seen, feed.outline())
                            }));
                        }
                    }
                    Message::Pump(_, PumpMessage::Fed { outline, last }) => {
                        outlines.push(outline);
                        said.last.push(last);
                    }
                    Message::Pump(_, PumpMessage::Ended(summary)) => said.summary = Some(summary),
                    Message::Pump(_, PumpMessage::Failed { at, .. }) => said.failed_at = Some(at),
                    other => panic!("{other:?}"),
                }
            }
            let ends = consumers
                .into_iter()
                .map(|consumer| consumer.join().unwrap());
            let ends = ends.enumerate().map(|(place, (seen, outline))| {
                assert_eq!(outline.as_ref(), outlines.get(place / 2));
                seen
            });
            ends.collect()
        });
        (seen, outlines, said)
    }

    #[test]
    fn fed_spans_are_the_spans_of_the_whole() {
        for film in films() {
            let whole = pump(&film, (0, None), None);
            let (seen, outlines, said) = fed(&film);
            let spans = facts(&whole.spans);
            assert_eq!(seen.len(), 2 * spans.len());
            for (place, pictures) in seen.iter().enumerate() {
                assert!(*pictures == spans[place / 2].4);
            }
            let expected: Vec<_> = whole.spans.iter().map(Span::outline).collect();
            assert_eq!(outlines, expected);
            assert_eq!(said.last, whole.last);
            let (fed, whole) = (said.summary.unwrap(), whole.summary.unwrap());
            assert_eq!(
                (fed.spans, fed.held, fed.dropped),
                (whole.spans, whole.held, 0)
            );
        }
    }

    #[test]
    fn an_error_in_the_middle_of_a_fed_span_starves_its_tasks() {
        let mut film = Film::constant(43);
        film.fails_at = Some(25);
        let (seen, outlines, said) = fed(&film);
        let counts: Vec<_> = seen.iter().map(Vec::len).collect();
        assert_eq!(counts, [10, 10, 10, 10, 5, 5]);
        assert_eq!(outlines.len(), 2);
        assert_eq!(said.failed_at, Some(outlines[1].end));
    }

    /// A clip, and how it is cut in cells of 0.7 seconds.
    fn clip(path: &Path) -> (VideoMaterial, PumpPlan) {
        let source = Source::from(path);
        let cancel = CancelToken::default();
        let options = ReadOptions {
            normalise: normalise::Config::default(),
            strict: false,
            threads: 2,
        };
        let demuxer = Demuxer::open(&source, &Limits::default(), &cancel).unwrap();
        let base = demuxer.streams()[0].time_base;
        let material = VideoMaterial::new(&source, 0, options, &cancel).unwrap();
        let timescale = Timescale::for_time_base(base.num(), base.den());
        let first = material.open(None).unwrap().reader.next().unwrap();
        let origin = first.and_then(|picture| picture.timestamp).unwrap();
        let plan = PumpPlan {
            grid: Grid::new(timescale, 0.7),
            nominal: timescale.from_seconds(0.04),
            frame_bytes: 1,
            offset: timescale.from_source(origin),
        };
        (material, plan)
    }

    #[test]
    fn stretches_of_real_files_meet_too() {
        if tool::require("ffmpeg").is_none() {
            return;
        }
        let small = || Clip::new().size(128, 96).rate("25").frames(60).gop(9);
        let straight = small().container("ts").make();
        let jumps = clips::concatenate(&[&straight, &straight]).unwrap();
        let files = [
            // Whether a start in the middle decodes less, then the file.
            (true, small().b_frames(3).open_gop().make()),
            (true, small().codec("libx265").b_frames(3).open_gop().make()),
            (true, small().vfr().b_frames(2).make()),
            (true, small().rate("30000/1001").container("mkv").make()),
            (false, straight),
            (false, jumps),
        ];
        for (sought, path) in files {
            let (material, plan) = clip(&path);
            let whole = drive(&material, plan, (0, None), None);
            let summary = whole.summary.unwrap();
            assert!(summary.spans >= 3);
            for cut in 1..summary.spans {
                let first = drive(&material, plan, (0, None), Some(cut));
                let second = drive(&material, plan, (cut, None), None);
                let mut both = facts(&first.spans);
                both.extend(facts(&second.spans));
                assert!(both == facts(&whole.spans), "{} at {cut}", path.display());
                let mut seams = Seams::default();
                assert_eq!(seams.meet(first.seams[0]), Ok(()));
                assert_eq!(seams.meet(second.seams[0]), Ok(()));
                let ends = [&first, &second].map(|said| said.summary.unwrap());
                assert_eq!(ends[1].spans_in_all, Some(summary.spans));
                let repairs = ends.map(|end| end.repairs.nudged + end.repairs.discontinuities);
                let all = summary.repairs.nudged + summary.repairs.discontinuities;
                assert_eq!(repairs.iter().sum::<u64>(), all);
                if sought {
                    let decoded = ends.iter().map(|end| end.counts.decoded).sum::<u64>();
                    // At most a group of pictures and what the decoder has beyond the cut.
                    assert!(decoded <= summary.counts.decoded + 12, "{decoded}");
                    assert!(ends[1].counts.decoded < summary.counts.decoded || cut == 1);
                }
            }
            // Credit is asked for what a span has, wherever the pump began.
            for cut in 0..summary.spans {
                let said = drive(&material, plan, (cut, None), None);
                for ((index, bytes), span) in said.asked.iter().zip(&said.spans) {
                    let held = span.frames.len() as u64;
                    assert_eq!(span.index.get(), *index);
                    assert!(bytes.abs_diff(held) <= 1 || !sought, "{bytes} for {held}");
                }
            }
        }
    }
}
