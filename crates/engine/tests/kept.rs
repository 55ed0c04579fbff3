//! Jobs whose pictures stay in a device's memory and are scaled there, on the device that Mesa makes of a CPU, or one that `RUNGS_GPU` names: what comes out, and
//! what becomes of a job whose device fails, with all that it had kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rungs_engine::device::DeviceName;
use rungs_engine::error::in_words;
use rungs_engine::inspect::Inspect;
use rungs_engine::places::{DecodeDevice, Decoders, Decoding};
use rungs_engine::scaling::{ScaleDevice, ScaledOn, Scalers};
use rungs_engine::{Cancel, Engine, Event, Io, Options, Plan, Report, Spec, Terms};
use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::demux::Stream;
use rungs_media::encode::Codec;
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::hardware::{DeviceKind, HardwareDevice, Scaled, Shelf};
use rungs_media::scale::{self, Kernel};
use rungs_media::{AvError, DeviceError, Error, Packet, Source};
use rungs_package::output::Memory;
use rungs_testkit::clips::Clip;
use rungs_testkit::standin::Standin;
use rungs_testkit::tool;

/// A GPU: it decodes in software, and keeps and scales pictures in a device's memory.
struct Gpu {
    name: DeviceName,
    model: &'static str,
    shelf: Shelf,
    /// Pictures that it scales until it fails, with all that it has kept.
    left: AtomicI64,
    /// Whether what it has kept is lost then.
    loses: bool,
    /// Pictures that it has scaled when it has no room for a while.
    full_after: Option<i64>,
    gave_up: AtomicBool,
    eased: AtomicI64,
}

/// How a GPU is made.
#[derive(Clone, Copy)]
struct Make {
    model: &'static str,
    room: u64,
    /// Pictures that it scales until it fails.
    scales: i64,
    loses: bool,
    /// Pictures that it has scaled when it has no room for a while.
    full_after: Option<i64>,
}

const WELL: Make = Make {
    model: "Toy",
    room: u64::MAX,
    scales: i64::MAX,
    loses: false,
    full_after: None,
};

impl Make {
    /// `None`, with a word about it, where there is no such device.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn gpu(self, name: &str) -> Option<Arc<Gpu>> {
        tool::require("ffmpeg")?;
        let device = match open() {
            Ok(device) => device,
            Err(error) => {
                assert_ne!(
                    std::env::var("STRICT").as_deref(),
                    Ok("1"),
                    "no Vulkan device (mesa-vulkan-drivers has one): {error}"
                );
                eprintln!("SKIPPED: no Vulkan device: {error}");
                return None;
            }
        };
        Some(Arc::new(Gpu {
            name: DeviceName::new(name),
            model: self.model,
            shelf: Shelf::new(device, self.room),
            left: AtomicI64::new(self.scales),
            loses: self.loses,
            full_after: self.full_after.map(|after| self.scales - after),
            gave_up: AtomicBool::new(false),
            eased: AtomicI64::new(0),
        }))
    }
}

/// The device that `RUNGS_GPU` names, such as `cuda:0`, or for `auto` the first CUDA device; otherwise Vulkan's first.
fn open() -> Result<HardwareDevice, Error> {
    let named = std::env::var("RUNGS_GPU").unwrap_or_else(|_| "vulkan:0".to_owned());
    let named = if named == "auto" {
        "cuda:0".to_owned()
    } else {
        named
    };
    let (kind, address) = named.split_once(':').expect("RUNGS_GPU is KIND:ADDRESS");
    let mut kinds = DeviceKind::ALL.into_iter();
    let kind = kinds.find(|known| known.name() == kind).expect("a kind");
    HardwareDevice::open(kind, address)
}

impl Gpu {
    fn is_lost(&self) -> bool {
        self.left.load(Ordering::Relaxed) <= 0
    }

    fn lost(&self) -> Error {
        Error::Device(Box::new(DeviceError {
            device: self.name.to_string(),
            operation: "answer".to_owned(),
            said: " (unplugged)".to_owned(),
            source: AvError {
                code: -1,
                text: "the test wants it".to_owned(),
            },
        }))
    }
}

/// The same device to decode on.
struct Decodes(Arc<Gpu>);

struct Keeping {
    decoder: VideoDecoder,
    gpu: Arc<Gpu>,
}

