//! A graph of FFmpeg's filters: pictures in at one end, or at a second one, pictures out at the other.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int};
use std::fmt::Write as _;
use std::ptr::{self, NonNull};

use super::codec::{Poll, poll};
use super::input::{av_rational, rational};
use super::picture::AvFrame;
use super::{check, sys};
use crate::color::Color;
use crate::error::AvError;
use crate::time::Rational;

/// How FFmpeg's filters convert pictures where one of them does not take the format before it: the same to the bit on every
/// machine.
const CONVERSION: &CStr = c"flags=bicubic+accurate_rnd+full_chroma_int+bitexact";

/// What of a picture a chain is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) format: c_int,
    pub(crate) color: Color,
}

impl Shape {
    pub(crate) fn of(frame: &AvFrame) -> Self {
        Self {
            width: frame.width(),
            height: frame.height(),
            format: frame.format(),
            color: frame.color(),
        }
    }
}

/// What pictures a graph takes at one end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inlet {
    pub(crate) shape: Shape,
    /// The unit of their timestamps, in seconds.
    pub(crate) time_base: Rational,
    /// Pictures a second, for filters that want a constant rate.
    pub(crate) frame_rate: Option<Rational>,
}

impl Inlet {
    /// Pictures whose times do not matter.
    pub(crate) fn of(shape: Shape) -> Self {
        Self {
            shape,
            time_base: Rational { num: 1, den: 1000 },
            frame_rate: None,
        }
    }

    /// The arguments of FFmpeg's `buffer`.
    fn arguments(&self) -> String {
        let Shape {
            width,
            height,
            format,
            color,
        } = self.shape;
        let Rational { num, den } = self.time_base;
        let mut arguments = format!(
            "video_size={width}x{height}:pix_fmt={format}:time_base={num}/{den}:pixel_aspect=1/1"
        );
        if let Some(Rational { num, den }) = self.frame_rate {
            let _ = write!(arguments, ":frame_rate={num}/{den}");
        }
        if cfg!(buffer_colour) {
            let range = if color.full_range { "pc" } else { "tv" };
            let _ = write!(arguments, ":range={range}:colorspace={}", color.matrix);
        }
        arguments
    }
}

impl Inlet {
    /// Makes the source of a graph for pictures in the memory of this process.
    fn create(&self, graph: &Owned) -> Result<NonNull<sys::AVFilterContext>, AvError> {
        create(graph, c"buffer", Some(&self.arguments()))
    }

    /// Makes the source of a graph for pictures in a device's memory. Only its parameters can say which pool they come from.
    fn create_on_device(
        &self,
        graph: &Owned,
        first: &AvFrame,
    ) -> Result<NonNull<sys::AVFilterContext>, AvError> {
        let size = |side: u32| c_int::try_from(side).map_err(|_| AvError::invalid());
        // SAFETY: the filter's record is static, and the graph keeps the filter.
        let source = NonNull::new(unsafe {
            sys::avfilter_graph_alloc_filter(
                graph.as_ptr(),
                sys::avfilter_get_by_name(c"buffer".as_ptr()),
                c"in".as_ptr(),
            )
        })
        .ok_or_else(AvError::no_memory)?;
        let parameters = BufferParameters::new()?;
        // SAFETY: the record is valid and ours, and so is the filter, which copies it. The pool's reference is the picture's; the
        // filter makes one of its own.
        check(unsafe {
            let raw = &mut *parameters.0.as_ptr();
            raw.format = self.shape.format;
            raw.width = size(self.shape.width)?;
            raw.height = size(self.shape.height)?;
            raw.time_base = av_rational(self.time_base);
            raw.sample_aspect_ratio = sys::AVRational { num: 1, den: 1 };
            if let Some(rate) = self.frame_rate {
                raw.frame_rate = av_rational(rate);
            }
            #[cfg(buffer_colour)]
            {
                raw.color_range = super::picture::range(self.shape.color.full_range);
                raw.color_space.0 = u32::from(self.shape.color.matrix);
            }
            raw.hw_frames_ctx = first.raw().hw_frames_ctx;
            sys::av_buffersrc_parameters_set(source.as_ptr(), parameters.0.as_ptr())
        })?;
        // SAFETY: valid and not initialised yet; null means no further arguments.
        check(unsafe { sys::avfilter_init_str(source.as_ptr(), ptr::null()) })?;
        Ok(source)
    }
}

/// Owns the record with which a graph's source is told about its pictures, but not the pool that it names.
struct BufferParameters(NonNull<sys::AVBufferSrcParameters>);

impl BufferParameters {
    fn new() -> Result<Self, AvError> {
        // SAFETY: allocates; null means no memory.
        NonNull::new(unsafe { sys::av_buffersrc_parameters_alloc() })
            .map(Self)
            .ok_or_else(AvError::no_memory)
    }
}

