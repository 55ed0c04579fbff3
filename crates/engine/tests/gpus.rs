//! Whole jobs on machines with GPUs: which of them encode, what is refused and told, and what comes of one that fails. Their encoders are played by
//! x264 at other settings, so that all that stands above an encoder is the program's own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rungs_engine::device::{Device, DeviceName, Lease, Vendor};
use rungs_engine::encoders::Encoders;
use rungs_engine::error::{EncodeError, Refusal};
use rungs_engine::gpu::trial::{Line, Proof, Table, Trial, Verdict};
use rungs_engine::gpu::{Driver, Gpu, Waiting, Way};
use rungs_engine::inspect::Inspect;
use rungs_engine::journal::{Depth as VerifyDepth, JobFolder, JobRecord, Stand, verify};
use rungs_engine::ladder::Size;
use rungs_engine::picture::DepthChoice;
use rungs_engine::plan::{Rendition, Warning};
use rungs_engine::policy::{DecodePolicy, Policy};
use rungs_engine::span::{Encoded, Footage, Task};
use rungs_engine::worker::Backend;
use rungs_engine::{
    Cancel, Engine, Error, Io, Options, Patience, Plan, Report, Spec, Terms, Watcher,
};
use rungs_media::Source;
use rungs_media::encode::{Codec, bare_name};
use rungs_media::frame::BitDepth;
use rungs_media::hardware::DeviceKind;
use rungs_package::output::Memory;
use rungs_testkit::clips::Clip;
use rungs_testkit::faulty::small_job;
use rungs_testkit::tool;

const SEGMENTS: u64 = 6;

fn clip() -> &'static Path {
    static CLIP: OnceLock<PathBuf> = OnceLock::new();
    CLIP.get_or_init(|| Clip::new().size(320, 180).seconds(6.0).make())
}

fn is_ready() -> bool {
    tool::require("ffmpeg").is_some() && tool::require_encoder("libx264").is_some()
}

/// A GPU that was seen to encode H.264 in 8 bits and nothing else.
fn gpu(name: &str, model: &str) -> Table {
    let way = Way {
        kind: DeviceKind::Cuda,
        address: "0".to_owned(),
    };
    let encoder = || "h264_nvenc".to_owned();
    let encode = |codec, encoder, depth| Trial::Encode {
        codec,
        encoder,
        depth,
    };
    let works = |sessions| {
        Verdict::Works(Proof {
            sessions,
            ..Proof::default()
        })
    };
    let fails = Verdict::Fails {
        reason: "no encode engine for this".to_owned(),
    };
    let lines = [
        (
            encode(Codec::Av1, "av1_nvenc".to_owned(), BitDepth::Eight),
            fails.clone(),
        ),
        (encode(Codec::H264, encoder(), BitDepth::Eight), works(None)),
        (encode(Codec::H264, encoder(), BitDepth::Ten), fails),
        (
            Trial::Sessions {
                codec: Codec::H264,
                encoder: encoder(),
            },
            works(Some(2)),
        ),
    ];
    let line = |(trial, verdict)| Line {
        way: Some(way.clone()),
        trial,
        verdict,
    };
    Table {
        gpu: Gpu {
            name: DeviceName::new(name),
            vendor: Vendor::Nvidia,
            pci: None,
            uuid: None,
            model: model.to_owned(),
            memory: None,
            driver: Driver::default(),
            ways: vec![way.clone()],
            missing: None,
        },
        lines: lines.map(line).into(),
    }
}

/// What goes wrong with a task, in the plan's trial and later.
type Fails = fn(&Lease, &Task) -> bool;

/// Of the GPUs, whatever they are to encode.
const ALL_GPUS: Fails = |_, task| is_of_gpu(task);

/// Plays the GPUs.
struct Stage {
    software: Encoders,
    fails: Fails,
    hangs: Fails,
    /// Encoders that a GPU has room for at once.
    room: usize,
    open: Mutex<usize>,
    /// Encoders that were opened.
    seen: Mutex<BTreeSet<String>>,
}

fn is_of_gpu(task: &Task) -> bool {
    bare_name(&task.rendition.encoder.encoder) == "h264_nvenc"
}

