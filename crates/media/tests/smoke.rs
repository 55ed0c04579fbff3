//! x
use rungs_media::{decode::*, demux::*, encode, normalise, scale, *};
#[test]
fn smoke() {
    let source = Source::from(std::path::Path::new("/tmp/media-smoke.mp4"));
    let mut d = Demuxer::open(&source, &Limits::default(), &CancelToken::default()).unwrap();
    eprintln!("{d:#?}");
    d.keep_only(&[0]);
    let mut dec = VideoDecoder::open(&d.streams()[0], &DecodeOptions::default()).unwrap();
    let mut frames = vec![];
    let mut pull = |dec: &mut VideoDecoder| loop {
        match dec.receive().unwrap() {
            Received::Frame(f) => frames.push(f),
            _ => break,
        }
    };
    while let Some(p) = d.read().unwrap() {
        assert_eq!(dec.send(Some(&p)).unwrap(), Sent::Accepted);
        pull(&mut dec);
    }
    let _ = dec.send(None).unwrap();
    pull(&mut dec);
    eprintln!("{} frames {:?}", frames.len(), frames[1]);
    let mut n = normalise::Normaliser::new(normalise::Config::default());
    let mut s = scale::Scaler::new(scale::Config {
        width: 320,
        height: 180,
    });
    let frames: Vec<_> = frames
        .iter()
        .map(|f| s.apply(&n.apply(f).unwrap()).unwrap())
        .collect();
    for enc in encode::candidates(encode::Codec::Av1) {
        let cfg = encode::Config {
            encoder: enc.into(),
            width: 320,
            height: 180,
            time_base: time::TimeBase::new(1, 90000).unwrap(),
            frame_rate: Some(Rational { num: 24, den: 1 }),
            color: frames[0].color(),
            gop: 48,
            threads: 1,
            crf: 40,
            speed: 10,
        };
        let mut e = encode::VideoEncoder::open(&cfg, (&frames[0], 0)).unwrap();
        for (i, f) in frames.iter().enumerate().skip(1) {
            e.send(f, i as i64 * 3750).unwrap();
        }
        eprintln!("{enc} {:02x?}", e.configuration());
        let p = e.finish().unwrap();
        eprintln!(
            "{enc} {} packets, {:?}",
            p.len(),
            p.iter()
                .map(|p| (p.pts, p.dts, p.duration, p.key, p.data.len()))
                .collect::<Vec<_>>()
        );
    }
}
