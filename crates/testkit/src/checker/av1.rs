//! OBUs of AV1 in, the fields that a package states about them out (AV1 specification §5.3, §5.5, §5.9).

use crate::mp4::{Av1c, Nclx};

/// What a sequence header says, as far as playlists and `av1C` repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) profile: u8,
    pub(super) still_picture: bool,
    reduced: bool,
    pub(super) level: u8,
    pub(super) tier: u8,
    pub(super) bit_depth: u8,
    pub(super) monochrome: bool,
    pub(super) subsampling: (u8, u8),
    pub(super) chroma_position: u8,
    pub(super) color: Nclx,
    pub(super) size: (u32, u32),
    pub(super) presentation_delay: Option<u8>,
}

/// One OBU of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Obu<'a> {
    pub(super) kind: u8,
    /// Whether it carries its own size, as it must in ISO media files.
    pub(super) sized: bool,
    pub(super) payload: &'a [u8],
}

pub(super) const SEQUENCE_HEADER: u8 = 1;
pub(super) const TEMPORAL_DELIMITER: u8 = 2;
pub(super) const FRAME_HEADER: u8 = 3;
pub(super) const FRAME: u8 = 6;
pub(super) const TILE_LIST: u8 = 8;
pub(super) const PADDING: u8 = 15;

/// Splits a sample into its OBUs; `None` where the sizes do not add up.
pub(super) fn obus(mut bytes: &[u8]) -> Option<Vec<Obu<'_>>> {
    let mut list = Vec::new();
    while let Some(&head) = bytes.first() {
        if head & 0x81 != 0 {
            return None;
        }
        let sized = head & 2 != 0;
        bytes = bytes.get(if head & 4 == 0 { 1 } else { 2 }..)?;
        let size = if sized {
            let (size, used) = leb128(bytes)?;
            bytes = &bytes[used..];
            size
        } else {
            bytes.len()
        };
        let payload = bytes.get(..size)?;
        bytes = &bytes[size..];
        list.push(Obu {
            kind: head >> 3 & 15,
            sized,
            payload,
        });
    }
    Some(list)
}

fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, index + 1));
        }
    }
    None
}

