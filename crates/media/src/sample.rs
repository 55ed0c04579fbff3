//! A few moving pictures, compressed on the spot: something to try a decoder on where no file is at hand.
//!
//! The pictures are the same on every machine; what the encoders make of them need not be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::color::Color;
use crate::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use crate::error::Error;
use crate::ffi::{self, AvFrame, CodecContext, Parameters, Poll, VideoSettings};
use crate::frame::{BitDepth, Frame};
use crate::hardware::HardwareDevice;
use crate::packet::Packet;
use crate::time::{Rational, TimeBase};

/// The usual size of the pictures, in pixels: above the least that decoders on devices take, and no multiple of what they work in.
pub const SIZE: (u32, u32) = (424, 240);
/// How many pictures there are.
pub const PICTURES: u32 = 12;
/// Pictures of a decoder on a device that are held at once.
const HELD: u32 = PICTURES + 2;

/// A codec that sources come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// H.264.
    H264,
    /// HEVC.
    Hevc,
    /// VP9.
    Vp9,
    /// AV1.
    Av1,
    /// MPEG-2.
    Mpeg2,
}

type Options = &'static [(&'static str, &'static str)];

impl Coding {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::H264, Self::Hevc, Self::Vp9, Self::Av1, Self::Mpeg2];

    /// The depths that there are of it.
    #[must_use]
    pub const fn depths(self) -> &'static [BitDepth] {
        match self {
            Self::Mpeg2 => &[BitDepth::Eight],
            _ => &[BitDepth::Eight, BitDepth::Ten],
        }
    }

    /// Software encoders for it, best first, each with what makes it quick.
    const fn encoders(self) -> &'static [(&'static str, Options)] {
        match self {
            Self::H264 => &[
                ("libx264", &[("preset", "veryfast"), ("crf", "20")]),
                ("libopenh264", &[("b", "2000000")]),
            ],
            Self::Hevc => &[(
                "libx265",
                &[
                    ("preset", "veryfast"),
                    ("crf", "20"),
                    ("x265-params", "log-level=none:info=0:pools=none"),
                ],
            )],
            Self::Vp9 => &[(
                "libvpx-vp9",
                &[
                    ("deadline", "realtime"),
                    ("cpu-used", "8"),
                    ("b", "0"),
                    ("crf", "20"),
                ],
            )],
            Self::Av1 => &[
                ("libsvtav1", &[("preset", "10"), ("crf", "25")]),
                (
                    "libaom-av1",
                    &[
                        ("usage", "realtime"),
                        ("cpu-used", "8"),
                        ("b", "0"),
                        ("crf", "25"),
                    ],
                ),
                ("librav1e", &[("speed", "10"), ("qp", "80")]),
            ],
            Self::Mpeg2 => &[("mpeg2video", &[("b", "4000000")])],
        }
    }

    /// Packets that are kept for an FFmpeg without an encoder, each with its length before it (`scripts/keep-samples`), and FFmpeg's decoder for them.
    const fn kept(self, depth: BitDepth) -> Option<(&'static str, &'static [u8])> {
        Some(match (self, depth) {
            (Self::Hevc, BitDepth::Eight) => ("hevc", include_bytes!("../samples/hevc-8.bin")),
            (Self::Hevc, BitDepth::Ten) => ("hevc", include_bytes!("../samples/hevc-10.bin")),
            (Self::Vp9, BitDepth::Eight) => ("vp9", include_bytes!("../samples/vp9-8.bin")),
            (Self::Vp9, BitDepth::Ten) => ("vp9", include_bytes!("../samples/vp9-10.bin")),
            _ => return None,
        })
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Vp9 => "vp9",
            Self::Av1 => "av1",
            Self::Mpeg2 => "mpeg2",
        })
    }
}

/// The pictures in one codec.
pub struct Sample {
    parameters: Parameters,
    packets: Vec<Packet>,
}

impl Sample {
    /// Encodes the pictures with the first software encoder that this FFmpeg has and that takes the depth; if there is none, takes other pictures that are
    /// kept in HEVC and VP9.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if there are none either; otherwise why the last encoder failed.
    pub fn make(coding: Coding, depth: BitDepth) -> Result<Self, Error> {
        Self::sized(coding, (SIZE, depth)).or_else(|error| {
            let kept = Self::kept(coding, depth).transpose();
            kept.unwrap_or(Err(error))
        })
    }

