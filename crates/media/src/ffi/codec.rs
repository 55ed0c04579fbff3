//! Encoders and decoders: what FFmpeg has, and a context of one.

use std::borrow::Cow;
use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::dict::Dictionary;
use super::input::{av_rational, rational};
use super::packet::PacketRef;
use super::picture::{self, AvFrame};
use super::samples::{Layout, Sound};
use super::{bytes, check, log, static_str, string, sys};
use crate::color::{Color, FieldOrder};
use crate::error::AvError;
use crate::stall::Stall;
use crate::time::{Rational, TimeBase};

/// What a stream or a codec carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Video,
    Audio,
    Subtitle,
    Data,
    Other,
}

impl Kind {
    fn of(kind: sys::AVMediaType) -> Self {
        match kind {
            sys::AVMediaType::AVMEDIA_TYPE_VIDEO => Self::Video,
            sys::AVMediaType::AVMEDIA_TYPE_AUDIO => Self::Audio,
            sys::AVMediaType::AVMEDIA_TYPE_SUBTITLE => Self::Subtitle,
            sys::AVMediaType::AVMEDIA_TYPE_DATA => Self::Data,
            _ => Self::Other,
        }
    }
}

/// FFmpeg's static record of an encoder or decoder.
#[derive(Clone, Copy)]
pub(crate) struct Codec(pub(super) &'static sys::AVCodec);

// SAFETY: the records are constants.
unsafe impl Send for Codec {}
// SAFETY: the records are constants.
unsafe impl Sync for Codec {}

/// All encoders and decoders that this FFmpeg has.
pub(crate) fn codecs() -> Vec<Codec> {
    let mut found = Vec::new();
    let mut position = ptr::null_mut();
    // SAFETY: the iterator's state is ours; the records that it returns are static.
    while let Some(codec) = unsafe { sys::av_codec_iterate(&raw mut position).as_ref() } {
        found.push(Codec(codec));
    }
    found
}

impl Codec {
    pub(crate) fn encoder(name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: returns null or a static record.
        unsafe { sys::avcodec_find_encoder_by_name(name.as_ptr()).as_ref() }.map(Self)
    }

    pub(crate) fn decoder(name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: returns null or a static record.
        unsafe { sys::avcodec_find_decoder_by_name(name.as_ptr()).as_ref() }.map(Self)
    }

    /// FFmpeg's first decoder of the codec that runs on the CPU.
    pub(crate) fn software_decoder(parameters: &Parameters) -> Option<Self> {
        let id = parameters.raw().codec_id;
        codecs()
            .into_iter()
            .find(|codec| codec.is_decoder() && codec.0.id == id && !codec.is_hardware())
    }

    /// What must be held while an encoder of this kind is opened or closed.
    ///
    /// SVT-AV1 keeps what it knows of the machine's processors in a global, which every open fills and every close frees (seen
    /// with 1.4.1 as crashes, in the sources up to 2.3). Encoding does not touch it.
    fn opening(self) -> Option<MutexGuard<'static, ()>> {
        static SVT_AV1: Mutex<()> = Mutex::new(());
        (self.is_encoder() && self.name() == "libsvtav1")
            .then(|| SVT_AV1.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn name(self) -> &'static str {
        // SAFETY: a static record's string.
        unsafe { static_str(self.0.name) }
    }

    pub(crate) fn description(self) -> &'static str {
        // SAFETY: a static record's string.
        unsafe { static_str(self.0.long_name) }
    }

    pub(crate) fn codec_name(self) -> &'static str {
        // SAFETY: returns a static string.
        unsafe { static_str(sys::avcodec_get_name(self.0.id)) }
    }

    pub(crate) fn kind(self) -> Kind {
        Kind::of(self.0.type_)
    }

    pub(crate) fn is_encoder(self) -> bool {
        // SAFETY: reads a static record.
        unsafe { sys::av_codec_is_encoder(self.0) != 0 }
    }

    pub(crate) fn is_decoder(self) -> bool {
        // SAFETY: reads a static record.
        unsafe { sys::av_codec_is_decoder(self.0) != 0 }
    }

    pub(crate) fn is_hardware(self) -> bool {
        self.0.capabilities & (sys::AV_CODEC_CAP_HARDWARE | sys::AV_CODEC_CAP_HYBRID) as c_int != 0
    }

    pub(crate) fn is_experimental(self) -> bool {
        self.0.capabilities & sys::AV_CODEC_CAP_EXPERIMENTAL as c_int != 0
    }
}

