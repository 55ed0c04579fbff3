//! The one place that talks to FFmpeg's C interface: owners that free what they hold, with safe methods.
//!
//! Ownership: each type here owns exactly one FFmpeg object, frees it on drop, and never hands out its pointer beyond this
//! folder. Codec, demuxer and filter contexts are `Send` and not `Sync`: FFmpeg lets any thread use one, one at a time.
//! Frames and codec parameters are `Sync` as well, since their shared methods only read.

mod bsf;
mod codec;
mod cuda;
mod dict;
mod graph;
mod hardware;
mod input;
mod io;
mod light;
mod log;
mod meter;
mod output;
mod packet;
mod picture;
mod pool;
mod samples;
mod scaler;

use std::ffi::{CStr, c_char, c_int};

pub(crate) use bsf::BitstreamFilter;
pub(crate) use codec::{Codec, CodecContext, Kind, Parameters, Poll, VideoSettings, codecs};
pub(crate) use graph::{FilterGraph, Inlet, Shape, has_filter};
pub(crate) use hardware::{DeviceContext, FramePool, PoolForm, device_types};
pub(crate) use input::{Input, OpenError, StreamView};
pub(crate) use log::listen;
pub(crate) use meter::MeterGraph;
pub(crate) use output::{Output, TextCodec};
pub(crate) use packet::PacketRef;
pub(crate) use picture::{AvFrame, format_by_name, format_descriptor, format_name};
pub(crate) use pool::{Form, HostPool};
pub(crate) use samples::{Fifo, Layout, SampleFormat, Sound, Swr};
pub(crate) use scaler::{Scaling, SwsScaler};

use crate::error::AvError;

/// What bindgen reads from FFmpeg's headers.
#[allow(warnings, clippy::all, clippy::pedantic)]
mod sys {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

/// A codec does not answer in time.
pub(crate) const TIMED_OUT: c_int = sys::RUNGS_TIMED_OUT;
/// A codec wants another call, or the system gives no thread.
pub(crate) const AGAIN: c_int = sys::RUNGS_AGAIN;
pub(crate) const NO_MEMORY: c_int = sys::RUNGS_NO_MEMORY;
pub(crate) const INVALID: c_int = sys::RUNGS_INVALID;
pub(crate) const INVALID_DATA: c_int = sys::RUNGS_INVALID_DATA;
pub(crate) const PIX_FMT_YUV420P: c_int = sys::AVPixelFormat::AV_PIX_FMT_YUV420P.0;
pub(crate) const PIX_FMT_YUV420P10: c_int = sys::AVPixelFormat::AV_PIX_FMT_YUV420P10LE.0;
pub(crate) const PIX_FMT_NV12: c_int = sys::AVPixelFormat::AV_PIX_FMT_NV12.0;
pub(crate) const PIX_FMT_P010: c_int = sys::AVPixelFormat::AV_PIX_FMT_P010LE.0;

/// Turns a negative return code into an error.
fn check(code: c_int) -> Result<c_int, AvError> {
    if code < 0 {
        Err(AvError::new(code))
    } else {
        Ok(code)
    }
}

/// FFmpeg's text for an error code.
pub(crate) fn describe(code: c_int) -> String {
    let mut text = [0 as c_char; 128];
    // SAFETY: the buffer is writable for the length given; av_strerror ends it with a NUL whatever it returns.
    unsafe {
        sys::av_strerror(code, text.as_mut_ptr(), text.len());
        string(text.as_ptr())
    }
}

/// Copies a C string; an empty string for a null pointer.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string.
unsafe fn string(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and NUL-terminated by the caller's word.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// Borrows a string that FFmpeg keeps for the life of the process; an empty one for null or for what is not UTF-8.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string in static memory.
unsafe fn static_str(text: *const c_char) -> &'static str {
    if text.is_null() {
        return "";
    }
    // SAFETY: not null, NUL-terminated and static by the caller's word.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("")
}

/// Borrows `len` bytes at `data`; nothing for a null pointer or a length that is not above zero.
///
/// # Safety
/// Where `data` is not null and `len` above zero, `len` bytes there are initialised and stay unchanged for `'a`.
unsafe fn bytes<'a>(data: *const u8, len: c_int) -> &'a [u8] {
    match usize::try_from(len) {
        // SAFETY: by the caller's word.
        Ok(len) if len > 0 && !data.is_null() => unsafe { std::slice::from_raw_parts(data, len) },
        _ => &[],
    }
}

/// A timestamp, unless it is FFmpeg's mark for none.
fn timestamp(value: i64) -> Option<i64> {
    (value != sys::RUNGS_NO_PTS).then_some(value)
}

fn timestamp_or_none(value: Option<i64>) -> i64 {
    value.unwrap_or(sys::RUNGS_NO_PTS)
}

/// Makes FFmpeg's libraries silent.
pub(crate) fn silence() {
    // SAFETY: sets an integer of the library's own.
    unsafe { sys::av_log_set_level(sys::AV_LOG_QUIET) }
}

/// Sets the largest single allocation, in bytes, for the process.
pub(crate) fn set_max_alloc(bytes: u64) {
    // SAFETY: sets an atomic integer of the library's own.
    unsafe { sys::av_max_alloc(usize::try_from(bytes).unwrap_or(usize::MAX)) }
}

/// Variables that libraries read, and what they are set to: SVT-AV1 logs errors alone, and CUDA counts devices by PCI address, as NVIDIA's management library
/// does, rather than by speed.
const VARIABLES: [(&str, &str); 2] = [("SVT_LOG", "1"), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID")];

/// Sets them, unless the user chose them or another thread may read the environment.
pub(crate) fn set_variables() {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    for (name, value) in VARIABLES {
        if threads == 1 && std::env::var_os(name).is_none() {
            // SAFETY: this is the process's only thread, so nobody reads the environment meanwhile.
            unsafe { std::env::set_var(name, value) }
        }
    }
}

/// FFmpeg's release, such as `5.1.9-0+deb12u1`.
pub(crate) fn release() -> &'static str {
    // SAFETY: returns a static string.
    unsafe { static_str(sys::av_version_info()) }
}

/// The run-time versions of the libraries, packed as FFmpeg packs them.
pub(crate) fn library_versions() -> [(&'static str, u32); 6] {
    // SAFETY: these functions return a constant.
    unsafe {
        [
            ("libavutil", sys::avutil_version()),
            ("libavcodec", sys::avcodec_version()),
            ("libavformat", sys::avformat_version()),
            ("libavfilter", sys::avfilter_version()),
            ("libswscale", sys::swscale_version()),
            ("libswresample", sys::swresample_version()),
        ]
    }
}

/// Has glibc return free memory to the system, whichever heap it lies in.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn trim_heaps() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> c_int;
    }
    // SAFETY: glibc's malloc_trim takes the locks of the heaps, and touches nothing that is in use.
    unsafe {
        malloc_trim(0);
    }
}

/// Sets glibc's limit of heaps.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn limit_heaps(heaps: c_int) {
    const M_ARENA_MAX: c_int = -8;
    unsafe extern "C" {
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    // SAFETY: glibc's mallopt takes its own lock and changes numbers only.
    unsafe {
        mallopt(M_ARENA_MAX, heaps);
    }
}
