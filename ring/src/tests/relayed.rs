//! Wake-ups by events, between two sides in one process: what the futex does for bells, done by a relay.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::common::{Pair, backends};
use crate::event::Event;
use crate::lot::Lot;
use crate::relay::Exchange;
use crate::wakeup::{Ended, Place};
use crate::{Backend, Side, Sleeper, Wakeup, Watch};

/// Far enough that only a lost wake-up reaches it.
fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(20))
}

fn threads_named(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc");
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// A sleeper in a thread of its own, and what its sleep says.
fn sleeper(pair: &Pair, who: Sleeper) -> mpsc::Receiver<bool> {
    let watch = Watch::new(&pair.worker, Side::Worker);
    let (said, says) = mpsc::channel();
    watch.arm(who);
    thread::spawn(move || said.send(watch.sleep(who, soon()).expect("no futex, no error")));
    says
}

#[test]
fn each_side_wakes_the_other() {
    for &backend in backends() {
        let pair = Pair::of(backend, Wakeup::Event, 32);
        for round in 0..100 {
            let says = sleeper(&pair, Sleeper::Resident);
            assert!(pair.parent.data_bell(0).ring().unwrap(), "round {round}: it sleeps, or is about to");
            assert!(says.recv_timeout(Duration::from_secs(30)).unwrap(), "round {round}");
            // The other bell, the other direction.
            let watch = Watch::new(&pair.parent, Side::Parent);
            let (said, says) = mpsc::channel();
            watch.arm_for_room();
            thread::spawn(move || said.send(watch.sleep_for_room(soon()).unwrap()));
            assert!(pair.worker.room_bell(0).ring().unwrap());
            assert!(says.recv_timeout(Duration::from_secs(30)).unwrap(), "round {round}");
        }
    }
}

#[test]
fn nobody_is_rung_for_who_does_not_sleep() {
    let pair = Pair::of(Backend::Memfd, Wakeup::Event, 32);
    assert!(!pair.parent.data_bell(0).ring().unwrap());
    let says = sleeper(&pair, Sleeper::Resident);
    assert!(pair.parent.data_bell(0).ring().unwrap());
    assert!(says.recv_timeout(Duration::from_secs(30)).unwrap());
    assert!(!pair.parent.data_bell(0).ring().unwrap(), "once is enough");
}

/// The mark names who is meant, through the event as through the futex.
#[test]
fn only_the_one_whose_mark_is_up_is_woken() {
    let pair = Pair::of(Backend::Memfd, Wakeup::Event, 32);
    let resident = sleeper(&pair, Sleeper::Resident);
    let watch = Watch::new(&pair.worker, Side::Worker);
    let guest = sleeper(&pair, Sleeper::Guest);
    assert!(pair.parent.data_bell(0).ring().unwrap());
    assert!(guest.recv_timeout(Duration::from_secs(30)).unwrap());
    // It may have come too late to lie down: the guest's mark was up then.
    let until = Instant::now() + Duration::from_secs(20);
    while resident.try_recv().is_err() {
        assert!(Instant::now() < until, "a wake-up of this process does not come through");
        watch.wake_local(Sleeper::Resident).unwrap();
    }
}

/// By the monotonic clock, to the millisecond, although events are waited for in whole seconds.
#[test]
fn a_sleep_ends_at_its_deadline_and_not_before() {
    let pair = Pair::of(Backend::Memfd, Wakeup::Event, 32);
    let watch = Watch::new(&pair.worker, Side::Worker);
    for milliseconds in [0, 1, 30, 130] {
        watch.arm(Sleeper::Guest);
        let deadline = Instant::now() + Duration::from_millis(milliseconds);
        assert!(!watch.sleep(Sleeper::Guest, Some(deadline)).unwrap());
        assert!(Instant::now() >= deadline);
    }
}

/// The package adds a time to the present one without a carry: waits that end in the next second would end at once, and a loop of them spin.
#[test]
fn waiting_for_an_event_does_not_spin() {
    let pair = Pair::of(Backend::Memfd, Wakeup::Event, 32);
    let before = cpu_of_threads("coprocess-hear");
    thread::sleep(Duration::from_millis(2500));
    let spent = cpu_of_threads("coprocess-hear").saturating_sub(before);
    assert!(spent < 20, "{spent} hundredths of a second of processor time in 2.5 s of silence");
    drop(pair);
}

/// In hundredths of a second, of the threads of this process that have this name.
fn cpu_of_threads(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc");
    let of = |stat: String| -> Option<u64> {
        let (head, fields) = stat.rsplit_once(") ")?;
        let mut times = fields.split(' ').skip(11).map_while(|field| field.parse::<u64>().ok());
        head.contains(name).then_some(times.next()? + times.next()?)
    };
    tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok()).filter_map(of).sum()
}

#[test]
fn the_threads_end_with_the_pair() {
    let until = Instant::now() + Duration::from_secs(20);
    // Other tests have such threads, too: it is theirs that may be left.
    let pairs: Vec<Pair> = (0..50).map(|_| Pair::of(Backend::Memfd, Wakeup::Event, 32)).collect();
    while threads_named("coprocess-") < 200 {
        assert!(Instant::now() < until, "there are but {} threads", threads_named("coprocess-"));
        thread::sleep(Duration::from_millis(10));
    }
    drop(pairs);
    while threads_named("coprocess-") > 60 {
        assert!(Instant::now() < until, "{} threads are left", threads_named("coprocess-"));
        thread::sleep(Duration::from_millis(10));
    }
}

/// The relay of the parent without its threads, and the event of the worker.
fn by_hand() -> (Exchange, Event) {
    let backing = Pair::of(Backend::Memfd, Wakeup::Futex, 32).parent.backing();
    let event = |of, make| Event::at(backing.clone(), of, make).unwrap();
    let exchange = Exchange::new(backing.clone(), Side::Parent, event(Side::Parent, true), event(Side::Worker, true));
    let workers = event(Side::Worker, false);
    (exchange, workers)
}

#[test]
fn any_number_of_wake_ups_is_one_setting() {
    let (exchange, event) = by_hand();
    for mark in [1, 2, 1] {
        exchange.wake_other(Place::data(0), mark);
    }
    assert!(exchange.ring_once());
    assert!(event.wait(10));
    assert_eq!(exchange.rung(Place::data(0)).load(Ordering::SeqCst), 3);
    assert!(!event.wait(1), "once is enough");
}

#[test]
fn an_event_is_not_set_for_the_dead() {
    let (exchange, event) = by_hand();
    let (end, other) = std::io::pipe().unwrap();
    exchange.mind(end.into());
    exchange.wake_other(Place::data(0), 1);
    assert!(exchange.ring_once());
    assert!(event.wait(10), "the other side lives");
    drop(other);
    exchange.wake_other(Place::data(0), 1);
    assert!(exchange.ring_once());
    assert!(!event.wait(1), "the other side has ended");
}

#[test]
fn a_lot_lets_nobody_lie_down_whose_mark_is_gone() {
    let lot = Lot::new();
    let word = AtomicU32::new(0);
    assert_eq!(lot.wait(Place::data(0), &word, 1, None), Ended::Look);
    assert_eq!(lot.wake(Place::data(0), u32::MAX), 0);
    word.store(1, Ordering::Relaxed);
    assert_eq!(lot.wait(Place::data(0), &word, 1, Some(Instant::now())), Ended::TimedOut);
    assert_eq!(lot.wake(Place::data(0), u32::MAX), 0, "who has left is not woken");
}
