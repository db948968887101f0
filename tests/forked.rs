//! fork(2) of a process that holds pairs, as a library of the program may do it. Whatever the child
//! does with its copies of the handles, it gets errors and no crash, and the pairs go on
//! undisturbed.
//!
//! A binary of its own: the children keep copies of every descriptor of the test process, and of
//! the locks that its other threads hold.

mod common;

use std::fs;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use common::{
    Held, LIMIT, SMALL_RING, Stopped, alone, assert_matches, at_once, check_error, eventually,
    inbox, is_gone, next, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Backpressure, Coprocess, Error, Reason, Reply, Result, Stats};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

coprocess::init_in_tests!();

/// Runs `body` in a child of fork(2), which then ends by `end`, or by _exit if that returns.
#[expect(unsafe_code, reason = "what the test is about")]
fn in_child(body: impl FnOnce(), end: impl FnOnce()) -> Pid {
    // SAFETY: as a library that does not know better. The C library's allocator and the parts of
    // std used here work in the child.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // No other process would end a child that hangs.
            // SAFETY: takes a number.
            unsafe { libc::alarm(LIMIT.as_secs() as u32) };
            // Not through the test harness, which keeps the output for itself.
            panic::set_hook(Box::new(|panic| {
                let text = format!("in the forked child: {panic}\n");
                // SAFETY: writes bytes that live.
                unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
            }));
            let status = match panic::catch_unwind(AssertUnwindSafe(|| {
                body();
                end();
            })) {
                Ok(()) => 0,
                Err(_) => 101,
            };
            // SAFETY: ends the child; none of its code runs any more.
            unsafe { libc::_exit(status) }
        }
    }
}

fn live_on() {
    loop {
        thread::park();
    }
}

/// Waits for the end of a child.
#[track_caller]
fn status(child: Pid) -> WaitStatus {
    let mut status = WaitStatus::StillAlive;
    eventually("the child has ended", || {
        status = waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap();
        status != WaitStatus::StillAlive
    });
    status
}

#[track_caller]
fn assert_fine(child: Pid) {
    assert_eq!(status(child), WaitStatus::Exited(child, 0));
}

fn plain(parent: Coprocess) {
    parent.serve("double", |x: u64| x * 2).serve("pid", |()| process::id());
    let held: Mutex<Vec<Reply<()>>> = Mutex::default();
    parent.serve_deferred("never", move |(), reply: Reply<()>| held.lock().unwrap().push(reply));
    let end = parent.downgrade();
    parent.listen("echo", move |x: u64| end.upgrade().unwrap().emit("echoed", x).unwrap());
    let end = parent.downgrade();
    parent.listen("ask", move |()| {
        end.upgrade().unwrap().call_with("answer", (), |_: Result<u64>| ()).unwrap()
    });
}

#[track_caller]
fn assert_forked<T: std::fmt::Debug>(result: Result<T>) {
    assert_matches!(result, Err(Error::Forked));
}

fn at_a_poll<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits"),
    }
}

/// Does all that a handle can do.
fn use_handle(co: &Coprocess) {
    let forever = Duration::from_secs(1000);
    check_error(&co.call::<u64>("double", 1_u64).unwrap_err(), "forked");
    assert_forked(co.call_timeout::<u64>("double", 1_u64, forever));
    assert_forked(co.start::<u64>("double", 1_u64));
    assert_forked(co.call_with("double", 1_u64, |_: Result<u64>| ()));
    assert_forked(co.emit("echo", 1_u64));
    assert_forked(co.try_emit("echo", 1_u64));
    assert_forked(co.emit_timeout("echo", 1_u64, forever));
    assert_forked(co.emit("echo", ByteBuf::from(vec![0; 1 << 20])));
    assert_forked(co.call_bytes("double", &[1]));
    assert_forked(co.start_bytes("double", &[1]));
    assert_forked(co.emit_bytes("echo", &[1]));
    assert_forked(at_a_poll(co.emit_async("echo", 1_u64)));
    assert_forked(at_a_poll(co.emit_async_timeout("echo", 1_u64, forever)));
    assert_forked(at_a_poll(co.emit_bytes_async("echo", &[1])));
    assert_forked(at_a_poll(co.call_async::<u64>("double", 1_u64)));
    assert_forked(at_a_poll(co.call_bytes_async("double", &[1])));
    for choice in
        [Backpressure::Wait, Backpressure::Fail, Backpressure::DropNewest, Backpressure::KeepLatest]
    {
        let event = co.event("level").backpressure(choice);
        assert_forked(event.emit(1_u64));
        assert_forked(event.emit_bytes(&[1]));
        assert_forked(at_a_poll(event.emit_async(1_u64)));
    }
    co.listen("echoed", |_: u64| ())
        .serve("new", |()| ())
        .serve_deferred("late", |(), _: Reply<()>| ());
    assert!(!co.unlisten("echoed"));
    assert_forked(co.run());
    assert_forked(co.poll());
    assert_forked(co.close());
    assert_forked(co.kill());
    assert!(!co.is_connected());
    assert_eq!(co.stats(), Stats::default());
    let weak = co.downgrade();
    assert_eq!(weak.upgrade().unwrap().peer_id(), co.peer_id());
}

