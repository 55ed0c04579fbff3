//! Tries each encoder on the first pictures, and keeps what that shows: the codec configuration, the memory and the speed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rungs_media::encode;
use rungs_package::Digest;
use rungs_package::coding::Coding;
use rungs_package::digest::Hasher;

use crate::cancel::Cancel;
use crate::classes;
use crate::coding::packaged;
use crate::device::{Device, Lease, Offer};
use crate::error::{EncodeError, Refusal, in_words};
use crate::gpu::Waiting;
use crate::ids::{DeviceId, RenditionId, SegmentIndex};
use crate::inspect::Depth;
use crate::plan::{Rendition, RenditionDraft, Warning};
use crate::read::Picture;
use crate::span::{Encoded, Footage, Span, Task};
use crate::sync::{spawn_scoped, thread};
use crate::timeline::{Cell, Grid, Placed};

use super::Planner;
use super::encoders::{Family, encoders};
use super::estimate::estimate;
use super::patience::{Watch, watched};

/// Memory of one software encoder for each pixel, at least: SVT-AV1 1.4.1 on one thread takes 350 MB at 1080p.
pub(super) const WORKING_SET_PER_PIXEL: u64 = 170;
/// How much an encoder grows beyond what it took for the few pictures of the trial, in tenths.
const GROWTH_TENTHS: u64 = 16;

/// How often an encoder is tried whose process dies.
const TRIES: u32 = 3;

/// What every encoder is tried on.
pub(super) struct Trial {
    pub(super) span: Arc<Span>,
    /// Pictures a second.
    pub(super) rate: f64,
    /// GPUs that gave no answer, with the seconds for which they were waited for.
    pub(super) hung: Mutex<BTreeMap<u16, u64>>,
}

/// How the trials of a device are ended, and whom they tell when one has ended.
struct Ending<'a> {
    cancel: &'a Cancel,
    ended: &'a (dyn Fn() + Sync),
}

