//! Death of the worker by exit, abort and SIGKILL, and of the parent, at the worst moments. Every
//! wait ends, with the reason. What was sent before is delivered first.

#![expect(unsafe_code, reason = "a debugger's system call")]

use std::env;
use std::path::Path;
use std::process;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use crate::common::{
    self, LIMIT, SMALL_RING, Stopped, assert_matches, at_once, eventually, fresh_path, inbox,
    is_gone, next, pattern, touch, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, Reason, Reply};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// The ways to die; the number travels to the worker.
const DEATHS: [(u8, Reason); 4] = [
    (0, Reason::Exited(0)),
    (1, Reason::Exited(3)),
    (2, Reason::Killed(6)),
    (3, Reason::Killed(9)),
];

fn die(how: u8) -> ! {
    match how {
        0 => process::exit(0),
        1 => process::exit(3),
        2 => process::abort(),
        _ => {
            kill(Pid::this(), Signal::SIGKILL).unwrap();
            unreachable!()
        }
    }
}

/// Serves as the debugger of another process, by its number. Returns the error of the system, or
/// zero.
fn debugger(parent: Coprocess) {
    parent.serve("attach", |process: i32| {
        // SAFETY: takes numbers; nothing of this process is touched.
        let attached = unsafe { libc::ptrace(libc::PTRACE_SEIZE, process, 0, 0) };
        if attached == 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap() }
    });
}

/// The kernel hides the end of a worker from its parent until a debugger has seen that end.
#[test]
fn killed_under_a_debugger() {
    within(LIMIT, || {
        common::alone!({
            let debugger = coprocess::fork(debugger).unwrap();
            let worker = common::patient().fork(mortal).unwrap();
            let process = worker.peer_id().cast_signed();
            let refused = debugger.call::<i32>("attach", process).unwrap();
            if refused != 0 {
                println!(
                    "skipped: the system refuses ptrace: {}",
                    std::io::Error::from_raw_os_error(refused)
                );
                return;
            }
            worker.kill().unwrap();
            assert_matches!(
                at_once(|| worker.call::<()>("never", ())),
                Err(Error::Disconnected(_))
            );
            common::nothing_spins();
            // It lets go by its own end.
            debugger.kill().unwrap();
            assert_eq!(
                std::os::unix::process::ExitStatusExt::signal(
                    &at_once(|| worker.close()).unwrap().unwrap()
                ),
                Some(libc::SIGKILL)
            );
        });
    });
}

fn mortal(parent: Coprocess) {
    let held: Mutex<Vec<Reply<()>>> = Mutex::default();
    parent
        .serve("die", |how: u8| -> () { die(how) })
        .listen("die", |how: u8| die(how))
        .serve_deferred("never", move |(), reply: Reply<()>| held.lock().unwrap().push(reply))
        .serve_deferred("answer and die", |how: u8, reply: Reply<u8>| {
            reply.send(how).unwrap();
            die(how)
        })
        // Handles nothing more; dies when the file that the environment names appears.
        .listen("stall", |how: u8| {
            let path = env::var_os("STALL").unwrap();
            eventually("told to die", || Path::new(&path).exists());
            die(how)
        });
    let end = parent.downgrade();
    parent.listen("send and die", move |(how, count): (u8, u32)| {
        let parent = end.upgrade().unwrap();
        for number in 0..count {
            let size = if number % 10 == 0 { 6000 } else { 60 };
            parent.emit("number", (number, ByteBuf::from(pattern(number as usize, size)))).unwrap();
        }
        die(how)
    });
    let end = parent.downgrade();
    parent.listen("send without end", move |()| {
        let parent = end.upgrade().unwrap();
        for number in 0_u32.. {
            let size = number as usize % 4 * 20_000;
            parent.emit("number", (number, ByteBuf::from(pattern(number as usize, size)))).unwrap();
        }
    });
}

