//! What a job will do, as a value: source, renditions, sound, memory. It can be written to disk, read back and compared.

use rungs_media::encode;
use rungs_media::normalise;
use rungs_media::time::TimeBase;
use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::ids::RenditionId;
use crate::inspect::Inspect;
use crate::ladder::{Dropped, Size};
use crate::schedule::Load;
use crate::timeline::Grid;

/// What is known about the source before it is decoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// FFmpeg's name of its container.
    pub format: String,
    /// Seconds of picture that the container promises, if it does. Never trusted.
    pub promised_seconds: Option<f64>,
    /// Whether the video track itself promises that, not the container as a whole.
    pub promised_by_track: bool,
    /// Pictures that the container promises, if it does. Never trusted.
    pub promised_frames: Option<u64>,
    /// Index of the video track.
    pub video_stream: usize,
    /// Its codec.
    pub codec: String,
    /// The size at which it is shown: upright, square pixels, even.
    pub shown: Size,
    /// Its pixel format.
    pub pixel_format: String,
    /// Pictures a second, if the container says.
    pub frame_rate: Option<f64>,
    /// Timestamp of the first picture in the track's time base: the start of the presentation.
    pub origin: i64,
    /// Seconds for each unit of the track's timestamps.
    pub time_base: TimeBase,
}

/// Bits a second, stated while the real figures are not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// For the dearest segment.
    pub peak: u64,
    /// Over the whole.
    pub average: u64,
}

/// A rung resolved against the source: size, codec configuration, name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rendition {
    /// Its id in the plan that it belongs to.
    pub id: RenditionId,
    /// Its name, which is its folder's too: `av1-1080p`.
    pub name: String,
    /// Its size.
    pub size: Size,
    /// The encoder's settings; each task sets the length of its group of pictures and its threads.
    pub encoder: encode::Config,
    /// Longest time between keyframes in ticks; `None` for one at the start of each segment only.
    pub gop: Option<i64>,
    /// The codec configuration that the trial gave: an AV1 sequence header OBU, or a row of them where unlike encoders share the
    /// rendition.
    pub configuration: Vec<u8>,
    /// Memory of one open encoder, in bytes.
    pub working_set: u64,
    /// Seconds of it that one session made in a second in the trial, start-up included.
    pub trial_speed: f64,
    /// What the playlists state while it is made.
    pub estimate: Estimate,
}

impl Rendition {
    /// Length of a group of pictures for a segment of so many pictures and ticks, in pictures.
    #[must_use]
    pub fn gop_frames(&self, pictures: usize, ticks: i64) -> u32 {
        let pictures = u32::try_from(pictures).unwrap_or(u32::MAX - 1);
        let Some(gop) = self.gop else {
            return pictures + 1;
        };
        let share = gop as f64 / ticks.max(1) as f64;
        ((f64::from(pictures) * share).round() as u32).max(1)
    }
}

/// A rendition without its id, which [`Plan::new`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct RenditionDraft {
    /// See [`Rendition::name`].
    pub name: String,
    /// See [`Rendition::size`].
    pub size: Size,
    /// See [`Rendition::encoder`].
    pub encoder: encode::Config,
    /// See [`Rendition::gop`].
    pub gop: Option<i64>,
    /// See [`Rendition::configuration`].
    pub configuration: Vec<u8>,
    /// See [`Rendition::working_set`].
    pub working_set: u64,
    /// See [`Rendition::trial_speed`].
    pub trial_speed: f64,
    /// See [`Rendition::estimate`].
    pub estimate: Estimate,
}

/// How the sound is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioMode {
    /// Its packets pass through.
    Copy,
    /// It is decoded and encoded again.
    Encode {
        /// The new codec.
        codec: rungs_media::audio::AudioCodec,
        /// Bits a second.
        bit_rate: u64,
    },
}

/// The sound of the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioPlan {
    /// Index of the track in the source.
    pub stream: usize,
    /// Its name, which is its folder's too: `eng-opus`.
    pub name: String,
    /// How it is made.
    pub mode: AudioMode,
    /// The codec and its configuration, as it is published.
    pub codec: rungs_package::track::AudioCodec,
    /// Samples a second, which is the track's timescale.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
    /// Samples before the start of the presentation that the decoder needs and the player drops.
    pub priming: u32,
    /// Usual length of a packet in samples.
    pub frame: u32,
    /// The language as the source gives it.
    pub language: Option<String>,
    /// Whether the packets carry ADTS headers, which the published ones must not.
    pub adts: bool,
}

