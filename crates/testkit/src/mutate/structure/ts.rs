//! The packets of an MPEG transport stream: ISO/IEC 13818-1, 2.4.3.

use super::{Form, Structure, Table};
use crate::mutate::change::Stretch;

/// Bytes of a packet.
const PACKET: usize = 188;
const SYNC: u8 = 0x47;

/// Finds all of it.
pub(super) fn parse(bytes: &[u8]) -> Structure {
    let mut found = Structure::default();
    let mut entries = Vec::new();
    let mut at = 0;
    while at + PACKET <= bytes.len() && !found.is_full() {
        if bytes[at] != SYNC {
            at += 1;
            continue;
        }
        packet(&mut found, bytes, at);
        entries.push(Stretch { at, len: PACKET });
        at += PACKET;
    }
    found.tables.push(Table {
        name: "packets",
        count: None,
        sizes: Vec::new(),
        entries,
    });
    found
}

fn packet(found: &mut Structure, bytes: &[u8], at: usize) {
    found.add("PID", at + 1, Form::Low { width: 2, bits: 13 });
    found.add(
        "continuity counter",
        at + 3,
        Form::Low { width: 1, bits: 4 },
    );
    let starts = bytes[at + 1] & 0x40 != 0;
    let (adapts, carries) = (bytes[at + 3] & 0x20 != 0, bytes[at + 3] & 0x10 != 0);
    let mut payload = at + 4;
    if adapts {
        let length = usize::from(bytes[at + 4]);
        found.add("length of adaptation", at + 4, Form::Big(1));
        if length > 0 {
            found.add("flags of adaptation", at + 5, Form::Big(1));
        }
        if length >= 7 && bytes[at + 5] & 0x10 != 0 {
            found.add("PCR", at + 6, Form::Pcr);
        }
        payload += 1 + length;
    }
    if carries && starts && payload < at + PACKET {
        pes(found, bytes, payload);
    }
}

/// Adds the header of a PES packet of MPEG-2 (2.4.3.6), if there is one.
pub(super) fn pes(found: &mut Structure, bytes: &[u8], at: usize) {
    let Some(header) = bytes.get(at..at + 9) else {
        return;
    };
    if header[..3] != [0, 0, 1] || header[6] >> 6 != 0b10 {
        return;
    }
    found.add("PES length", at + 4, Form::Big(2));
    found.add("PES header length", at + 8, Form::Big(1));
    if header[7] & 0x80 != 0 {
        found.add("PTS", at + 9, Form::Pts);
    }
    if header[7] & 0xC0 == 0xC0 {
        found.add("DTS", at + 14, Form::Pts);
    }
}
