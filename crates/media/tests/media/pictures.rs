//! Normalising and scaling.

use rungs_media::demux::Rotation;
use rungs_media::frame::{BitDepth, Frame, PixelFormat};
use rungs_media::hdr::{self, ToneMap};
use rungs_media::normalise::{self, Normaliser};
use rungs_media::scale::{self, Kernel, Scaler};
use rungs_media::{Error, Rational};

use crate::clips::{film, frames, make, samples};

/// Four quarters, each of one luma value.
fn quarters(width: u32, height: u32) -> Frame {
    let luma: Vec<u8> = (0..height)
        .flat_map(|y| {
            (0..width).map(move |x| {
                [40, 80, 120, 160][usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2)]
            })
        })
        .collect();
    let chroma = vec![128; (width.div_ceil(2) * height.div_ceil(2)) as usize];
    Frame::from_planes(width, height, &[&luma, &chroma, &chroma]).unwrap()
}

/// The luma of the four quarters, row by row.
fn corners(frame: &Frame) -> [u8; 4] {
    let (luma, width) = (samples(frame, 0), frame.width() as usize);
    let (left, right) = (width / 4, width * 3 / 4);
    let (top, bottom) = (frame.height() as usize / 4, frame.height() as usize * 3 / 4);
    [
        luma[top * width + left],
        luma[top * width + right],
        luma[bottom * width + left],
        luma[bottom * width + right],
    ]
}

fn turn(quarter_turns_clockwise: u8, mirrored: bool) -> Normaliser {
    let rotation = Rotation {
        quarter_turns_clockwise,
        mirrored,
    };
    Normaliser::new(normalise::Config {
        rotation,
        ..normalise::Config::default()
    })
}

#[test]
fn a_picture_that_needs_nothing_is_passed_through() {
    let frame = quarters(64, 32).with_time(Some(5), Some(2));
    let same = Normaliser::new(normalise::Config::default())
        .apply(&frame)
        .unwrap();
    assert_eq!(same.plane(0).as_ptr(), frame.plane(0).as_ptr());
    assert_eq!((same.pts(), same.duration()), (Some(5), Some(2)));
}

#[test]
fn pictures_are_turned_the_right_way() {
    let frame = quarters(64, 32).with_time(Some(5), Some(2));
    for (turns, mirrored, size, expected) in [
        (1, false, (32, 64), [120, 40, 160, 80]),
        (2, false, (64, 32), [160, 120, 80, 40]),
        (3, false, (32, 64), [80, 160, 40, 120]),
        (0, true, (64, 32), [80, 40, 160, 120]),
        (1, true, (32, 64), [160, 80, 120, 40]),
        (2, true, (64, 32), [120, 160, 40, 80]),
        (3, true, (32, 64), [40, 120, 80, 160]),
    ] {
        let turned = turn(turns, mirrored).apply(&frame).unwrap();
        assert_eq!(
            (turned.width(), turned.height()),
            size,
            "{turns} {mirrored}"
        );
        assert_eq!(corners(&turned), expected, "{turns} {mirrored}");
        assert_eq!((turned.pts(), turned.duration()), (Some(5), Some(2)));
    }
}

#[test]
fn odd_sides_become_even() {
    let normalised = Normaliser::new(normalise::Config::default())
        .apply(&quarters(63, 31))
        .unwrap();
    assert_eq!((normalised.width(), normalised.height()), (62, 30));
    assert_eq!(corners(&normalised), [40, 80, 120, 160]);
    let normalised = turn(1, false).apply(&quarters(64, 31)).unwrap();
    assert_eq!((normalised.width(), normalised.height()), (30, 64));
}

/// The only sample value of each plane.
fn flat(frame: &Frame) -> [u8; 3] {
    [0, 1, 2].map(|plane| {
        let samples = samples(frame, plane);
        assert!(
            samples.iter().all(|sample| *sample == samples[0]),
            "plane {plane} is not flat"
        );
        samples[0]
    })
}

fn normalised(colour: &str, format: &str) -> Option<(Frame, Frame)> {
    let arguments =
        format!("-f lavfi -i color=c={colour}:s=64x48:r=5:d=1,format={format} -c:v ffv1");
    let clip = make(&arguments, "a.mkv")?;
    let frame = frames(&clip.source()).remove(2);
    let normalised = Normaliser::new(normalise::Config::default())
        .apply(&frame)
        .unwrap();
    assert_eq!(normalised.format(), PixelFormat::YUV420P, "{format}");
    assert!(!normalised.color().full_range);
    assert_eq!(normalised.pts(), frame.pts());
    Some((frame, normalised))
}

