//! Nothing is left behind: no process, zombie, descriptor, mapping or thread, however a pair ends.
//! Each test counts in a process of its own.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::{
    self, Held, LIMIT, SMALL_RING, alone, assert_matches, children, eventually, fresh_path,
    program, program_after, role, serve_parent, touch, virtual_kib, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, ForkError, WaitStrategy};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, getuid, setgid, setuid};

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("plain") => serve_parent(plain),
        Some("unprivileged") => unprivileged(),
        Some("becomes root") => become_root(),
        Some(other) => unreachable!("{other}"),
    }
}

fn plain(parent: Coprocess) {
    parent
        .serve("double", |x: i64| x * 2)
        .listen("exit", |code: i32| process::exit(code))
        .listen("abort", |()| process::abort())
        .listen("park", |()| {
            loop {
                thread::park();
            }
        })
        .serve("held", |()| {
            let held = Held::now();
            (held.descriptors, held.mappings)
        });
    parent.clone().listen("emit", move |count: u32| {
        for number in 0..count {
            // The other end may go away meanwhile.
            if parent.emit("number", (number, ByteBuf::from(vec![0; 3000]))).is_err() {
                break;
            }
        }
    });
}

/// Lives one whole life of a pair, with a listener, so that the library has started whatever it
/// keeps for the whole process.
fn warm_up() -> Held {
    let worker = coprocess::fork(plain).unwrap();
    worker.listen("number", |_: (u32, ByteBuf)| ());
    assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
    let pid = worker.peer_id();
    worker.close().unwrap();
    drop(worker);
    assert!(common::is_gone(pid));
    // What is process-wide is small: at most a watcher thread and what wakes it.
    let held = Held::settled();
    assert_eq!(held.children, 0);
    held
}

#[test]
fn after_close() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            for strategy in [WaitStrategy::Adaptive, WaitStrategy::Spin, WaitStrategy::Block] {
                for _ in 0..10 {
                    let worker = common::patient().wait(strategy).fork(plain).unwrap();
                    worker.listen("number", |_: (u32, ByteBuf)| ());
                    worker.emit("emit", 20_u32).unwrap();
                    assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
                    assert!(worker.close().unwrap().unwrap().success());
                    drop(worker);
                    before.again("close");
                }
            }
        });
    });
}

/// The mapping and the descriptors go with the close, even while handles remain.
#[test]
fn after_close_with_handles_left() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            let closed: Vec<Coprocess> = (0..10)
                .map(|_| {
                    let worker = coprocess::fork(plain).unwrap();
                    assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
                    worker.close().unwrap();
                    worker
                })
                .collect();
            let with_handles = Held::settled();
            assert_eq!(with_handles.children, before.children);
            assert_eq!(with_handles.threads, before.threads);
            drop(closed);
            before.again("the last handles");
        });
    });
}

#[test]
fn after_drop() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            for round in 0..20 {
                let worker = coprocess::fork(plain).unwrap();
                if round % 2 == 0 {
                    worker.listen("number", |_: (u32, ByteBuf)| ());
                    worker.emit("emit", 1000_u32).unwrap();
                }
                drop(worker);
            }
            before.again("drop");
        });
    });
}

#[test]
fn after_drop_of_a_stubborn_worker() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            let timeout = Duration::from_millis(50);
            let worker = Builder::new().close_timeout(timeout).fork(plain).unwrap();
            worker.emit("park", ()).unwrap();
            let deaf = Builder::new()
                .close_timeout(timeout)
                .spawn(program_after!("trap '' TERM", "plain"))
                .unwrap();
            deaf.emit("park", ()).unwrap();
            drop(worker);
            drop(deaf);
            before.again("drop of a stubborn worker");
        });
    });
}

#[test]
fn after_the_worker_died() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            for round in 0..20 {
                let worker = Builder::new().ring_capacity(SMALL_RING).fork(plain).unwrap();
                worker.listen("number", |_: (u32, ByteBuf)| ());
                worker.emit("emit", 10_u32).unwrap();
                match round % 4 {
                    0 => worker.emit("exit", 3).unwrap(),
                    1 => worker.emit("abort", ()).unwrap(),
                    2 => worker.kill().unwrap(),
                    _ => {
                        worker.emit("emit", 10_000_u32).unwrap();
                        worker.kill().unwrap();
                    }
                }
                assert_matches!(worker.run(), Err(Error::Disconnected(_)));
                // Closed or only dropped.
                if round % 3 == 0 {
                    worker.close().unwrap();
                }
                drop(worker);
                before.again("death");
            }
        });
    });
}

/// The worker is reaped when it dies, not when the program asks.
#[test]
fn no_zombie_while_the_handle_lives() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            let workers: Vec<Coprocess> = (0..5).map(|_| coprocess::fork(plain).unwrap()).collect();
            for (code, worker) in workers.iter().enumerate() {
                worker.emit("exit", code as i32).unwrap();
            }
            common::eventually("all are reaped", || Held::now().children == 0);
            for (code, worker) in workers.iter().enumerate() {
                assert_eq!(worker.close().unwrap().unwrap().code(), Some(code as i32));
            }
            drop(workers);
            before.again("five exits");
        });
    });
}

