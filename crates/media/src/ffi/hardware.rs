//! Devices that decode, scale and encode: their contexts, their pools of pictures, and what a codec needs to be told of them.

use std::ffi::{CString, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

use super::codec::{Codec, CodecContext, Shared, codecs};
use super::dict::Dictionary;
use super::picture::{AvFrame, format_descriptor};
use super::{check, static_str, sys};
use crate::error::AvError;

/// Rows on a device are taken to start at multiples of so many bytes when its memory is counted.
const PITCH: c_int = 256;

/// The names of the device types that this FFmpeg was built with.
pub(crate) fn device_types() -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut kind = sys::AVHWDeviceType::AV_HWDEVICE_TYPE_NONE;
    loop {
        // SAFETY: goes through a constant table.
        kind = unsafe { sys::av_hwdevice_iterate_types(kind) };
        if kind == sys::AVHWDeviceType::AV_HWDEVICE_TYPE_NONE {
            return found;
        }
        // SAFETY: returns a static string.
        found.push(unsafe { static_str(sys::av_hwdevice_get_type_name(kind)) });
    }
}

/// Owns a reference to an open device.
pub(crate) struct DeviceContext {
    device: NonNull<sys::AVBufferRef>,
}

// SAFETY: the reference counts atomically, and FFmpeg's devices take calls from any thread once they are made.
unsafe impl Send for DeviceContext {}
// SAFETY: as above; shared methods only make further references.
unsafe impl Sync for DeviceContext {}

impl DeviceContext {
    /// Opens a device by FFmpeg's name of its type, what it calls the device itself, and options of the type.
    pub(crate) fn open(
        kind: &str,
        device: Option<&str>,
        options: &[(&str, &str)],
    ) -> Result<Self, AvError> {
        let kind = CString::new(kind).map_err(|_| AvError::invalid())?;
        let device = device.map(CString::new).transpose();
        let device = device.map_err(|_| AvError::invalid())?;
        let device = device.as_ref().map_or(ptr::null(), |name| name.as_ptr());
        let options = options.iter();
        let options =
            Dictionary::from_pairs(options.map(|(key, value)| (*key, (*value).to_owned())))?;
        // SAFETY: reads the string.
        let kind = unsafe { sys::av_hwdevice_find_type_by_name(kind.as_ptr()) };
        let mut made = ptr::null_mut();
        // SAFETY: the pointer is ours and empty; name and options live through the call, which only reads them. A name of null is the
        // type's first device.
        check(unsafe { sys::av_hwdevice_ctx_create(&raw mut made, kind, device, options.0, 0) })?;
        let device = NonNull::new(made).ok_or_else(AvError::no_memory)?;
        Ok(Self { device })
    }

    /// What tells the device from all others that are open.
    pub(crate) fn identity(&self) -> usize {
        // SAFETY: a valid reference; all references to the device have this in common.
        unsafe { self.device.as_ref() }.data as usize
    }

    /// Another reference.
    pub(super) fn another(&self) -> Result<Self, AvError> {
        self.give().map(|device| Self { device })
    }

    /// CUDA's own context; `None` on a device of another kind.
    pub(super) fn cuda_context(&self) -> Option<*mut c_void> {
        // SAFETY: a valid reference, whose buffer holds that record; a CUDA device's own record begins with its context.
        unsafe {
            let device = self.device.as_ref().data.cast::<c_void>();
            let device = device.cast::<sys::AVHWDeviceContext>().as_ref()?;
            let is_cuda = device.type_ == sys::AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA;
            let own = device.hwctx.cast::<*mut c_void>();
            own.as_ref().filter(|_| is_cuda).copied()
        }
    }

    /// Another reference, for FFmpeg to keep.
    fn give(&self) -> Result<NonNull<sys::AVBufferRef>, AvError> {
        // SAFETY: a valid reference; null means no memory.
        NonNull::new(unsafe { sys::av_buffer_ref(self.device.as_ptr()) })
            .ok_or_else(AvError::no_memory)
    }
}

impl Drop for DeviceContext {
    fn drop(&mut self) {
        let mut device = self.device.as_ptr();
        // SAFETY: ours, not used again; the device goes with its last reference.
        unsafe { sys::av_buffer_unref(&raw mut device) }
    }
}

/// What the pictures of a pool are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolForm {
    /// In pixels.
    pub(crate) size: (u32, u32),
    /// The format that says where they lie, by FFmpeg's number.
    pub(crate) format: c_int,
    /// The format of their samples.
    pub(crate) samples: c_int,
    /// How many there are from the start, and at most where the device's pools do not grow; 0 for as many as are wanted.
    pub(crate) pictures: u32,
}

/// What the reference to a pool refers to. FFmpeg keeps it in a buffer of bytes, which is aligned for any record.
fn record(pool: &sys::AVBufferRef) -> *mut sys::AVHWFramesContext {
    pool.data.cast::<c_void>().cast()
}

/// Owns a pool of pictures in a device's memory. Pictures keep it alive.
pub(crate) struct FramePool(NonNull<sys::AVBufferRef>);

