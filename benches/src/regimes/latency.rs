//! One round trip at a time, both sides busy: coprocess beside the floor and beside what the kernel offers.

use crate::host::Host;
use crate::measure::{Plan, take_turns};
use crate::subjects::{eventfd::Events, floor::Floor, futex::Futex, pair::Pair, pipe, socket};
use crate::{Bound, Outcome, Regime, Result, Verdict, figure};

/// The regime.
pub const REGIME: Regime = Regime { name: "latency", about: "one round trip at a time, both sides busy", run };

/// Payloads, and how much more than a number they may cost.
const SIZES: [(usize, f64); 4] = [(64, 1.3), (256, 2.0), (1024, 4.0), (4096, 8.0)];

fn run(plan: &Plan, host: &Host) -> Result<Outcome> {
    let floor = Floor::start(host.two_cpus())?;
    let pair = Pair::start()?;
    let pipe = pipe::start()?;
    let stream = socket::stream()?;
    let seqpacket = socket::seqpacket()?;
    let events = Events::start()?;
    let futex = Futex::start()?;
    let peers = [floor.peer_id(), pair.peer_id(), pipe.peer_id(), stream.peer_id(), seqpacket.peer_id(), events.peer_id(), futex.peer_id()];
    host.pin(&peers)?;

    // Another way to call (a handle that has resolved its name, say) is one more subject here.
    let mut subjects = vec![floor.round_trip(), pair.call_u64()];
    subjects.extend([pipe.round_trip(8), stream.round_trip(8), seqpacket.round_trip(8), events.round_trip(), futex.round_trip()]);
    if host.two_cpus() {
        // The scheduler's best case for whatever sleeps: no other CPU has to be woken.
        subjects.push(host.on_one_cpu(pipe.peer_id(), pipe.round_trip(8)));
        subjects.push(host.on_one_cpu(stream.peer_id(), stream.round_trip(8)));
        subjects.push(host.on_one_cpu(seqpacket.peer_id(), seqpacket.round_trip(8)));
        subjects.push(host.on_one_cpu(events.peer_id(), events.round_trip()));
        subjects.push(host.on_one_cpu(futex.peer_id(), futex.round_trip()));
    }
    let trips = take_turns(plan, "round trips of 8 bytes", host, &peers, subjects)?;

    let mut subjects = vec![pair.call_u64().payload("call", 8)];
    subjects.extend(SIZES.map(|(size, _)| pair.call_bytes(size)));
    for size in SIZES.map(|(size, _)| size).into_iter().chain([8]) {
        subjects.push(host.on_one_cpu(pipe.peer_id(), pipe.round_trip(size)));
        subjects.push(host.on_one_cpu(stream.peer_id(), stream.round_trip(size)));
    }
    let sizes = take_turns(plan, "round trips by payload", host, &peers, subjects)?;
    pair.finish()?;

    let over_floor = Verdict::of_times("call u64 → u64, over the floor", &trips, "call, u64", "floor")?;
    let mut verdicts = vec![over_floor.must(Bound::AtMost(2.0)).aim(Bound::AtMost(1.5))];
    for (size, bound) in SIZES {
        let size = figure::bytes(size);
        let what = format!("call with {size} echoed, over the same with u64");
        let verdict = Verdict::of_times(what, &sizes, &format!("call, {size}"), "call, u64")?;
        verdicts.push(verdict.must(Bound::AtMost(bound)));
    }
    let pipe = trips.fastest(&["pipe, 8 B", "pipe, 8 B, one CPU"])?;
    let tables = vec![trips.compared_with(["floor", pipe]), sizes.compared_with(["call, u64"])];
    let outcome = Outcome { tables, verdicts };
    Ok(if host.two_cpus() { outcome } else { outcome.not_judged("the targets are for two CPUs") })
}