/// Owns a copy of a stream's codec parameters, with the time base of its packets.
pub(crate) struct Parameters {
    raw: NonNull<sys::AVCodecParameters>,
    pub(crate) time_base: Rational,
}

// SAFETY: one owner, and no method changes the record.
unsafe impl Send for Parameters {}
// SAFETY: shared methods only read.
unsafe impl Sync for Parameters {}

impl Parameters {
    /// Those of a stream of which nothing is known but its codec.
    pub(crate) fn of(codec: Codec, time_base: Rational) -> Result<Self, AvError> {
        // SAFETY: allocates; null means no memory.
        let mut raw = NonNull::new(unsafe { sys::avcodec_parameters_alloc() })
            .ok_or_else(AvError::no_memory)?;
        // SAFETY: valid, and nobody else has it yet.
        let fields = unsafe { raw.as_mut() };
        fields.codec_type = codec.0.type_;
        fields.codec_id = codec.0.id;
        Ok(Self { raw, time_base })
    }

    /// The same with a codec's configuration.
    pub(crate) fn configured(
        codec: Codec,
        time_base: Rational,
        configuration: &[u8],
    ) -> Result<Self, AvError> {
        let mut made = Self::of(codec, time_base)?;
        if configuration.is_empty() {
            return Ok(made);
        }
        let size = c_int::try_from(configuration.len()).map_err(|_| AvError::invalid())?;
        let room = configuration.len() + sys::AV_INPUT_BUFFER_PADDING_SIZE as usize;
        // SAFETY: allocates; null means no memory.
        let copy = NonNull::new(unsafe { sys::av_mallocz(room) }).ok_or_else(AvError::no_memory)?;
        let copy = copy.cast::<u8>();
        // SAFETY: both hold so many bytes, and the second is new. The record takes it over.
        unsafe {
            ptr::copy_nonoverlapping(configuration.as_ptr(), copy.as_ptr(), configuration.len());
            let fields = made.raw.as_mut();
            fields.extradata = copy.as_ptr();
            fields.extradata_size = size;
        }
        Ok(made)
    }

    /// # Safety
    /// `from` is valid.
    pub(super) unsafe fn copy(
        from: *const sys::AVCodecParameters,
        time_base: Rational,
    ) -> Result<Self, AvError> {
        // SAFETY: allocates; null means no memory.
        let raw = NonNull::new(unsafe { sys::avcodec_parameters_alloc() })
            .ok_or_else(AvError::no_memory)?;
        let copy = Self { raw, time_base };
        // SAFETY: both records are valid.
        check(unsafe { sys::avcodec_parameters_copy(raw.as_ptr(), from) })?;
        Ok(copy)
    }

    /// Those of what an open encoder makes.
    pub(crate) fn of_encoder(context: &CodecContext) -> Result<Self, AvError> {
        let mut made = Self::of(context.codec, rational(context.raw().time_base))?;
        // SAFETY: both are valid; FFmpeg replaces what the record held.
        check(unsafe {
            sys::avcodec_parameters_from_context(made.raw.as_mut(), context.context.as_ptr())
        })?;
        Ok(made)
    }

    pub(super) fn as_ptr(&self) -> *const sys::AVCodecParameters {
        self.raw.as_ptr()
    }

    fn raw(&self) -> &sys::AVCodecParameters {
        // SAFETY: valid, ours, never changed.
        unsafe { self.raw.as_ref() }
    }

    pub(super) fn codec_id(&self) -> sys::AVCodecID {
        self.raw().codec_id
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::of(self.raw().codec_type)
    }

