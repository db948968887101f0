//! `cargo bench --bench life`; see [`coprocess_bench::regimes::life`].

fn main() -> std::process::ExitCode {
    coprocess_bench::main(&[coprocess_bench::regimes::life::REGIME])
}
