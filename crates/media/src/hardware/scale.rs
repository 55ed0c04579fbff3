//! Scaling of pictures that stay on their device.

use std::fmt::Write as _;

use super::{DeviceKind, HardwareDevice, Place};
use crate::error::Error;
use crate::ffi::{AvFrame, FilterGraph, Inlet, Poll, Shape, has_filter};
use crate::frame::{Frame, PixelFormat};
use crate::scale::Config;

/// Pictures that may be held of each filter's output, where a device's pools do not grow.
pub(super) const HELD: u32 = 16;

/// How samples are made of those around them, where the device lets us choose: on CUDA, and on Vulkan whether there are steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// To twice the wanted size, where that is smaller by bilinear interpolation and where it is larger by bicubic, and then to half of it; before, halves while the picture is
    /// too large for the bilinear scaler to look at all of its samples. To larger sizes by Lanczos. The scalers of devices look at as many samples whatever
    /// the ratio, and what they pass over shows as noise, which takes bits; of what was tried this is the closest to the CPU's bicubic scaler.
    #[default]
    Stepwise,
    /// Bicubic in one step.
    Bicubic,
    /// Bilinear in one step.
    Bilinear,
    /// Lanczos in one step.
    Lanczos,
}

/// Scales pictures on a device to one size and depth. What comes out lies there too, in a picture of its own even where the size is the same: NV12, or P010
/// for 10 bits. Devices have kernels of their own: that of the configuration is the CPU's, and does not count.
pub struct HardwareScaler {
    device: HardwareDevice,
    config: Config,
    interpolation: Interpolation,
    built: Option<Built>,
}

struct Built {
    shape: Shape,
    /// The pool that the pictures come from. Those of another pool need another graph.
    pool: Option<usize>,
    graph: FilterGraph,
}

impl HardwareScaler {
    /// Makes a scaler; nothing is built before the first picture.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this FFmpeg cannot scale on devices of the kind.
    pub fn new(device: &HardwareDevice, config: Config) -> Result<Self, Error> {
        let filter = filter(device.kind());
        if !has_filter(filter) {
            return Err(Error::Unsupported {
                what: format!("filter {filter}"),
            });
        }
        Ok(Self {
            device: device.clone(),
            config,
            interpolation: Interpolation::default(),
            built: None,
        })
    }

    /// The same with another way to make samples.
    #[must_use]
    pub fn with(mut self, interpolation: Interpolation) -> Self {
        self.interpolation = interpolation;
        self.built = None;
        self
    }

    /// Scales a picture, keeping its time and colours. The device may still be at work on it when this returns.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the picture is not on a device, [`Error::Device`] if the device cannot or fails, [`Error::Capacity`].
    pub fn apply(&mut self, frame: &Frame) -> Result<Frame, Error> {
        if frame.place() != Place::Device {
            return Err(Error::Mismatch {
                what: format!("the scaler on {}", self.device),
                given: frame.format().name().to_owned(),
                takes: format!("pictures on {}", self.device.kind()),
            });
        }
        let picture = frame.picture();
        let (shape, pool) = (Shape::of(picture), picture.pool_identity());
        let operation = format!(
            "scale {}x{} to {}x{}",
            shape.width, shape.height, self.config.width, self.config.height
        );
        let mut built = match self.built.take() {
            Some(built) if built.shape == shape && built.pool == pool => built,
            _ => self.build(&operation, picture)?,
        };
        let mut scaled = self
            .device
            .attempt(&operation, || built.graph.apply(picture.bare_reference()?))?;
        self.built = Some(built);
        scaled.set_color(frame.color());
        scaled.set_sample_aspect(frame.sample_aspect());
        Ok(Frame::freeze(scaled, frame.pts(), frame.duration()))
    }

    fn build(&self, operation: &str, first: &AvFrame) -> Result<Built, Error> {
        let shape = Shape::of(first);
        let chain = chain(
            (self.device.kind(), self.interpolation),
            (shape.width, shape.height),
            self.config,
        );
        let graph = self.device.attempt(operation, || {
            FilterGraph::on_device(&Inlet::of(shape), first, (&chain, HELD))
        })?;
        Ok(Built {
            shape,
            pool: first.pool_identity(),
            graph,
        })
    }
}

impl std::fmt::Debug for HardwareScaler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HardwareScaler")
            .field("device", &self.device)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// FFmpeg's filter that scales on the kind of device.
const fn filter(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Cuda => "scale_cuda",
        DeviceKind::Qsv => "vpp_qsv",
        DeviceKind::Vaapi => "scale_vaapi",
        DeviceKind::Vulkan => "scale_vulkan",
    }
}

