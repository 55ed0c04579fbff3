//! A picture or a stretch of sound, uncompressed.

use std::ffi::{CString, c_int};
use std::ptr::NonNull;

use super::input::{av_rational, rational};
use super::samples::{Layout, SampleFormat};
use super::{check, light, static_str, sys, timestamp, timestamp_or_none};
use crate::color::{ChromaLocation, Color, Crop};
use crate::error::AvError;
use crate::hdr::Light;
use crate::time::Rational;

/// Owns an `AVFrame` and references to its buffers, which may be shared: methods that write need `&mut self` and are
/// for frames just made.
pub(crate) struct AvFrame(NonNull<sys::AVFrame>);

// SAFETY: the frame has one owner, and its buffers are reference counted atomically.
unsafe impl Send for AvFrame {}
// SAFETY: shared methods only read the record and the buffers, which nobody writes once the frame is shared.
unsafe impl Sync for AvFrame {}

impl AvFrame {
    pub(crate) fn new() -> Result<Self, AvError> {
        // SAFETY: allocates; null means no memory.
        NonNull::new(unsafe { sys::av_frame_alloc() })
            .map(Self)
            .ok_or_else(AvError::no_memory)
    }

    /// A picture with buffers of its own; its bytes are to be written.
    pub(crate) fn picture(format: c_int, width: u32, height: u32) -> Result<Self, AvError> {
        let mut frame = Self::new()?;
        let raw = frame.raw_mut();
        raw.format = format;
        raw.width = c_int::try_from(width).map_err(|_| AvError::invalid())?;
        raw.height = c_int::try_from(height).map_err(|_| AvError::invalid())?;
        // SAFETY: the frame is empty and has its shape.
        check(unsafe { sys::av_frame_get_buffer(frame.as_mut_ptr(), 0) })?;
        frame.clear();
        Ok(frame)
    }

    /// Sound with buffers of its own, silent.
    pub(crate) fn sound(
        format: SampleFormat,
        layout: &Layout,
        sample_rate: u32,
        samples: usize,
    ) -> Result<Self, AvError> {
        let mut frame = Self::new()?;
        let pointer = frame.as_mut_ptr();
        let raw = frame.raw_mut();
        raw.format = format.raw().0;
        raw.sample_rate = c_int::try_from(sample_rate).map_err(|_| AvError::invalid())?;
        raw.nb_samples = c_int::try_from(samples).map_err(|_| AvError::invalid())?;
        // SAFETY: the frame is empty; the layout is valid.
        unsafe {
            check(sys::av_channel_layout_copy(
                &raw mut (*pointer).ch_layout,
                layout.as_ptr(),
            ))?;
            check(sys::av_frame_get_buffer(pointer, 0))?;
            check(sys::av_samples_set_silence(
                (*pointer).extended_data,
                0,
                (*pointer).nb_samples,
                (*pointer).ch_layout.nb_channels,
                format.raw(),
            ))?;
        }
        Ok(frame)
    }

    /// Another reference to the same buffers, with all properties.
    pub(crate) fn reference(&self) -> Result<Self, AvError> {
        let mut copy = Self::new()?;
        // SAFETY: both are valid; the first is empty.
        check(unsafe { sys::av_frame_ref(copy.as_mut_ptr(), self.as_ptr()) })?;
        Ok(copy)
    }

    /// Another reference to the same picture with its shape and colours, but without side data, picture type and what
    /// else the decoder said of it.
    pub(crate) fn bare_reference(&self) -> Result<Self, AvError> {
        let mut copy = Self::new()?;
        let from = self.raw();
        let to = copy.raw_mut();
        to.format = from.format;
        to.width = from.width;
        to.height = from.height;
        to.sample_aspect_ratio = from.sample_aspect_ratio;
        to.color_primaries = from.color_primaries;
        to.color_trc = from.color_trc;
        to.colorspace = from.colorspace;
        to.color_range = from.color_range;
        to.chroma_location = from.chroma_location;
        to.data = from.data;
        to.linesize = from.linesize;
        to.extended_data = to.data.as_mut_ptr();
        for (to, from) in to
            .buf
            .iter_mut()
            .zip(from.buf)
            .filter(|(_, from)| !from.is_null())
        {
            // SAFETY: a valid reference of the other frame.
            *to = unsafe { sys::av_buffer_ref(from) };
            if to.is_null() {
                return Err(AvError::no_memory());
            }
        }
        copy.share_pool(self)?;
        Ok(copy)
    }

