//! Scaling of 8-bit 4:2:0 pictures into pictures from a pool.

use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};

use super::picture::{AvFrame, planes};
use super::{PIX_FMT_YUV420P, check, sys};
use crate::color::ChromaLocation;
use crate::error::AvError;

/// Rows start at multiples of this, which suits the widest vector instructions.
const ALIGNMENT: usize = 64;

/// Owns a scaling context for one input and one output size, and the pool of its output pictures.
pub(crate) struct SwsScaler {
    context: NonNull<sys::SwsContext>,
    pool: Pool,
    to: (u32, u32),
}

// SAFETY: one owner at a time; the context has no thread of its own.
unsafe impl Send for SwsScaler {}

impl SwsScaler {
    pub(crate) fn new(
        from: (u32, u32),
        to: (u32, u32),
        location: ChromaLocation,
    ) -> Result<Self, AvError> {
        let pool = Pool::new(to)?;
        // SAFETY: allocates; null means no memory.
        let context =
            NonNull::new(unsafe { sys::sws_alloc_context() }).ok_or_else(AvError::no_memory)?;
        let scaler = Self { context, pool, to };
        let (horizontal, vertical) = chroma_position(location);
        let options: [(&CStr, i64); 10] = [
            (c"srcw", i64::from(from.0)),
            (c"srch", i64::from(from.1)),
            (c"dstw", i64::from(to.0)),
            (c"dsth", i64::from(to.1)),
            (c"sws_flags", i64::from(sys::RUNGS_SCALE_FLAGS)),
            (c"src_h_chr_pos", horizontal),
            (c"dst_h_chr_pos", horizontal),
            (c"src_v_chr_pos", vertical),
            (c"dst_v_chr_pos", vertical),
            (c"threads", 1),
        ];
        // SAFETY: the context is valid, and its options are looked up by name.
        unsafe {
            for (name, value) in options {
                check(sys::av_opt_set_int(
                    context.as_ptr().cast(),
                    name.as_ptr(),
                    value,
                    0,
                ))?;
            }
            for name in [c"src_format", c"dst_format"] {
                let format = sys::AVPixelFormat(PIX_FMT_YUV420P);
                check(sys::av_opt_set_pixel_fmt(
                    context.as_ptr().cast(),
                    name.as_ptr(),
                    format,
                    0,
                ))?;
            }
            check(sys::sws_init_context(
                context.as_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
            ))?;
        }
        Ok(scaler)
    }

    /// Scales a picture of the size and format that the scaler was made for.
    pub(crate) fn apply(&mut self, frame: &AvFrame) -> Result<AvFrame, AvError> {
        let mut output = self.pool.take(self.to)?;
        let (from, to) = (frame.raw(), output.raw_mut());
        // SAFETY: the input has the shape that the context was made for, which the caller checked; the output comes from the
        // pool for the context's output size.
        let rows = check(unsafe {
            sys::sws_scale(
                self.context.as_ptr(),
                planes(from).as_ptr(),
                from.linesize.as_ptr(),
                0,
                from.height,
                to.data.as_ptr(),
                to.linesize.as_ptr(),
            )
        })?;
        if rows == to.height {
            Ok(output)
        } else {
            Err(AvError::invalid())
        }
    }
}

impl Drop for SwsScaler {
    fn drop(&mut self) {
        // SAFETY: ours, not used again.
        unsafe { sys::sws_freeContext(self.context.as_ptr()) }
    }
}

/// Where the chroma samples lie, in 1/256 of a luma sample; unknown counts as left, as in H.264 and AV1.
fn chroma_position(location: ChromaLocation) -> (i64, i64) {
    match location {
        ChromaLocation::Unspecified | ChromaLocation::Left => (0, 128),
        ChromaLocation::Center => (128, 128),
        ChromaLocation::TopLeft => (0, 0),
        ChromaLocation::Top => (128, 0),
        ChromaLocation::BottomLeft => (0, 256),
        ChromaLocation::Bottom => (128, 256),
    }
}

/// Owns a pool of buffers, each for one 4:2:0 picture. Buffers come back when their last frame goes, even after the pool.
struct Pool(NonNull<sys::AVBufferPool>);

/// The strides of the luma and chroma planes, in bytes.
fn strides((width, _): (u32, u32)) -> (usize, usize) {
    let luma = (width as usize).next_multiple_of(2 * ALIGNMENT);
    (luma, luma / 2)
}

impl Pool {
    fn new((width, height): (u32, u32)) -> Result<Self, AvError> {
        let (luma, chroma) = strides((width, height));
        let size =
            luma * height as usize + 2 * chroma * height.div_ceil(2) as usize + 2 * ALIGNMENT;
        // SAFETY: allocates with FFmpeg's own allocator; null means no memory.
        NonNull::new(unsafe { sys::av_buffer_pool_init(size, None) })
            .map(Self)
            .ok_or_else(AvError::no_memory)
    }

    /// A picture of the pool's size, to be written whole.
    fn take(&self, (width, height): (u32, u32)) -> Result<AvFrame, AvError> {
        let mut frame = AvFrame::new()?;
        let raw = frame.raw_mut();
        // SAFETY: the pool is valid; null means no memory.
        let buffer = unsafe { sys::av_buffer_pool_get(self.0.as_ptr()) };
        raw.buf[0] = buffer;
        // SAFETY: null or a valid reference.
        let data = unsafe { buffer.as_ref() }
            .ok_or_else(AvError::no_memory)?
            .data;
        let (luma, chroma) = strides((width, height));
        let padding = data.align_offset(ALIGNMENT);
        let rows = (height as usize, height.div_ceil(2) as usize);
        let offsets = [0, luma * rows.0, luma * rows.0 + chroma * rows.1];
        raw.format = PIX_FMT_YUV420P;
        raw.width = width as c_int;
        raw.height = height as c_int;
        for (plane, offset) in offsets.into_iter().enumerate() {
            // SAFETY: the buffer has room for the three planes after an alignment.
            raw.data[plane] = unsafe { data.add(padding + offset) };
            raw.linesize[plane] = if plane == 0 { luma } else { chroma } as c_int;
        }
        raw.extended_data = raw.data.as_mut_ptr();
        Ok(frame)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut pool = self.0.as_ptr();
        // SAFETY: ours, not used again.
        unsafe { sys::av_buffer_pool_uninit(&raw mut pool) }
    }
}
