//! Close, kill and drop: orderly, with the worker's exit status, and with an end to the patience.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    self, AT_ONCE, LIMIT, assert_matches, at_once, eventually, fresh_path, is_gone, next,
    program_after, role, state, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, Reason, Reply};

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("stubborn") => {
            let parent = coprocess::parent().unwrap();
            stubborn(parent.clone());
            drop(parent.run());
        }
        Some(other) => unreachable!("{other}"),
    }
}

fn stubborn(parent: Coprocess) {
    parent.serve("double", |x: i64| x * 2);
    parent.listen("park", |()| {
        loop {
            thread::park();
        }
    });
}

fn plain(parent: Coprocess) {
    let held: Mutex<Vec<Reply<()>>> = Mutex::default();
    parent
        .serve("double", |x: i64| x * 2)
        .serve_deferred("never", move |(), reply: Reply<()>| held.lock().unwrap().push(reply))
        .listen("exit", |code: i32| process::exit(code));
    let end = parent.downgrade();
    parent.listen("close", move |()| {
        // The worker's end learns no status.
        assert_eq!(end.upgrade().unwrap().close().unwrap(), None);
    });
}

#[test]
fn gives_the_exit_status() {
    within(LIMIT, || {
        let worker = common::patient().fork(plain).unwrap();
        assert_eq!(worker.close().unwrap().unwrap().code(), Some(0));
        assert!(is_gone(worker.peer_id()));

        let dead = common::patient().fork(plain).unwrap();
        dead.emit("exit", 9).unwrap();
        eventually("the worker has exited", || !dead.is_connected());
        assert_eq!(dead.close().unwrap().unwrap().code(), Some(9));

        let killed = common::patient().fork(plain).unwrap();
        killed.kill().unwrap();
        assert_eq!(killed.close().unwrap().unwrap().signal(), Some(9));
    });
}

#[test]
fn again_and_from_several_threads() {
    within(LIMIT, || {
        let worker = common::patient().fork(plain).unwrap();
        thread::scope(|scope| {
            let closes: Vec<_> = (0..4).map(|_| scope.spawn(|| worker.close().unwrap())).collect();
            for close in closes {
                assert_eq!(close.join().unwrap().unwrap().code(), Some(0));
            }
        });
        assert_eq!(worker.close().unwrap().unwrap().code(), Some(0));
        assert_eq!(worker.clone().close().unwrap().unwrap().code(), Some(0));
    });
}

/// The worker's `run` returns `Ok`, after everything that was sent before.
#[test]
fn delivers_what_was_sent_before() {
    within(LIMIT, || {
        for count in [0_u32, 1, 100, 20_000] {
            let worker = common::patient()
                .ring_capacity(16 * 1024)
                .env("COUNT", count.to_string())
                .fork(|parent| {
                    let count = Arc::new(AtomicU32::new(0));
                    let seen = count.clone();
                    parent.listen("event", move |(number, _bytes): (u32, ByteBuf)| {
                        assert_eq!(seen.fetch_add(1, Ordering::SeqCst), number);
                    });
                    parent.run().unwrap();
                    let sent: u32 = env::var("COUNT").unwrap().parse().unwrap();
                    let received = count.load(Ordering::SeqCst) == sent;
                    let in_order = parent.stats().event_panics == 0;
                    process::exit(if received && in_order { 42 } else { 1 })
                })
                .unwrap();
            for number in 0..count {
                let size = if number % 1000 == 999 { 40_000 } else { 10 };
                worker.emit("event", (number, ByteBuf::from(vec![7; size]))).unwrap();
            }
            assert_eq!(worker.close().unwrap().unwrap().code(), Some(42));
        }
    });
}

