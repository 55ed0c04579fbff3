//! What goes between the stand-in for NVENC and its encoder program: a specification and frames in, packets out.
//!
//! The encoder is a process of its own as libavcodec 5.1 holds a lock of the whole process while `hevc_nvenc` opens, and
//! another encoder of it cannot be opened meanwhile.

use std::io::{self, ErrorKind, Read, Write};

/// The most bytes of a packet or of headers.
const LONGEST: u64 = 1 << 28;

/// How the encoder decides on bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// The quantizers of I, P and B frames.
    Quantizers([u32; 3]),
    /// A target quality in 256ths, and a rate that is not to be exceeded if that is not 0.
    Quality(u32),
    /// The average rate.
    Average,
}

/// What is to be encoded, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// 0: H.264, 1: HEVC, 2: AV1.
    pub codec: u32,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Of a sample: 8 or 10.
    pub bits: u32,
    /// The largest distance of keyframes; 0 if only the first is one.
    pub gop: u32,
    /// B frames between two others.
    pub b_frames: u32,
    /// Frames a second: numerator and denominator.
    pub frame_rate: [u32; 2],
    /// What decides on bits.
    pub rate: Rate,
    /// Bits a second on average, at most, and bits of the buffer; 0 where nothing was said.
    pub rates: [u32; 3],
    /// Primaries, transfer characteristics, matrix, by the codecs' numbers; 1 for full range.
    pub color: [u32; 4],
    /// Whether parameter sets stand before each keyframe.
    pub repeat_headers: bool,
}

const FIELDS: usize = 22;

impl Spec {
    fn numbers(&self) -> [u32; FIELDS] {
        let (mode, values) = match self.rate {
            Rate::Quantizers(values) => (0, values),
            Rate::Quality(quality) => (1, [quality, 0, 0]),
            Rate::Average => (2, [0; 3]),
        };
        let [primaries, transfer, matrix, full] = self.color;
        let [average, most, buffer] = self.rates;
        [
            self.codec,
            self.width,
            self.height,
            self.bits,
            self.gop,
            self.b_frames,
            self.frame_rate[0],
            self.frame_rate[1],
            mode,
            values[0],
            values[1],
            values[2],
            average,
            most,
            buffer,
            primaries,
            transfer,
            matrix,
            full,
            u32::from(self.repeat_headers),
            0,
            0,
        ]
    }

    fn of([codec, width, height, bits, rest @ ..]: [u32; FIELDS]) -> io::Result<Self> {
        let [
            gop,
            b_frames,
            num,
            den,
            mode,
            first,
            second,
            third,
            rest @ ..,
        ] = rest;
        let [
            average,
            most,
            buffer,
            primaries,
            transfer,
            matrix,
            full,
            repeat,
            ..,
        ] = rest;
        Ok(Self {
            codec,
            width,
            height,
            bits,
            gop,
            b_frames,
            frame_rate: [num, den],
            rate: match mode {
                0 => Rate::Quantizers([first, second, third]),
                1 => Rate::Quality(first),
                2 => Rate::Average,
                _ => return Err(ErrorKind::InvalidData.into()),
            },
            rates: [average, most, buffer],
            color: [primaries, transfer, matrix, full],
            repeat_headers: repeat != 0,
        })
    }

    /// Bytes of a frame: three planes, rows without gaps, samples of 10 bits in two bytes.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        let [luma, chroma] = self.plane_bytes();
        luma + 2 * chroma
    }

    /// Bytes of the plane of luma, and of one of chroma.
    #[must_use]
    pub fn plane_bytes(&self) -> [usize; 2] {
        let sample = if self.bits > 8 { 2 } else { 1 };
        let plane = |width: u32, height: u32| width as usize * height as usize * sample;
        [
            plane(self.width, self.height),
            plane(self.width.div_ceil(2), self.height.div_ceil(2)),
        ]
    }

    /// Writes it.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        for number in self.numbers() {
            to.write_all(&number.to_le_bytes())?;
        }
        to.flush()
    }

    /// Reads one.
    pub fn read(from: &mut dyn Read) -> io::Result<Self> {
        let mut numbers = [0; FIELDS];
        for number in &mut numbers {
            *number = u32::from_le_bytes(bytes(from)?);
        }
        Self::of(numbers)
    }
}

