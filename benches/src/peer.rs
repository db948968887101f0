//! Second processes of what is not coprocess: this executable, started with `--peer NAME PARENT ARGUMENTS..`.

use std::os::unix::process::parent_id;
use std::process::{Child, Command, Stdio};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::Result;

/// What a second process does, given its arguments; it ends when that returns.
pub type Serve = fn(&[String]) -> Result<()>;

/// A second process. It is killed when this is dropped, and when the thread that started it ends.
#[derive(Debug)]
pub struct Peer(Child);

impl Peer {
    /// Starts this executable as the peer of that name. Standard input and output are the two descriptors that are inherited without
    /// further ado, so they are what it gets to talk through.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(name: &str, args: &[&str], input: impl Into<Stdio>, output: impl Into<Stdio>) -> Result<Peer> {
        let mut command = Command::new("/proc/self/exe");
        let child = command.args(arguments(name)).args(args).stdin(input).stdout(output).spawn()?;
        Ok(Peer(child))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be spinning, or asleep for good. Failing means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What makes this executable the peer of that name, when this process starts it; the peer's own arguments follow.
pub(crate) fn arguments(name: &str) -> [String; 3] {
    ["--peer".to_owned(), name.to_owned(), std::process::id().to_string()]
}

/// Becomes a peer if this process was started as one; otherwise `None`.
pub(crate) fn serve(arguments: &[String], known: &[(&str, Serve)]) -> Option<Result<()>> {
    let [flag, name, parent, arguments @ ..] = arguments else { return None };
    if flag != "--peer" {
        return None;
    }
    let found = known.iter().find(|(known, _)| known == name);
    Some(found.ok_or_else(|| format!("no peer is called {name:?}").into()).and_then(|(_, serve)| {
        set_pdeathsig(Signal::SIGKILL)?;
        // Had it ended before that, no signal would come.
        if parent_id() != parent.parse::<u32>()? {
            return Err("the parent has ended".into());
        }
        serve(arguments)
    }))
}
