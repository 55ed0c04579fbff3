//! Makes the plan: looks at the source, resolves the ladder, and tries each encoder on a few real pictures. All that can be
//! refused is refused here.
//!
//! | file | question |
//! |---|---|
//! | `look`, `color` | what is the source, and what are its first pictures? |
//! | `encoders` | which encoder makes which codec on which device? |
//! | `drafts` | what is each rendition to be? |
//! | `trial`, `patience`, `estimate` | what do the encoders make of the first pictures, and which never answer? |
//! | `scale` | where are pictures brought to their sizes? |
//! | `assign` | which encoders share a rendition? |
//! | `sound`, `join` | what becomes of sound and subtitles, and what follows? |

mod assign;
mod color;
mod drafts;
mod encoders;
mod estimate;
mod join;
mod look;
mod patience;
mod scale;
mod sound;
mod trial;

use std::sync::Mutex;

use rungs_media::{Source, normalise};

use crate::cancel::Cancel;
use crate::control::FED_PICTURES_HELD;
use crate::device::Device;
use crate::error::{Error, Refusal};
use crate::gpu::Waiting;
use crate::ladder;
use crate::places::Decoders;
use crate::plan::{Plan, PlanParts, RenditionDraft, SourceFacts, Warning};
use crate::read::Picture;
use crate::scaling::Scalers;
use crate::spec::Spec;
use crate::sync::{spawn_scoped, thread};
use crate::timeline::{Grid, Timescale};
use crate::worker::Backend;

use self::assign::assign;
use self::drafts::Settings;
use self::encoders::{Family, smallest};
use self::look::{Look, check_shown, normalised_size, shown_size};
pub use self::patience::Patience;
use self::scale::Scaled;
use self::trial::{Trial, WORKING_SET_PER_PIXEL, trial_span};

/// Pictures a second above which encoders are not told the rate: SVT-AV1 refuses more than 240, and a file that says more mostly
/// means the unit of its clock.
const HIGHEST_RATE: f64 = 240.0;
/// Pictures a second of a source that does not tell.
const USUAL_RATE: f64 = 25.0;

/// Threads of FFmpeg's decoders, at the most; each holds a frame.
const MOST_DECODER_THREADS: u64 = 16;
/// Frames that a decoder holds besides: one that is shown, and one to predict from.
const DECODED_FRAMES: u64 = 2;
/// What a plan takes for any source. Below it, encoders are tried before anything is said of memory, since small ones need more for each pixel.
const PLAN_BYTES: u64 = 256 << 20;

/// What a plan is made with.
pub(crate) struct Planner<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) devices: &'a [Device],
    pub(crate) decoders: &'a Decoders,
    pub(crate) scalers: &'a Scalers,
    pub(crate) memory: u64,
    pub(crate) spec: &'a Spec,
    pub(crate) cancel: &'a Cancel,
    /// How long it waits for drivers that give no answer.
    pub(crate) patience: Patience,
    /// Told when it does.
    pub(crate) waiting: &'a (dyn Fn(&Waiting) + Sync),
}

