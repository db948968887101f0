//! Where the system knows no process descriptors, or refuses them, pairs do all that they do
//! elsewhere, as fast, and leave nothing behind.
//!
//! The kernel refuses the system calls by filters (seccomp), to the parent and to its workers. So
//! the tests also show that a sandbox which refuses to describe files does not end pairs.
#![expect(unsafe_code, reason = "system calls that no package wraps")]

use std::process;
use std::thread;
use std::time::Duration;

use crate::common::{
    self, Held, LIMIT, SMALL_RING, alone, assert_matches, at_once, children, eventually, is_gone,
    program, program_after, role, serve_parent, within,
};
use coprocess::{Builder, Coprocess, Error, ForkError, Reason};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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
        .serve("double", |x: u64| x * 2)
        .serve_deferred("never", |(), reply: coprocess::Reply<()>| std::mem::forget(reply))
        .listen("exit", |code: i32| process::exit(code))
        .listen("abort", |()| process::abort())
        .listen("park", |()| park())
        .serve("leave a copy", |()| {
            // SAFETY: the child makes system calls only.
            match unsafe { libc::fork() } {
                0 => loop {
                    // SAFETY: takes nothing.
                    unsafe { libc::pause() };
                },
                copy => copy,
            }
        })
        .serve("fork", |()| {
            coprocess::fork(plain)
                .map(|worker| (worker.peer_id(), std::mem::forget(worker)).0)
                .unwrap()
        });
}

fn park() -> ! {
    loop {
        thread::park();
    }
}

/// The system calls that are about a process by its descriptor, and the argument that makes them
/// so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Open,
    Signal,
    Wait,
    /// By all the system calls that describe an open file.
    Describe,
}

use Refused::{Open, Signal as Kill, Wait};

/// Makes the kernel answer these system calls with an error, to all threads of this process and all
/// its children, for good.
fn refuse(refused: &[Refused], errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let unless = |k: u32, skip: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: skip,
        k,
    };
    let answer = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32);
    let mut filter = Vec::new();
    for call in refused {
        // Offset 0 of what a filter sees is the number of the call. Its first argument is at 16,
        // the lower half first.
        filter.push(load(0));
        match call {
            Open => filter.extend([unless(libc::SYS_pidfd_open as u32, 1), answer]),
            Kill => filter.extend([unless(libc::SYS_pidfd_send_signal as u32, 1), answer]),
            Refused::Describe => {
                // The numbers differ between machines; 64-bit ones have these.
                for call in [libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx] {
                    filter.extend([unless(call as u32, 1), answer]);
                }
            }
            Wait => filter.extend([
                unless(libc::SYS_waitid as u32, 3),
                load(16),
                unless(libc::P_PIDFD, 1),
                answer,
            ]),
        }
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the kernel copies the program, which outlives the call.
    let set = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// Fails unless exactly these are refused: else nothing would be shown.
fn check(refused: &[Refused], errno: i32) {
    let failed =
        |result: i64| (result < 0).then(|| std::io::Error::last_os_error().raw_os_error().unwrap());
    // SAFETY: takes numbers only.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, process::id(), 0) };
    assert_eq!(failed(opened), refused.contains(&Open).then_some(errno));
    // SAFETY: takes numbers only, and there is no such descriptor.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, -1, 0, 0, 0) };
    assert_eq!(failed(sent), Some(if refused.contains(&Kill) { errno } else { libc::EBADF }));
    // SAFETY: takes numbers only, and there is no such descriptor.
    let waited = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            1_000_000,
            0,
            libc::WEXITED | libc::WNOHANG,
            0,
        )
    };
    assert_eq!(failed(waited), Some(if refused.contains(&Wait) { errno } else { libc::EBADF }));
    if let Ok(opened) = i32::try_from(opened)
        && opened >= 0
    {
        // SAFETY: opened above, and used nowhere else.
        unsafe { libc::close(opened) };
    }
}