impl Stage {
    fn open(&self, by: isize) -> usize {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_add_signed(by);
        *open
    }
}

impl Backend for Stage {
    fn encode(&self, lease: &Lease, task: &Task, cancel: &Cancel) -> Result<Encoded, EncodeError> {
        let name = &task.rendition.encoder.encoder;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name.clone());
        drop(seen);
        if (self.hangs)(lease, task) {
            // Nobody sends on this line; it is cut when the trial is ended.
            cancel.signal().recv().ok();
            return Err(EncodeError::Cancelled);
        }
        if (self.fails)(lease, task) {
            return Err(EncodeError::Backend("the driver says no".to_owned()));
        }
        if !is_of_gpu(task) {
            return self.software.encode(lease, task, cancel);
        }
        if self.open(1) > self.room {
            self.open(-1);
            return Err(EncodeError::Refused {
                reason: "no session is left".to_owned(),
                capacity: true,
            });
        }
        let mut rendition = (*task.rendition).clone();
        "libx264".clone_into(&mut rendition.encoder.encoder);
        rendition.encoder.speed = 13;
        let task = Task {
            rendition: Arc::new(rendition),
            footage: Footage::Whole(Arc::clone(task.footage.whole().expect("there is memory"))),
            scaling: Arc::clone(&task.scaling),
            ..*task
        };
        let result = self.software.encode(lease, &task, cancel);
        self.open(-1);
        result
    }
}

/// A machine, and what is asked of it.
struct Setting {
    gpus: Vec<Table>,
    devices: &'static str,
    spec: Spec,
    fails: Fails,
    /// What does not end before it is cancelled.
    hangs: Fails,
    room: usize,
}

impl Setting {
    fn new(devices: &'static str) -> Self {
        Self {
            gpus: vec![gpu("nvidia:0", "L4"), gpu("nvidia:1", "L4")],
            devices,
            spec: Spec {
                codecs: vec![Codec::H264],
                ..small_job(Inspect::All)
            },
            fails: |_, _| false,
            hangs: |_, _| false,
            room: usize::MAX,
        }
    }

    fn policy(&self) -> Policy {
        let names = self.devices.split(',').filter(|name| !name.is_empty());
        Policy {
            devices: names.map(|name| name.parse().expect("a device")).collect(),
            decode: DecodePolicy::Cpu,
            ..Policy::default()
        }
    }

    fn stage(&self) -> (Engine, Arc<Stage>) {
        let stage = Arc::new(Stage {
            software: Encoders::in_process(),
            fails: self.fails,
            hangs: self.hangs,
            room: self.room,
            open: Mutex::default(),
            seen: Mutex::default(),
        });
        let options = Options {
            sessions: Some(2),
            policy: self.policy(),
            memory: Some(1 << 30),
            gpus: self.gpus.clone(),
            ..Options::default()
        };
        let engine = Engine::with_backend(Arc::clone(&stage) as _, &options);
        (engine.expect("devices"), stage)
    }

    fn plan(&self) -> Result<Plan, Error> {
        let (engine, _) = self.stage();
        engine.plan(&Source::from(clip()), &self.spec, &Cancel::new())
    }

    fn refusal(&self) -> Refusal {
        match self.plan() {
            Err(Error::Refused(refusal)) => *refusal,
            other => panic!("{other:?}"),
        }
    }

    fn run(&self) -> Run {
        let (engine, stage) = self.stage();
        let (source, cancel, files) = (Source::from(clip()), Cancel::new(), Memory::new());
        let plan = engine.plan(&source, &self.spec, &cancel).expect("a plan");
        let io = Io {
            output: Box::new(files.clone()),
            terms: Terms::default(),
            cancel: &cancel,
            observer: &mut |_| {},
        };
        let report = engine.run(&plan, &source, io).expect("a whole job");
        let count = files.files().len();
        let seen = stage.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Run {
            report,
            files: count,
            seen: seen.iter().cloned().collect(),
        }
    }
}

struct Run {
    report: Report,
    files: usize,
    seen: Vec<String>,
}

impl Run {
    /// Tasks that a device did.
    fn did(&self, device: &str) -> u64 {
        let sessions = self.report.cost.sessions.iter();
        let own = sessions.filter(|session| session.device.as_str() == device);
        own.map(|session| session.tasks).sum()
    }

