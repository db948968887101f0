//! The receiving side of an end: what is in the ring, and what was moved out of it to make room.

use std::collections::VecDeque;

use coprocess_ring::{ChannelError, Receiver, Watch};

use crate::envelope::{Head, split};
use crate::pending::Completion;

/// Bytes of messages that may wait in the process for a thread to dispatch them.
pub(crate) const BACKLOG_BYTES: usize = 64 << 20;

/// A message that waits in the process.
#[derive(Debug)]
struct Stowed {
    words: Vec<u64>,
    bytes: usize,
}

impl Stowed {
    /// Bytes of memory.
    fn cost(&self) -> usize {
        self.words.capacity() * 8 + size_of::<Stowed>()
    }
}

#[derive(Debug)]
pub(crate) struct Inbox {
    receiver: Receiver,
    backlog: VecDeque<Stowed>,
    backlog_bytes: usize,
    /// Events that came while handlers were nested as deep as they may.
    deferred: VecDeque<Stowed>,
    /// Calls that were completed by a thread which must not run the user's code: tasks to wake and callbacks to run.
    pub(crate) completions: VecDeque<Completion>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Inbox {
    pub(crate) fn new(receiver: Receiver) -> Inbox {
        Inbox {
            receiver,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            deferred: VecDeque::new(),
            completions: VecDeque::new(),
            messages: 0,
            bytes: 0,
        }
    }

    /// Takes the next message into `buffer` and returns its length in bytes, if there is one. At the bound of nesting events that were
    /// deferred stay where they are.
    #[inline]
    pub(crate) fn pop(&mut self, buffer: &mut Vec<u64>, at_bound: bool) -> Result<Option<usize>, ChannelError> {
        if (!self.backlog.is_empty() || !self.deferred.is_empty())
            && let Some(bytes) = self.unstow(buffer, at_bound)
        {
            return Ok(Some(bytes));
        }
        let bytes = self.receiver.receive(buffer)?;
        if let Some(bytes) = bytes {
            self.messages += 1;
            self.bytes += bytes as u64;
        }
        Ok(bytes)
    }

    #[cold]
    fn unstow(&mut self, buffer: &mut Vec<u64>, at_bound: bool) -> Option<usize> {
        let deferred = if at_bound { None } else { self.deferred.pop_front() };
        let stowed = deferred.or_else(|| self.backlog.pop_front())?;
        self.backlog_bytes -= stowed.cost();
        *buffer = stowed.words;
        Some(stowed.bytes)
    }

    /// Puts an event back, for when handlers are less deeply nested.
    pub(crate) fn defer(&mut self, words: Vec<u64>, bytes: usize) {
        let stowed = Stowed { words, bytes };
        self.backlog_bytes += stowed.cost();
        self.deferred.push_back(stowed);
    }

    /// Moves what has arrived out of the ring, so that the other side has room to go on. Stops at the bound.
    pub(crate) fn stow(&mut self) -> Result<(), ChannelError> {
        self.stow_up_to(BACKLOG_BYTES)
    }

    fn stow_up_to(&mut self, bound: usize) -> Result<(), ChannelError> {
        while self.backlog_bytes < bound {
            let mut words = Vec::new();
            let Some(bytes) = self.receiver.receive(&mut words)? else { break };
            self.messages += 1;
            self.bytes += bytes as u64;
            words.shrink_to_fit();
            let stowed = Stowed { words, bytes };
            self.backlog_bytes += stowed.cost();
            self.backlog.push_back(stowed);
        }
        Ok(())
    }

    /// Whether the backlog has reached its bound.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog_bytes >= BACKLOG_BYTES
    }

    /// Takes all answers that have arrived, leaving calls and events in their order. `last`: nothing more will come, so all of it is looked at,
    /// whatever the bound.
    pub(crate) fn take_answers(&mut self, last: bool, mut take: impl FnMut(Vec<u64>, usize)) -> Result<(), ChannelError> {
        loop {
            self.stow_up_to(if last { usize::MAX } else { BACKLOG_BYTES })?;
            let was_full = self.is_full();
            for stowed in std::mem::take(&mut self.backlog) {
                if matches!(split(&stowed.words, stowed.bytes), Some((Head::Answer(_) | Head::Failure(..), _))) {
                    self.backlog_bytes -= stowed.cost();
                    take(stowed.words, stowed.bytes);
                } else {
                    self.backlog.push_back(stowed);
                }
            }
            // There may be more in the ring, if it was left there for want of room.
            if !was_full || self.is_full() {
                return Ok(());
            }
        }
    }

    /// Changes whenever a message is taken.
    pub(crate) fn progress(&self) -> (u64, usize) {
        (self.messages, self.backlog.len())
    }

    /// How many messages can have arrived, at most.
    pub(crate) fn at_most(&self) -> usize {
        self.backlog.len() + self.deferred.len() + self.receiver.slots()
    }

    /// Whether there is something to take, or an error to find by taking it.
    pub(crate) fn has_something(&self, watch: &Watch, at_bound: bool) -> bool {
        !self.backlog.is_empty()
            || !self.completions.is_empty()
            || !at_bound && !self.deferred.is_empty()
            || watch.has_come(self.receiver.next())
    }

    /// What to wait for, if nothing is there.
    pub(crate) fn next(&self) -> coprocess_ring::Next {
        self.receiver.next()
    }

    /// Tells a sender of the other side that waits for room to look again: this side has closed.
    pub(crate) fn close(&mut self) -> Result<(), ChannelError> {
        self.receiver.close()
    }

    /// Wake-up calls made into the kernel.
    pub(crate) fn wakeups(&self) -> u64 {
        self.receiver.wakeups()
    }
}