/// Does all that a pair goes through, and ends pairs in all ways.
fn exercise() {
    let before = {
        coprocess::fork(plain).unwrap().close().unwrap();
        Held::settled()
    };
    let start = || {
        Builder::new()
            .ring_capacity(SMALL_RING)
            .close_timeout(Duration::from_secs(20))
            .fork(plain)
            .unwrap()
    };
    let works = |worker: &Coprocess| assert_eq!(worker.call::<u64>("double", 21_u64).unwrap(), 42);

    // Closed, by either way to start it, and dropped.
    for is_function in [true, false] {
        let worker =
            if is_function { start() } else { common::patient().spawn(program!("plain")).unwrap() };
        works(&worker);
        assert!(at_once(|| worker.close()).unwrap().unwrap().success());
        drop(worker);
        before.again("close");
    }
    drop(start());
    before.again("drop");

    // It dies: what waits for it ends at once, and it is reaped although its handle lives.
    let died = |worker: Coprocess, reason: Reason| {
        assert_matches!(at_once(|| worker.call::<()>("never", ())), Err(Error::Disconnected(r)) if r == reason);
        eventually("it is reaped", || children(process::id()).is_empty());
        // One that has ended is no error.
        worker.kill().unwrap();
        let status = at_once(|| worker.close()).unwrap().unwrap();
        assert_eq!(status.success(), reason == Reason::Exited(0));
        drop(worker);
        before.again("death");
    };
    for code in [0, 3] {
        let worker = start();
        worker.emit("exit", code).unwrap();
        died(worker, Reason::Exited(code));
    }
    let worker = start();
    worker.emit("abort", ()).unwrap();
    died(worker, Reason::Killed(libc::SIGABRT));
    let worker = start();
    worker.kill().unwrap();
    died(worker, Reason::Killed(libc::SIGKILL));

    // It dies, and a child of it, made by a plain fork(2), keeps a copy of its lifeline.
    let worker = start();
    let copy: i32 = worker.call("leave a copy", ()).unwrap();
    worker.kill().unwrap();
    died(worker, Reason::Killed(libc::SIGKILL));
    kill(Pid::from_raw(copy), Signal::SIGKILL).unwrap();

    // It does not end by itself: SIGTERM, and SIGKILL where that does nothing.
    let brief = || Builder::new().close_timeout(Duration::from_millis(50));
    let stubborn = brief().fork(plain).unwrap();
    stubborn.emit("park", ()).unwrap();
    let status = at_once(|| stubborn.close()).unwrap().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGTERM));
    let deaf = brief().spawn(program_after!("trap '' TERM", "plain")).unwrap();
    deaf.emit("park", ()).unwrap();
    let status = at_once(|| deaf.close()).unwrap().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
    drop((stubborn, deaf));
    before.again("force");

    // It never becomes a worker.
    let shell_within = |limit: Duration, script: &str| {
        let mut command = process::Command::new("sh");
        command.args(["-c", script]);
        at_once(|| Builder::new().fork_timeout(limit).spawn(command)).unwrap_err()
    };
    let shell = |script: &str| shell_within(LIMIT, script);
    assert_matches!(shell("exit 3"), Error::Fork { cause: ForkError::Ended(status), .. } if status.code() == Some(3));
    assert_matches!(
        shell("kill -KILL $$"),
        Error::Fork { cause: ForkError::Ended(status), .. } if std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc::SIGKILL)
    );
    assert_matches!(
        shell_within(Duration::from_millis(300), "exec sleep 1000"),
        Error::Fork { cause: ForkError::NeverAttached(_), .. }
    );
    before.again("failed starts");

    // It has a worker of its own, and dies; perhaps with a copy of everything left in a child.
    for leaves_a_copy in [false, true] {
        let worker = start();
        let below: u32 = worker.call("fork", ()).unwrap();
        let copy = leaves_a_copy.then(|| worker.call::<i32>("leave a copy", ()).unwrap());
        worker.kill().unwrap();
        died(worker, Reason::Killed(libc::SIGKILL));
        at_once(|| eventually("its worker has ended, too", || is_gone(below)));
        if let Some(copy) = copy {
            kill(Pid::from_raw(copy), Signal::SIGKILL).unwrap();
        }
    }

    // Many at once.
    let workers: Vec<Coprocess> = (0..8).map(|_| start()).collect();
    workers.iter().for_each(works);
    for (number, worker) in workers.into_iter().enumerate() {
        match number % 3 {
            0 => drop(at_once(|| worker.close()).unwrap().expect("this is the parent")),
            1 => worker.kill().unwrap(),
            _ => {}
        }
    }
    before.again("many at once");
}

/// In a process of its own, since what is refused stays so.
macro_rules! refused {
    ($name:ident, $calls:expr, $errno:expr) => {
        #[test]
        fn $name() {
            within(LIMIT, || {
                alone!({
                    refuse(&$calls, $errno);
                    check(&$calls, $errno);
                    exercise();
                });
            });
        }
    };
}

refused!(all_unknown, [Open, Kill, Wait], libc::ENOSYS);
refused!(all_refused, [Open, Kill, Wait], libc::EPERM);
refused!(open_unknown, [Open], libc::ENOSYS);
refused!(open_refused, [Open], libc::EPERM);
refused!(signal_unknown, [Kill], libc::ENOSYS);
refused!(signal_refused, [Kill], libc::EPERM);
refused!(wait_unknown, [Wait], libc::EINVAL);
refused!(wait_refused, [Wait], libc::EPERM);

/// The program takes the status of any child: how the worker ended is not known, but that it did.
#[test]
fn statuses_that_the_program_takes() {
    within(LIMIT, || {
        alone!({
            refuse(&[Open, Kill, Wait], libc::ENOSYS);
            // SAFETY: takes numbers only. The kernel reaps children from now on.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            let worker = common::patient().fork(plain).unwrap();
            worker.emit("exit", 3).unwrap();
            assert_matches!(
                at_once(|| worker.call::<()>("never", ())),
                Err(Error::Disconnected(Reason::Unknown))
            );
            // Its number may be another process's by now: nothing is done to that.
            worker.kill().unwrap();
            assert_matches!(at_once(|| worker.close()), Ok(None));
            // SAFETY: as above.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        });
    });
}

/// The program enters a sandbox in which no call can find out which files are open. No descriptor
/// was closed.
#[test]
fn files_that_are_not_described() {
    within(LIMIT, || {
        alone!({
            let pairs = [(); 2].map(|()| coprocess::fork(plain).unwrap());
            refuse(&[Refused::Describe], libc::EPERM);
            assert!(
                nix::sys::stat::fstat(std::io::stdin()).is_err(),
                "else nothing would be shown"
            );
            let [first, second] = &pairs;
            assert_eq!(first.call::<u64>("double", 21_u64).unwrap(), 42);
            assert!(first.close().unwrap().unwrap().success());
            assert_eq!(second.call::<u64>("double", 21_u64).unwrap(), 42);
            second.emit("exit", 3).unwrap();
            assert_matches!(
                at_once(|| second.call::<()>("never", ())),
                Err(Error::Disconnected(Reason::Exited(3)))
            );
        });
    });
}
