//! Damaged files go through whole jobs in processes of their own, and every one comes to an end that the engine has a word for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rungs_testkit::mutate::keeper::{Keeper, PATIENCE};
use rungs_testkit::mutate::trial::Ending;
use rungs_testkit::mutate::{Mutant, originals, store};
use rungs_testkit::tool;

/// Mutants of this test, unless `MUTANTS` says otherwise.
const MUTANTS: u64 = 500;
/// Seeds that ended badly once, whatever the reason was.
const REGRESSIONS: [u64; 6] = [3, 260, 470, 5566, 8494, 28896];

fn keeper(program: impl Into<PathBuf>, originals: &Path) -> Keeper {
    Keeper {
        program: program.into(),
        originals: originals.to_owned(),
        jobs: thread::available_parallelism().map_or(1, usize::from),
        patience: PATIENCE,
    }
}

#[test]
fn damage_comes_to_a_good_end() {
    if tool::require("ffmpeg").is_none() || tool::require("ffprobe").is_none() {
        return;
    }
    let count = std::env::var("MUTANTS").ok();
    let count = count.map_or(MUTANTS, |text| text.parse().expect("MUTANTS is a number"));
    let originals = originals().expect("clips can be made");
    assert!(
        originals.len() >= 8,
        "of {} containers only",
        originals.len()
    );
    let folder = tempfile::tempdir().expect("a folder");
    store(&originals, folder.path()).expect("files");
    let keeper = keeper(env!("CARGO_BIN_EXE_rungs-mutate"), folder.path());
    let tally = keeper.try_all(0..count).expect("children start");
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
    let text = "while read seed; do case $seed in 1) echo last words >&2; kill -SEGV $$;; 3) exec sleep 60;; 5) echo hello;; *) echo done;; esac; done";
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
