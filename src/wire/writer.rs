//! Fills a message with bytes, a word at a time.

use std::fmt::Display;

use serde::ser;

use crate::text::one_line;
use crate::wire::message::{INLINE_WORDS, Message, partial_word, take_spare};

/// Tells why a value could not be encoded. It is boxed, so that the result of each step fits into
/// one register.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct EncodeError(pub(super) Box<EncodeCause>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeCause {
    /// The message of an implementation of `Serialize`, or of serde itself.
    #[error("{0}")]
    Custom(Box<str>),
    #[error(
        "the length of a sequence or map must be known before its elements; collect them first"
    )]
    UnknownLength,
    #[error("the `Display` of a value fails, or writes another text each time")]
    Unsteady,
    #[error(
        "its field `{0}` is left out by serde's `skip_serializing_if`: \
         the receiver would take the next field for it"
    )]
    Skipped(&'static str),
}

impl From<EncodeCause> for EncodeError {
    #[cold]
    fn from(cause: EncodeCause) -> EncodeError {
        EncodeError(Box::new(cause))
    }
}

impl ser::Error for EncodeError {
    #[cold]
    fn custom<T: Display>(text: T) -> EncodeError {
        EncodeCause::Custom(one_line(text)).into()
    }
}

/// Collects encoded bytes in a register, and stores them as whole words.
pub(crate) struct Writer<'a> {
    message: &'a mut Message<'static>,
    /// Counts the whole words that were stored.
    full: usize,
    /// Holds the bytes of the incomplete word, from the low end.
    pending: u64,
    pending_bytes: u32,
    max: usize,
}

