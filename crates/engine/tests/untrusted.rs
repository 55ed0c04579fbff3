//! Folders that somebody else has prepared: what they name is checked, no link in them is followed, and nothing that they say ends the program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rungs_engine::journal::{
    Belongings, Depth, JobFolder, JobRecord, JournalError, Verified, verify,
};
use rungs_engine::plan::{AudioMode, AudioPlan, TextPlan};
use rungs_engine::stills::{Every, PosterTime, StillsSpec};
use rungs_engine::{Cancel, Engine, Footage, Io, Plan, Spec, Terms};
use rungs_media::Source;
use rungs_package::output::Output;
use rungs_package::track::AudioCodec;
use rungs_testkit::digest::package_digest;
use rungs_testkit::fake::{FakeBackend, FakeJob, FakeReader};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

const JOB: FakeJob = FakeJob {
    frames: 60,
    frames_per_segment: 25,
    renditions: 2,
    sessions: 2,
    memory: 200_000,
};

const RECORD: &str = ".rungs/plan.json";
const JOURNAL: &str = ".rungs/journal.sqlite";

fn record(plan: &Plan) -> JobRecord {
    let source = Source::from(b"pictures".to_vec());
    JobRecord::new(&source, &Spec::default(), plan).expect("memory can be read")
}

/// Makes what is left of a job.
fn make(plan: &Plan, output: impl Output + 'static) {
    let engine = Engine::with_devices(Arc::new(FakeBackend::sound()), JOB.devices(), JOB.memory);
    let made = engine.expect("threads").run_footage(
        plan,
        Footage {
            material: &FakeReader::new(JOB.frames),
            sound: None,
            unchanged: &|| true,
        },
        Io {
            output: Box::new(output),
            terms: Terms::default(),
            cancel: &Cancel::new(),
            observer: &mut |_| {},
        },
    );
    made.expect("a whole job");
}

/// A finished package in a folder beside another one, of which the package knows nothing.
struct Package {
    all: TempDir,
}

impl Package {
    fn new() -> Self {
        let all = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .expect("a folder");
        let package = Self { all };
        let root = package.root();
        fs::create_dir(package.all.path().join("other")).expect("a folder");
        fs::write(package.all.path().join("other/1.tmp"), "mine").expect("a file");
        fs::write(package.all.path().join("other/film"), "mine").expect("a file");
        let folder = JobFolder::claim(&root).expect("nobody else is there");
        let plan = JOB.plan();
        make(
            &plan,
            folder.begin(&record(&plan)).expect("an empty folder"),
        );
        package
    }

    fn root(&self) -> std::path::PathBuf {
        self.all.path().join("out")
    }

    fn check_other(&self, context: &str) {
        let other = self.all.path().join("other");
        let names = fs::read_dir(&other).expect("a folder").count();
        assert_eq!(names, 2, "{context}");
        for name in ["1.tmp", "film"] {
            let text = fs::read(other.join(name)).expect("a file");
            assert_eq!(text, b"mine", "{context}: {name}");
        }
    }

    fn execute(&self, statement: &str) {
        let journal = Connection::open(self.root().join(JOURNAL)).expect("a journal");
        journal.execute_batch(statement).expect(statement);
    }

    fn digest(&self) -> String {
        package_digest(&self.root())
            .expect("it is there")
            .to_string()
    }
}

/// Resumes whatever is there, as far as it goes without making anything.
fn resume(root: &Path) -> Result<(), JournalError> {
    let folder = JobFolder::claim(root)?;
    let Some(record) = folder.record()? else {
        return Ok(());
    };
    folder.stand(&record.plan)?;
    folder.segments(&record.plan)?;
    folder.resume(&record.plan).map(drop)
}

fn look(root: &Path) -> Result<Verified, JournalError> {
    verify(root, Depth::Boxes, &Cancel::new())
}

#[test]
fn no_link_is_followed() {
    for (name, to) in [
        (".rungs", "other"),
        (".rungs/tmp", "other"),
        (".rungs/plan.json", "other/film"),
        (".rungs/journal.sqlite", "other/film"),
        (".rungs/journal.sqlite-journal", "other/film"),
        (".rungs/lock", "other/film"),
        ("video", "other"),
        ("video/fake-0", "other"),
        ("video/fake-0/seg-00001.m4s", "other/film"),
        ("master.m3u8", "other/film"),
    ] {
        let package = Package::new();
        let (root, to) = (package.root(), package.all.path().join(to));
        let at = root.join(name);
        if at.is_dir() {
            fs::rename(&at, package.all.path().join("aside")).expect("it moves");
        } else if at.exists() {
            fs::remove_file(&at).expect("a file");
        }
        symlink(&to, &at).expect("a link");
        let verified = look(&root);
        let is_clean = |found: &Verified| found.findings.is_empty();
        // Temporary files are none of a check's business.
        let is_seen = !verified.as_ref().is_ok_and(is_clean) || name == ".rungs/tmp";
        assert!(is_seen, "{name}: {verified:?}");
        package.check_other(name);
        let resumed = resume(&root);
        package.check_other(name);
        // A file that is a link is replaced, and a folder that is one refused.
        let replaced = name.contains("m4s") || name.contains("m3u8");
        assert_eq!(resumed.is_ok(), replaced, "{name}: {resumed:?}");
        if let Ok(own) = Belongings::of(&root) {
            own.remove().ok();
        }
        package.check_other(name);
    }
}

