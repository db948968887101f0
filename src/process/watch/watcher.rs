//! The process watcher: one thread of the library that waits in the kernel for the ends of all the processes this one is paired with.
//!
//! It starts with the first pair and ends soon after the last. While nothing happens it is never woken.
//!
//! The program may close the watcher's descriptors, as daemons and sandboxes do with all that they
//! do not know. The thread is woken by its [bell](crate::process::descriptors::notifier) then. All its pairs end, and it goes
//! on without descriptors until the last of its workers was reaped. A new pair gets a new watcher.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::parent_id;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::error::Reason;
use crate::process::child::Worker;
use crate::process::descriptors::poller::{BELL, Ears};
use crate::process::handshake::GLANCE_AT_PARENT;
use crate::process::watch::end_callbacks::Untold;
use crate::process::{Generation, Own, prepare_thread};
use crate::sync::lock;

/// A worker that has closed its lifeline is about to end, and the kernel will tell how, unless it lives on for this long.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// What a worker whose parent has died gets to end by itself.
const GRACE: Duration = Duration::from_millis(250);
/// Programs that start one worker after the other do not need a new thread for each.
const LINGER: Duration = Duration::from_millis(50);
/// How often the watcher looks whether a worker has ended that no descriptor tells of.
const GLANCE: Duration = Duration::from_millis(20);

/// The exit status of a worker that was ended because its parent is gone: that of a shell for SIGKILL. Nobody is left to read it.
const ORPHANED: i32 = 128 + libc::SIGKILL;

/// The watcher of this process.
fn place() -> &'static Mutex<Option<Arc<Watcher>>> {
    static PLACE: Own<Mutex<Option<Arc<Watcher>>>> = Own::new();
    PLACE.get()
}

struct Watcher {
    /// The process that its thread runs in: in no other is there such a thread. Both, since a child may have been made without the C library's
    /// knowledge, and a number may come again.
    generation: Generation,
    process: u32,
    ears: Ears,
    /// The program has closed some of its descriptors: none of them is used any more.
    deaf: AtomicBool,
    pairs: Mutex<Pairs>,
}

#[derive(Default)]
struct Pairs {
    next: u64,
    /// Pairs have two keys each, from 2 on: even for the process, odd for the lifeline.
    watched: HashMap<u64, Watched>,
    /// Callbacks for which there was no thread yet.
    untold: Vec<Untold>,
    /// When the thread ends, if there is nothing to watch.
    leaving: Option<Instant>,
}

/// What the watcher has found out of the process at the other end of a pair.
#[derive(Debug, Clone, Copy)]
pub(crate) enum News {
    /// Nothing more will come from it, although it may live on.
    Gone(Reason),
    /// It has ended.
    Ended(Reason),
}

/// What the watcher calls with its news of one pair, on its thread, with no lock held. Returns
/// callbacks for which there was no thread yet.
pub(crate) type Tell = Arc<dyn Fn(News) -> Option<Untold> + Send + Sync>;

enum Watched {
    /// On the parent's side.
    Worker {
        tell: Tell,
        worker: Arc<Worker>,
        hung_up: Option<Instant>,
        /// No descriptor tells of its end any more: the program has closed it, or a debugger keeps the process that has ended.
        unheard: bool,
    },
    /// A worker that never became one, and cannot be killed: to be reaped when it ends.
    Remains { worker: Arc<Worker>, unheard: bool },
    /// On the worker's side.
    Parent {
        tell: Tell,
        /// How long the worker may go on by itself after an orderly close; zero without one.
        close_grace: Box<dyn Fn() -> Duration + Send + Sync>,
        lifeline: Arc<OwnedFd>,
        pidfd: Option<OwnedFd>,
        /// Without a descriptor of it, the parent is known by this number: that of this process's parent, until it has died.
        number: Option<u32>,
        died: Option<Instant>,
    },
}

/// Watches a worker of this process.
pub(crate) fn watch_worker(worker: &Arc<Worker>, tell: Tell) -> io::Result<()> {
    watch(Watched::Worker { tell, worker: worker.clone(), hung_up: None, unheard: false })
}

