//! Publishes messages, one at a time, in the order of their senders.
//!
//! The outbox does not wait for space. It publishes, it queues, and it decides which thread or
//! message has the next turn. The loops that wait for space are in `end/send.rs`.
//!
//! # What a change here must keep
//!
//! - The lock of [`Out`] protects the ring's sender, the holder of the turn and the queue. A change
//!   that lets a waiting thread go on is followed by [`Outbox::notify_all`], or, if it was made
//!   without the lock, by [`Outbox::notify`].
//! - A thread with the turn may free the lock in the midst of its message. Until the turn is passed
//!   on, no other thread publishes.
//! - While a message is queued, the turn is not free. So a later message cannot overtake a queued
//!   one.
//! - The bytes of unread answers and the list of wakers are outside of that lock. Tasks that wait
//!   for answers to be sent are ordered by the two fences of `poll_below_watermark` and
//!   `watermark_wakers`.

#[cfg(feature = "tokio")]
use std::sync::atomic::fence;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "tokio")]
use std::task::{Context, Poll, Waker};

use coprocess_ring::{ChannelError, Progress, Sender, Watch};

use crate::calls::in_flight::Claimer;
use crate::error::{Error, Step};
use crate::limits::{HIGH_WATERMARK_BYTES, UNREAD_BYTES};
use crate::send::send_queue::{Queued, Quota, SendQueue, TaskKey};
use crate::send::standstill::Standstill;
use crate::send::turn_queue::{Next, Ticket};
use crate::sync::lock;
use crate::time::deadline::Deadline;
use crate::wire::message::Message;

/// Says what becomes of a message for which there is no space now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// The message is not sent.
    Fail,
    /// The sender waits for space, until this deadline.
    Wait(Deadline),
    /// The message is queued, and sent in its turn. The sender does not wait.
    Queue(Quota),
}

/// Says which thread has the turn to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// No thread. Each thread that has the lock may publish. No message is queued.
    Free,
    /// One thread. The thread may wait for space without the lock, in the midst of its message.
    Taken,
    /// A waiting thread that was called. The thread that sends the queued messages waits until the
    /// turn comes back.
    Lent,
}

/// Proves that its thread has the turn to publish. No other thread publishes until the turn is
/// passed on.
#[derive(Debug)]
#[must_use = "without the turn being passed on, no thread sends any more"]
pub(crate) struct Turn(());

impl Turn {
    /// Copies the turn for a thread that is about to be started. If the start succeeds, the caller
    /// drops its own turn. If the start fails, the copy is dropped.
    pub(crate) fn for_thread(&self) -> Turn {
        Turn(())
    }
}

/// Holds the part of an outbox that is behind its lock.
#[derive(Debug)]
pub(crate) struct Out {
    sender: Sender,
    /// The right to claim entries for calls.
    pub(crate) claimer: Claimer,
    holder: Holder,
    /// While a message is in the queue, the turn is not free, and a thread goes on with the queue.
    queue: SendQueue,
    /// Since when the peer has taken nothing.
    standstill: Standstill,
    /// Messages that were published, those about types included.
    messages: u64,
    bytes: u64,
    /// Messages about types, which [`counters`](Outbox::counters) leaves out. Includes messages
    /// about types that are queued.
    uncounted: u64,
    uncounted_bytes: u64,
    waits_for_space: u64,
}

