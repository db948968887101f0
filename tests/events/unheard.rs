//! Events that do not arrive: the sender learns of those that were dropped, and an end that has
//! registered nothing and takes nothing does not fill up silently.

use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    self, AT_ONCE, LIMIT, SMALL_RING, Stopped, assert_matches, at_once, check_error, eventually,
    inbox, next, program, role, within,
};
use coprocess::{Backpressure, Builder, Coprocess, Error};

/// As documented at `Coprocess::emit`.
const PATIENCE: Duration = Duration::from_secs(5);

/// The variable that names the file for which a worker waits.
const GATE: &str = "COPROCESS_TEST_GATE";

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        // It neither registers anything nor runs.
        Some("idle") => drop((coprocess::parent().unwrap(), wait_for_gate())),
        // It has sent much before it registers something.
        Some("late") => {
            let parent = coprocess::parent().unwrap();
            fill(&parent);
            common::touch(&gate());
            at_once(|| parent.listen("anything", |(): ()| ()).is_connected());
            parent.run().unwrap();
        }
        Some(other) => unreachable!("{other}"),
    }
}

// ---- counts ------------------------------------------------------------------------------------

#[test]
fn the_sender_sees_how_many_were_dropped() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let end = parent.downgrade();
            parent.listen("number", |_: u8| ()).serve("dropped", move |()| {
                let stats = end.upgrade().unwrap().stats();
                (stats.events_unheard, stats.events_undecodable, stats.events_mistyped)
            });
        })
        .unwrap();
        let dropped = |worker: &Coprocess| {
            let theirs = worker.call::<(u64, u64, u64)>("dropped", ()).unwrap();
            let stats = worker.stats();
            let ours = (
                stats.events_unheard_by_peer,
                stats.events_undecodable_by_peer,
                stats.events_mistyped_by_peer,
            );
            assert_eq!(ours, theirs, "as the peer counts them");
            theirs
        };
        assert_eq!(dropped(&worker), (0, 0, 0));
        worker.emit("number", 5_u8).unwrap();
        assert_eq!(dropped(&worker), (0, 0, 0), "that was handled");
        for _ in 0..3 {
            worker.emit("nothing", 5_u8).unwrap();
        }
        worker.event("nothing").backpressure(Backpressure::KeepLatest).emit(5_u8).unwrap();
        worker.emit("number", "text").unwrap();
        worker.emit_bytes("number", b"").unwrap();
        worker.emit_bytes("number", b"text").unwrap();
        assert_eq!(dropped(&worker), (4, 2, 1));
        // The first registration here sends an event that the worker does not listen to.
        worker.listen("echo", |(): ()| ());
        assert_eq!(dropped(&worker), (5, 2, 1));
        assert_eq!(
            (worker.stats().events_unheard, worker.stats().events_undecodable),
            (1, 0),
            "the worker's own: \"listening\""
        );
    });
}

// ---- an end that takes nothing -----------------------------------------------------------------

fn gate() -> PathBuf {
    std::env::var_os(GATE).unwrap().into()
}

/// Waits for the gate, as a worker that is at work for long: it hears of nothing.
fn wait_for_gate() {
    wait_for(&gate());
}

fn wait_for(gate: &Path) {
    eventually("the gate opens", || gate.exists());
}

fn small() -> Builder {
    common::patient().ring_capacity(SMALL_RING)
}

/// Checks that the worker ends well, and removes the gate, which is not needed any more.
#[track_caller]
fn end(worker: &Coprocess, gate: &Path) {
    assert!(worker.close().unwrap().unwrap().success());
    std::fs::remove_file(gate).unwrap();
}

/// Starts the program of a role, with a gate.
fn spawned(role: &str, gate: &Path) -> Coprocess {
    let mut command = program!(role);
    command.env(GATE, gate);
    small().spawn(command).unwrap()
}

