//! What a job did, as it was observed: `report.json`.

use rungs_package::TrackSummary;
use serde::{Deserialize, Serialize};

use crate::device::DeviceName;
use crate::inspect::InspectionReport;
use crate::places::DecodedOn;
use crate::plan::{Plan, Warning};
use crate::scaling::ScaledOn;
use crate::schedule::Spent;
use crate::timeline::Repairs;

/// Version of the report's form. It changes when a field is removed or changes its sense.
pub const REPORT_VERSION: u32 = 1;

/// Everything about one finished job. Times are seconds, sizes bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// What made it.
    pub made_by: MadeBy,
    /// What was decided before.
    pub plan: Plan,
    /// Segments of pictures and sound that an earlier run had stored, and that this one has not encoded.
    pub resumed_segments: u64,
    /// What was read, by this run alone if it went on from an earlier one.
    pub read: ReadReport,
    /// Duration of the presentation.
    pub seconds: f64,
    /// Whether another run with the same plan gives the same bytes whatever the order in which its segments are made. Not where
    /// unlike encoders share a rendition: which of them makes a segment depends on the schedule; and not where the CPU had to scale pictures in the place of GPUs.
    pub schedule_independent: bool,
    /// What was published, in the order of the plan, the sound last.
    pub tracks: Vec<TrackSummary>,
    /// How close each rendition is to its source, if it was measured.
    pub quality: Vec<QualityReport>,
    /// What was decoded before it was committed.
    pub inspection: InspectionReport,
    /// What it took.
    pub cost: CostReport,
    /// How far from the best possible it was.
    pub efficiency: EfficiencyReport,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

/// The programs that made a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    /// This crate's version.
    pub rungs: String,
    /// FFmpeg's version.
    pub ffmpeg: String,
}

impl MadeBy {
    /// This very program and the libraries that it runs with.
    #[must_use]
    pub fn this_program() -> Self {
        Self {
            rungs: env!("CARGO_PKG_VERSION").to_owned(),
            ffmpeg: rungs_media::ffmpeg_version(),
        }
    }
}

/// What was read of the source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReadReport {
    /// Pictures decoded. Each is decoded once, so this is the number of pictures in the source if one run did it all.
    pub frames_decoded: u64,
    /// Pictures in each rendition: those decoded, and those held.
    pub frames_packaged: u64,
    /// Pictures that were repeated, because the source holds them over a boundary between segments.
    pub frames_held: u64,
    /// Packets that could not be read or decoded.
    pub errors: u64,
    /// Where pictures were decoded.
    pub decoded_on: Vec<DecodedOn>,
    /// Where pictures were brought to the renditions' sizes.
    pub scaled_on: Vec<ScaledOn>,
    /// What was repaired in the timestamps.
    pub repairs: Repairs,
    /// Seconds of silence put into holes of the sound.
    pub silence_seconds: f64,
}

/// How close a rendition is to its source, in dB of peak signal-to-noise ratio against the scaled source; `None` where nothing
/// differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QualityReport {
    /// The rendition's name.
    pub track: String,
    /// Of luma.
    pub psnr_y: Option<f64>,
    /// Of the blue difference.
    pub psnr_u: Option<f64>,
    /// Of the red difference.
    pub psnr_v: Option<f64>,
}

/// What the job took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CostReport {
    /// From the start of the work to its end; the plan is not in it.
    pub wall_seconds: f64,
    /// Processor time of the process and of its encoders' processes meanwhile.
    pub cpu_seconds: f64,
    /// The most memory that the process ever held and the most that each of its encoders' processes did, added up, where the kernel
    /// tells. As these need not be at the same time, it is an upper bound.
    pub peak_memory: Option<u64>,
    /// The most bytes of spans and encoders that were charged at once.
    pub peak_charged: u64,
    /// Until the playlists named a segment of each track.
    pub first_playable_seconds: Option<f64>,
    /// Each session and what share of the time it worked.
    pub sessions: Vec<SessionReport>,
}

/// How well the devices were used.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EfficiencyReport {
    /// From the start of the work to the end of the last of it.
    pub makespan_seconds: f64,
    /// The time that no schedule could have beaten, given when spans were decoded and how fast each device was on average; see
    /// [`bound`](crate::bound). `None` if it cannot be told.
    pub bound_seconds: Option<f64>,
    /// The makespan over the bound.
    pub over_bound: Option<f64>,
    /// Where the time of each device's sessions went while the job ran, in session-seconds.
    pub devices: Vec<DeviceReport>,
}

/// Where the time of one device's sessions went, in session-seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceReport {
    /// The device.
    pub device: DeviceName,
    /// All of it.
    #[serde(flatten)]
    pub spent: Spent,
}

/// One session of a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionReport {
    /// The device.
    pub device: DeviceName,
    /// Which of its sessions.
    pub session: u32,
    /// Tasks that it did.
    pub tasks: u64,
    /// Attempts whose result was not used: they failed, were cancelled, or another was faster.
    pub wasted: u64,
    /// Share of the wall time in which it worked, 0 to 1.
    pub busy: f64,
}
