//! Tries each encoder on the first pictures, and keeps what that shows: the codec configuration, the memory and the speed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rungs_media::encode;
use rungs_media::hardware;
use rungs_package::Digest;
use rungs_package::coding::Coding;
use rungs_package::digest::Hasher;

use crate::classes;
use crate::coding::packaged;
use crate::device::{Device, Lease};
use crate::error::{EncodeError, Refusal, in_words};
use crate::ids::{DeviceId, RenditionId, SegmentIndex};
use crate::inspect::Depth;
use crate::plan::{Rendition, RenditionDraft, Warning};
use crate::read::Picture;
use crate::span::{Encoded, Footage, Span, Task};
use crate::timeline::{Cell, Grid, Placed};

use super::Planner;
use super::encoders::encoders;
use super::estimate::estimate;

/// Memory of one software encoder for each pixel, at least: SVT-AV1 1.4.1 on one thread takes 350 MB at 1080p.
const WORKING_SET_PER_PIXEL: u64 = 170;
/// How much an encoder grows beyond what it took for the few pictures of the trial, in tenths.
const GROWTH_TENTHS: u64 = 16;

/// What every encoder is tried on.
pub(super) struct Trial {
    pub(super) span: Arc<Span>,
    /// Pictures a second.
    pub(super) rate: f64,
}

impl Planner<'_> {
    /// Encodes the same few pictures for every rendition, as many at once as the device has sessions, and keeps what was learned. Gives the
    /// renditions that failed, by their place.
    pub(super) fn try_all(
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
    /// trials that it passed. A GPU that fails is told of, and refused if it was asked for.
    pub(super) fn try_others(
        &self,
        drafts: &[RenditionDraft],
        devices: &[Device],
        (trial, warnings): (&Trial, &mut Vec<Warning>),
    ) -> Result<Vec<Vec<RenditionDraft>>, Refusal> {
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
            let device = &devices[usize::from(device)];
            if let Some((_, refusal)) = failed.first_key_value()
                && !device.offers.is_empty()
            {
                if device.asked {
                    return Err(failed.into_values().next().unwrap_or_else(lost_trial));
                }
                warnings.push(Warning::EncodeDevice {
                    device: device.id.clone(),
                    error: in_words(refusal),
                });
            }
            for ((tried, number), place) in tried.into_iter().zip(0..).zip(places) {
                if !failed.contains_key(&number) {
                    passed[place].push(tried);
                }
            }
        }
        Ok(passed)
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
        // What a GPU makes has not been seen to be the same each time.
        draft.fingerprint = if hardware::codec_of(&config.encoder).is_some() {
            Digest::of(&draft.configuration)
        } else {
            fingerprint(&encoded)
        };
        draft.estimate = estimate(&encoded, &draft.encoder, (*rate, self.spec.segment_seconds));
        Ok(())
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
