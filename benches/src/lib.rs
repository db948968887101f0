//! Measures coprocess beside what it is compared with.
//!
//! A [`Subject`] is one thing to measure: a call, an event, a pipe, the floor. Subjects take turns
//! ([`take_turns`], A B C A B C ..), so that other load on the machine meets all of them alike.
//! What to compare are the ratios within a round; a [`Table`] gives their median over the rounds. A
//! [`Regime`] is a set of subjects and the [`Verdict`]s that follow from them. [`main`] is the
//! `main` of a bench.
//!
//! Every mechanism has a second process, which sleeps while another subject is measured: either
//! this executable, started with `--peer NAME` ([`peer`](mod@peer)), or a worker of coprocess.
//!
//! | folder or file | holds | may use |
//! |---|---|---|
//! | `units`, `peer` | numbers as text; second processes that are this executable | – |
//! | `machine/` | CPUs, pinning, what else runs | – |
//! | `measure/` | plan, subject, rounds, table, verdict, regime | `machine`, `units` |
//! | `subjects/` | what is measured, one mechanism a file | `measure`, `machine`, `peer`, `units` |
//! | `regimes/` | sets of subjects and their targets, one a file | all above |
//! | `report/` | tables and charts for people, raw figures for programs | `measure`, `units` |
//! | `run/` | the command line and `main` | all above |
//! | `budget` | the budgets of the bench `instructions` | – |
//!
//! ```no_run
//! use coprocess_bench::{Bound, Host, Outcome, Plan, Regime, Result, Verdict, regimes, take_turns};
//!
//! fn main() -> std::process::ExitCode {
//!     let mine = Regime { name: "mine", about: "what I want to know", run: mine };
//!     coprocess_bench::main(&[regimes::latency::REGIME, mine])
//! }
//!
//! fn mine(plan: &Plan, host: &Host) -> Result<Outcome> {
//!     let pair = coprocess_bench::subjects::pair::Pair::start()?;
//!     let peers = [pair.peer_id()];
//!     host.pin(&peers)?;
//!     let table = take_turns(plan, "calls", &peers, vec![pair.call_u64(), pair.call_bytes(64)])?;
//!     let what = "call with 64 B, over the same with u64";
//!     let verdict = Verdict::of_times(what, &table, "call, 64 B", "call, u64")?;
//!     Ok(Outcome { tables: vec![table], verdicts: vec![verdict.must(Bound::AtMost(1.3))] })
//! }
//! ```

pub mod budget;
pub mod machine;
pub mod measure;
pub mod peer;
pub mod regimes;
pub mod subjects;
pub mod units;

mod report;
mod run;

pub use hdrhistogram::Histogram;
pub use machine::Host;
pub use measure::{
    Bound, Outcome, Plan, Regime, Row, Sample, Subject, Table, Timing, Verdict, Waits, median,
    take_turns,
};
pub use run::{main, run_with};

/// Carries whatever went wrong: any error ends the bench with its message.
pub type Error = Box<dyn std::error::Error>;

/// Returns a value or what went wrong.
pub type Result<T> = std::result::Result<T, Error>;
