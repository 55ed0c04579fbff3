//! FFmpeg's loudness meter (EBU R128) as a chain of filters: sound in, figures out.

use std::ptr;

use super::graph::{Ends, Owned, create};
use super::picture::AvFrame;
use super::samples::{Layout, SampleFormat};
use super::{check, dict, sys};
use crate::error::AvError;

/// Owns a filter graph with the meter in it.
pub(crate) struct MeterGraph {
    graph: Owned,
    source: ptr::NonNull<sys::AVFilterContext>,
    sink: ptr::NonNull<sys::AVFilterContext>,
}

// SAFETY: one owner at a time; the graph has no thread bound to its maker.
unsafe impl Send for MeterGraph {}

/// What the meter has to say of all sound so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Metered {
    /// Integrated loudness in LUFS.
    pub(crate) integrated: Option<f64>,
    /// The highest true peak of all channels, 1 at full scale.
    pub(crate) true_peak: Option<f64>,
}

impl MeterGraph {
    /// Builds the meter for sound in 32-bit float planes.
    pub(crate) fn new(layout: &Layout, rate: u32) -> Result<Self, AvError> {
        let graph = Owned::new()?;
        let arguments = format!(
            "time_base=1/{rate}:sample_rate={rate}:sample_fmt={}:channel_layout={}",
            SampleFormat::FloatPlanar.name(),
            layout.name()
        );
        let source = create(&graph, c"abuffer", Some(&arguments))?;
        let sink = create(&graph, c"abuffersink", None)?;
        let ends = (Ends::new(c"in", source)?, Ends::new(c"out", sink)?);
        graph.connect(c"ebur128=metadata=1:peak=true", ends)?;
        Ok(Self {
            graph,
            source,
            sink,
        })
    }

    /// Puts sound in, or with `None` the end of it, and takes out what the meter says last; nothing if it says nothing yet.
    pub(crate) fn hear(&mut self, frame: Option<&AvFrame>) -> Result<Metered, AvError> {
        let mut input = frame.map(AvFrame::reference).transpose()?;
        let input = input.as_mut().map_or(ptr::null_mut(), AvFrame::as_mut_ptr);
        // SAFETY: the graph is configured; the source takes over the reference, and takes null for the end.
        check(unsafe { sys::av_buffersrc_add_frame_flags(self.source.as_ptr(), input, 0) })?;
        let mut metered = Metered::default();
        loop {
            let mut output = AvFrame::new()?;
            // SAFETY: the graph is configured, and the sink fills an empty frame.
            let code =
                unsafe { sys::av_buffersink_get_frame(self.sink.as_ptr(), output.as_mut_ptr()) };
            if code == sys::RUNGS_AGAIN || code == sys::RUNGS_EOF {
                return Ok(metered);
            }
            check(code)?;
            // SAFETY: the frame's list, which nothing changes.
            let told = unsafe { dict::entries(output.raw().metadata) };
            let number = |key: &str| told.get(key).and_then(|text| text.parse().ok());
            metered.integrated = number("lavfi.r128.I").or(metered.integrated);
            metered.true_peak = number("lavfi.r128.true_peak").or(metered.true_peak);
        }
    }
}

impl std::fmt::Debug for MeterGraph {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "MeterGraph({:p})", self.graph.as_ptr())
    }
}
