//! One test for each row of the table "The original's behaviour, and ours": what the Node library
//! did, and what became of it. The comment above a test quotes the row.

use std::env;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::common::{
    self, LIMIT, alone, assert_matches, at_once, eventually, fresh_path, inbox, is_gone, next,
    program, resident_kib, role, serve_parent, touch, within,
};
use coprocess::{Builder, Coprocess, Error, Reason, Reply, WaitStrategy};

#[test]
fn worker_program() {
    if role().is_some() {
        serve_parent(calculator);
    }
}

fn calculator(parent: Coprocess) {
    parent
        .serve("nothing", |()| ())
        .serve("double", |x: i64| x * 2)
        .serve("add", |(a, b): (i64, i64)| a + b)
        .serve("join", |(a, b, c, d): (String, char, u8, Option<bool>)| format!("{a}{b}{c}{d:?}"))
        .listen("exit", |code: i32| process::exit(code));
}

static CONTEXT: AtomicU64 = AtomicU64::new(0);

fn context(parent: Coprocess) {
    parent.serve("context", |()| (CONTEXT.load(Ordering::SeqCst), process::id()));
}

/// `fork(function)`, shares no context: `fork(fn or non-capturing closure)`
#[test]
fn fork_of_a_function_shares_no_context() {
    within(LIMIT, || {
        CONTEXT.store(7, Ordering::SeqCst);
        let workers: [fn(Coprocess); 2] = [context, |parent| context(parent)];
        for function in workers {
            let worker = coprocess::fork(function).unwrap();
            let (seen, pid): (u64, u32) = worker.call("context", ()).unwrap();
            assert_eq!(seen, 0, "the worker starts from the program's initial state");
            assert_ne!(pid, process::id());
            assert_eq!(pid, worker.peer_id());
        }
    });
}

/// `fork(scriptName)`, relative to the working directory: `spawn(Command)`; the program calls
/// `parent()`
#[test]
fn spawn_of_a_program_relative_to_the_working_directory() {
    within(LIMIT, || {
        let up: PathBuf = env::current_dir().unwrap().components().skip(1).map(|_| "..").collect();
        let absolute = program!("calculator");
        let relative = up.join(PathBuf::from(absolute.get_program()).strip_prefix("/").unwrap());
        assert!(relative.is_relative());
        let mut command = Command::new(relative);
        command.args(absolute.get_args()).stdout(Stdio::null());
        for (key, value) in absolute.get_envs() {
            command.env(key, value.unwrap());
        }
        let worker = common::patient().spawn(command).unwrap();
        assert_eq!(worker.call::<i64>("add", (1, 2)).unwrap(), 3);
        assert!(worker.close().unwrap().unwrap().success());
    });
}

/// callback once the worker runs; throws if it cannot be created: `fork`/`spawn` return once it has
/// attached, or `Error::Fork`
#[test]
fn fork_returns_once_the_worker_runs_or_fails() {
    within(LIMIT, || {
        let worker = coprocess::fork(calculator).unwrap();
        assert!(worker.is_connected());
        assert!(!is_gone(worker.peer_id()));

        let error = coprocess::spawn(Command::new("/nonexistent/worker")).unwrap_err();
        assert_matches!(error, Error::Fork { ref program, .. } if program.contains("/nonexistent/worker"));
    });
}

/// already forked: throws: not expressible: a `Coprocess` is always paired
#[test]
fn every_handle_is_paired_with_a_worker_of_its_own() {
    within(LIMIT, || {
        let first = coprocess::fork(context).unwrap();
        let second = coprocess::fork(context).unwrap();
        assert!(first.is_connected() && second.is_connected());
        assert_ne!(first.peer_id(), second.peer_id());
        let pid = |end: &Coprocess| end.call::<(u64, u32)>("context", ()).unwrap().1;
        assert_eq!(pid(&first), first.peer_id());
        assert_eq!(pid(&second), second.peer_id());
        first.close().unwrap();
        assert_eq!(pid(&second), second.peer_id());
    });
}

