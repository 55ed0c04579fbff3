//! Runs go in, Markdown comes out.

use std::path::Path;

use crate::contender::{Contender, Ladder};
use crate::machine;
use crate::measure::Run;
use crate::source::Source;

/// Both programs, one after the other.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) ffmpeg: Run,
    pub(crate) rungs: Run,
}

/// The head of the table whose rows [`row`] makes.
pub(crate) const HEADER: &str = "| run | program | wall, s | CPU, s | cores busy | peak memory, MiB | output, MB |\n\
     |---|---|---:|---:|---:|---:|---:|";

/// Describes the clip and the commands.
pub(crate) fn setup(source: &Source, contenders: &[&Contender], ladder: &Ladder) -> String {
    let (numerator, denominator) = source.rate;
    let rate = f64::from(numerator) / f64::from(denominator);
    let clip = format!(
        "Clip: `{}`, {}×{}, {rate:.3} fps, {:.1} s{}.",
        source
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy(),
        source.width,
        source.height,
        source.seconds,
        if source.has_audio { ", with sound" } else { "" }
    );
    let commands: Vec<String> = contenders
        .iter()
        .map(|contender| shown(contender, source, ladder))
        .collect();
    format!("{clip}\n\n```text\n{}\n```\n", commands.join("\n\n"))
}

/// Returns a command as a shell would take it, with the bare names of files.
fn shown(contender: &Contender, source: &Source, ladder: &Ladder) -> String {
    let mut bare = source.clone();
    bare.path = source
        .path
        .file_name()
        .map_or_else(Default::default, Into::into);
    let command = contender.command(&bare, ladder, Path::new("OUT"));
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let mut words = vec![program.into_owned()];
    words.extend(
        command
            .get_args()
            .map(|argument| quoted(&argument.to_string_lossy())),
    );
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,+%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Returns one line of the table.
pub(crate) fn row(label: &str, contender: &Contender, run: &Run) -> String {
    line(label, contender.name(), run)
}

fn line(label: &str, name: &str, run: &Run) -> String {
    format!(
        "| {label} | {name} | {:.2} | {:.2} | {:.0} % | {:.0} | {:.2} |",
        run.wall.as_secs_f64(),
        run.cpu.as_secs_f64(),
        100.0 * run.busy(machine::cores()),
        mebibytes(run.peak_memory),
        run.output as f64 / 1e6
    )
}

/// Returns the medians, and how rungs stands to ffmpeg in each pair.
pub(crate) fn summary(pairs: &[Pair]) -> String {
    let ffmpeg: Vec<&Run> = pairs.iter().map(|pair| &pair.ffmpeg).collect();
    let rungs: Vec<&Run> = pairs.iter().map(|pair| &pair.rungs).collect();
    [
        line("median", "ffmpeg", &median_run(&ffmpeg)),
        line("median", "rungs", &median_run(&rungs)),
        String::new(),
        "rungs ÷ ffmpeg, pair by pair, then the median (below 1: rungs takes less):".to_owned(),
        String::new(),
        ratios("wall", pairs, |run| run.wall.as_secs_f64()),
        ratios("CPU", pairs, |run| run.cpu.as_secs_f64()),
        ratios("peak memory", pairs, |run| run.peak_memory as f64),
        ratios("output", pairs, |run| run.output as f64),
    ]
    .join("\n")
}

fn ratios(what: &str, pairs: &[Pair], of: impl Fn(&Run) -> f64) -> String {
    let each: Vec<f64> = pairs
        .iter()
        .map(|pair| of(&pair.rungs) / of(&pair.ffmpeg))
        .collect();
    let listed: Vec<String> = each.iter().map(|ratio| format!("{ratio:.3}")).collect();
    format!(
        "- {what}: {}; median **{:.3}**",
        listed.join(", "),
        median(each)
    )
}

/// Returns how peak memory grew with the length of the source.
pub(crate) fn growth(once: &Run, ten_times: &Run) -> String {
    format!(
        "\nPeak memory: {:.0} MiB once, {:.0} MiB at ten times the length: × {:.2}.",
        mebibytes(once.peak_memory),
        mebibytes(ten_times.peak_memory),
        ten_times.peak_memory as f64 / once.peak_memory as f64
    )
}

/// Returns a run made of the median of each figure.
fn median_run(runs: &[&Run]) -> Run {
    Run {
        wall: std::time::Duration::from_secs_f64(median(
            runs.iter().map(|run| run.wall.as_secs_f64()).collect(),
        )),
        cpu: std::time::Duration::from_secs_f64(median(
            runs.iter().map(|run| run.cpu.as_secs_f64()).collect(),
        )),
        peak_memory: median(runs.iter().map(|run| run.peak_memory as f64).collect()) as u64,
        output: median(runs.iter().map(|run| run.output as f64).collect()) as u64,
    }
}

/// Returns the middle value; of an even number of values, the mean of the two in the middle. None: zero.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(wall: u64) -> Run {
        Run {
            wall: Duration::from_secs(wall),
            cpu: Duration::from_secs(2 * wall),
            peak_memory: 1 << 30,
            output: 5_000_000,
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let pairs = [
            Pair {
                ffmpeg: run(10),
                rungs: run(9),
            },
            Pair {
                ffmpeg: run(20),
                rungs: run(10),
            },
            Pair {
                ffmpeg: run(10),
                rungs: run(12),
            },
        ];
        let text = summary(&pairs);
        assert!(
            text.contains("- wall: 0.900, 0.500, 1.200; median **0.900**"),
            "{text}"
        );
        assert!(
            text.contains("| median | ffmpeg | 10.00 | 20.00 |"),
            "{text}"
        );
    }

    #[test]
    fn words_with_blanks_are_quoted() {
        assert_eq!(quoted("-c:v"), "-c:v");
        assert_eq!(quoted("v:0 v:1"), "'v:0 v:1'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("[0:v]"), "'[0:v]'");
    }
}
