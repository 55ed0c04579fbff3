//! Source and renditions through FFmpeg's `psnr` filter, frame by frame in order; pictures that are not theirs out.
//!
//! Each frame is compared with its own source frame and with the one before and after it. A picture that is more like a
//! neighbour is in the wrong place, however good or bad the encoding is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::rendition::Rendition;
use super::source::Source;
use super::{Findings, Rule};
use crate::tool;

/// How much more like its neighbour, in dB, a frame must be to be called misplaced.
const MISPLACED: f64 = 1.5;
/// Above this PSNR two neighbours are the same picture for all that matters.
const SAME_PICTURE: f64 = 45.0;
/// Below this PSNR a picture shows something else, whatever the quality asked for.
const OTHER_PICTURE: f64 = 14.0;
/// What one segment may have less than the whole rendition must, in dB: some stretches are harder than others.
const HARD_STRETCH: f64 = 3.0;
/// How far below the brightness a colour plane may be in a segment, in dB, and from where on that is of no matter.
const COLOR_LAG: f64 = 10.0;
const COLOR_FINE: f64 = 36.0;
/// What renditions below the top may have less, in dB.
const LOWER_RUNG: f64 = 3.0;

/// What is compared with what.
pub(super) struct Comparison<'a> {
    pub(super) root: &'a Path,
    pub(super) path: &'a Path,
    pub(super) source: &'a Source,
    pub(super) videos: &'a [&'a Rendition],
    /// Frames of the package that the source does not have.
    pub(super) held: &'a [usize],
}

/// How like its source a rendition is.
#[derive(Debug)]
pub(super) struct Quality {
    /// The rendition's folder.
    pub(super) rendition: String,
    /// PSNR of the mean error over all frames and planes, in dB.
    pub(super) average: f64,
    /// PSNR of the worst frame.
    pub(super) worst: f64,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the renditions could not be joined for a comparison")]
    Io(#[from] io::Error),
    #[error("the pictures could not be compared")]
    Tool(#[from] tool::Error),
}

pub(super) fn check(
    comparison: &Comparison<'_>,
    floor: Option<f64>,
    findings: &mut Findings,
) -> Vec<Quality> {
    let file = comparison.path.display().to_string();
    let Some(measured) = findings.note((Rule::Tool, &file), measure(comparison)) else {
        return Vec::new();
    };
    let area = |video: &Rendition| video.size().0 * video.size().1;
    let largest = comparison
        .videos
        .iter()
        .map(|video| area(video))
        .max()
        .unwrap_or(0);
    let mut qualities = Vec::new();
    for (video, errors) in comparison.videos.iter().zip(&measured) {
        let quality = errors.quality(&video.folder);
        let least = floor.map(|floor| {
            if area(video) == largest {
                floor
            } else {
                floor - LOWER_RUNG
            }
        });
        if let Some(least) = least.filter(|&least| quality.average < least) {
            let message = format!("the PSNR is {:.2} dB, below {least:.2} dB", quality.average);
            findings.add(Rule::Quality, &video.playlist_file, message);
        }
        let segments = segments(video, comparison.held);
        judge_frames((video, errors), &segments, findings);
        judge_segments((video, errors), (&segments, least), findings);
        qualities.push(quality);
    }
    qualities
}

/// Returns the segment of each frame that the source has, in order.
fn segments(video: &Rendition, held: &[usize]) -> Vec<usize> {
    let times = video.frame_times();
    let kept = times
        .iter()
        .enumerate()
        .filter(|(place, _)| !held.contains(place));
    kept.map(|(_, &(segment, _))| segment).collect()
}

fn judge_frames(
    (video, errors): (&Rendition, &Errors),
    segments: &[usize],
    findings: &mut Findings,
) {
    if errors.own.len() != segments.len() {
        let message = format!(
            "{} of {} frames could be compared with the source",
            errors.own.len(),
            segments.len()
        );
        findings.add(Rule::Quality, &video.playlist_file, message);
    }
    let file = |frame: usize| {
        let segment = segments
            .get(frame)
            .map(|&segment| video.segments[segment].file.as_str());
        segment.unwrap_or(&video.playlist_file)
    };
    let misplaced = errors.misplaced();
    if let Some(&frame) = misplaced.first() {
        let count = misplaced.len();
        let message = format!(
            "frame {frame} of the source looks more like its neighbour here, and so do {count} in all"
        );
        findings.add(Rule::Quality, file(frame), message);
    }
    let other: Vec<_> = (0..errors.own.len())
        .filter(|&frame| db(errors.own[frame].all) < OTHER_PICTURE)
        .collect();
    if let Some(&frame) = other.first() {
        let (count, own) = (other.len(), db(errors.own[frame].all));
        let message = format!(
            "frame {frame} of the source is another picture here ({own:.1} dB), and so are {count} in all"
        );
        findings.add(Rule::Quality, file(frame), message);
    }
}

/// A device that bends the picture does so in the segments that it made: the whole rendition's average may hide it.
fn judge_segments(
    (video, errors): (&Rendition, &Errors),
    (segments, least): (&[usize], Option<f64>),
    findings: &mut Findings,
) {
    for (index, segment) in video.segments.iter().enumerate() {
        let frames = segments
            .iter()
            .zip(&errors.own)
            .filter(|(own, _)| **own == index);
        let mean = Planes::mean(frames.map(|(_, planes)| planes));
        let (all, y) = (db(mean.all), db(mean.y));
        if let Some(least) = least.filter(|least| all < least - HARD_STRETCH) {
            let message =
                format!("the PSNR is {all:.2} dB, far below the {least:.2} dB of the whole");
            findings.add(Rule::Quality, &segment.file, message);
        }
        let color = db(mean.u.max(mean.v));
        if color < COLOR_FINE && color < y - COLOR_LAG {
            let message =
                format!("the colours are off: {color:.2} dB, and {y:.2} dB in brightness");
            findings.add(Rule::Quality, &segment.file, message);
        }
    }
}

/// Mean squared errors of a frame: all planes together, and each.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Planes {
    all: f64,
    y: f64,
    u: f64,
    v: f64,
}

impl Planes {
    /// Reads a line such as `n:1 mse_avg:0.57 mse_y:0.61 mse_u:0.42 mse_v:0.55 psnr_avg:50.57 …`.
    fn parse(line: &str) -> Option<Self> {
        let fields: BTreeMap<_, _> = line
            .split_whitespace()
            .filter_map(|field| field.split_once(':'))
            .collect();
        let value = |name| fields.get(name)?.parse().ok();
        Some(Self {
            all: value("mse_avg")?,
            y: value("mse_y")?,
            u: value("mse_u")?,
            v: value("mse_v")?,
        })
    }

