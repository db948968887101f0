//! Models what the threads of one process share, with loom. The models run the library's own files
//! over loom's locks and atomics.
//!
//! Run them with `RUSTFLAGS="--cfg loom" cargo test -p coprocess --release --lib models`. A model
//! of a variant that leaves something out must fail: `*_is_caught`.

#[expect(unsafe_code, reason = "cells of loom")]
mod calls;
mod crossing;
mod driver_slot;
mod lead;

/// Runs a model through its interleavings.
pub(crate) fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Part of loom's message if all threads wait.
pub(crate) const DEADLOCK: &str = "deadlock;";
/// Part of loom's message if threads loop for ever.
pub(crate) const NO_PROGRESS: &str = "exceeded maximum number of branches";

/// Runs a model that must fail, in a process of its own: loom's report of a deadlock aborts.
pub(crate) fn caught(test: &str, how: &str, model: impl Fn() + Sync + Send + 'static) {
    if std::env::var_os("BROKEN_MODEL").is_some() {
        return check(model);
    }
    let program = std::env::current_exe().expect("a program");
    let output = std::process::Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env("BROKEN_MODEL", "1")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains(how),
        "the broken variant was not caught: {text}"
    );
}
