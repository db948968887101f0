//! The handles of a pair: [`Coprocess`], and [`WeakCoprocess`], which does not keep the pair open.

use std::fmt::Display;
use std::process::ExitStatus;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::pending::{Pending, decode_outcome, wait_for_result};
use crate::api::reply::Reply;
use crate::calls::cancels::GivenUp;
use crate::calls::in_flight::{Completion, Notify, Outcome};
use crate::calls::timers::Due;
use crate::end::End;
use crate::end::send::SendFailed;
use crate::error::{Error, Reason, Result, Step};
use crate::panicked::note_panics;
use crate::process::Ended;
use crate::recv::handlers::{Handlers, Incoming};
use crate::send::outbox::WhenFull;
use crate::stats::Stats;
use crate::time::deadline::Deadline;
use crate::types::looked_at::Unnumbered;
use crate::types::sent_types::SentTypeId;
use crate::wire::header::{CallId, Header, Subject};
use crate::wire::message::Message;

/// One end of a pair of processes that are connected.
///
/// A `Coprocess` is a handle: cheap to clone, and usable from any thread. Both ends, the parent's
/// and the worker's, have the same methods. The process at the other end is the *peer*.
///
/// The pair is closed by [`close`](Self::close), or when the parent drops its last handle.
///
/// # Which thread runs handlers
///
/// A thread *dispatches* if it receives messages and runs their handlers and callbacks. If threads
/// of the program wait in [`call`](Self::call), [`run`](Self::run) or [`poll`](Self::poll), one of
/// them dispatches. If none waits, a thread of the library dispatches: the *driver*.
///
/// Handlers of one end never run at the same time, except nested: while a handler waits in a
/// `call`, its thread dispatches what arrives. Messages are received in the order in which the peer
/// sent them. Before the next message is received, the handler has returned, or waits.
///
/// So a handler must avoid these:
///
/// - **Waiting for another thread that waits for the same pair.** If work takes long, answer later,
///   from another thread, with [`serve_deferred`](Self::serve_deferred).
/// - **Blocking on a future of the same pair**, such as that of [`call_async`](Self::call_async).
///   `call` receives while it waits; a runtime does not.
/// - **Holding a mutex across a call**, through any pair. If a handler that is nested in the call
///   takes the same mutex, both handlers wait for ever.
/// - **[Running](Self::run) another pair.** The handler's own pair would wait for the end of the
///   other pair.
///
/// # Handlers that call through several pairs
///
/// Handlers of several pairs may call across: each through a pair whose handler calls through
/// another of these pairs. Threads that would wait for each other receive for each other. Each
/// thread takes the answers that it waits for. Each also dispatches, nested, for the pair whose
/// handler it is in.
///
/// A handler that passes calls on keeps its pair waiting, though, and nests. To relay calls, use
/// [`serve_deferred`](Self::serve_deferred) with [`call_with`](Self::call_with): the documentation
/// of `serve_deferred` has an example.
///
/// The library does not see other waits, such as those for a mutex or a channel. Two handlers that
/// wait for each other by such means wait for ever.
///
/// # In the worker of `fork`
///
/// In the worker of [`fork`](crate::fork), no thread dispatches before the worker function has
/// returned, with two exceptions:
///
/// - While a thread waits in `call`, [`run`](Self::run) or [`poll`](Self::poll), that thread
///   dispatches.
/// - Once something needs the driver, the driver dispatches.
///
/// These need the driver: a callback; an awaited call whose answer does not come at once; a gauge
/// that keeps a value; the deadline of an awaited event that is kept.
///
/// # In a child of fork(2)
///
/// If a process forks without executing a program, the child has copies of the handles. The child
/// cannot use the copies:
///
/// - Everything that can fail returns [`Error::Forked`].
/// - Nothing is registered.
/// - Dropping a copy does nothing.
///
/// It does not matter whether the program or one of its libraries forks. The pair goes on
/// undisturbed, and the child can start pairs of its own. All this holds for children that the C
/// library's `fork` makes.
///
/// The child must not return into a handler or callback that it was forked in. As long as the child
/// lives and has executed no other program, the child holds copies of the pair's descriptors.
///
/// # What ends a wait
///
/// Every wait ends with the first of these:
///
/// - The answer arrives, or the ring has space: what the wait was for.
/// - The deadline passes: [`Error::Timeout`].
/// - This end is closed by [`close`](Self::close): [`Error::Closed`].
/// - The peer closes its end, or dies: [`Error::Disconnected`], once everything that the peer had
///   sent was received.
/// - The peer breaks the protocol: [`Error::Misbehaved`].
/// - The system refuses what waiting takes: [`Error::Os`].
///
/// After each of the last four, the pair is *over*.
///
/// For a future or a callback, some thread must be free to notice this. No thread is in two cases:
/// if a handler blocks on a future of its own pair (see [`call_async`](Self::call_async)), and if
/// an event loop has a [`Readiness`](crate::Readiness) and does not poll.
///
/// # Examples
///
/// ```no_run
/// fn main() -> coprocess::Result<()> {
///     coprocess::init();
///     let co = coprocess::fork(|co| {
///         co.serve("add", |(a, b): (i64, i64)| a + b);
///     })?;
///     assert_eq!(co.call::<i64>("add", (1, 2))?, 3);
///     co.close()?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Coprocess {
    handle: Arc<Handle>,
}

