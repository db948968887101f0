//! `cargo bench --bench latency`: a call and an event through coprocess, beside the floor (one cache line each way
//! between two processes) and beside a pipe, measured in one run.
//!
//! Every mechanism has a second process that sleeps while another one is measured, and the mechanisms take turns
//! (A B C A B C ..), so that whatever else the machine does meets all of them alike. What to compare are the ratios.

mod floor;
mod host;
mod pair;
mod pipe;
mod report;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use host::{Host, Usage};
use report::{Role, Row};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HELP: &str = "\
Latency of coprocess beside the floor (one cache line each way) and beside a pipe.

usage: cargo bench --bench latency [-- OPTIONS]

  --quick  a smoke run of about a second; its figures are rough
  --help   this text

The table is written to standard output, progress to standard error.
";

/// What one run of a mechanism tells: how long its operations took, and what its waiting cost where that is counted.
pub(crate) struct Sample {
    elapsed: Duration,
    waits: Option<Waits>,
}

/// Visits to the kernel, of both ends together.
#[derive(Clone, Copy, Default)]
pub(crate) struct Waits {
    sleeps: u64,
    wakeups: u64,
}

/// Something to measure: `run(n)` performs `n` operations.
pub(crate) struct Subject<'a> {
    name: String,
    role: Role,
    run: Box<dyn FnMut(u64) -> Result<Sample> + 'a>,
}

struct Plan {
    rounds: usize,
    /// How long a subject runs in one round. Short: a virtual machine may be moved to other cores at any second, and a
    /// ratio is only good between neighbours in time.
    slice: Duration,
    /// When to give up: a bench that hangs must not hang whoever started it.
    limit: Duration,
}

impl Plan {
    const FULL: Plan = Plan { rounds: 25, slice: Duration::from_millis(40), limit: Duration::from_secs(300) };
    const QUICK: Plan = Plan { rounds: 3, slice: Duration::from_millis(10), limit: Duration::from_secs(60) };
}

fn main() -> ExitCode {
    coprocess::init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--peer", "floor", spin] => floor::serve(spin.parse().unwrap_or(false)),
        ["--peer", "pipe"] => pipe::serve(),
        ref options => match plan(options) {
            Some(plan) => measure(&plan),
            None => {
                print!("{HELP}");
                Ok(())
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("latency: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the options; `None` asks for help.
fn plan(options: &[&str]) -> Option<Plan> {
    // Figures of an unoptimised build mean nothing: show only that it works.
    let mut quick = cfg!(debug_assertions);
    for &option in options {
        match option {
            "--help" | "-h" => return None,
            "--quick" => quick = true,
            "--bench" => {} // cargo always adds it
            other => eprintln!("latency: ignoring `{other}`: ratios need every row, so there is nothing to select"),
        }
    }
    Some(if quick { Plan::QUICK } else { Plan::FULL })
}

fn measure(plan: &Plan) -> Result<()> {
    let limit = plan.limit;
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("\nlatency: not finished after {limit:?}, giving up");
        std::process::exit(1);
    });

    let host = Host::look()?;
    let floor = floor::Floor::start(host.two_cpus())?;
    let pipe = pipe::Pipe::start()?;
    let pair = pair::Pair::start()?;
    let peers = [floor.peer_id(), pipe.peer_id(), pair.peer_id()];
    // Only now: whoever starts with one usable CPU has every reason not to spin.
    host.pin(&peers)?;
    print!("{}", host.describe());
    println!("rounds   {} of {:?} for each row, taking turns\n", plan.rounds, plan.slice);

    let mut subjects = vec![floor.round_trip()];
    subjects.push(pair.call_u64());
    subjects.extend([64, 256, 1024, 4096].map(|size| pair.call_bytes(size)));
    subjects.push(pipe.round_trip("pipe, 8 bytes", None));
    if let Some((near, far)) = host.pinned() {
        // The scheduler's best case for a pipe: no other CPU has to be woken.
        subjects.push(pipe.round_trip("pipe, 8 bytes, both on one CPU", Some((near, far))));
    }
    subjects.push(pair.emit());
    subjects.push(pipe.stream());

    let before = Usage::of(&peers)?;
    let rows = take_turns(plan, &mut subjects, &peers)?;
    let others = Usage::of(&peers)?.others_since(before);
    drop(subjects);
    print!("{}", report::table(&rows));
    println!("\nOther programs kept {others:.2} CPUs busy meanwhile{}", if others > 0.2 { ": MEASURE AGAIN." } else { "." });
    pair.finish()
}

/// Measures every subject once a round, with all other peers asleep.
fn take_turns(plan: &Plan, subjects: &mut [Subject<'_>], peers: &[u32]) -> Result<Vec<Row>> {
    let mut counts = Vec::new();
    let mut rows = Vec::new();
    for subject in subjects.iter_mut() {
        progress(&format!("calibrating: {}", subject.name));
        host::settle(peers)?;
        counts.push(calibrate(subject, plan.slice)?);
        rows.push(Row::new(&subject.name, subject.role));
    }
    for round in 1..=plan.rounds {
        progress(&format!("round {round} of {}", plan.rounds));
        for ((subject, &count), row) in subjects.iter_mut().zip(&counts).zip(&mut rows) {
            host::settle(peers)?;
            (subject.run)(count / 10 + 1)?; // wakes the peer and warms the caches
            row.add(count, &(subject.run)(count)?);
        }
    }
    progress("");
    Ok(rows)
}

/// How many operations fill about `slice`.
fn calibrate(subject: &mut Subject<'_>, slice: Duration) -> Result<u64> {
    let mut count = 64;
    loop {
        let elapsed = (subject.run)(count)?.elapsed;
        if elapsed * 8 >= slice {
            return Ok((count as f64 * slice.as_secs_f64() / elapsed.as_secs_f64()) as u64 + 1);
        }
        count *= 4;
    }
}

fn progress(text: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r{text:<60}\r");
    } else if !text.is_empty() {
        eprintln!("{text}");
    }
}
