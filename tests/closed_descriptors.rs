//! A process closes all descriptors that it does not know, as daemons and sandboxes do, and with
//! them those of the library: its pairs end with a reason, nothing spins, nothing is left over, and
//! the files that get the same numbers are left alone.
#![expect(unsafe_code, reason = "closing descriptors that others own")]

mod common;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, RawFd};
use std::process::{self, Command};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{
    Held, LIMIT, alone, assert_matches, at_once, children, eventually, fresh_path, inbox, is_gone, next, program, role, serve_parent,
    state, within,
};
use coprocess::{Coprocess, Error, Pending, Reason};
use nix::time::{ClockId, clock_gettime};

coprocess::init_in_tests!();

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
        .listen("park", |()| park());
    let end = parent.clone();
    parent.listen("close all", move |()| {
        close_all();
        end.emit("closed", ()).unwrap();
    });
    let end = parent.clone();
    parent.listen("close all and stay", move |()| {
        close_all();
        end.emit("closed", ()).unwrap();
        park();
    });
}

fn park() -> ! {
    loop {
        thread::park();
    }
}

/// As `close_range(3, ~0, 0)`, but for the descriptors in `kept`.
fn close_all_but(kept: &[RawFd]) {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .filter(|fd| *fd > libc::STDERR_FILENO && !kept.contains(fd))
        .collect();
    for fd in open {
        // SAFETY: takes a number. What it stands for is not used by this test any more, or is meant to be lost.
        unsafe { libc::close(fd) };
    }
}

fn close_all() {
    // SAFETY: takes numbers. What they stand for is meant to be lost.
    assert_eq!(unsafe { libc::close_range(3, !0, 0) }, 0);
}

/// Processor time of this process.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

/// What this process holds: what it is called with is run in it, a parent of workers that has none of its own to watch it... 
fn nothing_spins() {
    let before = cpu_time();
    thread::sleep(Duration::from_millis(300));
    let used = cpu_time() - before;
    assert!(used < Duration::from_millis(30), "{used:?} of processor time in 300 ms");
}