impl Drop for BufferParameters {
    fn drop(&mut self) {
        // SAFETY: ours, not used again; allocated with FFmpeg's own allocator, which frees the record alone.
        unsafe { sys::av_free(self.0.as_ptr().cast()) }
    }
}

/// Owns a filter graph with its sources and its sink.
pub(crate) struct FilterGraph {
    graph: NonNull<sys::AVFilterGraph>,
    source: NonNull<sys::AVFilterContext>,
    sink: NonNull<sys::AVFilterContext>,
}

// SAFETY: one owner at a time; the graph has no thread bound to its maker.
unsafe impl Send for FilterGraph {}

impl FilterGraph {
    /// Builds the chain `description` for pictures of one kind. It runs on the calling thread.
    pub(crate) fn new(inlet: &Inlet, description: &str) -> Result<Self, AvError> {
        Self::build(|graph| inlet.create(graph), None, description)
    }

    /// The same for pictures in a device's memory, like `first` and from its pool. The chain's filters get room for `extra` pictures
    /// that are held outside, where the device's pools do not grow.
    pub(crate) fn on_device(
        inlet: &Inlet,
        first: &AvFrame,
        (description, extra): (&str, u32),
    ) -> Result<Self, AvError> {
        let source = |graph: &Owned| {
            graph.set_extra_frames(extra);
            inlet.create_on_device(graph, first)
        };
        Self::build(source, None, description)
    }

    /// The same with a picture that stands at the second open end, `[still]`, for all time; the first one is `[in]` and the last
    /// `[out]`.
    pub(crate) fn with_still(
        inlet: &Inlet,
        still: &AvFrame,
        description: &str,
    ) -> Result<Self, AvError> {
        Self::build(|graph| inlet.create(graph), Some(still), description)
    }

    fn build(
        source: impl FnOnce(&Owned) -> Result<NonNull<sys::AVFilterContext>, AvError>,
        still: Option<&AvFrame>,
        description: &str,
    ) -> Result<Self, AvError> {
        let graph = Owned::new()?;
        let source = source(&graph)?;
        let sink = create(&graph, c"buffersink", None)?;
        let mut outputs = Ends::new(c"in", source)?;
        let inputs = Ends::new(c"out", sink)?;
        let mut second = None;
        if let Some(still) = still {
            let inlet = Inlet::of(Shape::of(still));
            let source = inlet.create(&graph)?;
            outputs.append(Ends::new(c"still", source)?);
            second = Some(source);
        }
        let description = CString::new(description).map_err(|_| AvError::invalid())?;
        graph.connect(&description, (outputs, inputs))?;
        let built = Self {
            graph: graph.graph,
            source,
            sink,
        };
        std::mem::forget(graph);
        if let (Some(second), Some(still)) = (second, still) {
            let mut still = still.bare_reference()?;
            still.set_pts(Some(0));
            push(second, Some(still))?;
            push(second, None)?;
        }
        Ok(built)
    }

    /// Puts one picture in and takes one out.
    pub(crate) fn apply(&mut self, frame: AvFrame) -> Result<AvFrame, AvError> {
        self.push(Some(frame))?;
        match self.pull()? {
            Poll::Ready(output) => Ok(output),
            Poll::Again | Poll::End => Err(AvError::invalid()),
        }
    }

    /// Puts a picture in, or with `None` says that there are no more.
    pub(crate) fn push(&mut self, frame: Option<AvFrame>) -> Result<(), AvError> {
        push(self.source, frame)
    }

    /// Takes a picture out.
    pub(crate) fn pull(&mut self) -> Result<Poll<AvFrame>, AvError> {
        let mut output = AvFrame::new()?;
        // SAFETY: the graph is configured, and the sink fills an empty frame.
        let code = unsafe { sys::av_buffersink_get_frame(self.sink.as_ptr(), output.as_mut_ptr()) };
        poll(code, output)
    }

    /// The unit of the timestamps of what comes out, in seconds.
    pub(crate) fn time_base(&self) -> Rational {
        // SAFETY: the sink of a configured graph.
        rational(unsafe { sys::av_buffersink_get_time_base(self.sink.as_ptr()) })
    }
}

/// Whether this FFmpeg has the filter.
pub(crate) fn has_filter(name: &str) -> bool {
    // SAFETY: reads the string, and returns null or a static record.
    CString::new(name)
        .is_ok_and(|name| unsafe { !sys::avfilter_get_by_name(name.as_ptr()).is_null() })
}

/// Gives a source of a configured graph a picture, or the end.
fn push(source: NonNull<sys::AVFilterContext>, frame: Option<AvFrame>) -> Result<(), AvError> {
    let mut frame = frame;
    let pointer = frame.as_mut().map_or(ptr::null_mut(), AvFrame::as_mut_ptr);
    // SAFETY: the source belongs to a configured graph and takes over the references of a valid frame; null means the end.
    check(unsafe { sys::av_buffersrc_add_frame_flags(source.as_ptr(), pointer, 0) }).map(drop)
}

