//! TODO wire::message

use std::cell::Cell;

use coprocess_ring::{ChannelError, Progress, Sender};

use crate::error::{Error, Step};
use crate::wire::header::{
    CALL, CALL_BY, CANCEL, CallId, ENTRY_SHIFT, EVENT, Header, INTRODUCE, KIND_MASK, OF_CALL,
    REFUSE, Subject, WELCOME, WITHDRAW, kinds_bytes, split,
};

/// At most eight bytes as a word, from the low end.
#[expect(clippy::arithmetic_side_effects, reason = "there are more than four bytes there")]
#[inline]
pub(crate) fn partial_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // The two overlap where they are the same.
        (Some(low), Some(high)) => {
            u64::from(u32::from_le_bytes(*low))
                | u64::from(u32::from_le_bytes(*high)) << (8 * (bytes.len() - 4))
        }
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Payload words that fit into one slot of the ring: such a message is encoded without touching the heap.
pub(crate) const INLINE_WORDS: usize = 15;

/// A buffer larger than this is not kept for the next message.
pub(crate) const KEEP_WORDS: usize = 32 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// A buffer of words that this thread used before.
#[inline]
pub(crate) fn take_spare() -> Vec<u64> {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

/// Keeps a buffer for the next use on this thread.
#[inline]
pub(crate) fn keep_spare(buffer: Vec<u64>) {
    if buffer.capacity() <= KEEP_WORDS {
        // A thread that is ending has no next use.
        let _ = SPARE.try_with(|spare| spare.set(buffer));
    }
}

/// An encoded message.
///
/// Encoded in place and passed by reference: moving it would read words back as larger blocks than they were just written in, which the
/// processor cannot forward from its store buffer.
#[derive(Debug, Default)]
pub(crate) struct Message<'v> {
    pub(crate) inline: [u64; INLINE_WORDS],
    /// All words, once there are more than fit inline.
    pub(crate) spilled: Vec<u64>,
    /// How many bytes the words are.
    pub(crate) bytes: usize,
    /// What follows the words, and was not copied. Unless it is empty, no word is incomplete.
    pub(crate) rest: &'v [u8],
}

impl Message<'static> {
    /// One that is not encoded yet.
    #[inline]
    pub(crate) const fn new() -> Message<'static> {
        Message { inline: [0; INLINE_WORDS], spilled: Vec::new(), bytes: 0, rest: &[] }
    }

    #[inline]
    pub(crate) fn check_size(&self, max: usize) -> Step<()> {
        if self.bytes > max && self.bytes.saturating_sub(self.kinds_bytes()) > max {
            return Err(Error::TooLarge { size: self.bytes, max }.into());
        }
        Ok(())
    }
}

impl Message<'_> {
    /// Publishes as much of it as there is room for; see [`Sender::send`].
    #[inline]
    pub(crate) fn publish(
        &self,
        sender: &mut Sender,
    ) -> std::result::Result<Progress, ChannelError> {
        if self.rest.is_empty() {
            sender.send(self.words(), self.bytes)
        } else {
            sender.send_joined(self.words(), self.rest)
        }
    }

    /// Takes it away, with a copy of what it refers to.
    pub(crate) fn take(&mut self) -> Message<'static> {
        let mut spilled = std::mem::take(&mut self.spilled);
        if !self.rest.is_empty() {
            if spilled.is_empty() {
                spilled
                    .extend_from_slice(self.inline.get(..self.bytes / 8).unwrap_or(&self.inline));
            }
            self.append_rest(&mut spilled);
        }
        Message { inline: self.inline, spilled, bytes: self.bytes(), rest: &[] }
    }

    /// Copies all words, the last one filled up with zeros, into a buffer.
    pub(crate) fn copy_to(&self, words: &mut Vec<u64>) {
        words.clear();
        words.extend_from_slice(self.words());
        if !self.rest.is_empty() {
            self.append_rest(words);
        }
    }

    fn append_rest(&self, to: &mut Vec<u64>) {
        let (words, last) = self.rest.as_chunks::<8>();
        to.reserve_exact(words.len().saturating_add(1));
        to.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        if !last.is_empty() {
            to.push(partial_word(last));
        }
    }

    /// Completes a call that was encoded before it had a number.
    #[inline]
    pub(crate) fn address(&mut self, id: CallId) {
        let words = if self.spilled.is_empty() { &mut self.inline[..] } else { &mut self.spilled };
        if let [first, second, ..] = words {
            debug_assert!(matches!(*first & KIND_MASK, CALL | CALL_BY));
            *first = *first & u64::from(u32::MAX) | u64::from(id.entry) << ENTRY_SHIFT;
            *second = id.serial;
        }
    }

    /// Which call it is, if it is one.
    pub(crate) fn call(&self) -> Option<CallId> {
        match *self.words() {
            [first, serial, ..] if matches!(first & KIND_MASK, CALL | CALL_BY) => {
                Some(CallId { entry: (first >> ENTRY_SHIFT) as u32, serial })
            }
            _ => None,
        }
    }

    /// Whether it is an event other than that of a gauge, or introduces one.
    pub(crate) fn is_event(&self) -> bool {
        self.words().first().is_some_and(|first| match first & KIND_MASK {
            EVENT => first >> ENTRY_SHIFT == 0,
            INTRODUCE => first & OF_CALL == 0,
            _ => false,
        })
    }

    /// How many of its bytes tell kinds: they do not count, where a message has a bound.
    #[cold]
    fn kinds_bytes(&self) -> usize {
        match split(self.words(), self.bytes) {
            Some((
                Header::Event(Subject::Described { kinds, .. })
                | Header::Gauge(_, Subject::Described { kinds, .. })
                | Header::Call(_, _, Subject::Described { kinds, .. })
                | Header::DescribedAnswer(_, kinds),
                _,
            )) => kinds_bytes(kinds.len()),
            _ => 0,
        }
    }

    /// Whether a thread looks for it that does not receive what is before it.
    pub(crate) fn is_urgent(&self) -> bool {
        self.words()
            .first()
            .is_some_and(|first| matches!(first & KIND_MASK, CANCEL | WITHDRAW | REFUSE | WELCOME))
    }

    /// Bytes of memory of one that is kept: many are smaller than what holds them, and the queue that they are in may be only half full.
    pub(crate) fn cost(&self) -> usize {
        const PLACE: usize = 2 * size_of::<Message<'_>>();
        self.spilled.capacity().saturating_mul(8).saturating_add(PLACE)
    }

    /// The words, the last one filled up with zeros.
    #[inline]
    pub(crate) fn words(&self) -> &[u64] {
        if self.spilled.is_empty() {
            self.inline.get(..self.bytes.div_ceil(8)).unwrap_or(&self.inline)
        } else {
            &self.spilled
        }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.wrapping_add(self.rest.len())
    }
}

impl Drop for Message<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.spilled.capacity() > 0 {
            keep_spare(std::mem::take(&mut self.spilled));
        }
    }
}
