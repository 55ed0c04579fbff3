//! Video encoding: frames go in, packets come out in decoding order.
//!
//! A fresh encoder serves each stretch of video, so its first packet is a keyframe, and its bytes depend on the
//! settings and the frames alone.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::color::{ChromaLocation, Color};
use crate::error::{AvError, Error};
use crate::ffi::{self, BitstreamFilter, CodecContext, PacketRef, Parameters, Poll, VideoSettings};
use crate::frame::{BitDepth, Frame};
use crate::hardware;
use crate::hdr::{ContentLight, Light, MasteringDisplay};
use crate::obu;
use crate::time::{Rational, TimeBase};

/// A video codec that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Codec {
    /// AV1.
    Av1,
    /// H.264, Advanced Video Coding.
    H264,
    /// HEVC, H.265.
    Hevc,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Av1, Self::H264, Self::Hevc];

    /// The highest constant rate factor on the codec's own scale, where 0 is the best.
    #[must_use]
    pub const fn worst_crf(self) -> u8 {
        match self {
            Self::Av1 => 63,
            Self::H264 | Self::Hevc => 51,
        }
    }

    /// Whether packets may come out in another order than pictures are shown in. AV1 hides its order in its temporal units.
    #[must_use]
    pub const fn reorders(self) -> bool {
        !matches!(self, Self::Av1)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Av1 => "av1",
            Self::H264 => "h264",
            Self::Hevc => "hevc",
        })
    }
}

/// An encoder that the crate can drive: FFmpeg's name of it, what it makes, and how a configuration becomes its options.
struct Candidate {
    name: &'static str,
    codec: Codec,
    options: fn(&Config) -> Vec<(&'static str, String)>,
    /// Whether it says itself where the chroma samples lie, when it is told.
    tells_chroma: bool,
}

/// All of them, of each codec the best first.
const CANDIDATES: [Candidate; 5] = [
    Candidate {
        name: "libsvtav1",
        codec: Codec::Av1,
        options: svt_av1,
        tells_chroma: true,
    },
    Candidate {
        name: "libaom-av1",
        codec: Codec::Av1,
        options: aom,
        tells_chroma: false,
    },
    Candidate {
        name: "librav1e",
        codec: Codec::Av1,
        options: rav1e,
        tells_chroma: true,
    },
    Candidate {
        name: "libx264",
        codec: Codec::H264,
        options: x264,
        tells_chroma: true,
    },
    Candidate {
        name: "libx265",
        codec: Codec::Hevc,
        options: x265,
        tells_chroma: true,
    },
];

/// FFmpeg's name of an encoder: all of it, or what stands before an `@`. What stands behind tells the model of the device that has it, as encoders of one
/// name on unlike devices are unlike encoders.
#[must_use]
pub fn bare_name(encoder: &str) -> &str {
    encoder.split_once('@').map_or(encoder, |(name, _)| name)
}

/// What the encoder of this name makes, in software or on a device, if the crate can drive it; whether this FFmpeg has it or not.
#[must_use]
pub fn codec_of(encoder: &str) -> Option<Codec> {
    let name = bare_name(encoder);
    let mut candidates = CANDIDATES.iter();
    let candidate = candidates.find(|candidate| candidate.name == name);
    let codec = candidate.map(|candidate| candidate.codec);
    codec.or_else(|| hardware::codec_of(name))
}

/// Whether the encoder of this name can keep the rate.
#[must_use]
pub fn keeps(encoder: &str, rate: Rate) -> bool {
    // rav1e has an average rate, and no cap.
    !(encoder == "librav1e" && matches!(rate, Rate::Capped(_)))
}

/// The encoders for the codec that this FFmpeg has, best first.
#[must_use]
pub fn candidates(codec: Codec) -> Vec<&'static str> {
    CANDIDATES
        .iter()
        .filter(|candidate| {
            candidate.codec == codec && ffi::Codec::encoder(candidate.name).is_some()
        })
        .map(|candidate| candidate.name)
        .collect()
}

