//! Bytes in, bit fields out, most significant bit first: the descriptors `f(n)`, `uvlc()` and
//! `leb128()` of the AV1 bitstream, which MPEG-4 audio shares.

/// The data ended inside a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndOfData;

/// Reads bit fields from a byte slice.
#[derive(Debug, Clone)]
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    /// Starts at the first bit of `data`.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    /// Reads one bit.
    pub(crate) fn flag(&mut self) -> Result<bool, EndOfData> {
        let byte = self.data.get(self.position / 8).ok_or(EndOfData)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Ok(bit == 1)
    }

    /// Reads `count` bits (at most 32) as an unsigned number: f(n), AV1 §4.10.2.
    pub(crate) fn bits(&mut self, count: u32) -> Result<u32, EndOfData> {
        debug_assert!(count <= 32);
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    /// Reads a field of up to eight bits.
    pub(crate) fn small(&mut self, count: u32) -> Result<u8, EndOfData> {
        debug_assert!(count <= 8);
        Ok(self.bits(count)? as u8)
    }

    /// Passes over `count` bits.
    pub(crate) fn skip(&mut self, count: usize) -> Result<(), EndOfData> {
        let end = self.position + count;
        if end > self.data.len() * 8 {
            return Err(EndOfData);
        }
        self.position = end;
        Ok(())
    }

    /// Reads a variable-length number: `uvlc()`, AV1 §4.10.3.
    pub(crate) fn uvlc(&mut self) -> Result<u32, EndOfData> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
        }
        if zeros >= 32 {
            return Ok(u32::MAX);
        }
        Ok(self.bits(zeros)? + ((1 << zeros) - 1))
    }
}

/// Reads `leb128()` (AV1 §4.10.5) from the front of `data`: the value and how many bytes it took.
///
/// `None` when the data ends inside it, when it is longer than eight bytes, or when the value needs
/// more than 32 bits.
pub(crate) fn read_leb128(data: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0u64;
    for (i, &byte) in data.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, i + 1));
        }
    }
    None
}

/// Appends `value` as `leb128()` in its shortest form.
pub(crate) fn write_leb128(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_cross_byte_boundaries() {
        let mut reader = BitReader::new(&[0b1010_0110, 0b1100_0000]);
        assert_eq!(reader.bits(3), Ok(0b101));
        assert_eq!(reader.bits(7), Ok(0b001_1011));
        assert_eq!(reader.skip(6), Ok(()));
        assert_eq!(reader.flag(), Err(EndOfData));
    }

    #[test]
    fn uvlc_counts_its_leading_zeros() {
        // 1 → 0, 010 → 1, 011 → 2, 00100 → 3
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0000]);
        assert_eq!(reader.uvlc(), Ok(0));
        assert_eq!(reader.uvlc(), Ok(1));
        assert_eq!(reader.uvlc(), Ok(2));
        assert_eq!(reader.uvlc(), Ok(3));
        assert_eq!(BitReader::new(&[0, 0]).uvlc(), Err(EndOfData));
    }

    #[test]
    fn leb128_refuses_what_never_ends() {
        assert_eq!(read_leb128(&[0x80; 9]), None);
        assert_eq!(read_leb128(&[0x80]), None);
        assert_eq!(read_leb128(&[0xff, 0xff, 0xff, 0xff, 0x7f]), None);
        assert_eq!(read_leb128(&[0x80, 0x80, 0x00]), Some((0, 3)));
    }

    proptest! {
        #[test]
        fn leb128_round_trips(value: u32) {
            let mut bytes = Vec::new();
            write_leb128(&mut bytes, value);
            prop_assert_eq!(read_leb128(&bytes), Some((value, bytes.len())));
        }
    }
}
