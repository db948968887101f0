//! The lead: the right of one thread of an end to receive and dispatch, and how it is handed on.
//!
//! Whoever waits for something (an answer, the end of the pair) takes the lead if it is free and does the work for all; the others queue.
//! One thread, the *driver*, looks after the ring when nobody else does: it *dozes* in the kernel on the ring's bell, and while it
//! dozes the lead can be taken over and given back without waking it, by two writes to the bell and no system call.
//!
//! ```text
//!            enter                    enter
//!   FREE ────────────► HELD   PARKED ────────► TAKEN
//!     ▲                 │ ▲      ▲ │             │ │
//!     └──── leave ──────┘ │      │ └ woken ► HELD│ └─ the driver wakes: it queues ─► HELD
//!                         └ park ┘               └──── leave: bell re-armed, look at the ring ─► PARKED
//! ```
//!
//! # Why no hand-over is lost
//!
//! Occupant and "somebody queues" are one word, changed by read-modify-write operations only. A thread that queues sets the mark and
//! looks at the holder afterwards: if it sees the lead held, then the holder's leaving comes later in the order of that word, sees the mark and
//! *nominates* the first in the queue: takes it out and wakes it. A thread that was nominated always tries to enter, even if it has no
//! more use for the lead, so that its leaving nominates the next. If somebody barged in before it, then that one will leave later and
//! find whoever queues by then.
//!
//! A message that arrives while the lead changes hands: the one who leaves a dozing driver behind arms the bell *before* it gives up
//! the lead, then looks whether anything has come; see [`Lead::leave`]. `src/models/lead.rs` checks all this with loom.

use std::collections::VecDeque;
use std::time::Instant;

use coprocess_ring::{Sleeper, Watch};

use crate::sync::parker::Parker;
use crate::sync::{
    Arc, AtomicU32, AtomicUsize, Mutex, Ordering, Spin, fence, lock, thread_token, yield_now,
};
use crate::time::deadline::Deadline;

const HOLDER: u32 = 3;

/// Nobody leads.
const FREE: u32 = 0;

/// A thread leads, and no driver dozes.
const HELD: u32 = 1;

/// The driver dozes; the lead may be taken over.
const PARKED: u32 = 2;

/// A thread leads while the driver dozes.
const TAKEN: u32 = 3;

/// Somebody queues for the lead.
const QUEUE: u32 = 4;

/// How often a thread that queues looks whether it was notified, before it is treated as one that
/// is about to sleep: some tens of microseconds, about as long as a spin lasts that ends in a sleep.
const LOOKS: u32 = 1 << 14;

/// How waiting for a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeadWait {
    /// The lead is ours; leave it afterwards.
    Lead,
    /// What was waited for has happened.
    Done,
    /// The deadline passed.
    TimedOut,
}

#[derive(Debug)]
pub(crate) struct Lead {
    state: AtomicU32,
    /// Who leads, as [`thread_token`]; zero for nobody.
    leader: AtomicUsize,
    /// Whether the driver is, or is about to be, asleep in the kernel.
    asleep: AtomicU32,
    queue: Mutex<VecDeque<Arc<Parker>>>,
    spin: Spin,
}

impl Lead {
    /// `spin` is for those who queue.
    pub(crate) fn new(spin: Spin) -> Lead {
        Lead {
            state: AtomicU32::new(FREE),
            leader: AtomicUsize::new(0),
            asleep: AtomicU32::new(0),
            queue: Mutex::new(VecDeque::new()),
            spin,
        }
    }

    /// Whether this thread leads already: it is in a handler.
    #[inline]
    pub(crate) fn is_mine(&self) -> bool {
        // Relaxed: only this thread ever stores its own token.
        self.leader.load(Ordering::Relaxed) == thread_token()
    }

    /// Returns the thread that leads, as [`thread_token`]; zero if none does.
    ///
    /// That may have changed already, unless the leader is known to be asleep.
    pub(crate) fn leader(&self) -> usize {
        // Relaxed: the reader has synchronised with a leader that sleeps; see `crossing`.
        self.leader.load(Ordering::Relaxed)
    }

