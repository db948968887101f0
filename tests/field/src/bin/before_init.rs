//! Does something before `init()` that it should not, as the argument says. A worker has no
//! arguments: it finds in a variable what to do.
#![expect(unsafe_code, reason = "descriptors that belong to others")]

use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;
use std::time::{Duration, Instant};

use coprocess::Builder;

/// Waits, in the ways that a worker has before its `init`.
fn wait_until(done: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < patience, "nothing happens");
        std::thread::yield_now();
    }
}

/// Ends like a parent that is killed while a child of a plain fork(2) has its end of the socket.
/// The end comes once the worker says, by making a file, that it has not called `init` yet.
fn die_beside_a_child(started: &str) -> ! {
    wait_until(|| std::fs::exists(started).unwrap_or(false));
    // SAFETY: the child calls only what a child of a process with threads may call.
    if unsafe { libc::fork() } == 0 {
        for stream in 0..=2 {
            // SAFETY: nothing uses them. The test waits for the end of its streams, and kills this
            // child.
            unsafe { libc::close(stream) };
        }
        // SAFETY: takes a number.
        unsafe { libc::alarm(60) };
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    let this = libc::pid_t::try_from(std::process::id()).expect("a process id");
    // SAFETY: ends this process.
    unsafe { libc::kill(this, libc::SIGKILL) };
    std::process::abort()
}

fn main() {
    let how = std::env::var("HOW").unwrap_or_default();
    match how.as_str() {
        "closes" => {
            // SAFETY: closes what others have opened: this is what the test is about.
            assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) }, 0)
        }
        "helps itself" => {
            let helper = std::env::var("HELPER").expect("another program, with its arguments");
            let mut helper = helper.split(' ');
            let mut command = Command::new(helper.next().expect("its name"));
            command.args(helper).env_remove("HOW");
            if let Ok(user) = std::env::var("HELPER_USER") {
                command.uid(user.parse().expect("a number"));
            }
            let output = command.output().expect("the helper");
            // To the standard error: the helper's own lines, and how it ended.
            eprintln!(
                "helper: {} {}",
                output.status,
                String::from_utf8_lossy(&output.stdout).replace('\n', "; ")
            );
        }
        "is orphaned" => {
            let parent = parent_id();
            std::fs::write(std::env::var("STARTED").expect("a file"), "").expect("written");
            wait_until(|| parent_id() != parent);
        }
        _ => {}
    }
    if how != "forgets" {
        coprocess::init();
    }
    println!("main runs");
    let how = std::env::args().nth(1).unwrap_or_else(|| "nothing".to_owned());
    if how == "is orphaned" {
        let started = std::env::var("STARTED").expect("a file");
        std::thread::spawn(move || die_beside_a_child(&started));
    }
    let co = Builder::new().env("HOW", how).fork(|co| {
        co.serve("one", |(): ()| 1);
    });
    match co {
        Ok(co) => println!("{:?}", co.call::<i32>("one", ())),
        Err(error) => println!("{error}"),
    }
}