/// Closes the end when the last clone of a handle is dropped.
///
/// All clones of a handle share it. The library's threads share the end itself, but not this.
#[derive(Debug)]
struct Handle {
    end: Arc<End>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // In a child of fork(2), this handle is a copy: the pair goes on without it.
        if !self.end.is_foreign() {
            self.end.flush_gauges();
            // This does not wait: the process watcher makes sure that the worker ends.
            self.end.close();
        }
    }
}

/// Returns the header of a call. Only a call with a deadline has a deadline in its header.
#[inline]
pub(crate) fn call_head<'m>(end: &End, subject: Subject<'m>, deadline: Deadline) -> Header<'m> {
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

/// A handle that does not keep the pair open.
///
/// A handler that needs its own pair captures a weak handle. If a handler captures a [`Coprocess`]
/// of its own pair, the pair stays open until it is closed or the peer is gone.
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// let weak = co.downgrade();
/// co.serve("twice", move |n: i64| match weak.upgrade() {
///     Some(co) => co.call::<i64>("double", n),
///     None => Err(coprocess::Error::Closed),
/// }.unwrap_or(0));
/// # Ok::<(), coprocess::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WeakCoprocess {
    handle: Weak<Handle>,
}

impl WeakCoprocess {
    /// Returns a full handle, unless the last one was dropped or the pair is over.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let weak = co.downgrade();
    /// assert!(weak.upgrade().is_some());
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn upgrade(&self) -> Option<Coprocess> {
        self.handle
            .upgrade()
            .filter(|handle| !handle.end.is_over())
            .map(|handle| Coprocess { handle })
    }
}

impl Coprocess {
    pub(crate) fn new(end: Arc<End>) -> Coprocess {
        Coprocess { handle: Arc::new(Handle { end }) }
    }

    pub(crate) fn end(&self) -> &Arc<End> {
        &self.handle.end
    }

    /// Returns the end.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] if this process is a fork of the process that the end belongs to.
    #[inline]
    pub(crate) fn own_end(&self) -> Step<&Arc<End>> {
        let end = self.end();
        end.check_own()?;
        Ok(end)
    }

    // ---- calls ----

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
    /// - [`Error::Closed`], [`Error::Disconnected`], [`Error::Misbehaved`]: the pair is over.
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
        let header = call_head(end, subject, deadline);
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
    /// - [`Error::Os`]: the system refuses the driver's thread.
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
        let header = call_head(end, subject, deadline);
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

    // ---- events ----

