//! Where pictures are decoded: on the CPU, or on devices. Their pictures come back at once, unless the job scales on such devices: then they stay, as long as there
//! is room.
//!
//! ```text
//! reader ─► Places::open ─► Seated (a decoder, and its seat at a place) ─► Frame in this process's memory, or kept on the device
//!                 ▲                     │ fails
//!                 └──── the CPU ◄───────┘ (the reader goes on from a keyframe, see `read::recover`)
//! ```
//!
//! Only devices are used that decode the stream as the CPU does, to the bit: a reader may then go from one place to another anywhere, and the bytes
//! of the package do not depend on where pictures were decoded.

mod gpu;

use std::fmt;
use std::sync::Arc;

use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::demux::Stream;
use rungs_media::frame::Frame;
use rungs_media::hardware::Place;
use rungs_media::{Error, Packet};
use serde::Serialize;

use crate::device::DeviceName;
use crate::error::{Refusal, in_words};
use crate::message::Line;
use crate::sync::{Mutex, PoisonError};
use crate::warning::Warning;

/// Readers that keep a device busy. A reader keeps one decode engine busy, and data centre cards have several: on an H100 two readers decoded twice as
/// many pictures as one, and four three times. More have rarely enough encoders behind them, and each holds pictures.
const READERS_OF_A_DEVICE: u32 = 3;

/// A decoder whose pictures lie in the memory of this process, or are kept on its device. Owned by one thread; the calls block while it works.
pub trait Decoding: Send {
    /// As [`VideoDecoder::send`].
    fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error>;

    /// As [`VideoDecoder::receive`].
    fn receive(&mut self) -> Result<Received, Error>;

    /// As [`VideoDecoder::has_complained`].
    fn has_complained(&self) -> bool {
        false
    }

    /// Brings a picture that was left on the device.
    fn bring(&self, frame: &Frame) -> Result<Frame, Error> {
        frame.download()
    }
}

impl Decoding for VideoDecoder {
    fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        Self::send(self, packet)
    }

    fn receive(&mut self) -> Result<Received, Error> {
        Self::receive(self)
    }

    fn has_complained(&self) -> bool {
        Self::has_complained(self)
    }
}

/// A device that decodes: the seam to hardware.
pub trait DecodeDevice: Send + Sync {
    /// Its name for people and reports.
    fn name(&self) -> &DeviceName;

    /// Whether it decodes the track, and gives the CPU's pictures to the bit; otherwise why not, in words.
    fn takes(&self, track: &Stream) -> Result<(), String>;

    /// Opens a decoder for a track that it takes. Blocks, for a third of a second where the device has not been used before.
    fn open(&self, track: &Stream, options: &DecodeOptions) -> Result<Box<dyn Decoding>, Error>;

    /// Whether pictures of the track could stay there until they are scaled.
    fn keeps(&self, _track: &Stream) -> bool {
        false
    }

    /// The same for a job whose pictures are scaled on devices of that model: they may stay there.
    fn open_keeping(
        &self,
        track: &Stream,
        options: &DecodeOptions,
        _model: &str,
    ) -> Result<Box<dyn Decoding>, Error> {
        self.open(track, options)
    }
}

/// The devices on which an engine may decode.
#[derive(Clone, Default)]
pub struct Decoders {
    devices: Vec<Arc<dyn DecodeDevice>>,
    asked: bool,
}

impl Decoders {
    /// Those that take a source's track decode it; where none does, the CPU.
    #[must_use]
    pub fn any_of(devices: Vec<Arc<dyn DecodeDevice>>) -> Self {
        Self {
            devices,
            asked: false,
        }
    }

    /// This one was asked for by name: a source that it does not take is refused.
    #[must_use]
    pub fn only(device: Arc<dyn DecodeDevice>) -> Self {
        Self {
            devices: vec![device],
            asked: true,
        }
    }

    /// Refuses a track that the device which was asked for does not take.
    pub(crate) fn check(&self, track: &Stream) -> Result<(), Refusal> {
        let Some(device) = self.devices.first().filter(|_| self.asked) else {
            return Ok(());
        };
        device.takes(track).map_err(|reason| Refusal::DecodeDevice {
            device: device.name().clone(),
            codec: track.codec.clone(),
            reason,
        })
    }

