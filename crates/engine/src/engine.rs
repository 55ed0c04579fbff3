//! Owns the devices and runs jobs on them: builds the threads of a job, lets control run, and joins them all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded, unbounded};
use rungs_media::Source;
use rungs_package::output::Output;
use rungs_package::track::{AudioTrack, Nclx, Track, VideoTrack};
use rungs_package::{Bandwidth, Layout, Packager, Summary, TrackSpec};

use crate::cancel::Cancel;
use crate::control::{Control, Ears, Lines, PUBLISHER, PUMP, SOUND, Setting, Tally, Tracks};
use crate::device::{Device, DeviceId};
use crate::error::{Error, Failure};
use crate::event::{Announced, Event};
use crate::host::{self, Host};
use crate::message::Message;
use crate::plan::{AudioPlan, Plan, Rendition};
use crate::planner::Planner;
use crate::publish::{self, AnyOutput};
use crate::pump::{self, PumpLines, PumpPlan};
use crate::read::{ReadOptions, Reader, VideoReader};
use crate::report::{
    CostReport, MadeBy, QualityReport, REPORT_VERSION, ReadReport, Report, SessionReport,
};
use crate::software::Software;
use crate::sound::{self, SoundJob, SoundLines};
use crate::span::Outcome;
use crate::spec::Spec;
use crate::worker::{Backend, Home, Pool};

/// Segments that may wait for the disk before control waits too.
const ORDERS_WAITING: usize = 64;
/// What a track of sound is stated to need while its real rate is not known, in bits a second.
const SOUND_ESTIMATE: u64 = 192_000;

/// How an engine uses its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Encoders open at once on the CPU; `None` for what suits its cores, or for one if it is in this process.
    pub sessions: Option<u32>,
    /// Memory for pictures and encoders in bytes; `None` for half of what is available.
    pub memory: Option<u64>,
    /// The program that encodes in processes of its own, see [`process`](crate::process); most often the running one. `None` for encoders in this process.
    pub encoder_program: Option<PathBuf>,
}

/// Owns the devices of this process. Jobs run on it one after another.
///
/// Dropping it joins its threads, which takes as long as the tasks that still run.
pub struct Engine {
    backend: Arc<dyn Backend>,
    pool: Pool,
    device: Device,
    memory: u64,
}

/// What a job needs besides its plan and its source.
pub struct Io<'a> {
    /// Where the package goes; the engine tells it of each finished file.
    pub output: Box<dyn Output>,
    /// Ends the job early from any thread.
    pub cancel: &'a Cancel,
    /// Told of everything that happens, on the thread that runs the job; a slow observer slows the job down.
    pub observer: &'a mut dyn FnMut(Event),
}

/// Where the pictures and the sound of a job come from.
pub struct Footage<'a> {
    /// The pictures.
    pub reader: Box<dyn Reader>,
    /// The file that the plan's sound is read from.
    pub sound: Option<&'a Source>,
    /// Asked at the end: whether the source is still what it was when the job began.
    pub unchanged: &'a dyn Fn() -> bool,
}

impl Engine {
    /// Makes an engine over the cores of this machine, encoding with FFmpeg's software encoders. Starts a thread for each session.
    pub fn new(options: Options) -> std::io::Result<Self> {
        if let Some(program) = &options.encoder_program {
            let software = Software::in_processes(program.clone());
            return Self::with_backend(Arc::new(software), &options);
        }
        let sessions = options.sessions.or(Some(1));
        Self::with_backend(
            Arc::new(Software::in_process()),
            &Options {
                sessions,
                ..options
            },
        )
    }

    /// The same with another backend.
    pub fn with_backend(backend: Arc<dyn Backend>, options: &Options) -> std::io::Result<Self> {
        rungs_media::init();
        rungs_media::heap::share_heaps();
        let host = Host::detect();
        let sessions = options
            .sessions
            .unwrap_or_else(|| host.default_sessions())
            .max(1);
        Ok(Self {
            pool: Pool::start(&backend, sessions)?,
            backend,
            device: Device {
                id: DeviceId::cpu(),
                sessions,
                threads: host.cores,
            },
            memory: options.memory.unwrap_or_else(|| host.default_memory()),
        })
    }