    /// The pictures that are kept, of the codings of which there are some.
    fn kept(coding: Coding, depth: BitDepth) -> Result<Option<Self>, Error> {
        crate::init();
        let Some((name, mut left)) = coding.kept(depth) else {
            return Ok(None);
        };
        let unsupported = || Error::Unsupported {
            what: format!("software decoder for {coding}"),
        };
        let decoder = ffi::Codec::decoder(name).ok_or_else(unsupported)?;
        let rate = Rational { num: 1, den: 25 };
        let parameters = Parameters::of(decoder, rate).map_err(Error::open_codec(name))?;
        let mut packets = Vec::new();
        while let Some((length, rest)) = left.split_first_chunk() {
            let (packet, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
            packets.push(Packet::copy_of(packet)?);
            left = rest;
        }
        Ok(Some(Self {
            parameters,
            packets,
        }))
    }

    /// The same in another size.
    ///
    /// # Errors
    /// As of [`make`](Self::make).
    pub fn sized(coding: Coding, (size, depth): ((u32, u32), BitDepth)) -> Result<Self, Error> {
        crate::init();
        let mut failed = Error::Unsupported {
            what: format!("software encoder for {coding} in {} bits", depth.bits()),
        };
        for (name, options) in coding.encoders() {
            if let Some(codec) = ffi::Codec::encoder(name) {
                match encode(codec, (size, depth), options) {
                    Ok(made) => return Ok(made),
                    Err(error) => failed = error,
                }
            }
        }
        Err(failed)
    }

    /// Decodes the pictures on the device over and over, as often as told, and drops them: to see how fast it is. Returns how many there were.
    ///
    /// # Errors
    /// As of [`VideoDecoder::open_on`].
    pub fn repeat_on(&self, device: &HardwareDevice, rounds: u32) -> Result<u32, Error> {
        let on = (device, HELD);
        let mut decoder = VideoDecoder::of_parameters_on(&self.parameters, &options(), on)?;
        let mut frames = Vec::new();
        let mut count = 0;
        for packet in (0..rounds)
            .flat_map(|_| &self.packets)
            .map(Some)
            .chain([None])
        {
            while decoder.send(packet)? == Sent::Full {
                take(&mut decoder, &mut frames)?;
            }
            take(&mut decoder, &mut frames)?;
            count += frames.drain(..).count() as u32;
        }
        Ok(count)
    }

    /// The pictures as the CPU decodes them.
    pub fn decode(&self) -> Result<Vec<Frame>, Error> {
        let options = options();
        self.run(VideoDecoder::of_parameters(&self.parameters, &options)?)
    }

    /// The pictures as the device decodes them, where they lie there.
    ///
    /// # Errors
    /// As of [`VideoDecoder::open_on`].
    pub fn decode_on(&self, device: &HardwareDevice) -> Result<Vec<Frame>, Error> {
        let on = (device, HELD);
        self.run(VideoDecoder::of_parameters_on(
            &self.parameters,
            &options(),
            on,
        )?)
    }

    fn run(&self, mut decoder: VideoDecoder) -> Result<Vec<Frame>, Error> {
        let mut frames = Vec::new();
        for packet in self.packets.iter().map(Some).chain([None]) {
            while decoder.send(packet)? == Sent::Full {
                take(&mut decoder, &mut frames)?;
            }
            take(&mut decoder, &mut frames)?;
        }
        Ok(frames)
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sample({})", self.parameters.codec())
    }
}

fn options() -> DecodeOptions {
    DecodeOptions {
        threads: 1,
        ..DecodeOptions::default()
    }
}

fn take(decoder: &mut VideoDecoder, frames: &mut Vec<Frame>) -> Result<(), Error> {
    while let Received::Frame(frame) = decoder.receive()? {
        frames.push(frame);
    }
    Ok(())
}

/// The pictures as they are before they are encoded.
pub fn pictures(depth: BitDepth) -> Result<Vec<Frame>, Error> {
    sized_pictures((SIZE, depth))
}

/// The same in another size.
pub fn sized_pictures(form: ((u32, u32), BitDepth)) -> Result<Vec<Frame>, Error> {
    (0..PICTURES).map(|number| picture(form, number)).collect()
}

/// One of them.
pub fn picture(form: ((u32, u32), BitDepth), number: u32) -> Result<Frame, Error> {
    let picture = draw(form, number).map_err(Error::filter("draw a picture"))?;
    Ok(Frame::freeze(picture, Some(i64::from(number)), Some(1)))
}

/// Slopes that move one way, and a square that moves another.
fn draw((size, depth): ((u32, u32), BitDepth), number: u32) -> Result<AvFrame, crate::AvError> {
    let mut picture = AvFrame::picture(depth.format().number(), size.0, size.1)?;
    let wide = depth == BitDepth::Ten;
    for plane in 0..3 {
        let stride = picture.stride(plane);
        let width = (size.0 as usize).div_ceil(1 << usize::from(plane > 0));
        let square = (10 * number as usize, 6 * number as usize);
        for (y, row) in picture.plane_mut(plane).chunks_mut(stride).enumerate() {
            for x in 0..width {
                let (lit_x, lit_y) = (x << usize::from(plane > 0), y << usize::from(plane > 0));
                let inside = lit_x.wrapping_sub(square.0) < 64 && lit_y.wrapping_sub(square.1) < 64;
                let slope = (lit_x + 2 * lit_y + 20 * number as usize * (plane + 1)) % 160;
                let eight = 40 + if inside { 200 - slope } else { slope };
                if wide {
                    let ten = (eight << 2 | x & 3) as u16;
                    row[2 * x..2 * x + 2].copy_from_slice(&ten.to_le_bytes());
                } else {
                    row[x] = eight as u8;
                }
            }
        }
    }
    Ok(picture)
}

fn encode(
    codec: ffi::Codec,
    (size, depth): ((u32, u32), BitDepth),
    options: Options,
) -> Result<Sample, Error> {
    let opened = || Error::open_codec(codec.name());
    let mut context = CodecContext::new(codec).map_err(opened())?;
    let rate = Rational { num: 25, den: 1 };
    let time_base = TimeBase::new(1, 25).ok_or_else(|| Error::Unsupported {
        what: "time base of 25 pictures a second".to_owned(),
    })?;
    context
        .set_video_encoder(&VideoSettings {
            width: size.0,
            height: size.1,
            format: depth.format().number(),
            time_base,
            frame_rate: rate,
            color: Color::default(),
            gop: PICTURES,
            threads: 1,
        })
        .map_err(opened())?;
    let options = options
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    let known = context.open(options).map_err(opened())?;
    let encoding = || Error::encode(codec.name());
    let mut packets = Vec::new();
    for frame in sized_pictures((size, depth))?
        .iter()
        .map(Some)
        .chain([None])
    {
        let picture = frame.map(|frame| {
            let mut picture = frame.picture().bare_reference()?;
            picture.set_pts(frame.pts());
            Ok(picture)
        });
        let picture = picture.transpose().map_err(encoding())?;
        while !context.send_frame(picture.as_ref()).map_err(encoding())? {
            drain(&mut context, &mut packets).map_err(encoding())?;
        }
        drain(&mut context, &mut packets).map_err(encoding())?;
    }
    known.map_err(|name| Error::Option {
        what: codec.name().to_owned(),
        name,
    })?;
    Ok(Sample {
        parameters: Parameters::of_encoder(&context).map_err(opened())?,
        packets,
    })
}

fn drain(context: &mut CodecContext, packets: &mut Vec<Packet>) -> Result<(), crate::AvError> {
    while let Poll::Ready(packet) = context.receive_packet()? {
        packets.push(Packet(packet));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PSNR of the luma in dB; 99 for equal pictures.
    fn psnr(a: &Frame, b: &Frame) -> f64 {
        let wide = a.format().bit_depth() > 8;
        let sample = |row: &[u8], x: usize| {
            if wide {
                f64::from(u16::from_le_bytes([row[2 * x], row[2 * x + 1]])) / 1023.0
            } else {
                f64::from(row[x]) / 255.0
            }
        };
        let rows = a
            .plane(0)
            .chunks(a.stride(0))
            .zip(b.plane(0).chunks(b.stride(0)));
        let squares: f64 = rows
            .flat_map(|(a, b)| (0..SIZE.0 as usize).map(move |x| sample(a, x) - sample(b, x)))
            .map(|difference| difference * difference)
            .sum();
        if squares == 0.0 {
            return 99.0;
        }
        -10.0 * (squares / f64::from(SIZE.0 * SIZE.1)).log10()
    }

    #[test]
    fn every_picture_comes_back_in_order_from_every_codec_that_is_there() {
        let mut tried = 0;
        for coding in Coding::ALL {
            for depth in coding.depths() {
                let sample = match Sample::sized(coding, (SIZE, *depth)) {
                    Ok(sample) => sample,
                    Err(Error::Unsupported { .. } | Error::OpenCodec { .. }) => continue,
                    Err(error) => panic!("{coding} {depth:?}: {error:?}"),
                };
                tried += 1;
                let decoded = sample.decode().unwrap();
                assert_eq!(decoded.len(), PICTURES as usize, "{coding} {depth:?}");
                for (before, after) in pictures(*depth).unwrap().iter().zip(&decoded) {
                    assert_eq!(after.format(), depth.format(), "{coding}");
                    let psnr = psnr(before, after);
                    assert!(psnr > 30.0, "{coding} {depth:?}: {psnr}");
                }
            }
        }
        // MPEG-2 is FFmpeg's own.
        assert!(tried >= 1);
    }

    #[test]
    fn what_is_kept_is_whole() {
        for coding in [Coding::Hevc, Coding::Vp9] {
            for depth in coding.depths() {
                let kept = match Sample::kept(coding, *depth) {
                    Err(Error::Unsupported { .. }) => continue,
                    kept => kept.unwrap().unwrap(),
                };
                let decoded = kept.decode().unwrap();
                assert_eq!(decoded.len(), PICTURES as usize, "{coding} {depth:?}");
                for pair in decoded.windows(2) {
                    assert_eq!(pair[0].format(), depth.format(), "{coding}");
                    assert!(psnr(&pair[0], &pair[1]) < 40.0, "{coding} {depth:?}");
                }
            }
        }
        assert!(
            Sample::kept(Coding::Av1, BitDepth::Eight)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn no_two_pictures_are_alike() {
        let pictures = pictures(BitDepth::Eight).unwrap();
        for pair in pictures.windows(2) {
            assert!(psnr(&pair[0], &pair[1]) < 25.0);
        }
    }
}
