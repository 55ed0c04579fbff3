//! The muxer's context over a file of its own.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::{self, NonNull};

use super::dict::Dictionary;
use super::input::{ChapterView, StreamView, av_rational};
use super::packet::PacketRef;
use super::{check, sys};
use crate::error::AvError;
use crate::time::Rational;

/// A codec of subtitles that are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextCodec {
    SubRip,
    WebVtt,
}

/// Owns an `AVFormatContext` made for writing, and the file below it.
pub(crate) struct Output {
    context: NonNull<sys::AVFormatContext>,
}

// SAFETY: the context has no thread of its own and one owner.
unsafe impl Send for Output {}

impl Output {
    /// Makes the context of a format by name and creates the file, in place of one that is there. What is written depends on what is given
    /// alone: no random numbers, no clock.
    pub(crate) fn create(format: &CStr, path: &Path) -> Result<Self, AvError> {
        let mut name = b"file:".to_vec();
        name.extend(path.as_os_str().as_encoded_bytes());
        let name = CString::new(name).map_err(|_| AvError::invalid())?;
        let mut context = ptr::null_mut();
        // SAFETY: the strings live through the call; on success the context is ours.
        check(unsafe {
            sys::avformat_alloc_output_context2(
                &raw mut context,
                ptr::null(),
                format.as_ptr(),
                ptr::null(),
            )
        })?;
        let context = NonNull::new(context).ok_or_else(AvError::no_memory)?;
        let output = Self { context };
        // SAFETY: the context is valid and ours; what is opened is closed when it is dropped.
        unsafe {
            (*context.as_ptr()).flags |= sys::AVFMT_FLAG_BITEXACT as i32;
            let file = &raw mut (*context.as_ptr()).pb;
            check(sys::avio_open(
                file,
                name.as_ptr(),
                sys::AVIO_FLAG_WRITE as i32,
            ))?;
        }
        Ok(output)
    }

    /// Adds a stream like one that is read, with these tags.
    pub(crate) fn add(
        &mut self,
        view: &StreamView<'_>,
        tags: &[(&str, String)],
    ) -> Result<(), AvError> {
        let tags = Dictionary::from_pairs(tags.iter().cloned())?;
        // SAFETY: the context is valid and ours, and owns the stream, which nobody else has yet. The list's ownership passes to it.
        unsafe {
            let stream = sys::avformat_new_stream(self.context.as_ptr(), ptr::null());
            let stream = stream.as_mut().ok_or_else(AvError::no_memory)?;
            view.describe(stream)?;
            stream.metadata = tags.into_raw();
        }
        Ok(())
    }

    /// Adds a stream of subtitles whose times are milliseconds, with these tags.
    pub(crate) fn add_text(
        &mut self,
        codec: TextCodec,
        forced: bool,
        tags: &[(&str, String)],
    ) -> Result<(), AvError> {
        let tags = Dictionary::from_pairs(tags.iter().cloned())?;
        // SAFETY: as in `add`; every stream has its parameters.
        unsafe {
            let stream = sys::avformat_new_stream(self.context.as_ptr(), ptr::null());
            let stream = stream.as_mut().ok_or_else(AvError::no_memory)?;
            (*stream.codecpar).codec_type = sys::AVMediaType::AVMEDIA_TYPE_SUBTITLE;
            (*stream.codecpar).codec_id = match codec {
                TextCodec::SubRip => sys::AVCodecID::AV_CODEC_ID_SUBRIP,
                TextCodec::WebVtt => sys::AVCodecID::AV_CODEC_ID_WEBVTT,
            };
            stream.time_base = sys::AVRational { num: 1, den: 1000 };
            if forced {
                stream.disposition = sys::AV_DISPOSITION_FORCED as i32;
            }
            stream.metadata = tags.into_raw();
        }
        Ok(())
    }

    /// Sets the file's tags.
    pub(crate) fn set_tags(&mut self, tags: &[(&str, String)]) -> Result<(), AvError> {
        let tags = Dictionary::from_pairs(tags.iter().cloned())?;
        // SAFETY: the context is valid and ours, and had no tags; the list's ownership passes to it.
        unsafe { (*self.context.as_ptr()).metadata = tags.into_raw() };
        Ok(())
    }

    /// Sets the chapters.
    pub(crate) fn set_chapters(&mut self, chapters: &[ChapterView]) -> Result<(), AvError> {
        for (chapter, id) in chapters.iter().zip(1..) {
            let title = Dictionary::from_pairs([("title", chapter.title.clone())])?;
            // SAFETY: FFmpeg frees the list and each record of it with the context, and so they are made by its own allocator; the count grows
            // when a record is in place.
            unsafe {
                let context = &mut *self.context.as_ptr();
                let record = sys::av_mallocz(size_of::<sys::AVChapter>()).cast::<sys::AVChapter>();
                let Some(record) = record.as_mut() else {
                    return Err(AvError::no_memory());
                };
                record.id = id;
                record.time_base = av_rational(chapter.time_base);
                record.start = chapter.start;
                record.end = chapter.end;
                record.metadata = title.into_raw();
                let list = (&raw mut context.chapters).cast();
                let mut count = context.nb_chapters as i32;
                sys::av_dynarray_add(list, &raw mut count, ptr::from_mut(record).cast());
                context.nb_chapters = count.unsigned_abs();
                if count == 0 {
                    return Err(AvError::no_memory());
                }
            }
        }
        Ok(())
    }

    /// Writes the head. Times below zero are left to the format, or else all streams are moved until there are none.
    pub(crate) fn begin(&mut self, takes_negative: bool) -> Result<(), AvError> {
        // SAFETY: valid and ours.
        unsafe {
            if takes_negative {
                (*self.context.as_ptr()).avoid_negative_ts =
                    sys::AVFMT_AVOID_NEG_TS_DISABLED as i32;
            }
            check(sys::avformat_write_header(
                self.context.as_ptr(),
                ptr::null_mut(),
            ))
            .map(drop)
        }
    }

    /// Writes a packet of the stream `stream`, whose times count in `unit`, among those of the others by its time.
    pub(crate) fn write(
        &mut self,
        mut packet: PacketRef,
        (stream, unit): (usize, Rational),
    ) -> Result<(), AvError> {
        // SAFETY: the context holds `nb_streams` valid pointers; the packet is ours, and its data passes to the muxer.
        unsafe {
            let context = &*self.context.as_ptr();
            if stream >= context.nb_streams as usize {
                return Err(AvError::invalid());
            }
            let base = (**context.streams.add(stream)).time_base;
            let raw = packet.as_mut_ptr();
            (*raw).stream_index = stream as i32;
            (*raw).pos = -1;
            sys::av_packet_rescale_ts(raw, av_rational(unit), base);
            check(sys::av_interleaved_write_frame(self.context.as_ptr(), raw)).map(drop)
        }
    }

    /// Writes what is left and closes the file. Nothing of it is durable yet.
    pub(crate) fn finish(self) -> Result<(), AvError> {
        // SAFETY: valid and ours; the file is closed once, and its pointer is null then.
        unsafe {
            let written = check(sys::av_write_trailer(self.context.as_ptr()));
            let closed = check(sys::avio_closep(&raw mut (*self.context.as_ptr()).pb));
            written.and(closed).map(drop)
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // SAFETY: valid and ours, not used again; closing twice does nothing, since the pointer is null after the first time.
        unsafe {
            sys::avio_closep(&raw mut (*self.context.as_ptr()).pb);
            sys::avformat_free_context(self.context.as_ptr());
        }
    }
}