fn middle(parent: Coprocess) {
    let grandchild = coprocess::fork(calculator).unwrap();
    let pid = grandchild.peer_id();
    parent.serve("grandchild", move |()| {
        assert_eq!(grandchild.call::<i64>("add", (20, 3)).unwrap(), 23);
        pid
    });
    parent.listen("exit", |()| process::exit(0));
}

/// killed when the parent exits: same, also on SIGKILL of the parent
#[test]
fn killed_when_the_parent_exits() {
    within(LIMIT, || {
        let exits = coprocess::fork(middle).unwrap();
        let grandchild: u32 = exits.call("grandchild", ()).unwrap();
        assert!(!is_gone(grandchild));
        exits.emit("exit", ()).unwrap();
        at_once(|| eventually("no grandchild after exit", || is_gone(grandchild)));

        let killed = coprocess::fork(middle).unwrap();
        let grandchild: u32 = killed.call("grandchild", ()).unwrap();
        assert!(!is_gone(grandchild));
        killed.kill().unwrap();
        at_once(|| eventually("no grandchild after SIGKILL", || is_gone(grandchild)));
    });
}

/// `close([cb(err)])`: disconnect or kill: `close() -> Result<Option<ExitStatus>>`
#[test]
fn close_disconnects_or_kills() {
    within(LIMIT, || {
        let worker = common::patient().fork(calculator).unwrap();
        let pid = worker.peer_id();
        let status = worker.close().unwrap().expect("the parent learns the status");
        assert_eq!(status.code(), Some(0));
        assert!(is_gone(pid));
        assert!(!worker.is_connected());

        let stuck = Builder::new()
            .close_timeout(Duration::from_millis(50))
            .fork(|parent| {
                parent.listen("hang", |()| {
                    loop {
                        std::thread::park()
                    }
                });
            })
            .unwrap();
        stuck.emit("hang", ()).unwrap();
        let status = stuck.close().unwrap().expect("the parent learns the status");
        assert!(!status.success());
        assert!(is_gone(stuck.peer_id()));
    });
}

/// `call(method, ...args, cb)`: zero, one, many arguments; callback required: `call`, `start`,
/// `call_with`; the type system requires the result
#[test]
fn call_with_zero_one_and_many_arguments() {
    within(LIMIT, || {
        let worker = coprocess::fork(calculator).unwrap();
        worker.call::<()>("nothing", ()).unwrap();
        assert_eq!(worker.call::<i64>("double", 21).unwrap(), 42);
        assert_eq!(worker.call::<i64>("add", (1, 2)).unwrap(), 3);
        let joined: String = worker.call("join", ("x", 'y', 3_u8, Some(true))).unwrap();
        assert_eq!(joined, "xy3Some(true)");

        assert_eq!(worker.start::<i64>("add", (3, 4)).unwrap().wait().unwrap(), 7);

        let (sender, answer) = mpsc::channel();
        worker
            .call_with("add", (5, 6), move |sum: coprocess::Result<i64>| sender.send(sum).unwrap())
            .unwrap();
        assert_eq!(next(&answer).unwrap(), 11);
    });
}

/// `'method not found'`, `'not connected'`, `'disconnected'` errors; pending calls fail when the
/// worker exits: `MethodNotFound`, `Closed`, `Disconnected`
#[test]
fn errors_of_calls() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let replies = Mutex::new(Vec::new());
            parent.serve_deferred("never", move |(), reply: Reply<()>| {
                replies.lock().unwrap().push(reply);
            });
            parent.listen("exit", |code: i32| process::exit(code));
        })
        .unwrap();
        assert_matches!(worker.call::<()>("missing", ()), Err(Error::MethodNotFound { ref method }) if method == "missing");

        let pending: Vec<_> = (0..3).map(|_| worker.start::<()>("never", ()).unwrap()).collect();
        worker.emit("exit", 5).unwrap();
        for call in pending {
            assert_matches!(call.wait(), Err(Error::Disconnected(Reason::Exited(5))));
        }
        assert_matches!(
            worker.call::<()>("never", ()),
            Err(Error::Disconnected(Reason::Exited(5)))
        );

        let closed = coprocess::fork(calculator).unwrap();
        closed.close().unwrap();
        assert_matches!(closed.call::<()>("nothing", ()), Err(Error::Closed));
    });
}

