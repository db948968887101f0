//! The second backend beside the first. The builder of a pair decides which one the pair has, and
//! no other pair is concerned. What is left out of a build is an error that says so. Two
//! sacrificial processes show where the second backend is weaker.
//!
//! A binary of its own: CI runs it also without the features.

mod common;

use std::process;

use common::{LIMIT, assert_matches, check_error, children, within};
#[cfg(any(feature = "named", feature = "raw-sync"))]
use coprocess::Builder;
use coprocess::{Backend, Coprocess, Error, Wakeup};

coprocess::init_in_tests!();

fn double(parent: Coprocess) {
    parent.serve("double", |x: u64| x * 2);
}

/// Every combination that is part of this build, the others as the errors that they are.
#[test]
fn each_memory_goes_with_each_wake_up() {
    within(LIMIT, || {
        for backend in [Backend::Memfd, Backend::Named] {
            for wakeup in [Wakeup::Futex, Wakeup::Event] {
                let before = children(process::id()).len();
                let missing = match (backend, wakeup) {
                    (Backend::Named, _) if !cfg!(feature = "named") => Some("named"),
                    (_, Wakeup::Event) if !cfg!(feature = "raw-sync") => Some("raw-sync"),
                    _ => None,
                };
                match (common::patient().backend(backend).wakeup(wakeup).fork(double), missing) {
                    (Ok(worker), None) => {
                        for x in 0..1000 {
                            assert_eq!(worker.call::<u64>("double", x).unwrap(), 2 * x);
                        }
                        assert!(worker.close().unwrap().unwrap().success());
                    }
                    (Err(error), Some(feature)) => {
                        check_error(&error, &format!("without its feature `{feature}`"));
                        assert_matches!(error, Error::Fork { cause: coprocess::ForkError::FeatureMissing(name), .. } if name == feature);
                        assert_eq!(children(process::id()).len(), before, "nothing is left behind");
                    }
                    (result, missing) => {
                        panic!("{backend:?}, {wakeup:?}, without {missing:?}: {result:?}")
                    }
                }
            }
        }
    });
}

/// An event that a thread has died waiting for must not be used again, or with some C libraries the
/// next wake-up may never end. Each worker has a segment of its own, and an event in it.
#[cfg(feature = "raw-sync")]
#[test]
fn a_worker_killed_in_its_sleep_does_not_keep_the_next_one() {
    within(LIMIT, || {
        for round in 0..20 {
            let worker = Builder::new()
                .wakeup(Wakeup::Event)
                .wait(coprocess::WaitStrategy::Block)
                .fork(double)
                .unwrap();
            assert_eq!(worker.call::<u64>("double", round).unwrap(), 2 * round);
            // It sleeps between the calls, or is about to.
            worker.kill().unwrap();
            common::at_once(|| {
                // Some of these may still reach the ring, and the dead.
                let error = loop {
                    if let Err(error) = worker.call::<u64>("double", 1) {
                        break error;
                    }
                };
                assert_matches!(
                    error,
                    Error::Disconnected(coprocess::Reason::Killed(libc::SIGKILL))
                );
            });
        }
    });
}

#[cfg(feature = "named")]
mod shortened {
    //! Another process of the same user makes the file shorter. A memfd is sealed against it; a
    //! named segment is not, and its users die.

    use std::sync::OnceLock;
    use std::{fs, io};

    use coprocess::Reason;

    use super::*;

    static WORKER: OnceLock<Coprocess> = OnceLock::new();

