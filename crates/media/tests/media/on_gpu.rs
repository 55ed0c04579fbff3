//! What a device does against what the CPU does, on a real one. `make test-gpu` runs these; they fail where there is no device.
//!
//! `RUNGS_GPU` names the device, such as `cuda:1` or `vaapi:/dev/dri/renderD129`; the first that opens otherwise. `RUNGS_GPU_CLIPS` is a folder of clips called
//! after codec and depth (`hevc-10.mkv`), which are decoded besides the samples, and of a `film` in any container for what takes time.
//! Figures are printed: run with `--nocapture`.

#![expect(
    clippy::print_stderr,
    reason = "figures and reasons are for who runs them"
)]

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::encode::{self, Codec, Rate};
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::hardware::{
    self, Bringer, DeviceKind, HardwareDeinterlacer, HardwareDevice, HardwareEncoder,
    HardwareScaler, Interpolation, Place, Pool, Shelf,
};
use rungs_media::normalise::Deinterlace;
use rungs_media::sample::{self, Coding, PICTURES, Sample};
use rungs_media::scale::{self, Scaler};
use rungs_media::time::TimeBase;
use rungs_media::{Color, Error, Source};
use rungs_testkit::standin::Standin;
use rungs_testkit::tool;

use crate::clips::{open, packets, video_index};

/// Pictures of a decoder that may be held at once.
const HELD: u32 = 8;
/// The worst PSNR in dB of a decoded picture, where a device does not decode to the bit as the specification of MPEG-2 allows.
const DECODED: f64 = 45.0;
/// The worst PSNR in dB of a picture scaled on a device, against the CPU's bicubic scaler.
const SCALED: f64 = 30.0;

fn device() -> HardwareDevice {
    if let Ok(name) = env::var("RUNGS_GPU") {
        let (kind, address) = name.split_once(':').expect("RUNGS_GPU is KIND:ADDRESS");
        let mut kinds = DeviceKind::ALL.into_iter();
        let kind = kinds.find(|known| known.name() == kind).expect("a kind");
        return HardwareDevice::open(kind, address).unwrap();
    }
    let tried: Vec<_> = DeviceKind::ALL
        .into_iter()
        .map(|kind| match kind {
            DeviceKind::Vaapi | DeviceKind::Qsv => (kind, "/dev/dri/renderD128"),
            _ => (kind, "0"),
        })
        .map(|(kind, address)| HardwareDevice::open(kind, address))
        .collect();
    let reasons = format!("{tried:?}");
    let mut opened = tried.into_iter().flatten();
    opened
        .next()
        .unwrap_or_else(|| panic!("no device opens: {reasons}"))
}

fn clips() -> Option<PathBuf> {
    env::var_os("RUNGS_GPU_CLIPS").map(PathBuf::from)
}

/// A clip whose name begins so.
fn clip(name: &str) -> Option<Source> {
    let mut files = std::fs::read_dir(clips()?).expect("a folder").flatten();
    let begins = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == name);
    let path = files.find_map(|entry| Some(entry.path()).filter(begins))?;
    Some(Source::Path(path))
}

/// Error and causes in one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Decodes at most so many pictures of a file, on the device if one is given, and hands each to `take`.
fn decode(
    source: &Source,
    device: Option<&HardwareDevice>,
    most: usize,
    take: &mut dyn FnMut(Frame),
) -> Result<usize, Error> {
    let mut demuxer = open(source)?;
    let index = video_index(&demuxer);
    demuxer.keep_only(&[index]);
    let (stream, options) = (&demuxer.streams()[index], DecodeOptions::default());
    let mut decoder = match device {
        Some(device) => VideoDecoder::open_on(stream, &options, (device, HELD))?,
        None => VideoDecoder::open(stream, &options)?,
    };
    let mut count = 0;
    let mut ended = false;
    while !ended && count < most {
        let packet = demuxer.read()?;
        ended = packet.is_none();
        loop {
            let sent = decoder.send(packet.as_ref())?;
            while let Received::Frame(frame) = decoder.receive()? {
                count += 1;
                take(frame);
            }
            if sent == Sent::Accepted {
                break;
            }
        }
    }
    Ok(count)
}

