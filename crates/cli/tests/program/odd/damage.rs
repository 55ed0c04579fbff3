//! Files that are cut off, that lack their heads, or that are no films at all.

use super::{Failed, Part, Refused, Saved, Warned, Whole, all, odd};

fn tail(mut bytes: Vec<u8>, percent: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() * percent / 100);
    bytes
}

fn cut(bytes: Vec<u8>) -> Vec<u8> {
    tail(bytes, 40)
}

/// Takes the last byte off.
fn short(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.pop();
    bytes
}

/// Leaves the first bytes alone.
fn stub(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(60);
    bytes
}

fn headless(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.drain(..bytes.len() / 3);
    bytes
}

/// Overwrites a tenth in the middle.
fn holed(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = bytes.len();
    bytes[len / 2..len / 2 + len / 10].fill(0x5A);
    bytes
}

#[test]
fn cut_off() {
    all(&[
        odd(
            "cut off",
            ("mp4", "{v} {a} {x} -movflags +faststart"),
            Saved("truncated"),
        )
        .spoilt(cut),
        odd(
            "cut off",
            ("mkv", "{v} {a} {x} -c:a ac3"),
            Saved("truncated"),
        )
        .spoilt(cut),
        odd("cut off", ("ts", "{v} {a} {x} -c:a mp2"), Part).spoilt(cut),
        odd("cut off", ("avi", "{v} {a} -c:v mpeg4 -c:a mp2"), Part).spoilt(cut),
        odd("cut off", ("flv", "{v} -c:v flv"), Saved("truncated")).spoilt(cut),
        odd(
            "cut off",
            ("webm", "{v} {a} -c:v libvpx -c:a libopus"),
            Saved("truncated"),
        )
        .spoilt(cut),
        odd(
            "cut off",
            ("ogv", "{v} {a} -c:v libtheora -c:a libvorbis"),
            Part,
        )
        .spoilt(cut),
        odd(
            "cut off",
            ("mxf", "{v} {a} -c:v mpeg2video"),
            Saved("truncated"),
        )
        .spoilt(cut),
        odd("cut off", ("wmv", "{v} {a} -c:v wmv2 -c:a wmav2"), Part).spoilt(cut),
        odd("cut off", ("gif", "{v}"), Part).spoilt(cut),
        odd(
            "cut off",
            ("mov", "{v} {a} {x} -movflags +frag_keyframe+empty_moov"),
            Part,
        )
        .spoilt(cut),
        odd("cut off", ("mpg", "{v} {a} -c:v mpeg1video -c:a mp2"), Part).spoilt(cut),
        odd(
            "cut off before its index",
            ("mp4", "{v} {a} {x}"),
            Refused("mov,mp4"),
        )
        .spoilt(cut),
    ]);
}

#[test]
fn a_byte_short() {
    all(&[
        odd(
            "a byte short",
            ("mp4", "{v} {x} -movflags +faststart"),
            Warned(24, "damaged"),
        )
        .spoilt(short),
        odd("a byte short", ("mkv", "{v} {x}"), Whole(25)).spoilt(short),
        odd("a byte short", ("ts", "{v} {x}"), Whole(25)).spoilt(short),
        odd("a byte short", ("avi", "{v} -c:v mpeg4"), Whole(25)).spoilt(short),
        odd("a byte short", ("gif", "{v}"), Whole(25)).spoilt(short),
    ]);
}

#[test]
fn heads_alone_and_headless() {
    all(&[
        odd(
            "a head alone",
            ("mp4", "{v} {x} -movflags +faststart"),
            Refused("no tracks"),
        )
        .spoilt(stub),
        odd("a head alone", ("mkv", "{v} {x}"), Refused("matroska")).spoilt(stub),
        odd("a head alone", ("ts", "{v} {x}"), Refused("known format")).spoilt(stub),
        odd("a head alone", ("avi", "{v} -c:v mpeg4"), Refused("avi")).spoilt(stub),
        odd(
            "a head alone",
            ("flv", "{v} -c:v flv"),
            Refused("known format"),
        )
        .spoilt(stub),
        odd(
            "a head alone",
            ("ogv", "{v} -c:v libtheora"),
            Refused("ogg"),
        )
        .spoilt(stub),
        odd(
            "headless",
            ("mp4", "{v} {x} -movflags +faststart"),
            Refused("known format"),
        )
        .spoilt(headless),
        odd("headless", ("ts", "{v} {x} -g 5"), Part).spoilt(headless),
        odd("headless", ("mpg", "{v} -c:v mpeg1video -g 5"), Part).spoilt(headless),
    ]);
}

#[test]
fn a_hole_of_nonsense() {
    all(&[
        odd(
            "a hole",
            ("mp4", "{v} {x} -g 6 -movflags +faststart"),
            Saved("damaged"),
        )
        .spoilt(holed),
        odd("a hole", ("mkv", "{v} {x} -g 6"), Part).spoilt(holed),
        odd("a hole", ("ts", "{v} {x} -g 6"), Part).spoilt(holed),
        odd("a hole", ("avi", "{v} -c:v mjpeg"), Part).spoilt(holed),
        odd(
            "a hole, strictly",
            ("mp4", "{v} {x} -g 6 -movflags +faststart"),
            Failed("--strict"),
        )
        .spoilt(holed)
        .with(&["--strict"]),
    ]);
}

#[test]
fn no_film_at_all() {
    all(&[
        odd("nothing", ("mp4", ""), Refused("known format")),
        odd("one byte", ("mp4", ""), Refused("known format")).spoilt(|_| vec![0]),
        odd("zeros", ("mkv", ""), Refused("known format")).spoilt(|_| vec![0; 1 << 20]),
        odd("ones", ("ts", ""), Refused("known format")).spoilt(|_| vec![0xFF; 1 << 20]),
        odd("sync bytes alone", ("ts", ""), Refused("known format")).spoilt(|_| {
            let mut packet = [0; 188];
            packet[0] = 0x47;
            packet.repeat(500)
        }),
        odd("a web page", ("mp4", ""), Refused("known format"))
            .spoilt(|_| b"<!doctype html><title>404</title>".into()),
        odd("an archive", ("mp4", ""), Refused("known format"))
            .spoilt(|_| [&b"PK\x03\x04"[..], &[0; 500]].concat()),
    ]);
}
