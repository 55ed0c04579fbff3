//! Sound in, its loudness out, as EBU R128 measures it: integrated loudness and true peak.

use std::fmt;

use crate::audio::{AudioFrame, Format};
use crate::error::Error;
use crate::ffi::{Layout, MeterGraph};

/// How loud some sound is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loudness {
    /// Integrated loudness in LUFS; `None` for sound that is silent or shorter than the meter's first window (0.4 s).
    pub integrated: Option<f64>,
    /// The highest true peak of all channels in dBTP, to a hundredth or so; `None` for silence.
    pub true_peak: Option<f64>,
}

/// Measures sound as it goes by. Uses FFmpeg's filter `ebur128`.
pub struct LoudnessMeter {
    format: Format,
    /// `None` before the first frame.
    graph: Option<MeterGraph>,
    integrated: Option<f64>,
    true_peak: Option<f64>,
}

impl LoudnessMeter {
    /// Makes a meter for converted sound of this format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            graph: None,
            integrated: None,
            true_peak: None,
        }
    }

    /// Measures what [`Resampler`](crate::audio::Resampler) gave, as if its channels were in FFmpeg's usual layout for their number.
    ///
    /// # Errors
    /// [`Error::Filter`] if the sound is of another format, or FFmpeg has no `ebur128`.
    pub fn hear(&mut self, frame: &AudioFrame) -> Result<(), Error> {
        if frame.samples() == 0 {
            return Ok(());
        }
        if self.graph.is_none() {
            let layout = Layout::usual(self.format.channels);
            let graph = MeterGraph::new(&layout, self.format.sample_rate);
            self.graph = Some(graph.map_err(Error::filter("make a loudness meter"))?);
        }
        let channels: Vec<_> = (0..self.format.channels as usize)
            .map(|channel| frame.channel(channel))
            .collect();
        let plain = AudioFrame::from_channels(self.format.sample_rate, None, &channels)?;
        self.give(Some(&plain))
    }

    fn give(&mut self, frame: Option<&AudioFrame>) -> Result<(), Error> {
        let Some(graph) = &mut self.graph else {
            return Ok(());
        };
        let told = graph
            .hear(frame.map(AudioFrame::inner))
            .map_err(Error::filter("measure the loudness"))?;
        self.integrated = told.integrated.or(self.integrated);
        self.true_peak = told.true_peak.or(self.true_peak);
        Ok(())
    }

    /// Tells what was measured.
    pub fn finish(mut self) -> Result<Loudness, Error> {
        /// Below this the meter heard nothing.
        const SILENCE: f64 = -69.9;
        self.give(None)?;
        let peak = self.true_peak.filter(|peak| *peak > 0.0);
        Ok(Loudness {
            integrated: self.integrated.filter(|loudness| *loudness > SILENCE),
            true_peak: peak.map(|peak| 20.0 * peak.log10()),
        })
    }
}

impl fmt::Debug for LoudnessMeter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LoudnessMeter")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
