//! The signals that a terminal sends to a whole job. The parent gets them, and decides; its workers
//! go on until it has.
#![expect(unsafe_code, reason = "terminals, process groups and handlers of signals")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::common::{
    self, LIMIT, assert_matches, at_once, eventually, is_gone, program, program_after, role,
    serve_parent, signal, within,
};
use coprocess::{Coprocess, Error, Reason, TerminalSignals};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;

/// What a terminal sends. Each ends a process that does not handle it.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("plain") => serve_parent(plain),
        Some("handles") => {
            handle(Signal::SIGINT);
            serve_parent(plain);
        }
        Some("job") => within(LIMIT / 2, job),
        Some("job that does not handle it") => within(LIMIT / 2, job_that_does_not),
        Some(other) => unreachable!("{other}"),
    }
}

static STRUCK: AtomicU32 = AtomicU32::new(0);

extern "C" fn strike(_: i32) {
    STRUCK.fetch_add(1, Ordering::SeqCst);
}

fn handle(signal: Signal) {
    let action = SigAction::new(SigHandler::Handler(strike), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing but add to an atomic.
    unsafe { sigaction(signal, &action) }.unwrap();
}

/// Returns what ends a child of a plain fork(2) of this process, to which this signal is sent.
fn end_of_a_child(sent: i32) -> i32 {
    // SAFETY: the child calls only what a child of a process with threads may call.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: takes a number.
            unsafe { libc::raise(sent) };
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the kernel writes to `status`, which outlives the call.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            status & 0x7f
        }
    }
}

fn plain(parent: Coprocess) {
    parent
        .serve("end of a child", end_of_a_child)
        .serve("done so far", |()| 42_u32)
        .serve("struck", |()| STRUCK.load(Ordering::SeqCst))
        .serve("start", |()| {
            let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
            let id = child.id();
            thread::spawn(move || child.wait());
            id
        });
}

/// Sets the signals to their defaults. Workers ignore what this process ignores, as where `nohup`
/// or a shell in the background has started the tests. The tests beside this one are not concerned:
/// none relies on a signal that is ignored.
fn default_signals() {
    for signal in SIGNALS {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: no handler is involved.
        unsafe { sigaction(signal, &default) }.unwrap();
    }
}

/// Starts workers of every kind, by either way.
fn workers(signals: TerminalSignals) -> [Coprocess; 2] {
    let builder = || common::patient().terminal_signals(signals);
    [builder().fork(plain).unwrap(), builder().spawn(program!("plain")).unwrap()]
}

#[test]
fn workers_go_on() {
    within(LIMIT, || {
        default_signals();
        for worker in workers(TerminalSignals::LeftToParent)
            .into_iter()
            .chain([coprocess::fork(plain).unwrap()])
        {
            for sent in SIGNALS {
                signal(&worker, sent);
                assert_eq!(
                    at_once(|| worker.call::<u32>("done so far", ())).unwrap(),
                    42,
                    "{sent}"
                );
                assert_eq!(worker.call::<i32>("end of a child", sent as i32).unwrap(), sent as i32);
            }
            assert!(worker.close().unwrap().unwrap().success());
        }
    });
}

#[test]
fn workers_end_if_they_are_to() {
    within(LIMIT, || {
        default_signals();
        for sent in SIGNALS {
            for worker in workers(TerminalSignals::EndWorker) {
                signal(&worker, sent);
                assert_matches!(at_once(|| worker.run()), Err(Error::Disconnected(Reason::Killed(by))) if by == sent as i32);
            }
        }
    });
}

/// What the worker's program does with the signals itself counts, whether it ignores or handles
/// them.
#[test]
fn programs_that_have_decided() {
    within(LIMIT, || {
        default_signals();
        let handles = common::patient().spawn(program!("handles")).unwrap();
        signal(&handles, Signal::SIGINT);
        eventually("its handler has run", || handles.call::<u32>("struck", ()).unwrap() == 1);
        let ignores = common::patient().spawn(program_after!("trap '' INT", "plain")).unwrap();
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", ignores.peer_id())).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        assert_eq!(
            u64::from_str_radix(ignored.trim(), 16).unwrap() >> (libc::SIGINT - 1) & 1,
            1,
            "{ignored}"
        );
        for worker in [handles, ignores] {
            assert!(worker.close().unwrap().unwrap().success());
        }
    });
}

