//! Bounds the messages that wait for space in the ring, among the threads that wait, and counts the
//! memory that the messages take.
//!
//! The lock of the outbox protects the queue. A task gives its message up by its key alone:
//! `wanted` loses the key, and the message stays where it is. So giving up costs no search of the
//! queue, and a message without its key in `wanted` is never sent.

use rustc_hash::FxHashSet;

use crate::calls::ids::PendingEmitId;
use crate::limits::CLEAR_QUEUE_BYTES;
use crate::send::turn_queue::{Next, TurnQueue};
use crate::wire::header::CallId;
use crate::wire::message::Message;

/// Says what bounds how many messages of a kind are queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quota {
    /// Answers of threads that dispatch, which the peer leaves unread. Above a bound, the pair
    /// ends.
    Answers,
    /// Answers of tasks. They count as [`Answers`](Self::Answers), but do not end the pair. Each
    /// task has waited until not too many answers were queued. Other tasks may have waited with it,
    /// and all go on at once.
    #[cfg(feature = "tokio")]
    TaskAnswers,
    /// Messages that this end bounds by itself, whatever the peer does: values, of which each gauge
    /// keeps one, and cancels, of which there are no more than calls that were sent.
    Own,
    /// Calls and events of tasks. Each is queued for as long as its task waits for it.
    Tasks,
}

impl Quota {
    /// Returns `true` if messages of this kind count as answers that the peer leaves unread.
    pub(crate) fn is_of_answers(self) -> bool {
        match self {
            Quota::Answers => true,
            #[cfg(feature = "tokio")]
            Quota::TaskAnswers => true,
            Quota::Own | Quota::Tasks => false,
        }
    }
}

/// Names a queued message of a task, which may give the message up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TaskKey {
    Call(CallId),
    Event(PendingEmitId),
}

/// Holds a message that is sent in its turn, once there is space.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: Message<'static>,
    pub(crate) quota: Quota,
    /// `None` if the message is of no task, and so cannot be given up.
    pub(crate) key: Option<TaskKey>,
}

/// Holds the queued messages of an end, with the threads that wait for their turn.
#[derive(Debug)]
pub(crate) struct SendQueue {
    /// The queued messages, and the threads that wait for their turn.
    pub(crate) turns: TurnQueue<Queued>,
    /// The queued messages of tasks that were not given up.
    wanted: FxHashSet<TaskKey>,
    /// Bytes of memory of the messages of tasks. Includes messages that were given up since the
    /// queue was last cleared of them.
    task_bytes: usize,
    /// The bytes of messages of tasks at which the queue is cleared of messages that were given up.
    clear_at: usize,
    /// The number of messages of [`Quota::Own`]. Includes the message that is being sent.
    own: usize,
}

impl SendQueue {
    pub(crate) fn new() -> SendQueue {
        let turns = TurnQueue::new();
        SendQueue {
            turns,
            wanted: FxHashSet::default(),
            task_bytes: 0,
            clear_at: CLEAR_QUEUE_BYTES,
            own: 0,
        }
    }

    /// Adds a message at the end of the queue.
    pub(crate) fn push(&mut self, queued: Queued) {
        if let Some(key) = queued.key {
            self.task_bytes = self.task_bytes.saturating_add(queued.message.cost());
            self.wanted.insert(key);
        }
        if queued.quota == Quota::Own {
            self.own = self.own.saturating_add(1);
        }
        self.turns.push(queued);
        // A task that gives up leaves its message behind. The queue is cleared of such messages
        // when they may be the greater part.
        if self.task_bytes >= self.clear_at {
            self.clear_given_up();
        }
    }

    /// Removes the messages of tasks that have given up. Clears again at twice the bytes that are
    /// left, so clearing costs each message little.
    #[cold]
    fn clear_given_up(&mut self) {
        let SendQueue { turns, wanted, .. } = self;
        turns.retain_messages(|queued| queued.key.is_none_or(|key| wanted.contains(&key)));
        let of_tasks = turns.messages().filter(|queued| queued.key.is_some());
        self.task_bytes =
            of_tasks.fold(0, |bytes: usize, queued| bytes.saturating_add(queued.message.cost()));
        self.clear_at = CLEAR_QUEUE_BYTES.max(self.task_bytes.saturating_mul(2));
    }

    /// Takes the first entry that was not given up out of the queue.
    pub(crate) fn next(&mut self) -> Next<Queued> {
        loop {
            let next = self.turns.next();
            if let Next::Message(Queued { message, key: Some(key), .. }) = &next {
                self.task_bytes = self.task_bytes.saturating_sub(message.cost());
                if !self.wanted.remove(key) {
                    continue;
                }
            }
            return next;
        }
    }

    /// Notes that a message of [`Quota::Own`] was sent.
    pub(crate) fn sent_own(&mut self) {
        self.own = self.own.saturating_sub(1);
    }

    /// Returns `true` if a message of [`Quota::Own`] is queued, or is being sent.
    pub(crate) fn has_own(&self) -> bool {
        self.own > 0
    }

    /// Gives up a message of a task. Returns `true` if the message was queued.
    ///
    /// The message stays in the queue until its turn comes, or until the queue is cleared of it.
    pub(crate) fn give_up(&mut self, key: TaskKey) -> bool {
        self.wanted.remove(&key)
    }

    /// Drops all messages, and lets each waiting thread try.
    pub(crate) fn clear(&mut self) {
        self.turns.clear();
        self.wanted.clear();
        self.task_bytes = 0;
        self.own = 0;
    }
}