/// Calls in flight get an error at both ends, each with its own reason.
#[test]
fn ends_calls_in_flight() {
    within(LIMIT, || {
        let path = fresh_path("outcome");
        let worker = common::patient()
            .env("OUTCOME", &path)
            .fork(|parent| {
                plain(parent.clone());
                let end = parent.clone();
                thread::spawn(move || {
                    let outcome = format!("{:?}", end.call::<()>("never here", ()));
                    std::fs::write(env::var_os("OUTCOME").unwrap(), outcome).unwrap();
                    process::exit(21);
                });
                // Keeps the process until that thread has told its outcome.
                parent.run().unwrap();
                loop {
                    thread::park();
                }
            })
            .unwrap();
        let called = Arc::new(AtomicU32::new(0));
        let count = called.clone();
        let held: Mutex<Vec<Reply<()>>> = Mutex::default();
        worker.serve_deferred("never here", move |(), reply: Reply<()>| {
            held.lock().unwrap().push(reply);
            count.fetch_add(1, Ordering::SeqCst);
        });
        let pending: Vec<_> = (0..10).map(|_| worker.start::<()>("never", ()).unwrap()).collect();
        let (sender, callback) = mpsc::channel();
        let report = move |result: coprocess::Result<()>| sender.send(result).unwrap();
        worker.call_with("never", (), report).unwrap();
        eventually("the worker has called", || called.load(Ordering::SeqCst) == 1);
        thread::scope(|scope| {
            let blocked = scope.spawn(|| worker.call::<()>("never", ()));
            let runs = scope.spawn(|| worker.run());
            assert_eq!(worker.close().unwrap().unwrap().code(), Some(21));
            assert_matches!(blocked.join().unwrap(), Err(Error::Closed));
            runs.join().unwrap().unwrap();
        });
        for call in pending {
            assert_matches!(call.wait(), Err(Error::Closed));
        }
        assert_matches!(next(&callback), Err(Error::Closed));
        let outcome = std::fs::read_to_string(&path).unwrap();
        assert_eq!(outcome, "Err(Disconnected(Closed))");
        std::fs::remove_file(path).unwrap();
    });
}

/// A thread that waits for an answer receives for all threads. Closing does not mean waiting for
/// that answer.
#[test]
fn at_once_while_others_wait_for_answers() {
    within(LIMIT, || {
        for callers in [1, 3] {
            let worker = common::patient().fork(plain).unwrap();
            thread::scope(|scope| {
                let calls: Vec<_> =
                    (0..callers).map(|_| scope.spawn(|| worker.call::<()>("never", ()))).collect();
                eventually("all have called", || worker.stats().messages_sent >= callers);
                assert_eq!(at_once(|| worker.close()).unwrap().unwrap().code(), Some(0));
                for call in calls {
                    assert_matches!(call.join().unwrap(), Err(Error::Closed));
                }
            });
        }
    });
}

#[test]
fn by_the_worker() {
    within(LIMIT, || {
        let worker = common::patient().fork(plain).unwrap();
        let pending = worker.start::<()>("never", ()).unwrap();
        worker.emit("close", ()).unwrap();
        assert_matches!(at_once(|| pending.wait()), Err(Error::Disconnected(Reason::Closed)));
        assert!(!worker.is_connected());
        assert_matches!(worker.emit("event", ()), Err(Error::Disconnected(Reason::Closed)));
        at_once(|| {
            eventually("the worker has ended", || {
                matches!(state(worker.peer_id()), None | Some('Z'))
            })
        });
        assert_eq!(worker.close().unwrap().unwrap().code(), Some(0));
    });
}

/// Closes from inside a handler of the pair itself, where the thread that would have to dispatch is
/// the one that closes.
#[test]
fn inside_a_handler() {
    within(LIMIT, || {
        let worker = common::patient()
            .fork(|parent| {
                parent.clone().serve("go", move |()| parent.emit("close me", ()).unwrap());
            })
            .unwrap();
        let end = worker.downgrade();
        let (sender, status) = mpsc::channel();
        worker.listen("close me", move |()| {
            sender.send(end.upgrade().unwrap().close()).unwrap();
        });
        // Whether the answer still arrives is a race; that all of it ends is not.
        drop(worker.call::<()>("go", ()));
        assert_eq!(next(&status).unwrap().unwrap().code(), Some(0));
        assert_matches!(worker.call::<()>("go", ()), Err(Error::Closed));
    });
}

