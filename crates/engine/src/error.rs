//! How a job ends badly: refused before work began, failed in the middle, or interrupted. The cause is kept as a value.

use std::io;
use std::path::PathBuf;

use rungs_media::encode::Codec;
use rungs_media::hardware;
use rungs_package::PackageError;
use rungs_package::coding::CodingError;

use crate::cancel::Cancel;
use crate::device::DeviceName;
use crate::ids::SegmentIndex;
use crate::inspect::Finding;
use crate::ladder::{LadderError, Size};
use crate::picture::PictureError;
use crate::process::ProtocolError;
pub use crate::seam::Unlike;
use crate::spec::SpecError;

/// How a job ended, other than well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input or the request was refused before any work began; nothing was written.
    #[error("this job was refused before it began")]
    Refused(#[source] Box<Refusal>),
    /// The job failed; what was published before is whole.
    #[error("the job failed")]
    Failed(#[source] Box<Failure>),
    /// The job was cancelled.
    #[error("the job was interrupted")]
    Interrupted,
}

/// Why a job is refused before it begins.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The settings contradict each other or are out of range.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The picture of this source cannot be had as it is asked for.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The filters cannot be applied to pictures of this source.
    #[error("the filters {filters} cannot be applied to this source")]
    Filters {
        /// The chain.
        filters: String,
        /// FFmpeg's reason.
        source: rungs_media::Error,
    },
    /// The image that is to lie over the pictures cannot be read.
    #[error("the image {path:?} cannot be read")]
    Overlay {
        /// The image file.
        path: PathBuf,
        /// Why.
        source: rungs_media::Error,
    },
    /// The source cannot be opened as media.
    #[error(transparent)]
    Source(rungs_media::Error),
    /// The device that is to decode cannot.
    #[error("{device} cannot decode this {codec} as it has to: {reason}")]
    DecodeDevice {
        /// The device.
        device: DeviceName,
        /// The source's codec.
        codec: String,
        /// What was tried, and what came of it.
        reason: String,
    },
    /// The device that is to scale cannot.
    #[error("{device} cannot scale the pictures: {reason}")]
    ScaleDevice {
        /// The device.
        device: DeviceName,
        /// What was tried, and what came of it.
        reason: String,
    },
    /// There is no moving picture in the source.
    #[error("the source has no video: {found}")]
    NoVideo {
        /// What it has instead, in words.
        found: String,
    },
    /// The source ends before the part of it that was asked for.
    #[error("the source has no picture in the part of it that was asked for")]
    NothingThere,
    /// The source is still on its way, and what is asked for takes all of it before work begins.
    #[error(
        "{option} needs all of the source before work begins, and this one is still on its way"
    )]
    OnItsWay {
        /// The option on the command line.
        option: &'static str,
    },
    /// A source cannot follow the first.
    #[error("{} cannot be joined: {reason}", path.display())]
    Join {
        /// Its file.
        path: PathBuf,
        /// Why, in words.
        reason: String,
        /// What the reason follows from, if it is an error of its own.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Its video is encrypted.
    #[error("the video of the source is encrypted ({codec})")]
    Encrypted {
        /// Its codec.
        codec: String,
    },
    /// Its video is Dolby Vision that no other decoder shows in the right colours.
    #[error(
        "the video is Dolby Vision, profile {profile}, without a base layer that other decoders understand: its colours would come out green and purple"
    )]
    DolbyVision {
        /// The profile.
        profile: u8,
    },
    /// Its frames have less than two pixels one way.
    #[error(
        "the source is {width}x{height}, which is too small: frames of 4:2:0 have 2x2 pixels at least"
    )]
    TooSmall {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// Not one picture could be decoded.
    #[error("not one picture of the source could be decoded")]
    NoPicture(#[source] Option<rungs_media::Error>),
    /// A rung cannot be made of this source.
    #[error(transparent)]
    Ladder(#[from] LadderError),
    /// This FFmpeg has no encoder for the codec.
    #[error("this FFmpeg ({version}) has no {codec}")]
    NoEncoder {
        /// What is missing: a codec's encoder, or one by name.
        codec: String,
        /// FFmpeg's version.
        version: String,
    },
    /// GPUs that were asked for have no encoder for the job.
    #[error("{}", not_offered(wanted, *bits, devices))]
    NotOffered {
        /// The encoder or the codecs that were wanted.
        wanted: String,
        /// The depth of the frames.
        bits: u8,
        /// The GPUs.
        devices: Vec<Seen>,
    },
    /// No GPU here has an encoder that was asked for.
    #[error("no device here was seen to encode with {encoder}{}", and_has(devices))]
    NoDevice {
        /// The encoder.
        encoder: String,
        /// The GPUs that encode.
        devices: Vec<Seen>,
    },
    /// A GPU encodes no picture as small as a rendition's.
    #[error(
        "{encoder} of {device} encodes no picture below {smallest}, and {rendition} has {size}"
    )]
    BelowSmallest {
        /// The GPU.
        device: DeviceName,
        /// Its encoder.
        encoder: String,
        /// The rendition.
        rendition: String,
        /// Its size.
        size: Size,
        /// The smallest width and height that the encoder takes.
        smallest: Size,
    },
    /// The encoder would not work as planned.
    #[error("{encoder} could not encode a few pictures at {rendition}")]
    Trial {
        /// The encoder.
        encoder: String,
        /// The rendition.
        rendition: String,
        /// What it said.
        #[source]
        source: EncodeError,
    },
    /// The encoder gave something else than its codec.
    #[error("what {encoder} gave for {rendition} is no codec configuration")]
    Header {
        /// The encoder.
        encoder: String,
        /// The rendition.
        rendition: String,
        /// What is wrong with it.
        #[source]
        source: CodingError,
    },
    /// The encoder makes none of the job's codecs.
    #[error("{encoder} makes {makes}, and {wanted} is to be made")]
    OtherCodec {
        /// The encoder.
        encoder: String,
        /// What it makes.
        makes: Codec,
        /// What the job is to make, in words.
        wanted: String,
    },
    /// The encoder keeps no such rate.
    #[error("{encoder} cannot hold a constant quality below a highest rate")]
    Rate {
        /// The encoder.
        encoder: String,
    },
    /// The sound cannot be made as asked for.
    #[error("the sound cannot be made as asked for: {reason}")]
    Audio {
        /// Why, in words.
        reason: String,
        /// What FFmpeg said, if it was asked.
        #[source]
        source: Option<rungs_media::Error>,
    },
    /// The subtitles cannot be packaged as asked for.
    #[error("the subtitles cannot be packaged as asked for: {reason}")]
    Subtitles {
        /// Why, in words.
        reason: String,
    },
    /// This FFmpeg cannot make the images.
    #[error("this FFmpeg has no {missing}, which thumbnails and the poster of this source take")]
    Stills {
        /// What it lacks.
        missing: &'static str,
    },
    /// The memory given is too small.
    #[error(
        "{} of memory are too little: the pictures on their way take {} and one encoder {}, together {}",
        mebibytes(*given), mebibytes(*pictures), mebibytes(*encoder), mebibytes(pictures + encoder)
    )]
    Memory {
        /// The budget.
        given: u64,
        /// Bytes of the pictures that are held at least.
        pictures: u64,
        /// Bytes of the largest encoder.
        encoder: u64,
    },
}

