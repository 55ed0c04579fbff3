//! Sound: packets are decoded, converted to the rate and channels of the output, and encoded into frames of a fixed size.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::decode::{self, Received, Sent};
use crate::demux::Stream;
use crate::encode::EncodedPacket;
use crate::error::{AvError, Error};
use crate::ffi::{self, AvFrame, CodecContext, Fifo, Layout, Poll, SampleFormat, Sound, Swr};
use crate::packet::Packet;
use crate::time::TimeBase;

/// A stretch of decoded sound, frozen: cheap to clone, safe to share, never changed.
#[derive(Clone)]
pub struct AudioFrame {
    sound: Arc<AvFrame>,
    pts: Option<i64>,
    time_base: TimeBase,
}

impl AudioFrame {
    /// Makes sound in 32-bit float from its channels, with FFmpeg's usual layout for their number. `pts` counts samples.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is no channel, or they differ in length.
    pub fn from_channels(
        sample_rate: u32,
        pts: Option<i64>,
        channels: &[&[f32]],
    ) -> Result<Self, Error> {
        let mismatch = |given: String| Error::Mismatch {
            what: "an audio frame".to_owned(),
            given,
            takes: "a rate and channels of one length above zero".to_owned(),
        };
        let samples = channels.first().map_or(0, |channel| channel.len());
        let time_base = TimeBase::new(1, sample_rate).filter(|_| samples > 0);
        let Some(time_base) =
            time_base.filter(|_| channels.iter().all(|channel| channel.len() == samples))
        else {
            return Err(mismatch(format!(
                "{} channels at {sample_rate} Hz",
                channels.len()
            )));
        };
        let layout = Layout::usual(channels.len() as u32);
        let mut sound = AvFrame::sound(SampleFormat::FloatPlanar, &layout, sample_rate, samples)
            .map_err(Error::filter("make an audio frame"))?;
        for (index, channel) in channels.iter().enumerate() {
            sound.channel_mut(index).copy_from_slice(channel);
        }
        Ok(Self {
            sound: Arc::new(sound),
            pts,
            time_base,
        })
    }

    /// When it starts, in its [`time_base`](Self::time_base).
    #[must_use]
    pub fn pts(&self) -> Option<i64> {
        self.pts
    }

    /// The time base of its timestamp: the stream's for decoded sound, one sample for converted sound.
    #[must_use]
    pub fn time_base(&self) -> TimeBase {
        self.time_base
    }

    /// When it starts, in samples of its own rate.
    #[must_use]
    pub fn start_sample(&self) -> Option<i64> {
        let base = TimeBase::new(1, self.sample_rate())?;
        self.pts.map(|pts| self.time_base.rescale(pts, base))
    }

    /// In Hz.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.sound.sample_rate()
    }

    /// The number of channels.
    #[must_use]
    pub fn channels(&self) -> u32 {
        self.sound.channels()
    }

    /// FFmpeg's name of the channel layout, such as `stereo`.
    #[must_use]
    pub fn layout(&self) -> String {
        self.sound
            .layout()
            .map(|layout| layout.name())
            .unwrap_or_default()
    }

    /// FFmpeg's name of the sample format, such as `fltp`.
    #[must_use]
    pub fn sample_format(&self) -> &'static str {
        self.sound.sample_format().name()
    }

    /// The number of samples in each channel.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.sound.samples()
    }

    /// A channel's samples, where they are kept as 32-bit float in planes, as all converted sound is; else nothing.
    #[must_use]
    pub fn channel(&self, channel: usize) -> &[f32] {
        self.sound.channel(channel)
    }

    /// The same sound, times `factor`. For sound in 32-bit float planes, as all converted sound is.
    ///
    /// # Errors
    /// [`Error::Filter`] if there is no memory.
    pub fn amplified(&self, factor: f32) -> Result<Self, Error> {
        let failed = || Error::filter("change the level of an audio frame");
        let layout = self.sound.layout().map_err(failed())?;
        let (format, samples) = (SampleFormat::FloatPlanar, self.samples());
        let mut sound =
            AvFrame::sound(format, &layout, self.sample_rate(), samples).map_err(failed())?;
        for channel in 0..self.channels() as usize {
            let pairs = sound
                .channel_mut(channel)
                .iter_mut()
                .zip(self.channel(channel));
            for (to, from) in pairs {
                *to = from * factor;
            }
        }
        Ok(Self {
            sound: Arc::new(sound),
            pts: self.pts,
            time_base: self.time_base,
        })
    }

    pub(crate) fn inner(&self) -> &AvFrame {
        &self.sound
    }

    /// Samples `start..start + len`, sharing memory, with their own time.
    ///
    /// # Errors
    /// [`Error::Filter`] if there are not so many.
    pub fn slice(&self, start: usize, len: usize) -> Result<Self, Error> {
        let sound = self
            .sound
            .samples_slice(start, len)
            .map_err(Error::filter("cut an audio frame"))?;
        let shift = TimeBase::new(1, self.sample_rate())
            .map_or(0, |base| base.rescale(start as i64, self.time_base));
        Ok(Self {
            sound: Arc::new(sound),
            pts: self.pts.map(|pts| pts + shift),
            time_base: self.time_base,
        })
    }
}

