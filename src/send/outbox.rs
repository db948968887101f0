//! What an end sends: one message at a time, in the order of the senders.
//!
//! The outbox decides, and does not wait for space: it publishes, it queues, and it says whose turn is
//! next. The loops that wait are in `end/send.rs`.

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

/// What becomes of a message for which there is no space now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// The message is not sent.
    Fail,
    /// The sender waits for space, until this moment or for ever.
    Wait(Deadline),
    /// The message is queued, and sent in its turn. The sender goes on.
    Queue(Quota),
}

/// Whose turn it is to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Each thread that has the lock may publish. No message is queued.
    Free,
    /// One thread has the turn. It may wait for space without the lock, in the midst of its message.
    Taken,
    /// A waiting thread has the turn. The thread that sends the queued messages waits until it comes
    /// back.
    Lent,
}

/// The turn to publish: no other thread publishes until it is passed on.
#[derive(Debug)]
#[must_use = "without the turn being passed on, no thread sends any more"]
pub(crate) struct Turn(());

impl Turn {
    /// Returns the turn for a thread that is about to be started, if the start succeeds. One of the two
    /// is to be dropped.
    pub(crate) fn for_thread(&self) -> Turn {
        Turn(())
    }
}

/// The part of an outbox that is behind its lock.
#[derive(Debug)]
pub(crate) struct Out {
    sender: Sender,
    /// The right to claim entries for calls.
    pub(crate) claimer: Claimer,
    holder: Holder,
    /// While a message is in it, the turn is taken, and a thread goes on with the queue.
    queue: SendQueue,
    /// For how long the peer has taken nothing.
    standstill: Standstill,
    messages: u64,
    bytes: u64,
    /// Of these, the messages about types. Includes those that are queued.
    uncounted: u64,
    uncounted_bytes: u64,
    waits_for_space: u64,
}

impl Out {
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        self.holder == Holder::Free
    }

    /// Takes the turn, which is free.
    pub(crate) fn take_turn(&mut self) -> Turn {
        debug_assert_eq!(self.holder, Holder::Free);
        self.holder = Holder::Taken;
        Turn(())
    }

    /// Takes the turn if it is free, or if a thread with this ticket was called.
    pub(crate) fn try_take_turn(&mut self, ticket: Option<Ticket>) -> Option<Turn> {
        if ticket.is_some_and(|ticket| self.queue.turns.answer_call(ticket)) {
            return Some(Turn(()));
        }
        self.is_free().then(|| self.take_turn())
    }

    /// Enters the queue, unless `ticket` is in it. Returns the ticket to wait with.
    pub(crate) fn queue_up(&mut self, ticket: Option<Ticket>) -> Ticket {
        match ticket.filter(|ticket| self.queue.turns.knows(*ticket)) {
            Some(ticket) => ticket,
            None => self.queue.turns.enter(),
        }
    }

    /// Leaves the queue.
    pub(crate) fn leave_queue(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket.filter(|ticket| self.queue.turns.knows(*ticket)) {
            self.queue.turns.leave(ticket);
        }
    }

    /// Passes the turn on. Returns the turn if a queued message is next and no thread goes on with the
    /// queue: the caller then does, or has a thread do so. Otherwise the caller
    /// [wakes](Outbox::notify_all) the threads that wait.
    pub(crate) fn pass_on(&mut self, turn: Turn) -> Option<Turn> {
        if self.queue.turns.is_message_next() {
            if self.holder == Holder::Lent {
                self.holder = Holder::Taken;
                return None;
            }
            return Some(turn);
        }
        if !matches!(self.queue.turns.next(), Next::Thread) {
            // A thread that waits for the turn to come back finds that nothing is left to send.
            self.holder = if self.holder == Holder::Lent { Holder::Taken } else { Holder::Free };
        }
        None
    }

    /// Ends the turn: no message is queued any more.
    pub(crate) fn release_turn(&mut self, turn: Turn) {
        let Turn(()) = turn;
        self.holder = Holder::Free;
    }

    /// Lends the turn to the waiting thread that was called.
    pub(crate) fn lend_turn(&mut self) {
        self.holder = Holder::Lent;
    }

    pub(crate) fn is_lent(&self) -> bool {
        self.holder == Holder::Lent
    }

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

    /// Abandons a message of which a part is published: the receiver drops that part.
    pub(crate) fn abandon(&mut self) {
        self.sender.abandon();
    }

    /// Fails if a message that may not wait has no space even in an empty ring.
    pub(crate) fn check_at_once(&self, message: &Message<'_>) -> Step<()> {
        let (size, max) = (message.bytes(), self.sender.most_at_once());
        if size > max { Err(Error::TooLarge { size, max }.into()) } else { Ok(()) }
    }

    /// Returns when the wait of an event ends since the peer has no handler; see [`Standstill::ends_at`].
    pub(crate) fn unheard_at(&mut self, watch: &Watch) -> Deadline {
        self.standstill.ends_at(watch)
    }

    /// Counts a sender that found no space.
    pub(crate) fn count_wait(&mut self) {
        self.waits_for_space = self.waits_for_space.wrapping_add(1);
    }

    pub(crate) fn has_queued_own(&self) -> bool {
        self.queue.has_own()
    }

    /// Notes that a message of [`Quota::Own`] was sent.
    pub(crate) fn sent_own(&mut self, is_urgent: bool) {
        if is_urgent {
            self.sender.urge();
        }
        self.queue.sent_own();
    }
}

