//! What can go wrong, with FFmpeg's own word for it kept as the source.

use std::io;

use crate::ffi;
use crate::source::{Changed, TooLarge};

/// An error code of FFmpeg with its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} (FFmpeg error {code})")]
pub struct AvError {
    /// The negative code that FFmpeg returned.
    pub code: i32,
    /// FFmpeg's description of the code.
    pub text: String,
}

impl AvError {
    pub(crate) fn new(code: i32) -> Self {
        Self {
            code,
            text: ffi::describe(code),
        }
    }

    pub(crate) fn no_memory() -> Self {
        Self::new(ffi::NO_MEMORY)
    }

    /// For a codec that takes nothing and gives nothing.
    pub(crate) fn stalled() -> Self {
        Self {
            code: ffi::TIMED_OUT,
            text: "it takes nothing and gives nothing".to_owned(),
        }
    }

    fn is_stalled(&self) -> bool {
        *self == Self::stalled()
    }

    pub(crate) fn invalid() -> Self {
        Self::new(ffi::INVALID)
    }

    /// What FFmpeg returns for damaged data.
    pub(crate) fn damage() -> Self {
        Self::new(ffi::INVALID_DATA)
    }

    /// Whether FFmpeg ran out of memory, or of what its encoder counts as such (sessions of a device).
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.code == ffi::NO_MEMORY
    }

    /// Whether the system has given something no thread, where a codec was to be opened.
    fn is_again(&self) -> bool {
        self.code == ffi::AGAIN
    }

    /// Whether FFmpeg found the data damaged.
    pub(crate) fn is_damage(&self) -> bool {
        self.code == ffi::INVALID_DATA
    }
}

