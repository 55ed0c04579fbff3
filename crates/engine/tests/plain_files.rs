//! Jobs of plain files that die at any step and are resumed: everything is real but the pictures and the encoder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rungs_engine::journal::{JobFolder, JobRecord, JournalError};
use rungs_engine::plain::{Finished, Placing, PlainFileError, Shape, Stands};
use rungs_engine::{Cancel, Engine, Footage, Io, Plan, Spec, Terms};
use rungs_media::Source;
use rungs_package::mp4::About;
use rungs_package::output::{OutputError, files_below};
use rungs_testkit::fake::{FakeBackend, FakeJob, FakeReader};
use rungs_testkit::mortal::{Life, Mortal, MortalDisk};

const JOB: FakeJob = FakeJob {
    frames: 60,
    frames_per_segment: 25,
    renditions: 2,
    sessions: 2,
    memory: 200_000,
};
/// Another job for the same outputs.
const OTHER: FakeJob = FakeJob { frames: 70, ..JOB };
const NAME: &str = "film";
const FILES: [&str; 2] = ["film-0.mp4", "film-1.mp4"];

#[derive(Debug, thiserror::Error)]
enum Death {
    #[error("the journal")]
    Journal(#[from] JournalError),
    #[error("the job")]
    Job(#[from] rungs_engine::Error),
    #[error("a file")]
    File(#[from] PlainFileError),
    #[error("an output")]
    Output(#[from] OutputError),
    #[error("the disk")]
    Disk(#[from] std::io::Error),
}

fn record(plan: &Plan) -> JobRecord {
    let source = Source::from(b"pictures".to_vec());
    JobRecord::new(&source, &Spec::default(), plan).expect("memory can be read")
}

fn claim(root: &Path, disk: &MortalDisk) -> Result<JobFolder<MortalDisk>, JournalError> {
    JobFolder::claim_on(Placing::work(root, NAME), disk.clone())
}

fn placing(root: &Path, plan: &Plan, disk: &MortalDisk) -> Placing<MortalDisk> {
    let placing = Placing::read((root, NAME), &record(plan), disk.clone());
    placing.expect("a mark can be read")
}

/// Does what a process does that makes plain files: what is left of the segments, of the files, of the folder.
fn live(root: &Path, job: &FakeJob, life: &Life) -> Result<(), Death> {
    let (plan, disk) = (job.plan(), MortalDisk(life.clone()));
    let mut folder = claim(root, &disk)?;
    let mut placing = placing(root, &plan, &disk);
    let is_left = |file: &&str| placing.stands(file).expect("it can be read") != Stands::Placed;
    if FILES.iter().any(is_left) {
        make(folder, job, life)?;
        folder = claim(root, &disk)?;
        write(&folder, &plan, &mut placing)?;
    }
    let files = FILES.map(str::to_owned);
    Ok(placing.finish(folder, &files)?)
}

/// Makes the segments that are missing.
fn make(folder: JobFolder<MortalDisk>, job: &FakeJob, life: &Life) -> Result<(), Death> {
    let plan = job.plan();
    let output = match folder.record()? {
        Some(then) => {
            assert_eq!(then.difference(&record(&plan)), None);
            folder.resume(&plan)?
        }
        None => folder.begin(&record(&plan))?,
    };
    let engine = Engine::with_devices(Arc::new(FakeBackend::sound()), job.devices(), job.memory);
    let footage = Footage {
        material: &FakeReader::new(job.frames),
        sound: None,
        unchanged: &|| true,
    };
    let io = Io {
        output: Box::new(Mortal::new(output, life.clone())),
        terms: Terms::default(),
        cancel: &Cancel::new(),
        observer: &mut |_| {},
    };
    engine.expect("threads").run_footage(&plan, footage, io)?;
    Ok(())
}

/// Writes the files that are not in place.
fn write(
    folder: &JobFolder<MortalDisk>,
    plan: &Plan,
    placing: &mut Placing<MortalDisk>,
) -> Result<(), Death> {
    let (segments, about) = (folder.segments(plan)?, About::default());
    let finished = Finished {
        root: folder.root(),
        segments: &segments,
        plan,
        shape: Shape::Mp4,
        about: &about,
        cancel: &Cancel::new(),
    };
    for (rendition, file) in plan.renditions().iter().zip(FILES) {
        if placing.stands(file)? == Stands::Placed {
            continue;
        }
        let part = placing.part(file);
        let written = finished.write(rendition, &part, placing.disk())?;
        placing.place(file, &written)?;
    }
    Ok(())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder")
}

/// All files in a folder, hidden ones too.
fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        let bytes = fs::read(root.join(&name)).expect("it was listed");
        (name, bytes)
    };
    let names = files_below(root, &[]).expect("it is a folder");
    names.into_iter().map(read).collect()
}

/// What an undisturbed run makes.
fn undisturbed(job: &FakeJob) -> BTreeMap<String, Vec<u8>> {
    let folder = folder();
    live(folder.path(), job, &Life::endless()).expect("a whole job");
    let made = contents(folder.path());
    assert!(made.keys().eq(FILES), "{:?}", made.keys());
    let hidden = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(hidden, FILES.len(), "a folder is left");
    made
}

#[test]
fn a_job_that_dies_at_any_step_is_resumed() {
    let whole = undisturbed(&JOB);
    let mut step = 0;
    loop {
        let context = format!("after step {step}");
        let folder = folder();
        let life = Life::ending_at(step);
        let died = live(folder.path(), &JOB, &life);
        assert_eq!(died.is_err(), life.is_over(), "{context}: {died:?}");
        for file in FILES {
            let found = fs::read(folder.path().join(file)).ok();
            assert!(
                found.is_none_or(|found| found == whole[file]),
                "{context}: {file} is not whole"
            );
        }
        if !life.is_over() {
            break;
        }
        live(folder.path(), &JOB, &Life::endless())
            .unwrap_or_else(|error| panic!("{context}: {error:?}"));
        assert!(contents(folder.path()) == whole, "{context}");
        step += 1;
    }
    assert!(step > 100, "{step}");
}

#[test]
fn what_another_job_has_put_into_place_is_never_taken_for_this_one_s() {
    let (whole, other) = (undisturbed(&JOB), undisturbed(&OTHER));
    let mut met = 0;
    let mut step = 60;
    loop {
        let folder = folder();
        let life = Life::ending_at(step);
        live(folder.path(), &OTHER, &life).ok();
        if !life.is_over() {
            break;
        }
        let disk = MortalDisk(Life::endless());
        let placing = placing(folder.path(), &JOB.plan(), &disk);
        for file in FILES {
            let stands = placing.stands(file).expect("it can be read");
            let is_there = folder.path().join(file).exists();
            let due = if is_there {
                Stands::InTheWay
            } else {
                Stands::Nothing
            };
            assert_eq!(stands, due, "after step {step}");
            met += u32::from(is_there);
        }
        // As with --force.
        fs::remove_dir_all(Placing::work(folder.path(), NAME)).ok();
        live(folder.path(), &JOB, &Life::endless()).expect("a whole job");
        assert!(contents(folder.path()) == whole, "after step {step}");
        step += 1;
    }
    assert_ne!(whole, other);
    assert!(met > 10, "{met}");
}

/// A job that died when its files were in place.
fn placed() -> (tempfile::TempDir, Placing<MortalDisk>) {
    let folder = folder();
    let mut step = 60;
    while !folder.path().join(FILES[1]).exists() {
        live(folder.path(), &JOB, &Life::ending_at(step)).expect_err("it dies");
        step += 1;
    }
    let placing = placing(folder.path(), &JOB.plan(), &MortalDisk(Life::endless()));
    (folder, placing)
}

#[test]
fn a_file_is_known_by_its_bytes() {
    let (folder, placing) = placed();
    let path = folder.path().join(FILES[0]);
    let stands = || placing.stands(FILES[0]).expect("it can be read");
    assert_eq!(stands(), Stands::Placed);
    let mut bytes = fs::read(&path).expect("it is there");
    *bytes.last_mut().expect("it has bytes") ^= 1;
    fs::write(&path, &bytes).expect("a file");
    assert_eq!(stands(), Stands::InTheWay);
    *bytes.last_mut().expect("it has bytes") ^= 1;
    fs::write(folder.path().join("same.mp4"), &bytes).expect("a file");
    fs::remove_file(&path).expect("it is there");
    assert_eq!(stands(), Stands::Nothing);
    symlink("same.mp4", &path).expect("a link");
    assert_eq!(stands(), Stands::InTheWay);
}

#[test]
fn a_mark_that_is_damaged_says_nothing() {
    let (folder, _) = placed();
    let mark = Placing::mark(folder.path(), NAME);
    let text = fs::read(&mark).expect("it is there");
    for damaged in [&b""[..], b"{}", &text[..text.len() / 2]] {
        fs::write(&mark, damaged).expect("a file");
        let placing = placing(folder.path(), &JOB.plan(), &MortalDisk(Life::endless()));
        let stands = placing.stands(FILES[0]).expect("it can be read");
        assert_eq!(stands, Stands::InTheWay);
    }
}

#[test]
fn files_of_others_stay_in_the_folder_of_the_job() {
    let (folder, _) = placed();
    let work = Placing::work(folder.path(), NAME);
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    fs::write(elsewhere.join("1.tmp"), "mine").expect("a file");
    let foreign = ["mine.txt", "video/film.mp4", "video/fake-0/notes.txt"];
    for name in foreign {
        let path = work.join(name);
        fs::create_dir_all(path.parent().expect("it is below")).expect("a folder");
        fs::write(path, "mine").expect("a file");
    }
    let temporary = work.join(".rungs/tmp");
    fs::remove_dir(&temporary).ok();
    symlink(&elsewhere, &temporary).expect("a link");
    live(folder.path(), &JOB, &Life::endless()).expect("all was there");
    assert!(elsewhere.join("1.tmp").exists());
    let left = files_below(&work, &[]).expect("a folder");
    let due = [
        ".rungs/tmp",
        "mine.txt",
        "video/fake-0/notes.txt",
        "video/film.mp4",
    ];
    assert_eq!(left, due);
}
