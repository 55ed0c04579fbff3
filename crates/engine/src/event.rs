//! What a job tells while it runs.

use serde::Serialize;

use crate::device::DeviceName;
use crate::plan::{Estimate, Warning};

/// Version of the events' form. It changes when a field is removed or changes its sense; new fields and new events do not change
/// it.
pub const EVENTS_VERSION: u32 = 1;

/// A rendition as it is announced.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Announced {
    /// Its name.
    pub name: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Its encoder.
    pub encoder: String,
    /// What the playlists state while it is made.
    pub estimate: Estimate,
}

/// Something that happened in a job, in the order in which it was seen. Times are seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Work begins.
    Started {
        /// [`EVENTS_VERSION`].
        version: u32,
        /// What will be made, largest first.
        renditions: Vec<Announced>,
        /// The names of the tracks of sound.
        audio: Vec<String>,
        /// Seconds of picture that the container promises.
        promised_seconds: Option<f64>,
    },
    /// An earlier run has stored this much of a track; said right after the start, of each track that has any.
    Resumed {
        /// The rendition's or the sound's name.
        track: String,
        /// Segments that are in place.
        segments: u32,
        /// Their length in bytes.
        bytes: u64,
        /// Their duration.
        seconds: f64,
    },
    /// A span was decoded.
    Decoded {
        /// Its segment.
        segment: u32,
        /// Pictures in it.
        frames: usize,
        /// Where it ends in the presentation.
        end: f64,
        /// The pump that decoded it.
        pump: u32,
        /// When it was let decode it, counted from when the job began.
        begin: f64,
        /// How long that took.
        seconds: f64,
    },
    /// A session has come home with a task.
    Encoded {
        /// Its device.
        device: DeviceName,
        /// Which of its sessions.
        session: u32,
        /// The rendition's name.
        track: String,
        /// The segment.
        segment: u32,
        /// When it began, counted from when the job did.
        begin: f64,
        /// How long it took.
        seconds: f64,
        /// Whether the result is used. If not, the attempt failed, was cancelled, or another was faster.
        used: bool,
    },
    /// A device that was in quarantine has done its golden task and gets work again.
    DeviceBack {
        /// The device.
        device: DeviceName,
    },
    /// A segment of a track is published: whole, durable and in place.
    Segment {
        /// The rendition's or the sound's name.
        track: String,
        /// Its place.
        segment: u32,
        /// Its length in bytes.
        bytes: u64,
        /// Its duration.
        seconds: f64,
    },
    /// The playlists name at least one segment of every track: playback may begin.
    Playable {
        /// Time since work began.
        elapsed: f64,
    },
    /// The source is decoded to its end.
    SourceEnded {
        /// Segments in all.
        segments: u32,
        /// Duration of the presentation.
        seconds: f64,
    },
    /// Something that the user should know.
    Warning {
        /// What it is.
        warning: Warning,
        /// The same in words.
        message: String,
    },
    /// All is published; the playlists are complete.
    Finished {
        /// Time since work began.
        elapsed: f64,
        /// Duration of the presentation.
        seconds: f64,
    },
    /// A plain file, or the one file of a rendition, is whole, durable and in place. Told after the end of the job that it is made of.
    Written {
        /// The file.
        file: String,
        /// Its length in bytes.
        bytes: u64,
        /// Its duration.
        seconds: f64,
    },
}

impl Event {
    pub(crate) fn warning(warning: Warning) -> Self {
        let message = warning.to_string();
        Self::Warning { warning, message }
    }
}
