//! What each rendition is to be, before its encoder is tried.

use rungs_media::demux::Color;
use rungs_media::encode::{self, Codec, Rate};
use rungs_media::hdr::Light;
use rungs_package::Digest;

use crate::ladder::{Resolved, Rung};
use crate::plan::{Estimate, PlanParts, RenditionDraft};
use crate::spec::Seams;

use super::Planner;
use super::encoders::Family;

/// What all renditions of a job share.
pub(super) struct Settings {
    pub(super) frame_rate: Option<rungs_media::Rational>,
    pub(super) color: Color,
    pub(super) light: Light,
}

impl Planner<'_> {
    pub(super) fn drafts(
        &self,
        (families, ladder): (&[Family], &[Resolved]),
        parts: &PlanParts,
        settings: &Settings,
    ) -> Vec<RenditionDraft> {
        let timescale = parts.grid.timescale();
        let draft = |family: &Family, rung: &Resolved| RenditionDraft {
            name: String::new(),
            size: rung.size,
            kernel: self.spec.picture.kernel,
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
            successors: Vec::new(),
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
