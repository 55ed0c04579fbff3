//! Each segment behind its initialisation segment into `ffmpeg`, by itself; frames counted and measured come out.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::rendition::{Kind, Rendition, Segment};
use super::{Finding, Findings, Package, Rule};
use crate::tool;

/// Programs at once: each decodes on one thread.
const AT_ONCE: usize = 2;

pub(super) fn check(package: &Package, findings: &mut Findings) {
    let work: Vec<(&Rendition, &Segment)> = package
        .renditions
        .iter()
        .flat_map(|rendition| {
            rendition
                .segments
                .iter()
                .map(move |segment| (rendition, segment))
        })
        .collect();
    let next = AtomicUsize::new(0);
    let mut found: Vec<(usize, Finding)> = Vec::new();
    std::thread::scope(|scope| {
        let take = || {
            let mut found = Vec::new();
            while let index = next.fetch_add(1, Ordering::Relaxed)
                && let Some(&(rendition, segment)) = work.get(index)
            {
                let mut findings = Findings::default();
                check_one(&package.root, (rendition, segment), &mut findings);
                found.extend(findings.list.into_iter().map(|finding| (index, finding)));
            }
            found
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(take)).collect();
        for thread in threads {
            found.extend(
                thread
                    .join()
                    .expect("the check of a segment does not panic"),
            );
        }
    });
    found.sort_by_key(|(index, _)| *index);
    findings
        .list
        .extend(found.into_iter().map(|(_, finding)| finding));
}

fn check_one(root: &Path, (rendition, segment): (&Rendition, &Segment), findings: &mut Findings) {
    let file = segment.file.as_str();
    let Some(bytes) = findings.note((Rule::Files, file), segment.read(root)) else {
        return;
    };
    let whole = [rendition.init_bytes.as_slice(), &bytes].concat();
    let decoded = decode((rendition.kind, Input::Whole), &whole);
    let Some(decoded) = findings.note((Rule::Decoding, file), decoded) else {
        return;
    };
    if rendition.kind == Kind::Audio {
        return check_sound((rendition, segment), &decoded, findings);
    }
    let (own, wanted) = (decoded.frames.len(), segment.durations.len());
    if own != wanted {
        findings.add(
            Rule::Decoding,
            file,
            format!("{own} frames come out of {wanted} samples"),
        );
    }
    let (width, height) = rendition.size();
    if decoded.size != Some((width, height)) {
        findings.add(
            Rule::Decoding,
            file,
            format!("the pictures are {:?}, not {width}x{height}", decoded.size),
        );
    }
    if decoded
        .frames
        .windows(2)
        .any(|pair| pair[0].bytes != pair[1].bytes)
    {
        findings.add(Rule::Decoding, file, "the pictures change their size");
    }
}

/// A decoder may leave out what comes before the presentation, and no more.
fn check_sound(
    (rendition, segment): (&Rendition, &Segment),
    decoded: &Decoded,
    findings: &mut Findings,
) {
    let heard: u64 = decoded.frames.iter().map(|frame| frame.duration).sum();
    let heard = heard as f64 * decoded.time_base;
    let stated = rendition.seconds(segment.ticks());
    let least =
        stated - rendition.track.media_start().max(0) as f64 / f64::from(rendition.track.timescale);
    if heard < least - rendition.longest_sample() - 1e-4 || heard > stated + 1e-4 {
        let message = format!("{heard:.4} s of sound come out of {stated:.4} s of samples");
        findings.add(Rule::Decoding, &segment.file, message);
    }
}

/// What came out of a decoder.
#[derive(Debug, Default)]
struct Decoded {
    size: Option<(u32, u32)>,
    /// Seconds in a tick of the frames' durations.
    time_base: f64,
    frames: Vec<DecodedFrame>,
}

#[derive(Debug)]
struct DecodedFrame {
    duration: u64,
    bytes: u64,
}

/// What is given to the decoder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    /// All that the boxes say is there.
    Whole,
    /// The boxes tell of more.
    Cut,
}

/// Decodes an initialisation segment and the start of a segment up to the end of its first sample; gives how many pictures that are.
pub(super) fn pictures(bytes: &[u8]) -> Result<usize, tool::Error> {
    Ok(decode((Kind::Video, Input::Cut), bytes)?.frames.len())
}

fn decode((kind, input): (Kind, Input), bytes: &[u8]) -> Result<Decoded, tool::Error> {
    let map = if kind == Kind::Video {
        "0:v:0"
    } else {
        "0:a:0"
    };
    let strict: &[&str] = match input {
        Input::Whole => &["-xerror", "-err_detect", "explode"],
        Input::Cut => &[],
    };
    let run = tool::ffmpeg()
        .args(strict)
        .args(["-threads", "1", "-f", "mp4", "-i", "pipe:0"]);
    let run = run.args([
        "-map",
        map,
        "-fps_mode",
        "passthrough",
        "-noautoscale",
        "-f",
        "framecrc",
        "pipe:1",
    ]);
    let answer = run.run_on(bytes)?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let mut decoded = Decoded::default();
    for line in text.lines() {
        if let Some(size) = line.strip_prefix("#dimensions 0: ") {
            decoded.size = size
                .split_once('x')
                .and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        } else if let Some(base) = line.strip_prefix("#tb 0: ") {
            let base = base
                .split_once('/')
                .and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
            decoded.time_base = base.map_or(0.0, |(n, d): (f64, f64)| n / d);
        } else if !line.starts_with('#') {
            let fields: Vec<_> = line.split(',').map(str::trim).collect();
            let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok());
            if let (Some(duration), Some(bytes)) = (number(3), number(4)) {
                decoded.frames.push(DecodedFrame { duration, bytes });
            }
        }
    }
    Ok(decoded)
}
