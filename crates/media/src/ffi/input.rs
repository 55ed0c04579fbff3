//! The demuxer's context over the crate's own byte stream.

use std::collections::BTreeMap;
use std::io;
use std::ptr::{self, NonNull};

use super::codec::Parameters;
use super::dict::{self, Dictionary};
use super::io::Io;
use super::packet::PacketRef;
use super::{check, light, listen, static_str, sys, timestamp};
use crate::cancel::CancelToken;
use crate::error::AvError;
use crate::hdr::{DolbyVision, Light};
use crate::source::{Limits, Reading};
use crate::time::Rational;

/// Owns an `AVFormatContext` opened for reading, and the byte stream below it.
pub(crate) struct Input {
    context: NonNull<sys::AVFormatContext>,
    io: Io,
}

// SAFETY: the context has no thread of its own and one owner; the reader behind it is Send.
unsafe impl Send for Input {}

/// Why an input cannot be opened.
pub(crate) enum OpenError {
    /// Nothing recognises the bytes, or only a format that is not allowed (its name).
    Unknown(Option<String>),
    /// The head cannot be read (with the format's name).
    Broken(String, AvError),
    /// It has more streams than the limit (with the format's name).
    TooManyStreams(String),
    /// FFmpeg failed for want of memory and the like.
    Failed(AvError),
}

impl From<AvError> for OpenError {
    fn from(error: AvError) -> Self {
        Self::Failed(error)
    }
}

/// A stream's record in the context.
pub(crate) struct StreamView<'a> {
    raw: &'a sys::AVStream,
    /// The same record, for calls that want it writable; FFmpeg's own part lies behind it.
    pointer: *mut sys::AVStream,
    context: *mut sys::AVFormatContext,
}

/// A byte stream that has been opened and can now be looked into.
pub(crate) struct Bytes(Io);

/// A chapter as the file has it.
pub(crate) struct ChapterView {
    /// Seconds for each unit of its times.
    pub(crate) time_base: Rational,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) title: String,
}

impl Input {
    /// Wraps the reader; nothing is read yet.
    pub(crate) fn bytes(reader: Box<dyn Reading>, cancel: CancelToken) -> Result<Bytes, AvError> {
        Io::new(reader, cancel).map(Bytes)
    }

    /// Finds the format among `formats` (comma separated), reads the head and looks at the streams.
    pub(crate) fn open(
        bytes: Bytes,
        limits: &Limits,
        formats: &str,
    ) -> Result<Self, (OpenError, Bytes)> {
        match Self::read_head(&bytes.0, limits, formats) {
            Ok((context, format)) => {
                let mut input = Self {
                    context,
                    io: bytes.0,
                };
                match input.find_streams(limits) {
                    Ok(()) => Ok(input),
                    Err(error) => Err((
                        OpenError::Broken(format.to_owned(), error),
                        input.into_bytes(),
                    )),
                }
            }
            Err(error) => Err((error, bytes)),
        }
    }

    fn read_head(
        io: &Io,
        limits: &Limits,
        formats: &str,
    ) -> Result<(NonNull<sys::AVFormatContext>, &'static str), OpenError> {
        let probe = u32::try_from(limits.probe_bytes)
            .unwrap_or(u32::MAX)
            .clamp(2048, 1 << 30);
        let mut format = ptr::null();
        // SAFETY: the byte stream is valid; FFmpeg rewinds it and sets `format` on success.
        let probed = unsafe {
            sys::av_probe_input_buffer2(
                io.as_ptr(),
                &raw mut format,
                c"".as_ptr(),
                ptr::null_mut(),
                0,
                probe,
            )
        };
        if probed < 0 || format.is_null() {
            return Err(OpenError::Unknown(None));
        }
        // SAFETY: formats are static records with static names.
        let name = unsafe { static_str((*format).name) };
        if !name
            .split(',')
            .any(|name| formats.split(',').any(|allowed| allowed == name))
        {
            return Err(OpenError::Unknown(Some(name.to_owned())));
        }
        let mut options = Dictionary::from_pairs([
            ("format_whitelist", formats.to_owned()),
            ("protocol_whitelist", String::new()),
            (
                "max_streams",
                limits.max_streams.min(i32::MAX as u32).to_string(),
            ),
            ("probesize", probe.to_string()),
        ])?;
        // SAFETY: allocates; null means no memory. The byte stream and the interrupt's state outlive the context.
        let mut context = unsafe {
            let context = sys::avformat_alloc_context();
            if context.is_null() {
                return Err(AvError::no_memory().into());
            }
            (*context).pb = io.as_ptr();
            (*context).interrupt_callback = io.interrupt();
            if !io.is_length_known() {
                // Formats look for indices, tags and all their fragments up to the end, which may be hours away.
                (*context).flags |= sys::AVFMT_FLAG_IGNIDX as i32;
            }
            context
        };
        // SAFETY: the context has its byte stream, so nothing is opened by name; FFmpeg frees it on failure.
        let (opened, lines) = listen(|| unsafe {
            sys::avformat_open_input(&raw mut context, c"".as_ptr(), format, &raw mut options.0)
        });
        check(opened).map_err(|error| {
            // The code is that of want of memory.
            if lines.iter().any(|line| line.contains("max_streams")) {
                OpenError::TooManyStreams(name.to_owned())
            } else {
                OpenError::Broken(name.to_owned(), error)
            }
        })?;
        NonNull::new(context)
            .map(|context| (context, name))
            .ok_or_else(|| AvError::no_memory().into())
    }

