//! FFmpeg's byte stream over a Rust reader.

use std::ffi::{c_int, c_void};
use std::io::{self, SeekFrom};
use std::ptr::NonNull;

use super::sys;
use crate::cancel::CancelToken;
use crate::error::AvError;
use crate::source::Reading;

/// Bytes that FFmpeg asks the reader for at a time.
const BUFFER: usize = 128 << 10;

struct State {
    reader: Box<dyn Reading>,
    position: u64,
    cancel: CancelToken,
    failure: Option<io::Error>,
}

/// Owns an `AVIOContext` and the reader behind it.
pub(super) struct Io {
    context: NonNull<sys::AVIOContext>,
    state: NonNull<State>,
}

impl Io {
    /// Wraps `reader`, which is read as far as its length goes, or up to its end where that is not known.
    pub(super) fn new(reader: Box<dyn Reading>, cancel: CancelToken) -> Result<Self, AvError> {
        let state = Box::new(State {
            reader,
            position: 0,
            cancel,
            failure: None,
        });
        // SAFETY: FFmpeg allocates the buffer so that it can replace it; it passes to the context below.
        let buffer = unsafe { sys::av_malloc(BUFFER) }.cast::<u8>();
        if buffer.is_null() {
            return Err(AvError::no_memory());
        }
        let state = NonNull::from(Box::leak(state));
        // SAFETY: the buffer has the size given, and the callbacks get the state that they expect.
        let context = unsafe {
            sys::avio_alloc_context(
                buffer,
                BUFFER as c_int,
                0,
                state.as_ptr().cast(),
                Some(read),
                None,
                Some(seek),
            )
        };
        let Some(context) = NonNull::new(context) else {
            // SAFETY: neither the buffer nor the state passed to anyone.
            unsafe {
                sys::av_free(buffer.cast());
                drop(Box::from_raw(state.as_ptr()));
            }
            return Err(AvError::no_memory());
        };
        Ok(Self { context, state })
    }

    pub(super) fn as_ptr(&self) -> *mut sys::AVIOContext {
        self.context.as_ptr()
    }

    /// What FFmpeg is to ask during long work other than reading. The answer's owner is this object.
    pub(super) fn interrupt(&self) -> sys::AVIOInterruptCB {
        sys::AVIOInterruptCB {
            callback: Some(interrupted),
            opaque: self.state.as_ptr().cast(),
        }
    }

    /// Takes the reader's first error.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        // SAFETY: the callbacks run only inside calls to FFmpeg, none of which is under way while `self` is borrowed.
        unsafe { self.state.as_mut() }.failure.take()
    }

    /// Whether the reader knows by now where its bytes end.
    pub(super) fn is_length_known(&self) -> bool {
        // SAFETY: as in `take_failure`.
        unsafe { self.state.as_ref() }.reader.length().is_some()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        // SAFETY: as in `take_failure`.
        unsafe { self.state.as_ref() }.cancel.is_cancelled()
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        let mut context = self.context.as_ptr();
        // SAFETY: the context, its present buffer and the state are ours and are not used again.
        unsafe {
            sys::av_freep((&raw mut (*context).buffer).cast());
            sys::avio_context_free(&raw mut context);
            drop(Box::from_raw(self.state.as_ptr()));
        }
    }
}

unsafe extern "C" fn interrupted(opaque: *mut c_void) -> c_int {
    // SAFETY: `opaque` is the state that `Io` owns, and outlives the context which calls this.
    let state = unsafe { &*opaque.cast::<State>() };
    c_int::from(state.cancel.is_cancelled())
}

unsafe extern "C" fn read(opaque: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    // SAFETY: `opaque` is the state that `Io` owns; FFmpeg makes one call at a time for a context.
    let state = unsafe { &mut *opaque.cast::<State>() };
    let wanted = state.within(u64::try_from(size).unwrap_or(0)) as usize;
    if state.cancel.is_cancelled() {
        return sys::RUNGS_EXIT;
    }
    if wanted == 0 {
        return sys::RUNGS_EOF;
    }
    // SAFETY: FFmpeg gives at least `size` writable bytes, which the first call initialises for the slice.
    let target = unsafe {
        buffer.write_bytes(0, wanted);
        std::slice::from_raw_parts_mut(buffer, wanted)
    };
    match state.read(target) {
        Ok(0) => sys::RUNGS_EOF,
        Ok(count) => count as c_int,
        Err(_) if state.cancel.is_cancelled() => sys::RUNGS_EXIT,
        Err(error) => {
            state.failure.get_or_insert(error);
            sys::RUNGS_IO
        }
    }
}

unsafe extern "C" fn seek(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: as in `read`.
    let state = unsafe { &mut *opaque.cast::<State>() };
    let whence = whence as u32 & !sys::AVSEEK_FORCE;
    let base = match (whence, state.reader.length()) {
        (sys::AVSEEK_SIZE, Some(length)) => return i64::try_from(length).unwrap_or(i64::MAX),
        (sys::SEEK_SET, _) => 0,
        (sys::SEEK_CUR, _) => state.position,
        (sys::SEEK_END, Some(length)) => length,
        // How long it will be is not known yet.
        (sys::AVSEEK_SIZE | sys::SEEK_END, None) => return i64::from(sys::RUNGS_UNKNOWN),
        _ => return i64::from(sys::RUNGS_INVALID),
    };
    let Some(target) = base
        .checked_add_signed(offset)
        .filter(|target| i64::try_from(*target).is_ok())
    else {
        return i64::from(sys::RUNGS_INVALID);
    };
    match state.reader.seek(SeekFrom::Start(target)) {
        Ok(_) => {
            state.position = target;
            target as i64
        }
        Err(error) => {
            state.failure.get_or_insert(error);
            i64::from(sys::RUNGS_IO)
        }
    }
}

impl State {
    /// How many of so many bytes lie before the end, as far as that is known.
    fn within(&self, wanted: u64) -> u64 {
        let length = self.reader.length();
        length.map_or(wanted, |length| {
            wanted.min(length.saturating_sub(self.position))
        })
    }

    /// Reads at least one byte, or none at the end of a reader that did not know it before.
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.reader.read(target) {
                Ok(0) => {
                    let length = self.reader.length();
                    if length.is_none_or(|length| self.position >= length) {
                        return Ok(0);
                    }
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the file became shorter",
                    ));
                }
                Ok(count) => {
                    self.position += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
