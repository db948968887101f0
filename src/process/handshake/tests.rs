//! Handshakes over a socket pair whose two ends are both in this process.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Duration;

use coprocess_ring::{Backend, Region, Segment, WaitStrategy, Wakeup};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};

use crate::process::handshake::claim::Unacceptable;
use crate::process::handshake::hello::SegmentHandle;
use crate::process::handshake::*;
use crate::process::pidfd;
use crate::process::terminal_signals::TerminalSignals;
use crate::settings::Settings;
use crate::settings::TypeCheck;

const NONCE: Nonce = Nonce::from_bytes([7; 8]);

/// Makes a socket pair: the parent's end, and the worker's.
fn sockets() -> (OwnedFd, Lifeline) {
    let (ours, socket) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    (ours, Lifeline { socket, nonce: NONCE, child_of: None })
}

/// Takes the claim, and receives the hello, as a worker does.
fn receive(
    theirs: &Lifeline,
    parent: Option<BorrowedFd<'_>>,
) -> io::Result<Result<(Hello, SegmentHandle), Unacceptable>> {
    match take_claim(theirs.socket.as_fd(), theirs.nonce)? {
        Ok(()) => Hello::receive(theirs, parent),
        Err(unacceptable) => Ok(Err(unacceptable)),
    }
}

fn segment() -> (Region, Segment) {
    Segment::create(Backend::Memfd, Wakeup::Futex, 4096).unwrap()
}

fn hello(region: &Region, segment: &Segment) -> Hello {
    let settings = Settings {
        max_message: 1000,
        strategy: WaitStrategy::Block,
        call_timeout: None,
        close_timeout: Duration::from_secs(2),
        max_calls_in_flight: 3,
        max_calls_served: 4,
        check_types: TypeCheck::Always,
    };
    Hello::new(region.capacity(), segment, &settings, TerminalSignals::EndWorker, 7)
}

#[test]
fn a_hello_may_come_late() {
    let (ours, theirs) = sockets();
    send_claim(ours.as_fd(), NONCE).unwrap();
    let sender = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        let (region, segment) = segment();
        hello(&region, &segment).send(ours.as_fd(), &segment).unwrap();
    });
    let (received, segment) = receive(&theirs, None).unwrap().unwrap();
    assert_eq!(
        (received.capacity, received.function, received.settings().max_message),
        (4096, 7, 1000)
    );
    assert_eq!(received.terminal_signals(), TerminalSignals::EndWorker);
    segment.attach(4096).unwrap();
    sender.join().unwrap();
}

/// Whatever descriptors come with, and however many come: each one is closed, or handed out.
#[test]
fn no_descriptor_of_a_bad_hello_stays_open() {
    let (region, segment) = segment();
    let good = hello(&region, &segment);
    let good = bytemuck::bytes_of(&good);
    for (said, count) in [
        (&[][..], 1),
        (&b"protocol_violation"[..], 1),
        (&good[..20], 1),
        (good, 2),
        (good, 3),
        (good, 200),
    ] {
        let (ours, theirs) = sockets();
        let (mut end, passed) = std::io::pipe().unwrap();
        let fds = vec![passed.as_raw_fd(); count];
        let rights = [ControlMessage::ScmRights(&fds)];
        send_claim(ours.as_fd(), NONCE).unwrap();
        sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(said)], &rights, MsgFlags::empty(), None)
            .unwrap();
        drop(passed);
        assert!(receive(&theirs, None).unwrap().is_err(), "{said:?} with {count} descriptors");
        // The pipe hangs up only once no copy of its other end is open; the sockets are still open.
        // A process that another test starts has a copy of each descriptor until it runs its
        // program. So the hang-up may take a moment.
        let mut poll_fd = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut poll_fd, 20_000_u16), Ok(1), "{said:?} with {count} descriptors");
        assert_eq!(std::io::Read::read(&mut end, &mut [0]).unwrap(), 0);
    }
    drop(segment);
}

#[test]
fn a_closed_socket_ends_the_wait_for_a_hello() {
    let (ours, theirs) = sockets();
    send_claim(ours.as_fd(), NONCE).unwrap();
    drop(ours);
    assert!(matches!(receive(&theirs, None), Ok(Err(Unacceptable::Gone))));
}

/// A wrapper runs the program a second time, while the parent lives.
#[test]
fn a_hello_is_for_one_process() {
    let (ours, theirs) = sockets();
    send_claim(ours.as_fd(), NONCE).unwrap();
    take_claim(theirs.socket.as_fd(), NONCE).unwrap().unwrap();
    assert!(matches!(receive(&theirs, None), Ok(Err(Unacceptable::Taken))));
}

#[test]
fn a_hello_without_a_claim_is_of_another_version() {
    let (ours, theirs) = sockets();
    let (region, segment) = segment();
    hello(&region, &segment).send(ours.as_fd(), &segment).unwrap();
    assert!(matches!(receive(&theirs, None), Ok(Err(Unacceptable::Abi))));
}

/// The worker refuses, and ends, before it has read anything: the kernel resets the connection.
#[test]
fn a_verdict_of_a_worker_that_reads_nothing() {
    let (ours, theirs) = sockets();
    send_claim(ours.as_fd(), NONCE).unwrap();
    send_secure(theirs.socket.as_fd()).unwrap();
    drop(theirs);
    assert!(matches!(receive_verdict(ours.as_fd()), Ok(Some(Answer::Secure))));
    assert!(matches!(receive_verdict(ours.as_fd()), Ok(None)));
}

/// Another process keeps a copy of the parent's end of the socket.
#[test]
fn the_end_of_the_parent_ends_the_wait_for_a_hello() {
    let (copy, theirs) = sockets();
    send_claim(copy.as_fd(), NONCE).unwrap();
    let mut parent = Command::new("sleep").arg("0.02").spawn().unwrap();
    let pidfd = pidfd::open(parent.id()).unwrap();
    assert!(matches!(receive(&theirs, Some(pidfd.as_fd())), Ok(Err(Unacceptable::Gone))));
    parent.wait().unwrap();
}

/// The system gives no descriptor of the parent, and this process is the child of another process.
#[test]
fn another_parent_ends_the_wait_for_a_hello() {
    let (copy, mut theirs) = sockets();
    theirs.child_of = Some(std::process::id());
    send_claim(copy.as_fd(), NONCE).unwrap();
    assert!(matches!(receive(&theirs, None), Ok(Err(Unacceptable::Gone))));
    assert!(matches!(arguments::receive(&theirs, None, 7), Ok(None)));
}
