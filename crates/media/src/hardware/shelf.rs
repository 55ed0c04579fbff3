//! Pictures that are kept in a device's memory, up to a limit, and brought to other sizes there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Bringer, HardwareDevice, HardwareScaler, Place, Pool};
use crate::error::{AvError, Error};
use crate::frame::{BitDepth, Frame};
use crate::scale::Config;

/// Pictures on a device and what scales them there, shared by all threads of a process. Pictures come from decoders of the device or from this process's
/// memory, and stay as long as somebody has them.
///
/// Scalers are made once for each size and used again: the driver compiles their programs when one is made.
pub struct Shelf {
    device: HardwareDevice,
    room: Room,
    /// One for each size and depth, so that all pictures of a stream come from one pool: a scaler takes pictures of one.
    pools: Mutex<BTreeMap<(u32, u32, BitDepth), Arc<Pool>>>,
    /// What is scaled comes back through it.
    bringer: Bringer,
    /// Those that nobody uses now.
    idle: Mutex<Vec<(Config, HardwareScaler)>>,
}

impl Shelf {
    /// Makes an empty one; `bytes` is the most that kept pictures may take.
    #[must_use]
    pub fn new(device: HardwareDevice, bytes: u64) -> Self {
        Self {
            bringer: Bringer::new(&device).reusing(),
            device,
            room: Room {
                limit: AtomicU64::new(bytes),
                used: Arc::default(),
            },
            pools: Mutex::default(),
            idle: Mutex::default(),
        }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &HardwareDevice {
        &self.device
    }

    /// Keeps half as much as now from here on: the device has turned out to have less room.
    pub fn ease(&self) {
        let half = self.kept() / 2;
        self.room.limit.fetch_min(half, Ordering::Relaxed);
    }

    /// Bytes of pictures that are kept now.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.room.used.load(Ordering::Relaxed)
    }

    /// Keeps a 4:2:0 picture of 8 or 10 bits: a copy of one that lies on the device, or of one in this process's memory. The device may still be at work on it when
    /// this returns.
    ///
    /// # Errors
    /// [`Error::Capacity`] if there is no room, [`Error::Unsupported`] for other pictures, [`Error::Device`].
    pub fn keep(&self, frame: &Frame) -> Result<Frame, Error> {
        let unused = self.kept() == 0;
        let room = self.room.take(frame.bytes() as u64, &self.device)?;
        Ok(self.place(frame, unused)?.with_room(room))
    }

    /// Whether a picture lies on the device.
    #[must_use]
    pub fn holds(&self, frame: &Frame) -> bool {
        self.device.holds(frame)
    }

    /// Brings a picture that is kept to this process's memory. Blocks until it is there.
    ///
    /// # Errors
    /// As of [`Frame::download`].
    pub fn bring(&self, frame: &Frame) -> Result<Frame, Error> {
        self.bringer.bring(frame)
    }

    /// Brings a 4:2:0 picture to another size on the device, wherever it lies, and the result to this process's memory. Blocks until it is there. One that lies elsewhere is
    /// copied to the device once, as long as there is room for it; the copy goes with the picture.
    ///
    /// # Errors
    /// [`Error::Device`] if the device cannot or fails, [`Error::Capacity`], [`Error::Unsupported`] for other pictures and if this FFmpeg cannot scale there.
    pub fn scale(&self, frame: &Frame, to: Config) -> Result<Scaled, Error> {
        let (there, uploaded) = self.there(frame)?;
        let mut scaler = self.scaler(to)?;
        let frame = self.bringer.bring(&scaler.apply(&there)?)?;
        // One on which something failed goes.
        self.idle().push((to, scaler));
        Ok(Scaled { frame, uploaded })
    }

    /// The picture on the device, and the bytes that were brought there for it.
    fn there(&self, frame: &Frame) -> Result<(Frame, u64), Error> {
        if self.holds(frame) {
            return Ok((frame.clone(), 0));
        }
        let bytes = frame.bytes() as u64;
        let copied = frame.copy_on(self.device.identity(), || self.keep(&frame.download()?));
        match copied {
            Ok((copy, fresh)) => Ok((copy, if fresh { bytes } else { 0 })),
            Err(error) if error.is_capacity() => {
                Ok((self.place(&frame.download()?, false)?, bytes))
            }
            Err(error) => Err(error),
        }
    }

    /// A copy on the device. `unused`: nothing is kept.
    fn place(&self, frame: &Frame, unused: bool) -> Result<Frame, Error> {
        let pool = self.pool(frame, unused)?;
        match frame.place() {
            Place::Host => pool.upload(frame),
            Place::Device => pool.copy(frame),
        }
    }

    fn pool(&self, like: &Frame, unused: bool) -> Result<Arc<Pool>, Error> {
        let depths = [BitDepth::Eight, BitDepth::Ten];
        let mut depths = depths.into_iter();
        let depth = depths.find(|depth| depth.format() == like.host_format());
        let depth = depth.ok_or_else(|| Error::Unsupported {
            what: format!("pictures in {} on {}", like.samples().name(), self.device),
        })?;
        let size = (like.width(), like.height());
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&(size.0, size.1, depth)) {
            return Ok(Arc::clone(pool));
        }
        if unused {
            // Of other sizes, from jobs that are over: the memory goes back to the device.
            pools.clear();
            self.idle().clear();
        }
        let bytes = u64::from(size.0) * u64::from(size.1) * 3 / 2;
        let most = self.room.limit.load(Ordering::Relaxed) / bytes.max(1);
        let held = u32::try_from(most).unwrap_or(u32::MAX).clamp(4, 64);
        let pool = Arc::new(Pool::new(&self.device, (size, depth), held)?);
        pools.insert((size.0, size.1, depth), Arc::clone(&pool));
        Ok(pool)
    }

    fn scaler(&self, to: Config) -> Result<HardwareScaler, Error> {
        let mut idle = self.idle();
        let place = idle.iter().position(|(config, _)| *config == to);
        match place.map(|place| idle.swap_remove(place).1) {
            Some(scaler) => Ok(scaler),
            None => HardwareScaler::new(&self.device, to),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Config, HardwareScaler)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shelf")
            .field("device", &self.device)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

/// A picture that was scaled on a device.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// The picture, in this process's memory.
    pub frame: Frame,
    /// Bytes that were brought to the device for it.
    pub uploaded: u64,
}

/// How much of a device's memory kept pictures may take, and take.
#[derive(Debug)]
struct Room {
    limit: AtomicU64,
    used: Arc<AtomicU64>,
}

impl Room {
    fn take(&self, bytes: u64, device: &HardwareDevice) -> Result<Reserved, Error> {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match taken {
            Ok(_) => Ok(Reserved {
                used: Arc::clone(&self.used),
                bytes,
            }),
            Err(used) => Err(Error::Capacity {
                operation: format!(
                    "keep a picture on {device} ({used} of {limit} bytes are taken)"
                ),
                source: AvError::no_memory(),
            }),
        }
    }
}

/// Room that a picture takes; it is free again on drop.
#[derive(Debug)]
pub(crate) struct Reserved {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
