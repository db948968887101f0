//! Introduces the types of what this end sends, and tells the peer which of its types are refused.
//!
//! A message describes the kinds of its value until its name and kinds have a number, which the
//! peer was told in an introduction. Later messages hold only the number, and their values are
//! looked at now and then. With [`TypeCheck::Off`], no value is looked at.
//!
//! - An introduction precedes every message with its number. So the number is known to this end
//!   only after the introduction was sent.
//! - To look at a value is to serialize it, which runs code of the program: under no lock.
//! - Refusals are urgent, since a thread that only sends looks for them ahead of their turn. Their
//!   turns tell the order of refusals and welcomes.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::end::End;
use crate::error::{Error, Result, Step};
use crate::limits::MAX_INTRODUCED_NAME;
use crate::send::outbox::WhenFull;
use crate::send::send_queue::Quota;
use crate::settings::TypeCheck;
use crate::types::looked_at::{Kinds, Unnumbered};
use crate::types::mismatch::unnumbered;
use crate::types::peer_types::PeerType;
use crate::types::sent_types::{Known, SentType, SentTypeId, TypeOf, Types};
use crate::types::show::show_at;
use crate::wire::header::{Header, Number, Refused, Subject};
use crate::wire::message::Message;
use crate::wire::mismatch::{Mismatch, Place};

/// Counts the bytes of a header beside the name.
const HEADER_BYTES: usize = 8;

/// Returns the error for a value that the peer does not take.
fn refused(name: &str, kinds: &[u8], place: u32) -> Box<Error> {
    Box::new(Error::Types {
        name: name.to_owned(),
        sent: show_at(kinds, Place::from_bits(place).at as usize),
        wanted: Place::from_bits(place).wanted(kinds),
    })
}