#[track_caller]
fn assert_died<T: std::fmt::Debug>(result: coprocess::Result<T>, reason: Reason) {
    match result {
        Err(Error::Disconnected(is)) => assert_eq!(is, reason),
        other => panic!("{other:?} instead of {reason:?}"),
    }
}

#[test]
fn in_the_midst_of_a_call() {
    within(LIMIT, || {
        for (how, reason) in DEATHS {
            let worker = coprocess::fork(mortal).unwrap();
            assert_died(at_once(|| worker.call::<()>("die", how)), reason);
            assert!(!worker.is_connected());
            assert_died(worker.call::<()>("die", how), reason);
            assert_died(worker.emit("die", how), reason);
            assert_died(worker.try_emit("die", how), reason);
            assert_died(worker.start::<()>("die", how).and_then(|call| call.wait()), reason);
            assert_died(worker.run(), reason);
        }
    });
}

#[test]
fn with_many_calls_in_flight() {
    within(LIMIT, || {
        for (how, reason) in DEATHS {
            let worker = coprocess::fork(mortal).unwrap();
            let calls: Vec<_> =
                (0..1000).map(|_| worker.start::<()>("never", ()).unwrap()).collect();
            let (sender, callback) = mpsc::channel();
            let report = move |result: coprocess::Result<()>| sender.send(result).unwrap();
            worker.call_with("never", (), report).unwrap();
            thread::scope(|scope| {
                let blocked: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| worker.call::<()>("never", ()))).collect();
                worker.emit("die", how).unwrap();
                at_once(|| {
                    for thread in blocked {
                        assert_died(thread.join().unwrap(), reason);
                    }
                });
            });
            for call in calls {
                assert_died(call.wait(), reason);
            }
            assert_died(next(&callback), reason);
        }
    });
}

#[test]
fn while_the_parent_waits_for_room() {
    within(LIMIT, || {
        for (how, reason) in DEATHS {
            let stall = fresh_path("stall");
            let worker =
                Builder::new().ring_capacity(SMALL_RING).env("STALL", &stall).fork(mortal).unwrap();
            worker.emit("stall", how).unwrap();
            thread::scope(|scope| {
                let sizes = [10, 3000, 100_000];
                let emits: Vec<_> = sizes
                    .into_iter()
                    .map(|size| {
                        let (worker, value) = (&worker, ByteBuf::from(pattern(0, size)));
                        scope.spawn(move || {
                            loop {
                                if let Err(error) = worker.emit("unheard", &value) {
                                    break Err::<(), _>(error);
                                }
                            }
                        })
                    })
                    .collect();
                eventually("the ring is full", || worker.stats().waits_for_room > 0);
                touch(&stall);
                at_once(|| {
                    for emit in emits {
                        assert_died(emit.join().unwrap(), reason);
                    }
                });
            });
            std::fs::remove_file(&stall).unwrap();
        }
    });
}

#[test]
fn while_the_parent_is_inside_run() {
    within(LIMIT, || {
        for (how, reason) in DEATHS {
            let worker = coprocess::fork(mortal).unwrap();
            thread::scope(|scope| {
                let runs: Vec<_> = (0..2).map(|_| scope.spawn(|| worker.run())).collect();
                worker.emit("die", how).unwrap();
                at_once(|| {
                    for run in runs {
                        assert_died(run.join().unwrap(), reason);
                    }
                });
            });
        }
    });
}

/// No thread waits for anything: the handle knows of the death nevertheless.
#[test]
fn while_nobody_waits() {
    within(LIMIT, || {
        for (how, reason) in DEATHS {
            let worker = coprocess::fork(mortal).unwrap();
            worker.emit("die", how).unwrap();
            at_once(|| eventually("the end is noticed", || !worker.is_connected()));
            assert_died(worker.emit("die", how), reason);
        }
    });
}

