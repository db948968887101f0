//! Large values: bytes per second of one memcpy, of a UNIX stream socket, and of events that a call
//! confirms; and arrays of numbers.

use crate::machine::Host;
use crate::measure::{Bound, Outcome, Plan, Regime, Table, Verdict, take_turns};
use crate::subjects::bulk_pair::BulkPair;
use crate::subjects::bulk_socket::BulkSocket;
use crate::subjects::floats::FloatsPair;
use crate::subjects::memcpy::memcpy;
use crate::{Result, units};

/// Measures large values.
pub const REGIME: Regime =
    Regime { name: "bulk", about: "large values, beside one memcpy and a UNIX socket", run };

/// Counts the values before one confirmation, in the rows that do not confirm each value.
const BATCH: u32 = 8;

/// Lists the bytes of a value, and whether the size has targets.
const SIZES: [(usize, bool); 3] = [(64 << 10, false), (1 << 20, true), (16 << 20, true)];

const MEMCPY: &str = "memcpy";
const EMIT: &str = "emit";
const SOCKET: &str = "UNIX stream";

/// Counts the numbers of an array.
const FLOATS: usize = 1 << 20;
const AS_BLOCK: &str = "Block<f32>";
const ONE_AT_A_TIME: &str = "Vec<f32>";

fn run(plan: &Plan, host: &Host) -> Result<Outcome> {
    let pair = BulkPair::start()?;
    let sockets = SIZES
        .map(|(size, _)| Ok((BulkSocket::start(size, 1)?, BulkSocket::start(size, BATCH)?)))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let mut peers = vec![pair.peer_id()];
    peers
        .extend(sockets.iter().flat_map(|(single, batched)| [single.peer_id(), batched.peer_id()]));
    host.pin(&peers)?;

    let mut subjects = Vec::new();
    for ((size, _), (single, batched)) in SIZES.into_iter().zip(&sockets) {
        for (subject, series) in [
            (memcpy(size, row(MEMCPY, size)), MEMCPY.to_owned()),
            (pair.emit(size, 1, row(EMIT, size)), EMIT.to_owned()),
            (pair.emit(size, BATCH, row(&batches(EMIT), size)), batches(EMIT)),
            (single.send(row(SOCKET, size)), SOCKET.to_owned()),
            (batched.send(row(&batches(SOCKET), size)), batches(SOCKET)),
        ] {
            // The largest values take milliseconds: no more than a few batches in a run.
            subjects.push(subject.payload(series, size).limit(((1 << 30) / size) as u64));
        }
    }
    let table = take_turns(plan, "values, each confirmed or in batches", &peers, subjects)?;
    pair.finish()?;

    let mut verdicts = Vec::new();
    for (size, has_targets) in SIZES {
        let over_memcpy = compare(&table, size, MEMCPY, MEMCPY)?;
        let over_socket = compare(&table, size, SOCKET, &batches(SOCKET))?;
        verdicts.extend(if has_targets {
            [
                over_memcpy.must(Bound::AtLeast(0.3)).aim(Bound::AtLeast(0.6)),
                over_socket.must(Bound::AtLeast(2.0)).aim(Bound::AtLeast(4.0)),
            ]
        } else {
            [over_memcpy, over_socket]
        });
    }
    let (floats, over_serde) = run_floats(plan, host)?;
    verdicts.push(over_serde);
    let outcome = Outcome { tables: vec![table, floats], verdicts };
    Ok(outcome.for_two_cpus(host))
}

/// Measures a call with an array of numbers, as a block and as serde encodes it.
fn run_floats(plan: &Plan, host: &Host) -> Result<(Table, Verdict)> {
    let pair = FloatsPair::start(FLOATS)?;
    let peers = vec![pair.peer_id()];
    host.pin(&peers)?;
    let subjects =
        vec![pair.as_block(AS_BLOCK).limit(256), pair.one_at_a_time(ONE_AT_A_TIME).limit(64)];
    let table = take_turns(plan, "calls with 1 Mi floats", &peers, subjects)?;
    pair.finish()?;
    let verdict = Verdict::of_times(
        "a call with 1 Mi floats: as plain serde has them over as a block",
        &table,
        ONE_AT_A_TIME,
        AS_BLOCK,
    )?;
    Ok((table, verdict.must(Bound::AtLeast(10.0))))
}

fn row(series: &str, size: usize) -> String {
    format!("{series}, {}", units::bytes(size))
}

fn batches(mechanism: &str) -> String {
    format!("{mechanism}, {BATCH} to a confirmation")
}

/// Compares bytes per second of events with those of another mechanism. Values that are confirmed
/// one at a time count, the harder case: nothing overlaps with a confirmation.
fn compare(table: &Table, size: usize, other: &str, other_in_batches: &str) -> Result<Verdict> {
    let ratio = table.time_ratio(&row(other_in_batches, size), &row(&batches(EMIT), size))?;
    let what = format!(
        "{} values emitted and confirmed: bytes per second over {other}",
        units::bytes(size)
    );
    let verdict = Verdict::of_times(what, table, &row(other, size), &row(EMIT, size))?;
    let detail =
        format!("{}; {BATCH} to a confirmation: {} x", verdict.detail, units::plain(ratio));
    Ok(verdict.detail(detail))
}
