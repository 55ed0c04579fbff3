//! Pictures on their way to a device, and copies that stay there.

use super::HardwareDevice;
use crate::error::Error;
use crate::ffi::{self, AvFrame, FramePool, PoolForm};
use crate::frame::{BitDepth, Frame, PixelFormat};
use crate::layout;

/// Pictures of one size and depth in a device's memory. What lies there is NV12, or P010 for 10 bits, as devices want it.
///
/// A picture keeps its memory until its last clone goes; the device uses it again for the next one.
#[derive(Debug)]
pub struct Pool {
    device: HardwareDevice,
    size: (u32, u32),
    depth: BitDepth,
    pictures: FramePool,
}

impl Pool {
    /// Makes a pool. `held` is how many pictures will be held at once; it counts only where a device's pools do not grow.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has no such pictures, [`Error::Capacity`].
    pub fn new(
        device: &HardwareDevice,
        (size, depth): ((u32, u32), BitDepth),
        held: u32,
    ) -> Result<Self, Error> {
        let format = device.kind().format()?;
        let form = PoolForm {
            size,
            format,
            samples: depth.device_format(),
            pictures: if device.kind().pools_grow() { 0 } else { held },
        };
        let operation = format!(
            "keep pictures of {}x{} in {} bits",
            size.0,
            size.1,
            depth.bits()
        );
        let pictures = device.attempt(&operation, || FramePool::new(device.context(), form))?;
        Ok(Self {
            device: device.clone(),
            size,
            depth,
            pictures,
        })
    }

    /// Brings a 4:2:0 picture of this process to the device. Blocks until it is there.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it has another size or depth, [`Error::Device`], [`Error::Capacity`].
    pub fn upload(&self, frame: &Frame) -> Result<Frame, Error> {
        self.check(frame, self.depth.format())?;
        let picture = layout::interleave(frame.picture(), self.depth)
            .map_err(Error::filter("interleave the chroma of a picture"))?;
        let brought = self.take_in(&picture, frame)?;
        if !self.device.kind().copies_at_once() {
            // It has to have been read before the memory goes. There is no other way to wait.
            brought.download()?;
        }
        Ok(brought)
    }

    /// Copies a picture that lies on the device into the pool, out of that of a decoder: decoders have few pictures to give, and stop when all of them
    /// are held. VA-API and QSV cannot; there a [`HardwareScaler`](super::HardwareScaler) to the same size does it.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it has another size or depth, [`Error::Device`] if the device cannot copy, [`Error::Capacity`].
    pub fn copy(&self, frame: &Frame) -> Result<Frame, Error> {
        let samples = PixelFormat::numbered(self.depth.device_format());
        self.check(frame, samples)?;
        self.take_in(frame.picture(), frame)
    }

    fn take_in(&self, picture: &AvFrame, like: &Frame) -> Result<Frame, Error> {
        let copied = self
            .device
            .attempt("copy a picture", || self.pictures.copy(picture))?;
        Ok(Frame::freeze(copied, like.pts(), like.duration()))
    }

    /// Bits of a sample of its pictures.
    #[must_use]
    pub fn depth(&self) -> BitDepth {
        self.depth
    }

    pub(super) fn check(&self, frame: &Frame, format: PixelFormat) -> Result<(), Error> {
        if (frame.width(), frame.height()) == self.size && frame.samples() == format {
            Ok(())
        } else {
            Err(self.mismatch(frame, format))
        }
    }

    fn mismatch(&self, frame: &Frame, format: PixelFormat) -> Error {
        Error::Mismatch {
            what: format!("a pool on {}", self.device),
            given: format!(
                "{}x{} {}",
                frame.width(),
                frame.height(),
                frame.samples().name()
            ),
            takes: format!("{}x{} {}", self.size.0, self.size.1, format.name()),
        }
    }
}

impl std::fmt::Debug for FramePool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FramePool")
    }
}

impl BitDepth {
    /// The format of 4:2:0 pictures with so many bits on a device, by FFmpeg's number.
    pub(crate) const fn device_format(self) -> i32 {
        match self {
            Self::Eight => ffi::PIX_FMT_NV12,
            Self::Ten => ffi::PIX_FMT_P010,
        }
    }
}
