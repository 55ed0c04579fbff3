//! The packager's rules: what it refuses, and what holds at every moment of any history of commits,
//! with failures of the output between them.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use common::{
    AOM, SVT, SVT_PQ, audio_spec, opus, pictures, read_master_uris, read_media_playlist,
    shared_video, sound, video, video_spec,
};
use proptest::prelude::*;
use rungs_package::output::{Item, Kind, Memory, Output, OutputError};
use rungs_package::track::{AudioCodec, AudioTrack, Track};
use rungs_package::{Layout, PackageError, Packager, Summary, TrackId, TrackSpec, TrackSummary};

fn layout() -> Layout {
    Layout::new(Duration::from_secs(1))
}

/// One video, with its packager started.
fn one_video() -> (Packager<Memory>, TrackId, Memory) {
    let memory = Memory::new();
    let mut packager = Packager::new(memory.clone(), layout());
    let track = packager
        .add_track(video_spec("video/a", video(SVT)))
        .unwrap();
    packager.start().unwrap();
    (packager, track, memory)
}

#[test]
fn the_first_commit_of_a_segment_counts() {
    let (mut packager, track, memory) = one_video();
    let first = packager.commit(track, 0, pictures(SVT, 0, 24)).unwrap();
    assert!(first.frontier_moved && !first.duplicate);
    assert_eq!(first.path, "video/a/seg-00000.m4s");
    assert_eq!((first.decode_time, first.duration), (0, 24_000));
    let stored = memory.get(&first.path).unwrap();
    assert_eq!(stored.len() as u64, first.bytes);
    // Another encoder's version of it, which would not even be valid.
    let second = packager.commit(track, 0, pictures(SVT_PQ, 5, 3)).unwrap();
    assert!(second.duplicate && !second.frontier_moved);
    assert_eq!(
        (second.bytes, second.duration),
        (first.bytes, first.duration)
    );
    assert_eq!(memory.get(&first.path).unwrap(), stored);
}

#[test]
fn segments_of_unlike_encoders_share_a_track_that_knows_both() {
    let memory = Memory::new();
    let mut packager = Packager::new(memory.clone(), layout());
    let shared = video_spec("video/a", shared_video(&[SVT, AOM]));
    let track = packager.add_track(shared).unwrap();
    packager.start().unwrap();
    packager.commit(track, 0, pictures(AOM, 0, 24)).unwrap();
    packager.commit(track, 1, pictures(SVT, 24, 24)).unwrap();
    // The same contract, and a header that no sample entry describes: another tool.
    let mut other = SVT.to_vec();
    other[9] ^= 0x10;
    let error = packager.commit(track, 2, pictures(&other, 48, 24));
    let Err(PackageError::UnknownHeader {
        index: 2, known: 2, ..
    }) = error
    else {
        panic!("{error:?}")
    };
    // Both in one segment: it can name only one entry.
    let mut mixed = pictures(SVT, 48, 24);
    let second = pictures(AOM, 60, 1).samples.remove(0);
    mixed.samples[12] = second;
    let error = packager.commit(track, 2, mixed).unwrap_err();
    assert!(
        matches!(error, PackageError::UnknownHeader { .. }),
        "{error}"
    );
    assert!(memory.get("video/a/seg-00002.m4s").is_none());
}

