//! Telling of the end of a pair, once: to callbacks, and to tasks that wait for it.
//!
//! On the parent's end the process watcher tells, once the worker was reaped; on the worker's end it is told of by the thread that finds the pair over.
//! Callbacks are the user's code, which must not hold up the watcher: there they get a thread of their own, as soon as the system has one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};

use crate::contain::contain;
use crate::error::Reason;
use crate::process::Generation;
use crate::sync::lock;

type Callback = Box<dyn FnOnce(Reason) + Send>;

#[derive(Default)]
struct State {
    reason: Option<Reason>,
    callbacks: Vec<Callback>,
    next: u64,
    wakers: Vec<(u64, Waker)>,
    /// How many threads call callbacks, or are about to.
    telling: u32,
}

/// What is to be told, and to which callbacks and tasks.
#[derive(Clone)]
pub(crate) struct Endings {
    /// The process that the pair belongs to.
    generation: Generation,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    told: Condvar,
}

impl Default for Endings {
    fn default() -> Endings {
        Endings { generation: Generation::watched(), shared: Arc::default() }
    }
}

impl fmt::Debug for Endings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endings").finish_non_exhaustive()
    }
}

/// Callbacks that are to be called. If that does not come to be, they are dropped.
struct Due<'a> {
    shared: &'a Shared,
    callbacks: Vec<Callback>,
    reason: Reason,
}

impl Due<'_> {
    fn call(&mut self) {
        for callback in self.callbacks.drain(..) {
            contain(|| callback(self.reason));
        }
    }
}

impl Drop for Due<'_> {
    fn drop(&mut self) {
        for callback in self.callbacks.drain(..) {
            contain(|| drop(callback));
        }
        let mut state = lock(&self.shared.state);
        state.telling = state.telling.saturating_sub(1);
        drop(state);
        self.shared.told.notify_all();
    }
}

impl Endings {
    /// Calls `callback` once the pair is over: on this thread, if it is.
    pub(crate) fn on_end(&self, callback: Callback) {
        let mut state = lock(&self.shared.state);
        let Some(reason) = state.reason else {
            state.callbacks.push(callback);
            return;
        };
        drop(state);
        contain(|| callback(reason));
    }

    /// Notes the reason, unless there is one, and wakes tasks. Returns the callbacks.
    fn note(&self, reason: Reason) -> Option<Due<'_>> {
        let mut state = lock(&self.shared.state);
        if state.reason.is_some() {
            return None;
        }
        state.reason = Some(reason);
        let callbacks = std::mem::take(&mut state.callbacks);
        let wakers = std::mem::take(&mut state.wakers);
        state.telling = state.telling.saturating_add(1);
        drop(state);
        // A waker, too, is code of the program.
        wakers.into_iter().for_each(|(_, waker)| {
            contain(|| waker.wake());
        });
        Some(Due { shared: &self.shared, callbacks, reason })
    }

    /// Tells of the end, on this thread.
    #[cold]
    pub(crate) fn tell(&self, reason: Reason) {
        if let Some(mut due) = self.note(reason) {
            due.call();
        }
    }

    /// Tells of the end from a thread of the library that must not run the user's code: by another.
    /// Returns what is left to tell.
    pub(crate) fn tell_elsewhere(&self, reason: Reason) -> Option<Untold> {
        let mut due = self.note(reason)?;
        if due.callbacks.is_empty() {
            return None;
        }
        let callbacks = Arc::new(Mutex::new(std::mem::take(&mut due.callbacks)));
        // From here on the thread tells.
        std::mem::forget(due);
        Untold { endings: self.clone(), callbacks, reason }.tell()
    }

    /// Waits until all callbacks have returned that are being called.
    pub(crate) fn wait_until_told(&self) {
        let mut state = lock(&self.shared.state);
        while state.telling > 0 {
            state = self.shared.told.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn poll(&self, key: &mut Option<u64>, waker: &Waker) -> Poll<Reason> {
        let mut state = lock(&self.shared.state);
        if let Some(reason) = state.reason {
            return Poll::Ready(reason);
        }
        let waker = waker.clone();
        let old = match state.wakers.iter_mut().find(|(of, _)| Some(*of) == *key) {
            Some((_, known)) => Some(std::mem::replace(known, waker)),
            None => {
                let new = state.next;
                state.next = new.wrapping_add(1);
                state.wakers.push((new, waker));
                *key = Some(new);
                None
            }
        };
        drop(state);
        drop(old);
        Poll::Pending
    }

    fn forget(&self, key: u64) {
        let mut state = lock(&self.shared.state);
        let place = state.wakers.iter().position(|(of, _)| *of == key);
        let forgotten = place.map(|place| state.wakers.swap_remove(place));
        drop(state);
        drop(forgotten);
    }
}

/// Callbacks that are to be called in a thread of their own, which the system did not have yet.
#[derive(Clone)]
pub(crate) struct Untold {
    endings: Endings,
    callbacks: Arc<Mutex<Vec<Callback>>>,
    reason: Reason,
}

impl Untold {
    /// Calls them in a thread of their own. Returns them if there is none to be had: try again.
    pub(crate) fn tell(self) -> Option<Untold> {
        let theirs = self.clone();
        let call = move || {
            let callbacks = std::mem::take(&mut *lock(&theirs.callbacks));
            Due { shared: &theirs.endings.shared, callbacks, reason: theirs.reason }.call();
        };
        let started = std::thread::Builder::new().name("coprocess-end".to_owned()).spawn(call);
        started.is_err().then_some(self)
    }
}

/// Resolves once the pair is over.
pub(crate) struct Ended<'a> {
    endings: &'a Endings,
    key: Option<u64>,
}

impl<'a> Ended<'a> {
    pub(crate) fn new(endings: &'a Endings) -> Ended<'a> {
        Ended { endings, key: None }
    }
}

impl Future for Ended<'_> {
    type Output = Reason;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reason> {
        let endings = self.endings;
        if endings.generation.is_foreign() {
            return Poll::Ready(Reason::Unknown);
        }
        endings.poll(&mut self.key, context.waker())
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if let (Some(key), false) = (self.key, self.endings.generation.is_foreign()) {
            self.endings.forget(key);
        }
    }
}