    /// The places for the readers of one job. Pictures may stay on devices of the model on which they are scaled.
    pub(crate) fn places(&self, scaled_on: Option<&str>) -> Arc<Places> {
        let places = Places::new(self.devices.clone());
        Arc::new(places.keeping(scaled_on))
    }

    /// Names of those that decode the track and could keep its pictures.
    pub(crate) fn that_keep(&self, track: &Stream) -> Vec<&DeviceName> {
        let devices = self.devices.iter();
        let keeps = devices.filter(|device| device.takes(track).is_ok() && device.keeps(track));
        keeps.map(|device| device.name()).collect()
    }
}

impl fmt::Debug for Decoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.devices.iter().map(|device| device.name());
        f.debug_list().entries(names).finish()
    }
}

/// What was decoded at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecodedOn {
    /// The place: `cpu`, or a device.
    pub device: DeviceName,
    /// Readers that were opened there, also those that went on there after another place had failed.
    pub readers: u32,
    /// Pictures decoded there. Those that a reader decodes again after a device has failed, and those before a reader's first, count too.
    pub pictures: u64,
    /// Of these, the pictures that stayed on the device.
    pub kept: u64,
    /// Bytes of the other pictures, which were brought from the device.
    pub bytes_downloaded: u64,
    /// Readers that the device could not serve, or not to the end.
    pub failed: u32,
}

/// The places at which one job decodes, with what was decoded there. Shared by all of its readers.
pub struct Places {
    devices: Vec<Arc<dyn DecodeDevice>>,
    /// The model on whose devices pictures may stay.
    keeps: Option<String>,
    state: Mutex<State>,
}

struct State {
    /// Of the devices in their order, and of the CPU after them.
    tallies: Vec<Tally>,
    /// Where a warning goes.
    told: Option<Line<Warning>>,
}

struct Tally {
    done: DecodedOn,
    /// Readers that are open now.
    open: u32,
    /// Whether it has failed: it gets no more readers.
    lost: bool,
}

impl Tally {
    fn new(device: DeviceName) -> Self {
        Self {
            done: DecodedOn {
                device,
                readers: 0,
                pictures: 0,
                kept: 0,
                bytes_downloaded: 0,
                failed: 0,
            },
            open: 0,
            lost: false,
        }
    }
}

impl Default for Places {
    /// The CPU alone.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Places {
    /// Those devices, and the CPU where none of them can.
    #[must_use]
    pub fn new(devices: Vec<Arc<dyn DecodeDevice>>) -> Self {
        let names = devices.iter().map(|device| device.name().clone());
        let names = names.chain([DeviceName::cpu()]);
        let state = State {
            tallies: names.map(Tally::new).collect(),
            told: None,
        };
        Self {
            devices,
            keeps: None,
            state: Mutex::new(state),
        }
    }

    /// The same, leaving pictures on devices of that model.
    #[must_use]
    pub fn keeping(mut self, model: Option<&str>) -> Self {
        self.keeps = model.map(str::to_owned);
        self
    }

    /// Sends warnings there from now on.
    pub(crate) fn tell(&self, line: Line<Warning>) {
        self.with(|state| state.told = Some(line));
    }

    /// Readers of the track that keep its devices busy; `None` if it is decoded on the CPU.
    pub(crate) fn readers(&self, track: &Stream) -> Option<u32> {
        let devices = self.devices.iter();
        let devices = devices.filter(|device| device.takes(track).is_ok());
        let devices = u32::try_from(devices.count()).unwrap_or(u32::MAX);
        (devices > 0).then(|| devices.saturating_mul(READERS_OF_A_DEVICE))
    }

    /// What was decoded where, so far; places that no reader had are left out.
    #[must_use]
    pub fn decoded(&self) -> Vec<DecodedOn> {
        let used = |tally: &&Tally| tally.done.readers > 0 || tally.done.failed > 0;
        let of = |state: &mut State| {
            let used = state.tallies.iter().filter(used);
            used.map(|tally| tally.done.clone()).collect()
        };
        self.with(of)
    }

