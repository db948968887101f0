//! What a message says: the only file that knows postcard.
//!
//! A message is a postcard-encoded [`Head`], followed by the postcard-encoded arguments, value or result. The ring frames it, so a
//! payload that does not decode spoils that message only.

use std::cell::Cell;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Names a call that is in flight: an entry of the caller's table, and a number that no other call ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CallId {
    pub(crate) entry: u32,
    pub(crate) serial: u64,
}

/// What a message is about.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Head<'a> {
    /// An event; its value follows.
    Event(&'a str),
    /// A call; its arguments follow.
    Call(CallId, &'a str),
    /// The answer to a call; the result follows.
    Answer(CallId),
    /// The call failed. Nothing follows.
    Failure(CallId, Failure<'a>),
}

/// Why a call failed on the other end.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure<'a> {
    /// No such method.
    NotFound,
    /// What the handler said.
    Remote(&'a str),
}

/// Payload words that fit into one slot of the ring: such a message is encoded without touching the heap.
const INLINE_WORDS: usize = 15;

/// A buffer larger than this is not kept for the next message.
const KEEP_WORDS: usize = 32 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// A buffer of words that this thread used before.
pub(crate) fn take_spare() -> Vec<u64> {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

/// Keeps a buffer for the next use on this thread.
pub(crate) fn keep_spare(buffer: Vec<u64>) {
    if buffer.capacity() <= KEEP_WORDS {
        // A thread that is ending has no next use.
        let _ = SPARE.try_with(|spare| spare.set(buffer));
    }
}

/// An encoded message.
#[derive(Debug)]
pub(crate) struct Message {
    inline: [u64; INLINE_WORDS],
    /// All words, once there are more than fit inline.
    spilled: Vec<u64>,
    bytes: usize,
}

impl Message {
    /// Encodes a message of at most `max` bytes. `what` names the method or event in errors.
    ///
    /// User code runs in here (`Serialize`), with no lock held: it may panic, fail, or use the pair itself.
    pub(crate) fn encode(head: &Head<'_>, value: &(impl Serialize + ?Sized), max: usize, what: &str) -> Result<Message> {
        let gather = Gather {
            message: Message { inline: [0; INLINE_WORDS], spilled: Vec::new(), bytes: 0 },
            full: 0,
            pending: 0,
            pending_bytes: 0,
            max,
        };
        let mut serializer = postcard::Serializer { output: gather };
        let outcome = head.serialize(&mut serializer).and_then(|()| value.serialize(&mut serializer));
        let message = serializer.output.finish();
        if let Err(error) = outcome {
            return Err(Error::Encode { what: what.to_owned(), source: Box::new(error) });
        }
        if message.bytes > max {
            return Err(Error::TooLarge { size: message.bytes, max });
        }
        Ok(message)
    }

    /// The words, the last one filled up with zeros.
    #[inline]
    pub(crate) fn words(&self) -> &[u64] {
        if self.spilled.is_empty() { &self.inline[..self.bytes.div_ceil(8)] } else { &self.spilled }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if self.spilled.capacity() > 0 {
            keep_spare(std::mem::take(&mut self.spilled));
        }
    }
}

/// Collects encoded bytes in a register and stores whole words.
///
/// Bytes that are written one by one and read back at once as words cannot be forwarded from the processor's store buffer; that wait costs
/// more than encoding a small message.
struct Gather {
    message: Message,
    /// Whole words stored.
    full: usize,
    /// The bytes of the word under way, from the low end.
    pending: u64,
    pending_bytes: u32,
    max: usize,
}

impl Gather {
    #[inline]
    fn put(&mut self, word: u64) {
        if self.full < INLINE_WORDS {
            self.message.inline[self.full] = word;
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

    /// Appends whole words behind those that fit inline, as a block.
    #[cold]
    fn spill_block(&mut self, words: &[[u8; 8]]) {
        if self.may_spill(words.len()) {
            let (shift, mut pending) = (8 * self.pending_bytes, self.pending);
            self.message.spilled.extend(words.iter().map(|word| {
                let (whole, rest) = join(pending, u64::from_le_bytes(*word), shift);
                pending = rest;
                whole
            }));
            self.pending = pending;
        }
        self.full += words.len();
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

    fn finish(mut self) -> Message {
        self.message.bytes = self.full * 8 + self.pending_bytes as usize;
        if self.pending_bytes > 0 {
            self.put(self.pending);
        }
        self.message
    }
}

/// Puts a word behind the `shift` bits that are pending: the whole word, and what is pending then.
#[inline]
fn join(pending: u64, word: u64, shift: u32) -> (u64, u64) {
    // In two steps, since a shift by 64 is none.
    (pending | word << shift, (word >> 1) >> (63 - shift))
}

impl postcard::ser_flavors::Flavor for Gather {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.pending |= u64::from(byte) << (8 * self.pending_bytes);
        self.pending_bytes += 1;
        if self.pending_bytes == 8 {
            self.put(self.pending);
            self.pending = 0;
            self.pending_bytes = 0;
        }
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let (words, rest) = bytes.as_chunks::<8>();
        let (inline, block) = words.split_at(words.len().min(INLINE_WORDS.saturating_sub(self.full)));
        for word in inline {
            let (whole, rest) = join(self.pending, u64::from_le_bytes(*word), 8 * self.pending_bytes);
            self.pending = rest;
            self.put(whole);
        }
        if !block.is_empty() {
            self.spill_block(block);
        }
        for byte in rest {
            self.try_push(*byte)?;
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// The bytes of a received message: a private copy, so what is checked cannot change afterwards.
pub(crate) fn as_bytes(words: &[u64], bytes: usize) -> &[u8] {
    let all: &[u8] = bytemuck::cast_slice(words);
    all.get(..bytes).unwrap_or(all)
}

/// Splits a message into its head and the encoded value behind it.
#[inline]
pub(crate) fn split(message: &[u8]) -> Option<(Head<'_>, &[u8])> {
    postcard::take_from_bytes(message).ok()
}

/// Decodes a value that must take all of `bytes`.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(DecodeError::Trailing(rest.len())),
        Err(error) => Err(DecodeError::Postcard(error)),
    }
}

/// Why a value did not decode.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("{0} bytes are left over: the other end sent more than this type has")]
    Trailing(usize),
    #[error(transparent)]
    Postcard(postcard::Error),
}

impl DecodeError {
    pub(crate) fn into_error(self, what: &str) -> Error {
        Error::Decode { what: what.to_owned(), source: Box::new(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(head: Head<'_>, value: &[u8], max: usize) {
        let message = Message::encode(&head, serde_bytes::Bytes::new(value), max, "x").expect("fits");
        let reference =
            [postcard::to_stdvec(&head).expect("encodes"), postcard::to_stdvec(serde_bytes::Bytes::new(value)).expect("encodes")];
        let bytes = as_bytes(message.words(), message.bytes());
        assert_eq!(bytes, reference.concat());
        let padding: &[u8] = &bytemuck::cast_slice::<u64, u8>(message.words())[message.bytes()..];
        assert!(padding.iter().all(|b| *b == 0), "what fills the last word must be zero");
        let (decoded, rest) = split(bytes).expect("splits");
        assert_eq!(decoded, head);
        assert_eq!(decode::<serde_bytes::ByteBuf>(rest).expect("decodes").as_slice(), value);
    }

    #[test]
    fn every_length_and_alignment_is_encoded_as_postcard_does() {
        let bytes: Vec<u8> = (0..2000u32).map(|i| i as u8 | 1).collect();
        for name in ["", "a", "abcdefg", "a rather long name of an event"] {
            for length in (0..300).chain([1000, 1999]) {
                round_trip(Head::Event(name), &bytes[..length], usize::MAX);
                round_trip(Head::Call(CallId { entry: 3, serial: 1 << 40 }, name), &bytes[..length], 4000);
            }
        }
    }

    #[test]
    fn a_message_over_the_bound_is_counted_but_not_kept() {
        let value = vec![1u8; 10_000];
        let exact = 4 + 2 + value.len();
        let encode = |max| Message::encode(&Head::Event("ab"), serde_bytes::Bytes::new(&value), max, "ab");
        assert!(encode(exact).is_ok());
        match encode(exact - 1) {
            Err(Error::TooLarge { size, max }) => assert_eq!((size, max), (exact, exact - 1)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn trailing_bytes_are_an_error() {
        assert!(matches!(decode::<u8>(&[1, 2]), Err(DecodeError::Trailing(1))));
    }
}