#[test]
fn the_contract_is_kept() {
    let (mut packager, track, memory) = one_video();
    let error = packager
        .commit(track, 3, pictures(SVT_PQ, 72, 24))
        .unwrap_err();
    let PackageError::Contract {
        track: name,
        index,
        difference,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((name.as_str(), *index), ("video/a", 3));
    assert_eq!(difference, "8 bit 4:2:0 is not 10 bit 4:2:0");
    assert_eq!(
        error.to_string(),
        "segment 3 of video/a breaks the rendition's codec contract: \
         8 bit 4:2:0 is not 10 bit 4:2:0"
    );
    // A later key sample is bound by it too.
    let mut late = pictures(SVT, 72, 24);
    late.samples[5].key = true;
    late.samples[5].data = SVT_PQ.to_vec();
    let error = packager.commit(track, 3, late).unwrap_err();
    assert!(matches!(error, PackageError::Contract { .. }), "{error}");
    assert_eq!(memory.paths(), ["video/a/init.mp4"]);
    packager.commit(track, 3, pictures(SVT, 72, 24)).unwrap();
}

#[test]
fn a_segment_starts_with_a_readable_key_sample() {
    let (mut packager, track, _) = one_video();
    let mut no_key = pictures(SVT, 0, 24);
    no_key.samples[0].key = false;
    let error = packager.commit(track, 0, no_key).unwrap_err();
    assert!(
        matches!(error, PackageError::NoKey { index: 0, .. }),
        "{error}"
    );
    let mut no_header = pictures(SVT, 0, 24);
    no_header.samples[0].data = vec![0x32, 1, 0];
    let error = packager.commit(track, 0, no_header).unwrap_err();
    assert!(matches!(error, PackageError::Bitstream { .. }), "{error}");
    let empty = pictures(SVT, 0, 0);
    let error = packager.commit(track, 0, empty).unwrap_err();
    assert!(matches!(error, PackageError::Segment { .. }), "{error}");
}

#[test]
fn segments_join_their_neighbours() {
    let (mut packager, track, _) = one_video();
    packager.commit(track, 2, pictures(SVT, 48, 24)).unwrap();
    let error = packager
        .commit(track, 3, pictures(SVT, 73, 24))
        .unwrap_err();
    let expected = "segment 3 of video/a starts at tick 73000 where tick 72000 was due";
    assert_eq!(error.to_string(), expected);
    let error = packager
        .commit(track, 1, pictures(SVT, 24, 23))
        .unwrap_err();
    let expected = "segment 2 of video/a starts at tick 48000 where tick 47000 was due";
    assert_eq!(error.to_string(), expected);
    packager.commit(track, 1, pictures(SVT, 24, 24)).unwrap();
    packager.commit(track, 3, pictures(SVT, 72, 24)).unwrap();
}

#[test]
fn no_segment_outgrows_the_target() {
    let (mut packager, track, _) = one_video();
    // Rounded to a second, 35 pictures are one second and 36 are two.
    let error = packager.commit(track, 0, pictures(SVT, 0, 36)).unwrap_err();
    let expected = "segment 0 of video/a lasts 1.500 s, more than the target duration of 1 s";
    assert_eq!(error.to_string(), expected);
    packager.commit(track, 0, pictures(SVT, 0, 35)).unwrap();
    let mut nothing = pictures(SVT, 35, 1);
    nothing.samples[0].duration = 0;
    let error = packager.commit(track, 1, nothing).unwrap_err();
    assert!(
        matches!(error, PackageError::NoDuration { index: 1, .. }),
        "{error}"
    );
}

#[test]
fn finish_wants_every_segment_of_every_track() {
    let memory = Memory::new();
    let mut packager = Packager::new(memory.clone(), layout());
    let video = packager
        .add_track(video_spec("video/a", video(SVT)))
        .unwrap();
    let audio = packager
        .add_track(audio_spec("audio/b", opus(None)))
        .unwrap();
    packager.start().unwrap();
    let lacks = |packager: &mut Packager<Memory>| match packager.finish() {
        Err(PackageError::Incomplete {
            track,
            missing,
            expected,
        }) => (track, missing, expected),
        other => panic!("{other:?}"),
    };
    assert_eq!(lacks(&mut packager), ("video/a".to_owned(), 0, 1));
    packager.commit(video, 0, pictures(SVT, 0, 24)).unwrap();
    packager.commit(video, 2, pictures(SVT, 48, 24)).unwrap();
    assert_eq!(lacks(&mut packager), ("video/a".to_owned(), 1, 3));
    packager.commit(video, 1, pictures(SVT, 24, 24)).unwrap();
    assert_eq!(lacks(&mut packager), ("audio/b".to_owned(), 0, 3));
    assert!(
        memory.get("master.m3u8").is_none(),
        "no frontier, no playlist"
    );
    for index in 0..3 {
        packager
            .commit(audio, index, sound(u64::from(index) * 50, 50, 960))
            .unwrap();
    }
    assert_eq!(packager.frontier(), 3);
    let summary = packager.finish().unwrap();
    assert_eq!(
        summary
            .tracks
            .iter()
            .map(|track| track.segments)
            .collect::<Vec<_>>(),
        [3, 3]
    );
    let error = packager
        .commit(video, 3, pictures(SVT, 72, 24))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "commit was called while the package was finished"
    );
}

