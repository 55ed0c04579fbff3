//! One file for each rendition: what is laid out from records alone is what the segments come to, and the lists point into it.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{
    SVT, audio_spec, opus, pictures, read_master_uris, read_media_playlist, sound, video,
    video_spec,
};
use mp4_atom::{Any, Decode, Sidx};
use rungs_package::hls::ByteRange;
use rungs_package::output::{Fact, Item, Memory, Output, OutputError, StoredSegment};
use rungs_package::single::SingleFile;
use rungs_package::{Layout, Packager, TrackSpec};

/// Keeps the rows beside the files.
#[derive(Debug, Default, Clone)]
struct Kept {
    files: Memory,
    rows: Vec<StoredSegment>,
}

impl Output for Kept {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.files.put(item)
    }

    fn note(&mut self, fact: &Fact) -> Result<(), OutputError> {
        if let Fact::Segment(segment) = fact {
            self.rows.push(segment.clone());
        }
        Ok(())
    }
}

fn specs() -> [TrackSpec; 2] {
    [
        video_spec("video/a", video(SVT)),
        audio_spec("audio/b", opus(Some("en"))),
    ]
}

fn layout() -> Layout {
    Layout::new(Duration::from_secs(1))
}

/// A package of three segments in files of their own.
fn segments() -> Kept {
    let mut packager = Packager::new(Kept::default(), layout());
    let tracks = specs().map(|spec| packager.add_track(spec).unwrap());
    packager.start().unwrap();
    for index in 0..3 {
        let segment = pictures(SVT, u64::from(index) * 24, 24);
        packager.commit(tracks[0], index, segment).unwrap();
        let segment = sound(u64::from(index) * 50, 50, 960);
        packager.commit(tracks[1], index, segment).unwrap();
    }
    packager.finish().unwrap();
    packager.into_output()
}

/// The same as single files: how they are laid out, and the lists.
fn joined(parts: &Kept) -> (BTreeMap<String, SingleFile>, Memory) {
    let lists = Memory::new();
    let mut packager = Packager::new(lists.clone(), layout());
    for spec in specs() {
        packager.add_track(spec).unwrap();
    }
    for row in &parts.rows {
        assert!(packager.restore(row).unwrap());
    }
    let singles = packager.join_segments().unwrap();
    packager.finish().unwrap();
    (singles, lists)
}

#[test]
fn the_file_is_laid_out_from_the_records_alone() {
    let parts = segments();
    let (singles, _) = joined(&parts);
    assert_eq!(singles.keys().collect::<Vec<_>>(), ["audio/b", "video/a"]);
    for (track, single) in &singles {
        // Put together, it is boxes to the last byte, and an index that knows where they are.
        let mut file = single.head.clone();
        for (index, piece) in &single.pieces {
            let own = parts
                .files
                .get(&format!("{track}/seg-{index:05}.m4s"))
                .unwrap();
            assert!(own.starts_with(&piece.front), "{track} {index}");
            assert_eq!(file.len() as u64, piece.range.offset);
            file.extend_from_slice(&own[piece.front.len()..]);
            assert_eq!(file.len() as u64, piece.range.offset + piece.range.length);
        }
        assert_eq!(file.len() as u64, single.bytes());
        let mut rest = file.as_slice();
        let (mut kinds, mut sidx): (Vec<String>, Option<Sidx>) = (Vec::new(), None);
        let mut brands = Vec::new();
        while !rest.is_empty() {
            let any = Any::decode(&mut rest).unwrap();
            kinds.push(any.kind().to_string());
            match any {
                Any::Sidx(found) => sidx = Some(found),
                Any::Ftyp(found) => brands = found.compatible_brands,
                _ => {}
            }
        }
        // A file that an index is in, and a track of CMAF as its segments are.
        for brand in [b"dash", b"cmfc"] {
            assert!(brands.contains(&brand.into()), "{brands:?}");
        }
        let fragments = ["moof", "mdat"].repeat(3);
        assert_eq!(kinds, [&["ftyp", "moov", "sidx"], &fragments[..]].concat());
        let sidx = sidx.unwrap();
        let sizes = sidx
            .references
            .iter()
            .map(|one| u64::from(one.referenced_size));
        assert!(sizes.eq(single.pieces.values().map(|piece| piece.range.length)));
    }
}

#[test]
fn the_lists_point_into_the_file() {
    let parts = segments();
    let (singles, lists) = joined(&parts);
    let text = |path: &str| String::from_utf8(lists.get(path).unwrap()).unwrap();
    let media = text("video/a/playlist.m3u8");
    let list = read_media_playlist(&media);
    let single = &singles["video/a"];
    let ranges = single.pieces.values().map(|piece| piece.range);
    let ranges: Vec<_> = ranges
        .map(|range| (Some(range.offset), range.length))
        .collect();
    assert_eq!((list.ranges, list.ended, list.event), (ranges, true, false));
    assert_eq!(list.map, "../a.mp4");
    let init = single.init.length;
    assert!(
        media.contains(&format!(
            "#EXT-X-MAP:URI=\"../a.mp4\",BYTERANGE=\"{init}@0\""
        )),
        "{media}"
    );
    // A keyframe is where it was, less what stood before it in a file of its own.
    let frames = read_media_playlist(&text("video/a/iframes.m3u8"));
    let file = parts.files.get("video/a/seg-00001.m4s").unwrap();
    let facts = rungs_package::cmaf::read_segment(&file).unwrap();
    let piece = &single.pieces[&1];
    let due = facts.first_end - piece.front.len() as u64;
    assert_eq!(frames.ranges[1], (Some(piece.range.offset), due));
    for uri in read_master_uris(&text("master.m3u8")) {
        assert!(lists.get(&uri).is_some(), "{uri}");
    }
    let manifest = text("manifest.mpd");
    assert!(manifest.contains("isoff-on-demand") && !manifest.contains("SegmentTemplate"));
    assert!(
        manifest.contains("maxSubsegmentDuration=") && !manifest.contains("maxSegmentDuration")
    );
    for (track, file) in &singles {
        let end = |range: ByteRange| range.offset + range.length - 1;
        let (init, index) = (file.init, file.index);
        for due in [
            format!("<BaseURL>{track}.mp4</BaseURL>"),
            format!("indexRange=\"{}-{}\"", index.offset, end(index)),
            format!("<Initialization range=\"0-{}\"/>", end(init)),
        ] {
            assert!(manifest.contains(&due), "{due} is not in {manifest}");
        }
    }
}
