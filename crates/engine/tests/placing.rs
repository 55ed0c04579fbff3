//! Packages of single files whose putting together dies at any step, and is gone on with: everything is real but the pictures and the encoder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rungs_engine::journal::{Depth, JobFolder, JobOutput, JobRecord, JournalError, Stand, verify};
use rungs_engine::{Cancel, Engine, Footage, Io, Plan, Report, Spec, Terms};
use rungs_media::Source;
use rungs_package::output::{Output, files_below};
use rungs_testkit::fake::{FakeBackend, FakeJob, FakeReader};
use rungs_testkit::mortal::{Life, Mortal, MortalDisk};

const JOB: FakeJob = FakeJob {
    frames: 95,
    frames_per_segment: 25,
    renditions: 2,
    sessions: 2,
    memory: 200_000,
};

fn plan() -> Plan {
    let mut plan = JOB.plan();
    plan.single_file = true;
    plan
}

/// Begins in an empty folder.
fn begin(root: &Path, plan: &Plan) -> JobOutput {
    let spec = Spec {
        single_file: true,
        ..Spec::default()
    };
    let source = Source::from(b"pictures".to_vec());
    let record = JobRecord::new(&source, &spec, plan).expect("memory can be read");
    let folder = JobFolder::claim(root).expect("nobody else is there");
    folder.begin(&record).expect("the folder is empty")
}

/// Makes all parts.
fn make(root: &Path, plan: &Plan) {
    let output = begin(root, plan);
    run(Box::new(output), plan).expect("a whole job");
}

/// Makes the parts that are missing.
fn run(output: Box<dyn Output>, plan: &Plan) -> Result<Report, rungs_engine::Error> {
    let backend = Arc::new(FakeBackend::sound());
    let engine = Engine::with_devices(backend, JOB.devices(), JOB.memory).expect("threads");
    let footage = Footage {
        material: &FakeReader::new(JOB.frames),
        sound: None,
        unchanged: &|| true,
    };
    let io = Io {
        output,
        terms: Terms::default(),
        cancel: &Cancel::new(),
        observer: &mut |_| {},
    };
    engine.run_footage(plan, footage, io)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder")
}

