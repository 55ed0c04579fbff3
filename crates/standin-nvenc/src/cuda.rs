//! The driver for CUDA beside this library: whether a context is alive, and frames in a card's memory. It may be the stand-in or a
//! real one.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use libloading::Library;

use crate::layout::Handle;
use crate::status::{GENERIC, INVALID_DEVICE, Refusal};

/// `CUDA_MEMCPY2D`.
#[repr(C)]
struct Copy2d {
    from: Side,
    to: Side,
    width_bytes: usize,
    height: usize,
}

#[repr(C)]
struct Side {
    x_bytes: usize,
    y: usize,
    kind: u32,
    host: *mut c_void,
    device: u64,
    array: *mut c_void,
    pitch: usize,
}

const _: () = assert!(std::mem::size_of::<Copy2d>() == 128);

struct Driver {
    push: unsafe extern "C" fn(Handle) -> c_int,
    pop: unsafe extern "C" fn(*mut Handle) -> c_int,
    current: unsafe extern "C" fn(*mut Handle) -> c_int,
    card: unsafe extern "C" fn(*mut c_int) -> c_int,
    copy: unsafe extern "C" fn(*const Copy2d) -> c_int,
    /// What only the stand-in has.
    session: Option<unsafe extern "C" fn(Handle, c_int)>,
    _library: Library,
}

impl Driver {
    fn get() -> Option<&'static Self> {
        static DRIVER: OnceLock<Option<Driver>> = OnceLock::new();
        DRIVER.get_or_init(Self::load).as_ref()
    }

    fn load() -> Option<Self> {
        // SAFETY: the library that the program uses already; its functions have these types (CUDA Driver API), and stay
        // valid as long as it is loaded, which is kept beside them.
        unsafe {
            let library = Library::new("libcuda.so.1").ok()?;
            Some(Self {
                push: *library.get(b"cuCtxPushCurrent_v2\0").ok()?,
                pop: *library.get(b"cuCtxPopCurrent_v2\0").ok()?,
                current: *library.get(b"cuCtxGetCurrent\0").ok()?,
                card: *library.get(b"cuCtxGetDevice\0").ok()?,
                copy: *library.get(b"cuMemcpy2D_v2\0").ok()?,
                session: library
                    .get(b"rungs_standin_session\0")
                    .ok()
                    .map(|found| *found),
                _library: library,
            })
        }
    }
}

fn driver() -> Result<&'static Driver, Refusal> {
    Driver::get().ok_or_else(|| Refusal::new(INVALID_DEVICE, "there is no CUDA"))
}

/// Does something in a context, if it is alive.
fn within<T>(context: Handle, act: impl FnOnce(&Driver) -> T) -> Result<T, Refusal> {
    let driver = driver()?;
    // SAFETY: a number that the driver looks up.
    if unsafe { (driver.push)(context) } != 0 {
        return Err(Refusal::new(INVALID_DEVICE, "the context is not alive"));
    }
    let done = act(driver);
    let mut popped = 0;
    // SAFETY: writes the context that was pushed above.
    unsafe { (driver.pop)(&raw mut popped) };
    Ok(done)
}

/// The card of a context, if that is alive.
pub(crate) fn card(context: Handle) -> Result<u32, Refusal> {
    let mut card = -1;
    // SAFETY: writes a number.
    let code = within(context, |driver| unsafe { (driver.card)(&raw mut card) })?;
    let card = u32::try_from(card).ok().filter(|_| code == 0);
    card.ok_or_else(|| Refusal::new(INVALID_DEVICE, "the context has no card"))
}

/// Whether a thread works in this context.
pub(crate) fn is_current(context: Handle) -> bool {
    let mut current = 0;
    // SAFETY: writes a handle.
    let asked = driver().map(|driver| unsafe { (driver.current)(&raw mut current) });
    matches!(asked, Ok(0)) && current == context
}

/// Says that a session is open in a context, or no more.
pub(crate) fn session(context: Handle, opened: bool) {
    let count = driver().ok().and_then(|driver| driver.session);
    if let Some(count) = count {
        // SAFETY: the stand-in's own function, which takes any numbers.
        unsafe { count(context, c_int::from(opened)) };
    }
}

/// Copies rows from a card's memory: so many bytes of each, from an address on at a pitch.
pub(crate) fn read(
    context: Handle,
    (address, pitch): (u64, usize),
    (row, rows): (usize, usize),
) -> Result<Vec<u8>, Refusal> {
    let mut bytes = vec![0_u8; row * rows];
    let side = |kind, host: *mut u8, device, pitch| Side {
        x_bytes: 0,
        y: 0,
        kind,
        host: host.cast(),
        device,
        array: std::ptr::null_mut(),
        pitch,
    };
    let copy = Copy2d {
        from: side(2, std::ptr::null_mut(), address, pitch),
        to: side(1, bytes.as_mut_ptr(), 0, row),
        width_bytes: row,
        height: rows,
    };
    // SAFETY: the host's side has room for so many rows.
    let code = within(context, |driver| unsafe { (driver.copy)(&raw const copy) })?;
    if code != 0 {
        let reason = format!("CUDA answers {code} when the frame is read");
        return Err(Refusal::new(GENERIC, reason));
    }
    Ok(bytes)
}
