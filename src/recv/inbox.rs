//! Receives messages: from the ring, and from the backlog, which holds what was moved out of the
//! ring to make space.

use std::collections::VecDeque;

use coprocess_ring::{ChannelError, Receiver, Watch};

use crate::calls::in_flight::Completion;
use crate::limits::BACKLOG_BYTES;
use crate::wire::header::{Header, URGENT_WORDS, split};

/// Bounds the messages that a thread looks at with the inbox in hand, before other threads have it.
const LOOKS: usize = 4096;

/// Holds a message that waits in the process.
#[derive(Debug)]
struct Stowed {
    words: Vec<u64>,
    bytes: usize,
}

impl Stowed {
    /// Returns the bytes of memory that the message costs: its content with the allocator's
    /// overhead, and its entry in a queue that may be only half full.
    fn cost(&self) -> usize {
        const OVERHEAD: usize = 16 + 2 * size_of::<Stowed>();
        self.words.capacity().saturating_mul(8).saturating_add(OVERHEAD)
    }
}

/// Says what a thread finds that takes only answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Popped {
    /// Nothing has arrived.
    Nothing,
    /// An answer, of so many bytes.
    Answer(usize),
    /// Another message comes first.
    Other,
}

/// Says which answers a thread takes ahead of the messages before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// All answers, whatever the bound of the backlog, since nothing more will come.
    Last,
    /// All answers.
    Any,
    /// The answers that stand before the first event and the first value of a gauge.
    OfCalls,
}

/// Holds the messages of the peer that no thread has taken yet.
#[derive(Debug)]
pub(crate) struct Inbox {
    receiver: Receiver,
    backlog: VecDeque<Stowed>,
    /// The number of messages at the front of the backlog that are known to be no answers.
    sifted: usize,
    backlog_bytes: usize,
    /// The number of messages at the front of the backlog that are known to be no events, and no
    /// values of gauges.
    eventless: usize,
    /// The number of messages at the front of the backlog that were searched for cancels.
    looked_at: usize,
    /// Events that came while handlers were nested as deep as they may be.
    deferred_events: VecDeque<Stowed>,
    /// Completed calls with user code to run: tasks to wake and callbacks to run. The thread that
    /// completed them must not run user code.
    pub(crate) completions: VecDeque<Completion>,
    messages: u64,
    bytes: u64,
    /// Messages about types, which [`counters`](Self::counters) leaves out.
    uncounted: u64,
    uncounted_bytes: u64,
}

impl Inbox {
    pub(crate) fn new(receiver: Receiver) -> Inbox {
        Inbox {
            receiver,
            backlog: VecDeque::new(),
            sifted: 0,
            backlog_bytes: 0,
            eventless: 0,
            looked_at: 0,
            deferred_events: VecDeque::new(),
            completions: VecDeque::new(),
            messages: 0,
            bytes: 0,
            uncounted: 0,
            uncounted_bytes: 0,
        }
    }

    /// Takes the next message into `buffer` and returns its length in bytes, if there is a message.
    ///
    /// At the bound of nesting, events that were deferred stay where they are.
    #[inline]
    pub(crate) fn pop(
        &mut self,
        buffer: &mut Vec<u64>,
        at_bound: bool,
    ) -> Result<Option<usize>, ChannelError> {
        if (!self.backlog.is_empty() || !self.deferred_events.is_empty())
            && let Some(bytes) = self.unstow(buffer, at_bound)
        {
            return Ok(Some(bytes));
        }
        let bytes = self.receiver.receive(buffer)?;
        if let Some(bytes) = bytes {
            self.count(bytes);
        }
        Ok(bytes)
    }

    /// Takes the next message into `buffer` if the message is an answer. Any other message goes to
    /// the backlog, for a thread that dispatches.
    pub(crate) fn pop_answer(&mut self, buffer: &mut Vec<u64>) -> Result<Popped, ChannelError> {
        if !self.is_first() {
            return Ok(Popped::Other);
        }
        let Some(bytes) = self.receiver.receive(buffer)? else { return Ok(Popped::Nothing) };
        self.count(bytes);
        if matches!(
            split(buffer, bytes),
            Some((Header::Answer(_) | Header::DescribedAnswer(..) | Header::Failure(..), _))
        ) {
            return Ok(Popped::Answer(bytes));
        }
        let mut words = std::mem::take(buffer);
        words.shrink_to_fit();
        self.push_back(words, bytes);
        // The backlog holds only this message, which is no answer.
        self.sifted = self.backlog.len();
        Ok(Popped::Other)
    }