/// The number of a call, and what answers it.
type Waiting = (u32, Reply<usize>);

/// calls launched in order, may complete out of order; handler completes by callback: `serve` (at
/// once), `serve_deferred` (later)
#[test]
fn calls_start_in_order_and_complete_in_any() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let waiting: Arc<Mutex<Vec<Waiting>>> = Arc::default();
            let kept = waiting.clone();
            parent.serve_deferred("later", move |number: u32, reply: Reply<usize>| {
                kept.lock().unwrap().push((number, reply));
            });
            // Answers in the opposite order, from another thread, and says in which order the calls
            // came.
            parent.serve("now", move |()| {
                let calls: Vec<_> = waiting.lock().unwrap().drain(..).collect();
                let started: Vec<u32> = calls.iter().map(|(number, _)| *number).collect();
                std::thread::spawn(move || {
                    for (position, (_, reply)) in calls.into_iter().rev().enumerate() {
                        reply.send(position).unwrap();
                    }
                });
                started
            });
        })
        .unwrap();
        let pending: Vec<_> =
            (0..10_u32).map(|number| worker.start::<usize>("later", number).unwrap()).collect();
        let started: Vec<u32> = worker.call("now", ()).unwrap();
        assert_eq!(started, (0..10).collect::<Vec<u32>>());
        for (number, call) in pending.into_iter().enumerate() {
            assert_eq!(call.wait().unwrap(), 9 - number);
        }
    });
}

/// symmetric: the worker calls the parent, also inside a handler: same
#[test]
fn the_worker_calls_the_parent_also_inside_a_handler() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let asks = parent.downgrade();
            parent.serve("ask", move |x: i64| -> i64 {
                asks.upgrade().unwrap().call("double", x).unwrap()
            });
            parent.clone().listen("ask from a thread", move |x: i64| {
                let parent = parent.clone();
                std::thread::spawn(move || {
                    let doubled: i64 = parent.call("double", x).unwrap();
                    parent.emit("doubled", doubled).unwrap();
                });
            });
        })
        .unwrap();
        worker.serve("double", |x: i64| x * 2);
        let doubled = inbox::<i64>(&worker, "doubled");
        assert_eq!(worker.call::<i64>("ask", 4).unwrap(), 8);
        worker.emit("ask from a thread", 5).unwrap();
        assert_eq!(next(&doubled), 10);
    });
}

/// `emit(event, ...values)`, ordered with calls, unheard ones dropped: `emit`
#[test]
fn emit_is_ordered_with_calls_and_unheard_events_are_dropped() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let seen: Arc<Mutex<Vec<(u32, String)>>> = Arc::default();
            let events = seen.clone();
            parent.listen("event", move |value: (u32, String)| events.lock().unwrap().push(value));
            parent.serve("seen", move |()| seen.lock().unwrap().clone());
        })
        .unwrap();
        for number in 0..100_u32 {
            worker.emit("event", (number, "values")).unwrap();
            worker.emit("unheard", (number, "values")).unwrap();
            let seen: Vec<(u32, String)> = worker.call("seen", ()).unwrap();
            assert_eq!(seen.len(), number as usize + 1);
            assert_eq!(seen.last().unwrap(), &(number, "values".to_owned()));
        }
    });
}

/// `listen(event, handler)`, one per event; `unlisten`; `listen({methods})`: `listen`, `unlisten`,
/// `serve`
#[test]
fn one_listener_for_each_event() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("send", {
                let parent = parent.downgrade();
                move |()| parent.upgrade().unwrap().emit("event", 1).unwrap()
            });
            // Several methods at once: registrations chain.
            parent.serve("one", |()| 1).serve("two", |()| 2);
        })
        .unwrap();
        let replaced = inbox::<i32>(&worker, "event");
        let current = inbox::<i32>(&worker, "event");
        worker.call::<()>("send", ()).unwrap();
        assert_eq!(next(&current), 1);
        replaced.recv().expect_err("the first listener was replaced, and dropped");

        assert!(worker.unlisten("event"));
        assert!(!worker.unlisten("event"));
        worker.call::<()>("send", ()).unwrap();
        current.recv().expect_err("the listener was removed, and dropped");

        assert_eq!(
            worker.call::<i32>("one", ()).unwrap() + worker.call::<i32>("two", ()).unwrap(),
            3
        );
    });
}

