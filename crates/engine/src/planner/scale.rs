//! Where the pictures are brought to the renditions' sizes.

use std::sync::Arc;

use rungs_media::FieldOrder;
use rungs_media::normalise::Deinterlace;
use rungs_media::sample;
use rungs_media::scale::Kernel;
use rungs_package::Digest;
use rungs_package::digest::Hasher;

use crate::error::{Refusal, in_words};
use crate::ladder::Resolved;
use crate::plan::{ScalePlan, Warning};
use crate::read::Picture;
use crate::scaling::ScaleDevice;

use super::Planner;
use super::look::Look;

/// What is to be scaled.
pub(super) struct Scaled<'a> {
    pub(super) look: &'a Look,
    /// The first picture, normalised.
    pub(super) first: &'a Picture,
    pub(super) normalise: &'a rungs_media::normalise::Config,
    pub(super) ladder: &'a [Resolved],
}

/// What came of it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) plan: ScalePlan,
    /// GPUs that could not.
    pub(super) warnings: Vec<Warning>,
}

impl Planner<'_> {
    /// Picks the model of the GPUs that scale, if any do. By default those that decode the source, where their pictures can stay; they and those that were asked for have
    /// to scale a picture.
    pub(super) fn scale_plan(&self, scaled: &Scaled<'_>) -> Result<Found, Refusal> {
        let depth = scaled.normalise.depth;
        let devices = self.scalers.devices().iter();
        let able: Vec<_> = devices
            .filter(|device| device.takes(depth).is_ok())
            .collect();
        let mut present: Vec<String> = able
            .iter()
            .map(|device| device.model().to_owned())
            .collect();
        present.sort_unstable();
        present.dedup();
        let asked = self.scalers.are_asked_for();
        let mut found = Found {
            plan: ScalePlan {
                present,
                asked,
                ..ScalePlan::default()
            },
            warnings: Vec::new(),
        };
        if asked {
            self.check_scalers(depth)?;
        } else if !self.saves(scaled) {
            return Ok(found);
        }
        let keep = self.decoders.that_keep(&scaled.look.video);
        let wanted = |device: &&Arc<dyn ScaleDevice>| asked || keep.contains(&device.name());
        for device in able.into_iter().filter(|device| wanted(device)) {
            match try_sizes(device.as_ref(), scaled) {
                Ok(digest) => {
                    found.plan.on = Some(device.model().to_owned());
                    found.plan.digest = Some(digest);
                    return Ok(found);
                }
                Err(error) => found.warnings.push(Warning::ScaleDevice {
                    device: device.name().clone(),
                    error: in_words(&error),
                }),
            }
        }
        match found.warnings.first() {
            Some(Warning::ScaleDevice { device, error }) if asked => Err(Refusal::ScaleDevice {
                device: device.clone(),
                reason: error.clone(),
            }),
            _ => Ok(found),
        }
    }

    /// Whether pictures that lie on a GPU can stay there until they are scaled, and are scaled at all.
    fn saves(&self, scaled: &Scaled<'_>) -> bool {
        let Scaled {
            look,
            first,
            normalise,
            ladder,
        } = scaled;
        let (width, height) = (first.frame.width(), first.frame.height());
        let smaller = |rung: &Resolved| (rung.size.width, rung.size.height) != (width, height);
        let info = &look.info;
        // What is said of the result is limited already.
        let full_range = look.video.video().is_some_and(|own| own.color.full_range);
        let fields = normalise.deinterlace != Deinterlace::Off
            && info
                .field_order
                .is_some_and(|order| order != FieldOrder::Progressive);
        let has_form = info.pixel_format == normalise.depth.format().name()
            && (info.width, info.height) == (width, height)
            && !full_range;
        self.spec.joined.is_empty()
            && self.spec.picture.kernel == Kernel::default()
            && normalise.passes()
            && has_form
            && !fields
            && ladder.iter().any(smaller)
    }

    /// Refuses what was asked for where none of it can.
    fn check_scalers(&self, depth: rungs_media::frame::BitDepth) -> Result<(), Refusal> {
        let refused = |device: &dyn ScaleDevice, reason: String| Refusal::ScaleDevice {
            device: device.name().clone(),
            reason,
        };
        let mut first = None;
        for device in self.scalers.devices() {
            let reason = match device.takes(depth) {
                Ok(()) if self.spec.picture.kernel == Kernel::default() => return Ok(()),
                Ok(()) => {
                    "GPUs have a way of their own to scale, and --scaler is the CPU's".to_owned()
                }
                Err(reason) => reason,
            };
            first.get_or_insert_with(|| refused(device.as_ref(), reason));
        }
        first.map_or(Ok(()), Err)
    }
}

/// What a picture is brought to: about the steps of usual ladders. They don't depend on the job's ladder, to which rungs can be added.
const SIZES: [(u32, u32); 3] = [(2, 3), (1, 2), (2, 9)];

/// Scales a picture of the source's size, one full of hard edges, since a film may begin black. Gives a digest of what comes out: another driver, or another way to scale, is
/// noticed by it.
fn try_sizes(device: &dyn ScaleDevice, scaled: &Scaled<'_>) -> Result<Digest, rungs_media::Error> {
    let (width, height) = (scaled.first.frame.width(), scaled.first.frame.height());
    let depth = scaled.normalise.depth;
    let picture = sample::picture(((width, height), depth), 1)?;
    let mut hasher = Hasher::default();
    for (num, den) in SIZES {
        let part = |side: u32| (side * num / den).max(2) & !1;
        let to = rungs_media::scale::Config {
            width: part(width),
            height: part(height),
            depth,
            kernel: Kernel::default(),
        };
        let made = device.scale(&picture, to)?.frame;
        hasher.add(&made.digest().to_be_bytes());
    }
    Ok(hasher.finish())
}
