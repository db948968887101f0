//! A descriptor for event loops: readable while there is something to dispatch that no thread
//! dispatches.

use std::future::Future;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    AT_ONCE, Held, LIMIT, Stopped, alone, assert_matches, at_once, eventually, fresh_path, inbox,
    next, touch, within,
};
use coprocess::{Builder, Coprocess, Error, Readiness, Reason};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Longer than anything that is about to happen takes.
const A_WHILE: u16 = 200;

struct Loop {
    epoll: Epoll,
    readiness: Readiness,
}

impl Loop {
    fn new(end: &Coprocess) -> Loop {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let readiness = end.readiness().unwrap();
        epoll.add(&readiness, EpollEvent::new(EpollFlags::EPOLLIN, 7)).unwrap();
        Loop { epoll, readiness }
    }

    fn is_readable(&self, within: impl Into<EpollTimeout>) -> bool {
        let mut events = [EpollEvent::empty()];
        self.epoll.wait(&mut events, within).unwrap() == 1
    }

    /// Waits, and fails if nothing comes.
    #[track_caller]
    fn wait(&self) {
        assert!(self.is_readable(20_000_u16), "nothing has come");
    }
}

/// Emits, echoes, and says how often it had to wake its parent.
fn served(parent: Coprocess) {
    let weak = parent.downgrade();
    parent
        .serve("double", |x: u64| x * 2)
        .listen("emit", move |(count, done): (u64, Option<std::path::PathBuf>)| {
            let parent = weak.upgrade().unwrap();
            let before = parent.stats().wakeups_sent;
            for number in 0..count {
                parent.emit("number", (number, parent.stats().wakeups_sent - before)).unwrap();
            }
            if let Some(done) = done {
                touch(&done);
            }
        })
        .listen("exit", |code: i32| std::process::exit(code));
}

const NOWHERE: Option<std::path::PathBuf> = None;

/// Handlers run in `poll` and nowhere else, although there is a background thread for them.
#[test]
fn epoll_and_poll_take_turns() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let numbers: &'static Mutex<Vec<u64>> = Box::leak(Box::default());
        let here = thread::current().id();
        let events = Loop::new(&worker);
        worker.listen("number", move |(number, _): (u64, u64)| {
            assert_eq!(thread::current().id(), here);
            numbers.lock().unwrap().push(number);
        });
        for _ in 0..300 {
            worker.emit("emit", (3_u64, NOWHERE)).unwrap();
            while numbers.lock().unwrap().len() < 3 {
                events.wait();
                worker.poll().unwrap();
            }
            assert_eq!(std::mem::take(&mut *numbers.lock().unwrap()), [0, 1, 2]);
        }
        assert_eq!(worker.stats().event_panics, 0);
        eventually("it is silent when all is done", || {
            worker.poll().unwrap();
            !events.is_readable(A_WHILE)
        });
    });
}

/// The descriptor stays readable until a thread polls. The peer pays nothing for what it sends
/// meanwhile.
#[test]
fn nobody_is_woken_for_what_comes_while_it_is_readable() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let events = Loop::new(&worker);
        let numbers = inbox::<(u64, u64)>(&worker, "number");
        worker.emit("emit", (1_u64, NOWHERE)).unwrap();
        events.wait();
        let done = fresh_path("done");
        worker.emit("emit", (1000_u64, Some(&done))).unwrap();
        eventually("all were sent", || done.exists());
        std::fs::remove_file(&done).unwrap();
        assert!(events.is_readable(0_u8));
        assert!(numbers.try_recv().is_err(), "handled although no thread polled");
        while worker.poll().unwrap() > 0 {}
        let (_, _) = next(&numbers);
        let woken = (0..1000).map(|_| next(&numbers).1).max().unwrap();
        assert!(woken <= 3, "{woken} system calls for what was readable already");
    });
}

fn watched(readiness: Readiness) -> AsyncFd<Readiness> {
    #[expect(
        unsafe_code,
        reason = "tokio has no other way to register a descriptor that is not its own"
    )]
    // SAFETY: the descriptor is open as long as the value, and always the same.
    unsafe { AsyncFd::register_with_interest(readiness, Interest::READABLE) }.unwrap()
}

#[test]
fn with_a_runtime() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let numbers = inbox::<(u64, u64)>(&worker, "number");
        for threads in [false, true] {
            let mut builder = if threads {
                tokio::runtime::Builder::new_multi_thread()
            } else {
                tokio::runtime::Builder::new_current_thread()
            };
            builder.worker_threads(2).enable_io().build().unwrap().block_on(async {
                let readiness = watched(worker.readiness().unwrap());
                let mut received = 0;
                for round in 0..300_u64 {
                    worker.emit("emit", (round % 5, NOWHERE)).unwrap();
                    while received < round % 5 {
                        readiness.readable().await.unwrap().clear_ready();
                        worker.poll().unwrap();
                        received += numbers.try_iter().count() as u64;
                    }
                    assert_eq!(received, round % 5);
                    received = 0;
                }
            });
        }
    });
}

