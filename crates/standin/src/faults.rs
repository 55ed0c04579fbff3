//! Faults on demand. `RUNGS_STANDIN_FAULTS` is a list of rules, divided by commas: `KIND:CALL[@COUNT[+]][#SESSION]`.
//!
//! - `CALL` is the driver's own name of a function, such as `nvEncEncodePicture` or `cuMemAlloc`, without a suffix for its version.
//! - `@30` strikes when the function is called for the 31st time in its session, or on its card where it belongs to no
//!   session; `@30+` from then on. Without it, every call is struck.
//! - `#2` strikes in the third session that was opened on the card since the machine started, in whichever process.
//!
//! | kind | |
//! |---|---|
//! | `fail=8` | the call returns that code |
//! | `hang` | the call never returns |
//! | `crash` | the process ends by a signal |
//! | `busy` | the encoder never has an answer: it wants more input, for ever, or its output is busy |
//! | `wrong` | the frame is encoded as another picture |
//! | `lost` | the card is lost, for every process and for good |

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{env, process, thread};

use crate::{planned, settings};

/// What a call has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Return this code.
    Fail(i32),
    /// Have no answer yet.
    Busy,
    /// Do the work on another picture.
    Wrong,
    /// Answer as if the card were gone.
    Lost,
}

/// Where a call takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At {
    /// The number of the card.
    pub card: u32,
    /// The number of the session on its card, if it is a call of one.
    pub session: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hang,
    Crash,
    Effect(Effect),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    kind: Kind,
    call: String,
    from: Option<u64>,
    onwards: bool,
    session: Option<u64>,
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let kind = match kind.split_once('=') {
            Some(("fail", code)) => Kind::Effect(Effect::Fail(code.parse().ok()?)),
            Some(_) => return None,
            None => match kind {
                "hang" => Kind::Hang,
                "crash" => Kind::Crash,
                "busy" => Kind::Effect(Effect::Busy),
                "wrong" => Kind::Effect(Effect::Wrong),
                "lost" => Kind::Effect(Effect::Lost),
                _ => return None,
            },
        };
        let (rest, session) = match rest.split_once('#') {
            Some((rest, session)) => (rest, Some(session.parse().ok()?)),
            None => (rest, None),
        };
        let (call, from) = match rest.split_once('@') {
            Some((call, from)) => (call, Some(from)),
            None => (rest, None),
        };
        let onwards = from.is_some_and(|from| from.ends_with('+'));
        let from = from.map(|from| from.trim_end_matches('+').parse());
        Some(Self {
            kind,
            call: call.to_owned(),
            from: from.transpose().ok()?,
            onwards,
            session,
        })
    }

    fn strikes(&self, call: &str, at: At, count: u64) -> bool {
        let counted = match self.from {
            None => true,
            Some(from) if self.onwards => count >= from,
            Some(from) => count == from,
        };
        self.call == call && counted && self.session.is_none_or(|own| at.session == Some(own))
    }
}

fn rules(card: u32) -> Vec<Rule> {
    static KNOWN: OnceLock<Mutex<HashMap<u32, Vec<Rule>>>> = OnceLock::new();
    let mut known = KNOWN
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let parse = || {
        let text = settings::text("FAULTS", card).unwrap_or_default();
        let rules = text.split(',').filter(|rule| !rule.is_empty());
        rules
            .map(|rule| Rule::parse(rule).unwrap_or_else(|| panic!("no rule for faults: {rule}")))
            .collect()
    };
    known.entry(card).or_insert_with(parse).clone()
}

/// Counts a call of the driver, and does to it what the settings ask for: it may never return, or end the process.
///
/// # Panics
/// If the settings cannot be read.
#[must_use]
pub fn at(call: &str, at: At) -> Option<Effect> {
    static COUNTS: OnceLock<Mutex<HashMap<(String, At), u64>>> = OnceLock::new();
    if is_lost(at.card) {
        return Some(Effect::Lost);
    }
    let rules = rules(at.card);
    if rules.iter().all(|rule| rule.call != call) {
        return None;
    }
    let count = {
        let mut counts = COUNTS
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((call.to_owned(), at)).or_default();
        *count += 1;
        *count - 1
    };
    let rule = rules.iter().find(|rule| rule.strikes(call, at, count))?;
    planned!("{:?} in {call} at {count} on {at:?}", rule.kind);
    match rule.kind {
        Kind::Hang => loop {
            thread::park();
        },
        Kind::Crash => process::abort(),
        Kind::Effect(Effect::Lost) => {
            lose(at.card);
            Some(Effect::Lost)
        }
        Kind::Effect(effect) => Some(effect),
    }
}

/// What the names of files begin with that mark lost cards.
const LOST: &str = "lost-";

fn mark(card: u32) -> std::path::PathBuf {
    settings::state().join(format!("{LOST}{card}"))
}

/// Whether a card was lost, in this process or another.
#[must_use]
pub fn is_lost(card: u32) -> bool {
    // Without a folder of its own, what one test lost would be lost to all others.
    env::var_os("RUNGS_STANDIN_STATE").is_some() && mark(card).exists()
}

/// Whether any card was lost. Then calls that end things may come without a context, and leave things behind: FFmpeg ignores that it could
/// not enter a context of a lost card, and cannot end sessions there.
#[must_use]
pub fn is_any_lost() -> bool {
    let files = || {
        fs::read_dir(settings::state())
            .into_iter()
            .flatten()
            .flatten()
    };
    env::var_os("RUNGS_STANDIN_STATE").is_some()
        && files().any(|file| file.file_name().to_string_lossy().starts_with(LOST))
}

fn lose(card: u32) {
    fs::write(mark(card), "").unwrap_or_else(|error| panic!("RUNGS_STANDIN_STATE: {error}"));
}

/// The number of a new session on a card, counted over all processes.
///
/// # Panics
/// If `RUNGS_STANDIN_STATE` cannot be written to.
#[must_use]
pub fn session(card: u32) -> u64 {
    let path = settings::state().join(format!("opened-{card}"));
    let next = || {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.lock()?;
        let opened = file.metadata()?.len();
        std::io::Write::write_all(&mut &file, b".")?;
        Ok::<_, std::io::Error>(opened)
    };
    next().unwrap_or_else(|error| panic!("RUNGS_STANDIN_STATE: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: At = At {
        card: 0,
        session: Some(3),
    };

    #[test]
    fn a_rule_names_kind_call_count_and_session() {
        let rule = Rule::parse("fail=8:nvEncEncodePicture@30#3").expect("a rule");
        assert_eq!(rule.kind, Kind::Effect(Effect::Fail(8)));
        assert!(rule.strikes("nvEncEncodePicture", ANY, 30));
        assert!(!rule.strikes("nvEncEncodePicture", ANY, 31));
        assert!(!rule.strikes("nvEncLockBitstream", ANY, 30));
        let other = At {
            session: Some(2),
            ..ANY
        };
        assert!(!rule.strikes("nvEncEncodePicture", other, 30));
        let from = Rule::parse("busy:nvEncEncodePicture@5+").expect("a rule");
        assert!(from.strikes("nvEncEncodePicture", ANY, 9) && from.onwards);
        assert!(!from.strikes("nvEncEncodePicture", ANY, 4));
        assert!(
            Rule::parse("hang:cuInit")
                .expect("a rule")
                .strikes("cuInit", ANY, 7)
        );
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "hang",
            "stop:cuInit",
            "fail:cuInit",
            "hang:cuInit@x",
            "hang:cuInit#x",
        ] {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
    }
}
