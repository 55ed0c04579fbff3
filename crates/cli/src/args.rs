//! What can be typed: the one definition behind parsing, help, completions and the manual page.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use rungs_engine::Terms;
use rungs_engine::choice::TrackChoice;
use rungs_engine::device::{DeviceName, Vendor};
use rungs_engine::host::Host;
use rungs_engine::inspect::Inspect;
use rungs_engine::ladder::{Rung, bits_a_second};
use rungs_engine::policy::{Policy, Wanted};
use rungs_engine::spec::{
    AudioChoice, Downmix, LOUDNESS, Quality, SERIAL_GOP_SECONDS, SERIAL_SECONDS, Seams, Sound, Spec,
};
use rungs_engine::window::{Cut, Moment};
use rungs_media::encode::{Codec, Rate};

use crate::picture::PictureArgs;

/// One video file in, every rung of an adaptive ladder out.
#[derive(Debug, Parser)]
#[command(
    name = "rungs",
    version,
    about,
    long_about = "Makes every rung of an adaptive ladder from one video file: decodes it once, cuts time into segments, and encodes \
                  the segments of all rungs side by side. The result is a CMAF package: HLS and DASH over the same files.",
    after_help = "Examples:\n  \
                  rungs package film.mp4 -o film/          the default ladder, AV1\n  \
                  rungs transcode film.mov -o film.mp4     one plain file\n  \
                  rungs probe film.mp4                     what is in the file\n  \
                  rungs resume film/                       go on with what was interrupted\n  \
                  rungs devices                            what can encode here\n\n\
                  Exit codes: 0 done, 1 the job failed, 2 wrong usage, 3 the input or the request was refused before work began, \
                  130 interrupted.",
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an adaptive package (HLS and DASH) from a video file
    Package(Box<PackageArgs>),
    /// Make plain MP4 files from a video file
    Transcode(Box<TranscodeArgs>),
    /// Make plain files of several videos, one after the other
    Join(Box<JoinArgs>),
    /// Go on with a package that an earlier run has not finished
    Resume(ResumeArgs),
    /// Check a package against its journal: every file, hash, duration and picture
    Verify(VerifyArgs),
    /// Show what is in a file
    Probe(ProbeArgs),
    /// Show what can decode and encode on this machine
    Devices(DevicesArgs),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Man,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    rungs package film.mp4 -o film/\n  \
    rungs package film.mp4 -o film/ --rung 1080p --rung 720p@crf=38 --rung 640x360\n  \
    rungs package film.mp4 -o film/ --quality high --speed slow\n  \
    rungs package film.mp4 -o film/ --progress json | your-program\n  \
    rungs package film.mp4 -o film/ --rung 240p --add\n\n\
    The package can be played while it is made: open OUT/master.m3u8 once it is there.\n\
    The same command again goes on with a run that was interrupted, and does nothing to a finished package.")]
pub(crate) struct PackageArgs {
    /// The video file
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,

    /// The folder to write to; it is made if it does not exist
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Write into a folder that is not empty; a package that is there is removed and made afresh
    #[arg(long)]
    pub(crate) force: bool,

    /// Add the rungs given to a finished package; its other files stay as they are, and so do its other settings
    #[arg(long, requires = "rungs", conflicts_with = "force")]
    pub(crate) add: bool,

    #[command(flatten)]
    pub(crate) making: MakingArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    rungs transcode film.mov -o film.mp4\n  \
    rungs transcode film.mov -o small.mp4 --rung 720p --quality high\n  \
    rungs transcode film.mov -o films/ --rung 1080p --rung 720p      films/film-1080p.mp4, films/film-720p.mp4\n\n\
    The same command again goes on with a run that was interrupted. Until the file is whole its parts lie in a hidden folder beside\n\
    it, .film.mp4.rungs: that takes as much room as the file, and the file as much again.")]
pub(crate) struct TranscodeArgs {
    /// The video file
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,

    /// The file to write: NAME.mp4, NAME.mkv or NAME.webm for one rung, the source's own size unless --rung says another; or a
    /// folder, where each rung becomes an MP4 file
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) plain: PlainArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    rungs join one.mp4 two.mov three.mkv -o all.mp4\n\n\
    Each picture and its sound begin where those before end. Sizes, frame rates and sounds may differ, and follow the first; shapes and \
    colours may not.")]
pub(crate) struct JoinArgs {
    /// The video files, in order
    #[arg(value_hint = ValueHint::FilePath, num_args = 2.., required = true)]
    pub(crate) inputs: Vec<PathBuf>,

