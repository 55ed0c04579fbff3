//! Sound: channel layouts, sample formats, conversion, and a queue of samples.

use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};

use super::picture::AvFrame;
use super::{check, static_str, sys};
use crate::error::AvError;

/// How a sample is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleFormat {
    /// 32-bit float, the channels of a sample side by side.
    Float,
    /// 32-bit float, one plane a channel.
    FloatPlanar,
    /// Any other, by FFmpeg's number.
    Other(c_int),
}

impl SampleFormat {
    pub(super) fn of(format: c_int) -> Self {
        match sys::AVSampleFormat(format) {
            sys::AVSampleFormat::AV_SAMPLE_FMT_FLT => Self::Float,
            sys::AVSampleFormat::AV_SAMPLE_FMT_FLTP => Self::FloatPlanar,
            sys::AVSampleFormat(other) => Self::Other(other),
        }
    }

    pub(super) fn raw(self) -> sys::AVSampleFormat {
        match self {
            Self::Float => sys::AVSampleFormat::AV_SAMPLE_FMT_FLT,
            Self::FloatPlanar => sys::AVSampleFormat::AV_SAMPLE_FMT_FLTP,
            Self::Other(format) => sys::AVSampleFormat(format),
        }
    }

    pub(super) fn bytes(self) -> usize {
        // SAFETY: takes a number, known or not.
        usize::try_from(unsafe { sys::av_get_bytes_per_sample(self.raw()) }).unwrap_or(0)
    }

    pub(super) fn is_planar(self) -> bool {
        // SAFETY: takes a number, known or not.
        unsafe { sys::av_sample_fmt_is_planar(self.raw()) != 0 }
    }

    pub(crate) fn name(self) -> &'static str {
        // SAFETY: returns null or a static string.
        unsafe { static_str(sys::av_get_sample_fmt_name(self.raw())) }
    }
}

/// Owns a channel layout.
pub(crate) struct Layout(Box<sys::AVChannelLayout>);

// SAFETY: one owner, and no method changes it.
unsafe impl Send for Layout {}
// SAFETY: shared methods only read.
unsafe impl Sync for Layout {}

impl Layout {
    fn empty() -> Self {
        // SAFETY: all zeroes is FFmpeg's uninitialised layout.
        Self(Box::new(unsafe { std::mem::zeroed() }))
    }

    /// FFmpeg's usual layout for the number of channels.
    pub(crate) fn usual(channels: u32) -> Self {
        let mut layout = Self::empty();
        // SAFETY: fills an uninitialised layout.
        unsafe {
            sys::av_channel_layout_default(
                &raw mut *layout.0,
                c_int::try_from(channels).unwrap_or(0),
            );
        };
        layout
    }

    pub(crate) fn by_name(name: &str) -> Result<Self, AvError> {
        let name = CString::new(name).map_err(|_| AvError::invalid())?;
        let mut layout = Self::empty();
        // SAFETY: fills an uninitialised layout.
        check(unsafe { sys::av_channel_layout_from_string(&raw mut *layout.0, name.as_ptr()) })?;
        Ok(layout)
    }

    /// # Safety
    /// `from` is valid.
    pub(super) unsafe fn copy(from: *const sys::AVChannelLayout) -> Result<Self, AvError> {
        let mut layout = Self::empty();
        // SAFETY: both are valid.
        check(unsafe { sys::av_channel_layout_copy(&raw mut *layout.0, from) })?;
        Ok(layout)
    }

    pub(super) fn as_ptr(&self) -> *const sys::AVChannelLayout {
        &raw const *self.0
    }

    pub(crate) fn channels(&self) -> u32 {
        self.0.nb_channels.max(0) as u32
    }

    /// Whether the layout says only how many channels there are.
    pub(crate) fn is_unspecified(&self) -> bool {
        self.0.order == sys::AVChannelOrder::AV_CHANNEL_ORDER_UNSPEC
    }

    pub(crate) fn name(&self) -> String {
        let mut text = [0_u8; 256];
        // SAFETY: the buffer is writable for the length given.
        let code = unsafe {
            sys::av_channel_layout_describe(self.as_ptr(), text.as_mut_ptr().cast(), text.len())
        };
        let len = text.iter().position(|byte| *byte == 0).unwrap_or(0);
        if code < 0 {
            String::new()
        } else {
            String::from_utf8_lossy(&text[..len]).into_owned()
        }
    }
}

impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        // SAFETY: reads two valid layouts.
        unsafe { sys::av_channel_layout_compare(self.as_ptr(), other.as_ptr()) == 0 }
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::av_channel_layout_uninit(&raw mut *self.0) }
    }
}

/// One end of a conversion.
pub(crate) struct Sound<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) format: SampleFormat,
    pub(crate) rate: u32,
}

/// Owns a resampler between two kinds of sound.
pub(crate) struct Swr {
    context: NonNull<sys::SwrContext>,
    rate: u32,
    layout: Layout,
    format: SampleFormat,
}

// SAFETY: one owner at a time; the context has no thread of its own.
unsafe impl Send for Swr {}

