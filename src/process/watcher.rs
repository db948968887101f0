//! The process watcher: one thread of the library that waits in the kernel for the ends of all the processes this one is paired with.
//!
//! It starts with the first pair and ends soon after the last. While nothing happens it is never woken.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::end::End;
use crate::error::Reason;
use crate::process::Generation;
use crate::process::worker::Worker;
use crate::sync::lock;

/// A worker that has closed its lifeline is about to end, and the kernel will tell how, unless it lives on for this long.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// What a worker whose parent has died gets to end by itself.
const GRACE: Duration = Duration::from_millis(250);
/// Programs that start one worker after the other do not need a new thread for each.
const LINGER: Duration = Duration::from_millis(50);

/// The exit status of a worker that was ended because its parent is gone: that of a shell for SIGKILL. Nobody is left to read it.
const ORPHANED: i32 = 128 + libc::SIGKILL;

/// Where the watcher of a process is. A child of fork(2) gets a place of its own: the lock of its parent's may have been held by another thread, and
/// then it is held for ever there.
struct Place {
    generation: Generation,
    watcher: Mutex<Option<Arc<Watcher>>>,
}

/// That of this process.
fn place() -> &'static Mutex<Option<Arc<Watcher>>> {
    static PLACE: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());
    // Acquire: pairs with the Release below.
    let known = PLACE.load(Ordering::Acquire);
    // SAFETY: null, or a place that was made below and is never freed; only shared references to it are made.
    if let Some(place) = unsafe { known.as_ref() }
        && !place.generation.is_foreign()
    {
        return &place.watcher;
    }
    let new = Box::into_raw(Box::new(Place { generation: Generation::watched(), watcher: Mutex::new(None) }));
    // Release: whoever finds it sees what is in it. Acquire: as above. What was there before is left alone: to drop it would run code of the program that
    // belongs to the process which this one was forked from.
    match PLACE.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: as above.
        Ok(_) => unsafe { &(*new).watcher },
        Err(_) => {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
            place()
        }
    }
}

struct Watcher {
    /// The process that its thread runs in: in no other is there such a thread. Both, since a child may have been made without the C library's
    /// knowledge, and a number may come again.
    generation: Generation,
    process: u32,
    epoll: Epoll,
    /// Makes the thread look at its deadlines.
    bell: EventFd,
    pairs: Mutex<Pairs>,
}

#[derive(Default)]
struct Pairs {
    next: u64,
    watched: HashMap<u64, Watched>,
    /// When the thread ends, if there is nothing to watch.
    leaving: Option<Instant>,
}

enum Watched {
    /// On the parent's side.
    Worker { end: Arc<End>, worker: Arc<Worker>, hung_up: Option<Instant> },
    /// A worker that never became one, and cannot be killed: to be reaped when it ends.
    Remains { worker: Arc<Worker> },
    /// On the worker's side.
    Parent { end: Arc<End>, lifeline: Arc<OwnedFd>, pidfd: Option<OwnedFd>, died: Option<Instant> },
}

/// The bell's key; pairs have two keys each, from 2 on: even for the process, odd for the lifeline.
const BELL: u64 = 0;

/// Watches a worker of this process.
pub(crate) fn watch_worker(end: &Arc<End>, worker: &Arc<Worker>) -> io::Result<()> {
    watch(Watched::Worker { end: end.clone(), worker: worker.clone(), hung_up: None })
}

/// Reaps a worker once it ends.
pub(crate) fn watch_remains(worker: &Arc<Worker>) -> io::Result<()> {
    watch(Watched::Remains { worker: worker.clone() })
}

/// Watches the parent of this process.
pub(crate) fn watch_parent(end: &Arc<End>, lifeline: Arc<OwnedFd>, pidfd: Option<OwnedFd>) -> io::Result<()> {
    watch(Watched::Parent { end: end.clone(), lifeline, pidfd, died: None })
}

/// Makes the watcher look at the deadlines of closing workers.
pub(crate) fn look_again() {
    if let Some(watcher) = &*lock(place())
        && !watcher.is_foreign()
    {
        // Fails only if the counter is full: then the watcher is about to look anyway.
        let _ = watcher.bell.write(1);
    }
}

