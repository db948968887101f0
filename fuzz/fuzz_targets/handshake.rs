//! Feeds messages to both ends of the socket before memory is shared. The worker gets a hello, with
//! a descriptor that may be anything. The parent gets a verdict.
//!
//! A message must be accepted exactly if it is in order, and no descriptor may be left behind.

#![no_main]

use std::fs::File;
use std::io::{IoSlice, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use coprocess_ring::{ABI_VERSION, Region};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use nix::unistd::ftruncate;

const MAGIC: u64 = u64::from_le_bytes(*b"coproces");
const HELLO: usize = 96;
const VERDICT: usize = 128;
/// Counts the bytes of a segment's header.
const HEADER: usize = 48;

/// Makes the claim that lets a process be the worker. Here its nonce is zero.
fn claim() -> [u8; 16] {
    let mut claim = [0; 16];
    claim[..8].copy_from_slice(&MAGIC.to_le_bytes());
    claim
}

#[derive(Arbitrary, Debug)]
enum Input {
    Hello {
        hello: Hello,
        changes: Vec<(u8, u8)>,
        length: Option<u8>,
        files: Vec<Passed>,
        more: Option<Vec<u8>>,
    },
    Raw {
        bytes: Vec<u8>,
        files: Vec<Passed>,
    },
    Verdict {
        abi: Option<u32>,
        verdict: u32,
        reason: Vec<u8>,
        changes: Vec<(u8, u8)>,
        length: Option<u8>,
        files: bool,
    },
    RawVerdict(Vec<u8>),
    Closed {
        hello: bool,
    },
    /// Bytes in place of the claim.
    Claim(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Hello {
    strategy: u32,
    /// Replaces the capacity of the segment.
    capacity: Option<u64>,
    max_message: u64,
    call_timeout: u64,
    function: u64,
    parent: u32,
    close_timeout: u64,
    max_calls: [u32; 2],
}

/// Describes a descriptor that is passed with a message.
#[derive(Arbitrary, Debug)]
enum Passed {
    /// A segment, with changes to its header.
    Segment {
        pages: u8,
        header: Vec<(u8, u8)>,
    },
    /// A memory file of some size, with some seals.
    Memory {
        size: u16,
        seals: u8,
        header: bool,
    },
    Pipe,
    Directory,
    Null,
}

impl Passed {
    /// Makes the descriptor. Returns the capacity, too, for a segment that is in order.
    fn make(&self) -> (OwnedFd, Option<usize>) {
        match self {
            Passed::Segment { pages, header } => {
                let (region, file) = Region::create(usize::from(*pages) * 512).expect("create");
                let file = File::from(file);
                change(&file, header);
                let magic =
                    header.iter().fold([0; HEADER], |mut changes: [u8; HEADER], (at, bits)| {
                        changes[usize::from(*at) % HEADER] ^= bits;
                        changes
                    });
                (file.into(), (magic == [0; HEADER]).then(|| region.capacity()))
            }
            Passed::Memory { size, seals, header } => {
                let file =
                    memfd_create(c"fuzz", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
                        .expect("memory");
                ftruncate(&file, (*size).into()).expect("size");
                let file = File::from(file);
                if *header && usize::from(*size) >= HEADER {
                    let (_region, good) = Region::create(4096).expect("create");
                    let mut bytes = [0; HEADER];
                    File::from(good).read_exact_at(&mut bytes, 0).expect("read");
                    file.write_all_at(&bytes, 0).expect("write");
                }
                // Never all three seals of a segment: the file would be a valid one.
                let seals = SealFlag::from_bits_truncate(i32::from(*seals))
                    - SealFlag::F_SEAL_SEAL
                    - SealFlag::F_SEAL_FUTURE_WRITE;
                fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("seal");
                (file.into(), None)
            }
            Passed::Pipe => (pipe().expect("pipe").0.into(), None),
            Passed::Directory => (File::open("/").expect("directory").into(), None),
            Passed::Null => (File::open("/dev/null").expect("null").into(), None),
        }
    }
}

fn change(file: &File, changes: &[(u8, u8)]) {
    for (at, bits) in changes {
        let at = u64::from(*at) % HEADER as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ bits], at).expect("write");
    }
}

fn changed(mut bytes: Vec<u8>, changes: &[(u8, u8)], length: Option<u8>) -> Vec<u8> {
    for (at, bits) in changes {
        let at = usize::from(*at) % bytes.len();
        bytes[at] ^= bits;
    }
    bytes.resize(length.map_or(bytes.len(), usize::from), 0x77);
    bytes
}

fn sockets() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .expect("socket pair")
}

fn send(socket: &OwnedFd, bytes: &[u8], files: &[OwnedFd]) {
    let fds: Vec<_> = files.iter().map(|file| file.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights = if fds.is_empty() { &[][..] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], rights, MsgFlags::MSG_NOSIGNAL, None)
        .expect("send");
}

/// Sends a hello to a worker, then `more`, then the end of the socket. If `expected`, the worker
/// must attach.
fn hello(bytes: &[u8], files: &[OwnedFd], more: Option<&[u8]>, expected: bool) {
    let (ours, theirs) = sockets();
    send(&ours, &claim(), &[]);
    send(&ours, bytes, files);
    if let Some(more) = more {
        send(&ours, more, &[]);
    }
    drop(ours);
    let attached = coprocess::fuzzing::attach(theirs);
    assert_eq!(attached.is_ok(), expected, "{attached:?}");
    if let Ok(co) = attached {
        while matches!(co.poll(), Ok(1..)) {}
    }
}

fn verdict(bytes: &[u8], files: &[OwnedFd], expected: bool) {
    let (ours, theirs) = sockets();
    send(&theirs, bytes, files);
    let verdict = coprocess::fuzzing::verdict(ours.as_fd()).expect("receive");
    // A message of no bytes cannot be told from the end of the socket.
    assert_eq!(verdict.is_none(), bytes.is_empty());
    assert_eq!(matches!(verdict, Some(Ok(()))), expected, "{verdict:?}");
}

fn fuzz(input: Input) {
    match input {
        Input::Hello { hello: said, changes, length, files, more } => {
            let made: Vec<_> = files.iter().take(4).map(Passed::make).collect();
            let capacity = made.first().and_then(|(_, capacity)| *capacity);
            let mut bytes = Vec::new();
            bytes.extend(MAGIC.to_le_bytes());
            bytes.extend(ABI_VERSION.to_le_bytes());
            bytes.extend(said.strategy.to_le_bytes());
            bytes.extend(said.capacity.unwrap_or(capacity.unwrap_or(4096) as u64).to_le_bytes());
            for number in [said.max_message, said.call_timeout, said.function] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(u64::from(said.parent).to_le_bytes());
            bytes.extend(said.close_timeout.to_le_bytes());
            bytes.extend(said.max_calls.map(u32::to_le_bytes).concat());
            // No arguments, and no limit on memory.
            bytes.extend([0; 24]);
            assert_eq!(bytes.len(), HELLO);
            let good = bytes[..24].to_vec();
            let bytes = changed(bytes, &changes, length);
            // A name would follow, which a segment that is a file does not have. The strategy may
            // be anything, the kind may not.
            let essential = bytes.len() == HELLO
                && bytes[..12] == good[..12]
                && bytes[52..56] == [0; 4]
                && bytes[80..88] == [0; 8];
            let announced = bytes.get(16..24).map(|b| u64::from_le_bytes(b.try_into().unwrap()));
            let expected = essential
                && made.len() == 1
                && capacity.is_some()
                && announced == capacity.map(|c| c as u64);
            let files: Vec<OwnedFd> = made.into_iter().map(|(file, _)| file).collect();
            hello(&bytes, &files, more.as_deref(), expected);
        }
        Input::Raw { bytes, files } => {
            let files: Vec<OwnedFd> = files.iter().take(4).map(|file| file.make().0).collect();
            // Hellos that are in order are made above.
            if bytes.len() < HELLO || bytes[..8] != MAGIC.to_le_bytes() {
                hello(&bytes, &files, None, false);
            }
        }
        Input::Verdict { abi, verdict: said, reason, changes, length, files } => {
            let mut bytes = Vec::new();
            bytes.extend(MAGIC.to_le_bytes());
            bytes.extend(abi.unwrap_or(ABI_VERSION).to_le_bytes());
            bytes.extend(said.to_le_bytes());
            bytes.extend(reason);
            bytes.resize(VERDICT, 0);
            let bytes = changed(bytes, &changes, length);
            let mut attached = MAGIC.to_le_bytes().to_vec();
            attached.extend(ABI_VERSION.to_le_bytes());
            attached.extend(1_u32.to_le_bytes());
            let expected = bytes.len() >= VERDICT && bytes[..16] == attached;
            let files: Vec<OwnedFd> = (0..u8::from(files)).map(|_| Passed::Null.make().0).collect();
            verdict(&bytes, &files, expected);
        }
        Input::RawVerdict(bytes) => {
            if bytes.len() < VERDICT || bytes[..8] != MAGIC.to_le_bytes() {
                verdict(&bytes, &[], false);
            }
        }
        Input::Closed { hello: true } => {
            let (ours, theirs) = sockets();
            drop(ours);
            assert!(coprocess::fuzzing::attach(theirs).is_err());
        }
        Input::Claim(bytes) => {
            if bytes != claim() {
                let (ours, theirs) = sockets();
                send(&ours, &bytes, &[Passed::Null.make().0]);
                assert!(coprocess::fuzzing::attach(theirs).is_err());
            }
        }
        Input::Closed { hello: false } => {
            let (ours, theirs) = sockets();
            drop(theirs);
            assert_eq!(coprocess::fuzzing::verdict(ours.as_fd()).expect("receive"), None);
        }
    }
}

/// Counts the open descriptors, of those that these inputs can reach.
fn descriptors() -> usize {
    // SAFETY: the call only asks whether the descriptor is open.
    (0..64)
        .filter(|fd| fcntl(unsafe { BorrowedFd::borrow_raw(*fd) }, FcntlArg::F_GETFD).is_ok())
        .count()
}

fuzz_target!(|input: Input| {
    let before = descriptors();
    fuzz(input);
    assert_eq!(descriptors(), before, "a descriptor was left behind");
});
