//! Interlaced pictures in, progressive ones out; and telecined film in, the film's own pictures out.
//!
//! Deinterlacing looks at a picture with its two neighbours and remembers nothing else, so whoever starts in the middle of a source gives
//! up one picture and has those of a straight run from then on. Inverse telecine counts pictures from the start.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::ffi::{AvFrame, FilterGraph, Inlet, Poll, Shape};
use crate::frame::Frame;
use crate::time::{Rational, TimeBase};

/// Which pictures are deinterlaced. Each gives one picture, at its own time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deinterlace {
    /// Those that the source marks as interlaced.
    #[default]
    Auto,
    /// All; where the source does not say which field comes first, the upper one does.
    On,
    /// None.
    Off,
}

impl Deinterlace {
    fn takes(self, frame: &Frame) -> bool {
        match self {
            Self::Auto => frame.interlaced(),
            Self::On => true,
            Self::Off => false,
        }
    }

    /// FFmpeg's filter: bwdif looks at three pictures and adapts to motion.
    fn description(self) -> &'static str {
        if self == Self::On {
            "bwdif=mode=send_frame:parity=auto:deint=all"
        } else {
            "bwdif=mode=send_frame:parity=auto:deint=interlaced"
        }
    }
}

/// A source of film at 24 pictures a second that was made into 30 by repeating fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telecine {
    /// Pictures a second of the source.
    pub frame_rate: Rational,
    /// The unit of its timestamps.
    pub time_base: TimeBase,
}

/// Fields are matched again to the pictures that they come from, what stays combed is deinterlaced, and of five pictures the one that repeats
/// another goes.
const INVERSE_TELECINE: &str =
    "fieldmatch=order=auto:combmatch=full,bwdif=mode=send_frame:deint=interlaced,decimate";

/// A picture that went into the graph and has not come out of it.
struct Waiting {
    frame: Frame,
    /// It only stands before another one.
    unwanted: bool,
}

struct Running {
    shape: Shape,
    graph: FilterGraph,
    waiting: VecDeque<Waiting>,
}

/// Deinterlaces what must be, and passes everything else through.
pub(crate) struct Deinterlacer {
    mode: Deinterlace,
    /// There while interlaced pictures come.
    running: Option<Running>,
    /// The picture before the next one.
    previous: Option<Frame>,
    /// Whether the first picture lacks the one before it.
    enters: bool,
}

impl Deinterlacer {
    /// `enters`: pictures come from the middle of a source, and one that would need the picture before the first is left out.
    pub(crate) fn new(mode: Deinterlace, enters: bool) -> Self {
        Self {
            mode,
            running: None,
            previous: None,
            enters,
        }
    }

    /// Takes the next picture, or with `None` the end, and appends what is ready.
    pub(crate) fn push(
        &mut self,
        frame: Option<&Frame>,
        out: &mut VecDeque<Frame>,
    ) -> Result<(), Error> {
        if self.mode == Deinterlace::Off {
            out.extend(frame.cloned());
            return Ok(());
        }
        // What lies on a device stays there unless a graph is to have it.
        let here = frame.filter(|frame| self.wants(frame)).map(Frame::download);
        let here = here.transpose()?;
        let frame = here.as_ref().or(frame);
        let shape = frame.map(|frame| Shape::of(frame.picture()));
        if let Some(running) = &mut self.running
            && shape != Some(running.shape)
        {
            running.end(self.mode, out)?;
            self.running = None;
            self.previous = None;
        }
        let Some(frame) = frame else {
            return Ok(());
        };
        let wanted = self.mode.takes(frame);
        if wanted && self.running.is_none() {
            self.running = Some(self.start(frame)?);
        }
        let before = self.previous.replace(frame.clone());
        let Some(running) = &mut self.running else {
            out.push_back(frame.clone());
            self.enters = false;
            return Ok(());
        };
        running.give(frame, self.enters && before.is_none())?;
        running.collect(self.mode, out)?;
        self.enters = false;
        if !wanted {
            // All before it are out, and it is none of the graph's.
            out.extend(running.waiting.drain(..).map(|waiting| waiting.frame));
            self.running = None;
        }
        Ok(())
    }

    /// Whether a graph is to have the picture.
    pub(crate) fn wants(&self, frame: &Frame) -> bool {
        self.running.is_some() || self.mode.takes(frame)
    }

    /// Pictures inside.
    pub(crate) fn held(&self) -> usize {
        self.running
            .as_ref()
            .map_or(0, |running| running.waiting.len())
    }