impl Decoding for Keeping {
    fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        self.decoder.send(packet)
    }

    fn bring(&self, frame: &Frame) -> Result<Frame, Error> {
        self.gpu.bring(frame)
    }

    fn receive(&mut self) -> Result<Received, Error> {
        let received = self.decoder.receive()?;
        let Received::Frame(frame) = received else {
            return Ok(received);
        };
        if self.gpu.gave_up.load(Ordering::Relaxed) {
            return Ok(Received::Frame(frame));
        }
        Ok(Received::Frame(match self.gpu.shelf.keep(&frame) {
            Err(error) if error.is_capacity() => frame,
            kept => kept?,
        }))
    }
}

impl DecodeDevice for Decodes {
    fn name(&self) -> &DeviceName {
        &self.0.name
    }

    fn takes(&self, _: &Stream) -> Result<(), String> {
        Ok(())
    }

    fn open(&self, track: &Stream, options: &DecodeOptions) -> Result<Box<dyn Decoding>, Error> {
        Ok(Box::new(VideoDecoder::open(track, options)?))
    }

    fn keeps(&self, _: &Stream) -> bool {
        true
    }

    fn open_keeping(
        &self,
        track: &Stream,
        options: &DecodeOptions,
        model: &str,
    ) -> Result<Box<dyn Decoding>, Error> {
        assert_eq!(model, self.0.model);
        Ok(Box::new(Keeping {
            decoder: VideoDecoder::open(track, options)?,
            gpu: Arc::clone(&self.0),
        }))
    }
}

impl ScaleDevice for Gpu {
    fn name(&self) -> &DeviceName {
        &self.name
    }

    fn model(&self) -> &str {
        self.model
    }

    fn takes(&self, depth: BitDepth) -> Result<(), String> {
        if depth == BitDepth::Eight {
            Ok(())
        } else {
            Err("it was built so".to_owned())
        }
    }

    fn holds(&self, picture: &Frame) -> bool {
        self.shelf.holds(picture)
    }

    fn scale(&self, picture: &Frame, to: scale::Config) -> Result<Scaled, Error> {
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        if left <= 0 {
            return Err(self.lost());
        }
        if self
            .full_after
            .is_some_and(|at| (at - 1..=at).contains(&left))
        {
            return Err(Error::Capacity {
                operation: "scale".to_owned(),
                source: AvError {
                    code: -12,
                    text: "the test wants it".to_owned(),
                },
            });
        }
        self.shelf.scale(picture, to)
    }

    fn bring(&self, picture: &Frame) -> Result<Frame, Error> {
        if self.is_lost() && self.loses {
            return Err(self.lost());
        }
        picture.download()
    }

    fn ease(&self) {
        self.shelf.ease();
        self.eased.fetch_add(1, Ordering::Relaxed);
    }

    fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
    }
}

/// What is asked for.
struct Job {
    /// What decodes and scales.
    gpus: Vec<Arc<Gpu>>,
    /// What scales alone, and was asked for.
    scalers: Vec<Arc<Gpu>>,
    clip: Clip,
    spec: Spec,
    decoders: u32,
    memory: Option<u64>,
}

impl Job {
    fn new(gpus: &[&Arc<Gpu>]) -> Self {
        Self {
            gpus: gpus.iter().map(|gpu| Arc::clone(gpu)).collect(),
            scalers: Vec::new(),
            // Six segments, which begin between keyframes.
            clip: Clip::new()
                .size(320, 192)
                .rate("25")
                .frames(150)
                .gop(15)
                .b_frames(2),
            spec: Spec {
                rungs: ["192p", "128p", "96p"]
                    .map(|rung| rung.parse().expect("a rung"))
                    .to_vec(),
                codecs: vec![Codec::H264],
                speed: 10,
                segment_seconds: 1.0,
                inspect: Inspect::All,
                ..Spec::default()
            },
            decoders: 1,
            memory: None,
        }
    }

    fn engine(&self) -> Engine {
        let options = Options {
            memory: self.memory,
            ..Options::default()
        };
        let decodes = |gpu: &Arc<Gpu>| Arc::new(Decodes(Arc::clone(gpu))) as Arc<dyn DecodeDevice>;
        let as_scaler = |gpu: &Arc<Gpu>| Arc::clone(gpu) as Arc<dyn ScaleDevice>;
        let scalers = if self.scalers.is_empty() {
            Scalers::any_of(self.gpus.iter().map(as_scaler).collect())
        } else {
            Scalers::only(self.scalers.iter().map(as_scaler).collect())
        };
        Engine::new(options)
            .expect("an engine")
            .decoding_on(Decoders::any_of(self.gpus.iter().map(decodes).collect()))
            .scaling_on(scalers)
    }