/// The fork comes while other threads of the parent are in the midst of everything, so that their
/// locks are held in the child for ever.
#[test]
fn the_child_gets_errors() {
    within(LIMIT, || {
        for capacity in [SMALL_RING, 256 * 1024] {
            let worker = common::patient().ring_capacity(capacity).fork(plain).unwrap();
            let echoed = inbox::<u64>(&worker, "echoed");
            let over = AtomicBool::new(false);
            let busy = || !over.load(Ordering::Relaxed);
            let calls = &|| {
                (0_u64..)
                    .take_while(|_| busy())
                    .for_each(|x| assert_eq!(worker.call::<u64>("double", x).unwrap(), x * 2))
            };
            thread::scope(|scope| {
                scope.spawn(calls);
                scope.spawn(calls);
                scope.spawn(|| {
                    (0_u64..).take_while(|_| busy()).for_each(|x| worker.emit("echo", x).unwrap())
                });
                let gauge = || worker.event("level").backpressure(Backpressure::KeepLatest);
                scope.spawn(move || {
                    (0_u64..).take_while(|_| busy()).for_each(|x| gauge().emit(x).unwrap())
                });
                scope.spawn(|| {
                    (0..).take_while(|_| busy()).for_each(|_| {
                        worker.emit("unheard", ByteBuf::from(vec![0; 20_000])).unwrap()
                    })
                });
                for _ in 0..50 {
                    assert_fine(in_child(
                        || {
                            use_handle(&worker);
                            drop(worker.clone());
                        },
                        || (),
                    ));
                    assert!(worker.is_connected());
                }
                over.store(true, Ordering::Relaxed);
            });
            // In order, none missing, none twice.
            worker.call::<u64>("double", 1_u64).unwrap();
            for (at, x) in echoed.try_iter().enumerate() {
                assert_eq!(x, at as u64);
            }
            assert!(worker.close().unwrap().unwrap().success());
        }
    });
}

/// Calls in flight and answers that are owed, at the moment of the fork.
#[test]
fn the_child_gets_errors_for_what_was_under_way() {
    within(LIMIT, || {
        let worker = coprocess::fork(plain).unwrap();
        let owed: Arc<Mutex<Vec<Reply<u64>>>> = Arc::default();
        let hold = owed.clone();
        worker.serve_deferred("answer", move |(), reply: Reply<u64>| {
            hold.lock().unwrap().push(reply)
        });
        for _ in 0..3 {
            worker.emit("ask", ()).unwrap();
        }
        eventually("it has asked", || owed.lock().unwrap().len() == 3);
        let calls: Vec<_> = (0..7).map(|_| worker.start::<()>("never", ()).unwrap()).collect();
        let child = in_child(
            || {
                let mut calls = calls.into_iter();
                let mut call = || calls.next().unwrap();
                assert_forked(call().wait());
                assert_forked(call().wait_timeout(Duration::from_secs(1000)));
                assert_forked(call().wait_for(Duration::from_secs(1000)));
                assert!(call().is_ready());
                let mut polled = pin!(call());
                assert_matches!(
                    polled.as_mut().poll(&mut Context::from_waker(Waker::noop())),
                    Poll::Ready(Err(Error::Forked))
                );
                drop(call());
                std::mem::forget(call());
                let mut owed = std::mem::take(&mut *owed.lock().unwrap()).into_iter();
                assert_forked(owed.next().unwrap().send(1));
                assert_forked(owed.next().unwrap().fail("no"));
                drop(owed.next().unwrap());
                use_handle(&worker);
                drop(worker);
            },
            || (),
        );
        assert_fine(child);
    });
}

