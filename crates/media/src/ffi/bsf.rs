//! Bitstream filters: packets in, packets out, nothing decoded.

use std::ffi::CString;
use std::ptr::{self, NonNull};

use super::codec::{Parameters, Poll};
use super::input::av_rational;
use super::packet::PacketRef;
use super::{bytes, check, sys};
use crate::error::AvError;

/// Owns a bitstream filter's context.
pub(crate) struct BitstreamFilter(NonNull<sys::AVBSFContext>);

// SAFETY: one owner at a time; the context has no thread of its own.
unsafe impl Send for BitstreamFilter {}

impl BitstreamFilter {
    /// Opens the filter for a stream; `None` if this FFmpeg has none of that name.
    pub(crate) fn new(name: &str, parameters: &Parameters) -> Result<Option<Self>, AvError> {
        Self::with_options(name, parameters, &[])
    }

    /// The same with the filter's own options; one that it does not know is an error.
    pub(crate) fn with_options(
        name: &str,
        parameters: &Parameters,
        options: &[(&str, &str)],
    ) -> Result<Option<Self>, AvError> {
        let name = CString::new(name).map_err(|_| AvError::invalid())?;
        // SAFETY: returns null or a static record.
        let filter = unsafe { sys::av_bsf_get_by_name(name.as_ptr()) };
        if filter.is_null() {
            return Ok(None);
        }
        let mut context = ptr::null_mut();
        // SAFETY: allocates a context for a valid filter.
        check(unsafe { sys::av_bsf_alloc(filter, &raw mut context) })?;
        let this = Self(NonNull::new(context).ok_or_else(AvError::no_memory)?);
        // SAFETY: the context is valid and not initialised yet; its records are there.
        unsafe {
            check(sys::avcodec_parameters_copy(
                (*context).par_in,
                parameters.as_ptr(),
            ))?;
            (*context).time_base_in = av_rational(parameters.time_base);
        }
        for (option, value) in options {
            let option = CString::new(*option).map_err(|_| AvError::invalid())?;
            let value = CString::new(*value).map_err(|_| AvError::invalid())?;
            // SAFETY: the context is valid; both strings live through the call, which copies them.
            check(unsafe {
                sys::av_opt_set(
                    context.cast(),
                    option.as_ptr(),
                    value.as_ptr(),
                    sys::AV_OPT_SEARCH_CHILDREN as i32,
                )
            })?;
        }
        // SAFETY: the context is valid and not initialised yet.
        check(unsafe { sys::av_bsf_init(context) })?;
        Ok(Some(this))
    }

    /// Gives the filter a packet, or the end. `false`: it is full and must be emptied first.
    pub(crate) fn send(&mut self, packet: Option<&mut PacketRef>) -> Result<bool, AvError> {
        let packet = packet.map_or(ptr::null_mut(), PacketRef::as_mut_ptr);
        // SAFETY: valid; on success the filter takes over the packet's content.
        match unsafe { sys::av_bsf_send_packet(self.0.as_ptr(), packet) } {
            sys::RUNGS_AGAIN => Ok(false),
            code => check(code).map(|_| true),
        }
    }

    pub(crate) fn receive(&mut self) -> Result<Poll<PacketRef>, AvError> {
        let mut packet = PacketRef::new()?;
        // SAFETY: both are valid.
        match unsafe { sys::av_bsf_receive_packet(self.0.as_ptr(), packet.as_mut_ptr()) } {
            sys::RUNGS_AGAIN => Ok(Poll::Again),
            sys::RUNGS_EOF => Ok(Poll::End),
            code => check(code).map(|_| Poll::Ready(packet)),
        }
    }

    /// The codec configuration on the filter's far side.
    pub(crate) fn extradata(&self) -> &[u8] {
        // SAFETY: an initialised context has its records, which hold that many bytes.
        unsafe {
            let parameters = &*(*self.0.as_ptr()).par_out;
            bytes(parameters.extradata, parameters.extradata_size)
        }
    }
}

impl Drop for BitstreamFilter {
    fn drop(&mut self) {
        let mut context = self.0.as_ptr();
        // SAFETY: ours, not used again.
        unsafe { sys::av_bsf_free(&raw mut context) }
    }
}
