//! What manifests say: their text in snapshots, and their meaning as other libraries read it, held
//! against the boxes.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{
    Line, SVT, SVT_PQ, aac, audio_spec, lines, opus, pictures, read_master_uris,
    read_media_playlist, sound, video, video_spec,
};
use mp4_atom::{Any, Decode, Sidx};
use quick_m3u8::tag::hls::{StreamInf, Tag};
use rungs_package::hls::{Growth, Map, MediaPlaylist, MediaSegment};
use rungs_package::output::Memory;
use rungs_package::track::{Nclx, VideoTrack};
use rungs_package::{Bandwidth, Layout, Packager, Summary, TrackId, TrackSpec};

/// A ladder of two, sound in two languages with Opus, and once with AAC.
fn specs() -> Vec<TrackSpec> {
    let mut tall = video_spec("video/av1-1080p", video(SVT));
    tall.frame_rate = Some(24_000.0 / 1001.0);
    let small = VideoTrack {
        height: 90,
        width: 160,
        ..video(SVT)
    };
    let mut comments = audio_spec("audio/eng-comments-opus", opus(Some("eng")));
    comments.label = Some("Director's comments".to_owned());
    vec![
        video_spec("video/av1-90p", small),
        tall,
        audio_spec("audio/eng-opus", opus(Some("eng"))),
        audio_spec("audio/ger-opus", opus(Some("ger"))),
        comments,
        audio_spec("audio/und-aac", aac(None)),
    ]
}

fn layout() -> Layout {
    Layout::new(Duration::from_secs(2))
}

/// Cuts sound at the frame nearest to each end of a segment of two seconds; the last one lasts a
/// quarter of a second.
fn frames_until(index: u32, ticks: u32, priming: u32) -> u64 {
    let quarters = u64::from((8 * index).min(17));
    (quarters * 12_000 + u64::from(priming + ticks / 2)) / u64::from(ticks)
}

fn commit(packager: &mut Packager<Memory>, tracks: &[TrackId], index: u32) {
    for (&track, spec) in tracks.iter().zip(specs()) {
        let sound = |ticks, priming| {
            let first = frames_until(index, ticks, priming);
            let first = if index == 0 { 0 } else { first };
            sound(
                first,
                frames_until(index + 1, ticks, priming) - first,
                ticks,
            )
        };
        let segment = match spec.name.as_str() {
            name if name.starts_with("video") => {
                pictures(SVT, u64::from(index) * 48, if index == 2 { 6 } else { 48 })
            }
            "audio/und-aac" => sound(1024, 1024),
            _ => sound(960, 312),
        };
        packager.commit(track, index, segment).unwrap();
    }
}

fn started(memory: &Memory) -> (Packager<Memory>, Vec<TrackId>) {
    let mut packager = Packager::new(memory.clone(), layout());
    let tracks = specs()
        .into_iter()
        .map(|spec| packager.add_track(spec).unwrap())
        .collect();
    packager.start().unwrap();
    (packager, tracks)
}

fn finished() -> (Memory, Summary) {
    let memory = Memory::new();
    let (mut packager, tracks) = started(&memory);
    (0..3).for_each(|index| commit(&mut packager, &tracks, index));
    let summary = packager.finish().unwrap();
    (memory, summary)
}

fn text(memory: &Memory, path: &str) -> String {
    String::from_utf8(memory.get(path).unwrap()).unwrap()
}

/// The rate that is stated of a video which was said to have 24 frames a second, of segments with so many frames and ticks of each.
fn stated_rate(segments: &[(u64, u32)]) -> f64 {
    let ticks = |(count, ticks): &(u64, u32)| vec![*ticks; *count as usize];
    rate_of(&segments.iter().map(ticks).collect::<Vec<_>>())
}

/// The same, of the ticks of each frame in each segment.
fn rate_of(segments: &[Vec<u32>]) -> f64 {
    let memory = Memory::new();
    let mut packager = Packager::new(memory.clone(), layout());
    let track = packager
        .add_track(video_spec("video/a", video(SVT)))
        .unwrap();
    packager.start().unwrap();
    let mut reached = 0;
    for (index, durations) in (0..).zip(segments) {
        let mut segment = pictures(SVT, 0, durations.len() as u64);
        segment.decode_time = reached;
        for (sample, ticks) in segment.samples.iter_mut().zip(durations) {
            sample.duration = *ticks;
        }
        reached += segment.duration();
        packager.commit(track, index, segment).unwrap();
    }
    packager.finish().unwrap();
    variants(&text(&memory, "master.m3u8"))[0]
        .frame_rate()
        .unwrap()
}

