//! Damaged files go through whole jobs in processes of their own, and every one comes to an end that the engine has a word for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rungs_testkit::dice::Dice;
use rungs_testkit::mutate::keeper::{Keeper, PATIENCE, Tally};
use rungs_testkit::mutate::structure::Structure;
use rungs_testkit::mutate::trial::{Checks, Ending};
use rungs_testkit::mutate::{Change, Mutant, STRUCTURE, originals, store};
use rungs_testkit::tool;

/// Mutants of this test, unless `MUTANTS` says otherwise; half of them have another structure.
const MUTANTS: u64 = 500;
/// Seeds that ended badly once, whatever the reason was.
const REGRESSIONS: [u64; 9] = [
    3,
    260,
    470,
    5566,
    8494,
    14604,
    16908,
    28896,
    STRUCTURE + 106,
];

fn keeper(program: impl Into<PathBuf>, originals: &Path) -> Keeper {
    Keeper {
        program: program.into(),
        originals: originals.to_owned(),
        jobs: thread::available_parallelism().map_or(1, usize::from),
        patience: PATIENCE,
        checks: Checks::Some,
    }
}

#[test]
fn damage_comes_to_a_good_end() {
    if tool::require("ffmpeg").is_none() || tool::require("ffprobe").is_none() {
        return;
    }
    let asked = std::env::var("MUTANTS").ok();
    let count = asked
        .as_deref()
        .map_or(MUTANTS, |text| text.parse().expect("MUTANTS is a number"));
    let originals = originals().expect("clips can be made");
    assert!(
        originals.len() >= 8,
        "of {} containers only",
        originals.len()
    );
    let folder = tempfile::tempdir().expect("a folder");
    store(&originals, folder.path()).expect("files");
    let keeper = Keeper {
        // The full tests ask for a number of their own, and have the time.
        checks: if asked.is_some() {
            Checks::All
        } else {
            Checks::Some
        },
        ..keeper(env!("CARGO_BIN_EXE_rungs-mutate"), folder.path())
    };
    let half = count / 2;
    let mut tally = Tally::default();
    for seeds in [0..half, STRUCTURE..STRUCTURE + count - half] {
        tally.add(keeper.try_all(seeds).expect("children start"));
    }
    let mut bugs = tally.bugs;
    for seed in REGRESSIONS {
        bugs.extend(keeper.try_all(seed..seed + 1).expect("children start").bugs);
    }
    let told: Vec<_> = bugs
        .iter()
        .map(|(seed, why)| {
            format!(
                "rungs-mutate --seed {seed} ({}): {why}",
                Mutant::of(*seed, &originals).original
            )
        })
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    // Damage that nothing survives would try nothing but the refusals, and damage that nothing notices nothing at all.
    let share = |ending| *tally.endings.get(&ending).unwrap_or(&0) as f64 / count as f64;
    let good = share(Ending::Done) + share(Ending::Checked);
    assert!((0.2..0.95).contains(&good), "{:?}", tally.endings);
    assert!(share(Ending::Stopped) < 0.05, "{:?}", tally.endings);
}

/// What the parsers must find in the originals of a container: without it, its mutants would not change what they are there for.
const FOUND: [(&str, &[&str]); 6] = [
    (
        "mp4",
        &[
            "stts delta",
            "stts samples",
            "ctts offset",
            "stss sample",
            "stsc samples",
            "stsz size",
            "stco offset",
            "elst duration",
            "elst media time",
            "mdhd timescale",
            "trun count",
            "trun size",
            "tfdt time",
            "trex duration",
            "box size",
        ],
    ),
    (
        "mkv",
        &[
            "size of Cluster",
            "size of a block",
            "Timestamp of a cluster",
            "time of a block",
            "BlockDuration",
            "TimestampScale",
            "CueTime",
        ],
    ),
    (
        "ts",
        &[
            "PID",
            "continuity counter",
            "PCR",
            "PTS",
            "DTS",
            "PES length",
        ],
    ),
    ("vob", &["SCR", "PTS", "DTS", "PES length"]),
    (
        "flv",
        &[
            "tag time",
            "tag size",
            "composition time",
            "size of the last tag",
        ],
    ),
    (
        "avi",
        &[
            "idx1 offset",
            "idx1 size",
            "idx1 flags",
            "strh length",
            "chunk size",
        ],
    ),
];

