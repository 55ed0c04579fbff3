//! The multivariant playlist and the renditions in, what it states falsely out.

use super::rendition::Rendition;
use super::{Expectation, Findings, Package, Rule, bandwidth};
use crate::hls::{Attributes, Variant};

const FILE: &str = "master.m3u8";

/// How far above the truth a stated bit rate may be in a complete package.
pub(super) const SLACK: f64 = 1.01;

pub(super) fn check(package: &Package, expect: &Expectation, findings: &mut Findings) {
    if !package.master.independent {
        findings.add(
            Rule::Playlist,
            FILE,
            "there is no EXT-X-INDEPENDENT-SEGMENTS",
        );
    }
    for media in &package.master.media {
        check_media(package, media, findings);
    }
    for variant in &package.master.variants {
        let Some(video) = package.named(&variant.uri) else {
            continue;
        };
        let group = group(package, variant, findings);
        check_codecs((variant, video), &group, findings);
        check_picture((variant, video), findings);
        if expect.complete {
            check_rates(package, (variant, video), &group, findings);
        }
        if variant.attributes.get("CLOSED-CAPTIONS") != Some("NONE") {
            let message = format!("{} does not say CLOSED-CAPTIONS=NONE", variant.uri);
            findings.add(Rule::Playlist, FILE, message);
        }
        let named = variant.attributes.get("SUBTITLES");
        let known = package.master.media.iter();
        let mut known = known.filter(|media| media.get("TYPE") == Some("SUBTITLES"));
        if named.is_some() == package.texts.is_empty()
            || named.is_some() && known.any(|media| media.get("GROUP-ID") != named)
        {
            let message = format!("{} names the subtitles as {named:?}", variant.uri);
            findings.add(Rule::Playlist, FILE, message);
        }
    }
    check_targets(package, findings);
}

/// Returns the audio renditions of a variant's group.
fn group<'a>(
    package: &'a Package,
    variant: &Variant,
    findings: &mut Findings,
) -> Vec<&'a Rendition> {
    let Some(group) = variant.attributes.get("AUDIO") else {
        if package.audios().next().is_some() {
            findings.add(
                Rule::Playlist,
                FILE,
                format!("{} has no AUDIO group", variant.uri),
            );
        }
        return Vec::new();
    };
    let members = package
        .master
        .media
        .iter()
        .filter(|media| media.get("GROUP-ID") == Some(group));
    let members: Vec<_> = members
        .filter_map(|media| package.named(media.get("URI")?))
        .collect();
    if members.is_empty() {
        findings.add(
            Rule::Playlist,
            FILE,
            format!(
                "{} names the AUDIO group {group}, which is empty",
                variant.uri
            ),
        );
    }
    members
}

fn check_media(package: &Package, media: &Attributes, findings: &mut Findings) {
    for name in ["TYPE", "GROUP-ID", "NAME"] {
        if media.get(name).is_none_or(str::is_empty) {
            findings.add(
                Rule::Playlist,
                FILE,
                format!("an EXT-X-MEDIA has no {name}"),
            );
        }
    }
    let Some(audio) = media.get("URI").and_then(|uri| package.named(uri)) else {
        return;
    };
    let channels = audio.entry.channels.to_string();
    if media
        .get("CHANNELS")
        .is_some_and(|stated| stated.split('/').next() != Some(&channels))
    {
        findings.add(
            Rule::Playlist,
            FILE,
            format!("{} has {channels} channels", audio.folder),
        );
    }
}

fn check_codecs(
    (variant, video): (&Variant, &Rendition),
    group: &[&Rendition],
    findings: &mut Findings,
) {
    let mut wanted = vec![video.codec_string()];
    for audio in group {
        let codec = audio.codec_string();
        if !wanted.contains(&codec) {
            wanted.push(codec);
        }
    }
    let stated = variant.attributes.get("CODECS").unwrap_or_default();
    let mut stated: Vec<_> = stated.split(',').collect();
    stated.sort_unstable();
    wanted.sort_unstable();
    if stated != wanted {
        let message = format!(
            "CODECS of {} is {stated:?}, and the files have {wanted:?}",
            variant.uri
        );
        findings.add(Rule::Codec, FILE, message);
    }
}

