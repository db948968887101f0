//! A worker of `init_in_tests!` runs before the standard library has prepared the program. It is to
//! find what a worker of a program with a `main` of its own finds.
#![expect(
    unsafe_code,
    reason = "streams that are closed, and what the kernel says of this process"
)]

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::thread;

use crate::common::{LIMIT, alone, assert_matches, within};
use coprocess::{Coprocess, Error, Reason};

/// Takes this much of the stack, or a little more. Returns how deep it went.
fn use_stack(bytes: usize) -> u64 {
    let top = 0_u8;
    deeper(&raw const top as usize, bytes, 0)
}

fn deeper(top: usize, bytes: usize, levels: u64) -> u64 {
    let frame = black_box([levels; 64]);
    if top - (&raw const frame as usize) > bytes {
        return levels;
    }
    black_box(deeper(top, bytes, frame[7] + 1).max(frame[63]))
}

fn worker(co: Coprocess) {
    co.serve("write", |(): ()| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        writer.write_all(b"x").map_err(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    });
    co.serve("name", |(): ()| thread::current().name().map(str::to_owned));
    co.serve("process name", |(): ()| std::fs::read_to_string("/proc/self/comm").unwrap());
    co.serve("use stack", |bytes: usize| use_stack(bytes));
    co.serve("null", |(): ()| {
        // SAFETY: all zeros is an address; nothing is there.
        unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
    });
    co.serve("panic", |(): ()| -> () { panic!("on purpose") });
    co.serve("streams", |(): ()| {
        (0..=2).map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()).collect::<Vec<_>>()
    });
}

#[test]
fn a_write_to_a_closed_pipe_is_an_error() {
    within(LIMIT, || {
        let co = coprocess::fork(worker).unwrap();
        assert_eq!(co.call::<Result<(), bool>>("write", ()).unwrap(), Err(true));
    });
}

#[test]
fn its_thread_is_named_main() {
    within(LIMIT, || {
        let co = coprocess::fork(worker).unwrap();
        assert_eq!(co.call::<Option<String>>("name", ()).unwrap().as_deref(), Some("main"));
        // The process has the program's name.
        let name = co.call::<String>("process name", ()).unwrap();
        assert!(name.starts_with(env!("CARGO_CRATE_NAME")), "{name}");
    });
}

/// Makes a copy of a stream.
fn copy(fd: RawFd) -> OwnedFd {
    // SAFETY: the process is the test's own, and nothing in it closes a stream meanwhile.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().unwrap()
}

/// What a descriptor's number stands for, with another file in its place until this is dropped.
struct Replaced {
    fd: RawFd,
    before: OwnedFd,
}

impl Replaced {
    fn new(fd: RawFd, by: &impl AsRawFd) -> Replaced {
        let before = copy(fd);
        // SAFETY: the process is this test's own: see `alone!`.
        assert_eq!(unsafe { libc::dup2(by.as_raw_fd(), fd) }, fd);
        Replaced { fd, before }
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::dup2(self.before.as_raw_fd(), self.fd) };
    }
}

/// Returns what a worker writes to its standard error until it has ended by this call, and how it
/// has ended.
fn last_words(method: &str, args: impl serde::Serialize) -> (String, Reason) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let co = {
        let _replaced = Replaced::new(2, &writer);
        coprocess::fork(worker).unwrap()
    };
    drop(writer);
    let error = co.call::<u64>(method, args).unwrap_err();
    let Error::Disconnected(reason) = error else { panic!("{error:?}") };
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    (said, reason)
}

#[test]
fn an_overflow_of_its_stack_says_so() {
    alone!({
        let (said, reason) = last_words("use stack", usize::MAX / 2);
        assert_eq!(reason, coprocess::Reason::Killed(libc::SIGABRT), "{said}");
        assert!(said.contains("thread 'main' has overflowed its stack"), "{said:?}");
    });
}

/// Any other fault is none of that.
#[test]
fn a_wrong_pointer_ends_it_without_a_word() {
    alone!({
        let (said, reason) = last_words("null", ());
        assert_eq!(reason, coprocess::Reason::Killed(libc::SIGSEGV), "{said}");
        assert_eq!(said, "");
    });
}

#[test]
fn its_panics_are_those_of_main() {
    alone!({
        let (mut reader, writer) = std::io::pipe().unwrap();
        let co = {
            let _replaced = Replaced::new(2, &writer);
            coprocess::fork(worker).unwrap()
        };
        drop(writer);
        assert!(matches!(co.call::<()>("panic", ()), Err(coprocess::Error::Remote { .. })));
        assert!(co.close().unwrap().unwrap().success());
        let mut said = String::new();
        std::io::Read::read_to_string(&mut reader, &mut said).unwrap();
        assert!(said.contains("thread 'main'") && said.contains("on purpose"), "{said:?}");
    });
}

/// Streams that were closed when the worker was started lead nowhere, and not to what the program
/// opens next.
#[test]
fn closed_streams_are_open() {
    alone!({
        for fd in 0..=2 {
            let before = copy(fd);
            // SAFETY: the process is this test's own.
            assert_eq!(unsafe { libc::close(fd) }, 0);
            let co = coprocess::fork(worker);
            // SAFETY: as above.
            assert_eq!(unsafe { libc::dup2(before.as_raw_fd(), fd) }, fd);
            let streams: Vec<Option<std::path::PathBuf>> = co.unwrap().call("streams", ()).unwrap();
            assert_eq!(
                streams[fd as usize].as_deref(),
                Some(std::path::Path::new("/dev/null")),
                "{fd}: {streams:?}"
            );
            assert!(streams.iter().all(Option::is_some), "{fd}: {streams:?}");
        }
        drop(File::open("/dev/null").unwrap());
    });
}

#[test]
fn its_stack_is_as_large_as_that_of_main() {
    within(LIMIT, || {
        let (limit, _) =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_STACK).unwrap();
        let bytes = usize::try_from(limit.min(64 << 20)).unwrap() / 4 * 3;
        let co = coprocess::fork(worker).unwrap();
        assert_matches!(co.call::<u64>("use stack", bytes), Ok(1..));
    });
}