/// All that readers see.
fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = files_below(root, &[".rungs"]).expect("it is a folder");
    let read = |name: String| {
        let bytes = fs::read(root.join(&name)).expect("it was listed");
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

/// The same but for the report, which tells of the last run.
fn published(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = contents(root);
    files.remove("report.json");
    files
}

fn copy(from: &Path, to: &Path) {
    for name in files_below(from, &[]).expect("it is a folder") {
        let path = to.join(&name);
        fs::create_dir_all(path.parent().expect("it is below")).expect("a folder");
        fs::copy(from.join(&name), path).expect("a copy");
    }
}

fn put_together(root: &Path, plan: &Plan) {
    let folder = JobFolder::claim(root).expect("nobody else is there");
    let stand = folder.stand(plan).expect("it can be read");
    assert_eq!(stand, Stand::Made);
    let done = folder.put_together(plan, &Cancel::new(), &mut |_| {});
    done.expect("the disk is there");
    let folder = JobFolder::claim(root).expect("nobody else is there");
    assert_eq!(folder.stand(plan).expect("it can be read"), Stand::Finished);
}

#[test]
fn a_file_is_whole_or_absent_wherever_the_putting_together_ends() {
    let (made, plan) = (folder(), plan());
    make(made.path(), &plan);
    assert_eq!(
        contents(made.path()),
        BTreeMap::new(),
        "nothing is there before the end"
    );
    let whole = folder();
    copy(made.path(), whole.path());
    put_together(whole.path(), &plan);
    assert!(!whole.path().join(".rungs/parts").exists());
    let whole = contents(whole.path());
    let mut step = 0;
    loop {
        let package = folder();
        copy(made.path(), package.path());
        let life = Life::ending_at(step);
        let claim = JobFolder::claim_on(package.path(), MortalDisk(life.clone()));
        let result =
            claim
                .expect("nobody else is there")
                .put_together(&plan, &Cancel::new(), &mut |_| {});
        let so_far = contents(package.path());
        for (name, bytes) in &so_far {
            assert!(whole.get(name) == Some(bytes), "{name} after step {step}");
        }
        // What names others comes after them.
        if so_far.contains_key("master.m3u8") {
            assert!(so_far.len() + 1 >= whole.len(), "after step {step}");
        }
        if !life.is_over() {
            result.expect("it lived");
            break;
        }
        assert!(result.is_err(), "it died in step {step}");
        finish(package.path(), &plan);
        assert!(contents(package.path()) == whole, "after step {step}");
        assert!(!package.path().join(".rungs/parts").exists());
        step += 1;
    }
    assert!(step > 60, "{step}");
}

/// Does what is left when all parts were made.
fn finish(root: &Path, plan: &Plan) {
    let folder = JobFolder::claim(root).expect("nobody else is there");
    if folder.stand(plan).expect("it can be read") == Stand::Finished {
        return folder.clear_parts(plan).expect("the disk is there");
    }
    drop(folder);
    put_together(root, plan);
}

/// Does what a process does that finds a package of single files: goes on with it, and puts it together. Ends early if it dies.
fn repair(root: &Path, plan: &Plan, life: &Life) {
    let claim = || {
        let claim = JobFolder::claim_on(root, MortalDisk(life.clone()));
        claim.expect("nobody else is there")
    };
    let folder = claim();
    let folder = match folder.stand(plan).expect("it can be read") {
        Stand::Finished => {
            let cleared = folder.clear_parts(plan);
            return assert_eq!(cleared.is_err(), life.is_over(), "{cleared:?}");
        }
        Stand::Made => folder,
        Stand::Unfinished => {
            let Ok(output) = folder.resume(plan) else {
                return assert!(life.is_over());
            };
            let output = Mortal::new(output, life.clone());
            if let Err(error) = run(Box::new(output), plan) {
                return assert!(life.is_over(), "{error:?}");
            }
            claim()
        }
    };
    let done = folder.put_together(plan, &Cancel::new(), &mut |_| {});
    assert_eq!(done.is_err(), life.is_over(), "{done:?}");
}

#[test]
fn readers_keep_what_was_whole_wherever_the_taking_apart_and_repair_ends() {
    const CUT: &str = "video/fake-0.mp4";
    const GONE: &str = "video/fake-1.mp4";
    let (damaged, plan) = (folder(), plan());
    make(damaged.path(), &plan);
    put_together(damaged.path(), &plan);
    let whole = published(damaged.path());
    // The last segment of one file, and all of the other.
    let cut = &whole[CUT][..whole[CUT].len() - 1];
    fs::write(damaged.path().join(CUT), cut).expect("a file");
    fs::remove_file(damaged.path().join(GONE)).expect("it is there");
    let mut step = 0;
    loop {
        let package = folder();
        copy(damaged.path(), package.path());
        let life = Life::ending_at(step);
        repair(package.path(), &plan, &life);
        let so_far = published(package.path());
        for (name, bytes) in &whole {
            let is_whole = so_far.get(name) == Some(bytes);
            let as_before = match name.as_str() {
                CUT => so_far.get(name).is_some_and(|found| found == cut),
                GONE => !so_far.contains_key(name),
                _ => false,
            };
            assert!(is_whole || as_before, "{name} after step {step}");
        }
        assert!(so_far.len() <= whole.len(), "after step {step}");
        repair(package.path(), &plan, &Life::endless());
        assert!(published(package.path()) == whole, "after step {step}");
        assert!(!package.path().join(".rungs/parts").exists());
        if !life.is_over() {
            break;
        }
        step += 1;
    }
    assert!(step > 60, "{step}");
}

#[test]
fn a_cancelled_one_says_so_and_keeps_its_parts() {
    let (made, plan) = (folder(), plan());
    make(made.path(), &plan);
    let cancel = Cancel::new();
    cancel.cancel();
    let claim = JobFolder::claim(made.path()).expect("nobody else is there");
    let error = claim
        .put_together(&plan, &cancel, &mut |_| {})
        .expect_err("it was cancelled");
    assert!(matches!(error, JournalError::Interrupted), "{error}");
    put_together(made.path(), &plan);
}

#[test]
fn damage_in_a_single_file_is_found_in_its_segment() {
    let (package, plan) = (folder(), plan());
    make(package.path(), &plan);
    let found = |root: &Path| verify(root, Depth::Boxes, &Cancel::new()).expect("it can be read");
    let unfinished = found(package.path()).findings;
    assert_eq!(unfinished.len(), 1, "{unfinished:?}");
    put_together(package.path(), &plan);
    assert_eq!(found(package.path()).findings, []);
    let file = package.path().join("video/fake-0.mp4");
    let bytes = fs::read(&file).expect("a file");
    for (place, what) in [(20, "its head"), (bytes.len() - 1, "of its segment 3")] {
        let mut other = bytes.clone();
        other[place] ^= 1;
        fs::write(&file, other).expect("a file");
        let findings = found(package.path()).findings;
        let told = findings
            .iter()
            .any(|one| one.file == "video/fake-0.mp4" && one.what.contains(what));
        assert!(told, "{findings:?}");
    }
    fs::write(&file, &bytes[..bytes.len() - 1]).expect("a file");
    assert!(!found(package.path()).findings.is_empty());
}

#[test]
fn a_journal_that_is_lost_is_missed_and_not_begun_anew() {
    let (package, plan) = (folder(), plan());
    make(package.path(), &plan);
    put_together(package.path(), &plan);
    fs::remove_file(package.path().join(".rungs/journal.sqlite")).expect("it is there");
    let claim = JobFolder::claim(package.path()).expect("nobody else is there");
    let error = claim.stand(&plan).expect_err("there is no journal");
    assert!(matches!(error, JournalError::Missing { .. }), "{error}");
}

#[test]
fn nobody_gets_in_between_the_making_of_parts_and_their_putting_together() {
    let (package, plan) = (folder(), plan());
    let output = begin(package.path(), &plan);
    let claim = output.folder();
    drop(output);
    let other = JobFolder::claim(package.path());
    assert!(matches!(other, Err(JournalError::Held { .. })), "{other:?}");
    drop(claim);
    JobFolder::claim(package.path()).expect("nobody is there any more");
}
