//! Tests doorbells with the real futex: which thread is woken, and when a sleep ends.

use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::tests::common::Pair;
use crate::wake::doorbell::Doorbell;
use crate::wake::doorbell_id::DoorbellId;
use crate::wake::primitive::Primitive;
use crate::{Side, Sleeper, Watch};

/// Returns a time so far away that only a lost wake-up reaches it.
fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(20))
}

fn doorbell_of(word: &AtomicU32) -> Doorbell<'_> {
    Doorbell::new(word, &Primitive::Futex, DoorbellId::data(0))
}

/// Sleeps on `doorbell`, and stores the id of this thread in `thread`, so that another thread can
/// wait until this one is in the kernel.
fn sleep_on(doorbell: Doorbell<'_>, sleeper: Sleeper, thread: &AtomicI32) {
    thread.store(nix::unistd::gettid().as_raw(), Ordering::SeqCst);
    assert!(doorbell.sleep(sleeper, soon()).expect("futex"), "no wake-up came");
}

fn wait_until_asleep(thread: &AtomicI32) {
    let until = soon().expect("a time");
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
        let stat = std::fs::read_to_string(format!(
            "/proc/self/task/{}/stat",
            thread.load(Ordering::SeqCst)
        ));
        if stat.is_ok_and(|line| line.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S")))
        {
            return;
        }
    }
    panic!("it does not go to sleep");
}

#[test]
fn a_sleep_ends_at_its_deadline_and_not_before() {
    let word = AtomicU32::new(0);
    let doorbell = doorbell_of(&word);
    for (sleeper, length) in [(Sleeper::Driver, 30), (Sleeper::Waiter, 0), (Sleeper::Waiter, 5)] {
        doorbell.arm(sleeper);
        let deadline = Instant::now() + Duration::from_millis(length);
        assert!(!doorbell.sleep(sleeper, Some(deadline)).unwrap());
        assert!(Instant::now() >= deadline);
        assert_eq!(word.load(Ordering::Relaxed), sleeper as u32, "a timeout changes nothing");
    }
    let past = Instant::now();
    thread::sleep(Duration::from_millis(2));
    doorbell.arm(Sleeper::Waiter);
    assert!(!doorbell.sleep(Sleeper::Waiter, Some(past)).unwrap());
}

#[test]
fn no_thread_sleeps_on_a_doorbell_that_was_rung_or_taken_over() {
    let word = AtomicU32::new(0);
    let doorbell = doorbell_of(&word);
    assert!(doorbell.sleep(Sleeper::Driver, None).unwrap(), "not armed");
    doorbell.arm(Sleeper::Waiter);
    assert!(doorbell.sleep(Sleeper::Driver, None).unwrap(), "another's mark");
    assert!(doorbell.ring().unwrap());
    assert!(doorbell.sleep(Sleeper::Waiter, None).unwrap(), "rung");
}

#[test]
fn a_call_into_the_kernel_is_made_only_for_a_sleeper() {
    let word = AtomicU32::new(0);
    let doorbell = doorbell_of(&word);
    assert!(!doorbell.ring().unwrap());
    doorbell.arm(Sleeper::Driver);
    assert!(doorbell.ring().unwrap());
    assert!(!doorbell.ring().unwrap(), "once for each announcement");
    doorbell.arm(Sleeper::Driver);
    doorbell.disarm();
    assert!(!doorbell.ring().unwrap());

    let pair = Pair::segment(32);
    let (mut sender, mut receiver) = pair.ends(1024);
    let mut buffer = Vec::new();
    for _ in 0..1_000 {
        sender.send(&[1], 8).unwrap();
        receiver.receive(&mut buffer).unwrap();
    }
    assert_eq!((sender.wakeups(), receiver.wakeups()), (0, 0));
    Watch::new(&pair.worker, Side::Worker).arm(Sleeper::Driver);
    sender.send(&[1], 8).unwrap();
    sender.send(&[1], 8).unwrap();
    assert_eq!(sender.wakeups(), 1);
}

#[test]
fn a_sleeper_is_woken_across_two_mappings() {
    let pair = Pair::segment(32);
    let thread = AtomicI32::new(0);
    let doorbell = |region| crate::Region::data_doorbell(region, 0);
    thread::scope(|scope| {
        doorbell(&pair.worker).arm(Sleeper::Driver);
        scope.spawn(|| sleep_on(doorbell(&pair.worker), Sleeper::Driver, &thread));
        wait_until_asleep(&thread);
        assert!(doorbell(&pair.parent).ring().unwrap());
    });
}

