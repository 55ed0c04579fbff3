//! Readers whose decoders are on devices that fail, at every picture and in every way: what they give is what the CPU gives, and so are a package's bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rungs_engine::device::DeviceName;
use rungs_engine::error::in_words;
use rungs_engine::places::{DecodeDevice, DecodedOn, Decoders, Decoding, Places};
use rungs_engine::read::{Entered, Material, ReadOptions, Start, VideoMaterial};
use rungs_engine::{Cancel, Engine, Event, Io, Options, Report, Spec, Terms};
use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::demux::Stream;
use rungs_media::normalise;
use rungs_media::{AvError, CancelToken, DeviceError, Error, Packet, Source};
use rungs_package::output::Memory;
use rungs_testkit::clips::Clip;
use rungs_testkit::tool;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    Opening,
    /// After so many pictures.
    Receiving(u32),
    /// With this packet.
    Sending(u32),
    /// After so many pictures the device calls the data damaged.
    Damage(u32),
    /// There is no room for another decoder.
    Full,
}

/// Says that it is a device, decodes in software, and fails as it is told to.
struct Fake {
    name: DeviceName,
    fault: Fault,
    takes: bool,
    opened: AtomicU32,
}

impl Fake {
    fn new(name: &str, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            name: DeviceName::new(name),
            fault,
            takes: true,
            opened: AtomicU32::new(0),
        })
    }
}

impl DecodeDevice for Fake {
    fn name(&self) -> &DeviceName {
        &self.name
    }

    fn takes(&self, _: &Stream) -> Result<(), String> {
        if self.takes {
            Ok(())
        } else {
            Err("it was built so".to_owned())
        }
    }

    fn open(&self, track: &Stream, options: &DecodeOptions) -> Result<Box<dyn Decoding>, Error> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::Opening => Err(lost()),
            Fault::Full => Err(Error::Capacity {
                operation: "open a decoder".to_owned(),
                source: said(),
            }),
            fault => Ok(Box::new(Failing {
                decoder: VideoDecoder::open(track, options)?,
                fault,
                sent: 0,
                received: 0,
            })),
        }
    }
}

struct Failing {
    decoder: VideoDecoder,
    fault: Fault,
    sent: u32,
    received: u32,
}

impl Decoding for Failing {
    fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        if self.fault == Fault::Sending(self.sent) {
            return Err(lost());
        }
        self.sent += 1;
        self.decoder.send(packet)
    }

    fn receive(&mut self) -> Result<Received, Error> {
        if self.fault == Fault::Receiving(self.received) {
            return Err(lost());
        }
        if self.fault == Fault::Damage(self.received) {
            return Err(Error::Decode {
                codec: "h264".to_owned(),
                source: said(),
            });
        }
        let received = self.decoder.receive()?;
        self.received += u32::from(matches!(received, Received::Frame(_)));
        Ok(received)
    }
}

fn said() -> AvError {
    AvError {
        code: -1,
        text: "the test wants it".to_owned(),
    }
}

fn lost() -> Error {
    Error::Device(Box::new(DeviceError {
        device: "fake".to_owned(),
        operation: "decode h264".to_owned(),
        said: " (unplugged)".to_owned(),
        source: said(),
    }))
}

/// Timestamp and digest of each picture.
type Shown = Vec<(Option<i64>, u64)>;

/// All pictures of a reader that is asked to start there, where it starts, and how many errors it counted.
fn read(path: &Path, places: &Arc<Places>, start: Option<i64>) -> (Shown, Entered, u64) {
    let options = ReadOptions {
        normalise: normalise::Config::default(),
        strict: false,
        threads: 2,
    };
    let material = VideoMaterial::new(&Source::from(path), 0, options, &CancelToken::default())
        .expect("a clip")
        .decoded_at(places);
    let start = start.map(|timestamp| Start { timestamp });
    let mut opened = material.open(start).expect("a clip that can be read");
    let mut shown = Vec::new();
    while let Some(picture) = opened.reader.next().expect("never an error") {
        // What is still to come is known as well as before.
        if let Some(time) = picture.timestamp {
            let ahead = opened.reader.look_ahead(time + 1, i64::MAX);
            assert!(ahead.is_ok());
        }
        shown.push((picture.timestamp, picture.frame.digest()));
    }
    let counts = opened.reader.counts();
    assert!(counts.decoded >= shown.len() as u64);
    (shown, opened.entered, counts.errors)
}

