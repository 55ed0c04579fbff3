//! What a user should know and what stops nothing: each kind with its figures, and in words.

use serde::{Deserialize, Serialize};

use crate::device::DeviceName;

/// Something that the user should know, and that does not stop the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Warning {
    /// The disk may be too small for the result.
    #[error(
        "what is to be written may take {}, and the disk has {} for it: if that is too little, the job stops there and can be gone on with",
        size(*expected),
        size(*free)
    )]
    LittleRoom {
        /// Bytes that may still be written, with what is kept of a source that comes once.
        expected: u64,
        /// Bytes that are free, or will be before the work begins.
        free: u64,
    },
    /// The encoder of choice is missing.
    #[error("this FFmpeg has no libsvtav1: {encoder} is used, which is slower")]
    OtherEncoder {
        /// The one that is used.
        encoder: String,
    },
    /// The source has sound that is left out, or no sound can be read.
    #[error("the sound is left out: {reason}")]
    SoundLeftOut {
        /// Why.
        reason: String,
    },
    /// A track of subtitles is left out.
    #[error("subtitles are left out: {reason}")]
    SubtitlesLeftOut {
        /// Which, and why.
        reason: String,
    },
    /// Packets of subtitles could not be decoded.
    #[error("{errors} packets of the subtitles could not be decoded")]
    SubtitlesDamaged {
        /// How many.
        errors: u64,
    },
    /// Numbers are missing in a series of images.
    #[error(
        "{count} numbers are missing between the images, the first is {first}: they are passed over"
    )]
    ImagesMissing {
        /// How many.
        count: u64,
        /// The first of them.
        first: u64,
    },
    /// The source has more bits a sample than the result.
    #[error("the source has {bits} bits a sample, the result has {left}")]
    DepthReduced {
        /// Bits of the source.
        bits: u8,
        /// Bits of the result.
        #[serde(default = "eight")]
        left: u8,
    },
    /// The source is interlaced, and stays so.
    #[error("the source is interlaced, and is not deinterlaced")]
    Interlaced,
    /// The source is HDR, which is kept in 8 bits.
    #[error("the source is HDR: its colours are kept, in 8 bits a sample, which may show bands")]
    HdrInEightBits,
    /// The source ended before it should.
    #[error(
        "the source promises {promised:.2} s and {delivered:.2} s could be decoded: it may be cut off"
    )]
    Truncated {
        /// Seconds promised by the container.
        promised: f64,
        /// Seconds of picture delivered.
        delivered: f64,
    },
    /// The source claims to be longer than its few bytes can be meant to: pictures are held for hours.
    #[error(
        "the source goes on after {seconds:.0} s, for longer than its few bytes can be meant to: it is cut there, unless --end says how long it is"
    )]
    Sparse {
        /// Seconds that are kept.
        seconds: f64,
    },
    /// Some packets could not be decoded.
    #[error("{errors} packets of the source could not be decoded")]
    Damaged {
        /// How many.
        errors: u64,
    },
    /// Timestamps had to be repaired.
    #[error(
        "timestamps were repaired: {nudged} pictures without a usable one, {discontinuities} jumps of the clock"
    )]
    TimestampsRepaired {
        /// Pictures without a usable timestamp.
        nudged: u64,
        /// Places where the clock jumped.
        discontinuities: u64,
    },
    /// The sound had holes, which were filled with silence.
    #[error("the sound {track} had holes: {seconds:.2} s were filled with silence")]
    SoundFilled {
        /// The track.
        track: String,
        /// Seconds of silence.
        seconds: f64,
    },
    /// Packets of sound could not be decoded.
    #[error("{errors} packets of the sound {track} could not be decoded")]
    SoundDamaged {
        /// The track.
        track: String,
        /// How many.
        errors: u64,
    },
    /// A device could not decode, or not any more. The CPU goes on where it stopped.
    #[error(
        "{device} cannot decode the source: the CPU goes on with it, and the result is the same ({error})"
    )]
    DecodeDevice {
        /// The device.
        device: DeviceName,
        /// What went wrong.
        error: String,
    },
    /// A GPU could not scale pictures, or not any more.
    #[error("{device} cannot scale pictures: another GPU of its model does, or the CPU ({error})")]
    ScaleDevice {
        /// The device.
        device: DeviceName,
        /// What went wrong.
        error: String,
    },
    /// A GPU failed renditions in the plan's trial. Others encode them.
    #[error("{device} cannot encode {}: others do ({error})", renditions.join(", "))]
    EncodeDevice {
        /// The device.
        device: DeviceName,
        /// What it cannot encode.
        renditions: Vec<String>,
        /// What went wrong.
        error: String,
    },
    /// Encoders could not make a rendition of which nothing was done, and others make all of it.
    #[error("{rendition} is made by {} from its first segment on, since {} could not make it ({error})", to.join(" and "), from.join(" and "))]
    TakenOver {
        /// The rendition.
        rendition: String,
        /// The encoders that were to make it.
        from: Vec<String>,
        /// Those that do.
        to: Vec<String>,
        /// What went wrong.
        error: String,
    },
    /// A task failed and was tried again.
    #[error("segment {segment} of {rendition} failed on {device} and is tried again: {error}")]
    Retried {
        /// The rendition.
        rendition: String,
        /// The segment.
        segment: u32,
        /// The device that failed.
        device: DeviceName,
        /// What went wrong.
        error: String,
    },
    /// A task did not come home in time, nor when it was told to stop. Its thread was left alone, and the task given to another.
    #[error(
        "segment {segment} of {rendition} hangs on {device}: it did not end within {seconds} s nor when it was stopped, was left there and is made again"
    )]
    Hung {
        /// The rendition.
        rendition: String,
        /// The segment.
        segment: u32,
        /// The device.
        device: DeviceName,
        /// How long it was waited for.
        #[serde(default)]
        seconds: u64,
    },
    /// A GPU had not made a segment after much longer than expected, when another device had.
    #[error(
        "segment {segment} of {rendition} was not made by {device} within {seconds} s: another device was faster"
    )]
    Outrun {
        /// The rendition.
        rendition: String,
        /// The segment.
        segment: u32,
        /// The device.
        device: DeviceName,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A device failed again and again, and gets no work until it has done a golden task.
    #[error(
        "{device} failed again and again: it gets no work until it passes a test in {seconds:.0} s ({error})"
    )]
    Quarantined {
        /// The device.
        device: DeviceName,
        /// Until it is tried again.
        seconds: f64,
        /// What went wrong there last.
        #[serde(default)]
        error: String,
    },
    /// A device in quarantine failed its golden task.
    #[error("{device} failed its test and gets no work yet: {error}")]
    StillBad {
        /// The device.
        device: DeviceName,
        /// How.
        error: String,
    },
    /// A device is gone. Its tasks go elsewhere.
    #[error("{device} is gone: others make what it had ({error})")]
    DeviceLost {
        /// The device.
        device: DeviceName,
        /// How that was noticed.
        #[serde(default)]
        error: String,
    },
    /// A device has room for fewer sessions than were planned.
    #[error("{device} has no room for more: {sessions} sessions are used from now on")]
    CapacityLowered {
        /// The device.
        device: DeviceName,
        /// Sessions that are left.
        sessions: u32,
    },
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let bytes = bytes as f64;
    let unit = units.into_iter().find(|(unit, _)| bytes >= *unit);
    unit.map_or_else(
        || format!("{bytes} bytes"),
        |(unit, name)| format!("{:.1} {name}", bytes / unit),
    )
}

/// Bits of every result before there was a choice.
const fn eight() -> u8 {
    8
}