    /// Returns `true` if the next message is in the ring, and nothing comes before it.
    pub(crate) fn is_first(&self) -> bool {
        self.backlog.is_empty() && self.deferred_events.is_empty() && self.completions.is_empty()
    }

    #[inline]
    fn count(&mut self, bytes: usize) {
        self.messages = self.messages.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
    }

    /// Takes a message of the library itself out of the count.
    pub(crate) fn discount(&mut self, bytes: usize) {
        self.uncounted = self.uncounted.wrapping_add(1);
        self.uncounted_bytes = self.uncounted_bytes.wrapping_add(bytes as u64);
    }

    /// Returns the number of messages that were taken out of the ring, and their bytes.
    pub(crate) fn counters(&self) -> (u64, u64) {
        (self.messages.wrapping_sub(self.uncounted), self.bytes.wrapping_sub(self.uncounted_bytes))
    }

    #[cold]
    fn unstow(&mut self, buffer: &mut Vec<u64>, at_bound: bool) -> Option<usize> {
        let deferred = if at_bound { None } else { self.deferred_events.pop_front() };
        let stowed = match deferred {
            Some(deferred) => deferred,
            None => {
                self.sifted = self.sifted.saturating_sub(1);
                self.looked_at = self.looked_at.saturating_sub(1);
                self.eventless = self.eventless.saturating_sub(1);
                self.backlog.pop_front()?
            }
        };
        self.backlog_bytes = self.backlog_bytes.saturating_sub(stowed.cost());
        *buffer = stowed.words;
        Some(stowed.bytes)
    }

    /// Looks for urgent messages among those that have arrived since the last look, up to a bound.
    /// Returns `true` if it has looked at all of them.
    pub(crate) fn look_ahead(&mut self, mut found: impl FnMut(Header<'_>)) -> bool {
        let mut see = |words: &[u64], bytes| {
            if let Some((header, _)) = split(words, bytes) {
                found(header);
            }
        };
        let mut looks = LOOKS;
        for stowed in self.backlog.range(self.looked_at..).take(LOOKS) {
            see(&stowed.words, stowed.bytes);
            looks = looks.saturating_sub(1);
        }
        self.looked_at = self.looked_at.saturating_add(LOOKS.wrapping_sub(looks));
        self.looked_at >= self.backlog.len()
            && self
                .receiver
                .look_ahead(looks, URGENT_WORDS, |words| see(words, URGENT_WORDS.wrapping_mul(8)))
    }

    /// Puts an event back, until handlers are less deeply nested.
    pub(crate) fn defer(&mut self, words: Vec<u64>, bytes: usize) {
        let stowed = Stowed { words, bytes };
        self.backlog_bytes = self.backlog_bytes.saturating_add(stowed.cost());
        self.deferred_events.push_back(stowed);
    }

    /// Moves messages out of the ring into the backlog, so that the peer has space to go on.
    ///
    /// Stops at the bound, or when all messages that were there are out. Returns `true` if none was
    /// left. A peer that goes on and on must not keep this thread from looking at the clock, nor
    /// other threads from the inbox.
    pub(crate) fn stow(&mut self) -> Result<bool, ChannelError> {
        let start = self.receiver.position();
        while self.backlog_bytes < BACKLOG_BYTES {
            if !self.stow_one()? {
                return Ok(true);
            }
            if self.receiver.position().wrapping_sub(start) >= self.receiver.slots() as u64 {
                break;
            }
        }
        Ok(false)
    }

    /// Moves a message, if there is one.
    fn stow_one(&mut self) -> Result<bool, ChannelError> {
        let mut words = Vec::new();
        let Some(bytes) = self.receiver.receive(&mut words)? else { return Ok(false) };
        self.count(bytes);
        words.shrink_to_fit();
        self.push_back(words, bytes);
        Ok(true)
    }

    fn push_back(&mut self, words: Vec<u64>, bytes: usize) {
        let stowed = Stowed { words, bytes };
        self.backlog_bytes = self.backlog_bytes.saturating_add(stowed.cost());
        self.backlog.push_back(stowed);
    }

    /// Returns `true` if the backlog has reached its bound.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog_bytes >= BACKLOG_BYTES
    }

