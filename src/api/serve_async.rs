//! Handlers that are `async`: tasks of a tokio runtime, which end early if nobody waits for what they do.

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
    /// Serves a method by an `async` handler, whose future is spawned on `runtime`; calls are answered in the order in which their futures are done. Feature `tokio`.
    ///
    /// The handler itself is called where handlers are called, one at a time and in the order of the calls; its futures run at the same time as each
    /// other, and as other handlers. When a caller gives up by dropping its future or [`Pending`](crate::Pending), which this end hears of as soon as there is room in the
    /// ring, when its deadline has passed, or when the pair is over, the future is dropped at its next `await`, or before it is first polled. Inside of it [`current_deadline`](crate::current_deadline) is the call's, and the calls that it makes have it, too.
    ///
    /// A panic becomes [`Error::Remote`](crate::Error::Remote) for the caller; so does a runtime that shuts down. Answers for which the ring has no room are kept
    /// and sent in their turn, so no thread of the runtime waits for it; beyond 64 MiB of them the futures wait, each with the answer that it has.
    ///
    /// How many calls are served at once is up to the caller, unless [`Builder::max_calls_served`](crate::Builder::max_calls_served) bounds it: set it where the other
    /// end is not trusted. A permit of a semaphore, acquired in the future, bounds what they do, not how many there are.
    ///
    /// # The runtime
    ///
    /// Something must drive it for as long as calls are to be answered. One of several threads does so itself, until it is dropped. Of a `current_thread` runtime the futures
    /// run only while a thread is in its `block_on`: if none is, calls are taken, and not answered.
    ///
    /// In a worker of [`fork`](crate::fork) nothing is dispatched until its function has returned: so the function must not wait, as one that is `#[tokio::main]` would, and
    /// the runtime must outlive it.
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
    ///     static RUNTIME: LazyLock<Runtime> =
    ///         LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime"));
    ///     parent.serve_async(RUNTIME.handle(), "length", |path: String| async move { read(path).await.len() });
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
    ///     parent.serve_async(&Handle::current(), "length", |path: String| async move { read(path).await.len() });
    ///     // A thread of the library would dispatch, too. This one also tells the end: the parent has closed.
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

    /// As [`serve_async`](Self::serve_async), for handlers that can fail: the error's text becomes [`Error::Remote`](crate::Error::Remote) for the
    /// caller. Feature `tokio`.
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

/// Spawns the task that answers a call with what becomes of `future`.
fn answer<R: Serialize + Send + 'static>(
    runtime: &Handle,
    mut reply: Reply<R>,
    future: impl Future<Output = Outcome<R>> + Send + 'static,
) {
    // Also where the caller cannot say that it has given up: it is stopped, or has no room.
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
    /// To be sent once fewer answers wait for room.
    Answered(Outcome<R>),
    Done,
}

// Nothing in it is pinned but what is in its own box.
impl<R: Serialize> Unpin for Answering<R> {}

impl<R: Serialize> Drop for Answering<R> {
    /// The runtime shuts down.
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
            // Nobody waits: what is left undone stays so.
            this.state = AnswerState::Done;
            if let Some(reply) = this.reply.take() {
                // By no means waiting for room on this thread, which the drop of a reply may.
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
                    // The panic hook has reported it.
                    let message = panic_message(&*panic);
                    forget_panic(panic);
                    this.state = AnswerState::Answered(Err(message));
                }
            }
        }
        if reply.poll_room(context).is_pending() {
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
