//! The source as `ffprobe` decodes it and the package's frames in, what was lost, added or bent out.
//!
//! Every frame of the source is in each rendition once, at its time counted from the first. A frame without one in the
//! source is a picture that was held over a cut: it may only stand at the start of a segment.

use std::path::Path;

use serde_json::Value;

use super::quality::{self, Quality};
use super::rendition::Rendition;
use super::{Expectation, Findings, Package, Rule};
use crate::tool;

/// How far apart two times of the same frame may be: containers count milliseconds at the coarsest.
const SAME_TIME: f64 = 1.1e-3;

/// What the comparison with the source gave.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    pub(super) held: u64,
    pub(super) qualities: Vec<Quality>,
}

/// What is known of the source's picture.
#[derive(Debug)]
pub(super) struct Source {
    /// Times of the frames in seconds, in the order of showing; `None` where one has no time.
    times: Option<Vec<f64>>,
    frames: usize,
    /// Duration of the last frame in seconds.
    last: Option<f64>,
    /// Width to height as shown, after rotation.
    aspect: f64,
    /// Whether the pixels are red, green and blue.
    pub(super) rgb: bool,
    /// Primaries, transfer and matrix by FFmpeg's names, where stated.
    colors: [Option<String>; 3],
}

pub(super) fn check(package: &Package, expect: &Expectation, findings: &mut Findings) -> Pictures {
    let Some(path) = &expect.source else {
        return Pictures::default();
    };
    let file = path.display().to_string();
    let Some(source) = findings.note((Rule::Tool, &file), Source::read(path)) else {
        return Pictures::default();
    };
    let mut held = Vec::new();
    let mut aligned = true;
    for video in package.videos() {
        check_shape(&source, video, findings);
        let before = findings.list.len();
        held = check_times(&source, video, expect, findings);
        aligned &= findings.list.len() == before;
    }
    // Without a frame for a frame there is nothing to compare.
    let videos: Vec<_> = package.videos().collect();
    let qualities = if aligned && !videos.is_empty() {
        let comparison = quality::Comparison {
            root: &package.root,
            path,
            source: &source,
            videos: &videos,
            held: &held,
        };
        quality::check(&comparison, expect.psnr_floor, findings)
    } else {
        Vec::new()
    };
    Pictures {
        held: held.len() as u64,
        qualities,
    }
}

