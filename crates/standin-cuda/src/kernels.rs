//! The functions of FFmpeg's `scale_cuda`, by their names: `Subsample_<how>_<from>_<to>[_uv]`. The arithmetic is this crate's
//! own, six taps each way; no picture of a card follows from it.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::layout::{FORMATS, PITCHED, Resource};
use crate::memory;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Nearest,
    Bilinear,
    Bicubic,
    Lanczos,
}

/// A function of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    how: How,
    /// Whether samples of 10 bits come and go, in the high bits of 16.
    from_wide: bool,
    to_wide: bool,
    chroma: bool,
}

impl Kernel {
    pub(crate) fn named(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("Subsample_")?;
        let (rest, chroma) = match rest.strip_suffix("_uv") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (how, formats) = rest.split_once('_')?;
        let (from, to) = formats.split_once('_')?;
        let how = match how {
            "Nearest" => How::Nearest,
            "Bilinear" => How::Bilinear,
            "Bicubic" => How::Bicubic,
            "Lanczos" => How::Lanczos,
            _ => return None,
        };
        let wide = |format| match format {
            "nv12" => Some(false),
            "p010le" => Some(true),
            _ => None,
        };
        Some(Self {
            how,
            from_wide: wide(from)?,
            to_wide: wide(to)?,
            chroma,
        })
    }
}

/// An image in a card's memory that functions read.
#[derive(Clone, Copy)]
struct Texture {
    address: u64,
    width: usize,
    height: usize,
    pitch: usize,
    channels: usize,
    wide: bool,
}

#[derive(Default)]
struct Textures {
    known: BTreeMap<u64, Texture>,
    made: u64,
}

fn textures() -> MutexGuard<'static, Textures> {
    static TEXTURES: Mutex<Textures> = Mutex::new(Textures {
        known: BTreeMap::new(),
        made: 0,
    });
    TEXTURES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes an image of memory; `None` if it is none.
pub(crate) fn make_texture(of: &Resource) -> Option<u64> {
    let wide = of.format == FORMATS[1];
    let row = of.width * of.channels as usize * if wide { 2 } else { 1 };
    if of.kind != PITCHED || !FORMATS.contains(&of.format) || of.pitch < row {
        return None;
    }
    memory::block(of.address)?;
    let mut textures = textures();
    textures.made += 1;
    let handle = textures.made;
    let texture = Texture {
        address: of.address,
        width: of.width,
        height: of.height,
        pitch: of.pitch,
        channels: of.channels as usize,
        wide,
    };
    textures.known.insert(handle, texture);
    Some(handle)
}

pub(crate) fn drop_texture(handle: u64) -> bool {
    textures().known.remove(&handle).is_some()
}

/// What a function is called with: pointers to its arguments, in their order.
#[derive(Clone, Copy)]
pub(crate) struct Arguments(pub(crate) *const *const c_void);

impl Arguments {
    fn nth<T: Copy>(self, index: usize) -> T {
        // SAFETY: FFmpeg's functions for scaling have fourteen arguments, of these types at these places.
        unsafe { (*self.0.add(index)).cast::<T>().read_unaligned() }
    }
}

/// Weights of up to six samples around each sample that is made: those that count come first.
struct Taps {
    at: [usize; 6],
    weights: [f32; 6],
    count: usize,
}

impl Taps {
    fn iter(&self) -> impl Iterator<Item = (usize, f32)> {
        let at = self.at[..self.count].iter().copied();
        at.zip(self.weights[..self.count].iter().copied())
    }
}

fn sinc(x: f32) -> f32 {
    let x = std::f32::consts::PI * x;
    if x.abs() < 1e-6 { 1.0 } else { x.sin() / x }
}

/// The share of a sample at this distance in a value between two samples.
fn linear(distance: f32) -> f32 {
    (1.0 - distance.abs()).max(0.0)
}

fn weight(how: How, distance: f32, (apart, a): (f32, f32)) -> f32 {
    let d = distance.abs();
    match how {
        How::Nearest => f32::from(distance > -0.5 && distance <= 0.5),
        // The mean of two places, as far apart as the ratio asks for.
        How::Bilinear => 0.5 * (linear(distance - apart) + linear(distance + apart)),
        How::Bicubic if d < 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        How::Bicubic if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
        How::Lanczos if d < 2.0 => sinc(d) * sinc(d / 2.0),
        How::Bicubic | How::Lanczos => 0.0,
    }
}

fn taps(how: How, (from, to): (usize, usize), parameter: f32) -> Vec<Taps> {
    // FFmpeg gives a number that is no parameter where none was asked for.
    let a = if parameter > 1e4 { 0.0 } else { -parameter };
    let step = from as f32 / to as f32;
    let spread = (0.5 * (step - 1.0)).clamp(0.0, 1.0);
    let apart = spread / (0.5 + spread);
    let tap = |index: usize| {
        let center = (index as f32 + 0.5) * step - 0.5;
        let first = center.floor() as isize - 2;
        let places: [isize; 6] = std::array::from_fn(|tap| first + tap as isize);
        let weights = places.map(|place| weight(how, place as f32 - center, (apart, a)));
        let sum: f32 = weights.iter().sum();
        let last = from as isize - 1;
        let mut taps = Taps {
            at: [0; 6],
            weights: [0.0; 6],
            count: 0,
        };
        for (place, weight) in places.into_iter().zip(weights) {
            if weight != 0.0 {
                taps.at[taps.count] = place.clamp(0, last) as usize;
                taps.weights[taps.count] = weight / sum;
                taps.count += 1;
            }
        }
        taps
    };
    (0..to).map(tap).collect()
}