    /// FFmpeg's name of the codec; of one that it does not know the container's, if that is printable.
    pub(crate) fn codec(&self) -> Cow<'static, str> {
        if self.codec_id() == sys::AVCodecID::AV_CODEC_ID_NONE {
            let tag = self.raw().codec_tag.to_le_bytes();
            let is_name = tag[0].is_ascii_alphanumeric()
                && tag.iter().all(|byte| (b' '..=b'~').contains(byte));
            return if is_name {
                String::from_utf8_lossy(&tag).trim_end().to_owned().into()
            } else {
                "unknown".into()
            };
        }
        // SAFETY: returns a static string.
        unsafe { static_str(sys::avcodec_get_name(self.raw().codec_id)) }.into()
    }

    /// Whether it is subtitles that are pictures.
    pub(crate) fn is_bitmap(&self) -> bool {
        // SAFETY: returns null or a static record.
        let known = unsafe { sys::avcodec_descriptor_get(self.raw().codec_id).as_ref() };
        known.is_some_and(|known| known.props & sys::AV_CODEC_PROP_BITMAP_SUB as c_int != 0)
    }

    pub(crate) fn profile(&self) -> Option<String> {
        // SAFETY: returns null or a static string.
        let name = unsafe {
            string(sys::avcodec_profile_name(
                self.raw().codec_id,
                self.raw().profile,
            ))
        };
        (!name.is_empty()).then_some(name)
    }

    /// Whether it is subtitles that are text.
    pub(crate) fn is_text(&self) -> bool {
        // SAFETY: returns null or a static record.
        let known = unsafe { sys::avcodec_descriptor_get(self.raw().codec_id).as_ref() };
        known.is_some_and(|known| known.props & sys::AV_CODEC_PROP_TEXT_SUB as c_int != 0)
    }

    pub(crate) fn bit_rate(&self) -> i64 {
        self.raw().bit_rate
    }

    pub(crate) fn size(&self) -> (u32, u32) {
        (
            self.raw().width.max(0) as u32,
            self.raw().height.max(0) as u32,
        )
    }

    /// The pixel format or sample format, by FFmpeg's number.
    pub(crate) fn format(&self) -> c_int {
        self.raw().format
    }

    pub(crate) fn color(&self) -> Color {
        let raw = self.raw();
        picture::color(
            [raw.color_primaries.0, raw.color_trc.0, raw.color_space.0],
            raw.color_range,
            raw.chroma_location,
        )
    }

    pub(crate) fn field_order(&self) -> Option<FieldOrder> {
        match self.raw().field_order {
            sys::AVFieldOrder::AV_FIELD_PROGRESSIVE => Some(FieldOrder::Progressive),
            sys::AVFieldOrder::AV_FIELD_TT | sys::AVFieldOrder::AV_FIELD_BT => {
                Some(FieldOrder::TopFirst)
            }
            sys::AVFieldOrder::AV_FIELD_BB | sys::AVFieldOrder::AV_FIELD_TB => {
                Some(FieldOrder::BottomFirst)
            }
            _ => None,
        }
    }

    pub(crate) fn reordering(&self) -> u32 {
        self.raw().video_delay.max(0) as u32
    }

    pub(crate) fn sample_rate(&self) -> u32 {
        self.raw().sample_rate.max(0) as u32
    }

    pub(crate) fn layout(&self) -> Result<Layout, AvError> {
        // SAFETY: the record's own layout.
        unsafe { Layout::copy(&raw const self.raw().ch_layout) }
    }

    pub(crate) fn frame_size(&self) -> u32 {
        self.raw().frame_size.max(0) as u32
    }

    pub(crate) fn initial_padding(&self) -> u32 {
        self.raw().initial_padding.max(0) as u32
    }

    pub(crate) fn extradata(&self) -> &[u8] {
        // SAFETY: the record holds that many bytes there.
        unsafe { bytes(self.raw().extradata, self.raw().extradata_size) }
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        let mut raw = self.raw.as_ptr();
        // SAFETY: ours, not used again.
        unsafe { sys::avcodec_parameters_free(&raw mut raw) }
    }
}

/// What a codec's side that was asked for data answers.
pub(crate) enum Poll<T> {
    Ready(T),
    /// It wants the other side to move first.
    Again,
    End,
}

/// The settings that all video encoders share.
pub(crate) struct VideoSettings {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) format: c_int,
    pub(crate) time_base: TimeBase,
    pub(crate) frame_rate: Rational,
    pub(crate) color: Color,
    pub(crate) gop: u32,
    pub(crate) threads: u32,
}

/// What FFmpeg's callbacks for a decoder read and write; the context and the copies of it that its threads have point to it.
#[derive(Default)]
pub(super) struct Shared {
    /// The only format that a decoder on a device may give.
    pub(super) format: Option<c_int>,
    /// Whether a decoder on a device was not offered that format.
    pub(super) refused: AtomicBool,
    /// Whether the decoder logged an error.
    pub(super) complained: AtomicBool,
}

