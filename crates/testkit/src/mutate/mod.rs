//! Damage, and what becomes of it: a seed in, a small media file with changed bytes out, and how the engine ended with it.
//!
//! ```text
//! seed ─► original ─► changes ─► bytes ─► engine: plan, decode, encode, package ─► ending
//!                                          in a child process with a limit on memory and time
//! ```
//!
//! All that follows from a seed is the same on every run with the same FFmpeg, so a seed in a report is enough to see it again
//! ([`Mutant::of`]). [`keeper`] runs the children, [`trial`] is what one of them does.
//!
//! Seeds below [`STRUCTURE`] damage bytes anywhere; from there on they change what the container says of its samples
//! ([`structure`]), and everything around stays valid.

mod change;
pub mod keeper;
mod originals;
pub mod structure;
pub mod trial;

pub use change::{Change, Stretch, Write};
pub use originals::{Original, load, originals, store};

use crate::dice::Dice;
use structure::Structure;

/// Most changes made to one file.
const MOST_CHANGES: u32 = 4;

/// The first seed whose mutant has another structure.
pub const STRUCTURE: u64 = 1_000_000_000;

/// A file with changed bytes.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Which original it was.
    pub original: &'static str,
    /// What was done to it, in order.
    pub changes: Vec<Change>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Mutant {
    /// Makes the mutant of a seed.
    ///
    /// # Panics
    /// When there is no original.
    #[must_use]
    pub fn of(seed: u64, originals: &[Original]) -> Self {
        // Every original has its turn, however few seeds are tried.
        let turn = |most: usize| (seed % most as u64) as usize;
        let mut dice = Dice::new(seed).apart(1);
        if seed < STRUCTURE {
            // The seeds of old finds stay what they are when originals for the structure are added.
            let all: Vec<_> = originals.iter().filter(|one| one.any_byte).collect();
            return Self::damaged(all[turn(all.len())], &mut dice);
        }
        let with_parser =
            |one: &&Original| !Structure::of(one.container(), &one.bytes).fields.is_empty();
        let all: Vec<_> = originals.iter().filter(with_parser).collect();
        Self::restructured(all[turn(all.len())], &mut dice)
    }

    fn damaged(original: &Original, dice: &mut Dice) -> Self {
        let mut bytes = original.bytes.clone();
        let mut changes = Vec::new();
        for _ in 0..dice.from_to(1, MOST_CHANGES) {
            let change = Change::roll(dice, bytes.len(), original.packet);
            bytes = change.apply(bytes);
            changes.push(change);
        }
        Self {
            original: original.name,
            changes,
            bytes,
        }
    }

    fn restructured(original: &Original, dice: &mut Dice) -> Self {
        let mut bytes = original.bytes.clone();
        let mut changes = Vec::new();
        for _ in 0..dice.from_to(1, MOST_CHANGES) {
            let found = Structure::of(original.container(), &bytes);
            let Some(change) = found.roll(dice, &bytes) else {
                break;
            };
            bytes = change.apply(bytes);
            changes.push(change);
        }
        Self {
            original: original.name,
            changes,
            bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn originals() -> Vec<Original> {
        ["a", "b"]
            .map(|name| Original {
                name,
                packet: None,
                any_byte: true,
                bytes: (0..=255).cycle().take(4000).collect(),
            })
            .into()
    }

    #[test]
    fn a_seed_gives_the_same_mutant_again_and_no_other_does() {
        let originals = originals();
        for seed in 0..200 {
            let one = Mutant::of(seed, &originals);
            assert_eq!(one.bytes, Mutant::of(seed, &originals).bytes);
            assert_ne!(one.bytes, Mutant::of(seed + 2, &originals).bytes, "{seed}");
        }
    }

    #[test]
    fn most_mutants_differ_from_their_original() {
        let originals = originals();
        let same =
            (0..1000).filter(|seed| Mutant::of(*seed, &originals).bytes == originals[0].bytes);
        assert!(same.count() < 20);
    }
}
