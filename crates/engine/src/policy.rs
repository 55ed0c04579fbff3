//! Which of the devices that are there a job's engine uses, and how: pure.

use std::str::FromStr;
use std::sync::Arc;

use rungs_media::encode::Codec;
use serde::{Deserialize, Serialize};

use crate::device::{Device, DeviceName, Vendor};
use crate::gpu::Station;
use crate::gpu::trial::Table;
use crate::places::{DecodeDevice, Decoders};
use crate::scaling::{ScaleDevice, Scalers};

/// What is asked for to encode on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// All that can.
    Auto,
    /// All devices of a vendor.
    Vendor(Vendor),
    /// One device by name: `cpu`, or `cpu/libaom-av1` for a device of its own on the same cores that encodes with another encoder than the best.
    Device {
        /// The device.
        name: DeviceName,
        /// The encoder by FFmpeg's name; `None` for the best that the device has.
        encoder: Option<String>,
    },
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, encoder) = match text.split_once('/') {
            None => (text, None),
            Some((name, encoder)) => (name, Some(encoder.to_owned())),
        };
        if name.is_empty() || encoder.as_deref() == Some("") || text.contains('=') {
            return Err("use auto, a vendor (nvidia, intel, amd), or the name of a device, as `rungs devices` shows it, such as cpu, \
                        nvidia:0 or cpu/libaom-av1; how many encoders it has open is for --sessions"
                .to_owned());
        }
        Ok(match (text, Vendor::of_gpus(text)) {
            ("auto", _) => Self::Auto,
            (_, Some(vendor)) => Self::Vendor(vendor),
            _ => Self::Device {
                name: DeviceName::new(name),
                encoder,
            },
        })
    }
}

/// How many encoders a device has open at once: `cpu=2`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The device, with the encoder if it was asked for with one.
    pub name: DeviceName,
    /// The encoders.
    pub count: u32,
}

impl FromStr for Sessions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, count) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or("use the name of a device and a number, such as cpu=2")?;
        let number = count.parse().ok().filter(|n| (1..=1024).contains(n));
        Ok(Self {
            name: DeviceName::new(name),
            count: number
                .ok_or_else(|| format!("{count:?} is no number of sessions from 1 to 1024"))?,
        })
    }
}

/// Which devices are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What encodes; empty for all that can.
    pub devices: Vec<Wanted>,
    /// How many encoders those have open, where not as many as suits them.
    pub sessions: Vec<Sessions>,
    /// What decodes.
    pub decode: DecodePolicy,
    /// What scales.
    #[serde(default)]
    pub scale: ScalePolicy,
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
    pub(crate) fn choose(&self, gpus: &[Arc<Station>]) -> Result<Decoders, PolicyError> {
        let decoder = |gpu: &Arc<Station>| -> Arc<dyn DecodeDevice> { Arc::new(Arc::clone(gpu)) };
        match self {
            Self::Cpu => Ok(Decoders::default()),
            Self::Auto => Ok(Decoders::any_of(gpus.iter().map(decoder).collect())),
            Self::Device(name) => Ok(Decoders::only(decoder(named(name, gpus)?))),
        }
    }
}

/// What brings pictures to the renditions' sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScalePolicy {
    /// The GPUs that decode the source, if they can and nothing else has to be done to the pictures on the way; otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// GPUs of a vendor, or the job is refused.
    Vendor(Vendor),
    /// This GPU and others of its model, or the job is refused.
    Device(DeviceName),
}

impl FromStr for ScalePolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("use auto, cpu, a vendor (nvidia, intel, amd), or the name of a GPU, as `rungs devices` shows it".into()),
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            name => Ok(Vendor::of_gpus(name)
                .map_or_else(|| Self::Device(DeviceName::new(name)), Self::Vendor)),
        }
    }
}

impl ScalePolicy {
    /// Picks from the GPUs of the machine. Whether one scales a job's pictures is told when there is a job.
    pub(crate) fn choose(&self, gpus: &[Arc<Station>]) -> Result<Scalers, PolicyError> {
        let scaler = |gpu: &Arc<Station>| -> Arc<dyn ScaleDevice> { Arc::clone(gpu) as _ };
        match self {
            Self::Cpu => Ok(Scalers::default()),
            Self::Auto => Ok(Scalers::any_of(gpus.iter().map(scaler).collect())),
            Self::Vendor(vendor) => {
                let of_vendor = |gpu: &&Arc<Station>| gpu.gpu().vendor == *vendor;
                let found: Vec<_> = gpus.iter().filter(of_vendor).map(scaler).collect();
                if found.is_empty() {
                    return Err(absent(&DeviceName::new(vendor.word()), gpus));
                }
                Ok(Scalers::only(found))
            }
            Self::Device(name) => {
                let first = named(name, gpus)?;
                let alike = |gpu: &&Arc<Station>| gpu.model() == first.model();
                let alike = gpus.iter().filter(alike).map(scaler);
                Ok(Scalers::only(alike.collect()))
            }
        }
    }
}

