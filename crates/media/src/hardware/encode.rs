//! Encoding on a device: pictures go in, which lie there or are brought there, packets come out in the order in which they are shown.

use super::quality::{Quantizer, quantizer};
use super::{DeviceKind, HardwareDevice, Place, Pool, Session};
use crate::encode::{Codec, Config, EncodedPacket, Output, Rate, bare_name};
use crate::error::{AvError, Error};
use crate::ffi::{self, CodecContext, Poll};
use crate::frame::{BitDepth, Frame, PixelFormat};

/// Pictures of an encoder's own pool, where pools do not grow.
const HELD: u32 = 24;
/// Seconds over which a capped rate is held.
const CAPPED_SECONDS: u64 = 2;

/// A family of encoders: those that one vendor or interface has for the codecs.
struct Family {
    /// What stands behind the codec in FFmpeg's names: `av1_nvenc`.
    suffix: &'static str,
    /// The devices whose pictures they take.
    kind: DeviceKind,
    options: fn(&Config, Codec) -> Vec<(&'static str, String)>,
    /// FFmpeg's common quality, of those that read it.
    global_quality: Option<fn(&Config, Codec) -> u32>,
}

const FAMILIES: [Family; 5] = [
    Family {
        suffix: "nvenc",
        kind: DeviceKind::Cuda,
        options: nvenc,
        global_quality: None,
    },
    Family {
        suffix: "qsv",
        kind: DeviceKind::Qsv,
        options: qsv,
        global_quality: Some(index),
    },
    Family {
        suffix: "vaapi",
        kind: DeviceKind::Vaapi,
        options: vaapi,
        global_quality: Some(index),
    },
    // Its pictures come through the host: FFmpeg's own devices for it are of 8.0 and later.
    Family {
        suffix: "amf",
        kind: DeviceKind::Vaapi,
        options: amf,
        global_quality: None,
    },
    Family {
        suffix: "vulkan",
        kind: DeviceKind::Vulkan,
        options: vulkan,
        global_quality: None,
    },
];

/// FFmpeg's name for the encoder of a codec in a family: `av1` and `nvenc` give `av1_nvenc`.
#[must_use]
pub fn encoder_name(codec: Codec, suffix: &str) -> String {
    format!("{codec}_{suffix}")
}

/// What the encoder of this name makes, if it is a device's, whether this FFmpeg has it or not.
#[must_use]
pub fn codec_of(encoder: &str) -> Option<Codec> {
    family(bare_name(encoder)).map(|(_, codec)| codec)
}

/// The encoders for the codec that this FFmpeg has for devices of the kind, best first.
#[must_use]
pub fn candidates(codec: Codec, kind: DeviceKind) -> Vec<String> {
    FAMILIES
        .iter()
        .filter(|family| family.kind == kind)
        .map(|family| encoder_name(codec, family.suffix))
        .filter(|name| ffi::Codec::encoder(name).is_some())
        .collect()
}

/// Encodes one stretch of video on a device. There is one encoder on a context at a time.
///
/// Pictures of the device are taken as they lie; others are brought there first. No picture is encoded with the help of a later one, so packets come in the order of their
/// times, and the first is a keyframe. Dropping it without [`finish`](Self::finish) throws away what it holds; that may block.
pub struct HardwareEncoder {
    context: CodecContext,
    codec: Codec,
    device: HardwareDevice,
    /// Brings pictures to the encoder's memory; `None` for an encoder that takes them from the host.
    pool: Option<Pool>,
    depth: BitDepth,
    output: Output,
    _session: Session,
}

impl HardwareEncoder {
    /// Opens the encoder `config.encoder`, one of [`candidates`], and sends the first frame, with its timestamp in the configuration's time base.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this FFmpeg has no such encoder, [`Error::Capacity`] if sessions or memory ran out or one is open on this context,
    /// [`Error::Device`] if the device refuses, [`Error::Option`] if this version does not know an option.
    pub fn open(
        config: &Config,
        device: &HardwareDevice,
        first: (&Frame, i64),
    ) -> Result<Self, Error> {
        let name = bare_name(&config.encoder);
        let unsupported = || Error::Unsupported {
            what: format!("encoder {name} for {} devices", device.kind()),
        };
        let (family, codec) = family(name).ok_or_else(unsupported)?;
        let encoder = ffi::Codec::encoder(name).ok_or_else(unsupported)?;
        if family.kind != device.kind() {
            return Err(unsupported());
        }
        let session = device.session()?;
        let pool = if family.suffix == "amf" {
            None
        } else {
            let form = ((config.width, config.height), config.depth);
            Some(Pool::new(device, form, HELD)?)
        };
        let picture = placed(pool.as_ref(), first.0)?;
        let mut context = CodecContext::new(encoder).map_err(Error::open_codec(name))?;
        let known = device.attempt(&format!("open {name}"), || {
            context.set_video_encoder(&config.settings())?;
            context.keep_order();
            if let Some(quality) = family.global_quality.filter(|_| is_constant(config)) {
                context.set_global_quality(quality(config, codec));
            }
            if picture.place() == Place::Device {
                context.encode_from(device.context(), picture.picture())?;
            }
            context.open((family.options)(config, codec))
        })?;
        known.map_err(|option| Error::Option {
            what: name.to_owned(),
            name: option,
        })?;
        let mut encoder = Self {
            context,
            codec,
            device: device.clone(),
            pool,
            depth: config.depth,
            output: Output::new(config),
            _session: session,
        };
        encoder.give(&picture, first.1)?;
        Ok(encoder)
    }

