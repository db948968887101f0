//! TODO wire::writer

use std::fmt::Display;

use serde::ser;

use crate::text::one_line;
use crate::wire::message::{INLINE_WORDS, Message, partial_word, take_spare};

/// Why a value could not be encoded. Boxed, so that the result of each step takes one register.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct EncodeError(pub(super) Box<EncodeCause>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeCause {
    /// What an implementation of `Serialize` says, or serde itself.
    #[error("{0}")]
    Custom(Box<str>),
    #[error(
        "the length of a sequence or map must be known before its elements; collect them first"
    )]
    UnknownLength,
    #[error("the `Display` of a value fails, or is another one each time")]
    Unsteady,
    #[error(
        "its field `{0}` is left out, by serde's `skip_serializing_if`, which messages cannot tell from the next one"
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

/// Collects encoded bytes in a register and stores whole words.
pub(crate) struct Writer<'a> {
    message: &'a mut Message<'static>,
    /// Whole words stored.
    full: usize,
    /// The bytes of the word under way, from the low end.
    pending: u64,
    pending_bytes: u32,
    max: usize,
}

impl<'a> Writer<'a> {
    #[inline]
    pub(crate) fn new(message: &'a mut Message<'static>, max: usize) -> Writer<'a> {
        Writer { message, full: 0, pending: 0, pending_bytes: 0, max }
    }

    /// Lets the message be longer.
    pub(crate) fn make_room(&mut self, bytes: usize) {
        self.max = self.max.saturating_add(bytes);
    }

    /// Adds a word. Only while no bytes are pending.
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

    /// Makes sure that what is there is spilled, unless `more` words exceed the maximum: then bytes are counted, for the error, but not kept.
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

    /// Adds bytes as they are.
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
        // The words of the message lie across those of the block: the first one completes what is pending.
        let (first, aligned) = block.split_at(8 - self.pending_bytes as usize);
        let (words, rest) = aligned.as_chunks::<8>();
        if self.may_spill(1 + words.len()) {
            self.message
                .spilled
                .push(self.pending | partial_word(first) << (8 * self.pending_bytes));
            // An ordinary copy, once compiled.
            self.message.spilled.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        }
        self.full += 1 + words.len();
        self.pending = partial_word(rest);
        self.pending_bytes = rest.len() as u32;
    }

    /// Adds the lower `length` bytes of a word, one to eight. Those above are zero.
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

    /// Adds a number in groups of seven bits, the lowest first, each but the last with its high bit set.
    #[inline(always)] // a call costs as much as a third of it
    pub(crate) fn varint(&mut self, value: u64) {
        if value < 0x80 {
            return self.push(value as u8);
        }
        // The lower 56 bits, spread so that each group has a byte: halves, quarters, eighths.
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
            // The ninth byte, and if the number has all 64 bits, a tenth.
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

    /// Adds the length of a byte string that goes on in another place.
    pub(crate) fn announce(&mut self, value: &[u8]) {
        self.varint(value.len() as u64);
    }

    /// Makes these bytes the end of a message that refers to them, without a copy. If that were too long, they are only counted.
    pub(crate) fn complete_with<'v>(&mut self, value: &'v [u8]) -> Option<Message<'v>> {
        if self.full * 8 + self.pending_bytes as usize + value.len() > self.max {
            self.extend(value);
            return None;
        }
        // Whole words go before what is sent from elsewhere.
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

/// Puts a word behind the `shift` bits that are pending: the whole word, and what is pending then.
#[inline]
fn join(pending: u64, word: u64, shift: u32) -> (u64, u64) {
    // In two steps, since a shift by 64 is none.
    (pending | word << shift, (word >> 1) >> (63 - shift))
}
