//! One media playlist and the segments' true times in, where it is ill-formed or untrue out.

use super::rendition::Rendition;
use super::{Expectation, Findings, Rule};
use crate::hls;

/// How far a stated duration may be from the segment's, in seconds.
const SAME_DURATION: f64 = 1e-5;

pub(super) fn check(rendition: &Rendition, expect: &Expectation, findings: &mut Findings) {
    check_head(rendition, expect, findings);
    check_entries(rendition, findings);
}

fn check_head(rendition: &Rendition, expect: &Expectation, findings: &mut Findings) {
    let playlist = &rendition.playlist;
    let mut wrong = |rule, message: String| findings.add(rule, &rendition.playlist_file, message);
    if playlist.version < 6 {
        wrong(
            Rule::Playlist,
            format!("version {} does not allow EXT-X-MAP", playlist.version),
        );
    }
    let kind = if playlist.map_range.is_some() {
        "VOD"
    } else {
        "EVENT"
    };
    if playlist.kind.as_deref() != Some(kind) {
        wrong(Rule::Playlist, format!("its type is not {kind}"));
    }
    if expect.complete && !playlist.ended {
        wrong(Rule::Playlist, "there is no EXT-X-ENDLIST".to_owned());
    }
    if playlist.first != 0 {
        wrong(
            Rule::Coverage,
            format!("it starts with segment {}", playlist.first),
        );
    }
    for tag in &playlist.odd {
        wrong(Rule::Playlist, format!("it has {tag}"));
    }
    if playlist.content != hls::Content::All {
        wrong(Rule::Playlist, "it is not for all pictures".to_owned());
    }
    for (index, entry) in playlist.entries.iter().enumerate() {
        if entry.range.is_some() != playlist.map_range.is_some() {
            wrong(
                Rule::Playlist,
                format!("entry {index} is not a part of a file as the others are"),
            );
        }
        if entry.range.is_none() && number(&entry.uri) != Some(index) {
            wrong(Rule::Coverage, format!("entry {index} names {}", entry.uri));
        }
    }
}

/// Returns the number at the end of a file's name, before its extension.
fn number(uri: &str) -> Option<usize> {
    let stem = uri.rsplit_once('.').map_or(uri, |(stem, _)| stem);
    let start = stem
        .rfind(|letter: char| !letter.is_ascii_digit())
        .map_or(0, |last| last + 1);
    stem.get(start..)?.parse().ok()
}

fn check_entries(rendition: &Rendition, findings: &mut Findings) {
    let playlist = &rendition.playlist;
    let mut wrong =
        |message: String| findings.add(Rule::Playlist, &rendition.playlist_file, message);
    match playlist.target {
        None => wrong("there is no EXT-X-TARGETDURATION".to_owned()),
        Some(target) => {
            for entry in playlist
                .entries
                .iter()
                .filter(|entry| entry.seconds.round() > target as f64)
            {
                wrong(format!(
                    "{} lasts {} s, above the target of {target} s",
                    entry.uri, entry.seconds
                ));
            }
        }
    }
    let (mut stated, mut true_end) = (0.0, 0.0);
    for segment in &rendition.segments {
        let ticks = rendition.presented_until(segment) - rendition.presented_from(segment);
        let seconds = rendition.seconds(ticks);
        stated += segment.seconds;
        true_end += seconds;
        if (segment.seconds - seconds).abs() > SAME_DURATION {
            wrong(format!(
                "{} lasts {seconds:.6} s, not {} s",
                segment.file, segment.seconds
            ));
        }
    }
    if (stated - true_end).abs() > 10.0 * SAME_DURATION {
        wrong(format!(
            "its durations add up to {stated:.6} s for {true_end:.6} s of media"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_the_extension() {
        assert_eq!(number("seg-00012.m4s"), Some(12));
        assert_eq!(number("seg7"), Some(7));
        assert_eq!(number("seg-.m4s"), None);
    }
}