/// Fills the ring with numbers. Returns how many there are in it.
fn fill(end: &Coprocess) -> u64 {
    let mut sent = 0;
    while end.try_emit("number", sent).map_err(|error| assert_matches!(error, Error::Full)).is_ok()
    {
        sent += 1;
    }
    sent
}

#[track_caller]
fn is_unheard<T>(sent: coprocess::Result<T>, name: &str) {
    let Err(error) = sent else { panic!("it was sent") };
    assert_matches!(error, Error::Unheard { ref event } if event == name);
    check_error(&error, &format!("`{name}`"));
    check_error(&error, "has registered no handler");
}

/// Returns how long it took.
fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = body();
    (value, start.elapsed())
}

/// Checks that an event ends with an error in its time, and that nothing of it was sent, if the
/// worker's function does not return, or its program does not run.
fn is_an_error(worker: &Coprocess, gate: &Path) {
    let filled = fill(worker);
    assert_matches!(
        worker.emit_timeout("number", u64::MAX, Duration::from_millis(20)),
        Err(Error::Timeout)
    );
    // Of several that wait at once none waits until another one has waited.
    let (start, threads) = (Barrier::new(4), 4);
    let ((), took) = timed(|| {
        thread::scope(|scope| {
            for number in 0..threads {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    match number {
                        0 => is_unheard(worker.emit("number", u64::MAX), "number"),
                        1 => is_unheard(worker.emit_bytes("bytes", &[1; 100_000]), "bytes"),
                        2 => is_unheard(worker.event("handle").emit(vec![1_u64; 10_000]), "handle"),
                        _ => is_unheard(worker.emit_timeout("timed", "late", LIMIT), "timed"),
                    }
                });
            }
        });
    });
    assert!(took > PATIENCE / 2 && took < PATIENCE + AT_ONCE, "{took:?}");
    assert_eq!(worker.stats().messages_sent, filled, "nothing more was sent");
    // It is known by now.
    at_once(|| is_unheard(worker.emit("again", ()), "again"));
    assert_matches!(worker.try_emit("number", 1), Err(Error::Full));
    assert_matches!(worker.event("x").backpressure(Backpressure::DropNewest).emit(1), Ok(()));
    common::touch(gate);
}

#[test]
fn a_worker_function_that_does_not_return() {
    within(LIMIT, || {
        let gate = common::fresh_path("gate");
        let worker = small()
            .env(GATE, &gate)
            .fork(|parent| {
                wait_for_gate();
                // What comes now is taken, and what has come in vain is no part of it.
                let next = std::sync::atomic::AtomicU64::new(0);
                let end = parent.downgrade();
                parent.listen("number", move |number: u64| {
                    let expected = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    if number != expected {
                        process::exit(9);
                    }
                    end.upgrade().unwrap().emit("got", number).unwrap();
                });
            })
            .unwrap();
        is_an_error(&worker, &gate);
        let filled = worker.stats().messages_sent;
        let got = inbox::<u64>(&worker, "got");
        assert_eq!(next(&got), 0);
        for number in filled..filled + 1000 {
            // Once it has registered something, it is waited for.
            worker.emit("number", number).unwrap();
        }
        for number in 1..filled + 1000 {
            assert_eq!(next(&got), number);
        }
        assert_eq!(worker.stats().events_undecodable_by_peer, 0);
        end(&worker, &gate);
    });
}

#[test]
fn a_program_that_does_not_run() {
    within(LIMIT, || {
        let gate = common::fresh_path("gate");
        let worker = spawned("idle", &gate);
        is_an_error(&worker, &gate);
        end(&worker, &gate);
    });
}

/// A call waits for as long as it takes; an event that waits for its turn behind the call does not.
#[test]
fn behind_a_call() {
    within(LIMIT, || {
        let gate = common::fresh_path("gate");
        let worker = small().env(GATE, &gate).fork(|_| wait_for_gate()).unwrap();
        fill(&worker);
        let before = worker.stats().waits_for_room;
        thread::scope(|scope| {
            let call = scope.spawn(|| worker.call_timeout::<()>("missing", (), LIMIT));
            eventually("the call waits for room", || worker.stats().waits_for_room > before);
            let ((), took) = timed(|| is_unheard(worker.emit("number", 1), "number"));
            assert!(took > PATIENCE / 2 && took < PATIENCE + AT_ONCE, "{took:?}");
            assert!(!call.is_finished());
            common::touch(&gate);
            assert_matches!(call.join().unwrap(), Err(Error::MethodNotFound { .. }));
        });
        end(&worker, &gate);
    });
}

