//! Pictures on their way from a device to this process, in memory that is used again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{DeviceKind, HardwareDevice, Place, failed};
use crate::error::{AvError, Error};
use crate::ffi::{self, AvFrame, Form, HostPool};
use crate::frame::Frame;
use crate::layout;

/// What a device failed at that cannot give its picture away.
const BRING: &str = "copy a picture to the host";

/// Brings pictures of a device to this process's memory, as [`Frame::download`] does; from CUDA devices through memory that the device writes by itself. Shared by
/// any number of threads.
pub struct Bringer {
    device: HardwareDevice,
    /// Whether memory of pictures that nobody has any more is kept for the next ones.
    reuses: bool,
    /// One for each size and format.
    pools: Mutex<BTreeMap<Form, Arc<Pools>>>,
}

struct Pools {
    /// What the device writes, in its own layout; `None` where FFmpeg takes what it wants.
    landing: Option<HostPool>,
    /// What becomes of it, where memory is used again.
    planes: Option<HostPool>,
    /// The form of that.
    here: Form,
}

impl Bringer {
    /// Makes one that has no memory yet.
    #[must_use]
    pub fn new(device: &HardwareDevice) -> Self {
        Self {
            device: device.clone(),
            reuses: false,
            pools: Mutex::default(),
        }
    }

    /// The same for pictures that go again soon: their memory is kept for the next ones. Fresh memory costs more than the copy, but what is kept is as much as was
    /// ever held at once.
    #[must_use]
    pub fn reusing(mut self) -> Self {
        self.reuses = true;
        self
    }

    /// The picture in this process's memory. One that is there already is shared. Blocks until the device has it ready and it is copied.
    ///
    /// # Errors
    /// As of [`Frame::download`].
    pub fn bring(&self, frame: &Frame) -> Result<Frame, Error> {
        let (there, here) = (frame.samples(), frame.host_format());
        if frame.place() == Place::Host || there == here {
            return frame.download();
        }
        let form = Form {
            size: (frame.width(), frame.height()),
            format: there.number(),
        };
        let pools = self
            .pools_for(form, here.number())
            .map_err(Error::filter(BRING))?;
        let turn = self.device.kind().turn();
        let (landed, said) = ffi::listen(|| pools.land(frame.picture()));
        drop(turn);
        let landed =
            landed.map_err(|source| failed(&self.device.to_string(), BRING, (source, said)))?;
        let picture = pools.take().and_then(|mut planes| {
            layout::separate_into(&landed, &mut planes)?;
            Ok(planes)
        });
        let picture = picture.map_err(Error::filter(BRING))?;
        Ok(Frame::freeze(picture, frame.pts(), frame.duration()))
    }

    fn pools_for(&self, form: Form, here: i32) -> Result<Arc<Pools>, AvError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = pools.get(&form) {
            return Ok(Arc::clone(found));
        }
        let here = Form {
            format: here,
            ..form
        };
        let made = Arc::new(Pools {
            landing: match self.device.kind() {
                DeviceKind::Cuda => HostPool::pinned(form, self.device.context()),
                DeviceKind::Qsv | DeviceKind::Vaapi | DeviceKind::Vulkan => None,
            },
            planes: self.reuses.then(|| HostPool::new(here)).transpose()?,
            here,
        });
        pools.insert(form, Arc::clone(&made));
        Ok(made)
    }
}

impl Pools {
    fn take(&self) -> Result<AvFrame, AvError> {
        match &self.planes {
            Some(pool) => pool.take(),
            None => HostPool::new(self.here)?.take(),
        }
    }

    fn land(&self, picture: &AvFrame) -> Result<AvFrame, AvError> {
        match &self.landing {
            // The system may have no more such memory to give.
            Some(pool) => match pool.take() {
                Ok(landing) => picture.download_into(landing),
                Err(_) => picture.download(),
            },
            None => picture.download(),
        }
    }
}

impl std::fmt::Debug for Bringer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Bringer({})", self.device)
    }
}
