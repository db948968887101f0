//! Turns of the counted worker and its parent: what is counted, the worker does alone.
//!
//! Worker and parent talk beside coprocess, which is what is counted: through a socket each, whose
//! names both know.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

use coprocess::Coprocess;
use coprocess_bench::Result;

/// Bounds a turn, which takes a fraction of a second.
const LIMIT: Duration = Duration::from_secs(30);
/// Is the time between two looks of the parent whether the worker still lives.
const LOOK: Duration = Duration::from_millis(100);

/// Says that there are no more turns, in place of a number of messages.
const DONE: u32 = 0;

fn address(parent: u32, side: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::from_abstract_name(format!("coprocess-instructions-{parent}-{side}"))?)
}

/// The worker's side.
pub(crate) struct Turns(UnixDatagram);

impl Turns {
    pub(crate) fn join() -> Result<Turns> {
        let socket = UnixDatagram::bind_addr(&address(parent_id(), "worker")?)?;
        socket.connect_addr(&address(parent_id(), "parent")?)?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(Turns(socket))
    }

    /// Lets the parent do its part with `messages` messages. Blocks until that is done.
    pub(crate) fn pass(&self, messages: u32) -> Result<()> {
        self.say(messages)?;
        self.0
            .recv(&mut [0; 4])
            .map_err(|error| format!("the parent has not done its part: {error}"))?;
        Ok(())
    }

    /// Tells the parent that there are no more turns.
    pub(crate) fn done(&self) -> Result<()> {
        self.say(DONE)
    }

    fn say(&self, messages: u32) -> Result<()> {
        self.0.send(&messages.to_ne_bytes())?;
        Ok(())
    }
}

/// The parent's side, which must exist before the worker starts.
pub(crate) struct Host(UnixDatagram);

impl Host {
    pub(crate) fn new() -> Result<Host> {
        let socket = UnixDatagram::bind_addr(&address(std::process::id(), "parent")?)?;
        socket.set_read_timeout(Some(LOOK))?;
        Ok(Host(socket))
    }

    /// Does `part` in each turn of the parent, until the worker is done.
    pub(crate) fn serve(
        &self,
        co: &Coprocess,
        mut part: impl FnMut(u32) -> Result<()>,
    ) -> Result<()> {
        loop {
            let messages = self.next(co)?;
            if messages == DONE {
                return Ok(());
            }
            part(messages)?;
            self.0
                .send_to_addr(&messages.to_ne_bytes(), &address(std::process::id(), "worker")?)?;
        }
    }

    fn next(&self, co: &Coprocess) -> Result<u32> {
        let deadline = Instant::now() + LIMIT;
        let mut said = [0; 4];
        loop {
            match self.0.recv(&mut said) {
                Ok(_) => return Ok(u32::from_ne_bytes(said)),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
            if !co.is_connected() {
                return Err("the counted worker has ended before it was done".into());
            }
            if Instant::now() >= deadline {
                return Err(format!("the counted worker was not done within {LIMIT:?}").into());
            }
        }
    }
}