impl Source {
    fn read(path: &Path) -> Result<Self, tool::Error> {
        let entries = "frame=best_effort_timestamp_time,pkt_duration_time,duration_time:stream";
        let run = tool::ffprobe().args([
            "-select_streams",
            "V:0",
            "-of",
            "json",
            "-show_entries",
            entries,
        ]);
        let answer = run.arg(path).json()?;
        let stream = &answer["streams"][0];
        let frames = answer["frames"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let time = |frame: &Value| text(&frame["best_effort_timestamp_time"])?.parse().ok();
        let last = frames.last().and_then(|frame| {
            let value = text(&frame["pkt_duration_time"]).or(text(&frame["duration_time"]))?;
            value.parse().ok().filter(|&seconds: &f64| seconds > 0.0)
        });
        let tag = |name: &str| {
            let value = text(&stream[name])?;
            (!matches!(value.as_str(), "unknown" | "reserved")).then_some(value)
        };
        let format = text(&stream["pix_fmt"]).unwrap_or_default();
        Ok(Self {
            times: frames.iter().map(time).collect(),
            frames: frames.len(),
            last,
            aspect: aspect(stream),
            rgb: ["rgb", "bgr", "gbr", "pal8", "argb", "abgr"]
                .iter()
                .any(|name| format.contains(name)),
            colors: [
                tag("color_primaries"),
                tag("color_transfer"),
                tag("color_space"),
            ],
        })
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn aspect(stream: &Value) -> f64 {
    let side = |name: &str| stream[name].as_f64().unwrap_or(1.0).max(1.0);
    let sample = text(&stream["sample_aspect_ratio"]).and_then(|ratio| {
        let (across, down) = ratio.split_once(':')?;
        let ratio = across.parse::<f64>().ok()? / down.parse::<f64>().ok()?;
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    });
    let stored = side("width") * sample.unwrap_or(1.0) / side("height");
    let data = stream["side_data_list"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let degrees = data
        .iter()
        .find_map(|data| data["rotation"].as_f64())
        .unwrap_or(0.0);
    if (degrees / 90.0).round().rem_euclid(2.0) > 0.5 {
        1.0 / stored
    } else {
        stored
    }
}

fn check_shape(source: &Source, video: &Rendition, findings: &mut Findings) {
    let (width, height) = video.size();
    let (across, down) = video.entry.pasp.unwrap_or((1, 1));
    let shown = f64::from(width) * f64::from(across) / (f64::from(height) * f64::from(down.max(1)));
    // Sizes are even: each side may be off by up to two pixels.
    let slack = 2.0 / f64::from(width.max(1)) + 2.0 / f64::from(height.max(1)) + 0.002;
    if (shown / source.aspect - 1.0).abs() > slack {
        let message = format!(
            "it is shown {shown:.4} times as wide as high, and the source {:.4}",
            source.aspect
        );
        findings.add(Rule::Source, &video.init_file, message);
    }
    let Some(sequence) = &video.sequence else {
        return;
    };
    let own = [
        primaries(sequence.color.primaries),
        transfer(sequence.color.transfer),
        matrix(sequence.color.matrix),
    ];
    // RGB is converted, so that its matrix says nothing.
    let compared = if source.rgb { 2 } else { 3 };
    for (own, wanted) in own.iter().zip(&source.colors).take(compared) {
        if let (Some(own), Some(wanted)) = (own, wanted)
            && own != wanted
        {
            findings.add(
                Rule::Source,
                &video.init_file,
                format!("its colours say {own}, the source's {wanted}"),
            );
        }
    }
}

fn primaries(code: u16) -> Option<&'static str> {
    Some(match code {
        1 => "bt709",
        2 => "unspecified",
        5 => "bt470bg",
        6 => "smpte170m",
        9 => "bt2020",
        12 => "smpte432",
        _ => return None,
    })
}

fn transfer(code: u16) -> Option<&'static str> {
    Some(match code {
        1 => "bt709",
        2 => "unspecified",
        6 => "smpte170m",
        13 => "iec61966-2-1",
        14 => "bt2020-10",
        16 => "smpte2084",
        18 => "arib-std-b67",
        _ => return None,
    })
}

fn matrix(code: u16) -> Option<&'static str> {
    Some(match code {
        1 => "bt709",
        2 => "unspecified",
        5 => "bt470bg",
        6 => "smpte170m",
        9 => "bt2020nc",
        _ => return None,
    })
}

/// Compares the times of all frames; returns which of the package's frames repeat a held picture.
fn check_times(
    source: &Source,
    video: &Rendition,
    expect: &Expectation,
    findings: &mut Findings,
) -> Vec<usize> {
    let file = &video.playlist_file;
    let own = video.frame_times();
    let Some(times) = source.times.as_ref().filter(|times| !times.is_empty()) else {
        if own.len() < source.frames {
            let message = format!(
                "there are {} frames, and {} in the source",
                own.len(),
                source.frames
            );
            findings.add(Rule::Source, file, message);
        }
        return Vec::new();
    };
    let first = own.first().map_or(0, |&(_, time)| time);
    let own: Vec<_> = own
        .iter()
        .map(|&(segment, time)| (segment, video.seconds(time - first)))
        .collect();
    let wanted: Vec<_> = times.iter().map(|time| time - times[0]).collect();
    let alignment = align(&wanted, &own);
    if let Some(&(index, seconds)) = alignment.missing.first() {
        let message = format!(
            "{} frames of the source are missing, the first is frame {index} at {seconds:.4} s",
            alignment.missing.len()
        );
        findings.add(Rule::Source, file, message);
    }
    if let Some(&(index, seconds)) = alignment.strangers.first() {
        let message = format!(
            "{} frames are at times without one in the source, the first is frame {index} at {seconds:.4} s",
            alignment.strangers.len()
        );
        findings.add(Rule::Source, file, message);
    }
    let gap = wanted
        .last()
        .map_or(0.0, |last| last / (wanted.len().max(2) - 1) as f64);
    let last = source.last.unwrap_or(gap);
    let end = wanted.last().map_or(0.0, |time| time + last);
    let length = video.end_seconds() - video.start_seconds();
    if expect.complete && (length - end).abs() > last.max(gap) + SAME_TIME {
        findings.add(
            Rule::Timeline,
            file,
            format!("it lasts {length:.4} s, and the source {end:.4} s"),
        );
    }
    alignment.held
}

/// Which frames of a package have none in the source, and the other way round.
#[derive(Debug, Default, PartialEq)]
struct Alignment {
    /// Indices in the package of frames at the start of a segment without one in the source.
    held: Vec<usize>,
    /// Index and time of the source's frames that are not in the package.
    missing: Vec<(usize, f64)>,
    /// Index and time of the package's frames elsewhere that are not in the source.
    strangers: Vec<(usize, f64)>,
}

/// Pairs frames of equal time; both lists rise. The package's frames come with the index of their segment.
fn align(source: &[f64], own: &[(usize, f64)]) -> Alignment {
    let mut alignment = Alignment::default();
    let gaps = own.windows(2).map(|pair| pair[1].1 - pair[0].1);
    let near = (0.4 * gaps.fold(f64::INFINITY, f64::min)).min(SAME_TIME);
    let (mut mine, mut theirs) = (0, 0);
    loop {
        match (own.get(mine), source.get(theirs)) {
            (Some(&(_, time)), Some(&wanted)) if (time - wanted).abs() <= near => {
                mine += 1;
                theirs += 1;
            }
            (Some(&(_, time)), Some(&wanted)) if wanted < time => {
                alignment.missing.push((theirs, wanted));
                theirs += 1;
            }
            (Some(&(segment, time)), _) => {
                let opens = mine > 0 && own[mine - 1].0 != segment;
                if opens {
                    alignment.held.push(mine);
                } else {
                    alignment.strangers.push((mine, time));
                }
                mine += 1;
            }
            (None, Some(&wanted)) => {
                alignment.missing.push((theirs, wanted));
                theirs += 1;
            }
            (None, None) => return alignment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_at_a_cut_may_repeat_and_elsewhere_not() {
        let own = [(0, 0.0), (0, 1.0), (1, 4.0), (1, 5.0), (1, 6.0)];
        let alignment = align(&[0.0, 1.0003, 5.0], &own);
        assert_eq!(
            (alignment.held, alignment.strangers),
            (vec![2], vec![(4, 6.0)])
        );
        assert!(alignment.missing.is_empty());
    }

    #[test]
    fn lost_frames_are_named() {
        let alignment = align(&[0.0, 0.5, 1.0, 1.5], &[(0, 0.0), (0, 1.0)]);
        assert_eq!(alignment.missing, vec![(1, 0.5), (3, 1.5)]);
    }
}
