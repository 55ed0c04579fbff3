//! The options about the sound, and what they ask of the engine.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use rungs_engine::choice::TrackChoice;
use rungs_engine::spec::{AudioChoice, Downmix, LOUDNESS, Sound};

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
    pub(super) fn spec(&self) -> Sound {
        Sound {
            tracks: self.audio_tracks.clone().unwrap_or_default(),
            downmix: self.downmix.map(Into::into).unwrap_or_default(),
            loudness: self.loudness.and_then(|loudness| loudness.0),
            for_files: false,
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
