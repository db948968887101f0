//! Worker programs: `spawn(Command)` at one side, `parent()` at the other, with the command's own
//! surroundings.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{self, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    self, LIMIT, assert_matches, at_once, eventually, is_gone, program, program_after, role, within,
};
use coprocess::{Builder, Coprocess, Error, Reason};
use nix::time::{ClockId, clock_gettime};

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("service") => service(),
        Some("background") => background(),
        Some("asks whose it is") => match coprocess::parent() {
            Err(Error::NotAWorker) => println!("not a worker"),
            other => println!("{other:?}"),
        },
        Some("attaches and returns") => drop(coprocess::parent().unwrap()),
        Some("attaches late") => {
            thread::sleep(Duration::from_millis(200));
            service();
        }
        Some("waits for a line first") => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            service();
        }
        Some("tells the time") => common::serve_parent(tells_the_time),
        Some("serves if it may") => match coprocess::parent() {
            Ok(_) => service(),
            Err(error) => assert!(
                error.to_string().contains("another process has become the worker"),
                "{error}"
            ),
        },
        Some(other) => unreachable!("{other}"),
    }
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().into()
}

/// Returns what is left of the time of the call that this thread serves.
fn left() -> Option<Duration> {
    coprocess::current_deadline().map(|at| at.saturating_duration_since(Instant::now()))
}

fn tells_the_time(parent: Coprocess) {
    let end = parent.downgrade();
    parent.serve("now", |()| now()).serve("left", |()| left()).serve(
        "left over there",
        move |timeout: Duration| {
            end.upgrade().unwrap().call_timeout::<Option<Duration>>("left", (), timeout).unwrap()
        },
    );
}

fn service() {
    let parent = coprocess::parent().unwrap();
    // Asked again, it is the same end, and dropping that handle closes nothing.
    drop(coprocess::parent().unwrap());
    serve(&parent);
    if parent.run().is_ok() {
        println!("done");
    }
}

/// Lets the library's own thread dispatch and does something else itself.
fn background() {
    let parent = coprocess::parent().unwrap();
    serve(&parent);
    while parent.is_connected() {
        thread::sleep(Duration::from_millis(1));
    }
}

fn serve(parent: &Coprocess) {
    parent
        .serve("double", |x: i64| x * 2)
        .serve("pid", |()| process::id())
        .serve("args", |()| env::args().skip(1).collect::<Vec<String>>())
        .serve("variable", |name: String| env::var(name).ok())
        .serve("directory", |()| env::current_dir().unwrap())
        .listen("exit", |code: i32| process::exit(code))
        // A process that this worker starts is not the parent's worker.
        .serve("child", |()| {
            let output = program!("asks whose it is").stdout(Stdio::piped()).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        });
    let end = parent.downgrade();
    parent.serve("ask back", move |x: i64| -> i64 {
        end.upgrade().unwrap().call("triple", x).unwrap()
    });
    let end = parent.downgrade();
    parent.serve("peer", move |()| end.upgrade().unwrap().peer_id());
}

#[test]
fn both_ways() {
    within(LIMIT, || {
        for role in ["service", "background"] {
            let worker = common::patient().spawn(program!(role)).unwrap();
            worker.serve("triple", |x: i64| x * 3);
            assert_eq!(worker.call::<i64>("double", 4).unwrap(), 8);
            assert_eq!(worker.call::<i64>("ask back", 5).unwrap(), 15);
            assert!(worker.close().unwrap().unwrap().success());
        }
    });
}

#[test]
fn each_end_knows_the_others_process() {
    within(LIMIT, || {
        let spawned = coprocess::spawn(program!("service")).unwrap();
        let forked = coprocess::fork(|parent| serve(&parent)).unwrap();
        for worker in [spawned, forked] {
            assert_eq!(worker.peer_id(), worker.call::<u32>("pid", ()).unwrap());
            assert_eq!(worker.call::<u32>("peer", ()).unwrap(), process::id());
        }
    });
}