fn check_picture((variant, video): (&Variant, &Rendition), findings: &mut Findings) {
    let (width, height) = video.size();
    // Pixels that are not square may be stated as they are shown.
    let (across, down) = video.entry.pasp.unwrap_or((1, 1));
    let shown = (f64::from(width) * f64::from(across) / f64::from(down.max(1))).round();
    let allowed = [format!("{width}x{height}"), format!("{shown}x{height}")];
    let stated = variant.attributes.get("RESOLUTION").unwrap_or_default();
    if !allowed.iter().any(|size| size == stated) {
        findings.add(
            Rule::Codec,
            FILE,
            format!(
                "RESOLUTION of {} is {stated}, not {}",
                variant.uri, allowed[0]
            ),
        );
    }
    let sequence = video.sequence.as_ref().map(|sequence| sequence.color);
    let range = match sequence.or(video.entry.nclx).map(|color| color.transfer) {
        Some(16) => "PQ",
        Some(18) => "HLG",
        _ => "SDR",
    };
    let stated = variant.attributes.get("VIDEO-RANGE").unwrap_or("SDR");
    if stated != range {
        findings.add(
            Rule::Codec,
            FILE,
            format!("VIDEO-RANGE of {} is {stated}, not {range}", variant.uri),
        );
    }
    let Some(stated) = variant.attributes.number::<f64>("FRAME-RATE") else {
        return findings.add(
            Rule::Playlist,
            FILE,
            format!("{} has no FRAME-RATE", variant.uri),
        );
    };
    let (lowest, highest) = frame_rates(video);
    if stated < lowest * 0.999 - 0.001 || stated > highest * 1.001 + 0.001 {
        let message = format!(
            "FRAME-RATE of {} is {stated}, and its frames say {lowest:.3} to {highest:.3}",
            variant.uri
        );
        findings.add(Rule::Playlist, FILE, message);
    }
}

/// Returns the average frame rate and that of the shortest frame: between them lies every honest statement.
///
/// The last frame's duration is often a guess: with it or without it, or without all of the last segment, whichever average is the lowest will do,
/// and it is never the shortest. A tick is taken off for rounding.
pub(super) fn frame_rates(video: &Rendition) -> (f64, f64) {
    let durations: Vec<u64> = video
        .segments
        .iter()
        .flat_map(|segment| &segment.durations)
        .map(|&ticks| u64::from(ticks))
        .collect();
    let counted = if durations.len() > 1 {
        &durations[..durations.len() - 1]
    } else {
        &durations[..]
    };
    let shortest = counted.iter().min().copied().unwrap_or(1);
    let scale = f64::from(video.track.timescale);
    let rounding = u64::from(counted.iter().max() != Some(&shortest));
    let average = |frames: &[u64]| {
        let total: u64 = frames.iter().sum();
        frames.len() as f64 * scale / total.max(1) as f64
    };
    let (without, with) = (average(counted), average(&durations));
    let last = video.segments.last();
    let last = last.map_or(0, |segment| segment.durations.len());
    let before = match &durations[..durations.len() - last] {
        [] => with,
        before => average(before),
    };
    (
        without.min(with).min(before),
        (scale / shortest.saturating_sub(rounding).max(1) as f64).max(without),
    )
}

fn check_rates(
    package: &Package,
    (variant, video): (&Variant, &Rendition),
    group: &[&Rendition],
    findings: &mut Findings,
) {
    let own = bandwidth::measure(video);
    let most = |(peak, average): (f64, f64), rates: bandwidth::Rates| {
        (peak.max(rates.peak), average.max(rates.average))
    };
    let sound = group.iter().map(|audio| bandwidth::measure(audio));
    let sound = sound.fold((0.0, 0.0), most);
    let text = package.texts.iter().map(super::text::Text::rates);
    let text = text.fold((0.0, 0.0), most);
    for (name, truth) in [
        ("BANDWIDTH", own.peak + sound.0 + text.0),
        ("AVERAGE-BANDWIDTH", own.average + sound.1 + text.1),
    ] {
        let Some(stated) = variant.attributes.number::<f64>(name) else {
            findings.add(
                Rule::Bandwidth,
                FILE,
                format!("{} has no {name}", variant.uri),
            );
            continue;
        };
        // A bit either way for the rounding of each.
        if stated < truth - 1.0 || stated > truth * SLACK + 3.0 {
            let message = format!(
                "{name} of {} is {stated}, and the files have {truth:.0}",
                variant.uri
            );
            findings.add(Rule::Bandwidth, FILE, message);
        }
    }
}

fn check_targets(package: &Package, findings: &mut Findings) {
    let mut targets = package
        .renditions
        .iter()
        .map(|rendition| (rendition, rendition.playlist.target));
    let Some((first, target)) = targets.next() else {
        return;
    };
    for (other, _) in targets.filter(|(_, other)| *other != target) {
        let message = format!(
            "its target duration differs from that of {}",
            first.playlist_file
        );
        findings.add(Rule::Playlist, &other.playlist_file, message);
    }
}
