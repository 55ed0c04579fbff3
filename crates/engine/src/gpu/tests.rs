//! Detection on recorded machines.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A machine's files, as far as detection reads them.
struct Machine {
    root: TempDir,
}

/// One GPU of a machine: PCI address, vendor and device, driver; and the number of its render node.
struct Spot<'a> {
    pci: &'a str,
    id: (&'a str, &'a str),
    driver: &'a str,
    node: Option<u32>,
}

impl Machine {
    fn new() -> Self {
        let root = TempDir::new().expect("a folder");
        let machine = Self { root };
        machine.file("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n");
        machine
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// Puts a GPU in, under the PCI devices and under its render node, as the kernel shows it.
    fn with(self, spot: &Spot<'_>, more: &[(&str, &str)]) -> Self {
        let mut folders = vec![format!("sys/bus/pci/devices/{}", spot.pci)];
        folders.extend(
            spot.node
                .map(|node| format!("sys/class/drm/renderD{node}/device")),
        );
        for folder in folders {
            let file = |name: &str, text: &str| self.file(&format!("{folder}/{name}"), text);
            file("class", "0x030000\n");
            file("vendor", &format!("0x{}\n", spot.id.0));
            file("device", &format!("0x{}\n", spot.id.1));
            let driver = if spot.driver.is_empty() {
                String::new()
            } else {
                let link = self.root.path().join(&folder).join("driver");
                symlink(format!("../../../bus/pci/drivers/{}", spot.driver), link).expect("linked");
                format!("DRIVER={}\n", spot.driver)
            };
            let address = format!("PCI_CLASS=30000\nPCI_SLOT_NAME={}\n", spot.pci);
            file("uevent", &format!("{driver}{address}"));
            for (name, text) in more {
                file(name, text);
            }
        }
        self
    }

    fn detect(&self) -> Vec<Gpu> {
        let none = || Err(NvmlError::LibraryNotFound);
        detect_in(self.root.path(), &none, None)
    }
}

/// NVIDIA's library on a recorded machine.
struct Recorded(Vec<Option<Card>>);

impl System for Recorded {
    fn driver_version(&self) -> Option<String> {
        Some("550.127.05".to_owned())
    }

    fn cards(&self) -> Vec<Result<Card, NvmlError>> {
        let cards = self.0.iter().cloned();
        cards.map(|card| card.ok_or(NvmlError::GpuLost)).collect()
    }
}

fn h200(number: usize) -> Card {
    Card {
        model: "NVIDIA H200".to_owned(),
        pci: format!("00000000:{:02X}:00.0", 0x1b + 0x10 * number),
        uuid: format!("GPU-{number}d6f"),
        memory: Some(150_754_820_096),
        divided: false,
    }
}

fn names(gpus: &[Gpu]) -> Vec<&str> {
    gpus.iter().map(|gpu| gpu.name.as_str()).collect()
}

fn kinds(gpu: &Gpu) -> Vec<DeviceKind> {
    gpu.ways.iter().map(|way| way.kind).collect()
}

const IRIS: Spot<'static> = Spot {
    pci: "0000:00:02.0",
    id: ("8086", "9a49"),
    driver: "i915",
    node: Some(128),
};

#[test]
fn a_machine_without_a_gpu_has_none_and_nothing_fails() {
    assert_eq!(Machine::new().detect(), []);
    let empty = TempDir::new().expect("a folder");
    let none = || Err(NvmlError::LibraryNotFound);
    assert_eq!(detect_in(&empty.path().join("nowhere"), &none, None), []);
}

#[test]
fn a_laptop_with_an_integrated_gpu() {
    let machine = Machine::new().with(&IRIS, &[]);
    machine.file(
        "usr/share/misc/pci.ids",
        "1002  AMD\n\t9a49  Not this\n8086  Intel Corporation\n\t1234  Other\n\t9a49  TigerLake-LP GT2 [Iris Xe Graphics]\n\
         \t\t1028 0a5c  Subsystem\nffff  Last\n",
    );
    let gpus = machine.detect();
    assert_eq!(names(&gpus), ["intel:0"]);
    let gpu = &gpus[0];
    assert_eq!(gpu.model, "TigerLake-LP GT2 [Iris Xe Graphics]");
    assert_eq!((gpu.memory, gpu.missing.as_deref()), (None, None));
    assert_eq!(
        (gpu.driver.name.as_str(), gpu.driver.version.as_deref()),
        ("i915", Some("6.1.0-28-amd64"))
    );
    assert_eq!(
        kinds(gpu),
        [DeviceKind::Qsv, DeviceKind::Vaapi, DeviceKind::Vulkan]
    );
    assert_eq!(gpu.ways[1].address, "/dev/dri/renderD128");
}

#[test]
fn an_arc_beside_an_integrated_gpu_is_numbered_by_address() {
    let arc = Spot {
        pci: "0000:03:00.0",
        id: ("8086", "56a0"),
        driver: "xe",
        node: Some(128),
    };
    let inner = Spot {
        node: Some(129),
        ..IRIS
    };
    let gpus = Machine::new()
        .with(&arc, &[("lmem_total_bytes", "17079205888\n")])
        .with(&inner, &[])
        .detect();
    assert_eq!(names(&gpus), ["intel:0", "intel:1"]);
    assert_eq!(gpus[0].pci.as_deref(), Some("0000:00:02.0"));
    assert_eq!(gpus[0].ways[0].address, "/dev/dri/renderD129");
    assert_eq!(
        (gpus[1].model.as_str(), gpus[1].memory),
        ("8086:56a0", Some(17_079_205_888))
    );
    // Vulkan's numbers are not known to be these.
    assert_eq!(kinds(&gpus[1]), [DeviceKind::Qsv, DeviceKind::Vaapi]);
}

