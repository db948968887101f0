//! A program without `init()`: a function cannot be forked, a program can be spawned. This binary
//! is the one that leaves out `coprocess::init_in_tests!()`.

mod common;

use std::process;

use common::{LIMIT, assert_matches, children, program, role, within};
use coprocess::{Builder, Error};

#[test]
fn worker_program() {
    if role().is_none() {
        return;
    }
    let parent = coprocess::parent().unwrap();
    parent.serve("double", |x: i64| x * 2);
    parent.serve("fork", |()| {
        let result = coprocess::fork(|_| ());
        let refused = matches!(result, Err(Error::NotInitialized));
        (refused, children(process::id()).len())
    });
    parent.run().unwrap();
}

/// In a process of its own, whose children are counted: none is started, none is left to reap.
#[test]
fn fork_starts_no_process() {
    within(LIMIT, || {
        let worker = coprocess::spawn(program!("worker")).unwrap();
        for _ in 0..3 {
            let (refused, children): (bool, usize) = worker.call("fork", ()).unwrap();
            assert!(refused);
            assert_eq!(children, 0);
        }
    });
}

#[test]
fn fork_says_what_to_do() {
    for result in [coprocess::fork(|_| ()), Builder::new().fork(|_| ())] {
        let error = result.unwrap_err();
        assert_matches!(error, Error::NotInitialized);
        assert!(error.to_string().contains("coprocess::init()"));
        assert!(error.to_string().contains("init_in_tests!()"));
    }
}

#[test]
fn spawn_needs_no_init() {
    within(LIMIT, || {
        let worker = common::patient().spawn(program!("worker")).unwrap();
        assert_eq!(worker.call::<i64>("double", 21).unwrap(), 42);
        assert!(worker.close().unwrap().unwrap().success());
    });
}
