//! The driver's functions, by the names under which programs look them up.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rungs_standin::{Given, Wanted, asked, misuse, settings};

use crate::contexts::{self, Handle, current};
use crate::kernels::{self, Arguments, Kernel};
use crate::layout::{Copy2d, Resource};
use crate::memory::{self, flat};
use crate::status::{
    INVALID_DEVICE, INVALID_VALUE, NO_DEVICE, NOT_FOUND, NOT_SUPPORTED, OUT_OF_MEMORY, SUCCESS,
    Status, words,
};

type Address = u64;
type Device = c_int;

fn code(done: Result<(), Status>) -> Status {
    done.err().unwrap_or(SUCCESS)
}

/// Writes what a call gives, if its place is one.
fn give<T: Copy>(to: Wanted<T>, value: Result<T, Status>) -> Status {
    code(value.and_then(|value| to.put(value).then_some(()).ok_or(INVALID_VALUE)))
}

// The driver and its cards.

#[unsafe(export_name = "cuInit")]
extern "C" fn init(_flags: c_uint) -> Status {
    if !settings::enabled() || settings::cards() == 0 {
        return NO_DEVICE;
    }
    contexts::start();
    // The driver answers as long as one card does.
    if rungs_standin::faults::is_lost(0) {
        return SUCCESS;
    }
    code(contexts::struck("cuInit", 0))
}

#[unsafe(export_name = "cuDriverGetVersion")]
extern "C" fn driver_version(version: Wanted<c_int>) -> Status {
    give(version, Ok(12020))
}

#[unsafe(export_name = "cuDeviceGetCount")]
extern "C" fn device_count(count: Wanted<c_int>) -> Status {
    give(count, Ok(settings::cards() as c_int))
}

#[unsafe(export_name = "cuDeviceGet")]
extern "C" fn device(device: Wanted<Device>, index: c_int) -> Status {
    let card = contexts::card("cuDeviceGet", index);
    give(device, card.map(|card| card as Device))
}

#[unsafe(export_name = "cuDeviceGetAttribute")]
extern "C" fn attribute(value: Wanted<c_int>, attribute: c_int, device: Device) -> Status {
    let card = contexts::card("cuDeviceGetAttribute", device);
    // The alignment of textures, one address space for all, and the compute capability.
    let known = match attribute {
        14 => 512,
        41 => 1,
        75 => 8,
        76 => 9,
        other => {
            asked!("cuDeviceGetAttribute: {other}, which is not known");
            0
        }
    };
    give(value, card.map(|_| known))
}

#[unsafe(export_name = "cuDeviceGetName")]
extern "C" fn device_name(name: Wanted<u8>, room: c_int, device: Device) -> Status {
    match contexts::card("cuDeviceGetName", device) {
        Ok(card) => {
            name.put_string(usize::try_from(room).unwrap_or(0), &settings::model(card));
            SUCCESS
        }
        Err(status) => status,
    }
}

#[unsafe(export_name = "cuDeviceGetUuid")]
extern "C" fn device_uuid(uuid: Wanted<[u8; 16]>, device: Device) -> Status {
    give(
        uuid,
        contexts::card("cuDeviceGetUuid", device).map(settings::uuid),
    )
}

#[unsafe(export_name = "cuDeviceComputeCapability")]
extern "C" fn capability(major: Wanted<c_int>, minor: Wanted<c_int>, device: Device) -> Status {
    let card = contexts::card("cuDeviceComputeCapability", device);
    give(minor, card.map(|_| 9));
    give(major, card.map(|_| 8))
}

// Contexts.

#[unsafe(export_name = "cuCtxCreate_v2")]
extern "C" fn create(context: Wanted<Handle>, _flags: c_uint, device: Device) -> Status {
    let card = contexts::card("cuCtxCreate", device);
    give(context, card.map(contexts::create))
}

#[unsafe(export_name = "cuCtxDestroy_v2")]
extern "C" fn destroy(context: Handle) -> Status {
    code(contexts::destroy("cuCtxDestroy", context))
}

