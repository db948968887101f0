//! Throughput: events one after another, and calls in flight.

use crate::Result;
use crate::machine::Host;
use crate::measure::{Bound, Outcome, Plan, Regime, Verdict, take_turns};
use crate::subjects::{pair::Pair, pipe, socket};

/// Measures throughput.
pub const REGIME: Regime = Regime {
    name: "stream",
    about: "small events one way, and calls in flight from one thread",
    run,
};

/// Counts the calls in flight.
const IN_FLIGHT: usize = 1000;
/// Counts the bytes of a record, as large as the event.
const RECORD: usize = 32;

fn run(plan: &Plan, host: &Host) -> Result<Outcome> {
    let pair = Pair::start()?;
    let pipe = pipe::start()?;
    let stream = socket::stream()?;
    let seqpacket = socket::seqpacket()?;
    let peers = [pair.peer_id(), pipe.peer_id(), stream.peer_id(), seqpacket.peer_id()];
    host.pin(&peers)?;

    // Another way to emit (a handle that has resolved its name, say) is one more subject here.
    let subjects =
        vec![pair.emit(), pipe.stream(RECORD), stream.stream(RECORD), seqpacket.stream(RECORD)];
    let events = take_turns(plan, "events", &peers, subjects)?;
    let calls = take_turns(
        plan,
        "calls in flight",
        &peers,
        vec![pair.call_u64(), pair.call_pipelined(IN_FLIGHT)],
    )?;
    pair.finish()?;

    let in_flight = format!("call, u64, {IN_FLIGHT} in flight");
    let what = "emit of a 32-byte struct, per second over 32-byte writes to a pipe";
    let over_pipe = Verdict::of_times(what, &events, "pipe, 32 B writes", "emit, 32 B")?;
    let what = "1,000 calls in flight from one thread, per second over one at a time";
    let pipelined = Verdict::of_times(what, &calls, "call, u64", &in_flight)?;
    let verdicts = vec![over_pipe, pipelined.must(Bound::AtLeast(1.2)).aim(Bound::AtLeast(2.5))];
    let tables =
        vec![events.compared_with(["pipe, 32 B writes"]), calls.compared_with(["call, u64"])];
    let outcome = Outcome { tables, verdicts };
    Ok(outcome.for_two_cpus(host))
}
