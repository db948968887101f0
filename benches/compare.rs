//! `cargo bench --bench compare`: the hot paths against the last run on this machine, with
//! criterion's verdict and HTML report (`target/criterion/report/index.html`). The bench `report`
//! compares with other mechanisms.

use std::error::Error;

use coprocess_bench::subjects::pair::Pair;
use coprocess_bench::{Host, Subject, Timing};
use criterion::{Criterion, Throughput};

fn main() -> Result<(), Box<dyn Error>> {
    coprocess::init();
    let host = Host::look()?;
    let pair = Pair::start()?;
    host.pin(&[pair.peer_id()])?;

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("coprocess");
    group.throughput(Throughput::Elements(1));
    for mut subject in [pair.call_u64(), pair.call_bytes(1024), pair.emit()] {
        let name = subject.name().to_owned();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| measure(&mut subject, count))
        });
    }
    group.finish();
    criterion.final_summary();
    pair.finish()
}

/// Panics on an error, which criterion's closures cannot report.
fn measure(subject: &mut Subject<'_>, count: u64) -> std::time::Duration {
    match subject.run(count, Timing::Whole) {
        Ok(sample) => sample.elapsed,
        Err(error) => panic!("{error}"),
    }
}
