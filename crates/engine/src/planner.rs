//! Makes the plan: looks at the source, resolves the ladder, and tries each encoder on a few real pictures. All that can be
//! refused is refused here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rungs_media::demux::{Color, Demuxer, Stream, StreamKind, VideoInfo};
use rungs_media::encode::{self, Codec, Rate};
use rungs_media::hdr::{self, Light};
use rungs_media::normalise;
use rungs_media::overlay::{self, Overlay};
use rungs_media::{Limits, Source};
use rungs_package::Digest;
use rungs_package::coding::Coding;
use rungs_package::digest::Hasher;

use crate::cancel::Cancel;
use crate::choice::TrackChoice;
use crate::classes::{self, Choice, spread};
use crate::coding::packaged;
use crate::control::FED_PICTURES_HELD;
use crate::device::{Device, Lease};
use crate::error::{EncodeError, Error, Refusal};
use crate::ids::{DeviceId, RenditionId, SegmentIndex};
use crate::inspect::Depth;
use crate::join::{self, Joined};
use crate::journal::SourceIdentity;
use crate::ladder::{self, Resolved, Rung, Size, Smallest, Stored};
use crate::picture::{self, BT709, BT2020, PicturePlan, UNSPECIFIED, matrix_for_rgb};
use crate::plan::{
    Estimate, Maker, Plan, PlanParts, Rendition, RenditionDraft, SourceFacts, Warning,
};
use crate::read::{Material, Picture, ReadOptions, Reader, VideoMaterial, VideoReader};
use crate::sound;
use crate::span::{Encoded, Footage, Span, Task};
use crate::spec::{AudioChoice, Seams, Spec};
use crate::text;
use crate::timeline::{Cell, Grid, Placed, Timescale};
use crate::window::{Window, Windowed};
use crate::worker::Backend;

/// Pictures of the source that each encoder is tried on.
const TRIAL_PICTURES: usize = 6;
/// What the dearest segment is taken to need over the average one, as it is stated while the job runs.
const ESTIMATE_MARGIN: f64 = 2.0;
/// Bits for a pixel of film at 1080p and a certain constant rate factor, below which no estimate goes: the trial may have met a black
/// screen. Small pictures need more for each pixel.
struct Usual {
    bits_per_pixel: f64,
    crf: f64,
    /// Steps of the rate factor that halve it.
    halved_by: f64,
}

impl Usual {
    fn of(codec: Option<Codec>) -> Self {
        let (bits_per_pixel, crf, halved_by) = match codec {
            Some(Codec::H264) => (0.08, 23.0, 6.0),
            Some(Codec::Hevc) => (0.045, 28.0, 6.0),
            _ => (0.04, 35.0, 8.0),
        };
        Self {
            bits_per_pixel,
            crf,
            halved_by,
        }
    }
}
/// Pictures a second above which encoders are not told the rate: SVT-AV1 refuses more than 240, and a file that says more mostly
/// means the unit of its clock.
const HIGHEST_RATE: f64 = 240.0;
/// Pictures a second of a source that does not tell.
const USUAL_RATE: f64 = 25.0;
/// Memory of one software encoder for each pixel, at least: SVT-AV1 1.4.1 on one thread takes 350 MB at 1080p.
const WORKING_SET_PER_PIXEL: u64 = 170;
/// How much an encoder grows beyond what it took for the few pictures of the trial, in tenths.
const GROWTH_TENTHS: u64 = 16;

/// What a plan is made with.
pub(crate) struct Planner<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) devices: &'a [Device],
    pub(crate) memory: u64,
    pub(crate) spec: &'a Spec,
    pub(crate) cancel: &'a Cancel,
}

/// What is known about the source after a first look.
struct Look {
    format: String,
    promised_seconds: Option<f64>,
    promised_by_track: bool,
    video: Stream,
    info: VideoInfo,
    audio: Vec<Stream>,
    subtitles: Vec<Stream>,
}

/// What all renditions of a job share.
struct Settings {
    frame_rate: Option<rungs_media::Rational>,
    color: Color,
    light: Light,
}

/// What every encoder is tried on.
struct Trial {
    span: Arc<Span>,
    /// Pictures a second.
    rate: f64,
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
        let mut warnings = Vec::new();
        let devices = self.devices(&mut warnings)?;
        let families = self.families(&devices)?;
        let window = self.window(source, (&look, &picture))?;
        let pictures = self.first_pictures(source, (&look, &picture), window)?;
        let shown = normalised_size(&look.info, (&picture.normalise, &pictures[0]));
        check_shown(shown)?;
        let (ladder, dropped) = ladder::resolve(shown, &self.spec.rungs, smallest(&families))?;
        warnings.extend(picture.warnings);
        let parts = PlanParts {
            devices,
            normalise: picture.normalise,
            ..self.parts(&look, &pictures[0])
        };
        let rate = parts.source.frame_rate.unwrap_or(USUAL_RATE);
        let mut drafts = self.drafts(
            (&families, &ladder),
            &parts,
            &Settings {
                frame_rate: look.info.frame_rate.filter(|_| {
                    parts
                        .source
                        .frame_rate
                        .is_some_and(|rate| rate <= HIGHEST_RATE)
                }),
                color: look.info.color,
                light: picture.light,
            },
        );
        let trial = Trial {
            span: trial_span(&pictures, parts.grid, rate),
            rate,
        };
        drop(pictures);
        for (family, drafts) in families.iter().zip(drafts.chunks_mut(ladder.len())) {
            let failed = self.try_all(drafts, (&trial, family.device));
            // The first in the ladder's order, so that the message does not depend on the race.
            if let Some((_, refusal)) = failed.into_iter().next() {
                return Err(refusal);
            }
        }
        let others = self.try_others(&drafts, &parts.devices, &trial);
        let mut drafts = assign(drafts, others, &parts.devices);
        // Of one size in the order of the codecs.
        drafts.sort_by_key(|draft| std::cmp::Reverse(draft.size.pixels()));
        self.check_memory(&drafts, parts.frame_bytes)?;
        let mut plan = Plan::new(parts, drafts);
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

