//! Clocks that run over, jump, stand still, run backwards, or were never there.

use super::{Refused, Warned, Whole, all, odd};

#[test]
fn clocks_that_start_anywhere() {
    all(&[
        odd(
            "33 bits run over in the middle",
            ("ts", "{v} {a} {x} -output_ts_offset 95441.8"),
            Whole(25),
        ),
        odd(
            "33 bits have just run over",
            ("ts", "{v} {a} {x} -output_ts_offset 95442.4"),
            Whole(25),
        ),
        odd(
            "a day late",
            ("mkv", "{v} {a} {x} -output_ts_offset 86400"),
            Whole(25),
        ),
        odd(
            "thirty years late",
            ("mkv", "{v} {a} {x} -output_ts_offset 1000000000"),
            Whole(25),
        ),
        odd(
            "half a day late",
            ("mp4", "{v} {a} {x} -output_ts_offset 43200"),
            Whole(25),
        ),
        odd(
            "an edit list that starts inside",
            (
                "mp4",
                "-ss 0.3 {v} {a} {x} -bf 2 -avoid_negative_ts disabled",
            ),
            Whole(17),
        ),
        odd(
            "a picture that starts late",
            ("mp4", "-itsoffset 0.5 {v} {a} {x} -fps_mode passthrough"),
            Warned(25, "sound_filled"),
        ),
        odd(
            "sound that starts late",
            ("mp4", "{v} -itsoffset 0.8 {a} {x}"),
            Warned(25, "sound_filled"),
        ),
    ]);
}

#[test]
fn clocks_that_jump() {
    all(&[
        odd(
            "the same file twice",
            ("ts", "{v} {a} {x} | {v} {a} {x}"),
            Warned(50, "timestamps_repaired"),
        ),
        odd(
            "later first",
            ("ts", "{v} {x} -output_ts_offset 500 | {v} {x}"),
            Warned(50, "timestamps_repaired"),
        ),
        odd(
            "a hole of three seconds",
            ("mkv", r"{v} {x} -bf 0 -bsf:v setts=ts=TS+gt(N\,10)*3000"),
            Whole(28),
        ),
        odd(
            "a hole of twenty minutes",
            ("mkv", r"{v} {x} -bf 0 -bsf:v setts=ts=TS+gt(N\,10)*1200000"),
            Whole(25 + 40),
        )
        .with(&["--segment", "30"]),
        odd(
            "a hole of two hours",
            ("mkv", r"{v} {x} -bf 0 -bsf:v setts=ts=TS+gt(N\,10)*7200000"),
            Warned(25, "timestamps_repaired"),
        ),
        odd(
            "a hole of thirty years",
            (
                "mkv",
                r"{v} {x} -bf 0 -bsf:v setts=ts=TS+gt(N\,10)*1000000000000",
            ),
            Warned(25, "timestamps_repaired"),
        ),
        odd(
            "a picture of two years",
            (
                "mp4",
                r"{v} {x} -bf 0 -bsf:v setts=ts=TS+gt(N\,23)*1000000000000",
            ),
            Whole(25),
        ),
    ]);
}

#[test]
fn clocks_that_stand_or_turn() {
    all(&[
        odd(
            "two pictures at each moment",
            ("mkv", "{v} {x} -bf 0 -bsf:v setts=ts=floor(N/2)*80"),
            Warned(25, "timestamps_repaired"),
        ),
        odd(
            "all at once",
            ("mkv", "{v} {x} -bf 0 -bsf:v setts=ts=0"),
            Warned(25, "timestamps_repaired"),
        ),
        odd(
            "no durations",
            ("mp4", "{v} {x} -bf 0 -bsf:v setts=ts=floor(N/2)"),
            Whole(25),
        ),
        odd(
            "backwards",
            ("mkv", "{v} -c:v mjpeg -bsf:v setts=pts=(25-N)*40:dts=DTS"),
            Warned(25, "timestamps_repaired"),
        ),
        odd(
            "uneven",
            (
                "mkv",
                "{v} {x} -vf setpts='(N+random(1)*0.9)/25/TB' -fps_mode vfr",
            ),
            Whole(25),
        ),
    ]);
}

#[test]
fn no_clock_at_all() {
    all(&[
        odd(
            "raw H.264",
            ("h264", "{v} {x} -bf 2"),
            Warned(25, "timestamps_repaired"),
        ),
        odd(
            "raw HEVC",
            ("hevc", "{v} -c:v libx265 -x265-params log-level=error"),
            Warned(25, "timestamps_repaired"),
        ),
        odd("raw MPEG-4", ("m4v", "{v} -c:v mpeg4"), Whole(25)),
        odd(
            "raw MPEG-2",
            ("m2v", "{v} -c:v mpeg2video"),
            Warned(25, "timestamps_repaired"),
        ),
        odd(
            "raw Motion JPEG",
            ("mjpeg", "{v} -c:v mjpeg"),
            Refused("jpeg_pipe"),
        ),
        odd(
            "raw AV1",
            ("obu", "{v} -c:v libaom-av1 -cpu-used 8"),
            Whole(25),
        ),
        odd(
            "VP9 in IVF",
            ("ivf", "{v} -c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
            Whole(25),
        ),
        odd("YUV4MPEG", ("y4m", "{v}"), Whole(25)),
    ]);
}

#[test]
fn rates_that_nobody_films_in() {
    const FAST: &str = "-f lavfi -i testsrc2=s=96x64:r=1000:d=0.05 {x}";
    all(&[
        odd(
            "one picture",
            ("mp4", "{v} {a} {x} -frames:v 1 -frames:a 2"),
            Whole(1),
        ),
        odd("one picture", ("mkv", "{v} {x} -frames:v 1"), Whole(1)),
        odd("one picture", ("ts", "{v} {x} -frames:v 1"), Whole(1)),
        odd(
            "one picture",
            ("avi", "{v} -c:v mpeg4 -frames:v 1"),
            Whole(1),
        ),
        odd(
            "one picture",
            ("webm", "{v} -c:v libvpx -frames:v 1"),
            Whole(1),
        ),
        odd("one picture", ("gif", "{v} -frames:v 1"), Whole(1)),
        odd("one picture", ("flv", "{v} {x} -frames:v 1"), Whole(1)),
        odd("two pictures", ("mp4", "{v} {x} -frames:v 2"), Whole(2)),
        odd("a thousand a second", ("mp4", FAST), Whole(50)),
        odd("a thousand a second", ("mkv", FAST), Whole(50)),
        odd(
            "a clock of 90 000 a second",
            ("mp4", "-f lavfi -i testsrc2=s=96x64:r=90000:d=0.0003 {x}"),
            Whole(27),
        ),
        odd(
            "one in ten seconds",
            ("mp4", "-f lavfi -i testsrc2=s=96x64:r=1/10:d=30 {x}"),
            Whole(30),
        ),
        odd(
            "film on television",
            ("mp4", "-f lavfi -i testsrc2=s=96x64:r=24000/1001:d=1 {x}"),
            Whole(24),
        ),
        odd(
            "no usual rate",
            ("mkv", "-f lavfi -i testsrc2=s=96x64:r=12345/679:d=1 {x}"),
            Whole(19),
        ),
    ]);
}
