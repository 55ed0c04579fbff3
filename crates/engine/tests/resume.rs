//! Jobs that die at any step of their output and are gone on with: everything is real but the pictures and the encoder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rungs_engine::journal::{Depth, JobFolder, JobRecord, verify};
use rungs_engine::{Cancel, Engine, Error, Event, Footage, Io, Plan, Report, Spec, Terms};
use rungs_media::Source;
use rungs_package::Digest;
use rungs_package::output::Fact;
use rungs_testkit::digest::{package_digest, package_files};
use rungs_testkit::fake::{FakeBackend, FakeJob, FakeReader};
use rungs_testkit::mortal::{Life, Mortal, MortalDisk};

const JOB: FakeJob = FakeJob {
    frames: 95,
    frames_per_segment: 25,
    renditions: 2,
    sessions: 2,
    memory: 200_000,
};

/// One life of a process on the output folder.
struct Run {
    result: Result<Report, Error>,
    events: Vec<Event>,
    /// How often each task was tried.
    tries: BTreeMap<(u32, String), u32>,
    /// Tasks that the journal knew when the run began.
    known: BTreeSet<(u32, String)>,
}

fn record(plan: &Plan) -> JobRecord {
    let source = Source::from(b"pictures".to_vec());
    JobRecord::new(&source, &Spec::default(), plan).expect("memory can be read")
}

/// Does what a process does: claims the folder, begins, goes on, or adds to what is finished. `None` if it died before there was any work.
fn live(root: &Path, plan: &Plan, life: &Life) -> Option<Run> {
    let folder = JobFolder::claim_on(root, MortalDisk(life.clone())).expect("nobody else is there");
    let output = match folder.record().expect("a record is whole or absent") {
        Some(then) if then.plan.renditions().len() < plan.renditions().len() => {
            folder.extend(&record(plan))
        }
        Some(then) => {
            assert_eq!(then.difference(&record(plan)), None);
            folder.resume(plan)
        }
        None => folder.begin(&record(plan)),
    };
    let mut output = match output {
        Ok(output) => output,
        Err(error) => {
            assert!(
                life.is_over(),
                "{error}: {:?}",
                std::error::Error::source(&error)
            );
            return None;
        }
    };
    let facts = rungs_package::output::Output::known(&mut output).expect("they are read");
    let known = facts.iter().filter_map(|fact| match fact {
        Fact::Segment(segment) => {
            let name = segment.track.strip_prefix("video/").expect("no sound");
            Some((segment.index, name.to_owned()))
        }
        _ => None,
    });
    let known = known.collect();
    let backend = Arc::new(FakeBackend::sound());
    let engine = Engine::with_devices(Arc::clone(&backend) as _, JOB.devices(), JOB.memory);
    let engine = engine.expect("threads");
    let mut events = Vec::new();
    let result = engine.run_footage(
        plan,
        Footage {
            material: &FakeReader::new(JOB.frames),
            sound: None,
            unchanged: &|| true,
        },
        Io {
            output: Box::new(Mortal::new(Known(output, facts), life.clone())),
            terms: Terms::default(),
            cancel: &Cancel::new(),
            observer: &mut |event| events.push(event),
        },
    );
    Some(Run {
        result,
        events,
        tries: backend.tries(),
        known,
    })
}

/// An output whose facts were looked at.
struct Known<O>(O, Vec<Fact>);

impl<O: rungs_package::output::Output> rungs_package::output::Output for Known<O> {
    fn put(
        &mut self,
        item: rungs_package::output::Item<'_>,
    ) -> Result<(), rungs_package::output::OutputError> {
        self.0.put(item)
    }

    fn note(&mut self, fact: &Fact) -> Result<(), rungs_package::output::OutputError> {
        self.0.note(fact)
    }

    fn known(&mut self) -> Result<Vec<Fact>, rungs_package::output::OutputError> {
        Ok(self.1.clone())
    }
}

/// A folder in memory where there is such a thing: thousands of flushes to a real disk take minutes.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder")
}

/// What an undisturbed run gives.
struct Undisturbed {
    digest: Digest,
    files: BTreeMap<String, Vec<u8>>,
    steps: u64,
}

fn undisturbed(plan: &Plan) -> Undisturbed {
    let folder = folder();
    let root = folder.path().join("out");
    let life = Life::endless();
    let run = live(&root, plan, &life).expect("it lives");
    run.result.expect("a whole job");
    Undisturbed {
        digest: package_digest(&root).expect("it is there"),
        files: contents(&root),
        steps: life.steps(),
    }
}

fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        let bytes = fs::read(root.join(&name)).expect("it was listed");
        (name, bytes)
    };
    package_files(root)
        .expect("it is a folder")
        .into_iter()
        .map(read)
        .collect()
}

/// What readers may see at any time: segments that are whole, and playlists whose files are there.
fn check_visible(root: &Path, whole: &Undisturbed, context: &str) {
    for (name, bytes) in contents(root) {
        let text = name.ends_with("m3u8") || name.ends_with("mpd");
        assert!(
            text || bytes == whole.files[&name],
            "{context}: {name} is not whole"
        );
    }
    check_named(root, context);
}

