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
        Ok(Box::new(OnDevice::open(self, track, options)?))
    }

    fn keeps(&self, track: &Stream) -> bool {
        Station::keeps(self, track)
    }

    fn open_keeping(
        &self,
        track: &Stream,
        options: &DecodeOptions,
        model: &str,
    ) -> Result<Box<dyn Decoding>, Error> {
        let keeps = self.model() == model && Station::keeps(self, track);
        Ok(Box::new(OnDevice {
            keeps,
            ..OnDevice::open(self, track, options)?
        }))
    }
}

/// A decoder on a device. It brings each picture from there, or leaves it there as long as there is room.
struct OnDevice {
    decoder: VideoDecoder,
    bringer: Bringer,
    shelf: Arc<Shelf>,
    keeps: bool,
    station: Arc<Station>,
}

impl OnDevice {
    /// Opens one that brings all pictures.
    fn open(
        station: &Arc<Station>,
        track: &Stream,
        options: &DecodeOptions,
    ) -> Result<Self, Error> {
        let what = |reason| Error::Unsupported { what: reason };
        let shelf = station.shelf(station.decodes(track).map_err(what)?)?;
        let decoder = VideoDecoder::open_on(track, options, (shelf.device(), HELD));
        Ok(Self {
            decoder: decoder.inspect_err(|error| note(station, error))?,
            bringer: Bringer::new(shelf.device()),
            shelf,
            keeps: false,
            station: Arc::clone(station),
        })
    }

    fn settle(&mut self, frame: &Frame) -> Result<Frame, Error> {
        // What a station does not have open any more is of no use to who scales there.
        if self.keeps && !self.station.has_failed() && self.station.has(&self.shelf) {
            match self.shelf.keep(frame) {
                // There may be room again.
                Err(Error::Capacity { .. }) => {}
                Err(_) => self.keeps = false,
                kept => return kept,
            }
        }
        self.bringer.bring(frame)
    }

    fn take(&mut self) -> Result<Received, Error> {
        Ok(match self.decoder.receive()? {
            Received::Frame(frame) => Received::Frame(self.settle(&frame)?),
            other => other,
        })
    }
}

/// A device that has failed is opened anew for the next who wants it.
fn note(station: &Station, error: &Error) {
    if error.is_device() {
        station.forget();
    }
}

impl Decoding for OnDevice {
    fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        let sent = self.decoder.send(packet);
        sent.inspect_err(|error| note(&self.station, error))
    }

    fn receive(&mut self) -> Result<Received, Error> {
        let received = self.take();
        received.inspect_err(|error| note(&self.station, error))
    }

    fn bring(&self, frame: &Frame) -> Result<Frame, Error> {
        let here = self.bringer.bring(frame);
        here.inspect_err(|error| note(&self.station, error))
    }
}
