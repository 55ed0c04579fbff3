//! One change to the bytes of a file, rolled with dice and applied; nothing that is rolled can be out of the file's range.

use std::fmt;

use super::structure::Field;
use crate::dice::Dice;

/// Bytes at the head and at the tail of a file in which its structure most often is: half of all changes are there.
const ENDS: usize = 1500;
/// Longest stretch that is changed, moved or lost at once where the file has no packets of one size.
const LONGEST: u32 = 2048;

/// A stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its first byte.
    pub at: usize,
    /// Its length.
    pub len: usize,
}

/// A number of the structure, and what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where it is.
    pub field: Field,
    /// What it was.
    pub was: u64,
    /// What it becomes.
    pub value: u64,
}

impl Write {
    pub(super) fn new(field: Field, bytes: &[u8], value: u64) -> Self {
        Self {
            field,
            was: field.get(bytes),
            value: value & field.form.highest(),
        }
    }
}

/// What is done to the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Single bits are turned over: bytes and which bit of them.
    Flip(Vec<(usize, u8)>),
    /// A stretch becomes one byte again and again.
    Fill(Stretch, u8),
    /// A stretch becomes noise of a seed.
    Noise(Stretch, u64),
    /// A number of some bytes, with the highest first, becomes another.
    Number {
        /// Where it is.
        at: usize,
        /// Its bytes.
        value: Vec<u8>,
    },
    /// The file ends here.
    CutEnd(usize),
    /// A stretch is lost.
    Drop(Stretch),
    /// A stretch is there twice.
    Double(Stretch),
    /// Two stretches of one length change places.
    Swap(Stretch, usize),
    /// A stretch overwrites another place.
    Copy(Stretch, usize),
    /// Numbers of the structure become others.
    Set(Vec<Write>),
    /// Entries of a table are taken out, or are there twice.
    Entries {
        /// What the table is.
        name: &'static str,
        /// The entries.
        part: Stretch,
        /// Whether they are there twice.
        doubled: bool,
        /// The count and the sizes that follow from it, all of them before the entries.
        fixes: Vec<Write>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |part: &Stretch| format!("{}..{}", part.at, part.at + part.len);
        match self {
            Self::Flip(bits) => {
                write!(f, "{} bits turned over, first in {}", bits.len(), bits[0].0)
            }
            Self::Fill(part, byte) => write!(f, "{} filled with {byte:#04x}", span(part)),
            Self::Noise(part, _) => write!(f, "{} overwritten with noise", span(part)),
            Self::Number { at, value } => write!(f, "{value:02x?} written to {at}"),
            Self::CutEnd(at) => write!(f, "cut off at {at}"),
            Self::Drop(part) => write!(f, "{} taken out", span(part)),
            Self::Double(part) => write!(f, "{} doubled", span(part)),
            Self::Swap(part, with) => write!(f, "{} swapped with {with}", span(part)),
            Self::Copy(part, to) => write!(f, "{} copied over {to}", span(part)),
            Self::Set(writes) => {
                let Some(Write { field, was, value }) = writes.first() else {
                    return f.write_str("nothing set");
                };
                let (name, at, count) = (field.name, field.at, writes.len());
                write!(
                    f,
                    "{name}: {count} set, the first in {at} from {was} to {value}"
                )
            }
            Self::Entries {
                name,
                part,
                doubled,
                ..
            } => {
                let done = if *doubled { "doubled" } else { "taken out" };
                write!(f, "{name}: entries {} {done}", span(part))
            }
        }
    }
}

/// Rolls places in a file.
struct Places<'a> {
    dice: &'a mut Dice,
    len: usize,
    /// The size of a packet, where the file is made of packets of one size.
    packet: Option<usize>,
}

