//! What the numbers of a picture mean, and which way up it is.

use serde::{Deserialize, Serialize};

/// The colours of a picture, by the code points of ITU-T H.273 (2: unspecified).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Color {
    /// The colour primaries, H.273 §8.1.
    pub primaries: u8,
    /// The transfer characteristics, H.273 §8.2.
    pub transfer: u8,
    /// The matrix coefficients, H.273 §8.3.
    pub matrix: u8,
    /// Whether samples use their full range; what is not said counts as limited.
    pub full_range: bool,
    /// Where the chroma samples lie.
    pub chroma_location: ChromaLocation,
}

impl Color {
    /// Nothing known, limited range.
    pub const UNSPECIFIED: Self = Self {
        primaries: 2,
        transfer: 2,
        matrix: 2,
        full_range: false,
        chroma_location: ChromaLocation::Unspecified,
    };
}

impl Default for Color {
    fn default() -> Self {
        Self::UNSPECIFIED
    }
}

/// Where a chroma sample lies between its luma samples, H.273 §8.7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChromaLocation {
    /// Not said.
    #[default]
    Unspecified,
    /// Between rows, on a column: MPEG-2, H.264 and AV1's "vertical".
    Left,
    /// Between rows and columns: MPEG-1 and JPEG.
    Center,
    /// On a luma sample: ITU-R BT.2020 and AV1's "colocated".
    TopLeft,
    /// On a row, between columns.
    Top,
    /// On the row below, on a column.
    BottomLeft,
    /// On the row below, between columns.
    Bottom,
}

/// The order of a picture's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldOrder {
    /// There are no fields.
    Progressive,
    /// The top field is shown first.
    TopFirst,
    /// The bottom field is shown first.
    BottomFirst,
}

/// How a picture must be turned to be upright: mirrored left to right first, then turned clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rotation {
    /// Quarter turns clockwise, 0 to 3.
    pub quarter_turns_clockwise: u8,
    /// Whether left and right change places first.
    pub mirrored: bool,
}

/// What is cut off the sides of a picture, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Crop {
    /// At the left.
    pub left: u32,
    /// At the top.
    pub top: u32,
    /// At the right.
    pub right: u32,
    /// At the bottom.
    pub bottom: u32,
}

impl Crop {
    /// The same with left and top at whole samples of chroma, of which there is one for `horizontal` times `vertical` pixels: more is cut off
    /// rather than less. Else luma would move against chroma by a part of a sample. `None` if nothing is cut off, or nothing of the size is left.
    #[must_use]
    pub fn aligned(
        self,
        (horizontal, vertical): (u32, u32),
        (width, height): (u32, u32),
    ) -> Option<Self> {
        let up = |side: u32, unit: u32| side.checked_next_multiple_of(unit.max(1));
        let crop = Self {
            left: up(self.left, horizontal)?,
            top: up(self.top, vertical)?,
            ..self
        };
        let fits =
            |one: u32, other: u32, all: u32| one.checked_add(other).is_some_and(|cut| cut < all);
        let possible = fits(crop.left, crop.right, width) && fits(crop.top, crop.bottom, height);
        (possible && crop != Self::default()).then_some(crop)
    }

    /// What is left of a size.
    #[must_use]
    pub fn of(self, (width, height): (u32, u32)) -> (u32, u32) {
        (
            width.saturating_sub(self.left.saturating_add(self.right)),
            height.saturating_sub(self.top.saturating_add(self.bottom)),
        )
    }
}

impl Rotation {
    /// Upright as it is.
    pub const NONE: Self = Self {
        quarter_turns_clockwise: 0,
        mirrored: false,
    };

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Whether width and height change places.
    #[must_use]
    pub fn swaps_sides(self) -> bool {
        self.quarter_turns_clockwise % 2 == 1
    }

    /// The turn nearest to a display matrix (ISO/IEC 14496-12 §6.2.2: `x' = a·x + c·y`, `y' = b·x + d·y`).
    #[must_use]
    pub fn from_display_matrix(matrix: &[i32; 9]) -> Self {
        let [a, b, _, c, d, ..] = matrix.map(i64::from);
        let straight = a.abs() + d.abs() >= b.abs() + c.abs();
        let mirrored = a * d - b * c < 0;
        let quarter_turns_clockwise = match (straight, mirrored) {
            (true, false) => 2 * u8::from(a < 0),
            (true, true) => 2 * u8::from(d < 0),
            (false, false) => 1 + 2 * u8::from(b < 0),
            (false, true) => 1 + 2 * u8::from(b > 0),
        };
        Self {
            quarter_turns_clockwise,
            mirrored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_keeps_luma_and_chroma_together() {
        let crop = Crop {
            left: 5,
            top: 2,
            right: 3,
            bottom: 1,
        };
        let aligned = crop.aligned((2, 2), (320, 180)).expect("a crop");
        assert_eq!((aligned.left, aligned.top), (6, 2));
        assert_eq!(aligned.of((320, 180)), (311, 177));
        assert_eq!(crop.aligned((1, 1), (320, 180)), Some(crop));
        // Nothing would be left, or nothing is cut off.
        assert_eq!(crop.aligned((2, 2), (9, 180)), None);
        assert_eq!(Crop::default().aligned((2, 2), (320, 180)), None);
        let absurd = Crop {
            left: u32::MAX,
            right: u32::MAX,
            ..crop
        };
        assert_eq!(absurd.aligned((2, 2), (320, 180)), None);
    }

    fn turned(a: i32, b: i32, c: i32, d: i32) -> (u8, bool) {
        let one = 0x1_0000;
        let rotation = Rotation::from_display_matrix(&[
            a * one,
            b * one,
            0,
            c * one,
            d * one,
            0,
            0,
            0,
            1 << 30,
        ]);
        (rotation.quarter_turns_clockwise, rotation.mirrored)
    }

    /// Mirrors and turns a point as the type says, with y pointing down.
    fn act(rotation: Rotation, (x, y): (i32, i32)) -> (i32, i32) {
        let mut point = if rotation.mirrored { (-x, y) } else { (x, y) };
        for _ in 0..rotation.quarter_turns_clockwise {
            point = (-point.1, point.0);
        }
        point
    }

    #[test]
    fn the_eight_right_angled_matrices_are_told_apart() {
        for (a, b, c, d) in [
            (1, 0, 0, 1),
            (0, 1, -1, 0),
            (-1, 0, 0, -1),
            (0, -1, 1, 0),
            (-1, 0, 0, 1),
            (1, 0, 0, -1),
            (0, 1, 1, 0),
            (0, -1, -1, 0),
        ] {
            let (quarter_turns_clockwise, mirrored) = turned(a, b, c, d);
            let rotation = Rotation {
                quarter_turns_clockwise,
                mirrored,
            };
            for (x, y) in [(1, 0), (0, 1)] {
                assert_eq!(
                    act(rotation, (x, y)),
                    (a * x + c * y, b * x + d * y),
                    "{a} {b} {c} {d}"
                );
            }
        }
    }

    #[test]
    fn a_skewed_matrix_goes_to_the_nearest_turn_and_an_empty_one_to_none() {
        assert_eq!(
            Rotation::from_display_matrix(&[9, 3, 0, -3, 9, 0, 0, 0, 1]),
            Rotation::NONE
        );
        assert_eq!(Rotation::from_display_matrix(&[0; 9]), Rotation::NONE);
        assert!(!Rotation::from_display_matrix(&[i32::MIN; 9]).mirrored);
    }
}
