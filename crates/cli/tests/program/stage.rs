//! The engine on real files with real encoders in processes of their own, hindered on demand: slow decoders, slow and faulty encoders,
//! little memory, an early end.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rungs_engine::device::{Device, DeviceName, Lease, Vendor};
use rungs_engine::encoders::Encoders;
use rungs_engine::error::EncodeError;
use rungs_engine::inspect::Inspect;
use rungs_engine::journal::{JobFolder, JobRecord};
use rungs_engine::read::{Entered, Material, Opened, Picture, ReadCounts, ReadOptions, Reader};
use rungs_engine::read::{Start, VideoMaterial};
use rungs_engine::span::{Encoded, Task};
use rungs_engine::worker::Backend;
use rungs_engine::{Cancel, Engine, Error, Event, Footage, Io, Plan, Report, Spec, Terms};
use rungs_media::Source;
use rungs_package::output::{Fact, Item, Output, OutputError};
use rungs_testkit::dice::Dice;
use rungs_testkit::faulty::{Faulty, Script, small_job};
use tempfile::TempDir;

/// Memory that is enough for anything here.
pub(crate) const PLENTY: u64 = 4 << 30;

/// A number that looks random and depends on the parts alone.
pub(crate) fn mixed(parts: &[u64]) -> u64 {
    let roll = |state, part: &u64| Dice::new(state ^ part).roll();
    parts.iter().fold(0, roll)
}

/// The CPU with so many sessions.
pub(crate) fn cpu(sessions: u32) -> Vec<Device> {
    vec![Device {
        id: DeviceName::cpu(),
        vendor: Vendor::Cpu,
        encoder: None,
        also: Vec::new(),
        offers: Vec::new(),
        asked: false,
        idle: false,
        sessions,
        threads: 2,
    }]
}

pub(crate) fn software() -> Encoders {
    Encoders::in_processes(PathBuf::from(env!("CARGO_BIN_EXE_rungs")))
}

/// How a job is hindered. None of it may change what comes out.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) sessions: u32,
    pub(crate) decoders: u32,
    pub(crate) memory: u64,
    /// What goes wrong in the encoders.
    pub(crate) script: Option<Script>,
    /// Each try of a task takes up to this much longer, by a number that depends on the task.
    pub(crate) delay: Option<Duration>,
    /// Each picture takes this much longer to decode.
    pub(crate) decode: Option<Duration>,
    /// The job is cancelled when so many segments of pictures are published.
    pub(crate) cancel_after: Option<usize>,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            name: "undisturbed",
            sessions: 1,
            decoders: 1,
            memory: PLENTY,
            script: None,
            delay: None,
            decode: None,
            cancel_after: None,
        }
    }
}

/// Wraps a backend: counts attempts at fed spans, and makes tries longer.
pub(crate) struct Watched {
    inner: Box<dyn Backend>,
    delay: Option<Duration>,
    fed: AtomicUsize,
}

impl Watched {
    pub(crate) fn new(inner: Box<dyn Backend>, delay: Option<Duration>) -> Self {
        Self {
            inner,
            delay,
            fed: AtomicUsize::new(0),
        }
    }
}

impl Backend for Watched {
    fn encode(&self, lease: &Lease, task: &Task, cancel: &Cancel) -> Result<Encoded, EncodeError> {
        if task.footage.whole().is_none() {
            self.fed.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(most) = self.delay {
            let segment = u64::from(task.footage.index().get());
            let height = u64::from(task.rendition.size.height);
            let share = mixed(&[segment, height]) as f64 / u64::MAX as f64;
            // Nothing comes over this line: the encoder is as slow as that, or is cancelled.
            cancel.signal().recv_timeout(most.mul_f64(share)).ok();
        }
        self.inner.encode(lease, task, cancel)
    }
}

/// A source whose readers are watched, and slowed down.
struct WatchedMaterial {
    inner: VideoMaterial,
    decode: Option<Duration>,
    entered: Mutex<Vec<Entered>>,
}

struct SlowReader {
    inner: Box<dyn Reader>,
    decode: Option<Duration>,
    cancel: Cancel,
}

impl Material for WatchedMaterial {
    fn open(&self, start: Option<Start>) -> Result<Opened, rungs_media::Error> {
        let opened = self.inner.open(start)?;
        let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        entered.push(opened.entered);
        Ok(Opened {
            reader: Box::new(SlowReader {
                inner: opened.reader,
                decode: self.decode,
                cancel: Cancel::new(),
            }),
            ..opened
        })
    }

    fn keyframe_before(&self, timestamp: i64) -> Option<i64> {
        self.inner.keyframe_before(timestamp)
    }
}

impl Reader for SlowReader {
    fn look_ahead(&mut self, from: i64, until: i64) -> Result<u64, rungs_media::Error> {
        self.inner.look_ahead(from, until)
    }

    fn next(&mut self) -> Result<Option<Picture>, rungs_media::Error> {
        if let Some(decode) = self.decode {
            self.cancel.signal().recv_timeout(decode).ok();
        }
        self.inner.next()
    }