/// Reaps a worker once it ends.
pub(crate) fn watch_remains(worker: &Arc<Worker>) -> io::Result<()> {
    watch(Watched::Remains { worker: worker.clone(), unheard: false })
}

/// Watches the parent of this process.
/// `close_grace`: how long this process may go on after an orderly close; zero without one.
pub(crate) fn watch_parent(
    lifeline: Arc<OwnedFd>,
    pidfd: Option<OwnedFd>,
    child_of: Option<u32>,
    tell: Tell,
    close_grace: impl Fn() -> Duration + Send + Sync + 'static,
) -> io::Result<()> {
    let number = child_of.filter(|_| pidfd.is_none());
    watch(Watched::Parent { tell, close_grace: Box::new(close_grace), lifeline, pidfd, number, died: None })
}

/// Makes the watcher look at the deadlines of closing workers.
pub(crate) fn look_again() {
    let current = lock(place()).clone();
    if let Some(watcher) = current.filter(|watcher| !watcher.is_foreign())
        && !(watcher.ears.are_intact() && watcher.ears.ring())
    {
        // The thread was woken by that, too, unless a child of a plain fork(2) keeps the bell's other copy.
        watcher.take_over();
    }
}

fn watch(watched: Watched) -> io::Result<()> {
    let mut current = loop {
        let mut current = lock(place());
        if let Some(inherited) = current.take_if(|watcher| watcher.is_foreign()) {
            // Of the process that this one is a clone of, without the C library's knowledge: the thread is not here, and the set of descriptors is still that process's
            // own. What the watcher holds is left alone: to drop it would run code of the program that belongs there.
            std::mem::forget(inherited);
        }
        let Some(deaf) = current.take_if(|watcher| !watcher.ears.are_intact()) else { break current };
        drop(current);
        deaf.take_over();
    };
    let watcher = match &*current {
        Some(watcher) => watcher.clone(),
        None => {
            let watcher = Arc::new(Watcher {
                generation: Generation::watched(),
                process: std::process::id(),
                ears: Ears::new()?,
                deaf: AtomicBool::new(false),
                pairs: Mutex::default(),
            });
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
            watcher.ears.add(lifeline, EpollFlags::EPOLLRDHUP, key + 1)?;
        }
        if let Some(process) = process {
            watcher.ears.add(process, EpollFlags::EPOLLIN, key)?;
        }
        Ok(())
    };
    let added = match &watched {
        Watched::Worker { worker, .. } => worker.with_descriptors(|process, lifeline| add(Some(process), Some(lifeline))),
        Watched::Remains { worker, .. } => worker.with_descriptors(|process, _| add(Some(process), None)),
        Watched::Parent { lifeline, pidfd, .. } => Ok(Some(add(pidfd.as_ref().map(AsFd::as_fd), Some(lifeline.as_fd())))),
    };
    if let Err(error) = added.and_then(|added| added.unwrap_or(Ok(()))) {
        // The caller closes the descriptors, and they leave the set with that. The thread ends if it has nothing else to watch.
        drop(pairs);
        let _ = watcher.ears.ring();
        return Err(error);
    }
    let has_deadlines = matches!(watched, Watched::Parent { number: Some(_), .. });
    pairs.watched.insert(key, watched);
    drop(pairs);
    if has_deadlines {
        watcher.ears.ring();
    }
    Ok(())
}

impl Watcher {
    fn is_foreign(&self) -> bool {
        self.generation.is_foreign() || self.process != std::process::id()
    }

    fn run(&self) {
        // It completes calls whose callbacks are the program's.
        prepare_thread("coprocess-watch");
        let mut next: Option<Instant> = None;
        loop {
            // Rounded up, so as not to wake just before.
            let timeout = next.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
            let mut events = [EpollEvent::empty(); 16];
            let Ok(count) = self.ears.listen(&mut events, timeout) else { return self.go_on_deaf() };
            for event in events.iter().take(count) {
                match event.data() {
                    BELL => self.ears.hush(),
                    key => self.happened(key & !1, key & 1 == 1),
                }
            }
            match self.deadlines() {
                Some(earliest) => next = earliest,
                None => return,
            }
        }
    }

