//! A GPU as this process uses it: opened when it is first needed, and open from then on; what it keeps, decodes and scales.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rungs_media::Error;
use rungs_media::demux::Stream;
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::hardware::{DeviceKind, HardwareDevice, Scaled, Shelf};
use rungs_media::sample::Coding;
use rungs_media::scale;

use super::trial::Table;
use super::{Gpu, Way};
use crate::device::DeviceName;
use crate::scaling::ScaleDevice;

/// What kept pictures may take of a GPU whose memory is not known.
const UNKNOWN_ROOM: u64 = 1 << 30;

/// A way, and the device once it is open by it.
type Slot = (Way, Arc<Mutex<Option<Arc<Shelf>>>>);

/// The devices that this process has opened. They are not closed unless they fail: a context costs a third of a second and more, engines come and go, and when the process ends the
/// driver is faster at it than giving back each picture's memory would be. Held for a moment only: a driver may take for ever to open a device, or to close it.
static OPEN: Mutex<Vec<Slot>> = Mutex::new(Vec::new());

/// A GPU with its trials. All that this process does there shares one context.
pub struct Station {
    table: Table,
    model: String,
    /// Most bytes of pictures that are kept there.
    room: u64,
    /// Whether it has failed: it keeps no more pictures.
    failed: AtomicBool,
}

impl Station {
    /// Opens nothing yet. Pictures may take `room` bytes there; `None` for half of its memory.
    #[must_use]
    pub fn new(table: Table, room: Option<u64>) -> Self {
        let half = table.gpu.memory.map_or(UNKNOWN_ROOM, |all| all / 2);
        // What has no name is like nothing else.
        let model = Some(table.gpu.model.clone()).filter(|model| !model.is_empty());
        Self {
            room: room.unwrap_or(half),
            model: model.unwrap_or_else(|| table.gpu.identity()),
            table,
            failed: AtomicBool::new(false),
        }
    }

    /// The GPU.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.table.gpu
    }

    /// The way by which it decodes a track to the bit.
    pub(crate) fn decodes(&self, track: &Stream) -> Result<&Way, String> {
        let (coding, depth) = coding_of(track)?;
        self.table.decodes_exactly(coding, depth)
    }

    /// Whether it is good for keeping pictures that it decodes: it scales them in the same way, and has not failed.
    pub(crate) fn keeps(&self, track: &Stream) -> bool {
        let ways = coding_of(track).and_then(|(coding, depth)| {
            let decodes = self.table.decodes_exactly(coding, depth)?;
            Ok((decodes, self.table.scales(depth)?))
        });
        // On other kinds no picture is copied out of a decoder's.
        let keeps = |way: &Way| way.kind == DeviceKind::Cuda;
        ways.is_ok_and(|(decodes, scales)| decodes == scales && keeps(scales)) && !self.has_failed()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// The open device with what it keeps. Whoever comes first in the process opens it, and others wait for that: a third of a second and more.
    pub(crate) fn shelf(&self, way: &Way) -> Result<Arc<Shelf>, Error> {
        let slot = Self::slot(way);
        let mut open = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shelf) = open.as_ref() {
            return Ok(Arc::clone(shelf));
        }
        let device = HardwareDevice::open(way.kind, &way.address)?;
        let made = Arc::new(Shelf::new(device, self.room));
        *open = Some(Arc::clone(&made));
        Ok(made)
    }

    fn slot(way: &Way) -> Arc<Mutex<Option<Arc<Shelf>>>> {
        let mut all = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, slot)) = all.iter().find(|(known, _)| known == way) {
            return Arc::clone(slot);
        }
        let slot = Arc::default();
        all.push((way.clone(), Arc::clone(&slot)));
        slot
    }

    /// What is open of it.
    fn open_shelves(&self) -> Vec<Arc<Shelf>> {
        let all = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all
            .iter()
            .filter(|(way, _)| self.table.gpu.ways.contains(way));
        let slots: Vec<_> = own.map(|(_, slot)| Arc::clone(slot)).collect();
        drop(all);
        let open = |slot: &Arc<Mutex<Option<Arc<Shelf>>>>| {
            slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        slots.iter().filter_map(open).collect()
    }

    /// Opens the device anew for whoever comes next: a context on which something failed may be of no use any more. What it holds stays there as long as somebody has it.
    pub(crate) fn forget(&self) {
        let mut all = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let (own, others) = std::mem::take(&mut *all)
            .into_iter()
            .partition::<Vec<_>, _>(|(way, _)| self.table.gpu.ways.contains(way));
        *all = others;
        drop(all);
        drop(own);
    }

    /// Whether that is what is open of it.
    pub(crate) fn has(&self, other: &Arc<Shelf>) -> bool {
        let open = self.open_shelves();
        open.iter().any(|open| Arc::ptr_eq(open, other))
    }

    /// The open device in which a picture lies.
    fn holder(&self, picture: &Frame) -> Option<Arc<Shelf>> {
        let mut open = self.open_shelves().into_iter();
        open.find(|one| one.holds(picture))
    }
}

impl ScaleDevice for Station {
    fn name(&self) -> &DeviceName {
        &self.table.gpu.name
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn takes(&self, depth: BitDepth) -> Result<(), String> {
        self.table.scales(depth).map(drop)
    }

    fn holds(&self, picture: &Frame) -> bool {
        self.holder(picture).is_some()
    }

    fn scale(&self, picture: &Frame, to: scale::Config) -> Result<Scaled, Error> {
        let what = |reason| Error::Unsupported { what: reason };
        let way = self.table.scales(to.depth).map_err(what)?;
        self.shelf(way)?.scale(picture, to)
    }

    fn bring(&self, picture: &Frame) -> Result<Frame, Error> {
        let holder = self.holder(picture);
        holder.map_or_else(|| picture.download(), |shelf| shelf.bring(picture))
    }

    fn ease(&self) {
        self.open_shelves().iter().for_each(|shelf| shelf.ease());
    }

    fn give_up(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.forget();
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