#[test]
fn the_structure_of_each_container_is_found_and_changed() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let originals = originals().expect("clips can be made");
    for (container, names) in FOUND {
        let of = originals.iter().filter(|one| one.container() == container);
        let found: Vec<_> = of.map(|one| Structure::of(container, &one.bytes)).collect();
        let has = |name: &&&str| {
            let mut fields = found.iter().flat_map(|found| &found.fields);
            fields.any(|field| field.name == **name)
        };
        let missing: Vec<_> = names.iter().filter(|name| !has(name)).collect();
        assert!(missing.is_empty(), "{container} has no {missing:?}");
        let tables = found.iter().flat_map(|found| &found.tables);
        assert!(tables.count() > 0, "{container}");
    }
    let seeds = STRUCTURE..STRUCTURE + 200;
    let mutants: Vec<_> = seeds.map(|seed| Mutant::of(seed, &originals)).collect();
    for mutant in &mutants {
        assert!(!mutant.changes.is_empty(), "{}", mutant.original);
    }
    let all = || mutants.iter().flat_map(|mutant| &mutant.changes);
    assert!(all().any(|change| matches!(change, Change::Set(writes) if writes.len() > 1)));
    let entries = |doubled| move |change: &Change| matches!(change, Change::Entries { doubled: one, .. } if *one == doubled);
    assert!(all().any(entries(true)) && all().any(entries(false)));
}

#[test]
fn a_table_without_an_entry_is_as_valid_as_before() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    let originals = originals().expect("clips can be made");
    let all = originals.iter().filter(|one| one.container() == "mp4");
    let mut tried = 0;
    for original in all {
        for seed in 0..200 {
            let before = Structure::of("mp4", &original.bytes);
            let change = before.roll(&mut Dice::new(seed), &original.bytes);
            let Some(change) = change else {
                continue;
            };
            let Change::Entries { part, doubled, .. } = &change else {
                continue;
            };
            let after = change.apply(original.bytes.clone());
            let found = Structure::of("mp4", &after);
            let boxes = |found: &Structure| {
                found
                    .fields
                    .iter()
                    .filter(|field| field.name == "box size")
                    .count()
            };
            assert_eq!(boxes(&found), boxes(&before), "{change}");
            let moved = if *doubled {
                part.len as i64
            } else {
                -(part.len as i64)
            };
            assert_eq!(after.len() as i64, original.bytes.len() as i64 + moved);
            tried += 1;
        }
    }
    assert!(tried > 20);
}

/// A program that answers in its own way, for the keeper to keep.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("child");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

#[test]
fn crashes_hangs_and_nonsense_are_put_down_to_their_seeds() {
    let folder = tempfile::tempdir().expect("a folder");
    // The answers of one child to seeds 0, 1, 2, …
    let text = "while read seed; do case $seed in 1) echo last words >&2; kill -SEGV $$;; 3) exec sleep 60;; 5) echo hello;; 6) echo checking; echo done;; *) echo done;; esac; done";
    let text = text.replace("echo done", "echo 'done '");
    let keeper = Keeper {
        jobs: 2,
        patience: Duration::from_secs(2),
        ..keeper(script(folder.path(), &text), folder.path())
    };
    let tally = keeper.try_all(0..7).expect("children start");
    let seeds: Vec<_> = tally.bugs.iter().map(|(seed, _)| *seed).collect();
    assert_eq!(seeds, [1, 3, 5], "{:?}", tally.bugs);
    let why = |place: usize| tally.bugs[place].1.as_str();
    assert!(
        why(0).contains("SIGSEGV") && why(0).contains("last words"),
        "{}",
        why(0)
    );
    assert_eq!(why(1), "hangs");
    assert!(why(2).contains("hello"), "{}", why(2));
    assert_eq!(tally.endings[&Ending::Done], 4);
    assert_eq!(tally.longest.1, 3);
}
