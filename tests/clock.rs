//! A wall clock that jumps. This program has a wall clock of its own, which leaps back and forth by
//! years each time it is read, in the parent and in the worker. Deadlines hold nevertheless, and
//! the library never reads that clock.
//!
//! A binary of its own: the clock is that of the whole program.

mod common;

use std::fs;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::{AT_ONCE, LIMIT, SMALL_RING, assert_matches, eventually, fresh_path, touch, within};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, WaitStrategy};

coprocess::init_in_tests!();

/// How often code in this process has asked for the time of day.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// Replaces the function of the C library for all code of this program that is linked with it: the
/// standard library, and the library under test.
///
/// # Safety
///
/// `time` is valid for a write.
#[expect(unsafe_code, reason = "a function of the C library is replaced")]
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    let mut real = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: writes to the place that it is given, or nothing and fails.
    if unsafe { libc::syscall(libc::SYS_clock_gettime, clock, real.as_mut_ptr()) } != 0 {
        return -1;
    }
    // SAFETY: written by the kernel.
    let mut real = unsafe { real.assume_init() };
    if matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI) {
        let look = LOOKS.fetch_add(1, Ordering::Relaxed);
        let years = (look.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60).cast_signed() - 8;
        real.tv_sec += years * 365 * 86_400;
    }
    // SAFETY: as the caller promises.
    unsafe { ptr::write(time, real) };
    0
}

fn looks() -> u64 {
    LOOKS.load(Ordering::Relaxed)
}

/// The replacement is the one that is called.
#[test]
fn it_does_jump() {
    // Not beside the other test, which counts.
    let process = coprocess::fork(|parent| {
        parent.serve("times", |()| {
            let before = looks();
            let times: Vec<SystemTime> = (0..20).map(|_| SystemTime::now()).collect();
            assert_eq!(looks() - before, 20);
            assert!(!times.is_sorted());
            let range =
                times.iter().max().unwrap().duration_since(*times.iter().min().unwrap()).unwrap();
            assert!(range > Duration::from_secs(365 * 86_400), "{range:?}");
            let start = Instant::now();
            assert!(start.elapsed() < AT_ONCE);
        });
    })
    .unwrap();
    process.call::<()>("times", ()).unwrap();
}

fn sleeper(parent: Coprocess) {
    parent
        .serve("double", |x: u64| x * 2)
        .serve("looks", |()| looks())
        .listen("sleep", |millis: u64| std::thread::sleep(Duration::from_millis(millis)))
        .listen("wait for", |file: PathBuf| eventually("the file is there", || file.exists()))
        .serve("be called", |()| ());
    let end = parent.downgrade();
    parent.serve("call back", move |()| {
        end.upgrade().unwrap().call_timeout::<u64>("double", 4_u64, AT_ONCE).unwrap()
    });
}

/// Runs what ends with [`Error::Timeout`], and fails if it does not end when it should.
#[track_caller]
fn assert_times_out<T: std::fmt::Debug>(operation: impl FnOnce(Duration) -> coprocess::Result<T>) {
    let timeout = Duration::from_millis(30);
    let start = Instant::now();
    assert_matches!(operation(timeout), Err(Error::Timeout));
    let took = start.elapsed();
    assert!((timeout..AT_ONCE).contains(&took), "{took:?}");
}

#[test]
fn deadlines_hold_and_nobody_looks() {
    within(LIMIT, || {
        let before = looks();
        for strategy in [WaitStrategy::Adaptive, WaitStrategy::Block, WaitStrategy::Spin] {
            let close_timeout = Duration::from_millis(60);
            let worker = Builder::new()
                .ring_capacity(SMALL_RING)
                .wait(strategy)
                .close_timeout(close_timeout)
                .fork(sleeper)
                .unwrap();
            worker.serve("double", |x: u64| x * 2);
            assert_eq!(worker.call::<u64>("call back", ()).unwrap(), 8);
            for x in 0..1000_u64 {
                assert_eq!(worker.call_timeout::<u64>("double", x, AT_ONCE).unwrap(), x * 2);
            }
            let operations: [&dyn Fn(Duration) -> coprocess::Result<u64>; 3] = [
                &|timeout| worker.call_timeout("double", 1_u64, timeout),
                &|timeout| worker.start("double", 1_u64).unwrap().wait_timeout(timeout),
                // Does not fit into the ring.
                &|timeout| {
                    worker
                        .emit_timeout("unheard", ByteBuf::from(vec![0; 100_000]), timeout)
                        .map(|()| 0)
                },
            ];
            for operation in operations {
                // Past the deadline, however busy the machine is.
                let over = fresh_path("over");
                worker.emit("wait for", &over).unwrap();
                assert_times_out(operation);
                touch(&over);
                assert_eq!(worker.call::<u64>("double", 5_u64).unwrap(), 10);
                fs::remove_file(over).unwrap();
            }
            // Events do, to wait for a second; no deadline hangs on it.
            if !cfg!(coprocess_second_backend) {
                assert_eq!(
                    worker.call::<u64>("looks", ()).unwrap(),
                    0,
                    "the worker's end has looked at the time of day"
                );
            }
            // The watcher's deadlines: SIGTERM after one timeout ends a worker that sleeps in a
            // handler.
            worker.emit("sleep", 100_000_u64).unwrap();
            let start = Instant::now();
            assert!(!worker.close().unwrap().unwrap().success());
            assert!((close_timeout..AT_ONCE).contains(&start.elapsed()), "{:?}", start.elapsed());
        }
        if !cfg!(coprocess_second_backend) {
            assert_eq!(looks(), before, "this end has looked at the time of day");
        }
    });
}

/// What would make the kernel, too, count by the time of day, or read it by another way.
const WALL_CLOCKS: [&str; 9] = [
    "SystemTime",
    "UNIX_EPOCH",
    "CLOCK_REALTIME",
    "CLOCK_TAI",
    "gettimeofday",
    "libc::time(",
    "FUTEX_WAIT,",
    "FUTEX_LOCK_PI",
    "pthread_cond_timedwait",
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whole words of code, comments left out.
#[test]
fn the_sources_name_no_wall_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("ring/src"), &mut files);
    let mut monotonic = 0;
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for clock in WALL_CLOCKS {
                assert!(!code.contains(clock), "{}:{}: {clock}", file.display(), number + 1);
            }
            monotonic += usize::from(code.contains("CLOCK_MONOTONIC"))
                + usize::from(code.contains("FUTEX_WAIT_BITSET,"));
        }
    }
    assert!(files.len() > 30, "the sources are elsewhere: {files:?}");
    // The one wait of the ring: absolute, by the monotonic clock, since the flag for the wall clock
    // is not given. And the clock of a host, with its tests.
    assert_eq!(monotonic, 2 + 3);
}
