//! A stand-in for `libnvidia-ml.so.1`: what `rungs` asks of it about the cards that [`rungs_standin`] describes.
//!
//! Codes and layouts are those of NVIDIA's NVML API Reference Guide.

#![allow(
    unsafe_code,
    reason = "functions with the names of a C library; the pointers are read in one place, `rungs_standin::Wanted`"
)]

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};
use std::mem::{offset_of, size_of};

use rungs_standin::faults::{self, At, Effect};
use rungs_standin::{Wanted, settings};

const SUCCESS: c_int = 0;
const INVALID_ARGUMENT: c_int = 2;
const NOT_SUPPORTED: c_int = 3;
const DRIVER_NOT_LOADED: c_int = 9;
const GPU_IS_LOST: c_int = 15;

/// A card's handle is its number and one, so that none is null.
type Handle = usize;

#[derive(Clone, Copy)]
#[repr(C)]
struct Pci {
    legacy: [u8; 16],
    domain: c_uint,
    bus: c_uint,
    device: c_uint,
    id: c_uint,
    subsystem: c_uint,
    address: [u8; 32],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Memory {
    total: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

const _: () = assert!(size_of::<Pci>() == 68 && offset_of!(Pci, address) == 36);
const _: () = assert!(size_of::<Memory>() == 24);

/// What newer programs ask for: with a version, and memory that the driver keeps.
#[derive(Clone, Copy)]
#[repr(C)]
struct MemoryV2 {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

const _: () = assert!(size_of::<MemoryV2>() == 40 && offset_of!(MemoryV2, total) == 8);

/// What a call that belongs to a card or to none is struck with.
fn struck(call: &str, card: u32) -> Result<(), c_int> {
    let at = At {
        card,
        session: None,
    };
    match faults::at(call, at) {
        Some(Effect::Fail(code)) => Err(code),
        Some(_) => Err(GPU_IS_LOST),
        None => Ok(()),
    }
}

fn start() -> c_int {
    if !settings::enabled() {
        return DRIVER_NOT_LOADED;
    }
    match struck("nvmlInit", 0) {
        // The library answers as long as one card does.
        Ok(()) | Err(GPU_IS_LOST) => SUCCESS,
        Err(code) => code,
    }
}

/// Does something with a card, if the handle is one and it is there.
fn with(call: &str, handle: Handle, act: impl FnOnce(u32) -> bool) -> c_int {
    let card = handle.checked_sub(1).map(|card| card as u32);
    let Some(card) = card.filter(|card| *card < settings::cards()) else {
        rungs_standin::misuse!("{call} of a handle that was not given out");
        return INVALID_ARGUMENT;
    };
    match struck(call, card) {
        Ok(()) if act(card) => SUCCESS,
        Ok(()) => INVALID_ARGUMENT,
        Err(code) => code,
    }
}

#[unsafe(export_name = "nvmlInit_v2")]
extern "C" fn init() -> c_int {
    start()
}

#[unsafe(export_name = "nvmlInitWithFlags")]
extern "C" fn init_with_flags(_flags: c_uint) -> c_int {
    start()
}

#[unsafe(export_name = "nvmlShutdown")]
extern "C" fn shutdown() -> c_int {
    SUCCESS
}

#[unsafe(export_name = "nvmlSystemGetDriverVersion")]
extern "C" fn driver_version(version: Wanted<u8>, room: c_uint) -> c_int {
    let text = settings::text("DRIVER", 0).unwrap_or_else(|| "535.183.01".to_owned());
    version.put_string(room as usize, &text);
    SUCCESS
}

#[unsafe(export_name = "nvmlSystemGetNVMLVersion")]
extern "C" fn library_version(version: Wanted<u8>, room: c_uint) -> c_int {
    version.put_string(room as usize, "12.535.183.01");
    SUCCESS
}

#[unsafe(export_name = "nvmlDeviceGetCount_v2")]
extern "C" fn count(count: Wanted<c_uint>) -> c_int {
    if count.put(settings::cards()) {
        SUCCESS
    } else {
        INVALID_ARGUMENT
    }
}

#[unsafe(export_name = "nvmlDeviceGetHandleByIndex_v2")]
extern "C" fn by_index(index: c_uint, handle: Wanted<Handle>) -> c_int {
    if index >= settings::cards() {
        return INVALID_ARGUMENT;
    }
    let call = "nvmlDeviceGetHandleByIndex";
    with(call, index as usize + 1, |card| {
        handle.put(card as usize + 1)
    })
}

#[unsafe(export_name = "nvmlDeviceGetName")]
extern "C" fn name(handle: Handle, name: Wanted<u8>, room: c_uint) -> c_int {
    with("nvmlDeviceGetName", handle, |card| {
        name.put_string(room as usize, &settings::model(card));
        true
    })
}

#[unsafe(export_name = "nvmlDeviceGetUUID")]
extern "C" fn uuid(handle: Handle, uuid: Wanted<u8>, room: c_uint) -> c_int {
    with("nvmlDeviceGetUUID", handle, |card| {
        let number = format!("{:032x}", u128::from_be_bytes(settings::uuid(card)));
        let parts = [
            &number[..8],
            &number[8..12],
            &number[12..16],
            &number[16..20],
        ];
        let text = format!("GPU-{}-{}", parts.join("-"), &number[20..]);
        uuid.put_string(room as usize, &text);
        true
    })
}

#[unsafe(export_name = "nvmlDeviceGetPciInfo_v3")]
extern "C" fn pci(handle: Handle, pci: Wanted<Pci>) -> c_int {
    with("nvmlDeviceGetPciInfo", handle, |card| {
        let bus = 0x3b + card;
        pci.put(Pci {
            legacy: padded(&format!("0000:{bus:02X}:00.0")),
            domain: 0,
            bus,
            device: 0,
            id: 0x2684_10de,
            subsystem: 0,
            address: padded(&format!("00000000:{bus:02X}:00.0")),
        })
    })
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    bytes
}

#[unsafe(export_name = "nvmlDeviceGetMemoryInfo")]
extern "C" fn memory(handle: Handle, memory: Wanted<Memory>) -> c_int {
    with("nvmlDeviceGetMemoryInfo", handle, |card| {
        let total = settings::memory(card);
        memory.put(Memory {
            total,
            free: total,
            used: 0,
        })
    })
}

#[unsafe(export_name = "nvmlDeviceGetMemoryInfo_v2")]
extern "C" fn memory_v2(handle: Handle, memory: Wanted<MemoryV2>) -> c_int {
    with("nvmlDeviceGetMemoryInfo", handle, |card| {
        let total = settings::memory(card);
        let given = memory.get();
        given.is_some_and(|given| {
            memory.put(MemoryV2 {
                total,
                reserved: 0,
                free: total,
                used: 0,
                ..given
            })
        })
    })
}

#[unsafe(export_name = "nvmlDeviceGetMigMode")]
extern "C" fn mig_mode(_: Handle, _: Wanted<c_uint>, _: Wanted<c_uint>) -> c_int {
    NOT_SUPPORTED
}

#[unsafe(export_name = "nvmlErrorString")]
extern "C" fn error_string(code: c_int) -> *const c_char {
    let text = match code {
        SUCCESS => c"Success",
        INVALID_ARGUMENT => c"Invalid Argument",
        NOT_SUPPORTED => c"Not Supported",
        DRIVER_NOT_LOADED => c"Driver Not Loaded",
        GPU_IS_LOST => c"GPU is lost",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}
