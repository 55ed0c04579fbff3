//! Clips that nobody makes on purpose, each with the end that it has to come to: a whole package, one with a warning, or the right error.
//!
//! A row says how `ffmpeg` makes the clip, what is done to its bytes then, and how the program has to end. All rows of a table are
//! tried before the test says which of them went otherwise.

mod damage;
mod sizes;
mod sound;
mod streams;
mod time;

use std::fs;
use std::path::{Path, PathBuf};

use rungs_testkit::checker::{self, Expectation};
use rungs_testkit::{clips, tool};

use crate::support::{Answer, package_line, ready, report, rungs};

/// Words in recipes that stand for more.
const SHORT: [(&str, &str); 3] = [
    ("{v}", "-f lavfi -i testsrc2=s=96x64:r=25:d=1"),
    ("{a}", "-f lavfi -i sine=f=440:r=48000:d=1"),
    ("{x}", "-c:v libx264 -preset ultrafast -g 12"),
];

/// Options that are given unless a row has its own.
const USUAL: [(&str, &str); 4] = [
    ("--codec", "h264"),
    ("--speed", "13"),
    ("--crf", "30"),
    ("--rung", "source"),
];

/// A clip, and how the program has to end.
struct Odd {
    /// What is odd about it.
    name: &'static str,
    /// The file's extension.
    kind: &'static str,
    /// What `ffmpeg` is told, before the name of its output. Parts between ` | ` are files, which are put one after the other.
    recipe: &'static str,
    /// What is done to its bytes.
    spoil: fn(Vec<u8>) -> Vec<u8>,
    /// More options for the program.
    options: &'static [&'static str],
    /// How it ends.
    end: End,
}

/// An end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// A whole package of so many pictures without a warning.
    Whole(u64),
    /// A whole package of so many pictures with this kind of warning among others.
    Warned(u64, &'static str),
    /// A whole package with this kind of warning, of as many pictures as could be saved: at least one.
    Saved(&'static str),
    /// A whole package of what could be saved, at least one picture; whether the file tells that there was more depends on its kind.
    Part,
    /// Refused before anything is written, with these words in the message.
    Refused(&'static str),
    /// Failed, with these words in the message.
    Failed(&'static str),
}
use End::{Failed, Part, Refused, Saved, Warned, Whole};

/// A clip as `ffmpeg` makes it.
const fn odd(name: &'static str, (kind, recipe): (&'static str, &'static str), end: End) -> Odd {
    Odd {
        name,
        kind,
        recipe,
        spoil: |bytes| bytes,
        options: &[],
        end,
    }
}

impl Odd {
    const fn with(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }

    const fn spoilt(self, spoil: fn(Vec<u8>) -> Vec<u8>) -> Self {
        Self { spoil, ..self }
    }

    fn make(&self, folder: &Path) -> PathBuf {
        let mut bytes = Vec::new();
        for recipe in self.recipe.split(" | ").filter(|recipe| !recipe.is_empty()) {
            let words = SHORT
                .iter()
                .fold(recipe.to_owned(), |words, (short, long)| {
                    words.replace(short, long)
                });
            let words = words.replace("{99 sounds}", &"-map 1 ".repeat(99));
            let made = clips::of_words(&words, self.kind);
            let made =
                made.unwrap_or_else(|error| panic!("{}: {}", self.name, tool::chain(&error)));
            bytes.extend(fs::read(made).expect("it was made"));
        }
        let path = folder.join(format!("source.{}", self.kind));
        fs::write(&path, (self.spoil)(bytes)).expect("a file");
        path
    }

    /// Tries it, and says what was not as it has to be.
    fn differs(&self) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("a folder");
        let source = self.make(folder.path());
        let out = folder.path().join("out");
        let mut options = self.options.to_vec();
        for (name, value) in USUAL {
            if !self.options.contains(&name) {
                options.extend([name, value]);
            }
        }
        let answer = rungs(package_line(&source, &out, &options));
        told_well(&answer)?;
        match self.end {
            Refused(words) => ended_with(&answer, (3, words)).and_then(|()| absent(&out)),
            Failed(words) => ended_with(&answer, (1, words)),
            Whole(frames) => whole(&answer, &out, Some(frames)).and_then(|()| warned(&out, None)),
            Warned(frames, kind) => {
                whole(&answer, &out, Some(frames)).and_then(|()| warned(&out, Some(kind)))
            }
            Part => whole(&answer, &out, None),
            Saved(kind) => whole(&answer, &out, None).and_then(|()| warned(&out, Some(kind))),
        }
    }
}

fn ended_with(answer: &Answer, (code, words): (i32, &str)) -> Result<(), String> {
    if answer.code != Some(code) {
        return Err(format!("ended with {:?}: {}", answer.code, answer.stderr));
    }
    if answer.stderr.contains(words) {
        return Ok(());
    }
    Err(format!("does not say {words:?}: {}", answer.stderr))
}

/// Whatever the end, a person can read it.
fn told_well(answer: &Answer) -> Result<(), String> {
    let text = &answer.stderr;
    let bare = text.chars().any(|c| c.is_control() && c != '\n');
    if text.contains("panicked") || text.contains("a bug in rungs") || bare || text.len() > 4000 {
        return Err(format!("is told badly: {text:?}"));
    }
    if answer.code != Some(0) && !text.contains("error: ") {
        return Err(format!("ended with {:?} and no error: {text}", answer.code));
    }
    Ok(())
}

fn absent(out: &Path) -> Result<(), String> {
    if out.exists() {
        return Err("was refused, and left a folder".to_owned());
    }
    Ok(())
}

fn whole(answer: &Answer, out: &Path, frames: Option<u64>) -> Result<(), String> {
    if answer.code != Some(0) {
        return Err(format!("ended with {:?}: {}", answer.code, answer.stderr));
    }
    let expect = Expectation {
        renditions: Some(1),
        ..Expectation::default()
    };
    let checked = checker::check(out, &expect).map_err(|findings| {
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })?;
    if frames.is_some_and(|frames| frames != checked.frames) {
        return Err(format!(
            "has {} pictures: {}",
            checked.frames, answer.stderr
        ));
    }
    Ok(())
}

/// Asks for a warning of this kind, or for none at all.
fn warned(out: &Path, kind: Option<&str>) -> Result<(), String> {
    let warnings = report(out)["warnings"].clone();
    let list = warnings.as_array().ok_or("has no list of warnings")?;
    let right = match kind {
        None => list.is_empty(),
        Some(kind) => list.iter().any(|warning| warning["kind"] == kind),
    };
    if right {
        return Ok(());
    }
    Err(format!("warns of {warnings}"))
}

/// Tries all rows of a table.
fn all(table: &[Odd]) {
    if !ready() {
        return;
    }
    let wrong: Vec<_> = table
        .iter()
        .filter_map(|odd| {
            Some(format!(
                "{} ({}) {:?}: {}",
                odd.name,
                odd.kind,
                odd.end,
                odd.differs().err()?
            ))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        table.len(),
        wrong.join("\n")
    );
}
