//! Containers: a source's bytes go in, packets of its streams come out.
//!
//! FFmpeg never opens anything itself here: bytes come through the crate's own reader, the list of formats is closed
//! to those that hold media within one file, and no protocol is allowed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::error::{AvError, Error};
use crate::ffi::{self, Input, Kind, StreamView};
use crate::hdr::{DolbyVision, Light};
use crate::images::Images;
use crate::packet::Packet;
use crate::source::{Limits, Source};
use crate::time::{Rational, TimeBase};

pub use crate::color::{ChromaLocation, Color, Crop, FieldOrder, Rotation};

/// The containers and raw streams that are read, by FFmpeg's names. None of them names other files.
const FORMATS: &str = "mov,matroska,mpegts,mpeg,avi,mxf,flv,asf,ogg,gif,apng,wav,w64,aiff,caf,au,mp3,aac,flac,ac3,\
    eac3,dts,truehd,amr,ape,wv,tta,yuv4mpegpipe,ivf,obu,av1,h264,hevc,vvc,evc,m4v,mpegvideo,mjpeg,vc1,dirac,dv,dnxhd,nut,\
    rm,wtv,gxf,loas";

/// The kinds of image that are read, by FFmpeg's names.
const IMAGES: &str = "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,dpx_pipe,exr_pipe";

/// Streams above which the memory that was taken to look at them is worth returning: FFmpeg opens a decoder for each, 0.7 MB with AAC, and
/// closes them all at the end.
const MANY_STREAMS: usize = 16;

/// Reads packets from a container. Reading blocks on the source's I/O.
pub struct Demuxer {
    pub(crate) input: Input,
    streams: Vec<Stream>,
    kept: Vec<bool>,
    tags: BTreeMap<String, String>,
    /// Where packets come from, if they are images of a series; FFmpeg's input has the first of them then.
    reel: Option<Reel>,
}

/// The images of a series that are still to be read.
struct Reel {
    images: Arc<Images>,
    next: usize,
    /// Bytes of an image, at the most.
    limit: u64,
}

/// A stream of a container.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is something that the file says of the stream"
)]
pub struct Stream {
    /// The index by which packets name the stream.
    pub index: usize,
    /// What the stream carries.
    pub kind: StreamKind,
    /// FFmpeg's name of the codec, such as `h264`; `none` if it is unknown.
    pub codec: String,
    /// The codec's profile.
    pub profile: Option<String>,
    /// The length of a tick of the stream's timestamps.
    pub time_base: TimeBase,
    /// The first timestamp, in ticks.
    pub start: Option<i64>,
    /// In ticks, as the container's header claims it.
    pub duration: Option<i64>,
    /// The number of frames that the container's header claims.
    pub frames: Option<u64>,
    /// In bits a second.
    pub bit_rate: Option<u64>,
    /// As tagged, usually ISO 639-2.
    pub language: Option<String>,
    /// As tagged.
    pub title: Option<String>,
    /// Whether the file marks it as the one to take.
    pub is_default: bool,
    /// Whether the file marks it as subtitles for those who want none.
    pub forced: bool,
    /// Whether it is a cover picture rather than a video.
    pub attached_picture: bool,
    /// Whether its packets are encrypted.
    pub encrypted: bool,
    pub(crate) parameters: CodecParameters,
}

/// A stretch of a file with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Chapter {
    /// Where it starts on the file's clock, in seconds.
    pub start: f64,
    /// Where it ends.
    pub end: f64,
    /// Its title; empty if it has none.
    pub title: String,
}

/// What a decoder must know of a stream.
#[derive(Clone)]
pub struct CodecParameters(pub(crate) Arc<ffi::Parameters>);

impl std::fmt::Debug for CodecParameters {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "CodecParameters({})", self.0.codec())
    }
}

/// What a stream carries.
#[derive(Clone, Debug)]
pub enum StreamKind {
    /// Pictures.
    Video(VideoInfo),
    /// Sound.
    Audio(AudioInfo),
    /// Text or pictures to lay over a video.
    Subtitle,
    /// Something else with timestamps.
    Data,
    /// Attachments and what FFmpeg does not know.
    Other,
}

