//! The floor: one cache line each way between two processes that only look for it.
//!
//! Sequence word and payload share a line. Slots are two lines apart, because neighbours are
//! prefetched in pairs, and few enough to stay in the nearest cache. Whatever moves a message
//! through memory pays this much.

#![allow(unsafe_code, reason = "promising that the board is made of atomics")]

use std::cell::Cell;
use std::hint;
use std::io::{self, Write};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::thread;

use crate::Result;
use crate::measure::Subject;
use crate::peer::{Peer, input_and_output, read_or_end};
use crate::subjects::memory::{Shared, Words};

pub(crate) const PEER: &str = "floor";

const SLOTS: usize = 32;

#[repr(C, align(128))]
#[derive(Debug)]
struct Slot {
    sequence: AtomicU64,
    payload: AtomicU64,
}

/// The memory that the two processes share.
#[repr(C)]
#[derive(Debug)]
struct Board {
    requests: [Slot; SLOTS],
    responses: [Slot; SLOTS],
}

// SAFETY: atomics and padding, 8 KiB in all, which begin at a page.
unsafe impl Words for Board {}

/// The view of one side: the slots it writes, the slots it reads, and how many messages went each
/// way.
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
            // No clock in this loop. The bound, of some seconds, is for a peer that died.
            looks += 1;
            if self.spin {
                // For speed: fewer looks at a line leave it to its writer sooner.
                hint::spin_loop();
            } else {
                looks += 256;
                thread::yield_now();
            }
            if looks > 1_u64 << 30 {
                return Err("the peer is gone".into());
            }
        }
        Ok(slot.payload.load(Relaxed))
    }
}

/// Two processes that share a board.
#[derive(Debug)]
pub struct Floor {
    shared: Shared<Board>,
    control: io::PipeWriter,
    peer: Peer,
    spin: bool,
    sent: Cell<u64>,
}

impl Floor {
    /// Starts the second process, which sleeps until there is something to do.
    ///
    /// With `spin` the sides look without pause. Without it they yield between looks: on one CPU,
    /// spinning would wait for the time slice of the peer.
    ///
    /// # Errors
    ///
    /// Memory cannot be shared, or the process cannot be started.
    pub fn start(spin: bool) -> Result<Floor> {
        let (shared, file) = Shared::create(c"floor")?;
        let (commands, control) = io::pipe()?;
        let peer = Peer::start(PEER, &[&spin.to_string()], commands, file)?;
        Ok(Floor { shared, control, peer, spin, sent: Cell::new(0) })
    }

    /// Returns the id of the second process.
    pub fn peer_id(&self) -> u32 {
        self.peer.id()
    }

    /// Sends eight bytes there and back.
    pub fn round_trip(&self) -> Subject<'_> {
        let board = &*self.shared;
        Subject::new(
            "floor",
            "one cache line each way: no codec, no name, never sleeps",
            move |count, timing| {
                let mut end = End {
                    outgoing: &board.requests,
                    incoming: &board.responses,
                    spin: self.spin,
                    count: self.sent.get(),
                };
                self.sent.set(end.count + count + 1);
                (&self.control).write_all(&(count + 1).to_ne_bytes())?;
                let mut exchange = |value: u64| {
                    end.send(value);
                    if end.receive()? != value {
                        return Err("messages are mixed up".into());
                    }
                    end.count += 1;
                    Ok(())
                };
                exchange(0)?; // waits until the peer is awake
                Ok(timing.laps(count, exchange)?.into())
            },
        )
    }
}

/// Runs in the second process: reads how many messages to answer, and answers them, until its input
/// ends.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let [spin] = arguments else { return Err("floor: spin or not?".into()) };
    let board = Shared::<Board>::inherited()?;
    let mut end = End {
        outgoing: &board.responses,
        incoming: &board.requests,
        spin: spin.parse()?,
        count: 0,
    };
    let (mut commands, _) = input_and_output()?;
    let mut command = [0; 8];
    while read_or_end(&mut commands, &mut command)? {
        for _ in 0..u64::from_ne_bytes(command) {
            let value = end.receive()?;
            end.send(value);
            end.count += 1;
        }
    }
    Ok(())
}
