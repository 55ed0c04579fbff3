//! Pictures of this process's memory that are used again and again.

use std::ffi::c_int;
use std::ptr::NonNull;

use super::cuda::Pinned;
use super::hardware::DeviceContext;
use super::picture::{AvFrame, format_descriptor};
use super::{PIX_FMT_NV12, PIX_FMT_P010, sys};
use crate::error::AvError;

/// Rows start at multiples of this, which suits the widest vector instructions.
const ALIGNMENT: usize = 64;

/// A size in pixels, and a 4:2:0 format by FFmpeg's number: of three planes, or of two with the chroma samples side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Form {
    pub(crate) size: (u32, u32),
    pub(crate) format: c_int,
}

/// A plane of a picture: bytes from row to row, and rows.
#[derive(Clone, Copy)]
struct Plane {
    stride: usize,
    rows: usize,
}

impl Form {
    fn planes(self) -> Vec<Plane> {
        let wide = format_descriptor(self.format).is_some_and(|format| format.depth > 8);
        let row = self.size.0 as usize * (usize::from(wide) + 1);
        let luma = row.next_multiple_of(2 * ALIGNMENT);
        let chroma = self.size.1.div_ceil(2) as usize;
        let luma = Plane {
            stride: luma,
            rows: self.size.1 as usize,
        };
        let of_chroma = |stride| Plane {
            stride,
            rows: chroma,
        };
        if [PIX_FMT_NV12, PIX_FMT_P010].contains(&self.format) {
            vec![luma, of_chroma(luma.stride)]
        } else {
            vec![luma, of_chroma(luma.stride / 2), of_chroma(luma.stride / 2)]
        }
    }

    fn bytes(self) -> usize {
        let planes = self.planes().into_iter();
        planes.map(|plane| plane.stride * plane.rows).sum::<usize>() + 2 * ALIGNMENT
    }
}

/// Owns a pool of buffers, each for one picture. Buffers come back when their last frame goes, even after the pool.
pub(crate) struct HostPool {
    pool: NonNull<sys::AVBufferPool>,
    form: Form,
}

// SAFETY: the pool counts its references atomically and has a lock of its own.
unsafe impl Send for HostPool {}
// SAFETY: as above.
unsafe impl Sync for HostPool {}

impl HostPool {
    pub(crate) fn new(form: Form) -> Result<Self, AvError> {
        // SAFETY: allocates with FFmpeg's own allocator; null means no memory.
        let pool = unsafe { sys::av_buffer_pool_init(form.bytes(), None) };
        Self::of(pool, form)
    }

    /// The same in memory that a CUDA device writes without the driver's help; `None` if its driver gives none.
    pub(crate) fn pinned(form: Form, device: &DeviceContext) -> Option<Self> {
        let pool = Pinned::pool(form.bytes(), device)?;
        Some(Self { pool, form })
    }

    fn of(pool: *mut sys::AVBufferPool, form: Form) -> Result<Self, AvError> {
        NonNull::new(pool)
            .map(|pool| Self { pool, form })
            .ok_or_else(AvError::no_memory)
    }

    /// A picture of the pool's form, to be written whole.
    pub(crate) fn take(&self) -> Result<AvFrame, AvError> {
        let mut frame = AvFrame::new()?;
        let raw = frame.raw_mut();
        // SAFETY: the pool is valid; null means no memory.
        let buffer = unsafe { sys::av_buffer_pool_get(self.pool.as_ptr()) };
        raw.buf[0] = buffer;
        // SAFETY: null or a valid reference.
        let data = unsafe { buffer.as_ref() }
            .ok_or_else(AvError::no_memory)?
            .data;
        let mut offset = data.align_offset(ALIGNMENT);
        raw.format = self.form.format;
        raw.width = self.form.size.0 as c_int;
        raw.height = self.form.size.1 as c_int;
        for (place, plane) in self.form.planes().into_iter().enumerate() {
            // SAFETY: the buffer has room for all planes after an alignment.
            raw.data[place] = unsafe { data.add(offset) };
            raw.linesize[place] = plane.stride as c_int;
            offset += plane.stride * plane.rows;
        }
        raw.extended_data = raw.data.as_mut_ptr();
        Ok(frame)
    }
}

impl Drop for HostPool {
    fn drop(&mut self) {
        let mut pool = self.pool.as_ptr();
        // SAFETY: ours, not used again.
        unsafe { sys::av_buffer_pool_uninit(&raw mut pool) }
    }
}
