//! Thumbnails and the poster: when they are due, what is recorded of them, and what the lists say.

mod common;

use std::time::Duration;

use common::{SVT, pictures, video, video_spec};
use rungs_package::output::{Fact, Item, Memory, Output, OutputError, StoredSegment};
use rungs_package::{Layout, PackageError, Packager, Stills, TrackId, stored_path};

const WANTED: Stills = Stills {
    storyboard: true,
    interval: Some(Duration::from_millis(400)),
    poster: true,
};

/// Keeps the rows of images beside the files, and counts what is written.
#[derive(Debug, Default, Clone)]
struct Kept {
    files: Memory,
    rows: Vec<StoredSegment>,
    written: usize,
}

impl Output for Kept {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.written += 1;
        self.files.put(item)
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>, OutputError> {
        self.files.get(path).ok_or_else(|| unreachable!("{path}"))
    }

    fn note(&mut self, fact: &Fact) -> Result<(), OutputError> {
        if let Fact::Segment(segment) = fact {
            self.rows.push(segment.clone());
        }
        Ok(())
    }
}

/// A packager with these rows restored.
fn opened(rows: &[StoredSegment], files: &Memory) -> Packager<Kept> {
    let output = Kept {
        files: files.clone(),
        ..Kept::default()
    };
    let mut packager = Packager::new(output, Layout::new(Duration::from_secs(1)));
    packager
        .add_track(video_spec("video/a", video(SVT)))
        .unwrap();
    packager.illustrate(WANTED).unwrap();
    for row in rows {
        assert!(packager.restore(row).unwrap(), "{}", row.track);
    }
    packager.start().unwrap();
    packager
}

/// A packager with eleven segments of a second.
fn filled(files: &Memory) -> (Packager<Kept>, TrackId) {
    let output = Kept {
        files: files.clone(),
        ..Kept::default()
    };
    let mut packager = Packager::new(output, Layout::new(Duration::from_secs(1)));
    let track = packager
        .add_track(video_spec("video/a", video(SVT)))
        .unwrap();
    packager.illustrate(WANTED).unwrap();
    packager.start().unwrap();
    assert_eq!(packager.board(), None);
    for index in 0..11 {
        let segment = pictures(SVT, u64::from(index) * 24, 24);
        packager.commit(track, index, segment).unwrap();
    }
    (packager, track)
}

#[test]
fn a_package_is_not_finished_without_the_images_that_are_wanted() {
    let memory = Memory::new();
    let (mut packager, track) = filled(&memory);
    // Eleven seconds, one every 0.4: 28 on two tiles.
    let board = packager.board().unwrap();
    assert_eq!((board.count, board.tiles()), (28, 2));
    let first = packager.read(track, 1).unwrap();
    let parts = ["init.mp4", "seg-00001.m4s"].map(|name| memory.get(&format!("video/a/{name}")));
    assert_eq!(first, parts.map(Option::unwrap).concat());
    assert_eq!(packager.extents(track)[2], (2, 48_000, 24_000));
    packager.put_tile(0, b"first").unwrap();
    packager.put_poster(b"poster").unwrap();
    let error = packager.finish().unwrap_err();
    assert!(
        matches!(&error, PackageError::Incomplete { track, missing: 1, .. } if track == "storyboard"),
        "{error}"
    );
    packager.put_tile(1, b"second").unwrap();
    packager.put_tile(2, b"nobody asked for it").unwrap();
    packager.finish().unwrap();
    let paths = memory.paths();
    let images: Vec<_> = paths.iter().filter(|path| path.contains(".jpg")).collect();
    assert_eq!(
        images,
        [
            "poster.jpg",
            "storyboard/tile-00000.jpg",
            "storyboard/tile-00001.jpg"
        ]
    );
    let text = |path: &str| String::from_utf8(memory.get(path).unwrap()).unwrap();
    assert!(text("master.m3u8").contains("URI=\"storyboard/images.m3u8\""));
    let manifest = text("manifest.mpd");
    assert!(
        manifest.contains("media=\"storyboard/tile-$Number%05d$.jpg\" duration=\"10000\""),
        "{manifest}"
    );
}

#[test]
fn an_image_that_is_there_is_not_written_again() {
    let memory = Memory::new();
    let (mut packager, _) = filled(&memory);
    packager.put_tile(0, b"first").unwrap();
    packager.put_poster(b"poster").unwrap();
    packager.put_tile(1, b"second").unwrap();
    packager.finish().unwrap();
    // The rows know where the files are and whether they are the same.
    let rows = packager.into_output().rows;
    let stills = rows
        .iter()
        .filter(|row| rungs_package::is_still(&row.track));
    let stored: Vec<_> = stills.map(stored_path).collect();
    assert_eq!(
        stored,
        [
            "storyboard/tile-00000.jpg",
            "poster.jpg",
            "storyboard/tile-00001.jpg"
        ]
    );
    let mut again = opened(&rows, &memory);
    let before = again.output().written;
    again.put_tile(0, b"first").unwrap();
    assert_eq!(again.output().written, before, "it is there");
    // A row that says something else of it is put right.
    let mut wrong = rows.clone();
    for row in wrong.iter_mut().filter(|row| row.track == "storyboard") {
        row.duration += 1;
    }
    let mut mended = opened(&wrong, &memory);
    let before = mended.output().written;
    mended.put_tile(0, b"first").unwrap();
    assert_ne!(mended.output().written, before);
    again.put_tile(0, b"other").unwrap();
    assert_eq!(memory.get("storyboard/tile-00000.jpg").unwrap(), b"other");
    again.finish().unwrap();
}