    fn assert_whole(&self) {
        assert_eq!(self.report.inspection.inspected, 2 * SEGMENTS);
        assert!(self.files as u64 > 2 * SEGMENTS);
    }

    fn left_out(&self) -> Vec<String> {
        let warnings = self.report.warnings.iter();
        let told = warnings.filter(|warning| matches!(warning, Warning::EncodeDevice { .. }));
        told.map(ToString::to_string).collect()
    }
}

#[test]
fn gpus_that_are_asked_for_encode_alone_and_as_one_class() {
    if !is_ready() {
        return;
    }
    let run = Setting::new("nvidia").run();
    run.assert_whole();
    assert_eq!(run.did("nvidia:0") + run.did("nvidia:1"), 2 * SEGMENTS);
    assert!(run.did("nvidia:0") > 0 && run.did("nvidia:1") > 0);
    assert_eq!(run.seen, ["h264_nvenc@L4"]);
    // Nothing was seen of what their encoders do twice.
    assert!(!run.report.schedule_independent);
    // Two sessions each were seen to go together.
    let sessions = run.report.cost.sessions.len();
    assert!(sessions <= 4, "{sessions}");
}

#[test]
fn the_cpu_helps_where_nothing_is_asked_for_and_stays_alone_where_it_is() {
    if !is_ready() {
        return;
    }
    let run = Setting::new("").run();
    run.assert_whole();
    assert_eq!(run.seen, ["h264_nvenc@L4", "libx264"]);
    assert!(run.left_out().is_empty());
    let alone = Setting::new("cpu").run();
    assert_eq!(alone.did("cpu"), 2 * SEGMENTS);
    assert!(alone.seen == ["libx264"] && alone.report.schedule_independent);
}

#[test]
fn one_encoder_on_two_models_is_tried_on_both() {
    if !is_ready() {
        return;
    }
    let setting = Setting {
        gpus: vec![gpu("nvidia:0", "L4"), gpu("nvidia:1", "RTX 5090")],
        ..Setting::new("nvidia")
    };
    let run = setting.run();
    run.assert_whole();
    assert_eq!(run.seen, ["h264_nvenc@L4", "h264_nvenc@RTX 5090"]);
}

#[test]
fn a_gpu_that_fails_in_the_plan_is_left_out_or_refused_if_it_was_asked_for() {
    if !is_ready() {
        return;
    }
    let left_out = Setting {
        fails: ALL_GPUS,
        ..Setting::new("auto")
    };
    let run = left_out.run();
    run.assert_whole();
    assert_eq!(run.did("cpu"), 2 * SEGMENTS);
    let told = run.left_out();
    assert_eq!(told.len(), 2, "{told:?}");
    for (told, gpu) in told.iter().zip(["nvidia:0", "nvidia:1"]) {
        let words = [gpu, "h264-180p, h264-90p", "the driver says no"];
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    }
    for devices in ["nvidia:0", "cpu,nvidia:0"] {
        let asked = Setting {
            fails: ALL_GPUS,
            ..Setting::new(devices)
        };
        let refusal = asked.refusal();
        assert!(
            matches!(&refusal, Refusal::Trial { encoder, .. } if encoder == "h264_nvenc@L4"),
            "{devices}: {refusal:?}"
        );
    }
}

#[test]
fn what_a_gpu_was_not_seen_to_have_is_refused_if_it_was_asked_for_and_left_to_the_cpu_otherwise() {
    if !is_ready() {
        return;
    }
    let av1 = || small_job(Inspect::All);
    let asked = Setting {
        spec: av1(),
        ..Setting::new("nvidia:1")
    };
    assert_eq!(
        asked.refusal().to_string(),
        "nvidia:1 does not encode with AV1 in 8 bits; what it was seen to have: h264_nvenc in 8 bits"
    );
    let other = Setting::new("nvidia:0/hevc_nvenc").refusal();
    assert!(matches!(other, Refusal::NotOffered { .. }), "{other:?}");
    let auto = Setting {
        spec: Spec {
            encoder: Some("libx264".to_owned()),
            ..Setting::new("").spec
        },
        ..Setting::new("")
    };
    let run = auto.run();
    assert_eq!(run.did("cpu"), 2 * SEGMENTS);
    assert_eq!(run.seen, ["libx264"]);
    let named = Setting {
        spec: Spec {
            encoder: Some("h264_nvenc".to_owned()),
            ..Setting::new("").spec
        },
        ..Setting::new("")
    };
    assert_eq!(named.run().seen, ["h264_nvenc@L4"]);
}

