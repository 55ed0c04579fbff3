//! The GPUs of a machine: who is there, and what each can do.
//!
//! ```text
//! NVML, sysfs ─► detect ─► Gpu (a name, an identity, ways to drive it) ─► trial ─► Table (yes or no for each codec, with the reason)
//! ```
//!
//! [`detect`] looks and decides nothing: it knows vendors, not abilities. [`trial`] finds out the abilities by trying, in processes of their own, and
//! keeps the result until a driver or FFmpeg changes.

mod nvidia;
mod station;
mod sysfs;
pub mod trial;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rungs_media::hardware::DeviceKind;
use serde::{Deserialize, Serialize};

use crate::device::{DeviceName, Vendor};

pub use nvidia::{Card, Nvml, NvmlError, System};
pub use station::Station;

/// A GPU as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its name in this program: vendor and number, such as `nvidia:0`. Numbers go by PCI address, so they stay while no card is added or taken out.
    pub name: DeviceName,
    /// Who made it.
    pub vendor: Vendor,
    /// Where it sits, such as `0000:3b:00.0`; `None` for one that is no PCI device.
    pub pci: Option<String>,
    /// The maker's own mark of this very card, where it has one.
    pub uuid: Option<String>,
    /// What its maker calls it, as far as that is known here.
    pub model: String,
    /// Its own memory in bytes; `None` for one that uses the machine's.
    pub memory: Option<u64>,
    /// What drives it.
    pub driver: Driver,
    /// How FFmpeg may reach it, best first. Whether it can is for the trial.
    pub ways: Vec<Way>,
    /// Why there is no way, in words; `None` if there is one.
    pub missing: Option<String>,
}

impl Gpu {
    /// What stays the same of this card whatever it is called: the maker's mark, or the place that it sits in with what it is.
    #[must_use]
    pub fn identity(&self) -> String {
        match (&self.uuid, &self.pci) {
            (Some(uuid), _) => uuid.clone(),
            (None, Some(pci)) => format!("{pci} {}", self.model),
            (None, None) => format!("{} {}", self.name, self.model),
        }
    }
}

/// A driver of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Such as `nvidia`, `i915` or `amdgpu`; empty if there is none.
    pub name: String,
    /// Its own version, or that of the kernel that it is part of.
    pub version: Option<String>,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name[..], self.version.as_deref()) {
            ("", _) => f.write_str("none"),
            (name, None) => f.write_str(name),
            (name, Some(version)) => write!(f, "{name} {version}"),
        }
    }
}

/// A GPU whose driver takes long to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The GPU.
    pub device: DeviceName,
    /// What it was asked for.
    pub what: String,
    /// How long it is waited for in all.
    pub most: Duration,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, what, most } = self;
        write!(
            f,
            "waiting for {device} to {what}, for {} s at most",
            most.as_secs()
        )
    }
}

/// A way for FFmpeg to reach a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// FFmpeg's kind of device.
    pub kind: DeviceKind,
    /// How the kind names it.
    pub address: String,
}

/// Finds the GPUs of this machine: NVIDIA's through its own library, if it can be loaded, all others through `/sys`. That there is no driver or
/// no GPU is no error.
#[must_use]
pub fn detect() -> Vec<Gpu> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    detect_in(Path::new("/"), &Nvml::open, visible.as_deref())
}

/// The same for a machine whose files lie below `root`, and whose NVIDIA library `open` loads. `visible` is what CUDA is told to show.
#[must_use]
pub fn detect_in(
    root: &Path,
    open: &dyn Fn() -> Result<Box<dyn System>, NvmlError>,
    visible: Option<&str>,
) -> Vec<Gpu> {
    let seen = sysfs::look(root);
    let mut gpus = nvidia::gpus(&seen, open, visible);
    for vendor in [Vendor::Intel, Vendor::Amd] {
        gpus.extend(sysfs::gpus(&seen, vendor));
    }
    // Vulkan counts the devices of the machine in an order of its own, so its numbers are clear only where there is one.
    if let [only] = gpus.as_mut_slice()
        && only.missing.is_none()
    {
        only.ways.push(Way {
            kind: DeviceKind::Vulkan,
            address: "0".to_owned(),
        });
    }
    gpus
}

#[cfg(test)]
mod tests;
