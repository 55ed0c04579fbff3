//! The structures of the interface, as far as they are read: by hand, with the places of their fields asserted. Versions 11.1
//! and 12.1 of it do not differ in them, but for the numbers that structures carry.

use std::ffi::c_void;
use std::mem::{offset_of, size_of};

use crate::status::{INVALID_VERSION, Refusal};

/// A version of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    V11,
    V12,
}

impl Api {
    pub(crate) const ALL: [Self; 2] = [Self::V11, Self::V12];

    /// `NVENCAPI_VERSION`: the major number, and the minor one in the highest byte.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::V11 => 0x0B | 1 << 24,
            Self::V12 => 0x0C | 1 << 24,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V11 => "11.1",
            Self::V12 => "12.1",
        }
    }

    /// The number that a structure carries.
    pub(crate) const fn of(self, form: Form) -> u32 {
        let (eleven, twelve) = form.revisions();
        let (revision, grown) = match self {
            Self::V11 => eleven,
            Self::V12 => twelve,
        };
        self.number() | revision << 16 | 7 << 28 | (grown as u32) << 31
    }

    /// Refuses a structure of another version.
    pub(crate) fn check(self, form: Form, given: u32) -> Result<(), Refusal> {
        let expected = self.of(form);
        if given == expected {
            return Ok(());
        }
        rungs_standin::misuse!("{form:?} has version {given:#x}, and not {expected:#x}");
        Err(Refusal::new(
            INVALID_VERSION,
            format!("{form:?} has another version"),
        ))
    }
}

/// The structures that carry a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Functions,
    OpenSession,
    Caps,
    Preset,
    Config,
    RateControl,
    Initialize,
    InputBuffer,
    OutputBuffer,
    LockInput,
    Register,
    Map,
    Picture,
    LockOutput,
    Sequence,
}

impl Form {
    /// The revision, and whether it carries the highest bit too, in 11.1 and in 12.1.
    const fn revisions(self) -> ((u32, bool), (u32, bool)) {
        match self {
            Self::Functions => ((2, false), (2, false)),
            Self::OpenSession
            | Self::Caps
            | Self::RateControl
            | Self::InputBuffer
            | Self::OutputBuffer
            | Self::LockInput
            | Self::Sequence => ((1, false), (1, false)),
            Self::Preset => ((4, true), (4, true)),
            Self::Config => ((7, true), (8, true)),
            Self::Initialize => ((5, true), (6, true)),
            Self::Register => ((3, false), (4, false)),
            Self::Map => ((4, false), (4, false)),
            Self::Picture => ((4, true), (6, true)),
            Self::LockOutput => ((1, false), (1, true)),
        }
    }
}

pub(crate) type Handle = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Guid(
    pub(crate) u32,
    pub(crate) u16,
    pub(crate) u16,
    pub(crate) [u8; 8],
);