impl<'a> Writer<'a> {
    #[inline]
    pub(crate) fn new(message: &'a mut Message<'static>, max: usize) -> Writer<'a> {
        Writer { message, full: 0, pending: 0, pending_bytes: 0, max }
    }

    /// Allows the message `bytes` more bytes.
    pub(crate) fn make_room(&mut self, bytes: usize) {
        self.max = self.max.saturating_add(bytes);
    }

    /// Adds a word. Must be called only while no bytes are pending.
    #[inline]
    pub(crate) fn put(&mut self, word: u64) {
        if let Some(place) = self.message.inline.get_mut(self.full) {
            *place = word;
        } else {
            self.spill(word);
        }
        self.full += 1;
    }

    #[cold]
    #[inline(never)]
    fn spill(&mut self, word: u64) {
        if self.may_spill(1) {
            self.message.spilled.push(word);
        }
    }

    /// Prepares for `more` words beyond those that fit inline. Returns `true` if they may be
    /// pushed.
    ///
    /// If they exceed the maximum, the bytes are only counted, for the error, and not kept.
    fn may_spill(&mut self, more: usize) -> bool {
        if (self.full + more).saturating_sub(1) * 8 > self.max {
            return false;
        }
        if self.full == INLINE_WORDS {
            self.message.spilled = take_spare();
            self.message.spilled.clear();
            self.message.spilled.reserve(INLINE_WORDS + more + 1);
            self.message.spilled.extend_from_slice(&self.message.inline);
        }
        true
    }

    /// Adds bytes unchanged.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        if bytes.len() / 8 > INLINE_WORDS.saturating_sub(self.full) {
            self.extend_beyond(bytes);
        } else {
            self.extend_by_words(bytes);
        }
    }

    #[inline]
    fn extend_by_words(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.extend_by_word(u64::from_le_bytes(*word), 8);
        }
        for byte in rest {
            self.push(*byte);
        }
    }

    /// Adds more bytes than fit inline.
    #[cold]
    fn extend_beyond(&mut self, bytes: &[u8]) {
        let (inline, block) = bytes.split_at(8 * INLINE_WORDS.saturating_sub(self.full));
        self.extend_by_words(inline);
        if block.len() < 8 {
            return self.extend_by_words(block);
        }
        // The words of the message lie across the words of the block. So the first bytes of the
        // block complete the pending word.
        let (first, aligned) = block.split_at(8 - self.pending_bytes as usize);
        let (words, rest) = aligned.as_chunks::<8>();
        if self.may_spill(1 + words.len()) {
            self.message
                .spilled
                .push(self.pending | partial_word(first) << (8 * self.pending_bytes));
            // Compiles to an ordinary copy.
            self.message.spilled.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        }
        self.full += 1 + words.len();
        self.pending = partial_word(rest);
        self.pending_bytes = rest.len() as u32;
    }

    /// Adds the lower `length` bytes of a word, one to eight. The bytes above them must be zero.
    #[inline]
    pub(crate) fn extend_by_word(&mut self, word: u64, length: u32) {
        let (whole, rest) = join(self.pending, word, 8 * self.pending_bytes);
        self.pending_bytes += length;
        if self.pending_bytes < 8 {
            self.pending = whole;
        } else {
            self.put(whole);
            self.pending = rest;
            self.pending_bytes -= 8;
        }
    }

    /// Adds a number in groups of seven bits, the lowest group first. Each group but the last has
    /// its high bit set.
    #[inline(always)] // the function call alone takes a third of its time
    pub(crate) fn varint(&mut self, value: u64) {
        if value < 0x80 {
            return self.push(value as u8);
        }
        // Spreads the lower 56 bits so that each group has a byte: halves, quarters, eighths.
        let mut groups = value & 0x00ff_ffff_ffff_ffff;
        groups = groups & 0x0000_0000_0fff_ffff | (groups & 0x00ff_ffff_f000_0000) << 4;
        groups = groups & 0x0000_3fff_0000_3fff | (groups & 0x0fff_c000_0fff_c000) << 2;
        groups = groups & 0x007f_007f_007f_007f | (groups & 0x3f80_3f80_3f80_3f80) << 1;
        const MORE: u64 = 0x8080_8080_8080_8080;
        let length = (value.ilog2() + 7) / 7;
        if length <= 8 {
            self.extend_by_word(groups | MORE & ((1 << (8 * (length - 1))) - 1), length);
        } else {
            self.extend_by_word(groups | MORE, 8);
            // A ninth byte follows. If the number has all 64 bits, a tenth follows, too.
            self.varint_end(value >> 56);
        }
    }

    #[inline]
    fn varint_end(&mut self, rest: u64) {
        if rest < 0x80 {
            self.push(rest as u8);
        } else {
            self.push(rest as u8);
            self.push(1);
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        self.pending |= u64::from(byte) << (8 * self.pending_bytes);
        self.pending_bytes += 1;
        if self.pending_bytes == 8 {
            self.put(self.pending);
            self.pending = 0;
            self.pending_bytes = 0;
        }
    }

    /// Adds the length of a byte string whose bytes are sent from another place.
    pub(crate) fn announce(&mut self, value: &[u8]) {
        self.varint(value.len() as u64);
    }

    /// Completes a message that ends with these bytes and borrows them, without a copy. If the
    /// message would be too long, the bytes are only counted.
    pub(crate) fn complete_with<'v>(&mut self, value: &'v [u8]) -> Option<Message<'v>> {
        if self.full * 8 + self.pending_bytes as usize + value.len() > self.max {
            self.extend(value);
            return None;
        }
        // The words before the borrowed bytes must be full: the first bytes complete the pending
        // word.
        let (first, rest) = value.split_at(8 - self.pending_bytes as usize);
        self.put(self.pending | partial_word(first) << (8 * self.pending_bytes));
        (self.pending, self.pending_bytes) = (0, 0);
        let spilled = std::mem::take(&mut self.message.spilled);
        Some(Message { inline: self.message.inline, spilled, bytes: self.full * 8, rest })
    }

    /// Completes the message.
    #[inline]
    pub(crate) fn finish(mut self) {
        self.message.bytes = self.full * 8 + self.pending_bytes as usize;
        if self.pending_bytes > 0 {
            self.put(self.pending);
        }
    }
}

/// Appends a word to the `shift` pending bits. Returns the whole word, and the bits that are
/// pending then.
#[inline]
fn join(pending: u64, word: u64, shift: u32) -> (u64, u64) {
    // Shifts in two steps, since a shift by 64 bits is not defined.
    (pending | word << shift, (word >> 1) >> (63 - shift))
}