    fn plan(&self) -> Plan {
        let source = Source::from(self.clip.make().as_path());
        let plan = self.engine().plan(&source, &self.spec, &Cancel::new());
        plan.expect("a plan")
    }

    fn run(&self) -> Done {
        let (source, cancel, files) = (self.path(), Cancel::new(), Memory::new());
        let source = Source::from(source.as_path());
        let engine = self.engine();
        let plan = engine.plan(&source, &self.spec, &cancel).expect("a plan");
        let mut warned = Vec::new();
        let io = Io {
            output: Box::new(files.clone()),
            terms: Terms {
                decoders: Some(self.decoders),
                ..Terms::default()
            },
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
        Done {
            report,
            files,
            warned,
        }
    }

    fn path(&self) -> PathBuf {
        self.clip.make()
    }
}

/// What came of it.
struct Done {
    report: Report,
    files: BTreeMap<String, Vec<u8>>,
    warned: Vec<String>,
}

impl Done {
    /// Pictures of the renditions that were made at a place.
    fn scaled_on(&self, name: &str) -> u64 {
        let mut places = self.report.read.scaled_on.iter();
        let found = places.find(|place| place.device.as_str() == name);
        found.map_or(0, |place| place.pictures)
    }

    /// Pictures that stayed on devices.
    fn kept(&self) -> u64 {
        self.report
            .read
            .decoded_on
            .iter()
            .map(|place| place.kept)
            .sum()
    }

    /// The segments of a rendition.
    fn segments(&self, rendition: &str) -> Vec<&Vec<u8>> {
        let of = |name: &str| name.starts_with(&format!("video/{rendition}/seg"));
        let files = self.files.iter().filter(|(name, _)| of(name));
        files.map(|(_, bytes)| bytes).collect()
    }

