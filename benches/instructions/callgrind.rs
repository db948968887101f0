//! Counts instructions: the worker, started as any worker, replaces itself by valgrind. Valgrind
//! runs this program once more, and counts what is done within one function of it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hint::black_box;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use coprocess_bench::Result;

use crate::builds::Build;

/// Makes a worker run under callgrind, and names the file of the profile.
pub(crate) const PROFILE_VARIABLE: &str = "COPROCESS_BENCH_PROFILE";

/// Asks whether instructions can be counted. Returns what valgrind calls itself: "valgrind-3.19.0".
///
/// # Errors
///
/// The error says what is missing, and how to get it.
pub(crate) fn look() -> Result<String> {
    if cfg!(debug_assertions) {
        return Err("this build is not optimised; `cargo bench` makes one that is".into());
    }
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => Err(format!("`valgrind --version` ended with {}", output.status).into()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err("valgrind is not installed; install it with the package manager, \
                 such as `apt-get install valgrind`"
                .into())
        }
        Err(error) => Err(format!("cannot execute valgrind: {error}").into()),
    }
}

/// Replaces this process by valgrind with this program, if this process was started to be counted.
///
/// # Errors
///
/// Valgrind cannot be executed.
pub(crate) fn enter_if_asked() -> Result<()> {
    let Some(profile) = env::var_os(PROFILE_VARIABLE).map(PathBuf::from) else { return Ok(()) };
    let program = env::current_exe()?;
    // Only what makes this process the worker: what else the user has set must make no difference.
    let kept = env::vars_os().filter(|(name, _)| name == "PATH" || is_of_coprocess(name));
    let error = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--dump-instr=no", "--separate-threads=no"])
        .arg(["--toggle-collect=*", COUNTED, "*"].concat())
        .arg(with_value("--callgrind-out-file=", profile.as_os_str()))
        .arg(with_value("--log-file=", log(&profile).as_os_str()))
        .arg(program)
        .env_clear()
        .envs(kept)
        .exec();
    Err(format!("cannot execute valgrind: {error}").into())
}

fn is_of_coprocess(name: &OsStr) -> bool {
    name != PROFILE_VARIABLE && name.to_str().is_some_and(|name| name.starts_with("COPROCESS_"))
}

fn with_value(option: &str, value: &OsStr) -> OsString {
    let mut option = OsString::from(option);
    option.push(value);
    option
}

/// Is part of the name of [`counted_by_callgrind`], and of no other function.
const COUNTED: &str = "counted_by_callgrind";

/// Performs what is counted, once a process.
///
/// # Errors
///
/// Those of `work`.
#[inline(never)]
pub(crate) fn counted_by_callgrind(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    // The result is used after the call, so that the call does not become a jump to `work`.
    black_box(work())
}

/// Returns the directory of the profiles of a build, and makes it.
///
/// # Errors
///
/// The directory cannot be made.
pub(crate) fn profiles(build: Build) -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions").join(build.name());
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Returns the file of the profile of that name. `callgrind_annotate` shows such a file.
pub(crate) fn profile(profiles: &Path, name: &str) -> PathBuf {
    let words: Vec<_> =
        name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    profiles.join(format!("{}.callgrind", words.join("-")))
}

/// Returns the file of valgrind's own messages.
pub(crate) fn log(profile: &Path) -> PathBuf {
    profile.with_extension("log")
}

/// Returns the instructions that a profile adds up to.
///
/// # Errors
///
/// The profile has no sum, or no instructions were counted.
pub(crate) fn total(profile: &Path) -> Result<u64> {
    let text = fs::read_to_string(profile)
        .map_err(|error| format!("cannot read {}: {error}", profile.display()))?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("summary:"))
        .and_then(|total| total.trim().parse().ok());
    match total {
        None => Err(format!("callgrind has not told the total in {}", profile.display()).into()),
        Some(0) => Err(format!(
            "callgrind has counted nothing: does it find {COUNTED} in this program? \
             Its symbols must not be stripped"
        )
        .into()),
        Some(total) => Ok(total),
    }
}