#[test]
fn after_many_pairs_at_once() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            let workers: Vec<Coprocess> = thread::scope(|scope| {
                let forks: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            (0..8).map(|_| coprocess::fork(plain).unwrap()).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                forks.into_iter().flat_map(|fork| fork.join().unwrap()).collect()
            });
            for worker in &workers {
                worker.listen("number", |_: (u32, ByteBuf)| ());
            }
            for (number, worker) in workers.iter().enumerate() {
                assert_eq!(worker.call::<i64>("double", number as i64).unwrap(), number as i64 * 2);
            }
            // Each worker holds what the only one would hold.
            let held: Vec<(usize, usize)> =
                workers.iter().map(|worker| worker.call("held", ()).unwrap()).collect();
            assert!(held.iter().all(|one| *one == held[0]), "{held:?}");
            thread::scope(|scope| {
                for worker in &workers[..16] {
                    scope.spawn(|| worker.close().unwrap());
                }
            });
            drop(workers);
            before.again("32 pairs at once");
        });
    });
}

#[test]
fn after_failed_forks() {
    within(LIMIT, || {
        alone!({
            fn shell(script: &str) -> Command {
                let mut command = Command::new("sh");
                command.args(["-c", script]);
                command
            }
            let before = warm_up();
            for _ in 0..5 {
                coprocess::spawn(Command::new("/nonexistent/worker")).unwrap_err();
                before.again("not found");
                coprocess::spawn(Command::new("/")).unwrap_err();
                before.again("not executable");
                coprocess::spawn(shell("exit 3")).unwrap_err();
                before.again("exited");
                coprocess::spawn(shell("kill -KILL $$")).unwrap_err();
                before.again("killed");
                let short = Builder::new().fork_timeout(Duration::from_millis(30));
                short.spawn(shell("exec sleep 1000")).unwrap_err();
                before.again("never attached");
            }
        });
    });
}

#[test]
fn after_spawn() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            for _ in 0..5 {
                let worker = common::patient().spawn(program!("plain")).unwrap();
                assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
                assert!(worker.close().unwrap().unwrap().success());
                drop(worker);
                before.again("spawn and close");
                drop(coprocess::spawn(program!("plain")).unwrap());
                before.again("spawn and drop");
            }
        });
    });
}

/// Calls that were started, forgotten and timed out keep no pair.
#[test]
fn after_forgotten_calls() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            for _ in 0..5 {
                let worker = coprocess::fork(plain).unwrap();
                drop(worker.start::<i64>("double", 1).unwrap());
                let kept = worker.start::<i64>("double", 1).unwrap();
                let ignored = |_: coprocess::Result<i64>| ();
                worker.call_with("double", 1, ignored).unwrap();
                drop(worker.call_timeout::<i64>("double", 1, Duration::ZERO));
                worker.close().unwrap();
                drop(worker);
                drop(kept);
                before.again("forgotten calls");
            }
        });
    });
}

/// No memory for the rings is an error at the fork, and never a signal later.
#[test]
fn after_a_fork_without_memory() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
            setrlimit(Resource::RLIMIT_AS, virtual_kib() * 1024 + (16 << 20), hard).unwrap();
            for _ in 0..3 {
                let large = Builder::new().ring_capacity(32 << 20);
                let error = large.fork(plain).unwrap_err();
                assert_matches!(error, Error::Fork { cause: ForkError::Setup { .. }, .. });
                before.again("a fork without memory");
            }
            setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
            let worker = Builder::new().ring_capacity(32 << 20).fork(plain).unwrap();
            assert_eq!(worker.call::<i64>("double", 1).unwrap(), 2);
            worker.close().unwrap();
            drop(worker);
            before.again("a fork with memory");
        });
    });
}

/// Starts a program that becomes another user, gives up waiting for it, and is not allowed to kill
/// it.
fn unprivileged() {
    let unprivileged = 65534;
    setgid(Gid::from_raw(unprivileged)).unwrap();
    setuid(Uid::from_raw(unprivileged)).unwrap();
    let plain = program!("becomes root");
    let mut command = Command::new(env::var_os("OTHER").unwrap());
    command
        .args(plain.get_args())
        .envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let error = Builder::new().fork_timeout(Duration::from_millis(300)).spawn(command).unwrap_err();
    assert_matches!(error, Error::Fork { cause: ForkError::NeverAttached(_), .. });
    let left = children(process::id());
    assert_eq!(left.len(), 1, "it was killed: nothing is shown");
    touch(Path::new(&env::var_os("RELEASE").unwrap()));
    eventually("what could not be killed is reaped", || children(process::id()).is_empty());
}

/// Does not attach, and stays until it is released.
fn become_root() {
    setuid(Uid::from_raw(0)).unwrap();
    let release = env::var_os("RELEASE").unwrap();
    eventually("it is released", || Path::new(&release).exists());
}

#[test]
fn after_a_worker_that_cannot_be_killed() {
    if !getuid().is_root() {
        eprintln!("skipped: only root can make a program that runs as root for others");
        return;
    }
    within(LIMIT, || {
        let (other, release) = (fresh_path("other"), fresh_path("release"));
        // Another process makes the copy. What is started beside this test would inherit a
        // descriptor for writing, and the copy cannot be executed until that descriptor is closed.
        assert!(
            Command::new("cp")
                .arg(env::current_exe().unwrap())
                .arg(&other)
                .status()
                .unwrap()
                .success()
        );
        fs::set_permissions(&other, Permissions::from_mode(0o4755)).unwrap();
        let output = program!("unprivileged")
            .env("OTHER", &other)
            .env("RELEASE", &release)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        for path in [other, release] {
            fs::remove_file(path).unwrap();
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}
