//! Runs the process watcher: one thread that waits for the ends of the processes of all peers.
//!
//! The thread starts with the first pair and ends soon after the last. While nothing happens,
//! nothing wakes the thread.
//!
//! The program may close the watcher's descriptors, as daemons and sandboxes close all descriptors
//! that they do not know. The [poller](crate::process::descriptors::poller) then wakes the thread.
//! All pairs of the watcher end. The thread goes on without descriptors until the last of its
//! workers was reaped. A new pair gets a new watcher.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::parent_id;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::error::Reason;
use crate::process::child::Worker;
use crate::process::descriptors::poller::{NOTIFIED, Poller};
use crate::process::handshake::PARENT_POLL_INTERVAL;
use crate::process::prepare_thread;
use crate::process::watch::end_callbacks::UncalledCallbacks;
use crate::process::watch::watched::{OnPeerStatus, PeerStatus, Watched};
use crate::sync::forked::Generation;
use crate::sync::lock;
use crate::sync::own::Own;

/// Bounds how long a worker may take to end after it has closed its lifeline. A worker that lives
/// on longer counts as having left the pair.
const HANG_UP_GRACE: Duration = Duration::from_secs(1);
/// Bounds how long a worker whose parent has died may take to end by itself.
const ORPHAN_GRACE: Duration = Duration::from_millis(250);
/// Says how long the thread stays without a pair: programs that start one worker after the other do
/// not need a new thread for each.
const IDLE_TIMEOUT: Duration = Duration::from_millis(50);
/// Says how often the watcher checks for the end of a worker that no descriptor tells.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Is the exit status of a worker that was ended since its parent is gone: a shell's status for
/// SIGKILL. No parent is left to read the status.
const ORPHANED: i32 = 128 + libc::SIGKILL;

/// Returns where the watcher of this process is kept, if there is one.
fn watcher_slot() -> &'static Mutex<Option<Arc<Watcher>>> {
    static SLOT: Own<Mutex<Option<Arc<Watcher>>>> = Own::new();
    SLOT.get()
}

struct Watcher {
    /// With `process`: identifies the process that the thread runs in. No other process has the
    /// thread. Both are needed: a child may have been made without the C library's knowledge, and a
    /// process id may be reused.
    generation: Generation,
    process: u32,
    poller: Poller,
    /// `true` once the program has closed some of the watcher's descriptors. Then none is used.
    is_lost: AtomicBool,
    pairs: Mutex<WatchList>,
}

#[derive(Default)]
struct WatchList {
    /// The last key. Each watched process has two, from 2 on: an even one for the process, and the
    /// odd one after it for the lifeline.
    last_key: u64,
    watched: HashMap<u64, Watched>,
    /// Callbacks for which the system had no thread yet.
    uncalled: Vec<UncalledCallbacks>,
    /// When the thread ends, if nothing is watched until then.
    leaving: Option<Instant>,
}

/// Watches a worker of this process, and reports on it.
pub(crate) fn watch_worker(worker: &Arc<Worker>, report: OnPeerStatus) -> io::Result<()> {
    watch(Watched::Worker { report, worker: worker.clone(), hung_up: None, must_poll: false })
}

/// Reaps a process that did not become a worker, once the process ends.
pub(crate) fn reap_leftover(worker: &Arc<Worker>) -> io::Result<()> {
    watch(Watched::Leftover { worker: worker.clone(), must_poll: false })
}

/// Watches the parent of this process, and reports on it.
///
/// `close_grace` returns how long this process may go on after an orderly close, and zero without
/// one.
pub(crate) fn watch_parent(
    lifeline: Arc<OwnedFd>,
    pidfd: Option<OwnedFd>,
    child_of: Option<u32>,
    report: OnPeerStatus,
    close_grace: impl Fn() -> Duration + Send + Sync + 'static,
) -> io::Result<()> {
    let number = child_of.filter(|_| pidfd.is_none());
    watch(Watched::Parent {
        report,
        close_grace: Box::new(close_grace),
        lifeline,
        pidfd,
        number,
        deadline: None,
    })
}

