//! Calls of a [`Coprocess`] that block, or hand their result to a callback.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::coprocess::Coprocess;
use crate::api::pending::{Pending, decode_outcome, wait_for_result};
use crate::calls::cancels::GivenUp;
use crate::calls::in_flight::{Completion, Notify, Outcome};
use crate::calls::timers::Due;
use crate::end::End;
use crate::end::send::SendFailed;
use crate::error::{Result, Step};
use crate::send::outbox::WhenFull;
use crate::time::deadline::Deadline;
use crate::types::looked_at::Unnumbered;
use crate::types::sent_types::SentTypeId;
use crate::wire::header::{CallId, Header, Subject};
use crate::wire::message::Message;
#[cfg(doc)]
use crate::{Error, Reply};

/// Returns the header of a call. Only a call with a deadline has a deadline in its header.
#[inline]
pub(crate) fn call_header<'m>(end: &End, subject: Subject<'m>, deadline: Deadline) -> Header<'m> {
    Header::Call(CallId::NONE, deadline.instant().map(|at| end.clock.number(at)), subject)
}

/// Forgets a call that was sent, unless a wait or a handle takes the call over.
///
/// The arguments may panic at the end of their encoding, or when they are dropped. Then no caller
/// waits for the answer.
struct Unclaimed<'a> {
    end: &'a Arc<End>,
    id: Option<CallId>,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.end.give_up(id, GivenUp::Forgotten);
        }
    }
}

