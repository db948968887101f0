//! Storms of signals, whose handlers make every system call that can be interrupted fail with
//! EINTR. Results are right, deadlines hold, and nothing is left over. Both processes are hit, all
//! threads of each.

use std::fs;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::{
    self, AT_ONCE, Held, LIMIT, SMALL_RING, alone, assert_matches, at_once, eventually, next,
    pattern, within,
};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Builder, Coprocess, Error, ForkError, Reply, WaitStrategy};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static STRUCK: AtomicU64 = AtomicU64::new(0);

extern "C" fn strike(_: i32) {
    STRUCK.fetch_add(1, Ordering::Relaxed);
}

/// Strikes every thread of this process, again and again, until it is over.
struct Storm {
    over: &'static AtomicBool,
    thread: JoinHandle<()>,
}

/// Between two strikes at the same thread, at least: so that there is time for some progress.
const PAUSE: Duration = Duration::from_micros(100);

impl Storm {
    #[expect(unsafe_code, reason = "handlers of signals, and signals to a thread")]
    fn begin() -> Storm {
        for signal in [Signal::SIGUSR1, Signal::SIGALRM] {
            // No SA_RESTART.
            let action =
                SigAction::new(SigHandler::Handler(strike), SaFlags::empty(), SigSet::empty());
            // SAFETY: the handler does nothing but add to an atomic.
            unsafe { sigaction(signal, &action) }.unwrap();
        }
        let over: &AtomicBool = Box::leak(Box::default());
        let thread = thread::Builder::new().name("storm".to_owned()).spawn(|| {
            let own = nix::unistd::gettid().as_raw();
            while !over.load(Ordering::SeqCst) {
                let threads = fs::read_dir("/proc/self/task").unwrap();
                for thread in threads
                    .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
                {
                    for signal in
                        [libc::SIGUSR1, libc::SIGALRM].into_iter().filter(|_| thread != own)
                    {
                        // SAFETY: takes numbers only. A thread that has ended meanwhile is an error
                        // without consequence.
                        unsafe { libc::syscall(libc::SYS_tgkill, process::id(), thread, signal) };
                    }
                }
                thread::sleep(PAUSE);
            }
        });
        Storm { over, thread: thread.unwrap() }
    }

    fn end(self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
    }
}

fn worker(parent: Coprocess) {
    // For the rest of the process's life.
    Storm::begin();
    parent
        .serve("double", |x: u64| x * 2)
        .serve("echo", |bytes: ByteBuf| bytes)
        .serve_deferred("later", |x: u64, reply: Reply<u64>| {
            drop(thread::spawn(move || reply.send(x * 2)))
        })
        .serve_deferred("never", |(), reply: Reply<()>| std::mem::forget(reply))
        .serve("struck", |()| STRUCK.load(Ordering::Relaxed));
    let end = parent.downgrade();
    parent.try_serve("nested", move |depth: u64| match depth {
        0 => Ok(0),
        _ => end.upgrade().unwrap().call::<u64>("nested", depth - 1).map(|sum| sum + depth),
    });
    let (sender, numbers) = mpsc::channel::<u64>();
    parent.listen("number", move |(number, _): (u64, ByteBuf)| sender.send(number).unwrap());
    let numbers = std::sync::Mutex::new(numbers);
    parent.serve("in order", move |count: u64| numbers.lock().unwrap().try_iter().eq(0..count));
    parent.clone().serve("send back", move |count: u64| {
        for number in 0..count {
            parent.emit("number", (number, Bytes::new(&[7; 300]))).unwrap();
        }
    });
}

/// Checks that a wait times out at its deadline, and not long after.
#[track_caller]
fn times_out<T: std::fmt::Debug>(deadline: Duration, wait: impl FnOnce() -> coprocess::Result<T>) {
    let start = Instant::now();
    assert_matches!(wait(), Err(Error::Timeout));
    let took = start.elapsed();
    assert!(took >= deadline && took < deadline + AT_ONCE, "{took:?}");
}

