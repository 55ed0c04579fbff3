//! Parameters in, a media file out: moving pictures and tones from FFmpeg's own generators, made once and kept.
//!
//! Every picture shows `testsrc2` above a strip of eight blocks: the frame's number in binary, lowest bit left. A
//! frame that is dropped, repeated, swapped or late by one differs from its neighbour in at least one block, and
//! the coloured bars above give away a shift of colour, so that PSNR sees all of it.
//!
//! Files lie in a folder of the build's target directory under a name made from the arguments and the version of
//! FFmpeg; they are written aside and put into place whole, so any number of test processes may ask for the same one at once.
//! Callers must not change them: copy first ([`truncate`] does).

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::tool;

/// Why a clip was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `ffmpeg` would not make it.
    #[error("the clip could not be generated")]
    Tool(#[from] tool::Error),
    /// The cache folder could not be written or the clip not be read.
    #[error("{path} could not be read or written")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The channels of a clip's sound; each channel has a tone of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audio {
    /// No sound.
    None,
    /// One channel.
    Mono,
    /// Left and right.
    Stereo,
    /// Six channels.
    Surround51,
    /// Eight channels.
    Surround71,
}

/// The tone of a channel in hertz, of which the fourth is for low frequencies alone where there are more than five.
#[must_use]
pub const fn tone(channel: u32, channels: u32) -> u32 {
    if channel == 3 && channels > 5 {
        60
    } else {
        330 + 110 * channel
    }
}

/// When a clip's frames are shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Timing {
    /// Every tick of the frame rate has a frame.
    Constant,
    /// Six of eleven ticks have a frame: the gaps are one, three or four ticks long.
    Variable,
    /// The picture at second `from` stays until second `until`.
    Held {
        /// The last moment with a new frame before the pause.
        from: f64,
        /// The first moment with a new frame after it.
        until: f64,
    },
    /// A new picture every so many ticks of the frame rate and nothing in between.
    Slides {
        /// Ticks from one picture to the next.
        every: u32,
    },
}

#[derive(Debug, Clone, Copy)]
enum Length {
    Seconds(f64),
    Frames(u32),
}

/// A clip to be made: 640×360, 24 fps, 4 s, H.264 in MP4, silent, unless told otherwise.
#[derive(Debug, Clone)]
pub struct Clip {
    size: (u32, u32),
    rate: String,
    timing: Timing,
    length: Length,
    audio: Audio,
    audio_codec: String,
    audio_offset: f64,
    audio_seconds: Option<f64>,
    gop: Option<u32>,
    b_frames: Option<u32>,
    open_gop: bool,
    rotate: u32,
    sar: Option<(u32, u32)>,
    codec: String,
    pixel_format: String,
    container: String,
    extra: Vec<String>,
    texts: Vec<Text>,
}

/// A track of subtitles.
#[derive(Debug, Clone)]
struct Text {
    codec: String,
    language: String,
    /// As a file of `SubRip`.
    content: String,
}

impl Default for Clip {
    fn default() -> Self {
        Self {
            size: (640, 360),
            rate: "24".to_owned(),
            timing: Timing::Constant,
            length: Length::Seconds(4.0),
            audio: Audio::None,
            audio_codec: "aac".to_owned(),
            audio_offset: 0.0,
            audio_seconds: None,
            gop: None,
            b_frames: None,
            open_gop: false,
            rotate: 0,
            sar: None,
            codec: "libx264".to_owned(),
            pixel_format: "yuv420p".to_owned(),
            container: "mp4".to_owned(),
            extra: Vec::new(),
            texts: Vec::new(),
        }
    }
}

impl Clip {
    /// Starts with the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the stored size in pixels, before any rotation.
    #[must_use]
    pub fn size(mut self, width: u32, height: u32) -> Self {
        self.size = (width, height);
        self
    }

    /// Sets the frame rate in FFmpeg's words: `24`, `30000/1001`.
    #[must_use]
    pub fn rate(mut self, rate: &str) -> Self {
        rate.clone_into(&mut self.rate);
        self
    }

    /// Sets when frames are shown; anything but a constant rate wants a container with timestamps of its own (`mkv`).
    #[must_use]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Gives frames uneven distances, in Matroska.
    #[must_use]
    pub fn vfr(self) -> Self {
        self.timing(Timing::Variable).container("mkv")
    }

