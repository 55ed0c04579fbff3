//! A packet: compressed data of one stream with its times.

use std::fmt;

use crate::error::Error;
use crate::ffi::PacketRef;

/// Compressed data as the demuxer delivers it. Owns a reference to the data.
pub struct Packet(pub(crate) PacketRef);

impl Packet {
    /// Makes a packet without timestamps of bytes that come from elsewhere than a demuxer; they are copied.
    pub fn copy_of(data: &[u8]) -> Result<Self, Error> {
        PacketRef::copy_of(data).map(Self).map_err(Error::Read)
    }

    /// Another packet with the same data, which both share.
    ///
    /// # Errors
    /// [`Error::Capacity`] if there is no memory.
    pub fn share(&self) -> Result<Self, Error> {
        let shared = self.0.share();
        shared.map(Self).map_err(|source| Error::Capacity {
            operation: "share a packet".to_owned(),
            source,
        })
    }

    /// The stream's index.
    #[must_use]
    pub fn stream(&self) -> usize {
        self.0.stream()
    }

    /// When it is to be presented, in the stream's time base.
    #[must_use]
    pub fn pts(&self) -> Option<i64> {
        self.0.pts()
    }

    /// When it is to be decoded, in the stream's time base.
    #[must_use]
    pub fn dts(&self) -> Option<i64> {
        self.0.dts()
    }

    /// How long it lasts, in the stream's time base; 0 if unknown.
    #[must_use]
    pub fn duration(&self) -> i64 {
        self.0.duration()
    }

    /// Whether decoding can start here.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.0.is_key()
    }

    /// Whether the demuxer found the packet damaged or cut short.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.0.is_corrupt()
    }

    /// Whether the packet is needed for decoding only: an edit list cuts its frames away, and the decoder drops them.
    #[must_use]
    pub fn is_discard(&self) -> bool {
        self.0.is_discard()
    }

    /// Whether the data is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.is_encrypted()
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.0.data()
    }

    /// Samples to drop at the start and the end of what the packet decodes to, where the file says so.
    #[must_use]
    pub fn skip_samples(&self) -> Option<(u32, u32)> {
        self.0.skip_samples()
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Packet")
            .field("stream", &self.stream())
            .field("pts", &self.pts())
            .field("dts", &self.dts())
            .field("key", &self.is_key())
            .field("bytes", &self.data().len())
            .finish_non_exhaustive()
    }
}