/// Programs that a worker starts get the signals as ever: they neither ignore nor miss them.
#[test]
fn what_workers_start_is_as_ever() {
    within(LIMIT, || {
        default_signals();
        let worker = common::patient().fork(plain).unwrap();
        let started: u32 = worker.call("start", ()).unwrap();
        // It executes its program in its own time.
        let name = || std::fs::read_to_string(format!("/proc/{started}/comm")).unwrap();
        eventually("it runs its program", || name() == "sleep\n");
        kill(Pid::from_raw(started.cast_signed()), Signal::SIGINT).unwrap();
        eventually("it has ended", || is_gone(started));
        assert!(worker.close().unwrap().unwrap().success());
    });
}

/// Runs a parent that handles Ctrl-C: it asks its workers what they have done, and says so.
fn job() {
    handle(Signal::SIGINT);
    let workers = [coprocess::fork(plain).unwrap(), coprocess::spawn(program!("plain")).unwrap()];
    println!("ready");
    eventually("there was a Ctrl-C", || STRUCK.load(Ordering::SeqCst) > 0);
    for worker in &workers {
        println!("done so far: {}", worker.call::<u32>("done so far", ()).unwrap());
    }
    for worker in workers {
        assert!(worker.close().unwrap().unwrap().success());
    }
    println!("all is well");
}

/// Runs a parent that does not handle Ctrl-C: it ends, and so do its workers.
fn job_that_does_not() {
    let workers = [coprocess::fork(plain).unwrap(), coprocess::spawn(program!("plain")).unwrap()];
    println!("ready {} {}", workers[0].peer_id(), workers[1].peer_id());
    loop {
        thread::park();
    }
}

/// A job in the foreground of a terminal of its own.
struct Terminal {
    keyboard: File,
    screen: BufReader<File>,
    job: process::Child,
}

impl Terminal {
    fn run(role: &str) -> Terminal {
        let (mut ours, mut theirs) = (0, 0);
        let (name, looks, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
        // SAFETY: writes to the two numbers, which outlive the call.
        assert_eq!(unsafe { libc::openpty(&mut ours, &mut theirs, name, looks, size) }, 0);
        // SAFETY: made above, and nothing else knows of it.
        let ours = unsafe { OwnedFd::from_raw_fd(ours) };
        // SAFETY: likewise.
        let theirs = unsafe { OwnedFd::from_raw_fd(theirs) };
        nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
            .unwrap();
        let mut command = program!(role);
        let stream = || Stdio::from(theirs.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let take_terminal = || {
            nix::unistd::setsid()?;
            // SAFETY: takes numbers only.
            match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: it makes two system calls, and neither allocates nor locks.
        unsafe { command.pre_exec(take_terminal) };
        let job = command.spawn().unwrap();
        let keyboard = File::from(ours);
        Terminal { screen: BufReader::new(keyboard.try_clone().unwrap()), keyboard, job }
    }

    /// Returns the next line that starts with `start`, without it.
    fn line(&mut self, start: &str) -> String {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            // The terminal is gone (EIO) once the job has ended.
            let read = self.screen.read_line(&mut line);
            assert!(read.is_ok_and(|bytes| bytes > 0), "the job ended without {start:?}: {said}");
            if let Some(at) = line.find(start) {
                return line[at + start.len()..].trim().to_owned();
            }
            said += &line;
        }
    }

    fn control_c(&mut self) {
        self.keyboard.write_all(b"\x03").unwrap();
    }
}

#[test]
fn control_c_of_a_parent_that_handles_it() {
    within(LIMIT, || {
        default_signals();
        let mut terminal = Terminal::run("job");
        terminal.line("ready");
        terminal.control_c();
        for _ in 0..2 {
            assert_eq!(terminal.line("done so far:"), "42");
        }
        terminal.line("all is well");
        assert!(terminal.job.wait().unwrap().success());
    });
}

#[test]
fn control_c_of_a_parent_that_does_not() {
    within(LIMIT, || {
        default_signals();
        let mut terminal = Terminal::run("job that does not handle it");
        let workers = terminal.line("ready");
        terminal.control_c();
        let status = terminal.job.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGINT));
        for worker in workers.split_whitespace().map(|worker| worker.parse::<u32>().unwrap()) {
            eventually("the worker has ended, too", || is_gone(worker));
        }
    });
}
