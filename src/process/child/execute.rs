//! Executes a worker's program.
//!
//! The new process inherits one descriptor of this process: the lifeline. Other processes that are
//! started at the same time do not inherit the lifeline, which stays close-on-exec in this process.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};

use crate::error::ForkError;
use crate::process::child::output::{Streams, numbered};
use crate::process::descriptors::renumber::copy_above_streams;
use crate::process::handshake::{Arguments, Nonce};
use crate::process::identity::executable::{self, SELF_EXE};
use crate::process::identity::mark::{self, Mark};

/// Says what to execute.
#[derive(Debug)]
pub(crate) enum Program {
    /// The same executable, which runs the function at this distance. `environment`: variables that
    /// are added to those of this process.
    Itself { function: u64, arguments: Option<Arguments>, environment: Vec<(OsString, OsString)> },
    /// A program that calls `parent`. `chain_length`: that of this process, for the mark.
    Other { command: Command, chain_length: u32 },
}

impl Program {
    /// Returns what errors call the program.
    pub(crate) fn name(&self) -> &OsStr {
        match self {
            Program::Itself { .. } => OsStr::new(SELF_EXE),
            Program::Other { command, .. } => command.get_program(),
        }
    }

    /// Returns the distance of the worker function, unless this is a worker program.
    pub(crate) fn function(&self) -> Option<u64> {
        match self {
            Program::Itself { function, .. } => Some(*function),
            Program::Other { .. } => None,
        }
    }

    /// Returns the arguments of the worker function, if it takes any.
    pub(crate) fn arguments(&self) -> Option<&Arguments> {
        match self {
            Program::Itself { arguments, .. } => arguments.as_ref(),
            Program::Other { .. } => None,
        }
    }

    /// Executes the program. `streams` take the place of its standard streams.
    pub(crate) fn execute(
        &mut self,
        lifeline: BorrowedFd<'_>,
        nonce: Nonce,
        streams: Streams,
    ) -> Result<Started, ForkError> {
        match self {
            Program::Itself { environment, .. } => {
                // Reserves the number that the lifeline gets in the new process.
                let place = copy_above_streams(lifeline)
                    .map_err(ForkError::setup("reserve a descriptor for the worker"))?;
                let mark = Mark::of_function(place.as_raw_fd(), nonce, executable::path())
                    .map_err(ForkError::Exec)?
                    .to_string();
                // Of several values for one variable, the last counts.
                let mut variables: BTreeMap<_, _> = environment
                    .iter()
                    .map(|(key, value)| (key.as_os_str(), value.as_os_str()))
                    .collect();
                variables.insert(OsStr::new(mark::VARIABLE), OsStr::new(&mark));
                let id =
                    execute_itself(lifeline.as_raw_fd(), place.as_raw_fd(), &streams, &variables)
                        .map_err(ForkError::Exec)?;
                Ok(Started { id, child: None })
            }
            Program::Other { command, chain_length } => {
                let fd = lifeline.as_raw_fd();
                if let Some(stdout) = streams.stdout {
                    command.stdout(stdout);
                }
                if let Some(stderr) = streams.stderr {
                    command.stderr(stderr);
                }
                let mark = Mark::of_program(fd, nonce, *chain_length);
                let child = execute_other(fd, command.env(mark::VARIABLE, mark.to_string()))
                    .map_err(ForkError::Exec)?;
                Ok(Started { id: child.id(), child: Some(child) })
            }
        }
    }
}

/// Holds a process that was executed.
pub(crate) struct Started {
    pub(crate) id: u32,
    /// Keeps the standard streams of a [`Command`] open. Never waited for.
    pub(crate) child: Option<Child>,
}

/// Executes this program again. Returns the process id.
///
/// Calls `posix_spawn`, for which the kernel need not copy this process, however much memory it
/// has.
fn execute_itself(
    lifeline: RawFd,
    place: RawFd,
    streams: &Streams,
    variables: &BTreeMap<&OsStr, &OsStr>,
) -> io::Result<u32> {
    let name = own_name().unwrap_or_else(|| SELF_EXE.into());
    let arguments = [CString::new(name.into_vec())?];
    let own = std::env::vars_os().filter(|(key, _)| !variables.contains_key(key.as_os_str()));
    let mut environment =
        own.map(|(key, value)| variable(&key, &value)).collect::<Result<Vec<_>, _>>()?;
    for (key, value) in variables {
        environment.push(variable(key, value)?);
    }

    let mut actions = PosixSpawnFileActions::init()?;
    // The copy has no close-on-exec flag. `place` is another number than `lifeline`: a copy onto
    // itself loses the flag with some C libraries only (not with glibc before 2.29).
    actions.add_dup2(lifeline, place)?;
    for (stream, number) in numbered(streams) {
        actions.add_dup2(stream.as_raw_fd(), number)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    // As `Command` does: Rust programs ignore SIGPIPE, and others expect the default.
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    let mut reset = SigSet::empty();
    reset.add(Signal::SIGPIPE);
    attributes.set_sigdefault(&reset)?;
    let id = posix_spawn(executable::path(), &actions, &attributes, &arguments, &environment)?;
    Ok(id.as_raw().cast_unsigned())
}

/// Returns the name that this program was started by.
pub(crate) fn own_name() -> Option<OsString> {
    // Before `main`, the standard library knows the name only with some C libraries. The kernel
    // always does.
    std::env::args_os().next().or_else(|| {
        let line = std::fs::read("/proc/self/cmdline").ok()?;
        line.split(|byte| *byte == 0)
            .next()
            .filter(|name| !name.is_empty())
            .map(|name| OsString::from_vec(name.to_vec()))
    })
}

/// Makes the text of a variable for the environment.
fn variable(key: &OsStr, value: &OsStr) -> Result<CString, NulError> {
    CString::new([key.as_bytes(), b"=", value.as_bytes()].concat())
}

/// Executes a worker program.
///
/// The [`Command`] calls `fork` and `exec`, since it has to prepare the new process.
fn execute_other(lifeline: RawFd, command: &mut Command) -> io::Result<Child> {
    let inherit = move || {
        // SAFETY: the descriptor is open in the child, as a copy of the one that the caller lends
        // until `spawn` returns.
        let lifeline = unsafe { BorrowedFd::borrow_raw(lifeline) };
        fcntl(lifeline, FcntlArg::F_SETFD(FdFlag::empty())).map(drop).map_err(io::Error::from)
    };
    // SAFETY: the closure runs between fork and exec. It makes one system call, and neither
    // allocates nor takes a lock.
    unsafe { command.pre_exec(inherit) };
    command.spawn()
}
