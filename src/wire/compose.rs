//! Composes a message: writes the header, then the value, and hands the message to a closure that
//! sends it.

use serde::Serialize;

use crate::error::{Error, Step};
use crate::wire::direct::{Delivery, MIN_BYTES, Whole};
use crate::wire::header::{Failure, Header};
use crate::wire::message::Message;
use crate::wire::writer::{EncodeError, Writer};

impl Message<'static> {
    /// Encodes a message of at most `max` bytes, and sends it by `send`. `what` names the method or
    /// event in errors.
    ///
    /// Runs user code (`Serialize`) with no lock held: that code may panic, fail, or use the pair
    /// itself. If the value is one large byte string, the message is sent from within that code.
    /// Whatever that code reports afterwards no longer matters.
    #[inline]
    pub(crate) fn deliver<R>(
        &mut self,
        header: Header<'_>,
        value: &(impl Serialize + ?Sized),
        max: usize,
        what: &str,
        // A closure, not a step after this one: a large byte string is sent while serde lends it.
        send: impl FnOnce(&mut Message<'_>) -> R,
    ) -> Step<R> {
        debug_assert_eq!(self.bytes, 0, "a message is encoded once");
        let mut writer = Writer::new(self, max);
        writer.put_header(header)?;
        let mut delivery = Delivery::Pending(send);
        let outcome = value.serialize(Whole::new(&mut writer, &mut delivery));
        match delivery {
            Delivery::Pending(send) => {
                writer.finish();
                self.check(outcome, max, what)?;
                Ok(send(self))
            }
            Delivery::Done(sent) => Ok(sent),
            // The value's own `serialize` caught the panic, and reports an error in place of it.
            Delivery::Unwound => Err(Error::Encode {
                what: what.to_owned(),
                source: "the value panicked while it was sent".into(),
            }
            .into()),
        }
    }

    /// Encodes a message of at most `max` bytes into this empty one. `what` names the method or
    /// event in errors.
    ///
    /// Runs user code (`Serialize`) with no lock held: that code may panic, fail, or use the pair
    /// itself.
    #[inline]
    pub(crate) fn encode(
        &mut self,
        header: Header<'_>,
        value: &(impl Serialize + ?Sized),
        max: usize,
        what: &str,
    ) -> Step<()> {
        debug_assert_eq!(self.bytes, 0, "a message is encoded once");
        let mut writer = Writer::new(self, max);
        writer.put_header(header)?;
        let outcome = match header {
            Header::Failure(_, Failure::Remote(text) | Failure::Mistyped(text)) => {
                // The text is sent without a length: it ends with the message.
                writer.extend(text.as_bytes());
                Ok(())
            }
            _ => value.serialize(&mut writer),
        };
        writer.finish();
        self.check(outcome, max, what)
    }

    /// Encodes a message that ends with a copy of `payload`.
    pub(crate) fn encode_bytes(
        &mut self,
        header: Header<'_>,
        payload: &[u8],
        max: usize,
    ) -> Step<()> {
        debug_assert_eq!(self.bytes, 0, "a message is encoded once");
        let mut writer = Writer::new(self, max);
        writer.put_header(header)?;
        writer.extend(payload);
        writer.finish();
        self.check_size(max)
    }

    #[inline]
    fn check(
        &self,
        outcome: std::result::Result<(), EncodeError>,
        max: usize,
        what: &str,
    ) -> Step<()> {
        if let Err(error) = outcome {
            return Err(Error::Encode { what: what.to_owned(), source: Box::new(error) }.into());
        }
        self.check_size(max)
    }

    /// Encodes a message that ends with `payload`, and sends it by `send`. A long payload is sent
    /// in place, without a copy.
    #[inline]
    pub(crate) fn deliver_bytes<R>(
        &mut self,
        header: Header<'_>,
        payload: &[u8],
        max: usize,
        send: impl FnOnce(&mut Message<'_>) -> R,
    ) -> Step<R> {
        let mut writer = Writer::new(self, max);
        writer.put_header(header)?;
        if payload.len() >= MIN_BYTES {
            if let Some(mut message) = writer.complete_with(payload) {
                return Ok(send(&mut message));
            }
        } else {
            writer.extend(payload);
        }
        writer.finish();
        self.check_size(max)?;
        Ok(send(self))
    }
}