/// Playlists name what is there.
fn check_named(root: &Path, context: &str) {
    let files = contents(root);
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with("m3u8")) {
        let text = String::from_utf8(bytes.clone()).expect("a text");
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let named = if folder.is_empty() {
                line.to_owned()
            } else {
                format!("{folder}/{line}")
            };
            assert!(
                files.contains_key(&named),
                "{context}: {name} names {named}"
            );
        }
    }
}

/// How many segments a playlist names, and whether it has an end.
fn extent(root: &Path, plan: &Plan) -> (usize, bool) {
    let track = format!("video/{}", plan.renditions()[0].name);
    let text = fs::read_to_string(root.join(track).join("playlist.m3u8")).unwrap_or_default();
    (text.matches("#EXTINF").count(), text.contains("ENDLIST"))
}

/// Nothing that the journal knows is made again.
fn check_redone(run: &Run, context: &str) {
    for task in run.tries.keys() {
        assert!(
            !run.known.contains(task),
            "{context}: {task:?} is made again"
        );
    }
}

#[test]
fn a_job_that_dies_at_any_step_is_gone_on_with() {
    let plan = JOB.plan();
    let whole = undisturbed(&plan);
    assert_eq!(JOB.segments(), 4);
    assert!(whole.steps > 60, "{}", whole.steps);
    for step in 0..whole.steps {
        let context = format!("step {step} of {}", whole.steps);
        let folder = folder();
        let root = folder.path().join("out");
        let life = Life::ending_at(step);
        if let Some(run) = live(&root, &plan, &life) {
            // How often playlists are written depends on the order in which segments come.
            assert_eq!(
                run.result.is_err(),
                life.is_over(),
                "{context}: {:?}",
                run.result
            );
        }
        check_visible(&root, &whole, &context);
        let before = extent(&root, &plan);
        let run = live(&root, &plan, &Life::endless()).expect("it lives");
        let report = run
            .result
            .as_ref()
            .unwrap_or_else(|error| panic!("{context}: {error:?}"));
        assert_eq!(report.resumed_segments as usize, run.known.len());
        assert_eq!(report.read.frames_packaged, JOB.frames, "{context}");
        check_redone(&run, &context);
        assert!(
            extent(&root, &plan) >= before,
            "{context}: a playlist has shrunk"
        );
        let digest = package_digest(&root).expect("it is there");
        assert_eq!(digest, whole.digest, "{context}");
    }
}

#[test]
fn a_job_that_dies_again_and_again_comes_to_its_end() {
    let plan = JOB.plan();
    let whole = undisturbed(&plan);
    // Every life gets a little further than what it takes to go on.
    for first in 0..12 {
        let folder = folder();
        let root = folder.path().join("out");
        let mut lives = 0;
        loop {
            lives += 1;
            let context = format!("life {lives} after {first}");
            let life = Life::ending_at(42 + (first + lives * 7) % 13);
            let run = live(&root, &plan, &life);
            check_visible(&root, &whole, &context);
            let Some(run) = run else { continue };
            check_redone(&run, &context);
            if run.result.is_ok() {
                break;
            }
            assert!(lives < 100, "it comes to no end");
        }
        assert!(lives > 2);
        assert_eq!(package_digest(&root).expect("it is there"), whole.digest);
    }
}

/// A finished package in a folder of its own.
fn finished(plan: &Plan) -> tempfile::TempDir {
    let folder = folder();
    let run = live(folder.path(), plan, &Life::endless()).expect("it lives");
    run.result.expect("a whole job");
    folder
}

#[test]
fn adding_a_rendition_that_dies_at_any_step_is_gone_on_with() {
    let small = FakeJob {
        renditions: 1,
        ..JOB
    }
    .plan();
    let plan = JOB.plan();
    let whole = undisturbed(&plan);
    let mut step = 0;
    loop {
        let context = format!("step {step}");
        let package = finished(&small);
        let life = Life::ending_at(step);
        live(package.path(), &plan, &life);
        assert_eq!(
            extent(package.path(), &plan),
            (4, true),
            "{context}: a playlist has lost its end"
        );
        check_named(package.path(), &context);
        let run = live(package.path(), &plan, &Life::endless()).expect("it lives");
        run.result
            .as_ref()
            .unwrap_or_else(|error| panic!("{context}: {error:?}"));
        check_redone(&run, &context);
        assert!(
            run.tries.keys().all(|(_, name)| name == "fake-1"),
            "{context}"
        );
        let digest = package_digest(package.path()).expect("it is there");
        assert_eq!(digest, whole.digest, "{context}");
        if !life.is_over() {
            break;
        }
        step += 1;
    }
    assert!(step > 40, "{step}");
}

