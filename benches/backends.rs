//! `cargo bench --bench backends`; see [`coprocess_bench::regimes::backends`].

fn main() -> std::process::ExitCode {
    coprocess_bench::main(&[coprocess_bench::regimes::backends::REGIME])
}
