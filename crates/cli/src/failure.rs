//! How an error is told to a person: what happened, why, what to do; and the exit code for scripts.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rungs_engine::error::MORE_PROCESSES;
use rungs_engine::journal::JournalError;
use rungs_engine::{Error, StartError};

use crate::patient::Patient;

/// Something that ends the program.
#[derive(Debug)]
pub(crate) struct Problem {
    what: String,
    why: Vec<String>,
    advice: Option<String>,
    code: u8,
}

/// The job failed.
pub(crate) const FAILED: u8 = 1;
/// The input or the request was refused before work began.
const REFUSED: u8 = 3;
/// How long an error waits for a reader that does not read.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Characters of advice that are shown.
const LONGEST_ADVICE: usize = 10_000;
/// Interrupted, as shells say it: 128 and the number of SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

impl Problem {
    /// The request was refused before any work.
    pub(crate) fn refused(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: Vec::new(),
            advice: Some(advice.into()),
            code: REFUSED,
        }
    }

    /// What is in the folder was made of another input, or may have been: this one cannot be known again.
    pub(crate) fn comes_once(input: &str, folder: &Path) -> Self {
        let name = folder.display();
        Self::refused(
            format!("{input} comes once, so what is in {name} cannot be gone on with or added to"),
            "give another output, or --force to remove what is there and start afresh",
        )
    }

    /// What was to be done or checked has failed.
    pub(crate) fn failed(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            code: FAILED,
            ..Self::refused(what, advice)
        }
    }

    /// Something could not be written.
    pub(crate) fn output(what: &str, error: &io::Error) -> Self {
        Self {
            what: format!("cannot write to {what}"),
            why: vec![error.to_string()],
            advice: None,
            code: FAILED,
        }
    }

    /// The system did not give what the program needs.
    pub(crate) fn system(what: &str, error: &io::Error) -> Self {
        Self::failed(format!("the system gives no {what}"), MORE_PROCESSES)
            .because(error.to_string())
    }

    /// Says which file it is about.
    pub(crate) fn about(mut self, path: &Path) -> Self {
        self.what = format!("{}: {}", path.display(), self.what);
        self
    }

    /// Adds a reason.
    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        self.why.push(reason.into());
        self
    }

    /// Adds the causes of an error.
    pub(crate) fn because_of(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = error.source();
        while let Some(cause) = next {
            self.why.push(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// The file cannot be read as media.
    pub(crate) fn source(error: rungs_media::Error) -> Self {
        Error::from(rungs_engine::error::Refusal::Source(error)).into()
    }

    /// Says what to do about it, whatever else was said.
    pub(crate) fn instead_try(mut self, advice: &str) -> Self {
        self.advice = Some(advice.to_owned());
        self
    }

    /// Says what to do about it, if nothing better is known.
    pub(crate) fn or_try(mut self, advice: &str) -> Self {
        self.advice.get_or_insert_with(|| advice.to_owned());
        self
    }

    /// Prints it to standard error.
    pub(crate) fn tell(self) -> ExitCode {
        say(&format!("error: {}", clean(&self.what)));
        for reason in &self.why {
            say(&format!("  because: {}", clean(reason)));
        }
        if let Some(advice) = &self.advice {
            // It may have an address in it that is to be typed whole.
            say(&format!("  try: {}", clean_up_to(LONGEST_ADVICE, advice)));
        }
        ExitCode::from(self.code)
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        Self::refused(error.to_string(), error.advice()).because_of(&error)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let advice = error.advice();
        let code = match &error {
            Error::Refused(_) => REFUSED,
            Error::Failed(_) => FAILED,
            Error::Interrupted => INTERRUPTED,
        };
        // What the user wants to know first is what was refused or failed, not that something was.
        let mut chain = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if chain.last() != Some(&text) {
                chain.push(text);
            }
            next = cause.source();
        }
        let what = if chain.is_empty() {
            error.to_string()
        } else {
            chain.remove(0)
        };
        Self {
            what,
            why: chain,
            advice,
            code,
        }
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Policy(error) => {
                Self::refused(error.to_string(), "see `rungs devices` for what there is")
            }
            StartError::Threads(error) => Self::system("more threads", &error),
        }
    }
}

/// Prints a line to standard error. That nobody can read it, or its disk is full, ends nothing.
pub(crate) fn say(line: &str) {
    Patient::new(io::stderr()).write_within(LAST_WORDS, format!("{line}\n").as_bytes());
}

/// Text from files (names, tags, codecs) may hold anything; a terminal should not. An address may stand where none is expected, and keeps its
/// password for itself.
pub(crate) fn clean(text: &str) -> String {
    const LONGEST: usize = 600;
    clean_up_to(LONGEST, &without_passwords(text))
}

/// The text, with each address in it without its name and password.
fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |c: char| "/?#\"'".contains(c) || c.is_whitespace();
        let authority = &part[..part.find(ends).unwrap_or(part.len())];
        let secret = authority.rfind('@').map_or(0, |at| at + 1);
        all.push_str("://");
        all.push_str(&part[secret..]);
    }
    all
}

fn clean_up_to(longest: usize, text: &str) -> String {
    let short: String = text.chars().take(longest).collect();
    escaped(&short)
}

/// The text with its control characters as escapes, such as `\u{1b}`: those of terminals (C0, C1, DEL), and those that turn the direction of
/// writing or break lines.
pub(crate) fn escaped(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) {
            all.extend(c.escape_default());
        } else {
            all.push(c);
        }
    }
    all
}

fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(clean("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(clean("\u{9b}\u{7f}\u{202e}é"), "\\u{9b}\\u{7f}\\u{202e}é");
        assert_eq!(clean(&"x".repeat(10_000)).len(), 600);
    }

    #[test]
    fn addresses_are_told_without_passwords() {
        let shown = [
            ("at http://me:word@host/a@b: no", "at http://host/a@b: no"),
            (
                "\"ftp://me@host\" and x@y://a",
                "\"ftp://host\" and x@y://a",
            ),
            ("rtsp://a:b@c@host?q=@", "rtsp://host?q=@"),
            ("http://host/x, me@host", "http://host/x, me@host"),
        ];
        for (text, wanted) in shown {
            assert_eq!(clean(text), wanted);
        }
    }

    #[test]
    fn the_first_cause_is_what_happened() {
        let refusal = rungs_engine::error::Refusal::NoVideo {
            found: "it has sound (mp3)".to_owned(),
        };
        let problem = Problem::from(Error::from(refusal));
        assert_eq!(problem.code, REFUSED);
        assert!(problem.what.starts_with("the source has no video"));
        assert!(problem.advice.is_some());
    }
}