    /// Sends an event: one way, without an answer.
    ///
    /// `Ok` means that the event is on its way. The peer drops an event in these cases, and
    /// [`stats`](Self::stats) counts each:
    ///
    /// - The peer has no handler for the event: [`Stats::events_unheard_by_peer`].
    /// - The value is of another type than the handler takes: [`Stats::events_mistyped_by_peer`].
    /// - The peer cannot decode the value: [`Stats::events_undecodable_by_peer`].
    ///
    /// # Blocking
    ///
    /// If the ring is full, blocks until one of these happens. Meanwhile this thread runs no
    /// handlers.
    ///
    /// - The event is in the ring.
    /// - The peer has taken nothing for 5 seconds, and has registered no handler at all.
    /// - The pair is over: see [What ends a wait](Self#what-ends-a-wait).
    ///
    /// # Errors
    ///
    /// - [`Error::Types`]: the peer takes another type. The peer has found that by an earlier event
    ///   of this name, type and content. (An empty list shows less than a full one.) Nothing was
    ///   sent.
    /// - [`Error::Encode`], [`Error::TooLarge`]: nothing was sent.
    /// - [`Error::Unheard`]: the ring is full, and the peer has registered no handler. Nothing was
    ///   sent.
    /// - [`Error::Full`]: only in a handler, if both ends flood each other and 64 MiB wait to be
    ///   handled at this end.
    /// - [`Error::Closed`], [`Error::Disconnected`], [`Error::Misbehaved`]: the pair is over.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.emit("temperature", 21.5)?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit(&self, event: &str, value: impl Serialize) -> Result<()> {
        self.send_event(event, value, WhenFull::Wait(Deadline::NEVER))
    }

    /// Sends an event as [`emit`](Self::emit) does, if the ring has space now.
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Errors
    ///
    /// - As [`emit`](Self::emit).
    /// - [`Error::Full`]: the ring has no space now, or another thread is sending. Nothing was
    ///   sent. [`Stats::events_refused`](crate::Stats::events_refused) counts the event.
    /// - [`Error::TooLarge`] also if the event takes more than some three quarters of the ring: the
    ///   ring does not take such an event at once. [`emit`](Self::emit) sends it in parts.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// if let Err(coprocess::Error::Full) = co.try_emit("frame", 7) {
    ///     // The peer is behind: skip this one.
    /// }
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn try_emit(&self, event: &str, value: impl Serialize) -> Result<()> {
        self.send_event(event, value, WhenFull::Fail)
    }

    /// Sends an event as [`emit`](Self::emit) does, and waits for at most `timeout`.
    ///
    /// The deadline covers the whole operation.
    ///
    /// # Blocking
    ///
    /// As [`emit`](Self::emit), until `timeout` has passed.
    ///
    /// # Errors
    ///
    /// - As [`emit`](Self::emit).
    /// - [`Error::Timeout`]: nothing was sent.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.emit_timeout("frame", 7, std::time::Duration::from_millis(5))?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit_timeout(
        &self,
        event: &str,
        value: impl Serialize,
        timeout: Duration,
    ) -> Result<()> {
        self.send_event(event, value, WhenFull::Wait(Deadline::after(timeout)))
    }

    #[inline]
    fn send_event(&self, event: &str, value: impl Serialize, when_full: WhenFull) -> Result<()> {
        let end = self.own_end()?;
        let mut unnumbered = Unnumbered::default();
        let subject = match end.subject_of_event(event, &value, when_full, &mut unnumbered) {
            Ok(subject) => subject,
            Err(error) => {
                end.count_refused(&error);
                return Err(error.into());
            }
        };
        let mut message = Message::new();
        let header = Header::Event(subject);
        let sent = message.deliver(header, &value, end.settings.max_message, event, |message| {
            end.send(message, when_full)
        })?;
        Ok(sent.inspect_err(|error| end.count_refused(error))?)
    }

    // ---- handlers ----

    /// Registers the handler of an event.
    ///
    /// A second handler of an event replaces the first.
    ///
    /// The first registration at an end sends the event `"listening"` to the peer. If the ring is
    /// full, that event is kept, and is sent ahead of everything that is sent later.
    ///
    /// If the handler panics, the panic is caught. If a value is not a `T`, the value is dropped.
    /// [`stats`](Self::stats) counts both.
    ///
    /// If the peer emits a value of another type, the peer gets [`Error::Types`] when it emits such
    /// a value again. The peer also sees how many values were dropped:
    /// [`Stats::events_mistyped_by_peer`], [`Stats::events_undecodable_by_peer`].
    ///
    /// # Blocking
    ///
    /// Does not block: the event `"listening"` does not wait for space.
    ///
    /// # Panics
    ///
    /// If the system refuses the driver's thread, as [`std::thread::spawn`] does.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.listen("temperature", |celsius: f64| println!("{celsius} °C"));
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn listen<T: DeserializeOwned + 'static>(
        &self,
        event: &str,
        handler: impl Fn(T) + Send + Sync + 'static,
    ) -> &Self {
        self.register(|handlers| {
            handlers.listen(event, move |value| {
                handler(value.read()?);
                Ok(())
            });
        })
    }

    /// Removes the handler of an event, and returns `true` if there was one.
    ///
    /// After the last handler was removed, this end still counts as an end with handlers: events of
    /// the peer wait for space, and do not fail with [`Error::Unheard`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.listen("tick", |(): ()| {});
    /// assert!(co.unlisten("tick"));
    /// assert!(!co.unlisten("tick"));
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn unlisten(&self, event: &str) -> bool {
        self.own_end().is_ok_and(|end| end.registry.unlisten(event))
    }

    /// Registers the handler of a method: what the handler returns is the answer.
    ///
    /// A second handler of a method replaces the first. If the handler panics, the caller
    /// gets [`Error::Remote`]. If the arguments are not an `A`, the caller gets [`Error::Types`],
    /// and the handler does not run.
    ///
    /// The registration is as that of [`listen`](Self::listen): it does not block, and the first
    /// one at an end sends the event `"listening"`.
    ///
    /// # Panics
    ///
    /// As [`listen`](Self::listen).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.serve("add", |(a, b): (i64, i64)| a + b)
    ///     .serve("now", |(): ()| std::time::SystemTime::now());
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn serve<A: DeserializeOwned + 'static, R: Serialize + 'static>(
        &self,
        method: &str,
        handler: impl Fn(A) -> R + Send + Sync + 'static,
    ) -> &Self {
        self.serve_raw(method, move |end, call, args| end.answer_with(call, Ok(handler(args))))
    }

    /// Registers a handler that can fail.
    ///
    /// Otherwise as [`serve`](Self::serve). If the handler returns an error, the caller gets
    /// [`Error::Remote`] with the error's text.
    ///
    /// # Panics
    ///
    /// As [`listen`](Self::listen).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.try_serve("parse", |text: String| text.parse::<i64>());
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn try_serve<A: DeserializeOwned + 'static, R: Serialize + 'static, E: Display>(
        &self,
        method: &str,
        handler: impl Fn(A) -> std::result::Result<R, E> + Send + Sync + 'static,
    ) -> &Self {
        self.serve_raw(method, move |end, call, args| {
            end.answer_with(call, handler(args).map_err(|e| e.to_string()))
        })
    }

    /// Registers a handler that answers later, from any thread, through a [`Reply`].
    ///
    /// Otherwise as [`serve`](Self::serve). Use this if the work takes long: once the handler has
    /// returned, the next message is received.
    /// [`Builder::max_calls_served`](crate::Builder::max_calls_served) bounds how many calls are
    /// served at once.
    ///
    /// # Panics
    ///
    /// As [`listen`](Self::listen).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.serve_deferred("slow", |n: u64, reply| {
    ///     std::thread::spawn(move || reply.send(n * n));
    /// });
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    ///
    /// A relay passes calls on to another pair, and no thread waits for the answers:
    ///
    /// ```
    /// use coprocess::{Coprocess, Error, Reply};
    ///
    /// coprocess::init_in_tests!();
    ///
    /// fn relay(from: &Coprocess, to: &Coprocess) {
    ///     let to = to.downgrade(); // a handler that kept the other pair open would be a surprise
    ///     from.serve_deferred("other.double", move |n: u64, reply: Reply<u64>| {
    ///         let Some(to) = to.upgrade() else { return drop(reply.fail(Error::Closed)) };
    ///         // If the call cannot be sent, the reply is dropped: the caller gets Error::Remote.
    ///         let _ = to.call_with("double", n, move |result| {
    ///             drop(match result {
    ///                 Ok(doubled) => reply.send(doubled),
    ///                 Err(error) => reply.fail(error),
    ///             });
    ///         });
    ///     });
    /// }
    ///
    /// fn worker(parent: Coprocess) {
    ///     parent.serve("double", |n: u64| 2 * n);
    ///     let weak = parent.downgrade();
    ///     parent.try_serve("ask", move |n: u64| {
    ///         weak.upgrade().ok_or(Error::Closed)?.call::<u64>("other.double", n)
    ///     });
    /// }
    ///
    /// # fn main() -> coprocess::Result<()> {
    /// let (a, b) = (coprocess::fork(worker)?, coprocess::fork(worker)?);
    /// relay(&a, &b);
    /// relay(&b, &a);
    /// let (to_b, to_a) = (a.start::<u64>("ask", 1_u64)?, b.start::<u64>("ask", 2_u64)?);
    /// assert_eq!((to_b.wait()?, to_a.wait()?), (2, 4));
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve_deferred<A: DeserializeOwned + 'static, R: Serialize + 'static>(
        &self,
        method: &str,
        handler: impl Fn(A, Reply<R>) + Send + Sync + 'static,
    ) -> &Self {
        self.serve_raw(method, move |end, call, args| {
            if let Some(reply) = Reply::admit(end, call) {
                handler(args, reply);
            }
        })
    }

    fn serve_raw<A: DeserializeOwned + 'static>(
        &self,
        method: &str,
        handler: impl Fn(&Arc<End>, &Incoming<'_>, A) + Send + Sync + 'static,
    ) -> &Self {
        self.register(|handlers| {
            handlers.serve(method, move |end, call| {
                handler(end, call, call.args.read()?);
                Ok(())
            });
        })
    }

    /// Registers handlers, lets the peer know of the first, and makes sure that some thread
    /// dispatches.
    pub(crate) fn register(&self, change: impl FnOnce(&mut Handlers<End>)) -> &Self {
        // In a child of fork(2), no handler can ever run.
        let Ok(end) = self.own_end() else { return self };
        if end.worker().is_none() {
            // This process is a worker, and its parent wants to know where a handler panics.
            note_panics();
        }
        end.watch.report_registered();
        if end.registry.add(change) {
            end.announce();
        }
        end.welcome_refused();
        end.keep_driver();
        if end.driver.handlers_want_it.load(Ordering::Relaxed) {
            #[expect(
                clippy::expect_used,
                reason = "as documented: this system has no thread left"
            )]
            end.ensure_driver().expect("the driver needs a thread");
        }
        self
    }

    // ---- driving and life ----

    /// Dispatches on this thread until the pair is over.
    ///
    /// # Blocking
    ///
    /// Blocks until one of these happens:
    ///
    /// - The peer closes its end, or dies.
    /// - This end is closed.
    /// - The peer breaks the protocol.
    ///
    /// # Errors
    ///
    /// If one of the two ends closes the pair in good order, `run` returns `Ok`.
    ///
    /// - [`Error::Disconnected`]: the peer died.
    /// - [`Error::Misbehaved`]: the peer broke the protocol.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// // A worker program:
    /// fn main() -> coprocess::Result<()> {
    ///     let co = coprocess::parent()?;
    ///     co.serve("double", |n: u64| 2 * n);
    ///     co.run()
    /// }
    /// ```
    pub fn run(&self) -> Result<()> {
        self.own_end()?.run()
    }

    /// Dispatches what has arrived, and returns the number of messages.
    ///
    /// If another thread dispatches, `poll` returns 0.
    ///
    /// # Blocking
    ///
    /// Does not wait for messages. Runs handlers and callbacks, and so takes as long as these do.
    ///
    /// # Errors
    ///
    /// If the pair is over and nothing is left to dispatch: why the pair is over.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// while co.poll()? > 0 {}
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn poll(&self) -> Result<usize> {
        self.own_end()?.poll()
    }

    /// Closes the pair in good order.
    ///
    /// - What has arrived is handled first, unless `close` is called in a handler.
    /// - What was sent before is delivered to the peer.
    /// - Calls that are still in flight fail: with [`Error::Closed`] at this end, and with
    ///   [`Error::Disconnected`] at the peer's.
    /// - Handlers are dropped.
    ///
    /// On the parent's end, `close` then waits for the worker's exit, and returns its exit status.
    /// After [`Builder::close_timeout`](crate::Builder::close_timeout) the worker gets SIGTERM;
    /// after another, SIGKILL. The status is `None` if it was taken before: this program waits for
    /// any child, or ignores SIGCHLD.
    ///
    /// On the worker's end, `close` waits for no process, and returns `None`.
    ///
    /// Closing again, or after the peer died, is no error.
    ///
    /// # Blocking
    ///
    /// Blocks until all of this is done:
    ///
    /// - What has arrived is handled, and the answers that wait for space are sent: both for at
    ///   most one [`Builder::close_timeout`](crate::Builder::close_timeout).
    /// - On the parent's end, the worker has exited: by SIGTERM after another `close_timeout`, and
    ///   by SIGKILL after a third, if need be.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the worker does not even end by SIGKILL.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let status = co.close()?.expect("this is the parent");
    /// assert!(status.success());
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn close(&self) -> Result<Option<ExitStatus>> {
        let end = self.own_end()?;
        let deadline = Deadline::after(end.settings.close_timeout);
        end.finish_arrived(deadline);
        end.flush_gauges();
        // As far as their handlers know, answers that still wait for space were sent.
        end.wait_until_none_is_queued(deadline, || end.is_over() || end.is_gone());
        end.close();
        match end.worker() {
            None => Ok(None),
            Some(worker) => worker.wait_for_exit(),
        }
    }

    /// Kills the worker by SIGKILL.
    ///
    /// Each thread and task that waits for the worker gets [`Error::Disconnected`].
    ///
    /// # Blocking
    ///
    /// Does not block. To wait for the end of the process, use [`close`](Self::close),
    /// [`on_end`](Self::on_end) or [`ended`](Self::ended).
    ///
    /// # Errors
    ///
    /// If the worker has ended before, `kill` returns `Ok`.
    ///
    /// - [`Error::NotTheParent`]: this is the worker's end.
    /// - [`Error::Os`]: the system refuses to send the signal.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.kill()?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn kill(&self) -> Result<()> {
        self.own_end()?.worker().ok_or(Error::NotTheParent)?.kill()
    }

    /// Calls `callback` once, when the pair is over.
    ///
    /// A callback does not keep the pair open, unless it captures a handle of the pair: capture a
    /// [weak](Self::downgrade) handle.
    ///
    /// # On the parent's end
    ///
    /// The callback is called when the worker's *process* has ended and was reaped, for whatever
    /// reason: the process exited or was killed, this end was closed, or the last handle was
    /// dropped. By then, [`last_output`](Self::last_output) is complete.
    ///
    /// The callback gets how the process ended:
    ///
    /// - [`Reason::Exited`], [`Killed`](Reason::Killed), [`LimitExceeded`](Reason::LimitExceeded)
    ///   or [`Unknown`](Reason::Unknown).
    /// - After a `close` in good order: `Exited(0)`.
    /// - If the worker misbehaved and had to be killed: `Killed`.
    ///
    /// # On the worker's end
    ///
    /// The callback is called when the pair is over. The callback gets the reason:
    ///
    /// - [`Closed`](Reason::Closed): one of the two ends was closed. If the parent has closed its
    ///   end, a thread that dispatches or waits in the pair finds that.
    /// - [`ParentDied`](Reason::ParentDied).
    /// - [`Unknown`](Reason::Unknown): the parent broke the protocol.
    ///
    /// The process of [`fork`](crate::fork) exits only when all callbacks have returned. When its
    /// time is up, as [`init`](crate::init) says, the process is ended all the same.
    ///
    /// # Which thread runs the callback
    ///
    /// Several callbacks are called in the order of their registration. They run on a thread of the
    /// library, one for each pair that ends. On the worker's end, they may run on the thread that
    /// finds the pair over. If the pair is over already, `on_end` calls the callback at once, on
    /// this thread.
    ///
    /// A panic in a callback is caught. In a child of fork(2), no callback is ever called.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let pid = co.peer_id();
    /// co.on_end(move |reason| eprintln!("worker {pid}: {reason}"));
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn on_end(&self, callback: impl FnOnce(Reason) + Send + 'static) {
        if let Ok(end) = self.own_end() {
            end.endings.on_end(Box::new(callback));
        }
    }

    /// Waits until the pair is over, in any runtime.
    ///
    /// Returns the reason that [`on_end`](Self::on_end) tells. The future borrows the handle, and
    /// so keeps the pair open. Wait for a worker that is expected to end, or close another handle.
    ///
    /// In a child of fork(2), the future is ready at once, with [`Reason::Unknown`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no other effect. Any number of tasks can wait.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(co: coprocess::Coprocess) {
    /// println!("it is over: {}", co.ended().await);
    /// # }
    /// ```
    pub async fn ended(&self) -> Reason {
        Ended::new(&self.end().endings).await
    }

    /// Returns the last text that the worker has printed.
    ///
    /// The text is of the streams that [`Output::Tail`](crate::Output::Tail) or
    /// [`Output::Lines`](crate::Output::Lines) keeps: both together, in the order in which they
    /// were read. U+FFFD stands in place of what is not UTF-8. The text is empty if neither stream
    /// is kept, and on the worker's end.
    ///
    /// Once this end knows of the end of the worker's process, the text holds everything that the
    /// worker had written. This end knows by [`on_end`](Self::on_end), by [`close`](Self::close),
    /// or by an [`Error::Disconnected`] with an exit status or signal.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// use coprocess::{Builder, Output};
    ///
    /// let co = Builder::new().stderr(Output::Tail(4096)).fork(|_| panic!("no luck"))?;
    /// co.close()?;
    /// assert!(co.last_output().contains("no luck"));
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn last_output(&self) -> String {
        self.own_end()
            .ok()
            .and_then(|end| end.worker())
            .map_or_else(String::new, |worker| worker.captured.text())
    }

    /// Returns `true` if the pair is open, as far as this end knows: this end is not closed, and
    /// the peer is not gone.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// assert!(co.is_connected());
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn is_connected(&self) -> bool {
        self.own_end().is_ok_and(|end| end.check_open().is_ok())
    }

    /// Returns the process id of the peer.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// println!("the worker is process {}", co.peer_id());
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn peer_id(&self) -> u32 {
        self.end().peer
    }

    /// Returns the counters of this end since its start.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// println!("{} messages sent", co.stats().messages_sent);
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.own_end().map_or_else(|_| Stats::default(), |end| end.stats())
    }

    /// Returns a handle that does not keep the pair open.
    ///
    /// # Examples
    ///
    /// See [`WeakCoprocess`].
    pub fn downgrade(&self) -> WeakCoprocess {
        WeakCoprocess { handle: Arc::downgrade(&self.handle) }
    }
}
