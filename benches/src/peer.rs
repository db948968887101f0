//! Second processes that are this executable, started with `--peer NAME PARENT ARGUMENTS..`.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::process::parent_id;
use std::process::{Child, Command, Stdio};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::Result;

/// Does the work of a second process, given its arguments. The process ends when this returns.
pub type Serve = fn(&[String]) -> Result<()>;

/// A second process. The kernel kills it when the thread that started it ends; dropping this kills
/// it, too.
#[derive(Debug)]
pub struct Peer(Child);

impl Peer {
    /// Starts this executable as the peer of that name. The peer talks through standard input and
    /// output, the two descriptors that every program inherits.
    ///
    /// # Errors
    ///
    /// The process cannot be started.
    pub fn start(
        name: &str,
        args: &[&str],
        input: impl Into<Stdio>,
        output: impl Into<Stdio>,
    ) -> Result<Peer> {
        let mut command = Command::new("/proc/self/exe");
        let child = command.args(arguments(name)).args(args).stdin(input).stdout(output).spawn()?;
        Ok(Peer(child))
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The peer may be spinning, or asleep for good. Failing means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the standard input and output of this process as files: the standard library buffers and
/// locks its own handles.
///
/// # Errors
///
/// There are no more descriptors.
pub fn input_and_output() -> io::Result<(File, File)> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((input.into(), output.into()))
}

/// Fills the buffer. Returns `false` if the input ends before the buffer is full.
///
/// # Errors
///
/// The input cannot be read.
pub fn read_or_end(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the arguments that make this executable the peer of that name, if this process starts
/// it. The peer's own arguments follow them.
pub(crate) fn arguments(name: &str) -> [String; 3] {
    ["--peer".to_owned(), name.to_owned(), std::process::id().to_string()]
}

/// Becomes a peer if this process was started as one. Otherwise returns `None`.
pub(crate) fn serve(arguments: &[String], known: &[(&str, Serve)]) -> Option<Result<()>> {
    let [flag, name, parent, arguments @ ..] = arguments else { return None };
    if flag != "--peer" {
        return None;
    }
    let found = known.iter().find(|(known, _)| known == name);
    Some(found.ok_or_else(|| format!("no peer is called {name:?}").into()).and_then(
        |(_, serve)| {
            set_pdeathsig(Signal::SIGKILL)?;
            // If the parent ended before that call, no signal comes.
            if parent_id() != parent.parse::<u32>()? {
                return Err("the parent has ended".into());
            }
            serve(arguments)
        },
    ))
}
