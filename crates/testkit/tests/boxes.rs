//! The box reader against files of FFmpeg's muxer, whole and broken.

use std::fs;

use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::{mp4, tool};

/// A fragmented file with an index, split where its first fragment starts.
fn fragmented() -> (Vec<u8>, Vec<u8>) {
    let clip = Clip::new()
        .size(64, 64)
        .frames(10)
        .gop(5)
        .audio(Audio::Stereo)
        .container("mov");
    let path = clip
        .sar(4, 3)
        .color("bt2020", "smpte2084", "bt2020nc")
        .make();
    let run = tool::ffmpeg()
        .arg("-i")
        .arg(path)
        .args(["-map", "0", "-c", "copy", "-f", "mp4"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fragments.mp4");
    run.args(["-movflags", "frag_keyframe+empty_moov+dash"])
        .arg(&file)
        .run()
        .unwrap();
    let bytes = fs::read(file).unwrap();
    let tree = mp4::tree(&bytes).unwrap();
    let moov = tree.iter().find(|node| node.kind == *b"moov").unwrap();
    let (init, media) = bytes.split_at(moov.end());
    (init.to_vec(), media.to_vec())
}

#[test]
fn another_muxers_boxes_are_read() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let (init, media) = fragmented();
    let init = mp4::init(&init).unwrap();
    assert!(init.fragmented);
    let [video, audio] = init.tracks.as_slice() else {
        panic!("{init:?}")
    };
    assert_eq!((video.handler.0, audio.handler.0), (*b"vide", *b"soun"));
    let entry = &video.entries[0];
    assert_eq!(
        (entry.kind.0, entry.size, entry.pasp),
        (*b"avc1", (64, 64), Some((4, 3)))
    );
    let color = entry.nclx.unwrap();
    assert_eq!(
        (
            color.primaries,
            color.transfer,
            color.matrix,
            color.full_range
        ),
        (9, 16, 9, false)
    );
    let esds = audio.entries[0].esds.as_ref().unwrap();
    // AAC LC is audio object type 2, in the first five bits.
    assert_eq!((esds.object_type, esds.config[0] >> 3), (0x40, 2));
    assert_eq!((audio.timescale, audio.entries[0].channels), (48_000, 2));

    let segment = mp4::segment(&media, &init).unwrap();
    let runs = segment
        .fragments
        .iter()
        .flat_map(|fragment| &fragment.tracks);
    let of = |id| runs.clone().filter(move |run| run.track == id);
    let frames: Vec<_> = of(video.id).flat_map(|run| &run.samples).collect();
    assert_eq!(frames.len(), 10);
    assert!(frames[0].is_sync() && !frames[1].is_sync() && frames[5].is_sync());
    let mut time = 0;
    for run in of(video.id) {
        assert_eq!(run.decode_time, Some(time));
        time += run
            .samples
            .iter()
            .map(|sample| u64::from(sample.duration))
            .sum::<u64>();
    }
    let payload: usize = segment
        .payloads
        .iter()
        .map(|(from, until)| until - from)
        .sum();
    assert_eq!(
        runs.flat_map(|run| &run.samples)
            .map(|sample| sample.bytes as usize)
            .sum::<usize>(),
        payload
    );
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_shorter() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let (init_bytes, media) = fragmented();
    let init = mp4::init(&init_bytes).unwrap();
    for end in 0..init_bytes.len() {
        assert!(mp4::init(&init_bytes[..end]).is_err(), "{end}");
    }
    let whole = mp4::segment(&media, &init).unwrap().fragments.len();
    for end in 0..media.len() {
        if let Ok(cut) = mp4::segment(&media[..end], &init) {
            assert!(cut.fragments.len() <= whole);
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let (init_bytes, media) = fragmented();
    let init = mp4::init(&init_bytes).unwrap();
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        // Knuth's linear congruential generator: the upper bits are good enough, and the same in every run.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut errors = 0;
    for _ in 0..4000 {
        let (mut first, mut second) = (init_bytes.clone(), media.clone());
        for _ in 0..=random(4) {
            let (place, value) = (random(first.len()), random(256) as u8);
            first[place] = value;
            // Boxes are at the front, media behind them.
            let (place, value) = (random(second.len().min(600)), random(256) as u8);
            second[place] = value;
        }
        errors += usize::from(mp4::init(&first).is_err())
            + usize::from(mp4::segment(&second, &init).is_err());
    }
    assert!(errors > 100, "only {errors} changes were noticed");
}
