//! Segments in, a plain file out, read back sample by sample with another library.

mod common;

use common::{AOM, SVT, aac, opus, pictures, shared_video, sound, video};
use mp4_atom::{Any, Buf, Decode, FourCC, Header, Moov, StszSamples, Trak};
use rungs_package::cmaf::{init_segment, media_segment};
use rungs_package::mp4::{About, MediaTrack, Plain, PlainError, Tag, front, plain};
use rungs_package::track::{Segment, Track};

/// A track and the files that hold its segments.
struct Files {
    track: Track,
    segments: Vec<(Segment, Vec<u8>)>,
}

impl Files {
    fn of(track: impl Into<Track>, segments: Vec<Segment>) -> Self {
        let track = track.into();
        let muxed = segments.into_iter().zip(1..).map(|(segment, number)| {
            let bytes = media_segment(&track, number, &segment).unwrap();
            (segment, bytes)
        });
        Self {
            segments: muxed.collect(),
            track,
        }
    }

    fn media(&self) -> MediaTrack {
        let mut media = MediaTrack::new(&init_segment(&self.track).unwrap()).unwrap();
        for ((_, bytes), place) in self.segments.iter().zip(0..) {
            media.push(place, &front(&mut &bytes[..]).unwrap()).unwrap();
        }
        media
    }
}

/// The whole file.
fn file(tracks: &[Files], whole: &Plain) -> Vec<u8> {
    let mut bytes = whole.head.clone();
    for piece in &whole.pieces {
        let segment = &tracks[piece.track].segments[piece.segment as usize].1;
        let from = piece.offset as usize;
        bytes.extend(&segment[from..from + piece.bytes as usize]);
    }
    bytes
}

fn written(tracks: &[Files]) -> (Plain, Vec<u8>) {
    let media: Vec<_> = tracks.iter().map(Files::media).collect();
    let whole = plain(&media, &About::default()).unwrap();
    let bytes = file(tracks, &whole);
    assert_eq!(bytes.len() as u64, whole.bytes);
    (whole, bytes)
}

/// The boxes at the top of a file, and its index. The data may be absent.
fn index(mut bytes: &[u8]) -> (Vec<FourCC>, Moov) {
    let (mut kinds, mut moov) = (Vec::new(), None);
    while bytes.has_remaining() {
        let mut rest = bytes;
        let header = Header::decode(&mut rest).unwrap();
        kinds.push(header.kind);
        if header.kind == FourCC::new(b"mdat") {
            break;
        }
        if let Any::Moov(found) = Any::decode(&mut bytes).unwrap() {
            moov = Some(found);
        }
    }
    (kinds, moov.expect("there is one"))
}

/// A sample as the tables tell it.
#[derive(Debug, PartialEq)]
struct Told {
    offset: u64,
    size: u32,
    time: u64,
    shift: i64,
    entry: u32,
    sync: bool,
}

fn samples(track: &Trak) -> Vec<Told> {
    let table = &track.mdia.minf.stbl;
    let offsets: Vec<u64> = match (&table.stco, &table.co64) {
        (Some(short), None) => short.entries.iter().map(|at| u64::from(*at)).collect(),
        (None, Some(long)) => long.entries.clone(),
        _ => panic!("one of both"),
    };
    let StszSamples::Different { sizes } = &table.stsz.samples else {
        panic!("sizes of their own")
    };
    let durations = table.stts.entries.iter();
    let mut durations =
        durations.flat_map(|run| (0..run.sample_count).map(|_| u64::from(run.sample_delta)));
    let shifts = table.ctts.iter().flat_map(|shifts| &shifts.entries);
    let mut shifts = shifts.flat_map(|run| (0..run.sample_count).map(|_| run.sample_offset));
    let mut sizes = sizes.iter();
    let (mut time, mut told) = (0, Vec::new());
    for (offset, chunk) in offsets.into_iter().zip(1..) {
        let runs = &table.stsc.entries;
        let run = runs.iter().rev().find(|run| run.first_chunk <= chunk);
        let run = run.expect("the first run begins with the first chunk");
        let mut at = offset;
        for _ in 0..run.samples_per_chunk {
            let size = *sizes.next().expect("as many as the chunks have");
            let number = told.len() as u32 + 1;
            told.push(Told {
                offset: at,
                size,
                time,
                shift: shifts.next().unwrap_or(0),
                entry: run.sample_description_index,
                sync: table
                    .stss
                    .as_ref()
                    .is_none_or(|sync| sync.entries.contains(&number)),
            });
            at += u64::from(size);
            time += durations.next().expect("as many as the chunks have");
        }
    }
    assert!(sizes.next().is_none() && durations.next().is_none());
    told
}