    /// Sets the length in seconds of the generators' clock.
    #[must_use]
    pub fn seconds(mut self, seconds: f64) -> Self {
        self.length = Length::Seconds(seconds);
        self
    }

    /// Sets the length in video frames.
    #[must_use]
    pub fn frames(mut self, frames: u32) -> Self {
        self.length = Length::Frames(frames);
        self
    }

    /// Adds sound with as many channels.
    #[must_use]
    pub fn audio(mut self, audio: Audio) -> Self {
        self.audio = audio;
        self
    }

    /// Sets the sound's encoder by a short name (`aac`, `opus`, `flac`, `ac3`, `mp3`, `pcm`) or FFmpeg's own.
    #[must_use]
    pub fn audio_codec(mut self, codec: &str) -> Self {
        codec.clone_into(&mut self.audio_codec);
        self
    }

    /// Makes the sound start so many seconds after the picture.
    #[must_use]
    pub fn audio_offset(mut self, seconds: f64) -> Self {
        self.audio_offset = seconds;
        self
    }

    /// Makes the sound last so many seconds, whatever the length of the picture.
    #[must_use]
    pub fn audio_seconds(mut self, seconds: f64) -> Self {
        self.audio_seconds = Some(seconds);
        self
    }

    /// Sets the largest distance of keyframes in frames.
    #[must_use]
    pub fn gop(mut self, frames: u32) -> Self {
        self.gop = Some(frames);
        self
    }

    /// Sets the number of consecutive B-frames.
    #[must_use]
    pub fn b_frames(mut self, frames: u32) -> Self {
        self.b_frames = Some(frames);
        self
    }

    /// Lets frames before a keyframe in time refer to frames before it in the stream.
    #[must_use]
    pub fn open_gop(mut self) -> Self {
        self.open_gop = true;
        self
    }

    /// Adds a display matrix that turns the picture clockwise by so many degrees (a multiple of 90) when shown.
    #[must_use]
    pub fn rotate(mut self, degrees: u32) -> Self {
        self.rotate = degrees % 360;
        self
    }

    /// Sets the sample aspect ratio.
    #[must_use]
    pub fn sar(mut self, width: u32, height: u32) -> Self {
        self.sar = Some((width, height));
        self
    }

    /// Sets the video encoder by FFmpeg's name.
    #[must_use]
    pub fn codec(mut self, encoder: &str) -> Self {
        encoder.clone_into(&mut self.codec);
        self
    }

    /// Sets the pixel format by FFmpeg's name.
    #[must_use]
    pub fn pixel_format(mut self, format: &str) -> Self {
        format.clone_into(&mut self.pixel_format);
        self
    }

    /// Sets the container by its file extension.
    #[must_use]
    pub fn container(mut self, extension: &str) -> Self {
        extension.clone_into(&mut self.container);
        self
    }

    /// Tags the video with primaries, transfer and matrix by FFmpeg's names; the pixels stay as they are.
    #[must_use]
    pub fn color(self, primaries: &str, transfer: &str, matrix: &str) -> Self {
        self.extra(&[
            "-color_primaries",
            primaries,
            "-color_trc",
            transfer,
            "-colorspace",
            matrix,
        ])
    }

    /// Puts an MP4's index in front of its media.
    #[must_use]
    pub fn faststart(self) -> Self {
        self.extra(&["-movflags", "+faststart"])
    }