#[test]
fn no_file_with_another_name_is_written_to() {
    for name in [".rungs/lock", ".rungs/journal.sqlite", ".rungs/tmp/1.tmp"] {
        let package = Package::new();
        let root = package.root();
        fs::remove_file(root.join(name)).ok();
        fs::hard_link(package.all.path().join("other/film"), root.join(name)).expect("a link");
        let resumed = resume(&root);
        assert_eq!(
            resumed.is_ok(),
            name.contains("/tmp/"),
            "{name}: {resumed:?}"
        );
        package.check_other(name);
    }
}

#[test]
fn names_in_rows_are_those_of_the_plan() {
    for track in [
        "../x",
        "video/../../x",
        "/tmp/x",
        "video/fake-9",
        "video",
        "",
        ".rungs/tmp",
        "text/eng",
        "poster/x",
    ] {
        let package = Package::new();
        let root = package.root();
        package.execute(&format!(
            "UPDATE segments SET track = '{track}' WHERE track = 'video/fake-1'"
        ));
        for result in [look(&root).map(drop), resume(&root)] {
            assert!(
                matches!(result, Err(JournalError::Unfit { .. })),
                "{track}: {result:?}"
            );
        }
        Belongings::of(&root)
            .expect("it can be listed")
            .remove()
            .expect("it goes");
        package.check_other(track);
        assert_eq!(
            fs::read_dir(package.all.path()).expect("a folder").count(),
            2
        );
    }
}

/// All that a repair of a package with one other number in its journal comes to is the package as it was, or a refusal.
#[test]
fn a_row_that_is_not_what_its_file_is_never_gets_into_a_playlist() {
    let whole = Package::new().digest();
    let one = "WHERE track = 'video/fake-1' AND place = 1";
    let columns = [
        "decode_time",
        "duration",
        "samples",
        "bytes",
        "key_end",
        "last_sample",
    ];
    let segments = columns.map(|column| ("segments", column, one));
    let columns = ["start", "finish", "frames", "is_last"];
    let spans = columns.map(|column| ("spans", column, "WHERE place = 1"));
    let last = ("spans", "is_last", "WHERE place = 2");
    for (table, column, which) in segments.into_iter().chain(spans).chain([last]) {
        for value in ["0", "1", "-1", "2000", "1000000000000000000", "NULL"] {
            let context = format!("{table}.{column} = {value}");
            let package = Package::new();
            let root = package.root();
            let journal = Connection::open(root.join(JOURNAL)).expect("a journal");
            let statement = format!("UPDATE {table} SET {column} = {value} {which}");
            // Some columns take no NULL.
            if journal.execute(&statement, []).is_err() {
                continue;
            }
            drop(journal);
            let found = look(&root);
            let Ok(folder) = JobFolder::claim(&root) else {
                panic!("{context}: it is not held");
            };
            let plan = folder.record().expect("a record").expect("a record").plan;
            match folder.resume(&plan) {
                Err(error) => assert!(
                    matches!(
                        error,
                        JournalError::Unfit { .. } | JournalError::Database { .. }
                    ),
                    "{context}: {error:?}"
                ),
                Ok(output) => {
                    make(&plan, output);
                    assert_eq!(package.digest(), whole, "{context}");
                    let now = look(&root).expect("it can be read");
                    assert_eq!(now.findings, [], "{context}: {found:?}");
                }
            }
        }
    }
}

/// A plan with all that a plan may have. Nothing of it has been made but the video.
fn with_everything(plan: &mut Plan) {
    plan.audio.push(AudioPlan {
        stream: 1,
        name: "eng-aac".to_owned(),
        mode: AudioMode::Copy,
        codec: AudioCodec::Aac {
            config: vec![0x11, 0x90],
        },
        sample_rate: 48_000,
        channels: 2,
        priming: 1024,
        frame: 1024,
        language: Some("eng".to_owned()),
        label: None,
        adts: false,
        gain: 0,
    });
    plan.text.push(TextPlan {
        stream: 2,
        name: "eng".to_owned(),
        language: Some("eng".to_owned()),
        label: None,
        forced: false,
    });
    plan.stills = StillsSpec {
        storyboard: Some(Every::Seconds(1.0)),
        poster: Some(PosterTime::At(1.0)),
    };
}