impl Coprocess {
    /// Calls a method of the peer and blocks until the result arrives.
    ///
    /// The arguments are `()` for none, the value itself for one, and a tuple for several. While
    /// the caller waits, its thread dispatches what arrives.
    ///
    /// # Blocking
    ///
    /// Blocks until one of these happens:
    ///
    /// - The answer arrives.
    /// - The deadline passes. [`Builder::call_timeout`](crate::Builder::call_timeout) sets it. In a
    ///   handler, the deadline of the call that is served holds, too: the earlier one counts. See
    ///   [`current_deadline`](crate::current_deadline).
    /// - The pair is over: see [What ends a wait](Self#what-ends-a-wait).
    ///
    /// # Errors
    ///
    /// - [`Error::MethodNotFound`]: the peer serves no such method.
    /// - [`Error::Overloaded`]: the peer serves as many calls as its
    ///   [`Builder::max_calls_served`](crate::Builder::max_calls_served) allows.
    /// - [`Error::Remote`]: the handler returned an error, panicked, or dropped its [`Reply`].
    /// - [`Error::Types`]: the handler takes other arguments, and did not run. Or its result is of
    ///   another type than `R`, and the handler did run.
    /// - [`Error::Decode`]: the result is not an `R`.
    /// - [`Error::Timeout`]: the deadline passed. If the answer comes later, the answer is dropped.
    /// - [`Error::Encode`], [`Error::TooLarge`]: nothing was sent.
    /// - [`Error::TooManyCalls`]: as many calls are in flight as
    ///   [`Builder::max_calls_in_flight`](crate::Builder::max_calls_in_flight) allows. Nothing was
    ///   sent.
    /// - [`Error::Full`]: both ends flood each other from handlers. Nothing was sent.
    /// - [`Error::Closed`], [`Error::Disconnected`], [`Error::Misbehaved`], [`Error::Os`]: the pair
    ///   is over.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let sum: i64 = co.call("add", (1, 2))?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Result<R> {
        self.call_until(method, args, self.end().default_deadline())
    }

    /// Calls a method as [`call`](Self::call) does, and waits for at most `timeout`.
    ///
    /// The deadline covers the whole operation, the wait for space in the ring included. It
    /// replaces every other deadline:
    ///
    /// - that of [`Builder::call_timeout`](crate::Builder::call_timeout);
    /// - **in a handler, that of the call which the handler serves.** So `timeout` may exceed what
    ///   is left of that deadline; [`current_deadline`](crate::current_deadline) says what is left.
    ///
    /// `Duration::MAX` means no deadline.
    ///
    /// # Blocking
    ///
    /// As [`call`](Self::call), until `timeout` has passed.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// # use std::time::Duration;
    /// match co.call_timeout::<u64>("measure", (), Duration::from_millis(20)) {
    ///     Err(coprocess::Error::Timeout) => println!("too slow"),
    ///     other => println!("{}", other?),
    /// }
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn call_timeout<R: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Serialize,
        timeout: Duration,
    ) -> Result<R> {
        self.call_until(method, args, Deadline::after(timeout))
    }

    fn call_until<R: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Serialize,
        deadline: Deadline,
    ) -> Result<R> {
        let (id, asked) = self.send_call::<R>(method, args, deadline)?;
        // From here on, the wait owns the call's entry.
        let result = wait_for_result(self.end(), id, deadline, method);
        self.end().answered(asked, &result);
        result
    }

    fn send_call<R: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Serialize,
        deadline: Deadline,
    ) -> Step<(CallId, Option<SentTypeId>)> {
        let end = self.own_end()?;
        let (mut unnumbered, mut asked) = (Unnumbered::default(), None);
        let subject = match end.subject_of_call::<_, R>(
            method,
            &args,
            WhenFull::Wait(deadline),
            &mut unnumbered,
            &mut asked,
        ) {
            Ok(subject) => subject,
            Err(error) => {
                end.take_last_deliveries(deadline);
                return Err(error);
            }
        };
        let mut message = Message::new();
        let header = call_header(end, subject, deadline);
        let mut unclaimed = Unclaimed { end, id: None };
        let sent = message.deliver(header, &args, end.settings.max_message, method, |message| {
            let sent = end.send_call(message, WhenFull::Wait(deadline));
            unclaimed.id = sent.as_ref().ok().copied();
            sent
        })?;
        match sent {
            Ok(id) => {
                drop(args);
                unclaimed.id = None;
                Ok((id, asked))
            }
            Err(SendFailed { error, .. }) => {
                end.take_last_deliveries(deadline);
                Err(error)
            }
        }
    }

    /// Sends a call and returns a handle, to wait for the result later or to await it.
    ///
    /// The deadline is that of [`call`](Self::call), and counts from here.
    ///
    /// # Blocking
    ///
    /// If the ring is full, blocks until one of these happens:
    ///
    /// - The call is in the ring.
    /// - The deadline passes.
    /// - The pair is over: see [What ends a wait](Self#what-ends-a-wait).
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), as far as sending goes. The [`Pending`] reports what fails later.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let mut squares = Vec::new();
    /// for n in 0..100 {
    ///     squares.push(co.start::<u64>("square", n)?);
    /// }
    /// for square in squares {
    ///     println!("{}", square.wait()?);
    /// }
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn start<R: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Serialize,
    ) -> Result<Pending<R>> {
        let deadline = self.end().default_deadline();
        let (id, asked) = self.send_call::<R>(method, args, deadline)?;
        Ok(Pending::new(self.end().clone(), id, method.into(), deadline, asked))
    }

    /// Sends a call, and has the result handed to `callback`.
    ///
    /// The thread that dispatches the answer runs the callback. If the pair ends first, the
    /// callback gets an error, on the thread that ends the pair. Then the callback may run at the
    /// same time as a handler.
    ///
    /// # Blocking
    ///
    /// As [`start`](Self::start): until the call is sent.
    ///
    /// # Errors
    ///
    /// If this method fails, the callback is never called.
    ///
    /// - As [`start`](Self::start).
    /// - [`Error::Os`] also if the system refuses the driver's thread. Then the pair goes on.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.call_with("add", (1, 2), |sum: coprocess::Result<i64>| println!("{sum:?}"))?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn call_with<R: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
        callback: impl FnOnce(Result<R>) + Send + 'static,
    ) -> Result<()> {
        let end = self.own_end()?;
        end.ensure_driver()?;
        let deadline = end.default_deadline();
        let (mut unnumbered, mut asked) = (Unnumbered::default(), None);
        let subject = end.subject_of_call::<_, R>(
            method,
            &args,
            WhenFull::Wait(deadline),
            &mut unnumbered,
            &mut asked,
        )?;
        let mut message = Message::new();
        let header = call_header(end, subject, deadline);
        let name: Box<str> = method.into();
        let of_end = Arc::downgrade(end);
        let callback = Notify::Callback(Box::new(move |outcome| {
            let result = decode_outcome(outcome, &name);
            if let Some(end) = of_end.upgrade() {
                end.answered(asked, &result);
            }
            callback(result);
        }));
        let sent = message.deliver(header, &args, end.settings.max_message, method, |message| {
            end.send_call_with(message, WhenFull::Wait(deadline), callback)
        })?;
        let (id, early) = match sent {
            Ok(sent) => sent,
            Err(SendFailed { error, was_known: true }) => return Err(*error),
            // The pair ended meanwhile, and the callback has the error.
            Err(SendFailed { was_known: false, .. }) => return Ok(()),
        };
        // A hostile peer has answered the call before it could know of it.
        if let Some(Notify::Callback(callback)) = early {
            let outcome =
                end.in_flight.take(id).unwrap_or_else(|| Outcome::Failed(end.terminal_error()));
            end.inbox().completions.push_back(Completion::Run(callback, outcome));
            if end.is_over() {
                end.conclude_last();
            } else {
                // The thread that dispatches runs the callback.
                end.interrupt();
            }
        } else if end.is_over() && end.in_flight.is_known(id) {
            // The pair ended after the callback was registered, and perhaps before the end looked
            // for callbacks.
            end.complete(id, Outcome::Failed(end.terminal_error()));
        } else if let Some(at) = deadline.instant() {
            end.time(at, Due::Call(id));
        }
        Ok(())
    }
}