/// Owns an encoder's or decoder's context.
pub(crate) struct CodecContext {
    pub(super) context: NonNull<sys::AVCodecContext>,
    pub(super) codec: Codec,
    shared: Option<Box<Shared>>,
    stall: Stall,
}

// SAFETY: one owner at a time; FFmpeg's codecs do not care which thread calls.
unsafe impl Send for CodecContext {}

impl CodecContext {
    /// Makes a context that is not open yet.
    pub(crate) fn new(codec: Codec) -> Result<Self, AvError> {
        // SAFETY: allocates; null means no memory.
        NonNull::new(unsafe { sys::avcodec_alloc_context3(codec.0) })
            .map(|context| Self {
                context,
                codec,
                shared: None,
                stall: Stall::default(),
            })
            .ok_or_else(AvError::no_memory)
    }

    pub(super) fn raw(&self) -> &sys::AVCodecContext {
        // SAFETY: valid and ours; FFmpeg changes it only in calls that borrow self mutably.
        unsafe { self.context.as_ref() }
    }

    pub(super) fn raw_mut(&mut self) -> &mut sys::AVCodecContext {
        // SAFETY: valid, ours, borrowed mutably.
        unsafe { self.context.as_mut() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.codec.name()
    }

    /// What it makes or reads, such as `hevc`.
    pub(crate) fn codec_name(&self) -> &'static str {
        self.codec.codec_name()
    }

    /// Takes over what the demuxer knows of the stream.
    pub(crate) fn set_parameters(&mut self, parameters: &Parameters) -> Result<(), AvError> {
        // SAFETY: both records are valid.
        check(unsafe {
            sys::avcodec_parameters_to_context(self.context.as_ptr(), parameters.as_ptr())
        })?;
        self.raw_mut().pkt_timebase = av_rational(parameters.time_base);
        Ok(())
    }

    /// Makes what the decoder's callbacks share, and lets the context point to it.
    pub(super) fn share(&mut self, shared: Shared) {
        let shared = ptr::from_ref::<Shared>(self.shared.insert(Box::new(shared)));
        self.raw_mut().opaque = shared.cast_mut().cast();
    }

    pub(super) fn shared(&self) -> Option<&Shared> {
        self.shared.as_deref()
    }

    /// Whether a [watched](Self::set_decoder) decoder has logged an error since this was asked last.
    pub(crate) fn has_complained(&self) -> bool {
        self.shared()
            .is_some_and(|shared| shared.complained.swap(false, Ordering::Relaxed))
    }

    /// Lets a decoder that is not open yet check what has checksums, and [keep in mind](Self::has_complained) whether it logs errors.
    pub(crate) fn watch(&mut self) {
        self.raw_mut().err_recognition |= sys::AV_EF_CRCCHECK as c_int;
        self.share(Shared::default());
        log::install();
    }

    /// The most frames that the decoder's threads may be ahead of the one that it gives.
    pub(crate) fn most_ahead(&self) -> u32 {
        let raw = self.raw();
        if raw.active_thread_type & sys::FF_THREAD_FRAME as c_int != 0 {
            raw.thread_count.max(0) as u32
        } else {
            0
        }
    }

    /// Sets up a decoder of video that is not open yet. One that is [watched](Self::watch) is not asked to stop at errors (`AV_EF_EXPLODE`) or to look for more of them (`AV_EF_BITSTREAM`, `AV_EF_BUFFER`): decoders
    /// then leave by paths that few have tried, and FFmpeg's own assertions end the process when a thread does so after it made a frame.
    pub(crate) fn set_decoder(&mut self, threads: u32, watched: bool, max_pixels: u64) {
        let raw = self.raw_mut();
        raw.thread_count = c_int::try_from(threads).unwrap_or(0);
        raw.max_pixels = i64::try_from(max_pixels).unwrap_or(i64::MAX);
        // Without it, pixels that the codec's headers cut off at the left stay where rows would start at an odd address.
        raw.flags |= sys::AV_CODEC_FLAG_UNALIGNED as c_int;
        if watched {
            self.watch();
        }
    }

