//! Handlers, and the thread that runs them: callers that wait, `run`, `poll`, event loops, and the
//! library's own thread.

#[path = "../common/mod.rs"]
mod common;

mod handlers;
mod readiness;
mod receiving_thread;
mod run;
mod threads;
mod waiting;

coprocess::init_in_tests!();
