//! A chain of FFmpeg's filters, one picture in and one out.

use std::ffi::{CStr, CString, c_int};
use std::fmt::Write as _;
use std::ptr::{self, NonNull};

use super::picture::AvFrame;
use super::{check, sys};
use crate::color::Color;
use crate::error::AvError;

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

/// Owns a filter graph with its source and sink.
pub(crate) struct FilterGraph {
    graph: NonNull<sys::AVFilterGraph>,
    source: NonNull<sys::AVFilterContext>,
    sink: NonNull<sys::AVFilterContext>,
}

// SAFETY: one owner at a time; the graph has no thread bound to its maker.
unsafe impl Send for FilterGraph {}

impl FilterGraph {
    /// Builds the chain `description` for pictures of the shape. It runs on the calling thread.
    pub(crate) fn new(shape: Shape, description: &str) -> Result<Self, AvError> {
        // SAFETY: allocates; null means no memory.
        let graph =
            NonNull::new(unsafe { sys::avfilter_graph_alloc() }).ok_or_else(AvError::no_memory)?;
        let graph = Owned(graph);
        // SAFETY: the graph is valid and ours.
        unsafe { (*graph.0.as_ptr()).nb_threads = 1 }
        let mut arguments = format!(
            "video_size={}x{}:pix_fmt={}:time_base=1/1000:pixel_aspect=1/1",
            shape.width, shape.height, shape.format
        );
        if cfg!(buffer_colour) {
            let range = if shape.color.full_range { "pc" } else { "tv" };
            let _ = write!(
                arguments,
                ":range={range}:colorspace={}",
                shape.color.matrix
            );
        }
        let source = create(&graph, c"buffer", Some(&arguments))?;
        let sink = create(&graph, c"buffersink", None)?;
        let (mut outputs, mut inputs) = (Ends::new(c"in", source)?, Ends::new(c"out", sink)?);
        let description = CString::new(description).map_err(|_| AvError::invalid())?;
        // SAFETY: the graph, both ends and the text are valid; FFmpeg replaces the ends by what is left of them.
        check(unsafe {
            sys::avfilter_graph_parse_ptr(
                graph.0.as_ptr(),
                description.as_ptr(),
                &raw mut inputs.0,
                &raw mut outputs.0,
                ptr::null_mut(),
            )
        })?;
        // SAFETY: valid.
        check(unsafe { sys::avfilter_graph_config(graph.0.as_ptr(), ptr::null_mut()) })?;
        let built = Self {
            graph: graph.0,
            source,
            sink,
        };
        std::mem::forget(graph);
        Ok(built)
    }

    /// Puts one picture in and takes one out.
    pub(crate) fn apply(&mut self, frame: &AvFrame) -> Result<AvFrame, AvError> {
        let mut input = frame.bare_reference()?;
        let mut output = AvFrame::new()?;
        // SAFETY: the graph is configured; the source takes over the reference, and the sink fills an empty frame.
        unsafe {
            check(sys::av_buffersrc_add_frame_flags(
                self.source.as_ptr(),
                input.as_mut_ptr(),
                0,
            ))?;
            check(sys::av_buffersink_get_frame(
                self.sink.as_ptr(),
                output.as_mut_ptr(),
            ))?;
        }
        Ok(output)
    }
}

impl Drop for FilterGraph {
    fn drop(&mut self) {
        drop(Owned(self.graph));
    }
}

/// A graph under construction.
struct Owned(NonNull<sys::AVFilterGraph>);

impl Drop for Owned {
    fn drop(&mut self) {
        let mut graph = self.0.as_ptr();
        // SAFETY: ours, not used again; it frees its filters.
        unsafe { sys::avfilter_graph_free(&raw mut graph) }
    }
}

fn create(
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
            return Err(AvError::new(sys::RUNGS_INVALID));
        }
        sys::avfilter_graph_create_filter(
            &raw mut made,
            filter,
            ptr::null(),
            arguments.as_ref().map_or(ptr::null(), |text| text.as_ptr()),
            ptr::null_mut(),
            graph.0.as_ptr(),
        )
    })?;
    NonNull::new(made).ok_or_else(AvError::no_memory)
}

/// Owns one open end of a chain.
struct Ends(*mut sys::AVFilterInOut);

impl Ends {
    fn new(name: &CStr, filter: NonNull<sys::AVFilterContext>) -> Result<Self, AvError> {
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

impl Drop for Ends {
    fn drop(&mut self) {
        // SAFETY: ours; null is allowed.
        unsafe { sys::avfilter_inout_free(&raw mut self.0) }
    }
}
