//! Changes to packets which need no decoding, such as taking AAC out of its ADTS frames.

use crate::demux::Stream;
use crate::error::{AvError, Error};
use crate::ffi::{BitstreamFilter, Poll};
use crate::packet::Packet;

/// FFmpeg's filter that turns ADTS frames, as in MPEG-TS, into raw AAC with an `AudioSpecificConfig`.
pub const AAC_ADTS_TO_ASC: &str = "aac_adtstoasc";

/// Runs one of FFmpeg's bitstream filters over the packets of a stream.
pub struct PacketFilter {
    name: String,
    filter: BitstreamFilter,
    configuration: Vec<u8>,
}

impl PacketFilter {
    /// Opens the filter for the stream.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this FFmpeg has no such filter, [`Error::Filter`] if it does not take the stream's codec.
    pub fn new(name: &str, stream: &Stream) -> Result<Self, Error> {
        let filter = BitstreamFilter::new(name, &stream.parameters.0)
            .map_err(failed(name))?
            .ok_or_else(|| Error::Unsupported {
                what: format!("bitstream filter {name}"),
            })?;
        let configuration = filter.extradata().to_vec();
        Ok(Self {
            name: name.to_owned(),
            filter,
            configuration,
        })
    }

    /// Takes a packet and gives what comes of it.
    ///
    /// # Errors
    /// [`Error::Filter`] if the packet is damaged or of another codec; the caller may go on with the next one.
    pub fn apply(&mut self, mut packet: Packet) -> Result<Vec<Packet>, Error> {
        let mut ready = Vec::new();
        while !self
            .filter
            .send(Some(&mut packet.0))
            .map_err(failed(&self.name))?
        {
            self.drain(&mut ready)?;
        }
        self.drain(&mut ready)?;
        Ok(ready)
    }

    /// Ends the stream and gives what the filter still holds.
    pub fn finish(mut self) -> Result<Vec<Packet>, Error> {
        let mut ready = Vec::new();
        while !self.filter.send(None).map_err(failed(&self.name))? {
            self.drain(&mut ready)?;
        }
        self.drain(&mut ready)?;
        Ok(ready)
    }

    /// The codec's configuration on the filter's far side. Some filters know it only after the first packet; until then it
    /// is empty.
    #[must_use]
    pub fn configuration(&self) -> &[u8] {
        &self.configuration
    }

    fn drain(&mut self, ready: &mut Vec<Packet>) -> Result<(), Error> {
        while let Poll::Ready(packet) = self.filter.receive().map_err(failed(&self.name))? {
            if !packet.new_extradata().is_empty() {
                self.configuration = packet.new_extradata().to_vec();
            }
            ready.push(Packet(packet));
        }
        Ok(())
    }
}

impl std::fmt::Debug for PacketFilter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PacketFilter({})", self.name)
    }
}

fn failed(name: &str) -> impl FnOnce(AvError) -> Error {
    Error::filter(format!("apply the bitstream filter {name}"))
}
