//! An error that several readers are told.

use std::fmt;
use std::io;
use std::sync::Arc;

use rungs_media::{Changed, TooLarge};

/// Why no more bytes come, for as many readers as ask.
#[derive(Clone, Debug)]
pub(crate) struct Trouble(Arc<io::Error>);

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl Trouble {
    /// The same as an error of reading.
    pub(crate) fn told(&self) -> io::Error {
        let inner = self.0.get_ref();
        if let Some(changed) = inner.and_then(|inner| inner.downcast_ref::<Changed>()) {
            return changed.clone().into();
        }
        if let Some(large) = inner.and_then(|inner| inner.downcast_ref::<TooLarge>()) {
            return large.clone().into();
        }
        io::Error::new(self.0.kind(), Shared(Arc::clone(&self.0)))
    }
}

/// The error itself, which others have too.
#[derive(Debug)]
struct Shared(Arc<io::Error>);

impl fmt::Display for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
