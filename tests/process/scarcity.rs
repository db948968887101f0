//! What the system refuses: address space, the size of files, descriptors, processes and threads. A
//! fork is then an error that says what was missing. No process, descriptor, mapping or thread is
//! left over, and the next fork works as soon as there is room. See also `leftovers.rs`.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{self, Command, Stdio};
use std::sync::mpsc;

use crate::common::{
    self, AT_ONCE, Held, LIMIT, SMALL_RING, alone, assert_matches, at_once, check_error, program,
    program_after, role, serve_parent, within,
};
use coprocess::serde_bytes::Bytes;
use coprocess::{Coprocess, Error, ForkError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Uid;

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("plain") => serve_parent(plain),
        Some("few processes") => few_processes(),
        Some("few descriptors") => few_descriptors(),
        Some(other) => unreachable!("{other}"),
    }
}

fn plain(parent: Coprocess) {
    parent.serve("length", |bytes: coprocess::serde_bytes::ByteBuf| bytes.len());
}

#[track_caller]
fn works(worker: &Coprocess) {
    for length in [1, 100, 100_000] {
        assert_eq!(
            at_once(|| worker.call::<usize>("length", Bytes::new(&vec![7; length]))).unwrap(),
            length
        );
    }
}

/// Lives one whole life of a pair, so that the library has started whatever it keeps for the whole
/// process. Returns what is held when the pair has gone.
fn warm_up() -> Held {
    let before = Held::now();
    let worker = coprocess::fork(plain).unwrap();
    works(&worker);
    worker.close().unwrap();
    drop(worker);
    before.again("a first pair");
    before
}

fn limit(resource: Resource, soft: u64) {
    let (_, hard) = getrlimit(resource).unwrap();
    setrlimit(resource, soft, hard).unwrap();
}

/// Returns the cause of a failed fork, if it has failed; else the pair is tried, and closed.
fn attempt(fork: impl FnOnce() -> coprocess::Result<Coprocess>) -> Option<ForkError> {
    match at_once(fork) {
        Ok(worker) => {
            works(&worker);
            assert!(at_once(|| worker.close()).unwrap().unwrap().success());
            None
        }
        Err(error) => {
            check_error(&error, "cannot start the worker");
            match error {
                Error::Fork { cause, .. } => Some(cause),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The kernel would kill a process whose files grow beyond the limit, and a segment is a file.
#[test]
fn size_of_files() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            let (unlimited, _) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
            for _ in 0..20 {
                limit(Resource::RLIMIT_FSIZE, 64 * 1024);
                let cause = attempt(|| common::patient().fork(plain));
                assert_matches!(cause, Some(ForkError::Setup { ref source, .. }) if source.raw_os_error() == Some(libc::EFBIG));
                before.again("a refused file");
                // A smaller one is not refused, and what goes through it is no file.
                assert_matches!(
                    attempt(|| common::patient().ring_capacity(SMALL_RING).fork(plain)),
                    None
                );
                limit(Resource::RLIMIT_FSIZE, unlimited);
                assert_matches!(attempt(|| common::patient().fork(plain)), None);
                before.again("the others");
            }
        });
    });
}

/// From nothing to enough, in small steps. With musl, the test's own process would run out of
/// memory: its allocator maps what glibc's has kept in its heap.
#[test]
#[cfg(target_env = "gnu")]
fn address_space() {
    within(LIMIT, || {
        alone!({
            // In a thread, whose heap has its address space already: the test itself needs none.
            let steps = std::thread::spawn(|| {
                let before = warm_up();
                let (unlimited, _) = getrlimit(Resource::RLIMIT_AS).unwrap();
                let (mut refused, mut worked) = (0, 0);
                for step in 0..40 {
                    limit(Resource::RLIMIT_AS, common::virtual_kib() * 1024 + step * 128 * 1024);
                    let cause = attempt(|| common::patient().ring_capacity(1 << 20).fork(plain));
                    limit(Resource::RLIMIT_AS, unlimited);
                    match cause {
                        None => worked += 1,
                        Some(ForkError::Setup { source, .. } | ForkError::Exec(source)) => {
                            assert_matches!(
                                source.raw_os_error(),
                                Some(libc::ENOMEM | libc::EAGAIN)
                            );
                            refused += 1;
                        }
                        Some(other) => panic!("step {step}: {other:?}"),
                    }
                    before.again("a step");
                }
                assert!(refused >= 10 && worked >= 5, "{refused} refused, {worked} worked");
            });
            steps.join().unwrap();
        });
    });
}

