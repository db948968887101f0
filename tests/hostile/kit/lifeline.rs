//! The start of a program that wants to be a worker without this library. It takes the socket from
//! its environment, receives the hello and the segment, and answers what it likes.
#![expect(unsafe_code, reason = "descriptors that are known by their numbers")]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;

use coprocess_ring::ABI_VERSION;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::memory::Memory;
use crate::common::LIMIT;

pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"coproces");

/// Returns what lets a process be the worker whose mark has this nonce.
pub(crate) fn claim(nonce: u64) -> [u8; 16] {
    let mut claim = [0; 16];
    claim[..8].copy_from_slice(&MAGIC.to_le_bytes());
    claim[8..].copy_from_slice(&nonce.to_le_bytes());
    claim
}

/// The way to the parent.
#[derive(Debug)]
pub(crate) struct Lifeline {
    pub(crate) socket: OwnedFd,
}

/// What the parent has sent.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) segment: OwnedFd,
    pub(crate) capacity: usize,
}

impl Lifeline {
    /// Takes it from the environment. This process ends by itself, whatever becomes of its parent.
    pub(crate) fn from_environment() -> Lifeline {
        thread::spawn(|| {
            thread::sleep(LIMIT);
            std::process::exit(99);
        });
        // What this process was executed with: the library has removed it since.
        let environment = std::fs::read("/proc/self/environ").expect("its environment");
        let value = environment
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(b"COPROCESS_LIFELINE="));
        let value = String::from_utf8(value.expect("started as a worker").to_vec()).expect("text");
        let fd: RawFd =
            value.split(':').nth(1).and_then(|fd| fd.parse().ok()).expect("a descriptor");
        // SAFETY: nothing closes the original in this process. A copy is taken, since the library
        // has taken the original, if only to forget it.
        let socket =
            unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().expect("it is open");
        Lifeline { socket }
    }

    /// Takes the claim, and waits for the hello.
    pub(crate) fn hello(&self) -> Given {
        let mut claim = [0; 16];
        recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut [IoSliceMut::new(&mut claim)],
            None,
            MsgFlags::empty(),
        )
        .expect("a claim");
        assert_eq!(claim[..8], MAGIC.to_le_bytes());
        let mut hello = [0; 72];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let mut buffer = [IoSliceMut::new(&mut hello)];
        let received = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut buffer,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .expect("a hello");
        let fd = received.cmsgs().expect("complete").find_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        // SAFETY: the kernel has just made it for us.
        let segment = unsafe { OwnedFd::from_raw_fd(fd.expect("the segment")) };
        let number =
            |at: usize| u64::from_le_bytes(hello[at..at + 8].try_into().expect("eight bytes"));
        assert_eq!(number(0), MAGIC);
        Given { segment, capacity: number(16) as usize }
    }

    /// Attaches, as an honest worker does.
    pub(crate) fn attach(&self) -> Memory {
        let given = self.hello();
        let memory = Memory::map(&given.segment, given.capacity).expect("map it");
        self.send(&verdict(ABI_VERSION, 1, b""), &[]).expect("answer");
        memory
    }

    /// Sends a message, with descriptors. Waits for nothing.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[RawFd]) -> Result<usize, Errno> {
        let rights = [ControlMessage::ScmRights(fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)
    }
}

/// What a parent says first.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) magic: u64,
    pub(crate) abi: u32,
    pub(crate) capacity: u64,
    pub(crate) max_message: u64,
    pub(crate) call_timeout: u64,
    pub(crate) close_timeout: u64,
    pub(crate) arguments: u64,
}

impl Hello {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.magic.to_le_bytes());
        bytes.extend(self.abi.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        for number in [
            self.capacity,
            self.max_message,
            self.call_timeout,
            0,
            u64::from(std::process::id()),
            self.close_timeout,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        // The limits on calls.
        bytes.extend([u32::MAX.to_le_bytes(); 2].concat());
        // What decodes arguments, how long they are, whether there is a limit on memory.
        for number in [0, self.arguments, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }
}

/// Returns what a worker says when it has attached (1) or will not (2).
pub(crate) fn verdict(abi: u32, verdict: u32, reason: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend(abi.to_le_bytes());
    bytes.extend(verdict.to_le_bytes());
    bytes.extend(reason);
    bytes.resize(128, 0);
    bytes
}