/// Where the scaled plane goes.
struct Target {
    address: u64,
    width: usize,
    height: usize,
    pitch: usize,
}

/// Runs a function; `None` if an argument is none.
pub(crate) fn launch(kernel: Kernel, arguments: Arguments) -> Option<()> {
    let plane = usize::from(kernel.chroma);
    let texture: u64 = arguments.nth(plane);
    let texture = textures().known.get(&texture).copied()?;
    let size = |index| usize::try_from(arguments.nth::<i32>(index)).ok();
    let target = Target {
        address: arguments.nth(4 + plane),
        width: size(8)?,
        height: size(9)?,
        pitch: size(10)?,
    };
    if texture.wide != kernel.from_wide {
        return None;
    }
    scale(kernel, &texture, &target, arguments.nth(13))
}

fn scale(kernel: Kernel, from: &Texture, to: &Target, parameter: f32) -> Option<()> {
    let across = taps(kernel.how, (from.width, to.width), parameter);
    let down = taps(kernel.how, (from.height, to.height), parameter);
    let (source, offset) = memory::block(from.address)?;
    let (made, start) = memory::block(to.address)?;
    let sample = if kernel.to_wide { 2 } else { 1 };
    let row_bytes = to.width * from.channels * sample;
    let mut rows = Vec::with_capacity(row_bytes * to.height);
    {
        let source = source.read().unwrap_or_else(PoisonError::into_inner);
        let source = source.get(offset..)?;
        let mut sums = vec![0.0; from.width * from.channels];
        for taps in &down {
            blend(from, source, taps, &mut sums)?;
            for (taps, channel) in across
                .iter()
                .flat_map(|taps| (0..from.channels).map(move |channel| (taps, channel)))
            {
                let parts = taps.iter();
                let parts = parts.map(|(at, weight)| weight * sums[at * from.channels + channel]);
                push(kernel, parts.sum::<f32>() + 0.5, &mut rows);
            }
        }
    }
    let mut made = made.write().unwrap_or_else(PoisonError::into_inner);
    for (index, row) in rows.chunks_exact(row_bytes).enumerate() {
        let at = start + index * to.pitch;
        made.get_mut(at..at + row_bytes)?.copy_from_slice(row);
    }
    Some(())
}

/// One row of weighted samples of those above and below it.
fn blend(from: &Texture, source: &[u8], taps: &Taps, sums: &mut [f32]) -> Option<()> {
    sums.fill(0.0);
    let sample = if from.wide { 2 } else { 1 };
    for (at, weight) in taps.iter() {
        let row = source.get(at * from.pitch..at * from.pitch + sums.len() * sample)?;
        if from.wide {
            for (sum, pair) in sums.iter_mut().zip(row.chunks_exact(2)) {
                *sum += weight * f32::from(u16::from_le_bytes([pair[0], pair[1]]));
            }
        } else {
            for (sum, byte) in sums.iter_mut().zip(row) {
                *sum += weight * f32::from(*byte);
            }
        }
    }
    Some(())
}

fn push(kernel: Kernel, value: f32, to: &mut Vec<u8>) {
    if kernel.from_wide {
        let value = value.clamp(0.0, 65535.0) as u16;
        if kernel.to_wide {
            to.extend((value & 0xFFC0).to_le_bytes());
        } else {
            to.push((value >> 8) as u8);
        }
    } else {
        let value = value.clamp(0.0, 255.0) as u8;
        if kernel.to_wide {
            to.extend((u16::from(value) << 8).to_le_bytes());
        } else {
            to.push(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_by_their_names() {
        let kernel = Kernel::named("Subsample_Bilinear_nv12_p010le_uv").expect("it is known");
        let expected = Kernel {
            how: How::Bilinear,
            from_wide: false,
            to_wide: true,
            chroma: true,
        };
        assert_eq!(kernel, expected);
        assert!(Kernel::named("Subsample_Bicubic_p010le_p010le").is_some());
        for unknown in [
            "yadif_uchar",
            "Subsample_Area_nv12_nv12",
            "Subsample_Nearest_nv12",
        ] {
            assert_eq!(Kernel::named(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn weights_add_up_and_stay_within_the_picture() {
        for how in [How::Nearest, How::Bilinear, How::Bicubic, How::Lanczos] {
            for (from, to) in [(320, 320), (320, 213), (320, 107), (320, 500)] {
                for taps in taps(how, (from, to), 0.6) {
                    let sum: f32 = taps.iter().map(|(_, weight)| weight).sum();
                    assert!((sum - 1.0).abs() < 1e-4, "{how:?} {from} {to}: {sum}");
                    assert!(taps.iter().all(|(at, _)| at < from));
                }
            }
        }
    }
}
