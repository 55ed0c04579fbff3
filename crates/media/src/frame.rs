//! A decoded picture, frozen: cheap to clone, safe to share, never changed.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::color::Color;
use crate::error::{AvError, Error};
use crate::ffi::{self, AvFrame};
use crate::hardware::{self, DeviceKind, Place, Reserved};
use crate::hdr::Light;
use crate::layout;
use crate::time::Rational;

/// What a device failed at that cannot give its picture away.
const DOWNLOAD: &str = "copy a picture to the host";

/// Bits of a sample in the pictures that are encoded; those of 10 bits lie in 16, little end first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
pub enum BitDepth {
    /// 8.
    #[default]
    Eight,
    /// 10.
    Ten,
}

/// The most bytes between two rows of a frame that comes over a pipe. What is cut out of a larger
/// frame keeps the distance of its rows.
const MOST_PADDING: usize = 1 << 20;

impl BitDepth {
    /// The number of bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Eight => 8,
            Self::Ten => 10,
        }
    }

    /// The format of 4:2:0 pictures with so many bits.
    #[must_use]
    pub const fn format(self) -> PixelFormat {
        match self {
            Self::Eight => PixelFormat::YUV420P,
            Self::Ten => PixelFormat::YUV420P10,
        }
    }

    /// Bytes of a sample.
    const fn bytes(self) -> usize {
        match self {
            Self::Eight => 1,
            Self::Ten => 2,
        }
    }
}

impl From<BitDepth> for u8 {
    fn from(depth: BitDepth) -> Self {
        depth.bits()
    }
}

impl TryFrom<u8> for BitDepth {
    type Error = &'static str;

    fn try_from(bits: u8) -> Result<Self, Self::Error> {
        match bits {
            8 => Ok(Self::Eight),
            10 => Ok(Self::Ten),
            _ => Err("pictures have 8 or 10 bits a sample"),
        }
    }
}

/// A picture with its time. Clones share the same samples.
#[derive(Clone)]
pub struct Frame {
    shared: Arc<Shared>,
    pts: Option<i64>,
    duration: Option<i64>,
}

/// The picture itself, which goes with the last clone.
struct Shared {
    picture: AvFrame,
    /// Its room on a device that has only so much for pictures that are kept.
    room: Option<Reserved>,
    /// A copy on a device, by what tells that from others.
    copy: Mutex<Option<(usize, Frame)>>,
}

impl Frame {
    /// Freezes a picture whose rows run from top to bottom.
    pub(crate) fn freeze(picture: AvFrame, pts: Option<i64>, duration: Option<i64>) -> Self {
        let shared = Shared {
            picture,
            room: None,
            copy: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            pts,
            duration,
        }
    }

