//! `cargo bench --bench bulk`; see [`coprocess_bench::regimes::bulk`].

fn main() -> std::process::ExitCode {
    coprocess_bench::main(&[coprocess_bench::regimes::bulk::REGIME])
}
