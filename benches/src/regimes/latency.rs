//! One round trip at a time, both sides busy: coprocess beside the floor and beside what the kernel
//! offers.

use crate::machine::Host;
use crate::measure::{Bound, Outcome, Plan, Regime, Verdict, take_turns};
use crate::subjects::{eventfd::Events, floor::Floor, futex::Futex, pair::Pair, pipe, socket};
use crate::{Result, units};

/// Measures round trips.
pub const REGIME: Regime =
    Regime { name: "latency", about: "one round trip at a time, both sides busy", run };

/// Lists payloads in bytes, and how many times as much as a number each may cost.
const SIZES: [(usize, f64); 4] = [(64, 1.3), (256, 2.0), (1024, 4.0), (4096, 8.0)];

fn run(plan: &Plan, host: &Host) -> Result<Outcome> {
    let floor = Floor::start(host.two_cpus())?;
    let pair = Pair::start()?;
    let pipe = pipe::start()?;
    let stream = socket::stream()?;
    let seqpacket = socket::seqpacket()?;
    let events = Events::start()?;
    let futex = Futex::start()?;
    let peers = [
        floor.peer_id(),
        pair.peer_id(),
        pipe.peer_id(),
        stream.peer_id(),
        seqpacket.peer_id(),
        events.peer_id(),
        futex.peer_id(),
    ];
    host.pin(&peers)?;

    // Another way to call (a handle that has resolved its name, say) is one more subject here.
    let mut subjects = vec![floor.round_trip(), pair.call_u64()];
    subjects.extend([
        pipe.round_trip(8),
        stream.round_trip(8),
        seqpacket.round_trip(8),
        events.round_trip(),
        futex.round_trip(),
    ]);
    if host.two_cpus() {
        // The scheduler's best case for mechanisms that sleep: no other CPU has to be woken.
        subjects.push(pipe.round_trip(8).on_one_cpu(host, pipe.peer_id()));
        subjects.push(stream.round_trip(8).on_one_cpu(host, stream.peer_id()));
        subjects.push(seqpacket.round_trip(8).on_one_cpu(host, seqpacket.peer_id()));
        subjects.push(events.round_trip().on_one_cpu(host, events.peer_id()));
        subjects.push(futex.round_trip().on_one_cpu(host, futex.peer_id()));
    }
    let trips = take_turns(plan, "round trips of 8 bytes", &peers, subjects)?;

    let mut subjects = vec![pair.call_u64().payload("call", 8)];
    subjects.extend(SIZES.map(|(size, _)| pair.call_bytes(size)));
    for size in SIZES.map(|(size, _)| size).into_iter().chain([8]) {
        subjects.push(pipe.round_trip(size).on_one_cpu(host, pipe.peer_id()));
        subjects.push(stream.round_trip(size).on_one_cpu(host, stream.peer_id()));
    }
    let sizes = take_turns(plan, "round trips by payload", &peers, subjects)?;
    pair.finish()?;

    let over_floor =
        Verdict::of_times("call u64 → u64, over the floor", &trips, "call, u64", "floor")?;
    let mut verdicts = vec![over_floor.must(Bound::AtMost(2.0)).aim(Bound::AtMost(1.5))];
    for (size, bound) in SIZES {
        let size = units::bytes(size);
        let what = format!("call with {size} echoed, over the same with u64");
        let verdict = Verdict::of_times(what, &sizes, &format!("call, {size}"), "call, u64")?;
        verdicts.push(verdict.must(Bound::AtMost(bound)));
    }
    let pipe = trips.fastest(&["pipe, 8 B", "pipe, 8 B, one CPU"])?;
    let tables = vec![trips.compared_with(["floor", pipe]), sizes.compared_with(["call, u64"])];
    let outcome = Outcome { tables, verdicts };
    Ok(outcome.for_two_cpus(host))
}