    /// Adds output options for `ffmpeg` as they are.
    #[must_use]
    pub fn extra(mut self, options: &[&str]) -> Self {
        self.extra
            .extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// Adds a track of subtitles by FFmpeg's encoder for them (`srt`, `ass`, `mov_text`, `webvtt`), in a language, from the text of a file
    /// of `SubRip`.
    #[must_use]
    pub fn subtitles(mut self, codec: &str, language: &str, content: &str) -> Self {
        self.texts.push(Text {
            codec: codec.to_owned(),
            language: language.to_owned(),
            content: content.to_owned(),
        });
        self
    }

    /// Returns the clip's path, and makes it first where no process has made it yet; blocks while `ffmpeg` runs.
    ///
    /// # Panics
    /// When the clip cannot be made: a test has nothing to go on with then. [`Clip::try_make`] returns the error.
    #[must_use]
    pub fn make(&self) -> PathBuf {
        self.try_make()
            .unwrap_or_else(|error| panic!("{}", crate::tool::chain(&error)))
    }

    /// Returns the clip's path, and makes it first where no process has made it yet; blocks while `ffmpeg` runs.
    pub fn try_make(&self) -> Result<PathBuf, Error> {
        let arguments = self.arguments();
        let key = format!(
            "{}\n{}\nrotate {}",
            tool::version(),
            arguments.join("\n"),
            self.rotate
        );
        cached("clip", (&key, &self.container), |path| {
            if self.rotate == 0 {
                tool::ffmpeg().args(&arguments).arg(path).run()?;
                return Ok(());
            }
            let straight = path.with_extension(format!("straight.{}", self.container));
            tool::ffmpeg().args(&arguments).arg(&straight).run()?;
            // Both spellings count degrees against the clock.
            let degrees = (360 - self.rotate).to_string();
            let run = if tool::major_version().is_none_or(|major| major >= 6) {
                tool::ffmpeg()
                    .args(["-display_rotation", &degrees, "-i"])
                    .arg(&straight)
                    .args(["-c", "copy"])
            } else {
                let tag = format!("rotate={degrees}");
                tool::ffmpeg().arg("-i").arg(&straight).args([
                    "-c",
                    "copy",
                    "-metadata:s:v:0",
                    &tag,
                ])
            };
            let turned = run.arg(path).run();
            remove(&straight)?;
            turned?;
            Ok(())
        })
    }

    /// Everything after `ffmpeg`'s global options and before the output's name.
    fn arguments(&self) -> Vec<String> {
        let mut list = words(&["-f", "lavfi", "-i", &self.picture()]);
        if self.audio != Audio::None {
            if self.audio_offset != 0.0 {
                list.extend(words(&["-itsoffset", &self.audio_offset.to_string()]));
            }
            list.extend(words(&["-f", "lavfi", "-i", &self.tones()]));
        }
        for text in &self.texts {
            let inline = format!("data:text/plain,{}", text.content);
            list.extend(words(&["-f", "srt", "-i", &inline]));
        }
        list.extend(words(&["-map", "0:v"]));
        list.extend(self.video_options());
        if self.audio != Audio::None {
            list.extend(words(&["-map", "1:a"]));
            list.extend(self.audio_options());
        }
        let first = 1 + usize::from(self.audio != Audio::None);
        for (place, text) in self.texts.iter().enumerate() {
            list.extend(words(&[
                "-map",
                &format!("{}:s", first + place),
                &format!("-c:s:{place}"),
                &text.codec,
                &format!("-metadata:s:s:{place}"),
                &format!("language={}", text.language),
            ]));
        }
        // Threads change the bytes of some encoders: one clip must be the same wherever it is made.
        list.extend(words(&[
            "-threads",
            "1",
            "-fflags",
            "+bitexact",
            "-flags:v",
            "+bitexact",
        ]));
        list.extend(self.extra.iter().cloned());
        list
    }

    fn picture(&self) -> String {
        let (width, height) = self.size;
        let rate = &self.rate;
        let strip = (height / 8).max(1);
        let blocks = "lum='if(mod(floor(N/pow(2,floor(X/8))),2),235,16)':cb=128:cr=128";
        let mut graph = format!(
            "testsrc2=size={width}x{height}:rate={rate}[bars];\
             nullsrc=size=64x8:rate={rate},geq={blocks},scale={width}:{strip}:flags=neighbor[count];\
             [bars][count]overlay=0:H-h:format=yuv444"
        );
        if let Some(choice) = self.choice() {
            let _ = write!(graph, ",select='{choice}'");
        }
        // A limit on the output's frames would end the sound with the picture.
        let _ = match self.length {
            Length::Seconds(seconds) => write!(graph, ",trim=end={seconds}"),
            Length::Frames(frames) => write!(graph, ",trim=end_frame={frames}"),
        };
        if let Some((width, height)) = self.sar {
            let _ = write!(graph, ",setsar={width}/{height}");
        }
        let _ = write!(graph, ",format={}", self.pixel_format);
        graph
    }

    fn choice(&self) -> Option<String> {
        match self.timing {
            Timing::Constant => None,
            Timing::Variable => Some("gt(mod(n*n,11),3)+not(n)".to_owned()),
            Timing::Held { from, until } => Some(format!("lte(t,{from})+gte(t,{until})")),
            Timing::Slides { every } => Some(format!("not(mod(n,{every}))")),
        }
    }

    fn tones(&self) -> String {
        let (count, layout) = match self.audio {
            Audio::None | Audio::Mono => (1_u32, "mono"),
            Audio::Stereo => (2, "stereo"),
            Audio::Surround51 => (6, "5.1"),
            Audio::Surround71 => (8, "7.1"),
        };
        let channels: Vec<_> = (0..count)
            .map(|n| format!("0.2*sin({}*PI*t)", 2 * tone(n, count)))
            .collect();
        let duration = match (self.audio_seconds, self.length) {
            (Some(seconds), _) | (None, Length::Seconds(seconds)) => seconds,
            (None, Length::Frames(frames)) => f64::from(frames) / rate_value(&self.rate),
        };
        format!(
            "aevalsrc='{}':channel_layout={layout}:sample_rate=48000:duration={duration}",
            channels.join("|")
        )
    }

    fn video_options(&self) -> Vec<String> {
        let mut list = words(&["-c:v", &self.codec, "-fps_mode", "passthrough"]);
        if let Some(frames) = self.gop {
            list.extend(words(&["-g", &frames.to_string()]));
        }
        if let Some(frames) = self.b_frames {
            list.extend(words(&["-bf", &frames.to_string()]));
        }
        let open = u8::from(self.open_gop);
        match self.codec.as_str() {
            "libx264" => list.extend(words(&["-preset", "veryfast", "-crf", "16"])),
            "libx265" => list.extend(words(&["-preset", "ultrafast", "-crf", "16"])),
            "libvpx" | "libvpx-vp9" => {
                list.extend(words(&[
                    "-deadline",
                    "realtime",
                    "-cpu-used",
                    "8",
                    "-crf",
                    "16",
                    "-b:v",
                    "4M",
                ]));
            }
            "libsvtav1" => list.extend(words(&["-preset", "12", "-crf", "30"])),
            "mpeg2video" | "mpeg4" | "mjpeg" => list.extend(words(&["-q:v", "3"])),
            _ => {}
        }
        match (self.codec.as_str(), self.open_gop) {
            ("libx264", _) => list.extend(words(&["-x264-params", &format!("open-gop={open}")])),
            ("libx265", _) => list.extend(words(&[
                "-x265-params",
                &format!("open-gop={open}:log-level=error"),
            ])),
            ("mpeg2video", false) => list.extend(words(&["-flags", "+cgop"])),
            _ => {}
        }
        list
    }

    fn audio_options(&self) -> Vec<String> {
        let codec = match self.audio_codec.as_str() {
            "opus" => "libopus",
            "pcm" => "pcm_s16le",
            "mp3" => "libmp3lame",
            other => other,
        };
        words(&["-c:a", codec])
    }
}

/// Returns a copy of a file that ends after so many percent of its bytes.
pub fn truncate(path: &Path, percent: u32) -> Result<PathBuf, Error> {
    let bytes = read(path)?;
    let keep = (bytes.len() as u64 * u64::from(percent.min(100)) / 100) as usize;
    let key = format!("{}\n{percent}\n{}", path.display(), bytes.len());
    cached("cut", (&key, extension(path)), |target| {
        write(target, &bytes[..keep])
    })
}

/// Returns several files of one kind one after the other in one file, as `cat` would: joined MPEG-TS has jumps in
/// time, and may change its picture size.
pub fn concatenate(paths: &[&Path]) -> Result<PathBuf, Error> {
    let mut bytes = Vec::new();
    let mut key = String::new();
    for path in paths {
        bytes.extend(read(path)?);
        let _ = writeln!(key, "{}", path.display());
    }
    let end = paths.first().map_or("bin", |path| extension(path));
    cached("joined", (&key, end), |target| write(target, &bytes))
}

/// Returns an audio file (M4A) whose only picture is its cover.
pub fn cover_art_only() -> Result<PathBuf, Error> {
    let arguments = words(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x320:rate=1:duration=1",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=2",
        "-map",
        "1:a",
        "-map",
        "0:v",
        "-frames:v",
        "1",
        "-c:v",
        "mjpeg",
        "-q:v",
        "3",
        "-c:a",
        "aac",
        "-disposition:v:0",
        "attached_pic",
    ]);
    from_arguments(&arguments, "m4a")
}

