//! Death of the parent: its workers, and theirs, end within a second, whatever they are doing. The
//! test prints a matrix of what they did and how long they took.

use std::env;
use std::fs;
use std::path::Path;
use std::process;
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    AT_ONCE, LIMIT, Random, SMALL_RING, eventually, fresh_path, is_gone, rounds, state, touch,
    within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Reply};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process is given that is stuck when its parent is gone.
const GRACE: Duration = Duration::from_millis(250);
/// All processes below the one that was killed are gone by then: two generations, each of which may
/// be stuck.
const SOON: Duration = Duration::from_secs(1);
/// Returns the limit that holds however busy the machine is.
fn at_the_latest() -> Duration {
    2 * GRACE + AT_ONCE
}

/// What a worker is doing while its parent dies.
const OCCUPATIONS: [&str; 14] = [
    // As a well-behaved one.
    "idle",
    "handlers",
    "nested calls",
    "call",
    "full ring",
    "large message",
    "threads",
    // Not to be stopped from outside by anything but force.
    "endless loop",
    "endless sleep",
    "endless calls",
    "endless emits",
    "endless run",
    "endless poll",
    "endless function",
];

fn occupation() -> String {
    env::var("OCCUPATION").unwrap()
}

/// Says, once, that this process is at it.
fn started() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        touch(&Path::new(&env::var_os("STARTED").unwrap()).join(process::id().to_string()))
    });
}

fn forever(mut step: impl FnMut()) -> ! {
    loop {
        step();
    }
}

/// Says so when a thread of this process waits for room, for as long as that can be seen.
fn tell_when_full(parent: &Coprocess) {
    let end = parent.downgrade();
    thread::spawn(move || {
        while end.upgrade().is_some_and(|parent| parent.stats().waits_for_room == 0) {
            thread::sleep(Duration::from_millis(1));
        }
        started();
    });
}

fn occupy(parent: &Coprocess) {
    match occupation().as_str() {
        "idle" => started(),
        // Its parent keeps it busy.
        "handlers" => {}
        "nested calls" => drop(parent.call::<u32>("down", 20_u32)),
        "call" => {
            started();
            drop(parent.call::<()>("never", ()));
        }
        "full ring" => {
            parent.emit("hold", ()).unwrap();
            tell_when_full(parent);
            while parent.emit("unheard", ByteBuf::from(vec![0; 1000])).is_ok() {}
        }
        "large message" => {
            parent.emit("hold", ()).unwrap();
            tell_when_full(parent);
            drop(parent.emit("unheard", ByteBuf::from(vec![0; 10 << 20])));
        }
        "threads" => {
            for _ in 0..8 {
                let parent = parent.clone();
                thread::spawn(move || drop(parent.call::<()>("never", ())));
            }
            started();
        }
        endless => {
            started();
            match endless {
                "endless loop" => forever(std::hint::spin_loop),
                "endless sleep" => forever(thread::park),
                // Workers that ignore every error.
                "endless calls" => forever(|| drop(parent.call::<()>("never", ()))),
                "endless emits" => {
                    forever(|| drop(parent.emit("unheard", ByteBuf::from(vec![0; 3000]))))
                }
                "endless run" => forever(|| drop(parent.run())),
                "endless poll" => forever(|| drop(parent.poll())),
                other => unreachable!("{other}"),
            }
        }
    }
}

/// Serves what the parent of an occupied worker does for it.
fn serve_occupied(worker: &Coprocess) {
    let held: Mutex<Vec<Reply<()>>> = Mutex::default();
    let end = worker.downgrade();
    worker
        .serve_deferred("never", move |(), reply: Reply<()>| held.lock().unwrap().push(reply))
        .listen("hold", |()| forever(thread::park))
        .serve("down", move |depth: u32| {
            end.upgrade().map(|worker| worker.call::<u32>("up", depth).ok())
        });
}

/// Runs a worker whose own worker, if it is to have one, does what this worker does.
fn link(parent: Coprocess) {
    let generations: u32 = env::var("GENERATIONS").unwrap().parse().unwrap();
    let below = (generations > 0).then(|| {
        let below = Builder::new()
            .ring_capacity(SMALL_RING)
            .env("GENERATIONS", (generations - 1).to_string())
            .fork(link)
            .unwrap();
        serve_occupied(&below);
        below
    });
    let end = parent.downgrade();
    parent
        .serve("up", move |depth: u32| {
            let Some(parent) = end.upgrade() else { return };
            if depth > 0 {
                drop(parent.call::<u32>("down", depth - 1));
            } else {
                started();
                drop(parent.call::<()>("never", ()));
            }
        })
        .listen("work", |()| {
            started();
            let until = Instant::now() + Duration::from_millis(5);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        });
    let end = parent.clone();
    parent.listen("go", move |is_first: bool| {
        if let Some(below) = &below {
            below.emit("go", false).unwrap();
            if occupation() == "handlers" {
                let below = below.clone();
                thread::spawn(move || while below.emit("work", ()).is_ok() {});
            }
        }
        if !is_first {
            occupy(&end);
        }
    });
    if occupation() == "endless function" && generations < BELOW {
        started();
        forever(std::hint::spin_loop);
    }
}

/// Generations below the process that is killed.
const BELOW: u32 = 2;