#[test]
fn an_amd_processor_with_a_card_of_its_maker() {
    let card = Spot {
        pci: "0000:03:00.0",
        id: ("1002", "744c"),
        driver: "amdgpu",
        node: Some(128),
    };
    let inner = Spot {
        pci: "0000:0d:00.0",
        id: ("1002", "164e"),
        driver: "amdgpu",
        node: Some(129),
    };
    let machine = Machine::new()
        .with(
            &card,
            &[
                ("mem_info_vram_total", "25753026560\n"),
                ("unique_id", "c3a5f8d2e1b40917\n"),
            ],
        )
        .with(&inner, &[("mem_info_vram_total", "536870912\n")]);
    machine.file("sys/module/amdgpu/version", "6.8.5\n");
    let gpus = machine.detect();
    assert_eq!(names(&gpus), ["amd:0", "amd:1"]);
    assert_eq!(gpus[0].uuid.as_deref(), Some("c3a5f8d2e1b40917"));
    assert_eq!(gpus[0].memory, Some(25_753_026_560));
    assert_eq!(gpus[0].driver.version.as_deref(), Some("6.8.5"));
    assert_eq!(kinds(&gpus[0]), [DeviceKind::Vaapi]);
    assert_eq!(gpus[1].identity(), "0000:0d:00.0 1002:164e");
}

#[test]
fn an_nvidia_card_that_its_maker_does_not_drive_is_there_with_the_reason() {
    let spot = |driver| Spot {
        pci: "0000:01:00.0",
        id: ("10de", "2684"),
        driver,
        node: (!driver.is_empty()).then_some(128),
    };
    let missing = |driver| {
        let gpus = Machine::new().with(&spot(driver), &[]).detect();
        assert_eq!(names(&gpus), ["nvidia:0"]);
        assert_eq!(gpus[0].ways, []);
        gpus[0].missing.clone().expect("a reason")
    };
    assert!(missing("nouveau").contains("nouveau"));
    assert!(missing("").contains("not installed"));
    assert!(missing("nvidia").contains("does not answer"));
}

#[test]
fn a_server_with_four_nvidia_cards() {
    let open = || Ok(Box::new(Recorded((0..4).map(h200).map(Some).collect())) as Box<dyn System>);
    // The board has a small GPU of another maker for its console, and the cards have render nodes too.
    let console = Spot {
        pci: "0000:02:00.0",
        id: ("1a03", "2000"),
        driver: "ast",
        node: None,
    };
    let card = Spot {
        pci: "0000:1b:00.0",
        id: ("10de", "2335"),
        driver: "nvidia",
        node: Some(128),
    };
    let machine = Machine::new().with(&console, &[]).with(&card, &[]);
    let gpus = detect_in(machine.root.path(), &open, None);
    assert_eq!(
        names(&gpus),
        ["nvidia:0", "nvidia:1", "nvidia:2", "nvidia:3"]
    );
    assert_eq!(gpus[2].pci.as_deref(), Some("0000:3b:00.0"));
    assert_eq!(gpus[2].identity(), "GPU-2d6f");
    assert_eq!(gpus[2].driver.version.as_deref(), Some("550.127.05"));
    let addresses: Vec<_> = gpus
        .iter()
        .map(|gpu| gpu.ways[0].address.as_str())
        .collect();
    assert_eq!(addresses, ["0", "1", "2", "3"]);
    let shown = detect_in(machine.root.path(), &open, Some("3,1"));
    assert_eq!(shown[3].ways[0].address, "0");
    assert_eq!(shown[1].ways[0].address, "1");
    assert!(
        shown[0]
            .missing
            .as_deref()
            .is_some_and(|reason| reason.contains("CUDA_VISIBLE_DEVICES"))
    );
}

#[test]
fn a_card_that_fell_off_its_bus_costs_itself_alone() {
    let open = || {
        let cards = vec![Some(h200(0)), None, Some(h200(2))];
        Ok(Box::new(Recorded(cards)) as Box<dyn System>)
    };
    let gpus = detect_in(Machine::new().root.path(), &open, None);
    assert_eq!(names(&gpus), ["nvidia:0", "nvidia:1", "nvidia:2"]);
    assert!(gpus[1].ways.is_empty() && gpus[1].missing.is_some());
    assert_eq!(gpus[2].ways[0].address, "2");
}

#[test]
fn gpus_of_phones_boards_and_virtual_machines_are_left_out() {
    let machine = Machine::new();
    // An ARM board's is no PCI device, and has neither vendor nor device.
    machine.file(
        "sys/class/drm/renderD128/device/uevent",
        "DRIVER=panfrost\nOF_NAME=gpu\n",
    );
    let virtual_one = Spot {
        pci: "0000:00:01.0",
        id: ("1af4", "1050"),
        driver: "virtio-pci",
        node: Some(129),
    };
    assert_eq!(machine.with(&virtual_one, &[]).detect(), []);
}

#[test]
fn a_gpu_whose_node_is_kept_from_the_process_says_so() {
    let hidden = Spot { node: None, ..IRIS };
    let gpus = Machine::new().with(&hidden, &[]).detect();
    assert!(gpus[0].ways.is_empty());
    let missing = gpus[0].missing.as_deref().expect("a reason");
    assert!(missing.contains("render node"), "{missing}");
}
