//! The backend of a real machine: scale each picture, encode it with an encoder of the linked FFmpeg, on the CPU or on a GPU.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rungs_media::encode::Rate;
use rungs_media::frame::Frame;

use crate::cancel::Cancel;
use crate::device::{Device, Lease};
use crate::error::EncodeError;
use crate::gpu::Way;
use crate::ids::DeviceId;
use crate::inspect::check_times;
use crate::opened::{Bench, Opened};
use crate::process::{Order, Processes, Remote};
use crate::span::{Encoded, Task};
use crate::worker::Backend;

/// Above so many pixels, SVT-AV1 1.4.1 gives other bytes on one thread than on two or three: it does at 3840×2160, and does not at 2560×1440.
const MOST_PIXELS_ON_ANY_THREADS: u64 = 2560 * 1440;

/// Encodes with the encoders of the linked FFmpeg. Every task gets a fresh scaler and a fresh encoder; a session on a GPU keeps its context.
pub struct Encoders {
    /// The devices of the engine, in its order; those that are not here encode in software.
    devices: Vec<Device>,
    place: Place,
}

/// Where encoders are open.
enum Place {
    Here(Mutex<BTreeMap<(DeviceId, u32), Bench>>),
    Processes(Processes),
}

impl Encoders {
    /// Encoders in this process. As [`process`](crate::process) tells, SVT-AV1 does not bear company: use it with one session.
    #[must_use]
    pub fn in_process() -> Self {
        Self {
            devices: Vec::new(),
            place: Place::Here(Mutex::default()),
        }
    }

    /// Encoders in processes of their own, one for each session. `program` calls [`process::serve`](crate::process::serve) when its only argument is
    /// [`process::ENCODER_ARGUMENT`](crate::process::ENCODER_ARGUMENT).
    #[must_use]
    pub fn in_processes(program: PathBuf) -> Self {
        Self {
            devices: Vec::new(),
            place: Place::Processes(Processes::new(program)),
        }
    }

    /// The same for an engine with these devices, which tell the ways to the GPUs among them.
    #[must_use]
    pub fn for_devices(mut self, devices: &[Device]) -> Self {
        devices.clone_into(&mut self.devices);
        self
    }

    /// The way to the device of the lease with that encoder; `None` for one in software.
    fn way(&self, lease: &Lease, encoder: &str) -> Option<&Way> {
        let device = self.devices.get(lease.device().place())?;
        device.offer(encoder).map(|offer| &offer.way)
    }
}

impl Backend for Encoders {
    fn encode(&self, lease: &Lease, task: &Task, cancel: &Cancel) -> Result<Encoded, EncodeError> {
        let mut config = task.rendition.encoder.clone();
        config.threads = threads(task);
        config.gop = task.rendition.gop_frames();
        let order = Order {
            way: self.way(lease, &config.encoder).cloned(),
            config,
        };
        let result = match &self.place {
            Place::Here(benches) => {
                let key = (lease.device(), lease.session());
                let lock = || benches.lock().unwrap_or_else(PoisonError::into_inner);
                let mut bench = lock().remove(&key).unwrap_or_default();
                let mut local = Local {
                    order,
                    bench: &mut bench,
                    opened: None,
                };
                let result = feed(task, &mut local, cancel).and_then(|()| local.finish());
                drop(local);
                // A context on which something failed goes.
                if result.is_ok() {
                    lock().insert(key, bench);
                }
                result?
            }
            Place::Processes(processes) => {
                let mut remote = processes.open(lease, &order, cancel)?;
                feed(task, &mut remote, cancel)?;
                remote.finish()?
            }
        };
        let outline = task.footage.outline().ok_or(EncodeError::Starved)?;
        check_times(task.rendition.codec(), &outline, &result.packets)?;
        Ok(result)
    }
}

/// Threads that the encoder gets: as many as it may have, unless their number shows in the bytes. With a rate to keep it shows with every
/// encoder that was tried; and always with x264 and x265, in what they decide or in what they say of themselves.
fn threads(task: &Task) -> u32 {
    let rendition = &task.rendition;
    let shows = rendition.encoder.rate != Rate::Quality
        || match rendition.encoder.encoder.as_str() {
            "libsvtav1" => rendition.size.pixels() > MOST_PIXELS_ON_ANY_THREADS,
            "libx264" | "libx265" => true,
            _ => false,
        };
    if shows { 1 } else { task.threads }
}

/// What takes pictures.
trait Sink {
    fn send(&mut self, frame: &Frame, time: i64) -> Result<(), EncodeError>;
}

impl Sink for Remote<'_> {
    fn send(&mut self, frame: &Frame, time: i64) -> Result<(), EncodeError> {
        Remote::send(self, frame, time)
    }
}

/// An encoder in this process; it is opened with the first picture.
struct Local<'a> {
    order: Order,
    bench: &'a mut Bench,
    opened: Option<Opened>,
}

impl Sink for Local<'_> {
    fn send(&mut self, frame: &Frame, time: i64) -> Result<(), EncodeError> {
        match &mut self.opened {
            None => {
                let Order { config, way } = &self.order;
                self.opened = Some(self.bench.open(config, way.as_ref(), (frame, time))?);
            }
            Some(encoder) => encoder.send(frame, time)?,
        }
        Ok(())
    }
}

impl Local<'_> {
    fn finish(&mut self) -> Result<Encoded, EncodeError> {
        let Some(encoder) = &mut self.opened else {
            return Ok(Encoded::default());
        };
        Ok(Encoded {
            packets: encoder.finish()?,
            configuration: encoder.configuration().to_vec(),
            ..Encoded::default()
        })
    }
}

/// Scales the pictures of the task, and gives them to its encoder.
fn feed(task: &Task, encoder: &mut dyn Sink, cancel: &Cancel) -> Result<(), EncodeError> {
    let mut sizer = task.sizer();
    let mut pictures = task.pictures();
    let mut start = None;
    while let Some(placed) = pictures.next(cancel)? {
        // Times start at 0 in each segment, so that its bytes do not depend on where it stands.
        let start = *start.get_or_insert(placed.time);
        encoder.send(&sizer.apply(&placed.item)?, placed.time - start)?;
    }
    Ok(())
}