/// All that decides an encoder's output besides the frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The encoder: FFmpeg's name of one of [`candidates`], or of a device's, see [`bare_name`].
    pub encoder: String,
    /// In pixels; even.
    pub width: u32,
    /// In pixels; even.
    pub height: u32,
    /// The time base of the timestamps that frames are sent with, and of the packets.
    pub time_base: TimeBase,
    /// The nominal frame rate, which guides rate control and nothing else; 30 where it is unknown.
    pub frame_rate: Option<Rational>,
    /// What the stream says of its colours.
    pub color: Color,
    /// The largest distance of keyframes, in frames. At least the number of frames that will be sent, if only the first one
    /// is to be a keyframe.
    pub gop: u32,
    /// Threads of the encoder; 0 for its own choice.
    pub threads: u32,
    /// Quality, 0 (best) to [`Codec::worst_crf`], on the codec's own scale of constant rate factors.
    pub crf: u8,
    /// 0 (slowest) to 13, on the scale of SVT-AV1's presets.
    pub speed: u8,
    /// Bits of a sample, of the frames and of the stream.
    #[serde(default)]
    pub depth: BitDepth,
    /// What the stream says of its light, where the encoder can say it; the container says it in any case.
    #[serde(default)]
    pub light: Light,
    /// What decides on the bits besides.
    #[serde(default)]
    pub rate: Rate,
}

/// Seconds over which a capped rate is held.
const CAPPED_SECONDS: u64 = 2;

/// What decides how many bits the pictures get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// The constant rate factor alone.
    #[default]
    Quality,
    /// The constant rate factor, with at most so many bits a second, held over two seconds.
    Capped(u64),
    /// So many bits a second on average, whatever the constant rate factor.
    Average(u64),
    /// The constant rate factor as the quantizer of all pictures, whatever others take from them: quality is as even as can be then, also from one
    /// stretch to the next, and the file is larger for its quality.
    Quantizer,
}

/// Compressed data as an encoder delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPacket {
    /// A temporal unit of AV1, an access unit of H.264 or HEVC in Annex B's byte stream, or a frame of sound.
    pub data: Vec<u8>,
    /// In the configuration's time base.
    pub pts: i64,
    /// In the configuration's time base.
    pub dts: i64,
    /// In the configuration's time base; 0 if the encoder did not say and nothing else tells.
    pub duration: i64,
    /// Whether decoding can start here.
    pub key: bool,
}

/// Encodes one stretch of video. It has its first frame from the start: an encoder without one could not be closed safely
/// (SVT-AV1 1.4 never returns).
///
/// Dropping it without [`finish`](Self::finish) throws away what it holds; that may block until its threads are through.
pub struct VideoEncoder {
    context: CodecContext,
    codec: Codec,
    /// Completes the sequence headers of an encoder that leaves something out.
    completes: Option<BitstreamFilter>,
    takes: ((u32, u32), BitDepth),
    output: Output,
}

impl VideoEncoder {
    /// Opens the encoder and sends the first frame, with its timestamp in the configuration's time base.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if there is no such encoder, [`Error::Mismatch`] if the frame does not suit the settings,
    /// [`Error::Option`] if this version of the encoder does not know an option, [`Error::Capacity`] if memory or sessions ran
    /// out, [`Error::OpenCodec`] if it refuses the settings otherwise.
    pub fn open(config: &Config, first: (&Frame, i64)) -> Result<Self, Error> {
        crate::init();
        let name = config.encoder.as_str();
        let unsupported = || Error::Unsupported {
            what: format!("encoder {name}"),
        };
        let candidate = CANDIDATES
            .iter()
            .find(|candidate| candidate.name == name)
            .ok_or_else(unsupported)?;
        let codec = ffi::Codec::encoder(name).ok_or_else(unsupported)?;
        let takes = ((config.width, config.height), config.depth);
        check_frame(name, takes, first.0)?;
        let opened = |error: AvError| Error::open_codec(name)(error);
        let mut context = CodecContext::new(codec).map_err(opened)?;
        context
            .set_video_encoder(&config.settings())
            .map_err(opened)?;
        let options = (candidate.options)(config);
        let known = context.open(options).map_err(opened)?;
        let completes = if candidate.tells_chroma {
            None
        } else {
            completion(codec, config)?
        };
        let mut encoder = Self {
            context,
            codec: candidate.codec,
            completes,
            takes,
            output: Output::new(config),
        };
        encoder.send(first.0, first.1)?;
        known.map_err(|option| Error::Option {
            what: name.to_owned(),
            name: option,
        })?;
        Ok(encoder)
    }

    /// Sends a frame with a timestamp above the last one's, in the configuration's time base. Blocks while the
    /// encoder is busy.
    pub fn send(&mut self, frame: &Frame, pts: i64) -> Result<(), Error> {
        let name = self.context.name();
        check_frame(name, self.takes, frame)?;
        let mut picture = frame
            .picture()
            .bare_reference()
            .map_err(Error::encode(name))?;
        picture.set_pts(Some(pts));
        while !self
            .context
            .send_frame(Some(&picture))
            .map_err(Error::encode(name))?
        {
            self.drain()?;
        }
        self.drain().map(drop)
    }

