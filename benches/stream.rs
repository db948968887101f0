//! `cargo bench --bench stream`: events and calls in flight, beside one-way writes.

use std::process::ExitCode;

fn main() -> ExitCode {
    coprocess_bench::main(&[coprocess_bench::regimes::stream::REGIME])
}