    fn find_streams(&mut self, limits: &Limits) -> Result<(), AvError> {
        let mut options = Vec::with_capacity(self.stream_count());
        for _ in 0..self.stream_count() {
            options.push(Dictionary::from_pairs([(
                "max_pixels",
                limits.max_pixels.min(i64::MAX as u64).to_string(),
            )])?);
        }
        let mut raw: Vec<_> = options
            .iter_mut()
            .map(|options| std::mem::replace(&mut options.0, ptr::null_mut()))
            .collect();
        // SAFETY: one list for each stream that the context has now; FFmpeg replaces them, and they go back to their
        // owners below.
        let found =
            unsafe { sys::avformat_find_stream_info(self.context.as_ptr(), raw.as_mut_ptr()) };
        for (owner, list) in options.iter_mut().zip(raw) {
            owner.0 = list;
        }
        check(found).map(drop)
    }

    /// Takes the reader's error, if reading failed rather than FFmpeg.
    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.io.take_failure()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.io.is_cancelled()
    }

    /// Whether the file was opened for reading as it comes, without its index.
    pub(crate) fn is_streamed(&self) -> bool {
        self.raw().flags & sys::AVFMT_FLAG_IGNIDX as i32 != 0
    }

    fn into_bytes(self) -> Bytes {
        let this = std::mem::ManuallyDrop::new(self);
        let mut context = this.context.as_ptr();
        // SAFETY: `this` is not dropped: the context is closed once, here, and the byte stream is moved out once.
        unsafe {
            sys::avformat_close_input(&raw mut context);
            Bytes(ptr::read(&raw const this.io))
        }
    }

    fn raw(&self) -> &sys::AVFormatContext {
        // SAFETY: valid and ours; FFmpeg changes it only in calls that borrow self mutably.
        unsafe { self.context.as_ref() }
    }

    pub(crate) fn format(&self) -> &'static str {
        // SAFETY: an opened context has its format, a static record.
        unsafe { static_str((*self.raw().iformat).name) }
    }

    /// In microseconds.
    pub(crate) fn duration(&self) -> Option<i64> {
        timestamp(self.raw().duration)
    }

    pub(crate) fn bit_rate(&self) -> i64 {
        self.raw().bit_rate
    }

    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        // SAFETY: the context's own list.
        unsafe { dict::entries(self.raw().metadata) }
    }

    pub(crate) fn chapters(&self) -> Vec<ChapterView> {
        let count = self.raw().nb_chapters as usize;
        // SAFETY: the context holds `nb_chapters` valid pointers, each with a list of its own.
        let view = |place| unsafe {
            let raw = &**self.raw().chapters.add(place);
            ChapterView {
                time_base: rational(raw.time_base),
                start: raw.start,
                end: raw.end,
                title: dict::entries(raw.metadata)
                    .remove("title")
                    .unwrap_or_default(),
            }
        };
        (0..count).map(view).collect()
    }

    pub(crate) fn stream_count(&self) -> usize {
        self.raw().nb_streams as usize
    }

    pub(crate) fn stream(&self, index: usize) -> Option<StreamView<'_>> {
        if index >= self.stream_count() {
            return None;
        }
        // SAFETY: the context holds `nb_streams` valid pointers.
        Some(unsafe {
            let pointer = *self.raw().streams.add(index);
            StreamView {
                raw: &*pointer,
                pointer,
                context: self.context.as_ptr(),
            }
        })
    }

    /// Sets whether packets of the stream are wanted.
    pub(crate) fn keep(&mut self, index: usize, wanted: bool) {
        if index < self.stream_count() {
            let discard = if wanted {
                sys::AVDiscard::AVDISCARD_DEFAULT
            } else {
                sys::AVDiscard::AVDISCARD_ALL
            };
            // SAFETY: the context holds `nb_streams` valid pointers.
            unsafe { (**self.raw().streams.add(index)).discard = discard }
        }
    }

    /// Reads the next packet; `None` at the end.
    pub(crate) fn read(&mut self) -> Result<Option<PacketRef>, AvError> {
        /// Answers of "again" in a row that a format gets; the reader below always has data, so one should do.
        const PATIENCE: u32 = 10_000;
        let mut packet = PacketRef::new()?;
        let mut patience = PATIENCE;
        loop {
            // SAFETY: both are valid; on success the packet holds a reference of its own.
            let code = unsafe { sys::av_read_frame(self.context.as_ptr(), packet.as_mut_ptr()) };
            match code {
                sys::RUNGS_EOF => return Ok(None),
                sys::RUNGS_AGAIN if patience > 0 && !self.is_cancelled() => patience -= 1,
                code => return check(code).map(|_| Some(packet)),
            }
        }
    }

    /// Moves to the last place at or before `timestamp` from which the stream can be decoded.
    pub(crate) fn seek(&mut self, stream: i32, timestamp: i64) -> Result<(), AvError> {
        // SAFETY: valid and ours.
        check(unsafe {
            sys::av_seek_frame(
                self.context.as_ptr(),
                stream,
                timestamp,
                sys::AVSEEK_FLAG_BACKWARD as i32,
            )
        })
        .map(drop)
    }
}

