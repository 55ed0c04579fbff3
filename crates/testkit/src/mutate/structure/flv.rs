//! The tags of FLV: Adobe's specification, version 10.1, annex E.

use super::{Form, Structure, Table, big};
use crate::mutate::change::Stretch;

/// Bytes before the first tag, the size of a tag before it among them.
const HEADER: usize = 13;
/// Bytes of a tag before its content.
const TAG: usize = 11;
const VIDEO: u8 = 9;
/// H.264, in the low bits of the first byte of a picture.
const AVC: u8 = 7;

/// Finds all of it.
pub(super) fn parse(bytes: &[u8]) -> Structure {
    let mut found = Structure::default();
    let mut entries = Vec::new();
    let mut at = HEADER;
    while at + TAG + 5 <= bytes.len() && !found.is_full() {
        let size = big(bytes, at + 1, 3).unwrap_or(0) as usize;
        found.add("tag type", at, Form::Low { width: 1, bits: 5 });
        found.add("tag size", at + 1, Form::Big(3));
        found.add("tag time", at + 4, Form::Flv);
        if bytes[at] & 0x1F == VIDEO && bytes[at + TAG] & 0x0F == AVC {
            found.add("composition time", at + TAG + 2, Form::Big(3));
        }
        let end = at + TAG + size;
        found.add("size of the last tag", end, Form::Big(4));
        entries.push(Stretch {
            at,
            len: TAG + size + 4,
        });
        at = end + 4;
    }
    found.tables.push(Table {
        name: "tags",
        count: None,
        sizes: Vec::new(),
        entries,
    });
    found
}
