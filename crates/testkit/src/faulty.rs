//! A real encoder that goes wrong on demand: tasks in, and out come errors, silence, or packets that look whole and are not.
//!
//! [`Faulty`] wraps any backend. A script sees each try with its device, so that one of several devices may be bad. What comes out of a
//! fault is made by the wrapped encoder from other pictures or settings, so that it is as good a stream as any other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rungs_engine::Cancel;
use rungs_engine::device::Lease;
use rungs_engine::error::EncodeError;
use rungs_engine::ids::DeviceId;
use rungs_engine::inspect::Inspect;
use rungs_engine::span::{Encoded, Footage, Span, Task};
use rungs_engine::spec::Spec;
use rungs_engine::timeline::{Cell, Placed};
use rungs_engine::worker::Backend;
use rungs_media::frame::Frame;

use crate::dice::Dice;
use crate::tool;

/// How one try of a task goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// It gives an error at once.
    Error,
    /// It panics.
    Panic,
    /// It does nothing until the job is cancelled.
    Hang,
    /// It does nothing ever again, cancelled or not: its thread is lost.
    HangForEver,
    /// Its device is gone, at this try and each later one on it.
    Lost,
    /// It says that there are no sessions left.
    OutOfSessions,
    /// It says that there is no memory left.
    OutOfMemory,
    /// It does the work so many times over, and gives the right result.
    Slow(u32),
    /// The last packet is missing.
    Short,
    /// Two neighbouring pictures have changed places.
    Swapped,
    /// From a third on, all pictures are the same.
    Frozen,
    /// Each picture stands one place late.
    Shifted,
    /// The pictures are another span's, or mirrored where there was none yet.
    Foreign,
    /// All samples are zero, which players show in green.
    Green,
    /// The codec configuration says other colours.
    OtherConfiguration,
    /// A bit in the middle of each of three packets is another.
    FlippedBits,
}

impl Fault {
    /// All that give packets other than they should be, as if nothing had happened.
    pub const SILENT: [Self; 8] = [
        Self::Short,
        Self::Swapped,
        Self::Frozen,
        Self::Shifted,
        Self::Foreign,
        Self::Green,
        Self::OtherConfiguration,
        Self::FlippedBits,
    ];
    /// All that are told at once.
    pub const LOUD: [Self; 4] = [
        Self::Error,
        Self::Panic,
        Self::OutOfSessions,
        Self::OutOfMemory,
    ];
}

/// One try of a task, as a script sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Try {
    /// The device of the lease.
    pub device: DeviceId,
    /// Its session.
    pub session: u32,
    /// The segment.
    pub segment: u32,
    /// The rendition's name.
    pub rendition: String,
    /// Which try of this task it is, over all devices, counted from 1.
    pub attempt: u32,
}

/// Decides what goes wrong.
pub type Script = Box<dyn Fn(&Try) -> Option<Fault> + Send + Sync>;

/// Whether there is what a job on a generated clip needs.
#[must_use]
pub fn is_ready() -> bool {
    tool::require("ffmpeg").is_some()
        && tool::require_encoder("libx264").is_some()
        && tool::require_encoder("libsvtav1").is_some()
}

/// Two small renditions in segments of a second, as fast as the encoder goes.
///
/// # Panics
/// Never: the rungs can be read.
#[must_use]
pub fn small_job(inspect: Inspect) -> Spec {
    Spec {
        rungs: ["180p", "90p"]
            .map(|rung| rung.parse().expect("a rung"))
            .into(),
        segment_seconds: 1.0,
        speed: 12,
        inspect,
        ..Spec::default()
    }
}