impl Planner<'_> {
    /// Makes the plan of one job. Blocks while it opens the source and tries the encoders.
    pub(crate) fn plan(&self, source: &Source) -> Result<Plan, Error> {
        self.spec.check().map_err(Refusal::from)?;
        self.make(source).map_err(|refusal| {
            if self.cancel.is_cancelled() {
                Error::Interrupted
            } else {
                refusal.into()
            }
        })
    }

    fn make(&self, source: &Source) -> Result<Plan, Refusal> {
        let (look, picture) = self.look(source)?;
        self.decoders.check(&look.video)?;
        let mut warnings: Vec<_> = look::missing_images(source).into_iter().collect();
        let devices = self.devices(picture.normalise.depth, &mut warnings)?;
        let families = self.families(&devices, picture.normalise.depth)?;
        if picture.normalise.filters.is_empty() {
            self.check_memory_early(&look, &families)?;
        }
        let window = self.window(source, (&look, &picture))?;
        let pictures = self.first_pictures(source, (&look, &picture), window)?;
        let shown = normalised_size(&look.info, (&picture.normalise, &pictures[0]));
        check_shown(shown)?;
        let (ladder, dropped) = ladder::resolve(shown, &self.spec.rungs, smallest(&families))?;
        warnings.extend(picture.warnings);
        let mut parts = PlanParts {
            devices,
            normalise: picture.normalise,
            ..self.parts(&look, &pictures[0])
        };
        let rate = parts.source.frame_rate.unwrap_or(USUAL_RATE);
        let usual = parts.source.frame_rate;
        let usual = usual.is_some_and(|rate| rate <= HIGHEST_RATE);
        let settings = Settings {
            frame_rate: look.info.frame_rate.filter(|_| usual),
            color: look.info.color,
            light: picture.light,
        };
        let mut drafts = self.drafts((&families, &ladder), &parts, &settings);
        let trial = Trial {
            span: trial_span(&pictures, parts.grid, rate),
            rate,
            hung: Mutex::default(),
        };
        let scaled = Scaled {
            look: &look,
            first: &pictures[0],
            normalise: &parts.normalise,
            ladder: &ladder,
        };
        let tried = (&families[..], &mut drafts[..], &mut parts.devices[..]);
        let (others, scaling) = self.try_out(tried, (&trial, &scaled), &mut warnings)?;
        warnings.extend(scaling.warnings);
        drop(pictures);
        let mut drafts = assign(drafts, others, &parts.devices);
        // Of one size in the order of the codecs.
        drafts.sort_by_key(|draft| std::cmp::Reverse(draft.size.pixels()));
        self.check_memory(&drafts, parts.frame_bytes)?;
        let mut plan = Plan::new(parts, drafts);
        plan.scaling = scaling.plan;
        plan.strict = self.spec.strict;
        plan.measure = self.spec.measure;
        plan.inspect = self.spec.inspect;
        plan.dropped = dropped;
        plan.window = window;
        plan.warnings = warnings;
        self.add_sound_and_text(&mut plan, (source, &look))?;
        self.join(&mut plan, (source, &look))?;
        Ok(plan)
    }

    /// Tries the encoders, and meanwhile the GPUs that may scale: both take most of a second.
    fn try_out(
        &self,
        (families, drafts, devices): (&[Family], &mut [RenditionDraft], &mut [Device]),
        (trial, scaled): (&Trial, &Scaled<'_>),
        warnings: &mut Vec<Warning>,
    ) -> Result<(Vec<Vec<RenditionDraft>>, scale::Found), Refusal> {
        thread::scope(|scope| {
            let scaling = spawn_scoped(scope, "plan", || self.scale_plan(scaled));
            self.try_families((families, &mut *drafts), devices, (trial, warnings))?;
            let others = self.try_others(drafts, devices, (trial, warnings))?;
            let scaling = match scaling {
                Ok(thread) => {
                    let done = thread.join();
                    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                }
                // Without a thread it is done afterwards.
                Err(_) => self.scale_plan(scaled),
            };
            Ok((others, scaling?))
        })
    }

    fn parts(&self, look: &Look, first: &Picture) -> PlanParts {
        let time_base = look.video.time_base;
        let timescale = Timescale::for_time_base(time_base.num(), time_base.den());
        let rate = look.info.frame_rate.map(rungs_media::Rational::as_f64);
        let rate = rate.filter(|rate| (0.1..=1000.0).contains(rate));
        PlanParts {
            source: SourceFacts {
                format: look.format.clone(),
                promised_seconds: look.promised_seconds.map(|all| self.spec.cut.of(all)),
                promised_by_track: look.promised_by_track,
                promised_frames: look.video.frames.filter(|_| self.spec.cut.is_whole()),
                video_stream: look.video.index,
                codec: look.video.codec.clone(),
                shown: shown_size(&look.info),
                pixel_format: look.info.pixel_format.clone(),
                frame_rate: rate,
                origin: first.timestamp.unwrap_or(0),
                time_base,
            },
            grid: Grid::new(timescale, self.spec.segment_seconds),
            nominal_duration: timescale
                .from_seconds(1.0 / rate.unwrap_or(USUAL_RATE))
                .max(1),
            frame_bytes: first.frame.bytes() as u64,
            normalise: normalise::Config::default(),
            devices: Vec::new(),
            memory: self.memory,
        }
    }

    /// Refuses large frames for which there cannot be memory before any is decoded: decoding them and trying encoders takes what the job would.
    fn check_memory_early(&self, look: &Look, families: &[Family]) -> Result<(), Refusal> {
        let shown = shown_size(&look.info);
        check_shown(shown)?;
        let (ladder, _) = ladder::resolve(shown, &self.spec.rungs, smallest(families))?;
        let largest = ladder
            .iter()
            .map(|rung| rung.size.pixels())
            .max()
            .unwrap_or(0);
        // Brightness in 8 bits, and colour at half the width and height, are the least that a frame takes.
        let frame_bytes = u64::from(look.info.width) * u64::from(look.info.height) * 3 / 2;
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let decoder = threads.min(MOST_DECODER_THREADS) + DECODED_FRAMES;
        let pictures = (FED_PICTURES_HELD + decoder) * frame_bytes;
        let least = pictures + largest * WORKING_SET_PER_PIXEL;
        if least <= self.memory || least <= PLAN_BYTES {
            return Ok(());
        }
        Err(Refusal::Memory {
            given: self.memory,
            pictures,
            // What encoders took at the most of what they should: the advice must be enough.
            encoder: largest * WORKING_SET_PER_PIXEL * 3 / 2,
        })
    }

    /// Whether at least one encoder can be fed.
    fn check_memory(&self, drafts: &[RenditionDraft], frame_bytes: u64) -> Result<(), Refusal> {
        let pictures = FED_PICTURES_HELD * frame_bytes;
        let encoder = drafts
            .iter()
            .map(|draft| draft.working_set)
            .max()
            .unwrap_or(0);
        if pictures + encoder <= self.memory {
            return Ok(());
        }
        Err(Refusal::Memory {
            given: self.memory,
            pictures,
            encoder,
        })
    }
}
