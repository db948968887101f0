//! The floor: one cache line each way between two processes that do nothing but look for it.
//!
//! Sequence word and payload share a line, slots keep two lines apart (neighbours are prefetched in pairs) and are few
//! enough to stay in the nearest cache. Whatever moves a message through memory pays this much.

// This file, and no other of the bench, maps memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::hint;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::thread;
use std::time::Instant;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::report::Role;
use crate::{Result, Sample, Subject};

const SLOTS: usize = 32;

#[repr(C, align(128))]
struct Slot {
    sequence: AtomicU64,
    payload: AtomicU64,
}

/// What the two processes share; all zero to begin with.
#[repr(C)]
struct Board {
    requests: [Slot; SLOTS],
    responses: [Slot; SLOTS],
}

const SIZE: std::num::NonZeroUsize = std::num::NonZeroUsize::new(size_of::<Board>()).unwrap();

/// A mapping of the board.
struct Shared(NonNull<Board>);

impl Shared {
    /// Maps `file`, which the caller has made `SIZE` long.
    fn map(file: impl AsFd) -> Result<Shared> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe { mmap(None, SIZE, access, MapFlags::MAP_SHARED, file, 0)? };
        Ok(Shared(start.cast()))
    }

    fn board(&self) -> &Board {
        // SAFETY: the mapping is page-aligned, SIZE long and lives as long as `self`; it holds only atomics, for which
        // every bit pattern is valid, and both processes access it only through them.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`; references to it borrow `self`, so none is left.
        let unmapped = unsafe { munmap(self.0.cast(), SIZE.get()) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

/// One side's view: where it writes, where it reads, and how many messages went each way.
struct End<'a> {
    outgoing: &'a [Slot; SLOTS],
    incoming: &'a [Slot; SLOTS],
    spin: bool,
    count: u64,
}

impl End<'_> {
    fn send(&self, value: u64) {
        let slot = &self.outgoing[self.count as usize % SLOTS];
        slot.payload.store(value, Relaxed);
        slot.sequence.store(self.count + 1, Release);
    }

    fn receive(&self) -> Result<u64> {
        let slot = &self.incoming[self.count as usize % SLOTS];
        let mut looks = 0;
        while slot.sequence.load(Acquire) != self.count + 1 {
            // No clock in this loop; the bound, of some seconds, is for a peer that died.
            looks += 1;
            if self.spin {
                // Not for politeness: fewer looks at a line leave it to its writer sooner.
                hint::spin_loop();
            } else {
                looks += 256;
                thread::yield_now();
            }
            if looks > 1_u64 << 30 {
                return Err("the other side of the floor is gone".into());
            }
        }
        Ok(slot.payload.load(Relaxed))
    }
}

pub(crate) struct Floor {
    shared: Shared,
    control: io::PipeWriter,
    child: Child,
    spin: bool,
}

impl Floor {
    /// Starts the second process, which sleeps until there is something to do.
    pub(crate) fn start(spin: bool) -> Result<Floor> {
        let file: OwnedFd = memfd_create(c"floor", MFdFlags::MFD_CLOEXEC)?;
        let file = File::from(file);
        file.set_len(SIZE.get() as u64)?;
        let shared = Shared::map(&file)?;
        let (commands, control) = io::pipe()?;
        // The peer needs two descriptors; standard input and output are the two that are inherited without further ado.
        let child = Command::new("/proc/self/exe")
            .args(["--peer", "floor", &spin.to_string()])
            .stdin(commands)
            .stdout(Stdio::from(file))
            .spawn()?;
        Ok(Floor { shared, control, child, spin })
    }

    pub(crate) fn peer_id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn round_trip(&self) -> Subject<'_> {
        let board = self.shared.board();
        let mut end = End { outgoing: &board.requests, incoming: &board.responses, spin: self.spin, count: 0 };
        let run = move |count: u64| {
            (&self.control).write_all(&(count + 1).to_ne_bytes())?;
            // The first one waits until the peer is awake.
            let mut start = Instant::now();
            for turn in 0..=count {
                end.send(turn);
                if end.receive()? != turn {
                    return Err("the floor mixes up its messages".into());
                }
                end.count += 1;
                if turn == 0 {
                    start = Instant::now();
                }
            }
            Ok(Sample { elapsed: start.elapsed(), waits: None })
        };
        Subject { name: "floor: one cache line each way".to_owned(), role: Role::Floor, run: Box::new(run) }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It may be spinning, if we leave with an error. Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The second process: reads how many messages to answer, answers them, until its input ends.
pub(crate) fn serve(spin: bool) -> Result<()> {
    let shared = Shared::map(io::stdout())?;
    let board = shared.board();
    let mut end = End { outgoing: &board.responses, incoming: &board.requests, spin, count: 0 };
    let mut commands = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut command = [0; 8];
    while commands.read(&mut command)? == command.len() {
        for _ in 0..u64::from_ne_bytes(command) {
            let value = end.receive()?;
            end.send(value);
            end.count += 1;
        }
    }
    Ok(())
}