    /// Takes the lead if nobody has it, or if only a dozing driver has.
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
            // Acquire: what the last leader did; pairs with the Release in `leave` and `park`.
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
            // From here on this thread watches the ring: the other side need not wake anybody.
            watch.disarm();
        }
        // Relaxed: see `is_mine`.
        self.leader.store(thread_token(), Ordering::Relaxed);
        true
    }

    /// Gives the lead up. `anything` looks whether something has arrived that nobody has taken.
    #[inline]
    pub(crate) fn leave(&self, watch: &Watch, anything: impl Fn() -> bool) {
        // Relaxed: see `is_mine`.
        self.leader.store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `try_enter`.
        if self.state.compare_exchange(HELD, FREE, Ordering::Release, Ordering::Relaxed).is_err() {
            self.leave_slowly(watch, anything);
        }
    }

    #[inline(never)] // what it needs is not to be set up on the short way
    fn leave_slowly(&self, watch: &Watch, anything: impl Fn() -> bool) {
        // Relaxed: only the driver changes TAKEN, and the exchange below notices.
        let mut state = self.state.load(Ordering::Relaxed);
        if state & HOLDER == TAKEN {
            // The driver's mark goes up before the lead is given up: from here on the other side wakes the driver.
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
        // What arrived before the mark went up rang for nobody. A nominated thread would have found it by itself.
        if state & HOLDER == TAKEN && anything() {
            self.wake_driver(watch);
        }
    }

    /// Hands the lead from the driver, which holds it, to whoever comes, while the driver sleeps on the bell.
    ///
    /// Arm the bell and look at the ring first. Returns when the driver has the lead again: woken by the other side, by
    /// [`wake_driver`](Self::wake_driver), because `deadline` passed, or because `interrupted` said that it must not sleep.
    ///
    /// # Errors
    ///
    /// What the futex call says; the lead is held in that case too.
    pub(crate) fn park(
        &self,
        watch: &Watch,
        deadline: Deadline,
        parker: &Arc<Parker>,
        interrupted: impl Fn() -> bool,
    ) -> std::io::Result<()> {
        // Whoever disturbs changes what `interrupted` looks at and then looks at `asleep`: one of the two sees the other. The fence pairs
        // with the one in `wake_driver`.
        self.asleep.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.leader.store(0, Ordering::Relaxed);
        // HELD to PARKED, keeping the queue's mark. Release: pairs with the Acquire in `try_enter`.
        let before = self.state.fetch_add(PARKED - HELD, Ordering::Release);
        debug_assert_eq!(before & HOLDER, HELD);
        if before & QUEUE != 0 {
            self.nominate();
        }
        let slept =
            if interrupted() { Ok(true) } else { watch.sleep(Sleeper::Driver, deadline.instant()) };
        // Relaxed: `wake_driver` may see it late, and wakes in vain.
        self.asleep.store(0, Ordering::Relaxed);
        // Relaxed: a guess, verified by the exchange below.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            // Taken by a guest: it will find us in the queue, and no dozing driver, when it leaves.
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

    /// Wakes the driver if it sleeps. Also against a hostile other side that rewrites the bell: see the loop.
    pub(crate) fn wake_driver(&self, watch: &Watch) {
        // Pairs with the fence in `park`: the caller has changed what makes the driver stay awake.
        fence(Ordering::SeqCst);
        // It is asleep until it says otherwise. If the kernel finds nobody, it is on its way there or back: try again until either shows.
        while self.asleep.load(Ordering::Relaxed) != 0 {
            match watch.wake_local(Sleeper::Driver) {
                Ok(0) => yield_now(),
                Ok(_) | Err(_) => break,
            }
        }
    }

    /// Whether somebody queues for the lead: the holder, if it has nothing to do, may as well leave.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        // Relaxed: a hint.
        self.state.load(Ordering::Relaxed) & QUEUE != 0
    }

    /// Waits until the lead is ours or `done` says that it is not needed any more. Whoever makes `done` true notifies `parker`.
    pub(crate) fn wait_turn(
        &self,
        watch: &Watch,
        parker: &Arc<Parker>,
        deadline: Deadline,
        done: impl FnMut() -> bool,
    ) -> LeadWait {
        self.wait_turn_unless(watch, parker, deadline, done, || false)
    }

    /// As [`wait_turn`](Self::wait_turn). `awake` is called before this thread goes to sleep, or while
    /// it spins for long: if it returns `true`, the thread looks at `done` again instead.
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
                // Under the lock, so that mark and queue agree. AcqRel: pairs with the Release in `leave`.
                let state = self.state.fetch_or(QUEUE, Ordering::AcqRel);
                if matches!(state & HOLDER, FREE | PARKED) {
                    // It was left in between, and nobody saw us.
                    self.remove(&mut queue, parker);
                    continue;
                }
            }
            // Again, now that a notification can reach us.
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

    /// The lead often changes hands within a call's time, much less than it takes to go to sleep and be woken.
    fn wait_for_notice(
        &self,
        parker: &Parker,
        deadline: Deadline,
        awake: &mut impl FnMut() -> bool,
    ) -> bool {
        // A strategy that never sleeps spins for as long as it takes: that is no reason not to ask.
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

    /// Wakes all that queue, so that they look at what they wait for.
    pub(crate) fn notify_all(&self) {
        for parker in lock(&self.queue).iter() {
            parker.notify();
        }
    }

    /// Takes the first out of the queue and wakes it. Returns false if there was none.
    fn nominate(&self) -> bool {
        let mut queue = lock(&self.queue);
        let Some(first) = queue.pop_front() else { return false };
        if queue.is_empty() {
            self.state.fetch_and(!QUEUE, Ordering::Relaxed);
        }
        first.notify();
        true
    }

    /// Takes `parker` out of the queue. Returns false if it was not there.
    fn remove(&self, queue: &mut VecDeque<Arc<Parker>>, parker: &Arc<Parker>) -> bool {
        let Some(at) = queue.iter().position(|p| Arc::ptr_eq(p, parker)) else { return false };
        queue.remove(at);
        if queue.is_empty() {
            // Relaxed: under the lock of the queue; see `wait_turn`.
            self.state.fetch_and(!QUEUE, Ordering::Relaxed);
        }
        true
    }
}
