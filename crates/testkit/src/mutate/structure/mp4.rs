//! The boxes of ISO/IEC 14496-12, and of QuickTime where they are alike.

use super::{Field, Form, Structure, Table, big};
use crate::mutate::change::Stretch;

/// Boxes that hold boxes.
const CONTAINERS: [&[u8; 4]; 10] = [
    b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex", b"mfra",
];
/// Tables whose count is followed by entries of 32 bit numbers, or 64.
const TABLES: [(&[u8; 4], &str, &[Column]); 6] = [
    (
        b"stts",
        "stts count",
        &[("stts samples", 4), ("stts delta", 4)],
    ),
    (
        b"ctts",
        "ctts count",
        &[("ctts samples", 4), ("ctts offset", 4)],
    ),
    (b"stss", "stss count", &[("stss sample", 4)]),
    (
        b"stsc",
        "stsc count",
        &[
            ("stsc first chunk", 4),
            ("stsc samples", 4),
            ("stsc description", 4),
        ],
    ),
    (b"stco", "stco count", &[("stco offset", 4)]),
    (b"co64", "co64 count", &[("co64 offset", 8)]),
];
/// Boxes are no deeper than this in any file that was not damaged.
const DEEPEST: usize = 8;

/// Finds all of it.
pub(super) fn parse(bytes: &[u8]) -> Structure {
    let mut found = Structure::default();
    boxes(&mut found, bytes, 0..bytes.len(), &mut Vec::new());
    found
}

fn boxes(
    found: &mut Structure,
    bytes: &[u8],
    range: std::ops::Range<usize>,
    parents: &mut Vec<Field>,
) {
    let mut at = range.start;
    while at + 8 <= range.end && !found.is_full() && parents.len() < DEEPEST {
        let size = big(bytes, at, 4).unwrap_or(0) as usize;
        let end = match size {
            8.. => (at + size).min(range.end),
            _ => range.end,
        };
        let own = Field::new("box size", at, Form::Big(4));
        found.fields.push(own);
        let kind: [u8; 4] = bytes[at + 4..at + 8].try_into().unwrap_or_default();
        parents.push(own);
        if CONTAINERS.contains(&&kind) {
            boxes(found, bytes, at + 8..end, parents);
        } else {
            let body = Body {
                bytes,
                at: at + 8,
                end,
                sizes: parents,
            };
            leaf(found, &body, kind);
        }
        parents.pop();
        at = end;
    }
}

/// What is in a box.
struct Body<'a> {
    bytes: &'a [u8],
    /// Its first byte after the header.
    at: usize,
    end: usize,
    /// The sizes of the box and of all that it is in.
    sizes: &'a [Field],
}

/// A column of a table: what its numbers say, and their bytes.
type Column = (&'static str, u8);

/// Where a table is.
struct TablePlace {
    /// What its count is called.
    name: &'static str,
    /// Bytes from the end of the box's header to the count.
    count: usize,
    /// The first byte of its entries.
    first: usize,
}

impl Body<'_> {
    /// Whether times are of 64 bits.
    fn is_long(&self) -> bool {
        self.bytes.get(self.at) == Some(&1)
    }

    fn flags(&self) -> u64 {
        big(self.bytes, self.at + 1, 3).unwrap_or(0)
    }

    /// Adds numbers that follow each other, from so many bytes after the header on, and returns where they end.
    fn numbers(&self, found: &mut Structure, from: usize, columns: &[Column]) -> usize {
        let mut at = self.at + from;
        for (name, width) in columns {
            // Bytes of which nothing is to be changed have no name.
            if !name.is_empty() && at + usize::from(*width) <= self.end {
                found.add(name, at, Form::Big(*width));
            }
            at += usize::from(*width);
        }
        at
    }

    /// Adds a table.
    fn table(&self, found: &mut Structure, place: &TablePlace, columns: &[Column]) {
        let count = Field::new(place.name, self.at + place.count, Form::Big(4));
        found.fields.push(count);
        let width: usize = columns.iter().map(|(_, width)| usize::from(*width)).sum();
        let mut entries = Vec::new();
        let mut at = place.first;
        for _ in 0..count.get(self.bytes) {
            if width == 0 || at + width > self.end || found.is_full() {
                break;
            }
            self.numbers(found, at - self.at, columns);
            entries.push(Stretch { at, len: width });
            at += width;
        }
        found.tables.push(Table {
            name: place.name,
            count: Some(count),
            sizes: self.sizes.to_vec(),
            entries,
        });
    }
}