    /// The file to write, or a folder: as for `rungs transcode`
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) plain: PlainArgs,
}

/// How plain files are made and put into place.
#[derive(Debug, Args)]
pub(crate) struct PlainArgs {
    /// Replace a file that is there, and the parts of another job in its hidden folder
    #[arg(long)]
    pub(crate) force: bool,

    /// Write the report of the job to a file, as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,

    /// What is done about the places where segments meet: parallel gives each a fresh encoder; constqp quantizes all pictures alike besides,
    /// so that quality is even; serial has one encoder for each ten minutes, and is slow
    #[arg(long, value_enum, default_value_t = SeamsArg::Parallel)]
    pub(crate) seams: SeamsArg,

    #[command(flatten)]
    pub(crate) making: MakingArgs,
}

impl PlainArgs {
    /// What was typed, as the engine understands it.
    pub(crate) fn spec(&self) -> Spec {
        let mut spec = self.making.spec();
        spec.seams = self.seams.into();
        if spec.seams == Seams::Serial {
            spec.segment_seconds = self.making.segment.unwrap_or(SERIAL_SECONDS);
            let gop = SERIAL_GOP_SECONDS.min(spec.segment_seconds);
            spec.gop_seconds = spec.gop_seconds.or(Some(gop));
        }
        spec
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SeamsArg {
    /// A fresh encoder for each segment
    Parallel,
    /// The same, with all pictures quantized alike
    Constqp,
    /// One encoder for each ten minutes
    Serial,
}

impl From<SeamsArg> for Seams {
    fn from(seams: SeamsArg) -> Self {
        match seams {
            SeamsArg::Parallel => Self::Parallel,
            SeamsArg::Constqp => Self::ConstQp,
            SeamsArg::Serial => Self::Serial,
        }
    }
}

/// What is made, and how: of a package and of plain files.
#[derive(Debug, Args)]
pub(crate) struct MakingArgs {
    /// One rung: 720p (short side), 1280x720 (fits inside) or source (its own size), with settings of its own after @:
    /// 720p@crf=34,speed=8,maxrate=2M. Repeat for each rung. Without it: the source's size, and 1440, 1080, 720, 480, 360 below it
    #[arg(long = "rung", value_name = "RUNG", help_heading = "Picture")]
    pub(crate) rungs: Vec<Rung>,

    /// The codec of the picture, or several with commas between them: each rung is made in each, and the first one stands first in the
    /// playlist [default: av1]
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "CODEC",
        help_heading = "Picture"
    )]
    pub(crate) codec: Vec<CodecArg>,

    /// The encoder by FFmpeg's name, such as libaom-av1 [default: the best that is there, see `rungs devices`]
    #[arg(long, value_name = "NAME", help_heading = "Picture")]
    pub(crate) encoder: Option<String>,

    /// How good the picture should be: a constant rate factor of 45, 35 or 26 with AV1, 29, 23 or 18 with H.264, 34, 28 or 22 with HEVC
    #[arg(long, value_enum, default_value_t = QualityArg::Standard, help_heading = "Picture")]
    pub(crate) quality: QualityArg,

