//! Finds the handler of a message, runs the handler, and deals with the outcome.
//!
//! Only the leader runs handlers, and holds no lock of the end meanwhile: a handler may call, emit,
//! register, or close the end. Each handler runs in [`run_handler`](End::run_handler), in this
//! order:
//!
//! 1. The depth is raised, and then the message is not in transit any more.
//! 2. The handler runs. Its panic is caught.
//! 3. If the handler has not answered its call, the answer is in transit from here on.
//! 4. The depth is lowered.
//!
//! So a thread that asks whether the end still works on something finds the message in transit, or
//! the handler, or the answer in transit.

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
    /// Returns what a message is about, and what the message says of its value. Returns `None` if the
    /// peer has not introduced the number that the message has.
    #[inline]
    fn resolve<'a>(&'a self, subject: Subject<'a>) -> Option<Resolved<'a>> {
        match subject {
            Subject::Known(number) => {
                let peer_type = self.types.peer.get(number.number())?;
                Some(Resolved::PeerType(number.number(), peer_type))
            }
            Subject::Named(name) => Some(Resolved::Name(name)),
            Subject::Described { name, kinds, .. } => Some(Resolved::Kinds(name, kinds)),
        }
    }

    /// Runs the handler of an event. Counts the event if no handler takes it.
    pub(crate) fn dispatch_event(
        self: &Arc<Self>,
        transit: InTransit<'_>,
        subject: Subject<'_>,
        value: &[u8],
        handlers: &mut Snapshot<End>,
    ) -> Step<()> {
        let Some(resolved) = self.resolve(subject) else {
            drop(transit);
            return Err(self.protocol_violation().into());
        };
        let (table, handlers) = handlers.of(&self.registry);
        let Some((listener, is_beside)) =
            resolved.handler(table, &handlers.events, |listener| listener.id)
        else {
            drop(transit);
            std::str::from_utf8(resolved.name()).map_err(|_| self.protocol_violation())?;
            self.count_unheard();
            return Ok(());
        };
        if is_beside {
            self.dispatch_event_beside(transit, resolved, listener, value);
            return Ok(());
        }
        let heard = self.hear(transit, listener, Payload { bytes: value, beside: None });
        if !matches!(heard, Ok(Ok(()))) {
            self.count_unhandled(heard);
        }
        Ok(())
    }

    /// Runs the handler of an event, and catches its panic.
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

    /// Counts an event that was not handled, or not to its end.
    ///
    /// Returns the error if the types of the event are to blame.
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
                // The panic hook has reported the panic.
                Counters::add(&self.counters.event_panics);
                forget_panic(panic);
            }
        }
        None
    }

    /// Dispatches an event whose value is to be read beside its kinds.
    #[cold]
    fn dispatch_event_beside(
        self: &Arc<Self>,
        transit: InTransit<'_>,
        resolved: Resolved<'_>,
        listener: &Listener,
        value: &[u8],
    ) {
        if resolved.is_refused_by(listener.id) {
            drop(transit);
            return self.count_mistyped();
        }
        let beside = resolved.beside();
        let heard = self.hear(transit, listener, Payload { bytes: value, beside: beside.as_ref() });
        if matches!(heard, Ok(Ok(()))) {
            resolved.fits(beside, listener.id);
        } else if let Some(error) = self.count_unhandled(heard)
            && let Some(mismatch) = error.mismatch()
        {
            self.refuse_types(resolved, listener.id, mismatch);
        }
    }

    /// Tells the peer that an event is not what its handler takes.
    fn refuse_types(self: &Arc<Self>, resolved: Resolved<'_>, handler: u64, mismatch: &Mismatch) {
        match resolved {
            Resolved::Name(_) => {}
            Resolved::Kinds(name, kinds) => self.refuse_unnumbered(name, kinds, handler, mismatch),
            Resolved::PeerType(number, peer_type) => {
                self.refuse_event(number, peer_type, handler, mismatch)
            }
        }
    }

    /// Runs the handler of a call. Answers the call with a failure if no handler can run.
    ///
    /// `deadline` is the deadline of the caller.
    pub(crate) fn dispatch_call(
        self: &Arc<Self>,
        transit: InTransit<'_>,
        id: CallId,
        deadline: Deadline,
        subject: Subject<'_>,
        args: &[u8],
        handlers: &mut Snapshot<End>,
    ) -> Step<()> {
        let Some(resolved) = self.resolve(subject) else {
            drop(transit);
            return Err(self.protocol_violation().into());
        };
        let (table, handlers) = handlers.of(&self.registry);
        let Some((server, is_beside)) =
            resolved.handler(table, &handlers.methods, |server| server.id)
        else {
            let Ok(method) = std::str::from_utf8(resolved.name()) else {
                drop(transit);
                return Err(self.protocol_violation().into());
            };
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
        let beside = if is_beside { resolved.beside() } else { None };
        let call = Incoming {
            id,
            method: &server.name,
            args: Payload { bytes: args, beside: beside.as_ref() },
            asks: subject.asks(),
        };
        // If the handler has not answered the call, the answer is in transit before the handler is
        // over.
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
            Ok(Ok(())) if is_beside => resolved.fits(beside, server.id),
            Ok(Ok(())) => {}
        }
        Ok(())
    }

    /// Runs a handler or a callback, and ends `transit` once the handler is seen to run.
    ///
    /// `deadline` is the deadline of the call that the handler serves.
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

    /// Runs code of the user, and catches and counts its panic.
    pub(crate) fn catch_user_panic(&self, code: impl FnOnce()) {
        if catch_user_panic(code) {
            Counters::add(&self.counters.event_panics);
        }
    }
}

