//! Which of the devices that are there a job's engine uses, and how: pure.

use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::device::{Device, DeviceName, Vendor};
use crate::gpu::trial::Table;
use crate::places::{DecodeDevice, Decoders, GpuDecoder};

/// A device that is asked for by name: `cpu`, `cpu=2` for two sessions of it, or `cpu/libaom-av1` for a device of its own that encodes
/// with another encoder than the best.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The device.
    pub name: DeviceName,
    /// The encoder by FFmpeg's name; `None` for the best that the device has.
    pub encoder: Option<String>,
    /// How many encoders to have open on it; `None` for what suits it.
    pub sessions: Option<u32>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, sessions) = match text.split_once('=') {
            None => (text, None),
            Some((name, sessions)) => {
                let number = sessions.parse().ok().filter(|n| (1..=1024).contains(n));
                let number = number.ok_or_else(|| {
                    format!("{sessions:?} is no number of sessions from 1 to 1024")
                })?;
                (name, Some(number))
            }
        };
        let (name, encoder) = match name.split_once('/') {
            None => (name, None),
            Some((name, encoder)) => (name, Some(encoder.to_owned())),
        };
        if name.is_empty() || encoder.as_deref() == Some("") {
            return Err("use the name of a device, as `rungs devices` shows it, such as cpu, cpu=2 or cpu/libaom-av1=1".to_owned());
        }
        Ok(Self {
            name: DeviceName::new(name),
            encoder,
            sessions,
        })
    }
}

/// Which devices are used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Only these; empty for all that are there.
    pub devices: Vec<Wanted>,
    /// Only those of this vendor, and the CPU.
    pub vendor: Option<Vendor>,
    /// Whether the CPU encodes too. It always scales and packages.
    pub cpu: bool,
    /// What decodes.
    pub decode: DecodePolicy,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            devices: Vec::new(),
            vendor: None,
            cpu: true,
            decode: DecodePolicy::Auto,
        }
    }
}

/// What decodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecodePolicy {
    /// The GPUs that can, to the bit; where none can, the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// This GPU, or the source is refused.
    Device(DeviceName),
}

impl FromStr for DecodePolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("use auto, cpu, or the name of a device, as `rungs devices` shows it".into()),
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            name => Ok(Self::Device(DeviceName::new(name))),
        }
    }
}

impl DecodePolicy {
    /// Picks from the GPUs of the machine. Whether one decodes a source is told when there is a source.
    pub(crate) fn choose(&self, gpus: &[Table]) -> Result<Decoders, PolicyError> {
        let decoder =
            |table: &Table| -> Arc<dyn DecodeDevice> { Arc::new(GpuDecoder::new(table.clone())) };
        match self {
            Self::Cpu => Ok(Decoders::default()),
            Self::Auto => Ok(Decoders::any_of(gpus.iter().map(decoder).collect())),
            Self::Device(name) => {
                let table = gpus.iter().find(|table| table.gpu.name == *name);
                let table = table.ok_or_else(|| {
                    let cpu = DeviceName::cpu();
                    let names = gpus.iter().map(|table| &table.gpu.name);
                    let names: Vec<&str> = names.chain([&cpu]).map(DeviceName::as_str).collect();
                    PolicyError::Absent {
                        name: name.clone(),
                        present: names.join(", "),
                    }
                })?;
                Ok(Decoders::only(decoder(table)))
            }
        }
    }
}

/// Why a policy leaves nothing to work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A device that is asked for is not there.
    #[error("there is no device {name} on this machine; there is: {present}")]
    Absent {
        /// What was asked for.
        name: DeviceName,
        /// What is there, for people.
        present: String,
    },
    /// The same device and encoder twice.
    #[error("the device {name} is named twice")]
    Twice {
        /// The device.
        name: DeviceName,
    },
    /// Nothing is left.
    #[error("no device is left to encode on; there is: {present}")]
    Nothing {
        /// What is there, for people.
        present: String,
    },
}

impl Policy {
    /// Picks from the devices that are `present`, in their order, or in the order in which they were named.
    pub fn choose(&self, present: &[Device]) -> Result<Vec<Device>, PolicyError> {
        let mut chosen = if self.devices.is_empty() {
            present.to_vec()
        } else {
            self.named(present)?
        };
        chosen.retain(|device| {
            let vendor = self.vendor.is_none_or(|wanted| wanted == device.vendor);
            if device.vendor == Vendor::Cpu {
                self.cpu
            } else {
                vendor
            }
        });
        if chosen.is_empty() {
            return Err(PolicyError::Nothing {
                present: names(present),
            });
        }
        Ok(chosen)
    }

