//! One trial, on the device that it is given: in the trial's own process.

use std::time::Instant;

use rungs_media::decode::{Received, Sent, VideoDecoder};
use rungs_media::encode::{Codec, Config, EncodedPacket, Rate};
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::hardware::{HardwareDevice, HardwareEncoder, Pool, Shelf};
use rungs_media::hdr::Light;
use rungs_media::sample::{self, Coding, PICTURES, Sample};
use rungs_media::scale::{self, Kernel, Scaler};
use rungs_media::time::TimeBase;
use rungs_media::{Color, Error, Packet};

use super::{Proof, Trial, Verdict};
use crate::error::in_words;
use crate::ladder::Size;
use crate::span::Difference;

/// A decoded picture is to be that of the CPU; MPEG-2 alone leaves rounding to the decoder, which stays above this in dB.
const DECODED: f64 = 40.0;
/// What a scaler has to reach against the CPU's, in dB. They differ at hard edges, of which the pictures are full; a picture in the wrong place is below.
const SCALED: f64 = 28.0;
/// The sizes to which it is tried: those between the rungs of usual ladders, and one for which pictures are halved first.
const SCALES: [(u32, u32); 3] = [(2, 3), (1, 2), (2, 9)];
/// What an encoder has to reach at a factor that is good, in dB.
const ENCODED: f64 = 28.0;
/// The factor.
const CRF: u8 = 20;
/// The size at which speed is measured.
const LARGE: (u32, u32) = (1920, 1080);
/// Rounds of all pictures for the measurement of speed, and those that only warm up.
const ROUNDS: (u32, u32) = (12, 2);
/// No rung has a side below this.
const LEAST: u32 = 16;
/// Encoders at once that are enough: no device is better served by more.
const MOST_SESSIONS: u32 = 12;

/// Whether a trial can have had such a verdict. Threads and encoders are made after its numbers.
pub(super) fn can_be(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Works(Proof {
            sessions: Some(sessions),
            ..
        }) => (1..=MOST_SESSIONS).contains(sessions),
        _ => true,
    }
}

/// What a trial ended with, if not with a proof.
enum Stop {
    /// The device, or what it made.
    Fails(String),
    /// Something that the trial needs is not there.
    Untried(String),
    /// The device has no room for it now.
    Busy(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        if error.is_capacity() {
            return Self::Busy(in_words(&error));
        }
        Self::Fails(explained(in_words(&error)))
    }
}

/// What drivers say, and what it means to a person.
const MEANINGS: [(&str, &str); 4] = [
    ("unsupported device", "no encode engine"),
    ("No capable devices found", "no encode engine for this"),
    (
        "CUDA_ERROR_NOT_SUPPORTED",
        "the device does not know this codec or depth",
    ),
    (NOT_OFFERED, "no decoder for this codec and depth"),
];
/// How `rungs_media` says that a decoder was offered no place on the device.
const NOT_OFFERED: &str = "offers to decode this stream there";

/// A reason with what it means before it, where that is known.
fn explained(reason: String) -> String {
    let meaning = MEANINGS.iter().find(|(said, _)| reason.contains(said));
    match meaning {
        Some((_, meaning)) => format!("{meaning}: {reason}"),
        None => reason,
    }
}

pub(super) fn run(device: &HardwareDevice, trial: &Trial) -> Verdict {
    let done = match trial {
        Trial::Decode { coding, depth } => decode(device, *coding, *depth),
        Trial::Scale { depth } => scale(device, *depth),
        Trial::Encode {
            codec,
            encoder,
            depth,
        } => encode(device, (encoder, *codec), *depth),
        Trial::Sessions { encoder, .. } => sessions(device, encoder),
    };
    match done {
        Ok(proof) => Verdict::Works(proof),
        Err(Stop::Fails(reason)) => Verdict::Fails { reason },
        Err(Stop::Untried(reason)) => Verdict::Untried { reason },
        Err(Stop::Busy(reason)) => Verdict::Busy { reason },
    }
}

