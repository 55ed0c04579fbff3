//! What was typed as the input, opened: a file, a file that still grows, an address, or standard input.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rungs_engine::Cancel;
use rungs_engine::picture::FrameRate;
use rungs_fetch::{
    Address, AddressError, FetchError, Fetched, FollowError, Followed, Keep, Patience, Piped,
};
use rungs_media::images::{Images, ImagesError};
use rungs_media::time::TimeBase;
use rungs_media::{Source, Supply};

use crate::args::{InputArgs, Quiet};
use crate::failure::Problem;

/// What messages call what stands behind `-`.
pub(crate) const STANDARD_INPUT: &str = "standard input";

/// What to do about a source that is larger than what is kept of it.
const TOO_LARGE: &str =
    "allow more with --max-source BYTES, or save the source as a file: a file is not copied";

/// The same as the system names it.
const STANDARD_INPUTS: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

const ONE_SECOND: TimeBase = TimeBase::new(1, 1).expect("both are above zero");

/// An input that is open. What reads ahead of the readers ends with it.
pub(crate) struct Input {
    name: PathBuf,
    source: Source,
}

impl Input {
    /// Opens what was typed. What has to be kept of it lies on the disk of the folder `near`.
    pub(crate) fn open(
        from: &InputArgs,
        (near, cancel): (&Path, &Cancel),
    ) -> Result<Self, Problem> {
        if from.follow.is_some() && !from.is_file() {
            return Err(Problem::refused(
                "only a file can be followed",
                "leave --follow out: anything else is read until it ends",
            ));
        }
        if let Some(rate) = from.images {
            return Self::images(&from.input, rate);
        }
        let most = from.max_source.map(|bytes| bytes.0);
        let keep = Keep { folder: near, most };
        if from.comes_once() {
            return Self::standard(keep);
        }
        if let Some(address) = from.address() {
            return Self::fetched(address, (keep, cancel));
        }
        let path = from.input.as_path();
        check(path)?;
        let source = match from.follow {
            None => Source::from(path),
            Some(quiet) => follow(path, quiet, most)?,
        };
        Ok(Self {
            name: path.to_owned(),
            source,
        })
    }

    fn standard(keep: Keep<'_>) -> Result<Self, Problem> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(Problem::refused(
                "standard input is a terminal",
                "pipe a video into it, or give a file",
            ));
        }
        let pipe = stdin.as_fd().try_clone_to_owned();
        let piped = pipe
            .map_err(FetchError::Kept)
            .and_then(|pipe| Piped::start(pipe, STANDARD_INPUT, keep));
        let piped = piped.map_err(|error| no_source(&error).about(Path::new(STANDARD_INPUT)))?;
        Ok(Self {
            name: STANDARD_INPUT.into(),
            source: supplied(piped),
        })
    }

    fn images(path: &Path, rate: FrameRate) -> Result<Self, Problem> {
        let rate = rate.get();
        let part = |number: i32| u32::try_from(number).unwrap_or(0);
        // A rate is above zero.
        let picture = TimeBase::new(part(rate.den), part(rate.num)).unwrap_or(ONE_SECOND);
        let images = Images::find(path, picture).map_err(|error| {
            let advice = match error {
                ImagesError::Mixed { .. } => "give a name with %d in it, such as frames/%05d.png",
                _ => "give a folder of images, or a name such as frames/%05d.png",
            };
            Problem::refused(error.to_string(), advice).because_of(&error)
        })?;
        Ok(Self {
            name: path.to_owned(),
            source: Source::Images(Arc::new(images)),
        })
    }

    fn fetched(address: &str, (keep, cancel): (Keep<'_>, &Cancel)) -> Result<Self, Problem> {
        let parsed = Address::parse(address).map_err(|error| no_source(&error))?;
        let name = PathBuf::from(parsed.to_string());
        let fetched = Fetched::open(&parsed, Patience::default(), (keep, cancel.media()));
        let fetched = fetched.map_err(|error| no_source(&error).about(&name))?;
        Ok(Self {
            name,
            source: supplied(fetched),
        })
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }
}

/// Says why a server gives no source.
fn no_source(error: &FetchError) -> Problem {
    let advice = match error {
        FetchError::Closed => return rungs_engine::Error::Interrupted.into(),
        FetchError::Redirect { target } => {
            format!(
                "give that address yourself if you trust it: {}",
                target.to_type()
            )
        }
        FetchError::OtherScheme { .. } | FetchError::Location(_) => {
            "find out where the video lies, and give that address".to_owned()
        }
        FetchError::Address(AddressError::Port) => {
            "give a port from 1 to 65535, or leave it out with its colon".to_owned()
        }
        FetchError::TooLarge(_) => TOO_LARGE.to_owned(),
        FetchError::Thread(_) => {
            "end other programs of yours, or raise the limit of processes (ulimit -u)".to_owned()
        }
        FetchError::Status { status, .. } if matches!(status.as_u16(), 401 | 403) => {
            "give a name and a password in the address: https://NAME:PASSWORD@HOST/PATH".to_owned()
        }
        FetchError::Status { wait: Some(_), .. } => {
            "wait as long, and run the same command again".to_owned()
        }
        FetchError::Kept(_) => "give an output on a disk that can be written".to_owned(),
        FetchError::Proxy => {
            "unset ALL_PROXY and name an http:// proxy in HTTPS_PROXY, or the host in NO_PROXY"
                .to_owned()
        }
        FetchError::Certificates => "install them (Debian: ca-certificates)".to_owned(),
        _ => "check the address, and that it can be reached from here".to_owned(),
    };
    Problem::refused(error.to_string(), advice).because_of(error)
}

fn supplied(supply: impl Supply + 'static) -> Source {
    Source::Supply(Arc::new(supply))
}

/// Refuses what can be opened by its name and not be read twice.
fn check(path: &Path) -> Result<(), Problem> {
    // What cannot be looked at has its own message when it is opened.
    let Ok(found) = fs::metadata(path) else {
        return other_scheme(path);
    };
    let kind = found.file_type();
    if kind.is_fifo() || kind.is_char_device() || kind.is_socket() {
        let name = path.display();
        let advice = if STANDARD_INPUTS.iter().any(|own| path == Path::new(own)) {
            "give - as the input".to_owned()
        } else {
            format!("give - as the input, and < {name} at the end")
        };
        return Err(Problem::refused(
            format!("{name} is no file but something that can be read only once"),
            advice,
        ));
    }
    Ok(())
}

/// Refuses an address of another scheme, which is no name of a file either. It may hold a password and is not repeated.
fn other_scheme(path: &Path) -> Result<(), Problem> {
    let text = path.to_string_lossy();
    let is_scheme = |text: &str| {
        let letter = text.starts_with(|first: char| first.is_ascii_alphabetic());
        letter && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    match text.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => Err(Problem::refused(
            format!("{scheme} is no scheme of addresses that are read"),
            "give an address that begins with http:// or https://, or pipe it in and give -",
        )),
        _ => Ok(()),
    }
}

fn follow(path: &Path, quiet: Quiet, most: Option<u64>) -> Result<Source, Problem> {
    let followed = Followed::start(path, quiet.0, most).map_err(|error| {
        let advice = match error {
            FollowError::TooLarge(_) => "allow more with --max-source BYTES",
            FollowError::Unsupported => "pipe it in: tail -c +1 -f FILE | rungs package - -o OUT",
            _ => "check the path and that you may read it",
        };
        Problem::refused(error.to_string(), advice)
            .because_of(&error)
            .about(path)
    })?;
    Ok(supplied(followed))
}