#[unsafe(export_name = "cuCtxPushCurrent_v2")]
extern "C" fn push(context: Handle) -> Status {
    code(contexts::push("cuCtxPushCurrent", context))
}

#[unsafe(export_name = "cuCtxPopCurrent_v2")]
extern "C" fn pop(context: Wanted<Handle>) -> Status {
    match contexts::pop("cuCtxPopCurrent") {
        // The place may be none.
        Ok(popped) => {
            let _ = context.put(popped);
            SUCCESS
        }
        Err(status) => status,
    }
}

#[unsafe(export_name = "cuCtxGetCurrent")]
extern "C" fn get_current(context: Wanted<Handle>) -> Status {
    give(context, Ok(contexts::top().unwrap_or(0)))
}

#[unsafe(export_name = "cuCtxSetCurrent")]
extern "C" fn set_current(context: Handle) -> Status {
    contexts::set(context);
    SUCCESS
}

#[unsafe(export_name = "cuCtxGetDevice")]
extern "C" fn get_device(device: Wanted<Device>) -> Status {
    give(
        device,
        current("cuCtxGetDevice").map(|current| current.card as Device),
    )
}

#[unsafe(export_name = "cuCtxSetLimit")]
extern "C" fn set_limit(_limit: c_uint, _value: usize) -> Status {
    SUCCESS
}

#[unsafe(export_name = "cuDevicePrimaryCtxRetain")]
extern "C" fn retain(context: Wanted<Handle>, device: Device) -> Status {
    let card = contexts::card("cuDevicePrimaryCtxRetain", device);
    give(context, card.map(contexts::retain))
}

#[unsafe(export_name = "cuDevicePrimaryCtxRelease_v2")]
extern "C" fn release_v2(device: Device) -> Status {
    release(device)
}

#[unsafe(export_name = "cuDevicePrimaryCtxRelease")]
extern "C" fn release(device: Device) -> Status {
    let call = "cuDevicePrimaryCtxRelease";
    code(contexts::card(call, device).and_then(|card| contexts::release(call, card)))
}

#[unsafe(export_name = "cuDevicePrimaryCtxSetFlags")]
extern "C" fn set_flags(_device: Device, _flags: c_uint) -> Status {
    SUCCESS
}

#[unsafe(export_name = "cuDevicePrimaryCtxGetState")]
extern "C" fn get_state(device: Device, flags: Wanted<c_uint>, active: Wanted<c_int>) -> Status {
    let Ok(card) = u32::try_from(device) else {
        return INVALID_DEVICE;
    };
    let _ = flags.put(0);
    give(active, Ok(c_int::from(contexts::is_retained(card))))
}

#[unsafe(export_name = "cuDevicePrimaryCtxReset")]
extern "C" fn reset(_device: Device) -> Status {
    misuse!("cuDevicePrimaryCtxReset: others may be at work there");
    SUCCESS
}

/// Not of the driver's interface: the stand-in for NVENC tells which contexts it works in.
#[unsafe(export_name = "rungs_standin_session")]
extern "C" fn session(context: Handle, opened: c_int) {
    contexts::session(context, opened != 0);
}

// Memory.

#[unsafe(export_name = "cuMemAlloc_v2")]
extern "C" fn mem_alloc(address: Wanted<Address>, size: usize) -> Status {
    let done = current("cuMemAlloc").and_then(|current| memory::allocate(current, size));
    give(address, done)
}

#[unsafe(export_name = "cuMemAllocManaged")]
extern "C" fn mem_alloc_managed(address: Wanted<Address>, size: usize, _flags: c_uint) -> Status {
    let done = current("cuMemAllocManaged").and_then(|current| memory::allocate(current, size));
    give(address, done)
}

#[unsafe(export_name = "cuMemAllocPitch_v2")]
extern "C" fn mem_alloc_pitch(
    address: Wanted<Address>,
    pitch: Wanted<usize>,
    width: usize,
    height: usize,
    _element: c_uint,
) -> Status {
    let row = width.next_multiple_of(512);
    let done = current("cuMemAllocPitch").and_then(|now| memory::allocate(now, row * height));
    if !pitch.put(row) {
        return INVALID_VALUE;
    }
    give(address, done)
}