/// Ten seconds in segments of four, and sound of one second more.
fn film() -> [Files; 2] {
    let video = Files::of(
        Track::Video(video(SVT)),
        vec![
            pictures(SVT, 0, 96),
            pictures(SVT, 96, 96),
            pictures(SVT, 192, 48),
        ],
    );
    let sound = Files::of(
        Track::Audio(aac(Some("de"))),
        vec![
            sound(0, 189, 1024),
            sound(189, 187, 1024),
            sound(376, 140, 1024),
        ],
    );
    [video, sound]
}

#[test]
fn every_sample_is_where_the_tables_say() {
    let film = film();
    let (_, bytes) = written(&film);
    let (kinds, moov) = index(&bytes);
    assert_eq!(kinds, [b"ftyp", b"moov", b"mdat"].map(FourCC::new));
    for (files, track) in film.iter().zip(&moov.trak) {
        let told = samples(track);
        let put = files.segments.iter().flat_map(|(one, _)| &one.samples);
        assert_eq!(put.clone().count(), told.len());
        let mut time = 0;
        for (put, told) in put.zip(&told) {
            let from = told.offset as usize;
            assert_eq!(put.data, bytes[from..from + told.size as usize]);
            assert_eq!((time, put.key), (told.time, told.sync));
            time += u64::from(put.duration);
        }
        assert_eq!(track.mdia.mdhd.duration, time);
    }
}

#[test]
fn picture_and_sound_of_a_moment_are_close() {
    let film = film();
    let (_, bytes) = written(&film);
    let (_, moov) = index(&bytes);
    // Where each half second of the picture is, and the sound that belongs there.
    let [video, sound] = [0, 1].map(|track| samples(&moov.trak[track]));
    let at = |told: &[Told], ticks: u64| {
        told.iter()
            .position(|one| one.time >= ticks)
            .map(|place| told[place].offset)
    };
    let second = |told: &[Told], rate: u64, second: u64| {
        let from = at(told, second * rate).expect("it is there");
        from..at(told, (second + 1) * rate).unwrap_or(bytes.len() as u64)
    };
    for moment in 0..9 {
        let (picture, sound) = (
            second(&video, 24_000, moment),
            second(&sound, 48_000, moment),
        );
        let apart = picture.start.abs_diff(sound.start);
        assert!(apart < 700, "{moment}: {picture:?} {sound:?}");
    }
}

