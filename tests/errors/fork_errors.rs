//! One test for each variant of `ForkError` that can be provoked: what the caller learns of a
//! worker that could not be started. `process/leftovers.rs` counts what is left over.

use std::error::Error as _;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::common::{
    LIMIT, assert_matches, at_once, check_error, fresh_path, program, role, within,
};
use coprocess::{Builder, Coprocess, Error, ForkError};

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("nonsense") => nonsense(),
        Some(other) => unreachable!("{other}"),
    }
}

fn cause(result: coprocess::Result<Coprocess>, program: &str) -> ForkError {
    let error = result.unwrap_err();
    check_error(&error, program);
    let source = error.source().expect("the cause").to_string();
    check_error(&error, &source);
    match error {
        Error::Fork { cause, .. } => cause,
        other => panic!("not a fork error: {other:?}"),
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn fork_not_found() {
    let cause = within(LIMIT, || {
        cause(coprocess::spawn(Command::new("/nonexistent/worker")), "/nonexistent/worker")
    });
    assert_matches!(cause, ForkError::Exec(ref source) if source.kind() == io::ErrorKind::NotFound);
    assert!(cause.source().is_some());
}

#[test]
fn fork_not_executable() {
    within(LIMIT, || {
        let path = fresh_path("not-executable");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        let cause = cause(coprocess::spawn(Command::new(&path)), "not-executable");
        std::fs::remove_file(&path).unwrap();
        assert_matches!(cause, ForkError::Exec(ref source) if source.kind() == io::ErrorKind::PermissionDenied);
    });
}

#[test]
fn fork_exited_before_it_attached() {
    within(LIMIT, || {
        for code in [0, 1, 127] {
            let cause = cause(coprocess::spawn(shell(&format!("exit {code}"))), "`sh`");
            assert_matches!(cause, ForkError::Ended(status) if status.code() == Some(code));
            assert!(cause.to_string().contains(&format!("exited with code {code} before")));
        }
    });
}

#[test]
fn fork_killed_before_it_attached() {
    within(LIMIT, || {
        let cause = cause(coprocess::spawn(shell("kill -KILL $$")), "`sh`");
        assert_matches!(cause, ForkError::Ended(status) if status.signal() == Some(9));
        assert!(cause.to_string().contains("killed by signal 9 before"));
    });
}

#[test]
fn fork_never_attached() {
    within(LIMIT, || {
        let timeout = Duration::from_millis(100);
        let builder = Builder::new().fork_timeout(timeout);
        let cause = at_once(|| cause(builder.spawn(shell("exec sleep 1000")), "`sh`"));
        assert_matches!(cause, ForkError::NeverAttached(after) if after == timeout);
        assert!(cause.to_string().contains("100ms"));
    });
}

#[test]
fn fork_stopped_before_it_attached() {
    within(LIMIT, || {
        let builder = Builder::new().fork_timeout(Duration::from_millis(100));
        let cause = at_once(|| cause(builder.spawn(shell("kill -STOP $$; exit 3")), "`sh`"));
        assert_matches!(cause, ForkError::NeverAttached(_));
    });
}

/// Runs a worker that answers the handshake with something else.
fn nonsense() {
    for descriptor in 3..100 {
        let flags = nix::sys::socket::MsgFlags::MSG_NOSIGNAL;
        // Most of these numbers are no socket; that is why the result does not matter.
        let _ = nix::sys::socket::send(descriptor, &[0x5a; 64], flags);
    }
    loop {
        thread::park();
    }
}

#[test]
fn fork_with_a_bad_handshake() {
    within(LIMIT, || {
        let nonsense = program!("nonsense");
        let name = nonsense.get_program().to_string_lossy().into_owned();
        let cause = at_once(|| cause(coprocess::spawn(nonsense), &name));
        assert_matches!(cause, ForkError::Handshake(_));
    });
}

/// The variables of the builder are for `fork`: they would be lost, so nothing is started.
#[test]
fn spawn_with_an_environment_of_the_builder() {
    within(LIMIT, || {
        let path = fresh_path("started");
        let start = || shell(&format!("touch '{}'", path.display()));
        let cause = cause(Builder::new().env("COLOUR", "mauve").spawn(start()), "`sh`");
        assert_matches!(cause, ForkError::EnvironmentOfSpawn);
        assert!(cause.to_string().contains("Command::env"));
        assert!(!path.exists(), "nothing was started");
        // Without them, the same program is.
        assert_matches!(self::cause(Builder::new().spawn(start()), "`sh`"), ForkError::Ended(_));
        std::fs::remove_file(path).unwrap();
    });
}