/// A video stream's properties, as far as the container and the first frames tell.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoInfo {
    /// In pixels, cropped, before rotation.
    pub width: u32,
    /// In pixels, cropped, before rotation.
    pub height: u32,
    /// What the container cuts off what the codec shows; FFmpeg tells from 7.1 on. The decoder applies it.
    pub crop: Option<Crop>,
    /// FFmpeg's name; empty if unknown.
    pub pixel_format: String,
    /// Bits a sample; 0 if unknown.
    pub bit_depth: u8,
    /// The average frame rate where there is one, else the lowest that fits all timestamps.
    pub frame_rate: Option<Rational>,
    /// Width of a sample over its height; 1:1 if unknown.
    pub sample_aspect: Rational,
    /// How the picture must be turned.
    pub rotation: Rotation,
    /// What the samples mean.
    pub color: Color,
    /// What the container says of the light.
    pub light: Light,
    /// The container's Dolby Vision configuration record.
    pub dolby_vision: Option<DolbyVision>,
    /// `None` if unknown.
    pub field_order: Option<FieldOrder>,
    /// By how many frames the decoder delays its output for reordering.
    pub has_b_frames: u32,
}

/// An audio stream's properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioInfo {
    /// In Hz.
    pub sample_rate: u32,
    /// The number of channels.
    pub channels: u32,
    /// FFmpeg's name of the channel layout, such as `5.1`.
    pub layout: String,
    /// Samples a packet, where that is constant; else 0.
    pub frame_size: u32,
    /// Samples at the start which the encoder added.
    pub initial_padding: u32,
    /// The codec's configuration, in the codec's own form.
    pub extradata: Vec<u8>,
}

impl Demuxer {
    /// Opens a source and looks at its streams, reading up to [`Limits::probe_bytes`] and more where the format demands it.
    /// What the file has grown by since it was opened is not read.
    ///
    /// # Errors
    /// [`Error::Io`] if the source cannot be read, [`Error::UnknownFormat`] if it is no media file,
    /// [`Error::Open`] if it is one and its head is broken, [`Error::TooManyStreams`], [`Error::Cancelled`].
    pub fn open(source: &Source, limits: &Limits, cancel: &CancelToken) -> Result<Self, Error> {
        if let Source::Images(images) = source {
            return Self::open_images(images, limits, cancel);
        }
        Self::open_as(FORMATS, (source, limits), cancel)
    }

    /// Opens a series: what the first image is, all are.
    fn open_images(
        images: &Arc<Images>,
        limits: &Limits,
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        let first = images.file(0).unwrap_or(images.typed());
        let mut demuxer = Self::open_image(&Source::from(first), limits, cancel)?;
        let picture = images.picture();
        let rate = picture.rational().map(|base| Rational {
            num: base.den,
            den: base.num,
        });
        demuxer.streams.truncate(1);
        for stream in &mut demuxer.streams {
            stream.time_base = picture;
            stream.start = Some(0);
            stream.duration = i64::try_from(images.count()).ok();
            stream.frames = Some(images.count() as u64);
            stream.bit_rate = None;
            if let StreamKind::Video(info) = &mut stream.kind {
                info.frame_rate = rate;
            }
        }
        demuxer.reel = Some(Reel {
            images: Arc::clone(images),
            next: 0,
            limit: limits.max_alloc / 2,
        });
        Ok(demuxer)
    }

    /// The same for a file that holds one image.
    pub(crate) fn open_image(
        source: &Source,
        limits: &Limits,
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        Self::open_as(IMAGES, (source, limits), cancel)
    }

    fn open_as(
        formats: &str,
        (source, limits): (&Source, &Limits),
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        crate::init();
        ffi::set_max_alloc(limits.max_alloc);
        let reader = source.open(cancel).map_err(|error| {
            if cancel.is_cancelled() {
                Error::Cancelled
            } else {
                error.into()
            }
        })?;
        let bytes = Input::bytes(reader, cancel.clone()).map_err(out_of_memory)?;
        let input = Input::open(bytes, limits, formats).map_err(|(error, mut bytes)| {
            if bytes.is_cancelled() {
                return Error::Cancelled;
            }
            match (bytes.take_failure(), error) {
                (Some(failure), _) => failure.into(),
                (None, ffi::OpenError::Unknown(format)) => Error::UnknownFormat { format },
                (None, ffi::OpenError::Broken(format, source)) => Error::Open { format, source },
                (None, ffi::OpenError::TooManyStreams(format)) => Error::TooManyStreams {
                    format,
                    limit: limits.max_streams,
                },
                (None, ffi::OpenError::Failed(source)) => Error::Open {
                    format: "media".to_owned(),
                    source,
                },
            }
        })?;
        let streams = (0..input.stream_count())
            .filter_map(|index| input.stream(index).map(|view| Stream::new(index, &view)))
            .collect::<Result<Vec<_>, _>>()?;
        if streams.len() > MANY_STREAMS {
            crate::heap::give_back();
        }
        let kept = vec![true; streams.len()];
        let tags = input.tags();
        Ok(Self {
            input,
            streams,
            kept,
            tags,
            reel: None,
        })
    }

