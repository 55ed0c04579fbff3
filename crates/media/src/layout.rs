//! The two layouts of 4:2:0 pictures: three planes here, and on devices two, with both chroma samples of a place side by side (NV12; P010
//! for 10 bits, which lie in the upper bits of 16). Samples are moved, never changed.

use crate::error::AvError;
use crate::ffi::{AvFrame, PIX_FMT_NV12, PIX_FMT_P010};
use crate::frame::{BitDepth, PixelFormat};

/// By how many bits P010 shifts its samples.
const SHIFT: u32 = 6;

/// The depth of a picture whose chroma lies side by side; `None` for another format.
const fn paired(format: i32) -> Option<BitDepth> {
    match format {
        PIX_FMT_NV12 => Some(BitDepth::Eight),
        PIX_FMT_P010 => Some(BitDepth::Ten),
        _ => None,
    }
}

/// What [`separate`] makes of a format.
pub(crate) fn separated(format: PixelFormat) -> PixelFormat {
    paired(format.number()).map_or(format, BitDepth::format)
}

/// Makes three planes of two. A picture of another format is given back.
pub(crate) fn separate(picture: AvFrame) -> Result<AvFrame, AvError> {
    let Some(depth) = paired(picture.format()) else {
        return Ok(picture);
    };
    let mut planes = AvFrame::picture(depth.format().number(), picture.width(), picture.height())?;
    separate_into(&picture, &mut planes)?;
    Ok(planes)
}

/// Makes three planes of two, in a picture of that size and of the format with three.
pub(crate) fn separate_into(picture: &AvFrame, planes: &mut AvFrame) -> Result<(), AvError> {
    let depth = paired(picture.format()).ok_or_else(AvError::invalid)?;
    let size = (picture.width(), picture.height());
    planes.take_properties(picture)?;
    let (luma, chroma) = (size.0 as usize, size.0.div_ceil(2) as usize);
    for plane in 0..3 {
        let (from, strides) = (
            plane.min(1),
            (picture.stride(plane.min(1)), planes.stride(plane)),
        );
        let rows = picture
            .plane(from)
            .chunks(strides.0.max(1))
            .zip(planes.plane_mut(plane).chunks_mut(strides.1.max(1)));
        for (from, to) in rows {
            match (plane, depth) {
                (0, BitDepth::Eight) => to[..luma].copy_from_slice(&from[..luma]),
                (0, BitDepth::Ten) => lower(from.as_chunks().0, &mut to.as_chunks_mut().0[..luma]),
                (_, BitDepth::Eight) => {
                    let pairs = from.as_chunks::<2>().0;
                    for (to, pair) in to[..chroma].iter_mut().zip(pairs) {
                        *to = pair[plane - 1];
                    }
                }
                (_, BitDepth::Ten) => {
                    let pairs = from.as_chunks::<4>().0;
                    let place = 2 * (plane - 1);
                    for (to, pair) in to.as_chunks_mut().0[..chroma].iter_mut().zip(pairs) {
                        lower_one([pair[place], pair[place + 1]], to);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Makes two planes of three.
pub(crate) fn interleave(picture: &AvFrame, depth: BitDepth) -> Result<AvFrame, AvError> {
    let size = (picture.width(), picture.height());
    let mut pairs = AvFrame::picture(depth.device_format(), size.0, size.1)?;
    pairs.take_properties(picture)?;
    let (luma, chroma) = (size.0 as usize, size.0.div_ceil(2) as usize);
    for plane in 0..3 {
        let (to, strides) = (
            plane.min(1),
            (picture.stride(plane), pairs.stride(plane.min(1))),
        );
        let rows = picture
            .plane(plane)
            .chunks(strides.0.max(1))
            .zip(pairs.plane_mut(to).chunks_mut(strides.1.max(1)));
        for (from, to) in rows {
            match (plane, depth) {
                (0, BitDepth::Eight) => to[..luma].copy_from_slice(&from[..luma]),
                (0, BitDepth::Ten) => raise(&from.as_chunks().0[..luma], to.as_chunks_mut().0),
                (_, BitDepth::Eight) => {
                    let pairs = to.as_chunks_mut::<2>().0;
                    for (from, pair) in from[..chroma].iter().zip(pairs) {
                        pair[plane - 1] = *from;
                    }
                }
                (_, BitDepth::Ten) => {
                    let pairs = to.as_chunks_mut::<4>().0;
                    let place = 2 * (plane - 1);
                    for (from, pair) in from.as_chunks::<2>().0[..chroma].iter().zip(pairs) {
                        let sample = u16::from_le_bytes(*from) << SHIFT;
                        pair[place..place + 2].copy_from_slice(&sample.to_le_bytes());
                    }
                }
            }
        }
    }
    Ok(pairs)
}

fn lower_one(from: [u8; 2], to: &mut [u8; 2]) {
    *to = (u16::from_le_bytes(from) >> SHIFT).to_le_bytes();
}

fn lower(from: &[[u8; 2]], to: &mut [[u8; 2]]) {
    for (from, to) in from.iter().zip(to) {
        lower_one(*from, to);
    }
}

fn raise(from: &[[u8; 2]], to: &mut [[u8; 2]]) {
    for (from, to) in from.iter().zip(to) {
        *to = (u16::from_le_bytes(*from) << SHIFT).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture in which every sample has a value of its own as far as they go round.
    fn picture(depth: BitDepth, width: u32, height: u32) -> AvFrame {
        let mut made = AvFrame::picture(depth.format().number(), width, height).unwrap();
        let mut next = 3_u16;
        for plane in 0..3 {
            for sample in
                made.plane_mut(plane)
                    .chunks_mut(if depth == BitDepth::Ten { 2 } else { 1 })
            {
                next = (next + 7) % (1 << depth.bits());
                let bytes = next.to_le_bytes();
                sample.copy_from_slice(&bytes[..sample.len()]);
            }
        }
        made
    }

    fn shown(picture: &AvFrame, depth: BitDepth) -> Vec<Vec<u8>> {
        let wide = depth.format().bit_depth().div_ceil(8) as usize;
        (0..3)
            .map(|plane| {
                let width = if plane == 0 {
                    picture.width()
                } else {
                    picture.width().div_ceil(2)
                };
                let rows = picture.plane(plane).chunks(picture.stride(plane));
                rows.flat_map(|row| row[..width as usize * wide].to_vec())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn a_picture_comes_back_from_the_other_layout_as_it_was() {
        for depth in [BitDepth::Eight, BitDepth::Ten] {
            for (width, height) in [(64, 48), (38, 22), (5, 3), (1, 1)] {
                let before = picture(depth, width, height);
                let pairs = interleave(&before, depth).unwrap();
                assert_eq!(pairs.format(), depth.device_format());
                let after = separate(pairs).unwrap();
                assert_eq!(
                    shown(&before, depth),
                    shown(&after, depth),
                    "{width}x{height} {depth:?}"
                );
            }
        }
    }

    #[test]
    fn the_layout_is_the_one_that_ffmpeg_means() {
        let pairs = interleave(&picture(BitDepth::Ten, 4, 2), BitDepth::Ten).unwrap();
        let before = picture(BitDepth::Ten, 4, 2);
        let sample =
            |bytes: &[u8], at: usize| u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]);
        for column in 0..4 {
            assert_eq!(
                sample(pairs.plane(0), column),
                sample(before.plane(0), column) << 6
            );
        }
        for column in 0..2 {
            for plane in [1, 2] {
                assert_eq!(
                    sample(pairs.plane(1), 2 * column + plane - 1),
                    sample(before.plane(plane), column) << 6
                );
            }
        }
    }
}
