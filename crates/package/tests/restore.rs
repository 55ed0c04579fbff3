//! Packagers that go on from what another one has stored: order of facts and files, the same bytes, playlists that never shrink.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{SVT, audio_spec, opus, pictures, sound, video, video_spec};
use rungs_package::cmaf::{ReadError, SegmentFacts, media_segment, read_segment};
use rungs_package::output::{Fact, Item, Kind, Memory, Output, OutputError, StoredSegment};
use rungs_package::track::{Segment, Track};
use rungs_package::{Digest, Layout, PackageError, Packager, TrackId};

/// Keeps files and facts, and the order in which they came.
#[derive(Clone, Default)]
struct Log {
    files: Memory,
    steps: Arc<Mutex<Vec<String>>>,
    facts: Arc<Mutex<Vec<Fact>>>,
}

impl Log {
    fn stored(&self) -> Vec<StoredSegment> {
        let facts = self.facts.lock().unwrap();
        let segments = facts.iter().filter_map(|fact| match fact {
            Fact::Segment(segment) => Some(segment.clone()),
            _ => None,
        });
        segments.collect()
    }
}

impl Output for Log {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        if item.kind == Kind::MediaPlaylist || item.kind == Kind::Segment {
            self.steps.lock().unwrap().push(item.path.to_owned());
        }
        self.files.put(item)
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>, OutputError> {
        Output::get(&mut self.files, path)
    }

    fn note(&mut self, fact: &Fact) -> Result<(), OutputError> {
        let step = match fact {
            Fact::Segment(segment) => format!("row {}", segment.index),
            other => format!("{other:?}"),
        };
        self.steps.lock().unwrap().push(step);
        self.facts.lock().unwrap().push(fact.clone());
        Ok(())
    }
}

/// A packager of a video and a sound, with what is stored already. Not started.
fn opened(log: &Log, stored: &[StoredSegment]) -> (Packager<Log>, TrackId, TrackId) {
    let mut packager = Packager::new(log.clone(), Layout::new(Duration::from_secs(1)));
    let video = packager
        .add_track(video_spec("video/a", video(SVT)))
        .unwrap();
    let sound = packager
        .add_track(audio_spec("audio/b", opus(None)))
        .unwrap();
    for segment in stored {
        assert!(packager.restore(segment).unwrap());
    }
    (packager, video, sound)
}

fn segments(index: u64) -> (Segment, Segment) {
    (pictures(SVT, index * 24, 24), sound(index * 50, 50, 960))
}

/// All of a package of three segments.
fn whole() -> Log {
    let log = Log::default();
    let (mut packager, video, audio) = opened(&log, &[]);
    packager.start().unwrap();
    for index in 0..3 {
        let (picture, sound) = segments(index);
        packager.commit(video, index as u32, picture).unwrap();
        packager.commit(audio, index as u32, sound).unwrap();
    }
    packager.finish().unwrap();
    log
}

#[test]
fn a_row_comes_after_its_file_and_before_any_playlist_that_names_it() {
    let log = Log::default();
    let mut packager = Packager::new(log.clone(), Layout::new(Duration::from_secs(1)));
    let track = packager
        .add_track(video_spec("video/a", video(SVT)))
        .unwrap();
    packager.start().unwrap();
    packager.commit(track, 0, pictures(SVT, 0, 24)).unwrap();
    packager.finish().unwrap();
    assert_eq!(
        *log.steps.lock().unwrap(),
        [
            "video/a/seg-00000.m4s",
            "row 0",
            "video/a/playlist.m3u8",
            "video/a/iframes.m3u8",
            "Closing",
            "video/a/playlist.m3u8",
            "video/a/iframes.m3u8",
        ]
    );
    let [stored] = &log.stored()[..] else {
        panic!("one row")
    };
    let bytes = log.files.get("video/a/seg-00000.m4s").unwrap();
    assert_eq!(stored.sha256, Digest::of(&bytes));
    assert_eq!(stored.bytes, bytes.len() as u64);
    assert_eq!((stored.samples, stored.duration), (24, 24_000));
}

#[test]
fn a_packager_that_goes_on_comes_to_the_same_files() {
    let whole = whole();
    let rows = whole.stored();
    for kept in 0..=rows.len() {
        let log = Log::default();
        let (mut packager, video, audio) = opened(&log, &rows[..kept]);
        packager.start().unwrap();
        // What the rows stand for lies in the folder already.
        for row in &rows[..kept] {
            let path = format!("{}/seg-{:05}.m4s", row.track, row.index);
            let bytes = whole.files.get(&path).unwrap();
            log.files
                .clone()
                .put(Item {
                    path: &path,
                    kind: Kind::Segment,
                    bytes: &bytes,
                })
                .unwrap();
        }
        let frontier = packager.frontier();
        assert_eq!(frontier as usize, kept / 2);
        let playlist = log.files.get("video/a/playlist.m3u8");
        assert_eq!(playlist.is_some(), frontier > 0, "with {kept}");
        for index in 0..3 {
            let (picture, sound) = segments(index);
            packager.commit(video, index as u32, picture).unwrap();
            packager.commit(audio, index as u32, sound).unwrap();
        }
        packager.finish().unwrap();
        assert_eq!(log.files.files(), whole.files.files(), "with {kept}");
        assert_eq!(log.stored().len(), rows.len() - kept);
    }
}

