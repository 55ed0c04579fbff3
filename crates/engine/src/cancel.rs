//! How a job is told to end.

use std::io::{self, PipeReader, PipeWriter};
use std::sync::Arc;

use rungs_media::CancelToken;

use crate::sync::{Mutex, PoisonError, Receiver, Sender, bounded};

/// Ends a job from any thread. Clones share one state: code that computes reads [`is_cancelled`](Self::is_cancelled), code that
/// waits on channels selects on [`signal`](Self::signal), code that waits on files polls [`hangup`](Self::hangup), and FFmpeg's input
/// reads the media token.
#[derive(Clone, Debug)]
pub struct Cancel {
    token: CancelToken,
    /// Held until the job is to end; dropping it wakes whoever waits.
    alive: Arc<Mutex<Option<Alive>>>,
    signal: Receiver<()>,
    hangup: Option<Arc<PipeReader>>,
}

#[derive(Debug)]
struct Alive {
    _sender: Sender<()>,
    _writer: Option<PipeWriter>,
}

impl Default for Cancel {
    fn default() -> Self {
        let (sender, signal) = bounded(0);
        // Without a pipe, as when the process has no descriptors left, those who poll learn of the end a little later.
        let (reader, writer) = io::pipe().ok().unzip();
        Self {
            token: CancelToken::default(),
            alive: Arc::new(Mutex::new(Some(Alive {
                _sender: sender,
                _writer: writer,
            }))),
            signal,
            hangup: reader.map(Arc::new),
        }
    }
}

impl Cancel {
    /// Makes a token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the job to end. Returns at once; calling it again changes nothing.
    pub fn cancel(&self) {
        self.token.cancel();
        self.alive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Whether the job is to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The same token for FFmpeg's input.
    #[must_use]
    pub fn media(&self) -> &CancelToken {
        &self.token
    }

    /// A pipe that is hung up on when the job is to end; nothing is ever written to it.
    #[must_use]
    pub fn hangup(&self) -> Option<&PipeReader> {
        self.hangup.as_deref()
    }

    /// A channel that is disconnected when the job is to end.
    #[must_use]
    pub fn signal(&self) -> &Receiver<()> {
        &self.signal
    }
}