#[unsafe(export_name = "cuMemFree_v2")]
extern "C" fn mem_free(address: Address) -> Status {
    code(current("cuMemFree").and_then(|_| memory::free(address)))
}

fn host_memory() -> MutexGuard<'static, BTreeMap<usize, Layout>> {
    static HOST: Mutex<BTreeMap<usize, Layout>> = Mutex::new(BTreeMap::new());
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

#[unsafe(export_name = "cuMemHostAlloc")]
extern "C" fn host_alloc(memory: Wanted<usize>, size: usize, _flags: c_uint) -> Status {
    let allocate = |_| {
        let layout = Layout::from_size_align(size.max(1), 4096).map_err(|_| INVALID_VALUE)?;
        // SAFETY: the size is not zero.
        let address = unsafe { alloc(layout) } as usize;
        if address == 0 {
            return Err(OUT_OF_MEMORY);
        }
        host_memory().insert(address, layout);
        Ok(address)
    };
    give(memory, current("cuMemHostAlloc").and_then(allocate))
}

#[unsafe(export_name = "cuMemFreeHost")]
extern "C" fn host_free(memory: usize) -> Status {
    let Some(layout) = host_memory().remove(&memory) else {
        misuse!("cuMemFreeHost of what was not given out");
        return INVALID_VALUE;
    };
    // SAFETY: memory of `host_alloc` with this layout, and it is in the list no more.
    unsafe { dealloc(memory as *mut u8, layout) };
    code(current("cuMemFreeHost").map(drop))
}

/// Copies bytes between two addresses, each of a card or of the process.
fn copy_flat(
    call: &str,
    (to, to_card): (u64, bool),
    (from, from_card): (u64, bool),
    count: usize,
) -> Status {
    let copy = Copy2d {
        from: flat(from, from_card),
        to: flat(to, to_card),
        width_bytes: count,
        height: usize::from(count > 0),
    };
    code(current(call).and_then(|_| memory::copy(call, &copy)))
}

fn either(address: u64) -> (u64, bool) {
    (address, memory::is_device(address))
}

#[unsafe(export_name = "cuMemcpy")]
extern "C" fn memcpy(to: Address, from: Address, count: usize) -> Status {
    copy_flat("cuMemcpy", either(to), either(from), count)
}

#[unsafe(export_name = "cuMemcpyAsync")]
extern "C" fn memcpy_async(to: Address, from: Address, count: usize, _stream: usize) -> Status {
    copy_flat("cuMemcpyAsync", either(to), either(from), count)
}

#[unsafe(export_name = "cuMemcpyHtoD_v2")]
extern "C" fn upload(to: Address, from: Address, count: usize) -> Status {
    copy_flat("cuMemcpyHtoD", (to, true), (from, false), count)
}

#[unsafe(export_name = "cuMemcpyHtoDAsync_v2")]
extern "C" fn upload_async(to: Address, from: Address, count: usize, _stream: usize) -> Status {
    copy_flat("cuMemcpyHtoDAsync", (to, true), (from, false), count)
}

#[unsafe(export_name = "cuMemcpyDtoH_v2")]
extern "C" fn download(to: Address, from: Address, count: usize) -> Status {
    copy_flat("cuMemcpyDtoH", (to, false), (from, true), count)
}

#[unsafe(export_name = "cuMemcpyDtoHAsync_v2")]
extern "C" fn download_async(to: Address, from: Address, count: usize, _stream: usize) -> Status {
    copy_flat("cuMemcpyDtoHAsync", (to, false), (from, true), count)
}

#[unsafe(export_name = "cuMemcpyDtoD_v2")]
extern "C" fn copy_there(to: Address, from: Address, count: usize) -> Status {
    copy_flat("cuMemcpyDtoD", (to, true), (from, true), count)
}

