//! What the second backend costs: the same calls and starts over every kind of memory and with
//! every kind of wake-up.

use coprocess::{Backend, Builder, WaitStrategy, Wakeup};

use crate::Result;
use crate::machine::Host;
use crate::measure::{Outcome, Plan, Regime, Table, alternate, take_turns};
use crate::subjects::first_sign;
use crate::subjects::pair::Pair;

/// Compares the backends.
pub const REGIME: Regime = Regime {
    name: "backends",
    about: "memfd or named memory, futex or event, beside each other",
    run,
};

/// Lists the backends. The default comes first, and the others are compared with it.
const KINDS: [(&str, Backend, Wakeup); 4] = [
    ("memfd, futex", Backend::Memfd, Wakeup::Futex),
    ("named, futex", Backend::Named, Wakeup::Futex),
    ("memfd, event", Backend::Memfd, Wakeup::Event),
    ("named, event", Backend::Named, Wakeup::Event),
];

/// Counts the starts of each kind in a round.
const STARTS: u64 = 4;

fn builder((_, backend, wakeup): (&str, Backend, Wakeup)) -> Builder {
    Builder::new().backend(backend).wakeup(wakeup)
}

fn run(plan: &Plan, host: &Host) -> Result<Outcome> {
    let starts = KINDS
        .iter()
        .map(|kind| first_sign::answer_of(format!("fork, {}", kind.0), builder(*kind)))
        .collect();
    let starts = alternate(plan, "from fork to the first answer", &[], STARTS, starts)?
        .compared_with(["fork, memfd, futex"]);
    let tables = vec![
        calls(plan, host, "calls, both sides busy", WaitStrategy::Adaptive)?,
        calls(plan, host, "calls, both sides sleep at once", WaitStrategy::Block)?,
        starts,
    ];
    Ok(Outcome { tables, verdicts: Vec::new() })
}

fn calls(plan: &Plan, host: &Host, title: &str, strategy: WaitStrategy) -> Result<Table> {
    let pairs = KINDS.map(|kind| Pair::start_with(&builder(kind).wait(strategy)));
    let pairs = pairs.into_iter().collect::<Result<Vec<_>>>()?;
    let peers: Vec<u32> = pairs.iter().map(Pair::peer_id).collect();
    host.pin(&peers)?;
    let subjects = KINDS
        .iter()
        .zip(&pairs)
        .map(|((name, ..), pair)| pair.call_u64().named(format!("call, {name}")))
        .collect();
    let table = take_turns(plan, title, &peers, subjects)?.compared_with(["call, memfd, futex"]);
    for pair in pairs {
        pair.finish()?;
    }
    Ok(table)
}