/// Whether two pictures are the same to the bit, and otherwise their PSNR over all planes in dB.
fn distance(left: &Frame, right: &Frame) -> Option<f64> {
    assert_eq!(left.format(), right.format());
    assert_eq!(
        (left.width(), left.height()),
        (right.width(), right.height())
    );
    let wide = left.format().bit_depth() > 8;
    let peak = if wide { 1023.0 } else { 255.0 };
    let (mut squares, mut count) = (0.0, 0.0);
    for plane in 0..3 {
        let width = left.width().div_ceil(1 << u32::from(plane > 0)) as usize;
        let rows = left.height().div_ceil(1 << u32::from(plane > 0)) as usize;
        let lines = left.plane(plane).chunks(left.stride(plane));
        let lines = lines.zip(right.plane(plane).chunks(right.stride(plane)));
        for (left, right) in lines.take(rows) {
            let value = |row: &[u8], x: usize| {
                if wide {
                    f64::from(u16::from_le_bytes([row[2 * x], row[2 * x + 1]]))
                } else {
                    f64::from(row[x])
                }
            };
            squares += (0..width)
                .map(|x| (value(left, x) - value(right, x)).powi(2))
                .sum::<f64>();
            count += width as f64;
        }
    }
    (squares > 0.0).then(|| 10.0 * (peak * peak * count / squares).log10())
}

/// The worst of all pictures; `None` if all are the same.
pub(crate) fn worst(left: &[Frame], right: &[Frame]) -> Option<f64> {
    assert_eq!(left.len(), right.len());
    let pairs = left.iter().zip(right);
    let distances = pairs.filter_map(|(left, right)| distance(left, right));
    distances.min_by(f64::total_cmp)
}

fn told(worst: Option<f64>) -> String {
    worst.map_or_else(
        || "the same to the bit".to_owned(),
        |psnr| format!("{psnr:.2} dB at worst"),
    )
}

/// Compares what a device decoded with what the CPU did. `false`: the device cannot.
fn compare(what: &str, software: &[Frame], decoded: Result<Vec<Frame>, Error>) -> bool {
    let frames = match decoded {
        Ok(frames) => frames,
        Err(error @ (Error::Device { .. } | Error::Unsupported { .. })) => {
            eprintln!("decode {what}: no: {}", words(&error));
            return false;
        }
        Err(error) => panic!("{what}: {}", words(&error)),
    };
    assert!(frames.iter().all(|frame| frame.place() == Place::Device));
    assert!(frames.iter().all(|frame| frame.bytes() > 0));
    let brought: Vec<Frame> = frames
        .iter()
        .map(|frame| frame.download().unwrap())
        .collect();
    let worst = worst(software, &brought);
    eprintln!("decode {what}: {} pictures, {}", brought.len(), told(worst));
    assert!(worst.is_none_or(|psnr| psnr >= DECODED), "{what}");
    for (software, brought) in software.iter().zip(&brought) {
        assert_eq!(software.pts(), brought.pts(), "{what}");
    }
    let colors = (software[0].color(), brought[0].color());
    if colors.0 != colors.1 {
        eprintln!("decode {what}: colours differ: {colors:?}");
    }
    true
}

#[test]
#[ignore = "takes a GPU"]
fn samples_decode_as_on_the_cpu() {
    let device = device();
    let mut decoded = 0;
    for coding in Coding::ALL {
        for depth in coding.depths() {
            let what = format!("{coding} {} bits (sample)", depth.bits());
            match Sample::make(coding, *depth) {
                Ok(sample) => {
                    let software = sample.decode().unwrap();
                    let done = compare(&what, &software, sample.decode_on(&device));
                    decoded += u32::from(done);
                }
                Err(error) => eprintln!("decode {what}: not tried: {}", words(&error)),
            }
        }
    }
    assert!(decoded > 0, "{device} decodes nothing");
}

#[test]
#[ignore = "takes a GPU"]
fn clips_decode_as_on_the_cpu() {
    const MOST: usize = 120;
    let device = device();
    for coding in Coding::ALL {
        for depth in coding.depths() {
            let name = format!("{coding}-{}", depth.bits());
            let Some(source) = clip(&name) else {
                eprintln!("decode {name}: no clip");
                continue;
            };
            let mut software = Vec::new();
            let count = decode(&source, None, MOST, &mut |frame| software.push(frame)).unwrap();
            let mut frames = Vec::new();
            let decoded = decode(&source, Some(&device), MOST, &mut |frame| {
                frames.push(frame);
            });
            // Decoders give pictures in groups of unlike sizes.
            let most = count.min(frames.len()).max(1);
            software.truncate(most);
            frames.truncate(most);
            compare(&name, &software, decoded.map(|_| frames));
        }
    }
}

