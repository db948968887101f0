//! Running a program to its end, and what only root can do.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::ffi::CStr;
use std::fmt;
use std::fs;
use std::io::{Write, stderr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// What a program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) status: ExitStatus,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n--- its output\n{}--- its errors\n{}---\n", self.status, self.out, self.err)
    }
}

/// Runs a program to its end, at most for a minute: it and all that it has started are killed then.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Said {
    // A group of its own, which a process that goes on for ever can be killed with.
    let child = std::os::unix::process::CommandExt::process_group(command, 0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let group = libc::pid_t::try_from(child.id()).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || done.send(child.wait_with_output()));
    let output = ended.recv_timeout(std::time::Duration::from_secs(60));
    // What it has left behind, too: that would hold the ends of its streams.
    kill_group(group);
    let output = output.unwrap_or_else(|_| panic!("{command:?} does not end")).unwrap();
    waiter.join().unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { out: text(output.stdout), err: text(output.stderr), status: output.status }
}

#[expect(unsafe_code, reason = "signals to a group")]
fn kill_group(group: libc::pid_t) {
    // SAFETY: takes two numbers. Nothing may be left of the group.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

/// Returns how often a line is exactly this, or contains it.
pub(crate) fn count(text: &str, what: &str) -> usize {
    text.lines().filter(|line| line.contains(what)).count()
}

#[expect(unsafe_code, reason = "the user of this process")]
pub(crate) fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Says past the test harness that something was not tried.
pub(crate) fn skipped(what: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(stderr(), "SKIPPED: {test}: {what}");
}

/// Sets an extended attribute of a file.
#[expect(unsafe_code, reason = "a system call that the standard library does not have")]
pub(crate) fn set_attribute(path: &Path, name: &CStr, value: &[u8]) -> std::io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: both are C strings, and the value is as long as is said.
    let set = unsafe {
        libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Returns the library of this package that a host can load.
pub(crate) fn library(name: &str) -> PathBuf {
    let programs = Path::new(env!("CARGO_BIN_EXE_forks")).parent().unwrap();
    let file = format!("lib{name}.so");
    [programs.join(&file), programs.join("deps").join(&file)]
        .into_iter()
        .find(|path| path.exists())
        .expect("the plug-in was built")
}

/// A folder that is removed with this, and that every user may read.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!(
            "coprocess-{}-{}",
            std::process::id(),
            name.replace(' ', "-")
        ));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a copy of a program that every user may execute.
    pub(crate) fn copy(&self, program: &str) -> PathBuf {
        let copy = self.path(Path::new(program).file_name().unwrap().to_str().unwrap());
        // Another process makes the copy. While a file is open for writing here, a child that
        // another test has just forked has it open, too, and the file cannot be executed.
        assert!(Command::new("cp").arg(program).arg(&copy).status().unwrap().success());
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
