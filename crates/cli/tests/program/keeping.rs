//! What is the user's stays the user's: inputs, files that no job has written, and what links lead to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rungs_testkit::clips::Clip;
use tempfile::TempDir;

use crate::support::{Answer, files, package_line, ready, rungs};

fn clip() -> PathBuf {
    Clip::new().size(320, 180).frames(24).make()
}

fn refused(answer: &Answer, reason: &str) {
    assert_eq!(answer.code, Some(3), "{}{}", answer.stdout, answer.stderr);
    for part in ["error: ", "  try: ", reason] {
        assert!(answer.stderr.contains(part), "{part:?}: {}", answer.stderr);
    }
}

fn line(words: &[&str], paths: &[&Path]) -> Vec<OsString> {
    let mut paths = paths.iter();
    let word = |word: &&str| match *word {
        "PATH" => paths.next().expect("a path for each").into(),
        word => word.into(),
    };
    words.iter().map(word).collect()
}

/// A folder in which names of outputs are a film that is an input.
struct Taken {
    folder: TempDir,
}

impl Taken {
    fn new() -> Self {
        let taken = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let at = |name: &str| taken.at(name);
        let film = taken.film();
        fs::copy(clip(), &film).expect("a copy");
        fs::copy(clip(), at("second.mp4")).expect("a copy");
        fs::write(at("logo.png"), "no image").expect("a file");
        for name in [
            "hard.mp4",
            "single/video/av1-90p.mp4",
            "segments/video/av1-90p/seg-00000.m4s",
            "top/poster.jpg",
            "private/.rungs/parts/film.mp4",
            "lock/.rungs/lock",
            ".new.mp4.rungs/new.mp4.part",
        ] {
            let to = at(name);
            fs::create_dir_all(to.parent().expect("a folder")).expect("it is made");
            fs::hard_link(&film, &to).expect("a link");
        }
        fs::create_dir_all(at("many")).expect("a folder");
        symlink(&film, at("soft.mp4")).expect("a link");
        symlink(&film, at("many/film-90p.mp4")).expect("a link");
        taken
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn film(&self) -> PathBuf {
        self.at("film.mp4")
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(self.folder.path())
    }
}

#[test]
fn a_file_that_is_an_input_is_no_output() {
    if !ready() {
        return;
    }
    let taken = Taken::new();
    let (film, second, before) = (taken.film(), taken.at("second.mp4"), taken.files());
    for options in [&[][..], &["--force"]] {
        for out in ["film.mp4", "hard.mp4", "soft.mp4", "many", "new.mp4"] {
            let all = ["transcode", "PATH", "--rung", "90p", "-o", "PATH"];
            let all = [&all[..], options].concat();
            refused(&rungs(line(&all, &[&film, &taken.at(out)])), "is the input");
        }
        let join = [&["join", "PATH", "PATH", "-o", "PATH"], options].concat();
        for out in ["hard.mp4", "second.mp4"] {
            let answer = rungs(line(&join, &[&film, &second, &taken.at(out)]));
            refused(&answer, "is the input");
        }
    }
    for option in ["--report", "--trace"] {
        let words = ["transcode", "PATH", "-o", "PATH", option, "PATH"];
        let paths = [&film, &taken.at("out.mp4"), &taken.at("hard.mp4")];
        let answer = rungs(line(&words, &paths.map(PathBuf::as_path)));
        refused(&answer, "is the input");
    }
    assert_eq!(taken.files(), before);
}

#[test]
fn a_package_that_would_cover_an_input_is_refused() {
    if !ready() {
        return;
    }
    let taken = Taken::new();
    let (film, before) = (taken.film(), taken.files());
    for (out, options) in [
        ("single", &["--single-file"][..]),
        ("segments", &[]),
        ("top", &[]),
        ("private", &[]),
        ("lock", &[]),
    ] {
        let options = [&["--rung", "90p", "--force"], options].concat();
        let answer = rungs(package_line(&film, &taken.at(out), &options));
        refused(&answer, "is the input");
    }
    let logo = taken.at("logo.png");
    let overlay = format!("{}:0:0", logo.display());
    let trace = logo.to_str().expect("a path");
    let options = ["--overlay", &overlay, "--trace", trace];
    let answer = rungs(package_line(&film, &taken.at("none"), &options));
    refused(&answer, "is the input");
    assert_eq!(taken.files(), before);
}
