//! An image that lies over all pictures.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::decode::{DecodeOptions, Received, VideoDecoder};
use crate::demux::Demuxer;
use crate::error::Error;
use crate::frame::{BitDepth, Frame};
use crate::source::{Limits, Source};

/// An image with its place. It is read again by whoever normalises pictures, and must still be the same then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The image file: PNG, JPEG, WebP or BMP.
    pub path: PathBuf,
    /// From the left side of the picture to that of the image, in pixels of the normalised picture.
    pub x: i32,
    /// The same from the top.
    pub y: i32,
    /// The matrix by which its red, green and blue become luma and chroma: the pictures' own, H.273 §8.3.
    pub matrix: u8,
    /// [`Frame::digest`] of the image.
    pub digest: u64,
}

/// Reads an image file. Blocks on the file.
///
/// # Errors
/// [`Error::UnknownFormat`] if it is no image of a kind that can be used, and what opening and decoding give.
pub fn read_image(path: &Path) -> Result<Frame, Error> {
    let limits = Limits::default();
    let source = Source::from(path);
    let mut demuxer = Demuxer::open_image(&source, &limits, &CancelToken::default())?;
    let none = || Error::NoStream {
        kind: "image",
        index: 0,
    };
    let options = DecodeOptions {
        threads: 1,
        strict: true,
        max_pixels: limits.max_pixels,
    };
    let mut decoder = VideoDecoder::open(demuxer.streams().first().ok_or_else(none)?, &options)?;
    loop {
        match decoder.receive()? {
            Received::Frame(frame) => return Ok(frame),
            Received::End => return Err(none()),
            Received::NeedsInput => {
                let packet = demuxer.read()?;
                // It asked for input, so it takes it.
                let _accepted = decoder.send(packet.as_ref())?;
            }
        }
    }
}

impl Overlay {
    /// Reads the image.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it is another one than it was.
    pub(crate) fn read(&self) -> Result<Frame, Error> {
        let image = read_image(&self.path)?;
        if image.digest() == self.digest {
            return Ok(image);
        }
        Err(Error::Mismatch {
            what: "the overlay".to_owned(),
            given: "another image".to_owned(),
            takes: "the one with which the job was begun".to_owned(),
        })
    }

    /// The filters that lay `[still]` over what another chain makes of `[in]`.
    pub(crate) fn description(&self, chain: &str, (matrix, depth): (&str, BitDepth)) -> String {
        let (under, over) = match depth {
            BitDepth::Eight => ("yuv420", "yuva420p"),
            BitDepth::Ten => ("yuv420p10", "yuva420p10le"),
        };
        let (x, y, format) = (self.x, self.y, depth.format().name());
        format!(
            "[in]{chain}[under];\
             [still]scale=flags=bicubic+accurate_rnd+full_chroma_int+bitexact:out_range=tv:out_color_matrix={matrix},\
             format={over}[over];\
             [under][over]overlay=x={x}:y={y}:eval=init:format={under},format={format}[out]"
        )
    }
}
