//! How a job is told to end.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use rungs_media::CancelToken;

/// Ends a job from any thread. Clones share one state: code that computes reads [`is_cancelled`](Self::is_cancelled), code that
/// waits on channels selects on [`signal`](Self::signal), and FFmpeg's input reads the media token.
#[derive(Clone, Debug)]
pub struct Cancel {
    token: CancelToken,
    alive: Arc<Mutex<Option<Sender<()>>>>,
    signal: Receiver<()>,
}

impl Default for Cancel {
    fn default() -> Self {
        let (alive, signal) = bounded(0);
        Self {
            token: CancelToken::default(),
            alive: Arc::new(Mutex::new(Some(alive))),
            signal,
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

    /// A channel that is disconnected when the job is to end.
    #[must_use]
    pub fn signal(&self) -> &Receiver<()> {
        &self.signal
    }
}
