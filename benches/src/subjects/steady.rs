//! A pair that counts how often both processes go to the kernel, without stopping to look.

use std::hint::black_box;

use coprocess::Coprocess;
use nix::sys::resource::{UsageWho, getrusage};

use crate::Result;
use crate::machine::Host;
use crate::subjects::close::close;

pub(crate) const PEER: &str = "steady";

/// Counts the visits to the kernel of both processes since their start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Visits {
    /// Counts how often an end went to sleep, as the library counts.
    pub(crate) sleeps: u64,
    /// Counts how often an end woke the other, as the library counts.
    pub(crate) wakeups: u64,
    /// Counts how often a thread gave up its processor, as the kernel counts over all threads.
    pub(crate) given_up: u64,
    /// Counts how often a thread had its processor taken away, as the kernel counts over all
    /// threads.
    pub(crate) taken: u64,
}

impl Visits {
    pub(crate) fn since(self, earlier: Visits) -> Visits {
        Visits {
            sleeps: self.sleeps - earlier.sleeps,
            wakeups: self.wakeups - earlier.wakeups,
            given_up: self.given_up - earlier.given_up,
            taken: self.taken - earlier.taken,
        }
    }

    /// Returns the system calls. Every sleep is one and gives up the processor, so the greater of
    /// these two counts stands.
    pub(crate) fn system_calls(self) -> u64 {
        self.sleeps.max(self.given_up) + self.wakeups
    }

    fn of(co: &Coprocess) -> nix::Result<Visits> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let stats = co.stats();
        let count = |switches: i64| u64::try_from(switches).unwrap_or_default();
        Ok(Visits {
            sleeps: stats.sleeps,
            wakeups: stats.wakeups_sent,
            given_up: count(usage.voluntary_context_switches()),
            taken: count(usage.involuntary_context_switches()),
        })
    }
}

/// Runs in the second process.
fn worker(co: Coprocess) {
    let this = co.downgrade();
    co.serve("echo", |value: u64| value)
        .listen("value", |value: u64| {
            black_box(value);
        })
        .try_serve("visits", move |()| -> Result<_> {
            let co = this.upgrade().ok_or("the pair is over")?;
            let Visits { sleeps, wakeups, given_up, taken } = Visits::of(&co)?;
            Ok((sleeps, wakeups, given_up, taken))
        });
}

pub(crate) struct Steady {
    co: Coprocess,
}

impl Steady {
    pub(crate) fn start(host: &Host) -> Result<Steady> {
        let co = coprocess::fork(worker)?;
        host.pin(&[co.peer_id()])?;
        Ok(Steady { co })
    }

    pub(crate) fn calls(&self, count: u64) -> Result<()> {
        for turn in 0..count {
            if self.co.call::<u64>("echo", turn)? != turn {
                return Err("calls are mixed up".into());
            }
        }
        Ok(())
    }

    /// Emits events. The next call confirms them.
    pub(crate) fn events(&self, count: u64) -> Result<()> {
        for turn in 0..count {
            self.co.emit("value", turn)?;
        }
        Ok(())
    }

    /// Returns what both processes did so far. This takes one call, too short for either side to go
    /// to sleep.
    pub(crate) fn visits(&self) -> Result<Visits> {
        let (sleeps, wakeups, given_up, taken): (u64, u64, u64, u64) =
            self.co.call("visits", ())?;
        let ours = Visits::of(&self.co)?;
        Ok(Visits {
            sleeps: ours.sleeps + sleeps,
            wakeups: ours.wakeups + wakeups,
            given_up: ours.given_up + given_up,
            taken: ours.taken + taken,
        })
    }

    pub(crate) fn finish(&self) -> Result<()> {
        close(&self.co)
    }
}

/// Runs in a process that is watched from outside: starts a pair, makes `count` calls, and then
/// emits as many events.
pub(crate) fn serve(args: &[String]) -> Result<()> {
    let [count] = args else { return Err("steady: takes a number".into()) };
    let count = count.parse()?;
    let steady = Steady::start(&Host::look()?)?;
    steady.calls(count)?;
    steady.events(count)?;
    steady.finish()
}
