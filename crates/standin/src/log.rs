//! The log: one line for each thing, `PID KIND TEXT`. It is whole lines in the order of the calls, also of several processes.

use std::fs::OpenOptions;
use std::io::Write;
use std::{env, fmt, process};

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for, and what came of it.
    Asked,
    /// A fault that the settings ask for.
    Planned,
    /// What a real driver refuses or breaks on. A test with such a line fails.
    Misuse,
}

impl Kind {
    /// The word in the line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Planned => "planned",
            Self::Misuse => "misuse",
        }
    }
}

/// Appends a line to the file that `RUNGS_STANDIN_LOG` names. Without the variable nothing is written; a file that cannot be
/// written to ends the process, as a test that relies on the log must not pass without it.
///
/// # Panics
/// If the file cannot be written to.
pub fn line(kind: Kind, text: fmt::Arguments<'_>) {
    let Some(path) = env::var_os("RUNGS_STANDIN_LOG") else {
        return;
    };
    let line = format!("{} {} {text}\n", process::id(), kind.word());
    let file = OpenOptions::new().create(true).append(true).open(&path);
    // One call for one line: the kernel keeps appended lines whole.
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!("RUNGS_STANDIN_LOG cannot be written to: {error}");
    }
}

/// Says what was asked for.
#[macro_export]
macro_rules! asked {
    ($($text:tt)*) => { $crate::log::line($crate::log::Kind::Asked, format_args!($($text)*)) };
}

/// Says that a fault was planned.
#[macro_export]
macro_rules! planned {
    ($($text:tt)*) => { $crate::log::line($crate::log::Kind::Planned, format_args!($($text)*)) };
}

/// Says what a real driver refuses or breaks on.
#[macro_export]
macro_rules! misuse {
    ($($text:tt)*) => { $crate::log::line($crate::log::Kind::Misuse, format_args!($($text)*)) };
}
