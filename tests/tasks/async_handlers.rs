//! Handlers that are `async`: answered out of order, ended early when the caller gives up, never in
//! the way of their runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use crate::common::{
    AT_ONCE, LIMIT, SMALL_RING, Stopped, assert_matches, eventually, inbox, next, pattern, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, Reply, current_deadline};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use tokio::time::sleep;

fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_time()
                .build()
                .unwrap()
        })
        .handle()
}

/// Futures of `wait` that are neither done nor dropped.
static ALIVE: AtomicU64 = AtomicU64::new(0);

struct Alive;

impl Alive {
    fn new() -> Alive {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Alive
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

fn served(parent: Coprocess) {
    static GO: Notify = Notify::const_new();
    let weak = parent.downgrade();
    parent
        .serve_async(runtime(), "wait", |x: u64| {
            let alive = Alive::new();
            async move {
                let _alive = alive;
                GO.notified().await;
                x
            }
        })
        .serve("go", |all: bool| if all { GO.notify_waiters() } else { GO.notify_one() })
        .serve("alive", |()| ALIVE.load(Ordering::SeqCst))
        .serve_async(runtime(), "sleep", |millis: u64| async move {
            sleep(Duration::from_millis(millis)).await;
            millis
        })
        .serve_async(runtime(), "panic", |when: u8| {
            assert_ne!(when, 0, "at once");
            async move {
                assert_ne!(when, 1, "when polled");
                tokio::task::yield_now().await;
                assert_ne!(when, 2, "later");
            }
        })
        .serve_async(
            runtime(),
            "large",
            |size: usize| async move { ByteBuf::from(pattern(size, size)) },
        )
        .serve_async(runtime(), "left", |()| async move {
            tokio::task::yield_now().await;
            current_deadline().map(|at| at.saturating_duration_since(Instant::now()))
        })
        .try_serve_async(runtime(), "parse", |text: String| async move { text.parse::<i64>() })
        .serve_async(runtime(), "through", move |()| {
            let parent = weak.upgrade().unwrap();
            async move {
                tokio::task::yield_now().await;
                parent.call_async::<Option<Duration>>("left", ()).await.unwrap()
            }
        });
}

#[test]
fn answered_in_the_order_in_which_they_are_done() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let slow = worker.start::<u64>("wait", 1_u64).unwrap();
        for millis in 0..5_u64 {
            assert_eq!(worker.call::<u64>("sleep", millis).unwrap(), millis);
        }
        assert!(!slow.is_ready());
        worker.call::<()>("go", false).unwrap();
        assert_eq!(slow.wait().unwrap(), 1);
        assert_eq!(worker.call::<i64>("parse", "-12").unwrap(), -12);
        assert_matches!(worker.call::<i64>("parse", "a dozen"), Err(Error::Remote { message, .. }) if message.contains("invalid digit"));
        assert_matches!(
            worker.call::<i64>("parse", 7_u64),
            Err(Error::Types { name, sent, wanted }) if (&*name, &*sent, &*wanted) == ("parse", "u64", "string")
        );
        assert_matches!(worker.call_bytes("parse", &[7]), Err(Error::Remote { message, .. }) if message.contains("do not decode"));
    });
}

/// As many at once as there are calls, on one thread; none is left over.
#[test]
fn ten_thousand_at_once() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let calls: Vec<_> =
            (0..10_000_u64).map(|x| worker.start::<u64>("wait", x).unwrap()).collect();
        assert_eq!(worker.call::<u64>("alive", ()).unwrap(), 10_000);
        // A task that was not polled yet is not notified by the first of them.
        let mut left = calls;
        let mut sum = 0;
        while !left.is_empty() {
            worker.call::<()>("go", true).unwrap();
            let (done, not): (Vec<_>, Vec<_>) = left.into_iter().partition(|call| call.is_ready());
            sum += done.into_iter().map(|call| call.wait().unwrap()).sum::<u64>();
            left = not;
        }
        assert_eq!(sum, (0..10_000).sum());
        eventually("all futures are gone", || worker.call::<u64>("alive", ()).unwrap() == 0);
    });
}