#[cfg(feature = "tokio")]
#[test]
fn events_that_are_awaited() {
    within(LIMIT, || {
        let gate = common::fresh_path("gate");
        let worker = small().env(GATE, &gate).fork(|_| wait_for_gate()).unwrap();
        fill(&worker);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ((), took) = timed(|| {
            runtime.block_on(async {
                let (one, two) = tokio::join!(
                    worker.emit_async("one", 1),
                    worker.emit_async("two", vec![2_u64; 10_000])
                );
                is_unheard(one, "one");
                is_unheard(two, "two");
            });
        });
        assert!(took > PATIENCE / 2 && took < PATIENCE + AT_ONCE, "{took:?}");
        at_once(|| is_unheard(runtime.block_on(worker.emit_async("three", 3)), "three"));
        common::touch(&gate);
        // The function has returned: what comes now is dropped, and counted.
        eventually("it is taken", || worker.try_emit("four", 4).is_ok());
        end(&worker, &gate);
    });
}

/// The notice that an end has registered something is not lost when other events end with an error.
#[test]
fn listening_waits_on() {
    within(LIMIT, || {
        let gate = common::fresh_path("gate");
        let worker = small()
            .env(GATE, &gate)
            .fork(|parent| {
                wait_for_gate();
                let own = parent.downgrade();
                parent.listen("listening", move |()| {
                    own.upgrade().unwrap().emit("heard", ()).unwrap()
                });
            })
            .unwrap();
        fill(&worker);
        let heard = at_once(|| inbox::<()>(&worker, "heard"));
        is_unheard(worker.emit("number", 1), "number");
        is_unheard(worker.emit("number", 2), "number");
        common::touch(&gate);
        next(&heard);
        end(&worker, &gate);
    });
}

#[test]
fn listening_of_a_worker_waits_on() {
    within(LIMIT, || {
        let gate = common::fresh_path("gate");
        let worker = spawned("late", &gate);
        wait_for(&gate);
        // Longer than an event would wait.
        thread::sleep(PATIENCE + PATIENCE / 4);
        next(&inbox::<()>(&worker, "listening"));
        end(&worker, &gate);
    });
}

/// The parent has registered nothing, and makes no call: its worker is not kept for ever.
#[test]
fn a_parent_that_does_nothing() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                let error =
                    (0_u64..).find_map(|number| parent.emit("number", number).err()).unwrap();
                process::exit(if matches!(error, Error::Unheard { .. }) { 7 } else { 8 });
            })
            .unwrap();
        eventually("it has learned of it", || common::is_gone(worker.peer_id()));
        assert_eq!(worker.close().unwrap().unwrap().code(), Some(7));
    });
}

/// An end that has registered a handler is waited for, whatever it does.
#[test]
fn a_stopped_worker_with_a_handler_is_waited_for() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                parent.listen("number", |_: u64| ()).serve("ready", |()| ());
            })
            .unwrap();
        worker.call::<()>("ready", ()).unwrap();
        let stopped = Stopped::new(&worker);
        fill(&worker);
        let waits = Arc::new(worker.clone());
        let emitter = thread::spawn(move || timed(|| waits.emit("number", 0_u64)));
        assert_matches!(
            worker.emit_timeout("number", 0_u64, PATIENCE + PATIENCE / 2),
            Err(Error::Timeout)
        );
        assert!(!emitter.is_finished());
        drop(stopped);
        let (sent, took) = emitter.join().unwrap();
        sent.unwrap();
        assert!(took > PATIENCE, "{took:?}");
    });
}
