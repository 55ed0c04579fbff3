//! Sound of odd rates, channels and lengths, and sound that changes on the way.

use super::{Failed, Saved, Warned, Whole, all, odd};

#[test]
fn rates_of_sound() {
    all(&[
        odd(
            "8 kHz",
            ("mkv", "{v} {a} {x} -c:a pcm_s16le -ar 8000"),
            Whole(25),
        ),
        odd(
            "11.025 kHz",
            ("avi", "{v} {a} -c:v mpeg4 -c:a pcm_u8 -ar 11025"),
            Whole(25),
        ),
        odd(
            "22.05 kHz",
            ("mp4", "{v} {a} {x} -c:a aac -ar 22050"),
            Whole(25),
        ),
        odd(
            "32 kHz",
            ("mp4", "{v} {a} {x} -c:a libmp3lame -ar 32000"),
            Whole(25),
        ),
        odd(
            "96 kHz",
            ("mkv", "{v} {a} {x} -c:a flac -ar 96000"),
            Whole(25),
        ),
        odd(
            "192 kHz",
            ("mov", "{v} {a} {x} -c:a pcm_s24le -ar 192000"),
            Whole(25),
        ),
        odd(
            "no usual rate",
            ("mkv", "{v} {a} {x} -c:a pcm_f32le -ar 37777"),
            Whole(25),
        ),
        odd(
            "100 Hz",
            ("mkv", "{v} {a} {x} -c:a pcm_s16le -ar 100"),
            Warned(25, "sound_filled"),
        ),
    ]);
}

#[test]
fn channels_of_sound() {
    all(&[
        odd(
            "2.1",
            ("mkv", "{v} {a} {x} -c:a flac -af pan=2.1|c0=c0|c1=c0|c2=c0"),
            Whole(25),
        ),
        odd(
            "quadraphonic",
            (
                "mkv",
                "{v} {a} {x} -c:a flac -af pan=quad|c0=c0|c1=c0|c2=c0|c3=c0",
            ),
            Whole(25),
        ),
        odd(
            "6.1",
            ("mkv", "{v} {a} {x} -c:a flac -af pan=6.1|c0=c0|c6=c0"),
            Whole(25),
        ),
        odd(
            "7.1",
            ("mkv", "{v} {a} {x} -c:a flac -af pan=7.1|c0=c0|c7=c0"),
            Whole(25),
        ),
        odd(
            "sixteen channels",
            (
                "mkv",
                "{v} {a} {x} -c:a pcm_s16le -af pan=hexadecagonal|c0=c0|c15=c0",
            ),
            Whole(25),
        ),
        odd(
            "three channels without places",
            ("wav", "{a}"),
            super::Refused("no video"),
        ),
    ]);
}

#[test]
fn lengths_of_sound() {
    all(&[
        odd(
            "far longer",
            ("mkv", "{v} -f lavfi -i sine=d=20 {x} -c:a aac"),
            Whole(25),
        ),
        odd(
            "one packet",
            ("mkv", "{v} {a} {x} -c:a aac -frames:a 2"),
            Warned(25, "sound_filled"),
        ),
        odd(
            "starts when the film is over",
            ("mkv", "{v} -itsoffset 5 {a} {x} -c:a libopus"),
            Warned(25, "sound_filled"),
        ),
        odd(
            "starts before the film",
            ("mkv", "-itsoffset 0.6 {v} {a} {x} -c:a aac"),
            Warned(25, "sound_filled"),
        ),
        odd(
            "a hole in the middle",
            (
                "mkv",
                r"{v} {a} {x} -af aselect=not(between(t\,0.1\,0.9)) -c:a libopus",
            ),
            Warned(25, "sound_filled"),
        ),
        odd(
            "a hole in sound that is made anew",
            (
                "mkv",
                r"{v} {a} {x} -af aselect=not(between(t\,0.1\,0.9)) -c:a flac",
            ),
            Warned(25, "sound_filled"),
        ),
        odd(
            "nothing but silence",
            ("mp4", "{v} -f lavfi -t 1 -i anullsrc {x} -c:a aac"),
            Whole(25),
        ),
    ]);
}

#[test]
fn sound_that_changes_on_the_way() {
    const RATE: &str = "{v} {a} {x} -c:a aac | {v} {a} {x} -c:a aac -ar 44100";
    const CHANNELS: &str = "{v} {a} {x} -c:a aac | {v} {a} {x} -c:a aac -ac 2";
    all(&[
        odd(
            "another rate",
            ("ts", RATE),
            Failed("changes its sample rate"),
        ),
        odd(
            "another rate, made anew",
            ("ts", RATE),
            Saved("timestamps_repaired"),
        )
        .with(&["--audio", "opus"]),
        odd(
            "more channels",
            ("ts", CHANNELS),
            Failed("changes its sample rate"),
        ),
        odd(
            "more channels, made anew",
            ("ts", CHANNELS),
            Saved("timestamps_repaired"),
        )
        .with(&["--audio", "aac"]),
        odd(
            "it ends in the middle",
            ("ts", "{v} {a} {x} -c:a mp2 | {v} {x}"),
            Warned(50, "sound_filled"),
        ),
        odd(
            "it begins in the middle",
            ("ts", "{v} {x} | {v} {a} {x} -c:a mp2"),
            Warned(50, "timestamps_repaired"),
        ),
    ]);
}