impl Drop for FilterGraph {
    fn drop(&mut self) {
        drop(Owned::of(self.graph));
    }
}

/// A graph under construction.
pub(super) struct Owned {
    graph: NonNull<sys::AVFilterGraph>,
    /// Pictures that may be held outside, of each filter's own pool on a device.
    extra: Cell<c_int>,
}

impl Owned {
    /// Makes an empty graph that works on the calling thread.
    pub(super) fn new() -> Result<Self, AvError> {
        // SAFETY: allocates; null means no memory.
        let graph =
            NonNull::new(unsafe { sys::avfilter_graph_alloc() }).ok_or_else(AvError::no_memory)?;
        // SAFETY: the graph is valid and ours; it frees the string, which is null or a copy.
        unsafe {
            let raw = graph.as_ptr();
            (*raw).nb_threads = 1;
            (*raw).scale_sws_opts = sys::av_strdup(CONVERSION.as_ptr());
        }
        Ok(Self::of(graph))
    }

    fn of(graph: NonNull<sys::AVFilterGraph>) -> Self {
        Self {
            graph,
            extra: Cell::new(-1),
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::AVFilterGraph {
        self.graph.as_ptr()
    }

    fn set_extra_frames(&self, extra: u32) {
        self.extra.set(c_int::try_from(extra).unwrap_or(c_int::MAX));
    }

    /// Puts the filters of `description` between the ends, sources first, and readies the graph.
    pub(super) fn connect(
        &self,
        description: &CStr,
        (mut outputs, mut inputs): (Ends, Ends),
    ) -> Result<(), AvError> {
        // SAFETY: the graph, all ends and the text are valid; FFmpeg replaces the ends by what is left of them.
        check(unsafe {
            sys::avfilter_graph_parse_ptr(
                self.as_ptr(),
                description.as_ptr(),
                &raw mut inputs.0,
                &raw mut outputs.0,
                ptr::null_mut(),
            )
        })?;
        // SAFETY: the graph has so many valid filters, which nobody else uses yet.
        unsafe {
            let raw = &*self.as_ptr();
            for index in 0..raw.nb_filters as usize {
                (**raw.filters.add(index)).extra_hw_frames = self.extra.get();
            }
        }
        // SAFETY: valid.
        check(unsafe { sys::avfilter_graph_config(self.as_ptr(), ptr::null_mut()) }).map(drop)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut graph = self.graph.as_ptr();
        // SAFETY: ours, not used again; it frees its filters.
        unsafe { sys::avfilter_graph_free(&raw mut graph) }
    }
}

pub(super) fn create(
    graph: &Owned,
    filter: &CStr,
    arguments: Option<&str>,
) -> Result<NonNull<sys::AVFilterContext>, AvError> {
    let arguments = arguments
        .map(CString::new)
        .transpose()
        .map_err(|_| AvError::invalid())?;
    let mut made = ptr::null_mut();
    // SAFETY: the graph is valid and keeps the filter; the strings live through the call.
    check(unsafe {
        let filter = sys::avfilter_get_by_name(filter.as_ptr());
        if filter.is_null() {
            return Err(AvError::invalid());
        }
        sys::avfilter_graph_create_filter(
            &raw mut made,
            filter,
            ptr::null(),
            arguments.as_ref().map_or(ptr::null(), |text| text.as_ptr()),
            ptr::null_mut(),
            graph.as_ptr(),
        )
    })?;
    NonNull::new(made).ok_or_else(AvError::no_memory)
}

/// Owns one open end of a chain.
pub(super) struct Ends(*mut sys::AVFilterInOut);

impl Ends {
    pub(super) fn new(name: &CStr, filter: NonNull<sys::AVFilterContext>) -> Result<Self, AvError> {
        // SAFETY: allocates; null means no memory. The name is copied.
        unsafe {
            let end = sys::avfilter_inout_alloc();
            let Some(record) = end.as_mut() else {
                return Err(AvError::no_memory());
            };
            let owned = Self(end);
            record.name = sys::av_strdup(name.as_ptr());
            record.filter_ctx = filter.as_ptr();
            if record.name.is_null() {
                Err(AvError::no_memory())
            } else {
                Ok(owned)
            }
        }
    }
}

impl Ends {
    /// Puts another end behind this one.
    fn append(&mut self, mut other: Self) {
        // SAFETY: both are valid and ours; this one takes over what the other one owned.
        unsafe { (*self.0).next = std::mem::replace(&mut other.0, ptr::null_mut()) }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // SAFETY: ours; null is allowed.
        unsafe { sys::avfilter_inout_free(&raw mut self.0) }
    }
}
