//! Handlers that are `async`: tasks of a tokio runtime. Such a task ends early if no caller waits
//! for its answer.

use std::fmt::Display;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::api::coprocess::Coprocess;
use crate::api::reply::Reply;
use crate::panicked::{DROPPED, panic_message};
use crate::sync::user_panic::forget_panic;
use crate::time::deadline::Serving;

impl Coprocess {
    /// Registers an `async` handler, whose futures are spawned on `runtime`. Feature `tokio`.
    ///
    /// The handler itself is called where handlers are called: one at a time, and in the order of
    /// the calls. Its futures run at the same time as each other, and as other handlers. Calls are
    /// answered in the order in which their futures are done.
    ///
    /// Inside of a future, [`current_deadline`](crate::current_deadline) is the deadline of the
    /// call. Calls that the future makes have that deadline, too.
    ///
    /// If the handler or its future panics, the caller gets
    /// [`Error::Remote`](crate::Error::Remote). If the runtime shuts down, the caller gets that
    /// error, too.
    ///
    /// If the ring is full, answers are kept, and sent in their turn. So no thread of the runtime
    /// waits for space. Once more than 64 MiB of answers are kept, the futures wait, each with the
    /// answer that it has.
    ///
    /// # Cancellation
    ///
    /// The future is dropped at its next `await`, or before it is first polled, if one of these
    /// happens:
    ///
    /// - The caller gives up: it drops its future or [`Pending`](crate::Pending). This end learns
    ///   of that as soon as the ring has space.
    /// - The caller's deadline passes.
    /// - The pair is over.
    ///
    /// # How many calls are served at once
    ///
    /// The caller decides how many calls are served at once, unless
    /// [`Builder::max_calls_served`](crate::Builder::max_calls_served) bounds their number. If the
    /// peer is not trusted, set that bound. If a future acquires a permit of a semaphore, the
    /// permit bounds what the futures do, not how many there are.
    ///
    /// # The runtime
    ///
    /// Some thread must drive the runtime for as long as calls are to be answered:
    ///
    /// - A runtime of several threads drives itself, until it is dropped.
    /// - The futures of a `current_thread` runtime run only while a thread is in its `block_on`. If
    ///   no thread is, calls are taken, and not answered.
    ///
    /// In a worker of [`fork`](crate::fork), no thread dispatches until the worker function has
    /// returned. So the function must not wait, as a function that is `#[tokio::main]` would. The
    /// runtime must outlive the function.
    ///
    /// # Panics
    ///
    /// As [`listen`](Self::listen).
    ///
    /// # Examples
    ///
    /// A worker function, with a runtime that stays:
    ///
    /// ```
    /// use std::sync::LazyLock;
    /// use tokio::runtime::{Builder, Runtime};
    ///
    /// coprocess::init_in_tests!();
    ///
    /// # async fn read(path: String) -> String { path }
    /// fn worker(parent: coprocess::Coprocess) {
    ///     static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    ///         let mut builder = Builder::new_multi_thread();
    ///         builder.worker_threads(1).enable_all().build().expect("a runtime")
    ///     });
    ///     parent.serve_async(RUNTIME.handle(), "length", |path: String| async move {
    ///         read(path).await.len()
    ///     });
    /// }
    ///
    /// # fn main() -> coprocess::Result<()> {
    /// let co = coprocess::fork(worker)?;
    /// assert_eq!(co.call::<usize>("length", "paper.pdf")?, 9);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A worker program, for [`spawn`](crate::spawn):
    ///
    /// ```no_run
    /// use tokio::runtime::Handle;
    /// use tokio::task::spawn_blocking;
    ///
    /// # async fn read(path: String) -> String { path }
    /// #[tokio::main]
    /// async fn main() -> coprocess::Result<()> {
    ///     let parent = coprocess::parent()?;
    ///     parent.serve_async(&Handle::current(), "length", |path: String| async move {
    ///         read(path).await.len()
    ///     });
    ///     // The driver would dispatch, too. `run` also returns once the parent has closed.
    ///     spawn_blocking(move || parent.run()).await.expect("it does not panic")
    /// }
    /// ```
    pub fn serve_async<A, R, F>(
        &self,
        runtime: &Handle,
        method: &str,
        handler: impl Fn(A) -> F + Send + Sync + 'static,
    ) -> &Self
    where
        A: DeserializeOwned + 'static,
        R: Serialize + Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let runtime = runtime.clone();
        self.serve_deferred(method, move |args: A, reply: Reply<R>| {
            let future = handler(args);
            answer(&runtime, reply, async move { Ok(future.await) });
        })
    }

    /// Registers an `async` handler that can fail. Feature `tokio`.
    ///
    /// Otherwise as [`serve_async`](Self::serve_async). If the handler's future returns an error,
    /// the caller gets [`Error::Remote`](crate::Error::Remote) with the error's text.
    ///
    /// # Panics
    ///
    /// As [`listen`](Self::listen).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn serve(parent: coprocess::Coprocess, runtime: tokio::runtime::Handle) {
    /// parent.try_serve_async(&runtime, "connect", |port: u16| async move {
    ///     tokio::net::TcpStream::connect(("localhost", port)).await?.peer_addr()
    /// });
    /// # }
    /// ```
    pub fn try_serve_async<A, R, E, F>(
        &self,
        runtime: &Handle,
        method: &str,
        handler: impl Fn(A) -> F + Send + Sync + 'static,
    ) -> &Self
    where
        A: DeserializeOwned + 'static,
        R: Serialize + Send + 'static,
        E: Display,
        F: Future<Output = std::result::Result<R, E>> + Send + 'static,
    {
        let runtime = runtime.clone();
        self.serve_deferred(method, move |args: A, reply: Reply<R>| {
            let future = handler(args);
            answer(&runtime, reply, async move { future.await.map_err(|error| error.to_string()) });
        })
    }
}

