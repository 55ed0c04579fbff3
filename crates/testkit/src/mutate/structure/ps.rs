//! The packs of an MPEG program stream: ISO/IEC 13818-1, 2.5.3.

use super::{Form, Structure, Table, ts};
use crate::mutate::change::Stretch;

const PACK: u8 = 0xBA;
const SYSTEM: u8 = 0xBB;

/// Finds all of it.
pub(super) fn parse(bytes: &[u8]) -> Structure {
    let mut found = Structure::default();
    let mut packs = Vec::new();
    let mut at = 0;
    while at + 6 <= bytes.len() && !found.is_full() {
        match bytes[at..at + 4] {
            [0, 0, 1, PACK] => {
                found.add("SCR", at + 4, Form::Scr);
                packs.push(at);
                at += 4;
            }
            [0, 0, 1, id] if id >= SYSTEM => {
                if id > SYSTEM {
                    ts::pes(&mut found, bytes, at);
                }
                let length = u16::from_be_bytes([bytes[at + 4], bytes[at + 5]]);
                at += 6 + usize::from(length);
            }
            _ => at += 1,
        }
    }
    let ends = packs.iter().skip(1).copied().chain([bytes.len()]);
    let entries = packs.iter().zip(ends);
    let entries = entries.map(|(at, end)| Stretch {
        at: *at,
        len: end - at,
    });
    found.tables.push(Table {
        name: "packs",
        count: None,
        sizes: Vec::new(),
        entries: entries.collect(),
    });
    found
}
