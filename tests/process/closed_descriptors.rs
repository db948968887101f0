//! A process closes all descriptors that it does not know, as daemons and sandboxes do, and with
//! them those of the library: its pairs end with a reason, nothing spins, nothing is left over, and
//! the files that get the same numbers are left alone.
#![expect(unsafe_code, reason = "closing descriptors that others own")]

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{self, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::common::{
    self, Held, LIMIT, alone, assert_matches, at_once, children, eventually, fresh_path, is_gone,
    next, nothing_spins, program, role, serve_parent, within,
};
use coprocess::{Builder, Coprocess, Error, Output, Reason};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("plain") => serve_parent(plain),
        Some("parent") => within(LIMIT / 2, the_parent),
        Some("parent of copies: a death") => within(LIMIT / 2, || the_parent_of_copies("a death")),
        Some("parent of copies: a close") => within(LIMIT / 2, || the_parent_of_copies("a close")),
        Some("event loop") => within(LIMIT / 2, the_event_loop),
        Some("careless parent") => within(LIMIT / 2, the_careless_parent),
        Some(other) => unreachable!("{other}"),
    }
}

fn plain(parent: Coprocess) {
    parent
        .serve("double", |x: u64| x * 2)
        .serve_deferred("never", |(), reply: coprocess::Reply<()>| std::mem::forget(reply))
        .listen("park", |()| park());
    parent.listen("close all", |()| close_all()).listen("close all and stay", |()| {
        close_all();
        park();
    });
}

fn park() -> ! {
    loop {
        thread::park();
    }
}

fn close_all() {
    // SAFETY: takes numbers. What they stand for is meant to be lost.
    assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, !0_u32, 0) }, 0);
}

/// Runs a role in a process that is no worker itself: it would end.
fn apart(role: &'static str) {
    within(LIMIT, move || {
        let output = program!(role).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let [said, complained] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    });
}

/// Files of the program at the numbers that the library had, each with what it holds.
struct Strangers {
    files: Vec<File>,
    sockets: Vec<(UnixStream, UnixStream)>,
    until: RawFd,
}

impl Strangers {
    /// Takes all numbers up to one.
    fn up_to(until: RawFd) -> Strangers {
        let mut strangers = Strangers { files: Vec::new(), sockets: Vec::new(), until };
        let mut highest = 0;
        while highest < until {
            let path = fresh_path("stranger");
            let mut file =
                File::options().read(true).write(true).create_new(true).open(&path).unwrap();
            fs::remove_file(path).unwrap();
            file.write_all(b"the program's").unwrap();
            let (here, there) = UnixStream::pair().unwrap();
            there.set_nonblocking(true).unwrap();
            here.set_nonblocking(true).unwrap();
            highest =
                [file.as_raw_fd(), here.as_raw_fd(), there.as_raw_fd()].into_iter().max().unwrap();
            strangers.files.push(file);
            strangers.sockets.push((here, there));
        }
        strangers
    }

    /// Fails if one was written to or closed.
    #[track_caller]
    fn are_unharmed(&mut self) {
        for file in &mut self.files {
            file.seek(SeekFrom::Start(0)).expect("the file is open");
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "the program's");
        }
        for (here, there) in &self.sockets {
            for (mut from, mut to) in [(here, there), (there, here)] {
                let nothing = to.read(&mut [0; 8]).map_err(|error| error.kind());
                assert_eq!(
                    nothing,
                    Err(ErrorKind::WouldBlock),
                    "something was sent, or the other end closed"
                );
                from.write_all(b"x").unwrap();
                assert_eq!(to.read(&mut [0; 8]).unwrap(), 1);
            }
        }
        assert!(self.files.len() > 1, "{}", self.until);
    }
}

fn open_descriptors() -> Vec<RawFd> {
    let numbers = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
    // Without the one that lists them.
    let numbers: Vec<RawFd> = numbers.collect();
    // SAFETY: takes numbers only.
    numbers.into_iter().filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0).collect()
}