fn decode(device: &HardwareDevice, coding: Coding, depth: BitDepth) -> Result<Proof, Stop> {
    let sample = Sample::make(coding, depth).map_err(|error| Stop::Untried(in_words(&error)))?;
    let expected = sample
        .decode()
        .map_err(|error| Stop::Untried(in_words(&error)))?;
    let decoded = sample.decode_on(device)?;
    let decoded = decoded
        .iter()
        .map(Frame::download)
        .collect::<Result<Vec<_>, _>>()?;
    let psnr = compare(&expected, &decoded)?;
    if let Some(psnr) = psnr.filter(|psnr| *psnr < DECODED) {
        return Err(Stop::Fails(format!(
            "decodes other pictures than the CPU ({psnr:.1} dB)"
        )));
    }
    // Large pictures are not kept: where this FFmpeg does not encode the codec, the speed stays unknown.
    let Ok(large) = Sample::sized(coding, (LARGE, depth)) else {
        return Ok(Proof {
            psnr,
            ..Proof::default()
        });
    };
    let timed = |rounds| {
        let since = Instant::now();
        let count = large.repeat_on(device, rounds)?;
        Ok::<_, Error>((f64::from(count), since.elapsed().as_secs_f64()))
    };
    // What opening costs is in both, and goes out.
    let (few, short) = timed(ROUNDS.1)?;
    let (many, long) = timed(ROUNDS.0 + ROUNDS.1)?;
    Ok(Proof {
        psnr,
        speed: (long > short).then(|| (many - few) / (long - short)),
        ..Proof::default()
    })
}

/// Keeps pictures on the device, brings them to other sizes there, and holds those against the CPU's.
fn scale(device: &HardwareDevice, depth: BitDepth) -> Result<Proof, Stop> {
    let shelf = Shelf::new(device.clone(), u64::MAX);
    let pictures = sample::pictures(depth)?;
    let kept = keep_all(&shelf, &pictures)?;
    let mut worst: Option<f64> = None;
    for (num, den) in SCALES {
        let to = scale::Config {
            width: (sample::SIZE.0 * num / den) & !1,
            height: (sample::SIZE.1 * num / den) & !1,
            depth,
            kernel: Kernel::default(),
        };
        let mut cpu = Scaler::new(to);
        let expected = pictures.iter().map(|picture| cpu.apply(picture));
        let expected = expected.collect::<Result<Vec<_>, _>>()?;
        let scaled = |frames: &[Frame]| -> Result<Vec<Frame>, Error> {
            frames
                .iter()
                .map(|frame| Ok(shelf.scale(frame, to)?.frame))
                .collect()
        };
        let made = scaled(&kept)?;
        // Brought there anew, they have to become the same.
        if compare(&made, &scaled(&pictures)?)?.is_some() {
            return Err(Stop::Fails("makes other pictures each time".to_owned()));
        }
        worst = compare(&expected, &made)?
            .into_iter()
            .chain(worst)
            .min_by(f64::total_cmp);
    }
    if let Some(psnr) = worst.filter(|psnr| *psnr < SCALED) {
        return Err(Stop::Fails(format!("makes poor pictures ({psnr:.1} dB)")));
    }
    Ok(Proof {
        psnr: worst,
        speed: Some(scaler_speed(&shelf, depth)?),
        ..Proof::default()
    })
}

fn keep_all(shelf: &Shelf, pictures: &[Frame]) -> Result<Vec<Frame>, Error> {
    pictures.iter().map(|picture| shelf.keep(picture)).collect()
}

/// Kept pictures a second that one thread scales and brings back.
fn scaler_speed(shelf: &Shelf, depth: BitDepth) -> Result<f64, Error> {
    let to = scale::Config {
        width: LARGE.0 * 2 / 3,
        height: LARGE.1 * 2 / 3,
        depth,
        kernel: Kernel::default(),
    };
    let kept = keep_all(shelf, &sample::sized_pictures((LARGE, depth))?)?;
    // The first is what the scaler is made for.
    shelf.scale(&kept[0], to)?;
    let since = Instant::now();
    for picture in (0..ROUNDS.1).flat_map(|_| &kept) {
        shelf.scale(picture, to)?;
    }
    Ok(f64::from(ROUNDS.1) * kept.len() as f64 / since.elapsed().as_secs_f64())
}

/// The PSNR of the worst picture in dB; `None` if all are the same.
fn compare(expected: &[Frame], got: &[Frame]) -> Result<Option<f64>, Stop> {
    if expected.len() != got.len() {
        let counts = (expected.len(), got.len());
        return Err(Stop::Fails(format!(
            "{} pictures became {}",
            counts.0, counts.1
        )));
    }
    let mut worst: Option<f64> = None;
    for (expected, got) in expected.iter().zip(got) {
        let shape = |frame: &Frame| (frame.width(), frame.height(), frame.format());
        if shape(expected) != shape(got) {
            return Err(Stop::Fails(format!("{expected:?} became {got:?}")));
        }
        let difference = Difference::between(expected, got);
        let planes = (0..3).filter_map(|plane| difference.psnr(plane));
        worst = planes.chain(worst).min_by(f64::total_cmp);
    }
    Ok(worst)
}

