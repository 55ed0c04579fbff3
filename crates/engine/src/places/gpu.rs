//! A GPU that decodes, as its trials have shown.

use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::demux::Stream;
use rungs_media::frame::BitDepth;
use rungs_media::hardware::HardwareDevice;
use rungs_media::sample::Coding;
use rungs_media::{Error, Packet};

use crate::device::DeviceName;
use crate::gpu::Way;
use crate::gpu::trial::Table;
use crate::sync::{Mutex, PoisonError};

use super::{DecodeDevice, Decoding};

/// Pictures on the device that are held at once: each is brought here before the next is asked for.
const HELD: u32 = 2;

/// A GPU with its trials. It is opened when it is first used, and then stays open; all decoders share it.
pub struct GpuDecoder {
    table: Table,
    opened: Mutex<Option<(Way, HardwareDevice)>>,
}

impl GpuDecoder {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self {
            table,
            opened: Mutex::new(None),
        }
    }

    fn way(&self, track: &Stream) -> Result<&Way, String> {
        let (coding, depth) = coding_of(track)?;
        self.table.decodes_exactly(coding, depth)
    }

    /// The open device. Whoever comes first opens it, and others wait for that.
    fn device(&self, way: &Way) -> Result<HardwareDevice, Error> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, device)) = opened.as_ref().filter(|(open, _)| open == way) {
            return Ok(device.clone());
        }
        let device = HardwareDevice::open(way.kind, &way.address)?;
        *opened = Some((way.clone(), device.clone()));
        Ok(device)
    }
}

impl DecodeDevice for GpuDecoder {
    fn name(&self) -> &DeviceName {
        &self.table.gpu.name
    }

    fn takes(&self, track: &Stream) -> Result<(), String> {
        self.way(track).map(drop)
    }

    fn open(&self, track: &Stream, options: &DecodeOptions) -> Result<Box<dyn Decoding>, Error> {
        let what = |reason| Error::Unsupported { what: reason };
        let way = self.way(track).map_err(what)?;
        let device = self.device(way)?;
        let decoder = VideoDecoder::open_on(track, options, (&device, HELD))?;
        Ok(Box::new(Bringing(decoder)))
    }
}

/// Brings each picture from the device.
struct Bringing(VideoDecoder);

impl Decoding for Bringing {
    fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        self.0.send(packet)
    }

    fn receive(&mut self) -> Result<Received, Error> {
        Ok(match self.0.receive()? {
            Received::Frame(frame) => Received::Frame(frame.download()?),
            other => other,
        })
    }
}

/// What the track is coded in, as the trials name it, or why it is nothing that devices decode.
fn coding_of(track: &Stream) -> Result<(Coding, BitDepth), String> {
    let coding = match track.codec.as_str() {
        "h264" => Coding::H264,
        "hevc" => Coding::Hevc,
        "vp9" => Coding::Vp9,
        "av1" => Coding::Av1,
        "mpeg2video" => Coding::Mpeg2,
        other => return Err(format!("{other} is not tried on devices")),
    };
    let info = track
        .video()
        .ok_or_else(|| "it is no track of pictures".to_owned())?;
    if info.crop.is_some() {
        return Err("the container crops its pictures, which no device does".to_owned());
    }
    // Others come from a device in another form than from the CPU, or not at all.
    let depth = match info.pixel_format.as_str() {
        "yuv420p" => BitDepth::Eight,
        "yuv420p10le" => BitDepth::Ten,
        other => return Err(format!("pictures in {other} are not tried on devices")),
    };
    Ok((coding, depth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Vendor;
    use crate::gpu::trial::{Line, Proof, Trial, Verdict};
    use crate::gpu::{Driver, Gpu};
    use rungs_media::hardware::DeviceKind;

    fn table(verdicts: &[(DeviceKind, Verdict)]) -> Table {
        let line = |(kind, verdict): &(DeviceKind, Verdict)| Line {
            way: Some(Way {
                kind: *kind,
                address: "0".to_owned(),
            }),
            trial: Trial::Decode {
                coding: Coding::H264,
                depth: BitDepth::Eight,
            },
            verdict: verdict.clone(),
        };
        Table {
            gpu: Gpu {
                name: DeviceName::new("nvidia:0"),
                vendor: Vendor::Nvidia,
                pci: None,
                uuid: None,
                model: String::new(),
                memory: None,
                driver: Driver::default(),
                ways: Vec::new(),
                missing: None,
            },
            lines: verdicts.iter().map(line).collect(),
        }
    }

    fn works(psnr: Option<f64>) -> Verdict {
        Verdict::Works(Proof {
            psnr,
            ..Proof::default()
        })
    }

    #[test]
    fn only_a_way_that_decodes_to_the_bit_is_taken() {
        let fails = Verdict::Fails {
            reason: "no engine".to_owned(),
        };
        let both = table(&[
            (DeviceKind::Cuda, works(Some(58.0))),
            (DeviceKind::Vulkan, works(None)),
        ]);
        let exactly = |table: &Table| {
            let way = table.decodes_exactly(Coding::H264, BitDepth::Eight);
            way.map(|way| way.kind)
        };
        assert_eq!(exactly(&both), Ok(DeviceKind::Vulkan));
        let neither = table(&[
            (DeviceKind::Cuda, works(Some(58.0))),
            (DeviceKind::Vulkan, fails),
        ]);
        let reason = exactly(&neither).expect_err("refused");
        assert!(
            reason.contains("cuda: decodes other pictures than the CPU (58.0 dB at worst)")
                && reason.contains("vulkan: no engine"),
            "{reason}"
        );
        assert!(exactly(&table(&[])).is_err());
    }
}
