//! The options about where the source is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueHint};
use rungs_engine::journal::SourceRecord;
use rungs_engine::picture::FrameRate;
use rungs_fetch::Address;

use super::machine::Bytes;

/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Where the source is.
#[derive(Clone, Debug, Args)]
pub(crate) struct InputArgs {
    /// The video file, an address that begins with http:// or https://, or - for standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,

    /// The file is still being written: read what is added, until nothing was added for so many seconds [default: 10]
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "10",
        help_heading = "Input"
    )]
    pub(crate) follow: Option<Quiet>,

    /// The input is a folder of images, or a name such as frames/%05d.png, to be shown at so many a second: 25, 29.97, 24000/1001
    #[arg(
        long,
        value_name = "RATE",
        conflicts_with = "follow",
        help_heading = "Input"
    )]
    pub(crate) images: Option<FrameRate>,

    /// The most that is kept of a source that comes once (standard input, a server without ranges), or read of one that is followed, in
    /// bytes or as 512M, 4G [default: nine tenths of what is free on the output's disk]
    #[arg(long, value_name = "BYTES", help_heading = "Input")]
    pub(crate) max_source: Option<Bytes>,
}

/// How long a file that is followed may be quiet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quiet(pub(crate) Duration);

impl FromStr for Quiet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = text.parse().ok();
        let seconds = seconds.filter(|seconds: &f64| (0.1..=86_400.0).contains(seconds));
        let seconds = seconds.ok_or("give seconds, 0.1 to 86400")?;
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

impl InputArgs {
    /// A file without options.
    pub(crate) fn file(input: PathBuf) -> Self {
        Self {
            input,
            follow: None,
            images: None,
            max_source: None,
        }
    }

    /// The source of a record, or where it is now.
    pub(crate) fn recorded(then: &SourceRecord, now: Option<PathBuf>) -> Self {
        let images = then.images.and_then(|picture| {
            let text = format!("{}/{}", picture.den(), picture.num());
            text.parse().ok()
        });
        Self {
            images,
            ..Self::file(now.unwrap_or_else(|| PathBuf::from(&then.path)))
        }
    }

    /// Whether it is standard input, which cannot be read again.
    pub(crate) fn comes_once(&self) -> bool {
        self.input.as_os_str() == STANDARD_INPUT
    }

    /// Whether it is the name of a file.
    pub(crate) fn is_file(&self) -> bool {
        !self.comes_once() && self.address().is_none() && self.images.is_none()
    }

    /// The text of an address.
    pub(crate) fn address(&self) -> Option<&str> {
        let text = self.input.to_str();
        text.filter(|text| Address::is_one(text))
    }

    /// What files are called that are made of it.
    pub(crate) fn stem(&self) -> String {
        if self.comes_once() {
            return "stdin".to_owned();
        }
        if let Some(address) = self.address() {
            let parsed = Address::parse(address);
            let stem = parsed.map_or_else(|_| String::new(), |address| address.stem());
            return if stem.is_empty() {
                "film".to_owned()
            } else {
                stem
            };
        }
        let stem = self.input.file_stem().unwrap_or_default();
        let stem = stem.to_string_lossy().into_owned();
        if self.images.is_some() && stem.contains('%') {
            // That of the folder that the images lie in.
            let folder = self.input.parent().and_then(Path::file_name);
            return folder
                .map_or("images".into(), OsStr::to_string_lossy)
                .into_owned();
        }
        stem
    }
}
