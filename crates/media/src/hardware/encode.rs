//! Encoding on a device: pictures go in, which lie there or are brought there, packets come out in the order in which they are shown.

use super::quality::{Quantizer, quantizer};
use super::{DeviceKind, HardwareDevice, Place, Pool, Session};
use crate::encode::{Codec, Config, EncodedPacket, Output, Rate, bare_name};
use crate::error::{AvError, Error};
use crate::ffi::{self, CodecContext, Poll};
use crate::frame::{BitDepth, Frame, PixelFormat};

/// Pictures of an encoder's own pool, where pools do not grow.
const HELD: u32 = 24;
/// Seconds over which a capped rate is held, by the encoders whose buffer FFmpeg sets (not NVENC's).
const CAPPED_SECONDS: u64 = 2;
/// Steps of FFmpeg's common quality to one of a quantizer, under the flag `qscale` (`FF_QP2LAMBDA`).
const QUANTIZER_STEP: u32 = 118;
/// The options that keep the quantizer of keyframes equal to that of the frames between them. FFmpeg's own defaults give keyframes 0.8 of it.
const EQUAL_QUANTIZERS: [(&str, &str); 4] = [
    ("i_qfactor", "1"),
    ("i_qoffset", "0"),
    ("b_qfactor", "1"),
    ("b_qoffset", "0"),
];

