//! A pair that counts how often both of its processes went to the kernel, without stopping to look.

use std::hint::black_box;

use coprocess::Coprocess;
use nix::sys::resource::{UsageWho, getrusage};

use crate::Result;
use crate::machine::Host;
use crate::subjects::close::close;

pub(crate) const PEER: &str = "steady";

/// Visits to the kernel of both processes since their start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Visits {
    /// By the library's count: how often an end went to sleep, and woke the other.
    pub(crate) sleeps: u64,
    pub(crate) wakeups: u64,
    /// By the kernel's count, over all threads: how often one gave up its processor, and had it taken.
    pub(crate) given_up: u64,
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

    /// System calls: every sleep is one and gives up the processor, so the greater count of the two stands.
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

/// The second process.
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

    /// Events; whatever is called next confirms them.
    pub(crate) fn events(&self, count: u64) -> Result<()> {
        for turn in 0..count {
            self.co.emit("value", turn)?;
        }
        Ok(())
    }

    /// What both processes did so far. It takes one call, so that neither gets the time to go to sleep over it.
    pub(crate) fn visits(&self) -> Result<Visits> {
        let (sleeps, wakeups, given_up, taken): (u64, u64, u64, u64) = self.co.call("visits", ())?;
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

/// A process to be watched from outside: a pair that makes as many calls, and then emits as many events, as it is told.
pub(crate) fn serve(args: &[String]) -> Result<()> {
    let [count] = args else { return Err("steady: takes a number".into()) };
    let count = count.parse()?;
    let steady = Steady::start(&Host::look()?)?;
    steady.calls(count)?;
    steady.events(count)?;
    steady.finish()
}
