//! What is made, and how.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use rungs_engine::choice::TrackChoice;
use rungs_engine::inspect::Inspect;
use rungs_engine::ladder::{Rung, bits_a_second};
use rungs_engine::spec::{Quality, Seams, Spec};
use rungs_engine::stills::StillsSpec;
use rungs_engine::window::{Cut, Moment};
use rungs_media::encode::{Codec, Rate};

use crate::picture::PictureArgs;

use super::machine::{MachineArgs, ProgressArg};
use super::sound::{AudioArg, SoundArgs};

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

    /// Most bits a second, held over two seconds (by NVENC over its driver's own buffer): the picture gets worse where its quality would
    /// take more. 800k, 2.5M
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
            // Only a package has them.
            stills: StillsSpec::default(),
            single_file: false,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_read() {
        assert_eq!("fast".parse(), Ok(Speed(10)));
        assert_eq!("0".parse(), Ok(Speed(0)));
        assert!("14".parse::<Speed>().is_err());
    }
}