    /// The device that the engine encodes on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Makes the plan of a job: opens the source, and tries each encoder on its first pictures. Blocks meanwhile, about a second for
    /// a ladder from 1080p on two cores. Whatever can be refused is refused here.
    pub fn plan(&self, source: &Source, spec: &Spec, cancel: &Cancel) -> Result<Plan, Error> {
        let planner = Planner {
            backend: self.backend.as_ref(),
            device: &self.device,
            memory: self.memory,
            spec,
            cancel,
        };
        planner.plan(source)
    }

    /// Does what the plan says. Blocks until everything is published, or the job has failed or was cancelled; all its threads are
    /// joined then.
    pub fn run(&self, plan: &Plan, source: &Source, io: Io<'_>) -> Result<Report, Error> {
        let cancel = io.cancel;
        self.run_source(plan, source, io)
            .map_err(|error| error.or_interrupted(cancel))
    }

    fn run_source(&self, plan: &Plan, source: &Source, io: Io<'_>) -> Result<Report, Error> {
        let options = ReadOptions {
            normalise: plan.normalise,
            strict: plan.strict,
            threads: 0,
        };
        let before = source.identity().ok();
        let reader =
            VideoReader::open(source, plan.source.video_stream, options, io.cancel.media())
                .map_err(|source| Failure::Read { at: 0.0, source })?;
        let footage = Footage {
            reader: Box::new(reader),
            sound: Some(source),
            unchanged: &|| before == source.identity().ok(),
        };
        self.run_footage(plan, footage, io)
    }

    /// Does what the plan says with pictures from anywhere: the seam for sources that are no files.
    pub fn run_footage(
        &self,
        plan: &Plan,
        footage: Footage<'_>,
        io: Io<'_>,
    ) -> Result<Report, Error> {
        let clock = Clock::start();
        (io.observer)(started(plan));
        for warning in &plan.warnings {
            (io.observer)(Event::warning(warning.clone()));
        }
        let (packager, tracks) = open_package(plan, io.output)?;
        let job = Running {
            engine: self,
            plan,
            tracks: &tracks,
            clock,
        };
        let unchanged = footage.unchanged;
        let mut told = Told {
            user: io.cancel,
            observer: io.observer,
        };
        let (result, packager) = job.run(footage, packager, &mut told);
        let tally = result?;
        let mut packager = packager.ok_or(Failure::Lost(PUBLISHER))?;
        if !unchanged() {
            return Err(Failure::SourceChanged.into());
        }
        let summary = packager.finish()?;
        let report = job.report(tally, summary);
        let json = serde_json::to_vec_pretty(&report).unwrap_or_default();
        packager.put_report(&json)?;
        (told.observer)(Event::Finished {
            elapsed: clock.started.elapsed().as_secs_f64(),
            seconds: report.seconds,
        });
        Ok(report)
    }
}

/// Where a job's time is counted from.
#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
    cpu: Duration,
}

impl Clock {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu: host::cpu_time(),
        }
    }
}

/// Who is told, and who may tell the job to end.
struct Told<'a> {
    user: &'a Cancel,
    observer: &'a mut dyn FnMut(Event),
}

struct Running<'a> {
    engine: &'a Engine,
    plan: &'a Plan,
    tracks: &'a Tracks,
    clock: Clock,
}