impl Planner<'_> {
    /// Tries the first encoder of each codec. A GPU that fails and was not asked for is told of, and the next device that has an encoder takes its place.
    pub(super) fn try_families(
        &self,
        (families, drafts): (&[Family], &mut [RenditionDraft]),
        devices: &mut [Device],
        (trial, warnings): (&Trial, &mut Vec<Warning>),
    ) -> Result<(), Refusal> {
        let rungs = drafts.len() / families.len().max(1);
        for (family, drafts) in families.iter().zip(drafts.chunks_mut(rungs.max(1))) {
            let (mut device, mut encoder) = (family.device, family.encoder.clone());
            loop {
                let failed = self.try_all(drafts, (trial, device));
                let Some(failure) = Failure::of(drafts, &failed) else {
                    break;
                };
                // The first in the ladder's order, so that the message does not depend on the race.
                let refusal = failed.into_values().next().unwrap_or_else(lost_trial);
                let lost = &mut devices[usize::from(device)];
                if lost.offers.is_empty() || lost.asked {
                    return Err(refusal);
                }
                warnings.push(failure.warning(lost));
                lost.lose(&encoder);
                let codec = |name: &str| encode::codec_of(name) == Some(family.codec);
                let next = encoders(devices).into_iter().find(|(_, name)| codec(name));
                let Some((next, name)) = next else {
                    return Err(refusal);
                };
                (device, encoder) = (next, name.to_owned());
                for draft in &mut *drafts {
                    draft.encoder.encoder.clone_from(&encoder);
                }
            }
        }
        Ok(())
    }

    /// The same as [`try_each`](Self::try_each). A GPU whose trials do not end is given up after a while, and not tried again in this plan.
    fn try_all(
        &self,
        drafts: &mut [RenditionDraft],
        (trial, device): (&Trial, u16),
    ) -> BTreeMap<u16, Refusal> {
        let gpu = &self.devices[usize::from(device)];
        if gpu.offers.is_empty() {
            let ending = Ending {
                cancel: self.cancel,
                ended: &|| {},
            };
            return self.try_each(drafts, (trial, device), &ending);
        }
        let hung = || trial.hung.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seconds) = hung().get(&device) {
            return (0..)
                .zip(&*drafts)
                .map(|(place, draft)| (place, no_answer(draft, *seconds)))
                .collect();
        }
        let first = hung().is_empty();
        let most = if first {
            self.patience.first
        } else {
            self.patience.later
        };
        let waiting = Waiting {
            device: gpu.id.clone(),
            what: format!(
                "encode with {}",
                drafts
                    .first()
                    .map_or("", |draft| encode::bare_name(&draft.encoder.encoder))
            ),
            most,
        };
        let watch = Watch {
            user: self.cancel,
            notice: self.patience.notice.min(most),
            most,
            waiting: &|| (self.waiting)(&waiting),
        };
        let (mut failed, in_vain) = watched(&watch, |cancel, ended| {
            self.try_each(drafts, (trial, device), &Ending { cancel, ended })
        });
        if in_vain {
            hung().insert(device, most.as_secs());
            for (place, refusal) in &mut failed {
                let cancelled = matches!(
                    refusal,
                    Refusal::Trial {
                        source: EncodeError::Cancelled,
                        ..
                    }
                );
                if let Some(draft) = drafts.get(usize::from(*place)).filter(|_| cancelled) {
                    *refusal = no_answer(draft, most.as_secs());
                }
            }
        }
        failed
    }

    /// Encodes the same few pictures for every rendition, as many at once as the device has sessions and room, and keeps what was learned. Gives the
    /// renditions that failed, by their place.
    fn try_each(
        &self,
        drafts: &mut [RenditionDraft],
        (trial, device): (&Trial, u16),
        ending: &Ending<'_>,
    ) -> BTreeMap<u16, Refusal> {
        let sessions = self.devices[usize::from(device)]
            .sessions
            .clamp(1, drafts.len().try_into().unwrap_or(u32::MAX));
        let waiting = Mutex::new((0..).zip(drafts.iter_mut()));
        let take = || {
            waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next()
        };
        let crowded = Mutex::new(Vec::new());
        let work = |session: u32| {
            let mut failed = BTreeMap::new();
            while let Some((place, draft)) = take() {
                let lease = Lease::new(DeviceId::new(device), session);
                match self.try_one(draft, (place, &lease), (trial, ending)) {
                    Ok(()) => {}
                    // No room for so many: fewer sessions go on, and it is tried again.
                    Err(refusal) if is_capacity(&refusal) => {
                        let mut crowded = crowded.lock().unwrap_or_else(PoisonError::into_inner);
                        crowded.push((place, draft));
                        break;
                    }
                    Err(refusal) => {
                        failed.insert(place, refusal);
                    }
                }
            }
            failed
        };
        let mut failed: BTreeMap<u16, Refusal> = thread::scope(|scope| {
            let work = &work;
            let start = |session| spawn_scoped(scope, "trial", move || work(session)).ok();
            let trials: Vec<_> = (0..sessions).map_while(start).collect();
            if trials.is_empty() {
                // The system gives no thread, so it is done on this one.
                return work(0);
            }
            let ends = trials.into_iter().map(|trial| {
                let lost = |_| BTreeMap::from([(0, lost_trial())]);
                trial.join().unwrap_or_else(lost)
            });
            ends.flatten().collect()
        });
        let crowded = crowded.into_inner();
        let crowded = crowded.unwrap_or_else(PoisonError::into_inner);
        for (place, draft) in crowded.into_iter().chain(std::iter::from_fn(take)) {
            let lease = Lease::new(DeviceId::new(device), 0);
            if let Err(refusal) = self.try_one(draft, (place, &lease), (trial, ending)) {
                failed.insert(place, refusal);
            }
        }
        level_speeds(drafts);
        failed
    }

    /// Tries the encoders of the devices that have another one than the first, in the order of the devices. Gives for each rendition the
    /// trials that it passed. A GPU that fails is told of, and refused if it was asked for and makes nothing; one that has the same encoder is tried for it.
    pub(super) fn try_others(
        &self,
        drafts: &[RenditionDraft],
        devices: &mut [Device],
        (trial, warnings): (&Trial, &mut Vec<Warning>),
    ) -> Result<Vec<Vec<RenditionDraft>>, Refusal> {
        let mut passed = vec![Vec::new(); drafts.len()];
        let names = encoders(devices).into_iter();
        let names: Vec<String> = names.map(|(_, encoder)| encoder.to_owned()).collect();
        for encoder in names {
            // Those of its codec that have not been tried with it.
            let fits =
                |own: &str| own != encoder && encode::codec_of(own) == encode::codec_of(&encoder);
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
            for (place, device) in (0..).zip(devices.iter_mut()) {
                if !device.encoders().any(|own| own == encoder) {
                    continue;
                }
                let failed = self.try_all(&mut tried, (trial, place));
                let none = failed.len() == tried.len();
                if let Some(failure) =
                    Failure::of(&tried, &failed).filter(|_| !device.offers.is_empty())
                {
                    if none && device.asked {
                        return Err(failed.into_values().next().unwrap_or_else(lost_trial));
                    }
                    warnings.push(failure.warning(device));
                    if none {
                        device.lose(&encoder);
                        continue;
                    }
                }
                // What it fails, others make.
                for ((tried, number), place) in tried.into_iter().zip(0..).zip(places) {
                    if !failed.contains_key(&number) {
                        passed[place].push(tried);
                    }
                }
                break;
            }
        }
        Ok(passed)
    }

    /// The encoder of a GPU that a draft is to be tried on, `None` for one in software. Refuses a picture that is too small for it.
    fn offer(&self, draft: &RenditionDraft, lease: &Lease) -> Result<Option<&Offer>, Refusal> {
        let device = &self.devices[lease.device().place()];
        let encoder = &draft.encoder.encoder;
        let offer = device.offer(encoder);
        match offer.and_then(|offer| offer.smallest) {
            Some(smallest) if !draft.size.holds(smallest) => Err(Refusal::BelowSmallest {
                device: device.id.clone(),
                encoder: encode::bare_name(encoder).to_owned(),
                rendition: draft.name.clone(),
                size: draft.size,
                smallest,
            }),
            _ => Ok(offer),
        }
    }

    fn try_one(
        &self,
        draft: &mut RenditionDraft,
        (place, lease): (u16, &Lease),
        (trial, ending): (&Trial, &Ending<'_>),
    ) -> Result<(), Refusal> {
        let Trial { span, rate, .. } = trial;
        let task = Task {
            rendition: Arc::new(trial_rendition(draft, place)),
            footage: Footage::Whole(Arc::clone(span)),
            // What it gives tells encoders apart, not scalers.
            scaling: Arc::default(),
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
        let offer = self.offer(draft, lease)?;
        let encode = || {
            self.encode(lease, &task, ending)
                .map_err(|source| Refusal::Trial {
                    encoder: draft.encoder.encoder.clone(),
                    rendition: draft.name.clone(),
                    source,
                })
        };
        if offer.is_some() {
            // Its context is open from here on: that takes longer than the few pictures do.
            encode()?;
        }
        let started = Instant::now();
        let encoded = encode()?;
        let elapsed = started.elapsed().as_secs_f64();
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
        let per_pixel = (peak.saturating_mul(GROWTH_TENTHS) / 10 / draft.size.pixels())
            .clamp(WORKING_SET_PER_PIXEL, WORKING_SET_PER_PIXEL * 4);
        draft.working_set = draft.size.pixels() * per_pixel;
        draft.trial_speed = span.frames.len() as f64 / rate / elapsed.max(1e-9);
        draft.fingerprint = match offer {
            // What a GPU makes has not been seen to be the same each time: who drives it stands for that.
            Some(offer) => {
                Digest::of(format!("{:?}{:?}", offer.driver, draft.configuration).as_bytes())
            }
            None => fingerprint(&encoded),
        };
        draft.estimate = estimate(&encoded, &draft.encoder, (*rate, self.spec.segment_seconds));
        Ok(())
    }
}

impl Planner<'_> {
    /// Encodes, and once more where the encoder's process dies: that may be over by now. In the job
    /// a task is tried again, too.
    fn encode(
        &self,
        lease: &Lease,
        task: &Task,
        ending: &Ending<'_>,
    ) -> Result<Encoded, EncodeError> {
        let mut tries = 1;
        loop {
            let encoded = self.backend.encode(lease, task, ending.cancel);
            (ending.ended)();
            if tries == TRIES || !encoded.as_ref().is_err_and(EncodeError::is_death) {
                return encoded;
            }
            tries += 1;
        }
    }
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

/// What a device failed of what it was tried on.
struct Failure {
    renditions: Vec<String>,
    error: String,
}

impl Failure {
    /// `None` if it failed nothing.
    fn of(drafts: &[RenditionDraft], failed: &BTreeMap<u16, Refusal>) -> Option<Self> {
        let (_, first) = failed.first_key_value()?;
        let name = |place: &u16| {
            drafts
                .get(usize::from(*place))
                .map(|draft| draft.name.clone())
        };
        Some(Self {
            renditions: failed.keys().filter_map(name).collect(),
            error: in_words(first),
        })
    }

    fn warning(self, device: &Device) -> Warning {
        Warning::EncodeDevice {
            device: device.id.clone(),
            renditions: self.renditions,
            error: self.error,
        }
    }
}

fn is_capacity(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Trial { source, .. } if source.is_capacity())
}

/// What is said of a GPU that gave no answer.
fn no_answer(draft: &RenditionDraft, seconds: u64) -> Refusal {
    Refusal::Trial {
        encoder: draft.encoder.encoder.clone(),
        rendition: draft.name.clone(),
        source: EncodeError::NoAnswer { seconds },
    }
}

fn lost_trial() -> Refusal {
    Refusal::Trial {
        encoder: "the encoder".to_owned(),
        rendition: "a rendition".to_owned(),
        source: EncodeError::Backend("its thread panicked".to_owned()),
    }
}

pub(super) fn trial_span(pictures: &[Picture], grid: Grid, rate: f64) -> Arc<Span> {
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
        kernel: draft.kernel,
        encoder: draft.encoder.clone(),
        // x264's parameter sets depend on it.
        gop: draft.gop,
        configuration: Vec::new(),
        working_set: 0,
        trial_speed: 0.0,
        estimate: draft.estimate,
        others: Vec::new(),
        spare: Vec::new(),
        successors: Vec::new(),
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
