//! Where the pictures are brought to the renditions' sizes.

use std::sync::Arc;

use rungs_media::scale::Kernel;

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
    /// to scale the first picture.
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
        present.dedup();
        let mut found = Found {
            plan: ScalePlan { on: None, present },
            warnings: Vec::new(),
        };
        let asked = self.scalers.are_asked_for();
        if asked {
            self.check_scalers(depth)?;
        } else if !self.saves(scaled) {
            return Ok(found);
        }
        let decodes = self.decoders.that_take(&scaled.look.video);
        let wanted = |device: &&Arc<dyn ScaleDevice>| asked || decodes.contains(&device.name());
        for device in able.into_iter().filter(|device| wanted(device)) {
            let Err(error) = try_sizes(device.as_ref(), scaled) else {
                found.plan.on = Some(device.model().to_owned());
                break;
            };
            let (device, error) = (device.name().clone(), in_words(&error));
            if asked {
                let reason = error;
                return Err(Refusal::ScaleDevice { device, reason });
            }
            found.warnings.push(Warning::ScaleDevice { device, error });
        }
        Ok(found)
    }

    /// Whether pictures that lie on a GPU can stay there until they are scaled, and are scaled at all.
    fn saves(&self, scaled: &Scaled<'_>) -> bool {
        let (width, height) = (scaled.first.frame.width(), scaled.first.frame.height());
        let smaller = |rung: &Resolved| (rung.size.width, rung.size.height) != (width, height);
        self.spec.joined.is_empty()
            && self.spec.picture.kernel == Kernel::default()
            && scaled.normalise.passes()
            && scaled.ladder.iter().any(smaller)
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

/// Scales the first picture to each size.
fn try_sizes(device: &dyn ScaleDevice, scaled: &Scaled<'_>) -> Result<(), rungs_media::Error> {
    for rung in scaled.ladder {
        let to = rungs_media::scale::Config {
            width: rung.size.width,
            height: rung.size.height,
            depth: scaled.normalise.depth,
            kernel: Kernel::default(),
        };
        device.scale(&scaled.first.frame, to)?;
    }
    Ok(())
}
