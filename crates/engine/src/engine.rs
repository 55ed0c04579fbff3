//! Owns the devices and runs jobs on them: builds the threads of a job, lets control run, and joins them all.

use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rungs_media::witness::Witness;
use rungs_media::{CancelToken, Source};
use rungs_package::output::{Fact, Output};
use rungs_package::text::TextTrack;
use rungs_package::track::{AudioTrack, Track};
use rungs_package::{Bandwidth, Layout, PackageError, Packager, Summary, TrackId, TrackSpec};

use crate::cancel::Cancel;
use crate::coding;
use crate::control::{
    CONTROL, Control, CueLine, Lines, NewJob, PUBLISHER, TRACKS, Tally, Terms, Tracks,
};
use crate::device::Device;
use crate::done::{Done, sound_track_name, text_track_name, video_track_name};
use crate::encoders::Encoders;
use crate::error::{Error, Failure};
use crate::event::{Announced, Event};
use crate::gpu::trial::Table;
use crate::gpu::{Station, Waiting};
use crate::host::{self, Host};
use crate::ids::JobId;
use crate::join::{FirstSource, Joined, JoinedMaterial};
use crate::message::{Line, Message, Order, PumpBegun, SoundMessage, TextMessage, Word};
use crate::places::{Decoders, Places};
use crate::plan::{AudioPlan, Plan, Rendition, TextPlan};
use crate::planner::{Patience, Planner};
use crate::policy::{Policy, PolicyError};
use crate::publish::{self, AnyOutput};
use crate::pump::{self, PumpLines, PumpOrder, PumpPlan};
use crate::read::{Material, ReadOptions, VideoMaterial};
use crate::report::{
    CostReport, DeviceReport, EfficiencyReport, MadeBy, QualityReport, REPORT_VERSION, ReadReport,
    Report, SessionReport,
};
use crate::scaling::{Scalers, Scaling};
use crate::schedule::{Cut, Machine, Rules};
use crate::sound::{AudioFollower, SoundJob, SoundPart};
use crate::spec::Spec;
use crate::stills;
use crate::sync::{Receiver, Sender, never, select, spawn_scoped, thread, unbounded};
use crate::text::{TextFollower, TextJob};
use crate::tracks::{self, Crew, Following, Part};
use crate::window::Windowed;
use crate::worker::Backend;

/// What a track of sound is stated to need while its real rate is not known, in bits a second.
const SOUND_ESTIMATE: u64 = 192_000;
/// The same of a track of subtitles.
const TEXT_ESTIMATE: u64 = 1000;

/// How an engine uses its machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Encoders open at once on the CPU; `None` for what suits its cores, or for one if it is in this process.
    pub sessions: Option<u32>,
    /// Which devices are used.
    pub policy: Policy,
    /// Memory for pictures and encoders in bytes; `None` for half of what is available.
    pub memory: Option<u64>,
    /// How the schedule decides: deadlines, retries, quarantine. The default suits real devices.
    pub rules: Rules,
    /// The GPUs of the machine with their trials.
    pub gpus: Vec<Table>,
    /// Most bytes of pictures that each of them keeps; `None` for half of its memory. That of the first engine in the process that uses it counts.
    pub video_memory: Option<u64>,
    /// The program that encodes in processes of its own, see [`process`](crate::process); most often the running one. `None` for encoders in this process.
    pub encoder_program: Option<PathBuf>,
}

impl Options {
    /// The devices that encode: the CPU first, which has an encoder on any machine, and the GPUs that have one.
    fn devices(&self, host: &Host) -> Result<Vec<Device>, PolicyError> {
        let mut cpu = Device::cpu(host);
        cpu.sessions = self.sessions.unwrap_or(cpu.sessions).max(1);
        let gpus = self.gpus.iter().filter_map(Device::gpu);
        let present: Vec<Device> = std::iter::once(cpu).chain(gpus).collect();
        self.policy.choose(&present, &self.gpus)
    }
}

/// Why an engine cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy leaves nothing to work with.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The system gives no threads.
    #[error("no threads can be had")]
    Threads(#[from] std::io::Error),
}