/// A future whose caller gives up is dropped, however that gives up.
#[test]
fn given_up() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let kept = worker.start::<u64>("wait", 1_u64).unwrap();
        for _ in 0..20 {
            drop(worker.start::<u64>("wait", 1_u64).unwrap());
            let mut call = worker.call_async::<u64>("wait", 1_u64);
            assert!(Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            drop(call);
            assert_matches!(
                worker.call_timeout::<u64>("wait", 1_u64, Duration::from_millis(5)),
                Err(Error::Timeout)
            );
        }
        eventually("only one is left", || worker.call::<u64>("alive", ()).unwrap() == 1);
        let before = worker.stats().answers_dropped;
        while !kept.is_ready() {
            worker.call::<()>("go", false).unwrap();
        }
        assert_eq!(kept.wait().unwrap(), 1);
        assert_eq!(
            worker.stats().answers_dropped,
            before,
            "nothing was sent for those that were given up"
        );
    });
}

/// Where only so many calls are served at once, a call that is given up makes room as soon as its
/// future is dropped. A call that is refused has no future.
#[test]
fn given_up_where_calls_are_limited() {
    within(LIMIT, || {
        let worker = Builder::new().max_calls_served(1).fork(served).unwrap();
        let alive = || worker.call::<u64>("alive", ()).unwrap();
        for round in 0..20 {
            let given_up = worker.start::<u64>("wait", 1_u64).unwrap();
            eventually("it is served", || alive() == 1);
            assert_matches!(worker.call::<u64>("wait", 2_u64), Err(Error::Overloaded { method }) if method == "wait");
            assert_eq!(alive(), 1, "round {round}");
            drop(given_up);
            eventually("it is dropped", || alive() == 0);
            eventually("there is room", || worker.call::<u64>("sleep", 0_u64).is_ok());
        }
        worker.close().unwrap();
    });
}

/// When the caller is gone, so is the work for it.
#[test]
fn the_caller_is_gone() {
    within(LIMIT, || {
        for orderly in [false, true] {
            let worker = coprocess::fork(|parent| {
                let weak = parent.downgrade();
                parent.listen("ask", move |()| {
                    std::mem::forget(weak.upgrade().unwrap().start::<()>("mine", ()).unwrap())
                });
            })
            .unwrap();
            static MINE: AtomicU64 = AtomicU64::new(0);
            struct Mine;
            impl Drop for Mine {
                fn drop(&mut self) {
                    MINE.fetch_sub(1, Ordering::SeqCst);
                }
            }
            worker.serve_async(runtime(), "mine", |()| {
                MINE.fetch_add(1, Ordering::SeqCst);
                let mine = Mine;
                async move {
                    std::future::pending::<()>().await;
                    drop(mine);
                }
            });
            worker.emit("ask", ()).unwrap();
            eventually("it is served", || MINE.load(Ordering::SeqCst) == 1);
            match orderly {
                false => worker.kill().unwrap(),
                true => drop(worker.close().unwrap()),
            }
            eventually("it is dropped", || MINE.load(Ordering::SeqCst) == 0);
        }
    });
}

#[test]
fn panics_stay_in_their_call() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        for (when, says) in [(0_u8, "at once"), (1, "when polled"), (2, "later")] {
            assert_matches!(worker.call::<()>("panic", when), Err(Error::Remote { message, .. }) if message.contains(says));
        }
        assert_eq!(worker.call::<u64>("sleep", 0_u64).unwrap(), 0);
    });
}

/// A runtime that is gone: its calls fail, at once.
#[test]
fn a_runtime_that_has_shut_down() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            static SHORT_LIVED: std::sync::Mutex<Option<Runtime>> = std::sync::Mutex::new(None);
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            parent.serve_async(runtime.handle(), "never", |()| std::future::pending::<()>());
            *SHORT_LIVED.lock().unwrap() = Some(runtime);
            parent.serve("shut down", |()| {
                SHORT_LIVED.lock().unwrap().take().unwrap().shutdown_timeout(AT_ONCE)
            });
        })
        .unwrap();
        let under_way = worker.start::<()>("never", ()).unwrap();
        worker.call::<()>("shut down", ()).unwrap();
        assert_matches!(under_way.wait(), Err(Error::Remote { message, .. }) if message.contains("without an answer"));
        assert_matches!(worker.call::<()>("never", ()), Err(Error::Remote { message, .. }) if message.contains("without an answer"));
    });
}

