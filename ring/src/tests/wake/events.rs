//! Tests wake-ups by events, between two sides in one process: a proxy does for doorbells what the
//! futex does.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::tests::common::{Pair, backends};
use crate::wake::doorbell_id::DoorbellId;
use crate::wake::event::proxy::{PeerLiveness, ProxyState};
use crate::wake::event::raw_event::Event;
use crate::wake::event::waiters::Waiters;
use crate::wake::wait_end::WaitEnd;
use crate::{Backend, Segment, SegmentError, Side, Sleeper, Wakeup, Watch};

/// Returns a time so far away that only a lost wake-up reaches it.
fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(20))
}

/// Returns the threads of this process that have this name, as directories of /proc.
fn threads_named(name: &str) -> Vec<PathBuf> {
    let tasks =
        std::fs::read_dir("/proc/self/task").expect("proc").flatten().map(|task| task.path());
    tasks
        .filter(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        })
        .collect()
}

/// Starts a sleeper in a thread of its own. The channel tells what its sleep returns.
fn sleeper(pair: &Pair, sleeper: Sleeper) -> mpsc::Receiver<bool> {
    let watch = Watch::new(&pair.worker, Side::Worker);
    let (said, says) = mpsc::channel();
    watch.arm(sleeper);
    thread::spawn(move || said.send(watch.sleep(sleeper, soon()).expect("no futex, no error")));
    says
}

#[test]
fn each_side_wakes_the_other() {
    for &backend in backends() {
        let pair = Pair::of(backend, Wakeup::Event, 32);
        let mut slow = 0;
        for round in 0..100 {
            let start = Instant::now();
            let says = sleeper(&pair, Sleeper::Driver);
            assert!(
                pair.parent.data_doorbell(0).ring().unwrap(),
                "round {round}: it sleeps, or is about to"
            );
            assert!(says.recv_timeout(Duration::from_secs(30)).unwrap(), "round {round}");
            // The other doorbell, in the other direction.
            let watch = Watch::new(&pair.parent, Side::Parent);
            let (said, says) = mpsc::channel();
            watch.arm_for_space();
            thread::spawn(move || said.send(watch.sleep_for_space(soon()).unwrap()));
            assert!(pair.worker.space_doorbell(0).ring().unwrap());
            assert!(says.recv_timeout(Duration::from_secs(30)).unwrap(), "round {round}");
            slow += u32::from(start.elapsed() > Duration::from_millis(700));
        }
        // A sleeper that is not told finds out by itself within a second. That is for lost
        // wake-ups, of which there may be none here, but a loaded machine may dawdle.
        assert!(slow <= 2, "{slow} of 100 rounds took as long as without a wake-up");
    }
}

#[test]
fn no_event_is_set_for_a_side_that_does_not_sleep() {
    let pair = Pair::of(Backend::Memfd, Wakeup::Event, 32);
    assert!(!pair.parent.data_doorbell(0).ring().unwrap());
    let says = sleeper(&pair, Sleeper::Driver);
    assert!(pair.parent.data_doorbell(0).ring().unwrap());
    assert!(says.recv_timeout(Duration::from_secs(30)).unwrap());
    assert!(!pair.parent.data_doorbell(0).ring().unwrap(), "once is enough");
}

/// The mark names the sleeper that is meant, through the event as through the futex.
#[test]
fn only_the_one_whose_mark_is_up_is_woken() {
    let pair = Pair::of(Backend::Memfd, Wakeup::Event, 32);
    let driver = sleeper(&pair, Sleeper::Driver);
    let watch = Watch::new(&pair.worker, Side::Worker);
    let waiter = sleeper(&pair, Sleeper::Waiter);
    assert!(pair.parent.data_doorbell(0).ring().unwrap());
    assert!(waiter.recv_timeout(Duration::from_secs(30)).unwrap());
    // The driver may have come too late to sleep: the waiter's mark was in the word then.
    let until = Instant::now() + Duration::from_secs(20);
    while driver.try_recv().is_err() {
        assert!(Instant::now() < until, "a wake-up of this process does not come through");
        watch.wake_local(Sleeper::Driver).unwrap();
    }
}

/// A sleep ends by the monotonic clock, to the millisecond, although events are waited for in whole
/// seconds.
#[test]
fn a_sleep_ends_at_its_deadline_and_not_before() {
    let pair = Pair::of(Backend::Memfd, Wakeup::Event, 32);
    let watch = Watch::new(&pair.worker, Side::Worker);
    for milliseconds in [0, 1, 30, 130] {
        watch.arm(Sleeper::Waiter);
        let deadline = Instant::now() + Duration::from_millis(milliseconds);
        assert!(!watch.sleep(Sleeper::Waiter, Some(deadline)).unwrap());
        assert!(Instant::now() >= deadline);
    }
}