impl fmt::Debug for AudioFrame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "AudioFrame({} samples of {} {} at {:?})",
            self.samples(),
            self.sample_rate(),
            self.layout(),
            self.pts
        )
    }
}

/// Decodes one audio stream. Samples that the file marks as padding are dropped.
pub struct AudioDecoder {
    context: CodecContext,
    time_base: TimeBase,
}

impl AudioDecoder {
    /// Opens FFmpeg's decoder for the stream.
    ///
    /// # Errors
    /// [`Error::NoStream`] if the stream is no sound, [`Error::Unsupported`] if there is no decoder.
    pub fn open(stream: &Stream) -> Result<Self, Error> {
        stream.audio().ok_or(Error::NoStream {
            kind: "audio",
            index: stream.index,
        })?;
        let context = decode::open(&stream.parameters.0, |_| {})?;
        Ok(Self {
            context,
            time_base: stream.time_base,
        })
    }

    /// The decoder's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.context.name()
    }

    /// Gives the decoder a packet, or with `None` the end of the stream.
    ///
    /// # Errors
    /// [`Error::Decode`] if the packet is damaged: it is consumed, and the caller may go on with the next one.
    pub fn send(&mut self, packet: Option<&Packet>) -> Result<Sent, Error> {
        decode::send(&mut self.context, packet)
    }

    /// Takes the next stretch of sound.
    ///
    /// # Errors
    /// [`Error::Decode`] for damage found late; the caller may go on.
    pub fn receive(&mut self) -> Result<Received<AudioFrame>, Error> {
        let codec = self.context.name();
        Ok(
            match self.context.receive_frame().map_err(Error::decode(codec))? {
                Poll::Ready(sound) => {
                    let pts = sound.best_pts();
                    Received::Frame(AudioFrame {
                        sound: Arc::new(sound),
                        pts,
                        time_base: self.time_base,
                    })
                }
                Poll::Again => Received::NeedsInput,
                Poll::End => Received::End,
            },
        )
    }

    /// Forgets all packets and sound, for a new place in the stream.
    pub fn flush(&mut self) {
        self.context.flush();
    }
}

impl fmt::Debug for AudioDecoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AudioDecoder({})", self.name())
    }
}

/// The rate and channels that sound is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Format {
    /// In Hz.
    pub sample_rate: u32,
    /// 1 to 8.
    pub channels: u32,
}

/// Converts sound to a format, in 32-bit float. The layout stays the source's if it has that many channels, otherwise it is
/// FFmpeg's usual one for the number.
pub struct Resampler {
    target: Format,
    time_base: TimeBase,
    current: Option<Conversion>,
}

struct Conversion {
    swr: Swr,
    rate: u32,
    layout: Layout,
    format: SampleFormat,
    /// The timestamp of the next sample to come out.
    next: Option<i64>,
}

impl Resampler {
    /// Makes a resampler; nothing is built before the first frame.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the target has no rate, no channels, or more than 8.
    pub fn new(target: Format) -> Result<Self, Error> {
        let time_base = TimeBase::new(1, target.sample_rate)
            .filter(|_| (1..=8).contains(&target.channels))
            .ok_or_else(|| Error::Mismatch {
                what: "the resampler".to_owned(),
                given: format!("{} channels at {} Hz", target.channels, target.sample_rate),
                takes: "1 to 8 channels and a rate above zero".to_owned(),
            })?;
        Ok(Self {
            target,
            time_base,
            current: None,
        })
    }