    /// Lets the decoder refuse what the specification forbids, also where it could go on.
    pub(crate) fn set_strict_compliance(&mut self) {
        self.raw_mut().strict_std_compliance = sys::FF_COMPLIANCE_STRICT as c_int;
    }

    pub(crate) fn set_video_encoder(&mut self, settings: &VideoSettings) -> Result<(), AvError> {
        let integer = |value: u32| c_int::try_from(value).map_err(|_| AvError::invalid());
        let raw = self.raw_mut();
        raw.width = integer(settings.width)?;
        raw.height = integer(settings.height)?;
        raw.pix_fmt = sys::AVPixelFormat(settings.format);
        raw.time_base = av_rational(settings.time_base.rational().ok_or_else(AvError::invalid)?);
        raw.framerate = av_rational(settings.frame_rate);
        raw.sample_aspect_ratio = sys::AVRational { num: 1, den: 1 };
        raw.color_primaries.0 = u32::from(settings.color.primaries);
        raw.color_trc.0 = u32::from(settings.color.transfer);
        raw.colorspace.0 = u32::from(settings.color.matrix);
        raw.color_range = picture::range(settings.color.full_range);
        raw.chroma_sample_location = picture::chroma(settings.color.chroma_location);
        raw.gop_size = integer(settings.gop)?;
        raw.thread_count = integer(settings.threads)?;
        raw.flags |= (sys::AV_CODEC_FLAG_GLOBAL_HEADER | sys::AV_CODEC_FLAG_BITEXACT) as c_int;
        Ok(())
    }

    /// Says how many frames in a row may be encoded with the help of later ones.
    pub(crate) fn set_b_frames(&mut self, most: u32) {
        self.raw_mut().max_b_frames = c_int::try_from(most).unwrap_or(0);
    }

    pub(crate) fn set_audio_encoder(
        &mut self,
        sound: &Sound<'_>,
        bit_rate: u64,
    ) -> Result<(), AvError> {
        let context = self.context.as_ptr();
        // SAFETY: both layouts are valid.
        check(unsafe {
            sys::av_channel_layout_copy(&raw mut (*context).ch_layout, sound.layout.as_ptr())
        })?;
        let rate = c_int::try_from(sound.rate).map_err(|_| AvError::invalid())?;
        let raw = self.raw_mut();
        raw.sample_rate = rate;
        raw.sample_fmt = sound.format.raw();
        raw.bit_rate = i64::try_from(bit_rate).map_err(|_| AvError::invalid())?;
        raw.time_base = sys::AVRational { num: 1, den: rate };
        raw.flags |= (sys::AV_CODEC_FLAG_GLOBAL_HEADER | sys::AV_CODEC_FLAG_BITEXACT) as c_int;
        Ok(())
    }

    /// Opens the codec. The inner error is the name of the first option that the codec did not take.
    pub(crate) fn open<'a>(
        &mut self,
        options: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<Result<(), String>, AvError> {
        let mut options = Dictionary::from_pairs(options)?;
        let _alone = self.codec.opening();
        // SAFETY: the context is valid and not open; FFmpeg takes what it knows from the list.
        check(unsafe {
            sys::avcodec_open2(self.context.as_ptr(), self.codec.0, &raw mut options.0)
        })?;
        Ok(options.first_key().map_or(Ok(()), Err))
    }

    pub(crate) fn extradata(&self) -> &[u8] {
        // SAFETY: the context holds that many bytes there.
        unsafe { bytes(self.raw().extradata, self.raw().extradata_size) }
    }

    pub(crate) fn frame_size(&self) -> u32 {
        self.raw().frame_size.max(0) as u32
    }

    pub(crate) fn initial_padding(&self) -> u32 {
        self.raw().initial_padding.max(0) as u32
    }

    /// Gives a decoder a packet, or the end with `None`. `false`: it is full and must be emptied first.
    pub(crate) fn send_packet(&mut self, packet: Option<&PacketRef>) -> Result<bool, AvError> {
        let raw = packet.map_or(ptr::null(), PacketRef::as_ptr);
        // SAFETY: valid; the decoder makes a reference of its own.
        let accepted = accepted(unsafe { sys::avcodec_send_packet(self.context.as_ptr(), raw) })?;
        self.stall.sent(accepted, packet.is_none());
        Ok(accepted)
    }