#[test]
#[ignore = "takes a GPU"]
fn pictures_come_back_as_they_were_brought() {
    let device = device();
    for depth in [BitDepth::Eight, BitDepth::Ten] {
        let pool = Pool::new(&device, (sample::SIZE, depth), PICTURES + 4).unwrap();
        let pictures = sample::pictures(depth).unwrap();
        let brought: Vec<_> = pictures
            .iter()
            .map(|picture| pool.upload(picture).unwrap())
            .collect();
        let back: Vec<_> = brought
            .iter()
            .map(|picture| picture.download().unwrap())
            .collect();
        assert_eq!(worst(&pictures, &back), None, "{depth:?}");
        match brought.iter().map(|picture| pool.copy(picture)).collect() {
            Ok::<Vec<_>, Error>(copies) => {
                drop(brought);
                let back: Vec<_> = copies.iter().map(|copy| copy.download().unwrap()).collect();
                assert_eq!(worst(&pictures, &back), None, "{depth:?}");
                eprintln!("copy on {device}, {} bits: the same", depth.bits());
            }
            Err(error) => {
                eprintln!("copy on {device}: no: {}", words(&error));
                assert_ne!(device.kind(), DeviceKind::Cuda);
            }
        }
    }
}

#[test]
#[ignore = "takes a GPU"]
fn what_is_decoded_there_is_kept_and_comes_back_through_memory_that_the_device_writes() {
    let device = device();
    let shelf = Shelf::new(device.clone(), 1 << 30);
    let (once, again) = (Bringer::new(&device), Bringer::new(&device).reusing());
    let mut tried = 0;
    for coding in Coding::ALL {
        for depth in coding.depths() {
            let Ok(decoded) = Sample::make(coding, *depth).and_then(|it| it.decode_on(&device))
            else {
                continue;
            };
            let plain: Vec<_> = decoded.iter().map(|it| it.download().unwrap()).collect();
            let kept: Vec<_> = decoded.iter().map(|it| shelf.keep(it).unwrap()).collect();
            drop(decoded);
            tried += 1;
            for _ in 0..3 {
                for bring in [&once, &again] {
                    let here: Vec<_> = kept.iter().map(|it| bring.bring(it).unwrap()).collect();
                    assert_eq!(worst(&plain, &here), None, "{coding} {depth:?}");
                }
            }
            eprintln!(
                "kept and brought back: {coding} {} bits: the same",
                depth.bits()
            );
        }
    }
    assert_eq!(shelf.kept(), 0);
    assert!(tried > 0, "{device} decodes nothing");
}

#[test]
#[ignore = "takes a GPU"]
fn scaling_is_close_to_that_of_the_cpu() {
    let device = device();
    for depth in [BitDepth::Eight, BitDepth::Ten] {
        let pictures = scenery(depth);
        let size = (pictures[0].width(), pictures[0].height());
        let pool = Pool::new(&device, (size, depth), PICTURES + 4).unwrap();
        for (num, den) in [(1, 1), (2, 3), (1, 2), (4, 9), (1, 3), (2, 9), (4, 3)] {
            let config = scale::Config {
                width: (size.0 * num / den) & !1,
                height: (size.1 * num / den) & !1,
                depth,
                kernel: scale::Kernel::default(),
            };
            let mut software = Scaler::new(config);
            let expected: Vec<_> = pictures
                .iter()
                .map(|picture| software.apply(picture).unwrap())
                .collect();
            for interpolation in [
                Interpolation::Stepwise,
                Interpolation::Bicubic,
                Interpolation::Bilinear,
                Interpolation::Lanczos,
            ] {
                let made = HardwareScaler::new(&device, config).unwrap();
                let mut scaler = made.with(interpolation);
                let scale = |picture| {
                    let small = scaler.apply(&pool.upload(picture)?)?;
                    assert_eq!(small.place(), Place::Device);
                    small.download()
                };
                let small: Result<Vec<_>, Error> = pictures.iter().map(scale).collect();
                let small = small.unwrap_or_else(|error| panic!("{}", words(&error)));
                let worst = worst(&expected, &small);
                eprintln!(
                    "scale {}x{} to {}x{}, {} bits, {interpolation:?}: {}",
                    size.0,
                    size.1,
                    config.width,
                    config.height,
                    depth.bits(),
                    told(worst)
                );
                let good = worst.is_none_or(|psnr| psnr >= SCALED);
                assert!(good || interpolation != Interpolation::default());
            }
        }
    }
}

