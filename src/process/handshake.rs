//! What the two sides say to each other over the socket pair before they share memory: the layout of it, and sending and receiving.
//!
//! The parent's hello, with the segment's descriptor, is in the socket before the worker exists. The worker answers with a verdict. Then
//! nothing is sent any more, and the socket serves as a lifeline: its end says that the other process is gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use coprocess_ring::{ABI_VERSION, WaitStrategy};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::end::Terms;

/// "coproces", read as a little-endian number: the same as the segment's.
const MAGIC: u64 = u64::from_le_bytes(*b"coproces");
const NO_TIMEOUT: u64 = u64::MAX;

/// From the parent. `magic` and `abi` keep their places in all versions.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Hello {
    magic: u64,
    abi: u32,
    strategy: u32,
    pub(crate) capacity: u64,
    max_message: u64,
    /// Nanoseconds.
    call_timeout: u64,
    /// Of the worker function from the start of the executable; meaningless for a program.
    pub(crate) function: u64,
    pub(crate) parent: u32,
    reserved: u32,
    /// Nanoseconds.
    close_timeout: u64,
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

const _: () = assert!(size_of::<Hello>() == 64 && size_of::<Verdict>() == 128);

const ATTACHED: u32 = 1;
const REFUSED: u32 = 2;

/// What the worker said.
#[derive(Debug)]
pub(crate) enum Answer {
    Attached,
    OtherAbi(u32),
    Refused(String),
}

/// Why a hello cannot be accepted.
#[derive(Debug)]
pub(crate) enum Unacceptable {
    /// Not a hello at all.
    Nonsense,
    /// From another version.
    Abi,
}

impl Hello {
    pub(crate) fn new(capacity: usize, terms: &Terms, function: u64) -> Hello {
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
            capacity: capacity as u64,
            max_message: terms.max_message as u64,
            call_timeout: terms.call_timeout.map_or(NO_TIMEOUT, nanos),
            function,
            parent: std::process::id(),
            reserved: 0,
            close_timeout: nanos(terms.close_timeout),
        }
    }

    /// Sends it, with the segment.
    pub(crate) fn send(&self, socket: BorrowedFd<'_>, segment: BorrowedFd<'_>) -> io::Result<()> {
        let fds = [segment.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytemuck::bytes_of(self))], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Receives it, with the segment.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Result<(Hello, OwnedFd), Unacceptable>> {
        let mut hello = Hello::zeroed();
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let mut buffer = [IoSliceMut::new(bytemuck::bytes_of_mut(&mut hello))];
        let received =
            recvmsg::<()>(socket.as_raw_fd(), &mut buffer, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT)?;
        let bytes = received.bytes;
        let mut segment = None;
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = message {
                for fd in fds {
                    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
                    segment = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        if bytes < 12 || hello.magic != MAGIC {
            return Ok(Err(Unacceptable::Nonsense));
        }
        if hello.abi != ABI_VERSION {
            return Ok(Err(Unacceptable::Abi));
        }
        Ok(match segment {
            Some(segment) if bytes == size_of::<Hello>() => Ok((hello, segment)),
            _ => Err(Unacceptable::Nonsense),
        })
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
        }
    }
}

/// Tells the parent that the worker has attached, or why not.
pub(crate) fn send_verdict(socket: BorrowedFd<'_>, outcome: Result<(), &str>) -> io::Result<()> {
    let mut verdict = Verdict { magic: MAGIC, abi: ABI_VERSION, verdict: ATTACHED, reason: [0; 112] };
    if let Err(reason) = outcome {
        verdict.verdict = REFUSED;
        for (to, from) in verdict.reason.iter_mut().zip(reason.bytes()) {
            *to = from;
        }
    }
    let buffer = [IoSlice::new(bytemuck::bytes_of(&verdict))];
    sendmsg::<()>(socket.as_raw_fd(), &buffer, &[], MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives what the worker says. `None` if it closed the socket.
pub(crate) fn receive_verdict(socket: BorrowedFd<'_>) -> io::Result<Option<Answer>> {
    let mut verdict = Verdict::zeroed();
    let mut buffer = [IoSliceMut::new(bytemuck::bytes_of_mut(&mut verdict))];
    let bytes = recvmsg::<()>(socket.as_raw_fd(), &mut buffer, None, MsgFlags::MSG_DONTWAIT)?.bytes;
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
        _ => {
            let length = verdict.reason.iter().position(|b| *b == 0).unwrap_or(verdict.reason.len());
            Answer::Refused(String::from_utf8_lossy(&verdict.reason[..length]).into_owned())
        }
    }))
}