impl Out {
    /// Returns `true` if no thread has the turn.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        self.holder == Holder::Free
    }

    /// Takes the turn, which must be free.
    pub(crate) fn take_turn(&mut self) -> Turn {
        debug_assert_eq!(self.holder, Holder::Free);
        self.holder = Holder::Taken;
        Turn(())
    }

    /// Takes the turn if the turn is free, or if the thread with this ticket was called.
    pub(crate) fn try_take_turn(&mut self, ticket: Option<Ticket>) -> Option<Turn> {
        if ticket.is_some_and(|ticket| self.queue.turns.answer_call(ticket)) {
            return Some(Turn(()));
        }
        self.is_free().then(|| self.take_turn())
    }

    /// Enters this thread into the queue, unless `ticket` is in the queue. Returns the ticket to
    /// wait with.
    pub(crate) fn queue_up(&mut self, ticket: Option<Ticket>) -> Ticket {
        match ticket.filter(|ticket| self.queue.turns.knows(*ticket)) {
            Some(ticket) => ticket,
            None => self.queue.turns.enter(),
        }
    }

    /// Removes the thread with this ticket from the queue.
    pub(crate) fn leave_queue(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket.filter(|ticket| self.queue.turns.knows(*ticket)) {
            self.queue.turns.leave(ticket);
        }
    }

    /// Passes the turn on.
    ///
    /// Returns the turn if a queued message is next and no thread goes on with the queue. The
    /// caller then goes on with the queue, or has a thread do so. If this returns `None`, the
    /// caller [wakes](Outbox::notify_all) the threads that wait.
    pub(crate) fn pass_on(&mut self, turn: Turn) -> Option<Turn> {
        if self.queue.turns.is_message_next() {
            if self.holder == Holder::Lent {
                self.holder = Holder::Taken;
                return None;
            }
            return Some(turn);
        }
        if !matches!(self.queue.turns.next(), Next::Thread) {
            // The thread that has lent the turn finds, once the turn is back, that nothing is left
            // to send.
            self.holder = if self.holder == Holder::Lent { Holder::Taken } else { Holder::Free };
        }
        None
    }

    /// Frees the turn. The caller has found that no message is queued any more.
    pub(crate) fn release_turn(&mut self, turn: Turn) {
        let Turn(()) = turn;
        self.holder = Holder::Free;
    }

    /// Lends the turn to the waiting thread that was called. The caller waits until the turn is no
    /// longer [lent](Self::is_lent).
    pub(crate) fn lend_turn(&mut self) {
        self.holder = Holder::Lent;
    }

    /// Returns `true` until the thread that was called passes the turn on.
    pub(crate) fn is_lent(&self) -> bool {
        self.holder == Holder::Lent
    }

    /// Takes the first entry out of the queue; see [`SendQueue::next`].
    pub(crate) fn next_queued(&mut self) -> Next<Queued> {
        self.queue.next()
    }

    /// Publishes as much of a message as there is space for.
    #[inline]
    pub(crate) fn publish(&mut self, message: &Message<'_>) -> Result<Progress, ChannelError> {
        let progress = message.publish(&mut self.sender);
        if matches!(progress, Ok(Progress::Sent)) {
            self.messages = self.messages.wrapping_add(1);
            self.bytes = self.bytes.wrapping_add(message.bytes() as u64);
        }
        progress
    }

    /// Abandons a message of which a part may be published. The receiver drops that part.
    pub(crate) fn abandon(&mut self) {
        self.sender.abandon();
    }

    /// Checks that a message that may not wait has space in an empty ring.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the message does not fit even into an empty ring.
    pub(crate) fn check_at_once(&self, message: &Message<'_>) -> Step<()> {
        let (size, max) = (message.bytes(), self.sender.most_at_once());
        if size > max { Err(Error::TooLarge { size, max }.into()) } else { Ok(()) }
    }

    /// Returns when the wait of an event ends because the peer has no handler; see
    /// [`Standstill::ends_at`].
    pub(crate) fn unheard_at(&mut self, watch: &Watch) -> Deadline {
        self.standstill.ends_at(watch)
    }

    /// Counts a sender that found no space.
    pub(crate) fn count_wait(&mut self) {
        self.waits_for_space = self.waits_for_space.wrapping_add(1);
    }

    /// Returns `true` if a message of [`Quota::Own`] is queued, or is being sent.
    pub(crate) fn has_queued_own(&self) -> bool {
        self.queue.has_own()
    }

    /// Notes that a message of [`Quota::Own`] was sent. If `is_urgent`, has the peer look ahead for
    /// the message.
    pub(crate) fn sent_own(&mut self, is_urgent: bool) {
        if is_urgent {
            self.sender.urge();
        }
        self.queue.sent_own();
    }
}

/// Decides which message of an end is published next.
#[derive(Debug)]
pub(crate) struct Outbox {
    out: Mutex<Out>,
    /// One of these has happened:
    ///
    /// - The turn has become free, or was passed on.
    /// - The end is over.
    /// - The backlog is full.
    /// - Fewer answers are queued.
    changed: Condvar,
    /// Bytes of memory of the queued answers.
    unread: AtomicUsize,
    /// The tasks that have an answer to send once fewer answers are queued.
    #[cfg(feature = "tokio")]
    above_watermark: Mutex<Vec<Waker>>,
}

/// Counts what an end has sent.
pub(crate) struct Sent {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) waits_for_space: u64,
    pub(crate) wakeups: u64,
}

impl Outbox {
    pub(crate) fn new(sender: Sender, claimer: Claimer) -> Outbox {
        Outbox {
            out: Mutex::new(Out {
                sender,
                claimer,
                holder: Holder::Free,
                queue: SendQueue::new(),
                standstill: Standstill::default(),
                messages: 0,
                bytes: 0,
                uncounted: 0,
                uncounted_bytes: 0,
                waits_for_space: 0,
            }),
            changed: Condvar::new(),
            unread: AtomicUsize::new(0),
            #[cfg(feature = "tokio")]
            above_watermark: Mutex::default(),
        }
    }

