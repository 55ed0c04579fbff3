//! What FFmpeg logs. Its error codes of devices are few: the reason is in the lines that it would log. And many decoders hide damage and return
//! a frame as if nothing had happened: that they logged an error is the only sign of it.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Once;
use std::sync::atomic::Ordering;

use super::codec::Shared;
use super::{string, sys};

/// Lines kept of one call; a device that fails repeats itself.
const MOST_LINES: usize = 8;
/// Bytes of a line, its NUL included.
const LINE: usize = 512;
/// The part of a level that is one; the rest asks for a colour.
const LEVEL: c_int = 0xff;
/// How formats begin of errors that say nothing of the frame: notes of a camera's maker beside it, for example.
const OF_NO_FRAME: [&[u8]; 1] = [b"unable to decode APP fields"];

thread_local! {
    /// The lines of the call that this thread listens to, if it does.
    static HEARD: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

// A `va_list` that is only handed on is a pointer on every machine that the crate is built for, whatever it points to.
unsafe extern "C" {
    fn av_log_set_callback(
        callback: unsafe extern "C" fn(*mut c_void, c_int, *const c_char, *mut c_void),
    );
    fn av_log_format_line2(
        from: *mut c_void,
        level: c_int,
        format: *const c_char,
        arguments: *mut c_void,
        line: *mut c_char,
        size: c_int,
        print_prefix: *mut c_int,
    ) -> c_int;
}

/// Does something, and gives the warnings and errors that FFmpeg told on this thread meanwhile. What the library's own threads say is
/// not heard.
pub(crate) fn listen<T>(act: impl FnOnce() -> T) -> (T, Vec<String>) {
    install();
    let before = HEARD.with(|heard| heard.replace(Some(Vec::new())));
    let done = act();
    let lines = HEARD.with(|heard| heard.replace(before));
    (done, lines.unwrap_or_default())
}

/// Makes FFmpeg call [`hear`] for each line, in the whole process; calls after the first do nothing.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    // SAFETY: the callback is a function of the program, takes calls from any thread, and does not panic.
    INSTALLED.call_once(|| unsafe { av_log_set_callback(hear) });
}

/// Notes that a decoder that is watched logged an error, on whichever thread.
///
/// # Safety
/// `from` is null or points to a record that begins with a pointer to its `AVClass`, as all that FFmpeg logs for; `format` is null or ends
/// with a NUL.
unsafe fn note(from: *mut c_void, format: *const c_char) {
    // SAFETY: as above.
    let class = unsafe { from.cast::<*const sys::AVClass>().as_ref() };
    // SAFETY: returns a constant record.
    if class.is_none_or(|class| *class != unsafe { sys::avcodec_get_class() }) {
        return;
    }
    // SAFETY: only codec contexts have that class. `opaque` is null but in contexts of ours and in copies of them for FFmpeg's threads, and
    // what it points to outlives them.
    let shared = unsafe {
        let context = from.cast::<sys::AVCodecContext>();
        (*context).opaque.cast::<Shared>().as_ref()
    };
    let Some(shared) = shared else { return };
    // SAFETY: as above.
    let text = (!format.is_null()).then(|| unsafe { CStr::from_ptr(format) }.to_bytes());
    let of_frame = |text: &[u8]| !OF_NO_FRAME.iter().any(|start| text.starts_with(start));
    if text.is_some_and(of_frame) {
        shared.complained.store(true, Ordering::Relaxed);
    }
}

/// FFmpeg's callback for a line. It takes the place of the one that prints, and the process is silent as before.
unsafe extern "C" fn hear(
    from: *mut c_void,
    level: c_int,
    format: *const c_char,
    arguments: *mut c_void,
) {
    let level = level & LEVEL;
    if level > sys::AV_LOG_WARNING as c_int {
        return;
    }
    if level <= sys::AV_LOG_ERROR as c_int {
        // SAFETY: both are FFmpeg's own.
        unsafe { note(from, format) };
    }
    let keep = |heard: &RefCell<Option<Vec<String>>>| {
        let Ok(mut heard) = heard.try_borrow_mut() else {
            return;
        };
        let Some(lines) = heard.as_mut().filter(|lines| lines.len() < MOST_LINES) else {
            return;
        };
        let mut line = [0 as c_char; LINE];
        let mut prefix = 0;
        // SAFETY: format and arguments are the caller's, which belong together; the line is writable for the size given, and ends
        // with a NUL whatever happens.
        let text = unsafe {
            av_log_format_line2(
                from,
                level,
                format,
                arguments,
                line.as_mut_ptr(),
                LINE as c_int,
                &raw mut prefix,
            );
            string(line.as_ptr())
        };
        let text = text.trim();
        if !text.is_empty() && lines.last().is_none_or(|last| last != text) {
            lines.push(text.to_owned());
        }
    };
    // A thread that is about to end has nothing to listen with.
    HEARD.try_with(keep).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::{Codec, CodecContext};

    #[test]
    fn a_refusal_is_heard_in_words_by_who_listens() {
        let open = || {
            let codec = Codec::encoder("mpeg4").expect("an encoder that every FFmpeg has");
            // It has neither size nor time base.
            CodecContext::new(codec).unwrap().open([]).is_err()
        };
        let (failed, lines) = listen(open);
        assert!(failed && !lines.is_empty(), "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
        let (failed, inner) = listen(|| listen(open));
        assert!(failed.0 && inner.is_empty() && !failed.1.is_empty());
    }
}