#[test]
fn other_formats_become_8_bit_4_2_0() {
    for format in [
        "yuv422p",
        "yuv444p",
        "yuv420p10le",
        "yuv422p12le",
        "yuva420p",
    ] {
        let Some((before, after)) = normalised("white", format) else {
            return;
        };
        for (plane, white) in [235, 128, 128].into_iter().enumerate() {
            // What has more bits is dithered.
            let samples = samples(&after, plane);
            assert!(
                samples.iter().all(|sample| sample.abs_diff(white) <= 1),
                "{format}, plane {plane}: {}",
                samples[0]
            );
        }
        assert_eq!(after.color().matrix, before.color().matrix);
    }
}

#[test]
fn red_green_and_blue_go_by_the_matrix_given() {
    // BT.709: Y = 0.2126 R, Cb = -0.1146 R, Cr = 0.5 R, in limited range.
    let Some((_, after)) = normalised("red", "bgr0") else {
        return;
    };
    let found = flat(&after);
    assert!(
        found
            .iter()
            .zip([63, 102, 240])
            .all(|(found, expected)| found.abs_diff(expected) <= 1),
        "{found:?}"
    );
    assert_eq!(after.color().matrix, 1);
}

#[test]
fn full_range_becomes_limited() {
    let arguments = "-f lavfi -i color=c=white:s=64x48:r=5:d=1,format=yuvj420p -c:v mjpeg";
    let Some(clip) = make(arguments, "a.mkv") else {
        return;
    };
    let frame = frames(&clip.source()).remove(0);
    assert!(frame.color().full_range && flat(&frame)[0] >= 254);
    let normalised = Normaliser::new(normalise::Config::default())
        .apply(&frame)
        .unwrap();
    assert!(!normalised.color().full_range && normalised.format() == PixelFormat::YUV420P);
    assert!(
        flat(&normalised)[0].abs_diff(235) <= 1,
        "{:?}",
        flat(&normalised)
    );
}

#[test]
fn one_normaliser_follows_changes_of_shape() {
    let mut normaliser = turn(1, false);
    for (width, height) in [(64, 32), (128, 96), (64, 32), (63, 31)] {
        let turned = normaliser.apply(&quarters(width, height)).unwrap();
        assert_eq!((turned.width(), turned.height()), (height & !1, width & !1));
        assert_eq!(corners(&turned), [120, 40, 160, 80]);
    }
}

#[test]
fn a_turn_swaps_the_sample_aspect() {
    let arguments = "-f lavfi -i testsrc2=s=64x48:r=5:d=1,setsar=4/3 -c:v libx264";
    let Some(clip) = make(arguments, "a.mkv") else {
        return;
    };
    let frame = frames(&clip.source()).remove(0);
    assert_eq!(frame.sample_aspect(), Rational { num: 4, den: 3 });
    assert_eq!(
        turn(1, false).apply(&frame).unwrap().sample_aspect(),
        Rational { num: 3, den: 4 }
    );
    assert_eq!(
        turn(2, false).apply(&frame).unwrap().sample_aspect(),
        Rational { num: 4, den: 3 }
    );
}

#[test]
fn a_picture_of_one_pixel_is_an_error() {
    let result = Normaliser::new(normalise::Config::default())
        .apply(&Frame::filled(1, 1, [16, 128, 128]).unwrap());
    assert!(matches!(result, Err(Error::Filter { .. })), "{result:?}");
}

#[test]
fn a_picture_of_the_right_size_is_not_scaled() {
    let frame = quarters(64, 32);
    let same = Scaler::new(scale::Config {
        width: 64,
        height: 32,
        depth: BitDepth::Eight,
        kernel: Kernel::default(),
    })
    .apply(&frame)
    .unwrap();
    assert_eq!(same.plane(0).as_ptr(), frame.plane(0).as_ptr());
}