fn config(encoder: &str, size: (u32, u32), depth: BitDepth) -> Result<Config, Stop> {
    let time_base = TimeBase::new(1, 25);
    Ok(Config {
        encoder: encoder.to_owned(),
        width: size.0,
        height: size.1,
        time_base: time_base.ok_or_else(|| Stop::Untried("no time base".to_owned()))?,
        frame_rate: None,
        color: Color::default(),
        gop: PICTURES,
        threads: 0,
        crf: CRF,
        speed: 8,
        depth,
        light: Light::default(),
        rate: Rate::Quality,
    })
}

fn encode(
    device: &HardwareDevice,
    (encoder, codec): (&str, Codec),
    depth: BitDepth,
) -> Result<Proof, Stop> {
    let config = config(encoder, sample::SIZE, depth)?;
    let pictures = sample::pictures(depth)?;
    let mut opened = HardwareEncoder::open(&config, device, (&pictures[0], 0))?;
    for (time, picture) in (1..).zip(&pictures[1..]) {
        opened.send(picture, time)?;
    }
    let packets = opened.finish()?;
    if packets.len() != pictures.len() {
        let counts = (pictures.len(), packets.len());
        return Err(Stop::Fails(format!(
            "{} pictures became {} packets",
            counts.0, counts.1
        )));
    }
    if !packets[0].key || packets.windows(2).any(|pair| pair[0].pts >= pair[1].pts) {
        return Err(Stop::Fails(
            "its packets are not in order from a keyframe".to_owned(),
        ));
    }
    if opened.configuration().is_empty() {
        return Err(Stop::Fails("it tells no codec configuration".to_owned()));
    }
    let decoded = decode_packets(codec, opened.configuration(), &packets)?;
    drop(opened);
    let psnr = compare(&pictures, &decoded)?;
    if let Some(psnr) = psnr.filter(|psnr| *psnr < ENCODED) {
        return Err(Stop::Fails(format!("makes poor pictures ({psnr:.1} dB)")));
    }
    Ok(Proof {
        psnr,
        speed: Some(encoder_speed(device, encoder, depth)?),
        sessions: None,
        // The same in all depths.
        smallest: match depth {
            BitDepth::Eight => smallest(&|size| opens(device, encoder, size))?,
            BitDepth::Ten => None,
        },
    })
}

/// Whether an encoder can be opened for frames of a size. Having no room for it is another matter.
fn opens(device: &HardwareDevice, encoder: &str, size: (u32, u32)) -> Result<bool, Stop> {
    let depth = BitDepth::Eight;
    let picture = sample::picture((size, depth), 0)?;
    let config = config(encoder, size, depth)?;
    match HardwareEncoder::open(&config, device, (&picture, 0)) {
        Ok(mut encoder) => Ok(encoder.finish().is_ok()),
        Err(error) if error.is_capacity() => Err(error.into()),
        Err(_) => Ok(false),
    }
}

/// The smallest even width and height that open, if not all that rungs may have do. The sample's size opens.
fn smallest(opens: &dyn Fn((u32, u32)) -> Result<bool, Stop>) -> Result<Option<Size>, Stop> {
    if opens((LEAST, LEAST))? {
        return Ok(None);
    }
    let (width, height) = sample::SIZE;
    Ok(Some(Size {
        width: least(width, &|side| opens((side, height)))?,
        height: least(height, &|side| opens((width, side)))?,
    }))
}

/// The smallest even number that opens, of those up to one that does.
fn least(full: u32, opens: &dyn Fn(u32) -> Result<bool, Stop>) -> Result<u32, Stop> {
    let (mut too_small, mut enough) = (LEAST - 2, full);
    while enough - too_small > 2 {
        let middle = too_small.midpoint(enough) & !1;
        if opens(middle)? {
            enough = middle;
        } else {
            too_small = middle;
        }
    }
    Ok(enough)
}

