//! Defines the lead: the right of one thread of an end to receive and dispatch, and how the lead is
//! handed on.
//!
//! A thread that waits for something (an answer, the end of the pair) takes the lead if the lead is
//! free. It then does the work for all threads of the end. The other threads that wait, the
//! followers, queue.
//!
//! One thread, the *driver*, looks after the ring while no other thread does. The driver *parks*:
//! it sleeps in the kernel, on the doorbell of the ring. While the driver is parked, a thread takes
//! the lead and gives it back without waking the driver. That costs two writes to the doorbell, and
//! no system call.
//!
//! ```text
//!         enter               park                 enter
//!   FREE ◄───────► HELD ◄──────────────► PARKED ◄───────► TAKEN
//!         leave      ▲   the driver wakes         leave     │
//!                    └──── the driver wakes: it queues ─────┘
//! ```
//!
//! The upper label of an arrow belongs to its way to the right, the lower label to its way back. A
//! thread that leaves TAKEN arms the doorbell for the driver again, then leaves, then looks at the
//! ring.
//!
//! # Why no hand-over is lost
//!
//! The holder, and whether a thread queues, are one word. Only read-modify-write operations change
//! the word, so all changes have one order.
//!
//! 1. A thread that queues sets the mark QUEUE, and looks at the holder afterwards. If the lead is
//!    held, the holder's leaving comes later in the order of the word, and sees the mark.
//! 2. A thread that leaves and sees the mark *nominates* the first thread in the queue: it takes
//!    that thread out of the queue, and wakes it.
//! 3. A nominated thread always tries to enter, even if it has no more use for the lead. So its own
//!    leaving nominates the next thread.
//! 4. If a third thread entered before the nominated thread, the third thread will leave later. Its
//!    leaving finds the threads that queue by then.
//!
//! A message may arrive while the lead changes hands. A thread that leaves the lead to a parked
//! driver arms the doorbell *before* it gives the lead up. Afterwards it looks whether anything has
//! come; see [`Lead::leave`]. So the peer wakes the driver, or the thread that leaves does.
//!
//! `src/models/lead.rs` checks all this with loom.

use std::collections::VecDeque;
use std::time::Instant;

use coprocess_ring::{Sleeper, Watch};

use crate::sync::parker::Parker;
use crate::sync::{
    Arc, AtomicU32, AtomicUsize, Mutex, Ordering, Spin, fence, lock, thread_token, yield_now,
};
use crate::time::deadline::Deadline;

/// Masks the holder: FREE, HELD, PARKED or TAKEN.
const HOLDER: u32 = 3;

/// No thread leads.
const FREE: u32 = 0;

/// A thread leads, and no driver is parked.
const HELD: u32 = 1;

/// The driver is parked. Any thread may take the lead over.
const PARKED: u32 = 2;

/// A thread leads while the driver is parked.
const TAKEN: u32 = 3;

/// A thread queues for the lead.
const QUEUE: u32 = 4;

/// Bounds how often a thread that queues looks for a notification before it counts as a thread that
/// is about to sleep.
///
/// The looks take some tens of microseconds, about as long as a spin lasts that ends in a sleep.
const LOOKS: u32 = 1 << 14;

/// Says how a wait for the lead ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeadWait {
    /// The thread has the lead, and leaves it afterwards.
    Lead,
    /// What the thread waited for has happened.
    Done,
    /// The deadline passed.
    TimedOut,
}

/// Gives one thread of an end at a time the right to receive and dispatch.
#[derive(Debug)]
pub(crate) struct Lead {
    /// The holder, and the mark QUEUE. Only read-modify-write operations change this word.
    state: AtomicU32,
    /// The thread that leads, as [`thread_token`]. Zero if no thread leads.
    leader: AtomicUsize,
    /// Not zero while the driver sleeps in the kernel, or is about to.
    asleep: AtomicU32,
    /// The threads that queue. The mark QUEUE changes under this lock, so mark and queue agree.
    queue: Mutex<VecDeque<Arc<Parker>>>,
    /// For the threads that queue.
    spin: Spin,
}

impl Lead {
    /// Makes a lead that no thread has. The threads that queue spin by `spin`.
    pub(crate) fn new(spin: Spin) -> Lead {
        Lead {
            state: AtomicU32::new(FREE),
            leader: AtomicUsize::new(0),
            asleep: AtomicU32::new(0),
            queue: Mutex::new(VecDeque::new()),
            spin,
        }
    }

    /// Returns `true` if this thread leads already: it is in a handler.
    #[inline]
    pub(crate) fn is_mine(&self) -> bool {
        // Relaxed: only this thread ever stores its own token.
        self.leader.load(Ordering::Relaxed) == thread_token()
    }

    /// Returns the thread that leads, as [`thread_token`]. Returns zero if no thread leads.
    ///
    /// The leader may have changed already, unless the leader is known to be asleep.
    pub(crate) fn leader(&self) -> usize {
        // Relaxed: the reader has synchronised with a leader that sleeps; see `end::crossing`.
        self.leader.load(Ordering::Relaxed)
    }

