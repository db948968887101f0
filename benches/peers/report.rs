//! `cargo bench --manifest-path benches/peers/Cargo.toml`: the whole report, all regimes of the benches and the peers.

use std::process::ExitCode;

use coprocess_bench::regimes::{backends, bulk, latency, life, scaling, stream, waiting};
use coprocess_bench_peers as peers;

fn main() -> ExitCode {
    let regimes = [latency::REGIME, stream::REGIME, peers::REGIME, bulk::REGIME, waiting::REGIME, scaling::REGIME, life::REGIME, backends::REGIME];
    coprocess_bench::run_with(&regimes, peers::SECONDS)
}
