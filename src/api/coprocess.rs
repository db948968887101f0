//! The handle: what programs hold.

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

/// One end of a pair of processes: a handle, cheap to clone, usable from any thread.
///
/// Both ends, the parent's and the worker's, have the same methods. The pair is closed by [`close`](Self::close), or when the last handle of
/// the parent is dropped.
///
/// # Who runs handlers
///
/// Handlers of one end never run at the same time as each other, except nested: while a handler waits in a `call` of its own, what
/// arrives is dispatched on its thread. Messages are received in the order they were sent, and a handler has returned, or waits, before
/// the next message is received. So a handler must not wait for another thread that waits for the same pair. Nor may it block on a future of the same pair ([`call_async`](Self::call_async)): `call` receives
/// while it waits, a runtime does not. Where work takes long, answer later, from another thread, with [`serve_deferred`](Self::serve_deferred).
///
/// Handlers of several pairs may call across, each through a pair whose handler calls through
/// another one of them. Threads that would wait for each other receive for each other: each takes the
/// answers that it waits for, and dispatches, nested, for the pair whose handler it is in. A handler
/// that passes calls on keeps its pair waiting, though, and nests: to relay, use
/// [`serve_deferred`](Self::serve_deferred) and [`call_with`](Self::call_with), as shown there.
/// Waits by other means, such as a mutex or a channel, are not seen: two handlers that wait for each
/// other by those wait for ever. A handler also waits for ever if it holds a mutex while it calls,
/// through any pair, and a handler nested in it takes the same mutex: hold none across a call. A
/// handler must not [run](Self::run) another pair: its own pair would wait for the end of that one.
///
/// In the worker of [`fork`](crate::fork) nothing is dispatched before the worker function has returned, except while a thread waits in
/// `call`, [`run`](Self::run) or [`poll`](Self::poll), and once something needs a thread of the library: a callback, an awaited call whose answer does not come at once, a gauge's value
/// or an awaited event's deadline that is kept. Elsewhere a thread of the library dispatches when no thread of the program does.
///
/// # In a child of fork(2)
///
/// A process that is forked without being executed anew, by this program or a library of it, has copies of the handles and cannot use them: everything
/// that can fail returns [`Error::Forked`], nothing is registered, and dropping a copy does nothing. The pair goes on undisturbed. The child can start pairs of its own.
/// It must not return into a handler or callback that it was forked in; and as long as it lives and has executed no other program, it holds copies of the pair's descriptors.
/// All this is known of children that the C library's `fork` has made.
///
/// # What ends a wait
///
/// Its answer; its deadline; [`close`](Self::close) of this end ([`Error::Closed`]); the end of the other side, closed or dead
/// ([`Error::Disconnected`], after what it had sent was received); and its misbehaviour ([`Error::Misbehaved`]). For futures and callbacks somebody must be free
/// to notice: not a handler that blocks on such a future ([`call_async`](Self::call_async)), nor an event loop that has a [`Readiness`](crate::Readiness) and does not poll.
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

/// What all clones of a handle share; the end itself is also held by the library's threads.
#[derive(Debug)]
struct Handle {
    end: Arc<End>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // In a child of fork(2) this is but a copy.
        if !self.end.is_foreign() {
            self.end.flush_gauges();
            // Without waiting: the process watcher sees to it that the worker ends.
            self.end.close();
        }
    }
}

/// The head of a call: only one that has a deadline says so.
#[inline]
pub(crate) fn call_head<'m>(end: &End, subject: Subject<'m>, deadline: Deadline) -> Header<'m> {
    Header::Call(CallId::NONE, deadline.instant().map(|at| end.clock.number(at)), subject)
}

