//! Memory of this process that CUDA devices read and write by themselves. From other memory the driver copies with this process's time, a third as fast.
//!
//! FFmpeg does not give out such memory, so four functions of the driver are called here; it is loaded when a CUDA device is there already.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use libloading::Library;

use super::hardware::DeviceContext;
use super::sys;

/// Every context of the process may use the memory.
const PORTABLE: c_uint = 1;

type Context = *mut c_void;

/// The driver's functions, by the names that it exports.
struct Driver {
    push: unsafe extern "C" fn(Context) -> c_int,
    pop: unsafe extern "C" fn(*mut Context) -> c_int,
    allocate: unsafe extern "C" fn(*mut *mut c_void, usize, c_uint) -> c_int,
    free: unsafe extern "C" fn(*mut c_void) -> c_int,
    _library: Library,
}

impl Driver {
    /// The driver, loaded once for the life of the process; `None` where there is none.
    fn get() -> Option<&'static Self> {
        static DRIVER: OnceLock<Option<Driver>> = OnceLock::new();
        DRIVER.get_or_init(Self::load).as_ref()
    }

    fn load() -> Option<Self> {
        // SAFETY: the library that FFmpeg has loaded for its device; its functions have these types (CUDA Driver API, memory and context
        // management), and stay valid as long as the library is loaded, which is kept beside them.
        unsafe {
            let library = Library::new("libcuda.so.1").ok()?;
            Some(Self {
                push: *library.get(b"cuCtxPushCurrent_v2\0").ok()?,
                pop: *library.get(b"cuCtxPopCurrent_v2\0").ok()?,
                allocate: *library.get(b"cuMemHostAlloc\0").ok()?,
                free: *library.get(b"cuMemFreeHost\0").ok()?,
                _library: library,
            })
        }
    }
}

/// What the buffers of a pool come from: a context of the driver, which lives as long as they do.
pub(super) struct Pinned {
    driver: &'static Driver,
    context: Context,
    _device: DeviceContext,
}

impl Pinned {
    /// A pool of buffers of that size; `None` if the driver gives no such memory.
    pub(super) fn pool(bytes: usize, device: &DeviceContext) -> Option<NonNull<sys::AVBufferPool>> {
        let pinned = Box::new(Self {
            driver: Driver::get()?,
            context: device.cuda_context()?,
            _device: device.another().ok()?,
        });
        // The first buffer shows whether there is any. It is the driver's to refuse, so it goes again.
        let first = pinned.allocate(bytes)?;
        pinned.free(first);
        let opaque = Box::into_raw(pinned).cast::<c_void>();
        // SAFETY: the callbacks take the box for what it is; `drop_all` frees it when the last buffer is gone.
        let pool =
            unsafe { sys::av_buffer_pool_init2(bytes, opaque, Some(allocate), Some(drop_all)) };
        let pool = NonNull::new(pool);
        if pool.is_none() {
            // SAFETY: nobody else has it.
            drop(unsafe { Box::from_raw(opaque.cast::<Self>()) });
        }
        pool
    }

    fn within<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        // SAFETY: the context lives as long as the device does, and is taken off again.
        if unsafe { (self.driver.push)(self.context) } != 0 {
            return None;
        }
        let done = act();
        let mut popped = ptr::null_mut();
        // SAFETY: writes the context that was pushed above.
        unsafe { (self.driver.pop)(&raw mut popped) };
        Some(done)
    }

    fn allocate(&self, bytes: usize) -> Option<NonNull<u8>> {
        self.within(|| {
            let mut memory = ptr::null_mut();
            // SAFETY: writes a pointer to so many bytes, or fails.
            let failed = unsafe { (self.driver.allocate)(&raw mut memory, bytes, PORTABLE) };
            NonNull::new(memory.cast()).filter(|_| failed == 0)
        })?
    }

    fn free(&self, memory: NonNull<u8>) {
        // SAFETY: memory of `allocate`, not used again.
        self.within(|| unsafe { (self.driver.free)(memory.as_ptr().cast()) });
    }
}

unsafe extern "C" fn allocate(opaque: *mut c_void, bytes: usize) -> *mut sys::AVBufferRef {
    // SAFETY: the pool gives what it was made with, while it or a buffer of it lives.
    let Some(pinned) = (unsafe { opaque.cast::<Pinned>().as_ref() }) else {
        return ptr::null_mut();
    };
    let Some(memory) = pinned.allocate(bytes) else {
        return ptr::null_mut();
    };
    // SAFETY: so many bytes, which `release` frees.
    let buffer = unsafe { sys::av_buffer_create(memory.as_ptr(), bytes, Some(release), opaque, 0) };
    if buffer.is_null() {
        pinned.free(memory);
    }
    buffer
}

unsafe extern "C" fn release(opaque: *mut c_void, memory: *mut u8) {
    // SAFETY: as in `allocate`; the pool goes after its buffers.
    let pinned = unsafe { opaque.cast::<Pinned>().as_ref() };
    if let (Some(pinned), Some(memory)) = (pinned, NonNull::new(memory)) {
        pinned.free(memory);
    }
}

unsafe extern "C" fn drop_all(opaque: *mut c_void) {
    // SAFETY: the pool's last call, with what it was made with.
    drop(unsafe { Box::from_raw(opaque.cast::<Pinned>()) });
}
