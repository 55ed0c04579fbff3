//! Devices that decode, scale and encode, and pictures that stay in their memory.
//!
//! A [`HardwareDevice`] is opened once and lives as long as the process wants: a context costs a third of a second and more.
//! [`VideoDecoder::open_on`](crate::decode::VideoDecoder::open_on) decodes on it, [`Pool`] brings pictures there and makes copies, [`HardwareScaler`] and
//! [`HardwareDeinterlacer`] work there, a [`Shelf`] keeps pictures there for many threads, a [`Bringer`] brings many back, [`HardwareEncoder`] encodes what lies there, and [`Frame::download`](crate::frame::Frame::download) brings a picture back.
//!
//! Nothing here knows what a device can do: it tries, and an error carries what FFmpeg said of it.

mod bring;
mod encode;
mod fields;
mod pool;
mod quality;
mod scale;
mod shelf;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{AvError, DeviceError, Error};
use crate::ffi::{self, DeviceContext};
use crate::frame::Frame;

pub use bring::Bringer;
pub use encode::{HardwareEncoder, candidates, codec_of, encoder_name};
pub use fields::HardwareDeinterlacer;
pub use pool::Pool;
pub use quality::{Measured, Quantizer, quantizer};
pub use scale::{HardwareScaler, Interpolation};
pub(crate) use shelf::Reserved;
pub use shelf::{Scaled, Shelf};

/// A way to drive a device, by FFmpeg's name of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// CUDA, with NVDEC and NVENC.
    Cuda,
    /// Intel's oneVPL, called Quick Sync Video.
    Qsv,
    /// VA-API.
    Vaapi,
    /// Vulkan Video.
    Vulkan,
}

impl DeviceKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cuda, Self::Qsv, Self::Vaapi, Self::Vulkan];

    /// The one whose pictures have that format, by FFmpeg's name.
    pub(crate) fn of_format(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// FFmpeg's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Qsv => "qsv",
            Self::Vaapi => "vaapi",
            Self::Vulkan => "vulkan",
        }
    }

    /// Whether the linked FFmpeg was built with it.
    #[must_use]
    pub fn is_built_in(self) -> bool {
        ffi::device_types().contains(&self.name())
    }

    /// Whether its pools of pictures grow as they are needed. Otherwise they have room from the start for what is to be held.
    const fn pools_grow(self) -> bool {
        !matches!(self, Self::Qsv)
    }

    /// Whether a picture of this process has been read when FFmpeg's call to bring it there returns. Vulkan reads it when its turn comes, and FFmpeg 5.1
    /// does not keep the memory until then.
    const fn copies_at_once(self) -> bool {
        !matches!(self, Self::Vulkan)
    }

    /// The turn to call FFmpeg with pictures there, where it does not bear several threads at once: its Vulkan pictures carry counters that have no lock
    /// in FFmpeg 5.1, and threads that read one picture wait for each other for ever.
    pub(crate) fn turn(self) -> Option<MutexGuard<'static, ()>> {
        static VULKAN: Mutex<()> = Mutex::new(());
        match self {
            Self::Vulkan => Some(VULKAN.lock().unwrap_or_else(PoisonError::into_inner)),
            Self::Cuda | Self::Qsv | Self::Vaapi => None,
        }
    }

    /// The format of a picture that lies there, by FFmpeg's number. Encoders and filters of the kind take no other.
    fn format(self) -> Result<i32, Error> {
        // FFmpeg calls the formats as it calls the types.
        ffi::format_by_name(self.name()).ok_or_else(|| Error::Unsupported {
            what: format!("pictures on {self} devices"),
        })
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Where a picture lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the memory of this process.
    Host,
    /// In the memory of a device.
    Device,
}

/// An open device. Clones share its context, which goes with the last of them and of the pictures that lie there.
#[derive(Clone)]
pub struct HardwareDevice {
    inner: Arc<Inner>,
}

struct Inner {
    kind: DeviceKind,
    address: String,
    context: DeviceContext,
    /// Whether an encoder is open on the context.
    encodes: AtomicBool,
}

impl HardwareDevice {
    /// Opens a device. Blocks for a third of a second and more.
    ///
    /// `address` is how the kind names it: the index of a CUDA or Vulkan device, and the render node (`/dev/dri/renderD128`) of a VA-API or
    /// QSV device.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this FFmpeg has no such kind, [`Error::Device`] if there is no such device or its driver fails.
    pub fn open(kind: DeviceKind, address: &str) -> Result<Self, Error> {
        crate::init();
        if !kind.is_built_in() {
            return Err(Error::Unsupported {
                what: format!("devices of kind {kind}"),
            });
        }
        // QSV sits on a device of another kind, and would take the first by itself.
        let (name, options): (_, &[_]) = match kind {
            DeviceKind::Qsv => (None, &[("child_device", address)]),
            _ => (Some(address), &[]),
        };
        let (opened, said) = ffi::listen(|| DeviceContext::open(kind.name(), name, options));
        let device = format!("{kind}:{address}");
        let context = opened.map_err(|source| failed(&device, "be opened", (source, said)))?;
        Ok(Self {
            inner: Arc::new(Inner {
                kind,
                address: address.to_owned(),
                context,
                encodes: AtomicBool::new(false),
            }),
        })
    }

