//! Where pictures are brought to the renditions' sizes: on the CPU, or on GPUs of the plan's model, where they may lie already.
//!
//! ```text
//! picture ─► Sizer::apply ─► the GPU that has it, or any of the model ─► picture of the rendition's size, in this process's memory
//!                                     │ fails
//!                                     └──► another of the model ──► the CPU
//! ```
//!
//! What a GPU makes of a picture is not what the CPU makes, so the plan says which it is ([`Plan::scaling`](crate::plan::Plan::scaling)), and GPUs of one model
//! stand in for each other. The CPU stands in only when none of them is left, and the report says so. A picture that has the size already is never
//! made anew.

use std::fmt;
use std::sync::Arc;

use rungs_media::Error;
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::hardware::{Place, Scaled};
use rungs_media::scale::{self, Scaler};
use serde::Serialize;

use crate::device::DeviceName;
use crate::error::{EncodeError, in_words};
use crate::message::Line;
use crate::sync::{Mutex, PoisonError};
use crate::warning::Warning;

/// How often a device that is full is asked again for a picture.
const FULL: u32 = 3;

/// A device that scales: the seam to hardware. Called by many threads at once; the calls block while it works.
pub trait ScaleDevice: Send + Sync {
    /// Its name for people and reports.
    fn name(&self) -> &DeviceName;

    /// Its model: what devices of one model make of a picture is the same.
    fn model(&self) -> &str;

    /// Whether it scales pictures of that depth; otherwise why not, in words.
    fn takes(&self, depth: BitDepth) -> Result<(), String>;

    /// Whether a picture lies there.
    fn holds(&self, picture: &Frame) -> bool;

    /// Brings a picture to a size, wherever it lies, and the result to this process's memory.
    fn scale(&self, picture: &Frame, to: scale::Config) -> Result<Scaled, Error>;

    /// Brings a picture that lies there to this process's memory.
    fn bring(&self, picture: &Frame) -> Result<Frame, Error> {
        picture.download()
    }

    /// It had no room: less is to be kept there.
    fn ease(&self) {}

    /// It has failed a job: no more pictures are to be kept there.
    fn give_up(&self);
}

/// The devices on which an engine may scale.
#[derive(Clone, Default)]
pub struct Scalers {
    devices: Vec<Arc<dyn ScaleDevice>>,
    asked: bool,
}

impl Scalers {
    /// Those may, if that saves something.
    #[must_use]
    pub fn any_of(devices: Vec<Arc<dyn ScaleDevice>>) -> Self {
        Self {
            devices,
            asked: false,
        }
    }

    /// One of those was asked for: where none can, the job is refused.
    #[must_use]
    pub fn only(devices: Vec<Arc<dyn ScaleDevice>>) -> Self {
        Self {
            devices,
            asked: true,
        }
    }

    /// Whether they were asked for.
    pub(crate) fn are_asked_for(&self) -> bool {
        self.asked
    }

    pub(crate) fn devices(&self) -> &[Arc<dyn ScaleDevice>] {
        &self.devices
    }

    /// What scales a job whose pictures are scaled on that model; without one, or without such a device here, the CPU.
    pub(crate) fn on(&self, model: Option<&str>) -> Arc<Scaling> {
        let fits = |device: &&Arc<dyn ScaleDevice>| model == Some(device.model());
        let devices: Vec<_> = self.devices.iter().filter(fits).cloned().collect();
        Arc::new(Scaling::new(devices))
    }
}

impl fmt::Debug for Scalers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.devices.iter().map(|device| device.name());
        f.debug_list().entries(names).finish()
    }
}

/// What was scaled at one place. Pictures that have a rendition's size already are not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScaledOn {
    /// The place: `cpu`, or a device.
    pub device: DeviceName,
    /// Pictures that were made there, those of attempts that came to nothing among them.
    pub pictures: u64,
    /// Bytes of pictures that were brought to the device for it, because they lay elsewhere: each once, as long as there was room.
    pub bytes_uploaded: u64,
    /// Bytes of pictures that were brought from the device: those that were made there, and those that were kept there and wanted as they are.
    pub bytes_downloaded: u64,
    /// Whether it failed; others went on then.
    pub failed: bool,
}

impl ScaledOn {
    fn new(device: DeviceName) -> Self {
        Self {
            device,
            pictures: 0,
            bytes_uploaded: 0,
            bytes_downloaded: 0,
            failed: false,
        }
    }
}

/// What scales the pictures of one job, with what was done where. Shared by all of its tasks.
#[derive(Default)]
pub struct Scaling {
    devices: Vec<Arc<dyn ScaleDevice>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the devices in their order, and of the CPU after them.
    done: Vec<ScaledOn>,
    /// Where a warning goes.
    told: Option<Line<Warning>>,
}

impl Scaling {
    /// Those devices, which are of one model, and the CPU where there are none.
    #[must_use]
    pub fn new(devices: Vec<Arc<dyn ScaleDevice>>) -> Self {
        let names = devices.iter().map(|device| device.name().clone());
        let done = names.chain([DeviceName::cpu()]).map(ScaledOn::new);
        let state = State {
            done: done.collect(),
            told: None,
        };
        Self {
            devices,
            state: Mutex::new(state),
        }
    }

