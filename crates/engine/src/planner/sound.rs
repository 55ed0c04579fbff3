//! What becomes of the sound and the subtitles.

use rungs_media::Source;
use rungs_media::demux::Stream;

use crate::choice::TrackChoice;
use crate::error::Refusal;
use crate::plan::Plan;
use crate::sound;
use crate::spec::AudioChoice;
use crate::text;
use crate::window::Window;

use super::Planner;
use super::look::Look;

impl Planner<'_> {
    pub(super) fn add_sound_and_text(
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
            strict: self.spec.strict,
            cancel: self.cancel,
        };
        sound::plan::choose(source, tracks, &wanted)
    }
}