    /// How it is driven.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        self.inner.kind
    }

    /// How its kind names it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    pub(crate) fn context(&self) -> &DeviceContext {
        &self.inner.context
    }

    /// Whether a picture lies in its memory.
    #[must_use]
    pub fn holds(&self, frame: &Frame) -> bool {
        frame.picture().device_identity() == Some(self.identity())
    }

    /// What tells it from all others that are open.
    fn identity(&self) -> usize {
        self.inner.context.identity()
    }

    /// Does something on the device, and gives the error with what FFmpeg said.
    pub(crate) fn attempt<T>(
        &self,
        operation: &str,
        act: impl FnOnce() -> Result<T, AvError>,
    ) -> Result<T, Error> {
        let turn = self.inner.kind.turn();
        let (done, said) = ffi::listen(act);
        drop(turn);
        done.map_err(|source| failed(&self.to_string(), operation, (source, said)))
    }

    /// The right to open an encoder on this context. There is one: encoders that share a context were seen to wait for each other for ever.
    ///
    /// # Errors
    /// [`Error::Capacity`] if one is open.
    fn session(&self) -> Result<Session, Error> {
        if self.inner.encodes.swap(true, Ordering::Acquire) {
            return Err(Error::Capacity {
                operation: format!("open a second encoder on one context of {self}"),
                source: AvError::no_memory(),
            });
        }
        Ok(Session(self.clone()))
    }
}

impl fmt::Display for HardwareDevice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.inner.kind, self.inner.address)
    }
}

impl fmt::Debug for HardwareDevice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HardwareDevice({self})")
    }
}

/// The right to the one encoder of a context; it goes back on drop.
struct Session(HardwareDevice);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.inner.encodes.store(false, Ordering::Release);
    }
}

/// What drivers say when memory or sessions are short, whatever code FFmpeg makes of it.
const SHORT: [&str; 4] = [
    "OUT_OF_MEMORY",
    "out of memory",
    "Out of memory",
    // NVIDIA's newer word for one session too many.
    "incompatible client key",
];

/// An error of a device, with what FFmpeg said.
pub(crate) fn failed(
    device: &str,
    operation: &str,
    (source, said): (AvError, Vec<String>),
) -> Error {
    let short = |line: &String| SHORT.iter().any(|words| line.contains(words));
    let said = Said(said);
    if source.is_out_of_memory() || said.0.iter().any(short) {
        return Error::Capacity {
            operation: format!("{operation} on {device}{said}"),
            source,
        };
    }
    Error::Device(Box::new(DeviceError {
        device: device.to_owned(),
        operation: operation.to_owned(),
        said: said.to_string(),
        source,
    }))
}

/// Lines of FFmpeg's, in brackets; nothing where there are none.
struct Said(Vec<String>);

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(formatter, " ({})", self.0.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(code: AvError, said: &[&str]) -> Error {
        let said = said.iter().map(|line| (*line).to_owned()).collect();
        failed("cuda:0", "be opened", (code, said))
    }

    #[test]
    fn a_driver_short_of_memory_or_sessions_is_capacity_whatever_its_code() {
        let said = "OpenEncodeSessionEx failed: out of memory (10): (no details)";
        assert!(fails(AvError::invalid(), &[said]).is_capacity());
        let said = "OpenEncodeSessionEx failed: incompatible client key (21): (no details)";
        assert!(fails(AvError::invalid(), &[said]).is_capacity());
        let said = "cu->cuMemAlloc(&data, size) failed -> CUDA_ERROR_OUT_OF_MEMORY: out of memory";
        assert!(fails(AvError::invalid(), &[said]).is_capacity());
        assert!(fails(AvError::no_memory(), &[]).is_capacity());
        assert!(!fails(AvError::invalid(), &["No capable devices found"]).is_capacity());
    }

    #[test]
    fn the_reason_is_told_in_words() {
        let error = fails(AvError::invalid(), &["No capable devices found"]);
        let text = error.to_string();
        assert_eq!(text, "cuda:0 cannot be opened (No capable devices found)");
        assert_eq!(
            fails(AvError::invalid(), &[]).to_string(),
            "cuda:0 cannot be opened"
        );
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_and_no_crash() {
        for kind in DeviceKind::ALL {
            let Err(error) = HardwareDevice::open(kind, "987") else {
                panic!("{kind}:987 is there");
            };
            let expected = matches!(error, Error::Device { .. } | Error::Unsupported { .. });
            assert!(expected, "{kind}: {error:?}");
        }
    }
}
