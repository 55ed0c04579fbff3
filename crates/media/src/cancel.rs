//! How reading is told to end: a flag for code that computes, and a bell for code that waits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A flag that stops reading: set once, from any thread, and seen by all clones.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Switch>);

type Bell = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Switch {
    thrown: AtomicBool,
    bells: Mutex<Bells>,
}

#[derive(Default)]
struct Bells {
    next: u64,
    hung: BTreeMap<u64, Bell>,
}

/// As long as it is there, [`CancelToken::when_cancelled`] holds.
#[must_use = "nobody is woken once it is dropped"]
pub struct Wake {
    token: CancelToken,
    number: u64,
}

impl CancelToken {
    /// Asks everything that holds the token to stop. Returns at once but for the bells, which are rung on this thread.
    pub fn cancel(&self) {
        self.0.thrown.store(true, Ordering::SeqCst);
        let hung: Vec<Bell> = self.bells().hung.values().map(Arc::clone).collect();
        // Rung without the lock: what wakes up may hang another bell or take its own away.
        for bell in hung {
            bell();
        }
    }

    /// Whether [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.thrown.load(Ordering::SeqCst)
    }

    /// Has `ring` called when the token is cancelled, on whatever thread does that, or now if it is cancelled already; until what is returned
    /// is dropped, or once more just then. It must not block.
    pub fn when_cancelled(&self, ring: impl Fn() + Send + Sync + 'static) -> Wake {
        let mut bells = self.bells();
        let number = bells.next;
        bells.next += 1;
        // Whoever cancels sets the flag before it looks for bells, so it is either seen here or sees this bell.
        let late = self.is_cancelled();
        let bell: Bell = Arc::new(ring);
        bells.hung.insert(number, Arc::clone(&bell));
        drop(bells);
        if late {
            bell();
        }
        Wake {
            token: self.clone(),
            number,
        }
    }

    /// Has the other token cancelled with this one.
    pub fn passes_on_to(&self, other: &Self) -> Wake {
        let other = other.clone();
        self.when_cancelled(move || other.cancel())
    }

    fn bells(&self) -> MutexGuard<'_, Bells> {
        self.0.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.token.bells().hung.remove(&self.number);
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("CancelToken")
            .field(&self.is_cancelled())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn bells_ring_once_each_early_and_late() {
        let (token, count) = (CancelToken::default(), Arc::new(AtomicU32::new(0)));
        let ring = |count: &Arc<AtomicU32>| {
            let count = Arc::clone(count);
            move || {
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        let kept = token.when_cancelled(ring(&count));
        drop(token.when_cancelled(ring(&count)));
        let other = CancelToken::default();
        let linked = token.passes_on_to(&other);
        assert!(!other.is_cancelled());
        token.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(token.is_cancelled() && other.is_cancelled());
        let late = token.when_cancelled(ring(&count));
        assert_eq!(count.load(Ordering::SeqCst), 2);
        drop((kept, linked, late));
    }
}
