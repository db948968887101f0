//! From a message to its handler.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::end::End;
use crate::error::Step;
use crate::limits::MAX_DEPTH;
use crate::panicked::{DROPPED, panic_message};
use crate::recv::handlers::{Incoming, Listener, Snapshot};
use crate::recv::registry::Table;
use crate::stats::Counters;
use crate::sync::user_panic::{catch_user_panic, forget_panic};
use crate::time::deadline::{Deadline, Serving};
use crate::types::beside::Beside;
use crate::types::payload::Payload;
use crate::types::peer_types::PeerType;
use crate::wire::deserializer::DecodeError;
use crate::wire::header::{CallId, Failure, Subject};
use crate::wire::mismatch::Mismatch;

use crate::end::transit::InTransit;

impl End {
    /// Returns what a message is about, and what is said of its value.
    #[inline]
    fn said<'a>(&'a self, subject: Subject<'a>) -> Step<Said<'a>> {
        match subject {
            Subject::Known(number) => match self.types.peer.get(number.number()) {
                Some(peer_type) => Ok(Said::PeerType(number.number(), peer_type)),
                None => Err(self.protocol_violation().into()),
            },
            Subject::Named(name) => Ok(Said::Name(name)),
            Subject::Described { name, kinds, .. } => Ok(Said::Kinds(name, kinds)),
        }
    }

    pub(crate) fn dispatch_event(
        self: &Arc<Self>,
        transit: InTransit<'_>,
        subject: Subject<'_>,
        value: &[u8],
        handlers: &mut Snapshot<End>,
    ) -> Step<()> {
        let said = self.said(subject)?;
        let (table, handlers) = handlers.of(&self.registry);
        let Some((listener, is_beside)) =
            said.handler(table, &handlers.events, |listener| listener.id)
        else {
            drop(transit);
            std::str::from_utf8(said.name()).map_err(|_| self.protocol_violation())?;
            self.count_unheard();
            return Ok(());
        };
        if is_beside {
            self.dispatch_event_beside(transit, said, listener, value);
            return Ok(());
        }
        let heard = self.hear(transit, listener, Payload { bytes: value, beside: None });
        if !matches!(heard, Ok(Ok(()))) {
            self.count_unhandled(heard);
        }
        Ok(())
    }

    /// Has an event handled.
    #[inline]
    fn hear(
        &self,
        transit: InTransit<'_>,
        listener: &Listener,
        value: Payload<'_>,
    ) -> std::thread::Result<std::result::Result<(), DecodeError>> {
        self.run_handler(Some(transit), Deadline::NEVER, || {
            catch_unwind(AssertUnwindSafe(|| (listener.listen)(value)))
        })
    }

    /// Counts an event that was not handled, or not to its end. Returns why, if its types are to blame.
    #[cold]
    fn count_unhandled(
        &self,
        heard: std::thread::Result<std::result::Result<(), DecodeError>>,
    ) -> Option<DecodeError> {
        match heard {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.mismatch().is_some() => {
                self.count_mistyped();
                return Some(error);
            }
            Ok(Err(_)) => self.count_undecodable(),
            Err(panic) => {
                // The panic hook has reported it.
                Counters::add(&self.counters.event_panics);
                forget_panic(panic);
            }
        }
        None
    }

    /// Dispatches an event whose value is to be read beside kinds.
    #[cold]
    fn dispatch_event_beside(
        self: &Arc<Self>,
        transit: InTransit<'_>,
        said: Said<'_>,
        listener: &Listener,
        value: &[u8],
    ) {
        if said.is_refused_by(listener.id) {
            drop(transit);
            return self.count_mistyped();
        }
        let beside = said.beside();
        let heard = self.hear(transit, listener, Payload { bytes: value, beside: beside.as_ref() });
        if matches!(heard, Ok(Ok(()))) {
            said.fits(beside, listener.id);
        } else if let Some(error) = self.count_unhandled(heard)
            && let Some(mismatch) = error.mismatch()
        {
            self.refuse_types(said, listener.id, mismatch);
        }
    }

    /// Tells the other end that an event was not what its handler takes.
    fn refuse_types(self: &Arc<Self>, said: Said<'_>, handler: u64, mismatch: &Mismatch) {
        match said {
            Said::Name(_) => {}
            Said::Kinds(name, kinds) => self.refuse_unnumbered(name, kinds, handler, mismatch),
            Said::PeerType(number, peer_type) => {
                self.refuse_event(number, peer_type, handler, mismatch)
            }
        }
    }

