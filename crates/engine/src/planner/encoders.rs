//! Which encoder makes which codec, and on which device.

use rungs_media::encode::{self, Codec};
use rungs_media::frame::BitDepth;
use rungs_media::hardware;

use crate::coding::packaged;
use crate::device::{Device, Offer};
use crate::error::{Refusal, Seen};
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
    /// The engine's devices, each with the encoders that it encodes with: the one that it was given, or one for each codec. One that has none is idle.
    pub(super) fn devices(
        &self,
        depth: BitDepth,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<Device>, Refusal> {
        if let Some(wanted) = &self.spec.encoder {
            self.check_encoder(wanted)?;
        }
        let mut devices = self.devices.to_vec();
        for device in &mut devices {
            let found = if device.offers.is_empty() {
                self.software(device, warnings)?
            } else {
                self.offered(device, depth)?
            };
            let mut encoders = found.into_iter();
            device.encoder = encoders.next();
            device.also = encoders.collect();
            device.idle = device.encoder.is_none();
        }
        Ok(devices)
    }

    /// Encoders in software: the one that was given, or for each codec the one that was asked for, else the best.
    fn software(
        &self,
        device: &Device,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<String>, Refusal> {
        if let Some(given) = &device.encoder {
            self.check_encoder(given)?;
            return Ok(vec![given.clone()]);
        }
        let choose = |codec: &Codec| match self.wanted(*codec) {
            Some(wanted) => encode::candidates(*codec)
                .contains(&wanted)
                .then(|| wanted.to_owned()),
            None => best_encoder(*codec, warnings),
        };
        Ok(self.spec.codecs.iter().filter_map(choose).collect())
    }

    /// Encoders of a GPU: for each codec the one that it was seen to have, unless another one was given or asked for.
    fn offered(&self, device: &Device, depth: BitDepth) -> Result<Vec<String>, Refusal> {
        let offers = |codec: &Codec| {
            let wanted = device.encoder.as_deref().or(self.wanted(*codec));
            let fits = |offer: &&Offer| {
                (offer.codec, offer.depth) == (*codec, depth)
                    && wanted.is_none_or(|wanted| wanted == encode::bare_name(&offer.encoder))
            };
            let found = device.offers.iter().find(fits)?;
            Some(found.encoder.clone())
        };
        let found: Vec<String> = self.spec.codecs.iter().filter_map(offers).collect();
        if found.is_empty() && device.asked {
            return Err(self.not_offered(device, depth));
        }
        Ok(found)
    }

    /// The encoder that was asked for, if it makes the codec.
    fn wanted(&self, codec: Codec) -> Option<&str> {
        let wanted = self.spec.encoder.as_deref();
        wanted.filter(|wanted| encode::codec_of(wanted) == Some(codec))
    }

    fn not_offered(&self, device: &Device, depth: BitDepth) -> Refusal {
        let codecs: Vec<String> = self.spec.codecs.iter().copied().map(title).collect();
        let wanted = device.encoder.as_ref().or(self.spec.encoder.as_ref());
        Refusal::NotOffered {
            wanted: wanted.cloned().unwrap_or_else(|| codecs.join(" or ")),
            bits: depth.bits(),
            devices: vec![seen(device)],
        }
    }

    /// What is said where no device has an encoder for the codec. If only GPUs were given, or an encoder of GPUs, it is they that lack it.
    fn missing(&self, codec: Codec, depth: BitDepth) -> Refusal {
        let wanted = self.wanted(codec).map(str::to_owned);
        let software = self.devices.iter().any(|device| device.offers.is_empty());
        let of_gpus = wanted.as_deref().and_then(hardware::codec_of).is_some();
        let gpus = gpus(self.devices);
        if gpus.is_empty() || software && !of_gpus {
            let is_given = |device: &Device| device.encoder.is_some() || device.asked;
            let given = self.devices.iter().any(is_given);
            let on = if given { " on the devices given" } else { "" };
            return no_encoder(format!("{} encoder{on}", title(codec)));
        }
        Refusal::NotOffered {
            wanted: wanted.unwrap_or_else(|| title(codec)),
            bits: depth.bits(),
            devices: gpus,
        }
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
        let mut offers = self.devices.iter().flat_map(|device| &device.offers);
        if codec.is_some_and(|codec| encode::candidates(codec).contains(&encoder))
            || offers.any(|offer| encode::bare_name(&offer.encoder) == encoder)
        {
            return Ok(());
        }
        if hardware::codec_of(encoder).is_some() {
            return Err(Refusal::NoDevice {
                encoder: encoder.to_owned(),
                devices: gpus(self.devices),
            });
        }
        Err(no_encoder(format!(
            "{} encoder {encoder}",
            title(codecs[0])
        )))
    }

    /// For each codec the first encoder that a device has for it, for frames of this depth.
    pub(super) fn families(
        &self,
        devices: &[Device],
        depth: BitDepth,
    ) -> Result<Vec<Family>, Refusal> {
        let all = encoders(devices);
        let family = |codec: &Codec| {
            let own = |encoder: &str| encode::codec_of(encoder) == Some(*codec);
            let found = all.iter().find(|(_, encoder)| own(encoder));
            let (device, encoder) = found.ok_or_else(|| self.missing(*codec, depth))?;
            Ok(Family {
                codec: *codec,
                encoder: (*encoder).to_owned(),
                device: *device,
            })
        };
        self.spec.codecs.iter().map(family).collect()
    }
}

/// The GPUs among some devices, with the encoders that each was seen to have.
fn gpus(devices: &[Device]) -> Vec<Seen> {
    let gpus = devices.iter().filter(|device| !device.offers.is_empty());
    gpus.map(seen).collect()
}

fn seen(device: &Device) -> Seen {
    let offer = |offer: &Offer| {
        let name = encode::bare_name(&offer.encoder);
        format!("{name} in {} bits", offer.depth.bits())
    };
    let has: Vec<String> = device.offers.iter().map(offer).collect();
    Seen {
        device: device.id.clone(),
        has: has.join(", "),
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

fn best_encoder(codec: Codec, warnings: &mut Vec<Warning>) -> Option<String> {
    let encoder = encode::candidates(codec).into_iter().next()?;
    if codec == Codec::Av1 && encoder != "libsvtav1" {
        warnings.push(Warning::OtherEncoder {
            encoder: encoder.to_owned(),
        });
    }
    Some(encoder.to_owned())
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
