//! Video decoding, on the CPU or on a device: packets go in, frozen frames come out in presentation order.

use crate::clock::Clock;
use crate::color::Crop;
use crate::demux::Stream;
use crate::error::{AvError, Error};
use crate::ffi::{self, AvFrame, Codec, CodecContext, Parameters, Poll};
use crate::frame::Frame;
use crate::hardware::{self, HardwareDevice};
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
    /// Whether damage is an error rather than hidden: checksums are checked, and a frame that the decoder marks as damaged, or for which it
    /// logged an error, is not given.
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
    /// Where it decodes, if not on the CPU.
    device: Option<HardwareDevice>,
    clock: Clock,
    strict: Option<Strict>,
}

/// How a strict decoder judges.
#[derive(Clone, Copy)]
struct Strict {
    /// Frames that its threads may be ahead when they log an error.
    ahead: u32,
    /// Frames that are given before an error which was logged is returned, so that none is returned before its frame.
    due: Option<u32>,
}

impl Strict {
    const AT_ONCE: Self = Self {
        ahead: 0,
        due: None,
    };

    /// Whether the decoder's answer is to be an error: it is marked as damaged, or an error that was logged is due.
    fn is_damaged(&mut self, complained: bool, polled: &Poll<AvFrame>) -> bool {
        if complained {
            self.due.get_or_insert(self.ahead);
        }
        let is_due = match (polled, &mut self.due) {
            (Poll::Ready(_), Some(left @ 1..)) => {
                *left -= 1;
                false
            }
            (Poll::Again, due) => *due == Some(0),
            (_, due) => due.is_some(),
        };
        if is_due {
            self.due = None;
        }
        is_due || matches!(polled, Poll::Ready(frame) if frame.is_corrupt())
    }
}

impl VideoDecoder {
    /// Opens the best decoder that this FFmpeg has for the stream.
    ///
    /// # Errors
    /// [`Error::NoStream`] if the stream is no video, [`Error::Unsupported`] if there is no decoder, [`Error::TooLarge`].
    pub fn open(stream: &Stream, options: &DecodeOptions) -> Result<Self, Error> {
        let crop = check_stream(stream, options)?;
        let decoder = Self::of_parameters(&stream.parameters.0, options)?;
        Ok(Self { crop, ..decoder })
    }

    /// Opens a decoder for the stream that works on the device. Its frames lie there; about `held` of them may be held at once before it
    /// runs out of places to decode into, so what is kept for long must be copied. It never falls back to the CPU: a stream that the
    /// device cannot decode is an error of the first packets.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`Error::Unsupported`] also if this FFmpeg has no decoder for devices of the kind.
    pub fn open_on(
        stream: &Stream,
        options: &DecodeOptions,
        (device, held): (&HardwareDevice, u32),
    ) -> Result<Self, Error> {
        if check_stream(stream, options)?.is_some() {
            return Err(Error::Unsupported {
                what: format!(
                    "way to cut off what the container says on {} devices",
                    device.kind()
                ),
            });
        }
        Self::of_parameters_on(&stream.parameters.0, options, (device, held))
    }

    pub(crate) fn of_parameters(
        parameters: &Parameters,
        options: &DecodeOptions,
    ) -> Result<Self, Error> {
        let context = open(parameters, |context| {
            context.set_decoder(options.threads, options.strict, options.max_pixels);
        })?;
        let ahead = context.most_ahead();
        Ok(Self {
            context,
            crop: None,
            device: None,
            clock: Clock::default(),
            strict: options.strict.then_some(Strict { ahead, due: None }),
        })
    }