fn leaf(found: &mut Structure, body: &Body<'_>, kind: [u8; 4]) {
    let time = if body.is_long() { 8 } else { 4 };
    // Two dates come first.
    let behind_dates = 4 + 2 * usize::from(time);
    let numbers: &[Column] = match &kind {
        b"mvhd" => &[("mvhd timescale", 4), ("mvhd duration", time)],
        b"mdhd" => &[("mdhd timescale", 4), ("mdhd duration", time)],
        b"tkhd" => &[("tkhd track", 4), ("", 4), ("tkhd duration", time)],
        _ => &[],
    };
    body.numbers(found, behind_dates, numbers);
    let place = |name| TablePlace {
        name,
        count: 4,
        first: body.at + 8,
    };
    if let Some((_, name, columns)) = TABLES.iter().find(|(of, _, _)| **of == kind) {
        return body.table(found, &place(name), columns);
    }
    match &kind {
        b"elst" => {
            let columns = [
                ("elst duration", time),
                ("elst media time", time),
                ("elst rate", 4),
            ];
            body.table(found, &place("elst count"), &columns);
        }
        b"stsz" => {
            body.numbers(found, 4, &[("stsz common size", 4)]);
            let place = TablePlace {
                name: "stsz count",
                count: 8,
                first: body.at + 12,
            };
            body.table(found, &place, &[("stsz size", 4)]);
        }
        _ => fragment(found, body, (kind, time)),
    }
}

fn fragment(found: &mut Structure, body: &Body<'_>, (kind, time): ([u8; 4], u8)) {
    /// A number that is there where the flags have its bit.
    type Optional = (u64, &'static str, u8);
    let there = |all: &[Optional]| -> Vec<Column> {
        let is_there = |(bit, _, _): &&Optional| body.flags() & bit != 0;
        let column = |(_, name, width): &Optional| (*name, *width);
        all.iter().filter(is_there).map(column).collect()
    };
    match &kind {
        b"trex" => {
            let columns = [
                ("trex track", 4),
                ("", 4),
                ("trex duration", 4),
                ("trex size", 4),
                ("trex flags", 4),
            ];
            body.numbers(found, 4, &columns);
        }
        b"mfhd" => {
            body.numbers(found, 4, &[("mfhd sequence", 4)]);
        }
        b"tfdt" => {
            body.numbers(found, 4, &[("tfdt time", time)]);
        }
        b"tfhd" => {
            let optional = there(&[
                (0x01, "tfhd offset", 8),
                (0x02, "tfhd description", 4),
                (0x08, "tfhd duration", 4),
                (0x10, "tfhd size", 4),
                (0x20, "tfhd flags", 4),
            ]);
            body.numbers(found, 4, &[("tfhd track", 4)]);
            body.numbers(found, 8, &optional);
        }
        b"trun" => {
            let once = there(&[(0x01, "trun offset", 4), (0x04, "trun first flags", 4)]);
            let each = there(&[
                (0x100, "trun duration", 4),
                (0x200, "trun size", 4),
                (0x400, "trun flags", 4),
                (0x800, "trun composition", 4),
            ]);
            let place = TablePlace {
                name: "trun count",
                count: 4,
                first: body.numbers(found, 8, &once),
            };
            body.table(found, &place, &each);
        }
        _ => {}
    }
}