    /// The same picture, which takes room on its device until its last clone goes. Nobody else has it yet.
    pub(crate) fn with_room(mut self, room: Reserved) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.room = Some(room);
        }
        self
    }

    /// The copy of it on a device, made if there is none yet, and whether it was made now; others who want it wait meanwhile. It goes with the picture. There is one: that on
    /// another device goes when this one comes.
    pub(crate) fn copy_on(
        &self,
        device: usize,
        make: impl FnOnce() -> Result<Self, Error>,
    ) -> Result<(Self, bool), Error> {
        let mut copy = self
            .shared
            .copy
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = copy.as_ref().filter(|(on, _)| *on == device) {
            return Ok((known.clone(), false));
        }
        let fresh = make()?;
        *copy = Some((device, fresh.clone()));
        Ok((fresh, true))
    }

    pub(crate) fn picture(&self) -> &AvFrame {
        &self.shared.picture
    }

    /// Makes a picture in 8-bit 4:2:0 with the same luma and chroma everywhere.
    pub fn filled(width: u32, height: u32, [luma, cb, cr]: [u8; 3]) -> Result<Self, Error> {
        let mut picture = new_picture((width, height), BitDepth::Eight)?;
        for (plane, value) in [luma, cb, cr].into_iter().enumerate() {
            picture.plane_mut(plane).fill(value);
        }
        Ok(Self::freeze(picture, None, None))
    }

    /// Makes a picture in 8-bit 4:2:0 from its three planes, rows packed without gaps; chroma planes have half the width and
    /// height, rounded up.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if a plane has another size.
    pub fn from_planes(width: u32, height: u32, planes: &[&[u8]; 3]) -> Result<Self, Error> {
        let mut picture = new_picture((width, height), BitDepth::Eight)?;
        for (index, plane) in planes.iter().enumerate() {
            let row = if index == 0 { width } else { width.div_ceil(2) } as usize;
            let (stride, rows) = (picture.stride(index), picture.plane_rows(index));
            if plane.len() != row * rows {
                return Err(Error::Mismatch {
                    what: format!("plane {index} of a {width}x{height} frame"),
                    given: format!("{} bytes", plane.len()),
                    takes: format!("{} bytes", row * rows),
                });
            }
            for (to, from) in picture
                .plane_mut(index)
                .chunks_mut(stride)
                .zip(plane.chunks_exact(row))
            {
                to[..row].copy_from_slice(from);
            }
        }
        Ok(Self::freeze(picture, None, None))
    }

    /// Reads a picture in 4:2:0: its three planes one after another, each with as many rows as it has and `strides` bytes from
    /// row to row. Blocks on the reader.
    ///
    /// # Errors
    /// [`Error::Io`] if the reader fails or ends, or a stride is shorter than its row.
    pub fn read(
        (size, depth): ((u32, u32), BitDepth),
        strides: [usize; 3],
        from: &mut dyn Read,
    ) -> Result<Self, Error> {
        let (width, _) = size;
        let mut picture = new_picture(size, depth)?;
        for (index, given) in strides.into_iter().enumerate() {
            let samples = if index == 0 { width } else { width.div_ceil(2) } as usize;
            let row = samples * depth.bytes();
            let stride = picture.stride(index);
            let padding = given
                .checked_sub(row)
                .filter(|padding| *padding <= MOST_PADDING)
                .ok_or_else(|| Error::Io(ErrorKind::InvalidData.into()))?;
            let plane = picture.plane_mut(index);
            if stride == given {
                from.read_exact(plane)?;
                continue;
            }
            let mut skipped = vec![0; padding];
            for to in plane.chunks_mut(stride) {
                from.read_exact(&mut to[..row])?;
                from.read_exact(&mut skipped)?;
            }
        }
        Ok(Self::freeze(picture, None, None))
    }

    /// The same picture at another time.
    #[must_use]
    pub fn with_time(&self, pts: Option<i64>, duration: Option<i64>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            pts,
            duration,
        }
    }

    /// In pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.picture().width()
    }

    /// In pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.picture().height()
    }

    /// How samples are kept; of a picture on a device only that it lies there.
    #[must_use]
    pub fn format(&self) -> PixelFormat {
        PixelFormat(self.picture().format())
    }

    /// How samples are kept, also where they lie on a device.
    #[must_use]
    pub fn samples(&self) -> PixelFormat {
        let on_device = self.picture().device_samples();
        on_device.map_or_else(|| self.format(), PixelFormat)
    }

    /// How samples are kept in the memory of this process, once the picture is [there](Self::download).
    #[must_use]
    pub fn host_format(&self) -> PixelFormat {
        layout::separated(self.samples())
    }

    /// Where the samples lie. Those on a device cannot be read: [`plane`](Self::plane) is empty.
    #[must_use]
    pub fn place(&self) -> Place {
        if self.format().is_hardware() {
            Place::Device
        } else {
            Place::Host
        }
    }

    /// The picture in the memory of this process. 4:2:0 in 8 or 10 bits comes with three planes, everything else as the device keeps it. One
    /// that is there already is shared. Blocks until the device has it ready and it is copied.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails, [`Error::Capacity`].
    pub fn download(&self) -> Result<Self, Error> {
        if self.place() == Place::Host {
            return Ok(self.clone());
        }
        let turn = DeviceKind::of_format(self.format().name()).and_then(DeviceKind::turn);
        let (picture, said) = ffi::listen(|| self.picture().download());
        drop(turn);
        let picture = picture
            .map_err(|source| hardware::failed(self.format().name(), DOWNLOAD, (source, said)))?;
        let picture = layout::separate(picture).map_err(Error::filter(DOWNLOAD))?;
        Ok(Self::freeze(picture, self.pts, self.duration))
    }

    /// When it is to be shown: the decoder's best estimate, in the stream's time base.
    #[must_use]
    pub fn pts(&self) -> Option<i64> {
        self.pts
    }

    /// How long it is to be shown, in the stream's time base, where the file says so.
    #[must_use]
    pub fn duration(&self) -> Option<i64> {
        self.duration
    }

    /// The memory that the picture holds where it lies, in bytes. Clones hold the same memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.picture().buffer_bytes()
    }

    /// About the memory that the picture takes in this process, wherever it lies, in bytes.
    #[must_use]
    pub fn bytes_here(&self) -> usize {
        match self.place() {
            Place::Host => self.bytes(),
            Place::Device => self.picture().packed_bytes(),
        }
    }

    /// A number that this picture and its clones have in common, and no other that is alive.
    #[must_use]
    pub fn identity(&self) -> usize {
        Arc::as_ptr(&self.shared) as usize
    }

    /// What the samples mean.
    #[must_use]
    pub fn color(&self) -> Color {
        self.picture().color()
    }

    /// What the decoder found out of its light.
    #[must_use]
    pub fn light(&self) -> Light {
        self.picture().light()
    }

    /// Whether it has light metadata of its own, by SMPTE ST 2094-40 (HDR10+), as far as the decoder passes such on.
    #[must_use]
    pub fn has_dynamic_light(&self) -> bool {
        self.picture().has_dynamic_light()
    }

    /// The width of a sample over its height; 0 over something if unknown.
    #[must_use]
    pub fn sample_aspect(&self) -> Rational {
        self.picture().sample_aspect()
    }

    /// The rows of a plane, each [`stride`](Self::stride) bytes apart; the last row may end without its padding. Empty for
    /// a plane that the format does not have.
    #[must_use]
    pub fn plane(&self, plane: usize) -> &[u8] {
        self.picture().plane(plane)
    }

    /// Bytes from one row of a plane to the next.
    #[must_use]
    pub fn stride(&self, plane: usize) -> usize {
        self.picture().stride(plane)
    }

    /// A digest of the samples that are shown: equal for equal pictures of one size and format, in every process.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let (across, down) = self.format().chroma_shift();
        let wide = usize::from(self.format().bit_depth() > 8) + 1;
        let mut hash = 0xcbf2_9ce4_8422_2325;
        for plane in 0..4 {
            let chroma = plane == 1 || plane == 2;
            let (across, down) = if chroma { (across, down) } else { (0, 0) };
            let row = self.width().div_ceil(1 << across) as usize * wide;
            let rows = self.height().div_ceil(1 << down) as usize;
            let stride = self.stride(plane).max(1);
            for bytes in self.plane(plane).chunks(stride).take(rows) {
                hash = fnv(hash, &bytes[..row.min(bytes.len())]);
            }
        }
        hash
    }

    /// Whether the picture was coded without reference to others.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.picture().is_key()
    }

    /// Whether the picture consists of two fields.
    #[must_use]
    pub fn interlaced(&self) -> bool {
        self.picture().is_interlaced()
    }

    /// Whether the decoder hid damage in it.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.picture().is_corrupt()
    }
}

