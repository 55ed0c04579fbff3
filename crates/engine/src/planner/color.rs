//! The colours of the result.

use rungs_media::demux::Color;
use rungs_media::hdr;

use crate::ladder::Size;
use crate::picture::{BT709, BT2020, UNSPECIFIED, matrix_for_rgb};

const BT470BG: u8 = 5;
const SMPTE170M: u8 = 6;

/// Fills in what the source leaves open, as players would for a picture of its size. They judge by size, so without this the
/// small renditions of an HD source would be shown in other colours than the large ones.
pub(super) fn complete_color(color: Color, shown: Size) -> Color {
    // The identity matrix (0) is RGB, whose usual primaries are BT.709's.
    let (primaries, transfer, matrix) = if hdr::is_hdr(color) {
        (BT2020, color.transfer, BT2020)
    } else if color.matrix == 0
        || shown.short_side() >= 720
        || shown.width.max(shown.height) >= 1280
    {
        (BT709, BT709, BT709)
    } else if shown.height == 576 {
        (BT470BG, SMPTE170M, BT470BG)
    } else {
        (SMPTE170M, SMPTE170M, SMPTE170M)
    };
    let or = |given: u8, guess: u8| {
        if matches!(given, 0 | UNSPECIFIED) {
            guess
        } else {
            given
        }
    };
    // The identity matrix (0) is RGB, which is converted; so is full range.
    let matrix = if color.matrix == 0 {
        matrix_for_rgb(color)
    } else {
        or(color.matrix, matrix)
    };
    Color {
        primaries: or(color.primaries, primaries),
        transfer: or(color.transfer, transfer),
        matrix,
        full_range: false,
        ..color
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn colours_are_completed_for_the_source_size() {
        let open = Color {
            primaries: 2,
            transfer: 2,
            matrix: 2,
            full_range: true,
            ..Color::default()
        };
        let hd = complete_color(open, size(1920, 1080));
        assert_eq!(
            (hd.primaries, hd.transfer, hd.matrix, hd.full_range),
            (1, 1, 1, false)
        );
        assert_eq!(complete_color(open, size(720, 480)).matrix, 6);
        let kept = Color { matrix: 9, ..open };
        assert_eq!(complete_color(kept, size(640, 360)).matrix, 9);
    }
}