/// Returns a file (M4A) with two seconds of sound and no picture.
pub fn audio_only() -> Result<PathBuf, Error> {
    from_arguments(
        &words(&["-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac"]),
        "m4a",
    )
}

/// Returns a file of plain text that is called a film.
pub fn text() -> Result<PathBuf, Error> {
    fixed(
        "text",
        "mp4",
        b"This is a text, and whoever called it a film was wrong.\n"
            .repeat(40)
            .as_slice(),
    )
}

/// Returns a file without a byte in it.
pub fn empty() -> Result<PathBuf, Error> {
    fixed("empty", "mp4", b"")
}

/// Returns an MP4 that was cut before its index, so that nothing in it can be found.
pub fn moov_less() -> Result<PathBuf, Error> {
    truncate(&Clip::new().seconds(2.0).try_make()?, 60)
}

/// Returns a clip in which one picture stands for nine seconds between two moving stretches (Matroska).
pub fn slides() -> Result<PathBuf, Error> {
    Clip::new()
        .seconds(14.0)
        .timing(Timing::Held {
            from: 2.5,
            until: 11.5,
        })
        .container("mkv")
        .try_make()
}

/// Returns a small AVI of Motion JPEG whose headers and pictures claim 12000×12000 pixels.
///
/// The size is one that FFmpeg's own check lets through: each decoded frame would take over 200 MB.
pub fn huge_dimensions() -> Result<PathBuf, Error> {
    let honest = Clip::new()
        .size(64, 64)
        .seconds(1.0)
        .codec("mjpeg")
        .pixel_format("yuvj420p")
        .container("avi");
    let mut bytes = read(&honest.try_make()?)?;
    let side = 12_000_u16;
    for at in 0..bytes.len().saturating_sub(44) {
        let (little, big) = (u32::from(side).to_le_bytes(), side.to_be_bytes());
        match &bytes[at..at + 4] {
            // Four letters and a size, then eight (avih) or one (strf) little-endian words before width and height.
            b"avih" => bytes[at + 40..at + 48].copy_from_slice(&[little, little].concat()),
            b"strf" => bytes[at + 12..at + 20].copy_from_slice(&[little, little].concat()),
            // Baseline start of frame: marker, length, precision, height, width.
            [0xFF, 0xC0, 0, 17] => bytes[at + 5..at + 9].copy_from_slice(&[big, big].concat()),
            _ => {}
        }
    }
    fixed("huge", "avi", &bytes)
}