/// Owns the devices of this process. Jobs run on it side by side, and share the devices by their weight.
///
/// Dropping it ends its threads, which takes as long as the tasks that still run need to notice; one that hangs is left behind.
pub struct Engine {
    backend: Arc<dyn Backend>,
    devices: Vec<Device>,
    decoders: Decoders,
    scalers: Scalers,
    memory: u64,
    patience: Patience,
    inbox: Sender<Message>,
    control: Option<thread::JoinHandle<()>>,
    jobs: AtomicU32,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.inbox.send(Message::Close).ok();
        if let Some(control) = self.control.take() {
            control.join().ok();
        }
    }
}

/// What a job needs besides its plan and its source.
pub struct Io<'a> {
    /// Where the package goes; the engine tells it of each finished file.
    pub output: Box<dyn Output>,
    /// How it shares the engine with other jobs, and the like.
    pub terms: Terms,
    /// Ends the job early from any thread.
    pub cancel: &'a Cancel,
    /// Told of everything that happens, on the thread that runs the job; a slow observer slows the job down.
    pub observer: &'a mut dyn FnMut(Event),
}

/// Who ends the making of a plan, and who is told when it takes long.
#[derive(Clone, Copy)]
pub struct Watcher<'a> {
    /// Ends it early from any thread.
    pub cancel: &'a Cancel,
    /// Told of each GPU whose driver takes long to answer, on any thread.
    pub waiting: &'a (dyn Fn(&Waiting) + Sync),
}

impl<'a> Watcher<'a> {
    /// With nobody to be told.
    #[must_use]
    pub fn of(cancel: &'a Cancel) -> Self {
        Self {
            cancel,
            waiting: &|_| {},
        }
    }
}

/// Where the pictures and the sound of a job come from.
#[derive(Clone, Copy)]
pub struct Footage<'a> {
    /// The pictures.
    pub material: &'a dyn Material,
    /// The file that the plan's sound is read from.
    pub sound: Option<&'a Source>,
    /// Asked at the end: whether the source is still what it was when the job began.
    pub unchanged: &'a dyn Fn() -> bool,
}

/// A source while a job reads it.
struct WatchedSource<'a> {
    source: &'a Source,
    /// Whether it is still what was read of it.
    is_unchanged: &'a dyn Fn() -> bool,
}

impl Engine {
    /// Makes an engine over the devices of this machine, encoding with FFmpeg's encoders. Starts a thread for each session.
    pub fn new(options: Options) -> Result<Self, StartError> {
        let (encoders, sessions) = match &options.encoder_program {
            Some(program) => (Encoders::in_processes(program.clone()), options.sessions),
            None => (Encoders::in_process(), options.sessions.or(Some(1))),
        };
        let options = Options {
            sessions,
            ..options
        };
        let devices = options.devices(&Host::detect())?;
        let encoders = encoders.for_devices(&devices);
        Self::on_devices(Arc::new(encoders), (devices, &options))
    }

    /// The same with another backend.
    pub fn with_backend(backend: Arc<dyn Backend>, options: &Options) -> Result<Self, StartError> {
        let devices = options.devices(&Host::detect())?;
        Self::on_devices(backend, (devices, options))
    }

    fn on_devices(
        backend: Arc<dyn Backend>,
        (devices, options): (Vec<Device>, &Options),
    ) -> Result<Self, StartError> {
        rungs_media::init();
        rungs_media::heap::share_heaps();
        let host = Host::detect();
        let memory = options.memory.unwrap_or_else(|| host.default_memory());
        let station = |table: &Table| Arc::new(Station::new(table.clone(), options.video_memory));
        let stations: Vec<_> = options.gpus.iter().map(station).collect();
        let decoders = options.policy.decode.choose(&stations)?;
        let scalers = options.policy.scale.choose(&stations)?;
        let engine = Self::with_rules(backend, devices, (memory, options.rules))?;
        Ok(engine.decoding_on(decoders).scaling_on(scalers))
    }

    /// The same over any devices, with `memory` bytes for spans and encoders.
    pub fn with_devices(
        backend: Arc<dyn Backend>,
        devices: Vec<Device>,
        memory: u64,
    ) -> std::io::Result<Self> {
        Self::with_rules(backend, devices, (memory, Rules::default()))
    }