    /// Every picture is there once, whatever happened: the tests look at all of them before they are committed.
    fn is_whole(&self) -> bool {
        let tracks = &self.report.tracks;
        let segments = tracks.iter().map(|track| track.segments);
        self.report.read.frames_packaged == 150
            && segments.eq([6, 6, 6])
            && self.report.inspection.findings == 0
    }
}

#[test]
fn pictures_stay_where_they_were_decoded_and_are_scaled_there() {
    let Some(gpu) = WELL.gpu("toy:0") else { return };
    let cpu = Job::new(&[]).run();
    assert_eq!((cpu.scaled_on("cpu"), cpu.kept()), (300, 0));
    let job = Job::new(&[&gpu]);
    let done = job.run();
    assert!(
        done.is_whole() && done.warned.is_empty(),
        "{:?}",
        done.warned
    );
    assert_eq!(done.report.plan.scaling.on.as_deref(), Some("Toy"));
    assert_eq!((done.kept(), done.report.read.frames_decoded), (150, 150));
    let scaled = &done.report.read.scaled_on;
    let expected = ScaledOn {
        device: DeviceName::new("toy:0"),
        pictures: 300,
        bytes_uploaded: 0,
        bytes_downloaded: scaled[0].bytes_downloaded,
        failed: false,
    };
    assert_eq!(*scaled, [expected]);
    assert!(scaled[0].bytes_downloaded >= 300 * 128 * 96 && done.report.schedule_independent);
    // All is let go again.
    assert_eq!(gpu.shelf.kept(), 0);
    // What has the source's size is what it always was; the others were made by the device.
    assert_eq!(done.segments("h264-192p"), cpu.segments("h264-192p"));
    assert_ne!(done.segments("h264-96p"), cpu.segments("h264-96p"));
    // Again, by three readers: the same bytes.
    let again = Job { decoders: 3, ..job };
    assert!(again.run().files == done.files);
}

#[test]
fn what_finds_no_room_comes_here_and_is_scaled_there_all_the_same() {
    let Some(gpu) = WELL.gpu("toy:0") else { return };
    let expected = Job::new(&[&gpu]).run();
    let room = 40 * 320 * 192 * 3 / 2;
    let small = Make { room, ..WELL }.gpu("toy:0").expect("there was one");
    let done = Job::new(&[&small]).run();
    assert!(done.is_whole() && done.files == expected.files);
    assert!((1..150).contains(&done.kept()), "{}", done.kept());
    let place = &done.report.read.scaled_on[0];
    assert!(
        place.pictures == 300 && place.bytes_uploaded > 0,
        "{place:?}"
    );
    // What the CPU decodes is brought there once for all sizes.
    let mut job = Job::new(&[]);
    job.scalers = vec![Arc::clone(&gpu)];
    let brought = job.run();
    assert!(brought.is_whole() && brought.files == expected.files && brought.kept() == 0);
    let place = &brought.report.read.scaled_on[0];
    let all = 150 * brought.report.plan.frame_bytes;
    assert_eq!((place.pictures, place.bytes_uploaded), (300, all));
    // Where memory is short too, pictures go straight to the encoders, from wherever they are.
    let plan = Job::new(&[&gpu]).plan();
    let encoders: u64 = plan
        .renditions()
        .iter()
        .map(|rendition| rendition.working_set)
        .sum();
    let memory = encoders + 12 * plan.frame_bytes;
    let fed = Job {
        memory: Some(memory),
        ..Job::new(&[&gpu])
    };
    let fed = fed.run();
    assert!(fed.is_whole() && fed.files == expected.files);
    assert!(fed.report.cost.peak_charged <= memory);
}

#[test]
fn a_device_that_only_stops_scaling_leaves_the_pictures_to_another_of_its_model_or_the_cpu() {
    let Some(well) = WELL.gpu("toy:1") else {
        return;
    };
    let expected = Job::new(&[&well]).run();
    let fails = Make { scales: 77, ..WELL };
    let gpu = fails.gpu("toy:0").expect("there was one");
    let done = Job::new(&[&gpu, &well]).run();
    // The plan has tried two sizes and the full one on it.
    assert!(done.is_whole() && done.files == expected.files);
    assert!(done.scaled_on("toy:0") > 0 && done.scaled_on("cpu") == 0);
    assert_eq!(done.warned.len(), 1, "{:?}", done.warned);
    assert!(done.warned[0].contains("toy:0 cannot scale") && done.warned[0].contains("unplugged"));
    assert!(done.report.schedule_independent);

    let gpu = fails.gpu("toy:0").expect("there was one");
    let done = Job::new(&[&gpu]).run();
    assert!(
        done.is_whole() && done.scaled_on("cpu") > 0,
        "{:?}",
        done.warned
    );
    assert!(!done.report.schedule_independent);
    assert_eq!(done.report.read.frames_decoded, 150);
}

#[test]
fn pictures_that_are_lost_with_their_device_are_decoded_again() {
    let Some(well) = WELL.gpu("toy:1") else {
        return;
    };
    let expected = Job::new(&[&well]).run();
    for scales in [5, 60, 180] {
        let dies = Make {
            scales,
            loses: true,
            ..WELL
        };
        for decoders in [1, 3] {
            let gpu = dies.gpu("toy:0").expect("there was one");
            let job = Job {
                decoders,
                ..Job::new(&[&gpu])
            };
            let done = job.run();
            assert!(done.is_whole(), "after {scales}: {:?}", done.warned);
            assert!(done.report.read.frames_decoded > 150 && done.scaled_on("cpu") > 0);
            let retried = done.warned.iter().any(|told| told.contains("tried again"));
            // No encoder is blamed.
            assert!(!retried && done.warned.len() == 1, "{:?}", done.warned);

            let gpu = dies.gpu("toy:0").expect("there was one");
            let job = Job {
                decoders,
                ..Job::new(&[&gpu, &well])
            };
            let done = job.run();
            assert!(
                done.is_whole() && done.files == expected.files,
                "after {scales}"
            );
            assert_eq!(done.scaled_on("cpu"), 0);
        }
    }
}

#[test]
fn a_device_that_is_full_is_asked_again_and_keeps_less() {
    let Some(well) = WELL.gpu("toy:1") else {
        return;
    };
    let expected = Job::new(&[&well]).run();
    let full = Make {
        full_after: Some(90),
        ..WELL
    };
    let gpu = full.gpu("toy:0").expect("there was one");
    let done = Job::new(&[&gpu]).run();
    assert!(done.is_whole() && done.files == expected.files);
    assert!(done.warned.is_empty() && done.report.schedule_independent);
    assert!(gpu.eased.load(Ordering::Relaxed) > 0 && !gpu.gave_up.load(Ordering::Relaxed));
}

#[test]
fn what_is_deinterlaced_comes_here_also_from_a_device_that_dies() {
    let Some(well) = WELL.gpu("toy:1") else {
        return;
    };
    let interlaced = |gpu: &Arc<Gpu>| {
        let mut job = Job::new(&[gpu]);
        job.scalers = vec![Arc::clone(gpu)];
        let extra = [
            "-vf",
            "interlace=scan=tff:lowpass=0",
            "-flags:v",
            "+ilme+ildct",
        ];
        job.clip = Clip::new()
            .size(320, 192)
            .rate("50")
            .frames(300)
            .gop(15)
            .extra(&extra);
        job
    };
    // By default nothing would stay there.
    let plan = Job {
        scalers: Vec::new(),
        ..interlaced(&well)
    };
    assert_eq!(plan.plan().scaling.on, None);
    let expected = interlaced(&well).run();
    assert!(
        expected.is_whole() && expected.kept() == 0,
        "{:?}",
        expected.warned
    );
    let dies = Make {
        scales: 100,
        loses: true,
        ..WELL
    };
    let gpu = dies.gpu("toy:0").expect("there was one");
    let done = interlaced(&gpu).run();
    assert!(
        done.is_whole() && done.scaled_on("cpu") > 0,
        "{:?}",
        done.warned
    );
    assert_eq!(done.segments("h264-192p"), expected.segments("h264-192p"));
}

#[test]
fn only_what_a_device_can_and_what_saves_something_is_scaled_there() {
    let Some(gpu) = WELL.gpu("toy:0") else { return };
    let on = |change: fn(&mut Spec)| {
        let mut job = Job::new(&[&gpu]);
        change(&mut job.spec);
        job.plan().scaling.on
    };
    assert_eq!(on(|_| {}).as_deref(), Some("Toy"));
    // What tells it from another does not hang on the ladder, to which rungs can be added.
    let (job, mut added) = (Job::new(&[&gpu]), Job::new(&[&gpu]));
    added.spec.rungs.push("72p".parse().expect("a rung"));
    let (plan, more) = (job.plan(), added.plan());
    assert!(plan.scaling.digest.is_some() && plan.scaling == more.scaling);
    assert_eq!(on(|spec| spec.picture.kernel = Kernel::Lanczos), None);
    assert_eq!(
        on(|spec| spec.picture.filters = "hflip".parse().expect("a filter")),
        None
    );
    assert_eq!(
        on(|spec| spec.rungs = vec!["192p".parse().expect("a rung")]),
        None
    );

    // One that was asked for and cannot is refused.
    let asked = |scales: i64, kernel: Kernel| {
        let gpu = Make { scales, ..WELL }.gpu("toy:0").expect("there was one");
        let mut job = Job::new(&[]);
        job.spec.picture.kernel = kernel;
        let engine = job.engine().scaling_on(Scalers::only(vec![gpu]));
        let source = Source::from(job.path().as_path());
        engine.plan(&source, &job.spec, &Cancel::new())
    };
    let works = asked(i64::MAX, Kernel::default()).expect("a plan");
    assert_eq!(works.scaling.on.as_deref(), Some("Toy"));
    for (scales, kernel, why) in [
        (0, Kernel::default(), "unplugged"),
        (i64::MAX, Kernel::Lanczos, "--scaler is the CPU's"),
    ] {
        let refused = asked(scales, kernel).expect_err("refused");
        let told = in_words(&refused);
        assert!(
            told.contains("toy:0 cannot scale") && told.contains(why),
            "{told}"
        );
    }
}

/// The tests above once more, in a process that sees a stand-in for CUDA: FFmpeg's wrappers for it, with memory that no program can read.
#[test]
fn all_of_it_holds_on_a_stand_in_for_cuda() {
    const NAME: &str = "all_of_it_holds_on_a_stand_in_for_cuda";
    let already = std::env::var_os("RUNGS_GPU").is_some();
    if already || tool::require("ffmpeg").is_none() || tool::require_encoder("h264_nvenc").is_none()
    {
        return;
    }
    let cards = Standin::new();
    let mut tests = Command::new(std::env::current_exe().expect("this program"));
    cards.show(&mut tests).env("RUNGS_GPU", "cuda:0");
    let done = tests.args(["--skip", NAME]).output().expect("it starts");
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(
        cards
            .log()
            .iter()
            .any(|line| line.contains(" asked context "))
    );
}
