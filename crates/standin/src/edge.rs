//! Pointers as a program that uses the driver gives them.

#![allow(unsafe_code, reason = "the driver's interface is made of pointers")]

/// A pointer to a value that a call reads. By the driver's interface it is null or valid for the call.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Given<T>(*const T);

impl<T: Copy> Given<T> {
    /// The value; `None` if the pointer is null.
    #[must_use]
    pub fn get(self) -> Option<T> {
        // SAFETY: null, or valid for reads during the call, as the type says.
        (!self.0.is_null()).then(|| unsafe { self.0.read_unaligned() })
    }

    /// The value at an index of an array.
    #[must_use]
    pub fn nth(self, index: usize) -> Option<T> {
        // SAFETY: as in `get`; the caller of the driver gave an array that long.
        (!self.0.is_null()).then(|| unsafe { self.0.add(index).read_unaligned() })
    }
}

/// A pointer to a value that a call writes. By the driver's interface it is null or valid for the call.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Wanted<T>(*mut T);

impl<T: Copy> Wanted<T> {
    /// The value that is there; `None` if the pointer is null.
    #[must_use]
    pub fn get(self) -> Option<T> {
        Given(self.0.cast_const()).get()
    }

    /// Writes the value; `false` if the pointer is null.
    #[must_use]
    pub fn put(self, value: T) -> bool {
        self.put_nth(0, value)
    }

    /// Writes a value at an index of an array; `false` if the pointer is null.
    #[must_use]
    pub fn put_nth(self, index: usize, value: T) -> bool {
        if self.0.is_null() {
            return false;
        }
        // SAFETY: valid for writes during the call, as the type says; the caller of the driver gave an array that long.
        unsafe { self.0.add(index).write_unaligned(value) };
        true
    }
}

impl Wanted<u8> {
    /// Writes a string that ends with a zero, cut to the room that there is.
    pub fn put_string(self, room: usize, text: &str) {
        let kept = text.len().min(room.saturating_sub(1));
        let bytes = text.as_bytes()[..kept].iter().copied();
        for (index, byte) in bytes.chain([0]).enumerate().take(room) {
            let _ = self.put_nth(index, byte);
        }
    }
}