#[unsafe(export_name = "cuMemcpyDtoDAsync_v2")]
extern "C" fn copy_there_async(to: Address, from: Address, count: usize, _stream: usize) -> Status {
    copy_flat("cuMemcpyDtoDAsync", (to, true), (from, true), count)
}

fn copy_2d(call: &str, copy: Given<Copy2d>) -> Status {
    let copied = current(call).and_then(|_| {
        let copy = copy.get().ok_or(INVALID_VALUE)?;
        memory::copy(call, &copy)
    });
    code(copied)
}

#[unsafe(export_name = "cuMemcpy2D_v2")]
extern "C" fn memcpy_2d(copy: Given<Copy2d>) -> Status {
    copy_2d("cuMemcpy2D", copy)
}

#[unsafe(export_name = "cuMemcpy2DAsync_v2")]
extern "C" fn memcpy_2d_async(copy: Given<Copy2d>, _stream: usize) -> Status {
    copy_2d("cuMemcpy2DAsync", copy)
}

#[unsafe(export_name = "cuMemsetD8Async")]
extern "C" fn memset(address: Address, value: u8, count: usize, _stream: usize) -> Status {
    let call = "cuMemsetD8Async";
    code(current(call).and_then(|_| memory::fill(call, address, (value, count))))
}

// Errors in words.

#[unsafe(export_name = "cuGetErrorName")]
extern "C" fn error_name(status: Status, text: Wanted<*const c_char>) -> Status {
    let known = words(status).map(|(name, _)| name.as_ptr());
    give(text, known.ok_or(INVALID_VALUE))
}

#[unsafe(export_name = "cuGetErrorString")]
extern "C" fn error_string(status: Status, text: Wanted<*const c_char>) -> Status {
    let known = words(status).map(|(_, meaning)| meaning.as_ptr());
    give(text, known.ok_or(INVALID_VALUE))
}

// Streams and events: all work is done when a call returns.

/// A handle that means nothing.
const NOTHING: usize = 1;

#[unsafe(export_name = "cuStreamCreate")]
extern "C" fn stream_create(stream: Wanted<usize>, _flags: c_uint) -> Status {
    give(stream, current("cuStreamCreate").map(|_| NOTHING))
}

#[unsafe(export_name = "cuStreamDestroy_v2")]
extern "C" fn stream_destroy(_stream: usize) -> Status {
    SUCCESS
}

#[unsafe(export_name = "cuStreamQuery")]
extern "C" fn stream_query(_stream: usize) -> Status {
    code(current("cuStreamQuery").map(drop))
}

#[unsafe(export_name = "cuStreamSynchronize")]
extern "C" fn stream_synchronize(_stream: usize) -> Status {
    code(current("cuStreamSynchronize").map(drop))
}

#[unsafe(export_name = "cuStreamWaitEvent")]
extern "C" fn stream_wait_event(_stream: usize, _event: usize, _flags: c_uint) -> Status {
    SUCCESS
}

#[unsafe(export_name = "cuStreamAddCallback")]
extern "C" fn stream_callback(
    stream: usize,
    callback: extern "C" fn(usize, Status, *mut c_void),
    data: *mut c_void,
    _flags: c_uint,
) -> Status {
    callback(stream, SUCCESS, data);
    SUCCESS
}

#[unsafe(export_name = "cuEventCreate")]
extern "C" fn event_create(event: Wanted<usize>, _flags: c_uint) -> Status {
    give(event, current("cuEventCreate").map(|_| NOTHING))
}

#[unsafe(export_name = "cuEventDestroy_v2")]
extern "C" fn event_destroy(_event: usize) -> Status {
    SUCCESS
}

#[unsafe(export_name = "cuEventSynchronize")]
extern "C" fn event_synchronize(_event: usize) -> Status {
    SUCCESS
}

#[unsafe(export_name = "cuEventQuery")]
extern "C" fn event_query(_event: usize) -> Status {
    SUCCESS
}

#[unsafe(export_name = "cuEventRecord")]
extern "C" fn event_record(_event: usize, _stream: usize) -> Status {
    SUCCESS
}

// Programs: their functions are known by name, and the code that comes with them is not looked at.