    /// Takes note that nothing more will come: the peer has closed, or has ended.
    pub(crate) fn expect_end(&mut self) {
        self.receiver.expect_end();
    }

    /// Takes answers that have arrived, and leaves calls and events in their order.
    pub(crate) fn take_answers(
        &mut self,
        ahead: Ahead,
        mut take: impl FnMut(Vec<u64>, usize),
    ) -> Result<(), ChannelError> {
        let last = ahead == Ahead::Last;
        if last {
            self.expect_end();
        }
        let start = self.receiver.position();
        loop {
            if last {
                while self.stow_one()? {}
            } else {
                self.stow()?;
            }
            let was_full = self.is_full();
            // The messages behind the answers change their places.
            self.looked_at = self.looked_at.min(self.sifted);
            let until =
                if ahead == Ahead::OfCalls { self.before_events() } else { self.backlog.len() };
            if until > self.sifted {
                let behind = self.backlog.split_off(until);
                // Looks at each message once. If the peer's messages fill the backlog, the threads
                // that wait must not each go through all of it.
                for stowed in self.backlog.split_off(self.sifted) {
                    if matches!(
                        split(&stowed.words, stowed.bytes),
                        Some((
                            Header::Answer(_) | Header::DescribedAnswer(..) | Header::Failure(..),
                            _
                        ))
                    ) {
                        self.backlog_bytes = self.backlog_bytes.saturating_sub(stowed.cost());
                        take(stowed.words, stowed.bytes);
                    } else {
                        self.backlog.push_back(stowed);
                    }
                }
                // The messages behind the answers have changed their places.
                self.eventless = if ahead == Ahead::OfCalls {
                    self.backlog.len()
                } else {
                    self.eventless.min(self.sifted)
                };
                self.sifted = self.backlog.len();
                self.backlog.extend(behind);
            }
            // If the backlog was full, more messages may have been left in the ring. This loop
            // takes the messages that were there when it began. It does not take what a peer that
            // sends only answers adds all the time.
            let all = self.receiver.position().wrapping_sub(start)
                >= (self.receiver.slots() as u64).wrapping_mul(2);
            if !was_full || self.is_full() || all {
                return Ok(());
            }
        }
    }

    /// Returns how many messages of the backlog come before the first event, or value of a gauge.
    fn before_events(&mut self) -> usize {
        if !self.deferred_events.is_empty() {
            return 0;
        }
        while let Some(stowed) = self.backlog.get(self.eventless)
            && !matches!(
                split(&stowed.words, stowed.bytes),
                Some((Header::Event(_) | Header::Gauge(..), _))
            )
        {
            self.eventless = self.eventless.saturating_add(1);
        }
        self.eventless
    }

    /// Returns a value that changes whenever a message is taken.
    pub(crate) fn progress(&self) -> (u64, usize) {
        (self.messages, self.backlog.len())
    }

    /// Returns how many messages were taken to be dispatched.
    pub(crate) fn dispatched(&self) -> u64 {
        self.messages
            .wrapping_sub(self.backlog.len() as u64)
            .wrapping_sub(self.deferred_events.len() as u64)
    }

    /// Returns an upper bound of the messages that have arrived.
    pub(crate) fn at_most(&self) -> usize {
        self.backlog
            .len()
            .saturating_add(self.deferred_events.len())
            .saturating_add(self.receiver.slots())
    }

    /// Returns `true` if there is something to take, or an error to find by taking.
    pub(crate) fn has_something(&self, watch: &Watch, at_bound: bool) -> bool {
        !self.backlog.is_empty()
            || !self.completions.is_empty()
            || !at_bound && !self.deferred_events.is_empty()
            || watch.has_come(self.receiver.next_frame())
    }

    /// Returns what to wait for, if nothing is there.
    pub(crate) fn next(&self) -> coprocess_ring::NextFrame {
        self.receiver.next_frame()
    }

    /// Tells a sender of the peer that waits for space to look again: this end has closed.
    pub(crate) fn close(&mut self) -> Result<(), ChannelError> {
        self.receiver.close()
    }

    /// Returns the number of wake-up calls made into the kernel.
    pub(crate) fn wakeups(&self) -> u64 {
        self.receiver.wakeups()
    }
}
