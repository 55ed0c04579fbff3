//! Small clips from FFmpeg's own generators, and the loops that tests share.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::demux::{Demuxer, StreamKind};
use rungs_media::frame::Frame;
use rungs_media::{CancelToken, Error, Limits, Packet, Source};
use tempfile::TempDir;

/// A file in a folder of its own, which goes with it.
pub(crate) struct Clip {
    folder: TempDir,
    name: String,
}

impl Clip {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    pub(crate) fn source(&self) -> Source {
        Source::Path(self.path())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    pub(crate) fn open(&self) -> Demuxer {
        open(&self.source()).unwrap()
    }
}

/// Writes a file of the given bytes.
pub(crate) fn file(name: &str, bytes: &[u8]) -> Clip {
    let clip = Clip {
        folder: TempDir::new().unwrap(),
        name: name.to_owned(),
    };
    std::fs::write(clip.path(), bytes).unwrap();
    clip
}

/// Runs `ffmpeg` with the arguments, split at spaces, to make a file of the name; `None` if there is no `ffmpeg`.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn make(arguments: &str, name: &str) -> Option<Clip> {
    let clip = Clip {
        folder: TempDir::new().unwrap(),
        name: name.to_owned(),
    };
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments.split_whitespace());
    match command.arg(clip.path()).output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(clip)
        }
        Err(error) => {
            assert_ne!(
                env::var("STRICT").as_deref(),
                Ok("1"),
                "ffmpeg cannot be run: {error}"
            );
            eprintln!("SKIPPED: ffmpeg cannot be run: {error}");
            None
        }
    }
}

/// 48 frames of 320 × 180 in H.264 with B-frames and a keyframe every 12 frames, and two seconds of sound.
pub(crate) fn film() -> Option<Clip> {
    make(
        "-f lavfi -i testsrc2=s=320x180:r=24:d=2 -f lavfi -i sine=r=48000:d=2 -c:v libx264 -preset ultrafast -bf 2 -g 12 \
         -c:a aac -metadata:s:a language=deu -movflags +faststart",
        "film.mp4",
    )
}

pub(crate) fn open(source: &Source) -> Result<Demuxer, Error> {
    Demuxer::open(source, &Limits::default(), &CancelToken::default())
}

pub(crate) fn packets(demuxer: &mut Demuxer) -> Result<Vec<Packet>, Error> {
    let mut packets = Vec::new();
    while let Some(packet) = demuxer.read()? {
        packets.push(packet);
    }
    Ok(packets)
}

pub(crate) fn video_index(demuxer: &Demuxer) -> usize {
    demuxer
        .streams()
        .iter()
        .position(|stream| matches!(stream.kind, StreamKind::Video(_)))
        .unwrap()
}

pub(crate) fn audio_index(demuxer: &Demuxer) -> usize {
    demuxer
        .streams()
        .iter()
        .position(|stream| matches!(stream.kind, StreamKind::Audio(_)))
        .unwrap()
}

/// The frames of the first video stream from where the demuxer stands, and the errors on the way.
pub(crate) fn decode(demuxer: &mut Demuxer, options: &DecodeOptions) -> (Vec<Frame>, Vec<Error>) {
    let index = video_index(demuxer);
    demuxer.keep_only(&[index]);
    let mut decoder = VideoDecoder::open(&demuxer.streams()[index], options).unwrap();
    let (mut frames, mut errors) = (Vec::new(), Vec::new());
    loop {
        let packet = match demuxer.read() {
            Ok(packet) => packet,
            Err(error) => {
                errors.push(error);
                None
            }
        };
        feed(&mut decoder, packet.as_ref(), (&mut frames, &mut errors));
        if packet.is_none() {
            return (frames, errors);
        }
    }
}

fn feed(
    decoder: &mut VideoDecoder,
    packet: Option<&Packet>,
    (frames, errors): (&mut Vec<Frame>, &mut Vec<Error>),
) {
    loop {
        let sent = decoder.send(packet);
        loop {
            match decoder.receive() {
                Ok(Received::Frame(frame)) => frames.push(frame),
                Ok(Received::NeedsInput | Received::End) => break,
                Err(error) => errors.push(error),
            }
        }
        match sent {
            Ok(Sent::Full) => {}
            Ok(Sent::Accepted) => return,
            Err(error) => return errors.push(error),
        }
    }
}

/// All frames of a file that decodes without error.
pub(crate) fn frames(source: &Source) -> Vec<Frame> {
    let (frames, errors) = decode(&mut open(source).unwrap(), &DecodeOptions::default());
    assert!(errors.is_empty(), "{errors:?}");
    frames
}

/// A plane's samples without the rows' padding.
pub(crate) fn samples(frame: &Frame, plane: usize) -> Vec<u8> {
    let shift = u32::from(plane > 0);
    let (width, height) = (
        frame.width().div_ceil(1 << shift) as usize,
        frame.height().div_ceil(1 << shift) as usize,
    );
    let rows = frame.plane(plane).chunks(frame.stride(plane)).take(height);
    rows.flat_map(|row| row[..width].iter().copied()).collect()
}

/// The peak signal-to-noise ratio of the luma planes, in dB.
pub(crate) fn psnr(left: &Frame, right: &Frame) -> f64 {
    let (left, right) = (samples(left, 0), samples(right, 0));
    assert_eq!(left.len(), right.len());
    let sum: f64 = left
        .iter()
        .zip(&right)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
        .sum();
    10.0 * (255.0 * 255.0 * left.len() as f64 / sum.max(1e-9)).log10()
}