    fn named(&self, present: &[Device]) -> Result<Vec<Device>, PolicyError> {
        let mut chosen: Vec<Device> = Vec::new();
        for wanted in &self.devices {
            let device = find(present, &wanted.name)?;
            // Devices made of the same silicon share what it bears.
            let sharing = self
                .devices
                .iter()
                .filter(|other| other.name == wanted.name);
            let sharing = u32::try_from(sharing.count()).unwrap_or(u32::MAX);
            let id = match &wanted.encoder {
                None => device.id.clone(),
                Some(encoder) => DeviceName::new(format!("{}/{encoder}", device.id)),
            };
            if chosen.iter().any(|other| other.id == id) {
                return Err(PolicyError::Twice { name: id });
            }
            chosen.push(Device {
                id,
                encoder: wanted.encoder.clone().or_else(|| device.encoder.clone()),
                also: Vec::new(),
                sessions: wanted
                    .sessions
                    .unwrap_or_else(|| (device.sessions / sharing).max(1)),
                ..device.clone()
            });
        }
        Ok(chosen)
    }
}

fn find<'a>(present: &'a [Device], name: &DeviceName) -> Result<&'a Device, PolicyError> {
    present
        .iter()
        .find(|device| device.id == *name)
        .ok_or_else(|| PolicyError::Absent {
            name: name.clone(),
            present: names(present),
        })
}

fn names(devices: &[Device]) -> String {
    let names: Vec<&str> = devices.iter().map(|device| device.id.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, vendor: Vendor) -> Device {
        Device {
            id: DeviceName::new(name),
            vendor,
            encoder: None,
            also: Vec::new(),
            sessions: 4,
            threads: 4,
        }
    }

    fn machine() -> Vec<Device> {
        vec![
            device("cpu", Vendor::Cpu),
            device("nvidia-0", Vendor::Nvidia),
            device("intel-0", Vendor::Intel),
        ]
    }

    fn chosen(policy: &Policy) -> Vec<(String, u32)> {
        let devices = policy.choose(&machine()).expect("something is left");
        let told = devices
            .iter()
            .map(|device| (device.id.to_string(), device.sessions));
        told.collect()
    }

    fn named(names: &[&str]) -> Policy {
        let devices = names.iter().map(|name| name.parse().expect("a device"));
        Policy {
            devices: devices.collect(),
            ..Policy::default()
        }
    }

    #[test]
    fn all_one_a_vendors_and_without_the_cpu() {
        let all = ["cpu", "nvidia-0", "intel-0"].map(|name| (name.to_owned(), 4));
        assert_eq!(chosen(&Policy::default()), all);
        assert_eq!(
            chosen(&named(&["nvidia-0=7"])),
            [("nvidia-0".to_owned(), 7)]
        );
        let intel = Policy {
            vendor: Some(Vendor::Intel),
            ..Policy::default()
        };
        assert_eq!(chosen(&intel), [all[0].clone(), all[2].clone()]);
        let gpus = Policy {
            cpu: false,
            ..Policy::default()
        };
        assert_eq!(chosen(&gpus), all[1..]);
    }

    #[test]
    fn one_device_may_be_two_with_unlike_encoders() {
        let both = chosen(&named(&["cpu", "cpu/libaom-av1"]));
        let expected = [("cpu".to_owned(), 2), ("cpu/libaom-av1".to_owned(), 2)];
        assert_eq!(both, expected);
    }

    #[test]
    fn what_leaves_nothing_is_refused() {
        let error = |policy: Policy| policy.choose(&machine()).expect_err("refused").to_string();
        assert!(error(named(&["amd-0"])).contains("there is: cpu, nvidia-0, intel-0"));
        assert!(error(named(&["cpu", "cpu"])).contains("twice"));
        let none = Policy {
            cpu: false,
            ..named(&["cpu"])
        };
        assert!(error(none).contains("no device is left"));
        for bad in ["", "cpu=0", "cpu=x", "cpu/", "/x"] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad:?}");
        }
    }
}