    pub(crate) fn of_parameters_on(
        parameters: &Parameters,
        options: &DecodeOptions,
        (device, held): (&HardwareDevice, u32),
    ) -> Result<Self, Error> {
        let kind = device.kind();
        let found = Codec::device_decoder(parameters, kind.name());
        let (codec, format) = found.ok_or_else(|| Error::Unsupported {
            what: format!("decoder for {} on {kind} devices", parameters.codec()),
        })?;
        let mut context = CodecContext::new(codec).map_err(Error::open_codec(codec.name()))?;
        let operation = format!("open {}", codec.name());
        let known = device.attempt(&operation, || {
            context.set_parameters(parameters)?;
            context.set_decoder(1, options.strict, options.max_pixels);
            context.decode_on(device.context(), (format, held))?;
            context.open([])
        })?;
        known.map_err(|name| Error::Option {
            what: codec.name().to_owned(),
            name,
        })?;
        Ok(Self {
            context,
            crop: None,
            device: Some(device.clone()),
            clock: Clock::default(),
            strict: options.strict.then_some(Strict::AT_ONCE),
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
            device: None,
            clock: Clock::default(),
            // Damage anywhere is the whole segment's.
            strict: Some(Strict::AT_ONCE),
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
    /// [`Error::Decode`] if the packet is damaged: it is consumed, and the caller may go on with the next one. [`Error::Device`] if the
    /// device cannot decode the stream or has failed: there is no going on.
    pub fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        match self.device.clone() {
            None => send(&mut self.context, packet),
            Some(device) => {
                let packet = packet.map(|packet| &packet.0);
                let accepted = self.listen(&device, |context| context.send_packet(packet))?;
                Ok(if accepted { Sent::Accepted } else { Sent::Full })
            }
        }
    }

    /// Takes the next frame. Blocks while the decoder works.
    ///
    /// # Errors
    /// [`Error::Decode`] for damage found late; the caller may go on. [`Error::Device`] as for [`send`](Self::send).
    pub fn receive(&mut self) -> Result<Received, Error> {
        let codec = self.context.name();
        let polled = match self.device.clone() {
            None => self.context.receive_frame().map_err(Error::decode(codec)),
            Some(device) => self.listen(&device, CodecContext::receive_frame),
        };
        let polled = polled?;
        let complained = self.context.has_complained();
        if let Some(strict) = &mut self.strict
            && strict.is_damaged(complained, &polled)
        {
            return Err(Error::decode(codec)(AvError::damage()));
        }
        Ok(match polled {
            Poll::Ready(frame) => {
                let pts = self.clock.tell(frame.pts(), frame.dts());
                let duration = frame.duration();
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
        })
    }

    /// Whether an error was logged that is not due yet. Only strict decoders know.
    #[must_use]
    pub fn has_complained(&self) -> bool {
        self.strict.is_some_and(|strict| strict.due.is_some())
    }

    /// Asks a decoder on a device. Damage is told from a device that refuses or fails by FFmpeg's code, and by whether any picture on the
    /// device was offered.
    fn listen<T>(
        &mut self,
        device: &HardwareDevice,
        act: impl FnOnce(&mut CodecContext) -> Result<T, AvError>,
    ) -> Result<T, Error> {
        let codec = self.context.name();
        let (done, said) = ffi::listen(|| act(&mut self.context));
        done.map_err(|source| {
            if source.is_damage() && !self.context.refused() {
                return Error::decode(codec)(source);
            }
            let mut said = said;
            if self.context.refused() {
                said.push(
                    "neither FFmpeg nor the driver offers to decode this stream there".to_owned(),
                );
            }
            let operation = format!("decode {}", self.context.codec_name());
            hardware::failed(&device.to_string(), &operation, (source, said))
        })
    }

    /// Forgets all packets and frames, for a new place in the stream; also makes it ready again after the end.
    pub fn flush(&mut self) {
        self.context.flush();
        self.context.has_complained();
        if let Some(strict) = &mut self.strict {
            strict.due = None;
        }
        self.clock = Clock::default();
    }
}

impl std::fmt::Debug for VideoDecoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "VideoDecoder({})", self.name())
    }
}

/// Checks that the stream may be decoded, and says what the container cuts off.
fn check_stream(stream: &Stream, options: &DecodeOptions) -> Result<Option<Crop>, Error> {
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
    Ok(info.crop)
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