/// Pictures to scale: of the film if there is one and it is 8 bits, otherwise the sample's.
fn scenery(depth: BitDepth) -> Vec<Frame> {
    let mut pictures = Vec::new();
    if let Some(film) = clip("film").filter(|_| depth == BitDepth::Eight) {
        decode(&film, None, 200, &mut |frame| pictures.push(frame)).unwrap();
        // The first pictures of a film are black.
        pictures = pictures.split_off(pictures.len().saturating_sub(4));
    }
    if pictures.is_empty() {
        pictures = sample::pictures(depth).unwrap();
    }
    pictures
}

#[test]
#[ignore = "takes a GPU"]
fn fields_are_woven_as_on_the_cpu() {
    let device = device();
    let time_base = rungs_media::Rational { num: 1, den: 25 };
    let mut deinterlacer = match HardwareDeinterlacer::new(&device, Deinterlace::On, time_base) {
        Ok(deinterlacer) => deinterlacer,
        Err(error) => return eprintln!("deinterlace: no: {}", words(&error)),
    };
    let pictures = sample::pictures(BitDepth::Eight).unwrap();
    let pool = Pool::new(&device, (sample::SIZE, BitDepth::Eight), PICTURES + 4).unwrap();
    let mut out = Vec::new();
    for picture in pictures.iter().map(Some).chain([None]) {
        let brought = picture.map(|picture| pool.upload(picture).unwrap());
        let ready = deinterlacer.send(brought.as_ref());
        out.extend(ready.unwrap_or_else(|error| panic!("{}", words(&error))));
    }
    let times: Vec<_> = out.iter().map(Frame::pts).collect();
    eprintln!(
        "deinterlace with {}: {} pictures",
        deinterlacer.name(),
        out.len()
    );
    let expected: Vec<_> = pictures.iter().map(Frame::pts).collect();
    assert_eq!(times, expected);
    // A smooth picture loses little when every other row is made anew.
    let back: Vec<_> = out
        .iter()
        .map(|picture| picture.download().unwrap())
        .collect();
    let worst = worst(&pictures, &back);
    eprintln!("deinterlaced against the picture itself: {}", told(worst));
    assert!(worst.is_none_or(|psnr| psnr > 18.0));
}

#[test]
#[ignore = "takes a GPU"]
fn an_encoder_works_or_says_in_words_why_not() {
    let device = device();
    for codec in Codec::ALL {
        let names = hardware::candidates(codec, device.kind());
        if names.is_empty() {
            eprintln!(
                "encode {codec}: this FFmpeg has no encoder for {}",
                device.kind()
            );
        }
        for (name, depth) in names
            .iter()
            .flat_map(|name| [BitDepth::Eight, BitDepth::Ten].map(|depth| (name, depth)))
        {
            match encode_sample(&device, (name, codec), depth) {
                Ok(psnr) => eprintln!("encode {name}, {} bits: {psnr:.2} dB", depth.bits()),
                Err(error) => {
                    let words = words(&error);
                    eprintln!("encode {name}, {} bits: no: {words}", depth.bits());
                    // A code alone is no reason.
                    assert!(words.contains('('), "{words}");
                }
            }
        }
    }
}

