//! What the kernel tells of GPUs in `/sys`: their PCI devices, render nodes and drivers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rungs_media::hardware::DeviceKind;

use super::{Driver, Gpu, Way};
use crate::device::{DeviceName, Vendor};

/// A GPU as the kernel knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The PCI address; empty for one that is no PCI device.
    pub(super) pci: String,
    pub(super) vendor: u16,
    pub(super) device: u16,
    /// Such as `/dev/dri/renderD128`.
    pub(super) node: Option<String>,
    pub(super) driver: Driver,
    pub(super) memory: Option<u64>,
    pub(super) uuid: Option<String>,
    pub(super) model: Option<String>,
}

/// The number of a vendor among the makers of PCI devices.
const VENDORS: [(Vendor, u16); 3] = [
    (Vendor::Nvidia, 0x10de),
    (Vendor::Intel, 0x8086),
    (Vendor::Amd, 0x1002),
];

impl Seen {
    pub(super) fn is_of(&self, vendor: Vendor) -> bool {
        VENDORS.contains(&(vendor, self.vendor))
    }

    /// What to call it: its name in the list of PCI devices, or its numbers.
    pub(super) fn called(&self) -> String {
        let numbers = || format!("{:04x}:{:04x}", self.vendor, self.device);
        self.model.clone().unwrap_or_else(numbers)
    }
}

/// Looks at all GPUs of the machine whose files lie below `root`, in the order of their PCI addresses. Those of other vendors and of virtual machines are
/// left out: FFmpeg has no encoders for them.
pub(super) fn look(root: &Path) -> Vec<Seen> {
    let mut found = BTreeMap::new();
    // Without a driver there is no render node, but still a PCI device.
    for folder in children(&root.join("sys/bus/pci/devices")) {
        let class = number(&folder.join("class"));
        if class.is_some_and(|class| class >> 16 == 0x03) {
            let seen = seen(root, &folder);
            found.insert(seen.pci.clone(), seen);
        }
    }
    for folder in children(&root.join("sys/class/drm")) {
        let name = file_name(&folder);
        if !name.starts_with("renderD") {
            continue;
        }
        let mut seen = seen(root, &folder.join("device"));
        seen.node = Some(format!("/dev/dri/{name}"));
        let known = found.entry(seen.pci.clone()).or_default();
        *known = seen;
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.retain(|seen| VENDORS.iter().any(|(_, number)| *number == seen.vendor));
    let list = ["usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"];
    let list = list
        .iter()
        .find_map(|path| fs::read_to_string(root.join(path)).ok());
    for seen in &mut found {
        seen.model = list.as_deref().and_then(|list| model(list, seen));
    }
    found
}

/// The GPUs of a vendor that are driven through render nodes.
pub(super) fn gpus(seen: &[Seen], vendor: Vendor) -> Vec<Gpu> {
    let of_vendor = seen.iter().filter(|seen| seen.is_of(vendor));
    of_vendor
        .enumerate()
        .map(|(number, seen)| {
            let word = if vendor == Vendor::Intel {
                "intel"
            } else {
                "amd"
            };
            let kinds: &[DeviceKind] = if vendor == Vendor::Intel {
                &[DeviceKind::Qsv, DeviceKind::Vaapi]
            } else {
                &[DeviceKind::Vaapi]
            };
            let way = |node: &String| {
                let way = |kind: &DeviceKind| Way {
                    kind: *kind,
                    address: node.clone(),
                };
                kinds.iter().map(way).collect()
            };
            Gpu {
                name: DeviceName::new(format!("{word}:{number}")),
                vendor,
                pci: (!seen.pci.is_empty()).then(|| seen.pci.clone()),
                uuid: seen.uuid.clone(),
                model: seen.called(),
                memory: seen.memory,
                driver: seen.driver.clone(),
                ways: seen.node.as_ref().map_or_else(Vec::new, way),
                missing: seen.node.is_none().then(|| {
                    "the kernel has no driver for it, or gives this process no render node"
                        .to_owned()
                }),
            }
        })
        .collect()
}

/// Reads what a device's folder tells.
fn seen(root: &Path, folder: &Path) -> Seen {
    let uevent = fs::read_to_string(folder.join("uevent")).unwrap_or_default();
    let value = |key: &str| {
        let mut lines = uevent.lines();
        let found = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    let link = fs::read_link(folder.join("driver")).unwrap_or_default();
    let name = if link.as_os_str().is_empty() {
        value("DRIVER")
    } else {
        file_name(&link)
    };
    let half = |name: &str| {
        let number = number(&folder.join(name));
        number.and_then(|number| u16::try_from(number).ok())
    };
    Seen {
        pci: value("PCI_SLOT_NAME").to_lowercase(),
        vendor: half("vendor").unwrap_or_default(),
        device: half("device").unwrap_or_default(),
        node: None,
        driver: Driver {
            version: (!name.is_empty())
                .then(|| driver_version(root, &name))
                .flatten(),
            name,
        },
        memory: ["mem_info_vram_total", "lmem_total_bytes"]
            .iter()
            .find_map(|file| number(&folder.join(file)))
            .filter(|bytes| *bytes > 0),
        uuid: text(&folder.join("unique_id")),
        model: None,
    }
}

/// The version that a module states, or the kernel's that it belongs to.
fn driver_version(root: &Path, name: &str) -> Option<String> {
    text(&root.join("sys/module").join(name).join("version"))
        .or_else(|| text(&root.join("proc/sys/kernel/osrelease")))
}

/// What the list of PCI devices calls a device (`pci.ids`: a line for each vendor, below it one for each device after a tab).
fn model(list: &str, seen: &Seen) -> Option<String> {
    let vendor = format!("{:04x}  ", seen.vendor);
    let device = format!("\t{:04x}  ", seen.device);
    let mut lines = list.lines().skip_while(|line| !line.starts_with(&vendor));
    lines.next()?;
    let below = lines.take_while(|line| line.starts_with('\t') || line.starts_with('#'));
    let mut named = below.filter_map(|line| line.strip_prefix(device.as_str()));
    named.next().map(|name| name.trim().to_owned())
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn text(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A number as the kernel writes it, decimal or after `0x`.
fn number(file: &Path) -> Option<u64> {
    let text = text(file)?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
