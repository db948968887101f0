//! Nothing of a pair leaks to other processes that are started at the same moment, by this library
//! or by others.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crate::common::{self, LIMIT, alone, descriptors, within};
use coprocess::Coprocess;

/// Says what it has open.
fn open(parent: Coprocess) {
    parent.serve("open", |()| descriptors(std::process::id()));
}

/// Returns what a plain child of this process has open beyond its three standard streams.
fn inherited() -> Vec<String> {
    let output = Command::new("sh")
        // The glob is expanded by the shell itself, so this lists what the shell inherited.
        .args(["-c", "for fd in /proc/$$/fd/*; do readlink \"$fd\"; done; true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
    let mut links: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter(|link| !link.starts_with("/dev/null") && !link.starts_with("pipe:"))
        .map(str::to_owned)
        .collect();
    links.sort();
    links
}

#[test]
fn of_commands_started_at_the_same_moment() {
    within(LIMIT, || {
        alone!({
            let before = inherited();
            let done = AtomicBool::new(false);
            let listings = AtomicU32::new(0);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while !done.load(Ordering::SeqCst) {
                            let links = inherited();
                            assert!(
                                !links.iter().any(|link| common::is_shared_memory(link)),
                                "{links:?}"
                            );
                            assert!(
                                !links.iter().any(|link| link.contains("socket:")),
                                "{links:?}"
                            );
                            assert_eq!(links, before);
                            listings.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
                let mut workers = Vec::new();
                while listings.load(Ordering::SeqCst) < 100 || workers.len() < 40 {
                    workers.push(coprocess::fork(open).unwrap());
                    if workers.len() > 60 {
                        workers.drain(..30);
                    }
                }
                done.store(true, Ordering::SeqCst);
            });
        });
    });
}

/// Each of many workers forked at the same moment has open what a single one has, and nothing of
/// the others.
#[test]
fn of_workers_forked_at_the_same_moment() {
    within(LIMIT, || {
        alone!({
            let kinds = |worker: &Coprocess| -> Vec<String> {
                let mut links: Vec<String> = worker.call("open", ()).unwrap();
                for link in &mut links {
                    // Numbers of sockets and pipes differ from worker to worker.
                    if let Some(at) = link.find(":[") {
                        link.truncate(at);
                    }
                    // As do names of segments, where they have some.
                    if common::is_shared_memory(link) {
                        "shared memory".clone_into(link);
                    }
                }
                links.sort();
                links
            };
            let single = coprocess::fork(open).unwrap();
            let expected = kinds(&single);
            single.close().unwrap();
            let workers: Vec<Coprocess> = thread::scope(|scope| {
                let forks: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            (0..10).map(|_| coprocess::fork(open).unwrap()).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                forks.into_iter().flat_map(|fork| fork.join().unwrap()).collect()
            });
            for worker in &workers {
                assert_eq!(kinds(worker), expected);
            }
        });
    });
}

/// What a worker starts inherits nothing of the pair either.
#[test]
fn of_commands_that_a_worker_starts() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("inherited", |()| inherited());
        })
        .unwrap();
        for _ in 0..5 {
            let links: Vec<String> = worker.call("inherited", ()).unwrap();
            let ours = |link: &String| common::is_shared_memory(link) || link.contains("socket:");
            assert!(!links.iter().any(ours), "{links:?}");
        }
    });
}

/// The end of a pair is noticed although other children of the same parent live on: none of them
/// holds its lifeline.
#[test]
fn the_end_of_one_pair_beside_others() {
    within(LIMIT, || {
        let workers: Vec<Coprocess> =
            (0..6).map(|_| common::patient().fork(open).unwrap()).collect();
        let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
        for worker in &workers {
            assert!(common::at_once(|| worker.close()).unwrap().unwrap().success());
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    });
}

/// A command that the worker left running keeps nothing open when the worker is gone.
#[test]
fn the_end_of_a_worker_with_a_child_of_its_own() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("leave a child", |()| {
                Command::new("sleep").arg("1000").spawn().unwrap().id()
            });
        })
        .unwrap();
        let child: u32 = worker.call("leave a child", ()).unwrap();
        worker.kill().unwrap();
        common::at_once(|| worker.run()).unwrap_err();
        assert!(!common::is_gone(child));
        let child = nix::unistd::Pid::from_raw(child as i32);
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
    });
}

/// The memory that two processes share can be neither cut off nor extended by one of them, which
/// would be a signal to the other one. All of it is there from the start. Memory with a name has no
/// seals: see `second_backend`.
#[cfg(not(coprocess_second_backend))]
#[test]
fn of_the_size_of_the_shared_memory() {
    fn attack() {
        for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
            if !line.contains("/memfd:") {
                continue;
            }
            let range = line.split_whitespace().next().unwrap();
            // Where a process may not even open what it has mapped, it cannot harm it this way.
            if let Ok(memory) =
                std::fs::File::options().write(true).open(format!("/proc/self/map_files/{range}"))
            {
                let metadata = memory.metadata().unwrap();
                assert!(
                    std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= metadata.len(),
                    "space is missing: {metadata:?}"
                );
                for size in [0, metadata.len() - 4096, metadata.len() + 4096] {
                    memory.set_len(size).unwrap_err();
                }
            }
        }
    }
    within(LIMIT, || {
        alone!({
            let worker = coprocess::fork(|parent| {
                parent.serve("attack", |()| attack());
            })
            .unwrap();
            worker.call::<()>("attack", ()).unwrap();
            attack();
            worker.call::<()>("attack", ()).unwrap();
        });
    });
}
