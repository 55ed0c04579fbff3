//! Packets of audio in, whether a decoder can make audio of each out: for packets that are published as they are.

use std::fmt;

use crate::decode;
use crate::error::{AvError, Error};
use crate::ffi::{Codec, CodecContext, Parameters, Poll};
use crate::packet::Packet;
use crate::time::Rational;

/// Codecs whose frames have checksums, so that a decoder which logs an error about a frame is right.
const WITH_CHECKSUM: [&str; 2] = ["ac3", "eac3"];

/// Decodes packets of one track in order and keeps nothing of what comes out.
pub struct PacketChecker {
    context: CodecContext,
    checksums: bool,
}

impl PacketChecker {
    /// Opens FFmpeg's decoder for the codec, by FFmpeg's name of it (`aac`, `opus`, `ac3`, `eac3`, `mp3`), with the configuration that players
    /// will have.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this FFmpeg has no such decoder, [`Error::OpenCodec`] if it does not take the configuration.
    pub fn open(codec: &str, configuration: &[u8]) -> Result<Self, Error> {
        crate::init();
        let decoder = Codec::decoder(codec).ok_or_else(|| Error::Unsupported {
            what: format!("decoder for {codec}"),
        })?;
        let unit = Rational { num: 1, den: 1000 };
        let parameters = Parameters::configured(decoder, unit, configuration)
            .map_err(|error| Error::open_codec(codec)(error))?;
        Ok(Self {
            context: decode::open(&parameters, CodecContext::watch)?,
            checksums: WITH_CHECKSUM.contains(&codec),
        })
    }

    /// Decodes the next packet.
    ///
    /// # Errors
    /// [`Error::Decode`] if it is damaged; the next one may be whole.
    pub fn check(&mut self, data: &[u8]) -> Result<(), Error> {
        let packet = Packet::copy_of(data)?;
        // What opening and the packets before gave rise to is not about this one.
        self.context.has_complained();
        let checked = self.decode(&packet);
        if checked.is_err() {
            self.context.flush();
        }
        checked
    }

    fn decode(&mut self, packet: &Packet) -> Result<(), Error> {
        let codec = self.context.name();
        let damaged = || Error::decode(codec)(AvError::damage());
        // It is emptied after each packet, so it takes the next one.
        let _accepted = decode::send(&mut self.context, Some(packet))?;
        while let Poll::Ready(frame) = self.context.receive_frame().map_err(Error::decode(codec))? {
            if frame.is_corrupt() {
                return Err(damaged());
            }
        }
        if self.checksums && self.context.has_complained() {
            return Err(damaged());
        }
        Ok(())
    }
}

impl fmt::Debug for PacketChecker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PacketChecker({})", self.context.name())
    }
}
