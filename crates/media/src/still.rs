//! Decoded pictures in, JPEG files out: thumbnails on tiles, and single pictures.
//!
//! ```text
//! picture ─► Developer: standard range, size, full range, BT.601 ─► jpeg
//!                                          └─► Tile: many in one picture ─► jpeg
//! ```
//!
//! The samples of a JPEG file have their full range and BT.601's matrix, whatever the picture has (JFIF 1.02; ITU-T T.871 §6.2).

use crate::color::{ChromaLocation, Color};
use crate::error::{AvError, Error};
use crate::ffi::{self, AvFrame, CodecContext, FilterGraph, Inlet, Poll, Shape, VideoSettings};
use crate::frame::{Frame, PixelFormat};
use crate::hdr::{self, ToneMap};
use crate::normalise::{Config, Normaliser, matrix_name};
use crate::time::{Rational, TimeBase};

/// FFmpeg's name of the encoder.
const ENCODER: &str = "mjpeg";

/// What the samples of a JPEG file mean. Primaries and transfer are those of sRGB, which BT.709's are close to.
const COLOR: Color = Color {
    primaries: 1,
    transfer: 1,
    matrix: 6,
    full_range: true,
    chroma_location: ChromaLocation::Center,
};

/// What this FFmpeg lacks to make JPEG files; `None` if it lacks nothing.
#[must_use]
pub fn missing() -> Option<&'static str> {
    ffi::Codec::encoder(ENCODER).is_none().then_some(ENCODER)
}

/// Makes decoded pictures of 4:2:0 into what a JPEG file holds.
pub struct Developer {
    size: (u32, u32),
    tone: Option<Normaliser>,
    built: Option<(Shape, FilterGraph)>,
}

impl Developer {
    /// Makes one for pictures of some colours, none of them left open, which are to become `size` large, in even pixels. High dynamic range is
    /// brought to standard range, with `peak` the brightest that is kept apart from white, in cd/m².
    #[must_use]
    pub fn new(size: (u32, u32), color: Color, peak: u32) -> Self {
        let tone = hdr::is_hdr(color).then(|| {
            Normaliser::new(Config {
                tone: Some(ToneMap { from: color, peak }),
                ..Config::default()
            })
        });
        Self {
            size,
            tone,
            built: None,
        }
    }

    /// Develops a picture.
    ///
    /// # Errors
    /// [`Error::Filter`] if there is no such conversion.
    pub fn apply(&mut self, frame: &Frame) -> Result<Frame, Error> {
        let frame = match &mut self.tone {
            Some(tone) => &tone.apply(frame)?,
            None => frame,
        };
        let shape = Shape::of(frame.picture());
        let operation = || format!("make a still of {}x{}", shape.width, shape.height);
        let mut graph = match self.built.take() {
            Some((other, graph)) if other == shape => graph,
            _ => FilterGraph::new(&Inlet::of(shape), &self.description(shape.color))
                .map_err(Error::filter(operation()))?,
        };
        let bare = frame.picture().bare_reference();
        let passed = bare.and_then(|mut bare| {
            bare.set_pts(Some(0));
            graph.apply(bare)
        });
        let mut picture = passed.map_err(Error::filter(operation()))?;
        self.built = Some((shape, graph));
        picture.set_color(COLOR);
        Ok(Frame::freeze(picture, frame.pts(), frame.duration()))
    }

    fn description(&self, color: Color) -> String {
        let (width, height) = self.size;
        let range = if color.full_range { "pc" } else { "tv" };
        let matrix = matrix_name(color.matrix);
        // In 1/256 of a luma sample: from the left, or from its corner, to the middle between four samples.
        let (across, down) = match color.chroma_location {
            ChromaLocation::TopLeft => (0, 0),
            ChromaLocation::Center => (128, 128),
            _ => (0, 128),
        };
        format!(
            "scale={width}:{height}:flags=bicubic+accurate_rnd+full_chroma_int+bitexact:in_range={range}:out_range=pc:\
             in_color_matrix={matrix}:out_color_matrix=bt601:in_h_chr_pos={across}:in_v_chr_pos={down}:\
             out_h_chr_pos=128:out_v_chr_pos=128,format={}",
            PixelFormat::YUV420P.name()
        )
    }
}

