//! A worker that ends right after emitting, in every way there is. Every event whose `emit`
//! returned arrives, in order and whole, before the parent is told of the end. `COPROCESS_ROUNDS`
//! sets how often each way is gone through (once if it is not set).

use std::env;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use crate::common::{
    LIMIT, SMALL_RING, at_once, eventually, is_gone, pattern, program, role, rounds, within,
};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Builder, Coprocess, Error, Reason, Reply};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LARGE: usize = 10 << 20;

/// How many messages, and how large each is.
#[derive(Debug, Clone, Copy)]
enum Words {
    OneSmall,
    OneLarge,
    /// More than the ring has room for, some of them larger than the smallest ring.
    Many,
    ManyAndALargeOne,
}

const WORDS: [Words; 4] = [Words::OneSmall, Words::OneLarge, Words::Many, Words::ManyAndALargeOne];

impl Words {
    fn count(self) -> u32 {
        match self {
            Words::OneSmall | Words::OneLarge => 1,
            Words::Many => 3000,
            Words::ManyAndALargeOne => 301,
        }
    }

    fn size(self, number: u32) -> usize {
        match self {
            Words::OneSmall => 5,
            Words::OneLarge => LARGE,
            Words::ManyAndALargeOne if number + 1 == self.count() => LARGE,
            _ if number % 300 == 299 => 20_000,
            _ => number as usize % 150,
        }
    }
}

/// How the worker ends, by its name in the environment, and what the parent is told.
const ENDINGS: [(&str, Reason); 9] = [
    ("exit", Reason::Exited(5)),
    ("exit of another thread", Reason::Exited(5)),
    ("_exit", Reason::Exited(6)),
    ("panic", Reason::Exited(101)),
    ("abort", Reason::Killed(6)),
    ("segmentation fault", Reason::Killed(11)),
    ("SIGKILL", Reason::Killed(9)),
    ("close", Reason::Closed),
    ("return", Reason::Exited(0)),
];

#[expect(unsafe_code, reason = "the end that skips everything a process does at its end")]
fn exit_at_once() -> ! {
    // SAFETY: no code of this process runs after it.
    unsafe { nix::libc::_exit(6) }
}

fn speak(parent: &Coprocess) {
    let words = WORDS[env::var("WORDS").unwrap().parse::<usize>().unwrap()];
    for number in 0..words.count() {
        let bytes = pattern(number as usize, words.size(number));
        parent.emit("word", (number, Bytes::new(&bytes))).unwrap();
    }
}

fn speaker(parent: Coprocess) {
    let ending = env::var("ENDING").unwrap();
    if ending == "exit of another thread" {
        let spoken = Arc::new(Barrier::new(2));
        let other = spoken.clone();
        thread::spawn(move || {
            other.wait();
            process::exit(5)
        });
        speak(&parent);
        spoken.wait();
        loop {
            thread::park();
        }
    }
    if ending == "panic" {
        // Meant, and not worth a message.
        std::panic::set_hook(Box::new(|_| ()));
    }
    // Not even a close answers a call of this.
    let held: Mutex<Vec<Reply<()>>> = Mutex::default();
    parent.serve_deferred("never", move |(), reply: Reply<()>| held.lock().unwrap().push(reply));
    speak(&parent);
    match ending.as_str() {
        "exit" => process::exit(5),
        "_exit" => exit_at_once(),
        "panic" => panic!("meant"),
        "abort" => process::abort(),
        "segmentation fault" => kill(Pid::this(), Signal::SIGSEGV).unwrap(),
        "SIGKILL" => kill(Pid::this(), Signal::SIGKILL).unwrap(),
        "close" => assert!(parent.close().unwrap().is_none()),
        other => unreachable!("{other}"),
    }
}

/// The worker program whose `main` simply returns.
#[test]
fn worker_program() {
    if role().is_some() {
        speak(&coprocess::parent().unwrap());
    }
}

/// How the parent comes to receive what was said.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Run,
    Call,
    Poll,
    Background,
    /// Nothing is received before the worker is dead, so that it has to fit into the ring.
    AfterDeath,
}

const MANNERS: [Manner; 5] =
    [Manner::Run, Manner::Call, Manner::Poll, Manner::Background, Manner::AfterDeath];

fn hear(ending: &str, reason: Reason, words: usize, capacity: usize, manner: Manner) {
    let (number, words) = (words, WORDS[words]);
    let builder = Builder::new().ring_capacity(capacity);
    let worker = if ending == "return" {
        let mut program = program!("speaker");
        program.env("WORDS", number.to_string());
        builder.spawn(program)
    } else {
        builder.env("WORDS", number.to_string()).env("ENDING", ending).fork(speaker)
    }
    .unwrap();
    let what = format!("{ending}, {words:?}, {capacity} bytes, {manner:?}");
    if manner == Manner::AfterDeath {
        let pid = worker.peer_id();
        eventually(&what, || is_gone(pid));
    }
    let heard = Arc::new(AtomicU32::new(0));
    let count = heard.clone();
    worker.listen("word", move |(number, bytes): (u32, ByteBuf)| {
        assert_eq!(number, count.fetch_add(1, Ordering::SeqCst));
        assert_eq!(bytes.len(), words.size(number));
        assert!(bytes == pattern(number as usize, bytes.len()), "number {number}");
    });
    let result = match manner {
        Manner::Run | Manner::AfterDeath => worker.run(),
        Manner::Call => worker.call::<()>("never", ()),
        Manner::Poll => loop {
            if let Err(error) = worker.poll() {
                break Err(error);
            }
            thread::yield_now();
        },
        Manner::Background => {
            eventually(&what, || heard.load(Ordering::SeqCst) == words.count());
            eventually(&what, || !worker.is_connected());
            worker.call::<()>("never", ())
        }
    };
    match result {
        // An orderly close is no error of `run`.
        Ok(()) if reason == Reason::Closed => {}
        Err(Error::Disconnected(is)) if is == reason => {}
        other => panic!("{what}: {other:?}"),
    }
    // By the time the end is told, and not some time later.
    assert_eq!(heard.load(Ordering::SeqCst), words.count(), "{what}");
    assert_eq!(worker.stats().event_panics, 0, "{what}");
    at_once(|| worker.close().unwrap());
}

fn hear_all(capacity: usize) {
    for _ in 0..rounds(1) {
        for (ending, reason) in ENDINGS {
            for (number, words) in WORDS.iter().enumerate() {
                for manner in MANNERS {
                    if manner != Manner::AfterDeath || matches!(words, Words::OneSmall) {
                        hear(ending, reason, number, capacity, manner);
                    }
                }
            }
        }
    }
}

#[test]
fn through_the_smallest_ring() {
    within(LIMIT, || hear_all(SMALL_RING));
}

#[test]
fn through_the_usual_ring() {
    within(LIMIT, || hear_all(256 * 1024));
}