    /// Has a call served. `deadline`: of its caller.
    pub(crate) fn dispatch_call(
        self: &Arc<Self>,
        transit: InTransit<'_>,
        id: CallId,
        deadline: Deadline,
        subject: Subject<'_>,
        args: &[u8],
        handlers: &mut Snapshot<End>,
    ) -> Step<()> {
        let said = self.said(subject)?;
        let (table, handlers) = handlers.of(&self.registry);
        let Some((server, is_beside)) = said.handler(table, &handlers.methods, |server| server.id)
        else {
            let method = std::str::from_utf8(said.name()).map_err(|_| self.protocol_violation())?;
            self.fail(id, method, Failure::NotFound);
            return Ok(());
        };
        if self.handler_stack.is_at_bound() {
            self.fail(
                id,
                &server.name,
                Failure::Remote(&format!("handlers call each other more than {MAX_DEPTH} deep")),
            );
            return Ok(());
        }
        let beside = if is_beside { said.beside() } else { None };
        let call = Incoming {
            id,
            method: &server.name,
            args: Payload { bytes: args, beside: beside.as_ref() },
            asks: subject.asks(),
        };
        // The answer to a call that its handler has not answered is in transit before the handler is over.
        let (served, has_dropped_reply, answering) =
            self.run_handler(Some(transit), deadline, || {
                let replies = self.handler_stack.watch_replies();
                let served = catch_unwind(AssertUnwindSafe(|| (server.serve)(self, &call)));
                let has_dropped_reply = replies.end();
                let is_unanswered = !matches!(served, Ok(Ok(()))) || has_dropped_reply;
                (served, has_dropped_reply, is_unanswered.then(|| self.transit.begin()))
            });
        match served {
            Err(panic) => {
                self.fail(id, &server.name, Failure::Remote(&panic_message(&*panic)));
                drop(answering);
                forget_panic(panic);
            }
            Ok(Err(error)) => self.refuse_arguments(id, &server.name, &error),
            // The handler has caught the panic that dropped its reply.
            Ok(Ok(())) if has_dropped_reply => {
                self.fail(id, &server.name, Failure::Remote(DROPPED))
            }
            Ok(Ok(())) if is_beside => said.fits(beside, server.id),
            Ok(Ok(())) => {}
        }
        Ok(())
    }

    /// Runs a handler, or a callback, which the guard of the message is held for until then. `deadline`: of
    /// the call that it serves.
    #[inline]
    pub(crate) fn run_handler<T>(
        &self,
        transit: Option<InTransit<'_>>,
        deadline: Deadline,
        handler: impl FnOnce() -> T,
    ) -> T {
        let running = self.handler_stack.enter();
        // After the depth: a thread that sees nothing in transit sees that a handler runs.
        drop(transit);
        let serving = Serving::begin(deadline);
        let result = handler();
        drop(serving);
        drop(running);
        result
    }

    /// Runs code of the user's; its panic stays in it.
    pub(crate) fn catch_user_panic(&self, code: impl FnOnce()) {
        if catch_user_panic(code) {
            Counters::add(&self.counters.event_panics);
        }
    }
}

/// What a message is about, and what is said of its value.
#[derive(Clone, Copy)]
enum Said<'a> {
    /// Nothing of the value.
    Name(&'a [u8]),
    /// Its kinds.
    Kinds(&'a [u8], &'a [u8]),
    /// What was introduced with this number.
    PeerType(u32, &'a PeerType),
}

impl<'a> Said<'a> {
    fn name(self) -> &'a [u8] {
        match self {
            Said::Name(name) | Said::Kinds(name, _) => name,
            Said::PeerType(_, peer_type) => peer_type.name.as_bytes(),
        }
    }

    /// Looks up the handler, and whether it is to read the value beside kinds.
    #[inline]
    fn handler<T>(
        self,
        table: u64,
        handlers: &Table<T>,
        id: impl Fn(&T) -> u64,
    ) -> Option<(&T, bool)> {
        if let Said::PeerType(_, peer_type) = self
            && let Some(place) = peer_type.place(table)
        {
            return Some((handlers.at(place)?, false));
        }
        self.look_up(table, handlers, id)
    }

    #[inline(never)]
    fn look_up<T>(
        self,
        table: u64,
        handlers: &Table<T>,
        id: impl Fn(&T) -> u64,
    ) -> Option<(&T, bool)> {
        let (place, handler) = handlers.get(self.name())?;
        let is_beside = match self {
            Said::Name(_) => false,
            Said::Kinds(..) => true,
            Said::PeerType(_, peer_type) => !peer_type.fits(id(handler), table, place),
        };
        Some((handler, is_beside))
    }

    /// Whether the handler is known not to take such a value.
    #[cold]
    fn is_refused_by(self, handler: u64) -> bool {
        matches!(self, Said::PeerType(_, peer_type) if peer_type.is_refused_by(handler))
    }

    /// What the value is read beside.
    #[cold]
    fn beside(self) -> Option<Beside<'a>> {
        match self {
            Said::Name(_) => None,
            Said::Kinds(_, kinds) => Some(Beside::new(kinds)),
            Said::PeerType(_, peer_type) => Some(peer_type.beside()),
        }
    }

    /// A handler has read the value. If the value had all that its kinds tell of, later ones need no look.
    #[cold]
    fn fits(self, beside: Option<Beside<'_>>, handler: u64) {
        if let (Some(beside), Said::PeerType(_, peer_type)) = (beside, self)
            && !beside.is_partial()
        {
            peer_type.set_fits(handler);
        }
    }
}
