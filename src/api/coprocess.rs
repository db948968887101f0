//! The handles of a pair: [`Coprocess`], and [`WeakCoprocess`], which does not keep the pair open.

use std::process::ExitStatus;
use std::sync::{Arc, Weak};

use crate::end::End;
use crate::error::{Error, Reason, Result, Step};
use crate::process::Ended;
use crate::stats::Stats;
use crate::time::deadline::Deadline;

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
/// them dispatches. If none waits, and handlers, callbacks or futures are registered, a thread of
/// the library dispatches: the *driver*.
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
/// These need the driver:
///
/// - a callback of [`call_with`](Self::call_with);
/// - an awaited call whose answer does not come at once;
/// - a gauge that keeps a value;
/// - the deadline of an awaited event that is kept;
/// - [`Pending::is_ready`](crate::Pending::is_ready), if the result is not there yet.
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
/// - The system refuses a futex or a wake-up: [`Error::Os`].
///
/// After each of the last four, the pair is *over*. If the system refuses only a thread that the
/// wait needs, the result is [`Error::Os`], too, but the pair goes on.
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

    /// Dispatches on this thread until the pair is over.
    ///
    /// # Blocking
    ///
    /// Blocks until one of these happens:
    ///
    /// - The peer closes its end, or dies.
    /// - This end is closed.
    /// - The peer breaks the protocol.
    /// - The system refuses a futex or a wake-up.
    ///
    /// # Errors
    ///
    /// If one of the two ends closes the pair in good order, `run` returns `Ok`.
    ///
    /// - [`Error::Disconnected`]: the peer died.
    /// - [`Error::Misbehaved`]: the peer broke the protocol.
    /// - [`Error::Os`]: the system refused a futex or a wake-up.
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
    /// # Blocking
    ///
    /// If the pair is over already, blocks until the callback returns. Otherwise does not block.
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