/// Answers that find no room stop no thread of the runtime: it has but one, and goes on.
#[test]
fn answers_without_room() {
    within(LIMIT, || {
        let worker = Builder::new().ring_capacity(SMALL_RING).fork(|parent| {
            served(parent.clone());
            static TICKS: AtomicU64 = AtomicU64::new(0);
            runtime().spawn(async {
                loop {
                    sleep(Duration::from_millis(1)).await;
                    TICKS.fetch_add(1, Ordering::SeqCst);
                }
            });
            parent.serve("ticks", |()| TICKS.load(Ordering::SeqCst));
        });
        let worker = worker.unwrap();
        // Much more than the ring holds. The caller reads nothing: it has no handlers, and none of
        // its threads waits.
        let calls: Vec<_> = (0..100_usize)
            .map(|number| worker.start::<ByteBuf>("large", 10_000 + number).unwrap())
            .collect();
        let before: u64 = worker.call("ticks", ()).unwrap();
        eventually("the runtime is alive", || {
            worker.call::<u64>("ticks", ()).unwrap() > before + 10
        });
        for (number, call) in calls.into_iter().enumerate() {
            assert!(call.wait().unwrap() == pattern(10_000 + number, 10_000 + number));
        }
    });
}

/// More answers than may be kept: their futures wait, and the pair does not end.
#[test]
fn more_answers_than_are_kept() {
    within(LIMIT, || {
        const SIZE: usize = 4 << 20;
        let worker = coprocess::fork(served).unwrap();
        let calls: Vec<_> =
            (0..60).map(|_| worker.start::<ByteBuf>("large", SIZE).unwrap()).collect();
        let expected = pattern(SIZE, SIZE);
        for call in calls {
            assert!(call.wait().unwrap() == expected);
        }
    });
}

#[test]
fn the_deadline_is_known_in_a_future_and_travels_on() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        worker.serve("left", |()| {
            current_deadline().map(|at| at.saturating_duration_since(Instant::now()))
        });
        let minute = Duration::from_secs(60);
        for method in ["left", "through"] {
            assert_eq!(worker.call::<Option<Duration>>(method, ()).unwrap(), None);
            let left: Option<Duration> = worker.call_timeout(method, (), minute).unwrap();
            assert!(left.is_some_and(|left| left <= minute && left > minute - AT_ONCE), "{left:?}");
        }
    });
}

/// A caller that is stopped does not say that it gives up; its deadline does. The call was
/// dispatched by a thread of the library, or by one that waits in a call and has its own answer
/// then.
#[test]
fn the_caller_is_stopped() {
    within(LIMIT, || {
        const PATIENCE: Duration = Duration::from_millis(500);
        let worker = coprocess::fork(|parent| {
            let weak = parent.downgrade();
            parent.listen("ask", move |()| {
                let parent = weak.upgrade().unwrap();
                let timed_out = matches!(
                    parent.call_timeout::<()>("forever", (), PATIENCE),
                    Err(Error::Timeout)
                );
                parent.emit("asked", timed_out).unwrap();
            });
            let weak = parent.downgrade();
            parent.serve_deferred("ask", move |(), reply: Reply<()>| {
                let parent = weak.upgrade().unwrap();
                let mut call = parent.call_async_timeout::<()>("forever", (), PATIENCE);
                assert!(
                    Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_pending()
                );
                reply.send(()).unwrap();
                runtime().spawn(async move {
                    parent.emit("asked", matches!(call.await, Err(Error::Timeout))).unwrap()
                });
            });
        })
        .unwrap();
        let asked = inbox::<bool>(&worker, "asked");
        let (dropped, is_dropped) = mpsc::channel();
        let (served, is_served) = mpsc::channel();
        worker.serve_async(runtime(), "forever", move |()| {
            let told = Told(dropped.clone());
            let served = served.clone();
            async move {
                let _told = told;
                served.send(current_deadline()).unwrap();
                std::future::pending::<()>().await;
            }
        });
        for round in 1..=6 {
            if round % 2 == 0 {
                worker.emit("ask", ()).unwrap();
            } else {
                worker.call::<()>("ask", ()).unwrap();
            }
            let deadline = next(&is_served).unwrap();
            let stopped = Stopped::new(&worker);
            let in_time = Instant::now() < deadline;
            next(&is_dropped);
            let late = Instant::now().saturating_duration_since(deadline);
            assert!(late < AT_ONCE, "{late:?} in round {round}");
            // Else it was stopped too late, and may have said so itself.
            if in_time {
                assert!(Instant::now() >= deadline);
                assert_eq!(worker.stats().cancels_received, round - 1, "this end was not told");
            }
            drop(stopped);
            assert!(next(&asked));
            eventually("it says so, now that it can", || worker.stats().cancels_received == round);
        }
    });
}

/// Says that it was dropped.
struct Told(mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}
