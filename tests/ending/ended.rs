//! Being told of the end of a pair: `on_end`, `ended`.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{self, Receiver};
use std::task::{Context, Waker};
use std::thread;

use crate::common::{
    self, Held, LIMIT, alone, assert_matches, next, program, role, serve_parent, within,
};
use coprocess::{Coprocess, Error, Reason};

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("plain") => serve_parent(plain),
        Some(other) => unreachable!("{other}"),
    }
}

fn plain(parent: Coprocess) {
    parent
        .serve("here", |(): ()| ())
        .listen("exit", |code: i32| std::process::exit(code))
        .listen("abort", |()| std::process::abort());
    let own = parent.downgrade();
    parent.listen("close", move |()| drop(own.upgrade().unwrap().close()));
}

fn started() -> Coprocess {
    let co = common::patient().fork(plain).unwrap();
    co.call::<()>("here", ()).unwrap();
    co
}

fn told(co: &Coprocess) -> Receiver<Reason> {
    let (tell, told) = mpsc::channel();
    co.on_end(move |reason| tell.send(reason).unwrap());
    told
}

#[track_caller]
fn once(told: &Receiver<Reason>) -> Reason {
    let reason = next(told);
    // The callback, and so the sender, is gone with that.
    assert_eq!(told.recv_timeout(LIMIT), Err(mpsc::RecvTimeoutError::Disconnected));
    reason
}

#[test]
fn every_end_of_a_worker_is_told_once() {
    within(LIMIT, || {
        let ends: [(fn(Coprocess), Reason); 6] = [
            (|co| assert!(co.close().unwrap().is_some()), Reason::Exited(0)),
            (drop, Reason::Exited(0)),
            (|co| co.kill().unwrap(), Reason::Killed(9)),
            (|co| co.emit("exit", 7_i32).unwrap(), Reason::Exited(7)),
            (|co| co.emit("abort", ()).unwrap(), Reason::Killed(6)),
            (|co| co.emit("close", ()).unwrap(), Reason::Exited(0)),
        ];
        for (end, reason) in ends {
            for spawned in [false, true] {
                let co = if spawned {
                    common::patient().spawn(program!("plain")).unwrap()
                } else {
                    started()
                };
                co.call::<()>("here", ()).unwrap();
                let (first, second) = (told(&co), told(&co));
                // A handle that stays, for those ends that are not its drop.
                let kept = (reason != Reason::Exited(0)).then(|| co.clone());
                end(co);
                assert_eq!((once(&first), once(&second)), (reason, reason));
                drop(kept);
            }
        }
    });
}

#[test]
fn after_the_end_it_is_told_at_once() {
    within(LIMIT, || {
        let co = started();
        let first = told(&co);
        co.kill().unwrap();
        once(&first);
        let here = thread::current().id();
        let (tell, told) = mpsc::channel();
        co.on_end(move |reason| tell.send((reason, thread::current().id())).unwrap());
        assert_eq!(told.try_recv(), Ok((Reason::Killed(9), here)));
        // And does not let a panic out.
        co.on_end(|_| panic!("as it should"));
    });
}

#[test]
fn callbacks_that_panic_or_block_hold_up_no_others() {
    within(LIMIT, || {
        let (let_go, blocked) = mpsc::channel::<()>();
        let (one, other) = (started(), started());
        one.on_end(|_| panic!("as it should"));
        one.on_end(move |_| assert!(blocked.recv().is_ok()));
        let last = told(&one);
        one.kill().unwrap();
        let others = told(&other);
        assert_matches!(other.close(), Ok(Some(_)));
        assert_eq!(once(&others), Reason::Exited(0));
        // Also of the same pair.
        assert_matches!(one.close(), Ok(Some(_)));
        assert!(last.try_recv().is_err());
        let_go.send(()).unwrap();
        assert_eq!(once(&last), Reason::Killed(9));
    });
}