    /// Converts a frame. The result may have no samples yet, and its timestamp counts samples: it runs on without gaps while
    /// the input's timestamps do (to within a tick of theirs), and follows them when they jump.
    ///
    /// Where the input changes its rate or layout, what the old conversion still holds (some dozens of samples) is lost, unless
    /// [`flush`](Self::flush) is called before.
    pub fn convert(&mut self, frame: &AudioFrame) -> Result<AudioFrame, Error> {
        let failed = |error: AvError| Error::filter(format!("resample {frame:?}"))(error);
        let mut conversion = match self.current.take() {
            Some(conversion) if conversion.takes(frame).map_err(failed)? => conversion,
            _ => self.conversion(frame).map_err(failed)?,
        };
        let delay = conversion.swr.delay();
        let told = frame
            .pts
            .map(|pts| frame.time_base.rescale(pts, self.time_base) - delay);
        let tolerance = frame
            .time_base
            .rescale(1, self.time_base)
            .clamp(0, i64::from(self.target.sample_rate / 10))
            + 2;
        let start = match (told, conversion.next) {
            (Some(told), Some(next)) if (told - next).abs() > tolerance => Some(told),
            (told, next) => next.or(told),
        };
        let sound = conversion.swr.convert(Some(&frame.sound)).map_err(failed)?;
        conversion.next = start.map(|start| start + sound.samples() as i64);
        self.current = Some(conversion);
        Ok(self.frame(sound, start))
    }

    /// Takes out what the conversion still holds, and makes it ready for other sound.
    pub fn flush(&mut self) -> Result<Option<AudioFrame>, Error> {
        let Some(mut conversion) = self.current.take() else {
            return Ok(None);
        };
        let sound = conversion
            .swr
            .convert(None)
            .map_err(Error::filter("flush the resampler"))?;
        Ok((sound.samples() > 0).then(|| self.frame(sound, conversion.next)))
    }

    fn frame(&self, sound: AvFrame, pts: Option<i64>) -> AudioFrame {
        AudioFrame {
            sound: Arc::new(sound),
            pts,
            time_base: self.time_base,
        }
    }

    fn conversion(&self, frame: &AudioFrame) -> Result<Conversion, AvError> {
        let layout = named_layout(&frame.sound)?;
        let usual = Layout::usual(self.target.channels);
        let from = Sound {
            layout: &layout,
            format: frame.sound.sample_format(),
            rate: frame.sample_rate(),
        };
        let to = Sound {
            layout: if layout.channels() == self.target.channels {
                &layout
            } else {
                &usual
            },
            format: SampleFormat::FloatPlanar,
            rate: self.target.sample_rate,
        };
        let swr = Swr::new(&from, &to)?;
        let (rate, format) = (from.rate, from.format);
        Ok(Conversion {
            swr,
            rate,
            layout: frame.sound.layout()?,
            format,
            next: None,
        })
    }
}

impl Conversion {
    fn takes(&self, frame: &AudioFrame) -> Result<bool, AvError> {
        Ok(self.rate == frame.sample_rate()
            && self.format == frame.sound.sample_format()
            && self.layout == frame.sound.layout()?)
    }
}

impl fmt::Debug for Resampler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Resampler")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// The sound's layout; the usual one where the source only tells the number of channels.
fn named_layout(sound: &AvFrame) -> Result<Layout, AvError> {
    let layout = sound.layout()?;
    Ok(if layout.is_unspecified() {
        Layout::usual(layout.channels())
    } else {
        layout
    })
}

/// An audio codec that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioCodec {
    /// Opus.
    Opus,
    /// AAC, low complexity.
    Aac,
    /// AC-3.
    Ac3,
    /// Enhanced AC-3.
    Eac3,
}

impl fmt::Display for AudioCodec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Opus => "opus",
            Self::Aac => "aac",
            Self::Ac3 => "ac3",
            Self::Eac3 => "eac3",
        })
    }
}

