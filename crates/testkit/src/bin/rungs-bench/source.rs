//! The clip under measurement: generated or given, what there is to know about it, and copies of it in a row.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::measure;

/// A clip, as far as the command lines depend on it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Width of the picture, in pixels.
    pub(crate) width: u32,
    /// Height of the picture, in pixels.
    pub(crate) height: u32,
    /// Frames a second, as numerator and denominator.
    pub(crate) rate: (u32, u32),
    /// Length of the file, in seconds.
    pub(crate) seconds: f64,
    /// Whether there is sound.
    pub(crate) has_audio: bool,
    audio_is_aac: bool,
}

impl Source {
    /// Asks `ffprobe` about the file.
    pub(crate) fn probe(path: PathBuf) -> Result<Self, Error> {
        let video = entries(&path, "v:0", "stream=width,height,r_frame_rate")?;
        let Some(line) = video.lines().next().filter(|line| !line.is_empty()) else {
            return Err(Error::NoVideo { path });
        };
        let parsed = parse_video(line).ok_or_else(|| Error::Answer {
            program: "ffprobe".to_owned(),
            said: line.to_owned(),
            wanted: "width,height,rate",
        })?;
        let duration = entries(&path, "v:0", "format=duration")?;
        let seconds = duration.trim().parse().map_err(|_| Error::Answer {
            program: "ffprobe".to_owned(),
            said: duration.clone(),
            wanted: "a duration in seconds",
        })?;
        let audio = entries(&path, "a:0", "stream=codec_name")?;
        let audio = audio.trim();
        let (width, height, rate) = parsed;
        Ok(Source {
            path,
            width,
            height,
            rate,
            seconds,
            has_audio: !audio.is_empty(),
            audio_is_aac: audio == "aac",
        })
    }

    /// Returns the number of frames in so many seconds, rounded to the nearest.
    pub(crate) fn frames_in(&self, seconds: u32) -> u32 {
        let (numerator, denominator) = self.rate;
        let frames = (u64::from(seconds) * u64::from(numerator) + u64::from(denominator) / 2)
            / u64::from(denominator);
        u32::try_from(frames).unwrap_or(u32::MAX)
    }

    /// Returns what `ffmpeg` is told after `-c:a`: AAC is copied, as rungs does; all else becomes AAC.
    pub(crate) fn audio_codec(&self) -> &'static [&'static str] {
        if self.audio_is_aac {
            &["copy"]
        } else {
            &["aac", "-b:a", "128k"]
        }
    }

    /// Reads the file once, so that each run finds it in the page cache.
    pub(crate) fn read_through(&self) -> Result<(), Error> {
        File::open(&self.path)
            .and_then(|mut file| io::copy(&mut file, &mut io::sink()))
            .map_err(|source| Error::File {
                path: self.path.clone(),
                source,
            })?;
        Ok(())
    }

    /// Writes the clip `times` times in a row, without a new encode, into `folder`.
    pub(crate) fn repeated(&self, folder: &Path, times: u32) -> Result<Self, Error> {
        let path = folder.join("repeated.mp4");
        let mut command = ffmpeg();
        command
            .args(["-stream_loop", &(times - 1).to_string(), "-i"])
            .arg(&self.path);
        command
            .args(["-map", "0:v:0", "-map", "0:a:0?", "-c", "copy"])
            .arg(&path);
        measure::ask(&mut command)?;
        Self::probe(path)
    }
}

/// Returns the folder for clips that are kept: the one that holds this program, in Cargo's target folder.
pub(crate) fn cache_folder() -> Result<PathBuf, Error> {
    let program = this_program()?;
    Ok(program.parent().unwrap_or(Path::new(".")).to_owned())
}

/// Returns the path of another program of the same build.
pub(crate) fn beside_this_program(name: &str) -> Result<PathBuf, Error> {
    Ok(this_program()?.with_file_name(name))
}