/// A finished package of one segment, whose last frame is shown half as long as the others.
fn short() -> Log {
    let log = Log::default();
    let (mut packager, video, audio) = opened(&log, &[]);
    packager.start().unwrap();
    let (mut picture, sound) = segments(0);
    picture.samples.truncate(3);
    picture.samples[2].duration = 500;
    packager.commit(video, 0, picture).unwrap();
    packager.commit(audio, 0, sound).unwrap();
    packager.finish().unwrap();
    log
}

#[test]
fn a_rate_that_follows_from_the_last_segment_is_the_same_after_a_restart() {
    let first = short();
    let rows = first.stored();
    let master = first.files.get("master.m3u8").unwrap();
    assert!(
        String::from_utf8(master.clone())
            .unwrap()
            .contains("FRAME-RATE=24.000")
    );
    let log = Log {
        files: first.files.clone(),
        ..Log::default()
    };
    let (mut packager, ..) = opened(&log, &rows);
    packager.start().unwrap();
    packager.finish().unwrap();
    assert_eq!(log.files.get("master.m3u8").unwrap(), master);

    // A program that did not keep it counted the last frame as well: 3 frames in 2500 ticks.
    let mut rows = rows;
    rows[0].last_sample = None;
    rows[1].last_sample = None;
    let (mut packager, ..) = opened(&log, &rows);
    packager.start().unwrap();
    packager.finish().unwrap();
    let master = log.files.get("master.m3u8").unwrap();
    let master = String::from_utf8(master).unwrap();
    assert!(master.contains("FRAME-RATE=28.800"), "{master}");
}

#[test]
fn what_is_made_again_has_to_be_the_same() {
    let rows = whole().stored();
    let log = Log::default();
    let (mut packager, video, _) = opened(&log, &rows);
    packager.start().unwrap();
    let mut other = pictures(SVT, 24, 24);
    other.samples[3].data.push(0);
    let error = packager.commit(video, 1, other.clone()).unwrap_err();
    assert!(
        matches!(&error, PackageError::Differs { index: 1, track, .. } if track == "video/a"),
        "{error}"
    );
    assert_eq!(log.files.get("video/a/seg-00001.m4s"), None);
    // Once it was the same, it is a segment like any other: late ones are ignored.
    assert!(
        packager
            .commit(video, 1, pictures(SVT, 24, 24))
            .unwrap()
            .duplicate
    );
    assert!(packager.commit(video, 1, other).unwrap().duplicate);
}

#[test]
fn playlists_with_an_end_keep_it() {
    let rows = whole().stored();
    let log = Log::default();
    let (mut packager, video, audio) = opened(&log, &rows[..5]);
    packager.keep_closed().unwrap();
    packager.start().unwrap();
    assert!(log.steps.lock().unwrap().is_empty());
    let (picture, sound) = segments(2);
    packager.commit(video, 2, picture).unwrap();
    packager.commit(audio, 2, sound).unwrap();
    assert_eq!(log.files.get("video/a/playlist.m3u8"), None);
    packager.finish().unwrap();
    let text = log.files.get("video/a/playlist.m3u8").unwrap();
    assert!(String::from_utf8(text).unwrap().contains("ENDLIST"));
}

#[test]
fn segments_of_other_tracks_are_not_restored() {
    let row = StoredSegment {
        track: "video/other".to_owned(),
        ..whole().stored().remove(0)
    };
    let log = Log::default();
    let (mut packager, ..) = opened(&log, &[]);
    assert!(!packager.restore(&row).unwrap());
    packager.start().unwrap();
    let error = packager.restore(&row).unwrap_err();
    assert!(matches!(error, PackageError::Phase { .. }), "{error}");
}

#[test]
fn what_was_muxed_is_read_back() {
    let track = Track::Video(video(SVT));
    let bytes = media_segment(&track, 8, &pictures(SVT, 168, 24)).unwrap();
    assert_eq!(
        read_segment(&bytes),
        Ok(SegmentFacts {
            number: 8,
            decode_time: 168_000,
            duration: 24_000,
            samples: 24,
            // A frame of five bytes in each of the other samples.
            first_end: bytes.len() as u64 - 23 * 5,
            last_duration: 1000,
        })
    );
    let audio = Track::Audio(opus(None));
    let bytes = media_segment(&audio, 1, &sound(0, 50, 960)).unwrap();
    let facts = read_segment(&bytes).unwrap();
    assert_eq!((facts.duration, facts.samples), (48_000, 50));
}

#[test]
fn no_cut_and_no_flip_of_a_segment_panics_the_reader() {
    let track = Track::Video(video(SVT));
    let bytes = media_segment(&track, 1, &pictures(SVT, 0, 24)).unwrap();
    for end in 0..bytes.len() {
        assert!(read_segment(&bytes[..end]).is_err(), "cut at {end}");
    }
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut other = bytes.clone();
            other[at] ^= bit;
            // Most of these are errors; none may do worse.
            let _ = read_segment(&other);
        }
    }
    assert!(matches!(read_segment(&[]), Err(ReadError::Boxes { .. })));
    let swapped = [&bytes[24..], &bytes[..24]].concat();
    assert!(read_segment(&swapped).is_err());
}
