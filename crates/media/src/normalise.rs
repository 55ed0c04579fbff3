//! Decoded pictures in, pictures in the form that all rungs share out: progressive, upright, 4:2:0 of one
//! depth, limited range, even sides.
//!
//! ```text
//! picture ─► fields ─► pace ─► form: range and format, turn, filters, overlay ─► picture
//! ```
//!
//! A stage that has nothing to do passes pictures through, their samples shared, also those that lie on a device; what has something to do brings them to
//! this process's memory first. Fields and pace hold a picture back and may give more or fewer than
//! they take; the form is made of each picture alone,
//! but for filters that never forget.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::color::{ChromaLocation, Rotation};
use crate::error::Error;
use crate::ffi::{FilterGraph, Inlet, Shape};
use crate::fields::{Deinterlacer, FilmMaker};
use crate::filters::Chain;
use crate::frame::{BitDepth, Frame};
use crate::hdr::ToneMap;
use crate::overlay::Overlay;
use crate::pace::Pacer;

pub use crate::fields::{Deinterlace, Telecine};
pub use crate::pace::{Pace, Rate};

/// What to make of the source's pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// How they must be turned.
    pub rotation: Rotation,
    /// The matrix by which red, green and blue become luma and chroma, H.273 §8.3 (1: BT.709).
    pub matrix_for_rgb: u8,
    /// Which of them are deinterlaced.
    #[serde(default)]
    pub deinterlace: Deinterlace,
    /// Whether they are film that was made into video; nothing is deinterlaced besides then.
    #[serde(default)]
    pub telecine: Option<Telecine>,
    /// How many of them there may be.
    #[serde(default)]
    pub pace: Option<Pace>,
    /// Bits of a sample.
    #[serde(default)]
    pub depth: BitDepth,
    /// How they become pictures of standard dynamic range, where they have a high one.
    #[serde(default)]
    pub tone: Option<ToneMap>,
    /// What is done to them once they are upright.
    #[serde(default)]
    pub filters: Chain,
    /// What lies over them in the end.
    #[serde(default)]
    pub overlay: Option<Overlay>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rotation: Rotation::NONE,
            matrix_for_rgb: 1,
            deinterlace: Deinterlace::default(),
            telecine: None,
            pace: None,
            depth: BitDepth::Eight,
            tone: None,
            filters: Chain::default(),
            overlay: None,
        }
    }
}

impl Config {
    /// Whether it leaves a picture as it is that is progressive and has the form already.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.rotation.is_none()
            && self.deinterlace != Deinterlace::On
            && self.telecine.is_none()
            && self.tone.is_none()
            && self.filters.is_empty()
            && self.overlay.is_none()
    }

    /// Whether each picture depends on a few around it only. If not, only a run from the very beginning gives the right ones.
    #[must_use]
    pub fn forgets(&self) -> bool {
        self.telecine.is_none() && self.filters.forgets()
    }
}

/// Normalises pictures; what it builds for one shape of picture serves until the shape changes.
pub struct Normaliser {
    config: Config,
    fields: Fields,
    pacer: Option<Pacer>,
    running: Option<Running>,
    /// The image of the overlay, once it is read.
    still: Option<Frame>,
    /// Pictures that went through the filters.
    count: i64,
    /// What the fields have given.
    ready: VecDeque<Frame>,
    ended: bool,
}

enum Fields {
    Deinterlace(Deinterlacer),
    Film(FilmMaker),
}

struct Running {
    shape: Shape,
    graph: FilterGraph,
}