// SAFETY: the reference counts atomically, and the pool has a lock of its own.
unsafe impl Send for FramePool {}
// SAFETY: as above.
unsafe impl Sync for FramePool {}

impl FramePool {
    pub(crate) fn new(device: &DeviceContext, form: PoolForm) -> Result<Self, AvError> {
        let side = |side: u32| c_int::try_from(side).map_err(|_| AvError::invalid());
        // SAFETY: the device is valid; null means no memory.
        let pool = NonNull::new(unsafe { sys::av_hwframe_ctx_alloc(device.device.as_ptr()) })
            .map(Self)
            .ok_or_else(AvError::no_memory)?;
        // SAFETY: a fresh context, nobody else's; its buffer holds that record.
        let raw = unsafe { &mut *record(pool.0.as_ref()) };
        raw.format = sys::AVPixelFormat(form.format);
        raw.sw_format = sys::AVPixelFormat(form.samples);
        raw.width = side(form.size.0)?;
        raw.height = side(form.size.1)?;
        raw.initial_pool_size = side(form.pictures)?;
        // SAFETY: filled in above.
        check(unsafe { sys::av_hwframe_ctx_init(pool.0.as_ptr()) })?;
        Ok(pool)
    }

    /// A picture of the pool, to be written.
    fn take(&self) -> Result<AvFrame, AvError> {
        let mut frame = AvFrame::new()?;
        // SAFETY: the pool is ready and the frame empty.
        check(unsafe { sys::av_hwframe_get_buffer(self.0.as_ptr(), frame.as_mut_ptr(), 0) })?;
        Ok(frame)
    }

    /// Copies a picture from the host or from another pool of the device into this one, with all that is known of it.
    pub(crate) fn copy(&self, from: &AvFrame) -> Result<AvFrame, AvError> {
        let mut to = self.take()?;
        // SAFETY: both are valid, the first with a buffer of its own.
        unsafe {
            check(sys::av_hwframe_transfer_data(
                to.as_mut_ptr(),
                from.as_ptr(),
                0,
            ))?;
            check(sys::av_frame_copy_props(to.as_mut_ptr(), from.as_ptr()))?;
        }
        Ok(to)
    }
}

impl Drop for FramePool {
    fn drop(&mut self) {
        let mut pool = self.0.as_ptr();
        // SAFETY: ours, not used again.
        unsafe { sys::av_buffer_unref(&raw mut pool) }
    }
}

impl AvFrame {
    /// The pool that a picture on a device comes from.
    fn pool(&self) -> Option<&sys::AVHWFramesContext> {
        // SAFETY: null, or a valid reference of the frame's, whose buffer holds that record.
        unsafe {
            let pool = self.raw().hw_frames_ctx.as_ref()?;
            record(pool).as_ref()
        }
    }

    /// The format of the samples of a picture on a device, by FFmpeg's number.
    pub(crate) fn device_samples(&self) -> Option<c_int> {
        Some(self.pool()?.sw_format.0)
    }

    /// What tells the pool of a picture on a device from all others that are alive.
    pub(crate) fn pool_identity(&self) -> Option<usize> {
        Some(ptr::from_ref(self.pool()?) as usize)
    }

    /// What tells the device of a picture there from all others that are open.
    pub(crate) fn device_identity(&self) -> Option<usize> {
        // SAFETY: null, or a valid reference of the pool's.
        let device = unsafe { self.pool()?.device_ref.as_ref() }?;
        Some(device.data as usize)
    }

    /// The bytes that a picture takes on its device.
    pub(super) fn device_bytes(&self) -> Option<usize> {
        self.sized(PITCH)
    }

    /// The bytes of a device's picture in rows without gaps; 0 for one that lies on none.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.sized(1).unwrap_or(0)
    }

    fn sized(&self, alignment: c_int) -> Option<usize> {
        let pool = self.pool()?;
        // SAFETY: counts; a format that is unknown gives an error.
        let counted = unsafe {
            sys::av_image_get_buffer_size(pool.sw_format, pool.width, pool.height, alignment)
        };
        usize::try_from(counted).ok()
    }

    /// Makes the picture one of the pool that the other's comes from, if it comes from one.
    pub(super) fn share_pool(&mut self, other: &Self) -> Result<(), AvError> {
        let pool = other.raw().hw_frames_ctx;
        if pool.is_null() {
            return Ok(());
        }
        // SAFETY: a valid reference of the other frame's; null means no memory.
        let pool = unsafe { sys::av_buffer_ref(pool) };
        if pool.is_null() {
            return Err(AvError::no_memory());
        }
        self.raw_mut().hw_frames_ctx = pool;
        Ok(())
    }

    /// A copy of a device's picture in the memory of this process, in the format of its samples. Blocks until it is there.
    pub(crate) fn download(&self) -> Result<Self, AvError> {
        self.download_into(Self::new()?)
    }

    /// The same in a picture that has its size and that format, or is empty.
    pub(crate) fn download_into(&self, mut copy: Self) -> Result<Self, AvError> {
        // SAFETY: both are valid; the first has a buffer of its own, or gets one.
        unsafe {
            check(sys::av_hwframe_transfer_data(
                copy.as_mut_ptr(),
                self.as_ptr(),
                0,
            ))?;
            check(sys::av_frame_copy_props(copy.as_mut_ptr(), self.as_ptr()))?;
        }
        Ok(copy)
    }
}

