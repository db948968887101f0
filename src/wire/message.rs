//! Holds an encoded message, and classifies it by its first word.

use std::cell::Cell;

use coprocess_ring::{ChannelError, Progress, Sender};

use crate::error::{Error, Step};
use crate::wire::header::{
    CALL, CALL_BY, CANCEL, CallId, ENTRY_SHIFT, EVENT, Header, INTRODUCE, KIND_MASK, OF_CALL,
    REFUSE, Subject, WELCOME, WITHDRAW, kinds_bytes, split,
};

/// Packs at most eight bytes into a word, from the low end.
#[expect(clippy::arithmetic_side_effects, reason = "there are more than four bytes there")]
#[inline]
pub(crate) fn partial_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // With fewer than eight bytes, the two halves overlap. The bits in the overlap are equal.
        (Some(low), Some(high)) => {
            u64::from(u32::from_le_bytes(*low))
                | u64::from(u32::from_le_bytes(*high)) << (8 * (bytes.len() - 4))
        }
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Counts the payload words that fit into one slot of the ring. A message of at most this many
/// words is encoded without touching the heap.
pub(crate) const INLINE_WORDS: usize = 15;

/// Bounds the buffer that is kept for the next message, in words. A larger buffer is freed.
pub(crate) const KEEP_WORDS: usize = 32 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Takes the buffer of words that this thread has kept, or an empty one.
#[inline]
pub(crate) fn take_spare() -> Vec<u64> {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

/// Keeps a buffer for the next message of this thread.
#[inline]
pub(crate) fn keep_spare(buffer: Vec<u64>) {
    if buffer.capacity() <= KEEP_WORDS {
        // Fails only if the thread is ending: then there is no next message.
        let _ = SPARE.try_with(|spare| spare.set(buffer));
    }
}

/// Holds an encoded message.
///
/// A message is encoded in place and passed by reference. A move would read the words back in
/// larger blocks than they were just written in. The processor cannot forward such reads from its
/// store buffer.
#[derive(Debug, Default)]
pub(crate) struct Message<'v> {
    pub(crate) inline: [u64; INLINE_WORDS],
    /// Holds all words, once there are more of them than fit inline.
    pub(crate) spilled: Vec<u64>,
    /// Counts the bytes of the words.
    pub(crate) bytes: usize,
    /// Borrows the bytes that follow the words, without a copy. Unless it is empty, every word is
    /// full.
    pub(crate) rest: &'v [u8],
}

impl Message<'static> {
    /// Makes an empty message, to be encoded.
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
    /// Publishes as much of the message as there is space for; see [`Sender::send`].
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

    /// Takes the message out, and copies the bytes that it borrows.
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

    /// Replaces a buffer by all words of the message. Zeros fill up the last word.
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

    /// Writes the id of a call into a message that was encoded before the id was known.
    #[inline]
    pub(crate) fn address(&mut self, id: CallId) {
        let words = if self.spilled.is_empty() { &mut self.inline[..] } else { &mut self.spilled };
        if let [first, second, ..] = words {
            debug_assert!(matches!(*first & KIND_MASK, CALL | CALL_BY));
            *first = *first & u64::from(u32::MAX) | u64::from(id.entry) << ENTRY_SHIFT;
            *second = id.serial;
        }
    }

    /// Returns the id of the call, if the message is a call.
    pub(crate) fn call(&self) -> Option<CallId> {
        match *self.words() {
            [first, serial, ..] if matches!(first & KIND_MASK, CALL | CALL_BY) => {
                Some(CallId { entry: (first >> ENTRY_SHIFT) as u32, serial })
            }
            _ => None,
        }
    }

    /// Returns `true` for an event or the introduction of one, but not for an event of a gauge.
    pub(crate) fn is_event(&self) -> bool {
        self.words().first().is_some_and(|first| match first & KIND_MASK {
            EVENT => first >> ENTRY_SHIFT == 0,
            INTRODUCE => first & OF_CALL == 0,
            _ => false,
        })
    }

    /// Counts the bytes that describe kinds. They do not count towards the largest size of a
    /// message.
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

    /// Returns `true` if a thread looks for this message before it has received the messages ahead
    /// of it.
    pub(crate) fn is_urgent(&self) -> bool {
        self.words()
            .first()
            .is_some_and(|first| matches!(first & KIND_MASK, CANCEL | WITHDRAW | REFUSE | WELCOME))
    }

    /// Estimates the memory that a kept message takes, in bytes. Many messages are smaller than the
    /// struct that holds them. The queue that holds that struct may be only half full, so the
    /// struct counts twice.
    pub(crate) fn cost(&self) -> usize {
        const PLACE: usize = 2 * size_of::<Message<'_>>();
        self.spilled.capacity().saturating_mul(8).saturating_add(PLACE)
    }

    /// Returns the words. Zeros fill up the last word.
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