fn watch(watched: Watched) -> io::Result<()> {
    let mut current = lock(place());
    if let Some(inherited) = current.take_if(|watcher| watcher.is_foreign()) {
        // Of the process that this one is a clone of, without the C library's knowledge: the thread is not here, and the set of descriptors is still that process's
        // own. What the watcher holds is left alone: to drop it would run code of the program that belongs there.
        std::mem::forget(inherited);
    }
    let watcher = match &*current {
        Some(watcher) => watcher.clone(),
        None => {
            let watcher = Arc::new(Watcher {
                generation: Generation::watched(),
                process: std::process::id(),
                epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
                bell: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
                pairs: Mutex::default(),
            });
            watcher.epoll.add(&watcher.bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
            let thread = watcher.clone();
            std::thread::Builder::new().name("coprocess-watch".to_owned()).spawn(move || thread.run())?;
            *current = Some(watcher.clone());
            watcher
        }
    };
    let mut pairs = lock(&watcher.pairs);
    pairs.leaving = None;
    pairs.next += 2;
    let key = pairs.next;
    let add = |process: Option<BorrowedFd<'_>>, lifeline: Option<BorrowedFd<'_>>| -> io::Result<()> {
        if let Some(lifeline) = lifeline {
            // It carries no data after the handshake; what a hostile side sends on it is not even looked at.
            watcher.epoll.add(lifeline, EpollEvent::new(EpollFlags::EPOLLRDHUP, key + 1))?;
        }
        if let Some(process) = process {
            watcher.epoll.add(process, EpollEvent::new(EpollFlags::EPOLLIN, key))?;
        }
        Ok(())
    };
    let added = match &watched {
        Watched::Worker { worker, .. } => worker.with_descriptors(|pidfd, lifeline| add(Some(pidfd), Some(lifeline))).unwrap_or(Ok(())),
        Watched::Remains { worker } => worker.with_descriptors(|pidfd, _| add(Some(pidfd), None)).unwrap_or(Ok(())),
        Watched::Parent { lifeline, pidfd, .. } => add(pidfd.as_ref().map(AsFd::as_fd), Some(lifeline.as_fd())),
    };
    if let Err(error) = added {
        // The caller closes the descriptors, and they leave the set with that. The thread ends if it has nothing else to watch.
        drop(pairs);
        let _ = watcher.bell.write(1);
        return Err(error);
    }
    pairs.watched.insert(key, watched);
    Ok(())
}

impl Watcher {
    fn is_foreign(&self) -> bool {
        self.generation.is_foreign() || self.process != std::process::id()
    }

    fn run(&self) {
        let mut next: Option<Instant> = None;
        loop {
            let timeout = match next {
                None => EpollTimeout::NONE,
                // Rounded up, so as not to wake just before.
                Some(at) => EpollTimeout::try_from(at.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
                    .unwrap_or(EpollTimeout::MAX),
            };
            let mut events = [EpollEvent::empty(); 16];
            // A signal, too, is a reason to look at the deadlines; nothing else can fail here.
            let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
            for event in events.iter().take(count) {
                match event.data() {
                    BELL => {
                        // Nonblocking: resets the counter.
                        let _ = self.bell.read();
                    }
                    key => self.happened(key & !1, key & 1 == 1),
                }
            }
            match self.deadlines() {
                Some(earliest) => next = earliest,
                None => return,
            }
        }
    }

    /// The lifeline of a pair hung up, or its process ended.
    fn happened(&self, key: u64, is_lifeline: bool) {
        let mut pairs = lock(&self.pairs);
        let Some(watched) = pairs.watched.get_mut(&key) else { return };
        match watched {
            Watched::Worker { worker, hung_up, .. } if is_lifeline => {
                *hung_up = Some(Instant::now() + LAST_BREATH);
                // It would be reported for ever.
                let _ = worker.with_descriptors(|_, lifeline| self.epoll.delete(lifeline));
            }
            Watched::Worker { end, worker, .. } => {
                let Some(status) = worker.reap(false, |pidfd, lifeline| {
                    // A child of a plain fork(2) may hold copies of them: closing alone would not take them out of the set. The lifeline may be
                    // out already.
                    let _ = self.epoll.delete(pidfd);
                    let _ = self.epoll.delete(lifeline);
                }) else {
                    return;
                };
                let (end, worker) = (end.clone(), worker.clone());
                let removed = pairs.watched.remove(&key);
                drop((pairs, removed));
                let reason = worker.last_things(status);
                end.peer_gone(reason);
                end.tell_ended_elsewhere(reason);
                // Who waits for the end of the worker is to have the pair to himself then, and not to wait for this thread again.
                drop(end);
                worker.tell_ended();
            }
            Watched::Remains { worker } => {
                let reaped = worker.reap(false, |pidfd, _| {
                    let _ = self.epoll.delete(pidfd);
                });
                if reaped.is_some() {
                    pairs.watched.remove(&key);
                }
            }
            Watched::Parent { end, lifeline, pidfd, died } => {
                // After an orderly close it may still be busy with what it was sent.
                let grace = if end.watch.is_closed() { GRACE.max(end.terms.close_timeout) } else { GRACE };
                died.get_or_insert_with(|| Instant::now() + grace);
                let _ = self.epoll.delete(&*lifeline);
                if let Some(pidfd) = pidfd {
                    let _ = self.epoll.delete(&*pidfd);
                }
                let end = end.clone();
                drop(pairs);
                end.peer_gone(Reason::ParentDied);
                end.tell_ended_elsewhere(end.how_it_went());
            }
        }
    }

    /// Does what is due. Returns the next deadline, or `None` if there is nothing left to watch.
    fn deadlines(&self) -> Option<Option<Instant>> {
        let now = Instant::now();
        let mut earliest: Option<Instant> = None;
        let mut deserted = Vec::new();
        // The order of the locks is that of `watch`.
        let mut current = lock(place());
        let mut pairs = lock(&self.pairs);
        if pairs.watched.is_empty() {
            let leaving = *pairs.leaving.get_or_insert(now + LINGER);
            if now < leaving {
                return Some(Some(leaving));
            }
            *current = None;
            return None;
        }
        drop(current);
        for watched in pairs.watched.values_mut() {
            let next = match watched {
                Watched::Worker { end, worker, hung_up } => {
                    if hung_up.is_some_and(|at| now >= at) {
                        *hung_up = None;
                        deserted.push(end.clone());
                    }
                    [*hung_up, worker.escalate()].into_iter().flatten().min()
                }
                Watched::Remains { .. } => None,
                Watched::Parent { died, .. } => {
                    if died.is_some_and(|at| now >= at) {
                        // Stuck in user code, and nobody is left who could ask it to end. Not `exit`: that would run what the stuck code
                        // may hold locks of. Not SIGKILL: the first process of a namespace is immune to its own.
                        // SAFETY: ends the process in the kernel; no code of it runs any more.
                        unsafe { libc::_exit(ORPHANED) };
                    }
                    *died
                }
            };
            earliest = [earliest, next].into_iter().flatten().min();
        }
        drop(pairs);
        for end in deserted {
            // It lives on without its lifeline: it has left the pair.
            end.peer_gone(Reason::Closed);
        }
        Some(earliest)
    }
}