    /// Sends a frame with a timestamp above the last one's, in the configuration's time base. Blocks while the encoder is busy.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the frame has another size or depth, [`Error::Device`] if the device fails, [`Error::Capacity`].
    pub fn send(&mut self, frame: &Frame, pts: i64) -> Result<(), Error> {
        let picture = placed(self.pool.as_ref(), frame)?;
        self.give(&picture, pts)
    }

    /// Ends the stretch: waits for the encoder and returns all packets that were not taken before, in order.
    pub fn finish(&mut self) -> Result<Vec<EncodedPacket>, Error> {
        while !self.ask(|context| context.send_frame(None))? {
            self.drain()?;
        }
        while !self.drain()? {}
        Ok(self.output.finish())
    }

    /// Takes the packets that are ready. Their durations may be nominal: only a later packet tells the true ones.
    pub fn take_packets(&mut self) -> Vec<EncodedPacket> {
        self.output.packets.drain(..).collect()
    }

    /// The codec configuration, as of [`VideoEncoder`](crate::encode::VideoEncoder::configuration).
    #[must_use]
    pub fn configuration(&self) -> &[u8] {
        if self.codec == Codec::Av1 {
            &self.output.header
        } else {
            self.context.extradata()
        }
    }

    /// Bits of a sample of the frames that it takes.
    #[must_use]
    pub fn depth(&self) -> BitDepth {
        self.depth
    }

    fn give(&mut self, picture: &Frame, pts: i64) -> Result<(), Error> {
        let bare = picture.picture().bare_reference();
        let mut bare = bare.map_err(Error::encode(self.context.name()))?;
        bare.set_pts(Some(pts));
        while !self.ask(|context| context.send_frame(Some(&bare)))? {
            self.drain()?;
        }
        self.drain().map(drop)
    }

    /// Takes packets out of the encoder. `true`: it has ended.
    fn drain(&mut self) -> Result<bool, Error> {
        loop {
            match self.ask(CodecContext::receive_packet)? {
                Poll::Ready(packet) => self.output.push(&packet),
                Poll::Again => return Ok(false),
                Poll::End => return Ok(true),
            }
        }
    }

    fn ask<T>(
        &mut self,
        act: impl FnOnce(&mut CodecContext) -> Result<T, AvError>,
    ) -> Result<T, Error> {
        let operation = format!("encode with {}", self.context.name());
        let context = &mut self.context;
        self.device.attempt(&operation, || act(context))
    }
}

impl std::fmt::Debug for HardwareEncoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "HardwareEncoder({} on {})",
            self.context.name(),
            self.device
        )
    }
}