/// Events that are kept, and the thread that sends them, at the moment of the fork.
#[test]
fn the_child_gets_errors_for_events_that_wait() {
    within(LIMIT, || {
        let worker = common::patient().ring_capacity(SMALL_RING).fork(plain).unwrap();
        let echoed = inbox::<u64>(&worker, "echoed");
        let stopped = Stopped::new(&worker);
        let mut count = 0;
        while worker.try_emit("echo", count).is_ok() {
            count += 1;
        }
        let kept = |value| {
            let mut emission = worker.emit_async_timeout("echo", value, LIMIT);
            assert_matches!(
                pin!(&mut emission).poll(&mut Context::from_waker(Waker::noop())),
                Poll::Pending
            );
            emission
        };
        let mut copies = Some([kept(count), kept(count + 1)]);
        let child = in_child(
            || {
                let [polled, dropped] = copies.take().unwrap();
                drop(dropped);
                assert_forked(at_a_poll(polled));
            },
            || (),
        );
        assert_fine(child);
        drop(stopped);
        for value in 0..count + 2 {
            assert_eq!(next(&echoed), value);
        }
        for mut emission in copies.unwrap() {
            eventually("it is told", || {
                pin!(&mut emission).poll(&mut Context::from_waker(Waker::noop())).is_ready()
            });
        }
        assert!(worker.close().unwrap().unwrap().success());
    });
}

#[test]
fn what_was_under_way_goes_on() {
    within(LIMIT, || {
        let worker = common::patient().fork(plain).unwrap();
        let echoed = inbox::<u64>(&worker, "echoed");
        let calls: Vec<_> =
            (0..100_u64).map(|x| worker.start::<u64>("double", x).unwrap()).collect();
        let mut in_the_child = Some(calls);
        // Moved into the child's copy, and dropped there with everything else that it has.
        let child = in_child(|| drop((in_the_child.take(), worker.clone())), || ());
        assert_fine(child);
        for (x, call) in in_the_child.unwrap().into_iter().enumerate() {
            assert_eq!(call.wait().unwrap(), x as u64 * 2);
        }
        worker.emit("echo", 5_u64).unwrap();
        assert_eq!(next(&echoed), 5);
        assert!(worker.close().unwrap().unwrap().success());
    });
}

/// However the child ends, and whatever it does with the handle before.
#[test]
#[expect(unsafe_code, reason = "the ways to end a process")]
fn the_child_ends() {
    fn exit() {
        process::exit(0);
    }
    fn quit() {
        // SAFETY: ends the child; none of its code runs any more.
        unsafe { libc::_exit(0) };
    }
    within(LIMIT, || {
        alone!({
            let worker = common::patient().fork(plain).unwrap();
            worker.listen("echoed", |_: u64| ());
            let pid: u32 = worker.call("pid", ()).unwrap();
            let before = Held::settled();
            for end in [
                exit as fn(),
                quit as fn(),
                || process::abort(),
                || kill(Pid::this(), Signal::SIGKILL).unwrap(),
                || panic!("meant, not a failure"),
            ] {
                for r#use in [|_: &Coprocess| (), use_handle] {
                    for keep in [false, true] {
                        let mut handle = Some(worker.clone());
                        let child = in_child(
                            || {
                                r#use(&worker);
                                if keep {
                                    std::mem::forget(handle.take());
                                } else {
                                    drop(handle.take());
                                }
                            },
                            end,
                        );
                        status(child);
                        assert_eq!(worker.call::<u32>("pid", ()).unwrap(), pid);
                        assert!(worker.is_connected());
                    }
                }
            }
            before.again("children of fork(2)");
            assert!(worker.close().unwrap().unwrap().success());
        });
    });
}