/// What the CPU decodes of an encoder's packets.
fn decode_packets(
    codec: Codec,
    configuration: &[u8],
    packets: &[EncodedPacket],
) -> Result<Vec<Frame>, Stop> {
    let untried = |error: Error| Stop::Untried(in_words(&error));
    let mut decoder = VideoDecoder::for_encoded(codec, 1).map_err(untried)?;
    let mut frames = Vec::new();
    // Parameter sets come before the first packet; AV1 has its header in it.
    let mut before = if codec == Codec::Av1 {
        &[][..]
    } else {
        configuration
    };
    for packet in packets.iter().map(Some).chain([None]) {
        let packet = packet.map(|packet| Packet::copy_of(&[before, &packet.data].concat()));
        let packet = packet.transpose()?;
        before = &[];
        loop {
            let sent = decoder.send(packet.as_ref())?;
            while let Received::Frame(frame) = decoder.receive()? {
                frames.push(frame);
            }
            if sent == Sent::Accepted {
                break;
            }
        }
    }
    Ok(frames)
}

/// Pictures a second that an encoder makes of what lies on its device.
fn encoder_speed(device: &HardwareDevice, encoder: &str, depth: BitDepth) -> Result<f64, Stop> {
    let pool = Pool::new(device, (LARGE, depth), PICTURES + 4)?;
    let pictures = sample::sized_pictures((LARGE, depth))?;
    let there = pictures.iter().map(|picture| pool.upload(picture));
    let there = there.collect::<Result<Vec<_>, _>>()?;
    let mut opened =
        HardwareEncoder::open(&config(encoder, LARGE, depth)?, device, (&there[0], 0))?;
    let since = Instant::now();
    let mut time = 0;
    for picture in (0..ROUNDS.0).flat_map(|_| &there) {
        time += 1;
        opened.send(picture, time)?;
        opened.take_packets();
    }
    opened.finish()?;
    Ok(time as f64 / since.elapsed().as_secs_f64())
}

/// Opens encoders, each on a context of its own, until the device has no room for more.
fn sessions(device: &HardwareDevice, encoder: &str) -> Result<Proof, Stop> {
    let config = config(encoder, sample::SIZE, BitDepth::Eight)?;
    let pictures = sample::pictures(BitDepth::Eight)?;
    let mut open = Vec::new();
    while open.len() < MOST_SESSIONS as usize {
        let own = HardwareDevice::open(device.kind(), device.address());
        match own.and_then(|own| HardwareEncoder::open(&config, &own, (&pictures[0], 0))) {
            Ok(encoder) => open.push(encoder),
            Err(error) if open.is_empty() => return Err(error.into()),
            Err(_) => break,
        }
    }
    // One that was opened has to be ended, or it may not close.
    for encoder in &mut open {
        encoder.finish()?;
    }
    Ok(Proof {
        sessions: Some(open.len() as u32),
        ..Proof::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_says_is_told_in_words_and_kept() {
        let said = "cuda:0 cannot open av1_nvenc (OpenEncodeSessionEx failed: unsupported device (2): (no details))";
        assert_eq!(
            explained(said.to_owned()),
            format!("no encode engine: {said}")
        );
        assert_eq!(explained("something else".to_owned()), "something else");
    }

    #[test]
    fn the_smallest_picture_is_found_by_opening() {
        let takes = |width: u32, height: u32| {
            smallest(&|size: (u32, u32)| Ok(size.0 >= width && size.1 >= height))
        };
        let size = |width, height| Some(Size { width, height });
        // What NVIDIA's cards are known to want, to the even number above.
        assert!(matches!(takes(145, 49), Ok(found) if found == size(146, 50)));
        assert!(matches!(takes(16, 100), Ok(found) if found == size(16, 100)));
        let (width, height) = sample::SIZE;
        assert!(matches!(takes(width, height), Ok(found) if found == size(width, height)));
        assert!(matches!(takes(2, 16), Ok(None)));
        let busy = smallest(&|_| Err(Stop::Busy("no session is left".to_owned())));
        assert!(matches!(busy, Err(Stop::Busy(_))));
    }

    #[test]
    fn pictures_that_are_lost_or_other_than_expected_are_no_success() {
        let pictures = sample::pictures(BitDepth::Eight).expect("pictures");
        assert!(matches!(compare(&pictures, &pictures), Ok(None)));
        assert!(matches!(
            compare(&pictures, &pictures[1..]),
            Err(Stop::Fails(reason)) if reason == "12 pictures became 11"
        ));
        let mut swapped = pictures.clone();
        swapped.swap(3, 4);
        assert!(matches!(compare(&pictures, &swapped), Ok(Some(psnr)) if psnr < ENCODED));
    }
}
