//! Where decoding can begin: packets in, yes or no out.
//!
//! A decoder that starts with such a packet gives the very pictures, from the packet's own on in order of presentation, that it
//! would have given had it been there before. Pictures that come after it in the file and are presented before it may be missing.

use crate::demux::Stream;
use crate::packet::Packet;

/// Codecs in which references never reach over a key frame, or there are none, and whose decoders keep nothing else.
const FORGETTING: [&str; 17] = [
    "mpeg1video",
    "mpeg2video",
    "vp8",
    "vp9",
    "ffv1",
    "prores",
    "dnxhd",
    "cfhd",
    "mjpeg",
    "rawvideo",
    "v210",
    "png",
    "webp",
    "bmp",
    "tiff",
    "dpx",
    "exr",
];

/// Whether decoding can begin with `packet` of `stream` without a picture at or after it being different.
///
/// Containers call more than that a keyframe: the start of an intra refresh, or an I-picture over which others refer back. What is
/// not known to be safe is refused, so is every codec whose decoder keeps more than pictures from before.
#[must_use]
pub fn is_clean(stream: &Stream, packet: &Packet) -> bool {
    if !packet.is_key() || packet.is_discard() || packet.is_corrupt() || packet.is_encrypted() {
        return false;
    }
    let extradata = stream.parameters.0.extradata();
    match stream.codec.as_str() {
        // Decoders tell old versions of x264 from its signature at the start of the stream, and read 4:4:4 of them otherwise.
        "h264" if is_444(stream) => false,
        "h264" => Units::new(packet.data(), length_size(extradata, 4)).any(is_h264_entry),
        "hevc" => Units::new(packet.data(), length_size(extradata, 21)).any(is_hevc_entry),
        "av1" => is_av1_entry(packet.data()),
        name => FORGETTING.contains(&name),
    }
}

fn is_444(stream: &Stream) -> bool {
    stream
        .video()
        .is_none_or(|info| info.pixel_format.contains("444"))
}

/// Bytes of a unit's length, as `avcC` and `hvcC` tell in the byte at `place` (ISO/IEC 14496-15 §5.3.3.1, §8.3.3.1); `None` where
/// units stand behind start codes.
fn length_size(extradata: &[u8], place: usize) -> Option<usize> {
    if extradata.first() != Some(&1) {
        return None;
    }
    extradata
        .get(place)
        .map(|byte| usize::from(byte & 0b11) + 1)
}

/// The units (NAL units) of a packet.
struct Units<'a> {
    data: &'a [u8],
    length_size: Option<usize>,
}

impl<'a> Units<'a> {
    fn new(data: &'a [u8], length_size: Option<usize>) -> Self {
        let mut units = Self { data, length_size };
        if length_size.is_none() {
            units.data = after_start_code(data);
        }
        units
    }
}

impl<'a> Iterator for Units<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.data.is_empty() {
            return None;
        }
        let Some(width) = self.length_size else {
            let end = start_code(self.data).unwrap_or(self.data.len());
            let (unit, rest) = self.data.split_at(end);
            self.data = after_start_code(rest);
            return Some(unit);
        };
        let (head, rest) = self.data.split_at_checked(width)?;
        let length = head
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at_checked(length)?;
        self.data = rest;
        Some(unit)
    }
}

fn start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|window| window == [0, 0, 1])
}

fn after_start_code(data: &[u8]) -> &[u8] {
    start_code(data).map_or(&[], |at| &data[at + 3..])
}

/// An IDR picture, or a recovery point (Rec. ITU-T H.264 §D.2.8) from which all is exact at once.
fn is_h264_entry(unit: &[u8]) -> bool {
    const IDR: u8 = 5;
    const SEI: u8 = 6;
    match unit.first().map(|byte| byte & 0x1F) {
        Some(IDR) => true,
        Some(SEI) => is_exact_recovery_point(&without_emulation(&unit[1..])),
        _ => false,
    }
}

/// Whether a message of a supplemental enhancement information unit is a recovery point with no pictures to wait for, an exact match and
/// no broken link.
fn is_exact_recovery_point(mut data: &[u8]) -> bool {
    const RECOVERY_POINT: usize = 6;
    while let Some((kind, rest)) = sei_number(data)
        && let Some((size, rest)) = sei_number(rest)
        && let Some((payload, rest)) = rest.split_at_checked(size)
    {
        if kind == RECOVERY_POINT {
            // recovery_frame_cnt = 0 is a single 1; then exact_match_flag and broken_link_flag.
            return payload.first().is_some_and(|bits| bits >> 5 == 0b110);
        }
        data = rest;
    }
    false
}