impl Running<'_> {
    /// Starts the threads of the job, runs control on this one, and joins them. The packager comes back unless its thread panicked.
    fn run(
        &self,
        footage: Footage<'_>,
        packager: Packager<AnyOutput>,
        told: &mut Told<'_>,
    ) -> (Result<Tally, Error>, Option<Packager<AnyOutput>>) {
        let (out, inbox) = unbounded::<Message>();
        let (orders, waiting) = bounded(ORDERS_WAITING);
        let (credit, granted) = unbounded();
        let (cues, followed) = unbounded();
        let stop = Cancel::new();
        let pump_lines = PumpLines {
            credit: granted,
            out: out.clone(),
            cancel: stop.clone(),
        };
        let sound_lines = SoundLines {
            cues: followed,
            out: out.clone(),
            cancel: stop.clone(),
        };
        let sound_job = self.sound_job(footage.sound);
        let stopped = stop.clone();
        let lines = Lines {
            credit: Some(credit),
            cues: sound_job.is_some().then_some(cues),
            orders: Some(orders),
            stop,
        };
        let setting = Setting {
            plan: self.plan,
            pool: &self.engine.pool,
            tracks: self.tracks,
            home: home(out.clone()),
            started: self.clock.started,
        };
        let ears = Ears {
            inbox: &inbox,
            user: told.user,
        };
        std::thread::scope(|scope| {
            let pump_plan = self.pump_plan();
            let reader = footage.reader;
            let lost = out.clone();
            scope.spawn(move || guard(PUMP, &lost, || pump::run(reader, pump_plan, pump_lines)));
            if let Some(job) = sound_job {
                let lost = out.clone();
                scope.spawn(move || guard(SOUND, &lost, || sound::run(&job, &sound_lines)));
            }
            let publisher = scope.spawn(move || {
                let publish = || publish::run(packager, &waiting, (&out, &stopped));
                let done = catch_unwind(AssertUnwindSafe(publish)).ok();
                if done.is_none() {
                    out.send(Message::Lost(PUBLISHER)).ok();
                }
                done
            });
            let result = Control::new(setting, lines, told.observer).run(&ears);
            // Control has dropped its end of every line, so the threads end now if they have not.
            (result, publisher.join().ok().flatten())
        })
    }

    fn pump_plan(&self) -> PumpPlan {
        PumpPlan {
            grid: self.plan.grid,
            nominal: self.plan.nominal_duration,
            frame_bytes: self.plan.frame_bytes,
        }
    }

    fn sound_job<'b>(&'b self, source: Option<&'b Source>) -> Option<SoundJob<'b>> {
        Some(SoundJob {
            plan: self.plan.audio.as_ref()?,
            source: source?,
            origin: self.plan.source.time_base.seconds(self.plan.source.origin),
            strict: self.plan.strict,
        })
    }

    fn report(&self, tally: Tally, summary: Summary) -> Report {
        let rate = self
            .plan
            .audio
            .as_ref()
            .map_or(1, |audio| audio.sample_rate);
        let pump = &tally.pump;
        Report {
            version: REPORT_VERSION,
            made_by: MadeBy {
                rungs: env!("CARGO_PKG_VERSION").to_owned(),
                ffmpeg: rungs_media::ffmpeg_version(),
            },
            plan: self.plan.clone(),
            read: ReadReport {
                frames_decoded: pump.counts.decoded,
                frames_packaged: pump.counts.decoded + pump.held,
                frames_held: pump.held,
                errors: pump.counts.errors,
                repairs: pump.repairs,
                silence_seconds: tally.sound.filled as f64 / f64::from(rate),
            },
            seconds: self.plan.grid.timescale().seconds(pump.end),
            tracks: summary.tracks,
            quality: self.quality(&tally),
            inspection: tally.inspection,
            cost: self.cost(&tally),
            warnings: self
                .plan
                .warnings
                .iter()
                .cloned()
                .chain(tally.warnings)
                .collect(),
        }
    }

    fn quality(&self, tally: &Tally) -> Vec<QualityReport> {
        let measured = self.plan.renditions().iter().filter_map(|rendition| {
            let difference = tally.quality.get(&rendition.id)?;
            Some(QualityReport {
                track: rendition.name.clone(),
                psnr_y: difference.psnr(0),
                psnr_u: difference.psnr(1),
                psnr_v: difference.psnr(2),
            })
        });
        measured.collect()
    }

    fn cost(&self, tally: &Tally) -> CostReport {
        let wall = self.clock.started.elapsed();
        let own = host::cpu_time().saturating_sub(self.clock.cpu);
        let share = |busy: Duration| busy.as_secs_f64() / wall.as_secs_f64().max(f64::MIN_POSITIVE);
        let sessions = tally
            .busy
            .iter()
            .map(|((device, session), (tasks, busy))| SessionReport {
                device: device.clone(),
                session: *session,
                tasks: *tasks,
                busy: share(*busy),
            });
        CostReport {
            wall_seconds: wall.as_secs_f64(),
            cpu_seconds: (own + tally.other_cpu).as_secs_f64(),
            peak_memory: host::peak_memory()
                .map(|own| own + tally.other_memory.values().sum::<u64>()),
            peak_charged: tally.peak_charged,
            first_playable_seconds: tally.first_playable.map(|time| time.as_secs_f64()),
            sessions: sessions.collect(),
        }
    }
}