#[test]
fn a_package_that_began_to_end_takes_no_more() {
    // init, segment, both playlists, multivariant playlist, last of both playlists: then it fails.
    let output = Auditor {
        faults: BTreeSet::from([8]),
        ..Auditor::default()
    };
    let mut packager = Packager::new(output, layout());
    let track = packager
        .add_track(video_spec("video/a", video(SVT)))
        .unwrap();
    packager.start().unwrap();
    packager.commit(track, 0, pictures(SVT, 0, 24)).unwrap();
    assert!(matches!(packager.finish(), Err(PackageError::Output(_))));
    assert!(
        packager
            .output()
            .text("video/a/playlist.m3u8")
            .contains("ENDLIST")
    );
    let error = packager
        .commit(track, 1, pictures(SVT, 24, 24))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "commit was called while the package was being finished"
    );
    packager.finish().unwrap();
    assert!(packager.output().files.contains_key("manifest.mpd"));
}

#[test]
fn calls_have_their_order() {
    let mut packager = Packager::new(Memory::new(), layout());
    assert!(matches!(packager.start(), Err(PackageError::NoTracks)));
    let track = packager.add_track(video_spec("a", video(SVT))).unwrap();
    let early = packager.commit(track, 0, pictures(SVT, 0, 24)).unwrap_err();
    assert_eq!(
        early.to_string(),
        "commit was called while the package was not started"
    );
    assert!(matches!(packager.finish(), Err(PackageError::Phase { .. })));
    packager.start().unwrap();
    let late = packager.add_track(video_spec("b", video(SVT))).unwrap_err();
    assert_eq!(
        late.to_string(),
        "add_track was called while the package was in progress"
    );

    let mut other = Packager::new(Memory::new(), layout());
    other.add_track(video_spec("a", video(SVT))).unwrap();
    let second = other.add_track(video_spec("b", video(SVT))).unwrap();
    let foreign = packager
        .commit(second, 0, pictures(SVT, 0, 24))
        .unwrap_err();
    assert!(matches!(foreign, PackageError::ForeignTrack));
}

#[test]
fn names_are_plain_relative_paths() {
    let mut packager = Packager::new(Memory::new(), layout());
    for name in [
        "", "/a", "a/", "a//b", "..", "a/../b", ".rungs", "a b", "a?b", "a\\b", "ä", "$a",
    ] {
        let error = packager
            .add_track(video_spec(name, video(SVT)))
            .unwrap_err();
        assert!(
            matches!(error, PackageError::Name { .. }),
            "{name:?}: {error}"
        );
    }
    packager
        .add_track(video_spec("video/av1-1080p_2.0", video(SVT)))
        .unwrap();
    let error = packager
        .add_track(video_spec("video/av1-1080p_2.0", video(SVT)))
        .unwrap_err();
    assert!(matches!(error, PackageError::NameTaken { .. }));
}

