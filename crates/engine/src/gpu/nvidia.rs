//! NVIDIA's GPUs, as its management library tells of them. The library is loaded at run time; without a driver there is none.

use nvml_wrapper::Nvml as Library;
pub use nvml_wrapper::error::NvmlError;
use rungs_media::hardware::DeviceKind;

use super::sysfs::Seen;
use super::{Driver, Gpu, Way};
use crate::device::{DeviceName, Vendor};

/// What the library is called where only programs run, and where programs are made.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// A card as the library tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// What NVIDIA calls it.
    pub model: String,
    /// Where it sits, in the library's way to write it: `00000000:3B:00.0`.
    pub pci: String,
    /// Such as `GPU-0f4c…`.
    pub uuid: String,
    /// In bytes.
    pub memory: Option<u64>,
    /// Whether it is cut into instances (MIG), of which CUDA then sees one.
    pub divided: bool,
}

/// What can be asked of a machine with NVIDIA's driver.
pub trait System {
    /// The driver's version, if it tells.
    fn driver_version(&self) -> Option<String>;
    /// The cards in the library's order, which is that of their PCI addresses. One that does not answer is an error of its own.
    fn cards(&self) -> Vec<Result<Card, NvmlError>>;
}

/// The library itself.
#[derive(Debug)]
pub struct Nvml(Library);