    /// Returns the mappings of shared memory that a process has, as paths of /proc by which another
    /// process can open the files.
    fn ways_in(pid: u32) -> Vec<String> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let ranges = maps
            .lines()
            .filter(|line| common::is_shared_memory(line))
            .filter_map(|line| line.split(' ').next());
        ranges.map(|range| format!("/proc/{pid}/map_files/{range}")).collect()
    }

    fn truncate(path: &str) -> io::Result<()> {
        fs::File::options().write(true).open(path)?.set_len(0)
    }

    /// Runs a process that has a worker of its own, over named memory or not, and uses it when told
    /// to.
    fn ward(parent: Coprocess) {
        parent.serve("start", |named: bool| -> u64 {
            let backend = if named { Backend::Named } else { Backend::Memfd };
            let worker =
                Builder::new().backend(backend).wakeup(Wakeup::Futex).fork(double).unwrap();
            let answer = worker.call("double", 1_u64).unwrap();
            WORKER.set(worker).unwrap();
            answer
        });
        parent.serve("use", |()| -> u64 { WORKER.get().unwrap().call("double", 1_u64).unwrap() });
    }

    #[test]
    fn by_another_process() {
        within(LIMIT, || {
            for named in [false, true] {
                let ward = common::patient().fork(ward).unwrap();
                let before = ways_in(ward.peer_id());
                assert_eq!(ward.call::<u64>("start", named).unwrap(), 2);
                let after = ways_in(ward.peer_id());
                let new: Vec<&String> = after.iter().filter(|way| !before.contains(way)).collect();
                let [way] = new[..] else { panic!("{before:?}, then {after:?}") };
                match (named, truncate(way)) {
                    (false, Err(error)) => {
                        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                        assert_eq!(ward.call::<u64>("use", ()).unwrap(), 2);
                        assert!(ward.close().unwrap().unwrap().success());
                    }
                    (true, Ok(())) => {
                        assert_matches!(
                            ward.call::<u64>("use", ()),
                            Err(Error::Disconnected(Reason::Killed(libc::SIGBUS)))
                        );
                    }
                    (named, result) => panic!("named: {named}, shortened: {result:?}"),
                }
            }
        });
    }
}

#[cfg(feature = "raw-sync")]
mod inside_an_event {
    //! A worker that dies inside an event, by hand: it enters the mutex with which the event in its
    //! memory begins, and is killed there.
    #![expect(unsafe_code, reason = "entering an event without the library")]

    use std::time::Duration;
    use std::{fs, thread};

    use common::{at_once, eventually};
    use coprocess::Reason;
    use raw_sync::Timeout;
    use raw_sync::events::{Event, EventInit, EventState};
    use raw_sync::locks::{LockInit, Mutex};

    use super::*;

    /// Where the layout has the event by which the parent is woken.
    const PARENTS_EVENT: usize = 3072;

