//! What a worker process may use: set before its function runs, and reported when it has ended the
//! worker.

#![expect(unsafe_code, reason = "children of a plain fork(2)")]

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use crate::common::{
    self, Held, LIMIT, alone, assert_matches, program, role, serve_parent, within,
};
use coprocess::{Builder, Coprocess, Error, ForkError, Limit, Limits, Output, Reason};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("plain") => serve_parent(plain),
        Some(other) => unreachable!("{other}"),
    }
}

const ALL: [Resource; 6] = [
    Resource::RLIMIT_AS,
    Resource::RLIMIT_CPU,
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_CORE,
];

fn all() -> Vec<(u64, u64)> {
    ALL.iter().map(|resource| getrlimit(*resource).unwrap()).collect()
}

fn plain(parent: Coprocess) {
    parent
        .serve("limits", |(): ()| all())
        .listen("allocate", |bytes: usize| {
            black_box(vec![1_u8; bytes]);
        })
        .listen("allocate all", |(): ()| {
            let mut kept: Vec<Vec<u8>> = Vec::new();
            loop {
                kept.push(black_box(vec![1; 1 << 16]));
            }
        })
        .serve("fill", |bytes: usize| {
            let mut kept = Vec::new();
            // Until so much could not be had.
            while Vec::<u8>::new().try_reserve_exact(bytes).is_ok() {
                kept.push(vec![1_u8; 1 << 16]);
            }
            std::mem::forget(kept);
        })
        .listen("abort", |(): ()| std::process::abort())
        .listen("overflow", |(): ()| {
            #[expect(unconditional_recursion, reason = "that is what is wanted")]
            fn deeper(level: u64) -> u64 {
                black_box(black_box([level; 64])[1]) + deeper(black_box(level + 1))
            }
            deeper(0);
        })
        .listen("abort in a child", |(): ()| {
            // SAFETY: the child calls only what a child of a process with threads may call.
            match unsafe { libc::fork() } {
                0 => {
                    // As the standard library does where an allocation fails.
                    std::alloc::handle_alloc_error(std::alloc::Layout::new::<u64>())
                }
                child => {
                    let mut status = 0;
                    // SAFETY: the kernel writes to `status`, which outlives the call.
                    unsafe { libc::waitpid(child, &mut status, 0) };
                    assert_eq!(status & 0x7f, libc::SIGABRT);
                    std::process::abort();
                }
            }
        })
        .listen("panic in a panic", |(): ()| {
            struct Bomb;
            impl Drop for Bomb {
                fn drop(&mut self) {
                    panic!("the second");
                }
            }
            let _bomb = Bomb;
            panic!("the first");
        })
        .listen("spin", |(): ()| {
            let mut number = 0_u64;
            loop {
                number = black_box(number.wrapping_add(1));
            }
        })
        .listen("write", |(path, bytes): (String, usize)| {
            let mut file = std::fs::File::create(path).unwrap();
            file.write_all(&vec![1; bytes]).unwrap();
        })
        .serve("open", |count: usize| {
            (0..count)
                .map_while(|_| std::fs::File::open("/dev/null").ok())
                .collect::<Vec<_>>()
                .len()
        });
}

fn limited(limits: Limits) -> Builder {
    common::patient().stderr(Output::Tail(10_000)).limits(limits.core(0))
}

/// Starts a worker of either kind.
fn start(builder: Builder, spawned: bool) -> coprocess::Result<Coprocess> {
    if spawned { builder.spawn(program!("plain")) } else { builder.fork(plain) }
}

fn end_of(co: &Coprocess) -> Reason {
    let Err(Error::Disconnected(reason)) = co.run() else { panic!("it did not die") };
    let (tell, told) = std::sync::mpsc::channel();
    co.on_end(move |reason| tell.send(reason).unwrap());
    assert_eq!(common::next(&told), reason);
    reason
}

#[test]
fn limits_hold_before_the_function_runs() {
    within(LIMIT, || {
        let limits = Limits::new()
            .memory(8 << 30)
            .cpu_time(Duration::from_millis(100_001))
            .open_files(77)
            .processes(30_000)
            .file_size(1 << 20)
            .core(0);
        let right = vec![
            (8 << 30, 8 << 30),
            (101, 102),
            (77, 77),
            (30_000, 30_000),
            (1 << 20, 1 << 20),
            (0, 0),
        ];
        let forked = common::patient()
            .limits(limits)
            .fork(|co| {
                let first = all();
                co.serve("limits", move |(): ()| first.clone());
            })
            .unwrap();
        assert_eq!(forked.call::<Vec<(u64, u64)>>("limits", ()).unwrap(), right);
        let spawned = common::patient().limits(limits).spawn(program!("plain")).unwrap();
        assert_eq!(spawned.call::<Vec<(u64, u64)>>("limits", ()).unwrap(), right);
        // What is not set is inherited.
        let plain = common::patient().limits(Limits::new()).fork(plain).unwrap();
        assert_eq!(plain.call::<Vec<(u64, u64)>>("limits", ()).unwrap(), all());
    });
}

