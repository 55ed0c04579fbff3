//! Compressed data on its way from a demuxer to a decoder, or out of an encoder.

use std::ptr::NonNull;

use super::{bytes, check, sys, timestamp};
use crate::error::AvError;

/// Owns an `AVPacket` and a reference to its data.
pub(crate) struct PacketRef(NonNull<sys::AVPacket>);

// SAFETY: the packet has one owner, and its data is reference counted atomically.
unsafe impl Send for PacketRef {}

impl PacketRef {
    pub(crate) fn new() -> Result<Self, AvError> {
        // SAFETY: allocates; null means no memory.
        NonNull::new(unsafe { sys::av_packet_alloc() })
            .map(Self)
            .ok_or_else(AvError::no_memory)
    }

    /// Makes a packet that holds a copy of the bytes, with the padding that decoders read beyond them.
    pub(crate) fn copy_of(data: &[u8]) -> Result<Self, AvError> {
        let packet = Self::new()?;
        let size = i32::try_from(data.len()).map_err(|_| AvError::no_memory())?;
        // SAFETY: the packet is valid, ours and empty.
        check(unsafe { sys::av_new_packet(packet.0.as_ptr(), size) })?;
        // SAFETY: `av_new_packet` made room for `size` bytes, which cannot overlap with the caller's.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), (*packet.0.as_ptr()).data, data.len());
        };
        Ok(packet)
    }

    /// Makes another packet over the same data.
    pub(crate) fn share(&self) -> Result<Self, AvError> {
        // SAFETY: the packet is valid; what comes back is a new one with a reference of its own, or null for want of memory.
        NonNull::new(unsafe { sys::av_packet_clone(self.0.as_ptr()) })
            .map(Self)
            .ok_or_else(AvError::no_memory)
    }

    /// The same as a keyframe of the first stream that is shown at a time.
    pub(crate) fn shown(mut self, time: i64, duration: i64) -> Self {
        // SAFETY: the packet is valid and ours.
        let raw = unsafe { self.0.as_mut() };
        (raw.pts, raw.dts, raw.duration) = (time, time, duration);
        raw.flags |= sys::AV_PKT_FLAG_KEY as i32;
        raw.stream_index = 0;
        self
    }

    pub(super) fn as_ptr(&self) -> *const sys::AVPacket {
        self.0.as_ptr()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut sys::AVPacket {
        self.0.as_ptr()
    }

    fn raw(&self) -> &sys::AVPacket {
        // SAFETY: allocated and ours; shared borrows of self only read.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn data(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: FFmpeg's packets hold `size` bytes at `data`, unchanged while the packet is.
        unsafe { bytes(raw.data, raw.size) }
    }

    pub(crate) fn stream(&self) -> usize {
        usize::try_from(self.raw().stream_index).unwrap_or(usize::MAX)
    }

    pub(crate) fn pts(&self) -> Option<i64> {
        timestamp(self.raw().pts)
    }

    pub(crate) fn dts(&self) -> Option<i64> {
        timestamp(self.raw().dts)
    }

    /// Says when the data is shown, which is when it is decoded, and for how long; it can be decoded by itself.
    pub(crate) fn set_times(&mut self, pts: i64, duration: i64) {
        // SAFETY: allocated, ours and borrowed mutably.
        let raw = unsafe { self.0.as_mut() };
        raw.pts = pts;
        raw.dts = pts;
        raw.duration = duration;
        raw.flags |= sys::AV_PKT_FLAG_KEY as i32;
    }

    pub(crate) fn duration(&self) -> i64 {
        self.raw().duration
    }

    pub(crate) fn is_key(&self) -> bool {
        self.has(sys::AV_PKT_FLAG_KEY)
    }

    pub(crate) fn is_corrupt(&self) -> bool {
        self.has(sys::AV_PKT_FLAG_CORRUPT)
    }

    /// Whether the packet is needed for decoding only, its frames being cut away by an edit list.
    pub(crate) fn is_discard(&self) -> bool {
        self.has(sys::AV_PKT_FLAG_DISCARD)
    }

    fn has(&self, flag: u32) -> bool {
        self.raw().flags & flag as i32 != 0
    }

    pub(crate) fn skip_samples(&self) -> Option<(u32, u32)> {
        let data = self.side_data(sys::AVPacketSideDataType::AV_PKT_DATA_SKIP_SAMPLES);
        let word = |at: usize| {
            data.get(at..at + 4)?
                .try_into()
                .ok()
                .map(u32::from_le_bytes)
        };
        word(0).zip(word(4))
    }

    /// The codec configuration that comes into force with this packet, where there is a new one.
    pub(crate) fn new_extradata(&self) -> &[u8] {
        self.side_data(sys::AVPacketSideDataType::AV_PKT_DATA_NEW_EXTRADATA)
    }

    /// The settings of a cue of `WebVTT`.
    pub(crate) fn cue_settings(&self) -> &[u8] {
        self.side_data(sys::AVPacketSideDataType::AV_PKT_DATA_WEBVTT_SETTINGS)
    }

    /// Whether the packet's data is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        !self
            .side_data(sys::AVPacketSideDataType::AV_PKT_DATA_ENCRYPTION_INFO)
            .is_empty()
    }

    fn side_data(&self, kind: sys::AVPacketSideDataType) -> &[u8] {
        let mut size = 0;
        // SAFETY: the packet is ours; the data lives as long as it.
        unsafe {
            let data = sys::av_packet_get_side_data(self.0.as_ptr(), kind, &raw mut size);
            bytes(data, i32::try_from(size).unwrap_or(0))
        }
    }
}

impl Drop for PacketRef {
    fn drop(&mut self) {
        let mut packet = self.0.as_ptr();
        // SAFETY: the packet is ours and is not used again.
        unsafe { sys::av_packet_free(&raw mut packet) }
    }
}
