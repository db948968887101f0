//! `cargo bench --bench latency`: a call through coprocess, beside the floor and beside what the kernel offers.

use std::process::ExitCode;

fn main() -> ExitCode {
    coprocess_bench::main(&[coprocess_bench::regimes::latency::REGIME])
}