/// A user whose processes no other user's count among.
const FREE_USER: u32 = 0x5000_0000;

/// What a pair takes: a process, and a thread in it and in this one; with events, two more in each.
/// The worker of a test binary has a thread named `main` besides.
const ENOUGH: u64 = if cfg!(coprocess_second_backend) { 8 } else { 4 };

/// Forks while there is no process, then no thread for the worker, then none for this process, then
/// enough. This process is no worker: it has no watcher yet.
fn few_processes() {
    let before = warm_up();
    // The kernel counts threads.
    let own = before.threads as u64;
    let (unlimited, _) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
    for _ in 0..10 {
        for spare in 0..=ENOUGH {
            limit(Resource::RLIMIT_NPROC, own + spare);
            let cause = attempt(|| common::patient().fork(plain));
            match spare {
                0 => {
                    assert_matches!(cause, Some(ForkError::Exec(ref source)) if source.raw_os_error() == Some(libc::EAGAIN))
                }
                ENOUGH => assert_matches!(cause, None),
                // The events take theirs sooner, at either side.
                _ if cfg!(coprocess_second_backend) => match cause {
                    Some(ForkError::Setup { ref source, .. }) => {
                        assert_eq!(source.raw_os_error(), Some(libc::EAGAIN))
                    }
                    Some(ForkError::Handshake(ref why)) => {
                        assert!(why.contains("thread") || why.contains("process watcher"), "{why}")
                    }
                    other => panic!("{other:?}"),
                },
                // The worker of a test binary has one thread more, where it can have it.
                1 | 2 => {
                    assert_matches!(cause, Some(ForkError::Handshake(ref why)) if why.contains("process watcher"))
                }
                3 => assert_matches!(
                    cause,
                    Some(ForkError::Setup { action: "start the process watcher", ref source }) if source.raw_os_error() == Some(libc::EAGAIN)
                ),
                _ => unreachable!("there is nothing in between"),
            }
            before.again("a fork without processes to spare");
        }
        // A program may have threads of its own before it attaches, and want more afterwards: it
        // may fail at any point.
        for spare in 0..2 * ENOUGH {
            limit(Resource::RLIMIT_NPROC, own + spare);
            match coprocess::spawn(itself("plain")) {
                Ok(worker) => drop(worker),
                Err(Error::Fork { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
            before.again("a spawn without processes to spare");
        }
        limit(Resource::RLIMIT_NPROC, own + ENOUGH);
        // A pair that has no more threads to spare: what needs one says so, and all else goes on.
        let worker = coprocess::fork(plain).unwrap();
        let unused = |_: coprocess::Result<usize>| unreachable!("an error was returned already");
        assert_matches!(
            worker.call_with("length", Bytes::new(&[1]), unused),
            Err(Error::Os { .. })
        );
        assert!(
            catch_unwind(AssertUnwindSafe(|| worker.listen("event", |()| ()).is_connected()))
                .is_err()
        );
        works(&worker);
        limit(Resource::RLIMIT_NPROC, unlimited);
        let (sender, length) = mpsc::channel();
        worker
            .call_with("length", Bytes::new(&[1]), move |result: coprocess::Result<usize>| {
                sender.send(result).unwrap()
            })
            .unwrap();
        assert_eq!(common::next(&length).unwrap(), 1);
        worker.close().unwrap();
        drop(worker);
        before.again("a pair without threads to spare");
    }
    callbacks_wait_for_a_thread(unlimited);
    before.again("callbacks without threads to spare");
}

/// Checks that a callback for the end of a pair, which needs a thread, gets one as soon as there is
/// one. All else goes on.
fn callbacks_wait_for_a_thread(unlimited: u64) {
    let [first, second] = [(); 2].map(|()| coprocess::fork(plain).unwrap());
    let (tell, told) = mpsc::channel();
    first.on_end(move |reason| {
        tell.send((reason, std::thread::current().name().map(str::to_owned))).unwrap()
    });
    limit(Resource::RLIMIT_NPROC, 1);
    first.kill().unwrap();
    assert_matches!(first.close(), Ok(Some(_)));
    works(&second);
    assert_matches!(second.close(), Ok(Some(_)));
    assert_matches!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
    limit(Resource::RLIMIT_NPROC, unlimited);
    assert_eq!(
        common::next(&told),
        (coprocess::Reason::Killed(9), Some("coprocess-end".to_owned()))
    );
}

/// This test binary as a worker program, also where the path to it may not be walked.
fn itself(role: &str) -> Command {
    let plain = program!(role);
    let mut command = Command::new("/proc/self/exe");
    command
        .args(plain.get_args())
        .envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn processes_and_threads() {
    if !Uid::effective().is_root() {
        println!(
            "skipped: only root can start a process of a user that has no others, for which the limit of processes can be told"
        );
        return;
    }
    within(LIMIT, || {
        let mut command = itself("few processes");
        command.stderr(Stdio::piped()).uid(FREE_USER + process::id()).gid(FREE_USER);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

/// Tries to start a worker with no descriptors left, then one, and so on until it works.
fn with_few_descriptors(start: impl Fn() -> coprocess::Result<Coprocess>) -> (u32, u32) {
    let before = warm_up();
    let mut taken: Vec<File> = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let (mut refused, mut worked) = (0, 0);
    while worked < 3 {
        match attempt(&start) {
            None => worked += 1,
            Some(ForkError::Setup { source, .. } | ForkError::Exec(source)) => {
                assert_eq!((source.raw_os_error(), worked), (Some(libc::EMFILE), 0));
                refused += 1;
            }
            Some(other) => panic!("{other:?}"),
        }
        // Counting needs descriptors of its own.
        let count = taken.len();
        taken.truncate(count - 4);
        Held { descriptors: before.descriptors + count - 4, ..before.clone() }
            .again("a start without descriptors");
        while taken.len() < count - 1 {
            taken.push(File::open("/dev/null").expect("nothing of a failed start is left open"));
        }
    }
    (refused, worked)
}

fn few_descriptors() {
    let parent = coprocess::parent().unwrap();
    parent
        .serve("fork", |()| with_few_descriptors(|| coprocess::fork(plain)))
        .serve("spawn", |()| with_few_descriptors(|| coprocess::spawn(itself("plain"))));
    parent.run().unwrap();
}

#[test]
fn descriptors_of_the_parent() {
    within(LIMIT, || {
        let worker = coprocess::spawn(program_after!("ulimit -n 64", "few descriptors")).unwrap();
        for way in ["fork", "spawn"] {
            let (refused, worked): (u32, u32) = worker.call(way, ()).unwrap();
            // At least the lifeline, and the worker's end of it, or the worker's pidfd with the
            // segment.
            assert!(refused >= 3, "{way}: {refused}");
            assert_eq!(worked, 3);
        }
    });
}

/// A worker that cannot attach for want of descriptors says so, or ends. Its parent never waits for
/// it.
#[test]
fn descriptors_of_the_worker() {
    within(LIMIT, || {
        alone!({
            let before = warm_up();
            let (mut refused, mut worked) = (0, 0);
            for count in 4..24 {
                let started = std::time::Instant::now();
                match coprocess::spawn(program_after!(
                    &format!("exec 2>/dev/null; ulimit -n {count}"),
                    "plain",
                )) {
                    Ok(worker) => {
                        works(&worker);
                        worker.close().unwrap();
                        worked += 1;
                    }
                    Err(Error::Fork {
                        cause: ForkError::Ended(_) | ForkError::Handshake(_),
                        ..
                    }) => refused += 1,
                    Err(other) => panic!("{count}: {other:?}"),
                }
                assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
                before.again("a worker without descriptors");
            }
            assert!(refused >= 1 && worked >= 3, "{refused} refused, {worked} worked");
        });
    });
}