    /// A picture of the same content in buffers of its own, its rows from top to bottom.
    pub(crate) fn deep_copy(&self) -> Result<Self, AvError> {
        let raw = self.raw();
        let mut copy = Self::picture(raw.format, self.width(), self.height())?;
        // SAFETY: both are valid and of the same shape, the first with buffers of its own.
        unsafe {
            check(sys::av_frame_copy(copy.as_mut_ptr(), self.as_ptr()))?;
            check(sys::av_frame_copy_props(copy.as_mut_ptr(), self.as_ptr()))?;
        }
        Ok(copy)
    }

    /// Leaves out the sides of a picture; its samples stay where they are.
    pub(crate) fn crop(&mut self, crop: Crop) -> Result<(), AvError> {
        let raw = self.raw_mut();
        raw.crop_left = crop.left as usize;
        raw.crop_top = crop.top as usize;
        raw.crop_right = crop.right as usize;
        raw.crop_bottom = crop.bottom as usize;
        // SAFETY: the picture is valid; FFmpeg refuses what would leave nothing of it.
        check(unsafe { sys::av_frame_apply_cropping(self.as_mut_ptr(), sys::RUNGS_CROP_EXACT) })
            .map(drop)
    }

    /// Takes over all that is known of another picture, but not its samples and shape.
    pub(crate) fn take_properties(&mut self, from: &Self) -> Result<(), AvError> {
        // SAFETY: both are valid.
        check(unsafe { sys::av_frame_copy_props(self.as_mut_ptr(), from.as_ptr()) }).map(drop)
    }

    /// Samples `start..start + len` of the same buffers.
    pub(crate) fn samples_slice(&self, start: usize, len: usize) -> Result<Self, AvError> {
        let end = start
            .checked_add(len)
            .filter(|end| *end <= self.samples())
            .ok_or_else(AvError::invalid)?;
        let mut slice = self.reference()?;
        let format = SampleFormat::of(self.raw().format);
        let step = if format.is_planar() {
            1
        } else {
            self.channels() as usize
        } * format.bytes();
        let planes = if format.is_planar() {
            self.channels() as usize
        } else {
            1
        };
        let raw = slice.raw_mut();
        raw.nb_samples = (end - start) as c_int;
        for plane in 0..planes {
            // SAFETY: `extended_data` holds a pointer for each plane, with samples up to `end` behind it. Where it is not
            // `data` itself, the first pointers are in both.
            unsafe {
                let pointer = raw.extended_data.add(plane);
                *pointer = (*pointer).add(start * step);
                if plane < raw.data.len() {
                    raw.data[plane] = *pointer;
                }
            }
        }
        Ok(slice)
    }