/// The child has pairs of its own, and both processes watch over theirs only.
#[test]
fn the_child_starts_pairs() {
    within(LIMIT, || {
        let workers: Vec<Coprocess> =
            (0..4).map(|_| common::patient().fork(plain).unwrap()).collect();
        let child = in_child(
            || {
                let own: Vec<Coprocess> = (0..8).map(|_| coprocess::fork(plain).unwrap()).collect();
                for worker in &own {
                    assert_eq!(worker.call::<u64>("double", 4_u64).unwrap(), 8);
                }
                for worker in &workers {
                    use_handle(worker);
                }
                // A child of the child is no different.
                assert_fine(in_child(
                    || {
                        use_handle(&own[1]);
                        assert_eq!(
                            coprocess::fork(plain).unwrap().call::<u64>("double", 5_u64).unwrap(),
                            10
                        );
                    },
                    || (),
                ));
                own[0].kill().unwrap();
                assert_matches!(own[0].run(), Err(Error::Disconnected(Reason::Killed(9))));
                for worker in &own[1..] {
                    assert!(worker.close().unwrap().unwrap().success());
                }
            },
            || (),
        );
        assert_fine(child);
        // Long enough for the watcher to have given up a worker that seemed to have left the pair.
        thread::sleep(Duration::from_millis(1300));
        for worker in &workers {
            assert!(worker.is_connected());
            assert_eq!(worker.call::<u64>("double", 4_u64).unwrap(), 8);
        }
        // It notices what happens to its own as before.
        workers[0].kill().unwrap();
        assert_matches!(at_once(|| workers[0].run()), Err(Error::Disconnected(Reason::Killed(9))));
        for worker in &workers[1..] {
            assert!(worker.close().unwrap().unwrap().success());
        }
    });
}

/// A reply that the child unwinds with, in the handler that it was forked in.
#[test]
fn the_child_unwinds_with_a_reply() {
    within(LIMIT, || {
        let worker = common::patient()
            .fork(|parent| {
                parent.serve_deferred("fork", |(), reply: Reply<bool>| {
                    let reply = Mutex::new(Some(reply));
                    // Each of the two processes has its own.
                    let take = || reply.lock().unwrap().take().unwrap();
                    let child = in_child(
                        || {
                            let unwound =
                                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                                    let _reply = take();
                                    std::panic::resume_unwind(Box::new(()));
                                }));
                            assert!(unwound.is_err());
                        },
                        || (),
                    );
                    take().send(status(child) == WaitStatus::Exited(child, 0)).unwrap();
                });
            })
            .unwrap();
        assert!(worker.call::<bool>("fork", ()).unwrap(), "the child has not just unwound");
        assert!(worker.close().unwrap().unwrap().success());
    });
}

/// Whatever other threads are in the midst of when the process is forked, the child can start
/// pairs.
#[test]
fn the_child_starts_pairs_amid_others() {
    within(LIMIT, || {
        alone!({
            let over = std::sync::atomic::AtomicBool::new(false);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while !over.load(std::sync::atomic::Ordering::Relaxed) {
                            let worker = common::patient().fork(plain).unwrap();
                            assert_eq!(worker.call::<u64>("double", 4_u64).unwrap(), 8);
                            worker.close().unwrap();
                        }
                    });
                }
                for _ in 0..40 {
                    let child = in_child(
                        || {
                            let worker = common::patient().fork(plain).unwrap();
                            assert_eq!(worker.call::<u64>("double", 4_u64).unwrap(), 8);
                            assert!(worker.close().unwrap().unwrap().success());
                        },
                        || (),
                    );
                    assert_fine(child);
                }
                over.store(true, std::sync::atomic::Ordering::Relaxed);
            });
        });
    });
}

/// When the child drops the last handle of a closed pair, it leaves alone what may be at the
/// address of the pair's memory by then.
#[test]
#[expect(unsafe_code, reason = "memory at a given address")]
fn the_child_unmaps_nothing() {
    within(LIMIT, || {
        alone!({
            let worker = common::patient().fork(plain).unwrap();
            let maps = fs::read_to_string("/proc/self/maps").unwrap();
            let lines: Vec<&str> =
                maps.lines().filter(|line| common::is_shared_memory(line)).collect();
            // The segment towards this process's own parent is there, too.
            let ranges: Vec<(usize, usize)> = lines
                .iter()
                .map(|line| {
                    let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
                    (
                        usize::from_str_radix(start, 16).unwrap(),
                        usize::from_str_radix(end, 16).unwrap(),
                    )
                })
                .collect();
            assert_eq!(ranges.len(), 2);
            assert!(worker.close().unwrap().unwrap().success());
            let mut worker = Some(worker);
            let child = in_child(
                || {
                    let memory: Vec<*mut u8> = ranges
                        .iter()
                        .map(|(start, end)| {
                            let flags =
                                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
                            let protection = libc::PROT_READ | libc::PROT_WRITE;
                            // SAFETY: does nothing to a range where something is mapped.
                            let at = unsafe {
                                libc::mmap(*start as *mut _, end - start, protection, flags, -1, 0)
                            };
                            assert_eq!(
                                at as usize, *start,
                                "the segment is not kept from the child"
                            );
                            at.cast()
                        })
                        .collect();
                    // SAFETY: mapped above.
                    memory.iter().for_each(|byte| unsafe { byte.write_volatile(7) });
                    drop(worker.take());
                    // SAFETY: still mapped if the drop has left it alone, which is what this test
                    // is about.
                    memory.iter().for_each(|byte| assert_eq!(unsafe { byte.read_volatile() }, 7));
                },
                || (),
            );
            assert_fine(child);
        });
    });
}