#[derive(Debug)]
pub(crate) struct Outbox {
    out: Mutex<Out>,
    /// The turn has become free, or was passed on; or the end is over, or the backlog is full, or fewer
    /// answers are queued.
    changed: Condvar,
    /// Bytes of memory of the answers that are queued.
    unread: AtomicUsize,
    /// Tasks that have an answer to send once fewer answers are queued.
    #[cfg(feature = "tokio")]
    above_watermark: Mutex<Vec<Waker>>,
}

/// Counters of the sending side.
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

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Out> {
        lock(&self.out)
    }

    /// Queues a message. `out` is the part of this outbox behind its lock.
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

    /// Notes that a queued answer of so many bytes of memory was sent.
    pub(crate) fn sent_answer(&self, bytes: usize) {
        self.unread.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Forgets what is queued: no peer will read it.
    pub(crate) fn forget_queued(&self, out: &mut Out) {
        out.queue.clear();
        self.unread.store(0, Ordering::Relaxed);
    }

    /// Takes back a message of a task, if it is queued. Returns whether it was.
    pub(crate) fn take_back(&self, key: TaskKey) -> bool {
        self.lock().queue.give_up(key)
    }

    /// Returns `true` if so many answers are queued that no more calls should be taken.
    #[inline]
    pub(crate) fn is_above_watermark(&self) -> bool {
        self.unread() >= HIGH_WATERMARK_BYTES
    }

    /// Returns `true` if the peer leaves more answers unread than any honest peer.
    #[inline]
    pub(crate) fn is_unread(&self) -> bool {
        self.unread() >= UNREAD_BYTES
    }

    /// Returns the bytes of memory of the answers that are queued.
    #[inline]
    pub(crate) fn unread(&self) -> usize {
        // Relaxed: a bound that need not be exact.
        self.unread.load(Ordering::Relaxed)
    }

    /// Ready once fewer answers are queued than are too many.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_below_watermark(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_above_watermark() {
            lock(&self.above_watermark).push(context.waker().clone());
            // Fence: a thread that sends an answer looks at the crowd afterwards; one of the two sees the
            // other. Pairs with the fence in `watermark_wakers`.
            fence(Ordering::SeqCst);
            if self.is_above_watermark() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Returns the tasks that are to look whether answers are still too many. Waking a task runs code of
    /// the program's: not under a lock.
    #[cfg(feature = "tokio")]
    pub(crate) fn watermark_wakers(&self) -> Vec<Waker> {
        // Pairs with the fence in `poll_below_watermark`.
        fence(Ordering::SeqCst);
        if self.is_above_watermark() {
            Vec::new()
        } else {
            std::mem::take(&mut *lock(&self.above_watermark))
        }
    }

    /// Does not count a message that was sent or queued: it is about types.
    pub(crate) fn discount(&self, bytes: usize) {
        let mut out = self.lock();
        out.uncounted = out.uncounted.wrapping_add(1);
        out.uncounted_bytes = out.uncounted_bytes.wrapping_add(bytes as u64);
    }

    /// Has the peer look ahead for the message that was sent last. For a queued message this is done
    /// again when it is sent.
    pub(crate) fn urge(&self) {
        self.lock().sender.urge();
    }

    /// Waits for a change, until `deadline`. `out` is the guard of this outbox.
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

    /// Wakes the threads that wait for a change which was made under the lock.
    pub(crate) fn notify_all(&self) {
        self.changed.notify_all();
    }

    /// Wakes the threads that wait for a change which was made without the lock.
    pub(crate) fn notify(&self) {
        // The lock makes sure that no thread is between its look and its wait.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Says that nothing follows. Does not wait for a message that is under way.
    pub(crate) fn close(&self) -> Result<(), ChannelError> {
        self.lock().sender.close()
    }

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
