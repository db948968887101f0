//! The handshake: none, garbage, too much of it; and the socket afterwards, when it should be
//! silent.

use std::fs::File;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use super::survives;
use crate::common::LIMIT;
use crate::kit::lifeline::{Lifeline, verdict};
use crate::kit::{Captive, for_ever};
use crate::parent::{NEVER, Parent};

/// Answers the hello, or does not.
pub(crate) fn answers(how: &str) -> ! {
    let lifeline = Lifeline::from_environment();
    let abi = coprocess_ring::ABI_VERSION;
    let say = |bytes: &[u8]| {
        // A parent that has seen enough has closed it.
        let _ = lifeline.send(bytes, &[]);
    };
    let say_with = |bytes: &[u8]| {
        lifeline.send(bytes, &descriptors()).expect("send descriptors");
    };
    let good = verdict(abi, 1, b"");
    match how {
        "nothing" => {}
        "an empty message" => say(b""),
        "one byte" => say(b"x"),
        "eleven bytes" => say(&good[..11]),
        "half" => say(&good[..64]),
        "one byte less" => say(&good[..127]),
        "garbage" => say(&[0xa5; 128]),
        "a lot of garbage" => say(&vec![0xa5; 60_000]),
        "another version" => say(&verdict(abi + 1, 1, b"")),
        "a verdict of its own" => say(&verdict(abi, 77, b"\xff\xfe\x1b[2J")),
        "a reason without end" => say(&verdict(abi, 2, &[b'x'; 112])),
        "thousands" => {
            for _ in 0..5_000 {
                say(&[0xa5; 128]);
            }
        }
        "closes" => drop(nix::sys::socket::shutdown(
            lifeline.socket.as_raw_fd(),
            nix::sys::socket::Shutdown::Both,
        )),
        "exits" => std::process::exit(0),
        "dies" => std::process::abort(),
        "garbage with descriptors" => say_with(&[0xa5; 128]),
        // Well enough, but for what comes with it.
        "with descriptors" => say_with(&good),
        "more than its answer" => say(&[&good[..], &good[..]].concat()),
        "many times" => (0..50).for_each(|_| say(&good)),
        "without having mapped anything" => say(&good),
        other => unreachable!("{other}"),
    }
    for_ever()
}

/// Opens some descriptors to send. They stay open.
fn descriptors() -> Vec<RawFd> {
    (0..50).map(|_| File::open("/dev/null").expect("open").into_raw_fd()).collect()
}

/// Does to the socket what an attached worker may do.
pub(crate) fn afterwards(how: &str) -> ! {
    let mut captive = Captive::attached();
    match how {
        "sends descriptors" => {
            let fds = descriptors();
            // Until no more is taken.
            while captive.lifeline.send(b"here you are", &fds).is_ok() {}
        }
        "sends for ever" => {
            let socket = captive.lifeline.socket.try_clone().expect("copy it");
            thread::spawn(move || {
                let socket = UnixDatagram::from(socket);
                loop {
                    let _ = socket.send(&[0xa5; 1000]);
                }
            });
        }
        "shuts it down" => {
            UnixDatagram::from(captive.lifeline.socket.try_clone().expect("copy it"))
                .shutdown(Shutdown::Both)
                .expect("shut it down")
        }
        "ignores SIGTERM" => {
            let mut set = SigSet::empty();
            set.add(Signal::SIGTERM);
            sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).expect("block it");
            set.thread_block().expect("block it");
        }
        other => unreachable!("{other}"),
    }
    captive.be_honest(LIMIT);
    for_ever()
}

/// Returns how long to wait for a worker that ends so.
fn patience(expected: &str) -> Duration {
    if expected == "never attached" { NEVER } else { Parent::default().fork }
}

macro_rules! handshakes {
    ($($test:ident: $how:literal => $expected:literal;)*) => {
        $(#[test] fn $test() {
            survives!(concat!("handshake/", $how), Parent { fork: patience($expected), wants: Some($expected), ..Parent::default() }, |seen| {
                assert!(seen.has($expected), "{seen}");
            });
        })*
    };
}

handshakes! {
    no_answer: "nothing" => "never attached";
    an_empty_answer: "an empty message" => "never attached";
    an_answer_of_a_byte: "one byte" => "handshake (its answer makes no sense";
    an_answer_that_ends_in_the_version: "eleven bytes" => "handshake (its answer makes no sense";
    half_an_answer: "half" => "handshake (its answer makes no sense";
    an_answer_a_byte_short: "one byte less" => "handshake (its answer makes no sense";
    garbage: "garbage" => "handshake (its answer makes no sense";
    a_lot_of_garbage: "a lot of garbage" => "handshake (its answer makes no sense";
    another_version: "another version" => "other version";
    a_verdict_that_is_none: "a verdict of its own" => "handshake";
    a_reason_without_end: "a reason without end" => "handshake (xxxx";
    thousands_of_answers: "thousands" => "handshake (its answer makes no sense";
    a_socket_closed_by_a_living_worker: "closes" => "never attached";
    a_worker_that_exits: "exits" => "ended";
    a_worker_that_aborts: "dies" => "ended";
    garbage_with_descriptors: "garbage with descriptors" => "handshake (its answer makes no sense";
    an_answer_with_descriptors: "with descriptors" => "timeout";
    a_good_answer_many_times: "many times" => "timeout";
    an_answer_of_a_worker_that_has_mapped_nothing: "without having mapped anything" => "timeout";
}

macro_rules! afterwards {
    ($($test:ident: $how:literal;)*) => { $(#[test] fn $test() { survives!(concat!("afterwards/", $how)); })* };
}

afterwards! {
    descriptors_after_the_handshake: "sends descriptors";
    messages_after_the_handshake: "sends for ever";
    a_worker_that_ignores_sigterm: "ignores SIGTERM";
}

/// The parent gives a worker that has left the pair a second to end by itself.
#[test]
fn a_lifeline_shut_down_by_a_living_worker() {
    fn parent() -> Parent {
        Parent {
            time: Duration::from_millis(1500),
            wants: Some("disconnected (Closed)"),
            ..Parent::default()
        }
    }
    survives!("afterwards/shuts it down", parent(), |seen| {
        assert!(seen.has("disconnected (Closed)"), "{seen}");
    });
}