#[test]
fn gpus_that_lack_a_codec_or_depth_are_named_however_they_were_asked_for() {
    if !is_ready() {
        return;
    }
    let av1 = Setting {
        spec: small_job(Inspect::All),
        ..Setting::new("nvidia")
    };
    assert_eq!(
        av1.refusal().to_string(),
        "none of nvidia:0, nvidia:1 encodes with AV1 in 8 bits; as far as was seen, nvidia:0 has h264_nvenc in 8 bits, nvidia:1 has h264_nvenc in 8 bits"
    );
    let alone = || vec![gpu("nvidia:0", "L4")];
    let said = "nvidia:0 does not encode with AV1 in 8 bits; what it was seen to have: h264_nvenc in 8 bits";
    // Also where it makes another codec of the job.
    for (devices, codecs) in [
        ("nvidia", vec![Codec::Av1]),
        ("nvidia:0", vec![Codec::H264, Codec::Av1]),
        ("nvidia", vec![Codec::H264, Codec::Av1]),
    ] {
        let setting = Setting {
            gpus: alone(),
            spec: Spec {
                codecs,
                ..small_job(Inspect::All)
            },
            ..Setting::new(devices)
        };
        assert_eq!(setting.refusal().to_string(), said, "{devices}");
    }
    let encoder = |name: &str, devices| Setting {
        gpus: alone(),
        spec: Spec {
            encoder: Some(name.to_owned()),
            codecs: vec![if name.starts_with("av1") {
                Codec::Av1
            } else {
                Codec::H264
            }],
            ..small_job(Inspect::All)
        },
        ..Setting::new(devices)
    };
    assert_eq!(
        encoder("av1_nvenc", "").refusal().to_string(),
        "no device here was seen to encode with av1_nvenc; as far as was seen, nvidia:0 has h264_nvenc in 8 bits"
    );
    for devices in ["", "nvidia"] {
        let mut deep = encoder("h264_nvenc", devices);
        deep.spec.picture.bit_depth = DepthChoice::Ten;
        assert_eq!(
            deep.refusal().to_string(),
            "nvidia:0 does not encode with h264_nvenc in 10 bits; what it was seen to have: h264_nvenc in 8 bits",
            "{devices}"
        );
    }
}

#[test]
fn a_rendition_below_what_a_gpu_takes_is_named_and_left_to_others() {
    if !is_ready() {
        return;
    }
    // The renditions are 320x180 and 160x90.
    let least = Size {
        width: 146,
        height: 100,
    };
    let small = |devices| {
        let mut setting = Setting {
            gpus: vec![gpu("nvidia:0", "L4")],
            ..Setting::new(devices)
        };
        for line in &mut setting.gpus[0].lines {
            if let (Trial::Encode { .. }, Verdict::Works(proof)) = (&line.trial, &mut line.verdict)
            {
                proof.smallest = Some(least);
            }
        }
        setting
    };
    let said = "h264_nvenc of nvidia:0 encodes no picture below 146x100, and h264-90p has 160x90";
    let run = small("auto").run();
    run.assert_whole();
    let told = run.left_out();
    assert!(told.len() == 1 && told[0].contains(said), "{told:?}");
    assert_eq!(small("nvidia:0").refusal().to_string(), said);
}

