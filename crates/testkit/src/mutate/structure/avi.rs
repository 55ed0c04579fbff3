//! The chunks of AVI: Microsoft's RIFF reference, and `OpenDML` 1.02.

use super::{Field, Form, Structure, Table, little};
use crate::mutate::change::Stretch;

/// Lists are no deeper than this in any file that was not damaged.
const DEEPEST: usize = 5;
/// Bytes of an entry of the index.
const ENTRY: usize = 16;

/// Finds all of it.
pub(super) fn parse(bytes: &[u8]) -> Structure {
    let mut found = Structure::default();
    chunks(&mut found, bytes, 0..bytes.len(), &mut Vec::new());
    found
}

fn chunks(
    found: &mut Structure,
    bytes: &[u8],
    range: std::ops::Range<usize>,
    parents: &mut Vec<Field>,
) {
    let mut at = range.start;
    let mut entries = Vec::new();
    while at + 8 <= range.end && !found.is_full() && parents.len() < DEEPEST {
        let size = little(bytes, at + 4, 4).unwrap_or(0) as usize;
        let end = (at + 8).saturating_add(size).min(range.end);
        let own = Field::new("chunk size", at + 4, Form::Little(4));
        found.fields.push(own);
        match &bytes[at..at + 4] {
            b"RIFF" | b"LIST" => {
                parents.push(own);
                chunks(found, bytes, at + 12..end, parents);
                parents.pop();
            }
            b"idx1" => {
                parents.push(own);
                index(found, at + 8..end, parents);
                parents.pop();
            }
            // Stream and kind: `00dc`, `01wb`.
            [b'0'..=b'9', b'0'..=b'9', ..] => entries.push(Stretch { at, len: end - at }),
            kind => header(found, kind, at + 8),
        }
        // Chunks begin at even bytes.
        at = end + (end & 1);
    }
    found.tables.push(Table {
        name: "chunks",
        count: None,
        sizes: parents.clone(),
        entries,
    });
}

fn index(found: &mut Structure, range: std::ops::Range<usize>, sizes: &[Field]) {
    let starts = range.clone().step_by(ENTRY);
    let entries = starts.filter(|at| at + ENTRY <= range.end);
    let entries: Vec<_> = entries.map(|at| Stretch { at, len: ENTRY }).collect();
    for entry in &entries {
        if found.is_full() {
            break;
        }
        found.add("idx1 flags", entry.at + 4, Form::Little(4));
        found.add("idx1 offset", entry.at + 8, Form::Little(4));
        found.add("idx1 size", entry.at + 12, Form::Little(4));
    }
    found.tables.push(Table {
        name: "idx1",
        count: None,
        sizes: sizes.to_vec(),
        entries,
    });
}

fn header(found: &mut Structure, kind: &[u8], at: usize) {
    let numbers: &[(&'static str, usize)] = match kind {
        b"avih" => &[
            ("avih microseconds", 0),
            ("avih flags", 12),
            ("avih frames", 16),
            ("avih streams", 24),
        ],
        b"strh" => &[
            ("strh scale", 20),
            ("strh rate", 24),
            ("strh start", 28),
            ("strh length", 32),
            ("strh sample size", 44),
        ],
        _ => &[],
    };
    for (name, from) in numbers {
        found.add(name, at + from, Form::Little(4));
    }
}
