//! Scaling of normalised pictures to a rendition's size, on the calling thread.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::ffi::{Form, Scaling, SwsScaler};
use crate::frame::{BitDepth, Frame, PixelFormat};

/// How samples of the result are weighed together from samples of the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// The mean of the area that a sample covers: soft, and never rings.
    Area,
    /// Cubic splines: sharp, and rings little.
    #[default]
    Bicubic,
    /// Straight lines between samples: soft.
    Bilinear,
    /// A bell: softer still.
    Gauss,
    /// A sinc with three lobes: the sharpest, and rings at hard edges.
    Lanczos,
    /// The nearest sample, for pictures that are drawn pixel by pixel.
    Neighbor,
    /// Natural splines: as sharp as Lanczos.
    Spline,
}

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The width, in pixels.
    pub width: u32,
    /// The height, in pixels.
    pub height: u32,
    /// Bits of a sample.
    pub depth: BitDepth,
    /// How samples are weighed.
    pub kernel: Kernel,
}

/// Scales 4:2:0 pictures of 8 or 10 bits, the same to the bit on every machine. Its pictures come from a pool of its own:
/// their memory is used again as soon as nobody holds them.
pub struct Scaler {
    config: Config,
    built: Option<Built>,
}

struct Built {
    scaling: Scaling,
    scaler: SwsScaler,
}

impl Scaler {
    /// Makes a scaler; nothing is built before the first picture.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            built: None,
        }
    }

    /// Scales a picture, keeping its time and colours. One that has size and depth already is passed through, its samples shared.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the picture is not 4:2:0 of 8 or 10 bits.
    pub fn apply(&mut self, frame: &Frame) -> Result<Frame, Error> {
        let format = frame.format();
        if ![PixelFormat::YUV420P, PixelFormat::YUV420P10].contains(&format) {
            return Err(Error::Mismatch {
                what: "the scaler".to_owned(),
                given: format.name().to_owned(),
                takes: "yuv420p or yuv420p10le".to_owned(),
            });
        }
        let (from, to) = (
            (frame.width(), frame.height()),
            (self.config.width, self.config.height),
        );
        let depth = self.config.depth.format();
        if from == to && format == depth {
            return Ok(frame.clone());
        }
        let operation = || format!("scale {}x{} to {}x{}", from.0, from.1, to.0, to.1);
        let color = frame.color();
        let form = |size, format: PixelFormat| Form {
            size,
            format: format.number(),
        };
        let scaling = Scaling {
            from: form(from, format),
            to: form(to, depth),
            location: color.chroma_location,
            kernel: self.config.kernel,
        };
        let mut built = match self.built.take() {
            Some(built) if built.scaling == scaling => built,
            _ => Built {
                scaling,
                scaler: SwsScaler::new(&scaling).map_err(Error::filter(operation()))?,
            },
        };
        let mut picture = built
            .scaler
            .apply(frame.picture())
            .map_err(Error::filter(operation()))?;
        self.built = Some(built);
        picture.set_color(color);
        picture.set_sample_aspect(frame.sample_aspect());
        Ok(Frame::freeze(picture, frame.pts(), frame.duration()))
    }
}

impl std::fmt::Debug for Scaler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Scaler")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
