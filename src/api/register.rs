//! The handlers of an end: what a program registers for events and calls.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::coprocess::Coprocess;
use crate::api::reply::Reply;
use crate::end::End;
use crate::panicked::note_panics;
use crate::recv::handlers::{Handlers, Incoming};
#[cfg(doc)]
use crate::{Error, Stats};

impl Coprocess {
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
}