    /// The same with other rules than the usual ones, see [`Options::rules`].
    pub fn with_rules(
        backend: Arc<dyn Backend>,
        devices: Vec<Device>,
        (memory, rules): (u64, Rules),
    ) -> std::io::Result<Self> {
        let (inbox, heard) = unbounded();
        let machine = Machine {
            devices: devices.iter().map(Device::facts).collect(),
            memory,
            rules,
        };
        let lines = (inbox.clone(), heard);
        let control = Control::new(&backend, devices.clone(), machine, lines)?;
        let thread = thread::Builder::new().name("control".to_owned());
        Ok(Self {
            control: Some(thread.spawn(move || control.run())?),
            backend,
            devices,
            decoders: Decoders::default(),
            scalers: Scalers::default(),
            memory,
            patience: Patience::default(),
            inbox,
            jobs: AtomicU32::new(0),
        })
    }

    /// The same waiting so long for drivers that give no answer while a job is planned.
    #[must_use]
    pub fn waiting_for(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The same decoding on those devices.
    #[must_use]
    pub fn decoding_on(mut self, decoders: Decoders) -> Self {
        self.decoders = decoders;
        self
    }

    /// The same scaling on those devices, where a job's plan says so.
    #[must_use]
    pub fn scaling_on(mut self, scalers: Scalers) -> Self {
        self.scalers = scalers;
        self
    }

    /// The devices that the engine encodes on.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Makes the plan of a job: opens the source, and tries each encoder on its first pictures. Blocks meanwhile, about a second for
    /// a ladder from 1080p on two cores. Whatever can be refused is refused here.
    pub fn plan(&self, source: &Source, spec: &Spec, cancel: &Cancel) -> Result<Plan, Error> {
        self.plan_watched(source, spec, &Watcher::of(cancel))
    }

    /// The same, where somebody is told whenever a GPU gives no answer for long.
    pub fn plan_watched(
        &self,
        source: &Source,
        spec: &Spec,
        watcher: &Watcher<'_>,
    ) -> Result<Plan, Error> {
        let planner = Planner {
            backend: self.backend.as_ref(),
            devices: &self.devices,
            decoders: &self.decoders,
            scalers: &self.scalers,
            memory: self.memory,
            spec,
            cancel: watcher.cancel,
            patience: self.patience,
            waiting: watcher.waiting,
        };
        let mut plan = planner.plan(source)?;
        plan.stills = spec.stills;
        plan.single_file = spec.single_file;
        stills::check(&plan)?;
        Ok(plan)
    }

    /// Does what the plan says. Blocks until everything is published, or the job has failed or was cancelled; all its threads are
    /// joined then.
    pub fn run(&self, plan: &Plan, source: &Source, io: Io<'_>) -> Result<Report, Error> {
        let cancel = io.cancel;
        let witness = Witness::of(source);
        let watched = witness.clone().map(|file| Source::Supply(file));
        let before = source.identity().ok();
        let watched = WatchedSource {
            source: watched.as_ref().unwrap_or(source),
            is_unchanged: &|| match &witness {
                Some(file) => file.is_unchanged(),
                None => before == source.identity().ok(),
            },
        };
        self.run_source(plan, &watched, io)
            .map_err(|error| error.or_interrupted(cancel))
    }

    fn run_source(
        &self,
        plan: &Plan,
        watched: &WatchedSource<'_>,
        io: Io<'_>,
    ) -> Result<Report, Error> {
        let source = watched.source;
        let options = ReadOptions {
            normalise: plan.normalise.clone(),
            strict: plan.strict,
            threads: 0,
        };
        // Readers of pictures may wait for bytes: they are woken by the user, and by the end of the job.
        let reading = CancelToken::default();
        let _wakes = io.cancel.media().passes_on_to(&reading);
        // Sources that follow are fitted to the first on the way.
        let keeps = plan.scaling.on.as_deref();
        let places = self
            .decoders
            .places(keeps.filter(|_| plan.joined.is_empty()));
        if !plan.joined.is_empty() {
            let first = FirstSource {
                source,
                stream: plan.source.video_stream,
                options,
                time_base: plan.source.time_base,
                nominal: plan.grid.timescale().to_source(plan.nominal_duration),
                window: plan.window,
                kernel: plan.kernel(),
                places: Arc::clone(&places),
            };
            let unchanged =
                || (watched.is_unchanged)() && plan.joined.iter().all(Joined::is_unchanged);
            let footage = Footage {
                material: &JoinedMaterial::new(&first, &plan.joined, &reading),
                sound: Some(source),
                unchanged: &unchanged,
            };
            let reading = (&reading, places);
            return self.run_read(plan, (footage, reading), io);
        }
        let material = VideoMaterial::new(source, plan.source.video_stream, options, &reading)
            .map_err(|source| Failure::Read { at: 0.0, source })?
            .decoded_at(&places);
        let suits = || {
            let host = Host::detect().default_decoders();
            material.readers().map_or(host, |readers| readers.max(host))
        };
        let decoders = io.terms.decoders.unwrap_or_else(suits);
        let io = Io {
            terms: Terms {
                decoders: Some(decoders),
                ..io.terms
            },
            ..io
        };
        let windowed = plan.window.map(|window| Windowed {
            material: &material,
            window,
        });
        let footage = Footage {
            material: windowed
                .as_ref()
                .map_or(&material as &dyn Material, |part| part),
            sound: Some(source),
            unchanged: watched.is_unchanged,
        };
        self.run_read(plan, (footage, (&reading, places)), io)
    }

    /// Does what the plan says with pictures from anywhere: the seam for sources that are no files.
    pub fn run_footage(
        &self,
        plan: &Plan,
        footage: Footage<'_>,
        io: Io<'_>,
    ) -> Result<Report, Error> {
        let reading = (&CancelToken::default(), Arc::default());
        self.run_read(plan, (footage, reading), io)
    }

    /// The same with the token by which the footage's readers are stopped when the job ends, and the places at which they decode.
    fn run_read(
        &self,
        plan: &Plan,
        (footage, (reading, places)): (Footage<'_>, (&CancelToken, Arc<Places>)),
        io: Io<'_>,
    ) -> Result<Report, Error> {
        let clock = Clock::start();
        (io.observer)(started(plan));
        for warning in &plan.warnings {
            (io.observer)(Event::warning(warning.clone()));
        }
        let mut output = io.output;
        let facts = output.known().map_err(PackageError::from)?;
        let done = Done::new(plan, &facts);
        resumed(plan, &done).into_iter().for_each(&mut *io.observer);
        let (mut packager, tracks) = open_package(plan, output, &done)?;
        packager.start()?;
        let job = Running {
            engine: self,
            id: JobId::new(self.jobs.fetch_add(1, Ordering::Relaxed)),
            plan,
            terms: io.terms,
            places,
            scaling: self.scalers.on(plan.scaling.on.as_deref()),
            tracks,
            done: &done,
            clock,
        };
        let unchanged = footage.unchanged;
        let mut told = Told {
            user: io.cancel,
            observer: io.observer,
        };
        let (result, packager) = if done.is_complete() {
            (Ok(Tally::of_done(&done)), Some(packager))
        } else {
            job.run((footage, reading), packager, &mut told)
        };
        let tally = result?;
        let mut packager = packager.ok_or(Failure::Lost(PUBLISHER))?;
        // All is done, but whoever cancelled before the playlists were closed is told that the job was.
        if io.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if !unchanged() {
            return Err(Failure::SourceChanged.into());
        }
        // From here on it is as the renditions were made.
        let made = plan.with_taken_over(&tally.taken_over);
        stills::make(&mut packager, &made, (&job.tracks.renditions, io.cancel))
            .map_err(|error| error.or_interrupted(io.cancel))?;
        let summary = packager.finish()?;
        let report = job.report(tally, summary);
        let json = serde_json::to_vec_pretty(&report).map_err(Failure::Report)?;
        packager.put_report(&json)?;
        packager.note(&Fact::Finished)?;
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
    id: JobId,
    plan: &'a Plan,
    terms: Terms,
    places: Arc<Places>,
    scaling: Arc<Scaling>,
    tracks: Tracks,
    done: &'a Done,
    clock: Clock,
}

/// Cancels the job at control if whoever began it unwinds: its threads would wait for ever otherwise.
struct Begun<'a> {
    inbox: &'a Sender<Message>,
    id: JobId,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        // To a job that is over this says nothing.
        self.inbox.send(Message::Cancel(self.id)).ok();
    }
}

/// The first thread that the system did not give to a job.
#[derive(Default)]
struct Refused(RefCell<Option<io::Error>>);

impl Refused {
    /// Keeps the error of a thread that was not started, and then says that it is lost.
    fn note<T>(&self, started: io::Result<T>, lost: impl FnOnce()) -> Option<T> {
        let refuse = |error| {
            self.0.borrow_mut().get_or_insert(error);
            lost();
        };
        started.map_err(refuse).ok()
    }