    /// Goes on without descriptors in a thread of its own: the watcher's does not know that they are gone.
    #[cold]
    fn take_over(self: Arc<Self>) {
        // If it still can be rung, that thread finds out, and ends.
        self.ears.ring();
        let successor = self.clone();
        let started = std::thread::Builder::new().name("coprocess-watch".to_owned()).spawn(move || successor.go_on_deaf());
        if started.is_err() {
            // With no thread to be had, this one ends what there is.
            self.go_on_deaf();
        }
    }

    /// Ends all pairs, since the program has closed descriptors by which they were watched. Returns when the last worker was reaped; a worker process exits.
    #[cold]
    fn go_on_deaf(&self) {
        // Of several threads that found out, one is enough. Relaxed: nothing is read that depends on it.
        if self.deaf.swap(true, Ordering::Relaxed) {
            return;
        }
        // The order of the locks is that of `watch`.
        let mut current = lock(place());
        current.take_if(|current| ptr::eq(&raw const **current, self));
        let mut pairs = lock(&self.pairs);
        drop(current);
        let mut ends = Vec::new();
        for watched in pairs.watched.values_mut() {
            match watched {
                Watched::Worker { tell, worker, hung_up, unheard } => {
                    (*hung_up, *unheard) = (None, true);
                    worker.forgo_descriptors();
                    ends.push((tell.clone(), Some(worker.clone())));
                }
                Watched::Remains { worker, unheard } => {
                    *unheard = true;
                    worker.forgo_descriptors();
                }
                Watched::Parent { tell, died, .. } => {
                    died.get_or_insert_with(|| Instant::now() + GRACE);
                    ends.push((tell.clone(), None));
                }
            }
        }
        drop(pairs);
        for (tell, worker) in ends {
            self.tell(&tell, News::Gone(Reason::DescriptorsClosed));
            // A worker process exits instead, as after the death of its parent.
            if let Some(worker) = worker {
                worker.begin_close();
            }
        }
        while self.attend_to_deadlines().is_some() {
            std::thread::sleep(GLANCE);
        }
    }

    /// The lifeline of a pair hung up, or its process ended.
    fn happened(&self, key: u64, is_lifeline: bool) {
        let mut pairs = lock(&self.pairs);
        let Some(watched) = pairs.watched.get_mut(&key) else { return };
        match watched {
            Watched::Worker { worker, hung_up, unheard, .. } if is_lifeline => {
                *hung_up = Some(Instant::now() + LAST_BREATH);
                // It would be reported for ever.
                *unheard |= worker.look_at_descriptors(|[process, lifeline]| {
                    if let Some(lifeline) = lifeline {
                        self.ears.remove(lifeline);
                    }
                    process.is_none()
                });
            }
            Watched::Worker { worker, .. } | Watched::Remains { worker, .. } => {
                let worker = worker.clone();
                drop(pairs);
                if !self.reap(key, &worker) {
                    self.look_for_its_end(key, &worker);
                }
            }
            Watched::Parent { tell, close_grace, lifeline, pidfd, died, .. } => {
                // After an orderly close it may still be busy with what it was sent.
                let grace = GRACE.max(close_grace());
                died.get_or_insert_with(|| Instant::now() + grace);
                self.ears.remove(lifeline.as_fd());
                if let Some(pidfd) = pidfd {
                    self.ears.remove(pidfd.as_fd());
                }
                let tell = tell.clone();
                drop(pairs);
                self.tell(&tell, News::Ended(Reason::ParentDied));
            }
        }
    }

    /// Goes on without the descriptor of a process that has ended, and that a debugger keeps: the descriptor would tell so
    /// for ever.
    #[cold]
    fn look_for_its_end(&self, key: u64, worker: &Worker) {
        let mut pairs = lock(&self.pairs);
        let Some(watched) = pairs.watched.get_mut(&key) else { return };
        if let Watched::Worker { hung_up, .. } = watched
            && worker.is_told_by_kernel()
        {
            // It may have left a copy of its end of the lifeline, which does not hang up then.
            hung_up.get_or_insert_with(|| Instant::now() + LAST_BREATH);
        }
        if let Watched::Worker { unheard, .. } | Watched::Remains { unheard, .. } = watched {
            *unheard = true;
            worker.look_at_descriptors(|[process, _]| process.into_iter().for_each(|process| self.ears.remove(process)));
        }
    }