    /// Sends warnings there from now on.
    pub(crate) fn tell(&self, line: Line<Warning>) {
        self.with(|state| state.told = Some(line));
    }

    /// What was scaled where, so far; places that did nothing are left out.
    #[must_use]
    pub fn done(&self) -> Vec<ScaledOn> {
        let used = |place: &&ScaledOn| place.pictures > 0 || place.failed;
        self.with(|state| state.done.iter().filter(used).cloned().collect())
    }

    /// Whether the CPU scaled nothing.
    pub(crate) fn spared_the_cpu(&self) -> bool {
        let cpu = self.with(|state| state.done.last().map_or(0, |cpu| cpu.pictures));
        cpu == 0
    }

    /// A scaler for one task.
    #[must_use]
    pub fn sizer(&self, to: scale::Config) -> Sizer<'_> {
        Sizer {
            scaling: self,
            to,
            cpu: Scaler::new(to),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // No step leaves it half-done.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The device for a picture: the one where it lies, and for one in this process's memory always the same, since it is brought there once for all sizes. None that has failed.
    fn pick(&self, picture: &Frame) -> Option<usize> {
        let places = 0..self.devices.len();
        let mut working: Vec<usize> =
            self.with(|state| places.filter(|at| !state.done[*at].failed).collect());
        match picture.place() {
            Place::Device => working
                .into_iter()
                .find(|at| self.devices[*at].holds(picture)),
            Place::Host if working.is_empty() => None,
            Place::Host => {
                // Pictures lie some hundred bytes apart.
                let spread = (picture.identity() >> 8) % working.len();
                Some(working.swap_remove(spread))
            }
        }
    }

    /// Notes pictures that were made at a place, and bytes that were brought there and back.
    fn note(&self, at: usize, (pictures, uploaded, downloaded): (u64, u64, u64)) {
        self.with(|state| {
            // A default one has no places.
            if let Some(place) = state.done.get_mut(at) {
                place.pictures += pictures;
                place.bytes_uploaded += uploaded;
                place.bytes_downloaded += downloaded;
            }
        });
    }

    /// A device could not scale a picture. It is not asked again.
    fn failed(&self, at: usize, error: &Error) {
        let first = self.with(|state| {
            let first = !std::mem::replace(&mut state.done[at].failed, true);
            if let Some(line) = state.told.as_ref().filter(|_| first) {
                line.send(Warning::ScaleDevice {
                    device: self.devices[at].name().clone(),
                    error: in_words(error),
                });
            }
            first
        });
        // One that is only full works for others.
        if first && !error.is_capacity() {
            self.devices[at].give_up();
        }
    }

    /// A picture in this process's memory.
    ///
    /// # Errors
    /// [`EncodeError::PicturesLost`] if it lies on a device that does not give it any more.
    pub(crate) fn bring(&self, picture: &Frame) -> Result<Frame, EncodeError> {
        let at = (0..self.devices.len()).find(|at| self.devices[*at].holds(picture));
        let here = match at {
            Some(at) => self.devices[at]
                .bring(picture)
                .inspect(|here| self.note(at, (0, 0, here.bytes() as u64)))
                .inspect_err(|error| self.failed(at, error)),
            None => picture.download(),
        };
        here.map_err(|error| EncodeError::PicturesLost(Box::new(error)))
    }
}

impl fmt::Debug for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.done()).finish()
    }
}

/// Brings pictures to the size of one rendition. Owned by one thread; it blocks while a device works.
#[derive(Debug)]
pub struct Sizer<'a> {
    scaling: &'a Scaling,
    to: scale::Config,
    cpu: Scaler,
}

impl Sizer<'_> {
    /// The picture in the rendition's size and depth, in this process's memory.
    ///
    /// # Errors
    /// [`EncodeError::PicturesLost`] if it lies on a device that does not give it any more.
    pub fn apply(&mut self, picture: &Frame) -> Result<Frame, EncodeError> {
        let has_size = (picture.width(), picture.height()) == (self.to.width, self.to.height);
        if has_size && picture.host_format() == self.to.depth.format() {
            return self.scaling.bring(picture);
        }
        let mut picture = picture.clone();
        let mut full = 0;
        loop {
            let Some(at) = self.scaling.pick(&picture) else {
                if picture.place() == Place::Host {
                    break;
                }
                picture = self.scaling.bring(&picture)?;
                continue;
            };
            let device = &self.scaling.devices[at];
            match device.scale(&picture, self.to) {
                Ok(Scaled { frame, uploaded }) => {
                    let downloaded = frame.bytes() as u64;
                    self.scaling.note(at, (1, uploaded, downloaded));
                    return Ok(frame);
                }
                Err(error) if error.is_capacity() && full < FULL => {
                    full += 1;
                    device.ease();
                }
                Err(error) => self.scaling.failed(at, &error),
            }
        }
        let made = self.cpu.apply(&picture)?;
        self.scaling.note(self.scaling.devices.len(), (1, 0, 0));
        Ok(made)
    }
}