    /// Why the job failed: for want of a thread, or else of this.
    fn or(self, error: Error) -> Error {
        let refused = self.0.into_inner();
        refused.map_or(error, |error| Failure::Threads(error).into())
    }
}

impl Running<'_> {
    /// Starts the threads of the job, has control run it, and joins them. The packager comes back unless its thread panicked.
    fn run(
        &self,
        (footage, reading): (Footage<'_>, &CancelToken),
        packager: Packager<AnyOutput>,
        told: &mut Told<'_>,
    ) -> (Result<Tally, Error>, Option<Packager<AnyOutput>>) {
        let warned = |job, warning| Message::Warned { job, warning };
        self.places.tell(self.line(warned));
        self.scaling.tell(self.line(warned));
        let (orders, waiting) = unbounded();
        let (caller, words) = unbounded();
        let stop = Cancel::new();
        let _wakes = stop.media().passes_on_to(reading);
        let (cues, crews) = self.crews(footage.sound, &stop);
        let new = NewJob {
            id: self.id,
            plan: Arc::new(self.plan.clone()),
            terms: self.terms,
            scaling: Arc::clone(&self.scaling),
            tracks: self.tracks.clone(),
            lines: Lines {
                cues,
                orders: Some(orders),
                caller,
                inbox: self.engine.inbox.clone(),
                stop: stop.clone(),
            },
            started: self.clock.started,
            done: self.done.clone(),
            // One pump needs them too: for what an earlier run has left, and for spans that are fed and have to be decoded again.
            cuts: self.cuts(footage.material),
        };
        thread::scope(|scope| {
            let stop = &stop;
            // Dropped before the scope joins, also when the observer panics.
            let begun = Begun {
                inbox: &self.engine.inbox,
                id: self.id,
            };
            // Before there is any thread of the job: control passes over the words of those whose job it does not know, also their last.
            self.engine.inbox.send(Message::Begin(Box::new(new))).ok();
            let refused = Refused::default();
            let publish = move || self.publish(packager, &waiting, stop);
            let publisher = spawn_scoped(scope, PUBLISHER, publish);
            let publisher = refused.note(publisher, || self.lost(PUBLISHER));
            for crews in crews.into_iter().filter(|crews| !crews.is_empty()) {
                let work = move || self.read_tracks(crews);
                refused.note(spawn_scoped(scope, "tracks", work), || self.lost(TRACKS));
            }
            let material = footage.material;
            let start_pump = |begun: PumpBegun| {
                let work = move || self.pump(material, begun, stop);
                // One that is not started says so by its last word.
                refused.note(spawn_scoped(scope, "pump", work), || ());
            };
            let result = self.listen(&words, told, start_pump);
            drop(begun);
            // Control has dropped its end of every line, so the threads end now if they have not.
            let packager = publisher.and_then(|thread| thread.join().ok().flatten());
            (result.map_err(|error| refused.or(error)), packager)
        })
    }

    /// Passes on what control says until the job is over.
    fn listen(
        &self,
        words: &Receiver<Word>,
        told: &mut Told<'_>,
        start_pump: impl Fn(PumpBegun),
    ) -> Result<Tally, Error> {
        let silent = never();
        let mut user = told.user.signal();
        loop {
            select! {
                recv(words) -> word => match word {
                    Ok(Word::Event(event)) => (told.observer)(event),
                    Ok(Word::StartPump(begun)) => start_pump(begun),
                    Ok(Word::Ended(result)) => return result,
                    Err(_) => return Err(Failure::Lost(CONTROL).into()),
                },
                // Nobody sends on this line; it is cut when the user cancels.
                recv(user) -> _ => {
                    user = &silent;
                    self.engine.inbox.send(Message::Cancel(self.id)).ok();
                }
            }
        }
    }

    /// The body of a pump's thread. Its last word comes even if it panics.
    fn pump(&self, material: &dyn Material, begun: PumpBegun, stop: &Cancel) {
        let pump = begun.pump;
        let order = PumpOrder {
            stretch: begun.stretch,
            plan: self.pump_plan(),
        };
        let lines = PumpLines {
            credit: begun.credit,
            out: self.line(move |job, message| Message::Pump { job, pump, message }),
            cancel: stop.clone(),
        };
        let body = || pump::run(material, order, &lines);
        if catch_unwind(AssertUnwindSafe(body)).is_ok() {
            begun.last_word.said();
        }
    }

    /// The body of the publisher's thread.
    fn publish(
        &self,
        packager: Packager<AnyOutput>,
        waiting: &Receiver<Order>,
        stop: &Cancel,
    ) -> Option<Packager<AnyOutput>> {
        let out = self.line(|job, published| Message::Published { job, published });
        let body = || publish::run(packager, waiting, (&out, stop));
        let done = catch_unwind(AssertUnwindSafe(body)).ok();
        if done.is_none() {
            self.lost(PUBLISHER);
        }
        done
    }

    /// Runs a thread's body; if it panics, control hears of it and does not wait for ever.
    fn guard(&self, name: &'static str, body: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(body)).is_err() {
            self.lost(name);
        }
    }