    fn mean<'a>(list: impl Iterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        let mut count = 0.0_f64;
        for planes in list {
            sum = Self {
                all: sum.all + planes.all,
                y: sum.y + planes.y,
                u: sum.u + planes.u,
                v: sum.v + planes.v,
            };
            count += 1.0;
        }
        let by = count.max(1.0);
        Self {
            all: sum.all / by,
            y: sum.y / by,
            u: sum.u / by,
            v: sum.v / by,
        }
    }
}

/// Mean squared errors of a rendition's frames.
#[derive(Debug, Default)]
struct Errors {
    /// Frame `i` against the source's frame `i`.
    own: Vec<Planes>,
    /// Frame `i + 1` against the source's frame `i`.
    before: Vec<Planes>,
    /// Frame `i` against the source's frame `i + 1`.
    after: Vec<Planes>,
}

impl Errors {
    fn quality(&self, rendition: &str) -> Quality {
        let mean = Planes::mean(self.own.iter()).all;
        let worst = self.own.iter().map(|planes| planes.all).fold(0.0, f64::max);
        Quality {
            rendition: rendition.to_owned(),
            average: db(mean),
            worst: db(worst),
        }
    }

    fn misplaced(&self) -> Vec<usize> {
        let better = |index: usize| {
            let own = db(self.own[index].all);
            let before = index
                .checked_sub(1)
                .and_then(|index| self.before.get(index));
            let neighbours = before.into_iter().chain(self.after.get(index));
            own < SAME_PICTURE
                && neighbours
                    .into_iter()
                    .any(|neighbour| db(neighbour.all) > own + MISPLACED)
        };
        (0..self.own.len()).filter(|&index| better(index)).collect()
    }
}

/// Turns a mean squared error of 8-bit samples into dB; equal pictures count as 100 dB.
fn db(error: f64) -> f64 {
    if error <= 65_025e-10 {
        100.0
    } else {
        10.0 * (65_025.0 / error).log10()
    }
}

