//! The two programs under measurement, and the command line by which each makes the ladder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::source::Source;

/// What both programs are asked for.
#[derive(Debug)]
pub(crate) struct Ladder {
    /// Heights of the rungs, tallest first; the width follows from the source's shape.
    pub(crate) heights: Vec<u32>,
    /// The AV1 encoder's preset.
    pub(crate) preset: u32,
    /// The AV1 encoder's constant rate factor.
    pub(crate) crf: u32,
    /// Length of a segment, which is one GOP.
    pub(crate) segment_seconds: u32,
}

/// A program under measurement.
#[derive(Debug)]
pub(crate) enum Contender {
    /// One `ffmpeg` process: decode once, split, scale, four encoders side by side, fragmented MP4 as HLS.
    Ffmpeg,
    /// `rungs package`.
    Rungs {
        /// Where the program is.
        program: PathBuf,
        /// What is added to its arguments.
        extra: Vec<String>,
    },
}

impl Contender {
    /// Returns the name for the tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Contender::Ffmpeg => "ffmpeg",
            Contender::Rungs { .. } => "rungs",
        }
    }

    /// Returns the command that makes the ladder of `source` in the folder `out`.
    pub(crate) fn command(&self, source: &Source, ladder: &Ladder, out: &Path) -> Command {
        match self {
            Contender::Ffmpeg => ffmpeg(source, ladder, out),
            Contender::Rungs { program, extra } => {
                let mut command = Command::new(program);
                command.arg("package").arg(&source.path).arg("-o").arg(out);
                for height in &ladder.heights {
                    command.args(["--rung", &format!("{height}p")]);
                }
                command.args(["--segment", &ladder.segment_seconds.to_string()]);
                command.args(["--gop", &ladder.segment_seconds.to_string()]);
                command.args(["--crf", &ladder.crf.to_string()]);
                command.args(["--speed", &ladder.preset.to_string()]);
                command.args(["--progress", "none", "--force"]).args(extra);
                command
            }
        }
    }
}

fn ffmpeg(source: &Source, ladder: &Ladder, out: &Path) -> Command {
    let rungs = ladder.heights.len();
    let mut graph = format!("[0:v:0]split={rungs}");
    for index in 0..rungs {
        let _ = write!(graph, "[s{index}]");
    }
    for (index, height) in ladder.heights.iter().enumerate() {
        let _ = write!(
            graph,
            ";[s{index}]scale=-2:{height}:flags=bicubic+accurate_rnd+bitexact[v{index}]"
        );
    }

    let mut command = Command::new("ffmpeg");
    command
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i"])
        .arg(&source.path);
    command.args(["-filter_complex", &graph]);
    for index in 0..rungs {
        command.args(["-map", &format!("[v{index}]")]);
    }
    command.args(["-c:v", "libsvtav1", "-preset", &ladder.preset.to_string()]);
    command.args([
        "-crf",
        &ladder.crf.to_string(),
        "-g",
        &source.frames_in(ladder.segment_seconds).to_string(),
    ]);
    if source.has_audio {
        command
            .args(["-map", "0:a:0", "-c:a"])
            .args(source.audio_codec());
    }
    command.args([
        "-f",
        "hls",
        "-hls_segment_type",
        "fmp4",
        "-hls_playlist_type",
        "event",
    ]);
    command.args([
        "-hls_time",
        &ladder.segment_seconds.to_string(),
        "-hls_flags",
        "independent_segments",
    ]);
    command.args([
        "-master_pl_name",
        "master.m3u8",
        "-var_stream_map",
        &stream_map(rungs, source.has_audio),
    ]);
    command
        .arg("-hls_segment_filename")
        .arg(out.join("%v/seg-%05d.m4s"));
    command.arg(out.join("%v/playlist.m3u8"));
    command
}

/// Returns FFmpeg's map of streams to playlists: each rung alone, and the sound as a group for all of them.
fn stream_map(rungs: usize, audio: bool) -> String {
    let group = if audio { ",agroup:sound" } else { "" };
    let mut map: Vec<String> = (0..rungs)
        .map(|index| format!("v:{index}{group}"))
        .collect();
    if audio {
        map.push("a:0,agroup:sound".to_owned());
    }
    map.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_map_shares_the_sound() {
        assert_eq!(
            stream_map(2, true),
            "v:0,agroup:sound v:1,agroup:sound a:0,agroup:sound"
        );
        assert_eq!(stream_map(2, false), "v:0 v:1");
    }
}
