//! One test for each variant of `Error` that the public surface can provoke: when the error comes,
//! what was done and what not, and what its text says. `fork_errors.rs` does the same for the
//! causes of `Error::Fork`.
#![allow(unsafe_code, reason = "one test ignores a signal")]

use std::error::Error as _;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{
    self, LIMIT, SMALL_RING, Stopped, assert_matches, at_once, check_error, eventually, program,
    role, within,
};
use coprocess::{Builder, Coprocess, Error, ForkError, Reason, Reply};
use nix::sys::signal::{SigHandler, Signal, signal};
use serde::{Serialize, Serializer};

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("children die unseen") => children_die_unseen(),
        Some(other) => unreachable!("{other}"),
    }
}

fn worker() -> Coprocess {
    coprocess::fork(|parent| {
        // The panic of a handler is expected here.
        std::panic::set_hook(Box::new(|_| ()));
        parent
            .serve("double", |x: i64| x * 2)
            .serve("length", |text: String| text.len())
            .serve_bytes("raw", |bytes| bytes.to_vec())
            .serve("panic", |()| -> () { panic!("eleven pipers") })
            .try_serve("fail", |()| Err::<(), _>("ten lords"))
            .serve_deferred("drop", |(), reply: Reply<()>| drop(reply))
            .serve_deferred("refuse", |(), reply: Reply<()>| {
                reply.fail("nine ladies").unwrap();
            })
            .serve_deferred("never", |(), reply: Reply<()>| {
                std::mem::forget(reply);
            })
            .listen("park", |()| {
                loop {
                    thread::park();
                }
            })
            .listen("exit", |code: i32| process::exit(code));
        let end = parent.downgrade();
        parent.listen("close", move |()| {
            end.upgrade().unwrap().close().unwrap();
        });
    })
    .unwrap()
}

#[test]
fn method_not_found() {
    within(LIMIT, || {
        let worker = worker();
        let error = worker.call::<()>("unknown", ()).unwrap_err();
        assert_matches!(error, Error::MethodNotFound { ref method } if method == "unknown");
        check_error(&error, "`unknown`");
        assert!(error.source().is_none());
        assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
    });
}

#[test]
fn remote() {
    within(LIMIT, || {
        let worker = worker();
        for (name, says) in [
            ("fail", "ten lords"),
            ("panic", "eleven pipers"),
            ("refuse", "nine ladies"),
            ("drop", ""),
        ] {
            let error = worker.call::<()>(name, ()).unwrap_err();
            assert_matches!(error, Error::Remote { ref method, ref message }
                if method == name && message.contains(says) && !message.is_empty());
            check_error(&error, says);
            check_error(&error, name);
            assert!(error.source().is_none());
        }
        assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
    });
}

#[test]
fn disconnected_exited() {
    within(LIMIT, || {
        let worker = worker();
        worker.emit("exit", 17).unwrap();
        let error = worker.call::<()>("never", ()).unwrap_err();
        assert_matches!(error, Error::Disconnected(Reason::Exited(17)));
        check_error(&error, "exited with code 17");
        assert!(error.source().is_none());
    });
}

#[test]
fn disconnected_killed() {
    within(LIMIT, || {
        let worker = worker();
        worker.kill().unwrap();
        let error = worker.call::<()>("never", ()).unwrap_err();
        assert_matches!(error, Error::Disconnected(Reason::Killed(9)));
        check_error(&error, "killed by signal 9");
    });
}

#[test]
fn disconnected_closed() {
    within(LIMIT, || {
        let worker = worker();
        worker.emit("close", ()).unwrap();
        let error = worker.call::<()>("never", ()).unwrap_err();
        assert_matches!(error, Error::Disconnected(Reason::Closed));
        check_error(&error, "the peer closed its end");
    });
}

/// Ignores SIGCHLD, so that the kernel throws the exit status away.
fn children_die_unseen() {
    // SAFETY: no handler is installed that could run anything, and no other thread forks yet.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.unwrap();

    let parent = coprocess::parent().unwrap();
    parent.serve("test", |()| {
        let worker = worker();
        worker.emit("exit", 3).unwrap();
        let error = worker.call::<()>("never", ()).unwrap_err();
        assert_matches!(error, Error::Disconnected(Reason::Unknown));
        check_error(&error, "not known");
        // There is no status to tell, but closing ends as usual, also while the worker lives.
        drop(at_once(|| worker.close()));
        drop(at_once(|| self::worker().close()));
    });
    parent.run().unwrap();
}

#[test]
fn disconnected_for_an_unknown_reason() {
    within(LIMIT, || {
        let middle = common::patient().spawn(program!("children die unseen")).unwrap();
        middle.call::<()>("test", ()).unwrap();
        assert!(middle.close().unwrap().unwrap().success());
    });
}