/// A GPU, and the encoders that it was seen to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The GPU.
    pub device: DeviceName,
    /// Its encoders with their depths, for people.
    pub has: String,
}

fn not_offered(wanted: &str, bits: u8, devices: &[Seen]) -> String {
    match devices {
        [Seen { device, has }] => format!(
            "{device} does not encode with {wanted} in {bits} bits; what it was seen to have: {has}"
        ),
        devices => {
            let names: Vec<&str> = devices.iter().map(|seen| seen.device.as_str()).collect();
            let names = names.join(", ");
            let has = and_has(devices);
            format!("none of {names} encodes with {wanted} in {bits} bits{has}")
        }
    }
}

/// The end of a sentence: what each GPU was seen to have.
fn and_has(devices: &[Seen]) -> String {
    let each = devices
        .iter()
        .map(|seen| format!("{} has {}", seen.device, seen.has));
    let each: Vec<String> = each.collect();
    if each.is_empty() {
        String::new()
    } else {
        format!("; as far as was seen, {}", each.join(", "))
    }
}

const MEBIBYTE: u64 = 1 << 20;

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MEBIBYTE as f64)
}

/// Why a job failed after it had begun.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The source could not be read or decoded any further.
    #[error("the source could not be read at {at:.1} s")]
    Read {
        /// Where, in seconds of the presentation.
        at: f64,
        /// What happened.
        #[source]
        source: rungs_media::Error,
    },
    /// The source ended before the time that it promises, and the job is strict.
    #[error("the source promises {promised:.2} s, and {delivered:.2} s could be decoded")]
    Truncated {
        /// Seconds promised by the container.
        promised: f64,
        /// Seconds of picture delivered.
        delivered: f64,
    },
    /// The source claims to be longer than its few bytes can be meant to, and the job is strict.
    #[error(
        "the source goes on after {seconds:.0} s, for longer than its few bytes can be meant to"
    )]
    Sparse {
        /// Seconds that were made.
        seconds: f64,
    },
    /// Damaged data in a strict job.
    #[error("{errors} packets of the source could not be decoded")]
    Damaged {
        /// How many.
        errors: u64,
    },
    /// The source changed while it was read.
    #[error("the source file was changed while it was read")]
    SourceChanged,
    /// A task failed as often as is allowed.
    #[error("segment {segment} of {rendition} failed {} times: on {}", devices.len(), listed(devices))]
    Encode {
        /// The rendition.
        rendition: String,
        /// The segment.
        segment: SegmentIndex,
        /// Where it failed, one for each attempt, in order.
        devices: Vec<DeviceName>,
        /// The first cause.
        #[source]
        source: EncodeError,
    },
    /// No device is left that can do a task: all are gone, hang, or failed their golden tasks.
    #[error("no device is left that can make segment {segment} of {rendition}")]
    NoDevice {
        /// The rendition.
        rendition: String,
        /// The segment.
        segment: SegmentIndex,
        /// The first error of an attempt at it, if there was one.
        #[source]
        source: Option<EncodeError>,
    },
    /// Two decoders gave different pictures where one ends and the other begins.
    #[error(
        "decoding from the middle of the source gives other pictures at segment {segment} than decoding through"
    )]
    Seam {
        /// The segment.
        segment: SegmentIndex,
        /// What they gave.
        #[source]
        source: Unlike,
    },
    /// The sound could not be made.
    #[error("the sound failed at {at:.1} s")]
    Audio {
        /// Where, in seconds of the presentation.
        at: f64,
        /// What happened.
        #[source]
        source: AudioError,
    },
    /// The subtitles could not be read.
    #[error("the subtitles could not be read")]
    Subtitles(#[source] rungs_media::Error),
    /// A poster or thumbnails could not be made of a rendition's segments.
    #[error("an image could not be made of the segments of {rendition}")]
    Still {
        /// The rendition.
        rendition: String,
        /// What happened.
        #[source]
        source: rungs_media::Error,
    },
    /// The package could not be written.
    #[error("the package could not be written")]
    Package(#[from] PackageError),
    /// The report could not be put into words. This is a bug.
    #[error("the report could not be written as JSON; this is a bug in rungs")]
    Report(#[source] serde_json::Error),
    /// What an encoder gave is not of its codec.
    #[error("an encoder gave packets that cannot be read")]
    Bitstream(#[source] CodingError),
    /// The system gives the job no thread.
    #[error("the system gives no more threads")]
    Threads(#[source] io::Error),
    /// A thread of the job ended without a word. This is a bug.
    #[error("the {0} stopped unexpectedly; this is a bug in rungs")]
    Lost(&'static str),
}

/// The devices of some attempts in words, each once.
fn listed(devices: &[DeviceName]) -> String {
    let mut names: Vec<&str> = devices.iter().map(DeviceName::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

impl EncodeError {
    /// Whether the device has no room now, which is nobody's failure.
    #[must_use]
    pub fn is_capacity(&self) -> bool {
        match self {
            Self::Refused { capacity, .. } => *capacity,
            Self::Media(error) => error.is_capacity(),
            _ => false,
        }
    }

    /// Whether the encoder's process is at fault, which may not be so with another one.
    pub(crate) fn is_death(&self) -> bool {
        matches!(self, Self::Died { .. } | Self::Protocol(_))
    }
}

/// Why one task failed.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// FFmpeg's libraries refused.
    #[error(transparent)]
    Media(#[from] rungs_media::Error),
    /// More or fewer pictures came out than went in.
    #[error("{sent} pictures went into the encoder and {received} came out")]
    Count {
        /// Pictures sent.
        sent: usize,
        /// Packets received.
        received: usize,
    },
    /// A picture came out with another time than any that went in.
    #[error("picture {place} came out with time {received}, not {expected}")]
    Time {
        /// Place in the segment.
        place: usize,
        /// Its time, in ticks.
        expected: i64,
        /// The encoder's.
        received: i64,
    },
    /// What came out is not what went in, or not what the plan says.
    #[error(transparent)]
    Inspection(Box<Finding>),
    /// The job is being ended.
    #[error("cancelled")]
    Cancelled,
    /// Fed pictures ended in the middle of their span: the source could not be read on. No fault of the encoder.
    #[error("the pictures ended in the middle of the segment")]
    Starved,
    /// The device that kept the pictures of the span has failed. They are decoded again; no fault of the encoder.
    #[error("the pictures of the segment are lost")]
    PicturesLost(#[source] Box<rungs_media::Error>),
    /// The encoder in its own process refused.
    #[error("{reason}")]
    Refused {
        /// What it said.
        reason: String,
        /// Whether memory or sessions ran out, which is no fault of the task.
        capacity: bool,
    },
    /// The encoder's process ended in the middle of its task.
    #[error("the encoder's process ended: {status}")]
    Died {
        /// How, in words.
        status: String,
    },
    /// The encoder's process sent what cannot be true, and was ended for it.
    #[error("the encoder's process broke the protocol")]
    Protocol(#[source] Box<ProtocolError>),
    /// The encoder neither took pictures nor gave packets.
    #[error("the encoder has not moved for {seconds} s")]
    Hung {
        /// How long.
        seconds: u64,
    },
    /// The driver gave no answer in the plan's trial.
    #[error("no answer within {seconds} s")]
    NoAnswer {
        /// How long it was waited for.
        seconds: u64,
    },
    /// It did not end in the time that was expected, and was stopped.
    #[error("it did not end within {seconds} s, and was stopped")]
    Overdue {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The device is gone: it fell off its bus, or its driver did. Nothing is tried on it again.
    #[error("the device is gone: {reason}")]
    DeviceLost {
        /// How that was noticed.
        reason: String,
    },
    /// The encoder's process cannot be started or talked to.
    #[error("the encoder's process cannot be used")]
    Process(#[source] std::io::Error),
    /// Anything else that a backend has to say.
    #[error("{0}")]
    Backend(String),
}

/// Why the sound failed.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// FFmpeg's libraries refused.
    #[error(transparent)]
    Media(#[from] rungs_media::Error),
    /// A track that passes through changes its rate, channels or profile, which its one configuration cannot say.
    #[error(
        "the track changes its sample rate, channels or profile there, and passes through unchanged"
    )]
    Changed,
    /// The track has a hole that cannot be filled without encoding it.
    #[error(
        "the track has no sound for {seconds:.2} s there, and its codec's silence is not known"
    )]
    Gap {
        /// Length of the hole in seconds.
        seconds: f64,
    },
}

impl From<Finding> for EncodeError {
    fn from(finding: Finding) -> Self {
        Self::Inspection(Box::new(finding))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl From<PackageError> for Error {
    fn from(error: PackageError) -> Self {
        Failure::from(error).into()
    }
}

impl Error {
    /// The same, or [`Error::Interrupted`] if it is only what a cancelled job looks like from inside.
    pub(crate) fn or_interrupted(self, cancel: &Cancel) -> Self {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&self);
        while let Some(cause) = next {
            let media = matches!(cause.downcast_ref(), Some(rungs_media::Error::Cancelled));
            if cancel.is_cancelled()
                && (media || matches!(cause.downcast_ref(), Some(EncodeError::Cancelled)))
            {
                return Self::Interrupted;
            }
            next = cause.source();
        }
        self
    }

    /// What the user can do about it, if anything is known.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => Some(refusal.advice()),
            Self::Failed(failure) => Some(failure.advice()),
            Self::Interrupted => None,
        }
    }
}

impl Refusal {
    /// The advice where an encoder or a device is missing, or fails.
    fn encoder_advice(&self) -> &'static str {
        match self {
            Self::DecodeDevice { .. } => "leave --decode-device out, and the CPU decodes",
            Self::ScaleDevice { .. } => "leave --scale-device out, and the CPU scales",
            Self::NoEncoder { .. } => {
                "install an FFmpeg with libsvtav1, libx264 and libx265 (Debian's has them); `rungs devices` shows what there is"
            }
            Self::Rate { .. } => "give --bitrate for an average rate, or another --encoder",
            Self::NoDevice { .. } => {
                "`rungs devices` shows the GPUs, and of each why it does not; `rungs devices --refresh` tries them again"
            }
            Self::NotOffered { .. } => {
                "give another codec or depth, or leave the device out: `rungs devices` shows what each can do"
            }
            Self::BelowSmallest { .. } => {
                "leave this rung out or ask for a larger one, or let the CPU encode too (--devices auto)"
            }
            Self::Trial {
                source: EncodeError::Process(_),
                ..
            } => MORE_PROCESSES,
            Self::Trial { encoder, .. } if hardware::codec_of(encoder).is_some() => {
                "give it fewer encoders (--sessions NAME=1), or leave it out (--devices cpu); `rungs devices --refresh` tries it again"
            }
            _ => "try other settings; `rungs devices` shows which encoders there are",
        }
    }

    fn advice(&self) -> String {
        let text = match self {
            Self::Spec(_) => {
                "give a value in that range; `rungs package --help` says what each option takes"
            }
            Self::Picture(error) => error.advice(),
            Self::Filters { .. } => {
                "check sizes and places: what is cut out must lie within the upright picture, what is added around it must hold it"
            }
            Self::Overlay { .. } => "give a PNG, JPEG, WebP or BMP file",
            Self::Source(error) => source_advice(error),
            Self::NoVideo { .. } => {
                "give a file with a video track; `rungs probe` shows what is in this one"
            }
            Self::NothingThere => {
                "give other times with --start and --end; `rungs probe` shows how long the source is"
            }
            Self::OnItsWay { option } => {
                return format!("leave {option} out, or wait until the source is a whole file");
            }
            Self::Join { .. } => {
                "give sources whose pictures have one shape and one set of colours, or transcode it first"
            }
            Self::Encrypted { .. } => "give a file without copy protection",
            Self::DolbyVision { .. } => {
                "give a version of it in HDR10, HLG or standard range, or Dolby Vision of profile 7 or 8"
            }
            Self::TooSmall { .. } => ENLARGE,
            Self::NoPicture(_) => {
                "check that the file plays: it may be damaged, or cut off before its first picture"
            }
            Self::Ladder(error) => return ladder_advice(error),
            Self::OtherCodec { makes, .. } => {
                return format!("give --codec {makes}, or leave the encoder out");
            }
            Self::DecodeDevice { .. }
            | Self::ScaleDevice { .. }
            | Self::NoEncoder { .. }
            | Self::NoDevice { .. }
            | Self::NotOffered { .. }
            | Self::BelowSmallest { .. }
            | Self::Rate { .. }
            | Self::Trial { .. }
            | Self::Header { .. } => self.encoder_advice(),
            Self::Audio { .. } => "try `--audio opus`, or `--audio none`",
            Self::Subtitles { .. } => {
                "name others with `--subtitles`, or leave them out with `--subtitles none`"
            }
            Self::Stills { .. } => {
                "leave --storyboard and --poster out, or install an FFmpeg that has it (Debian's does)"
            }
            Self::Memory {
                pictures, encoder, ..
            } => {
                return format!(
                    "give at least --memory {}M, or make rungs smaller",
                    (pictures + encoder).div_ceil(MEBIBYTE)
                );
            }
        };
        text.to_owned()
    }
}

fn ladder_advice(error: &LadderError) -> String {
    let text = match error {
        LadderError::Larger { .. } => "leave this rung out: enlarging adds bytes, not detail",
        LadderError::TooSmall { .. } => "leave this rung out, or ask for a larger one",
        LadderError::Twice { .. } => "leave one of them out",
        LadderError::NothingLeft { smallest, .. } => {
            let Size { width, height } = smallest;
            return format!("put borders around it: --filter pad={width}:{height}");
        }
    };
    text.to_owned()
}

/// What to do about frames that no filter of ours can begin with.
const ENLARGE: &str = "enlarge it with another program first, to 64x64 pixels or more";

/// What to do where the system gives no thread, process or descriptor.
pub const MORE_PROCESSES: &str = "end other programs, raise the limits of processes, files and memory (`ulimit -u`, `-n`, `-v`), or take fewer encoders with --jobs";

/// What to do about a source that is larger than what is kept of it.
const LARGER_SOURCE: &str =
    "allow more with --max-source BYTES, or save the source as a file: a file is not copied";

/// Reading writes only where what comes once is kept.
const NO_ROOM_FOR_SOURCE: &str =
    "make room on the output's disk, where all that comes once is kept, and give the source again";

const WITHOUT_STRICT: &str =
    "without --strict, what can be decoded is packaged and the loss is reported";

fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether the process or the machine has no descriptor left.
fn is_descriptor(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// What to do about a source that could be read at first and cannot be any more; `None` if it is not the reading that failed.
fn reading_advice(error: &rungs_media::Error) -> Option<&'static str> {
    use rungs_media::Error as Media;
    match error {
        Media::Changed(_) => {
            Some("start afresh with --force when nothing writes to the source any more")
        }
        Media::SourceLimit(_) => Some(LARGER_SOURCE),
        Media::Capacity { .. } => Some(MORE_PROCESSES),
        Media::Io(error) if is_descriptor(error) => Some(MORE_PROCESSES),
        Media::Io(error) if is_no_space(error) => Some(NO_ROOM_FOR_SOURCE),
        Media::Io(_) => {
            Some("see to it that the source can be read, and run the same command again")
        }
        _ => None,
    }
}

fn source_advice(error: &rungs_media::Error) -> &'static str {
    use rungs_media::Error as Media;
    match error {
        Media::TooLarge { .. } => {
            "the picture is larger than rungs takes; check that the file is what it says"
        }
        Media::TooManyStreams { .. } => {
            "copy those that are wanted into a file of their own: ffmpeg -max_streams 100000 -i FILE -map 0:v:0 -map 0:a:0 -c copy LESS.mkv"
        }
        Media::Changed(_) => "try again when nothing writes to the source any more",
        Media::SourceLimit(_) => LARGER_SOURCE,
        Media::Capacity { .. } => MORE_PROCESSES,
        Media::Io(error) if is_descriptor(error) => MORE_PROCESSES,
        Media::Io(error) if is_no_space(error) => NO_ROOM_FOR_SOURCE,
        Media::Io { .. } => "check the path and that you may read it",
        _ => "check that the file is whole and is video; `ffprobe FILE` gives a second opinion",
    }
}

impl Failure {
    /// Whether the same command can go on once the cause is put right, if the source can be read again.
    #[must_use]
    pub fn can_go_on(&self) -> bool {
        match self {
            Self::NoDevice { .. } | Self::Still { .. } | Self::Threads(_) => true,
            Self::Package(error) => !matches!(error, PackageError::Differs { .. }),
            _ => matches!(
                self.of_source(),
                Some(rungs_media::Error::Io(_) | rungs_media::Error::Capacity { .. })
            ),
        }
    }

    /// The error of whichever reader of the source was the first to fail.
    fn of_source(&self) -> Option<&rungs_media::Error> {
        match self {
            Self::Read { source, .. }
            | Self::Audio {
                source: AudioError::Media(source),
                ..
            }
            | Self::Subtitles(source) => Some(source),
            _ => None,
        }
    }

    fn advice(&self) -> String {
        if let Some(text) = self.of_source().and_then(reading_advice) {
            return text.to_owned();
        }
        let text = match self {
            Self::SourceChanged => {
                "start afresh with --force when nothing writes to the source any more"
            }
            Self::Read { .. } | Self::Damaged { .. } | Self::Truncated { .. } => WITHOUT_STRICT,
            Self::Sparse { .. } => "give --end TIME, which says how long it is",
            // Only strict jobs fail of damage.
            Self::Audio {
                source: AudioError::Media(error),
                ..
            } if error.is_decode() => WITHOUT_STRICT,
            Self::Seam { .. } => "start again with one decoder (--decoders 1)",
            Self::Encode {
                source: EncodeError::Process(_),
                ..
            }
            | Self::Threads(_) => MORE_PROCESSES,
            Self::Encode { devices, .. }
                if devices.iter().any(|device| *device != DeviceName::cpu()) =>
            {
                "run the same command again: finished segments are kept; if a device goes on failing, give it fewer encoders (--sessions NAME=1)"
            }
            Self::Encode { .. } => "try another speed, or fewer sessions with --jobs",
            Self::NoDevice { .. } => {
                "start again with the same command when a device is back; finished segments are kept"
            }
            Self::Audio { .. } => "try `--audio opus`, or `--audio none`",
            Self::Subtitles(_) => "try `--subtitles none`",
            Self::Still { .. } => {
                "check the package with `rungs verify`, and run the same command again"
            }
            Self::Package(error) if error.is_no_space() => {
                "make room and run the same command again: it goes on where this run ended"
            }
            Self::Bitstream(_) => {
                "try another encoder speed; `rungs devices` shows which encoders there are"
            }
            Self::Package(PackageError::Differs { .. }) => {
                "the sound or the pictures came out otherwise than before, and cannot be mixed: start afresh with --force"
            }
            Self::Package(_) => {
                "check the output folder and run the same command again: it goes on where this run ended"
            }
            Self::Report(_) | Self::Lost(_) => "please report it, with the file if you can",
        };
        text.to_owned()
    }
}

/// An error with its causes, in one line.
#[must_use]
pub fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let told: Vec<String> = causes.map(ToString::to_string).collect();
    told.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_reader_fails_first_the_advice_is_about_the_source() {
        let full = || rungs_media::Error::Io(io::ErrorKind::StorageFull.into());
        let failures = [
            Failure::Read {
                at: 0.0,
                source: full(),
            },
            Failure::Audio {
                at: 0.0,
                source: full().into(),
            },
            Failure::Subtitles(full()),
        ];
        for failure in failures {
            assert!(failure.can_go_on(), "{failure:?}");
            let advice = failure.advice();
            assert!(advice.starts_with("make room on"), "{advice}");
        }
        let sound = Failure::Audio {
            at: 0.0,
            source: AudioError::Changed,
        };
        assert!(sound.advice().contains("--audio opus") && !sound.can_go_on());
    }
}