    /// Ends the stretch: waits for the encoder and returns all packets that were not taken before, in order. Frames sent
    /// afterwards are an error.
    pub fn finish(&mut self) -> Result<Vec<EncodedPacket>, Error> {
        let name = self.context.name();
        while !self.context.send_frame(None).map_err(Error::encode(name))? {
            self.drain()?;
        }
        while !self.drain()? {}
        Ok(self.output.finish())
    }

    /// Takes the packets that are ready. Their durations may be nominal: only a later packet tells the true ones.
    pub fn take_packets(&mut self) -> Vec<EncodedPacket> {
        self.output.packets.drain(..).collect()
    }

    /// The codec configuration. Of AV1 it is the sequence header OBU of the first packet, and empty until that is out: what encoders tell of it
    /// before is not used, as SVT-AV1 1.4 then writes another one. Of H.264 and HEVC it is the parameter sets as a byte stream
    /// of Annex B, which no packet repeats.
    #[must_use]
    pub fn configuration(&self) -> &[u8] {
        if self.codec == Codec::Av1 {
            &self.output.header
        } else {
            self.context.extradata()
        }
    }

    /// Takes packets out of the encoder. `true`: it has ended.
    fn drain(&mut self) -> Result<bool, Error> {
        let name = self.context.name();
        loop {
            match self.context.receive_packet().map_err(Error::encode(name))? {
                Poll::Ready(packet) => self.complete(packet)?,
                Poll::Again => return Ok(false),
                Poll::End => return Ok(true),
            }
        }
    }

    /// Keeps a packet, with what its encoder left out of it.
    fn complete(&mut self, mut packet: PacketRef) -> Result<(), Error> {
        let Some(filter) = &mut self.completes else {
            self.output.push(&packet);
            return Ok(());
        };
        let failed = Error::filter(format!("apply {AV1_METADATA}"));
        let mut pass = || -> Result<(), AvError> {
            // It holds nothing back, so it takes each packet.
            filter.send(Some(&mut packet))?;
            while let Poll::Ready(packet) = filter.receive()? {
                self.output.push(&packet);
            }
            Ok(())
        };
        pass().map_err(failed)
    }
}

impl fmt::Debug for VideoEncoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "VideoEncoder({} {}x{})",
            self.context.name(),
            self.takes.0.0,
            self.takes.0.1
        )
    }
}

/// The packets that are out, and what is known only from them.
pub(crate) struct Output {
    pub(crate) packets: VecDeque<EncodedPacket>,
    /// The first sequence header of AV1.
    pub(crate) header: Vec<u8>,
    nominal: i64,
}

impl Output {
    pub(crate) fn new(config: &Config) -> Self {
        let rate = config.frame_rate();
        let frame = u32::try_from(rate.den)
            .ok()
            .zip(u32::try_from(rate.num).ok());
        let frame = frame.and_then(|(num, den)| TimeBase::new(num, den));
        Self {
            packets: VecDeque::new(),
            header: Vec::new(),
            nominal: frame.map_or(0, |frame| frame.rescale(1, config.time_base)),
        }
    }

    pub(crate) fn push(&mut self, packet: &PacketRef) {
        let data = packet.data().to_vec();
        if self.header.is_empty() {
            self.header = obu::sequence_header(&data).unwrap_or_default().to_vec();
        }
        let pts = packet.pts().unwrap_or_default();
        self.packets.push_back(EncodedPacket {
            data,
            pts,
            dts: packet.dts().unwrap_or(pts),
            duration: if packet.duration() > 0 {
                packet.duration()
            } else {
                self.nominal
            },
            key: packet.is_key(),
        });
    }

    /// All packets; each but the last lasts until the next is shown.
    pub(crate) fn finish(&mut self) -> Vec<EncodedPacket> {
        let mut packets: Vec<_> = self.packets.drain(..).collect();
        let mut times: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
        times.sort_unstable();
        for packet in &mut packets {
            let next = times.partition_point(|pts| *pts <= packet.pts);
            if let Some(next) = times.get(next) {
                packet.duration = next - packet.pts;
            }
        }
        packets
    }
}

/// FFmpeg's filter that rewrites fields of AV1's sequence headers.
const AV1_METADATA: &str = "av1_metadata";

