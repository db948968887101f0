//! What the two sides say to each other over the socket pair before they share memory: the layout of it, and sending and receiving.
//!
//! Before the worker starts, the parent puts a claim into the socket, with the nonce of the worker's
//! mark: the process that takes it out is the worker, and any other that inherits the socket, such as
//! a second run by a wrapper, is not. The hello follows, with what leads to the segment, its descriptor or its name behind the
//! hello, while the worker starts. The worker answers with a verdict. Then nothing is sent any more, and the socket serves as a lifeline: its end says that the other process is
//! gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use coprocess_ring::{ABI_VERSION, MAX_NAME, Region, Segment, SegmentError, WaitStrategy};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::process::arguments::Arguments;
use crate::process::mark::{Lifeline, Nonce};
use crate::process::terminal::TerminalSignals;
use crate::settings::Terms;
use crate::settings::TypeCheck;

/// "coproces", read as a little-endian number: the same as the segment's.
const MAGIC: u64 = u64::from_le_bytes(*b"coproces");
const NO_TIMEOUT: u64 = u64::MAX;
/// The most descriptors that the kernel passes with one message. With room for all, none is left behind that we do not know of.
const MOST_DESCRIPTORS: usize = 253;

/// From the parent. `magic` and `abi` keep their places in all versions.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Hello {
    magic: u64,
    abi: u32,
    strategy: u16,
    terminal_signals: u16,
    pub(crate) capacity: u64,
    max_message: u64,
    /// Nanoseconds.
    call_timeout: u64,
    /// Of the worker function from the start of the executable; meaningless for a program.
    pub(crate) function: u64,
    pub(crate) parent: u32,
    /// What kind of segment it is.
    kind: u32,
    /// Nanoseconds.
    close_timeout: u64,
    max_calls_in_flight: u32,
    max_calls_served: u32,
    /// Of what decodes the arguments of the worker function, from the start of the executable; zero if there are none.
    pub(crate) shim: u64,
    /// How many bytes of arguments follow.
    pub(crate) arguments: u64,
    /// Whether the worker has a limit on memory, and is to say so if it dies of it.
    limits_memory: u32,
    check_types: u32,
}

/// What leads to the segment.
#[derive(Debug)]
pub(crate) struct Access {
    kind: u32,
    name: Vec<u8>,
    file: Option<OwnedFd>,
}

impl Access {
    /// Attaches to it, for rings of `capacity` bytes each.
    pub(crate) fn attach(self, capacity: u64) -> Result<Region, SegmentError> {
        Segment::attach(self.kind, &self.name, self.file, usize::try_from(capacity).unwrap_or(0))
    }
}

/// From the worker. `magic` and `abi` keep their places in all versions.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Verdict {
    magic: u64,
    abi: u32,
    verdict: u32,
    /// Text, filled up with zeros.
    reason: [u8; 112],
}

const _: () = assert!(size_of::<Hello>() == 96 && size_of::<Verdict>() == 128);

const ATTACHED: u32 = 1;
const REFUSED: u32 = 2;
/// The worker is in secure execution.
const SECURE: u32 = 3;

/// What the worker said.
#[derive(Debug)]
pub(crate) enum Answer {
    Attached,
    OtherAbi(u32),
    Refused(String),
    /// It must not trust its environment.
    Secure,
}

/// Why a claim or a hello cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unacceptable {
    #[error("the parent's hello makes no sense")]
    Nonsense,
    #[error("the parent speaks another version of the protocol")]
    Abi,
    #[error("the parent is gone")]
    Gone,
    #[error("another process has become the worker already")]
    Taken,
}

/// What stands first in a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The claim of the start that the nonce is of.
    Ours,
    /// Nothing: another process has taken it.
    Taken,
    /// Nothing will come.
    Gone,
    /// Something else: of this length at least.
    Other { is_longer: bool },
}