impl Normaliser {
    /// Makes a normaliser for pictures from the start of a source; nothing is built before the first picture.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::make(config, false)
    }

    /// Makes one for pictures from the middle of a source. It leaves out those at the start that would be others in a run from the beginning; use it
    /// only with a configuration that [forgets](Config::forgets).
    #[must_use]
    pub fn entering(config: Config) -> Self {
        Self::make(config, true)
    }

    fn make(config: Config, enters: bool) -> Self {
        let fields = match config.telecine {
            Some(telecine) => Fields::Film(FilmMaker::new(telecine)),
            None => Fields::Deinterlace(Deinterlacer::new(config.deinterlace, enters)),
        };
        Self {
            fields,
            pacer: config.pace.map(|pace| Pacer::new(pace, enters)),
            running: None,
            still: None,
            count: 0,
            ready: VecDeque::new(),
            ended: false,
            config,
        }
    }

    /// Whether it will have to look at a picture's samples in this process, as it stands now. Others may lie on a device and stay there.
    #[must_use]
    pub fn wants_here(&self, frame: &Frame) -> bool {
        let fields = match &self.fields {
            Fields::Deinterlace(fields) => fields.wants(frame),
            Fields::Film(_) => true,
        };
        fields || self.description(frame).is_some()
    }

    /// Takes the next picture in the order of showing, or with `None` the end. Everything must have been [taken out](Self::pull)
    /// before.
    ///
    /// # Errors
    /// [`Error::Filter`] if a picture cannot be deinterlaced.
    pub fn push(&mut self, frame: Option<&Frame>) -> Result<(), Error> {
        self.ended = frame.is_none();
        match &mut self.fields {
            Fields::Deinterlace(fields) => fields.push(frame, &mut self.ready),
            Fields::Film(film) => film.push(frame, &mut self.ready),
        }
    }

    /// Returns the next picture that is ready; `None` if more have to come first, or all are out.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn pull(&mut self) -> Result<Option<Frame>, Error> {
        let next = match &mut self.pacer {
            None => self.ready.pop_front(),
            Some(pacer) => loop {
                if let Some(frame) = pacer.pull() {
                    break Some(frame);
                }
                match self.ready.pop_front() {
                    Some(frame) => pacer.push(Some(frame)),
                    None if std::mem::take(&mut self.ended) => pacer.push(None),
                    None => break None,
                }
            },
        };
        next.map(|frame| self.apply(&frame)).transpose()
    }

    /// Pictures that are inside, at the most.
    #[must_use]
    pub fn held(&self) -> usize {
        let fields = match &self.fields {
            Fields::Deinterlace(fields) => fields.held(),
            Fields::Film(film) => film.held(),
        };
        fields + self.ready.len() + self.pacer.as_ref().map_or(0, Pacer::held)
    }

    /// Brings one picture into the common form, keeping its time; fields and pace are left alone. One that needs nothing is passed
    /// through, its samples shared.
    ///
    /// # Errors
    /// [`Error::Filter`] if no such conversion exists, or the picture is but one pixel wide or high; [`Error::Device`] if it lies on a device that fails.
    pub fn apply(&mut self, frame: &Frame) -> Result<Frame, Error> {
        let Some(description) = self.description(frame) else {
            return Ok(frame.clone());
        };
        let frame = &frame.download()?;
        let shape = Shape::of(frame.picture());
        let operation = format!(
            "normalise {}x{} {}",
            shape.width,
            shape.height,
            frame.format().name()
        );
        let mut running = match self.running.take() {
            Some(running) if running.shape == shape => running,
            _ => self.build(shape, (&description, &operation))?,
        };
        self.count += 1;
        let passed = frame.picture().bare_reference().and_then(|mut bare| {
            bare.set_pts(Some(self.count));
            running.graph.apply(bare)
        });
        let mut picture = passed.map_err(Error::filter(&operation))?;
        self.running = Some(running);
        let mut color = frame.color();
        color.full_range = false;
        if frame.format().is_rgb() {
            color.matrix = self.config.matrix_for_rgb;
        }
        if self.config.tone.is_some() {
            color = ToneMap::RESULT;
        }
        if !self.config.rotation.is_none() {
            color.chroma_location = ChromaLocation::Unspecified;
        }
        picture.set_color(color);
        let mut aspect = frame.sample_aspect();
        let swaps = self.config.rotation.swaps_sides() != self.config.filters.swap_sides();
        if swaps && aspect.num > 0 && aspect.den > 0 {
            std::mem::swap(&mut aspect.num, &mut aspect.den);
        }
        picture.set_sample_aspect(aspect);
        Ok(Frame::freeze(picture, frame.pts(), frame.duration()))
    }

    fn build(
        &mut self,
        shape: Shape,
        (description, operation): (&str, &str),
    ) -> Result<Running, Error> {
        if let (Some(overlay), None) = (&self.config.overlay, &self.still) {
            self.still = Some(overlay.read()?);
        }
        let inlet = Inlet::of(shape);
        let graph = match &self.still {
            Some(still) => FilterGraph::with_still(&inlet, still.picture(), description),
            None => FilterGraph::new(&inlet, description),
        };
        let graph = graph.map_err(Error::filter(operation))?;
        Ok(Running { shape, graph })
    }

    /// The filters for a picture; `None` if it needs none.
    fn description(&self, frame: &Frame) -> Option<String> {
        let mut filters = Vec::new();
        let (width, height) = (frame.width(), frame.height());
        let uneven = width % 2 == 1 || height % 2 == 1;
        if let Some(tone) = &self.config.tone {
            // Whatever sides are odd before a quarter turn are odd after it.
            if uneven {
                filters.push(format!("crop={}:{}:0:0", width & !1, height & !1));
            }
            filters.push(tone.description(frame.color().full_range));
            filters.push(self.format());
        } else if frame.host_format() != self.config.depth.format() || frame.color().full_range {
            filters.push(self.conversion(frame));
            filters.push(self.format());
        }
        filters.extend(self.turns().iter().map(|turn| (*turn).to_owned()));
        if uneven && self.config.tone.is_none() {
            let (width, height) = if self.config.rotation.swaps_sides() {
                (height, width)
            } else {
                (width, height)
            };
            filters.push(format!("crop={}:{}:0:0", width & !1, height & !1));
        }
        if !self.config.filters.is_empty() {
            filters.push(self.config.filters.to_string());
            filters.push("crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0".to_owned());
            filters.push(self.format());
        }
        let chain = (!filters.is_empty()).then(|| filters.join(","));
        let Some(overlay) = &self.config.overlay else {
            return chain;
        };
        let form = (matrix_name(overlay.matrix), self.config.depth);
        Some(overlay.description(chain.as_deref().unwrap_or("null"), form))
    }

    fn format(&self) -> String {
        format!("format={}", self.config.depth.format().name())
    }

    /// To limited range, and from red, green and blue.
    fn conversion(&self, frame: &Frame) -> String {
        let (color, rgb) = (frame.color(), frame.format().is_rgb());
        let range = if color.full_range || rgb { "pc" } else { "tv" };
        let mut scale = format!(
            "scale=flags=bicubic+accurate_rnd+full_chroma_int+bitexact:in_range={range}:out_range=tv"
        );
        if rgb {
            scale.push_str(":out_color_matrix=");
            scale.push_str(matrix_name(self.config.matrix_for_rgb));
        }
        scale
    }

    fn turns(&self) -> &'static [&'static str] {
        let Rotation {
            quarter_turns_clockwise,
            mirrored,
        } = self.config.rotation;
        // A vertical flip only turns the rows' order around, the horizontal one writes a new picture: so in this order.
        match (quarter_turns_clockwise % 4, mirrored) {
            (0, false) => &[],
            (0, true) => &["hflip"],
            (1, false) => &["transpose=clock"],
            (1, true) => &["hflip", "transpose=clock"],
            (2, false) => &["vflip", "hflip"],
            (2, true) => &["hflip", "vflip", "hflip"],
            (_, false) => &["transpose=cclock"],
            (_, true) => &["hflip", "transpose=cclock"],
        }
    }
}

impl std::fmt::Debug for Normaliser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Normaliser")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The scale filter's name of a matrix.
pub(crate) fn matrix_name(matrix: u8) -> &'static str {
    match matrix {
        4 => "fcc",
        5 | 6 => "smpte170m",
        7 => "smpte240m",
        9 | 10 => "bt2020",
        _ => "bt709",
    }
}