/// Makes the watcher check the deadlines of closing workers.
pub(crate) fn notify_watcher() {
    let current = lock(watcher_slot()).clone();
    if let Some(watcher) = current.filter(|watcher| !watcher.is_foreign())
        && !(watcher.poller.is_intact() && watcher.poller.notify())
    {
        // The closed descriptors have woken the watcher's thread, too, unless a child of a plain
        // fork(2) keeps a copy of the notifier.
        watcher.take_over();
    }
}

fn watch(watched: Watched) -> io::Result<()> {
    let mut current = loop {
        let mut current = lock(watcher_slot());
        if let Some(inherited) = current.take_if(|watcher| watcher.is_foreign()) {
            // This process is a clone that the C library does not know of. The inherited watcher's
            // thread is not here, and its epoll still belongs to the other process. Its contents
            // are not dropped: that would run code of the program that belongs to the other
            // process.
            std::mem::forget(inherited);
        }
        let Some(lost) = current.take_if(|watcher| !watcher.poller.is_intact()) else {
            break current;
        };
        drop(current);
        lost.take_over();
    };
    let watcher = match &*current {
        Some(watcher) => watcher.clone(),
        None => {
            let watcher = Arc::new(Watcher {
                generation: Generation::watched(),
                process: std::process::id(),
                poller: Poller::new()?,
                is_lost: AtomicBool::new(false),
                pairs: Mutex::default(),
            });
            let thread = watcher.clone();
            std::thread::Builder::new()
                .name("coprocess-watch".to_owned())
                .spawn(move || thread.run())?;
            *current = Some(watcher.clone());
            watcher
        }
    };
    let mut pairs = lock(&watcher.pairs);
    pairs.leaving = None;
    pairs.last_key += 2;
    let key = pairs.last_key;
    let added = watched.add_descriptors(|process, lifeline| {
        if let Some(lifeline) = lifeline {
            // Only the hang-up counts: the lifeline carries no data after the handshake, and what a
            // hostile peer sends does not wake the watcher.
            watcher.poller.add(lifeline, EpollFlags::EPOLLRDHUP, key + 1)?;
        }
        if let Some(process) = process {
            watcher.poller.add(process, EpollFlags::EPOLLIN, key)?;
        }
        Ok(())
    });
    if let Err(error) = added {
        // The caller closes the descriptors, which removes them from the epoll. The thread ends if
        // nothing else is watched.
        drop(pairs);
        let _ = watcher.poller.notify();
        return Err(error);
    }
    let has_deadlines = matches!(watched, Watched::Parent { number: Some(_), .. });
    pairs.watched.insert(key, watched);
    drop(pairs);
    if has_deadlines {
        watcher.poller.notify();
    }
    Ok(())
}

impl Watcher {
    /// Returns `true` if the watcher's thread runs in another process than this one.
    fn is_foreign(&self) -> bool {
        self.generation.is_foreign() || self.process != std::process::id()
    }

    /// Watches until the last pair has ended.
    fn run(&self) {
        // The thread completes calls, whose callbacks are code of the user's.
        prepare_thread("coprocess-watch");
        let mut next: Option<Instant> = None;
        loop {
            // Rounded up, so that the thread does not wake just before the deadline.
            let timeout = next
                .map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
            let mut events = [EpollEvent::empty(); 16];
            let Ok(count) = self.poller.wait(&mut events, timeout) else {
                return self.run_without_descriptors();
            };
            for event in events.iter().take(count) {
                match event.data() {
                    NOTIFIED => self.poller.drain_notifications(),
                    key => self.handle_event(key & !1, key & 1 == 1),
                }
            }
            match self.next_deadline() {
                Some(earliest) => next = earliest,
                None => return,
            }
        }
    }

    /// Goes on without descriptors on a new thread: the watcher's own thread may not know yet that
    /// the program has closed the descriptors.
    #[cold]
    fn take_over(self: Arc<Self>) {
        // If the watcher's thread can still be notified, it finds out, and ends.
        self.poller.notify();
        let successor = self.clone();
        let started = std::thread::Builder::new()
            .name("coprocess-watch".to_owned())
            .spawn(move || successor.run_without_descriptors());
        if started.is_err() {
            // The system has no thread, so the current thread ends the pairs.
            self.run_without_descriptors();
        }
    }

