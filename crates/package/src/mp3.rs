//! A frame of MP3 in, what describes its track out, and a frame of silence that fits it (ISO/IEC 11172-3 §2.4.1.3, with the lower rates of
//! ISO/IEC 13818-3).

/// Bits a second, in thousands, by `bitrate_index` from 1: of the three high rates of samples, and of the others.
const BIT_RATES: [[u16; 14]; 2] = [
    [
        32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// The packet does not start with a frame of MP3 whose length its header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet is no frame of MP3 with a bit rate")]
pub struct NoMp3Frame;

/// What the header of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Samples a second.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: u32,
    /// Samples of each channel: 1152, or 576 at 24 kHz and below.
    pub samples: u32,
    /// Length of the frame with its header, in bytes.
    pub bytes: usize,
}

impl Header {
    /// Reads the header of the frame that starts here.
    pub fn of(packet: &[u8]) -> Result<Self, NoMp3Frame> {
        /// By `sampling_frequency`, where the version divides by 1.
        const SAMPLE_RATES: [u32; 3] = [44_100, 48_000, 32_000];
        let Some(&[0xff, kind, rates, mode]) = packet.get(..4) else {
            return Err(NoMp3Frame);
        };
        // The sync word's end, two bits of version, and layer III.
        let divisor = match kind & 0b1111_1110 {
            0b1111_1010 => 1,
            0b1111_0010 => 2,
            0b1110_0010 => 4,
            _ => return Err(NoMp3Frame),
        };
        let low = divisor > 1;
        let rate = usize::from(rates >> 4).checked_sub(1);
        let rate = rate.and_then(|index| BIT_RATES[usize::from(low)].get(index));
        let sample_rate = SAMPLE_RATES.get(usize::from(rates >> 2 & 3));
        let (rate, sample_rate) = rate.zip(sample_rate).ok_or(NoMp3Frame)?;
        let sample_rate = sample_rate / divisor;
        let samples = if low { 576 } else { 1152 };
        let padding = usize::from(rates >> 1 & 1);
        Ok(Self {
            sample_rate,
            channels: if mode >> 6 == 3 { 1 } else { 2 },
            samples,
            bytes: (samples / 8 * u32::from(*rate) * 1000 / sample_rate) as usize + padding,
        })
    }

    /// Whether a decoder goes from one frame to the other without being set up anew.
    #[must_use]
    pub fn goes_on_as(&self, other: &Self) -> bool {
        (self.sample_rate, self.channels) == (other.sample_rate, other.channels)
    }
}

/// Returns a frame of silence with the rate and channels of the frame that has this header: its side information says that nothing follows.
pub fn silence(header: [u8; 4]) -> Result<Vec<u8>, NoMp3Frame> {
    let [sync, kind, rates, mode] = header;
    // No check sum, no padding.
    let header = [sync, kind | 1, rates & 0b1111_1101, mode];
    let mut frame = header.to_vec();
    frame.resize(Header::of(&header)?.bytes, 0);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        // 128 kbit/s at 44.1 kHz in joint stereo, with and without padding.
        let header = Header::of(&[0xff, 0xfb, 0x92, 0x64, 0]).expect("a frame");
        assert_eq!((header.sample_rate, header.channels), (44_100, 2));
        assert_eq!((header.samples, header.bytes), (1152, 418));
        let header = Header::of(&[0xff, 0xfb, 0x90, 0x64]).expect("a frame");
        assert_eq!(header.bytes, 417);
        // 64 kbit/s at 22.05 kHz in mono, and 8 kbit/s at 8 kHz.
        let header = Header::of(&[0xff, 0xf3, 0x80, 0xc4]).expect("a frame");
        assert_eq!((header.sample_rate, header.channels), (22_050, 1));
        assert_eq!((header.samples, header.bytes), (576, 208));
        let header = Header::of(&[0xff, 0xe3, 0x18, 0xc4]).expect("a frame");
        assert_eq!((header.sample_rate, header.bytes), (8000, 72));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bad in [
            &[][..],
            &[0xff, 0xfb, 0x90],
            // Layer II, a free rate, no rate, no rate of samples, no sync.
            &[0xff, 0xfd, 0x90, 0x64],
            &[0xff, 0xfb, 0x00, 0x64],
            &[0xff, 0xfb, 0xf0, 0x64],
            &[0xff, 0xfb, 0x9c, 0x64],
            &[0xfe, 0xfb, 0x90, 0x64],
        ] {
            assert_eq!(Header::of(bad), Err(NoMp3Frame), "{bad:x?}");
        }
    }

    #[test]
    fn silence_is_like_the_frame() {
        let frame = [0xff, 0xfa, 0x92, 0x64];
        let silence = silence(frame).expect("a frame");
        let (like, own) = (Header::of(&frame), Header::of(&silence));
        let (like, own) = (like.expect("a frame"), own.expect("a frame"));
        assert!(own.goes_on_as(&like));
        assert_eq!((own.bytes, silence.len()), (417, 417));
        assert!(silence[4..].iter().all(|byte| *byte == 0));
    }
}