/// The places of all values that hold no others.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let named = |(key, value): (&String, &Value)| {
                leaves(value, &format!("{at}/{}", key.replace('/', "~1")), found);
            };
            map.iter().for_each(named);
        }
        // Bytes of a header: a few stand for all.
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate().take(4) {
                leaves(value, &format!("{at}/{index}"), found);
            }
            found.push(at.to_owned());
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn nothing_that_a_plan_says_ends_the_program() {
    let package = Package::new();
    let root = package.root();
    let mut plan = JOB.plan();
    with_everything(&mut plan);
    let whole = serde_json::to_value(record(&plan)).expect("JSON");
    let mut found = Vec::new();
    leaves(&whole, "", &mut found);
    assert!(found.len() > 100, "{found:?}");
    let values = [
        json!(0),
        json!(-1),
        json!(1),
        json!(1_000_000_000_000_000_000_i64),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(4_294_967_295_u32),
        json!(1e308),
        json!(-0.5),
        json!("../x"),
        json!(""),
        json!([]),
        Value::Null,
    ];
    let journal = fs::read(root.join(JOURNAL)).expect("a journal");
    let mut ends = BTreeMap::new();
    for place in &found {
        for value in &values {
            let mut changed = whole.clone();
            *changed.pointer_mut(place).expect("it was found") = value.clone();
            let text = serde_json::to_vec(&changed).expect("JSON");
            fs::write(root.join(RECORD), text).expect("a file");
            let end = match look(&root) {
                Ok(_) => "read",
                Err(JournalError::Unfit { .. }) => "unfit",
                Err(JournalError::Record { .. } | JournalError::Version { .. }) => "no record",
                Err(_) => "other",
            };
            *ends.entry(end).or_insert(0) += 1;
            resume(&root).ok();
            fs::write(root.join(JOURNAL), &journal).expect("a file");
        }
    }
    package.check_other("after all");
    assert!(!package.all.path().join("x").exists());
    assert!(ends["unfit"] > 50 && ends["read"] > 50, "{ends:?}");
}

#[test]
fn absurd_numbers_are_told_by_their_names() {
    for (place, value, told) in [
        (
            "/plan/grid/segment",
            json!(-96_000),
            "the segment is -96000",
        ),
        (
            "/plan/grid/segment",
            json!(1_000_000_000_000_000_000_i64),
            "the segment is 1000000000000000000",
        ),
        (
            "/plan/grid/timescale/ticks_per_second",
            json!(0),
            "the timescale is 0",
        ),
        ("/plan/source/frame_rate", json!(0.0), "the frame rate is 0"),
        (
            "/plan/renditions/0/size/width",
            json!(0),
            "a side of a rendition is 0",
        ),
        (
            "/plan/renditions/0/name",
            json!("../x"),
            "\"../x\" is no name",
        ),
        (
            "/spec/segment_seconds",
            json!(0),
            "its settings cannot be used",
        ),
    ] {
        let package = Package::new();
        let path = package.root().join(RECORD);
        let text = fs::read(&path).expect("a file");
        let mut record: Value = serde_json::from_slice(&text).expect("JSON");
        *record.pointer_mut(place).expect(place) = value;
        fs::write(&path, serde_json::to_vec(&record).expect("JSON")).expect("a file");
        for result in [look(&package.root()).map(drop), resume(&package.root())] {
            match result {
                Err(JournalError::Unfit { source, .. }) => {
                    assert!(source.to_string().contains(told), "{place}: {source}");
                }
                other => panic!("{place}: {other:?}"),
            }
        }
    }
}

/// A program that kept less of each segment made it.
#[test]
fn a_journal_of_the_version_before_is_read_and_resumed() {
    let package = Package::new();
    let (root, whole) = (package.root(), package.digest());
    package.execute("ALTER TABLE segments DROP COLUMN last_sample; PRAGMA user_version = 2");
    assert_eq!(look(&root).expect("it can be read").findings, []);
    fs::remove_file(root.join("video/fake-1/seg-00001.m4s")).expect("it was there");
    let folder = JobFolder::claim(&root).expect("nobody else is there");
    let plan = folder.record().expect("a record").expect("a record").plan;
    make(&plan, folder.resume(&plan).expect("it can be resumed"));
    assert_eq!(package.digest(), whole);
    assert_eq!(look(&root).expect("it can be read").findings, []);
    // Only what was made again is known better.
    package.execute(
        "CREATE TEMP TABLE known AS SELECT count(last_sample) AS n FROM segments;
         CREATE TEMP TABLE one (n CHECK (n = 1)); INSERT INTO one SELECT n FROM known",
    );
}