    /// Looks at the source, and decides what becomes of its pictures.
    fn look(&self, source: &Source) -> Result<(Look, PicturePlan), Refusal> {
        let mut look = look(source, self.cancel)?;
        let media = self.cancel.media();
        if hdr::is_hdr(look.info.color) {
            let first = hdr::first_light(source, look.video.index, media);
            let first = first.map_err(|error| Refusal::NoPicture(Some(error)))?;
            look.info.light = look.info.light.or(first);
        }
        let mut picture = picture::plan(&self.spec.picture, &look.info, look.video.time_base)?;
        look.info.frame_rate = picture.frame_rate;
        look.video.time_base = picture.time_base;
        look.info.color = complete_color(picture.color, shown_size(&look.info));
        picture.normalise.overlay = self.overlay(look.info.color.matrix)?;
        Ok((look, picture))
    }

    /// Reads the image that is to lie over the pictures, whose matrix this is.
    fn overlay(&self, matrix: u8) -> Result<Option<Overlay>, Refusal> {
        let Some(wanted) = &self.spec.picture.overlay else {
            return Ok(None);
        };
        let image = overlay::read_image(&wanted.path).map_err(|source| Refusal::Overlay {
            path: wanted.path.clone(),
            source,
        })?;
        Ok(Some(Overlay {
            path: wanted.path.clone(),
            x: wanted.x,
            y: wanted.y,
            matrix,
            digest: image.digest(),
        }))
    }

