//! What comes after the end: from a worker that has said that nothing will follow, and from a
//! process that a worker has left behind.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use coprocess::{Error, Reason};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::common::{AT_ONCE, LIMIT, alone, assert_matches, children, eventually, within};
use crate::kit::Captive;
use crate::kit::memory::{CLOSED, CONTROL};
use crate::kit::wire::{ABORT, ANSWER, MORE, Message, Writer};
use crate::parent::{MEMORY_KIB, Parent, peak_kib, reset_peak};
use crate::program;

/// How long the flood goes on: longer than any thread may wait for its end.
const FLOOD: Duration = Duration::from_secs(12);

fn flood(writer: &mut Writer, what: &str) {
    let until = Instant::now() + FLOOD;
    let event = Message::event("slow", b"").encode();
    let answer =
        Message { kind: ANSWER, entry: 9, serial: 9, name: Vec::new(), value: Vec::new() }.encode();
    while Instant::now() < until {
        match what {
            "events" => writer.message(&event),
            "answers" => writer.message(&answer),
            "fragments" => writer.frame(&[1; 15], 120, MORE),
            "aborts" => writer.frame(&[], 0, ABORT),
            other => unreachable!("{other}"),
        };
    }
}

/// Says, or does not, that it has closed, and goes on.
pub(crate) fn goes_on(closes: bool, what: &str) -> ! {
    let mut captive = Captive::attached();
    captive.call();
    captive.writer.message(&Message::event("slow", b"").encode());
    captive.call();
    captive.memory.half(CONTROL[1] + CLOSED).store(closes.into(), SeqCst);
    flood(&mut captive.writer, what);
    process::exit(0)
}

/// Leaves a process behind that has the segment and the socket, and goes on where the worker has
/// ended.
#[expect(
    unsafe_code,
    reason = "a copy of this process that keeps the mapping, as no executed program could"
)]
pub(crate) fn leaves_an_heir(what: &str) -> ! {
    let mut captive = Captive::attached();
    captive.call();
    // SAFETY: the other thread of this process sleeps from its start to its end, and holds nothing.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        nix::unistd::ForkResult::Parent { .. } => {
            thread::sleep(Duration::from_millis(20));
            // SAFETY: ends the process, and runs nothing else.
            unsafe { libc::_exit(7) }
        }
        nix::unistd::ForkResult::Child => {
            flood(&mut captive.writer, what);
            // SAFETY: as above.
            unsafe { libc::_exit(0) }
        }
    }
}

/// The children that this process had before it adopted what its workers leave behind. What comes
/// later is ended with this, or it would go on beside other tests.
struct Adopted(Vec<u32>);

impl Adopted {
    /// Adopts what the workers of this process leave behind, from now on. Nothing of other tests
    /// comes here: this process is alone.
    fn from_now_on() -> Adopted {
        set_child_subreaper(true).unwrap();
        Adopted(children(process::id()))
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        for child in children(process::id()).into_iter().filter(|child| !self.0.contains(child)) {
            let child = Pid::from_raw(child.cast_signed());
            let killed = kill(child, Signal::SIGKILL);
            // After a panic it may be the worker, for which the library waits.
            if !thread::panicking() {
                killed.unwrap();
                waitpid(child, None).unwrap();
            }
        }
    }
}

/// Starts a worker, and lets a call and `run` wait for its end. The handler of the worker's events
/// takes longer than the worker takes to send them.
fn all_waits_end(role: &str) {
    for runs in [false, true] {
        let adopted = Adopted::from_now_on();
        let base = reset_peak();
        let parent = Parent { ring_capacity: 64 << 10, ..Parent::default() };
        let end = parent.builder().spawn(program(role)).unwrap();
        end.listen("slow", |()| {
            let until = Instant::now() + Duration::from_micros(50);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        });
        let start = Instant::now();
        thread::scope(|scope| {
            let run = scope.spawn(|| if runs { Some(end.run()) } else { None });
            let _in_flight = end.start::<u64>("x", ());
            assert_ended(&end.call::<u64>("x", ()));
            if let Some(Err(error)) = run.join().unwrap() {
                assert_ended::<()>(&Err(error));
            }
        });
        let took = start.elapsed();
        let grown = peak_kib().saturating_sub(base);
        assert!(took < AT_ONCE, "{role}: took {took:?}");
        assert!(grown < MEMORY_KIB, "{role}: {grown} KiB more");
        end.close().unwrap();
        drop(adopted);
    }
}

#[track_caller]
fn assert_ended<T: std::fmt::Debug>(outcome: &Result<T, Error>) {
    assert_matches!(
        outcome,
        Err(Error::Misbehaved(_) | Error::Disconnected(Reason::Closed | Reason::Exited(7)))
    );
}

#[test]
fn of_a_worker_whose_heir_goes_on() {
    within(LIMIT, || {
        alone!({
            for what in ["events", "answers", "fragments", "aborts"] {
                all_waits_end(&format!("heir/{what}"));
            }
        });
    });
}

#[test]
fn of_a_worker_that_says_it_has_closed_and_goes_on() {
    within(LIMIT, || {
        alone!({
            for what in ["events", "answers", "fragments", "aborts"] {
                all_waits_end(&format!("closes/{what}"));
            }
        });
    });
}

/// While a handler takes its time, the other threads look for their answers in what has arrived: in
/// a bounded part of it, and no more.
#[test]
fn of_a_worker_that_goes_on_while_a_handler_takes_long() {
    fn with(role: &str) {
        // Of this pair alone: the handler of an earlier pair may not have seen yet that its pair is
        // over.
        let (begun, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (begins, ends) = (begun.clone(), over.clone());
        let base = reset_peak();
        let end = Parent { ring_capacity: 64 << 10, ..Parent::default() }
            .builder()
            .spawn(program(role))
            .unwrap();
        end.listen("slow", move |()| {
            begins.store(true, SeqCst);
            while !ends.load(SeqCst) {
                thread::yield_now();
            }
        });
        end.call_with("x", (), |_: Result<u64, Error>| {}).unwrap();
        eventually("the handler has begun", || begun.load(SeqCst));
        let deadline = Duration::from_millis(50);
        for _ in 0..10 {
            let start = Instant::now();
            // The first of these is in flight when the flood begins.
            let called = end.call_timeout::<u64>("x", (), deadline);
            let emitted = end.emit_timeout("y", vec![u64::MAX; 10_000], deadline);
            let late = start.elapsed().saturating_sub(2 * deadline);
            assert!(late < AT_ONCE, "{called:?} and {emitted:?} came {late:?} too late");
            assert_matches!(
                called,
                Err(Error::Timeout | Error::Misbehaved(_) | Error::Disconnected(_))
            );
        }
        let grown = peak_kib().saturating_sub(base);
        assert!(grown < MEMORY_KIB, "{role}: {grown} KiB more");
        over.store(true, SeqCst);
        end.close().unwrap();
    }
    within(LIMIT, || {
        alone!({
            for what in ["events", "answers", "fragments", "aborts"] {
                with(&format!("closes/{what}"));
                with(&format!("goes on/{what}"));
            }
        });
    });
}
