//! The functions of the interface, and how programs get at them.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::fs::{File, OpenOptions};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use rungs_standin::faults::{self, At, Effect};
use rungs_standin::settings::{enabled, number, state, text};
use rungs_standin::{Given, Wanted, asked, misuse};

use crate::layout::{
    Api, CODECS, Caps, Form, Functions, Guid, Handle, Initialize, InputBuffer, LockInput,
    LockOutput, Map, OpenSession, OutputBuffer, Picture, PresetConfig, Register, Sequence, place,
};
use crate::session::{Session, handle};
use crate::status::{
    DEVICE_NOT_EXIST, INCOMPATIBLE_CLIENT_KEY, INVALID_DEVICE, INVALID_ENCODER_DEVICE,
    INVALID_POINTER, INVALID_VERSION, NO_ENCODE_DEVICE, OUT_OF_MEMORY, Refusal, SUCCESS, Status,
    UNIMPLEMENTED, UNSUPPORTED_DEVICE,
};
use crate::{cuda, settings};

/// A session, and what is known of it without waiting for it.
#[derive(Clone)]
struct Entry {
    at: At,
    session: Arc<Mutex<Session>>,
}

fn sessions() -> MutexGuard<'static, BTreeMap<Handle, Entry>> {
    static SESSIONS: Mutex<BTreeMap<Handle, Entry>> = Mutex::new(BTreeMap::new());
    SESSIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(call: &str, encoder: Handle) -> Result<Entry, Status> {
    let found = sessions().get(&encoder).cloned();
    found.ok_or_else(|| {
        misuse!("{call} on what is no session");
        INVALID_ENCODER_DEVICE
    })
}

/// What a call is struck with; faults that only some calls know are given to it.
fn struck(call: &str, at: At) -> Result<Option<Effect>, Refusal> {
    match faults::at(call, at) {
        Some(Effect::Fail(code)) => Err(Refusal::new(code, "a planned fault")),
        Some(Effect::Lost) => Err(Refusal::new(DEVICE_NOT_EXIST, "the card is lost")),
        other => Ok(other),
    }
}

/// Does something in a session, in which there is one thread at a time.
fn within(
    call: &str,
    encoder: Handle,
    act: impl FnOnce(&mut Session, Option<Effect>) -> Result<(), Refusal>,
) -> Status {
    let entry = match find(call, encoder) {
        Ok(entry) => entry,
        Err(status) => return status,
    };
    let effect = struck(call, entry.at);
    let mut session = match entry.session.try_lock() {
        Ok(session) => session,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => {
            misuse!("{call}: two threads are in one session");
            entry.session.lock().unwrap_or_else(PoisonError::into_inner)
        }
    };
    session.struck |= !matches!(effect, Ok(None));
    let done = effect.and_then(|effect| {
        cuda::card(session.context())?;
        act(&mut session, effect)
    });
    match done {
        Ok(()) => SUCCESS,
        Err(refusal) => {
            if !refusal.reason.is_empty() {
                asked!("{call} answers {}: {}", refusal.status, refusal.reason);
            }
            session.reason = std::ffi::CString::new(refusal.reason).unwrap_or_default();
            refusal.status
        }
    }
}

/// The same with a structure that is read, and written again.
fn exchange<T: Copy>(
    (call, encoder): (&str, Handle),
    given: Wanted<T>,
    act: impl FnOnce(&mut Session, &mut T) -> Result<(), Refusal>,
) -> Status {
    within(call, encoder, |session, _| {
        let mut value = given.get().ok_or(INVALID_POINTER)?;
        act(session, &mut value)?;
        if given.put(value) {
            Ok(())
        } else {
            Err(INVALID_POINTER.into())
        }
    })
}

