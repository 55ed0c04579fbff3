//! A software encoder that is driven frame by frame: with keyframes where they are asked for, and options of the caller's choice.
//! Tests put it behind a driver; jobs encode with [`encode`](crate::encode).

use std::collections::VecDeque;

use crate::color::Color;
use crate::encode::EncodedPacket;
use crate::error::Error;
use crate::ffi::{self, CodecContext, Poll, VideoSettings};
use crate::frame::{BitDepth, Frame};
use crate::time::{Rational, TimeBase};

/// What is encoded, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// FFmpeg's name of the encoder.
    pub encoder: String,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Bits of a sample.
    pub depth: BitDepth,
    /// Frames a second. Timestamps count frames.
    pub frame_rate: Rational,
    /// What the stream says of its colours.
    pub color: Color,
    /// The largest distance of keyframes, in frames.
    pub gop: u32,
    /// B frames between two others.
    pub b_frames: u32,
    /// Options of FFmpeg and of the encoder.
    pub options: Vec<(&'static str, String)>,
}

/// An open encoder, with one thread.
pub struct DirectEncoder {
    context: CodecContext,
    ready: VecDeque<EncodedPacket>,
}

impl DirectEncoder {
    /// Opens the encoder.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this FFmpeg has no such encoder, [`Error::OpenCodec`] if it refuses the settings,
    /// [`Error::Option`] if it does not know an option.
    pub fn open(config: Config) -> Result<Self, Error> {
        crate::init();
        let name = config.encoder.as_str();
        let unsupported = || Error::Unsupported {
            what: format!("encoder {name} at this rate"),
        };
        let codec = ffi::Codec::encoder(name).ok_or_else(unsupported)?;
        let rate = config.frame_rate;
        let frame = u32::try_from(rate.den)
            .ok()
            .zip(u32::try_from(rate.num).ok());
        let time_base = frame.and_then(|(num, den)| TimeBase::new(num, den));
        let settings = VideoSettings {
            width: config.size.0,
            height: config.size.1,
            format: config.depth.format().number(),
            time_base: time_base.ok_or_else(unsupported)?,
            frame_rate: rate,
            color: config.color,
            gop: config.gop,
            threads: 1,
        };
        let mut context = CodecContext::new(codec).map_err(Error::open_codec(name))?;
        let opened = context.set_video_encoder(&settings).and_then(|()| {
            context.set_b_frames(config.b_frames);
            context.open(config.options)
        });
        let known = opened.map_err(Error::open_codec(name))?;
        known.map_err(|option| Error::Option {
            what: name.to_owned(),
            name: option,
        })?;
        Ok(Self {
            context,
            ready: VecDeque::new(),
        })
    }

    /// What the encoder puts before its stream: parameter sets as a byte stream, or a configuration record of AV1.
    #[must_use]
    pub fn headers(&self) -> &[u8] {
        self.context.extradata()
    }

    /// Sends the frame of that number, as a keyframe if it has to be one.
    pub fn send(&mut self, frame: &Frame, (number, key): (i64, bool)) -> Result<(), Error> {
        let name = self.context.name();
        let bare = frame.picture().bare_reference();
        let mut bare = bare.map_err(Error::encode(name))?;
        bare.set_pts(Some(number));
        if key {
            bare.ask_for_key();
        }
        while !self
            .context
            .send_frame(Some(&bare))
            .map_err(Error::encode(name))?
        {
            self.drain()?;
        }
        self.drain()
    }

    /// Ends the stream.
    pub fn finish(&mut self) -> Result<(), Error> {
        let name = self.context.name();
        while !self.context.send_frame(None).map_err(Error::encode(name))? {
            self.drain()?;
        }
        self.drain()
    }

    /// Takes the packets that are ready, in decoding order.
    pub fn take_packets(&mut self) -> impl Iterator<Item = EncodedPacket> {
        self.ready.drain(..)
    }

    fn drain(&mut self) -> Result<(), Error> {
        let name = self.context.name();
        while let Poll::Ready(packet) =
            self.context.receive_packet().map_err(Error::encode(name))?
        {
            let pts = packet.pts().unwrap_or_default();
            self.ready.push_back(EncodedPacket {
                data: packet.data().to_vec(),
                pts,
                dts: packet.dts().unwrap_or(pts),
                duration: packet.duration(),
                key: packet.is_key(),
            });
        }
        Ok(())
    }
}

impl std::fmt::Debug for DirectEncoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "DirectEncoder({})", self.context.name())
    }
}
