//! Why packaging failed, as whoever called it sees it.

use crate::audio::AudioConfigError;
use crate::cmaf::MuxError;
use crate::coding::CodingError;
use crate::digest::Digest;
use crate::output::OutputError;

/// Why packaging failed.
///
/// After [`Output`](Self::Output) the same call may be repeated. The others will not go away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file could not be stored.
    #[error("the package cannot be written")]
    Output(#[from] OutputError),
    /// A track cannot be muxed.
    #[error("track {track} cannot be packaged")]
    Track {
        /// The track's name.
        track: String,
        /// Why.
        source: MuxError,
    },
    /// A segment cannot be muxed.
    #[error("segment {index} of {track} cannot be muxed")]
    Segment {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// Why.
        source: MuxError,
    },
    /// A track's audio configuration cannot be read.
    #[error("the audio configuration of {track} cannot be read")]
    AudioConfig {
        /// The track's name.
        track: String,
        /// Why.
        source: AudioConfigError,
    },
    /// A track is to be made by other encoders, and something of it is stored already.
    #[error("other encoders cannot make {track}: some of it is stored already")]
    Begun {
        /// The track's name.
        track: String,
    },
    /// A segment's first sample is not a sync sample.
    #[error("segment {index} of {track} does not start with a key frame")]
    NoKey {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
    },
    /// A sync sample cannot be read, or has no sequence header.
    #[error("a key frame in segment {index} of {track} cannot be read")]
    Bitstream {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// Why.
        source: CodingError,
    },
    /// A sample is marked as a sync sample and is none, or the other way round.
    #[error("sample {place} in segment {index} of {track} is marked wrongly as {marked}")]
    WrongMark {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// Its place, in decoding order.
        place: usize,
        /// What it is marked as, in words.
        marked: &'static str,
    },
    /// A segment was encoded otherwise than the track says.
    #[error("segment {index} of {track} breaks the rendition's codec contract: {difference}")]
    Contract {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// The first difference, the track's value first.
        difference: String,
    },
    /// A segment has a sequence header that the initialisation segment does not describe, or several.
    #[error(
        "segment {index} of {track} has none of its rendition's {known} sequence headers, or more than one"
    )]
    UnknownHeader {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// How many the track has.
        known: usize,
    },
    /// A segment does not start where the one before ends.
    #[error("segment {index} of {track} starts at tick {actual} where tick {expected} was due")]
    Discontiguous {
        /// The track's name.
        track: String,
        /// The later one of the two segments.
        index: u32,
        /// Where the earlier one ends.
        expected: u64,
        /// Where the later one starts.
        actual: u64,
    },
    /// A segment outgrows the target duration that playlists promise.
    #[error(
        "segment {index} of {track} lasts {seconds:.3} s, more than the target duration of {target} s"
    )]
    TooLong {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// How long it is presented.
        seconds: f64,
        /// The target duration in seconds.
        target: u64,
    },
    /// A segment that an earlier run stored was made again, and came out otherwise.
    #[error(
        "segment {index} of {track} was made again and differs from what the earlier run stored"
    )]
    Differs {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
        /// The digest of the file that is there.
        stored: Digest,
        /// The digest of what was made.
        made: Digest,
    },
    /// A segment would not be presented for a single tick.
    #[error("segment {index} of {track} has no duration")]
    NoDuration {
        /// The track's name.
        track: String,
        /// The segment.
        index: u32,
    },
    /// A track has fewer segments than another, or none.
    #[error("track {track} lacks segment {missing} of {expected}")]
    Incomplete {
        /// The track's name.
        track: String,
        /// The first segment that it lacks.
        missing: u32,
        /// How many the longest track has, at least one.
        expected: u32,
    },
    /// A track's name cannot be a folder's on every system and in every URL.
    #[error("{name:?} is no name for a track")]
    Name {
        /// The name.
        name: String,
    },
    /// Two tracks have the same name.
    #[error("there are two tracks named {name}")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There is nothing to package.
    #[error("there are no tracks")]
    NoTracks,
    /// The track is one of another packager.
    #[error("the track belongs to another packager")]
    ForeignTrack,
    /// The call came before `start` where it has to come after, or the other way round, or after
    /// `finish`.
    #[error("{call} was called while the package was {phase}")]
    Phase {
        /// The call.
        call: &'static str,
        /// Where the package stood.
        phase: &'static str,
    },
}

impl PackageError {
    /// Tells whether what is missing is room on the disk.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Output(error) if error.is_no_space())
    }
}