impl End {
    /// Returns the subject of a message with an event, and introduces it if need be.
    ///
    /// `unnumbered` is empty, and holds what the subject borrows.
    ///
    /// # Errors
    ///
    /// - [`Error::Types`] if the peer has refused such values.
    /// - As [`send`](Self::send), for the introduction: nothing was sent.
    #[inline(always)] // where there is a number, nothing of the result is left
    pub(crate) fn subject_of_event<'a, T: Serialize + ?Sized>(
        self: &Arc<Self>,
        name: &'a str,
        value: &T,
        when_full: WhenFull,
        unnumbered: &'a mut Unnumbered,
    ) -> Step<Subject<'a>> {
        if self.is_urged() {
            self.look_ahead();
        }
        let types = TypeOf::<T>::number();
        let number = match self.types.sent.number(name, types) {
            Some(number) => Some(number),
            None => self.look_at(name, types, value, when_full, unnumbered, None)?,
        };
        Ok(unnumbered.subject(number, name, false))
    }

    /// Returns the subject of a message with a call, and introduces it if need be.
    ///
    /// `unnumbered` is empty, and holds what the subject borrows. `asked` is set if the answer is
    /// to describe the kinds of its result.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), for the introduction: nothing was sent.
    #[inline(always)] // as for an event
    pub(crate) fn subject_of_call<'a, A: Serialize + ?Sized, R: DeserializeOwned>(
        self: &Arc<Self>,
        name: &'a str,
        args: &A,
        when_full: WhenFull,
        unnumbered: &'a mut Unnumbered,
        asked: &mut Option<SentTypeId>,
    ) -> Step<Subject<'a>> {
        let types = Types::<A, R>::number();
        let number = match self.types.sent.number(name, types) {
            Some(number) => Some(number),
            None => self.look_at(name, types, args, when_full, unnumbered, Some(asked))?,
        };
        Ok(unnumbered.subject(number, name, true))
    }

    /// Looks at a value. Returns the number that stands for its name and kinds, if there is one.
    ///
    /// Without a number, `unnumbered` gets the kinds. Runs code of the program.
    #[cold]
    #[inline(never)]
    fn look_at<T: Serialize + ?Sized>(
        self: &Arc<Self>,
        name: &str,
        types: usize,
        value: &T,
        when_full: WhenFull,
        unnumbered: &mut Unnumbered,
        asked: Option<&mut Option<SentTypeId>>,
    ) -> Step<Option<Number>> {
        let mut kinds = Kinds::default();
        // A value that cannot be serialized is refused when it is encoded.
        if self.settings.check_types == TypeCheck::Off || !kinds.record(value) {
            return Ok(None);
        }
        let asks = asked.is_some();
        let sent_type = if name.len() <= MAX_INTRODUCED_NAME {
            self.types.sent.get_or_add(name, types)
        } else {
            None
        };
        let number = match sent_type {
            Some((id, sent_type)) => match sent_type.known(&kinds) {
                Known::Number(number) => Some(number),
                Known::Refused(place) => return Err(refused(name, &kinds, place)),
                Known::New => self.introduce(id, sent_type, asks, &kinds, when_full)?,
                Known::TooMany => None,
            },
            None => None,
        };
        let (Some((id, sent_type)), Some(number)) = (sent_type, number) else {
            if let (false, Some(place)) = (asks, self.types.sent.refused_unnumbered(name, &kinds)) {
                return Err(refused(name, &kinds, place));
            }
            unnumbered.set_kinds(kinds);
            return Ok(None);
        };
        let always = cfg!(debug_assertions) || self.settings.check_types == TypeCheck::Always;
        sent_type.note_look(number, always || asks && !sent_type.is_answered());
        if let Some(asked) = asked {
            *asked = Some(id);
        }
        Ok(Some(Number::new(number, asks)))
    }

    /// Introduces a name and kinds. Returns their number.
    ///
    /// Returns `None` if there are too many numbers, or there is no space now.
    fn introduce(
        self: &Arc<Self>,
        id: SentTypeId,
        sent_type: &SentType,
        of_call: bool,
        kinds: &[u8],
        when_full: WhenFull,
    ) -> Step<Option<u32>> {
        let name = sent_type.name();
        let (size, max) = (name.len().saturating_add(HEADER_BYTES), self.settings.max_message);
        if size > max {
            return Err(Error::TooLarge { size, max }.into());
        }
        let bytes = name.len().saturating_add(kinds.len());
        let Some(number) = self.types.sent.take_number(id, bytes) else { return Ok(None) };
        let mut message = Message::new();
        let header = Header::Introduce { number, of_call, name: name.as_bytes(), kinds };
        message.encode_bytes(header, &[], usize::MAX)?;
        let sent_bytes = message.bytes();
        // The introduction is not queued: the message behind it in the queue may be given up, or
        // not be heard.
        let may_wait = matches!(when_full, WhenFull::Wait(_));
        let sent = match self.send(&mut message, if may_wait { when_full } else { WhenFull::Fail })
        {
            // The introduction never has space at once, with the value or without. But the value
            // alone may have, so the introduction is queued.
            Err(error) if matches!(*error, Error::TooLarge { .. }) => {
                self.send(&mut message, WhenFull::Queue(Quota::Own))
            }
            sent => sent,
        };
        match sent {
            Ok(()) => {
                self.outbox.discount(sent_bytes);
                sent_type.add_number(kinds, number);
                Ok(Some(number))
            }
            Err(error) => {
                self.types.sent.give_back(number, bytes);
                // Without space for the introduction, the value has its kinds with it. The value
                // waits, or does not wait, as it would without an introduction.
                if !may_wait && matches!(*error, Error::Full) { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Tells the peer that events with a number are not handled.
    #[cold]
    pub(crate) fn refuse_event(
        self: &Arc<Self>,
        number: u32,
        peer_type: &PeerType,
        handler: u64,
        mismatch: &Mismatch,
    ) {
        if let Some(turn) = self.types.peer.refuse(peer_type, handler) {
            self.send_urgent(Header::Refuse(
                Refused::Number(number),
                turn,
                mismatch.place.to_bits(),
            ));
        }
        // Another handler may have been registered meanwhile, without a look at this refusal.
        if self.listener_of(&peer_type.name) != handler {
            self.welcome_refused();
        }
    }

    /// Refuses an event as [`refuse_event`](Self::refuse_event) does, if the event has its name and
    /// kinds with it.
    #[cold]
    pub(crate) fn refuse_unnumbered(
        self: &Arc<Self>,
        name: &[u8],
        kinds: &[u8],
        handler: u64,
        mismatch: &Mismatch,
    ) {
        // Always UTF-8: a handler has this name.
        let Ok(name) = std::str::from_utf8(name) else { return };
        let hash = unnumbered(name.as_bytes(), kinds);
        if let Some(turn) = self.types.peer.refuse_unnumbered(hash, name, handler) {
            self.send_urgent(Header::Refuse(
                Refused::Unnumbered(hash),
                turn,
                mismatch.place.to_bits(),
            ));
        }
        if self.listener_of(name) != handler {
            self.welcome_refused();
        }
    }

    /// Returns the number of the handler of an event, or zero if there is none.
    fn listener_of(&self, event: &str) -> u64 {
        self.registry.listener(event, |listener| listener.id).unwrap_or(0)
    }

    /// Lets the peer send again what former handlers have refused. Called when the handlers have
    /// changed.
    pub(crate) fn welcome_refused(self: &Arc<Self>) {
        self.types.peer.refused(|number, peer_type, handler| {
            if self.listener_of(&peer_type.name) != handler
                && let Some(turn) = self.types.peer.welcome(peer_type, handler)
            {
                self.send_urgent(Header::Welcome(Refused::Number(number), turn));
            }
        });
        for (hash, turn) in self.types.peer.welcome_unnumbered(|name| self.listener_of(name)) {
            self.send_urgent(Header::Welcome(Refused::Unnumbered(hash), turn));
        }
    }

    /// Sends an urgent message, which even a thread of the peer that only sends looks for. Does not
    /// wait.
    fn send_urgent(self: &Arc<Self>, header: Header<'_>) {
        let mut message = Message::new();
        // If this fails, the pair is over.
        let encoded = message.encode_bytes(header, &[], usize::MAX);
        let size = message.bytes();
        if encoded.and_then(|()| self.send(&mut message, WhenFull::Queue(Quota::Own))).is_ok() {
            self.outbox.discount(size);
            self.outbox.urge();
        }
    }

    /// Notes that a call has ended, which may have asked for the kinds of its result.
    #[inline(always)] // where nothing was asked, nothing of this is left
    pub(crate) fn answered<R>(&self, asked: Option<SentTypeId>, result: &Result<R>) {
        if asked.is_some() || result.is_err() {
            self.note_answered(asked, result.as_ref().err());
        }
    }

    #[cold]
    fn note_answered(&self, asked: Option<SentTypeId>, error: Option<&Error>) {
        match (asked.and_then(|id| self.types.sent.sent_type(id)), error) {
            (Some(sent_type), None) => sent_type.set_answered(true),
            (Some(sent_type), Some(Error::Types { .. })) => sent_type.set_answered(false),
            // The value that was sent had not been looked at: the next value is.
            (None, Some(Error::Types { name, .. })) => self.types.sent.look_again(name),
            // Nothing is known of the result.
            (_, Some(_)) | (None, None) => {}
        }
    }
}
