//! A few blocks of a source of known length: readers ask for them, one thread brings them, and those that were not used for longest go.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rungs_media::{CancelToken, Reading, Wake};

use crate::client::Range;
use crate::trouble::Trouble;

/// Bytes of a block.
pub(crate) const BLOCK: u64 = 1 << 20;
/// Blocks that are kept; readers hold one more each.
const KEPT: usize = 32;
/// Blocks that are brought before anybody asks for them.
const AHEAD: u64 = 4;

/// The blocks that are there, and those that are wanted.
pub(crate) struct Blocks {
    length: u64,
    state: Mutex<State>,
    /// Something is to be brought, or nothing ever again.
    asked: Condvar,
    /// Something was brought, or cannot be.
    came: Condvar,
}

#[derive(Default)]
struct State {
    kept: BTreeMap<u64, Kept>,
    /// In the order in which they were asked for, so that no reader waits for ever behind others.
    wanted: VecDeque<u64>,
    /// Numbers of blocks that will be wanted soon.
    soon: std::ops::Range<u64>,
    uses: u64,
    trouble: Option<Trouble>,
    closed: bool,
}

struct Kept {
    bytes: Arc<[u8]>,
    /// When it was used last, counted in uses.
    used: u64,
}

impl Blocks {
    pub(crate) fn new(length: u64) -> Arc<Self> {
        Arc::new(Self {
            length,
            state: Mutex::default(),
            asked: Condvar::new(),
            came: Condvar::new(),
        })
    }

    /// Of the source, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes of a block.
    pub(crate) fn range(&self, number: u64) -> Range {
        let from = number * BLOCK;
        Range {
            from,
            until: self.length.min(from + BLOCK),
        }
    }

    /// Waits for the number of a block that is to be brought; `None` when nobody wants any more.
    pub(crate) fn next(&self) -> Option<u64> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            let soon = || {
                let mut soon = state.soon.clone();
                soon.find(|number| !state.kept.contains_key(number))
            };
            if let Some(number) = state.wanted.front().copied().or_else(soon) {
                return Some(number);
            }
            state = self
                .asked
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Brings a block.
    pub(crate) fn put(&self, number: u64, bytes: &[u8]) {
        let mut state = self.state();
        state.wanted.retain(|wanted| *wanted != number);
        let bytes = Arc::from(bytes);
        let used = state.used();
        state.kept.insert(number, Kept { bytes, used });
        while state.kept.len() > KEPT {
            let oldest = state.kept.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(number, _)| *number) else {
                break;
            };
            state.kept.remove(&oldest);
        }
        self.came.notify_all();
    }

    /// Says that no more blocks come, and why.
    pub(crate) fn fail(&self, trouble: Trouble) {
        self.state().trouble.get_or_insert(trouble);
        self.came.notify_all();
    }

    /// Says that nobody wants any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.asked.notify_all();
    }

    /// Opens a reader at the beginning.
    pub(crate) fn reader(self: &Arc<Self>, cancel: &CancelToken) -> Box<dyn Reading> {
        let waiting = Arc::clone(self);
        let wake = cancel.when_cancelled(move || {
            // Under the lock, so that whoever has just found the token not cancelled is waiting by now.
            let _state = waiting.state();
            waiting.came.notify_all();
        });
        Box::new(BlockReader {
            blocks: Arc::clone(self),
            place: 0,
            held: None,
            cancel: cancel.clone(),
            _wake: wake,
        })
    }

    /// Waits for a block.
    fn get(&self, number: u64, cancel: &CancelToken) -> io::Result<Arc<[u8]>> {
        let mut state = self.state();
        loop {
            if cancel.is_cancelled() {
                return Err(io::Error::other("the wait for the server was ended"));
            }
            let used = state.used();
            if let Some(kept) = state.kept.get_mut(&number) {
                kept.used = used;
                let bytes = Arc::clone(&kept.bytes);
                let last = self.length.div_ceil(BLOCK);
                state.soon = (number + 1).min(last)..(number + 1 + AHEAD).min(last);
                self.asked.notify_all();
                return Ok(bytes);
            }
            if let Some(trouble) = &state.trouble {
                return Err(trouble.told());
            }
            if !state.wanted.contains(&number) {
                state.wanted.push_back(number);
            }
            self.asked.notify_all();
            state = self
                .came
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn used(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}

struct BlockReader {
    blocks: Arc<Blocks>,
    place: u64,
    /// The block that was read last.
    held: Option<(u64, Arc<[u8]>)>,
    cancel: CancelToken,
    _wake: Wake,
}

impl Read for BlockReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.place >= self.blocks.length {
            return Ok(0);
        }
        let number = self.place / BLOCK;
        let held = self.held.take().filter(|(held, _)| *held == number);
        let bytes = match held {
            Some((_, bytes)) => bytes,
            None => self.blocks.get(number, &self.cancel)?,
        };
        let from = usize::try_from(self.place % BLOCK).unwrap_or(usize::MAX);
        let there = bytes.get(from..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        self.place += count as u64;
        self.held = Some((number, bytes));
        Ok(count)
    }
}

impl Seek for BlockReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.place.checked_add_signed(by),
            SeekFrom::End(by) => self.blocks.length.checked_add_signed(by),
        };
        self.place = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.place)
    }
}

