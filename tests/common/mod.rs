//! What the integration tests share: deadlines that fail loudly, sacrificial processes, and what a
//! process holds.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses a part of this")]

pub(crate) mod meant;
mod processes;
mod programs;
mod random;

use std::env;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::{Duration, Instant};

use coprocess::{Builder, Coprocess, Reply};
use serde::de::DeserializeOwned;

pub(crate) use processes::*;
pub(crate) use programs::*;
pub(crate) use random::{Random, rounds, seed};

/// The longest that any test takes, even on one loaded CPU.
pub(crate) const LIMIT: Duration = Duration::from_secs(100);

/// "At once", for a test on a loaded machine: far above any scheduling delay, far below any other
/// limit.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(4);

/// The smallest ring that the contract promises to work with everything.
pub(crate) const SMALL_RING: usize = 4096;

/// Runs `body` in a thread of its own and fails if it has not returned within `limit`.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    *within_any(limit, Box::new(|| Box::new(body()))).downcast().expect("the body returns this")
}

/// What a body returns, whatever its type.
type Any = Box<dyn std::any::Any + Send>;

/// Does what [`within`] does. Compiled once for a binary, and not once for each test, since a thread
/// and a channel of a type of their own take the compiler longer than most tests.
#[track_caller]
fn within_any(limit: Duration, body: Box<dyn FnOnce() -> Any + Send>) -> Any {
    let (done, result) = mpsc::channel();
    let name = thread::current().name().unwrap_or("test").to_owned();
    let runner = thread::Builder::new().name(name).spawn(move || done.send(body())).unwrap();
    match result.recv_timeout(limit) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => {
            panic!("the test is not over after {limit:?}:\n{}", doings(process::id()))
        }
        Err(RecvTimeoutError::Disconnected) => match runner.join() {
            Err(panic) => panic::resume_unwind(panic),
            Ok(_) => unreachable!("the body sends unless it panics"),
        },
    }
}

/// Waits until `condition` holds, and fails if it never does. For what only looking can tell: the
/// state of another process, a counter.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT / 4;
    while !condition() {
        assert!(Instant::now() < deadline, "still not true: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `body` and fails if it took longer than [`AT_ONCE`].
#[track_caller]
pub(crate) fn at_once<T>(body: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = body();
    let took = start.elapsed();
    assert!(took < AT_ONCE, "took {took:?}");
    value
}

/// Waits for a future on this thread, without a runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Asserts that a value matches a pattern, and prints the value if it does not.
macro_rules! assert_matches {
    ($value:expr, $($pattern:tt)+) => {
        match $value {
            $($pattern)+ => {}
            ref other => panic!("got {other:?}, expected {}", stringify!($($pattern)+)),
        }
    };
}
pub(crate) use assert_matches;

/// Makes pairs whose worker has all the time of a test to end by itself, however busy the machine
/// is. For tests that look at how a worker ends.
pub(crate) fn patient() -> Builder {
    Builder::new().close_timeout(LIMIT / 2)
}

/// Runs a block in a process of its own, where no other test disturbs counts. A panic of the block
/// is a panic of the test.
macro_rules! alone {
    ($body:block) => {
        $crate::common::alone!($crate::common::LIMIT, $body)
    };
    ($limit:expr, $body:block) => {
        $crate::common::run_alone($limit, |parent| {
            $crate::common::serve_test(&parent, || -> () { $body })
        })
    };
}
pub(crate) use alone;

/// Serves the block of [`alone!`].
pub(crate) fn serve_test(parent: &Coprocess, block: fn()) {
    parent.serve("test", move |(): ()| block());
}

/// Runs what a worker function serves by [`serve_test`].
#[track_caller]
pub(crate) fn run_alone(limit: Duration, function: fn(Coprocess)) {
    // The process may take its time to end. On a busy machine, too, it is not told to end in the
    // midst of it.
    let process = patient().fork(function).unwrap();
    let ended = process.call_timeout::<()>("test", (), limit);
    if ended.is_err() {
        // The process may hang, and would go on to hang for as long as it has to close.
        drop(process.kill());
    }
    match ended {
        Ok(()) => {}
        // The text of the error would have only some of the lines of the message.
        Err(coprocess::Error::Remote { message, .. }) => panic!("{message}"),
        Err(other) => panic!("{other:?}"),
    }
    assert!(process.close().unwrap().unwrap().success());
}

/// Listens to `event`, and returns a channel of its values.
pub(crate) fn inbox<T: DeserializeOwned + Send + 'static>(
    end: &Coprocess,
    event: &str,
) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    end.listen(event, move |value: T| drop(sender.send(value)));
    receiver
}