    /// Locks the part of the outbox that is behind the lock. The lock is never held while a thread
    /// waits for space.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Out> {
        lock(&self.out)
    }

    /// Adds a message to the queue. `out` is the part of this outbox that is behind its lock.
    ///
    /// If the turn is free, the caller takes the turn, and goes on with the queue.
    pub(crate) fn queue(
        &self,
        out: &mut Out,
        message: Message<'static>,
        quota: Quota,
        key: Option<TaskKey>,
    ) {
        if quota.is_of_answers() {
            // Relaxed: see `is_above_watermark`.
            self.unread.fetch_add(message.cost(), Ordering::Relaxed);
        }
        out.queue.push(Queued { message, quota, key });
    }

    /// Notes that a queued answer of so many bytes of memory was sent. The caller
    /// [notifies](Self::notify) afterwards.
    pub(crate) fn sent_answer(&self, bytes: usize) {
        self.unread.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Drops all queued messages: the pair is over, and the peer reads nothing more.
    pub(crate) fn forget_queued(&self, out: &mut Out) {
        out.queue.clear();
        self.unread.store(0, Ordering::Relaxed);
    }

    /// Takes back a message of a task. Returns `true` if the message was queued.
    pub(crate) fn take_back(&self, key: TaskKey) -> bool {
        self.lock().queue.give_up(key)
    }

    /// Returns `true` if so many answers are queued that this end should take no more calls.
    #[inline]
    pub(crate) fn is_above_watermark(&self) -> bool {
        self.unread() >= HIGH_WATERMARK_BYTES
    }

    /// Returns `true` if the peer leaves more answers unread than any honest peer does.
    #[inline]
    pub(crate) fn has_too_much_unread(&self) -> bool {
        self.unread() >= UNREAD_BYTES
    }

    /// Returns the bytes of memory of the queued answers.
    #[inline]
    pub(crate) fn unread(&self) -> usize {
        // Relaxed: a bound that need not be exact.
        self.unread.load(Ordering::Relaxed)
    }

    /// Returns ready if the queued answers are below the high watermark. Otherwise keeps the waker
    /// of `context` for the thread that sends an answer.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_below_watermark(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_above_watermark() {
            // Cloned first: a waker is code of the program's, and runs under no lock.
            let waker = context.waker().clone();
            lock(&self.above_watermark).push(waker);
            // A thread that has sent an answer looks at the wakers afterwards. This task does both
            // the other way round, so one of the two sees the other. Pairs with the fence in
            // `watermark_wakers`.
            fence(Ordering::SeqCst);
            if self.is_above_watermark() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Takes the wakers of the tasks that wait for fewer queued answers, once there are fewer.
    ///
    /// Waking a task runs code of the program, so the caller wakes the tasks without any lock.
    #[cfg(feature = "tokio")]
    pub(crate) fn watermark_wakers(&self) -> Vec<Waker> {
        // After the change of `unread`, before the look at the wakers. Pairs with the fence in
        // `poll_below_watermark`.
        fence(Ordering::SeqCst);
        if self.is_above_watermark() {
            Vec::new()
        } else {
            std::mem::take(&mut *lock(&self.above_watermark))
        }
    }

    /// Leaves a message that was sent or queued out of the counters, since the message is about
    /// types.
    pub(crate) fn discount(&self, bytes: usize) {
        let mut out = self.lock();
        out.uncounted = out.uncounted.wrapping_add(1);
        out.uncounted_bytes = out.uncounted_bytes.wrapping_add(bytes as u64);
    }

    /// Has the peer look ahead for the message that was sent last. If that message is queued, the
    /// thread that sends it has the peer look ahead again.
    pub(crate) fn urge(&self) {
        self.lock().sender.urge();
    }

    /// Waits for a change. `out` is the guard of this outbox, which the wait frees and takes again.
    ///
    /// # Blocking
    ///
    /// - Until another thread calls [`notify_all`](Self::notify_all) or [`notify`](Self::notify).
    /// - Until `deadline` passes.
    /// - The wait may end for no reason, so the caller looks again.
    pub(crate) fn wait<'a>(
        &self,
        out: MutexGuard<'a, Out>,
        deadline: Deadline,
    ) -> MutexGuard<'a, Out> {
        match deadline.left() {
            None => self.changed.wait(out).unwrap_or_else(PoisonError::into_inner),
            Some(left) => {
                self.changed.wait_timeout(out, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Wakes the threads that wait for a change. The caller has made the change under the lock.
    pub(crate) fn notify_all(&self) {
        self.changed.notify_all();
    }

    /// Wakes the threads that wait for a change. The caller has made the change without the lock.
    pub(crate) fn notify(&self) {
        // The lock makes sure that no thread is between its look and its wait.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Tells the peer that nothing follows. Does not wait for a message that is under way.
    ///
    /// # Errors
    ///
    /// The error of the wake-up.
    pub(crate) fn close(&self) -> Result<(), ChannelError> {
        self.lock().sender.close()
    }

    /// Returns the counters, without the messages about types.
    pub(crate) fn counters(&self) -> Sent {
        let out = self.lock();
        let (messages, bytes) = (
            out.messages.saturating_sub(out.uncounted),
            out.bytes.saturating_sub(out.uncounted_bytes),
        );
        Sent {
            messages,
            bytes,
            waits_for_space: out.waits_for_space,
            wakeups: out.sender.wakeups(),
        }
    }
}
