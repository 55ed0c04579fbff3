//! A packet of AC-3 or E-AC-3 in, the payload of the box that describes its track out (ETSI TS 102 366, annex F): `dac3` and `dec3`.

use crate::bits::{BitReader, EndOfData};

/// Samples of an access unit: six blocks of 256.
pub const FRAME_SAMPLES: u32 = 1536;

/// Bits a second, in thousands, by `bit_rate_code`.
const AC3_RATES: [u16; 19] = [
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
];

/// Why a packet does not tell how its track is to be described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DolbyError {
    /// The packet does not start with a frame of the codec, or ends inside its header.
    #[error("the packet is no whole frame")]
    NoFrame,
    /// The frame is of a form that MP4 has no description for: fewer than six blocks, or a reserved rate.
    #[error("the frame is of a form that MP4 does not take")]
    Form,
}

impl From<EndOfData> for DolbyError {
    fn from(_: EndOfData) -> Self {
        Self::NoFrame
    }
}

/// Puts bit fields together, most significant bit first.
#[derive(Default)]
struct Fields {
    value: u128,
    bits: u32,
}

impl Fields {
    fn put(&mut self, value: u32, bits: u32) {
        self.value = self.value << bits | u128::from(value);
        self.bits += bits;
    }

    fn bytes(self) -> Vec<u8> {
        let padding = self.bits.next_multiple_of(8) - self.bits;
        let bytes = (self.value << padding).to_be_bytes();
        bytes[bytes.len() - (self.bits + padding) as usize / 8..].to_vec()
    }
}

fn sync(reader: &mut BitReader<'_>) -> Result<(), DolbyError> {
    if reader.bits(16)? == 0x0b77 {
        Ok(())
    } else {
        Err(DolbyError::NoFrame)
    }
}

/// Returns the payload of `dac3` (§F.4) for a track that starts with this packet.
pub fn ac3_config(packet: &[u8]) -> Result<Vec<u8>, DolbyError> {
    let mut reader = BitReader::new(packet);
    sync(&mut reader)?;
    reader.skip(16)?;
    let rate = reader.bits(2)?;
    let size = reader.bits(6)?;
    let version = reader.bits(5)?;
    if rate == 3 || version > 8 || size as usize / 2 >= AC3_RATES.len() {
        return Err(DolbyError::Form);
    }
    let mode = reader.bits(3)?;
    let channels = reader.bits(3)?;
    // §4.4.2: mix levels stand there where there is something to mix.
    if channels & 1 == 1 && channels != 1 {
        reader.skip(2)?;
    }
    if channels & 4 != 0 {
        reader.skip(2)?;
    }
    if channels == 2 {
        reader.skip(2)?;
    }
    let low = u32::from(reader.flag()?);
    let mut fields = Fields::default();
    for (value, bits) in [
        (rate, 2),
        (version, 5),
        (mode, 3),
        (channels, 3),
        (low, 1),
        (size / 2, 5),
        (0, 5),
    ] {
        fields.put(value, bits);
    }
    Ok(fields.bytes())
}

/// One frame of an access unit of E-AC-3 (§E.1.2.2).
struct Eac3Frame {
    dependent: bool,
    bytes: usize,
    rate: u32,
    samples_a_second: u32,
    version: u32,
    channels: u32,
    low: u32,
    /// Which places a dependent frame adds, as `chanmap` has it.
    places: u32,
}

impl Eac3Frame {
    fn read(data: &[u8]) -> Result<Self, DolbyError> {
        let mut reader = BitReader::new(data);
        sync(&mut reader)?;
        let kind = reader.bits(2)?;
        reader.skip(3)?;
        let bytes = (reader.bits(11)? as usize + 1) * 2;
        let rate = reader.bits(2)?;
        let blocks = reader.bits(2)?;
        // A rate of 3 is half of one that the next field names, with six blocks.
        if rate == 3 || blocks != 3 || kind == 3 {
            return Err(DolbyError::Form);
        }
        let channels = reader.bits(3)?;
        let low = u32::from(reader.flag()?);
        let version = reader.bits(5)?;
        let programs = if channels == 0 { 2 } else { 1 };
        for _ in 0..programs {
            reader.skip(5)?;
            if reader.flag()? {
                reader.skip(8)?;
            }
        }
        let dependent = kind == 1;
        let mapped = dependent && reader.flag()?;
        let places = if mapped { reader.bits(16)? } else { 0 };
        if bytes > data.len() {
            return Err(DolbyError::NoFrame);
        }
        Ok(Self {
            dependent,
            bytes,
            rate,
            samples_a_second: [48_000, 44_100, 32_000][rate as usize],
            version,
            channels,
            low,
            places,
        })
    }

    /// `chan_loc` (§F.6.2.12), whose nine bits are those of `chanmap` from the sixth on, in the other order and without all that stands
    /// between the overhead pair and the second low-frequency channel.
    fn locations(&self) -> u32 {
        let bit = |place: u32| self.places >> (15 - place) & 1;
        let first: u32 = (0..8).map(|index| bit(5 + index) << index).sum();
        first | bit(14) << 8
    }
}