impl Input {
    /// Timestamps of the keyframes in the index that FFmpeg has of the stream so far.
    pub(crate) fn indexed_keyframes(&self, stream: usize) -> Vec<i64> {
        let Some(view) = self.stream(stream) else {
            return Vec::new();
        };
        // SAFETY: the stream is valid; entries are read before anything can change the index.
        unsafe {
            let count = sys::avformat_index_get_entries_count(view.pointer);
            (0..count)
                .filter_map(|place| sys::avformat_index_get_entry(view.pointer, place).as_ref())
                .filter(|entry| entry.flags() & sys::AVINDEX_KEYFRAME as i32 != 0)
                .map(|entry| entry.timestamp)
                .collect()
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let mut context = self.context.as_ptr();
        // SAFETY: valid and ours, not used again; the byte stream is freed after it.
        unsafe { sys::avformat_close_input(&raw mut context) }
    }
}

impl Bytes {
    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.0.take_failure()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl StreamView<'_> {
    pub(crate) fn time_base(&self) -> Rational {
        rational(self.raw.time_base)
    }

    pub(crate) fn start(&self) -> Option<i64> {
        timestamp(self.raw.start_time)
    }

    pub(crate) fn duration(&self) -> Option<i64> {
        timestamp(self.raw.duration).filter(|ticks| *ticks > 0)
    }

    pub(crate) fn frames(&self) -> i64 {
        self.raw.nb_frames
    }

    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        // SAFETY: the stream's own list.
        unsafe { dict::entries(self.raw.metadata) }
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.raw.disposition & sys::AV_DISPOSITION_FORCED as i32 != 0
    }

    pub(crate) fn is_default(&self) -> bool {
        self.raw.disposition & sys::AV_DISPOSITION_DEFAULT as i32 != 0
    }

    pub(crate) fn is_attached_picture(&self) -> bool {
        self.raw.disposition
            & (sys::AV_DISPOSITION_ATTACHED_PIC | sys::AV_DISPOSITION_TIMED_THUMBNAILS) as i32
            != 0
    }

    pub(crate) fn frame_rate(&self) -> Rational {
        // SAFETY: reads the stream and its format, which self borrows.
        rational(unsafe { sys::av_guess_frame_rate(self.context, self.pointer, ptr::null_mut()) })
    }

    pub(crate) fn sample_aspect(&self) -> Rational {
        // SAFETY: as in `frame_rate`.
        rational(unsafe {
            sys::av_guess_sample_aspect_ratio(self.context, self.pointer, ptr::null_mut())
        })
    }

    /// Makes a stream that is to be written like this one.
    pub(super) fn describe(&self, stream: &mut sys::AVStream) -> Result<(), AvError> {
        // SAFETY: every stream has its parameters.
        unsafe {
            check(sys::avcodec_parameters_copy(
                stream.codecpar,
                self.raw.codecpar,
            ))?;
            // Each container has tags of its own for the codecs.
            (*stream.codecpar).codec_tag = 0;
        }
        stream.time_base = self.raw.time_base;
        stream.avg_frame_rate = self.raw.avg_frame_rate;
        stream.sample_aspect_ratio = self.raw.sample_aspect_ratio;
        stream.disposition = self.raw.disposition;
        self.describe_light(stream)
    }