    /// The constant rate factor itself, on the scale of the one codec: 0 (best) to 63 with AV1, to 51 with H.264 and HEVC
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=63), conflicts_with = "quality",
          help_heading = "Picture")]
    pub(crate) crf: Option<u8>,

    /// Most bits a second, held over two seconds: the picture gets worse where its quality would take more. 800k, 2.5M
    #[arg(long, value_name = "BITS", value_parser = bits_a_second, conflicts_with = "bitrate", help_heading = "Picture")]
    pub(crate) maxrate: Option<u64>,

    /// Bits a second on average, instead of a constant quality: 800k, 2.5M
    #[arg(long, value_name = "BITS", value_parser = bits_a_second, conflicts_with_all = ["crf", "quality"], help_heading = "Picture")]
    pub(crate) bitrate: Option<u64>,

    /// Encoder speed: slowest (2), slow (5), medium (8), fast (10), fastest (12), or a number from 0 to 13
    #[arg(
        long,
        value_name = "SPEED",
        default_value = "medium",
        help_heading = "Picture"
    )]
    pub(crate) speed: Speed,

    /// Seconds in a segment [default: 4]
    #[arg(
        long,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Picture"
    )]
    pub(crate) segment: Option<f64>,

    /// Most seconds between two keyframes; each segment starts with one [default: the segment]
    #[arg(
        long,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Picture"
    )]
    pub(crate) gop: Option<f64>,

    /// The sound: auto passes AAC and Opus through and makes Opus of anything else; AC-3 and E-AC-3 come out both ways [default: auto]
    #[arg(long, value_enum, help_heading = "Sound")]
    pub(crate) audio: Option<AudioArg>,

    /// Begin with the picture at this time of the source: seconds, or HH:MM:SS.mmm [default: its first]
    #[arg(long, value_name = "TIME")]
    pub(crate) start: Option<Moment>,

    /// End before the picture at this time of the source
    #[arg(long, value_name = "TIME")]
    pub(crate) end: Option<Moment>,

    #[command(flatten)]
    pub(crate) picture: PictureArgs,

    #[command(flatten)]
    pub(crate) sound: SoundArgs,

    /// Which tracks of subtitles to take, if they are text: all, first, none, or a list as with --audio-tracks [default: all]
    #[arg(long, value_name = "TRACKS", help_heading = "Subtitles")]
    pub(crate) subtitles: Option<TrackChoice>,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// Fail when the source is damaged or cut off, instead of packaging what can be decoded
    #[arg(long)]
    pub(crate) strict: bool,

    /// Decode every segment again and report its distance from the source (PSNR)
    #[arg(long)]
    pub(crate) measure: bool,

    /// Which segments to decode and compare with the source before they are published: sampled keeps the cost to a twentieth of the
    /// encoders' time
    #[arg(long, value_enum, default_value_t = InspectArg::Sampled)]
    pub(crate) inspect: InspectArg,

    /// How to show progress: auto draws bars on a terminal and is silent in pipes; json writes one event a line to stdout
    #[arg(long, value_enum, default_value_t = ProgressArg::Auto)]
    pub(crate) progress: ProgressArg,
}

/// More about the sound.
#[derive(Debug, Args)]
pub(crate) struct SoundArgs {
    /// Which tracks of sound to take: all, first, none, or a list of their numbers from 1 and languages, such as 1,3 or eng,deu. The first
    /// is the one that players play [default: all, the source's default first]
    #[arg(long, value_name = "TRACKS", help_heading = "Sound")]
    pub(crate) audio_tracks: Option<TrackChoice>,

    /// Mix the channels of tracks that have more than two [default: off]
    #[arg(long, value_enum, help_heading = "Sound")]
    pub(crate) downmix: Option<DownmixArg>,

    /// Bring each track to this loudness in LUFS, such as -16 (EBU R128); reads all sound once more before the job begins [default: off]
    #[arg(
        long,
        value_name = "LUFS",
        allow_hyphen_values = true,
        help_heading = "Sound"
    )]
    pub(crate) loudness: Option<Loudness>,
}

impl SoundArgs {
    fn spec(&self) -> Sound {
        Sound {
            tracks: self.audio_tracks.clone().unwrap_or_default(),
            downmix: self.downmix.map(Into::into).unwrap_or_default(),
            loudness: self.loudness.and_then(|loudness| loudness.0),
            dolby_alone: false,
        }
    }
}

/// What a run may use. None of it changes what is made.
#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Encoders open at once [default: one and a half for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Machine")]
    pub(crate) jobs: Option<u32>,

    /// Encode on this device: cpu, cpu=2 for two sessions of it, or cpu/libaom-av1 for one that encodes with another encoder. Repeat
    /// for each device [default: all, see `rungs devices`]
    #[arg(long = "device", value_name = "NAME[=N]", help_heading = "Machine")]
    pub(crate) devices: Vec<Wanted>,

    /// Encode on this vendor's devices, and the CPU
    #[arg(long, value_enum, help_heading = "Machine")]
    pub(crate) vendor: Option<VendorArg>,

    /// Do not encode on the CPU
    #[arg(long, help_heading = "Machine")]
    pub(crate) no_cpu: bool,

    /// Decode on this device [default: the best]
    #[arg(long, value_name = "NAME", help_heading = "Machine")]
    pub(crate) decode_on: Option<String>,

    /// Decoders that may read the source at once, each from a keyframe of its own, when the encoders starve [default: one for every
    /// eight cores, four at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Machine")]
    pub(crate) decoders: Option<u32>,

    /// Memory for pictures and encoders, in bytes or as 512M, 4G [default: half of what is available]
    #[arg(long, value_name = "BYTES", help_heading = "Machine")]
    pub(crate) memory: Option<Bytes>,

    /// Write what every session and pump did when, for Chrome's or Perfetto's trace viewer
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Machine")]
    pub(crate) trace: Option<PathBuf>,
}