fn claim_of(nonce: Nonce) -> [u8; 16] {
    let mut claim = [0; 16];
    let (magic, number) = claim.split_at_mut(8);
    magic.copy_from_slice(&MAGIC.to_le_bytes());
    number.copy_from_slice(&nonce.to_bytes());
    claim
}

/// Lets one process be the worker: the one that takes the claim.
pub(crate) fn send_claim(socket: BorrowedFd<'_>, nonce: Nonce) -> io::Result<()> {
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&claim_of(nonce))], &[], MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Looks whether the claim is there, and leaves it there.
pub(crate) fn look_at_claim(socket: BorrowedFd<'_>, nonce: Nonce) -> Claim {
    // What cannot be read does not confirm anything.
    receive_claim(socket, nonce, MsgFlags::MSG_PEEK).unwrap_or(Claim::Other { is_longer: false })
}

fn receive_claim(socket: BorrowedFd<'_>, nonce: Nonce, flags: MsgFlags) -> io::Result<Claim> {
    let expected = claim_of(nonce);
    let mut claim = [0; 16];
    let mut buffer = [IoSliceMut::new(&mut claim)];
    let received = despite_reset(|| {
        recvmsg::<()>(socket.as_raw_fd(), &mut buffer, None, flags | MsgFlags::MSG_DONTWAIT)
            .map(|received| (received.bytes, received.flags))
    });
    let (bytes, flags) = match received {
        Ok(received) => received,
        Err(nix::Error::EAGAIN) => return Ok(Claim::Taken),
        Err(nix::Error::ECONNRESET) => return Ok(Claim::Gone),
        Err(error) => return Err(error.into()),
    };
    let is_longer = flags.contains(MsgFlags::MSG_TRUNC);
    Ok(match bytes {
        0 => Claim::Gone,
        16 if claim == expected && !is_longer => Claim::Ours,
        _ => Claim::Other { is_longer },
    })
}

/// Receives what is there although the other end was closed with something unread: the kernel tells that once, before it gives what is there.
fn despite_reset<T>(mut receive: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    match receive() {
        Err(nix::Error::ECONNRESET) => receive(),
        received => received,
    }
}

/// Takes the claim, so that this process is the worker.
pub(crate) fn take_claim(socket: BorrowedFd<'_>, nonce: Nonce) -> io::Result<Result<(), Unacceptable>> {
    Ok(match receive_claim(socket, nonce, MsgFlags::empty())? {
        Claim::Ours => Ok(()),
        Claim::Taken => Err(Unacceptable::Taken),
        Claim::Gone => Err(Unacceptable::Gone),
        // A hello, from a version without claims.
        Claim::Other { is_longer: true } => Err(Unacceptable::Abi),
        Claim::Other { is_longer: false } => Err(Unacceptable::Nonsense),
    })
}

impl Hello {
    pub(crate) fn new(capacity: usize, segment: &Segment, terms: &Terms, terminal_signals: TerminalSignals, function: u64) -> Hello {
        let strategy = match terms.strategy {
            WaitStrategy::Spin => 1,
            WaitStrategy::Block => 2,
            _ => 0,
        };
        let nanos = |t: Duration| u64::try_from(t.as_nanos()).unwrap_or(NO_TIMEOUT);
        Hello {
            magic: MAGIC,
            abi: ABI_VERSION,
            strategy,
            terminal_signals: match terminal_signals {
                TerminalSignals::LeftToParent => 0,
                TerminalSignals::EndWorker => 1,
            },
            capacity: capacity as u64,
            max_message: terms.max_message as u64,
            call_timeout: terms.call_timeout.map_or(NO_TIMEOUT, nanos),
            function,
            parent: std::process::id(),
            kind: segment.kind(),
            close_timeout: nanos(terms.close_timeout),
            max_calls_in_flight: terms.max_calls_in_flight,
            max_calls_served: terms.max_calls_served,
            shim: 0,
            arguments: 0,
            limits_memory: 0,
            check_types: match terms.check_types {
                TypeCheck::FirstUse => 0,
                TypeCheck::Always => 1,
                TypeCheck::Off => 2,
            },
        }
    }