    fn counts(&self) -> ReadCounts {
        self.inner.counts()
    }
}

/// A job: a source and what is to be made of it.
pub(crate) struct Job {
    pub(crate) source: Source,
    pub(crate) spec: Spec,
    pub(crate) plan: Plan,
}

impl Job {
    /// Plans two small renditions in segments of a second, as fast as the encoder goes.
    pub(crate) fn of(path: &Path) -> Self {
        let spec = small_job(Inspect::Sampled);
        let source = Source::from(path);
        let engine = Engine::with_devices(Arc::new(software()), cpu(1), PLENTY).expect("threads");
        let plan = engine
            .plan(&source, &spec, &Cancel::new())
            .expect("a plan that can be made");
        Self { source, spec, plan }
    }

    /// The least memory with which the largest encoder can be fed.
    pub(crate) fn tight(&self) -> u64 {
        let sets = self.plan.renditions().iter();
        let largest = sets.map(|rendition| rendition.working_set).max();
        largest.unwrap_or(0) + 6 * self.plan.frame_bytes
    }

    /// Runs the job on an engine of its own into a folder, which may hold a part of it.
    pub(crate) fn run(&self, out: &Path, way: Way) -> Run {
        let quiet: Script = Box::new(|_| None);
        let faulty = Faulty::new(Box::new(software()), way.script.unwrap_or(quiet));
        faulty.arm();
        let backend = Arc::new(Watched::new(Box::new(faulty), way.delay));
        let engine = Engine::with_devices(Arc::clone(&backend) as _, cpu(way.sessions), way.memory);
        let engine = engine.expect("threads");
        let folder = JobFolder::claim(out).expect("nobody else is there");
        let begun = folder.record().expect("it can be read").is_some();
        let record = JobRecord::new(&self.source, &self.spec, &self.plan).expect("a record");
        let output = if begun {
            folder.resume(&self.plan)
        } else {
            folder.begin(&record)
        };
        let mut output = output.expect("a folder");
        let facts = output.known().expect("facts");
        let known = known_videos(&facts);
        let options = ReadOptions {
            normalise: self.plan.normalise.clone(),
            strict: false,
            threads: 0,
        };
        let cancel = Cancel::new();
        let stream = self.plan.source.video_stream;
        let inner = VideoMaterial::new(&self.source, stream, options, cancel.media());
        let material = WatchedMaterial {
            inner: inner.expect("a source"),
            decode: way.decode,
            entered: Mutex::default(),
        };
        let (mut events, mut segments) = (Vec::new(), 0);
        let footage = Footage {
            material: &material,
            sound: Some(&self.source),
            unchanged: &|| true,
        };
        let io = Io {
            output: Box::new(Known(output, facts)),
            terms: Terms {
                decoders: Some(way.decoders),
                ..Terms::default()
            },
            cancel: &cancel,
            observer: &mut |event| {
                segments += usize::from(is_picture(&event));
                if way.cancel_after.is_some_and(|after| segments >= after) {
                    cancel.cancel();
                }
                events.push(event);
            },
        };
        let result = engine.run_footage(&self.plan, footage, io);
        Run {
            result,
            events,
            known,
            fed: backend.fed.load(Ordering::Relaxed),
            entered: material.entered.into_inner().unwrap_or_default(),
        }
    }
}

fn is_picture(event: &Event) -> bool {
    matches!(event, Event::Segment { track, .. } if track.starts_with("av1-"))
}

/// An output whose facts were looked at: it tells them once.
struct Known<O>(O, Vec<Fact>);

impl<O: Output> Output for Known<O> {
    fn put(&mut self, item: Item<'_>) -> Result<(), OutputError> {
        self.0.put(item)
    }

    fn note(&mut self, fact: &Fact) -> Result<(), OutputError> {
        self.0.note(fact)
    }

    fn known(&mut self) -> Result<Vec<Fact>, OutputError> {
        Ok(std::mem::take(&mut self.1))
    }
}

/// Segments of pictures that a journal knows.
fn known_videos(facts: &[Fact]) -> BTreeSet<(String, u32)> {
    let segments = facts.iter().filter_map(|fact| match fact {
        Fact::Segment(segment) => Some((segment.track.strip_prefix("video/")?, segment.index)),
        _ => None,
    });
    segments
        .map(|(track, index)| (track.to_owned(), index))
        .collect()
}

/// What one run came to.
pub(crate) struct Run {
    pub(crate) result: Result<Report, Error>,
    pub(crate) events: Vec<Event>,
    /// Segments of pictures that were there when it began.
    pub(crate) known: BTreeSet<(String, u32)>,
    /// Attempts at fed spans.
    pub(crate) fed: usize,
    /// Where each reader began.
    pub(crate) entered: Vec<Entered>,
}

impl Run {
    pub(crate) fn report(&self, context: &str) -> &Report {
        let report = self.result.as_ref();
        report.unwrap_or_else(|error| panic!("{context}: {error:?}"))
    }

    /// Pumps that have decoded something.
    pub(crate) fn pumps(&self) -> usize {
        let pumps = self.events.iter().filter_map(|event| match event {
            Event::Decoded { pump, .. } => Some(*pump),
            _ => None,
        });
        pumps.collect::<BTreeSet<_>>().len()
    }

    /// Attempts whose result was not used.
    pub(crate) fn wasted(&self) -> usize {
        let wasted = |event: &&Event| matches!(event, Event::Encoded { used: false, .. });
        self.events.iter().filter(wasted).count()
    }
}

/// A folder in memory where there is such a thing.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder")
}