    /// FFmpeg's name of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    #[must_use]
    pub fn format(&self) -> &str {
        self.input.format()
    }

    /// The duration that the container claims, or FFmpeg's estimate of it.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        if self.reel.is_some() {
            let stream = self.streams.first()?;
            let seconds = stream.time_base.seconds(stream.duration?);
            return Duration::try_from_secs_f64(seconds).ok();
        }
        self.input
            .duration()
            .and_then(|micros| u64::try_from(micros).ok())
            .map(Duration::from_micros)
    }

    /// Bits a second of the whole file, where known.
    #[must_use]
    pub fn bit_rate(&self) -> Option<u64> {
        if self.reel.is_some() {
            return None;
        }
        u64::try_from(self.input.bit_rate())
            .ok()
            .filter(|rate| *rate > 0)
    }

    /// The container's tags.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// The chapters, as the file lists them.
    #[must_use]
    pub fn chapters(&self) -> Vec<Chapter> {
        self.input
            .chapters()
            .into_iter()
            .map(|view| {
                let unit = view.time_base.as_f64();
                Chapter {
                    start: view.start as f64 * unit,
                    end: view.end as f64 * unit,
                    title: view.title,
                }
            })
            .collect()
    }

    /// The streams; a stream's place is its index.
    #[must_use]
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// Delivers packets of these streams only, and lets the format skip the others' data where it can.
    pub fn keep_only(&mut self, indices: &[usize]) {
        for index in 0..self.kept.len() {
            self.kept[index] = indices.contains(&index);
            self.input.keep(index, self.kept[index]);
        }
    }

    /// Reads the next packet of the streams kept, in file order; `None` at the end of the file. Streams that come to light
    /// only now are left out.
    ///
    /// # Errors
    /// [`Error::Io`] if the source fails, [`Error::Read`] if the container is broken here, [`Error::Cancelled`]. Reading
    /// may be tried again after [`Error::Read`], with no promise.
    pub fn read(&mut self) -> Result<Option<Packet>, Error> {
        if let Some(reel) = &mut self.reel {
            if self.input.is_cancelled() {
                return Err(Error::Cancelled);
            }
            return reel.read();
        }
        loop {
            let read = self.input.read();
            if self.input.is_cancelled() {
                return Err(Error::Cancelled);
            }
            // FFmpeg reports the end of the file for some failures of the reader.
            if let Some(failure) = self.input.take_failure() {
                return Err(failure.into());
            }
            let packet = match read {
                Ok(packet) => packet.map(Packet),
                Err(error) => return Err(Error::Read(error)),
            };
            let Some(packet) = packet else {
                return Ok(None);
            };
            if self.kept.get(packet.stream()).copied().unwrap_or(false) {
                return Ok(Some(packet));
            }
        }
    }

    /// Whether [`seek`](Self::seek) follows an index of the stream's keyframes: in MP4 and QuickTime, and in Matroska and `WebM`, which
    /// reads on to the place where the file has no cues; and in a series of images. MPEG-TS, raw streams and the like find places by guess, and a source whose end was
    /// not known when it was opened has no index yet.
    #[must_use]
    pub fn seeks_exactly(&self) -> bool {
        let named = |name: &str| self.format().split(',').any(|format| format == name);
        self.reel.is_some() || !self.input.is_streamed() && (named("mov") || named("matroska"))
    }

    /// Timestamps near the stream's keyframes in ascending order, in its time base, as far as the container's index is known: whole for
    /// an MP4 with its index and a Matroska file with cues, once something was sought. In MP4 they are decoding times, which
    /// may be a few frames before the pictures'. Reads nothing.
    #[must_use]
    pub fn indexed_keyframes(&self, stream: usize) -> Vec<i64> {
        if let Some(reel) = &self.reel {
            return (0..reel.images.count() as i64).collect();
        }
        let mut keyframes = self.input.indexed_keyframes(stream);
        keyframes.sort_unstable();
        keyframes
    }

    /// Moves so that the next packets of the stream start with a keyframe at or before `timestamp`, in the stream's
    /// time base; in MP4 with B-frames it may be a few frames after it. Formats that do not [seek exactly](Self::seeks_exactly) land
    /// somewhere before it, not always on a keyframe. Decoders must be flushed.
    pub fn seek(&mut self, stream: usize, timestamp: i64) -> Result<(), Error> {
        let index = i32::try_from(stream)
            .ok()
            .filter(|_| stream < self.streams.len())
            .ok_or(Error::NoStream {
                kind: "known",
                index: stream,
            })?;
        if let Some(reel) = &mut self.reel {
            let place = usize::try_from(timestamp.max(0)).unwrap_or(usize::MAX);
            reel.next = place.min(reel.images.count().saturating_sub(1));
            return Ok(());
        }
        let moved = self.input.seek(index, timestamp);
        if self.input.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if let Some(failure) = self.input.take_failure() {
            return Err(failure.into());
        }
        moved.map_err(|source| Error::Seek {
            stream,
            timestamp,
            source,
        })
    }
}

