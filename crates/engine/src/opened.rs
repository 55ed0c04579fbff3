//! An encoder that is open in this process: in software, or on a device whose context stays open from one encoder to the next.

use rungs_media::Error;
use rungs_media::encode::{Config, EncodedPacket, VideoEncoder};
use rungs_media::frame::Frame;
use rungs_media::hardware::{HardwareDevice, HardwareEncoder};

use crate::gpu::Way;

/// Where one encoder at a time is open: the session of a device as its process sees it. It keeps the context of the device, which costs a third of a
/// second and more to open, until an encoder cannot be opened on it.
#[derive(Debug, Default)]
pub(crate) struct Bench {
    context: Option<(Way, HardwareDevice)>,
}

/// One encoder. It has its first picture from the start.
#[derive(Debug)]
pub(crate) enum Opened {
    Software(Box<VideoEncoder>),
    Hardware(Box<HardwareEncoder>),
}

impl Bench {
    /// Opens an encoder: a device's if there is a way to it, otherwise one in software. Sends the first picture.
    pub(crate) fn open(
        &mut self,
        config: &Config,
        way: Option<&Way>,
        first: (&Frame, i64),
    ) -> Result<Opened, Error> {
        let Some(way) = way else {
            let encoder = VideoEncoder::open(config, first)?;
            return Ok(Opened::Software(Box::new(encoder)));
        };
        // It is kept again only when the encoder is open.
        let kept = self.context.take().filter(|(known, _)| known == way);
        let device = match kept {
            Some((_, device)) => device,
            None => HardwareDevice::open(way.kind, &way.address)?,
        };
        let encoder = HardwareEncoder::open(config, &device, first)?;
        self.context = Some((way.clone(), device));
        Ok(Opened::Hardware(Box::new(encoder)))
    }
}

impl Opened {
    pub(crate) fn send(&mut self, frame: &Frame, time: i64) -> Result<(), Error> {
        match self {
            Self::Software(encoder) => encoder.send(frame, time),
            Self::Hardware(encoder) => encoder.send(frame, time),
        }
    }

    pub(crate) fn finish(&mut self) -> Result<Vec<EncodedPacket>, Error> {
        match self {
            Self::Software(encoder) => encoder.finish(),
            Self::Hardware(encoder) => encoder.finish(),
        }
    }

    pub(crate) fn take_packets(&mut self) -> Vec<EncodedPacket> {
        match self {
            Self::Software(encoder) => encoder.take_packets(),
            Self::Hardware(encoder) => encoder.take_packets(),
        }
    }

    pub(crate) fn configuration(&self) -> &[u8] {
        match self {
            Self::Software(encoder) => encoder.configuration(),
            Self::Hardware(encoder) => encoder.configuration(),
        }
    }
}
