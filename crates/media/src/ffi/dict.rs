//! FFmpeg's key-value lists: options going in, tags coming out.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ptr;

use super::{check, string, sys};
use crate::error::AvError;

/// Owns an `AVDictionary`. FFmpeg takes the entries that it knows and leaves the rest.
pub(super) struct Dictionary(pub(super) *mut sys::AVDictionary);

impl Dictionary {
    pub(super) fn new() -> Self {
        Self(ptr::null_mut())
    }

    pub(super) fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<Self, AvError> {
        let mut dictionary = Self::new();
        for (key, value) in pairs {
            dictionary.set(key, &value)?;
        }
        Ok(dictionary)
    }

    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), AvError> {
        let key = CString::new(key).map_err(|_| AvError::invalid())?;
        let value = CString::new(value).map_err(|_| AvError::invalid())?;
        // SAFETY: both strings live through the call, which copies them; the list is ours.
        check(unsafe { sys::av_dict_set(&raw mut self.0, key.as_ptr(), value.as_ptr(), 0) })
            .map(drop)
    }

    /// Gives the list to FFmpeg, which frees it.
    pub(super) fn into_raw(self) -> *mut sys::AVDictionary {
        std::mem::ManuallyDrop::new(self).0
    }

    /// The first key that is still there.
    pub(super) fn first_key(&self) -> Option<String> {
        // SAFETY: the list is ours.
        unsafe { entries(self.0) }.into_keys().next()
    }
}

impl Drop for Dictionary {
    fn drop(&mut self) {
        // SAFETY: the list is ours; a null list is allowed.
        unsafe { sys::av_dict_free(&raw mut self.0) }
    }
}

/// Copies the entries of a list.
///
/// # Safety
/// `dictionary` is null or a valid list that nothing changes meanwhile.
pub(super) unsafe fn entries(dictionary: *const sys::AVDictionary) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut entry = ptr::null();
    loop {
        // SAFETY: the list is valid by the caller's word, and the entry came from it.
        entry = unsafe {
            sys::av_dict_get(
                dictionary,
                c"".as_ptr(),
                entry,
                sys::AV_DICT_IGNORE_SUFFIX as i32,
            )
        };
        if entry.is_null() {
            return found;
        }
        // SAFETY: an entry's key and value are NUL-terminated strings.
        unsafe { found.insert(string((*entry).key), string((*entry).value)) };
    }
}
