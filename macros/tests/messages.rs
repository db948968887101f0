//! What the compiler says of interfaces that are none, and of those that are used wrongly: each program in `messages` must fail to compile,
//! with the text beside it. After a change that is meant, write the texts anew: `TRYBUILD=overwrite cargo test -p coprocess-macros --test messages`.

use std::env;
use std::io::{Write, stderr};
use std::process::Command;

/// The texts in `messages/compiler` are the compiler's own, of this version; others have other words for the same.
const WORDED_FOR: &str = "rustc 1.95.";

#[test]
fn misuse_is_explained() {
    let programs = trybuild::TestCases::new();
    programs.compile_fail("tests/messages/*.rs");
    let compiler = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output().expect("a compiler");
    if compiler.stdout.starts_with(WORDED_FOR.as_bytes()) {
        programs.compile_fail("tests/messages/compiler/*.rs");
    } else {
        // Past what the harness keeps to itself of a test that succeeds.
        let _ = writeln!(stderr(), "SKIPPED: messages/compiler: its texts are those of {WORDED_FOR}x");
    }
}