/// Returns the file that `ffmpeg` makes with these words, which stand before the name of its output; blocks while it runs.
pub fn of_words(words: &str, extension: &str) -> Result<PathBuf, Error> {
    let arguments: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
    from_arguments(&arguments, extension)
}

fn from_arguments(arguments: &[String], extension: &str) -> Result<PathBuf, Error> {
    let key = format!("{}\n{}", tool::version(), arguments.join("\n"));
    cached("clip", (&key, extension), |path| {
        tool::ffmpeg().args(arguments).arg(path).run()?;
        Ok(())
    })
}

fn fixed(name: &str, extension: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
    let key = format!("{:016x}", fingerprint(bytes));
    cached(name, (&key, extension), |path| write(path, bytes))
}

/// Returns `FOLDER/NAME-HASH.EXT`; where it is absent, `make` writes it aside and it is put into place, unless another process was sooner: a
/// clip that somebody reads already is never replaced.
fn cached(
    name: &str,
    (key, extension): (&str, &str),
    make: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let folder = folder();
    let path = folder.join(format!(
        "{name}-{:016x}.{extension}",
        fingerprint(key.as_bytes())
    ));
    if path.exists() {
        return Ok(path);
    }
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    fs::create_dir_all(&folder).map_err(fail(&folder))?;
    let aside = tempfile::Builder::new()
        .prefix("making-")
        .tempdir_in(&folder)
        .map_err(fail(&folder))?;
    let draft = aside.path().join(format!("draft.{extension}"));
    make(&draft)?;
    let placed =
        TempPath::try_from_path(&draft).and_then(|draft| Ok(draft.persist_noclobber(&path)?));
    match placed {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(fail(&path)(error)),
        _ => Ok(path),
    }
}

/// The folder for clips: in the target directory that the running program was built in, or the system's for
/// temporary files.
pub(crate) fn folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target
        .map_or_else(std::env::temp_dir, Path::to_owned)
        .join("rungs-clips")
}

/// FNV-1a, 64 bits: the same in every process and with every compiler.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

