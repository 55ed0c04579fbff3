//! Pictures of sizes, shapes and samples that no camera has, and pictures that change on the way.

use super::{Refused, Saved, Warned, Whole, all, odd};

#[test]
fn small_and_thin() {
    all(&[
        odd(
            "2x2",
            ("mkv", "-f lavfi -i testsrc2=s=2x2:r=25:d=0.2 -c:v ffv1"),
            Refused("2x2"),
        ),
        odd(
            "16x16",
            ("mkv", "-f lavfi -i testsrc2=s=16x16:r=25:d=0.2 -c:v ffv1"),
            Whole(5),
        ),
        odd(
            "3x5",
            (
                "mkv",
                "-f lavfi -i testsrc2=s=32x32:r=25:d=0.2 -vf scale=3:5 -c:v ffv1",
            ),
            Refused("16x16"),
        ),
        odd(
            "1x1",
            (
                "mkv",
                "-f lavfi -i testsrc2=s=32x32:r=25:d=0.2 -vf scale=1:1 -c:v ffv1",
            ),
            Refused("1x1"),
        ),
    ]);
}

#[test]
fn odd_and_long() {
    all(&[
        odd(
            "97x65",
            (
                "mp4",
                "-f lavfi -i testsrc2=s=97x65:r=25:d=0.2 -pix_fmt yuv444p {x}",
            ),
            Whole(5),
        ),
        odd(
            "65x97",
            ("mkv", "-f lavfi -i testsrc2=s=65x97:r=25:d=0.2 -c:v ffv1"),
            Whole(5),
        ),
        odd(
            "2x2048",
            ("mkv", "-f lavfi -i testsrc2=s=2x2048:r=25:d=0.2 -c:v ffv1"),
            Refused("16x16"),
        ),
        odd(
            "4096x2",
            ("mkv", "-f lavfi -i testsrc2=s=4096x2:r=25:d=0.2 -c:v ffv1"),
            Refused("16x16"),
        ),
        odd(
            "4096x64",
            (
                "mkv",
                "-f lavfi -i testsrc2=s=4096x64:r=25:d=0.2 -c:v mjpeg",
            ),
            Whole(5),
        ),
        odd(
            "3x5, AV1",
            (
                "mkv",
                "-f lavfi -i testsrc2=s=32x32:r=25:d=0.2 -vf scale=3:5 -c:v ffv1",
            ),
            Refused("64x64"),
        )
        .with(&["--codec", "av1"]),
    ]);
}

#[test]
fn shapes_of_pixels() {
    all(&[
        odd("tall pixels", ("mp4", "{v} {x} -vf setsar=1/4"), Whole(25)),
        odd(
            "wide pixels",
            ("mp4", "{v} {x} -vf setsar=10/11"),
            Whole(25),
        ),
        odd(
            "pixels a hundred wide",
            ("mkv", "{v} -c:v ffv1 -vf setsar=100/1"),
            Whole(25),
        ),
        odd(
            "turned upside down",
            ("mov", "{v} {x} -metadata:s:v rotate=180"),
            Whole(25),
        ),
        odd(
            "said to be turned by 45 degrees",
            ("mov", "{v} {x} -metadata:s:v rotate=45"),
            Whole(25),
        ),
    ]);
}

#[test]
fn pictures_that_change_on_the_way() {
    all(&[
        odd(
            "larger from the middle on",
            ("ts", "{v} {x} | -f lavfi -i testsrc2=s=128x96:r=25:d=1 {x}"),
            Warned(50, "timestamps_repaired"),
        ),
        odd(
            "smaller from the middle on",
            ("ts", "-f lavfi -i testsrc2=s=128x96:r=25:d=1 {x} | {v} {x}"),
            Warned(50, "timestamps_repaired"),
        ),
        odd(
            "another shape from the middle on",
            (
                "ts",
                "{v} -c:v mpeg2video | -f lavfi -i testsrc2=s=64x96:r=25:d=1 -c:v mpeg2video",
            ),
            Saved("timestamps_repaired"),
        ),
        odd(
            "four colours to a pixel from the middle on",
            ("ts", "{v} {x} | {v} {x} -pix_fmt yuv444p"),
            Warned(50, "timestamps_repaired"),
        ),
        odd(
            "ten bits from the middle on",
            ("ts", "{v} {x} | {v} {x} -pix_fmt yuv420p10le"),
            Warned(50, "timestamps_repaired"),
        ),
        odd(
            "twice the rate from the middle on",
            ("ts", "{v} {x} | -f lavfi -i testsrc2=s=96x64:r=50:d=2 {x}"),
            Warned(125, "timestamps_repaired"),
        ),
        odd(
            "full range from the middle on",
            ("ts", "{v} {x} | {v} {x} -pix_fmt yuvj420p"),
            Warned(50, "timestamps_repaired"),
        ),
        odd(
            "another codec from the middle on",
            ("ts", "{v} -c:v mpeg2video | {v} {x}"),
            Saved("damaged"),
        ),
        odd(
            "Motion JPEG of two sizes",
            (
                "mjpeg",
                "{v} -c:v mjpeg | -f lavfi -i testsrc2=s=64x48:r=25:d=1 -c:v mjpeg",
            ),
            Refused("jpeg_pipe"),
        ),
    ]);
}

#[test]
fn samples_of_all_kinds() {
    all(&[
        odd(
            "black and white",
            ("avi", "{v} -c:v rawvideo -pix_fmt monow"),
            Whole(25),
        ),
        odd(
            "a palette",
            (
                "avi",
                "{v} -vf split[a][b];[a]palettegen[p];[b][p]paletteuse -c:v rawvideo -pix_fmt pal8",
            ),
            Whole(25),
        ),
        odd(
            "16 bits",
            ("mkv", "{v} -c:v ffv1 -pix_fmt gray16le"),
            Warned(25, "depth_reduced"),
        ),
        odd(
            "16 bits of RGB",
            ("mkv", "{v} -c:v ffv1 -pix_fmt rgb48le"),
            Warned(25, "depth_reduced"),
        ),
        odd(
            "see-through",
            ("mov", "{v} -c:v qtrle -pix_fmt argb"),
            Whole(25),
        ),
        odd(
            "interlaced",
            (
                "ts",
                "{v} -c:v mpeg2video -flags +ildct+ilme -vf tinterlace=interleave_top,fieldorder=tff",
            ),
            Whole(12),
        ),
        odd(
            "unknown colours",
            (
                "mkv",
                "{v} -c:v ffv1 -colorspace unknown -color_primaries unknown -color_trc unknown",
            ),
            Whole(25),
        ),
    ]);
}
