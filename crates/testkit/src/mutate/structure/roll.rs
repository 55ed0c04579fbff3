//! Which field or table is changed, and how: one, a series of the same name, or an entry taken out or doubled.

use std::collections::BTreeMap;

use super::{Field, Structure, Table};
use crate::dice::Dice;
use crate::mutate::change::{Change, Write};

/// Most numbers of a series that are changed at once.
const LONGEST_SERIES: usize = 512;
/// Most entries that are taken out or doubled at once.
const MOST_ENTRIES: u32 = 4;

impl Structure {
    /// Rolls a change to the bytes that this was parsed from; `None` where nothing was found.
    #[must_use]
    pub fn roll(&self, dice: &mut Dice, bytes: &[u8]) -> Option<Change> {
        match dice.below(10) {
            0..5 => self.roll_one(dice, bytes),
            5..8 => self.roll_series(dice, bytes),
            _ => self.roll_entries(dice, bytes),
        }
    }

    /// Fields by name: every name is as likely, however many fields it has.
    fn same_name(&self, dice: &mut Dice) -> Option<Vec<Field>> {
        let mut names: BTreeMap<&str, Vec<Field>> = BTreeMap::new();
        for field in &self.fields {
            names.entry(field.name).or_default().push(*field);
        }
        pick(dice, &names.into_values().collect::<Vec<_>>())
    }

    fn roll_one(&self, dice: &mut Dice, bytes: &[u8]) -> Option<Change> {
        let same = self.same_name(dice)?;
        let field = pick(dice, &same)?;
        let other = pick(dice, &same)?.get(bytes);
        let value = another(dice, field, (field.get(bytes), other));
        Some(Change::Set(vec![Write::new(field, bytes, value)]))
    }

    /// All numbers of one name from one place on: moved, scaled, made equal, or in another order.
    fn roll_series(&self, dice: &mut Dice, bytes: &[u8]) -> Option<Change> {
        let same = self.same_name(dice)?;
        let from = dice.below(same.len() as u32) as usize;
        let rest = (same.len() - from) as u32;
        // To the end as often as not: a clock that jumps, and stays there.
        let count = if dice.chance(0.5) {
            rest
        } else {
            dice.from_to(1, rest)
        };
        let count = (count as usize).min(LONGEST_SERIES);
        let series = &same[from..from + count];
        let before: Vec<u64> = series.iter().map(|field| field.get(bytes)).collect();
        let mut after = before.clone();
        match dice.below(8) {
            0 => after.reverse(),
            1 => after.rotate_left(1),
            2 => after.fill(before[0]),
            3 => after.fill(another(
                dice,
                series[0],
                (before[0], before[before.len() - 1]),
            )),
            4 => {
                let factor = u64::from(dice.from_to(2, 1000));
                for value in &mut after {
                    *value = value.wrapping_mul(factor);
                }
            }
            5 => {
                let divisor = u64::from(dice.from_to(2, 1000));
                for value in &mut after {
                    *value /= divisor;
                }
            }
            _ => {
                let by = another(dice, series[0], (before[0], 0)).wrapping_sub(before[0]);
                for value in &mut after {
                    *value = value.wrapping_add(by);
                }
            }
        }
        let writes = series.iter().zip(after);
        let writes = writes.map(|(field, value)| Write::new(*field, bytes, value));
        Some(Change::Set(writes.collect()))
    }

    /// Entries of a table taken out or doubled, with its count and all sizes around it as they then are.
    fn roll_entries(&self, dice: &mut Dice, bytes: &[u8]) -> Option<Change> {
        let table = pick(dice, &self.tables)?;
        let first = dice.below(table.entries.len() as u32) as usize;
        let count = dice.from_to(1, MOST_ENTRIES) as usize;
        let last = (first + count).min(table.entries.len()) - 1;
        let entries = (last - first + 1) as u64;
        let doubled = dice.chance(0.5);
        let mut part = table.entries[first];
        part.len = table.entries[last].at + table.entries[last].len - part.at;
        let moved = |value: u64, by: u64| {
            if doubled {
                value.wrapping_add(by)
            } else {
                value.wrapping_sub(by)
            }
        };
        let Table { sizes, count, .. } = &table;
        let sizes = sizes.iter().map(|size| (size, part.len as u64));
        let fixes = sizes.chain(count.iter().map(|count| (count, entries)));
        let fixes = fixes.map(|(field, by)| Write::new(*field, bytes, moved(field.get(bytes), by)));
        Some(Change::Entries {
            name: table.name,
            part,
            doubled,
            fixes: fixes.collect(),
        })
    }
}

fn pick<T: Clone>(dice: &mut Dice, all: &[T]) -> Option<T> {
    let most = u32::try_from(all.len()).ok().filter(|most| *most > 0)?;
    Some(all[dice.below(most) as usize].clone())
}

/// Another number: at a limit, near the one that is there, or far from it.
fn another(dice: &mut Dice, field: Field, (value, other): (u64, u64)) -> u64 {
    let highest = field.form.highest();
    let far = 1_u64 << dice.below(field.form.bits());
    let near = u64::from(dice.from_to(1, 40));
    let value = match dice.below(13) {
        0 => 0,
        1 => 1,
        2 => highest,
        3 => highest >> 1,
        4 => (highest >> 1) + 1,
        5 => value.wrapping_add(near),
        6 => value.wrapping_sub(near),
        7 => value.wrapping_mul(2),
        8 => value / 2,
        9 => other,
        10 => value.wrapping_add(far),
        11 => value.wrapping_sub(far),
        _ => dice.roll(),
    };
    value & highest
}
