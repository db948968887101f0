//! What coprocess is measured with.
//!
//! A [`Subject`] is one thing to measure: a call, an event, a pipe, the floor. Subjects take turns ([`take_turns`], A B C A B C ..), so that
//! whatever else the machine does meets all of them alike; what to compare are the ratios within a round, whose median over the rounds a
//! [`Table`] gives. A [`Regime`] is a set of subjects and the [`Verdict`]s that follow from them; [`main`] is the `main` of a bench.
//!
//! Every mechanism has a second process that sleeps while another one is measured: this executable started with `--peer NAME`
//! ([`peer`](mod@peer)), or a worker of coprocess.
//!
//! ```no_run
//! use coprocess_bench::{Bound, Outcome, Plan, Regime, Result, Verdict, host::Host, regimes, take_turns};
//!
//! fn main() -> std::process::ExitCode {
//!     coprocess_bench::main(&[regimes::latency::REGIME, Regime { name: "mine", about: "what I want to know", run: mine }])
//! }
//!
//! fn mine(plan: &Plan, host: &Host) -> Result<Outcome> {
//!     let pair = coprocess_bench::subjects::pair::Pair::start()?;
//!     let peers = [pair.peer_id()];
//!     host.pin(&peers)?;
//!     let table = take_turns(plan, "calls", host, &peers, vec![pair.call_u64(), pair.call_bytes(64)])?;
//!     let what = "call with 64 B, over the same with u64";
//!     let verdict = Verdict::of_times(what, &table, "call, 64 B", "call, u64")?.must(Bound::AtMost(1.3));
//!     Ok(Outcome { tables: vec![table], verdicts: vec![verdict] })
//! }
//! ```

pub mod budget;
pub mod chart;
pub mod figure;
pub mod host;
pub mod markdown;
pub mod measure;
pub mod peer;
pub mod record;
pub mod regimes;
pub mod report;
pub mod subject;
pub mod subjects;
pub mod table;
pub mod target;

mod alternate;
mod command;
mod grid;
mod run;

pub use hdrhistogram::Histogram;
pub use host::Host;
pub use measure::{Plan, take_turns};
pub use run::{main, run_with};
pub use subject::{Sample, Subject, Timing, Waits};
pub use table::{Row, Table, median};
pub use target::{Bound, Verdict};

/// Whatever goes wrong ends the bench, with its message.
pub type Error = Box<dyn std::error::Error>;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A set of subjects that take turns, and the targets that follow from them.
#[derive(Debug, Clone, Copy)]
pub struct Regime {
    /// One word, also the name of its files.
    pub name: &'static str,
    /// One line: what it measures.
    pub about: &'static str,
    /// Measures. It starts its peers, pins them, and ends them.
    pub run: fn(&Plan, &Host) -> Result<Outcome>,
}

/// What a regime found out.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was measured.
    pub tables: Vec<Table>,
    /// What follows from it.
    pub verdicts: Vec<Verdict>,
}

impl Outcome {
    /// Shows the figures without judging them, because `why`: the conditions are not those of the targets.
    #[must_use]
    pub fn not_judged(mut self, why: &str) -> Self {
        for verdict in &mut self.verdicts {
            (verdict.must, verdict.aim) = (None, None);
            verdict.detail = format!("not judged, {why}; {}", verdict.detail);
        }
        self
    }
}