impl MachineArgs {
    /// How the job uses them.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            decoders: self
                .decoders
                .unwrap_or_else(|| Host::detect().default_decoders()),
            ..Terms::default()
        }
    }

    /// Which devices are used.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            devices: self.devices.clone(),
            vendor: self.vendor.map(Into::into),
            cpu: !self.no_cpu,
            decode_on: self.decode_on.as_deref().map(DeviceName::new),
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Source, ladder and settings are those that the package was begun with; they are in OUT/.rungs/plan.json."
)]
pub(crate) struct ResumeArgs {
    /// The folder of the package
    #[arg(value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Where the source is now, if it was moved
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) source: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// How to show progress: auto draws bars on a terminal and is silent in pipes; json writes one event a line to stdout
    #[arg(long, value_enum, default_value_t = ProgressArg::Auto)]
    pub(crate) progress: ProgressArg,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Each finding is a line on standard output: the file, and what is wrong with it. Exit codes: 0 nothing is wrong, \
                  1 something is, 3 there is nothing that could be checked."
)]
pub(crate) struct VerifyArgs {
    /// The folder of the package
    #[arg(value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Do not decode the segments
    #[arg(long)]
    pub(crate) quick: bool,
}

impl MakingArgs {
    /// What was typed, as the engine understands it.
    pub(crate) fn spec(&self) -> Spec {
        Spec {
            rungs: self.rungs.clone(),
            segment_seconds: self.segment.unwrap_or(Spec::default().segment_seconds),
            gop_seconds: self.gop,
            quality: self.quality.into(),
            crf: self.crf,
            speed: self.speed.0,
            encoder: self.encoder.clone(),
            audio: self.audio.unwrap_or(AudioArg::Auto).into(),
            strict: self.strict,
            measure: self.measure,
            inspect: self.inspect.into(),
            cut: Cut {
                start: self.start.map(|moment| moment.0),
                end: self.end.map(|moment| moment.0),
            },
            picture: self.picture.spec(),
            sound: self.sound.spec(),
            codecs: if self.codec.is_empty() {
                Spec::default().codecs
            } else {
                self.codec.iter().copied().map(Into::into).collect()
            },
            joined: Vec::new(),
            subtitles: self.subtitles.clone().unwrap_or_default(),
            rate: match (self.bitrate, self.maxrate) {
                (Some(bits), _) => Rate::Average(bits),
                (None, Some(most)) => Rate::Capped(most),
                (None, None) => Rate::Quality,
            },
            seams: Seams::Parallel,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum VendorArg {
    /// NVIDIA
    Nvidia,
    /// Intel
    Intel,
    /// AMD
    Amd,
}

impl From<VendorArg> for Vendor {
    fn from(vendor: VendorArg) -> Self {
        match vendor {
            VendorArg::Nvidia => Self::Nvidia,
            VendorArg::Intel => Self::Intel,
            VendorArg::Amd => Self::Amd,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The file
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CodecArg {
    /// AV1
    Av1,
    /// H.264, which plays everywhere
    H264,
    /// HEVC
    Hevc,
}

impl From<CodecArg> for Codec {
    fn from(codec: CodecArg) -> Self {
        match codec {
            CodecArg::Av1 => Self::Av1,
            CodecArg::H264 => Self::H264,
            CodecArg::Hevc => Self::Hevc,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QualityArg {
    /// For a look at the result
    Draft,
    /// For watching
    Standard,
    /// Close to the source
    High,
}

impl From<QualityArg> for Quality {
    fn from(quality: QualityArg) -> Self {
        match quality {
            QualityArg::Draft => Self::Draft,
            QualityArg::Standard => Self::Standard,
            QualityArg::High => Self::High,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AudioArg {
    /// AAC and Opus pass through, anything else becomes Opus; AC-3 and E-AC-3 pass through besides
    Auto,
    /// Pass the track through, or refuse
    Copy,
    /// Make Opus
    Opus,
    /// Make AAC
    Aac,
    /// Leave the sound out
    None,
}

impl From<AudioArg> for AudioChoice {
    fn from(audio: AudioArg) -> Self {
        match audio {
            AudioArg::Auto => Self::Auto,
            AudioArg::Copy => Self::Copy,
            AudioArg::Opus => Self::Opus,
            AudioArg::Aac => Self::Aac,
            AudioArg::None => Self::None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DownmixArg {
    /// All channels stay
    Off,
    /// More than two channels become two
    Stereo,
}

impl From<DownmixArg> for Downmix {
    fn from(downmix: DownmixArg) -> Self {
        match downmix {
            DownmixArg::Off => Self::Off,
            DownmixArg::Stereo => Self::Stereo,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressArg {
    /// Bars on a terminal, nothing in pipes
    Auto,
    /// Bars
    Bars,
    /// One JSON event a line
    Json,
    /// Nothing
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectArg {
    /// The first of each rendition, what is suspect, and as many others as the cost allows
    Sampled,
    /// All
    All,
    /// None
    Off,
}

impl From<InspectArg> for Inspect {
    fn from(inspect: InspectArg) -> Self {
        match inspect {
            InspectArg::Sampled => Self::Sampled,
            InspectArg::All => Self::All,
            InspectArg::Off => Self::Off,
        }
    }
}

/// An encoder speed on SVT-AV1's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speed(pub(crate) u8);

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = match text {
            "slowest" => Some(2),
            "slow" => Some(5),
            "medium" => Some(8),
            "fast" => Some(10),
            "fastest" => Some(12),
            number => number.parse().ok().filter(|speed| *speed <= 13),
        };
        named.map(Self).ok_or_else(|| {
            "use slowest, slow, medium, fast, fastest, or a number from 0 to 13".to_owned()
        })
    }
}

/// A loudness in LUFS, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Loudness(pub(crate) Option<f64>);

impl FromStr for Loudness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let number = text
            .parse()
            .ok()
            .filter(|loudness| LOUDNESS.contains(loudness));
        number.map(|loudness| Self(Some(loudness))).ok_or_else(|| {
            format!(
                "use off, or LUFS from {} to {}",
                LOUDNESS.start(),
                LOUDNESS.end()
            )
        })
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            "use a number of bytes, or one with K, M, G or T (powers of 1024), such as 4G"
                .to_owned()
        };
        let trimmed = text.trim_end_matches(['B', 'b']).trim_end_matches('i');
        let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &trimmed[digits.len()..] {
            "" => 0,
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            "T" | "t" => 40,
            _ => return Err(bad()),
        };
        let number: u64 = digits.trim().parse().map_err(|_| bad())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_hold() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bytes_are_read() {
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        assert_eq!("512M".parse(), Ok(Bytes(512 << 20)));
        assert_eq!("4GiB".parse(), Ok(Bytes(4 << 30)));
        for bad in ["", "G", "-1", "1X", "99999999999T", "1.5G"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn speeds_are_read() {
        assert_eq!("fast".parse(), Ok(Speed(10)));
        assert_eq!("0".parse(), Ok(Speed(0)));
        assert!("14".parse::<Speed>().is_err());
    }

    #[test]
    fn what_was_typed_becomes_a_spec() {
        let typed = [
            "rungs",
            "package",
            "in.mp4",
            "-o",
            "out",
            "--rung",
            "720p@crf=40",
            "--quality",
            "high",
        ];
        let Command::Package(args) = Cli::parse_from(typed).command else {
            panic!("another command")
        };
        let spec = args.making.spec();
        assert_eq!((spec.crf_of(Codec::Av1), spec.speed), (26, 8));
        assert_eq!(spec.rungs[0].crf, Some(40));
        let defaults = Spec::default();
        assert_eq!(
            (spec.segment_seconds, spec.audio),
            (defaults.segment_seconds, defaults.audio)
        );
    }
}
