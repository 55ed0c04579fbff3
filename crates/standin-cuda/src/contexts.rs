//! Contexts: which are alive, and which one a thread works in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rungs_standin::faults::{self, At, Effect, is_any_lost, is_lost};
use rungs_standin::{asked, misuse, settings};

use crate::status::{INVALID_CONTEXT, INVALID_DEVICE, NOT_INITIALIZED, Status, UNKNOWN};

/// A context as a program knows it. Numbers are not used again, so that one that is dead stays known as such.
pub(crate) type Handle = usize;

/// The first handle: far from zero and from all addresses.
const FIRST: Handle = 0xC0DA_0000;

#[derive(Debug)]
struct Context {
    card: u32,
    /// How often it was retained, of the context that all of a process share.
    primary: Option<u32>,
    /// Sessions of NVENC that are open in it.
    sessions: u32,
}

#[derive(Default)]
struct Contexts {
    started: bool,
    alive: BTreeMap<Handle, Context>,
    made: usize,
}

thread_local! {
    static STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

fn contexts() -> MutexGuard<'static, Contexts> {
    static CONTEXTS: Mutex<Contexts> = Mutex::new(Contexts {
        started: false,
        alive: BTreeMap::new(),
        made: 0,
    });
    CONTEXTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a call on a card is struck with.
pub(crate) fn struck(call: &str, card: u32) -> Result<(), Status> {
    let at = At {
        card,
        session: None,
    };
    match faults::at(call, at) {
        None => Ok(()),
        Some(Effect::Fail(code)) => Err(code),
        Some(_) => Err(UNKNOWN),
    }
}

pub(crate) fn start() {
    contexts().started = true;
}

/// The card of that number, once the driver was started.
pub(crate) fn card(call: &str, number: i32) -> Result<u32, Status> {
    if !contexts().started {
        misuse!("{call} before cuInit");
        return Err(NOT_INITIALIZED);
    }
    let card = u32::try_from(number).map_err(|_| INVALID_DEVICE)?;
    if card >= settings::cards() {
        return Err(INVALID_DEVICE);
    }
    struck(call, card)?;
    Ok(card)
}

/// What a call works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) context: Handle,
    pub(crate) card: u32,
}

pub(crate) fn top() -> Option<Handle> {
    STACK.with_borrow(|stack| stack.last().copied())
}

/// Says that a call came without a context, unless the loss of a card explains it.
fn without_context(call: &str) {
    if !is_any_lost() {
        misuse!("{call} without a context");
    }
}

/// The context that a call works in. None, or one that is dead, is misuse.
pub(crate) fn current(call: &str) -> Result<Current, Status> {
    let context = top().ok_or_else(|| {
        without_context(call);
        INVALID_CONTEXT
    })?;
    let card = contexts().alive.get(&context).map(|found| found.card);
    let Some(card) = card else {
        misuse!("{call} in a context that is dead");
        return Err(INVALID_CONTEXT);
    };
    struck(call, card)?;
    Ok(Current { context, card })
}

fn make(contexts: &mut Contexts, card: u32, primary: Option<u32>) -> Handle {
    let context = FIRST + contexts.made;
    contexts.made += 1;
    contexts.alive.insert(
        context,
        Context {
            card,
            primary,
            sessions: 0,
        },
    );
    asked!(
        "context {context:#x} made on {card}, {} alive",
        contexts.alive.len()
    );
    context
}

/// Makes a context, and makes it current.
pub(crate) fn create(card: u32) -> Handle {
    let context = make(&mut contexts(), card, None);
    STACK.with_borrow_mut(|stack| stack.push(context));
    context
}

pub(crate) fn destroy(call: &str, context: Handle) -> Result<(), Status> {
    let gone = contexts().alive.remove(&context);
    let Some(gone) = gone else {
        misuse!("{call} of a context that is dead");
        return Err(INVALID_CONTEXT);
    };
    if gone.primary.is_some() {
        misuse!("{call} of a context that all share");
    }
    ended(context, &gone);
    STACK.with_borrow_mut(|stack| {
        if stack.last() == Some(&context) {
            stack.pop();
        }
    });
    struck(call, gone.card)
}

fn ended(context: Handle, gone: &Context) {
    if gone.sessions > 0 && !is_lost(gone.card) {
        misuse!(
            "context {context:#x} ends with {} sessions open",
            gone.sessions
        );
    }
    crate::memory::forget(context, gone.card);
    asked!("context {context:#x} gone on {}", gone.card);
}

pub(crate) fn push(call: &str, context: Handle) -> Result<(), Status> {
    let card = contexts().alive.get(&context).map(|found| found.card);
    let Some(card) = card else {
        misuse!("{call} of a context that is dead");
        return Err(INVALID_CONTEXT);
    };
    struck(call, card)?;
    STACK.with_borrow_mut(|stack| stack.push(context));
    Ok(())
}

/// Takes the current context off; it may be dead.
pub(crate) fn pop(call: &str) -> Result<Handle, Status> {
    STACK.with_borrow_mut(Vec::pop).ok_or_else(|| {
        without_context(call);
        INVALID_CONTEXT
    })
}

pub(crate) fn set(context: Handle) {
    STACK.with_borrow_mut(|stack| {
        stack.pop();
        if context != 0 {
            stack.push(context);
        }
    });
}

/// Retains the context that all of the process share on a card.
pub(crate) fn retain(card: u32) -> Handle {
    let mut contexts = contexts();
    let shared = contexts.alive.iter_mut().find_map(|(handle, found)| {
        (found.card == card)
            .then_some(*handle)
            .zip(found.primary.as_mut())
    });
    match shared {
        Some((handle, uses)) => {
            *uses += 1;
            handle
        }
        None => make(&mut contexts, card, Some(1)),
    }
}

/// Whether there is a shared context on a card.
pub(crate) fn is_retained(card: u32) -> bool {
    let contexts = contexts();
    let mut alive = contexts.alive.values();
    alive.any(|found| found.card == card && found.primary.is_some())
}

pub(crate) fn release(call: &str, card: u32) -> Result<(), Status> {
    let mut contexts = contexts();
    let shared = contexts.alive.iter_mut().find_map(|(handle, found)| {
        (found.card == card)
            .then_some(*handle)
            .zip(found.primary.as_mut())
    });
    let Some((handle, uses)) = shared else {
        misuse!("{call} of what was not retained");
        return Err(INVALID_CONTEXT);
    };
    *uses -= 1;
    if *uses == 0 {
        let gone = contexts.alive.remove(&handle);
        drop(contexts);
        if let Some(gone) = gone {
            ended(handle, &gone);
        }
    }
    Ok(())
}

/// Counts a session of NVENC in or out of a context.
pub(crate) fn session(context: Handle, opened: bool) {
    if let Some(found) = contexts().alive.get_mut(&context) {
        if opened {
            found.sessions += 1;
        } else {
            found.sessions = found.sessions.saturating_sub(1);
        }
    }
}