/// Returns the next value of an [`inbox`], and fails if none arrives.
#[track_caller]
pub(crate) fn next<T>(inbox: &Receiver<T>) -> T {
    inbox.recv_timeout(LIMIT / 2).expect("no event arrived")
}

/// Calls that wait for an answer, with their arguments.
pub(crate) type Unanswered = Arc<Mutex<Vec<(u64, Reply<u64>)>>>;

/// Serves `later`, whose calls wait for a call or an event `now`. Then each call is answered with
/// twice its argument, the last one first. The call `now` returns how many there were.
pub(crate) fn serve_later(end: &Coprocess) {
    let unanswered = Unanswered::default();
    let hold = unanswered.clone();
    end.serve_deferred("later", move |x: u64, reply: Reply<u64>| {
        hold.lock().unwrap().push((x, reply));
    });
    let answer = move || {
        let calls = std::mem::take(&mut *unanswered.lock().unwrap());
        let count = calls.len();
        for (x, reply) in calls.into_iter().rev() {
            reply.send(x * 2).unwrap();
        }
        count
    };
    let event = answer.clone();
    end.listen("now", move |()| {
        event();
    });
    end.serve("now", move |()| answer());
}

/// Forks a worker that serves the methods of [`serve_later`] and `double`, and exits on the event
/// `exit`.
pub(crate) fn later_worker() -> Coprocess {
    coprocess::fork(|parent| {
        serve_later(&parent);
        parent.serve("double", |x: u64| x * 2);
        parent.listen("exit", |code: i32| std::process::exit(code));
    })
    .unwrap()
}

/// Returns `size` bytes that differ by position and by `seed`.
pub(crate) fn pattern(seed: usize, size: usize) -> Vec<u8> {
    // Computed once: a debug build would spend most of a test on it. The length is a prime number,
    // so that the repetition falls on no boundary of the ring.
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        (0..65_521_u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect()
    });
    let mut bytes = Vec::with_capacity(size);
    let mut from = seed.wrapping_mul(101) % table.len();
    while bytes.len() < size {
        let part = &table[from..];
        bytes.extend_from_slice(&part[..part.len().min(size - bytes.len())]);
        from = 0;
    }
    bytes
}

/// Returns a path that no other test uses, where nothing is yet.
pub(crate) fn fresh_path(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = env::temp_dir().join(format!("coprocess-{}-{number}-{name}", process::id()));
    drop(fs::remove_file(&path));
    path
}

/// Writes a file in one step, as a signal to a process that cannot be reached otherwise.
pub(crate) fn touch(path: &Path) {
    fs::write(path, "").unwrap();
}

/// Checks the text of an error: one lower-case line without a full stop, which contains `says`.
#[track_caller]
pub(crate) fn check_error(error: &coprocess::Error, says: &str) {
    let text = error.to_string();
    assert!(text.contains(says), "{text:?} does not say {says:?}");
    assert!(!text.contains('\n'), "{text:?} has more than one line");
    assert!(!text.ends_with('.'), "{text:?} ends with a full stop");
    let first = text.chars().next().unwrap();
    assert!(!first.is_uppercase(), "{text:?} starts with a capital");
    assert_ne!(format!("{error:?}"), "");
}