impl Reel {
    /// The next image as a packet, shown for a tick.
    fn read(&mut self) -> Result<Option<Packet>, Error> {
        let Some(bytes) = self.images.bytes(self.next, self.limit)? else {
            return Ok(None);
        };
        let packet = Packet::copy_of(&bytes)?.0.shown(self.next as i64, 1);
        self.next += 1;
        Ok(Some(Packet(packet)))
    }
}

impl std::fmt::Debug for Demuxer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Demuxer")
            .field("format", &self.format())
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

/// Reads a time of the form `00:01:02.345`, in microseconds.
fn clock_microseconds(text: &str) -> Option<i64> {
    let mut parts = text.trim().splitn(3, ':');
    let (hours, minutes) = (
        parts.next()?.parse::<u32>().ok()?,
        parts.next()?.parse::<u32>().ok()?,
    );
    let seconds: f64 = parts
        .next()?
        .parse()
        .ok()
        .filter(|seconds| (0.0..60.0).contains(seconds))?;
    let whole = i64::from(hours) * 3600 + i64::from(minutes) * 60;
    Some(whole * 1_000_000 + (seconds * 1e6).round() as i64)
}

fn out_of_memory(source: AvError) -> Error {
    Error::Capacity {
        operation: "open the source".to_owned(),
        source,
    }
}

impl Stream {
    fn new(index: usize, view: &StreamView<'_>) -> Result<Self, Error> {
        let parameters = view.parameters().map_err(out_of_memory)?;
        let mut tags = view.tags();
        let base = view.time_base();
        let time_base = u32::try_from(base.num)
            .ok()
            .zip(u32::try_from(base.den).ok())
            .and_then(|(num, den)| TimeBase::new(num, den))
            .unwrap_or(MICROSECONDS);
        // Matroska tells a track's own duration in a tag only.
        let tagged = tags
            .get("DURATION")
            .and_then(|text| clock_microseconds(text));
        Ok(Self {
            index,
            kind: kind(view, &parameters).map_err(out_of_memory)?,
            codec: parameters.codec().into_owned(),
            profile: parameters.profile(),
            time_base,
            start: view.start(),
            duration: view.duration().or_else(|| {
                // The tag tells where the track ends, counted from the start of the file.
                let end = MICROSECONDS.rescale(tagged?, time_base);
                Some(end - view.start().unwrap_or(0).max(0)).filter(|duration| *duration > 0)
            }),
            frames: u64::try_from(view.frames())
                .ok()
                .filter(|frames| *frames > 0),
            bit_rate: u64::try_from(parameters.bit_rate())
                .ok()
                .filter(|rate| *rate > 0),
            language: tags.remove("language"),
            title: tags.remove("title"),
            is_default: view.is_default(),
            forced: view.is_forced(),
            attached_picture: view.is_attached_picture(),
            encrypted: view.is_encrypted(),
            parameters: CodecParameters(Arc::new(parameters)),
        })
    }

