//! Checks the compiler's messages for traits that are no interfaces, and for interfaces that are
//! used wrongly. Each program in `messages` must fail to compile, with the text beside it.
//!
//! After a change that is meant, write the texts anew:
//! `TRYBUILD=overwrite cargo test -p coprocess-macros --test messages`.

use std::env;
use std::io::{Write, stderr};
use std::process::Command;

/// The version of the compiler whose own texts are in `messages/compiler`. Other versions word them
/// differently.
const WORDED_FOR: &str = "rustc 1.95.";

#[test]
fn misuse_is_explained() {
    let programs = trybuild::TestCases::new();
    programs.compile_fail("tests/messages/*.rs");
    let compiler = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("--version")
        .output()
        .expect("a compiler");
    if compiler.stdout.starts_with(WORDED_FOR.as_bytes()) {
        programs.compile_fail("tests/messages/compiler/*.rs");
    } else {
        // Written to stderr directly: the harness hides what a test that succeeds prints.
        let _ =
            writeln!(stderr(), "SKIPPED: messages/compiler: its texts are those of {WORDED_FOR}x");
    }
}
