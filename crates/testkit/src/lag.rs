//! Two files with the same audio in, how late the audio of one is against the other's out: by cross-correlation, along the file.
//!
//! ```text
//! file ─► ffmpeg: frames of samples with their times ─► Recording: mono, at the time of the first video frame = 0
//! Recording of the source, Recording of the output ─► along: one Lag for each window of the output
//! ```
//!
//! Audio that repeats itself, such as a tone, has no lag that can be measured: use noise or speech.

use std::path::Path;

use crate::tool;

/// Samples per second at which recordings are compared: a sample is 62.5 µs, and the peak is found between samples.
const RATE: f64 = 16_000.0;
/// Mean power below which a window is silence, which has no lag.
const SILENCE: f64 = 1e-7;

/// One track of a file as mono samples on the clock of its video.
#[derive(Debug, Clone)]
pub struct Recording {
    samples: Vec<f32>,
}

/// How late the audio of an output is at one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// The middle of the window, in seconds of the output from its first video frame on.
    pub at: f64,
    /// How late the output is there, in seconds; below 0 when it is early.
    pub seconds: f64,
    /// The normalised correlation there: 1 for the same waveform, near 0 where the output has other audio than the source.
    pub certainty: f64,
}

/// Which lags are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// Length of each window of the output in seconds.
    pub window: f64,
    /// The largest lag that is found, early or late, in seconds.
    pub most: f64,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            window: 0.5,
            most: 2.0,
        }
    }
}

/// A frame of samples as `ashowinfo` describes it.
struct Placed {
    /// Time of its first sample in seconds.
    start: f64,
    rate: f64,
    samples: usize,
}

impl Recording {
    /// Decodes the audio track `track` (`0` for the first) of a file or of what a playlist names. Samples before the first video frame are left
    /// out, gaps are silent; blocks while `ffmpeg` runs.
    ///
    /// # Errors
    /// If `ffmpeg` cannot decode the track, or there is no video to compare with.
    pub fn of(path: &Path, track: u32) -> Result<Self, tool::Error> {
        let origin = first_video_time(path)?;
        let run = tool::ffmpeg().args(["-loglevel", "info", "-copyts", "-i"]);
        let form = "asettb=1/sr,aformat=sample_fmts=flt:channel_layouts=mono,ashowinfo";
        let run = run
            .arg(path)
            .args(["-map", &format!("0:a:{track}"), "-af", form]);
        let answer = run.args(["-f", "f32le", "pipe:1"]).run()?;
        let samples: Vec<f32> = answer
            .stdout
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        let frames: Vec<_> = answer.stderr.lines().filter_map(Placed::of_line).collect();
        let mut recording = Self {
            samples: Vec::new(),
        };
        let mut rest = &samples[..];
        for frame in frames {
            let (own, others) = rest.split_at(frame.samples.min(rest.len()));
            rest = others;
            recording.place(own, frame.rate, frame.start - origin);
        }
        Ok(recording)
    }

    /// Makes a recording of samples at [`RATE`], for tests of the measure itself.
    #[cfg(test)]
    fn of_samples(samples: Vec<f32>) -> Self {
        Self { samples }
    }

    /// Puts samples of another rate where they belong, by linear interpolation.
    fn place(&mut self, samples: &[f32], rate: f64, start: f64) {
        let first = (start * RATE).ceil().max(0.0);
        let end = ((start + samples.len() as f64 / rate) * RATE).ceil();
        if end <= first || end > RATE * 36_000.0 {
            return;
        }
        let (first, end) = (first as usize, end as usize);
        if self.samples.len() < end {
            self.samples.resize(end, 0.0);
        }
        for at in first..end {
            let place = (at as f64 / RATE - start) * rate;
            let before = (place.max(0.0) as usize).min(samples.len() - 1);
            let after = (before + 1).min(samples.len() - 1);
            let part = (place - before as f64).clamp(0.0, 1.0) as f32;
            self.samples[at] = samples[before] + (samples[after] - samples[before]) * part;
        }
    }

    /// Length in seconds from the first video frame to the last sample.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / RATE
    }
}

impl Placed {
    fn of_line(line: &str) -> Option<Self> {
        let rest = line.split_once("Parsed_ashowinfo")?.1;
        let value = |name: &str| {
            let rest = rest.split_once(name)?.1;
            rest.split_whitespace().next()
        };
        let rate: f64 = value(" rate:")?.parse().ok()?;
        Some(Self {
            start: value(" pts:")?.parse::<f64>().ok()? / rate,
            rate,
            samples: value("nb_samples:")?.parse().ok()?,
        })
    }
}