#[test]
fn tracks_that_cannot_be_muxed_are_refused_at_once() {
    let mut packager = Packager::new(Memory::new(), layout());
    let codec = AudioCodec::Opus {
        head: b"OpusTags".to_vec(),
    };
    let error = packager
        .add_track(audio_spec(
            "a",
            AudioTrack {
                codec,
                ..opus(None)
            },
        ))
        .unwrap_err();
    assert!(matches!(error, PackageError::Track { .. }), "{error}");
    let codec = AudioCodec::Aac { config: Vec::new() };
    let error = packager
        .add_track(audio_spec(
            "a",
            AudioTrack {
                codec,
                ..opus(None)
            },
        ))
        .unwrap_err();
    assert!(matches!(error, PackageError::AudioConfig { .. }), "{error}");
}

#[test]
fn the_report_may_come_at_any_time() {
    let (mut packager, _, memory) = one_video();
    packager.put_report(b"{}").unwrap();
    packager.put_report(b"{\"a\":1}").unwrap();
    assert_eq!(memory.get("report.json").unwrap(), b"{\"a\":1}");
}

/// An output that checks what readers would see after each item, and fails when it is told to.
#[derive(Debug, Default)]
struct Auditor {
    files: BTreeMap<String, Vec<u8>>,
    finished: Vec<String>,
    /// Numbers of the calls that fail.
    faults: BTreeSet<usize>,
    calls: usize,
}

impl Auditor {
    fn text(&self, path: &str) -> String {
        String::from_utf8(self.files[path].clone()).unwrap()
    }

    fn audit_playlist(&self, path: &str, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap();
        let playlist = read_media_playlist(text);
        assert_eq!(playlist.target, 1);
        assert!(!playlist.segments.is_empty() && playlist.event);
        let folder = path.rsplit_once('/').unwrap().0;
        for (_, uri) in playlist.segments.iter().chain([&(0.0, playlist.map)]) {
            assert!(
                self.files.contains_key(&format!("{folder}/{uri}")),
                "{folder}/{uri} is absent"
            );
        }
        if let Some(before) = self.files.get(path) {
            let before = std::str::from_utf8(before).unwrap();
            // The end may be said twice, when the call that said it is repeated.
            assert!(text.starts_with(before), "{path} did more than grow");
        }
    }
}

impl Output for Auditor {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.calls += 1;
        if self.faults.contains(&self.calls) {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(OutputError {
                path: item.path.into(),
                operation: "write",
                source,
            });
        }
        let known = self.files.contains_key(item.path);
        match item.kind {
            Kind::Init => assert!(!known || self.files[item.path] == item.bytes),
            Kind::Segment => assert!(!known, "{} was written twice", item.path),
            Kind::MediaPlaylist => self.audit_playlist(item.path, item.bytes),
            Kind::MultivariantPlaylist => {
                for uri in read_master_uris(std::str::from_utf8(item.bytes).unwrap()) {
                    assert!(self.files.contains_key(&uri), "{uri} is absent");
                }
            }
            Kind::Manifest => {
                let playlists = self
                    .files
                    .keys()
                    .filter(|path| path.ends_with("playlist.m3u8"));
                for path in playlists {
                    assert!(
                        read_media_playlist(&self.text(path)).ended,
                        "{path} is open"
                    );
                }
            }
            Kind::Report | Kind::Still => {}
        }
        self.files.insert(item.path.to_owned(), item.bytes.to_vec());
        Ok(())
    }

    fn finished(&mut self, rendition: &TrackSummary) -> Result<(), OutputError> {
        let playlist = format!("{}/playlist.m3u8", rendition.name);
        assert!(read_media_playlist(&self.text(&playlist)).ended);
        self.finished.push(rendition.name.clone());
        Ok(())
    }
}

fn specs() -> Vec<TrackSpec> {
    vec![
        video_spec("video/a", video(SVT)),
        video_spec("video/b", video(SVT)),
        audio_spec("audio/c", opus(Some("de"))),
    ]
}

fn segment(spec: &TrackSpec, index: u32) -> rungs_package::track::Segment {
    match spec.track {
        Track::Video(_) | Track::Text(_) => pictures(SVT, u64::from(index) * 24, 24),
        Track::Audio(_) => sound(u64::from(index) * 50, 50, 960),
    }
}

