//! The options about thumbnails and the poster, and what they ask of the engine.

use std::str::FromStr;

use clap::Args;
use rungs_engine::stills::{Every, PosterTime, StillsSpec};
use rungs_engine::window::{Moment, MomentError};

/// The word that an option without a value stands for.
const AUTO: &str = "auto";

/// Which images a package has besides.
#[derive(Debug, Args)]
pub(crate) struct StillsArgs {
    /// Make thumbnails for scrubbing, on tiles of 25: one every SECONDS [default of SECONDS: the segment, or more in a long film]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = AUTO, help_heading = "Images")]
    pub(crate) storyboard: Option<EveryArg>,

    /// Make poster.jpg of the picture at TIME of the result, seconds or HH:MM:SS.mmm [default of TIME: one that is not black]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = AUTO, help_heading = "Images")]
    pub(crate) poster: Option<PosterArg>,
}

impl StillsArgs {
    /// What was typed, as the engine understands it.
    pub(crate) fn spec(&self) -> StillsSpec {
        StillsSpec {
            storyboard: self.storyboard.map(|every| every.0),
            poster: self.poster.map(|time| time.0),
        }
    }
}

/// A value of `--storyboard`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EveryArg(Every);

impl FromStr for EveryArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == AUTO {
            return Ok(Self(Every::Auto));
        }
        let seconds = text
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite());
        let seconds =
            seconds.ok_or_else(|| "use a number of seconds, such as 10 or 2.5".to_owned())?;
        Ok(Self(Every::Seconds(seconds)))
    }
}

/// A value of `--poster`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PosterArg(PosterTime);

impl FromStr for PosterArg {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        if text == AUTO {
            return Ok(Self(PosterTime::Auto));
        }
        let Moment(seconds) = text.parse()?;
        Ok(Self(PosterTime::At(seconds)))
    }
}