fn named<'a>(name: &DeviceName, gpus: &'a [Arc<Station>]) -> Result<&'a Arc<Station>, PolicyError> {
    let found = gpus.iter().find(|gpu| gpu.gpu().name == *name);
    found.ok_or_else(|| absent(name, gpus))
}

fn absent(name: &DeviceName, gpus: &[Arc<Station>]) -> PolicyError {
    let cpu = DeviceName::cpu();
    let present = gpus.iter().map(|gpu| &gpu.gpu().name).chain([&cpu]);
    PolicyError::Absent {
        name: name.clone(),
        present: names(present),
    }
}

/// Why a policy cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A device that is asked for is not there, or none of the vendor's is.
    #[error("there is no device {name} on this machine; there is: {present}")]
    Absent {
        /// What was asked for.
        name: DeviceName,
        /// What is there, for people.
        present: String,
    },
    /// A device that is asked for does not encode.
    #[error("{name} cannot encode: {tried}")]
    CannotEncode {
        /// The device.
        name: DeviceName,
        /// What was tried, and what came of it.
        tried: String,
    },
    /// Sessions of a device that does not encode in this run.
    #[error("sessions are given for {name}, which does not encode here; what does is: {used}")]
    NotUsed {
        /// The device.
        name: DeviceName,
        /// What encodes, for people.
        used: String,
    },
    /// The same device and encoder twice.
    #[error("the device {name} is named twice")]
    Twice {
        /// The device.
        name: DeviceName,
    },
}

impl Policy {
    /// Whether it can be followed without knowing what the GPUs of the machine can do.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let on_cpu = |wanted: &Wanted| match wanted {
            Wanted::Auto | Wanted::Vendor(_) => false,
            Wanted::Device { name, .. } => *name == DeviceName::cpu(),
        };
        let encodes = !self.devices.is_empty() && self.devices.iter().all(on_cpu);
        // By default a GPU scales what it has decoded.
        let scales = matches!(self.scale, ScalePolicy::Auto | ScalePolicy::Cpu);
        self.decode == DecodePolicy::Cpu && scales && encodes
    }

    /// Picks from the devices that encode, in their order, or in the order in which they were named. The machine's GPUs tell why others do not.
    pub fn choose(&self, present: &[Device], gpus: &[Table]) -> Result<Vec<Device>, PolicyError> {
        let machine = Machine { present, gpus };
        let mut chosen: Vec<Device> = Vec::new();
        let all = [Wanted::Auto];
        let wanted = if self.devices.is_empty() {
            &all[..]
        } else {
            &self.devices[..]
        };
        for one in wanted {
            for device in machine.find(one)? {
                if chosen.iter().any(|other| other.id == device.id) {
                    return Err(PolicyError::Twice { name: device.id });
                }
                chosen.push(Device {
                    asked: matches!(one, Wanted::Device { .. }),
                    ..device
                });
            }
        }
        share(&mut chosen);
        for sessions in &self.sessions {
            let used = names(chosen.iter().map(|device| &device.id));
            let device = chosen.iter_mut().find(|device| device.id == sessions.name);
            let device = device.ok_or_else(|| PolicyError::NotUsed {
                name: sessions.name.clone(),
                used,
            })?;
            device.sessions = sessions.count;
        }
        Ok(chosen)
    }
}

/// Devices made of the same silicon share what it bears.
fn share(chosen: &mut [Device]) {
    let silicon = |device: &Device| {
        let name = device.id.as_str();
        name.split_once('/')
            .map_or(name, |(name, _)| name)
            .to_owned()
    };
    let all: Vec<String> = chosen.iter().map(silicon).collect();
    for (device, own) in chosen.iter_mut().zip(&all) {
        let sharing = all.iter().filter(|other| *other == own).count();
        let sharing = u32::try_from(sharing).unwrap_or(u32::MAX);
        device.sessions = (device.sessions / sharing).max(1);
    }
}

/// What there is to choose from.
#[derive(Clone, Copy)]
struct Machine<'a> {
    /// What encodes.
    present: &'a [Device],
    gpus: &'a [Table],
}

