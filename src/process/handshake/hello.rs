//! Defines the hello: the settings of the pair, and the way to its shared memory.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use coprocess_ring::{ABI_VERSION, MAX_NAME, Region, Segment, SegmentError, WaitStrategy};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::process::handshake::arguments::Arguments;
use crate::process::handshake::claim::{MAGIC, Unacceptable};
use crate::process::handshake::lifeline::Lifeline;
use crate::process::terminal_signals::TerminalSignals;
use crate::settings::Settings;
use crate::settings::TypeCheck;

const NO_TIMEOUT: u64 = u64::MAX;
/// Is the most descriptors that the kernel passes with one message. With space for all of them,
/// none is received unnoticed.
const MOST_DESCRIPTORS: usize = 253;
/// Lays out the parent's message. `magic` and `abi` keep their places in all versions.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Hello {
    magic: u64,
    abi: u32,
    strategy: u16,
    terminal_signals: u16,
    pub(crate) capacity: u64,
    max_message: u64,
    /// In nanoseconds.
    call_timeout: u64,
    /// The distance of the worker function from the start of the executable. Without meaning for a
    /// worker program.
    pub(crate) function: u64,
    /// The process id of the parent.
    pub(crate) parent: u32,
    /// The kind of the segment.
    kind: u32,
    /// In nanoseconds.
    close_timeout: u64,
    max_calls_in_flight: u32,
    max_calls_served: u32,
    /// The distance of the function that decodes the arguments. Zero if there are no arguments.
    pub(crate) shim: u64,
    /// How many bytes of arguments follow the hello.
    pub(crate) arguments: u64,
    /// Nonzero if the worker has a limit on memory, and has to report if it dies of that limit.
    limits_memory: u32,
    check_types: u32,
}

const _: () = assert!(size_of::<Hello>() == 96);

/// Holds the way to the segment: its descriptor or its name.
#[derive(Debug)]
pub(crate) struct SegmentHandle {
    kind: u32,
    name: Vec<u8>,
    file: Option<OwnedFd>,
}

impl SegmentHandle {
    /// Attaches to the segment, for rings of `capacity` bytes each.
    pub(crate) fn attach(self, capacity: u64) -> Result<Region, SegmentError> {
        Segment::attach(self.kind, &self.name, self.file, usize::try_from(capacity).unwrap_or(0))
    }
}

impl Hello {
    /// Makes the hello of a worker without arguments and without a limit on memory.
    pub(crate) fn new(
        capacity: usize,
        segment: &Segment,
        settings: &Settings,
        terminal_signals: TerminalSignals,
        function: u64,
    ) -> Hello {
        let strategy = match settings.strategy {
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
            max_message: settings.max_message as u64,
            call_timeout: settings.call_timeout.map_or(NO_TIMEOUT, nanos),
            function,
            parent: std::process::id(),
            kind: segment.kind(),
            close_timeout: nanos(settings.close_timeout),
            max_calls_in_flight: settings.max_calls_in_flight,
            max_calls_served: settings.max_calls_served,
            shim: 0,
            arguments: 0,
            limits_memory: 0,
            check_types: match settings.check_types {
                TypeCheck::FirstUse => 0,
                TypeCheck::Always => 1,
                TypeCheck::Off => 2,
            },
        }
    }

    /// Sets the arguments of the worker function, and whether the worker has a limit on memory.
    pub(crate) fn with(self, arguments: Option<&Arguments>, limits_memory: bool) -> Hello {
        let (shim, length) =
            arguments.map_or((0, 0), |arguments| (arguments.shim, arguments.bytes.len() as u64));
        Hello { shim, arguments: length, limits_memory: u32::from(limits_memory), ..self }
    }

    /// Sends the hello, with the way to the segment.
    pub(crate) fn send(&self, socket: BorrowedFd<'_>, segment: &Segment) -> io::Result<()> {
        let fds = segment.file().map(|file| [file.as_raw_fd()]);
        let rights = fds.as_ref().map(|fds| ControlMessage::ScmRights(fds));
        let bytes = [IoSlice::new(bytemuck::bytes_of(self)), IoSlice::new(segment.name())];
        sendmsg::<()>(socket.as_raw_fd(), &bytes, rights.as_slice(), MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Waits for the hello, and receives it, with the way to the segment. Call after this process
    /// has taken the claim.
    ///
    /// # Blocking
    ///
    /// Until:
    ///
    /// - the hello arrives,
    /// - the other end of the socket is closed,
    /// - the parent ends, as far as its descriptor `parent` or its number tells. Another process
    ///   may keep a copy of the parent's end of the socket.
    pub(crate) fn receive(
        lifeline: &Lifeline,
        parent: Option<BorrowedFd<'_>>,
    ) -> io::Result<Result<(Hello, SegmentHandle), Unacceptable>> {
        let socket = lifeline.socket.as_fd();
        lifeline.wait(parent)?;
        let mut hello = Hello::zeroed();
        let mut space = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
        let mut name = [0; MAX_NAME];
        let mut buffer =
            [IoSliceMut::new(bytemuck::bytes_of_mut(&mut hello)), IoSliceMut::new(&mut name)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let received = match recvmsg::<()>(socket.as_raw_fd(), &mut buffer, Some(&mut space), flags)
        {
            Ok(received) => received,
            Err(nix::Error::EAGAIN) => return Ok(Err(Unacceptable::Gone)),
            Err(error) => return Err(error.into()),
        };
        let bytes = received.bytes;
        let is_whole = !received.flags.contains(MsgFlags::MSG_TRUNC);
        // Before all else: descriptors that come with a message that is no hello, or with no bytes,
        // must be closed, too.
        let mut descriptors = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = message {
                // SAFETY: the kernel has just made these descriptors for us, and nothing else
                // knows of them.
                descriptors.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if bytes == 0 {
            return Ok(Err(Unacceptable::Gone));
        }
        if bytes < 12 || hello.magic != MAGIC {
            return Ok(Err(Unacceptable::Malformed));
        }
        if hello.abi != ABI_VERSION {
            return Ok(Err(Unacceptable::Abi));
        }
        let name = bytes.checked_sub(size_of::<Hello>()).and_then(|length| name.get(..length));
        Ok(match (name, descriptors.pop(), descriptors.is_empty()) {
            (Some(name), file, true) if is_whole => {
                Ok((hello, SegmentHandle { kind: hello.kind, name: name.to_vec(), file }))
            }
            _ => Err(Unacceptable::Malformed),
        })
    }

    /// Returns what the worker does with signals of a terminal.
    pub(crate) fn terminal_signals(&self) -> TerminalSignals {
        match self.terminal_signals {
            1 => TerminalSignals::EndWorker,
            _ => TerminalSignals::LeftToParent,
        }
    }

    /// Returns `true` if the worker has a limit on memory.
    pub(crate) fn limits_memory(&self) -> bool {
        self.limits_memory != 0
    }

    /// Returns the size of the largest message, in bytes, as the parent states it.
    pub(crate) fn max_message(&self) -> u64 {
        self.max_message
    }

    /// Returns the settings that both ends agree on.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            max_message: usize::try_from(self.max_message).unwrap_or(usize::MAX),
            strategy: match self.strategy {
                1 => WaitStrategy::Spin,
                2 => WaitStrategy::Block,
                _ => WaitStrategy::Adaptive,
            },
            call_timeout: (self.call_timeout != NO_TIMEOUT)
                .then(|| Duration::from_nanos(self.call_timeout)),
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
