//! One picture in, one out, in the form that all rungs share: upright, 8-bit 4:2:0, limited range, even sides.

use serde::{Deserialize, Serialize};

use crate::color::{ChromaLocation, Rotation};
use crate::error::Error;
use crate::ffi::{FilterGraph, Shape};
use crate::frame::{Frame, PixelFormat};

/// What to make of the source's pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// How they must be turned.
    pub rotation: Rotation,
    /// The matrix by which red, green and blue become luma and chroma, H.273 §8.3 (1: BT.709).
    pub matrix_for_rgb: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rotation: Rotation::NONE,
            matrix_for_rgb: 1,
        }
    }
}

/// Normalises pictures; what it builds for one shape of picture serves until the shape changes.
pub struct Normaliser {
    config: Config,
    chain: Option<Chain>,
}

struct Chain {
    shape: Shape,
    graph: FilterGraph,
}

impl Normaliser {
    /// Makes a normaliser; nothing is built before the first picture.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            chain: None,
        }
    }

    /// Normalises a picture, keeping its time. One that needs nothing is passed through, its samples shared.
    ///
    /// # Errors
    /// [`Error::Filter`] if no such conversion exists, as for pictures in a device's memory, or the picture is but one pixel
    /// wide or high.
    pub fn apply(&mut self, frame: &Frame) -> Result<Frame, Error> {
        let shape = Shape::of(frame.picture());
        let Some(description) = self.description(frame) else {
            return Ok(frame.clone());
        };
        let operation = format!(
            "normalise {}x{} {}",
            shape.width,
            shape.height,
            frame.format().name()
        );
        let mut chain = match self.chain.take() {
            Some(chain) if chain.shape == shape => chain,
            _ => Chain {
                shape,
                graph: FilterGraph::new(shape, &description).map_err(Error::filter(&operation))?,
            },
        };
        let mut picture = chain
            .graph
            .apply(frame.picture())
            .map_err(Error::filter(&operation))?;
        self.chain = Some(chain);
        let mut color = frame.color();
        color.full_range = false;
        if frame.format().is_rgb() {
            color.matrix = self.config.matrix_for_rgb;
        }
        if !self.config.rotation.is_none() {
            color.chroma_location = ChromaLocation::Unspecified;
        }
        picture.set_color(color);
        let mut aspect = frame.sample_aspect();
        if self.config.rotation.swaps_sides() && aspect.num > 0 && aspect.den > 0 {
            std::mem::swap(&mut aspect.num, &mut aspect.den);
        }
        picture.set_sample_aspect(aspect);
        Ok(Frame::freeze(picture, frame.pts(), frame.duration()))
    }

    /// The chain of filters for a picture; `None` if it needs none.
    fn description(&self, frame: &Frame) -> Option<String> {
        let mut filters = Vec::new();
        let color = frame.color();
        if frame.format() != PixelFormat::YUV420P || color.full_range {
            let mut scale = format!(
                "scale=flags=bicubic+accurate_rnd+full_chroma_int+bitexact:in_range={}:out_range=tv",
                if color.full_range || frame.format().is_rgb() {
                    "pc"
                } else {
                    "tv"
                }
            );
            if frame.format().is_rgb() {
                scale.push_str(":out_color_matrix=");
                scale.push_str(matrix_name(self.config.matrix_for_rgb));
            }
            filters.push(scale);
            filters.push("format=yuv420p".to_owned());
        }
        let Rotation {
            quarter_turns_clockwise,
            mirrored,
        } = self.config.rotation;
        if mirrored {
            filters.push("hflip".to_owned());
        }
        match quarter_turns_clockwise % 4 {
            1 => filters.push("transpose=clock".to_owned()),
            // In this order: a vertical flip only turns the rows' order around, the horizontal one writes a new picture.
            2 => filters.push("vflip,hflip".to_owned()),
            3 => filters.push("transpose=cclock".to_owned()),
            _ => {}
        }
        let (width, height) = if self.config.rotation.swaps_sides() {
            (frame.height(), frame.width())
        } else {
            (frame.width(), frame.height())
        };
        if width % 2 == 1 || height % 2 == 1 {
            filters.push(format!("crop={}:{}:0:0", width & !1, height & !1));
        }
        (!filters.is_empty()).then(|| filters.join(","))
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
fn matrix_name(matrix: u8) -> &'static str {
    match matrix {
        4 => "fcc",
        5 | 6 => "smpte170m",
        7 => "smpte240m",
        9 | 10 => "bt2020",
        _ => "bt709",
    }
}