    /// Takes the lead if no thread has it, or if only a parked driver has it. Returns `true` if
    /// this thread has the lead now.
    #[inline]
    pub(crate) fn try_enter(&self, watch: &Watch) -> bool {
        // Relaxed: a guess, verified by the exchange below.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let taken = match state & HOLDER {
                FREE => state & !HOLDER | HELD,
                PARKED => state & !HOLDER | TAKEN,
                _ => return false,
            };
            // Acquire: this thread sees what the last leader did. Pairs with the Release in `leave`
            // and `park`.
            match self.state.compare_exchange_weak(
                state,
                taken,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if state & HOLDER == PARKED {
            // From here on this thread watches the ring: the peer need not wake the driver.
            watch.disarm();
        }
        // Relaxed: see `is_mine`.
        self.leader.store(thread_token(), Ordering::Relaxed);
        true
    }

    /// Gives the lead up. `anything` returns `true` if something has arrived that no thread has
    /// taken.
    #[inline]
    pub(crate) fn leave(&self, watch: &Watch, anything: impl Fn() -> bool) {
        // Relaxed: see `is_mine`.
        self.leader.store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `try_enter`.
        if self.state.compare_exchange(HELD, FREE, Ordering::Release, Ordering::Relaxed).is_err() {
            self.leave_slowly(watch, anything);
        }
    }

