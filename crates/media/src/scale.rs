//! Scaling of normalised pictures to a rendition's size, on the calling thread.

use crate::color::ChromaLocation;
use crate::error::Error;
use crate::ffi::SwsScaler;
use crate::frame::{Frame, PixelFormat};

/// The size to make, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The width.
    pub width: u32,
    /// The height.
    pub height: u32,
}

/// Scales 8-bit 4:2:0 pictures, bicubic and the same to the bit on every machine. Its pictures come from a pool of its own:
/// their memory is used again as soon as nobody holds them.
pub struct Scaler {
    config: Config,
    built: Option<Built>,
}

struct Built {
    from: (u32, u32, ChromaLocation),
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

    /// Scales a picture, keeping its time and colours. One that has the size already is passed through, its samples shared.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the picture is not 8-bit 4:2:0.
    pub fn apply(&mut self, frame: &Frame) -> Result<Frame, Error> {
        if frame.format() != PixelFormat::YUV420P {
            return Err(Error::Mismatch {
                what: "the scaler".to_owned(),
                given: frame.format().name().to_owned(),
                takes: PixelFormat::YUV420P.name().to_owned(),
            });
        }
        let (from, to) = (
            (frame.width(), frame.height()),
            (self.config.width, self.config.height),
        );
        if from == to {
            return Ok(frame.clone());
        }
        let operation = || format!("scale {}x{} to {}x{}", from.0, from.1, to.0, to.1);
        let color = frame.color();
        let shape = (from.0, from.1, color.chroma_location);
        let mut built = match self.built.take() {
            Some(built) if built.from == shape => built,
            _ => Built {
                from: shape,
                scaler: SwsScaler::new(from, to, color.chroma_location)
                    .map_err(Error::filter(operation()))?,
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