#[test]
fn sends_sigterm_after_close_timeout() {
    within(LIMIT, || {
        let timeout = Duration::from_millis(150);
        let worker = Builder::new().close_timeout(timeout).fork(stubborn).unwrap();
        worker.emit("park", ()).unwrap();
        let start = Instant::now();
        let status = worker.close().unwrap().unwrap();
        assert_eq!(status.signal(), Some(15), "{status:?}");
        assert!(start.elapsed() >= timeout, "{:?}", start.elapsed());
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
        assert!(is_gone(worker.peer_id()));
    });
}

#[test]
fn sends_sigkill_after_another_close_timeout() {
    within(LIMIT, || {
        let timeout = Duration::from_millis(150);
        let worker = Builder::new()
            .close_timeout(timeout)
            .spawn(program_after!("trap '' TERM", "stubborn"))
            .unwrap();
        assert_eq!(worker.call::<i64>("double", 4).unwrap(), 8);
        worker.emit("park", ()).unwrap();
        let start = Instant::now();
        let status = worker.close().unwrap().unwrap();
        assert_eq!(status.signal(), Some(9), "{status:?}");
        assert!(start.elapsed() >= 2 * timeout, "{:?}", start.elapsed());
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    });
}

/// A worker that neither reads nor ends, with a full ring between, is closed all the same.
#[test]
fn with_a_full_ring() {
    within(LIMIT, || {
        let timeout = Duration::from_millis(100);
        let worker = Builder::new()
            .ring_capacity(common::SMALL_RING)
            .close_timeout(timeout)
            .fork(stubborn)
            .unwrap();
        worker.emit("park", ()).unwrap();
        while worker.try_emit("unheard", ByteBuf::from(vec![1; 100])).is_ok() {}
        thread::scope(|scope| {
            let emit = scope.spawn(|| worker.emit("unheard", ByteBuf::from(vec![1; 20_000])));
            eventually("a sender waits", || worker.stats().waits_for_room > 0);
            let status = at_once(|| worker.close().unwrap().unwrap());
            assert_eq!(status.signal(), Some(15), "{status:?}");
            assert_matches!(emit.join().unwrap(), Err(Error::Closed));
        });
    });
}

/// A listener is far behind, and a worker never stops sending. `close` waits for neither, but for
/// as long as the listener may handle what has arrived.
#[test]
fn with_a_slow_listener_and_a_flood() {
    fn with(capacity: usize) {
        // The worker, too, has so long, and no busy machine keeps it from its end.
        let timeout = AT_ONCE;
        let worker = Builder::new()
            .ring_capacity(capacity)
            .close_timeout(timeout)
            .fork(|parent| {
                parent.clone().listen("flood", move |()| {
                    let parent = parent.clone();
                    thread::spawn(
                        move || while parent.emit("slow", ByteBuf::from(vec![0; 50])).is_ok() {},
                    );
                });
            })
            .unwrap();
        let (sender, handled) = mpsc::channel();
        worker.listen("slow", move |_: ByteBuf| {
            sender.send(()).unwrap_or(());
            thread::sleep(Duration::from_millis(100));
        });
        worker.emit("flood", ()).unwrap();
        next(&handled);
        let start = Instant::now();
        assert_eq!(worker.close().unwrap().unwrap().code(), Some(0));
        assert!(start.elapsed() < timeout + AT_ONCE, "{:?}", start.elapsed());
        assert_matches!(worker.emit("event", ()), Err(Error::Closed));
    }
    within(LIMIT, || {
        thread::scope(|scope| {
            for capacity in [common::SMALL_RING, 256 * 1024] {
                scope.spawn(move || with(capacity));
            }
        });
    });
}