/// A filter that writes into the sequence headers where the chroma samples lie; `None` if nothing is said of that, or nothing that AV1 has
/// a word for (AV1 specification §6.4.2: left is "vertical", top left "colocated").
fn completion(codec: ffi::Codec, config: &Config) -> Result<Option<BitstreamFilter>, Error> {
    let position = match config.color.chroma_location {
        ChromaLocation::Left => "vertical",
        ChromaLocation::TopLeft => "colocated",
        _ => return Ok(None),
    };
    let failed = || Error::filter(format!("open {AV1_METADATA}"));
    let time_base = config
        .time_base
        .rational()
        .unwrap_or(Rational { num: 1, den: 1 });
    let parameters = Parameters::of(codec, time_base).map_err(failed())?;
    let options = [("chroma_sample_position", position)];
    // Without the filter the encoder's own word stands: "unknown", which is true as well.
    BitstreamFilter::with_options(AV1_METADATA, &parameters, &options).map_err(failed())
}

fn check_frame(
    encoder: &str,
    (size, depth): ((u32, u32), BitDepth),
    frame: &Frame,
) -> Result<(), Error> {
    if (frame.width(), frame.height()) == size && frame.format() == depth.format() {
        return Ok(());
    }
    Err(Error::Mismatch {
        what: encoder.to_owned(),
        given: format!(
            "{}x{} {}",
            frame.width(),
            frame.height(),
            frame.format().name()
        ),
        takes: format!("{}x{} {}", size.0, size.1, depth.format().name()),
    })
}

impl Config {
    fn frame_rate(&self) -> Rational {
        self.frame_rate
            .filter(|rate| rate.num > 0 && rate.den > 0)
            .unwrap_or(Rational { num: 30, den: 1 })
    }

    pub(crate) fn settings(&self) -> VideoSettings {
        VideoSettings {
            width: self.width,
            height: self.height,
            format: self.depth.format().number(),
            time_base: self.time_base,
            frame_rate: self.frame_rate(),
            color: self.color,
            gop: self.gop.max(2),
            threads: self.threads,
        }
    }

    /// FFmpeg's own options for the rate, with the rate factor as the encoder takes it.
    fn rated(&self, crf: u8) -> Vec<(&'static str, String)> {
        let crf = ("crf", crf.to_string());
        match self.rate {
            Rate::Quality => vec![crf],
            Rate::Capped(most) => vec![
                crf,
                ("maxrate", most.to_string()),
                ("bufsize", (most * CAPPED_SECONDS).to_string()),
            ],
            Rate::Average(bits) => vec![("b", bits.to_string())],
            Rate::Quantizer => vec![("qp", crf.1)],
        }
    }

    /// What makes x264 and x265 quantize keyframes and B-frames like the others, where all shall be alike.
    fn alike(&self) -> Option<String> {
        (self.rate == Rate::Quantizer).then(|| "ipratio=1:pbratio=1".to_owned())
    }

    /// The preset of x264 and x265 for the speed. Their fastest one is left out: its pictures are far worse at a given size.
    fn preset(&self) -> String {
        let preset = match self.speed {
            0 => "placebo",
            1..=2 => "veryslow",
            3..=4 => "slower",
            5..=6 => "slow",
            7..=8 => "medium",
            9 => "fast",
            10 => "faster",
            11..=12 => "veryfast",
            _ => "superfast",
        };
        preset.to_owned()
    }

    /// The speed on a scale from 0 to `top`, where the configuration's goes to 13.
    fn speed_of(&self, top: u32) -> String {
        ((u32::from(self.speed.min(13)) * top + 6) / 13).to_string()
    }
}

fn svt_av1(config: &Config) -> Vec<(&'static str, String)> {
    /// No kind of frame is better than another.
    const ALIKE: &str = "use-fixed-qindex-offsets=1:key-frame-qindex-offset=0:key-frame-chroma-qindex-offset=0:\
        qindex-offsets=[0,0,0,0,0,0]:chroma-qindex-offsets=[0,0,0,0,0,0]";
    let mut options = vec![("preset", config.speed.min(13).to_string())];
    let mut own = Vec::new();
    let least = if config.rate == Rate::Quantizer {
        own.push(ALIKE.to_owned());
        1
    } else {
        0
    };
    options.extend(config.rated(config.crf.clamp(least, 63)));
    if config.threads > 0 {
        own.push(format!("lp={}", config.threads));
    }
    if let Some(display) = config.light.mastering {
        own.push(format!("mastering-display={}", mastering(&display)));
    }
    if let Some(ContentLight { max, average }) = config.light.content {
        own.push(format!("content-light={max},{average}"));
    }
    if !own.is_empty() {
        options.push(("svtav1-params", own.join(":")));
    }
    options
}