/// Makes a script in which each of the first two tries of a task goes wrong with the given probability, in a way drawn from `faults`. Equal
/// seeds give equal scripts.
#[must_use]
pub fn seeded(seed: u64, probability: f64, faults: Vec<Fault>) -> Script {
    Box::new(move |attempt| {
        let name = attempt.rendition.bytes().map(u64::from);
        let device = [attempt.device.place() as u64];
        let parts = [u64::from(attempt.segment), u64::from(attempt.attempt)];
        let mixed = parts.into_iter().chain(name).chain(device).fold(seed, mix);
        let happens = (mixed >> 11) as f64 / (1_u64 << 53) as f64 <= probability;
        let which = mix(mixed, 1) as usize % faults.len().max(1);
        (attempt.attempt < 3 && happens)
            .then(|| faults.get(which).copied())
            .flatten()
    })
}

/// One step of a generator of numbers that look random (SplitMix64).
fn mix(state: u64, value: u64) -> u64 {
    Dice::new(state.wrapping_add(value)).roll()
}

/// A backend that goes wrong as its script says, once it is armed.
pub struct Faulty {
    inner: Box<dyn Backend>,
    script: Script,
    armed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tries: BTreeMap<(u32, String), u32>,
    done: Vec<(Try, Fault)>,
    /// Devices that are gone.
    lost: BTreeSet<DeviceId>,
    /// The last span that was seen, for others to show.
    last: Option<Arc<Span>>,
}

impl Faulty {
    /// Wraps a backend. Nothing goes wrong before [`arm`](Self::arm), so that a plan can be made.
    #[must_use]
    pub fn new(inner: Box<dyn Backend>, script: Script) -> Self {
        Self {
            inner,
            script,
            armed: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Lets things go wrong from now on.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Release);
    }