#[test]
fn everything_after_close_is_an_error() {
    within(LIMIT, || {
        let worker = coprocess::fork(plain).unwrap();
        let token = Arc::new(());
        let held = token.clone();
        worker.listen("event", move |()| drop(held.clone()));
        worker.close().unwrap();
        assert!(!worker.is_connected());
        let timeout = Duration::from_secs(1);
        assert_matches!(worker.call::<i64>("double", 1), Err(Error::Closed));
        assert_matches!(worker.call_timeout::<i64>("double", 1, timeout), Err(Error::Closed));
        assert_matches!(
            worker.start::<i64>("double", 1).and_then(|call| call.wait()),
            Err(Error::Closed)
        );
        let unused = |_: coprocess::Result<i64>| panic!("an error was returned already");
        assert_matches!(worker.call_with("double", 1, unused), Err(Error::Closed));
        assert_matches!(worker.emit("event", ()), Err(Error::Closed));
        assert_matches!(worker.try_emit("event", ()), Err(Error::Closed));
        assert_matches!(worker.emit_timeout("event", (), timeout), Err(Error::Closed));
        // Nothing is left to run, which is the good end of a run.
        worker.run().unwrap();
        assert_matches!(worker.poll(), Err(Error::Closed));

        // Nothing to dispatch any more, and nothing is kept.
        let held = token.clone();
        worker.listen("event", move |()| drop(held.clone()));
        worker.unlisten("event");
        let _ = worker.stats();
        drop(worker);
        assert_eq!(Arc::strong_count(&token), 1);
    });
}

#[test]
fn kill_ends_the_worker() {
    within(LIMIT, || {
        let worker = coprocess::fork(stubborn).unwrap();
        worker.emit("park", ()).unwrap();
        worker.kill().unwrap();
        let error = at_once(|| worker.call::<i64>("double", 1)).unwrap_err();
        assert_matches!(error, Error::Disconnected(Reason::Killed(9)));
        eventually("no process is left", || state(worker.peer_id()).is_none());
        // A second one finds nothing to do, or says so; it must not hit another process.
        drop(worker.kill());
        assert_eq!(worker.close().unwrap().unwrap().signal(), Some(9));
    });
}

#[test]
fn dropping_the_last_handle_closes() {
    within(LIMIT, || {
        let worker = coprocess::fork(plain).unwrap();
        let pid = worker.peer_id();
        let clone = worker.clone();
        drop(worker);
        assert_eq!(clone.call::<i64>("double", 2).unwrap(), 4);
        at_once(|| drop(clone));
        at_once(|| eventually("no process is left, no zombie either", || state(pid).is_none()));
    });
}

/// Dropping does not wait, not even for a worker that has to be killed in the end.
#[test]
fn dropping_does_not_wait() {
    within(LIMIT, || {
        let worker = Builder::new()
            .close_timeout(Duration::from_millis(100))
            .spawn(program_after!("trap '' TERM", "stubborn"))
            .unwrap();
        let pid = worker.peer_id();
        worker.emit("park", ()).unwrap();
        at_once(|| drop(worker));
        at_once(|| eventually("no process is left, no zombie either", || state(pid).is_none()));
    });
}

#[test]
fn a_weak_handle_keeps_nothing_open() {
    within(LIMIT, || {
        let worker = coprocess::fork(plain).unwrap();
        let pid = worker.peer_id();
        let weak = worker.downgrade();
        let inside = weak.clone();
        worker.listen("event", move |()| drop(inside.upgrade()));
        assert_eq!(weak.upgrade().unwrap().call::<i64>("double", 2).unwrap(), 4);
        drop(worker);
        assert!(weak.upgrade().is_none());
        at_once(|| eventually("no process is left", || state(pid).is_none()));
    });
}

/// A handle inside a handler of its own pair keeps the pair open until the end of the peer.
#[test]
fn a_handle_inside_its_own_handler_keeps_the_pair_open() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let end = parent.downgrade();
            parent.listen("again", move |number: u32| {
                if number == 100 {
                    process::exit(0);
                }
                end.upgrade().unwrap().emit("number", number).unwrap();
            });
        })
        .unwrap();
        let pid = worker.peer_id();
        let (sender, numbers) = mpsc::channel();
        let inside = worker.clone();
        worker.listen("number", move |number: u32| {
            inside.emit("again", number + 1).unwrap();
            sender.send(number).unwrap();
        });
        worker.emit("again", 0_u32).unwrap();
        drop(worker);
        for number in 0..100 {
            assert_eq!(next(&numbers), number);
        }
        numbers.recv().expect_err("the handler was dropped with the end of the worker");
        eventually("no process is left", || state(pid).is_none());
    });
}
