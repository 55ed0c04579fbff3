//! Normalising and scaling.

use rungs_media::demux::Rotation;
use rungs_media::frame::{Frame, PixelFormat};
use rungs_media::normalise::{self, Normaliser};
use rungs_media::scale::{self, Scaler};
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
    })
    .apply(&frame)
    .unwrap();
    assert_eq!(same.plane(0).as_ptr(), frame.plane(0).as_ptr());
}

#[test]
fn flat_pictures_stay_flat_and_quarters_stay_in_place() {
    for (width, height) in [(16, 8), (62, 34), (128, 64), (320, 182)] {
        let mut scaler = Scaler::new(scale::Config { width, height });
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

#[test]
fn the_scaler_wants_8_bit_4_2_0() {
    let Some((frame, _)) = normalised("white", "yuv444p") else {
        return;
    };
    let error = Scaler::new(scale::Config {
        width: 32,
        height: 16,
    })
    .apply(&frame)
    .unwrap_err();
    assert!(
        matches!(&error, Error::Mismatch { given, .. } if given == "yuv444p"),
        "{error:?}"
    );
}