/// Repeats a call until the output does not fail. Any other error is the test's.
fn insist<T>(mut call: impl FnMut() -> Result<T, PackageError>) -> T {
    loop {
        match call() {
            Ok(value) => return value,
            Err(PackageError::Output(error)) => assert!(error.is_no_space()),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Commits in the given order, duplicates included, and returns the files.
fn run(order: &[(usize, u32)], faults: BTreeSet<usize>) -> (Auditor, Summary) {
    let mut packager = Packager::new(
        Auditor {
            faults,
            ..Auditor::default()
        },
        layout(),
    );
    let specs = specs();
    let tracks: Vec<_> = specs
        .iter()
        .map(|spec| packager.add_track(spec.clone()).unwrap())
        .collect();
    insist(|| packager.start());
    let mut have: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); specs.len()];
    for &(track, index) in order {
        let before = packager.frontier();
        let committed =
            insist(|| packager.commit(tracks[track], index, segment(&specs[track], index)));
        let first = have[track].insert(index);
        assert!(committed.duplicate || first);
        let common = (0..=12)
            .find(|index| have.iter().any(|have| !have.contains(index)))
            .unwrap();
        assert_eq!(packager.frontier(), common);
        assert!(packager.frontier() >= before);
        let published = packager
            .output()
            .files
            .get("video/a/playlist.m3u8")
            .map_or(0, |_| {
                let text = packager.output().text("video/a/playlist.m3u8");
                read_media_playlist(&text).segments.len()
            });
        let behind = common as usize - published;
        assert!(
            behind <= published / 50,
            "the playlist is {behind} behind {common}"
        );
    }
    let summary = insist(|| packager.finish());
    (packager.into_output(), summary)
}

fn orders() -> impl Strategy<Value = Vec<(usize, u32)>> {
    (
        1u32..12,
        prop::collection::vec((0usize..3, 0u32..12), 0..10),
    )
        .prop_flat_map(|(count, extra)| {
            let all = (0..3).flat_map(move |track| (0..count).map(move |index| (track, index)));
            let twice = extra.into_iter().filter(move |&(_, index)| index < count);
            Just(all.chain(twice).collect::<Vec<_>>()).prop_shuffle()
        })
}

proptest! {
    #[test]
    fn any_order_with_any_failures_gives_the_same_files(
        order in orders(),
        faults in prop::collection::btree_set(1usize..80, 0..20),
    ) {
        let (audited, summary) = run(&order, faults);
        let mut straight = order.clone();
        straight.sort_by_key(|&(track, index)| (index, track));
        let (expected, expected_summary) = run(&straight, BTreeSet::new());
        prop_assert_eq!(audited.files, expected.files);
        prop_assert_eq!(summary, expected_summary);
        prop_assert!(audited.finished.ends_with(&["video/a", "video/b", "audio/c"].map(str::to_owned)));
    }
}

#[test]
fn bytes_of_playlists_stay_in_proportion() {
    /// Counts, and reads nothing.
    #[derive(Default)]
    struct Counter {
        all: usize,
        last: BTreeMap<String, usize>,
    }
    impl Output for Counter {
        fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
            if item.kind == Kind::MediaPlaylist {
                self.all += item.bytes.len();
                self.last.insert(item.path.to_owned(), item.bytes.len());
            }
            Ok(())
        }
    }
    let written = |count: u32| {
        let mut packager = Packager::new(Counter::default(), layout());
        let track = packager
            .add_track(video_spec("video/a", video(SVT)))
            .unwrap();
        packager.start().unwrap();
        for index in 0..count {
            packager
                .commit(track, index, pictures(SVT, u64::from(index), 1))
                .unwrap();
        }
        packager.finish().unwrap();
        packager.into_output()
    };
    // Rewritten for every segment, it would be 2500 times.
    let Counter { all, last } = written(5000);
    let last: usize = last.values().sum();
    assert!(all < 52 * last, "{all} bytes for a playlist of {last}");
}
