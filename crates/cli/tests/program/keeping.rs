//! What is the user's stays the user's: inputs, files that no job has written, and what links lead to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rungs_testkit::clips::Clip;
use tempfile::TempDir;

use crate::support::{Answer, Running, files, package_line, ready, rungs};

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

fn done(answer: &Answer) {
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
}

#[test]
fn a_film_in_the_folder_of_its_package_stays() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let show = folder.path().join("show");
    let film = show.join("video/film.mp4");
    fs::create_dir_all(show.join("video")).expect("a folder");
    fs::copy(clip(), &film).expect("a copy");
    let whole = fs::read(&film).expect("a file");
    for rung in ["90p", "90p", "180p"] {
        let options = ["--rung", rung, "--force"];
        done(&rungs(package_line(&film, &show, &options)));
        assert!(fs::read(&film).expect("it stays") == whole);
    }
    // Of the package before nothing is left.
    assert!(!show.join("video/av1-90p").exists());
    assert!(show.join("video/av1-180p/init.mp4").exists());
}

#[test]
fn a_lock_alone_proves_nothing() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path();
    let mine = [
        ".rungs/lock",
        "text/notes.txt",
        "video/film.mp4",
        "video/av1-90p/notes.txt",
        "video/av1-90p/seg-mine.m4s",
        "storyboard/tile-00000.jpg",
        "audio/opus/seg-00000.m4s",
        "poster.jpg",
    ];
    for name in mine {
        let path = out.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(path, name).expect("a file");
    }
    let check = || {
        for name in mine.iter().skip(1) {
            let found = fs::read(out.join(name)).expect("it stays");
            assert_eq!(found, name.as_bytes(), "{name}");
        }
    };
    // What the package would write over is refused by its name.
    for (option, name) in [
        ("--poster", "poster.jpg"),
        ("--storyboard", "tile-00000.jpg"),
    ] {
        let options = ["--rung", "90p", option, "--force"];
        let answer = rungs(package_line(&clip(), out, &options));
        refused(&answer, name);
        check();
    }
    let options = ["--rung", "90p", "--force"];
    done(&rungs(package_line(&clip(), out, &options)));
    check();
}

#[test]
fn making_room_takes_what_the_journal_names() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path();
    let options = ["--rung", "180p", "--poster", "--storyboard"];
    done(&rungs(package_line(&clip(), out, &options)));
    let own = files(out);
    let mine = [
        "video/film.mp4",
        "video/av1-180p/seg-00099.m4s",
        "video/av1-180p/seg-00000.m4s.bak",
        "text/notes.txt",
        "storyboard/mine.jpg",
        ".rungs/tmp/mine.txt",
        ".rungs/notes.txt",
        "mine.jpg",
    ];
    for name in mine {
        let path = out.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(path, name).expect("a file");
    }
    let answer = rungs(package_line(&clip(), out, &["--rung", "90p", "--force"]));
    done(&answer);
    assert!(
        answer.stderr.contains("starting afresh"),
        "{}",
        answer.stderr
    );
    for name in mine {
        let found = fs::read(out.join(name)).expect("it stays");
        assert_eq!(found, name.as_bytes(), "{name}");
    }
    let now = files(out);
    for gone in own.keys().filter(|path| path.starts_with("video")) {
        assert!(!now.contains_key(gone), "{}", gone.display());
    }
    assert!(!now.contains_key(Path::new("poster.jpg")));
    assert!(!now.contains_key(Path::new("storyboard/tile-00000.jpg")));
    // A folder that leads elsewhere is none of a package.
    let (film, elsewhere) = (clip(), folder.path().join("elsewhere"));
    fs::create_dir_all(elsewhere.join("av1-90p")).expect("a folder");
    fs::create_dir(folder.path().join("linked")).expect("a folder");
    symlink(&elsewhere, folder.path().join("linked/video")).expect("a link");
    let linked = folder.path().join("linked");
    let answer = rungs(package_line(&film, &linked, &["--rung", "90p", "--force"]));
    refused(&answer, "linked/video");
    assert_eq!(files(&elsewhere).len(), 0);
}

/// What happens to a source while it is read.
type Change = fn(&Path);

#[test]
fn a_source_that_is_touched_is_the_same_and_one_that_is_changed_is_not() {
    if !ready() {
        return;
    }
    let touch: Change = |source| {
        let file = fs::File::options().append(true).open(source);
        let file = file.expect("a file");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("a date");
    };
    let change: Change = |source| {
        let date = fs::metadata(source).expect("a file").modified();
        let file = fs::File::options().write(true).open(source);
        let mut file = file.expect("a file");
        // A brand that nobody looks at.
        file.seek(SeekFrom::Start(20)).expect("it is long enough");
        file.write_all(b"x").expect("a byte");
        file.set_modified(date.expect("a date")).expect("a date");
    };
    let folder = tempfile::tempdir().expect("a folder");
    for (name, act, code) in [("touched", touch, 0), ("changed", change, 1)] {
        let source = folder.path().join(format!("{name}.mp4"));
        fs::copy(Clip::new().size(320, 180).seconds(4.0).make(), &source).expect("a copy");
        let options = [
            "--rung",
            "180p",
            "--speed",
            "4",
            "--jobs",
            "1",
            "--progress",
            "json",
        ];
        let line = package_line(&source, &folder.path().join(name), &options);
        let mut running = Running::start(line);
        running.wait_for("segment");
        act(&source);
        let answer = running.end();
        assert_eq!(answer.code, Some(code), "{name}: {}", answer.stderr);
        let told = answer.stderr.contains("changed while it was read");
        assert_eq!(told, code == 1, "{name}: {}", answer.stderr);
    }
}
