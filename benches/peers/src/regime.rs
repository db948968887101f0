//! Measures coprocess and its peers in turns.

use coprocess_bench::subjects::eventfd::Events;
use coprocess_bench::subjects::floor::Floor;
use coprocess_bench::subjects::futex::Futex;
use coprocess_bench::subjects::pair::Pair;
use coprocess_bench::subjects::{pipe, socket};
use coprocess_bench::{
    Bound, Host, Outcome, Plan, Regime, Result, Subject, Table, Verdict, take_turns,
};

use crate::contender::Contender;
use crate::{awaited, iceoryx2, ipc_channel, names, raw_sync, rtrb, shmem_ipc, tarpc};

/// Measures coprocess beside its peers.
pub const REGIME: Regime =
    Regime { name: "peers", about: "what a program could use instead, on the same work", run };

/// Lists the contenders that send a word there and back.
const ROUND_TRIPS: [Contender; 10] = [
    rtrb::ROUND_TRIP,
    shmem_ipc::ROUND_TRIP_SPINNING,
    raw_sync::BUSY_EVENT,
    iceoryx2::PING_PONG,
    iceoryx2::CALLS,
    ipc_channel::ROUND_TRIP_ASKING,
    shmem_ipc::ROUND_TRIP,
    raw_sync::EVENT,
    ipc_channel::ROUND_TRIP,
    tarpc::CALL,
];

/// Lists the contenders that sleep. One CPU is the best case of the scheduler for them: no other
/// CPU has to be woken.
const ON_ONE_CPU: [Contender; 4] =
    [shmem_ipc::ROUND_TRIP, raw_sync::EVENT, ipc_channel::ROUND_TRIP, tarpc::CALL];

/// Lists the contenders that send items one way.
const STREAMS: [Contender; 6] = [
    rtrb::STREAM,
    rtrb::STREAM_OF_CHUNKS,
    shmem_ipc::STREAM,
    shmem_ipc::STREAM_SPINNING,
    iceoryx2::STREAM,
    ipc_channel::STREAM,
];

/// Lists calls that are awaited: one at a time, and many at once.
const AWAITED: [Contender; 8] = [
    awaited::CALL,
    tarpc::CALL,
    awaited::IN_FLIGHT,
    awaited::JOINED,
    tarpc::IN_FLIGHT,
    awaited::CALLS,
    tarpc::CALLS,
    awaited::TASKS,
];

/// Names the row of a call.
const CALL: &str = "call, u64";
/// Names the row of an event.
const EMIT: &str = "emit, 32 B";

fn run(plan: &Plan, host: &Host) -> Result<Outcome> {
    names::sweep()?;
    let outcome = measure(plan, host);
    let swept = names::sweep();
    let outcome = outcome?;
    swept?;
    Ok(outcome)
}

fn measure(plan: &Plan, host: &Host) -> Result<Outcome> {
    let (calls, mut missing) = round_trips(plan, host)?;
    let (events, without) = streams(plan, host)?;
    missing.extend(without);
    let (tasks, without) = of_tasks(plan, host)?;
    missing.extend(without);

    let against = |what: &str, (table, ours), peers: &[Contender], must, aim| {
        let verdict = compare(what, (table, ours), peers)?;
        Result::Ok(verdict.must(Bound::AtLeast(must)).aim(Bound::AtLeast(aim)))
    };
    let call = (&calls, CALL);
    let emit = (&events, EMIT);
    let mut verdicts = vec![
        against(
            "call u64 → u64, times as fast as iceoryx2 request-response",
            call,
            &[iceoryx2::CALLS],
            4.0,
            8.0,
        )?,
        against(
            "call u64 → u64, times as fast as ipc-channel",
            call,
            &[ipc_channel::ROUND_TRIP],
            50.0,
            100.0,
        )?,
        against(
            "emit of a 32-byte struct, per second over rtrb, 64 bytes between threads",
            emit,
            &[rtrb::STREAM],
            0.8,
            1.5,
        )?,
        against(
            "emit, per second over iceoryx2 publish-subscribe, 64 bytes",
            emit,
            &[iceoryx2::STREAM],
            5.0,
            10.0,
        )?,
        against(
            "emit, per second over shmem-ipc, 64 bytes",
            emit,
            &[shmem_ipc::STREAM, shmem_ipc::STREAM_SPINNING],
            1.0,
            2.0,
        )?,
        against(
            "emit, per second over ipc-channel, 64 bytes",
            emit,
            &[ipc_channel::STREAM],
            60.0,
            100.0,
        )?,
        against(
            "call_async, times as fast as tarpc over a UNIX socket",
            (&tasks, awaited::CALL.name),
            &[tarpc::CALL],
            10.0,
            50.0,
        )?,
        against(
            "1,000 calls in flight, started and then awaited, times as fast as tarpc",
            (&tasks, awaited::IN_FLIGHT.name),
            &[tarpc::IN_FLIGHT],
            10.0,
            20.0,
        )?,
        against(
            "1,000 call_async, joined, times as fast as tarpc",
            (&tasks, awaited::JOINED.name),
            &[tarpc::IN_FLIGHT],
            10.0,
            20.0,
        )?,
        against(
            "1,000 tasks, each with a call_async, times as fast as tarpc",
            (&tasks, awaited::CALLS.name),
            &[tarpc::CALLS],
            10.0,
            20.0,
        )?,
    ];
    verdicts.extend(missing.iter().map(|absent| {
        Verdict::new(format!("{}: no row", absent.name), f64::NAN, "")
            .detail(format!("could not be started: {}", absent.reason))
    }));
    Ok(Outcome {
        tables: vec![
            calls.compared_with(["floor", CALL]),
            events.compared_with([EMIT]),
            tasks.compared_with([awaited::CALL.name, awaited::IN_FLIGHT.name, awaited::CALLS.name]),
        ],
        verdicts,
    })
}

