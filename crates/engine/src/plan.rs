//! What a job will do, as a value: source, renditions, sound, memory. It can be written to disk, read back and compared.

use std::collections::BTreeMap;

use rungs_media::encode;
use rungs_media::hardware;
use rungs_media::normalise;
use rungs_media::scale::{self, Kernel};
use rungs_media::time::TimeBase;
use rungs_package::Digest;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::device::Device;
use crate::done::video_track_name;
use crate::ids::RenditionId;
use crate::inspect::Inspect;
use crate::join::Joined;
use crate::ladder::{Dropped, Size};
use crate::schedule::{Ability, Load};
use crate::stills::StillsSpec;
use crate::timeline::Grid;
pub use crate::warning::Warning;
use crate::window::Window;

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
    /// How pictures are brought to its size.
    #[serde(default)]
    pub kernel: Kernel,
    /// The encoder's settings; each task sets the length of its group of pictures and its threads.
    pub encoder: encode::Config,
    /// Most pictures from one keyframe to the next; `None` for one at the start of each segment only.
    pub gop: Option<u32>,
    /// The codec configuration that the trial gave: an AV1 sequence header OBU, or the parameter sets of H.264 or HEVC as a byte
    /// stream of Annex B.
    pub configuration: Vec<u8>,
    /// Memory of one open encoder, in bytes.
    pub working_set: u64,
    /// Seconds of it that one session made in a second in the trial, start-up included.
    pub trial_speed: f64,
    /// What the playlists state while it is made.
    pub estimate: Estimate,
    /// The digest of what the encoder gave in the trial: another version of it is noticed by this, whatever it calls itself.
    pub fingerprint: Digest,
    /// Other encoders that make segments of it too, on devices of their own.
    pub others: Vec<Maker>,
    /// Encoders of the devices that were tried with it and do not make it: they break its codec contract.
    pub spare: Vec<Maker>,
    /// Classes of those, by the names of their encoders, which may take it over as long as nothing of it is done; in the order in which they are asked.
    #[serde(default)]
    pub successors: Vec<Vec<String>>,
}

/// What the trial of one more encoder gave for a rendition. One that shares the rendition with another keeps the codec contract in its
/// headers, and its segments have a sample entry of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Maker {
    /// See [`Rendition::encoder`].
    pub encoder: encode::Config,
    /// See [`Rendition::configuration`].
    pub configuration: Vec<u8>,
    /// See [`Rendition::working_set`].
    pub working_set: u64,
    /// See [`Rendition::trial_speed`].
    pub trial_speed: f64,
    /// See [`Rendition::fingerprint`].
    pub fingerprint: Digest,
}

impl Maker {
    /// Whether both trials gave the same bytes at the same settings.
    pub(crate) fn gives_what(&self, other: &Self) -> bool {
        (&self.encoder, &self.configuration, self.fingerprint)
            == (&other.encoder, &other.configuration, other.fingerprint)
    }
}

fn find<'a>(makers: &'a [Maker], encoder: &str) -> Option<&'a Maker> {
    makers.iter().find(|maker| maker.encoder.encoder == encoder)
}

impl Rendition {
    /// The same rendition as `device` makes it; `None` if it does not.
    #[must_use]
    pub fn made_by(&self, device: &Device) -> Option<Self> {
        let own = |encoder: &str| encoder == self.encoder.encoder;
        if device.idle {
            return None;
        }
        if device.takes_any() || device.encoders().any(own) {
            return Some(self.clone());
        }
        let maker = device
            .encoders()
            .find_map(|name| find(&self.others, name))?;
        Some(self.made_with(maker))
    }

    /// Its codec. What a backend's own encoder makes, of a name that FFmpeg does not know, counts as AV1.
    #[must_use]
    pub fn codec(&self) -> encode::Codec {
        encode::codec_of(&self.encoder.encoder).unwrap_or(encode::Codec::Av1)
    }

    /// The encoders that make segments of it, the first one first.
    pub(crate) fn makers(&self) -> impl Iterator<Item = Maker> {
        std::iter::once(self.first_maker()).chain(self.others.iter().cloned())
    }