impl Reading for BlockReader {
    fn length(&self) -> Option<u64> {
        Some(self.blocks.length)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What stands at a place.
    fn byte(place: u64) -> u8 {
        (place % 251) as u8
    }

    /// Brings what is asked for, and counts it, until the blocks are closed.
    fn bring(blocks: &Blocks) -> Vec<u64> {
        let mut brought = Vec::new();
        while let Some(number) = blocks.next() {
            let Range { from, until } = blocks.range(number);
            let bytes: Vec<u8> = (from..until).map(byte).collect();
            blocks.put(number, &bytes);
            brought.push(number);
        }
        brought
    }

    #[test]
    fn readers_get_what_they_ask_for_and_few_blocks_are_kept() {
        const LENGTH: u64 = 40 * BLOCK + 7;
        let blocks = Blocks::new(LENGTH);
        thread::scope(|scope| {
            let brings = scope.spawn(|| bring(&blocks));
            let cancel = CancelToken::default();
            let mut one = blocks.reader(&cancel);
            let mut other = blocks.reader(&cancel);
            assert_eq!(one.seek(SeekFrom::End(-3)).unwrap(), LENGTH - 3);
            let mut end = Vec::new();
            one.read_to_end(&mut end).unwrap();
            assert_eq!(end, [LENGTH - 3, LENGTH - 2, LENGTH - 1].map(byte));
            let (mut place, mut piece) = (0, vec![0; 300_000]);
            loop {
                let count = other.read(&mut piece).unwrap();
                if count == 0 {
                    break;
                }
                assert_eq!(piece[0], byte(place));
                place += count as u64;
                assert_eq!(piece[count - 1], byte(place - 1));
            }
            assert_eq!(place, LENGTH);
            assert!(blocks.state().kept.len() <= KEPT);
            blocks.close();
            let brought = brings.join().unwrap();
            // The last one was thrown away or kept; all others came once.
            assert!((41..=42).contains(&brought.len()), "{brought:?}");
        });
    }

    #[test]
    fn who_waits_is_told_of_trouble_and_woken_by_the_token() {
        let blocks = Blocks::new(9 * BLOCK);
        let (cancel, other) = (CancelToken::default(), CancelToken::default());
        let read = |cancel: &CancelToken| blocks.reader(cancel).read(&mut [0; 9]);
        thread::scope(|scope| {
            let waits = scope.spawn(|| read(&cancel));
            assert_eq!(blocks.next(), Some(0));
            cancel.cancel();
            assert!(waits.join().unwrap().is_err());
            let waits = scope.spawn(|| read(&other));
            blocks.fail(io::Error::other("no more").into());
            let error = waits.join().unwrap().unwrap_err();
            assert_eq!(error.to_string(), "no more");
        });
    }
}