#[test]
fn the_highest_rate_is_stated() {
    let near = |segments: &[(u64, u32)], rate: f64| {
        let stated = stated_rate(segments);
        assert!((stated - rate).abs() < 0.001, "{stated}, not {rate}");
    };
    near(&[(48, 1000), (48, 1000), (6, 1000)], 24.0);
    // What was said holds for the slower half only.
    near(&[(48, 1000), (96, 500), (96, 500), (6, 1000)], 48.0);
    // Some pictures are missing here and there; one half alone has them all.
    near(&[(48, 1000), (40, 1200), (44, 1000), (6, 1000)], 24.0);
    // The last picture may be as short as it likes.
    near(&[(48, 1000), (48, 1000), (2, 1)], 24.0);
}

#[test]
fn the_duration_of_the_last_frame_says_nothing_of_the_rate() {
    let near = |segments: &[&[u32]], rate: f64| {
        let segments: Vec<_> = segments.iter().map(|ticks| ticks.to_vec()).collect();
        let stated = rate_of(&segments);
        assert!((stated - rate).abs() < 0.001, "{stated}, not {rate}");
    };
    // Frames are two thousand ticks apart, 12 a second, however long the last one is shown.
    for last in [1, 1000, 2000, 48_000] {
        near(&[&[2000, 2000, last]], 12.0);
        near(&[&[2000, last]], 12.0);
        near(&[&[2000, 2000, 2000], &[2000, 2000, last]], 12.0);
        near(&[&[2000, 2000, 2000], &[last]], 12.0);
    }
    // The only frame there is: what was said holds if it can.
    near(&[&[1000]], 24.0);
    near(&[&[2000]], 12.0);
}

#[test]
fn early_master() {
    let memory = Memory::new();
    let (mut packager, tracks) = started(&memory);
    assert!(memory.get("master.m3u8").is_none());
    commit(&mut packager, &tracks, 0);
    insta::assert_snapshot!(text(&memory, "master.m3u8"));
}

#[test]
fn final_master() {
    insta::assert_snapshot!(text(&finished().0, "master.m3u8"));
}

#[test]
fn early_and_final_media_playlist() {
    let memory = Memory::new();
    let (mut packager, tracks) = started(&memory);
    commit(&mut packager, &tracks, 0);
    insta::assert_snapshot!("early_audio", text(&memory, "audio/eng-opus/playlist.m3u8"));
    commit(&mut packager, &tracks, 1);
    commit(&mut packager, &tracks, 2);
    packager.finish().unwrap();
    insta::assert_snapshot!("final_audio", text(&memory, "audio/eng-opus/playlist.m3u8"));
    insta::assert_snapshot!(
        "final_video",
        text(&memory, "video/av1-1080p/playlist.m3u8")
    );
    insta::assert_snapshot!(
        "final_frames",
        text(&memory, "video/av1-1080p/iframes.m3u8")
    );
    assert_eq!(memory.get("audio/eng-opus/iframes.m3u8"), None);
}

#[test]
fn manifest() {
    insta::assert_snapshot!(text(&finished().0, "manifest.mpd"));
}

#[test]
fn summary() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&finished().1).unwrap());
}

#[test]
fn hdr_says_so() {
    let memory = Memory::new();
    let mut packager = Packager::new(memory.clone(), layout());
    let hlg = Nclx {
        primaries: 9,
        transfer: 18,
        matrix: 9,
        full_range: false,
    };
    let pq = VideoTrack {
        color: None,
        ..video(SVT_PQ)
    };
    let pq = packager.add_track(video_spec("video/pq", pq)).unwrap();
    let hlg = VideoTrack {
        color: Some(hlg),
        pixel_aspect: (4, 3),
        ..video(SVT)
    };
    let hlg = packager.add_track(video_spec("video/hlg", hlg)).unwrap();
    packager.start().unwrap();
    packager.commit(pq, 0, pictures(SVT_PQ, 0, 48)).unwrap();
    packager.commit(hlg, 0, pictures(SVT, 0, 48)).unwrap();
    packager.finish().unwrap();
    insta::assert_snapshot!("hdr_master", text(&memory, "master.m3u8"));
    // Colours that differ are in sets that differ.
    let mpd = dash_mpd_core::parse(&text(&memory, "manifest.mpd")).unwrap();
    let sets = &mpd.periods[0].adaptations;
    assert_eq!(sets.len(), 2);
    let transfers: Vec<_> = sets
        .iter()
        .flat_map(|set| &set.supplemental_property)
        .filter(|property| property.schemeIdUri.ends_with("TransferCharacteristics"))
        .map(|property| property.value.clone().unwrap())
        .collect();
    assert_eq!(transfers, ["18"]);
    // Who does not know PQ cannot show it.
    let essential = sets.iter().flat_map(|set| &set.essential_property);
    let stated: Vec<_> = essential
        .map(|property| property.value.clone().unwrap())
        .collect();
    assert_eq!(stated, ["9", "16", "9"]);
}

