//! What a worker prints: kept, handed over line by line, or thrown away.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::common::{
    self, Held, LIMIT, alone, assert_matches, next, program, role, serve_parent, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, ForkError, Output, Reason};

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("plain") => serve_parent(plain),
        Some(other) => unreachable!("{other}"),
    }
}

fn write(mut stream: impl Write, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    stream.flush().unwrap();
}

fn plain(parent: Coprocess) {
    parent
        .serve("print", |bytes: ByteBuf| write(std::io::stdout(), &bytes))
        .serve("complain", |bytes: ByteBuf| write(std::io::stderr(), &bytes))
        .listen("print and die", |bytes: ByteBuf| {
            write(std::io::stdout(), &bytes);
            std::process::abort();
        })
        .listen("flood", |(): ()| {
            loop {
                write(std::io::stdout(), &[b'x'; 4096]);
            }
        })
        .serve("close", |(): ()| {
            nix::unistd::close(libc::STDOUT_FILENO).unwrap();
        })
        // Started by the worker, and left behind by it, with its streams.
        .serve("leave a child", |seconds: String| {
            Command::new("sleep").arg(seconds).stdin(Stdio::null()).spawn().unwrap().id()
        });
}

fn print(co: &Coprocess, bytes: &[u8]) {
    co.call::<()>("print", ByteBuf::from(bytes)).unwrap();
}

fn complain(co: &Coprocess, bytes: &[u8]) {
    co.call::<()>("complain", ByteBuf::from(bytes)).unwrap();
}

/// Waits until this much was printed in all. What is printed while a worker lives comes in its own
/// time.
#[track_caller]
fn comes(co: &Coprocess, text: &str) {
    common::eventually(text, || co.last_output() == text);
}

fn tails() -> Builder {
    common::patient().stdout(Output::Tail(1000)).stderr(Output::Tail(10))
}

#[test]
fn the_tail_of_both_streams_in_their_order() {
    within(LIMIT, || {
        let co = tails().fork(plain).unwrap();
        assert_eq!(co.last_output(), "");
        print(&co, b"one ");
        comes(&co, "one ");
        complain(&co, b"two ");
        comes(&co, "one two ");
        print(&co, b"three ");
        comes(&co, "one two three ");
        // Each stream has its own room: the oldest goes first.
        complain(&co, b"12345678");
        comes(&co, "one o three 12345678");
        print(&co, b"end ");
        comes(&co, "one o three 12345678end ");
        complain(&co, b"abcdefghijklmn");
        comes(&co, "one three end efghijklmn");
        assert!(co.close().unwrap().unwrap().success());
        assert_eq!(co.last_output(), "one three end efghijklmn");
    });
}

#[test]
fn what_was_printed_before_the_end_is_there_when_the_end_is_told() {
    within(LIMIT, || {
        for spawned in [false, true] {
            let text = common::pattern(1, 60_000)
                .iter()
                .map(|byte| char::from(b'a' + byte % 26))
                .collect::<String>();
            let builder = common::patient().stdout(Output::Tail(100_000));
            let co = if spawned { builder.spawn(program!("plain")) } else { builder.fork(plain) }
                .unwrap();
            let last = co.clone();
            let (tell, told) = mpsc::channel();
            co.on_end(move |reason| tell.send((reason, last.last_output())).unwrap());
            co.emit("print and die", ByteBuf::from(text.as_bytes())).unwrap();
            assert_matches!(co.run(), Err(Error::Disconnected(Reason::Killed(6))));
            assert!(co.last_output().ends_with(&text));
            assert_matches!(co.close(), Ok(Some(_)));
            let (reason, output) = next(&told);
            assert_eq!(reason, Reason::Killed(6));
            assert!(output.ends_with(&text));
        }
    });
}

fn lines() -> (Output, Receiver<String>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let lines = Output::Lines(Arc::new(move |line: &str| {
        tell.lock().unwrap().send(line.to_owned()).unwrap()
    }));
    (lines, told)
}

#[test]
fn lines_one_by_one() {
    within(LIMIT, || {
        let (output, told) = lines();
        let co = common::patient().stdout(output).fork(plain).unwrap();
        print(&co, b"first\nsec");
        assert_eq!(next(&told), "first");
        print(&co, "ond größer\r\n\n".as_bytes());
        assert_eq!(next(&told), "second größer\r");
        assert_eq!(next(&told), "");
        print(&co, b"\xff\xfe garbage\0\nunfinished");
        assert_eq!(next(&told), "\u{fffd}\u{fffd} garbage\0");
        assert!(co.close().unwrap().unwrap().success());
        assert_eq!(next(&told), "unfinished");
        assert!(co.last_output().ends_with(" garbage\0\nunfinished"));
        drop(co);
        assert_eq!(told.recv_timeout(LIMIT), Err(mpsc::RecvTimeoutError::Disconnected));
    });
}

