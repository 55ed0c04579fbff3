//! Sources that follow one another.

use std::path::{Path, PathBuf};

use rungs_media::{Source, normalise};

use crate::error::Refusal;
use crate::join::{self, Joined};
use crate::journal::SourceIdentity;
use crate::ladder::Size;
use crate::picture::PicturePlan;
use crate::plan::Plan;
use crate::window::Window;

use super::color::complete_color;
use super::look::{Look, check_shown, shown_size};
use super::{Planner, USUAL_RATE};

impl Planner<'_> {
    /// Puts the sources that follow into the plan, each where the one before ends.
    pub(super) fn join(
        &self,
        plan: &mut Plan,
        (source, look): (&Source, &Look),
    ) -> Result<(), Refusal> {
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