#[test]
fn a_finished_package_is_known_as_one() {
    let plan = JOB.plan();
    let package = finished(&plan);
    let is_finished = || {
        let folder = JobFolder::claim(package.path()).expect("nobody else is there");
        folder.is_finished(&plan).expect("it can be read")
    };
    assert!(is_finished());
    for name in [
        "report.json",
        "master.m3u8",
        "video/fake-0/playlist.m3u8",
        "video/fake-1/seg-00002.m4s",
    ] {
        let path = package.path().join(name);
        let bytes = fs::read(&path).expect("it is there");
        fs::remove_file(&path).expect("it is there");
        assert!(!is_finished(), "without {name}");
        fs::write(&path, bytes).expect("a file");
        assert!(is_finished(), "with {name} again");
    }
}

/// Earlier versions wrote a multivariant playlist that said nothing of closed captions.
#[test]
fn a_package_of_an_earlier_version_is_whole_as_it_is() {
    let plan = JOB.plan();
    let package = finished(&plan);
    let path = package.path().join("master.m3u8");
    let now = fs::read_to_string(&path).expect("it is there");
    assert_eq!(now.matches(",CLOSED-CAPTIONS=NONE\n").count(), 2, "{now}");
    fs::write(&path, now.replace(",CLOSED-CAPTIONS=NONE", "")).expect("a file");
    let folder = JobFolder::claim(package.path()).expect("nobody else is there");
    assert!(folder.is_finished(&plan).expect("it can be read"));
    drop(folder);
    let verified = verify(package.path(), Depth::Boxes, &Cancel::new()).expect("it can be read");
    assert_eq!(verified.findings, []);
    // Any other difference is one.
    fs::write(&path, now.replace("=NONE", "=SOME")).expect("a file");
    let verified = verify(package.path(), Depth::Boxes, &Cancel::new()).expect("it can be read");
    assert_eq!(verified.findings.len(), 1, "{:?}", verified.findings);
}

type Damage = fn(&Path);

#[test]
fn what_was_damaged_is_made_again() {
    let plan = JOB.plan();
    let whole = undisturbed(&plan);
    let damages: [(&str, Damage); 3] = [
        ("gone", |path| fs::remove_file(path).expect("it is there")),
        ("cut", |path| fs::write(path, b"short").expect("a file")),
        ("flipped", |path| {
            let mut bytes = fs::read(path).expect("it is there");
            *bytes.last_mut().expect("it has bytes") ^= 1;
            fs::write(path, bytes).expect("a file");
        }),
    ];
    for (name, damage) in damages {
        let package = finished(&plan);
        damage(&package.path().join("video/fake-1/seg-00002.m4s"));
        let run = live(package.path(), &plan, &Life::endless()).expect("it lives");
        run.result.as_ref().expect("a whole job");
        let made: Vec<_> = run.tries.keys().cloned().collect();
        assert_eq!(made, [(2, "fake-1".to_owned())], "{name}");
        assert_eq!(
            package_digest(package.path()).expect("it is there"),
            whole.digest
        );
    }
}

#[test]
fn what_is_nobodys_stays_and_a_segment_without_a_row_goes() {
    let plan = JOB.plan();
    let folder = folder();
    let life = Life::ending_at(70);
    live(folder.path(), &plan, &life);
    let at = |name: &str| folder.path().join("video/fake-0").join(name);
    fs::write(at("seg-00099.m4s"), "mine").expect("a file");
    // A run that ended before it kept the row has left a whole segment.
    let journal = rusqlite::Connection::open(folder.path().join(".rungs/journal.sqlite"));
    let journal = journal.expect("a journal");
    let left = at("seg-00001.m4s");
    assert!(left.exists());
    let deleted = "DELETE FROM segments WHERE track = 'video/fake-0' AND place = 1";
    assert_eq!(journal.execute(deleted, []).expect("a row"), 1);
    drop(journal);
    {
        let folder = JobFolder::claim(folder.path()).expect("nobody else is there");
        drop(folder.resume(&plan).expect("it can be read"));
    }
    assert!(!left.exists());
    fs::write(at("notes.txt"), "mine").expect("a file");
    fs::write(folder.path().join(".rungs/tmp/7.tmp"), "half").expect("a file");
    let run = live(folder.path(), &plan, &Life::endless()).expect("it lives");
    run.result.expect("a whole job");
    assert!(at("seg-00099.m4s").exists());
    assert!(at("notes.txt").exists());
    assert_eq!(
        fs::read_dir(folder.path().join(".rungs/tmp"))
            .expect("a folder")
            .count(),
        0
    );
}

#[test]
fn events_tell_what_was_there() {
    let plan = JOB.plan();
    let folder = folder();
    live(folder.path(), &plan, &Life::ending_at(60));
    let run = live(folder.path(), &plan, &Life::endless()).expect("it lives");
    run.result.expect("a whole job");
    let mut resumed = 0;
    let mut published = 0;
    for event in &run.events {
        match event {
            Event::Resumed { segments, .. } => resumed += segments,
            Event::Segment { .. } => published += 1,
            _ => {}
        }
    }
    assert!(resumed > 0);
    assert_eq!(resumed + published, 8);
}