/// Returns the payload of `dec3` (§F.6) for a track that starts with this packet, which is a whole access unit.
pub fn eac3_config(packet: &[u8]) -> Result<Vec<u8>, DolbyError> {
    let mut frames = Vec::new();
    let mut rest = packet;
    while !rest.is_empty() {
        let frame = Eac3Frame::read(rest)?;
        rest = &rest[frame.bytes..];
        frames.push(frame);
    }
    let first = frames.first().filter(|frame| !frame.dependent);
    let first = first.ok_or(DolbyError::NoFrame)?;
    let independent = frames.iter().filter(|frame| !frame.dependent).count();
    if independent > 8 {
        return Err(DolbyError::Form);
    }
    let thousands = packet.len() as u64 * 8 * u64::from(first.samples_a_second)
        / u64::from(FRAME_SAMPLES)
        / 1000;
    let mut fields = Fields::default();
    fields.put(u32::try_from(thousands).unwrap_or(0).min(0x1fff), 13);
    fields.put(independent as u32 - 1, 3);
    let mut frames = frames.iter().peekable();
    while let Some(frame) = frames.next() {
        let (mut dependents, mut locations) = (0, 0);
        while let Some(other) = frames.next_if(|other| other.dependent) {
            dependents += 1;
            locations |= other.locations();
        }
        for (value, bits) in [
            (frame.rate, 2),
            (frame.version, 5),
            // Reserved, a main service (asvc 0, bsmod 0).
            (0, 5),
            (frame.channels, 3),
            (frame.low, 1),
            (0, 3),
            (dependents, 4),
        ] {
            fields.put(value, bits);
        }
        if dependents > 0 {
            fields.put(locations, 9);
        } else {
            fields.put(0, 1);
        }
        if fields.bits > 128 - 40 {
            return Err(DolbyError::Form);
        }
    }
    Ok(fields.bytes())
}

/// Returns the bits a second that a payload of `dac3` states.
#[must_use]
pub fn ac3_bit_rate(config: &[u8]) -> Option<u64> {
    let mut reader = BitReader::new(config);
    reader.skip(14).ok()?;
    let code = reader.bits(5).ok()?;
    let rate = AC3_RATES.get(code as usize)?;
    Some(u64::from(*rate) * 1000)
}

/// Returns the bits a second that a payload of `dec3` states.
#[must_use]
pub fn eac3_bit_rate(config: &[u8]) -> Option<u64> {
    let rate = BitReader::new(config).bits(13).ok()?;
    Some(u64::from(rate) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ac3_header_becomes_a_box() {
        // 48 kHz, 448 kbit/s, bsid 8, three in front and two behind, and a low-frequency channel.
        let packet = [0x0b, 0x77, 0, 0, 0x1e, 0x40, 0xe1, 0];
        let config = ac3_config(&packet).unwrap();
        assert_eq!(config, [0x10, 0x3d, 0xe0]);
        assert_eq!(ac3_bit_rate(&config), Some(448_000));
        assert_eq!(ac3_config(&packet[..6]), Err(DolbyError::NoFrame));
        assert_eq!(ac3_config(&[0; 8]), Err(DolbyError::NoFrame));
        let reserved = [0x0b, 0x77, 0, 0, 0xde, 0x40, 0xe1, 0];
        assert_eq!(ac3_config(&reserved), Err(DolbyError::Form));
    }

    /// A frame of 5.1 of twelve bytes, and one that depends on it and adds two channels behind.
    const WHOLE: [u8; 12] = [0x0b, 0x77, 0, 5, 0x3f, 0x87, 0xc0, 0, 0, 0, 0, 0];
    const ADDED: [u8; 12] = [0x0b, 0x77, 0x40, 5, 0x34, 0x87, 0xd0, 0x20, 0, 0, 0, 0];

    #[test]
    fn an_access_unit_of_eac3_becomes_a_box() {
        let config = eac3_config(&WHOLE).unwrap();
        assert_eq!(config, [0x00, 0x18, 0x20, 0x0f, 0x00]);
        assert_eq!(eac3_bit_rate(&config), Some(3000));
        let config = eac3_config(&[WHOLE, ADDED].concat()).unwrap();
        assert_eq!(config, [0x00, 0x30, 0x20, 0x0f, 0x02, 0x02]);
    }

    #[test]
    fn what_is_no_access_unit_is_refused() {
        for bad in [&[][..], &WHOLE[..9], &ADDED] {
            assert_eq!(eac3_config(bad), Err(DolbyError::NoFrame), "{bad:?}");
        }
        let mut one_block = WHOLE;
        one_block[4] = 0x0f;
        assert_eq!(eac3_config(&one_block), Err(DolbyError::Form));
        assert_eq!(eac3_config(&WHOLE.repeat(9)), Err(DolbyError::Form));
    }
}