/// When the first video frame of a file is shown, on the file's own clock.
fn first_video_time(path: &Path) -> Result<f64, tool::Error> {
    let run = tool::ffprobe().args(["-select_streams", "v:0", "-of", "csv=p=0"]);
    let run = run.args(["-show_entries", "packet=pts_time,flags"]);
    let answer = run.arg(path).run()?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let times = text.lines().filter_map(|line| {
        let (time, flags) = line.split_once(',')?;
        (!flags.contains('D'))
            .then(|| time.parse::<f64>().ok())
            .flatten()
    });
    let first = times.fold(f64::INFINITY, f64::min);
    if first.is_finite() {
        return Ok(first);
    }
    Err(tool::Error::Answer {
        program: "ffprobe".to_owned(),
        wanted: "times of video packets",
    })
}

/// Measures how late the output's audio is in each of its windows. Windows that are silent in the output are left out.
#[must_use]
pub fn along(source: &Recording, output: &Recording, search: &Search) -> Vec<Lag> {
    let window = (search.window * RATE) as usize;
    let most = (search.most * RATE) as usize;
    let starts = (0..output.samples.len()).step_by(window.max(1));
    let windows = starts.filter_map(|start| {
        let heard = output.samples.get(start..start + window)?;
        let power = energy(heard) / window as f64;
        if power < SILENCE {
            return None;
        }
        let (late, certainty) = best(source, (start, heard), most)?;
        Some(Lag {
            at: (start + window / 2) as f64 / RATE,
            seconds: late / RATE,
            certainty,
        })
    });
    windows.collect()
}

/// The lag that is furthest from 0, of those that are certain; `None` if none is.
#[must_use]
pub fn worst(lags: &[Lag]) -> Option<Lag> {
    let certain = lags.iter().filter(|lag| lag.certainty > 0.5);
    certain
        .max_by(|one, other| one.seconds.abs().total_cmp(&other.seconds.abs()))
        .copied()
}

/// By how many samples a window of the output is late, and how surely.
fn best(source: &Recording, (start, heard): (usize, &[f32]), most: usize) -> Option<(f64, f64)> {
    // Sample `n` of what is searched stands at `start - most + n` of the source.
    let length = heard.len() + 2 * most;
    let searched: Vec<f32> = (0..length)
        .map(|n| {
            let at = (start + n).checked_sub(most);
            at.and_then(|at| source.samples.get(at).copied())
                .unwrap_or(0.0)
        })
        .collect();
    let products = correlation(&searched, heard);
    let mut sums = vec![0.0];
    for sample in &searched {
        let square = f64::from(*sample) * f64::from(*sample);
        sums.push(sums[sums.len() - 1] + square);
    }
    let own = energy(heard);
    let score = |offset: usize| {
        let there = sums[offset + heard.len()] - sums[offset];
        // Silence of the source is like nothing.
        if there < SILENCE * heard.len() as f64 {
            return 0.0;
        }
        products[offset] / (own * there).sqrt()
    };
    let offsets = 0..=2 * most;
    let peak = offsets.max_by(|one, other| score(*one).total_cmp(&score(*other)))?;
    let mut place = peak as f64;
    if peak > 0 && peak < 2 * most {
        let (left, middle, right) = (score(peak - 1), score(peak), score(peak + 1));
        let bend = left - 2.0 * middle + right;
        if bend < 0.0 {
            place += 0.5 * (left - right) / bend;
        }
    }
    Some((most as f64 - place, score(peak)))
}

fn energy(samples: &[f32]) -> f64 {
    samples
        .iter()
        .map(|sample| f64::from(*sample).powi(2))
        .sum()
}

/// The products of `short` with each stretch of `long`, from its first sample on.
fn correlation(long: &[f32], short: &[f32]) -> Vec<f64> {
    let size = long.len().next_power_of_two();
    // Both are real: one goes into the real parts, one into the imaginary parts, and one transform does both.
    let mut both: Vec<(f64, f64)> = (0..size)
        .map(|n| {
            let at = |samples: &[f32]| samples.get(n).map_or(0.0, |sample| f64::from(*sample));
            (at(long), at(short))
        })
        .collect();
    transform(&mut both, 1.0);
    let mut product: Vec<(f64, f64)> = (0..size)
        .map(|n| {
            let (here, there) = (both[n], both[(size - n) % size]);
            let first = (0.5 * (here.0 + there.0), 0.5 * (here.1 - there.1));
            let second = (0.5 * (here.1 + there.1), -0.5 * (here.0 - there.0));
            // The first times the conjugate of the second.
            (
                first.0 * second.0 + first.1 * second.1,
                first.1 * second.0 - first.0 * second.1,
            )
        })
        .collect();
    transform(&mut product, -1.0);
    product
        .into_iter()
        .map(|(real, _)| real / size as f64)
        .collect()
}

