//! Series of images.

use std::fs;
use std::sync::Arc;

use rungs_media::Source;
use rungs_media::decode::DecodeOptions;
use rungs_media::images::Images;
use rungs_media::normalise::{self, Normaliser};
use rungs_media::time::TimeBase;

use crate::clips::{Clip, decode, make, open, packets, samples};

fn series(clip: &Clip) -> Source {
    let picture = TimeBase::new(1001, 30000).unwrap();
    Source::Images(Arc::new(Images::find(&clip.path(), picture).unwrap()))
}

#[test]
fn images_are_packets_in_their_order() {
    let Some(clip) = make("-f lavfi -i testsrc2=s=64x48:r=25 -frames:v 12", "i%d.png") else {
        return;
    };
    let source = series(&clip);
    let mut demuxer = open(&source).unwrap();
    let stream = demuxer.streams()[0].clone();
    assert_eq!((stream.codec.as_str(), stream.frames), ("png", Some(12)));
    assert_eq!(stream.time_base, TimeBase::new(1001, 30000).unwrap());
    assert!((stream.video().unwrap().frame_rate.unwrap().as_f64() - 29.97).abs() < 0.001);
    let all = packets(&mut demuxer).unwrap();
    let times: Vec<_> = all.iter().filter_map(rungs_media::Packet::pts).collect();
    assert_eq!(times, (0..12).collect::<Vec<_>>());
    // 10 comes after 9, not after 1.
    let tenth = clip.path().with_file_name("i10.png");
    assert_eq!(all[9].data(), fs::read(&tenth).unwrap());
    demuxer.seek(0, 9).unwrap();
    assert_eq!(demuxer.read().unwrap().unwrap().pts(), Some(9));
    assert_eq!(demuxer.indexed_keyframes(0).len(), 12);
    fs::remove_file(&tenth).unwrap();
    demuxer.seek(0, 9).unwrap();
    let error = demuxer.read().unwrap_err();
    let told = std::error::Error::source(&error).unwrap().to_string();
    assert!(told.contains("i10.png"), "{told}");
    assert!(source.identity().is_err());
}

#[test]
fn light_in_exr_becomes_video() {
    // 46 of 255 is 0.18, which BT.709 sends as 0.41.
    let gray = "-f lavfi -i color=0x2E2E2E:s=64x64,format=gbrpf32le -frames:v 1";
    let Some(clip) = make(gray, "i%d.exr") else {
        return;
    };
    let mut demuxer = open(&series(&clip)).unwrap();
    let options = DecodeOptions {
        threads: 1,
        strict: true,
        max_pixels: u64::MAX,
    };
    let (frames, errors) = decode(&mut demuxer, &options);
    assert!(errors.is_empty(), "{errors:?}");
    let mut normaliser = Normaliser::new(normalise::Config::default());
    let picture = normaliser.apply(&frames[0]).unwrap();
    let luma = samples(&picture, 0)[0];
    assert!((104..=107).contains(&luma), "{luma}");
}
