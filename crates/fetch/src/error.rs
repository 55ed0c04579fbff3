//! Why a source cannot be fetched.

use std::io;
use std::time::Duration;

use rungs_media::{Changed, TooLarge};
use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::address::{Address, AddressError};
use crate::later::asked_wait;

/// Why a source on a server cannot be opened, or read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The text is no address.
    #[error("this is no address of the form http://host/path or https://host/path")]
    Address(#[source] AddressError),
    /// The server sends whoever asks elsewhere.
    #[error("the server leads to another place, {target}")]
    Redirect {
        /// Where.
        target: Box<Address>,
    },
    /// The server sends whoever asks to what is not fetched.
    #[error(
        "the server leads to an address of the scheme {scheme}, and only http and https are read"
    )]
    OtherScheme {
        /// The scheme.
        scheme: String,
    },
    /// The server sends whoever asks to what is no address.
    #[error("the server leads to what is no address")]
    Location(#[source] AddressError),
    /// The server leads from one place to the next.
    #[error("the server leads from one place to the next, more than {0} times")]
    Redirects(u32),
    /// The server refuses.
    #[error("the server answers {status}{}", asks(*wait))]
    Status {
        /// What it answers.
        status: StatusCode,
        /// How long it asks to be left alone.
        wait: Option<Duration>,
    },
    /// The answer is no answer to what was asked for.
    #[error("the server's answer makes no sense: {0}")]
    Answer(&'static str),
    /// The connection failed, or was closed too soon.
    #[error("the connection to the server failed")]
    Connection(#[source] Box<ureq::Error>),
    /// The answer ended too soon.
    #[error("the connection to the server was lost in the middle")]
    Lost(#[source] io::Error),
    /// The server has not answered in time.
    #[error("the server has not finished its answer within {} s", within.as_secs_f64())]
    NoAnswer {
        /// The time that there was.
        within: Duration,
    },
    /// The server keeps sending, and far too slowly.
    #[error("the server sends too slowly: {bytes} bytes of {wanted} in {} s", within.as_secs_f64())]
    Trickle {
        /// Bytes that came.
        bytes: u64,
        /// Bytes that were asked for.
        wanted: u64,
        /// The time that there was.
        within: Duration,
    },
    /// It takes too long.
    #[error("the server gave {bytes} bytes of {wanted} in {} s", within.as_secs_f64())]
    Slow {
        /// Bytes that came.
        bytes: u64,
        /// Bytes that were asked for.
        wanted: u64,
        /// The time that there was.
        within: Duration,
        /// The last thing that went wrong.
        source: Box<FetchError>,
    },
    /// It is another source than it was.
    #[error(transparent)]
    Changed(#[from] Changed),
    /// The source is larger than what is kept of one.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// What was read cannot be kept.
    #[error("what was read cannot be kept on the output's disk")]
    Kept(#[source] io::Error),
    /// The system's list of certificates cannot be used.
    #[error("the system has no certificates by which to know a server")]
    Certificates,
    /// The proxy is none that is spoken to.
    #[error("the environment names a SOCKS proxy, which is not spoken to here")]
    Proxy,
    /// No thread can be had.
    #[error("no thread can be had")]
    Thread(#[source] io::Error),
    /// Whoever waits was told to stop.
    #[error("the transfer was ended")]
    Closed,
}

fn asks(wait: Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| {
        format!(" and asks to wait {} s", wait.as_secs())
    })
}

impl FetchError {
    /// What an answer says that brings nothing.
    pub(crate) fn status(response: &Response<Body>) -> Self {
        Self::Status {
            status: response.status(),
            wait: asked_wait(response),
        }
    }

    /// Whether nobody listens there, which at the beginning means that the address is wrong.
    pub(crate) fn is_refusal(&self) -> bool {
        let Self::Connection(error) = self else {
            return false;
        };
        matches!(&**error, ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether it is the time that was over, and nothing else.
    pub(crate) fn is_late(&self) -> bool {
        match self {
            Self::Lost(error) => error.kind() == io::ErrorKind::TimedOut,
            Self::Connection(error) => matches!(**error, ureq::Error::Timeout(_)),
            _ => false,
        }
    }

    /// Whether another try may do better.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=504)
            }
            Self::Lost(_) => true,
            Self::Connection(error) => matches!(
                **error,
                ureq::Error::Io(_)
                    | ureq::Error::Timeout(_)
                    | ureq::Error::ConnectionFailed
                    | ureq::Error::Protocol(_)
            ),
            _ => false,
        }
    }
}

impl From<ureq::Error> for FetchError {
    fn from(error: ureq::Error) -> Self {
        Self::Connection(Box::new(error))
    }
}

impl From<FetchError> for io::Error {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Changed(changed) => changed.into(),
            FetchError::TooLarge(large) => large.into(),
            FetchError::Kept(ref inner) => Self::new(inner.kind(), error),
            error => Self::other(error),
        }
    }
}
