//! Several tracks of a source in, what the plan must know of them out, with one demuxer for all: a demuxer looks at every stream of the file.

use rungs_media::audio::{AudioDecoder, Format, Resampler};
use rungs_media::demux::{Demuxer, Stream};
use rungs_media::loudness::LoudnessMeter;
use rungs_media::{Error, Limits, Packet, Source};

use super::loudness;
use crate::cancel::Cancel;
use crate::plan::AudioPlan;

/// Packets of a track among which one is expected that can be decoded.
const TRIAL_PACKETS: u32 = 64;
/// How far into the presentation tracks are tried: one that begins later is taken as it is.
const TRIAL_SECONDS: f64 = 5.0;

/// Where and what is read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) source: &'a Source,
    /// Start of the presentation on the source's clock, in seconds, if the source goes on before it and is read from there.
    pub(super) from: Option<f64>,
    pub(super) cancel: &'a Cancel,
}

/// One who wants to see the packets of a stream.
pub(super) trait Viewer {
    fn stream(&self) -> &Stream;

    /// Whether it has seen enough.
    fn is_done(&self) -> bool;

    /// Takes the next packet of the stream.
    fn take(&mut self, packet: &Packet);
}

impl Reading<'_> {
    /// Shows each viewer the packets of its stream until all have seen enough, `until` says so, or the source ends. Blocks meanwhile.
    pub(super) fn show<V: Viewer>(
        &self,
        viewers: &mut [V],
        until: impl Fn(&Packet) -> bool,
    ) -> Result<(), Error> {
        let wanted = |viewers: &[V]| -> Vec<usize> {
            let left = viewers.iter().filter(|viewer| !viewer.is_done());
            left.map(|viewer| viewer.stream().index).collect()
        };
        let mut left = wanted(viewers);
        let Some(first) = viewers.iter().find(|viewer| !viewer.is_done()) else {
            return Ok(());
        };
        let media = self.cancel.media();
        let mut demuxer = Demuxer::open(self.source, &Limits::default(), media)?;
        demuxer.keep_only(&left);
        if let Some(origin) = self.from {
            super::approach(&mut demuxer, first.stream(), origin)?;
        }
        while !left.is_empty() {
            let Some(packet) = demuxer.read()? else {
                break;
            };
            let fits =
                |viewer: &&mut V| viewer.stream().index == packet.stream() && !viewer.is_done();
            for viewer in viewers.iter_mut().filter(fits) {
                viewer.take(&packet);
                if viewer.is_done() {
                    left.retain(|stream| *stream != packet.stream());
                    // Others of the stream are the same, so they have seen enough too.
                    demuxer.keep_only(&left);
                }
            }
            if until(&packet) {
                break;
            }
        }
        Ok(())
    }
}

/// A track that will be encoded, while it is tried or measured.
pub(super) struct Listener<'a> {
    stream: &'a Stream,
    format: Format,
    decoder: Option<AudioDecoder>,
    resampler: Option<Resampler>,
    /// Measures the track, where that is wanted; it is heard to its end then.
    meter: Option<LoudnessMeter>,
    packets: u32,
    heard: bool,
    failed: Option<Error>,
}

impl<'a> Listener<'a> {
    /// Makes one that sees whether a track can be decoded and converted as planned.
    pub(super) fn new(stream: &'a Stream, plan: &AudioPlan) -> Self {
        Self {
            stream,
            format: Format {
                sample_rate: plan.sample_rate,
                channels: plan.channels,
            },
            decoder: None,
            resampler: None,
            meter: None,
            packets: 0,
            heard: false,
            failed: None,
        }
    }

    /// The same that measures the loudness of the whole track too.
    pub(super) fn measuring(self) -> Self {
        Self {
            meter: Some(LoudnessMeter::new(self.format)),
            ..self
        }
    }

    /// Sees whether there is a decoder at all.
    fn open(&mut self) -> Result<(), Error> {
        drop(AudioDecoder::open(self.stream)?);
        Resampler::new(self.format).map(drop)
    }