    /// The same, for a worker function with arguments, or for a worker with a limit on memory.
    pub(crate) fn with(self, arguments: Option<&Arguments>, limits_memory: bool) -> Hello {
        let (shim, length) = arguments.map_or((0, 0), |arguments| (arguments.shim, arguments.bytes.len() as u64));
        Hello { shim, arguments: length, limits_memory: u32::from(limits_memory), ..self }
    }

    /// Sends it, with what leads to the segment.
    pub(crate) fn send(&self, socket: BorrowedFd<'_>, segment: &Segment) -> io::Result<()> {
        let fds = segment.file().map(|file| [file.as_raw_fd()]);
        let rights = fds.as_ref().map(|fds| ControlMessage::ScmRights(fds));
        let bytes = [IoSlice::new(bytemuck::bytes_of(self)), IoSlice::new(segment.name())];
        sendmsg::<()>(socket.as_raw_fd(), &bytes, rights.as_slice(), MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Waits for it, once the claim was taken, and receives it, with what leads to the segment. The wait
    /// ends, too, when the other end of the socket is closed, or when the parent ends, if that can be
    /// told: another process may have a copy of the parent's end.
    pub(crate) fn receive(lifeline: &Lifeline, parent: Option<BorrowedFd<'_>>) -> io::Result<Result<(Hello, Access), Unacceptable>> {
        let socket = lifeline.socket.as_fd();
        lifeline.wait(parent)?;
        let mut hello = Hello::zeroed();
        let mut space = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
        let mut name = [0; MAX_NAME];
        let mut buffer = [IoSliceMut::new(bytemuck::bytes_of_mut(&mut hello)), IoSliceMut::new(&mut name)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let received = match recvmsg::<()>(socket.as_raw_fd(), &mut buffer, Some(&mut space), flags) {
            Ok(received) => received,
            Err(nix::Error::EAGAIN) => return Ok(Err(Unacceptable::Gone)),
            Err(error) => return Err(error.into()),
        };
        let bytes = received.bytes;
        let is_whole = !received.flags.contains(MsgFlags::MSG_TRUNC);
        // Before all else: also those that come with nonsense, or with nothing, are ours to close.
        let mut descriptors = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = message {
                // SAFETY: the kernel has just made these descriptors for us, and nobody else knows of them.
                descriptors.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if bytes == 0 {
            return Ok(Err(Unacceptable::Gone));
        }
        if bytes < 12 || hello.magic != MAGIC {
            return Ok(Err(Unacceptable::Nonsense));
        }
        if hello.abi != ABI_VERSION {
            return Ok(Err(Unacceptable::Abi));
        }
        let name = bytes.checked_sub(size_of::<Hello>()).and_then(|length| name.get(..length));
        Ok(match (name, descriptors.pop(), descriptors.is_empty()) {
            (Some(name), file, true) if is_whole => Ok((hello, Access { kind: hello.kind, name: name.to_vec(), file })),
            _ => Err(Unacceptable::Nonsense),
        })
    }

    pub(crate) fn terminal_signals(&self) -> TerminalSignals {
        match self.terminal_signals {
            1 => TerminalSignals::EndWorker,
            _ => TerminalSignals::LeftToParent,
        }
    }

    pub(crate) fn limits_memory(&self) -> bool {
        self.limits_memory != 0
    }

    pub(crate) fn max_message(&self) -> u64 {
        self.max_message
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms {
            max_message: usize::try_from(self.max_message).unwrap_or(usize::MAX),
            strategy: match self.strategy {
                1 => WaitStrategy::Spin,
                2 => WaitStrategy::Block,
                _ => WaitStrategy::Adaptive,
            },
            call_timeout: (self.call_timeout != NO_TIMEOUT).then(|| Duration::from_nanos(self.call_timeout)),
            close_timeout: Duration::from_nanos(self.close_timeout),
            max_calls_in_flight: self.max_calls_in_flight,
            max_calls_served: self.max_calls_served,
            check_types: match self.check_types {
                1 => TypeCheck::Always,
                2 => TypeCheck::Off,
                _ => TypeCheck::FirstUse,
            },
        }
    }
}

/// Tells the parent that the worker has attached, or why not.
pub(crate) fn send_verdict(socket: BorrowedFd<'_>, outcome: Result<(), &str>) -> io::Result<()> {
    match outcome {
        Ok(()) => say(socket, ATTACHED, ""),
        Err(reason) => say(socket, REFUSED, reason),
    }
}

/// Tells the parent that the worker is in secure execution.
pub(crate) fn send_secure(socket: BorrowedFd<'_>) -> io::Result<()> {
    say(socket, SECURE, "")
}

fn say(socket: BorrowedFd<'_>, verdict: u32, reason: &str) -> io::Result<()> {
    let mut verdict = Verdict { magic: MAGIC, abi: ABI_VERSION, verdict, reason: [0; 112] };
    for (to, from) in verdict.reason.iter_mut().zip(reason.bytes()) {
        *to = from;
    }
    let buffer = [IoSlice::new(bytemuck::bytes_of(&verdict))];
    sendmsg::<()>(socket.as_raw_fd(), &buffer, &[], MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives what the worker says. `None` if it closed the socket.
pub(crate) fn receive_verdict(socket: BorrowedFd<'_>) -> io::Result<Option<Answer>> {
    let mut verdict = Verdict::zeroed();
    // A worker may refuse, and end, without having read the hello.
    let bytes = despite_reset(|| {
        let mut buffer = [IoSliceMut::new(bytemuck::bytes_of_mut(&mut verdict))];
        recvmsg::<()>(socket.as_raw_fd(), &mut buffer, None, MsgFlags::MSG_DONTWAIT).map(|received| received.bytes)
    })?;
    if bytes == 0 {
        return Ok(None);
    }
    if bytes < 12 || verdict.magic != MAGIC {
        return Ok(Some(Answer::Refused("its answer makes no sense".to_owned())));
    }
    if verdict.abi != ABI_VERSION {
        return Ok(Some(Answer::OtherAbi(verdict.abi)));
    }
    if bytes != size_of::<Verdict>() {
        return Ok(Some(Answer::Refused("its answer makes no sense".to_owned())));
    }
    Ok(Some(match verdict.verdict {
        ATTACHED => Answer::Attached,
        SECURE => Answer::Secure,
        _ => {
            let reason = verdict.reason.split(|b| *b == 0).next().unwrap_or_default();
            // It ends up in an error, of one line, and on somebody's terminal.
            Answer::Refused(String::from_utf8_lossy(reason).replace(char::is_control, "\u{fffd}"))
        }
    }))
}

/// As [`receive_verdict`], in types that the fuzz targets know.
#[cfg(fuzzing)]
pub(crate) fn read_verdict(socket: BorrowedFd<'_>) -> io::Result<Option<Result<(), String>>> {
    Ok(receive_verdict(socket)?.map(|answer| match answer {
        Answer::Attached => Ok(()),
        Answer::OtherAbi(abi) => Err(format!("version {abi}")),
        Answer::Refused(reason) => Err(reason),
        Answer::Secure => Err("secure execution".to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;
    use std::thread;

    use coprocess_ring::{Backend, Wakeup};
    use nix::poll::{PollFd, PollFlags, poll};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;
    use crate::process::{arguments, pidfd};

    const NONCE: Nonce = Nonce::from_bytes([7; 8]);

    /// What is in these tests is the worker's end of a socket pair.
    fn sockets() -> (OwnedFd, Lifeline) {
        let (ours, socket) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        (ours, Lifeline { socket, nonce: NONCE, child_of: None })
    }

    /// Takes the claim, and receives the hello.
    fn receive(theirs: &Lifeline, parent: Option<BorrowedFd<'_>>) -> io::Result<Result<(Hello, Access), Unacceptable>> {
        match take_claim(theirs.socket.as_fd(), theirs.nonce)? {
            Ok(()) => Hello::receive(theirs, parent),
            Err(unacceptable) => Ok(Err(unacceptable)),
        }
    }

    fn segment() -> (Region, Segment) {
        Segment::create(Backend::Memfd, Wakeup::Futex, 4096).unwrap()
    }

    fn hello(region: &Region, segment: &Segment) -> Hello {
        let terms = Terms {
            max_message: 1000,
            strategy: WaitStrategy::Block,
            call_timeout: None,
            close_timeout: Duration::from_secs(2),
            max_calls_in_flight: 3,
            max_calls_served: 4,
            check_types: TypeCheck::Always,
        };
        Hello::new(region.capacity(), segment, &terms, TerminalSignals::EndWorker, 7)
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
        assert_eq!((received.capacity, received.function, received.terms().max_message), (4096, 7, 1000));
        assert_eq!(received.terminal_signals(), TerminalSignals::EndWorker);
        segment.attach(4096).unwrap();
        sender.join().unwrap();
    }

    /// Whatever they come with, and however many there are: all that is received is closed, or handed out.
    #[test]
    fn no_descriptor_of_a_bad_hello_stays_open() {
        let (region, segment) = segment();
        let good = hello(&region, &segment);
        let good = bytemuck::bytes_of(&good);
        for (said, count) in [(&[][..], 1), (&b"nonsense"[..], 1), (&good[..20], 1), (good, 2), (good, 3), (good, 200)] {
            let (ours, theirs) = sockets();
            let (mut end, passed) = std::io::pipe().unwrap();
            let fds = vec![passed.as_raw_fd(); count];
            let rights = [ControlMessage::ScmRights(&fds)];
            send_claim(ours.as_fd(), NONCE).unwrap();
            sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(said)], &rights, MsgFlags::empty(), None).unwrap();
            drop(passed);
            assert!(receive(&theirs, None).unwrap().is_err(), "{said:?} with {count} descriptors");
            // Ends only once nobody has the other end of the pipe any more; the sockets are still open. A process that another test starts has a
            // copy of everything until it runs its program, so this may take a moment.
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

    /// A second run of the program by a wrapper, while the parent lives.
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

    /// Also if the worker says it, and ends, before it has read anything: the kernel resets the connection then.
    #[test]
    fn a_verdict_of_a_worker_that_reads_nothing() {
        let (ours, theirs) = sockets();
        send_claim(ours.as_fd(), NONCE).unwrap();
        send_secure(theirs.socket.as_fd()).unwrap();
        drop(theirs);
        assert!(matches!(receive_verdict(ours.as_fd()), Ok(Some(Answer::Secure))));
        assert!(matches!(receive_verdict(ours.as_fd()), Ok(None)));
    }

    /// Although somebody else has a copy of its end of the socket.
    #[test]
    fn the_end_of_the_parent_ends_the_wait_for_a_hello() {
        let (copy, theirs) = sockets();
        send_claim(copy.as_fd(), NONCE).unwrap();
        let mut parent = Command::new("sleep").arg("0.02").spawn().unwrap();
        let pidfd = pidfd::open(parent.id()).unwrap();
        assert!(matches!(receive(&theirs, Some(pidfd.as_fd())), Ok(Err(Unacceptable::Gone))));
        parent.wait().unwrap();
    }

    /// Also where the system gives no descriptor of the parent: this process is a child of another one.
    #[test]
    fn another_parent_ends_the_wait_for_a_hello() {
        let (copy, mut theirs) = sockets();
        theirs.child_of = Some(std::process::id());
        send_claim(copy.as_fd(), NONCE).unwrap();
        assert!(matches!(receive(&theirs, None), Ok(Err(Unacceptable::Gone))));
        assert!(matches!(arguments::receive(&theirs, None, 7), Ok(None)));
    }
}