#[test]
fn what_it_sent_before_is_delivered() {
    within(LIMIT, || {
        for capacity in [SMALL_RING, 256 * 1024] {
            for (how, reason) in DEATHS {
                let worker = Builder::new().ring_capacity(capacity).fork(mortal).unwrap();
                let numbers = inbox::<(u32, ByteBuf)>(&worker, "number");
                worker.emit("send and die", (how, 500_u32)).unwrap();
                // Some through the background thread, the rest while this thread waits for an
                // answer that cannot come.
                let (first, _) = next(&numbers);
                assert_eq!(first, 0);
                assert_died(worker.call::<()>("never", ()), reason);
                for number in 1..500 {
                    let (is, bytes) = numbers.try_recv().expect("delivered before the end");
                    assert_eq!(is, number);
                    assert_eq!(bytes, pattern(number as usize, bytes.len()));
                }
            }
        }
    });
}

/// Without a handler or a wait nothing is dispatched before the worker dies. What was sent lies in
/// the ring, and is not lost.
#[test]
fn what_lies_in_the_ring_is_delivered_after_death() {
    within(LIMIT, || {
        for (how, reason) in DEATHS {
            let worker = coprocess::fork(mortal).unwrap();
            let pid = worker.peer_id();
            worker.emit("send and die", (how, 100_u32)).unwrap();
            eventually("the worker is dead", || is_gone(pid));
            let numbers = inbox::<(u32, ByteBuf)>(&worker, "number");
            assert_died(worker.run(), reason);
            assert_eq!(numbers.try_iter().count(), 100);
        }
    });
}

#[test]
fn an_answer_before_death_is_an_answer() {
    within(LIMIT, || {
        for round in 0..40 {
            let (how, reason) = DEATHS[round % DEATHS.len()];
            let worker = coprocess::fork(mortal).unwrap();
            assert_eq!(worker.call::<u8>("answer and die", how).unwrap(), how);
            assert_died(worker.call::<u8>("answer and die", how), reason);
        }
    });
}

/// A message that was cut off by death is not delivered, and those before it are whole.
#[test]
fn killed_in_the_midst_of_a_message() {
    within(LIMIT, || {
        for round in 0..30 {
            let worker = Builder::new().ring_capacity(SMALL_RING).fork(mortal).unwrap();
            let numbers = inbox::<(u32, ByteBuf)>(&worker, "number");
            worker.emit("send without end", ()).unwrap();
            for expected in 0..round * 3 {
                assert_eq!(next(&numbers).0, expected);
            }
            worker.kill().unwrap();
            assert_died(at_once(|| worker.run()), Reason::Killed(9));
            for (at, (number, bytes)) in numbers.try_iter().enumerate() {
                assert_eq!(number, round * 3 + at as u32);
                assert_eq!(bytes, pattern(number as usize, number as usize % 4 * 20_000));
            }
        }
    });
}

/// A stopped worker is not a dead one.
#[test]
fn a_stopped_worker_is_alive() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("double", |x: i64| x * 2);
        })
        .unwrap();
        let stopped = Stopped::new(&worker);
        let timeout = Duration::from_millis(100);
        assert_matches!(worker.call_timeout::<i64>("double", 1, timeout), Err(Error::Timeout));
        assert!(worker.is_connected());
        drop(stopped);
        assert_eq!(worker.call::<i64>("double", 2).unwrap(), 4);
    });
}

#[test]
fn of_the_thread_that_forked_is_no_death() {
    within(LIMIT, || {
        let worker = thread::spawn(|| {
            common::patient()
                .fork(|parent| {
                    parent.serve("double", |x: i64| x * 2);
                })
                .unwrap()
        })
        .join()
        .unwrap();
        // Time enough for a signal at the end of that thread to arrive.
        for round in 0..50 {
            thread::sleep(Duration::from_millis(1));
            assert_eq!(worker.call::<i64>("double", round).unwrap(), round * 2);
        }
        assert!(worker.close().unwrap().unwrap().success());
    });
}