/// FNV-1a over words of 64 bits, the last filled up with zeros.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).fold(hash, |hash, word| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn new_picture((width, height): (u32, u32), depth: BitDepth) -> Result<AvFrame, Error> {
    if width == 0 || height == 0 || width > 1 << 15 || height > 1 << 15 {
        return Err(Error::TooLarge { width, height });
    }
    AvFrame::picture(depth.format().0, width, height).map_err(|source: AvError| Error::Capacity {
        operation: format!("make a {width}x{height} frame"),
        source,
    })
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Frame({}x{} {} at {:?})",
            self.width(),
            self.height(),
            self.format().name(),
            self.pts
        )
    }
}

/// How the samples of a picture are kept, among all the ways that FFmpeg knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PixelFormat(i32);

impl PixelFormat {
    /// 8 bits, 4:2:0, three planes.
    pub const YUV420P: Self = Self(ffi::PIX_FMT_YUV420P);
    /// 10 bits in 16, little end first, 4:2:0, three planes.
    pub const YUV420P10: Self = Self(ffi::PIX_FMT_YUV420P10);

    /// The format with FFmpeg's number.
    pub(crate) const fn numbered(number: i32) -> Self {
        Self(number)
    }

    /// FFmpeg's number of it.
    pub(crate) const fn number(self) -> i32 {
        self.0
    }