#[test]
fn flat_pictures_stay_flat_and_quarters_stay_in_place() {
    for (width, height) in [(16, 8), (62, 34), (128, 64), (320, 182)] {
        let mut scaler = Scaler::new(scale::Config {
            width,
            height,
            depth: BitDepth::Eight,
            kernel: Kernel::default(),
        });
        let plain = Frame::filled(64, 32, [90, 70, 200])
            .unwrap()
            .with_time(Some(3), Some(1));
        let made = scaler.apply(&plain).unwrap();
        assert_eq!(
            (made.width(), made.height(), made.pts(), made.duration()),
            (width, height, Some(3), Some(1))
        );
        assert_eq!(flat(&made), [90, 70, 200], "{width}x{height}");
        // The filter rings a little where the quarters meet.
        let corners = corners(&scaler.apply(&quarters(64, 32)).unwrap());
        assert!(
            corners
                .iter()
                .zip([40, 80, 120, 160])
                .all(|(found, expected)| found.abs_diff(expected) <= 1),
            "{width}x{height}: {corners:?}"
        );
    }
}

#[test]
fn one_scaler_follows_changes_of_shape() {
    let mut scaler = Scaler::new(scale::Config {
        width: 48,
        height: 36,
        depth: BitDepth::Eight,
        kernel: Kernel::default(),
    });
    for (width, height) in [(64, 32), (128, 96), (64, 32)] {
        assert_eq!(
            corners(&scaler.apply(&quarters(width, height)).unwrap()),
            [40, 80, 120, 160]
        );
    }
}

#[test]
fn two_scalers_agree_to_the_bit() {
    let Some(clip) = film() else { return };
    let frames = frames(&clip.source());
    let config = scale::Config {
        width: 214,
        height: 120,
        depth: BitDepth::Eight,
        kernel: Kernel::default(),
    };
    let (mut left, mut right) = (Scaler::new(config), Scaler::new(config));
    for frame in &frames[..8] {
        let (left, right) = (left.apply(frame).unwrap(), right.apply(frame).unwrap());
        for plane in 0..3 {
            assert_eq!(samples(&left, plane), samples(&right, plane));
        }
    }
}

#[test]
fn the_memory_of_a_dropped_picture_is_used_again() {
    let frame = quarters(64, 32);
    let mut scaler = Scaler::new(scale::Config {
        width: 32,
        height: 16,
        depth: BitDepth::Eight,
        kernel: Kernel::default(),
    });
    let first = scaler.apply(&frame).unwrap();
    let second = scaler.apply(&frame).unwrap();
    assert_ne!(first.plane(0).as_ptr(), second.plane(0).as_ptr());
    let address = first.plane(0).as_ptr();
    drop(first);
    assert_eq!(scaler.apply(&frame).unwrap().plane(0).as_ptr(), address);
    drop(scaler);
    assert_eq!(corners(&second), [40, 80, 120, 160]);
}

/// The darkest and the brightest luma of a hard edge, made larger.
fn edge_made_larger(kernel: Kernel) -> (u8, u8) {
    let mut scaler = Scaler::new(scale::Config {
        width: 144,
        height: 72,
        depth: BitDepth::Eight,
        kernel,
    });
    let luma = samples(&scaler.apply(&quarters(64, 32)).unwrap(), 0);
    let darkest = luma.iter().min().copied();
    darkest.zip(luma.iter().max().copied()).unwrap()
}

#[test]
fn kernels_ring_or_do_not_as_they_are_known_to() {
    for soft in [
        Kernel::Area,
        Kernel::Bilinear,
        Kernel::Gauss,
        Kernel::Neighbor,
    ] {
        assert_eq!(edge_made_larger(soft), (40, 160), "{soft:?}");
    }
    for sharp in [Kernel::Bicubic, Kernel::Lanczos, Kernel::Spline] {
        let (darkest, brightest) = edge_made_larger(sharp);
        assert!(darkest < 40 && brightest > 160, "{sharp:?}");
    }
}

#[test]
fn the_nearest_sample_is_not_mixed_with_others() {
    let mut scaler = Scaler::new(scale::Config {
        width: 144,
        height: 72,
        depth: BitDepth::Eight,
        kernel: Kernel::Neighbor,
    });
    let luma = samples(&scaler.apply(&quarters(64, 32)).unwrap(), 0);
    assert!(luma.iter().all(|luma| [40, 80, 120, 160].contains(luma)));
}

#[test]
fn the_scaler_wants_8_bit_4_2_0() {
    let Some((frame, _)) = normalised("white", "yuv444p") else {
        return;
    };
    let error = Scaler::new(scale::Config {
        width: 32,
        height: 16,
        depth: BitDepth::Eight,
        kernel: Kernel::default(),
    })
    .apply(&frame)
    .unwrap_err();
    assert!(
        matches!(&error, Error::Mismatch { given, .. } if given == "yuv444p"),
        "{error:?}"
    );
}

