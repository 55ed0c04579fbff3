//! Channels with crossbeam's face on `shuttle`'s locks: every step is a place at which another thread may go on, and threads that wait for
//! ever are found.
//!
//! Time does not pass: a wait with an end ends early now and then, or not at all. A channel without room takes nothing; the engine has
//! such channels only to be hung up on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use shuttle::rand::Rng;
use shuttle::sync::{Condvar, Mutex, MutexGuard};

/// A mistake that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Planted {
    /// Whoever waits is not woken when the last sender goes.
    Silence = 1,
    /// A pump ends a fed span before it tells control of it.
    FedLate = 2,
}

static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a mistake, or takes it away again. For the whole process.
pub fn plant(mistake: Option<Planted>) {
    PLANTED.store(mistake.map_or(0, |mistake| mistake as u8), Ordering::SeqCst);
}

pub(crate) fn is_planted(mistake: Planted) -> bool {
    PLANTED.load(Ordering::SeqCst) == mistake as u8
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes one thread that waits for any of several channels.
#[derive(Default)]
pub(crate) struct Signal {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Signal {
    fn ring(&self) {
        *lock(&self.rung) = true;
        self.bell.notify_all();
    }

    fn wait(&self) {
        let mut rung = lock(&self.rung);
        while !*rung {
            rung = self.bell.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Channel<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    queue: VecDeque<T>,
    room: usize,
    senders: usize,
    receivers: usize,
    waiting: Vec<Arc<Signal>>,
}

impl<T> Channel<T> {
    /// Does something to the channel; wakes those who wait for a change if it gives anything.
    fn change<R>(&self, change: impl FnOnce(&mut State<T>) -> Option<R>) -> Option<R> {
        let mut state = lock(&self.state);
        let result = change(&mut state);
        let waiting = match &result {
            Some(_) => std::mem::take(&mut state.waiting),
            None => Vec::new(),
        };
        drop(state);
        for signal in waiting {
            signal.ring();
        }
        result
    }

    fn watch(&self, signal: &Arc<Signal>) {
        lock(&self.state).waiting.push(Arc::clone(signal));
    }
}

/// The sending end.
pub(crate) struct Sender<T>(Arc<Channel<T>>);

/// The receiving end.
pub struct Receiver<T>(Arc<Channel<T>>);

/// All receivers are gone; the value comes back.
#[derive(Debug)]
pub(crate) struct SendError<T>(pub(crate) T);

/// The channel is empty, and all senders are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvError;

/// Why nothing was received in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// The time is over.
    Timeout,
    /// The channel is empty, and all senders are gone.
    Disconnected,
}

pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

pub(crate) fn bounded<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        state: Mutex::new(State {
            queue: VecDeque::new(),
            room,
            senders: 1,
            receivers: 1,
            waiting: Vec::new(),
        }),
    });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

/// A channel on which nothing ever happens.
pub(crate) fn never<T>() -> Receiver<T> {
    let (sender, receiver) = bounded(0);
    std::mem::forget(sender);
    receiver
}

impl<T> Sender<T> {
    /// Waits for room.
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        first_of(Sending::new(self, value))
    }
}

impl<T> Receiver<T> {
    /// Waits for a value.
    pub fn recv(&self) -> Result<T, RecvError> {
        first_of(Receiving::new(self))
    }

    /// Takes a value that is there.
    pub(crate) fn try_recv(&self) -> Result<T, RecvError> {
        Receiving::new(self).attempt().unwrap_or(Err(RecvError))
    }

    /// Waits for a value, or not.
    pub fn recv_deadline(&self, _: Instant) -> Result<T, RecvTimeoutError> {
        match Receiving::new(self).attempt() {
            None if shuttle::rand::thread_rng().gen_ratio(1, 8) => Err(RecvTimeoutError::Timeout),
            None => self.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(result) => result.map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Waits for a value, or not.
    pub fn recv_timeout(&self, time: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_deadline(Instant::now() + time)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.0.state).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        lock(&self.0.state).receivers += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.senders -= 1;
            (state.senders == 0 && !is_planted(Planted::Silence)).then_some(())
        });
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = self.0.change(|state| {
            state.receivers -= 1;
            (state.receivers == 0).then(|| std::mem::take(&mut state.queue))
        });
        // What lies in the channel may hang up others: the lock is free by now.
        drop(left);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

/// Threads.
pub(crate) mod thread {
    pub(crate) use shuttle::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

    /// Runs `f` and then waits for the threads that it has spawned.
    pub(crate) fn scope<'env, F, T>(f: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        shuttle::thread::scope(|scope| {
            // In shuttle 0.9 the end of a scope's last thread wakes the scope's owner from whatever it waits for. So one thread stays.
            let (stays, ends) = super::bounded::<()>(0);
            scope.spawn(move || ends.recv().ok());
            let result = f(scope);
            drop(stays);
            result
        })
    }
}

/// One thing that a thread waits for.
pub(crate) trait Arm {
    type Out;

    /// Does it, if it can be done now.
    fn attempt(&mut self) -> Option<Self::Out>;

    /// Has the signal rung when it may have become possible.
    fn watch(&self, signal: &Arc<Signal>);
}