/// Forks a child and a worker, in a process that is itself forked in the midst of a handler. The
/// child lives on for ever.
fn forks_a_child(parent: Coprocess) {
    let worker = coprocess::fork(plain).unwrap();
    let pid = worker.peer_id();
    assert_eq!(worker.call::<u64>("double", 1_u64).unwrap(), 2);
    let end = parent.clone();
    parent.serve("family", move |()| {
        let child = in_child(
            || {
                use_handle(&worker);
                use_handle(&end);
            },
            live_on,
        );
        assert!(end.is_connected());
        assert_eq!(worker.call::<u64>("double", 1_u64).unwrap(), 2);
        (pid, child.as_raw().cast_unsigned())
    });
    parent.serve("double", |x: u64| x * 2);
}

/// The child holds copies of the descriptors by which death is noticed.
#[test]
fn the_child_outlives_its_parent() {
    within(LIMIT, || {
        for _ in 0..10 {
            let parent = coprocess::fork(forks_a_child).unwrap();
            let (worker, child): (u32, u32) = parent.call("family", ()).unwrap();
            assert_eq!(parent.call::<u64>("double", 1_u64).unwrap(), 2);
            parent.kill().unwrap();
            assert_matches!(at_once(|| parent.run()), Err(Error::Disconnected(Reason::Killed(9))));
            at_once(|| eventually("the worker is gone", || is_gone(worker)));
            assert!(!is_gone(child), "it had a life of its own");
            kill(Pid::from_raw(child.cast_signed()), Signal::SIGKILL).unwrap();
        }
    });
}

/// The worker dies while a child of its parent has copies of the parent's descriptors.
#[test]
fn the_worker_dies_while_the_child_lives() {
    within(LIMIT, || {
        let worker = coprocess::fork(plain).unwrap();
        let child = in_child(|| (), live_on);
        worker.kill().unwrap();
        assert_matches!(at_once(|| worker.run()), Err(Error::Disconnected(Reason::Killed(9))));
        assert!(!is_gone(child.as_raw().cast_unsigned()));
        kill(child, Signal::SIGKILL).unwrap();
        assert_eq!(status(child), WaitStatus::Signaled(child, Signal::SIGKILL, false));
    });
}

/// Calls that are relayed between two workers, both ways at once, by handlers that wait.
fn relay_both_ways(calls: u64) -> [Coprocess; 2] {
    fn caller(parent: Coprocess) {
        parent.serve("double", |x: u64| x * 2);
        let end = parent.downgrade();
        parent.listen("go", move |calls: u64| {
            let end = end.clone();
            thread::spawn(move || {
                let parent = end.upgrade().unwrap();
                for x in 0..calls {
                    match parent.call::<u64>("other.double", x) {
                        Ok(doubled) => assert_eq!(doubled, 2 * x),
                        Err(_) => return,
                    }
                }
                parent.emit("done", calls).unwrap();
            });
        });
    }
    let pair = [coprocess::fork(caller).unwrap(), coprocess::fork(caller).unwrap()];
    for (from, to) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
        let to = to.downgrade();
        from.try_serve("other.double", move |x: u64| {
            to.upgrade().ok_or(Error::Closed)?.call::<u64>("double", x)
        });
    }
    for worker in &pair {
        worker.emit("go", calls).unwrap();
    }
    pair
}

/// Children are forked while handlers wait across pairs, and wait across pairs of their own. The
/// copies that they have do not matter.
#[test]
fn the_child_relays() {
    alone!({
        let _busy = relay_both_ways(u64::MAX);
        for _ in 0..20 {
            let child = in_child(
                || {
                    let own = relay_both_ways(0);
                    let done = own.each_ref().map(|worker| inbox::<u64>(worker, "done"));
                    for worker in &own {
                        worker.emit("go", 50_u64).unwrap();
                    }
                    for done in &done {
                        while next(done) != 50 {}
                    }
                },
                || (),
            );
            assert_fine(child);
        }
    });
}
