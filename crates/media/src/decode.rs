//! Video decoding on the CPU: packets go in, frozen frames come out in presentation order.

use crate::color::Crop;
use crate::demux::Stream;
use crate::error::{AvError, Error};
use crate::ffi::{Codec, CodecContext, Parameters, Poll};
use crate::frame::Frame;
use crate::packet::Packet;

/// Options of decoders that are not as everybody wants them. `OpenEXR` holds light itself, not what screens are sent.
const OPTIONS: [(&str, &str, &str); 1] = [("exr", "apply_trc", "bt709")];

/// Decoders better than FFmpeg's first choice, best first. Its own AV1 decoder only drives hardware.
const PREFERRED: [(&str, &[&str]); 1] = [("av1", &["libdav1d", "libgav1", "libaom-av1"])];

/// How to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Threads of the decoder; 0 for one for each core.
    pub threads: u32,
    /// Whether damage is an error rather than hidden: checksums are checked, and nothing is concealed.
    pub strict: bool,
    /// The largest picture, in pixels.
    pub max_pixels: u64,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            strict: false,
            max_pixels: 8192 * 8192,
        }
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// The decoder has it.
    Accepted,
    /// The decoder wants frames taken out first; the packet must be sent again.
    Full,
}

/// What a decoder has to give.
#[derive(Clone, Debug)]
#[must_use]
pub enum Received<F = Frame> {
    /// The next frame.
    Frame(F),
    /// Nothing until another packet is sent.
    NeedsInput,
    /// Nothing more: all that was sent before the end is out.
    End,
}

/// Decodes one video stream. Threads of its own run while it lives; they are joined on drop.
pub struct VideoDecoder {
    context: CodecContext,
    /// What the container cuts off.
    crop: Option<Crop>,
}

impl VideoDecoder {
    /// Opens the best decoder that this FFmpeg has for the stream.
    ///
    /// # Errors
    /// [`Error::NoStream`] if the stream is no video, [`Error::Unsupported`] if there is no decoder, [`Error::TooLarge`].
    pub fn open(stream: &Stream, options: &DecodeOptions) -> Result<Self, Error> {
        let info = stream.video().ok_or(Error::NoStream {
            kind: "video",
            index: stream.index,
        })?;
        if u64::from(info.width) * u64::from(info.height) > options.max_pixels {
            return Err(Error::TooLarge {
                width: info.width,
                height: info.height,
            });
        }
        let context = open(&stream.parameters.0, |context| {
            context.set_decoder(options.threads, options.strict, options.max_pixels);
        })?;
        Ok(Self {
            context,
            crop: info.crop,
        })
    }

    /// Opens a software decoder for what comes straight from an encoder. Every key packet of AV1 carries its sequence header; of
    /// H.264 and HEVC the first packet has to have the encoder's configuration in front.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this FFmpeg has none.
    pub fn for_encoded(codec: crate::encode::Codec, threads: u32) -> Result<Self, Error> {
        use crate::encode::Codec as Made;
        let names: &[&str] = match codec {
            Made::Av1 => {
                let mut preferred = PREFERRED.iter();
                let found = preferred.find(|(codec, _)| *codec == "av1");
                found.map_or(&[], |(_, names)| names)
            }
            Made::H264 => &["h264"],
            Made::Hevc => &["hevc"],
        };
        let decoder = names.iter().find_map(|decoder| Codec::decoder(decoder));
        let decoder = decoder.ok_or_else(|| Error::Unsupported {
            what: format!("software decoder for {codec}"),
        })?;
        let context = prepared(decoder, |context| {
            context.set_decoder(threads, true, u64::MAX);
            // dav1d then checks that each tile ends where its symbols do, which few flipped bits survive.
            context.set_strict_compliance();
            Ok(())
        })?;
        Ok(Self {
            context,
            crop: None,
        })
    }

    /// The decoder's name, such as `libdav1d`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.context.name()
    }

    /// Gives the decoder a packet, or with `None` the end of the stream.
    ///
    /// # Errors
    /// [`Error::Decode`] if the packet is damaged: it is consumed, and the caller may go on with the next one.
    pub fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        send(&mut self.context, packet)
    }

    /// Takes the next frame. Blocks while the decoder works.
    ///
    /// # Errors
    /// [`Error::Decode`] for damage found late; the caller may go on.
    pub fn receive(&mut self) -> Result<Received, Error> {
        let codec = self.context.name();
        Ok(
            match self.context.receive_frame().map_err(Error::decode(codec))? {
                Poll::Ready(frame) => {
                    let (pts, duration) = (frame.best_pts(), frame.duration());
                    // Everything that takes frames counts on rows from top to bottom; some old codecs deliver them reversed.
                    let mut frame = if frame.is_bottom_up() {
                        frame.deep_copy().map_err(Error::decode(codec))?
                    } else {
                        frame
                    };
                    if let Some(crop) = self.crop {
                        frame.crop(crop).map_err(Error::decode(codec))?;
                    }
                    Received::Frame(Frame::freeze(frame, pts, duration))
                }
                Poll::Again => Received::NeedsInput,
                Poll::End => Received::End,
            },
        )
    }

    /// Forgets all packets and frames, for a new place in the stream; also makes it ready again after the end.
    pub fn flush(&mut self) {
        self.context.flush();
    }
}

impl std::fmt::Debug for VideoDecoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "VideoDecoder({})", self.name())
    }
}

/// Opens a decoder for the parameters with further settings of the caller's.
pub(crate) fn open(
    parameters: &Parameters,
    set: impl FnOnce(&mut CodecContext),
) -> Result<CodecContext, Error> {
    let name = parameters.codec();
    let codec = PREFERRED
        .iter()
        .filter(|(codec, _)| *codec == name)
        .flat_map(|(_, decoders)| decoders.iter())
        .find_map(|decoder| Codec::decoder(decoder))
        .or_else(|| Codec::software_decoder(parameters))
        .ok_or_else(|| Error::Unsupported {
            what: format!("decoder for {name}"),
        })?;
    prepared(codec, |context| {
        context.set_parameters(parameters)?;
        set(context);
        Ok(())
    })
}

/// Opens a decoder after `prepare` has set it up.
fn prepared(
    codec: Codec,
    prepare: impl FnOnce(&mut CodecContext) -> Result<(), AvError>,
) -> Result<CodecContext, Error> {
    let opened = |error: AvError| Error::open_codec(codec.name())(error);
    let mut context = CodecContext::new(codec).map_err(opened)?;
    prepare(&mut context).map_err(opened)?;
    let own = OPTIONS
        .iter()
        .filter(|(decoder, ..)| *decoder == codec.name());
    let own = own.map(|(_, name, value)| (*name, (*value).to_owned()));
    let known = context.open(own).map_err(opened)?;
    known.map_err(|name| Error::Option {
        what: codec.name().to_owned(),
        name,
    })?;
    Ok(context)
}

pub(crate) fn send(context: &mut CodecContext, packet: Option<&Packet>) -> Result<Sent, Error> {
    let codec = context.name();
    let accepted = context
        .send_packet(packet.map(|packet| &packet.0))
        .map_err(Error::decode(codec))?;
    Ok(if accepted { Sent::Accepted } else { Sent::Full })
}
