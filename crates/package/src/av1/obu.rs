//! Temporal units in, their OBUs out, and samples made of those that a file may carry (AV1 §5.3,
//! AV1-ISOBMFF §2.4).

use super::{Av1Error, SequenceHeader};
use crate::bits::{read_leb128, write_leb128};

/// The OBU types that matter to a container (AV1 §6.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ObuType {
    SequenceHeader,
    TemporalDelimiter,
    RedundantFrameHeader,
    TileList,
    Padding,
    Other,
}

impl ObuType {
    fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::SequenceHeader,
            2 => Self::TemporalDelimiter,
            7 => Self::RedundantFrameHeader,
            8 => Self::TileList,
            15 => Self::Padding,
            _ => Self::Other,
        }
    }

    /// Whether AV1-ISOBMFF §2.4 keeps this type out of samples. Redundant frame headers help only
    /// where packets are lost.
    fn belongs_outside_files(self) -> bool {
        match self {
            Self::TemporalDelimiter
            | Self::Padding
            | Self::TileList
            | Self::RedundantFrameHeader => true,
            Self::SequenceHeader | Self::Other => false,
        }
    }
}

/// One OBU, as it lies in the data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Obu<'a> {
    pub(super) kind: ObuType,
    /// Where its header starts.
    pub(super) offset: usize,
    header: u8,
    extension: Option<u8>,
    pub(super) payload: &'a [u8],
}

impl Obu<'_> {
    const HAS_SIZE: u8 = 0b10;
    const HAS_EXTENSION: u8 = 0b100;

    /// Returns the OBU as it would be in a stream without layers.
    pub(super) fn without_extension(&self) -> Self {
        Self {
            header: self.header & !Self::HAS_EXTENSION,
            extension: None,
            ..*self
        }
    }

    /// Appends the OBU with a size field in its shortest form.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.header | Self::HAS_SIZE);
        out.extend(self.extension);
        // An OBU was found inside a slice with a size that fits 32 bits, or without one: a frame of
        // 4 GiB is beyond every level.
        let size = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        write_leb128(out, size);
        out.extend_from_slice(self.payload);
    }
}

/// Walks over the OBUs of a temporal unit, or of a decoder's extradata. Ends after the first error.
pub(super) struct Obus<'a> {
    data: &'a [u8],
    offset: usize,
}

pub(super) fn obus(data: &[u8]) -> Obus<'_> {
    Obus { data, offset: 0 }
}

impl<'a> Obus<'a> {
    fn read(&mut self) -> Result<Obu<'a>, Av1Error> {
        let offset = self.offset;
        let truncated = Av1Error::TruncatedObu { offset };
        let header = self.data[offset];
        if header & 0x80 != 0 {
            return Err(Av1Error::NotAnObu { offset });
        }
        let mut at = offset + 1;
        let mut extension = None;
        if header & Obu::HAS_EXTENSION != 0 {
            extension = Some(*self.data.get(at).ok_or_else(|| truncated.clone())?);
            at += 1;
        }
        let mut size = self.data.len().saturating_sub(at);
        if header & Obu::HAS_SIZE != 0 {
            let (value, length) = read_leb128(&self.data[at..]).ok_or_else(|| truncated.clone())?;
            at += length;
            size = value as usize;
        }
        let end = at.checked_add(size).ok_or_else(|| truncated.clone())?;
        let payload = self.data.get(at..end).ok_or(truncated)?;
        self.offset = end;
        let kind = ObuType::from_bits(header >> 3 & 0xf);
        Ok(Obu {
            kind,
            offset,
            header,
            extension,
            payload,
        })
    }
}

impl<'a> Iterator for Obus<'a> {
    type Item = Result<Obu<'a>, Av1Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.data.len() {
            return None;
        }
        let obu = self.read();
        if obu.is_err() {
            self.offset = self.data.len();
        }
        Some(obu)
    }
}

/// Makes a file's sample from one temporal unit in the low-overhead format (AV1-ISOBMFF §2.4).
///
/// Temporal delimiters, padding, tile lists and redundant frame headers are dropped; every OBU that
/// stays has a size field. A sample goes through unchanged.
///
/// Fails on data that is not a row of OBUs, on more than one temporal unit, and when nothing is
/// left.
pub fn sample_from_temporal_unit(tu: &[u8]) -> Result<Vec<u8>, Av1Error> {
    // A size field that was absent adds a few bytes.
    let mut sample = Vec::with_capacity(tu.len() + 8);
    for obu in obus(tu) {
        let obu = obu?;
        if obu.kind == ObuType::TemporalDelimiter && obu.offset > 0 {
            return Err(Av1Error::SecondTemporalUnit { offset: obu.offset });
        }
        if !obu.kind.belongs_outside_files() {
            obu.write(&mut sample);
        }
    }
    if sample.is_empty() {
        return Err(Av1Error::Empty);
    }
    Ok(sample)
}

/// Reads all the sequence headers of a temporal unit or sample, in order; empty when there is none.
pub fn sequence_headers(tu: &[u8]) -> Result<Vec<SequenceHeader>, Av1Error> {
    let mut headers = Vec::new();
    for obu in obus(tu) {
        let obu = obu?;
        if obu.kind == ObuType::SequenceHeader {
            headers.push(SequenceHeader::from_obu(&obu)?);
        }
    }
    Ok(headers)
}