    /// What the trial of an encoder by that name gave, whether it makes the rendition or not.
    pub(crate) fn tried(&self, encoder: &str) -> Option<Maker> {
        if encoder == self.encoder.encoder {
            return Some(self.first_maker());
        }
        let found = find(&self.others, encoder).or_else(|| find(&self.spare, encoder));
        found.cloned()
    }

    /// The same rendition with an encoder in the first place that was tried with it; itself for another.
    pub(crate) fn led_by(&self, encoder: &str) -> Self {
        self.tried(encoder)
            .map_or_else(|| self.clone(), |maker| self.made_with(&maker))
    }

    /// The same rendition as another class makes it, by its place among the [successors](Self::successors); `None` if there is no such class.
    #[must_use]
    pub fn taken_over(&self, class: usize) -> Option<Self> {
        let names = self.successors.get(class)?;
        let is_new = |maker: &Maker| names.contains(&maker.encoder.encoder);
        let (new, mut spare): (Vec<Maker>, Vec<Maker>) =
            self.spare.iter().cloned().partition(is_new);
        spare.extend(self.makers());
        let (first, others) = new.split_first()?;
        Some(Self {
            others: others.to_vec(),
            spare,
            successors: self.successors[class + 1..].to_vec(),
            ..self.made_with(first)
        })
    }

    fn first_maker(&self) -> Maker {
        Maker {
            encoder: self.encoder.clone(),
            configuration: self.configuration.clone(),
            working_set: self.working_set,
            trial_speed: self.trial_speed,
            fingerprint: self.fingerprint,
        }
    }

    fn made_with(&self, maker: &Maker) -> Self {
        Self {
            encoder: maker.encoder.clone(),
            configuration: maker.configuration.clone(),
            working_set: maker.working_set,
            trial_speed: maker.trial_speed,
            fingerprint: maker.fingerprint,
            ..self.clone()
        }
    }

    /// What determines the bytes of its segments.
    fn lasting(&self) -> serde_json::Value {
        let Self {
            id: _,
            name: _,
            size,
            kernel,
            encoder,
            gop,
            configuration,
            working_set: _,
            trial_speed: _,
            estimate: _,
            // Compared on its own, so that it can be named.
            fingerprint: _,
            // Who goes on may have fewer devices.
            others: _,
            spare: _,
            successors: _,
        } = self;
        json!({ "size": size, "kernel": kernel, "encoder": encoder, "gop": gop, "configuration": configuration })
    }

    /// What each picture is scaled to before it is encoded.
    #[must_use]
    pub const fn scaling(&self) -> scale::Config {
        scale::Config {
            width: self.size.width,
            height: self.size.height,
            depth: self.encoder.depth,
            kernel: self.kernel,
        }
    }

    /// Pictures from one keyframe of a segment to the next. The same for all segments, however many pictures they have: an encoder is opened
    /// before its pictures are counted, and some give other bytes with another number.
    #[must_use]
    pub fn gop_frames(&self) -> u32 {
        /// More than a segment has.
        const UNBROKEN: u32 = 1 << 15;
        self.gop.unwrap_or(UNBROKEN)
    }
}

/// A rendition without its id, which [`Plan::new`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct RenditionDraft {
    /// See [`Rendition::name`].
    pub name: String,
    /// See [`Rendition::size`].
    pub size: Size,
    /// See [`Rendition::kernel`].
    pub kernel: Kernel,
    /// See [`Rendition::encoder`].
    pub encoder: encode::Config,
    /// See [`Rendition::gop`].
    pub gop: Option<u32>,
    /// See [`Rendition::configuration`].
    pub configuration: Vec<u8>,
    /// See [`Rendition::working_set`].
    pub working_set: u64,
    /// See [`Rendition::trial_speed`].
    pub trial_speed: f64,
    /// See [`Rendition::estimate`].
    pub estimate: Estimate,
    /// See [`Rendition::others`].
    pub others: Vec<Maker>,
    /// See [`Rendition::spare`].
    pub spare: Vec<Maker>,
    /// See [`Rendition::successors`].
    pub successors: Vec<Vec<String>>,
    /// See [`Rendition::fingerprint`].
    pub fingerprint: Digest,
}