#[test]
fn the_command_brings_its_surroundings() {
    within(LIMIT, || {
        let mut command = program!("service");
        command.env("COLOUR", "mauve").env_remove("PATH").current_dir("/").arg("--quiet");
        let worker = coprocess::spawn(command).unwrap();
        let variable = |name: &str| worker.call::<Option<String>>("variable", name).unwrap();
        assert_eq!(variable("COLOUR"), Some("mauve".to_owned()));
        assert_eq!(variable("PATH"), None);
        assert_eq!(worker.call::<String>("directory", ()).unwrap(), "/");
        let args: Vec<String> = worker.call("args", ()).unwrap();
        let function = common::worker_program(module_path!());
        assert_eq!(args, [&*function, "--exact", "--nocapture", "--quiet"]);
    });
}

#[test]
fn the_standard_streams_are_the_commands() {
    within(LIMIT, || {
        let (mut input, mut feed) = std::io::pipe().unwrap();
        let (output, sink) = std::io::pipe().unwrap();
        let mut command = program!("waits for a line first");
        command.stdin(input.try_clone().unwrap()).stdout(sink);
        writeln!(feed, "go").unwrap();
        let worker = common::patient().spawn(command).unwrap();
        assert_eq!(worker.call::<i64>("double", 4).unwrap(), 8);
        assert!(worker.close().unwrap().unwrap().success());
        drop(feed);
        // Nothing of the pair holds the pipe's ends open.
        let lines: Vec<String> = BufReader::new(output).lines().map(Result::unwrap).collect();
        // The test harness may have begun that line.
        assert!(lines.iter().any(|line| line.ends_with("done")), "{lines:?}");
        let mut rest = String::new();
        input.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    });
}

#[test]
fn the_environment_of_fork() {
    within(LIMIT, || {
        let worker = Builder::new()
            .env("COLOUR", "green")
            .env("SHAPE", "round")
            .env("COLOUR", "mauve")
            .fork(|parent| serve(&parent))
            .unwrap();
        let variable = |name: &str| worker.call::<Option<String>>("variable", name).unwrap();
        assert_eq!(variable("COLOUR"), Some("mauve".to_owned()));
        assert_eq!(variable("SHAPE"), Some("round".to_owned()));
        assert!(env::var_os("COLOUR").is_none());
    });
}

#[test]
fn a_child_of_a_worker_is_no_worker() {
    within(LIMIT, || {
        let spawned = coprocess::spawn(program!("service")).unwrap();
        let forked = coprocess::fork(|parent| serve(&parent)).unwrap();
        for worker in [spawned, forked] {
            let says: String = worker.call("child", ()).unwrap();
            assert!(says.contains("not a worker"), "{says}");
        }
    });
}

#[test]
fn a_worker_program_forks_in_turn() {
    within(LIMIT, || {
        let worker = common::patient()
            .fork(|parent| {
                let service = coprocess::spawn(program!("service")).unwrap();
                let function = coprocess::fork(|parent| serve(&parent)).unwrap();
                parent.serve("quadruple", move |x: i64| -> i64 {
                    let twice: i64 = service.call("double", x).unwrap();
                    function.call("double", twice).unwrap()
                });
            })
            .unwrap();
        assert_eq!(worker.call::<i64>("quadruple", 5).unwrap(), 20);
        assert!(worker.close().unwrap().unwrap().success());
    });
}

#[test]
fn a_program_that_attaches_and_returns() {
    within(LIMIT, || {
        let worker = common::patient().spawn(program!("attaches and returns")).unwrap();
        let error = at_once(|| worker.call::<()>("anything", ())).unwrap_err();
        assert_matches!(error, Error::Disconnected(Reason::Closed | Reason::Exited(0)));
        assert_eq!(worker.close().unwrap().unwrap().code(), Some(0));
    });
}

#[test]
fn a_program_that_attaches_late() {
    within(LIMIT, || {
        let worker = coprocess::spawn(program!("attaches late")).unwrap();
        assert_eq!(worker.call::<i64>("double", 4).unwrap(), 8);
        // Through a shell that becomes the program.
        let worker = coprocess::spawn(program_after!("sleep 0.1", "service")).unwrap();
        assert_eq!(worker.call::<i64>("double", 4).unwrap(), 8);
    });
}

