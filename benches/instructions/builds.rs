//! The two builds of this program that are counted: the running one, and the one that users have.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use coprocess_bench::Result;
use serde_json::Value;

/// A build of this program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Build {
    /// The running program, built by `cargo bench`: LTO across crates, one codegen unit.
    Bench,
    /// The same program, built as users build: `cargo build --release`, no LTO, default codegen
    /// units.
    Release,
}

impl Build {
    /// Returns the name of the build, which names its column and its directory.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Build::Bench => "bench",
            Build::Release => "release",
        }
    }

    /// Returns the executable. Cargo builds the one of [`Build::Release`], unless it is up to date.
    ///
    /// # Errors
    ///
    /// Cargo cannot be executed, or cannot build the program.
    pub(crate) fn executable(self) -> Result<PathBuf> {
        match self {
            Build::Bench => Ok(env::current_exe()?),
            Build::Release => build_release(),
        }
    }
}

/// Builds this package alone, so that its dependencies have the features that they have in the
/// running program.
fn build_release() -> Result<PathBuf> {
    // Cargo names itself to the programs that it runs.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "coprocess-bench",
            "--bench",
            "instructions",
        ])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot execute cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "`cargo build --release --bench instructions` ended with {}",
            output.status
        )
        .into());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find_map(|message| executable_of(&message));
    executable.ok_or_else(|| "cargo does not say where the executable of `instructions` is".into())
}

/// Returns the executable, if the message tells of the one that was asked for.
fn executable_of(message: &Value) -> Option<PathBuf> {
    let ours =
        message["reason"] == "compiler-artifact" && message["target"]["name"] == "instructions";
    ours.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
}
