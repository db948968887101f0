//! Defines the verdict: whether the worker has attached, and if not, why.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use bytemuck::{Pod, Zeroable};
use coprocess_ring::ABI_VERSION;
use nix::sys::socket::{MsgFlags, recvmsg, sendmsg};

use crate::process::handshake::claim::{MAGIC, despite_reset};

/// Lays out the worker's message. `magic` and `abi` keep their places in all versions.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Verdict {
    magic: u64,
    abi: u32,
    verdict: u32,
    /// Text in UTF-8, cut off at the end of the field, or filled up with zeros.
    reason: [u8; 112],
}

const _: () = assert!(size_of::<Verdict>() == 128);

const ATTACHED: u32 = 1;
const REFUSED: u32 = 2;
/// The worker is in secure execution.
const SECURE: u32 = 3;

/// Says what the verdict is, as the parent reads it.
#[derive(Debug)]
pub(crate) enum Answer {
    Attached,
    OtherAbi(u32),
    Refused(String),
    /// The worker runs in secure execution, and must not trust its environment.
    Secure,
}

/// Tells the parent that the worker has attached, or why it has not.
pub(crate) fn send_verdict(socket: BorrowedFd<'_>, outcome: Result<(), &str>) -> io::Result<()> {
    match outcome {
        Ok(()) => send(socket, ATTACHED, ""),
        Err(reason) => send(socket, REFUSED, reason),
    }
}

/// Tells the parent that the worker runs in secure execution.
pub(crate) fn send_secure(socket: BorrowedFd<'_>) -> io::Result<()> {
    send(socket, SECURE, "")
}

/// Sends a verdict.
fn send(socket: BorrowedFd<'_>, verdict: u32, reason: &str) -> io::Result<()> {
    let mut verdict = Verdict { magic: MAGIC, abi: ABI_VERSION, verdict, reason: [0; 112] };
    for (to, from) in verdict.reason.iter_mut().zip(reason.bytes()) {
        *to = from;
    }
    let buffer = [IoSlice::new(bytemuck::bytes_of(&verdict))];
    sendmsg::<()>(socket.as_raw_fd(), &buffer, &[], MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives the verdict, without waiting. Returns `None` if the worker has closed the socket.
pub(crate) fn receive_verdict(socket: BorrowedFd<'_>) -> io::Result<Option<Answer>> {
    let mut verdict = Verdict::zeroed();
    // A worker may refuse, and end, without having read the hello.
    let bytes = despite_reset(|| {
        let mut buffer = [IoSliceMut::new(bytemuck::bytes_of_mut(&mut verdict))];
        recvmsg::<()>(socket.as_raw_fd(), &mut buffer, None, MsgFlags::MSG_DONTWAIT)
            .map(|received| received.bytes)
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
            // The reason becomes part of an error of one line, which may be shown on a terminal.
            Answer::Refused(String::from_utf8_lossy(reason).replace(char::is_control, "\u{fffd}"))
        }
    }))
}

/// Receives the verdict, as [`receive_verdict`] does, in types that the fuzz targets know.
#[cfg(fuzzing)]
pub(crate) fn read_verdict(socket: BorrowedFd<'_>) -> io::Result<Option<Result<(), String>>> {
    Ok(receive_verdict(socket)?.map(|answer| match answer {
        Answer::Attached => Ok(()),
        Answer::OtherAbi(abi) => Err(format!("version {abi}")),
        Answer::Refused(reason) => Err(reason),
        Answer::Secure => Err("secure execution".to_owned()),
    }))
}