impl Places<'_> {
    fn any(&mut self) -> usize {
        self.dice.below(u32::try_from(self.len).unwrap_or(u32::MAX)) as usize
    }

    /// A place near an end of the file, or anywhere.
    fn at(&mut self) -> usize {
        let near = ENDS.min(self.len) as u32;
        match self.dice.below(4) {
            0 => self.dice.below(near) as usize,
            1 => self.len - 1 - self.dice.below(near) as usize,
            _ => self.any(),
        }
    }

    fn stretch(&mut self) -> Stretch {
        let at = self.at();
        // Short ones and long ones are as likely.
        let most = self.dice.from_to(1, LONGEST.ilog2());
        let len = self.dice.from_to(1, 1 << most) as usize;
        self.within(at, len)
    }

    /// A few packets, or a stretch where there are none.
    fn block(&mut self) -> Stretch {
        let Some(packet) = self.packet.filter(|packet| *packet <= self.len) else {
            return self.stretch();
        };
        let packets = (self.len / packet) as u32;
        let first = self.dice.below(packets) as usize;
        let count = self.dice.from_to(1, 8) as usize;
        self.within(first * packet, count * packet)
    }

    fn within(&self, at: usize, len: usize) -> Stretch {
        Stretch {
            at,
            len: len.min(self.len - at),
        }
    }

    /// A number that breaks arithmetic more often than others.
    fn number(&mut self) -> Vec<u8> {
        let width = 1 << self.dice.below(4);
        let value = match self.dice.below(7) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX >> 1,
            4 => 1 << 31,
            5 => u64::from(self.dice.below(256)),
            _ => self.dice.roll(),
        };
        let bytes = value.to_be_bytes();
        // The highest bytes of the largest, the lowest of the small.
        match value {
            0..256 => bytes[8 - width..].to_vec(),
            _ => bytes[..width].to_vec(),
        }
    }
}

impl Change {
    /// Rolls a change to a file of so many bytes; `packet` is the size of its packets, where all have one.
    #[must_use]
    pub fn roll(dice: &mut Dice, len: usize, packet: Option<usize>) -> Self {
        if len == 0 {
            return Self::CutEnd(0);
        }
        let kind = dice.below(16);
        let mut places = Places { dice, len, packet };
        match kind {
            0..4 => {
                let count = 1 << places.dice.below(6);
                Self::Flip(
                    (0..count)
                        .map(|_| (places.at(), places.dice.below(8) as u8))
                        .collect(),
                )
            }
            4 => Self::Fill(places.stretch(), 0),
            5 => Self::Fill(places.stretch(), 0xFF),
            6 => Self::Noise(places.stretch(), places.dice.roll()),
            7..11 => Self::Number {
                at: places.at(),
                value: places.number(),
            },
            11 => Self::CutEnd(places.any()),
            12 => Self::Drop(places.block()),
            13 => Self::Double(places.block()),
            14 => {
                let (one, two) = (places.block(), places.block());
                let len = one.len.min(two.len);
                Self::Swap(Stretch { len, ..one }, two.at)
            }
            _ => {
                let (from, to) = (places.block(), places.block());
                let len = from.len.min(to.len);
                Self::Copy(Stretch { len, ..from }, to.at)
            }
        }
    }

    /// Applies it to bytes of the length that it was rolled for.
    #[must_use]
    pub fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let range = |part: &Stretch| part.at..part.at + part.len;
        match self {
            Self::Flip(bits) => bits.iter().for_each(|(at, bit)| bytes[*at] ^= 1 << bit),
            Self::Fill(part, byte) => bytes[range(part)].fill(*byte),
            Self::Noise(part, seed) => {
                let mut dice = Dice::new(*seed);
                bytes[range(part)].fill_with(|| dice.roll() as u8);
            }
            Self::Number { at, value } => {
                let end = bytes.len().min(at + value.len());
                bytes[*at..end].copy_from_slice(&value[..end - at]);
            }
            Self::CutEnd(at) => bytes.truncate(*at),
            Self::Drop(part) => drop(bytes.drain(range(part))),
            Self::Set(writes) => set(&mut bytes, writes),
            Self::Entries {
                part,
                doubled,
                fixes,
                ..
            } => {
                set(&mut bytes, fixes);
                let times = if *doubled { 2 } else { 0 };
                let entries = bytes[range(part)].repeat(times);
                bytes.splice(range(part), entries);
            }
            Self::Double(part) => {
                let again = bytes[range(part)].to_vec();
                bytes.splice(part.at..part.at, again);
            }
            Self::Swap(part, with) => {
                // Where they overlap, the later write wins.
                let (one, two) = (
                    bytes[range(part)].to_vec(),
                    bytes[*with..with + part.len].to_vec(),
                );
                bytes[range(part)].copy_from_slice(&two);
                bytes[*with..with + part.len].copy_from_slice(&one);
            }
            Self::Copy(part, to) => bytes.copy_within(range(part), *to),
        }
        bytes
    }
}

fn set(bytes: &mut [u8], writes: &[Write]) {
    for Write { field, value, .. } in writes {
        field.set(bytes, *value);
    }
}