#[test]
fn only_the_one_whose_mark_is_up_is_woken() {
    let word = AtomicU32::new(0);
    let doorbell = doorbell_of(&word);
    let (driver, waiter) = (AtomicI32::new(0), AtomicI32::new(0));
    let driver_woke = AtomicBool::new(false);
    thread::scope(|scope| {
        doorbell.arm(Sleeper::Driver);
        scope.spawn(|| {
            sleep_on(doorbell, Sleeper::Driver, &driver);
            driver_woke.store(true, Ordering::SeqCst);
        });
        wait_until_asleep(&driver);
        // The waiter takes over the watch. The driver stays where it is.
        doorbell.arm(Sleeper::Waiter);
        scope.spawn(|| sleep_on(doorbell, Sleeper::Waiter, &waiter));
        wait_until_asleep(&waiter);
        assert!(doorbell.ring().unwrap());
        assert_eq!(
            doorbell.wake_local(Sleeper::Waiter).unwrap(),
            0,
            "the waiter was woken by the ring"
        );
        assert!(!doorbell.ring().unwrap(), "no mark is in the word");
        thread::sleep(Duration::from_millis(5));
        assert!(!driver_woke.load(Ordering::SeqCst));
        // The waiter gives the watch back: the next ring wakes the driver, which never left.
        doorbell.arm(Sleeper::Driver);
        assert!(doorbell.ring().unwrap());
    });
    assert!(driver_woke.load(Ordering::SeqCst));
}

#[test]
fn a_local_wake_up_needs_no_mark() {
    let word = AtomicU32::new(0);
    let doorbell = doorbell_of(&word);
    let thread = AtomicI32::new(0);
    thread::scope(|scope| {
        doorbell.arm(Sleeper::Driver);
        scope.spawn(|| sleep_on(doorbell, Sleeper::Driver, &thread));
        wait_until_asleep(&thread);
        // A hostile peer would do this, to make the sleeper miss its wake-up.
        word.store(0, Ordering::SeqCst);
        assert_eq!(doorbell.wake_local(Sleeper::Waiter).unwrap(), 0);
        assert_eq!(doorbell.wake_local(Sleeper::Driver).unwrap(), 1);
    });
}

#[test]
fn a_local_wake_up_leaves_the_mark_of_another() {
    let word = AtomicU32::new(0);
    let doorbell = doorbell_of(&word);
    let waiter = AtomicI32::new(0);
    thread::scope(|scope| {
        doorbell.arm(Sleeper::Waiter);
        scope.spawn(|| sleep_on(doorbell, Sleeper::Waiter, &waiter));
        wait_until_asleep(&waiter);
        assert_eq!(doorbell.wake_local(Sleeper::Driver).unwrap(), 0);
        assert!(doorbell.ring().unwrap(), "the waiter is still to be found");
    });
}

#[test]
fn a_deadline_beyond_all_clocks_is_none() {
    let word = AtomicU32::new(0);
    let doorbell = doorbell_of(&word);
    let thread = AtomicI32::new(0);
    let now = Instant::now();
    let beyond = (0..63)
        .rev()
        .find_map(|bit| now.checked_add(Duration::from_secs(1 << bit)))
        .expect("some time");
    thread::scope(|scope| {
        doorbell.arm(Sleeper::Waiter);
        scope.spawn(|| {
            thread.store(nix::unistd::gettid().as_raw(), Ordering::SeqCst);
            assert!(doorbell.sleep(Sleeper::Waiter, Some(beyond)).expect("futex"));
        });
        wait_until_asleep(&thread);
        assert!(doorbell.ring().unwrap());
    });
}

/// A signal neither ends a sleep nor moves its end.
#[test]
#[expect(unsafe_code, reason = "a signal handler, and a signal for one thread")]
fn a_signal_resumes_the_sleep_to_the_same_deadline() {
    static SIGNALS: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: libc::c_int) {
        SIGNALS.fetch_add(1, Ordering::SeqCst);
    }
    let handler: extern "C" fn(libc::c_int) = count;
    // SAFETY: zeros are a valid sigaction: no flags, so that the call is interrupted, and an empty
    // mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: `action` is complete, and its handler only touches an atomic.
    let installed = unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);

    let deadline = Instant::now() + Duration::from_millis(200);
    let sleeper = thread::spawn(move || {
        let word = AtomicU32::new(0);
        let doorbell = doorbell_of(&word);
        doorbell.arm(Sleeper::Waiter);
        (doorbell.sleep(Sleeper::Waiter, Some(deadline)).expect("futex"), Instant::now())
    });
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(10));
        #[allow(
            clippy::unnecessary_cast,
            reason = "a number with one C library, a pointer with another"
        )]
        let id = sleeper.as_pthread_t() as libc::pthread_t;
        // SAFETY: the thread was not joined yet.
        assert_eq!(unsafe { libc::pthread_kill(id, libc::SIGUSR1) }, 0);
    }
    let (woken, ended) = sleeper.join().unwrap();
    assert!(!woken, "it ended by its deadline");
    assert!(ended >= deadline && ended < deadline + Duration::from_secs(5));
    assert!(SIGNALS.load(Ordering::SeqCst) > 0);
}
