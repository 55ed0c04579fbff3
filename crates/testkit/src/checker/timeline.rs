//! All renditions in, findings out: the same cuts everywhere, on the grid, and sound that keeps to the picture.

use super::rendition::Rendition;
use super::{Expectation, Findings, Package, Rule};

/// How much later than the grid says a segment may start before the picture must be repeated there, in seconds.
const LATEST_START: f64 = 0.25;

pub(super) fn across(package: &Package, expect: &Expectation, findings: &mut Findings) {
    let Some(first) = package.videos().next() else {
        return findings.add(Rule::Coverage, "master.m3u8", "there is no video rendition");
    };
    for other in package.videos().skip(1) {
        same_cuts((first, other), expect.complete, findings);
    }
    if let Some(seconds) = expect.segment_seconds {
        on_the_grid(first, seconds, findings);
    }
    match (expect.audio, package.audios().count()) {
        (Some(true), 0) => findings.add(Rule::Coverage, "master.m3u8", "there is no sound"),
        (Some(false), 1..) => findings.add(Rule::Coverage, "master.m3u8", "there is sound"),
        _ => {}
    }
    for audio in package.audios() {
        keeps_to_the_picture((first, audio), expect, findings);
    }
    if let Some(frames) = expect.frames {
        for video in package.videos().filter(|video| video.samples() != frames) {
            let message = format!("there are {} frames, not {frames}", video.samples());
            findings.add(Rule::Source, &video.playlist_file, message);
        }
    }
}

fn same_cuts((first, other): (&Rendition, &Rendition), complete: bool, findings: &mut Findings) {
    // Playlists of a running job are written one after the other.
    if complete && first.segments.len() != other.segments.len() {
        let (own, wanted) = (other.segments.len(), first.segments.len());
        let message = format!("there are {own} segments, and {wanted} in {}", first.folder);
        findings.add(Rule::Coverage, &other.playlist_file, message);
    }
    let (one, two) = (
        u128::from(first.track.timescale),
        u128::from(other.track.timescale),
    );
    for (mine, theirs) in first.segments.iter().zip(&other.segments) {
        let equal = |a: u64, b: u64| u128::from(a) * two == u128::from(b) * one;
        if !equal(mine.start, theirs.start) || !equal(mine.end(), theirs.end()) {
            let message = format!("it is cut at other times than {}", mine.file);
            findings.add(Rule::Timeline, &theirs.file, message);
        } else if mine.durations.len() != theirs.durations.len() {
            let (own, wanted) = (theirs.durations.len(), mine.durations.len());
            let message = format!("it has {own} frames, and {} has {wanted}", mine.file);
            findings.add(Rule::Timeline, &theirs.file, message);
        }
    }
}

fn on_the_grid(video: &Rendition, seconds: f64, findings: &mut Findings) {
    // A tick either way: the grid need not be made of whole ticks.
    let tick = 1.0 / f64::from(video.track.timescale);
    let latest = LATEST_START.min(seconds / 8.0) + tick;
    for (index, segment) in video.segments.iter().enumerate().skip(1) {
        let (start, due) = (video.seconds(segment.start), index as f64 * seconds);
        let before = &video.segments[index - 1];
        let last = before.durations.last().map_or(0, |&ticks| u64::from(ticks));
        let last_start = video.seconds(before.end().saturating_sub(last));
        if start < due - tick || start > due + latest || last_start >= due + tick {
            let message = format!(
                "it starts at {start:.6} s, which is not the first frame from {due:.3} s on"
            );
            findings.add(Rule::Timeline, &segment.file, message);
        }
    }
}

fn keeps_to_the_picture(
    (video, audio): (&Rendition, &Rendition),
    expect: &Expectation,
    findings: &mut Findings,
) {
    if expect.complete && audio.segments.len() != video.segments.len() {
        let (own, wanted) = (audio.segments.len(), video.segments.len());
        let message = format!("there are {own} segments of sound for {wanted} of picture");
        findings.add(Rule::Coverage, &audio.playlist_file, message);
    }
    // Rounding to ticks on either side.
    let frame = audio.longest_sample() + 1e-4;
    for (sound, picture) in audio.segments.iter().zip(&video.segments) {
        let heard = audio.seconds(audio.presented_from(sound));
        let seen = video.seconds(video.presented_from(picture));
        if (heard - seen).abs() > frame {
            let message =
                format!("it starts at {heard:.4} s and the picture's segment at {seen:.4} s");
            findings.add(Rule::Timeline, &sound.file, message);
        }
    }
    let (heard, seen) = (audio.end_seconds(), video.end_seconds());
    if expect.complete && (heard - seen).abs() > expect.audio_end_slack.unwrap_or(frame) {
        let message = format!("the sound ends at {heard:.4} s and the picture at {seen:.4} s");
        findings.add(Rule::Timeline, &audio.playlist_file, message);
    }
}