    /// Opens a decoder for the track at the place with the fewest readers of those that take it. A device that cannot open one is passed over.
    pub(crate) fn open(
        self: &Arc<Self>,
        track: &Stream,
        options: &DecodeOptions,
    ) -> Result<Seated, Error> {
        let takes = |device: &Arc<dyn DecodeDevice>| device.takes(track).is_ok();
        let mut left: Vec<usize> = (0..self.devices.len())
            .filter(|at| takes(&self.devices[*at]))
            .collect();
        while let Some(seat) = self.sit(&left) {
            let device = &self.devices[seat.at];
            let opened = match &self.keeps {
                Some(model) => device.open_keeping(track, options, model),
                None => device.open(track, options),
            };
            match opened {
                Ok(decoder) => return Ok(Seated { decoder, seat }),
                Err(error) => {
                    left.retain(|at| *at != seat.at);
                    seat.failed(&error);
                }
            }
        }
        self.open_on_cpu(track, options)
    }

    /// Opens a decoder on the CPU.
    pub(crate) fn open_on_cpu(
        self: &Arc<Self>,
        track: &Stream,
        options: &DecodeOptions,
    ) -> Result<Seated, Error> {
        let decoder = Box::new(VideoDecoder::open(track, options)?);
        let at = self.devices.len();
        self.with(|state| state.tallies[at].sit());
        let seat = Seat {
            places: Arc::clone(self),
            at,
        };
        Ok(Seated { decoder, seat })
    }

    /// A seat at the one of these devices that has the fewest readers.
    fn sit(self: &Arc<Self>, among: &[usize]) -> Option<Seat> {
        let at = self.with(|state| {
            let working = among.iter().filter(|at| !state.tallies[**at].lost);
            let at = working.min_by_key(|at| state.tallies[**at].open).copied()?;
            state.tallies[at].sit();
            Some(at)
        })?;
        Some(Seat {
            places: Arc::clone(self),
            at,
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // No step leaves it half-done.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tally {
    fn sit(&mut self) {
        self.open += 1;
        self.done.readers += 1;
    }
}

/// A reader's place; it goes back on drop.
struct Seat {
    places: Arc<Places>,
    at: usize,
}

impl Seat {
    fn tally<T>(&self, act: impl FnOnce(&mut Tally) -> T) -> T {
        self.places.with(|state| act(&mut state.tallies[self.at]))
    }

    fn is_on_device(&self) -> bool {
        self.at < self.places.devices.len()
    }

    /// The device could not serve the reader. Only the first time is worth a warning: readers of one job fail alike.
    fn failed(&self, error: &Error) {
        // Damage is no fault of the device's, and a device that is full works.
        let lost = !error.is_decode() && !error.is_capacity();
        self.places.with(|state| {
            let tally = &mut state.tallies[self.at];
            tally.lost |= lost;
            tally.done.failed += 1;
            if tally.done.failed == 1
                && let Some(line) = &state.told
            {
                line.send(Warning::DecodeDevice {
                    device: tally.done.device.clone(),
                    error: in_words(error),
                });
            }
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.tally(|tally| tally.open -= 1);
    }
}

/// A reader's decoder, at its place.
pub(crate) struct Seated {
    decoder: Box<dyn Decoding>,
    seat: Seat,
}

impl Seated {
    /// Whether it is on a device, and could go on in software if that fails.
    pub(crate) fn is_on_device(&self) -> bool {
        self.seat.is_on_device()
    }

    pub(crate) fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        self.decoder.send(packet)
    }

    pub(crate) fn receive(&mut self) -> Result<Received, Error> {
        let received = self.decoder.receive()?;
        if let Received::Frame(frame) = &received {
            let (kept, brought) = match frame.place() {
                Place::Device => (1, 0),
                Place::Host if self.is_on_device() => (0, frame.bytes() as u64),
                Place::Host => (0, 0),
            };
            self.seat.tally(|tally| {
                tally.done.pictures += 1;
                tally.done.kept += kept;
                tally.done.bytes_downloaded += brought;
            });
        }
        Ok(received)
    }

    /// Whether a strict decoder has logged an error of which the reader does not know yet.
    pub(crate) fn has_complained(&self) -> bool {
        self.decoder.has_complained()
    }

    /// Brings a picture here that was left on the device.
    pub(crate) fn bring(&self, frame: &Frame) -> Result<Frame, Error> {
        let here = self.decoder.bring(frame)?;
        self.seat.tally(|tally| {
            tally.done.kept -= 1;
            tally.done.bytes_downloaded += here.bytes() as u64;
        });
        Ok(here)
    }

    /// Notes that the device has failed the reader.
    pub(crate) fn failed(&self, error: &Error) {
        self.seat.failed(error);
    }
}
