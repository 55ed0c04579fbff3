//! What a session is set up to make, and what its card can.

use rungs_standin::settings::{encodes, text};
use rungs_standin::wire::{Rate, Spec};
use rungs_standin::{asked, misuse};

use crate::layout::{
    Api, CODECS, Caps, Config, Form, Guid, Initialize, LOOKAHEAD, RateControl, STRICT_GOP, WORDS,
};
use crate::status::{INVALID_PARAM, Refusal, UNSUPPORTED_PARAM};

/// Names in `RUNGS_STANDIN_CODECS`, in the order of [`CODECS`].
const NAMES: [&str; 3] = ["h264", "hevc", "av1"];
/// The smallest and the largest pictures of each codec, as people report them of cards.
const SIZES: [([u32; 2], u32); 3] = [([145, 49], 4096), ([129, 33], 8192), ([192, 128], 8192)];

/// The presets P1 to P7.
const PRESETS: [Guid; 7] = [
    Guid(
        0xfc0a_8d3e,
        0x45f8,
        0x4cf8,
        [0x80, 0xc7, 0x29, 0x88, 0x71, 0x59, 0x0e, 0xbf],
    ),
    Guid(
        0xf581_cfb8,
        0x88d6,
        0x4381,
        [0x93, 0xf0, 0xdf, 0x13, 0xf9, 0xc2, 0x7d, 0xab],
    ),
    Guid(
        0x3685_0110,
        0x3a07,
        0x441f,
        [0x94, 0xd5, 0x36, 0x70, 0x63, 0x1f, 0x91, 0xf6],
    ),
    Guid(
        0x90a7_b826,
        0xdf06,
        0x4862,
        [0xb9, 0xd2, 0xcd, 0x6d, 0x73, 0xa0, 0x86, 0x81],
    ),
    Guid(
        0x21c6_e6b4,
        0x297a,
        0x4cba,
        [0x99, 0x8f, 0xb6, 0xcb, 0xde, 0x72, 0xad, 0xe3],
    ),
    Guid(
        0x8e75_c279,
        0x6299,
        0x4ab6,
        [0x83, 0x02, 0x0b, 0x21, 0x5a, 0x33, 0x5c, 0xf5],
    ),
    Guid(
        0x8484_8c12,
        0x6f71,
        0x4c13,
        [0x93, 0x1b, 0x53, 0xe2, 0x83, 0xf5, 0x79, 0x74],
    ),
];

/// The codecs of a card in a version of the interface, by their places in [`CODECS`].
pub(crate) fn codecs(api: Api, card: u32) -> impl Iterator<Item = usize> {
    let known = if api == Api::V11 { 2 } else { 3 };
    (0..known).filter(move |codec| encodes(card, NAMES[*codec]))
}

/// The codec of a card, by the interface's name for it.
pub(crate) fn codec(api: Api, card: u32, guid: Guid) -> Result<usize, Refusal> {
    let found = codecs(api, card).find(|codec| CODECS[*codec] == guid);
    found.ok_or_else(|| Refusal::new(UNSUPPORTED_PARAM, "codec not supported"))
}

/// Whether a card encodes 10 bits of a codec.
fn ten_bits(card: u32, codec: usize) -> bool {
    codec > 0 && text("TEN_BITS", card).as_deref() != Some("0")
}

/// What a card answers when it is asked what it can do with a codec.
pub(crate) fn capability(card: u32, codec: usize, caps: Caps) -> i32 {
    let (least, most) = SIZES[codec];
    match caps.asked {
        // B frames: how many.
        0 => {
            if codec == 2 {
                7
            } else {
                4
            }
        }
        16 | 17 => most as i32,
        45 => least[0] as i32,
        46 => least[1] as i32,
        // 10 bits.
        39 => i32::from(ten_bits(card, codec)),
        // CABAC, rates that change, look-ahead, temporal AQ, weighted prediction, several references.
        7 | 20 | 37 | 38 | 41 | 47 => 1,
        // Which B frames are references.
        43 => 3,
        _ => 0,
    }
}

fn preset(guid: Guid) -> Option<u32> {
    let index = PRESETS.iter().position(|preset| *preset == guid)?;
    Some(index as u32 + 1)
}

/// `NV_ENC_TUNING_INFO_HIGH_QUALITY`.
const HIGH_QUALITY: u32 = 1;

/// Fills a configuration with what a preset stands for.
pub(crate) fn fill(
    (api, codec): (Api, usize),
    (guid, tuning): (Guid, u32),
    config: &mut Config,
) -> Result<(), Refusal> {
    let level =
        preset(guid).ok_or_else(|| Refusal::new(UNSUPPORTED_PARAM, "Preset not supported"))?;
    let slow = tuning == HIGH_QUALITY && level >= 6;
    let b_frames = tuning == HIGH_QUALITY && level >= 3;
    config.gop = 250;
    config.interval = if b_frames { 3 } else { 1 };
    config.field_mode = 1;
    config.profile = Guid(0, 0, 0, [0; 8]);
    config.rate.version = api.of(Form::RateControl);
    config.rate.mode = VBR;
    config.rate.average = 5_000_000;
    config.rate.flags = if slow { LOOKAHEAD } else { 0 };
    config.rate.lookahead = if slow { 16 } else { 0 };
    config.codec.0.fill(0);
    if let Some(word) = WORDS[codec].video_format {
        config.codec.0[word] = 5;
    }
    Ok(())
}