    pub(super) fn as_ptr(&self) -> *const sys::AVFrame {
        self.0.as_ptr()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut sys::AVFrame {
        self.0.as_ptr()
    }

    pub(super) fn raw(&self) -> &sys::AVFrame {
        // SAFETY: valid and ours.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn raw_mut(&mut self) -> &mut sys::AVFrame {
        // SAFETY: valid, ours, borrowed mutably.
        unsafe { self.0.as_mut() }
    }

    pub(crate) fn width(&self) -> u32 {
        self.raw().width.max(0) as u32
    }

    pub(crate) fn height(&self) -> u32 {
        self.raw().height.max(0) as u32
    }

    pub(crate) fn format(&self) -> c_int {
        self.raw().format
    }

    pub(crate) fn pts(&self) -> Option<i64> {
        timestamp(self.raw().pts)
    }

    /// The time of decoding of the packet that it came from.
    pub(crate) fn dts(&self) -> Option<i64> {
        timestamp(self.raw().pkt_dts)
    }

    /// FFmpeg's own best effort.
    pub(crate) fn best_pts(&self) -> Option<i64> {
        timestamp(self.raw().best_effort_timestamp).or_else(|| self.pts())
    }

    pub(crate) fn set_pts(&mut self, pts: Option<i64>) {
        self.raw_mut().pts = timestamp_or_none(pts);
    }

    /// Asks the encoder to make a keyframe of it.
    pub(crate) fn ask_for_key(&mut self) {
        self.raw_mut().pict_type = sys::AVPictureType::AV_PICTURE_TYPE_I;
    }

    pub(crate) fn duration(&self) -> Option<i64> {
        #[cfg(frame_duration)]
        let duration = self.raw().duration;
        #[cfg(not(frame_duration))]
        let duration = self.raw().pkt_duration;
        (duration > 0).then_some(duration)
    }

    pub(crate) fn is_key(&self) -> bool {
        #[cfg(frame_flags)]
        return self.raw().flags & sys::AV_FRAME_FLAG_KEY as c_int != 0;
        #[cfg(not(frame_flags))]
        return self.raw().key_frame != 0;
    }

    pub(crate) fn is_interlaced(&self) -> bool {
        #[cfg(frame_flags)]
        return self.raw().flags & sys::AV_FRAME_FLAG_INTERLACED as c_int != 0;
        #[cfg(not(frame_flags))]
        return self.raw().interlaced_frame != 0;
    }

    /// Whether the upper of two fields is shown first.
    pub(crate) fn is_top_first(&self) -> bool {
        #[cfg(frame_flags)]
        return self.raw().flags & sys::AV_FRAME_FLAG_TOP_FIELD_FIRST as c_int != 0;
        #[cfg(not(frame_flags))]
        return self.raw().top_field_first != 0;
    }

    /// Says that the picture consists of two fields, and which of them is shown first.
    pub(crate) fn set_fields(&mut self, top_first: bool) {
        let raw = self.raw_mut();
        #[cfg(frame_flags)]
        {
            raw.flags |= sys::AV_FRAME_FLAG_INTERLACED as c_int;
            if top_first {
                raw.flags |= sys::AV_FRAME_FLAG_TOP_FIELD_FIRST as c_int;
            }
        }
        #[cfg(not(frame_flags))]
        {
            raw.interlaced_frame = 1;
            raw.top_field_first = c_int::from(top_first);
        }
    }

    pub(crate) fn is_corrupt(&self) -> bool {
        self.raw().flags & sys::AV_FRAME_FLAG_CORRUPT as c_int != 0
            || self.raw().decode_error_flags != 0
    }

    pub(crate) fn color(&self) -> Color {
        let raw = self.raw();
        color(
            [raw.color_primaries.0, raw.color_trc.0, raw.colorspace.0],
            raw.color_range,
            raw.chroma_location,
        )
    }

    /// What the picture's side data say of its light.
    pub(crate) fn light(&self) -> Light {
        Light {
            mastering: light::mastering(
                self.side_data(sys::AVFrameSideDataType::AV_FRAME_DATA_MASTERING_DISPLAY_METADATA),
            ),
            content: light::content(
                self.side_data(sys::AVFrameSideDataType::AV_FRAME_DATA_CONTENT_LIGHT_LEVEL),
            ),
        }
    }

    /// Whether the picture has light metadata of its own, by SMPTE ST 2094-40 (HDR10+).
    pub(crate) fn has_dynamic_light(&self) -> bool {
        let kind = sys::AVFrameSideDataType::AV_FRAME_DATA_DYNAMIC_HDR_PLUS;
        !self.side_data(kind).is_empty()
    }

    fn side_data(&self, kind: sys::AVFrameSideDataType) -> &[u8] {
        // SAFETY: returns null or a record of the frame's, whose bytes live as long as the frame.
        unsafe {
            let found = sys::av_frame_get_side_data(self.as_ptr(), kind).as_ref();
            found.map_or(&[], |found| {
                super::bytes(found.data, c_int::try_from(found.size).unwrap_or(0))
            })
        }
    }

    pub(crate) fn set_color(&mut self, color: Color) {
        let raw = self.raw_mut();
        raw.color_primaries.0 = u32::from(color.primaries);
        raw.color_trc.0 = u32::from(color.transfer);
        raw.colorspace.0 = u32::from(color.matrix);
        raw.color_range = range(color.full_range);
        raw.chroma_location = chroma(color.chroma_location);
    }

    pub(crate) fn sample_aspect(&self) -> Rational {
        rational(self.raw().sample_aspect_ratio)
    }

    pub(crate) fn set_sample_aspect(&mut self, aspect: Rational) {
        self.raw_mut().sample_aspect_ratio = av_rational(aspect);
    }

    /// The bytes of all buffers that the frame holds, wherever they lie.
    pub(crate) fn buffer_bytes(&self) -> usize {
        if let Some(bytes) = self.device_bytes() {
            return bytes;
        }
        let raw = self.raw();
        // SAFETY: null, or a valid reference of the frame's.
        raw.buf
            .iter()
            .filter_map(|buffer| unsafe { buffer.as_ref() })
            .map(|buffer| buffer.size)
            .sum()
    }

    /// Whether some plane runs from bottom to top.
    pub(crate) fn is_bottom_up(&self) -> bool {
        self.raw().linesize.iter().any(|stride| *stride < 0)
    }

    pub(crate) fn stride(&self, plane: usize) -> usize {
        self.raw()
            .linesize
            .get(plane)
            .map_or(0, |stride| usize::try_from(*stride).unwrap_or(0))
    }

    /// The bytes of a plane: whole strides, but for the last row's, which may end with the buffer. Nothing for a plane that
    /// the picture does not have or that runs from bottom to top.
    pub(crate) fn plane(&self, plane: usize) -> &[u8] {
        let len = self.plane_len(plane);
        if len == 0 {
            return &[];
        }
        // SAFETY: `plane_len` found that many bytes of a buffer behind the pointer; nobody writes them while shared.
        unsafe { std::slice::from_raw_parts(self.raw().data[plane], len) }
    }

    /// Like [`plane`](Self::plane), to write. Only for frames just made: the buffers are nobody else's.
    pub(crate) fn plane_mut(&mut self, plane: usize) -> &mut [u8] {
        let len = self.plane_len(plane);
        // SAFETY: asks for the reference counts of valid buffers.
        if len == 0 || unsafe { sys::av_frame_is_writable(self.as_mut_ptr()) } <= 0 {
            return &mut [];
        }
        // SAFETY: as in `plane`; no other reference exists.
        unsafe { std::slice::from_raw_parts_mut(self.raw_mut().data[plane], len) }
    }

    fn plane_len(&self, plane: usize) -> usize {
        let raw = self.raw();
        let Some(data) = raw.data.get(plane).copied().filter(|data| !data.is_null()) else {
            return 0;
        };
        let (stride, rows) = (self.stride(plane), self.plane_rows(plane));
        let wanted = stride.saturating_mul(rows);
        let address = data as usize;
        // SAFETY: null, or a valid reference of the frame's.
        let buffers = raw
            .buf
            .iter()
            .filter_map(|buffer| unsafe { buffer.as_ref() });
        buffers
            .filter_map(|buffer| {
                (buffer.data as usize + buffer.size)
                    .checked_sub(address.max(buffer.data as usize))
                    .filter(|_| address >= buffer.data as usize)
            })
            .find(|room| *room > 0)
            .map_or(0, |room| room.min(wanted))
    }

    /// The rows of a plane.
    pub(crate) fn plane_rows(&self, plane: usize) -> usize {
        let Some(descriptor) = format_descriptor(self.raw().format) else {
            return 0;
        };
        // What a device's picture points to is not memory of this process.
        if plane >= descriptor.planes || descriptor.hardware {
            return 0;
        }
        let shift = if plane == 1 || plane == 2 {
            descriptor.chroma_shift.1
        } else {
            0
        };
        (self.height() as usize).div_ceil(1 << shift)
    }

    fn clear(&mut self) {
        for plane in 0..4 {
            self.plane_mut(plane).fill(0);
        }
    }

    pub(crate) fn samples(&self) -> usize {
        self.raw().nb_samples.max(0) as usize
    }

    pub(crate) fn sample_rate(&self) -> u32 {
        self.raw().sample_rate.max(0) as u32
    }

    pub(crate) fn channels(&self) -> u32 {
        self.raw().ch_layout.nb_channels.max(0) as u32
    }

    pub(crate) fn layout(&self) -> Result<Layout, AvError> {
        // SAFETY: the frame's own layout.
        unsafe { Layout::copy(&raw const self.raw().ch_layout) }
    }

    pub(crate) fn sample_format(&self) -> SampleFormat {
        SampleFormat::of(self.raw().format)
    }

    /// A channel's samples, of planar 32-bit float sound; nothing for other sound.
    pub(crate) fn channel(&self, channel: usize) -> &[f32] {
        if self.sample_format() != SampleFormat::FloatPlanar || channel >= self.channels() as usize
        {
            return &[];
        }
        // SAFETY: planar sound has a pointer to all its samples for each channel, aligned for them unless sliced, which
        // keeps whole samples.
        unsafe {
            let data = *self.raw().extended_data.add(channel);
            if data.is_null() || data.align_offset(align_of::<f32>()) != 0 {
                &[]
            } else {
                std::slice::from_raw_parts(data.cast(), self.samples())
            }
        }
    }

    /// Like [`channel`](Self::channel), to write. Only for frames just made.
    pub(crate) fn channel_mut(&mut self, channel: usize) -> &mut [f32] {
        let len = self.channel(channel).len();
        // SAFETY: asks for the reference counts of valid buffers.
        if len == 0 || unsafe { sys::av_frame_is_writable(self.as_mut_ptr()) } <= 0 {
            return &mut [];
        }
        // SAFETY: as in `channel`; no other reference exists.
        unsafe {
            std::slice::from_raw_parts_mut((*self.raw_mut().extended_data.add(channel)).cast(), len)
        }
    }
}

impl Drop for AvFrame {
    fn drop(&mut self) {
        let mut frame = self.0.as_ptr();
        // SAFETY: ours, not used again.
        unsafe { sys::av_frame_free(&raw mut frame) }
    }
}

pub(super) fn range(full: bool) -> sys::AVColorRange {
    if full {
        sys::AVColorRange::AVCOL_RANGE_JPEG
    } else {
        sys::AVColorRange::AVCOL_RANGE_MPEG
    }
}

const CHROMA: [(ChromaLocation, sys::AVChromaLocation); 7] = [
    (
        ChromaLocation::Unspecified,
        sys::AVChromaLocation::AVCHROMA_LOC_UNSPECIFIED,
    ),
    (
        ChromaLocation::Left,
        sys::AVChromaLocation::AVCHROMA_LOC_LEFT,
    ),
    (
        ChromaLocation::Center,
        sys::AVChromaLocation::AVCHROMA_LOC_CENTER,
    ),
    (
        ChromaLocation::TopLeft,
        sys::AVChromaLocation::AVCHROMA_LOC_TOPLEFT,
    ),
    (ChromaLocation::Top, sys::AVChromaLocation::AVCHROMA_LOC_TOP),
    (
        ChromaLocation::BottomLeft,
        sys::AVChromaLocation::AVCHROMA_LOC_BOTTOMLEFT,
    ),
    (
        ChromaLocation::Bottom,
        sys::AVChromaLocation::AVCHROMA_LOC_BOTTOM,
    ),
];

pub(super) fn chroma(location: ChromaLocation) -> sys::AVChromaLocation {
    CHROMA.iter().find(|(name, _)| *name == location).map_or(
        sys::AVChromaLocation::AVCHROMA_LOC_UNSPECIFIED,
        |(_, raw)| *raw,
    )
}

/// Collects primaries, transfer and matrix with the range and the chroma location.
pub(super) fn color(
    points: [u32; 3],
    range: sys::AVColorRange,
    location: sys::AVChromaLocation,
) -> Color {
    let [primaries, transfer, matrix] = points.map(|point| u8::try_from(point).unwrap_or(2));
    Color {
        primaries,
        transfer,
        matrix,
        full_range: range == sys::AVColorRange::AVCOL_RANGE_JPEG,
        chroma_location: CHROMA
            .iter()
            .find(|(_, raw)| *raw == location)
            .map_or(ChromaLocation::Unspecified, |(name, _)| *name),
    }
}

/// What there is to know of a pixel format.
#[derive(Clone, Copy)]
pub(crate) struct FormatDescriptor {
    pub(crate) depth: u8,
    pub(crate) rgb: bool,
    pub(crate) hardware: bool,
    pub(crate) planes: usize,
    pub(crate) chroma_shift: (u8, u8),
}

pub(crate) fn format_descriptor(format: c_int) -> Option<FormatDescriptor> {
    let format = sys::AVPixelFormat(format);
    // SAFETY: returns null for an unknown number, otherwise a static record.
    let (raw, planes) = unsafe {
        (
            sys::av_pix_fmt_desc_get(format).as_ref()?,
            sys::av_pix_fmt_count_planes(format),
        )
    };
    let components = raw.comp.iter().take(usize::from(raw.nb_components));
    let has = |flag: u32| raw.flags & u64::from(flag) != 0;
    Some(FormatDescriptor {
        depth: components
            .map(|component| component.depth.max(0) as u8)
            .max()
            .unwrap_or(0),
        // The colours of a palette are red, green and blue.
        rgb: has(sys::AV_PIX_FMT_FLAG_RGB) || has(sys::AV_PIX_FMT_FLAG_PAL),
        hardware: has(sys::AV_PIX_FMT_FLAG_HWACCEL),
        planes: usize::try_from(planes).unwrap_or(0),
        chroma_shift: (raw.log2_chroma_w, raw.log2_chroma_h),
    })
}

pub(crate) fn format_name(format: c_int) -> &'static str {
    // SAFETY: returns null or a static string.
    unsafe { static_str(sys::av_get_pix_fmt_name(sys::AVPixelFormat(format))) }
}

pub(crate) fn format_by_name(name: &str) -> Option<c_int> {
    let name = CString::new(name).ok()?;
    // SAFETY: reads the string.
    let format = unsafe { sys::av_get_pix_fmt(name.as_ptr()) };
    (format != sys::AVPixelFormat::AV_PIX_FMT_NONE).then_some(format.0)
}

/// The plane pointers of a picture as scalers want them.
pub(super) fn planes(frame: &sys::AVFrame) -> [*const u8; 8] {
    frame.data.map(<*mut u8>::cast_const)
}
