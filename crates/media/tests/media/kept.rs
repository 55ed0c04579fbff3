//! Pictures that lie in a device's memory, on the device that Mesa makes of a CPU: real memory, real kernels, FFmpeg's own way there.

use std::thread;

use rungs_media::Error;
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::hardware::{DeviceKind, HardwareDevice, Place, Shelf};
use rungs_media::normalise::{self, Deinterlace, Normaliser};
use rungs_media::sample;
use rungs_media::scale::{self, Kernel, Scaler};

use crate::clips::{frames, make};
use crate::on_gpu::worst;

/// The worst PSNR in dB of a picture scaled there, against the CPU's bicubic scaler.
const SCALED: f64 = 30.0;

/// The device; `None`, with a word about it, where there is none.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn device() -> Option<HardwareDevice> {
    match HardwareDevice::open(DeviceKind::Vulkan, "0") {
        Ok(device) => Some(device),
        Err(error) => {
            assert_ne!(
                std::env::var("STRICT").as_deref(),
                Ok("1"),
                "no Vulkan device (mesa-vulkan-drivers has one): {error}"
            );
            eprintln!("SKIPPED: no Vulkan device: {error}");
            None
        }
    }
}

fn to(frame: &Frame, (num, den): (u32, u32), depth: BitDepth) -> scale::Config {
    scale::Config {
        width: (frame.width() * num / den) & !1,
        height: (frame.height() * num / den) & !1,
        depth,
        kernel: Kernel::default(),
    }
}

#[test]
fn what_is_kept_comes_back_and_is_scaled_there_by_many_threads_at_once() {
    let Some(device) = device() else { return };
    for depth in [BitDepth::Eight, BitDepth::Ten] {
        let shelf = Shelf::new(device.clone(), 1 << 30);
        let pictures = sample::pictures(depth).unwrap();
        let kept: Vec<_> = pictures
            .iter()
            .map(|picture| shelf.keep(picture).unwrap())
            .collect();
        for (picture, kept) in pictures.iter().zip(&kept) {
            assert_eq!(
                (picture.place(), kept.place()),
                (Place::Host, Place::Device)
            );
            assert!(shelf.holds(kept) && !shelf.holds(picture));
            assert_eq!(kept.host_format(), depth.format());
            assert_eq!(kept.pts(), picture.pts());
            assert_eq!(kept.download().unwrap().digest(), picture.digest());
        }
        let sizes = [(2, 3), (1, 2), (2, 9)];
        let scaled = |frames: &[Frame], by| -> Vec<Frame> {
            let to = to(&frames[0], by, depth);
            let scale = |frame| shelf.scale(frame, to).unwrap().frame;
            frames.iter().map(scale).collect()
        };
        for by in sizes {
            let mut cpu = Scaler::new(to(&pictures[0], by, depth));
            let expected: Vec<_> = pictures
                .iter()
                .map(|picture| cpu.apply(picture).unwrap())
                .collect();
            let there = scaled(&kept, by);
            assert!(there.iter().all(|frame| frame.place() == Place::Host));
            let apart = worst(&expected, &there);
            assert!(
                apart.is_some_and(|psnr| psnr >= SCALED),
                "{by:?}: {apart:?}"
            );
            // Those that are not kept are brought there first, with the same result; and so has every thread.
            assert_eq!(worst(&there, &scaled(&pictures, by)), None);
            let all = thread::scope(|scope| {
                let started: Vec<_> = (0..6).map(|_| scope.spawn(|| scaled(&kept, by))).collect();
                let joined = started.into_iter().map(|thread| thread.join().unwrap());
                joined.collect::<Vec<_>>()
            });
            for one in all {
                assert_eq!(worst(&there, &one), None, "{by:?}");
            }
        }
        assert!(shelf.kept() > 0);
        drop(kept);
        // What was scaled without being kept has copies there, each brought once, which go with the pictures.
        let to = to(&pictures[0], sizes[0], depth);
        let again = pictures.iter().map(|it| shelf.scale(it, to).unwrap());
        assert!(again.into_iter().all(|scaled| scaled.uploaded == 0));
        assert!(shelf.kept() > 0);
        drop(pictures);
        assert_eq!(shelf.kept(), 0);
    }
}

