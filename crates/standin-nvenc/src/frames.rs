//! Frames as they are given, and as the encoder program takes them: three planes, rows without gaps.

use crate::layout::{IYUV, NV12, P010, YV12};

/// How a frame lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) format: u32,
    /// Bytes from row to row of luma.
    pub(crate) pitch: usize,
    /// Rows of luma, after which chroma begins.
    pub(crate) rows: usize,
}

/// Bytes of a sample.
pub(crate) const fn sample(format: u32) -> usize {
    if format == P010 { 2 } else { 1 }
}

/// Whether it is a format that is taken.
pub(crate) const fn is_known(format: u32) -> bool {
    matches!(format, NV12 | YV12 | IYUV | P010)
}

/// Samples of 10 bits lie in the high bits of 16.
fn low(pair: &[u8]) -> [u8; 2] {
    (u16::from_le_bytes([pair[0], pair[1]]) >> 6).to_le_bytes()
}

/// Brings a frame into three planes; `None` if memory ends before it.
pub(crate) fn planes(
    memory: &[u8],
    shape: Shape,
    (width, height): (usize, usize),
) -> Option<Vec<u8>> {
    let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
    let sample = sample(shape.format);
    let mut out = Vec::with_capacity(width * height * 2 * sample);
    let row = |start: usize, pitch: usize, index: usize, bytes: usize| {
        memory.get(start + index * pitch..start + index * pitch + bytes)
    };
    for index in 0..height {
        let row = row(0, shape.pitch, index, width * sample)?;
        if sample == 2 {
            out.extend(row.chunks_exact(2).flat_map(low));
        } else {
            out.extend_from_slice(row);
        }
    }
    let chroma = shape.pitch * shape.rows;
    for plane in 0..2 {
        for index in 0..chroma_height {
            match shape.format {
                NV12 | P010 => {
                    let both = row(chroma, shape.pitch, index, 2 * chroma_width * sample)?;
                    let pairs = both.chunks_exact(2 * sample);
                    let one = pairs.map(|pair| &pair[plane * sample..(plane + 1) * sample]);
                    if sample == 2 {
                        out.extend(one.flat_map(low));
                    } else {
                        out.extend(one.map(|one| one[0]));
                    }
                }
                format => {
                    // YV12 has its planes of chroma the other way round.
                    let plane = if format == YV12 { 1 - plane } else { plane };
                    let start = chroma + plane * (shape.pitch / 2) * shape.rows.div_ceil(2);
                    out.extend_from_slice(row(start, shape.pitch / 2, index, chroma_width)?);
                }
            }
        }
    }
    Some(out)
}

/// Another picture than it was: each byte of luma turned round.
pub(crate) fn spoil(planes: &mut [u8], (width, height): (usize, usize), bits: u32) {
    if bits > 8 {
        for pair in planes[..2 * width * height].chunks_exact_mut(2) {
            let value = 1023 - u16::from_le_bytes([pair[0], pair[1]]).min(1023);
            pair.copy_from_slice(&value.to_le_bytes());
        }
    } else {
        for byte in &mut planes[..width * height] {
            *byte = 255 - *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_becomes_the_same_planes() {
        let shape = |format, pitch| Shape {
            format,
            pitch,
            rows: 2,
        };
        let expected = vec![1, 2, 3, 4, 5, 6];
        let nv12 = [1, 2, 0, 0, 3, 4, 0, 0, 5, 6];
        assert_eq!(
            planes(&nv12, shape(NV12, 4), (2, 2)),
            Some(expected.clone())
        );
        let planar = [1, 2, 0, 0, 3, 4, 0, 0, 5, 0, 6, 0];
        assert_eq!(
            planes(&planar, shape(IYUV, 4), (2, 2)),
            Some(expected.clone())
        );
        let swapped = [1, 2, 0, 0, 3, 4, 0, 0, 6, 0, 5, 0];
        assert_eq!(planes(&swapped, shape(YV12, 4), (2, 2)), Some(expected));
        let wide: Vec<u8> = [1, 2, 3, 4, 5, 6_u16]
            .iter()
            .flat_map(|value| (value << 6).to_le_bytes())
            .collect();
        let low: Vec<u8> = (1..=6_u16).flat_map(u16::to_le_bytes).collect();
        assert_eq!(planes(&wide, shape(P010, 4), (2, 2)), Some(low));
        assert_eq!(planes(&nv12[..9], shape(NV12, 4), (2, 2)), None);
    }

    #[test]
    fn a_spoilt_frame_is_another_picture() {
        let mut planes = vec![0, 10, 255, 7, 1, 2];
        spoil(&mut planes, (2, 2), 8);
        assert_eq!(planes, [255, 245, 0, 248, 1, 2]);
    }
}