impl Nvml {
    /// Loads it and asks the driver to answer.
    ///
    /// # Errors
    /// That of the library's last name, if it is not there or there is no driver.
    pub fn open() -> Result<Box<dyn System>, NvmlError> {
        let mut last = NvmlError::LibraryNotFound;
        for name in LIBRARIES {
            match Library::builder().lib_path(name.as_ref()).init() {
                Ok(library) => return Ok(Box::new(Self(library))),
                // A library that is there knows better why there is no answer than one that is not.
                Err(NvmlError::LibloadingError(error)) => {
                    if matches!(last, NvmlError::LibraryNotFound) {
                        last = NvmlError::LibloadingError(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn card(&self, index: u32) -> Result<Card, NvmlError> {
        let device = self.0.device_by_index(index)?;
        Ok(Card {
            model: device.name()?,
            pci: device.pci_info()?.bus_id,
            uuid: device.uuid()?,
            memory: device.memory_info().ok().map(|memory| memory.total),
            divided: device.mig_mode().is_ok_and(|mode| mode.current != 0),
        })
    }
}

impl System for Nvml {
    fn driver_version(&self) -> Option<String> {
        self.0.sys_driver_version().ok()
    }

    fn cards(&self) -> Vec<Result<Card, NvmlError>> {
        let count = self.0.device_count().unwrap_or(0);
        (0..count).map(|index| self.card(index)).collect()
    }
}

/// NVIDIA's GPUs: those that the library knows, or those that the kernel sees, with the reason why nothing can be done with them.
pub(super) fn gpus(
    seen: &[Seen],
    open: &dyn Fn() -> Result<Box<dyn System>, NvmlError>,
    visible: Option<&str>,
) -> Vec<Gpu> {
    match open() {
        Ok(system) => known(system.as_ref(), visible),
        Err(error) => {
            let cards = seen.iter().filter(|seen| seen.is_of(Vendor::Nvidia));
            cards
                .enumerate()
                .map(|(number, seen)| unreachable_card(number, seen, &error))
                .collect()
        }
    }
}

fn known(system: &dyn System, visible: Option<&str>) -> Vec<Gpu> {
    let driver = Driver {
        name: "nvidia".to_owned(),
        version: system.driver_version(),
    };
    let cards = system.cards();
    let order = visible.map(|visible| order(visible, &cards));
    let number = |index: usize| match &order {
        None => Some(index),
        Some(order) => order.iter().position(|shown| *shown == index),
    };
    let cards = cards.iter().enumerate();
    cards
        .map(|(index, card)| {
            let name = DeviceName::new(format!("nvidia:{index}"));
            let (card, number, missing) = match card {
                Err(error) => (
                    Card::default(),
                    None,
                    Some(format!("the driver does not answer for it: {error}")),
                ),
                Ok(card) => {
                    let number = number(index);
                    let hidden = "CUDA_VISIBLE_DEVICES hides it";
                    let missing = number.is_none().then(|| hidden.to_owned());
                    (card.clone(), number, missing)
                }
            };
            Gpu {
                name,
                vendor: Vendor::Nvidia,
                pci: (!card.pci.is_empty()).then(|| address(&card.pci)),
                uuid: (!card.uuid.is_empty()).then_some(card.uuid),
                model: card.model,
                memory: card.memory,
                driver: driver.clone(),
                ways: number.map_or_else(Vec::new, cuda),
                missing,
            }
        })
        .collect()
}

fn cuda(number: usize) -> Vec<Way> {
    vec![Way {
        kind: DeviceKind::Cuda,
        address: number.to_string(),
    }]
}

/// A card that the kernel sees and the library does not.
fn unreachable_card(number: usize, seen: &Seen, error: &NvmlError) -> Gpu {
    let missing = match seen.driver.name.as_str() {
        "nvidia" => format!("NVIDIA's management library does not answer: {error}"),
        "" => "NVIDIA's driver is not installed".to_owned(),
        other => format!("it runs with {other}: decoding and encoding take NVIDIA's own driver"),
    };
    Gpu {
        name: DeviceName::new(format!("nvidia:{number}")),
        vendor: Vendor::Nvidia,
        pci: (!seen.pci.is_empty()).then(|| seen.pci.clone()),
        uuid: None,
        model: seen.called(),
        memory: None,
        driver: seen.driver.clone(),
        ways: Vec::new(),
        missing: Some(missing),
    }
}

/// A PCI address as the kernel writes it: the library has eight digits for the domain, and capital letters.
fn address(pci: &str) -> String {
    let lower = pci.to_lowercase();
    match lower.split_once(':') {
        Some((domain, rest)) if domain.len() > 4 => {
            let cut = domain.len() - 4;
            let (high, low) = domain.split_at(cut);
            // Domains beyond four digits are real on some machines.
            if high.bytes().all(|digit| digit == b'0') {
                format!("{low}:{rest}")
            } else {
                lower
            }
        }
        _ => lower,
    }
}

/// Which cards CUDA shows, in its order, by their place in the library's: the variable lists numbers or beginnings of UUIDs, and ends at the first
/// that is none.
fn order(visible: &str, cards: &[Result<Card, NvmlError>]) -> Vec<usize> {
    let place = |word: &str| {
        if let Ok(number) = word.parse::<usize>() {
            return (number < cards.len()).then_some(number);
        }
        let named = |card: &Result<Card, NvmlError>| {
            card.as_ref().is_ok_and(|card| card.uuid.starts_with(word))
        };
        (!word.is_empty()).then(|| cards.iter().position(named))?
    };
    visible.split(',').map(str::trim).map_while(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards() -> Vec<Result<Card, NvmlError>> {
        ["GPU-aa11", "GPU-ab22", "GPU-cc33"]
            .map(|uuid| {
                Ok(Card {
                    uuid: uuid.to_owned(),
                    ..Card::default()
                })
            })
            .into()
    }

    #[test]
    fn addresses_are_written_as_the_kernel_does() {
        assert_eq!(address("00000000:3B:00.0"), "0000:3b:00.0");
        assert_eq!(address("00010000:3B:00.0"), "00010000:3b:00.0");
        assert_eq!(address("0000:01:00.0"), "0000:01:00.0");
    }

    #[test]
    fn cuda_counts_what_it_is_told_to_show() {
        assert_eq!(order("2,0", &cards()), [2, 0]);
        assert_eq!(order("GPU-cc, 1", &cards()), [2, 1]);
        assert_eq!(order("0,-1,2", &cards()), [0]);
        assert_eq!(order("7", &cards()), [0; 0]);
        assert_eq!(order("", &cards()), [0; 0]);
    }
}