#[test]
fn only_as_much_is_kept_as_there_is_room() {
    let Some(device) = device() else { return };
    let pictures = sample::pictures(BitDepth::Eight).unwrap();
    let bytes = pictures[0].bytes() as u64;
    let shelf = Shelf::new(device, 2 * bytes + bytes / 2);
    let first = shelf.keep(&pictures[0]).unwrap();
    let second = shelf.keep(&pictures[1]).unwrap();
    assert_eq!(shelf.kept(), 2 * bytes);
    let refused = shelf.keep(&pictures[2]).unwrap_err();
    assert!(refused.is_capacity(), "{refused:?}");
    // A clone is the same picture.
    let clone = first.with_time(Some(7), None);
    drop(first);
    assert_eq!(shelf.kept(), 2 * bytes);
    drop(clone);
    let third = shelf.keep(&pictures[2]).unwrap();
    for (kept, picture) in [(second, &pictures[1]), (third, &pictures[2])] {
        assert_eq!(kept.download().unwrap().digest(), picture.digest());
    }
    // What is not kept can be scaled all the same.
    let half = to(&pictures[3], (1, 2), BitDepth::Eight);
    let scaled = shelf.scale(&pictures[3], half).unwrap();
    assert_eq!(scaled.frame.width(), half.width);
    assert_eq!(scaled.uploaded, bytes);
}

#[test]
fn one_size_after_another_is_kept_and_scaled() {
    let Some(device) = device() else { return };
    let shelf = Shelf::new(device, 1 << 30);
    for size in [(128, 96), (320, 180), (128, 96)] {
        let pictures = sample::sized_pictures((size, BitDepth::Eight)).unwrap();
        let half = to(&pictures[0], (1, 2), BitDepth::Eight);
        let kept: Vec<_> = pictures.iter().map(|it| shelf.keep(it).unwrap()).collect();
        for (picture, kept) in pictures.iter().zip(&kept) {
            assert_eq!(shelf.bring(kept).unwrap().digest(), picture.digest());
            let (there, here) = (
                shelf.scale(kept, half).unwrap(),
                shelf.scale(picture, half).unwrap(),
            );
            assert_eq!(there.frame.digest(), here.frame.digest());
        }
    }
    assert_eq!(shelf.kept(), 0);
}

#[test]
fn a_picture_that_no_device_keeps_is_refused() {
    let Some(device) = device() else { return };
    let shelf = Shelf::new(device, 1 << 30);
    let Some(clip) = make(
        "-f lavfi -i testsrc=s=64x64:d=0.1 -c:v ffv1 -pix_fmt yuv444p",
        "a.mkv",
    ) else {
        return;
    };
    let refused = shelf.keep(&frames(&clip.source())[0]).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused:?}");
}

/// Digest and time of each picture, and whether it still lies on the device.
fn normalised(frames: &[Frame], config: &normalise::Config) -> (Vec<(u64, Option<i64>)>, usize) {
    let mut normaliser = Normaliser::new(config.clone());
    let mut out = Vec::new();
    for frame in frames.iter().map(Some).chain([None]) {
        normaliser.push(frame).unwrap();
        while let Some(frame) = normaliser.pull().unwrap() {
            out.push(frame);
        }
    }
    let there = out.iter().filter(|frame| frame.place() == Place::Device);
    let there = there.count();
    let seen = |frame: &Frame| (frame.download().unwrap().digest(), frame.pts());
    (out.iter().map(seen).collect(), there)
}

#[test]
fn a_normaliser_leaves_pictures_there_unless_it_changes_them() {
    let Some(device) = device() else { return };
    let shelf = Shelf::new(device, 1 << 30);
    let progressive = "-f lavfi -i testsrc2=s=128x96:r=25:d=0.4 -pix_fmt yuv420p -c:v libx264";
    let interlaced = "-f lavfi -i testsrc2=s=128x96:r=50:d=0.4 -vf interlace -pix_fmt yuv420p -c:v libx264 -flags +ilme+ildct";
    let (Some(progressive), Some(interlaced)) =
        (make(progressive, "p.mkv"), make(interlaced, "i.mkv"))
    else {
        return;
    };
    let (progressive, interlaced) = (frames(&progressive.source()), frames(&interlaced.source()));
    assert!(interlaced.iter().any(Frame::interlaced));
    let both = [&progressive[..], &interlaced[..], &progressive[..]].concat();
    let turned = normalise::Config {
        rotation: rungs_media::Rotation {
            quarter_turns_clockwise: 1,
            mirrored: false,
        },
        ..normalise::Config::default()
    };
    let plain = normalise::Config::default();
    let off = normalise::Config {
        deinterlace: Deinterlace::Off,
        ..plain.clone()
    };
    let cases = [
        ("progressive", &progressive, &plain, progressive.len()),
        ("interlaced", &interlaced, &plain, 0),
        ("interlaced, left so", &interlaced, &off, interlaced.len()),
        ("turned", &progressive, &turned, 0),
        // The picture before the first that is interlaced has its neighbour brought, not itself.
        ("both", &both, &plain, 2 * progressive.len() - 1),
    ];
    for (name, frames, config, left) in cases {
        let kept: Vec<_> = frames
            .iter()
            .map(|frame| shelf.keep(frame).unwrap())
            .collect();
        let (expected, _) = normalised(frames, config);
        let (seen, there) = normalised(&kept, config);
        assert_eq!(seen, expected, "{name}");
        assert_eq!(there, left, "{name}");
    }
}