    /// Gives the lead up while the driver is parked, or threads queue.
    #[inline(never)] // The short way does not set up what this function needs.
    fn leave_slowly(&self, watch: &Watch, anything: impl Fn() -> bool) {
        // Relaxed: only the driver changes TAKEN, and the exchange below notices the change.
        let mut state = self.state.load(Ordering::Relaxed);
        if state & HOLDER == TAKEN {
            // The driver's mark is set before the lead is given up: from here on the peer wakes the
            // driver.
            watch.arm(Sleeper::Driver);
        }
        loop {
            let left = match state & HOLDER {
                TAKEN => state & !HOLDER | PARKED,
                _ => state & !HOLDER | FREE,
            };
            // Release: pairs with the Acquire in `try_enter`.
            match self.state.compare_exchange_weak(
                state,
                left,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if state & QUEUE != 0 && self.nominate() {
            return;
        }
        // If a message arrived before the driver's mark was set, its doorbell woke no thread, so
        // this thread looks. A nominated thread would look by itself.
        if state & HOLDER == TAKEN && anything() {
            self.wake_driver(watch);
        }
    }

    /// Parks the driver, which has the lead: any thread may take the lead while the driver sleeps
    /// on the doorbell.
    ///
    /// The driver arms the doorbell and looks at the ring before this call. After this call, the
    /// driver has the lead again.
    ///
    /// # Blocking
    ///
    /// - Until the peer rings the doorbell.
    /// - Until a thread calls [`wake_driver`](Self::wake_driver).
    /// - Until `deadline` passes.
    /// - Not in the kernel, if `interrupted` returns `true`.
    ///
    /// Then, if a thread has the lead, until that thread hands it on.
    ///
    /// # Errors
    ///
    /// The error of the futex call. The driver has the lead in that case, too.
    pub(crate) fn park(
        &self,
        watch: &Watch,
        deadline: Deadline,
        parker: &Arc<Parker>,
        interrupted: impl Fn() -> bool,
    ) -> std::io::Result<()> {
        // A thread that wakes the driver changes what `interrupted` reads, and then looks at
        // `asleep`. The driver does both the other way round, so one of the two threads sees the
        // other. The fence pairs with the fence in `wake_driver`.
        self.asleep.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.leader.store(0, Ordering::Relaxed);
        // HELD becomes PARKED, and the mark QUEUE stays. Release: pairs with the Acquire in
        // `try_enter`.
        let before = self.state.fetch_add(PARKED - HELD, Ordering::Release);
        debug_assert_eq!(before & HOLDER, HELD);
        if before & QUEUE != 0 {
            self.nominate();
        }
        let slept =
            if interrupted() { Ok(true) } else { watch.sleep(Sleeper::Driver, deadline.instant()) };
        // Relaxed: `wake_driver` may see the store late, and then wakes in vain.
        self.asleep.store(0, Ordering::Relaxed);
        // Relaxed: a guess, verified by the exchange below.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            // If the lead is TAKEN, a waiter has it. When the waiter leaves, it finds this thread
            // in the queue, and no parked driver.
            debug_assert!(matches!(state & HOLDER, PARKED | TAKEN));
            match self.state.compare_exchange_weak(
                state,
                state & !HOLDER | HELD,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if state & HOLDER == PARKED {
            self.leader.store(thread_token(), Ordering::Relaxed);
        } else {
            while self.wait_turn(watch, parker, Deadline::NEVER, || false) != LeadWait::Lead {}
        }
        slept.map(|_| ())
    }

    /// Wakes the driver if the driver sleeps, even if a hostile peer rewrites the doorbell
    /// meanwhile.
    ///
    /// The caller has changed before what makes the driver stay awake: what the driver's
    /// `interrupted` reads.
    pub(crate) fn wake_driver(&self, watch: &Watch) {
        // Either the driver sees that change, or this thread sees `asleep`. Pairs with the fence in
        // `park`.
        fence(Ordering::SeqCst);
        // The driver counts as asleep until it clears `asleep`. If the kernel finds no sleeper, the
        // driver is on its way into the kernel or out of it. So this thread tries again, until the
        // kernel has woken the driver, or `asleep` is clear.
        while self.asleep.load(Ordering::Relaxed) != 0 {
            match watch.wake_local(Sleeper::Driver) {
                Ok(0) => yield_now(),
                Ok(_) | Err(_) => break,
            }
        }
    }

    /// Returns `true` if a thread queues for the lead. A holder that has nothing to do should then
    /// leave.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        // Relaxed: a hint.
        self.state.load(Ordering::Relaxed) & QUEUE != 0
    }

    /// Waits for the lead, unless `done` returns `true` first: then the lead is not needed any
    /// more.
    ///
    /// # Blocking
    ///
    /// - Until this thread has the lead.
    /// - Until `done` returns `true`. The thread that makes `done` true notifies `parker`, or calls
    ///   [`notify_all`](Self::notify_all).
    /// - Until `deadline` passes.
    pub(crate) fn wait_turn(
        &self,
        watch: &Watch,
        parker: &Arc<Parker>,
        deadline: Deadline,
        done: impl FnMut() -> bool,
    ) -> LeadWait {
        self.wait_turn_unless(watch, parker, deadline, done, || false)
    }

    /// Waits for the lead as [`wait_turn`](Self::wait_turn) does, unless `awake` forbids the sleep.
    ///
    /// Calls `awake` before this thread goes to sleep, and once it has spun for long. If `awake`
    /// returns `true`, this thread looks at `done` again instead.
    pub(crate) fn wait_turn_unless(
        &self,
        watch: &Watch,
        parker: &Arc<Parker>,
        deadline: Deadline,
        mut done: impl FnMut() -> bool,
        mut awake: impl FnMut() -> bool,
    ) -> LeadWait {
        loop {
            if done() {
                return LeadWait::Done;
            }
            if self.try_enter(watch) {
                return LeadWait::Lead;
            }
            {
                let mut queue = lock(&self.queue);
                queue.push_back(parker.clone());
                // Under the lock, so that mark and queue agree. AcqRel: pairs with the Release in
                // `leave`.
                let state = self.state.fetch_or(QUEUE, Ordering::AcqRel);
                if matches!(state & HOLDER, FREE | PARKED) {
                    // The holder left in between, and did not see this thread in the queue.
                    self.remove(&mut queue, parker);
                    continue;
                }
            }
            // `done` is called again, now that a notification can reach this thread.
            let notified = done() || self.wait_for_notice(parker, deadline, &mut awake);
            let nominated = !self.remove(&mut lock(&self.queue), parker);
            if nominated && self.try_enter(watch) {
                return LeadWait::Lead;
            }
            if !notified {
                return if done() { LeadWait::Done } else { LeadWait::TimedOut };
            }
        }
    }

    /// Spins for a notification, then sleeps. Returns `false` if `deadline` passed first.
    ///
    /// The lead often changes hands within the time of a call, which is much shorter than a sleep
    /// and a wake-up.
    fn wait_for_notice(
        &self,
        parker: &Parker,
        deadline: Deadline,
        awake: &mut impl FnMut() -> bool,
    ) -> bool {
        // A strategy that never sleeps spins for as long as it takes. `awake` is called
        // nevertheless, once.
        let mut looks = 0_u32;
        let mut is_awake = || {
            looks = looks.saturating_add(1);
            looks == LOOKS && awake()
        };
        if self.spin.spin(deadline.instant(), || parker.is_notified() || is_awake()) {
            return !parker.is_notified() || parker.wait(deadline.instant());
        }
        if awake() {
            return true;
        }
        let start = Instant::now();
        let notified = parker.wait(deadline.instant());
        self.spin.slept(start.elapsed());
        notified
    }

    /// Wakes all threads that queue, so that each looks at what it waits for.
    pub(crate) fn notify_all(&self) {
        for parker in lock(&self.queue).iter() {
            parker.notify();
        }
    }

    /// Takes the first thread out of the queue, and wakes it. Returns `false` if the queue was
    /// empty.
    fn nominate(&self) -> bool {
        let mut queue = lock(&self.queue);
        let Some(first) = queue.pop_front() else { return false };
        if queue.is_empty() {
            // Relaxed: as in `remove`.
            self.state.fetch_and(!QUEUE, Ordering::Relaxed);
        }
        first.notify();
        true
    }

    /// Takes the thread of `parker` out of the queue. Returns `false` if the thread was not there:
    /// it was nominated.
    fn remove(&self, queue: &mut VecDeque<Arc<Parker>>, parker: &Arc<Parker>) -> bool {
        let Some(at) = queue.iter().position(|p| Arc::ptr_eq(p, parker)) else { return false };
        queue.remove(at);
        if queue.is_empty() {
            // Relaxed: under the lock of the queue; see `wait_turn_unless`.
            self.state.fetch_and(!QUEUE, Ordering::Relaxed);
        }
        true
    }
}