impl From<RenditionDraft> for Maker {
    fn from(draft: RenditionDraft) -> Self {
        Self {
            encoder: draft.encoder,
            configuration: draft.configuration,
            working_set: draft.working_set,
            trial_speed: draft.trial_speed,
            fingerprint: draft.fingerprint,
        }
    }
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

/// A track of sound.
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
    /// The name to show in players' menus, as the source gives it.
    pub label: Option<String>,
    /// Whether the packets carry ADTS headers, which the published ones must not.
    pub adts: bool,
    /// By how much it is made louder, in hundredths of a decibel; only sound that is encoded.
    #[serde(default)]
    pub gain: i32,
}

/// A track of subtitles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextPlan {
    /// Index of the track in the source.
    pub stream: usize,
    /// Its name, which is its folder's too: `eng`.
    pub name: String,
    /// The language as the source gives it.
    pub language: Option<String>,
    /// The name to show in players' menus, as the source gives it.
    pub label: Option<String>,
    /// Whether it is for those who want no subtitles.
    pub forced: bool,
}

/// Pixels of a picture for which a session is taken to need a second for each second of the source, until it is known: what SVT-AV1 did
/// on one core of a small machine at preset 8.
const PIXELS_PER_SECOND: f64 = 500_000.0;

/// Where pictures are scaled. GPUs of one model make the same of a picture, which is not what the CPU makes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalePlan {
    /// The model of the GPUs that do it; `None` for the CPU.
    pub on: Option<String>,
    /// The digest of what it made of a picture of that size.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Models of this machine that could.
    pub present: Vec<String>,
    /// Whether GPUs were asked for.
    #[serde(default)]
    pub asked: bool,
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
    /// Where they are brought to the renditions' sizes.
    #[serde(default)]
    pub scaling: ScalePlan,
    /// The renditions, largest first.
    renditions: Vec<Rendition>,
    /// The tracks of sound, the one to play first.
    pub audio: Vec<AudioPlan>,
    /// The tracks of subtitles.
    #[serde(default)]
    pub text: Vec<TextPlan>,
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
    /// The part of the source that is taken; `None` for all of it.
    #[serde(default)]
    pub window: Option<Window>,
    /// The sources that follow; the window says where the first ends then.
    #[serde(default)]
    pub joined: Vec<Joined>,
    /// Which images are made in the end.
    #[serde(default)]
    pub stills: StillsSpec,
    /// Whether all segments of a rendition go into one file in the end:
    /// [`JobFolder::put_together`](crate::journal::JobFolder::put_together) does that after the run.
    #[serde(default)]
    pub single_file: bool,
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
            kernel: draft.kernel,
            encoder: draft.encoder,
            gop: draft.gop,
            configuration: draft.configuration,
            working_set: draft.working_set,
            trial_speed: draft.trial_speed,
            estimate: draft.estimate,
            others: draft.others,
            spare: draft.spare,
            successors: draft.successors,
            fingerprint: draft.fingerprint,
        });
        Self {
            source: parts.source,
            grid: parts.grid,
            nominal_duration: parts.nominal_duration,
            frame_bytes: parts.frame_bytes,
            normalise: parts.normalise,
            scaling: ScalePlan::default(),
            renditions: renditions.collect(),
            audio: Vec::new(),
            text: Vec::new(),
            devices: parts.devices,
            memory: parts.memory,
            strict: false,
            measure: false,
            inspect: Inspect::Off,
            dropped: Vec::new(),
            warnings: Vec::new(),
            window: None,
            joined: Vec::new(),
            stills: StillsSpec::default(),
            single_file: false,
        }
    }

    /// The renditions, largest first.
    #[must_use]
    pub fn renditions(&self) -> &[Rendition] {
        &self.renditions
    }

    /// How pictures are brought to the size of the largest rendition, and those of joined sources to that of the first.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        let largest = self.renditions.first();
        largest.map_or(Kernel::default(), |rendition| rendition.kernel)
    }

    /// What determines the bytes of the package, except for names and for what tells one encoder's version from another. What
    /// only says how fast it is made, on what, or what the user was told, is not in it.
    pub(crate) fn lasting(&self) -> serde_json::Value {
        let Self {
            source,
            grid,
            nominal_duration,
            frame_bytes: _,
            normalise,
            // Compared on its own: who goes on keeps to it.
            scaling: _,
            renditions,
            audio,
            text,
            devices: _,
            memory: _,
            strict,
            measure: _,
            inspect: _,
            dropped: _,
            warnings: _,
            window,
            joined,
            stills,
            single_file,
        } = self;
        let joined: Vec<_> = joined.iter().map(Joined::lasting).collect();
        let renditions: Vec<_> = renditions.iter().map(Rendition::lasting).collect();
        json!({
            "source": source, "grid": grid, "nominal_duration": nominal_duration, "normalise": normalise,
            "renditions": renditions, "audio": audio, "text": text, "strict": strict, "window": window, "joined": joined,
            "stills": stills, "single_file": single_file,
        })
    }

    /// The same plan with what the other one knows of its machine: devices, memory, and what encoders take there. Both have the same
    /// renditions.
    pub(crate) fn on_machine_of(&self, other: &Self) -> Self {
        let mut plan = self.clone();
        // What was free then, or failed then, is not what is so now.
        let is_of_now = |warning: &Warning| {
            matches!(
                warning,
                Warning::LittleRoom { .. }
                    | Warning::EncodeDevice { .. }
                    | Warning::ScaleDevice { .. }
            )
        };
        plan.warnings.retain(|warning| !is_of_now(warning));
        let here = other.warnings.iter().filter(|warning| is_of_now(warning));
        plan.warnings.extend(here.cloned());
        plan.devices.clone_from(&other.devices);
        plan.scaling.present.clone_from(&other.scaling.present);
        plan.memory = other.memory;
        // The same files, which may have been moved.
        plan.joined.clone_from(&other.joined);
        for (rendition, here) in plan.renditions.iter_mut().zip(&other.renditions) {
            if let Some(first) = here.tried(&rendition.encoder.encoder) {
                rendition.working_set = first.working_set;
                rendition.trial_speed = first.trial_speed;
            }
            for maker in rendition.others.iter_mut().chain(&mut rendition.spare) {
                if let Some(here) = here.tried(&maker.encoder.encoder) {
                    maker.working_set = here.working_set;
                    maker.trial_speed = here.trial_speed;
                }
            }
        }
        plan
    }

    /// Two plans, with each rendition that both have led by an encoder that makes it in the first and was tried in the second. Which encoder
    /// makes what follows from speeds and falls out otherwise each time, and who goes on may have fewer devices.
    pub(crate) fn led_alike(&self, other: &Self) -> (Self, Self) {
        let (mut one, mut two) = (self.clone(), other.clone());
        for (one, two) in one.renditions.iter_mut().zip(&mut two.renditions) {
            let names = one.makers().map(|maker| maker.encoder.encoder);
            let common = names.into_iter().find(|name| two.tried(name).is_some());
            if let Some(name) = common {
                (*one, *two) = (one.led_by(&name), two.led_by(&name));
            }
        }
        (one, two)
    }

    /// Whether the bytes follow from the plan and the source alone. Where unlike encoders share a rendition, it depends on the schedule
    /// which of them makes a segment; and nothing is promised of encoders of GPUs.
    #[must_use]
    pub fn is_schedule_independent(&self) -> bool {
        // What GPUs make has not been seen to be the same each time.
        let steady = |rendition: &Rendition| {
            hardware::codec_of(&rendition.encoder.encoder).is_none() && rendition.others.is_empty()
        };
        self.renditions.iter().all(steady)
    }

    /// The same plan with the renditions of another one for the same source, which it does not have yet: those that it has keep
    /// their names, and the new ones get names that are free. `None` if it has them all.
    #[must_use]
    pub fn with_renditions_of(&self, other: &Self) -> Option<Self> {
        let mut all = self.renditions.clone();
        for rendition in &other.renditions {
            // Which encoder makes a rendition may fall out otherwise each time.
            let same =
                |own: &Rendition| own.lasting() == rendition.led_by(&own.encoder.encoder).lasting();
            if all.iter().any(same) {
                continue;
            }
            let mut new = rendition.clone();
            new.name = free_name(&all, rendition);
            // Largest first, and among equals the newest last.
            let place = all.partition_point(|own| own.size.pixels() >= new.size.pixels());
            all.insert(place, new);
        }
        if all.len() == self.renditions.len() {
            return None;
        }
        for (rendition, place) in all.iter_mut().zip(0..) {
            rendition.id = RenditionId::new(place);
        }
        Some(Self {
            renditions: all,
            ..self.clone()
        })
    }

    /// Lets the class of an encoder make a rendition, by the packager's name of its track; without effect if there is no such class.
    pub(crate) fn take_over(&mut self, track: &str, by: &str) {
        let mut renditions = self.renditions.iter_mut();
        let rendition = renditions.find(|own| video_track_name(&own.name) == track);
        let Some(rendition) = rendition else {
            return;
        };
        let first = |class: &Vec<String>| class.first().is_some_and(|first| first == by);
        let class = rendition.successors.iter().position(first);
        if let Some(other) = class.and_then(|class| rendition.taken_over(class)) {
            *rendition = other;
        }
    }

    /// The same plan after other classes have taken renditions over.
    pub(crate) fn with_taken_over(&self, classes: &BTreeMap<RenditionId, usize>) -> Self {
        let mut plan = self.clone();
        for (rendition, class) in classes {
            let planned = &self.renditions[rendition.place()];
            if let Some(other) = planned.taken_over(*class) {
                plan.renditions[rendition.place()] = other;
            }
        }
        plan
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

    /// What the schedule has to know of the renditions.
    pub(crate) fn loads(&self) -> Vec<Load> {
        let first = self.devices.first();
        let ability = |rendition: &Rendition, device| {
            let made = rendition.made_by(device)?;
            // Also where the first device's encoder does not make it.
            let usual = first.and_then(|device| {
                let mut names = device.encoders();
                names.find_map(|encoder| rendition.tried(encoder))
            });
            let usual = usual.map_or(rendition.trial_speed, |maker| maker.trial_speed);
            // The trial is too short for a measure that is the same each time: only the proportions are used.
            let slower = usual / made.trial_speed.max(f64::MIN_POSITIVE);
            Some(Ability {
                seconds: rendition.size.pixels() as f64 / PIXELS_PER_SECOND * slower.max(1e-3),
                measured: false,
                bytes: made.working_set,
            })
        };
        let abilities = |rendition: &Rendition| -> Vec<Option<Ability>> {
            let devices = self.devices.iter();
            devices.map(|device| ability(rendition, device)).collect()
        };
        let load = |rendition: &Rendition| {
            let classes = 0..rendition.successors.len();
            let successors = classes.filter_map(|class| rendition.taken_over(class));
            Load {
                rendition: rendition.id,
                abilities: abilities(rendition),
                successors: successors.map(|other| abilities(&other)).collect(),
            }
        };
        self.renditions.iter().map(load).collect()
    }
}

/// A name for a rendition that no other has: its own, else one with its size, else one with its settings, else one with a number.
fn free_name(taken: &[Rendition], rendition: &Rendition) -> String {
    let (size, encoder, codec) = (rendition.size, &rendition.encoder, rendition.codec());
    let first = [
        rendition.name.clone(),
        format!("{codec}-{size}"),
        format!("{codec}-{size}-crf{}-speed{}", encoder.crf, encoder.speed),
    ];
    let numbered = (2..).map(|number| format!("{codec}-{size}-{number}"));
    first
        .into_iter()
        .chain(numbered)
        .find(|name| !taken.iter().any(|other| other.name == *name))
        .unwrap_or_default()
}