/// A number that counts on with each byte of 255, §7.3.2.3.1.
fn sei_number(data: &[u8]) -> Option<(usize, &[u8])> {
    let full = data.iter().take_while(|byte| **byte == 255).count();
    let last = data.get(full)?;
    Some((full * 255 + usize::from(*last), &data[full + 1..]))
}

/// Takes out the bytes that keep start codes from appearing, §7.4.1.
fn without_emulation(data: &[u8]) -> Vec<u8> {
    let mut zeros = 0;
    let keep = |byte: &u8| {
        let emulation = zeros >= 2 && *byte == 3;
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        !emulation
    };
    data.iter().copied().filter(keep).collect()
}

/// A random access picture of any kind, Rec. ITU-T H.265 §7.4.2.2: BLA, IDR or CRA.
fn is_hevc_entry(unit: &[u8]) -> bool {
    unit.first()
        .is_some_and(|byte| (16..=21).contains(&(byte >> 1 & 0x3F)))
}

/// A key frame that is shown at once: the first frame header of the packet says so (AV1 specification §5.9.2).
fn is_av1_entry(data: &[u8]) -> bool {
    const FRAME_HEADER: u8 = 3;
    const FRAME: u8 = 6;
    let header = crate::obu::payload(data, |kind| kind == FRAME_HEADER || kind == FRAME);
    // show_existing_frame = 0, frame_type = KEY_FRAME, show_frame = 1.
    header
        .and_then(|header| header.first())
        .is_some_and(|bits| bits >> 4 == 0b0001)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_found_behind_lengths_and_start_codes() {
        let lengths = [0, 0, 0, 2, 0x65, 1, 0, 0, 0, 1, 0x41];
        let units: Vec<_> = Units::new(&lengths, Some(4)).collect();
        assert_eq!(units, [&[0x65, 1][..], &[0x41]]);
        let codes = [0, 0, 0, 1, 9, 0, 0, 1, 0x65, 1];
        let units: Vec<_> = Units::new(&codes, None).collect();
        assert_eq!(units, [&[9][..], &[0x65, 1]]);
        let short = [0, 0, 0, 9, 1];
        assert_eq!(Units::new(&short, Some(4)).count(), 0);
    }

    #[test]
    fn only_an_exact_recovery_point_will_do() {
        let point = |bits: u8| is_h264_entry(&[6, 6, 1, bits, 0x80]);
        assert!(point(0b1100_0100), "at once, exact");
        assert!(!point(0b1000_0100), "not exact");
        assert!(!point(0b1110_0100), "broken link");
        assert!(!point(0b0101_1000), "after a picture");
        // Another message before it.
        assert!(is_h264_entry(&[6, 5, 2, 7, 7, 6, 1, 0b1100_0100, 0x80]));
        assert!(!is_h264_entry(&[6, 6]));
        assert!(is_h264_entry(&[0x65]));
        assert!(!is_h264_entry(&[0x41]));
    }

    #[test]
    fn emulation_bytes_are_taken_out() {
        assert_eq!(without_emulation(&[0, 0, 3, 1, 0, 3]), [0, 0, 1, 0, 3]);
        assert_eq!(without_emulation(&[0, 0, 0, 3, 3]), [0, 0, 0, 3]);
    }

    #[test]
    fn of_av1_only_a_key_frame_that_is_shown_will_do() {
        assert!(is_av1_entry(&[0x12, 0, 0x32, 1, 0x10]));
        assert!(!is_av1_entry(&[0x12, 0, 0x32, 1, 0x00]), "not shown");
        assert!(!is_av1_entry(&[0x12, 0, 0x32, 1, 0x30]), "inter frame");
        assert!(!is_av1_entry(&[0x12, 0, 0x1A, 1, 0x80]), "shown again");
        assert!(!is_av1_entry(&[0x12, 0]));
    }

    #[test]
    fn of_hevc_all_random_access_pictures_will_do() {
        let taken: Vec<u8> = (0..64)
            .filter(|kind| is_hevc_entry(&[kind << 1, 1]))
            .collect();
        assert_eq!(taken, [16, 17, 18, 19, 20, 21]);
    }
}