    /// What went wrong so far, in order.
    #[must_use]
    pub fn done(&self) -> Vec<(Try, Fault)> {
        self.state().done.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the script, which may block, and keeps what it said.
    fn next_fault(&self, lease: &Lease, task: &Task) -> Option<Fault> {
        let (segment, rendition) = (task.footage.index().get(), task.rendition.name.clone());
        let count = {
            let mut state = self.state();
            let tries = state.tries.entry((segment, rendition.clone())).or_default();
            *tries += 1;
            *tries
        };
        let attempt = Try {
            device: lease.device(),
            session: lease.session(),
            segment,
            rendition,
            attempt: count,
        };
        let fault = (self.script)(&attempt)?;
        self.state().done.push((attempt, fault));
        Some(fault)
    }

    /// Gives the span that was seen last, if it is another, and keeps this one.
    fn other_span(&self, span: &Arc<Span>) -> Option<Arc<Span>> {
        let last = self.state().last.replace(Arc::clone(span));
        last.filter(|last| last.index != span.index)
    }

    fn encode_instead(
        &self,
        lease: &Lease,
        (task, fault): (&Task, Fault),
        cancel: &Cancel,
    ) -> Result<Encoded, EncodeError> {
        let span = &gathered(task, cancel)?;
        let other = self.other_span(span);
        let mut task = Task {
            rendition: Arc::clone(&task.rendition),
            footage: Footage::Whole(Arc::clone(span)),
            scaling: Arc::clone(&task.scaling),
            ..*task
        };
        if fault == Fault::OtherConfiguration {
            let mut rendition = (*task.rendition).clone();
            let matrix = &mut rendition.encoder.color.matrix;
            *matrix = if *matrix == 9 { 1 } else { 9 };
            task.rendition = Arc::new(rendition);
        } else {
            let shown = other_pictures(span, fault, other.as_deref());
            task.footage = Footage::Whole(Arc::new(shown));
        }
        let mut encoded = self.inner.encode(lease, &task, cancel)?;
        match fault {
            Fault::Short => drop(encoded.packets.pop()),
            Fault::FlippedBits => {
                let count = encoded.packets.len();
                for place in [0, count / 3, count * 2 / 3] {
                    let data = &mut encoded.packets[place].data;
                    let middle = data.len() / 2;
                    data[middle] ^= 0x10;
                }
            }
            _ => {}
        }
        Ok(encoded)
    }
}

impl Backend for Faulty {
    fn encode(&self, lease: &Lease, task: &Task, cancel: &Cancel) -> Result<Encoded, EncodeError> {
        let armed = self.armed.load(Ordering::Acquire);
        let lost = || {
            Err(EncodeError::DeviceLost {
                reason: "it was told to fall off its bus".to_owned(),
            })
        };
        if self.state().lost.contains(&lease.device()) {
            return lost();
        }
        let Some(fault) = armed.then(|| self.next_fault(lease, task)).flatten() else {
            task.footage.whole().map(|span| self.other_span(span));
            return self.inner.encode(lease, task, cancel);
        };
        let refused = |reason: &str| {
            Err(EncodeError::Refused {
                reason: reason.to_owned(),
                capacity: true,
            })
        };
        match fault {
            Fault::Error => Err(EncodeError::Backend("was told to fail".to_owned())),
            Fault::Panic => panic!("the encoder was told to panic"),
            Fault::Hang => {
                // Nothing is ever sent there: it is hung up on when the job is to end.
                cancel.signal().recv().ok();
                Err(EncodeError::Cancelled)
            }
            Fault::HangForEver => loop {
                std::thread::park();
            },
            Fault::Lost => {
                self.state().lost.insert(lease.device());
                lost()
            }
            Fault::OutOfSessions => refused("no session is free"),
            Fault::OutOfMemory => refused("cannot allocate memory"),
            Fault::Slow(times) => {
                for _ in 1..times {
                    self.inner.encode(lease, task, cancel)?;
                }
                self.inner.encode(lease, task, cancel)
            }
            silent => self.encode_instead(lease, (task, silent), cancel),
        }
    }
}

/// The pictures of a task, all of them; those of a feed are taken to its end.
fn gathered(task: &Task, cancel: &Cancel) -> Result<Arc<Span>, EncodeError> {
    if let Some(span) = task.footage.whole() {
        return Ok(Arc::clone(span));
    }
    let (mut pictures, mut taken) = (task.pictures(), Vec::new());
    while let Some(picture) = pictures.next(cancel)? {
        taken.push(picture);
    }
    let outline = task.footage.outline().ok_or(EncodeError::Starved)?;
    Ok(Arc::new(Span::new(Cell {
        index: outline.index,
        start: outline.start(),
        end: outline.end,
        pictures: taken,
        held: outline.held,
    })))
}

/// The same span with the pictures that the fault shows.
fn other_pictures(span: &Span, fault: Fault, other: Option<&Span>) -> Span {
    let own: Vec<&Frame> = span.frames.iter().map(|placed| &placed.item).collect();
    let count = own.len();
    let picture = |place: usize| match fault {
        Fault::Swapped if place == count / 2 => own[place.saturating_sub(1)].clone(),
        Fault::Swapped if place + 1 == count / 2 => own[place + 1].clone(),
        Fault::Frozen => own[place.min(count / 3)].clone(),
        Fault::Shifted => own[place.saturating_sub(1)].clone(),
        Fault::Green => zeros(own[place]),
        Fault::Foreign => match other {
            Some(other) => other.frames[place % other.frames.len()].item.clone(),
            None => mirrored(own[place]),
        },
        _ => own[place].clone(),
    };
    let times = span.frames.iter().map(|placed| placed.time);
    Span::new(Cell {
        index: span.index,
        start: span.start,
        end: span.end,
        held: span.held,
        pictures: times
            .enumerate()
            .map(|(place, time)| Placed {
                time,
                item: picture(place),
            })
            .collect(),
    })
}

fn zeros(frame: &Frame) -> Frame {
    Frame::filled(frame.width(), frame.height(), [0; 3]).expect("there is a picture of this size")
}

fn mirrored(frame: &Frame) -> Frame {
    let planes = [0, 1, 2].map(|plane| {
        let width = if plane == 0 {
            frame.width()
        } else {
            frame.width().div_ceil(2)
        } as usize;
        let rows = frame.plane(plane).chunks(frame.stride(plane));
        rows.flat_map(|row| row[..width].iter().rev().copied())
            .collect::<Vec<u8>>()
    });
    let [y, u, v] = &planes;
    Frame::from_planes(frame.width(), frame.height(), &[y, u, v])
        .expect("the planes are those of a picture")
}