#[test]
fn sound_alone_is_its_own_variant() {
    let memory = Memory::new();
    let mut packager = Packager::new(memory.clone(), layout());
    let track = packager
        .add_track(audio_spec("audio/eng-opus", opus(Some("eng"))))
        .unwrap();
    packager.start().unwrap();
    packager.commit(track, 0, sound(0, 100, 960)).unwrap();
    packager.finish().unwrap();
    insta::assert_snapshot!("audio_master", text(&memory, "master.m3u8"));
}

fn variants(master: &str) -> Vec<StreamInf<'_>> {
    let tags = lines(master).into_iter().filter_map(|line| match line {
        Line::Tag(tag) => match *tag {
            Tag::StreamInf(tag) => Some(tag),
            _ => None,
        },
        Line::Uri(_) => None,
    });
    tags.collect()
}

#[test]
fn a_variant_s_rates_are_those_of_its_files() {
    let (memory, summary) = finished();
    let files = memory.files();
    let bytes = |name: &str| -> u64 {
        let inside = |path: &str| path.starts_with(name) && path.contains("/seg-");
        files
            .iter()
            .filter(|(path, _)| inside(path))
            .map(|(_, file)| file.len() as u64)
            .sum()
    };
    let seconds = 4.25;
    let video = (bytes("video/av1-1080p") as f64 * 8.0 / seconds).ceil() as u64;
    let of = |name: &str| {
        summary
            .tracks
            .iter()
            .find(|track| track.name == name)
            .unwrap()
            .bandwidth
    };
    assert_eq!(of("video/av1-1080p").average, video);
    let aac = of("audio/und-aac");
    assert!(aac.peak >= aac.average && aac.average > 0);

    let master = text(&memory, "master.m3u8");
    let variants = variants(&master);
    assert_eq!(variants.len(), 4, "two videos with each of two groups");
    for variant in &variants {
        let rate = variant.frame_rate().unwrap();
        let name = if (rate - 24.0).abs() < 1e-9 {
            "video/av1-90p"
        } else {
            "video/av1-1080p"
        };
        let audio = match variant.audio().unwrap() {
            "opus" => [
                "audio/eng-opus",
                "audio/ger-opus",
                "audio/eng-comments-opus",
            ]
            .map(of),
            "aac" => [aac; 3],
            group => panic!("{group}"),
        };
        let audio = audio
            .into_iter()
            .fold(Bandwidth::default(), Bandwidth::most);
        let all = of(name).plus(audio);
        assert_eq!(variant.bandwidth(), all.peak);
        assert_eq!(variant.average_bandwidth(), Some(all.average));
    }
}

#[test]
fn playlists_name_what_is_there_and_tell_its_times() {
    let (memory, _) = finished();
    let uris = read_master_uris(&text(&memory, "master.m3u8"));
    assert_eq!(uris.len(), 4 + 4 + 2);
    for uri in uris {
        let folder = uri.rsplit_once('/').unwrap().0;
        let playlist = read_media_playlist(&text(&memory, &uri));
        assert_eq!(playlist.frames_only, uri.ends_with("iframes.m3u8"));
        assert!(playlist.event && playlist.ended);
        assert_eq!((playlist.target, playlist.segments.len()), (2, 3));
        assert!(memory.get(&format!("{folder}/{}", playlist.map)).is_some());
        let mut end = 0.0;
        for (duration, name) in playlist.segments {
            let sidx = sidx(&memory.get(&format!("{folder}/{name}")).unwrap());
            let timescale = f64::from(sidx.timescale);
            let start = sidx.earliest_presentation_time as f64 / timescale;
            let length = f64::from(sidx.references[0].subsegment_duration) / timescale;
            assert!(
                (start - end).abs() < 1e-6,
                "{folder}/{name} starts at {start}, not at {end}"
            );
            assert!((length - duration).abs() < 1e-6, "{folder}/{name}");
            end += duration;
        }
    }
}