#[test]
fn priming_is_cut_and_sound_ends_with_the_picture() {
    let (whole, bytes) = written(&film());
    let (_, moov) = index(&bytes);
    assert_eq!((moov.mvhd.timescale, moov.mvhd.duration), (24_000, 240_000));
    assert!((whole.seconds - 10.0).abs() < 1e-9);
    let edits = |track: usize| {
        let list = moov.trak[track].edts.as_ref().and_then(|e| e.elst.as_ref());
        let entries = &list.expect("an edit list").entries;
        let told = |entry: &mp4_atom::ElstEntry| (entry.segment_duration, entry.media_time);
        entries.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(edits(0), [(240_000, Some(0))]);
    assert_eq!(edits(1), [(240_000, Some(1024))]);
    assert_eq!(moov.trak[1].tkhd.duration, 240_000);
    assert_eq!(moov.trak[1].mdia.mdhd.language, "deu");
}

#[test]
fn sound_that_comes_late_waits() {
    let late = Files::of(Track::Audio(opus(None)), vec![sound(50, 200, 960)]);
    let picture = Files::of(Track::Video(video(SVT)), vec![pictures(SVT, 0, 120)]);
    let (_, bytes) = written(&[picture, late]);
    let (_, moov) = index(&bytes);
    let list = moov.trak[1].edts.as_ref().and_then(|e| e.elst.as_ref());
    let entries = &list.expect("an edit list").entries;
    // 50 packets less the priming of 312 samples.
    let wait = (48_000 - 312) * 24_000_u64 / 48_000;
    assert_eq!(entries[0].segment_duration, wait);
    assert_eq!(entries[0].media_time, None);
    assert_eq!(entries[1].media_time, Some(0));
    assert_eq!(entries[1].segment_duration, 96_000);
    // Opus says what a decoder has to hear before a sample is right.
    let table = &moov.trak[1].mdia.minf.stbl;
    assert_eq!(table.sgpd.len(), 1);
    assert_eq!(table.sbgp[0].entries[0].sample_count, 200);
}

#[test]
fn each_segment_names_its_sample_entry() {
    let segments = vec![pictures(AOM, 0, 24), pictures(SVT, 24, 24)];
    let mixed = Files::of(Track::Video(shared_video(&[SVT, AOM])), segments);
    let (_, bytes) = written(&[mixed]);
    let (_, moov) = index(&bytes);
    let entries: Vec<_> = samples(&moov.trak[0]).iter().map(|s| s.entry).collect();
    assert_eq!(entries, [[2; 24], [1; 24]].concat());
}

/// The front of a segment of one fragment with these samples: size, flags, composition offset. Each lasts a second of 1000 ticks.
fn fragment(time: u64, samples: &[(u32, u32, i32)]) -> Vec<u8> {
    fn boxed(kind: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let size = payload.len() as u32 + 8;
        [&size.to_be_bytes()[..], &kind, payload].concat()
    }
    let fields = samples.iter().flat_map(|(size, flags, shift)| {
        [1000_u32, *size, *flags, shift.cast_unsigned()]
            .into_iter()
            .flat_map(u32::to_be_bytes)
    });
    // Version 1 with data offset, durations, sizes, flags and composition offsets.
    let mut run = vec![1, 0, 0xf, 1];
    run.extend((samples.len() as u32).to_be_bytes());
    run.extend(0_u32.to_be_bytes());
    run.extend(fields);
    let track = [
        boxed(*b"tfhd", &[0, 2, 0, 0, 0, 0, 0, 1]),
        boxed(*b"tfdt", &[&[1, 0, 0, 0][..], &time.to_be_bytes()].concat()),
        boxed(*b"trun", &run),
    ];
    let parts = [
        boxed(*b"mfhd", &[0, 0, 0, 0, 0, 0, 0, 1]),
        boxed(*b"traf", &track.concat()),
    ];
    let mut front = boxed(*b"moof", &parts.concat());
    let data: u32 = samples.iter().map(|(size, ..)| size).sum();
    front.extend((data + 8).to_be_bytes());
    front.extend(b"mdat");
    front
}

const KEY: u32 = 0x0200_0000;
const NOT_KEY: u32 = 0x0101_0000;

fn empty() -> MediaTrack {
    let track = rungs_package::track::VideoTrack {
        timescale: 1000,
        ..video(SVT)
    };
    MediaTrack::new(&init_segment(&Track::Video(track)).unwrap()).unwrap()
}

#[test]
fn reordered_pictures_keep_their_composition_offsets() {
    for (offsets, version) in [([2000, 4000, 1000], 0), ([0, 1000, -1000], 1)] {
        let mut media = empty();
        let flags = [KEY, NOT_KEY, NOT_KEY];
        let segment: Vec<_> = std::iter::zip(flags, offsets)
            .map(|(flags, offset)| (10, flags, offset))
            .collect();
        media.push(0, &fragment(0, &segment)).unwrap();
        media.push(1, &fragment(3000, &segment)).unwrap();
        let whole = plain(&[media], &About::default()).unwrap();
        let (_, moov) = index(&whole.head);
        let told = samples(&moov.trak[0]);
        let shifts: Vec<_> = told.iter().map(|one| one.shift).collect();
        let twice = [offsets, offsets].concat();
        assert_eq!(shifts, twice.into_iter().map(i64::from).collect::<Vec<_>>());
        let sync: Vec<_> = told.iter().map(|one| one.sync).collect();
        assert_eq!(sync, [true, false, false, true, false, false]);
        let at = whole.head.windows(4).position(|four| four == b"ctts");
        assert_eq!(whole.head[at.expect("it is there") + 4], version);
    }
}

#[test]
fn files_beyond_four_gigabytes_have_wide_offsets() {
    const SIZE: u32 = 100_000_000;
    let mut media = empty();
    // 10 GB in segments of 1 GB: only their fronts are there.
    for segment in 0..10 {
        let samples = [(SIZE, KEY, 0); 10];
        media
            .push(segment, &fragment(u64::from(segment) * 10_000, &samples))
            .unwrap();
    }
    let whole = plain(&[media], &About::default()).unwrap();
    let (_, moov) = index(&whole.head);
    let told = samples(&moov.trak[0]);
    let table = &moov.trak[0].mdia.minf.stbl;
    assert!(table.stco.is_none() && table.co64.is_some());
    let mut due = whole.head.len() as u64;
    for sample in &told {
        assert_eq!((sample.offset, sample.size), (due, SIZE));
        due += u64::from(SIZE);
    }
    assert_eq!((told.len(), due), (100, whole.bytes));
    let header = &whole.head[whole.head.len() - 16..];
    assert_eq!(header[..8], *b"\0\0\0\x01mdat");
    assert_eq!(header[8..], (10_000_000_000_u64 + 16).to_be_bytes());
    let pieces: u64 = whole.pieces.iter().map(|piece| piece.bytes).sum();
    assert_eq!(pieces, 10_000_000_000);
    // Just below, nothing is wide.
    let mut media = empty();
    for segment in 0..4 {
        let samples = [(SIZE, KEY, 0); 10];
        media
            .push(segment, &fragment(u64::from(segment) * 10_000, &samples))
            .unwrap();
    }
    let whole = plain(&[media], &About::default()).unwrap();
    let (_, moov) = index(&whole.head);
    assert!(moov.trak[0].mdia.minf.stbl.co64.is_none());
    assert_eq!(samples(&moov.trak[0])[0].offset, whole.head.len() as u64);
}

#[test]
fn hours_outgrow_the_times_of_32_bits() {
    let mut media = empty();
    media.push(0, &fragment(0, &[(10, KEY, 0); 1000])).unwrap();
    let mut reach = 1_000_000;
    for segment in 1..5 {
        // What `trun` can say of one sample.
        let mut long = fragment(reach, &[(10, KEY, 0)]);
        let at = long.windows(4).position(|four| four == b"trun").unwrap();
        long[at + 16..at + 20].copy_from_slice(&1_200_000_000_u32.to_be_bytes());
        media.push(segment, &long).unwrap();
        reach += 1_200_000_000;
    }
    let whole = plain(&[media], &About::default()).unwrap();
    let (_, moov) = index(&whole.head);
    assert_eq!(moov.mvhd.duration, reach);
    assert_eq!(moov.trak[0].tkhd.duration, reach);
    assert_eq!(moov.trak[0].mdia.mdhd.duration, reach);
}

#[test]
fn tags_are_those_of_itunes() {
    let about = About {
        tags: vec![
            (Tag::Title, "Der Film".to_owned()),
            (Tag::Date, "2024".to_owned()),
        ],
        chapters: Vec::new(),
    };
    let film = film();
    let media: Vec<_> = film.iter().map(Files::media).collect();
    let whole = plain(&media, &about).unwrap();
    let (_, moov) = index(&whole.head);
    let text = String::from_utf8_lossy(&whole.head);
    assert!(text.contains("data\0\0\0\u{1}\0\0\0\0Der Film"));
    let meta = moov.udta.and_then(|udta| udta.meta).expect("tags");
    assert_eq!(meta.hdlr.handler, FourCC::new(b"mdir"));
}

#[test]
fn what_makes_no_file_is_refused() {
    let mut media = empty();
    let whole = fragment(0, &[(10, KEY, 0)]);
    assert!(matches!(
        plain(&[media.clone()], &About::default()),
        Err(PlainError::Empty)
    ));
    assert!(matches!(
        plain(&[], &About::default()),
        Err(PlainError::Empty)
    ));
    media.push(0, &whole).unwrap();
    assert!(matches!(
        media.push(1, &fragment(999, &[(10, KEY, 0)])),
        Err(PlainError::Discontiguous {
            expected: 1000,
            actual: 999
        })
    ));
    let mut short = fragment(1000, &[(10, KEY, 0)]);
    let at = short.len() - 5;
    short[at] -= 1;
    assert!(matches!(media.push(1, &short), Err(PlainError::Read(_))));
    for cut in 0..whole.len() {
        assert!(front(&mut &whole[..cut]).is_err());
        let _ = MediaTrack::new(&whole[..cut]).unwrap_err();
        assert!(empty().push(0, &whole[..cut]).is_err());
    }
}