fn rate_value(rate: &str) -> f64 {
    let (numerator, denominator) = rate.split_once('/').unwrap_or((rate, "1"));
    match (numerator.parse::<f64>(), denominator.parse::<f64>()) {
        (Ok(numerator), Ok(denominator)) if numerator > 0.0 && denominator > 0.0 => {
            numerator / denominator
        }
        _ => 25.0,
    }
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or("bin")
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}

fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(path: &Path, kind: &str) -> serde_json::Value {
        let run = tool::ffprobe().args([
            "-of",
            "json",
            "-count_frames",
            "-show_streams",
            "-select_streams",
            kind,
        ]);
        run.arg(path).json().unwrap()["streams"][0].clone()
    }

    #[test]
    fn a_clip_is_what_was_asked_for_and_is_made_once() {
        if tool::require("ffmpeg").is_none() {
            return;
        }
        let clip = Clip::new()
            .size(320, 180)
            .rate("30000/1001")
            .frames(37)
            .audio(Audio::Surround51)
            .sar(4, 3);
        let path = clip.make();
        let video = stream(&path, "v");
        assert_eq!(
            (&video["width"], &video["height"]),
            (&320.into(), &180.into())
        );
        assert_eq!(
            (&video["nb_read_frames"], &video["avg_frame_rate"]),
            (&"37".into(), &"30000/1001".into())
        );
        assert_eq!(video["sample_aspect_ratio"], "4:3");
        assert_eq!(stream(&path, "a")["channels"], 6);
        let made = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(clip.make(), path);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), made);
    }

    #[test]
    fn a_turned_clip_is_shown_upright_by_a_player() {
        if tool::require("ffmpeg").is_none() {
            return;
        }
        // The strip of blocks is at the bottom: turned clockwise by 90 degrees it is on the left. Frame 255 has all
        // eight blocks lit, so the left edge is white from top to bottom.
        let path = Clip::new()
            .size(320, 160)
            .rate("128")
            .seconds(2.0)
            .rotate(90)
            .make();
        let run = tool::ffmpeg().arg("-i").arg(&path);
        let run = run.args([
            "-vf",
            "select=eq(n\\,255),crop=8:ih:4:0,scale=1:1,format=gray",
        ]);
        let pixel = run.args(["-f", "rawvideo", "pipe:1"]).run().unwrap().stdout;
        assert!(pixel[0] > 200, "{pixel:?}");
    }

    #[test]
    fn gaps_in_time_are_real() {
        if tool::require("ffmpeg").is_none() {
            return;
        }
        assert_eq!(
            stream(&Clip::new().vfr().seconds(2.0).make(), "v")["nb_read_frames"],
            "27"
        );
        let times = tool::ffprobe()
            .args(["-of", "csv=p=0", "-show_entries", "frame=pts_time"])
            .arg(slides().unwrap());
        let times = String::from_utf8(times.run().unwrap().stdout).unwrap();
        let times: Vec<f64> = times
            .lines()
            .filter_map(|line| line.trim_end_matches(',').parse().ok())
            .collect();
        let longest = times
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .fold(0.0, f64::max);
        assert!((8.9..9.1).contains(&longest), "{longest}");
    }

    #[test]
    fn broken_files_are_broken() {
        if tool::require("ffmpeg").is_none() {
            return;
        }
        for path in [moov_less().unwrap(), text().unwrap(), empty().unwrap()] {
            assert!(
                tool::ffprobe().arg("-i").arg(&path).run().is_err(),
                "{}",
                path.display()
            );
        }
        assert_eq!(
            stream(&cover_art_only().unwrap(), "v")["disposition"]["attached_pic"],
            1
        );
        assert!(stream(&audio_only().unwrap(), "v").is_null());
        let run = tool::ffprobe()
            .args(["-of", "json", "-show_streams"])
            .arg(huge_dimensions().unwrap());
        assert_eq!(run.json().unwrap()["streams"][0]["width"], 12_000);
        assert!(fs::metadata(huge_dimensions().unwrap()).unwrap().len() < 200_000);
    }

    #[test]
    fn many_processes_may_ask_at_once() {
        if tool::require("ffmpeg").is_none() {
            return;
        }
        let clip = Clip::new()
            .size(64, 64)
            .frames(3)
            .extra(&["-metadata", "title=asked for at once"]);
        let _ = fs::remove_file(clip.make());
        let paths: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| clip.make())).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(paths.iter().all(|path| path == &paths[0]));
        assert_eq!(stream(&paths[0], "v")["nb_read_frames"], "3");
    }
}