type Outcome<R> = std::result::Result<R, String>;

/// Spawns the task that answers a call with the outcome of `future`.
fn answer<R: Serialize + Send + 'static>(
    runtime: &Handle,
    mut reply: Reply<R>,
    future: impl Future<Output = Outcome<R>> + Send + 'static,
) {
    // Needed if the caller cannot say that it has given up: its process is stopped, or its ring is
    // full.
    reply.wake_at_deadline();
    drop(
        runtime
            .spawn(Answering { reply: Some(reply), state: AnswerState::Running(Box::pin(future)) }),
    );
}

/// Runs the future of a handler and answers its call.
struct Answering<R: Serialize> {
    /// `None` once answered.
    reply: Option<Reply<R>>,
    state: AnswerState<R>,
}

enum AnswerState<R> {
    Running(Pin<Box<dyn Future<Output = Outcome<R>> + Send>>),
    /// The outcome, to be sent once fewer answers wait for space.
    Answered(Outcome<R>),
    Done,
}

// Only the future is pinned, and the future has a box of its own.
impl<R: Serialize> Unpin for Answering<R> {}

impl<R: Serialize> Drop for Answering<R> {
    /// Fails the call if the runtime shuts down before the answer.
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply.complete(Err(DROPPED.to_owned()));
        }
    }
}

impl<R: Serialize> Future for Answering<R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(reply) = &this.reply else { return Poll::Ready(()) };
        if reply.poll_unwanted(context).is_ready() {
            // No caller waits: what is left undone stays undone.
            this.state = AnswerState::Done;
            if let Some(reply) = this.reply.take() {
                // Must not wait for space on this thread, as the drop of a reply may.
                reply.complete(Err(DROPPED.to_owned()));
            }
            return Poll::Ready(());
        }
        if let AnswerState::Running(future) = &mut this.state {
            let _serving = Serving::by(reply.deadline().into());
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(outcome)) => this.state = AnswerState::Answered(outcome),
                Err(panic) => {
                    // The panic hook has reported the panic.
                    let message = panic_message(&*panic);
                    forget_panic(panic);
                    this.state = AnswerState::Answered(Err(message));
                }
            }
        }
        if reply.poll_space(context).is_pending() {
            return Poll::Pending;
        }
        if let (Some(reply), AnswerState::Answered(outcome)) =
            (this.reply.take(), std::mem::replace(&mut this.state, AnswerState::Done))
        {
            reply.complete(outcome);
        }
        Poll::Ready(())
    }
}
