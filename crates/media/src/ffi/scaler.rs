//! Scaling of 4:2:0 pictures into pictures from a pool.

use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};

use super::picture::{AvFrame, planes};
use super::pool::{Form, HostPool};
use super::{check, sys};
use crate::color::ChromaLocation;
use crate::error::AvError;
use crate::scale::Kernel;

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
    pool: HostPool,
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
        let pool = HostPool::new(to)?;
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