/// PQ of a luminance in cd/m² (SMPTE ST 2084).
fn pq(nits: f64) -> f64 {
    let y = (nits / 10_000.0).powf(0.159_301_757_812_5);
    ((0.835_937_5 + 18.851_562_5 * y) / (1.0 + 18.687_5 * y)).powf(78.843_75)
}

/// 10-bit limited-range codes of red, green and blue in PQ, by the matrix of BT.2020.
fn bt2020([r, g, b]: [f64; 3]) -> [u32; 3] {
    let y = 0.2627 * r + 0.678 * g + 0.0593 * b;
    let (cb, cr) = ((b - y) / 1.8814, (r - y) / 1.4746);
    let code = |value: f64| value.round() as u32;
    [
        code(64.0 + 876.0 * y),
        code(512.0 + 896.0 * cb),
        code(512.0 + 896.0 * cr),
    ]
}

/// What BT.709 has for linear light, 8-bit codes in limited range; displays have a gamma of 2.4.
fn bt709(linear: [f64; 3]) -> [f64; 3] {
    let [r, g, b] = linear.map(|light| light.powf(1.0 / 2.4));
    let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    [
        16.0 + 219.0 * y,
        128.0 + 224.0 * (b - y) / 1.8556,
        128.0 + 224.0 * (r - y) / 1.5748,
    ]
}

/// The curve that is asked for: linear up to 0.3, and from there on bent so that `peak` becomes 1.
fn mobius(light: f64, peak: f64) -> f64 {
    let j = 0.3;
    if light <= j {
        return light;
    }
    let a = -j * j * (peak - 1.0) / (j * j - 2.0 * j + peak);
    let b = (j * j - 2.0 * j * peak + peak) / (peak - 1.0);
    (b * b + 2.0 * b * j + j * j) / (b - a) * (light + a) / (light + b)
}

#[test]
fn high_range_becomes_the_light_that_it_means() {
    if ToneMap::missing().is_some() {
        return;
    }
    // Colours of BT.709 in the primaries of BT.2020 (ITU-R BT.2087).
    let columns = [
        [0.6274, 0.0691, 0.0164],
        [0.3293, 0.9195, 0.088],
        [0.0433, 0.0114, 0.8956],
    ];
    let light =
        |rgb: [f64; 3]| [0, 1, 2].map(|row| (0..3).map(|c| columns[c][row] * rgb[c]).sum::<f64>());
    for nits in [
        [5.0; 3],
        [50.0; 3],
        [100.0; 3],
        [203.0; 3],
        [900.0; 3],
        [100.0, 10.0, 5.0],
        [20.0, 80.0, 40.0],
        [3.0, 6.0, 60.0],
    ] {
        let [y, cb, cr] = bt2020(light(nits).map(pq));
        let arguments = format!(
            "-f lavfi -i color=s=64x48:r=5:d=1,format=yuv420p10le,geq=lum={y}:cb={cb}:cr={cr} -c:v ffv1 \
             -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -color_range tv"
        );
        let Some(clip) = make(&arguments, "a.mkv") else {
            return;
        };
        let frame = frames(&clip.source()).remove(2);
        assert_eq!(frame.color().transfer, hdr::PQ);
        let tone = ToneMap {
            from: frame.color(),
            peak: 1000,
        };
        let config = normalise::Config {
            tone: Some(tone),
            ..normalise::Config::default()
        };
        let made = Normaliser::new(config).apply(&frame).unwrap();
        assert_eq!(
            (made.format(), made.color()),
            (PixelFormat::YUV420P, ToneMap::RESULT)
        );
        let brightest = nits.into_iter().fold(0.0, f64::max) / 203.0;
        let scale = mobius(brightest, 1000.0 / 203.0) / brightest / 203.0;
        let wanted = bt709(nits.map(|nits| nits * scale));
        for (plane, wanted) in wanted.into_iter().enumerate() {
            let samples = samples(&made, plane);
            let mean =
                samples.iter().map(|sample| f64::from(*sample)).sum::<f64>() / samples.len() as f64;
            assert!(
                (mean - wanted).abs() < 2.0,
                "{nits:?}, plane {plane}: {mean:.1} for {wanted:.1}"
            );
        }
    }
}