/// `'listening'` event on first listen: same
#[test]
fn listening_is_sent_on_the_first_listen() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.listen("anything", |()| ());
        })
        .unwrap();
        next(&inbox::<()>(&worker, "listening"));
    });
}

/// bogus messages tolerated: `Misbehaved`, never a crash
#[test]
fn bogus_messages_are_no_crash() {
    within(LIMIT, || {
        // A message that is well framed but makes no sense spoils only itself.
        let worker = coprocess::fork(|parent| {
            calculator(parent.clone());
            parent.listen("number", |_: u8| unreachable!("nothing that decodes is sent"));
            let end = parent.downgrade();
            parent.serve("spoilt", move |()| {
                let stats = end.upgrade().unwrap().stats();
                (stats.events_undecodable, stats.events_mistyped)
            });
        })
        .unwrap();
        worker.emit_bytes("number", b"a string, and not a short one").unwrap();
        assert_eq!(worker.call::<(u64, u64)>("spoilt", ()).unwrap(), (1, 0));
        worker.emit("number", "a string, and not a short one").unwrap();
        assert_eq!(worker.call::<(u64, u64)>("spoilt", ()).unwrap(), (1, 1));
        assert_matches!(
            worker.call_bytes("add", b"\x0fnot two numbers"),
            Err(Error::Remote { .. })
        );
        assert_matches!(
            worker.call::<i64>("add", "not two numbers"),
            Err(Error::Types { name, sent, wanted }) if (&*name, &*sent, &*wanted) == ("add", "string", "(_, _)")
        );
        assert_eq!(worker.call::<i64>("add", (1, 2)).unwrap(), 3);

        // A worker that overwrites the shared memory: the parent gets errors, and can still end it.
        for (from, byte) in [(0.0, 0xff_u8), (0.0, 0x5a), (0.0, 0), (0.5, 0xff), (0.5, 0)] {
            // What events consist of is the C library's, which trusts it.
            if cfg!(coprocess_second_backend) && from == 0.0 {
                continue;
            }
            let hostile = Builder::new()
                .wait(WaitStrategy::Spin)
                .close_timeout(Duration::from_millis(20))
                .fork(|parent| {
                    parent.serve("scribble", |(from, byte, done): (f64, u8, PathBuf)| -> () {
                        common::scribble(from, |_, _| byte);
                        touch(&done);
                        loop {
                            std::thread::park();
                        }
                    });
                })
                .unwrap();
            let timeout = Duration::from_millis(100);
            let done = fresh_path("done");
            for _ in 0..2 {
                let error = hostile
                    .call_timeout::<()>("scribble", (from, byte, &done), timeout)
                    .unwrap_err();
                assert_matches!(
                    error,
                    Error::Misbehaved(_) | Error::Disconnected(_) | Error::Timeout
                );
            }
            drop(hostile.emit_timeout("event", vec![0_u8; 1 << 20], timeout));
            // One that has not come to it yet would end by itself.
            eventually("it has overwritten everything", || done.exists());
            fs::remove_file(done).unwrap();
            let status = hostile.close().unwrap().unwrap();
            assert_eq!(status.signal(), Some(15));
        }
    });
}

/// table of callbacks collected every 100k calls: pending table bounded and reused, memory flat
/// over 10^8 calls
#[test]
fn memory_stays_flat_over_many_calls() {
    within(LIMIT, || {
        alone!({
            let worker = coprocess::fork(calculator).unwrap();
            let calls = |count: i64| {
                for number in 0..count {
                    assert_eq!(worker.call::<i64>("double", number).unwrap(), number * 2);
                    drop(worker.start::<i64>("double", number).unwrap());
                }
            };
            calls(5000);
            let before = resident_kib();
            calls(20_000);
            let grown = resident_kib().saturating_sub(before);
            assert!(grown < 256, "grown by {grown} KiB over 40,000 calls");
        });
    });
}