/// A call that was sent and that nobody looks after yet: it is forgotten if its arguments panic, at the end of their encoding or when they
/// are dropped.
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
/// Handlers of a pair that need the pair itself capture this one: a [`Coprocess`] captured by a handler of its own pair keeps
/// the pair open until it is closed or the other side ends.
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
    /// A full handle, unless the last one was dropped or the pair is over.
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

    /// The end, unless this process is a fork of the one that it belongs to.
    #[inline]
    pub(crate) fn own_end(&self) -> Step<&Arc<End>> {
        let end = self.end();
        end.check_own()?;
        Ok(end)
    }

    // ---- calls -------------------------------------------------------------------------------------------------------------------

    /// Calls a method of the other end and waits for its result.
    ///
    /// Arguments: `()` for none, a value for one, a tuple for several. While this waits it dispatches what arrives.
    ///
    /// Ends with the answer, after [`Builder::call_timeout`](crate::Builder::call_timeout) if one was set, or with the pair.
    ///
    /// # Errors
    ///
    /// [`Error::Types`]: the handler takes other arguments, and did not run; or its result is of
    /// another type than `R`, and the handler did run.
    /// [`Error::MethodNotFound`], [`Error::Overloaded`] and [`Error::Remote`] come from the other end. [`Error::Timeout`]: the answer, if it comes, is dropped.
    /// [`Error::Encode`], [`Error::TooLarge`]: nothing was sent. [`Error::Decode`]: the result is not an `R`. [`Error::TooManyCalls`]: as many as
    /// [`Builder::max_calls_in_flight`](crate::Builder::max_calls_in_flight) allows are in flight. [`Error::Full`]: both ends flood each other from handlers. [`Error::Closed`], [`Error::Disconnected`], [`Error::Misbehaved`]: the
    /// pair is over.
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

    /// As [`call`](Self::call), with a deadline of its own for the whole operation, waiting for room included.
    ///
    /// It takes the place of any other: of [`Builder::call_timeout`](crate::Builder::call_timeout) and, **in a handler, of what is left of the deadline of the call
    /// that is served**, which it may exceed; [`current_deadline`](crate::current_deadline) says what that is. `Duration::MAX` is no deadline.
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
        // From here on the wait looks after the entry.
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
            let sent = end.send_call(message, WhenFull::Wait(deadline), |_| ());
            unclaimed.id = sent.as_ref().ok().copied();
            sent
        })?;
        match sent {
            Ok(id) => {
                drop(args);
                std::mem::forget(unclaimed);
                Ok((id, asked))
            }
            Err(SendFailed { error, .. }) => {
                end.take_last_deliveries(deadline);
                Err(error)
            }
        }
    }

    /// Sends a call, waiting for room in the ring if there is none, and returns; wait for the result later, or await it.
    ///
    /// [`Builder::call_timeout`](crate::Builder::call_timeout) counts from here.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), as far as sending goes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let pending: Vec<_> = (0..100).map(|n| co.start::<u64>("square", n)).collect::<Result<_, _>>()?;
    /// for square in pending {
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

    /// Sends a call; `callback` gets the result, on whichever thread dispatches it, or an error when the pair ends, on the thread that ends
    /// it: then it may run at the same time as a handler.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); the callback is not called then. [`Error::Os`] if the system refuses the background thread.
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
        // If a hostile end has answered a call that it cannot know of yet.
        let mut early = None;
        let of_end = Arc::downgrade(end);
        let callback = Notify::Callback(Box::new(move |outcome| {
            let result = decode_outcome(outcome, &name);
            if let Some(end) = of_end.upgrade() {
                end.answered(asked, &result);
            }
            callback(result);
        }));
        let sent = message.deliver(header, &args, end.settings.max_message, method, |message| {
            end.send_call(message, WhenFull::Wait(deadline), |id| {
                // Before it is sent, so that the answer finds it.
                early = end.in_flight.notify(id, callback).err();
            })
        })?;
        let id = match sent {
            Ok(id) => id,
            Err(SendFailed { error, was_known: true }) => return Err(*error),
            // The end came to its end meanwhile, and the callback has the error.
            Err(SendFailed { was_known: false, .. }) => return Ok(()),
        };
        if let Some(Notify::Callback(callback)) = early {
            let outcome =
                end.in_flight.take(id).unwrap_or_else(|| Outcome::Failed(end.terminal_error()));
            end.inbox().completions.push_back(Completion::Run(callback, outcome));
            if end.is_over() {
                end.conclude_last();
            } else {
                // Whoever dispatches calls it.
                end.interrupt();
            }
        } else if end.is_over() && end.in_flight.is_known(id) {
            // The end came to its end after the callback was registered, and perhaps before it was looked for.
            end.complete(id, Outcome::Failed(end.terminal_error()));
        } else if let Some(at) = deadline.instant() {
            end.time(at, Due::Call(id));
        }
        Ok(())
    }

    // ---- events ------------------------------------------------------------------------------------------------------------------

    /// Sends an event: one way, no answer. Waits for room in the ring if there is none.
    ///
    /// Ends when the event is in the ring, or with the pair. If the other end has registered no
    /// handler at all, and takes nothing, the wait ends after 5 seconds. Never runs handlers.
    ///
    /// `Ok` says that the event is on its way. The other end drops an event for which it has no
    /// handler, one of another type than its handler takes, and one that it cannot decode.
    /// [`Stats::events_unheard_by_peer`], [`Stats::events_mistyped_by_peer`] and
    /// [`Stats::events_undecodable_by_peer`] count them.
    ///
    /// # Errors
    ///
    /// [`Error::Types`]: the other end takes another type. It has found that by an earlier event of
    /// this name, type and content (an empty list shows less than a full one). Nothing was sent.
    /// [`Error::Encode`], [`Error::TooLarge`]: nothing was sent. [`Error::Unheard`]: the ring is
    /// full, and the other end has registered no handler; nothing was sent.
    /// [`Error::Closed`], [`Error::Disconnected`], [`Error::Misbehaved`]: the pair is over.
    /// [`Error::Full`]: only inside a handler, when both ends flood each other and 64 MiB wait to be handled here.
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

    /// As [`emit`](Self::emit), but never waits.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), and [`Error::Full`] if there is no room now, or another thread is in the midst of sending; nothing was sent. It is counted in
    /// [`Stats::events_refused`](crate::Stats::events_refused). [`Error::TooLarge`] also for an event that the ring, some three quarters of it, does not take at once:
    /// [`emit`](Self::emit) sends it in parts.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// if let Err(coprocess::Error::Full) = co.try_emit("frame", 7) {
    ///     // The other end is behind: skip this one.
    /// }
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn try_emit(&self, event: &str, value: impl Serialize) -> Result<()> {
        self.send_event(event, value, WhenFull::Fail)
    }

    /// As [`emit`](Self::emit), with a deadline for the whole operation.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), and [`Error::Timeout`]: nothing was sent.
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

    // ---- handlers ----------------------------------------------------------------------------------------------------------------

    /// Handles an event. A second handler for the same event replaces the first.
    ///
    /// The first registration on an end sends the event `"listening"` to the other. This does not wait
    /// for room: where there is none, the event is kept, and is sent ahead of all that is sent later.
    ///
    /// A panic in the handler stays there; a value that is not a `T` is dropped. Both are counted in [`stats`](Self::stats).
    /// The emitter of a value of another type gets [`Error::Types`] when it emits such a value again.
    /// It sees how many values were dropped: [`Stats::events_mistyped_by_peer`], [`Stats::events_undecodable_by_peer`].
    ///
    /// # Panics
    ///
    /// If the system refuses the background thread, as [`std::thread::spawn`] does.
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

    /// Removes the handler of an event. Returns whether there was one.
    ///
    /// An end that has removed all its handlers still counts as one that has registered some: the
    /// other end's events wait for room, and do not fail with [`Error::Unheard`].
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

    /// Serves a method: the handler's result is the answer. A second handler for the same method replaces the first.
    ///
    /// A panic in the handler becomes [`Error::Remote`] for the caller, arguments that are not an `A` [`Error::Types`].
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
    /// co.serve("add", |(a, b): (i64, i64)| a + b).serve("now", |(): ()| std::time::SystemTime::now());
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn serve<A: DeserializeOwned + 'static, R: Serialize + 'static>(
        &self,
        method: &str,
        handler: impl Fn(A) -> R + Send + Sync + 'static,
    ) -> &Self {
        self.serve_raw(method, move |end, call, args| end.answer_with(call, Ok(handler(args))))
    }

    /// As [`serve`](Self::serve), for handlers that can fail: the error's text becomes [`Error::Remote`] for the caller.
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

    /// Serves a method whose answer comes later, from any thread, through the [`Reply`].
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

    pub(crate) fn register(&self, change: impl FnOnce(&mut Handlers<End>)) -> &Self {
        // There is nobody to handle anything in a child of fork(2).
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
            end.ensure_driver().expect("the background dispatcher needs a thread");
        }
        self
    }

    // ---- driving and life --------------------------------------------------------------------------------------------------------

    /// Dispatches on this thread until the other end closes or dies, or this end is closed.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`] if the other side died, [`Error::Misbehaved`] if it broke the protocol. An orderly close by either end is `Ok`.
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

    /// Dispatches what has arrived, without waiting. Returns how many messages that were: zero, too, while another thread dispatches.
    ///
    /// # Errors
    ///
    /// When the pair is over and nothing is left to dispatch: why it is over.
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
    /// What has arrived is handled first, for at most [`Builder::close_timeout`](crate::Builder::close_timeout), unless this is called from
    /// inside a handler. What was sent before is delivered to the other end. Calls still
    /// in flight get [`Error::Closed`] here, and [`Error::Disconnected`] on the other end. Handlers are dropped.
    ///
    /// On the parent's end this waits for the worker's exit; after [`Builder::close_timeout`](crate::Builder::close_timeout) the worker
    /// gets SIGTERM, after another SIGKILL. The worker's exit status is returned; `None` if somebody else has taken it (this program waits for any
    /// child, or ignores SIGCHLD). On the worker's end it returns `None` at once.
    /// Closing again, or after the other side died, is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the worker cannot even be killed.
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
        // Answers that still wait for room were sent, as far as their handlers know.
        end.wait_until_none_is_queued(deadline, || end.is_over() || end.is_gone());
        end.close();
        match end.worker() {
            None => Ok(None),
            Some(worker) => worker.wait_for_exit(),
        }
    }

    /// Kills the worker: SIGKILL. Whoever waits for it gets [`Error::Disconnected`].
    ///
    /// # Errors
    ///
    /// [`Error::NotTheParent`] on the worker's end; [`Error::Os`] if the system refuses. A worker that has ended already is no error.
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
    /// On the parent's end that is when the worker's *process* has ended and was reaped, whatever was the reason: it exited, was killed, this end was closed, or the last
    /// handle was dropped. The callback gets how it ended: [`Reason::Exited`], [`Killed`](Reason::Killed), [`LimitExceeded`](Reason::LimitExceeded), or
    /// [`Unknown`](Reason::Unknown). After a `close` in good order that is `Exited(0)`; a worker that misbehaved and had to be killed was `Killed`.
    /// Its [`last_output`](Self::last_output) is complete by then.
    ///
    /// On the worker's end it is when the pair is over: [`Closed`](Reason::Closed) by either end, [`ParentDied`](Reason::ParentDied), or `Unknown` if the parent
    /// broke the protocol. A close of the parent's is found by a thread that dispatches or waits in the pair. The process of [`fork`](crate::fork) exits only when callbacks have
    /// returned, but is ended all the same when its time is up, as [`init`](crate::init) says.
    ///
    /// Each of several callbacks is called, in the order of registration. They run on a thread of the library, one for each pair that ends, or on the thread that finds the
    /// worker's end over; after the end, on the thread that registers, at once. A panic is contained. In a child of fork(2) no callback is ever called.
    ///
    /// A callback does not keep the pair open, unless it captures a handle of it: use [`downgrade`](Self::downgrade).
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

    /// Waits until the pair is over, as [`on_end`](Self::on_end) tells it, in any runtime. In a child of fork(2) it is [`Reason::Unknown`] at once.
    ///
    /// The future borrows the handle, and so keeps the pair open: wait for a worker that is expected to end, or close another handle.
    ///
    /// # Cancel safety
    ///
    /// To drop the future does nothing else; any number of tasks can wait.
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

    /// The last text that the worker has printed, of the streams that [`Output::Tail`](crate::Output::Tail) or [`Output::Lines`](crate::Output::Lines) keeps:
    /// both together in the order in which they were read, with U+FFFD in place of what is not UTF-8. Empty if neither is kept, and on the worker's end.
    ///
    /// Once this end knows of the end of the worker's process, by [`on_end`](Self::on_end), [`close`](Self::close), or an [`Error::Disconnected`] that has its
    /// exit status or signal, all that the worker had written is in it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// let co = coprocess::Builder::new().stderr(coprocess::Output::Tail(4096)).fork(|_| panic!("no luck"))?;
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

    /// Whether the pair is open, as far as this end knows: neither closed nor is the other side gone.
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

    /// The process id of the other side.
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

    /// Counters of this end since its start.
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

    /// A handle that does not keep the pair open.
    ///
    /// # Examples
    ///
    /// See [`WeakCoprocess`].
    pub fn downgrade(&self) -> WeakCoprocess {
        WeakCoprocess { handle: Arc::downgrade(&self.handle) }
    }
}
