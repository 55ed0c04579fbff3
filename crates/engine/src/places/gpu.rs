//! A GPU that decodes, as its trials have shown.

use std::sync::Arc;

use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::demux::Stream;
use rungs_media::frame::Frame;
use rungs_media::hardware::{Bringer, Shelf};
use rungs_media::{Error, Packet};

use crate::device::DeviceName;
use crate::gpu::Station;
use crate::scaling::ScaleDevice as _;

use super::{DecodeDevice, Decoding};

/// Pictures on the device that are held at once: each is brought here, or copied out of the decoder's, before the next is asked for.
const HELD: u32 = 2;

impl DecodeDevice for Arc<Station> {
    fn name(&self) -> &DeviceName {
        &self.gpu().name
    }

    fn takes(&self, track: &Stream) -> Result<(), String> {
        self.decodes(track).map(drop)
    }

    fn open(&self, track: &Stream, options: &DecodeOptions) -> Result<Box<dyn Decoding>, Error> {
        let (decoder, kept) = self.decoder(track, options)?;
        let bringer = Bringer::new(kept.device());
        Ok(Box::new(Bringing { decoder, bringer }))
    }

    fn open_keeping(
        &self,
        track: &Stream,
        options: &DecodeOptions,
        model: &str,
    ) -> Result<Box<dyn Decoding>, Error> {
        if self.model() != model || !self.keeps(track) {
            return self.open(track, options);
        }
        let (decoder, kept) = self.decoder(track, options)?;
        Ok(Box::new(Keeping {
            bringer: Bringer::new(kept.device()),
            decoder,
            kept,
            station: Self::clone(self),
        }))
    }
}

impl Station {
    fn decoder(
        &self,
        track: &Stream,
        options: &DecodeOptions,
    ) -> Result<(VideoDecoder, Arc<Shelf>), Error> {
        let what = |reason| Error::Unsupported { what: reason };
        let kept = self.open(self.decodes(track).map_err(what)?)?;
        let decoder = VideoDecoder::open_on(track, options, (kept.device(), HELD))?;
        Ok((decoder, kept))
    }
}

/// Brings each picture from the device.
struct Bringing {
    decoder: VideoDecoder,
    bringer: Bringer,
}

impl Decoding for Bringing {
    fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        self.decoder.send(packet)
    }

    fn receive(&mut self) -> Result<Received, Error> {
        Ok(match self.decoder.receive()? {
            Received::Frame(frame) => Received::Frame(self.bringer.bring(&frame)?),
            other => other,
        })
    }
}

/// Leaves pictures on the device as long as there is room.
struct Keeping {
    decoder: VideoDecoder,
    kept: Arc<Shelf>,
    /// For what does not find room.
    bringer: Bringer,
    station: Arc<Station>,
}

impl Keeping {
    fn keep(&self, frame: &Frame) -> Result<Frame, Error> {
        if self.station.has_failed() {
            return self.bringer.bring(frame);
        }
        match self.kept.keep(frame) {
            // It is full, or this picture is none that it keeps.
            Err(Error::Capacity { .. } | Error::Unsupported { .. }) => self.bringer.bring(frame),
            kept => kept,
        }
    }
}

impl Decoding for Keeping {
    fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        self.decoder.send(packet)
    }

    fn receive(&mut self) -> Result<Received, Error> {
        Ok(match self.decoder.receive()? {
            Received::Frame(frame) => Received::Frame(self.keep(&frame)?),
            other => other,
        })
    }
}