#[test]
fn closed() {
    within(LIMIT, || {
        let worker = worker();
        worker.close().unwrap();
        let error = worker.call::<i64>("double", 1).unwrap_err();
        assert_matches!(error, Error::Closed);
        check_error(&error, "closed");
        assert!(error.source().is_none());
    });
}

#[test]
fn timeout() {
    within(LIMIT, || {
        let worker = worker();
        let error = worker.call_timeout::<()>("never", (), Duration::from_millis(20)).unwrap_err();
        assert_matches!(error, Error::Timeout);
        check_error(&error, "deadline");
        assert!(error.source().is_none());
        assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
    });
}

#[test]
fn full() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                parent.serve("one", |()| 1).listen("count", |_: u64| ());
            })
            .unwrap();
        let stopped = Stopped::new(&worker);
        let mut sent = 0_u64;
        let error = loop {
            match worker.try_emit("count", sent) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            assert!(sent < SMALL_RING as u64, "a ring of 4 KiB holds {sent} events");
        };
        assert_matches!(error, Error::Full);
        check_error(&error, "full");
        assert!(error.source().is_none());
        assert_eq!(worker.stats().messages_sent, sent, "the refused one was not sent");
        drop(stopped);
        assert_eq!(worker.call::<i32>("one", ()).unwrap(), 1);
        worker.try_emit("count", 0_u64).unwrap();
    });
}

#[test]
fn too_large() {
    within(LIMIT, || {
        let worker = Builder::new()
            .max_message(1000)
            .fork(|parent| {
                parent.serve("length", |text: String| text.len());
            })
            .unwrap();
        let text = "x".repeat(2000);
        let sent = worker.stats().messages_sent;
        let error = worker.call::<usize>("length", &text).unwrap_err();
        assert_matches!(error, Error::TooLarge { size: 1001.., max: 1000 });
        check_error(&error, "1000");
        assert!(error.source().is_none());
        assert_matches!(worker.emit("event", &text), Err(Error::TooLarge { .. }));
        assert_matches!(worker.try_emit("event", &text), Err(Error::TooLarge { .. }));
        assert_eq!(worker.stats().messages_sent, sent, "nothing was sent");
        assert_eq!(worker.call::<usize>("length", &text[..500]).unwrap(), 500);
    });
}

/// A type that cannot be encoded.
struct Unspeakable;

impl Serialize for Unspeakable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("unspeakable"))
    }
}

#[test]
fn encode() {
    within(LIMIT, || {
        let worker = worker();
        let sent = worker.stats().messages_sent;
        // After some kilobytes of a good part, so that something may already have been written.
        let args = (vec![1_u8; 100_000], Unspeakable);
        for error in [
            worker.call::<()>("double", Unspeakable).unwrap_err(),
            worker.emit("double", Unspeakable).unwrap_err(),
            worker.emit("double", &args).unwrap_err(),
        ] {
            assert_matches!(error, Error::Encode { ref what, .. } if what == "double");
            check_error(&error, "`double`");
            assert!(error.source().is_some());
        }
        assert_eq!(worker.stats().messages_sent, sent, "nothing was sent");
        assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
    });
}

#[test]
fn decode() {
    within(LIMIT, || {
        let worker = worker();
        // An answer whose type is not known: too short, and one with bytes left over.
        for error in [
            worker.call::<(i64, String)>("raw", 1).map(drop).unwrap_err(),
            worker.call::<u8>("raw", 1_000_000).map(drop).unwrap_err(),
        ] {
            assert_matches!(error, Error::Decode { ref what, .. } if what == "raw");
            check_error(&error, "`raw`");
            check_error(&error, "same types");
            assert!(error.source().is_some());
        }
        assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
    });
}

/// An answer of another type than the caller wants.
#[test]
fn a_result_of_another_type() {
    within(LIMIT, || {
        let worker = worker();
        for (error, takes) in [
            (
                worker.call::<(i64, String)>("double", 1).map(drop).unwrap_err(),
                "(_, _) as its result",
            ),
            (worker.call::<u8>("double", 1_000_000).map(drop).unwrap_err(), "u8 as its result"),
        ] {
            assert_matches!(
                &error,
                Error::Types { name, sent, wanted } if (&**name, &**sent, &**wanted) == ("double", "i64", takes)
            );
            check_error(&error, "`double`");
            assert!(error.source().is_none());
        }
        assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
    });
}

/// Arguments that the handler cannot decode: the caller learns of it, and which method.
#[test]
fn arguments_of_another_type() {
    within(LIMIT, || {
        let worker = worker();
        for (error, what) in [
            (worker.call::<usize>("length", ()).unwrap_err(), "()"),
            (worker.call::<usize>("length", ("text", 1)).unwrap_err(), "(string, i32)"),
        ] {
            assert_matches!(
                &error,
                Error::Types { name, sent, wanted } if (&**name, &**sent, &**wanted) == ("length", what, "string")
            );
            check_error(&error, "`length`");
        }
        // Bytes whose type is not known: too few, and too many.
        for bytes in [&b""[..], b"\x04text\x02"] {
            let error = worker.call_bytes("length", bytes).unwrap_err();
            assert_matches!(&error, Error::Remote { message, .. } if message.contains("do not decode"));
            check_error(&error, "`length`");
        }
        assert_eq!(worker.call::<usize>("length", "text").unwrap(), 4);
    });
}

