//! The life of a pair: how long its start takes, what memory it occupies, and what it costs while
//! it is steady and while it is idle.

mod idle;
mod memory;
mod steady;

use crate::Result;
use crate::machine::Host;
use crate::measure::{Bound, Outcome, Plan, Regime, Verdict, alternate};
use crate::subjects::first_sign;

/// Measures the life of a pair.
pub const REGIME: Regime =
    Regime { name: "life", about: "start, memory, system calls, and what an idle pair costs", run };

/// Counts the starts of each kind in a round.
const STARTS: u64 = 4;

fn run(plan: &Plan, host: &Host) -> Result<Outcome> {
    // First, while this process is small: what is copied for a new process grows with this one.
    let mut outcome = start(plan)?;
    outcome.verdicts.extend(memory::measure(plan)?);
    outcome.verdicts.extend(steady::measure(plan, host)?);
    outcome.verdicts.extend(idle::measure(plan)?);
    Ok(outcome)
}

fn start(plan: &Plan) -> Result<Outcome> {
    const FORK: &str = "fork to first answer";
    const SPAWN: &str = "spawn to first byte";
    let table = alternate(
        plan,
        "a new process",
        &[],
        STARTS,
        vec![first_sign::byte(SPAWN), first_sign::answer(FORK)],
    )?
    .compared_with([SPAWN]);
    let what = "fork to first answer, over Command::spawn of the same program until its first byte";
    let verdict = Verdict::of_times(what, &table, FORK, SPAWN)?
        .must(Bound::AtMost(1.3))
        .aim(Bound::AtMost(1.1));
    Ok(Outcome { tables: vec![table], verdicts: vec![verdict] })
}