#[test]
fn memory() {
    within(LIMIT, || {
        for spawned in [false, true] {
            for (event, argument) in [("allocate", Some(4_usize << 30)), ("allocate all", None)] {
                let co = start(limited(Limits::new().memory(2 << 30)), spawned).unwrap();
                match argument {
                    Some(bytes) => co.emit(event, bytes).unwrap(),
                    None => co.emit(event, ()).unwrap(),
                }
                // With musl no frames can be seen behind that of a signal: see `Limits::memory`.
                let reason = if cfg!(target_env = "gnu") {
                    Reason::LimitExceeded(Limit::Memory)
                } else {
                    Reason::Killed(6)
                };
                assert_eq!(end_of(&co), reason, "{event}, {}", co.last_output());
                assert!(co.last_output().contains("memory allocation of"), "{}", co.last_output());
            }
        }
    });
}

/// An abort for another reason, also where memory is scarce, is no more than that.
#[test]
fn other_aborts_are_no_limit() {
    within(LIMIT, || {
        for event in ["abort", "panic in a panic", "overflow", "abort in a child"] {
            for scarce in [false, true] {
                let co = limited(Limits::new().memory(1 << 30)).fork(plain).unwrap();
                if scarce {
                    co.call::<()>("fill", 8_usize << 20).unwrap();
                }
                co.emit(event, ()).unwrap();
                assert_eq!(end_of(&co), Reason::Killed(6), "{event}");
            }
        }
        for spawned in [false, true] {
            let co = start(limited(Limits::new().memory(1 << 30)), spawned).unwrap();
            // By another process: it does not go on.
            common::signal(&co, nix::sys::signal::Signal::SIGABRT);
            assert_eq!(end_of(&co), Reason::Killed(6));
            let co = start(limited(Limits::new().memory(1 << 30)), spawned).unwrap();
            co.emit("overflow", ()).unwrap();
            assert_eq!(end_of(&co), Reason::Killed(6));
            assert!(co.last_output().contains("has overflowed its stack"), "{}", co.last_output());
        }
        // Nor is it one, where none was set: the kernel refuses so much in any case.
        let co = limited(Limits::new()).fork(plain).unwrap();
        co.emit("allocate", usize::MAX / 4).unwrap();
        assert_eq!(end_of(&co), Reason::Killed(6));
    });
}

#[test]
fn processor_time() {
    within(LIMIT, || {
        let co = limited(Limits::new().cpu_time(Duration::from_millis(1))).fork(plain).unwrap();
        co.emit("spin", ()).unwrap();
        assert_eq!(end_of(&co), Reason::LimitExceeded(Limit::CpuTime));
        assert_eq!(
            Reason::LimitExceeded(Limit::CpuTime).to_string(),
            "the worker was ended by its limit of processor time"
        );
        // The signal by itself is no limit.
        let co = limited(Limits::new()).fork(plain).unwrap();
        common::signal(&co, nix::sys::signal::Signal::SIGXCPU);
        assert_eq!(end_of(&co), Reason::Killed(libc::SIGXCPU));
    });
}

#[test]
fn file_size() {
    within(LIMIT, || {
        let path = common::fresh_path("large");
        let co = limited(Limits::new().file_size(10_000)).fork(plain).unwrap();
        co.emit("write", (path.to_str().unwrap(), 20_000_usize)).unwrap();
        assert_eq!(end_of(&co), Reason::LimitExceeded(Limit::FileSize));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 10_000);
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn open_files() {
    within(LIMIT, || {
        let co = limited(Limits::new().open_files(40)).fork(plain).unwrap();
        let opened: usize = co.call("open", 100_usize).unwrap();
        assert!(opened < 40, "{opened}");
        assert!(co.close().unwrap().unwrap().success());
    });
}

/// As a user without privileges, which cannot raise what was lowered.
#[test]
fn what_the_system_refuses_is_an_error() {
    within(LIMIT, || {
        alone!({
            drop(coprocess::fork(plain).unwrap().close());
            setrlimit(Resource::RLIMIT_FSIZE, 1 << 30, 1 << 30).unwrap();
            if nix::unistd::getuid().is_root() {
                nix::unistd::setgid(nix::unistd::Gid::from_raw(65_534)).unwrap();
                nix::unistd::setuid(nix::unistd::Uid::from_raw(65_534)).unwrap();
            }
            let before = Held::settled();
            for spawned in [false, true] {
                let refused =
                    start(Builder::new().limits(Limits::new().file_size(1 << 31)), spawned);
                let Err(Error::Fork { cause: ForkError::Setup { action, source }, .. }) = refused
                else {
                    panic!("{refused:?}")
                };
                assert_eq!(
                    (action, source.raw_os_error()),
                    ("set the limits of the worker process", Some(libc::EPERM))
                );
                before.again("a limit that was refused");
            }
            // As much as is allowed is no raise.
            let co = Builder::new().limits(Limits::new().file_size(1 << 30)).fork(plain).unwrap();
            assert_matches!(co.close(), Ok(Some(_)));
        });
    });
}

/// Less than it takes to attach.
#[test]
fn a_worker_that_cannot_even_attach() {
    within(LIMIT, || {
        alone!({
            drop(coprocess::fork(plain).unwrap().close());
            let before = Held::settled();
            for limits in [Limits::new().memory(1 << 20), Limits::new().open_files(1)] {
                let failed = Builder::new().stderr(Output::Null).limits(limits).fork(plain);
                assert_matches!(failed, Err(Error::Fork { .. }));
                before.again("limits that are too low");
            }
        });
    });
}