impl Machine<'_> {
    /// The devices that are meant.
    fn find(self, wanted: &Wanted) -> Result<Vec<Device>, PolicyError> {
        match wanted {
            Wanted::Auto => Ok(self.present.to_vec()),
            Wanted::Vendor(vendor) => {
                let of_vendor = self.present.iter().filter(|one| one.vendor == *vendor);
                let found: Vec<Device> = of_vendor.cloned().collect();
                if found.is_empty() {
                    let mut gpus = self.gpus.iter();
                    let table = gpus.find(|table| table.gpu.vendor == *vendor);
                    return Err(self.refuse(DeviceName::new(vendor.word()), table));
                }
                Ok(found)
            }
            Wanted::Device { name, encoder } => {
                let found = self.present.iter().find(|device| device.id == *name);
                let Some(device) = found else {
                    let table = self.gpus.iter().find(|table| table.gpu.name == *name);
                    return Err(self.refuse(name.clone(), table));
                };
                let Some(encoder) = encoder else {
                    return Ok(vec![device.clone()]);
                };
                Ok(vec![Device {
                    id: DeviceName::new(format!("{}/{encoder}", device.id)),
                    encoder: Some(encoder.clone()),
                    ..device.clone()
                }])
            }
        }
    }

    fn refuse(self, name: DeviceName, table: Option<&Table>) -> PolicyError {
        match table {
            Some(table) => PolicyError::CannotEncode {
                tried: tried(table),
                name,
            },
            None => PolicyError::Absent {
                name,
                present: self.names(),
            },
        }
    }

    fn names(self) -> String {
        let encoding = self.present.iter().map(|device| &device.id);
        let gpus = self.gpus.iter().map(|table| &table.gpu.name);
        let others = gpus.filter(|name| self.present.iter().all(|device| device.id != **name));
        names(encoding.chain(others))
    }
}

/// Why a GPU does not encode.
fn tried(table: &Table) -> String {
    let refusals = Codec::ALL
        .into_iter()
        .flat_map(|codec| table.refusals(codec));
    let mut reasons: Vec<String> = refusals
        .map(|(encoder, reason)| format!("{encoder}: {reason}"))
        .collect();
    reasons.dedup();
    if !reasons.is_empty() {
        return reasons.join("; ");
    }
    let missing = table.gpu.missing.clone();
    missing.unwrap_or_else(|| "this FFmpeg has no encoder for it".to_owned())
}