    fn lost(&self, thread: &'static str) {
        let job = self.id;
        self.engine.inbox.send(Message::Lost { job, thread }).ok();
    }

    /// A line to control that says whose words these are.
    fn line<T>(&self, wrap: impl Fn(JobId, T) -> Message + Send + Sync + 'static) -> Line<T> {
        let job = self.id;
        Line::new(self.engine.inbox.clone(), move |word| wrap(job, word))
    }

    fn cuts(&self, material: &dyn Material) -> Vec<Cut> {
        let expected = self.plan.expected_segments().unwrap_or(0);
        pump::cuts(material, &self.pump_plan(), expected)
    }

    fn pump_plan(&self) -> PumpPlan {
        PumpPlan {
            grid: self.plan.grid,
            nominal: self.plan.nominal_duration,
            frame_bytes: self.plan.frame_bytes,
            offset: self
                .plan
                .grid
                .timescale()
                .from_source(self.plan.source.origin),
        }
    }

    /// The body of a thread that reads the source for audio and subtitles, for one crew after the other.
    fn read_tracks(&self, crews: Vec<Crew<'_>>) {
        let guard = |body: &mut dyn FnMut()| self.guard(TRACKS, body);
        self.guard(TRACKS, || {
            for crew in crews {
                crew.run(&guard);
            }
        });
    }