/// Makes a worker that sends some events, overwrites the shared memory through which it sent them,
/// and exits. One bit of each word is flipped, another one each time. The parent finds events, or
/// what is left of them, or misbehaviour, but nothing worse.
#[test]
fn misbehaved() {
    within(LIMIT, || {
        let mut found = 0;
        for bit in 0..64 {
            let worker = Builder::new()
                .ring_capacity(SMALL_RING)
                .env("BIT", bit.to_string())
                .fork(|parent| {
                    for number in 0..20 {
                        parent.emit("event", number).unwrap();
                    }
                    let bit: usize = std::env::var("BIT").unwrap().parse().unwrap();
                    // The later half holds what this end sends, and no word that says that this end
                    // has closed.
                    common::scribble(0.5, |at, byte| {
                        if at % 8 == bit / 8 { byte ^ 1 << (bit % 8) } else { byte }
                    });
                    process::exit(7);
                })
                .unwrap();
            // Nothing is received before it has exited.
            eventually("it has exited", || common::is_gone(worker.peer_id()));
            match worker.run().unwrap_err() {
                Error::Disconnected(Reason::Exited(7)) => {}
                error @ Error::Misbehaved(_) => {
                    found += 1;
                    check_error(&error, "misbehaved");
                    assert!(!worker.is_connected());
                    assert_matches!(worker.emit("event", ()), Err(Error::Misbehaved(_)));
                    assert_matches!(worker.run(), Err(Error::Misbehaved(_)));
                    assert_eq!(worker.close().unwrap().unwrap().code(), Some(7));
                }
                other => panic!("bit {bit}: {other:?}"),
            }
        }
        assert!(found > 0, "no bit of the ring matters");
    });
}

#[test]
fn not_a_worker() {
    within(LIMIT, || {
        let error = coprocess::parent().unwrap_err();
        assert_matches!(error, Error::NotAWorker);
        check_error(&error, "not a worker");
        assert!(error.source().is_none());
    });
}

#[test]
fn not_the_parent() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let end = parent.downgrade();
            parent.serve("kill", move |()| {
                let error = end.upgrade().unwrap().kill().unwrap_err();
                assert_matches!(error, Error::NotTheParent);
                check_error(&error, "not the parent");
            });
        })
        .unwrap();
        worker.call::<()>("kill", ()).unwrap();
    });
}

/// What cannot be provoked from outside still has to read well.
#[test]
fn text_of_the_others() {
    let refused = || io::Error::from_raw_os_error(11);
    let os = Error::Os { action: "start a thread", source: refused() };
    check_error(&os, "cannot start a thread");
    assert!(os.source().is_some());
    check_error(&Error::NotInitialized, "coprocess::init()");
    check_error(&Error::Disconnected(Reason::ParentDied), "the parent process died");
    for (cause, says, source) in [
        (
            ForkError::Setup { action: "reserve memory", source: refused() },
            "cannot reserve memory",
            true,
        ),
        (ForkError::AbiMismatch { ours: 1, theirs: 2 }, "version 2", false),
        (ForkError::ForeignFunction, "spawn()", false),
        (ForkError::ForeignExecutable("/lib/ld.so".into()), "/lib/ld.so", false),
        (ForkError::Unclaimed, "coprocess::parent()", false),
        (ForkError::SecureExecution, "file capabilities", false),
        (ForkError::EnvironmentOfSpawn, "Command::env", false),
        (ForkError::Ended(ExitStatus::from_raw(0x100)), "exited with code 1", false),
    ] {
        assert_eq!(cause.source().is_some(), source, "{cause:?}");
        check_error(&Error::Fork { program: "worker".to_owned(), cause }, says);
    }
}

/// Errors travel between threads and into boxes.
#[test]
fn errors_are_send_and_sync() {
    fn accepts<T: Send + Sync + 'static>() {}
    accepts::<Error>();
    accepts::<ForkError>();
    accepts::<Reason>();
}

/// While one thread learns that the worker is gone, all others do.
#[test]
fn every_thread_gets_the_same_reason() {
    within(LIMIT, || {
        let worker = worker();
        let started = AtomicBool::new(false);
        thread::scope(|scope| {
            let calls: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let pending = worker.start::<()>("never", ());
                        started.store(true, Ordering::SeqCst);
                        pending.and_then(|call| call.wait())
                    })
                })
                .collect();
            eventually("a call is on its way", || started.load(Ordering::SeqCst));
            worker.kill().unwrap();
            for call in calls {
                assert_matches!(call.join().unwrap(), Err(Error::Disconnected(Reason::Killed(9))));
            }
        });
    });
}