/// The codecs, in the order of `rungs_standin::wire::Spec`.
pub(crate) const CODECS: [Guid; 3] = [
    Guid(
        0x6bc8_2762,
        0x4e63,
        0x4ca4,
        [0xaa, 0x85, 0x1e, 0x50, 0xf3, 0x21, 0xf6, 0xbf],
    ),
    Guid(
        0x790c_dc88,
        0x4522,
        0x4d7b,
        [0x94, 0x25, 0xbd, 0xa9, 0x97, 0x5f, 0x76, 0x03],
    ),
    Guid(
        0x0a35_2289,
        0x0aa7,
        0x4759,
        [0x86, 0x2d, 0x5d, 0x15, 0xcd, 0x16, 0xd2, 0x54],
    ),
];

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct OpenSession {
    pub(crate) version: u32,
    pub(crate) device_kind: u32,
    pub(crate) device: Handle,
    reserved: usize,
    pub(crate) api: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Caps {
    pub(crate) version: u32,
    pub(crate) asked: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RateControl {
    pub(crate) version: u32,
    pub(crate) mode: u32,
    /// Of P, B and I frames.
    pub(crate) quantizers: [u32; 3],
    pub(crate) average: u32,
    pub(crate) most: u32,
    pub(crate) buffer: u32,
    pub(crate) initial_delay: u32,
    pub(crate) flags: u32,
    pub(crate) quantizer_limits: [u32; 9],
    temporal_layers: [u8; 12],
    pub(crate) quality: u8,
    pub(crate) quality_256ths: u8,
    pub(crate) lookahead: u16,
    rest: [u8; 36],
}

pub(crate) const LOOKAHEAD: u32 = 1 << 5;
pub(crate) const STRICT_GOP: u32 = 1 << 11;

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Config {
    pub(crate) version: u32,
    pub(crate) profile: Guid,
    pub(crate) gop: u32,
    pub(crate) interval: i32,
    pub(crate) monochrome: u32,
    pub(crate) field_mode: u32,
    pub(crate) vectors: u32,
    pub(crate) rate: RateControl,
    pub(crate) codec: CodecConfig,
    rest: [u32; 406],
}

/// What is said of one codec, by its words of 32 bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct CodecConfig(pub(crate) [u32; 448]);

/// The places in [`CodecConfig`], in words.
pub(crate) struct CodecWords {
    pub(crate) flags: usize,
    /// The flag that keyframes come with parameter sets.
    pub(crate) repeats: u32,
    /// The bit where bits of a sample above 8 begin, if the codec has them.
    pub(crate) depth: Option<u32>,
    pub(crate) idr_period: usize,
    /// Range, primaries, transfer characteristics, matrix.
    pub(crate) color: [usize; 4],
    /// What kind of video it is, which presets set, if the codec has it.
    pub(crate) video_format: Option<usize>,
}

pub(crate) const WORDS: [CodecWords; 3] = [
    CodecWords {
        flags: 0,
        repeats: 1 << 12,
        depth: None,
        idr_period: 2,
        color: [22, 24, 25, 26],
        video_format: Some(21),
    },
    CodecWords {
        flags: 4,
        repeats: 1 << 7,
        depth: Some(11),
        idr_period: 5,
        color: [20, 22, 23, 24],
        video_format: Some(19),
    },
    CodecWords {
        flags: 4,
        repeats: 1 << 5,
        depth: Some(15),
        idr_period: 5,
        color: [20, 17, 18, 19],
        video_format: None,
    },
];

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct PresetConfig {
    pub(crate) version: u32,
    _gap: u32,
    pub(crate) config: Config,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Initialize {
    pub(crate) version: u32,
    pub(crate) codec: Guid,
    pub(crate) preset: Guid,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) aspect: [u32; 2],
    pub(crate) frame_rate: [u32; 2],
    pub(crate) asynchronous: u32,
    pub(crate) decides_types: u32,
    flags: u32,
    private_size: u32,
    private: usize,
    pub(crate) config: rungs_standin::Given<Config>,
    most: [u32; 2],
    hints: [[u32; 4]; 2],
    pub(crate) tuning: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct InputBuffer {
    pub(crate) version: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    heap: u32,
    pub(crate) format: u32,
    reserved: u32,
    pub(crate) buffer: Handle,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct LockInput {
    pub(crate) version: u32,
    flags: u32,
    pub(crate) buffer: Handle,
    pub(crate) data: *mut c_void,
    pub(crate) pitch: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct OutputBuffer {
    pub(crate) version: u32,
    size: u32,
    heap: u32,
    reserved: u32,
    pub(crate) buffer: Handle,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Register {
    pub(crate) version: u32,
    pub(crate) kind: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pitch: u32,
    part: u32,
    pub(crate) resource: u64,
    pub(crate) registered: Handle,
    pub(crate) format: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Map {
    pub(crate) version: u32,
    part: u32,
    input: usize,
    pub(crate) registered: Handle,
    pub(crate) mapped: Handle,
    pub(crate) format: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Picture {
    pub(crate) version: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pitch: u32,
    pub(crate) flags: u32,
    pub(crate) index: u32,
    pub(crate) stamp: u64,
    pub(crate) duration: u64,
    pub(crate) input: Handle,
    pub(crate) output: Handle,
    event: usize,
    pub(crate) format: u32,
    pub(crate) structure: u32,
}

pub(crate) const FORCE_IDR: u32 = 2;
pub(crate) const END_OF_STREAM: u32 = 8;

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct LockOutput {
    pub(crate) version: u32,
    pub(crate) flags: u32,
    pub(crate) output: Handle,
    slices: usize,
    pub(crate) index: u32,
    pub(crate) encode_status: u32,
    pub(crate) slice_count: u32,
    pub(crate) size: u32,
    pub(crate) stamp: u64,
    pub(crate) duration: u64,
    pub(crate) data: *const c_void,
    pub(crate) kind: u32,
    pub(crate) structure: u32,
    pub(crate) quantizer: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Sequence {
    pub(crate) version: u32,
    pub(crate) room: u32,
    ids: [u32; 2],
    pub(crate) data: rungs_standin::Wanted<u8>,
    pub(crate) size: rungs_standin::Wanted<u32>,
}

/// The formats of frames: NV12, YV12, IYUV, and 4:2:0 in 10 bits.
pub(crate) const NV12: u32 = 1;
pub(crate) const YV12: u32 = 0x10;
pub(crate) const IYUV: u32 = 0x100;
pub(crate) const P010: u32 = 0x1_0000;

/// The functions that are given out: a version, and pointers in the interface's order.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Functions {
    pub(crate) version: u32,
    reserved: u32,
    pub(crate) pointers: [*const c_void; 41],
}

const _: () = {
    assert!(offset_of!(OpenSession, device) == 8 && offset_of!(OpenSession, api) == 24);
    assert!(size_of::<Guid>() == 16 && size_of::<RateControl>() == 128);
    assert!(offset_of!(RateControl, average) == 20 && offset_of!(RateControl, flags) == 36);
    assert!(offset_of!(RateControl, quantizer_limits) == 40);
    assert!(offset_of!(RateControl, quality) == 88 && offset_of!(RateControl, lookahead) == 90);
    assert!(offset_of!(Config, gop) == 20 && offset_of!(Config, rate) == 40);
    assert!(offset_of!(Config, codec) == 168 && size_of::<CodecConfig>() == 1792);
    assert!(offset_of!(Config, rest) == 1960 && size_of::<Config>() == 3584);
    assert!(offset_of!(PresetConfig, config) == 8);
    assert!(offset_of!(Initialize, codec) == 4 && offset_of!(Initialize, preset) == 20);
    assert!(offset_of!(Initialize, width) == 36 && offset_of!(Initialize, aspect) == 44);
    assert!(offset_of!(Initialize, frame_rate) == 52 && offset_of!(Initialize, config) == 88);
    assert!(offset_of!(Initialize, private_size) == 72 && offset_of!(Initialize, private) == 80);
    assert!(offset_of!(Initialize, hints) == 104 && offset_of!(Initialize, tuning) == 136);
    assert!(offset_of!(InputBuffer, format) == 16 && offset_of!(InputBuffer, buffer) == 24);
    assert!(offset_of!(LockInput, data) == 16 && offset_of!(LockInput, pitch) == 24);
    assert!(offset_of!(OutputBuffer, buffer) == 16);
    assert!(offset_of!(Register, resource) == 24 && offset_of!(Register, registered) == 32);
    assert!(offset_of!(Register, format) == 40);
    assert!(offset_of!(Map, registered) == 16 && offset_of!(Map, mapped) == 24);
    assert!(offset_of!(Map, format) == 32);
    assert!(offset_of!(Picture, flags) == 16 && offset_of!(Picture, stamp) == 24);
    assert!(offset_of!(Picture, input) == 40 && offset_of!(Picture, output) == 48);
    assert!(offset_of!(Picture, format) == 64 && offset_of!(Picture, structure) == 68);
    assert!(offset_of!(LockOutput, output) == 8 && offset_of!(LockOutput, index) == 24);
    assert!(offset_of!(LockOutput, size) == 36 && offset_of!(LockOutput, stamp) == 40);
    assert!(offset_of!(LockOutput, data) == 56 && offset_of!(LockOutput, kind) == 64);
    assert!(offset_of!(LockOutput, quantizer) == 72);
    assert!(offset_of!(Sequence, data) == 16 && offset_of!(Sequence, size) == 24);
    assert!(offset_of!(Functions, pointers) == 8);
};

/// Places in [`Functions::pointers`].
pub(crate) mod place {
    pub(crate) const GUID_COUNT: usize = 1;
    pub(crate) const GUIDS: usize = 4;
    pub(crate) const CAPS: usize = 7;
    pub(crate) const PRESET: usize = 10;
    pub(crate) const INITIALIZE: usize = 11;
    pub(crate) const CREATE_INPUT: usize = 12;
    pub(crate) const DESTROY_INPUT: usize = 13;
    pub(crate) const CREATE_OUTPUT: usize = 14;
    pub(crate) const DESTROY_OUTPUT: usize = 15;
    pub(crate) const ENCODE: usize = 16;
    pub(crate) const LOCK_OUTPUT: usize = 17;
    pub(crate) const UNLOCK_OUTPUT: usize = 18;
    pub(crate) const LOCK_INPUT: usize = 19;
    pub(crate) const UNLOCK_INPUT: usize = 20;
    pub(crate) const SEQUENCE: usize = 22;
    pub(crate) const MAP: usize = 25;
    pub(crate) const UNMAP: usize = 26;
    pub(crate) const DESTROY: usize = 27;
    pub(crate) const OPEN: usize = 29;
    pub(crate) const REGISTER: usize = 30;
    pub(crate) const UNREGISTER: usize = 31;
    pub(crate) const RECONFIGURE: usize = 32;
    pub(crate) const LAST_ERROR: usize = 37;
    pub(crate) const STREAMS: usize = 38;
    pub(crate) const PRESET_EX: usize = 39;
    pub(crate) const COUNT: usize = 41;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_carry_the_numbers_of_their_version() {
        assert_eq!(Api::V11.of(Form::Functions), 0x7102_000b);
        assert_eq!(Api::V11.of(Form::Config), 0xf107_000b);
        assert_eq!(Api::V12.of(Form::Config), 0xf108_000c);
        assert_eq!(Api::V12.of(Form::LockOutput), 0xf101_000c);
        assert!(Api::V11.check(Form::Map, Api::V12.of(Form::Map)).is_err());
    }
}