impl Codec {
    /// The decoder of a codec that works on the type of device, and the format of its pictures there: FFmpeg's own with the device's help
    /// before one that the device's maker wrote.
    pub(crate) fn device_decoder(like: &super::Parameters, kind: &str) -> Option<(Self, c_int)> {
        let id = like.codec_id();
        let mut found: Vec<_> = codecs()
            .into_iter()
            .filter(|codec| codec.is_decoder() && codec.0.id == id)
            .filter_map(|codec| codec.device_format(kind).map(|format| (codec, format)))
            .collect();
        found.sort_by_key(|(codec, _)| codec.is_hardware());
        found.into_iter().next()
    }

    /// The format of the pictures that a codec makes or takes in the memory of a type of device, when it is told the device.
    pub(crate) fn device_format(self, kind: &str) -> Option<c_int> {
        const TOLD: c_int = sys::RUNGS_TOLD_DEVICE;
        (0..)
            .map_while(|index| {
                // SAFETY: reads a static record; null after the last.
                unsafe { sys::avcodec_get_hw_config(self.0, index).as_ref() }
            })
            .find(|config| {
                // SAFETY: returns null or a static string.
                let name =
                    unsafe { static_str(sys::av_hwdevice_get_type_name(config.device_type)) };
                config.methods & TOLD != 0 && name == kind
            })
            .map(|config| config.pix_fmt.0)
            .filter(|format| format_descriptor(*format).is_some_and(|format| format.hardware))
    }
}

impl CodecContext {
    /// Lets a decoder work on the device alone: it gives pictures of `format` there, with room for `extra` that are held outside, or fails.
    pub(crate) fn decode_on(
        &mut self,
        device: &DeviceContext,
        (format, extra): (c_int, u32),
    ) -> Result<(), AvError> {
        self.share(Shared {
            format: Some(format),
            ..Shared::default()
        });
        let given = device.give()?;
        let raw = self.raw_mut();
        raw.get_format = Some(choose);
        raw.hw_device_ctx = given.as_ptr();
        raw.extra_hw_frames = c_int::try_from(extra).unwrap_or(0);
        // Threads of the decoder's own would only hand the device from one to the next.
        raw.thread_count = 1;
        Ok(())
    }

    /// Whether a decoder on a device was offered no picture there: the device cannot decode this stream.
    pub(crate) fn refused(&self) -> bool {
        self.shared()
            .is_some_and(|shared| shared.refused.load(Ordering::Relaxed))
    }

    /// Lets an encoder take pictures of the pool that `first` comes from.
    pub(crate) fn encode_from(
        &mut self,
        device: &DeviceContext,
        first: &AvFrame,
    ) -> Result<(), AvError> {
        let samples = first.device_samples().ok_or_else(AvError::invalid)?;
        let pool = first.raw().hw_frames_ctx;
        let given = device.give()?;
        // SAFETY: the picture has a pool, so the reference is valid; null means no memory.
        let pool = unsafe { sys::av_buffer_ref(pool) };
        let raw = self.raw_mut();
        raw.pix_fmt = sys::AVPixelFormat(first.format());
        raw.sw_pix_fmt = sys::AVPixelFormat(samples);
        raw.hw_device_ctx = given.as_ptr();
        raw.hw_frames_ctx = pool;
        if pool.is_null() {
            return Err(AvError::no_memory());
        }
        Ok(())
    }

    /// Says that every picture is to be encoded without later ones, so none is out of order.
    pub(crate) fn keep_order(&mut self) {
        self.raw_mut().max_b_frames = 0;
    }

    /// Sets the quality that encoders with FFmpeg's common scale read.
    pub(crate) fn set_global_quality(&mut self, quality: u32) {
        self.raw_mut().global_quality = c_int::try_from(quality).unwrap_or(c_int::MAX);
    }
}

/// FFmpeg's callback for the choice among the formats that a decoder can give: the wanted one, or none, which ends the decoding. Falling back to
/// the CPU unasked would hide what the device cannot do.
unsafe extern "C" fn choose(
    context: *mut sys::AVCodecContext,
    offered: *const sys::AVPixelFormat,
) -> sys::AVPixelFormat {
    const NONE: sys::AVPixelFormat = sys::AVPixelFormat::AV_PIX_FMT_NONE;
    // SAFETY: `decode_on` set the pointer to what lives as long as the context.
    let Some(shared) = (unsafe { (*context).opaque.cast::<Shared>().as_ref() }) else {
        return NONE;
    };
    let mut next = offered;
    // SAFETY: the list ends with that mark.
    while unsafe { *next } != NONE {
        // SAFETY: not at the mark yet.
        let format = unsafe { *next };
        if shared.format == Some(format.0) {
            return format;
        }
        // SAFETY: the mark is still to come.
        next = unsafe { next.add(1) };
    }
    shared.refused.store(true, Ordering::Relaxed);
    NONE
}