/// Makes a folder for one run's output, in Cargo's target folder: the disk that a user would write to, where
/// the system's temporary folder may be memory.
pub(crate) fn scratch() -> Result<tempfile::TempDir, Error> {
    let parent = cache_folder()?;
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&parent)
        .map_err(|source| Error::File {
            path: parent,
            source,
        })
}

/// Makes the default clip, or finds it made: a dive into the Mandelbrot set under film-like grain, with a test
/// card in a corner, 1920x1080 at 24 fps in H.264, and a stereo tone in AAC. A clip is found by the command that
/// made it, so that a change of the command makes a new one.
pub(crate) fn generate(folder: &Path, seconds: u32) -> Result<PathBuf, Error> {
    let mandelbrot = format!(
        "mandelbrot=size=960x540:rate=24:start_scale=2.5:end_scale=0.02:end_pts={}:maxiter=100:inner=mincol",
        seconds * 24
    );
    let mut command = ffmpeg();
    command.args(["-f", "lavfi", "-i", &mandelbrot]);
    command.args(["-f", "lavfi", "-i", "testsrc2=size=480x270:rate=24"]);
    command.args([
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=330:beep_factor=4:sample_rate=48000",
    ]);
    command.args([
        "-filter_complex",
        "[0:v]scale=1920:1080:flags=bicubic,gblur=sigma=2[zoom];[zoom][1:v]overlay=x=W-w-48:y=H-h-48,\
         format=yuv420p,noise=c0_strength=2:c0_flags=t:all_seed=7[v]",
    ]);
    command.args(["-map", "[v]", "-map", "2:a", "-t", &seconds.to_string()]);
    command.args([
        "-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-ac", "2", "-c:a", "aac", "-b:a",
        "128k",
    ]);
    let mut hasher = DefaultHasher::new();
    command
        .get_args()
        .for_each(|argument| argument.hash(&mut hasher));
    let clip = folder.join(format!("bench-clip-{:016x}.mp4", hasher.finish()));
    if clip.exists() {
        return Ok(clip);
    }
    let unfinished = clip.with_extension("part");
    command.args(["-f", "mp4"]).arg(&unfinished);
    measure::ask(&mut command)?;
    fs::rename(&unfinished, &clip).map_err(|source| Error::File {
        path: clip.clone(),
        source,
    })?;
    Ok(clip)
}

fn this_program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(|source| Error::File {
        path: PathBuf::from("rungs-bench"),
        source,
    })
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]);
    command
}

/// Returns what `ffprobe` prints for one stream, as comma-separated values.
fn entries(path: &Path, stream: &str, wanted: &str) -> Result<String, Error> {
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-select_streams",
        stream,
        "-show_entries",
        wanted,
        "-of",
        "csv=p=0",
    ]);
    Ok(measure::ask(command.arg(path))?.stdout)
}

/// Reads `1920,1080,24/1`.
fn parse_video(line: &str) -> Option<(u32, u32, (u32, u32))> {
    let mut fields = line.trim().split(',');
    let width = fields.next()?.parse().ok()?;
    let height = fields.next()?.parse().ok()?;
    let (numerator, denominator) = fields.next()?.split_once('/')?;
    let rate = (
        numerator.parse().ok()?,
        denominator.parse().ok().filter(|&number| number > 0)?,
    );
    Some((width, height, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ffprobe_says_of_a_video_track() {
        assert_eq!(parse_video("1920,1080,24/1"), Some((1920, 1080, (24, 1))));
        assert_eq!(
            parse_video("640,272,30000/1001,"),
            Some((640, 272, (30000, 1001)))
        );
        assert_eq!(parse_video("640,272,0/0"), None);
        assert_eq!(parse_video("N/A"), None);
    }

    #[test]
    fn a_gop_is_the_nearest_number_of_frames() {
        let mut source = Source {
            path: PathBuf::new(),
            width: 1920,
            height: 1080,
            rate: (24, 1),
            seconds: 1.0,
            has_audio: false,
            audio_is_aac: false,
        };
        assert_eq!(source.frames_in(4), 96);
        source.rate = (30000, 1001);
        assert_eq!(source.frames_in(4), 120);
    }
}
