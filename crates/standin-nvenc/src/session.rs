//! A session: its buffers, what state each is in, and what a real driver refuses.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, c_void};
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};

use rungs_standin::faults::Effect;
use rungs_standin::wire::Spec;
use rungs_standin::{asked, misuse};

use crate::encoder::{Encoder, Packet};
use crate::frames::{Shape, is_known, planes, sample, spoil};
use crate::layout::{
    Api, Config, END_OF_STREAM, FORCE_IDR, Form, Handle, Initialize, InputBuffer, LockInput,
    LockOutput, Map, NV12, OutputBuffer, P010, Picture, Register, Sequence,
};
use crate::status::{
    GENERIC, INVALID_CALL, INVALID_PARAM, INVALID_POINTER, LOCK_BUSY, MAP_FAILED, NEED_MORE_INPUT,
    NOT_INITIALIZED, NOT_MAPPED, NOT_REGISTERED, REGISTER_FAILED, Refusal, UNIMPLEMENTED,
};
use crate::{cuda, settings};

/// A handle that no other thing has or had.
pub(crate) fn handle() -> Handle {
    static NEXT: AtomicUsize = AtomicUsize::new(0x5E55_0000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Where a frame comes from.
enum Memory {
    /// A buffer of the session, and whether the program has it now.
    Host { bytes: Vec<u8>, locked: bool },
    /// Memory of the card, and whether it is mapped.
    Device { address: u64, mapped: bool },
}

struct Input {
    shape: Shape,
    memory: Memory,
}

/// What state an output is in.
enum Output {
    Free,
    /// A frame was given for it.
    Pending,
    Ready(Packet),
    /// The program has the data, which stays where it is.
    Locked {
        _packet: Packet,
    },
}

/// What was said of a frame, and is said again of its packet.
#[derive(Clone, Copy)]
struct Said {
    stamp: u64,
    duration: u64,
    index: u32,
}

/// What is set up when a session is initialised.
struct Running {
    spec: Spec,
    encoder: Encoder,
    /// Outputs in the order in which they were given.
    queue: VecDeque<Handle>,
    said: BTreeMap<u64, Said>,
    sent: u64,
    got: u64,
    ended: bool,
    /// Whether it never has an answer any more.
    busy: bool,
}

pub(crate) struct Session {
    pub(crate) api: Api,
    pub(crate) card: u32,
    context: Handle,
    /// Its place among those that the card has.
    _place: Option<File>,
    inputs: BTreeMap<Handle, Input>,
    outputs: BTreeMap<Handle, Output>,
    running: Option<Running>,
    /// Why the last call was refused.
    pub(crate) reason: CString,
    /// Whether a planned fault struck: what is left at the end is not the program's doing then.
    pub(crate) struck: bool,
}

impl Session {
    pub(crate) fn new(api: Api, (card, context): (u32, Handle), place: Option<File>) -> Self {
        cuda::session(context, true);
        Self {
            api,
            card,
            context,
            _place: place,
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            running: None,
            reason: CString::default(),
            struck: false,
        }
    }

    pub(crate) fn context(&self) -> Handle {
        self.context
    }

    fn running(&mut self) -> Result<&mut Running, Refusal> {
        self.running
            .as_mut()
            .ok_or_else(|| Refusal::new(NOT_INITIALIZED, "the session is not initialized"))
    }

    fn spec(&self) -> Result<&Spec, Refusal> {
        let running = self.running.as_ref();
        running.map(|running| &running.spec).ok_or_else(|| {
            misuse!("a buffer is made before the session is initialised");
            NOT_INITIALIZED.into()
        })
    }

    pub(crate) fn initialize(&mut self, given: &Initialize) -> Result<(), Refusal> {
        self.api.check(Form::Initialize, given.version)?;
        if self.running.is_some() {
            misuse!("a session is initialised twice");
            return Err(INVALID_CALL.into());
        }
        if !cuda::is_current(self.context) {
            misuse!("a session is initialised in another context than it was opened in");
        }
        let config: Config = given
            .config
            .get()
            .ok_or_else(|| Refusal::new(INVALID_PARAM, "there is no configuration"))?;
        self.api.check(Form::Config, config.version)?;
        let spec = settings::read((self.api, self.card), given, &config)?;
        self.running = Some(Running {
            encoder: Encoder::start(&spec)?,
            spec,
            queue: VecDeque::new(),
            said: BTreeMap::new(),
            sent: 0,
            got: 0,
            ended: false,
            busy: false,
        });
        Ok(())
    }

    pub(crate) fn create_input(&mut self, given: &mut InputBuffer) -> Result<(), Refusal> {
        self.api.check(Form::InputBuffer, given.version)?;
        self.spec()?;
        if !is_known(given.format) {
            return Err(Refusal::new(INVALID_PARAM, "buffer format not supported"));
        }
        let pitch = (given.width as usize * sample(given.format)).next_multiple_of(256);
        let shape = Shape {
            format: given.format,
            pitch,
            rows: given.height as usize,
        };
        let bytes = vec![0; pitch * (shape.rows + 2) * 2];
        let memory = Memory::Host {
            bytes,
            locked: false,
        };
        given.buffer = handle();
        self.inputs.insert(given.buffer, Input { shape, memory });
        Ok(())
    }

    pub(crate) fn destroy_input(&mut self, buffer: Handle) -> Result<(), Refusal> {
        match self.inputs.remove(&buffer) {
            Some(Input {
                memory: Memory::Host { locked: false, .. },
                ..
            }) => Ok(()),
            Some(_) => {
                misuse!("an input is destroyed that is locked, or was registered");
                Err(INVALID_CALL.into())
            }
            None => {
                // FFmpeg destroys what it could not make.
                if !self.struck {
                    misuse!("an input is destroyed that is none");
                }
                Err(INVALID_PARAM.into())
            }
        }
    }

    pub(crate) fn lock_input(&mut self, given: &mut LockInput) -> Result<(), Refusal> {
        self.api.check(Form::LockInput, given.version)?;
        let Some(input) = self.inputs.get_mut(&given.buffer) else {
            misuse!("an input is locked that is none");
            return Err(INVALID_PARAM.into());
        };
        let Memory::Host { bytes, locked } = &mut input.memory else {
            misuse!("an input of the card is locked");
            return Err(INVALID_PARAM.into());
        };
        if std::mem::replace(locked, true) {
            misuse!("an input is locked twice");
            return Err(LOCK_BUSY.into());
        }
        given.data = bytes.as_mut_ptr().cast::<c_void>();
        given.pitch = input.shape.pitch as u32;
        Ok(())
    }

    pub(crate) fn unlock_input(&mut self, buffer: Handle) -> Result<(), Refusal> {
        match self.inputs.get_mut(&buffer).map(|input| &mut input.memory) {
            Some(Memory::Host { locked, .. }) if *locked => {
                *locked = false;
                Ok(())
            }
            _ => {
                misuse!("an input is unlocked that is not locked");
                Err(INVALID_PARAM.into())
            }
        }
    }

    pub(crate) fn register(&mut self, given: &mut Register) -> Result<(), Refusal> {
        self.api.check(Form::Register, given.version)?;
        let spec = *self.spec()?;
        if given.kind != 1 || given.resource == 0 {
            return Err(Refusal::new(UNIMPLEMENTED, "resource type not supported"));
        }
        let expected = if spec.bits > 8 { P010 } else { NV12 };
        if given.format != expected {
            misuse!(
                "frames of format {:#x} for {} bits",
                given.format,
                spec.bits
            );
            return Err(INVALID_PARAM.into());
        }
        let row = given.width as usize * sample(given.format);
        if given.width < spec.width || given.height < spec.height || (given.pitch as usize) < row {
            misuse!(
                "frames of {}x{} at {} bytes a row for {}x{}",
                given.width,
                given.height,
                given.pitch,
                spec.width,
                spec.height
            );
            return Err(REGISTER_FAILED.into());
        }
        let shape = Shape {
            format: given.format,
            pitch: given.pitch as usize,
            rows: given.height as usize,
        };
        let memory = Memory::Device {
            address: given.resource,
            mapped: false,
        };
        given.registered = handle();
        self.inputs
            .insert(given.registered, Input { shape, memory });
        Ok(())
    }

    pub(crate) fn unregister(&mut self, registered: Handle) -> Result<(), Refusal> {
        let memory = self.inputs.remove(&registered).map(|input| input.memory);
        if let Some(Memory::Device { mapped, .. }) = memory {
            if mapped {
                misuse!("a frame is unregistered that is mapped");
            }
            Ok(())
        } else {
            misuse!("a frame is unregistered that is not registered");
            Err(NOT_REGISTERED.into())
        }
    }

    pub(crate) fn map(&mut self, given: &mut Map) -> Result<(), Refusal> {
        self.api.check(Form::Map, given.version)?;
        let input = self.inputs.get_mut(&given.registered);
        let Some(Input {
            shape,
            memory: Memory::Device { mapped, .. },
        }) = input
        else {
            misuse!("a frame is mapped that is not registered");
            return Err(NOT_REGISTERED.into());
        };
        if std::mem::replace(mapped, true) {
            misuse!("a frame is mapped twice");
            return Err(MAP_FAILED.into());
        }
        given.mapped = given.registered;
        given.format = shape.format;
        Ok(())
    }

    pub(crate) fn unmap(&mut self, mapped: Handle) -> Result<(), Refusal> {
        match self.inputs.get_mut(&mapped).map(|input| &mut input.memory) {
            Some(Memory::Device { mapped, .. }) if *mapped => {
                *mapped = false;
                Ok(())
            }
            _ => {
                misuse!("a frame is unmapped that is not mapped");
                Err(NOT_MAPPED.into())
            }
        }
    }

    pub(crate) fn create_output(&mut self, given: &mut OutputBuffer) -> Result<(), Refusal> {
        self.api.check(Form::OutputBuffer, given.version)?;
        self.spec()?;
        given.buffer = handle();
        self.outputs.insert(given.buffer, Output::Free);
        Ok(())
    }

    pub(crate) fn destroy_output(&mut self, buffer: Handle) -> Result<(), Refusal> {
        match self.outputs.remove(&buffer) {
            Some(Output::Locked { .. }) => {
                misuse!("an output is destroyed that is locked");
                Err(INVALID_CALL.into())
            }
            Some(_) => Ok(()),
            None => {
                if !self.struck {
                    misuse!("an output is destroyed that is none");
                }
                Err(INVALID_PARAM.into())
            }
        }
    }

    pub(crate) fn encode(
        &mut self,
        given: &Picture,
        effect: Option<Effect>,
    ) -> Result<(), Refusal> {
        self.api.check(Form::Picture, given.version)?;
        let running = self.running()?;
        if given.flags & END_OF_STREAM != 0 {
            // FFmpeg says it twice, at the end and when it closes.
            if !std::mem::replace(&mut running.ended, true) {
                let left = running.encoder.end()?;
                self.hand_out(left);
            }
            return Ok(());
        }
        if running.ended {
            misuse!("a frame is encoded after the end of the stream");
            return Err(INVALID_CALL.into());
        }
        running.busy |= effect == Some(Effect::Busy);
        let spec = running.spec;
        let mut frame = self.frame(given, &spec)?;
        if effect == Some(Effect::Wrong) {
            spoil(
                &mut frame,
                (spec.width as usize, spec.height as usize),
                spec.bits,
            );
        }
        self.outputs.insert(given.output, Output::Pending);
        let running = self.running()?;
        let token = running.sent;
        running.sent += 1;
        running.queue.push_back(given.output);
        let said = Said {
            stamp: given.stamp,
            duration: given.duration,
            index: given.index,
        };
        running.said.insert(token, said);
        if running.busy {
            return Err(NEED_MORE_INPUT.into());
        }
        let key = given.flags & FORCE_IDR != 0;
        let packets = running.encoder.encode((token, key), &frame)?;
        // Frames before the next that is no B frame wait for it.
        let waits = token % u64::from(spec.b_frames + 1) != 0;
        self.hand_out(packets);
        if waits {
            Err(NEED_MORE_INPUT.into())
        } else {
            Ok(())
        }
    }

    /// The frame that a call gives, if it and the output are in a state for it.
    fn frame(&self, given: &Picture, spec: &Spec) -> Result<Vec<u8>, Refusal> {
        if !matches!(self.outputs.get(&given.output), Some(Output::Free)) {
            misuse!("a frame is encoded to an output that is none or in use");
            return Err(INVALID_PARAM.into());
        }
        let Some(input) = self.inputs.get(&given.input) else {
            misuse!("a frame is encoded that is none");
            return Err(INVALID_PARAM.into());
        };
        if given.format != input.shape.format {
            misuse!(
                "a frame of format {:#x} is called {:#x}",
                input.shape.format,
                given.format
            );
        }
        let size = (spec.width as usize, spec.height as usize);
        let brought;
        let memory = match &input.memory {
            Memory::Host {
                bytes,
                locked: false,
            } => bytes,
            Memory::Device {
                address,
                mapped: true,
            } => {
                let rows = input.shape.rows + size.1.div_ceil(2);
                let row = size.0.next_multiple_of(2) * sample(input.shape.format);
                brought = cuda::read(self.context, (*address, input.shape.pitch), (row, rows))?;
                let shape = Shape {
                    pitch: row,
                    ..input.shape
                };
                return planes(&brought, shape, size)
                    .ok_or_else(|| Refusal::new(GENERIC, "the frame ends too early"));
            }
            Memory::Host { .. } | Memory::Device { .. } => {
                misuse!("a frame is encoded that is locked, or not mapped");
                return Err(INVALID_PARAM.into());
            }
        };
        planes(memory, input.shape, size)
            .ok_or_else(|| Refusal::new(GENERIC, "the frame ends too early"))
    }

    /// Gives packets to the outputs that wait for them.
    fn hand_out(&mut self, packets: Vec<Packet>) {
        let Some(running) = &mut self.running else {
            return;
        };
        if running.busy {
            return;
        }
        for packet in packets {
            let waiting = running.queue.pop_front();
            if let Some(output) = waiting.and_then(|waiting| self.outputs.get_mut(&waiting)) {
                *output = Output::Ready(packet);
            }
        }
    }

    pub(crate) fn lock_output(&mut self, given: &mut LockOutput) -> Result<(), Refusal> {
        self.api.check(Form::LockOutput, given.version)?;
        let busy = self.running()?.busy;
        let output = self.outputs.get_mut(&given.output);
        let output = output.ok_or_else(|| {
            misuse!("an output is locked that is none");
            Refusal::from(INVALID_PARAM)
        })?;
        let packet = match std::mem::replace(output, Output::Free) {
            Output::Ready(packet) => packet,
            other => {
                *output = other;
                if !busy {
                    misuse!("an output is locked that is not ready");
                }
                return Err(LOCK_BUSY.into());
            }
        };
        given.data = packet.data.as_ptr().cast();
        given.size = packet.data.len() as u32;
        // An IDR frame, or a P frame: of others nothing is known.
        given.kind = if packet.key { 3 } else { 0 };
        given.structure = 1;
        given.slice_count = 1;
        given.quantizer = 30;
        let token = packet.token;
        *output = Output::Locked { _packet: packet };
        let running = self.running()?;
        running.got += 1;
        if let Some(said) = running.said.remove(&token) {
            given.stamp = said.stamp;
            given.duration = said.duration;
            given.index = said.index;
        }
        Ok(())
    }

    pub(crate) fn unlock_output(&mut self, buffer: Handle) -> Result<(), Refusal> {
        if let Some(output @ Output::Locked { .. }) = self.outputs.get_mut(&buffer) {
            *output = Output::Free;
            Ok(())
        } else {
            misuse!("an output is unlocked that is not locked");
            Err(INVALID_PARAM.into())
        }
    }

    pub(crate) fn sequence(&mut self, given: &Sequence) -> Result<(), Refusal> {
        self.api.check(Form::Sequence, given.version)?;
        let headers = self.running()?.encoder.headers();
        if headers.len() > given.room as usize {
            return Err(INVALID_PARAM.into());
        }
        let mut bytes = headers.iter().enumerate();
        let written = bytes.all(|(index, byte)| given.data.put_nth(index, *byte));
        if written && given.size.put(headers.len() as u32) {
            Ok(())
        } else {
            Err(INVALID_POINTER.into())
        }
    }

    /// Looks at what is left when a session ends.
    pub(crate) fn end(&mut self) {
        cuda::session(self.context, false);
        if let Some(running) = &self.running {
            asked!(
                "nvEncDestroyEncoder on {}: {} frames, {} packets",
                self.card,
                running.sent,
                running.got
            );
        }
        if self.struck {
            return;
        }
        if !self.inputs.is_empty() {
            misuse!("a session ends with {} inputs", self.inputs.len());
        }
        if !self.outputs.is_empty() {
            misuse!("a session ends with {} outputs", self.outputs.len());
        }
        if self.running.as_ref().is_some_and(|running| !running.ended) {
            misuse!("a session ends before the end of its stream");
        }
    }
}