    /// Who makes the audio and the subtitles of which something is missing, and where their boundaries are sent. The crews of one list run one
    /// after the other, since each track takes memory, and the lists side by side.
    fn crews<'b>(
        &'b self,
        source: Option<&'b Source>,
        stop: &Cancel,
    ) -> (Vec<CueLine>, [Vec<Crew<'b>>; 2]) {
        let mut lines = Vec::new();
        let Some(source) = source else {
            return (lines, [Vec::new(), Vec::new()]);
        };
        let inside = self.plan.window.is_some_and(|window| window.from.is_some());
        let mut groups = tracks::groups(self.audio_followings(stop), self.plan.memory);
        let mut text = Vec::from_iter(self.text_following());
        // Subtitles that are shown when the presentation begins may have begun long before: a reader of their own begins where the source does.
        if let Some(first) = groups.first_mut().filter(|_| !inside) {
            first.append(&mut text);
        }
        let mut hire = |followings: Vec<Following<'b>>, from_there| {
            let part = Part {
                origin: self.origin(),
                from_there,
            };
            let failed = self.source_failed(&followings);
            let (crew, mut own) = Crew::new((source, part), followings, (failed, stop));
            lines.append(&mut own);
            crew
        };
        let audio = groups.into_iter().map(|group| hire(group, inside));
        let audio = audio.collect();
        let text = (!text.is_empty()).then(|| hire(text, false));
        (lines, [audio, text.into_iter().collect()])
    }

    /// Start of the presentation on the source's clock, in seconds.
    fn origin(&self) -> f64 {
        self.plan.source.time_base.seconds(self.plan.source.origin)
    }

    /// How a reader for these tracks reports that the source cannot be read: as the failure of the first.
    fn source_failed(&self, followings: &[Following<'_>]) -> tracks::Failed {
        let first = followings.iter().find_map(|following| following.track);
        if let Some(track) = first {
            let out = self.audio_line(track);
            return Box::new(move |at, error| {
                let error = error.into();
                out.send(SoundMessage::Failed { at, error });
            });
        }
        let out = self.text_line();
        Box::new(move |_, error| {
            out.send(TextMessage::Failed(error));
        })
    }

    fn audio_line(&self, track: TrackId) -> Line<SoundMessage> {
        self.line(move |job, message| Message::Sound {
            job,
            track,
            message,
        })
    }

    fn text_line(&self) -> Line<TextMessage> {
        self.line(|job, message| Message::Text { job, message })
    }

    /// One for each track of audio of which something is missing.
    fn audio_followings<'b>(&'b self, stop: &Cancel) -> Vec<Following<'b>> {
        let tracks = self.plan.audio.iter().zip(&self.tracks.sound).enumerate();
        let missing = tracks.filter(|(place, _)| !self.done.sound_is_done(*place));
        let following = |(_, (plan, track)): (usize, (&'b AudioPlan, &TrackId))| {
            let job = SoundJob {
                joined: self.joined_sound(plan.sample_rate),
                plan,
                origin: self.origin(),
                starts_inside: self.plan.window.is_some_and(|window| window.from.is_some()),
                strict: self.plan.strict,
            };
            Following {
                track: Some(*track),
                rate: plan.sample_rate,
                follower: Box::new(AudioFollower::new(job, self.audio_line(*track), stop)),
            }
        };
        missing.map(following).collect()
    }

    /// The sound of the sources that follow the first, in a rate of samples.
    fn joined_sound(&self, sample_rate: u32) -> Vec<SoundPart> {
        let facts = &self.plan.source;
        let part = |joined: &Joined| {
            let since = facts.time_base.seconds(joined.start - facts.origin);
            SoundPart {
                source: joined.source(),
                stream: joined.sound_stream,
                origin: joined.time_base.seconds(joined.origin),
                start: (since * f64::from(sample_rate)).round() as i64,
            }
        };
        self.plan.joined.iter().map(part).collect()
    }

    /// One for the subtitles, if something of them is missing.
    fn text_following(&self) -> Option<Following<'_>> {
        if self.done.text_is_done() {
            return None;
        }
        let timescale = self.plan.grid.timescale().ticks_per_second();
        let tracks = self.tracks.text.iter().copied().zip(&self.plan.text);
        let job = TextJob {
            tracks: tracks.collect(),
            video: self.plan.source.video_stream,
            origin: self.origin(),
            timescale,
            strict: self.plan.strict,
        };
        Some(Following {
            track: None,
            rate: timescale,
            follower: Box::new(TextFollower::new(job, self.text_line())),
        })
    }

    fn report(&self, tally: Tally, summary: Summary) -> Report {
        let pump = &tally.pump;
        Report {
            version: REPORT_VERSION,
            made_by: MadeBy::this_program(),
            plan: self.plan.with_taken_over(&tally.taken_over),
            resumed_segments: self.done.media().count() as u64,
            read: ReadReport {
                frames_decoded: pump.counts.decoded,
                frames_packaged: pump.frames,
                frames_held: pump.held,
                errors: pump.counts.errors,
                decoded_on: self.places.decoded(),
                scaled_on: self.scaling.done(),
                repairs: pump.repairs,
                silence_seconds: tally.silence,
            },
            seconds: self.plan.grid.timescale().seconds(pump.end),
            schedule_independent: self.plan.is_schedule_independent()
                && tally.taken_over.is_empty()
                && (self.plan.scaling.on.is_none() || self.scaling.spared_the_cpu()),
            tracks: summary.tracks,
            quality: self.quality(&tally),
            inspection: tally.inspection,
            cost: self.cost(&tally),
            efficiency: self.efficiency(&tally),
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

    fn efficiency(&self, tally: &Tally) -> EfficiencyReport {
        let makespan = tally.makespan.as_secs_f64();
        let devices = self.engine.devices.iter().zip(&tally.spent);
        EfficiencyReport {
            makespan_seconds: makespan,
            bound_seconds: tally.bound,
            over_bound: tally.bound.map(|bound| makespan / bound),
            devices: devices
                .map(|(device, spent)| DeviceReport {
                    device: device.id.clone(),
                    spent: *spent,
                })
                .collect(),
        }
    }

    fn cost(&self, tally: &Tally) -> CostReport {
        let wall = self.clock.started.elapsed();
        let own = host::cpu_time().saturating_sub(self.clock.cpu);
        let share = |busy: Duration| busy.as_secs_f64() / wall.as_secs_f64().max(f64::MIN_POSITIVE);
        let sessions = tally
            .sessions
            .iter()
            .map(|((device, session), did)| SessionReport {
                device: self.engine.devices[device.place()].id.clone(),
                session: *session,
                tasks: did.tasks,
                wasted: did.wasted,
                busy: share(did.busy),
            });
        let others = || tally.sessions.values();
        let other_cpu: Duration = others().map(|did| did.other_cpu).sum();
        let other_memory: u64 = others().map(|did| did.other_memory).sum();
        CostReport {
            wall_seconds: wall.as_secs_f64(),
            cpu_seconds: (own + other_cpu).as_secs_f64(),
            peak_memory: host::peak_memory().map(|own| own + other_memory),
            peak_charged: tally.peak_charged,
            first_playable_seconds: tally.first_playable.map(|time| time.as_secs_f64()),
            sessions: sessions.collect(),
        }
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
        audio: plan.audio.iter().map(|audio| audio.name.clone()).collect(),
        promised_seconds: plan.source.promised_seconds,
    }
}

/// What is told of the tracks that an earlier run has begun.
fn resumed(plan: &Plan, done: &Done) -> Vec<Event> {
    let videos = plan.renditions().iter().map(|rendition| {
        let ticks = plan.grid.timescale().ticks_per_second();
        let folder = video_track_name(&rendition.name);
        (rendition.name.clone(), folder, ticks)
    });
    let sound = plan.audio.iter().map(|audio| {
        let folder = sound_track_name(&audio.name);
        (audio.name.clone(), folder, audio.sample_rate)
    });
    let text = plan.text.iter().map(|text| {
        let ticks = plan.grid.timescale().ticks_per_second();
        (text.name.clone(), text_track_name(&text.name), ticks)
    });
    let told = videos
        .chain(sound)
        .chain(text)
        .filter_map(|(track, folder, rate)| {
            let segments = done.segments().iter();
            let (mut count, mut bytes, mut ticks) = (0, 0, 0);
            for segment in segments.filter(|segment| segment.track == folder) {
                count += 1;
                bytes += segment.bytes;
                ticks += segment.duration;
            }
            (count > 0).then(|| Event::Resumed {
                track,
                segments: count,
                bytes,
                seconds: ticks as f64 / f64::from(rate),
            })
        });
    told.collect()
}

/// Gives a packager the plan's tracks, and what is stored of them already. It is not started.
pub(crate) fn open_package(
    plan: &Plan,
    output: AnyOutput,
    done: &Done,
) -> Result<(Packager<AnyOutput>, Tracks), Error> {
    let segment = plan.grid.timescale().seconds(plan.grid.segment());
    let packets = plan.audio.iter();
    let packets = packets.map(|audio| f64::from(audio.frame) / f64::from(audio.sample_rate));
    let packet = packets.fold(0.0, f64::max);
    let layout = Layout {
        segment_duration: Duration::from_secs_f64(segment),
        target_duration: Duration::from_secs_f64((plan.grid.longest() + packet).round().max(1.0)),
    };
    let mut packager = Packager::new(output, layout);
    packager.illustrate(plan.stills.packaged())?;
    let mut renditions = Vec::new();
    for rendition in plan.renditions() {
        renditions.push(packager.add_track(video_track(plan, rendition)?)?);
    }
    let mut sound = Vec::new();
    for audio in &plan.audio {
        sound.push(packager.add_track(sound_track(audio))?);
    }
    let mut text = Vec::new();
    for subtitles in &plan.text {
        text.push(packager.add_track(text_track(plan, subtitles))?);
    }
    for segment in done.segments() {
        packager.restore(segment)?;
    }
    if done.is_closed() {
        packager.keep_closed()?;
    }
    let tracks = Tracks {
        renditions,
        sound,
        text,
    };
    Ok((packager, tracks))
}

fn video_track(plan: &Plan, rendition: &Rendition) -> Result<TrackSpec, Error> {
    Ok(TrackSpec {
        name: video_track_name(&rendition.name),
        track: coding::track(plan, rendition).map_err(Failure::Bitstream)?,
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
        name: sound_track_name(&audio.name),
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
        label: audio.label.clone(),
    }
}

fn text_track(plan: &Plan, text: &TextPlan) -> TrackSpec {
    TrackSpec {
        name: text_track_name(&text.name),
        track: Track::Text(TextTrack {
            timescale: plan.grid.timescale().ticks_per_second(),
            language: text.language.clone(),
            forced: text.forced,
        }),
        frame_rate: None,
        estimated: Bandwidth {
            peak: TEXT_ESTIMATE,
            average: TEXT_ESTIMATE,
        },
        label: text.label.clone(),
    }
}