impl std::fmt::Debug for Developer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Developer")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Many small pictures in one, black where none was put.
#[derive(Debug)]
pub struct Tile {
    size: (u32, u32),
    planes: [Vec<u8>; 3],
}

impl Tile {
    /// Makes a black one of a size in even pixels.
    #[must_use]
    pub fn new((width, height): (u32, u32)) -> Self {
        let luma = width as usize * height as usize;
        Self {
            size: (width, height),
            planes: [vec![0; luma], vec![128; luma / 4], vec![128; luma / 4]],
        }
    }

    /// Puts a [developed](Developer) picture with its upper left corner at an even place. What is outside is left out.
    pub fn put(&mut self, (x, y): (u32, u32), frame: &Frame) {
        let (width, _) = self.size;
        for (index, plane) in self.planes.iter_mut().enumerate() {
            let half = if index == 0 { 1 } else { 2 };
            let all = (width / half) as usize;
            let row = (frame.width() / half) as usize;
            let (left, top) = ((x / half) as usize, (y / half) as usize);
            let to = plane.chunks_exact_mut(all.max(1)).skip(top);
            let from = frame.plane(index).chunks(frame.stride(index).max(1));
            let rows = (frame.height() / half) as usize;
            for (to, from) in to.zip(from).take(rows) {
                if let (Some(to), Some(from)) = (to.get_mut(left..left + row), from.get(..row)) {
                    to.copy_from_slice(from);
                }
            }
        }
    }

    /// Returns all of it as one picture.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Capacity`].
    pub fn frame(&self) -> Result<Frame, Error> {
        let (width, height) = self.size;
        let [luma, cb, cr] = &self.planes;
        Frame::from_planes(width, height, &[luma, cb, cr])
    }
}

/// The contrast of a [developed](Developer) picture: the standard deviation of its luma, 0 to 127. A black picture and a title of few letters have
/// next to none.
#[must_use]
pub fn contrast(frame: &Frame) -> f64 {
    let (mut count, mut sum, mut squares) = (0_u64, 0_u64, 0_u64);
    let rows = frame.plane(0).chunks(frame.stride(0).max(1));
    for row in rows.take(frame.height() as usize) {
        for &luma in &row[..row.len().min(frame.width() as usize)] {
            let luma = u64::from(luma);
            count += 1;
            sum += luma;
            squares += luma * luma;
        }
    }
    let count = count.max(1) as f64;
    let mean = sum as f64 / count;
    (squares as f64 / count - mean * mean).max(0.0).sqrt()
}

/// Writes a [developed](Developer) picture, or a [`Tile`]'s, as a JPEG file. `quantizer` is FFmpeg's scale for it, 2 (best) to 31. Equal pictures
/// give equal files.
///
/// # Errors
/// [`Error::Unsupported`] if there is no encoder, [`Error::OpenCodec`] and [`Error::Encode`] if it refuses.
pub fn jpeg(frame: &Frame, quantizer: u8) -> Result<Vec<u8>, Error> {
    crate::init();
    let codec = ffi::Codec::encoder(ENCODER).ok_or_else(|| Error::Unsupported {
        what: format!("encoder {ENCODER}"),
    })?;
    let opened = |error: AvError| Error::open_codec(ENCODER)(error);
    let mut context = CodecContext::new(codec).map_err(opened)?;
    context
        .set_video_encoder(&VideoSettings {
            width: frame.width(),
            height: frame.height(),
            format: frame.format().number(),
            time_base: TimeBase::new(1, 25).ok_or_else(|| opened(AvError::invalid()))?,
            frame_rate: Rational { num: 25, den: 1 },
            color: COLOR,
            gop: 1,
            threads: 1,
        })
        .map_err(opened)?;
    let quantizer = quantizer.to_string();
    let options = [("qmin", quantizer.clone()), ("qmax", quantizer)];
    let known = context.open(options).map_err(opened)?;
    known.map_err(|name| Error::Option {
        what: ENCODER.to_owned(),
        name,
    })?;
    encode(&mut context, frame).map_err(Error::encode(ENCODER))
}

