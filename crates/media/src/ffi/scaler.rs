//! Scaling of 4:2:0 pictures into pictures from a pool.

use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};

use super::picture::format_descriptor;
use super::picture::{AvFrame, planes};
use super::{check, sys};
use crate::color::ChromaLocation;
use crate::error::AvError;
use crate::scale::Kernel;

/// Rows start at multiples of this, which suits the widest vector instructions.
const ALIGNMENT: usize = 64;

/// A size in pixels, and a 4:2:0 format of three planes by FFmpeg's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) size: (u32, u32),
    pub(crate) format: c_int,
}

/// What a scaler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scaling {
    pub(crate) from: Form,
    pub(crate) to: Form,
    pub(crate) location: ChromaLocation,
    pub(crate) kernel: Kernel,
}

/// Owns a scaling context, and the pool of its output pictures.
pub(crate) struct SwsScaler {
    context: NonNull<sys::SwsContext>,
    pool: Pool,
}

// SAFETY: one owner at a time; the context has no thread of its own.
unsafe impl Send for SwsScaler {}

impl SwsScaler {
    pub(crate) fn new(scaling: &Scaling) -> Result<Self, AvError> {
        let Scaling {
            from,
            to,
            location,
            kernel,
        } = *scaling;
        let pool = Pool::new(to)?;
        // SAFETY: allocates; null means no memory.
        let context =
            NonNull::new(unsafe { sys::sws_alloc_context() }).ok_or_else(AvError::no_memory)?;
        let scaler = Self { context, pool };
        let (horizontal, vertical) = chroma_position(location);
        let options: [(&CStr, i64); 10] = [
            (c"srcw", i64::from(from.size.0)),
            (c"srch", i64::from(from.size.1)),
            (c"dstw", i64::from(to.size.0)),
            (c"dsth", i64::from(to.size.1)),
            (
                c"sws_flags",
                i64::from(flag(kernel) | sys::RUNGS_SCALE_EXACT),
            ),
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
            for (name, format) in [(c"src_format", from.format), (c"dst_format", to.format)] {
                let format = sys::AVPixelFormat(format);
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
        let mut output = self.pool.take()?;
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

/// swscale's flag for a kernel.
fn flag(kernel: Kernel) -> c_int {
    match kernel {
        Kernel::Area => sys::RUNGS_SCALE_AREA,
        Kernel::Bicubic => sys::RUNGS_SCALE_BICUBIC,
        Kernel::Bilinear => sys::RUNGS_SCALE_BILINEAR,
        Kernel::Gauss => sys::RUNGS_SCALE_GAUSS,
        Kernel::Lanczos => sys::RUNGS_SCALE_LANCZOS,
        Kernel::Neighbor => sys::RUNGS_SCALE_NEIGHBOR,
        Kernel::Spline => sys::RUNGS_SCALE_SPLINE,
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
struct Pool {
    pool: NonNull<sys::AVBufferPool>,
    form: Form,
}

/// The strides of the luma and chroma planes, in bytes.
fn strides(form: Form) -> (usize, usize) {
    let wide = format_descriptor(form.format).is_some_and(|format| format.depth > 8);
    let row = form.size.0 as usize * (usize::from(wide) + 1);
    let luma = row.next_multiple_of(2 * ALIGNMENT);
    (luma, luma / 2)
}

impl Pool {
    fn new(form: Form) -> Result<Self, AvError> {
        let (luma, chroma) = strides(form);
        let (_, height) = form.size;
        let size =
            luma * height as usize + 2 * chroma * height.div_ceil(2) as usize + 2 * ALIGNMENT;
        // SAFETY: allocates with FFmpeg's own allocator; null means no memory.
        NonNull::new(unsafe { sys::av_buffer_pool_init(size, None) })
            .map(|pool| Self { pool, form })
            .ok_or_else(AvError::no_memory)
    }

    /// A picture of the pool's form, to be written whole.
    fn take(&self) -> Result<AvFrame, AvError> {
        let mut frame = AvFrame::new()?;
        let raw = frame.raw_mut();
        // SAFETY: the pool is valid; null means no memory.
        let buffer = unsafe { sys::av_buffer_pool_get(self.pool.as_ptr()) };
        raw.buf[0] = buffer;
        // SAFETY: null or a valid reference.
        let data = unsafe { buffer.as_ref() }
            .ok_or_else(AvError::no_memory)?
            .data;
        let (width, height) = self.form.size;
        let (luma, chroma) = strides(self.form);
        let padding = data.align_offset(ALIGNMENT);
        let rows = (height as usize, height.div_ceil(2) as usize);
        let offsets = [0, luma * rows.0, luma * rows.0 + chroma * rows.1];
        raw.format = self.form.format;
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
        let mut pool = self.pool.as_ptr();
        // SAFETY: ours, not used again.
        unsafe { sys::av_buffer_pool_uninit(&raw mut pool) }
    }
}
