//! What a call returns.

/// The codes of the interface.
pub(crate) type Status = i32;

pub(crate) const SUCCESS: Status = 0;
pub(crate) const NO_ENCODE_DEVICE: Status = 1;
pub(crate) const UNSUPPORTED_DEVICE: Status = 2;
pub(crate) const INVALID_ENCODER_DEVICE: Status = 3;
pub(crate) const INVALID_DEVICE: Status = 4;
pub(crate) const DEVICE_NOT_EXIST: Status = 5;
pub(crate) const INVALID_POINTER: Status = 6;
pub(crate) const INVALID_PARAM: Status = 8;
pub(crate) const INVALID_CALL: Status = 9;
pub(crate) const OUT_OF_MEMORY: Status = 10;
pub(crate) const NOT_INITIALIZED: Status = 11;
pub(crate) const UNSUPPORTED_PARAM: Status = 12;
pub(crate) const LOCK_BUSY: Status = 13;
pub(crate) const INVALID_VERSION: Status = 15;
pub(crate) const MAP_FAILED: Status = 16;
pub(crate) const NEED_MORE_INPUT: Status = 17;
pub(crate) const GENERIC: Status = 20;
pub(crate) const INCOMPATIBLE_CLIENT_KEY: Status = 21;
pub(crate) const UNIMPLEMENTED: Status = 22;
pub(crate) const REGISTER_FAILED: Status = 23;
pub(crate) const NOT_REGISTERED: Status = 24;
pub(crate) const NOT_MAPPED: Status = 25;

/// Why a call is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    /// What `nvEncGetLastErrorString` then gives.
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(status: Status, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::new(status, "")
    }
}