/// A place among the sessions that a card has at once, held by a lock that goes with the process.
fn place(card: u32) -> Result<Option<File>, Refusal> {
    let Some(most) = number("SESSIONS", card) else {
        return Ok(None);
    };
    for index in 0..most {
        let path = state().join(format!("session-{card}-{index}"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .unwrap_or_else(|error| panic!("RUNGS_STANDIN_STATE: {error}"));
        if file.try_lock().is_ok() {
            return Ok(Some(file));
        }
    }
    let status = match text("SESSIONS_ANSWER", card).as_deref() {
        Some("device") => UNSUPPORTED_DEVICE,
        Some("key") => INCOMPATIBLE_CLIENT_KEY,
        _ => OUT_OF_MEMORY,
    };
    Err(Refusal::new(status, "the card has no session left"))
}

fn open_session(given: OpenSession) -> Result<Handle, Refusal> {
    let mut known = Api::ALL.into_iter();
    let Some(api) = known.find(|api| api.number() == given.api) else {
        misuse!("a session of version {:#x}", given.api);
        return Err(INVALID_VERSION.into());
    };
    api.check(Form::OpenSession, given.version)?;
    if given.device_kind != 1 {
        return Err(Refusal::new(INVALID_DEVICE, "it is no CUDA context"));
    }
    let card = cuda::card(given.device)?;
    let at = At {
        card,
        session: Some(faults::session(card)),
    };
    struck("nvEncOpenEncodeSessionEx", at)?;
    if settings::codecs(Api::V12, card).next().is_none() {
        return Err(Refusal::new(UNSUPPORTED_DEVICE, "the card does not encode"));
    }
    let session = Session::new(api, (card, given.device), place(card)?);
    let entry = Entry {
        at,
        session: Arc::new(Mutex::new(session)),
    };
    let encoder = handle();
    sessions().insert(encoder, entry);
    Ok(encoder)
}

extern "C" fn open(given: Given<OpenSession>, encoder: Wanted<Handle>) -> Status {
    let opened = given
        .get()
        .ok_or_else(|| Refusal::from(INVALID_POINTER))
        .and_then(open_session);
    match opened {
        Ok(handle) if encoder.put(handle) => SUCCESS,
        Ok(_) => INVALID_POINTER,
        Err(refusal) => {
            let _ = encoder.put(0);
            asked!(
                "nvEncOpenEncodeSessionEx answers {}: {}",
                refusal.status,
                refusal.reason
            );
            refusal.status
        }
    }
}

extern "C" fn destroy(encoder: Handle) -> Status {
    let call = "nvEncDestroyEncoder";
    let entry = match find(call, encoder) {
        Ok(entry) => entry,
        Err(status) => return status,
    };
    let effect = struck(call, entry.at);
    sessions().remove(&encoder);
    let mut session = entry.session.lock().unwrap_or_else(PoisonError::into_inner);
    session.struck |= !matches!(effect, Ok(None));
    session.end();
    effect.err().map_or(SUCCESS, |refusal| refusal.status)
}

extern "C" fn guid_count(encoder: Handle, count: Wanted<u32>) -> Status {
    within("nvEncGetEncodeGUIDCount", encoder, |session, _| {
        let codecs = settings::codecs(session.api, session.card).count();
        if count.put(codecs as u32) {
            Ok(())
        } else {
            Err(INVALID_POINTER.into())
        }
    })
}

extern "C" fn guids(encoder: Handle, list: Wanted<Guid>, room: u32, count: Wanted<u32>) -> Status {
    within("nvEncGetEncodeGUIDs", encoder, |session, _| {
        let codecs = settings::codecs(session.api, session.card).take(room as usize);
        let mut given = 0;
        for codec in codecs {
            if !list.put_nth(given, CODECS[codec]) {
                return Err(INVALID_POINTER.into());
            }
            given += 1;
        }
        if count.put(given as u32) {
            Ok(())
        } else {
            Err(INVALID_POINTER.into())
        }
    })
}

extern "C" fn caps(encoder: Handle, codec: Guid, caps: Given<Caps>, value: Wanted<i32>) -> Status {
    within("nvEncGetEncodeCaps", encoder, |session, _| {
        let caps = caps.get().ok_or(INVALID_POINTER)?;
        session.api.check(Form::Caps, caps.version)?;
        let codec = settings::codec(session.api, session.card, codec)?;
        if value.put(settings::capability(session.card, codec, caps)) {
            Ok(())
        } else {
            Err(INVALID_POINTER.into())
        }
    })
}

extern "C" fn preset_of_tuning(
    encoder: Handle,
    codec: Guid,
    preset: Guid,
    tuning: u32,
    given: Wanted<PresetConfig>,
) -> Status {
    let call = ("nvEncGetEncodePresetConfig", encoder);
    exchange(call, given, |session, value| {
        session.api.check(Form::Preset, value.version)?;
        session.api.check(Form::Config, value.config.version)?;
        let codec = settings::codec(session.api, session.card, codec)?;
        settings::fill((session.api, codec), (preset, tuning), &mut value.config)
    })
}

extern "C" fn preset(
    encoder: Handle,
    codec: Guid,
    preset: Guid,
    given: Wanted<PresetConfig>,
) -> Status {
    preset_of_tuning(encoder, codec, preset, 1, given)
}

extern "C" fn initialize(encoder: Handle, given: Given<Initialize>) -> Status {
    within("nvEncInitializeEncoder", encoder, |session, _| {
        session.initialize(&given.get().ok_or(INVALID_POINTER)?)
    })
}

extern "C" fn create_input(encoder: Handle, given: Wanted<InputBuffer>) -> Status {
    exchange(
        ("nvEncCreateInputBuffer", encoder),
        given,
        Session::create_input,
    )
}

extern "C" fn destroy_input(encoder: Handle, buffer: Handle) -> Status {
    within("nvEncDestroyInputBuffer", encoder, |session, _| {
        session.destroy_input(buffer)
    })
}

extern "C" fn lock_input(encoder: Handle, given: Wanted<LockInput>) -> Status {
    exchange(
        ("nvEncLockInputBuffer", encoder),
        given,
        Session::lock_input,
    )
}

extern "C" fn unlock_input(encoder: Handle, buffer: Handle) -> Status {
    within("nvEncUnlockInputBuffer", encoder, |session, _| {
        session.unlock_input(buffer)
    })
}

extern "C" fn register(encoder: Handle, given: Wanted<Register>) -> Status {
    exchange(("nvEncRegisterResource", encoder), given, Session::register)
}

extern "C" fn unregister(encoder: Handle, registered: Handle) -> Status {
    within("nvEncUnregisterResource", encoder, |session, _| {
        session.unregister(registered)
    })
}

extern "C" fn map(encoder: Handle, given: Wanted<Map>) -> Status {
    exchange(("nvEncMapInputResource", encoder), given, Session::map)
}

extern "C" fn unmap(encoder: Handle, mapped: Handle) -> Status {
    within("nvEncUnmapInputResource", encoder, |session, _| {
        session.unmap(mapped)
    })
}

extern "C" fn create_output(encoder: Handle, given: Wanted<OutputBuffer>) -> Status {
    exchange(
        ("nvEncCreateBitstreamBuffer", encoder),
        given,
        Session::create_output,
    )
}

extern "C" fn destroy_output(encoder: Handle, buffer: Handle) -> Status {
    within("nvEncDestroyBitstreamBuffer", encoder, |session, _| {
        session.destroy_output(buffer)
    })
}

extern "C" fn encode(encoder: Handle, given: Given<Picture>) -> Status {
    within("nvEncEncodePicture", encoder, |session, effect| {
        session.encode(&given.get().ok_or(INVALID_POINTER)?, effect)
    })
}

extern "C" fn lock_output(encoder: Handle, given: Wanted<LockOutput>) -> Status {
    exchange(("nvEncLockBitstream", encoder), given, Session::lock_output)
}

extern "C" fn unlock_output(encoder: Handle, buffer: Handle) -> Status {
    within("nvEncUnlockBitstream", encoder, |session, _| {
        session.unlock_output(buffer)
    })
}

extern "C" fn sequence(encoder: Handle, given: Given<Sequence>) -> Status {
    within("nvEncGetSequenceParams", encoder, |session, _| {
        session.sequence(&given.get().ok_or(INVALID_POINTER)?)
    })
}

extern "C" fn reconfigure(encoder: Handle, _given: *const c_void) -> Status {
    within("nvEncReconfigureEncoder", encoder, |_, _| {
        misuse!("nvEncReconfigureEncoder, which the stand-in does not have");
        Err(UNIMPLEMENTED.into())
    })
}

extern "C" fn streams(encoder: Handle, _input: usize, _output: usize) -> Status {
    within("nvEncSetIOCudaStreams", encoder, |_, _| Ok(()))
}

extern "C" fn last_error(encoder: Handle) -> *const c_char {
    let found = sessions().get(&encoder).cloned();
    found.map_or(c"".as_ptr(), |entry| {
        let session = entry.session.lock();
        session
            .unwrap_or_else(PoisonError::into_inner)
            .reason
            .as_ptr()
    })
}

extern "C" fn missing() -> Status {
    misuse!("a function that the stand-in does not have");
    UNIMPLEMENTED
}

fn functions() -> [*const c_void; place::COUNT] {
    let mut list = [missing as *const c_void; place::COUNT];
    for (place, function) in [
        (place::GUID_COUNT, guid_count as *const c_void),
        (place::GUIDS, guids as *const c_void),
        (place::CAPS, caps as *const c_void),
        (place::PRESET, preset as *const c_void),
        (place::INITIALIZE, initialize as *const c_void),
        (place::CREATE_INPUT, create_input as *const c_void),
        (place::DESTROY_INPUT, destroy_input as *const c_void),
        (place::CREATE_OUTPUT, create_output as *const c_void),
        (place::DESTROY_OUTPUT, destroy_output as *const c_void),
        (place::ENCODE, encode as *const c_void),
        (place::LOCK_OUTPUT, lock_output as *const c_void),
        (place::UNLOCK_OUTPUT, unlock_output as *const c_void),
        (place::LOCK_INPUT, lock_input as *const c_void),
        (place::UNLOCK_INPUT, unlock_input as *const c_void),
        (place::SEQUENCE, sequence as *const c_void),
        (place::MAP, map as *const c_void),
        (place::UNMAP, unmap as *const c_void),
        (place::DESTROY, destroy as *const c_void),
        (place::OPEN, open as *const c_void),
        (place::REGISTER, register as *const c_void),
        (place::UNREGISTER, unregister as *const c_void),
        (place::RECONFIGURE, reconfigure as *const c_void),
        (place::LAST_ERROR, last_error as *const c_void),
        (place::STREAMS, streams as *const c_void),
        (place::PRESET_EX, preset_of_tuning as *const c_void),
    ] {
        list[place] = function;
    }
    list
}

/// The newest version of the interface that the driver has, as `major << 4 | minor`.
fn newest() -> u32 {
    let text = text("API", 0).unwrap_or_else(|| Api::V12.name().to_owned());
    let parts = text
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    let (major, minor) = parts.unwrap_or_else(|| panic!("RUNGS_STANDIN_API is {text}"));
    major << 4 | minor
}

#[unsafe(export_name = "NvEncodeAPIGetMaxSupportedVersion")]
extern "C" fn max_supported_version(version: Wanted<u32>) -> Status {
    if version.put(newest()) {
        SUCCESS
    } else {
        INVALID_POINTER
    }
}

#[unsafe(export_name = "NvEncodeAPICreateInstance")]
extern "C" fn create_instance(list: Wanted<Functions>) -> Status {
    if !enabled() {
        return NO_ENCODE_DEVICE;
    }
    let Some(mut given) = list.get() else {
        return INVALID_POINTER;
    };
    let mut known = Api::ALL.into_iter();
    let Some(api) = known.find(|api| api.of(Form::Functions) == given.version) else {
        asked!(
            "an interface of version {:#x}, which is not known",
            given.version
        );
        return INVALID_VERSION;
    };
    let number = api.number();
    if (number & 0xFF) << 4 | number >> 24 > newest() {
        return INVALID_VERSION;
    }
    given.pointers = functions();
    if list.put(given) {
        SUCCESS
    } else {
        INVALID_POINTER
    }
}