    /// Finds a format by FFmpeg's name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        ffi::format_by_name(name).map(Self)
    }

    /// FFmpeg's name; empty if the format is none.
    #[must_use]
    pub fn name(self) -> &'static str {
        ffi::format_name(self.0)
    }

    /// Bits of the deepest component; 0 if unknown.
    #[must_use]
    pub fn bit_depth(self) -> u8 {
        ffi::format_descriptor(self.0).map_or(0, |format| format.depth)
    }

    /// Whether samples are red, green and blue.
    #[must_use]
    pub fn is_rgb(self) -> bool {
        ffi::format_descriptor(self.0).is_some_and(|format| format.rgb)
    }

    /// Whether the picture lies in a device's memory.
    #[must_use]
    pub fn is_hardware(self) -> bool {
        ffi::format_descriptor(self.0).is_some_and(|format| format.hardware)
    }

    /// By how many binary orders chroma is smaller than luma: (1, 1) for 4:2:0.
    #[must_use]
    pub fn chroma_shift(self) -> (u8, u8) {
        ffi::format_descriptor(self.0).map_or((0, 0), |format| format.chroma_shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_come_back_as_they_were_given() {
        let luma: Vec<u8> = (0..5 * 3).collect();
        let (cb, cr) = ([1, 2, 3, 4, 5, 6], [9, 8, 7, 6, 5, 4]);
        let frame = Frame::from_planes(5, 3, &[&luma, &cb, &cr]).unwrap();
        for (plane, (width, expected)) in
            [(5, &luma[..]), (3, &cb), (3, &cr)].into_iter().enumerate()
        {
            let rows: Vec<u8> = frame
                .plane(plane)
                .chunks(frame.stride(plane))
                .flat_map(|row| row[..width].to_vec())
                .collect();
            assert_eq!(rows, expected, "plane {plane}");
        }
        assert!(frame.plane(3).is_empty());
        assert!(frame.plane(99).is_empty());
    }

    #[test]
    fn a_plane_of_the_wrong_size_is_refused() {
        let error = Frame::from_planes(4, 4, &[&[0; 16], &[0; 4], &[0; 5]]).unwrap_err();
        assert!(error.to_string().contains("plane 2"), "{error}");
        assert!(matches!(
            Frame::filled(0, 4, [0; 3]),
            Err(Error::TooLarge { .. })
        ));
    }

    #[test]
    fn a_clone_shares_the_picture_and_keeps_its_own_time() {
        let frame = Frame::filled(64, 64, [16, 128, 128]).unwrap();
        let later = frame.with_time(Some(7), Some(1));
        assert_eq!(
            (frame.pts(), later.pts(), later.duration()),
            (None, Some(7), Some(1))
        );
        assert_eq!(frame.plane(0).as_ptr(), later.plane(0).as_ptr());
        assert!(frame.bytes() >= 64 * 64 * 3 / 2);
    }

    #[test]
    fn a_digest_knows_every_sample_that_is_shown() {
        let (mut luma, chroma) = ([7; 10 * 4], [3; 5 * 2]);
        let digest = |luma: &[u8]| {
            let frame = Frame::from_planes(10, 4, &[luma, &chroma, &chroma]);
            frame.unwrap().digest()
        };
        let before = digest(&luma);
        assert_eq!(before, digest(&luma));
        for place in 0..luma.len() {
            luma[place] ^= 1;
            assert_ne!(before, digest(&luma), "sample {place}");
            luma[place] ^= 1;
        }
    }

    #[test]
    fn formats_describe_themselves() {
        let ten = PixelFormat::by_name("yuv420p10le").unwrap();
        assert_eq!(
            (ten.bit_depth(), ten.is_rgb(), ten.chroma_shift()),
            (10, false, (1, 1))
        );
        assert!(PixelFormat::by_name("gbrp").unwrap().is_rgb());
        assert_eq!(PixelFormat::YUV420P.name(), "yuv420p");
        assert_eq!(PixelFormat::by_name("no such format"), None);
    }

    #[test]
    fn frames_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Frame>();
    }
}