fn round_trips(plan: &Plan, host: &Host) -> Result<(Table, Vec<Missing>)> {
    host.release(0)?;
    let floor = Floor::start(host.two_cpus())?;
    let pair = Pair::start()?;
    let pipe = pipe::start()?;
    let stream = socket::stream()?;
    let seqpacket = socket::seqpacket()?;
    let events = Events::start()?;
    let futex = Futex::start()?;
    let mut field = Field::start(&ROUND_TRIPS, host);
    if host.two_cpus() {
        field.join(Field::start_on_one_cpu(&ON_ONE_CPU, host));
    }
    let mut processes = field.processes;
    processes.extend([floor.peer_id(), pair.peer_id(), pipe.peer_id(), stream.peer_id()]);
    processes.extend([seqpacket.peer_id(), events.peer_id(), futex.peer_id()]);
    host.pin(&processes)?;

    let mut subjects = vec![floor.round_trip(), pair.call_u64()];
    subjects.extend(field.subjects);
    subjects.extend([
        pipe.round_trip(8),
        stream.round_trip(8),
        seqpacket.round_trip(8),
        events.round_trip(),
        futex.round_trip(),
    ]);
    if host.two_cpus() {
        subjects.push(pipe.round_trip(8).on_one_cpu(host, pipe.peer_id()));
        subjects.push(futex.round_trip().on_one_cpu(host, futex.peer_id()));
    }
    let table = take_turns(plan, "round trips beside peers", &processes, subjects)?;
    pair.finish()?;
    Ok((table, field.missing))
}

fn streams(plan: &Plan, host: &Host) -> Result<(Table, Vec<Missing>)> {
    host.release(0)?;
    let pair = Pair::start()?;
    let pipe = pipe::start()?;
    let field = Field::start(&STREAMS, host);
    let mut processes = field.processes;
    processes.extend([pair.peer_id(), pipe.peer_id()]);
    host.pin(&processes)?;

    let mut subjects = vec![pair.emit()];
    subjects.extend(field.subjects);
    subjects.push(pipe.stream(32));
    let table = take_turns(plan, "one way beside peers", &processes, subjects)?;
    pair.finish()?;
    Ok((table, field.missing))
}

fn of_tasks(plan: &Plan, host: &Host) -> Result<(Table, Vec<Missing>)> {
    host.release(0)?;
    let field = Field::start(&AWAITED, host);
    host.pin(&field.processes)?;
    let table = take_turns(
        plan,
        "calls of tasks, on a runtime of one thread",
        &field.processes,
        field.subjects,
    )?;
    Ok((table, field.missing))
}

/// Describes a contender that could not be started.
struct Missing {
    name: String,
    reason: String,
}

/// Holds contenders that have been started.
#[derive(Default)]
struct Field {
    subjects: Vec<Subject<'static>>,
    processes: Vec<u32>,
    missing: Vec<Missing>,
}

impl Field {
    /// Starts the contenders, and notes those that cannot be started.
    fn start(contenders: &[Contender], host: &Host) -> Field {
        let mut field = Field::default();
        for contender in contenders {
            match (contender.start)(host) {
                Ok(started) => {
                    field.processes.extend(started.process());
                    field.subjects.push(started.subject(contender));
                }
                Err(error) => field
                    .missing
                    .push(Missing { name: contender.name.to_owned(), reason: error.to_string() }),
            }
        }
        field
    }

    /// Starts contenders that have a process of their own, with both sides on one CPU.
    fn start_on_one_cpu(contenders: &[Contender], host: &Host) -> Field {
        let mut field = Field::start(contenders, host);
        let moved = field.subjects.into_iter().zip(&field.processes);
        field.subjects =
            moved.map(|(subject, &process)| subject.on_one_cpu(host, process)).collect();
        for absent in &mut field.missing {
            absent.name += ", one CPU";
        }
        field
    }

    fn join(&mut self, other: Field) {
        self.subjects.extend(other.subjects);
        self.processes.extend(other.processes);
        self.missing.extend(other.missing);
    }
}

/// Compares the row of coprocess with the fastest of `peers`, as a ratio of speeds. If none of the
/// peers has a row, the figure is not a number.
fn compare(what: &str, (table, ours): (&Table, &str), peers: &[Contender]) -> Result<Verdict> {
    let names: Vec<_> =
        peers.iter().map(|peer| peer.name).filter(|name| table.row(name).is_some()).collect();
    if names.is_empty() {
        return Ok(
            Verdict::new(what, f64::NAN, "x").detail("not measured, for the reason given below")
        );
    }
    Verdict::of_times(what, table, table.fastest(&names)?, ours)
}
