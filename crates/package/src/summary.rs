//! What was packaged, as observed: values to print and to serialise.

use serde::{Deserialize, Serialize};

use crate::bandwidth::Bandwidth;

/// What only video or only audio has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum MediaSummary {
    /// Pictures.
    Video {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Pictures a second at most, where known.
        frame_rate: Option<f64>,
    },
    /// Sound.
    Audio {
        /// Samples a second.
        sample_rate: u32,
        /// Channels.
        channels: u16,
    },
    /// Subtitles.
    Text {
        /// Whether they are for those who want none.
        forced: bool,
    },
}

/// One finished rendition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackSummary {
    /// The track's name: its folder.
    pub name: String,
    /// The codec string that the manifests state.
    pub codec: String,
    /// Kind and size.
    #[serde(flatten)]
    pub media: MediaSummary,
    /// Language as BCP 47 writes it, where known.
    pub language: Option<String>,
    /// How many media segments there are.
    pub segments: u32,
    /// Bytes of all media segments.
    pub bytes: u64,
    /// Presented seconds.
    pub duration_seconds: f64,
    /// Bits a second, measured.
    pub bandwidth: Bandwidth,
}

/// A finished package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The renditions in the order in which they were added.
    pub tracks: Vec<TrackSummary>,
}