/// The Fourier transform in place, of a power of two; with `-1.0` its inverse, times the length.
fn transform(values: &mut [(f64, f64)], direction: f64) {
    let size = values.len();
    let bits = size.trailing_zeros();
    for n in 0..size {
        let other = n.reverse_bits() >> (usize::BITS - bits.max(1));
        if bits > 0 && n < other {
            values.swap(n, other);
        }
    }
    let mut span = 1;
    while span < size {
        let step = -direction * std::f64::consts::PI / span as f64;
        let turns: Vec<_> = (0..span).map(|n| (step * n as f64).sin_cos()).collect();
        for block in values.chunks_exact_mut(2 * span) {
            let (low, high) = block.split_at_mut(span);
            for ((low, high), (sine, cosine)) in low.iter_mut().zip(high).zip(&turns) {
                let turned = (
                    high.0 * cosine - high.1 * sine,
                    high.0 * sine + high.1 * cosine,
                );
                *high = (low.0 - turned.0, low.1 - turned.1);
                *low = (low.0 + turned.0, low.1 + turned.1);
            }
        }
        span *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn noise(samples: usize) -> Vec<f32> {
        let mut dice = Dice::new(7);
        (0..samples)
            .map(|_| (dice.roll() as f64 / u64::MAX as f64 - 0.5) as f32)
            .collect()
    }

    #[test]
    fn a_shift_is_found_to_the_sample_wherever_it_begins() {
        let samples = noise(48_000);
        let source = Recording::of_samples(samples.clone());
        let shifted = |late: isize| -> Vec<f32> {
            let at = |n: isize| samples.get((n - late).max(0) as usize).copied();
            (0..48_000).map(|n| at(n).unwrap_or(0.0)).collect()
        };
        for late in [0, 1, 160, 24_000] {
            // The second half of the output is early by half as much again.
            let mut output = shifted(late);
            output.truncate(24_000);
            output.extend(&shifted(-late / 2)[24_000..]);
            let lags = along(&source, &Recording::of_samples(output), &Search::default());
            assert!(!lags.is_empty());
            for lag in lags.iter().filter(|lag| lag.certainty > 0.9) {
                let wanted = if lag.at < 1.5 { late } else { -late / 2 };
                assert!(
                    (lag.seconds * RATE - wanted as f64).abs() < 0.1,
                    "{late}: {lag:?}"
                );
            }
            assert!(
                lags.last().is_some_and(|lag| lag.certainty > 0.9),
                "{lags:?}"
            );
        }
    }

    #[test]
    fn other_audio_is_not_certain_and_silence_has_no_lag() {
        let samples = noise(32_000);
        let (source, other) = samples.split_at(16_000);
        let source = Recording::of_samples(source.to_vec());
        let lags = along(
            &source,
            &Recording::of_samples(other.to_vec()),
            &Search::default(),
        );
        assert!(!lags.is_empty() && worst(&lags).is_none(), "{lags:?}");
        let silent = Recording::of_samples(vec![0.0; 16_000]);
        assert!(along(&source, &silent, &Search::default()).is_empty());
    }

    #[test]
    fn frames_are_placed_by_their_times_at_any_rate() {
        let mut recording = Recording::of_samples(Vec::new());
        // A ramp at 8 kHz that begins a quarter of a second before the video.
        let ramp: Vec<f32> = (0..8000).map(|n| n as f32).collect();
        recording.place(&ramp, 8000.0, -0.25);
        assert!((recording.seconds() - 0.75).abs() < 1e-9);
        assert!((recording.samples[0] - 2000.0).abs() < 1e-3);
        assert!((recording.samples[1] - 2000.5).abs() < 1e-3);
        let line = "[Parsed_ashowinfo_2 @ 0x55] n:1 pts:-24000 pts_time:-0.5 pos:-1 fmt:flt channels:1 chlayout:mono rate:48000 nb_samples:1152 checksum:00";
        let frame = Placed::of_line(line).expect("a frame");
        assert!((frame.start + 0.5).abs() < 1e-9 && frame.samples == 1152);
    }
}
