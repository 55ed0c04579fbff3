//! Changes to what a container says of its samples: tables, edit lists, sizes, counts and times.
//!
//! ```text
//! bytes ─► parser of the container ─► fields and tables, with where they are ─► one change, rolled with dice
//! ```
//!
//! The bytes around a changed field stay valid, so a reader takes the change for a fact and does not resynchronise, as it
//! does after random damage. Parsers also get bytes that earlier changes have damaged: they return what they find, and nothing
//! that is out of range.

mod avi;
mod ebml;
mod flv;
mod mp4;
mod ps;
mod roll;
mod ts;

use super::change::Stretch;

/// Most fields and tables that are taken from one file: more would only cost time.
const MOST: usize = 20_000;

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Bytes, the highest first.
    Big(u8),
    /// Bytes, the lowest first.
    Little(u8),
    /// The low bits of some bytes, the highest byte first; the other bits stay.
    Low {
        /// Bytes.
        width: u8,
        /// Bits of them.
        bits: u8,
    },
    /// The size of an EBML element in so many bytes, the first of which says how many (RFC 8794, section 4).
    Vint(u8),
    /// 33 bits among marker bits in 5 bytes (ISO/IEC 13818-1, 2.4.3.7).
    Pts,
    /// 33 bits at the front of 6 bytes (ISO/IEC 13818-1, 2.4.3.5).
    Pcr,
    /// 33 bits among marker bits in 6 bytes (ISO/IEC 13818-1, 2.5.3.4).
    Scr,
    /// 3 bytes, and the highest of the number after them (FLV, version 10.1, E.4.1).
    Flv,
}

impl Form {
    /// Bytes that the number takes.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Big(width)
            | Self::Little(width)
            | Self::Low { width, .. }
            | Self::Vint(width) => width.into(),
            Self::Pts => 5,
            Self::Pcr | Self::Scr => 6,
            Self::Flv => 4,
        }
    }

    /// Bits that the number has.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Big(width) | Self::Little(width) => u32::from(width) * 8,
            Self::Low { bits, .. } => bits.into(),
            Self::Vint(width) => u32::from(width) * 7,
            Self::Pts | Self::Pcr | Self::Scr => 33,
            Self::Flv => 32,
        }
    }

    /// The highest number that can be written.
    #[must_use]
    pub fn highest(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// For each bit of the number from the lowest: in which bit of the bytes it is, counted from the lowest of the last byte.
    fn positions(self) -> Vec<u32> {
        let run = |from: u32, count: u32| from..from + count;
        match self {
            Self::Big(_) | Self::Low { .. } | Self::Vint(_) => run(0, self.bits()).collect(),
            Self::Little(width) => (0..u32::from(width))
                .rev()
                .flat_map(|byte| run(byte * 8, 8))
                .collect(),
            Self::Pts => run(1, 15).chain(run(17, 15)).chain(run(33, 3)).collect(),
            Self::Pcr => run(15, 33).collect(),
            Self::Scr => run(11, 15).chain(run(27, 15)).chain(run(43, 3)).collect(),
            Self::Flv => run(8, 24).chain(run(0, 8)).collect(),
        }
    }
}

/// A number in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it says, in the words of the container.
    pub name: &'static str,
    /// Its first byte.
    pub at: usize,
    /// How it is written.
    pub form: Form,
}

impl Field {
    fn new(name: &'static str, at: usize, form: Form) -> Self {
        Self { name, at, form }
    }

    fn is_within(&self, bytes: &[u8]) -> bool {
        let end = self.at.checked_add(self.form.width());
        end.is_some_and(|end| end <= bytes.len())
    }

    /// The number; 0 where the file is too short for it.
    #[must_use]
    pub fn get(&self, bytes: &[u8]) -> u64 {
        let Some(bytes) = bytes.get(self.at..self.at + self.form.width()) else {
            return 0;
        };
        let all = bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte));
        let bits = self.form.positions().into_iter().enumerate();
        bits.fold(0, |value, (bit, from)| value | (all >> from & 1) << bit)
    }

    /// Writes another number, as much of it as there is space for; does nothing where the file is too short.
    pub fn set(&self, bytes: &mut [u8], value: u64) {
        let Some(bytes) = bytes.get_mut(self.at..self.at + self.form.width()) else {
            return;
        };
        let mut all = bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte));
        for (bit, to) in self.form.positions().into_iter().enumerate() {
            all = all & !(1 << to) | (value >> bit & 1) << to;
        }
        let width = bytes.len();
        bytes.copy_from_slice(&all.to_be_bytes()[8 - width..]);
    }
}

