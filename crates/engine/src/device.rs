//! What encodes: devices, their sessions, and the lease, which is the right to one of them.

use std::fmt;

use rungs_media::encode::{Codec, bare_name};
use rungs_media::frame::BitDepth;
use serde::{Deserialize, Serialize};

use crate::gpu::trial::Table;
use crate::gpu::{Driver, Way};
use crate::host::Host;
use crate::ids::DeviceId;
use crate::ladder::Size;
use crate::schedule::DeviceFacts;

/// Names a device for people and in reports: `cpu`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceName(String);

impl DeviceName {
    /// The processor cores of this machine.
    #[must_use]
    pub fn cpu() -> Self {
        Self("cpu".to_owned())
    }

    /// Makes the id of another device.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who made a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    /// The processor cores, whoever made them.
    Cpu,
    /// A GPU by NVIDIA.
    Nvidia,
    /// A GPU by Intel.
    Intel,
    /// A GPU by AMD.
    Amd,
}

impl Vendor {
    /// What it is called on the command line and in the names of its devices.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Nvidia => "nvidia",
            Self::Intel => "intel",
            Self::Amd => "amd",
        }
    }

    /// The vendor of GPUs that is called so.
    pub(crate) fn of_gpus(word: &str) -> Option<Self> {
        let all = [Self::Nvidia, Self::Intel, Self::Amd];
        all.into_iter().find(|vendor| vendor.word() == word)
    }
}

/// Sessions of a GPU that are enough, however many its driver allows: two keep an encode engine busy, one bringing pictures while the other
/// encodes, and cards have one to three engines. Not measured yet.
const SESSIONS_OF_A_GPU: u32 = 4;

/// An encoder that a GPU was seen to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What it makes.
    pub codec: Codec,
    /// From pictures of this depth.
    pub depth: BitDepth,
    /// FFmpeg's name of it, and behind an `@` the model of the GPU: the same encoder on another model makes other bytes, at another speed.
    pub encoder: String,
    /// How the GPU is reached.
    pub way: Way,
    /// What drives it, with its version: another one may make other bytes.
    pub driver: Driver,
    /// The smallest width and height that it takes, if it takes less than all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest: Option<Size>,
}

/// Something that encodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub id: DeviceName,
    /// Who made it.
    pub vendor: Vendor,
    /// The encoder that it encodes with, by FFmpeg's name; `None` for the one that the plan chooses.
    pub encoder: Option<String>,
    /// Its encoders for the job's other codecs, which the plan chooses. At most one for each.
    #[serde(default)]
    pub also: Vec<String>,
    /// What a GPU encodes with; empty for what encodes in software.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offers: Vec<Offer>,
    /// Whether it was asked for by name: a job of which a GPU can encode nothing is refused.
    #[serde(default)]
    pub asked: bool,
    /// Whether it encodes nothing of the job: it has no encoder for it, or none that works.
    #[serde(default)]
    pub idle: bool,
    /// How many encoders may be open on it at once.
    pub sessions: u32,
    /// How many threads its encoders may use between them.
    pub threads: u32,
}

impl Device {
    /// The processor cores of a machine.
    #[must_use]
    pub fn cpu(host: &Host) -> Self {
        Self {
            id: DeviceName::cpu(),
            vendor: Vendor::Cpu,
            encoder: None,
            also: Vec::new(),
            offers: Vec::new(),
            asked: false,
            idle: false,
            sessions: host.default_sessions(),
            threads: host.cores,
        }
    }

    /// A GPU with what its trials showed; `None` if it encodes nothing.
    #[must_use]
    pub fn gpu(table: &Table) -> Option<Self> {
        let gpu = &table.gpu;
        let offers = |codec| [BitDepth::Eight, BitDepth::Ten].map(|depth| (codec, depth));
        let offer = |(codec, depth)| {
            let (way, encoder) = table.encodes(codec, depth)?;
            let encoder = if gpu.model.is_empty() {
                encoder.to_owned()
            } else {
                format!("{encoder}@{}", gpu.model)
            };
            Some(Offer {
                codec,
                depth,
                smallest: table.smallest(bare_name(&encoder)),
                encoder,
                way: way.clone(),
                driver: gpu.driver.clone(),
            })
        };
        let offers: Vec<Offer> = Codec::ALL
            .into_iter()
            .flat_map(offers)
            .filter_map(offer)
            .collect();
        let seen = offers
            .iter()
            .filter_map(|offer| table.sessions(bare_name(&offer.encoder)));
        // The driver may be asked for the fewest in any codec.
        let sessions = seen.min().unwrap_or(1).clamp(1, SESSIONS_OF_A_GPU);
        (!offers.is_empty()).then(|| Self {
            id: gpu.name.clone(),
            vendor: gpu.vendor,
            encoder: None,
            also: Vec::new(),
            offers,
            asked: false,
            idle: false,
            sessions,
            // Its encoders have silicon of their own.
            threads: sessions,
        })
    }

    /// The device's encoder of that name; `None` for one in software.
    pub(crate) fn offer(&self, encoder: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.encoder == encoder)
    }

    /// Does without an encoder that does not work.
    pub(crate) fn lose(&mut self, encoder: &str) {
        let left: Vec<String> = self
            .encoders()
            .filter(|own| *own != encoder)
            .map(str::to_owned)
            .collect();
        let mut left = left.into_iter();
        self.encoder = left.next();
        self.also = left.collect();
        self.idle = self.encoder.is_none();
    }

    /// Whether its encoder is whatever a backend has: nothing was chosen for it.
    pub(crate) fn takes_any(&self) -> bool {
        self.encoder.is_none() && self.offers.is_empty() && !self.idle
    }

    /// All its encoders.
    pub(crate) fn encoders(&self) -> impl Iterator<Item = &str> {
        let names = self.encoder.iter().chain(&self.also);
        names.map(String::as_str)
    }

    /// What the schedule has to know of it.
    pub(crate) fn facts(&self) -> DeviceFacts {
        DeviceFacts {
            sessions: self.sessions,
            threads: self.threads,
            copy_seconds_per_byte: 0.0,
        }
    }
}

/// The right to one session of one device.
///
/// Only a schedule makes leases. A lease is moved into the assignment and comes home with the outcome, so a session can
/// neither be used twice nor be forgotten.
#[derive(Debug, PartialEq, Eq)]
pub struct Lease {
    device: DeviceId,
    session: u32,
}

impl Lease {
    /// Makes the right to a session. For schedules only: of the engine, or those that a simulator holds against it. Whoever makes
    /// a second one for a session breaks what the type is for.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(device: DeviceId, session: u32) -> Self {
        Self { device, session }
    }

    /// The device that the lease is for.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// Which of the device's sessions it is, counted from 0.
    #[must_use]
    pub const fn session(&self) -> u32 {
        self.session
    }
}