fn encode_sample(
    device: &HardwareDevice,
    (name, codec): (&str, Codec),
    depth: BitDepth,
) -> Result<f64, Error> {
    let config = encode::Config {
        encoder: name.to_owned(),
        width: sample::SIZE.0,
        height: sample::SIZE.1,
        time_base: TimeBase::new(1, 25).unwrap(),
        frame_rate: None,
        color: Color::default(),
        gop: PICTURES,
        threads: 0,
        crf: 20,
        speed: 8,
        depth,
        light: rungs_media::hdr::Light::default(),
        rate: Rate::Quality,
    };
    let pictures = sample::pictures(depth)?;
    let mut encoder = HardwareEncoder::open(&config, device, (&pictures[0], 0))?;
    assert!(
        HardwareEncoder::open(&config, device, (&pictures[0], 0))
            .is_err_and(|error| error.is_capacity())
    );
    for (time, picture) in (1..).zip(&pictures[1..]) {
        encoder.send(picture, time)?;
    }
    let packets = encoder.finish()?;
    assert_eq!(packets.len(), pictures.len());
    assert!(packets[0].key && packets.windows(2).all(|pair| pair[0].pts < pair[1].pts));
    assert!(!encoder.configuration().is_empty());
    let mut decoder = VideoDecoder::for_encoded(codec, 1)?;
    let mut frames = Vec::new();
    let mut first = encoder.configuration().to_vec();
    for (index, packet) in packets.iter().map(Some).chain([None]).enumerate() {
        let packet = packet.map(|packet| {
            // Parameter sets come before the first packet.
            let mut data = if index == 0 && codec != Codec::Av1 {
                std::mem::take(&mut first)
            } else {
                Vec::new()
            };
            data.extend(&packet.data);
            rungs_media::Packet::copy_of(&data).unwrap()
        });
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
    Ok(worst(&pictures, &frames).unwrap_or(99.0))
}

#[test]
#[ignore = "takes a GPU"]
fn a_device_that_fails_is_an_error_that_names_it() {
    let kind = device().kind();
    let Err(error) = HardwareDevice::open(kind, "99") else {
        panic!("{kind}:99 opens");
    };
    eprintln!("a device that is not there: {}", words(&error));
    assert!(error.is_device() && words(&error).contains("99"));
}

#[test]
#[ignore = "takes a GPU"]
fn a_film_is_decoded_scaled_and_brought_back_fast() {
    let device = device();
    let Some(film) = clip("film") else {
        return eprintln!("speed: no film");
    };
    let all = usize::MAX;
    let rate = |what: &str, since: Instant, count: usize| {
        let seconds = since.elapsed().as_secs_f64();
        eprintln!(
            "speed: {what}: {count} pictures in {seconds:.2} s, {:.0} a second",
            count as f64 / seconds
        );
    };
    let since = Instant::now();
    let count = decode(&film, Some(&device), all, &mut drop).unwrap();
    rate("decode", since, count);
    let since = Instant::now();
    decode(&film, Some(&device), all, &mut |frame| {
        drop(frame.download().unwrap());
    })
    .unwrap();
    rate("decode and bring back", since, count);
    for bring in [false, true] {
        for pumps in [1, 2, 4] {
            let since = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..pumps {
                    scope.spawn(|| ladder(&film, &device, bring));
                }
            });
            let what = if bring { " and bring all back" } else { "" };
            rate(
                &format!("{pumps} pumps, decode, four scales{what}"),
                since,
                count * pumps,
            );
        }
    }
    let since = Instant::now();
    let count = decode(&film, None, all, &mut drop).unwrap();
    rate("decode on the CPU", since, count);
    let mut demuxer = open(&film).unwrap();
    let since = Instant::now();
    let count = packets(&mut demuxer).unwrap().len();
    rate("read (packets)", since, count);
}

/// Decodes a film and scales each picture four times.
fn ladder(film: &Source, device: &HardwareDevice, bring: bool) {
    let rungs = [(1920, 1080), (1280, 720), (854, 480), (640, 360)];
    let mut scalers: Vec<_> = rungs
        .into_iter()
        .map(|(width, height)| {
            let depth = BitDepth::Eight;
            HardwareScaler::new(
                device,
                scale::Config {
                    width,
                    height,
                    depth,
                    kernel: scale::Kernel::default(),
                },
            )
            .unwrap()
        })
        .collect();
    let mut last = Vec::new();
    decode(film, Some(device), usize::MAX, &mut |frame| {
        last = scalers
            .iter_mut()
            .map(|scaler| {
                let scaled = scaler.apply(&frame).unwrap();
                if bring {
                    scaled.download().unwrap()
                } else {
                    scaled
                }
            })
            .collect();
    })
    .unwrap();
    // What was asked of the device is done when the last picture is here.
    for frame in last {
        frame.download().unwrap();
    }
}

/// What needs no decoder of the card, on a stand-in for CUDA: in a process that sees it.
#[test]
fn pictures_scaling_and_encoders_hold_on_a_stand_in() {
    let already = env::var_os("RUNGS_GPU").is_some();
    if already
        || tool::require_encoder("h264_nvenc").is_none()
        || tool::require_encoder("libx264").is_none()
    {
        return;
    }
    let cards = Standin::new();
    let mut tests = Command::new(env::current_exe().expect("this program"));
    cards.show(&mut tests).env("RUNGS_GPU", "cuda:0");
    let names = [
        "pictures_come_back_as_they_were_brought",
        "scaling_is_close_to_that_of_the_cpu",
        "an_encoder_works_or_says_in_words_why_not",
        "a_device_that_fails_is_an_error_that_names_it",
    ];
    let names = names.map(|name| format!("on_gpu::{name}"));
    let done = tests
        .args(["--ignored", "--nocapture", "--exact"])
        .args(&names)
        .output();
    let done = done.expect("it starts");
    let (said, told) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{said}{told}");
    assert!(said.contains("4 passed"), "{said}");
    let encoded = "encode h264_nvenc, 8 bits: ";
    assert!(
        told.lines()
            .any(|line| line.starts_with(encoded) && line.ends_with(" dB")),
        "{told}"
    );
}