/// Says whether the first frame of a sample is a key frame that is shown; `None` where there is no frame.
pub(super) fn starts_with_key(sequence: &Sequence, obus: &[Obu<'_>]) -> Option<bool> {
    let frame = obus
        .iter()
        .find(|obu| matches!(obu.kind, FRAME | FRAME_HEADER))?;
    let head = *frame.payload.first()?;
    // show_existing_frame (0), frame_type (0 0: key), show_frame (1).
    Some(sequence.reduced || head >> 4 == 1)
}

impl Sequence {
    /// Reads the payload of a sequence header OBU; `None` where it ends too early.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let mut bits = Bits {
            bytes: payload,
            at: 0,
        };
        let profile = bits.take(3)? as u8;
        let still_picture = bits.flag()?;
        let reduced = bits.flag()?;
        let point = if reduced {
            Point {
                level: bits.take(5)? as u8,
                tier: 0,
                presentation_delay: None,
            }
        } else {
            operating_points(&mut bits)?
        };
        let (width_bits, height_bits) = (bits.take(4)? + 1, bits.take(4)? + 1);
        let size = (bits.take(width_bits)? + 1, bits.take(height_bits)? + 1);
        tools(&mut bits, reduced)?;
        let mut sequence = Self {
            profile,
            still_picture,
            reduced,
            level: point.level,
            tier: point.tier,
            bit_depth: 8,
            monochrome: false,
            subsampling: (1, 1),
            chroma_position: 0,
            color: Nclx {
                primaries: 2,
                transfer: 2,
                matrix: 2,
                full_range: false,
            },
            size,
            presentation_delay: point.presentation_delay,
        };
        sequence.color_config(&mut bits)?;
        Some(sequence)
    }

    /// `color_config`, §5.5.2.
    fn color_config(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let high = bits.flag()?;
        let twelve = self.profile == 2 && high && bits.flag()?;
        self.bit_depth = if twelve { 12 } else { 8 + 2 * u8::from(high) };
        self.monochrome = self.profile != 1 && bits.flag()?;
        if bits.flag()? {
            self.color.primaries = bits.take(8)? as u16;
            self.color.transfer = bits.take(8)? as u16;
            self.color.matrix = bits.take(8)? as u16;
        }
        if self.monochrome {
            self.color.full_range = bits.flag()?;
            return Some(());
        }
        if (self.color.primaries, self.color.transfer, self.color.matrix) == (1, 13, 0) {
            self.color.full_range = true;
            self.subsampling = (0, 0);
            return Some(());
        }
        self.color.full_range = bits.flag()?;
        self.subsampling = match (self.profile, self.bit_depth) {
            (0, _) => (1, 1),
            (1, _) => (0, 0),
            (_, 12) => {
                let x = bits.take(1)? as u8;
                (x, if x == 1 { bits.take(1)? as u8 } else { 0 })
            }
            _ => (1, 0),
        };
        if self.subsampling == (1, 1) {
            self.chroma_position = bits.take(2)? as u8;
        }
        Some(())
    }

    /// Returns the full codec string (AV1-ISOBMFF §5).
    pub(super) fn codec_string(&self) -> String {
        let Nclx {
            primaries,
            transfer,
            matrix,
            full_range,
        } = self.color;
        let position = if self.subsampling == (1, 1) {
            self.chroma_position
        } else {
            0
        };
        format!(
            "av01.{}.{:02}{}.{:02}.{}.{}{}{position}.{primaries:02}.{transfer:02}.{matrix:02}.{}",
            self.profile,
            self.level,
            if self.tier == 0 { 'M' } else { 'H' },
            self.bit_depth,
            u8::from(self.monochrome),
            self.subsampling.0,
            self.subsampling.1,
            u8::from(full_range)
        )
    }

    /// Names the first field in which `av1C` says something else.
    pub(super) fn contradiction(&self, config: &Av1c) -> Option<&'static str> {
        let pairs = [
            ("profile", self.profile == config.profile),
            ("level", self.level == config.level),
            ("tier", self.tier == config.tier),
            ("bit depth", self.bit_depth == config.bit_depth),
            ("monochrome flag", self.monochrome == config.monochrome),
            ("chroma subsampling", self.subsampling == config.subsampling),
            (
                "chroma sample position",
                self.chroma_position == config.chroma_position,
            ),
        ];
        pairs
            .iter()
            .find(|(_, equal)| !equal)
            .map(|&(name, _)| name)
    }

    /// Names the first field of the CMAF contract in which another header of the same rendition differs
    /// (AV1-ISOBMFF §4: what all fragments of a track share).
    pub(super) fn difference(&self, other: &Self) -> Option<&'static str> {
        let pairs = [
            ("profile", self.profile == other.profile),
            (
                "still picture flag",
                self.still_picture == other.still_picture,
            ),
            ("level", self.level == other.level),
            ("tier", self.tier == other.tier),
            ("bit depth", self.bit_depth == other.bit_depth),
            ("monochrome flag", self.monochrome == other.monochrome),
            ("chroma subsampling", self.subsampling == other.subsampling),
            ("colours", self.color == other.color),
            (
                "presentation delay",
                self.presentation_delay == other.presentation_delay,
            ),
            ("dimensions", self.size == other.size),
        ];
        pairs
            .iter()
            .find(|(_, equal)| !equal)
            .map(|&(name, _)| name)
    }
}

/// The first operating point.
struct Point {
    level: u8,
    tier: u8,
    presentation_delay: Option<u8>,
}

/// Timing and operating points of `sequence_header_obu`, §5.5.1.
fn operating_points(bits: &mut Bits<'_>) -> Option<Point> {
    let mut decoder_model = None;
    if bits.flag()? {
        bits.skip(64);
        if bits.flag()? {
            bits.uvlc()?;
        }
        if bits.flag()? {
            let delay_bits = bits.take(5)? + 1;
            bits.skip(32 + 5 + 5);
            decoder_model = Some(delay_bits);
        }
    }
    let delays = bits.flag()?;
    let count = bits.take(5)? + 1;
    let mut first = None;
    for _ in 0..count {
        bits.skip(12);
        let level = bits.take(5)? as u8;
        let tier = if level > 7 { bits.take(1)? as u8 } else { 0 };
        if let Some(delay_bits) = decoder_model
            && bits.flag()?
        {
            bits.skip(2 * delay_bits as usize + 1);
        }
        let presentation_delay = if delays && bits.flag()? {
            Some(bits.take(4)? as u8)
        } else {
            None
        };
        first.get_or_insert(Point {
            level,
            tier,
            presentation_delay,
        });
    }
    first
}