/// The picture where the encoder takes it from.
fn placed(pool: Option<&Pool>, frame: &Frame) -> Result<Frame, Error> {
    match (pool, frame.place()) {
        (Some(pool), Place::Host) => pool.upload(frame),
        (Some(pool), Place::Device) => {
            pool.check(frame, PixelFormat::numbered(pool.depth().device_format()))?;
            Ok(frame.clone())
        }
        // What it cannot take it says itself.
        (None, _) => frame.download(),
    }
}

/// The family of an encoder, and what it makes.
fn family(name: &str) -> Option<(&'static Family, Codec)> {
    Codec::ALL.into_iter().find_map(|codec| {
        let mut families = FAMILIES.iter();
        let found = families.find(|family| encoder_name(codec, family.suffix) == name)?;
        Some((found, codec))
    })
}

/// Whether quality rather than a rate decides.
const fn is_constant(config: &Config) -> bool {
    !matches!(config.rate, Rate::Average(_))
}

fn index(config: &Config, codec: Codec) -> u32 {
    quantizer(codec, Quantizer::Index, config.crf).0
}

/// The rate that is not to be exceeded or to be kept, in FFmpeg's own options.
fn rates(config: &Config) -> Vec<(&'static str, String)> {
    match config.rate {
        Rate::Quality | Rate::Quantizer => Vec::new(),
        Rate::Capped(most) => vec![
            ("maxrate", most.to_string()),
            ("bufsize", (most * CAPPED_SECONDS).to_string()),
        ],
        Rate::Average(bits) => vec![("b", bits.to_string())],
    }
}

/// The speed on a scale from 1 (slowest) to 7.
fn seventh(config: &Config) -> u32 {
    1 + (u32::from(config.speed.min(13)) * 6 + 6) / 13
}

/// One group of pictures of the length asked for, keyframes that start anew, nothing looked ahead at.
fn nvenc(config: &Config, codec: Codec) -> Vec<(&'static str, String)> {
    let target = quantizer(codec, Quantizer::Target, config.crf).0;
    let mut options = vec![
        // Its presets run from p1, the fastest, to p7.
        ("preset", format!("p{}", 8 - seventh(config))),
        ("tune", "hq".to_owned()),
        ("forced-idr", "1".to_owned()),
        ("strict_gop", "1".to_owned()),
        ("no-scenecut", "1".to_owned()),
        ("rc-lookahead", "0".to_owned()),
    ];
    match config.rate {
        Rate::Quantizer => options.extend([
            ("rc", "constqp".to_owned()),
            ("qp", index(config, codec).to_string()),
        ]),
        Rate::Average(_) => options.push(("rc", "vbr".to_owned())),
        Rate::Quality | Rate::Capped(_) => options.extend([
            ("rc", "vbr".to_owned()),
            ("cq", target.to_string()),
            // A rate of its own would cap the quality.
            ("b", "0".to_owned()),
        ]),
    }
    options.extend(rates(config));
    options
}

/// Quality goes through FFmpeg's common scale: with no rate given, that is QSV's intelligent constant quality.
fn qsv(config: &Config, codec: Codec) -> Vec<(&'static str, String)> {
    // Its presets run from 1, the slowest, to 7.
    let mut options = vec![("preset", seventh(config).to_string())];
    if codec != Codec::Av1 {
        options.push(("forced_idr", "1".to_owned()));
    }
    options.extend(rates(config));
    options
}

/// Quality goes through FFmpeg's common scale as the constant quantizer.
fn vaapi(config: &Config, _: Codec) -> Vec<(&'static str, String)> {
    let mode = match config.rate {
        Rate::Average(_) => "VBR",
        // Few drivers hold a rate beside a quality, so a cap is not kept by itself.
        Rate::Capped(_) => "QVBR",
        Rate::Quality | Rate::Quantizer => "CQP",
    };
    let mut options = vec![("rc_mode", mode.to_owned())];
    options.extend(rates(config));
    if let Rate::Capped(most) = config.rate {
        options.push(("b", most.to_string()));
    }
    options
}