    /// Ends all pairs, since the program has closed descriptors that watched them. Returns once the
    /// last worker was reaped. In a worker process, the process exits.
    #[cold]
    fn run_without_descriptors(&self) {
        // Of several threads that find out, one goes on. Relaxed: no other data depends on the
        // flag.
        if self.is_lost.swap(true, Ordering::Relaxed) {
            return;
        }
        // The locks are taken in the same order as in `watch`.
        let mut current = lock(watcher_slot());
        current.take_if(|current| ptr::eq(&raw const **current, self));
        let mut pairs = lock(&self.pairs);
        drop(current);
        let mut reports = Vec::new();
        for watched in pairs.watched.values_mut() {
            match watched {
                Watched::Worker { report, worker, hung_up, must_poll } => {
                    (*hung_up, *must_poll) = (None, true);
                    worker.forgo_descriptors();
                    reports.push((report.clone(), Some(worker.clone())));
                }
                Watched::Leftover { worker, must_poll } => {
                    *must_poll = true;
                    worker.forgo_descriptors();
                }
                Watched::Parent { report, deadline, .. } => {
                    deadline.get_or_insert_with(|| Instant::now() + ORPHAN_GRACE);
                    reports.push((report.clone(), None));
                }
            }
        }
        drop(pairs);
        for (report, worker) in reports {
            self.report(&report, PeerStatus::Gone(Reason::DescriptorsClosed));
            // A worker process exits instead, as after the death of its parent.
            if let Some(worker) = worker {
                worker.begin_close();
            }
        }
        while self.handle_deadlines().is_some() {
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Handles the end of a process, or the hang-up of its lifeline.
    fn handle_event(&self, key: u64, is_lifeline: bool) {
        let mut pairs = lock(&self.pairs);
        let Some(watched) = pairs.watched.get_mut(&key) else { return };
        match watched {
            Watched::Worker { worker, hung_up, must_poll, .. } if is_lifeline => {
                *hung_up = Some(Instant::now() + HANG_UP_GRACE);
                // Removed: the epoll would report the hang-up again and again.
                *must_poll |= worker.look_at_descriptors(|[process, lifeline]| {
                    if let Some(lifeline) = lifeline {
                        self.poller.remove(lifeline);
                    }
                    process.is_none()
                });
            }
            Watched::Worker { worker, .. } | Watched::Leftover { worker, .. } => {
                let worker = worker.clone();
                drop(pairs);
                if !self.reap(key, &worker) {
                    self.start_polling(key, &worker);
                }
            }
            Watched::Parent { report, close_grace, lifeline, pidfd, deadline, .. } => {
                // After an orderly close, the worker may still be busy with what the parent has
                // sent.
                let grace = ORPHAN_GRACE.max(close_grace());
                deadline.get_or_insert_with(|| Instant::now() + grace);
                self.poller.remove(lifeline.as_fd());
                if let Some(pidfd) = pidfd {
                    self.poller.remove(pidfd.as_fd());
                }
                let report = report.clone();
                drop(pairs);
                self.report(&report, PeerStatus::Ended(Reason::ParentDied));
            }
        }
    }

    /// Polls for the end of a worker that has ended, and that a debugger keeps. Its process
    /// descriptor would be readable for ever.
    #[cold]
    fn start_polling(&self, key: u64, worker: &Worker) {
        let mut pairs = lock(&self.pairs);
        let Some(watched) = pairs.watched.get_mut(&key) else { return };
        if let Watched::Worker { hung_up, .. } = watched
            && worker.is_told_by_kernel()
        {
            // The worker may have left a copy of its end of the lifeline, which then does not hang
            // up.
            hung_up.get_or_insert_with(|| Instant::now() + HANG_UP_GRACE);
        }
        if let Watched::Worker { must_poll, .. } | Watched::Leftover { must_poll, .. } = watched {
            *must_poll = true;
            worker.look_at_descriptors(|[process, _]| {
                process.into_iter().for_each(|process| self.poller.remove(process))
            });
        }
    }

    /// Reports on a pair, and keeps callbacks for which the system has no thread yet.
    fn report(&self, report: &OnPeerStatus, status: PeerStatus) {
        if let Some(uncalled) = report(status) {
            lock(&self.pairs).uncalled.push(uncalled);
        }
    }

    /// Reaps a worker, and reports its end. Returns `false` if the worker has not ended.
    fn reap(&self, key: u64, worker: &Worker) -> bool {
        let reaped = worker.reap(|descriptors| {
            // Removed explicitly: a child of a plain fork(2) may hold copies, and then closing
            // alone would leave the descriptors in the epoll. The lifeline may be removed already.
            for descriptor in descriptors.into_iter().flatten() {
                self.poller.remove(descriptor);
            }
        });
        let Some(status) = reaped else { return false };
        let removed = lock(&self.pairs).watched.remove(&key);
        if let Some(Watched::Worker { report, .. }) = &removed {
            self.report(report, PeerStatus::Ended(worker.exit_reason(status)));
        }
        // Before the threads go that wait for the worker's end: they must find that the watcher has
        // released the pair, and must not wait for this thread again.
        drop(removed);
        worker.tell_ended();
        true
    }

    /// Does what is due. Returns the next deadline, or `None` if nothing is left to watch.
    fn next_deadline(&self) -> Option<Option<Instant>> {
        let earliest = self.handle_deadlines();
        // The locks are taken in the same order as in `watch`.
        let mut current = lock(watcher_slot());
        let mut pairs = lock(&self.pairs);
        if !pairs.watched.is_empty() || !pairs.uncalled.is_empty() {
            return Some(earliest);
        }
        let now = Instant::now();
        let leaving = *pairs.leaving.get_or_insert(now + IDLE_TIMEOUT);
        if now < leaving {
            return Some(Some(leaving));
        }
        // Unless another watcher has replaced this one already.
        current.take_if(|current| ptr::eq(&raw const **current, self));
        None
    }

    /// Does what is due. Returns the next deadline.
    fn handle_deadlines(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut pairs = lock(&self.pairs);
        let mut earliest: Option<Instant> = None;
        let (mut deserted, mut polled, mut orphaned) = (Vec::new(), Vec::new(), Vec::new());
        let uncalled = std::mem::take(&mut pairs.uncalled);
        for (key, watched) in &mut pairs.watched {
            let next = match watched {
                Watched::Worker { report, worker, hung_up, must_poll } => {
                    if hung_up.is_some_and(|at| now >= at) {
                        *hung_up = None;
                        deserted.push(report.clone());
                    }
                    let signal = worker.escalate();
                    *must_poll |= signal.is_some() && worker.has_lost_descriptors();
                    let poll = must_poll.then(|| {
                        polled.push((*key, worker.clone()));
                        now + POLL_INTERVAL
                    });
                    [*hung_up, signal, poll].into_iter().flatten().min()
                }
                Watched::Leftover { worker, must_poll } => must_poll.then(|| {
                    polled.push((*key, worker.clone()));
                    now + POLL_INTERVAL
                }),
                Watched::Parent {
                    report, number: Some(number), deadline: deadline @ None, ..
                } if parent_id() != *number => {
                    *deadline = Some(now + ORPHAN_GRACE);
                    orphaned.push(report.clone());
                    *deadline
                }
                Watched::Parent { number: Some(_), deadline: None, .. } => {
                    Some(now + PARENT_POLL_INTERVAL)
                }
                Watched::Parent { deadline, .. } => {
                    if deadline.is_some_and(|at| now >= at) {
                        // The worker is stuck in code of the user's, and no process is left that
                        // could end it. Not `exit`: exit handlers may need locks that the stuck
                        // code holds. Not SIGKILL: the first process of a namespace is immune to
                        // its own SIGKILL.
                        // SAFETY: ends the process in the kernel; none of its code runs any more.
                        unsafe { libc::_exit(ORPHANED) };
                    }
                    *deadline
                }
            };
            earliest = [earliest, next].into_iter().flatten().min();
        }
        drop(pairs);
        for report in deserted {
            // The worker lives on without its lifeline: it has left the pair.
            self.report(&report, PeerStatus::Gone(Reason::Closed));
        }
        for report in orphaned {
            self.report(&report, PeerStatus::Ended(Reason::ParentDied));
        }
        for (key, worker) in polled {
            self.reap(key, &worker);
        }
        let uncalled: Vec<_> =
            uncalled.into_iter().filter_map(UncalledCallbacks::call_on_new_thread).collect();
        let mut pairs = lock(&self.pairs);
        pairs.uncalled.extend(uncalled);
        let again = (!pairs.uncalled.is_empty()).then(|| now + POLL_INTERVAL);
        [earliest, again].into_iter().flatten().min()
    }
}
