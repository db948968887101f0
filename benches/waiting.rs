//! `cargo bench --bench waiting`; see [`coprocess_bench::regimes::waiting`].

fn main() -> std::process::ExitCode {
    coprocess_bench::main(&[coprocess_bench::regimes::waiting::REGIME])
}