fn amf(config: &Config, codec: Codec) -> Vec<(&'static str, String)> {
    let quality = match config.speed {
        0..=4 => "quality",
        5..=9 => "balanced",
        _ => "speed",
    };
    let mut options = vec![
        ("usage", "transcoding".to_owned()),
        ("quality", quality.to_owned()),
    ];
    match config.rate {
        Rate::Average(_) => options.push(("rc", "vbr_latency".to_owned())),
        Rate::Capped(most) => {
            options.extend([("rc", "vbr_latency".to_owned()), ("b", most.to_string())]);
        }
        Rate::Quality | Rate::Quantizer => {
            let index = index(config, codec).to_string();
            options.extend([
                ("rc", "cqp".to_owned()),
                ("qp_i", index.clone()),
                ("qp_p", index),
            ]);
        }
    }
    options.extend(
        rates(config)
            .into_iter()
            .filter(|(name, _)| *name != "b" || !is_constant(config)),
    );
    options
}

fn vulkan(config: &Config, codec: Codec) -> Vec<(&'static str, String)> {
    let mut options = match config.rate {
        Rate::Quality | Rate::Quantizer => vec![
            ("rc_mode", "cqp".to_owned()),
            ("qp", index(config, codec).to_string()),
        ],
        Rate::Average(_) => vec![("rc_mode", "vbr".to_owned())],
        Rate::Capped(most) => vec![("rc_mode", "vbr".to_owned()), ("b", most.to_string())],
    };
    options.extend(rates(config));
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::TimeBase;

    fn config(crf: u8, speed: u8, rate: Rate) -> Config {
        Config {
            encoder: String::new(),
            width: 640,
            height: 360,
            time_base: TimeBase::new(1, 24).unwrap(),
            frame_rate: None,
            color: crate::Color::default(),
            gop: 96,
            threads: 0,
            crf,
            speed,
            depth: BitDepth::Eight,
            light: crate::hdr::Light::default(),
            rate,
        }
    }

    fn value<'a>(options: &'a [(&'static str, String)], name: &str) -> Vec<&'a str> {
        let named = options.iter().filter(|(option, _)| *option == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn names_are_found_by_family_and_codec() {
        for codec in Codec::ALL {
            for suffix in ["nvenc", "qsv", "vaapi", "amf", "vulkan"] {
                let (found, made) = family(&encoder_name(codec, suffix)).unwrap();
                assert_eq!((found.suffix, made), (suffix, codec));
            }
        }
        assert!(family("libsvtav1").is_none() && family("vp9_qsv").is_none());
    }

    #[test]
    fn nvenc_goes_from_its_slowest_preset_to_its_fastest() {
        for (speed, preset) in [(0, "p7"), (8, "p3"), (13, "p1")] {
            let options = nvenc(&config(35, speed, Rate::Quality), Codec::Av1);
            assert_eq!(value(&options, "preset"), [preset], "speed {speed}");
        }
    }

    #[test]
    fn each_kind_of_rate_is_said_once_and_no_option_twice() {
        let rates = [
            Rate::Quality,
            Rate::Quantizer,
            Rate::Capped(2_000_000),
            Rate::Average(1_000_000),
        ];
        for family in &FAMILIES {
            for (rate, codec) in rates
                .into_iter()
                .flat_map(|rate| Codec::ALL.into_iter().map(move |codec| (rate, codec)))
            {
                let options = (family.options)(&config(30, 8, rate), codec);
                let mut names: Vec<_> = options.iter().map(|(name, _)| *name).collect();
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), options.len(), "{} {rate:?}", family.suffix);
                let average = value(&options, "b") == ["1000000"];
                assert_eq!(
                    average,
                    rate == Rate::Average(1_000_000),
                    "{}",
                    family.suffix
                );
                let capped = value(&options, "maxrate") == ["2000000"];
                assert_eq!(capped, rate == Rate::Capped(2_000_000), "{}", family.suffix);
            }
        }
    }
}
