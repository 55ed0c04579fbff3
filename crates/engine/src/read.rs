//! Where pictures come from: the seam between the pump and FFmpeg, and the real thing behind it.

use std::collections::VecDeque;

use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::demux::{Demuxer, Stream};
use rungs_media::frame::Frame;
use rungs_media::normalise::{self, Normaliser};
use rungs_media::{CancelToken, Error, Limits, Packet, Source};

/// Most packets that are read ahead of the decoder, and the most bytes of them.
const AHEAD_PACKETS: usize = 4096;
const AHEAD_BYTES: usize = 64 << 20;

/// One decoded, normalised picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The picture.
    pub frame: Frame,
    /// Its timestamp in the source's time base, if it has one.
    pub timestamp: Option<i64>,
    /// Its duration in the source's time base, if known.
    pub duration: Option<i64>,
}

/// What a reader counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Pictures decoded.
    pub decoded: u64,
    /// Packets, or stretches of the file, that could not be read or decoded.
    pub errors: u64,
}

/// A source of pictures in presentation order. Owned by one pump thread; calls block on the file and the decoder.
pub trait Reader: Send {
    /// Tells how many pictures are still to come before `boundary` (a timestamp in the source's time base), as far as the
    /// container says; without a boundary, how many are to come within the next packet. Bounded: it may stop early.
    fn look_ahead(&mut self, boundary: Option<i64>) -> Result<u64, Error>;

    /// Returns the next picture, or `None` at the end of the source.
    fn next(&mut self) -> Result<Option<Picture>, Error>;

    /// What was counted so far.
    fn counts(&self) -> ReadCounts;
}

/// How a source is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// How pictures are normalised.
    pub normalise: normalise::Config,
    /// Whether an error in the data ends the reading.
    pub strict: bool,
    /// Threads of the decoder; 0 for as many as there are cores.
    pub threads: u32,
}

/// Demuxes, decodes and normalises one video track with FFmpeg.
pub struct VideoReader {
    demuxer: Demuxer,
    stream: usize,
    decoder: VideoDecoder,
    normaliser: Normaliser,
    ahead: VecDeque<Packet>,
    ahead_bytes: usize,
    file_ended: bool,
    flushed: bool,
    strict: bool,
    counts: ReadCounts,
}

impl VideoReader {
    /// Opens the track `stream` of `source`. The cancel token interrupts reads of the file.
    pub fn open(
        source: &Source,
        stream: usize,
        options: ReadOptions,
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        let limits = Limits::default();
        let mut demuxer = Demuxer::open(source, &limits, cancel)?;
        demuxer.keep_only(&[stream]);
        let track: Stream = demuxer
            .streams()
            .get(stream)
            .cloned()
            .ok_or(Error::NoStream {
                kind: "video",
                index: stream,
            })?;
        let decoder = VideoDecoder::open(
            &track,
            &DecodeOptions {
                threads: options.threads,
                strict: options.strict,
                max_pixels: limits.max_pixels,
            },
        )?;
        Ok(Self {
            demuxer,
            stream,
            decoder,
            normaliser: Normaliser::new(options.normalise),
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            file_ended: false,
            flushed: false,
            strict: options.strict,
            counts: ReadCounts::default(),
        })
    }

    fn read_packet(&mut self) -> Result<(), Error> {
        loop {
            match self.demuxer.read() {
                Ok(Some(packet)) if packet.stream() == self.stream => {
                    self.ahead_bytes += packet.data().len();
                    self.ahead.push_back(packet);
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.file_ended = true;
                    return Ok(());
                }
                Err(error @ Error::Read(_)) if !self.strict => {
                    // What cannot be read any more is a loss like a file that was cut off; it is counted and reported.
                    self.counts.errors += 1;
                    self.file_ended = true;
                    drop(error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn feed(&mut self) -> Result<(), Error> {
        if self.ahead.is_empty() && !self.file_ended {
            self.read_packet()?;
        }
        let packet = self.ahead.pop_front();
        if packet.is_none() && self.flushed {
            return Ok(());
        }
        self.flushed = packet.is_none();
        match self.decoder.send(packet.as_ref()) {
            Ok(Sent::Accepted) => self.ahead_bytes -= packet.as_ref().map_or(0, |p| p.data().len()),
            // Cannot happen while pictures are taken out until the decoder asks for input; try again all the same.
            Ok(Sent::Full) => match packet {
                Some(packet) => self.ahead.push_front(packet),
                None => self.flushed = false,
            },
            Err(error) => {
                self.ahead_bytes -= packet.as_ref().map_or(0, |p| p.data().len());
                self.survive(error)?;
            }
        }
        Ok(())
    }

    fn survive(&mut self, error: Error) -> Result<(), Error> {
        if self.strict || !error.is_decode() {
            return Err(error);
        }
        self.counts.errors += 1;
        Ok(())
    }
}

impl Reader for VideoReader {
    fn look_ahead(&mut self, boundary: Option<i64>) -> Result<u64, Error> {
        let beyond = |packet: &Packet| {
            let order = packet.dts().or(packet.pts());
            matches!((order, boundary), (Some(order), Some(boundary)) if order >= boundary)
        };
        while !self.file_ended && self.ahead.len() < AHEAD_PACKETS && self.ahead_bytes < AHEAD_BYTES
        {
            if self
                .ahead
                .back()
                .is_some_and(|last| boundary.is_none() || beyond(last))
            {
                break;
            }
            self.read_packet()?;
        }
        let before = |packet: &&Packet| match (packet.pts().or(packet.dts()), boundary) {
            (Some(time), Some(boundary)) => time < boundary,
            _ => true,
        };
        Ok(self.ahead.iter().filter(before).count() as u64)
    }

    fn next(&mut self) -> Result<Option<Picture>, Error> {
        loop {
            match self.decoder.receive() {
                Ok(Received::Frame(frame)) => {
                    self.counts.decoded += 1;
                    let (timestamp, duration) = (frame.pts(), frame.duration());
                    return Ok(Some(Picture {
                        frame: self.normaliser.apply(&frame)?,
                        timestamp,
                        duration,
                    }));
                }
                Ok(Received::End) => return Ok(None),
                Ok(Received::NeedsInput) => self.feed()?,
                Err(error) => self.survive(error)?,
            }
        }
    }

    fn counts(&self) -> ReadCounts {
        self.counts
    }
}
