//! A pair of eventfds: counters of the kernel, read by a process that sleeps on them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::Result;
use crate::measure::Subject;
use crate::peer::{Peer, input_and_output};

pub(crate) const PEER: &str = "eventfd";

/// An eventfd each way.
#[derive(Debug)]
pub struct Events {
    requests: File,
    responses: File,
    peer: Peer,
}

impl Events {
    /// Starts the second process, which sleeps until there is something to answer.
    ///
    /// # Errors
    ///
    /// There are no eventfds, or the process cannot be started.
    pub fn start() -> Result<Events> {
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map(OwnedFd::from);
        let (requests, responses) = (event()?, event()?);
        let peer = Peer::start(PEER, &[], requests.try_clone()?, responses.try_clone()?)?;
        Ok(Events { requests: requests.into(), responses: responses.into(), peer })
    }

    /// Returns the id of the second process.
    pub fn peer_id(&self) -> u32 {
        self.peer.id()
    }

    /// Sends eight bytes, the counter itself, there and back.
    pub fn round_trip(&self) -> Subject<'_> {
        let exchange = |turn: u64| {
            let value = (turn + 1).to_ne_bytes(); // zero would not wake the reader
            (&self.requests).write_all(&value)?;
            let mut answer = [0; 8];
            (&self.responses).read_exact(&mut answer)?;
            if answer != value { Err("events are mixed up".into()) } else { Ok(()) }
        };
        Subject::new("eventfd", "a counter: no bytes of one's own", move |count, timing| {
            exchange(0)?;
            Ok(timing.laps(count, exchange)?.into())
        })
    }
}

/// Runs in the second process: answers every value with itself, until it is killed.
pub(crate) fn serve(_: &[String]) -> Result<()> {
    let (mut requests, mut responses) = input_and_output()?;
    let mut value = [0; 8];
    loop {
        requests.read_exact(&mut value)?;
        responses.write_all(&value)?;
    }
}