/// Compares all renditions in one run, which decodes the source once.
fn measure(comparison: &Comparison<'_>) -> Result<Vec<Errors>, Error> {
    let folder = tempfile::tempdir()?;
    let mut run = tool::ffmpeg().arg("-i").arg(comparison.path);
    for (index, video) in comparison.videos.iter().enumerate() {
        let joined = folder.path().join(format!("{index}.mp4"));
        let mut file = File::create(&joined)?;
        file.write_all(&video.init_bytes)?;
        for segment in &video.segments {
            io::copy(&mut segment.read(comparison.root)?.as_slice(), &mut file)?;
        }
        run = run.arg("-i").arg(joined);
    }
    let graph = graph(comparison, folder.path());
    run = run.args(["-filter_complex", &graph.text, "-fps_mode", "passthrough"]);
    for output in &graph.outputs {
        run = run.args(["-map", output]);
    }
    run.args(["-f", "null", "-"]).run()?;
    let read = |name: String| -> Result<Vec<Planes>, Error> {
        let text = fs::read_to_string(folder.path().join(name))?;
        Ok(text.lines().filter_map(Planes::parse).collect())
    };
    let videos = 0..comparison.videos.len();
    videos
        .map(|index| {
            Ok(Errors {
                own: read(format!("{index}-own.log"))?,
                before: read(format!("{index}-before.log"))?,
                after: read(format!("{index}-after.log"))?,
            })
        })
        .collect()
}

struct Graph {
    text: String,
    outputs: Vec<String>,
}

fn graph(comparison: &Comparison<'_>, folder: &Path) -> Graph {
    // Both sides get the same tags, or newer versions convert the one to the other; and whole numbers for times.
    let same = "format=yuv420p,setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709,\
                settb=1/1000,setpts=N";
    let matrix = if comparison.source.rgb {
        ":out_color_matrix=bt709"
    } else {
        ""
    };
    let dropped: Vec<_> = comparison
        .held
        .iter()
        .map(|index| format!("eq(n,{index})"))
        .collect();
    let dropped = if dropped.is_empty() {
        "0".to_owned()
    } else {
        dropped.join("+")
    };
    let mut text = String::from("[0:V:0]crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0");
    let _ = write!(text, ",split={}", comparison.videos.len());
    for index in 0..comparison.videos.len() {
        let _ = write!(text, "[s{index}]");
    }
    let mut outputs = Vec::new();
    for (index, video) in comparison.videos.iter().enumerate() {
        let (width, height) = video.size();
        let _ = write!(
            text,
            ";[s{index}]scale={width}:{height}:flags=bicubic+accurate_rnd+bitexact:out_range=tv{matrix},{same},\
             split=3[r{index}a][r{index}b][r{index}];[r{index}]trim=start_frame=1,setpts=N[r{index}c];\
             [{input}:v:0]select='not({dropped})',{same},\
             split=3[d{index}a][d{index}][d{index}c];[d{index}]trim=start_frame=1,setpts=N[d{index}b]",
            input = index + 1
        );
        for (letter, name) in [("a", "own"), ("b", "before"), ("c", "after")] {
            let log = folder.join(format!("{index}-{name}.log"));
            let _ = write!(
                text,
                ";[d{index}{letter}][r{index}{letter}]psnr=stats_file={}:shortest=1:repeatlast=0[o{index}{letter}]",
                log.display()
            );
            outputs.push(format!("[o{index}{letter}]"));
        }
    }
    Graph { text, outputs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(errors: &[f64]) -> Vec<Planes> {
        errors
            .iter()
            .map(|&all| Planes {
                all,
                ..Planes::default()
            })
            .collect()
    }

    #[test]
    fn lines_of_the_filter_are_read() {
        let line = "n:1 mse_avg:0.57 mse_y:0.61 mse_u:0.42 mse_v:0.55 psnr_avg:50.57 psnr_y:50.25 psnr_u:51.9 psnr_v:50.7";
        assert_eq!(
            Planes::parse(line),
            Some(Planes {
                all: 0.57,
                y: 0.61,
                u: 0.42,
                v: 0.55
            })
        );
        assert_eq!(Planes::parse("nonsense"), None);
    }

    #[test]
    fn a_picture_more_like_its_neighbour_is_misplaced() {
        let (own, before, after) = (
            frames(&[10.0, 90.0, 10.0]),
            frames(&[80.0, 80.0]),
            frames(&[80.0, 20.0]),
        );
        assert_eq!(Errors { own, before, after }.misplaced(), vec![1]);
        let (own, before, after) = (frames(&[10.0; 3]), frames(&[9.0; 2]), frames(&[9.0; 2]));
        assert!(Errors { own, before, after }.misplaced().is_empty());
    }
}