    /// The video's properties, if the stream is one.
    #[must_use]
    pub fn video(&self) -> Option<&VideoInfo> {
        if let StreamKind::Video(info) = &self.kind {
            Some(info)
        } else {
            None
        }
    }

    /// The sound's properties, if the stream is sound.
    #[must_use]
    pub fn audio(&self) -> Option<&AudioInfo> {
        if let StreamKind::Audio(info) = &self.kind {
            Some(info)
        } else {
            None
        }
    }
}

/// Stands in for a time base that is not above zero, which no sound file has.
const MICROSECONDS: TimeBase = TimeBase::new(1, 1_000_000).expect("not zero");

fn kind(view: &StreamView<'_>, parameters: &ffi::Parameters) -> Result<StreamKind, AvError> {
    Ok(match parameters.kind() {
        Kind::Video => {
            let crop = crop(view, parameters);
            let (width, height) = crop.unwrap_or_default().of(parameters.size());
            let aspect = view.sample_aspect();
            StreamKind::Video(VideoInfo {
                width,
                height,
                crop,
                pixel_format: ffi::format_name(parameters.format()).to_owned(),
                bit_depth: ffi::format_descriptor(parameters.format())
                    .map_or(0, |format| format.depth),
                frame_rate: Some(view.frame_rate()).filter(|rate| rate.num > 0 && rate.den > 0),
                sample_aspect: if aspect.num > 0 && aspect.den > 0 {
                    aspect
                } else {
                    Rational { num: 1, den: 1 }
                },
                rotation: view.display_matrix().map_or(Rotation::NONE, |matrix| {
                    Rotation::from_display_matrix(&matrix)
                }),
                color: parameters.color(),
                light: view.light(),
                dolby_vision: view.dolby_vision(),
                field_order: parameters.field_order(),
                has_b_frames: parameters.reordering(),
            })
        }
        Kind::Audio => StreamKind::Audio(AudioInfo {
            sample_rate: parameters.sample_rate(),
            channels: parameters.layout()?.channels(),
            layout: parameters.layout()?.name(),
            frame_size: parameters.frame_size(),
            initial_padding: parameters.initial_padding(),
            extradata: parameters.extradata().to_vec(),
        }),
        Kind::Subtitle => StreamKind::Subtitle,
        Kind::Data => StreamKind::Data,
        Kind::Other => StreamKind::Other,
    })
}

/// What the container cuts off, at whole samples of chroma.
fn crop(view: &StreamView<'_>, parameters: &ffi::Parameters) -> Option<Crop> {
    let [top, bottom, left, right] = view.cropping()?;
    let crop = Crop {
        left,
        top,
        right,
        bottom,
    };
    let format = ffi::format_descriptor(parameters.format());
    let shift = format.map_or((1, 1), |format| format.chroma_shift);
    crop.aligned(
        crop_unit(shift, parameters.field_order()),
        parameters.size(),
    )
}

/// Columns and rows by which a picture may be cropped, for sides of chroma that are halved so often. Rows of fields take turns, in luma and in chroma.
fn crop_unit((horizontal, vertical): (u8, u8), order: Option<FieldOrder>) -> (u32, u32) {
    let fields = match order {
        Some(FieldOrder::Progressive) | None => 1,
        Some(_) => 2,
    };
    (1 << horizontal, fields << vertical)
}

#[cfg(test)]
mod tests {
    use super::{FieldOrder, clock_microseconds, crop_unit};

    #[test]
    fn fields_are_cropped_without_changing_places() {
        let interlaced = Some(FieldOrder::TopFirst);
        assert_eq!(crop_unit((1, 1), interlaced), (2, 4));
        assert_eq!(crop_unit((1, 0), interlaced), (2, 2));
        assert_eq!(crop_unit((1, 1), Some(FieldOrder::Progressive)), (2, 2));
        assert_eq!(crop_unit((0, 0), None), (1, 1));
    }

    #[test]
    fn clocks_are_read() {
        assert_eq!(clock_microseconds("00:00:05.040000000"), Some(5_040_000));
        assert_eq!(clock_microseconds("01:02:03.5"), Some(3_723_500_000));
        for bad in [
            "",
            "5",
            "00:05",
            "aa:00:01",
            "00:00:-1",
            "00:00:NaN",
            "00:00:99",
        ] {
            assert_eq!(clock_microseconds(bad), None, "{bad}");
        }
    }
}