fn names<'a>(all: impl Iterator<Item = &'a DeviceName>) -> String {
    let names: Vec<&str> = all.map(DeviceName::as_str).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::trial::{Line, Trial, Verdict};
    use crate::gpu::{Driver, Gpu};
    use rungs_media::frame::BitDepth;

    fn device(name: &str, vendor: Vendor) -> Device {
        Device {
            id: DeviceName::new(name),
            vendor,
            encoder: None,
            also: Vec::new(),
            offers: Vec::new(),
            asked: false,
            idle: false,
            sessions: 4,
            threads: 4,
        }
    }

    fn machine() -> Vec<Device> {
        vec![
            device("cpu", Vendor::Cpu),
            device("nvidia:0", Vendor::Nvidia),
            device("intel:0", Vendor::Intel),
            device("nvidia:1", Vendor::Nvidia),
        ]
    }

    /// A card that decodes only.
    fn blind(name: &str, vendor: Vendor) -> Table {
        let line = Line {
            way: None,
            trial: Trial::Encode {
                codec: Codec::Av1,
                encoder: "av1_nvenc".to_owned(),
                depth: BitDepth::Eight,
            },
            verdict: Verdict::Fails {
                reason: "no encode engine".to_owned(),
            },
        };
        Table {
            gpu: Gpu {
                name: DeviceName::new(name),
                vendor,
                pci: None,
                uuid: None,
                model: String::new(),
                memory: None,
                driver: Driver::default(),
                ways: Vec::new(),
                missing: None,
            },
            lines: vec![line],
        }
    }

    fn policy(devices: &str, sessions: &[&str]) -> Policy {
        let devices = devices.split(',').filter(|name| !name.is_empty());
        let sessions = sessions.iter().map(|text| text.parse().expect("sessions"));
        Policy {
            devices: devices
                .map(|name| name.parse().expect("a device"))
                .collect(),
            sessions: sessions.collect(),
            ..Policy::default()
        }
    }

    fn chosen(devices: &str, sessions: &[&str]) -> Vec<(String, u32)> {
        let devices = policy(devices, sessions).choose(&machine(), &[]);
        let devices = devices.expect("something is left");
        let told = devices
            .iter()
            .map(|device| (device.id.to_string(), device.sessions));
        told.collect()
    }

    fn four(names: &[&str]) -> Vec<(String, u32)> {
        names.iter().map(|name| ((*name).to_owned(), 4)).collect()
    }

    #[test]
    fn all_one_and_a_vendors() {
        let all = four(&["cpu", "nvidia:0", "intel:0", "nvidia:1"]);
        assert_eq!(chosen("", &[]), all);
        assert_eq!(chosen("auto", &[]), all);
        assert_eq!(chosen("cpu", &[]), four(&["cpu"]));
        assert_eq!(chosen("nvidia", &[]), four(&["nvidia:0", "nvidia:1"]));
        assert_eq!(chosen("intel:0,cpu", &[]), four(&["intel:0", "cpu"]));
        let seven = [("nvidia:1".to_owned(), 7)];
        assert_eq!(chosen("nvidia:1", &["nvidia:1=7"]), seven);
    }

    #[test]
    fn one_device_may_be_two_with_unlike_encoders() {
        let both = |sessions: &[&str]| chosen("cpu,cpu/libaom-av1", sessions);
        let of = |one, other| {
            let names = ["cpu", "cpu/libaom-av1"].map(str::to_owned);
            let [first, second] = names;
            vec![(first, one), (second, other)]
        };
        assert_eq!(both(&[]), of(2, 2));
        assert_eq!(both(&["cpu/libaom-av1=9"]), of(2, 9));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_was_tried() {
        let present = [device("cpu", Vendor::Cpu)];
        let gpus = [blind("nvidia:0", Vendor::Nvidia)];
        let error = |devices: &str, sessions: &[&str]| {
            let refused = policy(devices, sessions).choose(&present, &gpus);
            refused.expect_err("refused").to_string()
        };
        assert!(error("amd:0", &[]).contains("there is: cpu, nvidia:0"));
        assert!(error("amd", &[]).contains("no device amd"));
        for asked in ["nvidia:0", "nvidia", "cpu,nvidia"] {
            let text = error(asked, &[]);
            assert!(
                text.contains("cannot encode: av1_nvenc: no encode engine"),
                "{text}"
            );
        }
        assert!(error("cpu,cpu", &[]).contains("twice"));
        assert!(error("auto,cpu", &[]).contains("twice"));
        assert!(error("cpu", &["nvidia:0=2"]).contains("what does is: cpu"));
        for bad in ["", "cpu=2", "cpu/", "/x"] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad:?}");
        }
        for bad in ["cpu", "cpu=0", "cpu=x", "=2"] {
            assert!(bad.parse::<Sessions>().is_err(), "{bad:?}");
        }
    }

    fn stations(tables: &[Table]) -> Vec<Arc<Station>> {
        let station = |table: &Table| Arc::new(Station::new(table.clone(), None));
        tables.iter().map(station).collect()
    }

    #[test]
    fn a_decoder_that_is_not_there_is_refused_and_the_cpu_needs_no_trials() {
        let gpus = stations(&[blind("nvidia:0", Vendor::Nvidia)]);
        let named = |name: &str| name.parse::<DecodePolicy>().expect("a policy");
        assert!(named("nvidia:0").choose(&gpus).is_ok());
        let refused = named("nvidia:1").choose(&gpus).expect_err("refused");
        assert!(refused.to_string().contains("there is: nvidia:0, cpu"));
        let on_cpu = |devices: &str| Policy {
            decode: DecodePolicy::Cpu,
            ..policy(devices, &[])
        };
        assert!(on_cpu("cpu/libaom-av1").is_blind() && !on_cpu("").is_blind());
        assert!(!on_cpu("nvidia").is_blind() && !Policy::default().is_blind());
        let scaled_on = |scale: &str| Policy {
            scale: scale.parse().expect("a policy"),
            ..on_cpu("cpu")
        };
        assert!(scaled_on("cpu").is_blind() && !scaled_on("nvidia").is_blind());
    }

    #[test]
    fn gpus_of_one_model_scale_together() {
        let model = |name: &str, model: &str| {
            let mut table = blind(name, Vendor::Nvidia);
            model.clone_into(&mut table.gpu.model);
            table
        };
        let tables = [
            model("nvidia:0", "L4"),
            model("nvidia:1", "T4"),
            model("nvidia:2", "L4"),
            // What has no name is like nothing else.
            model("nvidia:3", ""),
            model("nvidia:4", ""),
        ];
        let gpus = stations(&tables);
        let chosen = |policy: &str| {
            let policy: ScalePolicy = policy.parse().expect("a policy");
            policy.choose(&gpus).map(|scalers| format!("{scalers:?}"))
        };
        let all = |places: &[u32]| {
            let name = |place: &u32| DeviceName::new(format!("nvidia:{place}"));
            Ok(format!("{:?}", places.iter().map(name).collect::<Vec<_>>()))
        };
        assert_eq!(chosen("auto"), all(&[0, 1, 2, 3, 4]));
        assert_eq!(chosen("cpu"), all(&[]));
        assert_eq!(chosen("nvidia"), all(&[0, 1, 2, 3, 4]));
        assert_eq!(chosen("nvidia:2"), all(&[0, 2]));
        assert_eq!(chosen("nvidia:4"), all(&[4]));
        assert!(chosen("intel").is_err() && chosen("nvidia:5").is_err());
        assert!("".parse::<ScalePolicy>().is_err());
    }
}