/// A family of encoders: those that one vendor or interface has for the codecs.
struct Family {
    /// What stands behind the codec in FFmpeg's names: `av1_nvenc`.
    suffix: &'static str,
    /// The devices whose pictures they take.
    kind: DeviceKind,
    options: fn(&Config, Codec) -> Vec<(&'static str, String)>,
    /// FFmpeg's common quality, of those that read it; `None` where a rate alone decides.
    global_quality: fn(&Config, Codec) -> Option<u32>,
}

const FAMILIES: [Family; 5] = [
    Family {
        suffix: "nvenc",
        kind: DeviceKind::Cuda,
        options: nvenc,
        global_quality: |_, _| None,
    },
    Family {
        suffix: "qsv",
        kind: DeviceKind::Qsv,
        options: qsv,
        global_quality: qsv_quality,
    },
    Family {
        suffix: "vaapi",
        kind: DeviceKind::Vaapi,
        options: vaapi,
        global_quality: vaapi_quality,
    },
    // Its pictures come through the host: FFmpeg's own devices for it are of 8.0 and later.
    Family {
        suffix: "amf",
        kind: DeviceKind::Vaapi,
        options: amf,
        global_quality: |_, _| None,
    },
    Family {
        suffix: "vulkan",
        kind: DeviceKind::Vulkan,
        options: vulkan,
        global_quality: |_, _| None,
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
            if let Some(quality) = (family.global_quality)(config, codec) {
                context.set_global_quality(quality);
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

/// The quality on the scale that an encoder counts on.
fn on_scale(scale: Quantizer, config: &Config, codec: Codec) -> u32 {
    quantizer(codec, scale, config.crf).0
}

/// The options of one encoder, each at most once.
#[derive(Default)]
struct Options(Vec<(&'static str, String)>);

impl Options {
    fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    fn add_number(&mut self, name: &'static str, value: impl Into<u64>) {
        self.add(name, value.into().to_string());
    }

    /// Keyframes get the quantizer of all other frames.
    fn add_equal_quantizers(&mut self) {
        for (name, value) in EQUAL_QUANTIZERS {
            self.add(name, value);
        }
    }

    /// A highest rate, with the buffer over which it is held.
    fn add_cap(&mut self, most: u64) {
        self.add_number("maxrate", most);
        self.add_number("bufsize", most * CAPPED_SECONDS);
    }
}

/// The speed on a scale from 1 (slowest) to 7.
fn seventh(config: &Config) -> u32 {
    1 + (u32::from(config.speed.min(13)) * 6 + 6) / 13
}

/// One group of pictures of the length asked for; keyframes that start anew, and none at changes of scene. The slowest presets (p6, p7) may look
/// ahead within the segment: FFmpeg takes an `rc-lookahead` of 0 for "as the preset does", so that cannot be turned off.
fn nvenc(config: &Config, codec: Codec) -> Vec<(&'static str, String)> {
    let mut options = Options::default();
    // Its presets run from p1, the fastest, to p7.
    options.add("preset", format!("p{}", 8 - seventh(config)));
    options.add("tune", "hq");
    options.add("forced-idr", "1");
    options.add("strict_gop", "1");
    options.add("no-scenecut", "1");
    match config.rate {
        Rate::Quantizer => {
            options.add("rc", "constqp");
            options.add_number("qp", on_scale(Quantizer::Index, config, codec));
            options.add_equal_quantizers();
        }
        Rate::Average(bits) => {
            options.add("rc", "vbr");
            options.add_number("b", bits);
        }
        Rate::Quality | Rate::Capped(_) => {
            options.add("rc", "vbr");
            options.add_number("cq", on_scale(Quantizer::Target, config, codec));
            // A rate of its own would cap the quality.
            options.add("b", "0");
        }
    }
    if let Rate::Capped(most) = config.rate {
        // A buffer would not arrive: beside a target quality FFmpeg sets it to 0, the driver's own.
        options.add_number("maxrate", most);
    }
    options.0
}

/// With a quality and no rate it is "intelligent constant quality" (ICQ), with a cap QVBR, with the flag `qscale` a constant quantizer.
fn qsv(config: &Config, codec: Codec) -> Vec<(&'static str, String)> {
    let mut options = Options::default();
    // Its presets run from 1, the slowest, to 7.
    options.add_number("preset", seventh(config));
    if codec != Codec::Av1 {
        options.add("forced_idr", "1");
    }
    match config.rate {
        Rate::Quality => {}
        Rate::Quantizer => {
            options.add("flags", "+qscale");
            options.add_equal_quantizers();
        }
        Rate::Capped(most) => {
            // Without a rate of its own, FFmpeg falls back to a constant quantizer and drops the cap; at the same rate it chooses CBR and drops the quality.
            options.add_number("b", most.saturating_sub(1).max(1));
            options.add_cap(most);
        }
        Rate::Average(bits) => options.add_number("b", bits),
    }
    options.0
}

fn qsv_quality(config: &Config, codec: Codec) -> Option<u32> {
    match config.rate {
        Rate::Quality | Rate::Capped(_) => Some(on_scale(Quantizer::Of51, config, codec)),
        Rate::Quantizer => Some(on_scale(Quantizer::Index, config, codec) * QUANTIZER_STEP),
        Rate::Average(_) => None,
    }
}

/// Quality goes through FFmpeg's common scale as the constant quantizer, and with a cap as QVBR's quality.
fn vaapi(config: &Config, _: Codec) -> Vec<(&'static str, String)> {
    let mut options = Options::default();
    match config.rate {
        Rate::Quality => options.add("rc_mode", "CQP"),
        Rate::Quantizer => {
            options.add("rc_mode", "CQP");
            options.add_equal_quantizers();
        }
        // Few drivers hold a rate beside a quality, so a cap is not kept by itself.
        Rate::Capped(most) => {
            options.add("rc_mode", "QVBR");
            options.add_number("b", most);
            options.add_cap(most);
        }
        Rate::Average(bits) => {
            options.add("rc_mode", "VBR");
            options.add_number("b", bits);
        }
    }
    options.0
}

fn vaapi_quality(config: &Config, codec: Codec) -> Option<u32> {
    match config.rate {
        Rate::Quality | Rate::Quantizer => Some(on_scale(Quantizer::Index, config, codec)),
        Rate::Capped(_) => Some(on_scale(Quantizer::Of51, config, codec)),
        Rate::Average(_) => None,
    }
}

/// It has no quality beside a cap in all releases: a smallest quantizer keeps it from spending bits beyond the quality.
fn amf(config: &Config, codec: Codec) -> Vec<(&'static str, String)> {
    let quality = match config.speed {
        0..=4 => "quality",
        5..=9 => "balanced",
        _ => "speed",
    };
    let index = on_scale(Quantizer::Index, config, codec);
    let mut options = Options::default();
    options.add("usage", "transcoding");
    options.add("quality", quality);
    match config.rate {
        Rate::Quality | Rate::Quantizer => {
            options.add("rc", "cqp");
            options.add_number("qp_i", index);
            options.add_number("qp_p", index);
        }
        Rate::Capped(most) => {
            // The other kind, held by latency, does not look at the highest rate.
            options.add("rc", "vbr_peak");
            options.add_number("b", most);
            options.add_cap(most);
            if codec == Codec::H264 {
                options.add_number("qmin", index);
            } else {
                options.add_number("min_qp_i", index);
                options.add_number("min_qp_p", index);
            }
        }
        Rate::Average(bits) => {
            options.add("rc", "vbr_latency");
            options.add_number("b", bits);
        }
    }
    options.0
}

/// It has no quality beside a cap either. FFmpeg takes smallest quantizers up to 69 only, which is too few for AV1's.
fn vulkan(config: &Config, codec: Codec) -> Vec<(&'static str, String)> {
    let index = on_scale(Quantizer::Index, config, codec);
    let mut options = Options::default();
    match config.rate {
        Rate::Quality | Rate::Quantizer => {
            options.add("rc_mode", "cqp");
            options.add_number("qp", index);
        }
        Rate::Average(bits) => {
            options.add("rc_mode", "vbr");
            options.add_number("b", bits);
        }
        Rate::Capped(most) => {
            options.add("rc_mode", "vbr");
            options.add_number("b", most);
            options.add_cap(most);
            if codec != Codec::Av1 {
                options.add_number("qmin", index);
            }
        }
    }
    if config.rate == Rate::Quantizer {
        options.add_equal_quantizers();
    }
    options.0
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

    /// What an encoder is opened with: its options, and the common quality under its own name.
    fn opened_with(suffix: &str, rate: Rate, codec: Codec) -> Vec<(&'static str, String)> {
        let (family, codec) = family(&encoder_name(codec, suffix)).expect("a family");
        let config = config(30, 8, rate);
        let mut options = (family.options)(&config, codec);
        let quality = (family.global_quality)(&config, codec);
        options.extend(quality.map(|quality| ("global_quality", quality.to_string())));
        options
    }

    const SUFFIXES: [&str; 5] = ["nvenc", "qsv", "vaapi", "amf", "vulkan"];
    const MOST: u64 = 2_000_000;

    #[test]
    fn no_option_is_given_twice_and_rates_arrive_where_they_are_asked_for() {
        let rates = [
            Rate::Quality,
            Rate::Quantizer,
            Rate::Capped(MOST),
            Rate::Average(1_000_000),
        ];
        for (suffix, rate) in SUFFIXES
            .iter()
            .flat_map(|suffix| rates.map(|rate| (suffix, rate)))
        {
            for codec in Codec::ALL {
                let options = opened_with(suffix, rate, codec);
                let mut names: Vec<_> = options.iter().map(|(name, _)| *name).collect();
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), options.len(), "{suffix} {rate:?}");
                let average = value(&options, "b") == ["1000000"];
                assert_eq!(average, rate == Rate::Average(1_000_000), "{suffix}");
                let capped = value(&options, "maxrate") == ["2000000"];
                assert_eq!(capped, rate == Rate::Capped(MOST), "{suffix}");
            }
        }
    }

    #[test]
    fn a_constant_quantizer_is_the_same_for_keyframes() {
        for (suffix, codec) in SUFFIXES
            .iter()
            .flat_map(|suffix| Codec::ALL.map(|codec| (suffix, codec)))
        {
            let options = opened_with(suffix, Rate::Quantizer, codec);
            let is = |name, wanted: &str| value(&options, name) == [wanted];
            let index = quantizer(codec, Quantizer::Index, 30).0.to_string();
            if *suffix == "amf" {
                assert!(is("rc", "cqp") && is("qp_i", &index) && is("qp_p", &index));
                continue;
            }
            for (name, wanted) in EQUAL_QUANTIZERS {
                assert!(is(name, wanted), "{codec}_{suffix}: {options:?}");
            }
            let step = (quantizer(codec, Quantizer::Index, 30).0 * 118).to_string();
            let constant = match *suffix {
                "nvenc" => is("rc", "constqp") && is("qp", &index),
                // FFmpeg divides the quality by its step, and chooses CQP by the flag alone.
                "qsv" => is("flags", "+qscale") && is("global_quality", &step),
                "vaapi" => is("rc_mode", "CQP") && is("global_quality", &index),
                _ => is("rc_mode", "cqp") && is("qp", &index),
            };
            assert!(constant, "{codec}_{suffix}: {options:?}");
        }
    }

    #[test]
    fn a_cap_is_held_beside_a_quality() {
        for codec in Codec::ALL {
            let index = quantizer(codec, Quantizer::Index, 30).0.to_string();
            let of_51 = quantizer(codec, Quantizer::Of51, 30).0.to_string();
            let nvenc = opened_with("nvenc", Rate::Capped(MOST), codec);
            assert_eq!(value(&nvenc, "cq"), ["30"]);
            // FFmpeg would set it to 0.
            assert!(value(&nvenc, "bufsize").is_empty());
            // QSV takes a rate below the highest one for QVBR, the same for CBR, and none for a constant quantizer.
            let qsv = opened_with("qsv", Rate::Capped(MOST), codec);
            let own: u64 = value(&qsv, "b")[0].parse().expect("a rate");
            assert!(0 < own && own < MOST);
            assert_eq!(value(&qsv, "global_quality"), [of_51.as_str()]);
            let vaapi = opened_with("vaapi", Rate::Capped(MOST), codec);
            assert_eq!(value(&vaapi, "rc_mode"), ["QVBR"]);
            assert_eq!(value(&vaapi, "global_quality"), [of_51.as_str()]);
            let amf = opened_with("amf", Rate::Capped(MOST), codec);
            assert_eq!(value(&amf, "rc"), ["vbr_peak"]);
            let least = if codec == Codec::H264 {
                "qmin"
            } else {
                "min_qp_p"
            };
            assert_eq!(value(&amf, least), [index.as_str()]);
            let vulkan = opened_with("vulkan", Rate::Capped(MOST), codec);
            let least = value(&vulkan, "qmin");
            assert!(least.is_empty() == (codec == Codec::Av1));
            assert!(least.iter().all(|least| *least == index));
            for options in [qsv, vaapi, amf, vulkan] {
                assert_eq!(value(&options, "bufsize"), ["4000000"]);
            }
        }
    }

    #[test]
    fn qualities_of_av1_stay_within_the_scale_of_qsv() {
        // FFmpeg cuts off what is above 51.
        for crf in [35, 63] {
            let config = config(crf, 8, Rate::Quality);
            let quality = qsv_quality(&config, Codec::Av1).expect("a quality");
            assert_eq!(quality, if crf == 63 { 51 } else { 28 });
        }
    }
}