#[test]
fn fork_timeout_of_a_program() {
    within(LIMIT, || {
        let builder = Builder::new().fork_timeout(Duration::from_millis(150));
        let mut command = program!("waits for a line first");
        let (input, feed) = std::io::pipe().unwrap();
        command.stdin(input);
        let error = at_once(|| builder.spawn(command)).unwrap_err();
        assert_matches!(error, Error::Fork { .. });
        assert!(error.to_string().contains("150ms"), "{error}");
        drop(feed);
    });
}

#[test]
fn a_program_that_exits() {
    within(LIMIT, || {
        let worker = coprocess::spawn(program!("service")).unwrap();
        worker.emit("exit", 33).unwrap();
        assert_matches!(worker.run(), Err(Error::Disconnected(Reason::Exited(33))));
        assert_eq!(worker.close().unwrap().unwrap().code(), Some(33));
    });
}

#[test]
fn a_program_dies_with_its_parent() {
    within(LIMIT, || {
        for role in ["service", "background"] {
            let middle = Builder::new()
                .env("WHICH", role)
                .fork(|parent| {
                    let worker = coprocess::spawn(program!(&env::var("WHICH").unwrap())).unwrap();
                    parent.serve("grandchild", move |()| worker.call::<u32>("pid", ()).unwrap());
                })
                .unwrap();
            let grandchild: u32 = middle.call("grandchild", ()).unwrap();
            assert!(!is_gone(grandchild));
            middle.kill().unwrap();
            at_once(|| eventually("gone with its parent", || is_gone(grandchild)));
        }
    });
}

/// The same command in several threads: each gets a worker of its own.
#[test]
fn many_at_once() {
    within(LIMIT, || {
        let pids: Arc<Mutex<Vec<u32>>> = Arc::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        let worker = common::patient().spawn(program!("service")).unwrap();
                        assert_eq!(worker.call::<u32>("pid", ()).unwrap(), worker.peer_id());
                        pids.lock().unwrap().push(worker.peer_id());
                        assert!(worker.close().unwrap().unwrap().success());
                    }
                });
            }
        });
        assert_eq!(pids.lock().unwrap().len(), 16);
    });
}

/// A supervisor starts it again: that process is not the worker, and does not wait to become it.
#[test]
fn a_program_that_a_wrapper_runs_twice() {
    within(LIMIT, || {
        let worker =
            common::patient().spawn(program_after!("\"$0\" \"$@\"", "serves if it may")).unwrap();
        worker.emit("exit", 7).unwrap();
        // The second run ends by itself, and with it the wrapper, which is the process that counts.
        assert_matches!(
            worker.call::<i64>("double", 1),
            Err(Error::Disconnected(Reason::Exited(0)))
        );
        assert!(worker.close().unwrap().is_some_and(|status| status.success()));
    });
}

/// In a time namespace of its own a worker has another monotonic clock than its parent. A deadline
/// is the same moment nevertheless.
#[test]
fn a_worker_with_a_clock_of_its_own() {
    within(LIMIT, || {
        for ahead in ["100000", "-20", "3"] {
            let mut wrapper = Command::new("unshare");
            wrapper.args(["--time", "--monotonic", ahead, "--fork"]);
            let may =
                Command::new(wrapper.get_program()).args(wrapper.get_args()).arg("true").output();
            if !may.is_ok_and(|output| output.status.success()) {
                println!("SKIPPED: time namespaces cannot be made here");
                return;
            }
            let plain = program!("tells the time");
            wrapper.arg(plain.get_program()).args(plain.get_args()).stdout(Stdio::null());
            wrapper.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let worker = coprocess::spawn(wrapper).unwrap();
            worker.serve("left", |()| left());
            let (here, there) = (now(), worker.call::<Duration>("now", ()).unwrap());
            assert!(
                there.abs_diff(here) > Duration::from_secs(1),
                "{here:?} here, {there:?} there"
            );
            let about = |left: Option<Duration>| {
                let left = left.expect("a deadline");
                assert!(left > LIMIT / 2 && left <= LIMIT, "{left:?} left of {LIMIT:?}");
            };
            about(worker.call_timeout("left", (), LIMIT).unwrap());
            about(worker.call("left over there", LIMIT).unwrap());
            assert_eq!(worker.call::<Option<Duration>>("left", ()).unwrap(), None);
            worker.close().unwrap();
        }
    });
}