    fn add_sound_and_text(
        &self,
        plan: &mut Plan,
        (source, look): (&Source, &Look),
    ) -> Result<(), Refusal> {
        let origin = look.video.time_base.seconds(plan.source.origin);
        let audio = self.sound(source, &look.audio, (origin, plan.window))?;
        let subtitles = if self.spec.joined.is_empty() {
            &self.spec.subtitles
        } else {
            &TrackChoice::None
        };
        let text = text::plan::choose(&look.subtitles, subtitles)?;
        plan.audio = audio.plans;
        plan.text = text.plans;
        plan.warnings.extend(audio.warnings);
        plan.warnings.extend(text.warnings);
        Ok(())
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

    fn drafts(
        &self,
        (families, ladder): (&[Family], &[Resolved]),
        parts: &PlanParts,
        settings: &Settings,
    ) -> Vec<RenditionDraft> {
        let timescale = parts.grid.timescale();
        let draft = |family: &Family, rung: &Resolved| RenditionDraft {
            name: String::new(),
            size: rung.size,
            encoder: encode::Config {
                encoder: family.encoder.clone(),
                width: rung.size.width,
                height: rung.size.height,
                time_base: rungs_media::time::TimeBase::new(1, timescale.ticks_per_second())
                    .expect("a timescale is above zero"),
                frame_rate: settings.frame_rate,
                color: settings.color,
                gop: 1,
                threads: 1,
                crf: rung
                    .rung
                    .crf
                    .unwrap_or_else(|| self.spec.crf_of(family.codec)),
                speed: rung.rung.speed.unwrap_or(self.spec.speed),
                depth: parts.normalise.depth,
                light: settings.light,
                rate: self.rate_of(&rung.rung),
            },
            gop: self.gop(parts),
            configuration: Vec::new(),
            working_set: 0,
            trial_speed: 0.0,
            estimate: Estimate {
                peak: 0,
                average: 0,
            },
            others: Vec::new(),
            spare: Vec::new(),
            fingerprint: Digest::of(&[]),
        };
        let mut drafts = Vec::new();
        for family in families {
            let mut own: Vec<_> = ladder.iter().map(|rung| draft(family, rung)).collect();
            name_all(family.codec, &mut own);
            drafts.append(&mut own);
        }
        drafts
    }

    /// What decides on the bits of a rung.
    fn rate_of(&self, rung: &Rung) -> Rate {
        match self.spec.seams {
            Seams::ConstQp => Rate::Quantizer,
            Seams::Parallel | Seams::Serial => rung.rate.unwrap_or(self.spec.rate),
        }
    }

    fn gop(&self, parts: &PlanParts) -> Option<u32> {
        let gop = self
            .spec
            .gop_seconds
            .filter(|gop| *gop < self.spec.segment_seconds)?;
        let picture = parts.grid.timescale().seconds(parts.nominal_duration);
        Some(((gop / picture).round() as u32).max(1))
    }

    /// Decides how the sound is made of a presentation that starts at `origin` on the source's clock, in seconds.
    fn sound(
        &self,
        source: &Source,
        tracks: &[Stream],
        (origin, window): (f64, Option<Window>),
    ) -> Result<sound::plan::Chosen, Refusal> {
        let mut sound = self.spec.sound.clone();
        if !self.spec.joined.is_empty() {
            // The tracks of several files have nothing in common but their order.
            sound.tracks = TrackChoice::First;
        }
        let choice = match self.spec.audio {
            // What is joined is one sound: it cannot pass through from several files.
            AudioChoice::Auto if !self.spec.joined.is_empty() => AudioChoice::Opus,
            AudioChoice::Copy if !self.spec.joined.is_empty() => {
                return Err(Refusal::Audio {
                    reason: "the sound of several sources cannot pass through as one".to_owned(),
                    source: None,
                });
            }
            choice => choice,
        };
        let wanted = sound::plan::Wanted {
            choice,
            sound: &sound,
            origin,
            starts_inside: window.is_some_and(|window| window.from.is_some()),
            cancel: self.cancel,
        };
        sound::plan::choose(source, tracks, &wanted)
    }

    /// Puts the sources that follow into the plan, each where the one before ends.
    fn join(&self, plan: &mut Plan, (source, look): (&Source, &Look)) -> Result<(), Refusal> {
        let Some(next) = self.spec.joined.first() else {
            return Ok(());
        };
        let ends = |path: &Path, (source, look): (&Source, &Look)| {
            let rate = look.info.frame_rate.map(rungs_media::Rational::as_f64);
            let base = look.video.time_base;
            let unit = f64::from(base.num()) / f64::from(base.den());
            let nominal = (1.0 / rate.unwrap_or(USUAL_RATE).max(0.1) / unit).round() as i64;
            join::end_of(
                source,
                (look.video.index, nominal.max(1)),
                self.cancel.media(),
            )
            .map_err(|error| not_joined(path, "it cannot be read to its end").because(error))
            .and_then(|end| end.ok_or(not_joined(path, "it has no times").plain()))
        };
        let base = look.video.time_base;
        let mut reach = ends(next, (source, look))?;
        plan.window = Some(Window {
            from: None,
            until: Some(reach),
        });
        for (place, path) in self.spec.joined.iter().enumerate() {
            let source = Source::from(path.as_path());
            let (own, picture) = self.follower(&source, (path, look))?;
            let first = self.first_pictures(&source, (&own, &picture), None)?;
            let origin = first[0].timestamp.unwrap_or(0);
            let end = ends(path, (&source, &own))?;
            let start = reach;
            reach += own.video.time_base.rescale(end - origin, base);
            plan.joined.push(Joined {
                path: std::path::absolute(path).unwrap_or_else(|_| path.clone()),
                identity: SourceIdentity::of(&source)
                    .map_err(|error| not_joined(path, "it cannot be read").because(error))?,
                video_stream: own.video.index,
                sound_stream: own.audio.first().map(|stream| stream.index),
                normalise: normalise::Config {
                    depth: plan.normalise.depth,
                    ..picture.normalise
                },
                time_base: own.video.time_base,
                origin,
                start,
                until: (place + 1 < self.spec.joined.len()).then_some(reach),
            });
        }
        plan.source.promised_seconds = Some(base.seconds(reach - plan.source.origin));
        plan.source.promised_frames = None;
        Ok(())
    }

    /// Looks at a source that is to follow the first, and refuses what would look otherwise.
    fn follower(
        &self,
        source: &Source,
        (path, first): (&Path, &Look),
    ) -> Result<(Look, PicturePlan), Refusal> {
        /// How much a picture may be stretched without anybody seeing it.
        const SAME_SHAPE: f64 = 0.01;
        let (own, picture) = self
            .look(source)
            .map_err(|refusal| not_joined(path, "it cannot be taken").because(refusal))?;
        let (shown, wanted) = (shown_size(&own.info), shown_size(&first.info));
        check_shown(shown)?;
        let shape = |size: Size| f64::from(size.width) / f64::from(size.height);
        if (shape(shown) / shape(wanted) - 1.0).abs() > SAME_SHAPE {
            let reason = format!("its picture is {shown}, which has not the shape of {wanted}");
            return Err(not_joined(path, &reason).plain());
        }
        let colors = |look: &Look| {
            let color = complete_color(look.info.color, wanted);
            (color.primaries, color.transfer, color.matrix)
        };
        if colors(&own) != colors(first) {
            return Err(not_joined(path, "its colours are not those of the first").plain());
        }
        Ok((own, picture))
    }

    /// The part of the source that is asked for, on its own clock.
    fn window(
        &self,
        source: &Source,
        seen: (&Look, &PicturePlan),
    ) -> Result<Option<Window>, Refusal> {
        if self.spec.cut.is_whole() {
            return Ok(None);
        }
        let mut reader = self.reader(source, seen)?;
        let first = reader.next().map_err(|e| Refusal::NoPicture(Some(e)))?;
        let first = first.ok_or(Refusal::NoPicture(None))?;
        let origin = first.timestamp.unwrap_or(0);
        Ok(self.spec.cut.window(origin, seen.0.video.time_base))
    }

    fn read_options(&self, picture: &PicturePlan) -> ReadOptions {
        ReadOptions {
            normalise: picture.normalise.clone(),
            strict: self.spec.strict,
            threads: 0,
        }
    }

    fn reader(
        &self,
        source: &Source,
        (look, picture): (&Look, &PicturePlan),
    ) -> Result<VideoReader, Refusal> {
        let options = self.read_options(picture);
        VideoReader::open(source, look.video.index, options, self.cancel.media())
            .map_err(Refusal::Source)
    }

    fn first_pictures(
        &self,
        source: &Source,
        (look, picture): (&Look, &PicturePlan),
        window: Option<Window>,
    ) -> Result<Vec<Picture>, Refusal> {
        let mut reader: Box<dyn Reader> = match window {
            None => Box::new(self.reader(source, (look, picture))?),
            Some(window) => {
                let (stream, options) = (look.video.index, self.read_options(picture));
                let material = VideoMaterial::new(source, stream, options, self.cancel.media())
                    .map_err(Refusal::Source)?;
                let windowed = Windowed {
                    material: &material,
                    window,
                };
                windowed.open(None).map_err(Refusal::Source)?.reader
            }
        };
        let filters = !picture.normalise.filters.is_empty();
        let mut pictures = Vec::new();
        while pictures.len() < TRIAL_PICTURES {
            match reader.next() {
                Ok(Some(picture)) => pictures.push(picture),
                Err(source @ rungs_media::Error::Filter { .. })
                    if pictures.is_empty() && filters =>
                {
                    let filters = picture.normalise.filters.to_string();
                    return Err(Refusal::Filters { filters, source });
                }
                Err(error) if pictures.is_empty() => return Err(Refusal::NoPicture(Some(error))),
                // An error further on is met by the job itself, which says where.
                Ok(None) | Err(_) => break,
            }
        }
        if !pictures.is_empty() {
            Ok(pictures)
        } else if window.is_some() {
            Err(Refusal::NothingThere)
        } else {
            Err(Refusal::NoPicture(None))
        }
    }

    /// The engine's devices, each with the encoders that it encodes with: the one that it was given, or one for each codec.
    fn devices(&self, warnings: &mut Vec<Warning>) -> Result<Vec<Device>, Refusal> {
        let mut devices = self.devices.to_vec();
        for device in &mut devices {
            let mut encoders = if let Some(wanted) = device.encoder.as_deref() {
                self.check_encoder(wanted)?;
                vec![wanted.to_owned()]
            } else {
                self.choose_encoders(warnings)?
            };
            device.encoder = Some(encoders.remove(0));
            device.also = encoders;
        }
        Ok(devices)
    }

    /// An encoder for each codec: the one that was asked for, else the best.
    fn choose_encoders(&self, warnings: &mut Vec<Warning>) -> Result<Vec<String>, Refusal> {
        let wanted = self.spec.encoder.as_deref();
        if let Some(wanted) = wanted {
            self.check_encoder(wanted)?;
        }
        let choose = |codec: &Codec| match wanted {
            Some(wanted) if encode::codec_of(wanted) == Some(*codec) => Ok(wanted.to_owned()),
            _ => best_encoder(*codec, warnings),
        };
        self.spec.codecs.iter().map(choose).collect()
    }

    /// Refuses an encoder that is not there, or that makes none of the codecs.
    fn check_encoder(&self, encoder: &str) -> Result<(), Refusal> {
        let codec = encode::codec_of(encoder);
        let codecs = &self.spec.codecs;
        if let Some(makes) = codec.filter(|codec| !codecs.contains(codec)) {
            let wanted: Vec<String> = codecs.iter().map(ToString::to_string).collect();
            return Err(Refusal::OtherCodec {
                encoder: encoder.to_owned(),
                makes,
                wanted: wanted.join(" and "),
            });
        }
        if codec.is_some_and(|codec| encode::candidates(codec).contains(&encoder)) {
            return Ok(());
        }
        Err(no_encoder(format!(
            "{} encoder {encoder}",
            title(codecs[0])
        )))
    }

    /// For each codec the first encoder that a device has for it.
    fn families(&self, devices: &[Device]) -> Result<Vec<Family>, Refusal> {
        let all = encoders(devices);
        let family = |codec: &Codec| {
            let own = |encoder: &str| encode::codec_of(encoder) == Some(*codec);
            let found = all.iter().find(|(_, encoder)| own(encoder));
            let (device, encoder) = found.ok_or_else(|| {
                no_encoder(format!("{} encoder on the devices given", title(*codec)))
            })?;
            Ok(Family {
                codec: *codec,
                encoder: (*encoder).to_owned(),
                device: *device,
            })
        };
        self.spec.codecs.iter().map(family).collect()
    }

    /// Encodes the same few pictures for every rendition, as many at once as the device has sessions, and keeps what was learned. Gives the
    /// renditions that failed, by their place.
    fn try_all(
        &self,
        drafts: &mut [RenditionDraft],
        (trial, device): (&Trial, u16),
    ) -> BTreeMap<u16, Refusal> {
        let sessions = self.devices[usize::from(device)]
            .sessions
            .clamp(1, drafts.len().try_into().unwrap_or(u32::MAX));
        let next = Mutex::new((0..).zip(drafts.iter_mut()));
        let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = |session: u32| {
            let mut failed = BTreeMap::new();
            while let Some((place, draft)) = take() {
                let lease = Lease::new(DeviceId::new(device), session);
                if let Err(refusal) = self.try_one(draft, (place, &lease), trial) {
                    failed.insert(place, refusal);
                }
            }
            failed
        };
        let failed = std::thread::scope(|scope| {
            let work = &work;
            let trials: Vec<_> = (0..sessions)
                .map(|session| scope.spawn(move || work(session)))
                .collect();
            let ends = trials.into_iter().map(|trial| {
                let lost = |_| BTreeMap::from([(0, lost_trial())]);
                trial.join().unwrap_or_else(lost)
            });
            ends.flatten().collect()
        });
        level_speeds(drafts);
        failed
    }

    /// Tries the encoders of the devices that have another one than the first, in the order of the devices. Gives for each rendition the
    /// trials that it passed.
    fn try_others(
        &self,
        drafts: &[RenditionDraft],
        devices: &[Device],
        trial: &Trial,
    ) -> Vec<Vec<RenditionDraft>> {
        let mut passed = vec![Vec::new(); drafts.len()];
        for (device, encoder) in encoders(devices) {
            // Those of its codec that have not been tried with it.
            let fits =
                |own: &str| own != encoder && encode::codec_of(own) == encode::codec_of(encoder);
            let (places, mut tried): (Vec<usize>, Vec<RenditionDraft>) = drafts
                .iter()
                .cloned()
                .enumerate()
                .filter(|(_, draft)| fits(&draft.encoder.encoder))
                .unzip();
            if tried.is_empty() {
                continue;
            }
            for draft in &mut tried {
                encoder.clone_into(&mut draft.encoder.encoder);
                draft.trial_speed = 0.0;
            }
            // What it fails, others make.
            let failed = self.try_all(&mut tried, (trial, device));
            for ((tried, number), place) in tried.into_iter().zip(0..).zip(places) {
                if !failed.contains_key(&number) {
                    passed[place].push(tried);
                }
            }
        }
        passed
    }

    fn try_one(
        &self,
        draft: &mut RenditionDraft,
        (place, lease): (u16, &Lease),
        trial: &Trial,
    ) -> Result<(), Refusal> {
        let Trial { span, rate } = trial;
        let task = Task {
            rendition: Arc::new(trial_rendition(draft, place)),
            footage: Footage::Whole(Arc::clone(span)),
            threads: 1,
            measure: false,
            depth: Depth::Nothing,
        };
        let config = &draft.encoder;
        if !encode::keeps(&config.encoder, config.rate) {
            return Err(Refusal::Rate {
                encoder: config.encoder.clone(),
            });
        }
        let started = Instant::now();
        let encoded = self
            .backend
            .encode(lease, &task, self.cancel)
            .map_err(|source| Refusal::Trial {
                encoder: draft.encoder.encoder.clone(),
                rendition: draft.name.clone(),
                source,
            })?;
        let coding = Coding::parse(
            packaged(task.rendition.codec()),
            [encoded.configuration.as_slice()],
        )
        .map_err(|source| Refusal::Header {
            encoder: draft.encoder.encoder.clone(),
            rendition: draft.name.clone(),
            source,
        })?;
        draft.configuration = coding.bytes();
        let peak = encoded.used.and_then(|used| used.peak_memory).unwrap_or(0);
        let per_pixel = (peak * GROWTH_TENTHS / 10 / draft.size.pixels())
            .clamp(WORKING_SET_PER_PIXEL, WORKING_SET_PER_PIXEL * 4);
        draft.working_set = draft.size.pixels() * per_pixel;
        draft.trial_speed =
            span.frames.len() as f64 / rate / started.elapsed().as_secs_f64().max(1e-9);
        draft.fingerprint = fingerprint(&encoded);
        draft.estimate = estimate(&encoded, &draft.encoder, (*rate, self.spec.segment_seconds));
        Ok(())
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

/// The encoders of some devices, each with the first device that has it.
fn encoders(devices: &[Device]) -> Vec<(u16, &str)> {
    let mut found: Vec<(u16, &str)> = Vec::new();
    for (place, device) in (0..).zip(devices) {
        for encoder in device.encoders() {
            if found.iter().all(|(_, known)| *known != encoder) {
                found.push((place, encoder));
            }
        }
    }
    found
}

/// Takes the noise of short trials of one encoder out of its speeds.
fn level_speeds(drafts: &mut [RenditionDraft]) {
    let trials: Vec<classes::Trial> = drafts
        .iter()
        .map(|draft| classes::Trial {
            pixels: draft.size.pixels(),
            preset: draft.encoder.speed,
            speed: draft.trial_speed,
        })
        .collect();
    for (draft, speed) in drafts.iter_mut().zip(classes::steady(&trials)) {
        draft.trial_speed = speed;
    }
}

/// Decides which encoders make each rendition: those of one class, which keep one codec contract.
fn assign(
    drafts: Vec<RenditionDraft>,
    others: Vec<Vec<RenditionDraft>>,
    devices: &[Device],
) -> Vec<RenditionDraft> {
    let encoders = encoders(devices);
    let speed = |draft: &RenditionDraft| {
        let name = draft.encoder.encoder.as_str();
        let with_it = devices
            .iter()
            .filter(|device| device.encoders().any(|encoder| encoder == name));
        let sessions: u32 = with_it.map(|device| device.sessions).sum();
        let place = encoders.iter().position(|(_, encoder)| *encoder == name);
        (place.unwrap_or(0), f64::from(sessions) * draft.trial_speed)
    };
    let by_class: Vec<Vec<Vec<RenditionDraft>>> = drafts
        .into_iter()
        .zip(others)
        .map(|(first, others)| by_contract(first, others))
        .collect();
    let choices: Vec<Vec<Choice>> = by_class
        .iter()
        .map(|classes| {
            let choice = |class: &Vec<RenditionDraft>| {
                Choice::of(&class.iter().map(speed).collect::<Vec<_>>())
            };
            classes.iter().map(choice).collect()
        })
        .collect();
    let picks = spread(&choices);
    by_class
        .into_iter()
        .zip(picks)
        .map(|(mut classes, pick)| {
            let mut makers = classes.remove(pick);
            let mut draft = makers.remove(0);
            draft.others = makers.into_iter().map(Maker::from).collect();
            draft.spare = classes.into_iter().flatten().map(Maker::from).collect();
            draft
        })
        .collect()
}

/// Puts trials of one rendition together whose segments may stand in one rendition.
fn by_contract(first: RenditionDraft, others: Vec<RenditionDraft>) -> Vec<Vec<RenditionDraft>> {
    let mut classes = vec![vec![first]];
    for other in others {
        let class = classes
            .iter_mut()
            .find(|class| may_share(&class[0], &other));
        match class {
            Some(class) => class.push(other),
            None => classes.push(vec![other]),
        }
    }
    classes
}

/// Whether segments of both encoders may stand in one rendition: the codec contract holds.
fn may_share(one: &RenditionDraft, other: &RenditionDraft) -> bool {
    let coding = |draft: &RenditionDraft| {
        let codec = encode::codec_of(&draft.encoder.encoder)?;
        Coding::parse(packaged(codec), [draft.configuration.as_slice()]).ok()
    };
    coding(one)
        .zip(coding(other))
        .is_some_and(|(one, other)| one.difference(&other).is_none())
}

fn lost_trial() -> Refusal {
    Refusal::Trial {
        encoder: "the encoder".to_owned(),
        rendition: "a rendition".to_owned(),
        source: EncodeError::Backend("its thread panicked".to_owned()),
    }
}

/// A refusal of a source that was to follow, in the making.
struct NotJoined {
    path: PathBuf,
    reason: String,
}

fn not_joined(path: &Path, reason: &str) -> NotJoined {
    NotJoined {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

impl NotJoined {
    fn plain(self) -> Refusal {
        Refusal::Join {
            path: self.path,
            reason: self.reason,
            source: None,
        }
    }

    fn because(self, error: impl std::error::Error + Send + Sync + 'static) -> Refusal {
        Refusal::Join {
            path: self.path,
            reason: self.reason,
            source: Some(Box::new(error)),
        }
    }
}

fn look(source: &Source, cancel: &Cancel) -> Result<Look, Refusal> {
    let demuxer =
        Demuxer::open(source, &Limits::default(), cancel.media()).map_err(Refusal::Source)?;
    let of_kind = |wanted: fn(&StreamKind) -> bool| {
        demuxer
            .streams()
            .iter()
            .filter(move |stream| wanted(&stream.kind))
    };
    let pictures = of_kind(|kind| matches!(kind, StreamKind::Video(_)))
        .filter(|stream| !stream.attached_picture);
    // The default track if one is marked, otherwise the first.
    let video = pictures.min_by_key(|stream| !stream.is_default).cloned();
    let Some(video) = video else {
        return Err(Refusal::NoVideo {
            found: found(&demuxer),
        });
    };
    if video.encrypted {
        return Err(Refusal::Encrypted { codec: video.codec });
    }
    let StreamKind::Video(info) = video.kind.clone() else {
        return Err(Refusal::NoVideo {
            found: found(&demuxer),
        });
    };
    let track = video.duration.map(|ticks| video.time_base.seconds(ticks));
    let whole = demuxer.duration().map(|duration| duration.as_secs_f64());
    Ok(Look {
        format: demuxer.format().to_owned(),
        promised_by_track: track.is_some(),
        promised_seconds: track.or(whole).filter(|seconds| *seconds > 0.0),
        info,
        audio: of_kind(|kind| matches!(kind, StreamKind::Audio(_)))
            .cloned()
            .collect(),
        subtitles: of_kind(|kind| matches!(kind, StreamKind::Subtitle))
            .cloned()
            .collect(),
        video,
    })
}

fn found(demuxer: &Demuxer) -> String {
    let names = demuxer.streams().iter().map(|stream| match &stream.kind {
        StreamKind::Video(_) => format!("a cover picture ({})", stream.codec),
        StreamKind::Audio(_) => format!("sound ({})", stream.codec),
        StreamKind::Subtitle => format!("subtitles ({})", stream.codec),
        StreamKind::Data | StreamKind::Other => "data".to_owned(),
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        "it has no tracks at all".to_owned()
    } else {
        format!("it has {}", names.join(", "))
    }
}

/// One codec of the job.
struct Family {
    codec: Codec,
    /// The encoder that is tried first.
    encoder: String,
    /// The first device that has it.
    device: u16,
}

fn best_encoder(codec: Codec, warnings: &mut Vec<Warning>) -> Result<String, Refusal> {
    let Some(encoder) = encode::candidates(codec).into_iter().next() else {
        return Err(no_encoder(format!("{} encoder", title(codec))));
    };
    if codec == Codec::Av1 && encoder != "libsvtav1" {
        warnings.push(Warning::OtherEncoder {
            encoder: encoder.to_owned(),
        });
    }
    Ok(encoder.to_owned())
}

fn no_encoder(codec: String) -> Refusal {
    Refusal::NoEncoder {
        codec,
        version: rungs_media::ffmpeg_version(),
    }
}

/// The codec as people write it.
fn title(codec: Codec) -> String {
    packaged(codec).to_string()
}

/// The smallest picture that the encoders of all codecs make.
fn smallest(families: &[Family]) -> Smallest<'_> {
    let side = |family: &Family| {
        if family.encoder == "libsvtav1" {
            64
        } else {
            16
        }
    };
    let worst = families.iter().max_by_key(|family| side(family));
    let side = worst.map_or(16, side);
    Smallest {
        encoder: worst.map_or("", |family| &family.encoder),
        size: Size {
            width: side,
            height: side,
        },
    }
}

fn positive(n: i32) -> u32 {
    u32::try_from(n).unwrap_or(1).max(1)
}

/// The size at which normalised pictures are shown, of which this is the first.
fn normalised_size(info: &VideoInfo, (config, first): (&normalise::Config, &Picture)) -> Size {
    if config.filters.is_empty() {
        return shown_size(info);
    }
    let (frame, aspect) = (&first.frame, first.frame.sample_aspect());
    let stored = Stored {
        size: Size {
            width: frame.width(),
            height: frame.height(),
        },
        pixel_aspect: (positive(aspect.num), positive(aspect.den)),
        sideways: false,
    };
    stored.shown()
}

fn shown_size(info: &VideoInfo) -> Size {
    let stored = Stored {
        size: Size {
            width: info.width,
            height: info.height,
        },
        pixel_aspect: (
            positive(info.sample_aspect.num),
            positive(info.sample_aspect.den),
        ),
        sideways: info.rotation.quarter_turns_clockwise % 2 == 1,
    };
    stored.shown()
}

/// Pixels that claim an absurd shape make absurd pictures.
fn check_shown(shown: Size) -> Result<(), Refusal> {
    let longest = shown.width.max(shown.height);
    if shown.pixels() <= Limits::default().max_pixels && longest <= ladder::LONGEST_SIDE {
        return Ok(());
    }
    Err(Refusal::Source(rungs_media::Error::TooLarge {
        width: shown.width,
        height: shown.height,
    }))
}

const BT470BG: u8 = 5;
const SMPTE170M: u8 = 6;

/// Fills in what the source leaves open, as players would for a picture of its size. They judge by size, so without this the
/// small renditions of an HD source would be shown in other colours than the large ones.
fn complete_color(color: Color, shown: Size) -> Color {
    // The identity matrix (0) is RGB, whose usual primaries are BT.709's.
    let (primaries, transfer, matrix) = if hdr::is_hdr(color) {
        (BT2020, color.transfer, BT2020)
    } else if color.matrix == 0
        || shown.short_side() >= 720
        || shown.width.max(shown.height) >= 1280
    {
        (BT709, BT709, BT709)
    } else if shown.height == 576 {
        (BT470BG, SMPTE170M, BT470BG)
    } else {
        (SMPTE170M, SMPTE170M, SMPTE170M)
    };
    let or = |given: u8, guess: u8| {
        if matches!(given, 0 | UNSPECIFIED) {
            guess
        } else {
            given
        }
    };
    // The identity matrix (0) is RGB, which is converted; so is full range.
    let matrix = if color.matrix == 0 {
        matrix_for_rgb(color)
    } else {
        or(color.matrix, matrix)
    };
    Color {
        primaries: or(color.primaries, primaries),
        transfer: or(color.transfer, transfer),
        matrix,
        full_range: false,
        ..color
    }
}

/// Names renditions after their codec and short side, and after both sides or their place where that is not enough.
fn name_all(codec: Codec, drafts: &mut [RenditionDraft]) {
    for place in 0..drafts.len() {
        let size = drafts[place].size;
        let taken = |name: &String| drafts[..place].iter().any(|draft| draft.name == *name);
        let names = [
            format!("{codec}-{}p", size.short_side()),
            format!("{codec}-{size}"),
        ];
        let name = names
            .into_iter()
            .find(|name| !taken(name))
            .unwrap_or_else(|| format!("{codec}-{size}-{place}"));
        drafts[place].name = name;
    }
}

fn trial_span(pictures: &[Picture], grid: Grid, rate: f64) -> Arc<Span> {
    let step = grid.timescale().from_seconds(1.0 / rate).max(1);
    let frames: Vec<_> = pictures
        .iter()
        .zip(0..)
        .map(|(picture, place)| Placed {
            time: place * step,
            item: picture.frame.clone(),
        })
        .collect();
    Arc::new(Span::new(Cell {
        index: SegmentIndex::FIRST,
        start: 0,
        end: step * frames.len() as i64,
        pictures: frames,
        held: 0,
    }))
}

fn trial_rendition(draft: &RenditionDraft, place: u16) -> Rendition {
    Rendition {
        id: RenditionId::new(place),
        name: draft.name.clone(),
        size: draft.size,
        encoder: draft.encoder.clone(),
        gop: None,
        configuration: Vec::new(),
        working_set: 0,
        trial_speed: 0.0,
        estimate: draft.estimate,
        others: Vec::new(),
        spare: Vec::new(),
        fingerprint: draft.fingerprint,
    }
}

/// The digest of all packets, with the length of each.
fn fingerprint(encoded: &Encoded) -> Digest {
    let mut hasher = Hasher::default();
    for packet in &encoded.packets {
        hasher.add(&(packet.data.len() as u64).to_be_bytes());
        hasher.add(&packet.data);
    }
    hasher.finish()
}

/// Extrapolates a segment from its keyframe and the few pictures after it.
fn estimate(encoded: &Encoded, config: &encode::Config, (rate, segment): (f64, f64)) -> Estimate {
    let bits: Vec<f64> = encoded
        .packets
        .iter()
        .map(|packet| packet.data.len() as f64 * 8.0)
        .collect();
    let key = bits.first().copied().unwrap_or(0.0);
    let rest = &bits[1.min(bits.len())..];
    let mean = if rest.is_empty() {
        key / 4.0
    } else {
        rest.iter().sum::<f64>() / rest.len() as f64
    };
    let tried = key / segment + mean * rate;
    let pixels = f64::from(config.width) * f64::from(config.height);
    let for_size = (1920.0 * 1080.0 / pixels).powf(0.25);
    let usual = Usual::of(encode::codec_of(&config.encoder));
    let for_quality = 2f64.powf((usual.crf - f64::from(config.crf)) / usual.halved_by);
    let average = tried.max(pixels * rate * usual.bits_per_pixel * for_size * for_quality);
    let (average, peak) = match config.rate {
        Rate::Quality | Rate::Quantizer => (average, average * ESTIMATE_MARGIN),
        // A full buffer may follow on another one.
        Rate::Capped(most) => (
            average.min(most as f64),
            (average.min(most as f64)) * ESTIMATE_MARGIN,
        ),
        Rate::Average(bits) => (bits as f64, bits as f64 * ESTIMATE_MARGIN),
    };
    Estimate {
        peak: peak as u64,
        average: average as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rungs_media::encode::EncodedPacket;
    use rungs_media::frame::BitDepth;
    use rungs_media::hdr::Light;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn an_estimate_never_trusts_a_black_screen() {
        let packets = (0..6).map(|n| EncodedPacket {
            data: vec![0; 20],
            pts: n,
            dts: n,
            duration: 1,
            key: n == 0,
        });
        let encoded = Encoded {
            packets: packets.collect(),
            ..Encoded::default()
        };
        let config = |crf| encode::Config {
            encoder: "libsvtav1".to_owned(),
            width: 1920,
            height: 1080,
            time_base: rungs_media::time::TimeBase::new(1, 24).expect("above zero"),
            frame_rate: None,
            color: Color::default(),
            gop: 1,
            threads: 1,
            crf,
            speed: 8,
            depth: BitDepth::Eight,
            light: Light::default(),
            rate: Rate::Quality,
        };
        let usual = estimate(&encoded, &config(35), (24.0, 4.0));
        assert!(usual.average > 1_900_000, "{usual:?}");
        assert!(usual.peak > usual.average);
        assert!(estimate(&encoded, &config(27), (24.0, 4.0)).average > usual.average);
    }

    #[test]
    fn colours_are_completed_for_the_source_size() {
        let open = Color {
            primaries: 2,
            transfer: 2,
            matrix: 2,
            full_range: true,
            ..Color::default()
        };
        let hd = complete_color(open, size(1920, 1080));
        assert_eq!(
            (hd.primaries, hd.transfer, hd.matrix, hd.full_range),
            (1, 1, 1, false)
        );
        assert_eq!(complete_color(open, size(720, 480)).matrix, 6);
        let kept = Color { matrix: 9, ..open };
        assert_eq!(complete_color(kept, size(640, 360)).matrix, 9);
    }
}
