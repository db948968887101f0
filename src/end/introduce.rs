//! TODO end::introduce

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

/// Bytes of a head beside the name.
const HEAD_BYTES: usize = 8;

/// The error for a value that the other end does not take.
fn refused(name: &str, kinds: &[u8], place: u32) -> Box<Error> {
    Box::new(Error::Types {
        name: name.to_owned(),
        sent: show_at(kinds, Place::from_bits(place).at as usize),
        wanted: Place::from_bits(place).wanted(kinds),
    })
}

impl End {
    /// Returns what a message with an event says first, and introduces it if need be.
    ///
    /// `unnumbered`: an empty one.
    ///
    /// # Errors
    ///
    /// [`Error::Types`] if the other end has refused such values. Else as the sending of an
    /// introduction: nothing was sent.
    #[inline(always)] // of the result, where there is a number, nothing is left
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

    /// Returns what a message with a call says first, and introduces it if need be.
    ///
    /// `unnumbered`: an empty one. `asked`: whose answer is to tell its kinds.
    ///
    /// # Errors
    ///
    /// As the sending of an introduction: nothing was sent.
    #[inline(always)] // as that of an event
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
    #[cold]
    #[inline(never)]
    fn look_at<T: Serialize + ?Sized>(
        self: &Arc<Self>,
        name: &str,
        types: usize,
        value: &T,
        when_full: WhenFull,
        without: &mut Unnumbered,
        asked: Option<&mut Option<SentTypeId>>,
    ) -> Step<Option<Number>> {
        let mut kinds = Kinds::default();
        // What cannot be serialized is refused when it is encoded.
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
            without.set_kinds(kinds);
            return Ok(None);
        };
        let always = cfg!(debug_assertions) || self.settings.check_types == TypeCheck::Always;
        sent_type.note_look(number, always || asks && !sent_type.is_answered());
        if let Some(asked) = asked {
            *asked = Some(id);
        }
        Ok(Some(Number::new(number, asks)))
    }

    /// Introduces a name and kinds. Returns `None` if there are too many, or there is no room now.
    fn introduce(
        self: &Arc<Self>,
        id: SentTypeId,
        sent_type: &SentType,
        of_call: bool,
        kinds: &[u8],
        when_full: WhenFull,
    ) -> Step<Option<u32>> {
        let name = sent_type.name();
        let (size, max) = (name.len().saturating_add(HEAD_BYTES), self.settings.max_message);
        if size > max {
            return Err(Error::TooLarge { size, max }.into());
        }
        let bytes = name.len().saturating_add(kinds.len());
        let Some(number) = self.types.sent.take_number(id, bytes) else { return Ok(None) };
        let mut message = Message::new();
        let header = Header::Introduce { number, of_call, name: name.as_bytes(), kinds };
        message.encode_bytes(header, &[], usize::MAX)?;
        let sent_bytes = message.bytes();
        // It is not kept for later: what comes behind it in the queue may be given up, or unheard.
        let may_wait = matches!(when_full, WhenFull::Wait(_));
        let sent = match self.send(&mut message, if may_wait { when_full } else { WhenFull::Fail })
        {
            // The value alone may have room at once where this never has, with the value or
            // without.
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
                // Without room for this, the value has its kinds with it: it may wait, or not, as
                // it does without.
                if !may_wait && matches!(*error, Error::Full) { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Lets the other end know that events with a number are not handled.
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
        // Another handler may have come meanwhile, without a look at this one.
        if self.listener_of(&peer_type.name) != handler {
            self.welcome_refused();
        }
    }

    /// As [`refuse_event`](Self::refuse_event), for one that has its name and kinds with it.
    #[cold]
    pub(crate) fn refuse_unnumbered(
        self: &Arc<Self>,
        name: &[u8],
        kinds: &[u8],
        handler: u64,
        mismatch: &Mismatch,
    ) {
        // It is that of a handler.
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

    /// Returns the number of the handler of an event; zero if there is none.
    fn listener_of(&self, event: &str) -> u64 {
        self.registry.listener(event, |listener| listener.id).unwrap_or(0)
    }

    /// Lets the other end send again what former handlers have not taken. To be called when there
    /// are others.
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

    /// Sends what is looked for by a thread that only sends. Does not wait.
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

    /// A call that has asked for the kinds of its result has ended.
    #[inline(always)] // nothing of it is left where nothing was asked
    pub(crate) fn answered<R>(&self, asked: Option<SentTypeId>, result: &Result<R>) {
        if asked.is_some() || result.is_err() {
            self.settle_answer(asked, result.as_ref().err());
        }
    }

    #[cold]
    fn settle_answer(&self, asked: Option<SentTypeId>, error: Option<&Error>) {
        match (asked.and_then(|id| self.types.sent.sent_type(id)), error) {
            (Some(sent_type), None) => sent_type.set_answered(true),
            (Some(sent_type), Some(Error::Types { .. })) => sent_type.set_answered(false),
            // The value that was sent had not been looked at: the next one is.
            (None, Some(Error::Types { name, .. })) => self.types.sent.look_again(name),
            // Nothing is known of the result.
            (_, Some(_)) | (None, None) => {}
        }
    }
}