fn encode(context: &mut CodecContext, frame: &Frame) -> Result<Vec<u8>, AvError> {
    let mut picture: AvFrame = frame.picture().bare_reference()?;
    picture.set_pts(Some(0));
    picture.set_color(COLOR);
    if !context.send_frame(Some(&picture))? {
        return Err(AvError::invalid());
    }
    context.send_frame(None)?;
    match context.receive_packet()? {
        Poll::Ready(packet) => Ok(packet.data().to_vec()),
        Poll::Again | Poll::End => Err(AvError::invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HD: Color = Color {
        primaries: 1,
        transfer: 1,
        matrix: 1,
        full_range: false,
        chroma_location: ChromaLocation::Left,
    };

    fn colored(samples: [u8; 3]) -> Frame {
        let plain = Frame::filled(64, 36, samples).unwrap();
        let mut picture = plain.picture().reference().unwrap();
        picture.set_color(HD);
        Frame::freeze(picture, Some(0), None)
    }

    /// The first samples of a picture.
    fn first(frame: &Frame) -> [u8; 3] {
        [0, 1, 2].map(|plane| frame.plane(plane)[0])
    }

    #[test]
    fn the_samples_of_a_still_have_full_range_and_another_matrix() {
        let mut developer = Developer::new((32, 18), HD, 100);
        let near = |developed: &Frame, wanted: [u8; 3]| {
            let found = first(developed);
            let apart = found.iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b));
            assert!(apart.max() <= Some(1), "{found:?}, not {wanted:?}");
        };
        let white = developer.apply(&colored([235, 128, 128])).unwrap();
        assert_eq!((white.width(), white.height()), (32, 18));
        near(&white, [255, 128, 128]);
        near(
            &developer.apply(&colored([16, 128, 128])).unwrap(),
            [0, 128, 128],
        );
        // Pure red: 63, 102, 240 in BT.709 of limited range, 76, 85, 255 in a JPEG file.
        near(
            &developer.apply(&colored([63, 102, 240])).unwrap(),
            [76, 85, 255],
        );
    }

    #[test]
    fn a_tile_has_its_pictures_in_their_places_and_the_rest_black() {
        let mut developer = Developer::new((8, 4), HD, 100);
        let white = developer.apply(&colored([235, 128, 128])).unwrap();
        let mut tile = Tile::new((24, 8));
        tile.put((8, 4), &white);
        let frame = tile.frame().unwrap();
        let lit: Vec<usize> = (0..24 * 8)
            .filter(|place| frame.plane(0)[place / 24 * frame.stride(0) + place % 24] > 250)
            .collect();
        let wanted: Vec<usize> = (4..8).flat_map(|row| row * 24 + 8..row * 24 + 16).collect();
        assert_eq!(lit, wanted);
    }

    #[test]
    fn equal_pictures_are_equal_files() {
        let mut developer = Developer::new((32, 18), HD, 100);
        let grey = developer.apply(&colored([126, 128, 128])).unwrap();
        let file = jpeg(&grey, 3).unwrap();
        assert_eq!(file, jpeg(&grey, 3).unwrap());
        assert!(file.starts_with(&[0xff, 0xd8]) && file.ends_with(&[0xff, 0xd9]));
        assert!(
            !file.windows(4).any(|word| word == b"Lavc"),
            "it names no version"
        );
    }

    #[test]
    fn black_has_no_contrast() {
        let mut developer = Developer::new((32, 18), HD, 100);
        let black = developer.apply(&colored([16, 128, 128])).unwrap();
        assert!(contrast(&black) < 0.5);
        let mut tile = Tile::new((64, 18));
        tile.put((0, 0), &developer.apply(&colored([235, 128, 128])).unwrap());
        let half = contrast(&tile.frame().unwrap());
        assert!((half - 127.5).abs() < 1.0, "{half}");
    }
}