/// The package adds a time to the present one without a carry. Waits that end in the next second
/// would end at once, and a loop of them would spin.
#[test]
fn an_idle_side_wakes_up_once_a_second() {
    let before = threads_named("coprocess-hear");
    let pair = Pair::of(Backend::Memfd, Wakeup::Event, 32);
    let mut listeners = Vec::new();
    let until = Instant::now() + Duration::from_secs(20);
    while listeners.len() < 2 {
        assert!(Instant::now() < until, "it has no listeners");
        thread::sleep(Duration::from_millis(5));
        listeners = threads_named("coprocess-hear")
            .into_iter()
            .filter(|task| !before.contains(task))
            .collect();
    }
    // Threads of other tests may be among them, and busy: the two that sleep most belong to this
    // pair.
    let start = Instant::now();
    let sleeps: Vec<u64> = listeners.iter().filter_map(|task| sleeps_of(task)).collect();
    thread::sleep(Duration::from_millis(3500));
    let mut more: Vec<u64> = listeners
        .iter()
        .zip(sleeps)
        .filter_map(|(task, before)| Some(sleeps_of(task)? - before))
        .collect();
    more.sort_unstable();
    let most = 2 * start.elapsed().as_secs() + 2;
    assert!(
        more.len() >= 2 && more[..2].iter().all(|sleeps| (1..=most).contains(sleeps)),
        "sleeps in 3.5 s: {more:?}"
    );
    drop(pair);
}

/// Returns how often a thread has gone to sleep.
fn sleeps_of(task: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(task.join("status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?
        .trim()
        .parse()
        .ok()
}

#[test]
fn the_threads_end_with_the_pair() {
    let until = Instant::now() + Duration::from_secs(40);
    let wait_for = |what: &str, number: &dyn Fn(usize) -> bool| {
        for name in ["coprocess-ring", "coprocess-hear"] {
            while !number(threads_named(name).len()) {
                assert!(
                    Instant::now() < until,
                    "{what}: {} threads {name}",
                    threads_named(name).len()
                );
                thread::sleep(Duration::from_millis(10));
            }
        }
    };
    // Other tests have such threads, too, but not so many. Each pair has two of a kind here, so
    // even one thread left behind by each is far more.
    let pairs: Vec<Pair> = (0..100).map(|_| Pair::of(Backend::Memfd, Wakeup::Event, 32)).collect();
    wait_for("begun", &|count| count >= 200);
    drop(pairs);
    wait_for("ended", &|count| count < 60);
}

/// Makes the proxy of the parent without its threads, and the event of the worker.
fn by_hand() -> (ProxyState, Event) {
    let memory = Pair::of(Backend::Memfd, Wakeup::Futex, 32).parent.memory();
    let event = |of, make| Event::at(memory.clone(), of, make).unwrap();
    let state = ProxyState::new(
        memory.clone(),
        Side::Parent,
        event(Side::Parent, true),
        event(Side::Worker, true),
    );
    let workers = event(Side::Worker, false);
    (state, workers)
}

#[test]
fn any_number_of_wake_ups_is_one_setting() {
    let (state, event) = by_hand();
    for mark in [1, 2, 1] {
        state.wake_peer(DoorbellId::data(0), mark);
    }
    assert!(state.ringer_round());
    assert!(event.wait(10));
    assert_eq!(state.pending_marks(DoorbellId::data(0)).load(Ordering::SeqCst), 3);
    assert!(!event.wait(1), "once is enough");
}

#[test]
fn an_event_is_not_set_for_the_dead() {
    // What stands for the process is readable once that has ended. The lifeline is hung up, and may
    // hold something to read before.
    for ends in ["the process", "the lifeline"] {
        let (state, event) = by_hand();
        let ((process, of_process), (lifeline, mut of_lifeline)) =
            (std::io::pipe().unwrap(), UnixStream::pair().unwrap());
        state.set_peer_liveness(PeerLiveness {
            process: Some(process.into()),
            lifeline: lifeline.into(),
        });
        of_lifeline.write_all(b"of no interest").unwrap();
        state.wake_peer(DoorbellId::data(0), 1);
        assert!(state.ringer_round());
        assert!(event.wait(10), "the peer lives");
        if ends == "the process" {
            drop(of_process)
        } else {
            drop(of_lifeline)
        }
        state.wake_peer(DoorbellId::data(0), 1);
        assert!(state.ringer_round());
        assert!(!event.wait(1), "{ends} has ended");
    }
}

/// The same bytes may mean something else to another library, or nothing.
#[test]
fn events_of_another_c_library_are_refused() {
    let (ours, segment) = Segment::create(Backend::Memfd, Wakeup::Event, 4096).unwrap();
    let file = || segment.file().unwrap().try_clone_to_owned().unwrap();
    let attach = || Segment::attach(segment.kind(), segment.name(), Some(file()), 4096);
    drop(attach().unwrap());
    // The last word of the header, above the number of the kind.
    std::os::unix::fs::FileExt::write_all_at(&std::fs::File::from(file()), &[0xa5, 0x5a], 40 + 1)
        .unwrap();
    match attach() {
        Err(SegmentError::Foreign(what)) => assert!(what.contains("C library"), "{what}"),
        other => panic!("{other:?}"),
    }
    drop(ours);
}

#[test]
fn waiters_take_no_sleeper_whose_mark_is_gone() {
    let waiters = Waiters::new();
    let word = AtomicU32::new(0);
    assert_eq!(waiters.wait(DoorbellId::data(0), &word, 1, None), WaitEnd::Recheck);
    assert_eq!(waiters.wake(DoorbellId::data(0), u32::MAX), 0);
    word.store(1, Ordering::Relaxed);
    assert_eq!(
        waiters.wait(DoorbellId::data(0), &word, 1, Some(Instant::now())),
        WaitEnd::TimedOut
    );
    assert_eq!(
        waiters.wake(DoorbellId::data(0), u32::MAX),
        0,
        "a sleeper that has left is not woken"
    );
}