const CONSTANT: u32 = 0;
const VBR: u32 = 1;
const CBR: u32 = 2;

/// Reads what a session is to make, and refuses what a card refuses.
pub(crate) fn read(
    (api, card): (Api, u32),
    given: &Initialize,
    config: &Config,
) -> Result<Spec, Refusal> {
    let invalid = |reason: &str| Refusal::new(INVALID_PARAM, reason);
    let codec = codec(api, card, given.codec)?;
    let level = preset(given.preset).ok_or_else(|| invalid("Preset not supported"))?;
    let words = &WORDS[codec];
    let word = |index: usize| config.codec.0[index];
    let deeper = words.depth.map_or(0, |bit| word(words.flags) >> bit & 7);
    if deeper > 0 && !ten_bits(card, codec) {
        return Err(Refusal::new(
            UNSUPPORTED_PARAM,
            "10 bit encode not supported",
        ));
    }
    size(codec, given)?;
    let gop = if config.gop > 100_000 { 0 } else { config.gop };
    let interval = config.interval.max(0) as u32;
    if gop > 0 && gop < interval {
        return Err(invalid("GOP length less than the distance of P frames"));
    }
    if word(words.idr_period) != config.gop {
        misuse!(
            "keyframes every {}, groups of {}",
            word(words.idr_period),
            config.gop
        );
    }
    let [range, primaries, transfer, matrix] = words.color.map(word);
    let spec = Spec {
        codec: codec as u32,
        width: given.width,
        height: given.height,
        bits: 8 + deeper,
        gop,
        b_frames: if codec == 2 {
            0
        } else {
            interval.saturating_sub(1)
        },
        frame_rate: given.frame_rate,
        rate: rate(codec, &config.rate)?,
        rates: [config.rate.average, config.rate.most, config.rate.buffer],
        color: [primaries, transfer, matrix, range],
        repeat_headers: word(words.flags) & words.repeats != 0,
    };
    tell((api, card), (given, level), config, &spec);
    Ok(spec)
}

/// Says what a session is to make, as words that tests look for.
fn tell((api, card): (Api, u32), (given, level): (&Initialize, u32), config: &Config, spec: &Spec) {
    let [primaries, transfer, matrix, range] = spec.color;
    asked!(
        "nvEncInitializeEncoder on {card}: codec={} size={}x{} bits={} preset={level} tuning={} gop={} b_frames={} \
         frame_rate={}/{} rate={:?} average={} most={} buffer={} lookahead={}/{} strict_gop={} \
         color={primaries}/{transfer}/{matrix}/{range} api={}",
        NAMES[spec.codec as usize],
        spec.width,
        spec.height,
        spec.bits,
        given.tuning,
        config.gop,
        spec.b_frames,
        given.frame_rate[0],
        given.frame_rate[1],
        spec.rate,
        config.rate.average,
        config.rate.most,
        config.rate.buffer,
        u8::from(config.rate.flags & LOOKAHEAD != 0),
        config.rate.lookahead,
        u8::from(config.rate.flags & STRICT_GOP != 0),
        api.name(),
    );
}

fn size(codec: usize, given: &Initialize) -> Result<(), Refusal> {
    let (least, most) = SIZES[codec];
    let invalid = |reason: &str| Err(Refusal::new(INVALID_PARAM, reason));
    if given.width < least[0] || given.height < least[1] {
        return invalid("Frame Dimension less than the minimum supported value.");
    }
    if given.width > most || given.height > most {
        return invalid("Frame Dimension greater than the maximum supported value.");
    }
    if given.width % 2 + given.height % 2 > 0 {
        misuse!("frames of {}x{}, which is odd", given.width, given.height);
    }
    if given.frame_rate.contains(&0) {
        misuse!("there is no frame rate");
    }
    if given.aspect.contains(&0) {
        misuse!("there is no aspect ratio");
    }
    if given.asynchronous != 0 || given.decides_types == 0 {
        misuse!(
            "asynchronous work, or frame types by the caller, which the stand-in does not have"
        );
    }
    Ok(())
}

fn rate(codec: usize, rate: &RateControl) -> Result<Rate, Refusal> {
    let invalid = |reason: &str| Err(Refusal::new(INVALID_PARAM, reason));
    let (worst, worst_quality) = if codec == 2 { (255, 63) } else { (51, 51) };
    let quality = u32::from(rate.quality) * 256 + u32::from(rate.quality_256ths);
    if quality > worst_quality * 256 {
        return invalid("targetQuality out of range");
    }
    match rate.mode {
        CONSTANT => {
            let [p, b, i] = rate.quantizers;
            if p.max(b).max(i) > worst {
                return invalid("QP out of range");
            }
            Ok(Rate::Quantizers([i, p, b]))
        }
        VBR if quality > 0 => Ok(Rate::Quality(quality)),
        VBR | CBR => Ok(Rate::Average),
        _ => invalid("rate control mode not supported"),
    }
}