pub(crate) struct Receiving<'a, T>(&'a Receiver<T>);

impl<'a, T> Receiving<'a, T> {
    pub(crate) fn new(receiver: &'a Receiver<T>) -> Self {
        Self(receiver)
    }
}

impl<T> Arm for Receiving<'_, T> {
    type Out = Result<T, RecvError>;

    fn attempt(&mut self) -> Option<Self::Out> {
        let mut hung_up = false;
        let value = self.0.0.change(|state| {
            hung_up = state.senders == 0;
            state.queue.pop_front()
        });
        value.map(Ok).or(hung_up.then_some(Err(RecvError)))
    }

    fn watch(&self, signal: &Arc<Signal>) {
        self.0.0.watch(signal);
    }
}

pub(crate) struct Sending<'a, T> {
    sender: &'a Sender<T>,
    value: Option<T>,
}

impl<'a, T> Sending<'a, T> {
    pub(crate) fn new(sender: &'a Sender<T>, value: T) -> Self {
        let value = Some(value);
        Self { sender, value }
    }
}

impl<T> Arm for Sending<'_, T> {
    type Out = Result<(), SendError<T>>;

    fn attempt(&mut self) -> Option<Self::Out> {
        let (mut hung_up, value) = (false, &mut self.value);
        let sent = self.sender.0.change(|state| {
            hung_up = state.receivers == 0;
            let fits = !hung_up && state.queue.len() < state.room;
            fits.then(|| state.queue.extend(value.take()))
        });
        let refused = hung_up.then(|| value.take()).flatten();
        sent.map(Ok).or(refused.map(|value| Err(SendError(value))))
    }

    fn watch(&self, signal: &Arc<Signal>) {
        self.sender.0.watch(signal);
    }
}

/// Tries until something comes of it; sleeps while nothing changes.
fn wait_for<R>(watch: impl Fn(&Arc<Signal>), mut attempt: impl FnMut() -> Option<R>) -> R {
    loop {
        let signal = Arc::new(Signal::default());
        watch(&signal);
        // What changes from here on rings.
        if let Some(result) = attempt() {
            return result;
        }
        signal.wait();
    }
}

fn first_of<A: Arm>(arm: A) -> A::Out {
    let arm = RefCell::new(arm);
    wait_for(
        |signal| arm.borrow().watch(signal),
        || arm.borrow_mut().attempt(),
    )
}

/// What came of one of two.
pub(crate) enum Either<A, B> {
    A(A),
    B(B),
}

/// Two things of which one is done; which, if both can be, is left to chance.
pub(crate) struct Both<A, B>(pub(crate) A, pub(crate) B);

impl<A: Arm, B: Arm> Arm for Both<A, B> {
    type Out = Either<A::Out, B::Out>;

    fn attempt(&mut self) -> Option<Self::Out> {
        let Self(a, b) = self;
        if shuttle::rand::thread_rng().r#gen() {
            let first = a.attempt().map(Either::A);
            first.or_else(|| b.attempt().map(Either::B))
        } else {
            let first = b.attempt().map(Either::B);
            first.or_else(|| a.attempt().map(Either::A))
        }
    }

    fn watch(&self, signal: &Arc<Signal>) {
        self.0.watch(signal);
        self.1.watch(signal);
    }
}

pub(crate) fn either<A: Arm, B: Arm>(a: A, b: B) -> Either<A::Out, B::Out> {
    first_of(Both(a, b))
}

/// Crossbeam's `select!` with two or three arms.
macro_rules! select {
    ($one:ident($($a:expr),+) -> $p:pat => $x:expr,
     $two:ident($($b:expr),+) -> $q:pat => $y:expr $(,)?) => {
        match $crate::sync::modelled::either(
            $crate::sync::modelled::arm!($one($($a),+)),
            $crate::sync::modelled::arm!($two($($b),+)),
        ) {
            $crate::sync::modelled::Either::A($p) => $x,
            $crate::sync::modelled::Either::B($q) => $y,
        }
    };
    ($one:ident($($a:expr),+) -> $p:pat => $x:expr,
     $two:ident($($b:expr),+) -> $q:pat => $y:expr,
     $three:ident($($c:expr),+) -> $r:pat => $z:expr $(,)?) => {
        match $crate::sync::modelled::either(
            $crate::sync::modelled::arm!($one($($a),+)),
            $crate::sync::modelled::Both(
                $crate::sync::modelled::arm!($two($($b),+)),
                $crate::sync::modelled::arm!($three($($c),+)),
            ),
        ) {
            $crate::sync::modelled::Either::A($p) => $x,
            $crate::sync::modelled::Either::B($crate::sync::modelled::Either::A($q)) => $y,
            $crate::sync::modelled::Either::B($crate::sync::modelled::Either::B($r)) => $z,
        }
    };
}

macro_rules! arm {
    (recv($receiver:expr)) => {
        $crate::sync::modelled::Receiving::new(&$receiver)
    };
    (send($sender:expr, $value:expr)) => {
        $crate::sync::modelled::Sending::new(&$sender, $value)
    };
}

pub(crate) use {arm, select};