/// What a device other than the CPU cannot do, or has failed at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device} cannot {operation}{said}")]
pub struct DeviceError {
    /// The device, such as `cuda:0`.
    pub device: String,
    /// What it was to do.
    pub operation: String,
    /// What FFmpeg or the driver said of it, in brackets after a space; empty if nothing.
    pub said: String,
    /// FFmpeg's reason.
    pub source: AvError,
}

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The container was recognised, but its head cannot be read.
    #[error("cannot open the {format} container")]
    Open {
        /// FFmpeg's name of the container.
        format: String,
        /// FFmpeg's reason.
        source: AvError,
    },
    /// The file has more streams than the limit allows.
    #[error("the {format} container has more than {limit} streams")]
    TooManyStreams {
        /// FFmpeg's name of the container.
        format: String,
        /// The limit.
        limit: u32,
    },
    /// The bytes are not a media container that is known and allowed here. Playlists and other text that names
    /// further files are never allowed.
    #[error("not a media file of a known format{}", .format.as_deref().map(|name| format!(" (it looks like {name})")).unwrap_or_default())]
    UnknownFormat {
        /// What FFmpeg takes the bytes for, when that is a format which is not allowed.
        format: Option<String>,
    },
    /// The file has no such stream, or the stream is of another kind.
    #[error("there is no {kind} stream {index}")]
    NoStream {
        /// The kind that was asked for.
        kind: &'static str,
        /// The index that was asked for.
        index: usize,
    },
    /// This FFmpeg has nothing that handles the codec, encoder or filter.
    #[error("this FFmpeg has no {what}")]
    Unsupported {
        /// What is missing, such as `decoder for vvc` or `encoder libsvtav1`.
        what: String,
    },
    /// A container cannot be written, or cannot hold what it is given.
    #[error("cannot write a {container} file")]
    Mux {
        /// FFmpeg's name of the container.
        container: String,
        /// FFmpeg's reason.
        source: AvError,
    },
    /// A packet cannot be read.
    #[error("cannot read the next packet")]
    Read(#[source] AvError),
    /// The reading position cannot be moved.
    #[error("cannot seek to {timestamp} in stream {stream}")]
    Seek {
        /// The stream's index.
        stream: usize,
        /// The timestamp asked for, in the stream's time base.
        timestamp: i64,
        /// FFmpeg's reason.
        source: AvError,
    },
    /// The data of a packet is damaged; the decoder can be fed on.
    #[error("{codec} cannot decode the data")]
    Decode {
        /// The decoder's name.
        codec: String,
        /// FFmpeg's reason.
        source: AvError,
    },
    /// A filter or scaler cannot be built, or refuses a frame.
    #[error("cannot {operation}")]
    Filter {
        /// What was to be done, such as `rotate and convert 1920x1080 nv12`.
        operation: String,
        /// FFmpeg's reason.
        source: AvError,
    },
    /// An encoder or decoder cannot be opened with its settings.
    #[error("cannot open {codec}")]
    OpenCodec {
        /// The encoder's or decoder's name.
        codec: String,
        /// FFmpeg's reason.
        source: AvError,
    },
    /// An encoder failed in its work.
    #[error("{codec} cannot encode")]
    Encode {
        /// The encoder's name.
        codec: String,
        /// FFmpeg's reason.
        source: AvError,
    },
    /// A device other than the CPU cannot do something, or has failed at it.
    #[error(transparent)]
    Device(Box<DeviceError>),
    /// Memory, threads, or sessions of a device, ran out: not a fault of the data, and worth another try with less at once.
    #[error("out of memory, of threads or of sessions: cannot {operation}")]
    Capacity {
        /// What was to be done.
        operation: String,
        /// FFmpeg's reason.
        source: AvError,
    },
    /// An encoder or decoder has stood still.
    #[error("{codec} takes nothing and gives nothing for too long")]
    Stalled {
        /// FFmpeg's name of it.
        codec: String,
    },
    /// An encoder, decoder or filter does not know the option.
    #[error("{what} has no option {name}")]
    Option {
        /// Whose option it should have been.
        what: String,
        /// The option's name.
        name: String,
    },
    /// A frame or packet does not suit the place that it was given to.
    #[error("{what} was given {given}, but takes {takes}")]
    Mismatch {
        /// Who was given it.
        what: String,
        /// What it was given.
        given: String,
        /// What it takes.
        takes: String,
    },
    /// The picture has more pixels than the limit allows.
    #[error("a picture of {width}x{height} is larger than the limit")]
    TooLarge {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// The cancel token was set.
    #[error("cancelled")]
    Cancelled,
    /// The source is not any more what it was when it was opened.
    #[error("the source was changed while it was read")]
    Changed(#[source] Changed),
    /// A source that comes once is larger than what is kept of it.
    #[error(transparent)]
    SourceLimit(TooLarge),
    /// The source cannot be opened or read.
    #[error("cannot read the source")]
    Io(#[source] io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(changed) = inner.and_then(|inner| inner.downcast_ref::<Changed>()) {
            return Self::Changed(changed.clone());
        }
        match inner.and_then(|inner| inner.downcast_ref::<TooLarge>()) {
            Some(large) => Self::SourceLimit(large.clone()),
            None => Self::Io(error),
        }
    }
}

impl Error {
    /// That data of a codec is damaged, as somebody other than its decoder has found.
    #[must_use]
    pub fn damaged(codec: &str) -> Self {
        Self::decode(codec)(AvError::damage())
    }

    /// Whether the data is damaged and the caller may survive by feeding on.
    #[must_use]
    pub fn is_decode(&self) -> bool {
        matches!(self, Self::Decode { .. })
    }

    /// Whether memory or sessions ran out.
    #[must_use]
    pub fn is_capacity(&self) -> bool {
        matches!(self, Self::Capacity { .. })
    }

    /// Whether a device refused or failed, rather than the data or the settings.
    #[must_use]
    pub fn is_device(&self) -> bool {
        matches!(self, Self::Device { .. })
    }

    pub(crate) fn filter(operation: impl Into<String>) -> impl FnOnce(AvError) -> Self {
        let operation = operation.into();
        move |source| {
            if source.is_out_of_memory() {
                Self::Capacity { operation, source }
            } else {
                Self::Filter { operation, source }
            }
        }
    }

    pub(crate) fn decode(codec: &str) -> impl FnOnce(AvError) -> Self {
        let codec = codec.to_owned();
        move |source| {
            if source.is_out_of_memory() {
                Self::Capacity {
                    operation: format!("decode with {codec}"),
                    source,
                }
            } else if source.is_stalled() {
                Self::Stalled { codec }
            } else {
                Self::Decode { codec, source }
            }
        }
    }

    pub(crate) fn encode(codec: &str) -> impl FnOnce(AvError) -> Self {
        let codec = codec.to_owned();
        move |source| {
            if source.is_out_of_memory() {
                Self::Capacity {
                    operation: format!("encode with {codec}"),
                    source,
                }
            } else if source.is_stalled() {
                Self::Stalled { codec }
            } else {
                Self::Encode { codec, source }
            }
        }
    }

    pub(crate) fn open_codec(codec: &str) -> impl FnOnce(AvError) -> Self {
        let codec = codec.to_owned();
        move |source| {
            if source.is_out_of_memory() || source.is_again() {
                Self::Capacity {
                    operation: format!("open {codec}"),
                    source,
                }
            } else {
                Self::OpenCodec { codec, source }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn want_of_memory_is_capacity_and_damage_is_not() {
        for error in [
            Error::open_codec("x")(AvError::no_memory()),
            Error::open_codec("x")(AvError::new(ffi::AGAIN)),
            Error::encode("x")(AvError::no_memory()),
            Error::decode("x")(AvError::no_memory()),
            Error::filter("x")(AvError::no_memory()),
        ] {
            assert!(error.is_capacity() && !error.is_decode(), "{error:?}");
        }
        let damage = Error::decode("x")(AvError::invalid());
        assert!(damage.is_decode() && !damage.is_capacity());
        assert!(!Error::open_codec("x")(AvError::invalid()).is_capacity());
    }

    #[test]
    fn a_codec_that_stands_still_is_told_from_damage() {
        for error in [
            Error::encode("x")(AvError::stalled()),
            Error::decode("x")(AvError::stalled()),
        ] {
            assert!(matches!(&error, Error::Stalled { codec } if codec == "x"));
            assert!(!error.is_decode() && !error.is_capacity());
        }
    }

    #[test]
    fn an_error_keeps_its_cause() {
        let error = Error::encode("x")(AvError::invalid());
        assert_eq!(error.to_string(), "x cannot encode");
        let cause = error.source().unwrap().to_string();
        assert!(
            cause.contains("Invalid argument") && cause.contains("-22"),
            "{cause}"
        );
    }
}
