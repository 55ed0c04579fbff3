//! `avcC`, `hvcC` and samples of H.264 and HEVC in, what a package states about them out (ISO/IEC 14496-15 §5.3.3, §8.3.3).

use std::fmt::Write as _;

/// The parameter sets of a sample entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sets {
    hevc: bool,
    /// The codec string that the box asks for.
    pub(super) codec: String,
    length: usize,
    /// What the box and its sequence parameter set contradict each other in.
    pub(super) contradiction: Option<&'static str>,
}

/// What is in a sample.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) idr: bool,
    pub(super) pictures: bool,
    /// Parameter sets, delimiters or filler, which may not be in a sample here.
    pub(super) unwanted: bool,
}

impl Sets {
    /// Reads the payload of `avcC`; `None` where it ends too early.
    pub(super) fn avc(config: &[u8]) -> Option<Self> {
        let &[
            1,
            profile,
            compatibility,
            level,
            length,
            count,
            ref rest @ ..,
        ] = config
        else {
            return None;
        };
        let (sps, rest) = array(rest, u16::from(count & 31))?;
        let (&count, rest) = rest.split_first()?;
        let (pps, _) = array(rest, u16::from(count))?;
        let first = sps.first()?;
        let contradiction = if first.get(1..4) != Some(&[profile, compatibility, level]) {
            Some("profile or level")
        } else if sps.iter().any(|unit| unit[0] & 31 != 7)
            || pps.iter().any(|unit| unit[0] & 31 != 8)
        {
            Some("kinds of parameter sets")
        } else if pps.is_empty() {
            Some("picture parameter sets, of which there are none")
        } else {
            None
        };
        Some(Self {
            hevc: false,
            codec: format!("avc1.{profile:02x}{compatibility:02x}{level:02x}"),
            length: usize::from(length & 3) + 1,
            contradiction,
        })
    }

    /// Reads the payload of `hvcC`; `None` where it ends too early.
    pub(super) fn hevc(config: &[u8]) -> Option<Self> {
        let general = config.get(1..13)?;
        let (&length, mut rest) = config.get(21..)?.split_first()?;
        let (&arrays, after) = rest.split_first()?;
        rest = after;
        let mut found = [0; 3];
        let mut sps = None;
        for _ in 0..arrays {
            let kind = rest.first()? & 63;
            let count = u16::from_be_bytes(rest.get(1..3)?.try_into().ok()?);
            let (units, after) = array(&rest[3..], count)?;
            rest = after;
            let kinds = units.iter().all(|unit| unit[0] >> 1 & 63 == kind);
            let place = kind.checked_sub(32).filter(|place| *place < 3 && kinds)?;
            found[usize::from(place)] += units.len();
            if kind == 33 {
                sps = units.first().copied();
            }
        }
        // Two bytes of header, then a byte of identifiers, then the general profile, tier and level.
        let plain = unescape(sps?);
        let contradiction = if plain.get(3..15) != Some(general) {
            Some("profile or level")
        } else if found.contains(&0) {
            Some("kinds of parameter sets")
        } else {
            None
        };
        Some(Self {
            hevc: true,
            codec: hevc_codec(general),
            length: usize::from(length & 3) + 1,
            contradiction,
        })
    }

    /// Splits a sample; `None` where lengths do not add up.
    pub(super) fn contents(&self, mut sample: &[u8]) -> Option<Contents> {
        let mut contents = Contents::default();
        while !sample.is_empty() {
            let length = sample.get(..self.length)?;
            let size = length
                .iter()
                .fold(0, |all, &byte| all << 8 | usize::from(byte));
            let unit = sample.get(self.length..self.length.checked_add(size)?)?;
            sample = &sample[self.length + size..];
            let first = *unit.first()?;
            let (picture, idr, unwanted) = if self.hevc {
                let kind = first >> 1 & 63;
                (kind < 32, matches!(kind, 19 | 20), matches!(kind, 32..=38))
            } else {
                let kind = first & 31;
                (matches!(kind, 1..=5), kind == 5, matches!(kind, 7..=12))
            };
            contents.pictures |= picture;
            contents.idr |= idr;
            contents.unwanted |= unwanted;
        }
        Some(contents)
    }
}

/// Reads units behind lengths of 16 bits; gives what follows them too.
fn array(mut bytes: &[u8], count: u16) -> Option<(Vec<&[u8]>, &[u8])> {
    let mut units = Vec::new();
    for _ in 0..count {
        let length = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
        let unit = bytes.get(2..2 + usize::from(length))?;
        bytes = &bytes[2 + unit.len()..];
        unit.first()?;
        units.push(unit);
    }
    Some((units, bytes))
}

fn unescape(unit: &[u8]) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::new();
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
        } else {
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            plain.push(byte);
        }
    }
    plain
}

/// `hvc1.1.6.L93.90`, ISO/IEC 14496-15 §E.3.
fn hevc_codec(general: &[u8]) -> String {
    let space = ["", "A", "B", "C"][usize::from(general[0] >> 6)];
    let tier = if general[0] & 32 == 0 { 'L' } else { 'H' };
    let flags = general[1..5]
        .iter()
        .fold(0_u32, |all, &byte| all << 8 | u32::from(byte));
    let mut text = format!(
        "hvc1.{space}{}.{:X}.{tier}{}",
        general[0] & 31,
        flags.reverse_bits(),
        general[11]
    );
    let mut constraints = &general[5..11];
    while let [rest @ .., 0] = constraints {
        constraints = rest;
    }
    for byte in constraints {
        // Writing to a string does not fail.
        let _ = write!(text, ".{byte:X}");
    }
    text
}