#[test]
fn a_gpu_that_fails_takes_no_other_of_its_model_with_it() {
    if !is_ready() {
        return;
    }
    // The CPU comes first.
    let fails: Fails = |lease, task| is_of_gpu(task) && lease.device().place() == 1;
    let run = Setting {
        fails,
        ..Setting::new("auto")
    };
    let run = run.run();
    run.assert_whole();
    assert_eq!(run.left_out().len(), 1);
    assert_eq!(run.did("nvidia:0"), 0);
    assert_eq!(run.did("cpu") + run.did("nvidia:1"), 2 * SEGMENTS);
    // Nor where no other device has an encoder for the codec.
    let spec = Spec {
        encoder: Some("h264_nvenc".to_owned()),
        ..Setting::new("").spec
    };
    let alone = Setting {
        spec,
        fails,
        ..Setting::new("auto")
    };
    let alone = alone.run();
    alone.assert_whole();
    assert_eq!(alone.did("nvidia:1"), 2 * SEGMENTS);
}

/// Patience that suits a test.
const IMPATIENT: Patience = Patience {
    notice: Duration::from_millis(50),
    first: Duration::from_millis(500),
    later: Duration::from_millis(200),
};

#[test]
fn gpus_that_hang_in_the_plan_cost_one_wait_each_and_are_told_of() {
    if !is_ready() {
        return;
    }
    let hangs = |devices| Setting {
        hangs: ALL_GPUS,
        gpus: vec![gpu("nvidia:0", "L4"), gpu("nvidia:1", "T4")],
        ..Setting::new(devices)
    };
    let told = Mutex::new(Vec::new());
    let plan = |setting: &Setting| {
        let (engine, _) = setting.stage();
        let watcher = Watcher {
            cancel: &Cancel::new(),
            waiting: &|waiting: &Waiting| {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                told.push(waiting.to_string());
            },
        };
        let engine = engine.waiting_for(IMPATIENT);
        engine.plan_watched(&Source::from(clip()), &setting.spec, &watcher)
    };
    let auto = plan(&hangs("auto")).expect("the CPU makes it");
    let mut waits = std::mem::take(&mut *told.lock().expect("nobody panicked"));
    waits.dedup();
    let wait = |gpu| format!("waiting for {gpu} to encode with h264_nvenc, for 0 s at most");
    assert_eq!(waits, [wait("nvidia:0"), wait("nvidia:1")]);
    let left_out = auto.warnings.iter().map(ToString::to_string);
    let left_out: Vec<_> = left_out
        .filter(|told| told.contains("no answer within"))
        .collect();
    assert_eq!(left_out.len(), 2, "{:?}", auto.warnings);
    // Who asked for it is told the same.
    match plan(&hangs("nvidia:0")) {
        Err(Error::Refused(refusal)) => assert!(
            matches!(
                &*refusal,
                Refusal::Trial {
                    source: EncodeError::NoAnswer { .. },
                    ..
                }
            ),
            "{refusal:?}"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gpu_that_fails_one_rendition_makes_the_other() {
    if !is_ready() {
        return;
    }
    let run = Setting {
        fails: |_, task| is_of_gpu(task) && task.rendition.size.height < 100,
        ..Setting::new("auto")
    };
    let run = run.run();
    run.assert_whole();
    let told = run.left_out();
    assert!(
        told.len() == 1 && told[0].contains("cannot encode h264-90p: others do"),
        "{told:?}"
    );
}

#[test]
fn a_gpu_with_less_room_than_sessions_is_planned_with_and_works() {
    if !is_ready() {
        return;
    }
    let run = Setting {
        gpus: vec![gpu("nvidia:0", "L4")],
        room: 1,
        ..Setting::new("nvidia:0")
    };
    let run = run.run();
    run.assert_whole();
    assert_eq!(run.did("nvidia:0"), 2 * SEGMENTS);
    assert!(run.left_out().is_empty());
}

/// A card that passes its trial and fails every segment.
fn fails_segments(_: &Lease, task: &Task) -> bool {
    let pictures = task.footage.whole().map(|span| span.frames.len());
    is_of_gpu(task) && pictures.is_some_and(|pictures| pictures > 6)
}

#[test]
fn a_card_that_fails_every_segment_leaves_them_to_another_class() {
    if !is_ready() {
        return;
    }
    let setting = Setting {
        // So slow in software that the cards are to make all.
        spec: Spec {
            speed: 3,
            ..Setting::new("auto").spec
        },
        fails: fails_segments,
        ..Setting::new("auto")
    };
    let (engine, _) = setting.stage();
    let (source, cancel) = (Source::from(clip()), Cancel::new());
    let plan = engine
        .plan(&source, &setting.spec, &cancel)
        .expect("a plan");
    let by_gpus = |rendition: &&Rendition| bare_name(&rendition.encoder.encoder) == "h264_nvenc";
    let led: Vec<_> = plan.renditions().iter().filter(by_gpus).collect();
    assert!(!led.is_empty(), "{:?}", plan.renditions());
    assert!(
        led.iter().all(|own| own.successors == [["libx264"]]),
        "{led:?}"
    );
    let root = tempfile::tempdir().expect("a folder");
    let record = JobRecord::new(&source, &setting.spec, &plan).expect("a record");
    let claim = || JobFolder::claim(root.path()).expect("nobody else has it");
    let io = Io {
        output: Box::new(claim().begin(&record).expect("a journal")),
        terms: Terms::default(),
        cancel: &cancel,
        observer: &mut |_| {},
    };
    let report = engine.run(&plan, &source, io).expect("a whole job");
    let taken = |warning: &&Warning| matches!(warning, Warning::TakenOver { to, error, .. } if to == &["libx264"] && error.contains("says no"));
    assert_eq!(report.warnings.iter().filter(taken).count(), led.len());
    assert!(
        report
            .plan
            .renditions()
            .iter()
            .all(|own| own.encoder.encoder == "libx264")
    );
    assert!(!report.schedule_independent);
    // The package is what its record says, for those who verify it or add to it.
    let folder = claim();
    let kept = folder.record().expect("readable").expect("there");
    assert_eq!(kept.plan.renditions(), report.plan.renditions());
    assert_eq!(folder.stand(&kept.plan).expect("readable"), Stand::Finished);
    assert_eq!(record.difference(&kept), None);
    drop(folder);
    let verified = verify(root.path(), VerifyDepth::Pictures, &cancel).expect("a package");
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
}

#[test]
fn a_job_whose_gpu_is_gone_says_what_it_waits_for() {
    if !is_ready() {
        return;
    }
    let record = |setting: &Setting| {
        let plan = setting.plan().expect("a plan");
        JobRecord::new(&Source::from(clip()), &setting.spec, &plan).expect("a record")
    };
    let then = record(&Setting::new("nvidia"));
    assert_eq!(then.difference(&record(&Setting::new(""))), None);
    let now = record(&Setting {
        fails: ALL_GPUS,
        ..Setting::new("")
    });
    let difference = then.difference(&now).expect("nothing goes on");
    let told = difference.to_string();
    assert!(
        told.starts_with(
            "h264-180p is made by h264_nvenc@L4, which does not encode now; nvidia:0 cannot encode"
        ),
        "{told}"
    );
    assert!(difference.advice().contains("when the GPU is back"));
}

#[test]
fn a_changed_driver_is_called_one_and_what_is_advised_can_be_done() {
    if !is_ready() {
        return;
    }
    let record = |version: &str| {
        let mut setting = Setting::new("nvidia");
        for table in &mut setting.gpus {
            table.gpu.driver = Driver {
                name: "nvidia".to_owned(),
                version: Some(version.to_owned()),
            };
        }
        let plan = setting.plan().expect("a plan");
        JobRecord::new(&Source::from(clip()), &setting.spec, &plan).expect("a record")
    };
    let then = record("535.183.01");
    assert_eq!(then.difference(&record("535.183.01")), None);
    let difference = then.difference(&record("550.54.14"));
    let difference = difference.expect("another driver");
    assert_eq!(
        difference.to_string(),
        "h264-180p is made by h264_nvenc@L4, whose driver has changed: nvidia 535.183.01 then, nvidia 550.54.14 now"
    );
    let advice = difference.advice();
    assert!(
        advice.contains("driver") && advice.contains("--force"),
        "{advice}"
    );
    assert!(!advice.contains("rungs resume"), "it could not: {advice}");
}

#[test]
fn a_plan_from_before_there_were_gpus_is_read() {
    let text = r#"{"id":"cpu","vendor":"cpu","encoder":"libx264","sessions":3,"threads":2}"#;
    let device: Device = serde_json::from_str(text).expect("a device");
    assert!(device.offers.is_empty() && !device.asked && !device.idle);
}