    /// Takes over what the stream says of its light.
    #[cfg(not(coded_side_data))]
    fn describe_light(&self, stream: &mut sys::AVStream) -> Result<(), AvError> {
        for kind in [
            sys::AVPacketSideDataType::AV_PKT_DATA_MASTERING_DISPLAY_METADATA,
            sys::AVPacketSideDataType::AV_PKT_DATA_CONTENT_LIGHT_LEVEL,
        ] {
            let data = self.side_data(kind);
            if data.is_empty() {
                continue;
            }
            // SAFETY: the stream is valid; FFmpeg makes room for as many bytes, which cannot overlap with these.
            unsafe {
                let room = sys::av_stream_new_side_data(stream, kind, data.len());
                if room.is_null() {
                    return Err(AvError::no_memory());
                }
                ptr::copy_nonoverlapping(data.as_ptr(), room, data.len());
            }
        }
        Ok(())
    }

    /// It stands among the parameters, which were copied.
    #[cfg(coded_side_data)]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "other versions have work to do"
    )]
    fn describe_light(&self, _: &mut sys::AVStream) -> Result<(), AvError> {
        Ok(())
    }

    pub(crate) fn parameters(&self) -> Result<Parameters, AvError> {
        // SAFETY: every stream has its parameters.
        unsafe { Parameters::copy(self.raw.codecpar, rational(self.raw.time_base)) }
    }

    /// The display matrix, nine 32-bit numbers.
    pub(crate) fn display_matrix(&self) -> Option<[i32; 9]> {
        let data = self.side_data(sys::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX);
        let mut words = data
            .chunks_exact(4)
            .map(|word| i32::from_ne_bytes(word.try_into().unwrap_or_default()));
        let matrix = std::array::from_fn(|_| words.next());
        matrix
            .iter()
            .all(Option::is_some)
            .then(|| matrix.map(Option::unwrap_or_default))
    }

    /// What the container says of the light.
    pub(crate) fn light(&self) -> Light {
        Light {
            mastering: light::mastering(
                self.side_data(sys::AVPacketSideDataType::AV_PKT_DATA_MASTERING_DISPLAY_METADATA),
            ),
            content: light::content(
                self.side_data(sys::AVPacketSideDataType::AV_PKT_DATA_CONTENT_LIGHT_LEVEL),
            ),
        }
    }

    /// The container's Dolby Vision configuration record.
    pub(crate) fn dolby_vision(&self) -> Option<DolbyVision> {
        light::dolby_vision(self.side_data(sys::AVPacketSideDataType::AV_PKT_DATA_DOVI_CONF))
    }

    /// What the container cuts off the picture: top, bottom, left and right. FFmpeg leaves that to its users, and up to 7.0 does not tell.
    #[cfg(frame_cropping)]
    pub(crate) fn cropping(&self) -> Option<[u32; 4]> {
        let data = self.side_data(sys::AVPacketSideDataType::AV_PKT_DATA_FRAME_CROPPING);
        let (sides, _) = data.as_chunks::<4>();
        let sides: &[[u8; 4]; 4] = sides.first_chunk()?;
        Some(sides.map(u32::from_le_bytes))
    }

    #[cfg(not(frame_cropping))]
    #[expect(clippy::unused_self, reason = "other versions have something to tell")]
    pub(crate) fn cropping(&self) -> Option<[u32; 4]> {
        None
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        // SAFETY: every stream has its parameters.
        let tag = unsafe { (*self.raw.codecpar).codec_tag }.to_le_bytes();
        !self
            .side_data(sys::AVPacketSideDataType::AV_PKT_DATA_ENCRYPTION_INIT_INFO)
            .is_empty()
            || [*b"encv", *b"enca"].contains(&tag)
    }

    #[cfg(not(coded_side_data))]
    fn side_data(&self, kind: sys::AVPacketSideDataType) -> &[u8] {
        let mut size = 0;
        // SAFETY: reads the stream; the data lives as long as it.
        unsafe {
            let data = sys::av_stream_get_side_data(self.raw, kind, &raw mut size);
            super::bytes(data, i32::try_from(size).unwrap_or(0))
        }
    }

    #[cfg(coded_side_data)]
    fn side_data(&self, kind: sys::AVPacketSideDataType) -> &[u8] {
        // SAFETY: every stream has its parameters, whose side data lives as long as they.
        unsafe {
            let parameters = &*self.raw.codecpar;
            let found = sys::av_packet_side_data_get(
                parameters.coded_side_data,
                parameters.nb_coded_side_data,
                kind,
            );
            if found.is_null() {
                &[]
            } else {
                super::bytes((*found).data, i32::try_from((*found).size).unwrap_or(0))
            }
        }
    }
}

pub(super) fn rational(value: sys::AVRational) -> Rational {
    Rational {
        num: value.num,
        den: value.den,
    }
}

pub(super) fn av_rational(value: Rational) -> sys::AVRational {
    sys::AVRational {
        num: value.num,
        den: value.den,
    }
}
