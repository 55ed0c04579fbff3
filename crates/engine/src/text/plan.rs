//! Decides which tracks of subtitles are packaged.

use rungs_media::demux::Stream;
use rungs_media::subtitle;

use crate::choice::{self, Pick, TrackChoice};
use crate::error::Refusal;
use crate::plan::{TextPlan, Warning};

/// What was decided.
#[derive(Default)]
pub(crate) struct Chosen {
    pub(crate) plans: Vec<TextPlan>,
    pub(crate) warnings: Vec<Warning>,
}

/// Decides for the subtitles that are asked for. Those that are pictures are left out with a warning, and refused where they were named.
pub(crate) fn choose(tracks: &[Stream], choice: &TrackChoice) -> Result<Chosen, Refusal> {
    let mut chosen = Chosen::default();
    let wanted = choice.of(tracks).map_err(|pick| no_track(&pick, tracks))?;
    for track in wanted {
        let reason = if track.encrypted {
            "it is encrypted"
        } else if subtitle::is_pictures(track) {
            "it has pictures of text, and only text is taken"
        } else if track.codec == "dvb_teletext" {
            "it is teletext, which is not read"
        } else if !subtitle::is_text(track) {
            "this FFmpeg does not read it as text"
        } else {
            let taken = |name: &str| chosen.plans.iter().any(|plan| plan.name == name);
            chosen.plans.push(TextPlan {
                stream: track.index,
                name: choice::folder(track, "", taken),
                language: choice::language(track).map(str::to_owned),
                label: choice::label(track),
                forced: track.forced,
            });
            continue;
        };
        let reason = format!(
            "{} ({}): {reason}",
            choice::called(track, tracks),
            track.codec
        );
        if choice.is_listed() {
            return Err(Refusal::Subtitles { reason });
        }
        chosen.warnings.push(Warning::SubtitlesLeftOut { reason });
    }
    Ok(chosen)
}

fn no_track(pick: &Pick, tracks: &[Stream]) -> Refusal {
    let reason = pick.missing(tracks, "subtitles");
    Refusal::Subtitles { reason }
}