/// Does all that a pair can do, once.
fn exercise(strategy: WaitStrategy, capacity: usize) {
    let worker = common::patient().wait(strategy).ring_capacity(capacity).fork(worker).unwrap();
    let end = worker.downgrade();
    worker.try_serve("nested", move |depth: u64| match depth {
        0 => Ok(0),
        _ => end.upgrade().unwrap().call::<u64>("nested", depth - 1).map(|sum| sum + depth),
    });
    let numbers = common::inbox::<(u64, ByteBuf)>(&worker, "number");
    for number in 0..300_u64 {
        assert_eq!(worker.call::<u64>("double", number).unwrap(), number * 2);
        assert_eq!(worker.call_timeout::<u64>("later", number, LIMIT).unwrap(), number * 2);
    }
    let calls: Vec<_> =
        (0..300_u64).map(|number| worker.start::<u64>("later", number).unwrap()).collect();
    assert!(
        calls.into_iter().map(|call| call.wait().unwrap()).eq((0..300).map(|number| number * 2))
    );
    for size in [100, 30_000, 2_000_000] {
        let bytes = pattern(size, size);
        assert!(worker.call::<ByteBuf>("echo", Bytes::new(&bytes)).unwrap() == bytes);
    }
    assert_eq!(worker.call::<u64>("nested", 20_u64).unwrap(), (0..=20).sum());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                (0..200_u64)
                    .for_each(|x| assert_eq!(worker.call::<u64>("double", x).unwrap(), 2 * x))
            });
        }
    });
    const COUNT: u64 = 3000;
    for number in 0..COUNT {
        worker.emit("number", (number, Bytes::new(&[7; 300]))).unwrap();
    }
    assert!(worker.call::<bool>("in order", COUNT).unwrap());
    worker.call::<()>("send back", COUNT).unwrap();
    assert!((0..COUNT).all(|number| next(&numbers).0 == number));

    let deadline = Duration::from_millis(30);
    times_out(deadline, || worker.call_timeout::<()>("never", (), deadline));
    times_out(deadline, || worker.start::<()>("never", ()).unwrap().wait_timeout(deadline));
    assert!(worker.call::<u64>("struck", ()).unwrap() > 100);
    assert!(at_once(|| worker.close()).unwrap().unwrap().success());
}

#[test]
fn while_pairs_live() {
    within(LIMIT, || {
        alone!({
            let before = Held::now();
            let storm = Storm::begin();
            for strategy in [WaitStrategy::Adaptive, WaitStrategy::Block, WaitStrategy::Spin] {
                for capacity in [SMALL_RING, 256 * 1024] {
                    exercise(strategy, capacity);
                }
            }
            storm.end();
            assert!(STRUCK.load(Ordering::Relaxed) > 1000);
            before.again("a storm");
        });
    });
}

/// Older kernels give up what they have reserved for a large ring at any signal.
#[test]
fn while_pairs_begin_and_end() {
    within(LIMIT, || {
        alone!({
            let before = Held::now();
            let storm = Storm::begin();
            for round in 0..30 {
                let capacity = if round % 10 == 0 { 64 << 20 } else { 1 << 20 };
                let pair = common::patient().ring_capacity(capacity).fork(worker).unwrap();
                assert_eq!(pair.call::<u64>("double", 4_u64).unwrap(), 8);
                match round % 3 {
                    0 => assert!(at_once(|| pair.close()).unwrap().unwrap().success()),
                    1 => pair.kill().unwrap(),
                    _ => {}
                }
                drop(pair);
                let mut sleeper = process::Command::new("sleep");
                sleeper.arg("1000");
                let never = Builder::new().fork_timeout(Duration::from_millis(20)).spawn(sleeper);
                assert_matches!(never, Err(Error::Fork { cause: ForkError::NeverAttached(_), .. }));
                let missing = coprocess::spawn(process::Command::new("/nonexistent/worker"));
                assert_matches!(missing, Err(Error::Fork { cause: ForkError::Exec(_), .. }));
            }
            eventually("everything is over", || Held::now().children == 0);
            storm.end();
            before.again("a storm");
        });
    });
}
