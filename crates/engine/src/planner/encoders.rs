//! Which encoder makes which codec, and on which device.

use rungs_media::encode::{self, Codec};

use crate::coding::packaged;
use crate::device::Device;
use crate::error::Refusal;
use crate::ladder::{Size, Smallest};
use crate::plan::Warning;

use super::Planner;

/// One codec of the job.
pub(super) struct Family {
    pub(super) codec: Codec,
    /// The encoder that is tried first.
    pub(super) encoder: String,
    /// The first device that has it.
    pub(super) device: u16,
}

impl Planner<'_> {
    /// The engine's devices, each with the encoders that it encodes with: the one that it was given, or one for each codec.
    pub(super) fn devices(&self, warnings: &mut Vec<Warning>) -> Result<Vec<Device>, Refusal> {
        let mut devices = self.devices.to_vec();
        for device in &mut devices {
            let mut encoders = if let Some(wanted) = device.encoder.as_deref() {
                self.check_encoder(wanted)?;
                vec![wanted.to_owned()]
            } else {
                self.choose_encoders(warnings)?
            };
            device.encoder = Some(encoders.remove(0));
            device.also = encoders;
        }
        Ok(devices)
    }

    /// An encoder for each codec: the one that was asked for, else the best.
    fn choose_encoders(&self, warnings: &mut Vec<Warning>) -> Result<Vec<String>, Refusal> {
        let wanted = self.spec.encoder.as_deref();
        if let Some(wanted) = wanted {
            self.check_encoder(wanted)?;
        }
        let choose = |codec: &Codec| match wanted {
            Some(wanted) if encode::codec_of(wanted) == Some(*codec) => Ok(wanted.to_owned()),
            _ => best_encoder(*codec, warnings),
        };
        self.spec.codecs.iter().map(choose).collect()
    }

    /// Refuses an encoder that is not there, or that makes none of the codecs.
    fn check_encoder(&self, encoder: &str) -> Result<(), Refusal> {
        let codec = encode::codec_of(encoder);
        let codecs = &self.spec.codecs;
        if let Some(makes) = codec.filter(|codec| !codecs.contains(codec)) {
            let wanted: Vec<String> = codecs.iter().map(ToString::to_string).collect();
            return Err(Refusal::OtherCodec {
                encoder: encoder.to_owned(),
                makes,
                wanted: wanted.join(" and "),
            });
        }
        if codec.is_some_and(|codec| encode::candidates(codec).contains(&encoder)) {
            return Ok(());
        }
        Err(no_encoder(format!(
            "{} encoder {encoder}",
            title(codecs[0])
        )))
    }

    /// For each codec the first encoder that a device has for it.
    pub(super) fn families(&self, devices: &[Device]) -> Result<Vec<Family>, Refusal> {
        let all = encoders(devices);
        let family = |codec: &Codec| {
            let own = |encoder: &str| encode::codec_of(encoder) == Some(*codec);
            let found = all.iter().find(|(_, encoder)| own(encoder));
            let (device, encoder) = found.ok_or_else(|| {
                no_encoder(format!("{} encoder on the devices given", title(*codec)))
            })?;
            Ok(Family {
                codec: *codec,
                encoder: (*encoder).to_owned(),
                device: *device,
            })
        };
        self.spec.codecs.iter().map(family).collect()
    }
}

/// The encoders of some devices, each with the first device that has it.
pub(super) fn encoders(devices: &[Device]) -> Vec<(u16, &str)> {
    let mut found: Vec<(u16, &str)> = Vec::new();
    for (place, device) in (0..).zip(devices) {
        for encoder in device.encoders() {
            if found.iter().all(|(_, known)| *known != encoder) {
                found.push((place, encoder));
            }
        }
    }
    found
}

fn best_encoder(codec: Codec, warnings: &mut Vec<Warning>) -> Result<String, Refusal> {
    let Some(encoder) = encode::candidates(codec).into_iter().next() else {
        return Err(no_encoder(format!("{} encoder", title(codec))));
    };
    if codec == Codec::Av1 && encoder != "libsvtav1" {
        warnings.push(Warning::OtherEncoder {
            encoder: encoder.to_owned(),
        });
    }
    Ok(encoder.to_owned())
}

fn no_encoder(codec: String) -> Refusal {
    Refusal::NoEncoder {
        codec,
        version: rungs_media::ffmpeg_version(),
    }
}

/// The codec as people write it.
fn title(codec: Codec) -> String {
    packaged(codec).to_string()
}

/// The smallest picture that the encoders of all codecs make.
pub(super) fn smallest(families: &[Family]) -> Smallest<'_> {
    let side = |family: &Family| {
        if family.encoder == "libsvtav1" {
            64
        } else {
            16
        }
    };
    let worst = families.iter().max_by_key(|family| side(family));
    let side = worst.map_or(16, side);
    Smallest {
        encoder: worst.map_or("", |family| &family.encoder),
        size: Size {
            width: side,
            height: side,
        },
    }
}
