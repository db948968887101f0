//! Runs the whole report, all regimes of the benches and of the peers: `cargo bench --manifest-path
//! benches/peers/Cargo.toml`.

use std::process::ExitCode;

use coprocess_bench::regimes;
use coprocess_bench_peers as peers;

fn main() -> ExitCode {
    // The peers come third, after the regimes whose rows they share.
    let [latency, stream, others @ ..] = regimes::ALL;
    let regimes = [&[latency, stream, peers::REGIME], &others[..]].concat();
    coprocess_bench::run_with(&regimes, peers::SECONDS)
}