/// Makes a parent whose workers do what `occupation` says. Returns the parent and those workers,
/// once they do.
fn family(occupation: &str) -> (Coprocess, Vec<u32>) {
    let directory = fresh_path("started");
    fs::create_dir(&directory).unwrap();
    let builder = Builder::new()
        .env("OCCUPATION", occupation)
        .env("STARTED", &directory)
        .env("GENERATIONS", BELOW.to_string());
    let parent = builder.fork(link).unwrap();
    parent.emit("go", true).unwrap();
    let names = || fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name());
    eventually(occupation, || names().count() == BELOW as usize);
    let workers = names().map(|name| name.to_str().unwrap().parse().unwrap()).collect();
    fs::remove_dir_all(&directory).unwrap();
    (parent, workers)
}

/// Returns how long it takes until none of these processes runs.
fn until_gone(processes: &[u32]) -> Duration {
    let start = Instant::now();
    eventually("they are gone", || processes.iter().all(|process| is_gone(*process)));
    start.elapsed()
}

#[test]
fn end_whatever_they_do() {
    within(LIMIT, || {
        let random = Random::for_test("end_whatever_they_do");
        let mut all = Vec::new();
        for occupation in OCCUPATIONS {
            let mut longest = Duration::ZERO;
            for _ in 0..rounds(3) {
                let (parent, workers) = family(occupation);
                // Not always the same step of what they do.
                thread::sleep(random.moment(Duration::from_millis(5)));
                assert!(
                    workers.iter().all(|worker| !is_gone(*worker)),
                    "{occupation}: gone before their parent"
                );
                parent.kill().unwrap();
                let took = until_gone(&workers);
                assert!(took < at_the_latest(), "{occupation}: {took:?}");
                longest = longest.max(took);
                all.push(took);
            }
            eprintln!(
                "{occupation:>18}: the worker and its worker are gone after {longest:.1?} at most"
            );
        }
        all.sort_unstable();
        assert!(all[all.len() / 2] < SOON, "half of them take {:?} and more", all[all.len() / 2]);
    });
}

/// A stopped process can do nothing, and ends when it is continued. In some cases the kernel
/// continues a process that has no others left.
#[test]
fn end_when_they_are_continued() {
    within(LIMIT, || {
        for _ in 0..rounds(3) {
            let (parent, workers) = family("idle");
            let signal_all = |signal| {
                workers
                    .iter()
                    .for_each(|worker| kill(Pid::from_raw(*worker as i32), signal).unwrap())
            };
            signal_all(Signal::SIGSTOP);
            eventually("all are stopped", || {
                workers.iter().all(|worker| state(*worker) == Some('T'))
            });
            parent.kill().unwrap();
            let pid = parent.peer_id();
            eventually("the parent is gone", || is_gone(pid));
            signal_all(Signal::SIGCONT);
            let took = until_gone(&workers);
            assert!(took < at_the_latest(), "{took:?}");
        }
    });
}

/// What has this in its environment is of the family.
const MARK: &str = "COPROCESS_TEST_FAMILY";

fn marked(mark: &str) -> Vec<u32> {
    let mark = format!("{MARK}={mark}");
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|process| {
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
        .collect()
}

/// The parent dies while it starts workers. Those end that have attached, those that are about to,
/// and those that have hardly begun.
#[test]
fn end_wherever_they_were_in_their_start() {
    within(LIMIT, || {
        let random = Random::for_test("end_wherever_they_were_in_their_start");
        for round in 0..rounds(30) {
            let mark = format!("{}-{round}", process::id());
            let parent = Builder::new()
                .env(MARK, &mark)
                .fork(|parent| {
                    parent.listen("go", |()| {
                        forever(|| {
                            let worker = coprocess::fork(|_| ()).unwrap();
                            // One in two is left to be closed.
                            if worker.peer_id().is_multiple_of(2) {
                                std::mem::forget(worker);
                            }
                        });
                    });
                })
                .unwrap();
            parent.emit("go", ()).unwrap();
            let pid = parent.peer_id();
            thread::sleep(random.moment(Duration::from_millis(20)));
            parent.kill().unwrap();
            eventually("the parent is gone", || is_gone(pid));
            let start = Instant::now();
            while !marked(&mark).iter().all(|process| is_gone(*process)) {
                assert!(
                    start.elapsed() < at_the_latest(),
                    "round {round}: {:?} live on",
                    marked(&mark)
                );
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
}

/// The parent dies while it waits in `close` for a worker that does not end. The worker has the
/// time that the parent gave it to finish, and no more.
#[test]
fn end_in_the_midst_of_a_close() {
    const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);
    within(LIMIT, || {
        for _ in 0..rounds(3) {
            let closing = fresh_path("closing");
            let parent = Builder::new()
                .env("CLOSING", &closing)
                .fork(|parent| {
                    let worker = Builder::new()
                        .close_timeout(CLOSE_TIMEOUT)
                        .fork(|parent| {
                            parent.listen("loop", |()| forever(std::hint::spin_loop));
                        })
                        .unwrap();
                    let pid = worker.peer_id();
                    parent.serve("worker", move |()| pid).listen("close", move |()| {
                        worker.emit("loop", ()).unwrap();
                        touch(Path::new(&env::var_os("CLOSING").unwrap()));
                        drop(worker.close());
                    });
                })
                .unwrap();
            let worker: u32 = parent.call("worker", ()).unwrap();
            parent.emit("close", ()).unwrap();
            eventually("it closes", || closing.exists());
            fs::remove_file(&closing).unwrap();
            parent.kill().unwrap();
            let took = until_gone(&[worker]);
            assert!(took < at_the_latest(), "{took:?}");
        }
    });
}