/// Futures and callbacks are the event loop's business, too, and so are their deadlines.
#[test]
fn answers_and_deadlines_come_through_poll() {
    within(LIMIT, || {
        fn served(parent: Coprocess) {
            let held: Mutex<Vec<coprocess::Reply<()>>> = Mutex::default();
            parent
                .serve_deferred("never", move |(), reply| held.lock().unwrap().push(reply))
                .serve("double", |x: u64| x * 2);
        }
        let worker = coprocess::fork(served).unwrap();
        let events = Loop::new(&worker);
        let told: Arc<Mutex<Vec<coprocess::Result<u64>>>> = Arc::default();
        let tell = || {
            let told = told.clone();
            move |answer| told.lock().unwrap().push(answer)
        };
        worker.call_with("double", 4_u64, tell()).unwrap();
        while told.lock().unwrap().is_empty() {
            events.wait();
            assert!(told.lock().unwrap().is_empty(), "told although no thread polled");
            worker.poll().unwrap();
        }
        let first = told.lock().unwrap().pop();
        assert_matches!(first, Some(Ok(8)));

        let worker = Builder::new().call_timeout(Duration::from_millis(50)).fork(served).unwrap();
        let events = Loop::new(&worker);
        let start = Instant::now();
        worker.call_with("never", (), tell()).unwrap();
        while told.lock().unwrap().is_empty() {
            events.wait();
            worker.poll().unwrap();
        }
        let second = told.lock().unwrap().pop();
        assert_matches!(second, Some(Err(Error::Timeout)));
        assert!(start.elapsed() >= Duration::from_millis(50) && start.elapsed() < AT_ONCE);
    });
}

/// Calls of other threads go on, and what they leave is announced. What arrived in time is in time,
/// although no thread polled until it was too late.
#[test]
fn a_poll_that_is_late() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        assert_eq!(worker.call::<u64>("double", 1_u64).unwrap(), 2);
        let events = Loop::new(&worker);
        // If the machine is so slow that the answer does not come in time, with more of it.
        let mut timeout = Duration::from_millis(250);
        let mut context = Context::from_waker(Waker::noop());
        let (start, mut call) = loop {
            // Else it may be answered while it is polled for the first time.
            let stopped = Stopped::new(&worker);
            let start = Instant::now();
            let mut call = Box::pin(worker.call_async_timeout::<u64>("double", 21_u64, timeout));
            assert!(call.as_mut().poll(&mut context).is_pending());
            drop(stopped);
            events.wait();
            if start.elapsed() < timeout {
                break (start, call);
            }
            timeout *= 2;
            drop(call);
            while worker.poll().unwrap() > 0 {}
        };
        std::thread::sleep(timeout.saturating_sub(start.elapsed()) + Duration::from_millis(10));
        while worker.poll().unwrap() > 0 {}
        match call.as_mut().poll(&mut context) {
            Poll::Ready(answer) => assert_eq!(answer.unwrap(), 42),
            Poll::Pending => panic!("it is not answered"),
        }
    });
}

#[test]
fn beside_calls_of_other_threads() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        static SEEN: AtomicU64 = AtomicU64::new(0);
        let events = Loop::new(&worker);
        worker.listen("number", |_: (u64, u64)| {
            SEEN.fetch_add(1, Ordering::Relaxed);
        });
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for x in 0..500_u64 {
                        worker.emit("emit", (2_u64, NOWHERE)).unwrap();
                        assert_eq!(worker.call::<u64>("double", x).unwrap(), 2 * x);
                    }
                });
            }
            while SEEN.load(Ordering::Relaxed) < 2000 {
                if events.is_readable(A_WHILE) {
                    worker.poll().unwrap();
                }
            }
        });
    });
}

/// When it is gone, the library dispatches again; and a thread in `run` has precedence.
#[test]
fn dropped_and_made_again() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let numbers = inbox::<(u64, u64)>(&worker, "number");
        for _ in 0..20 {
            let events = Loop::new(&worker);
            worker.emit("emit", (1_u64, NOWHERE)).unwrap();
            events.wait();
            let same = worker.readiness().unwrap();
            assert_eq!(same.as_raw_fd(), events.readiness.as_raw_fd());
            drop(same);
            // Another thread has to dispatch now.
            drop(events);
            next(&numbers);
        }
        let _events = Loop::new(&worker);
        worker.emit("emit", (1_u64, NOWHERE)).unwrap();
        let runs = worker.clone();
        let running = thread::spawn(move || runs.run());
        next(&numbers);
        worker.emit("exit", 3).unwrap();
        assert_matches!(running.join().unwrap(), Err(Error::Disconnected(Reason::Exited(3))));
    });
}

/// Once it is over it is readable for ever, and `poll` says why.
#[test]
fn the_end_of_the_pair() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let events = Loop::new(&worker);
        worker.emit("exit", 3).unwrap();
        let over = loop {
            events.wait();
            match worker.poll() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_matches!(over, Error::Disconnected(Reason::Exited(3)));
        for _ in 0..3 {
            events.wait();
            assert_matches!(worker.poll(), Err(Error::Disconnected(Reason::Exited(3))));
        }
        worker.close().unwrap();

        let worker = coprocess::fork(served).unwrap();
        let events = Loop::new(&worker);
        at_once(|| worker.close().unwrap());
        events.wait();
        assert_matches!(worker.poll(), Err(Error::Closed));
        assert_matches!(worker.readiness().map(drop), Ok(()) | Err(Error::Closed));
        drop(events);
        assert_matches!(worker.readiness().map(drop), Err(Error::Closed));
        // It does not keep the pair open.
        let worker = coprocess::fork(served).unwrap();
        let events = Loop::new(&worker);
        drop(worker);
        events.wait();
    });
}

#[test]
fn it_leaves_nothing_behind() {
    within(LIMIT, || {
        alone!({
            let worker = coprocess::fork(served).unwrap();
            let before = Held::settled();
            for _ in 0..50 {
                let readiness = worker.readiness().unwrap();
                drop(readiness);
            }
            before.again("readiness");
        });
    });
}
