//! Tells callbacks and tasks, once, that a pair has ended.
//!
//! On the parent's end, the process watcher tells them, after it has reaped the worker. On the
//! worker's end, the thread that finds the pair ended tells them.
//!
//! Callbacks are code of the user's, which must not hold up the watcher. So the watcher starts a
//! thread for them, as soon as the system has one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};

use crate::error::Reason;
use crate::sync::forked::Generation;
use crate::sync::lock;
use crate::sync::user_panic::catch_user_panic;

type Callback = Box<dyn FnOnce(Reason) + Send>;

#[derive(Default)]
struct Registered {
    /// How the pair ended, once it has.
    reason: Option<Reason>,
    callbacks: Vec<Callback>,
    /// The key of the next waker.
    next_key: u64,
    wakers: Vec<(u64, Waker)>,
    /// How many threads call callbacks, or are about to.
    calling: u32,
}

#[derive(Default)]
struct Shared {
    registered: Mutex<Registered>,
    /// Notified when `calling` falls.
    called: Condvar,
}

/// Holds the callbacks and tasks of one end that wait for the end of the pair.
#[derive(Clone)]
pub(crate) struct Endings {
    /// The process that the end belongs to.
    generation: Generation,
    shared: Arc<Shared>,
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

/// Callbacks that are about to be called. Dropped without that, the callbacks are dropped.
struct DueCallbacks<'a> {
    shared: &'a Shared,
    callbacks: Vec<Callback>,
    reason: Reason,
}

impl DueCallbacks<'_> {
    fn call(&mut self) {
        for callback in self.callbacks.drain(..) {
            catch_user_panic(|| callback(self.reason));
        }
    }
}

impl Drop for DueCallbacks<'_> {
    fn drop(&mut self) {
        for callback in self.callbacks.drain(..) {
            catch_user_panic(|| drop(callback));
        }
        let mut registered = lock(&self.shared.registered);
        registered.calling = registered.calling.saturating_sub(1);
        drop(registered);
        self.shared.called.notify_all();
    }
}

impl Endings {
    /// Calls `callback` once the pair has ended: at once, on this thread, if it has ended already.
    pub(crate) fn on_end(&self, callback: Callback) {
        let mut registered = lock(&self.shared.registered);
        let Some(reason) = registered.reason else {
            registered.callbacks.push(callback);
            return;
        };
        drop(registered);
        catch_user_panic(|| callback(reason));
    }

    /// Records the reason and wakes tasks. Returns the callbacks, or `None` if a reason is recorded
    /// already.
    fn record(&self, reason: Reason) -> Option<DueCallbacks<'_>> {
        let mut registered = lock(&self.shared.registered);
        if registered.reason.is_some() {
            return None;
        }
        registered.reason = Some(reason);
        let callbacks = std::mem::take(&mut registered.callbacks);
        let wakers = std::mem::take(&mut registered.wakers);
        registered.calling = registered.calling.saturating_add(1);
        drop(registered);
        // A panic is caught: a waker may be code of the program.
        wakers.into_iter().for_each(|(_, waker)| {
            catch_user_panic(|| waker.wake());
        });
        Some(DueCallbacks { shared: &self.shared, callbacks, reason })
    }

    /// Tells callbacks and tasks that the pair has ended. Calls the callbacks on this thread.
    #[cold]
    pub(crate) fn tell(&self, reason: Reason) {
        if let Some(mut due) = self.record(reason) {
            due.call();
        }
    }

    /// Tells callbacks and tasks that the pair has ended. Calls the callbacks on a new thread.
    ///
    /// For threads of the library that must not run code of the user's. Returns the callbacks if
    /// the system has no thread for them.
    pub(crate) fn tell_on_new_thread(&self, reason: Reason) -> Option<UncalledCallbacks> {
        let mut due = self.record(reason)?;
        if due.callbacks.is_empty() {
            return None;
        }
        let callbacks = Arc::new(Mutex::new(std::mem::take(&mut due.callbacks)));
        // The new thread drops a value like this one, which counts `calling` down.
        std::mem::forget(due);
        UncalledCallbacks { endings: self.clone(), callbacks, reason }.call_on_new_thread()
    }

    /// Waits until all callbacks that are being called have returned.
    pub(crate) fn wait_until_told(&self) {
        let mut registered = lock(&self.shared.registered);
        while registered.calling > 0 {
            registered = self
                .shared
                .called
                .wait(registered)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Returns how the pair ended, or registers the waker under a key.
    fn poll(&self, key: &mut Option<u64>, waker: &Waker) -> Poll<Reason> {
        let mut registered = lock(&self.shared.registered);
        if let Some(reason) = registered.reason {
            return Poll::Ready(reason);
        }
        let waker = waker.clone();
        let old = match registered.wakers.iter_mut().find(|(of, _)| Some(*of) == *key) {
            Some((_, known)) => Some(std::mem::replace(known, waker)),
            None => {
                let new = registered.next_key;
                registered.next_key = new.wrapping_add(1);
                registered.wakers.push((new, waker));
                *key = Some(new);
                None
            }
        };
        drop(registered);
        drop(old);
        Poll::Pending
    }

    /// Removes the waker of a key.
    fn forget(&self, key: u64) {
        let mut registered = lock(&self.shared.registered);
        let index = registered.wakers.iter().position(|(of, _)| *of == key);
        let forgotten = index.map(|index| registered.wakers.swap_remove(index));
        drop(registered);
        drop(forgotten);
    }
}

/// Callbacks for which the system had no thread yet.
#[derive(Clone)]
pub(crate) struct UncalledCallbacks {
    endings: Endings,
    callbacks: Arc<Mutex<Vec<Callback>>>,
    reason: Reason,
}

impl UncalledCallbacks {
    /// Calls the callbacks on a new thread. If the system has none, returns them, to try again.
    pub(crate) fn call_on_new_thread(self) -> Option<UncalledCallbacks> {
        let theirs = self.clone();
        let call = move || {
            let callbacks = std::mem::take(&mut *lock(&theirs.callbacks));
            DueCallbacks { shared: &theirs.endings.shared, callbacks, reason: theirs.reason }
                .call();
        };
        let started = std::thread::Builder::new().name("coprocess-end".to_owned()).spawn(call);
        started.is_err().then_some(self)
    }
}

/// Resolves, as a future, once the pair has ended. In a child of fork(2), it resolves at once.
pub(crate) struct Ended<'a> {
    endings: &'a Endings,
    /// The key of the registered waker.
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