/// Says what a message is about, and what the message says of its value.
#[derive(Clone, Copy)]
enum Resolved<'a> {
    /// A name. The message says nothing of the value.
    Name(&'a [u8]),
    /// A name, and the kinds of the value.
    Kinds(&'a [u8], &'a [u8]),
    /// A number, and what the peer has introduced with it.
    PeerType(u32, &'a PeerType),
}

impl<'a> Resolved<'a> {
    fn name(self) -> &'a [u8] {
        match self {
            Resolved::Name(name) | Resolved::Kinds(name, _) => name,
            Resolved::PeerType(_, peer_type) => peer_type.name.as_bytes(),
        }
    }

    /// Looks up the handler. The flag is `true` if the handler must read the value beside its
    /// kinds.
    #[inline]
    fn handler<T>(
        self,
        table: u64,
        handlers: &Table<T>,
        id: impl Fn(&T) -> u64,
    ) -> Option<(&T, bool)> {
        if let Resolved::PeerType(_, peer_type) = self
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
            Resolved::Name(_) => false,
            Resolved::Kinds(..) => true,
            Resolved::PeerType(_, peer_type) => !peer_type.fits(id(handler), table, place),
        };
        Some((handler, is_beside))
    }

    /// Returns `true` if the handler is known not to take such a value.
    #[cold]
    fn is_refused_by(self, handler: u64) -> bool {
        matches!(self, Resolved::PeerType(_, peer_type) if peer_type.is_refused_by(handler))
    }

    /// Returns the kinds that the value is read beside.
    #[cold]
    fn beside(self) -> Option<Beside<'a>> {
        match self {
            Resolved::Name(_) => None,
            Resolved::Kinds(_, kinds) => Some(Beside::new(kinds)),
            Resolved::PeerType(_, peer_type) => Some(peer_type.beside()),
        }
    }

    /// Notes that a handler has read the value.
    ///
    /// If the value had all that its kinds describe, later values with this number need no
    /// comparison.
    #[cold]
    fn fits(self, beside: Option<Beside<'_>>, handler: u64) {
        if let (Some(beside), Resolved::PeerType(_, peer_type)) = (beside, self)
            && !beside.is_partial()
        {
            peer_type.set_fits(handler);
        }
    }
}
