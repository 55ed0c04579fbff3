//! What encodes: devices, their sessions, and the lease, which is the right to one of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::ids::DeviceId;
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
            sessions: host.default_sessions(),
            threads: host.cores,
        }
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