/// What lies between the dimensions and the colours: frame numbers and the switches of coding tools, §5.5.1.
fn tools(bits: &mut Bits<'_>, reduced: bool) -> Option<()> {
    if !reduced && bits.flag()? {
        bits.skip(7);
    }
    // 128×128 superblocks, filter intra, intra edge filter.
    bits.skip(3);
    if !reduced {
        // Interintra, masked compound, warped motion, dual filter.
        bits.skip(4);
        let order_hint = bits.flag()?;
        if order_hint {
            // Jointly weighted compound, motion vectors of reference frames.
            bits.skip(2);
        }
        let screen = if bits.flag()? { 2 } else { bits.take(1)? };
        if screen > 0 && !bits.flag()? {
            bits.skip(1);
        }
        if order_hint {
            bits.skip(3);
        }
    }
    // Super-resolution, CDEF, loop restoration.
    bits.skip(3);
    Some(())
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn flag(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit == 1)
    }

    fn skip(&mut self, count: usize) {
        self.at += count;
    }

    fn uvlc(&mut self) -> Option<()> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
        }
        self.skip(if zeros < 32 { zeros } else { 0 });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mp4, tool};

    /// Encodes one frame and returns the sequence header that FFmpeg's muxer put into `av1C`.
    fn encoded(options: &[&str]) -> Option<(Av1c, Sequence)> {
        tool::require("ffmpeg")?;
        tool::require_encoder("libaom-av1")?;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one.mp4");
        let run = tool::ffmpeg().args([
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=322x182:rate=24",
            "-frames:v",
            "1",
        ]);
        let run = run
            .args(["-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "40"])
            .args(options);
        run.arg(&file).run().unwrap();
        let init = mp4::init(&std::fs::read(&file).unwrap()).unwrap();
        let config = init.tracks[0].entries[0].av1c.clone().unwrap();
        let obus = obus(&config.obus).unwrap();
        let header = obus.iter().find(|obu| obu.kind == SEQUENCE_HEADER).unwrap();
        let sequence = Sequence::parse(header.payload).unwrap();
        Some((config.clone(), sequence))
    }

    #[test]
    fn what_an_encoder_was_told_is_read_back() {
        let tags = [
            "-color_primaries",
            "bt2020",
            "-color_trc",
            "smpte2084",
            "-colorspace",
            "bt2020nc",
        ];
        let options = [
            &["-pix_fmt", "yuv420p10le", "-color_range", "pc"][..],
            &tags[..],
        ]
        .concat();
        let Some((config, sequence)) = encoded(&options) else {
            return;
        };
        assert_eq!(
            (
                sequence.size,
                sequence.bit_depth,
                sequence.contradiction(&config)
            ),
            ((322, 182), 10, None)
        );
        let color = Nclx {
            primaries: 9,
            transfer: 16,
            matrix: 9,
            full_range: true,
        };
        assert_eq!(sequence.color, color);
        assert!(
            sequence.codec_string().ends_with("M.10.0.110.09.16.09.1"),
            "{}",
            sequence.codec_string()
        );
    }

    #[test]
    fn other_subsamplings_are_read_back() {
        let Some((config, sequence)) = encoded(&["-pix_fmt", "yuv444p"]) else {
            return;
        };
        assert_eq!(
            (
                sequence.profile,
                sequence.subsampling,
                sequence.contradiction(&config)
            ),
            (1, (0, 0), None)
        );
        let Some((mut config, sequence)) = encoded(&["-pix_fmt", "yuv422p10le"]) else {
            return;
        };
        assert_eq!(
            (
                sequence.profile,
                sequence.subsampling,
                sequence.contradiction(&config)
            ),
            (2, (1, 0), None)
        );
        config.tier ^= 1;
        assert_eq!(sequence.contradiction(&config), Some("tier"));
    }

    #[test]
    fn a_header_cut_anywhere_is_none_or_the_same() {
        let Some((config, sequence)) = encoded(&[]) else {
            return;
        };
        let obus = obus(&config.obus).unwrap();
        for end in 0..obus[0].payload.len() {
            if let Some(cut) = Sequence::parse(&obus[0].payload[..end]) {
                assert_eq!(cut, sequence, "{end}");
            }
        }
    }
}