    /// Takes a frame from a decoder.
    pub(crate) fn receive_frame(&mut self) -> Result<Poll<AvFrame>, AvError> {
        let mut frame = AvFrame::new()?;
        // SAFETY: both are valid.
        let code = unsafe { sys::avcodec_receive_frame(self.context.as_ptr(), frame.as_mut_ptr()) };
        self.moving(poll(code, frame)?)
    }

    /// Decodes a packet of subtitles: the events in it, as lines of SSA (`ReadOrder,Layer,Style,Name,MarginL,MarginR,MarginV,Effect,Text`),
    /// and for how long they are shown, in milliseconds, where the packet does not tell.
    pub(crate) fn decode_subtitle(
        &mut self,
        packet: &PacketRef,
    ) -> Result<(Vec<String>, u32), AvError> {
        // SAFETY: all zeroes is an empty record.
        let mut subtitle: sys::AVSubtitle = unsafe { std::mem::zeroed() };
        let mut got = 0;
        // SAFETY: all are valid; FFmpeg fills the record, and does not change the packet.
        check(unsafe {
            sys::avcodec_decode_subtitle2(
                self.context.as_ptr(),
                &raw mut subtitle,
                &raw mut got,
                packet.as_ptr().cast_mut(),
            )
        })?;
        if got == 0 {
            return Ok((Vec::new(), 0));
        }
        let mut lines = Vec::new();
        for index in 0..subtitle.num_rects as usize {
            // SAFETY: there are so many valid rectangles, whose strings are null or end with a NUL.
            unsafe {
                let rectangle = *subtitle.rects.add(index);
                if !(*rectangle).ass.is_null() {
                    lines.push(string((*rectangle).ass));
                }
            }
        }
        let shown = subtitle.end_display_time;
        // SAFETY: filled above, not used again.
        unsafe { sys::avsubtitle_free(&raw mut subtitle) };
        Ok((lines, shown))
    }

    /// Gives an encoder a frame, or the end with `None`. `false`: it is full and must be emptied first.
    pub(crate) fn send_frame(&mut self, frame: Option<&AvFrame>) -> Result<bool, AvError> {
        let raw = frame.map_or(ptr::null(), AvFrame::as_ptr);
        // SAFETY: valid; the encoder makes a reference or a copy of its own.
        let accepted = accepted(unsafe { sys::avcodec_send_frame(self.context.as_ptr(), raw) })?;
        self.stall.sent(accepted, frame.is_none());
        Ok(accepted)
    }

    /// Takes a packet from an encoder.
    pub(crate) fn receive_packet(&mut self) -> Result<Poll<PacketRef>, AvError> {
        let mut packet = PacketRef::new()?;
        // SAFETY: both are valid.
        let code =
            unsafe { sys::avcodec_receive_packet(self.context.as_ptr(), packet.as_mut_ptr()) };
        self.moving(poll(code, packet)?)
    }

    /// The same, unless the codec takes nothing and gives nothing.
    fn moving<T>(&mut self, polled: Poll<T>) -> Result<Poll<T>, AvError> {
        match polled {
            Poll::Again if !self.stall.gives_nothing() => return Err(AvError::stalled()),
            Poll::Again => {}
            Poll::Ready(_) | Poll::End => self.stall.moves(),
        }
        Ok(polled)
    }

    /// Forgets all that a decoder has seen, for a new place in the stream.
    pub(crate) fn flush(&mut self) {
        self.stall.flush();
        // SAFETY: an open decoder.
        unsafe { sys::avcodec_flush_buffers(self.context.as_ptr()) }
    }
}

impl Drop for CodecContext {
    fn drop(&mut self) {
        let mut context = self.context.as_ptr();
        let _alone = self.codec.opening();
        // SAFETY: ours, not used again.
        unsafe { sys::avcodec_free_context(&raw mut context) }
    }
}

fn accepted(code: c_int) -> Result<bool, AvError> {
    if code == sys::RUNGS_AGAIN {
        Ok(false)
    } else {
        check(code).map(|_| true)
    }
}

pub(super) fn poll<T>(code: c_int, value: T) -> Result<Poll<T>, AvError> {
    match code {
        sys::RUNGS_AGAIN => Ok(Poll::Again),
        sys::RUNGS_EOF => Ok(Poll::End),
        code => check(code).map(|_| Poll::Ready(value)),
    }
}
