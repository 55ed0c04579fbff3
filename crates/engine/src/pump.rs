//! The decode thread: a reader in, whole spans out, each decoded only after credit for its bytes.

use crossbeam_channel::{Receiver, Sender};
use rungs_media::frame::Frame;

use crate::cancel::Cancel;
use crate::ids::SegmentIndex;
use crate::message::{Message, PumpMessage, PumpSummary};
use crate::read::Reader;
use crate::span::Span;
use crate::timeline::{Cell, Grid, Timeline};

/// How the pump cuts, and what it expects a picture to take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PumpPlan {
    pub(crate) grid: Grid,
    /// Duration of a picture that has none, in ticks.
    pub(crate) nominal: i64,
    /// Bytes of a normalised picture.
    pub(crate) frame_bytes: u64,
}

/// The channels of a pump.
pub(crate) struct PumpLines {
    /// Credit for one span each.
    pub(crate) credit: Receiver<SegmentIndex>,
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

impl From<rungs_media::Error> for Stop {
    fn from(error: rungs_media::Error) -> Self {
        Self::Error(error)
    }
}

struct Pump {
    reader: Box<dyn Reader>,
    timeline: Timeline<Frame>,
    plan: PumpPlan,
    lines: PumpLines,
    summary: PumpSummary,
    /// Whether credit for the open span has been asked for and given.
    has_credit: bool,
}

/// Reads the source to its end. Blocks on the reader and on credit; the last message is always `Ended` or `Failed`.
pub(crate) fn run(reader: Box<dyn Reader>, plan: PumpPlan, lines: PumpLines) {
    let mut pump = Pump {
        reader,
        timeline: Timeline::new(plan.grid, plan.nominal),
        plan,
        lines,
        summary: PumpSummary::default(),
        has_credit: false,
    };
    let last = match pump.read_all() {
        Ok(()) | Err(Stop::HungUp) => PumpMessage::Ended(pump.finished()),
        Err(Stop::Error(error)) => PumpMessage::Failed {
            at: pump.summary.end,
            error,
        },
    };
    // If control is gone there is nobody left to tell.
    pump.lines.out.send(Message::Pump(last)).ok();
}

impl Pump {
    fn read_all(&mut self) -> Result<(), Stop> {
        loop {
            if !self.has_credit {
                self.ask()?;
            }
            if self.lines.cancel.is_cancelled() {
                return Err(Stop::HungUp);
            }
            let Some(picture) = self.reader.next()? else {
                break;
            };
            let cells = self
                .timeline
                .push(picture.frame, picture.timestamp, picture.duration);
            self.hand_over(cells, false)?;
        }
        let cells = self.timeline.finish();
        self.hand_over(cells, true)
    }

    /// Asks for the span that is open now and waits.
    fn ask(&mut self) -> Result<(), Stop> {
        let pictures = self.reader.look_ahead(self.timeline.source_boundary())?;
        self.send(PumpMessage::CreditAsked {
            span: self.timeline.current(),
            bytes: pictures * self.plan.frame_bytes,
        })?;
        self.wait()
    }

    fn wait(&mut self) -> Result<(), Stop> {
        self.lines.credit.recv().map_err(|_| Stop::HungUp)?;
        self.has_credit = true;
        Ok(())
    }

    fn hand_over(&mut self, cells: Vec<Cell<Frame>>, ended: bool) -> Result<(), Stop> {
        let count = cells.len();
        for (place, cell) in cells.into_iter().enumerate() {
            if !self.has_credit {
                // A cell that only repeats a held picture shares its memory.
                self.send(PumpMessage::CreditAsked {
                    span: cell.index,
                    bytes: 0,
                })?;
                self.wait()?;
            }
            self.summary.spans += 1;
            self.summary.end = cell.end;
            self.summary.held += u64::from(cell.held);
            self.summary.frames += cell.pictures.len() as u64;
            self.has_credit = false;
            let last = ended && place + 1 == count;
            let span = Span {
                last,
                ..Span::new(cell)
            };
            self.send(PumpMessage::Span { span, last })?;
        }
        Ok(())
    }

    fn finished(&mut self) -> PumpSummary {
        PumpSummary {
            counts: self.reader.counts(),
            repairs: self.timeline.repairs(),
            ..self.summary
        }
    }

    fn send(&self, message: PumpMessage) -> Result<(), Stop> {
        self.lines
            .out
            .send(Message::Pump(message))
            .map_err(|_| Stop::HungUp)
    }
}