/// Output without an end of line comes in pieces, none of which ends within a character. A line of
/// just that length is one piece.
#[test]
fn lines_without_an_end() {
    within(LIMIT, || {
        const PIECE: usize = 64 * 1024;
        let (output, told) = lines();
        let co = common::patient().stdout(output).fork(plain).unwrap();
        let long = "xä€".repeat(500_000);
        print(&co, long.as_bytes());
        print(&co, b"\n");
        let mut all = String::new();
        while all.len() < long.len() {
            let piece = next(&told);
            assert!(piece.len() <= PIECE && !piece.contains('\u{fffd}'), "{} bytes", piece.len());
            all.push_str(&piece);
        }
        assert!(all == long);
        let exact = "y".repeat(PIECE);
        print(&co, format!("{exact}\nnext\n").as_bytes());
        assert!(next(&told) == exact);
        assert_eq!(next(&told), "next");
        print(&co, &[0xff; 3 * PIECE]);
        assert!(next(&told).len() >= PIECE);
    });
}

#[test]
fn a_callback_that_panics_gets_the_next_line() {
    within(LIMIT, || {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let output = Output::Lines(Arc::new(move |line: &str| {
            tell.lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .send(line.to_owned())
                .unwrap();
            assert_ne!(line, "panic", "as it should");
        }));
        let co = common::patient().stderr(output).fork(plain).unwrap();
        complain(&co, b"panic\nafter\n");
        assert_eq!((next(&told), next(&told)), ("panic".to_owned(), "after".to_owned()));
    });
}

/// The worker of the blocked callback waits in a write, and is ended nevertheless. The ends of the
/// other workers, and their last output, do not wait for it.
#[test]
fn a_callback_that_blocks_holds_up_no_end() {
    within(LIMIT, || {
        let (let_go, blocked) = mpsc::channel::<()>();
        let blocked = Mutex::new(blocked);
        let (began, begun) = mpsc::channel();
        let began = Mutex::new(began);
        let output = Output::Lines(Arc::new(move |_: &str| {
            began.lock().unwrap().send(()).unwrap();
            // Let go of by a message, or by the end of the test.
            let _ = blocked.lock().unwrap().recv();
        }));
        let builder = Builder::new().stdout(output).close_timeout(Duration::from_millis(50));
        let co = builder.fork(plain).unwrap();
        co.call::<()>("print", ByteBuf::from(b"line\n")).unwrap();
        next(&begun);
        co.emit("flood", ()).unwrap();
        let other = common::patient().stdout(Output::Tail(100)).fork(plain).unwrap();
        other.emit("print and die", ByteBuf::from(b"last words")).unwrap();
        assert_matches!(other.run(), Err(Error::Disconnected(Reason::Killed(6))));
        assert_eq!(other.last_output(), "last words");
        let status = common::at_once(|| co.close()).unwrap().unwrap();
        assert!(!status.success());
        assert!(co.last_output().ends_with("xxxx"));
        drop(let_go);
    });
}

#[test]
fn thrown_away() {
    within(LIMIT, || {
        alone!({
            let co =
                common::patient().stdout(Output::Null).stderr(Output::Null).fork(plain).unwrap();
            print(&co, b"not to be seen\n");
            complain(&co, b"nor this\n");
            let open =
                |number| std::fs::read_link(format!("/proc/{}/fd/{number}", co.peer_id())).unwrap();
            assert_eq!((open(1), open(2)), ("/dev/null".into(), "/dev/null".into()));
            assert_eq!(co.last_output(), "");
            assert!(co.close().unwrap().unwrap().success());
        });
    });
}

/// What the builder sets replaces what the command sets. What the builder does not set stays as the
/// command has it.
#[test]
fn of_a_command() {
    within(LIMIT, || {
        let mut command = program!("plain");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let co = common::patient().stdout(Output::Tail(1000)).spawn(command).unwrap();
        print(&co, b"seen");
        complain(&co, b"not seen");
        assert!(co.close().is_ok());
        assert!(
            co.last_output().contains("seen") && !co.last_output().contains("not seen"),
            "{}",
            co.last_output()
        );
    });
}

/// Neither does it keep the worker's end from being told, nor is what it prints lost to a callback.
#[test]
fn a_child_of_the_worker_keeps_the_stream_open() {
    within(LIMIT, || {
        alone!({
            drop(tails().fork(plain).unwrap().close());
            let before = Held::settled();
            let (output, told) = lines();
            let co = common::patient().stdout(output).fork(plain).unwrap();
            let pid: u32 = co.call("leave a child", "1000").unwrap();
            print(&co, b"unfinished");
            assert!(common::at_once(|| co.close()).unwrap().unwrap().success());
            assert_eq!(co.last_output(), "unfinished");
            drop(co);
            assert!(told.try_recv().is_err(), "the line may go on");
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid as i32),
                nix::sys::signal::Signal::SIGKILL,
            )
            .unwrap();
            assert_eq!(next(&told), "unfinished");
            before.again("a child that keeps the stream");
        });
    });
}