/// Another thread of the worker ends the pair, and is still busy with its calls when the worker's
/// function has nothing more to do: the process does not end before all were told.
#[test]
fn the_worker_does_not_end_before_all_were_told() {
    within(LIMIT, || {
        let path = common::fresh_path("told");
        let worker = common::patient()
            .env("COPROCESS_TEST_TOLD", &path)
            .fork(|parent| {
                let told =
                    || std::path::PathBuf::from(std::env::var_os("COPROCESS_TEST_TOLD").unwrap());
                parent.on_end(move |_| common::touch(&told()));
                // The thread that closes completes this call before it tells of the end.
                parent
                    .call_with::<()>("never", (), move |_| {
                        common::eventually("it was told", || told().exists())
                    })
                    .unwrap();
                let own = parent.clone();
                thread::spawn(move || drop(own.close()));
            })
            .unwrap();
        worker
            .serve_deferred("never", |(): (), reply: coprocess::Reply<()>| std::mem::forget(reply));
        assert_eq!(once(&told(&worker)), Reason::Exited(0));
        assert!(path.exists(), "the callback has run");
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_callback_may_use_the_pair() {
    within(LIMIT, || {
        let co = started();
        let own = co.clone();
        let (tell, told) = mpsc::channel();
        co.on_end(move |_| {
            tell.send((own.close().unwrap().is_some(), own.call::<()>("here", ()).is_err()))
                .unwrap()
        });
        drop(co);
        // The callback keeps it open: it ends by itself only.
        assert!(told.try_recv().is_err());
        let (co, both) = (started(), mpsc::channel());
        let (own, tell) = (co.clone(), both.0);
        co.on_end(move |_| {
            tell.send((own.close().unwrap().is_some(), own.call::<()>("here", ()).is_err()))
                .unwrap()
        });
        co.kill().unwrap();
        assert_eq!(next(&both.1), (true, true));
    });
}

#[test]
fn tasks_wait_for_it() {
    within(LIMIT, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let co = started();
        let reasons = runtime.block_on(async {
            let waits: Vec<_> = (0..10)
                .map(|_| {
                    let co = co.clone();
                    tokio::spawn(async move { co.ended().await })
                })
                .collect();
            // One that was polled and is dropped.
            {
                let mut given_up = pin!(co.ended());
                assert!(
                    given_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
                );
            }
            tokio::task::yield_now().await;
            co.kill().unwrap();
            let mut reasons = Vec::new();
            for wait in waits {
                reasons.push(wait.await.unwrap());
            }
            reasons.push(co.ended().await);
            reasons
        });
        assert_eq!(reasons, vec![Reason::Killed(9); 11]);
    });
}

/// The worker's callback tells by a file that it writes: its parent has closed the pair, or is
/// gone.
#[test]
fn the_worker_is_told_too() {
    within(LIMIT, || {
        for by_worker in [false, true] {
            let path = common::fresh_path("ended");
            let co = common::patient()
                .fork_with(path.clone(), |co, path: std::path::PathBuf| {
                    co.on_end(move |reason| std::fs::write(&path, reason.to_string()).unwrap());
                    plain(co);
                })
                .unwrap();
            co.call::<()>("here", ()).unwrap();
            if by_worker {
                co.emit("close", ()).unwrap();
                assert_matches!(co.run(), Ok(()));
            }
            assert!(co.close().unwrap().unwrap().success());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), Reason::Closed.to_string());
            std::fs::remove_file(&path).unwrap();
        }
    });
}

/// The worker of a parent that is killed hears of it before it ends, also if none of its threads
/// dispatches.
#[test]
fn the_worker_is_told_of_the_death_of_its_parent() {
    within(LIMIT, || {
        for busy in [false, true] {
            let path = common::fresh_path("orphaned");
            let middle = common::patient()
                .fork_with((path.clone(), busy), |co, (path, busy): (std::path::PathBuf, bool)| {
                    let worker = coprocess::fork_with(
                        (path, busy),
                        |co, (path, busy): (std::path::PathBuf, bool)| {
                            let partial = path.with_extension("partial");
                            co.on_end(move |reason| {
                                std::fs::write(&partial, reason.to_string()).unwrap();
                                std::fs::rename(&partial, &path).unwrap();
                            });
                            if busy {
                                loop {
                                    thread::park();
                                }
                            }
                        },
                    )
                    .unwrap();
                    co.serve("worker", move |(): ()| worker.peer_id());
                })
                .unwrap();
            let pid: u32 = middle.call("worker", ()).unwrap();
            middle.kill().unwrap();
            common::eventually("the worker was told", || path.exists());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), Reason::ParentDied.to_string());
            common::eventually("the worker is gone", || common::is_gone(pid));
            std::fs::remove_file(&path).unwrap();
        }
    });
}

/// In a child of fork(2) it is never called, and the parent's is called all the same.
#[test]
fn a_forked_child_tells_nobody() {
    within(LIMIT, || {
        alone!({
            let co = started();
            let path = common::fresh_path("told");
            let own = path.clone();
            co.on_end(move |_| {
                drop(std::fs::OpenOptions::new().create(true).append(true).open(own).and_then(
                    |mut file| {
                        std::io::Write::write_all(
                            &mut file,
                            format!("{}\n", std::process::id()).as_bytes(),
                        )
                    },
                ))
            });
            // SAFETY: the child runs what the documentation of the handle allows, and ends without
            // returning.
            #[allow(unsafe_code, reason = "fork(2) is what is tested")]
            let child = match unsafe { nix::unistd::fork() }.unwrap() {
                nix::unistd::ForkResult::Child => {
                    co.on_end(|_| std::process::abort());
                    let mut ended = pin!(co.ended());
                    let polled = ended.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    let right = polled == std::task::Poll::Ready(Reason::Unknown)
                        && co.last_output().is_empty();
                    // SAFETY: ends the process at once.
                    #[allow(unsafe_code, reason = "as above")]
                    unsafe {
                        libc::_exit(i32::from(!right))
                    }
                }
                nix::unistd::ForkResult::Parent { child } => child,
            };
            assert_eq!(
                nix::sys::wait::waitpid(child, None).unwrap(),
                nix::sys::wait::WaitStatus::Exited(child, 0)
            );
            let last = told(&co);
            co.close().unwrap();
            once(&last);
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                format!("{}\n", std::process::id())
            );
            std::fs::remove_file(&path).unwrap();
        });
    });
}

#[test]
fn nothing_is_left_behind() {
    within(LIMIT, || {
        alone!({
            drop(started());
            let before = Held::settled();
            for round in 0..20 {
                let co = started();
                let last = told(&co);
                if round % 2 == 0 {
                    co.kill().unwrap();
                }
                drop(co);
                once(&last);
                before.again("callbacks");
            }
            // A start that fails has no callback to call.
            let failed = coprocess::spawn(std::process::Command::new("true"));
            assert_matches!(failed, Err(Error::Fork { .. }));
            before.again("a start that failed");
        });
    });
}
