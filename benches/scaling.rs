//! `cargo bench --bench scaling`; see [`coprocess_bench::regimes::scaling`].

fn main() -> std::process::ExitCode {
    coprocess_bench::main(&[coprocess_bench::regimes::scaling::REGIME])
}