/// Entries that can be taken out or doubled in a way that leaves everything around them valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it is.
    pub name: &'static str,
    /// How many entries there are, where that is written.
    pub count: Option<Field>,
    /// The sizes of everything that the entries are in.
    pub sizes: Vec<Field>,
    /// Its entries.
    pub entries: Vec<Stretch>,
}

/// All that a parser has found.
#[derive(Clone, Debug, Default)]
pub struct Structure {
    /// Numbers, in the order of the file.
    pub fields: Vec<Field>,
    /// Tables, in the same.
    pub tables: Vec<Table>,
}

impl Structure {
    /// Parses the bytes of a file in a container, by its file extension; finds nothing in those that have no parser here.
    #[must_use]
    pub fn of(container: &str, bytes: &[u8]) -> Self {
        let mut found = match container {
            "mp4" | "mov" => mp4::parse(bytes),
            "mkv" | "webm" => ebml::parse(bytes),
            "ts" => ts::parse(bytes),
            "vob" => ps::parse(bytes),
            "flv" => flv::parse(bytes),
            "avi" => avi::parse(bytes),
            _ => Self::default(),
        };
        found.fields.retain(|field| field.is_within(bytes));
        let is_within = |part: &Stretch| part.at + part.len <= bytes.len() && part.len > 0;
        for table in &mut found.tables {
            table.entries.retain(is_within);
            table.sizes.retain(|size| size.is_within(bytes));
        }
        found.tables.retain(|table| !table.entries.is_empty());
        found
    }

    fn is_full(&self) -> bool {
        self.fields.len() + self.tables.len() >= MOST
    }

    fn add(&mut self, name: &'static str, at: usize, form: Form) {
        self.fields.push(Field::new(name, at, form));
    }
}

/// Reads a number of some bytes, the highest first.
fn big(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(
        bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte)),
    )
}

/// Reads a number of some bytes, the lowest first.
fn little(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    let lowest_last = bytes.iter().rev();
    Some(lowest_last.fold(0, |all, byte| all << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [Form; 9] = [
        Form::Big(3),
        Form::Big(8),
        Form::Little(4),
        Form::Low { width: 2, bits: 13 },
        Form::Vint(4),
        Form::Pts,
        Form::Pcr,
        Form::Scr,
        Form::Flv,
    ];

    #[test]
    fn a_number_that_was_written_is_read_and_nothing_else_changes() {
        for form in FORMS {
            let field = Field::new("number", 1, form);
            for fill in [0, 0xFF, 0x5A] {
                let before = [fill; 12];
                for value in [0, 1, form.highest(), form.highest() / 3, form.highest() / 5] {
                    let mut bytes = before;
                    field.set(&mut bytes, value);
                    assert_eq!(field.get(&bytes), value, "{form:?}");
                    assert_eq!(bytes[0], fill);
                    assert!(bytes[1 + form.width()..].iter().all(|byte| *byte == fill));
                    field.set(&mut bytes, field.get(&before));
                    assert_eq!(bytes, before, "{form:?}");
                }
            }
        }
    }

    #[test]
    fn times_are_written_as_the_standards_say() {
        let written = |form: Form, mut bytes: Vec<u8>, value| {
            Field::new("time", 0, form).set(&mut bytes, value);
            bytes
        };
        // By hand, from the tables of ISO/IEC 13818-1: 0x1_2345_6789 in 3, 15 and 15 bits.
        let value = 0x1_2345_6789;
        assert_eq!(
            written(Form::Pts, vec![0x21, 0, 1, 0, 1], value),
            [0x29, 0x8D, 0x15, 0xCF, 0x13]
        );
        assert_eq!(
            written(Form::Pcr, vec![0, 0, 0, 0, 0x7E, 0], value),
            [0x91, 0xA2, 0xB3, 0xC4, 0xFE, 0]
        );
        assert_eq!(written(Form::Flv, vec![0; 4], 0x0102_0304), [2, 3, 4, 1]);
        assert_eq!(
            written(Form::Little(4), vec![0; 4], 0x0102_0304),
            [4, 3, 2, 1]
        );
    }
}