    /// Returns where the segments of this process are mapped.
    fn segments() -> Vec<usize> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let starts = maps
            .lines()
            .filter(|line| common::is_shared_memory(line))
            .filter_map(|line| line.split('-').next());
        starts.map(|start| usize::from_str_radix(start, 16).unwrap()).collect()
    }

    /// Returns the parent's event in the only pair that this process has.
    fn parents_event() -> *mut u8 {
        let [segment] = segments()[..] else { panic!("this process has one pair") };
        std::ptr::with_exposed_provenance_mut(segment + PARENTS_EVENT)
    }

    fn dies_inside(parent: Coprocess) {
        double(parent.clone());
        parent.listen("die", |()| {
            // SAFETY: the segment is mapped, and has an event there, which begins with its mutex.
            let (mutex, _) =
                unsafe { Mutex::from_existing(parents_event(), std::ptr::null_mut()) }.unwrap();
            // The parent's listener is inside for moments only.
            let _entered = mutex.try_lock(Timeout::Val(Duration::from_secs(10))).unwrap();
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        });
    }

    fn threads_of_the_relay() -> usize {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        let names =
            tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names
            .filter(|name| name.starts_with("coprocess-ring") || name.starts_with("coprocess-hear"))
            .count()
    }

    /// Runs in the process that is sacrificed: shows what becomes of it, and of a program that sets
    /// the event itself.
    fn sacrificed(parent: Coprocess) {
        parent.serve("test", |()| {
            // Threads say their names themselves, those of the pair that has started this process,
            // too.
            let own = if cfg!(coprocess_second_backend) { 2 } else { 0 };
            eventually("the threads of this pair have names", || threads_of_the_relay() == own);
            let before = segments();
            let worker = Builder::new()
                .backend(Backend::Memfd)
                .wakeup(Wakeup::Event)
                .fork(dies_inside)
                .unwrap();
            assert_eq!(worker.call::<u64>("double", 2_u64).unwrap(), 4);
            eventually("there are two threads for the events", || {
                threads_of_the_relay() == own + 2
            });
            worker.emit("die", ()).unwrap();
            // The library goes on: every wait ends with the reason.
            at_once(|| {
                assert_matches!(
                    worker.call::<u64>("double", 1),
                    Err(Error::Disconnected(Reason::Killed(libc::SIGKILL)))
                )
            });
            at_once(|| {
                assert_matches!(
                    worker.emit("event", ()),
                    Err(Error::Disconnected(Reason::Killed(libc::SIGKILL)))
                )
            });

            // A thread that enters the event hangs: this is the weakness. The thread is lost.
            let (entered, enters) = std::sync::mpsc::channel();
            let [segment] =
                segments().into_iter().filter(|at| !before.contains(at)).collect::<Vec<_>>()[..]
            else {
                panic!("one more segment")
            };
            let at = segment + PARENTS_EVENT;
            thread::spawn(move || {
                // SAFETY: the segment stays mapped: it is kept below until this process ends.
                let (event, _) =
                    unsafe { Event::from_existing(std::ptr::with_exposed_provenance_mut(at)) }
                        .unwrap();
                entered.send(()).unwrap();
                event.set(EventState::Signaled).unwrap();
                entered.send(()).unwrap();
            });
            enters.recv_timeout(LIMIT / 4).expect("it begins");
            let hangs = enters.recv_timeout(Duration::from_millis(2500)).is_err();
            assert!(hangs, "an event in which a thread has died could be set");
            assert!(threads_of_the_relay() > own, "a thread of the library is in the same place");

            // A pair whose event no other process has entered: its last handle frees the threads.
            std::mem::forget(worker);
            let own = threads_of_the_relay();
            let worker = Builder::new()
                .backend(Backend::Memfd)
                .wakeup(Wakeup::Event)
                .fork(dies_inside)
                .unwrap();
            worker.emit("die", ()).unwrap();
            at_once(|| {
                assert_matches!(
                    worker.run(),
                    Err(Error::Disconnected(Reason::Killed(libc::SIGKILL)))
                )
            });
            drop(worker);
            eventually("the threads of the library are free", || threads_of_the_relay() == own);
        });
    }

    #[test]
    fn a_worker_dies() {
        within(LIMIT, || {
            let process = coprocess::fork(sacrificed).unwrap();
            process.call_timeout::<()>("test", (), LIMIT / 2).unwrap();
            process.kill().unwrap();
        });
    }

    /// The C library believes what it keeps in a mutex. A worker that writes into one ends its
    /// parent, which the rings do not let it do.
    #[cfg(target_env = "gnu")]
    #[test]
    fn a_worker_writes_into_it() {
        fn writes(parent: Coprocess) {
            double(parent.clone());
            parent.listen("write", |()| {
                // The third word: which thread holds the mutex.
                let owner = parents_event().wrapping_add(8).cast::<u32>();
                loop {
                    // SAFETY: the segment is mapped, and writable there.
                    unsafe { owner.write_volatile(1) };
                }
            });
        }
        fn ward(parent: Coprocess) {
            parent.serve("test", |()| {
                let worker = Builder::new()
                    .wakeup(Wakeup::Event)
                    .wait(coprocess::WaitStrategy::Block)
                    .fork(writes)
                    .unwrap();
                assert_eq!(worker.call::<u64>("double", 2_u64).unwrap(), 4);
                worker.emit("write", ()).unwrap();
                thread::sleep(LIMIT);
            });
        }
        within(LIMIT, || {
            let ward = coprocess::fork(ward).unwrap();
            let error = ward.call::<()>("test", ()).unwrap_err();
            assert_matches!(
                error,
                Error::Disconnected(Reason::Killed(libc::SIGABRT | libc::SIGSEGV))
            );
        });
    }
}