/// Something that the user should know, and that does not stop the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Warning {
    /// The encoder of choice is missing.
    OtherEncoder {
        /// The one that is used.
        encoder: String,
    },
    /// The source has sound that is left out, or no sound can be read.
    SoundLeftOut {
        /// Why.
        reason: String,
    },
    /// More than 8 bits a sample become 8.
    DepthReduced {
        /// Bits of the source.
        bits: u8,
    },
    /// The source is interlaced, and stays so.
    Interlaced,
    /// The source is HDR, which is kept in 8 bits.
    HdrInEightBits,
    /// The source ended before it should.
    Truncated {
        /// Seconds promised by the container.
        promised: f64,
        /// Seconds of picture delivered.
        delivered: f64,
    },
    /// Some packets could not be decoded.
    Damaged {
        /// How many.
        errors: u64,
    },
    /// Timestamps had to be repaired.
    TimestampsRepaired {
        /// Pictures without a usable timestamp.
        nudged: u64,
        /// Places where the clock jumped.
        discontinuities: u64,
    },
    /// The sound had holes, which were filled with silence.
    SoundFilled {
        /// Seconds of silence.
        seconds: f64,
    },
    /// Packets of sound could not be decoded.
    SoundDamaged {
        /// How many.
        errors: u64,
    },
    /// A task failed and was tried again.
    Retried {
        /// The rendition.
        rendition: String,
        /// The segment.
        segment: u32,
        /// What went wrong.
        error: String,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OtherEncoder { encoder } => {
                write!(
                    f,
                    "this FFmpeg has no libsvtav1: {encoder} is used, which is slower"
                )
            }
            Self::SoundLeftOut { reason } => write!(f, "the sound is left out: {reason}"),
            Self::DepthReduced { bits } => {
                write!(f, "the source has {bits} bits a sample, the result has 8")
            }
            Self::Interlaced => write!(f, "the source is interlaced, and is not deinterlaced"),
            Self::HdrInEightBits => write!(
                f,
                "the source is HDR: its colours are kept, in 8 bits a sample, which may show bands"
            ),
            Self::Truncated {
                promised,
                delivered,
            } => write!(
                f,
                "the source promises {promised:.2} s and {delivered:.2} s could be decoded: it may be cut off"
            ),
            Self::Damaged { errors } => {
                write!(f, "{errors} packets of the source could not be decoded")
            }
            Self::TimestampsRepaired {
                nudged,
                discontinuities,
            } => write!(
                f,
                "timestamps were repaired: {nudged} pictures without a usable one, {discontinuities} jumps of the clock"
            ),
            Self::SoundFilled { seconds } => write!(
                f,
                "the sound had holes: {seconds:.2} s were filled with silence"
            ),
            Self::SoundDamaged { errors } => {
                write!(f, "{errors} packets of the sound could not be decoded")
            }
            Self::Retried {
                rendition,
                segment,
                error,
            } => write!(
                f,
                "segment {segment} of {rendition} was tried again: {error}"
            ),
        }
    }
}

/// Everything that a job needs to know before it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The source.
    pub source: SourceFacts,
    /// How time is cut.
    pub grid: Grid,
    /// Duration of a picture that has none, in ticks.
    pub nominal_duration: i64,
    /// Bytes of a normalised picture.
    pub frame_bytes: u64,
    /// How pictures are normalised.
    pub normalise: normalise::Config,
    /// The renditions, largest first.
    renditions: Vec<Rendition>,
    /// The sound, if there is any.
    pub audio: Option<AudioPlan>,
    /// The devices.
    pub devices: Vec<Device>,
    /// Memory for spans and encoders, in bytes.
    pub memory: u64,
    /// Whether damage in the source fails the job.
    pub strict: bool,
    /// Whether segments are compared with their source.
    pub measure: bool,
    /// Which segments are decoded before they are committed.
    pub inspect: Inspect,
    /// Default rungs that were left out.
    pub dropped: Vec<Dropped>,
    /// What the user should know already.
    pub warnings: Vec<Warning>,
}

/// The parts of a plan that have no default.
#[derive(Clone, Debug)]
pub struct PlanParts {
    /// See [`Plan::source`].
    pub source: SourceFacts,
    /// See [`Plan::grid`].
    pub grid: Grid,
    /// See [`Plan::nominal_duration`].
    pub nominal_duration: i64,
    /// See [`Plan::frame_bytes`].
    pub frame_bytes: u64,
    /// See [`Plan::normalise`].
    pub normalise: normalise::Config,
    /// See [`Plan::devices`].
    pub devices: Vec<Device>,
    /// See [`Plan::memory`].
    pub memory: u64,
}

impl Plan {
    /// Makes a plan and gives each rendition its id. There are fewer than 65 536.
    #[must_use]
    pub fn new(parts: PlanParts, drafts: Vec<RenditionDraft>) -> Self {
        let renditions = (0..).zip(drafts).map(|(place, draft)| Rendition {
            id: RenditionId::new(place),
            name: draft.name,
            size: draft.size,
            encoder: draft.encoder,
            gop: draft.gop,
            configuration: draft.configuration,
            working_set: draft.working_set,
            trial_speed: draft.trial_speed,
            estimate: draft.estimate,
        });
        Self {
            source: parts.source,
            grid: parts.grid,
            nominal_duration: parts.nominal_duration,
            frame_bytes: parts.frame_bytes,
            normalise: parts.normalise,
            renditions: renditions.collect(),
            audio: None,
            devices: parts.devices,
            memory: parts.memory,
            strict: false,
            measure: false,
            inspect: Inspect::Off,
            dropped: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The renditions, largest first.
    #[must_use]
    pub fn renditions(&self) -> &[Rendition] {
        &self.renditions
    }

    /// Segments that the source should come to, if its container is right about its length.
    #[must_use]
    pub fn expected_segments(&self) -> Option<u32> {
        let ticks = self
            .grid
            .timescale()
            .from_seconds(self.source.promised_seconds?);
        u32::try_from(
            ticks.max(1) / self.grid.segment()
                + i64::from(ticks % self.grid.segment() > self.grid.slack()),
        )
        .ok()
    }

    pub(crate) fn loads(&self) -> Vec<Load> {
        let load = |rendition: &Rendition| Load {
            rendition: rendition.id,
            // The trial is too short for a measure that is the same each time.
            cost: rendition.size.pixels() as f64,
            bytes: rendition.working_set,
        };
        self.renditions.iter().map(load).collect()
    }
}