/// The chain of filters from one size to another.
fn chain(
    (kind, interpolation): (DeviceKind, Interpolation),
    from: (u32, u32),
    to: Config,
) -> String {
    let format = PixelFormat::numbered(to.depth.device_format()).name();
    let (name, size) = (filter(kind), format!("w={}:h={}", to.width, to.height));
    let how = |algorithm: &str| match kind {
        DeviceKind::Vulkan => "scaler=bilinear".to_owned(),
        _ => format!("interp_algo={algorithm}"),
    };
    let end = match kind {
        DeviceKind::Vaapi => return format!("{name}={size}:mode=hq:format={format}"),
        DeviceKind::Qsv => return format!("{name}={size}:format={format}"),
        DeviceKind::Vulkan => "",
        DeviceKind::Cuda => ":passthrough=0",
    };
    let target = (to.width, to.height);
    let (steps, last) = match interpolation {
        Interpolation::Stepwise if target == from => (Vec::new(), "bilinear"),
        Interpolation::Stepwise if target.0 <= from.0 && target.1 <= from.1 => {
            (steps(from, target, reach(kind)), "bilinear")
        }
        Interpolation::Stepwise | Interpolation::Lanczos => (Vec::new(), "lanczos"),
        Interpolation::Bicubic => (Vec::new(), BICUBIC),
        Interpolation::Bilinear => (Vec::new(), "bilinear"),
    };
    let mut chain = String::new();
    let mut width = from.0;
    for step in steps {
        let algorithm = if step.0 > width { BICUBIC } else { "bilinear" };
        width = step.0;
        let how = how(algorithm);
        let _ = write!(chain, "{name}=w={}:h={}:{how},", step.0, step.1);
    }
    let _ = write!(chain, "{name}={size}:format={format}:{}{end}", how(last));
    chain
}

/// CUDA's bicubic with the CPU's parameter; its own default is 0, which is blurred.
const BICUBIC: &str = "bicubic:param=0.6";

/// How many times too large a picture may be for the kind's bilinear scaler to look at all of its samples. CUDA's weighs three across and three down by the ratio.
const fn reach(kind: DeviceKind) -> u32 {
    if matches!(kind, DeviceKind::Cuda) {
        3
    } else {
        2
    }
}

/// The sizes between: halves, as long as the picture is too large for the next step, and then twice the size that is wanted.
fn steps(from: (u32, u32), to: (u32, u32), reach: u32) -> Vec<(u32, u32)> {
    let twice = (2 * to.0, 2 * to.1);
    let mut steps = Vec::new();
    let (mut width, mut height) = from;
    while width > reach * twice.0 && height > reach * twice.1 {
        (width, height) = (width.div_ceil(2), height.div_ceil(2));
        steps.push((width, height));
    }
    if (width, height) != twice {
        steps.push(twice);
    }
    steps
}

/// Takes what a graph has to give without more input.
pub(super) fn drain(graph: &mut FilterGraph) -> Result<Vec<AvFrame>, crate::AvError> {
    let mut ready = Vec::new();
    while let Poll::Ready(picture) = graph.pull()? {
        ready.push(picture);
    }
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::BitDepth;

    fn to(width: u32, height: u32, depth: BitDepth) -> Config {
        Config {
            width,
            height,
            depth,
            kernel: crate::scale::Kernel::default(),
        }
    }

    #[test]
    fn a_picture_far_too_large_is_halved_first() {
        let chain = |from, width, height| {
            let to = to(width, height, BitDepth::Eight);
            chain((DeviceKind::Cuda, Interpolation::Stepwise), from, to)
        };
        assert_eq!(
            chain((1920, 1080), 1280, 720),
            "scale_cuda=w=2560:h=1440:interp_algo=bicubic:param=0.6,\
             scale_cuda=w=1280:h=720:format=nv12:interp_algo=bilinear:passthrough=0"
        );
        assert_eq!(
            chain((1920, 1080), 960, 540),
            "scale_cuda=w=960:h=540:format=nv12:interp_algo=bilinear:passthrough=0"
        );
        assert_eq!(
            chain((1920, 1080), 640, 360),
            "scale_cuda=w=1280:h=720:interp_algo=bilinear,\
             scale_cuda=w=640:h=360:format=nv12:interp_algo=bilinear:passthrough=0"
        );
        assert_eq!(
            chain((3840, 2160), 426, 240),
            "scale_cuda=w=1920:h=1080:interp_algo=bilinear,scale_cuda=w=852:h=480:interp_algo=bilinear,\
             scale_cuda=w=426:h=240:format=nv12:interp_algo=bilinear:passthrough=0"
        );
        assert_eq!(
            chain((640, 360), 1280, 720),
            "scale_cuda=w=1280:h=720:format=nv12:interp_algo=lanczos:passthrough=0"
        );
    }

    #[test]
    fn ten_bits_stay_ten_bits_on_each_kind_of_device() {
        for kind in DeviceKind::ALL {
            let config = to(640, 360, BitDepth::Ten);
            let chain = chain((kind, Interpolation::default()), (1280, 720), config);
            assert!(chain.starts_with(filter(kind)), "{chain}");
            assert!(chain.contains("p010le"), "{chain}");
        }
    }
}