impl AudioCodec {
    /// FFmpeg's name of the encoder, if this FFmpeg has it.
    #[must_use]
    pub fn encoder_name(self) -> Option<&'static str> {
        let name = match self {
            Self::Opus => "libopus",
            Self::Aac => "aac",
            Self::Ac3 => "ac3",
            Self::Eac3 => "eac3",
        };
        ffi::Codec::encoder(name).map(ffi::Codec::name)
    }

    /// The rate to encode sound of `source` Hz at: 48 kHz for Opus, for the others the lowest rate that they know and that loses
    /// nothing, at most 48 kHz.
    #[must_use]
    pub fn sample_rate_for(self, source: u32) -> u32 {
        const AAC: [u32; 9] = [
            8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
        ];
        const AC3: [u32; 3] = [32_000, 44_100, 48_000];
        let known: &[u32] = match self {
            Self::Opus => &[],
            Self::Aac => &AAC,
            Self::Ac3 | Self::Eac3 => &AC3,
        };
        let enough = known.iter().find(|rate| **rate >= source);
        enough.copied().unwrap_or(48_000)
    }

    /// The layout that the codec has for the number of channels: for Opus those of RFC 7845 §5.1.1.2, for AAC those of
    /// ISO/IEC 14496-3 table 1.19 where it has one, for AC-3 those with up to five full channels.
    fn layout(self, channels: u32) -> Result<Layout, AvError> {
        Layout::by_name(match (self, channels) {
            (_, 1) => "mono",
            (_, 2) => "stereo",
            (_, 3) => "3.0",
            (Self::Opus, 4) => "quad",
            (_, 4) => "4.0",
            (_, 5) => "5.0",
            (_, 6) => "5.1",
            (Self::Opus | Self::Aac, 7) => "6.1",
            (Self::Opus | Self::Aac, 8) => "7.1",
            _ => return Err(AvError::invalid()),
        })
    }

    fn sample_format(self) -> SampleFormat {
        match self {
            Self::Opus => SampleFormat::Float,
            Self::Aac | Self::Ac3 | Self::Eac3 => SampleFormat::FloatPlanar,
        }
    }
}

/// All that decides an audio encoder's output besides the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AudioConfig {
    /// What to make.
    pub codec: AudioCodec,
    /// The rate and channels, of the samples pushed as well.
    pub format: Format,
    /// In bits a second.
    pub bit_rate: u64,
}

/// Encodes sound. The samples pushed count from 0; packets start [`priming`](Self::priming) samples before.
pub struct AudioEncoder {
    config: AudioConfig,
    context: CodecContext,
    layout: Layout,
    input: Option<(Layout, SampleFormat, Swr)>,
    fifo: Fifo,
    /// Samples that the encoder has got.
    sent: i64,
    packets: Vec<EncodedPacket>,
}

impl AudioEncoder {
    /// Opens the encoder.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this FFmpeg does not have it, [`Error::OpenCodec`] if it refuses the settings.
    pub fn open(config: &AudioConfig) -> Result<Self, Error> {
        crate::init();
        let name = config
            .codec
            .encoder_name()
            .ok_or_else(|| Error::Unsupported {
                what: format!("encoder for {}", config.codec),
            })?;
        let codec = ffi::Codec::encoder(name).ok_or_else(|| Error::Unsupported {
            what: format!("encoder {name}"),
        })?;
        let opened = |error: AvError| Error::open_codec(name)(error);
        let format = config.codec.sample_format();
        let layout = config
            .codec
            .layout(config.format.channels)
            .map_err(opened)?;
        let mut context = CodecContext::new(codec).map_err(opened)?;
        context
            .set_audio_encoder(
                &Sound {
                    layout: &layout,
                    format,
                    rate: config.format.sample_rate,
                },
                config.bit_rate,
            )
            .map_err(opened)?;
        context
            .open([])
            .map_err(opened)?
            .map_err(|option| Error::Option {
                what: name.to_owned(),
                name: option,
            })?;
        let fifo = Fifo::new(format, config.format.channels).map_err(opened)?;
        Ok(Self {
            config: *config,
            context,
            layout,
            input: None,
            fifo,
            sent: 0,
            packets: Vec::new(),
        })
    }

    /// The samples at the start that the encoder adds and players drop.
    #[must_use]
    pub fn priming(&self) -> u32 {
        self.context.initial_padding()
    }

    /// `OpusHead` (RFC 7845 §5.1) or `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1).
    #[must_use]
    pub fn configuration(&self) -> &[u8] {
        self.context.extradata()
    }

    /// Samples a packet.
    #[must_use]
    pub fn frame_size(&self) -> u32 {
        self.context.frame_size()
    }