/// What the encoder is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Encode the frame whose bytes follow.
    Frame {
        /// Whether it has to be a keyframe.
        key: bool,
        /// What its packet will be known by.
        token: u64,
    },
    /// Give out what is left.
    End,
}

impl Order {
    /// Writes it, without the bytes of a frame.
    pub fn write(self, to: &mut dyn Write) -> io::Result<()> {
        let (kind, token) = match self {
            Self::Frame { key, token } => (1 + u8::from(key), token),
            Self::End => (0, 0),
        };
        to.write_all(&[kind])?;
        to.write_all(&token.to_le_bytes())
    }

    /// Reads one; `None` at the end of the pipe.
    pub fn read(from: &mut dyn Read) -> io::Result<Option<Self>> {
        let mut kind = [0];
        if from.read(&mut kind)? == 0 {
            return Ok(None);
        }
        let token = u64::from_le_bytes(bytes(from)?);
        Ok(Some(match kind[0] {
            0 => Self::End,
            kind => Self::Frame {
                key: kind == 2,
                token,
            },
        }))
    }
}

/// What the encoder answers, after the specification and after each order: packets, and then that there are no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is open: its headers.
    Open(Vec<u8>),
    /// A packet.
    Packet {
        /// What the frame was known by.
        token: u64,
        /// Whether decoding can start there.
        key: bool,
        /// The data.
        data: Vec<u8>,
    },
    /// There are no more packets for now.
    Done,
    /// It failed, for a reason in words.
    Failed(String),
}

impl Answer {
    /// Writes it.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let (kind, token, data) = match self {
            Self::Done => (0, 0, &[][..]),
            Self::Open(data) => (1, 0, data.as_slice()),
            Self::Packet { token, key, data } => (2 + u8::from(*key), *token, data.as_slice()),
            Self::Failed(reason) => (4, 0, reason.as_bytes()),
        };
        to.write_all(&[kind])?;
        to.write_all(&token.to_le_bytes())?;
        to.write_all(&(data.len() as u64).to_le_bytes())?;
        to.write_all(data)?;
        to.flush()
    }

    /// Reads one.
    pub fn read(from: &mut dyn Read) -> io::Result<Self> {
        let [kind] = bytes(from)?;
        let token = u64::from_le_bytes(bytes(from)?);
        let length = u64::from_le_bytes(bytes(from)?);
        if length > LONGEST {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut data = vec![0; length as usize];
        from.read_exact(&mut data)?;
        Ok(match kind {
            0 => Self::Done,
            1 => Self::Open(data),
            2 | 3 => Self::Packet {
                token,
                key: kind == 3,
                data,
            },
            4 => Self::Failed(String::from_utf8_lossy(&data).into_owned()),
            _ => return Err(ErrorKind::InvalidData.into()),
        })
    }
}

fn bytes<const N: usize>(from: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let spec = Spec {
            codec: 1,
            width: 321,
            height: 181,
            bits: 10,
            gop: 50,
            b_frames: 2,
            frame_rate: [25, 1],
            rate: Rate::Quantizers([20, 22, 24]),
            rates: [1, 2, 3],
            color: [9, 16, 9, 0],
            repeat_headers: true,
        };
        let order = Order::Frame {
            key: true,
            token: 7,
        };
        let answer = Answer::Packet {
            token: 7,
            key: true,
            data: vec![1, 2, 3],
        };
        let mut pipe = Vec::new();
        spec.write(&mut pipe).expect("memory");
        order.write(&mut pipe).expect("memory");
        answer.write(&mut pipe).expect("memory");
        let mut pipe = pipe.as_slice();
        assert_eq!(Spec::read(&mut pipe).expect("a specification"), spec);
        assert_eq!(Order::read(&mut pipe).expect("an order"), Some(order));
        assert_eq!(Answer::read(&mut pipe).expect("an answer"), answer);
        assert_eq!(Order::read(&mut pipe).expect("the end"), None);
        assert_eq!(spec.frame_bytes(), (321 * 181 + 2 * 161 * 91) * 2);
    }
}