/// Returns the highest number that a program reuses soon. One of the library's is far above.
fn highest() -> RawFd {
    open_descriptors().into_iter().filter(|fd| *fd < 500).max().unwrap()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

#[track_caller]
fn ended_for_it<T: std::fmt::Debug>(result: coprocess::Result<T>) {
    assert_matches!(result, Err(Error::Disconnected(Reason::DescriptorsClosed)));
}

/// Closes everything in a parent with idle pairs, pairs in use, and one whose worker is stuck.
fn the_parent() {
    let before = threads();
    let fork = || coprocess::fork(plain).unwrap();
    // Its output is read by a thread of the library, which has descriptors, too.
    let captured = || {
        Builder::new()
            .stderr(Output::Tail(1000))
            .stdout(Output::Lines(Arc::new(|_| ())))
            .fork(plain)
            .unwrap()
    };
    let (idle, calling, awaited, dropped, stuck, program) = (
        captured(),
        fork(),
        fork(),
        captured(),
        fork(),
        coprocess::spawn(program!("plain")).unwrap(),
    );
    let pids: Vec<u32> =
        [&idle, &calling, &awaited, &dropped, &stuck, &program].map(|end| end.peer_id()).to_vec();
    assert_eq!(program.call::<u64>("double", 4_u64).unwrap(), 8);
    stuck.emit("park", ()).unwrap();
    let end = calling.clone();
    let caller = thread::spawn(move || end.call::<()>("never", ()));
    let (sender, told) = mpsc::channel();
    awaited
        .call_with("never", (), move |result: coprocess::Result<()>| sender.send(result).unwrap())
        .unwrap();
    let pending = stuck.start::<()>("never", ()).unwrap();
    let highest = highest();
    eventually("the caller waits", || calling.stats().messages_sent > 0);

    close_all();
    let mut strangers = Strangers::up_to(highest);

    // What was under way ends, and so does what comes after.
    ended_for_it(at_once(|| caller.join().unwrap()));
    ended_for_it(at_once(|| next(&told)));
    ended_for_it(at_once(|| pending.wait()));
    for end in [&idle, &calling, &awaited, &stuck, &program] {
        ended_for_it(at_once(|| end.call::<u64>("double", 1_u64)));
        ended_for_it(at_once(|| end.emit("park", ())));
    }
    ended_for_it(at_once(|| dropped.run()));
    drop(dropped);
    for end in [&idle, &calling, &awaited, &stuck, &program] {
        at_once(|| end.close()).unwrap().expect("it was reaped");
    }
    eventually("all are reaped", || children(process::id()).is_empty());
    assert!(pids.into_iter().all(is_gone));
    nothing_spins();
    eventually("the threads are gone", || threads() == before);
    strangers.are_unharmed();

    // The next pair is as any other.
    let next = coprocess::fork(plain).unwrap();
    assert_eq!(next.call::<u64>("double", 21_u64).unwrap(), 42);
    assert!(next.close().unwrap().unwrap().success());
    drop((idle, calling, awaited, stuck, program));
    strangers.are_unharmed();
}

#[test]
fn of_the_parent() {
    apart("parent");
}

/// Closes everything in a parent that has a child of a plain fork(2). The child keeps copies of
/// everything, by which the watcher could not find out. The parent ends its pairs nevertheless.
fn the_parent_of_copies(first_of_all: &str) {
    // Only a watcher ends this one, by a signal.
    let closed = Builder::new().close_timeout(Duration::from_millis(100)).fork(plain).unwrap();
    closed.emit("park", ()).unwrap();
    let (dropped, dies) = (coprocess::fork(plain).unwrap(), coprocess::fork(plain).unwrap());
    let call = dies.start::<()>("never", ()).unwrap();
    // SAFETY: the child makes system calls only.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    let highest = highest();
    close_all();
    let mut strangers = Strangers::up_to(highest);
    if first_of_all == "a death" {
        kill(Pid::from_raw(dies.peer_id().cast_signed()), Signal::SIGKILL).unwrap();
        assert_matches!(at_once(|| call.wait()), Err(Error::Disconnected(_)));
    }
    assert!(at_once(|| closed.close()).unwrap().is_some());
    drop((dropped, dies));
    eventually("all are reaped", || children(process::id()) == [child as u32]);
    nothing_spins();
    strangers.are_unharmed();
    kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
    waitpid(Pid::from_raw(child), None).unwrap();
}

#[test]
fn of_the_parent_beside_copies() {
    apart("parent of copies: a death");
    apart("parent of copies: a close");
}

/// Closes everything in a parent with an event loop. The descriptor of the event loop is among
/// those that are closed: nothing is written to the file that gets its number.
fn the_event_loop() {
    let before = threads();
    let worker = coprocess::fork(plain).unwrap();
    worker.listen("never", |()| ());
    let readiness = worker.readiness().unwrap();
    let highest = highest();
    assert!(readiness.as_raw_fd() <= highest);
    close_all();
    let mut strangers = Strangers::up_to(highest);
    eventually("the pair ends", || worker.poll().is_err());
    ended_for_it(worker.poll());
    at_once(|| worker.close()).unwrap().expect("it was reaped");
    drop((readiness, worker));
    eventually("the threads are gone", || threads() == before);
    strangers.are_unharmed();
}

#[test]
fn of_an_event_loop() {
    apart("event loop");
}

/// Closes the library's descriptors, one in each round, and puts a file there.
fn the_careless_parent() {
    let path = fresh_path("stranger");
    let (mut rounds, mut left, mut most) = (0, 0, 0);
    loop {
        // A file is always readable, and a socket to which nothing was sent never.
        let is_silent = rounds % 2 == 1;
        let before = open_descriptors();
        let worker = coprocess::fork(plain).unwrap();
        assert_eq!(worker.call::<u64>("double", 4_u64).unwrap(), 8);
        let ours: Vec<RawFd> =
            open_descriptors().into_iter().filter(|fd| !before.contains(fd)).collect();
        most = most.max(ours.len());
        if ours.len() < most {
            // The watcher of the round before has not gone yet, and watches this pair, too.
            worker.close().unwrap();
            continue;
        }
        let Some(number) = ours.get(rounds / 2) else { break };
        let stranger = File::options().read(true).append(true).create(true).open(&path).unwrap();
        let silent = UnixStream::pair().unwrap();
        let replacement = if is_silent { silent.0.as_raw_fd() } else { stranger.as_raw_fd() };
        // SAFETY: takes numbers. What is replaced is meant to be lost.
        assert_eq!(unsafe { libc::dup3(replacement, *number, 0) }, *number);
        match at_once(|| worker.call::<u64>("double", 5_u64)) {
            Ok(double) => assert_eq!(double, 10),
            Err(error) => assert_matches!(error, Error::Disconnected(_)),
        }
        if rounds % 4 < 2 {
            at_once(|| worker.close()).unwrap().expect("it was reaped");
        }
        drop(worker);
        eventually("it is reaped", || children(process::id()).is_empty());
        nothing_spins();
        if !is_silent {
            eventually("the watcher has gone", || threads() <= 3 + left);
        } else {
            // One that waits on a silent file by chance waits for good, in vain, and without harm.
            left = left.max(Held::settled().threads - 3);
        }
        silent.1.set_nonblocking(true).unwrap();
        assert_eq!(
            (&silent.1).read(&mut [0; 8]).map_err(|error| error.kind()),
            Err(ErrorKind::WouldBlock)
        );
        assert_eq!(
            stranger.metadata().unwrap().len(),
            0,
            "something was written to number {number}"
        );
        // SAFETY: takes a number, which is the test's own.
        assert_eq!(unsafe { libc::close(*number) }, 0, "number {number} was closed");
        rounds += 1;
    }
    fs::remove_file(path).unwrap();
    assert!(rounds >= 2 * 5, "{rounds} rounds, two for each descriptor of the library");
}

#[test]
fn one_by_one() {
    apart("careless parent");
}

/// Closes all at once, before its watcher has begun to wait, or while it does.
fn closes_first(parent: Coprocess) {
    close_all();
    plain(parent);
}

#[test]
fn of_the_worker() {
    within(LIMIT, || {
        alone!({
            let before = {
                coprocess::fork(plain).unwrap().close().unwrap();
                Held::settled()
            };
            for event in ["close all", "close all and stay"] {
                let worker = common::patient().fork(plain).unwrap();
                let pid = worker.peer_id();
                let call = worker.start::<()>("never", ()).unwrap();
                worker.emit(event, ()).unwrap();
                assert_matches!(at_once(|| call.wait()), Err(Error::Disconnected(_)));
                eventually("it has ended", || is_gone(pid));
                let status = at_once(|| worker.close()).unwrap().expect("this is the parent");
                let expected = if event == "close all" { &[1, 137][..] } else { &[137] };
                assert!(
                    status.code().is_some_and(|code| expected.contains(&code)),
                    "{event}: {status}"
                );
            }
            for _ in 0..20 {
                let worker = common::patient().fork(closes_first).unwrap();
                assert_matches!(at_once(|| worker.run()), Err(Error::Disconnected(_)));
                let pid = worker.peer_id();
                eventually("it has ended", || is_gone(pid));
            }
            before.again("workers that closed all");
        });
    });
}

fn middle(parent: Coprocess) {
    let worker = coprocess::fork(plain).unwrap();
    parent.serve("worker", {
        let pid = worker.peer_id();
        move |()| pid
    });
    parent.listen("close all and stay", move |()| {
        let _keep = &worker;
        close_all();
        park();
    });
}

/// A worker that has workers: all end.
#[test]
fn of_a_worker_that_has_workers() {
    within(LIMIT, || {
        let worker = common::patient().fork(middle).unwrap();
        let below: u32 = worker.call("worker", ()).unwrap();
        worker.emit("close all and stay", ()).unwrap();
        assert_matches!(at_once(|| worker.run()), Err(Error::Disconnected(_)));
        eventually("the worker's worker has ended", || is_gone(below));
        assert_eq!(at_once(|| worker.close()).unwrap().unwrap().code(), Some(137));
    });
}