#[unsafe(export_name = "cuModuleLoadData")]
extern "C" fn module_load(module: Wanted<usize>, _image: *const c_void) -> Status {
    give(module, current("cuModuleLoadData").map(|_| NOTHING))
}

#[unsafe(export_name = "cuModuleUnload")]
extern "C" fn module_unload(_module: usize) -> Status {
    code(current("cuModuleUnload").map(drop))
}

fn functions() -> MutexGuard<'static, Vec<Kernel>> {
    static FUNCTIONS: Mutex<Vec<Kernel>> = Mutex::new(Vec::new());
    FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[unsafe(export_name = "cuModuleGetFunction")]
extern "C" fn module_function(
    function: Wanted<usize>,
    _module: usize,
    name: *const c_char,
) -> Status {
    if name.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: the caller of the driver gave a string that ends with a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let Some(kernel) = Kernel::named(&name) else {
        asked!("function {name}, which is not known");
        return NOT_FOUND;
    };
    let mut known = functions();
    let index = known.iter().position(|other| *other == kernel);
    let index = index.unwrap_or_else(|| {
        known.push(kernel);
        known.len() - 1
    });
    give(function, Ok(index + 1))
}

#[unsafe(export_name = "cuLaunchKernel")]
extern "C" fn launch(
    function: usize,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _stream: usize,
    arguments: *const *const c_void,
    _extra: *const *const c_void,
) -> Status {
    let kernel = function
        .checked_sub(1)
        .and_then(|index| functions().get(index).copied());
    let launched = current("cuLaunchKernel").and_then(|_| {
        let kernel = kernel.filter(|_| !arguments.is_null());
        let done = kernel.and_then(|kernel| kernels::launch(kernel, Arguments(arguments)));
        done.ok_or_else(|| {
            misuse!("cuLaunchKernel of {kernel:?} on what is no picture");
            INVALID_VALUE
        })
    });
    code(launched)
}

#[unsafe(export_name = "cuTexObjectCreate")]
extern "C" fn texture_create(
    texture: Wanted<u64>,
    resource: Given<Resource>,
    _how: *const c_void,
    _view: *const c_void,
) -> Status {
    let made = current("cuTexObjectCreate").and_then(|_| {
        let resource = resource.get();
        let made = resource.and_then(|resource| kernels::make_texture(&resource));
        made.ok_or_else(|| {
            misuse!("cuTexObjectCreate of what is no picture");
            INVALID_VALUE
        })
    });
    give(texture, made)
}

#[unsafe(export_name = "cuTexObjectDestroy")]
extern "C" fn texture_destroy(texture: u64) -> Status {
    if kernels::drop_texture(texture) {
        SUCCESS
    } else {
        misuse!("cuTexObjectDestroy of what was not made");
        INVALID_VALUE
    }
}

/// Functions that FFmpeg looks up and nothing here calls.
macro_rules! never_called {
    ($($function:ident = $name:literal),* $(,)?) => { $(
        #[unsafe(export_name = $name)]
        extern "C" fn $function() -> Status {
            misuse!("{}, which the stand-in does not have", $name);
            NOT_SUPPORTED
        }
    )* };
}

never_called! {
    link_create = "cuLinkCreate",
    link_add_data = "cuLinkAddData",
    link_complete = "cuLinkComplete",
    link_destroy = "cuLinkDestroy",
    module_global = "cuModuleGetGlobal",
    gl_devices = "cuGLGetDevices_v2",
    gl_register = "cuGraphicsGLRegisterImage",
    graphics_unregister = "cuGraphicsUnregisterResource",
    graphics_map = "cuGraphicsMapResources",
    graphics_unmap = "cuGraphicsUnmapResources",
    graphics_array = "cuGraphicsSubResourceGetMappedArray",
    graphics_pointer = "cuGraphicsResourceGetMappedPointer_v2",
    array_create_3d = "cuArray3DCreate_v2",
    array_create = "cuArrayCreate_v2",
    array_destroy = "cuArrayDestroy",
}