fn with(fault: Fault) -> (Arc<Fake>, Arc<Places>) {
    let device = Fake::new("fake:0", fault);
    let places = Arc::new(Places::new(vec![Arc::clone(&device) as _]));
    (device, places)
}

fn of<'a>(done: &'a [DecodedOn], name: &str) -> &'a DecodedOn {
    let mut all = done.iter();
    let found = all.find(|place| place.device.as_str() == name);
    found.unwrap_or_else(|| panic!("{name} in {done:?}"))
}

fn small() -> Clip {
    Clip::new().size(128, 96).rate("25").frames(30).gop(8)
}

/// A clip that can be sought, one with pictures that refer back over keyframes, and one that has to be read from the beginning.
fn clips() -> Vec<Clip> {
    vec![
        small().b_frames(2),
        small().b_frames(2).open_gop().container("mkv"),
        small().b_frames(2).container("ts"),
    ]
}

#[test]
fn wherever_a_device_fails_the_pictures_are_those_of_the_cpu() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    for clip in clips() {
        let path = clip.make();
        let cpu = Arc::default();
        let times = read(&path, &cpu, None).0;
        let starts = [None, times[5].0, times[19].0];
        for start in starts {
            let expected = read(&path, &cpu, start);
            // Before, at and after keyframes, in the middle, and at the end.
            for place in [0, 1, 4, 8, 9, 20, 29, 30, 31] {
                for fault in [
                    Fault::Receiving(place),
                    Fault::Sending(place),
                    Fault::Damage(place),
                ] {
                    let (_, places) = with(fault);
                    let got = read(&path, &places, start);
                    assert!(got == expected, "{clip:?}: {fault:?} from {start:?}");
                }
            }
        }
    }
}

#[test]
fn a_device_that_fails_gets_no_more_readers_and_one_that_is_full_does() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let path = small().make();
    for (fault, opened) in [
        (Fault::Opening, 1),
        (Fault::Receiving(9), 1),
        (Fault::Damage(9), 3),
        (Fault::Full, 3),
        (Fault::Nothing, 3),
    ] {
        let (device, places) = with(fault);
        for _ in 0..3 {
            assert_eq!(read(&path, &places, None).0.len(), 30);
        }
        assert_eq!(device.opened.load(Ordering::Relaxed), opened, "{fault:?}");
        let done = places.decoded();
        let fails = if fault == Fault::Nothing { 0 } else { opened };
        assert_eq!(of(&done, "fake:0").failed, fails, "{fault:?}");
    }
}

#[test]
fn what_each_place_did_is_counted() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let path = small().make();
    let (_, places) = with(Fault::Nothing);
    read(&path, &places, None);
    let done = places.decoded();
    let device = of(&done, "fake:0");
    assert_eq!((done.len(), device.readers, device.pictures), (1, 1, 30));
    assert!(device.bytes_downloaded >= 30 * 128 * 96 * 3 / 2);

    let (_, places) = with(Fault::Receiving(20));
    read(&path, &places, None);
    let done = places.decoded();
    let (device, cpu) = (of(&done, "fake:0"), of(&done, "cpu"));
    assert_eq!((device.pictures, device.failed, device.readers), (20, 1, 1));
    // From the keyframe before the last picture that was given, the 17th, to the end.
    assert_eq!(
        (cpu.pictures, cpu.readers, cpu.bytes_downloaded),
        (14, 1, 0)
    );
}

#[test]
fn readers_go_where_the_fewest_are_and_never_where_the_track_is_not_taken() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let path = small().make();
    let blind = Arc::new(Fake {
        name: DeviceName::new("blind:0"),
        fault: Fault::Opening,
        takes: false,
        opened: AtomicU32::new(0),
    });
    let (one, two) = (
        Fake::new("fake:0", Fault::Nothing),
        Fake::new("fake:1", Fault::Nothing),
    );
    let devices: Vec<Arc<dyn DecodeDevice>> = vec![blind.clone(), one.clone(), two.clone()];
    let places = Arc::new(Places::new(devices));
    let options = ReadOptions {
        normalise: normalise::Config::default(),
        strict: false,
        threads: 1,
    };
    let cancel = CancelToken::default();
    let material = VideoMaterial::new(&Source::from(path.as_path()), 0, options, &cancel);
    let material = material.expect("a clip").decoded_at(&places);
    let opened = |device: &Arc<Fake>| device.opened.load(Ordering::Relaxed);
    let first = material.open(None).expect("a reader");
    let second = material.open(None).expect("a reader");
    assert_eq!((opened(&one), opened(&two)), (1, 1));
    drop(second);
    let third = material.open(None).expect("a reader");
    assert_eq!((opened(&one), opened(&two), opened(&blind)), (1, 2, 0));
    drop((first, third));
}