    fn tell(&self, tell: &Tell, news: News) {
        if let Some(untold) = tell(news) {
            lock(&self.pairs).untold.push(untold);
        }
    }

    /// Reaps a worker if it has ended, and tells its end. Returns `false` if it has not ended.
    fn reap(&self, key: u64, worker: &Worker) -> bool {
        let reaped = worker.reap(|descriptors| {
            // A child of a plain fork(2) may hold copies of them: closing alone would not take them out of the set. The lifeline may be out already.
            for descriptor in descriptors.into_iter().flatten() {
                self.ears.remove(descriptor);
            }
        });
        let Some(status) = reaped else { return false };
        let removed = lock(&self.pairs).watched.remove(&key);
        if let Some(Watched::Worker { tell, .. }) = &removed {
            self.tell(tell, News::Ended(worker.last_things(status)));
        }
        // Who waits for the end of the worker is to have the pair to himself then, and not to wait for this thread again.
        drop(removed);
        worker.tell_ended();
        true
    }

    /// Does what is due. Returns the next deadline, or `None` if there is nothing left to watch.
    fn deadlines(&self) -> Option<Option<Instant>> {
        let earliest = self.attend_to_deadlines();
        // The order of the locks is that of `watch`.
        let mut current = lock(place());
        let mut pairs = lock(&self.pairs);
        if !pairs.watched.is_empty() || !pairs.untold.is_empty() {
            return Some(earliest);
        }
        let now = Instant::now();
        let leaving = *pairs.leaving.get_or_insert(now + LINGER);
        if now < leaving {
            return Some(Some(leaving));
        }
        // Unless it was given up for another one.
        current.take_if(|current| ptr::eq(&raw const **current, self));
        None
    }

    /// Does what is due. Returns the next deadline.
    fn attend_to_deadlines(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut pairs = lock(&self.pairs);
        let mut earliest: Option<Instant> = None;
        let (mut deserted, mut unseen, mut orphaned) = (Vec::new(), Vec::new(), Vec::new());
        let untold = std::mem::take(&mut pairs.untold);
        for (key, watched) in &mut pairs.watched {
            let next = match watched {
                Watched::Worker { tell, worker, hung_up, unheard } => {
                    if hung_up.is_some_and(|at| now >= at) {
                        *hung_up = None;
                        deserted.push(tell.clone());
                    }
                    let signal = worker.escalate();
                    *unheard |= signal.is_some() && worker.has_lost_descriptors();
                    let glance = unheard.then(|| {
                        unseen.push((*key, worker.clone()));
                        now + GLANCE
                    });
                    [*hung_up, signal, glance].into_iter().flatten().min()
                }
                Watched::Remains { worker, unheard } => unheard.then(|| {
                    unseen.push((*key, worker.clone()));
                    now + GLANCE
                }),
                Watched::Parent { tell, number: Some(number), died: died @ None, .. } if parent_id() != *number => {
                    *died = Some(now + GRACE);
                    orphaned.push(tell.clone());
                    *died
                }
                Watched::Parent { number: Some(_), died: None, .. } => Some(now + GLANCE_AT_PARENT),
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
        for tell in deserted {
            // It lives on without its lifeline: it has left the pair.
            self.tell(&tell, News::Gone(Reason::Closed));
        }
        for tell in orphaned {
            self.tell(&tell, News::Ended(Reason::ParentDied));
        }
        for (key, worker) in unseen {
            self.reap(key, &worker);
        }
        let untold: Vec<Untold> = untold.into_iter().filter_map(Untold::tell).collect();
        let mut pairs = lock(&self.pairs);
        pairs.untold.extend(untold);
        let again = (!pairs.untold.is_empty()).then(|| now + GLANCE);
        [earliest, again].into_iter().flatten().min()
    }
}