    /// Decodes a packet, or with `None` what the decoder still has. Damage is passed over, as the job itself will.
    fn hear(&mut self, packet: Option<&Packet>) -> Result<(), Error> {
        let (stream, format) = (self.stream, self.format);
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(AudioDecoder::open(stream)?),
        };
        let resampler = match &mut self.resampler {
            Some(resampler) => resampler,
            none => none.insert(Resampler::new(format)?),
        };
        match decoder.send(packet) {
            Err(error) if !error.is_decode() => return Err(error),
            _ => {}
        }
        loop {
            match decoder.receive() {
                Ok(rungs_media::decode::Received::Frame(frame)) => {
                    let converted = resampler.convert(&frame)?;
                    self.heard = true;
                    if let Some(meter) = &mut self.meter {
                        meter.hear(&converted)?;
                    }
                }
                Ok(_) => return Ok(()),
                Err(error) if error.is_decode() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn measured(&mut self, target: f64) -> Result<i32, Error> {
        self.hear(None)?;
        let rest = self.resampler.as_mut().map(Resampler::flush);
        let Some(mut meter) = self.meter.take() else {
            return Ok(0);
        };
        if let Some(rest) = rest.transpose()?.flatten() {
            meter.hear(&rest)?;
        }
        Ok(loudness::between(meter.finish()?, target))
    }
}

impl Viewer for Listener<'_> {
    fn stream(&self) -> &Stream {
        self.stream
    }

    fn is_done(&self) -> bool {
        let tried = self.heard || self.packets >= TRIAL_PACKETS;
        self.failed.is_some() || tried && self.meter.is_none()
    }

    fn take(&mut self, packet: &Packet) {
        self.packets += 1;
        self.failed = self.hear(Some(packet)).err();
        if self.is_done() {
            // There may be many, and each takes memory.
            self.decoder = None;
            self.resampler = None;
        }
    }
}

/// Sees whether tracks can be decoded and converted. Gives the error of those that cannot, in their order.
pub(super) fn try_all(
    reading: Reading<'_>,
    origin: f64,
    listeners: &mut [Listener<'_>],
) -> Result<Vec<Option<Error>>, Error> {
    for listener in &mut *listeners {
        listener.failed = listener.open().err();
    }
    // Of a source that still comes no more is waited for than must be.
    if reading.source.is_whole() {
        let bases: Vec<_> = listeners
            .iter()
            .map(|l| (l.stream.index, l.stream.time_base))
            .collect();
        let beyond = |packet: &Packet| {
            let base = bases.iter().find(|(stream, _)| *stream == packet.stream());
            let time = base
                .zip(packet.pts())
                .map(|((_, base), pts)| base.seconds(pts));
            time.is_some_and(|time| time - origin > TRIAL_SECONDS)
        };
        match reading.show(listeners, beyond) {
            // The job meets it too, and says where.
            Ok(()) | Err(Error::Read(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(listeners
        .iter_mut()
        .map(|listener| listener.failed.take())
        .collect())
}

/// Measures tracks as they will be encoded, and gives for each the gain to `target` LUFS in hundredths of a decibel. Blocks while all of them are
/// decoded.
pub(super) fn measure_all(
    reading: Reading<'_>,
    target: f64,
    listeners: Vec<Listener<'_>>,
) -> Result<Vec<Result<i32, Error>>, Error> {
    let mut listeners: Vec<_> = listeners.into_iter().map(Listener::measuring).collect();
    match reading.show(&mut listeners, |_| false) {
        Ok(()) | Err(Error::Read(_)) => {}
        Err(error) => return Err(error),
    }
    let gain = |listener: &mut Listener<'_>| match listener.failed.take() {
        Some(error) => Err(error),
        None => listener.measured(target),
    };
    Ok(listeners.iter_mut().map(gain).collect())
}