impl Swr {
    pub(crate) fn new(from: &Sound<'_>, to: &Sound<'_>) -> Result<Self, AvError> {
        let rate = |rate: u32| c_int::try_from(rate).map_err(|_| AvError::invalid());
        let mut context = ptr::null_mut();
        // SAFETY: the layouts are valid; FFmpeg allocates the context.
        check(unsafe {
            sys::swr_alloc_set_opts2(
                &raw mut context,
                to.layout.as_ptr().cast_mut(),
                to.format.raw(),
                rate(to.rate)?,
                from.layout.as_ptr().cast_mut(),
                from.format.raw(),
                rate(from.rate)?,
                0,
                ptr::null_mut(),
            )
        })?;
        let context = NonNull::new(context).ok_or_else(AvError::no_memory)?;
        // SAFETY: a valid layout.
        let layout = unsafe { Layout::copy(to.layout.as_ptr()) }.inspect_err(|_| free(context))?;
        let swr = Self {
            context,
            rate: to.rate,
            layout,
            format: to.format,
        };
        // SAFETY: valid and not initialised yet.
        check(unsafe { sys::swr_init(context.as_ptr()) })?;
        Ok(swr)
    }

    /// The samples, at the output's rate, which went in and have not come out.
    pub(crate) fn delay(&mut self) -> i64 {
        // SAFETY: valid.
        unsafe { sys::swr_get_delay(self.context.as_ptr(), i64::from(self.rate)) }
    }

    /// Puts sound in (nothing: the end) and takes out what is ready, which may have no samples.
    pub(crate) fn convert(&mut self, input: Option<&AvFrame>) -> Result<AvFrame, AvError> {
        let (data, samples) = input.map_or((ptr::null(), 0), |frame| {
            (frame.raw().extended_data, frame.raw().nb_samples)
        });
        // SAFETY: valid.
        let room = check(unsafe { sys::swr_get_out_samples(self.context.as_ptr(), samples) })?;
        let mut output =
            AvFrame::sound(self.format, &self.layout, self.rate, room.max(1) as usize)?;
        let raw = output.raw_mut();
        // SAFETY: the output has room for `nb_samples`, and the input has `samples`, in the formats set at the start.
        let count = check(unsafe {
            sys::swr_convert(
                self.context.as_ptr(),
                raw.extended_data.cast(),
                raw.nb_samples,
                data.cast_mut().cast(),
                samples,
            )
        })?;
        raw.nb_samples = count;
        Ok(output)
    }
}

fn free(context: NonNull<sys::SwrContext>) {
    let mut context = context.as_ptr();
    // SAFETY: given up by its owner.
    unsafe { sys::swr_free(&raw mut context) }
}

impl Drop for Swr {
    fn drop(&mut self) {
        free(self.context);
    }
}

/// Owns a queue of samples.
pub(crate) struct Fifo {
    queue: NonNull<sys::AVAudioFifo>,
    format: SampleFormat,
    channels: u32,
}

// SAFETY: one owner at a time.
unsafe impl Send for Fifo {}

impl Fifo {
    pub(crate) fn new(format: SampleFormat, channels: u32) -> Result<Self, AvError> {
        let count = c_int::try_from(channels).map_err(|_| AvError::invalid())?;
        // SAFETY: allocates; null means no memory or an impossible format.
        NonNull::new(unsafe { sys::av_audio_fifo_alloc(format.raw(), count, 1) })
            .map(|queue| Self {
                queue,
                format,
                channels,
            })
            .ok_or_else(AvError::no_memory)
    }

    pub(crate) fn len(&self) -> usize {
        // SAFETY: valid; only reads.
        usize::try_from(unsafe { sys::av_audio_fifo_size(self.queue.as_ptr()) }).unwrap_or(0)
    }

    /// Appends the frame's samples.
    pub(crate) fn push(&mut self, frame: &AvFrame) -> Result<(), AvError> {
        if frame.sample_format() != self.format || frame.channels() != self.channels {
            return Err(AvError::invalid());
        }
        let raw = frame.raw();
        // SAFETY: the frame has that many samples in the queue's format.
        check(unsafe {
            sys::av_audio_fifo_write(
                self.queue.as_ptr(),
                raw.extended_data.cast(),
                raw.nb_samples,
            )
        })
        .map(drop)
    }

    /// Fills the frame with the oldest samples; the queue holds as many.
    pub(crate) fn pop(&mut self, frame: &mut AvFrame) -> Result<(), AvError> {
        if frame.sample_format() != self.format
            || frame.channels() != self.channels
            || frame.samples() > self.len()
        {
            return Err(AvError::invalid());
        }
        let raw = frame.raw_mut();
        // SAFETY: the frame has room for that many samples in the queue's format.
        check(unsafe {
            sys::av_audio_fifo_read(
                self.queue.as_ptr(),
                raw.extended_data.cast(),
                raw.nb_samples,
            )
        })
        .map(drop)
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        // SAFETY: ours, not used again.
        unsafe { sys::av_audio_fifo_free(self.queue.as_ptr()) }
    }
}