#[test]
fn damage_that_a_device_finds_is_hidden_and_counted_as_the_cpu_does() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    // Its index lies apart from the samples, so that only these are damaged.
    let path = small().container("mp4").make();
    let mut bytes = std::fs::read(&path).expect("a clip");
    let middle = bytes.len() / 2;
    let end = middle + bytes.len() / 8;
    bytes[middle..end].fill(0x5a);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("damaged.mp4");
    std::fs::write(&path, bytes).expect("written");
    let expected = read(&path, &Arc::default(), None);
    assert!(expected.2 > 0, "the decoder hid the damage without a word");
    let (_, places) = with(Fault::Nothing);
    assert!(read(&path, &places, None) == expected);
    let done = places.decoded();
    assert_eq!(of(&done, "fake:0").failed, 1, "{done:?}");
}

/// A package made with such decoders: its report, its files, and what was warned of.
fn package(path: &Path, decoders: Decoders) -> (Report, BTreeMap<String, Vec<u8>>, Vec<String>) {
    let engine = Engine::new(Options::default())
        .expect("an engine")
        .decoding_on(decoders);
    let (source, cancel, files) = (Source::from(path), Cancel::new(), Memory::new());
    let spec = Spec {
        rungs: vec!["96p".parse().expect("a rung")],
        speed: 12,
        ..Spec::default()
    };
    let plan = engine.plan(&source, &spec, &cancel).expect("a plan");
    let mut warned = Vec::new();
    let io = Io {
        output: Box::new(files.clone()),
        terms: Terms::default(),
        cancel: &cancel,
        observer: &mut |event| {
            if let Event::Warning { message, .. } = event {
                warned.push(message);
            }
        },
    };
    let report = engine.run(&plan, &source, io).expect("a package");
    let mut files = files.files();
    files.remove("report.json");
    (report, files, warned)
}

#[test]
fn a_package_has_the_same_bytes_wherever_it_was_decoded_and_says_what_failed() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let path = small().make();
    let (report, expected, _) = package(&path, Decoders::default());
    assert_eq!(of(&report.read.decoded_on, "cpu").pictures, 30);

    let device = Fake::new("fake:0", Fault::Nothing);
    let (report, files, warned) = package(&path, Decoders::any_of(vec![device]));
    assert!(files == expected && warned.is_empty(), "{warned:?}");
    assert_eq!(of(&report.read.decoded_on, "fake:0").pictures, 30);

    let device = Fake::new("fake:0", Fault::Receiving(11));
    let (report, files, warned) = package(&path, Decoders::only(device));
    assert!(files == expected);
    let told = warned
        .iter()
        .any(|message| message.contains("fake:0 cannot decode") && message.contains("(unplugged)"));
    assert!(told && report.warnings.len() == 1, "{warned:?}");
    assert_eq!(of(&report.read.decoded_on, "fake:0").failed, 1);
    assert_eq!(report.read.frames_decoded, 30);
}

#[test]
fn a_device_that_was_asked_for_and_cannot_is_refused_in_the_plan() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let device = Arc::new(Fake {
        name: DeviceName::new("fake:0"),
        fault: Fault::Nothing,
        takes: false,
        opened: AtomicU32::new(0),
    });
    let plan = |decoders| {
        let engine = Engine::new(Options::default()).expect("an engine");
        let source = Source::from(small().make().as_path());
        let engine = engine.decoding_on(decoders);
        engine.plan(&source, &Spec::default(), &Cancel::new())
    };
    let any = plan(Decoders::any_of(vec![Arc::clone(&device) as _]));
    assert!(any.is_ok());
    let refused = plan(Decoders::only(device)).expect_err("refused");
    let words = in_words(&refused);
    assert!(
        words.contains("fake:0 cannot decode this h264") && words.contains("it was built so"),
        "{words}"
    );
}