/// A mastering display as SVT-AV1 reads it.
fn mastering(display: &MasteringDisplay) -> String {
    let point = |name: &str, [x, y]: [u16; 2]| {
        format!(
            "{name}({:.5},{:.5})",
            f64::from(x) / 5e4,
            f64::from(y) / 5e4
        )
    };
    format!(
        "{}{}{}{}L({:.4},{:.4})",
        point("G", display.green),
        point("B", display.blue),
        point("R", display.red),
        point("WP", display.white),
        f64::from(display.max_luminance) / 1e4,
        f64::from(display.min_luminance) / 1e4,
    )
}

/// What x264 and x265 are to say of the light before each keyframe, by their names for both parts of it; the units are those of the boxes.
fn said_of_light(light: Light, [display, content]: [&str; 2]) -> Vec<String> {
    let point = |name: &str, [x, y]: [u16; 2]| format!("{name}({x},{y})");
    let mastering = light.mastering.map(|of| {
        format!(
            "{display}={}{}{}{}L({},{})",
            point("G", of.green),
            point("B", of.blue),
            point("R", of.red),
            point("WP", of.white),
            of.max_luminance,
            of.min_luminance,
        )
    });
    let most = light
        .content
        .map(|ContentLight { max, average }| format!("{content}={max},{average}"));
    mastering.into_iter().chain(most).collect()
}

fn aom(config: &Config) -> Vec<(&'static str, String)> {
    let mut options = vec![
        ("usage", "good".to_owned()),
        ("cpu-used", config.speed_of(8)),
        ("row-mt", "1".to_owned()),
        ("keyint_min", config.gop.max(2).to_string()),
    ];
    // It holds a rate beside a rate factor to be the highest.
    let (crf, bits) = match config.rate {
        Rate::Quality | Rate::Quantizer => (true, 0),
        Rate::Capped(most) => (true, most),
        Rate::Average(bits) => (false, bits),
    };
    options.push(("b", bits.to_string()));
    if crf {
        options.push(("crf", config.crf.min(63).to_string()));
    }
    if config.rate == Rate::Quantizer {
        let quantizer = config.crf.min(63).to_string();
        options.extend([("qmin", quantizer.clone()), ("qmax", quantizer)]);
    }
    options
}

fn rav1e(config: &Config) -> Vec<(&'static str, String)> {
    vec![
        ("speed", config.speed_of(10)),
        match config.rate {
            Rate::Average(bits) => ("b", bits.to_string()),
            // Its quantizer index runs from 0 to 255.
            _ => ("qp", (u32::from(config.crf.min(63)) * 255 / 63).to_string()),
        },
        // Threads work on tiles, and tiles change the bytes: so they follow from the size alone.
        (
            "tiles",
            (u64::from(config.width) * u64::from(config.height) / (640 * 360))
                .clamp(1, 16)
                .to_string(),
        ),
    ]
}

/// Groups of pictures are closed and of one length, and keyframes stand nowhere else: a cut to another scene makes none.
fn x264(config: &Config) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        // The same bytes on processors with other instructions.
        "cpu-independent=1".to_owned(),
        "open-gop=0".to_owned(),
        "scenecut=0".to_owned(),
        format!("keyint={}", config.gop.max(1)),
    ];
    settings.extend(config.alike());
    settings.extend(said_of_light(config.light, ["mastering-display", "cll"]));
    let profile = match config.depth {
        BitDepth::Eight => "high",
        BitDepth::Ten => "high10",
    };
    let mut options = vec![
        ("preset", config.preset()),
        ("profile", profile.to_owned()),
        ("x264-params", settings.join(":")),
    ];
    // At 0 it is lossless, which is another profile.
    options.extend(config.rated(config.crf.clamp(1, Codec::H264.worst_crf())));
    options
}

/// As with x264. Its own threads change the bytes, so it has one.
fn x265(config: &Config) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        "log-level=error".to_owned(),
        "info=0".to_owned(),
        "pools=none".to_owned(),
        "frame-threads=1".to_owned(),
        "open-gop=0".to_owned(),
        "scenecut=0".to_owned(),
        format!("keyint={}", config.gop.max(1)),
    ];
    settings.extend(config.alike());
    let light = said_of_light(config.light, ["master-display", "max-cll"]);
    // It says so where it repeats its parameter sets, which go, and else in the configuration alone, where players hardly look.
    settings.push(format!("repeat-headers={}", u8::from(!light.is_empty())));
    settings.extend(light);
    let mut options = vec![
        ("preset", config.preset()),
        ("x265-params", settings.join(":")),
    ];
    options.extend(config.rated(config.crf.min(Codec::Hevc.worst_crf())));
    options
}
