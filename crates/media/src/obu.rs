//! As much of AV1's open bitstream units as it takes to find a header (AV1 specification §5.3).

/// The type of a sequence header OBU, §6.2.2.
const SEQUENCE_HEADER: u8 = 1;

/// The first sequence header OBU in a row of OBUs that carry their sizes, with its header.
pub(crate) fn sequence_header(data: &[u8]) -> Option<&[u8]> {
    find(data, |kind| kind == SEQUENCE_HEADER).map(|(unit, _)| unit)
}

/// What the first OBU of a wanted type holds behind its header, in a row of OBUs that carry their sizes.
pub(crate) fn payload(data: &[u8], wanted: impl Fn(u8) -> bool) -> Option<&[u8]> {
    find(data, wanted).map(|(unit, head)| &unit[head..])
}

/// The first OBU of a wanted type, and the length of its header.
fn find(mut data: &[u8], wanted: impl Fn(u8) -> bool) -> Option<(&[u8], usize)> {
    while let [first, ..] = *data {
        let has_extension = first & 0b100 != 0;
        let has_size = first & 0b10 != 0;
        let head = 1 + usize::from(has_extension);
        let (size, width) = if has_size {
            leb128(data.get(head..)?)?
        } else {
            (data.len().checked_sub(head)?, 0)
        };
        let end = (head + width).checked_add(size)?;
        let unit = data.get(..end)?;
        if wanted(first >> 3 & 0xF) {
            return Some((unit, head + width));
        }
        data = &data[end..];
    }
    None
}

/// A little-endian base-128 number and its length, §4.10.5.
fn leb128(data: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    for (index, byte) in data.iter().take(8).enumerate() {
        value |= usize::from(byte & 0x7F).checked_shl(7 * index as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_header_is_found_behind_a_temporal_delimiter() {
        let data = [0x12, 0x00, 0x0A, 0x03, 7, 8, 9, 0x32, 0x01, 5];
        assert_eq!(sequence_header(&data), Some(&[0x0A, 0x03, 7, 8, 9][..]));
    }

    #[test]
    fn no_header_and_broken_sizes_give_nothing() {
        assert_eq!(sequence_header(&[]), None);
        assert_eq!(sequence_header(&[0x12, 0x00]), None);
        assert_eq!(sequence_header(&[0x0A, 0x05, 1]), None);
        assert_eq!(
            sequence_header(&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
            None
        );
        assert_eq!(sequence_header(&[0x0A]), None);
    }
}