fn sidx(mut segment: &[u8]) -> Sidx {
    loop {
        if let Any::Sidx(sidx) = Any::decode(&mut segment).unwrap() {
            return sidx;
        }
    }
}

#[test]
fn the_manifest_names_what_is_there_and_tells_its_times() {
    let (memory, summary) = finished();
    let mpd = dash_mpd_core::parse(&text(&memory, "manifest.mpd")).unwrap();
    assert_eq!(dash_mpd_core::check_conformity(&mpd), Vec::<String>::new());
    assert_eq!(mpd.mpdtype.as_deref(), Some("static"));
    let sets = &mpd.periods[0].adaptations;
    let content: Vec<_> = sets
        .iter()
        .map(|set| set.contentType.clone().unwrap())
        .collect();
    assert_eq!(content, ["video", "audio", "audio", "audio", "audio"]);
    let mut seen = BTreeMap::new();
    for representation in sets.iter().flat_map(|set| &set.representations) {
        let template = representation.SegmentTemplate.as_ref().unwrap();
        assert!(
            memory
                .get(template.initialization.as_ref().unwrap())
                .is_some()
        );
        let mut number = template.startNumber.unwrap();
        let mut time = 0;
        for run in &template.SegmentTimeline.as_ref().unwrap().segments {
            time = run.t.unwrap_or(time);
            for _ in 0..=run.r.unwrap_or(0) {
                let media = template.media.as_ref().unwrap();
                let path = media.replace("$Number%05d$", &format!("{number:05}"));
                let sidx = sidx(&memory.get(&path).unwrap());
                assert_eq!(u64::from(sidx.timescale), template.timescale.unwrap());
                assert_eq!(sidx.earliest_presentation_time, time, "{path}");
                assert_eq!(
                    u64::from(sidx.references[0].subsegment_duration),
                    run.d,
                    "{path}"
                );
                time += run.d;
                number += 1;
            }
        }
        seen.insert(representation.id.clone().unwrap(), number);
    }
    let expected = summary
        .tracks
        .iter()
        .map(|track| (track.name.clone(), 3))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn an_i_frame_entry_is_a_segment_up_to_the_end_of_its_keyframe() {
    let (memory, _) = finished();
    for folder in ["video/av1-1080p", "video/av1-90p"] {
        let list = read_media_playlist(&text(&memory, &format!("{folder}/iframes.m3u8")));
        assert_eq!((list.ranges.len(), list.map.as_str()), (3, "init.mp4"));
        for ((_, name), (offset, length)) in list.segments.iter().zip(&list.ranges) {
            let file = memory.get(&format!("{folder}/{name}")).unwrap();
            let part = &file[..usize::try_from(*length).unwrap()];
            assert_eq!(*offset, Some(0));
            // Sequence header and frame of the keyframe, which `pictures` makes.
            assert!(part.ends_with(&[SVT, &[0x32, 3, 0, 2, 3]].concat()));
            let facts = rungs_package::cmaf::read_segment(&file).unwrap();
            assert_eq!(facts.first_end, *length);
        }
    }
}

#[test]
fn the_sum_of_durations_does_not_drift() {
    // Ticks of 1/90000 s at 30000/1001 pictures a second: 3003 a picture, 120 a segment.
    let duration = 3003 * 120;
    let segments: Vec<_> = (0..10_000)
        .map(|i| MediaSegment {
            uri: format!("{i}"),
            range: None,
            start: i * duration,
            duration,
        })
        .collect();
    let playlist = MediaPlaylist {
        target_duration: 4,
        timescale: 90_000,
        growth: Growth::Event,
        map: Some(Map {
            uri: "init.mp4".to_owned(),
            range: None,
        }),
        segments,
        frames_only: false,
        ended: false,
    };
    let read = read_media_playlist(&playlist.render());
    let sum: f64 = read.segments.iter().map(|(duration, _)| duration).sum();
    assert!(
        (sum - 10_000.0 * duration as f64 / 90_000.0).abs() < 1e-5,
        "{sum}"
    );
    assert!(!read.ended);
}