    /// The samples pushed so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.sent as u64 + self.fifo.len() as u64
    }

    /// Appends sound of the configuration's rate and number of channels. Its timestamp is not looked at: gaps must have been
    /// filled. Blocks while it encodes.
    pub fn push(&mut self, frame: &AudioFrame) -> Result<(), Error> {
        let Format {
            sample_rate,
            channels,
        } = self.config.format;
        if (frame.sample_rate(), frame.channels()) != (sample_rate, channels) {
            return Err(Error::Mismatch {
                what: self.context.name().to_owned(),
                given: format!(
                    "{} channels at {} Hz",
                    frame.channels(),
                    frame.sample_rate()
                ),
                takes: format!("{channels} channels at {sample_rate} Hz"),
            });
        }
        if frame.samples() == 0 {
            return Ok(());
        }
        let name = self.context.name();
        let sound = self.converted(frame).map_err(Error::encode(name))?;
        self.fifo.push(&sound).map_err(Error::encode(name))?;
        self.encode_full_frames()
    }

    /// Appends silence.
    pub fn push_silence(&mut self, samples: u64) -> Result<(), Error> {
        let name = self.context.name();
        let mut left = samples;
        while left > 0 {
            let count = left.min(1 << 16);
            let sound = self.silence(count as usize).map_err(Error::encode(name))?;
            self.fifo.push(&sound).map_err(Error::encode(name))?;
            self.encode_full_frames()?;
            left -= count;
        }
        Ok(())
    }

    /// Ends the sound and returns all packets that were not taken before. Their durations sum up to the samples pushed
    /// plus the priming: the last packet lasts as long as it has true samples.
    pub fn finish(mut self) -> Result<Vec<EncodedPacket>, Error> {
        let name = self.context.name();
        let rest = self.fifo.len();
        if rest > 0 {
            self.encode_frame(rest)?;
        }
        while !self.context.send_frame(None).map_err(Error::encode(name))? {
            self.drain()?;
        }
        while !self.drain()? {}
        Ok(self.packets)
    }

    /// Takes the packets that are ready.
    pub fn take_packets(&mut self) -> Vec<EncodedPacket> {
        std::mem::take(&mut self.packets)
    }

    fn silence(&self, samples: usize) -> Result<AvFrame, AvError> {
        AvFrame::sound(
            self.config.codec.sample_format(),
            &self.layout,
            self.config.format.sample_rate,
            samples,
        )
    }

    /// The sound in the encoder's layout and sample format.
    fn converted(&mut self, frame: &AudioFrame) -> Result<AvFrame, AvError> {
        let from = (named_layout(&frame.sound)?, frame.sound.sample_format());
        let mut input = match self.input.take() {
            Some(input) if (&input.0, input.1) == (&from.0, from.1) => input,
            _ => {
                let rate = self.config.format.sample_rate;
                let to = Sound {
                    layout: &self.layout,
                    format: self.config.codec.sample_format(),
                    rate,
                };
                let swr = Swr::new(
                    &Sound {
                        layout: &from.0,
                        format: from.1,
                        rate,
                    },
                    &to,
                )?;
                (from.0, from.1, swr)
            }
        };
        let sound = input.2.convert(Some(&frame.sound));
        self.input = Some(input);
        sound
    }

    fn encode_full_frames(&mut self) -> Result<(), Error> {
        let size = self.frame_size().max(1) as usize;
        while self.fifo.len() >= size {
            self.encode_frame(size)?;
        }
        Ok(())
    }

    fn encode_frame(&mut self, samples: usize) -> Result<(), Error> {
        let name = self.context.name();
        let mut sound = self.silence(samples).map_err(Error::encode(name))?;
        self.fifo.pop(&mut sound).map_err(Error::encode(name))?;
        sound.set_pts(Some(self.sent));
        self.sent += samples as i64;
        while !self
            .context
            .send_frame(Some(&sound))
            .map_err(Error::encode(name))?
        {
            self.drain()?;
        }
        self.drain().map(drop)
    }

    /// Takes packets out of the encoder. `true`: it has ended.
    fn drain(&mut self) -> Result<bool, Error> {
        let name = self.context.name();
        loop {
            match self.context.receive_packet().map_err(Error::encode(name))? {
                Poll::Ready(packet) => {
                    let pts = packet.pts().unwrap_or_default();
                    self.packets.push(EncodedPacket {
                        data: packet.data().to_vec(),
                        pts,
                        dts: packet.dts().unwrap_or(pts),
                        duration: packet.duration(),
                        key: packet.is_key(),
                    });
                }
                Poll::Again => return Ok(false),
                Poll::End => return Ok(true),
            }
        }
    }
}

impl fmt::Debug for AudioEncoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AudioEncoder({:?})", self.config)
    }
}