fn home(out: Sender<Message>) -> Home {
    Arc::new(move |outcome: Outcome| {
        // When control is gone, so is the schedule that the lease belongs to.
        out.send(Message::Outcome(outcome)).ok();
    })
}

/// Runs a thread's body; if it panics, control hears of it and does not wait for ever.
fn guard(name: &'static str, out: &Sender<Message>, body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        out.send(Message::Lost(name)).ok();
    }
}

fn started(plan: &Plan) -> Event {
    let announced = plan.renditions().iter().map(|rendition| Announced {
        name: rendition.name.clone(),
        width: rendition.size.width,
        height: rendition.size.height,
        encoder: rendition.encoder.encoder.clone(),
        estimate: rendition.estimate,
    });
    Event::Started {
        version: crate::event::EVENTS_VERSION,
        renditions: announced.collect(),
        audio: plan.audio.as_ref().map(|audio| audio.name.clone()),
        promised_seconds: plan.source.promised_seconds,
    }
}

fn open_package(plan: &Plan, output: AnyOutput) -> Result<(Packager<AnyOutput>, Tracks), Error> {
    let segment = plan.grid.timescale().seconds(plan.grid.segment());
    let packet = plan.audio.as_ref().map_or(0.0, |audio| {
        f64::from(audio.frame) / f64::from(audio.sample_rate)
    });
    let layout = Layout {
        segment_duration: Duration::from_secs_f64(segment),
        target_duration: Duration::from_secs_f64((plan.grid.longest() + packet).round().max(1.0)),
    };
    let mut packager = Packager::new(output, layout);
    let mut renditions = Vec::new();
    for rendition in plan.renditions() {
        renditions.push(packager.add_track(video_track(plan, rendition)?)?);
    }
    let sound = plan
        .audio
        .as_ref()
        .map(|audio| packager.add_track(sound_track(audio)))
        .transpose()?;
    packager.start()?;
    Ok((packager, Tracks { renditions, sound }))
}

fn video_track(plan: &Plan, rendition: &Rendition) -> Result<TrackSpec, Error> {
    let headers = rungs_package::av1::sequence_headers(&rendition.configuration)
        .map_err(Failure::Bitstream)?;
    let color = rendition.encoder.color;
    Ok(TrackSpec {
        name: format!("video/{}", rendition.name),
        track: Track::Video(VideoTrack {
            sequence_headers: headers,
            width: rendition.size.width,
            height: rendition.size.height,
            timescale: plan.grid.timescale().ticks_per_second(),
            color: Some(Nclx {
                primaries: color.primaries,
                transfer: color.transfer,
                matrix: color.matrix,
                full_range: color.full_range,
            }),
            pixel_aspect: (1, 1),
        }),
        frame_rate: plan.source.frame_rate,
        estimated: Bandwidth {
            peak: rendition.estimate.peak,
            average: rendition.estimate.average,
        },
        label: None,
    })
}

fn sound_track(audio: &AudioPlan) -> TrackSpec {
    TrackSpec {
        name: format!("audio/{}", audio.name),
        track: Track::Audio(AudioTrack {
            codec: audio.codec.clone(),
            sample_rate: audio.sample_rate,
            channels: u16::try_from(audio.channels).unwrap_or(u16::MAX),
            timescale: audio.sample_rate,
            priming: audio.priming,
            language: audio.language.clone(),
        }),
        frame_rate: None,
        estimated: Bandwidth {
            peak: SOUND_ESTIMATE,
            average: SOUND_ESTIMATE,
        },
        label: None,
    }
}
