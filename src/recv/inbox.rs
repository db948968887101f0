//! The receiving side of an end: what is in the ring, and what was moved out of it to make room.

use std::collections::VecDeque;

use coprocess_ring::{ChannelError, Receiver, Watch};

use crate::calls::in_flight::Completion;
use crate::limits::BACKLOG_BYTES;
use crate::wire::header::{Header, URGENT_WORDS, split};

/// Messages that are looked at with the inbox in hand before others have it.
const LOOKS: usize = 4096;

/// A message that waits in the process.
#[derive(Debug)]
struct Stowed {
    words: Vec<u64>,
    bytes: usize,
}

impl Stowed {
    /// Bytes of memory: its content with what the allocator adds, and its place in a queue that may be only half full.
    fn cost(&self) -> usize {
        const OVERHEAD: usize = 16 + 2 * size_of::<Stowed>();
        self.words.capacity().saturating_mul(8).saturating_add(OVERHEAD)
    }
}

/// What a thread finds that takes nothing but answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Popped {
    /// Nothing has come.
    Nothing,
    /// An answer, of so many bytes.
    Answer(usize),
    /// Something else comes first.
    Other,
}

/// Which answers a thread takes ahead of the messages before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// All, since nothing more will come: whatever the bound of the backlog.
    Last,
    /// All.
    Any,
    /// Those that no event comes before, nor the value of a gauge.
    OfCalls,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    receiver: Receiver,
    backlog: VecDeque<Stowed>,
    /// The first so many of the backlog are no answers.
    sifted: usize,
    backlog_bytes: usize,
    /// The first so many of the backlog are no events, and no values of gauges.
    eventless: usize,
    /// The first so many of the backlog were looked at for cancels.
    looked_at: usize,
    /// Events that came while handlers were nested as deep as they may.
    served_later: VecDeque<Stowed>,
    /// Calls that were completed by a thread which must not run the user's code: tasks to wake and callbacks to run.
    pub(crate) completions: VecDeque<Completion>,
    messages: u64,
    bytes: u64,
    /// Of these, those that are about types.
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
            served_later: VecDeque::new(),
            completions: VecDeque::new(),
            messages: 0,
            bytes: 0,
            uncounted: 0,
            uncounted_bytes: 0,
        }
    }

    /// Takes the next message into `buffer` and returns its length in bytes, if there is one. At the bound of nesting events that were
    /// deferred stay where they are.
    #[inline]
    pub(crate) fn pop(
        &mut self,
        buffer: &mut Vec<u64>,
        at_bound: bool,
    ) -> Result<Option<usize>, ChannelError> {
        if (!self.backlog.is_empty() || !self.served_later.is_empty())
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

    /// Takes the next message into `buffer` if it is an answer; anything else goes to the backlog, for a thread that dispatches.
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
        // It is the only one, and no answer.
        self.sifted = self.backlog.len();
        Ok(Popped::Other)
    }

    /// Whether what is in the ring comes next.
    pub(crate) fn is_first(&self) -> bool {
        self.backlog.is_empty() && self.served_later.is_empty() && self.completions.is_empty()
    }

    #[inline]
    fn count(&mut self, bytes: usize) {
        self.messages = self.messages.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
    }

    /// A message is not to be counted: it is of the library itself.
    pub(crate) fn discount(&mut self, bytes: usize) {
        self.uncounted = self.uncounted.wrapping_add(1);
        self.uncounted_bytes = self.uncounted_bytes.wrapping_add(bytes as u64);
    }

    /// Messages that were taken out of the ring, and their bytes.
    pub(crate) fn counters(&self) -> (u64, u64) {
        (self.messages.wrapping_sub(self.uncounted), self.bytes.wrapping_sub(self.uncounted_bytes))
    }

    #[cold]
    fn unstow(&mut self, buffer: &mut Vec<u64>, at_bound: bool) -> Option<usize> {
        let served_later = if at_bound { None } else { self.served_later.pop_front() };
        let stowed = match served_later {
            Some(served_later) => served_later,
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

    /// PollBias for what is urgent in what has arrived since the last time, or in some of it: returns whether in all.
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

    /// Puts an event back, for when handlers are less deeply nested.
    pub(crate) fn defer(&mut self, words: Vec<u64>, bytes: usize) {
        let stowed = Stowed { words, bytes };
        self.backlog_bytes = self.backlog_bytes.saturating_add(stowed.cost());
        self.served_later.push_back(stowed);
    }

    /// Moves what has arrived out of the ring, so that the other side has room to go on. Stops at the bound, or when all that was there is out. Returns whether nothing
    /// was left: a side that goes on and on must not keep this thread from looking at the clock, nor others from the inbox.
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

    /// Whether the backlog has reached its bound.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog_bytes >= BACKLOG_BYTES
    }

    /// Nothing will come but what is there: the other side has closed, or has ended.
    pub(crate) fn expect_end(&mut self) {
        self.receiver.expect_end();
    }

    /// Takes answers that have arrived, leaving calls and events in their order.
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
            // Those behind change their places.
            self.looked_at = self.looked_at.min(self.sifted);
            let until =
                if ahead == Ahead::OfCalls { self.before_events() } else { self.backlog.len() };
            if until > self.sifted {
                let behind = self.backlog.split_off(until);
                // Each is looked at once: what a side has sent that fills the backlog must not be gone through by everybody who waits.
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
                // Those behind have changed their places.
                self.eventless = if ahead == Ahead::OfCalls {
                    self.backlog.len()
                } else {
                    self.eventless.min(self.sifted)
                };
                self.sifted = self.backlog.len();
                self.backlog.extend(behind);
            }
            // There may be more in the ring, if it was left there for want of room: what was there when this began, and not what a side that
            // sends nothing but answers adds all the time.
            let all = self.receiver.position().wrapping_sub(start)
                >= (self.receiver.slots() as u64).wrapping_mul(2);
            if !was_full || self.is_full() || all {
                return Ok(());
            }
        }
    }

    /// How many messages of the backlog come before the first event, or value of a gauge.
    fn before_events(&mut self) -> usize {
        if !self.served_later.is_empty() {
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

    /// Changes whenever a message is taken.
    pub(crate) fn progress(&self) -> (u64, usize) {
        (self.messages, self.backlog.len())
    }

    /// How many messages were taken to be dispatched.
    pub(crate) fn dispatched(&self) -> u64 {
        self.messages
            .wrapping_sub(self.backlog.len() as u64)
            .wrapping_sub(self.served_later.len() as u64)
    }

    /// How many messages can have arrived, at most.
    pub(crate) fn at_most(&self) -> usize {
        self.backlog
            .len()
            .saturating_add(self.served_later.len())
            .saturating_add(self.receiver.slots())
    }

    /// Whether there is something to take, or an error to find by taking it.
    pub(crate) fn has_something(&self, watch: &Watch, at_bound: bool) -> bool {
        !self.backlog.is_empty()
            || !self.completions.is_empty()
            || !at_bound && !self.served_later.is_empty()
            || watch.has_come(self.receiver.next_frame())
    }

    /// What to wait for, if nothing is there.
    pub(crate) fn next(&self) -> coprocess_ring::NextFrame {
        self.receiver.next_frame()
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
