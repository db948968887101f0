//! `cargo bench --bench report`: all tables and targets; `-- latency` selects one part.

use std::process::ExitCode;

fn main() -> ExitCode {
    coprocess_bench::main(&coprocess_bench::regimes::ALL)
}
