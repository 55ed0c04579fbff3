//! The structures of the interface that are read here.

use std::ffi::c_void;
use std::mem::{offset_of, size_of};

pub(crate) const HOST: u32 = 1;
pub(crate) const DEVICE: u32 = 2;

/// One side of a copy of rows: `CUDA_MEMCPY2D` has two of them.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Side {
    pub(crate) x_bytes: usize,
    pub(crate) y: usize,
    pub(crate) kind: u32,
    pub(crate) host: *mut c_void,
    pub(crate) device: u64,
    pub(crate) array: *mut c_void,
    pub(crate) pitch: usize,
}

/// `CUDA_MEMCPY2D`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Copy2d {
    pub(crate) from: Side,
    pub(crate) to: Side,
    pub(crate) width_bytes: usize,
    pub(crate) height: usize,
}

/// `CUDA_RESOURCE_DESC` of a pitched image, as far as it is read.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Resource {
    pub(crate) kind: u32,
    pub(crate) address: u64,
    pub(crate) format: u32,
    pub(crate) channels: u32,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pitch: usize,
}

/// `CU_RESOURCE_TYPE_PITCH2D`.
pub(crate) const PITCHED: u32 = 3;
/// `CU_AD_FORMAT_UNSIGNED_INT8` and 16.
pub(crate) const FORMATS: [u32; 2] = [1, 2];

const _: () = {
    assert!(size_of::<Side>() == 56 && size_of::<Copy2d>() == 128);
    assert!(offset_of!(Side, kind) == 16 && offset_of!(Side, host) == 24);
    assert!(offset_of!(Side, device) == 32 && offset_of!(Side, pitch) == 48);
    assert!(offset_of!(Copy2d, to) == 56 && offset_of!(Copy2d, width_bytes) == 112);
    assert!(offset_of!(Resource, address) == 8 && offset_of!(Resource, format) == 16);
    assert!(offset_of!(Resource, channels) == 20 && offset_of!(Resource, width) == 24);
    assert!(offset_of!(Resource, height) == 32 && offset_of!(Resource, pitch) == 40);
};
