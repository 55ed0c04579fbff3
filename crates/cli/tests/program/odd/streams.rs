//! Files with streams missing, streams too many, streams that are empty, and words that are too long.

use super::{Refused, Warned, Whole, all, odd};

#[test]
fn no_film_in_it() {
    all(&[
        odd(
            "sound alone",
            ("mp3", "{a} -c:a libmp3lame"),
            Refused("no video"),
        ),
        odd("sound alone", ("wav", "{a}"), Refused("no video")),
        odd(
            "sound alone",
            ("ogg", "{a} -c:a libvorbis"),
            Refused("no video"),
        ),
        odd("sound alone", ("flac", "{a}"), Refused("no video")),
        odd("sound alone", ("mkv", "{a} -c:a aac"), Refused("no video")),
        odd("sound alone", ("ts", "{a} -c:a aac"), Refused("no video")),
        odd(
            "sound with a cover",
            (
                "mp3",
                "{v} {a} -c:v mjpeg -frames:v 1 -disposition:v attached_pic",
            ),
            Refused("no video"),
        ),
        odd(
            "sound with a cover",
            (
                "flac",
                "{v} {a} -c:v mjpeg -frames:v 1 -disposition:v attached_pic",
            ),
            Refused("no video"),
        ),
        odd(
            "text alone",
            (
                "mkv",
                "-f srt -i data:text/plain;base64,MQowMDowMDowMCwwMDAgLS0+IDAwOjAwOjAxLDAwMApUZXh0Cg== -c:s srt",
            ),
            Refused("no video"),
        ),
        odd("an image", ("png", "{v} -frames:v 1"), Refused("png_pipe")),
        odd("an image", ("jpg", "{v} -frames:v 1"), Refused("jpeg_pipe")),
        odd(
            "a picture track without a picture",
            ("mkv", "{v} {a} {x} -frames:v 0"),
            Refused("matroska"),
        ),
        odd("a playlist", ("m3u8", ""), Refused("known format"))
            .spoilt(|_| b"#EXTM3U\n#EXTINF:1,\na.ts\n".into()),
    ]);
}

#[test]
fn more_than_one_expects() {
    all(&[
        odd(
            "a film with a cover",
            (
                "mp4",
                "{v} {a} {v} -map 0 -map 1 -map 2 -c:v:0 libx264 -c:v:1 mjpeg -frames:v:1 1 -disposition:v:1 attached_pic",
            ),
            Whole(25),
        ),
        odd(
            "two films",
            (
                "mkv",
                "{v} -f lavfi -i testsrc2=s=64x48:r=25:d=1 {a} -map 0 -map 1 -map 2 {x}",
            ),
            Whole(25),
        ),
        odd(
            "sound before the film",
            ("mkv", "{a} {v} -map 0 -map 1 {x}"),
            Whole(25),
        ),
        odd(
            "a track of time codes",
            ("mov", "{v} {a} {x} -timecode 01:00:00:00"),
            Whole(25),
        ),
        odd(
            "a file in the file",
            (
                "mkv",
                concat!(
                    "{v} {x} -attach ",
                    env!("CARGO_MANIFEST_DIR"),
                    "/Cargo.toml -metadata:s:t mimetype=text/plain"
                ),
            ),
            Whole(25),
        ),
        odd(
            "an empty track of sound",
            ("mkv", "{v} {a} {x} -frames:a 0"),
            Warned(25, "sound_filled"),
        ),
        odd(
            "eight tracks of sound",
            (
                "mkv",
                "{v} {a} {x} -c:a aac -map 0 -map 1 -map 1 -map 1 -map 1 -map 1 -map 1 -map 1 -map 1",
            ),
            Whole(25),
        ),
    ]);
}

#[test]
fn more_streams_than_anybody_expects() {
    all(&[
        odd("a hundred streams", ("mkv", HUNDRED), Whole(25)).with(&["--audio-tracks", "99"]),
        odd("a hundred and one streams", ("mkv", MORE), Whole(25)).with(&["--audio-tracks", "99"]),
        odd(
            "a thousand and two streams",
            ("mp4", "{v} {x}"),
            Refused("more than 1000 streams"),
        )
        .spoilt(with_more_tracks),
    ]);
}

/// One film and 99 tracks of sound.
const HUNDRED: &str = "{v} {a} {x} -c:a mp2 -ar 16000 -b:a 32k -map 0 {99 sounds}";
const MORE: &str = "{v} {a} {x} -c:a mp2 -ar 16000 -b:a 32k -map 0 {99 sounds} -map 1";

/// Lists the one track of an MP4 file another 1001 times.
fn with_more_tracks(mut file: Vec<u8>) -> Vec<u8> {
    let find = |kind: &[u8; 4]| {
        let place = file.windows(4).position(|window| window == kind);
        let start = place.expect("the box is there") - 4;
        let size = file[start..start + 4].try_into().expect("four bytes");
        (start, u32::from_be_bytes(size))
    };
    let ((moov, moov_size), (trak, trak_size)) = (find(b"moov"), find(b"trak"));
    let more = file[trak..trak + trak_size as usize].repeat(1001);
    let size = moov_size + 1001 * trak_size;
    file.splice(trak..trak, more);
    file[moov..moov + 4].copy_from_slice(&size.to_be_bytes());
    file
}

#[test]
fn words_of_all_kinds() {
    all(&[
        odd(
            "a title that moves the cursor",
            (
                "mkv",
                "{v} {a} {x} -metadata title=\u{1b}[2J -metadata:s:a title=\u{1b}[31mred",
            ),
            Whole(25),
        ),
        odd(
            "a language that is none",
            ("mkv", "{v} {a} {x} -metadata:s:a language=../../etc"),
            Whole(25),
        ),
        odd(
            "a name of quotes and brackets",
            ("mkv", "{v} {a} {x} -metadata:s:a title=\"],<&>'%00"),
            Whole(25),
        ),
    ]);
}

#[test]
fn what_cannot_be_read() {
    const KEY: &str = "{v} {x} -encryption_scheme cenc-aes-ctr -encryption_key 00112233445566778899aabbccddeeff \
                       -encryption_kid 00112233445566778899aabbccddeeff";
    /// Gives the sample entry a name that no codec has.
    fn renamed(mut bytes: Vec<u8>) -> Vec<u8> {
        let at = bytes.windows(4).position(|word| word == b"avc1");
        let entry = bytes
            .windows(8)
            .position(|word| &word[4..] == b"avc1" && word[0] == 0);
        if let Some(at) = entry.or(at) {
            bytes[at + 4..at + 8].copy_from_slice(b"zzzz");
        }
        bytes
    }
    all(&[
        odd("encrypted", ("mp4", KEY), Refused("encrypted")),
        odd(
            "a codec that there is not",
            ("mp4", "{v} {x} -brand isom"),
            Refused("no decoder for zzzz"),
        )
        .spoilt(renamed),
    ]);
}