    /// A graph that has seen the picture before `frame`.
    fn start(&self, frame: &Frame) -> Result<Running, Error> {
        let shape = Shape::of(frame.picture());
        let graph = FilterGraph::new(&Inlet::of(shape), self.mode.description());
        let mut running = Running {
            shape,
            graph: graph.map_err(Error::filter("deinterlace"))?,
            waiting: VecDeque::new(),
        };
        let before = self.previous.as_ref().map(Frame::download).transpose()?;
        if let Some(before) = before.filter(|frame| Shape::of(frame.picture()) == shape) {
            running.give(&before, true)?;
        }
        Ok(running)
    }
}

impl Running {
    fn give(&mut self, frame: &Frame, unwanted: bool) -> Result<(), Error> {
        let mut picture = fielded(frame).map_err(Error::filter("deinterlace"))?;
        picture.set_pts(None);
        self.graph
            .push(Some(picture))
            .map_err(Error::filter("deinterlace"))?;
        self.waiting.push_back(Waiting {
            frame: frame.clone(),
            unwanted,
        });
        Ok(())
    }

    /// Takes out what is ready: one picture for each that went in, in order.
    fn collect(&mut self, mode: Deinterlace, out: &mut VecDeque<Frame>) -> Result<(), Error> {
        while let Poll::Ready(picture) = self.graph.pull().map_err(Error::filter("deinterlace"))? {
            let Some(waiting) = self.waiting.pop_front() else {
                continue;
            };
            if waiting.unwanted {
                continue;
            }
            let frame = &waiting.frame;
            out.push_back(if mode.takes(frame) {
                let mut picture = picture;
                picture.set_color(frame.color());
                picture.set_sample_aspect(frame.sample_aspect());
                Frame::freeze(picture, frame.pts(), frame.duration())
            } else {
                frame.clone()
            });
        }
        Ok(())
    }

    fn end(&mut self, mode: Deinterlace, out: &mut VecDeque<Frame>) -> Result<(), Error> {
        self.graph
            .push(None)
            .map_err(Error::filter("deinterlace"))?;
        self.collect(mode, out)
    }
}

/// A reference to the picture that tells filters of its fields.
fn fielded(frame: &Frame) -> Result<AvFrame, crate::error::AvError> {
    let mut picture = frame.picture().bare_reference()?;
    if frame.interlaced() {
        picture.set_fields(frame.picture().is_top_first());
    }
    Ok(picture)
}

/// Undoes telecine.
pub(crate) struct FilmMaker {
    telecine: Telecine,
    running: Option<(Shape, FilterGraph)>,
    /// Pictures that went in and are not known to be out.
    held: usize,
}

impl FilmMaker {
    pub(crate) fn new(telecine: Telecine) -> Self {
        Self {
            telecine,
            running: None,
            held: 0,
        }
    }

    /// Takes the next picture, or with `None` the end, and appends what is ready.
    pub(crate) fn push(
        &mut self,
        frame: Option<&Frame>,
        out: &mut VecDeque<Frame>,
    ) -> Result<(), Error> {
        let here = frame.map(Frame::download).transpose()?;
        let frame = here.as_ref();
        let shape = frame.map(|frame| Shape::of(frame.picture()));
        let changes = |(old, _): &(Shape, FilterGraph)| shape != Some(*old);
        if self.running.as_ref().is_some_and(changes) {
            self.give(None, out)?;
            self.running = None;
        }
        let Some((frame, shape)) = frame.zip(shape) else {
            return Ok(());
        };
        if self.running.is_none() {
            let inlet = Inlet {
                shape,
                time_base: self.time_base(),
                frame_rate: Some(self.telecine.frame_rate),
            };
            let graph = FilterGraph::new(&inlet, INVERSE_TELECINE);
            let graph = graph.map_err(Error::filter("undo the telecine"))?;
            self.running = Some((shape, graph));
        }
        let mut picture = fielded(frame).map_err(Error::filter("undo the telecine"))?;
        picture.set_pts(frame.pts());
        self.held += 1;
        self.give(Some(picture), out)
    }

    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    fn time_base(&self) -> Rational {
        let base = self.telecine.time_base;
        base.rational().unwrap_or(Rational { num: 1, den: 1000 })
    }

    fn give(&mut self, picture: Option<AvFrame>, out: &mut VecDeque<Frame>) -> Result<(), Error> {
        let to = self.telecine.time_base;
        let Some((_, graph)) = &mut self.running else {
            return Ok(());
        };
        let failed = || Error::filter("undo the telecine");
        graph.push(picture).map_err(failed())?;
        let base = graph.time_base();
        let parts = u32::try_from(base.num)
            .ok()
            .zip(u32::try_from(base.den).ok());
        let from = parts.and_then(|(num, den)| TimeBase::new(num, den));
        while let Poll::Ready(picture) = graph.pull().map_err(failed())? {
            let pts = picture.pts();
            let pts = pts.zip(from).map(|(pts, from)| from.rescale(pts, to));
            self.held = 0;
            out.push_back(Frame::freeze(picture, pts, None));
        }
        Ok(())
    }
}
