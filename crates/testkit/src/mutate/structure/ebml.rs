//! The elements of Matroska and WebM: RFC 8794, RFC 9559.

use std::ops::Range;

use super::{Field, Form, Structure, Table, big};
use crate::mutate::change::Stretch;

const SEGMENT: u64 = 0x1853_8067;
const CLUSTER: u64 = 0x1F43_B675;
const BLOCK_GROUP: u64 = 0xA0;
const SIMPLE_BLOCK: u64 = 0xA3;
const BLOCK: u64 = 0xA1;
/// Elements are no deeper than this in any file that was not damaged.
const DEEPEST: usize = 6;

/// Elements that hold elements, and what their size is called.
const MASTERS: [(u64, &str); 13] = [
    (SEGMENT, "size of Segment"),
    (CLUSTER, "size of Cluster"),
    (BLOCK_GROUP, "size of BlockGroup"),
    (0x114D_9B74, "size of SeekHead"),
    (0x4DBB, "size of Seek"),
    (0x1549_A966, "size of Info"),
    (0x1654_AE6B, "size of Tracks"),
    (0xAE, "size of TrackEntry"),
    (0xE0, "size of Video"),
    (0xE1, "size of Audio"),
    (0x1C53_BB6B, "size of Cues"),
    (0xBB, "size of CuePoint"),
    (0xB7, "size of CueTrackPositions"),
];

/// Elements that are numbers.
const NUMBERS: [(u64, &str); 17] = [
    (0xE7, "Timestamp of a cluster"),
    (0x9B, "BlockDuration"),
    (0xFB, "ReferenceBlock"),
    (0x75A2, "DiscardPadding"),
    (0x002A_D7B1, "TimestampScale"),
    (0x4489, "Duration"),
    (0x0023_E383, "DefaultDuration"),
    (0x56AA, "CodecDelay"),
    (0x56BB, "SeekPreRoll"),
    (0xD7, "TrackNumber"),
    (0x83, "TrackType"),
    (0xB3, "CueTime"),
    (0xF1, "CueClusterPosition"),
    (0xF7, "CueTrack"),
    (0x53AC, "SeekPosition"),
    (0xB5, "SamplingFrequency"),
    (0x9C, "FlagLacing"),
];

/// Finds all of it.
pub(super) fn parse(bytes: &[u8]) -> Structure {
    let mut parser = Parser {
        bytes,
        found: Structure::default(),
        parents: Vec::new(),
        depth: 0,
    };
    parser.elements(0..bytes.len());
    parser.found
}

/// An element.
struct Element {
    id: u64,
    /// Where its size is.
    size_at: usize,
    size_width: u8,
    /// Whether its size is known; if not, it ends where what it is in does.
    is_sized: bool,
    /// Its content.
    body: Range<usize>,
}

impl Element {
    /// Reads the header of the element at `at`, which ends at `most` at the latest.
    fn read(bytes: &[u8], at: usize, most: usize) -> Option<Self> {
        let id_width = bytes.get(at)?.leading_zeros() as usize + 1;
        if id_width > 4 {
            return None;
        }
        let id = big(bytes, at, id_width)?;
        let size_at = at + id_width;
        let size_width = bytes.get(size_at)?.leading_zeros() as usize + 1;
        if size_width > 8 {
            return None;
        }
        let mask = u64::MAX >> (64 - 7 * size_width);
        let size = big(bytes, size_at, size_width)? & mask;
        let is_sized = size != mask;
        let start = size_at + size_width;
        let end = start.checked_add(size as usize).filter(|_| is_sized);
        let end = end.unwrap_or(most).min(most);
        (start <= end).then_some(Self {
            id,
            size_at,
            size_width: size_width as u8,
            is_sized,
            body: start..end,
        })
    }

    fn size(&self, name: &'static str) -> Field {
        Field::new(name, self.size_at, Form::Vint(self.size_width))
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    found: Structure,
    /// The sizes of all that the element is in.
    parents: Vec<Field>,
    depth: usize,
}

impl Parser<'_> {
    fn elements(&mut self, range: Range<usize>) {
        let mut at = range.start;
        let mut blocks = Vec::new();
        while at < range.end && !self.found.is_full() && self.depth < DEEPEST {
            let Some(element) = Element::read(self.bytes, at, range.end) else {
                break;
            };
            let end = element.body.end;
            if matches!(element.id, SIMPLE_BLOCK | BLOCK_GROUP) {
                blocks.push(Stretch { at, len: end - at });
            }
            self.element(&element);
            at = end;
        }
        if !blocks.is_empty() {
            self.found.tables.push(Table {
                name: "blocks",
                count: None,
                sizes: self.parents.clone(),
                entries: blocks,
            });
        }
    }

    fn element(&mut self, element: &Element) {
        let body = element.body.clone();
        let named = |all: &[(u64, &'static str)]| {
            let found = all.iter().find(|(id, _)| *id == element.id);
            found.map(|(_, name)| *name)
        };
        if let Some(name) = named(&MASTERS) {
            let size = element.size(name);
            self.found.fields.push(size);
            self.depth += 1;
            if element.is_sized {
                self.parents.push(size);
                self.elements(body);
                self.parents.pop();
            } else {
                // An unknown size stays one, whatever is taken out.
                self.elements(body);
            }
            self.depth -= 1;
        } else if matches!(element.id, SIMPLE_BLOCK | BLOCK) {
            self.found.fields.push(element.size("size of a block"));
            let at = body.start;
            self.found.add("track of a block", at, Form::Vint(1));
            self.found.add("time of a block", at + 1, Form::Big(2));
            self.found.add("flags of a block", at + 3, Form::Big(1));
        } else if let Some(name) = named(&NUMBERS) {
            self.found.fields.push(element.size("size of a number"));
            if (1..=8).contains(&body.len()) {
                self.found
                    .add(name, body.start, Form::Big(body.len() as u8));
            }
        } else {
            self.found
                .fields
                .push(element.size("size of another element"));
        }
    }
}