#[test]
fn a_worker_that_closes_its_stream() {
    within(LIMIT, || {
        let (output, told) = lines();
        let co = common::patient().stdout(output).fork(plain).unwrap();
        print(&co, b"the end");
        co.call::<()>("close", ()).unwrap();
        assert_eq!(next(&told), "the end");
        assert_eq!(told.recv_timeout(LIMIT), Err(mpsc::RecvTimeoutError::Disconnected));
        assert_eq!(co.last_output(), "the end");
        assert_matches!(co.close(), Ok(Some(_)));
    });
}

#[test]
fn many_workers_at_once() {
    within(LIMIT, || {
        alone!({
            drop(tails().fork(plain).unwrap().close());
            let before = Held::settled();
            let workers: Vec<Coprocess> = thread::scope(|scope| {
                let starts: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            (0..25).map(|_| tails().fork(plain).unwrap()).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                starts.into_iter().flat_map(|start| start.join().unwrap()).collect()
            });
            // One thread reads for all.
            let readers = std::fs::read_dir("/proc/self/task")
                .unwrap()
                .filter(|task| {
                    let name = std::fs::read_to_string(task.as_ref().unwrap().path().join("comm"))
                        .unwrap_or_default();
                    name.starts_with("coprocess-outpu")
                })
                .count();
            assert_eq!(readers, 1);
            for (number, co) in workers.iter().enumerate() {
                print(co, format!("worker {number}").as_bytes());
            }
            for (number, co) in workers.iter().enumerate() {
                assert!(co.close().unwrap().unwrap().success());
                assert_eq!(co.last_output(), format!("worker {number}"));
            }
            drop(workers);
            before.again("many workers");
        });
    });
}

/// Nothing else that is started meanwhile has the pipe: its end comes with the worker's.
#[test]
fn no_other_process_inherits_the_pipe() {
    within(LIMIT, || {
        alone!({
            let (output, told) = lines();
            let co = common::patient().stdout(output).fork(plain).unwrap();
            let neighbour = coprocess::fork(plain).unwrap();
            let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
            let link = |pid: u32, number: i32| {
                std::fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap()
            };
            let pipe = link(co.peer_id(), 1).into_os_string().into_string().unwrap();
            assert!(pipe.starts_with("pipe:"), "{pipe}");
            let has = |pid| common::descriptors(pid).iter().filter(|open| **open == pipe).count();
            // The worker has it once, as its stream; this process has the end that it reads.
            assert_eq!(
                [co.peer_id(), std::process::id(), neighbour.peer_id(), child.id()].map(has),
                [1, 1, 0, 0]
            );
            print(&co, b"unfinished");
            co.kill().unwrap();
            assert_eq!(next(&told), "unfinished");
            child.kill().unwrap();
            child.wait().unwrap();
            assert_matches!(neighbour.close(), Ok(Some(_)));
        });
    });
}

#[test]
fn nothing_is_left_of_a_start_that_fails() {
    within(LIMIT, || {
        alone!({
            drop(tails().fork(plain).unwrap().close());
            let before = Held::settled();
            let failed = tails().spawn(Command::new("/nonexistent/worker"));
            assert_matches!(failed, Err(Error::Fork { cause: ForkError::Exec(_), .. }));
            let ended = tails().spawn(Command::new("true"));
            assert_matches!(ended, Err(Error::Fork { cause: ForkError::Ended(_), .. }));
            before.again("starts that failed");
        });
    });
}

/// Where the parent's own streams are closed, pipes must not take their numbers.
#[test]
fn a_parent_without_streams() {
    within(LIMIT, || {
        alone!({
            for number in 0..3 {
                nix::unistd::close(number).unwrap();
            }
            let co = tails().fork(plain).unwrap();
            print(&co, b"out ");
            comes(&co, "out ");
            complain(&co, b"err");
            comes(&co, "out err");
            assert!(co.close().unwrap().unwrap().success());
        });
    });
}

/// The callback's data is dropped with the pair, not kept for good.
#[test]
fn the_callback_is_let_go_of() {
    within(LIMIT, || {
        struct Dropped(Arc<AtomicBool>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let captured = Dropped(dropped.clone());
        let co = common::patient()
            .stdout(Output::Lines(Arc::new(move |_: &str| {
                assert!(!captured.0.load(Ordering::SeqCst))
            })))
            .fork(plain)
            .unwrap();
        print(&co, b"line\n");
        drop(co);
        common::eventually("the callback is dropped", || dropped.load(Ordering::SeqCst));
    });
}

/// The kernel's buffer is all there is: what is written beyond it waits for the reader, and nothing
/// is lost.
#[test]
fn a_flood_of_lines_is_complete() {
    within(LIMIT, || {
        let (output, told) = lines();
        let co = common::patient().stdout(output).fork(plain).unwrap();
        let text: String = (0..100_000).map(|number| format!("{number}\n")).collect();
        co.emit("print and die", ByteBuf::from(text.as_bytes())).unwrap();
        for number in 0..100_000 {
            assert_eq!(next(&told), number.to_string());
        }
        assert_matches!(co.run(), Err(Error::Disconnected(Reason::Killed(6))));
        let mut last = String::new();
        co.last_output().as_bytes().read_to_string(&mut last).unwrap();
        assert!(last.ends_with("99998\n99999\n"));
    });
}
