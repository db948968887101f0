//! Measures raw_sync: an event each way, in a segment of shared_memory.
//!
//! A process that is killed while it waits for an `Event` can leave the other process blocked in
//! `set` for ever. So the second process is dismissed only while it sleeps in a read of its orders.
//!
//! Each wait for an `Event` has a deadline of whole seconds, since the library adds fractions of a
//! second without carrying. A `BusyEvent` has no deadline: it would be a look at the clock at each
//! turn. The limit of the bench takes its place.

#![expect(unsafe_code, reason = "raw_sync is told addresses")]

use std::time::Duration;

use coprocess_bench::Result;
use raw_sync::Timeout;
use raw_sync::events::{BusyEvent, Event, EventImpl, EventInit, EventState};
use shared_memory::{Shmem, ShmemConf};

use crate::contender::{Contender, Started};
use crate::names;
use crate::second::{self, Second, argument};

pub(crate) const ECHO: &str = "raw-sync-echo";

/// Exchanges events on which both sides sleep.
pub(crate) const EVENT: Contender = Contender {
    name: "raw_sync Event over shared_memory",
    note: "a wake-up only, no data; blocks for ever if the second side is killed",
    start: |_| round_trip(Kind::Sleeping),
};

/// Exchanges events on which both sides spin.
pub(crate) const BUSY_EVENT: Contender = Contender {
    name: "raw_sync BusyEvent over shared_memory",
    note: "a flag only: orders no data; never sleeps; spins for ever if the second side is killed",
    start: |_| round_trip(Kind::Busy),
};

/// Counts the bytes of the segment.
const SIZE: usize = 4096;
/// Locates the event there, as an offset. The two events are far apart, and aligned alike wherever
/// the segment is mapped.
const THERE: usize = 0;
/// Locates the event back, as an offset.
const BACK: usize = 2048;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sleeping,
    Busy,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Sleeping => "event",
            Kind::Busy => "busy-event",
        }
    }

    fn patience(self) -> Timeout {
        match self {
            Kind::Sleeping => Timeout::Val(Duration::from_secs(30)),
            Kind::Busy => Timeout::Infinite,
        }
    }
}

fn round_trip(kind: Kind) -> Result<Started> {
    let name = names::name(&format!("raw-sync-{}", kind.name()));
    let events = Events::create(&name, kind)?;
    let other = Second::start(ECHO, &[&name, kind.name()])?.ready()?;
    Ok(Started::round_trip(other, move |_| events.exchange()))
}

pub(crate) fn echo(args: &[String]) -> Result<()> {
    let kind = if argument(args, 1, "kind of event")? == Kind::Busy.name() {
        Kind::Busy
    } else {
        Kind::Sleeping
    };
    let events = Events::open(argument(args, 0, "segment")?, kind)?;
    second::obey(|count| {
        for _ in 0..count {
            events.answer()?;
        }
        Ok(count)
    })
}

/// Holds one event each way, which clears itself. The events point into the segment, so the segment
/// is dropped last.
struct Events {
    there: Box<dyn EventImpl>,
    back: Box<dyn EventImpl>,
    kind: Kind,
    _segment: Shmem,
}

impl Events {
    fn create(name: &str, kind: Kind) -> Result<Events> {
        let segment = ShmemConf::new().os_id(name).size(SIZE).create()?;
        let new = match kind {
            Kind::Sleeping => Event::new,
            Kind::Busy => BusyEvent::new,
        };
        // SAFETY: an event takes less than what is from here to the next event, and no other
        // process knows the segment yet.
        let (there, _) = unsafe { new(segment.as_ptr().wrapping_add(THERE), true)? };
        // SAFETY: as above, or to the end of the segment.
        let (back, _) = unsafe { new(segment.as_ptr().wrapping_add(BACK), true)? };
        Ok(Events { there, back, kind, _segment: segment })
    }

    fn open(name: &str, kind: Kind) -> Result<Events> {
        let segment = ShmemConf::new().os_id(name).open()?;
        if segment.len() < SIZE {
            return Err(format!("the segment {name} has {} bytes only", segment.len()).into());
        }
        let existing = match kind {
            Kind::Sleeping => Event::from_existing,
            Kind::Busy => BusyEvent::from_existing,
        };
        // SAFETY: the process that made the segment made an event of this kind here, before it told
        // the name.
        let (there, _) = unsafe { existing(segment.as_ptr().wrapping_add(THERE))? };
        // SAFETY: as above.
        let (back, _) = unsafe { existing(segment.as_ptr().wrapping_add(BACK))? };
        Ok(Events { there, back, kind, _segment: segment })
    }

    fn exchange(&self) -> Result<()> {
        self.there.set(EventState::Signaled)?;
        self.back.wait(self.kind.patience())
    }

    fn answer(&self) -> Result<()> {
        self.there.wait(self.kind.patience())?;
        self.back.set(EventState::Signaled)
    }
}
